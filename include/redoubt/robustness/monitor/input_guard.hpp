#pragma once
#include <cstddef>
#include <cstdint>
#include <span>

#include "redoubt/core/error.hpp"
#include "redoubt/core/shared.hpp"
#include "redoubt/robustness/verdict.hpp"

namespace redoubt {

/// What happens to a row with something wrong; of several, the strongest.
enum class GuardAction : std::uint8_t {
  ignore,
  flag,   ///< predicted as it is, and counted
  clip,   ///< predicted with the nearest allowed value in its place
  reject  ///< not predicted
};
const char* to_string(GuardAction action) noexcept;

/// What can be wrong with a row.
enum class GuardReason : std::uint8_t {
  none,
  schema,              ///< another number of values: always rejected
  missing,             ///< no value, in a column that always had one; clipped: the median, the most frequent category
  not_finite,          ///< infinite; clipped: the end of the range
  range,               ///< below or above what the reference had, by more than the margin
  category,            ///< no code of the schema; clipped: missing
  out_of_distribution  ///< every value is possible, all together rarer than the reference's rarest
};
const char* to_string(GuardReason reason) noexcept;
inline constexpr std::size_t guard_reasons = 7;

struct InputGuardOptions {
  GuardAction missing = GuardAction::flag;
  GuardAction not_finite = GuardAction::reject;
  GuardAction range = GuardAction::flag;
  GuardAction category = GuardAction::clip;
  GuardAction out_of_distribution = GuardAction::flag;  ///< cannot be clipped
  double margin = 0.1;                                  ///< beyond the reference's range, as a share of it; >= 0
  double false_alarm = 0.001;  ///< share of benign rows that may be called out of distribution; in (0, 0.5]
};

struct GuardVerdict {
  errc status = errc::ok;  ///< refused: rejected; shape_mismatch: so for its schema
  GuardAction action = GuardAction::ignore;
  GuardReason reason = GuardReason::none;  ///< of that action
  std::uint32_t column = 0;                ///< feature column it concerns; of out_of_distribution: 0
  std::uint32_t clipped = 0;               ///< values that were replaced
  float surprise = 0;                      ///< minus the log density, in nats
};

/// Checks rows before they are predicted: schema, missing values, range, categories, and whether the row as a whole is
/// such as the reference had (a density over quantised values, as in QueryMonitor). Rejecting visibly tells an attacker
/// where the limits are, clipping and flagging do not. It sees single rows: probing by possible rows is QueryMonitor's.
///
/// Immutable but for its counters; any number of threads.
class InputGuard {
 public:
  /// Guards raw rows of `encoder`, usually a model's. `reference`: rows such as the model will get, at least 100; up to
  /// 8192 are used, evenly chosen. Text columns are not looked at. Error(invalid_argument) names the option that is out
  /// of range.
  InputGuard(const Encoder& encoder, const Dataset& reference, const InputGuardOptions& options = {});
  /// Raw rows with the reference's own columns and categories, without text columns.
  explicit InputGuard(const Dataset& reference, const InputGuardOptions& options = {});
  InputGuard(const InputGuard&) = delete;
  InputGuard& operator=(const InputGuard&) = delete;

  /// One raw row (see Encoder). `safe`: the row to predict, of the same size, may be the same memory; empty: nothing is
  /// replaced. No allocation.
  GuardVerdict check(std::span<const float> raw, std::span<float> safe) noexcept;
  GuardVerdict check(std::span<const float> raw) noexcept { return check(raw, {}); }

  std::uint64_t rows() const noexcept;                     ///< checked so far
  std::uint64_t count(GuardReason reason) const noexcept;  ///< rows of this reason
  std::uint64_t count(GuardAction action) const noexcept;  ///< rows of this action
  double surprise_limit() const noexcept;                  ///< from which a row is out of distribution
  /// The counters as a verdict of the serve stage: warn if the share of rows with something wrong is more than ten
  /// times `false_alarm`, abstain before the first row.
  Verdict verdict() const;

 private:
  struct State;
  Shared<State> state_;
};

}  // namespace redoubt
