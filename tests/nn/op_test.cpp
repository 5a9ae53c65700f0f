#include "redoubt/nn/op.hpp"

#include <fmt/format.h>

#include <algorithm>
#include <array>
#include <cmath>
#include <cstdlib>
#include <fstream>
#include <limits>
#include <set>

#include "nn/golden.hpp"
#include "nn/op_cases.hpp"
#include "redoubt/core/error.hpp"
#include "redoubt/core/random.hpp"
#include "redoubt/core/tensor.hpp"
#include "redoubt/nn/graph.hpp"
#include "support/test_data.hpp"

using namespace redoubt;
using namespace redoubt::test;

namespace {

constexpr std::size_t rows = 5;  // unless a case says otherwise

/// Storage and views of one op call over `rows` rows.
struct Bench {
  const Op& op;
  const OpCase row;
  std::vector<OpShape> shapes;
  std::vector<OpParameter> specs;
  std::size_t width;  // of the output
  std::vector<Tensor<float>> inputs, parameters;
  std::vector<MatrixView<const float>> parameter_views;

  std::vector<double> attributes;
  mutable std::vector<float> scratch;

  Bench(const OpCase& c, std::uint64_t seed, std::size_t count = rows)
      : op(find_op(c.op)), row(c), shapes(c.inputs), attributes(c.attributes) {
    REQUIRE(c.attributes.size() <= op.attributes().size());
    while (attributes.size() < op.attributes().size()) {
      attributes.push_back(op.attributes()[attributes.size()].fallback);
    }
    REQUIRE(c.inputs.size() >= op.least_arity());
    REQUIRE(c.inputs.size() <= op.arity());
    width = op_size(op.infer(shapes, attributes));
    specs = op.parameters(shapes, attributes);
    Random random(seed);
    for (const OpShape& shape : shapes) {
      inputs.push_back(Tensor<float>{count, op_size(shape)});
      for (float& v : inputs.back().flat()) v = static_cast<float>(1.5 * random.normal());
      if (c.positive) {
        for (float& v : inputs.back().flat()) v = std::abs(v) + 0.2f;
      }
    }
    for (const OpParameter& spec : specs) {
      const std::size_t first = spec.shape.size() == 2 ? spec.shape[0] : 1;
      parameters.push_back(Tensor<float>{first, spec.shape.back()});
      for (float& v : parameters.back().flat()) v = static_cast<float>(random.normal());
      if (spec.name == "variance") {
        for (float& v : parameters.back().flat()) v = std::abs(v) + 0.1f;
      }
    }
    for (auto& p : parameters) parameter_views.emplace_back(p);
  }

  template <class Call>
  Call call(bool backward = false) const {
    Call result;
    scratch.assign(rows * op.scratch(shapes, attributes, backward), std::nanf(""));
    result.scratch = scratch;
    result.shapes = shapes;
    result.attributes = attributes;
    result.parameters = parameter_views;
    return result;
  }
  Tensor<float> forward(const std::vector<Tensor<float>>& x, const OpTraining* training = nullptr) const {
    Tensor<float> y{x[0].rows(), width};
    std::vector<MatrixView<const float>> views(x.begin(), x.end());
    auto forward = call<OpForward>();
    forward.inputs = views;
    forward.output = y;
    forward.training = training;
    op.forward(forward);
    return y;
  }
  static Values to_double(std::span<const float> x) { return {x.begin(), x.end()}; }
  Values naive(std::size_t r, const std::vector<Values>& x) const {
    std::vector<Values> p;
    for (const auto& parameter : parameters) p.push_back(to_double(parameter.flat()));
    static_cast<void>(r);
    return row.naive(x, p, attributes);
  }
  std::vector<Values> row_of(std::size_t r) const {
    std::vector<Values> x;
    for (const auto& input : inputs) x.push_back(to_double(input.row(r)));
    return x;
  }
};

std::string label(const OpCase& c) { return c.op + (c.note.empty() ? "" : ", " + c.note); }

}  // namespace

TEST_CASE("Ops: every op has a row in the case table and a name for ONNX", "[op]") {
  std::set<std::string> covered;
  for (const OpCase& c : op_cases()) covered.insert(c.op);
  for (const Op* op : ops()) {
    if (op->name().starts_with("test_")) continue;  // of another test
    CHECK(covered.count(std::string(op->name())) == 1);
    CHECK_FALSE(op->onnx_name().empty());
    CHECK(&find_op(op->name()) == op);
    CHECK(op->arity() <= max_op_inputs);
  }
  try {
    find_op("teleport");
    FAIL("an unknown op was found");
  } catch (const Error& error) {
    CHECK(error.code() == errc::unsupported);
    CHECK_THAT(error.what(), Catch::Contains("teleport") && Catch::Contains("dense"));
  }
}

