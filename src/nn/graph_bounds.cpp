// Bounds of the scores over a box, for certification: intervals, and linear functions of the inputs.
#include "nn/graph_bounds.hpp"

#include <fmt/format.h>

#include <algorithm>
#include <cmath>
#include <limits>

#include "nn/graph_plan.hpp"
#include "redoubt/core/error.hpp"

namespace redoubt {
namespace {

constexpr double half_ulp = 0x1p-24;
constexpr std::size_t most_rows = 64;  // of a backward pass: its tensors stay in cache

float below(double value) { return std::nextafter(static_cast<float>(value), -std::numeric_limits<float>::infinity()); }
float above(double value) { return std::nextafter(static_cast<float>(value), std::numeric_limits<float>::infinity()); }

}  // namespace

std::vector<double> Graph::Box::winograd_errors(const Graph& graph, std::size_t i) const {
  std::vector<double> errors;
  if (!graph.plan_) return errors;
  const detail::GraphPlan::WinogradError& found = graph.plan_->winograd_error(i);
  if (found.factor.empty()) return errors;
  double largest = 0;
  for (std::size_t v = 0; v < graph.sizes_[found.of]; ++v)
    largest = std::max({largest, std::abs(static_cast<double>(low(graph, found.of)[v])),
                        std::abs(static_cast<double>(high(graph, found.of)[v]))});
  for (const float factor : found.factor) errors.push_back(1.01 * factor * largest + 1e-36);
  return errors;
}

/// Takes linear functions of a tensor back to the inputs. Everything holds for the floats of one forward pass: the
/// output of an affine op is that of real numbers on its float inputs, plus an error that is at most
/// terms * 2^-24 * (|W| |x| + |b|); the rounding of the backward product is at most as much again.
struct Graph::LinearPass {
  enum class Kind : std::uint8_t { affine, lines, box };
  struct Node {
    Kind kind = Kind::box;
    std::vector<double> error, constant;  // affine: of each output; its value for inputs of zero
    std::vector<float> slope_below, slope_above;
    std::vector<double> offset_below, offset_above, slack;
  };
  std::vector<Node> nodes;
  std::vector<std::uint32_t> uses;  // per tensor
  std::vector<bool> direct;         // per tensor: the input, or the same values under another shape

  explicit LinearPass(const Graph& graph) : uses(graph.sizes_.size()), direct(graph.sizes_.size()) {
    direct[0] = true;
    for (const GraphNode& node : graph.nodes_)
      for (const auto t : node.inputs) ++uses[t];
  }

  /// The lines around the values of an activation; empty if the op has none.
  Node lines(const Graph& graph, const Box& box, std::size_t i) const {
    Node node;
    const std::uint32_t source = graph.nodes_[i].inputs[0];
    const std::size_t size = graph.sizes_[source];
    if (graph.nodes_[i].inputs.size() != 1 || size != graph.sizes_[i + 1]) return node;
    node.slope_below.resize(size);
    node.slope_above.resize(size);
    node.offset_below.resize(size);
    node.offset_above.resize(size);
    const bool has = graph.ops_[i]->lines({.attributes = graph.nodes_[i].attributes,
                                           .lower = {box.low(graph, source), size},
                                           .upper = {box.high(graph, source), size},
                                           .slope_below = node.slope_below,
                                           .slope_above = node.slope_above,
                                           .offset_below = node.offset_below,
                                           .offset_above = node.offset_above});
    if (!has) return Node{};
    node.kind = Kind::lines;
    return node;
  }

