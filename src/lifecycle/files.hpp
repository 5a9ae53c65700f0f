#pragma once
// Files written whole or not at all.
#include <cstddef>
#include <span>
#include <string>
#include <vector>

namespace redoubt::detail {

/// Temporary file in the same directory, fsync, rename, fsync of the directory. Error(io_error) leaves what was there.
void write_atomically(const std::string& path, std::span<const std::byte> bytes);
/// Whole file. Error(not_found) or Error(io_error); Error(invalid_argument) if larger than `limit` bytes.
std::vector<std::byte> read_whole(const std::string& path, std::size_t limit);

}  // namespace redoubt::detail
