#pragma once
// The decision-based attack on one row.
#include <cstddef>
#include <cstdint>
#include <span>

#include "redoubt/robustness/evasion/attack.hpp"

namespace redoubt::detail {

/// HopSkipJump (Chen, Jordan & Wainwright, IEEE S&P 2020): sees classes only. From a far row of another class it
/// bisects to the boundary, estimates the boundary's normal from random steps, jumps along it, and begins again.
/// True, and the row in `found`, as soon as one of another class lies within the radius; at most `options.steps`
/// queries, added to `queries`. `stream`: of the random numbers.
bool hop_skip_jump(const Predictor& model, const AttackOptions& options, std::span<const float> origin,
                   std::size_t label, int restart, std::uint64_t stream, std::span<float> found, std::size_t& queries);

}  // namespace redoubt::detail
