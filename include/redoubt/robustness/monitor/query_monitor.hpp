#pragma once
#include <cstddef>
#include <cstdint>
#include <span>
#include <string>
#include <vector>

#include "redoubt/core/error.hpp"
#include "redoubt/core/shared.hpp"
#include "redoubt/robustness/verdict.hpp"

namespace redoubt {

struct QueryMonitorOptions {
  std::uint64_t key = 0;         ///< secret: decides which fields are hashed together; choose one per deployment
  std::size_t callers = 16384;   ///< callers remembered; the longest silent one is forgotten first
  std::size_t buckets = 8192;    ///< queries remembered per hash table (6 tables), whoever asked
  std::size_t max_fields = 128;  ///< fields compared per query; of wider rows a keyed choice is compared (8 to 1024)
  int min_links = 6;             ///< fewest near-repeats of one caller that may raise an alarm
  double false_alarm = 1e-4;     ///< wanted upper bound on false alarms per query of benign traffic like the reference
  /// Width of a quantisation step, in standard deviations of the field; made finer, at least 0.16 of it, while more
  /// than a tenth of the reference repeats itself.
  double step = 0.25;
};

/// Why a query looks like probing.
enum class ProbeKind : std::uint8_t {
  none,
  repeats,     ///< one caller asks the very same row again and again
  few_fields,  ///< one caller varies few fields of one row
  nearby,      ///< one caller asks many rows that differ slightly in many fields
  chain,       ///< many near-identical queries, spread over callers
  extraction   ///< one caller asks many rows such as benign traffic rarely has: made up, not met
};
const char* to_string(ProbeKind kind) noexcept;

/// What the monitor thinks of one query.
struct QueryVerdict {
  errc status = errc::ok;  ///< shape_mismatch: not looked at
  bool suspicious = false;
  ProbeKind kind = ProbeKind::none;
  float similarity = 0;     ///< to the nearest remembered predecessor, 0 to 1, weighted by how telling a field is
  float caller_score = 0;   ///< evidence against this caller; an alarm at 1
  float chain_score = 0;    ///< near-identical queries of anybody, recent ones; an alarm at 1
  float strange_score = 0;  ///< evidence that this caller makes rows up; an alarm at 1
  bool strange = false;     ///< rarer than almost every benign row
  std::uint32_t fields_changed = 0;  ///< fields that differ from that predecessor after quantisation
};

/// One caller (or chain) that raised alarms.
struct ProbeAlarm {
  std::uint64_t caller = 0;
  ProbeKind kind = ProbeKind::none;
  std::uint64_t first_query = 0;  ///< number of the query at the first alarm, counted from 1 over all callers
  std::uint64_t queries = 0;      ///< suspicious queries so far
  float similarity = 0;           ///< of the latest one
};

/// What was measured on the reference rows when the monitor was made.
struct QueryMonitorCalibration {
  std::size_t rows = 0;
  double caller_threshold = 0;  ///< similarity from which a query links to an earlier one of its caller
  double caller_link_rate = 0;  ///< share of benign queries that link so
  double chain_threshold = 0;   ///< the same over all callers
  double chain_link_rate = 0;
  double chain_limit = 0;        ///< recent chain length that raises an alarm
  double strange_threshold = 0;  ///< surprise (nats) from which a row is strange
  double strange_rate = 0;       ///< share of held-out benign rows that are
};

/// Notices probing of a model: many near-identical queries, or variation of few fields, by one caller or spread over
/// many. It watches silently: the caller of `observe` decides what to do, and visible rejections help an attacker
/// (OARS, Feng et al. 2023).
///
/// Each query becomes a sketch: numbers in steps of a quarter standard deviation, category hashes, min-hashes of the
/// words of a text. It is linked to its most similar predecessor, among the caller's latest queries and, by keyed
/// locality-sensitive hashing, among everybody's (the chain idea of QPA). Agreement in a field counts by how rarely
/// benign rows agree in it. A caller's links feed a CUSUM test against the benign link rate; a chain's links a
/// decaying count. Whether rows are made up (model extraction by synthetic queries) is judged by a density over the
/// reference's sketches and a second CUSUM, against twice everybody's recent share of strange rows if that is larger:
/// drift that strikes everybody is no caller's fault. Thresholds come from reference rows, in their order, so that what
/// is natural for the data is not an alarm. Detection is measured in tests, not promised: an attacker who spreads
/// queries thinly over time and callers, or moves more than about half a standard deviation per step in most fields, is
/// not seen.
///
/// Memory is fixed at construction (`memory_bytes`). Thread-safe: striped locks, those of the slots of one query held
/// together while it is compared with what they hold, for less than a microsecond as a rule.
class QueryMonitor {
 public:
  /// `reference`: benign rows, at least 100, with the model's feature columns; up to 8192 of them are used.
  /// Error(invalid_argument) names the option that is out of range.
  explicit QueryMonitor(const Dataset& reference, const QueryMonitorOptions& options = {});
  /// Numeric raw rows without a schema.
  explicit QueryMonitor(MatrixView<const float> reference, const QueryMonitorOptions& options = {});
  QueryMonitor(const QueryMonitor&) = delete;
  QueryMonitor& operator=(const QueryMonitor&) = delete;

  /// One raw row (see Encoder): numbers, category codes of the reference's schema, NaN. Text slots are ignored.
  /// `caller`: any stable number, for example hash64 of an account. No allocation; a few microseconds.
  QueryVerdict observe(std::uint64_t caller, std::span<const float> row) noexcept;
  /// One row of any dataset that has the reference's feature columns (a missing column counts as missing values);
  /// looks at text, too. No allocation.
  QueryVerdict observe(std::uint64_t caller, const RowView& row) noexcept;

  const QueryMonitorCalibration& calibration() const noexcept;
  std::uint64_t queries() const noexcept;     ///< observed so far
  std::uint64_t suspicious() const noexcept;  ///< of them suspicious
  double strange_share() const noexcept;      ///< of recent callers, each counted alike: drift, or a flood
  std::size_t memory_bytes() const noexcept;  ///< fixed
  /// Callers that raised alarms, most suspicious queries first; at most 1024 are kept.
  std::vector<ProbeAlarm> alarms() const;
  /// The same as a verdict of the serve stage; pass until there is an alarm, abstain before the first query.
  Verdict verdict() const;

 private:
  struct State;
  Shared<State> state_;
};

}  // namespace redoubt
