#include "robustness/certify/interval_pass.hpp"

#include <fmt/format.h>

#include <algorithm>
#include <array>
#include <cmath>

#include "redoubt/core/error.hpp"
#include "redoubt/core/parallel.hpp"
#include "robustness/certify/crown_pass.hpp"

namespace redoubt::detail {
namespace {

constexpr std::size_t grain = 16384;  // values of one task

template <class F>
void each(std::size_t count, Arena* arena, const F& f) {
  parallel_for(
      count, grain,
      [&](std::size_t begin, std::size_t end) {
        for (std::size_t i = begin; i < end; ++i) f(i);
      },
      arena);
}

}  // namespace

IntervalPass::IntervalPass(const Graph& graph, std::size_t rows)
    : graph_(graph), rows_(rows), scores_(graph.score_count()), last_(graph.score_tensor()) {
  const auto& table = graph.parameter_table();
  for (const OpShape& shape : graph.shapes()) sizes_.push_back(op_size(shape));
  std::size_t scratch = 0, widest = 0, weights = 0, at = 0;
  for (std::size_t i = 0; i < graph.score_tensor(); ++i) {
    const GraphNode& source = graph.nodes()[i];
    Node node{&find_op(source.op), {}, at, 0, false};
    for (const auto t : source.inputs) node.shapes.push_back(graph.shapes()[t]);
    std::size_t with_decay = 0;
    bool state = false;
    for (; at < table.size() && table[at].node == i; ++at, ++node.parameters) {
      with_decay += table[at].decay;
      state = state || table[at].state || table[at].sparse;
      weights = std::max(weights, table[at].size);
    }
    node.weighted = node.op->affine_terms(node.shapes, source.attributes) > 0 && node.parameters == 2 &&
                    table[node.first_parameter].decay && with_decay == 1 && !state && source.inputs.size() == 1;
    if (!node.weighted && !(node.op->monotone() && node.parameters == 0)) {
      fail(errc::unsupported,
           fmt::format("interval training: node {} ({}) is neither monotone nor affine with one weight", i, source.op));
    }
    scratch = std::max({scratch, node.op->scratch(node.shapes, source.attributes, false),
                        node.op->scratch(node.shapes, source.attributes, true)});
    widest = std::max({widest, sizes_[i + 1], sizes_[source.inputs[0]]});
    nodes_.push_back(std::move(node));
  }
  const GraphNode& end = graph.nodes()[last_ - 1];
  folded_ = end.op == "dense" && end.attributes[1] == 0;
  if (folded_) --last_;
  tensors_.resize(last_ + 1);
  for (std::size_t t = 1; t <= last_; ++t) {
    for (auto* values :
         {&tensors_[t].lower, &tensors_[t].upper, &tensors_[t].lower_gradient, &tensors_[t].upper_gradient}) {
      values->resize(rows * sizes_[t]);
    }
  }
  magnitudes_.resize(graph.parameters().size());
  for (auto* values : {&centre_, &radius_, &out_centre_, &out_radius_, &centre_gradient_, &radius_gradient_})
    values->resize(rows * widest);
  weight_gradient_.resize(weights);
  scratch_.resize(rows * scratch);
  worst_.resize(rows * scores_);
  seeds_.resize(rows * scores_);
}

MatrixView<const float> IntervalPass::low(std::uint32_t t, MatrixView<const float> input) const {
  return t == 0 ? input : MatrixView<const float>{tensors_[t].lower.data(), input.rows(), sizes_[t]};
}

MatrixView<const float> IntervalPass::high(std::uint32_t t, MatrixView<const float> input) const {
  return t == 0 ? input : MatrixView<const float>{tensors_[t].upper.data(), input.rows(), sizes_[t]};
}

std::vector<MatrixView<const float>> IntervalPass::views(const Node& node, const float* values) const {
  std::vector<MatrixView<const float>> result;
  for (std::size_t p = 0; p < node.parameters; ++p) {
    const GraphParameter& entry = graph_.parameter_table()[node.first_parameter + p];
    result.emplace_back(values + entry.offset, entry.shape.size() == 2 ? entry.shape[0] : 1, entry.shape.back());
  }
  return result;
}

void IntervalPass::describe(OpContext& call, std::size_t i, std::span<const MatrixView<const float>> parameters,
                            std::span<float> scratch, Arena* arena) const {
  call.attributes = graph_.nodes()[i].attributes;
  call.parameters = parameters;
  call.shapes = nodes_[i].shapes;
  call.scratch = scratch;
  call.node = static_cast<std::uint32_t>(i);
  call.arena = arena;
}

void IntervalPass::forward_node(std::size_t i, MatrixView<const float> lower, MatrixView<const float> upper,
                                Arena* arena) {
  const Node& node = nodes_[i];
  const GraphNode& source = graph_.nodes()[i];
  const std::size_t rows = lower.rows(), size = sizes_[i + 1];
  const auto run = [&](std::span<const MatrixView<const float>> inputs,
                       std::span<const MatrixView<const float>> parameters, float* output) {
    OpForward call;
    describe(call, i, parameters, scratch_, arena);
    call.inputs = inputs;
    call.output = {output, rows, size};
    node.op->forward(call);
  };
  Tensors& out = tensors_[i + 1];
  if (!node.weighted) {
    std::array<MatrixView<const float>, max_op_inputs> from;
    for (const bool top : {false, true}) {
      for (std::size_t s = 0; s < source.inputs.size(); ++s)
        from[s] = top ? high(source.inputs[s], upper) : low(source.inputs[s], lower);
      run(std::span<const MatrixView<const float>>(from.data(), source.inputs.size()), {},
          (top ? out.upper : out.lower).data());
    }
    return;
  }
  const std::size_t width = sizes_[source.inputs[0]];
  const auto a = low(source.inputs[0], lower), b = high(source.inputs[0], upper);
  each(rows * width, arena, [&](std::size_t k) {
    const float l = a(k / width, k % width), u = b(k / width, k % width);
    centre_[k] = (l + u) / 2;
    radius_[k] = (u - l) / 2;
  });
  const MatrixView<const float> centre{centre_.data(), rows, width}, radius{radius_.data(), rows, width};
  run({&centre, 1}, views(node, graph_.parameters().data()), out_centre_.data());
  run({&radius, 1}, views(node, magnitudes_.data()), out_radius_.data());
  each(rows * size, arena, [&](std::size_t k) {
    out.lower[k] = out_centre_[k] - out_radius_[k];
    out.upper[k] = out_centre_[k] + out_radius_[k];
  });
}

void IntervalPass::forward(MatrixView<const float> lower, MatrixView<const float> upper,
                           std::span<const std::size_t> labels, Arena* arena) {
  for (const GraphParameter& entry : graph_.parameter_table()) {
    if (!entry.decay) continue;
    for (std::size_t k = entry.offset; k < entry.offset + entry.size; ++k)
      magnitudes_[k] = std::abs(graph_.parameters()[k]);
  }
  for (std::size_t i = 0; i < last_; ++i) forward_node(i, lower, upper, arena);
  margins(lower, upper, labels, arena);
}

void IntervalPass::margins(MatrixView<const float> lower, MatrixView<const float> upper,
                           std::span<const std::size_t> labels, Arena* arena) {
  const auto source = folded_ ? graph_.nodes()[last_].inputs[0] : static_cast<std::uint32_t>(last_);
  const auto a = low(source, lower), b = high(source, upper);
  const auto dst = worst(lower.rows());
  if (!folded_) {
    for (std::size_t r = 0; r < dst.rows(); ++r)
      for (std::size_t k = 0; k < scores_; ++k) dst(r, k) = k == labels[r] ? 0 : b(r, k) - a(r, labels[r]);
    return;
  }
  const auto parameters = views(nodes_[last_], graph_.parameters().data());
  parallel_for(
      dst.rows(), 4,
      [&](std::size_t begin, std::size_t end) {
        for (std::size_t r = begin; r < end; ++r) {
          const std::size_t label = labels[r];
          const auto to = dst.row(r);
          for (std::size_t k = 0; k < scores_; ++k) to[k] = parameters[1](0, k) - parameters[1](0, label);
          for (std::size_t i = 0; i < a.cols(); ++i) {
            const float *w = parameters[0].row(i).data(), own = w[label];
            const float centre = (a(r, i) + b(r, i)) / 2, radius = (b(r, i) - a(r, i)) / 2;
            for (std::size_t k = 0; k < scores_; ++k) to[k] += (w[k] - own) * centre + std::abs(w[k] - own) * radius;
          }
        }
      },
      arena);
}

void IntervalPass::margin_gradients(MatrixView<const float> lower, MatrixView<const float> upper,
                                    std::span<const std::size_t> labels, std::span<float> gradient, Arena* arena) {
  const auto source = folded_ ? graph_.nodes()[last_].inputs[0] : static_cast<std::uint32_t>(last_);
  const std::size_t rows = lower.rows(), width = sizes_[source];
  const auto from = seeds(rows);
  for (std::size_t r = 0; r < rows; ++r) from(r, labels[r]) = 0;
  if (!folded_) {
    for (std::size_t r = 0; r < rows; ++r) {
      for (std::size_t k = 0; k < scores_; ++k) {
        if (k == labels[r]) continue;
        tensors_[source].upper_gradient[r * width + k] += from(r, k);
        tensors_[source].lower_gradient[r * width + labels[r]] -= from(r, k);
      }
    }
    return;
  }
  const auto a = low(source, lower), b = high(source, upper);
  const auto parameters = views(nodes_[last_], graph_.parameters().data());
  const auto& table = graph_.parameter_table();
  float* const to_weight = gradient.data() + table[nodes_[last_].first_parameter].offset;
  float* const to_bias = gradient.data() + table[nodes_[last_].first_parameter + 1].offset;
  for (std::size_t r = 0; r < rows; ++r) {
    for (std::size_t k = 0; k < scores_; ++k) {
      to_bias[k] += from(r, k);
      to_bias[labels[r]] -= from(r, k);
    }
  }
  // One task per inputs of the layer: each has its weights and its columns to itself.
  parallel_for(
      width, 8,
      [&](std::size_t begin, std::size_t end) {
        for (std::size_t i = begin; i < end; ++i) {
          const float* const w = parameters[0].row(i).data();
          float* const dw = to_weight + i * scores_;
          for (std::size_t r = 0; r < rows; ++r) {
            const std::size_t label = labels[r];
            const float centre = (a(r, i) + b(r, i)) / 2, radius = (b(r, i) - a(r, i)) / 2, own = w[label];
            float by_centre = 0, by_radius = 0, by_own = 0;
            for (std::size_t k = 0; k < scores_; ++k) {
              const float d = w[k] - own, sign = d > 0 ? 1.0f : d < 0 ? -1.0f : 0.0f, g = from(r, k);
              by_centre += g * d;
              by_radius += g * std::abs(d);
              dw[k] += g * (centre + sign * radius);
              by_own += g * (centre + sign * radius);
            }
            dw[label] -= by_own;
            if (source == 0) continue;
            tensors_[source].lower_gradient[r * width + i] += (by_centre - by_radius) / 2;
            tensors_[source].upper_gradient[r * width + i] += (by_centre + by_radius) / 2;
          }
        }
      },
      arena);
}

void IntervalPass::backward_node(std::size_t i, MatrixView<const float> lower, MatrixView<const float> upper,
                                 std::span<float> gradient, Arena* arena) {
  const Node& node = nodes_[i];
  const GraphNode& source = graph_.nodes()[i];
  const std::size_t rows = lower.rows(), size = sizes_[i + 1];
  Tensors& out = tensors_[i + 1];
  const auto run = [&](std::span<const MatrixView<const float>> inputs, const float* output, const float* from,
                       std::span<const MatrixView<const float>> parameters, std::span<const MatrixView<float>> to,
                       std::span<const MatrixView<float>> to_parameters) {
    OpBackward call;
    describe(call, i, parameters, scratch_, arena);
    call.inputs = inputs;
    call.output = {output, rows, size};
    call.output_gradient = {from, rows, size};
    call.input_gradients = to;
    call.parameter_gradients = to_parameters;
    node.op->backward(call);
  };
  if (!node.weighted) {
    std::array<MatrixView<const float>, max_op_inputs> from;
    std::array<MatrixView<float>, max_op_inputs> to;
    const std::size_t count = source.inputs.size();
    for (const bool top : {false, true}) {
      for (std::size_t s = 0; s < count; ++s) {
        const auto t = source.inputs[s];
        from[s] = top ? high(t, upper) : low(t, lower);
        if (t > 0) to[s] = {(top ? tensors_[t].upper_gradient : tensors_[t].lower_gradient).data(), rows, sizes_[t]};
      }
      run(std::span<const MatrixView<const float>>(from.data(), count), (top ? out.upper : out.lower).data(),
          (top ? out.upper_gradient : out.lower_gradient).data(), {},
          std::span<const MatrixView<float>>(to.data(), count), {});
    }
    return;
  }
  const auto t = source.inputs[0];
  const std::size_t width = sizes_[t];
  const auto a = low(t, lower), b = high(t, upper);
  each(rows * width, arena, [&](std::size_t k) {
    const float l = a(k / width, k % width), u = b(k / width, k % width);
    centre_[k] = (l + u) / 2;
    radius_[k] = (u - l) / 2;
    centre_gradient_[k] = radius_gradient_[k] = 0;
  });
  each(rows * size, arena, [&](std::size_t k) {
    out_centre_[k] = out.lower_gradient[k] + out.upper_gradient[k];
    out_radius_[k] = out.upper_gradient[k] - out.lower_gradient[k];
  });
  const auto& table = graph_.parameter_table();
  const GraphParameter &weight = table[node.first_parameter], &bias = table[node.first_parameter + 1];
  const auto shaped = [](float* data, const GraphParameter& entry) -> MatrixView<float> {
    return {data, entry.shape.size() == 2 ? entry.shape[0] : 1, entry.shape.back()};
  };
  const MatrixView<const float> centre{centre_.data(), rows, width}, radius{radius_.data(), rows, width};
  MatrixView<float> to_centre, to_radius;
  if (t > 0) to_centre = {centre_gradient_.data(), rows, width}, to_radius = {radius_gradient_.data(), rows, width};
  const std::array<MatrixView<float>, 2> by_centre{shaped(gradient.data() + weight.offset, weight),
                                                   shaped(gradient.data() + bias.offset, bias)};
  run({&centre, 1}, nullptr, out_centre_.data(), views(node, graph_.parameters().data()), {&to_centre, 1}, by_centre);
  std::fill_n(weight_gradient_.begin(), weight.size, 0.0f);
  const std::array<MatrixView<float>, 2> by_radius{shaped(weight_gradient_.data(), weight), MatrixView<float>{}};
  run({&radius, 1}, nullptr, out_radius_.data(), views(node, magnitudes_.data()), {&to_radius, 1}, by_radius);
  each(weight.size, arena, [&](std::size_t k) {
    const float w = graph_.parameters()[weight.offset + k];
    gradient[weight.offset + k] += w > 0 ? weight_gradient_[k] : w < 0 ? -weight_gradient_[k] : 0.0f;
  });
  if (t == 0) return;
  each(rows * width, arena, [&](std::size_t k) {
    tensors_[t].lower_gradient[k] += (centre_gradient_[k] - radius_gradient_[k]) / 2;
    tensors_[t].upper_gradient[k] += (centre_gradient_[k] + radius_gradient_[k]) / 2;
  });
}

void IntervalPass::backward(MatrixView<const float> lower, MatrixView<const float> upper,
                            std::span<const std::size_t> labels, std::span<float> gradient, Arena* arena,
                            CrownPass* crown) {
  for (std::size_t t = 1; t <= last_; ++t) {
    std::fill_n(tensors_[t].lower_gradient.begin(), lower.rows() * sizes_[t], 0.0f);
    std::fill_n(tensors_[t].upper_gradient.begin(), lower.rows() * sizes_[t], 0.0f);
  }
  margin_gradients(lower, upper, labels, gradient, arena);
  if (crown) crown->backward(lower, upper, labels, gradient, arena);
  for (std::size_t i = last_; i-- > 0;) backward_node(i, lower, upper, gradient, arena);
}

}  // namespace redoubt::detail
