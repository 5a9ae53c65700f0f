#pragma once
#include <cstddef>
#include <span>
#include <string_view>
#include <vector>

namespace redoubt::detail {

/// Unpacks a raw deflate stream that must give exactly `size` bytes. Error(corrupt) names origin and `offset` (of the
/// stream in its file), also if `size` is more than deflate can pack into so few bytes, before anything is allocated.
std::vector<std::byte> inflate_raw(std::span<const std::byte> packed, std::size_t size, std::string_view origin,
                                   std::size_t offset);

/// Unpacks a gzip file (all its members), Error(unsupported) beyond `limit` bytes.
std::vector<std::byte> gunzip(std::span<const std::byte> packed, std::size_t limit, std::string_view origin);

}  // namespace redoubt::detail
