#pragma once
#include <variant>
#include <vector>

#include "redoubt/data/column.hpp"
#include "redoubt/data/encoder.hpp"
#include "redoubt/data/transform.hpp"

namespace redoubt {

namespace detail {

inline constexpr std::size_t max_encoded_width = std::size_t{1} << 20;

/// Numeric and timestamp columns: optional imputation, then one of the numeric encodings.
struct NumberStep {
  bool impute = false;
  Impute fill;
  NumericEncoding encoding = NumericEncoding::raw;
  Standardise standardise;
  MinMax min_max;

  float apply(float x) const noexcept {
    if (impute) x = fill.apply(x);
    switch (encoding) {
      case NumericEncoding::standardise: return standardise.apply(x);
      case NumericEncoding::min_max: return min_max.apply(x);
      case NumericEncoding::raw: break;
    }
    return to_float(x);
  }
};

/// What happens to one feature column: `width` encoded floats from `first` on.
struct EncoderStep {
  std::size_t first = 0;
  std::size_t width = 1;
  Categories categories;  ///< categorical columns
  std::variant<NumberStep, Ordinal, OneHot, TargetEncoding, HashedTfidf> transform;

  /// A number, a category code of `categories`, or seconds. Not for text.
  void apply(float raw, float* row) const noexcept {
    float* out = row + first;
    if (const auto* number = std::get_if<NumberStep>(&transform))
      *out = number->apply(raw);
    else if (const auto* ordinal = std::get_if<Ordinal>(&transform))
      *out = ordinal->apply(raw);
    else if (const auto* one_hot = std::get_if<OneHot>(&transform))
      one_hot->apply(raw, {out, width});
    else if (const auto* target = std::get_if<TargetEncoding>(&transform))
      target->apply(raw, {out, width});
  }
};

}  // namespace detail

struct Encoder::State {
  EncoderOptions options;
  Schema schema;
  std::vector<detail::EncoderStep> steps;  ///< one per column of `schema`
  std::vector<std::string> target_names;   ///< target encoding: what its columns are means of
  std::size_t width = 0;
  bool has_text = false;

  /// Derives `first`, `width` and `has_text` from the steps. Error(unsupported) beyond max_encoded_width.
  void lay_out();
};

}  // namespace redoubt
