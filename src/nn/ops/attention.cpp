#include <fmt/format.h>

#include <algorithm>
#include <array>
#include <cmath>
#include <vector>

#include "nn/ops/op_table.hpp"
#include "redoubt/core/error.hpp"
#include "redoubt/core/parallel.hpp"
#include "redoubt/kernels/activation.hpp"
#include "redoubt/kernels/matmul.hpp"
#include "redoubt/kernels/vector.hpp"

namespace redoubt::detail {
namespace {

constexpr OpAttribute attribute_list[] = {{.name = "heads", .fallback = 1, .low = 1, .high = 1024, .whole = true},
                                          {.name = "causal", .fallback = 0, .low = 0, .high = 1, .whole = true}};
constexpr std::size_t query_block = 128, key_block = 128;

struct Sizes {
  std::size_t queries, keys, width, heads, head;
  float scale;
  bool causal;
  /// Keys that query `q` sees.
  std::size_t seen(std::size_t q) const { return causal ? q + 1 : keys; }
};

Sizes sizes_of(std::span<const OpShape> shapes, std::span<const double> attributes) {
  const auto heads = static_cast<std::size_t>(attributes[0]);
  const std::size_t width = shapes[0].back(), head = width / heads;
  return {shapes[0][0],      shapes[1][0], width, heads, head, 1.0f / std::sqrt(static_cast<float>(head)),
          attributes[1] != 0};
}

/// Columns of one head in a row that holds positions x width.
template <class T>
MatrixView<T> head_of(std::span<T> row, const Sizes& s, std::size_t h, std::size_t first, std::size_t count) {
  return {row.data() + first * s.width + h * s.head, count, s.head, s.width};
}

/// Scaled dot-product attention of queries, keys and values, positions x width each, in `heads` equal parts of the
/// width: softmax(q k' / sqrt(width / heads)) v (Vaswani et al., arXiv:1706.03762). The softmax is taken online over
/// blocks of keys (Milakov & Gimelshein, arXiv:1805.02867): the matrix of scores never exists. With `causal` 1 position
/// t sees positions 0 to t. Projections are dense layers with `per_position`. Products have the precision of training.
class Attention final : public Op {
 public:
  std::string_view name() const noexcept override { return "attention"; }
  std::string_view onnx_name() const noexcept override { return "Attention"; }
  std::size_t arity() const noexcept override { return 3; }
  std::span<const OpAttribute> attributes() const noexcept override { return attribute_list; }
  OpShape infer(std::span<const OpShape> inputs, std::span<const double> attributes) const override {
    const OpShape &q = inputs[0], &k = inputs[1];
    const auto heads = static_cast<std::uint32_t>(attributes[0]);
    if (q.size() != 2 || k.size() != 2 || k != inputs[2] || q[1] != k[1] || q[1] % heads != 0 ||
        (attributes[1] != 0 && q[0] != k[0])) {
      fail(errc::shape_mismatch,
           fmt::format("attention: queries [{}], keys [{}] and values [{}] with {} heads{}", fmt::join(q, ", "),
                       fmt::join(k, ", "), fmt::join(inputs[2], ", "), heads, attributes[1] != 0 ? ", causal" : ""));
    }
    return q;
  }
  std::size_t scratch(std::span<const OpShape> inputs, std::span<const double> attributes,
                      bool backward) const override {
    const Sizes s = sizes_of(inputs, attributes);
    const std::size_t queries = std::min(query_block, s.queries);
    return backward ? 2 * queries * s.keys : queries * (std::min(key_block, s.keys) + 2);
  }

