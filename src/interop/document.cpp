#include "interop/document.hpp"

#include <fmt/format.h>

#include <bit>
#include <cstring>
#include <nlohmann/json.hpp>

#include "redoubt/core/error.hpp"

namespace redoubt::detail {
namespace {

using Kind = DocumentValue::Kind;
constexpr std::size_t max_depth = 32;

/// Puts values where they belong; reports what cannot be by returning text.
class Builder {
 public:
  DocumentValue root;

  std::string add(DocumentValue value) {
    if (open_.empty()) {
      root = std::move(value);
      return {};
    }
    DocumentValue& parent = *open_.back();
    if (parent.kind == Kind::object) {
      if (parent.items.size() + 1 != parent.keys.size()) return "a value without a key";
      parent.items.push_back(std::move(value));
      return {};
    }
    if (value.kind == Kind::number && parent.items.empty()) {
      parent.numbers.push_back(value.number);
      return {};
    }
    if (!parent.numbers.empty() || value.kind == Kind::number) return "an array that mixes numbers and other values";
    parent.kind = Kind::list;
    parent.items.push_back(std::move(value));
    return {};
  }
  std::string open(Kind kind) {
    if (open_.size() >= max_depth) return fmt::format("nested more than {} deep", max_depth);
    DocumentValue value;
    value.kind = kind;
    if (std::string problem = add(std::move(value)); !problem.empty()) return problem;
    // The parents of an open value do not grow while it is open, so its address stays.
    open_.push_back(open_.empty() ? &root : &open_.back()->items.back());
    return {};
  }
  void close() { open_.pop_back(); }
  std::string key(std::string text) {
    auto& keys = open_.back()->keys;
    for (const auto& known : keys)
      if (known == text) return fmt::format("key \"{:.40}\" occurs twice", text);
    if (keys.size() >= max_keys) return fmt::format("an object of more than {} keys", max_keys);
    keys.push_back(std::move(text));
    return {};
  }

 private:
  static constexpr std::size_t max_keys = 1000;  // so that the search for repeated ones stays cheap
  std::vector<DocumentValue*> open_;
};

DocumentValue number_value(double x) {
  DocumentValue value;
  value.kind = Kind::number;
  value.number = x;
  return value;
}

DocumentValue text_value(std::string text) {
  DocumentValue value;
  value.kind = Kind::text;
  value.text = std::move(text);
  return value;
}

/// Listens to nlohmann's parser.
struct JsonListener {
  Builder builder;
  std::string problem;
  std::size_t offset = 0;

  bool ok(std::string found) {
    problem = std::move(found);
    return problem.empty();
  }
  bool null() { return ok(builder.add({})); }
  bool boolean(bool x) { return ok(builder.add(number_value(x))); }
  bool number_integer(std::int64_t x) { return ok(builder.add(number_value(static_cast<double>(x)))); }
  bool number_unsigned(std::uint64_t x) { return ok(builder.add(number_value(static_cast<double>(x)))); }
  bool number_float(double x, const std::string&) { return ok(builder.add(number_value(x))); }
  bool string(std::string& x) { return ok(builder.add(text_value(std::move(x)))); }
  bool binary(std::vector<std::uint8_t>&) { return ok("binary data"); }
  bool start_object(std::size_t) { return ok(builder.open(Kind::object)); }
  bool key(std::string& x) { return ok(builder.key(std::move(x))); }
  bool end_object() {
    builder.close();
    return true;
  }
  bool start_array(std::size_t) { return ok(builder.open(Kind::numbers)); }
  bool end_array() {
    builder.close();
    return true;
  }
  bool parse_error(std::size_t position, const std::string& token, const nlohmann::json::exception&) {
    offset = position;
    return ok(fmt::format("no JSON: unexpected \"{:.40}\"", token));
  }
};

DocumentValue parse_json(std::string_view text, std::string_view origin) {
  JsonListener listener;
  if (nlohmann::json::sax_parse(text.begin(), text.end(), &listener)) return std::move(listener.builder.root);
  if (listener.offset) fail(errc::corrupt, fmt::format("{}: byte {}: {}", origin, listener.offset, listener.problem));
  fail(errc::corrupt, fmt::format("{}: {}", origin, listener.problem));
}

/// Draft 12 of UBJSON, as far as XGBoost uses it: no objects of stated size, no high-precision numbers.
class UbjReader {
 public:
  UbjReader(std::string_view bytes, std::string_view origin) : bytes_(bytes), origin_(origin) {}

  DocumentValue read() {
    value(take());
    if (at_ != bytes_.size()) refuse(fmt::format("{} bytes after the end of the model", bytes_.size() - at_));
    return std::move(builder_.root);
  }

