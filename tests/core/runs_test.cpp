#include "core/runs.hpp"

#include <atomic>
#include <catch2/catch.hpp>
#include <thread>
#include <vector>

using redoubt::detail::Runs;

TEST_CASE("a thread takes its own run in order, then what others have left", "[parallel]") {
  Runs runs(7, 3);  // 0 1 2 | 3 4 | 5 6
  std::vector<std::size_t> taken;
  std::size_t block = 0;
  REQUIRE(runs.take(2, block));
  CHECK(block == 5);
  while (runs.take(1, block)) taken.push_back(block);
  CHECK(taken == std::vector<std::size_t>{3, 4, 6, 0, 1, 2});
  CHECK_FALSE(runs.take(0, block));
}

TEST_CASE("every block is taken once, whatever the number of threads", "[parallel][threads]") {
  for (const std::size_t count : {0, 1, 2, 63, 1000})
    for (const std::size_t parts : {0, 1, 3, 200}) {  // more parts than runs share them
      Runs runs(count, parts);
      std::vector<std::atomic<int>> times(count);
      const auto work = [&](std::size_t part) {
        for (std::size_t block; runs.take(part, block);) ++times[block];
      };
      std::thread other(work, parts / 2);
      work(parts);
      other.join();
      for (const auto& t : times) REQUIRE(t == 1);
    }
}

TEST_CASE("stopped runs have nothing to take", "[parallel]") {
  Runs runs(10, 2);
  std::size_t block = 0;
  REQUIRE(runs.take(0, block));
  runs.stop();
  CHECK_FALSE(runs.take(0, block));
  CHECK_FALSE(runs.take(1, block));
}
