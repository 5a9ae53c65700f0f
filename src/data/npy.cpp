#include "redoubt/data/npy.hpp"

#include <fmt/format.h>
#include <zlib.h>

#include <algorithm>
#include <array>
#include <bit>
#include <charconv>
#include <cmath>
#include <concepts>
#include <cstring>
#include <filesystem>
#include <fstream>
#include <limits>
#include <memory>
#include <utility>

#include "data/assemble.hpp"
#include "data/atomic_file.hpp"
#include "data/dictionary.hpp"
#include "data/inflate.hpp"
#include "data/input_file.hpp"
#include "data/names.hpp"
#include "redoubt/core/error.hpp"
#include "redoubt/data/row_stream.hpp"

namespace redoubt {
namespace {

constexpr std::size_t max_dataset_columns = std::size_t{1} << 17;
constexpr std::size_t read_block = std::size_t{1} << 18;  // bytes; a header of version 1 is smaller

using Bytes = std::span<const std::byte>;

std::string_view as_text(Bytes bytes) { return {reinterpret_cast<const char*>(bytes.data()), bytes.size()}; }

template <class T>
T load_little(Bytes bytes, std::size_t offset) {
  static_assert(std::endian::native == std::endian::little);
  T value;
  std::memcpy(&value, bytes.data() + offset, sizeof value);
  return value;
}

// ---- NPY ----------------------------------------------------------------------------------------------------------

struct NpyHeader {
  char kind = 0;  // f, i, u or b
  std::size_t item = 0;
  bool swapped = false, fortran = false;
  std::vector<std::size_t> shape;
  std::size_t data = 0, count = 0;
};

// The header is a Python dictionary literal of three known keys; nothing else is understood.
class NpyHeaderParser {
 public:
  NpyHeaderParser(std::string_view text, std::size_t offset, std::string_view origin)
      : text_(text), offset_(offset), origin_(origin) {}

  void parse(NpyHeader& header) {
    expect('{');
    bool has_descr = false, has_order = false, has_shape = false;
    while (!take('}')) {
      const std::string key = quoted();
      expect(':');
      if (key == "descr" && !has_descr) {
        has_descr = true;
        skip_blanks();
        if (position_ < text_.size() && text_[position_] == '[') {
          detail::fail(errc::unsupported, fmt::format("{}: structured arrays cannot be read", origin_));
        }
        set_type(quoted(), header);
      } else if (key == "fortran_order" && !has_order) {
        has_order = true;
        header.fortran = boolean();
      } else if (key == "shape" && !has_shape) {
        has_shape = true;
        header.shape = tuple();
      } else {
        fail_here(fmt::format("an unknown or repeated key \"{}\"", key.substr(0, 40)));
      }
      if (!take(',')) {
        expect('}');
        break;
      }
    }
    skip_blanks();
    if (position_ != text_.size()) fail_here("text behind the header's closing }");
    if (!has_descr || !has_order || !has_shape) fail_here("descr, fortran_order or shape is absent");
  }

