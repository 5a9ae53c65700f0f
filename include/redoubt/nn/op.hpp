#pragma once
#include <cstddef>
#include <cstdint>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "redoubt/core/function_ref.hpp"
#include "redoubt/core/view.hpp"
#include "redoubt/fwd.hpp"
#include "redoubt/kernels/matmul.hpp"

namespace redoubt {

class Random;

/// Extents of one row of a tensor, without the batch: {784}, or {28, 28, 1}.
using OpShape = std::vector<std::uint32_t>;

inline constexpr std::size_t max_op_inputs = 4;
inline constexpr std::size_t max_op_parameters = 4;

/// Values per row.
std::size_t op_size(const OpShape& shape) noexcept;

/// A number that configures an op. Graphs with a value outside [low, high] are refused.
struct OpAttribute {
  std::string_view name;
  double fallback, low, high;
  bool whole = false;     ///< only whole numbers
  bool optional = false;  ///< left out of model files when it has its fallback: attributes younger than the format
};

/// A tensor that is learned: rank 1 or 2.
struct OpParameter {
  std::string_view name;
  std::vector<std::size_t> shape;
  bool decay = false;   ///< the l2 penalty of training applies: weights, but not biases
  bool state = false;   ///< not learned by gradients, which stay zero, but by Op::update_state
  bool sparse = false;  ///< only the rows that Op::used_rows lists have gradients; training moves only those
  /// Products per output value, and output values per input value, for `Initialiser`; 0: rows and columns.
  std::size_t fan_in = 0, fan_out = 0;
};

/// How training starts the weights of a layer (those that decay); biases start at zero. With n = fan in, m = fan out.
enum class Initialiser : std::uint8_t {
  standard,        ///< what Op::initialise does
  he_normal,       ///< variance 2 / n (He et al., arXiv:1502.01852): for ReLU and its kin
  he_uniform,      ///< the same variance, uniform
  glorot_normal,   ///< variance 2 / (n + m) (Glorot & Bengio, AISTATS 2010): for tanh, sigmoid, outputs
  glorot_uniform,  ///< the same variance, uniform
  lecun_normal,    ///< variance 1 / n
  zeros
};

/// Says that a pass belongs to training. Random ops are a pure function of it, of the node and of the position, so a
/// backward pass meets the same numbers as its forward pass.
struct OpTraining {
  std::uint64_t seed = 0;
  std::uint64_t step = 0;
  kernels::ProductPrecision products = kernels::ProductPrecision::fp32;  ///< of dense layers, convolutions, attention
};

/// What every pass hands to an op. Tensors are rows x values; parameters of rank 1 are 1 x n.
struct OpContext {
  std::span<const double> attributes;
  std::span<const MatrixView<const float>> parameters;
  std::span<const OpShape> shapes;       ///< of the inputs
  std::span<float> scratch;              ///< Op::scratch floats per row of the call, unset; none for bounds
  const OpTraining* training = nullptr;  ///< null: inference
  std::uint32_t node = 0;
  Arena* arena = nullptr;

  kernels::ProductPrecision products() const noexcept {
    return training ? training->products : kernels::ProductPrecision::fp32;
  }
};

struct OpForward : OpContext {
  std::span<const MatrixView<const float>> inputs;
  MatrixView<float> output;
  // Only for ops with `leads`:
  bool relu = false;  ///< `output` is that of the ReLU behind this op
  /// Unless null, called for all rows, block by block, by the thread that has their output ready and in its cache.
  const function_ref<void(std::size_t begin, std::size_t end)>* finished = nullptr;
};

/// Where the gradients of inputs may lie.
enum class GradientPlace : std::uint8_t {
  apart,  ///< in memory of their own
  over,   ///< one input; its gradient is written over that of the output
  passed  ///< every input's gradient is that of the output
};

/// Gradients of a scalar loss. Those of inputs and parameters are added to what is there; a view without data is
/// not wanted. One tensor may be given as several inputs.
struct OpBackward : OpContext {
  /// Bit i: input_gradients[i] is unset, and its values are assigned. Only for ops with `assigns_gradients`.
  std::uint8_t fresh = 0;
  bool is_fresh(std::size_t input) const noexcept { return (fresh >> input & 1) != 0; }
  /// The input is the output of a ReLU, and the gradient of the ReLU's input is wanted; only for ops with `masks_relu`.
  bool relu = false;
  /// Unless null, nothing is in `output_gradient` yet: makes a row of it, once, on the calling thread, in `room` for
  /// one or, if that is null, in its place; returns where. Only for ops with `leads`.
  const function_ref<const float*(std::size_t row, float* room)>* slopes = nullptr;

