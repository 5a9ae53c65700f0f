#pragma once
#include <atomic>
#include <cstddef>
#include <cstdint>
#include <span>
#include <vector>

#include "redoubt/core/parallel.hpp"

namespace redoubt::detail {

/// Room for one prediction, without allocation: a fixed number of slots made at construction, taken and given back
/// without locks. A thread that finds all of them taken sleeps until one is free.
class ScratchPool {
 public:
  explicit ScratchPool(std::size_t floats)
      : stride_((floats + 15) / 16 * 16),
        slots_(2 * static_cast<std::size_t>(available_cpus()) + 2),
        storage_(stride_ * slots_.size()) {}

  /// One slot, held for the lifetime of this object.
  class Lease {
   public:
    explicit Lease(ScratchPool& pool) noexcept : pool_(pool), slot_(pool.take()) {}
    ~Lease() { pool_.give_back(slot_); }
    Lease(const Lease&) = delete;
    Lease& operator=(const Lease&) = delete;
    std::span<float> floats() const noexcept { return {pool_.storage_.data() + slot_ * pool_.stride_, pool_.stride_}; }

   private:
    ScratchPool& pool_;
    std::size_t slot_;
  };

 private:
  struct alignas(64) Slot {
    std::atomic<bool> taken{false};
  };

  std::size_t take() noexcept {
    // Threads have stacks of their own: the address of a local spreads them over the slots.
    const char here = 0;
    const std::size_t first = (reinterpret_cast<std::uintptr_t>(&here) >> 16) % slots_.size();
    for (;;) {
      const std::uint32_t seen = released_.load(std::memory_order_acquire);
      for (std::size_t i = 0; i < slots_.size(); ++i) {
        const std::size_t slot = (first + i) % slots_.size();
        if (!slots_[slot].taken.load(std::memory_order_relaxed) &&
            !slots_[slot].taken.exchange(true, std::memory_order_acquire))
          return slot;
      }
      released_.wait(seen, std::memory_order_acquire);
    }
  }

  void give_back(std::size_t slot) noexcept {
    slots_[slot].taken.store(false, std::memory_order_release);
    released_.fetch_add(1, std::memory_order_release);
    released_.notify_one();
  }

  std::size_t stride_;
  std::vector<Slot> slots_;
  std::vector<float> storage_;
  std::atomic<std::uint32_t> released_{0};
};

}  // namespace redoubt::detail