 private:
  [[noreturn]] void fail_here(const std::string& what) const {
    detail::fail(errc::corrupt, fmt::format("{}: byte {}: {} in the NPY header", origin_, offset_ + position_, what));
  }
  void skip_blanks() {
    while (position_ < text_.size() &&
           (text_[position_] == ' ' || text_[position_] == '\n' || text_[position_] == '\t')) {
      ++position_;
    }
  }
  bool take(char c) {
    skip_blanks();
    if (position_ == text_.size() || text_[position_] != c) return false;
    ++position_;
    return true;
  }
  void expect(char c) {
    if (!take(c)) fail_here(fmt::format("expected {}", c));
  }
  std::string quoted() {
    skip_blanks();
    if (position_ == text_.size() || (text_[position_] != '\'' && text_[position_] != '"'))
      fail_here("expected a quote");
    const std::size_t end = text_.find(text_[position_], position_ + 1);
    if (end == std::string_view::npos) fail_here("a quote that never closes");
    std::string value(text_.substr(position_ + 1, end - position_ - 1));
    position_ = end + 1;
    return value;
  }
  bool boolean() {
    skip_blanks();
    for (const auto& [word, value] : {std::pair<std::string_view, bool>{"True", true}, {"False", false}}) {
      if (text_.substr(position_).starts_with(word)) {
        position_ += word.size();
        return value;
      }
    }
    fail_here("expected True or False");
  }
  std::vector<std::size_t> tuple() {
    expect('(');
    std::vector<std::size_t> values;
    while (!take(')')) {
      skip_blanks();
      std::size_t value = 0;
      const auto [end, error] = std::from_chars(text_.data() + position_, text_.data() + text_.size(), value);
      if (error != std::errc{}) fail_here("expected a size below 2^64");
      position_ = static_cast<std::size_t>(end - text_.data());
      values.push_back(value);
      if (!take(',')) {
        expect(')');
        break;
      }
    }
    return values;
  }
  void set_type(const std::string& descr, NpyHeader& header) const {
    const auto unsupported = [&] {
      detail::fail(errc::unsupported,
                   fmt::format("{}: elements of type \"{}\" cannot be read; f4 f8 i1 i2 i4 i8 u1 u2 u4 "
                               "u8 b1 can",
                               origin_, descr.substr(0, 40)));
    };
    if (descr.size() != 3) unsupported();
    const char order = descr[0];
    header.kind = descr[1];
    header.item = static_cast<std::size_t>(descr[2] - '0');
    const bool known = (header.kind == 'f' && (header.item == 4 || header.item == 8)) ||
                       ((header.kind == 'i' || header.kind == 'u') &&
                        (header.item == 1 || header.item == 2 || header.item == 4 || header.item == 8)) ||
                       (header.kind == 'b' && header.item == 1);
    if (!known || (order != '<' && order != '>' && order != '|' && order != '=')) unsupported();
    if (order == '|' && header.item > 1) unsupported();
    header.swapped = order == '>';
  }

