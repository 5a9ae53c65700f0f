#pragma once
// The fp32 peak of one core, measured by fused multiply-adds in registers and nothing else.
#include <algorithm>
#include <chrono>

#include "redoubt/core/cpu.hpp"

namespace redoubt::bench {

#if defined(__x86_64__)
constexpr int peak_rounds = 100000;

// 12 independent chains hide the latency of 4 on 2 ports.
__attribute__((target("avx512f"))) inline void fma_avx512() {
  __asm__ volatile("vzeroall" ::: "memory");  // left-over subnormals would make the peak a hundred times too low
  for (int i = 0; i < peak_rounds; ++i) {
    __asm__ volatile(
        "vfmadd231ps %%zmm12, %%zmm12, %%zmm0\n vfmadd231ps %%zmm12, %%zmm12, %%zmm1\n"
        "vfmadd231ps %%zmm12, %%zmm12, %%zmm2\n vfmadd231ps %%zmm12, %%zmm12, %%zmm3\n"
        "vfmadd231ps %%zmm12, %%zmm12, %%zmm4\n vfmadd231ps %%zmm12, %%zmm12, %%zmm5\n"
        "vfmadd231ps %%zmm12, %%zmm12, %%zmm6\n vfmadd231ps %%zmm12, %%zmm12, %%zmm7\n"
        "vfmadd231ps %%zmm12, %%zmm12, %%zmm8\n vfmadd231ps %%zmm12, %%zmm12, %%zmm9\n"
        "vfmadd231ps %%zmm12, %%zmm12, %%zmm10\n vfmadd231ps %%zmm12, %%zmm12, %%zmm11\n" ::
            : "xmm0", "xmm1", "xmm2", "xmm3", "xmm4", "xmm5", "xmm6", "xmm7", "xmm8", "xmm9", "xmm10", "xmm11");
  }
}

__attribute__((target("avx2,fma"))) inline void fma_avx2() {
  __asm__ volatile("vzeroall" ::: "memory");
  for (int i = 0; i < peak_rounds; ++i) {
    __asm__ volatile(
        "vfmadd231ps %%ymm12, %%ymm12, %%ymm0\n vfmadd231ps %%ymm12, %%ymm12, %%ymm1\n"
        "vfmadd231ps %%ymm12, %%ymm12, %%ymm2\n vfmadd231ps %%ymm12, %%ymm12, %%ymm3\n"
        "vfmadd231ps %%ymm12, %%ymm12, %%ymm4\n vfmadd231ps %%ymm12, %%ymm12, %%ymm5\n"
        "vfmadd231ps %%ymm12, %%ymm12, %%ymm6\n vfmadd231ps %%ymm12, %%ymm12, %%ymm7\n"
        "vfmadd231ps %%ymm12, %%ymm12, %%ymm8\n vfmadd231ps %%ymm12, %%ymm12, %%ymm9\n"
        "vfmadd231ps %%ymm12, %%ymm12, %%ymm10\n vfmadd231ps %%ymm12, %%ymm12, %%ymm11\n" ::
            : "xmm0", "xmm1", "xmm2", "xmm3", "xmm4", "xmm5", "xmm6", "xmm7", "xmm8", "xmm9", "xmm10", "xmm11");
  }
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

}  // namespace redoubt::bench
