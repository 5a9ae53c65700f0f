#include "redoubt/kernels/matmul.hpp"

#include <algorithm>
#include <catch2/catch.hpp>
#include <cmath>
#include <cstring>
#include <tuple>

#include "kernels/dispatch.hpp"
#include "kernels/random_data.hpp"
#include "redoubt/core/parallel.hpp"
#include "redoubt/core/random.hpp"
#include "redoubt/core/tensor.hpp"
#include "redoubt/kernels/isa.hpp"

using namespace redoubt;
using namespace redoubt::kernels;
using redoubt::test::random_tensor;

namespace {

enum class Form { nn, tn, nt };

/// Exact result (in double) and the magnitude sum |a||b| + |start| that the error bound of the header is about.
struct Exact {
  Tensor<double> value, magnitude;
};

Exact exact(Form form, const Tensor<float>& a, const Tensor<float>& b, const Tensor<float>& start, const float* bias) {
  const std::size_t m = start.rows(), n = start.cols(), k = form == Form::tn ? a.rows() : a.cols();
  Exact result{Tensor<double>({m, n}), Tensor<double>({m, n})};
  for (std::size_t i = 0; i < m; ++i) {
    for (std::size_t j = 0; j < n; ++j) {
      double value = double(start(i, j)) + (bias ? bias[j] : 0), magnitude = std::abs(value);
      for (std::size_t p = 0; p < k; ++p) {
        const double term = double(form == Form::tn ? a(p, i) : a(i, p)) * (form == Form::nt ? b(j, p) : b(p, j));
        value += term;
        magnitude += std::abs(term);
      }
      result.value(i, j) = value;
      result.magnitude(i, j) = magnitude;
    }
  }
  return result;
}

using Multiply = void (*)(MatrixView<const float>, MatrixView<const float>, MatrixView<float>, const MatmulOptions&);

struct Case {
  Form form;
  const char* name;
  Multiply fast, naive;
};

constexpr Case cases[] = {{Form::nn, "matmul", matmul, naive::matmul},
                          {Form::tn, "matmul_tn", matmul_tn, naive::matmul_tn},
                          {Form::nt, "matmul_nt", matmul_nt, naive::matmul_nt}};

Tensor<float> operand_a(Form form, std::size_t m, std::size_t k) {
  return form == Form::tn ? random_tensor(k, m, 1) : random_tensor(m, k, 1);
}
Tensor<float> operand_b(Form form, std::size_t k, std::size_t n) {
  return form == Form::nt ? random_tensor(n, k, 2) : random_tensor(k, n, 2);
}

}  // namespace

TEST_CASE("products stay within the stated error of the exact value at every shape", "[matmul]") {
  for (const Case& c : cases) {
    for (const auto& [m, n, k] : {std::tuple<std::size_t, std::size_t, std::size_t>{1, 1, 1},
                                  {1, 10, 33},
                                  {1, 200, 64},
                                  {2, 3, 0},
                                  {3, 17, 5},
                                  {7, 48, 16},
                                  {8, 49, 17},
                                  {9, 95, 31},
                                  {31, 16, 257},
                                  {33, 47, 300},
                                  {40, 100, 513},
                                  {65, 385, 129},
                                  {130, 50, 700},
                                  {257, 97, 64},
                                  {70, 350, 800},  // more than a packed block
                                  // With exchanged operands: few rows of nt, few columns of tn.
                                  {5, 130, 40},
                                  {16, 1000, 10},
                                  {32, 200, 70},
                                  {50, 333, 90},
                                  {200, 10, 33},
                                  {513, 10, 70},
                                  {300, 2, 65},
                                  {301, 17, 520},
                                  // Shallow.
                                  {100, 145, 20},
                                  {61, 50, 64}}) {
      const auto a = operand_a(c.form, m, k), b = operand_b(c.form, k, n), start = random_tensor(m, n, 3);
      const auto bias = random_tensor(1, n, 4);
      for (const bool accumulate : {false, true}) {
        for (const bool with_bias : {false, true}) {
          INFO(c.name << ' ' << m << 'x' << n << 'x' << k << " accumulate " << accumulate << " bias " << with_bias);
          const float* bias_values = with_bias ? bias.data() : nullptr;
          const Exact truth = exact(c.form, a, b, accumulate ? start : Tensor<float>({m, n}), bias_values);
          for (const Multiply multiply : {c.fast, c.naive}) {
            Tensor<float> result = start;
            multiply(a, b, result, {.epilogue = {.bias = bias_values}, .accumulate = accumulate});
            double worst = 0;
            for (std::size_t i = 0; i < result.size(); ++i)
              worst = std::max(worst, std::abs(result.flat()[i] - truth.value.flat()[i]) -
                                          double(k + 1) * 0x1p-24 * truth.magnitude.flat()[i]);
            CHECK(worst <= 0);
          }
        }
      }
    }
  }
}

