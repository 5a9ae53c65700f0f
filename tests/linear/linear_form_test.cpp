#include "redoubt/linear/linear_form.hpp"

#include <fmt/format.h>

#include <cmath>
#include <cstdlib>
#include <fstream>
#include <limits>
#include <memory>
#include <numeric>
#include <vector>

#include "redoubt/core/error.hpp"
#include "redoubt/core/parallel.hpp"
#include "redoubt/core/random.hpp"
#include "redoubt/core/tensor.hpp"
#include "redoubt/data/archive.hpp"
#include "support/test_data.hpp"

using namespace redoubt;

namespace {

LinearForm random_form(std::size_t inputs, std::size_t scores, LinearLink link, std::uint64_t seed) {
  Random random(seed);
  std::vector<float> weights(inputs * scores);
  for (float& w : weights) w = static_cast<float>(random.normal());
  std::vector<float> bias(scores);
  for (float& b : bias) b = static_cast<float>(random.normal());
  return LinearForm(std::move(weights), std::move(bias), link);
}

Tensor<float> random_rows(std::size_t rows, std::size_t cols, std::uint64_t seed) {
  Random random(seed, 7);
  Tensor<float> x{rows, cols};
  for (float& v : x.flat()) v = random.uniform() < 0.3 ? 0.0f : static_cast<float>(random.normal());
  return x;
}

std::vector<float> predict(const Predictor& form, std::span<const float> row) {
  std::vector<float> out(form.outputs());
  form.predict(row, out, {});
  return out;
}

const std::vector<std::pair<LinearLink, std::size_t>> shapes{{LinearLink::identity, 1},
                                                             {LinearLink::identity, 3},
                                                             {LinearLink::sigmoid, 1},
                                                             {LinearLink::softmax, 2},
                                                             {LinearLink::softmax, 40}};

}  // namespace

TEST_CASE("Linear form: outputs follow the definition", "[linear_form]") {
  for (const auto& [link, scores] : shapes) {
    const LinearForm form = random_form(19, scores, link, 1);
    const Tensor<float> x = random_rows(5, 19, 2);
    for (std::size_t r = 0; r < x.rows(); ++r) {
      std::vector<double> expected(scores);
      for (std::size_t k = 0; k < scores; ++k) {
        expected[k] = form.bias()[k];
        for (std::size_t i = 0; i < 19; ++i) expected[k] += static_cast<double>(x(r, i)) * form.weights()(i, k);
      }
      if (link == LinearLink::sigmoid) {
        const double p = 1 / (1 + std::exp(-expected[0]));
        expected = {1 - p, p};
      } else if (link == LinearLink::softmax) {
        double sum = 0;
        for (double& v : expected) sum += v = std::exp(v);
        for (double& v : expected) v /= sum;
      }
      const auto out = predict(form, x.row(r));
      REQUIRE(out.size() == expected.size());
      for (std::size_t k = 0; k < out.size(); ++k) CHECK(out[k] == Approx(expected[k]).epsilon(1e-6).margin(1e-7));
    }
  }
}

TEST_CASE("Linear form: extreme scores stay probabilities", "[linear_form]") {
  const LinearForm form({1.0f}, {0.0f}, LinearLink::sigmoid);
  for (const float score : {-1e30f, -200.0f, 200.0f, 1e30f}) {
    const auto out = predict(form, std::vector<float>{score});
    CHECK(out[0] + out[1] == Approx(1));
    CHECK(out[score > 0 ? 1 : 0] == 1.0f);
    std::vector<float> gradient(1);
    CHECK(std::isfinite(form.loss_gradient(std::vector<float>{std::min(score, 1e6f)}, 0, gradient)));
    CHECK(std::isfinite(gradient[0]));
  }
  // Scores beyond the range of float are clamped: inf - inf would be no probability.
  const LinearForm classes({-8.0f, 4.0f, 8.0f}, {0.0f, 0.0f, 0.0f}, LinearLink::softmax);
  CHECK(predict(classes, std::vector<float>{3e38f}) == std::vector<float>{0.0f, 0.5f, 0.5f});
  CHECK(predict(classes, std::vector<float>{-3e38f}) == std::vector<float>{1.0f, 0.0f, 0.0f});
  const LinearForm value({8.0f}, {0.0f}, LinearLink::identity);
  CHECK(predict(value, std::vector<float>{-3e38f})[0] == -std::numeric_limits<float>::max());
}

TEST_CASE("Linear form: a batch gives the bits of its rows at any thread count", "[linear_form][threads]") {
  const LinearForm form = random_form(33, 4, LinearLink::softmax, 3);
  const Tensor<float> x = random_rows(1000, 33, 4);
  for (const int threads : {1, 2, 4}) {
    Arena arena(threads);
    Tensor<float> out{x.rows(), form.outputs()};
    form.predict_batch(x, out, &arena);
    for (std::size_t r = 0; r < x.rows(); ++r) {
      const auto one = predict(form, x.row(r));
      REQUIRE(std::equal(one.begin(), one.end(), out.row(r).begin()));
    }
  }
}

