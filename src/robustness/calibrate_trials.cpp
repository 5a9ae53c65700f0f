// Calibration of checks that judge a batch, a model or a source as a whole: planted again and again.
#include <fmt/format.h>

#include <algorithm>
#include <cmath>
#include <limits>

#include "redoubt/core/random.hpp"
#include "redoubt/model/model.hpp"
#include "redoubt/robustness/gate_checks.hpp"
#include "robustness/calibration.hpp"

namespace redoubt {
namespace {

constexpr std::uint64_t trial_stream = 23;

struct Planted {
  std::string what;
  Dataset data;
};

/// Copies of the rows with one kind of poison each; kinds that the data has no columns for are left out.
std::vector<Planted> plant_each(const Dataset& data, const CalibrationOptions& options) {
  std::vector<Planted> all;
  const auto add = [&](bool planted, const char* what, Dataset rows) {
    if (planted) all.push_back({what, std::move(rows)});
  };
  CalibrationOptions none = options;
  none.flip_rate = none.source_rate = none.trigger_rate = none.clean_label_rate = none.campaign_rate = 0;
  const auto flips = [&](double CalibrationOptions::*rate) {
    CalibrationOptions one = none;
    one.*rate = options.*rate;
    return plant_flips(data, one);
  };
  const auto patterns = [&](double CalibrationOptions::*rate) {
    CalibrationOptions one = none;
    one.*rate = options.*rate;
    return plant_patterns(data, one);
  };
  PlantedFlips random = flips(&CalibrationOptions::flip_rate);
  add(!random.random.empty(), "random label flips", std::move(random.data));
  PlantedFlips sources = flips(&CalibrationOptions::source_rate);
  add(!sources.by_source.empty(), "all labels of some sources flipped", std::move(sources.data));
  PlantedRegion region = plant_region(data, options);
  add(!region.rows.empty(), "all labels of one region changed", std::move(region.data));
  PlantedPatterns trigger = patterns(&CalibrationOptions::trigger_rate);
  add(!trigger.triggered.empty(), "backdoor trigger", std::move(trigger.data));
  PlantedPatterns clean = patterns(&CalibrationOptions::clean_label_rate);
  add(!clean.clean_label.empty(), "clean-label pattern", std::move(clean.data));
  PlantedPatterns campaign = patterns(&CalibrationOptions::campaign_rate);
  add(!campaign.campaign.empty(), "campaign of new accounts", std::move(campaign.data));
  return all;
}

/// One numeric feature, chosen at random, half a deviation higher; no rows if there is none.
Dataset move_column(const Dataset& data, Random& random) {
  std::vector<std::size_t> numeric;
  for (const std::size_t c : data.schema().features())
    if (data.schema()[c].type == ColumnType::numeric) numeric.push_back(c);
  if (numeric.empty()) return {};
  Column column = data.column(numeric[random.below(numeric.size())]);
  double n = 0, mean = 0, square = 0;
  for (const double v : column.numbers)
    if (!std::isnan(v)) {
      const double away = v - mean;
      mean += away / ++n;
      square += away * (v - mean);
    }
  const double deviation = n > 1 ? std::sqrt(square / (n - 1)) : 0;
  if (!(deviation > 0)) return {};
  for (double& v : column.numbers) v += deviation / 2;
  return data.with_column(std::move(column));
}

/// How often one check said yes: to each kind of poison, and to honest draws.
class Tally {
 public:
  void honest(bool found) { ++asked_, wrong_ += found; }
  void planted(const std::string& what, std::size_t count, std::size_t found) {
    auto at = std::find_if(kinds_.begin(), kinds_.end(), [&](const auto& kind) { return kind.planted == what; });
    if (at == kinds_.end()) at = kinds_.insert(at, {what, 0, 0, 0});
    at->positives += count;
    at->recall += static_cast<double>(found);
  }
  std::vector<Calibration> calibration() const {
    std::vector<Calibration> result = kinds_;
    for (Calibration& c : result) {
      c.recall /= static_cast<double>(std::max<std::size_t>(c.positives, 1));
      // Nothing honest was judged: no rate can be claimed.
      c.false_positive_rate = asked_ == 0 ? 1 : static_cast<double>(wrong_) / static_cast<double>(asked_);
    }
    return result;
  }