  /// Once the boxes of its inputs and of its output are known.
  void add(const Graph& graph, const Box& box, std::size_t i) {
    const auto& sources = graph.nodes_[i].inputs;
    const Op& op = *graph.ops_[i];
    const std::size_t size = graph.sizes_[i + 1];
    const std::size_t terms = op.affine_terms(graph.input_shapes_[i], graph.nodes_[i].attributes);
    direct[i + 1] = op.name() == "reshape" && direct[sources[0]];
    std::uint32_t users = 1;
    for (const auto t : sources) users = std::max(users, uses[t]);
    if (terms == 0) {
      Node node = lines(graph, box, i);
      if (node.kind == Kind::lines) {
        const float *low = box.low(graph, sources[0]), *high = box.high(graph, sources[0]);
        node.slack.resize(size);
        for (std::size_t v = 0; v < size; ++v) {
          const double largest = std::max(std::abs(low[v]), std::abs(high[v]));
          const double slope = std::max(std::abs(node.slope_below[v]), std::abs(node.slope_above[v]));
          node.slack[v] = 2 * (users + 1) * half_ulp * slope * largest + 1e-36;
        }
      }
      return nodes.push_back(std::move(node));
    }
    Node node{.kind = Kind::affine};
    std::array<std::vector<float>, max_op_inputs> down, up, zero;
    for (std::size_t s = 0; s < sources.size(); ++s) {
      const float *low = box.low(graph, sources[s]), *high = box.high(graph, sources[s]);
      up[s].resize(graph.sizes_[sources[s]]);
      for (std::size_t v = 0; v < up[s].size(); ++v) up[s][v] = std::max(std::abs(low[v]), std::abs(high[v]));
      down[s] = up[s];
      for (float& v : down[s]) v = -v;
      zero[s].assign(up[s].size(), 0.0f);
    }
    const auto view = [&](const auto& values) {
      return [&](std::uint32_t t) -> MatrixView<const float> {
        const auto s = static_cast<std::size_t>(std::find(sources.begin(), sources.end(), t) - sources.begin());
        return {values[s].data(), 1, values[s].size()};
      };
    };
    std::vector<float> lowest(size), highest(size), scratch(graph.op_scratch_);
    Call a, b;
    OpBounds bounds;
    a.fill(graph, i, bounds, view(down));
    b.fill(graph, i, bounds, view(up));
    bounds.input_lower = a.used(graph, i);
    bounds.input_upper = b.used(graph, i);
    bounds.output_lower = {lowest.data(), 1, size};
    bounds.output_upper = {highest.data(), 1, size};
    bounds.arena = &detail::serial_arena();
    op.bounds(bounds);
    node.error.resize(size);
    const auto folding = graph.plan_ ? graph.plan_->folding_error(i) : std::span<const float>{};
    for (std::size_t v = 0; v < size; ++v) {
      const double largest = std::max(std::abs(lowest[v]), std::abs(highest[v]));
      node.error[v] =
          2 * static_cast<double>(terms + users + 8) * half_ulp * largest + 1e-36 * static_cast<double>(terms);
      if (!folding.empty()) node.error[v] += 1.001 * folding[v % folding.size()] + 2 * half_ulp * largest;
    }
    const std::vector<double> products = box.winograd_errors(graph, i);
    for (std::size_t v = 0; v < (products.empty() ? 0 : size); ++v) node.error[v] += products[v % products.size()];
    Call at;
    OpForward forward;
    at.fill(graph, i, forward, view(zero));
    forward.inputs = at.used(graph, i);
    forward.output = {lowest.data(), 1, size};
    forward.scratch = scratch;
    forward.arena = &detail::serial_arena();
    op.forward(forward);
    node.constant.assign(lowest.begin(), lowest.end());
    nodes.push_back(std::move(node));
  }

