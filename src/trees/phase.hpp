#pragma once
// Steps of parallel work on the same threads, one after the other, without a new start of threads for each.
#include <atomic>
#include <cstddef>
#include <thread>

#include "core/runs.hpp"

namespace redoubt::detail {

/// Between two looks at what another thread is about to write. Steps are short: it is looked at again and again, and
/// other threads are given way to only after about the time of several. Two threads on one CPU that give way to each
/// other at once look like one to the scheduler, which then leaves the other CPU idle.
inline void pause_between_looks(int looks) noexcept {
  if (looks >= 4000) return std::this_thread::yield();
#if defined(__x86_64__)
  __builtin_ia32_pause();
#endif
}

/// Size of the blocks of `count` things: at most `most`, a multiple of `unit`, as `most` is, and so that each of
/// `parts` gets as many of them, of about one size. Of a few blocks of the largest size one thread would get one more.
constexpr std::size_t even_block(std::size_t count, std::size_t most, std::size_t parts, std::size_t unit) noexcept {
  const std::size_t least = count > most ? (count + most - 1) / most : 1, blocks = (least + parts - 1) / parts * parts;
  return ((count + blocks - 1) / blocks + unit - 1) / unit * unit;
}

/// Blocks 0 .. count-1 of one step, in `parts` runs of neighbours. The thread of part p calls `work(p)`: it does its
/// own run and then helps with the others. `wait` returns when all are done, whoever did them; it never waits for a
/// thread that has not started.
class Phase {
 public:
  Phase(std::size_t count, std::size_t parts) : count_(count), runs_(count, parts) {}

  /// f must not throw: others would wait for its block.
  template <class F>
  void work(std::size_t part, const F& f) noexcept {
    for (std::size_t block; runs_.take(part, block);) {
      f(block);
      done_.fetch_add(1, std::memory_order_release);
    }
  }
  /// What was written by all blocks can be read afterwards.
  void wait() const noexcept {
    for (int looks = 0; done_.load(std::memory_order_acquire) < count_; ++looks) pause_between_looks(looks);
  }

 private:
  const std::size_t count_;
  Runs runs_;
  alignas(64) std::atomic<std::size_t> done_ = 0;
};

}  // namespace redoubt::detail
