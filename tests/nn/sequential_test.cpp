#include "redoubt/nn/sequential.hpp"

#include <cmath>

#include "redoubt/core/error.hpp"
#include "support/test_data.hpp"

using namespace redoubt;
using namespace redoubt::layer;

TEST_CASE("Sequential: sizes follow from the first layer", "[sequential]") {
  const Graph graph = Sequential{
      Reshape{{8, 8, 1}},
      Conv2d{4, 3, 1, 1},
      BatchNorm{},
      ReLU{},
      MaxPool2d{},
      ConvTranspose2d{2, 2, 2},
      AveragePool2d{},
      Flatten{},
      Dense{16},
      LayerNorm{},
      GELU{},
      Dropout{0.2},
      Dense{8},
      RmsNorm{},
      LeakyReLU{},
      Residual{{Dense{8}, Tanh{}}},
      SiLU{},
      Output{}}.graph({64}, 3, true);
  CHECK(graph.inputs() == 64);
  CHECK(graph.outputs() == 3);
  CHECK(graph.nodes().back().op == "softmax");
  CHECK(graph.score_tensor() + 1 == graph.nodes().size());
  CHECK(graph.shapes()[2] == OpShape{8, 8, 4});
  CHECK(graph.shapes()[5] == OpShape{4, 4, 4});
  CHECK(graph.shapes()[6] == OpShape{8, 8, 2});
}

TEST_CASE("Sequential: sequences", "[sequential]") {
  const auto shape = [](Sequential layers) { return layers.graph({6}).shapes().back(); };
  CHECK(shape({Embedding{10, 4}, Lstm{5}, Gru{3}}) == OpShape{18});  // heads are flat
  CHECK(shape({Embedding{10, 4}, Gru{3}, LastPosition{}}) == OpShape{3});
  CHECK(shape({Embedding{10, 4}, MultiHeadAttention{2, true}, GlobalMaxPool{}}) == OpShape{4});
  CHECK(shape({Embedding{10, 4}, LayerNorm{}, GlobalAveragePool{}, Sigmoid{}}) == OpShape{4});
  CHECK(shape({EmbeddingBag{10, 7}, Softmax{}}) == OpShape{7});
  CHECK(shape({Embedding{10, 4}, Dense{5, true}, Flatten{}}) == OpShape{30});
}

TEST_CASE("Sequential: starting values have the variance of their scheme", "[sequential]") {
  const auto variance = [](Initialiser scheme, bool& bounded) {
    Graph graph = Sequential{Dense{300, false, scheme}}.graph({100});
    graph.initialise(1);
    const GraphParameter& weight = graph.parameter_table()[0];
    double square = 0, largest = 0;
    for (const float w : graph.parameters().subspan(weight.offset, weight.size)) {
      square += static_cast<double>(w) * w / static_cast<double>(weight.size);
      largest = std::max(largest, std::abs(static_cast<double>(w)));
    }
    bounded = largest <= std::sqrt(3 * square) * 1.02;
    for (const float b : graph.parameters().subspan(graph.parameter_table()[1].offset, 300)) CHECK(b == 0.0f);
    return square;
  };
  bool bounded = false;
  CHECK(variance(Initialiser::he_normal, bounded) == Approx(2.0 / 100).epsilon(0.03));
  CHECK_FALSE(bounded);
  CHECK(variance(Initialiser::he_uniform, bounded) == Approx(2.0 / 100).epsilon(0.03));
  CHECK(bounded);
  CHECK(variance(Initialiser::glorot_normal, bounded) == Approx(2.0 / 400).epsilon(0.03));
  CHECK(variance(Initialiser::glorot_uniform, bounded) == Approx(2.0 / 400).epsilon(0.03));
  CHECK(bounded);
  CHECK(variance(Initialiser::lecun_normal, bounded) == Approx(1.0 / 100).epsilon(0.03));
  CHECK(variance(Initialiser::zeros, bounded) == 0.0);

  Graph conv = Sequential{Reshape{{8, 8, 16}}, Conv2d{64, 3, 1, 0, 1, 1, Initialiser::glorot_normal}}.graph({1024});
  CHECK(conv.parameter_table()[0].fan_in == 9 * 16);
  CHECK(conv.parameter_table()[0].fan_out == 9 * 64);
}

TEST_CASE("Sequential: errors name the layer and both shapes", "[sequential]") {
  const auto message = [](Sequential layers, std::size_t outputs = 0) -> std::string {
    try {
      layers.graph({64}, outputs);
    } catch (const Error& error) {
      return error.what();
    }
    return "accepted";
  };
  CHECK_THAT(message({Dense{4}, Conv2d{2}}), Catch::Contains("layer 2 (conv2d)") && Catch::Contains("[4]"));
  CHECK_THAT(message({Reshape{{8, 8}}, Layer(Reshape{{5, 5}}).named("patches")}),
             Catch::Contains("layer 2 \"patches\"") && Catch::Contains("[8, 8]") && Catch::Contains("[5, 5]"));
  CHECK_THAT(message({Dense{4}, Dropout{1.5}}), Catch::Contains("layer 2 (dropout)") && Catch::Contains("rate is 1.5"));
  CHECK_THAT(message({Dense{4}, GlobalMaxPool{}}), Catch::Contains("layer 2") && Catch::Contains("[4]"));
  CHECK_THAT(message({Dense{4}, Residual{{Dense{3}}}}), Catch::Contains("[4]") && Catch::Contains("[3]"));
  CHECK_THAT(message({Dense{4}}, 3), Catch::Contains("[4]") && Catch::Contains("3 values"));
  CHECK_THAT(message({Dense{4}, Output{}}), Catch::Contains("output"));
  CHECK_THAT(message({{.kind = "teleport"}}), Catch::Contains("teleport"));
  CHECK_THAT(message({}), Catch::Contains("no layers"));
}
