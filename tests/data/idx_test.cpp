#include "redoubt/data/idx.hpp"

#include <zlib.h>

#include <catch2/catch.hpp>
#include <cstring>
#include <fstream>

#include "redoubt/core/error.hpp"
#include "support/test_data.hpp"

using namespace redoubt;

namespace {

std::vector<std::byte> bytes_of(const std::string& text) {
  std::vector<std::byte> bytes(text.size());
  if (!text.empty()) std::memcpy(bytes.data(), text.data(), text.size());
  return bytes;
}

std::string idx(char type, const std::vector<std::uint32_t>& shape, const std::string& data) {
  std::string text{'\0', '\0', type, static_cast<char>(shape.size())};
  for (const std::uint32_t extent : shape) {
    for (int shift = 24; shift >= 0; shift -= 8) text += static_cast<char>(extent >> shift);
  }
  return text + data;
}

std::string message_of(const std::string& text, errc code = errc::corrupt) {
  try {
    read_idx_bytes(bytes_of(text), "file.idx");
  } catch (const Error& error) {
    CHECK(to_string(error.code()) == std::string(to_string(code)));
    return error.what();
  }
  FAIL("no error");
  return {};
}

void write(const std::string& path, const std::string& text, bool gzip = false) {
  if (gzip) {
    ::gzFile file = ::gzopen(path.c_str(), "wb");
    ::gzwrite(file, text.data(), static_cast<unsigned>(text.size()));
    ::gzclose(file);
  } else {
    std::ofstream(path, std::ios::binary) << text;
  }
}

}  // namespace

TEST_CASE("idx: element types", "[idx]") {
  const auto read = [](char type, std::uint32_t count, const std::string& data) {
    const Tensor<double> values = read_idx_bytes(bytes_of(idx(type, {count}, data)));
    return std::vector<double>(values.flat().begin(), values.flat().end());
  };
  using V = std::vector<double>;
  CHECK(read(0x08, 2, "\xff\x01") == V{255, 1});
  CHECK(read(0x09, 2, "\xff\x01") == V{-1, 1});
  CHECK(read(0x0b, 1, std::string("\xff\xfe", 2)) == V{-2});
  CHECK(read(0x0c, 1, std::string("\0\0\x01\0", 4)) == V{256});
  CHECK(read(0x0d, 1, std::string("\x3f\x80\0\0", 4)) == V{1});
  CHECK(read(0x0e, 1, std::string("\x3f\xf0\0\0\0\0\0\0", 8)) == V{1});
}

TEST_CASE("idx: images and labels, plain and packed", "[idx]") {
  test::TempDir dir;
  const std::string images = idx(0x08, {2, 2, 2}, std::string("\x01\x02\x03\x04\x05\x06\x07\xff", 8));
  const std::string labels = idx(0x08, {2}, std::string("\x09\x03", 2));
  for (const bool gzip : {false, true}) {
    write(dir / "images", images, gzip);
    write(dir / "labels", labels, gzip);
    const Dataset data = read_idx(dir / "images", dir / "labels");
    REQUIRE(data.rows() == 2);
    REQUIRE(data.cols() == 5);
    CHECK(data.column("p3").numbers == std::vector<double>{4, 255});
    CHECK(data.classes()[0] == "3");
    CHECK(data.labels()[0] == 1);
  }
  write(dir / "labels", idx(0x08, {3}, "123"));
  CHECK_THROWS_WITH(read_idx(dir / "images", dir / "labels"),
                    Catch::Contains("shape (2, 2, 2)") && Catch::Contains("shape (3)"));
}

TEST_CASE("idx: damaged files are refused with the byte", "[idx]") {
  CHECK(message_of("") == "file.idx: byte 0: not an IDX file");
  CHECK(message_of(idx(0x08, {0xffffffff, 0xffffffff, 0xffffffff}, "x")).find("does not fit the 1 bytes") !=
        std::string::npos);
  CHECK(message_of(idx(0x07, {1}, "x")) == "file.idx: byte 2: unknown element type 0x07");
  message_of(idx(0x08, {}, ""));
  message_of(idx(0x08, {1, 1, 1, 1, 1, 1, 1}, "x"));
  message_of(idx(0x0b, {1}, "xyz"));
  const std::string whole = idx(0x08, {2, 2}, "1234");
  for (std::size_t cut = 0; cut < whole.size(); ++cut) message_of(whole.substr(0, cut));
  test::TempDir dir;
  write(dir / "packed", idx(0x08, {100, 100}, std::string(10'000, 'x')), true);
  std::ifstream file(dir / "packed", std::ios::binary);
  const std::string packed{std::istreambuf_iterator<char>(file), {}};
  for (std::size_t cut = 2; cut < packed.size(); ++cut) message_of(packed.substr(0, cut));
  std::string damaged = packed;
  damaged[damaged.size() - 6] ^= 1;  // its checksum
  CHECK(message_of(damaged).find("damaged at byte") != std::string::npos);
}

TEST_CASE("idx: Fashion-MNIST", "[idx]") {
  REDOUBT_NEED_DATA(images, "fashion_mnist/t10k-images-idx3-ubyte.gz");
  REDOUBT_NEED_DATA(labels, "fashion_mnist/t10k-labels-idx1-ubyte.gz");
  REDOUBT_NEED_DATA(train_labels, "fashion_mnist/train-labels-idx1-ubyte.gz");
  const Dataset data = read_idx(images, labels);
  CHECK(data.rows() == 10'000);
  CHECK(data.cols() == 785);
  std::vector<int> counts(10);
  for (const std::int32_t label : data.labels()) ++counts[label];
  CHECK(counts == std::vector<int>(10, 1000));
  CHECK(read_idx(train_labels).size() == 60'000);
}
