#include "redoubt/data/archive.hpp"

#include <fcntl.h>
#include <fmt/format.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <bit>
#include <cerrno>
#include <charconv>
#include <cstring>
#include <limits>

#include "data/atomic_file.hpp"
#include "data/header_json.hpp"
#include "redoubt/core/hash.hpp"

namespace redoubt {
namespace {

static_assert(std::endian::native == std::endian::little, "tensors are stored little-endian, as they are in memory");

constexpr std::size_t max_header = 100'000'000;  // the limit of the reference implementation
constexpr std::string_view metadata_key = "__metadata__";
constexpr std::string_view pad_prefix = "__pad.";
constexpr std::string_view hex_prefix = "redoubt-hex:";

template <class T>
constexpr std::string_view dtype_of = "";
template <>
constexpr std::string_view dtype_of<float> = "F32";
template <>
constexpr std::string_view dtype_of<double> = "F64";
template <>
constexpr std::string_view dtype_of<std::int8_t> = "I8";
template <>
constexpr std::string_view dtype_of<std::uint8_t> = "U8";
template <>
constexpr std::string_view dtype_of<std::int16_t> = "I16";
template <>
constexpr std::string_view dtype_of<std::uint16_t> = "U16";
template <>
constexpr std::string_view dtype_of<std::int32_t> = "I32";
template <>
constexpr std::string_view dtype_of<std::uint32_t> = "U32";
template <>
constexpr std::string_view dtype_of<std::int64_t> = "I64";
template <>
constexpr std::string_view dtype_of<std::uint64_t> = "U64";

/// Bytes per element of a safetensors type, 0 if unknown. Half floats and booleans can be carried, not viewed.
std::size_t dtype_size(std::string_view dtype) noexcept {
  struct Known {
    std::string_view name;
    std::size_t size;
  };
  static constexpr std::array<Known, 13> known{{{"F32", 4},
                                                {"F64", 8},
                                                {"I8", 1},
                                                {"U8", 1},
                                                {"I16", 2},
                                                {"U16", 2},
                                                {"I32", 4},
                                                {"U32", 4},
                                                {"I64", 8},
                                                {"U64", 8},
                                                {"BOOL", 1},
                                                {"F16", 2},
                                                {"BF16", 2}}};
  for (const Known& k : known)
    if (k.name == dtype) return k.size;
  return 0;
}

std::string encode_text(std::string_view text) {
  if (detail::is_utf8(text) && !text.starts_with(hex_prefix)) return std::string(text);
  return std::string(hex_prefix) + to_hex(std::as_bytes(std::span(text.data(), text.size())));
}

/// Inverse of encode_text; false if the digits are not hexadecimal.
bool decode_text(std::string& text) {
  if (!std::string_view(text).starts_with(hex_prefix)) return true;
  const std::string_view digits = std::string_view(text).substr(hex_prefix.size());
  if (digits.size() % 2 != 0) return false;
  std::string decoded;
  decoded.reserve(digits.size() / 2);
  for (std::size_t i = 0; i < digits.size(); i += 2) {
    unsigned value = 0;
    const auto [end, error] = std::from_chars(digits.data() + i, digits.data() + i + 2, value, 16);
    if (error != std::errc() || end != digits.data() + i + 2) return false;
    decoded.push_back(static_cast<char>(value));
  }
  text = std::move(decoded);
  return true;
}

std::size_t padding(std::size_t size) noexcept {
  return (tensor_alignment - size % tensor_alignment) % tensor_alignment;
}

std::string shape_text(std::span<const std::size_t> shape) { return fmt::format("[{}]", fmt::join(shape, ",")); }

}  // namespace

// --- strings ---------------------------------------------------------------------------------------

void Archive::set(std::string_view key, std::string_view value) {
  if (!detail::is_utf8(key)) detail::fail(errc::invalid_argument, "the key of an archive string is not UTF-8");
  strings_.insert_or_assign(std::string(key), std::string(value));
}

void Archive::set_int(std::string_view key, std::int64_t value) { set(key, fmt::format("{}", value)); }

void Archive::set_number(std::string_view key, double value) {
  std::array<char, 40> text;
  const auto end = std::to_chars(text.data(), text.data() + text.size(), value).ptr;
  set(key, std::string_view(text.data(), static_cast<std::size_t>(end - text.data())));
}

void Archive::set_list(std::string_view key, std::span<const std::string> values) {
  std::string text = "[";
  for (const std::string& value : values) {
    if (text.size() > 1) text += ',';
    detail::append_json_string(text, encode_text(value));
  }
  set(key, text + "]");
}

bool Archive::has(std::string_view key) const noexcept { return strings_.find(key) != strings_.end(); }

const std::string& Archive::get(std::string_view key) const {
  const auto it = strings_.find(key);
  if (it == strings_.end()) detail::fail(errc::corrupt, fmt::format("key \"{}\" is absent", key));
  return it->second;
}

std::int64_t Archive::get_int(std::string_view key) const {
  const std::string& text = get(key);
  std::int64_t value = 0;
  const auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), value);
  if (error != std::errc() || end != text.data() + text.size() || text.empty())
    detail::fail(errc::corrupt, fmt::format("key \"{}\" should be an integer, is \"{:.40}\"", key, text));
  return value;
}