TEST_CASE("products of every small shape", "[matmul]") {
  Random random(11);
  for (int trial = 0; trial < 400; ++trial) {
    const Case& c = cases[random.below(3)];
    const std::size_t m = 1 + random.below(70), n = 1 + random.below(70), k = 1 + random.below(70);
    const auto a = operand_a(c.form, m, k), b = operand_b(c.form, k, n), start = random_tensor(m, n, 3);
    const Exact truth = exact(c.form, a, b, start, nullptr);
    Tensor<float> result = start;
    c.fast(a, b, result, {.accumulate = true});
    double worst = 0;
    for (std::size_t i = 0; i < result.size(); ++i)
      worst = std::max(worst, std::abs(result.flat()[i] - truth.value.flat()[i]) -
                                  double(k + 1) * 0x1p-24 * truth.magnitude.flat()[i]);
    INFO(c.name << ' ' << m << 'x' << n << 'x' << k);
    CHECK(worst <= 0);
  }
}

TEST_CASE("products of rounded operands stay within the stated errors", "[matmul]") {
  for (const Case& c : cases) {
    for (const auto& [m, n, k] : {std::tuple<std::size_t, std::size_t, std::size_t>{1, 1, 1},
                                  {1, 49, 2},
                                  {2, 3, 0},
                                  {7, 48, 33},
                                  {8, 17, 64},
                                  {9, 97, 31},
                                  {40, 100, 129},
                                  {65, 385, 95},
                                  {600, 10, 1001}}) {
      const auto a = operand_a(c.form, m, k), b = operand_b(c.form, k, n), start = random_tensor(m, n, 3);
      const auto bias = random_tensor(1, n, 4);
      for (const ProductPrecision precision : {ProductPrecision::fp32x3, ProductPrecision::bf16}) {
        const double rounding = precision == ProductPrecision::bf16 ? 0x1p-7 + 0x1p-16 : 3 * 0x1p-16;
        for (const bool accumulate : {false, true}) {
          INFO(c.name << ' ' << m << 'x' << n << 'x' << k << ' ' << to_string(precision) << " accumulate "
                      << accumulate);
          const Exact truth = exact(c.form, a, b, accumulate ? start : Tensor<float>({m, n}), bias.data());
          for (const Multiply multiply : {c.fast, c.naive}) {
            for (const Activation activation : {Activation::none, Activation::relu, Activation::tanh}) {
              Tensor<float> result = start;
              multiply(a, b, result,
                       {.epilogue = {bias.data(), activation}, .accumulate = accumulate, .precision = precision});
              double worst = 0;
              for (std::size_t i = 0; i < result.size(); ++i) {
                double want = truth.value.flat()[i];
                if (activation == Activation::relu) want = std::max(want, 0.0);
                if (activation == Activation::tanh) want = std::tanh(want);
                worst =
                    std::max(worst, std::abs(result.flat()[i] - want) - 1e-6 * double(activation == Activation::tanh) -
                                        (rounding + double(2 * (k + 2)) * 0x1p-24) * truth.magnitude.flat()[i]);
              }
              CHECK(worst <= 0);
            }
          }
        }
      }
    }
  }
}