TEST_CASE("Ops: forward agrees with the naive reference, alone and in a batch", "[op]") {
  for (const OpCase& c : op_cases()) {
    INFO(label(c));
    const Bench bench(c, 1);
    const Tensor<float> y = bench.forward(bench.inputs);
    for (std::size_t r = 0; r < rows; ++r) {
      const Values expected = bench.naive(r, bench.row_of(r));
      REQUIRE(expected.size() == bench.width);
      for (std::size_t i = 0; i < bench.width; ++i) CHECK(y(r, i) == Approx(expected[i]).epsilon(2e-5).margin(2e-5));
      std::vector<Tensor<float>> alone;
      for (const auto& input : bench.inputs) {
        alone.push_back(Tensor<float>{std::size_t{1}, input.cols()});
        std::copy(input.row(r).begin(), input.row(r).end(), alone.back().data());
      }
      const Tensor<float> one = bench.forward(alone);
      CHECK(std::equal(one.flat().begin(), one.flat().end(), y.row(r).begin()));  // bit for bit
    }
  }
}

TEST_CASE("Ops: gradients agree with differences of the naive reference", "[op]") {
  for (const OpCase& c : op_cases()) {
    INFO(label(c));
    Bench bench(c, 2);
    const Tensor<float> y = bench.forward(bench.inputs);
    Random random(3);
    Tensor<float> seed{rows, bench.width};
    for (float& v : seed.flat()) v = static_cast<float>(random.normal());

    // Gradients are added to what is there: start from one.
    std::vector<Tensor<float>> input_gradients, parameter_gradients;
    std::vector<MatrixView<float>> input_views, parameter_views;
    for (const auto& x : bench.inputs) input_gradients.push_back(Tensor<float>{rows, x.cols()});
    for (const auto& p : bench.parameters) parameter_gradients.push_back(Tensor<float>{p.rows(), p.cols()});
    for (auto* list : {&input_gradients, &parameter_gradients}) {
      for (auto& g : *list) std::fill(g.flat().begin(), g.flat().end(), 1.0f);
    }
    for (auto& g : input_gradients) input_views.emplace_back(g);
    for (auto& g : parameter_gradients) parameter_views.emplace_back(g);
    std::vector<MatrixView<const float>> views(bench.inputs.begin(), bench.inputs.end());
    auto backward = bench.call<OpBackward>(true);
    backward.inputs = views;
    backward.output = y;
    backward.output_gradient = seed;
    backward.input_gradients = input_views;
    backward.parameter_gradients = parameter_views;
    bench.op.backward(backward);
    if (bench.op.assigns_gradients()) {
      // What was there before does not matter then.
      auto zero = input_gradients, unset = input_gradients;
      std::vector<MatrixView<float>> zero_views, unset_views;
      for (auto& g : zero) {
        std::fill(g.flat().begin(), g.flat().end(), 0.0f);
        zero_views.emplace_back(g);
      }
      for (auto& g : unset) {
        std::fill(g.flat().begin(), g.flat().end(), std::numeric_limits<float>::quiet_NaN());
        unset_views.emplace_back(g);
      }
      auto again = bench.call<OpBackward>(true);
      again.inputs = views;
      again.output = y;
      again.output_gradient = seed;
      const std::vector<MatrixView<float>> none(bench.parameters.size());
      again.parameter_gradients = none;
      again.input_gradients = zero_views;
      bench.op.backward(again);
      again.input_gradients = unset_views;
      again.fresh = 0xff;
      bench.op.backward(again);
      for (std::size_t s = 0; s < zero.size(); ++s) CHECK(unset[s] == zero[s]);
      // One tensor that is every input, for the first of which its gradient is unset.
      const auto as_wide = [&](const auto& x) { return x.cols() == bench.inputs[0].cols(); };
      if (zero.size() > 1 && std::all_of(bench.inputs.begin(), bench.inputs.end(), as_wide)) {
        std::fill(unset[0].flat().begin(), unset[0].flat().end(), std::numeric_limits<float>::quiet_NaN());
        const std::vector<MatrixView<float>> one(zero.size(), MatrixView<float>(unset[0]));
        again.input_gradients = one;
        again.fresh = 1;
        bench.op.backward(again);
        for (std::size_t i = 0; i < unset[0].size(); ++i) {
          double sum = 0;
          for (const auto& g : zero) sum += g.flat()[i];
          CHECK(unset[0].flat()[i] == Approx(sum).epsilon(1e-5).margin(1e-5));
        }
      }
    }

    const double h = 1e-5;
    const auto loss = [&](std::size_t r, const std::vector<Values>& x, const std::vector<Values>& p) {
      const Values out = c.naive(x, p, bench.attributes);
      double sum = 0;
      for (std::size_t i = 0; i < out.size(); ++i) sum += seed(r, i) * out[i];
      return sum;
    };
    std::vector<Values> parameters;
    for (const auto& p : bench.parameters) parameters.push_back(Bench::to_double(p.flat()));
    for (std::size_t s = 0; s < bench.inputs.size(); ++s) {
      for (std::size_t r = 0; r < rows; ++r) {
        for (std::size_t i = 0; i < bench.inputs[s].cols(); ++i) {
          auto x = bench.row_of(r);
          x[s][i] += h;
          const double up = loss(r, x, parameters);
          x[s][i] -= 2 * h;
          const double slope = (up - loss(r, x, parameters)) / (2 * h);
          CHECK(input_gradients[s](r, i) - 1 == Approx(slope).epsilon(1e-4).margin(1e-4));
        }
      }
    }
    for (std::size_t p = 0; p < parameters.size(); ++p) {
      if (bench.specs[p].state) {
        for (const float g : parameter_gradients[p].flat()) CHECK(g == 1.0f);
        continue;
      }
      const std::size_t stride = std::max<std::size_t>(1, parameters[p].size() / 200);  // a sample of large ones
      for (std::size_t i = 0; i < parameters[p].size(); i += stride) {
        double slope = 0;
        for (std::size_t r = 0; r < rows; ++r) {
          auto moved = parameters;
          moved[p][i] += h;
          const double up = loss(r, bench.row_of(r), moved);
          moved[p][i] -= 2 * h;
          slope += (up - loss(r, bench.row_of(r), moved)) / (2 * h);
        }
        CHECK(parameter_gradients[p].flat()[i] - 1 == Approx(slope).epsilon(1e-4).margin(1e-4));
      }
    }
  }
}