  std::string_view text_;
  std::size_t offset_;
  std::string_view origin_;
  std::size_t position_ = 0;
};

struct NpyExtent {
  std::size_t start = 0, length = 0;  // of the dictionary
};

constexpr std::size_t shortest_start = 12;                    // bytes that tell the extent
constexpr std::size_t longest_header = std::size_t{1} << 20;  // types and shapes that can be read need some hundred

/// `bytes`: the first `shortest_start` bytes at least, or the whole, of a file of `size`, which holds the extent.
NpyExtent header_extent(Bytes bytes, std::string_view origin, std::size_t size) {
  const auto corrupt = [&](std::size_t offset, std::string_view what) {
    detail::fail(errc::corrupt, fmt::format("{}: byte {}: {}", origin, offset, what));
  };
  if (bytes.size() < 10 || as_text(bytes.first(6)) != std::string_view("\x93NUMPY", 6)) corrupt(0, "not an NPY file");
  const int major = std::to_integer<int>(bytes[6]);
  if (major < 1 || major > 3) {
    detail::fail(errc::unsupported, fmt::format("{}: NPY version {} is not known; 1, 2 and 3 are", origin, major));
  }
  if (major > 1 && bytes.size() < 12) corrupt(bytes.size(), "the file ends inside the NPY header");
  const std::size_t start = major == 1 ? 10 : 12;
  const std::size_t length = major == 1 ? load_little<std::uint16_t>(bytes, 8) : load_little<std::uint32_t>(bytes, 8);
  if (length > size - start) corrupt(size, "the file ends inside the NPY header");
  if (length > longest_header) {
    detail::fail(errc::unsupported, fmt::format("{}: byte 8: the NPY header is {} bytes long; at most {} can be read",
                                                origin, length, longest_header));
  }
  return {start, length};
}

/// `bytes` may be the beginning of a file of `size`, with the whole header.
NpyHeader read_header(Bytes bytes, std::string_view origin, std::size_t size) {
  const auto [start, length] = header_extent(bytes, origin, size);
  NpyHeader header;
  header.data = start + length;
  NpyHeaderParser(as_text(bytes.subspan(start, length)), start, origin).parse(header);
  if (header.shape.size() > max_rank) {
    detail::fail(errc::unsupported,
                 fmt::format("{}: {} dimensions; at most {} can be read", origin, header.shape.size(), max_rank));
  }
  if (header.shape.empty()) header.shape = {1};  // a scalar
  header.count = detail::element_count(header.shape, header.item, size, header.data, origin);
  return header;
}

template <class Stored>
Stored load_element(const std::byte* p, bool swapped) {
  std::array<std::byte, sizeof(Stored)> raw{};
  std::memcpy(raw.data(), p, sizeof(Stored));
  if (swapped) std::reverse(raw.begin(), raw.end());
  return std::bit_cast<Stored>(raw);
}

template <class T, class Stored>
T convert(Stored value, std::size_t index, std::string_view origin) {
  if constexpr (std::floating_point<T>) {
    return static_cast<T>(value);
  } else {
    bool fits = false;
    if constexpr (std::floating_point<Stored>) {
      // Compared as long double, which holds every 64-bit integer on x86-64; elsewhere the upper limit is excluded.
      const auto wide = static_cast<long double>(value);
      fits = wide == std::floor(wide) && wide >= static_cast<long double>(std::numeric_limits<T>::min()) &&
             wide < static_cast<long double>(std::numeric_limits<T>::max()) + 1;
    } else {
      fits = std::in_range<T>(value);
    }
    if (!fits) {
      detail::fail(errc::type_mismatch, fmt::format("{}: element {} is {}, which the wanted integer type cannot hold",
                                                    origin, index, value));
    }
    return static_cast<T>(value);
  }
}

/// f(an element of the type that the file holds).
template <class F>
void with_stored_type(const NpyHeader& header, const F& f) {
  const bool is_signed = header.kind == 'i';
  if (header.kind == 'f') return header.item == 4 ? f(float{}) : f(double{});
  switch (header.item) {
    case 1: return is_signed ? f(std::int8_t{}) : f(std::uint8_t{});
    case 2: return is_signed ? f(std::int16_t{}) : f(std::uint16_t{});
    case 4: return is_signed ? f(std::int32_t{}) : f(std::uint32_t{});
    default: return is_signed ? f(std::int64_t{}) : f(std::uint64_t{});
  }
}

bool in_order(const NpyHeader& header) { return !header.fortran || header.shape.size() < 2; }

/// Elements as they follow each other in the file; the first of them is number `first`.
template <class T>
void convert_run(const NpyHeader& header, Bytes elements, std::size_t first, std::string_view origin, T* to) {
  with_stored_type(header, [&](auto stored) {
    using Stored = decltype(stored);
    for (std::size_t i = 0; i < elements.size() / sizeof(Stored); ++i) {
      to[i] = convert<T>(load_element<Stored>(elements.data() + i * sizeof(Stored), header.swapped), first + i, origin);
      if (header.kind == 'b') to[i] = static_cast<T>(to[i] != T{0});
    }
  });
}

template <class T, class Stored>
void fill_transposed(const NpyHeader& header, Bytes bytes, std::string_view origin, Tensor<T>& out) {
  const std::byte* const data = bytes.data() + header.data;
  T* const to = out.data();
  // The first index runs fastest in the file, the last one in the result.
  const std::size_t rank = header.shape.size();
  std::array<std::size_t, max_rank> index{}, step{};
  for (std::size_t d = 0, stride = 1; d < rank; ++d) {
    step[d] = stride;
    stride *= header.shape[d];
  }
  std::size_t from = 0;
  for (std::size_t i = 0; i < header.count; ++i) {
    to[i] = convert<T>(load_element<Stored>(data + from * sizeof(Stored), header.swapped), i, origin);
    for (std::size_t d = rank; d-- > 0;) {
      from += step[d];
      if (++index[d] < header.shape[d]) break;
      from -= step[d] * header.shape[d];
      index[d] = 0;
    }
  }
}

/// The elements behind the header.
template <class T>
Tensor<T> elements(const NpyHeader& header, Bytes bytes, std::string_view origin) {
  Tensor<T> out{std::span<const std::size_t>(header.shape)};
  if (in_order(header)) {
    convert_run(header, bytes.subspan(header.data, header.count * header.item), 0, origin, out.data());
    return out;
  }
  with_stored_type(header, [&](auto stored) { fill_transposed<T, decltype(stored)>(header, bytes, origin, out); });
  if (header.kind == 'b')
    for (T& value : out.flat()) value = static_cast<T>(value != T{0});
  return out;
}

template <class T>
constexpr std::string_view descr_of() {
  if constexpr (std::same_as<T, float>)
    return "<f4";
  else if constexpr (std::same_as<T, double>)
    return "<f8";
  else if constexpr (std::same_as<T, std::int32_t>)
    return "<i4";
  else if constexpr (std::same_as<T, std::int64_t>)
    return "<i8";
  else
    return "|u1";
}

Dataset dataset_of(const Tensor<double>& x, const Tensor<double>* y, std::string_view origin) {
  if (x.rank() > 2) {
    detail::fail(errc::shape_mismatch,
                 fmt::format("{}: x has {} dimensions; a dataset needs a matrix", origin, x.rank()));
  }
  if (x.cols() > max_dataset_columns) {
    detail::fail(errc::unsupported,
                 fmt::format("{}: {} columns; at most {} can be read", origin, x.cols(), max_dataset_columns));
  }
  std::vector<Column> columns =
      detail::matrix_columns<double>(MatrixView<const double>(x.data(), x.rows(), x.cols()), "f");
  if (y) {
    if (y->rows() != x.rows() || y->size() != x.rows()) {
      detail::fail(errc::shape_mismatch,
                   fmt::format("{}: x has shape ({}), y has shape ({}); y needs one value per row", origin,
                               fmt::join(x.shape(), ", "), fmt::join(y->shape(), ", ")));
    }
    const std::vector<double> values(y->flat().begin(), y->flat().end());
    columns.push_back(
        detail::target_column({"target", ColumnType::numeric, ColumnRole::target, {}}, values, Task::none));
  }
  return Dataset(std::move(columns));
}

}  // namespace

template <class T>
Tensor<T> read_npy_bytes(std::span<const std::byte> bytes, std::string_view origin) {
  return elements<T>(read_header(bytes, origin, bytes.size()), bytes, origin);
}

template <class T>
Tensor<T> read_npy(const std::string& path) {
  const auto in_one_piece = [&] { return read_npy_bytes<T>(detail::read_whole_file(path), path); };
  if (std::error_code unknown; !std::filesystem::is_regular_file(path, unknown)) return in_one_piece();
  // Block by block: file and tensor at once would take twice the memory.
  detail::InputFile file(path);
  std::vector<std::byte> block(std::min(file.size(), read_block));
  const auto fill = [&](std::span<std::byte> part) {
    if (file.read({reinterpret_cast<char*>(part.data()), part.size()}) != part.size())
      detail::fail(errc::io_error, fmt::format("{}: ends before the {} bytes that it had", path, file.size()));
  };
  fill(block);
  const NpyExtent extent = header_extent(block, path, file.size());
  if (extent.start + extent.length > block.size()) return in_one_piece();
  const NpyHeader header = read_header(block, path, file.size());
  if (!in_order(header)) return in_one_piece();
  Tensor<T> out{std::span<const std::size_t>(header.shape)};
  std::size_t begin = header.data, end = block.size(), left = file.size() - end;
  for (std::size_t done = 0;;) {
    const std::size_t count = (end - begin) / header.item;
    convert_run(header, Bytes(block).subspan(begin, count * header.item), done, path, out.data() + done);
    done += count;
    if (left == 0) return out;
    begin += count * header.item;
    const std::size_t rest = end - begin;  // of an element in two blocks
    std::copy_n(block.data() + begin, rest, block.data());
    begin = 0;
    end = std::min(rest + left, block.size());
    fill(std::span(block).subspan(rest, end - rest));
    left -= end - rest;
  }
}

template <class T>
std::vector<std::byte> to_npy_bytes(TensorView<const T> values) {
  std::string shape;
  for (const std::size_t extent : values.shape()) shape += fmt::format("{},{}", extent, values.rank() > 1 ? " " : "");
  std::string header = fmt::format("{{'descr': '{}', 'fortran_order': False, 'shape': ({}), }}", descr_of<T>(), shape);
  constexpr std::size_t prefix = 10, alignment = 64;
  header.resize((prefix + header.size() + alignment) / alignment * alignment - prefix, ' ');
  header.back() = '\n';
  std::string start("\x93NUMPY\x01\x00", 8);
  start.push_back(static_cast<char>(header.size() & 0xff));
  start.push_back(static_cast<char>(header.size() >> 8));
  start += header;
  std::vector<std::byte> bytes(start.size() + values.size() * sizeof(T));
  std::memcpy(bytes.data(), start.data(), start.size());
  if (values.size() > 0) std::memcpy(bytes.data() + start.size(), values.data(), values.size() * sizeof(T));
  return bytes;
}

template <class T>
void write_npy(TensorView<const T> values, const std::string& path) {
  detail::write_file_atomically(path, to_npy_bytes<T>(values));
}

// ---- NPZ: the parts of a zip file that NumPy writes (PKWARE APPNOTE 6.3.9) ------------------------------------------

Npz Npz::read(const std::string& path) { return from_bytes(detail::read_whole_file(path), path); }

Npz Npz::from_bytes(std::vector<std::byte> content, std::string origin) {
  Npz archive;
  archive.origin_ = std::move(origin);
  archive.bytes_ = std::move(content);
  const Bytes bytes = archive.bytes_;
  const auto corrupt = [&](std::size_t offset, std::string_view what) {
    detail::fail(errc::corrupt, fmt::format("{}: byte {}: {}", archive.origin_, offset, what));
  };
  const auto need = [&](std::size_t offset, std::size_t size) {
    if (offset > bytes.size() || size > bytes.size() - offset)
      corrupt(offset, "the file ends inside the zip directory");
  };
  constexpr std::uint32_t end_mark = 0x06054b50, end64_mark = 0x06064b50, locator_mark = 0x07064b50,
                          entry_mark = 0x02014b50, local_mark = 0x04034b50;
  constexpr std::size_t end_size = 22, max_comment = 65535;
  if (bytes.size() < end_size) corrupt(0, "not an NPZ file");
  std::size_t end = bytes.size() - end_size;
  const std::size_t lowest = end > max_comment ? end - max_comment : 0;
  while (load_little<std::uint32_t>(bytes, end) != end_mark) {
    if (end-- == lowest) corrupt(0, "not an NPZ file: no zip directory");
  }
  std::uint64_t count = load_little<std::uint16_t>(bytes, end + 10);
  std::uint64_t position = load_little<std::uint32_t>(bytes, end + 16);
  if (end >= 20 && load_little<std::uint32_t>(bytes, end - 20) == locator_mark) {
    const auto end64 = load_little<std::uint64_t>(bytes, end - 12);
    need(end64, 56);
    if (load_little<std::uint32_t>(bytes, end64) != end64_mark) corrupt(end64, "no zip64 directory");
    count = load_little<std::uint64_t>(bytes, end64 + 32);
    position = load_little<std::uint64_t>(bytes, end64 + 48);
  }
  for (std::uint64_t i = 0; i < count; ++i) {
    need(position, 46);
    if (load_little<std::uint32_t>(bytes, position) != entry_mark) corrupt(position, "no zip directory entry");
    const auto flags = load_little<std::uint16_t>(bytes, position + 8),
               method = load_little<std::uint16_t>(bytes, position + 10);
    const std::size_t name_size = load_little<std::uint16_t>(bytes, position + 28);
    const std::size_t extra_size = load_little<std::uint16_t>(bytes, position + 30);
    const std::size_t comment_size = load_little<std::uint16_t>(bytes, position + 32);
    need(position + 46, name_size + extra_size + comment_size);
    Entry entry;
    entry.name = as_text(bytes.subspan(position + 46, name_size));
    entry.crc = load_little<std::uint32_t>(bytes, position + 16);
    entry.packed = load_little<std::uint32_t>(bytes, position + 20);
    entry.unpacked = load_little<std::uint32_t>(bytes, position + 24);
    std::uint64_t local = load_little<std::uint32_t>(bytes, position + 42);
    const std::size_t extra_end = position + 46 + name_size + extra_size;
    for (std::size_t at = position + 46 + name_size; extra_end - at >= 4;) {
      const auto id = load_little<std::uint16_t>(bytes, at);
      const std::size_t size = load_little<std::uint16_t>(bytes, at + 2);
      if (size > extra_end - at - 4) corrupt(at, "a zip extra field is longer than its entry");
      std::size_t field = at + 4;
      at += 4 + size;
      if (id != 1) continue;
      // Zip64: only the sizes that did not fit, in this order.
      const auto widen = [&](auto& value) {
        if (value != 0xffffffff) return;
        if (at - field < 8) corrupt(field, "a zip64 field is too short");
        value = load_little<std::uint64_t>(bytes, field);
        field += 8;
      };
      widen(entry.unpacked);
      widen(entry.packed);
      widen(local);
    }
    need(local, 30);
    if (load_little<std::uint32_t>(bytes, local) != local_mark) corrupt(local, "no zip entry where the directory says");
    if ((flags & 1) != 0 || (method != 0 && method != 8)) {
      detail::fail(errc::unsupported, fmt::format("{}: \"{}\" is encrypted or packed by method {}; only stored and "
                                                  "deflated arrays can be read",
                                                  archive.origin_, entry.name, method));
    }
    entry.deflated = method == 8;
    entry.data =
        local + 30 + load_little<std::uint16_t>(bytes, local + 26) + load_little<std::uint16_t>(bytes, local + 28);
    need(entry.data, entry.packed);
    if (!entry.deflated && entry.packed != entry.unpacked) corrupt(position, "a stored zip entry has two sizes");
    if (entry.name.ends_with(".npy")) entry.name.resize(entry.name.size() - 4);
    if (archive.has(entry.name)) corrupt(position, fmt::format("a second array \"{}\"", entry.name));
    archive.entries_.push_back(std::move(entry));
    position += 46 + name_size + extra_size + comment_size;
  }
  return archive;
}

std::vector<std::string> Npz::names() const {
  std::vector<std::string> names;
  for (const Entry& entry : entries_) names.push_back(entry.name);
  return names;
}

bool Npz::has(std::string_view name) const noexcept {
  return std::any_of(entries_.begin(), entries_.end(), [&](const Entry& entry) { return entry.name == name; });
}

std::vector<std::byte> Npz::unpack(std::string_view name) const {
  for (const Entry& entry : entries_) {
    if (entry.name != name) continue;
    if (entry.unpacked > max_bytes) {
      detail::fail(errc::unsupported, fmt::format("{}: \"{}\" unpacks to {} bytes, more than the allowed {}", origin_,
                                                  name, entry.unpacked, max_bytes));
    }
    const Bytes packed = Bytes(bytes_).subspan(entry.data, entry.packed);
    std::vector<std::byte> bytes = entry.deflated ? detail::inflate_raw(packed, entry.unpacked, origin_, entry.data)
                                                  : std::vector<std::byte>(packed.begin(), packed.end());
    const auto crc = ::crc32_z(0, reinterpret_cast<const Bytef*>(bytes.data()), bytes.size());
    if (crc != entry.crc) {
      detail::fail(errc::corrupt, fmt::format("{}: \"{}\" at byte {} has checksum {:08x}, expected {:08x}", origin_,
                                              name, entry.data, crc, entry.crc));
    }
    return bytes;
  }
  std::vector<std::string_view> known;
  for (const Entry& entry : entries_) known.push_back(entry.name);
  detail::fail(errc::not_found,
               fmt::format("{} has no array \"{}\"; nearest: {}", origin_, name, detail::nearest_names(name, known)));
}

template <class T>
Tensor<T> Npz::get(std::string_view name) const {
  return read_npy_bytes<T>(unpack(name), fmt::format("{}: {}", origin_, name));
}

Dataset read_npy_dataset(const std::string& x_path, const std::string& y_path) {
  const Tensor<double> x = read_npy<double>(x_path);
  if (y_path.empty()) return dataset_of(x, nullptr, x_path);
  const Tensor<double> y = read_npy<double>(y_path);
  return dataset_of(x, &y, x_path);
}

Dataset read_npz_dataset(const std::string& path, std::string_view x, std::string_view y) {
  const Npz archive = Npz::read(path);
  const Tensor<double> features = archive.get<double>(x);
  if (y.empty()) return dataset_of(features, nullptr, path);
  const Tensor<double> target = archive.get<double>(y);
  return dataset_of(features, &target, path);
}

#define REDOUBT_NPY_TYPE(T)                                                           \
  template Tensor<T> read_npy<T>(const std::string&);                                 \
  template Tensor<T> read_npy_bytes<T>(std::span<const std::byte>, std::string_view); \
  template void write_npy<T>(TensorView<const T>, const std::string&);                \
  template std::vector<std::byte> to_npy_bytes<T>(TensorView<const T>);               \
  template Tensor<T> Npz::get<T>(std::string_view) const;
REDOUBT_NPY_TYPE(float)
REDOUBT_NPY_TYPE(double)
REDOUBT_NPY_TYPE(std::int32_t)
REDOUBT_NPY_TYPE(std::int64_t)
REDOUBT_NPY_TYPE(std::uint8_t)
#undef REDOUBT_NPY_TYPE

// ---- rows in order ------------------------------------------------------------------------------------------------

struct NpyRowStream::File {
  explicit File(const std::string& p) : path(p), stream(p, std::ios::binary) {
    if (!stream) detail::fail(errc::not_found, fmt::format("{}: cannot be opened", path));
    stream.seekg(0, std::ios::end);
    const auto size = static_cast<std::size_t>(stream.tellg());
    std::vector<std::byte> start(std::min(size, shortest_start));
    fetch(0, start);
    const NpyExtent extent = header_extent(start, path, size);
    start.resize(extent.start + extent.length);
    fetch(0, start);
    header = read_header(start, path, size);
    if (header.shape.size() > 2 || (header.fortran && header.shape.size() == 2)) {
      detail::fail(errc::unsupported,
                   fmt::format("{}: rows of a matrix in C order can be streamed; this has {} "
                               "dimensions{}",
                               path, header.shape.size(), header.fortran ? ", in Fortran order" : ""));
    }
  }
  std::size_t rows() const { return header.shape[0]; }
  std::size_t cols() const { return header.shape.size() == 2 ? header.shape[1] : 1; }
  void fetch(std::size_t at, std::span<std::byte> to) {
    stream.clear();
    stream.seekg(static_cast<std::streamoff>(at));
    stream.read(reinterpret_cast<char*>(to.data()), static_cast<std::streamsize>(to.size()));
    if (!stream) detail::fail(errc::io_error, fmt::format("{}: byte {}: cannot be read", path, at));
  }
  void read(std::size_t first, MatrixView<float> to) {
    block.resize(to.rows() * cols() * header.item);
    fetch(header.data + first * cols() * header.item, block);
    NpyHeader part = header;
    part.data = 0, part.shape = {to.rows(), cols()}, part.count = to.rows() * cols();
    const Tensor<float> values = elements<float>(part, block, path);
    for (std::size_t r = 0; r < to.rows(); ++r) std::copy_n(values.row(r).data(), cols(), to.row(r).data());
  }

