#include "redoubt/data/csv.hpp"

#include <fmt/format.h>

#include <catch2/catch.hpp>
#include <cmath>
#include <cstdlib>
#include <cstring>
#include <filesystem>
#include <fstream>
#include <map>

#include "data/csv_tokens.hpp"
#include "data/number.hpp"
#include "redoubt/core/error.hpp"
#include "redoubt/core/random.hpp"
#include "support/dataset_facts.hpp"
#include "support/test_data.hpp"

using namespace redoubt;
using test::class_counts;
using test::missing_cells;

namespace {

std::vector<std::string> cells(const Dataset& data, std::string_view column) {
  std::vector<std::string> texts;
  for (std::size_t row = 0; row < data.rows(); ++row) texts.push_back(data.column(column).to_text(row));
  return texts;
}

std::string message_of(std::string_view text, const CsvOptions& options, errc code) {
  try {
    read_csv_text(text, options, "file.csv");
  } catch (const Error& error) {
    CHECK(to_string(error.code()) == std::string(to_string(code)));
    return error.what();
  }
  FAIL("no error for: " << text);
  return {};
}

using Strings = std::vector<std::string>;

// An independent reader of RFC 4180 text, one character at a time.
std::vector<Strings> naive_rows(const std::string& text, char delimiter) {
  std::vector<Strings> rows;
  Strings row;
  std::string cell;
  bool quoted = false, any = false, was_quoted = false;
  const auto end_row = [&] {
    row.push_back(cell);
    cell.clear();
    if (row.size() > 1 || !row[0].empty() || was_quoted) rows.push_back(row);
    row.clear();
    any = was_quoted = false;
  };
  for (std::size_t i = 0; i < text.size(); ++i) {
    const char c = text[i];
    if (quoted) {
      if (c == '"' && i + 1 < text.size() && text[i + 1] == '"') {
        cell += '"';
        ++i;
      } else if (c == '"') {
        quoted = false;
      } else {
        cell += c;
      }
      continue;
    }
    if (c == '"' && cell.empty()) {
      quoted = was_quoted = any = true;
    } else if (c == delimiter) {
      row.push_back(cell);
      cell.clear();
      any = true;
    } else if (c == '\n') {
      end_row();
    } else if (c != '\r') {
      cell += c;
      any = true;
    }
  }
  if (any || !cell.empty()) end_row();
  return rows;
}

}  // namespace

TEST_CASE("csv: types, target and row ids come from the text", "[csv]") {
  const Dataset data = read_csv_text(
      "age,city,joined,review,genuine\n"
      "31,Rome,2024-02-29,\"a long text, with a comma, that is longer than any category would be, and then some "
      "more\",yes\n"
      "4.5,Oslo,2024-03-01T12:00:00Z,\"he said \"\"never\"\" and then wrote a second line\nwhich is here, in the same "
      "cell\",no\n"
      ",Rome,,short,yes\n",
      {.target = "genuine"});
  REQUIRE(data.rows() == 3);
  CHECK(data.schema()[0].type == ColumnType::numeric);
  CHECK(data.schema()[1].type == ColumnType::categorical);
  CHECK(data.schema()[2].type == ColumnType::timestamp);
  CHECK(data.schema()[3].type == ColumnType::text);
  CHECK(data.task() == Task::classification);
  CHECK(Strings(data.classes().begin(), data.classes().end()) == Strings{"no", "yes"});
  CHECK(cells(data, "city") == Strings{"Rome", "Oslo", "Rome"});
  CHECK(cells(data, "joined") == Strings{"2024-02-29T00:00:00Z", "2024-03-01T12:00:00Z", ""});
  CHECK(data.column("review").to_text(1) ==
        "he said \"never\" and then wrote a second line\nwhich is here, in the same cell");
  CHECK(std::isnan(data.column("age").numbers[2]));
  CHECK(data.row_ids()[2] == 2);
  CHECK(data.quarantine().empty());
}

