#include "redoubt/data/text.hpp"

#include <fmt/format.h>
#include <algorithm>
#include <bit>

#include <catch2/catch.hpp>
#include <cmath>
#include <fstream>
#include <set>

#include "redoubt/core/error.hpp"
#include "redoubt/core/random.hpp"
#include "redoubt/data/column.hpp"
#include "support/test_data.hpp"

using namespace redoubt;

namespace {

using Tokens = std::vector<std::string>;

std::vector<std::uint64_t> ngrams(std::string_view text, int longest) {
  std::vector<std::uint64_t> hashes;
  for_each_ngram(text, longest, [&](std::uint64_t hash) { hashes.push_back(hash); });
  return hashes;
}

double jaccard(const std::vector<std::uint64_t>& a, const std::vector<std::uint64_t>& b) {
  const std::set<std::uint64_t> x(a.begin(), a.end()), y(b.begin(), b.end());
  const auto common = std::count_if(x.begin(), x.end(), [&](std::uint64_t h) { return y.contains(h); });
  return static_cast<double>(common) / static_cast<double>(x.size() + y.size() - static_cast<std::size_t>(common));
}

std::string random_text(Random& random, std::size_t words, std::size_t vocabulary) {
  std::string text;
  for (std::size_t i = 0; i < words; ++i) text += fmt::format("w{} ", random.below(vocabulary));
  return text;
}

}  // namespace

TEST_CASE("tokens are lower-case runs of letters and digits", "[text]") {
  CHECK(tokenise("Great phone, 5/5!! Don't miss it.") == Tokens{"great", "phone", "5", "5", "don", "t", "miss", "it"});
  CHECK(tokenise("").empty());
  CHECK(tokenise(" \t\r\n...!? \xe2\x80\x94 \xf0\x9f\x98\x80 ").empty());  // dash, emoji
  CHECK(tokenise("a_b-c") == Tokens{"a", "b", "c"});
  CHECK(tokenise(std::string_view("nul\0byte", 8)) == Tokens{"nul", "byte"});
}

TEST_CASE("UTF-8 letters are kept and lower-cased", "[text]") {
  CHECK(tokenise("SCHÖNE Grüße") == Tokens{"schöne", "grüße"});
  CHECK(tokenise("Żółć ĄĘŁŃŚŹ Šťastný Ÿ") == Tokens{"żółć", "ąęłńśź", "šťastný", "ÿ"});
  CHECK(tokenise("ΑΘΗΝΑ Москва ЁЖ Київ") == Tokens{"αθηνα", "москва", "ёж", "київ"});
  CHECK(tokenise("很好，推荐。") == Tokens{"很好", "推荐"});
  CHECK(tokenise("3×4÷2 «хорошо»") == Tokens{"3", "4", "2", "хорошо"});
}

TEST_CASE("malformed UTF-8 separates and never reads past the end", "[text]") {
  CHECK(tokenise("ab\xff"
                 "cd") == Tokens{"ab", "cd"});
  CHECK(tokenise("ab\xc3") == Tokens{"ab"});  // cut in the middle of a letter
  CHECK(tokenise("x\xe2\x82") == Tokens{"x"});
  CHECK(tokenise("x\xf0\x9f\x98") == Tokens{"x"});
  CHECK(tokenise("a\xc0\xaf"
                 "b") == Tokens{"a", "b"});  // overlong
  CHECK(tokenise("a\xed\xa0\x80"
                 "b") == Tokens{"a", "b"});  // surrogate
  Random random(1);
  for (int i = 0; i < 2000; ++i) {
    std::string bytes(random.below(40), ' ');
    for (char& c : bytes) c = static_cast<char>(random());
    for (const std::string& token : tokenise(bytes)) {
      REQUIRE(!token.empty());
      REQUIRE(token.size() <= max_token_bytes);
      REQUIRE(tokenise(token) == Tokens{token});  // tokens are stable
    }
  }
}

TEST_CASE("long tokens are cut at whole code points", "[text]") {
  const std::string longest(max_token_bytes, 'a');
  CHECK(tokenise(longest + "bcd e") == Tokens{longest, "e"});
  std::string umlauts = "x";
  for (int i = 0; i < 40; ++i) umlauts += "ü";
  const auto tokens = tokenise(umlauts + " y");
  REQUIRE(tokens.size() == 2);
  CHECK(tokens[0] == umlauts.substr(0, 63));
}

