#include "redoubt/data/archive.hpp"

#include <sys/resource.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include <array>
#include <bit>
#include <catch2/catch.hpp>
#include <csignal>
#include <cstring>
#include <filesystem>
#include <fstream>
#include <limits>
#include <nlohmann/json.hpp>
#include <string>

#include "redoubt/core/error.hpp"
#include "support/test_data.hpp"

using redoubt::Archive;
using redoubt::errc;
using redoubt::Error;

namespace {

std::vector<std::byte> bytes_of(std::string_view text) {
  const auto bytes = std::as_bytes(std::span(text.data(), text.size()));
  return {bytes.begin(), bytes.end()};
}

/// A file with this header (length in front) and so many zero bytes of data.
std::vector<std::byte> file_of(std::string_view header, std::size_t data = 0) {
  const std::uint64_t length = header.size();
  std::string file(8, '\0');
  std::memcpy(file.data(), &length, 8);
  file += header;
  file.append(data, '\0');
  return bytes_of(file);
}

/// The error of reading `bytes`, or of nothing.
struct Outcome {
  errc code = errc::ok;
  std::string message;
};

Outcome read(std::span<const std::byte> bytes) {
  try {
    Archive::from_bytes(bytes, "test.redoubt");
    return {};
  } catch (const Error& error) {
    return {error.code(), error.what()};
  }
}

template <class F>
Outcome outcome(F f) {
  try {
    f();
    return {};
  } catch (const Error& error) {
    return {error.code(), error.what()};
  }
}

template <class T>
std::vector<T> extremes() {
  return {std::numeric_limits<T>::lowest(), T{0}, T{1}, std::numeric_limits<T>::max()};
}

Archive sample() {
  Archive archive;
  archive.set("name", "value");
  archive.set_int("answer", 42);
  const std::vector<std::string> list{"a", "", "\"quoted\"", "caf\u00e9"};
  archive.set_list("list", list);
  archive.put("floats", std::vector<float>{1.5f, -2.5f, 3.25f});
  archive.put("codes", std::vector<std::int32_t>{1, 2, 3, 4, 5});
  const std::array<double, 6> matrix{1, 2, 3, 4, 5, 6};
  const std::array<std::size_t, 2> shape{2, 3};
  archive.put<double>("matrix", matrix, shape);
  return archive;
}

}  // namespace

TEST_CASE("an archive gives back every string, number and list bit for bit", "[archive]") {
  Archive archive;
  const std::vector<std::string> texts{"",
                                       "plain",
                                       std::string("nul\0inside", 10),
                                       "\n\t\\\"/\x1f\x7f",
                                       "\u20ac \U0001F600",
                                       "latin-1 \xe9 is no UTF-8",
                                       "redoubt-hex:6162",
                                       "\xed\xa0\x80"};
  for (std::size_t i = 0; i < texts.size(); ++i) archive.set("text." + std::to_string(i), texts[i]);
  archive.set_list("list", texts);
  archive.set_list("empty", {});
  const std::vector<double> numbers{0.0,
                                    -0.0,
                                    0.1,
                                    1e-320,
                                    1.7976931348623157e308,
                                    std::numeric_limits<double>::infinity(),
                                    -std::numeric_limits<double>::infinity()};
  for (std::size_t i = 0; i < numbers.size(); ++i) archive.set_number("number." + std::to_string(i), numbers[i]);
  archive.set_number("nan", std::numeric_limits<double>::quiet_NaN());
  archive.set_int("smallest", std::numeric_limits<std::int64_t>::min());

  const Archive back = Archive::from_bytes(archive.to_bytes());
  for (std::size_t i = 0; i < texts.size(); ++i) CHECK(back.get("text." + std::to_string(i)) == texts[i]);
  CHECK(back.get_list("list") == texts);
  CHECK(back.get_list("empty").empty());
  for (std::size_t i = 0; i < numbers.size(); ++i)
    CHECK(std::bit_cast<std::uint64_t>(back.get_number("number." + std::to_string(i))) ==
          std::bit_cast<std::uint64_t>(numbers[i]));
  CHECK(std::isnan(back.get_number("nan")));
  CHECK(back.get_int("smallest") == std::numeric_limits<std::int64_t>::min());
  CHECK(back.strings() == archive.strings());
}

