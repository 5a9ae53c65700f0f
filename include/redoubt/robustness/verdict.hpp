#pragma once
#include <cstddef>
#include <cstdint>
#include <iosfwd>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "redoubt/fwd.hpp"

namespace redoubt {

/// When in a model's life a check runs.
enum class Stage : std::uint8_t {
  ingest,     ///< a batch of rows arrives
  pre_train,  ///< all rows that are about to be trained on
  epoch,      ///< during training
  gate,       ///< a fitted candidate, before it is published
  serve,      ///< on live queries
  audit       ///< afterwards, on demand
};

enum class Outcome : std::uint8_t {
  pass,    ///< looked and found nothing that it would act on
  warn,    ///< found something a person should see
  block,   ///< found something that should stop the rows or the release
  abstain  ///< could not look; `summary` says why. Never read this as a pass
};

const char* to_string(Stage stage) noexcept;      ///< "pre_train"
const char* to_string(Outcome outcome) noexcept;  ///< "abstain"
/// Inverse of to_string; Error(invalid_argument) lists the known names.
Stage stage_from_string(std::string_view name);
Outcome outcome_from_string(std::string_view name);

inline constexpr RowId no_row = static_cast<RowId>(-1);  ///< a finding that is not about one row

/// One thing that a check found: about a row (`row`), a source (`source`), or neither (a slice, the whole).
struct Finding {
  RowId row = no_row;    ///< stable row id, or no_row
  std::string source;    ///< source name, or empty
  double score = 0;      ///< larger is more suspicious; the scale is the check's own
  std::string evidence;  ///< one line a person can act on

  bool operator==(const Finding&) const = default;
};

/// What a check catches on this data, measured by planting known poison or attacks (see calibrate.hpp).
struct Calibration {
  std::string planted;             ///< what was planted: "random label flips, 5 %"
  std::size_t positives = 0;       ///< planted rows; batches, models or sources where those are judged as a whole
  double recall = 0;               ///< share of them that were found
  double false_positive_rate = 0;  ///< share of the untouched ones that were flagged

  bool operator==(const Calibration&) const = default;
};

/// The answer of one check.
struct Verdict {
  std::string check;  ///< id of the check: "confident_learning"
  Stage stage = Stage::pre_train;
  Outcome outcome = Outcome::abstain;
  double score = 0;     ///< of the whole, for example the share of suspicious rows; the scale is the check's own
  std::string summary;  ///< one line; when abstaining, the reason
  std::vector<Finding> findings;         ///< most suspicious first
  double seconds = 0;                    ///< what it cost; not part of equality
  std::vector<Calibration> calibration;  ///< empty when not calibrated

  bool blocks() const noexcept { return outcome == Outcome::block; }
  /// One JSON object, keys sorted. With `with_cost` false the text is equal for equal runs.
  std::string to_json(bool with_cost = true) const;
  /// Inverse of to_json; Error(parse_error) says what is missing or of the wrong type.
  static Verdict from_json(std::string_view text);
  static Verdict abstain(std::string check, Stage stage, std::string reason);

  /// Equal but for the cost.
  bool operator==(const Verdict& other) const;
};

/// The strictest outcome: block, then warn, then abstain, then pass; abstain for an empty list, as nothing was looked
/// at.
Outcome worst(std::span<const Verdict> verdicts) noexcept;

/// One line of outcome, id and summary, then the calibration and up to five findings.
std::ostream& operator<<(std::ostream& stream, const Verdict& verdict);

}  // namespace redoubt