  void forward(const OpForward& call) const override {
    const Sizes s = sizes_of(call.shapes, call.attributes);
    const std::size_t need = scratch(call.shapes, call.attributes, false);
    const auto rows = [&](std::size_t begin, std::size_t end) {
      for (std::size_t r = begin; r < end; ++r) {
        for (std::size_t h = 0; h < s.heads; ++h) {
          for (std::size_t q = 0; q < s.queries; q += query_block) {
            forward_block(s, call, r, h, q, call.scratch.data() + r * need);
          }
        }
      }
    };
    if (call.output.rows() == 1) return rows(0, 1);
    parallel_for(call.output.rows(), 1, rows, call.arena);
  }
  bool assigns_gradients() const noexcept override { return true; }
  void backward(const OpBackward& call) const override {
    const Sizes s = sizes_of(call.shapes, call.attributes);
    const std::size_t need = scratch(call.shapes, call.attributes, true);
    // One tensor that is several inputs is cleared before any of its gradients is added.
    std::array<bool, 3> assign;
    for (std::size_t i = 0; i < 3; ++i) {
      const auto same = [&](std::size_t j) {
        return j != i && call.input_gradients[i].data() == call.input_gradients[j].data();
      };
      const bool shared = same(0) || same(1) || same(2);
      assign[i] = call.input_gradients[i].data() && call.is_fresh(i) && !shared;
      if (!call.input_gradients[i].data() || !shared) continue;
      for (std::size_t r = 0; r < call.output_gradient.rows(); ++r) clear_if_fresh(call, i, r);
    }
    const auto rows = [&](std::size_t begin, std::size_t end) {
      for (std::size_t r = begin; r < end; ++r) {
        for (std::size_t h = 0; h < s.heads; ++h) {
          // From the end: the last queries see all keys, also if causal, and so assign all their gradients.
          for (std::size_t block = (s.queries + query_block - 1) / query_block; block-- > 0;) {
            backward_block(s, call, r, h, block * query_block, assign, call.scratch.data() + r * need);
          }
        }
      }
    };
    if (call.output_gradient.rows() == 1) return rows(0, 1);
    parallel_for(call.output_gradient.rows(), 1, rows, call.arena);
  }
  // Boxes of the scores give boxes of the weights; the result is a weighted mean, so it also stays among the values.
  void bounds(const OpBounds& call) const override {
    const Sizes s = sizes_of(call.shapes, call.attributes);
    std::vector<double> low(s.keys), high(s.keys);
    for (std::size_t r = 0; r < call.output_lower.rows(); ++r) {
      for (std::size_t h = 0; h < s.heads; ++h) {
        for (std::size_t q = 0; q < s.queries; ++q) {
          const std::size_t seen = s.seen(q);
          for (std::size_t j = 0; j < seen; ++j) score_box(s, call, r, h, q, j, low[j], high[j]);
          value_boxes(s, call, r, h, q, std::span(low).first(seen), std::span(high).first(seen));
        }
      }
    }
  }

 private:
  static void forward_block(const Sizes& s, const OpForward& call, std::size_t r, std::size_t h, std::size_t first,
                            float* scratch) {
    const std::size_t count = std::min(query_block, s.queries - first), width = std::min(key_block, s.keys);
    float* const scores = scratch;
    float* const largest = scores + count * width;
    float* const total = largest + count;
    const auto q = head_of(call.inputs[0].row(r), s, h, first, count);
    const auto out = head_of(call.output.row(r), s, h, first, count);
    const std::size_t reach = s.seen(first + count - 1);
    for (std::size_t at = 0; at < reach; at += key_block) {
      const std::size_t keys = std::min(key_block, reach - at);
      const MatrixView<float> weights{scores, count, keys, width};
      kernels::matmul_nt(q, head_of(call.inputs[1].row(r), s, h, at, keys), weights,
                         {.precision = call.products(), .arena = &serial_arena()});
      for (std::size_t i = 0; i < count; ++i) {
        const std::size_t seen = std::min(keys, s.seen(first + i) - std::min(at, s.seen(first + i)));
        const auto row = weights.row(i).first(seen);
        std::fill(weights.row(i).begin() + static_cast<std::ptrdiff_t>(seen), weights.row(i).end(), 0.0f);
        if (seen == 0) continue;
        const float here = kernels::max(row), best = at == 0 ? here : std::max(largest[i], here);
        const float sum = kernels::exp_sum(s.scale, best, row);
        if (at > 0) {
          const float keep = std::exp(s.scale * (largest[i] - best));
          kernels::scale(keep, out.row(i));
          total[i] *= keep;
        }
        total[i] = (at == 0 ? 0 : total[i]) + sum;
        largest[i] = best;
      }
      kernels::matmul(weights, head_of(call.inputs[2].row(r), s, h, at, keys), out,
                      {.accumulate = at > 0, .precision = call.products(), .arena = &serial_arena()});
    }
    for (std::size_t i = 0; i < count; ++i) kernels::scale(1 / total[i], out.row(i));
  }