TEMPLATE_TEST_CASE("an archive gives back tensors of every element type", "[archive]", float, double, std::int8_t,
                   std::uint8_t, std::int16_t, std::uint16_t, std::int32_t, std::uint32_t, std::int64_t,
                   std::uint64_t) {
  const auto values = extremes<TestType>();
  const std::array<std::size_t, 3> shape{2, 1, 2};
  Archive archive;
  archive.put<TestType>("t", values, shape);
  archive.put("empty", std::vector<TestType>{});
  archive.put("vector", values);
  const Archive back = Archive::from_bytes(archive.to_bytes());
  const auto view = back.tensor<TestType>("t");
  CHECK(std::vector<std::size_t>(view.shape().begin(), view.shape().end()) == std::vector<std::size_t>{2, 1, 2});
  CHECK(std::vector<TestType>(view.flat().begin(), view.flat().end()) == values);
  CHECK(reinterpret_cast<std::uintptr_t>(view.data()) % 64 == 0);
  CHECK(back.get_vector<TestType>("vector") == values);
  CHECK(back.get_vector<TestType>("empty").empty());
}

TEST_CASE("an archive file is valid safetensors with 64-byte aligned tensors", "[archive]") {
  const auto bytes = sample().to_bytes();
  std::uint64_t length = 0;
  std::memcpy(&length, bytes.data(), 8);
  REQUIRE((8 + length) % 64 == 0);
  const std::string text(reinterpret_cast<const char*>(bytes.data()) + 8, length);
  REQUIRE(text.front() == '{');
  const auto header = nlohmann::json::parse(text);
  CHECK(header["__metadata__"]["answer"] == "42");

  // As the format asks: in order of offset, without holes, the last one ends with the file.
  std::vector<std::array<std::size_t, 2>> ranges;
  for (const auto& [name, entry] : header.items()) {
    if (name == "__metadata__") continue;
    ranges.push_back({entry["data_offsets"][0], entry["data_offsets"][1]});
    if (name.rfind("__pad.", 0) == 0) {
      CHECK(entry["dtype"] == "U8");
      continue;
    }
    INFO(name);
    CHECK((8 + length + ranges.back()[0]) % 64 == 0);
  }
  std::sort(ranges.begin(), ranges.end());
  std::size_t end = 0;
  for (const auto& range : ranges) {
    CHECK(range[0] == end);
    end = range[1];
  }
  CHECK(8 + length + end == bytes.size());
}

TEST_CASE("equal archives give equal bytes, in whatever order they were filled", "[archive]") {
  Archive one, two;
  one.set("a", "1");
  one.set("b", "2");
  one.put("x", std::vector<float>{1, 2});
  one.put("y", std::vector<std::uint8_t>{3});
  two.put("y", std::vector<std::uint8_t>{7});
  two.put("y", std::vector<std::uint8_t>{3});
  two.put("x", std::vector<float>{1, 2});
  two.set("b", "0");
  two.set("b", "2");
  two.set("a", "1");
  CHECK(one.to_bytes() == two.to_bytes());
  CHECK(one.content_hash() == two.content_hash());
  CHECK(Archive::from_bytes(one.to_bytes()).to_bytes() == one.to_bytes());
  CHECK(Archive().to_bytes().size() == 64);
  CHECK(Archive::from_bytes(Archive().to_bytes()).tensor_names().empty());
}

