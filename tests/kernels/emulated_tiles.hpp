#pragma once
#include <bit>
#include <cmath>
#include <cstddef>
#include <cstdint>
#include <cstring>
#include <limits>
#include <stdexcept>

#include "kernels/amx_body.hpp"
#include "kernels/conv_body.hpp"
#include "kernels/near_body.hpp"
#include "kernels/tile_body.hpp"

// AMX without the hardware: the body of the kernels over the instructions as Intel's manual describes them (SDM volume
// 2, LDTILECFG, TILELOADD, TDPBF16PS, TDPBUSD, TILESTORED). What raises #GP or #UD there throws here.
namespace redoubt::test {

struct EmulatedState {
  bool configured = false;
  std::size_t rows[8] = {}, bytes[8] = {};
  alignas(64) std::uint8_t data[8][16][64] = {};
};

struct EmulatedTiles {
  static inline thread_local EmulatedState state;

  static void require(bool holds, const char* what) {
    if (!holds) throw std::logic_error(what);
  }
  static void usable(int tile) {
    require(state.configured, "tiles are not configured");
    require(tile >= 0 && tile < 8 && state.rows[tile] > 0 && state.bytes[tile] > 0, "this tile is not configured");
  }

  static void configure(const kernels::detail::TileConfig& config) {
    std::uint8_t raw[64];
    std::memcpy(raw, &config, 64);
    require(raw[0] == 1 && raw[1] == 0, "palette 1, start_row 0");
    for (int i = 2; i < 16; ++i) require(raw[i] == 0, "reserved");
    for (int i = 32; i < 48; ++i) require(raw[i] == 0, "reserved");
    for (int i = 56; i < 64; ++i) require(raw[i] == 0, "reserved");
    for (std::size_t tile = 0; tile < 8; ++tile) {
      std::uint16_t bytes;
      std::memcpy(&bytes, raw + 16 + 2 * tile, 2);
      const std::size_t rows = raw[48 + tile];
      require(rows <= 16 && bytes <= 64, "too large a tile");
      require((rows == 0) == (bytes == 0), "one of rows and colsb is 0");
      state.rows[tile] = rows, state.bytes[tile] = bytes;
    }
    std::memset(state.data, 0, sizeof state.data);
    state.configured = true;
  }
  static void release() { state.configured = false; }
  static void own(const void*) {}
  template <int T>
  static void zero() {
    usable(T);
    std::memset(state.data[T], 0, sizeof state.data[T]);
  }
  template <int T>
  static void load(const void* from, std::size_t stride) {
    zero<T>();
    for (std::size_t r = 0; r < state.rows[T]; ++r)
      std::memcpy(state.data[T][r], static_cast<const std::uint8_t*>(from) + r * stride, state.bytes[T]);
  }
  template <int T>
  static void load_once(const void* from, std::size_t stride) {
    load<T>(from, stride);
  }
  template <int T>
  static void store(void* to, std::size_t stride) {
    usable(T);
    for (std::size_t r = 0; r < state.rows[T]; ++r)
      std::memcpy(static_cast<std::uint8_t*>(to) + r * stride, state.data[T][r], state.bytes[T]);
  }
  static void check_product(int c, int a, int b) {
    usable(c), usable(a), usable(b);
    require(c != a && c != b && a != b, "the same tile twice");
    require(state.bytes[c] % 4 == 0 && state.bytes[a] % 4 == 0 && state.bytes[b] % 4 == 0, "colsb is no multiple of 4");
    require(state.rows[c] == state.rows[a] && state.bytes[a] / 4 == state.rows[b] && state.bytes[c] == state.bytes[b],
            "tiles do not fit each other");
  }
  template <class T>
  static T at(int tile, std::size_t row, std::size_t i) {
    T value;
    std::memcpy(&value, state.data[tile][row] + i * sizeof(T), sizeof(T));
    return value;
  }
};

/// Denormals are zeros on the way in and out; fused multiply-adds round to nearest even.
inline float flushed(float x) { return std::abs(x) < std::numeric_limits<float>::min() ? std::copysign(0.0f, x) : x; }
inline float widened(std::uint16_t bf16) { return flushed(std::bit_cast<float>(std::uint32_t{bf16} << 16)); }

struct EmulatedBf16Tiles : EmulatedTiles {
  template <int C, int A, int B>
  static void dp() {
    check_product(C, A, B);
    for (std::size_t m = 0; m < state.rows[C]; ++m) {
      for (std::size_t n = 0; n < state.bytes[C] / 4; ++n) {
        float even = 0, odd = 0;
        for (std::size_t k = 0; k < state.rows[B]; ++k) {
          const auto product = [&](std::size_t i, float sum) {
            const float x = widened(at<std::uint16_t>(A, m, 2 * k + i)),
                        y = widened(at<std::uint16_t>(B, k, 2 * n + i));
            // 16 bits: exact unless out of range, and then this is one rounding, too, and much faster.
            const float exact = x * y;
            return flushed(std::isnormal(exact) || x == 0 || y == 0 ? sum + exact : std::fma(x, y, sum));
          };
          even = product(0, even), odd = product(1, odd);
        }
        const float sum = flushed(flushed(at<float>(C, m, n)) + flushed(even + odd));
        std::memcpy(state.data[C][m] + 4 * n, &sum, 4);
      }
    }
  }
};

/// What tile_body.hpp wants beside it.
struct EmulatedRounded : EmulatedBf16Tiles {
  static void start(const float* bias, const float* c, std::size_t n, float* to) {
    for (std::size_t j = 0; j < 16; ++j) to[j] = (bias && j < n ? bias[j] : 0) + (c && j < n ? c[j] : 0);
  }
  static void finish(const float* sums, std::size_t n, bool relu, float* c) {
    for (std::size_t j = 0; j < n; ++j) c[j] = relu && sums[j] < 0 ? 0 : sums[j];
  }
};

/// What conv_body.hpp wants beside it.
struct EmulatedConv : EmulatedBf16Tiles {
  static void place(const float* sums, const float* bias, bool add, std::size_t n, bool relu, float* c) {
    for (std::size_t j = 0; j < n; ++j) {
      const float sum = sums[j] + (bias ? bias[j] : 0) + (add ? c[j] : 0);
      c[j] = relu && sum < 0 ? 0 : sum;
    }
  }
};

/// What near_body.hpp wants beside it.
struct EmulatedNear : EmulatedBf16Tiles {
  struct Near {
    const kernels::detail::NearBlocks& t;
    std::size_t col;
    Near(const kernels::detail::NearBlocks& blocks, std::size_t column) : t(blocks), col(column) {}
    unsigned bits(const float* sums, std::size_t row) const {
      unsigned found = 0;
      for (std::size_t j = 0; j < 16; ++j) {
        const bool far = sums[j] < t.own[row] && sums[j] + t.reach[col + j] < t.base[row];
        found |= unsigned{!far} << j;
      }
      return found;
    }
  };
};

}  // namespace redoubt::test
