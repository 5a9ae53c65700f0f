#include "redoubt/serve/admission.hpp"

#include <fmt/format.h>

#include <algorithm>
#include <atomic>
#include <chrono>
#include <cmath>
#include <mutex>
#include <vector>

#include "redoubt/core/error.hpp"
#include "redoubt/core/hash.hpp"

namespace redoubt {
namespace {

constexpr std::size_t ways = 4, stripes = 64;

struct Bucket {
  std::uint64_t id = 0;
  double tokens = 0, at = -1;  // at < 0: free

  bool take(double rows, double rate, double burst, double now) {
    tokens = std::min(burst, tokens + std::max(0.0, now - at) * rate);
    at = now;
    if (tokens < rows) return false;
    tokens -= rows;
    return true;
  }
};

}  // namespace

const char* to_string(Admission admission) noexcept {
  switch (admission) {
    case Admission::allowed: return "allowed";
    case Admission::unauthenticated: return "unauthenticated";
    case Admission::forbidden: return "forbidden";
    case Admission::limited: return "limited";
  }
  return "unknown";
}

struct RateLimiter::State {
  RateLimiterOptions options;
  std::vector<Bucket> buckets;  // sets x ways
  std::mutex locks[stripes];
  std::mutex all_lock;
  Bucket all;
  std::atomic<std::uint64_t> limited{0};

  explicit State(const RateLimiterOptions& o) : options(o) {
    const auto require = [](bool ok, const char* name, const auto& value, const char* range) {
      if (!ok)
        detail::fail(errc::invalid_argument,
                     fmt::format("RateLimiterOptions::{} is {}; it must be {}", name, value, range));
    };
    require(o.rows_per_second > 0 && std::isfinite(o.rows_per_second), "rows_per_second", o.rows_per_second,
            "finite and above 0");
    require(o.burst >= 1 && std::isfinite(o.burst), "burst", o.burst, "finite and at least 1");
    require(o.all_rows_per_second >= 0 && std::isfinite(o.all_rows_per_second), "all_rows_per_second",
            o.all_rows_per_second, "finite and at least 0");
    require(o.all_burst >= 0 && std::isfinite(o.all_burst), "all_burst", o.all_burst, "finite and at least 0");
    require(o.callers >= ways && o.callers <= (std::size_t{1} << 26), "callers", o.callers, "in [4, 2^26]");
    if (options.all_burst == 0) options.all_burst = 10 * options.all_rows_per_second;
    buckets.resize(o.callers / ways * ways);
    all.tokens = options.all_burst;
    all.at = 0;
  }

  bool take_of_caller(std::uint64_t id, double rows, double now) {
    const std::size_t set = static_cast<std::size_t>((id >> 8) % (buckets.size() / ways));
    const std::lock_guard lock(locks[set % stripes]);
    Bucket* bucket = nullptr;
    Bucket* oldest = &buckets[set * ways];
    for (std::size_t w = 0; w < ways; ++w) {
      Bucket& b = buckets[set * ways + w];
      if (b.at >= 0 && b.id == id) bucket = &b;
      if (b.at < oldest->at) oldest = &b;
    }
    if (!bucket) {
      bucket = oldest;
      *bucket = {id, options.burst, now};
    }
    return bucket->take(rows, options.rows_per_second, options.burst, now);
  }

  void give_back(std::uint64_t id, double rows) {
    const std::size_t set = static_cast<std::size_t>((id >> 8) % (buckets.size() / ways));
    const std::lock_guard lock(locks[set % stripes]);
    for (std::size_t w = 0; w < ways; ++w)
      if (Bucket& b = buckets[set * ways + w]; b.at >= 0 && b.id == id)
        b.tokens = std::min(options.burst, b.tokens + rows);
  }
};

RateLimiter::RateLimiter(const RateLimiterOptions& options) : state_(Shared<State>::make(options)) {}

Admission RateLimiter::admit(const AdmissionRequest& request) noexcept {
  return admit_at(request, std::chrono::duration<double>(std::chrono::steady_clock::now().time_since_epoch()).count());
}

Admission RateLimiter::admit_at(const AdmissionRequest& request, double seconds) noexcept {
  State& s = *state_;
  if (s.options.first)
    if (const Admission before = s.options.first->admit(request); before != Admission::allowed) return before;
  const auto rows = static_cast<double>(std::max<std::size_t>(1, request.rows));
  const std::uint64_t id = hash64(request.caller);
  bool fine = s.take_of_caller(id, rows, seconds);
  if (fine && s.options.all_rows_per_second > 0) {
    const std::lock_guard lock(s.all_lock);
    fine = s.all.take(rows, s.options.all_rows_per_second, s.options.all_burst, seconds);
    if (!fine) s.give_back(id, rows);
  }
  if (fine) return Admission::allowed;
  s.limited.fetch_add(1, std::memory_order_relaxed);
  return Admission::limited;
}

std::uint64_t RateLimiter::limited() const noexcept { return state_->limited.load(std::memory_order_relaxed); }
std::size_t RateLimiter::memory_bytes() const noexcept {
  return sizeof(State) + state_->buckets.size() * sizeof(Bucket);
}

}  // namespace redoubt
