#pragma once
// The rounds of gradient boosting over a binned matrix.
#include <memory>
#include <optional>
#include <vector>

#include "trees/boosting_metric.hpp"
#include "trees/boosting_options.hpp"
#include "trees/grower.hpp"
#include "trees/objective.hpp"
#include "trees/row_sampler.hpp"

namespace redoubt::detail {

class Booster {
 public:
  /// `x`: the encoded matrix, needed only to continue `inputs.start`. All arguments must outlive the booster.
  Booster(const GradientBoostingOptions& options, const BinnedMatrix& bins, const TreeTarget& y,
          const ColumnRules& rules, const BoostingInputs& inputs, MatrixView<const float> x);
  /// On `rows`, ascending; empty: all.
  Shared<const Forest> fit(std::vector<std::uint32_t> rows);

 private:
  /// Validation rows of another matrix.
  struct Outside {
    std::vector<std::uint8_t> codes;
    std::vector<float> scores;
  };

  void split_validation();
  void start();
  void one_round(std::size_t round);
  void grow_trees(std::size_t number);
  void add_tree(GrownTree tree, std::size_t output);
  void drop_trees(std::size_t round);
  void bring_back();
  template <class F>
  void for_leaf_rows(const GrownTree& tree, const F& f);
  void walk(const GrownTree& tree, RowList rows, float* scores);
  void walk_outside(const GrownTree& tree, std::size_t output);
  bool after_round(std::size_t round);
  Shared<const Forest> assemble(std::size_t rounds) const;

  const GradientBoostingOptions& options_;
  const BinnedMatrix& bins_;
  const TreeTarget& y_;
  const ColumnRules& rules_;
  const BoostingInputs& inputs_;
  MatrixView<const float> x_;
  Team team_;
  std::vector<RobustCuts> robust_;     // per column, of robust_radius
  std::vector<std::uint32_t> listed_;  // unless it is all
  RowList rows_;
  std::vector<std::uint32_t> held_out_;
  std::optional<BoostingData> data_;
  std::unique_ptr<Objective> objective_;
  std::optional<RowSampler> sampler_;
  std::optional<Grower> grower_;
  std::optional<MetricSet> metrics_;
  Outside outside_;
  std::size_t outputs_ = 1, first_round_ = 0;
  std::vector<float> base_;
  PageVector<float> scores_, g_, h_;  // output by output
  std::vector<std::uint8_t> column_on_;
  std::vector<std::uint32_t> columns_;
  std::vector<GrownTree> trees_;
  bool any_split_ = false;
  double rate_ = 0;
  std::vector<double> round_weights_;  // dropouts: how much of each round is left
  std::vector<std::size_t> dropped_;   // rounds left out now
  double best_ = 0;
  std::size_t best_round_ = 0;
  bool callback_stopped_ = false;
};

/// Scores that a forest gives, added tree after tree in float32 as in training. scores: entry k * rows + r.
void replay_scores(const Forest& forest, MatrixView<const float> x, std::span<float> scores, Arena* arena);
/// Error(unsupported) unless trees of this shape can be added to `forest`.
void require_continuable(const Forest& forest, std::size_t inputs, const Objective& objective);

}  // namespace redoubt::detail
