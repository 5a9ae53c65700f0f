#include "kernels/conv.hpp"

#include <algorithm>
#include <catch2/catch.hpp>
#include <cmath>
#include <cstring>
#include <vector>

#include "kernels/dispatch.hpp"
#include "kernels/emulated_tiles.hpp"
#include "kernels/random_data.hpp"
#include "kernels/rounded.hpp"
#include "redoubt/core/cpu.hpp"
#include "redoubt/core/parallel.hpp"

using namespace redoubt;
using namespace redoubt::kernels;
namespace own = redoubt::kernels::detail;
using own::ConvShape;
using redoubt::test::random_tensor;

namespace {

const own::ConvKernels emulated_kernels{own::amx_conv_places<redoubt::test::EmulatedConv>,
                                        own::amx_conv_sums<redoubt::test::EmulatedConv>};
const own::TileKernels emulated{&own::naive_pair_packs, own::amx_tiled_product<redoubt::test::EmulatedRounded>,
                                &own::naive_conv_packs, &emulated_kernels};

struct Use {
  explicit Use(const own::TileKernels* kernels) { own::replace_tile_kernels(kernels); }
  ~Use() { own::replace_tile_kernels(nullptr); }
};

ConvShape shape(std::size_t height, std::size_t width, std::size_t channels, std::size_t filters, std::size_t kernel_h,
                std::size_t kernel_w, std::size_t stride, std::size_t pad, std::size_t dilation) {
  return {height,
          width,
          channels,
          filters,
          kernel_h,
          kernel_w,
          stride,
          pad,
          dilation,
          (height + 2 * pad - dilation * (kernel_h - 1) - 1) / stride + 1,
          (width + 2 * pad - dilation * (kernel_w - 1) - 1) / stride + 1};
}

const ConvShape shapes[] = {
    shape(1, 1, 1, 1, 1, 1, 1, 0, 1),   shape(5, 7, 1, 20, 3, 3, 1, 1, 1),   shape(6, 5, 32, 33, 3, 3, 1, 1, 1),
    shape(9, 8, 3, 16, 5, 3, 2, 2, 1),  shape(7, 9, 35, 17, 3, 2, 1, 0, 1),  shape(8, 8, 16, 8, 3, 3, 2, 1, 1),
    shape(9, 10, 5, 40, 3, 3, 1, 2, 2), shape(10, 7, 33, 9, 2, 3, 3, 1, 2),  shape(3, 3, 4, 3, 1, 1, 2, 3, 1),
    shape(4, 6, 2, 50, 4, 6, 1, 0, 1),  shape(12, 11, 8, 34, 1, 1, 1, 0, 1), shape(5, 5, 70, 6, 3, 3, 5, 1, 1)};

struct Case {
  ConvShape s;
  std::size_t rows;
  Tensor<float> images, weights, bias, slopes;

  Case(const ConvShape& shape, std::size_t count)
      : s(shape),
        rows(count),
        images(random_tensor(count, s.height * s.width * s.channels, 1)),
        weights(random_tensor(s.taps() * s.channels, s.filters, 2)),
        bias(random_tensor(1, s.filters, 3)),
        slopes(random_tensor(count, s.places() * s.filters, 4)) {}
  Case magnitudes() const {
    Case result = *this;
    for (Tensor<float>* t : {&result.images, &result.weights, &result.bias, &result.slopes})
      for (float& x : t->flat()) x = std::abs(x);
    return result;
  }
};

struct Results {
  Tensor<float> dst, images, weights, bias;
  explicit Results(const Case& c)
      : dst({c.rows, c.s.places() * c.s.filters}),
        images(random_tensor(c.rows, c.s.height * c.s.width * c.s.channels, 5)),
        weights(random_tensor(c.s.taps() * c.s.channels, c.s.filters, 6)),
        bias(random_tensor(1, c.s.filters, 7)) {}
  own::ConvGradients gradients(bool assign) { return {images, assign, weights.data(), bias.data()}; }
};

template <class Forward, class Backward>
Results run(const Case& c, bool relu, bool assign, const own::ConvOptions& options, Forward forward,
            Backward backward) {
  Results result(c);
  forward(c.s, c.images, c.weights.data(), c.bias.data(), relu, result.dst, options);
  backward(c.s, c.images, c.weights.data(), c.slopes, result.gradients(assign), options);
  return result;
}
Results tiled(const Case& c, bool relu, bool assign, const own::ConvOptions& options) {
  return run(c, relu, assign, options, own::rounded_conv, own::rounded_conv_backward);
}
Results reference(const Case& c, bool relu, bool assign, const own::ConvOptions& options) {
  return run(c, relu, assign, options, own::naive::rounded_conv, own::naive::rounded_conv_backward);
}

/// How far the errors exceed what `depth` roundings of sums explain; magnitudes: of the terms of each sum.
double excess(const Tensor<float>& found, const Tensor<float>& want, const Tensor<float>& magnitudes,
              std::size_t depth) {
  double worst = -1;
  for (std::size_t i = 0; i < found.flat().size(); ++i) {
    const double allowed = 2 * double(depth + 4) * 0x1p-24 * std::abs(double(magnitudes.flat()[i])) + 1e-30;
    const double error = std::abs(double(found.flat()[i]) - want.flat()[i]);
    worst = std::max(worst, std::isnan(error) ? 1.0 : error - allowed);
  }
  return worst;
}

void check(const Case& c, ProductPrecision precision, bool relu, bool assign) {
  Arena one(1), two(2);
  const ConvShape& s = c.s;
  INFO(s.height << 'x' << s.width << 'x' << s.channels << " by " << s.kernel_height << 'x' << s.kernel_width << " to "
                << s.filters << " stride " << s.stride << " pad " << s.pad << " dilation " << s.dilation << ' '
                << to_string(precision) << " rows " << c.rows);
  const Results found = tiled(c, relu, assign, {precision, &one}), want = reference(c, relu, assign, {precision, &one});
  Results size = reference(c.magnitudes(), false, assign, {precision, &one});
  if (!assign) {  // what was there may cancel what is added
    const Results start(c);
    for (std::size_t i = 0; i < size.images.flat().size(); ++i)
      size.images.flat()[i] += 2 * std::abs(start.images.flat()[i]);
  }
  const Results start(c);
  for (std::size_t i = 0; i < size.weights.flat().size(); ++i)
    size.weights.flat()[i] += 2 * std::abs(start.weights.flat()[i]);
  for (std::size_t i = 0; i < size.bias.flat().size(); ++i) size.bias.flat()[i] += 2 * std::abs(start.bias.flat()[i]);
  const std::size_t three = precision == ProductPrecision::bf16 ? 1 : 3;
  CHECK(excess(found.dst, want.dst, size.dst, three * s.taps() * s.channels) <= 0);
  CHECK(excess(found.images, want.images, size.images, three * s.taps() * s.filters) <= 0);
  CHECK(excess(found.weights, want.weights, size.weights, three * c.rows * s.places()) <= 0);
  CHECK(excess(found.bias, want.bias, size.bias, c.rows * s.places()) <= 0);
  const Results again = tiled(c, relu, assign, {precision, &two});
  CHECK((again.dst == found.dst && again.images == found.images && again.weights == found.weights &&
         again.bias == found.bias));
}

}  // namespace

