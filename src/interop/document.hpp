#pragma once
// JSON and UBJSON as XGBoost writes them, into one tree of values. Bounded in depth and by the size of the input.
#include <cstddef>
#include <cstdint>
#include <span>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

namespace redoubt::detail {

struct DocumentValue {
  enum class Kind : std::uint8_t { null, number, text, numbers, list, object };

  Kind kind = Kind::null;
  double number = 0;  ///< also true (1) and false (0)
  std::string text;
  std::vector<double> numbers;       ///< an array of nothing but numbers or booleans; also the empty array
  std::vector<DocumentValue> items;  ///< list: an array of anything else; object: the values
  std::vector<std::string> keys;     ///< object: one per item

  /// The value of a key, nullptr without it or if this is no object.
  const DocumentValue* find(std::string_view key) const noexcept;
};

/// Parses the whole of `bytes`: UBJSON if they begin with '{' and a length, else JSON.
/// Error(corrupt) naming `origin` and the byte offset.
DocumentValue parse_document(std::span<const std::byte> bytes, std::string_view origin);

}  // namespace redoubt::detail
