#include "redoubt/kernels/packed.hpp"

#include <catch2/catch.hpp>
#include <cmath>
#include <limits>

#include "kernels/random_data.hpp"
#include "redoubt/kernels/isa.hpp"
#include "redoubt/kernels/matmul.hpp"

using namespace redoubt;
using namespace redoubt::kernels;
using redoubt::test::random_tensor;

TEST_CASE("packed weights keep every value", "[packed]") {
  for (const std::size_t cols : {1, 10, 48, 50, 100}) {
    const auto w = random_tensor(7, cols, 1);
    const PackedWeights packed(w);
    REQUIRE(packed.rows() == 7);
    REQUIRE(packed.cols() == cols);
    for (std::size_t r = 0; r < 7; ++r) {
      for (std::size_t c = 0; c < cols; ++c) REQUIRE(packed(r, c) == w(r, c));
    }
  }
}

TEST_CASE("packed products have the bits of matmul, and stay near the reference", "[packed]") {
  for (const std::size_t m : {1, 2, 7, 8, 9, 30}) {
    for (const std::size_t n : {1, 10, 16, 17, 33, 48, 49, 64, 80, 97, 130, 200}) {
      for (const std::size_t k : {0, 1, 9, 64, 300}) {
        INFO(m << " x " << k << " x " << n);
        auto a = random_tensor(m, k, 2);
        for (std::size_t i = 0; i < a.size(); i += 2) a.data()[i] = 0;  // as after ReLU
        const auto w = random_tensor(k, n, 3), bias = random_tensor(1, n, 4);
        const PackedWeights packed(w);
        for (const Activation activation : {Activation::none, Activation::relu, Activation::tanh}) {
          const Epilogue epilogue{.bias = activation == Activation::tanh ? nullptr : bias.data(),
                                  .activation = activation};
          Tensor<float> got({m, n}), want({m, n}), reference({m, n});
          const Patches rows{.data = a.data(), .rows = m, .row = k, .segment = k};
          const std::size_t half = n / 2 / packed.panel() * packed.panel();
          packed_matmul(rows, packed, MatrixView<float>(got), epilogue, 0, half);
          packed_matmul(rows, packed, MatrixView<float>(got), epilogue, half, n);
          matmul(a, w, want, {.epilogue = epilogue});
          CHECK(got == want);
          Tensor<float> in_place({m, n});
          patch_matmul(rows, w, MatrixView<float>(in_place), epilogue);
          CHECK(in_place == want);
          naive::packed_matmul(rows, packed, MatrixView<float>(reference), epilogue, 0, n);
          for (std::size_t i = 0; i < got.size(); ++i)
            REQUIRE(got.data()[i] == Approx(reference.data()[i]).margin(1e-6 * double(k + 2)));
        }
      }
    }
  }
}

TEST_CASE("one row leaves out zeros but not NaN", "[packed]") {
  auto a = random_tensor(1, 600, 2);
  for (std::size_t i = 0; i < a.size(); i += 3) a.data()[i] = 0;
  const auto w = random_tensor(600, 100, 3);
  const PackedWeights packed(w);
  Tensor<float> got({1, 100}), want({1, 100});
  const Patches row{.data = a.data(), .rows = 1, .row = 600, .segment = 600};
  packed_matmul(row, packed, MatrixView<float>(got), {}, 0, 100);
  matmul(a, w, want);
  CHECK(got == want);
  a.data()[5] = std::numeric_limits<float>::quiet_NaN();
  packed_matmul(row, packed, MatrixView<float>(got), {}, 0, 100);
  for (const float v : got.flat()) CHECK(std::isnan(v));
}

