#pragma once
#include <cstddef>
#include <cstdint>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "redoubt/core/shared.hpp"
#include "redoubt/core/tensor.hpp"
#include "redoubt/data/schema.hpp"

namespace redoubt {

enum class NumericEncoding : std::uint8_t { raw, standardise, min_max };
enum class CategoricalEncoding : std::uint8_t { ordinal, one_hot, target };

struct EncoderOptions {
  NumericEncoding numeric = NumericEncoding::raw;
  /// Replace missing numbers by the training median; otherwise they stay NaN.
  bool impute = false;
  CategoricalEncoding categorical = CategoricalEncoding::ordinal;
  double target_smoothing = 10.0;  ///< target encoding: rows of prior mixed into each category's mean
  std::size_t text_dims = 1024;    ///< hashed TF-IDF columns per text column; a power of two
  int text_ngrams = 2;             ///< word n-grams of length 1..text_ngrams
  std::uint64_t seed = 0;          ///< folds of the leakage-free target encoding

  /// What tree models use: numbers as they are, category codes, NaN kept.
  static EncoderOptions for_trees() { return {}; }
  /// What linear models and networks use: imputed, standardised, one-hot.
  static EncoderOptions dense() {
    EncoderOptions options;
    options.numeric = NumericEncoding::standardise;
    options.impute = true;
    options.categorical = CategoricalEncoding::one_hot;
    return options;
  }
};

/// Fitted map from typed columns to a dense float row; the preprocessing part of a model file.
/// It is fitted on training rows only and never changes afterwards. Value type, thread-safe when const.
///
/// A *raw row* is the float form of a row: one float per feature column of `schema()`, in order:
/// numbers as they are, category codes of *this* schema (unknown or missing: NaN), timestamps as
/// seconds. Text columns have no raw form (their slot is ignored): use a RowView for them.
class Encoder {
 public:
  Encoder();
  ~Encoder();
  Encoder(const Encoder&);
  Encoder(Encoder&&) noexcept;
  Encoder& operator=(const Encoder&);
  Encoder& operator=(Encoder&&) noexcept;

  /// Learns from the feature columns of `data` (target encoding also from its target).
  static Encoder fit(const Dataset& data, const EncoderOptions& options);
  /// Fits and encodes the training rows; target-encoded columns use out-of-fold means here, so that no
  /// row sees its own label.
  static Encoder fit_apply(const Dataset& data, const EncoderOptions& options, Tensor<float>& encoded);

  /// Numbers as they are, category codes of `features`; not fitted. For models that come from elsewhere with
  /// their own preprocessing. Error(unsupported) naming a text column.
  static Encoder identity(const Schema& features);

  const EncoderOptions& options() const noexcept;
  /// The feature columns, as trained; the categories of a column are those that occur in the training rows.
  const Schema& schema() const noexcept;
  std::size_t inputs() const noexcept;  ///< floats in a raw row = feature columns
  std::size_t width() const noexcept;   ///< floats in an encoded row
  bool has_text() const noexcept;
  std::vector<std::string> names() const;  ///< of the encoded columns: "age", "state=CA", "review#17"
  /// For each encoded column, the index in `schema()` of the column it came from.
  std::vector<std::uint32_t> origins() const;
  /// For each encoded column: number of categories if it holds an ordinal category code, else 0.
  std::vector<std::uint32_t> category_counts() const;

  /// rows x width(). Columns are matched by name; throws Error(not_found) naming the missing column and
  /// Error(type_mismatch) naming both types. Categories are matched by name; unknown ones count as missing.
  Tensor<float> apply(const Dataset& data, Arena* arena = nullptr) const;
  /// One row of any dataset with these columns; dst has width() floats.
  void apply(const RowView& row, std::span<float> dst) const;
  /// One raw row. No allocation, no checks beyond sizes: errc::shape_mismatch, errc::unsupported with text columns.
  errc apply(std::span<const float> raw, std::span<float> dst) const noexcept;
  /// The raw row of a dataset row (see above).
  void raw_row(const RowView& row, std::span<float> dst) const;

  /// C++ source of a function `inline void NAME(const float* raw, float* dst)` that needs only `<cmath>` and gives the
  /// same bits as `apply`. Error(unsupported) naming the column if one is text.
  std::string to_source(std::string_view name) const;

  void save(Archive& archive) const;
  static Encoder load(const Archive& archive);

 private:
  struct State;
  Shared<const State> state_;
};

}  // namespace redoubt
