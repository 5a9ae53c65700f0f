#include "redoubt/nn/precision.hpp"

#include <array>

namespace redoubt {

const char* to_string(TrainingPrecision precision) noexcept {
  constexpr std::array names{"automatic", "strict_fp32", "fp32x3", "bf16"};
  const auto at = static_cast<std::size_t>(precision);
  return at < names.size() ? names[at] : "?";
}

TrainingPrecision chosen_precision(TrainingPrecision asked) noexcept {
  return asked == TrainingPrecision::automatic ? TrainingPrecision::strict_fp32 : asked;
}

}  // namespace redoubt