TEST_CASE("rounding is that of bf16, in one part or two", "[matmul]") {
  const float step = 0x1p-7f;  // of bf16 at 1
  const float one = 1;
  for (const Multiply multiply : {cases[0].fast, cases[0].naive}) {
    const auto rounded = [&](float x, ProductPrecision precision) {
      Tensor<float> result({1, 1});
      multiply({&x, 1, 1}, {&one, 1, 1}, result, {.precision = precision});
      return result(0, 0);
    };
    CHECK(rounded(1 + 0.5f * step, ProductPrecision::bf16) == 1.0f);  // to even
    CHECK(rounded(1 + 0.51f * step, ProductPrecision::bf16) == 1 + step);
    CHECK(rounded(1 + 1.5f * step, ProductPrecision::bf16) == 1 + 2 * step);
    CHECK(rounded(-0x1p-127f, ProductPrecision::bf16) == 0.0f);
    CHECK(rounded(1 + 0x1p-14f, ProductPrecision::fp32x3) == 1 + 0x1p-14f);
    CHECK(rounded(1 + 0x1p-7f + 0x1p-15f, ProductPrecision::fp32x3) == 1 + 0x1p-7f + 0x1p-15f);
  }
}

TEST_CASE("AVX2 and AVX-512 products are equal bit for bit", "[matmul]") {
  const auto* avx2 = kernels::detail::table_for(std::min(detected_isa(), Isa::avx2));
  const auto* best = kernels::detail::table_for(detected_isa());
  if (!avx2 || avx2 == best) {
    WARN("SKIPPED: this machine has fewer than two levels of kernels");
    return;
  }
  const std::size_t depth = 301, cols = 131;
  const auto x = random_tensor(1, depth, 1), w = random_tensor(depth, cols, 2), bias = random_tensor(1, cols, 3);
  Tensor<float> first({cols}), second({cols});
  avx2->matvec(x.data(), depth, w.data(), cols, cols, bias.data(), 1, first.data());
  best->matvec(x.data(), depth, w.data(), cols, cols, bias.data(), 1, second.data());
  CHECK(first == second);
}

TEST_CASE("a row of a batch equals the row alone", "[matmul]") {
  const std::size_t k = 517, n = 150;
  const auto w = random_tensor(k, n, 2), bias = random_tensor(1, n, 3);
  for (const Activation activation : {Activation::none, Activation::relu, Activation::sigmoid, Activation::tanh}) {
    const Epilogue epilogue{.bias = bias.data(), .activation = activation};
    for (const std::size_t m : {1, 5, 32, 100}) {
      const auto x = random_tensor(m, k, 1);
      Tensor<float> batch({m, n}), single({n});
      matmul(x, w, batch, {.epilogue = epilogue});
      for (std::size_t i = 0; i < m; ++i) {
        REQUIRE(matvec(x.row(i), w, epilogue, single.flat()) == errc::ok);
        CHECK(std::memcmp(single.data(), batch.row(i).data(), n * sizeof(float)) == 0);
      }
    }
  }
}

TEST_CASE("products are the same at any thread count", "[matmul][threads]") {
  Arena one(1), four(4);
  for (const Case& c : cases) {
    for (const auto& [m, n, k] : {std::tuple<std::size_t, std::size_t, std::size_t>{300, 500, 800},
                                  {48, 600, 300},
                                  {900, 10, 400},
                                  {600, 500, 16}}) {
      INFO(c.name << ' ' << m << 'x' << n << 'x' << k);
      const auto a = operand_a(c.form, m, k), b = operand_b(c.form, k, n);
      for (const auto precision : {ProductPrecision::fp32, ProductPrecision::fp32x3, ProductPrecision::bf16}) {
        Tensor<float> serial({m, n}), parallel({m, n});
        c.fast(a, b, serial, {.precision = precision, .arena = &one});
        c.fast(a, b, parallel, {.precision = precision, .arena = &four});
        CHECK(serial == parallel);
      }
    }
  }
}

