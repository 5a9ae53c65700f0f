#pragma once
#include <cstddef>
#include <cstdint>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "redoubt/model/predictor.hpp"

namespace redoubt {

/// How the sums over the trees become outputs.
enum class ForestLink : std::uint8_t {
  identity,       ///< base + sum: regression
  sigmoid,        ///< one score s; outputs {1 - sigmoid(s), sigmoid(s)}
  softmax,        ///< one score per class
  average,        ///< sum / trees: random forests (leaves hold class probabilities or values)
  isolation,      ///< 2^(-(sum / trees) / c(n)): isolation forest; leaves hold path lengths
  exponential,    ///< e^score: counts, times, amounts
  sigmoids,       ///< sigmoid(score) per output, each for itself
  one_vs_all,     ///< the same, divided by their sum
  signed_square,  ///< sign(score) score^2: trained on square roots
  softplus,       ///< log(1 + e^score)
  step            ///< 1 where score > 0, else 0
};

/// Bits of `ForestArrays::flags`.
enum ForestFlag : std::uint8_t {
  missing_left = 1,  ///< missing values go left
  zero_missing = 2,  ///< numeric node: |x| <= 1e-35 counts as missing too, as in files that leave zeros out
  others_left = 4    ///< categorical node: codes that its set does not know, and negative ones, go left
};

/// The one learned form of every tree model: flat arrays over all nodes of all trees (rule 8 of the house).
///
/// Tree t starts at node `roots[t]` and adds to output `outputs_of[t]` (or, where `leaf_width` > 1, its leaves
/// hold `leaf_width` values that are added to all outputs). Child c >= 0 is a node, c < 0 is leaf ~c.
/// A numeric node sends x left iff x <= threshold in float32; a missing value (NaN, with `zero_missing` also zero) goes
/// left iff `missing_left`. A categorical node sends code k (x truncated towards zero) left iff bit k of its set is on;
/// NaN goes left iff `missing_left`, x <= -1 and codes beyond the words of the set iff `others_left`.
/// A root may itself be a leaf: roots[t] < 0.
struct ForestArrays {
  std::vector<std::int32_t> roots;              ///< per tree
  std::vector<std::uint32_t> outputs_of;        ///< per tree: which output it adds to (0 if leaf_width > 1)
  std::vector<std::uint32_t> feature;           ///< per node: index into the encoded row
  std::vector<float> threshold;                 ///< per node
  std::vector<std::int32_t> left, right;        ///< per node
  std::vector<std::uint8_t> flags;              ///< per node: bits of ForestFlag
  std::vector<std::int32_t> category_set;       ///< per node: -1 numeric, else index into category_offsets
  std::vector<std::uint32_t> category_offsets;  ///< per set, plus one: words [offsets[i], offsets[i+1])
  std::vector<std::uint32_t> category_bits;     ///< bit k of a set: category code k goes left
  std::vector<float> leaf_values;               ///< leaves x leaf_width
  std::vector<float> cover;                     ///< per node: training weight that passed through; for explanations
  std::vector<float> leaf_cover;                ///< per leaf: training weight that ended there
  std::vector<float> gain;                      ///< per node: loss reduction of its split; for importances
};

struct ForestShape {
  std::uint32_t inputs = 0;   ///< encoded row width
  std::uint32_t outputs = 0;  ///< scores before the link
  std::uint32_t leaf_width = 1;
  ForestLink link = ForestLink::identity;
  float normaliser = 1.0f;  ///< isolation: c(subsample)
  std::vector<float> base;  ///< per score: added before the link
};

class Forest final : public Predictor {
 public:
  /// Checks every index, that children come after their parent (no cycles), that each node and each leaf is reached
  /// once, and that no number is one that would break a comparison or a sum.
  /// Throws Error(corrupt) naming array and position.
  Forest(ForestShape shape, ForestArrays arrays);

  const ForestShape& shape() const noexcept { return shape_; }
  const ForestArrays& arrays() const noexcept { return arrays_; }
  std::size_t trees() const noexcept { return arrays_.roots.size(); }
  std::size_t leaves() const noexcept { return arrays_.leaf_values.size() / shape_.leaf_width; }

  std::string_view form() const noexcept override { return "forest"; }
  std::size_t inputs() const noexcept override { return shape_.inputs; }
  std::size_t outputs() const noexcept override;
  std::size_t scratch_size() const noexcept override;
  /// One row. No allocation; needs no scratch.
  void predict(std::span<const float> src, std::span<float> dst, std::span<float> scratch) const noexcept override;
  /// Blocks of rows x blocks of trees, in parallel over the rows; bit-identical to the one-row form, because each
  /// row still adds its trees in order.
  void predict_batch(MatrixView<const float> src, MatrixView<float> dst, Arena* arena) const override;
  void save(Archive& archive) const override;
  /// The arrays and a loop over them; the same floats as `predict`. Needs <cmath>.
  std::string to_source(std::string_view name) const override;

  /// Scores before the link, one row: dst has shape().outputs floats. No allocation.
  void scores(std::span<const float> src, std::span<float> dst) const noexcept;
  /// Leaf index that each tree sends the row to (0 .. leaves()-1). dst has trees() entries. No allocation.
  void leaf_ids(std::span<const float> src, std::span<std::uint32_t> dst) const noexcept;
  /// Sum of split gains per encoded column.
  std::vector<double> gain_importance() const;

 private:
  /// One node as prediction walks it: 16 bytes, four to a cache line.
  struct Node {
    float threshold;                  ///< categorical: unused
    std::uint32_t feature_and_flags;  ///< feature << 3 | flags
    std::int32_t child[2];            ///< left, right
  };
  template <bool Categories>
  std::uint32_t leaf_of(std::int32_t node, const float* row) const noexcept;
  template <bool Categories>
  void add_trees(std::size_t begin, std::size_t end, const float* row, float* scores) const noexcept;
  void add_trees(std::size_t begin, std::size_t end, const float* row, float* scores) const noexcept;
  void apply_link(std::span<float> dst) const noexcept;

  ForestShape shape_;
  ForestArrays arrays_;
  std::vector<Node> nodes_;
  bool has_categories_ = false;
};

}  // namespace redoubt