TEST_CASE("csv: byte order mark, CRLF, blank lines, blanks around cells, no last line end", "[csv]") {
  const Dataset data = read_csv_text(
      "\xef\xbb\xbf"
      "a , b\r\n 1,x \r\n\r\n\"2\",\" y \"\r\n3,z",
      {});
  REQUIRE(data.rows() == 3);
  CHECK(data.schema()[0].name == "a");
  CHECK(data.schema()[1].name == "b");
  CHECK(cells(data, "a") == Strings{"1", "2", "3"});
  CHECK(cells(data, "b") == Strings{"x", " y ", "z"});
  const Dataset raw = read_csv_text("a,b\n1, x\n2,y\n", {.trim = false});
  CHECK(cells(raw, "b") == Strings{" x", "y"});
}

TEST_CASE("csv: the delimiter is found, and can be given", "[csv]") {
  CHECK(read_csv_text("a\tb,c\n1\tx,y\n2\tz\n").cols() == 2);
  CHECK(read_csv_text("a;b\n1,5;x\n2,5;y\n").cols() == 2);
  CHECK(read_csv_text("a|b|c\n1|2|3\n").cols() == 3);
  CHECK(read_csv_text("name\nhello, world\nbye\n", {.bad_rows = BadRows::quarantine}).cols() == 1);
  CHECK(read_csv_text("a,b;c\n1,2;3\n", {.delimiter = ';'}).schema()[0].name == "a,b");
  CHECK(message_of("a\"b\n", {.delimiter = '"'}, errc::invalid_argument).find("delimiter") != std::string::npos);
}

TEST_CASE("csv: header or not", "[csv]") {
  CHECK(read_csv_text("1,2\n3,4\n").schema()[0].name == "c1");
  CHECK(read_csv_text("1,2\n3,4\n").rows() == 2);
  CHECK(read_csv_text("2020,2021\n3,4\n", {.header = Header::present}).schema()[1].name == "2021");
  CHECK(read_csv_text("ham\thello\nspam\tbuy\n", {.target = "c1"}).rows() == 2);
  CHECK(read_csv_text("ham\thello\nspam\tbuy\n", {.header = Header::absent}).rows() == 2);
  CHECK(read_csv_text(",x\n0,5\n").schema()[0].name == "c1");
  const std::string twice = message_of("a,b,a\n1,2,3\n", {}, errc::parse_error);
  CHECK(twice == "file.csv:1: columns 1 and 3 are both named \"a\"");
}

TEST_CASE("csv: unknown column names are refused with the nearest", "[csv]") {
  const std::string text = "account,rating,genuine\nu1,5,yes\nu2,1,no\n";
  CHECK(message_of(text, {.target = "genuin"}, errc::not_found).find("nearest: \"genuine\"") != std::string::npos);
  CHECK(message_of(text, {.source = "Account"}, errc::not_found).find("\"account\"") != std::string::npos);
  CHECK(message_of(text, {.ignore = {"x"}}, errc::not_found).find("\"x\"") != std::string::npos);
  CHECK(message_of(text, {.types = {{"ratng", ColumnType::text}}}, errc::not_found).find("\"rating\"") !=
        std::string::npos);
  message_of(text, {.target = "genuine", .source = "genuine"}, errc::invalid_argument);
}