double Archive::get_number(std::string_view key) const {
  const std::string& text = get(key);
  double value = 0;
  const auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), value);
  if (error != std::errc() || end != text.data() + text.size() || text.empty())
    detail::fail(errc::corrupt, fmt::format("key \"{}\" should be a number, is \"{:.40}\"", key, text));
  return value;
}

std::vector<std::string> Archive::get_list(std::string_view key) const {
  const std::string& text = get(key);
  detail::HeaderJson json(text, fmt::format("key \"{}\"", key), 0);
  std::vector<std::string> values;
  json.expect('[');
  if (!json.accept(']')) {
    do {
      values.push_back(json.string());
      if (!decode_text(values.back())) json.fail("bad hexadecimal text");
    } while (json.accept(','));
    json.expect(']');
  }
  json.expect_end();
  return values;
}

// --- tensors ---------------------------------------------------------------------------------------

template <class T>
void Archive::put(std::string_view name, std::span<const T> values, std::span<const std::size_t> shape) {
  put_bytes(name, dtype_of<T>, std::as_bytes(values), shape, sizeof(T));
}

void Archive::put_bytes(std::string_view name, std::string_view dtype, std::span<const std::byte> bytes,
                        std::span<const std::size_t> shape, std::size_t element_size) {
  if (!detail::is_utf8(name) || name == metadata_key || name.starts_with(pad_prefix))
    detail::fail(errc::invalid_argument, fmt::format("\"{}\" is no name for a tensor in an archive", name));
  if (detail::checked_size(shape) * element_size != bytes.size())
    detail::fail(errc::shape_mismatch, fmt::format("tensor \"{}\" of shape {} was given {} values", name,
                                                   shape_text(shape), bytes.size() / element_size));
  Entry entry{std::string(dtype), {shape.begin(), shape.end()}, {bytes.begin(), bytes.end()}};
  tensors_.insert_or_assign(std::string(name), std::move(entry));
}

bool Archive::has_tensor(std::string_view name) const noexcept { return tensors_.find(name) != tensors_.end(); }

const Archive::Entry& Archive::entry(std::string_view name, std::string_view dtype) const {
  const auto it = tensors_.find(name);
  if (it == tensors_.end()) detail::fail(errc::corrupt, fmt::format("tensor \"{}\" is absent", name));
  if (it->second.dtype != dtype)
    detail::fail(errc::corrupt,
                 fmt::format("tensor \"{}\" should have type {}, has {}", name, dtype, it->second.dtype));
  return it->second;
}

template <class T>
TensorView<const T> Archive::tensor(std::string_view name) const {
  const Entry& found = entry(name, dtype_of<T>);
  return TensorView<const T>(reinterpret_cast<const T*>(found.bytes.data()), found.shape);
}

#define REDOUBT_ARCHIVE_TYPE(T)                                                                      \
  template void Archive::put<T>(std::string_view, std::span<const T>, std::span<const std::size_t>); \
  template TensorView<const T> Archive::tensor<T>(std::string_view) const;