TEST_CASE("the content hash sees every string, name, type, shape and value", "[archive]") {
  const Archive base = sample();
  std::vector<std::string> hashes{base.content_hash()};
  const auto with = [&](auto change) {
    Archive archive = sample();
    change(archive);
    hashes.push_back(archive.content_hash());
  };
  with([](Archive& a) { a.set("name", "other"); });
  with([](Archive& a) { a.set("nam", "evalue"); });
  with([](Archive& a) { a.set("extra", ""); });
  with([](Archive& a) { a.put("floats", std::vector<float>{1.5f, -2.5f, 3.5f}); });
  with([](Archive& a) { a.put("floats2", std::vector<float>{1}); });
  with([](Archive& a) { a.put("codes", std::vector<std::uint32_t>{1, 2, 3, 4, 5}); });
  with([](Archive& a) {
    const std::array<double, 6> matrix{1, 2, 3, 4, 5, 6};
    a.put<double>("matrix", matrix, std::array<std::size_t, 2>{3, 2});
  });
  std::sort(hashes.begin(), hashes.end());
  CHECK(std::unique(hashes.begin(), hashes.end()) == hashes.end());
  Archive signed_one = sample();
  signed_one.set("checksum", "whatever");
  CHECK(signed_one.content_hash("checksum") == base.content_hash("checksum"));
}

TEST_CASE("absent keys and wrong types are named", "[archive]") {
  Archive archive = sample();
  archive.set("half", "12x");
  CHECK(outcome([&] { archive.get("nothing"); }).message.find("\"nothing\"") != std::string::npos);
  CHECK(outcome([&] { archive.get("nothing"); }).code == errc::corrupt);
  CHECK(outcome([&] { archive.get_int("name"); }).message.find("\"name\"") != std::string::npos);
  CHECK(outcome([&] { archive.get_int("half"); }).code == errc::corrupt);
  CHECK(outcome([&] { archive.get_number("half"); }).code == errc::corrupt);
  CHECK(outcome([&] { archive.get_list("name"); }).code == errc::corrupt);
  CHECK(outcome([&] { archive.tensor<float>("nothing"); }).message.find("\"nothing\"") != std::string::npos);
  const Outcome wrong = outcome([&] { archive.tensor<double>("floats"); });
  CHECK(wrong.code == errc::corrupt);
  CHECK(wrong.message == "tensor \"floats\" should have type F64, has F32");
}

TEST_CASE("what cannot be stored is refused at once", "[archive]") {
  Archive archive;
  const std::array<std::size_t, 2> shape{2, 2};
  CHECK(outcome([&] { archive.put<float>("t", std::array{1.0f, 2.0f, 3.0f}, shape); }).code == errc::shape_mismatch);
  CHECK(outcome([&] { archive.put("__pad.0", std::vector<float>{1}); }).code == errc::invalid_argument);
  CHECK(outcome([&] { archive.put("__metadata__", std::vector<float>{1}); }).code == errc::invalid_argument);
  CHECK(outcome([&] { archive.put("\xff", std::vector<float>{1}); }).code == errc::invalid_argument);
  CHECK(outcome([&] { archive.set("\xff", "v"); }).code == errc::invalid_argument);
  CHECK(archive.tensor_names().empty());
  CHECK(archive.strings().empty());
}

