#include "redoubt/nn/graph.hpp"

#include <fmt/format.h>

#include <algorithm>
#include <cmath>
#include <cstdlib>
#include <fstream>
#include <functional>
#include <limits>

#include "redoubt/core/error.hpp"
#include "redoubt/core/function_ref.hpp"
#include "redoubt/core/parallel.hpp"
#include "redoubt/core/random.hpp"
#include "redoubt/core/tensor.hpp"
#include "redoubt/data/archive.hpp"
#include "redoubt/nn/layer.hpp"
#include "redoubt/nn/sequential.hpp"
#include "support/test_data.hpp"

using namespace redoubt;

namespace {

Graph classifier(std::uint64_t seed = 1, const std::string& activation = "relu") {
  Graph graph({12}, {{"dense", {0}, {20}},
                     {activation, {1}},
                     {"dropout", {2}, {0.25}},
                     {"dense", {3}, {20}},
                     {"layer_norm", {4}},
                     {activation, {5}},
                     {"add", {6, 2}},  // a residual connection: tensor 2 lives long
                     {"dense", {7}, {4}},
                     {"softmax", {8}}});
  graph.initialise(seed);
  return graph;
}

Graph regressor(std::uint64_t seed = 1) {
  Graph graph({12}, {{"dense", {0}, {9}}, {"tanh", {1}}, {"dense", {2}, {1}}});
  graph.initialise(seed);
  return graph;
}

Tensor<float> random_rows(std::size_t rows, std::size_t cols, std::uint64_t seed) {
  Random random(seed, 3);
  Tensor<float> x{rows, cols};
  for (float& v : x.flat()) v = static_cast<float>(random.normal());
  return x;
}

std::vector<float> predict(const Graph& graph, std::span<const float> row) {
  std::vector<float> out(graph.outputs()), scratch(graph.scratch_size());
  graph.predict(row, out, scratch);
  return out;
}

errc code_of(const std::function<void()>& call) {
  try {
    call();
  } catch (const Error& error) {
    INFO(error.what());
    return error.code();
  }
  return errc::ok;
}

}  // namespace

TEST_CASE("Graph: prediction equals the pass that keeps all tensors, and batches equal rows", "[graph][threads]") {
  for (const bool classify : {true, false}) {
    const Graph graph = classify ? classifier() : regressor();
    const Tensor<float> x = random_rows(333, 12, 1);
    GraphWorkspace workspace(graph, 333, false);
    graph.forward(x, workspace);
    const auto kept = graph.value(workspace, static_cast<std::uint32_t>(graph.nodes().size()), 333);
    std::vector<Tensor<float>> batches;
    for (const int threads : {1, 2, 4}) {
      Arena arena(threads);
      batches.push_back(Tensor<float>{std::size_t{333}, graph.outputs()});
      graph.predict_batch(x, batches.back(), &arena);
    }
    for (std::size_t r = 0; r < 333; ++r) {
      const auto one = predict(graph, x.row(r));
      for (const auto& batch : batches) REQUIRE(std::equal(one.begin(), one.end(), batch.row(r).begin()));
      REQUIRE(std::equal(one.begin(), one.end(), kept.row(r).begin()));
    }
  }
}

TEST_CASE("Graph: scratch is shared by tensors that are not alive together", "[graph]") {
  std::vector<GraphNode> nodes;
  for (std::uint32_t i = 0; i < 40; ++i) nodes.push_back({"dense", {i}, {100}});
  const Graph chain({100}, nodes);
  CHECK(chain.scratch_size() == 200);
  const Graph graph = classifier();
  std::vector<float> guarded(graph.scratch_size() + 1, 77.0f), out(4);
  const Tensor<float> x = random_rows(1, 12, 2);
  graph.predict(x.row(0), out, std::span(guarded).first(graph.scratch_size()));
  CHECK(guarded.back() == 77.0f);
}

