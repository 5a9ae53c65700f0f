#include "nn/gradient_plan.hpp"

#include <algorithm>

#include "nn/graph_internal.hpp"
#include "redoubt/core/tensor.hpp"
#include "redoubt/kernels/activation.hpp"

namespace redoubt::detail {
namespace {

constexpr std::size_t most_rows = 64;
constexpr std::size_t cache_floats = 256 * 1024;  // of the tensors of a pass
constexpr std::size_t few_channels = 8;           // up to here the gradient of an image is added from patches

/// Rows of tensors follow each other.
std::span<float> all_of(const MatrixView<float>& rows) { return {rows.data(), rows.rows() * rows.cols()}; }

/// Image of height x width x channels with zeros around it; where `mask` is given, values whose mask is not above 0
/// are zero, too.
void pad_image(const float* src, const float* mask, std::size_t height, std::size_t width, std::size_t channels,
               std::size_t above, std::size_t left, float* dst) {
  const std::size_t inside = width * channels, margin = left * channels, row = inside + 2 * margin;
  std::fill_n(dst, above * row, 0.0f);
  dst += above * row;
  for (std::size_t y = 0; y < height; ++y, src += inside, dst += row) {
    std::fill_n(dst, margin, 0.0f);
    float* const to = dst + margin;
    if (mask) {
      kernels::relu_gradient({mask, inside}, {src, inside}, {to, inside});
      mask += inside;
    } else {
      std::copy_n(src, inside, to);
    }
    std::fill_n(to + inside, margin, 0.0f);
  }
  std::fill_n(dst, above * row, 0.0f);
}

Tensor<float> transposed(MatrixView<const float> w) {
  Tensor<float> turned({w.cols(), w.rows()});
  for (std::size_t r = 0; r < w.rows(); ++r)
    for (std::size_t c = 0; c < w.cols(); ++c) turned(c, r) = w(r, c);
  return turned;
}

}  // namespace

kernels::ProductPrecision GradientPlan::fastest_precision() noexcept {
  return kernels::outruns_fp32(kernels::ProductPrecision::fp32x3) ? kernels::ProductPrecision::fp32x3
                                                                  : kernels::ProductPrecision::fp32;
}

GradientPlan::GradientPlan(const Graph& graph, kernels::ProductPrecision precision)
    : graph_(graph), precision_(precision) {
  const auto& nodes = graph.nodes();
  const std::uint32_t count = graph.score_tensor();  // nodes after the scores do not matter
  std::vector<std::uint32_t> user(count + 1, count), uses(count + 1, 0);
  for (std::uint32_t t = 0; t <= count; ++t) {
    same_.push_back(t);
    size_.push_back(op_size(graph.shapes()[t]));
  }
  parameters_.resize(count);
  for (const GraphParameter& p : graph.parameter_table()) {
    if (p.node >= count) continue;
    const bool matrix = p.shape.size() == 2;
    parameters_[p.node].emplace_back(graph.parameters().data() + p.offset, matrix ? p.shape[0] : 1, p.shape.back());
  }
  for (std::uint32_t i = 0; i < count; ++i) {
    ops_.push_back(&find_op(nodes[i].op));
    shapes_.emplace_back();
    for (const auto t : nodes[i].inputs) shapes_.back().push_back(graph.shapes()[t]);
    if (keeps_values(nodes[i].op)) same_[i + 1] = same_[nodes[i].inputs[0]];
  }
  for (std::uint32_t i = 0; i < count; ++i) {
    if (keeps_values(nodes[i].op)) continue;
    for (const auto t : nodes[i].inputs) ++uses[same_[t]], user[same_[t]] = i;
  }
  ++uses[same_[count]];
  std::vector<bool> done(count, false);
  for (std::uint32_t i = 0; i < count; ++i) {
    const GraphNode& node = nodes[i];
    if (done[i] || keeps_values(node.op)) continue;
    Step s{.node = i, .from = same_[node.inputs[0]], .to = i + 1};
    const auto& a = node.attributes;
    if (node.op == "dense" && a[1] == 0) {
      s.kind = Kind::dense;
      const Tensor<float> turned = transposed(parameters_[i][0]);
      if (precision == kernels::ProductPrecision::fp32) {
        s.weights = kernels::PackedWeights(parameters_[i][0]);
        s.back = kernels::PackedWeights(turned);
      } else {
        s.rounded = kernels::RoundedWeights(parameters_[i][0], precision);
        s.rounded_back = kernels::RoundedWeights(turned, precision);
      }
    } else if (node.op == "conv2d" && a[3] == 1 && a[5] == 1 && a[6] == 1 && a[4] < a[1] && a[4] < a[2]) {
      conv(graph, s);
    } else if (node.op == "max_pool2d" && a[3] == 0 && a[2] >= a[0] && a[2] >= a[1]) {
      s.kind = Kind::max_pool;
      s.kernel_height = static_cast<std::size_t>(a[0]), s.kernel_width = static_cast<std::size_t>(a[1]);
      s.stride = static_cast<std::size_t>(a[2]);
      const OpShape &in = graph.shapes()[node.inputs[0]], &out = graph.shapes()[i + 1];
      s.height = in[0], s.width = in[1], s.channels = in[2], s.out_height = out[0], s.out_width = out[1];
    } else {
      op_scratch_ =
          std::max({op_scratch_, ops_[i]->scratch(shapes_[i], a, false), ops_[i]->scratch(shapes_[i], a, true)});
    }
    if ((s.kind == Kind::dense || s.kind == Kind::conv) && uses[i + 1] == 1 && user[i + 1] < count &&
        nodes[user[i + 1]].op == "relu") {
      s.relu = done[user[i + 1]] = true;
      s.to = user[i + 1] + 1;
      same_[i + 1] = s.to;  // nobody else asks for it
    }
    s.adds = s.kind != Kind::op && uses[s.from] > 1;
    if (s.adds) sum_ = std::max(sum_, size_[s.from]);
    steps_.push_back(std::move(s));
  }
  place_.assign(count + 1, 0);
  std::vector<bool> sums(count + 1, false);
  for (const Step& s : steps_) {
    if (uses[s.to] == 0) sums[s.to] = true;  // does not reach the scores
    place_[s.to] = total_;
    total_ += (size_[s.to] + 15) / 16 * 16;
    if (s.kind == Kind::op) {
      for (const auto t : nodes[s.node].inputs) sums[same_[t]] = true;
    } else if (s.adds) {
      sums[s.from] = true;
    }
  }
  for (std::uint32_t t = 0; t <= count; ++t)
    if (sums[t]) cleared_.push_back(t);
  rows_ = std::clamp<std::size_t>(cache_floats / (2 * total_ + 2 * size_[0]), 1, most_rows);
}

void GradientPlan::conv(const Graph& graph, Step& s) {
  const GraphNode& node = graph.nodes()[s.node];
  const OpShape &in = graph.shapes()[node.inputs[0]], &out = graph.shapes()[s.node + 1];
  const auto whole = [&](std::size_t i) { return static_cast<std::size_t>(node.attributes[i]); };
  s.kind = Kind::conv;
  s.height = in[0], s.width = in[1], s.channels = in[2], s.out_height = out[0], s.out_width = out[1];
  s.filters = out[2], s.kernel_height = whole(1), s.kernel_width = whole(2), s.pad = whole(4);
  const MatrixView<const float> weight = parameters_[s.node][0];
  s.weights = kernels::PackedWeights(weight);
  s.scatter = s.channels < few_channels;
  const std::size_t taps = s.kernel_height * s.kernel_width;
  local_ = std::max(local_, (s.height + 2 * s.pad) * (s.width + 2 * s.pad) * s.channels);
  if (s.scatter) {
    const Tensor<float> turned = transposed(weight);
    s.back = kernels::PackedWeights(turned);
    local_ = std::max(local_, s.out_height * s.out_width * (s.filters + taps * s.channels));
    return;
  }
  // The gradient of the image is the convolution of the padded slopes with the kernels turned by half a turn.
  Tensor<float> turned({taps * s.filters, s.channels});
  for (std::size_t k = 0; k < taps; ++k)
    for (std::size_t f = 0; f < s.filters; ++f)
      for (std::size_t c = 0; c < s.channels; ++c)
        turned(k * s.filters + f, c) = weight((taps - 1 - k) * s.channels + c, f);
  s.back = kernels::PackedWeights(turned);
  const std::size_t above = s.kernel_height - 1 - s.pad, left = s.kernel_width - 1 - s.pad;
  local_ = std::max(local_, (s.out_height + 2 * above) * (s.out_width + 2 * left) * s.filters);
}

GradientPass::GradientPass(const GradientPlan& plan)
    : plan_(plan),
      values_(plan.rows_ * plan.total_),
      gradients_(plan.rows_ * plan.total_),
      local_(plan.local_),
      sums_(plan.rows_ * plan.sum_),
      op_scratch_(plan.rows_ * plan.op_scratch_) {}

MatrixView<float> GradientPass::value(std::uint32_t tensor, std::size_t rows) noexcept {
  return {values_.data() + plan_.place_[tensor] * plan_.rows_, rows, plan_.size_[tensor]};
}

MatrixView<float> GradientPass::gradient(std::uint32_t tensor, MatrixView<float> dst) noexcept {
  if (tensor == 0) return dst;
  return {gradients_.data() + plan_.place_[tensor] * plan_.rows_, dst.rows(), plan_.size_[tensor]};
}

void GradientPass::conv(const Step& s, const float* src, float* dst) {
  const float* image = src;
  if (s.pad > 0) {
    pad_image(src, nullptr, s.height, s.width, s.channels, s.pad, s.pad, local_.data());
    image = local_.data();
  }
  const std::size_t width = (s.width + 2 * s.pad) * s.channels;
  const kernels::Epilogue epilogue{.bias = plan_.parameters_[s.node][1].data(),
                                   .activation = s.relu ? kernels::Activation::relu : kernels::Activation::none};
  for (std::size_t y = 0; y < s.out_height; ++y)
    kernels::packed_matmul({.data = image + y * width,
                            .rows = s.out_width,
                            .row = s.channels,
                            .segment = s.kernel_width * s.channels,
                            .segments = s.kernel_height,
                            .segment_row = width},
                           s.weights, {dst + y * s.out_width * s.filters, s.out_width, s.filters}, epilogue, 0,
                           s.filters);
}

void GradientPass::conv_back(const Step& s, const float* slopes, const float* output, float* dst) {
  const float* const mask = s.relu ? output : nullptr;
  if (!s.scatter) {
    const std::size_t above = s.kernel_height - 1 - s.pad, left = s.kernel_width - 1 - s.pad;
    pad_image(slopes, mask, s.out_height, s.out_width, s.filters, above, left, local_.data());
    const std::size_t width = (s.out_width + 2 * left) * s.filters;
    for (std::size_t y = 0; y < s.height; ++y)
      kernels::packed_matmul({.data = local_.data() + y * width,
                              .rows = s.width,
                              .row = s.filters,
                              .segment = s.kernel_width * s.filters,
                              .segments = s.kernel_height,
                              .segment_row = width},
                             s.back, {dst + y * s.width * s.channels, s.width, s.channels}, {}, 0, s.channels);
    return;
  }
  const std::size_t places = s.out_height * s.out_width, depth = s.kernel_height * s.kernel_width * s.channels;
  float* const patches = local_.data() + places * s.filters;
  const float* from = slopes;
  if (mask) {
    const std::size_t count = places * s.filters;
    kernels::relu_gradient({mask, count}, {slopes, count}, {local_.data(), count});
    from = local_.data();
  }
  kernels::packed_matmul({.data = from, .rows = places, .row = s.filters, .segment = s.filters}, s.back,
                         {patches, places, depth}, {}, 0, depth);
  std::fill_n(dst, s.height * s.width * s.channels, 0.0f);
  // Tap by tap: the pixels that it meets in a row of places follow each other.
  for (std::size_t ky = 0; ky < s.kernel_height; ++ky)
    for (std::size_t py = 0; py < s.out_height; ++py) {
      const std::size_t y = py + ky - s.pad;  // wraps around when negative
      if (y >= s.height) continue;
      for (std::size_t kx = 0; kx < s.kernel_width; ++kx) {
        const std::size_t first = kx < s.pad ? s.pad - kx : 0, last = std::min(s.out_width, s.width + s.pad - kx);
        const float* tap = patches + (py * s.out_width + first) * depth + (ky * s.kernel_width + kx) * s.channels;
        float* to = dst + (y * s.width + first + kx - s.pad) * s.channels;
        if (s.channels == 1) {
          for (std::size_t i = 0; i < last - first; ++i) to[i] += tap[i * depth];
        } else {
          for (std::size_t px = first; px < last; ++px, tap += depth)
            for (std::size_t c = 0; c < s.channels; ++c) *to++ += tap[c];
        }
      }
    }
}

/// Windows do not overlap.
void GradientPass::max_pool_back(const Step& s, const float* src, const float* output, const float* slopes,
                                 float* dst) {
  const std::size_t row = s.width * s.channels, out = s.out_width * s.channels;
  const bool covers = s.stride == s.kernel_height && s.stride == s.kernel_width &&
                      s.out_height * s.stride == s.height && s.out_width * s.stride == s.width;
  if (!covers) std::fill_n(dst, s.height * row, 0.0f);
  for (std::size_t y = 0; y < s.out_height; ++y)
    kernels::max_pool_backward(src + y * s.stride * row, output + y * out, slopes + y * out, row, s.stride * s.channels,
                               s.kernel_height, s.kernel_width, s.channels, s.out_width, false, false,
                               dst + y * s.stride * row);
}

void GradientPass::scores(MatrixView<const float> rows, MatrixView<float> dst) {
  const std::size_t n = rows.rows();
  const auto input = [&](std::uint32_t t) -> MatrixView<const float> {
    return plan_.same_[t] == 0 ? rows : value(plan_.same_[t], n);
  };
  for (const Step& s : plan_.steps_) {
    const MatrixView<const float> from = input(s.from);
    const MatrixView<float> to = value(s.to, n);
    switch (s.kind) {
      case GradientPlan::Kind::dense:
        dense(s.weights, s.rounded, from, to,
              {.bias = plan_.parameters_[s.node][1].data(),
               .activation = s.relu ? kernels::Activation::relu : kernels::Activation::none});
        break;
      case GradientPlan::Kind::conv:
        for (std::size_t r = 0; r < n; ++r) conv(s, from.row(r).data(), to.row(r).data());
        break;
      case GradientPlan::Kind::max_pool:
        for (std::size_t r = 0; r < n; ++r)
          for (std::size_t y = 0; y < s.out_height; ++y)
            kernels::max_pool(from.row(r).data() + y * s.stride * s.width * s.channels, s.width * s.channels,
                              s.stride * s.channels, s.kernel_height, s.kernel_width, s.channels, s.out_width,
                              to.row(r).data() + y * s.out_width * s.channels);
        break;
      case GradientPlan::Kind::op: {
        std::array<MatrixView<const float>, max_op_inputs> inputs;
        const auto& sources = plan_.graph_.nodes()[s.node].inputs;
        for (std::size_t i = 0; i < sources.size(); ++i) inputs[i] = input(sources[i]);
        OpForward call;
        call.attributes = plan_.graph_.nodes()[s.node].attributes;
        call.parameters = plan_.parameters_[s.node];
        call.shapes = plan_.shapes_[s.node];
        call.scratch = op_scratch_;
        call.node = s.node;
        call.arena = &serial_arena();
        call.inputs = {inputs.data(), sources.size()};
        call.output = to;
        plan_.ops_[s.node]->forward(call);
      }
    }
  }
  const MatrixView<const float> found = input(plan_.graph_.score_tensor());
  std::copy_n(found.data(), n * found.cols(), dst.data());
}

void GradientPass::op_back(const Step& s, MatrixView<const float> rows, MatrixView<float> dst) {
  const std::size_t n = rows.rows();
  const auto& node = plan_.graph_.nodes()[s.node];
  std::array<MatrixView<const float>, max_op_inputs> inputs;
  std::array<MatrixView<float>, max_op_inputs> gradients;
  std::array<MatrixView<float>, max_op_parameters> none;
  for (std::size_t i = 0; i < node.inputs.size(); ++i) {
    const std::uint32_t t = plan_.same_[node.inputs[i]];
    inputs[i] = t == 0 ? rows : MatrixView<const float>(value(t, n));
    gradients[i] = gradient(t, dst);
  }
  OpBackward call;
  call.attributes = node.attributes;
  call.parameters = plan_.parameters_[s.node];
  call.shapes = plan_.shapes_[s.node];
  call.scratch = op_scratch_;
  call.node = s.node;
  call.arena = &serial_arena();
  call.inputs = {inputs.data(), node.inputs.size()};
  call.output = value(s.to, n);
  call.output_gradient = gradient(s.to, dst);
  call.input_gradients = {gradients.data(), node.inputs.size()};
  call.parameter_gradients = {none.data(), call.parameters.size()};
  plan_.ops_[s.node]->backward(call);
}

void GradientPass::dense(const kernels::PackedWeights& packed, const kernels::RoundedWeights& rounded,
                         MatrixView<const float> from, MatrixView<float> to, const kernels::Epilogue& epilogue) {
  if (plan_.precision_ != kernels::ProductPrecision::fp32) return kernels::matmul(from, rounded, to, epilogue);
  kernels::packed_matmul({.data = from.data(), .rows = from.rows(), .row = from.cols(), .segment = from.cols()}, packed,
                         to, epilogue, 0, to.cols());
}

void GradientPass::backward(MatrixView<const float> rows, MatrixView<const float> upstream, MatrixView<float> dst) {
  const std::size_t n = rows.rows();
  const auto clear = [](MatrixView<float> view) { std::fill_n(view.data(), view.rows() * view.cols(), 0.0f); };
  for (const auto t : plan_.cleared_) clear(gradient(t, dst));
  const std::uint32_t last = plan_.same_[plan_.graph_.score_tensor()];
  const MatrixView<float> seed = gradient(last, dst);
  std::copy_n(upstream.data(), n * upstream.cols(), seed.data());
  for (std::size_t i = plan_.steps_.size(); i-- > 0;) {
    const Step& s = plan_.steps_[i];
    if (s.kind == GradientPlan::Kind::op) {
      op_back(s, rows, dst);
      continue;
    }
    const MatrixView<const float> input = s.from == 0 ? rows : MatrixView<const float>(value(s.from, n));
    const MatrixView<float> output = value(s.to, n), slopes = gradient(s.to, dst);
    MatrixView<float> to = gradient(s.from, dst);
    const MatrixView<float> sum = to;
    if (s.adds) to = {sums_.data(), n, sum.cols()};
    switch (s.kind) {
      case GradientPlan::Kind::dense:
        if (s.relu) kernels::relu_gradient(all_of(output), all_of(slopes), all_of(slopes));
        dense(s.back, s.rounded_back, slopes, to, {});
        break;
      case GradientPlan::Kind::conv:
        for (std::size_t r = 0; r < n; ++r) conv_back(s, slopes.row(r).data(), output.row(r).data(), to.row(r).data());
        break;
      default:
        for (std::size_t r = 0; r < n; ++r)
          max_pool_back(s, input.row(r).data(), output.row(r).data(), slopes.row(r).data(), to.row(r).data());
    }
    if (s.adds)
      for (std::size_t v = 0; v < n * sum.cols(); ++v) sum.data()[v] += to.data()[v];
  }
}

}  // namespace redoubt::detail
