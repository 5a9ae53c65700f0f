#pragma once
// The instructions of AMX by name: GCC 12 takes only 8 of the 64 bytes that _tile_loadconfig reads for its input, and
// _tile_loadd for one that reads no memory. For translation units below amx/ only; see amx_body.hpp for the rules.
#include <immintrin.h>

#include "kernels/amx_body.hpp"

namespace redoubt::kernels::detail {
namespace {

struct Tiles {
  static void configure(const TileConfig& config) { asm volatile("ldtilecfg %0" : : "m"(config) : "memory"); }
  static void release() { asm volatile("tilerelease" : : : "memory"); }
  template <int T>
  static void zero() {
    asm volatile("tilezero %%tmm%c0" : : "i"(T));
  }
  template <int T>
  static void load(const void* from, size_t stride) {
    asm volatile("tileloadd (%0,%1,1), %%tmm%c2" : : "r"(from), "r"(stride), "i"(T) : "memory");
  }
  /// Without keeping it in the nearest cache.
  template <int T>
  static void load_once(const void* from, size_t stride) {
    asm volatile("tileloaddt1 (%0,%1,1), %%tmm%c2" : : "r"(from), "r"(stride), "i"(T) : "memory");
  }
  template <int T>
  static void store(void* to, size_t stride) {
    asm volatile("tilestored %%tmm%c2, (%0,%1,1)" : : "r"(to), "r"(stride), "i"(T) : "memory");
  }
  static void put(__m512 value, __mmask16 m, bool relu, float* c) {
    if (relu) value = _mm512_max_ps(_mm512_setzero_ps(), value);  // in this order NaN stays
    _mm512_mask_storeu_ps(c, m, value);
  }
  static void own(const void* line) { asm volatile("prefetchw (%0)" : : "r"(line)); }
  static __mmask16 first(size_t n) { return n >= 16 ? __mmask16(0xffff) : __mmask16((1u << n) - 1); }
};

struct Bf16Tiles : Tiles {
  template <int C, int A, int B>
  static void dp() {
    asm volatile("tdpbf16ps %%tmm%c2, %%tmm%c1, %%tmm%c0" : : "i"(C), "i"(A), "i"(B));
  }
};

}  // namespace
}  // namespace redoubt::kernels::detail
