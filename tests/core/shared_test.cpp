#include "redoubt/core/shared.hpp"

#include <catch2/catch.hpp>
#include <thread>
#include <vector>

using namespace redoubt;

namespace {

int alive = 0;

struct Base {
  virtual ~Base() = default;
  virtual int answer() const { return 1; }
};

struct Derived final : Base {
  Derived() { ++alive; }
  ~Derived() override { --alive; }
  int answer() const override { return 42; }
};

}  // namespace

TEST_CASE("the value lives as long as its last owner", "[shared]") {
  Shared<const Derived> first = Shared<const Derived>::make();
  CHECK(alive == 1);
  {
    const Shared<const Base> base = first;
    CHECK(base->answer() == 42);
    CHECK(base.get() == first.get());
    first = nullptr;
    CHECK(alive == 1);
  }
  CHECK(alive == 0);
}

TEST_CASE("moved-from and empty owners own nothing", "[shared]") {
  Shared<Derived> first = Shared<Derived>::make(), empty;
  const Shared<Derived> second = std::move(first);
  CHECK_FALSE(first);  // NOLINT: what a move leaves is documented by this line
  CHECK(second);
  CHECK(empty.get() == nullptr);
  CHECK_FALSE(second == empty);
  Shared<Derived> third = second;
  third = *&third;
  CHECK(third == second);
  CHECK(alive == 1);
}

TEST_CASE("owners in many threads count right", "[shared][threads]") {
  alive = 0;
  {
    const Shared<const Derived> shared = Shared<const Derived>::make();
    std::vector<std::thread> threads;
    for (int t = 0; t < 4; ++t)
      threads.emplace_back([shared] {
        for (int i = 0; i < 10000; ++i) const Shared<const Base> copy = shared;
      });
    for (auto& thread : threads) thread.join();
    CHECK(alive == 1);
  }
  CHECK(alive == 0);
}
