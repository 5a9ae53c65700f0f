#include "redoubt/robustness/monitor/query_monitor.hpp"

#include <fmt/format.h>

#include <algorithm>
#include <bit>
#include <cmath>
#include <cstring>

#include "redoubt/data/text.hpp"
#include "robustness/monitor/query_monitor_state.hpp"

namespace redoubt {

namespace {

struct Agreement {
  std::uint32_t weight, changed;
};

constexpr std::size_t block = 16;
using Bytes [[gnu::vector_size(block)]] = std::uint8_t;
using Words [[gnu::vector_size(block)]] = std::uint16_t;

template <class Vector, std::size_t bytes = block>
Vector load(const void* from) noexcept {
  using Halves [[gnu::vector_size(block)]] = std::uint64_t;
  if constexpr (bytes == block / 2) {
    std::uint64_t half;  // straight to a register, zeros behind it
    std::memcpy(&half, from, sizeof half);
    return reinterpret_cast<Vector>(Halves{half, 0});
  } else {
    Vector v;
    std::memcpy(&v, from, sizeof v);
    return v;
  }
}

/// Weights of the bytes that differ by no more than is tolerated, and how many differ at all: sums of 16 bits, as all
/// weights together fit. Vectors as compilers have them for every CPU; it counts: ten calls a query, 20 ns instead of
/// 40 for 100 fields.
struct Agreeing {
  Words sum{};
  Bytes same{};  // counts, at most widest_sketch / block

