#include "redoubt/kernels/narrow.hpp"

#include <algorithm>
#include <bit>
#include <catch2/catch.hpp>
#include <cfenv>
#include <cmath>
#include <cstring>
#include <limits>
#include <stdexcept>
#include <vector>

#include "kernels/amx_body.hpp"
#include "kernels/bf16.hpp"
#include "kernels/emulated_tiles.hpp"
#include "kernels/narrow_table.hpp"
#include "kernels/random_data.hpp"
#include "redoubt/core/cpu.hpp"
#include "redoubt/core/error.hpp"
#include "redoubt/core/random.hpp"

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
    // Tiles add up what they take at once first, and they take parts of one segment.
    if (precision == Precision::bf16 && active_isa() == Isa::amx)
      for (std::size_t i = 0; i < got.size(); ++i) CHECK(got.data()[i] == Approx(want.data()[i]).margin(1e-5));
    else
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

namespace {

using redoubt::test::EmulatedTiles;
using redoubt::test::widened;

/// What follows the sums: value(t, sums, j) of column j before the activation.
template <float Value(const kernels::detail::NarrowTile&, const unsigned char*, std::size_t, std::size_t), int C>
struct EmulatedRow {
  EmulatedRow(const kernels::detail::NarrowTile& tile, std::size_t first) : t(tile), col(first) {}
  float value(const unsigned char* sums, std::size_t j) const {
    const float x = Value(t, sums + j / 16 * 1024, j % 16, col + j);
    return t.relu && x < 0 ? 0 : x;
  }
  void store(unsigned char* to, std::size_t j, float x) const {
    if (t.to == kernels::detail::narrow_to_fp32) {
      std::memcpy(to + 4 * j, &x, 4);
    } else if (t.to == kernels::detail::narrow_to_bf16) {
      const std::uint16_t rounded = kernels::detail::bf16_of(x);
      std::memcpy(to + 2 * j, &rounded, 2);
    } else {
      const float shifted = std::nearbyint(x * t.inverse) + t.zero;
      to[j] = static_cast<unsigned char>(shifted > 0 ? std::min(shifted, 255.0f) : 0.0f);
    }
  }
  std::size_t count() const { return std::min<std::size_t>(16 * C, t.cols - col); }
  void finish(const unsigned char* sums, unsigned char* to) const {
    for (std::size_t j = 0; j < count(); ++j) store(to, j, value(sums, j));
  }
  void pool(const unsigned char* upper, const unsigned char* lower, unsigned char* to) const {
    for (std::size_t j = 0; j < count(); ++j)
      store(to, j, std::max({value(upper, j), value(upper + 64, j), value(lower, j), value(lower + 64, j)}));
  }
  const kernels::detail::NarrowTile& t;
  std::size_t col;
};

float bf16_value(const kernels::detail::NarrowTile& t, const unsigned char* sums, std::size_t j, std::size_t col) {
  float sum;
  std::memcpy(&sum, sums + 4 * j, 4);
  return sum + t.bias[col];
}

float int8_value(const kernels::detail::NarrowTile& t, const unsigned char* sums, std::size_t j, std::size_t col) {
  std::int32_t sum;
  std::memcpy(&sum, sums + 4 * j, 4);
  return std::fma(static_cast<float>(sum), t.scales[col], t.bias[col]);
}

struct EmulatedBf16 : redoubt::test::EmulatedBf16Tiles {
  template <int C>
  using Row = EmulatedRow<bf16_value, C>;
};

struct EmulatedInt8 : EmulatedTiles {
  template <int C, int A, int B>
  static void dp() {
    check_product(C, A, B);
    for (std::size_t m = 0; m < state.rows[C]; ++m) {
      for (std::size_t n = 0; n < state.bytes[C] / 4; ++n) {
        auto sum = at<std::int32_t>(C, m, n);
        for (std::size_t k = 0; k < state.rows[B]; ++k)
          for (std::size_t i = 0; i < 4; ++i)
            sum += std::int32_t{at<std::uint8_t>(A, m, 4 * k + i)} * at<std::int8_t>(B, k, 4 * n + i);
        std::memcpy(state.data[C][m] + 4 * n, &sum, 4);
      }
    }
  }
  template <int C>
  using Row = EmulatedRow<int8_value, C>;
};

[[maybe_unused]] bool has_vectors_of_bf16() { return detected_isa() >= Isa::avx512 && cpu_features().avx512bf16; }

/// One product of the body, checked against the references; what lies between and behind the rows must not matter.
void check_emulated(Precision precision, std::size_t m, std::size_t n, std::size_t segment, std::size_t segments) {
  INFO(to_string(precision) << ": " << m << " x " << segments << " * " << segment << " x " << n);
  const bool int8 = precision == Precision::int8;
  const std::size_t k = segment * segments;
  const auto a = random_tensor(m, k, 2), w = random_tensor(k, n, 3), bias = random_tensor(1, n, 4);
  const NarrowWeights weights(w, bias.row(0), precision, QuantisedRange::covering(-1, 1));
  const std::size_t width = weights.width(), gap = 3, shift = 1;
  // Segments lie gap values apart, rows one more; everything between them is NaN or 255.
  NarrowPatches patches{.data = nullptr,
                        .rows = m,
                        .row = (segment + gap) * segments + 1,
                        .segment = segment,
                        .segments = segments,
                        .segment_row = segment + gap};
  std::vector<std::byte> left((shift + m * patches.row) * width, std::byte{0xff});
  for (std::size_t i = 0; i < m; ++i)
    for (std::size_t s = 0; s < segments; ++s)
      kernels::narrow(a.row(i).data() + s * segment, segment, weights,
                      left.data() + (shift + i * patches.row + s * patches.segment_row) * width);
  patches.data = left.data() + shift * width;

  constexpr float untouched = -77;
  Tensor<float> got({m, n + 5}), want({m, n}), alone({1, n + 5});
  const auto run = [&](const NarrowPatches& rows, Tensor<float>& c, bool relu,
                       void (*product)(const kernels::detail::NarrowTile&)) {
    std::fill(c.flat().begin(), c.flat().end(), untouched);
    product({.a = reinterpret_cast<const unsigned char*>(rows.data),
             .a_row = rows.row * width,
             .segments = segments,
             .segment = segment * width,
             .a_segment = rows.segment_row * width,
             .b = reinterpret_cast<const unsigned char*>(weights.panels()),
             .b_panel = weights.depth() / weights.together() * NarrowWeights::panel * 4,
             .c = reinterpret_cast<unsigned char*>(c.data()),
             .c_row = (n + 5) * sizeof(float),
             .rows = rows.rows,
             .cols = n,
             .scales = int8 ? weights.scales() : nullptr,
             .bias = weights.bias(),
             .relu = relu,
             .to = kernels::detail::narrow_to_fp32,
             .inverse = 0,
             .zero = 0,
             .lines = 1,
             .a_line = 0,
             .c_line = 0,
             .pool = false});
  };
  const auto check = [&](void (*product)(const kernels::detail::NarrowTile&)) {
    for (const bool relu : {false, true}) {
      run(patches, got, relu, product);
      const Activation activation = relu ? Activation::relu : Activation::none;
      kernels::narrow_matmul(patches, weights, MatrixView<float>(want), activation, 0, n);
      for (std::size_t i = 0; i < m; ++i) {
        for (std::size_t j = 0; j < n + 5; ++j) {
          if (j >= n) {
            REQUIRE(got(i, j) == untouched);
          } else if (int8 && has_kernels(precision)) {
            REQUIRE(got(i, j) == want(i, j));  // bit for bit what VNNI gives
          } else if (int8) {
            REQUIRE(got(i, j) == Approx(want(i, j)).margin(1e-5));
          }
        }
      }
    }
    if (int8) return;
    // Exact sums of the rounded values: 32 products make two chains, which are added, then added to the others.
    run(patches, got, false, product);
    for (std::size_t i = 0; i < m; ++i) {
      for (std::size_t j = 0; j < n; ++j) {
        double exact = bias(0, j), absolute = std::abs(exact);
        for (std::size_t p = 0; p < k; ++p) {
          std::uint16_t x, y;
          std::memcpy(&x, patches.data + 2 * (i * patches.row + p / segment * patches.segment_row + p % segment), 2);
          std::memcpy(&y, weights.panels() + ((j / 16 * weights.depth() / 2 + p / 2) * 16 + j % 16) * 4 + p % 2 * 2, 2);
          const double term = double(widened(x)) * widened(y);
          exact += term, absolute += std::abs(term);
        }
        REQUIRE(std::abs(got(i, j) - exact) <= (double(k) + 2) * 0x1p-24 * absolute);
      }
    }
    // A row has the same bits alone.
    NarrowPatches last = patches;
    last.data += (m - 1) * patches.row * width, last.rows = 1;
    run(last, alone, false, product);
    for (std::size_t j = 0; j < n; ++j) REQUIRE(alone(0, j) == got(m - 1, j));
#if defined(__x86_64__)
    if (!int8 && has_vectors_of_bf16()) {  // and by vectors
      run(last, alone, false, kernels::detail::amx_narrow_table.bf16_row);
      for (std::size_t j = 0; j < n; ++j) REQUIRE(alone(0, j) == got(m - 1, j));
      for (std::size_t j = n; j < n + 5; ++j) REQUIRE(alone(0, j) == untouched);
    }
#endif
  };
  check(int8 ? &kernels::detail::amx_product<EmulatedInt8> : &kernels::detail::amx_product<EmulatedBf16>);
  CHECK_FALSE(EmulatedTiles::state.configured);  // released
#if defined(__x86_64__)
  if (detected_isa() == Isa::amx)
    check(int8 ? kernels::detail::amx_narrow_table.int8 : kernels::detail::amx_narrow_table.bf16);
#endif
}

}  // namespace

