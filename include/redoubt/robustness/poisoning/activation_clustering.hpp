#pragma once
#include <cstddef>
#include <cstdint>
#include <string>
#include <vector>

#include "redoubt/robustness/check.hpp"

namespace redoubt {

/// Activation clustering (Chen et al., SafeAI 2019): the rows of each class, columns scaled to deviation 1, are brought
/// onto their main directions and parted in two by k-means. Honest classes part in halves that hardly differ; rows that
/// carry a planted trigger make a small part that lies apart. The features should be a representation: the last hidden
/// layer of a network, or the leaves of trees. Warns and never blocks by itself: an honest subgroup lies apart as well.
struct ActivationClustering {
  static constexpr std::string_view id = "activation_clustering";
  static constexpr Stage stage = Stage::pre_train;
  static constexpr Need needs = Need::features | Need::labels;

  std::size_t directions = 10;  ///< at least 1
  double largest_share =
      0.35;                  ///< the smaller part is flagged if it has less than this share of its class, in (0, 0.5]
  double cut = 0.5;          ///< and if the silhouette (from centres) is at least this, in [0, 1]
  std::size_t min_rows = 5;  ///< a smaller part is a few outliers; at least 1

  void update(const Batch& batch);
  void merge(const ActivationClustering& other);
  /// Row scores: the silhouette of the row, in [-1, 1].
  Verdict finish() const;

  // What was seen so far; no options. Public so that the check stays an aggregate.
  std::size_t width_ = 0;
  std::vector<float> features_;
  std::vector<std::int32_t> labels_;
  std::vector<std::string> names_;
  std::vector<RowId> ids_;
};

}  // namespace redoubt