TEST_CASE("Graph: parameter gradients agree with differences of the loss", "[graph]") {
  for (const bool training : {false, true}) {
    Graph graph = classifier(3, "gelu");
    const std::size_t rows = 6;
    const Tensor<float> x = random_rows(rows, 12, 4), seed = random_rows(rows, 4, 5);
    GraphWorkspace workspace(graph, rows);
    const OpTraining step{.seed = 5, .step = 3};
    const OpTraining* pass = training ? &step : nullptr;
    const auto loss = [&] {
      graph.forward(x, workspace, pass);
      const auto scores = graph.value(workspace, graph.score_tensor(), rows);
      double sum = 0;
      for (std::size_t r = 0; r < rows; ++r) {
        for (std::size_t k = 0; k < 4; ++k) sum += static_cast<double>(seed(r, k)) * scores(r, k);
      }
      return sum;
    };
    loss();
    const auto seeds = graph.gradient(workspace, graph.score_tensor(), rows);
    std::copy(seed.flat().begin(), seed.flat().end(), seeds.data());
    std::vector<float> gradient(graph.parameters().size());
    graph.backward(x, workspace, gradient, true, pass);
    for (const GraphParameter& entry : graph.parameter_table()) {
      for (std::size_t i = 0; i < entry.size; i += 1 + entry.size / 10) {
        float& w = graph.parameters()[entry.offset + i];
        const float before = w, h = 0.02f;
        w = before + h;
        const double up = loss();
        w = before - h;
        const double down = loss();
        w = before;
        INFO(entry.name << " " << i << (training ? ", training" : ""));
        CHECK(gradient[entry.offset + i] == Approx((up - down) / (2 * h)).epsilon(0.01).margin(0.01));
      }
    }
  }
}

TEST_CASE("Graph: input gradients agree with differences", "[graph]") {
  for (const bool classify : {true, false}) {
    const Graph graph = classify ? classifier(6, "gelu") : regressor(6);
    GraphWorkspace workspace(graph, 1);
    Tensor<float> x = random_rows(1, 12, 7);
    const std::size_t label = graph.score_count() - 1;
    std::vector<float> gradient(12), ignored(12);
    const float loss = graph.loss_gradient(x.row(0), label, gradient, workspace);
    const auto p = predict(graph, x.row(0));
    CHECK(loss == Approx(classify ? -std::log(p[label]) : -p[0]).epsilon(1e-5).margin(1e-5));
    for (std::size_t i = 0; i < 12; ++i) {
      const float before = x(0, i), h = 0.01f;
      x(0, i) = before + h;
      const double up = graph.loss_gradient(x.row(0), label, ignored, workspace);
      x(0, i) = before - h;
      const double down = graph.loss_gradient(x.row(0), label, ignored, workspace);
      x(0, i) = before;
      CHECK(gradient[i] == Approx((up - down) / (2 * h)).epsilon(0.01).margin(0.002));
    }
    // The gradient of one score, by the chain rule from the loss of every label.
    std::vector<float> seed(graph.score_count(), 0.0f), vjp(12), scores(graph.score_count());
    seed[0] = 1;
    graph.input_gradient(x.row(0), seed, vjp, workspace);
    graph.scores(x.row(0), scores, workspace);
    for (std::size_t i = 0; i < 12; i += 5) {
      const float before = x(0, i), h = 0.01f;
      std::vector<float> up(scores.size()), down(scores.size());
      x(0, i) = before + h;
      graph.scores(x.row(0), up, workspace);
      x(0, i) = before - h;
      graph.scores(x.row(0), down, workspace);
      x(0, i) = before;
      CHECK(vjp[i] == Approx((up[0] - down[0]) / (2 * h)).epsilon(0.01).margin(0.002));
    }
  }
}

