#include "redoubt/core/parallel.hpp"

#include <sched.h>
#include <tbb/blocked_range.h>
#include <tbb/global_control.h>
#include <tbb/parallel_for.h>
#include <tbb/task_arena.h>

#include <algorithm>
#include <cmath>
#include <fstream>
#include <string>

namespace redoubt {
namespace {

/// CPUs granted by the cgroup's quota, or a large number without one.
int cgroup_cpus() {
  // cgroup v2: "max 100000" or "150000 100000"; v1 keeps the two numbers in two files.
  if (std::ifstream v2("/sys/fs/cgroup/cpu.max"); v2) {
    std::string quota;
    double period = 0;
    if (v2 >> quota >> period && quota != "max" && period > 0)
      return std::max(1, static_cast<int>(std::ceil(std::stod(quota) / period)));
    return 1 << 16;
  }
  std::ifstream quota_file("/sys/fs/cgroup/cpu/cpu.cfs_quota_us"), period_file("/sys/fs/cgroup/cpu/cpu.cfs_period_us");
  double quota = 0, period = 0;
  if (quota_file >> quota && period_file >> period && quota > 0 && period > 0)
    return std::max(1, static_cast<int>(std::ceil(quota / period)));
  return 1 << 16;
}

}  // namespace

int available_cpus() {
  cpu_set_t set;
  CPU_ZERO(&set);
  const int affinity = sched_getaffinity(0, sizeof set, &set) == 0 ? CPU_COUNT(&set) : 1;
  static const int quota = cgroup_cpus();
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
  auto run_block = [&](std::size_t block) { body(block * grain, std::min(count, (block + 1) * grain)); };
  Arena& target = arena ? *arena : Arena::default_arena();
  if (blocks == 1 || target.threads_ == 1) {
    for (std::size_t block = 0; block < blocks; ++block) run_block(block);
    return;
  }
  target.impl_->arena.execute([&] {
    tbb::parallel_for(tbb::blocked_range<std::size_t>(0, blocks, 1), [&](const tbb::blocked_range<std::size_t>& range) {
      for (std::size_t block = range.begin(); block != range.end(); ++block) run_block(block);
    });
  });
}

}  // namespace redoubt
