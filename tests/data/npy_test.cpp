#include "redoubt/data/npy.hpp"

#include <catch2/catch.hpp>
#include <cmath>
#include <cstring>
#include <fstream>
#include <limits>
#include <map>

#include "redoubt/core/error.hpp"
#include "redoubt/core/random.hpp"
#include "redoubt/data/row_stream.hpp"
#include "support/test_data.hpp"

using namespace redoubt;

namespace {

std::vector<std::byte> npy(const std::string& header, const std::string& data, int major = 1) {
  std::string text = "\x93NUMPY";
  text += static_cast<char>(major);
  text += '\0';
  text += static_cast<char>(header.size() & 0xff);
  text += static_cast<char>(header.size() >> 8 & 0xff);
  if (major > 1) {
    text += static_cast<char>(header.size() >> 16 & 0xff);
    text += static_cast<char>(header.size() >> 24);
  }
  text += header + data;
  std::vector<std::byte> bytes(text.size());
  if (!text.empty()) std::memcpy(bytes.data(), text.data(), text.size());
  return bytes;
}

std::string header(const std::string& descr, bool fortran, const std::string& shape) {
  return "{'descr': '" + descr + "', 'fortran_order': " + (fortran ? "True" : "False") + ", 'shape': " + shape +
         ", }\n";
}

std::string message_of(std::span<const std::byte> bytes, errc code) {
  try {
    read_npy_bytes<double>(bytes, "file.npy");
  } catch (const Error& error) {
    CHECK(to_string(error.code()) == std::string(to_string(code)));
    return error.what();
  }
  FAIL("no error");
  return {};
}

// A zip file of one stored entry, written by hand.
std::vector<std::byte> stored_zip(const std::string& name, std::span<const std::byte> content, std::uint32_t crc,
                                  std::uint32_t stated_size) {
  std::string text;
  const auto put = [&](std::uint64_t value, int bytes) {
    for (int i = 0; i < bytes; ++i) text += static_cast<char>(value >> (8 * i));
  };
  const auto sizes = [&] {
    put(crc, 4);
    put(stated_size, 4);
    put(stated_size, 4);
    put(name.size(), 2);
    put(0, 2);
  };
  put(0x04034b50, 4), put(20, 2), put(0, 2), put(0, 2), put(0, 4), sizes();
  text += name;
  text.append(reinterpret_cast<const char*>(content.data()), content.size());
  const std::size_t directory = text.size();
  put(0x02014b50, 4), put(20, 2), put(20, 2), put(0, 2), put(0, 2), put(0, 4), sizes();
  put(0, 2), put(0, 2), put(0, 2), put(0, 4), put(0, 4);
  text += name;
  const std::size_t size = text.size() - directory;
  put(0x06054b50, 4), put(0, 4), put(1, 2), put(1, 2), put(size, 4), put(directory, 4), put(0, 2);
  std::vector<std::byte> bytes(text.size());
  if (!text.empty()) std::memcpy(bytes.data(), text.data(), text.size());
  return bytes;
}

}  // namespace

TEST_CASE("npy: what was written reads back", "[npy]") {
  Tensor<double> values{2, 3};
  for (std::size_t i = 0; i < 6; ++i) values.flat()[i] = static_cast<double>(i) / 3;
  values.flat()[4] = std::numeric_limits<double>::infinity();
  test::TempDir dir;
  write_npy(values, dir / "x.npy");
  CHECK(read_npy<double>(dir / "x.npy") == values);
  const auto bytes = to_npy_bytes<double>(values);
  CHECK((bytes.size() - 6 * sizeof(double)) % 64 == 0);
  CHECK(read_npy_bytes<float>(bytes)(0, 1) == static_cast<float>(1.0 / 3));
  Tensor<std::int64_t> integers{3};
  integers.flat()[0] = std::numeric_limits<std::int64_t>::min();
  CHECK(read_npy_bytes<std::int64_t>(to_npy_bytes<std::int64_t>(integers)) == integers);
  Tensor<std::uint8_t> small{1, 1, 4};
  small.flat()[3] = 255;
  CHECK(read_npy_bytes<std::int32_t>(to_npy_bytes<std::uint8_t>(small)).flat()[3] == 255);
  CHECK_THROWS_AS(write_npy(values, dir / "no/such/dir.npy"), Error);
}

