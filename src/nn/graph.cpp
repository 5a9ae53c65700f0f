#include "redoubt/nn/graph.hpp"

#include <fmt/format.h>

#include <algorithm>
#include <charconv>
#include <cmath>
#include <memory>
#include <numeric>

#include "core/kept_memory.hpp"
#include "nn/graph_internal.hpp"
#include "nn/graph_plan.hpp"
#include "redoubt/core/error.hpp"
#include "redoubt/core/function_ref.hpp"
#include "redoubt/core/parallel.hpp"
#include "redoubt/core/random.hpp"
#include "redoubt/data/archive.hpp"

namespace redoubt {
namespace {

// A file may ask for anything: these bounds keep sizes far from overflow and allocations in proportion.
constexpr std::size_t most_nodes = 4096;
constexpr std::size_t most_values = std::size_t{1} << 22;      // per row and tensor
constexpr std::size_t most_tensors = std::size_t{1} << 24;     // values per row, all tensors
constexpr std::size_t most_parameters = std::size_t{1} << 28;  // of a graph
constexpr std::size_t most_dimensions = 4;
constexpr std::size_t batch_rows = 64;
constexpr std::size_t batch_scratch = std::size_t{1} << 22;  // fewer rows at once where a row is large
constexpr std::size_t line = 16;  // floats in a cache line: tensors in a workspace start on one

std::size_t checked_size(const OpShape& shape, std::string_view what) {
  std::size_t size = shape.empty() || shape.size() > most_dimensions ? 0 : 1;
  for (const auto extent : shape) {
    size *= extent;
    if (size > most_values) break;
  }
  if (size == 0 || size > most_values) {
    detail::fail(errc::invalid_argument,
                 fmt::format("graph: {} has shape [{}]; it must have 1 to {} dimensions and 1 to {} values", what,
                             fmt::join(shape, ", "), most_dimensions, most_values));
  }
  return size;
}

}  // namespace

void detail::complete_attributes(const Op& op, std::vector<double>& values, std::string_view what) {
  const auto known = op.attributes();
  if (values.size() > known.size()) {
    detail::fail(errc::invalid_argument,
                 fmt::format("graph: {} has {} attributes; {} takes {}", what, values.size(), op.name(), known.size()));
  }
  while (values.size() < known.size()) values.push_back(known[values.size()].fallback);
  for (std::size_t i = 0; i < known.size(); ++i) {
    const bool inside = values[i] >= known[i].low && values[i] <= known[i].high;
    if (!inside || (known[i].whole && values[i] != std::floor(values[i]))) {
      detail::fail(errc::invalid_argument,
                   fmt::format("graph: {}: {} is {}; it must be {} in [{}, {}]", what, known[i].name, values[i],
                               known[i].whole ? "a whole number" : "a number", known[i].low, known[i].high));
    }
  }
}

namespace {

void start_weights(Initialiser scheme, const GraphParameter& entry, MatrixView<float> weight, Random& random) {
  const double n = static_cast<double>(entry.fan_in), m = static_cast<double>(entry.fan_out);
  const bool he = scheme == Initialiser::he_normal || scheme == Initialiser::he_uniform;
  const bool uniform = scheme == Initialiser::he_uniform || scheme == Initialiser::glorot_uniform;
  const double variance = scheme == Initialiser::zeros          ? 0
                          : scheme == Initialiser::lecun_normal ? 1 / n
                          : he                                  ? 2 / n
                                                                : 2 / (n + m);
  const double deviation = std::sqrt(variance), reach = std::sqrt(3 * variance);
  for (std::size_t r = 0; r < weight.rows(); ++r) {
    for (float& w : weight.row(r)) {
      w = static_cast<float>(uniform ? random.uniform(-reach, reach) : deviation * random.normal());
    }
  }
}

}  // namespace

Arena& detail::serial_arena() {
  static Arena arena(1);
  return arena;
}

GraphWorkspace::GraphWorkspace(const Graph& graph, std::size_t rows, bool gradients)
    : rows_(rows), values_(rows * graph.value_size_) {
  op_scratch_.resize(rows * std::max(graph.op_scratch_, gradients ? graph.backward_scratch_ : 0));
  if (gradients) gradients_.resize(rows * (graph.value_size_ + graph.inputs()));
}

Graph::Graph(OpShape input, std::vector<GraphNode> nodes) : nodes_(std::move(nodes)) {
  parameters_.resize(plan(std::move(input)));
}

Graph::Graph(OpShape input, std::vector<GraphNode> nodes,
             function_ref<std::span<const float>(const GraphParameter&)> values)
    : nodes_(std::move(nodes)) {
  const std::size_t total = plan(std::move(input));
  std::vector<std::span<const float>> sources;
  for (const GraphParameter& entry : table_) {
    sources.push_back(values(entry));
    if (sources.back().size() != entry.size) {
      detail::fail(errc::shape_mismatch, fmt::format("graph: parameter {} got {} values; its shape is [{}]", entry.name,
                                                     sources.back().size(), fmt::join(entry.shape, ", ")));
    }
  }
  parameters_.resize(total);
  for (std::size_t i = 0; i < table_.size(); ++i) {
    std::copy(sources[i].begin(), sources[i].end(), parameters_.data() + table_[i].offset);
  }
}

std::size_t Graph::plan(OpShape input) {
  if (nodes_.empty() || nodes_.size() > most_nodes) {
    detail::fail(errc::invalid_argument,
                 fmt::format("graph: {} nodes; there must be 1 to {}", nodes_.size(), most_nodes));
  }
  sizes_.push_back(checked_size(input, "the input"));
  shapes_.push_back(std::move(input));
  std::size_t total = 0;
  for (std::size_t i = 0; i < nodes_.size(); ++i) {
    GraphNode& node = nodes_[i];
    const Op& op = find_op(node.op);
    ops_.push_back(&op);
    const std::string what = fmt::format("node {} ({})", i, node.op);
    if (node.inputs.size() > op.arity() || node.inputs.size() < op.least_arity()) {
      detail::fail(errc::shape_mismatch,
                   fmt::format("graph: {} has {} inputs; it takes {}", what, node.inputs.size(), op.arity()));
    }
    std::vector<OpShape> inputs;
    for (const auto tensor : node.inputs) {
      if (tensor > i) {
        detail::fail(errc::invalid_argument,
                     fmt::format("graph: {} uses tensor {}, but only 0 to {} exist before it", what, tensor, i));
      }
      inputs.push_back(shapes_[tensor]);
    }
    detail::complete_attributes(op, node.attributes, what);
    shapes_.push_back(op.infer(inputs, node.attributes));
    sizes_.push_back(checked_size(shapes_.back(), what));
    const std::size_t forward = op.scratch(inputs, node.attributes, false);
    const std::size_t backward = op.scratch(inputs, node.attributes, true);
    if (forward > most_tensors || backward > most_tensors) {
      detail::fail(errc::invalid_argument, fmt::format("graph: {} needs {} floats of scratch per row; the limit is {}",
                                                       what, std::max(forward, backward), most_tensors));
    }
    op_scratch_ = std::max(op_scratch_, forward);
    backward_scratch_ = std::max(backward_scratch_, backward);

    first_parameter_.push_back(table_.size());
    for (OpParameter& parameter : op.parameters(inputs, node.attributes)) {
      std::size_t size = 1;
      for (const auto extent : parameter.shape) size *= extent;
      const std::size_t columns = parameter.shape.size() > 0 ? parameter.shape.back() : 1;
      const std::size_t offset = (total + line - 1) / line * line;
      if (size > most_parameters || offset + size > most_parameters) {
        detail::fail(errc::invalid_argument,
                     fmt::format("graph: {} brings the parameters above the limit of {}", what, most_parameters));
      }
      table_.push_back({.node = static_cast<std::uint32_t>(i),
                        .name = fmt::format("graph.{}.{}", i, parameter.name),
                        .shape = std::move(parameter.shape),
                        .decay = parameter.decay,
                        .state = parameter.state,
                        .sparse = parameter.sparse,
                        .fan_in = parameter.fan_in ? parameter.fan_in : size / columns,
                        .fan_out = parameter.fan_out ? parameter.fan_out : columns,
                        .offset = offset,
                        .size = size});
      total = offset + size;
    }
    input_shapes_.push_back(std::move(inputs));
  }
  first_parameter_.push_back(table_.size());
  const auto last = static_cast<std::uint32_t>(nodes_.size());
  score_tensor_ = nodes_.back().op == "softmax" && nodes_.back().inputs[0] > 0 ? nodes_.back().inputs[0] : last;
  plan_scratch();
  plan_gradients();
  plan_shared();
  plan_gradient_places();
  return total;
}

/// Lays the tensors of a one-row prediction into as little scratch as a first fit finds: the place of a tensor is
/// free again after its last use. The output of the graph goes straight to the caller.
void Graph::plan_scratch() {
  const std::size_t tensors = sizes_.size();
  std::vector<std::size_t> last_use(tensors, 0);
  for (std::size_t i = 0; i < nodes_.size(); ++i) {
    for (const auto tensor : nodes_[i].inputs) last_use[tensor] = i + 1;
  }
  scratch_at_.assign(tensors, 0);
  value_at_.assign(tensors, 0);
  std::vector<std::uint32_t> live;  // by offset
  for (std::uint32_t t = 1; t < tensors; ++t) {
    value_at_[t] = value_size_;
    value_size_ += (sizes_[t] + line - 1) / line * line;
    if (t + 1 == tensors) break;
    std::erase_if(live, [&](std::uint32_t other) { return last_use[other] < t; });
    std::size_t offset = 0;
    auto place = live.begin();
    for (; place != live.end(); ++place) {
      if (scratch_at_[*place] >= offset + sizes_[t]) break;
      offset = scratch_at_[*place] + sizes_[*place];
    }
    scratch_at_[t] = offset;
    live.insert(place, t);
    scratch_size_ = std::max(scratch_size_, offset + sizes_[t]);
  }
  scratch_size_ += op_scratch_;  // the ops' own comes last
  predict_scratch_ = scratch_size_;
  if (value_size_ > most_tensors) {
    detail::fail(errc::invalid_argument, fmt::format("graph: the tensors of one row hold {} values; the limit is {}",
                                                     value_size_, most_tensors));
  }
}

void Graph::plan_gradients() {
  static_assert(max_op_inputs <= 8);
  std::vector<bool> written(score_tensor_ + 1, false);
  first_writes_.assign(score_tensor_, 0);
  for (std::size_t i = score_tensor_; i-- > 0;) {
    for (std::size_t s = 0; s < nodes_[i].inputs.size(); ++s) {
      const std::uint32_t tensor = nodes_[i].inputs[s];
      if (!written[tensor]) first_writes_[i] |= static_cast<std::uint8_t>(1u << s);
      written[tensor] = true;
    }
  }
  for (std::uint32_t t = 1; t < score_tensor_; ++t) {
    if (!written[t]) dead_ends_.push_back(t);
  }
}

/// A ReLU that is the only reader of an op that leads needs no pass of its own; a pool that is the only reader of that
/// ReLU is done row by row with the op. A reshape that is the only reader of a tensor is another name for it.
void Graph::plan_shared() {
  kept_as_.resize(sizes_.size());
  std::iota(kept_as_.begin(), kept_as_.end(), 0u);
  takes_relu_.assign(nodes_.size(), false);
  pool_behind_.assign(nodes_.size(), 0);
  learned_.assign(sizes_.size(), false);
  std::vector<std::uint32_t> readers(sizes_.size(), 0);
  for (std::size_t i = 0; i < nodes_.size(); ++i) {
    bool learned = first_parameter_[i + 1] > first_parameter_[i];
    for (const auto t : nodes_[i].inputs) learned |= learned_[t], ++readers[t];
    learned_[i + 1] = learned;
  }
  ++readers[score_tensor_];
  for (std::size_t i = 0; i < nodes_.size(); ++i) {
    const std::uint32_t source = nodes_[i].inputs.empty() ? 0 : nodes_[i].inputs[0];
    if (source == 0 || readers[source] != 1) continue;
    if (nodes_[i].op == "reshape") {
      kept_as_[i + 1] = kept_as_[source];
    } else if (nodes_[i].op == "relu" && ops_[source - 1]->leads()) {
      takes_relu_[source - 1] = takes_relu_[i] = true;
      kept_as_[source] = static_cast<std::uint32_t>(i + 1);
    } else if (i < score_tensor_ && ops_[i]->masks_relu() && takes_relu_[source - 1] &&
               nodes_[source - 1].op == "relu") {
      pool_behind_[nodes_[source - 1].inputs[0] - 1] = static_cast<std::uint32_t>(i);
      pool_behind_[i] = pool_behind_[source - 1] = static_cast<std::uint32_t>(i);
    }
  }
}

/// Backward, memory passes several times for every tensor. A sum hands its gradient down to both terms if whoever reads
/// one of them elsewhere comes after the other's op is done with it: residual branches copy nothing.
void Graph::plan_gradient_places() {
  gradient_as_ = kept_as_;
  std::vector<std::uint32_t> tenants(sizes_.size(), 0);  // per tensor: tensors that are kept as it
  for (const auto t : kept_as_) ++tenants[t];
  std::vector<std::vector<std::size_t>> readers(sizes_.size());
  for (std::size_t i = 0; i < score_tensor_; ++i)
    for (const auto t : nodes_[i].inputs) readers[t].push_back(i);
  const auto alone = [&](std::uint32_t t) {
    return t > 0 && t != score_tensor_ && kept_as_[t] == t && tenants[t] == 1;
  };
  std::vector<bool> lent(sizes_.size(), false);  // another tensor's gradient still lies there: it is read only
  for (std::size_t i = score_tensor_; i-- > 0;) {
    const auto output = static_cast<std::uint32_t>(i + 1);
    const auto& sources = nodes_[i].inputs;
    const GradientPlace place = ops_[i]->gradient_place();
    if (place == GradientPlace::apart || !alone(output) || lent[output]) continue;
    const auto takes = [&](std::uint32_t t) {
      for (std::size_t s = 0; s < sources.size(); ++s)
        if (sources[s] == t) return alone(t) && (first_writes_[i] >> s & 1) != 0;
      return false;
    };
    const auto others = [&](std::uint32_t t) {  // of its readers, all but this one: the last, plus 1
      std::size_t last = 0;
      for (const std::size_t reader : readers[t])
        if (reader != i) last = std::max(last, reader + 1);
      return last;
    };
    if (place == GradientPlace::over) {
      if (takes(sources[0]) && others(sources[0]) == 0) gradient_as_[sources[0]] = gradient_as_[output];
      continue;
    }
    if (sources.size() != 2 || sources[0] == sources[1]) continue;
    const auto [earlier, later] = std::minmax(sources[0], sources[1]);
    if (takes(earlier)) gradient_as_[earlier] = gradient_as_[output];
    // The op of `later` is the next to come; it must find what is there now.
    const bool both = takes(earlier) && others(later) == 0 && others(earlier) < later;
    if (takes(later) && (both || !takes(earlier))) gradient_as_[later] = gradient_as_[output];
    lent[later] = both && takes(later);
  }
}

std::size_t Graph::inputs() const noexcept { return sizes_.front(); }
std::size_t Graph::outputs() const noexcept { return sizes_.back(); }
const OpShape& Graph::input_shape() const noexcept { return shapes_.front(); }
std::size_t Graph::score_count() const noexcept { return sizes_[score_tensor_]; }

void Graph::compile(kernels::Precision precision, MatrixView<const float> calibration) {
  std::vector<TensorRange> ranges;
  if (precision == kernels::Precision::int8) {
    if (calibration.rows() == 0)
      detail::fail(errc::invalid_argument, "graph: int8 needs rows to calibrate with, there are none");
    if (calibration.cols() != inputs())
      detail::fail(errc::shape_mismatch, fmt::format("graph: rows to calibrate with have {} columns, must have {}",
                                                     calibration.cols(), inputs()));
    constexpr std::size_t block = 64;
    GraphWorkspace workspace(*this, block, false);
    ranges.resize(sizes_.size());
    const auto widen = [&](std::size_t t, std::span<const float> values) {
      for (const float v : values) {
        if (!std::isfinite(v))
          detail::fail(errc::invalid_argument, fmt::format("graph: {} at tensor {} of rows to calibrate with", v, t));
        ranges[t].lower = std::min(ranges[t].lower, v);
        ranges[t].upper = std::max(ranges[t].upper, v);
      }
    };
    for (std::size_t begin = 0; begin < calibration.rows(); begin += block) {
      const auto rows = calibration.slice(begin, std::min(calibration.rows(), begin + block));
      forward(rows, workspace);
      for (std::size_t r = 0; r < rows.rows(); ++r) {
        widen(0, rows.row(r));
        for (std::uint32_t t = 1; t < sizes_.size(); ++t) widen(t, value(workspace, t, rows.rows()).row(r));
      }
    }
  }
  precision_ = precision;
  ranges_ = std::move(ranges);
  compile();
}

void Graph::compile() {
  plan_ = Shared<const detail::GraphPlan>::make(*this);
  predict_scratch_ = plan_->scratch_size(1);
}

void Graph::initialise(std::uint64_t seed) {
  drop_plan();
  for (std::size_t i = 0; i < nodes_.size(); ++i) {
    Random random(seed, 0x9a00000000ULL + i);  // streams of their own
    std::array<MatrixView<float>, max_op_parameters> views;
    const std::size_t count = Call::parameter_views(*this, i, parameters_.data(), views);
    for (std::size_t p = 0; p < count; ++p) {
      for (std::size_t r = 0; r < views[p].rows(); ++r) std::fill_n(views[p].row(r).data(), views[p].cols(), 0.0f);
    }
    ops_[i]->initialise(std::span<const MatrixView<float>>(views.data(), count), random);
    if (nodes_[i].initialiser == Initialiser::standard) continue;
    for (std::size_t p = 0; p < count; ++p) {
      const GraphParameter& entry = table_[first_parameter_[i] + p];
      if (entry.decay) start_weights(nodes_[i].initialiser, entry, views[p], random);
    }
  }
}

/// `scratch` holds scratch_size() floats per row.
void Graph::run(MatrixView<const float> src, MatrixView<float> dst, std::span<float> scratch) const {
  const std::size_t rows = src.rows(), last = nodes_.size();
  const auto at = [&](std::uint32_t tensor) -> MatrixView<float> {
    return {scratch.data() + scratch_at_[tensor] * rows, rows, sizes_[tensor]};
  };
  for (std::size_t i = 0; i < last; ++i) {
    Call call;
    OpForward forward;
    call.fill(*this, i, forward, [&](std::uint32_t t) -> MatrixView<const float> { return t == 0 ? src : at(t); });
    forward.inputs = call.used(*this, i);
    forward.scratch = scratch.subspan((scratch_size_ - op_scratch_) * rows);
    forward.arena = rows > 1 ? &detail::serial_arena() : nullptr;  // one row never asks for it
    forward.output = i + 1 == last ? dst : at(static_cast<std::uint32_t>(i + 1));
    ops_[i]->forward(forward);
  }
}

void Graph::predict(std::span<const float> src, std::span<float> dst, std::span<float> scratch) const noexcept {
  const MatrixView<const float> from{src.data(), 1, src.size()};
  const MatrixView<float> to{dst.data(), 1, sizes_.back()};
  if (plan_) {
    plan_->run(*this, from, to, scratch, nullptr);
  } else {
    run(from, to, scratch);
  }
}

namespace {

/// Room for the values of a batch.
class BatchScratch : detail::KeptMemory<BatchScratch> {
 public:
  explicit BatchScratch(std::size_t floats)
      : KeptMemory(floats * sizeof(float), batch_scratch * sizeof(float)), size_(floats) {}
  std::span<float> floats() const noexcept { return {reinterpret_cast<float*>(data()), size_}; }

