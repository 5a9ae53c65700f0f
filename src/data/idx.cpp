#include "redoubt/data/idx.hpp"

#include <fmt/format.h>

#include <algorithm>
#include <array>
#include <bit>
#include <cstring>
#include <utility>
#include <vector>

#include "data/assemble.hpp"
#include "data/dictionary.hpp"
#include "data/inflate.hpp"
#include "data/input_file.hpp"
#include "redoubt/core/error.hpp"

namespace redoubt {
namespace {

constexpr std::size_t max_unpacked = std::size_t{1} << 32;
constexpr std::size_t max_dataset_columns = std::size_t{1} << 17;

struct IdxHeader {
  int type = 0;
  std::size_t item = 0, data = 0, count = 0;
  std::vector<std::size_t> shape;
};

std::vector<std::byte> unpacked(std::span<const std::byte> bytes, std::string_view origin) {
  const bool gzip = bytes.size() >= 2 && bytes[0] == std::byte{0x1f} && bytes[1] == std::byte{0x8b};
  if (gzip) return detail::gunzip(bytes, max_unpacked, origin);
  return {bytes.begin(), bytes.end()};
}

IdxHeader read_header(std::span<const std::byte> bytes, std::string_view origin) {
  const auto corrupt = [&](std::size_t offset, std::string_view what) {
    detail::fail(errc::corrupt, fmt::format("{}: byte {}: {}", origin, offset, what));
  };
  if (bytes.size() < 4 || bytes[0] != std::byte{0} || bytes[1] != std::byte{0}) corrupt(0, "not an IDX file");
  IdxHeader header;
  header.type = std::to_integer<int>(bytes[2]);
  switch (header.type) {
    case 0x08:
    case 0x09: header.item = 1; break;
    case 0x0b: header.item = 2; break;
    case 0x0c:
    case 0x0d: header.item = 4; break;
    case 0x0e: header.item = 8; break;
    default: corrupt(2, fmt::format("unknown element type {:#04x}", header.type));
  }
  const auto rank = std::to_integer<std::size_t>(bytes[3]);
  if (rank == 0 || rank > max_rank) corrupt(3, fmt::format("{} dimensions; 1 to {} can be read", rank, max_rank));
  header.data = 4 + 4 * rank;
  if (bytes.size() < header.data) corrupt(bytes.size(), "the file ends inside its header");
  for (std::size_t d = 0; d < rank; ++d) {
    std::size_t extent = 0;
    for (std::size_t i = 0; i < 4; ++i) extent = extent << 8 | std::to_integer<std::size_t>(bytes[4 + 4 * d + i]);
    header.shape.push_back(extent);
  }
  header.count = detail::element_count(header.shape, header.item, bytes.size(), header.data, origin);
  return header;
}

template <class Stored>
void fill(const std::byte* data, std::span<double> out) {
  for (std::size_t i = 0; i < out.size(); ++i) {
    std::array<std::byte, sizeof(Stored)> raw{};
    std::reverse_copy(data + i * sizeof(Stored), data + (i + 1) * sizeof(Stored), raw.begin());  // big-endian
    out[i] = static_cast<double>(std::bit_cast<Stored>(raw));
  }
}

Tensor<double> to_tensor(const IdxHeader& header, std::span<const std::byte> bytes) {
  static_assert(std::endian::native == std::endian::little);
  Tensor<double> out{std::span<const std::size_t>(header.shape)};
  const std::byte* const data = bytes.data() + header.data;
  switch (header.type) {
    case 0x08: fill<std::uint8_t>(data, out.flat()); break;
    case 0x09: fill<std::int8_t>(data, out.flat()); break;
    case 0x0b: fill<std::int16_t>(data, out.flat()); break;
    case 0x0c: fill<std::int32_t>(data, out.flat()); break;
    case 0x0d: fill<float>(data, out.flat()); break;
    default: fill<double>(data, out.flat()); break;
  }
  return out;
}

}  // namespace

Tensor<double> read_idx_bytes(std::span<const std::byte> bytes, std::string_view origin) {
  const std::vector<std::byte> plain = unpacked(bytes, origin);
  return to_tensor(read_header(plain, origin), plain);
}

Tensor<double> read_idx(const std::string& path) { return read_idx_bytes(detail::read_whole_file(path), path); }

Dataset read_idx(const std::string& images, const std::string& labels) {
  const std::vector<std::byte> pixels = unpacked(detail::read_whole_file(images), images);
  const IdxHeader header = read_header(pixels, images);
  const Tensor<double> classes = read_idx(labels);
  const std::size_t rows = header.shape[0], cols = rows == 0 ? 0 : header.count / rows;
  if (classes.rank() != 1 || classes.size() != rows) {
    detail::fail(errc::shape_mismatch,
                 fmt::format("{} has shape ({}), {} has shape ({}); one label per image is needed", images,
                             fmt::join(header.shape, ", "), labels, fmt::join(classes.shape(), ", ")));
  }
  if (cols > max_dataset_columns) {
    detail::fail(errc::unsupported,
                 fmt::format("{}: {} values per image; at most {} can be read", images, cols, max_dataset_columns));
  }
  std::vector<Column> columns;
  if (header.type == 0x08) {  // without an eight times larger copy in between
    const auto* data = reinterpret_cast<const std::uint8_t*>(pixels.data() + header.data);
    columns = detail::matrix_columns<std::uint8_t>({data, rows, cols}, "p");
  } else {
    const Tensor<double> values = to_tensor(header, pixels);
    columns = detail::matrix_columns<double>({values.data(), rows, cols}, "p");
  }
  const std::vector<double> values(classes.flat().begin(), classes.flat().end());
  columns.push_back(
      detail::target_column({"target", ColumnType::categorical, ColumnRole::target, {}}, values, Task::classification));
  return Dataset(std::move(columns));
}

}  // namespace redoubt
