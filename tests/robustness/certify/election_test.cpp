#include "robustness/certify/election.hpp"

#include <algorithm>
#include <catch2/catch.hpp>
#include <numeric>
#include <vector>

#include "redoubt/core/random.hpp"
#include "redoubt/core/tensor.hpp"

using namespace redoubt;
using namespace redoubt::detail;

namespace {

/// Voters with scores for each class; each votes for its highest.
struct Voters {
  Tensor<float> scores;
  std::vector<std::uint32_t> votes;

  Voters(std::size_t count, std::size_t classes) : scores({count, classes}), votes(count) {}
  void set(std::size_t voter, std::span<const float> of_classes) {
    std::copy(of_classes.begin(), of_classes.end(), scores.row(voter).begin());
    const auto top = std::max_element(of_classes.begin(), of_classes.end());
    votes[voter] = static_cast<std::uint32_t>(*top > 0 ? top - of_classes.begin() : std::ssize(of_classes));
  }
  Elected elect(bool in_run_off) const { return in_run_off ? run_off(votes, scores) : majority(votes, scores.cols()); }
};

/// Some leaning to the last class; now and then nothing to say, or only one class known.
Voters draw(std::size_t count, std::size_t classes, Random& random) {
  Voters voters(count, classes);
  std::vector<float> row(classes);
  for (std::size_t v = 0; v < count; ++v) {
    for (std::size_t c = 0; c < classes; ++c)
      row[c] = static_cast<float>(random.below(c + 1 == classes ? 8 : 5)) / 8;  // often equal
    const auto kind = random.below(12);
    if (kind == 0) std::fill(row.begin(), row.end(), 0.0f);
    if (kind == 1) std::fill(row.begin(), row.end() - 1, 0.0f);
    voters.set(v, row);
  }
  return voters;
}

/// The voters with a class before the others that nobody knows.
Voters with_new_class(const Voters& voters) {
  Voters out(voters.votes.size(), voters.scores.cols() + 1);
  std::vector<float> row(out.scores.cols());
  for (std::size_t v = 0; v < voters.votes.size(); ++v) {
    row[0] = 0;
    std::copy(voters.scores.row(v).begin(), voters.scores.row(v).end(), row.begin() + 1);
    out.set(v, row);
  }
  return out;
}

/// Whether voters `from` .. can be changed, `left` of them, so that `winner` loses: every choice, every order of
/// classes or no opinion.
bool can_change(Voters& voters, bool in_run_off, std::size_t winner, std::size_t left, std::size_t from) {
  if (left == 0) return voters.elect(in_run_off).winner != winner;
  std::vector<float> order(voters.scores.cols());
  std::vector<std::vector<float>> opinions{order};
  std::iota(order.begin(), order.end(), 1.0f);
  do opinions.push_back(order);
  while (std::next_permutation(order.begin(), order.end()));
  for (std::size_t v = from; v + left <= voters.votes.size(); ++v) {
    const std::vector<float> before(voters.scores.row(v).begin(), voters.scores.row(v).end());
    const bool changed = std::any_of(opinions.begin(), opinions.end(), [&](const std::vector<float>& opinion) {
      voters.set(v, opinion);
      return can_change(voters, in_run_off, winner, left - 1, v + 1);
    });
    voters.set(v, before);
    if (changed) return true;
  }
  return false;
}

}  // namespace

TEST_CASE("an election stays with as many changed voters as it tolerates, and mostly not with one more", "[election]") {
  Random random(1);
  for (const bool in_run_off : {false, true}) {
    CAPTURE(in_run_off);
    int tolerant = 0, tight = 0, loose = 0;
    for (int trial = 0; trial < 150; ++trial) {
      const std::size_t classes = 2 + random.below(2), count = 3 + random.below(5);
      Voters voters = draw(count, classes, random);
      const Elected elected = voters.elect(in_run_off);
      if (elected.votes == 0) continue;
      REQUIRE(elected.tolerated <= count / 2);
      CHECK(elected.votes >= elected.runner_up);
      Voters more = with_new_class(voters);  // what poison may bring
      CHECK(more.elect(in_run_off).winner == elected.winner + 1);
      tolerant += elected.tolerated > 0;
      for (std::size_t changes = 1; changes <= std::min<std::size_t>(2, elected.tolerated); ++changes)
        CHECK_FALSE(can_change(more, in_run_off, elected.winner + 1, changes, 0));
      if (elected.tolerated < 2)
        (can_change(more, in_run_off, elected.winner + 1, elected.tolerated + 1, 0) ? tight : loose) += 1;
    }
    CHECK(tolerant > 30);
    CHECK(tight > 9 * loose);
  }
}

TEST_CASE("a run-off asks who of the two first is likelier", "[election]") {
  // Those for class 1 find 2 likelier than 0.
  const std::vector<float> zero{0.8f, 0.1f, 0.1f}, one{0.0f, 0.6f, 0.4f}, two{0.1f, 0.2f, 0.7f};
  const auto voters = [&](std::size_t zeros, std::size_t ones, std::size_t twos) {
    Voters result(zeros + ones + twos, 3);
    for (std::size_t v = 0; v < result.votes.size(); ++v)
      result.set(v, v < zeros ? zero : v < zeros + ones ? one : two);
    return result;
  };
  const Voters level = voters(4, 3, 4);
  CHECK(level.elect(false).winner == 0);  // of equal ones the first
  CHECK(level.elect(false).tolerated == 0);
  CHECK(level.elect(true).winner == 2);
  CHECK(level.elect(true).votes == 7);
  CHECK(level.elect(true).runner_up == 4);
  CHECK(level.elect(true).tolerated == 0);  // one voter from 2 to 1 keeps 2 out of the run-off

  const Voters close = voters(6, 2, 7);
  CHECK(close.elect(false).winner == 2);
  CHECK(close.elect(false).tolerated == 0);  // 7 to 6, and a tie goes to class 0
  CHECK(close.elect(true).winner == 2);
  CHECK(close.elect(true).tolerated == 1);  // 9 to 6; for any other way three must change

  Voters nobody(3, 3), same(3, 1), undecided(3, 2);
  for (std::size_t v = 0; v < 3; ++v) {
    nobody.set(v, std::vector<float>(3, 0.0f));
    same.set(v, std::vector<float>(1, 1.0f));
    undecided.set(v, std::vector<float>(2, 0.5f));
  }
  for (const bool in_run_off : {false, true}) {
    CHECK(nobody.elect(in_run_off).votes == 0);
    CHECK(nobody.elect(in_run_off).tolerated == 0);
    CHECK(same.elect(in_run_off).votes == 3);
    CHECK(same.elect(in_run_off).tolerated == 1);  // two may vote for a new class
    CHECK(undecided.elect(in_run_off).winner == 0);
    CHECK(undecided.elect(in_run_off).votes == 3);
    CHECK(undecided.elect(in_run_off).tolerated == 1);
  }
}
