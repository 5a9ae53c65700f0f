#include "redoubt/nn/precision.hpp"

#include <array>

#include "redoubt/kernels/matmul.hpp"

namespace redoubt {

const char* to_string(TrainingPrecision precision) noexcept {
  constexpr std::array names{"automatic", "strict_fp32", "fp32x3", "bf16"};
  const auto at = static_cast<std::size_t>(precision);
  return at < names.size() ? names[at] : "?";
}

TrainingPrecision chosen_precision(TrainingPrecision asked) noexcept {
  if (asked != TrainingPrecision::automatic) return asked;
  return kernels::outruns_fp32(kernels::ProductPrecision::fp32x3) ? TrainingPrecision::fp32x3
                                                                  : TrainingPrecision::strict_fp32;
}

}  // namespace redoubt
