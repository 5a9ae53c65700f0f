#include "robustness/certify/election.hpp"

#include <algorithm>
#include <utility>
#include <vector>

namespace redoubt::detail {
namespace {

std::vector<std::size_t> counted(std::span<const std::uint32_t> votes, std::size_t classes) {
  std::vector<std::size_t> count(classes, 0);
  for (const std::uint32_t vote : votes)
    if (vote < classes) ++count[vote];
  return count;
}

/// By how much a class of `ahead` points must lose on one of `behind` to be beaten; a tie goes to the first.
std::size_t gap(std::size_t ahead, std::size_t behind, bool ahead_is_first) {
  const std::size_t needed = ahead + ahead_is_first;
  return needed > behind ? needed - behind : 0;
}

/// Voters for a gap: each moves it by 2 at most.
std::size_t voters_for(std::size_t gap) { return (gap + 1) / 2; }

/// The first of most votes, other than `except`.
std::size_t most_votes(const std::vector<std::size_t>& count, std::size_t except) {
  std::size_t best = except == 0 ? 1 : 0;
  for (std::size_t k = 0; k < count.size(); ++k)
    if (k != except && count[k] > count[best]) best = k;
  return best;
}

}  // namespace

Elected majority(std::span<const std::uint32_t> votes, std::size_t classes) {
  const auto count = counted(votes, classes);
  Elected result;
  result.winner = most_votes(count, classes);
  result.votes = count[result.winner];
  if (result.votes == 0) return result;
  std::size_t needed = voters_for(result.votes);  // for a new class whose name wins a tie
  for (std::size_t k = 0; k < classes; ++k) {
    if (k == result.winner) continue;
    result.runner_up = std::max(result.runner_up, count[k]);
    needed = std::min(needed, voters_for(gap(result.votes, count[k], result.winner < k)));
  }
  result.tolerated = needed - 1;
  return result;
}

Elected run_off(std::span<const std::uint32_t> votes, MatrixView<const float> scores) {
  const std::size_t classes = scores.cols();
  if (classes < 2) return majority(votes, classes);
  const auto count = counted(votes, classes);
  const std::size_t first = most_votes(count, classes), second = most_votes(count, first);
  Elected result;
  if (count[first] == 0) return result;
  const auto preferring = [&](std::size_t a, std::size_t b) {
    std::size_t n = 0;
    for (std::size_t v = 0; v < scores.rows(); ++v)
      n += scores(v, a) > scores(v, b) || (a < b && scores(v, a) == scores(v, b) && scores(v, a) > 0);
    return n;
  };
  const std::size_t for_first = preferring(first, second), for_second = preferring(second, first);
  const bool first_wins = gap(for_first, for_second, first < second) > 0;
  const std::size_t winner = first_wins ? first : second, loser = first_wins ? second : first;
  result.winner = winner;
  result.votes = first_wins ? for_first : for_second;
  result.runner_up = first_wins ? for_second : for_first;

  // Either two classes keep the winner out of the run-off. One voter lowers its lead on one by 2 and on the other by 1.
  std::size_t near = count[winner], next = near;  // leads on new classes whose names win ties
  for (std::size_t k = 0; k < classes; ++k) {
    if (k == winner) continue;
    const std::size_t lead = gap(count[winner], count[k], winner < k);
    if (lead < near)
      next = std::exchange(near, lead);
    else
      next = std::min(next, lead);
  }
  std::size_t needed = std::max(voters_for(next), (near + next + 2) / 3);
  // Or one takes the loser's place, if it is another, and beats the winner there: both with the same voters.
  const auto instead = [&](std::size_t place, std::size_t ahead, std::size_t behind, bool winner_is_first) {
    needed = std::min(needed, std::max(voters_for(place), voters_for(gap(ahead, behind, winner_is_first))));
  };
  for (std::size_t k = 0; k < classes; ++k) {
    if (k == winner) continue;
    const std::size_t place = k == loser ? 0 : gap(count[loser], count[k], loser < k);
    instead(place, preferring(winner, k), preferring(k, winner), winner < k);
  }
  std::size_t any_opinion = 0;  // of the winner, and none of a new class
  for (std::size_t v = 0; v < scores.rows(); ++v) any_opinion += scores(v, winner) > 0;
  instead(count[loser], any_opinion, 0, false);
  result.tolerated = needed - 1;
  return result;
}

}  // namespace redoubt::detail
