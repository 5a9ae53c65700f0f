#pragma once
#include <cstdint>

namespace redoubt {

enum class ScheduleKind : std::uint8_t { constant, step, cosine, linear };

/// The learning rate over a training, as a multiple of the optimizer's. First a linear warm-up from 0 over the first
/// `warmup` share of all steps; over the rest of them: constant 1; or `factor` to the power of how many times `every`
/// of the rest has passed; or from 1 down to `final` along half a cosine (Loshchilov & Hutter, arXiv:1608.03983); or
/// along a line.
struct Schedule {
  ScheduleKind kind = ScheduleKind::constant;
  double warmup = 0;       ///< [0, 1)
  double final = 0;        ///< cosine and linear, [0, 1]
  double every = 1.0 / 3;  ///< step, (0, 1]
  double factor = 0.1;     ///< step, (0, 1]

  /// The multiple for step `step` of `steps`, from 0. Later steps get that of the last.
  double at(std::uint64_t step, std::uint64_t steps) const noexcept;
};

/// Throws Error(invalid_argument) naming the option and its range.
void check(const Schedule& schedule);

}  // namespace redoubt
