#pragma once
#include <cstddef>
#include <cstdint>
#include <string>
#include <vector>

#include "redoubt/core/view.hpp"

namespace redoubt {

/// Encoded rows and their targets in order, a block at a time: data that need not fit in memory. For
/// `train_stream` (nn/streaming.hpp). CSV files: data/csv_stream.hpp. Not thread-safe.
class RowStream {
 public:
  virtual ~RowStream() = default;
  virtual std::size_t inputs() const noexcept = 0;   ///< values per row
  virtual std::size_t targets() const noexcept = 0;  ///< values per target
  /// Fills the first rows of both views, as many as there are at most; 0 only at the end.
  virtual std::size_t read(MatrixView<float> rows, MatrixView<float> targets) = 0;
  /// Back to the first row.
  virtual void rewind() = 0;
};

/// Rows of two NPY files of the element types that `read_npy` knows, in C order: x is rows x inputs, y rows or rows x
/// targets. Holds one block in memory. Constructor and `read` throw what `read_npy` does, and Error(shape_mismatch) if
/// the files differ in their rows or a view has other columns.
class NpyRowStream final : public RowStream {
 public:
  NpyRowStream(const std::string& x_path, const std::string& y_path);
  ~NpyRowStream() override;
  NpyRowStream(const NpyRowStream&) = delete;
  NpyRowStream& operator=(const NpyRowStream&) = delete;
  std::size_t inputs() const noexcept override;
  std::size_t targets() const noexcept override;
  std::uint64_t rows() const noexcept;  ///< of the files
  std::size_t read(MatrixView<float> rows, MatrixView<float> targets) override;
  void rewind() override;

 private:
  struct File;
  File* x_ = nullptr;
  File* y_ = nullptr;
  std::uint64_t at_ = 0;
};

/// Lines of a LIBSVM file (data/libsvm.hpp): index i is value i - 1 of a row, or with `from_zero` value i; the target
/// is the label as a number. Holds one block of lines, each at most 16 MB long. Error(parse_error) with the place, as
/// with BadRows::error, for lines that cannot be read and indices beyond `inputs`.
class LibsvmRowStream final : public RowStream {
 public:
  LibsvmRowStream(std::string path, std::size_t inputs, bool from_zero = false);
  ~LibsvmRowStream() override;
  LibsvmRowStream(const LibsvmRowStream&) = delete;
  LibsvmRowStream& operator=(const LibsvmRowStream&) = delete;
  std::size_t inputs() const noexcept override { return inputs_; }
  std::size_t targets() const noexcept override { return 1; }
  std::size_t read(MatrixView<float> rows, MatrixView<float> targets) override;
  void rewind() override;

 private:
  struct File;
  std::string path_;
  std::size_t inputs_;
  bool from_zero_;
  File* file_;
};

}  // namespace redoubt