 private:
  [[noreturn]] void refuse(const std::string& what) const {
    fail(errc::corrupt, fmt::format("{}: byte {}: {}", origin_, at_, what));
  }
  void check(const std::string& problem) const {
    if (!problem.empty()) refuse(problem);
  }
  char peek() const {
    if (at_ >= bytes_.size()) refuse("the file is cut off");
    return bytes_[at_];
  }
  char take() {
    const char c = peek();
    ++at_;
    return c;
  }
  std::string_view take(std::size_t size) {
    if (size > bytes_.size() - at_) refuse(fmt::format("{} bytes are announced, {} follow", size, bytes_.size() - at_));
    const auto part = bytes_.substr(at_, size);
    at_ += size;
    return part;
  }
  template <class T>
  T big_endian(std::string_view bytes) const noexcept {
    std::uint64_t bits = 0;
    for (const char c : bytes) bits = bits << 8 | static_cast<unsigned char>(c);
    if constexpr (std::is_same_v<T, float>)
      return std::bit_cast<float>(static_cast<std::uint32_t>(bits));
    else if constexpr (std::is_same_v<T, double>)
      return std::bit_cast<double>(bits);
    else
      return static_cast<T>(bits);
  }
  /// Bytes of a number of this type; 0 if it is none.
  static std::size_t width(char type) noexcept {
    switch (type) {
      case 'i':
      case 'U': return 1;
      case 'I': return 2;
      case 'l':
      case 'd': return 4;
      case 'L':
      case 'D': return 8;
      default: return 0;
    }
  }
  double number(char type, std::string_view bytes) const noexcept {
    switch (type) {
      case 'i': return big_endian<std::int8_t>(bytes);
      case 'U': return big_endian<std::uint8_t>(bytes);
      case 'I': return big_endian<std::int16_t>(bytes);
      case 'l': return big_endian<std::int32_t>(bytes);
      case 'd': return big_endian<float>(bytes);
      case 'D': return big_endian<double>(bytes);
      default: return static_cast<double>(big_endian<std::int64_t>(bytes));
    }
  }
  std::size_t length() {
    const char type = take();
    if (type == 'd' || type == 'D' || width(type) == 0) refuse(fmt::format("type '{}' is no length", printable(type)));
    const double size = number(type, take(width(type)));
    if (!(size >= 0 && size <= static_cast<double>(bytes_.size())))
      refuse(fmt::format("length {} in a file of {} bytes", size, bytes_.size()));
    return static_cast<std::size_t>(size);
  }
  static std::string printable(char c) {
    return c > ' ' && c < 127 ? std::string(1, c) : fmt::format("\\x{:02x}", static_cast<unsigned char>(c));
  }
  void value(char type) {
    if (const std::size_t size = width(type)) return check(builder_.add(number_value(number(type, take(size)))));
    switch (type) {
      case 'Z': return check(builder_.add({}));
      case 'T':
      case 'F': return check(builder_.add(number_value(type == 'T')));
      case 'C': return check(builder_.add(text_value(std::string(take(1)))));
      case 'S': return check(builder_.add(text_value(std::string(take(length())))));
      case '[': return array();
      case '{': return object();
      default: refuse(fmt::format("unknown type '{}'", printable(type)));
    }
  }
  void object() {
    check(builder_.open(Kind::object));
    while (peek() != '}') {
      check(builder_.key(std::string(take(length()))));
      value(take());
    }
    ++at_;
    builder_.close();
  }
  void array() {
    if (peek() == '$') return typed_array();
    check(builder_.open(Kind::numbers));
    if (peek() == '#') {
      ++at_;
      for (std::size_t left = length(); left > 0; --left) value(take());  // each takes at least one byte
    } else {
      while (peek() != ']') value(take());
      ++at_;
    }
    builder_.close();
  }
  void typed_array() {
    ++at_;
    const char type = take();
    const std::size_t size = width(type);
    if (size == 0) refuse(fmt::format("arrays of type '{}' are not known here", printable(type)));
    if (take() != '#') refuse("a typed array without its length");
    const std::size_t count = length();
    const std::string_view data = take(count * size);  // count is at most the size of the file
    DocumentValue array;
    array.kind = Kind::numbers;
    array.numbers.reserve(count);
    for (std::size_t i = 0; i < count; ++i) array.numbers.push_back(number(type, data.substr(i * size, size)));
    check(builder_.add(std::move(array)));
  }

  std::string_view bytes_;
  std::string_view origin_;
  std::size_t at_ = 0;
  Builder builder_;
};

}  // namespace

const DocumentValue* DocumentValue::find(std::string_view key) const noexcept {
  for (std::size_t i = 0; i < keys.size() && i < items.size(); ++i)
    if (keys[i] == key) return &items[i];
  return nullptr;
}

DocumentValue parse_document(std::span<const std::byte> bytes, std::string_view origin) {
  const std::string_view text(reinterpret_cast<const char*>(bytes.data()), bytes.size());
  // A JSON object continues with a quotation mark, white space or its end.
  const bool ubj =
      text.size() > 1 && text[0] == '{' && std::string_view("iUIlL").find(text[1]) != std::string_view::npos;
  return ubj ? UbjReader(text, origin).read() : parse_json(text, origin);
}

}  // namespace redoubt::detail