  std::span<const MatrixView<const float>> inputs;
  MatrixView<const float> output;
  MatrixView<const float> output_gradient;
  std::span<const MatrixView<float>> input_gradients;
  std::span<const MatrixView<float>> parameter_gradients;
  /// Given: takes the gradient of parameter 0, whose view holds zeros and does so again afterwards. Only for ops with
  /// `hands_out_gradient`, after the last use of the parameter's values.
  const kernels::ProductSink* sink = nullptr;
};

/// Boxes: every element of the input lies between lower and upper.
struct OpBounds : OpContext {
  std::span<const MatrixView<const float>> input_lower, input_upper;
  MatrixView<float> output_lower, output_upper;
};

/// Two lines around a function of one value: slope * x + offset, for each x in [lower, upper]. One entry per value.
struct OpLines {
  std::span<const double> attributes;
  std::span<const float> lower, upper;
  std::span<float> slope_below, slope_above;
  std::span<double> offset_below, offset_above;
};

/// Names of C arrays in generated source.
struct OpSource {
  std::span<const double> attributes;
  std::span<const std::string> inputs, parameters;
  std::span<const std::size_t> input_sizes;
  std::span<const OpShape> shapes;  ///< of the inputs
  std::string output;
  std::size_t output_size = 0;
};

/// One operation of a network: everything that any pass over a graph needs to know about it. Stateless.
class Op {
 public:
  virtual ~Op();
  virtual std::string_view name() const noexcept = 0;
  virtual std::string_view onnx_name() const noexcept = 0;
  virtual std::size_t arity() const noexcept { return 1; }
  /// An op that takes fewer inputs too says how few.
  virtual std::size_t least_arity() const noexcept { return arity(); }
  virtual std::span<const OpAttribute> attributes() const noexcept { return {}; }

  /// Shape of the output. Throws Error(shape_mismatch) naming the shapes.
  virtual OpShape infer(std::span<const OpShape> inputs, std::span<const double> attributes) const = 0;
  virtual std::vector<OpParameter> parameters(std::span<const OpShape> inputs,
                                              std::span<const double> attributes) const;
  /// Starting values; parameters arrive zero-filled.
  virtual void initialise(std::span<const MatrixView<float>> parameters, Random& random) const;

  /// Floats per row that a call may scribble on.
  virtual std::size_t scratch(std::span<const OpShape> inputs, std::span<const double> attributes, bool backward) const;

  /// One row: allocates nothing and does not throw.
  virtual void forward(const OpForward& call) const = 0;
  virtual void backward(const OpBackward& call) const = 0;
  /// `backward` looks at `OpBackward::fresh`: nobody need clear the gradients that it is the first to write.
  virtual bool assigns_gradients() const noexcept;
  /// Of ops that assign gradients: whether that of an input may lie where that of the output does.
  virtual GradientPlace gradient_place() const noexcept;
  /// `backward` looks at `OpBackward::sink`.
  virtual bool hands_out_gradient() const noexcept;
  /// The ops that follow may be done with it, while its output is in cache: `forward` looks at `OpForward::relu` and
  /// `finished`, `backward` looks at `OpBackward::slopes` and not at the output.
  virtual bool leads() const noexcept;
  /// `backward` looks at `OpBackward::relu` and assigns gradients; both passes treat every row alone, without scratch.
  virtual bool masks_relu() const noexcept;
  /// After `forward` in training: moves the parameters marked as state. Views of the others hold no data.
  virtual void update_state(const OpForward& call, std::span<const MatrixView<float>> state) const;
  /// The rows of sparse parameter `parameter` that one row of the first input uses, repeats included: at most one per
  /// value of the row. Returns how many were written to `rows`.
  virtual std::size_t used_rows(std::span<const float> input, std::span<const double> attributes,
                                std::span<std::uint32_t> rows) const;
  /// Bounds of the inference pass over the box. Sound for the floats that `forward` computes, not only for the
  /// real numbers they stand for.
  virtual void bounds(const OpBounds& call) const = 0;
  /// At inference the output is an affine function of the inputs, whose slopes `backward` gives whatever the inputs:
  /// the most roundings on the way to a value of `forward` or of an input gradient. 0: it is not affine.
  virtual std::size_t affine_terms(std::span<const OpShape> inputs, std::span<const double> attributes) const;
  /// No output falls when an input rises, at inference, whatever the parameters.
  virtual bool monotone() const noexcept;
  /// For ops that map every value alone: lines below and above the floats that `forward` computes from the floats of
  /// the box. False: has none, and linear bounds end at the interval bounds of this op.
  virtual bool lines(const OpLines& call) const;
  /// C++ statements that compute the output; "" if the op cannot be written as source.
  virtual std::string source(const OpSource& call) const;
};

/// Adds an op of the application, which must outlive every graph; returns 1 so that it can initialise a global. Call it
/// before other threads use graphs. Error(already_exists) for a name that is taken, Error(invalid_argument) if its
/// arity exceeds max_op_inputs or 64 ops were added. Model files hold its name: `load` needs it added.
int register_op(const Op& op);

/// All ops; the added ones come last.
std::span<const Op* const> ops() noexcept;
/// Error(unsupported) with the list of ops if the name is unknown.
const Op& find_op(std::string_view name);

}  // namespace redoubt
