#include <algorithm>
#include <catch2/catch.hpp>
#include <cmath>
#include <cstring>
#include <tuple>
#include <utility>
#include <vector>

#include "kernels/dispatch.hpp"
#include "kernels/emulated_tiles.hpp"
#include "kernels/random_data.hpp"
#include "kernels/rounded.hpp"
#include "redoubt/core/parallel.hpp"
#include "redoubt/kernels/matmul.hpp"

using namespace redoubt;
using namespace redoubt::kernels;
namespace own = redoubt::kernels::detail;
using own::Form;
using redoubt::test::random_tensor;

namespace {

const own::TileKernels emulated{&own::naive_pair_packs, &own::amx_tiled_product<redoubt::test::EmulatedRounded>};

struct Operands {
  Tensor<float> a, b;
  Operands(Form form, std::size_t m, std::size_t n, std::size_t k)
      : a(form == Form::tn ? random_tensor(k, m, 1) : random_tensor(m, k, 1)),
        b(form == Form::nt ? random_tensor(n, k, 2) : random_tensor(k, n, 2)) {}
};

/// Exact sum of the rounded products, and of their magnitudes.
std::pair<double, double> exact(Form form, const Operands& o, std::size_t i, std::size_t j, std::size_t k, bool two) {
  double sum = 0, absolute = 0;
  for (std::size_t p = 0; p < k; ++p) {
    const float x = form == Form::tn ? o.a(p, i) : o.a(i, p), y = form == Form::nt ? o.b(j, p) : o.b(p, j);
    float x0, x1, y0, y1;
    own::round_values({&x, 1, 1}, &x0, &x1);
    own::round_values({&y, 1, 1}, &y0, &y1);
    sum += double(x0) * y0 + (two ? double(x1) * y0 + double(x0) * y1 : 0);
    absolute += std::abs(double(x0) * y0) + (two ? std::abs(double(x1) * y0) + std::abs(double(x0) * y1) : 0);
  }
  return {sum, absolute};
}

}  // namespace

TEST_CASE("products of training over emulated tiles are those of rounded operands", "[tiles]") {
  Arena one(1);
  for (const Form form : {Form::nn, Form::tn, Form::nt}) {
    for (const auto& [m, n, k] : {std::tuple<std::size_t, std::size_t, std::size_t>{1, 1, 1},
                                  {2, 3, 0},
                                  {5, 70, 33},
                                  {16, 49, 31},
                                  {17, 16, 64},
                                  {33, 32, 65},
                                  {64, 10, 95},
                                  {79, 15, 40},
                                  {35, 67, 600}}) {
      const Operands o(form, m, n, k);
      const auto start = random_tensor(m, n + 3, 3), bias = random_tensor(1, n, 4);
      for (const ProductPrecision precision : {ProductPrecision::fp32x3, ProductPrecision::bf16}) {
        const bool two = precision == ProductPrecision::fp32x3;
        std::vector<std::pair<double, double>> sums(m * n);
        for (std::size_t i = 0; i < m * n; ++i) sums[i] = exact(form, o, i / n, i % n, k, two);
        for (const auto& [with_bias, accumulate, relu] :
             {std::tuple{false, false, false}, {true, false, false}, {false, true, false}, {true, true, true}}) {
          INFO(int(form) << ": " << m << 'x' << n << 'x' << k << ' ' << to_string(precision) << " bias " << with_bias
                         << " accumulate " << accumulate);
          Tensor<float> c = start;
          const MatmulOptions options{
              .epilogue = {with_bias ? bias.data() : nullptr, relu ? Activation::relu : Activation::none},
              .accumulate = accumulate,
              .precision = precision,
              .arena = &one};
          own::tiled_product(emulated, form, o.a, o.b, MatrixView<float>(c.data(), m, n, n + 3), options, {m, n, k});
          double worst = 0;
          bool others_kept = true;
          for (std::size_t i = 0; i < m; ++i) {
            for (std::size_t j = 0; j < n + 3; ++j) {
              if (j >= n) {
                others_kept &= c(i, j) == start(i, j);
                continue;
              }
              auto [want, absolute] = sums[i * n + j];
              const double begin = (with_bias ? bias(0, j) : 0.0), old = accumulate ? start(i, j) : 0.0;
              want += begin + old, absolute += std::abs(begin) + std::abs(old);
              if (relu) want = std::max(want, 0.0);
              // Each tile in depth adds chains of 16 products, then one sum per product of parts; and as matmul.hpp
              // says.
              const double roundings = std::min(19 + double(k + 31) / 32 * 3, 2 * double(k + 2));
              worst = std::max(worst, std::abs(c(i, j) - want) - roundings * 0x1p-24 * absolute);
            }
          }
          CHECK(worst <= 0);
          CHECK(others_kept);
        }
      }
    }
  }
  CHECK_FALSE(redoubt::test::EmulatedTiles::state.configured);  // released
}