TEST_CASE("a header that breaks the format is refused with its byte offset", "[archive]") {
  struct Case {
    const char* header;
    std::size_t data;
    const char* message;  ///< must occur in the error
  };
  const std::string deep = "{\"a\":" + std::string(100000, '[');
  const std::string ranks = R"({"a":{"dtype":"U8","shape":[1,1,1,1,1,1,1],"data_offsets":[0,1]}})";
  const Case cases[] = {
      {"", 0, "byte 8: the header does not start"},
      {" {}", 0, "byte 8: the header does not start"},
      {"[]", 0, "byte 8: the header does not start"},
      {"{", 0, "byte 8"},
      {"{} x", 0, "byte 11: text follows"},
      {"{}", 3, "byte 10: 3 bytes follow"},
      {R"({"a":1})", 0, "byte 13: expected '{'"},
      {R"({"__metadata__":{"a":1}})", 0, "byte 29: expected '\"'"},
      {R"({"__metadata__":{"a":"1","a":"2"}})", 0, "byte 33: key \"a\" occurs twice"},
      {R"({"__metadata__":{},"__metadata__":{}})", 0, "byte 27: __metadata__ occurs twice"},
      {R"({"__metadata__":{"a":"redoubt-hex:6"}})", 0, "byte 25: key \"a\": bad hexadecimal"},
      {R"({"__metadata__":{"a":"redoubt-hex:-1"}})", 0, "bad hexadecimal"},
      {R"({"__metadata__":{"a":"\ud800"}})", 0, "surrogate"},
      {R"({"__metadata__":{"a":"\udc00x"}})", 0, "surrogate"},
      {R"({"__metadata__":{"a":"\u12"}})", 0, "\\u escape"},
      {R"({"__metadata__":{"a":"\x"}})", 0, "unknown escape"},
      {"{\"__metadata__\":{\"a\":\"\n\"}}", 0, "byte 30: control character"},
      {"{\"__metadata__\":{\"a\":\"\xc0\x80\"}}", 0, "byte 30: the header is not valid UTF-8"},
      {R"({"a)", 0, "byte 9: this string does not end"},
      {R"({"a":{"dtype":"U8","shape":[1],"data_offsets":[0,1]},"a":{"dtype":"U8","shape":[1],"data_offsets":[1,2]}})",
       2, "tensor \"a\" occurs twice"},
      {R"({"a":{"dtype":"U8","dtype":"U8","shape":[1],"data_offsets":[0,1]}})", 1, "byte 27: tensor \"a\" states"},
      {R"({"a":{"dtype":"U8","shape":[1],"data_offsets":[0,1],"x":1}})", 1, "unknown field \"x\""},
      {R"({"a":{"dtype":"U8","shape":[1]}})", 1, "lacks"},
      {R"({"a":{}})", 0, "expected '\"'"},
      {R"({"a":{"dtype":"U8","shape":[1],"data_offsets":[1,2]}})", 2, "byte 9: tensor \"a\" begins at 1"},
      {R"({"a":{"dtype":"U8","shape":[2],"data_offsets":[0,2]},"b":{"dtype":"U8","shape":[2],"data_offsets":[1,3]}})",
       3, "tensor \"b\" begins at 1, but the one before ends at 2"},
      {R"({"a":{"dtype":"U8","shape":[2],"data_offsets":[0,2]},"b":{"dtype":"U8","shape":[2],"data_offsets":[0,2]}})",
       2, "holes nor overlap"},
      {R"({"a":{"dtype":"U8","shape":[2],"data_offsets":[0,2]}})", 1, "takes bytes [0, 2) of 1"},
      {R"({"a":{"dtype":"F32","shape":[2],"data_offsets":[0,2]}})", 2, "needs 8 bytes, but has 2"},
      {R"({"a":{"dtype":"F32","shape":[4611686018427387904,4],"data_offsets":[0,0]}})", 0, "larger than any memory"},
      {R"({"a":{"dtype":"U8","shape":[18446744073709551615],"data_offsets":[0,18446744073709551615]}})", 0,
       "takes bytes"},
      {R"({"a":{"dtype":"U8","shape":[1],"data_offsets":[0,18446744073709551616]}})", 1, "whole number"},
      {R"({"a":{"dtype":"U8","shape":[-1],"data_offsets":[0,1]}})", 1, "whole number"},
      {R"({"a":{"dtype":"U8","shape":[1.0],"data_offsets":[0,1]}})", 1, "expected ']'"},
      {R"({"a":{"dtype":"U8","shape":[01],"data_offsets":[0,1]}})", 1, "leading zeros"},
      {R"({"a":{"dtype":"U8","shape":[1],"data_offsets":[0]}})", 1, "expected ','"},
      {R"({"__pad.0":{"dtype":"U8","shape":[64],"data_offsets":[0,64]}})", 64, "padding \"__pad.0\""},
      {deep.c_str(), 0, "expected '{'"},
  };
  for (const Case& c : cases) {
    INFO(std::string(c.header).substr(0, 120));
    const Outcome result = read(file_of(c.header, c.data));
    CHECK(result.code == errc::corrupt);
    INFO(result.message);
    CHECK(result.message.find(c.message) != std::string::npos);
    CHECK(result.message.rfind("test.redoubt: byte ", 0) == 0);
  }
  CHECK(read(file_of(R"({"a":{"dtype":"F8_E4M3","shape":[1],"data_offsets":[0,1]}})", 1)).code == errc::unsupported);
  CHECK(read(file_of(ranks, 1)).code == errc::unsupported);
}