TEST_CASE("csv: bad rows go to quarantine with line, field and reason", "[csv]") {
  std::string text = "id,name,score\n";
  for (int i = 0; i < 200; ++i) {
    if (i == 10)
      text += "10,ten\n";  // line 12
    else if (i == 20)
      text += "20,twenty,1,2\n";  // line 22
    else if (i == 30)
      text += "30,\"thirty\"x,3\n";  // line 32
    else if (i == 40)
      text += "40,\"two\nlines\",abc\n";  // lines 42 and 43
    else if (i == 50)
      text += "50,\"fif\xff\",5\n";  // line 53
    else if (i == 199)
      text += "199,\"open,9\nagain,x,1\n";  // line 202
    else
      text += std::to_string(i) + ",n" + std::to_string(i % 3) + "," + std::to_string(i * 0.5) + "\n";
  }
  const Dataset data = read_csv_text(text, {}, "scores.csv");
  struct Expected {
    std::size_t line, column;
    const char* reason;
  };
  const std::vector<Expected> expected = {{12, 3, "2 fields, expected 3"},
                                          {22, 4, "4 fields, expected 3"},
                                          {32, 2, "text after a closing quote"},
                                          {42, 3, "\"score\" is numeric, but the cell is no finite number"},
                                          {53, 2, "\"name\" holds NUL or invalid UTF-8"},
                                          {202, 2, "a quote that never closes"},
                                          {203, 1, "\"id\" is numeric, but the cell is no finite number"}};
  REQUIRE(data.quarantine().size() == expected.size());
  for (std::size_t i = 0; i < expected.size(); ++i) {
    CHECK(data.quarantine()[i].file == "scores.csv");
    CHECK(data.quarantine()[i].line == expected[i].line);
    CHECK(data.quarantine()[i].column == expected[i].column);
    CHECK(data.quarantine()[i].reason == expected[i].reason);
  }
  CHECK(data.rows() == 194);
  // Ids count every data row, so they do not depend on what was bad.
  CHECK(data.row_ids()[9] == 9);
  CHECK(data.row_ids()[10] == 11);
  CHECK(data.column("id").numbers[10] == 11);
  CHECK(data.row_ids()[193] == 198);
  CHECK(data.schema()[1].categories == Strings{"n0", "n1", "n2"});
  CHECK(message_of(text, {.bad_rows = BadRows::error}, errc::parse_error) ==
        "file.csv:12: field 3: 2 fields, expected 3");
}

TEST_CASE("csv: more bad rows than good ones are an error", "[csv]") {
  const std::string message = message_of("a,b\n1,2\n1\n2\n", {.delimiter = ','}, errc::parse_error);
  CHECK(message.find("file.csv:3") == 0);
  CHECK(message.find("2 of 3 rows are bad") != std::string::npos);
  message_of("", {}, errc::parse_error);
  message_of("\n\n\n", {}, errc::parse_error);
  message_of("a,b\n", {}, errc::parse_error);
  message_of("\"a", {}, errc::parse_error);
  message_of(std::string_view("\xff\xfe"
                              "a\0",
                              4),
             {}, errc::unsupported);
}

TEST_CASE("csv: quoting can be switched off", "[csv]") {
  const Dataset data = read_csv_text("c\ttext\nx\t\"quoted start\ny\tend\"\n", {.delimiter = '\t', .quoting = false});
  CHECK(cells(data, "text") == Strings{"\"quoted start", "end\""});
}

TEST_CASE("csv: a quote inside an unquoted cell is an ordinary character", "[csv]") {
  const Dataset data = read_csv_text("size,kind\n5\" pipe,a\n7\",b\n");
  CHECK(cells(data, "size") == Strings{"5\" pipe", "7\""});
}

TEST_CASE("csv: the whole column decides its type, wherever the odd cells are", "[csv]") {
  const auto column_of = [](int strings, bool strings_first, int rows) {
    std::string text = "x,y\n";
    for (int i = 0; i < rows; ++i) {
      const bool odd = strings_first ? i < strings : i >= rows - strings;
      text += fmt::format("{}{},1\n", odd ? "s" : "", odd ? i % 7 : i);
    }
    return read_csv_text(text);
  };
  // Beyond the first block, so that the guess is wrong at first.
  const int rows = 100'000;
  for (const bool first : {false, true}) {
    const Dataset few = column_of(rows / 100, first, rows);
    CHECK(few.schema()[0].type == ColumnType::numeric);
    CHECK(few.quarantine().size() == rows / 100);
    CHECK(few.rows() == rows - rows / 100);
    const Dataset many = column_of(rows / 50, first, rows);
    CHECK(many.schema()[0].type == ColumnType::text);  // more values than max_categories
    CHECK(many.quarantine().empty());
    CHECK(many.column(0).to_text(first ? rows - 1 : 0) == (first ? "99999" : "0"));
    CHECK(many.column(0).to_text(first ? 8 : rows - 1) == fmt::format("s{}", (first ? 8 : rows - 1) % 7));
  }
}