TEST_CASE("Ops: what is computed inside a box stays inside its bounds", "[op]") {
  for (const OpCase& c : op_cases()) {
    INFO(label(c));
    const Bench bench(c, 4);
    Random random(5);
    for (const double radius : {0.0, 1e-3, 0.3, 4.0}) {
      std::vector<Tensor<float>> lower, upper;
      for (const auto& x : bench.inputs) {
        lower.push_back(Tensor<float>{std::size_t{1}, x.cols()});
        upper.push_back(Tensor<float>{std::size_t{1}, x.cols()});
        for (std::size_t i = 0; i < x.cols(); ++i) {
          lower.back()(0, i) = x(0, i) - static_cast<float>(radius * random.uniform());
          upper.back()(0, i) = x(0, i) + static_cast<float>(radius * random.uniform());
          if (c.positive) lower.back()(0, i) = std::max(lower.back()(0, i), 0.01f);
        }
      }
      Tensor<float> low{std::size_t{1}, bench.width}, high{std::size_t{1}, bench.width};
      std::vector<MatrixView<const float>> lower_views(lower.begin(), lower.end()),
          upper_views(upper.begin(), upper.end());
      auto bounds = bench.call<OpBounds>();
      bounds.input_lower = lower_views;
      bounds.input_upper = upper_views;
      bounds.output_lower = low;
      bounds.output_upper = high;
      bench.op.bounds(bounds);
      const std::size_t points = 400;
      for (std::size_t k = 0; k < points; ++k) {
        auto x = lower;
        for (std::size_t s = 0; s < x.size(); ++s) {
          for (std::size_t i = 0; i < x[s].cols(); ++i) {
            // Half of the points are corners, where extremes lie.
            const double t = k % 2 == 0 ? static_cast<double>(random.below(2)) : random.uniform();
            const double at = lower[s](0, i) + t * (upper[s](0, i) - lower[s](0, i));
            x[s](0, i) = std::clamp(static_cast<float>(at), lower[s](0, i), upper[s](0, i));
          }
        }
        const Tensor<float> y = bench.forward(x);
        std::size_t outside = 0;
        for (std::size_t i = 0; i < bench.width; ++i) outside += y(0, i) < low(0, i) || y(0, i) > high(0, i);
        REQUIRE(outside == 0);
      }
      if (radius == 0) {  // bounds of a point are tight: rounding of one sum over the inputs
        const Tensor<float> y = bench.forward(lower);
        const float slack = 5e-5f * static_cast<float>(bench.inputs[0].cols());
        for (std::size_t i = 0; i < bench.width; ++i) {
          CHECK(high(0, i) - low(0, i) <= slack * (1 + std::abs(y(0, i))));
        }
      }
    }
  }
}