TEST_CASE("harmless freedoms of the format are accepted", "[archive]") {
  const auto bytes = file_of(
      "{ \"b\" : {\"shape\":[],\"data_offsets\":[0,4],\"dtype\":\"F32\"} , \"h\":{\"dtype\":"
      "\"BF16\",\"shape\":[1],\"data_offsets\":[4,6]},\"z\":{\"dtype\":\"I64\",\"shape\":[0,7],"
      "\"data_offsets\":[4,4]}, \"__metadata__\":{\"k\\u00e9\":\"\\ud83d\\ude00\\/\"}}  \n",
      6);
  const Archive archive = Archive::from_bytes(bytes);
  CHECK(archive.tensor<float>("b").size() == 1);
  CHECK(archive.tensor<std::int64_t>("z").size() == 0);
  CHECK(archive.get("k\u00e9") == "\U0001F600/");
  CHECK(archive.tensor_names() == std::vector<std::string>{"b", "h", "z"});
}

TEST_CASE("a header length beyond the file or the limit is refused before anything is allocated", "[archive]") {
  for (const std::uint64_t length : {std::uint64_t{3}, std::uint64_t{100'000'000}, std::uint64_t{100'000'001},
                                     std::uint64_t{1} << 63, ~std::uint64_t{0}, ~std::uint64_t{0} - 7}) {
    auto bytes = file_of("{}");
    std::memcpy(bytes.data(), &length, 8);
    const Outcome result = read(bytes);
    CHECK(result.code == errc::corrupt);
    CHECK(result.message.find("byte 0: states a header of") != std::string::npos);
  }
}

TEST_CASE("an archive cut anywhere is refused with a byte offset", "[archive]") {
  const auto bytes = sample().to_bytes();
  for (std::size_t size = 0; size < bytes.size(); ++size) {
    const Outcome result = read(std::span(bytes).first(size));
    INFO(size << ": " << result.message);
    REQUIRE(result.code == errc::corrupt);
    REQUIRE(result.message.find("byte ") != std::string::npos);
  }
}

TEST_CASE("any flipped bit is refused or changes the content hash", "[archive]") {
  const Archive archive = sample();
  const auto bytes = archive.to_bytes();
  const std::string hash = archive.content_hash();
  std::uint64_t length = 0;
  std::memcpy(&length, bytes.data(), 8);
  const std::string header(reinterpret_cast<const char*>(bytes.data()) + 8, length);
  const std::size_t spaces = 8 + header.find_last_not_of(' ') + 1;
  for (std::size_t i = 0; i < bytes.size() * 8; ++i) {
    auto flipped = bytes;
    flipped[i / 8] ^= std::byte{1} << (i % 8);
    try {
      const Archive read_back = Archive::from_bytes(flipped);
      INFO("bit " << i % 8 << " of byte " << i / 8);
      // Only the name of a padding tensor carries nothing.
      const std::string around = header.substr(std::min(header.size(), std::max<std::size_t>(i / 8, 28) - 28), 36);
      if (around.find("__pad.") == std::string::npos && !(i / 8 >= spaces && i / 8 < 8 + length))
        REQUIRE(read_back.content_hash() != hash);
    } catch (const Error& error) {
      REQUIRE((error.code() == errc::corrupt || error.code() == errc::unsupported));
    }
  }
}

