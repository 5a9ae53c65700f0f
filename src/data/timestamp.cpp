#include "data/timestamp.hpp"

#include <fmt/format.h>

namespace redoubt::detail {
namespace {

constexpr std::int64_t micros_per_second = 1'000'000;
constexpr std::int64_t seconds_per_day = 86'400;

bool take_number(std::string_view& text, std::size_t digits, unsigned& value) noexcept {
  if (text.size() < digits) return false;
  value = 0;
  for (std::size_t i = 0; i < digits; ++i) {
    const unsigned digit = static_cast<unsigned char>(text[i]) - unsigned{'0'};
    if (digit > 9) return false;
    value = value * 10 + digit;
  }
  text.remove_prefix(digits);
  return true;
}

bool take(std::string_view& text, char c) noexcept {
  if (text.empty() || text.front() != c) return false;
  text.remove_prefix(1);
  return true;
}

unsigned days_in_month(unsigned year, unsigned month) noexcept {
  constexpr unsigned char days[] = {31, 28, 31, 30, 31, 30, 31, 31, 30, 31, 30, 31};
  const bool leap = (year % 4 == 0 && year % 100 != 0) || year % 400 == 0;
  return month == 2 && leap ? 29 : days[month - 1];
}

}  // namespace

// The era arithmetic is Howard Hinnant's "chrono-compatible low-level date algorithms".
std::int64_t days_from_civil(std::int64_t year, unsigned month, unsigned day) noexcept {
  year -= month <= 2;
  const std::int64_t era = (year >= 0 ? year : year - 399) / 400;
  const auto year_of_era = static_cast<unsigned>(year - era * 400);
  const unsigned day_of_year = (153 * (month > 2 ? month - 3 : month + 9) + 2) / 5 + day - 1;
  const unsigned day_of_era = year_of_era * 365 + year_of_era / 4 - year_of_era / 100 + day_of_year;
  return era * 146097 + static_cast<std::int64_t>(day_of_era) - 719468;
}

bool parse_timestamp(std::string_view text, std::int64_t& micros) noexcept {
  unsigned year = 0, month = 0, day = 0, hour = 0, minute = 0, second = 0, fraction = 0;
  if (!take_number(text, 4, year) || !take(text, '-') || !take_number(text, 2, month) || !take(text, '-') ||
      !take_number(text, 2, day)) {
    return false;
  }
  if (month < 1 || month > 12 || day < 1 || day > days_in_month(year, month)) return false;
  std::int64_t offset = 0;
  if (!text.empty()) {
    if (!take(text, 'T') && !take(text, 't') && !take(text, ' ')) return false;
    if (!take_number(text, 2, hour) || !take(text, ':') || !take_number(text, 2, minute)) return false;
    if (take(text, ':')) {
      if (!take_number(text, 2, second)) return false;
      if (take(text, '.') || take(text, ',')) {
        unsigned scale = 100'000, digit = 0;
        if (!take_number(text, 1, digit)) return false;
        do {
          fraction += digit * scale;
          scale /= 10;
        } while (take_number(text, 1, digit));
      }
    }
    if (take(text, 'Z') || take(text, 'z')) {
    } else if (!text.empty() && (text.front() == '+' || text.front() == '-')) {
      const std::int64_t sign = text.front() == '+' ? 1 : -1;
      text.remove_prefix(1);
      unsigned hours = 0, minutes = 0;
      if (!take_number(text, 2, hours)) return false;
      if (!text.empty()) {
        take(text, ':');
        if (!take_number(text, 2, minutes)) return false;
      }
      if (hours > 23 || minutes > 59) return false;
      offset = sign * (static_cast<std::int64_t>(hours) * 3600 + minutes * 60);
    }
    if (!text.empty() || hour > 23 || minute > 59 || second > 60) return false;
  }
  const std::int64_t seconds =
      days_from_civil(year, month, day) * seconds_per_day + hour * 3600 + minute * 60 + second - offset;
  // An offset may lead out of the years that ISO 8601 writes with four digits.
  if (seconds < days_from_civil(0, 1, 1) * seconds_per_day ||
      seconds >= days_from_civil(10000, 1, 1) * seconds_per_day) {
    return false;
  }
  micros = seconds * micros_per_second + fraction;
  return true;
}

std::string format_timestamp(std::int64_t micros) {
  const auto floor_divide = [](std::int64_t a, std::int64_t b) { return a / b - (a % b < 0); };
  const std::int64_t seconds = floor_divide(micros, micros_per_second);
  const std::int64_t days = floor_divide(seconds, seconds_per_day);
  const auto of_day = static_cast<unsigned>(seconds - days * seconds_per_day);
  const std::int64_t shifted = days + 719468;
  const std::int64_t era = floor_divide(shifted, 146097);
  const auto day_of_era = static_cast<unsigned>(shifted - era * 146097);
  const unsigned year_of_era = (day_of_era - day_of_era / 1460 + day_of_era / 36524 - day_of_era / 146096) / 365;
  const unsigned day_of_year = day_of_era - (365 * year_of_era + year_of_era / 4 - year_of_era / 100);
  const unsigned shifted_month = (5 * day_of_year + 2) / 153;
  const unsigned day = day_of_year - (153 * shifted_month + 2) / 5 + 1;
  const unsigned month = shifted_month < 10 ? shifted_month + 3 : shifted_month - 9;
  const std::int64_t year = year_of_era + era * 400 + (month <= 2);
  std::string text = fmt::format("{:04}-{:02}-{:02}T{:02}:{:02}:{:02}", year, month, day, of_day / 3600,
                                 of_day / 60 % 60, of_day % 60);
  if (const std::int64_t fraction = micros - seconds * micros_per_second; fraction != 0) {
    text += fmt::format(".{:06}", fraction);
  }
  return text + "Z";
}

}  // namespace redoubt::detail
