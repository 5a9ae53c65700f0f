#include "trees/split_search.hpp"

#include <algorithm>
#include <array>
#include <cmath>

#include "kernels/grow.hpp"
#include "redoubt/core/parallel.hpp"
#include "redoubt/core/random.hpp"

namespace redoubt::detail {
namespace {

constexpr std::size_t serial_bins = 48 * 1024;  // fewer bins than this are not worth a second thread
constexpr std::size_t task_bins = 8 * 1024;

/// Gains below this share of the scores they are the difference of are rounding errors.
constexpr double rounding = 1e-12;

double shrunk(double g, double l1) noexcept { return l1 == 0 ? g : std::copysign(std::max(std::abs(g) - l1, 0.0), g); }

}  // namespace

/// Bins of a bundled column taken out of its bundle; scratch of the categorical search.
struct SplitSearch::Local {
  alignas(64) std::array<std::int64_t, 264> g;
  alignas(64) std::array<std::uint64_t, 264> hn;
};

SplitSearch::SplitSearch(const BinnedMatrix& bins, const HistogramLayout& layout, const GrowerOptions& options)
    : bins_(bins), layout_(layout), options_(options), of_stored_(bins.stored_columns()) {
  for (std::uint32_t c = 0; c < bins.cols(); ++c) {
    const auto s = bins.place(c).stored;
    (s == BinnedMatrix::Place::none ? listed_ : of_stored_[s]).push_back(c);
  }
  simple_ = options.l1 == 0 && options.max_delta_step == 0 && options.path_smooth == 0 && !options.random_thresholds &&
            options.monotone.empty();
}

bool SplitSearch::allowed(const GradientSum& side) const noexcept {
  return scale_.rows(side) >= std::max(options_.min_leaf_rows, 1) && scale_.hessian(side) >= options_.min_leaf_hessian;
}

double SplitSearch::output(const GradientSum& sum, double parent, double lower, double upper) const noexcept {
  return output(scale_.gradient(sum), scale_.hessian(sum), scale_.rows(sum), parent, lower, upper);
}

double SplitSearch::output(double g, double h, std::int64_t rows, double parent, double lower,
                           double upper) const noexcept {
  h += options_.l2;
  double value = h > 0 ? -shrunk(g, options_.l1) / h : 0;
  if (options_.max_delta_step > 0) value = std::clamp(value, -options_.max_delta_step, options_.max_delta_step);
  if (options_.path_smooth > 0) {
    const double n = static_cast<double>(rows) / options_.path_smooth;
    value = (value * n + parent) / (n + 1);
  }
  return std::clamp(value, lower, upper);
}

/// What the loss falls by, twice, if the rows of `sum` get `output`.
double SplitSearch::side_gain(const GradientSum& sum, double l2, double output) const noexcept {
  const double g = shrunk(scale_.gradient(sum), options_.l1), h = scale_.hessian(sum) + l2;
  return -(2 * g * output + h * output * output);
}

double SplitSearch::node_gain(const SearchedNode& node) const noexcept {
  if (!simple_) return side_gain(node.total, options_.l2, node.output);
  const double g = scale_.gradient(node.total), h = scale_.hessian(node.total) + options_.l2;
  return h > 0 ? g * g / h : 0;
}

/// Makes `left` against the rest of the node the best split, if it is. sign: the column's monotone direction.
void SplitSearch::consider(Split& best, const SearchedNode& node, const GradientSum& left, double l2, double node_gain,
                           int sign, bool& better) const {
  better = false;
  const GradientSum right = node.total - left;
  if (!allowed(left) || !allowed(right)) return;
  double children = 0;
  if (simple_) {
    for (const GradientSum* side : {&left, &right}) {
      const double g = scale_.gradient(*side), h = scale_.hessian(*side) + l2;
      children += h > 0 ? g * g / h : 0;
    }
  } else {
    const double a = output(left, node.output, node.lower, node.upper);
    const double b = output(right, node.output, node.lower, node.upper);
    if (sign * (b - a) < 0) return;
    children = side_gain(left, l2, a) + side_gain(right, l2, b);
  }
  const double gain = children - node_gain;
  if (!(gain > best.gain) || gain <= options_.min_gain + rounding * std::abs(children)) return;
  best.gain = gain;
  best.left = left;
  better = true;
}

/// `skip` if no cut of the column can leave enough rows on both sides.
SplitSearch::Bins SplitSearch::bins_of(std::uint32_t column, const SearchedNode& node, Histogram& histogram,
                                       Local& local, bool* skip) const {
  const BinnedMatrix::Place& place = bins_.place(column);
  std::int64_t* g = histogram.g.data() + layout_.start(bins_, column);
  std::uint64_t* hn = histogram.hn.data() + layout_.start(bins_, column);
  *skip = false;
  if (place.stored != BinnedMatrix::Place::none && !place.bundled) return {g, hn};
  const std::uint32_t count = bins_.column(column).count, common = bins_.common_bin(column);
  const auto rare = [&](const GradientSum& uncommon) {
    return scale_.rows(uncommon) < std::max(options_.min_leaf_rows, 1);
  };
  GradientSum uncommon;
  if (place.bundled) {
    for (std::uint32_t i = 0; i < place.codes; ++i) uncommon += {g[place.first + i], hn[place.first + i]};
    if ((*skip = rare(uncommon))) return {g, hn};
    local.g[count] = 0;  // no code for the missing if there are none
    local.hn[count] = 0;
    for (std::uint32_t i = 0; i < place.codes; ++i) {
      local.g[i + (i >= common)] = g[place.first + i];
      local.hn[i + (i >= common)] = hn[place.first + i];
    }
    local.g[common] = node.total.g - uncommon.g;
    local.hn[common] = node.total.hn - uncommon.hn;
    return {local.g.data(), local.hn.data()};
  }
  g[common] = 0;
  hn[common] = 0;
  for (std::uint32_t b = 0; b <= count; ++b) uncommon += {g[b], hn[b]};
  *skip = rare(uncommon);
  g[common] = node.total.g - uncommon.g;
  hn[common] = node.total.hn - uncommon.hn;
  return {g, hn};
}

void SplitSearch::plain_numeric(std::uint32_t column, const SearchedNode& node, double node_gain, Bins bins,
                                Split& best) const {
  const ColumnBins& cuts = bins_.column(column);
  kernels::detail::SplitScan in;
  in.g = bins.g;
  in.hn = bins.hn;
  in.bins = cuts.count;
  const bool missing = bins_.place(column).any_missing && bins.hn[cuts.count] != 0;
  in.missing_g = missing ? bins.g[cuts.count] : 0;
  in.missing_hn = missing ? bins.hn[cuts.count] : 0;
  in.total_g = node.total.g;
  in.total_hn = node.total.hn;
  in.count_bits = scale_.count_bits;
  in.min_rows = static_cast<std::uint64_t>(std::max(options_.min_leaf_rows, 1));
  in.min_hessian = static_cast<std::uint64_t>(std::ceil(options_.min_leaf_hessian / scale_.h));
  in.l2 = options_.l2 / scale_.h;
  kernels::detail::SplitFound found;
  kernels::detail::grow_table().scan(in, &found);
  if (found.score < 0) return;
  const double children = found.score * (scale_.g * scale_.g / scale_.h), gain = children - node_gain;
  if (!(gain > best.gain || (gain == best.gain && column < best.column))) return;
  if (gain <= options_.min_gain + rounding * children) return;
  best.gain = gain;
  best.column = column;
  best.last_bin = found.bin;
  best.missing_left = found.missing_left != 0;
}

/// Of a bundled column with one bin beside the common one (one-hot encodings): there is only one cut. The score is the
/// scan's, operation by operation.
void SplitSearch::two_bins(std::uint32_t column, const SearchedNode& node, double node_gain, const Histogram& histogram,
                           Split& best) const {
  const std::uint32_t at = layout_.start(bins_, column) + bins_.place(column).first;
  const std::uint32_t common = bins_.common_bin(column), other = common == 0 ? 1 : 0;
  const GradientSum uncommon{histogram.g[at], histogram.hn[at]}, rest = node.total - uncommon;
  if (!allowed(uncommon) || !allowed(rest)) return;
  const GradientSum &left = other < common ? uncommon : rest, &right = other < common ? rest : uncommon;
  const double l2 = options_.l2 / scale_.h;
  const auto gl = static_cast<double>(left.g), gr = static_cast<double>(right.g);
  const double hl = static_cast<double>(left.hn >> scale_.count_bits) + l2;
  const double hr = static_cast<double>(right.hn >> scale_.count_bits) + l2;
  const double score = (gl * gl * hr + gr * gr * hl) / (hl * hr);
  const double children = score * (scale_.g * scale_.g / scale_.h), gain = children - node_gain;
  if (!(gain > best.gain || (gain == best.gain && column < best.column))) return;
  if (gain <= options_.min_gain + rounding * children) return;
  best.gain = gain;
  best.column = column;
  best.last_bin = 0;
  best.missing_left = false;
}

void SplitSearch::any_numeric(std::uint32_t column, const SearchedNode& node, double node_gain, Bins bins,
                              Split& best) const {
  const ColumnBins& cuts = bins_.column(column);
  const GradientSum missing = bins_.place(column).any_missing ? bins[cuts.count] : GradientSum{};
  const int sign = options_.monotone.empty() ? 0 : options_.monotone[column];
  std::uint32_t first = 0, last = cuts.count;
  if (options_.random_thresholds) {
    // One cut between the least and the largest value there is.
    while (first < last && bins.hn[first] == 0) ++first;
    while (last > first && bins.hn[last - 1] == 0) --last;
    if (last - first < 2 && missing.hn == 0) return;
    Random random(options_.seed ^ 0x63757473, node.random_stream * bins_.cols() + column);
    const std::uint32_t cut =
        last - first < 2 ? first : first + static_cast<std::uint32_t>(random.below(last - first - 1));
    first = cut;
    last = cut + 1;
  }
  GradientSum left;
  for (std::uint32_t b = 0; b < first; ++b) left += bins[b];
  bool better = false;
  for (std::uint32_t b = first; b < last; ++b) {
    left += bins[b];
    if (left.hn == 0) continue;  // the missing alone on the left: the same as all values there
    for (int side = 0; side < (missing.hn ? 2 : 1); ++side) {
      consider(best, node, side ? left + missing : left, options_.l2, node_gain, sign, better);
      if (!better) continue;
      best.column = column;
      best.last_bin = b;
      best.missing_left = side == 1;
    }
  }
}

void SplitSearch::categorical(std::uint32_t column, const SearchedNode& node, double node_gain, Bins bins,
                              Split& best) const {
  const ColumnBins& cuts = bins_.column(column);
  std::array<std::uint32_t, 256> present;  // the bin of missing values is a category like any other
  std::size_t count = 0;
  const std::uint32_t end = cuts.count + bins_.place(column).any_missing;
  for (std::uint32_t b = 0; b < end; ++b)
    if (bins.hn[b] != 0) present[count++] = b;
  if (count < 2) return;
  bool better = false;
  const auto took = [&] {
    best.column = column;
    best.left_bins = {};
  };
  if (count <= static_cast<std::size_t>(options_.max_one_hot)) {
    for (std::size_t i = 0; i < count; ++i) {
      consider(best, node, bins[present[i]], options_.l2, node_gain, 0, better);
      if (!better) continue;
      took();
      best.left_bins.insert(present[i]);
    }
    return;
  }
  std::array<std::pair<double, std::uint32_t>, 256> order;
  std::size_t sorted = 0;
  for (std::size_t i = 0; i < count; ++i) {
    const GradientSum bin = bins[present[i]];
    if (scale_.rows(bin) >= options_.min_category_rows)
      order[sorted++] = {scale_.gradient(bin) / (scale_.hessian(bin) + options_.category_smoothing), present[i]};
  }
  std::sort(order.begin(), order.begin() + static_cast<std::ptrdiff_t>(sorted));
  // From both ends: what is left of the other side may be rare or unseen categories.
  const std::size_t most = std::min(sorted, static_cast<std::size_t>(options_.max_category_side));
  for (const bool backwards : {false, true}) {
    GradientSum left;
    std::size_t best_most = 0;
    const auto bin = [&](std::size_t i) { return order[backwards ? sorted - 1 - i : i].second; };
    for (std::size_t i = 0; i < most; ++i) {
      left += bins[bin(i)];
      consider(best, node, left, options_.l2 + options_.category_l2, node_gain, 0, better);
      if (better) best_most = i + 1;
    }
    if (best_most == 0) continue;
    took();
    for (std::size_t i = 0; i < best_most; ++i) best.left_bins.insert(bin(i));
  }
}

void SplitSearch::search_column(std::uint32_t column, const SearchedNode& node, double node_gain, Histogram& histogram,
                                Local& local, Split& best) const {
  if (bins_.place(column).codes == 1 && simple_ && bins_.column(column).categories == 0) {
    two_bins(column, node, node_gain, histogram, best);
    return;
  }
  bool skip;
  const Bins bins = bins_of(column, node, histogram, local, &skip);
  if (skip) return;
  if (bins_.column(column).categories > 0)
    categorical(column, node, node_gain, bins, best);
  else if (simple_)
    plain_numeric(column, node, node_gain, bins, best);
  else
    any_numeric(column, node, node_gain, bins, best);
}

/// Fills in what was left for the split that won.
void SplitSearch::finish(const SearchedNode& node, Histogram& histogram, Local& local, Split& best) const {
  if (best.gain <= 0) return;
  const ColumnBins& cuts = bins_.column(best.column);
  bool skip;
  const Bins bins = bins_of(best.column, node, histogram, local, &skip);
  if (cuts.categories > 0) {
    // Categories (and missing values) that this node does not know follow the majority.
    if (2 * scale_.rows(best.left) > scale_.rows(node.total))
      for (std::uint32_t b = 0; b <= cuts.count; ++b)
        if ((b == cuts.count && !bins_.place(best.column).any_missing) || bins.hn[b] == 0) best.left_bins.insert(b);
    return;
  }
  const GradientSum missing = bins_.place(best.column).any_missing ? bins[cuts.count] : GradientSum{};
  best.left = best.missing_left ? missing : GradientSum{};
  for (std::uint32_t b = 0; b <= best.last_bin; ++b) best.left += bins[b];
  // Values against gaps: then every value goes left.
  if (missing.hn != 0 && !best.missing_left && best.left.hn == (node.total - missing).hn)
    best.last_bin = cuts.count - 1;
  // Without missing values to learn from they will follow the majority.
  if (missing.hn == 0) best.missing_left = 2 * scale_.rows(best.left) > scale_.rows(node.total);
  best.left_bins = numeric_left(cuts, best.last_bin, best.missing_left);
}

void SplitSearch::find(const SearchedNode* small, Histogram* small_histogram, const SearchedNode* large,
                       Histogram* large_histogram, std::span<const std::uint8_t> column_on, Split* small_best,
                       Split* large_best) const {
  const auto& kernels = kernels::detail::grow_table();
  const double small_gain = small ? node_gain(*small) : 0, large_gain = large ? node_gain(*large) : 0;
  // Units: stored columns, then listed ones.
  const std::size_t stored = of_stored_.size(), units = stored + listed_.size();
  const auto search = [&](std::size_t begin, std::size_t end, Split* best) {
    Local local;
    for (std::size_t u = begin; u < end; ++u) {
      const std::span<const std::uint32_t> columns =
          u < stored ? std::span<const std::uint32_t>(of_stored_[u]) : std::span(&listed_[u - stored], 1);
      if (std::none_of(columns.begin(), columns.end(), [&](auto c) { return column_on[c] != 0; })) continue;
      if (large) {
        const std::uint32_t at = layout_.start(bins_, columns[0]);
        kernels.subtract(large_histogram->g.data() + at, large_histogram->hn.data() + at,
                         small_histogram->g.data() + at, small_histogram->hn.data() + at,
                         u < stored ? bins_.stored_bins(u) : bins_.column(columns[0]).count + 1);
      }
      for (const auto c : columns) {
        if (small && small->columns[c]) search_column(c, *small, small_gain, *small_histogram, local, best[0]);
        if (large && large->columns[c]) search_column(c, *large, large_gain, *large_histogram, local, best[1]);
      }
    }
  };
  // Tasks of about as many bins.
  const std::size_t tasks = layout_.size < serial_bins ? 1 : std::min<std::size_t>(layout_.size / task_bins, units);
  const std::size_t grain = (units + tasks - 1) / std::max<std::size_t>(tasks, 1);
  std::vector<Split> found(2 * std::max<std::size_t>(tasks, 1));
  parallel_for(
      units, std::max<std::size_t>(grain, 1),
      [&](std::size_t begin, std::size_t end) { search(begin, end, &found[2 * (begin / grain)]); }, options_.arena);
  const auto best_of = [&](std::size_t which, const SearchedNode& node, Histogram& histogram, Split& best) {
    best = {};
    for (std::size_t i = which; i < found.size(); i += 2)
      if (found[i].gain > best.gain || (found[i].gain == best.gain && best.gain > 0 && found[i].column < best.column))
        best = found[i];
    Local local;
    finish(node, histogram, local, best);
  };
  if (small) best_of(0, *small, *small_histogram, *small_best);
  if (large) best_of(1, *large, *large_histogram, *large_best);
}

}  // namespace redoubt::detail