TEST_CASE("reading names what is wrong with the path", "[archive]") {
  const redoubt::test::TempDir directory;
  const Outcome absent = outcome([&] { Archive::read(directory / "absent"); });
  CHECK(absent.code == errc::not_found);
  CHECK(absent.message.find(directory / "absent") != std::string::npos);
  CHECK(outcome([&] { Archive::read(directory.path()); }).code == errc::io_error);
  REQUIRE(::mkfifo((directory / "pipe").c_str(), 0600) == 0);
  CHECK(outcome([&] { Archive::read(directory / "pipe"); }).code == errc::io_error);  // and does not hang
  std::ofstream(directory / "text") << "hello, this is no archive";
  const Outcome text = outcome([&] { Archive::read(directory / "text"); });
  CHECK(text.code == errc::corrupt);
  CHECK(text.message.find(directory / "text") == 0);
}

TEST_CASE("a failed save leaves the old file and no temporary one", "[archive]") {
  const redoubt::test::TempDir directory;
  const std::string path = directory / "model";
  sample().write(path);
  const auto files = [&] {
    return std::distance(std::filesystem::directory_iterator(directory.path()), std::filesystem::directory_iterator());
  };
  REQUIRE(files() == 1);

  CHECK(outcome([&] { sample().write(directory / "no/such/directory/model"); }).code == errc::io_error);
  std::filesystem::create_directory(directory / "taken");
  const Outcome onto_directory = outcome([&] { sample().write(directory / "taken"); });
  CHECK(onto_directory.code == errc::io_error);
  CHECK(onto_directory.message.find("was left as it was") != std::string::npos);
  CHECK(files() == 2);

  // A full disk, as far as the process can tell: no file may grow beyond 4096 bytes.
  Archive big = sample();
  big.put("big", std::vector<float>(100000));
  const ::pid_t child = ::fork();
  REQUIRE(child >= 0);
  if (child == 0) {
    std::signal(SIGXFSZ, SIG_IGN);
    const ::rlimit limit{4096, 4096};
    ::setrlimit(RLIMIT_FSIZE, &limit);
    const Outcome result = outcome([&] { big.write(path); });
    ::_exit(result.code == errc::io_error && result.message.find("File too large") != std::string::npos ? 0 : 1);
  }
  int status = 0;
  REQUIRE(::waitpid(child, &status, 0) == child);
  CHECK((WIFEXITED(status) && WEXITSTATUS(status) == 0));
  CHECK(files() == 2);
  CHECK(Archive::read(path).to_bytes() == sample().to_bytes());
}

TEST_CASE("a process killed while saving leaves a whole file", "[archive]") {
  const redoubt::test::TempDir directory;
  const std::string path = directory / "model";
  std::array<Archive, 2> versions;
  for (std::size_t i = 0; i < 2; ++i) {
    versions[i].set_int("version", static_cast<std::int64_t>(i));
    versions[i].put("weights", std::vector<float>(200000, static_cast<float>(i)));
  }
  versions[0].write(path);
  bool saw_second = false;
  for (int round = 0; round < 40; ++round) {
    const ::pid_t child = ::fork();
    REQUIRE(child >= 0);
    if (child == 0) {
      for (std::size_t i = 1;; ++i) versions[i % 2].write(path);
    }
    ::usleep(static_cast<::useconds_t>(500 + 373 * round));
    ::kill(child, SIGKILL);
    int status = 0;
    REQUIRE(::waitpid(child, &status, 0) == child);
    const Archive found = Archive::read(path);
    const std::int64_t version = found.get_int("version");
    REQUIRE((version == 0 || version == 1));
    REQUIRE(found.get_vector<float>("weights") ==
            versions[static_cast<std::size_t>(version)].get_vector<float>("weights"));
    saw_second = saw_second || version == 1;
  }
  CHECK(saw_second);  // else the children never got as far as saving
}