TEST_CASE("products over emulated tiles are the same at any thread count", "[tiles][threads]") {
  if (!own::table()) return;
  Arena one(1), two(2);
  const std::size_t m = 200, n = 300, k = 600;
  for (const Form form : {Form::nn, Form::tn, Form::nt}) {
    const Operands o(form, m, n, k);
    Tensor<float> serial({m, n}), parallel({m, n});
    const auto run = [&](Tensor<float>& c, Arena& arena) {
      own::tiled_product(emulated, form, o.a, o.b, c, {.precision = ProductPrecision::bf16, .arena = &arena},
                         {m, n, k});
    };
    run(serial, one);
    run(parallel, two);
    CHECK(serial == parallel);
  }
}

TEST_CASE("vectors pack as the reference does, in rows and in tiles", "[tiles]") {
#if defined(__x86_64__)
  if (detected_isa() < Isa::avx512 || !cpu_features().avx512bf16) {
    WARN("SKIPPED: this machine has no AVX-512 BF16");
    return;
  }
  const own::PairPacks &fast = own::avx512_rounded_table.packs, &naive = own::naive_pair_packs;
  const auto src = random_tensor(100, 103, 5);
  for (const std::size_t count : {1, 15, 16, 33, 48})
    for (const std::size_t depth : {1, 2, 31, 32, 45, 96})
      for (const std::size_t part : {0, 65536}) {
        INFO(count << " x " << depth << " part " << part);
        const auto same = [&](own::PairPack* one, own::PairPack* two, bool left, const own::PairPlaces& to) {
          std::vector<unsigned char> x(131072), y(131072);
          one(src.data(), 103, count, depth, x.data(), to);
          two(src.data(), 103, count, depth, y.data(), to);
          if (!left) {  // columns beyond may hold anything
            for (std::size_t p = 0; p < (depth + 1) / 2; ++p)
              for (std::size_t i = count; i < (count + 15) / 16 * 16; ++i)
                for (const std::size_t shift : {std::size_t{0}, part}) {
                  const std::size_t at = shift + i / 16 * to.group + p / 16 * to.block + p % 16 * to.row + i % 16 * 4;
                  std::memset(x.data() + at, 0, 4);
                }
          }
          return x == y;
        };
        const own::PairPlaces tiles{64, 1024, 4096, part}, rows{256, 64, 4096, part}, panel{192, 3072, 64, part};
        CHECK(same(fast.rows, naive.rows, true, tiles));
        CHECK(same(fast.rows, naive.rows, true, rows));
        CHECK(same(fast.rows_turned, naive.rows_turned, true, tiles));
        CHECK(same(fast.rows_turned, naive.rows_turned, true, rows));
        CHECK(same(fast.panel, naive.panel, false, tiles));
        CHECK(same(fast.panel, naive.panel, false, panel));
        CHECK(same(fast.panel_turned, naive.panel_turned, false, tiles));
        CHECK(same(fast.panel_turned, naive.panel_turned, false, panel));
      }
#endif
}