  /// result[r] <= coefficients[r] * tensor, over the box. At most most_rows rows.
  void lower_bounds(const Graph& graph, const Box& box, std::uint32_t tensor,
                    const MatrixView<const float>& coefficients, std::span<double> result) const {
    const std::size_t rows = coefficients.rows();
    std::vector<std::vector<float>> slopes(tensor + 1u);
    slopes[tensor].assign(coefficients.data(), coefficients.data() + rows * coefficients.cols());
    std::fill(result.begin(), result.end(), 0.0);
    std::size_t widest = 0;
    for (std::uint32_t t = 0; t <= tensor; ++t) widest = std::max(widest, graph.sizes_[t]);
    const std::vector<float> zeros(rows * widest, 0.0f);
    std::vector<float> scratch(rows * graph.backward_scratch_);
    for (std::uint32_t t = tensor; t > 0; --t) {
      if (slopes[t].empty()) continue;
      const std::vector<float> from = std::move(slopes[t]);
      const std::size_t i = t - 1u, size = graph.sizes_[t];
      const Node& node = nodes[i];
      const auto& sources = graph.nodes_[i].inputs;
      if (node.kind == Kind::box) {
        concretise(from, box.low(graph, t), box.high(graph, t), size, result);
        continue;
      }
      for (const auto s : sources)
        if (slopes[s].empty()) slopes[s].assign(rows * graph.sizes_[s], 0.0f);
      if (node.kind == Kind::lines) {
        for (std::size_t r = 0; r < rows; ++r) {
          const float* const a = from.data() + r * size;
          float* const to = slopes[sources[0]].data() + r * size;
          double sum = 0;
          for (std::size_t v = 0; v < size; ++v) {
            to[v] += a[v] * (a[v] > 0 ? node.slope_below[v] : node.slope_above[v]);
            sum += a[v] * (a[v] > 0 ? node.offset_below[v] : node.offset_above[v]) - std::abs(a[v]) * node.slack[v];
          }
          result[r] += sum;
        }
        continue;
      }
      for (std::size_t r = 0; r < rows; ++r) {
        const float* const a = from.data() + r * size;
        double sum = 0;
        for (std::size_t v = 0; v < size; ++v) sum += a[v] * node.constant[v] - std::abs(a[v]) * node.error[v];
        result[r] += sum;
      }
      Call call;
      OpBackward backward;
      call.fill(graph, i, backward, [&](std::uint32_t s) -> MatrixView<const float> {
        return {zeros.data(), rows, graph.sizes_[s]};
      });
      std::array<MatrixView<float>, max_op_inputs> to;
      for (std::size_t s = 0; s < sources.size(); ++s)
        to[s] = {slopes[sources[s]].data(), rows, graph.sizes_[sources[s]]};
      const std::array<MatrixView<float>, max_op_parameters> none;
      backward.inputs = call.used(graph, i);
      backward.output = {zeros.data(), rows, size};
      backward.output_gradient = {from.data(), rows, size};
      backward.input_gradients = std::span<const MatrixView<float>>(to.data(), sources.size());
      backward.parameter_gradients = std::span<const MatrixView<float>>(none.data(), backward.parameters.size());
      backward.scratch = scratch;
      backward.arena = &detail::serial_arena();
      graph.ops_[i]->backward(backward);
    }
    if (!slopes[0].empty()) concretise(slopes[0], box.low(graph, 0), box.high(graph, 0), graph.sizes_[0], result);
    // Sums in double; an infinite box gives NaN, of which nothing follows.
    for (double& v : result) v = v == v ? v - 1e-12 * std::abs(v) : -std::numeric_limits<double>::infinity();
  }

  static void concretise(const std::vector<float>& slopes, const float* low, const float* high, std::size_t size,
                         std::span<double> result) {
    for (std::size_t r = 0; r < result.size(); ++r) {
      const float* const a = slopes.data() + r * size;
      double sum = 0, magnitude = 0;
      for (std::size_t v = 0; v < size; ++v) {
        if (a[v] == 0) continue;
        const double term = static_cast<double>(a[v]) * (a[v] > 0 ? low[v] : high[v]);
        sum += term;
        magnitude += std::abs(term);
      }
      result[r] += sum - 1e-12 * magnitude;
    }
  }

  /// Tightens the values of a tensor for which `open` holds.
  template <class Open>
  void tighten(const Graph& graph, std::uint32_t tensor, Box& box, Open open) const {
    const std::size_t size = graph.sizes_[tensor];
    std::vector<std::size_t> picked;
    for (std::size_t v = 0; v < size; ++v)
      if (open(v)) picked.push_back(v);
    std::vector<float> coefficients(std::min(most_rows, 2 * picked.size()) * size, 0.0f);
    for (std::size_t first = 0; first < picked.size(); first += most_rows / 2) {
      const std::size_t count = std::min(most_rows / 2, picked.size() - first);
      std::fill(coefficients.begin(), coefficients.end(), 0.0f);
      std::array<double, most_rows> result;
      for (std::size_t k = 0; k < count; ++k) {
        coefficients[2 * k * size + picked[first + k]] = 1;
        coefficients[(2 * k + 1) * size + picked[first + k]] = -1;
      }
      lower_bounds(graph, box, tensor, {coefficients.data(), 2 * count, size}, std::span(result).first(2 * count));
      for (std::size_t k = 0; k < count; ++k) {
        const std::size_t at = graph.value_at_[tensor] + picked[first + k];
        box.lower[at] = std::max(box.lower[at], below(result[2 * k]));
        box.upper[at] = std::min(box.upper[at], above(-result[2 * k + 1]));
      }
    }
  }

