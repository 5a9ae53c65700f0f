#pragma once
#include <cstdint>
#include <stdexcept>
#include <string>

#include "redoubt/fwd.hpp"

namespace redoubt {

/// Closed set of reasons. Hot paths return one; everything else throws `Error` that carries one.
enum class errc : std::uint8_t {
  ok = 0,
  invalid_argument,  ///< an option or argument is outside its documented range
  shape_mismatch,    ///< sizes do not fit; the message names both
  type_mismatch,     ///< a column or tensor has another element type than needed
  not_found,         ///< no such file, column, model, run
  already_exists,    ///< would overwrite something that may not be overwritten
  parse_error,       ///< text input is malformed; the message names file, line, column
  corrupt,           ///< binary input is malformed; the message names the byte offset
  io_error,          ///< the operating system refused; the message carries its reason
  unsupported,       ///< valid input that this build or version cannot handle
  refused,           ///< a rule said no (gate, sealed holdout, signature)
  unavailable,       ///< a resource is busy or stopped
  internal           ///< a bug in Redoubt; please report
};

/// Name of a code, for example "shape_mismatch". Never allocates.
const char* to_string(errc code) noexcept;

/// The one exception type of the library.
class Error : public std::runtime_error {
 public:
  Error(errc code, const std::string& message) : std::runtime_error(message), code_(code) {}
  errc code() const noexcept { return code_; }

 private:
  errc code_;
};

namespace detail {
/// Throws Error(code, message). Out of line so that callers stay small.
[[noreturn]] void fail(errc code, const std::string& message);
}  // namespace detail

}  // namespace redoubt