 private:
  std::size_t size_;
};

}  // namespace

void Graph::predict_batch(MatrixView<const float> src, MatrixView<float> dst, Arena* arena) const {
  if (src.cols() != inputs() || dst.cols() != outputs() || src.rows() != dst.rows()) {
    detail::fail(errc::shape_mismatch,
                 fmt::format("graph: src is {} x {} and dst is {} x {}; rows x {} and rows x {} are needed", src.rows(),
                             src.cols(), dst.rows(), dst.cols(), inputs(), outputs()));
  }
  if (plan_) {
    if (src.rows() == 0) return;
    const int threads = (arena ? *arena : Arena::default_arena()).threads();
    const std::size_t block = plan_->block(src.rows(), threads);
    if (src.rows() <= block) {
      const BatchScratch scratch(plan_->scratch_size(src.rows()));
      return plan_->run(*this, src, dst, scratch.floats(),
                        threads > 1 ? (arena ? arena : &Arena::default_arena()) : nullptr);
    }
    return parallel_for(
        src.rows(), block,
        [&](std::size_t begin, std::size_t end) {
          const BatchScratch scratch(plan_->scratch_size(end - begin));
          plan_->run(*this, src.slice(begin, end), dst.slice(begin, end), scratch.floats(), nullptr);
        },
        arena);
  }
  const std::size_t block = std::clamp(batch_scratch / (scratch_size_ + 1), std::size_t{1}, batch_rows);
  parallel_for(
      src.rows(), block,
      [&](std::size_t begin, std::size_t end) {
        std::vector<float> scratch((end - begin) * scratch_size_);
        run(src.slice(begin, end), dst.slice(begin, end), scratch);
      },
      arena);
}

void Graph::save(Archive& archive) const {
  const auto texts = [](const std::vector<std::uint32_t>& values) {
    std::vector<std::string> list;
    for (const auto v : values) list.push_back(std::to_string(v));
    return list;
  };
  archive.set_list("graph.input", texts(shapes_.front()));
  archive.set_int("graph.nodes", static_cast<std::int64_t>(nodes_.size()));
  for (std::size_t i = 0; i < nodes_.size(); ++i) {
    const std::string key = fmt::format("graph.{}.", i);
    archive.set(key + "op", nodes_[i].op);
    archive.set_list(key + "inputs", texts(nodes_[i].inputs));
    const auto known = ops_[i]->attributes();
    for (std::size_t a = 0; a < known.size(); ++a) {
      if (known[a].optional && nodes_[i].attributes[a] == known[a].fallback) continue;
      archive.set_number(key + std::string(known[a].name), nodes_[i].attributes[a]);
    }
  }
  if (precision_ != kernels::Precision::fp32) archive.set("graph.precision", to_string(precision_));
  if (precision_ == kernels::Precision::int8) {
    std::vector<float> ranges;
    for (const TensorRange& range : ranges_) ranges.insert(ranges.end(), {range.lower, range.upper});
    archive.put<float>("graph.ranges", ranges, std::vector<std::size_t>{ranges_.size(), 2});
  }
  for (const GraphParameter& entry : table_) {
    archive.put<float>(entry.name, parameters().subspan(entry.offset, entry.size), entry.shape);
  }
}

void Graph::read_precision(const Archive& archive) {
  if (!archive.has("graph.precision")) return;
  const std::string name = archive.get("graph.precision");
  for (const auto precision : {kernels::Precision::bf16, kernels::Precision::int8})
    if (name == to_string(precision)) precision_ = precision;
  if (precision_ == kernels::Precision::fp32)
    detail::fail(errc::corrupt, fmt::format("key \"graph.precision\" is \"{}\"; it must be bf16 or int8", name));
  if (precision_ == kernels::Precision::bf16) return;
  const auto ranges = archive.tensor<float>("graph.ranges");
  if (ranges.size() != 2 * sizes_.size())
    detail::fail(errc::corrupt, fmt::format("tensor \"graph.ranges\" has {} values; there are {} tensors",
                                            ranges.size(), sizes_.size()));
  const auto values = ranges.flat();
  for (std::size_t t = 0; t < sizes_.size(); ++t) {
    const TensorRange range{values[2 * t], values[2 * t + 1]};
    if (!(range.lower <= 0) || !(range.upper >= 0) || !std::isfinite(range.upper - range.lower))
      detail::fail(errc::corrupt,
                   fmt::format("tensor \"graph.ranges\", row {} is [{}, {}]; it must be finite and hold 0", t,
                               range.lower, range.upper));
    ranges_.push_back(range);
  }
}

namespace {

std::vector<std::uint32_t> read_list(const Archive& archive, const std::string& key, std::size_t longest) {
  const std::vector<std::string> texts = archive.get_list(key);
  if (texts.size() > longest) {
    detail::fail(errc::corrupt,
                 fmt::format("key \"{}\" lists {} numbers; at most {} make sense", key, texts.size(), longest));
  }
  std::vector<std::uint32_t> values;
  for (const std::string& text : texts) {
    std::uint32_t value = 0;
    const auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), value);
    if (error != std::errc{} || end != text.data() + text.size()) {
      detail::fail(errc::corrupt, fmt::format("key \"{}\" holds \"{}\", which is not a whole number", key, text));
    }
    values.push_back(value);
  }
  return values;
}

