#include "trees/histogram.hpp"

#include <algorithm>
#include <array>

#include "redoubt/core/parallel.hpp"

namespace redoubt::detail {
namespace {

constexpr std::size_t block_columns = 8;         // their histograms, 8 x 256 x 24 bytes, about fill the L1 cache
constexpr std::size_t serial_cells = 64 * 1024;  // less work than this is not worth a second thread

/// Up to `block_columns` dense columns at once: one pass over the rows.
void add_dense(const BinnedMatrix& bins, std::span<const std::uint32_t> columns, std::span<const std::uint32_t> rows,
               const GradientPair* gradients, GradientSum* histogram) {
  std::array<GradientSum*, block_columns> base{};
  std::array<std::uint32_t, block_columns> column{};
  for (std::size_t i = 0; i < columns.size(); ++i) {
    column[i] = columns[i];
    base[i] = histogram + bins.offsets()[columns[i]];
    std::fill(base[i], histogram + bins.offsets()[columns[i] + 1], GradientSum{});
  }
  const auto add = [&](std::size_t width) {
    for (std::size_t i = 0; i < rows.size(); ++i) {
      const std::uint8_t* codes = bins.row(rows[i]);
      const std::int64_t g = gradients[i].g, h = gradients[i].h;
      for (std::size_t j = 0; j < width; ++j) {
        GradientSum& sum = base[j][codes[column[j]]];
        sum.g += g;
        sum.h += h;
        ++sum.n;
      }
    }
  };
  if (columns.size() == block_columns)
    add(block_columns);  // a constant: unrolled
  else
    add(columns.size());
}

/// Adds the uncommon cells; the common bin is what is left of the total.
void add_sparse(const BinnedMatrix& bins, const BinnedMatrix::Sparse& group, std::span<const std::uint32_t> rows,
                const GradientPair* gradients, const GradientSum& total, GradientSum* histogram) {
  const auto offsets = bins.offsets();
  for (const auto c : group.columns) std::fill(histogram + offsets[c], histogram + offsets[c + 1], GradientSum{});
  for (std::size_t i = 0; i < rows.size(); ++i) {
    const std::int64_t g = gradients[i].g, h = gradients[i].h;
    for (auto e = group.row_offsets[rows[i]]; e < group.row_offsets[rows[i] + 1]; ++e) {
      GradientSum& sum = histogram[group.bins[e]];
      sum.g += g;
      sum.h += h;
      ++sum.n;
    }
  }
  for (const auto c : group.columns) {
    GradientSum others;
    for (auto b = offsets[c]; b < offsets[c + 1]; ++b) others += histogram[b];
    histogram[offsets[c] + bins.common_bin(c)] = total - others;
  }
}

}  // namespace

void build_histogram(const BinnedMatrix& bins, std::span<const std::uint32_t> rows,
                     std::span<const GradientPair> gradients, const GradientSum& total,
                     std::span<const std::uint8_t> column_on, Histogram& out, std::vector<GradientPair>& ordered,
                     Arena* arena) {
  out.resize(bins.offsets().back());
  ordered.resize(rows.size());
  for (std::size_t i = 0; i < rows.size(); ++i) ordered[i] = gradients[rows[i]];

  std::vector<std::uint32_t> dense;
  dense.reserve(bins.dense_columns().size());
  for (const auto c : bins.dense_columns())
    if (column_on[c]) dense.push_back(c);
  const std::size_t blocks = (dense.size() + block_columns - 1) / block_columns;
  const std::size_t units = blocks + bins.sparse().size();
  const bool serial = rows.size() * (dense.size() + bins.sparse().size() * block_columns) < serial_cells;
  parallel_for(
      units, serial ? units : 1,
      [&](std::size_t begin, std::size_t end) {
        for (std::size_t u = begin; u < end; ++u) {
          if (u >= blocks) {
            add_sparse(bins, bins.sparse()[u - blocks], rows, ordered.data(), total, out.data());
            continue;
          }
          const std::size_t first = u * block_columns;
          const auto columns = std::span(dense).subspan(first, std::min(block_columns, dense.size() - first));
          add_dense(bins, columns, rows, ordered.data(), out.data());
        }
      },
      arena);
}

}  // namespace redoubt::detail
