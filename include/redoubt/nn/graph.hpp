#pragma once
#include <cstddef>
#include <cstdint>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "redoubt/kernels/narrow.hpp"
#include "redoubt/model/predictor.hpp"
#include "redoubt/nn/op.hpp"

namespace redoubt {

namespace detail {
class GraphPlan;
}

/// One application of an op. Tensor 0 is the input of the graph, tensor i + 1 the output of node i; a node may use
/// tensors of earlier nodes only, so nodes are in topological order. The output of the last node is that of the graph.
struct GraphNode {
  std::string op;
  std::vector<std::uint32_t> inputs;
  std::vector<double> attributes{};  ///< in the order of Op::attributes(); those not given take their fallback
  Initialiser initialiser = Initialiser::standard;  ///< for `Graph::initialise` only: model files do not hold it
};

/// Where a learned tensor lies in `Graph::parameters()`.
struct GraphParameter {
  std::uint32_t node = 0;
  std::string name;  ///< as in the model file: "graph.0.weight"
  std::vector<std::size_t> shape;
  bool decay = false;
  bool state = false;                   ///< as OpParameter::state
  bool sparse = false;                  ///< as OpParameter::sparse
  std::size_t fan_in = 0, fan_out = 0;  ///< as OpParameter, filled in
  std::size_t offset = 0, size = 0;
};

/// Takes the gradient of an entry of `Graph::parameter_table()` in blocks, as a kernels::ProductSink does.
using GradientSink =
    function_ref<void(std::size_t parameter, std::size_t row, std::size_t col, MatrixView<float> block)>;

/// How `Graph::bounds` are found; each is sound, the later ones are tighter and slower.
enum class GraphBounds : std::uint8_t {
  interval,   ///< op by op (interval bound propagation, Gowal et al., arXiv:1810.12715): about two predictions
  crown_ibp,  ///< one linear function per score, taken back to the inputs through the lines around each activation
              ///< whose box is that of `interval` (CROWN-IBP, Zhang et al., arXiv:1906.06316): as many backward passes
  crown       ///< every activation's box is found that way too (CROWN, Zhang et al., arXiv:1811.00866): a backward pass
              ///< per activation whose sign, or place on its curve, is open
};

/// What a tensor held on the rows of a calibration.
struct TensorRange {
  float lower = 0, upper = 0;
};

/// Tensors of one pass over up to `rows` rows. Reusable; one per thread.
class GraphWorkspace {
 public:
  /// With `gradients`, room for a backward pass too.
  GraphWorkspace(const class Graph& graph, std::size_t rows, bool gradients = true);
  std::size_t rows() const noexcept { return rows_; }

 private:
  friend class Graph;
  std::size_t rows_;
  detail::AlignedVector<float> values_, gradients_, op_scratch_;
};

/// The one learned form of every neural network: a graph of ops, and passes over it. Immutable once it belongs to a
/// model; only training changes `parameters()`. Const members are thread-safe.
///
/// Scores are what the loss is formed on: the input of the softmax if that is the last op, else the output.
/// Passes take *encoded* rows (see Encoder).
class Graph final : public Predictor {
 public:
  /// Checks everything and sets all parameters to zero. Throws Error(unsupported) for an unknown op,
  /// Error(shape_mismatch) or Error(invalid_argument) naming the node. At most 4096 nodes, 2^22 values per row and
  /// tensor, 2^24 over all tensors of a row, 2^28 parameters.
  Graph(OpShape input, std::vector<GraphNode> nodes);
  /// The same with values: `values` is asked for every parameter, after all checks and before anything large is
  /// allocated; Error(shape_mismatch) if it gives another number of floats than the parameter has.
  Graph(OpShape input, std::vector<GraphNode> nodes,
        function_ref<std::span<const float>(const GraphParameter&)> values);

  const OpShape& input_shape() const noexcept;
  const std::vector<GraphNode>& nodes() const noexcept { return nodes_; }
  /// Per tensor: 0 is the input, i + 1 the output of node i.
  const std::vector<OpShape>& shapes() const noexcept { return shapes_; }
  std::uint32_t score_tensor() const noexcept { return score_tensor_; }
  std::size_t score_count() const noexcept;

  /// All learned values in one flat array, and what is where.
  std::span<const float> parameters() const noexcept { return {parameters_.data(), parameters_.size()}; }
  std::span<float> parameters() noexcept {
    drop_plan();
    return {parameters_.data(), parameters_.size()};
  }
  const std::vector<GraphParameter>& parameter_table() const noexcept { return table_; }
  /// Starting values of every op; equal for equal seeds.
  void initialise(std::uint64_t seed);