TEST_CASE("patches are read where they lie in the image", "[packed]") {
  constexpr std::size_t height = 6, width = 11, channels = 3, kernel = 3, units = 20, stride = 2;
  constexpr std::size_t out = (width - kernel) / stride + 1, depth = kernel * kernel * channels;
  const auto image = random_tensor(height, width * channels, 5), w = random_tensor(depth, units, 6);
  Tensor<float> gathered({out, depth});
  for (std::size_t p = 0; p < out; ++p) {
    for (std::size_t y = 0; y < kernel; ++y) {
      for (std::size_t x = 0; x < kernel * channels; ++x) {
        gathered(p, y * kernel * channels + x) = image(1 + y, p * stride * channels + x);
      }
    }
  }
  Tensor<float> got({out, units}), want({out, units}), reference({out, units});
  const Patches patches{.data = image.row(1).data(),
                        .rows = out,
                        .row = stride * channels,
                        .segment = kernel * channels,
                        .segments = kernel,
                        .segment_row = width * channels};
  const PackedWeights packed(w);
  packed_matmul(patches, packed, MatrixView<float>(got), {}, 0, units);
  matmul(gathered, w, want);
  CHECK(got == want);
  patch_matmul(patches, w, MatrixView<float>(got), {});
  CHECK(got == want);
  naive::packed_matmul(patches, packed, MatrixView<float>(reference), {}, 0, units);
  for (std::size_t i = 0; i < got.size(); ++i) REQUIRE(got.data()[i] == Approx(reference.data()[i]).margin(1e-4));
  naive::patch_matmul(patches, w, MatrixView<float>(got), {});
  CHECK(got == reference);
}

TEST_CASE("max-pool equals its reference", "[packed]") {
  for (const std::size_t channels : {1, 5, 16, 40}) {
    const auto image = random_tensor(3, 13 * channels, 7);
    auto src = image;
    src.data()[2] = std::numeric_limits<float>::quiet_NaN();
    Tensor<float> got({6, channels}), want({6, channels});
    max_pool(src.data(), 13 * channels, 2 * channels, 3, 2, channels, 6, got.data());
    naive::max_pool(src.data(), 13 * channels, 2 * channels, 3, 2, channels, 6, want.data());
    CHECK(got == want);
  }
}

TEST_CASE("slopes of a max-pool equal the reference: the first of equal values has them", "[packed]") {
  for (const std::size_t channels : {1, 5, 16, 40}) {
    for (const auto& [relu, add] : {std::pair{false, false}, {false, true}, {true, false}, {true, true}}) {
      auto src = random_tensor(3, 13 * channels, 7);
      for (float& v : src.flat()) v = std::max(std::round(2 * v), relu ? 0.0f : -9.0f);  // many are equal
      src.data()[2] = std::numeric_limits<float>::quiet_NaN();
      const auto slopes = random_tensor(6, channels, 8);
      Tensor<float> best({6, channels}), got({3, 13 * channels}), want({3, 13 * channels});
      for (auto* sums : {&got, &want}) std::fill(sums->flat().begin(), sums->flat().end(), 2.0f);
      max_pool(src.data(), 13 * channels, 2 * channels, 3, 2, channels, 6, best.data());
      max_pool_backward(src.data(), best.data(), slopes.data(), 13 * channels, 2 * channels, 3, 2, channels, 6, relu,
                        add, got.data());
      naive::max_pool_backward(src.data(), best.data(), slopes.data(), 13 * channels, 2 * channels, 3, 2, channels, 6,
                               relu, add, want.data());
      CHECK(got == want);
      double total = 0, given = add ? -2.0 * static_cast<double>(3 * 12 * channels) : 0.0;
      for (std::size_t i = 0; i < slopes.flat().size(); ++i)
        if (!relu || best.flat()[i] > 0) total += slopes.flat()[i];
      for (std::size_t y = 0; y < 3; ++y)
        for (std::size_t i = 0; i < 12 * channels; ++i) given += got(y, i);
      CHECK(given == Approx(total).margin(1e-4));
      CHECK(got(2, 13 * channels - 1) == 2.0f);  // no window has it
    }
  }
}
