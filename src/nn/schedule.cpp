#include "redoubt/nn/schedule.hpp"

#include <algorithm>
#include <cmath>
#include <numbers>

#include "nn/require.hpp"

namespace redoubt {

double Schedule::at(std::uint64_t step, std::uint64_t steps) const noexcept {
  const double total = static_cast<double>(std::max<std::uint64_t>(steps, 1));
  const double rising = std::floor(warmup * total), now = std::min(static_cast<double>(step), total - 1);
  if (now < rising) return (now + 1) / (rising + 1);
  const double rest = total - rising, passed = (now - rising) / rest;  // [0, 1)
  switch (kind) {
    case ScheduleKind::constant: return 1;
    case ScheduleKind::step: return std::pow(factor, std::floor(passed / every + 1e-9));
    case ScheduleKind::cosine: return final + (1 - final) * (1 + std::cos(std::numbers::pi * passed)) / 2;
    case ScheduleKind::linear: return 1 + (final - 1) * passed;
  }
  return 1;
}

void check(const Schedule& s) {
  detail::require(s.kind <= ScheduleKind::linear, "schedule", "kind", static_cast<double>(s.kind), "an enumerator");
  detail::require(s.warmup >= 0 && s.warmup < 1, "schedule", "warmup", s.warmup, "in [0, 1)");
  detail::require(s.final >= 0 && s.final <= 1, "schedule", "final", s.final, "in [0, 1]");
  detail::require(s.every > 0 && s.every <= 1, "schedule", "every", s.every, "in (0, 1]");
  detail::require(s.factor > 0 && s.factor <= 1, "schedule", "factor", s.factor, "in (0, 1]");
}

}  // namespace redoubt
