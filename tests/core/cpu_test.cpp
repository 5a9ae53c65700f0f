#include "redoubt/core/cpu.hpp"

#include <sys/wait.h>
#include <unistd.h>

#include <catch2/catch.hpp>
#include <cstdlib>
#include <fstream>
#include <sstream>

#include "redoubt/core/error.hpp"

using namespace redoubt;

namespace {

/// Exit code of `body` in a child, which has not asked for the active level before.
template <class Body>
int in_child(const char* forced, Body body) {
  const pid_t child = fork();
  if (child == 0) {
    setenv("REDOUBT_ISA", forced, 1);
    _exit(body());
  }
  int status = 0;
  waitpid(child, &status, 0);
  return WIFEXITED(status) ? WEXITSTATUS(status) : -1;
}

}  // namespace

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

TEST_CASE("REDOUBT_ISA lowers the level, and only names that are known and usable work", "[cpu]") {
  for (int i = 0; i <= int(Isa::amx); ++i) {
    const Isa isa = Isa(i);
    const int result = in_child(to_string(isa), [&] {
      try {
        return active_isa() == isa ? 0 : 1;
      } catch (const Error& error) {
        return error.code() == errc::unsupported ? 2 : 3;
      }
    });
    CHECK(result == (isa <= detected_isa() ? 0 : 2));
  }
  CHECK(in_child("avx1024", [] {
          try {
            active_isa();
            return 1;
          } catch (const Error& error) {
            const std::string text = error.what();
            return error.code() == errc::invalid_argument && text.find("avx1024") != text.npos ? 0 : 2;
          }
        }) == 0);
  CHECK(in_child("", [] { return active_isa() == detected_isa() ? 0 : 1; }) == 0);
}

TEST_CASE("the description names the level and the CPUs", "[cpu]") {
  CHECK_THAT(cpu_description(), Catch::Contains(to_string(active_isa())) && Catch::Contains("usable CPUs"));
}
