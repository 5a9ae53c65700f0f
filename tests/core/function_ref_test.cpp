#include "redoubt/core/function_ref.hpp"

#include <catch2/catch.hpp>
#include <memory>

using redoubt::function_ref;

namespace {
int apply(function_ref<int(int)> f, int x) { return f(x); }
int twice(int x) { return 2 * x; }
}  // namespace

TEST_CASE("a function_ref calls what it refers to", "[function_ref]") {
  int calls = 0;
  CHECK(apply([&](int x) { return ++calls, x + 1; }, 41) == 42);
  CHECK(calls == 1);
  auto counter = [n = 0](int x) mutable { return n += x; };
  apply(counter, 3);
  CHECK(apply(counter, 4) == 7);  // refers, does not copy
  CHECK(apply(twice, 21) == 42);
}

TEST_CASE("a function_ref moves arguments through", "[function_ref]") {
  auto take = [](std::unique_ptr<int> p) { return *p; };
  const function_ref<int(std::unique_ptr<int>)> f = take;
  CHECK(f(std::make_unique<int>(5)) == 5);
}