  /// Makes `predict` and `predict_batch` fast: folds batch norms into the layers before them, fuses activations,
  /// packs the weights (as much memory again; of convolutions run by Winograd's algorithm 16/9 of it) and lays out all
  /// tensors of a row. Predictions stay the same bits, but for folded batch norms and, by that algorithm, convolutions
  /// of 3 x 3 with stride 1 and at least 16 channels and filters, which round differently (and where a value that is
  /// not finite spoils neighbours, too); `bounds` allow for it. Not thread-safe. Asking for parameters to change, and
  /// `initialise`, undo it; do not keep such a span. Estimators and loaded models have done it.
  void compile();
  /// The same in fewer bits: dense layers and convolutions multiply in bf16 or int8, everything else stays fp32. Left
  /// sides of int8 lie in the range they have on `calibration` (rows x inputs(), at least one row; not needed
  /// otherwise), beyond which they are clamped. A convolution whose kernel width times channels is no multiple of 2 or
  /// 4 stays fp32. Model files keep the precision. Bounds hold for fp32 only and are refused then. Errors:
  /// invalid_argument, shape_mismatch. Training and asking for parameters to change undo it.
  void compile(kernels::Precision precision, MatrixView<const float> calibration = {});
  bool compiled() const noexcept { return static_cast<bool>(plan_); }
  kernels::Precision precision() const noexcept { return precision_; }
  /// Of what `save` wrote, the precision and ranges; for loading, before `compile()`. Error(corrupt).
  void read_precision(const Archive& archive);

  std::string_view form() const noexcept override { return "graph"; }
  std::size_t inputs() const noexcept override;
  std::size_t outputs() const noexcept override;
  std::size_t scratch_size() const noexcept override { return predict_scratch_; }
  void predict(std::span<const float> src, std::span<float> dst, std::span<float> scratch) const noexcept override;
  /// In parallel; bit-identical to the one-row form. Allocates nothing once a thread has served a batch as large.
  void predict_batch(MatrixView<const float> src, MatrixView<float> dst, Arena* arena) const override;
  void save(Archive& archive) const override;
  /// "" above 2^20 parameters, or if an op cannot be written as source. Uses functions of <cmath>.
  std::string to_source(std::string_view name) const override;

  // --- passes that keep all tensors ---------------------------------------------------------------
  /// Computes every tensor of `src` (rows x inputs()) into the workspace. Throws Error(shape_mismatch) if the
  /// workspace has too few rows. `arena` null = the calling thread only. With `training`, tensors after the scores are
  /// left as they are: the loss does not need them.
  void forward(MatrixView<const float> src, GraphWorkspace& workspace, const OpTraining* training = nullptr,
               Arena* arena = nullptr) const;
  /// Tensor `tensor` >= 1 after `forward`, and its gradient. What only a ReLU reads may be kept as the ReLU's output,
  /// and without gradient if a pool is all that reads that.
  MatrixView<float> value(GraphWorkspace& workspace, std::uint32_t tensor, std::size_t rows) const noexcept;
  MatrixView<float> gradient(GraphWorkspace& workspace, std::uint32_t tensor, std::size_t rows) const noexcept;
  /// After `forward` on the same `src`: takes `gradient(score_tensor())`, which the caller has filled, back through
  /// the graph. `parameter_gradient` (size of parameters(), or empty) is added to; the gradient of the input is in
  /// `gradient(workspace, 0, rows)` if `want_input`. With `sink`, gradients of the parameters that
  /// `hands_out_gradient(parameter)` go there in blocks, each when no pass needs the values of the parameter any more;
  /// theirs in `parameter_gradient` must be zero and stay so.
  void backward(MatrixView<const float> src, GraphWorkspace& workspace, std::span<float> parameter_gradient,
                bool want_input, const OpTraining* training = nullptr, Arena* arena = nullptr,
                const GradientSink* sink = nullptr) const;
  /// Whether a GradientSink is given the gradient of entry `parameter` of parameter_table().
  bool hands_out_gradient(std::size_t parameter) const noexcept;

  /// After a training `forward` on the same `src`: moves what ops learn without gradients, such as running statistics.
  void update_state(MatrixView<const float> src, GraphWorkspace& workspace, const OpTraining& training);

