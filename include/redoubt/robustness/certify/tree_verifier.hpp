#pragma once
#include <cstddef>
#include <cstdint>
#include <limits>
#include <span>
#include <vector>

#include "redoubt/core/shared.hpp"
#include "redoubt/core/view.hpp"
#include "redoubt/fwd.hpp"
#include "redoubt/robustness/evasion/feature_rule.hpp"

namespace redoubt {

struct TreeVerifierOptions {
  /// One per encoded column; empty: every column moves freely. Columns that some tree tests as categories are fixed.
  std::vector<FeatureRule> rules;
  std::size_t max_states = 100'000;  ///< boxes that one question may look at before it is answered `unknown`
};

enum class Robustness : std::uint8_t {
  certified,  ///< no row within the radius has another class
  broken,     ///< a row within the radius has another class: `counterexample`
  unknown     ///< the search ended first, or classes tie within the rounding of a float
};

/// Answer to one question.
struct TreeCertificate {
  Robustness result = Robustness::unknown;
  double lower = 0, upper = 0;        ///< bounds of the least margin (score of the label minus the largest other);
                                      ///< broken with three or more classes: only `upper`
  std::vector<float> counterexample;  ///< encoded row; empty unless broken
  std::size_t states = 0;             ///< boxes looked at
};

/// Smallest change that changes the class: at least `certified`, at most `broken`; equal if the search came to its end.
struct RobustRadius {
  double certified = 0;                                     ///< every smaller change leaves the class as it is
  double broken = std::numeric_limits<double>::infinity();  ///< of the nearest counterexample; inf: none was found
  std::vector<float> counterexample;                        ///< empty if none
  bool exact(double max_radius) const noexcept { return certified == broken || certified >= max_radius; }
};

struct ScoreRange {
  double lower = 0, upper = 0;
  bool exact = false;  ///< both are reached by some row, otherwise they are bounds
};

/// Exact verification of tree ensembles as they are served: the same float thresholds, the same comparison, the same
/// fixed-point leaf sums. A perturbation keeps each column within `radius` units (L-infinity) and within its rule;
/// missing values stay missing.
///
/// Each tree has a list of the leaves that the box can reach; leaves of different trees go together if their boxes
/// meet. Trees are merged into groups that list their joint leaves (Chen et al., arXiv:1906.03849), then a depth-first
/// search with the sum of the groups' least values as its bound finds the least margin or proves it positive, as in
/// Veritas (Devos et al., ICML 2021). The problem is NP-hard: where `max_states` is reached the answer is `unknown` and
/// the bounds are what was proved until then.
///
/// The class of a row is that of its largest score, of equal ones the first; for ForestLink::sigmoid the second class
/// if the score is above 0. Value type; the forest must outlive it. Const members are thread-safe.
class TreeVerifier {
 public:
  /// Error(invalid_argument) naming the rule that is out of range, Error(shape_mismatch) if there are not as many as
  /// columns.
  explicit TreeVerifier(const Forest& forest, TreeVerifierOptions options = {});

  /// Classes: 2 for one score with a sigmoid, else the scores. 0: no classifier, then only score_range.
  std::size_t classes() const noexcept;

  /// Whether all rows within `radius` of the encoded `row` have class `label`. Error(unsupported) if classes() is 0,
  /// Error(invalid_argument), Error(shape_mismatch). Allocates.
  TreeCertificate verify(std::span<const float> row, std::size_t label, double radius) const;
  /// The smallest radius at which it is not so, up to `max_radius`.
  RobustRadius robust_radius(std::span<const float> row, std::size_t label, double max_radius) const;
  /// Least and largest value of one score (before the link) within `radius`.
  ScoreRange score_range(std::span<const float> row, double radius, std::size_t score = 0) const;

 private:
  struct State;
  struct Reach;
  Shared<const State> state_;
};

}  // namespace redoubt
