// What a query monitor learns from its reference.
#include <fmt/format.h>

#include <algorithm>
#include <cmath>
#include <numeric>

#include "redoubt/core/random.hpp"
#include "robustness/monitor/query_monitor_state.hpp"

namespace redoubt {

QueryMonitor::State::State(const QueryMonitorOptions& o) : options(o), step(o.step) {
  const auto require = [](bool ok, const char* name, const auto& value, const char* range) {
    if (!ok)
      detail::fail(errc::invalid_argument,
                   fmt::format("QueryMonitorOptions::{} is {}; it must be {}", name, value, range));
  };
  require(o.callers >= ways && o.callers <= (std::size_t{1} << 24), "callers", o.callers, "in [4, 2^24]");
  require(o.buckets >= 64 && o.buckets <= (std::size_t{1} << 24), "buckets", o.buckets, "in [64, 2^24]");
  require(o.max_fields >= 8 && o.max_fields <= widest_sketch, "max_fields", o.max_fields, "in [8, 1024]");
  require(o.min_links >= 1 && o.min_links <= 1000, "min_links", o.min_links, "in [1, 1000]");
  require(o.false_alarm > 0 && o.false_alarm < 1, "false_alarm", o.false_alarm, "in (0, 1)");
  require(o.step > 0 && o.step <= 10, "step", o.step, "in (0, 10]");
}

void QueryMonitor::State::choose_fields(std::span<const ColumnType> types) {
  columns = types.size();
  std::vector<Field> all;
  for (std::uint32_t c = 0; c < types.size(); ++c) {
    const std::size_t parts = types[c] == ColumnType::text ? text_fields : 1;
    for (std::uint32_t p = 0; p < parts; ++p) all.push_back({c, types[c], p});
  }
  if (all.empty()) detail::fail(errc::invalid_argument, "QueryMonitor: the reference has no feature columns");
  if (all.size() > options.max_fields) {
    std::vector<std::uint32_t> order(all.size());
    std::iota(order.begin(), order.end(), 0u);
    Random(options.key, 1).shuffle(order);
    order.resize(options.max_fields);
    std::sort(order.begin(), order.end());
    std::vector<Field> chosen;
    for (std::uint32_t i : order) chosen.push_back(all[i]);
    all = std::move(chosen);
  }
  fields = std::move(all);
  low.assign(width(), 0);
  inverse_step.assign(width(), 0);
  tolerance.assign(stride(), 0);
  for (std::uint32_t i = 0; i < width(); ++i) {
    if (fields[i].type == ColumnType::numeric || fields[i].type == ColumnType::timestamp)
      tolerance[i] = 1;
    else
      other_fields.push_back(i);
  }
}

void QueryMonitor::State::set_steps(std::size_t field, std::vector<float> values) {
  std::erase_if(values, [](float v) { return !std::isfinite(v); });
  double mean = 0, square = 0;
  for (float v : values) mean += v;
  if (!values.empty()) mean /= static_cast<double>(values.size());
  for (float v : values) square += (v - mean) * (v - mean);
  double deviation = values.empty() ? 0 : std::sqrt(square / static_cast<double>(values.size()));
  // A column that never varied still needs a scale: one percent of its size.
  if (!(deviation > 0)) deviation = std::max(std::abs(mean), 1.0) * 0.01;
  const double step = this->step * deviation;
  low[field] = static_cast<float>(mean - 127.0 * step);
  inverse_step[field] = static_cast<float>(1.0 / step);
}

void QueryMonitor::State::allocate() {
  options.callers -= options.callers % ways;
  seen.resize(bands * options.buckets);
  seen_sketch.resize(seen.size() * stride());
  callers.resize(options.callers);
  caller_sketch.resize(callers.size() * recent * stride());
  alarms.reserve(most_alarms);
}

void QueryMonitor::State::forget() {
  std::fill(seen.begin(), seen.end(), Seen{});
  std::fill(callers.begin(), callers.end(), Caller{});
}

template <class Values, class Sketch>
void QueryMonitor::State::learn(std::size_t rows, Values&& values_of, Sketch&& sketch_of) {
  allocate();
  std::vector<std::uint8_t> sketches(rows * stride());
  for (;;) {
    for (std::size_t f = 0; f < fields.size(); ++f)
      if (fields[f].type == ColumnType::numeric || fields[f].type == ColumnType::timestamp)
        set_steps(f, values_of(fields[f]));
    for (std::size_t r = 0; r < rows; ++r) sketch_of(r, &sketches[r * stride()]);
    calibrate(sketches, rows);
    if (std::max(calibration.caller_link_rate, calibration.chain_link_rate) <= repetitive ||
        step * step_shrinks < options.step * finest_step)
      return;
    step *= step_shrinks;
  }
}

void QueryMonitor::State::calibrate(const std::vector<std::uint8_t>& sketches, std::size_t rows) {
  // How rarely benign rows agree in a field: the information in an agreement, from random pairs.
  Random random(options.key, 2);
  constexpr std::size_t pairs = 4000;
  std::vector<double> agree(width(), 0);
  for (std::size_t p = 0; p < pairs; ++p) {
    const std::size_t a = random.below(rows), b = (a + 1 + random.below(rows - 1)) % rows;
    for (std::size_t i = 0; i < width(); ++i)
      agree[i] += std::abs(sketches[a * stride() + i] - sketches[b * stride() + i]) <= tolerance[i];
  }
  std::vector<double> information(width());
  double total = 0;
  for (std::size_t i = 0; i < width(); ++i) {
    information[i] = -std::log((agree[i] + 1) / (pairs + 2.0)) + 1e-3;
    total += information[i];
  }
  for (auto& chosen : band_fields) chosen.clear();
  forget();
  weight.resize(stride() + sketch_block);
  std::uint32_t sum = 0;
  for (std::size_t i = 0; i < width(); ++i)
    sum += weight[i] = static_cast<std::uint16_t>(std::lround(1 + information[i] / total * 60000));
  all_weight = static_cast<float>(sum);

  // Bands: telling fields, drawn by information, until unrelated rows share a bucket once in a thousand.
  for (std::size_t b = 0; b < bands; ++b) {
    double gathered = 0;
    for (std::size_t tries = 0; tries < 4 * width() && gathered < std::log(1000.0); ++tries) {
      double pick = random.uniform() * total;
      std::uint32_t field = 0;
      while (field + 1 < width() && pick > information[field]) pick -= information[field++];
      if (std::any_of(band_fields[b].begin(), band_fields[b].end(),
                      [&](const BandField& f) { return f.field == field; }))
        continue;
      band_fields[b].push_back({field, static_cast<std::uint32_t>(random.below(4))});
      gathered += information[field];
    }
  }

  calibration.rows = rows;
  horizon = static_cast<double>(std::min<std::size_t>(4096, rows));
  std::vector<float> own(rows, 0), global(rows, 0);
  for (std::size_t r = 0; r < rows; ++r) {
    const std::uint8_t* sketch = &sketches[r * stride()];
    for (std::size_t k = 1; k <= std::min(recent, r); ++k)
      own[r] = std::max(own[r], compare(sketch, sketch - k * stride()).similarity);
    global[r] = link_and_store(fetch_slots(sketch), sketch, 1, 0, r + 1, 2.0f).likeness.similarity;
  }
  const auto threshold = [&](std::vector<float> values, double floor_value, double& link_rate) {
    std::vector<float> sorted = values;
    std::sort(sorted.begin(), sorted.end());
    const auto at = static_cast<std::size_t>((1 - wanted_link_rate) * static_cast<double>(rows - 1));
    // Just above the quantile, yet never so high that a repeat of the very same row would not link.
    const double limit = std::clamp(std::nextafter(static_cast<double>(sorted[at]), 2.0) + 1e-6, floor_value, 0.995);
    std::size_t links = 0;
    for (float v : values) links += v >= static_cast<float>(limit);
    link_rate = (static_cast<double>(links) + 1) / (static_cast<double>(rows) + 2);
    return limit;
  };
  calibration.caller_threshold = threshold(own, 0.6, calibration.caller_link_rate);
  calibration.chain_threshold = threshold(global, 0.7, calibration.chain_link_rate);

  // CUSUM (Page 1954) of the log likelihood ratio; exp(alarm level) bounds the mean time between false alarms.
  const double level = std::log(1 / options.false_alarm);
  const double rate = std::min(calibration.caller_link_rate, attack_link_rate - 0.05);
  link_gain = static_cast<float>(std::min(std::log(attack_link_rate / rate) / level, 1.0 / options.min_links));
  miss_loss = static_cast<float>(std::log((1 - rate) / (1 - attack_link_rate)) / level);
  // That holds for independent links. Where benign ones come in runs, the reference itself says how high they go.
  const auto highest = [](const std::vector<char>& hits, auto&& gain) {
    float score = 0, most = 0;
    for (const char hit : hits) most = std::max(most, score = std::max(0.0f, score + gain(hit != 0)));
    return std::max(1.0f, most / 0.6f);
  };
  std::vector<char> hits(rows);
  for (std::size_t r = 0; r < rows; ++r) hits[r] = own[r] >= static_cast<float>(calibration.caller_threshold);
  const float slack = highest(hits, [&](bool hit) { return hit ? link_gain : -miss_loss; });
  link_gain /= slack;
  miss_loss /= slack;

  // Strange rows: the density of every other row, the threshold of the rest.
  std::vector<char> use;
  for (const Field& f : fields) use.push_back(f.type != ColumnType::text);
  std::vector<std::uint8_t> even;
  for (std::size_t r = 0; r < rows; r += 2)
    even.insert(even.end(), &sketches[r * stride()], &sketches[r * stride()] + width());
  density.fit(even, (rows + 1) / 2, use);
  std::vector<float> surprise;
  for (std::size_t r = 1; r < rows; r += 2) surprise.push_back(density.surprise(&sketches[r * stride()]));
  std::vector<float> sorted = surprise;
  std::sort(sorted.begin(), sorted.end());
  const float usual = sorted[sorted.size() / 2];
  const auto at = static_cast<std::size_t>((1 - wanted_link_rate) * static_cast<double>(sorted.size() - 1));
  calibration.strange_threshold = std::max(std::nextafter(sorted[at], INFINITY), usual + 1.0f);
  std::size_t strange = 0;
  for (float s : surprise) strange += s >= static_cast<float>(calibration.strange_threshold);
  calibration.strange_rate = (static_cast<double>(strange) + 1) / (static_cast<double>(surprise.size()) + 2);
  hits.clear();
  for (float v : surprise) hits.push_back(v >= static_cast<float>(calibration.strange_threshold));
  strange_slack = highest(hits, [&](bool hit) { return strange_gain(hit, 0); });
  weight_sum.store(static_cast<float>(strange_horizon * strange_horizon));
  strange_sum.store(static_cast<float>(calibration.strange_rate) * weight_sum.load());
  strange_volume.store(static_cast<float>(calibration.strange_rate));

  // Natural chains: twice round the reference, so that the decaying counts reach their level.
  forget();
  float longest = 0;
  std::uint64_t now = 0;
  const auto links = static_cast<float>(calibration.chain_threshold);
  for (std::size_t r = 0; r < rows; ++r) {
    const std::uint8_t* const sketch = &sketches[r * stride()];
    longest = std::max(longest, link_and_store(fetch_slots(sketch), sketch, 1, 0, ++now, links).chain);
  }
  calibration.chain_limit = std::max(fewest_chain, 2.0 * longest + 8.0);
  forget();
}

namespace {

void require_reference(std::size_t rows) {
  if (rows < fewest_reference)
    detail::fail(errc::invalid_argument,
                 fmt::format("QueryMonitor: the reference has {} rows; at least {} are needed to learn what is natural",
                             rows, fewest_reference));
}

}  // namespace

QueryMonitor::QueryMonitor(const Dataset& reference, const QueryMonitorOptions& options)
    : state_(Shared<State>::make(options)) {
  State& s = *state_;
  require_reference(reference.rows());
  std::vector<ColumnSpec> specs;
  std::vector<ColumnType> types;
  for (std::size_t c : reference.schema().features()) {
    specs.push_back(reference.schema()[c]);
    types.push_back(specs.back().type);
  }
  s.schema = Schema(specs);
  s.choose_fields(types);
  s.category_bytes.resize(specs.size());
  for (std::size_t c = 0; c < specs.size(); ++c)
    for (const std::string& name : specs[c].categories) s.category_bytes[c].push_back(category_byte(name));

  const std::size_t rows = std::min(reference.rows(), most_reference);
  s.learn(
      rows,
      [&](const Field& field) {
        const Column& column = reference.column(s.schema[field.column].name);
        std::vector<float> values;
        for (std::size_t r = 0; r < rows && field.type == ColumnType::numeric; ++r)
          values.push_back(static_cast<float>(column.numbers[r]));
        for (std::size_t r = 0; r < rows && field.type == ColumnType::timestamp; ++r)
          values.push_back(column.times[r] == missing_time ? std::nanf("")
                                                           : static_cast<float>(column.times[r] * 1e-6));
        return values;
      },
      [&](std::size_t r, std::uint8_t* out) { s.sketch(reference.row(r), out); });
}

QueryMonitor::QueryMonitor(MatrixView<const float> reference, const QueryMonitorOptions& options)
    : state_(Shared<State>::make(options)) {
  State& s = *state_;
  require_reference(reference.rows());
  s.choose_fields(std::vector<ColumnType>(reference.cols(), ColumnType::numeric));
  const std::size_t rows = std::min(reference.rows(), most_reference);
  s.learn(
      rows,
      [&](const Field& field) {
        std::vector<float> values(rows);
        for (std::size_t r = 0; r < rows; ++r) values[r] = reference(r, field.column);
        return values;
      },
      [&](std::size_t r, std::uint8_t* out) { s.sketch(reference.row(r), out); });
}

}  // namespace redoubt