TEST_CASE("Graph: bounds enclose the scores of every point of the box", "[graph]") {
  for (const bool classify : {true, false}) {
    const Graph graph = classify ? classifier(8) : regressor(8);
    GraphWorkspace workspace(graph, 1, false);
    const std::size_t count = graph.score_count();
    const Tensor<float> x = random_rows(1, 12, 9);
    Random random(10);
    for (const float radius : {0.0f, 1e-3f, 0.1f, 1.0f}) {
      std::vector<float> lower(12), upper(12), low(count), high(count), margins(count), scores(count), point(12);
      for (std::size_t i = 0; i < 12; ++i) {
        lower[i] = x(0, i) - radius;
        upper[i] = x(0, i) + radius;
      }
      graph.bounds(lower, upper, low, high);
      graph.margin_bounds(lower, upper, 0, margins);
      for (std::size_t k = 1; k < count; ++k) CHECK(margins[k] >= low[0] - high[k] - 1e-3f);  // never looser
      for (int trial = 0; trial < 500; ++trial) {
        for (std::size_t i = 0; i < 12; ++i) {
          const double t = trial % 2 == 0 ? static_cast<double>(random.below(2)) : random.uniform();
          point[i] = std::clamp(static_cast<float>(lower[i] + t * (upper[i] - lower[i])), lower[i], upper[i]);
        }
        graph.scores(point, scores, workspace);
        for (std::size_t k = 0; k < count; ++k) {
          REQUIRE(low[k] <= scores[k]);
          REQUIRE(scores[k] <= high[k]);
          if (k > 0) REQUIRE(margins[k] <= scores[0] - scores[k]);
        }
      }
      if (radius == 0) {
        for (std::size_t k = 0; k < count; ++k) CHECK(high[k] - low[k] < 0.01f);
      }
    }
    std::vector<float> bad(12, 1.0f), out(count);
    CHECK(code_of([&] { graph.bounds(bad, std::vector<float>(12, 0.0f), out, out); }) == errc::invalid_argument);
    bad[3] = std::nanf("");
    CHECK(code_of([&] { graph.bounds(bad, bad, out, out); }) == errc::invalid_argument);
    CHECK(code_of([&] { graph.bounds({}, {}, out, out); }) == errc::shape_mismatch);
  }
}

TEST_CASE("Graph: saved and loaded bit for bit, also by its name", "[graph]") {
  const Graph graph = classifier(11);
  Archive archive;
  graph.save(archive);
  const auto loaded = find_form("graph")(Archive::from_bytes(archive.to_bytes()));
  const auto& back = dynamic_cast<const Graph&>(*loaded);
  CHECK(std::equal(back.parameters().begin(), back.parameters().end(), graph.parameters().begin(),
                   graph.parameters().end()));
  const Tensor<float> x = random_rows(3, 12, 12);
  for (std::size_t r = 0; r < 3; ++r) CHECK(predict(back, x.row(r)) == predict(graph, x.row(r)));
  Archive again;
  back.save(again);
  CHECK(again.to_bytes() == archive.to_bytes());
}

