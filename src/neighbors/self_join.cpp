// Nearest others of points among themselves. Each pair is looked at once, for both: its bracket (products.hpp) is
// formed and compared in registers or tiles (kernels/near.hpp), in bf16 where the machine has it, and what may be near
// is measured exactly. Rows are ordered so that most neighbours are met at once and blocks that are far apart in the
// main directions are skipped, which changes no result.
#include <algorithm>
#include <bit>
#include <cmath>
#include <cstring>
#include <mutex>

#include "kernels/bf16.hpp"
#include "kernels/near.hpp"
#include "neighbors/locality.hpp"
#include "neighbors/products.hpp"
#include "neighbors/search.hpp"
#include "redoubt/core/parallel.hpp"
#include "redoubt/kernels/matmul.hpp"
#include "redoubt/kernels/vector.hpp"

namespace redoubt::detail {
namespace {

using kernels::detail::bf16_of;
using kernels::detail::float_of;
using kernels::detail::near_panel;
constexpr std::size_t block = 4 * near_panel;
constexpr std::size_t line = 16;  // words
constexpr float infinite = std::numeric_limits<float>::infinity();

class SelfJoin {
 public:
  SelfJoin(MatrixView<const float> points, std::size_t k, Arena* arena)
      : points_(points),
        k_(k),
        arena_(arena),
        count_((points.rows() + block - 1) / block),
        centre_(mean_of(points)),
        error_(error_of(points.cols())),
        rough_(1 - static_cast<double>(points.cols() + 16) * 0x1p-23),
        place_(order_by_nearness(points, centre_, block, arena)),
        best_(points.rows(), Best(k)),
        reach_(count_ * block, infinite),
        locks_(count_) {
    const Isa isa = active_isa();
    kernel_ = kernels::detail::near_bf16(isa);
    narrow_ = kernel_ != nullptr;
    if (!narrow_) kernel_ = kernels::detail::near_fp32(isa);
    depth_ = narrow_ ? kernels::detail::near_depth((points.cols() + 1) / 2) : points.cols();
    left_row_ = narrow_ ? (depth_ + line - 1) / line * line : depth_;  // of tiles; no row shares a line with another
  }

  void run(Neighbors& out) {
    parallel_for(
        count_, 1,
        [&](std::size_t begin, std::size_t end) {
          for (std::size_t b = begin; b < end; ++b) estimate(b);
        },
        arena_);
    set_far_rows_apart();
    prepare();
    // Pairs of blocks, neighbours in the order first: pair t is of blocks `apart` from each other for the largest
    // `apart` whose pairs start at t or before.
    std::vector<std::size_t> starts(count_ + 1, 0);
    for (std::size_t apart = 0; apart < count_; ++apart) starts[apart + 1] = starts[apart] + count_ - apart;
    parallel_for(
        starts.back(), 32,
        [&](std::size_t begin, std::size_t end) {
          std::vector<std::uint64_t> hits(block * (block / near_panel));
          for (std::size_t t = begin; t < end; ++t) {
            const auto after = std::upper_bound(starts.begin(), starts.end(), t);
            const auto apart = static_cast<std::size_t>(after - starts.begin()) - 1;
            between(t - starts[apart], t - starts[apart] + apart, hits);
          }
        },
        arena_);
    parallel_for(
        points_.rows(), 1024,
        [&](std::size_t begin, std::size_t end) {
          for (std::size_t r = begin; r < end; ++r) best_[r].write(out, r);
        },
        arena_);
  }

 private:
  std::size_t end_of(std::size_t b) const { return std::min(points_.rows(), (b + 1) * block); }

  /// Bounds how far the neighbours of a block's rows are by those within it.
  void estimate(std::size_t b) {
    const std::size_t first = b * block, size = end_of(b) - first;
    if (size < k_ + 1) return;
    Tensor<float> rows({size, points_.cols()}), brackets({size, size});
    std::vector<double> norms(size);
    std::vector<float> bias(size), sorted;
    double longest = 0;
    for (std::size_t i = 0; i < size; ++i) {
      norms[i] = centre_row(points_.row(place_.order[first + i]).data(), centre_, rows.row(i).data());
      bias[i] = static_cast<float>(-0.5 * norms[i]);
      longest = std::max(longest, std::sqrt(norms[i]));
    }
    kernels::MatmulOptions options;
    options.epilogue.bias = bias.data();
    Arena serial(1);  // blocks are what is shared out
    options.arena = &serial;
    kernels::matmul_nt(rows, rows, MatrixView<float>(brackets), options);
    for (std::size_t i = 0; i < size; ++i) {
      const double far = std::sqrt(norms[i]) + longest;
      if (!(far < no_overflow)) continue;
      // The k + 1 largest brackets, of which one may be of the row with itself.
      const float* values = brackets.row(i).data();
      sorted.assign(values, values + size);
      std::nth_element(sorted.begin(), sorted.begin() + static_cast<std::ptrdiff_t>(k_), sorted.end(),
                       [](float x, float y) { return x > y; });
      reach_[first + i] = above((norms[i] / 2 - sorted[k_] + error_ * far * far + 1e-36) * (1 + 0x1p-20) + 1e-36);
    }
  }

