#pragma once
#include <concepts>
#include <cstdint>
#include <map>
#include <string>

namespace redoubt {

/// A typed value attached to a run, stage, dataset or model: integer, number, text or boolean.
/// Converts implicitly so that `{{"trees", 300}, {"rate", 0.1}, {"note", "first"}}` is a `Properties`.
struct Property {
  enum class Kind : std::uint8_t { integer, number, text, boolean };

  template <std::integral T>
  Property(T value)  // NOLINT: implicit by design
      : kind(std::same_as<T, bool> ? Kind::boolean : Kind::integer), integer(static_cast<std::int64_t>(value)) {}
  Property(double value) : kind(Kind::number), number(value) {}  // NOLINT: implicit by design
  Property(std::string value)
      : kind(Kind::text), text(static_cast<std::string&&>(value)) {}  // NOLINT: implicit by design
  Property(const char* value) : kind(Kind::text), text(value) {}      // NOLINT: implicit by design

  bool operator==(const Property&) const = default;
  std::string to_text() const;  ///< numbers in the shortest form that reads back bit-identical

  Kind kind;
  std::int64_t integer = 0;  ///< also 0 or 1 for a boolean
  double number = 0;
  std::string text;
};

using Properties = std::map<std::string, Property>;

}  // namespace redoubt