  /// The next `bytes`; weights are there for a whole block.
  template <std::size_t bytes = block>
  void add(const std::uint8_t* a, const std::uint8_t* b, const std::uint8_t* tolerance, const std::uint16_t* weight) {
    const auto x = load<Bytes, bytes>(a), y = load<Bytes, bytes>(b), tolerated = load<Bytes, bytes>(tolerance);
    const Bytes difference = (x > y ? x : y) - (x > y ? y : x);
    same -= reinterpret_cast<Bytes>(difference == 0);
    const auto agrees = reinterpret_cast<Bytes>((difference > tolerated ? difference : tolerated) == tolerated);
    // Each byte twice: a mask of 16 bits.
    const Bytes low = __builtin_shufflevector(agrees, agrees, 0, 0, 1, 1, 2, 2, 3, 3, 4, 4, 5, 5, 6, 6, 7, 7);
    const Bytes high =
        __builtin_shufflevector(agrees, agrees, 8, 8, 9, 9, 10, 10, 11, 11, 12, 12, 13, 13, 14, 14, 15, 15);
    sum += reinterpret_cast<Words>(low) & load<Words>(weight);
    sum += reinterpret_cast<Words>(high) & load<Words>(weight + block / 2);
  }
};

/// Of n bytes, a multiple of sketch_block.
Agreement agreement_of(const std::uint8_t* a, const std::uint8_t* b, const std::uint8_t* tolerance,
                       const std::uint16_t* weight, std::size_t n) noexcept {
  static_assert(widest_sketch / block < 256 && 2 * sketch_block == block);
  Agreeing agreeing;
  std::size_t i = 0;
  for (; i + block <= n; i += block) agreeing.add(a + i, b + i, tolerance + i, weight + i);
  if (i < n) {
    agreeing.add<sketch_block>(a + i, b + i, tolerance + i, weight + i);
    i += block;
  }
  Agreement found{0, static_cast<std::uint32_t>(i)};
  for (std::size_t k = 0; k < block / 2; ++k) found.weight += agreeing.sum[k];
  for (std::size_t k = 0; k < block; ++k) found.changed -= agreeing.same[k];
  return found;
}

/// Of a number, in a field whose bytes begin at `low`.
std::uint8_t byte_of(float value, float low, float inverse_step) noexcept {
  // This order of arguments maps an infinity to an end of the range and never casts a NaN.
  const int byte = static_cast<int>(std::min(253.0f, std::max(0.0f, (value - low) * inverse_step)));
  return static_cast<std::uint8_t>(value == value ? byte : int{missing_value});
}

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

std::uint64_t QueryMonitor::State::sketch(std::span<const float> row, std::uint8_t* out) const noexcept {
  std::array<float, widest_sketch> values;
  for (std::size_t i = 0; i < width(); ++i) values[i] = row[fields[i].column];
  // Locals, as a byte that is written might be any of the members: else it is not vectorised.
  const float *const lowest = low.data(), *const inverse = inverse_step.data();
  const std::size_t count = width();
  for (std::size_t i = 0; i < count; ++i) out[i] = byte_of(values[i], lowest[i], inverse[i]);
  for (const std::uint32_t i : other_fields) {
    const float value = values[i];
    const auto& table = category_bytes[fields[i].column];
    const bool known =
        fields[i].type == ColumnType::categorical && value >= 0 && value < static_cast<float>(table.size());
    out[i] = known ? table[static_cast<std::size_t>(value)] : missing_value;
  }
  std::fill(out + width(), out + stride(), std::uint8_t{0});
  return hash64(std::as_bytes(row), options.key) | 1;
}

std::uint64_t QueryMonitor::State::sketch(const RowView& row, std::uint8_t* out) const noexcept {
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
        out[i] = byte_of(static_cast<float>(column.numbers[r]), low[i], inverse_step[i]);
        exact = mix(exact ^ std::bit_cast<std::uint64_t>(column.numbers[r]));
        break;
      case ColumnType::timestamp: {
        const std::int64_t time = column.times[r];
        const float seconds = time == missing_time ? std::nanf("") : static_cast<float>(time * 1e-6);
        out[i] = byte_of(seconds, low[i], inverse_step[i]);
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
  std::fill(out + width(), out + stride(), std::uint8_t{0});
  return exact | 1;
}

void QueryMonitor::State::min_hashes(std::string_view text, std::span<const Field> parts, std::uint8_t* out) noexcept {
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

Likeness QueryMonitor::State::compare(const std::uint8_t* a, const std::uint8_t* b) const noexcept {
  const Agreement found = agreement_of(a, b, tolerance.data(), weight.data(), stride());
  return {static_cast<float>(found.weight) / all_weight, found.changed};
}

std::size_t QueryMonitor::State::bucket(std::size_t band, const std::uint8_t* sketch) const noexcept {
  std::uint64_t h = options.key + band;
  for (const BandField& f : band_fields[band]) {
    // Cells of four steps, laid differently in every table: what two steps part shares a cell in half of them.
    const unsigned byte = sketch[f.field];
    h = mix(h ^ (byte == missing_value || tolerance[f.field] == 0 ? byte + 1024ull : (byte + f.offset) / 4 + 1ull));
  }
  return static_cast<std::size_t>(h % options.buckets);
}

std::array<std::size_t, bands> QueryMonitor::State::fetch_slots(const std::uint8_t* sketch) const noexcept {
  std::array<std::size_t, bands> slots;
  for (std::size_t b = 0; b < bands; ++b) {
    slots[b] = b * options.buckets + bucket(b, sketch);
    __builtin_prefetch(&seen[slots[b]]);
    for (std::size_t at = 0; at < stride(); at += 64) __builtin_prefetch(&seen_sketch[slots[b] * stride() + at]);
  }
  return slots;
}

Caller* QueryMonitor::State::find_caller(std::size_t set, std::uint64_t id) noexcept {
  for (std::size_t w = 0; w < ways; ++w)
    if (Caller& candidate = callers[set * ways + w]; candidate.last != 0 && candidate.id == id) return &candidate;
  return nullptr;
}

void QueryMonitor::State::fetch_recent(std::size_t set, std::uint64_t id) noexcept {
  const std::lock_guard lock(caller_locks[set % lock_stripes]);
  const Caller* const caller = find_caller(set, id);
  if (!caller) return;
  const std::size_t first = static_cast<std::size_t>(caller - callers.data()) * recent * stride();
  for (std::size_t at = 0; at < recent * stride(); at += 64) __builtin_prefetch(&caller_sketch[first + at]);
}

QueryMonitor::State::Link QueryMonitor::State::link_and_store(const std::array<std::size_t, bands>& slots,
                                                              const std::uint8_t* sketch, std::uint64_t exact,
                                                              std::uint64_t caller, std::uint64_t now,
                                                              float threshold) noexcept {
  Link best;
  // All slots at once, by everybody in the order of the bands: half the locking of looking and storing apart.
  std::array<std::unique_lock<std::mutex>, bands> locks;
  for (std::size_t b = 0; b < bands; ++b) {
    const std::size_t bucket_index = slots[b] - b * options.buckets;
    locks[b] = std::unique_lock(band_locks[b * lock_stripes + bucket_index % lock_stripes]);
    const Seen& entry = seen[slots[b]];
    if (entry.exact == 0) continue;
    const Likeness likeness = compare(sketch, &seen_sketch[slots[b] * stride()]);
    if (best.found && likeness.similarity < best.likeness.similarity) continue;
    const float aged =
        entry.chain * static_cast<float>(std::exp(-static_cast<double>(now - std::min(now, entry.when)) / horizon));
    if (!best.found || likeness.similarity > best.likeness.similarity ||
        (likeness.similarity == best.likeness.similarity && aged > best.chain))
      best = {likeness, aged, true};
  }
  best.chain = best.found && best.likeness.similarity >= threshold ? best.chain + 1.0f : 0.0f;
  for (std::size_t b = 0; b < bands; ++b) {
    seen[slots[b]] = {exact, caller, now, best.chain};
    std::copy(sketch, sketch + stride(), &seen_sketch[slots[b] * stride()]);
  }
  return best;
}

QueryVerdict QueryMonitor::State::judge(std::uint64_t caller_id, const std::uint8_t* sketch,
                                        std::uint64_t exact) noexcept {
  const std::uint64_t now = queries.fetch_add(1, std::memory_order_relaxed) + 1;
  QueryVerdict verdict;
  const std::size_t set = static_cast<std::size_t>(mix(caller_id + options.key) % (options.callers / ways));
  for (std::size_t w = 0; w < ways; ++w) __builtin_prefetch(&callers[set * ways + w]);
  // What is read is fetched at once, and comes while the row's density is looked up: waiting for memory is most of the
  // cost.
  const std::array<std::size_t, bands> slots = fetch_slots(sketch);
  fetch_recent(set, caller_id);
  verdict.strange = density.surprise(sketch) >= static_cast<float>(calibration.strange_threshold);
  const Link link =
      link_and_store(slots, sketch, exact, caller_id, now, static_cast<float>(calibration.chain_threshold));
  verdict.similarity = link.likeness.similarity;
  verdict.fields_changed = link.found ? link.likeness.changed : static_cast<std::uint32_t>(width());
  verdict.chain_score = link.chain / static_cast<float>(calibration.chain_limit);

  Likeness own;
  bool repeated = false, linked = false;
  {
    const std::lock_guard lock(caller_locks[set % lock_stripes]);
    Caller* caller = find_caller(set, caller_id);
    if (!caller) {
      Caller* const first = &callers[set * ways];
      caller = std::min_element(first, first + ways, [](const Caller& a, const Caller& b) { return a.last < b.last; });
      *caller = Caller{};
      caller->id = caller_id;
    }
    const std::size_t base = static_cast<std::size_t>(caller - callers.data()) * recent;
    bool compared = false;
    for (std::size_t k = 0; k < recent; ++k) {
      if (caller->exact[k] == 0) continue;
      const Likeness likeness = compare(sketch, &caller_sketch[(base + k) * stride()]);
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
    std::copy(sketch, sketch + stride(), &caller_sketch[(base + caller->next) * stride()]);
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

double QueryMonitor::State::strange_share() const noexcept {
  return strange_sum.load(std::memory_order_relaxed) / weight_sum.load(std::memory_order_relaxed);
}

float QueryMonitor::State::step_of_strange(bool strange, std::uint64_t gap) noexcept {
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

float QueryMonitor::State::strange_gain(bool strange, double recent) const noexcept {
  const double rate = std::min(std::max(calibration.strange_rate, recent), attack_link_rate - 0.05);
  const double level = std::log(1 / options.false_alarm);
  if (!strange) return static_cast<float>(-std::log((1 - rate) / (1 - attack_link_rate)) / level);
  return static_cast<float>(std::min(std::log(attack_link_rate / rate) / level, 0.5 / options.min_links));
}

void QueryMonitor::State::record(std::uint64_t caller, const QueryVerdict& verdict, std::uint64_t now) noexcept {
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
