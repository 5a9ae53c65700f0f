#include "data/inflate.hpp"

#include <fmt/format.h>
#include <zlib.h>

#include <algorithm>

#include "redoubt/core/error.hpp"

namespace redoubt::detail {
namespace {

constexpr std::size_t max_ratio = 1032;  // of deflate: 258 bytes from two bits
constexpr std::size_t chunk = std::size_t{1} << 30;

// One zlib stream over memory of any size.
class Stream {
 public:
  Stream(std::span<const std::byte> packed, int window_bits, std::string_view origin, std::size_t offset)
      : packed_(packed), origin_(origin), offset_(offset) {
    if (::inflateInit2(&stream_, window_bits) != Z_OK) fail(errc::internal, "zlib could not be initialised");
  }
  ~Stream() { ::inflateEnd(&stream_); }
  Stream(const Stream&) = delete;
  Stream& operator=(const Stream&) = delete;

  std::size_t used() const { return used_; }

  /// Fills `out` as far as the stream goes; `ended` tells whether it has ended. Error(corrupt) if it is damaged or cut.
  std::size_t read(std::span<std::byte> out, bool& ended) {
    std::size_t made = 0;
    ended = false;
    while (made < out.size() && !ended) {
      const std::size_t in = std::min(packed_.size() - used_, chunk), room = std::min(out.size() - made, chunk);
      stream_.next_in = reinterpret_cast<Bytef*>(const_cast<std::byte*>(packed_.data() + used_));
      stream_.avail_in = static_cast<uInt>(in);
      stream_.next_out = reinterpret_cast<Bytef*>(out.data() + made);
      stream_.avail_out = static_cast<uInt>(room);
      const int status = ::inflate(&stream_, Z_NO_FLUSH);
      const std::size_t consumed = in - stream_.avail_in, produced = room - stream_.avail_out;
      used_ += consumed;
      made += produced;
      ended = status == Z_STREAM_END;
      if (!ended && (status != Z_OK || (consumed == 0 && produced == 0))) {
        fail(errc::corrupt, fmt::format("{}: the compressed data are {} at byte {}", origin_,
                                        used_ == packed_.size() ? "cut off" : "damaged", offset_ + used_));
      }
    }
    return made;
  }

 private:
  ::z_stream stream_{};
  std::span<const std::byte> packed_;
  std::string_view origin_;
  std::size_t offset_, used_ = 0;
};

}  // namespace

std::vector<std::byte> inflate_raw(std::span<const std::byte> packed, std::size_t size, std::string_view origin,
                                   std::size_t offset) {
  if (size / max_ratio > packed.size()) {
    fail(errc::corrupt,
         fmt::format("{}: {} bytes at byte {} cannot unpack to {}", origin, packed.size(), offset, size));
  }
  std::vector<std::byte> out(size + 1);  // one more, to notice a stream that is too long
  Stream stream(packed, -MAX_WBITS, origin, offset);
  bool ended = false;
  const std::size_t made = stream.read(out, ended);
  if (made != size || !ended) {
    fail(errc::corrupt,
         fmt::format("{}: the data at byte {} do not unpack to the stated {} bytes", origin, offset, size));
  }
  out.resize(size);
  return out;
}

std::vector<std::byte> gunzip(std::span<const std::byte> packed, std::size_t limit, std::string_view origin) {
  std::vector<std::byte> out;
  std::size_t offset = 0, made = 0;
  while (offset < packed.size()) {
    Stream stream(packed.subspan(offset), MAX_WBITS + 16, origin, offset);
    for (bool ended = false; !ended;) {
      if (made == out.size()) out.resize(std::max<std::size_t>(std::size_t{1} << 16, 2 * out.size()));
      made += stream.read(std::span(out).subspan(made), ended);
      if (made > limit) fail(errc::unsupported, fmt::format("{} unpacks to more than {} bytes", origin, limit));
    }
    offset += stream.used();
  }
  out.resize(made);
  return out;
}

}  // namespace redoubt::detail