TEST_CASE("Graph: hostile archives are refused", "[graph]") {
  const auto refused = [](auto change) {
    Archive archive;
    classifier().save(archive);
    change(archive);
    const errc code = code_of([&] { find_form("graph")(archive); });
    return code == errc::corrupt || code == errc::unsupported;
  };
  const auto list = [](std::vector<std::string> values) { return values; };
  CHECK(refused([](Archive& a) { a = Archive{}; }));
  CHECK(refused([](Archive& a) { a.set_int("graph.nodes", 0); }));
  CHECK(refused([](Archive& a) { a.set_int("graph.nodes", -4); }));
  CHECK(refused([](Archive& a) { a.set_int("graph.nodes", std::int64_t{1} << 60); }));
  CHECK(refused([](Archive& a) { a.set_int("graph.nodes", 10); }));  // one more than there are
  CHECK(refused([](Archive& a) { a.set("graph.0.op", "system"); }));
  CHECK(refused([](Archive& a) { a.set_number("graph.0.units", 1e9); }));
  CHECK(refused([](Archive& a) { a.set_number("graph.0.units", 2.5); }));
  CHECK(refused([](Archive& a) { a.set_number("graph.0.units", std::nan("")); }));
  CHECK(refused([](Archive& a) { a.set_number("graph.0.units", 1 << 20); }));  // fits the op, not the tensors
  CHECK(refused([](Archive& a) { a.set_number("graph.2.rate", 1.0); }));
  CHECK(refused([&](Archive& a) { a.set_list("graph.0.inputs", list({})); }));
  CHECK(refused([&](Archive& a) { a.set_list("graph.0.inputs", list({"0", "0"})); }));
  CHECK(refused([&](Archive& a) { a.set_list("graph.0.inputs", list({"5"})); }));  // a later tensor
  CHECK(refused([&](Archive& a) { a.set_list("graph.0.inputs", list({"1"})); }));  // itself
  CHECK(refused([&](Archive& a) { a.set_list("graph.0.inputs", list({"-1"})); }));
  CHECK(refused([&](Archive& a) { a.set_list("graph.0.inputs", list({"99999999999"})); }));
  CHECK(refused([&](Archive& a) { a.set_list("graph.6.inputs", list({"6", "8"})); }));
  CHECK(refused([&](Archive& a) { a.set_list("graph.6.inputs", list({"6", "0"})); }));  // other shape
  CHECK(refused([&](Archive& a) { a.set_list("graph.input", list({})); }));
  CHECK(refused([&](Archive& a) { a.set_list("graph.input", list({"0"})); }));
  CHECK(refused([&](Archive& a) { a.set_list("graph.input", list({"13"})); }));
  CHECK(refused([&](Archive& a) { a.set_list("graph.input", list({"65536", "65536", "65536", "65536"})); }));
  CHECK(refused([](Archive& a) { a.put<float>("graph.0.weight", std::vector<float>(240)); }));  // rank 1
  CHECK(refused([](Archive& a) { a.put<double>("graph.0.bias", std::vector<double>(20)); }));
  CHECK(refused([](Archive& a) {
    std::vector<float> values(20, std::numeric_limits<float>::infinity());
    a.put<float>("graph.0.bias", values);
  }));
  CHECK_FALSE(refused([](Archive&) {}));
}

TEST_CASE("Graph: a graph that cannot be is refused with the node", "[graph]") {
  CHECK_THROWS_WITH(Graph({3}, {{"dense", {0}, {2}}, {"add", {0, 1}}}), Catch::Contains("[3]"));
  CHECK_THROWS_WITH(Graph({3}, {{"relu", {0}}, {"relu", {7}}}), Catch::Contains("node 1 (relu) uses tensor 7"));
  CHECK(code_of([] { Graph({3}, {}); }) == errc::invalid_argument);
  CHECK(code_of([] { Graph({3}, {{"warp", {0}}}); }) == errc::unsupported);
  CHECK(code_of([] { Graph({3}, {{"dense", {0}, {2, 5}}}); }) == errc::invalid_argument);
  const auto none = [](const GraphParameter&) { return std::span<const float>(); };
  CHECK(code_of([&] { Graph({3}, {{"dense", {0}, {2}}}, none); }) == errc::shape_mismatch);
  const Graph graph = classifier();
  GraphWorkspace small(graph, 1, false);
  const Tensor<float> x = random_rows(2, 12, 1);
  CHECK(code_of([&] { graph.forward(x, small); }) == errc::shape_mismatch);
  CHECK(code_of([&] { graph.backward(MatrixView<const float>(x).slice(0, 1), small, {}, true); }) ==
        errc::shape_mismatch);
}

