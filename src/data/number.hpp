#pragma once
#include <bit>
#include <charconv>
#include <cmath>
#include <cstdint>
#include <cstring>
#include <system_error>

namespace redoubt::detail {

inline bool is_blank(char c) noexcept { return c == ' ' || c == '\t'; }
inline unsigned digit_of(char c) noexcept { return static_cast<unsigned char>(c) - unsigned{'0'}; }

// Eight characters at once, after Lemire, "Quickly parsing eight digits" (2018).
inline bool are_eight_digits(std::uint64_t chunk) noexcept {
  return (((chunk + 0x4646464646464646ull) | (chunk - 0x3030303030303030ull)) & 0x8080808080808080ull) == 0;
}
inline std::uint32_t eight_digits(std::uint64_t chunk) noexcept {
  chunk -= 0x3030303030303030ull;
  chunk = chunk * 10 + (chunk >> 8);
  const std::uint64_t mask = 0x000000ff000000ffull;
  return static_cast<std::uint32_t>(
      (((chunk & mask) * 0x000f424000000064ull) + (((chunk >> 16) & mask) * 0x0000271000000001ull)) >> 32);
}

/// Accumulates decimal digits from `p` on; the caller counts them by the returned position.
inline const char* take_digits(const char* p, const char* end, std::uint64_t& value) noexcept {
  if constexpr (std::endian::native == std::endian::little) {
    while (end - p >= 8) {
      std::uint64_t chunk = 0;
      std::memcpy(&chunk, p, sizeof chunk);
      if (!are_eight_digits(chunk)) break;
      value = value * 100'000'000 + eight_digits(chunk);
      p += 8;
    }
  }
  for (; p < end; ++p) {
    const unsigned digit = digit_of(*p);
    if (digit > 9) break;
    value = value * 10 + digit;
  }
  return p;
}

/// Reads a whole cell as a finite decimal number, rounded correctly: `-12`, `+.5`, `1.`, `6.02e23`, blanks around it.
/// False for anything else, including infinities, NaN and numbers beyond the range of double.
inline bool parse_number(const char* p, const char* end, double& value) noexcept {
  while (p < end && is_blank(*p)) ++p;
  while (p < end && is_blank(end[-1])) --end;
  const bool negative = p < end && *p == '-';
  if (p < end && (*p == '-' || *p == '+')) ++p;
  const char* const start = p;
  std::uint64_t mantissa = 0;
  p = take_digits(p, end, mantissa);
  auto digits = p - start;
  std::int64_t exponent = 0;
  if (p < end && *p == '.') {
    const char* const fraction = ++p;
    p = take_digits(p, end, mantissa);
    exponent = fraction - p;
    digits += p - fraction;
  }
  if (digits == 0) return false;
  if (p < end && (*p == 'e' || *p == 'E')) {
    ++p;
    const bool below = p < end && *p == '-';
    if (p < end && (*p == '-' || *p == '+')) ++p;
    if (p == end) return false;
    std::int64_t written = 0;
    for (; p < end; ++p) {
      const unsigned digit = digit_of(*p);
      if (digit > 9) return false;
      if (written < 100'000) written = written * 10 + digit;
    }
    exponent += below ? -written : written;
  }
  if (p != end) return false;
  // Clinger's fast path ("How to read floating point numbers accurately", 1990): both factors are exact doubles, so
  // one rounding happens.
  constexpr double powers[] = {1e0,  1e1,  1e2,  1e3,  1e4,  1e5,  1e6,  1e7,  1e8,  1e9,  1e10, 1e11,
                               1e12, 1e13, 1e14, 1e15, 1e16, 1e17, 1e18, 1e19, 1e20, 1e21, 1e22};
  if (digits <= 19 && mantissa <= (std::uint64_t{1} << 53) && exponent >= -22 && exponent <= 22) {
    const double exact = static_cast<double>(mantissa);
    const double magnitude = exponent < 0 ? exact / powers[-exponent] : exact * powers[exponent];
    value = negative ? -magnitude : magnitude;
    return true;
  }
  double magnitude = 0;
  const auto [last, error] = std::from_chars(start, end, magnitude);
  if (error == std::errc::result_out_of_range) {
    // Too small is zero; too large is refused. Leading zeros may hide the size, so look for the first digit's weight.
    const char* q = start;
    std::int64_t weight = exponent + digits;
    for (; q < end && (*q == '0' || *q == '.'); ++q) weight -= *q == '0';
    if (weight > 0) return false;
    magnitude = 0;
  } else if (error != std::errc{} || last != end || !std::isfinite(magnitude)) {
    return false;
  }
  value = negative ? -magnitude : magnitude;
  return true;
}

}  // namespace redoubt::detail
