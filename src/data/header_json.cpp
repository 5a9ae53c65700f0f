#include "data/header_json.hpp"

#include <fmt/format.h>

#include <charconv>

#include "redoubt/core/error.hpp"

namespace redoubt::detail {

std::size_t utf8_prefix(std::string_view text) noexcept {
  std::size_t i = 0;
  while (i < text.size()) {
    const unsigned lead = static_cast<unsigned char>(text[i]);
    if (lead < 0x80) {
      ++i;
      continue;
    }
    const std::size_t more = lead >= 0xc2 && lead <= 0xdf   ? 1
                             : (lead & 0xf0) == 0xe0        ? 2
                             : lead >= 0xf0 && lead <= 0xf4 ? 3
                                                            : 0;
    if (more == 0 || text.size() - i <= more) return i;
    for (std::size_t k = 1; k <= more; ++k)
      if ((static_cast<unsigned char>(text[i + k]) & 0xc0) != 0x80) return i;
    const unsigned second = static_cast<unsigned char>(text[i + 1]);
    if ((lead == 0xe0 && second < 0xa0) || (lead == 0xed && second > 0x9f) ||  // overlong; surrogate
        (lead == 0xf0 && second < 0x90) || (lead == 0xf4 && second > 0x8f))    // overlong; above U+10FFFF
      return i;
    i += more + 1;
  }
  return i;
}

void append_json_string(std::string& out, std::string_view text) {
  out += '"';
  for (const char c : text) {
    if (c == '"' || c == '\\') {
      out += '\\';
      out += c;
    } else if (static_cast<unsigned char>(c) < 0x20) {
      fmt::format_to(std::back_inserter(out), "\\u{:04x}", static_cast<unsigned>(c));
    } else {
      out += c;
    }
  }
  out += '"';
}

void HeaderJson::fail_at(std::size_t offset, const std::string& what) const {
  detail::fail(errc::corrupt, fmt::format("{}: byte {}: {}", origin_, offset, what));
}

void HeaderJson::skip_space() noexcept {
  while (at_ < text_.size() && (text_[at_] == ' ' || text_[at_] == '\t' || text_[at_] == '\n' || text_[at_] == '\r'))
    ++at_;
}

std::size_t HeaderJson::offset() {
  skip_space();
  return base_ + at_;
}

bool HeaderJson::accept(char token) {
  skip_space();
  if (at_ >= text_.size() || text_[at_] != token) return false;
  ++at_;
  return true;
}

void HeaderJson::expect(char token) {
  if (!accept(token)) fail(fmt::format("expected '{}'", token));
}

void HeaderJson::expect_end() {
  skip_space();
  if (at_ != text_.size()) fail("text follows the end of the JSON value");
}

unsigned HeaderJson::hex4() {
  unsigned value = 0;
  if (text_.size() - at_ < 4) fail("unfinished \\u escape");
  const auto [end, error] = std::from_chars(text_.data() + at_, text_.data() + at_ + 4, value, 16);
  if (error != std::errc() || end != text_.data() + at_ + 4) fail("bad \\u escape");
  at_ += 4;
  return value;
}

std::string HeaderJson::string() {
  expect('"');
  const std::size_t start = base_ + at_ - 1;
  std::string out;
  for (;;) {
    if (at_ >= text_.size()) fail_at(start, "this string does not end");
    const char c = text_[at_++];
    if (c == '"') return out;
    if (static_cast<unsigned char>(c) < 0x20) {
      --at_;
      fail("control character in a string");
    }
    if (c != '\\') {
      out += c;
      continue;
    }
    if (at_ >= text_.size()) fail_at(start, "this string does not end");
    switch (const char escape = text_[at_++]) {
      case '"':
      case '\\':
      case '/': out += escape; break;
      case 'b': out += '\b'; break;
      case 'f': out += '\f'; break;
      case 'n': out += '\n'; break;
      case 'r': out += '\r'; break;
      case 't': out += '\t'; break;
      case 'u': {
        unsigned code = hex4();
        if (code >= 0xd800 && code <= 0xdbff) {
          if (text_.substr(at_, 2) != "\\u") fail("half of a surrogate pair");
          at_ += 2;
          const unsigned low = hex4();
          if (low < 0xdc00 || low > 0xdfff) fail("half of a surrogate pair");
          code = 0x10000 + ((code - 0xd800) << 10) + (low - 0xdc00);
        } else if (code >= 0xdc00 && code <= 0xdfff) {
          fail("half of a surrogate pair");
        }
        if (code < 0x80) {
          out += static_cast<char>(code);
        } else if (code < 0x800) {
          out += static_cast<char>(0xc0 | code >> 6);
          out += static_cast<char>(0x80 | (code & 0x3f));
        } else {
          if (code < 0x10000) {
            out += static_cast<char>(0xe0 | code >> 12);
          } else {
            out += static_cast<char>(0xf0 | code >> 18);
            out += static_cast<char>(0x80 | (code >> 12 & 0x3f));
          }
          out += static_cast<char>(0x80 | (code >> 6 & 0x3f));
          out += static_cast<char>(0x80 | (code & 0x3f));
        }
        break;
      }
      default: fail("unknown escape in a string");
    }
  }
}

std::uint64_t HeaderJson::number() {
  skip_space();
  std::uint64_t value = 0;
  const char* begin = text_.data() + at_;
  const auto [end, error] = std::from_chars(begin, text_.data() + text_.size(), value);
  if (error != std::errc()) fail("expected a whole number below 2^64");
  if (*begin == '0' && end != begin + 1) fail("a number with leading zeros");
  at_ += static_cast<std::size_t>(end - begin);
  return value;
}

}  // namespace redoubt::detail
