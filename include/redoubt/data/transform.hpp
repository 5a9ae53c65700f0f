#pragma once
#include <cstddef>
#include <cstdint>
#include <limits>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "redoubt/core/view.hpp"
#include "redoubt/fwd.hpp"

namespace redoubt {

struct Column;
struct ColumnSpec;
struct TextColumn;

// Fit/apply transforms of one column each. `fit` sees training values only; `apply` is a pure, noexcept function of one
// value that allocates nothing, so it is the same in training, batch and single-row prediction. `Encoder` is a list of
// them. NaN is a missing number. Every output is finite or NaN: values beyond the range of float are clamped.

/// double -> float; infinite or out-of-range values become the largest finite float of that sign; NaN stays NaN.
inline float to_float(double value) noexcept {
  constexpr float limit = std::numeric_limits<float>::max();
  if (value != value) return std::numeric_limits<float>::quiet_NaN();
  return value > limit ? limit : value < -static_cast<double>(limit) ? -limit : static_cast<float>(value);
}

/// The float form of a numeric (as is) or timestamp column (seconds since 1970; a float resolves about two minutes of
/// today's dates). Error(type_mismatch) for other columns.
std::vector<float> raw_values(const Column& column);

/// Missing numbers become the training median (mean of the middle two; 0 if every value is missing).
struct Impute {
  float value = 0;

  static Impute fit(std::span<const float> values);
  float apply(float x) const noexcept { return x != x ? value : x; }
};

/// (x - mean) / standard deviation (the population's, as scikit-learn's StandardScaler); a constant column becomes 0.
struct Standardise {
  double mean = 0;
  double scale = 1;  ///< standard deviation, or 1 for a constant column

  static Standardise fit(std::span<const float> values);
  float apply(float x) const noexcept { return to_float((static_cast<double>(to_float(x)) - mean) / scale); }
};

/// (x - low) / range: training values land in [0, 1], others may fall outside; a constant column becomes 0.
struct MinMax {
  double low = 0;
  double range = 0;  ///< 0: constant column

  static MinMax fit(std::span<const float> values);
  float apply(float x) const noexcept {
    if (x != x || range == 0) return x != x ? x : 0.0f;
    return to_float((static_cast<double>(to_float(x)) - low) / range);
  }
};

/// Category names seen in training, in the order of the training column. Names that training never saw are unknown,
/// even if the training data's schema lists them (as after a split).
class Categories {
 public:
  Categories() = default;
  explicit Categories(std::vector<std::string> names);
  static Categories fit(const Column& column);  ///< Error(type_mismatch) if not categorical

  std::size_t size() const noexcept { return names_.size(); }
  const std::vector<std::string>& names() const noexcept { return names_; }
  std::int32_t find(std::string_view name) const noexcept;  ///< code, or -1 if unknown; O(log size)
  /// Element c is the code here of category c of `spec`, or -1.
  std::vector<std::int32_t> translate(const ColumnSpec& spec) const;
  /// Code here of code `code` of `spec`, or -1. O(1) when both lists agree at `code`.
  std::int32_t translate(const ColumnSpec& spec, std::int32_t code) const noexcept;

 private:
  std::vector<std::string> names_;
  std::vector<std::int32_t> by_name_;  ///< codes sorted by name
};

/// A category code that is missing, unknown, fractional or out of range is -1; codes travel as floats.
inline std::int32_t category_code(float code, std::size_t categories) noexcept {
  if (!(code >= 0) || !(code < static_cast<float>(categories))) return -1;
  const auto value = static_cast<std::int32_t>(code);
  return static_cast<float>(value) == code && static_cast<std::size_t>(value) < categories ? value : -1;
}

/// The code itself; NaN for missing and unknown categories.
struct Ordinal {
  std::uint32_t categories = 0;

  static Ordinal fit(const Categories& seen) { return {static_cast<std::uint32_t>(seen.size())}; }
  float apply(float code) const noexcept {
    return category_code(code, categories) < 0 ? std::numeric_limits<float>::quiet_NaN() : code;
  }
};

/// One column per category, 1 in the one that is present; all zero for missing and unknown categories.
struct OneHot {
  std::uint32_t categories = 0;

  static OneHot fit(const Categories& seen) { return {static_cast<std::uint32_t>(seen.size())}; }
  std::size_t width() const noexcept { return categories; }
  void apply(float code, std::span<float> dst) const noexcept;  ///< dst: width()
};

/// Mean target per category, pulled towards the overall mean by `smoothing` rows of it (Micci-Barreca, "A preprocessing
/// scheme for high-cardinality categorical attributes", SIGKDD Explorations 2001). The overall mean for missing and
/// unknown categories. Applied to its own training rows it leaks their labels: see Encoder::fit_apply for out-of-fold
/// values.
struct TargetEncoding {
  std::uint32_t categories = 0;
  std::uint32_t outputs = 0;
  std::vector<float> means;  ///< (categories + 1) x outputs; the last row is the overall mean

  /// `codes`: one per row, -1 = missing. `targets`: rows x outputs; a row with NaN does not count.
  /// `use` (optional): rows to learn from. Error(shape_mismatch) if the row counts differ.
  static TargetEncoding fit(std::span<const std::int32_t> codes, std::size_t categories,
                            MatrixView<const double> targets, double smoothing, std::span<const std::uint8_t> use = {});
  std::size_t width() const noexcept { return outputs; }
  void apply(float code, std::span<float> dst) const noexcept;  ///< dst: width()
};

/// What target encoding averages: rows x 1 for regression (the value) and two classes (1 for the last class), rows x
/// classes otherwise; rows without a target hold NaN. Error(invalid_argument) without a target.
std::vector<double> target_indicators(const Dataset& data, std::size_t& outputs);

/// Hashed TF-IDF of word n-grams (tokens: see data/text.hpp): n-gram counts in `dims` buckets (hash modulo dims,
/// without a sign: Weinberger et al., "Feature hashing", ICML 2009), times ln((1 + texts) / (1 + texts with the
/// bucket)) + 1, scaled to Euclidean length 1, as scikit-learn's smooth TF-IDF. A text without tokens becomes all zero.
struct HashedTfidf {
  int ngrams = 2;          ///< word n-grams of length 1..ngrams
  std::vector<float> idf;  ///< dims entries

  /// dims: a power of two up to 2^20; ngrams in 1..max_text_ngrams; otherwise Error(invalid_argument).
  static HashedTfidf fit(const TextColumn& texts, std::size_t dims, int ngrams, Arena* arena = nullptr);
  std::size_t width() const noexcept { return idf.size(); }
  void apply(std::string_view text, std::span<float> dst) const noexcept;  ///< dst: width()
};

}  // namespace redoubt
