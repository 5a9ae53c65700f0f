// How the columns of a binned matrix are stored: as bytes, as bundles of columns in one byte, or as lists of cells.
#include <algorithm>
#include <bit>
#include <cstring>
#include <numeric>

#include "redoubt/core/error.hpp"
#include "redoubt/core/parallel.hpp"
#include "redoubt/trees/binning.hpp"
#include "trees/cells.hpp"

namespace redoubt {
namespace {

constexpr double bundled_share = 0.8;      // columns of which more rows are uncommon do not look for a bundle
constexpr double listed_share = 0.15;      // of the rows: fewer uncommon cells than this are cheaper as a list
constexpr double worthwhile = 0.75;        // of the columns of a dense matrix: fewer stored ones pay for another copy
constexpr double worth_packing = 0.75;     // of the stored columns: fewer bytes pay for another copy
constexpr std::size_t padded_stride = 32;  // of rows in whose padding packs may be
constexpr std::size_t most_tried = 64;     // bundles, for one column
constexpr std::size_t most_group_bins = 32768;
constexpr std::size_t rows_per_block = 4096;

/// Rows and columns of 8 x 8 bytes exchanged; byte i of row[j] is (j, i).
void transpose_bytes(std::uint64_t (&row)[8]) {
  const auto exchange = [&](int distance, int bits, std::uint64_t mask) {
    for (int i = 0; i < 8; ++i) {
      if (i & distance) continue;
      const std::uint64_t t = (row[i] >> bits ^ row[i + distance]) & mask;
      row[i] ^= t << bits;
      row[i + distance] ^= t;
    }
  };
  exchange(4, 32, 0x00000000ffffffffu);
  exchange(2, 16, 0x0000ffff0000ffffu);
  exchange(1, 8, 0x00ff00ff00ff00ffu);
}

}  // namespace

void BinnedMatrix::fail_sparse() const {
  detail::fail(errc::unsupported, "a binned matrix made from a sparse one has no dense rows");
}

void BinnedMatrix::transpose(const std::uint8_t* by_column, std::size_t columns, std::size_t stride,
                             detail::PageVector<std::uint8_t>& out, Arena* arena) const {
  out.resize(rows_ * stride + 64);
  std::fill(out.end() - 64, out.end(), std::uint8_t{0});
  parallel_for(
      rows_, rows_per_block,
      [&](std::size_t begin, std::size_t end) {
        for (std::size_t c = 0; c < stride; c += 8) {
          for (std::size_t r = begin; r < end; r += 8) {
            // The columns are readable up to a multiple of 64 rows.
            std::uint64_t tile[8] = {};
            for (std::size_t i = 0; i < 8 && c + i < columns; ++i)
              std::memcpy(&tile[i], by_column + (c + i) * column_stride_ + r, 8);
            transpose_bytes(tile);
            for (std::size_t i = 0; i < 8 && r + i < end; ++i) std::memcpy(&out[(r + i) * stride + c], &tile[i], 8);
          }
        }
      },
      arena);
}

void BinnedMatrix::store(const Cells& cells, Arena* arena) {
  struct Bundle {
    std::vector<std::uint32_t> columns;
    std::vector<std::uint64_t> taken;  // a bit per row
    std::size_t codes = 1, cells = 0;
  };
  const auto rows = static_cast<double>(rows_);
  std::vector<Bundle> bundles;
  std::vector<std::uint32_t> whole, candidates, listed;
  // Codes of a column in a bundle: those of its bins but the common one.
  const auto codes_of = [&](std::size_t c) -> std::size_t {
    const bool missing = places_[c].any_missing && common_[c] != columns_[c].missing();
    return columns_[c].count - (common_[c] != columns_[c].missing()) + missing;
  };
  for (std::uint32_t c = 0; c < cols(); ++c)
    (static_cast<double>(cells.uncommon[c]) > bundled_share * rows || codes_of(c) > 254 ? whole : candidates)
        .push_back(c);
  std::stable_sort(candidates.begin(), candidates.end(),
                   [&](auto a, auto b) { return cells.uncommon[a] > cells.uncommon[b]; });
  for (const auto c : candidates) {
    Bundle* found = nullptr;
    // The newest first: the older ones are the fuller.
    const std::size_t oldest = bundles.size() > most_tried ? bundles.size() - most_tried : 0;
    for (std::size_t i = bundles.size(); i-- > oldest && !found;) {
      Bundle& bundle = bundles[i];
      if (bundle.codes + codes_of(c) > 256 || bundle.cells + cells.uncommon[c] > rows_) continue;
      bool free = true;
      cells.each(c, common_[c], rows_,
                 [&](std::uint32_t r, std::uint8_t) { return free = !(bundle.taken[r / 64] >> (r % 64) & 1); });
      if (free) found = &bundle;
    }
    if (!found) {
      bundles.emplace_back();
      found = &bundles.back();
      found->taken.resize((rows_ + 63) / 64);
    }
    cells.each(c, common_[c], rows_, [&](std::uint32_t r, std::uint8_t) {
      found->taken[r / 64] |= std::uint64_t{1} << (r % 64);
      return true;
    });
    found->columns.push_back(c);
    found->codes += codes_of(c);
    found->cells += cells.uncommon[c];
  }
  for (Bundle& bundle : bundles) {
    bundle.taken = {};
    std::sort(bundle.columns.begin(), bundle.columns.end());
    if (static_cast<double>(bundle.cells) < listed_share * rows)
      listed.insert(listed.end(), bundle.columns.begin(), bundle.columns.end());
    else if (bundle.columns.size() == 1)
      whole.push_back(bundle.columns[0]);
    else
      continue;
    bundle.columns.clear();
  }
  std::erase_if(bundles, [](const Bundle& bundle) { return bundle.columns.empty(); });
  std::sort(whole.begin(), whole.end());
  std::sort(listed.begin(), listed.end());

  if (dense_ && static_cast<double>(whole.size() + bundles.size()) > worthwhile * static_cast<double>(cols())) {
    for (std::uint32_t c = 0; c < cols(); ++c) {
      places_[c].stored = c;
      stored_bins_.push_back(columns_[c].count + 1);
    }
    return;
  }
  const std::size_t stored = whole.size() + bundles.size();
  column_stride_ = (rows_ + 3 + 63) / 64 * 64;
  by_column_.assign(stored * column_stride_, std::uint8_t{0});
  for (std::size_t s = 0; s < whole.size(); ++s) {
    places_[whole[s]].stored = static_cast<std::uint32_t>(s);
    stored_bins_.push_back(columns_[whole[s]].count + 1);
  }
  for (std::size_t i = 0; i < bundles.size(); ++i) {
    std::uint16_t first = 1;
    for (const auto c : bundles[i].columns) {
      Place& place = places_[c];
      place.stored = static_cast<std::uint32_t>(whole.size() + i);
      place.bundled = true;
      place.first = first;
      place.codes = static_cast<std::uint16_t>(codes_of(c));
      first = static_cast<std::uint16_t>(first + place.codes);
    }
    stored_bins_.push_back(first);
  }
  parallel_for(
      stored, 1,
      [&](std::size_t begin, std::size_t end) {
        for (std::size_t s = begin; s < end; ++s) {
          std::uint8_t* out = by_column_.data() + s * column_stride_;
          if (s < whole.size()) {
            std::fill_n(out, rows_, common_[whole[s]]);
            cells.each(whole[s], common_[whole[s]], rows_, [&](std::uint32_t r, std::uint8_t bin) {
              out[r] = bin;
              return true;
            });
            continue;
          }
          for (const auto c : bundles[s - whole.size()].columns)
            cells.each(c, common_[c], rows_, [&](std::uint32_t r, std::uint8_t bin) {
              out[r] = static_cast<std::uint8_t>(places_[c].first + bin - (bin > common_[c]));
              return true;
            });
        }
      },
      arena);
  bundles_stride_ = row_stride(stored);
  transpose(by_column_.data(), stored, bundles_stride_, bundles_, arena);
  list(cells, listed, arena);
}

void BinnedMatrix::pack(Arena* arena) {
  std::vector<std::uint32_t> radices(stored_bins_), order(stored_bins_.size());
  for (std::size_t c = 0; c < cols(); ++c)
    if (const Place& place = places_[c]; place.stored != Place::none && !place.bundled)
      radices[place.stored] = columns_[c].count + place.any_missing;
  std::iota(order.begin(), order.end(), 0u);
  std::stable_sort(order.begin(), order.end(), [&](auto a, auto b) { return radices[a] > radices[b]; });
  std::vector<std::size_t> products;
  for (const auto s : order) {
    std::size_t k = 0;
    while (k < packs_.size() && products[k] * radices[s] > 256) ++k;
    if (k == packs_.size()) {
      packs_.emplace_back();
      products.push_back(1);
    }
    packs_[k].stored.push_back(s);
    packs_[k].radices.push_back(radices[s]);
    products[k] *= radices[s];
  }
  if (packs_.size() == order.size()) packs_.clear();
  if (packs_.empty()) return;
  bool in_padding = false;
  if (static_cast<double>(packs_.size()) > worth_packing * static_cast<double>(order.size())) {
    const auto mixed = static_cast<std::size_t>(
        std::count_if(packs_.begin(), packs_.end(), [](const Pack& pack) { return pack.stored.size() > 1; }));
    in_padding = dense_ && bundles_.empty() && stride_ == padded_stride && order.size() + mixed <= padded_stride;
    if (!in_padding) {
      packs_.clear();
      return;
    }
    // Those of one column have their bytes in the rows already.
    const auto single =
        std::stable_partition(packs_.begin(), packs_.end(), [](const Pack& pack) { return pack.stored.size() > 1; });
    for (std::size_t k = 0; k < mixed; ++k) packed_at_.push_back(static_cast<std::uint8_t>(order.size() + k));
    for (auto pack = single; pack != packs_.end(); ++pack)
      packed_at_.push_back(static_cast<std::uint8_t>(pack->stored[0]));
  }
  const auto fill = [&](const Pack& pack, std::size_t begin, std::size_t end, std::uint8_t* out, std::size_t stride) {
    for (std::size_t m = pack.stored.size(); m-- > 0;) {
      const std::uint8_t* const codes = stored_column(pack.stored[m]);
      const std::uint32_t radix = pack.radices[m];
      for (std::size_t r = begin; r < end; ++r)
        out[r * stride] = static_cast<std::uint8_t>(out[r * stride] * radix + codes[r]);
    }
  };
  if (in_padding) {
    packed_stride_ = stride_;
    parallel_for(
        rows_, rows_per_block,
        [&](std::size_t begin, std::size_t end) {
          for (std::size_t k = 0; k < packs_.size() && packs_[k].stored.size() > 1; ++k)
            fill(packs_[k], begin, end, &codes_[packed_at_[k]], stride_);
        },
        arena);
    return;
  }
  detail::PageVector<std::uint8_t> bytes(packs_.size() * column_stride_);
  parallel_for(
      packs_.size(), 1,
      [&](std::size_t begin, std::size_t end) {
        for (std::size_t k = begin; k < end; ++k) {
          std::uint8_t* const out = bytes.data() + k * column_stride_;
          std::fill_n(out, column_stride_, std::uint8_t{0});
          fill(packs_[k], 0, rows_, out, 1);
        }
      },
      arena);
  packed_stride_ = row_stride(packs_.size());
  transpose(bytes.data(), packs_.size(), packed_stride_, packed_, arena);
}

void BinnedMatrix::list(const Cells& cells, std::span<const std::uint32_t> columns, Arena* arena) {
  for (const auto c : columns) {
    const std::uint32_t bins = (columns_[c].count + 1 + 7) / 8 * 8;
    if (sparse_.empty() || sparse_.back().offsets.back() + bins > most_group_bins) {
      sparse_.emplace_back();
      sparse_.back().offsets.push_back(0);
    }
    Sparse& group = sparse_.back();
    places_[c].group = static_cast<std::uint32_t>(sparse_.size() - 1);
    places_[c].listed = static_cast<std::uint32_t>(group.columns.size());
    group.columns.push_back(c);
    group.offsets.push_back(group.offsets.back() + bins);
  }
  parallel_for(
      sparse_.size(), 1,
      [&](std::size_t begin, std::size_t end) {
        for (std::size_t g = begin; g < end; ++g) {
          Sparse& group = sparse_[g];
          group.row_offsets.assign(rows_ + 1, 0);
          group.column_offsets.push_back(0);
          std::size_t count = 0;
          for (const auto c : group.columns) count += cells.uncommon[c];
          group.cell_rows.reserve(count);
          group.cell_bins.reserve(count);
          for (const auto c : group.columns) {
            cells.each(c, common_[c], rows_, [&](std::uint32_t r, std::uint8_t bin) {
              group.cell_rows.push_back(r);
              group.cell_bins.push_back(bin);
              ++group.row_offsets[r + 1];
              return true;
            });
            group.column_offsets.push_back(group.cell_rows.size());
          }
          std::partial_sum(group.row_offsets.begin(), group.row_offsets.end(), group.row_offsets.begin());
          group.bins.resize(count);
          std::vector<std::uint64_t> next(group.row_offsets.begin(), group.row_offsets.end() - 1);
          for (std::size_t i = 0; i < group.columns.size(); ++i)
            for (auto e = group.column_offsets[i]; e < group.column_offsets[i + 1]; ++e)
              group.bins[next[group.cell_rows[e]]++] =
                  static_cast<std::uint16_t>(group.offsets[i] + group.cell_bins[e]);
        }
      },
      arena);
}

std::uint8_t BinnedMatrix::find_code(std::size_t r, std::size_t c) const noexcept {
  const Place& place = places_[c];
  const std::uint8_t common = common_[c];
  if (place.stored != Place::none) {
    const std::uint8_t stored = stored_column(place.stored)[r];
    if (!place.bundled) return stored;
    if (stored < place.first || stored >= place.first + place.codes) return common;
    const auto rank = static_cast<std::uint8_t>(stored - place.first);
    return static_cast<std::uint8_t>(rank + (rank >= common));
  }
  const Sparse& group = sparse_[place.group];
  const auto first = group.bins.begin() + static_cast<std::ptrdiff_t>(group.row_offsets[r]);
  const auto last = group.bins.begin() + static_cast<std::ptrdiff_t>(group.row_offsets[r + 1]);
  const auto found = std::lower_bound(first, last, group.offsets[place.listed]);
  return found != last && *found < group.offsets[place.listed + 1]
             ? static_cast<std::uint8_t>(*found - group.offsets[place.listed])
             : common;
}

}  // namespace redoubt
