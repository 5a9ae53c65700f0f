#include "redoubt/robustness/calibrate.hpp"

#include <fmt/format.h>

#include <algorithm>
#include <unordered_set>

#include "redoubt/core/random.hpp"

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

PlantedFlips plant_flips(const Dataset& data, const CalibrationOptions& options) {
  const auto in_range = [](double rate, const char* name) {
    if (!(rate >= 0 && rate <= 0.5))
      detail::fail(errc::invalid_argument,
                   fmt::format("CalibrationOptions::{} is {}; it must be in [0, 0.5]", name, rate));
  };
  in_range(options.flip_rate, "flip_rate");
  in_range(options.source_rate, "source_rate");
  if (data.task() != Task::classification || data.classes().size() < 2)
    detail::fail(errc::invalid_argument, "calibration flips labels; the data needs a target of at least two classes");

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

void calibrate(ScreenReport& report, const Dataset& data, const ScreenOptions& screen_options,
               const CalibrationOptions& options) {
  const PlantedFlips planted = plant_flips(data, options);
  const ScreenReport found = screen(planted.data, screen_options);
  RowSet touched(planted.random.begin(), planted.random.end());
  touched.insert(planted.by_source.begin(), planted.by_source.end());
  std::vector<RowId> untouched;
  for (RowId row : data.row_ids())
    if (!touched.contains(row)) untouched.push_back(row);

  for (const Verdict& verdict : found.verdicts()) {
    if (verdict.outcome == Outcome::abstain) continue;
    const RowSet named = named_rows(verdict, found, planted.data);
    const double false_positives = share_named(untouched, named);
    std::vector<Calibration> measured;
    if (!planted.random.empty())
      measured.push_back(
          {"random label flips", planted.random.size(), share_named(planted.random, named), false_positives});
    if (!planted.by_source.empty())
      measured.push_back({fmt::format("all labels of {} sources flipped", planted.sources.size()),
                          planted.by_source.size(), share_named(planted.by_source, named), false_positives});
    report.set_calibration(verdict.check, std::move(measured));
  }
}

}  // namespace redoubt
