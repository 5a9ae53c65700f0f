#pragma once
#include <cstdint>
#include <string>
#include <string_view>

namespace redoubt::detail {

/// Reads ISO 8601 text as microseconds since 1970-01-01 UTC: `2024-02-29`, `2024-02-29T12:30`, `2024-02-29
/// 12:30:59.123456Z`, `2024-02-29T12:30:59+02:00`. Without an offset the time is UTC; digits beyond microseconds are
/// cut. False if `text` is anything else or no such day exists.
bool parse_timestamp(std::string_view text, std::int64_t& micros) noexcept;

/// `2024-02-29T12:30:59Z`, with six more digits if there is a fraction of a second.
std::string format_timestamp(std::int64_t micros);

/// Days since 1970-01-01 of a day of the proleptic Gregorian calendar.
std::int64_t days_from_civil(std::int64_t year, unsigned month, unsigned day) noexcept;

}  // namespace redoubt::detail