TEST_CASE("npy: element types, byte orders and storage orders", "[npy]") {
  const auto read = [](const std::string& descr, bool fortran, const std::string& shape, const std::string& data,
                       int major = 1) {
    const Tensor<double> values = read_npy_bytes<double>(npy(header(descr, fortran, shape), data, major));
    return std::vector<double>(values.flat().begin(), values.flat().end());
  };
  using V = std::vector<double>;
  CHECK(read("|i1", false, "(2,)", "\xff\x02") == V{-1, 2});
  CHECK(read("|u1", false, "(2,)", "\xff\x02") == V{255, 2});
  CHECK(read("|b1", false, "(2,)", std::string("\x01\0", 2)) == V{1, 0});
  CHECK(read("<i2", false, "(2,)", std::string("\x01\x00\xfe\xff", 4)) == V{1, -2});
  CHECK(read(">u2", false, "(2,)", std::string("\x01\x00\xfe\xff", 4)) == V{256, 65279});
  CHECK(read("<u4", false, "(1,)", "\xff\xff\xff\xff") == V{4294967295.0});
  CHECK(read(">i4", false, "(1,)", std::string("\x00\x00\x01\x00", 4)) == V{256});
  CHECK(read(">f4", false, "()", std::string("\x3f\x80\x00\x00", 4)) == V{1});
  CHECK(read("<f8", false, "(1,)", std::string("\0\0\0\0\0\0\xf0\x3f", 8)) == V{1});
  CHECK(read("<u8", false, "(1,)", std::string("\0\0\0\0\0\0\0\x80", 8)) == V{9223372036854775808.0});
  CHECK(read("|i1", true, "(2, 3)", "\x01\x04\x02\x05\x03\x06") == V{1, 2, 3, 4, 5, 6});
  CHECK(read("|i1", true, "(2, 1, 3)", "\x01\x04\x02\x05\x03\x06") == V{1, 2, 3, 4, 5, 6});
  CHECK(read("|i1", false, "(2, 3)", "\x01\x02\x03\x04\x05\x06", 2) == V{1, 2, 3, 4, 5, 6});
  CHECK(read("|i1", false, "(2, 3)", "\x01\x02\x03\x04\x05\x06", 3) == V{1, 2, 3, 4, 5, 6});
  CHECK(read("|i1", false, "(0, 3)", "").empty());
}

