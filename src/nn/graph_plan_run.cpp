// Running a compiled graph.
#include <algorithm>
#include <chrono>
#include <cstdint>

#include "kernels/depthwise.hpp"
#include "nn/graph_internal.hpp"
#include "nn/graph_plan.hpp"
#include "redoubt/core/parallel.hpp"
#include "redoubt/kernels/activation.hpp"

namespace redoubt::detail {
namespace {

constexpr double parallel_flops = 4e6;  // below, waking a thread costs more than it brings
// A worker that has just worked still looks for more, so that sharing the columns of a layer costs about a microsecond;
// waking one that sleeps costs twenty.
constexpr double awake_seconds = 50e-6;
thread_local std::chrono::steady_clock::time_point last_shared;  // end of a run of this thread that had such a layer

/// Zeros behind `count` values of each row, up to the depth of their reader.
void fill_up(std::byte* rows, std::size_t n, std::size_t count, const kernels::NarrowWeights& reader) {
  const std::size_t value = reader.width();
  for (std::size_t i = 0; i < n; ++i)
    std::fill_n(rows + (i * reader.depth() + count) * value, (reader.depth() - count) * value, std::byte{0});
}

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

double GraphPlan::Step::cost(double flops) const noexcept {
  return is_narrow() && kernels::has_pooled_products() ? flops / 8 : flops;
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
  const std::size_t skip =
      (line_floats - reinterpret_cast<std::uintptr_t>(scratch.data()) / sizeof(float) % line_floats) % line_floats;
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
