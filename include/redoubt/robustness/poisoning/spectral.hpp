#pragma once
#include <cstddef>
#include <cstdint>
#include <span>
#include <vector>

#include "redoubt/robustness/check.hpp"

namespace redoubt {

/// Spectral signatures (Tran, Li & Madry, NeurIPS 2018): within each class the rows are centred, and a row's score is
/// its squared projection on the direction of largest variance. Rows that share a planted pattern stand out along it.
/// `x`: rows x columns, a representation of the rows: the last hidden layer of a network, or the features, each column
/// divided by its standard deviation. Missing values count as the mean. Score 0 for rows without a label (-1) and for
/// classes of fewer than 3 rows. In units of the mean score of the class. O(rows x columns) per step of a power
/// iteration, deterministic. Error(shape_mismatch) naming both lengths.
std::vector<double> spectral_scores(MatrixView<const float> x, std::span<const std::int32_t> labels);

/// Rows far out on the first principal direction of their class: a planted trigger, or a second kind of rows. Warns and
/// never blocks by itself: an honest subgroup stands out as well, and on classes of uneven size backdoors are missed
/// (published recall runs from 0.1 to 93 %). Measure it on your own data with planted triggers.
struct SpectralSignatures {
  static constexpr std::string_view id = "spectral_signatures";
  static constexpr Stage stage = Stage::pre_train;
  static constexpr Need needs = Need::features | Need::labels;

  double expected_share = 0.02;  ///< of poisoned rows in a class, in (0, 0.33]: 1.5 times that share is looked at
  double cut = 9;                ///< and of these, rows with at least so many times the mean score are flagged

  void update(const Batch& batch);
  void merge(const SpectralSignatures& other);
  /// Row scores: as spectral_scores.
  Verdict finish() const;

  // What was seen so far; no options. Public so that the check stays an aggregate.
  std::size_t width_ = 0;
  std::vector<float> features_;
  std::vector<std::int32_t> labels_;
  std::vector<std::string> classes_;
  std::vector<RowId> ids_;
};

}  // namespace redoubt