TEST_CASE("Ops: affine and monotone ones are, and lines enclose activations", "[op]") {
  std::size_t affine = 0, monotone = 0, with_lines = 0;
  for (const OpCase& c : op_cases()) {
    INFO(label(c));
    const Bench bench(c, 6);
    Random random(7);
    const auto moved = [&](double step) {
      auto x = bench.inputs;
      for (auto& input : x)
        for (float& v : input.flat()) v += static_cast<float>(step * random.uniform());
      return x;
    };
    if (bench.op.affine_terms(bench.shapes, bench.attributes) > 0) {
      ++affine;
      // Slopes that are asked for at zero explain every difference.
      std::vector<Tensor<float>> zero, slopes;
      for (const auto& x : bench.inputs) {
        zero.push_back(Tensor<float>{rows, x.cols()});
        slopes.push_back(Tensor<float>{rows, x.cols()});
      }
      const Tensor<float> y0 = bench.forward(zero), y = bench.forward(bench.inputs);
      Tensor<float> seed{rows, bench.width};
      for (float& v : seed.flat()) v = static_cast<float>(random.normal());
      std::vector<MatrixView<const float>> views(zero.begin(), zero.end());
      std::vector<MatrixView<float>> slope_views(slopes.begin(), slopes.end());
      const std::vector<MatrixView<float>> none(bench.parameters.size());
      auto backward = bench.call<OpBackward>(true);
      backward.inputs = views;
      backward.output = y0;
      backward.output_gradient = seed;
      backward.input_gradients = slope_views;
      backward.parameter_gradients = none;
      bench.op.backward(backward);
      for (std::size_t r = 0; r < rows; ++r) {
        double left = 0, right = 0, size = 1;
        for (std::size_t i = 0; i < bench.width; ++i) left += seed(r, i) * (static_cast<double>(y(r, i)) - y0(r, i));
        for (std::size_t s = 0; s < zero.size(); ++s) {
          for (std::size_t i = 0; i < slopes[s].cols(); ++i) {
            right += static_cast<double>(slopes[s](r, i)) * bench.inputs[s](r, i);
            size += std::abs(static_cast<double>(slopes[s](r, i)) * bench.inputs[s](r, i));
          }
        }
        CHECK(left == Approx(right).margin(1e-5 * size));
      }
    }
    if (bench.op.monotone()) {
      ++monotone;
      for (int trial = 0; trial < 20; ++trial) {
        auto low = moved(1), high = low;
        for (auto& input : high)
          for (float& v : input.flat()) v += static_cast<float>(random.below(2) * random.uniform());
        const Tensor<float> a = bench.forward(low), b = bench.forward(high);
        for (std::size_t i = 0; i < a.flat().size(); ++i) REQUIRE(b.flat()[i] >= a.flat()[i] - 1e-6f);
      }
    }
    const std::size_t n = bench.inputs[0].cols();
    std::vector<float> lower(n), upper(n), below(n), above(n);
    std::vector<double> offset_below(n), offset_above(n);
    for (const double radius : {0.0, 0.1, 2.0, 30.0}) {
      for (std::size_t i = 0; i < n; ++i) {
        lower[i] = bench.inputs[0](0, i) - static_cast<float>(radius * random.uniform());
        upper[i] = bench.inputs[0](0, i) + static_cast<float>(radius * random.uniform());
      }
      if (!bench.op.lines({bench.attributes, lower, upper, below, above, offset_below, offset_above})) break;
      with_lines += radius == 0;
      for (int k = 0; k <= 100; ++k) {
        auto x = bench.inputs;
        for (std::size_t i = 0; i < n; ++i) {
          const double at = lower[i] + k / 100.0 * (static_cast<double>(upper[i]) - lower[i]);
          x[0](0, i) = std::clamp(static_cast<float>(at), lower[i], upper[i]);
        }
        const Tensor<float> y = bench.forward(x);
        for (std::size_t i = 0; i < n; ++i) {
          const double at = x[0](0, i);
          REQUIRE(below[i] * at + offset_below[i] <= y(0, i));
          REQUIRE(y(0, i) <= above[i] * at + offset_above[i]);
        }
      }
    }
  }
  CHECK(affine >= 12);
  CHECK(monotone >= 12);
  CHECK(with_lines >= 4);
}