  static void backward_block(const Sizes& s, const OpBackward& call, std::size_t r, std::size_t h, std::size_t first,
                             const std::array<bool, 3>& assign, float* scratch) {
    const std::size_t count = std::min(query_block, s.queries - first), keys = s.seen(first + count - 1);
    const bool last = first + count == s.queries;
    const MatrixView<float> weights{scratch, count, keys}, slopes{scratch + count * keys, count, keys};
    const auto q = head_of(call.inputs[0].row(r), s, h, first, count);
    const auto k = head_of(call.inputs[1].row(r), s, h, 0, keys), v = head_of(call.inputs[2].row(r), s, h, 0, keys);
    const auto from = head_of(call.output_gradient.row(r), s, h, first, count);
    const auto product = [&](bool add) {
      return kernels::MatmulOptions{.accumulate = add, .precision = call.products(), .arena = &serial_arena()};
    };
    const auto gradient = [&](std::size_t i, std::size_t begin, std::size_t rows) {
      return head_of(call.input_gradients[i].row(r), s, h, begin, rows);
    };
    kernels::matmul_nt(q, k, weights, product(false));
    for (std::size_t i = 0; i < count; ++i) {
      const std::size_t seen = std::min(keys, s.seen(first + i));
      const auto row = weights.row(i).first(seen);
      kernels::scale(1 / kernels::exp_sum(s.scale, kernels::max(row), row), row);
      std::fill(weights.row(i).begin() + static_cast<std::ptrdiff_t>(seen), weights.row(i).end(), 0.0f);
    }
    if (call.input_gradients[2].data()) {
      kernels::matmul_tn(weights, from, gradient(2, 0, keys), product(!(assign[2] && last)));
    }
    if (!call.input_gradients[0].data() && !call.input_gradients[1].data()) return;
    kernels::matmul_nt(from, v, slopes, product(false));
    for (std::size_t i = 0; i < count; ++i) kernels::softmax_gradient(weights.row(i), s.scale, slopes.row(i));
    if (call.input_gradients[0].data()) {
      kernels::matmul(slopes, k, gradient(0, first, count), product(!assign[0]));
    }
    if (call.input_gradients[1].data()) {
      kernels::matmul_tn(slopes, q, gradient(1, 0, keys), product(!(assign[1] && last)));
    }
  }

  static void score_box(const Sizes& s, const OpBounds& call, std::size_t r, std::size_t h, std::size_t q,
                        std::size_t j, double& low, double& high) {
    low = high = 0;
    double size = 0;
    for (std::size_t d = 0; d < s.head; ++d) {
      const std::size_t a = q * s.width + h * s.head + d, b = j * s.width + h * s.head + d;
      const double ql = call.input_lower[0](r, a), qh = call.input_upper[0](r, a);
      const double kl = call.input_lower[1](r, b), kh = call.input_upper[1](r, b);
      const auto [least, most] = std::minmax({ql * kl, ql * kh, qh * kl, qh * kh});
      low += least;
      high += most;
      size += std::max(std::abs(least), std::abs(most));
    }
    const double slack = (static_cast<double>(s.head) + 8) * 0x1p-23 * size;
    low = s.scale * (low - slack);
    high = s.scale * (high + slack);
  }
  static void value_boxes(const Sizes& s, const OpBounds& call, std::size_t r, std::size_t h, std::size_t q,
                          std::span<const double> low, std::span<const double> high) {
    const double top = *std::max_element(high.begin(), high.end());
    double low_sum = 0, high_sum = 0;
    for (std::size_t j = 0; j < low.size(); ++j) {
      low_sum += std::exp(low[j] - top);
      high_sum += std::exp(high[j] - top);
    }
    for (std::size_t d = 0; d < s.head; ++d) {
      double least = 0, most = 0, size = 0, hull_low = INFINITY, hull_high = -INFINITY;
      for (std::size_t j = 0; j < low.size(); ++j) {
        const std::size_t at = j * s.width + h * s.head + d;
        const double vl = call.input_lower[2](r, at), vh = call.input_upper[2](r, at);
        const double el = std::exp(low[j] - top), eh = std::exp(high[j] - top);
        const double wl = el / std::max(el + (high_sum - eh), el), wh = eh / std::max(eh + (low_sum - el), eh);
        least += vl * (vl > 0 ? wl : wh);
        most += vh * (vh > 0 ? wh : wl);
        size += wh * std::max(std::abs(vl), std::abs(vh));
        hull_low = std::min(hull_low, vl);
        hull_high = std::max(hull_high, vh);
      }
      const double slack = (static_cast<double>(low.size()) + 32) * 0x1p-22 * size + 1e-30;
      const std::size_t at = q * s.width + h * s.head + d;
      call.output_lower(r, at) = static_cast<float>(std::max(least, hull_low) - slack);
      call.output_upper(r, at) = static_cast<float>(std::min(most, hull_high) + slack);
    }
  }
};

}  // namespace

const Op& attention_op() noexcept {
  static const Attention op;
  return op;
}

}  // namespace redoubt::detail
