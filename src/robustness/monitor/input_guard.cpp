#include "redoubt/robustness/monitor/input_guard.hpp"

#include <fmt/format.h>

#include <algorithm>
#include <array>
#include <atomic>
#include <cmath>
#include <vector>

#include "redoubt/data/dataset.hpp"
#include "redoubt/data/encoder.hpp"
#include "robustness/monitor/row_density.hpp"

namespace redoubt {
namespace {

constexpr std::size_t most_reference = 8192, fewest_reference = 100;
constexpr std::size_t most_fields = 1024;  // of the density; of more columns so many, evenly chosen
constexpr std::uint8_t missing_byte = 255;

struct Guarded {
  ColumnType type = ColumnType::numeric;
  bool may_miss = false;
  float low = 0, high = 0, usual = 0;  // numbers: with the margin, median; categories: the most frequent code
  float categories = 0;
  float start = 0, inverse_step = 0;  // of the byte in the density
  bool free = true;                   // nothing was learned of its range
};

/// Text columns left out: they have no raw form, so rows without a model hold none.
Schema features_of(const Dataset& reference) {
  std::vector<ColumnSpec> specs;
  for (const std::size_t c : reference.schema().features())
    if (reference.schema()[c].type != ColumnType::text) specs.push_back(reference.schema()[c]);
  return Schema(specs);
}

}  // namespace

const char* to_string(GuardAction action) noexcept {
  switch (action) {
    case GuardAction::ignore: return "ignore";
    case GuardAction::flag: return "flag";
    case GuardAction::clip: return "clip";
    case GuardAction::reject: return "reject";
  }
  return "unknown";
}

const char* to_string(GuardReason reason) noexcept {
  switch (reason) {
    case GuardReason::none: return "none";
    case GuardReason::schema: return "schema";
    case GuardReason::missing: return "missing";
    case GuardReason::not_finite: return "not_finite";
    case GuardReason::range: return "range";
    case GuardReason::category: return "category";
    case GuardReason::out_of_distribution: return "out_of_distribution";
  }
  return "unknown";
}

struct InputGuard::State {
  InputGuardOptions options;
  std::vector<Guarded> columns;
  std::vector<std::uint32_t> fields;  // columns of the density
  detail::RowDensity density;
  double limit = 0;
  std::atomic<std::uint64_t> rows{0};
  std::array<std::atomic<std::uint64_t>, guard_reasons> reasons{};
  std::array<std::atomic<std::uint64_t>, 4> actions{};

  explicit State(const InputGuardOptions& o) : options(o) {
    const auto require = [](bool ok, const char* name, const auto& value, const char* range) {
      if (!ok)
        detail::fail(errc::invalid_argument,
                     fmt::format("InputGuardOptions::{} is {}; it must be {}", name, value, range));
    };
    require(o.margin >= 0 && std::isfinite(o.margin), "margin", o.margin, "finite and at least 0");
    require(o.false_alarm > 0 && o.false_alarm <= 0.5, "false_alarm", o.false_alarm, "in (0, 0.5]");
    require(o.out_of_distribution != GuardAction::clip, "out_of_distribution", "clip", "ignore, flag or reject");
  }

  void learn(std::size_t c, std::vector<float> values) {
    Guarded& column = columns[c];
    column.may_miss = std::any_of(values.begin(), values.end(), [](float v) { return v != v; });
    std::erase_if(values, [](float v) { return !std::isfinite(v); });
    if (column.type == ColumnType::text || values.empty()) return;
    column.free = false;
    std::sort(values.begin(), values.end());
    if (column.type == ColumnType::categorical) {
      std::vector<std::size_t> count(static_cast<std::size_t>(column.categories), 0);
      for (const float v : values) ++count[static_cast<std::size_t>(v)];
      column.usual = static_cast<float>(std::max_element(count.begin(), count.end()) - count.begin());
      return;
    }
    const double least = values.front(), most = values.back(), extra = options.margin * (most - least);
    column.low = static_cast<float>(least - extra);
    column.high = static_cast<float>(most + extra);
    column.usual = values[values.size() / 2];
    double mean = 0, squares = 0;
    for (const float v : values) mean += v / static_cast<double>(values.size());
    for (const float v : values) squares += (v - mean) * (v - mean) / static_cast<double>(values.size());
    double deviation = std::sqrt(squares);
    if (!(deviation > 0)) deviation = std::max(std::abs(mean), 1.0) * 0.01;
    column.start = static_cast<float>(mean - 127 * 0.25 * deviation);
    column.inverse_step = static_cast<float>(1 / (0.25 * deviation));
  }

