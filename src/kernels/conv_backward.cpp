#include <algorithm>
#include <cstring>

#include "kernels/conv_images.hpp"
#include "redoubt/core/parallel.hpp"

namespace redoubt::kernels::detail {
namespace {

using namespace conv;

constexpr std::size_t all_sums = 32 * 1024 * 1024;  // bytes of the sums of all blocks
constexpr std::size_t sum_bytes = 256 * 1024;       // of the sides of the images that are summed at a time

/// The gradient of the images: pixels sorted by their remainders by the stride are, of each, a convolution of slopes
/// with the taps that meet them.
struct TurnedTaps {
  const ConvShape& s;
  std::size_t above, left, line, lines;  // of slopes with zeros around
  std::size_t tap_tiles;

  static std::ptrdiff_t floor_div(std::ptrdiff_t x, std::ptrdiff_t y) { return x >= 0 ? x / y : -((y - 1 - x) / y); }
  explicit TurnedTaps(const ConvShape& shape) : s(shape), tap_tiles(groups_of(s.filters, deep)) {
    const auto before = [&](std::size_t kernel) {
      const std::ptrdiff_t first = shift(0, kernel - 1);
      return first < 0 ? std::size_t(-first) : 0;
    };
    const auto all = [&](std::size_t zeros, std::size_t out, std::size_t pixels) {
      const std::size_t last = std::size_t(std::ptrdiff_t(zeros + groups_of(pixels, s.stride)) +
                                           std::max<std::ptrdiff_t>(0, shift(s.stride - 1, 0)));
      return std::max(zeros + out, last);
    };
    above = before(s.kernel_height), left = before(s.kernel_width);
    lines = all(above, s.out_height, s.height), line = all(left, s.out_width, s.width);
  }
  /// From pixel stride * i + remainder to the place that meets it by tap k: i + shift.
  std::ptrdiff_t shift(std::size_t remainder, std::size_t k) const {
    return floor_div(std::ptrdiff_t(remainder + s.pad) - std::ptrdiff_t(k * s.dilation), std::ptrdiff_t(s.stride));
  }
  bool meets(std::size_t remainder, std::size_t k) const {
    return (remainder + s.pad + k * s.dilation * (s.stride - 1)) % s.stride == 0;
  }
  std::size_t extent() const {  // the last tile may go on behind the last place
    return round_up((lines * line + side) * s.filters + 2 * deep, deep);
  }
  /// Calls tap(tap index, offset in values) for the taps that meet pixels of these remainders.
  template <class Tap>
  void taps(std::size_t y, std::size_t x, Tap tap) const {
    for (std::size_t ky = 0; ky < s.kernel_height; ++ky) {
      if (!meets(y, ky)) continue;
      for (std::size_t kx = 0; kx < s.kernel_width; ++kx) {
        if (!meets(x, kx)) continue;
        const std::size_t row = std::size_t(std::ptrdiff_t(above) + shift(y, ky));
        const std::size_t col = std::size_t(std::ptrdiff_t(left) + shift(x, kx));
        tap(ky * s.kernel_width + kx, (row * line + col) * s.filters);
      }
    }
  }
  template <class Phase>
  void phases(Phase phase) const {
    for (std::size_t y = 0; y < std::min(s.stride, s.height); ++y)
      for (std::size_t x = 0; x < std::min(s.stride, s.width); ++x) phase(y, x);
  }
};

class Backward {
 public:
  Backward(const TileKernels& kernels, const ConvShape& shape, MatrixView<const float> images, const float* weights,
           MatrixView<const float> slopes, const ConvGradients& to, const ConvOptions& options)
      : kernels_(kernels),
        s_(shape),
        images_(images),
        weights_(weights),
        slopes_(slopes),
        to_(to),
        options_(options),
        parts_(parts_of(options.precision)),
        patches_(shape),
        turned_(shape),
        sums_wanted_(to.weights || to.bias),
        images_wanted_(to.images.data() != nullptr) {
    segment_columns_ = groups_of(patches_.segment, side);
    column_tiles_ = patches_.segments * segment_columns_;
    filter_tiles_ = groups_of(s_.filters, side);
    depth_tiles_ = groups_of(patches_.flat_places(), deep);
    rounded_bytes_ = patches_.extent() * 2;
    pairs_bytes_ = 2 * rounded_bytes_;
    left_bytes_ = filter_tiles_ * depth_tiles_ * tile_bytes;
    padded_bytes_ = turned_.extent() * 2;
    b_group_ = s_.taps() * turned_.tap_tiles * tile_bytes;
    b_part_ = groups_of(s_.channels, side) * b_group_;
    sum_floats_ = to.weights ? filter_tiles_ * column_tiles_ * side * side : 0;
  }

