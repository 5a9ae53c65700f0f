#include "trees/team.hpp"

#include <algorithm>
#include <utility>

#include "trees/phase.hpp"

namespace redoubt::detail {

void Team::gather(function_ref<void()> lead) {
  if (size_ == 1) return lead();
  over_ = false;
  gathered_ = true;
  std::atomic<std::size_t> arrived = 0;
  struct Dismiss {
    Team& team;
    ~Dismiss() {
      team.gathered_ = false;
      team.over_.store(true, std::memory_order_release);
    }
  };
  redoubt::parallel_for(
      size_, 1,
      [&](std::size_t, std::size_t) {
        // Who comes first leads, so that nobody ever stands by for a leader that has not started.
        if (const std::size_t member = arrived++; member > 0) return stand_by(member);
        const Dismiss at_the_end{*this};
        lead();
      },
      arena_);
}

void Team::stand_by(std::size_t member) {
  std::size_t last = 0;
  for (int looks = 0; !over_.load(std::memory_order_acquire); ++looks) {
    const std::size_t turn = turn_.load(std::memory_order_acquire);
    if (turn % 2 == 1 && turn != last) {
      // Counted first and then looked at again: the leader closes the step first and then counts.
      inside_.fetch_add(1);
      if (turn_.load() == turn) run(*step_, member);
      inside_.fetch_sub(1, std::memory_order_release);
      last = turn;
      looks = 0;
    }
    pause_between_looks(looks);
  }
}

void Team::run(function_ref<void(std::size_t)> step, std::size_t member) noexcept {
  try {
    step(member);
  } catch (...) {
    const std::lock_guard lock(error_guard_);
    if (!error_) error_ = std::current_exception();
  }
}

void Team::each(function_ref<void(std::size_t)> step) {
  if (!gathered_) return step(0);
  step_ = &step;
  turn_.fetch_add(1);
  run(step, 0);
  turn_.fetch_add(1);
  for (int looks = 0; inside_.load() > 0; ++looks) pause_between_looks(looks);
  if (error_) std::rethrow_exception(std::exchange(error_, nullptr));
}

void Team::parallel_for(std::size_t count, std::size_t grain, function_ref<void(std::size_t, std::size_t)> body) {
  const std::size_t blocks = (count + grain - 1) / grain;
  std::atomic<std::size_t> next = 0;
  const auto work = [&](std::size_t) {
    for (std::size_t block; (block = next.fetch_add(1, std::memory_order_relaxed)) < blocks;)
      body(block * grain, std::min(count, (block + 1) * grain));
  };
  if (blocks <= 1)
    work(0);
  else
    each(work);
}

}  // namespace redoubt::detail