TEST_CASE("AMX products over emulated tiles are those of the reference", "[narrow]") {
  if (detected_isa() < Isa::amx) WARN("no AMX here: its kernels run over emulated instructions only");
  for (const Precision precision : {Precision::bf16, Precision::int8}) {
    const std::size_t unit = precision == Precision::bf16 ? 2 : 4;
    for (const std::size_t m : {1, 5, 16, 17, 31, 32, 33, 70})
      for (const std::size_t n : {1, 16, 17, 48, 50, 65, 100}) check_emulated(precision, m, n, 17 * unit, 1);
    // Parts of the depth, and more columns than are kept at a time.
    check_emulated(precision, 40, 50, 16 * 19 * unit, 1);
    check_emulated(precision, 33, 530, 16 * 17 * unit, 1);
    check_emulated(precision, 3, 70, 16 * 17 * unit, 1);
    for (const std::size_t groups : {1, 2, 15, 16, 19, 24, 32, 33, 49, 53})
      for (const std::size_t segments : {1, 3}) check_emulated(precision, 19, 37, groups * unit, segments);
  }
}

#if defined(__x86_64__)
TEST_CASE("one row by vectors has the bits of tiles and leaves the modes of the host alone", "[narrow]") {
  if (!has_vectors_of_bf16()) return;
  Random random(5);
  // Bits of bf16: ordinary values, denormals, and values whose products lie below 2^-126.
  const auto bits = [&](std::size_t i) -> std::uint16_t {
    const double size = i % 3 == 0 ? 1.0 : i % 3 == 1 ? 1e-20 : 1e-39;
    return static_cast<std::uint16_t>(std::bit_cast<std::uint32_t>(static_cast<float>(random.normal() * size)) >> 16);
  };
  constexpr std::size_t n = 70, segment = 46, segments = 2;
  std::vector<std::uint16_t> a(segments * segment), w((n + 15) / 16 * 16 * segments * segment);
  for (std::size_t i = 0; i < a.size(); ++i) a[i] = bits(i);
  for (std::size_t i = 0; i < w.size(); ++i) w[i] = bits(i / 2 + i);
  std::vector<float> bias(n);
  for (float& b : bias) b = static_cast<float>(random.normal() * 1e-3);
  const int mode = std::fegetround();
  for (const unsigned char to :
       {kernels::detail::narrow_to_fp32, kernels::detail::narrow_to_bf16, kernels::detail::narrow_to_uint8}) {
    for (const bool relu : {false, true}) {
      const std::size_t value = to == kernels::detail::narrow_to_fp32   ? 4
                                : to == kernels::detail::narrow_to_bf16 ? 2
                                                                        : 1;
      std::vector<unsigned char> tiles(n * value + 1, 0x5a), vectors(tiles);
      kernels::detail::NarrowTile t{.a = reinterpret_cast<const unsigned char*>(a.data()),
                                    .a_row = 0,
                                    .segments = segments,
                                    .segment = segment * 2,
                                    .a_segment = segment * 2,
                                    .b = reinterpret_cast<const unsigned char*>(w.data()),
                                    .b_panel = segments * segment * 32,
                                    .c = tiles.data(),
                                    .c_row = 0,
                                    .rows = 1,
                                    .cols = n,
                                    .scales = nullptr,
                                    .bias = bias.data(),
                                    .relu = relu,
                                    .to = to,
                                    .inverse = 40,
                                    .zero = 100,
                                    .lines = 1,
                                    .a_line = 0,
                                    .c_line = 0,
                                    .pool = false};
      kernels::detail::amx_product<EmulatedBf16>(t);
      t.c = vectors.data();
      kernels::detail::amx_narrow_table.bf16_row(t);
      CHECK(vectors == tiles);
      if (to != kernels::detail::narrow_to_fp32 || relu) continue;
      // The sums do not depend on the host's rounding, which stays; adding the bias does.
      std::fill(bias.begin(), bias.end(), 0.0f);
      t.c = tiles.data();
      kernels::detail::amx_product<EmulatedBf16>(t);
      t.c = vectors.data();
      std::fesetround(FE_UPWARD);
      kernels::detail::amx_narrow_table.bf16_row(t);
      const int kept = std::fegetround();
      std::fesetround(mode);
      CHECK(kept == FE_UPWARD);
      CHECK(vectors == tiles);
    }
  }
}
#endif

