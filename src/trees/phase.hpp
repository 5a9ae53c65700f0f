#pragma once
// Steps of parallel work on the same threads, one after the other, without a new start of threads for each.
#include <atomic>
#include <cstddef>
#include <thread>

namespace redoubt::detail {

/// Blocks 0 .. count-1 of one step. All threads call `work`; each block is done once, by whoever is free. `wait`
/// returns when all blocks are done, whoever did them; it never waits for a thread that has not started.
class Phase {
 public:
  explicit Phase(std::size_t count) noexcept : count_(count) {}

  /// f must not throw: others would wait for its block.
  template <class F>
  void work(const F& f) noexcept {
    for (std::size_t block; (block = next_.fetch_add(1, std::memory_order_relaxed)) < count_;) {
      f(block);
      done_.fetch_add(1, std::memory_order_release);
    }
  }
  /// What was written by all blocks can be read afterwards. Blocks are short: it looks again and again, and gives way
  /// to other threads after a while.
  void wait() const noexcept {
    for (int looks = 0; done_.load(std::memory_order_acquire) < count_; ++looks) {
      if (looks >= 200) std::this_thread::yield();
    }
  }

 private:
  const std::size_t count_;
  alignas(64) std::atomic<std::size_t> next_ = 0;
  alignas(64) std::atomic<std::size_t> done_ = 0;
};

}  // namespace redoubt::detail
