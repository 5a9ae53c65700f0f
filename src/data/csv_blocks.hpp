#pragma once
#include <fmt/format.h>

#include <algorithm>
#include <cstddef>
#include <cstring>
#include <string>
#include <string_view>
#include <vector>

#include "data/csv_tokens.hpp"
#include "data/input_file.hpp"
#include "redoubt/core/error.hpp"

namespace redoubt::detail {

inline constexpr std::size_t block_bytes = std::size_t{1} << 18;  // text and cells of a block stay in the L2 cache

// The file as a sequence of blocks; what a block leaves over starts the next one.
class Blocks {
 public:
  explicit Blocks(std::string_view text) : text_(text), size_(text.size()) { restart(); }
  explicit Blocks(InputFile& file) : file_(&file), size_(file.size()), buffer_(block_bytes) { restart(); }

  std::string_view view() const noexcept { return view_; }
  bool last() const noexcept { return last_; }
  std::size_t total_bytes() const noexcept { return size_; }

  void restart() {
    if (file_) {
      file_->rewind();
      filled_ = 0;
      last_ = false;
      fill();
    } else {
      position_ = 0;
      set_text_view(block_bytes);
    }
  }
  void consume(std::size_t bytes) {
    if (file_) {
      std::memmove(buffer_.data(), buffer_.data() + bytes, filled_ - bytes);
      filled_ -= bytes;
      fill();
    } else {
      position_ += bytes;
      set_text_view(block_bytes);
    }
  }
  // For a row that does not fit.
  void enlarge(const std::string& origin) {
    const std::size_t size = std::min(2 * std::max(view_.size(), block_bytes), CsvTokenizer::max_block);
    if (size <= view_.size()) fail(errc::unsupported, fmt::format("{}: a row is longer than 1 GiB", origin));
    if (file_) {
      buffer_.resize(size);
      fill();
    } else {
      set_text_view(size);
    }
  }

 private:
  void fill() {
    const std::size_t wanted = buffer_.size() - filled_;
    const std::size_t got = file_->read({buffer_.data() + filled_, wanted});
    filled_ += got;
    last_ = last_ || got < wanted;
    view_ = {buffer_.data(), filled_};
  }
  void set_text_view(std::size_t size) {
    view_ = text_.substr(position_, size);
    last_ = position_ + view_.size() == text_.size();
  }

  std::string_view text_;
  InputFile* file_ = nullptr;
  std::size_t size_ = 0, position_ = 0, filled_ = 0;
  std::vector<char> buffer_;
  std::string_view view_;
  bool last_ = false;
};

}  // namespace redoubt::detail