TEST_CASE("Graph: starting values depend on the seed only", "[graph]") {
  const Graph a = classifier(5), b = classifier(5), c = classifier(6);
  const auto equal = [](const Graph& x, const Graph& y) {
    return std::equal(x.parameters().begin(), x.parameters().end(), y.parameters().begin());
  };
  CHECK(equal(a, b));
  CHECK_FALSE(equal(a, c));
  // Glorot: variance 2 / (inputs + units), biases zero, layer norm starts as the identity.
  Graph wide({400}, {{"dense", {0}, {100}}, {"layer_norm", {1}}});
  wide.initialise(1);
  const auto& table = wide.parameter_table();
  double square = 0;
  for (const float w : wide.parameters().subspan(table[0].offset, table[0].size)) square += w * w;
  CHECK(square / 40000 == Approx(2.0 / 500).epsilon(0.05));
  for (const float b0 : wide.parameters().subspan(table[1].offset, table[1].size)) CHECK(b0 == 0);
  for (const float s : wide.parameters().subspan(table[2].offset, table[2].size)) CHECK(s == 1);
}

TEST_CASE("Graph: its C++ source compiles and agrees", "[graph]") {
  const test::TempDir folder;
  const Graph graph = classifier(13);
  const Tensor<float> x = random_rows(1, 12, 14);
  std::string call = "int main() {\n  const float x[] = {";
  for (const float v : x.flat()) call += fmt::format("{:.9g},", v);
  call += "};\n  float y[4];\n  net(x, y);\n  for (float v : y) std::printf(\"%.9g\\n\", v);\n}\n";
  std::ofstream(folder / "net.cpp") << "#include <cmath>\n#include <cstdio>\n" << graph.to_source("net") << call;
  const std::string command =
      fmt::format("c++ -std=c++17 -Wall -Werror -o {0} {0}.cpp && {0} > {0}.txt", folder / "net");
  REQUIRE(std::system(command.c_str()) == 0);
  std::ifstream out(folder / "net.txt");
  for (const float want : predict(graph, x.row(0))) {
    float found = -1;
    out >> found;
    CHECK(found == Approx(want).epsilon(1e-5).margin(1e-6));
  }
  CHECK(Graph({1100}, {{"dense", {0}, {1000}}}).to_source("net").empty());  // too large to be useful
}

TEST_CASE("Graph: gradients of many images are the sum over few, with equal bits on two threads", "[graph][threads]") {
  using namespace layer;
  const bool large = GENERATE(false, true);  // weights too large for sums of blocks of images
  Graph graph = large ? Sequential{Conv2d{.filters = 64, .pad = 1}, GlobalAveragePool{}, Dense{3}}.graph({4, 4, 128})
                      : Sequential{Conv2d{.filters = 6, .pad = 2},
                                   ReLU{},
                                   MaxPool2d{.kernel = 3, .stride = 2, .pad = 1},
                                   Conv2d{.filters = 18, .groups = 3},
                                   Tanh{},
                                   MaxPool2d{},
                                   Dense{3}}
                            .graph({17, 16, 3});
  graph.initialise(4);
  const std::size_t count = 21, scores = graph.score_count();
  Random random(5);
  Tensor<float> x({count, graph.inputs()}), seed({count, scores});
  for (float& v : x.flat()) v = static_cast<float>(random.normal());
  for (float& v : seed.flat()) v = static_cast<float>(random.normal());
  const auto pass = [&](std::size_t begin, std::size_t end, std::span<float> parameters, Arena* arena) {
    GraphWorkspace workspace(graph, end - begin);
    const auto rows = MatrixView<const float>(x).slice(begin, end);
    graph.forward(rows, workspace, nullptr, arena);
    const auto from = MatrixView<const float>(seed).slice(begin, end);
    const auto to = graph.gradient(workspace, graph.score_tensor(), end - begin);
    for (std::size_t r = 0; r < end - begin; ++r) std::copy_n(from.row(r).data(), scores, to.row(r).data());
    graph.backward(rows, workspace, parameters, true, nullptr, arena);
    const auto inputs = graph.gradient(workspace, 0, end - begin);
    return std::vector<float>(inputs.data(), inputs.data() + (end - begin) * graph.inputs());
  };
  Arena one(1), two(2);
  const std::size_t size = std::as_const(graph).parameters().size();
  std::vector<float> all(size), again(size), alone(size);
  const auto inputs = pass(0, count, all, &one);
  CHECK(pass(0, count, again, &two) == inputs);
  CHECK(again == all);
  for (std::size_t r = 0; r < count; r += 3) {  // a dense layer takes another way for a single row
    const auto few = pass(r, r + 3, alone, &one);
    CHECK(std::equal(few.begin(), few.end(), inputs.begin() + static_cast<std::ptrdiff_t>(r * graph.inputs())));
  }
  double worst = 0, largest = 0;
  for (std::size_t i = 0; i < size; ++i) {
    worst = std::max<double>(worst, std::abs(all[i] - alone[i]));
    largest = std::max<double>(largest, std::abs(all[i]));
  }
  CHECK(largest > 0.1);
  CHECK(worst < 1e-5 * largest);
}