TEST_CASE("Ops: generated source compiles and agrees", "[op]") {
  const TempDir folder;
  std::string program = "#include <cmath>\n#include <cstdio>\n";
  std::string calls;
  std::vector<float> expected;
  std::size_t number = 0;
  const auto array = [](const std::string& name, std::span<const float> values) {
    std::string text = fmt::format("  static const float {}[] = {{", name);
    for (const float v : values) text += fmt::format("{:.9g},", v);
    return text + "};\n";
  };
  for (const OpCase& c : op_cases()) {
    INFO(label(c));
    const Bench bench(c, 6);
    std::vector<std::string> inputs, parameters;
    std::vector<std::size_t> sizes;
    std::string body = fmt::format("void f{}() {{\n", number);
    for (std::size_t s = 0; s < bench.inputs.size(); ++s) {
      inputs.push_back(fmt::format("x{}", s));
      sizes.push_back(bench.inputs[s].cols());
      body += array(inputs.back(), bench.inputs[s].row(0));
    }
    for (std::size_t p = 0; p < bench.parameters.size(); ++p) {
      parameters.push_back(fmt::format("p{}", p));
      body += array(parameters.back(), bench.parameters[p].flat());
    }
    const std::string statements = bench.op.source({.attributes = bench.attributes,
                                                    .inputs = inputs,
                                                    .parameters = parameters,
                                                    .input_sizes = sizes,
                                                    .shapes = bench.shapes,
                                                    .output = "y",
                                                    .output_size = bench.width});
    REQUIRE(statements.empty() == !c.source);
    if (!c.source) continue;
    body += fmt::format("  float y[{0}];\n{1}  for (int i = 0; i < {0}; ++i) std::printf(\"%.9g\\n\", y[i]);\n}}\n",
                        bench.width, statements);
    program += body;
    calls += fmt::format("  f{}();\n", number++);
    const Tensor<float> y = bench.forward(bench.inputs);
    expected.insert(expected.end(), y.row(0).begin(), y.row(0).end());
  }
  std::ofstream(folder / "ops.cpp") << program << "int main() {\n" << calls << "}\n";
  const std::string command =
      fmt::format("c++ -std=c++17 -Wall -Werror -o {0} {0}.cpp && {0} > {0}.txt", folder / "ops");
  REQUIRE(std::system(command.c_str()) == 0);
  std::ifstream out(folder / "ops.txt");
  for (const float want : expected) {
    float found = std::nanf("");
    out >> found;
    CHECK(found == Approx(want).epsilon(1e-5).margin(1e-5));
  }
}

TEST_CASE("Ops: outputs and gradients are those of PyTorch", "[op]") {
  // Single precision: sums of up to a few hundred terms, each rounded, against the largest value of the tensor.
  constexpr double tolerance = 64 * 0x1p-24;
  const Golden golden;
  std::set<std::string> covered{"dropout"};  // random
  for (const GoldenOp& g : golden.ops) {
    INFO(g.name);
    covered.insert(g.op);
    Bench bench({g.op, g.shapes, g.attributes, nullptr}, 1, Golden::rows);
    REQUIRE(g.inputs.size() == bench.inputs.size());
    REQUIRE(g.parameters.size() == bench.parameters.size());
    for (std::size_t i = 0; i < g.inputs.size(); ++i) {
      REQUIRE(g.inputs[i].size() == bench.inputs[i].size());
      std::copy(g.inputs[i].begin(), g.inputs[i].end(), bench.inputs[i].data());
    }
    for (std::size_t i = 0; i < g.parameters.size(); ++i) {
      REQUIRE(g.parameters[i].size() == bench.parameters[i].size());
      std::copy(g.parameters[i].begin(), g.parameters[i].end(), bench.parameters[i].data());
    }
    const auto worst = [](std::span<const float> ours, const std::vector<double>& theirs) {
      double size = 1, error = 0;
      for (const double v : theirs) size = std::max(size, std::abs(v));
      for (std::size_t i = 0; i < theirs.size(); ++i) error = std::max(error, std::abs(ours[i] - theirs[i]));
      return ours.size() == theirs.size() ? error / size : 1e9;
    };
    const OpTraining training{.seed = 1, .step = 1};
    const Tensor<float> y = bench.forward(bench.inputs, g.training ? &training : nullptr);
    CHECK(worst(y.flat(), g.output) <= tolerance);

    Tensor<float> seed{Golden::rows, bench.width};
    REQUIRE(seed.size() == g.seed.size());
    std::copy(g.seed.begin(), g.seed.end(), seed.data());
    std::vector<Tensor<float>> slopes;
    for (const auto* list : {&bench.inputs, &bench.parameters}) {
      for (const auto& t : *list) slopes.push_back(Tensor<float>{t.rows(), t.cols()});
    }
    std::vector<MatrixView<float>> slope_views(slopes.begin(), slopes.end());
    std::vector<MatrixView<const float>> views(bench.inputs.begin(), bench.inputs.end());
    auto backward = bench.call<OpBackward>(true);
    backward.inputs = views;
    backward.output = y;
    backward.output_gradient = seed;
    backward.input_gradients = std::span(slope_views).first(views.size());
    backward.parameter_gradients = std::span(slope_views).subspan(views.size());
    backward.training = g.training ? &training : nullptr;
    bench.op.backward(backward);
    REQUIRE(g.gradients.size() == slopes.size());
    for (std::size_t i = 0; i < slopes.size(); ++i) {
      INFO("gradient " << i);
      if (!g.gradients[i].empty()) CHECK(worst(slopes[i].flat(), g.gradients[i]) <= tolerance);
    }
  }
  for (const Op* op : ops()) {
    if (!op->name().starts_with("test_")) CHECK(covered.count(std::string(op->name())) == 1);
  }
}

