#pragma once
#include <fmt/format.h>

#include <string_view>

#include "redoubt/core/error.hpp"

namespace redoubt::detail {

/// Error(invalid_argument) "what: option is value; it must be rule" unless `good`.
inline void require(bool good, std::string_view what, std::string_view option, double value, std::string_view rule) {
  if (good) return;
  fail(errc::invalid_argument, fmt::format("{}: {} is {}; it must be {}", what, option, value, rule));
}

}  // namespace redoubt::detail
