#pragma once
#include <cstddef>
#include <cstdint>
#include <vector>

#include "redoubt/data/dataset.hpp"
#include "redoubt/robustness/check.hpp"

namespace redoubt {

struct DuplicateOptions {
  double similarity = 0.6;    ///< Jaccard similarity of word pairs and words from which texts are copies, in (0, 1]
  std::size_t min_words = 5;  ///< shorter texts are alike by nature and are not compared
};

/// Element i is the first row of the group of copies that row i belongs to (i if it is alone): rows with equal feature
/// cells, and rows with near-duplicate texts in any text column. Linear in the number of rows.
/// Error(invalid_argument) names the option that is out of range.
std::vector<std::uint32_t> duplicate_groups(const Dataset& data, const DuplicateOptions& options = {},
                                            Arena* arena = nullptr);

/// Copied texts: campaigns are written from few templates. A group of near-duplicate texts of several sources warns;
/// without a source column the same group counts half, as one honest author may repeat himself. Also names equal
/// rows that carry different labels. Works on texts and exact copies only: a campaign in fresh words is not seen.
struct Duplicates {
  static constexpr std::string_view id = "duplicates";
  static constexpr Stage stage = Stage::pre_train;
  static constexpr Need needs = Need::none;

  DuplicateOptions options;
  std::size_t min_rows = 3;  ///< smallest group of near-duplicate texts that is reported

  void update(const Batch& batch);
  void merge(const Duplicates& other);
  /// Row scores: 1 - 1/rows of the group (half of it without sources); rows whose label is in the minority among
  /// equal rows: share of the other labels.
  Verdict finish() const;

  // What was seen so far; no options. Public so that the check stays an aggregate.
  Dataset data_;
};

}  // namespace redoubt
