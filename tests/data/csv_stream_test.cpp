#include "redoubt/data/csv_stream.hpp"

#include <fmt/format.h>

#include <algorithm>
#include <catch2/catch.hpp>
#include <cmath>
#include <cstring>
#include <filesystem>
#include <fstream>
#include <set>
#include <string>
#include <vector>

#include "redoubt/core/error.hpp"
#include "redoubt/core/random.hpp"
#include "support/test_data.hpp"

using namespace redoubt;

namespace {

void write(const std::string& path, const std::string& text) { std::ofstream(path, std::ios::binary) << text; }

std::string in_quotes(const std::string& text) {
  std::string cell = "\"";
  for (const char c : text) cell += c == '"' ? "\"\"" : std::string(1, c);
  return cell + '"';
}

/// A table with what makes CSV hard: quotes, delimiters and line ends in cells, missing cells, categories, times, texts
/// and, if asked for, rows that are none.
std::string random_table(std::uint64_t seed, std::size_t rows, const std::string& target, bool bad, std::string end) {
  Random random(seed);
  const auto pick = [&](const std::vector<std::string>& from) { return from[random.below(from.size())]; };
  const std::vector<std::string> shops = {"north", "so,uth", "ea\"st", "we\nst", "a\r\nb",
                                          "",      "NA",     "\"",     "\n",     "über"};
  const std::vector<std::string> words = {"good",      "bad", "\"never\"", "again,",
                                          "line\nend", "so",  "so\r\nso",  "prix é"};
  std::string text = fmt::format("amount, shop ,id,when,review,count,{}{}", target, end);
  for (std::size_t r = 0; r < rows; ++r) {
    if (bad && random.below(60) == 0) {
      text += pick({"1,2", "1,\"a\"b,3,4,5,6,7", "1,2,3,4,5,6,7,8,9,10", "\"x\"y"}) + end;
      continue;
    }
    if (random.below(50) == 0) text += end;  // a blank line
    std::string review;
    for (std::size_t w = random.below(20); w > 0; --w) review += pick(words) + ' ';
    const bool wrong = bad && random.below(300) == 0;
    text += wrong ? "abc" : random.below(10) == 0 ? pick({"", "NA", "?"}) : fmt::format("{}", random.normal() * 100);
    text += ',' + in_quotes(pick(shops));
    text += ',' + fmt::format("id{}", r);
    text += ',' + (random.below(9) == 0 ? ""
                                        : fmt::format("2024-0{}-1{}T0{}:30:00Z", random.below(9) + 1, random.below(10),
                                                      random.below(10)));
    text += ',' + in_quotes(review);
    text += ',' + fmt::format(" {} ", random.below(1000));
    if (target == "grade") text += ',' + pick({"1", "2", "3"});
    if (target == "class") text += ',' + in_quotes(pick({"yes", "no", "may\nbe", "so, so"}));
    if (target == "price") text += ',' + fmt::format("{}", random.uniform(0, 5));
    if (r + 1 < rows || random.below(2) == 0) text += end;
  }
  return text;
}

/// All rows of the stream, `step` at a time.
std::pair<Tensor<float>, std::vector<float>> drain(RowStream& stream, std::size_t rows, std::size_t step) {
  Tensor<float> x({rows, stream.inputs()}), block({step, stream.inputs()}), target({step, std::size_t{1}});
  std::vector<float> y;
  while (const std::size_t got = stream.read(block, target)) {
    REQUIRE(y.size() + got <= rows);
    for (std::size_t r = 0; r < got; ++r) {
      std::copy(block.row(r).begin(), block.row(r).end(), x.row(y.size()).begin());
      y.push_back(target(r, 0));
    }
  }
  CHECK(stream.read(block, target) == 0);
  return {std::move(x), std::move(y)};
}

/// That the stream has the bits of the whole file, encoded.
void check_equal(const std::string& path, const CsvOptions& options, const EncoderOptions& encoding,
                 const std::vector<std::size_t>& steps) {
  const Dataset whole = read_csv(path, options);
  const Encoder encoder = Encoder::fit(whole, encoding);
  const Tensor<float> expected = encoder.apply(whole);
  std::vector<float> targets;
  if (whole.task() == Task::classification) {
    targets.assign(whole.labels().begin(), whole.labels().end());
  } else {
    for (const double y : whole.targets()) targets.push_back(static_cast<float>(y));
  }
  CsvRowStream stream(path, whole.schema(), encoder, options);
  REQUIRE(stream.inputs() == encoder.width());
  for (const std::size_t step : steps) {
    INFO(path << " in steps of " << step);
    stream.rewind();
    CHECK(stream.quarantined() == 0);
    const auto [x, y] = drain(stream, whole.rows(), step);
    CHECK(y == targets);
    REQUIRE(x.size() == expected.size());
    CHECK(std::memcmp(x.data(), expected.data(), x.size() * sizeof(float)) == 0);
    CHECK(stream.quarantined() == whole.quarantine().size());
    REQUIRE(stream.quarantine().size() == std::min<std::size_t>(100, whole.quarantine().size()));
    for (std::size_t i = 0; i < stream.quarantine().size(); ++i) {
      CHECK(stream.quarantine()[i].line == whole.quarantine()[i].line);
      CHECK(stream.quarantine()[i].column == whole.quarantine()[i].column);
      CHECK(stream.quarantine()[i].reason == whole.quarantine()[i].reason);
    }
  }
}

std::string message_of(RowStream& stream, errc code) {
  try {
    stream.rewind();
    drain(stream, 100, 7);
  } catch (const Error& error) {
    CHECK(to_string(error.code()) == std::string(to_string(code)));
    return error.what();
  }
  FAIL("no error");
  return {};
}

EncoderOptions small_texts(EncoderOptions options) {
  options.text_dims = 32;
  return options;
}

}  // namespace

