#pragma once
#include <cstddef>
#include <cstdint>
#include <map>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "redoubt/core/tensor.hpp"
#include "redoubt/core/view.hpp"

namespace redoubt {

/// A safetensors container in memory: named strings (its `__metadata__`) and named tensors.
/// Everything that is learned is saved through it. Element types: float, double, int8, uint8, int16, uint16, int32,
/// uint32, int64, uint64. Reading is bounded and checked: header at most 100 MB, no repeated keys, no
/// holes, no overlap, every offset inside the file; Error(corrupt) names the byte offset.
/// Writing is atomic (temporary file, fsync, rename) and gives equal bytes for equal content:
/// tensors are sorted by name, data starts are 64-byte aligned in the file.
///
/// The format forbids holes between tensors, so the gaps that alignment needs are tensors themselves: zero-filled
/// `__pad.N` of type U8 and less than 64 bytes. Other readers list them; this one drops them. Strings that are not
/// valid UTF-8 are stored as hexadecimal digits behind "redoubt-hex:", as the header must be UTF-8.
class Archive {
 public:
  // --- strings; keys are hierarchical by convention: "encoder.columns.3.name" ---
  /// Error(invalid_argument) for a key that is not UTF-8.
  void set(std::string_view key, std::string_view value);
  void set_int(std::string_view key, std::int64_t value);
  void set_number(std::string_view key, double value);  ///< shortest text that reads back bit-identical
  void set_list(std::string_view key, std::span<const std::string> values);
  bool has(std::string_view key) const noexcept;
  const std::string& get(std::string_view key) const;  ///< Error(corrupt) naming the key if absent
  std::int64_t get_int(std::string_view key) const;
  double get_number(std::string_view key) const;
  std::vector<std::string> get_list(std::string_view key) const;
  const std::map<std::string, std::string, std::less<>>& strings() const noexcept { return strings_; }

  // --- tensors ---
  /// Copies `values`; Error(shape_mismatch) if they do not fill `shape`, Error(invalid_argument) for a name that is
  /// not UTF-8 or reserved (`__metadata__`, `__pad.*`).
  template <class T>
  void put(std::string_view name, std::span<const T> values, std::span<const std::size_t> shape);
  template <class T>
  void put(std::string_view name, const std::vector<T>& values) {
    const std::size_t n = values.size();
    put<T>(name, std::span<const T>(values), std::span<const std::size_t>(&n, 1));
  }
  bool has_tensor(std::string_view name) const noexcept;
  /// View into the archive (64-byte aligned). Error(corrupt) if absent or of another element type.
  template <class T>
  TensorView<const T> tensor(std::string_view name) const;
  /// Copy of a rank-1 tensor.
  template <class T>
  std::vector<T> get_vector(std::string_view name) const {
    const auto view = tensor<T>(name);
    return {view.data(), view.data() + view.size()};
  }
  std::vector<std::string> tensor_names() const;
  /// SHA-256 over every string but `except`, and every tensor with its name, type and shape.
  std::string content_hash(std::string_view except = {}) const;

  // --- bytes and files ---
  std::vector<std::byte> to_bytes() const;
  static Archive from_bytes(std::span<const std::byte> bytes, std::string_view origin = "memory");
  /// A process that is killed half-way leaves the old file whole, and perhaps `PATH.tmp.*`.
  void write(const std::string& path) const;
  /// Error(not_found) without the file, Error(io_error) if it is not a regular file or cannot be read.
  static Archive read(const std::string& path);

 private:
  struct Entry {
    std::string dtype;  ///< safetensors name: "F32", "I64", ...
    std::vector<std::size_t> shape;
    detail::AlignedVector<std::byte> bytes;
  };
  void put_bytes(std::string_view name, std::string_view dtype, std::span<const std::byte> bytes,
                 std::span<const std::size_t> shape, std::size_t element_size);
  const Entry& entry(std::string_view name, std::string_view dtype) const;

  std::map<std::string, std::string, std::less<>> strings_;
  std::map<std::string, Entry, std::less<>> tensors_;
};

}  // namespace redoubt
