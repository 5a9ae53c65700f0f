#include "redoubt/robustness/calibrate.hpp"

#include <fmt/format.h>

#include <algorithm>
#include <cmath>
#include <limits>
#include <unordered_set>

#include "redoubt/core/random.hpp"
#include "robustness/calibration.hpp"

namespace redoubt {
namespace {

using RowSet = std::unordered_set<RowId>;

/// Another class than `label`, each equally likely.
std::int32_t other_class(std::int32_t label, std::size_t classes, Random& random) {
  const auto shift = 1 + static_cast<std::int32_t>(random.below(classes - 1));
  return (label + shift) % static_cast<std::int32_t>(classes);
}

/// Rows that a verdict of the planted screen names.
RowSet named_rows(const Verdict& verdict, const ScreenReport& planted, const Dataset& data) {
  if (verdict.check == "screen") return {planted.blocked().begin(), planted.blocked().end()};
  RowSet rows;
  std::unordered_set<std::string> sources;
  for (const Finding& f : verdict.findings) {
    if (f.row != no_row)
      rows.insert(f.row);
    else if (!f.source.empty())
      sources.insert(f.source);
  }
  if (!sources.empty())
    for (std::size_t r = 0; r < data.sources().size(); ++r)
      if (data.sources()[r] >= 0 && sources.contains(data.source_names()[static_cast<std::size_t>(data.sources()[r])]))
        rows.insert(data.row_ids()[r]);
  return rows;
}

double share_named(const std::vector<RowId>& rows, const RowSet& named) {
  const auto hits = std::count_if(rows.begin(), rows.end(), [&](RowId row) { return named.contains(row); });
  return rows.empty() ? 0 : static_cast<double>(hits) / static_cast<double>(rows.size());
}

}  // namespace

void detail::require_calibration(const Dataset& data, const CalibrationOptions& o) {
  const auto in_range = [](double rate, const char* name) {
    if (!(rate >= 0 && rate <= 0.5))
      detail::fail(errc::invalid_argument,
                   fmt::format("CalibrationOptions::{} is {}; it must be in [0, 0.5]", name, rate));
  };
  in_range(o.flip_rate, "flip_rate");
  in_range(o.source_rate, "source_rate");
  in_range(o.trigger_rate, "trigger_rate");
  in_range(o.clean_label_rate, "clean_label_rate");
  in_range(o.campaign_rate, "campaign_rate");
  in_range(o.region_rate, "region_rate");
  if (o.trials < 1 || o.trials > 1000)
    detail::fail(errc::invalid_argument,
                 fmt::format("CalibrationOptions::trials is {}; it must be in [1, 1000]", o.trials));
  if (data.task() != Task::classification || data.classes().size() < 2)
    detail::fail(errc::invalid_argument, "calibration flips labels; the data needs a target of at least two classes");
}

namespace {

/// A value that one row in a hundred exceeds; NaN without values.
double high_value(std::vector<double> values) {
  std::erase_if(values, [](double v) { return std::isnan(v); });
  if (values.empty()) return std::nan("");
  const auto at = values.begin() + static_cast<std::ptrdiff_t>(values.size() * 99 / 100);
  std::nth_element(values.begin(), at, values.end());
  return *at;
}

/// Rows of class `label` (or of every other one), in random order.
std::vector<std::size_t> rows_of_class(const Dataset& data, std::int32_t label, bool others, Random& random) {
  std::vector<std::size_t> rows;
  for (std::size_t r = 0; r < data.rows(); ++r)
    if (data.labels()[r] >= 0 && (data.labels()[r] == label) != others) rows.push_back(r);
  random.shuffle(rows);
  return rows;
}

/// What new accounts add, with the features of `templates`; see plant_patterns.
Dataset campaign_rows(const Dataset& data, const std::vector<std::size_t>& templates, std::size_t accounts,
                      std::int32_t label, Random& random) {
  constexpr std::size_t each = 4;
  constexpr std::int64_t two_days = 2 * std::int64_t{86'400'000'000};  // microseconds
  std::vector<std::size_t> chosen;
  for (std::size_t i = 0; i < accounts * each; ++i) chosen.push_back(templates[i % templates.size()]);
  const Dataset rows = data.take(chosen);
  std::size_t about = Schema::npos, most = 1;
  for (std::size_t c = 0; c < data.cols(); ++c) {
    const ColumnSpec& spec = data.schema()[c];
    const bool free = spec.role == ColumnRole::feature || spec.role == ColumnRole::ignore;
    if (free && spec.type == ColumnType::categorical && spec.categories.size() > most)
      about = c, most = spec.categories.size();
  }
  std::int64_t first = std::numeric_limits<std::int64_t>::max(), last = std::numeric_limits<std::int64_t>::min();
  for (const std::int64_t t : data.times())
    if (t != missing_time) first = std::min(first, t), last = std::max(last, t);
  if (last < first) first = last = 0;  // no times
  const std::int64_t start =
      first + static_cast<std::int64_t>(
                  random.below(static_cast<std::uint64_t>(std::max<std::int64_t>(last - first - two_days, 1))));
  const auto category = static_cast<std::int32_t>(random.below(most));
  std::vector<Column> columns;
  for (std::size_t c = 0; c < rows.cols(); ++c) {
    Column column = rows.column(c);
    if (column.spec.role == ColumnRole::target) {
      std::fill(column.codes.begin(), column.codes.end(), label);
    } else if (column.spec.role == ColumnRole::source) {
      const auto known = static_cast<std::int32_t>(column.spec.categories.size());
      for (std::size_t a = 0; a < accounts; ++a) column.spec.categories.push_back(fmt::format("planted account {}", a));
      for (std::size_t i = 0; i < column.codes.size(); ++i)
        column.codes[i] = known + static_cast<std::int32_t>(i / each);
    } else if (column.spec.role == ColumnRole::time) {
      for (std::int64_t& t : column.times)
        if (last > first) t = start + static_cast<std::int64_t>(random.below(two_days));
    } else if (c == about) {
      std::fill(column.codes.begin(), column.codes.end(), category);
    }
    columns.push_back(std::move(column));
  }
  const RowId next = 1 + *std::max_element(data.row_ids().begin(), data.row_ids().end());
  std::vector<RowId> ids;
  for (std::size_t i = 0; i < chosen.size(); ++i) ids.push_back(next + i);
  return Dataset(std::move(columns), std::move(ids));
}

struct Planted {
  std::string what;
  const std::vector<RowId>& rows;
};

/// Screens the planted copy and adds what was found of each kind beside the verdicts of `report`.
void measure(std::vector<std::pair<std::string, std::vector<Calibration>>>& measured, const Dataset& data,
             const Dataset& planted, const std::vector<Planted>& kinds, const ScreenOptions& options) {
  const ScreenReport found = screen(planted, options);
  RowSet touched;
  for (const Planted& kind : kinds) touched.insert(kind.rows.begin(), kind.rows.end());
  std::vector<RowId> untouched;
  for (RowId row : data.row_ids())
    if (!touched.contains(row)) untouched.push_back(row);
  for (const Verdict& verdict : found.verdicts()) {
    if (verdict.outcome == Outcome::abstain) continue;
    const RowSet named = named_rows(verdict, found, planted);
    const double false_positives = share_named(untouched, named);
    auto at = std::find_if(measured.begin(), measured.end(), [&](const auto& m) { return m.first == verdict.check; });
    if (at == measured.end()) at = measured.insert(at, {verdict.check, {}});
    for (const Planted& kind : kinds)
      if (!kind.rows.empty())
        at->second.push_back({kind.what, kind.rows.size(), share_named(kind.rows, named), false_positives});
  }
}

}  // namespace

PlantedFlips plant_flips(const Dataset& data, const CalibrationOptions& options) {
  detail::require_calibration(data, options);
  const std::size_t classes = data.classes().size();
  Column target = data.column(data.schema().find(ColumnRole::target));
  Random random(options.seed, 21);
  std::vector<std::uint8_t> taken(data.rows(), 0);
  PlantedFlips planted;

  std::vector<std::vector<std::size_t>> by_source(data.source_names().size());
  for (std::size_t r = 0; r < data.sources().size(); ++r)
    if (data.sources()[r] >= 0 && target.codes[r] >= 0)
      by_source[static_cast<std::size_t>(data.sources()[r])].push_back(r);
  std::vector<std::uint32_t> order;
  for (std::uint32_t s = 0; s < by_source.size(); ++s)
    if (by_source[s].size() >= std::max<std::size_t>(1, options.min_source_rows)) order.push_back(s);
  random.shuffle(order);
  const double wanted = options.source_rate * static_cast<double>(data.rows());
  for (std::uint32_t s : order) {
    // A source that overshoots by far would turn a calibration into another data set.
    if (static_cast<double>(planted.by_source.size() + by_source[s].size()) > 1.5 * wanted) continue;
    if (static_cast<double>(planted.by_source.size()) >= wanted) break;
    planted.sources.push_back(data.source_names()[s]);
    for (std::size_t r : by_source[s]) {
      target.codes[r] = other_class(target.codes[r], classes, random);
      taken[r] = 1;
      planted.by_source.push_back(data.row_ids()[r]);
    }
  }

  std::vector<std::uint64_t> free;
  for (std::size_t r = 0; r < data.rows(); ++r)
    if (!taken[r] && target.codes[r] >= 0) free.push_back(r);
  random.shuffle(free);
  const auto flips = static_cast<std::size_t>(options.flip_rate * static_cast<double>(free.size()) + 0.5);
  for (std::size_t i = 0; i < std::min(flips, free.size()); ++i) {
    target.codes[free[i]] = other_class(target.codes[free[i]], classes, random);
    planted.random.push_back(data.row_ids()[free[i]]);
  }
  planted.data = data.with_column(std::move(target));
  return planted;
}

PlantedPatterns plant_patterns(const Dataset& data, const CalibrationOptions& options) {
  detail::require_calibration(data, options);
  PlantedPatterns planted{data, {}, {}, {}, 0};
  Random random(options.seed, 22);
  const auto classes = data.classes().size();
  const auto share = [&](double rate) {
    return static_cast<std::size_t>(rate * static_cast<double>(data.rows()) + 0.5);
  };
  std::vector<std::size_t> numeric;
  for (const std::size_t c : data.schema().features())
    if (data.schema()[c].type == ColumnType::numeric) numeric.push_back(c);
  random.shuffle(numeric);
  const auto aim = static_cast<std::int32_t>(random.below(classes));
  // Each pattern has columns of its own.
  const std::size_t width = std::min<std::size_t>(2, numeric.size() / 2);
  const auto mark = [&](std::size_t first, std::vector<std::size_t> rows, std::size_t count, std::vector<RowId>& ids) {
    rows.resize(std::min(rows.size(), count));
    for (std::size_t k = 0; k < width; ++k) {
      Column column = planted.data.column(numeric[first + k]);
      const double high = high_value(data.column(numeric[first + k]).numbers);
      for (const std::size_t r : rows) column.numbers[r] = high;
      planted.data = planted.data.with_column(std::move(column));
    }
    std::sort(rows.begin(), rows.end());
    for (const std::size_t r : rows) ids.push_back(data.row_ids()[r]);
    return rows;
  };
  if (width > 0) {
    Column target = data.column(data.schema().find(ColumnRole::target));
    for (const std::size_t r :
         mark(0, rows_of_class(data, aim, true, random), share(options.trigger_rate), planted.triggered))
      target.codes[r] = aim;
    mark(width, rows_of_class(data, aim, false, random), share(options.clean_label_rate), planted.clean_label);
    planted.data = planted.data.with_column(std::move(target));
  }
  const auto label = static_cast<std::int32_t>(random.below(classes));
  const auto templates = rows_of_class(data, label, true, random);
  if (!data.sources().empty() && !templates.empty()) planted.accounts = (share(options.campaign_rate) + 3) / 4;
  if (planted.accounts > 0) {
    const Dataset more = campaign_rows(data, templates, planted.accounts, label, random);
    planted.campaign.assign(more.row_ids().begin(), more.row_ids().end());
    planted.data = Dataset::concat(planted.data, more);
  }
  return planted;
}

void calibrate(ScreenReport& report, const Dataset& data, const ScreenOptions& screen_options,
               const CalibrationOptions& options) {
  std::vector<std::pair<std::string, std::vector<Calibration>>> measured;
  const PlantedFlips flips = plant_flips(data, options);
  measure(measured, data, flips.data,
          {{"random label flips", flips.random},
           {fmt::format("all labels of {} sources flipped", flips.sources.size()), flips.by_source}},
          screen_options);
  const PlantedPatterns patterns = plant_patterns(data, options);
  if (!patterns.triggered.empty() || !patterns.clean_label.empty() || !patterns.campaign.empty())
    measure(measured, data, patterns.data,
            {{"backdoor trigger", patterns.triggered},
             {"clean-label pattern", patterns.clean_label},
             {fmt::format("campaign of {} new accounts", patterns.accounts), patterns.campaign}},
            screen_options);
  for (auto& [check_id, calibration] : measured) report.set_calibration(check_id, std::move(calibration));
}

}  // namespace redoubt
