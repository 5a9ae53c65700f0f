#include "trees/histogram.hpp"

#include <algorithm>
#include <array>
#include <memory>
#include <numeric>
#include <utility>

#include "kernels/grow.hpp"
#include "redoubt/core/parallel.hpp"
#include "trees/phase.hpp"

namespace redoubt::detail {
namespace {

using kernels::detail::grow_block_rows;
using kernels::detail::grow_g_at;
using kernels::detail::grow_h_at;

constexpr std::size_t group_columns = 8;          // one kernel call: their bins take half of the L1 cache
constexpr std::size_t tile_groups = 4;            // gathered together: half a cache line of each row
constexpr std::size_t serial_cells = 128 * 1024;  // less work than this is not worth a second thread
constexpr std::size_t unpack_cost = 160;          // additions that take about as long as unpacking a pack
constexpr std::size_t smallest_part = grow_block_rows;

/// Of one thread, for one block of rows.
struct Scratch {
  alignas(64) std::array<std::uint64_t, 256 * group_columns> bins{};  // zero between calls
  alignas(64) std::array<std::uint64_t, grow_block_rows> pairs;
  alignas(64) std::array<std::uint64_t, grow_block_rows * tile_groups> codes;
};

Scratch& scratch() {
  static thread_local const std::unique_ptr<Scratch> mine = std::make_unique<Scratch>();
  return *mine;
}

}  // namespace

HistogramLayout::HistogramLayout(const BinnedMatrix& bins) {
  // First what the search looks at bin by bin: bundles of columns with one code each at most, then columns of few
  // categories.
  constexpr std::uint32_t many = 256;
  std::vector<std::uint32_t> keys(bins.stored_columns(), 0), order(bins.stored_columns());
  for (std::size_t c = 0; c < bins.cols(); ++c) {
    const BinnedMatrix::Place& place = bins.place(c);
    plain = plain && place.stored != BinnedMatrix::Place::none && !place.bundled;
    if (place.stored == BinnedMatrix::Place::none) continue;
    const bool categories = bins.column(c).categories > 0;
    if (place.bundled)
      keys[place.stored] |= place.codes <= 1 && !categories ? 0 : many;
    else
      keys[place.stored] = categories ? bins.column(c).count + place.any_missing : many;
  }
  std::iota(order.begin(), order.end(), 0u);
  std::stable_sort(order.begin(), order.end(), [&](auto a, auto b) { return keys[a] < keys[b]; });
  stored.resize(bins.stored_columns());
  for (const auto s : order) {
    stored[s] = size;
    size += (bins.stored_bins(s) + 7) / 8 * 8;
  }
  for (const auto& group : bins.sparse()) {
    groups.push_back(size);
    size += group.offsets.back();
  }
}

std::span<std::uint64_t> HistogramPool::take_array() {
  if (free_.empty()) return arrays_.emplace_back(length_, std::uint64_t{0});  // between the columns it stays 0
  const auto array = free_.back();
  free_.pop_back();
  return array;
}

Histogram HistogramPool::take(bool compact) {
  if (compact) return {{}, {}, take_array()};
  const auto g = take_array(), hn = take_array();
  return {{reinterpret_cast<std::int64_t*>(g.data()), g.size()}, hn, {}};
}

void HistogramPool::give_back(Histogram& histogram) {
  if (!histogram.hn.empty()) free_.push_back(histogram.hn);
  if (!histogram.g.empty()) free_.push_back({reinterpret_cast<std::uint64_t*>(histogram.g.data()), length_});
  if (histogram.compact()) free_.push_back(histogram.sums);
  histogram = {};
}

void subtract(Histogram& large, const Histogram& parent, const Histogram& small, std::size_t start, std::size_t count,
              unsigned count_bits) {
  if (parent.compact()) {
    kernels::detail::grow_table().difference(parent.sums.data() + start, small.sums.data() + start, count,
                                             large.sums.data() + start);
  } else if (large.compact()) {
    const std::uint64_t rows_mask = (std::uint64_t{1} << count_bits) - 1;
    for (std::size_t i = start; i < start + count; ++i) {
      const std::uint64_t hn = parent.hn[i];
      large.sums[i] = (static_cast<std::uint64_t>(parent.g[i]) << grow_g_at) + ((hn >> count_bits) << grow_h_at) +
                      (hn & rows_mask) - small.sums[i];
    }
  } else if (small.compact()) {
    for (std::size_t i = start; i < start + count; ++i) {
      const GradientSum less = sum_of(small.sums[i], count_bits);
      large.g[i] -= less.g;
      large.hn[i] -= less.hn;
    }
  } else {
    kernels::detail::grow_table().subtract(large.g.data() + start, large.hn.data() + start, small.g.data() + start,
                                           small.hn.data() + start, count);
  }
}

HistogramBuilder::HistogramBuilder(const BinnedMatrix& bins, Team& team)
    : bins_(bins),
      layout_(bins),
      team_(team),
      stored_{bins.stored_rows(), bins.stored_stride(), bins.stored_columns(), false},
      packed_{bins.packed_rows(), bins.packed_stride(), bins.packs().size(), true},
      pack_of_(bins.stored_columns()) {
  for (std::uint32_t k = 0; k < bins.packs().size(); ++k)
    for (const auto s : bins.packs()[k].stored) pack_of_[s] = k;
  unpacked_ = packed_.columns;
  if (!bins.packed_in_padding()) return;
  unpacked_ = 0;
  for (const auto& pack : bins.packs()) unpacked_ += pack.stored.size() > 1 ? pack.stored.size() : 0;
  packed_.width = (packed_.columns + tile_groups - 1) / tile_groups;
  packed_.order = order_.data();
  for (std::size_t k = 0; k < packed_.columns; ++k)
    order_[k / packed_.width * group_columns + k % packed_.width] = bins.packed_at()[k];
}

void HistogramBuilder::Source::switch_on(std::size_t column) noexcept { group_on[column / width] = 1; }

void HistogramBuilder::Source::count() {
  columns_on = 0;
  for (std::size_t k = 0; k < group_on.size(); ++k)
    if (group_on[k]) columns_on += std::min(width, columns - k * width);
}

void HistogramBuilder::use_columns(std::span<const std::uint8_t> column_on) {
  for (Source* source : {&stored_, &packed_}) source->group_on.assign(source->groups(), 0);
  for (std::size_t c = 0; c < bins_.cols(); ++c) {
    const auto s = bins_.place(c).stored;
    if (s == BinnedMatrix::Place::none || !column_on[c]) continue;
    stored_.switch_on(s);
    if (packed_.columns > 0) packed_.switch_on(pack_of_[s]);
  }
  stored_.count();
  packed_.count();
}

/// Sums over a pack's codes become sums over those of its stored columns. Clears the bins.
void HistogramBuilder::unpack(std::size_t pack, std::uint64_t* bins, bool add, Histogram& out) const {
  const auto& kernels = kernels::detail::grow_table();
  const auto& [stored, radices] = bins_.packs()[pack];
  alignas(64) std::array<std::uint64_t, 256> sums{};  // beyond the radix they stay 0
  std::size_t length = 1;
  for (const auto radix : radices) length *= radix;
  for (std::size_t m = stored.size(); m-- > 0;) {
    std::uint64_t* of_member = bins;
    if (m > 0) {
      length /= radices[m];
      kernels.fold(bins, length, radices[m], sums.data());
      of_member = sums.data();
    }
    flush(of_member, stored[m], add, out);
  }
}

/// The sums of a block of rows for a stored column. Clears the bins.
void HistogramBuilder::flush(std::uint64_t* bins, std::size_t stored, bool add, Histogram& out) const {
  const std::size_t at = layout_.stored[stored], count = bins_.stored_bins(stored);
  const auto& kernels = kernels::detail::grow_table();
  if (out.compact())
    kernels.take(bins, count, out.sums.data() + at);
  else
    kernels.flush(bins, count, count_bits_, add, out.g.data() + at, out.hn.data() + at);
}

/// What is read after rows [from, from + n) of a tile: the next tile of these rows if rows take several cache lines,
/// else the same tile of the next rows.
HistogramBuilder::Near HistogramBuilder::next_rows(const Source& source, const NodeRows& node, std::size_t from,
                                                   std::size_t n, std::size_t tile, std::size_t first_group,
                                                   std::size_t last_group) {
  const std::size_t stride = source.stride;
  const bool wide = stride > 64, stay = wide && tile + tile_groups < last_group;
  const std::size_t begin = stay ? from : from + n;
  const std::size_t next_tile = stay ? tile + tile_groups : wide ? first_group : tile;
  Near near;
  near.count = stay ? n : std::min(node.count - begin, n);
  near.step = stride;
  near.codes = source.rows + next_tile * group_columns + (node.rows ? 0 : begin * stride);
  near.rows = node.rows ? node.rows + begin : nullptr;
  if (!node.rows && stride < 64) {  // neighbours share lines
    near.count = near.count * stride / 64;
    near.step = 64;
  }
  return near;
}

void HistogramBuilder::add_stored(const Source& source, const NodeRows& node, std::size_t begin, std::size_t end,
                                  std::size_t first_group, std::size_t last_group, bool add, Histogram& out) const {
  const auto& kernels = kernels::detail::grow_table();
  Scratch& mine = scratch();
  for (std::size_t from = begin; from < end || from == begin; from += grow_block_rows) {
    const std::size_t n = std::min(end - from, std::size_t{grow_block_rows});
    kernels.expand(node.pairs + from, n, mine.pairs.data());
    // What follows `end` is most often the next of this thread.
    for (std::size_t i = 0; i < std::min(node.count - from - n, std::size_t{grow_block_rows}); i += 16)
      __builtin_prefetch(node.pairs + from + n + i, 0, 2);
    for (std::size_t tile = first_group; tile < last_group; tile += tile_groups) {
      const std::size_t groups = std::min(tile_groups, last_group - tile);
      const std::uint8_t* const on = source.group_on.data() + tile;
      if (std::none_of(on, on + groups, [](auto o) { return o != 0; })) continue;
      // Rows that follow one another are read where their columns lie.
      const bool by_column = !node.rows && !source.packed;
      const std::uint8_t* const codes = source.rows + (source.order ? 0 : tile * group_columns);
      const std::uint8_t* const order = source.order ? source.order + tile * group_columns : nullptr;
      if (!by_column)
        kernels.gather(codes, source.stride, node.rows ? node.rows + from : nullptr, from, n, groups, order,
                       mine.codes.data(), grow_block_rows);
      const Near near = next_rows(source, node, from, n, tile, first_group, last_group);
      for (std::size_t k = 0; k < groups; ++k) {
        if (!on[k]) continue;
        const std::size_t first = (tile + k) * source.width;
        const std::size_t columns = std::min(source.width, source.columns - first);
        // While these are added, a share of what the next call of gather reads comes near.
        const std::size_t share = (near.count + groups - 1) / groups, skip = std::min(near.count, k * share);
        std::array<const std::uint8_t*, group_columns> of;
        for (std::size_t c = 0; by_column && c < columns; ++c) of[c] = bins_.stored_column(first + c) + from;
        if (by_column)
          kernels.accumulate_by_column(of.data(), mine.pairs.data(), n, columns, mine.bins.data());
        else
          kernels.accumulate(mine.codes.data() + k * grow_block_rows, mine.pairs.data(), n, columns, mine.bins.data(),
                             near.codes + (near.rows ? 0 : skip * near.step), near.step,
                             near.rows ? near.rows + skip : nullptr, std::min(share, near.count - skip));
        for (std::size_t c = 0; c < columns; ++c) {
          std::uint64_t* const bins = mine.bins.data() + 256 * c;
          if (source.packed) {
            unpack(first + c, bins, add || from != begin, out);
            continue;
          }
          flush(bins, first + c, add || from != begin, out);
        }
      }
    }
  }
}

void HistogramBuilder::add_listed(const NodeRows& node, std::size_t begin, std::size_t end, std::size_t group, bool add,
                                  Histogram& out) const {
  const BinnedMatrix::Sparse& cells = bins_.sparse()[group];
  std::int64_t* g = out.g.data() + layout_.groups[group];
  std::uint64_t* hn = out.hn.data() + layout_.groups[group];
  if (!add) {
    std::fill_n(g, cells.offsets.back(), std::int64_t{0});
    std::fill_n(hn, cells.offsets.back(), std::uint64_t{0});
  }
  constexpr std::size_t ahead = 8;
  for (std::size_t i = begin; i < end; ++i) {
    if (node.rows && i + 2 * ahead < end) {
      __builtin_prefetch(cells.row_offsets.data() + node.rows[i + 2 * ahead]);
      __builtin_prefetch(cells.bins.data() + cells.row_offsets[node.rows[i + ahead]]);
    }
    const std::size_t row = node.rows ? node.rows[i] : i;
    const std::uint32_t pair = node.pairs[i];
    std::int64_t pair_g = static_cast<std::int32_t>(pair) >> 16;
    std::uint64_t pair_h = pair & 0xffff;
    if (wide_) {
      pair_g = wide_->g[pair];
      pair_h = wide_->h[pair];
    }
    const std::uint64_t pair_hn = (pair_h << count_bits_) + 1;
    for (auto e = cells.row_offsets[row]; e < cells.row_offsets[row + 1]; ++e) {
      g[cells.bins[e]] += pair_g;
      hn[cells.bins[e]] += pair_hn;
    }
  }
}

void HistogramBuilder::add_wide(const NodeRows& node, Histogram& out) const {
  std::fill(out.g.begin(), out.g.end(), std::int64_t{0});
  std::fill(out.hn.begin(), out.hn.end(), std::uint64_t{0});
  for (std::size_t i = 0; i < node.count; ++i) {
    const std::uint8_t* codes = bins_.stored_rows() + (node.rows ? node.rows[i] : i) * bins_.stored_stride();
    const std::int64_t g = wide_->g[node.pairs[i]];
    const std::uint64_t hn = (static_cast<std::uint64_t>(wide_->h[node.pairs[i]]) << count_bits_) + 1;
    for (std::size_t s = 0; s < layout_.stored.size(); ++s) {
      out.g[layout_.stored[s] + codes[s]] += g;
      out.hn[layout_.stored[s] + codes[s]] += hn;
    }
  }
}

bool HistogramBuilder::compact(std::size_t rows) const noexcept {
  return layout_.plain && !wide_ && rows <= grow_block_rows;
}

void HistogramBuilder::build(const NodeRows& node, Histogram& out, std::size_t threads) {
  const bool packed = node.count * (stored_.columns - packed_.columns) >= unpacked_ * unpack_cost;
  const Source& source = packed_.columns > 0 && packed ? packed_ : stored_;
  const std::size_t groups = source.group_on.size(), tiles = (groups + tile_groups - 1) / tile_groups;
  const std::size_t lists = bins_.sparse().size();
  if (wide_) {
    add_wide(node, out);
    for (std::size_t k = 0; k < lists; ++k) add_listed(node, 0, node.count, k, false, out);
    return;
  }
  const std::size_t listed_columns = lists * 2 * group_columns;  // about as much work
  if (threads == 1 || node.count * (source.columns_on + listed_columns) < serial_cells) {
    if (groups > 0) add_stored(source, node, 0, node.count, 0, groups, false, out);
    for (std::size_t k = 0; k < lists; ++k) add_listed(node, 0, node.count, k, false, out);
    return;
  }
  if (tiles + lists >= 2 * threads || node.count < 2 * smallest_part) {
    // By columns. With few of them by single groups.
    const std::size_t step = tiles >= 2 * threads ? tile_groups : 1;
    const std::size_t units = (groups + step - 1) / step;
    team_.parallel_for(units + lists, 1, [&](std::size_t u, std::size_t) {
      if (u < units)
        add_stored(source, node, 0, node.count, u * step, std::min(groups, (u + 1) * step), false, out);
      else
        add_listed(node, 0, node.count, u - units, false, out);
    });
    return;
  }
  // By rows, block by block. Sums are exact, so it does not matter in which part they are.
  const std::size_t parts = std::min(threads, node.count / smallest_part);
  if (parts_.empty()) parts_.emplace_back();  // the first part is `out`
  while (parts_.size() < parts) parts_.push_back(pool_.take(false));
  const std::size_t block_rows = even_block(node.count, grow_block_rows, parts, 64);
  const std::size_t stored = layout_.stored.size();
  Phase blocks((node.count + block_rows - 1) / block_rows, parts), columns(stored + lists, parts);
  std::vector<std::uint8_t> used(parts, 0);
  // What is off was never written in any of them.
  const auto add_up = [&](std::size_t column) {
    const bool list = column >= stored;
    if (!list && !source.group_on[(source.packed ? pack_of_[column] : column) / source.width]) return;
    const std::size_t begin = list ? layout_.groups[column - stored] : layout_.stored[column];
    const std::size_t bins = list ? bins_.sparse()[column - stored].offsets.back() : bins_.stored_bins(column);
    std::int64_t* const g = out.g.data() + begin;
    std::uint64_t* const hn = out.hn.data() + begin;
    bool first = used[0] == 0;
    for (std::size_t p = 1; p < parts; ++p) {
      if (!used[p]) continue;
      const std::int64_t* const part_g = parts_[p].g.data() + begin;
      const std::uint64_t* const part_hn = parts_[p].hn.data() + begin;
      if (std::exchange(first, false)) {
        std::copy_n(part_g, bins, g);
        std::copy_n(part_hn, bins, hn);
        continue;
      }
      for (std::size_t i = 0; i < bins; ++i) g[i] += part_g[i];
      for (std::size_t i = 0; i < bins; ++i) hn[i] += part_hn[i];
    }
  };
  team_.each([&](std::size_t part) {
    if (part >= parts) return;
    Histogram& mine = part == 0 ? out : parts_[part];
    scratch();  // what may throw comes before the blocks
    blocks.work(part, [&](std::size_t block) {
      const std::size_t from = block * block_rows, to = std::min(node.count, from + block_rows);
      if (groups > 0) add_stored(source, node, from, to, 0, groups, used[part] != 0, mine);
      for (std::size_t k = 0; k < lists; ++k) add_listed(node, from, to, k, used[part] != 0, mine);
      used[part] = 1;
    });
    blocks.wait();
    columns.work(part, add_up);
  });
}

}  // namespace redoubt::detail
