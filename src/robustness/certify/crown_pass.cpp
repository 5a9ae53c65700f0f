#include "robustness/certify/crown_pass.hpp"

#include <algorithm>
#include <array>

#include "redoubt/core/parallel.hpp"

namespace redoubt::detail {

CrownPass::CrownPass(const Graph& graph, IntervalPass& boxes, std::size_t rows)
    : graph_(graph), boxes_(boxes), scores_(graph.score_count()) {
  start_ = boxes.folded_ ? graph.nodes()[boxes.last_].inputs[0] : static_cast<std::uint32_t>(boxes.last_);
  const std::size_t functions = rows * scores_;
  used_.assign(start_ + 1u, false);
  used_[start_] = true;
  std::size_t widest = 0, scratch = 0;
  for (std::uint32_t t = start_; t > 0; --t) {
    widest = std::max(widest, boxes.sizes_[t]);
    if (!used_[t] || kind(t - 1u) == Kind::box) continue;
    const GraphNode& node = graph.nodes()[t - 1u];
    const auto& shapes = boxes.nodes_[t - 1u].shapes;
    for (const auto s : node.inputs) used_[s] = true;
    scratch = std::max({scratch, boxes.nodes_[t - 1u].op->scratch(shapes, node.attributes, false),
                        boxes.nodes_[t - 1u].op->scratch(shapes, node.attributes, true)});
  }
  widest = std::max(widest, boxes.sizes_[0]);
  slopes_.resize(start_ + 1u);
  slope_gradients_.resize(start_ + 1u);
  constants_.resize(start_);
  for (std::uint32_t t = 0; t <= start_; ++t) {
    if (!used_[t]) continue;
    slopes_[t].resize(functions * boxes.sizes_[t]);
    slope_gradients_[t].resize(functions * boxes.sizes_[t]);
    if (t > 0) constants_[t - 1u].resize(boxes.sizes_[t]);
  }
  weights_.resize(graph.parameters().size());
  zeros_.resize(functions * widest);
  scaled_.resize(functions * widest);
  scratch_.resize(functions * scratch);
  worst_.resize(functions);
  seeds_.resize(functions);
}

CrownPass::Kind CrownPass::kind(std::size_t node) const {
  const auto& one = boxes_.nodes_[node];
  if (one.weighted) return Kind::weighted;
  if (one.op->affine_terms(one.shapes, graph_.nodes()[node].attributes) > 0) return Kind::affine;
  return one.op->name() == "relu" || one.op->name() == "leaky_relu" ? Kind::relu : Kind::box;
}

/// Above an open activation its chord, below it the slope that leaves the smaller area; derivatives by the box.
CrownPass::Line CrownPass::line(float low, float high, float alpha, bool above) {
  if (low >= 0) return {1, 0, 0, 0, 0, 0};
  if (high <= 0) return {alpha, 0, 0, 0, 0, 0};
  if (!above) return {high > -low ? 1.0f : alpha, 0, 0, 0, 0, 0};
  const float width = high - low, slope = (high - alpha * low) / width;
  const float by_lower = (1 - alpha) * high / (width * width), by_upper = -(1 - alpha) * low / (width * width);
  return {slope, alpha * low - slope * low, by_lower, by_upper, alpha - slope - low * by_lower, -low * by_upper};
}

void CrownPass::functions_back(std::size_t node, std::size_t rows, Arena* arena) {
  const auto& one = boxes_.nodes_[node];
  const GraphNode& source = graph_.nodes()[node];
  const std::size_t size = boxes_.sizes_[node + 1], functions = rows * scores_;
  const std::vector<float>& from = slopes_[node + 1];
  std::array<MatrixView<const float>, max_op_inputs> inputs;
  std::array<MatrixView<float>, max_op_inputs> to;
  for (std::size_t s = 0; s < source.inputs.size(); ++s) {
    const auto t = source.inputs[s];
    inputs[s] = {zeros_.data(), functions, boxes_.sizes_[t]};
    to[s] = {slopes_[t].data(), functions, boxes_.sizes_[t]};
  }
  const auto parameters = boxes_.views(one, weights_.data());
  const std::vector<MatrixView<float>> none(parameters.size());
  OpBackward call;
  boxes_.describe(call, node, parameters, scratch_, arena);
  call.inputs = std::span<const MatrixView<const float>>(inputs.data(), source.inputs.size());
  call.output = {zeros_.data(), functions, size};
  call.output_gradient = {from.data(), functions, size};
  call.input_gradients = std::span<const MatrixView<float>>(to.data(), source.inputs.size());
  call.parameter_gradients = none;
  one.op->backward(call);
}

void CrownPass::forward(MatrixView<const float> lower, MatrixView<const float> upper,
                        std::span<const std::size_t> labels, Arena* arena) {
  const std::size_t rows = lower.rows();
  for (const GraphParameter& entry : graph_.parameter_table()) {
    if (entry.decay) std::copy_n(graph_.parameters().data() + entry.offset, entry.size, weights_.data() + entry.offset);
  }
  for (std::uint32_t t = 0; t < start_; ++t) {
    if (used_[t]) std::fill_n(slopes_[t].begin(), rows * scores_ * boxes_.sizes_[t], 0.0f);
  }
  const std::size_t width = boxes_.sizes_[start_];
  const auto last = boxes_.folded_ ? boxes_.views(boxes_.nodes_[boxes_.last_], graph_.parameters().data())
                                   : std::vector<MatrixView<const float>>{};
  const auto each_row = [&](const auto& f) {
    parallel_for(
        rows, 4,
        [&](std::size_t begin, std::size_t end) {
          for (std::size_t r = begin; r < end; ++r)
            for (std::size_t k = 0; k < scores_; ++k) f(r, k, r * scores_ + k);
        },
        arena);
  };
  each_row([&](std::size_t r, std::size_t k, std::size_t at) {
    float* const a = slopes_[start_].data() + at * width;
    if (boxes_.folded_) {
      for (std::size_t i = 0; i < width; ++i) a[i] = last[0](i, k) - last[0](i, labels[r]);
      worst_[at] = last[1](0, k) - last[1](0, labels[r]);
    } else {
      std::fill_n(a, width, 0.0f);
      a[k] += 1;
      a[labels[r]] -= 1;
      worst_[at] = 0;
    }
  });
  for (std::uint32_t t = start_; t > 0; --t) {
    if (!used_[t]) continue;
    const std::size_t node = t - 1u, size = boxes_.sizes_[t];
    const GraphNode& source = graph_.nodes()[node];
    const auto way = kind(node);
    if (way == Kind::weighted) {
      const auto parameters = boxes_.views(boxes_.nodes_[node], graph_.parameters().data());
      const MatrixView<const float> zero{zeros_.data(), 1, boxes_.sizes_[source.inputs[0]]};
      OpForward call;
      call.attributes = source.attributes;
      call.parameters = parameters;
      call.shapes = boxes_.nodes_[node].shapes;
      call.scratch = scratch_;
      call.arena = arena;
      call.inputs = {&zero, 1};
      call.output = {constants_[node].data(), 1, size};
      boxes_.nodes_[node].op->forward(call);
    }
    const auto low = way == Kind::relu ? boxes_.low(source.inputs[0], lower) : boxes_.low(t, lower);
    const auto high = way == Kind::relu ? boxes_.high(source.inputs[0], upper) : boxes_.high(t, upper);
    const float alpha = source.op == "leaky_relu" ? static_cast<float>(source.attributes[0]) : 0.0f;
    each_row([&](std::size_t r, std::size_t, std::size_t at) {
      const float* const a = slopes_[t].data() + at * size;
      float sum = 0;
      if (way == Kind::weighted) {
        for (std::size_t v = 0; v < size; ++v) sum += a[v] * constants_[node][v];
      } else if (way == Kind::box) {
        for (std::size_t v = 0; v < size; ++v) sum += a[v] * (a[v] > 0 ? high(r, v) : low(r, v));
      } else if (way == Kind::relu) {
        float* const to = slopes_[source.inputs[0]].data() + at * size;
        for (std::size_t v = 0; v < size; ++v) {
          const Line l = line(low(r, v), high(r, v), alpha, a[v] > 0);
          to[v] += a[v] * l.slope;
          sum += a[v] * l.offset;
        }
      }
      worst_[at] += sum;
    });
    if (way == Kind::weighted || way == Kind::affine) functions_back(node, rows, arena);
  }
  if (!used_[0]) return;
  const std::size_t columns = boxes_.sizes_[0];
  each_row([&](std::size_t r, std::size_t, std::size_t at) {
    const float* const a = slopes_[0].data() + at * columns;
    float sum = 0;
    for (std::size_t i = 0; i < columns; ++i) sum += a[i] * (a[i] > 0 ? upper(r, i) : lower(r, i));
    worst_[at] += sum;
  });
}

/// The gradient by the function of the output of an affine node, from those of its inputs; and by its parameters.
void CrownPass::gradients_forward(std::size_t node, std::size_t rows, std::span<float> gradient, Arena* arena) {
  const auto& one = boxes_.nodes_[node];
  const GraphNode& source = graph_.nodes()[node];
  const std::size_t size = boxes_.sizes_[node + 1], functions = rows * scores_;
  const auto parameters = boxes_.views(one, weights_.data());
  std::array<MatrixView<const float>, max_op_inputs> inputs;
  for (std::size_t s = 0; s < source.inputs.size(); ++s)
    inputs[s] = {slope_gradients_[source.inputs[s]].data(), functions, boxes_.sizes_[source.inputs[s]]};
  float* const to = slope_gradients_[node + 1].data();
  OpForward call;
  boxes_.describe(call, node, parameters, scratch_, arena);
  call.inputs = std::span<const MatrixView<const float>>(inputs.data(), source.inputs.size());
  call.output = {to, functions, size};
  one.op->forward(call);
  if (!one.weighted) return;
  const float* const a = slopes_[node + 1].data();
  parallel_for(
      functions, 16,
      [&](std::size_t begin, std::size_t end) {
        for (std::size_t at = begin; at < end; ++at) {
          for (std::size_t v = 0; v < size; ++v) {
            to[at * size + v] += seeds_[at] * constants_[node][v];
            scaled_[at * size + v] = seeds_[at] * a[at * size + v];
          }
        }
      },
      arena);
  const auto& table = graph_.parameter_table();
  const auto shaped = [&](std::size_t p) -> MatrixView<float> {
    const GraphParameter& entry = table[one.first_parameter + p];
    return {gradient.data() + entry.offset, entry.shape.size() == 2 ? entry.shape[0] : 1, entry.shape.back()};
  };
  const MatrixView<float> nothing;
  for (const bool weight : {true, false}) {
    const std::array<MatrixView<float>, 2> by{weight ? shaped(0) : nothing, weight ? nothing : shaped(1)};
    OpBackward back;
    boxes_.describe(back, node, parameters, scratch_, arena);
    back.inputs = call.inputs;
    back.output = {zeros_.data(), functions, size};
    back.output_gradient = {weight ? a : scaled_.data(), functions, size};
    back.input_gradients = {&nothing, 1};
    back.parameter_gradients = by;
    one.op->backward(back);
  }
}

void CrownPass::backward(MatrixView<const float> lower, MatrixView<const float> upper,
                         std::span<const std::size_t> labels, std::span<float> gradient, Arena* arena) {
  const std::size_t rows = lower.rows();
  for (std::size_t r = 0; r < rows; ++r) seeds_[r * scores_ + labels[r]] = 0;
  const auto each_row = [&](const auto& f) {
    parallel_for(
        rows, 4,
        [&](std::size_t begin, std::size_t end) {
          for (std::size_t r = begin; r < end; ++r)
            for (std::size_t k = 0; k < scores_; ++k) f(r, r * scores_ + k);
        },
        arena);
  };
  if (used_[0]) {
    const std::size_t columns = boxes_.sizes_[0];
    each_row([&](std::size_t r, std::size_t at) {
      const float* const a = slopes_[0].data() + at * columns;
      float* const to = slope_gradients_[0].data() + at * columns;
      for (std::size_t i = 0; i < columns; ++i) to[i] = seeds_[at] * (a[i] > 0 ? upper(r, i) : lower(r, i));
    });
  }
  for (std::uint32_t t = 1; t <= start_; ++t) {
    if (!used_[t]) continue;
    const std::size_t node = t - 1u, size = boxes_.sizes_[t];
    const GraphNode& source = graph_.nodes()[node];
    const auto way = kind(node);
    if (way == Kind::weighted || way == Kind::affine) {
      gradients_forward(node, rows, gradient, arena);
      continue;
    }
    const std::uint32_t boxed = way == Kind::relu ? source.inputs[0] : t;
    const auto low = boxes_.low(boxed, lower), high = boxes_.high(boxed, upper);
    const float alpha = source.op == "leaky_relu" ? static_cast<float>(source.attributes[0]) : 0.0f;
    each_row([&](std::size_t r, std::size_t at) {
      const float* const a = slopes_[t].data() + at * size;
      float* const to = slope_gradients_[t].data() + at * size;
      const float g = seeds_[at];
      float* const by_lower = boxed > 0 ? boxes_.tensors_[boxed].lower_gradient.data() + r * size : nullptr;
      float* const by_upper = boxed > 0 ? boxes_.tensors_[boxed].upper_gradient.data() + r * size : nullptr;
      if (way == Kind::box) {
        for (std::size_t v = 0; v < size; ++v) {
          to[v] = g * (a[v] > 0 ? high(r, v) : low(r, v));
          (a[v] > 0 ? by_upper : by_lower)[v] += g * a[v];
        }
        return;
      }
      const float* const from = slope_gradients_[boxed].data() + at * size;
      for (std::size_t v = 0; v < size; ++v) {
        const Line l = line(low(r, v), high(r, v), alpha, a[v] > 0);
        to[v] = from[v] * l.slope + g * l.offset;
        if (!by_lower) continue;
        by_lower[v] += a[v] * (from[v] * l.by_lower + g * l.offset_by_lower);
        by_upper[v] += a[v] * (from[v] * l.by_upper + g * l.offset_by_upper);
      }
    });
  }
  if (!boxes_.folded_) return;
  const auto& table = graph_.parameter_table();
  const std::size_t width = boxes_.sizes_[start_], first = boxes_.nodes_[boxes_.last_].first_parameter;
  float* const to_weight = gradient.data() + table[first].offset;
  float* const to_bias = gradient.data() + table[first + 1].offset;
  parallel_for(
      width, 8,
      [&](std::size_t begin, std::size_t end) {
        for (std::size_t i = begin; i < end; ++i) {
          for (std::size_t at = 0; at < rows * scores_; ++at) {
            const float g = slope_gradients_[start_][at * width + i];
            if (at % scores_ == labels[at / scores_]) continue;
            to_weight[i * scores_ + at % scores_] += g;
            to_weight[i * scores_ + labels[at / scores_]] -= g;
          }
        }
      },
      arena);
  for (std::size_t at = 0; at < rows * scores_; ++at) {
    to_bias[at % scores_] += seeds_[at];
    to_bias[labels[at / scores_]] -= seeds_[at];
  }
}

}  // namespace redoubt::detail