TEST_CASE("a sink takes the product in blocks, each value once, and c stays zero", "[matmul][threads]") {
  for (const Multiply multiply :
       {Multiply(matmul), Multiply(matmul_tn), Multiply(matmul_nt), Multiply(naive::matmul_tn)})
    for (const auto& [m, k, n] : {std::tuple<std::size_t, std::size_t, std::size_t>{1, 70, 33},
                                  {3, 5, 0},
                                  {40, 65, 30},
                                  {70, 600, 520},
                                  {330, 40, 12},
                                  {300, 128, 170}}) {
      const bool first_turned = multiply == Multiply(matmul_tn) || multiply == Multiply(naive::matmul_tn);
      const auto a = first_turned ? random_tensor(k, m, 1) : random_tensor(m, k, 1);
      const auto b = multiply == Multiply(matmul_nt) ? random_tensor(n, k, 2) : random_tensor(k, n, 2);
      for (const ProductPrecision precision :
           {ProductPrecision::fp32, ProductPrecision::fp32x3, ProductPrecision::bf16})
        for (const int threads : {1, 2}) {
          INFO(m << 'x' << k << 'x' << n << ' ' << to_string(precision) << " threads " << threads);
          Arena arena(threads);
          Tensor<float> want({m, n}), c({m, n}), found({m, n}), taken({m, n});
          MatmulOptions options{.accumulate = true, .precision = precision, .arena = &arena};
          multiply(a, b, want, options);
          const auto take = [&](std::size_t row, std::size_t col, MatrixView<float> block) {
            for (std::size_t r = 0; r < block.rows(); ++r)
              for (std::size_t j = 0; j < block.cols(); ++j) {
                found(row + r, col + j) = block(r, j), taken(row + r, col + j) += 1;
                block(r, j) = 0;
              }
          };
          const ProductSink sink(take);
          options.sink = &sink;
          multiply(a, b, c, options);
          CHECK(found == want);
          CHECK(c == Tensor<float>({m, n}));
          CHECK(std::all_of(taken.data(), taken.data() + m * n, [](float times) { return times == 1; }));
        }
    }
}

TEST_CASE("row strides are respected and nothing else is written", "[matmul]") {
  const std::size_t pad = 5;
  for (const Case& c : cases) {
    for (const auto& [m, n, k] :
         {std::tuple<std::size_t, std::size_t, std::size_t>{37, 53, 41}, {20, 203, 41}, {203, 10, 70}}) {
      INFO(c.name << ' ' << m << 'x' << n << 'x' << k);
      const std::size_t a_cols = c.form == Form::tn ? m : k, b_cols = c.form == Form::nt ? k : n;
      const auto a = operand_a(c.form, m + pad, k + pad), b = operand_b(c.form, k + pad, n + pad);
      const MatrixView<const float> a_view(a.data(), c.form == Form::tn ? k : m, a_cols, a_cols + pad);
      const MatrixView<const float> b_view(b.data(), c.form == Form::nt ? n : k, b_cols, b_cols + pad);
      Tensor<float> wide({m, n + pad}), reference({m, n});
      for (float& value : wide.flat()) value = -7;
      c.fast(a_view, b_view, MatrixView<float>(wide.data(), m, n, n + pad), {});
      c.naive(a_view, b_view, reference, {});
      double worst = 0;
      for (std::size_t i = 0; i < m; ++i) {
        for (std::size_t j = 0; j < n; ++j) worst = std::max(worst, double(std::abs(wide(i, j) - reference(i, j))));
        for (std::size_t j = n; j < n + pad; ++j) CHECK(wide(i, j) == -7);
      }
      CHECK(worst < 1e-4);
    }
  }
}

TEST_CASE("activations are applied after the bias", "[matmul]") {
  const std::size_t m = 40, n = 61, k = 29;
  const auto a = random_tensor(m, k, 1), b = random_tensor(k, n, 2), bias = random_tensor(1, n, 3);
  for (const Activation activation : {Activation::relu, Activation::sigmoid, Activation::tanh}) {
    Tensor<float> fast({m, n}), reference({m, n});
    matmul(a, b, fast, {.epilogue = {.bias = bias.data(), .activation = activation}});
    naive::matmul(a, b, reference, {.epilogue = {.bias = bias.data(), .activation = activation}});
    for (std::size_t i = 0; i < fast.size(); ++i) CHECK(fast.flat()[i] == Approx(reference.flat()[i]).margin(1e-5));
  }
}

TEST_CASE("sizes that do not fit are refused and nothing is written", "[matmul]") {
  Tensor<float> a({3, 4}), b({5, 6}), c({3, 6});
  CHECK_THROWS_WITH(matmul(a, b, c), Catch::Contains("a is 3x4, b is 5x6 and c is 3x6"));
  CHECK_THROWS_AS(matmul_tn(a, b, c), Error);
  CHECK_THROWS_AS(matmul_nt(a, b, c), Error);
  Tensor<float> x({4}), out({6});
  out.flat()[0] = 3;
  CHECK(matvec(x.flat(), b, {}, out.flat()) == errc::shape_mismatch);
  CHECK(naive::matvec(x.flat(), b, {}, out.flat()) == errc::shape_mismatch);
  CHECK(out.flat()[0] == 3);
}