TEST_CASE("convolutions over emulated tiles are those of rounded operands", "[conv][tiles]") {
  const Use use(&emulated);
  for (const ConvShape& s : shapes) {
    check(Case(s, 1), ProductPrecision::bf16, false, true);
    check(Case(s, 3), ProductPrecision::fp32x3, true, false);
  }
  check(Case(shapes[2], 19), ProductPrecision::bf16, true, false);
  CHECK_FALSE(redoubt::test::EmulatedTiles::state.configured);  // released
}

TEST_CASE("convolutions by tiles of this machine are those of rounded operands", "[conv][tiles]") {
  if (!own::tile_kernels()) {
    WARN("SKIPPED: this machine has no tiles at the active level");
    return;
  }
  for (const ConvShape& s : shapes)
    for (const std::size_t rows : {1, 3, 40}) {
      check(Case(s, rows), ProductPrecision::bf16, rows == 3, rows == 1);
      check(Case(s, rows), ProductPrecision::fp32x3, rows == 1, rows == 3);
    }
}

TEST_CASE("convolutions: gradients that are not wanted are left alone", "[conv][tiles]") {
  const Use use(&emulated);
  const Case c(shapes[1], 2);
  Arena one(1);
  const own::ConvOptions options{ProductPrecision::bf16, &one};
  const Results all = tiled(c, false, true, options);
  const auto some = [&](bool images, bool weights, bool bias) {
    const Results start(c);
    Results found(c);
    own::ConvGradients to = found.gradients(true);
    if (!images) to.images = {};
    if (!weights) to.weights = nullptr;
    if (!bias) to.bias = nullptr;
    CHECK(own::rounded_conv_backward(c.s, c.images, c.weights.data(), c.slopes, to, options));
    CHECK(found.images == (images ? all.images : start.images));
    CHECK(found.weights == (weights ? all.weights : start.weights));
    CHECK(found.bias == (bias ? all.bias : start.bias));
  };
  some(true, false, false);
  some(false, true, false);
  some(false, false, true);
  some(false, false, false);
}

TEST_CASE("packs of convolutions are those of the reference", "[conv][tiles]") {
#if defined(__x86_64__)
  if (detected_isa() < Isa::avx512 || !cpu_features().avx512bf16) {
    WARN("SKIPPED: this machine has no AVX-512 BF16");
    return;
  }
  const own::ConvPacks &fast = own::avx512_conv_packs, &naive = own::naive_conv_packs;
  std::vector<unsigned short> values(200);
  for (std::size_t i = 0; i < values.size(); ++i) values[i] = static_cast<unsigned short>(i * 77);
  for (const std::size_t count : {0, 1, 31, 32, 33, 100}) {
    std::vector<unsigned short> x(256), y(256);
    fast.pairs(values.data(), values.data() + 7, count, x.data());
    naive.pairs(values.data(), values.data() + 7, count, y.data());
    CHECK(x == y);
  }
  const auto src = random_tensor(120, 70, 5);
  for (const std::size_t filters : {1, 16, 35})
    for (const std::size_t width : {1, 5, 12})
      for (const std::size_t part : {0, 16384}) {
        INFO(filters << " filters, width " << width << ", part " << part);
        std::vector<unsigned char> x(32768), y(32768);
        std::vector<float> sums(filters, 0.5f), other(filters, 0.5f);
        fast.slopes(src.data(), 6, width, width + 2, filters, x.data(), 4096, part, sums.data());
        naive.slopes(src.data(), 6, width, width + 2, filters, y.data(), 4096, part, other.data());
        for (std::size_t f = filters; f < (filters + 15) / 16 * 16; ++f)  // may hold anything
          for (std::size_t p = 0; p < (5 * (width + 2) + width + 31) / 32 * 32; ++p)
            for (const std::size_t shift : {std::size_t{0}, part}) {
              const std::size_t at = shift + f / 16 * 4096 + p / 32 * 1024 + f % 16 * 64 + p % 32 * 2;
              std::memset(x.data() + at, 0, 2);
              std::memset(y.data() + at, 0, 2);
            }
        CHECK(x == y);
        CHECK(sums == other);
      }
#endif
}
