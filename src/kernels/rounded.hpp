#pragma once
#include <cstddef>

#include "core/kept_memory.hpp"
#include "kernels/rounded_table.hpp"
#include "redoubt/core/view.hpp"
#include "redoubt/kernels/matmul.hpp"

namespace redoubt::kernels::detail {

/// Which side is transposed: c = a b, a' b or a b'.
enum class Form { nn, tn, nt };

struct Sizes {
  std::size_t m, n, k;
};

/// A product in options.precision, which is not fp32, by the instructions for bf16. False: this machine has none at the
/// active level, and nothing was done.
bool rounded_product(Form form, MatrixView<const float> a, MatrixView<const float> b, MatrixView<float> c,
                     const MatmulOptions& options, const Sizes& sizes);

/// What products in tiles are made of: see tile_body.hpp.
struct TileKernels {
  const PairPacks* packs;
  void (*product)(const TiledProduct&);
};

extern const PairPacks naive_pair_packs;  ///< the reference

/// Those of AMX at level amx; null: none at the active level.
const TileKernels* tile_kernels() noexcept;

/// For tests: other kernels for all products from now on, null for those of the machine. Returns what was set before.
const TileKernels* replace_tile_kernels(const TileKernels* kernels) noexcept;

/// A product in options.precision, which is not fp32, by tiles.
void tiled_product(const TileKernels& kernels, Form form, MatrixView<const float> a, MatrixView<const float> b,
                   MatrixView<float> c, const MatmulOptions& options, const Sizes& sizes);

/// dst = src rounded to bf16, and in `rest`, unless it is null, what is left rounded; both without gaps.
void round_values(MatrixView<const float> src, float* dst, float* rest) noexcept;

/// Room for the rounded operands of a product.
class RoundedMemory : public redoubt::detail::KeptMemory<RoundedMemory> {
 public:
  explicit RoundedMemory(std::size_t bytes) : KeptMemory(bytes, std::size_t{64} << 20) {}
};

}  // namespace redoubt::kernels::detail
