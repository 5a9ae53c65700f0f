#pragma once
#include <cstddef>
#include <span>
#include <string>

namespace redoubt::detail {

/// Replaces `path` by a file of these bytes: temporary file beside it, fsync, rename, fsync of the directory.
/// On failure Error(io_error) with the reason of the operating system; the old file stays, the temporary one goes.
void write_file_atomically(const std::string& path, std::span<const std::byte> bytes);

}  // namespace redoubt::detail
