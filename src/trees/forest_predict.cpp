// Prediction with the compiled form.
#include <fmt/format.h>

#include <algorithm>
#include <cmath>
#include <cstring>

#include "redoubt/core/parallel.hpp"
#include "trees/forest_compiled.hpp"

namespace redoubt {
namespace {

using detail::CompiledForest;
using kernels::detail::ForestTable;

constexpr std::size_t groups_at_once = 8;

/// Sums in place of floats: the room of the caller's result holds them until they are converted.
std::uint32_t load_sum(const float* place) {
  std::uint32_t sum;
  std::memcpy(&sum, place, sizeof sum);
  return sum;
}
void add_sum(float* place, std::uint32_t value) {
  value += load_sum(place);
  std::memcpy(place, &value, sizeof value);
}

[[gnu::hot]] void code_row(const CompiledForest& f, const float* row, unsigned char* codes) noexcept {
  f.row_table->code(f.numeric, row, 0, 1, codes, 1);
  for (std::size_t s = 0; s < f.sets.size(); ++s)
    codes[f.numeric_columns + s] = !detail::set_goes_left(f.sets[s], f.set_bits.data(), row[f.sets[s].input]);
}

/// The codes of the columns that a group reads.
const unsigned char* codes_of(const std::vector<std::uint16_t>& columns, const unsigned char* codes,
                              unsigned char* picked) noexcept {
  for (std::size_t c = 0; c < columns.size(); ++c) picked[c] = codes[columns[c]];
  return columns.empty() ? codes : picked;
}

/// Adds the swept trees of `Rows` (1 or 4) rows to the sums in dst.
template <std::size_t Rows>
void sweep_rows(const CompiledForest& f, std::size_t width, const float* const (&rows)[Rows],
                float* const (&dst)[Rows]) noexcept {
  alignas(64) unsigned char codes[Rows][detail::max_columns];
  alignas(64) unsigned char picked[Rows][groups_at_once][256];
  alignas(64) unsigned char leaves[Rows * groups_at_once * 64];
  const unsigned char* group_codes[Rows * groups_at_once];
  for (std::size_t r = 0; r < Rows; ++r) code_row(f, rows[r], codes[r]);
  for (std::size_t begin = 0; begin < f.groups.size(); begin += groups_at_once) {
    const std::size_t count = std::min(groups_at_once, f.groups.size() - begin);
    for (std::size_t r = 0; r < Rows; ++r)
      for (std::size_t g = 0; g < count; ++g)
        group_codes[count * r + g] = codes_of(f.group_columns[begin + g], codes[r], picked[r][g]);
    (Rows == 1 ? f.row_table->sweep : f.row_table->sweep_4)(f.groups.data() + begin, count, group_codes, leaves);
    for (std::size_t r = 0; r < Rows; ++r)
      for (std::size_t g = 0; g < count; ++g) {
        const std::size_t stride = (f.groups[begin + g].slots + 1) * width;
        const std::int32_t* value = f.sweep_values.data() + f.group_leaves[begin + g];
        const unsigned char* const leaf = leaves + 64 * (count * r + g);
        if (width > 1) {
          for (std::size_t lane = 0; lane < 64; ++lane, value += stride)
            for (std::size_t k = 0; k < width; ++k)
              add_sum(dst[r] + k, static_cast<std::uint32_t>(value[leaf[lane] * width + k]));
        } else if (f.lane_output.empty()) {
          std::uint32_t sum[4] = {};
          for (std::size_t lane = 0; lane < 64; lane += 4)
            for (std::size_t i = 0; i < 4; ++i, value += stride)
              sum[i] += static_cast<std::uint32_t>(value[leaf[lane + i]]);
          add_sum(dst[r], sum[0] + sum[1] + sum[2] + sum[3]);
        } else {
          const std::uint32_t* const output = f.lane_output.data() + 64 * (begin + g);
          for (std::size_t lane = 0; lane < 64; ++lane, value += stride)
            add_sum(dst[r] + output[lane], static_cast<std::uint32_t>(value[leaf[lane]]));
        }
      }
  }
}

/// Adds the trees that are in blocks to the sums in dst.
void row_through_blocks(const CompiledForest& f, std::size_t width, const float* row, float* dst) noexcept {
  const detail::BlockForm& form = f.blocks;
  alignas(64) unsigned char codes[detail::max_columns];
  alignas(64) unsigned char picked[groups_at_once][256];
  const unsigned char* group_codes[groups_at_once];
  code_row(f, row, codes);
  for (std::size_t begin = 0; begin < form.groups.size(); begin += groups_at_once) {
    const std::size_t count = std::min(groups_at_once, form.groups.size() - begin);
    const auto* const groups = form.groups.data() + begin;
    for (std::size_t g = 0; g < count; ++g) group_codes[g] = codes_of(form.columns[begin + g], codes, picked[g]);
    if (width == 1 && form.lane_output.empty()) {
      add_sum(dst, form.table->sum(groups, count, group_codes, form.blocks.data()));
      continue;
    }
    alignas(64) std::uint32_t places[64 * groups_at_once];
    form.table->find(groups, count, group_codes, form.blocks.data(), places);
    for (std::size_t g = 0; g < count; ++g)
      for (std::size_t lane = 0; lane < groups[g].lanes; ++lane) {
        const std::uint32_t place = places[64 * g + lane];
        const std::int32_t result = form.blocks[place / 32].slots[place % 32 - 16];
        if (width == 1)
          add_sum(dst + form.lane_output[64 * (begin + g) + lane], static_cast<std::uint32_t>(result));
        else
          for (std::size_t k = 0; k < width; ++k)
            add_sum(dst + k, static_cast<std::uint32_t>(f.leaves.values[static_cast<std::size_t>(result) * width + k]));
      }
  }
}

/// The sum of all trees where there is one output, all columns have a byte to name them, and no tree is walked.
[[gnu::hot]] std::uint32_t sum_of_row(const CompiledForest& f, const float* row) noexcept {
  alignas(64) unsigned char codes[256];
  const unsigned char* group_codes[groups_at_once];
  for (const unsigned char*& all : group_codes) all = codes;
#if defined(__GNUC__)
  // Where the caches are cold: what comes first, before one load waits for another.
  for (std::size_t i = 0; i < 12; ++i) __builtin_prefetch(f.memory.first() + 64 * i);
#endif
  code_row(f, row, codes);
  std::uint32_t sum = 0;
  if (f.row == detail::RowEngine::blocks) {
    const auto& groups = f.blocks.groups;
    for (std::size_t begin = 0; begin < groups.size(); begin += groups_at_once)
      sum += f.blocks.table->sum(groups.data() + begin, std::min(groups_at_once, groups.size() - begin), group_codes,
                                 f.blocks.blocks.data());
    return sum;
  }
  alignas(64) unsigned char leaves[groups_at_once * 64];
  for (std::size_t begin = 0; begin < f.groups.size(); begin += groups_at_once) {
    const std::size_t count = std::min(groups_at_once, f.groups.size() - begin);
    f.row_table->sweep(f.groups.data() + begin, count, group_codes, leaves);
    for (std::size_t g = 0; g < count; ++g) {
      const std::size_t stride = f.groups[begin + g].slots + 1;
      const std::int32_t* value = f.sweep_values.data() + f.group_leaves[begin + g];
      const unsigned char* const leaf = leaves + 64 * g;
      std::uint32_t part[4] = {};
      for (std::size_t lane = 0; lane < 64; lane += 4)
        for (std::size_t i = 0; i < 4; ++i, value += stride)
          part[i] += static_cast<std::uint32_t>(value[leaf[lane + i]]);
      sum += part[0] + part[1] + part[2] + part[3];
    }
  }
  return sum;
}

void row_by_row(const CompiledForest& f, std::size_t width, const float* row, float* dst) noexcept {
  if (f.row == detail::RowEngine::sweep) sweep_rows<1>(f, width, {row}, {dst});
  if (f.row == detail::RowEngine::blocks) row_through_blocks(f, width, row, dst);
}

/// Where the parts of a block's buffer begin, in bytes.
struct BlockLayout {
  std::size_t rows, codes = 0, masks, leaf_codes, sums, size;
  BlockLayout(const CompiledForest& f, std::size_t outputs, std::size_t words) : rows(64 * words) {
    masks = (f.columns() * rows + 63) / 64 * 64;
    leaf_codes = masks + (f.slice_slots * words * 8 + 63) / 64 * 64;
    sums = leaf_codes + kernels::detail::forest_trees_at_once * kernels::detail::forest_code_bytes * words;
    size = sums + outputs * rows * sizeof(std::uint32_t);
  }
};

/// Masks of the tests of category sets: rows by category, joined per set.
void test_sets(const CompiledForest& f, const CompiledForest::Slice& slice, MatrixView<const float> rows,
               std::size_t words, std::uint64_t* masks) {
  for (std::size_t i = 0; i < slice.set_slots.size(); i += 2) {
    const detail::SetTest& test = f.sets[slice.set_slots[i]];
    std::uint64_t* const mask = masks + words * slice.set_slots[i + 1];
    std::fill_n(mask, words, 0);
    for (std::size_t r = 0; r < rows.rows(); ++r)
      mask[r / 64] |= std::uint64_t{!detail::set_goes_left(test, f.set_bits.data(), rows(r, test.input))} << r % 64;
  }
}

/// Sums of the sliced trees of up to 64 * words rows, in REDOUBT_FOREST_POSITION order per output.
const std::uint32_t* slice_block(const CompiledForest& f, const ForestTable& table, std::size_t outputs,
                                 std::size_t width, MatrixView<const float> rows, unsigned char* buffer) {
  const BlockLayout layout(f, outputs, table.words);
  const std::size_t words = table.words;
  auto* const masks = reinterpret_cast<std::uint64_t*>(buffer + layout.masks);
  auto* const sums = reinterpret_cast<std::uint32_t*>(buffer + layout.sums);
  table.code(f.numeric, rows.data(), rows.stride(), rows.rows(), buffer, layout.rows);
  for (std::size_t k = 0; k < outputs; ++k) std::fill_n(sums + k * layout.rows, layout.rows, f.constants[k]);
  std::fill_n(masks, words, 0);
  std::fill_n(masks + words, words, ~std::uint64_t{0});
  for (const auto& slice : f.slices) {
    table.tests(slice.tests.data(), slice.tests.size(), buffer, masks);
    test_sets(f, slice, rows, words, masks);
    table.slice(slice.trees.data(), slice.trees.size(), width, masks, buffer + layout.leaf_codes, sums);
  }
  return sums;
}

}  // namespace

void detail::CompiledForest::leaf_ids(const float* values, std::uint32_t* leaves) const noexcept {
  alignas(64) unsigned char codes[max_columns];
  alignas(64) unsigned char picked[256];
  code_row(*this, values, codes);
  if (row == RowEngine::blocks) {
    std::uint32_t places[64];
    for (std::size_t g = 0; g < blocks.groups.size(); ++g) {
      const unsigned char* const own = codes_of(blocks.columns[g], codes, picked);
      blocks.table->find(blocks.groups.data() + g, 1, &own, blocks.blocks.data(), places);
      for (std::size_t lane = 0; lane < blocks.groups[g].lanes; ++lane)
        leaves[blocks.lane_tree[64 * g + lane]] =
            blocks.exit_leaf[blocks.first_exit[places[lane] / 32] + places[lane] % 32 - 16];
    }
    return;
  }
  alignas(64) unsigned char places[64];
  const std::uint32_t* leaf = sweep_leaf.data();
  for (std::size_t g = 0; g < groups.size(); ++g) {
    const unsigned char* const own = codes_of(group_columns[g], codes, picked);
    row_table->sweep(groups.data() + g, 1, &own, places);
    for (std::size_t lane = 0; lane < 64; ++lane, leaf += groups[g].slots + 1)
      if (lane_tree[64 * g + lane] != no_tree) leaves[lane_tree[64 * g + lane]] = leaf[places[lane]];
  }
}

void Forest::finish_sums(float* dst) const noexcept {
  for (std::size_t k = 0; k < shape_.outputs; ++k) dst[k] = score(k, static_cast<std::int32_t>(load_sum(dst + k)));
}

// What one row runs through is marked hot: so it stands together in the program, and where the caches are cold, it is
// found with fewer misses.
[[gnu::hot]] void Forest::scores(std::span<const float> src, std::span<float> dst) const noexcept {
  const CompiledForest& f = *compiled_;
  if (f.one_sum) {
    dst[0] = score(0, static_cast<std::int32_t>(sum_of_row(f, src.data())));
    return;
  }
  if (f.leaves.wide) {
    walk_scores(src, dst, trees());
    return;
  }
  std::memset(dst.data(), 0, shape_.outputs * sizeof(float));
  row_by_row(f, shape_.leaf_width, src.data(), dst.data());
  walk_row(f.row_walk, src.data(), dst.data());
  finish_sums(dst.data());
}

[[gnu::hot]] void Forest::predict(std::span<const float> src, std::span<float> dst, std::span<float>) const noexcept {
  scores(src, dst);
  if (shape_.link != ForestLink::identity) apply_link(dst.first(outputs()), trees());
}

void Forest::predict_block(MatrixView<const float> src, MatrixView<float> dst) const {
  const CompiledForest& f = *compiled_;
  const std::size_t outputs = shape_.outputs;
  if (f.leaves.wide) {
    for (std::size_t r = 0; r < src.rows(); ++r) predict(src.row(r), dst.row(r), {});
    return;
  }
  for (std::size_t begin = 0; begin < src.rows();) {
    const std::size_t left = src.rows() - begin;
    const ForestTable* const table = f.table_for(left);
    const std::size_t rows = table ? std::min(left, 64 * table->words) : left;
    const auto in = src.slice(begin, begin + rows);
    const auto out = dst.slice(begin, begin + rows);
    begin += rows;
    if (table) {
      auto buffer = f.scratch.take(BlockLayout(f, outputs, table->words).size);
      const std::uint32_t* const sums = slice_block(f, *table, outputs, shape_.leaf_width, in, buffer.data());
      for (std::size_t r = 0; r < rows; ++r) {
        const std::size_t place = r / 64 * 64 + REDOUBT_FOREST_POSITION(r % 64);
        for (std::size_t k = 0; k < outputs; ++k)
          std::memcpy(out.row(r).data() + k, sums + k * 64 * table->words + place, sizeof(float));
      }
      f.scratch.give_back(std::move(buffer));
      walk_block(f.batch_walk, in, out);
    } else {
      for (std::size_t r = 0; r < rows; ++r) std::memset(out.row(r).data(), 0, outputs * sizeof(float));
      if (f.batch_by_row) {
        std::size_t r = 0;
        const auto row = [&](std::size_t i) { return in.row(r + i).data(); };
        const auto sums = [&](std::size_t i) { return out.row(r + i).data(); };
        for (; f.row == detail::RowEngine::sweep && r + 4 <= rows; r += 4)
          sweep_rows<4>(f, shape_.leaf_width, {row(0), row(1), row(2), row(3)}, {sums(0), sums(1), sums(2), sums(3)});
        for (; r < rows; ++r) row_by_row(f, shape_.leaf_width, row(0), sums(0));
      }
      walk_block(f.batch_by_row ? f.row_walk : f.all_trees, in, out);
    }
    for (std::size_t r = 0; r < rows; ++r) {
      finish_sums(out.row(r).data());
      apply_link(out.row(r).first(this->outputs()), trees());
    }
  }
}

void Forest::predict_batch(MatrixView<const float> src, MatrixView<float> dst, Arena* arena) const {
  if (src.cols() != inputs() || dst.cols() != outputs() || src.rows() != dst.rows())
    detail::fail(errc::shape_mismatch,
                 fmt::format("forest of {} inputs and {} outputs was given rows {} x {} and room for {} x {}", inputs(),
                             outputs(), src.rows(), src.cols(), dst.rows(), dst.cols()));
  constexpr std::size_t rows_per_task = 512;
  parallel_for(
      src.rows(), rows_per_task,
      [&](std::size_t begin, std::size_t end) { predict_block(src.slice(begin, end), dst.slice(begin, end)); }, arena);
}

}  // namespace redoubt
