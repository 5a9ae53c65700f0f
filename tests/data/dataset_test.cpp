#include "redoubt/data/dataset.hpp"

#include <catch2/catch.hpp>
#include <cmath>
#include <set>

#include "redoubt/core/error.hpp"
#include "redoubt/core/tensor.hpp"

using namespace redoubt;

namespace {

Dataset reviews() {
  Column stars{{"stars", ColumnType::numeric, ColumnRole::feature, {}}, {5, 1, 5, 2}, {}, {}, {}};
  Column genuine{{"genuine", ColumnType::categorical, ColumnRole::target, {"no", "yes"}}, {}, {0, 1, 0, 1}, {}, {}};
  Column account{{"account", ColumnType::categorical, ColumnRole::source, {"eve", "ann"}}, {}, {0, 1, 0, -1}, {}, {}};
  Column when{{"when", ColumnType::timestamp, ColumnRole::time, {}}, {}, {}, {}, {10, 20, 30, 40}};
  Column weight{{"w", ColumnType::numeric, ColumnRole::weight, {}}, {1, 2, 3, 4}, {}, {}, {}};
  return Dataset({stars, genuine, account, when, weight}, {100, 101, 102, 103});
}

template <class Body>
void check_code(errc code, Body body) {
  try {
    body();
    FAIL("no error; expected " << to_string(code));
  } catch (const Error& error) {
    INFO(error.what());
    CHECK(to_string(error.code()) == std::string(to_string(code)));
  }
}

std::vector<RowId> ids(const Dataset& data) { return {data.row_ids().begin(), data.row_ids().end()}; }

}  // namespace

TEST_CASE("dataset: columns by role", "[dataset]") {
  const Dataset data = reviews();
  CHECK(data.rows() == 4);
  CHECK(data.cols() == 5);
  CHECK(data.labels()[1] == 1);
  CHECK(data.classes()[0] == "no");
  CHECK(data.sources()[3] == -1);
  CHECK(data.source_names()[1] == "ann");
  CHECK(data.times()[2] == 30);
  CHECK(data.weights()[3] == 4);
  CHECK(data.row(2).id() == 102);
  check_code(errc::type_mismatch, [&] { data.targets(); });
  const Dataset plain({Column{{"x", ColumnType::numeric, ColumnRole::feature, {}}, {1, 2}, {}, {}, {}}});
  CHECK(ids(plain) == std::vector<RowId>{0, 1});
  CHECK(plain.sources().empty());
  CHECK(plain.times().empty());
  CHECK(plain.weights().empty());
  check_code(errc::type_mismatch, [&] { plain.labels(); });
}

TEST_CASE("dataset: what does not fit together is refused", "[dataset]") {
  const auto number = [](const char* name, std::vector<double> values, ColumnRole role = ColumnRole::feature) {
    return Column{{name, ColumnType::numeric, role, {}}, std::move(values), {}, {}, {}};
  };
  CHECK_THROWS_WITH(Dataset({number("a", {1, 2}), number("b", {1})}),
                    Catch::Contains("\"a\" has 2 rows") && Catch::Contains("\"b\" has 1"));
  check_code(errc::shape_mismatch, [&] { Dataset({number("a", {1, 2})}, {1, 2, 3}); });
  check_code(errc::invalid_argument, [&] { Dataset({number("a", {1}), number("a", {1})}); });
  check_code(errc::invalid_argument, [&] { Dataset({number("w", {1, -1}, ColumnRole::weight)}); });
  check_code(errc::invalid_argument, [&] { Dataset({number("w", {std::nan("")}, ColumnRole::weight)}); });
  check_code(errc::invalid_argument, [] {
    Dataset({Column{{"c", ColumnType::categorical, ColumnRole::feature, {"a"}}, {}, {0, 1}, {}, {}}});
  });
  check_code(errc::invalid_argument, [] {
    Column text{{"t", ColumnType::text, ColumnRole::feature, {}}, {}, {}, {}, {}};
    text.texts.offsets = {0, 5};
    Dataset({text});
  });
  check_code(errc::type_mismatch, [] {
    Column text{{"t", ColumnType::text, ColumnRole::time, {}}, {}, {}, {}, {}};
    text.texts.push_back("yesterday");
    Dataset({text});
  });
}

