#include "redoubt/core/parallel.hpp"

#include <sched.h>
#include <tbb/blocked_range.h>
#include <tbb/global_control.h>
#include <tbb/parallel_for.h>
#include <tbb/task_arena.h>

#include <algorithm>
#include <fstream>
#include <sstream>

#include "core/cgroup.hpp"

// oneTBB is not compiled with ThreadSanitizer, so its hand-overs between threads are told to it here.
#if defined(__has_feature)
#if __has_feature(thread_sanitizer)
#define REDOUBT_TSAN 1
#endif
#elif defined(__SANITIZE_THREAD__)
#define REDOUBT_TSAN 1
#endif
#if defined(REDOUBT_TSAN)
#include <sanitizer/tsan_interface.h>
#define REDOUBT_TSAN_ACQUIRE(address) __tsan_acquire(address)
#define REDOUBT_TSAN_RELEASE(address) __tsan_release(address)
#else
#define REDOUBT_TSAN_ACQUIRE(address) static_cast<void>(address)
#define REDOUBT_TSAN_RELEASE(address) static_cast<void>(address)
#endif

namespace redoubt {
namespace {

/// Arena of the block that this thread runs, so that work started inside it stays inside its limit.
thread_local Arena* current_arena = nullptr;

class CurrentArena {
 public:
  explicit CurrentArena(Arena& arena) : previous_(current_arena) { current_arena = &arena; }
  ~CurrentArena() { current_arena = previous_; }
  CurrentArena(const CurrentArena&) = delete;
  CurrentArena& operator=(const CurrentArena&) = delete;

 private:
  Arena* previous_;
};

}  // namespace

int available_cpus() {
  cpu_set_t set;
  CPU_ZERO(&set);
  const int affinity = sched_getaffinity(0, sizeof set, &set) == 0 ? CPU_COUNT(&set) : 1;
  static const int quota = [] {
    std::ifstream file("/proc/self/cgroup");
    std::ostringstream membership;
    membership << file.rdbuf();
    return detail::cgroup_cpus("/sys/fs/cgroup", membership.str());
  }();
  return std::max(1, std::min(affinity, quota));
}

struct Arena::Impl {
  tbb::task_arena arena;
};

Arena::Arena(int threads) : impl_(nullptr), threads_(threads > 0 ? threads : available_cpus()) {
  // Asking for more than oneTBB's own limit would bring no thread and a warning on stderr.
  const std::size_t limit = tbb::global_control::active_value(tbb::global_control::max_allowed_parallelism);
  if (static_cast<std::size_t>(threads_) > limit) threads_ = static_cast<int>(limit);
  impl_ = new Impl{tbb::task_arena(threads_)};
}

Arena::~Arena() { delete impl_; }

Arena& Arena::default_arena() {
  static Arena arena;
  return arena;
}

void parallel_for(std::size_t count, std::size_t grain, function_ref<void(std::size_t, std::size_t)> body,
                  Arena* arena) {
  if (count == 0) return;
  grain = std::max<std::size_t>(grain, 1);
  const std::size_t blocks = (count + grain - 1) / grain;
  Arena& target = arena ? *arena : current_arena ? *current_arena : Arena::default_arena();
  auto run_block = [&](std::size_t block) {
    const CurrentArena scope(target);
    body(block * grain, std::min(count, (block + 1) * grain));
  };
  if (blocks == 1 || target.threads_ == 1) {
    for (std::size_t block = 0; block < blocks; ++block) run_block(block);
    return;
  }
  char handed_out = 0, handed_back = 0;  // their addresses stand for the two hand-overs
  REDOUBT_TSAN_RELEASE(&handed_out);
  target.impl_->arena.execute([&] {
    tbb::parallel_for(tbb::blocked_range<std::size_t>(0, blocks, 1), [&](const tbb::blocked_range<std::size_t>& range) {
      REDOUBT_TSAN_ACQUIRE(&handed_out);
      for (std::size_t block = range.begin(); block != range.end(); ++block) run_block(block);
      REDOUBT_TSAN_RELEASE(&handed_back);
    });
  });
  REDOUBT_TSAN_ACQUIRE(&handed_back);
}

}  // namespace redoubt
