#include "trees/row_partition.hpp"

#include <algorithm>
#include <memory>
#include <numeric>

#include "kernels/grow.hpp"
#include "trees/phase.hpp"

namespace redoubt::detail {
namespace {

constexpr std::size_t partition_block = 8 * 1024;  // a multiple of 16
constexpr std::size_t serial_block = 4096;         // its masks stay in the cache
constexpr std::size_t streamed_rows = 4000;        // fewer are still in the cache when they are read
constexpr std::size_t staged_rows = partition_block;

/// Room for the four runs of a block.
std::uint32_t* staging() {
  static thread_local const std::unique_ptr<std::uint32_t[]> mine(new std::uint32_t[4 * staged_rows]);
  return mine.get();
}

}  // namespace

RowPartition::RowPartition(const BinnedMatrix& bins, Team& team)
    : bins_(bins), team_(team), kernels_(kernels::detail::grow_table()) {}

void RowPartition::start(RowList rows, std::size_t lanes) {
  rows_ = rows;
  for (auto& pairs : pairs_)
    if (pairs.size() < rows.size()) pairs.resize(rows.size());
  listed_codes_.resize(lanes);
}

void RowPartition::use_room(std::span<std::uint32_t> first, std::span<std::uint32_t> second) {
  const std::array given{first, second};
  for (std::size_t side = 0; side < 2; ++side) {
    if (given[side].empty() && room_[side].size() < rows_.size()) room_[side].resize(rows_.size());
    moved_[side] = given[side].empty() ? room_[side].data() : given[side].data();
  }
}

void RowPartition::finish(bool root_is_leaf) {
  if (root_is_leaf)
    for (std::size_t i = 0; i < rows_.size(); ++i) moved_[0][i] = rows_[i];
  rows_ = {};
}

/// Column of bytes whose codes in `set` go left.
const std::uint8_t* RowPartition::codes_for(const Split& split, std::size_t lane, std::array<std::uint32_t, 8>& set) {
  set.fill(0);
  const auto insert = [&](std::uint32_t code) { set[code / 32] |= std::uint32_t{1} << (code % 32); };
  const BinnedMatrix::Place& place = bins_.place(split.column);
  const std::uint32_t count = bins_.column(split.column).count, common = bins_.common_bin(split.column);
  if (place.stored != BinnedMatrix::Place::none) {
    if (!place.bundled) {
      for (std::size_t w = 0; w < 8; ++w)
        set[w] = static_cast<std::uint32_t>(split.left_bins.words()[w / 2] >> (32 * (w % 2)));
    } else {
      for (std::uint32_t code = 0; code < bins_.stored_bins(place.stored); ++code) {
        const std::uint32_t rank = code - place.first;  // large below first
        const std::uint32_t bin = rank < place.codes ? rank + (rank >= common) : common;
        if (split.left_bins.contains(bin)) insert(code);
      }
    }
    return bins_.stored_column(place.stored);
  }
  // Listed cells are spread over a column of their own, as distances from the common bin.
  PageVector<std::uint8_t>& codes = listed_codes_[lane];
  if (codes.empty()) codes.assign(bins_.rows() + 3, std::uint8_t{0});
  const BinnedMatrix::Sparse& cells = bins_.sparse()[place.group];
  for (auto e = cells.column_offsets[place.listed]; e < cells.column_offsets[place.listed + 1]; ++e)
    codes[cells.cell_rows[e]] = static_cast<std::uint8_t>(cells.cell_bins[e] - common);
  for (std::uint32_t b = 0; b <= count; ++b)
    if (split.left_bins.contains(b)) insert((b - common) & 255);
  return codes.data();
}

void RowPartition::forget_codes(std::uint32_t column, std::size_t lane) {
  const BinnedMatrix::Place& place = bins_.place(column);
  if (place.stored != BinnedMatrix::Place::none) return;
  const BinnedMatrix::Sparse& cells = bins_.sparse()[place.group];
  for (auto e = cells.column_offsets[place.listed]; e < cells.column_offsets[place.listed + 1]; ++e)
    listed_codes_[lane][cells.cell_rows[e]] = 0;
}

void RowPartition::split(const NodeRows& node, int side, std::size_t first, const Split& split, std::size_t lefts,
                         const Crew& crew) {
  std::array<std::uint32_t, 8> set;
  const std::uint8_t* codes = codes_for(split, crew.lane, set);
  std::uint32_t* const out_rows = moved_[1 - side] + first;
  std::uint32_t* const out_pairs = pairs_[1 - side].data() + first;
  const bool parallel = node.count >= parallel_rows && crew.threads > 1;
  // A line that two CPUs without a common cache have both read is slow to write, 35 ns on Zen 4, whatever is asked for
  // ahead. Written past the caches it takes 2. (Where they have one it costs: 1.2 times the time on Sapphire Rapids.)
  const bool stream = team_.far() && node.count >= streamed_rows;
  const std::size_t block = parallel ? even_block(node.count, partition_block, crew.threads, 64) : serial_block;
  const auto listed = [&](std::size_t begin) { return node.rows ? node.rows + begin : nullptr; };
  const auto split_block = [&](std::size_t begin, std::size_t end, const std::uint16_t* marks, std::size_t here,
                               std::size_t lefts_before) {
    const std::size_t l = lefts_before, r = lefts + (begin - lefts_before);
    if (stream) {
      std::uint32_t* const staged = staging();
      std::uint32_t *const rows_left = staged, *const pairs_left = rows_left + staged_rows;
      std::uint32_t *const rows_right = pairs_left + staged_rows, *const pairs_right = rows_right + staged_rows;
      const std::size_t rights = end - begin - here;
      kernels_.split(listed(begin), begin, node.pairs + begin, marks, end - begin, here, rows_left, pairs_left,
                     rows_right, pairs_right);
      kernels_.stream(rows_left, here, out_rows + l);
      kernels_.stream(pairs_left, here, out_pairs + l);
      kernels_.stream(rows_right, rights, out_rows + r);
      kernels_.stream(pairs_right, rights, out_pairs + r);
      return;
    }
    kernels_.split(listed(begin), begin, node.pairs + begin, marks, end - begin, here, out_rows + l, out_pairs + l,
                   out_rows + r, out_pairs + r);
  };
  if (!parallel) {
    std::array<std::uint16_t, serial_block / 16> marks;
    std::size_t before = 0;
    for (std::size_t begin = 0; begin < node.count; begin += block) {
      const std::size_t end = std::min(node.count, begin + block);
      const std::size_t here = kernels_.mark(codes, listed(begin), begin, end - begin, set.data(), marks.data());
      split_block(begin, end, marks.data(), here, before);
      before += here;
    }
  } else {
    masks_.resize((node.count + 15) / 16);
    const std::size_t blocks = (node.count + block - 1) / block;
    std::vector<std::size_t> counts(blocks);
    Phase marked(blocks, crew.threads), moved(blocks, crew.threads);
    team_.each([&](std::size_t part) {
      marked.work(part, [&](std::size_t i) {
        const std::size_t begin = i * block, end = std::min(node.count, begin + block);
        counts[i] = kernels_.mark(codes, listed(begin), begin, end - begin, set.data(), masks_.data() + begin / 16);
      });
      marked.wait();
      moved.work(part, [&](std::size_t i) {
        const std::size_t begin = i * block, end = std::min(node.count, begin + block);
        const std::size_t before = std::accumulate(counts.data(), counts.data() + i, std::size_t{0});
        split_block(begin, end, masks_.data() + begin / 16, counts[i], before);
      });
    });
  }
  forget_codes(split.column, crew.lane);
}

}  // namespace redoubt::detail
