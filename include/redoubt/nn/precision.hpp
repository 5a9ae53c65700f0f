#pragma once
#include <cstdint>

namespace redoubt {

/// What the products of training round their operands to: those of dense layers (from two rows on), of conv2d, of
/// conv_transpose2d and of attention, forward and backward. Sums, weights, moments, gradients and everything else stay
/// fp32, and so does prediction. Errors of a product, relative to sum |a||b|: at most 2^-23 (k + 1) of strict_fp32, 3 *
/// 2^-16 more of fp32x3, 2^-7 more of bf16.
enum class TrainingPrecision : std::uint8_t {
  automatic,    ///< fp32x3 where its products outrun those of fp32 (AMX at the active level), else strict_fp32
  strict_fp32,  ///< nothing
  fp32x3,       ///< two parts of 8 bits each, three products: for AMX; slower than strict_fp32 elsewhere
  bf16          ///< 8 bits: by AMX, or at twice the rate of fp32 on AMD from Zen 4 on; slower elsewhere
};

const char* to_string(TrainingPrecision precision) noexcept;  ///< "automatic", "strict_fp32", "fp32x3", "bf16"

/// What `asked` means on this machine: never automatic.
TrainingPrecision chosen_precision(TrainingPrecision asked) noexcept;

}  // namespace redoubt
