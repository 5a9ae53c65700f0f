#include "redoubt/interop/arrow.hpp"

#include <catch2/catch.hpp>
#include <cmath>
#include <cstring>
#include <deque>
#include <memory>

#include "redoubt/core/error.hpp"

using namespace redoubt;

namespace {

// A producer that owns what it exports and counts what is released.
class Producer {
 public:
  struct Child {
    std::string format, name;
    std::vector<std::vector<std::byte>> buffers;  // an empty one is exported as null
    std::int64_t length = 0, offset = 0, null_count = 0;
    std::unique_ptr<Child> dictionary;
  };

  explicit Producer(std::deque<Child> children, std::int64_t rows, std::int64_t offset = 0)
      : children_(std::move(children)) {
    for (Child& child : children_) {
      schemas_.push_back(schema_of(child));
      arrays_.push_back(array_of(child));
    }
    for (std::size_t i = 0; i < children_.size(); ++i) {
      schema_pointers_.push_back(&schemas_[i]);
      array_pointers_.push_back(&arrays_[i]);
    }
    schema.format = "+s";
    schema.n_children = static_cast<std::int64_t>(schemas_.size());
    schema.children = schema_pointers_.data();
    schema.release = [](ArrowSchema* s) {
      ++static_cast<Producer*>(s->private_data)->released_schemas;
      s->release = nullptr;
    };
    schema.private_data = this;
    array.length = rows;
    array.offset = offset;
    array.n_buffers = 1;
    array.buffers = no_buffer_;
    array.n_children = schema.n_children;
    array.children = array_pointers_.data();
    array.release = [](ArrowArray* a) {
      ++static_cast<Producer*>(a->private_data)->released_arrays;
      a->release = nullptr;
    };
    array.private_data = this;
  }

  ArrowSchema schema{};
  ArrowArray array{};
  int released_schemas = 0, released_arrays = 0;

 private:
  ArrowSchema schema_of(Child& child) {
    ArrowSchema result{};
    result.format = child.format.c_str();
    result.name = child.name.c_str();
    if (child.dictionary) {
      dictionary_schemas_.push_back(schema_of(*child.dictionary));
      result.dictionary = &dictionary_schemas_.back();
    }
    return result;
  }
  ArrowArray array_of(Child& child) {
    ArrowArray result{};
    result.length = child.length;
    result.offset = child.offset;
    result.null_count = child.null_count;
    result.n_buffers = static_cast<std::int64_t>(child.buffers.size());
    pointers_.emplace_back();
    for (const auto& buffer : child.buffers) pointers_.back().push_back(buffer.empty() ? nullptr : buffer.data());
    result.buffers = pointers_.back().data();
    if (child.dictionary) {
      dictionary_arrays_.push_back(array_of(*child.dictionary));
      result.dictionary = &dictionary_arrays_.back();
    }
    return result;
  }

  std::deque<Child> children_;
  std::deque<ArrowSchema> schemas_, dictionary_schemas_;
  std::deque<ArrowArray> arrays_, dictionary_arrays_;
  std::deque<std::vector<const void*>> pointers_;
  std::vector<ArrowSchema*> schema_pointers_;
  std::vector<ArrowArray*> array_pointers_;
  const void* no_buffer_[1] = {nullptr};
};

template <class T>
std::vector<std::byte> bytes_of(const std::vector<T>& values) {
  std::vector<std::byte> bytes(values.size() * sizeof(T));
  if (!values.empty()) std::memcpy(bytes.data(), values.data(), bytes.size());
  return bytes;
}

std::vector<std::byte> bytes_of(const std::string& text) {
  return bytes_of(std::vector<char>(text.begin(), text.end()));
}

template <class T>
Producer::Child values(const char* format, const char* name, const std::vector<T>& data,
                       std::vector<std::uint8_t> valid = {}) {
  Producer::Child child;
  child.format = std::string(format);
  child.name = std::string(name);
  child.length = static_cast<std::int64_t>(data.size());
  child.null_count = valid.empty() ? 0 : -1;
  child.buffers = {bytes_of(valid), bytes_of(data)};
  return child;
}

template <class Offset>
Producer::Child strings(const char* format, const char* name, const std::vector<std::string>& texts,
                        std::vector<std::uint8_t> valid = {}) {
  std::vector<Offset> offsets{0};
  std::string bytes;
  for (const std::string& text : texts) {
    bytes += text;
    offsets.push_back(static_cast<Offset>(bytes.size()));
  }
  Producer::Child child = values(format, name, offsets, std::move(valid));
  child.length = static_cast<std::int64_t>(texts.size());
  child.buffers.push_back(bytes_of(bytes));
  return child;
}

std::deque<Producer::Child> list(std::vector<Producer::Child*> children) {
  std::deque<Producer::Child> result;
  for (Producer::Child* child : children) result.push_back(std::move(*child));
  return result;
}

void check_refused(Producer& producer, errc code, const char* part, const ArrowOptions& options = {}) {
  try {
    from_arrow(&producer.schema, &producer.array, options);
    FAIL("no error; expected: " << part);
  } catch (const Error& error) {
    CHECK(to_string(error.code()) == std::string(to_string(code)));
    CHECK_THAT(error.what(), Catch::Contains(part));
  }
  CHECK(producer.released_schemas == 1);
  CHECK(producer.released_arrays == 1);
}

using Strings = std::vector<std::string>;

}  // namespace

