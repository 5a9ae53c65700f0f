#pragma once
#include <cstddef>
#include <cstdint>
#include <span>
#include <string>
#include <vector>

#include "redoubt/core/tensor.hpp"
#include "redoubt/robustness/check.hpp"

namespace redoubt {

/// Which rows probably carry a wrong label.
struct LabelIssues {
  std::vector<double> thresholds;   ///< per class: mean probability of the class over rows labelled so; NaN if none
  Tensor<std::uint64_t> confident;  ///< classes x classes: rows labelled i that are confidently j
  /// Positions confidently of another class whose label is not the most probable one, least self-confident first.
  std::vector<std::uint32_t> flagged;
  std::vector<std::int32_t> guess;      ///< per row: the class it is confidently of, or -1
  std::vector<double> self_confidence;  ///< per row: probability of its own label; NaN without a label
};

/// Confident learning (Northcutt, Jiang, Chuang, "Confident Learning: Estimating Uncertainty in Dataset Labels", JAIR
/// 2021). `probabilities`: rows x classes, out-of-fold, or the model defends its own labels. `labels`: codes below
/// classes; -1 = unlabelled, never flagged. O(rows * classes). Error(shape_mismatch) names both sizes,
/// Error(invalid_argument) a label out of range or a probability outside [0, 1] with its row.
LabelIssues confident_learning(MatrixView<const float> probabilities, std::span<const std::int32_t> labels);
LabelIssues confident_learning(MatrixView<const double> probabilities, std::span<const std::int32_t> labels);

/// The same as a check: warns, and names every flagged row; the score of a row is 1 - the probability of its label.
struct ConfidentLearning {
  static constexpr std::string_view id = "confident_learning";
  static constexpr Stage stage = Stage::pre_train;
  static constexpr Need needs = Need::labels | Need::probabilities;

  void update(const Batch& batch);
  void merge(const ConfidentLearning& other);
  Verdict finish() const;

  // What was seen so far; no options. Public so that the check stays an aggregate.
  std::size_t classes_ = 0;
  std::vector<std::string> names_;
  std::vector<float> probabilities_;
  std::vector<std::int32_t> labels_;
  std::vector<RowId> ids_;
};

}  // namespace redoubt
