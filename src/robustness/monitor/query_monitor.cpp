#include "redoubt/robustness/monitor/query_monitor.hpp"

#include <fmt/format.h>

#include <algorithm>
#include <array>
#include <atomic>
#include <bit>
#include <cmath>
#include <mutex>
#include <numeric>

#include "redoubt/core/hash.hpp"
#include "redoubt/core/random.hpp"
#include "redoubt/data/dataset.hpp"
#include "redoubt/data/text.hpp"
#include "robustness/monitor/row_density.hpp"

namespace redoubt {
namespace {

constexpr std::size_t bands = 6;             // hash tables over everybody's queries
constexpr std::size_t recent = 4;            // queries kept per caller
constexpr std::size_t ways = 4;              // callers per set of the caller table
constexpr std::size_t lock_stripes = 64;     // per table
constexpr std::size_t text_fields = 16;      // min-hash fields per text column
constexpr std::size_t widest_sketch = 1024;  // bytes; bound of max_fields
constexpr std::size_t most_alarms = 1024;
constexpr std::size_t most_reference = 8192;
constexpr std::size_t fewest_reference = 100;
constexpr std::uint8_t missing_value = 255;
constexpr double attack_link_rate = 0.7;         // links an attacker is assumed to make, for the likelihood ratio
constexpr double wanted_link_rate = 0.02;        // of benign queries
constexpr double strange_horizon = 256;          // queries over which everybody's share of strange rows is formed
constexpr double strange_volume_horizon = 1024;  // the same, every query counted alike
constexpr double drift_factor = 2;               // how much more than everybody a caller must be strange
constexpr double step_shrinks = 0.4;             // finer sketches where benign rows repeat
constexpr double finest_step = 0.15;             // of the wanted step
constexpr double repetitive = 0.25;              // share of benign queries that link: more needs finer sketches
constexpr double fewest_chain = 16;              // near-identical queries that may raise a chain alarm

std::uint64_t mix(std::uint64_t x) noexcept {  // finaliser of splitmix64
  x ^= x >> 30;
  x *= 0xbf58476d1ce4e5b9ull;
  x ^= x >> 27;
  x *= 0x94d049bb133111ebull;
  return x ^ (x >> 31);
}

std::uint8_t category_byte(std::string_view name) noexcept {
  return static_cast<std::uint8_t>(hash64(name) % missing_value);
}

/// One compared byte of a sketch, and how a raw value becomes it.
struct Field {
  std::uint32_t column = 0;  // index into the feature columns
  ColumnType type = ColumnType::numeric;
  std::uint32_t part = 0;  // text: which min-hash
  float low = 0, inverse_step = 0;
};

/// Sketch header; the bytes lie in a separate array.
struct Seen {
  std::uint64_t exact = 0;  // hash of the raw row, 0 = empty slot
  std::uint64_t caller = 0;
  std::uint64_t when = 0;  // query number
  float chain = 0;         // decaying count of links
};

struct Caller {
  std::uint64_t id = 0;
  std::uint64_t last = 0;  // query number; 0 = free
  float score = 0;         // CUSUM of links, alarm at 1
  float strange = 0;       // CUSUM of strange rows
  std::uint32_t next = 0;  // slot to overwrite
  std::array<std::uint64_t, recent> exact{};
};

struct Agreement {
  std::uint32_t weight, changed;
};

/// Weights of the bytes that differ by no more than is tolerated, and how many differ at all. Bytes and 16-bit sums
/// (all weights together fit) without aliases: compilers then work on 16 bytes at once, which counts: ten calls a
/// query.
Agreement agreement_of(const std::uint8_t* __restrict a, const std::uint8_t* __restrict b,
                       const std::uint8_t* __restrict tolerance, const std::uint16_t* __restrict weight,
                       std::size_t n) noexcept {
  std::uint16_t sum = 0, changed = 0;
  for (std::size_t i = 0; i < n; ++i) {
    const std::uint8_t difference = a[i] > b[i] ? a[i] - b[i] : b[i] - a[i];
    const std::uint16_t agrees = difference <= tolerance[i] ? 0xffff : 0;
    sum += agrees & weight[i];
    changed += difference != 0;
  }
  return {sum, changed};
}

struct Likeness {
  float similarity = 0;
  std::uint32_t changed = 0;
};

}  // namespace

const char* to_string(ProbeKind kind) noexcept {
  switch (kind) {
    case ProbeKind::none: return "none";
    case ProbeKind::repeats: return "repeats";
    case ProbeKind::few_fields: return "few_fields";
    case ProbeKind::nearby: return "nearby";
    case ProbeKind::chain: return "chain";
    case ProbeKind::extraction: return "extraction";
  }
  return "unknown";
}

struct QueryMonitor::State {
  QueryMonitorOptions options;
  Schema schema;  // feature columns; empty if made from a matrix
  std::size_t columns = 0;
  std::vector<Field> fields;
  std::vector<std::uint8_t> tolerance;                    // per field
  std::vector<std::uint16_t> weight;                      // per field, of all_weight
  float all_weight = 1;                                   // at most 65535: sums fit 16 bits
  std::vector<std::vector<std::uint8_t>> category_bytes;  // per column: code -> byte
  struct BandField {
    std::uint32_t field, offset;
  };
  std::array<std::vector<BandField>, bands> band_fields;
  QueryMonitorCalibration calibration;
  float strange_slack = 1;             // above 1 where benign strange rows come in runs
  float link_gain = 0, miss_loss = 0;  // CUSUM steps in units of the alarm level
  detail::RowDensity density;
  std::atomic<float> strange_sum{0}, weight_sum{0};  // recent; every caller counts alike, however often it asks
  std::atomic<float> strange_volume{0};              // recent share; every query counts alike
  double step = 0.25;                                // in standard deviations
  double horizon = 4096;                             // queries after which a chain link has decayed to 1/e