TEST_CASE("n-grams of every length end at their last word", "[text]") {
  CHECK(ngrams("a b c", 1).size() == 3);
  CHECK(ngrams("a b c", 2).size() == 5);
  CHECK(ngrams("a b c", 3).size() == 6);
  CHECK(ngrams("a b c", 100).size() == 6);
  CHECK(ngrams("a b c", -3) == ngrams("a b c", 1));
  const auto ab = ngrams("a b", 2), ba = ngrams("b a", 2), xab = ngrams("x, A? b", 2);
  CHECK(ab[2] != ba[2]);   // order matters
  CHECK(ab[2] == xab[4]);  // context, case and punctuation do not
  const auto all = ngrams("the quick brown fox jumps over the lazy dog by the river", 4);
  const auto unigrams = ngrams("the quick brown fox jumps over the lazy dog by the river", 1);
  CHECK(std::set(all.begin(), all.end()).size() == all.size() - 2);  // only "the" repeats, twice
  CHECK(unigrams.size() == 12);
}

TEST_CASE("MinHash estimates the Jaccard similarity", "[text]") {
  Random random(7);
  double worst = 0, mean = 0;
  const int pairs = 200;
  for (int i = 0; i < pairs; ++i) {
    const std::string shared = random_text(random, 5 + random.below(40), 5000);
    const std::string a = shared + random_text(random, random.below(30), 5000);
    const std::string b = shared + random_text(random, random.below(30), 5000);
    const double error = similarity(minhash(a), minhash(b)) - jaccard(ngrams(a, 2), ngrams(b, 2));
    worst = std::max(worst, std::abs(error));
    mean += error / pairs;
  }
  CHECK(worst < 4.0 / 16);  // standard error 1/16
  CHECK(std::abs(mean) < 4.0 / 16 / std::sqrt(pairs));
  CHECK(similarity(minhash("good phone"), minhash("Good, PHONE!")) == 1);
  CHECK(similarity(minhash(""), minhash("")) == 0);
  CHECK(similarity(minhash("..."), minhash("a")) == 0);
}

TEST_CASE("SimHash is near for near texts and far for others", "[text]") {
  Random random(8);
  for (int i = 0; i < 50; ++i) {
    const std::string base = random_text(random, 60, 5000);
    const std::uint64_t hash = simhash(base);
    CHECK(std::popcount(hash ^ simhash(base + "extra")) <= 12);
    CHECK(std::popcount(hash ^ simhash(random_text(random, 60, 5000))) >= 14);
  }
  CHECK(simhash("") == 0);
}

TEST_CASE("near-duplicate groups find copied texts and leave others alone", "[text]") {
  Random random(9);
  TextColumn texts;
  const std::string campaign = random_text(random, 30, 5000);
  for (int i = 0; i < 300; ++i) texts.push_back(random_text(random, 30, 5000));
  for (int i = 0; i < 20; ++i) texts.push_back(campaign + random_text(random, 3, 5000));
  texts.push_back("");
  texts.push_back("");
  const auto groups = near_duplicate_groups(texts, 0.6);
  for (std::uint32_t i = 0; i < 300; ++i) REQUIRE(groups[i] == i);
  for (std::uint32_t i = 300; i < 320; ++i) REQUIRE(groups[i] == 300);
  CHECK(groups[320] == 320);
  CHECK(groups[321] == 321);
  CHECK_THROWS_AS(near_duplicate_groups(texts, 0), Error);
  CHECK_THROWS_AS(near_duplicate_groups(texts, std::nan("")), Error);
}

TEST_CASE("near-duplicate groups of real spam are spam", "[text]") {
  REDOUBT_NEED_DATA(path, "sms_spam/SMSSpamCollection");
  std::ifstream file(path);
  TextColumn texts;
  std::vector<bool> spam;
  for (std::string line; std::getline(file, line);) {
    const auto tab = line.find('\t');
    spam.push_back(line.substr(0, tab) == "spam");
    texts.push_back(std::string_view(line).substr(tab + 1));
  }
  REQUIRE(texts.size() == 5574);
  const auto groups = near_duplicate_groups(texts, 0.6);
  std::vector<std::size_t> size(texts.size());
  for (const std::uint32_t g : groups) ++size[g];
  // Long messages that repeat are campaigns: count members of groups of three or more with ten words or more.
  std::size_t members = 0, spam_members = 0;
  for (std::size_t i = 0; i < texts.size(); ++i) {
    if (size[groups[i]] < 3 || tokenise(texts[i]).size() < 10) continue;
    ++members;
    spam_members += spam[i];
  }
  CAPTURE(members, spam_members);
  CHECK(members > 100);
  CHECK(static_cast<double>(spam_members) > 0.6 * static_cast<double>(members));  // 13 % of all messages are spam
}