namespace {

/// Of nine rows of 72 values in images of 6 x 6 x 2: scores, the tensors `kept`, gradients of parameters and inputs.
std::vector<float> all_of(const std::vector<GraphNode>& nodes, const std::vector<std::uint32_t>& kept,
                          const OpTraining* training, int threads) {
  Graph graph({6, 6, 2}, nodes);
  std::size_t i = 0;
  for (const GraphParameter& p : graph.parameter_table())
    for (std::size_t k = 0; k < p.size; ++k)
      graph.parameters()[p.offset + k] = static_cast<float>(std::sin(static_cast<double>(++i)));
  const Tensor<float> x = random_rows(9, 72, 4), seed = random_rows(9, 3, 5);
  GraphWorkspace workspace(graph, 9);
  Arena arena(threads);
  std::vector<float> found;
  for (const bool want_input : {false, true}) {
    graph.forward(x, workspace, training, &arena);
    const auto scores = graph.value(workspace, graph.score_tensor(), 9);
    found.insert(found.end(), scores.data(), scores.data() + 27);
    for (const std::uint32_t t : kept) {
      const auto tensor = graph.value(workspace, t, 9);
      found.insert(found.end(), tensor.data(), tensor.data() + 9 * tensor.cols());
    }
    const auto seeds = graph.gradient(workspace, graph.score_tensor(), 9);
    std::copy(seed.flat().begin(), seed.flat().end(), seeds.data());
    std::vector<float> gradient(graph.parameters().size());
    graph.backward(x, workspace, gradient, want_input, training, &arena);
    for (const GraphParameter& p : graph.parameter_table())
      found.insert(found.end(), gradient.data() + p.offset, gradient.data() + p.offset + p.size);
    if (!want_input) continue;
    const auto inputs = graph.gradient(workspace, 0, 9);
    found.insert(found.end(), inputs.data(), inputs.data() + 9 * 72);
  }
  return found;
}

/// `alone` and `observed` differ in readers that have no part in the scores.
void check_equal(const std::vector<GraphNode>& alone, const std::vector<GraphNode>& observed,
                 const std::vector<std::uint32_t>& kept) {
  for (const auto products :
       {kernels::ProductPrecision::fp32, kernels::ProductPrecision::fp32x3, kernels::ProductPrecision::bf16}) {
    const OpTraining training{.products = products};
    INFO(kernels::to_string(products));
    const auto found = all_of(alone, kept, &training, 1);
    CHECK(found == all_of(observed, kept, &training, 1));
    CHECK(found == all_of(alone, kept, &training, 2));
    CHECK(std::any_of(found.begin(), found.end(), [](float v) { return v != 0; }));
  }
}

}  // namespace

