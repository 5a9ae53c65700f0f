#pragma once
// The peaks of one core, measured by multiply-adds in registers and nothing else: fp32, bf16 and int8.
#include <algorithm>
#include <chrono>

#include "redoubt/core/cpu.hpp"

namespace redoubt::bench {

#if defined(__x86_64__)
constexpr int peak_rounds = 100000;

// 12 independent chains hide the latency of 4 on 2 ports. Left-over subnormals would make the peak a hundred times too
// low, so registers are cleared first.
#define REDOUBT_PEAK(name, features, instruction, width)                                                              \
  __attribute__((target(features))) inline void name() {                                                              \
    __asm__ volatile("vzeroall" ::: "memory");                                                                        \
    for (int i = 0; i < peak_rounds; ++i) {                                                                           \
      __asm__ volatile(".irp i, 0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11\n " instruction " %%" width "12, %%" width       \
                       "12, %%" width "\\i\n .endr" ::                                                                \
                           : "xmm0", "xmm1", "xmm2", "xmm3", "xmm4", "xmm5", "xmm6", "xmm7", "xmm8", "xmm9", "xmm10", \
                             "xmm11");                                                                                \
    }                                                                                                                 \
  }
REDOUBT_PEAK(fma_avx512, "avx512f", "vfmadd231ps", "zmm")
REDOUBT_PEAK(fma_avx2, "avx2,fma", "vfmadd231ps", "ymm")
REDOUBT_PEAK(dot_bf16, "avx512f,avx512bf16", "vdpbf16ps", "zmm")
REDOUBT_PEAK(dot_int8, "avx512f,avx512vnni", "vpdpbusd", "zmm")
#undef REDOUBT_PEAK

/// Six chains of tile products: of bf16, or of int8.
__attribute__((target("amx-tile,amx-bf16,amx-int8"))) inline void dot_tiles(bool int8) {
  struct alignas(64) {
    unsigned char head[16] = {1};
    unsigned short bytes[16] = {64, 64, 64, 64, 64, 64, 64, 64};
    unsigned char rows[16] = {16, 16, 16, 16, 16, 16, 16, 16};
  } config;
  __asm__ volatile("ldtilecfg %0" ::"m"(config) : "memory");
  for (int i = 0; i < peak_rounds / 8; ++i) {
    if (int8)
      __asm__ volatile(
          "tdpbusd %tmm7, %tmm6, %tmm0\n tdpbusd %tmm7, %tmm6, %tmm1\n tdpbusd %tmm7, %tmm6, %tmm2\n"
          "tdpbusd %tmm7, %tmm6, %tmm3\n tdpbusd %tmm7, %tmm6, %tmm4\n tdpbusd %tmm7, %tmm6, %tmm5\n");
    else
      __asm__ volatile(
          "tdpbf16ps %tmm7, %tmm6, %tmm0\n tdpbf16ps %tmm7, %tmm6, %tmm1\n tdpbf16ps %tmm7, %tmm6, %tmm2\n"
          "tdpbf16ps %tmm7, %tmm6, %tmm3\n tdpbf16ps %tmm7, %tmm6, %tmm4\n tdpbf16ps %tmm7, %tmm6, %tmm5\n");
  }
  __asm__ volatile("tilerelease" ::: "memory");
}
#endif

/// GFLOP/s of the active level on this core, best of `repeats`; 0 where it cannot be measured.
inline double fma_peak(int repeats = 20) {
#if defined(__x86_64__)
  if (active_isa() < Isa::avx2) return 0;
  const bool wide = active_isa() >= Isa::avx512;
  double best = 0;
  for (int i = 0; i < repeats; ++i) {
    const auto begin = std::chrono::steady_clock::now();
    wide ? fma_avx512() : fma_avx2();
    const std::chrono::duration<double> seconds = std::chrono::steady_clock::now() - begin;
    best = std::max(best, peak_rounds * 12.0 * (wide ? 32 : 16) * 1e-9 / seconds.count());
  }
  return best;
#else
  return 0;
#endif
}

/// G operations a second of the instructions that narrow products use at the active level, best of `repeats`; 0 where
/// there are none.
inline double dot_peak([[maybe_unused]] bool int8, [[maybe_unused]] int repeats = 20) {
#if defined(__x86_64__)
  const CpuFeatures& cpu = cpu_features();
  if (active_isa() < Isa::avx512 || !cpu.avx512bf16 || !cpu.avx512vnni) return 0;
  const bool tiles = active_isa() == Isa::amx;
  const double operations =
      tiles ? peak_rounds / 8 * 6.0 * (int8 ? 32768 : 16384) : peak_rounds * 12.0 * (int8 ? 128 : 64);
  double best = 0;
  for (int i = 0; i < repeats; ++i) {
    const auto begin = std::chrono::steady_clock::now();
    tiles ? dot_tiles(int8) : int8 ? dot_int8() : dot_bf16();
    const std::chrono::duration<double> seconds = std::chrono::steady_clock::now() - begin;
    best = std::max(best, operations * 1e-9 / seconds.count());
  }
  return best;
#else
  return 0;
#endif
}

}  // namespace redoubt::bench
