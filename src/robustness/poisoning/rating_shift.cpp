#include "redoubt/robustness/poisoning/rating_shift.hpp"

#include <fmt/format.h>

#include <algorithm>
#include <cmath>
#include <map>

#include "redoubt/robustness/poisoning/sources.hpp"
#include "robustness/poisoning/items.hpp"
#include "robustness/rows.hpp"

namespace redoubt {
namespace {

constexpr double microseconds_per_hour = 3.6e9;

double log_choose(std::size_t n, std::size_t k) {
  const auto f = [](std::size_t v) { return std::lgamma(static_cast<double>(v) + 1); };
  return f(n) - f(k) - f(n - k);
}

/// P(X >= k): of n rows, `marked` have the label; X of them are among `drawn`.
double hypergeometric_tail(std::size_t k, std::size_t drawn, std::size_t marked, std::size_t n) {
  const std::size_t most = std::min(drawn, marked);
  if (drawn + marked >= n && k <= drawn + marked - n) return 1;
  double term = std::exp(log_choose(marked, k) + log_choose(n - marked, drawn - k) - log_choose(n, drawn)), sum = 0;
  for (std::size_t i = k; i <= most && term > 0; ++i) {
    sum += term;
    if (i == most) break;
    term *= static_cast<double>(marked - i) * static_cast<double>(drawn - i) /
            (static_cast<double>(i + 1) * static_cast<double>(n - marked - drawn + i + 1));
  }
  return std::min(1.0, sum);
}

}  // namespace

std::vector<RatingShift> find_rating_shifts(const Dataset& data, const RatingShiftOptions& options) {
  const auto require = [](bool ok, const char* name, double value, const char* range) {
    if (!ok)
      detail::fail(errc::invalid_argument,
                   fmt::format("RatingShiftOptions::{} is {}; it must be {}", name, value, range));
  };
  require(options.min_rows >= 3, "min_rows", static_cast<double>(options.min_rows), "at least 3");
  require(options.min_shift >= 0 && options.min_shift <= 1, "min_shift", options.min_shift, "in [0, 1]");
  require(options.false_discovery_rate > 0 && options.false_discovery_rate < 1, "false_discovery_rate",
          options.false_discovery_rate, "in (0, 1)");
  std::vector<RatingShift> shifts;
  if (data.rows() == 0) return shifts;
  if (data.task() != Task::classification || data.times().empty())
    detail::fail(errc::invalid_argument, "find_rating_shifts: the data needs class labels and a time column");
  const std::size_t column = detail::item_column(data, options.by, "RatingShiftOptions::by");
  if (column == data.schema().size())
    detail::fail(errc::invalid_argument, "find_rating_shifts: the data has no categorical column of items");

  const auto& items = data.column(column).codes;
  const auto times = data.times();
  const auto labels = data.labels();
  const std::size_t classes = data.classes().size();
  std::map<std::int32_t, std::vector<std::uint32_t>> rows_of;
  for (std::uint32_t r = 0; r < data.rows(); ++r)
    if (items[r] >= 0 && labels[r] >= 0 && times[r] != missing_time) rows_of[items[r]].push_back(r);

  std::vector<double> p_values;  // of every item that was judged
  for (auto& [item, rows] : rows_of) {
    const std::size_t n = rows.size();
    if (n < 2 * options.min_rows) continue;
    std::stable_sort(rows.begin(), rows.end(), [&](std::uint32_t a, std::uint32_t b) { return times[a] < times[b]; });
    std::size_t looked = 0;
    double best = 1;
    RatingShift found;
    std::size_t begin = 0;
    for (std::size_t m = options.min_rows; 2 * m <= n; m += m / 2) looked += (n - m + 1) * classes;
    for (std::size_t c = 0; c < classes; ++c) {
      std::vector<std::size_t> before(n + 1, 0);  // rows with this label among the first so many
      for (std::size_t i = 0; i < n; ++i) before[i + 1] = before[i] + (labels[rows[i]] == static_cast<std::int32_t>(c));
      const std::size_t marked = before[n];
      for (std::size_t m = options.min_rows; 2 * m <= n; m += m / 2)
        for (std::size_t i = 0; i + m <= n; ++i) {
          const std::size_t k = before[i + m] - before[i];
          const double share = static_cast<double>(k) / static_cast<double>(m);
          const double usual = static_cast<double>(marked - k) / static_cast<double>(n - m);
          if (share <= usual || share - usual < options.min_shift) continue;
          const double p = hypergeometric_tail(k, m, marked, n);
          if (p >= best) continue;
          best = p;
          begin = i;
          found = {item, static_cast<std::int32_t>(c), {}, m, share, usual, 0, 1};
        }
    }
    p_values.push_back(std::min(1.0, best * static_cast<double>(looked)));
    if (found.run > 0) {
      for (std::size_t i = begin; i < begin + found.run; ++i)
        if (labels[rows[i]] == found.label) found.rows.push_back(rows[i]);
      found.hours =
          (static_cast<double>(times[rows[begin + found.run - 1]]) - static_cast<double>(times[rows[begin]])) /
          microseconds_per_hour;
      found.q_value = static_cast<double>(p_values.size() - 1);  // for now: where its p-value is
      shifts.push_back(std::move(found));
    }
  }
  const auto q_values = benjamini_hochberg(p_values);
  for (RatingShift& shift : shifts) shift.q_value = q_values[static_cast<std::size_t>(shift.q_value)];
  std::erase_if(shifts, [&](const RatingShift& s) { return s.q_value > options.false_discovery_rate; });
  std::stable_sort(shifts.begin(), shifts.end(),
                   [](const RatingShift& a, const RatingShift& b) { return a.q_value < b.q_value; });
  return shifts;
}

void RatingShifts::update(const Batch& batch) { detail::append_rows(data_, *batch.data); }
void RatingShifts::merge(const RatingShifts& other) { detail::append_rows(data_, other.data_); }

Verdict RatingShifts::finish() const {
  if (data_.rows() == 0) return Verdict::abstain(std::string(id), stage, "there are no rows to look at");
  if (data_.task() != Task::classification)
    return Verdict::abstain(std::string(id), stage, "needs class labels, and the target is numeric");
  const std::size_t column = detail::item_column(data_, options.by, "RatingShiftOptions::by");
  if (column == data_.schema().size())
    return Verdict::abstain(std::string(id), stage, "there is no categorical column of items");
  const auto shifts = find_rating_shifts(data_, options);
  const ColumnSpec& spec = data_.schema()[column];
  std::vector<Finding> by_row(data_.rows());
  for (const RatingShift& shift : shifts) {
    const std::string evidence = fmt::format(
        "one of {} rows labelled {} among {} with {} = {} within {:.1f} hours: {:.0f} %, otherwise {:.0f} % (q = "
        "{:.2g})",
        shift.rows.size(), data_.classes()[static_cast<std::size_t>(shift.label)], shift.run, spec.name,
        spec.categories[static_cast<std::size_t>(shift.item)], shift.hours, 100 * shift.share, 100 * shift.usual,
        shift.q_value);
    for (const std::uint32_t r : shift.rows) by_row[r] = {data_.row_ids()[r], "", shift.share - shift.usual, evidence};
  }
  Verdict verdict;
  verdict.check = id;
  verdict.stage = stage;
  verdict.findings = detail::scored(std::move(by_row));
  detail::finish_warning(verdict, data_.rows());
  verdict.summary = fmt::format("labels of {} of {} changed for a while; {} rows did it", shifts.size(), spec.name,
                                verdict.findings.size());
  return verdict;
}

}  // namespace redoubt