  // --- one row, for attacks; no allocation after the first call (workspace of at least one row) ---
  /// Scores of one row: dst has score_count() floats.
  void scores(std::span<const float> src, std::span<float> dst, GraphWorkspace& workspace) const;
  /// Gradient of sum_k score_gradient[k] * score_k with respect to the row; dst has inputs() floats.
  void input_gradient(std::span<const float> src, std::span<const float> score_gradient, std::span<float> dst,
                      GraphWorkspace& workspace) const;
  /// Cross-entropy -log softmax(scores)[label]; writes its gradient with respect to the row. With a single score
  /// (regression) the loss is -score. Throws Error(invalid_argument) if label >= score_count().
  float loss_gradient(std::span<const float> src, std::size_t label, std::span<float> dst,
                      GraphWorkspace& workspace) const;

  // --- bounds over a box, for certification -----------------------------------------------------------
  /// For every row x with lower <= x <= upper: dst_lower <= scores(x) <= dst_upper, for the floats that `predict`
  /// uses. Linear bounds pass through affine ops (Op::affine_terms: dense, convolution, average pool, batch norm, add,
  /// moves), ReLU, leaky ReLU, sigmoid and tanh; they end at the interval bounds of any other op, and are never looser
  /// than those of the scores. Throws Error(shape_mismatch), or Error(invalid_argument) if a lower bound exceeds its
  /// upper bound or is not finite. Allocates; on the calling thread.
  void bounds(std::span<const float> lower, std::span<const float> upper, std::span<float> dst_lower,
              std::span<float> dst_upper, GraphBounds method = GraphBounds::interval) const;
  /// dst[k] <= score[label] - score[k] for every row of the box; all others positive means certified. Tighter than
  /// the difference of `bounds`: a last dense layer is folded into the margins. dst has score_count() floats.
  void margin_bounds(std::span<const float> lower, std::span<const float> upper, std::size_t label,
                     std::span<float> dst, GraphBounds method = GraphBounds::interval) const;

 private:
  friend class GraphWorkspace;
  friend class detail::GraphPlan;
  struct Call;
  void drop_plan() noexcept {
    plan_ = nullptr;
    precision_ = kernels::Precision::fp32;
    predict_scratch_ = scratch_size_;
  }
  std::size_t plan(OpShape input);
  void plan_scratch();
  void plan_gradients();
  void plan_shared();
  void plan_gradient_places();
  bool shares_memory(std::size_t node) const noexcept;
  struct Box;
  struct LinearPass;
  Box propagate(std::span<const float> lower, std::span<const float> upper, GraphBounds method) const;
  void run(MatrixView<const float> src, MatrixView<float> dst, std::span<float> scratch) const;

  std::vector<GraphNode> nodes_;
  std::vector<const Op*> ops_;
  std::vector<OpShape> shapes_;          // per tensor
  std::vector<std::size_t> sizes_;       // per tensor: values per row
  std::vector<std::size_t> scratch_at_;  // per tensor: offset in the scratch of one row
  std::vector<std::size_t> value_at_;    // per tensor: offset in a workspace of one row; the input has none
  std::vector<GraphParameter> table_;
  std::vector<std::size_t> first_parameter_;        // per node, plus one: into table_
  std::vector<std::vector<OpShape>> input_shapes_;  // per node
  std::size_t scratch_size_ = 0, value_size_ = 0;
  std::size_t op_scratch_ = 0, backward_scratch_ = 0;  // floats per row, of the neediest op
  std::uint32_t score_tensor_ = 0;
  std::vector<std::uint8_t> first_writes_;  // per node: bit s, if backward it is the first to write input s's gradient
  std::vector<std::uint32_t> kept_as_;      // per tensor: where a workspace keeps it, another if that shares its memory
  std::vector<std::uint32_t> gradient_as_;  // per tensor: where its gradient lies, another if that shares its memory
  std::vector<bool> learned_;               // per tensor: parameters have a part in it
  std::vector<bool> takes_relu_;            // per node: it applies the ReLU behind it, or is that ReLU
  std::vector<std::uint32_t> pool_behind_;  // per node of an op that leads, its ReLU, its pool: the pool; 0: none
  std::vector<std::uint32_t> dead_ends_;    // tensors before the scores that no node uses
  detail::AlignedVector<float> parameters_;
  kernels::Precision precision_ = kernels::Precision::fp32;
  std::vector<TensorRange> ranges_;  // per tensor, for int8
  Shared<const detail::GraphPlan> plan_;
  std::size_t predict_scratch_ = 0;
};

}  // namespace redoubt
