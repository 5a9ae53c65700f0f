#pragma once
#include <cstddef>
#include <cstdint>
#include <span>
#include <vector>

#include "kernels/winograd.hpp"
#include "redoubt/fwd.hpp"
#include "redoubt/kernels/narrow.hpp"
#include "redoubt/kernels/packed.hpp"
#include "redoubt/nn/graph.hpp"

namespace redoubt::detail {

/// A graph made ready for prediction (Graph::compile): batch norms folded into the layer before them, activations in
/// the epilogue of products, weights packed, ops that only move a name (reshape, dropout) gone, tensors laid out in one
/// piece of scratch. Immutable, so thread-safe.
class GraphPlan {
 public:
  /// Dense layers and convolutions in the graph's precision, where it allows for that.
  explicit GraphPlan(const Graph& graph);

  /// Floats that `run` needs for that many rows.
  std::size_t scratch_size(std::size_t rows) const noexcept {
    return rows * (shared_ + op_scratch_ + narrow_) + row_ + padded_ + strips_ + winograd_ + line_floats;
  }
  /// `graph` is the one the plan was made from, or a copy. With `arena` null everything stays on the calling thread;
  /// no allocation. Bits do not depend on rows or threads.
  void run(const Graph& graph, const MatrixView<const float>& src, const MatrixView<float>& dst,
           std::span<float> scratch, Arena* arena) const;

  /// Rows of one task of a batch; `rows` or more: one task, which may use the arena inside.
  std::size_t block(std::size_t rows, int threads) const noexcept;

  /// How far the folded values of batch norm `node` may lie from the values of the op, per channel, beyond what bounds
  /// of the layer before it allow for; empty if it was not folded.
  std::span<const float> folding_error(std::size_t node) const noexcept { return errors_[node]; }
  /// The same of a convolution that is run by Winograd's algorithm: times the largest size of a value of tensor `of`.
  struct WinogradError {
    std::uint32_t of = 0;
    std::vector<float> factor;  // per channel; empty: none
  };
  const WinogradError& winograd_error(std::size_t node) const noexcept { return winograd_errors_[node]; }

 private:
  static constexpr std::size_t most_rows = 64;
  static constexpr std::size_t line_floats = 16;  // the scratch is aligned to a cache line
  static constexpr std::size_t round_up(std::size_t floats) noexcept {
    return (floats + line_floats - 1) / line_floats * line_floats;
  }
  static constexpr std::size_t winograd_tasks = 8;        // at once, at most
  static constexpr std::size_t awake_bytes = 512 * 1024;  // of weights that pay to share with threads awake
  enum class Kind : std::uint8_t { dense, conv, depthwise, max_pool, op };
  struct Step {
    Kind kind = Kind::op;
    std::uint32_t node = 0;            // the op of its first node
    std::uint32_t from = 0, to = 0;    // tensors; ops have more
    bool by_row = false;               // one row after the other through the neighbours of its kind
    std::size_t depth = 0, units = 0;  // of the weights
    kernels::PackedWeights weights;
    kernels::NarrowWeights narrow;  // instead, if it has columns
    std::vector<float> bias;
    bool is_narrow() const noexcept { return narrow.cols() > 0; }
    double cost(double flops) const noexcept;  ///< in flops of fp32: tiles do about eight in the time of one
    bool narrow_input = false;                 // its input is in the format of its left-hand sides already,
    std::uint32_t reader = none;               // as the step before leaves it for this one
    static constexpr std::uint32_t none = ~std::uint32_t{0};
    kernels::Activation activation = kernels::Activation::none;
    std::size_t positions = 1;  // dense
    bool softmax = false;       // dense with one: of its results, in place
    std::size_t height = 0, width = 0, channels = 0, kernel_height = 0, kernel_width = 0, stride = 1, pad = 0;
    std::size_t out_height = 0, out_width = 0;
    std::size_t groups = 1, dilation = 1;
    std::vector<kernels::PackedWeights> grouped;  // of a convolution in groups
    std::vector<float> taps;                      // of a depthwise one
    kernels::WinogradWeights winograd;            // instead of all those, if it has filters
    bool is_winograd() const noexcept { return winograd.filters() > 0; }
    kernels::WinogradTiles tiles() const noexcept { return {(out_height + 1) / 2, (out_width + 1) / 2}; }
    kernels::WinogradTiles block_tiles() const noexcept;  ///< of those, the lines that one task does at once
    /// Lines and columns of zeros below and right of the image, so that tiles are whole.
    std::size_t more_lines() const noexcept { return is_winograd() ? out_height % 2 : 0; }
    bool padded() const noexcept { return pad > 0 || groups > 1 || is_narrow() || more_lines() + more_columns() > 0; }
    std::size_t more_columns() const noexcept { return is_winograd() ? out_width % 2 : 0; }
    // A max-pool that alone uses a convolution is part of its step: 0 rows of a window, none.
    std::size_t pool_height = 0, pool_width = 0, pool_stride = 1, pooled_height = 0, pooled_width = 0;
    bool pools_inside = false;                                                      // the product does it
    std::size_t strip() const noexcept { return pool_height * out_width * units; }  // floats of the rows of a window
  };

  struct Frame;
  void layer(const Graph& graph, std::size_t node, Step& step) const;
  void fuse_pool(const Graph& graph, std::uint32_t next, Step& step, std::vector<bool>& done, std::uint32_t& out) const;
  void lay_out(const Graph& graph);
  static bool suits_winograd(const Step& step) noexcept;
  static std::size_t weight_bytes(const Step& step) noexcept;
  void hand_over(const Graph& graph);
  const kernels::NarrowWeights* next(const Step& step) const noexcept {
    return step.reader == Step::none ? nullptr : &steps_[step.reader].narrow;
  }
  void dense(const Step& step, const MatrixView<const float>& src, const MatrixView<float>& dst,
             const Frame& frame) const;
  void narrow_dense(const Step& step, const MatrixView<const float>& src, const MatrixView<float>& dst,
                    const Frame& frame) const;
  template <class Columns>
  void share_columns(const Step& step, std::size_t rows, std::size_t panel, const Columns& columns,
                     const Frame& frame) const;
  void conv(const Step& step, const float* src, float* dst, const Frame& frame) const;
  void narrow_conv(const Step& step, const float* src, float* dst, const Frame& frame) const;
  void winograd(const Step& step, const float* image, float* dst, const Frame& frame) const;
  void depthwise(const Step& step, const float* src, float* dst, Arena* arena) const;
  void max_pool(const Step& step, const float* src, float* dst) const;
  void step(const Graph& graph, const Step& step, const Frame& frame, std::size_t begin, std::size_t end) const;

  std::vector<Step> steps_;
  std::vector<std::uint32_t> same_;  // per tensor: the one whose values it shares
  std::vector<std::size_t> place_;   // per tensor: offset, times the number of rows unless it is local
  std::vector<bool> local_;          // per tensor: made and used by neighbouring steps that go row by row
  std::vector<std::vector<float>> errors_;
  std::vector<WinogradError> winograd_errors_;  // per node
  std::size_t shared_ = 0, row_ = 0, padded_ = 0, strips_ = 0, winograd_ = 0, op_scratch_ = 0, narrow_ = 0;
  double flops_ = 0;  // of one row
  bool by_row_ = false;
  bool shares_ = false;  // a dense layer has weights that threads share even for one row, if they are awake
};

}  // namespace redoubt::detail
