#include "kernels/conv.hpp"

#include <algorithm>
#include <cstring>

#include "kernels/conv_images.hpp"
#include "redoubt/core/parallel.hpp"

namespace redoubt::kernels::detail {
namespace {

using namespace conv;

constexpr std::size_t group_bytes = 256 * 1024;  // of images and results that meet the same weights before the next

/// One kernel for a batch; what it reads of the weights is packed once.
class Forward {
 public:
  Forward(const TileKernels& kernels, const ConvShape& shape, MatrixView<const float> images, const float* weights,
          const float* bias, bool relu, MatrixView<float> dst, const ConvOptions& options)
      : kernels_(kernels),
        s_(shape),
        images_(images),
        weights_(weights),
        bias_(bias),
        relu_(relu),
        dst_(dst),
        options_(options),
        parts_(parts_of(options.precision)),
        patches_(shape),
        extent_(patches_.extent()),
        b_group_(patches_.segments * patches_.segment_tiles * tile_bytes),
        b_part_(groups_of(s_.filters, side) * b_group_) {}

  void run() const {
    Pieces pieces;
    const std::size_t offsets = pieces.take(patches_.segments * sizeof(std::size_t));
    const std::size_t right = pieces.take(b_part_ * parts_);
    const SharedMemory memory(pieces.size);
    auto* const segments = reinterpret_cast<std::size_t*>(memory.data() + offsets);
    for (std::size_t i = 0; i < patches_.segments; ++i) segments[i] = patches_.offset(i) * 2;
    pack(memory.data() + right);
    const std::size_t image_bytes = extent_ * 2;
    const std::size_t group =
        std::clamp<std::size_t>(group_bytes / (image_bytes + s_.places() * s_.filters * sizeof(float)), 1, image_block);
    parallel_for(
        images_.rows(), group,
        [&](std::size_t begin, std::size_t end) {
          const TaskMemory own((end - begin) * image_bytes * parts_);
          multiply(begin, end, own.data(), memory.data() + right, segments);
          if (options_.finished) (*options_.finished)(begin, end);
        },
        options_.arena);
  }

 private:
  void pack(unsigned char* right) const {
    if (patches_.segment % deep != 0) std::memset(right, 0, b_part_ * parts_);
    for (std::size_t i = 0; i < patches_.segments; ++i)
      kernels_.packs->panel(weights_ + i * patches_.segment * s_.filters, s_.filters, s_.filters, patches_.segment,
                            right + i * patches_.segment_tiles * tile_bytes,
                            {64, tile_bytes, b_group_, parts_ == 2 ? b_part_ : 0});
  }
  void multiply(std::size_t begin, std::size_t end, unsigned char* left, const unsigned char* right,
                const std::size_t* segments) const {
    const std::size_t image_bytes = extent_ * 2, part = parts_ == 2 ? (end - begin) * image_bytes : 0;
    std::memset(left, 0, (end - begin) * image_bytes * parts_);
    for (std::size_t r = begin; r < end; ++r)
      patches_.padded.round(*kernels_.packs, images_.row(r).data(), left + (r - begin) * image_bytes, part);
    kernels_.conv->places({.a = left,
                           .a_image = image_bytes,
                           .a_row = s_.stride * s_.channels * 2,
                           .segments = segments,
                           .segment_count = patches_.segments,
                           .segment_tiles = patches_.segment_tiles,
                           .b = right,
                           .b_group = b_group_,
                           .a_part = part,
                           .b_part = parts_ == 2 ? b_part_ : 0,
                           .images = end - begin,
                           .height = s_.out_height,
                           .width = s_.out_width,
                           .pitch = patches_.padded.pitch(),
                           .c = dst_.row(begin).data(),
                           .c_image = dst_.stride(),
                           .c_line = s_.out_width * s_.filters,
                           .c_place = s_.filters,
                           .cols = s_.filters,
                           .bias = bias_,
                           .add_c = false,
                           .relu = relu_});
  }

  const TileKernels& kernels_;
  const ConvShape& s_;
  MatrixView<const float> images_;
  const float *weights_, *bias_;
  bool relu_;
  MatrixView<float> dst_;
  const ConvOptions& options_;
  std::size_t parts_;
  Patches patches_;
  std::size_t extent_, b_group_, b_part_;
};

}  // namespace

bool rounded_conv(const ConvShape& shape, MatrixView<const float> images, const float* weights, const float* bias,
                  bool relu, MatrixView<float> dst, const ConvOptions& options) {
  const TileKernels* const kernels = tile_kernels();
  if (!kernels || !kernels->conv) return false;
  Forward(*kernels, shape, images, weights, bias, relu, dst, options).run();
  return true;
}

}  // namespace redoubt::kernels::detail
