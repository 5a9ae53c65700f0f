#include "redoubt/core/parallel.hpp"

#include <tbb/global_control.h>

#include <atomic>
#include <catch2/catch.hpp>
#include <chrono>
#include <ctime>
#include <fstream>
#include <set>
#include <stdexcept>
#include <thread>
#include <vector>

#include "core/cgroup.hpp"
#include "support/test_data.hpp"

using namespace redoubt;

namespace {
/// Lets arenas of four threads exist on smaller machines.
struct FourThreads {
  tbb::global_control control{tbb::global_control::max_allowed_parallelism, 4};
};

/// A sum that rounds differently if blocks differ.
std::vector<double> block_sums(Arena* arena) {
  std::vector<double> sums(1000 / 7 + 1);
  parallel_for(
      1000, 7,
      [&](std::size_t begin, std::size_t end) {
        double total = 0;
        for (std::size_t i = begin; i < end; ++i) total += 1.0 / double(i + 1);
        sums[begin / 7] = total;
      },
      arena);
  return sums;
}
}  // namespace

TEST_CASE("every index is visited once, in fixed blocks", "[parallel][threads]") {
  const FourThreads allow;
  for (const int threads : {1, 2, 4}) {
    Arena arena(threads);
    REQUIRE(arena.threads() == threads);
    for (const std::size_t count : {0, 1, 6, 7, 8, 1000}) {
      for (const std::size_t grain : {0, 1, 7, 5000}) {
        std::vector<std::atomic<int>> visits(count);
        std::atomic<bool> borders_hold = true;
        parallel_for(
            count, grain,
            [&](std::size_t begin, std::size_t end) {
              const std::size_t step = grain ? grain : 1;
              if (begin % step != 0 || end != std::min(count, begin + step)) borders_hold = false;
              for (std::size_t i = begin; i < end; ++i) ++visits[i];
            },
            &arena);
        CHECK(borders_hold);
        for (auto& visit : visits) REQUIRE(visit == 1);
      }
    }
  }
}

TEST_CASE("results are equal at any thread count", "[parallel][threads]") {
  const FourThreads allow;
  Arena one(1), two(2), four(4);
  const auto serial = block_sums(&one);
  CHECK(block_sums(&two) == serial);
  CHECK(block_sums(&four) == serial);
  CHECK(block_sums(nullptr) == serial);
}

TEST_CASE("more than one thread works, and never more than the arena's", "[parallel][threads]") {
  const FourThreads allow;
  for (const int threads : {1, 3}) {
    Arena arena(threads);
    std::atomic<int> now = 0, most = 0;
    parallel_for(
        24, 1,
        [&](std::size_t, std::size_t) {
          const int running = ++now;
          int seen = most;
          while (running > seen && !most.compare_exchange_weak(seen, running)) {
          }
          std::this_thread::sleep_for(std::chrono::milliseconds(5));
          --now;
        },
        &arena);
    CHECK(most <= threads);
    CHECK(most >= (threads > 1 ? 2 : 1));
  }
}

TEST_CASE("nested work stays inside the enclosing arena", "[parallel][threads]") {
  const FourThreads allow;
  Arena one(1);
  std::set<std::thread::id> ids;  // no lock: one thread only
  parallel_for(
      3, 1,
      [&](std::size_t, std::size_t) {
        parallel_for(100, 1, [&](std::size_t, std::size_t) { ids.insert(std::this_thread::get_id()); });
      },
      &one);
  CHECK(ids == std::set<std::thread::id>{std::this_thread::get_id()});
  // Nested in a wider arena: still every index once.
  Arena four(4);
  std::atomic<int> calls = 0;
  parallel_for(
      8, 1,
      [&](std::size_t, std::size_t) {
        parallel_for(50, 3, [&](std::size_t b, std::size_t e) { calls += int(e - b); });
      },
      &four);
  CHECK(calls == 400);
}

TEST_CASE("an exception of the body reaches the caller, and the arena works on", "[parallel][threads]") {
  const FourThreads allow;
  for (const int threads : {1, 4}) {
    Arena arena(threads);
    std::atomic<int> running = 0;
    const auto throwing = [&](std::size_t begin, std::size_t) {
      ++running;
      if (begin == 37) {
        --running;
        throw std::out_of_range("block 37");
      }
      --running;
    };
    CHECK_THROWS_WITH(parallel_for(100, 1, throwing, &arena), "block 37");
    CHECK(running == 0);
    CHECK(block_sums(&arena) == block_sums(nullptr));
  }
}

TEST_CASE("idle workers do not spin", "[parallel]") {
  block_sums(nullptr);
  std::this_thread::sleep_for(std::chrono::milliseconds(100));  // let them fall asleep
  timespec before{}, after{};
  clock_gettime(CLOCK_PROCESS_CPUTIME_ID, &before);
  std::this_thread::sleep_for(std::chrono::milliseconds(300));
  clock_gettime(CLOCK_PROCESS_CPUTIME_ID, &after);
  const double used = double(after.tv_sec - before.tv_sec) + 1e-9 * double(after.tv_nsec - before.tv_nsec);
  CHECK(used < 0.03);
}

TEST_CASE("the default arena has as many threads as the process has CPUs", "[parallel]") {
  CHECK(available_cpus() >= 1);
  CHECK(available_cpus() <= int(std::thread::hardware_concurrency()));
  CHECK(Arena::default_arena().threads() == available_cpus());
}

TEST_CASE("the control group's quota counts, whichever version and level sets it", "[parallel]") {
  const test::TempDir dir;
  const auto write = [&](const std::string& name, const std::string& text) {
    const auto path = std::filesystem::path(dir / name);
    std::filesystem::create_directories(path.parent_path());
    std::ofstream(path) << text;
  };
  const auto cpus = [&](const std::string& membership) { return detail::cgroup_cpus(dir.path(), membership); };
  CHECK(cpus("") == detail::unlimited_cpus);
  CHECK(cpus("0::/a/b\n") == detail::unlimited_cpus);
  write("cpu.max", "max 100000\n");
  CHECK(cpus("0::/\n") == detail::unlimited_cpus);
  write("a/cpu.max", "350000 100000\n");
  CHECK(cpus("0::/a/b\n") == 4);  // 3.5 rounded up, set by the parent
  write("a/b/cpu.max", "150000 100000\n");
  CHECK(cpus("0::/a/b\n") == 2);
  CHECK(cpus("0::/a\n") == 4);
  CHECK(cpus("0::/elsewhere\n") == detail::unlimited_cpus);
  write("a/b/cpu.max", "1000 100000\n");
  CHECK(cpus("0::/a/b\n") == 1);  // never 0
  write("cpu/x/cpu.cfs_quota_us", "300000\n");
  write("cpu/x/cpu.cfs_period_us", "100000\n");
  CHECK(cpus("4:cpu,cpuacct:/x\n1:name=systemd:/x\n") == 3);
  CHECK(cpus("4:cpuset:/x\n") == detail::unlimited_cpus);
  write("cpu/x/cpu.cfs_quota_us", "-1\n");
  CHECK(cpus("4:cpu,cpuacct:/x\n") == detail::unlimited_cpus);
  write("cpu.max", "garbage\n");
  CHECK(cpus("no colons\n0::\n:\n") == detail::unlimited_cpus);
  write("cpu.max", "1e300 1\n");
  CHECK(cpus("0::/\n") == detail::unlimited_cpus);
}
