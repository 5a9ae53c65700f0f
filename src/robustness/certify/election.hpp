#pragma once
// What voters that an attacker can change one by one elect, and how many of them it takes to change that.
#include <cstddef>
#include <cstdint>
#include <span>

#include "redoubt/core/view.hpp"

namespace redoubt::detail {

struct Elected {
  std::size_t winner = 0;     ///< of equal classes the first
  std::size_t votes = 0;      ///< for the winner in the last round; 0: nobody votes, and nothing is certified
  std::size_t runner_up = 0;  ///< for the next
  std::size_t tolerated = 0;  ///< so many voters may change, in whatever way, also to classes that are new
};

/// The class of most votes. `votes`: of each voter, classes and more: none.
Elected majority(std::span<const std::uint32_t> votes, std::size_t classes);

/// Run-off election (Rezaei, Banihashem, Chegini, Feizi, "Run-Off Election", ICML 2023, arXiv:2302.02300): of the two
/// classes of most votes the one that more voters score higher; of equal scores above 0 the first. `scores`: voters x
/// classes, finite, not negative, highest for the class voted for (the first of these), all 0 for no opinion.
Elected run_off(std::span<const std::uint32_t> votes, MatrixView<const float> scores);

}  // namespace redoubt::detail