REDOUBT_ARCHIVE_TYPE(float)
REDOUBT_ARCHIVE_TYPE(double)
REDOUBT_ARCHIVE_TYPE(std::int8_t)
REDOUBT_ARCHIVE_TYPE(std::uint8_t)
REDOUBT_ARCHIVE_TYPE(std::int16_t)
REDOUBT_ARCHIVE_TYPE(std::uint16_t)
REDOUBT_ARCHIVE_TYPE(std::int32_t)
REDOUBT_ARCHIVE_TYPE(std::uint32_t)
REDOUBT_ARCHIVE_TYPE(std::int64_t)
REDOUBT_ARCHIVE_TYPE(std::uint64_t)
#undef REDOUBT_ARCHIVE_TYPE

std::vector<std::string> Archive::tensor_names() const {
  std::vector<std::string> names;
  names.reserve(tensors_.size());
  for (const auto& [name, entry] : tensors_) names.push_back(name);
  return names;
}

std::string Archive::content_hash(std::string_view except) const {
  Sha256 hash;
  // Lengths before contents, so that no two archives give the same stream.
  const auto add = [&](std::string_view text) {
    hash.update(fmt::format("{}:", text.size()));
    hash.update(text);
  };
  for (const auto& [key, value] : strings_) {
    if (key == except) continue;
    add(key);
    add(value);
  }
  hash.update("|");
  for (const auto& [name, entry] : tensors_) {
    add(name);
    add(entry.dtype);
    add(shape_text(entry.shape));
    hash.update(std::span<const std::byte>(entry.bytes));
  }
  return to_hex(hash.finish());
}

// --- bytes -----------------------------------------------------------------------------------------

std::vector<std::byte> Archive::to_bytes() const {
  std::string header = "{";
  const auto field = [&](std::string_view key) {
    if (header.size() > 1) header += ',';
    detail::append_json_string(header, key);
    header += ':';
  };
  if (!strings_.empty()) {
    field(metadata_key);
    header += '{';
    bool first = true;
    for (const auto& [key, value] : strings_) {
      if (!first) header += ',';
      first = false;
      detail::append_json_string(header, key);
      header += ':';
      detail::append_json_string(header, encode_text(value));
    }
    header += '}';
  }
  std::size_t offset = 0, pads = 0;
  const auto tensor = [&](std::string_view name, std::string_view dtype, std::span<const std::size_t> shape,
                          std::size_t bytes) {
    field(name);
    header += fmt::format("{{\"dtype\":\"{}\",\"shape\":{},\"data_offsets\":[{},{}]}}", dtype, shape_text(shape),
                          offset, offset + bytes);
    offset += bytes;
  };
  std::size_t left = tensors_.size();
  for (const auto& [name, entry] : tensors_) {
    tensor(name, entry.dtype, entry.shape, entry.bytes.size());
    const std::size_t pad = padding(entry.bytes.size());
    if (--left > 0 && pad > 0) tensor(fmt::format("{}{}", pad_prefix, pads++), "U8", std::array{pad}, pad);
  }
  header += '}';
  header.append(padding(8 + header.size()), ' ');
  if (header.size() > max_header)
    detail::fail(errc::unsupported, fmt::format("the header of the archive would take {} bytes, more than the {} that "
                                                "the format allows; store fewer or shorter strings",
                                                header.size(), max_header));

  std::vector<std::byte> bytes(8 + header.size() + offset);
  const std::uint64_t length = header.size();
  std::memcpy(bytes.data(), &length, 8);
  std::memcpy(bytes.data() + 8, header.data(), header.size());
  std::size_t at = 8 + header.size();
  left = tensors_.size();
  for (const auto& [name, entry] : tensors_) {
    if (!entry.bytes.empty()) std::memcpy(bytes.data() + at, entry.bytes.data(), entry.bytes.size());
    at += entry.bytes.size() + (--left > 0 ? padding(entry.bytes.size()) : 0);
  }
  return bytes;
}