  std::string path;
  std::ifstream stream;
  NpyHeader header;
  std::vector<std::byte> block;
};

NpyRowStream::NpyRowStream(const std::string& x_path, const std::string& y_path) {
  auto x = std::make_unique<File>(x_path), y = std::make_unique<File>(y_path);
  if (x->rows() != y->rows()) {
    detail::fail(errc::shape_mismatch, fmt::format("{} has {} rows, {} has {}", x_path, x->rows(), y_path, y->rows()));
  }
  x_ = x.release(), y_ = y.release();
}

NpyRowStream::~NpyRowStream() {
  delete x_;
  delete y_;
}

std::size_t NpyRowStream::inputs() const noexcept { return x_->cols(); }
std::size_t NpyRowStream::targets() const noexcept { return y_->cols(); }
std::uint64_t NpyRowStream::rows() const noexcept { return x_->rows(); }
void NpyRowStream::rewind() { at_ = 0; }

std::size_t NpyRowStream::read(MatrixView<float> rows, MatrixView<float> targets) {
  if (rows.cols() != x_->cols() || targets.cols() != y_->cols() || rows.rows() != targets.rows()) {
    detail::fail(
        errc::shape_mismatch,
        fmt::format("{}: {} x {} rows and {} x {} targets are wanted; rows have {} and targets {} values", x_->path,
                    rows.rows(), rows.cols(), targets.rows(), targets.cols(), x_->cols(), y_->cols()));
  }
  const auto count = static_cast<std::size_t>(std::min<std::uint64_t>(rows.rows(), x_->rows() - at_));
  if (count == 0) return 0;
  x_->read(at_, rows.slice(0, count));
  y_->read(at_, targets.slice(0, count));
  at_ += count;
  return count;
}

}  // namespace redoubt