TEST_CASE("csv: categories that turn out to be many become text", "[csv]") {
  std::string text = "x\n";
  for (int i = 0; i < 300; ++i) text.append("v").append(std::to_string(i)).append("\n");
  CHECK(read_csv_text(text).schema()[0].type == ColumnType::text);
  CHECK(read_csv_text(text, {.max_categories = 300}).schema()[0].type == ColumnType::categorical);
  const Dataset forced = read_csv_text(text, {.types = {{"x", ColumnType::categorical}}});
  CHECK(forced.schema()[0].categories.size() == 300);
  CHECK(read_csv_text(text, {.source = "x"}).source_names().size() == 300);
  CHECK(cells(read_csv_text(text), "x") == cells(forced, "x"));
}

TEST_CASE("csv: what a target becomes", "[csv]") {
  const auto names = [](const Dataset& data) { return Strings(data.classes().begin(), data.classes().end()); };
  CHECK(names(read_csv_text("y\n10\n2\n01\n2\n", {.target = "y"})) == Strings{"01", "2", "10"});
  CHECK(names(read_csv_text("y,x\n1.0,5\n0.0,6\n,7\n", {.target = "y"})) == Strings{"0.0", "1.0"});
  CHECK(read_csv_text("y,x\n1.0,5\n0.0,6\n,7\n", {.target = "y"}).labels()[2] == -1);
  CHECK(names(read_csv_text("y\nb\na\nc\n", {.target = "y"})) == Strings{"a", "b", "c"});
  CHECK(read_csv_text("y\n1.5\n2\n", {.target = "y"}).task() == Task::regression);
  std::string many = "y\n";
  for (int i = 0; i < 5000; ++i) many += std::to_string(i % 21) + "\n";
  CHECK(read_csv_text(many, {.target = "y"}).task() == Task::regression);
  CHECK(read_csv_text(many, {.target = "y", .task = Task::classification}).classes().size() == 21);
  CHECK(read_csv_text("y\n0\n1\n", {.target = "y", .task = Task::regression}).targets()[1] == 1.0);
  CHECK(names(read_csv_text("y\n<=50K.\n>50K.\n<=50K\n", {.target = "y", .target_suffix = "."})) ==
        Strings{"<=50K", ">50K"});
}