  void run() const {
    const std::size_t rows = slopes_.rows(), block = block_of(rows);
    Pieces pieces;
    const Shared at{.columns = pieces.take(column_tiles_ * sizeof(std::size_t)),
                    .offsets = pieces.take(s_.taps() * sizeof(std::size_t)),
                    .right = pieces.take(images_wanted_ ? b_part_ * parts_ : 0),
                    .sums = pieces.take(groups_of(rows, block) * block_floats() * sizeof(float))};
    const SharedMemory memory(pieces.size);
    auto* const columns = reinterpret_cast<std::size_t*>(memory.data() + at.columns);
    for (std::size_t i = 0; i < column_tiles_; ++i)
      columns[i] = (patches_.offset(i / segment_columns_) + i % segment_columns_ * side) * 4;
    auto* const offsets = reinterpret_cast<std::size_t*>(memory.data() + at.offsets);
    if (images_wanted_) turn(memory.data() + at.right, offsets);
    auto* const sums = reinterpret_cast<float*>(memory.data() + at.sums);
    parallel_for(
        rows, block,
        [&](std::size_t begin, std::size_t end) {
          images(begin, end, columns, memory.data() + at.right, offsets, sums + begin / block * block_floats());
        },
        options_.arena);
    if (to_.weights) {
      for (std::size_t f = 0; f < filter_tiles_; ++f) add_sums(f, sums, groups_of(rows, block));
    }
    if (to_.bias) {
      for (std::size_t b = 0; b < groups_of(rows, block); ++b)
        for (std::size_t f = 0; f < s_.filters; ++f) to_.bias[f] += sums[b * block_floats() + sum_floats_ + f];
    }
  }

 private:
  struct Shared {
    std::size_t columns, offsets, right, sums;
  };
  std::size_t block_floats() const { return sum_floats_ + round_up(s_.filters, side); }
  /// Images of a block: a few blocks for the threads, and no more of large weights than fit the memory that is kept.
  std::size_t block_of(std::size_t rows) const {
    const std::size_t most = std::max<std::size_t>(2, all_sums / (block_floats() * sizeof(float)));
    const std::size_t few = std::clamp<std::size_t>(groups_of(rows, 4), 1, image_block);
    return std::max(few, groups_of(rows, most));
  }
  std::size_t part(std::size_t bytes) const { return parts_ == 2 ? bytes : 0; }

  /// The weights of the taps, phase after phase, with filters as depth.
  void turn(unsigned char* right, std::size_t* offsets) const {
    if (s_.filters % deep != 0) std::memset(right, 0, b_part_ * parts_);
    std::size_t done = 0;
    turned_.phases([&](std::size_t y, std::size_t x) {
      turned_.taps(y, x, [&](std::size_t tap, std::size_t offset) {
        kernels_.packs->panel_turned(weights_ + tap * s_.channels * s_.filters, s_.filters, s_.channels, s_.filters,
                                     right + done * turned_.tap_tiles * tile_bytes,
                                     {64, tile_bytes, b_group_, part(b_part_)});
        offsets[done++] = offset * 2;
      });
    });
  }

