#include "redoubt/kernels/rounded_weights.hpp"

#include <catch2/catch.hpp>
#include <tuple>

#include "kernels/emulated_tiles.hpp"
#include "kernels/random_data.hpp"
#include "kernels/rounded.hpp"
#include "redoubt/core/error.hpp"

using namespace redoubt;
using namespace redoubt::kernels;
namespace own = redoubt::kernels::detail;
using redoubt::test::random_tensor;

namespace {

/// Weights laid out once give the bits of a product that lays them out itself, for all rows and for each alone.
void check() {
  for (const auto& [m, n, k] : {std::tuple<std::size_t, std::size_t, std::size_t>{1, 1, 1},
                                {0, 3, 4},
                                {2, 3, 0},
                                {3, 0, 4},
                                {3, 600, 0},
                                {5, 70, 33},
                                {33, 32, 65},
                                {40, 530, 31},
                                {70, 67, 600}}) {
    const auto a = random_tensor(m, k, 1), b = random_tensor(k, n, 2), bias = random_tensor(1, n, 3);
    for (const ProductPrecision precision : {ProductPrecision::fp32x3, ProductPrecision::bf16}) {
      INFO(m << 'x' << n << 'x' << k << ' ' << to_string(precision));
      const RoundedWeights w(b, precision);
      CHECK(w.rows() == k);
      CHECK(w.cols() == n);
      CHECK(w.precision() == precision);
      const Epilogue epilogue{bias.data(), Activation::relu};
      Tensor<float> want({m, n}), got = random_tensor(m, n, 4), row({1, n});
      matmul(a, b, want, {.epilogue = epilogue, .precision = precision});
      matmul(a, w, got, epilogue);
      CHECK(got == want);
      if (m < 2) continue;
      matmul(MatrixView<const float>(a).slice(m - 1, m), w, row, epilogue);
      CHECK(std::equal(row.flat().begin(), row.flat().end(), want.row(m - 1).begin()));
    }
  }
}

}  // namespace

TEST_CASE("rounded weights give the bits of products of this machine", "[rounded]") { check(); }

TEST_CASE("rounded weights over emulated tiles", "[rounded][tiles]") {
  static const own::TileKernels emulated{&own::naive_pair_packs,
                                         &own::amx_tiled_product<redoubt::test::EmulatedRounded>};
  struct Restore {
    ~Restore() { own::replace_tile_kernels(nullptr); }
  } restore;
  own::replace_tile_kernels(&emulated);
  CHECK(outruns_fp32(ProductPrecision::fp32x3));
  check();
}

TEST_CASE("rounded weights refuse fp32 and other shapes", "[rounded]") {
  const auto w = random_tensor(4, 3, 1), a = random_tensor(2, 5, 2);
  CHECK_THROWS_AS(RoundedWeights(w, ProductPrecision::fp32), Error);
  Tensor<float> c({2, 3});
  CHECK_THROWS_AS(matmul(a, RoundedWeights(w, ProductPrecision::bf16), c), Error);
  CHECK(!outruns_fp32(ProductPrecision::fp32));
}