TEST_CASE("Dropout: masks repeat, differ by step and node, and keep the mean", "[op]") {
  const OpCase c{"dropout", {{2000}}, {0.3}, nullptr};
  Bench bench(c, 7);
  std::fill(bench.inputs[0].flat().begin(), bench.inputs[0].flat().end(), 1.0f);
  const OpTraining first{.seed = 9, .step = 1}, second{.seed = 9, .step = 2};
  const Tensor<float> a = bench.forward(bench.inputs, &first);
  CHECK(bench.forward(bench.inputs, &first) == a);
  CHECK_FALSE(bench.forward(bench.inputs, &second) == a);
  double dropped = 0, sum = 0;
  for (const float v : a.flat()) {
    CHECK((v == 0.0f || v == Approx(1 / 0.7)));
    dropped += v == 0.0f;
    sum += v;
  }
  const double count = static_cast<double>(a.size());
  CHECK(dropped / count == Approx(0.3).margin(5 * std::sqrt(0.21 / count)));
  CHECK(sum / count == Approx(1).margin(0.05));

  // The gradient passes where the value passed.
  Tensor<float> seed{rows, bench.width}, gradient{rows, bench.width};
  std::fill(seed.flat().begin(), seed.flat().end(), 1.0f);
  std::vector<MatrixView<const float>> inputs(bench.inputs.begin(), bench.inputs.end());
  std::vector<MatrixView<float>> gradients{gradient};
  auto backward = bench.call<OpBackward>();
  backward.inputs = inputs;
  backward.output = a;
  backward.output_gradient = seed;
  backward.input_gradients = gradients;
  backward.training = &first;
  bench.op.backward(backward);
  CHECK(gradient == a);
}

TEST_CASE("BatchNorm: training uses the batch, moves the running moments, and its gradient agrees with differences",
          "[op]") {
  const OpCase c{"batch_norm", {{3, 2}}, {1e-5, 0.25}, nullptr};
  Bench bench(c, 8);
  const OpTraining training{.seed = 1, .step = 1};
  const double count = 3 * rows;
  // The definition, in double precision.
  const auto expected = [&](const Values& x) {
    Values y(x.size());
    for (std::size_t channel = 0; channel < 2; ++channel) {
      double mean = 0, square = 0;
      for (std::size_t i = channel; i < x.size(); i += 2) mean += x[i] / count;
      for (std::size_t i = channel; i < x.size(); i += 2) square += (x[i] - mean) * (x[i] - mean) / count;
      for (std::size_t i = channel; i < x.size(); i += 2) {
        y[i] = bench.parameters[0](0, channel) * (x[i] - mean) / std::sqrt(square + 1e-5) +
               bench.parameters[1](0, channel);
      }
    }
    return y;
  };
  const Values x = Bench::to_double(bench.inputs[0].flat()), want = expected(x);
  const Tensor<float> y = bench.forward(bench.inputs, &training);
  for (std::size_t i = 0; i < x.size(); ++i) CHECK(y.flat()[i] == Approx(want[i]).epsilon(2e-5).margin(2e-5));

  Random random(9);
  Tensor<float> seed{rows, bench.width}, gradient{rows, bench.width};
  for (float& v : seed.flat()) v = static_cast<float>(random.normal());
  std::vector<MatrixView<const float>> inputs(bench.inputs.begin(), bench.inputs.end());
  std::vector<MatrixView<float>> gradients{gradient}, parameter_gradients(4);
  auto backward = bench.call<OpBackward>(true);
  backward.inputs = inputs;
  backward.output = y;
  backward.output_gradient = seed;
  backward.input_gradients = gradients;
  backward.parameter_gradients = parameter_gradients;
  backward.training = &training;
  bench.op.backward(backward);
  for (std::size_t i = 0; i < x.size(); ++i) {
    Values up = x, down = x;
    up[i] += 1e-5;
    down[i] -= 1e-5;
    const Values high = expected(up), low = expected(down);
    double slope = 0;
    for (std::size_t k = 0; k < x.size(); ++k) slope += seed.flat()[k] * (high[k] - low[k]) / 2e-5;
    CHECK(gradient.flat()[i] == Approx(slope).epsilon(1e-4).margin(1e-4));
  }

  const Graph fresh({3, 2}, {{"batch_norm", {0}, {1e-5, 0.25}}});
  Graph graph = fresh;
  graph.initialise(1);
  GraphWorkspace workspace(graph, rows);
  graph.forward(bench.inputs[0], workspace, &training);
  graph.update_state(bench.inputs[0], workspace, training);
  for (std::size_t channel = 0; channel < 2; ++channel) {
    double mean = 0, square = 0;
    for (std::size_t i = channel; i < x.size(); i += 2) mean += x[i] / count;
    for (std::size_t i = channel; i < x.size(); i += 2) square += (x[i] - mean) * (x[i] - mean) / (count - 1);
    const auto& table = graph.parameter_table();
    CHECK(graph.parameters()[table[2].offset + channel] == Approx(0.25 * mean).margin(1e-6));
    CHECK(graph.parameters()[table[3].offset + channel] == Approx(0.75 + 0.25 * square));
    CHECK(graph.parameters()[table[0].offset + channel] == 1.0f);
  }
}