  std::vector<Seen> seen;                   // bands x buckets
  std::vector<std::uint8_t> seen_sketch;    // bands x buckets x fields
  std::vector<Caller> callers;              // sets x ways
  std::vector<std::uint8_t> caller_sketch;  // callers x recent x fields
  std::array<std::mutex, bands * lock_stripes> band_locks;
  std::array<std::mutex, lock_stripes> caller_locks;
  std::atomic<std::uint64_t> queries{0}, suspicious{0};

  mutable std::mutex alarm_lock;
  std::vector<ProbeAlarm> alarms;  // reserved to most_alarms

  explicit State(const QueryMonitorOptions& o) : options(o), step(o.step) {
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

  std::size_t width() const noexcept { return fields.size(); }

  // --- sketches -------------------------------------------------------------------------------------
  std::uint8_t numeric_byte(const Field& field, float value) const noexcept {
    if (!(value == value)) return missing_value;
    // This order of arguments maps an infinity to an end of the range and never casts a NaN.
    return static_cast<std::uint8_t>(std::min(253.0f, std::max(0.0f, (value - field.low) * field.inverse_step)));
  }

  std::uint64_t sketch(std::span<const float> row, std::uint8_t* out) const noexcept {
    for (std::size_t i = 0; i < fields.size(); ++i) {
      const Field& field = fields[i];
      const float value = row[field.column];
      if (field.type == ColumnType::text) {
        out[i] = missing_value;
      } else if (field.type == ColumnType::categorical) {
        const auto& table = category_bytes[field.column];
        out[i] = value >= 0 && value < static_cast<float>(table.size()) ? table[static_cast<std::size_t>(value)]
                                                                        : missing_value;
      } else {
        out[i] = numeric_byte(field, value);
      }
    }
    return hash64(std::as_bytes(row), options.key) | 1;
  }

  std::uint64_t sketch(const RowView& row, std::uint8_t* out) const noexcept {
    const Dataset& data = row.dataset();
    const std::size_t r = row.index();
    std::uint64_t exact = options.key;
    std::size_t i = 0;
    while (i < fields.size()) {
      const std::uint32_t column_index = fields[i].column;
      std::size_t end = i;
      while (end < fields.size() && fields[end].column == column_index) ++end;
      const ColumnSpec& spec = schema[column_index];
      const std::size_t at = data.schema().find(spec.name);
      const bool usable = at != Schema::npos && data.schema()[at].type == spec.type;
      if (!usable) {
        std::fill(out + i, out + end, missing_value);
        i = end;
        continue;
      }
      const Column& column = data.column(at);
      switch (spec.type) {
        case ColumnType::numeric:
          out[i] = numeric_byte(fields[i], static_cast<float>(column.numbers[r]));
          exact = mix(exact ^ std::bit_cast<std::uint64_t>(column.numbers[r]));
          break;
        case ColumnType::timestamp: {
          const std::int64_t time = column.times[r];
          out[i] = numeric_byte(fields[i], time == missing_time ? std::nanf("") : static_cast<float>(time * 1e-6));
          exact = mix(exact ^ static_cast<std::uint64_t>(time));
          break;
        }
        case ColumnType::categorical: {
          const std::int32_t code = column.codes[r];
          out[i] = code < 0 ? missing_value : category_byte(column.spec.categories[static_cast<std::size_t>(code)]);
          exact = mix(exact ^ out[i]);
          break;
        }
        case ColumnType::text: {
          const std::string_view text = column.texts[r];
          min_hashes(text, std::span(fields).subspan(i, end - i), out + i);
          exact = mix(exact ^ hash64(text));
          break;
        }
      }
      i = end;
    }
    return exact | 1;
  }

  /// One byte of the smallest keyed hash over the words, per field.
  static void min_hashes(std::string_view text, std::span<const Field> parts, std::uint8_t* out) noexcept {
    std::array<std::uint64_t, text_fields> smallest;
    smallest.fill(~0ull);
    bool any = false;
    for_each_token(text, [&](std::string_view token) {
      const std::uint64_t word = hash64(token);
      for (std::size_t k = 0; k < parts.size(); ++k)
        smallest[k] = std::min(smallest[k], mix(word + 0x9e3779b97f4a7c15ull * (parts[k].part + 1)));
      any = true;
    });
    for (std::size_t k = 0; k < parts.size(); ++k)
      out[k] = any ? static_cast<std::uint8_t>(smallest[k] % missing_value) : missing_value;
  }

  Likeness compare(const std::uint8_t* a, const std::uint8_t* b) const noexcept {
    const Agreement found = agreement_of(a, b, tolerance.data(), weight.data(), fields.size());
    return {static_cast<float>(found.weight) / all_weight, found.changed};
  }

  std::size_t bucket(std::size_t band, const std::uint8_t* sketch) const noexcept {
    std::uint64_t h = options.key + band;
    for (const BandField& f : band_fields[band]) {
      // Cells of four steps, laid differently in every table: what two steps part shares a cell in half of them.
      const unsigned byte = sketch[f.field];
      h = mix(h ^ (byte == missing_value || tolerance[f.field] == 0 ? byte + 1024ull : (byte + f.offset) / 4 + 1ull));
    }
    return static_cast<std::size_t>(h % options.buckets);
  }

  // --- everybody's queries --------------------------------------------------------------------------
  struct Link {
    Likeness likeness;
    float chain = 0;
    bool found = false;
  };

  /// Nearest remembered query of anybody, then remembers this one. `threshold` decides whether the chain goes on.
  Link link_and_store(const std::uint8_t* sketch, std::uint64_t exact, std::uint64_t caller, std::uint64_t now,
                      float threshold) noexcept {
    Link best;
    std::array<std::size_t, bands> slots;
    // All tables are fetched at once: waiting for memory is most of the cost.
    for (std::size_t b = 0; b < bands; ++b) {
      slots[b] = b * options.buckets + bucket(b, sketch);
      __builtin_prefetch(&seen[slots[b]]);
      for (std::size_t at = 0; at < width(); at += 64) __builtin_prefetch(&seen_sketch[slots[b] * width() + at]);
    }
    for (std::size_t b = 0; b < bands; ++b) {
      const std::size_t bucket_index = slots[b] - b * options.buckets;
      const std::lock_guard lock(band_locks[b * lock_stripes + bucket_index % lock_stripes]);
      const Seen& entry = seen[slots[b]];
      if (entry.exact == 0) continue;
      const Likeness likeness = compare(sketch, &seen_sketch[slots[b] * width()]);
      if (best.found && likeness.similarity < best.likeness.similarity) continue;
      const float aged =
          entry.chain * static_cast<float>(std::exp(-static_cast<double>(now - std::min(now, entry.when)) / horizon));
      if (!best.found || likeness.similarity > best.likeness.similarity ||
          (likeness.similarity == best.likeness.similarity && aged > best.chain))
        best = {likeness, aged, true};
    }
    best.chain = best.found && best.likeness.similarity >= threshold ? best.chain + 1.0f : 0.0f;
    for (std::size_t b = 0; b < bands; ++b) {
      const std::size_t stripe = (slots[b] - b * options.buckets) % lock_stripes;
      const std::lock_guard lock(band_locks[b * lock_stripes + stripe]);
      seen[slots[b]] = {exact, caller, now, best.chain};
      std::copy(sketch, sketch + width(), &seen_sketch[slots[b] * width()]);
    }
    return best;
  }

  QueryVerdict judge(std::uint64_t caller_id, const std::uint8_t* sketch, std::uint64_t exact) noexcept {
    const std::uint64_t now = queries.fetch_add(1, std::memory_order_relaxed) + 1;
    QueryVerdict verdict;
    const std::size_t set = static_cast<std::size_t>(mix(caller_id + options.key) % (options.callers / ways));
    for (std::size_t w = 0; w < ways; ++w) __builtin_prefetch(&callers[set * ways + w]);
    const Link link = link_and_store(sketch, exact, caller_id, now, static_cast<float>(calibration.chain_threshold));
    verdict.similarity = link.likeness.similarity;
    verdict.fields_changed = link.found ? link.likeness.changed : static_cast<std::uint32_t>(width());
    verdict.chain_score = link.chain / static_cast<float>(calibration.chain_limit);

    verdict.strange = density.surprise(sketch) >= static_cast<float>(calibration.strange_threshold);

    Likeness own;
    bool repeated = false, linked = false;
    {
      const std::lock_guard lock(caller_locks[set % lock_stripes]);
      Caller* caller = nullptr;
      Caller* oldest = &callers[set * ways];
      for (std::size_t w = 0; w < ways; ++w) {
        Caller& candidate = callers[set * ways + w];
        if (candidate.last != 0 && candidate.id == caller_id) caller = &candidate;
        if (candidate.last < oldest->last) oldest = &candidate;
      }
      if (!caller) {
        caller = oldest;
        *caller = Caller{};
        caller->id = caller_id;
      }
      const std::size_t base = static_cast<std::size_t>(caller - callers.data()) * recent;
      bool compared = false;
      for (std::size_t k = 0; k < recent; ++k) {
        if (caller->exact[k] == 0) continue;
        const Likeness likeness = compare(sketch, &caller_sketch[(base + k) * width()]);
        if (!compared || likeness.similarity > own.similarity) own = likeness;
        compared = true;
        repeated = repeated || caller->exact[k] == exact;
      }
      linked = compared && own.similarity >= static_cast<float>(calibration.caller_threshold);
      if (compared)  // twice the alarm level at most, so that a caller who stops probing recovers
        caller->score = std::clamp(caller->score + (linked ? link_gain : -miss_loss), 0.0f, 2.0f);
      verdict.caller_score = caller->score;
      caller->strange = std::clamp(caller->strange + step_of_strange(verdict.strange, now - caller->last), 0.0f, 2.0f);
      verdict.strange_score = caller->strange;
      caller->exact[caller->next] = exact;
      std::copy(sketch, sketch + width(), &caller_sketch[(base + caller->next) * width()]);
      caller->next = (caller->next + 1) % recent;
      caller->last = now;
    }
    if (own.similarity > verdict.similarity) {
      verdict.similarity = own.similarity;
      verdict.fields_changed = own.changed;
    }
    // A query that links to nothing is not held against its caller even while the score is high.
    if (linked && verdict.caller_score >= 1.0f) {
      verdict.kind = repeated                                               ? ProbeKind::repeats
                     : own.changed <= std::max<std::size_t>(2, width() / 8) ? ProbeKind::few_fields
                                                                            : ProbeKind::nearby;
    } else if (verdict.chain_score >= 1.0f) {
      verdict.kind = ProbeKind::chain;
    } else if (verdict.strange && verdict.strange_score >= 1.0f) {
      verdict.kind = ProbeKind::extraction;
    }
    verdict.suspicious = verdict.kind != ProbeKind::none;
    if (verdict.suspicious) record(caller_id, verdict, now);
    return verdict;
  }

  double strange_share() const noexcept {
    return strange_sum.load(std::memory_order_relaxed) / weight_sum.load(std::memory_order_relaxed);
  }

  /// What this row adds to its caller's evidence, against the usual share of strange rows or, if larger, everybody's
  /// recent one. That is the smaller of two: by queries, and by callers, where each weighs as much as the time since
  /// its latest query. So an attacker hides neither by asking much nor by asking from many accounts, but only by both.
  /// A lost update by another thread does no harm.
  float step_of_strange(bool strange, std::uint64_t gap) noexcept {
    const double volume = strange_volume.load(std::memory_order_relaxed);
    const double share = std::min(strange_share(), volume);
    const auto weight = static_cast<float>(std::min(static_cast<double>(gap), strange_horizon));
    constexpr auto keep = static_cast<float>(1 - 1 / strange_horizon);
    strange_sum.store(strange_sum.load(std::memory_order_relaxed) * keep + (strange ? weight : 0.0f),
                      std::memory_order_relaxed);
    weight_sum.store(weight_sum.load(std::memory_order_relaxed) * keep + weight, std::memory_order_relaxed);
    strange_volume.store(static_cast<float>(volume + ((strange ? 1.0 : 0.0) - volume) / strange_volume_horizon),
                         std::memory_order_relaxed);
    return strange_gain(strange, drift_factor * share) / strange_slack;
  }

  float strange_gain(bool strange, double recent) const noexcept {
    const double rate = std::min(std::max(calibration.strange_rate, recent), attack_link_rate - 0.05);
    const double level = std::log(1 / options.false_alarm);
    if (!strange) return static_cast<float>(-std::log((1 - rate) / (1 - attack_link_rate)) / level);
    return static_cast<float>(std::min(std::log(attack_link_rate / rate) / level, 0.5 / options.min_links));
  }

  void record(std::uint64_t caller, const QueryVerdict& verdict, std::uint64_t now) noexcept {
    suspicious.fetch_add(1, std::memory_order_relaxed);
    const std::lock_guard lock(alarm_lock);
    for (ProbeAlarm& alarm : alarms)
      if (alarm.caller == caller) {
        ++alarm.queries;
        alarm.kind = verdict.kind;
        alarm.similarity = verdict.similarity;
        return;
      }
    if (alarms.size() < most_alarms) alarms.push_back({caller, verdict.kind, now, 1, verdict.similarity});
  }

  // --- construction -----------------------------------------------------------------------------------
  /// Fields of `count` columns; a keyed choice if there are more than max_fields.
  void choose_fields(std::span<const ColumnType> types) {
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
    for (const Field& f : fields)
      tolerance.push_back(f.type == ColumnType::numeric || f.type == ColumnType::timestamp ? 1 : 0);
  }

  /// Steps of a numeric column from its finite values.
  void set_steps(Field& field, std::vector<float> values) const {
    std::erase_if(values, [](float v) { return !std::isfinite(v); });
    double mean = 0, square = 0;
    for (float v : values) mean += v;
    if (!values.empty()) mean /= static_cast<double>(values.size());
    for (float v : values) square += (v - mean) * (v - mean);
    double deviation = values.empty() ? 0 : std::sqrt(square / static_cast<double>(values.size()));
    // A column that never varied still needs a scale: one percent of its size.
    if (!(deviation > 0)) deviation = std::max(std::abs(mean), 1.0) * 0.01;
    const double step = this->step * deviation;
    field.low = static_cast<float>(mean - 127.0 * step);
    field.inverse_step = static_cast<float>(1.0 / step);
  }

  void allocate() {
    options.callers -= options.callers % ways;
    seen.resize(bands * options.buckets);
    seen_sketch.resize(seen.size() * width());
    callers.resize(options.callers);
    caller_sketch.resize(callers.size() * recent * width());
    alarms.reserve(most_alarms);
  }

  void forget() {
    std::fill(seen.begin(), seen.end(), Seen{});
    std::fill(callers.begin(), callers.end(), Caller{});
  }

  /// Sketches of the reference and all thresholds; finer steps while too many benign rows look alike.
  template <class Values, class Sketch>
  void learn(std::size_t rows, Values&& values_of, Sketch&& sketch_of) {
    allocate();
    std::vector<std::uint8_t> sketches(rows * width());
    for (;;) {
      for (Field& field : fields)
        if (field.type == ColumnType::numeric || field.type == ColumnType::timestamp)
          set_steps(field, values_of(field));
      for (std::size_t r = 0; r < rows; ++r) sketch_of(r, &sketches[r * width()]);
      calibrate(sketches, rows);
      if (std::max(calibration.caller_link_rate, calibration.chain_link_rate) <= repetitive ||
          step * step_shrinks < options.step * finest_step)
        return;
      step *= step_shrinks;
    }
  }

  /// `sketches`: reference rows x width(), in their order.
  void calibrate(const std::vector<std::uint8_t>& sketches, std::size_t rows) {
    // How rarely benign rows agree in a field: the information in an agreement, from random pairs.
    Random random(options.key, 2);
    constexpr std::size_t pairs = 4000;
    std::vector<double> agree(width(), 0);
    for (std::size_t p = 0; p < pairs; ++p) {
      const std::size_t a = random.below(rows), b = (a + 1 + random.below(rows - 1)) % rows;
      for (std::size_t i = 0; i < width(); ++i)
        agree[i] += std::abs(sketches[a * width() + i] - sketches[b * width() + i]) <= tolerance[i];
    }
    std::vector<double> information(width());
    double total = 0;
    for (std::size_t i = 0; i < width(); ++i) {
      information[i] = -std::log((agree[i] + 1) / (pairs + 2.0)) + 1e-3;
      total += information[i];
    }
    for (auto& chosen : band_fields) chosen.clear();
    forget();
    weight.resize(width());
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
      const std::uint8_t* sketch = &sketches[r * width()];
      for (std::size_t k = 1; k <= std::min(recent, r); ++k)
        own[r] = std::max(own[r], compare(sketch, sketch - k * width()).similarity);
      global[r] = link_and_store(sketch, 1, 0, r + 1, 2.0f).likeness.similarity;
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
      even.insert(even.end(), &sketches[r * width()], &sketches[r * width()] + width());
    density.fit(even, (rows + 1) / 2, use);
    std::vector<float> surprise;
    for (std::size_t r = 1; r < rows; r += 2) surprise.push_back(density.surprise(&sketches[r * width()]));
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
    for (std::size_t r = 0; r < rows; ++r)
      longest = std::max(
          longest,
          link_and_store(&sketches[r * width()], 1, 0, ++now, static_cast<float>(calibration.chain_threshold)).chain);
    calibration.chain_limit = std::max(fewest_chain, 2.0 * longest + 8.0);
    forget();
  }
};

QueryMonitor::QueryMonitor(const Dataset& reference, const QueryMonitorOptions& options)
    : state_(Shared<State>::make(options)) {
  State& s = *state_;
  if (reference.rows() < fewest_reference)
    detail::fail(errc::invalid_argument,
                 fmt::format("QueryMonitor: the reference has {} rows; at least {} are needed to "
                             "learn what is natural",
                             reference.rows(), fewest_reference));
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
  if (reference.rows() < fewest_reference)
    detail::fail(errc::invalid_argument,
                 fmt::format("QueryMonitor: the reference has {} rows; at least {} are needed to "
                             "learn what is natural",
                             reference.rows(), fewest_reference));
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

QueryVerdict QueryMonitor::observe(std::uint64_t caller, std::span<const float> row) noexcept {
  if (row.size() != state_->columns) {
    QueryVerdict verdict;
    verdict.status = errc::shape_mismatch;
    return verdict;
  }
  std::array<std::uint8_t, widest_sketch> sketch;
  const std::uint64_t exact = state_->sketch(row, sketch.data());
  return state_->judge(caller, sketch.data(), exact);
}

QueryVerdict QueryMonitor::observe(std::uint64_t caller, const RowView& row) noexcept {
  if (state_->schema.size() == 0) {  // made from a matrix: there are no names to match
    QueryVerdict verdict;
    verdict.status = errc::shape_mismatch;
    return verdict;
  }
  std::array<std::uint8_t, widest_sketch> sketch;
  const std::uint64_t exact = state_->sketch(row, sketch.data());
  return state_->judge(caller, sketch.data(), exact);
}

const QueryMonitorCalibration& QueryMonitor::calibration() const noexcept { return state_->calibration; }
std::uint64_t QueryMonitor::queries() const noexcept { return state_->queries.load(std::memory_order_relaxed); }
std::uint64_t QueryMonitor::suspicious() const noexcept { return state_->suspicious.load(std::memory_order_relaxed); }

double QueryMonitor::strange_share() const noexcept { return state_->strange_share(); }

std::size_t QueryMonitor::memory_bytes() const noexcept {
  const State& s = *state_;
  return sizeof(State) + s.seen.size() * sizeof(Seen) + s.seen_sketch.size() + s.callers.size() * sizeof(Caller) +
         s.caller_sketch.size() + s.density.memory_bytes() + most_alarms * sizeof(ProbeAlarm);
}

std::vector<ProbeAlarm> QueryMonitor::alarms() const {
  std::vector<ProbeAlarm> copy;
  {
    const std::lock_guard lock(state_->alarm_lock);
    copy = state_->alarms;
  }
  std::stable_sort(copy.begin(), copy.end(),
                   [](const ProbeAlarm& a, const ProbeAlarm& b) { return a.queries > b.queries; });
  return copy;
}

Verdict QueryMonitor::verdict() const {
  if (queries() == 0) return Verdict::abstain("query_monitor", Stage::serve, "no query has been observed yet");
  Verdict verdict;
  verdict.check = "query_monitor";
  verdict.stage = Stage::serve;
  const auto found = alarms();
  verdict.outcome = found.empty() ? Outcome::pass : Outcome::warn;
  verdict.score = static_cast<double>(suspicious()) / static_cast<double>(queries());
  verdict.summary =
      fmt::format("{} of {} queries look like probing, from {} callers", suspicious(), queries(), found.size());
  for (const ProbeAlarm& alarm : found)
    verdict.findings.push_back(
        {no_row, fmt::format("caller {}", alarm.caller), static_cast<double>(alarm.queries),
         fmt::format("{} suspicious queries ({}), the first was query {}; similarity of the "
                     "latest {:.3f}",
                     alarm.queries, to_string(alarm.kind), alarm.first_query, alarm.similarity)});
  return verdict;
}

}  // namespace redoubt
