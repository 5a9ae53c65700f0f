#include "redoubt/core/random.hpp"

#include <cmath>
#include <numbers>

namespace redoubt {

std::array<std::uint32_t, 4> philox4x32(std::array<std::uint32_t, 4> counter,
                                        std::array<std::uint32_t, 2> key) noexcept {
  for (int round = 0; round < 10; ++round) {
    const std::uint64_t product0 = 0xD2511F53ull * counter[0];
    const std::uint64_t product1 = 0xCD9E8D57ull * counter[2];
    counter = {static_cast<std::uint32_t>(product1 >> 32) ^ counter[1] ^ key[0], static_cast<std::uint32_t>(product1),
               static_cast<std::uint32_t>(product0 >> 32) ^ counter[3] ^ key[1], static_cast<std::uint32_t>(product0)};
    key[0] += 0x9E3779B9u;
    key[1] += 0xBB67AE85u;
  }
  return counter;
}

Random::result_type Random::operator()() noexcept {
  if (used_ == 4) {
    block_ = philox4x32({static_cast<std::uint32_t>(counter_), static_cast<std::uint32_t>(counter_ >> 32),
                         static_cast<std::uint32_t>(stream_), static_cast<std::uint32_t>(stream_ >> 32)},
                        {static_cast<std::uint32_t>(seed_), static_cast<std::uint32_t>(seed_ >> 32)});
    ++counter_;
    used_ = 0;
  }
  return block_[used_++];
}

std::uint64_t Random::next64() noexcept {
  const std::uint64_t high = (*this)();
  return high << 32 | (*this)();
}

double Random::uniform() noexcept { return static_cast<double>(next64() >> 11) * 0x1p-53; }

double Random::uniform(double low, double high) noexcept { return low + (high - low) * uniform(); }

double Random::normal() noexcept {
  const double radius = std::sqrt(-2.0 * std::log(1.0 - uniform()));
  return radius * std::cos(2.0 * std::numbers::pi * uniform());
}

std::uint64_t Random::below(std::uint64_t bound) noexcept {
  // Lemire's multiply-shift with rejection: unbiased, at most one division.
  unsigned __int128 product = static_cast<unsigned __int128>(next64()) * bound;
  if (static_cast<std::uint64_t>(product) < bound) {
    const std::uint64_t threshold = -bound % bound;
    while (static_cast<std::uint64_t>(product) < threshold) product = static_cast<unsigned __int128>(next64()) * bound;
  }
  return static_cast<std::uint64_t>(product >> 64);
}

namespace {
template <class T>
void fisher_yates(std::span<T> values, Random& random) noexcept {
  for (std::size_t i = values.size(); i > 1; --i) {
    const std::size_t j = random.below(i);
    const T swapped = values[i - 1];
    values[i - 1] = values[j];
    values[j] = swapped;
  }
}
}  // namespace

void Random::shuffle(std::span<std::uint32_t> values) noexcept { fisher_yates(values, *this); }
void Random::shuffle(std::span<std::uint64_t> values) noexcept { fisher_yates(values, *this); }

}  // namespace redoubt