TEST_CASE("Linear form: gradients agree with differences", "[linear_form]") {
  for (const auto& [link, scores] : shapes) {
    const LinearForm form = random_form(7, scores, link, 5);
    Tensor<float> x = random_rows(1, 7, 6);
    const std::size_t label = form.outputs() - 1;
    std::vector<float> gradient(7), ignored(7);
    form.loss_gradient(x.row(0), label, gradient);
    for (std::size_t i = 0; i < 7; ++i) {
      const float at = x(0, i), h = 0.01f;
      x(0, i) = at + h;
      const double up = form.loss_gradient(x.row(0), label, ignored);
      x(0, i) = at - h;
      const double down = form.loss_gradient(x.row(0), label, ignored);
      x(0, i) = at;
      CHECK(gradient[i] == Approx((up - down) / (2 * h)).epsilon(2e-3).margin(2e-3));
    }
    std::vector<float> seed(scores, 0.0f), vjp(7);
    seed[0] = 2.0f;
    form.input_gradient(seed, vjp);
    for (std::size_t i = 0; i < 7; ++i) CHECK(vjp[i] == Approx(2 * form.weights()(i, 0)));
  }
}

TEST_CASE("Linear form: saved and loaded bit for bit, also by its name", "[linear_form]") {
  for (const auto& [link, scores] : shapes) {
    const LinearForm form = random_form(11, scores, link, 7);
    Archive archive;
    form.save(archive);
    const auto loaded = find_form("linear")(Archive::from_bytes(archive.to_bytes()));
    const auto& back = dynamic_cast<const LinearForm&>(*loaded);
    CHECK(std::equal(back.weights().data(), back.weights().data() + 11 * scores, form.weights().data()));
    CHECK(std::equal(back.bias().begin(), back.bias().end(), form.bias().begin(), form.bias().end()));
    CHECK(back.link() == form.link());
  }
}

TEST_CASE("Linear form: hostile archives are refused", "[linear_form]") {
  const auto spoiled = [](auto change) {
    Archive archive;
    random_form(4, 3, LinearLink::softmax, 8).save(archive);
    change(archive);
    return archive;
  };
  const std::size_t flat[] = {12}, square[] = {4, 3}, wide[] = {6, 2};
  const std::vector<float> twelve(12, 1.0f), nan(12, std::nanf("")), values(3, 1.0f);
  const std::vector<Archive> bad{
      spoiled([](Archive& a) { a.set("linear.link", "exp"); }),
      spoiled([](Archive& a) { a.set("linear.link", "sigmoid"); }),
      spoiled([&](Archive& a) { a.put<float>("linear.weights", twelve, flat); }),
      spoiled([&](Archive& a) { a.put<float>("linear.weights", twelve, wide); }),
      spoiled([&](Archive& a) { a.put<float>("linear.weights", nan, square); }),
      spoiled([&](Archive& a) { a.put<float>("linear.bias", std::vector<float>{}); }),
      spoiled([&](Archive& a) { a.put<double>("linear.bias", std::vector<double>(values.begin(), values.end())); }),
      Archive{}};
  for (const Archive& archive : bad) {
    try {
      find_form("linear")(archive);
      FAIL_CHECK("accepted");
    } catch (const Error& error) {
      CHECK(error.code() == errc::corrupt);
    }
  }
  CHECK_THROWS_AS(LinearForm({1.0f, 2.0f, 3.0f}, {1.0f, 2.0f}, LinearLink::identity), Error);
}

TEST_CASE("Linear form: its C++ source compiles and agrees", "[linear_form]") {
  const test::TempDir folder;
  std::size_t number = 0;
  std::string source = "#include <cmath>\n#include <cstdio>\n", calls;
  std::vector<float> expected;
  for (const auto& [link, scores] : shapes) {
    const LinearForm form = random_form(9, scores, link, 9);
    const std::string name = fmt::format("f{}", number++);
    source += form.to_source(name);
    for (const float scale : {1.0f, 1e38f}) {
      const Tensor<float> x = random_rows(1, 9, 10);
      calls += "  {\n    const float x[] = {";
      std::vector<float> scaled;
      for (const float v : x.flat()) scaled.push_back(v * scale), calls += fmt::format("{:.9e}f, ", v * scale);
      calls += "};\n    float y[64];\n    " + name + "(x, y);\n    for (int i = 0; i < " +
               std::to_string(form.outputs()) + "; ++i) std::printf(\"%.9g\\n\", y[i]);\n  }\n";
      for (const float v : predict(form, scaled)) expected.push_back(v);
    }
  }
  std::ofstream(folder / "form.cpp") << source << "int main() {\n" << calls << "}\n";
  REQUIRE(std::system(("c++ -std=c++17 -Wall -Werror -o " + folder / "form" + " " + folder / "form.cpp && " +
                       (folder / "form") + " > " + folder / "out")
                          .c_str()) == 0);
  std::ifstream out(folder / "out");
  for (const float want : expected) {
    float found = -1;
    out >> found;
    CHECK(found == Approx(want).epsilon(1e-6).margin(1e-9));
  }
}
