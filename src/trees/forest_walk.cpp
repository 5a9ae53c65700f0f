// Prediction node by node: any tree, any machine. Several walks go in step, so that the loads of one hide behind the
// others'.
#include <fmt/format.h>

#include <algorithm>
#include <cmath>
#include <cstring>

#include "redoubt/core/parallel.hpp"
#include "trees/forest_compiled.hpp"

namespace redoubt {
namespace {

constexpr std::size_t lanes = 8;
constexpr std::size_t rows_per_task = 256;

void add_sum(float* place, std::uint32_t value) {
  std::uint32_t sum;
  std::memcpy(&sum, place, sizeof sum);
  sum += value;
  std::memcpy(place, &sum, sizeof sum);
}

}  // namespace

/// Walk i goes down from roots[i] with rows[i].
template <std::size_t Lanes>
void Forest::leaves_of(const std::int32_t* roots, const float* const* rows, std::uint32_t* leaves) const noexcept {
  if (has_categories_) {
    for (std::size_t i = 0; i < Lanes; ++i) leaves[i] = leaf_of(roots[i], rows[i]);
    return;
  }
  const Node* const nodes = nodes_.data();
  std::int32_t at[Lanes];
  std::int32_t done = -1;
  for (std::size_t i = 0; i < Lanes; ++i) at[i] = roots[i], done &= at[i];
  while (done >= 0) {
    done = -1;
    for (std::size_t i = 0; i < Lanes; ++i) {
      const Node& node = nodes[at[i] < 0 ? 0 : at[i]];
      const std::uint32_t flags = node.feature_and_flags;
      const float x = rows[i][flags >> 3];
      const std::uint32_t missing = std::uint32_t{x != x} | (std::uint32_t{std::abs(x) <= 1e-35f} & flags >> 1 & 1);
      const std::uint32_t left = (missing & flags) | (~missing & std::uint32_t{x <= node.threshold} & 1);
      const std::int32_t next = node.child[left & 1 ? 0 : 1];
      at[i] = at[i] < 0 ? at[i] : next;
      done &= at[i];
    }
  }
  for (std::size_t i = 0; i < Lanes; ++i) leaves[i] = static_cast<std::uint32_t>(~at[i]);
}

void Forest::walk_row(std::span<const std::uint32_t> trees, const float* row, float* dst) const noexcept {
  const std::size_t width = shape_.leaf_width;
  const std::int32_t* const values = compiled_->leaves.values.data();
  const float* rows[lanes];
  std::fill_n(rows, lanes, row);
  std::int32_t roots[lanes];
  std::uint32_t leaves[lanes];
  const auto add = [&](std::uint32_t tree, std::size_t leaf) {
    if (width == 1) {
      add_sum(dst + arrays_.outputs_of[tree], static_cast<std::uint32_t>(values[leaf]));
    } else {
      for (std::size_t k = 0; k < width; ++k) add_sum(dst + k, static_cast<std::uint32_t>(values[leaf * width + k]));
    }
  };
  std::size_t t = 0;
  for (; t + lanes <= trees.size(); t += lanes) {
    for (std::size_t i = 0; i < lanes; ++i) roots[i] = arrays_.roots[trees[t + i]];
    leaves_of<lanes>(roots, rows, leaves);
    for (std::size_t i = 0; i < lanes; ++i) add(trees[t + i], leaves[i]);
  }
  for (; t < trees.size(); ++t) add(trees[t], leaf_of(arrays_.roots[trees[t]], row));
}

void Forest::walk_block(std::span<const std::uint32_t> trees, MatrixView<const float> rows,
                        MatrixView<float> dst) const noexcept {
  if (rows.rows() < lanes) {
    for (std::size_t r = 0; r < rows.rows(); ++r) walk_row(trees, rows.row(r).data(), dst.row(r).data());
    return;
  }
  const std::size_t width = shape_.leaf_width;
  const std::int32_t* const values = compiled_->leaves.values.data();
  const float* lane_rows[lanes];
  std::int32_t roots[lanes];
  std::uint32_t leaves[lanes];
  for (const std::uint32_t t : trees) {  // a tree stays in the caches while all rows pass
    std::fill_n(roots, lanes, arrays_.roots[t]);
    const auto add = [&](std::size_t r, std::size_t leaf) {
      float* const sums = dst.row(r).data();
      if (width == 1) {
        add_sum(sums + arrays_.outputs_of[t], static_cast<std::uint32_t>(values[leaf]));
      } else {
        for (std::size_t k = 0; k < width; ++k) add_sum(sums + k, static_cast<std::uint32_t>(values[leaf * width + k]));
      }
    };
    std::size_t r = 0;
    for (; r + lanes <= rows.rows(); r += lanes) {
      for (std::size_t i = 0; i < lanes; ++i) lane_rows[i] = rows.row(r + i).data();
      leaves_of<lanes>(roots, lane_rows, leaves);
      for (std::size_t i = 0; i < lanes; ++i) add(r + i, leaves[i]);
    }
    for (; r < rows.rows(); ++r) add(r, leaf_of(arrays_.roots[t], rows.row(r).data()));
  }
}

void Forest::leaf_ids(std::span<const float> src, std::span<std::uint32_t> dst) const noexcept {
  const detail::CompiledForest& f = *compiled_;
  if (f.row != detail::RowEngine::walk) {
    f.leaf_ids(src.data(), dst.data());
    for (const std::uint32_t t : f.row_walk) dst[t] = leaf_of(arrays_.roots[t], src.data());
    return;
  }
  const float* rows[lanes];
  std::fill_n(rows, lanes, src.data());
  std::size_t t = 0;
  for (; t + lanes <= trees(); t += lanes) leaves_of<lanes>(arrays_.roots.data() + t, rows, dst.data() + t);
  for (; t < trees(); ++t) dst[t] = leaf_of(arrays_.roots[t], src.data());
}

void Forest::leaf_ids(MatrixView<const float> src, MatrixView<std::uint32_t> dst, Arena* arena) const {
  if (src.cols() != inputs() || dst.cols() != trees() || src.rows() != dst.rows())
    detail::fail(
        errc::shape_mismatch,
        fmt::format("leaf_ids of a forest of {} inputs and {} trees was given rows {} x {} and room for {} x {}",
                    inputs(), trees(), src.rows(), src.cols(), dst.rows(), dst.cols()));
  parallel_for(
      src.rows(), rows_per_task,
      [&](std::size_t begin, std::size_t end) {
        if (compiled_->row != detail::RowEngine::walk) {
          for (std::size_t r = begin; r < end; ++r) leaf_ids(src.row(r), dst.row(r));
          return;
        }
        const float* rows[lanes];
        std::int32_t roots[lanes];
        std::uint32_t leaves[lanes];
        for (std::size_t t = 0; t < trees(); ++t) {
          std::fill_n(roots, lanes, arrays_.roots[t]);
          std::size_t r = begin;
          for (; r + lanes <= end; r += lanes) {
            for (std::size_t i = 0; i < lanes; ++i) rows[i] = src.row(r + i).data();
            leaves_of<lanes>(roots, rows, leaves);
            for (std::size_t i = 0; i < lanes; ++i) dst(r + i, t) = leaves[i];
          }
          for (; r < end; ++r) dst(r, t) = leaf_of(arrays_.roots[t], src.row(r).data());
        }
      },
      arena);
}

void Forest::tree_values(std::span<const float> src, std::span<float> dst) const noexcept {
  const std::size_t width = shape_.leaf_width;
  for (std::size_t t = 0; t < trees(); ++t) {
    const std::size_t leaf = leaf_of(arrays_.roots[t], src.data());
    for (std::size_t k = 0; k < width; ++k) dst[t * width + k] = arrays_.leaf_values[leaf * width + k];
  }
}

void Forest::staged(MatrixView<const float> src, std::span<const std::size_t> counts, MatrixView<float> dst, bool link,
                    Arena* arena) const {
  const std::size_t width = link ? outputs() : shape_.outputs;
  if (src.cols() != inputs() || dst.cols() != counts.size() * width || src.rows() != dst.rows())
    detail::fail(
        errc::shape_mismatch,
        fmt::format("{} stages of a forest of {} inputs and {} outputs were given rows {} x {} and room for {} x {}",
                    counts.size(), inputs(), width, src.rows(), src.cols(), dst.rows(), dst.cols()));
  for (std::size_t i = 0; i < counts.size(); ++i)
    if (counts[i] > trees() || (i > 0 && counts[i] < counts[i - 1]))
      detail::fail(errc::invalid_argument,
                   fmt::format("counts[{}] = {}: counts of trees ascend and are at most {}", i, counts[i], trees()));
  const detail::FixedLeaves& leaves = compiled_->leaves;
  parallel_for(
      src.rows(), rows_per_task,
      [&](std::size_t begin, std::size_t end) {
        std::vector<std::int64_t> sums(shape_.outputs);
        std::vector<std::uint32_t> leaf(trees());
        const auto value = [&](std::size_t i) { return leaves.wide ? leaves.wide_values[i] : leaves.values[i]; };
        for (std::size_t r = begin; r < end; ++r) {
          std::fill(sums.begin(), sums.end(), 0);
          leaf_ids(src.row(r), leaf);
          std::size_t t = 0;
          for (std::size_t i = 0; i < counts.size(); ++i) {
            for (; t < counts[i]; ++t) {
              if (shape_.leaf_width == 1)
                sums[arrays_.outputs_of[t]] += value(leaf[t]);
              else
                for (std::size_t k = 0; k < sums.size(); ++k) sums[k] += value(leaf[t] * sums.size() + k);
            }
            const auto out = dst.row(r).subspan(i * width, width);
            for (std::size_t k = 0; k < sums.size(); ++k) out[k] = score(k, sums[k]);
            if (link) apply_link(out, t);
          }
        }
      },
      arena);
}

}  // namespace redoubt
