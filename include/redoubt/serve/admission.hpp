#pragma once
#include <cstddef>
#include <cstdint>
#include <string_view>

#include "redoubt/core/shared.hpp"

namespace redoubt {

/// A prediction that somebody asks for.
struct AdmissionRequest {
  std::string_view caller;         ///< see ServerOptions::caller_header
  std::string_view authorization;  ///< the Authorization header as it came; empty: none
  std::string_view model;          ///< name
  std::size_t rows = 1;
};

enum class Admission : std::uint8_t {
  allowed,
  unauthenticated,  ///< answered 401
  forbidden,        ///< answered 403
  limited           ///< answered 429
};
const char* to_string(Admission admission) noexcept;

/// Decides, after a request is parsed and before anything is predicted, whether it is answered. Called from several
/// threads at once; must not throw.
class Gatekeeper {
 public:
  virtual ~Gatekeeper() = default;
  virtual Admission admit(const AdmissionRequest& request) noexcept = 0;
};

struct RateLimiterOptions {
  double rows_per_second = 100;    ///< of one caller, in the long run; > 0
  double burst = 1000;             ///< rows a caller may ask at once after a pause; >= 1
  double all_rows_per_second = 0;  ///< of all callers together; 0: no limit
  double all_burst = 0;            ///< 0: ten seconds of it
  std::size_t callers = 16384;     ///< remembered; the longest silent one is forgotten, and begins with a full burst
  Gatekeeper* first = nullptr;     ///< asked before, for example for authorisation; must outlive this
};

/// Token buckets, one per caller and one for all, in memory fixed at construction. What is refused costs no tokens.
/// Note that an attacker with many accounts has many buckets: the limit of all is what bounds it.
class RateLimiter final : public Gatekeeper {
 public:
  /// Error(invalid_argument) names the option that is out of range.
  explicit RateLimiter(const RateLimiterOptions& options = {});
  Admission admit(const AdmissionRequest& request) noexcept override;
  /// The same at a time of the caller's clock, in seconds; not before earlier calls.
  Admission admit_at(const AdmissionRequest& request, double seconds) noexcept;
  std::uint64_t limited() const noexcept;  ///< requests refused for their rate
  std::size_t memory_bytes() const noexcept;

 private:
  struct State;
  Shared<State> state_;
};

}  // namespace redoubt
