#include "redoubt/core/cpu.hpp"

#include <fmt/format.h>

#include <array>
#include <cstdlib>
#include <cstring>
#include <string_view>

#include "redoubt/core/error.hpp"
#include "redoubt/core/parallel.hpp"

#if defined(__x86_64__)
#include <cpuid.h>
#endif
#if defined(__linux__)
#include <sys/syscall.h>
#include <unistd.h>
#endif

namespace redoubt {
namespace {

constexpr std::array<const char*, 4> isa_names = {"baseline", "avx2", "avx512", "amx"};

#if defined(__x86_64__)

/// XCR0: which register states the operating system saves. Needs OSXSAVE.
std::uint64_t read_xcr0() noexcept {
  std::uint32_t low, high;
  __asm__ volatile("xgetbv" : "=a"(low), "=d"(high) : "c"(0));
  return std::uint64_t{high} << 32 | low;
}

/// Linux hands out the 8 KB of tile registers only on request, per process (arch_prctl(2)).
bool request_amx_permission() noexcept {
#if defined(__linux__) && defined(SYS_arch_prctl)
  constexpr long arch_req_xcomp_perm = 0x1023, xfeature_xtiledata = 18;
  return syscall(SYS_arch_prctl, arch_req_xcomp_perm, xfeature_xtiledata) == 0;
#else
  return false;
#endif
}

CpuFeatures read_features() noexcept {
  CpuFeatures f;
  unsigned a, b, c, d;
  if (!__get_cpuid(0, &a, &b, &c, &d)) return f;
  f.amd = b == signature_AMD_ebx && c == signature_AMD_ecx && d == signature_AMD_edx;
  if (!__get_cpuid(1, &a, &b, &c, &d)) return f;
  const unsigned leaf1_c = c;
  const bool osxsave = leaf1_c >> 27 & 1;
  const std::uint64_t xcr0 = osxsave ? read_xcr0() : 0;
  const bool ymm = (xcr0 & 0x6) == 0x6;            // xmm, ymm
  const bool zmm = ymm && (xcr0 & 0xe0) == 0xe0;   // opmask, upper halves, zmm16-31
  const bool tiles = (xcr0 & 0x60000) == 0x60000;  // tile configuration and data
  if (!__get_cpuid_count(7, 0, &a, &b, &c, &d)) return f;
  const unsigned subleaves = a;
  if (ymm) {
    f.fma = leaf1_c >> 12 & 1;
    f.f16c = leaf1_c >> 29 & 1;
    f.avx2 = b >> 5 & 1;
  }
  if (zmm) {
    f.avx512f = b >> 16 & 1;
    f.avx512dq = b >> 17 & 1;
    f.avx512bw = b >> 30 & 1;
    f.avx512vl = b >> 31 & 1;
    f.avx512vbmi = c >> 1 & 1;
    f.avx512vnni = c >> 11 & 1;
    f.avx512fp16 = d >> 23 & 1;
  }
  if (tiles && (d >> 24 & 1) && request_amx_permission()) {
    f.amx_tile = true;
    f.amx_bf16 = d >> 22 & 1;
    f.amx_int8 = d >> 25 & 1;
  }
  if (zmm && subleaves >= 1 && __get_cpuid_count(7, 1, &a, &b, &c, &d)) f.avx512bf16 = a >> 5 & 1;
  return f;
}

std::string brand() {
  unsigned words[12] = {};
  unsigned highest = __get_cpuid_max(0x80000000u, nullptr);
  if (highest < 0x80000004u) return "x86-64";
  for (unsigned i = 0; i < 3; ++i)
    __get_cpuid(0x80000002u + i, &words[4 * i], &words[4 * i + 1], &words[4 * i + 2], &words[4 * i + 3]);
  char text[sizeof words + 1] = {};
  std::memcpy(text, words, sizeof words);
  std::string_view trimmed(text);
  while (!trimmed.empty() && trimmed.front() == ' ') trimmed.remove_prefix(1);
  while (!trimmed.empty() && trimmed.back() == ' ') trimmed.remove_suffix(1);
  return trimmed.empty() ? "x86-64" : std::string(trimmed);
}

#else

CpuFeatures read_features() noexcept { return {}; }
std::string brand() { return "not x86-64"; }

#endif

Isa read_active_isa() {
  const char* forced = std::getenv("REDOUBT_ISA");
  if (!forced || !*forced) return detected_isa();
  for (std::size_t i = 0; i < isa_names.size(); ++i) {
    if (std::string_view(forced) != isa_names[i]) continue;
    const auto isa = static_cast<Isa>(i);
    if (isa > detected_isa())
      detail::fail(errc::unsupported, fmt::format("REDOUBT_ISA={} is not usable here: this machine has {} at most",
                                                  forced, to_string(detected_isa())));
    return isa;
  }
  detail::fail(errc::invalid_argument,
               fmt::format("REDOUBT_ISA={} is unknown; use one of baseline, avx2, avx512, amx", forced));
}

}  // namespace

const char* to_string(Isa isa) noexcept {
  const auto i = static_cast<std::size_t>(isa);
  return i < isa_names.size() ? isa_names[i] : "unknown";
}

const CpuFeatures& cpu_features() noexcept {
  static const CpuFeatures features = read_features();
  return features;
}

Isa detected_isa() noexcept {
  const CpuFeatures& f = cpu_features();
  if (!(f.avx2 && f.fma && f.f16c)) return Isa::baseline;
  if (!(f.avx512f && f.avx512bw && f.avx512dq && f.avx512vl && f.avx512vbmi)) return Isa::avx2;
  if (!(f.amx_tile && f.amx_bf16 && f.amx_int8)) return Isa::avx512;
  return Isa::amx;
}

Isa active_isa() {
  static const Isa isa = read_active_isa();  // a throwing initialiser is tried again by the next call
  return isa;
}

std::string cpu_description() {
  return fmt::format("{}, {}, {} usable CPUs", brand(), to_string(active_isa()), available_cpus());
}

}  // namespace redoubt