  /// Rows whose neighbours are far off would keep their block from being skipped: to the end with them.
  void set_far_rows_apart() {
    const std::size_t n = points_.rows();
    std::vector<float> sorted(reach_.begin(), reach_.begin() + static_cast<std::ptrdiff_t>(n));
    const auto middle = sorted.begin() + static_cast<std::ptrdiff_t>(n / 2);
    std::nth_element(sorted.begin(), middle, sorted.end());
    const float cut = 2 * *middle;
    std::vector<std::uint32_t> order, far;
    std::vector<float> reach, far_reach;
    for (std::size_t s = 0; s < n; ++s) {
      (reach_[s] > cut ? far : order).push_back(place_.order[s]);
      (reach_[s] > cut ? far_reach : reach).push_back(reach_[s]);
    }
    order.insert(order.end(), far.begin(), far.end());
    reach.insert(reach.end(), far_reach.begin(), far_reach.end());
    place_.order = std::move(order);
    std::copy(reach.begin(), reach.end(), reach_.begin());
  }

  /// Lays out what the kernel reads, in the final order.
  void prepare() {
    const std::size_t slots = count_ * block, cols = points_.cols(), width = place_.coordinates.cols();
    ordered_ = Tensor<float>({slots, cols});
    left_ = Tensor<float>({slots, left_row_});
    right_ = Tensor<float>({slots, depth_});
    start_.assign(slots, -infinite);
    norms_.assign(slots, 0);
    misses_.assign(slots, 0);
    longest_.assign(count_, 0);
    worst_miss_.assign(count_, 0);
    low_ = Tensor<float>({count_, width});
    high_ = Tensor<float>({count_, width});
    std::fill(reach_.begin() + static_cast<std::ptrdiff_t>(points_.rows()), reach_.end(), -infinite);
    parallel_for(
        count_, 1,
        [&](std::size_t begin, std::size_t end) {
          std::vector<float> centred(2 * depth_, 0.0f);
          for (std::size_t b = begin; b < end; ++b)
            for (std::size_t s = b * block; s < end_of(b); ++s) lay_out(s, centred);
        },
        arena_);
  }

  void lay_out(std::size_t s, std::vector<float>& centred) {
    const std::size_t b = s / block, cols = points_.cols();
    const std::uint32_t row = place_.order[s];
    std::copy_n(points_.row(row).data(), cols, ordered_.row(s).data());
    norms_[s] = centre_row(ordered_.row(s).data(), centre_, centred.data());
    start_[s] = static_cast<float>(-0.5 * norms_[s]);
    float* const words = left_.row(s).data();
    if (narrow_) {
      double miss = 0;
      for (std::size_t k = 0; k < depth_; ++k) {
        std::uint16_t pair[2];
        for (std::size_t i = 0; i < 2; ++i) {
          pair[i] = bf16_of(centred[2 * k + i]);
          const double off = static_cast<double>(centred[2 * k + i]) - float_of(pair[i]);
          miss += off * off;
        }
        words[k] = std::bit_cast<float>(std::uint32_t{pair[0]} | std::uint32_t{pair[1]} << 16);
      }
      misses_[s] = std::sqrt(miss);
    } else {
      std::copy_n(centred.data(), depth_, words);
    }
    float* const panel = right_.data() + s / near_panel * near_panel * depth_ + s % near_panel;
    for (std::size_t k = 0; k < depth_; ++k) std::memcpy(panel + k * near_panel, words + k, sizeof(float));
    longest_[b] = std::max(longest_[b], std::sqrt(norms_[s]));
    worst_miss_[b] = std::max(worst_miss_[b], misses_[s]);
    for (std::size_t c = 0; c < place_.coordinates.cols(); ++c) {
      const float at = place_.coordinates(row, c);
      low_(b, c) = s % block == 0 ? at : std::min(low_(b, c), at);
      high_(b, c) = s % block == 0 ? at : std::max(high_(b, c), at);
    }
  }

  /// Bound of the error of brackets of a row with those of a block.
  double slack(std::size_t s, std::size_t with) const {
    const double norm = std::sqrt(norms_[s]), far = norm + longest_[with];
    if (!(far < no_overflow)) return std::numeric_limits<double>::infinity();
    double slack = 1.001 * error_ * far * far + 1e-37 * static_cast<double>(points_.cols() + 16);
    // ab - a'b' = (a - a') b + a' (b - b'), and sums of bf16 may round twice as often.
    if (narrow_)
      slack +=
          error_ * far * far + 1.001 * misses_[s] * longest_[with] + (1.001 * norm + misses_[s]) * worst_miss_[with];
    return slack;
  }

