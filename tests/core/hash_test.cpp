#include "redoubt/core/hash.hpp"

#include <catch2/catch.hpp>
#include <set>

using namespace redoubt;

TEST_CASE("SHA-256 gives the values of FIPS 180-4", "[hash]") {
  CHECK(sha256_hex("") == "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855");
  CHECK(sha256_hex("abc") == "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad");
  CHECK(sha256_hex("abcdbcdecdefdefgefghfghighijhijkijkljklmklmnlmnomnopnopq") ==
        "248d6a61d20638b8e5c026930c3e6039a33ce45964ff2167f6ecedd419db06c1");
  CHECK(sha256_hex(std::string(1000000, 'a')) == "cdc76e5c9914fb9281a1c7e284d73e67f1809a48a497200e046d39ccc7112cd0");
}

TEST_CASE("SHA-256 does not depend on how the bytes are cut", "[hash]") {
  const std::string text(1000, 'q');
  for (const std::size_t cut : {0, 1, 63, 64, 65, 999, 1000}) {
    Sha256 hash;
    hash.update(std::string_view(text).substr(0, cut));
    hash.update(std::string_view(text).substr(cut));
    CHECK(to_hex(hash.finish()) == sha256_hex(text));
  }
}

TEST_CASE("hash64 is XXH3, seeded", "[hash]") {
  CHECK(hash64("") == 0x2d06800538d394c2);  // XXH3_64bits of nothing, xxHash's own test vector
  CHECK(hash64("a") == hash64("a"));
  std::set<std::uint64_t> values;
  for (int i = 0; i < 1000; ++i) values.insert(hash64(std::to_string(i)));
  CHECK(values.size() == 1000);
  CHECK(hash64("a", 1) != hash64("a", 2));
}

TEST_CASE("bytes are written as lower-case hexadecimal digits", "[hash]") {
  const std::byte bytes[] = {std::byte{0}, std::byte{0x1f}, std::byte{0xab}};
  CHECK(to_hex(bytes) == "001fab");
}
