#include "trees/team.hpp"

#include <atomic>
#include <catch2/catch.hpp>
#include <stdexcept>
#include <vector>

#include "trees/phase.hpp"

using namespace redoubt;
using detail::Team;

TEST_CASE("a team does every block once, and the leader sees what was written", "[team][threads]") {
  for (const int threads : {1, 2, 4}) {
    Arena arena(threads);
    Team team(&arena);
    CHECK(team.size() == static_cast<std::size_t>(arena.threads()));
    int led = 0;
    for (int tree = 0; tree < 20; ++tree)
      team.gather([&] {
        ++led;
        team.measure_distance();
        for (std::size_t step = 0; step < 50; ++step) {
          const std::size_t count = step * 7 % 101;
          std::vector<int> done(count);
          team.parallel_for(count, 3, [&](std::size_t begin, std::size_t end) {
            for (std::size_t i = begin; i < end; ++i) ++done[i];
          });
          REQUIRE(done == std::vector<int>(count, 1));
          std::vector<int> members(team.size());
          team.each([&](std::size_t member) { ++members[member]; });
          REQUIRE(members[0] == 1);
          for (const int m : members) REQUIRE(m <= 1);
        }
      });
    CHECK(led == 20);
  }
}

TEST_CASE("errors of a team's leader and members reach the caller", "[team][threads]") {
  Arena arena(2);
  Team team(&arena);
  CHECK_THROWS_AS(team.gather([] { throw std::runtime_error("lead"); }), std::runtime_error);
  bool caught = false;
  std::atomic<bool> went_on = false;
  team.gather([&] {
    try {
      team.each([](std::size_t) { throw std::logic_error("step"); });
    } catch (const std::logic_error&) {
      caught = true;
    }
    team.each([&](std::size_t member) {
      if (member == 0) went_on = true;
    });
  });
  CHECK(caught);
  CHECK(went_on);
}

TEST_CASE("teams work side by side inside other parallel work, and alone outside", "[team][threads]") {
  Arena arena(2);
  std::vector<std::size_t> sums(6);
  parallel_for(
      sums.size(), 1,
      [&](std::size_t begin, std::size_t) {
        Team team(&arena);
        team.gather([&] {
          std::vector<std::size_t> squares(1000);
          team.parallel_for(squares.size(), 10, [&](std::size_t from, std::size_t to) {
            for (std::size_t i = from; i < to; ++i) squares[i] = i * i;
          });
          for (const auto s : squares) sums[begin] += s;
        });
      },
      &arena);
  CHECK(sums == std::vector<std::size_t>(6, 332833500));
  Team alone(&arena);
  std::vector<int> outside(1000);
  alone.parallel_for(outside.size(), 10, [&](std::size_t from, std::size_t to) {
    for (std::size_t i = from; i < to; ++i) ++outside[i];
  });
  CHECK(outside == std::vector<int>(1000, 1));
  std::atomic<std::size_t> calls = 0;
  alone.each([&](std::size_t member) { calls += member == 0; });
  CHECK(calls == 1);
  alone.measure_distance();
  CHECK_FALSE(alone.far());
}

TEST_CASE("a gathered team that is gathered again has the members it had", "[team][threads]") {
  Arena arena(2);
  Team team(&arena);
  int led = 0;
  std::vector<int> done(500);
  team.gather([&] {
    team.gather([&] {
      ++led;
      team.parallel_for(done.size(), 7, [&](std::size_t from, std::size_t to) {
        for (std::size_t i = from; i < to; ++i) ++done[i];
      });
    });
    // The inner one has not sent them away.
    team.parallel_for(done.size(), 7, [&](std::size_t from, std::size_t to) {
      for (std::size_t i = from; i < to; ++i) ++done[i];
    });
  });
  CHECK(led == 1);
  CHECK(done == std::vector<int>(500, 2));
}

TEST_CASE("even blocks are no larger than asked for, cover all, and are as many for each thread", "[team]") {
  for (const std::size_t unit : {std::size_t{1}, std::size_t{64}})
    for (const std::size_t most : {64 * unit, 1000 * unit})
      for (std::size_t parts = 1; parts <= 5; ++parts)
        for (std::size_t count = 1; count < 70 * most; count = count * 3 / 2 + 1) {
          const std::size_t block = detail::even_block(count, most, parts, unit);
          const std::size_t blocks = (count + block - 1) / block;
          INFO(count << " things, at most " << most << ", " << parts << " parts, unit " << unit << ": " << block);
          REQUIRE(block > 0);
          REQUIRE(block <= most);
          REQUIRE(block % unit == 0);
          // Rounding up to the unit can only leave the last ones out.
          const std::size_t wanted = ((count + most - 1) / most + parts - 1) / parts * parts;
          REQUIRE(blocks <= wanted);
          if (count >= wanted * wanted * (unit + 1)) REQUIRE(blocks == wanted);
        }
}