  /// Half of the squared distance that rows of two blocks have at least.
  double half_apart(std::size_t a, std::size_t b) const {
    double sum = 0;
    for (std::size_t c = 0; c < low_.cols(); ++c) {
      const double gap =
          std::max({0.0, static_cast<double>(low_(a, c)) - high_(b, c), static_cast<double>(low_(b, c)) - high_(a, c)});
      sum += gap * gap;
    }
    const double least = 0.999 * std::sqrt(sum) - place_.error * (longest_[a] + longest_[b]);
    return least > 0 ? least * least / 2 : 0;
  }

  void between(std::size_t a, std::size_t b, std::vector<std::uint64_t>& hits) {
    float reach[block], own[block], base[block];
    const std::size_t rows = end_of(a) - a * block;
    float most = -infinite;
    {
      const std::scoped_lock hold(locks_[a]);
      std::copy_n(reach_.data() + a * block, block, own);
    }
    if (a != b) {
      const std::scoped_lock hold(locks_[b]);
      std::copy_n(reach_.data() + b * block, block, reach);
    } else {
      std::copy_n(own, block, reach);
    }
    for (std::size_t i = 0; i < block; ++i) most = std::max({most, own[i], reach[i]});
    if (a != b && half_apart(a, b) > most) return;

    // A pair matters if |a|^2 - 2 bracket is within the reach of either; the factors outweigh rounding here.
    for (std::size_t i = 0; i < block; ++i) {
      if (i >= rows) {
        own[i] = base[i] = infinite;
        continue;
      }
      base[i] = below(0.5 * norms_[a * block + i] * (1 - 0x1p-20) - slack(a * block + i, b));
      const float least = base[i] - own[i];
      own[i] = least - std::abs(least) * 0x1p-22f;
    }
    kernel_({.a = left_.row(a * block).data(),
             .a_row = left_row_,
             .groups = block / kernels::detail::near_rows,
             .b = right_.row(b * block).data(),
             .panels = block / near_panel,
             .depth = depth_,
             .start = start_.data() + b * block,
             .reach = reach,
             .base = base,
             .own = own,
             .hits = hits.data()});
    std::unique_lock hold_a(locks_[a], std::defer_lock), hold_b(locks_[b], std::defer_lock);
    if (a == b)
      hold_a.lock();
    else
      std::lock(hold_a, hold_b);
    for (std::size_t p = 0; p < block / near_panel; ++p)
      for (std::size_t i = 0; i < rows; ++i)
        for (std::uint64_t left = hits[p * block + i]; left != 0; left &= left - 1)
          look(a * block + i, b * block + p * near_panel + static_cast<std::size_t>(std::countr_zero(left)));
  }

  void look(std::size_t s, std::size_t t) {
    // Of a block with itself each pair is seen twice, and columns beyond the last row may count as near.
    if (t >= points_.rows() || (s / block == t / block && s >= t)) return;
    // In fp32 from differences: near enough to turn most away.
    const float rough = kernels::squared_distance(ordered_.row(s), ordered_.row(t));
    const double least = static_cast<double>(rough) * rough_, take_s = worst(s), take_t = worst(t);
    if (rough < 3e38f && least > take_s && least > take_t) return;
    const double distance = squared_distance(ordered_.row(s).data(), ordered_.row(t).data(), points_.cols());
    offer(s, distance, t);
    offer(t, distance, s);
  }

  double worst(std::size_t s) const { return best_[place_.order[s]].worst(); }

  void offer(std::size_t s, double distance, std::size_t other) {
    Best& best = best_[place_.order[s]];
    if (distance > best.worst()) return;
    best.offer(distance, place_.order[other]);
    // Half the squared distance within which the row still takes others, not rounded down.
    reach_[s] = std::min(reach_[s], above(best.worst() / 2 * (1 + 0x1p-20)));
  }

  MatrixView<const float> points_;
  std::size_t k_;
  Arena* arena_;
  std::size_t count_;  // of blocks
  std::vector<float> centre_;
  double error_;
  double rough_;  // times what fp32 measures: not above the distance
  Locality place_;
  std::vector<Best> best_;         // by row; all else by slot, which is a place in the order
  std::vector<float> reach_;       // half the squared distance
  std::vector<std::mutex> locks_;  // of reach_ and best_; the order does not matter for what is nearest
  kernels::detail::NearKernel kernel_ = nullptr;
  bool narrow_ = false;
  std::size_t depth_ = 0, left_row_ = 0;  // words of a row for the kernel, and from row to row on the left
  Tensor<float> ordered_, left_, right_, low_, high_;
  std::vector<float> start_;
  std::vector<double> norms_, misses_;        // of what is lost to bf16
  std::vector<double> longest_, worst_miss_;  // per block
};

}  // namespace

void self_join(MatrixView<const float> points, std::size_t k, Neighbors& out, Arena* arena) {
  SelfJoin(points, k, arena).run(out);
}

}  // namespace redoubt::detail