  /// Tightens what later ops are not exact about.
  void refine(const Graph& graph, std::uint32_t tensor, Box& box) const {
    const auto& sources = graph.nodes_[tensor - 1u].inputs;
    if (std::all_of(sources.begin(), sources.end(), [&](auto t) { return direct[t]; })) return;  // is exact
    std::vector<bool> open(graph.sizes_[tensor], false);
    bool any = false;
    for (std::size_t i = tensor; i < graph.score_tensor_; ++i) {
      const auto& inputs = graph.nodes_[i].inputs;
      if (std::find(inputs.begin(), inputs.end(), tensor) == inputs.end()) continue;
      if (graph.ops_[i]->affine_terms(graph.input_shapes_[i], graph.nodes_[i].attributes) > 0) continue;
      const Node node = lines(graph, box, i);
      for (std::size_t v = 0; v < open.size(); ++v) {
        if (node.kind == Kind::lines && node.slope_below[v] == node.slope_above[v] &&
            node.offset_above[v] - node.offset_below[v] <= 1e-6) {
          continue;
        }
        open[v] = any = true;
      }
    }
    if (any) tighten(graph, tensor, box, [&](std::size_t v) { return open[v]; });
  }
};

Graph::Box Graph::propagate(std::span<const float> lower, std::span<const float> upper, GraphBounds method) const {
  if (precision_ != kernels::Precision::fp32) {
    detail::fail(errc::unsupported,
                 fmt::format("graph: bounds hold for fp32; this one predicts in {}", to_string(precision_)));
  }
  if (lower.size() != inputs() || upper.size() != inputs()) {
    detail::fail(errc::shape_mismatch, fmt::format("graph: the box has {} lower and {} upper bounds; {} are needed",
                                                   lower.size(), upper.size(), inputs()));
  }
  for (std::size_t i = 0; i < lower.size(); ++i) {
    if (!(lower[i] <= upper[i]) || !std::isfinite(lower[i]) || !std::isfinite(upper[i])) {
      detail::fail(
          errc::invalid_argument,
          fmt::format("graph: input {} lies in [{}, {}]; bounds must be finite and in order", i, lower[i], upper[i]));
    }
  }
  Box box{lower, upper, std::vector<float>(value_size_), std::vector<float>(value_size_), nullptr};
  if (method != GraphBounds::interval) box.linear = std::make_shared<LinearPass>(*this);
  for (std::size_t i = 0; i < score_tensor_; ++i) {
    const auto tensor = static_cast<std::uint32_t>(i + 1);
    Call low, high;
    OpBounds bounds;
    low.fill(*this, i, bounds, [&](std::uint32_t t) -> MatrixView<const float> {
      return {box.low(*this, t), 1, sizes_[t]};
    });
    high.fill(*this, i, bounds, [&](std::uint32_t t) -> MatrixView<const float> {
      return {box.high(*this, t), 1, sizes_[t]};
    });
    bounds.input_lower = low.used(*this, i);
    bounds.input_upper = high.used(*this, i);
    bounds.output_lower = {box.lower.data() + value_at_[tensor], 1, sizes_[tensor]};
    bounds.output_upper = {box.upper.data() + value_at_[tensor], 1, sizes_[tensor]};
    bounds.arena = &detail::serial_arena();
    ops_[i]->bounds(bounds);
    const std::span<const float> error = plan_ ? plan_->folding_error(i) : std::span<const float>{};
    for (std::size_t v = 0; v < (error.empty() ? 0 : sizes_[tensor]); ++v) {
      bounds.output_lower(0, v) = std::nextafter(bounds.output_lower(0, v) - error[v % error.size()], -INFINITY);
      bounds.output_upper(0, v) = std::nextafter(bounds.output_upper(0, v) + error[v % error.size()], INFINITY);
    }
    const std::vector<double> products = box.winograd_errors(*this, i);
    for (std::size_t v = 0; v < (products.empty() ? 0 : sizes_[tensor]); ++v) {
      const double error = products[v % products.size()];
      bounds.output_lower(0, v) = std::nextafter(static_cast<float>(bounds.output_lower(0, v) - error), -INFINITY);
      bounds.output_upper(0, v) = std::nextafter(static_cast<float>(bounds.output_upper(0, v) + error), INFINITY);
    }
    if (!box.linear) continue;
    box.linear->add(*this, box, i);
    if (method == GraphBounds::crown) box.linear->refine(*this, tensor, box);
  }
  return box;
}

void Graph::bounds(std::span<const float> lower, std::span<const float> upper, std::span<float> dst_lower,
                   std::span<float> dst_upper, GraphBounds method) const {
  if (dst_lower.size() != score_count() || dst_upper.size() != score_count()) {
    detail::fail(errc::shape_mismatch, fmt::format("graph: bounds into {} and {} floats; there are {} scores",
                                                   dst_lower.size(), dst_upper.size(), score_count()));
  }
  Box box = propagate(lower, upper, method);
  if (box.linear) box.linear->tighten(*this, score_tensor_, box, [](std::size_t) { return true; });
  const std::size_t at = value_at_[score_tensor_];
  std::copy_n(box.lower.data() + at, score_count(), dst_lower.begin());
  std::copy_n(box.upper.data() + at, score_count(), dst_upper.begin());
}

void Graph::margin_bounds(std::span<const float> lower, std::span<const float> upper, std::size_t label,
                          std::span<float> dst, GraphBounds method) const {
  const std::size_t count = score_count();
  if (label >= count || dst.size() != count) {
    detail::fail(errc::invalid_argument, fmt::format("graph: margins of label {} into {} floats; there are {} scores",
                                                     label, dst.size(), count));
  }
  const Box box = propagate(lower, upper, method);
  const std::size_t node = score_tensor_ - 1, at = value_at_[score_tensor_];
  if (ops_[node]->name() != "dense" || nodes_[node].attributes[1] != 0) {
    for (std::size_t k = 0; k < count; ++k) {
      dst[k] = k == label ? 0.0f : box.lower[at + label] - box.upper[at + k];
    }
  } else {
    const std::uint32_t source = nodes_[node].inputs[0];
    const std::size_t width = sizes_[source];
    const float *low = box.low(*this, source), *high = box.high(*this, source);
    std::array<MatrixView<const float>, max_op_parameters> parameters;
    Call::parameter_views(*this, node, parameters_.data(), parameters);
    const auto weight = parameters[0], bias = parameters[1];
    // What the served floats may differ from the real scores: (k + 1) roundings of each of the two products.
    const double rounding = 2.0 * (static_cast<double>(width) + 2) * half_ulp;
    for (std::size_t k = 0; k < count; ++k) {
      if (k == label) {
        dst[k] = 0;
        continue;
      }
      double margin = static_cast<double>(bias(0, label)) - bias(0, k);
      double size = std::abs(static_cast<double>(bias(0, label))) + std::abs(static_cast<double>(bias(0, k)));
      for (std::size_t i = 0; i < width; ++i) {
        const double own = weight(i, label), other = weight(i, k), difference = own - other;
        margin += difference * (difference > 0 ? low[i] : high[i]);
        size += (std::abs(own) + std::abs(other)) * std::max(std::abs(low[i]), std::abs(high[i]));
      }
      margin -= rounding * size;
      dst[k] = below(margin);
    }
  }
  if (!box.linear) return;
  std::vector<float> coefficients(most_rows * count);
  std::vector<double> result(most_rows);
  for (std::size_t first = 0; first < count; first += most_rows) {
    const std::size_t some = std::min(most_rows, count - first);
    std::fill(coefficients.begin(), coefficients.end(), 0.0f);
    for (std::size_t k = 0; k < some; ++k) {
      coefficients[k * count + label] += 1;
      coefficients[k * count + first + k] -= 1;
    }
    box.linear->lower_bounds(*this, box, score_tensor_, {coefficients.data(), some, count},
                             std::span(result).first(some));
    for (std::size_t k = 0; k < some; ++k) {
      if (first + k != label) dst[first + k] = std::max(dst[first + k], below(result[k]));
    }
  }
}

}  // namespace redoubt
