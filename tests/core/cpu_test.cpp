#include "redoubt/core/cpu.hpp"

#include <fmt/format.h>

#include <catch2/catch.hpp>
#include <cstdio>
#include <fstream>
#include <string>

#include "redoubt/core/error.hpp"
#include "support/child.hpp"

using namespace redoubt;

TEST_CASE("features agree with what the operating system lists", "[cpu]") {
  std::ifstream file("/proc/cpuinfo");
  std::string flags;
  for (std::string line; flags.empty() && std::getline(file, line);)
    if (line.rfind("flags", 0) == 0) flags = line + ' ';
  if (flags.empty()) {
    WARN("SKIPPED: /proc/cpuinfo lists no flags");
    return;
  }
  const auto listed = [&](const char* flag) { return flags.find(std::string(" ") + flag + ' ') != std::string::npos; };
  const CpuFeatures& f = cpu_features();
  CHECK(f.avx2 == listed("avx2"));
  CHECK(f.fma == listed("fma"));
  CHECK(f.f16c == listed("f16c"));
  CHECK(f.avx512f == listed("avx512f"));
  CHECK(f.avx512bw == listed("avx512bw"));
  CHECK(f.avx512dq == listed("avx512dq"));
  CHECK(f.avx512vl == listed("avx512vl"));
  CHECK(f.avx512vbmi == listed("avx512vbmi"));
  CHECK(f.avx512bf16 == listed("avx512_bf16"));
  CHECK(f.avx512fp16 == listed("avx512_fp16"));
  CHECK(f.avx512vnni == listed("avx512_vnni"));
  if (f.amx_tile) CHECK(listed("amx_tile"));  // the permission may be refused
  if (f.amx_bf16) CHECK(listed("amx_bf16"));
  if (f.amx_int8) CHECK(listed("amx_int8"));
}

TEST_CASE("prints the active level", "[.active-isa]") {
  try {
    std::printf("answer: %s\n", to_string(active_isa()));
  } catch (const Error& error) {
    std::printf("answer: %s: %s\n", to_string(error.code()), error.what());
  }
}

TEST_CASE("REDOUBT_ISA lowers the level, and only names that are known and usable work", "[cpu]") {
  const auto active = [](const std::string& forced) {
    return test::child_answer(fmt::format("REDOUBT_ISA={}", forced), "[.active-isa]");
  };
  for (int i = 0; i <= int(Isa::amx); ++i) {
    const std::string name = to_string(Isa(i));
    if (Isa(i) <= detected_isa())
      CHECK(active(name) == name);
    else
      CHECK_THAT(active(name), Catch::StartsWith("unsupported: ") && Catch::Contains(name) &&
                                   Catch::Contains(to_string(detected_isa())));
  }
  CHECK_THAT(active("avx1024"), Catch::StartsWith("invalid_argument: ") && Catch::Contains("avx1024") &&
                                    Catch::Contains("baseline, avx2, avx512, amx"));
  CHECK(active("") == to_string(detected_isa()));
}

TEST_CASE("the description names the level and the CPUs", "[cpu]") {
  CHECK_THAT(cpu_description(), Catch::Contains(to_string(active_isa())) && Catch::Contains("usable CPUs"));
}
