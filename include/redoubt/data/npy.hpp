#pragma once
#include <cstddef>
#include <cstdint>
#include <span>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "redoubt/core/tensor.hpp"
#include "redoubt/core/view.hpp"
#include "redoubt/data/dataset.hpp"

namespace redoubt {

// NumPy's NPY format, versions 1 to 3: f4 f8 i1 i2 i4 i8 u1 u2 u4 u8 b1, either byte order, C or Fortran order. Object,
// string, complex and structured types are Error(unsupported), and so are headers longer than 1 MiB. Sizes are checked
// against the bytes that are there before anything is allocated; Error(corrupt) names the byte offset.

/// Reads an array, converted to T (float, double, std::int32_t, std::int64_t, std::uint8_t) and to row-major order.
/// Narrowing to float rounds; a value that an integer T cannot hold is Error(type_mismatch).
template <class T>
Tensor<T> read_npy(const std::string& path);
template <class T>
Tensor<T> read_npy_bytes(std::span<const std::byte> bytes, std::string_view origin = "bytes");

/// Writes an array (version 1, little-endian, C order) atomically. T as above.
template <class T>
void write_npy(TensorView<const T> values, const std::string& path);
template <class T>
void write_npy(const Tensor<T>& values, const std::string& path) {
  write_npy<T>(TensorView<const T>(values), path);
}

/// Bytes of `write_npy`.
template <class T>
std::vector<std::byte> to_npy_bytes(TensorView<const T> values);

/// Arrays by name in an NPZ file (a zip of NPY files, stored or deflated). Holds the compressed bytes; reading an array
/// checks its CRC. At most `max_bytes` are unpacked per array. No encryption, no multi-disk archives.
class Npz {
 public:
  static Npz read(const std::string& path);
  static Npz from_bytes(std::vector<std::byte> bytes, std::string origin = "bytes");

  std::vector<std::string> names() const;  ///< without the ending ".npy", in file order
  bool has(std::string_view name) const noexcept;
  /// Error(not_found) names the nearest array.
  template <class T>
  Tensor<T> get(std::string_view name) const;

  static constexpr std::size_t max_bytes = std::size_t{1} << 34;

 private:
  struct Entry {
    std::string name;
    std::size_t data = 0, packed = 0, unpacked = 0;
    std::uint32_t crc = 0;
    bool deflated = false;
  };
  std::vector<std::byte> unpack(std::string_view name) const;

  std::string origin_;
  std::vector<std::byte> bytes_;
  std::vector<Entry> entries_;
};

/// Rows of a matrix (or of a vector) as numeric columns f0, f1, ... and, if `y_path` is given, a vector as target
/// "target": at most 20 distinct whole numbers are classes, else regression.
Dataset read_npy_dataset(const std::string& x_path, const std::string& y_path = "");

/// The same for two arrays of one NPZ file; `y` may be empty.
Dataset read_npz_dataset(const std::string& path, std::string_view x = "X", std::string_view y = "y");

}  // namespace redoubt