TEST_CASE("dataset: roles turn columns into what they need", "[dataset]") {
  Column who{{"who", ColumnType::numeric, ColumnRole::source, {}}, {7, 10, 7, std::nan("")}, {}, {}, {}};
  Column when{{"when", ColumnType::numeric, ColumnRole::time, {}}, {1.5e9, 1.5e9 + 1, 0, std::nan("")}, {}, {}, {}};
  Column what{{"what", ColumnType::text, ColumnRole::target, {}}, {}, {}, {}, {}};
  for (const char* text : {"b", "a", "", "b"}) what.texts.push_back(text);
  const Dataset data({who, when, what});
  CHECK(data.source_names()[1] == "10");
  CHECK(data.sources()[3] == -1);
  CHECK(data.times()[0] == 1'500'000'000'000'000);
  CHECK(data.times()[3] == missing_time);
  CHECK(data.classes()[0] == "a");
  CHECK(data.labels()[2] == -1);
  const Dataset changed = data.with_role("what", ColumnRole::ignore);
  CHECK(changed.task() == Task::none);
  CHECK(data.task() == Task::classification);
  check_code(errc::invalid_argument, [&] { data.with_role("who", ColumnRole::target); });
  check_code(errc::not_found, [&] { data.with_role("whom", ColumnRole::target); });
}

TEST_CASE("dataset: from a matrix", "[dataset]") {
  Tensor<float> x{3, 2};
  x(1, 1) = 2.5f;
  const std::vector<std::int32_t> labels = {2, 0, -1};
  const Dataset classes = Dataset::from_matrix(x, labels);
  CHECK(classes.column("f1").numbers[1] == 2.5);
  CHECK(classes.classes().size() == 3);
  CHECK(classes.labels()[0] == 2);
  const std::vector<double> values = {1, 2, 3};
  CHECK(Dataset::from_matrix(x, values).targets()[2] == 3);
  CHECK(Dataset::from_matrix(x).task() == Task::none);
  check_code(errc::shape_mismatch, [&] { Dataset::from_matrix(x, std::span(labels).first(2)); });
  const std::vector<std::int32_t> huge = {2'000'000'000, 0, 0};
  check_code(errc::invalid_argument, [&] { Dataset::from_matrix(x, huge); });
}

TEST_CASE("dataset: subsets keep ids, order and columns", "[dataset]") {
  const Dataset data = reviews();
  const std::vector<std::size_t> rows = {3, 0, 0};
  CHECK(ids(data.take(rows)) == std::vector<RowId>{103, 100, 100});
  CHECK(data.take(rows).column("stars").numbers == std::vector<double>{2, 5, 5});
  const std::vector<RowId> some = {102, 100, 999};
  CHECK(ids(data.take_ids(some)) == std::vector<RowId>{100, 102});
  CHECK(ids(data.without(some)) == std::vector<RowId>{101, 103});
  const std::vector<std::string> names = {"eve", "bob"};
  CHECK(ids(data.without_sources(names)) == std::vector<RowId>{101, 103});
  const std::vector<std::size_t> outside = {4};
  check_code(errc::invalid_argument, [&] { data.take(outside); });
  CHECK(data.take({}).rows() == 0);
}

TEST_CASE("dataset: concat unites categories by name", "[dataset]") {
  const auto of = [](std::vector<std::string> names, std::vector<std::int32_t> codes) {
    return Dataset(
        {Column{{"c", ColumnType::categorical, ColumnRole::feature, std::move(names)}, {}, std::move(codes), {}, {}}});
  };
  const Dataset joined = Dataset::concat(of({"a", "b"}, {0, 1}), of({"c", "a"}, {0, 1, -1}));
  CHECK(joined.column(0).spec.categories == std::vector<std::string>{"a", "b", "c"});
  CHECK(joined.column(0).codes == std::vector<std::int32_t>{0, 1, 2, 0, -1});
  CHECK(Dataset::concat(reviews(), reviews()).rows() == 8);
  check_code(errc::shape_mismatch, [&] { Dataset::concat(joined, reviews()); });
  check_code(errc::type_mismatch, [&] { Dataset::concat(reviews(), reviews().with_role("w", ColumnRole::feature)); });
  const std::vector<std::size_t> first = {0, 1}, second = {2, 3};
  CHECK(Dataset::concat(reviews().take(first), reviews().take(second)).hash() == reviews().hash());
}

TEST_CASE("dataset: a replaced column leaves the others shared and unchanged", "[dataset]") {
  const Dataset data = reviews();
  Column corrected = data.column("genuine");
  corrected.codes[0] = 1;
  const Dataset fixed = data.with_column(corrected);
  CHECK(fixed.labels()[0] == 1);
  CHECK(data.labels()[0] == 0);
  CHECK(&fixed.column("stars") == &data.column("stars"));
  corrected.codes.push_back(0);
  check_code(errc::shape_mismatch, [&] { data.with_column(corrected); });
}

TEST_CASE("dataset: the hash changes with anything in the data", "[dataset]") {
  const Dataset data = reviews();
  CHECK(data.hash().size() == 64);
  CHECK(data.hash() == reviews().hash());
  std::set<std::string> hashes = {data.hash()};
  for (std::size_t c = 0; c < data.cols(); ++c) {
    Column column = data.column(c);
    if (!column.numbers.empty()) column.numbers[1] += 1;
    if (!column.codes.empty()) column.codes[2] = 1 - column.codes[2];
    if (!column.times.empty()) column.times[3] += 1;
    hashes.insert(data.with_column(column).hash());
  }
  hashes.insert(data.with_role("stars", ColumnRole::ignore).hash());
  const std::vector<std::size_t> rows = {0, 1, 3, 2};
  hashes.insert(data.take(rows).hash());
  CHECK(hashes.size() == 8);
}

TEST_CASE("dataset: the feature hash sees features only, and names rather than codes", "[dataset]") {
  const Dataset data = reviews();
  CHECK(data.feature_hash(0) == data.feature_hash(2));  // other time, weight and id
  CHECK(data.feature_hash(0) != data.feature_hash(1));
  const auto of = [](std::vector<std::string> names, std::int32_t code) {
    return Dataset({Column{{"c", ColumnType::categorical, ColumnRole::feature, std::move(names)}, {}, {code}, {}, {}}})
        .feature_hash(0);
  };
  CHECK(of({"a", "b"}, 1) == of({"b"}, 0));
  CHECK(of({"a", "b"}, 1) != of({"a", "b"}, 0));
  CHECK(of({"a"}, -1) != of({"a"}, 0));
  const auto number = [](double value) {
    return Dataset({Column{{"x", ColumnType::numeric, ColumnRole::feature, {}}, {value}, {}, {}, {}}}).feature_hash(0);
  };
  CHECK(number(0.0) == number(-0.0));
  CHECK(number(1.0) != number(2.0));
}

TEST_CASE("dataset: a sealed holdout stays sealed", "[dataset]") {
  const Dataset sealed = reviews().seal();
  CHECK(sealed.sealed());
  CHECK_FALSE(reviews().sealed());
  const std::vector<std::size_t> rows = {0, 1};
  check_code(errc::refused, [&] { sealed.require_trainable(); });
  check_code(errc::refused, [&] { sealed.take(rows).require_trainable(false); });
  check_code(errc::refused, [&] { sealed.without({}).require_trainable(); });
  check_code(errc::refused, [&] { Dataset::concat(reviews(), sealed).require_trainable(); });
  check_code(errc::refused, [&] { sealed.with_role("w", ColumnRole::ignore).require_trainable(); });
  check_code(errc::refused, [&] { sealed.with_column(sealed.column(0)).require_trainable(); });
  CHECK_NOTHROW(reviews().require_trainable());
}

TEST_CASE("dataset: training needs rows, features and a usable target", "[dataset]") {
  const Dataset data = reviews();
  check_code(errc::invalid_argument, [&] { data.take({}).require_trainable(); });
  check_code(errc::invalid_argument, [&] { data.with_role("stars", ColumnRole::ignore).require_trainable(); });
  const Dataset unlabelled = data.with_role("genuine", ColumnRole::ignore);
  check_code(errc::invalid_argument, [&] { unlabelled.require_trainable(); });
  CHECK_NOTHROW(unlabelled.require_trainable(false));
  const std::vector<std::size_t> one_class = {0, 2};
  CHECK_THROWS_WITH(data.take(one_class).require_trainable(), Catch::Contains("every row has the class \"no\""));
  Column target = data.column("genuine");
  target.codes[1] = -1;
  CHECK_THROWS_WITH(data.with_column(target).require_trainable(),
                    Catch::Contains("missing") && Catch::Contains("row id 101"));
}

TEST_CASE("dataset: quarantine travels with the rows", "[dataset]") {
  const Dataset data = reviews().with_quarantine({{"f.csv", 3, 2, "bad"}});
  const std::vector<std::size_t> rows = {0};
  CHECK(data.take(rows).quarantine().size() == 1);
  CHECK(Dataset::concat(data, data).quarantine().size() == 2);
  CHECK(data.seal().quarantine()[0].reason == "bad");
}

TEST_CASE("dataset: split is the stratified one", "[dataset]") {
  Tensor<float> x{100, 1};
  std::vector<std::int32_t> labels(100);
  for (std::size_t i = 0; i < 100; ++i) {
    x(i, 0) = static_cast<float>(i);
    labels[i] = i < 20;
  }
  const auto [train, test] = Dataset::from_matrix(x, labels).split(0.25, 7);
  CHECK(train.rows() == 75);
  CHECK(test.rows() == 25);
  int positives = 0;
  for (const std::int32_t label : test.labels()) positives += label;
  CHECK(positives == 5);
}
