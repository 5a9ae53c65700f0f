#pragma once
#include <cstddef>

#include "redoubt/core/function_ref.hpp"
#include "redoubt/fwd.hpp"

namespace redoubt {

/// CPUs this process may use: the smallest of the affinity mask and the cgroup's quota, at least 1.
int available_cpus();

/// A bounded set of worker threads (one oneTBB arena). Idle workers sleep; nothing spins.
/// Pass one to limit a call; without one the process-wide default is used, sized by `available_cpus()`.
class Arena {
 public:
  /// threads = 0: `available_cpus()`. The calling thread counts as one of them. Never more than oneTBB allows the
  /// process, by default one per CPU; an application that wants more raises tbb::global_control first.
  explicit Arena(int threads = 0);
  ~Arena();
  Arena(const Arena&) = delete;
  Arena& operator=(const Arena&) = delete;

  int threads() const noexcept { return threads_; }
  static Arena& default_arena();

 private:
  friend void parallel_for(std::size_t, std::size_t, function_ref<void(std::size_t, std::size_t)>, Arena*);
  struct Impl;
  Impl* impl_;
  int threads_;
};

/// Calls body(begin, end) over [0, count) in fixed blocks of `grain` (the last may be shorter).
/// Block borders depend on `count` and `grain` only, never on the thread count, so a result that is
/// written per block is the same at any thread count. Each thread begins with neighbouring blocks, the same ones in
/// every loop of as many, then takes what others have left. One block, or a one-thread arena, runs on the
/// calling thread. An exception of the body is rethrown here after all running blocks have ended.
/// arena = null: the arena of the enclosing parallel_for if there is one, so that nested work keeps its limit;
/// otherwise the default one.
void parallel_for(std::size_t count, std::size_t grain, function_ref<void(std::size_t begin, std::size_t end)> body,
                  Arena* arena = nullptr);

}  // namespace redoubt
