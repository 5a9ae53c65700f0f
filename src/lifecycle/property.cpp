#include "redoubt/lifecycle/property.hpp"

#include <fmt/format.h>

namespace redoubt {

std::string Property::to_text() const {
  switch (kind) {
    case Kind::integer: return fmt::format("{}", integer);
    case Kind::number: return fmt::format("{}", number);
    case Kind::text: return text;
    case Kind::boolean: return integer ? "true" : "false";
  }
  return {};
}

}  // namespace redoubt
