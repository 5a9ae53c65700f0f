#pragma once
#include <algorithm>
#include <cstddef>

#include "core/kept_memory.hpp"
#include "kernels/conv.hpp"
#include "kernels/conv_table.hpp"
#include "kernels/rounded.hpp"

/// What convolutions in tiles and their gradients share.
namespace redoubt::kernels::detail::conv {

inline constexpr std::size_t side = 16, deep = 32, tile_bytes = 1024;  // of a tile: rows or columns, depth
inline constexpr std::size_t image_block = 8;                          // images of a task

/// Memory of the calling thread for what all tasks read, and of each thread for its task.
class SharedMemory : public redoubt::detail::KeptMemory<SharedMemory> {
 public:
  explicit SharedMemory(std::size_t bytes) : KeptMemory(bytes, std::size_t{64} << 20) {}
};
class TaskMemory : public redoubt::detail::KeptMemory<TaskMemory> {
 public:
  explicit TaskMemory(std::size_t bytes) : KeptMemory(bytes, std::size_t{64} << 20) {}
};

/// Pieces of a block of memory, each at a line of its own.
struct Pieces {
  std::size_t size = 0;
  std::size_t take(std::size_t bytes) {
    const std::size_t at = size;
    size += round_up(bytes, 64);
    return at;
  }
};

/// Images of bf16 with zeros around them, so that the places of a window follow each other at one distance: lines are
/// sorted by their remainder by the stride, and are a multiple of it long.
struct PaddedImages {
  std::size_t stride, channels, lines, line;  // lines of each remainder; pixels of a line
  std::size_t pad, height, width;             // of what lies inside

  std::size_t pitch() const { return line / stride; }  // places from line to line
  std::size_t values() const { return stride * lines * line * channels; }
  /// Where the pixel that is (y, x) away from the one at a place lies, in values.
  std::size_t offset(std::size_t y, std::size_t x) const {
    return ((y % stride * lines + y / stride) * line + x) * channels;
  }
  void round(const PairPacks& packs, const float* image, unsigned char* to, std::size_t part) const {
    const std::size_t row = line * channels * 2;
    for (std::size_t r = 0; r < stride; ++r) {  // ascending: a line may be followed by some zeros more
      const std::size_t first = (r + stride - pad % stride) % stride;
      if (first >= height) continue;
      packs.rows(image + first * width * channels, stride * width * channels, (height - first + stride - 1) / stride,
                 width * channels, to + (offset(first + pad, pad)) * 2, {row, 64, side * row, part});
    }
  }
};

/// What the forward pass and the gradient of the weights read: images and the segments of their patches.
struct Patches {
  const ConvShape& s;
  PaddedImages padded;
  std::size_t segment, segments, segment_tiles;  // values, number, tiles in depth

  explicit Patches(const ConvShape& shape)
      : s(shape), padded{s.stride,
                         s.channels,
                         groups_of(s.height + 2 * s.pad, s.stride),
                         round_up(s.width + 2 * s.pad, s.stride),
                         s.pad,
                         s.height,
                         s.width} {
    const bool dense = s.dilation == 1;  // neighbouring taps are neighbours in the image
    segment = (dense ? s.kernel_width : 1) * s.channels;
    segments = s.kernel_height * (dense ? 1 : s.kernel_width);
    segment_tiles = groups_of(segment, deep);
  }
  std::size_t offset(std::size_t index) const {
    if (s.dilation == 1) return padded.offset(index, 0);
    return padded.offset(index / s.kernel_width * s.dilation, index % s.kernel_width * s.dilation);
  }
  std::size_t flat_places() const { return (s.out_height - 1) * padded.pitch() + s.out_width; }
  /// Values from the first of an image to the end of what is read.
  std::size_t extent() const {
    std::size_t last = 0;
    for (std::size_t i = 0; i < segments; ++i) last = std::max(last, offset(i));
    const std::size_t read =
        (round_up(flat_places(), deep) + 1) * s.stride * s.channels + last + round_up(segment, deep);
    return round_up(std::max(read, padded.values()) + deep, deep);
  }
};

}  // namespace redoubt::kernels::detail::conv