namespace {

/// A tensor as the header states it.
struct Listed {
  std::string name, dtype;
  std::vector<std::size_t> shape;
  std::uint64_t begin = 0, end = 0;
  std::size_t place = 0;  ///< byte offset of its name in the file
};

Listed read_listed(detail::HeaderJson& json, std::string name, std::size_t place) {
  Listed listed;
  listed.name = std::move(name);
  listed.place = place;
  bool has_dtype = false, has_shape = false, has_offsets = false;
  json.expect('{');
  do {
    const std::size_t at = json.offset();
    const std::string key = json.string();
    json.expect(':');
    bool& seen = key == "dtype" ? has_dtype : key == "shape" ? has_shape : has_offsets;
    if (key != "dtype" && key != "shape" && key != "data_offsets")
      json.fail_at(at, fmt::format("tensor \"{}\" has the unknown field \"{:.40}\"", listed.name, key));
    if (seen) json.fail_at(at, fmt::format("tensor \"{}\" states \"{}\" twice", listed.name, key));
    seen = true;
    if (key == "dtype") {
      listed.dtype = json.string();
    } else if (key == "shape") {
      json.expect('[');
      if (!json.accept(']')) {
        do {
          if (listed.shape.size() == max_rank)
            detail::fail(errc::unsupported, fmt::format("{}: byte {}: tensor \"{}\" has more than {} dimensions",
                                                        json.origin(), json.offset(), listed.name, max_rank));
          listed.shape.push_back(json.number());
        } while (json.accept(','));
        json.expect(']');
      }
    } else {
      json.expect('[');
      listed.begin = json.number();
      json.expect(',');
      listed.end = json.number();
      json.expect(']');
    }
  } while (json.accept(','));
  json.expect('}');
  if (!has_dtype || !has_shape || !has_offsets)
    json.fail_at(place, fmt::format("tensor \"{}\" lacks dtype, shape or data_offsets", listed.name));
  return listed;
}

/// Bytes that `listed` must have by its shape; fails where type or product are impossible.
std::uint64_t stated_bytes(const detail::HeaderJson& json, const Listed& listed) {
  const std::size_t element = dtype_size(listed.dtype);
  if (element == 0)
    detail::fail(errc::unsupported, fmt::format("{}: byte {}: tensor \"{}\" has the unknown type \"{:.20}\"",
                                                json.origin(), listed.place, listed.name, listed.dtype));
  std::uint64_t bytes = element;
  for (const std::uint64_t extent : listed.shape)
    if (__builtin_mul_overflow(bytes, extent, &bytes))
      json.fail_at(listed.place, fmt::format("tensor \"{}\" of shape {} is larger than any memory", listed.name,
                                             shape_text(listed.shape)));
  return bytes;
}

}  // namespace

