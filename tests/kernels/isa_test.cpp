#include "redoubt/kernels/isa.hpp"

#include <fmt/format.h>

#include <bit>
#include <catch2/catch.hpp>
#include <cstdio>
#include <set>
#include <string>

#include "kernels/dispatch.hpp"
#include "kernels/random_data.hpp"
#include "redoubt/kernels/activation.hpp"
#include "redoubt/kernels/vector.hpp"
#include "support/child.hpp"

using namespace redoubt;
using kernels::detail::Table;
using redoubt::test::random_tensor;

namespace {

constexpr std::size_t length = 1003;

/// A dot product whose rounding differs between the levels, as each adds in another order.
std::uint32_t fingerprint(float (*dot)(const float*, const float*, std::size_t)) {
  const auto x = random_tensor(1, length, 11), y = random_tensor(1, length, 12);
  return std::bit_cast<std::uint32_t>(dot(x.data(), y.data(), length));
}

float naive_dot(const float* x, const float* y, std::size_t n) { return kernels::naive::dot({x, n}, {y, n}); }
float public_dot(const float* x, const float* y, std::size_t n) { return kernels::dot({x, n}, {y, n}); }

std::string answer(Isa isa, std::uint32_t dot) { return fmt::format("{} {}", to_string(isa), dot); }

}  // namespace

TEST_CASE("prints the selected level and its dot product", "[.selected-isa]") {
  std::printf("answer: %s\n", answer(kernels::selected_isa(), fingerprint(public_dot)).c_str());
}

TEST_CASE("the level that REDOUBT_ISA forces is the one that runs", "[isa]") {
  std::set<std::uint32_t> fingerprints;
  for (int i = 0; i <= int(std::min(detected_isa(), Isa::avx512)); ++i) {
    const Isa isa = Isa(i);
    INFO("REDOUBT_ISA=" << to_string(isa));
    const Table* table = kernels::detail::table_for(isa);
    const std::uint32_t expected = fingerprint(table ? table->dot : naive_dot);
    CHECK(fingerprints.insert(expected).second);  // so that equality proves which level computed it
    CHECK(test::child_answer(fmt::format("REDOUBT_ISA={}", to_string(isa)), "[.selected-isa]") ==
          answer(isa, expected));
  }
}

TEST_CASE("amx runs the AVX-512 kernels of fp32 and says so", "[isa]") {
  if (detected_isa() < Isa::amx) {
    WARN("SKIPPED: this machine has no AMX");
    return;
  }
  const Table* table = kernels::detail::table_for(Isa::avx512);
  CHECK(test::child_answer("REDOUBT_ISA=amx", "[.selected-isa]") == answer(Isa::avx512, fingerprint(table->dot)));
}

TEST_CASE("all levels agree within the errors that the headers state", "[isa]") {
  const auto x = random_tensor(1, length, 1, 6), y = random_tensor(1, length, 2, 6);
  Tensor<float> reference({length}), values({length});
  for (int i = 1; i <= int(std::min(detected_isa(), Isa::avx512)); ++i) {
    const Table* table = kernels::detail::table_for(Isa(i));
    if (!table) continue;
    INFO(to_string(Isa(i)));
    CHECK(table->isa == i);
    CHECK(table->dot(x.data(), y.data(), length) == Approx(naive_dot(x.data(), y.data(), length)).margin(0.05));
    CHECK(table->sum(x.data(), length) == Approx(kernels::naive::sum(x.flat())).epsilon(1e-12));
    CHECK(table->min(x.data(), length) == kernels::naive::min(x.flat()));
    CHECK(table->max(x.data(), length) == kernels::naive::max(x.flat()));
    const auto equal = [&](double tolerance) {
      for (std::size_t j = 0; j < length; ++j)
        REQUIRE(values.flat()[j] == Approx(reference.flat()[j]).epsilon(tolerance).margin(1e-38));
    };
    kernels::naive::exp(x.flat(), reference.flat());
    table->exp(x.data(), 0, values.data(), length);
    equal(4e-7);
    kernels::naive::tanh(x.flat(), reference.flat());
    table->tanh(x.data(), values.data(), length);
    equal(8e-7);
    kernels::naive::sigmoid(x.flat(), reference.flat());
    table->sigmoid(x.data(), values.data(), length);
    equal(8e-7);
  }
}

#if defined(__x86_64__) && !defined(__SANITIZE_ADDRESS__) && !defined(__SANITIZE_THREAD__)
TEST_CASE("objects compiled for a level hold no code that the linker could give to others", "[isa]") {
  // A weak (W, V, u) symbol in them would be one copy of an inline function, compiled with the level's flags, that
  // may be chosen for the whole program and then fail on a CPU without that level.
  for (const char* objects : {REDOUBT_AVX2_OBJECTS, REDOUBT_AVX512_OBJECTS, REDOUBT_AMX_OBJECTS}) {
    const std::string symbols = test::output_of(fmt::format("nm -C {} 2>&1", objects));
    INFO(symbols);
    REQUIRE(symbols.find("_table") != std::string::npos);
    for (const char* kind : {" W ", " V ", " w ", " v ", " u ", " T "}) CHECK(symbols.find(kind) == std::string::npos);
  }
}
#endif
