#include "trees/split_search.hpp"

#include <algorithm>
#include <array>
#include <cmath>
#include <optional>

#include "kernels/grow.hpp"
#include "redoubt/core/random.hpp"

namespace redoubt::detail {
namespace {

constexpr std::size_t serial_bins = 6 * 1024;  // fewer bins than this are not worth a second thread
constexpr std::size_t task_bins = 3 * 1024;
constexpr std::size_t near_bins = 1024;  // made and searched together: they stay in the L1 cache

/// Gains below this share of the scores they are the difference of are rounding errors.
constexpr double rounding = 1e-12;

double shrunk(double g, double l1) noexcept { return l1 == 0 ? g : std::copysign(std::max(std::abs(g) - l1, 0.0), g); }

}  // namespace

/// Bins of a bundled column taken out of its bundle; those of a categorical one in the order of the search.
struct SplitSearch::Local {
  alignas(64) std::array<std::int64_t, 264> g, ordered_g;
  alignas(64) std::array<std::uint64_t, 264> hn, ordered_hn;
};

SplitSearch::SplitSearch(const BinnedMatrix& bins, const HistogramLayout& layout, const GrowerOptions& options,
                         Team& team)
    : bins_(bins), layout_(layout), options_(options), team_(team), kernels_(kernels::detail::grow_table()) {
  simple_ = options.l1 == 0 && options.max_delta_step == 0 && options.path_smooth == 0 && !options.random_thresholds &&
            options.monotone.empty() && options.robust.empty();
  std::vector<std::vector<std::uint32_t>> of_unit(bins.stored_columns());
  for (std::uint32_t c = 0; c < bins.cols(); ++c) {
    const auto s = bins.place(c).stored;
    if (s == BinnedMatrix::Place::none)
      of_unit.push_back({c});
    else
      of_unit[s].push_back(c);
  }
  for (std::size_t u = 0; u < of_unit.size(); ++u) {
    Unit unit{};
    unit.first = static_cast<std::uint32_t>(unit_columns_.size());
    unit.count = static_cast<std::uint32_t>(of_unit[u].size());
    unit_columns_.insert(unit_columns_.end(), of_unit[u].begin(), of_unit[u].end());
    unit.start = layout.start(bins, of_unit[u][0]);
    unit.bins = u < bins.stored_columns() ? bins.stored_bins(u) : bins.column(of_unit[u][0]).count + 1;
    // Or none: a constant column.
    const auto one_code = [&](std::uint32_t c) {
      return bins.place(c).bundled && bins.place(c).codes <= 1 && bins.column(c).categories == 0;
    };
    const BinnedMatrix::Place& place = bins.place(of_unit[u][0]);
    const ColumnBins& column = bins.column(of_unit[u][0]);
    const bool few = place.stored != BinnedMatrix::Place::none && !place.bundled && column.categories > 0 &&
                     column.count + place.any_missing <= static_cast<std::uint32_t>(std::max(options.max_one_hot, 0));
    unit.each = simple_ && (few || std::all_of(of_unit[u].begin(), of_unit[u].end(), one_code));
    units_.push_back(unit);
  }
  std::sort(units_.begin(), units_.end(), [](const Unit& a, const Unit& b) { return a.start < b.start; });
  for (; each_ < units_.size() && units_[each_].each; ++each_) {
    const Unit& unit = units_[each_];
    entry_columns_.resize(unit.start + (unit.bins + 7) / 8 * 8, kernels::detail::no_bin);
    for (std::uint32_t i = 0; i < unit.count; ++i) {
      const auto c = unit_columns_[unit.first + i];
      const BinnedMatrix::Place& place = bins.place(c);
      if (place.bundled && place.codes == 1)
        entry_columns_[unit.start + place.first] = c;
      else if (!place.bundled)
        std::fill_n(&entry_columns_[unit.start], bins.column(c).count + place.any_missing, c);
    }
  }
}

void SplitSearch::use(const GradientScale& scale, std::span<const std::uint8_t> column_on) {
  scale_ = scale;
  all_on_ = true;
  for (Unit& unit : units_) {
    std::uint32_t on = 0;
    for (std::uint32_t i = 0; i < unit.count; ++i) on += column_on[unit_columns_[unit.first + i]] != 0;
    unit.on = on > 0;
    unit.all_on = on == unit.count;
    all_on_ = all_on_ && unit.all_on;
  }
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

/// What is the same for all columns.
SplitSearch::Searching SplitSearch::searching(const SearchedNode& node, Histogram& histogram,
                                              std::span<const std::uint8_t> column_on) const {
  Searching s{node, histogram, node_gain(node), {}, node.columns.data() == column_on.data(), {}};
  s.scan.ids = nullptr;
  s.scan.sums = nullptr;
  s.scan.floor = 0;
  s.scan.missing_g = 0;
  s.scan.missing_hn = 0;
  s.scan.total_g = node.total.g;
  s.scan.total_hn = node.total.hn;
  s.scan.count_bits = scale_.count_bits;
  s.scan.min_rows = static_cast<std::uint64_t>(std::max(options_.min_leaf_rows, 1));
  s.scan.min_hessian = static_cast<std::uint64_t>(std::ceil(options_.min_leaf_hessian / scale_.h));
  s.scan.l2 = options_.l2 / scale_.h;
  if (s.scan.l2 == 0) s.scan.min_hessian = std::max<std::uint64_t>(s.scan.min_hessian, 1);  // nothing divides by 0
  return s;
}

/// Whether a kernel's score makes `column` the best, of equal ones the first. Then its gain is kept.
bool SplitSearch::takes(Searching& s, std::uint32_t column, double score) const {
  if (score < 0) return false;
  const double children = score * (scale_.g * scale_.g / scale_.h), gain = children - s.gain;
  if (!(gain > s.best.gain || (gain == s.best.gain && column < s.best.column))) return false;
  if (gain <= options_.min_gain + rounding * children) return false;
  s.best.gain = gain;
  s.best.column = column;
  return true;
}

/// Makes `left` against the rest of the node the best split, if it is. sign: the column's monotone direction.
bool SplitSearch::consider(Searching& s, const GradientSum& left, double l2, int sign) const {
  const SearchedNode& node = s.node;
  const GradientSum right = node.total - left;
  if (!allowed(left) || !allowed(right)) return false;
  const double a = output(left, node.output, node.lower, node.upper);
  const double b = output(right, node.output, node.lower, node.upper);
  if (sign * (b - a) < 0) return false;
  const double children = side_gain(left, l2, a) + side_gain(right, l2, b), gain = children - s.gain;
  if (!(gain > s.best.gain) || gain <= options_.min_gain + rounding * std::abs(children)) return false;
  s.best.gain = gain;
  s.best.left = left;
  return true;
}

/// `skip` if no cut of the column can leave enough rows on both sides.
SplitSearch::Bins SplitSearch::bins_of(std::uint32_t column, const SearchedNode& node, Histogram& histogram,
                                       Local& local, bool* skip) const {
  const BinnedMatrix::Place& place = bins_.place(column);
  if (histogram.compact()) {
    *skip = false;
    const std::uint64_t* const sums = histogram.sums.data() + layout_.start(bins_, column);
    if (bins_.column(column).categories == 0) return {nullptr, nullptr, sums, scale_.count_bits};
    for (std::uint32_t b = 0; b < bins_.stored_bins(place.stored); ++b) {
      const GradientSum sum = sum_of(sums[b], scale_.count_bits);
      local.g[b] = sum.g;
      local.hn[b] = sum.hn;
    }
    return {local.g.data(), local.hn.data()};
  }
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

void SplitSearch::plain_numeric(std::uint32_t column, Searching& s, Bins bins) const {
  const std::uint32_t count = bins_.column(column).count;
  kernels::detail::SplitScan in = s.scan;
  in.g = bins.g;
  in.hn = bins.hn;
  in.sums = bins.sums;
  in.bins = count;
  if (bins_.place(column).any_missing) {
    const GradientSum missing = bins[count];
    in.missing_g = missing.g;
    in.missing_hn = missing.hn;
  }
  if (s.best.gain > 0) in.floor = (s.best.gain + s.gain) / (scale_.g * scale_.g / scale_.h);
  kernels::detail::SplitFound found;
  kernels_.scan(in, &found);
  if (!takes(s, column, found.score)) return;
  s.best.last_bin = found.bin;
  s.best.missing_left = found.missing_left != 0;
}

/// Entries that stand for a cut each: of a bundled column with one bin beside the common one (one-hot encodings), or a
/// category of a few. The scores are those of a scan, operation by operation.
void SplitSearch::search_entries(std::uint32_t begin, std::uint32_t end, Searching& s) const {
  kernels::detail::SplitScan in = s.scan;
  in.g = s.histogram.g.data() + begin;
  in.hn = s.histogram.hn.data() + begin;
  in.bins = end - begin;
  in.ids = entry_columns_.data() + begin;
  kernels::detail::SplitFound found;
  kernels_.scan_each(in, &found);
  if (found.score < 0) return;
  const std::uint32_t entry = begin + found.bin, column = entry_columns_[entry];
  if (!takes(s, column, found.score)) return;
  s.best.last_bin = 0;
  s.best.missing_left = false;
  if (bins_.place(column).bundled) return;
  s.best.left = {s.histogram.g[entry], s.histogram.hn[entry]};
  s.best.left_bins = {};
  s.best.left_bins.insert(entry - layout_.start(bins_, column));
}

void SplitSearch::two_bins(std::uint32_t column, Searching& s) const {
  const std::uint32_t at = layout_.start(bins_, column) + bins_.place(column).first;
  kernels::detail::SplitScan in = s.scan;
  in.g = s.histogram.g.data() + at;
  in.hn = s.histogram.hn.data() + at;
  in.bins = 1;
  kernels::detail::SplitFound found;
  kernels_.scan_each(in, &found);
  if (!takes(s, column, found.score)) return;
  s.best.last_bin = 0;
  s.best.missing_left = false;
}

void SplitSearch::any_numeric(std::uint32_t column, Searching& s, Bins bins) const {
  const ColumnBins& cuts = bins_.column(column);
  const GradientSum missing = bins_.place(column).any_missing ? bins[cuts.count] : GradientSum{};
  const int sign = options_.monotone.empty() ? 0 : options_.monotone[column];
  std::uint32_t first = 0, last = cuts.count;
  if (options_.random_thresholds) {
    // One cut between the least and the largest value there is.
    while (first < last && bins[first].hn == 0) ++first;
    while (last > first && bins[last - 1].hn == 0) --last;
    if (last - first < 2 && missing.hn == 0) return;
    Random random(options_.seed ^ 0x63757473, s.node.random_stream * bins_.cols() + column);
    const std::uint32_t cut =
        last - first < 2 ? first : first + static_cast<std::uint32_t>(random.below(last - first - 1));
    first = cut;
    last = cut + 1;
  }
  GradientSum left;
  for (std::uint32_t b = 0; b < first; ++b) left += bins[b];
  for (std::uint32_t b = first; b < last; ++b) {
    left += bins[b];
    if (left.hn == 0) continue;  // the missing alone on the left: the same as all values there
    for (int side = 0; side < (missing.hn ? 2 : 1); ++side) {
      if (!consider(s, side ? left + missing : left, options_.l2, sign)) continue;
      s.best.column = column;
      s.best.last_bin = b;
      s.best.missing_left = side == 1;
    }
  }
}

/// Every cut by the worst of four cases: nobody crosses it, all who can go left, or right, or everybody who can.
void SplitSearch::robust_numeric(std::uint32_t column, Searching& s, Bins bins) const {
  const RobustCuts& cuts = options_.robust[column];
  const std::uint32_t count = bins_.column(column).count;
  const GradientSum missing = bins_.place(column).any_missing ? bins[count] : GradientSum{};
  const int sign = options_.monotone.empty() ? 0 : options_.monotone[column];
  const SearchedNode& node = s.node;
  std::array<GradientSum, 257> before;  // of the bins below
  before[0] = {};
  for (std::uint32_t b = 0; b < count; ++b) before[b + 1] = before[b] + bins[b];
  const auto children = [&](const GradientSum& left) {
    const GradientSum right = node.total - left;
    return side_gain(left, options_.l2, output(left, node.output, node.lower, node.upper)) +
           side_gain(right, options_.l2, output(right, node.output, node.lower, node.upper));
  };
  for (std::uint32_t b = 0; b < count; ++b) {
    if (before[b + 1].hn == 0) continue;
    const auto [least, most] = cuts[b];
    for (int side = 0; side < (missing.hn ? 2 : 1); ++side) {
      const GradientSum extra = side ? missing : GradientSum{};
      const GradientSum left = before[b + 1] + extra, right = node.total - left;
      if (!allowed(left) || !allowed(right)) continue;
      if (sign != 0 && sign * (output(right, node.output, node.lower, node.upper) -
                               output(left, node.output, node.lower, node.upper)) <
                           0)
        continue;
      double worst = children(left);
      if (least <= b || most > b + 1)
        worst = std::min({worst, children(before[least] + extra), children(before[most] + extra),
                          children(before[least] + (before[most] - before[b + 1]) + extra)});
      const double gain = worst - s.gain;
      if (!(gain > s.best.gain) || gain <= options_.min_gain + rounding * std::abs(worst)) continue;
      s.best.gain = gain;
      s.best.left = left;
      s.best.column = column;
      s.best.last_bin = b;
      s.best.missing_left = side == 1;
    }
  }
}

/// One category against the others.
void SplitSearch::one_category(std::uint32_t column, Searching& s, Bins bins, std::uint32_t end) const {
  const auto took = [&](std::uint32_t bin) {
    s.best.column = column;
    s.best.left = bins[bin];
    s.best.left_bins = {};
    s.best.left_bins.insert(bin);
  };
  if (simple_) {
    kernels::detail::SplitScan in = s.scan;
    in.g = bins.g;
    in.hn = bins.hn;
    in.bins = end;
    kernels::detail::SplitFound found;
    kernels_.scan_each(in, &found);
    if (takes(s, column, found.score)) took(found.bin);
    return;
  }
  for (std::uint32_t b = 0; b < end; ++b)
    if (bins.hn[b] != 0 && consider(s, bins[b], options_.l2, 0)) took(b);
}

void SplitSearch::categorical(std::uint32_t column, Searching& s, Bins bins, Local& local) const {
  // The bin of missing values is a category like any other.
  const std::uint32_t end = bins_.column(column).count + bins_.place(column).any_missing;
  std::size_t present = 0;
  for (std::uint32_t b = 0; b < end; ++b) present += bins.hn[b] != 0;
  if (present < 2) return;
  if (present <= static_cast<std::size_t>(options_.max_one_hot)) {
    one_category(column, s, bins, end);
    return;
  }
  std::array<std::pair<double, std::uint32_t>, 256> order;
  std::size_t sorted = 0;
  for (std::uint32_t b = 0; b < end; ++b) {
    const GradientSum bin = bins[b];
    if (bin.hn != 0 && scale_.rows(bin) >= options_.min_category_rows)
      order[sorted++] = {scale_.gradient(bin) / (scale_.hessian(bin) + options_.category_smoothing), b};
  }
  std::sort(order.begin(), order.begin() + static_cast<std::ptrdiff_t>(sorted));
  // From both ends: what is left of the other side may be rare or unseen categories. If it is not, both are the same.
  const std::size_t most = std::min(sorted, static_cast<std::size_t>(options_.max_category_side));
  for (const bool backwards : {false, true}) {
    if (backwards && sorted == present && most == sorted) return;
    const auto bin = [&](std::size_t i) { return order[backwards ? sorted - 1 - i : i].second; };
    std::size_t best_most = 0;
    if (simple_) {
      for (std::size_t i = 0; i < most; ++i) {
        local.ordered_g[i] = bins.g[bin(i)];
        local.ordered_hn[i] = bins.hn[bin(i)];
      }
      kernels::detail::SplitScan in = s.scan;
      in.g = local.ordered_g.data();
      in.hn = local.ordered_hn.data();
      in.bins = static_cast<std::uint32_t>(most);
      in.l2 = (options_.l2 + options_.category_l2) / scale_.h;
      kernels::detail::SplitFound found;
      kernels_.scan(in, &found);
      if (takes(s, column, found.score)) best_most = found.bin + 1;
    } else {
      GradientSum left;
      for (std::size_t i = 0; i < most; ++i) {
        left += bins[bin(i)];
        if (consider(s, left, options_.l2 + options_.category_l2, 0)) best_most = i + 1;
      }
    }
    if (best_most == 0) continue;
    s.best.column = column;
    s.best.left = {};
    s.best.left_bins = {};
    for (std::size_t i = 0; i < best_most; ++i) {
      s.best.left += bins[bin(i)];
      s.best.left_bins.insert(bin(i));
    }
  }
}

void SplitSearch::search_column(std::uint32_t column, Searching& s, Local& local) const {
  const bool categories = bins_.column(column).categories > 0;
  if (bins_.place(column).codes == 1 && simple_ && !categories) {
    two_bins(column, s);
    return;
  }
  bool skip;
  const Bins bins = bins_of(column, s.node, s.histogram, local, &skip);
  if (skip) return;
  if (categories)
    categorical(column, s, bins, local);
  else if (simple_)
    plain_numeric(column, s, bins);
  else if (!options_.robust.empty())
    robust_numeric(column, s, bins);
  else
    any_numeric(column, s, bins);
}

void SplitSearch::search_unit(const Unit& unit, Searching& s, Local& local) const {
  const bool all = s.all_columns && unit.all_on;
  for (std::uint32_t i = 0; i < unit.count; ++i)
    if (const auto c = unit_columns_[unit.first + i]; all || s.node.columns[c]) search_column(c, s, local);
}

void SplitSearch::search_units(std::size_t begin, std::size_t end, Searching& s, Local& local) const {
  const std::size_t past = std::min(end, each_);
  if (begin < past && s.all_columns && all_on_ && !s.histogram.compact()) {
    search_entries(units_[begin].start, units_[past - 1].start + units_[past - 1].bins, s);
    begin = past;
  }
  for (std::size_t u = begin; u < end; ++u)
    if (units_[u].on) search_unit(units_[u], s, local);
}

/// Fills in what was left for the split that won.
void SplitSearch::finish(Searching& s, Local& local) const {
  Split& best = s.best;
  const SearchedNode& node = s.node;
  if (best.gain <= 0) return;
  const ColumnBins& cuts = bins_.column(best.column);
  bool skip;
  const Bins bins = bins_of(best.column, node, s.histogram, local, &skip);
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
                       Histogram* large_histogram, const Histogram* parent, std::span<const std::uint8_t> column_on,
                       Split* small_best, Split* large_best, std::size_t threads) {
  const auto make_large = [&](std::uint32_t start, std::uint32_t bins) {
    subtract(*large_histogram, *parent, *small_histogram, start, bins, scale_.count_bits);
  };
  const auto search_near = [&](std::size_t begin, std::size_t end, Searching* first, Searching* second, Local& local) {
    if (second) {
      if (all_on_)
        make_large(units_[begin].start, units_[end - 1].start + units_[end - 1].bins - units_[begin].start);
      else
        for (std::size_t u = begin; u < end; ++u)
          if (units_[u].on) make_large(units_[u].start, units_[u].bins);
    }
    if (first) search_units(begin, end, *first, local);
    if (second) search_units(begin, end, *second, local);
  };
  const auto search = [&](std::size_t begin, std::size_t end, Searching* first, Searching* second) {
    Local local;
    // What is searched entry by entry is searched at once.
    for (std::size_t from = begin, to; from < end; from = to) {
      to = from < each_ ? std::min(each_, end) : from + 1;
      while (to < end && units_[to].start + units_[to].bins - units_[from].start <= near_bins) ++to;
      search_near(from, to, first, second, local);
    }
  };
  std::optional<Searching> first, second;
  if (small) first.emplace(searching(*small, *small_histogram, column_on));
  if (large) second.emplace(searching(*large, *large_histogram, column_on));
  // Tasks of about as many bins.
  const std::size_t units = units_.size(), tasks = std::min<std::size_t>(layout_.size / task_bins, units);
  if (threads == 1 || layout_.size < serial_bins || tasks < 2) {
    search(0, units, first ? &*first : nullptr, second ? &*second : nullptr);
  } else {
    const std::size_t grain = (units + tasks - 1) / tasks;
    std::vector<Split> found(2 * tasks);
    team_.parallel_for(units, grain, [&](std::size_t begin, std::size_t end) {
      std::optional<Searching> a = first, b = second;
      search(begin, end, a ? &*a : nullptr, b ? &*b : nullptr);
      if (a) found[2 * (begin / grain)] = a->best;
      if (b) found[2 * (begin / grain) + 1] = b->best;
    });
    for (std::size_t i = 0; i < found.size(); ++i)
      if (auto& s = i % 2 ? second : first; s)
        if (Split& best = s->best;
            found[i].gain > best.gain || (found[i].gain == best.gain && best.gain > 0 && found[i].column < best.column))
          best = found[i];
  }
  Local local;
  if (first) {
    finish(*first, local);
    *small_best = first->best;
  }
  if (second) {
    finish(*second, local);
    *large_best = second->best;
  }
}

}  // namespace redoubt::detail
