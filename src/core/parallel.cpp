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
#include "core/runs.hpp"

#if defined(__has_feature)
#if __has_feature(thread_sanitizer)
#define REDOUBT_TSAN 1
#endif
#elif defined(__SANITIZE_THREAD__)
#define REDOUBT_TSAN 1
#endif
#if defined(REDOUBT_TSAN)
#include <exception>
#include <mutex>
#include <thread>
#include <vector>
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

#if defined(REDOUBT_TSAN)
namespace {

/// oneTBB comes from Debian without ThreadSanitizer's instrumentation, which then sees a race in every hand-over. Under
/// it the blocks run on plain threads instead: what they do is checked, oneTBB is not.
void run_on_plain_threads(std::size_t threads, function_ref<void(std::size_t)> work) {
  std::mutex guard;
  std::exception_ptr error;
  auto guarded = [&](std::size_t thread) {
    try {
      work(thread);
    } catch (...) {
      const std::lock_guard lock(guard);
      if (!error) error = std::current_exception();
    }
  };
  std::vector<std::thread> helpers;
  for (std::size_t t = 1; t < threads; ++t) helpers.emplace_back(guarded, t);
  guarded(0);
  for (std::thread& helper : helpers) helper.join();
  if (error) std::rethrow_exception(error);
}

}  // namespace
#endif

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
  const std::size_t threads = std::min(static_cast<std::size_t>(target.threads_), blocks);
  detail::Runs runs(blocks, threads);
  const auto work = [&](std::size_t thread) {
    try {
      for (std::size_t block; runs.take(thread, block);) run_block(block);
    } catch (...) {
      runs.stop();
      throw;
    }
  };
#if defined(REDOUBT_TSAN)
  if (current_arena == &target) return work(0);
  run_on_plain_threads(threads, work);
#else
  target.impl_->arena.execute([&] {
    tbb::parallel_for(
        tbb::blocked_range<std::size_t>(0, threads, 1),
        [&](const tbb::blocked_range<std::size_t>&) {
          work(static_cast<std::size_t>(tbb::this_task_arena::current_thread_index()));
        },
        tbb::simple_partitioner());
  });
#endif
}

}  // namespace redoubt
