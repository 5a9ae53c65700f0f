#include "redoubt/nn/builder.hpp"

#include <algorithm>

#include "redoubt/core/error.hpp"
#include "redoubt/core/random.hpp"
#include "redoubt/core/tensor.hpp"
#include "support/test_data.hpp"

using namespace redoubt;

namespace {

std::vector<float> run(const Graph& graph, std::span<const float> row) {
  std::vector<float> out(graph.outputs()), scratch(graph.scratch_size());
  graph.predict(row, out, scratch);
  return out;
}

}  // namespace

TEST_CASE("GraphBuilder: named inputs are parts of the row, values compute", "[builder]") {
  GraphBuilder b({{"image", {2, 2, 1}}, {"left", {3}}, {"right", {3}}});
  CHECK(b.input("image").shape() == OpShape{2, 2, 1});
  const Value left = b.input("left"), right = b.input("right");
  const Value flat = b.add(layer::Flatten{}, b.input("image"));
  const std::uint32_t sizes[] = {1, 2};
  const std::vector<Value> parts = b.split(left * right - left / right, 0, sizes);
  b.head("out", b.concat({flat, parts[1], b.reduce_sum(left + right, 1)}), {.kind = LossKind::mse});
  const Graph graph = b.build();
  CHECK(graph.inputs() == 10);
  const std::vector<float> row{1, 2, 3, 4, 5, 6, 7, 1, 2, 4};
  CHECK(run(graph, row) == std::vector<float>{1, 2, 3, 4, 6 * 2 - 6 / 2.0f, 7 * 4 - 7 / 4.0f, 5 + 6 + 7 + 1 + 2 + 4});
}

TEST_CASE("GraphBuilder: heads, and what no head needs", "[builder]") {
  GraphBuilder b(OpShape{4});
  const Value x = b.add({layer::Dense{8}, layer::ReLU{}}, b.input());
  b.add(layer::Dense{1000}, x);  // for nobody
  const Value kind = b.add(layer::Dense{3}, x);
  SECTION("one head of classes ends in a softmax") {
    b.head("kind", kind);
    const Graph graph = b.build();
    CHECK(graph.nodes().size() == 4);
    CHECK(graph.nodes().back().op == "softmax");
    CHECK(b.heads().size() == 1);
  }
  SECTION("two heads follow each other as scores") {
    b.head("kind", kind);
    b.head("price", b.add(layer::Dense{1}, x), {.kind = LossKind::huber, .weight = 2});
    const Graph graph = b.build();
    CHECK(graph.outputs() == 4);
    CHECK(graph.score_count() == 4);
    const auto heads = b.heads();
    CHECK(heads[1].name == "price");
    CHECK(heads[1].first == 3);
    CHECK(heads[0].targets() == 1);
    CHECK(graph.parameters().size() < 1000);
  }
  SECTION("a head that is not the last layer") {
    b.add(layer::Tanh{}, kind);
    b.head("kind", x, {.kind = LossKind::mse});
    CHECK(b.build().outputs() == 8);
  }
}

TEST_CASE("GraphBuilder: attention and shared values", "[builder]") {
  GraphBuilder b(OpShape{4, 6});
  const Value x = b.input();
  const Value own = b.attention(x, x, x, 2, true);
  b.head("out", b.reduce_mean(own + x, 1), {.kind = LossKind::mse});
  CHECK(b.build().outputs() == 6);
  b.reduce_max(x, 2);
}

TEST_CASE("GraphBuilder: errors name the layer and the shapes", "[builder]") {
  const auto message = [](auto call) -> std::string {
    try {
      call();
    } catch (const Error& error) {
      return error.what();
    }
    return "accepted";
  };
  GraphBuilder b({{"a", {3}}, {"b", {4}}});
  const Value a = b.input("a"), c = b.input("b");
  CHECK_THAT(message([&] { a + c; }),
             Catch::Contains("layer 1 (add)") && Catch::Contains("[3]") && Catch::Contains("[4]"));
  CHECK_THAT(message([&] { b.input("z"); }), Catch::Contains("\"z\"") && Catch::Contains("a, b"));
  const std::uint32_t sizes[] = {1, 1};
  CHECK_THAT(message([&] { b.split(a, 0, sizes); }), Catch::Contains("[3]") && Catch::Contains("[1, 1]"));
  CHECK_THAT(message([&] { b.add(layer::Dense{2}, {a, c}); }), Catch::Contains("2 inputs"));
  CHECK_THAT(message([&] { b.build(); }), Catch::Contains("no head"));
  GraphBuilder other(OpShape{3});
  CHECK_THAT(message([&] { other.add({.kind = "add"}, {other.input(), a}); }), Catch::Contains("another builder"));
  CHECK_THAT(message([&] { other.head("x", other.input()); }), Catch::Contains("\"x\""));
  CHECK_THAT(message([&] { GraphBuilder({{"a", {3}}, {"a", {4}}}); }), Catch::Contains("\"a\""));
}