TEST_CASE("arrow: every supported format", "[arrow]") {
  auto i1 = values<std::int8_t>("c", "i1", {-1, 2, 3});
  auto u8 = values<std::uint64_t>("L", "u8", {1, std::uint64_t{1} << 53, 3}, {0b101});
  auto f4 = values<float>("f", "f4", {0.5f, -2, 3});
  auto f2 = values<std::uint16_t>("e", "f2", {0x3c00, 0xc000, 0x0001});
  auto flag = values<std::uint8_t>("b", "flag", {0b101});
  flag.length = 3;
  auto city = strings<std::int32_t>("u", "city", {"Rome", "Oslo", ""}, {0b011});
  auto note = strings<std::int64_t>("U", "note", {std::string(70, 'a'), std::string(80, 'b'), "c"});
  auto code = values<std::int16_t>("s", "code", {1, 0, 1});
  code.dictionary = std::make_unique<Producer::Child>(strings<std::int32_t>("u", "", {"low", "high"}));
  auto when = values<std::int64_t>("tsn:UTC", "when", {1'000, -1, 5}, {0b011});
  auto day = values<std::int32_t>("tdD", "day", {0, 1, -1});
  Producer producer(list({&i1, &u8, &f4, &f2, &flag, &city, &note, &code, &when, &day}), 3);
  const Dataset data = from_arrow(&producer.schema, &producer.array);
  CHECK(producer.released_schemas == 1);
  CHECK(producer.released_arrays == 1);
  REQUIRE(data.rows() == 3);
  CHECK(data.column("i1").numbers == std::vector<double>{-1, 2, 3});
  CHECK(data.column("u8").numbers[0] == 1);
  CHECK(std::isnan(data.column("u8").numbers[1]));
  CHECK(data.column("f4").numbers == std::vector<double>{0.5, -2, 3});
  CHECK(data.column("f2").numbers == std::vector<double>{1, -2, std::ldexp(1.0, -24)});
  CHECK(data.column("flag").spec.categories == Strings{"false", "true"});
  CHECK(data.column("flag").codes == std::vector<std::int32_t>{1, 0, 1});
  CHECK(data.column("city").spec.categories == Strings{"Oslo", "Rome"});
  CHECK(data.column("city").codes == std::vector<std::int32_t>{1, 0, -1});
  CHECK(data.column("note").spec.type == ColumnType::text);
  CHECK(data.column("note").to_text(2) == "c");
  CHECK(data.column("code").to_text(0) == "high");
  CHECK(data.column("code").to_text(1) == "low");
  CHECK(data.column("when").times == std::vector<std::int64_t>{1, -1, missing_time});
  CHECK(data.column("day").to_text(2) == "1969-12-31T00:00:00Z");
}

TEST_CASE("arrow: slices, roles and targets", "[arrow]") {
  auto x = values<double>("g", "x", {9, 9, 1, 2, 3});
  x.offset = 1;
  x.length = 4;
  auto y = values<std::int32_t>("i", "y", {9, 0, 1, 0});
  auto who = strings<std::int32_t>("u", "who", {"z", "a", "b", "a"});
  Producer producer(list({&x, &y, &who}), 3, /*offset=*/1);
  const Dataset data = from_arrow(&producer.schema, &producer.array, {.target = "y", .source = "who"});
  CHECK(data.column("x").numbers == std::vector<double>{1, 2, 3});
  CHECK(data.classes()[1] == "1");
  CHECK(data.labels()[1] == 1);
  CHECK(data.source_names().size() == 2);
  CHECK(data.sources()[1] == 1);
}

TEST_CASE("arrow: what contradicts itself is refused, and released all the same", "[arrow]") {
  const auto refuse = [](Producer::Child child, errc code, const char* part, const ArrowOptions& options = {}) {
    Producer producer(list({&child}), 3);
    check_refused(producer, code, part, options);
  };
  refuse(values<double>("g", "x", {1, 2}), errc::corrupt, "2 cells, but 3 rows");
  refuse(values<double>("z", "x", {1, 2, 3}), errc::unsupported, "\"x\" has the format \"z\"");
  refuse(values<double>("g", "x", {1, 2, 3}), errc::not_found, "nearest: \"x\"", {.target = "xx"});
  auto absent = values<double>("g", "x", {});
  absent.length = 3;
  refuse(std::move(absent), errc::corrupt, "buffer 1 is absent");
  auto falling = strings<std::int32_t>("u", "s", {"ab", "c", "d"});
  falling.buffers[1] = bytes_of(std::vector<std::int32_t>{0, 2, 1, 4});
  refuse(std::move(falling), errc::corrupt, "offsets 2 and 1");
  auto code = values<std::int8_t>("c", "code", {0, 2, 1});
  code.dictionary = std::make_unique<Producer::Child>(strings<std::int32_t>("u", "", {"a", "b"}));
  refuse(std::move(code), errc::corrupt, "code 2 of a dictionary of 2");
  refuse(strings<std::int32_t>("u", "s", {"ok", "\xff", "ok"}), errc::corrupt, "invalid UTF-8");
  refuse(values<std::int64_t>("tss:", "t", {1, std::int64_t{1} << 62, 1}), errc::corrupt, "out of range");
  Producer released(list({}), 0);
  released.schema.release(&released.schema);
  CHECK_THROWS_AS(from_arrow(&released.schema, &released.array), Error);
  CHECK(released.released_arrays == 1);
  auto x = values<double>("g", "x", {1});
  Producer plain(list({&x}), 1);
  plain.schema.format = "g";
  check_refused(plain, errc::unsupported, "a struct array");
}
