#pragma once
#include <array>
#include <cstddef>
#include <cstdint>
#include <span>

namespace redoubt {

/// Philox4x32-10 (Salmon et al., "Parallel random numbers: as easy as 1, 2, 3", SC'11): a pure function of
/// key and counter, so value i is the same whoever computes it and in whatever order.
std::array<std::uint32_t, 4> philox4x32(std::array<std::uint32_t, 4> counter,
                                        std::array<std::uint32_t, 2> key) noexcept;

/// Counter-based generator: `Random(seed, stream)`. Streams of one seed are independent.
/// Satisfies std::uniform_random_bit_generator. Never allocates. One object per thread.
class Random {
 public:
  using result_type = std::uint32_t;
  explicit Random(std::uint64_t seed, std::uint64_t stream = 0) noexcept : seed_(seed), stream_(stream) {}

  static constexpr result_type min() { return 0; }
  static constexpr result_type max() { return 0xffffffffu; }
  result_type operator()() noexcept;
  std::uint64_t next64() noexcept;

  double uniform() noexcept;                               ///< [0, 1), 53 bits
  double uniform(double low, double high) noexcept;        ///< [low, high)
  double normal() noexcept;                                ///< mean 0, standard deviation 1 (Box-Muller)
  std::uint64_t below(std::uint64_t bound) noexcept;       ///< unbiased in [0, bound); bound > 0
  void shuffle(std::span<std::uint32_t> values) noexcept;  ///< Fisher-Yates
  void shuffle(std::span<std::uint64_t> values) noexcept;

 private:
  std::uint64_t seed_, stream_, counter_ = 0;
  std::array<std::uint32_t, 4> block_{};
  int used_ = 4;
};

}  // namespace redoubt
