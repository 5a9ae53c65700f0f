#include <fmt/format.h>

#include <variant>

#include "data/encoder_state.hpp"
#include "redoubt/core/error.hpp"

namespace redoubt {
namespace {

// 9 and 17 significant digits identify every float and double.
std::string literal(float value) { return fmt::format("({:.9g})", static_cast<double>(value)); }
std::string literal(double value) { return fmt::format("({:.17g})", value); }

/// The expression of NumberStep::apply for the raw value at `index`.
std::string number_expression(const detail::NumberStep& step, std::size_t index) {
  std::string x = fmt::format("raw[{}]", index);
  if (step.impute) x = fmt::format("({0} != {0} ? (float){1} : {0})", x, literal(step.fill.value));
  const std::string number = fmt::format("number({})", x);
  switch (step.encoding) {
    case NumericEncoding::standardise:
      return fmt::format("number(((double){} - {}) / {})", number, literal(step.standardise.mean),
                         literal(step.standardise.scale));
    case NumericEncoding::min_max:
      if (step.min_max.range == 0) return fmt::format("{0} != {0} ? {0} : 0.0f", x);
      return fmt::format("number(((double){} - {}) / {})", number, literal(step.min_max.low),
                         literal(step.min_max.range));
    case NumericEncoding::raw: break;
  }
  return number;
}

}  // namespace

std::string Encoder::to_source(std::string_view name) const {
  std::string body;
  for (std::size_t i = 0; i < inputs(); ++i) {
    const detail::EncoderStep& step = state_->steps[i];
    if (const auto* number = std::get_if<detail::NumberStep>(&step.transform)) {
      body += fmt::format("  dst[{}] = {};\n", step.first, number_expression(*number, i));
    } else if (const auto* ordinal = std::get_if<Ordinal>(&step.transform)) {
      body += fmt::format("  dst[{0}] = category(raw[{1}], {2}) < 0 ? NAN : raw[{1}];\n", step.first, i,
                          ordinal->categories);
    } else if (const auto* one_hot = std::get_if<OneHot>(&step.transform)) {
      body +=
          fmt::format("  for (int k = 0; k < {2}; ++k) dst[{0} + k] = category(raw[{1}], {2}) == k ? 1.0f : 0.0f;\n",
                      step.first, i, one_hot->categories);
    } else if (const auto* target = std::get_if<TargetEncoding>(&step.transform)) {
      std::string means;
      for (const float mean : target->means) means += fmt::format("{}{:.9g}", means.empty() ? "" : ", ", mean);
      body += fmt::format(
          "  {{\n    static const float means[] = {{{3}}};\n"
          "    const int code = category(raw[{1}], {2});\n"
          "    for (int k = 0; k < {4}; ++k) dst[{0} + k] = means[(code < 0 ? {2} : code) * {4} + k];\n  }}\n",
          step.first, i, target->categories, means, target->outputs);
    } else {
      detail::fail(errc::unsupported,
                   fmt::format("column '{}' is text, which cannot be written as source", schema()[i].name));
    }
  }
  return fmt::format(
      "inline void {}(const float* raw, float* dst) {{\n"
      "  // Infinite and out-of-range values become the largest float.\n"
      "  const auto number = [](double x) {{\n"
      "    return x > 3.40282346638528859812e+38 ? 3.402823466e+38f\n"
      "         : x < -3.40282346638528859812e+38 ? -3.402823466e+38f : (float)x;\n"
      "  }};\n"
      "  // A code that is missing, unknown or fractional is -1.\n"
      "  const auto category = [](float code, int count) {{\n"
      "    return code >= 0 && code < (float)count && (float)(int)code == code ? (int)code : -1;\n"
      "  }};\n"
      "  (void)number;\n  (void)category;\n"
      "{}}}\n",
      name, body);
}

}  // namespace redoubt
