#include "nn/graph_plan.hpp"

#include <algorithm>
#include <chrono>
#include <cmath>
#include <cstdint>

#include "kernels/depthwise.hpp"
#include "nn/graph_internal.hpp"
#include "redoubt/core/parallel.hpp"
#include "redoubt/kernels/activation.hpp"

namespace redoubt::detail {
namespace {

constexpr std::size_t line = 16;        // floats in a cache line
constexpr std::size_t large = 4096;     // floats of a tensor from which ops go row by row
constexpr double parallel_flops = 4e6;  // below, waking a thread costs more than it brings
// A worker that has just worked still looks for more, so that sharing the columns of a layer costs about a microsecond;
// waking one that sleeps costs twenty. From so many bytes of weights sharing pays while it is awake.
constexpr double awake_seconds = 50e-6;
constexpr std::size_t awake_bytes = 512 * 1024;
thread_local std::chrono::steady_clock::time_point last_shared;  // end of a run of this thread that had such a layer
constexpr double least_group = 4;                                // filters of a group of a convolution
// Winograd's transforms pay from so many channels and filters on.
constexpr std::size_t least_channels = 16;
constexpr std::size_t winograd_floats = 48 * 1024,
                      winograd_tasks = 8;  // scratch of a task: L2 holds it; at most so many
constexpr std::size_t no_tensor = ~std::size_t{0};

/// What products in narrow precisions round and pool themselves.
bool plain(kernels::Activation activation) {
  return activation == kernels::Activation::none || activation == kernels::Activation::relu;
}

/// Zeros behind `count` values of each row, up to the depth of their reader.
void fill_up(std::byte* rows, std::size_t n, std::size_t count, const kernels::NarrowWeights& reader) {
  const std::size_t value = reader.width();
  for (std::size_t i = 0; i < n; ++i)
    std::fill_n(rows + (i * reader.depth() + count) * value, (reader.depth() - count) * value, std::byte{0});
}

std::size_t round_up(std::size_t value) { return (value + line - 1) / line * line; }

}  // namespace

/// Where the tensors of a run are.
struct GraphPlan::Frame {
  const MatrixView<const float>& src;
  const MatrixView<float>& dst;
  float* shared;  // tensors of all rows
  float* row;     // tensors of one row
  float* padded;
  float* strips;  // rows of a convolution that a pool waits for
  float* winograd;
  std::span<float> op_scratch;
  float* narrow;  // left-hand sides of dense layers
  Arena* arena;
  bool awake = false;  // the other threads of the arena probably are
};

kernels::WinogradTiles GraphPlan::Step::block_tiles() const noexcept {
  const auto [lines, columns] = tiles();
  const std::size_t fit = winograd_floats / kernels::WinogradTiles{1, columns}.scratch(winograd);
  return {std::clamp<std::size_t>(fit, 1, lines), columns};
}

double GraphPlan::Step::cost(double flops) const noexcept {
  return is_narrow() && kernels::has_pooled_products() ? flops / 8 : flops;
}

/// Reads the attributes and parameters of a dense or conv2d node.
void GraphPlan::layer(const Graph& graph, std::size_t node, Step& s) const {
  const auto& a = graph.nodes_[node].attributes;
  const OpShape &in = graph.input_shapes_[node][0], &out = graph.shapes_[node + 1];
  if (s.kind == Kind::dense) {
    s.positions = a[1] == 0 ? 1 : op_size(in) / in.back();
    return;
  }
  const auto whole = [&](std::size_t i) { return static_cast<std::size_t>(a[i]); };
  s.height = in[0], s.width = in[1], s.channels = in[2];
  s.out_height = out[0], s.out_width = out[1];
  if (s.kind == Kind::conv || s.kind == Kind::depthwise) {
    s.kernel_height = whole(1), s.kernel_width = whole(2), s.stride = whole(3), s.pad = whole(4);
    s.dilation = whole(5), s.groups = whole(6);
  } else {
    s.kernel_height = whole(0), s.kernel_width = whole(1), s.stride = whole(2);
  }
}

/// A convolution of 3 x 3 whose pool, if it has one, waits for the two lines of a tile.
bool GraphPlan::suits_winograd(const Step& s) noexcept {
  return s.kind == Kind::conv && !s.is_narrow() && s.groups == 1 && s.kernel_height == 3 && s.kernel_width == 3 &&
         s.stride == 1 && s.channels >= least_channels && s.units >= least_channels &&
         (s.activation == kernels::Activation::none || s.activation == kernels::Activation::relu) &&
         (s.pool_height == 0 || (s.pool_height == 2 && s.pool_stride == 2));
}

/// Makes node `next`, a max-pool that no other node competes with, part of the convolution `s` if its windows neither
/// overlap from row to row nor leave the image.
void GraphPlan::fuse_pool(const Graph& graph, std::uint32_t next, Step& s, std::vector<bool>& done,
                          std::uint32_t& out) const {
  const auto& a = graph.nodes_[next].attributes;
  if (graph.input_shapes_[next][0] != graph.shapes_[s.node + 1]) return;  // a reshape is between them
  // Values of a convolution in groups come group by group.
  if (s.groups > 1 || graph.nodes_[next].op != "max_pool2d" || a[3] != 0 || a[2] < a[0]) return;
  s.pool_height = static_cast<std::size_t>(a[0]), s.pool_width = static_cast<std::size_t>(a[1]);
  s.pool_stride = static_cast<std::size_t>(a[2]);
  s.pooled_height = graph.shapes_[next + 1][0], s.pooled_width = graph.shapes_[next + 1][1];
  done[next] = true;
  out = next + 1;
}

GraphPlan::GraphPlan(const Graph& graph) : errors_(graph.nodes_.size()), winograd_errors_(graph.nodes_.size()) {
  const std::size_t count = graph.nodes_.size();
  std::vector<std::uint32_t> uses(count + 1, 0), user(count + 1, 0);
  for (std::uint32_t i = 0; i < count; ++i) {
    for (const auto t : graph.nodes_[i].inputs) ++uses[t], user[t] = i;
  }
  for (std::uint32_t t = 0; t <= count; ++t) same_.push_back(t);
  std::vector<bool> done(count, false);
  for (std::uint32_t i = 0; i < count; ++i) {
    if (done[i]) continue;
    const GraphNode& node = graph.nodes_[i];
    if (keeps_values(node.op) && i + 1 < count) {
      same_[i + 1] = same_[node.inputs[0]];
      continue;
    }
    Step s{.node = i, .from = same_[node.inputs[0]], .to = i + 1};
    const auto& a = node.attributes;
    if (node.op == "dense") s.kind = Kind::dense;
    if (node.op == "conv2d") {
      const auto channels = static_cast<double>(graph.input_shapes_[i][0][2]);
      // Narrower groups would be mostly the padding of their panels.
      if (a[5] == 1 && (a[6] == 1 || a[0] / a[6] >= least_group)) s.kind = Kind::conv;
      if (a[6] > 1 && a[6] == channels && a[6] == a[0]) s.kind = Kind::depthwise;
    }
    if (node.op == "max_pool2d" && a[3] == 0) s.kind = Kind::max_pool;
    if (s.kind != Kind::op) layer(graph, i, s);
    if (s.kind == Kind::dense || s.kind == Kind::conv || s.kind == Kind::depthwise) {
      std::array<MatrixView<const float>, max_op_parameters> parameters;
      Graph::Call::parameter_views(graph, i, graph.parameters_.data(), parameters);
      const MatrixView<const float> weight = parameters[0];
      const std::size_t units = weight.cols();
      s.bias.assign(parameters[1].data(), parameters[1].data() + units);
      Tensor<float> folded({weight.rows(), units});
      for (std::size_t r = 0; r < weight.rows(); ++r) std::copy_n(weight.row(r).data(), units, folded.row(r).data());
      // What alone uses the output may become part of the step; names change meanwhile.
      std::uint32_t out = i + 1, affine = i;  // affine: the last node of those that are folded into the weights
      bool normalised = false;
      while (out < count && uses[out] == 1) {
        const std::uint32_t next = user[out];
        const GraphNode& follower = graph.nodes_[next];
        if (keeps_values(follower.op) && next + 1 < count) {
          done[next] = true;
        } else if (follower.op == "batch_norm" && !normalised && graph.input_shapes_[next][0].back() == units) {
          Graph::Call::parameter_views(graph, next, graph.parameters_.data(), parameters);
          errors_[next].resize(units);
          for (std::size_t c = 0; c < units; ++c) {
            const double variance = std::max(parameters[3](0, c), 0.0f);
            const double scale = parameters[0](0, c) / std::sqrt(variance + follower.attributes[0]);
            for (std::size_t r = 0; r < weight.rows(); ++r) folded(r, c) = static_cast<float>(folded(r, c) * scale);
            s.bias[c] = static_cast<float>((static_cast<double>(s.bias[c]) - parameters[2](0, c)) * scale +
                                           parameters[1](0, c));
            errors_[next][c] = static_cast<float>(weight.rows() + 4) * 0x1p-23f * std::abs(s.bias[c]);
          }
          normalised = done[next] = true;
          affine = next;
        } else if (follower.op == "relu" || follower.op == "sigmoid" || follower.op == "tanh") {
          s.activation = follower.op == "relu"      ? kernels::Activation::relu
                         : follower.op == "sigmoid" ? kernels::Activation::sigmoid
                                                    : kernels::Activation::tanh;
          done[next] = true;
          out = next + 1;
          break;
        } else if (follower.op == "softmax" && s.kind == Kind::dense && s.positions == 1) {
          s.softmax = done[next] = true;
          out = next + 1;
          break;
        } else {
          break;
        }
        out = next + 1;
      }
      if (s.kind == Kind::conv && out < count && uses[out] == 1) fuse_pool(graph, user[out], s, done, out);
      s.to = out;
      s.depth = weight.rows();
      s.units = units;
      const kernels::Precision precision = graph.precision();
      const bool one = s.kind != Kind::depthwise && s.groups == 1;
      if (precision != kernels::Precision::fp32 && s.depth > 0 && one) {
        const auto range = graph.ranges_.empty() ? TensorRange{} : graph.ranges_[s.from];
        kernels::NarrowWeights narrow(folded, s.bias, precision,
                                      kernels::QuantisedRange::covering(range.lower, range.upper));
        // A patch is read in place, several values at a time, which may not cross into the next row.
        if (s.kind == Kind::dense || s.kernel_width * s.channels % narrow.together() == 0) s.narrow = std::move(narrow);
        s.pools_inside = s.is_narrow() && kernels::has_pooled_products() && s.pool_height == 2 && s.pool_width == 2 &&
                         s.pool_stride == 2 && plain(s.activation);
      }
      if (s.kind == Kind::depthwise)
        s.taps.assign(folded.data(), folded.data() + folded.size());
      else if (s.groups > 1)
        for (std::size_t g = 0, each = units / s.groups; g < s.groups; ++g)
          s.grouped.emplace_back(MatrixView<const float>(folded.data() + g * each, folded.rows(), each, units));
      else if (suits_winograd(s))
        s.winograd = kernels::WinogradWeights(folded);
      else if (!s.is_narrow())
        s.weights = kernels::PackedWeights(folded);
      if (s.is_winograd()) winograd_errors_[affine] = {s.from, {s.winograd.error().begin(), s.winograd.error().end()}};
    }
    s.by_row = s.kind == Kind::conv || s.kind == Kind::depthwise || s.kind == Kind::max_pool ||
               (s.kind == Kind::op && std::max(graph.sizes_[s.from], graph.sizes_[s.to]) >= large);
    if (s.kind == Kind::dense || s.kind == Kind::conv || s.kind == Kind::depthwise) {
      const std::size_t places = s.kind == Kind::dense ? s.positions : s.out_height * s.out_width;
      flops_ += 2.0 * static_cast<double>(places * s.depth * s.units);
    }
    shares_ = shares_ || (s.kind == Kind::dense && weight_bytes(s) >= awake_bytes);
    by_row_ = by_row_ || s.kind == Kind::conv || s.kind == Kind::depthwise;
    steps_.push_back(std::move(s));
  }
  lay_out(graph);
  hand_over(graph);
}

/// Values that only a dense layer in a narrow precision reads are left in its format by the step that makes them. They
/// need no more room than floats.
void GraphPlan::hand_over(const Graph& graph) {
  std::vector<std::uint32_t> uses(graph.sizes_.size(), 0);
  for (const Step& s : steps_) {
    if (s.kind != Kind::op)
      ++uses[s.from];
    else
      for (const auto t : graph.nodes_[s.node].inputs) ++uses[same_[t]];
  }
  for (std::size_t i = 0; i < steps_.size(); ++i) {
    Step& s = steps_[i];
    const bool whole =
        s.kind == Kind::dense ? s.positions == 1 : s.kind == Kind::conv && (s.pool_height == 0 || s.pools_inside);
    if (!s.is_narrow() || !whole || !plain(s.activation) || s.softmax || local_[s.to] || uses[s.to] != 1) continue;
    for (std::size_t j = i + 1; j < steps_.size(); ++j) {
      Step& reader = steps_[j];
      if (reader.kind != Kind::dense || reader.from != s.to || !reader.is_narrow() || reader.positions != 1) continue;
      s.reader = static_cast<std::uint32_t>(j);
      reader.narrow_input = true;
    }
  }
}

/// First fit; the place of a tensor is free again after its last use. Tensors that live only inside neighbouring steps
/// that go row by row have room for one row.
void GraphPlan::lay_out(const Graph& graph) {
  const std::size_t tensors = graph.sizes_.size(), count = steps_.size();
  std::vector<std::size_t> last_use(tensors, 0), run_of(count, 0), made(tensors, no_tensor);
  for (std::size_t i = 0; i < count; ++i) {
    run_of[i] = i > 0 && steps_[i].by_row && steps_[i - 1].by_row ? run_of[i - 1] : i;
    made[steps_[i].to] = i;
  }
  local_.assign(tensors, true);
  for (std::size_t i = 0; i < count; ++i) {
    const auto use = [&](std::uint32_t t) {
      last_use[t] = i;
      if (t > 0 && (made[t] == no_tensor || run_of[made[t]] != run_of[i])) local_[t] = false;
    };
    if (steps_[i].kind == Kind::op) {
      for (const auto t : graph.nodes_[steps_[i].node].inputs) use(same_[t]);
    } else {
      use(steps_[i].from);
    }
    if (!steps_[i].by_row) local_[steps_[i].to] = false;
  }
  place_.assign(tensors, 0);
  for (const bool local : {false, true}) {
    std::vector<std::uint32_t> live;  // by place
    std::size_t& total = local ? row_ : shared_;
    for (std::size_t i = 0; i < count; ++i) {
      const std::uint32_t t = steps_[i].to;
      if (local_[t] != local || t + 1 == tensors) continue;  // the output of the graph is the caller's
      // Row by row, all steps of a run pass again and again: what they share stays till the end of the run.
      std::erase_if(live, [&](std::uint32_t other) {
        return last_use[other] < i && (local || run_of[last_use[other]] != run_of[i]);
      });
      const std::size_t size = round_up(graph.sizes_[t]);
      std::size_t offset = 0;
      auto place = live.begin();
      for (; place != live.end(); ++place) {
        if (place_[*place] >= offset + size) break;
        offset = place_[*place] + round_up(graph.sizes_[*place]);
      }
      place_[t] = offset;
      live.insert(place, t);
      total = std::max(total, offset + size);
    }
  }
  for (const Step& s : steps_) {
    if (s.kind == Kind::op) {
      const auto& node = graph.nodes_[s.node];
      op_scratch_ =
          std::max(op_scratch_, graph.ops_[s.node]->scratch(graph.input_shapes_[s.node], node.attributes, false));
    }
    if (s.kind == Kind::conv && s.padded()) {
      padded_ = std::max(padded_, round_up((s.height + 2 * s.pad + s.more_lines()) *
                                           (s.width + 2 * s.pad + s.more_columns()) * s.channels / s.groups));
    }
    if (s.is_winograd()) {
      const kernels::WinogradTiles block = s.block_tiles();
      const std::size_t blocks = (s.tiles().lines + block.lines - 1) / block.lines;
      winograd_ = std::max(winograd_, std::min(blocks, winograd_tasks) * round_up(block.scratch(s.winograd)));
    }
    // As many as threads could be at work.
    strips_ = std::max(strips_, round_up((s.pooled_height + s.more_lines()) * s.strip()));
    if (s.kind == Kind::dense && s.is_narrow()) {
      narrow_ = std::max(narrow_, round_up(s.positions * s.narrow.depth() * s.narrow.width() / sizeof(float) + 1));
    }
  }
}

std::size_t GraphPlan::weight_bytes(const Step& s) noexcept {
  return s.units * (s.is_narrow() ? s.narrow.depth() * s.narrow.width() : s.depth * sizeof(float));
}

void GraphPlan::dense(const Step& s, const MatrixView<const float>& src, const MatrixView<float>& dst,
                      const Frame& frame) const {
  const std::size_t width = s.depth, units = s.units;
  const std::size_t rows = src.rows() * s.positions;
  const bool apart = s.positions > 1 && (src.stride() != src.cols() || dst.stride() != dst.cols());
  for (std::size_t r = 0; r < (apart ? src.rows() : 1); ++r) {
    const std::size_t here = apart ? s.positions : rows;
    const std::size_t stride = s.positions == 1 ? src.stride() : width;
    const float* const left = src.row(r).data();
    float* const to = dst.row(r).data();
    const std::size_t to_row = s.positions == 1 ? dst.stride() : units;
    if (s.is_narrow()) {
      narrow_dense(s, {left, here, width, stride}, {to, here, units, to_row}, frame);
      continue;
    }
    const auto columns = [&](std::size_t first, std::size_t last) {
      kernels::packed_matmul({.data = left, .rows = here, .row = stride, .segment = width}, s.weights,
                             {to, here, units, to_row}, {.bias = s.bias.data(), .activation = s.activation}, first,
                             last);
    };
    share_columns(s, here, s.weights.panel(), columns, frame);
  }
  if (s.softmax) kernels::softmax_rows(dst);
}

/// Rows of `src`; their values, or those of `dst`, may be narrow and then lie side by side.
void GraphPlan::narrow_dense(const Step& s, const MatrixView<const float>& src, const MatrixView<float>& dst,
                             const Frame& frame) const {
  const std::size_t depth = s.narrow.depth(), value = s.narrow.width(), rows = src.rows();
  const auto* left = reinterpret_cast<const std::byte*>(src.data());
  if (!s.narrow_input) {
    auto* const narrowed = reinterpret_cast<std::byte*>(frame.narrow);
    for (std::size_t i = 0; i < rows; ++i) {
      std::byte* const to = narrowed + i * depth * value;
      kernels::narrow(src.row(i).data(), s.depth, s.narrow, to);
      std::fill_n(to + s.depth * value, (depth - s.depth) * value, std::byte{0});
    }
    left = narrowed;
  }
  const kernels::NarrowWeights* const reader = next(s);
  const kernels::NarrowResults out{
      .data = reinterpret_cast<std::byte*>(dst.data()), .row = reader ? reader->depth() : dst.stride(), .next = reader};
  if (reader) fill_up(out.data, rows, s.units, *reader);
  const auto columns = [&](std::size_t first, std::size_t last) {
    kernels::narrow_matmul({.data = left, .rows = rows, .row = depth, .segment = depth}, s.narrow, out, s.activation,
                           first, last);
  };
  share_columns(s, rows, kernels::NarrowWeights::panel, columns, frame);
}

/// All columns of a dense layer, in shares of whole panels if that pays.
template <class Columns>
void GraphPlan::share_columns(const Step& s, std::size_t rows, std::size_t panel, const Columns& columns,
                              const Frame& frame) const {
  if (!frame.arena) return columns(0, s.units);
  const std::size_t panels = (s.units + panel - 1) / panel;
  const double flops = 2.0 * static_cast<double>(rows) * static_cast<double>(s.depth) * static_cast<double>(s.units);
  const bool wide = s.cost(flops) >= parallel_flops || (frame.awake && weight_bytes(s) >= awake_bytes);
  if (panels < 2 || !wide) return columns(0, s.units);
  const auto threads = static_cast<std::size_t>(frame.arena->threads());
  const std::size_t grain = std::max<std::size_t>(1, (panels + threads - 1) / threads);
  parallel_for(
      panels, grain,
      [&](std::size_t begin, std::size_t end) { columns(begin * panel, std::min(end * panel, s.units)); }, frame.arena);
}

/// Every row of the output is one product with patches that are read where they lie in the padded image, of groups one
/// after the other. Rows that a pool waits for stay in cache until it has them.
void GraphPlan::conv(const Step& s, const float* src, float* dst, const Frame& frame) const {
  if (s.is_narrow()) return narrow_conv(s, src, dst, frame);
  const std::size_t channels = s.channels / s.groups, filters = s.units / s.groups, units = s.units;
  const std::size_t width = (s.width + 2 * s.pad + s.more_columns()) * channels, margin = s.pad * channels,
                    inside = s.width * channels;
  const std::size_t row = s.stride * channels, segment = s.kernel_width * channels;
  const double flops = 2.0 * static_cast<double>(s.out_height * s.out_width * s.depth * units);
  const bool together = frame.arena && flops >= parallel_flops;
  for (std::size_t group = 0; group < s.groups; ++group) {
    const float* image = src;
    if (s.padded()) {
      float* const padded = frame.padded;
      std::fill_n(padded, s.pad * width, 0.0f);
      for (std::size_t y = 0; y < s.height; ++y) {
        float* const to = padded + (y + s.pad) * width;
        std::fill_n(to, margin, 0.0f);
        if (s.groups == 1) {
          std::copy_n(src + y * inside, inside, to + margin);
        } else {
          const float* const from = src + y * s.width * s.channels + group * channels;
          for (std::size_t x = 0; x < s.width; ++x)
            std::copy_n(from + x * s.channels, channels, to + margin + x * channels);
        }
        std::fill_n(to + margin + inside, margin + s.more_columns() * channels, 0.0f);
      }
      std::fill_n(padded + (s.height + s.pad) * width, (s.pad + s.more_lines()) * width, 0.0f);
      image = padded;
    }
    if (s.is_winograd()) return winograd(s, image, dst, frame);
    const auto one = [&](std::size_t y, float* to) {
      const std::size_t from = y * s.stride * width;
      const MatrixView<float> out{to + group * filters, s.out_width, filters, units};
      kernels::packed_matmul({.data = image + from,
                              .rows = s.out_width,
                              .row = row,
                              .segment = segment,
                              .segments = s.kernel_height,
                              .segment_row = width},
                             s.groups == 1 ? s.weights : s.grouped[group], out,
                             {.bias = s.bias.data() + group * filters, .activation = s.activation}, 0, filters);
    };
    const std::size_t line_size = s.out_width * units;
    const auto rows = [&](std::size_t begin, std::size_t end) {
      for (std::size_t y = begin; y < end; ++y) {
        if (s.pool_height == 0) {
          one(y, dst + y * line_size);
          continue;
        }
        float* const strip = frame.strips + begin * s.strip();
        for (std::size_t i = 0; i < s.pool_height; ++i) one(y * s.pool_stride + i, strip + i * line_size);
        kernels::max_pool(strip, line_size, s.pool_stride * units, s.pool_height, s.pool_width, units, s.pooled_width,
                          dst + y * s.pooled_width * units);
      }
    };
    const std::size_t lines = s.pool_height > 0 ? s.pooled_height : s.out_height;
    if (!together) {
      rows(0, lines);
      continue;
    }
    const auto threads = static_cast<std::size_t>(frame.arena->threads());
    parallel_for(lines, (lines + threads - 1) / threads, rows, frame.arena);
  }
}

/// All lines of the output, or as many as a thread gets, are one product with patches of the narrow padded image. A
/// pool that is not part of it works line by line.
void GraphPlan::narrow_conv(const Step& s, const float* src, float* dst, const Frame& frame) const {
  const std::size_t width = (s.width + 2 * s.pad) * s.channels, inside = s.width * s.channels, units = s.units,
                    value = s.narrow.width(), margin = s.pad * s.channels * value, line = width * value;
  auto* const image = reinterpret_cast<std::byte*>(frame.padded);
  const auto zero = s.narrow.precision() == kernels::Precision::int8 ? std::byte{s.narrow.range().zero} : std::byte{0};
  std::fill_n(image, s.pad * line, zero);
  for (std::size_t y = 0; y < s.height; ++y) {
    std::byte* const to = image + (y + s.pad) * line;
    std::fill_n(to, margin, zero);
    kernels::narrow(src + y * inside, inside, s.narrow, to + margin);
    std::fill_n(to + margin + inside * value, margin, zero);
  }
  std::fill_n(image + (s.height + s.pad) * line, s.pad * line, zero);
  const auto product = [&](std::size_t first, std::size_t lines, const kernels::NarrowResults& to) {
    kernels::narrow_matmul({.data = image + first * s.stride * line,
                            .rows = s.out_width,
                            .row = s.stride * s.channels,
                            .segment = s.kernel_width * s.channels,
                            .segments = s.kernel_height,
                            .segment_row = width,
                            .lines = lines,
                            .line = s.stride * width},
                           s.narrow, to, s.activation, 0, units);
  };
  const kernels::NarrowWeights* const reader = next(s);
  const std::size_t lines = s.pool_height > 0 ? s.pooled_height : s.out_height,
                    places = s.pool_height > 0 ? s.pooled_width : s.out_width, window = s.pools_inside ? 2 : 1;
  auto* const out = reinterpret_cast<std::byte*>(dst);
  if (reader) fill_up(out, 1, lines * places * units, *reader);
  const auto some = [&](std::size_t begin, std::size_t end) {
    if (s.pool_height == 0 || s.pools_inside) {
      const std::size_t each = places * units;
      return product(begin * window, (end - begin) * window,
                     {.data = out + begin * each * (reader ? reader->width() : sizeof(float)),
                      .row = units,
                      .line = each,
                      .next = reader,
                      .pool = s.pools_inside});
    }
    const std::size_t each = s.out_width * units;
    float* const strip = frame.strips + begin * s.strip();
    for (std::size_t y = begin; y < end; ++y) {
      product(y * s.pool_stride, s.pool_height,
              {.data = reinterpret_cast<std::byte*>(strip), .row = units, .line = each});
      kernels::max_pool(strip, each, s.pool_stride * units, s.pool_height, s.pool_width, units, places,
                        dst + y * places * units);
    }
  };
  const double flops = 2.0 * static_cast<double>(s.out_height * s.out_width * s.depth * units);
  if (!frame.arena || s.cost(flops) < parallel_flops) return some(0, lines);
  const auto threads = static_cast<std::size_t>(frame.arena->threads());
  parallel_for(lines, (lines + threads - 1) / threads, some, frame.arena);
}

/// Lines of tiles in blocks that stay in cache.
void GraphPlan::winograd(const Step& s, const float* image, float* dst, const Frame& frame) const {
  const kernels::WinogradTiles all = s.tiles(), block = s.block_tiles();
  const std::size_t blocks = (all.lines + block.lines - 1) / block.lines;
  const std::size_t row = (s.width + 2 * s.pad + s.more_columns()) * s.channels, line_size = s.out_width * s.units;
  const double flops = 2.0 * static_cast<double>(s.out_height * s.out_width * s.depth * s.units);
  const bool together = frame.arena && flops >= parallel_flops;
  const std::size_t tasks =
      together ? std::min({blocks, winograd_tasks, static_cast<std::size_t>(frame.arena->threads())}) : 1;
  const auto task = [&](std::size_t begin, std::size_t) {
    float* const scratch = frame.winograd + begin * round_up(block.scratch(s.winograd));
    for (std::size_t b = begin; b < blocks; b += tasks) {
      const std::size_t first = b * block.lines, lines = std::min(block.lines, all.lines - first);
      const std::size_t height = std::min(2 * lines, s.out_height - 2 * first);
      float* const to = s.pool_height > 0 ? frame.strips + first * s.strip() : dst + 2 * first * line_size;
      kernels::winograd(s.winograd, image + 2 * first * row, row, {lines, all.columns}, s.bias.data(),
                        s.activation == kernels::Activation::relu, scratch, to, line_size, height, s.out_width);
      for (std::size_t y = first; s.pool_height > 0 && y < std::min(first + lines, s.pooled_height); ++y)
        kernels::max_pool(to + (y - first) * s.strip(), line_size, s.pool_stride * s.units, s.pool_height, s.pool_width,
                          s.units, s.pooled_width, dst + y * s.pooled_width * s.units);
    }
  };
  if (tasks == 1) return task(0, 1);
  parallel_for(tasks, 1, task, frame.arena);
}

void GraphPlan::depthwise(const Step& s, const float* src, float* dst, Arena* arena) const {
  const auto rows = [&](std::size_t begin, std::size_t end) {
    kernels::depthwise({s.height, s.width, s.channels, s.kernel_height, s.kernel_width, s.stride, s.pad, s.dilation,
                        s.out_height, s.out_width},
                       src, s.taps.data(), s.bias.data(), s.activation, dst, begin, end);
  };
  const double flops = 2.0 * static_cast<double>(s.out_height * s.out_width * s.depth * s.units);
  // Its multiply-adds take several times as long as those of a product.
  if (!arena || 4 * flops < parallel_flops) return rows(0, s.out_height);
  const auto threads = static_cast<std::size_t>(arena->threads());
  parallel_for(s.out_height, (s.out_height + threads - 1) / threads, rows, arena);
}

void GraphPlan::max_pool(const Step& s, const float* src, float* dst) const {
  const std::size_t row = s.width * s.channels;
  for (std::size_t y = 0; y < s.out_height; ++y) {
    kernels::max_pool(src + y * s.stride * row, row, s.stride * s.channels, s.kernel_height, s.kernel_width, s.channels,
                      s.out_width, dst + y * s.out_width * s.channels);
  }
}

/// Rows [begin, end); tensors of one row only if it is one.
void GraphPlan::step(const Graph& graph, const Step& s, const Frame& frame, std::size_t begin, std::size_t end) const {
  const std::size_t all = frame.src.rows(), rows = end - begin;
  const auto at = [&](std::uint32_t t) -> MatrixView<float> {
    const std::size_t size = graph.sizes_[t];
    if (local_[t]) return {frame.row + place_[t], rows, size};
    float* const first = frame.shared + place_[t] * all;
    // Narrow rows lie closer together.
    if (const auto* reader = t == s.to ? next(s) : s.narrow_input ? &s.narrow : nullptr)
      return {reinterpret_cast<float*>(reinterpret_cast<std::byte*>(first) + begin * reader->depth() * reader->width()),
              rows, size};
    return {first + begin * size, rows, size};
  };
  const auto input = [&](std::uint32_t t) -> MatrixView<const float> {
    return same_[t] == 0 ? frame.src.slice(begin, end) : at(same_[t]);
  };
  const MatrixView<float> out = s.to == graph.nodes_.size() ? frame.dst.slice(begin, end) : at(s.to);
  switch (s.kind) {
    case Kind::dense: return dense(s, input(s.from), out, frame);
    case Kind::conv: return conv(s, input(s.from).data(), out.data(), frame);
    case Kind::depthwise: return depthwise(s, input(s.from).data(), out.data(), frame.arena);
    case Kind::max_pool: return max_pool(s, input(s.from).data(), out.data());
    case Kind::op: break;
  }
  Graph::Call call;
  OpForward forward;
  call.fill(graph, s.node, forward, input);
  forward.inputs = call.used(graph, s.node);
  forward.scratch = frame.op_scratch;
  forward.arena = rows > 1 ? &serial_arena() : nullptr;  // one row never asks for it
  forward.output = out;
  graph.ops_[s.node]->forward(forward);
}

std::size_t GraphPlan::block(std::size_t rows, int threads) const noexcept {
  if (threads < 2 || flops_ * static_cast<double>(rows) < parallel_flops) return most_rows;
  // Images go to the threads; of few rows of a matrix, columns do.
  if (!by_row_ && rows <= most_rows / 2) return most_rows;
  const auto each = (rows + static_cast<std::size_t>(threads) - 1) / static_cast<std::size_t>(threads);
  return std::clamp(each, std::size_t{1}, most_rows);
}

// Views are passed on by reference: a copy of one that was just put together waits for its parts to be stored, which is
// a fifth of the time of a small network.
void GraphPlan::run(const Graph& graph, const MatrixView<const float>& src, const MatrixView<float>& dst,
                    std::span<float> scratch, Arena* arena) const {
  using Clock = std::chrono::steady_clock;
  const std::size_t rows = src.rows();
  if (!shares_ && 4 * flops_ * static_cast<double>(rows) < parallel_flops) arena = nullptr;  // no step would use it
  const bool shares = arena && shares_;
  const bool awake = shares && std::chrono::duration<double>(Clock::now() - last_shared).count() < awake_seconds;
  const std::size_t skip = (line - reinterpret_cast<std::uintptr_t>(scratch.data()) / sizeof(float) % line) % line;
  float* const start = scratch.data() + skip;
  float* const local = start + rows * shared_;
  float* const padded = local + row_;
  float* const strips = padded + padded_;
  float* const winograd = strips + strips_;
  float* const narrow = winograd + winograd_;
  const Frame frame{src,    dst,    start,    local,
                    padded, strips, winograd, {narrow + rows * narrow_, rows * op_scratch_},
                    narrow, arena,  awake};
  for (std::size_t i = 0; i < steps_.size();) {
    if (!steps_[i].by_row) {
      step(graph, steps_[i++], frame, 0, rows);
      continue;
    }
    std::size_t end = i;
    while (end < steps_.size() && steps_[end].by_row) ++end;
    for (std::size_t r = 0; r < rows; ++r) {
      for (std::size_t j = i; j < end; ++j) step(graph, steps_[j], frame, r, r + 1);
    }
    i = end;
  }
  if (shares) last_shared = Clock::now();
}

}  // namespace redoubt::detail