Shared<const Predictor> load_graph(const Archive& archive) {
  OpShape input = read_list(archive, "graph.input", most_dimensions);
  const std::int64_t count = archive.get_int("graph.nodes");
  if (count < 1 || count > static_cast<std::int64_t>(most_nodes)) {
    detail::fail(errc::corrupt, fmt::format("key \"graph.nodes\" is {}; it must be 1 to {}", count, most_nodes));
  }
  std::vector<GraphNode> nodes;
  for (std::int64_t i = 0; i < count; ++i) {
    const std::string key = fmt::format("graph.{}.", i);
    GraphNode node{.op = archive.get(key + "op"), .inputs = read_list(archive, key + "inputs", max_op_inputs)};
    for (const OpAttribute& attribute : find_op(node.op).attributes()) {
      const std::string name = key + std::string(attribute.name);
      const bool absent = attribute.optional && !archive.has(name);
      node.attributes.push_back(absent ? attribute.fallback : archive.get_number(name));
    }
    nodes.push_back(std::move(node));
  }
  try {
    auto graph = Shared<Graph>::make(std::move(input), std::move(nodes), [&](const GraphParameter& entry) {
      const auto tensor = archive.tensor<float>(entry.name);
      if (!std::equal(entry.shape.begin(), entry.shape.end(), tensor.shape().begin(), tensor.shape().end())) {
        detail::fail(errc::corrupt, fmt::format("tensor \"{}\" has shape [{}]; its node needs [{}]", entry.name,
                                                fmt::join(tensor.shape(), ", "), fmt::join(entry.shape, ", ")));
      }
      const auto values = tensor.flat();
      const auto bad = std::find_if_not(values.begin(), values.end(), [](float v) { return std::isfinite(v); });
      if (bad != values.end()) {
        detail::fail(errc::corrupt, fmt::format("tensor \"{}\", value {} is {}; it must be finite", entry.name,
                                                bad - values.begin(), *bad));
      }
      return values;
    });
    graph->read_precision(archive);
    graph->compile();
    return graph;
  } catch (const Error& error) {
    if (error.code() == errc::corrupt) throw;
    detail::fail(errc::corrupt, error.what());
  }
}

}  // namespace

extern "C" const int redoubt_form_graph = register_form("graph", &load_graph);

}  // namespace redoubt
