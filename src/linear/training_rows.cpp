#include "linear/training_rows.hpp"

#include <fmt/format.h>

#include <cmath>

#include "redoubt/core/error.hpp"

namespace redoubt::detail {

TrainingRows training_rows(const Dataset& data, const EncoderOptions& options, std::string_view algorithm) {
  TrainingRows rows;
  rows.encoder = Shared<const Encoder>::make(Encoder::fit_apply(data, options, rows.inputs));
  const std::size_t width = rows.encoder->width();
  const auto values = rows.inputs.flat();
  for (std::size_t i = 0; i < values.size(); ++i) {
    if (std::isfinite(values[i])) continue;
    fail(errc::invalid_argument,
         fmt::format("{}: row id {} has {} in encoded column \"{}\"; impute missing numbers (EncoderOptions::dense()) "
                     "or remove the row",
                     algorithm, data.row_ids()[i / width], values[i], rows.encoder->names()[i % width]));
  }
  rows.weights.assign(data.rows(), 1.0);
  if (!data.weights().empty()) rows.weights.assign(data.weights().begin(), data.weights().end());
  double total = 0;
  for (std::size_t i = 0; i < rows.weights.size(); ++i) {
    if (!(rows.weights[i] >= 0) || !std::isfinite(rows.weights[i])) {
      fail(errc::invalid_argument, fmt::format("{}: row id {} has weight {}; weights must be finite and >= 0",
                                               algorithm, data.row_ids()[i], rows.weights[i]));
    }
    total += rows.weights[i];
  }
  if (!(total > 0)) fail(errc::invalid_argument, fmt::format("{}: all row weights are 0", algorithm));
  return rows;
}

void require_penalty(double l2, std::string_view algorithm) {
  if (!(l2 >= 0) || !std::isfinite(l2)) {
    fail(errc::invalid_argument, fmt::format("{}: l2 is {}; it must be finite and >= 0", algorithm, l2));
  }
}

}  // namespace redoubt::detail
