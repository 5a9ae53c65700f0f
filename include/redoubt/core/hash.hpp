#pragma once
#include <array>
#include <cstddef>
#include <cstdint>
#include <span>
#include <string>
#include <string_view>

namespace redoubt {

/// 64-bit non-cryptographic hash (XXH3), equal on every machine. For tables and duplicates, not for trust.
std::uint64_t hash64(std::span<const std::byte> bytes, std::uint64_t seed = 0) noexcept;
std::uint64_t hash64(std::string_view text, std::uint64_t seed = 0) noexcept;

/// Incremental SHA-256 (FIPS 180-4, by OpenSSL). One object per thread; throws Error(internal) if OpenSSL fails.
class Sha256 {
 public:
  Sha256();
  ~Sha256();
  Sha256(const Sha256&) = delete;
  Sha256& operator=(const Sha256&) = delete;
  void update(std::span<const std::byte> bytes);
  void update(std::string_view text);
  std::array<std::byte, 32> finish();  ///< the object may not be used afterwards

 private:
  void* context_;
};

/// SHA-256 of `bytes` as 64 lower-case hexadecimal digits.
std::string sha256_hex(std::span<const std::byte> bytes);
std::string sha256_hex(std::string_view text);
std::string to_hex(std::span<const std::byte> bytes);

}  // namespace redoubt