TEST_CASE("CSV stream: random files give the bits of the whole file, encoded", "[csv_stream]") {
  const test::TempDir folder;
  EncoderOptions means = small_texts(EncoderOptions::dense());
  means.categorical = CategoricalEncoding::target;
  const std::vector<EncoderOptions> encodings = {small_texts(EncoderOptions::dense()),
                                                 small_texts(EncoderOptions::for_trees()), means};
  std::uint64_t seed = 0;
  for (const std::string target : {"class", "grade", "price"}) {
    for (const bool bad : {false, true}) {
      const std::string path = folder / fmt::format("{}.csv", ++seed);
      // Some blocks of 256 KiB; `id` has more values than categories may have.
      write(path, random_table(seed, 7000, target, bad, seed % 2 == 0 ? "\n" : "\r\n"));
      REQUIRE(std::filesystem::file_size(path) > (std::size_t{3} << 18));
      const CsvOptions options{.target = target, .ignore = {"id"}, .types = {{"when", ColumnType::timestamp}}};
      check_equal(path, options, encodings[seed % 3], {1, 7, 64, 5000, 100'000});
      if (bad) continue;
      CsvOptions plain{.target = target, .source = "shop"};  // id is text
      check_equal(path, plain, encodings[(seed + 1) % 3], {1000});
    }
  }
  write(folder / "small.csv", random_table(9, 40, "class", true, "\n"));
  for (const EncoderOptions& encoding : encodings) {
    check_equal(folder / "small.csv", {.target = "class"}, encoding, {1, 2, 3, 40, 41});
  }
}

TEST_CASE("CSV stream: cells that a block's end cuts anywhere", "[csv_stream]") {
  const test::TempDir folder;
  const std::string path = folder / "x.csv";
  const std::string tricky = "1,\"a \"\"b\"\"\r\nc,\",yes\r\n2,\"\n\"\"\",no\n\n3,\"\",\"yes\"\n4,d,no\r\n";
  const std::size_t border = std::size_t{1} << 18;
  for (std::size_t before = 0; before <= tricky.size() + 1; ++before) {
    std::string text = "n,c,y\n";
    std::string filler = "0,e,no\n";
    while (text.size() + 2 * filler.size() + before < border) text += filler;
    text += std::string(border - before - text.size() - filler.size(), '0') + filler;
    REQUIRE(text.size() + before == border);
    text += tricky + "5,f,yes";
    write(path, text);
    check_equal(path, {.target = "y", .types = {{"c", ColumnType::categorical}}}, EncoderOptions::for_trees(), {5000});
  }
}

TEST_CASE("CSV stream: forms of files", "[csv_stream]") {
  const test::TempDir folder;
  const std::string path = folder / "x.csv";
  write(path,
        "\xef\xbb\xbf"
        "1;a;0\n2;b;1\n3;;0\n");
  check_equal(path, {.target = "c3"}, EncoderOptions::for_trees(), {2});
  check_equal(path, {.target = "c1", .task = Task::classification}, EncoderOptions::for_trees(), {2});
  write(path, "x\ty\n 1 \t>50K.\n-9\t<=50K\n\"2\"\t\">50K\"\n");
  CsvOptions options{.target = "y", .trim = false, .missing = {"-9"}, .target_suffix = "."};
  check_equal(path, options, EncoderOptions::dense(), {1, 2});
  write(path, "x,y\n\"1,2\"\n\"3,4\"\n");
  check_equal(path, {.target = "y", .delimiter = ',', .quoting = false}, EncoderOptions::for_trees(), {1, 2});
  // A header that is one only because of the target's name, with a column that has none.
  write(path, ",3\n1,a\n2,b\n");
  check_equal(path, {.target = "3"}, EncoderOptions::dense(), {1});
  // A column without a value at the beginning is a timestamp all the same.
  std::string late = "when,y\n";
  for (int i = 0; i < 70'000; ++i) late += ",1\n";
  for (int i = 0; i < 70'000; ++i) late += "2024-01-01,2\n";
  write(path, late);
  check_equal(path, {.target = "y"}, EncoderOptions::dense(), {5000});
  // A cell that is no class among numbers that are; a weight; more columns than are wanted.
  std::string odd = "x,y,z\n";
  for (int i = 0; i < 300; ++i) odd += fmt::format("{},{},{}\n", i, i == 205 ? "none" : std::to_string(i % 2), i);
  write(path, odd);
  check_equal(path, {.target = "y"}, EncoderOptions::dense(), {64});
  const Dataset data = read_csv(path, {.target = "y"});
  const Dataset narrow = read_csv_text("x,y\n1,0\n2,1\n", {.target = "y"});
  CsvRowStream stream(path, narrow.schema(), Encoder::fit(narrow, EncoderOptions::for_trees()), {});
  const auto [x, y] = drain(stream, 299, 50);
  CHECK(x(298, 0) == 299);
  CHECK(y.size() == data.rows());
}

TEST_CASE("CSV stream: what cannot be read is named with file, line and field", "[csv_stream]") {
  const test::TempDir folder;
  const std::string path = folder / "x.csv";
  const Dataset sample = read_csv_text("x,c,y\n1,\"a\nb\",no\n2,d,yes\n", {.target = "y"});
  const Encoder encoder = Encoder::fit(sample, EncoderOptions::dense());
  const auto with = [&](const std::string& text, errc code, BadRows bad_rows = BadRows::error) {
    write(path, text);
    CsvRowStream stream(path, sample.schema(), encoder, {.bad_rows = bad_rows});
    const std::string message = message_of(stream, code);
    REQUIRE(message.starts_with(path));
    return message.substr(path.size());
  };
  CHECK(with("x,c,y\n\n1,\"a\n\nb\",no\nabc,d,yes\n", errc::parse_error) ==
        ":6: field 1: \"x\" is numeric, but the cell is no finite number");
  CHECK(with("x,c,y\n1,d,no\n2,d\n", errc::parse_error) == ":3: field 3: 2 fields, expected 3");
  CHECK(with("x,c,y\n1,d,no\n2,\"d\" e,no\n", errc::parse_error) == ":3: field 2: text after a closing quote");
  CHECK(with("x,c,y\n1,d,no\n2,\"d,no\n3,d,no\n", errc::parse_error) == ":3: field 2: a quote that never closes");
  for (const BadRows bad_rows : {BadRows::error, BadRows::quarantine}) {
    CHECK(with("x,c,y\n1,d,no\n2,d,?\n", errc::parse_error, bad_rows) == ":3: field 3: target \"y\" is missing");
    CHECK(with("x,c,y\n1,d,no\n2,d,maybe\n", errc::parse_error, bad_rows) ==
          ":3: field 3: target \"y\" is \"maybe\", which is none of the 2 classes of the schema");
  }
  CHECK(with("x,c,y\n1,d,no\na,d,no\nb,d,no\n", errc::parse_error, BadRows::quarantine) ==
        ":3: field 1: \"x\" is numeric, but the cell is no finite number (2 of 3 rows are bad: are delimiter, quoting "
        "and types right?)");
  // A quote that never closes must not take the rest of a file that is larger than memory.
  std::string open = "x,c,y\n1,d,no\n2,\"d,no\n";
  while (open.size() < (std::size_t{17} << 20)) open += "3,d,no\n";
  CHECK(with(open, errc::parse_error) == ":3: the row is longer than 16777216 bytes, or a quote in it never closes");

  write(path, "x,c,y\n1,d,no\n");
  CsvRowStream stream(path, sample.schema(), encoder);
  Tensor<float> rows({std::size_t{2}, stream.inputs()}), narrow({std::size_t{2}, std::size_t{1}});
  CHECK_THROWS_WITH(stream.read(narrow, narrow), Catch::Contains("rows have 3 values and targets 1"));
  write(path, "x,c,y\n1,d,no\nabc,d,no\n2,d,no\n");
  CsvRowStream broken(path, sample.schema(), encoder, {.bad_rows = BadRows::error});
  Tensor<float> row({std::size_t{1}, broken.inputs()}), target({std::size_t{1}, std::size_t{1}});
  for (int pass = 0; pass < 2; ++pass, broken.rewind()) {
    CHECK_THROWS_WITH(broken.read(row, target), Catch::Contains(":3: field 1"));
    CHECK_THROWS_WITH(broken.read(row, target), Catch::Contains("goes on only with rewind"));
  }
  write(path, "x,c,y\n1,d,no\n");
  std::filesystem::resize_file(path, 3);
  stream.rewind();
  CHECK(stream.read(rows, narrow) == 0);

  const auto refused = [&](const std::string& text, const Dataset& like, const std::string& message) {
    write(path, text);
    CHECK_THROWS_WITH(CsvRowStream(path, like.schema(), encoder), Catch::Contains(message));
  };
  refused("x,d,y\n1,d,no\n", sample, "no column \"c\"");
  refused("", sample, "there is no row");
  refused("x,c,y\n1,d,no\n", sample.with_role("y", ColumnRole::ignore), "no target");
  refused("x,c,y\n1,d,no\n", sample.with_role("x", ColumnRole::weight), "\"x\" holds weights");
  refused("x,c,y\n1,d,no\n", read_csv_text("x,c,y\n1,2,no\n2,3,yes\n", {.target = "y"}),
          "column \"c\" is numeric in the schema, but the encoder was fitted on a categorical column");
  refused("x,y\n1,no\n", read_csv_text("x,y\n1,no\n2,yes\n", {.target = "y"}), "c");
  CHECK_THROWS_AS(CsvRowStream(folder / "none.csv", sample.schema(), encoder), Error);
  CHECK_THROWS_AS(CsvRowStream("/dev/null", sample.schema(), encoder), Error);
  write(path, "t,y\n1700000000,1\n1700000001,2\n");
  const CsvOptions times{.target = "y", .types = {{"t", ColumnType::timestamp}}};
  const Dataset timed = read_csv(path, times);
  CHECK_THROWS_WITH(CsvRowStream(path, timed.schema(), Encoder::fit(timed, EncoderOptions::dense()), times),
                    Catch::Contains("\"t\" holds times as numbers"));
}

TEST_CASE("CSV stream: a sample knows the schema without the whole file in memory", "[csv_stream]") {
  const test::TempDir folder;
  const std::string path = folder / "x.csv";
  std::string text = "x,y,c\n";
  for (int i = 0; i < 50'000; ++i) {
    if (i == 20'000) text += "1,2\n";
    text += fmt::format("{},{},{}\n", i, i < 49'999 ? "often" : "rare", i % 7 == 0 ? "" : "a\"b");
  }
  write(path, text);
  const CsvOptions options{.target = "y"};
  const Dataset whole = read_csv(path, options);
  const Dataset sample = read_csv_sample(path, options, 2000, 5);
  CHECK(sample.hash() == read_csv_sample(path, options, 2000, 5).hash());
  CHECK(sample.hash() != read_csv_sample(path, options, 2000, 6).hash());
  CHECK(sample.rows() + sample.quarantine().size() >= 2000);
  CHECK(sample.rows() <= 2002);
  CHECK(sample.schema() == whole.schema());  // the class of the last row as well
  CHECK(std::is_sorted(sample.row_ids().begin(), sample.row_ids().end()));
  CHECK(std::set<RowId>(sample.row_ids().begin(), sample.row_ids().end()).size() == sample.rows());
  const Dataset same = whole.take_ids(sample.row_ids());
  CHECK(same.hash() == sample.hash());  // the cells that the file has in these rows
  double mean = 0;
  for (const double x : sample.column("x").numbers) mean += x / static_cast<double>(sample.rows());
  CHECK(mean == Approx(25'000).margin(4 * 14'434 / std::sqrt(2000)));
  // Small files are read as they are.
  CHECK(read_csv_sample(path, options, 50'001).hash() == whole.hash());
  CHECK(read_csv_sample(path, options, 50'001).quarantine().at(0).line == 20'002);
  CHECK(read_csv_sample(path, {.target = "x", .task = Task::regression}, 100).rows() == 100);
  CHECK(read_csv_sample(path, {.target = "x"}, 100).rows() == 100);  // found to be a quantity
  CHECK_THROWS_AS(read_csv_sample(path, options, 0), Error);
  CHECK_THROWS_AS(read_csv_sample("/dev/null", options), Error);
  CHECK_THROWS_WITH(read_csv_sample(path, {.target = "z"}), Catch::Contains("no column \"z\""));
  // Encoder and schema of the sample serve the whole file.
  CsvRowStream stream(path, sample.schema(), Encoder::fit(sample, EncoderOptions::for_trees()), options);
  const auto [x, y] = drain(stream, 50'000, 512);
  CHECK(x(49'999, 0) == 49'999);
  CHECK(std::count(y.begin(), y.end(), 1.0f) == 1);
  CHECK(stream.quarantined() == 1);
  const std::vector<RowId> held_out = {49'999, 3, 20'000, 7};  // one of them is the bad row
  CsvRowStream rest(path, whole.schema(), Encoder::fit(sample, EncoderOptions::for_trees()), options, held_out);
  const auto [x_rest, y_rest] = drain(rest, 50'000, 300);
  const Dataset expected = whole.without(held_out);
  REQUIRE(y_rest.size() == expected.rows());
  CHECK(y_rest == std::vector<float>(expected.labels().begin(), expected.labels().end()));
  for (std::size_t r = 0; r < expected.rows(); ++r) REQUIRE(x_rest(r, 0) == expected.column("x").numbers[r]);
  CHECK(rest.quarantined() == 1);
}
