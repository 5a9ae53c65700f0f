#pragma once
#include <string_view>

namespace redoubt::detail {

/// Whether `text` is UTF-8 (no overlong forms, no surrogates, at most U+10FFFF) without NUL.
bool is_clean_text(std::string_view text) noexcept;

}  // namespace redoubt::detail
