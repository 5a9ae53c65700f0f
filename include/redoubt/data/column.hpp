#pragma once
#include <cstdint>
#include <limits>
#include <string>
#include <string_view>
#include <vector>

#include "redoubt/data/schema.hpp"

namespace redoubt {

inline constexpr std::int64_t missing_time = std::numeric_limits<std::int64_t>::min();

/// Many texts in one buffer: text i is bytes [offsets[i], offsets[i+1]).
struct TextColumn {
  std::vector<std::uint64_t> offsets{0};
  std::string bytes;

  std::size_t size() const noexcept { return offsets.size() - 1; }
  std::string_view operator[](std::size_t row) const noexcept {
    return {bytes.data() + offsets[row], static_cast<std::size_t>(offsets[row + 1] - offsets[row])};
  }
  void push_back(std::string_view text) {
    bytes.append(text);
    offsets.push_back(bytes.size());
  }
  bool operator==(const TextColumn&) const = default;
};

/// One typed column: exactly the storage that matches `spec.type` is filled.
struct Column {
  ColumnSpec spec;
  std::vector<double> numbers;      ///< numeric
  std::vector<std::int32_t> codes;  ///< categorical
  TextColumn texts;                 ///< text
  std::vector<std::int64_t> times;  ///< timestamp

  std::size_t size() const noexcept;
  bool missing(std::size_t row) const noexcept;
  /// Rows in the given order (rows may repeat).
  Column take(const std::vector<std::size_t>& rows) const;
  /// Cell as it would be written to CSV; "" if missing.
  std::string to_text(std::size_t row) const;
};

}  // namespace redoubt
