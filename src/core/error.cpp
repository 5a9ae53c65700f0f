#include "redoubt/core/error.hpp"

namespace redoubt {

const char* to_string(errc code) noexcept {
  switch (code) {
    case errc::ok: return "ok";
    case errc::invalid_argument: return "invalid_argument";
    case errc::shape_mismatch: return "shape_mismatch";
    case errc::type_mismatch: return "type_mismatch";
    case errc::not_found: return "not_found";
    case errc::already_exists: return "already_exists";
    case errc::parse_error: return "parse_error";
    case errc::corrupt: return "corrupt";
    case errc::io_error: return "io_error";
    case errc::unsupported: return "unsupported";
    case errc::refused: return "refused";
    case errc::unavailable: return "unavailable";
    case errc::internal: return "internal";
  }
  return "unknown";
}

void detail::fail(errc code, const std::string& message) { throw Error(code, message); }

}  // namespace redoubt
