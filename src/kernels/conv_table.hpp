#pragma once
// The kernels of convolutions whose operands are rounded to bf16, by tiles: plain data only, see table.hpp.
#include <stddef.h>

namespace redoubt::kernels::detail {

/// A product of places of images. Place (y, x) of an image is row y * pitch + x of the left side, whose depth is made
/// of segments of 32 * segment_tiles values each; those that lie beyond a segment meet weights of 0. The rows between
/// `width` and `pitch` are multiplied, too, and dropped.
struct ConvPlaces {
  const unsigned char* a;  // of the first place: bf16
  size_t a_image, a_row;   // bytes from image to image and from place to place
  const size_t* segments;  // bytes from a place to each of its segments
  size_t segment_count, segment_tiles;
  const unsigned char* b;  // tiles of 16 pairs in depth and 16 columns; those of the same columns follow one another
  size_t b_group;          // bytes from 16 columns to the next
  size_t a_part, b_part;   // bytes from the leading to the second part of each side; 0: there is one part
  size_t images, height, width, pitch;
  float* c;
  size_t c_image, c_line, c_place;  // floats from image to image, line to line, place to place
  size_t cols;
  const float* bias;  // of the columns, or null
  bool add_c, relu;
};

/// A product over the places of images: filters times columns of patches, in sums of 16 x 16, [filters][columns].
struct ConvSums {
  const unsigned char* a;  // tiles of 16 filters times 32 places; those of the same filters follow one another
  size_t a_image, a_group;
  const unsigned char* b;  // pairs of values of places that are neighbours
  size_t b_image, b_row;   // bytes from image to image and from 2 places to the next 2
  const size_t* columns;   // bytes from a place to each 16 columns
  size_t a_part, b_part;
  size_t images, filter_tiles, column_tiles, depth_tiles;
  float* sums;
  bool add;
};

struct ConvPacks {
  /// dst[i] = the pair first[i], second[i]; all are bf16.
  void (*pairs)(const unsigned short* first, const unsigned short* second, size_t count, unsigned short* dst);
  /// Slopes of height x width places and `filters` values as the left side of ConvSums, with zeros for the places
  /// between width and pitch and behind the last; sums[f] += the slopes, unless it is null. At most 32 groups.
  void (*slopes)(const float* src, size_t height, size_t width, size_t pitch, size_t filters, unsigned char* dst,
                 size_t group, size_t part, float* sums);
};

struct ConvKernels {
  void (*places)(const ConvPlaces&);
  void (*sums)(const ConvSums&);
};

extern const ConvPacks avx512_conv_packs;
extern const ConvKernels amx_conv_kernels;

}  // namespace redoubt::kernels::detail