TEST_CASE("Graph: what shares memory or is done with a convolution changes no bit", "[graph][threads]") {
  for (const std::vector<double>& pool : {std::vector<double>{2, 2, 2, 0}, {3, 2, 2, 1}}) {
    for (const double groups : {1, 2, 4}) {
      const std::vector<GraphNode> start{{"conv2d", {0}, {4, 3, 3, 1, 1}},
                                         {"relu", {1}},
                                         {"conv2d", {2}, {4, 3, 3, 1, 1, 1, groups}},
                                         {"relu", {3}},
                                         {"max_pool2d", {4}, pool}};
      std::vector<GraphNode> alone = start, observed = start;
      const double values = 4 * (pool[3] > 0 ? 3 * 4 : 3 * 3);
      alone.push_back({"reshape", {5}, {values}});
      alone.push_back({"dense", {6}, {3}});
      // Somebody else reads every tensor, without a part in the scores.
      for (std::uint32_t t = 1; t <= 5; ++t) observed.push_back({"sigmoid", {t}});
      observed.push_back({"reshape", {5}, {values}});
      observed.push_back({"dense", {11}, {3}});
      INFO("pad " << pool[3] << ", groups " << groups);
      check_equal(alone, observed, {2, 4, 5});
    }
  }
}

TEST_CASE("Graph: a ReLU and a pool that are done with a dense layer change no bit", "[graph][threads]") {
  std::vector<GraphNode> alone{{"dense", {0}, {4, 1}}, {"relu", {1}}, {"max_pool2d", {2}, {2, 2, 2, 0}}};
  std::vector<GraphNode> observed = alone;
  for (std::uint32_t t = 1; t <= 3; ++t) observed.push_back({"sigmoid", {t}});
  for (auto* nodes : {&alone, &observed}) {
    const auto count = static_cast<std::uint32_t>(nodes->size());
    nodes->push_back({"reshape", {3}, {36}});
    nodes->push_back({"dense", {count + 1}, {20}});
    nodes->push_back({"relu", {count + 2}});
    if (nodes == &observed) nodes->push_back({"sigmoid", {count + 2}});
    nodes->push_back({"dense", {count + 3}, {3}});
  }
  check_equal(alone, observed, {2, 3});
}

TEST_CASE("Graph: gradients that share memory along sums and in place are those of memory of their own", "[graph]") {
  Random random(4, 1);
  for (int round = 0; round < 200; ++round) {
    std::vector<GraphNode> nodes{{"dense", {0}, {8}}};
    std::vector<bool> read{true, false};
    const auto pick = [&] {
      const auto t = static_cast<std::uint32_t>(1 + random.below(read.size() - 1));
      read[t] = true;
      return t;
    };
    const auto append = [&](GraphNode node) {
      nodes.push_back(std::move(node));
      read.push_back(false);
    };
    for (int i = 0; i < 10; ++i) {
      switch (random.below(6)) {
        case 0: append({"dense", {pick()}, {8}}); break;
        case 1: append({"layer_norm", {pick()}}); break;
        case 2: append({"relu", {pick()}}); break;
        case 3: append({"gelu", {pick()}}); break;
        default: append({"add", {pick(), pick()}});
      }
    }
    const std::size_t made = read.size();
    for (std::uint32_t t = 1; t + 1 < made; ++t)
      if (!read[t]) append({"add", {t, static_cast<std::uint32_t>(nodes.size())}});
    const auto last = static_cast<std::uint32_t>(nodes.size());
    std::vector<GraphNode> alone = nodes, observed = nodes;
    for (std::uint32_t t = 1; t <= last; ++t) observed.push_back({"sigmoid", {t}});  // of no part in the scores
    alone.push_back({"dense", {last}, {3}});
    observed.push_back({"dense", {last}, {3}});
    INFO("round " << round);
    const OpTraining training{};
    REQUIRE(all_of(alone, {}, &training, 1) == all_of(observed, {}, &training, 1));
  }
}