namespace {

/// The gradients of an attention in its queries, keys and values, where `tensor` says which tensor each of them is;
/// those that are not wanted stay empty.
std::array<Tensor<float>, 3> attention_gradients(const Bench& bench, std::array<std::size_t, 3> tensor,
                                                 std::array<bool, 3> wanted, const OpTraining* training = nullptr) {
  const Tensor<float> y = bench.forward(bench.inputs);
  Tensor<float> seed{rows, bench.width};
  Random random(4);
  for (float& v : seed.flat()) v = static_cast<float>(random.normal());
  const std::vector<MatrixView<const float>> views(bench.inputs.begin(), bench.inputs.end());
  std::array<Tensor<float>, 3> found;
  std::array<MatrixView<float>, 3> to;
  auto call = bench.call<OpBackward>(true);
  for (std::size_t i = 0; i < 3; ++i) {
    if (!wanted[i]) continue;
    const std::size_t t = tensor[i];
    if (t == i) {
      found[i] = Tensor<float>{rows, bench.inputs[i].cols()};
      std::fill(found[i].flat().begin(), found[i].flat().end(), std::numeric_limits<float>::quiet_NaN());
      call.fresh |= static_cast<std::uint8_t>(1u << i);
    }
    to[i] = found[t];
  }
  call.inputs = views;
  call.output = y;
  call.output_gradient = seed;
  call.input_gradients = to;
  call.training = training;
  bench.op.backward(call);
  return found;
}

double largest_difference(const Tensor<float>& a, const Tensor<float>& b) {
  REQUIRE(a.size() == b.size());
  double most = 0;
  for (std::size_t i = 0; i < a.size(); ++i) most = std::max(most, std::abs(double(a.flat()[i]) - b.flat()[i]));
  return most;
}

}  // namespace

TEST_CASE("Attention: gradients of some of its inputs, and of one tensor that is keys and values", "[op]") {
  for (const std::uint32_t keys : {5u, 140u}) {
    for (const double causal : {0.0, 1.0}) {
      const OpShape shape{keys, 6};
      const Bench bench({"attention", {shape, shape, shape}, {2, causal}, nullptr}, 7);
      const auto apart = attention_gradients(bench, {0, 1, 2}, {true, true, true});
      for (std::size_t i = 0; i < 3; ++i) {
        std::array<bool, 3> one{};
        one[i] = true;
        CHECK(attention_gradients(bench, {0, 1, 2}, one)[i] == apart[i]);
      }
      const auto shared = attention_gradients(bench, {0, 1, 1}, {true, true, true});
      CHECK(shared[0] == apart[0]);
      Tensor<float> sum = apart[1];
      for (std::size_t i = 0; i < sum.size(); ++i) sum.flat()[i] += apart[2].flat()[i];
      CHECK(largest_difference(shared[1], sum) < 1e-5);
    }
  }
}

