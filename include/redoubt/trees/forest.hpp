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

/// The ways through a forest. All give the same bits.
enum class ForestPath : std::uint8_t {
  automatic,  ///< the rule of `Forest::engine()`
  walk,       ///< node by node, several trees or rows at once; any tree, any machine
  sweep,      ///< one row or four, 64 trees per vector, all nodes without a branch; AVX-512, trees of <= 256 leaves
  blocks,     ///< one row, the upper nodes of 64 trees per vector, then 15 nodes of a tree at once; AVX2 or AVX-512
  sliced      ///< 64 to 512 rows as bit masks, one select per node; AVX2 or AVX-512, trees of <= 256 leaves
};

/// For tests and measurements: narrows the choice of the engines. What a path cannot take is walked.
struct ForestTuning {
  ForestPath row = ForestPath::automatic;    ///< walk, sweep or blocks
  ForestPath batch = ForestPath::automatic;  ///< walk, sweep or blocks (row by row, the way of `row`), or sliced
  bool avx512 = true, avx2 = true;           ///< false: as if the machine lacked it (avx2 = false: both)
};

/// What a forest chose and what it costs.
struct ForestEngine {
  std::string row, batch;        ///< names, for example "sweep (avx512)"
  std::string reason;            ///< one sentence
  std::size_t bytes = 0;         ///< memory of the compiled form, beside the arrays
  std::size_t swept_trees = 0;   ///< trees that one-row prediction sweeps; it walks the others
  std::size_t block_trees = 0;   ///< the same for blocks
  std::size_t sliced_trees = 0;  ///< trees that batches slice; they walk the others
  std::size_t columns = 0;       ///< one-byte codes that a row is turned into
  std::size_t conditions = 0;    ///< distinct tests (column and threshold, or category set)
  double resolution = 0;         ///< leaf values are multiples of this
};

namespace detail {
struct CompiledForest;
}

/// Leaf values are summed in fixed point: the forest takes the largest power of two `scale` for which the sum over the
/// trees of max |leaf|, the largest of the outputs, times `scale` is at most 2^30; each leaf value becomes
/// round(leaf * scale) once, sums are integers, score = float(base + sum / scale). The sum is exact, so that every
/// engine, instruction set, batch size and order of trees gives the same bits; it differs from the sum of the floats
/// by less than trees * 2^-30 of the sum of the largest |leaf|. Where single leaves are so large that this would lose
/// the others (that sum exceeds 4096 times the same sum of mean |leaf|), the integers have 64 bits and scale is up to
/// 2^31 times finer; such a forest is walked.
class Forest final : public Predictor {
 public:
  /// Checks every index, that children come after their parent (no cycles), that each node and each leaf is reached
  /// once, and that no number is one that would break a comparison or a sum.
  /// Throws Error(corrupt) naming array and position.
  /// Then compiles the engines: about 1 us and 65 bytes per node (half of it for rows, half for batches, which trees of
  /// more than 256 leaves do not have) on top of the arrays and the 16 bytes of the walk. engine().bytes tells; from
  /// half a megabyte on it asks Linux for huge pages, and takes whole ones.
  Forest(ForestShape shape, ForestArrays arrays, const ForestTuning& tuning = {});

  const ForestShape& shape() const noexcept { return shape_; }
  const ForestArrays& arrays() const noexcept { return arrays_; }
  std::size_t trees() const noexcept { return arrays_.roots.size(); }
  std::size_t leaves() const noexcept { return arrays_.leaf_values.size() / shape_.leaf_width; }

  std::string_view form() const noexcept override { return "forest"; }
  std::size_t inputs() const noexcept override { return shape_.inputs; }
  std::size_t outputs() const noexcept override;
  std::size_t scratch_size() const noexcept override;
  /// One row. No allocation; needs no scratch; up to 14 KB of stack.
  void predict(std::span<const float> src, std::span<float> dst, std::span<float> scratch) const noexcept override;
  /// In parallel over blocks of 512 rows, fewer rows on the calling thread. Bit-identical to the one-row form.
  /// Works in buffers (about 64 bytes per distinct test and 512 per column) that are kept for the next call, one per
  /// thread that ever predicted at the same time.
  void predict_batch(MatrixView<const float> src, MatrixView<float> dst, Arena* arena) const override;
  void save(Archive& archive) const override;
  /// The arrays and a loop over them; the same floats as `predict`. Needs <cmath>.
  std::string to_source(std::string_view name) const override;

  /// How this forest predicts, and why.
  const ForestEngine& engine() const noexcept;

  /// Scores before the link, one row: dst has shape().outputs floats. No allocation.
  void scores(std::span<const float> src, std::span<float> dst) const noexcept;
  /// The same by the definition, tree after tree, node by node, of the first `count` trees: the oracle of all engines.
  void walk_scores(std::span<const float> src, std::span<float> dst, std::size_t count) const noexcept;
  /// Leaf index that each tree sends the row to (0 .. leaves()-1). dst has trees() entries. No allocation.
  void leaf_ids(std::span<const float> src, std::span<std::uint32_t> dst) const noexcept;
  /// The same for many rows, in parallel: dst is rows x trees().
  void leaf_ids(MatrixView<const float> src, MatrixView<std::uint32_t> dst, Arena* arena = nullptr) const;
  /// What each tree adds, one row: dst has trees() x leaf_width floats, tree after tree; with the base they sum to the
  /// scores, up to the rounding of fixed point. No allocation.
  void tree_values(std::span<const float> src, std::span<float> dst) const noexcept;
  /// Predictions with the first counts[i] trees only (not rounds: a forest of k outputs has k trees a round), in one
  /// pass. counts ascend. dst is rows x (counts.size() * outputs()): for each count the outputs, or with `link` = false
  /// rows x (counts.size() * shape().outputs) scores. Error(invalid_argument) for counts that fall or exceed trees().
  void staged(MatrixView<const float> src, std::span<const std::size_t> counts, MatrixView<float> dst, bool link = true,
              Arena* arena = nullptr) const;
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
  std::uint32_t leaf_of(std::int32_t node, const float* row) const noexcept;
  template <std::size_t Lanes>
  void leaves_of(const std::int32_t* roots, const float* const* rows, std::uint32_t* leaves) const noexcept;
  void walk_row(std::span<const std::uint32_t> trees, const float* row, float* dst) const noexcept;
  void walk_block(std::span<const std::uint32_t> trees, MatrixView<const float> rows,
                  MatrixView<float> dst) const noexcept;
  float score(std::size_t output, std::int64_t sum) const noexcept;
  void finish_sums(float* dst) const noexcept;
  void predict_block(MatrixView<const float> src, MatrixView<float> dst) const;
  void apply_link(std::span<float> dst, std::size_t count) const noexcept;

  ForestShape shape_;
  ForestArrays arrays_;
  std::vector<Node> nodes_;
  bool has_categories_ = false;
  Shared<const detail::CompiledForest> compiled_;
};

}  // namespace redoubt
