#include "redoubt/kernels/narrow.hpp"

#include <catch2/catch.hpp>
#include <cmath>
#include <cstring>
#include <limits>
#include <vector>

#include "kernels/random_data.hpp"
#include "redoubt/core/error.hpp"

using namespace redoubt;
using namespace redoubt::kernels;
using redoubt::test::random_tensor;

namespace {

/// Rows of a in the format of w, each filled up to its depth.
std::vector<std::byte> narrowed(const Tensor<float>& a, const NarrowWeights& w,
                                void (*with)(const float*, std::size_t, const NarrowWeights&, std::byte*) noexcept) {
  std::vector<std::byte> left(a.rows() * w.depth() * w.width());
  for (std::size_t r = 0; r < a.rows(); ++r)
    with(a.row(r).data(), a.cols(), w, left.data() + r * w.depth() * w.width());
  return left;
}

}  // namespace

TEST_CASE("narrow products are those of the reference, and near fp32", "[narrow]") {
  for (const Precision precision : {Precision::bf16, Precision::int8}) {
    for (const std::size_t m : {1, 2, 7, 8, 9, 17}) {
      for (const std::size_t n : {1, 10, 16, 33, 48, 49, 64, 80, 96, 97, 130}) {
        for (const std::size_t k : {1, 2, 9, 64, 301}) {
          INFO(to_string(precision) << ": " << m << " x " << k << " x " << n);
          const auto a = random_tensor(m, k, 2), w = random_tensor(k, n, 3), bias = random_tensor(1, n, 4);
          float lower = 0, upper = 0;
          for (const float v : a.flat()) lower = std::min(lower, v), upper = std::max(upper, v);
          const NarrowWeights narrow_w(w, bias.row(0), precision, QuantisedRange::covering(lower, upper));
          const auto left = narrowed(a, narrow_w, &kernels::narrow);
          REQUIRE(left == narrowed(a, narrow_w, &naive::narrow));
          const NarrowPatches rows{
              .data = left.data(), .rows = m, .row = narrow_w.depth(), .segment = narrow_w.depth()};
          for (const Activation activation : {Activation::none, Activation::relu, Activation::sigmoid}) {
            Tensor<float> got({m, n}), want({m, n});
            const std::size_t half = n / 2 / NarrowWeights::panel * NarrowWeights::panel;
            narrow_matmul(rows, narrow_w, MatrixView<float>(got), activation, 0, half);
            narrow_matmul(rows, narrow_w, MatrixView<float>(got), activation, half, n);
            naive::narrow_matmul(rows, narrow_w, MatrixView<float>(want), activation, 0, n);
            for (std::size_t i = 0; i < got.size(); ++i)
              REQUIRE(got.data()[i] == Approx(want.data()[i]).margin(1e-6 * double(k + 2)));
          }
          // Values lie in [-1, 1]: bf16 errs by 2^-8 of a product at most, int8 by half a step on either side.
          Tensor<float> got({m, n});
          narrow_matmul(rows, narrow_w, MatrixView<float>(got), Activation::none, 0, n);
          const double step = precision == Precision::bf16 ? 0x1p-8 : 0.5 / 127 + 0.5 * (upper - lower) / 255 + 0.0001;
          for (std::size_t i = 0; i < m; ++i) {
            for (std::size_t j = 0; j < n; ++j) {
              double exact = bias(0, j);
              for (std::size_t c = 0; c < k; ++c) exact += double(a(i, c)) * w(c, j);
              REQUIRE(std::abs(got(i, j) - exact) <= step * double(k) + 1e-5);
            }
          }
          // One row has the bits it has among others.
          Tensor<float> alone({1, n});
          NarrowPatches last = rows;
          last.data += (m - 1) * narrow_w.depth() * narrow_w.width();
          last.rows = 1;
          narrow_matmul(last, narrow_w, MatrixView<float>(alone), Activation::none, 0, n);
          for (std::size_t j = 0; j < n; ++j) REQUIRE(alone(0, j) == got(m - 1, j));
        }
      }
    }
  }
}

TEST_CASE("narrow patches are read where they lie", "[narrow]") {
  constexpr std::size_t image_row = 40, segment = 12, segments = 3, places = 6, step = 4;
  const auto image = random_tensor(segments, image_row, 5), w = random_tensor(segment * segments, 20, 6);
  for (const Precision precision : {Precision::bf16, Precision::int8}) {
    const NarrowWeights narrow_w(w, {}, precision, QuantisedRange::covering(-1, 1));
    std::vector<std::byte> bytes(image.size() * narrow_w.width());
    kernels::narrow(image.data(), image.size(), narrow_w, bytes.data());
    std::vector<std::byte> gathered;
    for (std::size_t p = 0; p < places; ++p)
      for (std::size_t s = 0; s < segments; ++s) {
        const auto* from = bytes.data() + (s * image_row + p * step) * narrow_w.width();
        gathered.insert(gathered.end(), from, from + segment * narrow_w.width());
      }
    Tensor<float> got({places, 20}), want({places, 20});
    narrow_matmul({.data = bytes.data(),
                   .rows = places,
                   .row = step,
                   .segment = segment,
                   .segments = segments,
                   .segment_row = image_row},
                  narrow_w, MatrixView<float>(got), Activation::relu, 0, 20);
    narrow_matmul({.data = gathered.data(), .rows = places, .row = segment * segments, .segment = segment * segments},
                  narrow_w, MatrixView<float>(want), Activation::relu, 0, 20);
    CHECK(got == want);
  }
}

TEST_CASE("left sides are rounded, clamped and kept in range", "[narrow]") {
  const QuantisedRange range = QuantisedRange::covering(-1, 3);
  CHECK(range.zero == 64);
  CHECK(range.scale == Approx(4 / 255.0));
  CHECK(QuantisedRange::covering(2, 5).zero == 0);  // 0 belongs to every range: margins are filled with it
  CHECK(QuantisedRange::covering(-2, -1).zero == 255);
  Tensor<float> w({1, 1});
  w(0, 0) = 1;
  constexpr float nan = std::numeric_limits<float>::quiet_NaN(), infinite = std::numeric_limits<float>::infinity();
  const std::vector<float> src = {-1, 0, 3, 100, -100, nan, infinite, -infinite, 0.5f * 4 / 255, 1.5f * 4 / 255,
                                  1,  1, 1, 1,   1,    1,   1,        2};
  const NarrowWeights int8(w, {}, Precision::int8, range);
  std::vector<std::byte> a(src.size()), b(src.size());
  kernels::narrow(src.data(), src.size(), int8, a.data());
  naive::narrow(src.data(), src.size(), int8, b.data());
  CHECK(a == b);
  CHECK(static_cast<int>(a[1]) == 64);
  CHECK(static_cast<int>(a[3]) == 255);
  CHECK(static_cast<int>(a[4]) == 0);
  CHECK(static_cast<int>(a[5]) == 0);
  const NarrowWeights bf16(w, {}, Precision::bf16);
  std::vector<float> more = src;
  more.insert(more.end(), {1e-40f, -1e-40f, 1.00390625f, 1.01171875f, 3.4e38f});
  std::vector<std::byte> c(2 * more.size()), d(2 * more.size());
  kernels::narrow(more.data(), more.size(), bf16, c.data());
  naive::narrow(more.data(), more.size(), bf16, d.data());
  CHECK(c == d);
  CHECK_THROWS_AS(NarrowWeights(w, {}, Precision::fp32), Error);
}