Archive Archive::from_bytes(std::span<const std::byte> bytes, std::string_view origin) {
  const auto corrupt = [&](std::size_t offset, const std::string& what) {
    detail::fail(errc::corrupt, fmt::format("{}: byte {}: {}", origin, offset, what));
  };
  if (bytes.size() < 8) corrupt(bytes.size(), "the file ends before the 8-byte length of its header");
  std::uint64_t length = 0;
  std::memcpy(&length, bytes.data(), 8);
  if (length > max_header)
    corrupt(0, fmt::format("states a header of {} bytes; at most {} are allowed; it may not be a model file at all",
                           length, max_header));
  if (length > bytes.size() - 8)
    corrupt(0, fmt::format("states a header of {} bytes, but only {} bytes follow", length, bytes.size() - 8));
  if (length < 2 || bytes[8] != std::byte{'{'}) corrupt(8, "the header does not start with '{'");
  const std::string_view text(reinterpret_cast<const char*>(bytes.data()) + 8, length);
  if (const std::size_t valid = detail::utf8_prefix(text); valid != text.size())
    corrupt(8 + valid, "the header is not valid UTF-8");

  Archive archive;
  std::vector<Listed> listed;
  detail::HeaderJson json(text, std::string(origin), 8);
  bool has_metadata = false;
  json.expect('{');
  if (!json.accept('}')) {
    do {
      const std::size_t place = json.offset();
      std::string name = json.string();
      json.expect(':');
      if (name != metadata_key) {
        listed.push_back(read_listed(json, std::move(name), place));
        continue;
      }
      if (has_metadata) json.fail_at(place, "__metadata__ occurs twice");
      has_metadata = true;
      json.expect('{');
      if (json.accept('}')) continue;
      do {
        const std::size_t at = json.offset();
        std::string key = json.string();
        json.expect(':');
        std::string value = json.string();
        if (!decode_text(value)) json.fail_at(at, fmt::format("key \"{:.80}\": bad hexadecimal text", key));
        if (!archive.strings_.try_emplace(key, std::move(value)).second)
          json.fail_at(at, fmt::format("key \"{:.80}\" occurs twice", key));
      } while (json.accept(','));
      json.expect('}');
    } while (json.accept(','));
    json.expect('}');
  }
  json.expect_end();

  // In order of offset each tensor must begin where the one before ended, and the last end with the file.
  std::sort(listed.begin(), listed.end(),
            [](const Listed& a, const Listed& b) { return std::pair(a.begin, a.end) < std::pair(b.begin, b.end); });
  const std::size_t data = 8 + length;
  const std::uint64_t available = bytes.size() - data;
  std::uint64_t expected = 0;
  for (const Listed& one : listed) {
    if (one.begin != expected)
      json.fail_at(one.place, fmt::format("tensor \"{:.80}\" begins at {}, but the one before ends at {}: the format "
                                          "allows neither holes nor overlap",
                                          one.name, one.begin, expected));
    if (one.end < one.begin || one.end > available)
      json.fail_at(one.place, fmt::format("tensor \"{:.80}\" takes bytes [{}, {}) of {} that follow the header",
                                          one.name, one.begin, one.end, available));
    const std::uint64_t stated = stated_bytes(json, one);
    if (stated != one.end - one.begin)
      json.fail_at(one.place, fmt::format("tensor \"{:.80}\" of type {} and shape {} needs {} bytes, but has {}",
                                          one.name, one.dtype, shape_text(one.shape), stated, one.end - one.begin));
    expected = one.end;
    const auto content = bytes.subspan(data + one.begin, one.end - one.begin);
    if (one.name.starts_with(pad_prefix)) {
      const auto is_zero = [](std::byte b) { return b == std::byte{0}; };
      if (content.size() >= tensor_alignment || !std::all_of(content.begin(), content.end(), is_zero))
        corrupt(data + one.begin, fmt::format("padding \"{:.80}\" is not a few zero bytes", one.name));
      continue;
    }
    Entry entry{one.dtype, one.shape, {content.begin(), content.end()}};
    if (!archive.tensors_.try_emplace(one.name, std::move(entry)).second)
      json.fail_at(one.place, fmt::format("tensor \"{:.80}\" occurs twice", one.name));
  }
  if (expected != available)
    corrupt(data + expected, fmt::format("{} bytes follow that belong to no tensor", available - expected));
  return archive;
}

// --- files -----------------------------------------------------------------------------------------

void Archive::write(const std::string& path) const { detail::write_file_atomically(path, to_bytes()); }

Archive Archive::read(const std::string& path) {
  struct Descriptor {
    int fd;
    ~Descriptor() {
      if (fd >= 0) ::close(fd);
    }
  };
  const auto refuse = [&](errc code, std::string_view what) {
    detail::fail(code, fmt::format("cannot read {}: {}", path, what));
  };
  // O_NONBLOCK: a named pipe must not hang the caller.
  const Descriptor file{::open(path.c_str(), O_RDONLY | O_CLOEXEC | O_NONBLOCK)};
  if (file.fd < 0) refuse(errno == ENOENT ? errc::not_found : errc::io_error, std::strerror(errno));
  struct stat status {};
  if (::fstat(file.fd, &status) != 0) refuse(errc::io_error, std::strerror(errno));
  if (!S_ISREG(status.st_mode)) refuse(errc::io_error, "it is not a regular file");
  std::vector<std::byte> bytes(static_cast<std::size_t>(status.st_size));
  std::size_t done = 0;
  while (done < bytes.size()) {
    const ::ssize_t n = ::read(file.fd, bytes.data() + done, bytes.size() - done);
    if (n < 0 && errno == EINTR) continue;
    if (n < 0) refuse(errc::io_error, std::strerror(errno));
    if (n == 0) break;  // it was cut while we read
    done += static_cast<std::size_t>(n);
  }
  bytes.resize(done);
  return from_bytes(bytes, path);
}

}  // namespace redoubt
