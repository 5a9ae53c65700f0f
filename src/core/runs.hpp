#pragma once
#include <algorithm>
#include <array>
#include <atomic>
#include <cstddef>

namespace redoubt::detail {

/// Blocks 0 .. count-1, in runs of neighbours, one for each of `parts` threads: a thread takes the blocks of its own
/// run, so that from loop to loop it finds the same rows in its cache, and then those that others have left. Each block
/// is taken once, by whoever comes; nobody waits. Allocates nothing.
class Runs {
 public:
  Runs(std::size_t count, std::size_t parts) noexcept : parts_(std::clamp<std::size_t>(parts, 1, most)) {
    for (std::size_t p = 0; p < parts_; ++p) {
      runs_[p].next.store(first(count, p), std::memory_order_relaxed);
      runs_[p].end = first(count, p + 1);
    }
  }

  std::size_t parts() const noexcept { return parts_; }
  /// The next block for the thread of `part`; false: none is left.
  bool take(std::size_t part, std::size_t& block) noexcept {
    for (std::size_t i = 0; i < parts_; ++i) {
      Run& run = runs_[(part + i) % parts_];
      // Looked at first: to write would take the line from the run's own thread.
      if (run.next.load(std::memory_order_relaxed) < run.end &&
          (block = run.next.fetch_add(1, std::memory_order_relaxed)) < run.end)
        return true;
    }
    return false;
  }
  /// Leaves nothing to take.
  void stop() noexcept {
    for (std::size_t p = 0; p < parts_; ++p) runs_[p].next.store(runs_[p].end, std::memory_order_relaxed);
  }

 private:
  static constexpr std::size_t most = 64;  // more threads share runs
  struct alignas(64) Run {
    std::atomic<std::size_t> next;
    std::size_t end;
  };
  /// Of part p; of a remainder the first parts get more.
  std::size_t first(std::size_t count, std::size_t p) const noexcept {
    return count / parts_ * p + std::min(p, count % parts_);
  }

  std::size_t parts_;
  std::array<Run, most> runs_;
};

}  // namespace redoubt::detail
