#include "trees/team.hpp"

#include <algorithm>
#include <chrono>
#include <utility>

#include "redoubt/core/cpu.hpp"
#include "trees/phase.hpp"

namespace redoubt::detail {
namespace {

constexpr std::size_t most_called = 8;               // members whose distance is measured
constexpr std::chrono::nanoseconds no_answer{4000};  // after so long
constexpr std::chrono::nanoseconds far_away{
    150};  // there and back: on Zen 4 40 to 120 within a cache, 170 to 360 between two

}  // namespace

void Team::gather(function_ref<void()> lead) {
  if (size_ == 1 || gathered_) return lead();
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
  std::size_t last = 0, answered = call_.load(std::memory_order_relaxed);
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
    if (const std::size_t call = call_.load(std::memory_order_acquire); call != answered) {
      answered = call;
      if (call % size_ == member) answer_.store(call, std::memory_order_release);
    }
    pause_between_looks(looks);
  }
}

void Team::measure_distance() {
  using Clock = std::chrono::steady_clock;
  if (!gathered_ || !cpu_features().amd) return;  // Intel's have one last cache, though it may answer as late
  bool any = false, far = false;
  for (std::size_t member = 1; member < std::min(size_, most_called); ++member) {
    auto shortest = no_answer;
    for (int round = 0; round < 5; ++round) {
      const std::size_t call = (call_.load(std::memory_order_relaxed) / size_ + 1) * size_ + member;
      const auto start = Clock::now();
      call_.store(call, std::memory_order_release);
      std::chrono::nanoseconds taken{};
      do taken = Clock::now() - start;
      while (answer_.load(std::memory_order_acquire) != call && taken < no_answer);
      if (taken >= no_answer) break;
      shortest = std::min(shortest, taken);
    }
    any = any || shortest < no_answer;
    far = far || (shortest < no_answer && shortest > far_away);
  }
  if (any) far_ = far;
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
  if (!gathered_) return redoubt::parallel_for(count, grain, body, arena_);
  const std::size_t blocks = (count + grain - 1) / grain;
  Phase phase(blocks, blocks > 1 ? size_ : 1);
  const auto work = [&](std::size_t member) {
    phase.work(member, [&](std::size_t block) { body(block * grain, std::min(count, (block + 1) * grain)); });
  };
  if (blocks > 1)
    each(work);
  else
    work(0);
}

}  // namespace redoubt::detail
