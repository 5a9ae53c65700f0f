// Forward with all tensors kept, backward, gradients for attacks.
#include <fmt/format.h>

#include <algorithm>
#include <cmath>

#include "nn/graph_internal.hpp"
#include "redoubt/core/error.hpp"
#include "redoubt/core/function_ref.hpp"
#include "redoubt/core/parallel.hpp"
#include "redoubt/kernels/activation.hpp"

namespace redoubt {

MatrixView<float> Graph::value(GraphWorkspace& workspace, std::uint32_t tensor, std::size_t rows) const noexcept {
  return {workspace.values_.data() + value_at_[kept_as_[tensor]] * workspace.rows_, rows, sizes_[tensor]};
}

/// Output and first input of a node are one.
bool Graph::shares_memory(std::size_t node) const noexcept {
  const auto& sources = nodes_[node].inputs;
  return !sources.empty() && kept_as_[sources[0]] == kept_as_[node + 1];
}

MatrixView<float> Graph::gradient(GraphWorkspace& workspace, std::uint32_t tensor, std::size_t rows) const noexcept {
  const std::size_t at = tensor == 0 ? value_size_ : value_at_[gradient_as_[tensor]];  // the input's comes last
  return {workspace.gradients_.data() + at * workspace.rows_, rows, sizes_[tensor]};
}

void Graph::forward(MatrixView<const float> src, GraphWorkspace& workspace, const OpTraining* training,
                    Arena* arena) const {
  if (src.cols() != inputs() || src.rows() > workspace.rows_ ||
      workspace.values_.size() != workspace.rows_ * value_size_) {
    detail::fail(errc::shape_mismatch,
                 fmt::format("graph: forward of {} x {} values with a workspace of {} rows; the graph takes rows of {} "
                             "and a workspace made for it",
                             src.rows(), src.cols(), workspace.rows_, inputs()));
  }
  const std::size_t rows = src.rows(), last = training ? score_tensor_ : nodes_.size();
  const auto prepare = [&](std::size_t i, Call& call, OpForward& forward) {
    call.fill(*this, i, forward,
              [&](std::uint32_t t) -> MatrixView<const float> { return t == 0 ? src : value(workspace, t, rows); });
    forward.inputs = call.used(*this, i);
    forward.output = value(workspace, static_cast<std::uint32_t>(i + 1), rows);
    forward.training = training;
    forward.scratch = workspace.op_scratch_;
    forward.arena = arena ? arena : &detail::serial_arena();
  };
  for (std::size_t i = 0; i < last; ++i) {  // what shares memory with its input is done
    if ((shares_memory(i) || pool_behind_[i] > 0) && !ops_[i]->leads()) continue;
    Call call, pool_call;
    OpForward forward, pool;
    prepare(i, call, forward);
    forward.relu = takes_relu_[i];
    const std::size_t behind = pool_behind_[i];
    if (behind > 0) prepare(behind, pool_call, pool);
    const auto pool_rows = [&](std::size_t begin, std::size_t end) {
      OpForward part = pool;
      const MatrixView<const float> input = pool.inputs[0].slice(begin, end);
      part.inputs = std::span(&input, 1);
      part.output = pool.output.slice(begin, end);
      part.arena = &detail::serial_arena();
      ops_[behind]->forward(part);
    };
    const function_ref<void(std::size_t, std::size_t)> finished(pool_rows);
    if (behind > 0) forward.finished = &finished;
    ops_[i]->forward(forward);
  }
}

void Graph::update_state(MatrixView<const float> src, GraphWorkspace& workspace, const OpTraining& training) {
  drop_plan();
  for (std::size_t i = 0; i < score_tensor_; ++i) {
    Call call;
    OpForward done;
    call.fill(*this, i, done, [&](std::uint32_t t) -> MatrixView<const float> {
      return t == 0 ? src : value(workspace, t, src.rows());
    });
    std::array<MatrixView<float>, max_op_parameters> state;
    const std::size_t count = Call::parameter_views(*this, i, parameters_.data(), state);
    bool any = false;
    for (std::size_t p = 0; p < count; ++p) {
      if (table_[first_parameter_[i] + p].state) {
        any = true;
      } else {
        state[p] = {};
      }
    }
    if (!any) continue;
    done.inputs = call.used(*this, i);
    done.output = value(workspace, static_cast<std::uint32_t>(i + 1), src.rows());
    done.training = &training;
    done.scratch = workspace.op_scratch_;
    done.arena = &detail::serial_arena();
    ops_[i]->update_state(done, std::span<const MatrixView<float>>(state.data(), count));
  }
}

void Graph::backward(MatrixView<const float> src, GraphWorkspace& workspace, std::span<float> parameter_gradient,
                     bool want_input, const OpTraining* training, Arena* arena, const GradientSink* sink) const {
  const bool want_parameters = !parameter_gradient.empty();
  if (workspace.gradients_.empty() || src.rows() > workspace.rows_ ||
      (want_parameters && parameter_gradient.size() != parameters_.size())) {
    detail::fail(errc::shape_mismatch,
                 fmt::format("graph: backward of {} rows with a workspace of {} rows {} gradients and {} parameter "
                             "gradients; the graph has {} parameters",
                             src.rows(), workspace.rows_, workspace.gradients_.empty() ? "without" : "with",
                             parameter_gradient.size(), parameters_.size()));
  }
  const std::size_t rows = src.rows();
  const auto clear = [&](std::uint32_t tensor) {
    const auto view = gradient(workspace, tensor, rows);
    const std::size_t size = view.rows() * view.cols();
    if (!arena || size < 1 << 17) {
      std::fill_n(view.data(), size, 0.0f);
      return;
    }
    parallel_for(
        size, 1 << 16, [&](std::size_t begin, std::size_t end) { std::fill_n(view.data() + begin, end - begin, 0.0f); },
        arena);
  };
  for (const auto t : dead_ends_) clear(t);
  const auto prepare = [&](std::size_t i, Call& call, OpBackward& backward) {
    call.fill(*this, i, backward,
              [&](std::uint32_t t) -> MatrixView<const float> { return t == 0 ? src : value(workspace, t, rows); });
    const auto output = static_cast<std::uint32_t>(i + 1);
    backward.inputs = call.used(*this, i);
    backward.output = value(workspace, output, rows);
    backward.output_gradient = gradient(workspace, output, rows);
    backward.training = training;
    backward.scratch = workspace.op_scratch_;
    backward.arena = arena ? arena : &detail::serial_arena();
  };
  for (std::size_t i = score_tensor_; i-- > 0;) {
    const std::size_t behind = pool_behind_[i];
    if ((behind > 0 && !ops_[i]->leads()) || (shares_memory(i) && !takes_relu_[i]) || (!want_input && !learned_[i + 1]))
      continue;
    Call call, pool_call;
    OpBackward backward, pool;
    prepare(i, call, backward);
    std::array<MatrixView<float>, max_op_inputs> input_gradients;
    const auto& sources = nodes_[i].inputs;
    const bool assigns = ops_[i]->assigns_gradients();
    if (assigns) backward.fresh = first_writes_[i];
    for (std::size_t s = 0; s < sources.size(); ++s) {
      if (!want_input && !learned_[sources[s]]) continue;
      input_gradients[s] = gradient(workspace, sources[s], rows);
      if ((first_writes_[i] >> s & 1) != 0 && !assigns) clear(sources[s]);
    }
    std::array<MatrixView<float>, max_op_parameters> parameter_gradients;
    std::size_t count = backward.parameters.size();
    if (want_parameters) count = Call::parameter_views(*this, i, parameter_gradient.data(), parameter_gradients);
    backward.input_gradients = std::span<const MatrixView<float>>(input_gradients.data(), sources.size());
    backward.parameter_gradients = std::span<const MatrixView<float>>(parameter_gradients.data(), count);
    const auto hand_out = [&](std::size_t row, std::size_t col, MatrixView<float> block) {
      (*sink)(first_parameter_[i], row, col, block);
    };
    const kernels::ProductSink product_sink(hand_out);
    if (sink && want_parameters && ops_[i]->hands_out_gradient()) backward.sink = &product_sink;
    if (behind > 0) prepare(behind, pool_call, pool);
    const auto pool_row = [&](std::size_t row, float* room) -> const float* {
      OpBackward part = pool;
      const MatrixView<const float> input = pool.inputs[0].slice(row, row + 1);
      const MatrixView<float> to(
          room ? room : gradient(workspace, static_cast<std::uint32_t>(i + 1), rows).row(row).data(), 1, input.cols());
      part.inputs = std::span(&input, 1);
      part.output = pool.output.slice(row, row + 1);
      part.output_gradient = pool.output_gradient.slice(row, row + 1);
      part.input_gradients = std::span(&to, 1);
      part.fresh = 1;
      part.relu = true;
      part.arena = &detail::serial_arena();
      ops_[behind]->backward(part);
      return to.data();
    };
    const function_ref<const float*(std::size_t, float*)> slopes(pool_row);
    if (behind > 0) backward.slopes = &slopes;
    ops_[i]->backward(backward);
  }
}

bool Graph::hands_out_gradient(std::size_t parameter) const noexcept {
  const std::uint32_t node = table_[parameter].node;
  return parameter == first_parameter_[node] && ops_[node]->hands_out_gradient();
}

void Graph::scores(std::span<const float> src, std::span<float> dst, GraphWorkspace& workspace) const {
  forward({src.data(), 1, src.size()}, workspace);
  const auto found = value(workspace, score_tensor_, 1).row(0);
  std::copy_n(found.begin(), std::min(found.size(), dst.size()), dst.begin());
}

void Graph::input_gradient(std::span<const float> src, std::span<const float> score_gradient, std::span<float> dst,
                           GraphWorkspace& workspace) const {
  if (score_gradient.size() != score_count() || dst.size() != inputs()) {
    detail::fail(errc::shape_mismatch,
                 fmt::format("graph: input_gradient with {} score gradients into {} floats; {} and {} are needed",
                             score_gradient.size(), dst.size(), score_count(), inputs()));
  }
  const MatrixView<const float> row{src.data(), 1, src.size()};
  forward(row, workspace);
  std::copy(score_gradient.begin(), score_gradient.end(), gradient(workspace, score_tensor_, 1).data());
  backward(row, workspace, {}, true);
  const auto found = gradient(workspace, 0, 1).row(0);
  std::copy(found.begin(), found.end(), dst.begin());
}

float Graph::loss_gradient(std::span<const float> src, std::size_t label, std::span<float> dst,
                           GraphWorkspace& workspace) const {
  if (label >= score_count() || dst.size() != inputs()) {
    detail::fail(errc::invalid_argument,
                 fmt::format("graph: loss_gradient for label {} of {} into {} floats for {} inputs", label,
                             score_count(), dst.size(), inputs()));
  }
  const MatrixView<const float> row{src.data(), 1, src.size()};
  forward(row, workspace);
  const auto scores = value(workspace, score_tensor_, 1).row(0), seed = gradient(workspace, score_tensor_, 1).row(0);
  float loss = 0;
  if (scores.size() == 1) {
    loss = -scores[0];
    seed[0] = -1.0f;
  } else {
    const float total = kernels::log_sum_exp(scores);
    loss = total - scores[label];
    for (std::size_t k = 0; k < scores.size(); ++k) seed[k] = std::exp(scores[k] - total);
    seed[label] -= 1.0f;
  }
  backward(row, workspace, {}, true);
  const auto found = gradient(workspace, 0, 1).row(0);
  std::copy(found.begin(), found.end(), dst.begin());
  return loss;
}

}  // namespace redoubt