TEST_CASE("narrow results and pools are those of the floats", "[narrow]") {
  // Patches of 2 values from each of 2 lines below each other.
  constexpr std::size_t image_row = 90, segment = 4, segments = 2;
  for (const Precision precision : {Precision::bf16, Precision::int8}) {
    for (const auto& [places, lines] : {std::pair<std::size_t, std::size_t>{14, 6}, {35, 5}, {2, 2}, {40, 1}, {7, 3}}) {
      for (const std::size_t n : {10, 40, 64}) {
        INFO(to_string(precision) << ": " << lines << " x " << places << " x " << n);
        const auto image = random_tensor(lines + 1, image_row, 5), w = random_tensor(segment * segments, n, 6),
                   other = random_tensor(n, 3, 7), bias = random_tensor(1, n, 8);
        const NarrowWeights weights(w, bias.row(0), precision, QuantisedRange::covering(-1, 1));
        const NarrowWeights next(other, {}, precision, QuantisedRange::covering(-0.5f, 1));
        std::vector<std::byte> bytes(image.size() * weights.width());
        kernels::narrow(image.data(), image.size(), weights, bytes.data());
        const NarrowPatches patches{.data = bytes.data(),
                                    .rows = places,
                                    .row = 2,
                                    .segment = segment,
                                    .segments = segments,
                                    .segment_row = image_row,
                                    .lines = lines,
                                    .line = image_row};
        Tensor<float> floats({lines * places, n});
        narrow_matmul(patches, weights, MatrixView<float>(floats), Activation::relu, 0, n);
        for (std::size_t y = 0; y < lines; ++y) {  // lines alone
          NarrowPatches one = patches;
          one.data += y * patches.line * weights.width(), one.lines = 1;
          Tensor<float> alone({places, n});
          narrow_matmul(one, weights, MatrixView<float>(alone), Activation::relu, 0, n);
          for (std::size_t i = 0; i < alone.size(); ++i) REQUIRE(alone.data()[i] == floats.data()[y * places * n + i]);
        }
        for (const bool pool : {false, true}) {
          if (pool && lines < 2) continue;
          const std::size_t window = pool ? 2 : 1, high = lines / window, wide = places / window, gap = 3;
          const std::size_t row = n + gap, line = wide * row + gap, value = weights.width();
          constexpr std::byte untouched{0x5a};
          std::vector<std::byte> got(high * line * value, untouched), want(got);
          narrow_matmul(patches, weights, {.data = got.data(), .row = row, .line = line, .next = &next, .pool = pool},
                        Activation::relu, 0, n);
          for (std::size_t y = 0; y < high; ++y) {
            for (std::size_t x = 0; x < wide; ++x) {
              std::vector<float> best(floats.row(window * y * places + window * x).begin(),
                                      floats.row(window * y * places + window * x).end());
              for (std::size_t i = 1; i < window * window; ++i)
                for (std::size_t j = 0; j < n; ++j)
                  best[j] = std::max(best[j], floats((2 * y + i / 2) * places + 2 * x + i % 2, j));
              kernels::narrow(best.data(), n, next, want.data() + (y * line + x * row) * value);
            }
          }
          if (!pool || has_pooled_products()) {
            CHECK(got == want);
          } else {  // sums in another order
            for (std::size_t i = 0; i < got.size(); i += value) CHECK((got[i] == untouched) == (want[i] == untouched));
          }
#if defined(__x86_64__)
          // The body over emulated tiles.
          using kernels::detail::NarrowTile;
          std::vector<std::byte> emulated(got.size(), untouched);
          const bool int8 = precision == Precision::int8;
          const NarrowTile t{.a = reinterpret_cast<const unsigned char*>(bytes.data()),
                             .a_row = patches.row * value,
                             .segments = segments,
                             .segment = segment * value,
                             .a_segment = image_row * value,
                             .b = reinterpret_cast<const unsigned char*>(weights.panels()),
                             .b_panel = weights.depth() / weights.together() * NarrowWeights::panel * 4,
                             .c = reinterpret_cast<unsigned char*>(emulated.data()),
                             .c_row = row * value,
                             .rows = places,
                             .cols = n,
                             .scales = weights.scales(),
                             .bias = weights.bias(),
                             .relu = true,
                             .to = int8 ? kernels::detail::narrow_to_uint8 : kernels::detail::narrow_to_bf16,
                             .inverse = 1 / next.range().scale,
                             .zero = static_cast<float>(next.range().zero),
                             .lines = lines,
                             .a_line = image_row * value,
                             .c_line = line * value,
                             .pool = pool};
          int8 ? kernels::detail::amx_product<EmulatedInt8>(t) : kernels::detail::amx_product<EmulatedBf16>(t);
          if (int8 && has_kernels(precision)) CHECK(emulated == want);
          for (std::size_t i = 0; i < emulated.size(); i += value)
            CHECK((emulated[i] == untouched) == (want[i] == untouched));
#endif
        }
      }
    }
  }
}

TEST_CASE("the emulation of tiles refuses what the processor refuses", "[narrow]") {
  using Tiles = EmulatedBf16;
  kernels::detail::TileConfig config;
  for (int tile = 0; tile < 3; ++tile) config.rows[tile] = 16, config.row_bytes[tile] = 64;
  Tiles::release();
  CHECK_THROWS(Tiles::zero<0>());
  Tiles::configure(config);
  CHECK_NOTHROW(Tiles::dp<0, 1, 2>());
  CHECK_THROWS(Tiles::dp<0, 1, 1>());
  CHECK_THROWS(Tiles::zero<3>());
  config.rows[1] = 9;
  Tiles::configure(config);
  CHECK_THROWS(Tiles::dp<0, 1, 2>());
  config.rows[1] = 17;
  CHECK_THROWS(Tiles::configure(config));
  config.rows[1] = 16, config.row_bytes[1] = 68;
  CHECK_THROWS(Tiles::configure(config));
  config.row_bytes[1] = 0;
  CHECK_THROWS(Tiles::configure(config));
  Tiles::release();
}