TEST_CASE("npy: files of several blocks read as their bytes do", "[npy]") {
  test::TempDir dir;
  const auto written = [&](const std::vector<std::byte>& bytes) {
    std::ofstream(dir / "x.npy", std::ios::binary)
        .write(reinterpret_cast<const char*>(bytes.data()), static_cast<std::streamsize>(bytes.size()));
    return read_npy<double>(dir / "x.npy");
  };
  const auto check = [&](const std::vector<std::byte>& bytes) {
    CHECK(written(bytes) == read_npy_bytes<double>(bytes));
  };
  std::string data(8 * 100'001, '\0');
  for (std::size_t i = 0; i < data.size(); ++i) data[i] = static_cast<char>(i * 7 % 61);
  check(npy(header("<f8", false, "(100001,)"), data));  // the header's length leaves elements across blocks
  check(npy(header(">i4", false, "(2, 100001)"), data));
  check(npy(header("|b1", false, "(800008,)"), data));
  check(npy(header("<f4", true, "(2, 100001)"), data));
  check(npy(header("<f8", false, "(100001,)") + std::string(300'000, ' '), data, 2));  // a header of several blocks
  auto cut = npy(header("<f8", false, "(100001,)"), data);
  cut.pop_back();
  CHECK_THROWS_WITH(written(cut), Catch::Contains("x.npy: byte "));
  Tensor<double> values{100'001};
  values.flat()[100'000] = 0.5;
  write_npy(values, dir / "x.npy");
  CHECK_THROWS_WITH(read_npy<std::int32_t>(dir / "x.npy"), Catch::Contains("element 100000 is 0.5"));
}

TEST_CASE("npy: conversions that lose a value are refused", "[npy]") {
  Tensor<double> values{2};
  values.flat()[1] = 0.5;
  CHECK_THROWS_WITH(read_npy_bytes<std::int32_t>(to_npy_bytes<double>(values)), Catch::Contains("element 1 is 0.5"));
  values.flat()[1] = 256;
  CHECK_THROWS_AS(read_npy_bytes<std::uint8_t>(to_npy_bytes<double>(values)), Error);
  CHECK(read_npy_bytes<std::int32_t>(to_npy_bytes<double>(values)).flat()[1] == 256);
  values.flat()[1] = std::nan("");
  CHECK_THROWS_AS(read_npy_bytes<std::int64_t>(to_npy_bytes<double>(values)), Error);
  values.flat()[1] = 9223372036854775808.0;
  CHECK_THROWS_AS(read_npy_bytes<std::int64_t>(to_npy_bytes<double>(values)), Error);
}

TEST_CASE("npy: damaged files are refused with the byte", "[npy]") {
  CHECK(message_of({}, errc::corrupt) == "file.npy: byte 0: not an NPY file");
  CHECK(message_of(npy(header("<f8", false, "(1152921504606846976,)"), "12345678"), errc::corrupt) ==
        "file.npy: byte 86: shape (1152921504606846976) of 8-byte elements does not fit the 8 bytes that follow");
  message_of(npy(header("<f8", false, "(4294967296, 4294967296)"), ""), errc::corrupt);
  message_of(npy(header("<f8", false, "(0, 4294967296, 4294967296)"), ""), errc::corrupt);
  message_of(npy(header("<f8", false, "(2,)"), "12345678"), errc::corrupt);
  message_of(npy(header("<f8", false, "(1,)"), "123456789"), errc::corrupt);
  message_of(npy(header("<f8", false, "(-1,)"), "12345678"), errc::corrupt);
  message_of(npy(header("<f8", false, "(99999999999999999999999,)"), "12345678"), errc::corrupt);
  message_of(npy("{'descr': '<f8', 'shape': (1,), }", "12345678"), errc::corrupt);
  message_of(npy("{'descr': '<f8', 'descr': '<f8', 'fortran_order': False, 'shape': (1,)}", "12345678"), errc::corrupt);
  message_of(npy("{'descr': '<f8', 'fortran_order': False, 'shape': (1,)} x", "12345678"), errc::corrupt);
  message_of(npy("{'descr': __import__('os'), 'fortran_order': False, 'shape': (1,)}", "12345678"), errc::corrupt);
  message_of(npy(header("|O", false, "(1,)"), "12345678"), errc::unsupported);
  message_of(npy(header("<c8", false, "(1,)"), "12345678"), errc::unsupported);
  message_of(npy("{'descr': [('a', '<f8')], 'fortran_order': False, 'shape': (1,)}", "12345678"), errc::unsupported);
  message_of(npy(header("<f8", false, "(1,1,1,1,1,1,1)"), "12345678"), errc::unsupported);
  message_of(npy(header("<f8", false, "(1,)"), "12345678", 4), errc::unsupported);
  const auto whole = npy(header("<f8", false, "(1,)"), "12345678");
  for (std::size_t cut = 0; cut < whole.size(); ++cut) message_of(std::span(whole).first(cut), errc::corrupt);
}

TEST_CASE("npy: long headers are read, up to a limit", "[npy]") {
  test::TempDir dir;
  const auto write = [&](const std::string& name, const std::vector<std::byte>& bytes) {
    std::ofstream(dir / name, std::ios::binary)
        .write(reinterpret_cast<const char*>(bytes.data()), static_cast<std::streamsize>(bytes.size()));
    return dir / name;
  };
  // The blanks behind the dictionary align the data; nothing bounds them in versions 2 and 3.
  const auto padded = [](std::size_t length, int major) {
    std::string text = header("|i1", false, "(3, 2)");
    text.insert(text.size() - 1, length - text.size(), ' ');
    return npy(text, "\x01\x02\x03\x04\x05\x06", major);
  };
  const std::string y = write("y.npy", npy(header("|u1", false, "(3,)"), std::string("\x00\x01\x00", 3)));
  for (const auto& [length, major] : std::vector<std::pair<std::size_t, int>>{
           {65535, 1}, {65524, 2}, {65536, 2}, {70001, 2}, {70001, 3}, {std::size_t{1} << 20, 2}}) {
    const std::string x = write("x.npy", padded(length, major));
    const Tensor<double> values = read_npy<double>(x);
    CHECK(std::vector<double>(values.flat().begin(), values.flat().end()) == std::vector<double>{1, 2, 3, 4, 5, 6});
    NpyRowStream stream(x, y);
    Tensor<float> rows({std::size_t{4}, std::size_t{2}}), targets({std::size_t{4}, std::size_t{1}});
    REQUIRE(stream.read(rows, targets) == 3);
    CHECK(std::vector<float>(rows.data(), rows.data() + 6) == std::vector<float>{1, 2, 3, 4, 5, 6});
    CHECK(targets(1, 0) == 1);
  }
  const auto longer = padded((std::size_t{1} << 20) + 1, 2);
  CHECK(message_of(longer, errc::unsupported) ==
        "file.npy: byte 8: the NPY header is 1048577 bytes long; at most 1048576 can be read");
  CHECK_THROWS_WITH(NpyRowStream(write("x.npy", longer), y), Catch::Contains("1048577 bytes long"));
  // A length that the file does not have, which nothing may be allocated for.
  auto cut = padded(70001, 2);
  cut[11] = std::byte{0xff};
  message_of(cut, errc::corrupt);
  CHECK_THROWS_WITH(NpyRowStream(write("x.npy", cut), y), Catch::Contains("ends inside the NPY header"));
}

TEST_CASE("npy: datasets", "[npy]") {
  test::TempDir dir;
  Tensor<float> x{3, 2};
  x(2, 1) = 5;
  Tensor<std::int32_t> y{3};
  y.flat()[1] = 7;
  write_npy(x, dir / "x.npy");
  write_npy(y, dir / "y.npy");
  const Dataset data = read_npy_dataset(dir / "x.npy", dir / "y.npy");
  CHECK(data.column("f1").numbers == std::vector<double>{0, 0, 5});
  CHECK(data.classes()[1] == "7");
  CHECK(data.labels()[1] == 1);
  CHECK(read_npy_dataset(dir / "x.npy").task() == Task::none);
  CHECK_THROWS_WITH(read_npy_dataset(dir / "x.npy", dir / "x.npy"), Catch::Contains("y has shape (3, 2)"));
}

TEST_CASE("npz: stored archives, checksums and damage", "[npy]") {
  Tensor<std::uint8_t> values{2};
  values.flat()[1] = 9;
  const auto content = to_npy_bytes<std::uint8_t>(values);
  const auto size = static_cast<std::uint32_t>(content.size());
  const std::uint32_t crc = 0x7b7d3cd5;  // not the right one
  const Npz archive = Npz::from_bytes(stored_zip("a.npy", content, crc, size), "file.npz");
  CHECK(archive.names() == std::vector<std::string>{"a"});
  CHECK_THROWS_WITH(archive.get<double>("a"), Catch::Contains("has checksum"));
  CHECK_THROWS_WITH(archive.get<double>("b"), Catch::Contains("nearest: \"a\""));
  CHECK_THROWS_AS(Npz::from_bytes(stored_zip("a.npy", content, crc, size + 1000), "file.npz"), Error);
  CHECK_THROWS_AS(Npz::from_bytes({}, "file.npz"), Error);
  const auto whole = stored_zip("a.npy", content, crc, size);
  for (std::size_t cut = 0; cut < whole.size(); ++cut) {
    CHECK_THROWS_AS(Npz::from_bytes({whole.begin(), whole.begin() + static_cast<std::ptrdiff_t>(cut)}), Error);
  }
}

TEST_CASE("npz: real files have the documented rows and anomalies", "[npy]") {
  struct Expected {
    const char* path;
    std::size_t rows, cols;
    int anomalies;
  };
  for (const Expected& expected :
       {Expected{"adbench/6_cardio.npz", 1831, 21, 176}, Expected{"adbench/38_thyroid.npz", 3772, 6, 93},
        Expected{"adbench/32_shuttle.npz", 49097, 9, 3511}, Expected{"adbench/31_satimage-2.npz", 5803, 36, 71},
        Expected{"adbench/25_musk.npz", 3062, 166, 97}, Expected{"adbench/4_breastw.npz", 683, 9, 239},
        Expected{"adbench/12_fault.npz", 1941, 27, 673}, Expected{"adbench/10_cover.npz", 286048, 10, 2747}}) {
    const std::string path = test::data_path(expected.path);
    if (path.empty()) {
      WARN("SKIPPED: " << expected.path << " is not below REDOUBT_TEST_DATA");
      continue;
    }
    INFO(expected.path);
    const Dataset data = read_npz_dataset(path);
    CHECK(data.rows() == expected.rows);
    CHECK(data.cols() == expected.cols + 1);
    int anomalies = 0;
    for (const std::int32_t label : data.labels()) anomalies += data.classes()[label] == "1";
    CHECK(anomalies == expected.anomalies);
  }
}