  /// Everything that a block of images gives.
  void images(std::size_t begin, std::size_t end, const std::size_t* columns, const unsigned char* right,
              const std::size_t* offsets, float* sums) const {
    const std::size_t one = (pairs_bytes_ + left_bytes_) * parts_;
    const std::size_t group = std::clamp<std::size_t>(sum_bytes / one, 1, end - begin);
    Pieces pieces;
    const std::size_t rounded = pieces.take(sums_wanted_ ? rounded_bytes_ * parts_ : 0);
    const std::size_t pairs = pieces.take(sums_wanted_ ? group * pairs_bytes_ * parts_ : 0);
    const std::size_t left = pieces.take(sums_wanted_ ? group * left_bytes_ * parts_ : 0);
    const std::size_t padded = pieces.take(images_wanted_ ? padded_bytes_ * parts_ : 0);
    const std::size_t room = pieces.take(options_.slopes ? s_.places() * s_.filters * sizeof(float) : 0);
    const TaskMemory memory(pieces.size);
    unsigned char* const at = memory.data();
    if (sums_wanted_) std::memset(at + rounded, 0, rounded_bytes_ * parts_);
    if (images_wanted_) std::memset(at + padded, 0, padded_bytes_ * parts_);
    float* const bias = to_.bias ? sums + sum_floats_ : nullptr;
    if (bias) std::fill_n(bias, s_.filters, 0.0f);
    for (std::size_t first = begin; first < end; first += group) {
      const std::size_t last = std::min(end, first + group);
      for (std::size_t r = first; r < last; ++r) {
        const float* const slopes =
            options_.slopes ? (*options_.slopes)(r, reinterpret_cast<float*>(at + room)) : slopes_.row(r).data();
        if (sums_wanted_)
          prepare(r, slopes, at + rounded, at + pairs + (r - first) * pairs_bytes_, group * pairs_bytes_,
                  at + left + (r - first) * left_bytes_, group * left_bytes_, bias);
        if (images_wanted_) image_gradient(r, slopes, at + padded, right, offsets);
      }
      if (!to_.weights) continue;
      kernels_.conv->sums({.a = at + left,
                           .a_image = left_bytes_,
                           .a_group = depth_tiles_ * tile_bytes,
                           .b = at + pairs,
                           .b_image = pairs_bytes_,
                           .b_row = 2 * s_.stride * s_.channels * 4,
                           .columns = columns,
                           .a_part = part(group * left_bytes_),
                           .b_part = part(group * pairs_bytes_),
                           .images = last - first,
                           .filter_tiles = filter_tiles_,
                           .column_tiles = column_tiles_,
                           .depth_tiles = depth_tiles_,
                           .sums = sums,
                           .add = first > begin});
    }
  }
  /// Both sides of the product that gives the gradient of the weights.
  void prepare(std::size_t row, const float* slopes, unsigned char* rounded, unsigned char* pairs,
               std::size_t pairs_part, unsigned char* left, std::size_t left_part, float* bias) const {
    if (to_.weights) {
      patches_.padded.round(*kernels_.packs, images_.row(row).data(), rounded, part(rounded_bytes_));
      const std::size_t next = s_.stride * s_.channels, count = rounded_bytes_ / 2 - next;
      for (std::size_t p = 0; p < parts_; ++p) {
        const auto* const from = reinterpret_cast<const unsigned short*>(rounded + p * rounded_bytes_);
        kernels_.conv_packs->pairs(from, from + next, count, reinterpret_cast<unsigned short*>(pairs + p * pairs_part));
      }
    }
    kernels_.conv_packs->slopes(slopes, s_.out_height, s_.out_width, patches_.padded.pitch(), s_.filters, left,
                                depth_tiles_ * tile_bytes, part(left_part), bias);
  }
  void image_gradient(std::size_t row, const float* slopes, unsigned char* padded, const unsigned char* right,
                      const std::size_t* offsets) const {
    const std::size_t line = turned_.line * s_.filters * 2, inside = s_.out_width * s_.filters;
    kernels_.packs->rows(slopes, inside, s_.out_height, inside,
                         padded + turned_.above * line + turned_.left * s_.filters * 2,
                         {line, 64, side * line, part(padded_bytes_)});
    float* const image = to_.images.row(row).data();
    std::size_t done = 0;
    turned_.phases([&](std::size_t y, std::size_t x) {
      std::size_t count = 0;
      turned_.taps(y, x, [&](std::size_t, std::size_t) { ++count; });
      kernels_.conv->places({.a = padded,
                             .a_image = 0,
                             .a_row = s_.filters * 2,
                             .segments = offsets + done,
                             .segment_count = count,
                             .segment_tiles = turned_.tap_tiles,
                             .b = right + done * turned_.tap_tiles * tile_bytes,
                             .b_group = b_group_,
                             .a_part = part(padded_bytes_),
                             .b_part = part(b_part_),
                             .images = 1,
                             .height = groups_of(s_.height - y, s_.stride),
                             .width = groups_of(s_.width - x, s_.stride),
                             .pitch = turned_.line,
                             .c = image + (y * s_.width + x) * s_.channels,
                             .c_image = 0,
                             .c_line = s_.stride * s_.width * s_.channels,
                             .c_place = s_.stride * s_.channels,
                             .cols = s_.channels,
                             .bias = nullptr,
                             .add_c = !to_.assign_images,
                             .relu = false});
      done += count;
    });
  }
  /// Sums of 16 filters over the blocks, in order, to the gradient.
  void add_sums(std::size_t filter, const float* sums, std::size_t blocks) const {
    const std::size_t f = filter * side, wide = std::min(side, s_.filters - f);
    for (std::size_t i = 0; i < column_tiles_; ++i) {
      const float* const from = sums + (filter * column_tiles_ + i) * side * side;
      float sum[side * side];
      std::copy_n(from, side * side, sum);
      for (std::size_t b = 1; b < blocks; ++b)
        for (std::size_t k = 0; k < side * side; ++k) sum[k] += from[b * block_floats() + k];
      const std::size_t col = i % segment_columns_ * side, cols = std::min(side, patches_.segment - col);
      float* const to = to_.weights + (i / segment_columns_ * patches_.segment + col) * s_.filters + f;
      for (std::size_t c = 0; c < cols; ++c)
        for (std::size_t k = 0; k < wide; ++k) to[c * s_.filters + k] += sum[k * side + c];
    }
  }

  const TileKernels& kernels_;
  const ConvShape& s_;
  MatrixView<const float> images_;
  const float* weights_;
  MatrixView<const float> slopes_;
  const ConvGradients& to_;
  const ConvOptions& options_;
  std::size_t parts_;
  Patches patches_;
  TurnedTaps turned_;
  bool sums_wanted_, images_wanted_;
  std::size_t segment_columns_, column_tiles_, filter_tiles_, depth_tiles_;
  std::size_t rounded_bytes_, pairs_bytes_, left_bytes_, padded_bytes_, b_group_, b_part_, sum_floats_;
};

}  // namespace

bool rounded_conv_backward(const ConvShape& shape, MatrixView<const float> images, const float* weights,
                           MatrixView<const float> slopes, const ConvGradients& to, const ConvOptions& options) {
  const TileKernels* const kernels = tile_kernels();
  if (!kernels || !kernels->conv) return false;
  Backward(*kernels, shape, images, weights, slopes, to, options).run();
  return true;
}

}  // namespace redoubt::kernels::detail