TEST_CASE("csv: weights, times and sources", "[csv]") {
  const Dataset data =
      read_csv_text("who,when,w,x\n7,1700000000,1,1\n8,1700000001,-1,2\n7,1700000002.5,0.5,3\n9,,2,4\n",
                    {.source = "who", .time = "when", .weight = "w"});
  REQUIRE(data.rows() == 3);
  CHECK(data.quarantine()[0].line == 3);
  CHECK(data.quarantine()[0].reason == "weight \"w\" is missing or negative");
  CHECK(Strings(data.source_names().begin(), data.source_names().end()) == Strings{"7", "9"});
  CHECK(data.times()[0] == 1'700'000'000'000'000);
  CHECK(data.times()[1] == 1'700'000'002'500'000);
  CHECK(data.times()[2] == missing_time);
  CHECK(data.weights()[1] == 0.5);
  message_of("t,x\nnever,1\nsoon,2\n", {.time = "t"}, errc::type_mismatch);
  const Dataset millis =
      read_csv_text("t\n1700000000123\n", {.types = {{"t", ColumnType::timestamp}}, .header = Header::present});
  CHECK(millis.column(0).times[0] == 1'700'000'000'123'000);
}

TEST_CASE("csv: missing tokens", "[csv]") {
  const Dataset data = read_csv_text("a,b\n1,NA\n?,x\n-999,null\n", {.missing = {"NA", "?", "-999", ""}});
  CHECK(data.column("a").missing(1));
  CHECK(data.column("a").missing(2));
  CHECK(data.column("b").missing(0));
  CHECK(data.column("b").to_text(2) == "null");
}

TEST_CASE("csv: numbers are rounded as strtod rounds them", "[csv]") {
  Random random(3);
  const auto check = [](const std::string& text) {
    double value = 0;
    const double expected = std::strtod(text.c_str(), nullptr);
    const bool read = detail::parse_number(text.data(), text.data() + text.size(), value);
    if (read != std::isfinite(expected) || (read && std::memcmp(&value, &expected, sizeof value) != 0)) {
      FAIL_CHECK(text << " read as " << (read ? value : -1));
    }
  };
  for (int i = 0; i < 200'000; ++i) {
    std::string text = random.below(2) ? "-" : "";
    const auto whole = random.below(21), fraction = random.below(21);
    for (std::uint64_t d = 0; d < whole; ++d) text += static_cast<char>('0' + random.below(10));
    if (fraction || !whole) text += '.';
    for (std::uint64_t d = 0; d < fraction + !whole; ++d) text += static_cast<char>('0' + random.below(10));
    if (random.below(2)) text += (random.below(2) ? "e" : "E-") + std::to_string(random.below(340));
    check(text);
  }
  for (int i = 0; i < 100'000; ++i) {  // any double, printed in full
    std::uint64_t bits = random.next64();
    double value = 0;
    std::memcpy(&value, &bits, sizeof value);
    if (!std::isfinite(value)) continue;
    char text[40];
    std::snprintf(text, sizeof text, "%.17g", value);
    check(text);
  }
  for (const char* text : {"0", "-0", "00000000000000000000000000.1", "9007199254740993", "9007199254740992.5", "1e22",
                           "1e23", "123456789012345678901234567890", "2.2250738585072011e-308", "5e-324", "2e-324",
                           "1e-400", "1.7976931348623158e308", "1e309", "1e99999999999", "0e99999999999",
                           "0.000000000000000000000000000000000000000000000000000000000000000000000000000000001e80"}) {
    check(text);
  }
  for (const std::string text : {"", ".", "-", "1e", "1e+", "1.2.3", "0x10", "inf", "nan", "1 2", "1,5", "--1", "e5"}) {
    double value = 0;
    INFO(text);
    CHECK_FALSE(detail::parse_number(text.data(), text.data() + text.size(), value));
  }
}

TEST_CASE("csv: random texts read as an independent reader reads them", "[csv]") {
  Random random(11);
  const char alphabet[] = {'a', 'b', ',', '"', '\n', ' ', '\r', 'x', '7'};
  for (int round = 0; round < 300; ++round) {
    // Well-formed text of four columns with awkward cells, long enough to cross the 64-byte steps anywhere.
    std::vector<Strings> rows;
    std::string text = "c1,c2,c3,c4\n";
    const auto count = 1 + random.below(60);
    for (std::uint64_t r = 0; r < count; ++r) {
      Strings row;
      for (int c = 0; c < 4; ++c) {
        std::string cell;
        const auto length = random.below(random.below(4) ? 6 : 90);
        for (std::uint64_t i = 0; i < length; ++i) cell += alphabet[random.below(sizeof alphabet)];
        if (c > 0) text += ',';
        if (cell.find_first_of(",\"\n\r ") != std::string::npos || random.below(5) == 0) {
          text += '"';
          for (const char ch : cell) text += ch == '"' ? "\"\"" : std::string(1, ch);
          text += '"';
        } else {
          text += cell;
        }
        row.push_back(cell);
      }
      text += r + 1 == count && random.below(2) ? "" : random.below(2) ? "\n" : "\r\n";
      rows.push_back(row);
    }
    CsvOptions options;
    options.delimiter = ',';
    options.header = Header::present;
    options.missing = {""};
    for (const char* name : {"c1", "c2", "c3", "c4"}) options.types.emplace_back(name, ColumnType::text);
    const Dataset data = read_csv_text(text, options);
    REQUIRE(data.rows() == rows.size());
    REQUIRE(data.quarantine().empty());
    for (std::size_t r = 0; r < rows.size(); ++r) {
      for (std::size_t c = 0; c < 4; ++c) REQUIRE(data.column(c).to_text(r) == rows[r][c]);
    }
    // And the same cut into blocks of any size.
    detail::CsvTokenizer tokenizer(',', true);
    std::size_t position = 0, taken = 0, size = 1 + random.below(100);
    detail::TokenBlock block;
    while (position < text.size()) {
      const std::string_view piece = std::string_view(text).substr(position, size);
      const bool last = position + piece.size() == text.size();
      const std::size_t used = tokenizer.scan(piece, last, 4, block);
      for (std::size_t r = 0; r < block.rows(); ++r) {
        REQUIRE(block.row_numbers[r] == taken);
        for (std::size_t c = 0; c < 4 && taken > 0; ++c) {
          const detail::Cell cell = block.cells[r * 4 + c];
          std::string value(piece.substr(cell.begin, cell.length));
          if (cell.doubled) detail::undouble_quotes(std::string(value), value);
          REQUIRE(value == rows[taken - 1][c]);
        }
        ++taken;
      }
      REQUIRE((used > 0 || !last));
      position += used;
      size = used == 0 ? size * 2 : 1 + random.below(100);
    }
    CHECK(taken == rows.size() + 1);
    CHECK(naive_rows(text, ',').size() == rows.size() + 1);
  }
}

TEST_CASE("csv: what was written reads back, bit for bit", "[csv]") {
  std::vector<Column> columns(4);
  columns[0].spec = {"number", ColumnType::numeric, ColumnRole::feature, {}};
  columns[0].numbers = {0.1, -0.0, 1e300, std::nan(""), 5e-324, 123456789.123};
  columns[1].spec = {"odd, \"name\"", ColumnType::categorical, ColumnRole::feature, {"a,b", "c\nd", "e \"f\""}};
  columns[1].codes = {0, 1, 2, -1, 0, 1};
  columns[2].spec = {"text", ColumnType::text, ColumnRole::feature, {}};
  for (const char* text : {" blanks ", "", "line\r\nline", "\"", "ünïcode", "plain"}) columns[2].texts.push_back(text);
  columns[3].spec = {"time", ColumnType::timestamp, ColumnRole::feature, {}};
  columns[3].times = {0, -1, missing_time, 1'700'000'000'123'456, -62'135'596'800'000'000, 253'402'300'799'999'999};
  const Dataset data(columns);
  test::TempDir dir;
  for (const char delimiter : {',', '\t'}) {
    write_csv(data, dir / "data.csv", delimiter);
    const Dataset back = read_csv(dir / "data.csv", {.types = {{"text", ColumnType::text}}});
    REQUIRE(back.rows() == 6);
    CHECK(back.hash() == data.hash());
  }
  CHECK_THROWS_AS(write_csv(data, dir / "no/such/dir.csv"), Error);
  std::vector<Column> one(1);
  one[0].spec.name = "x";
  one[0].numbers = {1, std::nan(""), 3};
  CHECK(read_csv_text(write_csv_text(Dataset(one))).rows() == 3);
}

TEST_CASE("csv: files larger than a block equal the same text in memory", "[csv]") {
  test::TempDir dir;
  Random random(5);
  std::string text = "n,t\n";
  for (int i = 0; i < 20'000; ++i) {
    text +=
        std::to_string(random.uniform()) + ",\"" + std::string(random.below(60), 'x') + (i % 50 ? "" : "\n") + "\"\n";
  }
  text += "1,\"" + std::string(700'000, 'y') + "\"\n";  // a row longer than a block
  std::ofstream(dir / "big.csv", std::ios::binary) << text;
  const Dataset from_file = read_csv(dir / "big.csv");
  CHECK(from_file.rows() == 20'001);
  CHECK(from_file.hash() == read_csv_text(text).hash());
  CHECK_THROWS_AS(read_csv(dir / "none.csv"), Error);
  CHECK_THROWS_AS(read_csv(dir.path()), Error);
}

TEST_CASE("csv: many columns and hostile rows stay bounded", "[csv]") {
  message_of(std::string(70'000, ',') + "\n1\n", {}, errc::parse_error);
  const Dataset data = read_csv_text("a,b\n1,2\n3,4\n" + std::string(1'000'000, ',') + "\n");
  CHECK(data.quarantine()[0].reason == "1000001 fields, expected 2");
}

TEST_CASE("csv: real files have the documented rows and classes", "[csv]") {
  SECTION("electricity") {
    REDOUBT_NEED_DATA(path, "drift_streams/elec.csv");
    const Dataset data = read_csv(path, {.target = "class"});
    CHECK(data.rows() == 45312);
    CHECK(data.cols() == 7);
    CHECK(class_counts(data) == std::map<std::string, int>{{"0", 26075}, {"1", 19237}});
    CHECK(data.quarantine().empty());
  }
  SECTION("weather") {
    REDOUBT_NEED_DATA(path, "drift_streams/weather.csv");
    const Dataset data = read_csv(path);
    CHECK(data.rows() + data.quarantine().size() == 18159);
    CHECK(data.quarantine().empty());
  }
  SECTION("messages with unbalanced quotes") {
    REDOUBT_NEED_DATA(path, "sms_spam/SMSSpamCollection");
    const Dataset data =
        read_csv(path, {.target = "c1", .delimiter = '\t', .header = Header::absent, .quoting = false});
    CHECK(data.rows() == 5574);
    CHECK(class_counts(data) == std::map<std::string, int>{{"ham", 4827}, {"spam", 747}});
    CHECK(data.schema()[1].type == ColumnType::text);
  }
  SECTION("adult, and its test file with full stops behind the labels") {
    REDOUBT_NEED_DATA(path, "adult_keele_modified/adult.data");
    REDOUBT_NEED_DATA(test_path, "adult_keele_modified/adult.test");
    const Dataset train = read_csv(path, {.target = "income"});
    CHECK(train.rows() == 32561);
    CHECK(train.cols() == 14);
    CHECK(class_counts(train) == std::map<std::string, int>{{"<=50K", 24720}, {">50K", 7841}});
    CHECK(train.schema()[train.schema().at("workclass")].type == ColumnType::categorical);
    CHECK(train.schema()[train.schema().at("age")].type == ColumnType::numeric);
    const Dataset held = read_csv(test_path, {.target = "income", .target_suffix = "."});
    CHECK(class_counts(held) == std::map<std::string, int>{{"<=50K", 12435}, {">50K", 3846}});
    CHECK(class_counts(read_csv(test_path, {.target = "income"})).contains("<=50K."));
  }
  SECTION("hotel reviews with quoted texts") {
    REDOUBT_NEED_DATA(path, "deceptive_opinion/deceptive-opinion.csv");
    const Dataset data = read_csv(path, {.target = "label", .ignore = {"c1"}});
    CHECK(data.rows() == 1600);
    CHECK(class_counts(data) == std::map<std::string, int>{{"0", 800}, {"1", 800}});
    CHECK(data.column("hotel").spec.categories.size() == 20);
    CHECK(data.schema()[data.schema().at("Ori_Review")].type == ColumnType::text);
    CHECK(missing_cells(data) == 0);
  }
  SECTION("tab-separated numbers without a header") {
    REDOUBT_NEED_DATA(path, "lightgbm_examples/binary_classification/binary.train");
    const Dataset data = read_csv(path, {.target = "c1"});
    CHECK(data.rows() == 7000);
    CHECK(data.cols() == 29);
    CHECK(class_counts(data) == std::map<std::string, int>{{"0", 3284}, {"1", 3716}});
  }
}