TEST_CASE("Attention: products have the precision of training", "[op]") {
  const OpShape shape{70, 32};
  const Bench bench({"attention", {shape, shape, shape}, {2}, nullptr}, 8);
  const Tensor<float> exact = bench.forward(bench.inputs);
  const auto slopes = attention_gradients(bench, {0, 1, 2}, {true, true, true});
  for (const auto& [precision, most] :
       {std::pair{kernels::ProductPrecision::fp32x3, 2e-3}, {kernels::ProductPrecision::bf16, 0.5}}) {
    const OpTraining training{.products = precision};
    const double error = largest_difference(bench.forward(bench.inputs, &training), exact);
    CHECK(error > 0);
    CHECK(error < most);
    const auto rounded = attention_gradients(bench, {0, 1, 2}, {true, true, true}, &training);
    for (std::size_t i = 0; i < 3; ++i) {
      CHECK(largest_difference(rounded[i], slopes[i]) > 0);
      CHECK(largest_difference(rounded[i], slopes[i]) < 4 * most);
    }
  }
}

TEST_CASE("Attention: scores may be large", "[op]") {
  const OpShape shape{1, 2};
  Bench bench({"attention", {shape, shape, shape}, {1}, nullptr}, 9);
  for (const float size : {60001.f, 60005.f, 1e15f}) {
    for (std::size_t r = 0; r < rows; ++r) {
      bench.inputs[0](r, 0) = bench.inputs[1](r, 0) = size;
      bench.inputs[0](r, 1) = bench.inputs[1](r, 1) = 0;
    }
    CHECK(bench.forward(bench.inputs) == bench.inputs[2]);
    const auto slopes = attention_gradients(bench, {0, 1, 2}, {true, true, true});
    for (const std::size_t i : {0u, 1u})
      for (const float v : slopes[i].flat()) CHECK(v == 0);
  }
}

TEST_CASE("Ops: shapes that do not fit are refused", "[op]") {
  CHECK_THROWS_WITH(find_op("add").infer(std::vector<OpShape>{{3}, {4}}, {}),
                    Catch::Contains("[3]") && Catch::Contains("[4]"));
}

namespace {

/// y = x^2, as an application would write it.
struct Square final : Op {
  std::string_view name() const noexcept override { return "test_square"; }
  std::string_view onnx_name() const noexcept override { return "Mul"; }
  OpShape infer(std::span<const OpShape> inputs, std::span<const double>) const override { return inputs[0]; }
  void forward(const OpForward& call) const override {
    for (std::size_t r = 0; r < call.output.rows(); ++r) {
      for (std::size_t i = 0; i < call.output.cols(); ++i) {
        call.output(r, i) = call.inputs[0](r, i) * call.inputs[0](r, i);
      }
    }
  }
  void backward(const OpBackward& call) const override {
    const auto to = call.input_gradients[0];
    if (!to.data()) return;
    for (std::size_t r = 0; r < to.rows(); ++r) {
      for (std::size_t i = 0; i < to.cols(); ++i) to(r, i) += 2 * call.inputs[0](r, i) * call.output_gradient(r, i);
    }
  }
  void bounds(const OpBounds& call) const override {
    for (std::size_t i = 0; i < call.output_lower.cols(); ++i) {
      const float low = call.input_lower[0](0, i), high = call.input_upper[0](0, i);
      call.output_lower(0, i) = low > 0 ? low * low : high < 0 ? high * high : 0.0f;
      call.output_upper(0, i) = std::max(low * low, high * high);
    }
  }
};
const Square square;
/// Takes a name that is there.
struct Impostor final : Op {
  std::string_view name() const noexcept override { return "relu"; }
  std::string_view onnx_name() const noexcept override { return "Relu"; }
  OpShape infer(std::span<const OpShape> inputs, std::span<const double>) const override { return inputs[0]; }
  void forward(const OpForward&) const override {}
  void backward(const OpBackward&) const override {}
  void bounds(const OpBounds&) const override {}
};

}  // namespace

TEST_CASE("Ops: an application adds its own", "[op]") {
  CHECK(register_op(square) == 1);
  CHECK(&find_op("test_square") == &square);
  CHECK_THROWS_WITH(register_op(square), Catch::Contains("test_square"));
  CHECK_THROWS_WITH(register_op(Impostor{}), Catch::Contains("relu"));
  const Graph graph({2}, {{"test_square", {0}}, {"test_square", {1}}});
  const std::vector<float> x{2, -3}, ones{1, 1};
  std::vector<float> y(2), slope(2), low(2), high(2);
  GraphWorkspace workspace(graph, 1);
  graph.scores(x, y, workspace);
  CHECK(y == std::vector<float>{16, 81});
  graph.input_gradient(x, ones, slope, workspace);
  CHECK(slope == std::vector<float>{32, -108});
  graph.bounds(std::vector<float>{-1, 1}, std::vector<float>{2, 2}, low, high);
  CHECK(low == std::vector<float>{0, 1});
  CHECK(high == std::vector<float>{16, 16});
}
