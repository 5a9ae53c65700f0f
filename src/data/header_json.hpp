#pragma once
#include <cstddef>
#include <cstdint>
#include <string>
#include <string_view>

namespace redoubt::detail {

/// Length of the longest prefix of `text` that is valid UTF-8 (no overlong forms, no surrogates).
std::size_t utf8_prefix(std::string_view text) noexcept;
inline bool is_utf8(std::string_view text) noexcept { return utf8_prefix(text) == text.size(); }

/// Appends `text` (valid UTF-8) as a JSON string with its quotes.
void append_json_string(std::string& out, std::string_view text);

/// Pull reader for the small part of JSON that archives use: objects, arrays, strings and whole numbers. Unlike a
/// general parser it knows the byte offset of every token and lets the caller see repeated keys.
class HeaderJson {
 public:
  /// `base` is the byte offset of `text` in its file; errors name `origin` and the offset in the file.
  HeaderJson(std::string_view text, std::string origin, std::size_t base)
      : text_(text), origin_(std::move(origin)), base_(base) {}

  bool accept(char token);  ///< skips it if it comes next (after white space)
  void expect(char token);
  void expect_end();       ///< nothing but white space is left
  std::string string();    ///< a string, unescaped
  std::uint64_t number();  ///< digits only, at most 2^64 - 1
  std::size_t offset();    ///< byte offset of the next token in the file

  const std::string& origin() const noexcept { return origin_; }
  [[noreturn]] void fail(const std::string& what) const { fail_at(base_ + at_, what); }
  [[noreturn]] void fail_at(std::size_t offset, const std::string& what) const;  ///< Error(corrupt)

 private:
  void skip_space() noexcept;
  unsigned hex4();

  std::string_view text_;
  std::string origin_;
  std::size_t base_;
  std::size_t at_ = 0;
};

}  // namespace redoubt::detail