 private:
  std::size_t asked_ = 0, wrong_ = 0;
  std::vector<Calibration> kinds_;
};

/// `count` rows of the data, drawn without replacement, in their order; and the others.
std::pair<Dataset, Dataset> draw(const Dataset& data, std::size_t count, Random& random) {
  std::vector<std::size_t> order(data.rows());
  for (std::size_t r = 0; r < order.size(); ++r) order[r] = r;
  random.shuffle(order);
  const auto middle = order.begin() + static_cast<std::ptrdiff_t>(count);
  std::sort(order.begin(), middle);
  std::sort(middle, order.end());
  return {data.take({order.begin(), middle}), data.take({middle, order.end()})};
}

/// The value from which on a column has about `wanted` rows, at least half and at most twice as many; NaN if ties leave
/// no such value.
double highest(std::vector<double> values, double wanted) {
  constexpr double none = std::numeric_limits<double>::quiet_NaN();
  std::erase_if(values, [](double v) { return std::isnan(v); });
  if (values.empty() || !(wanted >= 1)) return none;
  const auto count = std::min(values.size(), static_cast<std::size_t>(wanted + 0.5));
  std::nth_element(values.begin(), values.end() - static_cast<std::ptrdiff_t>(count), values.end());
  const double at = values[values.size() - count];
  std::size_t from = 0, above = 0;
  double next = HUGE_VAL;
  for (const double v : values) {
    from += v >= at;
    above += v > at;
    if (v > at) next = std::min(next, v);
  }
  if (static_cast<double>(from) <= 2 * wanted) return at;
  return static_cast<double>(above) >= wanted / 2 ? next : none;
}

CalibrationOptions of_trial(CalibrationOptions options, int trial) {
  options.seed = options.seed * 1000 + static_cast<std::uint64_t>(trial);
  return options;
}

}  // namespace

PlantedRegion plant_region(const Dataset& data, const CalibrationOptions& options) {
  detail::require_calibration(data, options);
  Random random(options.seed, 24);
  const std::size_t target = data.schema().find(ColumnRole::target);
  const double wanted = options.region_rate * static_cast<double>(data.rows());
  struct Region {
    std::size_t column;
    std::int32_t category;  // -1: numeric, ...
    double least;           // ... from this value on
  };
  std::vector<Region> regions;
  for (const std::size_t c : data.schema().features()) {
    const Column& column = data.column(c);
    if (column.spec.type == ColumnType::numeric) {
      const double least = highest(column.numbers, wanted);
      if (!std::isnan(least)) regions.push_back({c, -1, least});
    }
    if (column.spec.type != ColumnType::categorical) continue;
    std::vector<std::size_t> rows(column.spec.categories.size(), 0);
    for (const std::int32_t code : column.codes)
      if (code >= 0) ++rows[static_cast<std::size_t>(code)];
    for (std::size_t k = 0; k < rows.size(); ++k)
      if (static_cast<double>(rows[k]) >= wanted / 2 && static_cast<double>(rows[k]) <= 2 * wanted)
        regions.push_back({c, static_cast<std::int32_t>(k), 0});
  }
  PlantedRegion planted{data, {}, ""};
  if (regions.empty() || !(wanted >= 1)) return planted;
  const Region region = regions[random.below(regions.size())];
  const Column& column = data.column(region.column);
  if (region.category < 0) {
    planted.where = fmt::format("{} at least {:g}", column.spec.name, region.least);
  } else {
    planted.where =
        fmt::format("{} = {}", column.spec.name, column.spec.categories[static_cast<std::size_t>(region.category)]);
  }
  Column labels = data.column(target);
  const auto classes = static_cast<std::int32_t>(data.classes().size());
  const auto shift = 1 + static_cast<std::int32_t>(random.below(static_cast<std::uint64_t>(classes - 1)));
  for (std::size_t r = 0; r < data.rows(); ++r) {
    const bool inside = region.category < 0 ? column.numbers[r] >= region.least : column.codes[r] == region.category;
    if (!inside || labels.codes[r] < 0) continue;
    labels.codes[r] = (labels.codes[r] + shift) % classes;
    planted.rows.push_back(data.row_ids()[r]);
  }
  planted.data = data.with_column(std::move(labels));
  return planted;
}

void calibrate_drift(Verdict& verdict, const Drift& check, std::size_t rows, const CalibrationOptions& options) {
  if (verdict.outcome == Outcome::abstain) return;
  const Dataset& reference = check.options.reference;
  const bool labelled = reference.task() == Task::classification && reference.classes().size() > 1;
  if (labelled) detail::require_calibration(reference, options);
  if (reference.rows() < 40 || rows < 20 || options.trials < 1 || options.trials > 1000)
    detail::fail(
        errc::invalid_argument,
        fmt::format("calibrate_drift: {} rows of reference must be at least 40, {} rows of a batch at least 20, "
                    "{} trials in [1, 1000]",
                    reference.rows(), rows, options.trials));
  Tally tally;
  for (int trial = 0; trial < options.trials; ++trial) {
    const CalibrationOptions mine = of_trial(options, trial);
    Random random(mine.seed, trial_stream);
    auto [batch, rest] = draw(reference, std::min(rows, reference.rows() / 2), random);
    Drift asked = check;
    asked.data_ = {};
    asked.options.reference = std::move(rest);
    asked.options.seed = mine.seed;
    const auto moved = [&](const Dataset& data) {
      Drift one = asked;
      one.data_ = data;
      return one.finish().outcome == Outcome::warn;
    };
    tally.honest(moved(batch));
    if (const Dataset shifted = move_column(batch, random); shifted.rows() > 0)
      tally.planted("batches with a column moved by half a deviation", 1, moved(shifted));
    if (!labelled) continue;
    for (const Planted& planted : plant_each(batch, mine))
      tally.planted("batches with " + planted.what, 1, moved(planted.data));
  }
  verdict.calibration = tally.calibration();
}

void calibrate_gate(std::span<Verdict> verdicts, const Dataset& train, function_ref<Model(const Dataset&)> fit,
                    function_ref<std::vector<Verdict>(const Model&, const Model&)> judge,
                    const CalibrationOptions& options) {
  detail::require_calibration(train, options);
  if (std::all_of(verdicts.begin(), verdicts.end(), [](const Verdict& v) { return v.outcome == Outcome::abstain; }))
    return;
  std::vector<Tally> tallies(verdicts.size());
  const auto each = [&](const Model& candidate, const Model& champion, auto&& count) {
    // Several checks may share a name: the k-th answer of a name is about its k-th verdict.
    std::vector<std::uint8_t> answered(verdicts.size(), 0);
    for (const Verdict& answer : judge(candidate, champion))
      for (std::size_t v = 0; v < verdicts.size(); ++v) {
        if (answered[v] || verdicts[v].check != answer.check) continue;
        answered[v] = 1;
        if (answer.outcome != Outcome::abstain) count(tallies[v], answer.outcome == Outcome::block);
        break;
      }
  };
  const std::size_t share = train.rows() - train.rows() / 5;
  for (int trial = 0; trial < options.trials; ++trial) {
    const CalibrationOptions mine = of_trial(options, trial);
    Random random(mine.seed, trial_stream);
    const Model champion = fit(draw(train, share, random).first);
    const Dataset rows = draw(train, share, random).first;
    each(fit(rows), champion, [](Tally& tally, bool blocked) { tally.honest(blocked); });
    for (const Planted& planted : plant_each(rows, mine))
      each(fit(planted.data), champion,
           [&](Tally& tally, bool blocked) { tally.planted("candidates taught " + planted.what, 1, blocked); });
  }
  for (std::size_t v = 0; v < verdicts.size(); ++v)
    if (verdicts[v].outcome != Outcome::abstain) verdicts[v].calibration = tallies[v].calibration();
}

void calibrate_gate(std::span<Verdict> verdicts, const Dataset& train, const Dataset& frozen,
                    function_ref<Model(const Dataset&)> fit, std::span<const AnyCheck> checks,
                    const CalibrationOptions& options) {
  const auto judge = [&](const Model& candidate, const Model& champion) {
    return run_gate_checks(candidate, &champion, frozen, checks);
  };
  calibrate_gate(verdicts, train, fit, judge, options);
}

void calibrate_provenance(Verdict& verdict, const Dataset& data, const Dataset& trusted,
                          function_ref<Model(const Dataset&)> fit, const ProvenanceOptions& provenance,
                          const CalibrationOptions& options) {
  detail::require_calibration(data, options);
  if (verdict.outcome == Outcome::abstain) return;
  CalibrationOptions flips = options;
  flips.flip_rate = 0;
  flips.min_source_rows = std::max(options.min_source_rows, provenance.min_rows);
  if (!data.source_names().empty())
    flips.source_rate =
        std::min(0.5, std::max(options.source_rate, 1 / static_cast<double>(data.source_names().size())));
  Tally tally;
  for (int trial = 0; trial < options.trials; ++trial) {
    const PlantedFlips planted = plant_flips(data, of_trial(flips, trial));
    std::size_t named = 0;
    for (const SourceHarm& s : provenance_harm(planted.data, trusted, fit, provenance)) {
      if (std::find(planted.sources.begin(), planted.sources.end(), s.source) == planted.sources.end())
        tally.honest(s.harmful);
      else
        named += s.harmful;
    }
    if (!planted.sources.empty()) tally.planted("sources with all labels flipped", planted.sources.size(), named);
  }
  verdict.calibration = tally.calibration();
}

}  // namespace redoubt
