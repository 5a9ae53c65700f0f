#include "redoubt/robustness/monitor/drift.hpp"

#include <fmt/format.h>

#include <algorithm>
#include <array>
#include <cmath>
#include <map>

#include "redoubt/core/error.hpp"
#include "redoubt/core/random.hpp"
#include "redoubt/core/tensor.hpp"
#include "redoubt/model/model.hpp"
#include "redoubt/trees/gradient_boosting.hpp"
#include "robustness/rows.hpp"
#include "robustness/scoring.hpp"

namespace redoubt {
namespace {

struct Comparison {
  std::string what;
  const char* how;
  double distance = 0, p = 1;
};

/// Largest difference of the two empirical distributions.
Comparison of_numbers(std::string what, std::vector<double> a, std::vector<double> b) {
  Comparison result{std::move(what), "Kolmogorov-Smirnov"};
  if (a.empty() || b.empty()) return result;
  std::sort(a.begin(), a.end());
  std::sort(b.begin(), b.end());
  const double n = static_cast<double>(a.size()), m = static_cast<double>(b.size());
  for (std::size_t i = 0, j = 0; i < a.size() && j < b.size();) {
    const double at = std::min(a[i], b[j]);
    while (i < a.size() && a[i] <= at) ++i;
    while (j < b.size() && b[j] <= at) ++j;
    result.distance = std::max(result.distance, std::abs(static_cast<double>(i) / n - static_cast<double>(j) / m));
  }
  // Kolmogorov's limit with Stephens' correction for few rows.
  const double root = std::sqrt(n * m / (n + m)), x = (root + 0.12 + 0.11 / root) * result.distance;
  if (x < 0.2) return result;  // where the series has no value left but 1
  double sum = 0;
  for (int k = 1; k <= 100; ++k) sum += (k % 2 ? 2 : -2) * std::exp(-2.0 * k * k * x * x);
  result.p = std::clamp(sum, 0.0, 1.0);
  return result;
}

/// Counts by name of both sides.
using Counts = std::map<std::string, std::array<double, 2>>;

Comparison of_counts(std::string what, const Counts& counts) {
  Comparison result{std::move(what), "chi-square"};
  double n[2] = {0, 0};
  for (const auto& [name, c] : counts) n[0] += c[0], n[1] += c[1];
  if (n[0] == 0 || n[1] == 0) return result;
  double statistic = 0;
  int cells = 0;
  double rare[2] = {0, 0};  // cells of fewer than five expected rows are one cell
  const auto add = [&](double a, double b) {
    if (a + b == 0) return;
    for (const int side : {0, 1}) {
      const double expected = (a + b) * n[side] / (n[0] + n[1]), seen = side == 0 ? a : b;
      statistic += (seen - expected) * (seen - expected) / expected;
    }
    ++cells;
  };
  for (const auto& [name, c] : counts) {
    result.distance += std::abs(c[0] / n[0] - c[1] / n[1]) / 2;
    if ((c[0] + c[1]) * std::min(n[0], n[1]) / (n[0] + n[1]) < 5)
      rare[0] += c[0], rare[1] += c[1];
    else
      add(c[0], c[1]);
  }
  add(rare[0], rare[1]);
  if (cells > 1) result.p = 1 - detail::chi_square_below(statistic, cells - 1);
  return result;
}

/// Of one column that both sides have: what its values do, and how many there are.
void compare_column(const Column& before, const Column& after, std::vector<Comparison>& out) {
  const std::string& name = before.spec.name;
  const std::string what =
      before.spec.role == ColumnRole::target ? fmt::format("target '{}'", name) : fmt::format("column '{}'", name);
  if (before.spec.type != after.spec.type) return;
  Counts present;
  for (const auto* column : {&before, &after})
    for (std::size_t r = 0; r < column->size(); ++r)
      ++present[column->missing(r) ? "missing" : "present"][column == &before ? 0 : 1];
  if (present.size() > 1) out.push_back(of_counts(what + ", missing values", present));
  if (before.spec.type == ColumnType::numeric) {
    std::vector<double> values[2];
    for (const auto* column : {&before, &after})
      for (std::size_t r = 0; r < column->size(); ++r)
        if (!column->missing(r)) values[column == &before ? 0 : 1].push_back(column->numbers[r]);
    out.push_back(of_numbers(what, std::move(values[0]), std::move(values[1])));
  } else if (before.spec.type == ColumnType::categorical) {
    Counts counts;
    for (const auto* column : {&before, &after})
      for (const std::int32_t code : column->codes)
        if (code >= 0) ++counts[column->spec.categories[static_cast<std::size_t>(code)]][column == &before ? 0 : 1];
    out.push_back(of_counts(what, counts));
  }
}

/// Losses on rows of both sides of a model that saw neither.
std::vector<Comparison> of_relation(const Dataset& before, const Dataset& after, const DriftOptions& options) {
  if (before.task() == Task::none || before.task() != after.task()) return {};
  const Dataset labelled = detail::labelled_rows(before, 0, 0), judged = detail::labelled_rows(after, 0, 0);
  std::vector<std::size_t> learned, held;
  Random random(options.seed, 1);
  for (std::size_t r = 0; r < labelled.rows(); ++r) (random.below(2) ? learned : held).push_back(r);
  if (learned.size() < 20 || held.size() < 20 || judged.rows() < 20) return {};
  const Dataset training = labelled.take(learned);
  if (training.task() == Task::classification) {
    std::vector<std::int32_t> seen(training.labels().begin(), training.labels().end());
    std::sort(seen.begin(), seen.end());
    if (seen.front() == seen.back()) return {};
  }
  const Model model = GradientBoosting{{.trees = options.trees, .seed = options.seed}}.fit(training);
  return {of_numbers("labels given features", detail::row_losses(model, labelled.take(held)),
                     detail::row_losses(model, judged))};
}

}  // namespace

void Drift::update(const Batch& batch) { detail::append_rows(data_, *batch.data); }
void Drift::merge(const Drift& other) { detail::append_rows(data_, other.data_); }

Verdict Drift::finish() const {
  constexpr std::size_t fewest = 20;
  if (!(options.significance > 0 && options.significance < 1) || options.trees < 1 ||
      !(options.min_distance >= 0 && options.min_distance < 1))
    detail::fail(errc::invalid_argument,
                 fmt::format("DriftOptions: significance {} must be in (0, 1), min_distance {} in [0, 1), trees {} at "
                             "least 1",
                             options.significance, options.min_distance, options.trees));
  const Dataset& before = options.reference;
  if (before.rows() < fewest || data_.rows() < fewest)
    return Verdict::abstain(
        std::string(id), stage,
        fmt::format("needs at least {} rows on both sides; there are {} in the reference and {} new "
                    "ones",
                    fewest, before.rows(), data_.rows()));
  std::vector<Comparison> comparisons;
  for (std::size_t c = 0; c < before.cols(); ++c) {
    const Column& column = before.column(c);
    const std::size_t there = data_.schema().find(column.spec.name);
    const bool compared = column.spec.role == ColumnRole::feature || column.spec.role == ColumnRole::target;
    if (compared && there != Schema::npos) compare_column(column, data_.column(there), comparisons);
  }
  if (options.relation)
    for (Comparison& relation : of_relation(before, data_, options)) comparisons.push_back(std::move(relation));
  if (comparisons.empty())
    return Verdict::abstain(std::string(id), stage, "the reference and the new rows have no column in common");

  std::stable_sort(comparisons.begin(), comparisons.end(), [](const auto& a, const auto& b) { return a.p < b.p; });
  Verdict verdict;
  verdict.check = id;
  verdict.stage = stage;
  for (std::size_t i = 0; i < comparisons.size(); ++i) {
    const Comparison& c = comparisons[i];
    if (c.p * static_cast<double>(comparisons.size() - i) > options.significance) break;  // Holm
    if (c.distance < options.min_distance) continue;
    verdict.findings.push_back(
        {no_row, "", c.distance, fmt::format("{}: distance {:.3f} ({}, p = {:.2g})", c.what, c.distance, c.how, c.p)});
  }
  detail::sort_findings(verdict.findings);
  verdict.outcome = verdict.findings.empty() ? Outcome::pass : Outcome::warn;
  verdict.score = static_cast<double>(verdict.findings.size()) / static_cast<double>(comparisons.size());
  verdict.summary = fmt::format("{} of {} comparisons of {} new rows with {} earlier ones have moved",
                                verdict.findings.size(), comparisons.size(), data_.rows(), before.rows());
  return verdict;
}

}  // namespace redoubt