  void sketch(std::span<const float> row, std::uint8_t* out) const noexcept {
    for (std::size_t i = 0; i < fields.size(); ++i) {
      const Guarded& column = columns[fields[i]];
      const float v = row[fields[i]];
      if (!(v == v) || column.free)
        out[i] = missing_byte;
      else if (column.type == ColumnType::categorical)
        out[i] = v >= 0 && v < column.categories ? static_cast<std::uint8_t>(static_cast<std::uint32_t>(v) % 255)
                                                 : missing_byte;
      else
        out[i] = static_cast<std::uint8_t>(std::min(253.0f, std::max(0.0f, (v - column.start) * column.inverse_step)));
    }
  }

  float surprise(std::span<const float> row) const noexcept {
    std::array<std::uint8_t, most_fields> bytes;
    sketch(row, bytes.data());
    return density.surprise(bytes.data());
  }

  GuardVerdict judge(std::span<const float> raw, std::span<float> safe) const noexcept {
    GuardVerdict verdict;
    const auto found = [&](GuardReason reason, GuardAction action, std::size_t column) {
      if (action > verdict.action) {
        verdict.action = action;
        verdict.reason = reason;
        verdict.column = static_cast<std::uint32_t>(column);
      }
      return action == GuardAction::clip;
    };
    if (raw.size() != columns.size() || (!safe.empty() && safe.size() != raw.size())) {
      found(GuardReason::schema, GuardAction::reject, 0);
      verdict.status = errc::shape_mismatch;
      return verdict;
    }
    // Judged as it came, before anything is clipped; `safe` may be the same memory.
    verdict.surprise = surprise(raw);
    for (std::size_t c = 0; c < columns.size(); ++c) {
      const Guarded& column = columns[c];
      const float v = raw[c];
      float to = v;
      if (column.type == ColumnType::text || column.free) {
      } else if (!(v == v)) {
        if (!column.may_miss && found(GuardReason::missing, options.missing, c)) to = column.usual;
      } else if (column.type == ColumnType::categorical) {
        const bool known = v >= 0 && v < column.categories && v == std::floor(v);
        if (!known && found(GuardReason::category, options.category, c))
          to = column.may_miss ? std::nanf("") : column.usual;
      } else if (!std::isfinite(v)) {
        if (found(GuardReason::not_finite, options.not_finite, c)) to = v > 0 ? column.high : column.low;
      } else if (v < column.low || v > column.high) {
        if (found(GuardReason::range, options.range, c)) to = std::clamp(v, column.low, column.high);
      }
      const bool same = to == v || (to != to && v != v);
      verdict.clipped += !same;
      if (!safe.empty()) safe[c] = to;
    }
    if (verdict.surprise >= limit) found(GuardReason::out_of_distribution, options.out_of_distribution, 0);
    if (verdict.action == GuardAction::reject) verdict.status = errc::refused;
    return verdict;
  }
};

InputGuard::InputGuard(const Dataset& reference, const InputGuardOptions& options)
    : InputGuard(Encoder::identity(features_of(reference)), reference, options) {}

InputGuard::InputGuard(const Encoder& encoder, const Dataset& reference, const InputGuardOptions& options)
    : state_(Shared<State>::make(options)) {
  State& s = *state_;
  if (reference.rows() < fewest_reference)
    detail::fail(errc::invalid_argument, fmt::format("InputGuard: the reference has {} rows; at least {} are needed",
                                                     reference.rows(), fewest_reference));
  const std::size_t d = encoder.inputs(), rows = std::min(reference.rows(), most_reference);
  if (d == 0) detail::fail(errc::invalid_argument, "InputGuard: the reference has no feature columns");
  std::vector<float> raw(rows * d);
  for (std::size_t i = 0; i < rows; ++i)
    encoder.raw_row(reference.row(i * reference.rows() / rows), std::span(raw).subspan(i * d, d));
  s.columns.resize(d);
  for (std::size_t c = 0; c < d; ++c) {
    s.columns[c].type = encoder.schema()[c].type;
    s.columns[c].categories = static_cast<float>(encoder.schema()[c].categories.size());
    std::vector<float> values(rows);
    for (std::size_t i = 0; i < rows; ++i) values[i] = raw[i * d + c];
    s.learn(c, std::move(values));
  }
  const std::size_t kept = std::min(d, most_fields);
  for (std::size_t i = 0; i < kept; ++i) s.fields.push_back(static_cast<std::uint32_t>(i * d / kept));
  std::vector<char> use;
  for (const std::uint32_t c : s.fields) use.push_back(!s.columns[c].free);
  std::vector<std::uint8_t> bytes((rows + 1) / 2 * kept);
  for (std::size_t i = 0; i < rows; i += 2) s.sketch(std::span(raw).subspan(i * d, d), &bytes[i / 2 * kept]);
  s.density.fit(bytes, (rows + 1) / 2, use);
  std::vector<float> surprise;
  for (std::size_t i = 1; i < rows; i += 2) surprise.push_back(s.surprise(std::span(raw).subspan(i * d, d)));
  std::sort(surprise.begin(), surprise.end());
  // Beyond the quantile that the held-out rows support; a fifth of the distance to the median is left above it, as a
  // quantile of few rows is itself uncertain.
  const auto at = static_cast<std::size_t>((1 - options.false_alarm) * static_cast<double>(surprise.size() - 1));
  const double middle = surprise[surprise.size() / 2], tail = surprise[at];
  s.limit = tail + 0.2 * (tail - middle) + 0.5;
}

GuardVerdict InputGuard::check(std::span<const float> raw, std::span<float> safe) noexcept {
  const GuardVerdict verdict = state_->judge(raw, safe);
  state_->rows.fetch_add(1, std::memory_order_relaxed);
  state_->reasons[static_cast<std::size_t>(verdict.reason)].fetch_add(1, std::memory_order_relaxed);
  state_->actions[static_cast<std::size_t>(verdict.action)].fetch_add(1, std::memory_order_relaxed);
  return verdict;
}

std::uint64_t InputGuard::rows() const noexcept { return state_->rows.load(std::memory_order_relaxed); }
std::uint64_t InputGuard::count(GuardReason reason) const noexcept {
  return state_->reasons[static_cast<std::size_t>(reason)].load(std::memory_order_relaxed);
}
std::uint64_t InputGuard::count(GuardAction action) const noexcept {
  return state_->actions[static_cast<std::size_t>(action)].load(std::memory_order_relaxed);
}
double InputGuard::surprise_limit() const noexcept { return state_->limit; }

Verdict InputGuard::verdict() const {
  const std::uint64_t all = rows();
  if (all == 0) return Verdict::abstain("input_guard", Stage::serve, "no row has been checked yet");
  Verdict verdict;
  verdict.check = "input_guard";
  verdict.stage = Stage::serve;
  const std::uint64_t odd = all - count(GuardReason::none);
  verdict.score = static_cast<double>(odd) / static_cast<double>(all);
  verdict.outcome = verdict.score > 10 * state_->options.false_alarm ? Outcome::warn : Outcome::pass;
  verdict.summary = fmt::format("{} of {} rows: {} flagged, {} clipped, {} rejected", odd, all,
                                count(GuardAction::flag), count(GuardAction::clip), count(GuardAction::reject));
  for (std::size_t i = 1; i < guard_reasons; ++i)
    if (const auto n = count(static_cast<GuardReason>(i)); n > 0)
      verdict.findings.push_back(
          {no_row, to_string(static_cast<GuardReason>(i)), static_cast<double>(n), fmt::format("{} rows", n)});
  return verdict;
}

}  // namespace redoubt
