#pragma once
// Threads that stay together while a tree grows: its many short steps cannot each afford to start tasks.
#include <atomic>
#include <cstddef>
#include <exception>
#include <mutex>

#include "redoubt/core/function_ref.hpp"
#include "redoubt/core/parallel.hpp"

namespace redoubt::detail {

/// The calling thread leads and others of the arena help, as soon as and as long as they are free to: whatever is to be
/// done gets done without them. While a step is theirs to begin they look for it again and again, and give way to other
/// threads after about 50 microseconds.
class Team {
 public:
  /// Null: the default arena.
  explicit Team(Arena* arena)
      : arena_(arena), size_(static_cast<std::size_t>((arena ? *arena : Arena::default_arena()).threads())) {}
  Team(const Team&) = delete;
  Team& operator=(const Team&) = delete;

  std::size_t size() const noexcept { return size_; }
  /// Calls `lead` once, on some thread of the arena; during it the members stand by for the calls below, which only it
  /// may make, one at a time. An exception of `lead` is rethrown. Inside of another `gather` it only calls `lead`.
  void gather(function_ref<void()> lead);

  /// step(0) on the leader and, for each member that comes before that returns, step(member), member < size(). What the
  /// members wrote can be read afterwards. Outside of `gather` only step(0). The first exception is rethrown.
  void each(function_ref<void(std::size_t member)> step);
  /// Calls body(begin, end) over [0, count) in blocks of `grain`, as redoubt::parallel_for does and as it is done
  /// outside of `gather`; inside each member prefers the same part of the range every time, and body must not throw.
  void parallel_for(std::size_t count, std::size_t grain, function_ref<void(std::size_t, std::size_t)> body);

  /// Whether members see late what another wrote, as on CPUs without a common cache. Measured here where there may be
  /// such, by a few round trips of less than a microsecond; what is known is kept if nobody answers.
  void measure_distance();
  bool far() const noexcept { return far_; }

 private:
  void stand_by(std::size_t member);
  void run(function_ref<void(std::size_t)> step, std::size_t member) noexcept;

  Arena* arena_;
  const std::size_t size_;
  bool gathered_ = false, far_ = false;
  const function_ref<void(std::size_t)>* step_ = nullptr;
  std::mutex error_guard_;
  std::exception_ptr error_;
  alignas(64) std::atomic<std::size_t> turn_ = 0;  // odd: a step is open
  std::atomic<bool> over_ = false;
  std::atomic<std::size_t> call_ = 0;                // of one member: calls * size() + member
  alignas(64) std::atomic<std::size_t> inside_ = 0;  // members in the step
  alignas(64) std::atomic<std::size_t> answer_ = 0;  // the call
};

}  // namespace redoubt::detail
