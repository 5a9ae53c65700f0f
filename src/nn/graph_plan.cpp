#include "nn/graph_plan.hpp"

#include <algorithm>
#include <cmath>
#include <cstdint>

#include "nn/graph_internal.hpp"
#include "redoubt/kernels/activation.hpp"

namespace redoubt::detail {
namespace {

constexpr std::size_t large = 4096;  // floats of a tensor from which ops go row by row
constexpr double least_group = 4;    // filters of a group of a convolution
// Winograd's transforms pay from so many channels and filters on.
constexpr std::size_t least_channels = 16;
constexpr std::size_t winograd_floats = 48 * 1024;  // scratch of a task: L2 holds it
constexpr std::size_t no_tensor = ~std::size_t{0};

/// What products in narrow precisions round and pool themselves.
bool plain(kernels::Activation activation) {
  return activation == kernels::Activation::none || activation == kernels::Activation::relu;
}

}  // namespace

kernels::WinogradTiles GraphPlan::Step::block_tiles() const noexcept {
  const auto [lines, columns] = tiles();
  const std::size_t fit = winograd_floats / kernels::WinogradTiles{1, columns}.scratch(winograd);
  return {std::clamp<std::size_t>(fit, 1, lines), columns};
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

}  // namespace redoubt::detail
