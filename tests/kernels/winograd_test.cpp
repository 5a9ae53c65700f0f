#include "kernels/winograd.hpp"

#include <catch2/catch.hpp>
#include <cmath>
#include <limits>

#include "kernels/random_data.hpp"

using namespace redoubt;
using namespace redoubt::kernels;
using redoubt::test::random_tensor;

namespace {

/// A padded image, weights and a bias; runs lines of tiles [first, last) into `dst`.
struct Case {
  std::size_t height, width, channels, filters;  // of the output
  WinogradTiles tiles{(height + 1) / 2, (width + 1) / 2};
  std::size_t row = (2 * tiles.columns + 2) * channels;
  Tensor<float> image = random_tensor(2 * tiles.lines + 2, row, 1), weight = random_tensor(9 * channels, filters, 2),
                bias = random_tensor(1, filters, 3);
  WinogradWeights weights{weight};

  Tensor<float> run(decltype(&winograd) f, bool relu, std::size_t lines) const {
    Tensor<float> dst({height * width, filters});
    for (std::size_t y = 0; y < tiles.lines; y += lines) {
      const WinogradTiles part{std::min(lines, tiles.lines - y), tiles.columns};
      std::vector<float> scratch(part.scratch(weights), std::nanf(""));
      f(weights, image.data() + 2 * y * row, row, part, bias.data(), relu, scratch.data(),
        dst.data() + 2 * y * width * filters, width * filters, std::min(2 * part.lines, height - 2 * y), width);
    }
    return dst;
  }
  double exact(std::size_t y, std::size_t x, std::size_t f) const {
    double sum = bias(0, f);
    for (std::size_t ky = 0; ky < 3; ++ky)
      for (std::size_t kx = 0; kx < 3; ++kx)
        for (std::size_t c = 0; c < channels; ++c)
          sum += static_cast<double>(image(y + ky, (x + kx) * channels + c)) *
                 static_cast<double>(weight((3 * ky + kx) * channels + c, f));
    return sum;
  }
};

}  // namespace

TEST_CASE("Winograd convolutions lie within their stated error of the exact ones", "[winograd]") {
  for (const Case& k :
       {Case{6, 8, 16, 16}, Case{14, 14, 32, 64}, Case{7, 9, 20, 35}, Case{1, 1, 17, 5}, Case{2, 31, 48, 16}}) {
    INFO(k.height << " x " << k.width << ", " << k.channels << " to " << k.filters);
    float largest = 0;
    for (const float v : k.image.flat()) largest = std::max(largest, std::abs(v));
    for (const auto f : {&winograd, &naive::winograd}) {
      const Tensor<float> plain = k.run(f, false, k.tiles.lines), relu = k.run(f, true, k.tiles.lines);
      double worst = 0;
      for (std::size_t i = 0; i < plain.size(); ++i) {
        const std::size_t filter = i % k.filters, place = i / k.filters;
        const double want = k.exact(place / k.width, place % k.width, filter);
        const double allowed = k.weights.error()[filter] * largest + std::abs(want) * 0x1p-24;
        REQUIRE(std::abs(plain.data()[i] - want) <= allowed);
        worst = std::max(worst, std::abs(plain.data()[i] - want) / allowed);
        REQUIRE(relu.data()[i] == std::max(plain.data()[i], 0.0f));
      }
      CHECK(worst > 1e-4);  // it rounds: the bound is of use
    }
  }
}

TEST_CASE("tiles of a Winograd convolution do not depend on the others", "[winograd]") {
  Case k{14, 10, 24, 40};
  const Tensor<float> whole = k.run(&winograd, true, k.tiles.lines);
  for (const std::size_t lines : {1, 2, 3, 5}) CHECK(k.run(&winograd, true, lines) == whole);
  // A NaN spoils the places that see it, and at most the tiles of 4 x 4 that do.
  k.image(5, 3 * k.channels + 7) = std::numeric_limits<float>::quiet_NaN();
  const Tensor<float> spoilt = k.run(&winograd, true, k.tiles.lines);
  for (std::size_t i = 0; i < spoilt.size(); ++i) {
    const std::size_t y = i / k.filters / k.width, x = i / k.filters % k.width;
    const auto sees = [](std::size_t from, std::size_t pixels, std::size_t at) {
      return from <= at && at < from + pixels;
    };
    if (sees(y, 3, 5) && sees(x, 3, 3)) REQUIRE(std::isnan(spoilt.data()[i]));
    if (!sees(y / 2 * 2, 4, 5) || !sees(x / 2 * 2, 4, 3)) REQUIRE(spoilt.data()[i] == whole.data()[i]);
  }
}
