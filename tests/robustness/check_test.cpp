#include "redoubt/robustness/check.hpp"

#include <catch2/catch.hpp>

#include "redoubt/core/tensor.hpp"
#include "redoubt/data/dataset.hpp"

using namespace redoubt;

namespace {

/// Counts rows; the smallest thing that is a check.
struct CountRows {
  static constexpr std::string_view id = "count_rows";
  static constexpr Stage stage = Stage::pre_train;
  static constexpr Need needs = Need::none;
  std::size_t limit = 10;
  std::size_t rows = 0;

  void update(const Batch& batch) { rows += batch.data->rows(); }
  void merge(const CountRows& other) { rows += other.rows; }
  Verdict finish() const {
    Verdict verdict;
    verdict.check = id;
    verdict.stage = stage;
    verdict.outcome = rows > limit ? Outcome::block : Outcome::pass;
    verdict.score = static_cast<double>(rows);
    return verdict;
  }
};

struct NeedsSources : CountRows {
  static constexpr Need needs = Need::sources | Need::times;
  void merge(const NeedsSources&) {}
};
/// Nobody can offer gradients before training: this must not be a check.
struct GradientsTooEarly : CountRows {
  static constexpr Need needs = Need::gradients;
  void merge(const GradientsTooEarly&) {}
};
struct SameAtTheGate : GradientsTooEarly {
  static constexpr Stage stage = Stage::gate;
  void merge(const SameAtTheGate&) {}
};
struct NoVerdict : CountRows {
  void merge(const NoVerdict&) {}
  int finish() const { return 0; }
};
struct NoMerge {
  static constexpr std::string_view id = "no_merge";
  static constexpr Stage stage = Stage::pre_train;
  static constexpr Need needs = Need::none;
  void update(const Batch&) {}
  Verdict finish() const { return {}; }
};

static_assert(Check<CountRows>);
static_assert(Check<NeedsSources>);
static_assert(Check<SameAtTheGate>);
static_assert(!Check<GradientsTooEarly>, "an unmet need is a compile error");
static_assert(!Check<NoVerdict>);
static_assert(!Check<NoMerge>);
static_assert(!std::is_constructible_v<AnyCheck, GradientsTooEarly>);

Dataset numbers(std::size_t rows) {
  return Dataset({Column{{"x", ColumnType::numeric, ColumnRole::feature, {}}, std::vector<double>(rows), {}, {}, {}}});
}

}  // namespace

TEST_CASE("a check runs with its options on a fresh copy each time", "[check]") {
  const Dataset data = numbers(7);
  Batch batch;
  batch.data = &data;
  const AnyCheck check = CountRows{.limit = 6};
  CHECK(check.id() == "count_rows");
  CHECK(check.stage() == Stage::pre_train);
  for (int i = 0; i < 2; ++i) {
    const Verdict verdict = check.run(batch);
    CHECK(verdict.score == 7);
    CHECK(verdict.outcome == Outcome::block);
    CHECK(verdict.seconds >= 0);
  }
  CHECK(run_check(CountRows{}, batch).outcome == Outcome::pass);
}

TEST_CASE("an unmet need is an explicit abstention that names it", "[check]") {
  const Dataset data = numbers(7);
  Batch batch;
  batch.data = &data;
  const Verdict verdict = run_check(NeedsSources{}, batch);
  CHECK(verdict.outcome == Outcome::abstain);
  CHECK(verdict.check == "count_rows");
  CHECK_THAT(verdict.summary, Catch::Contains("sources, times"));
  const Dataset none = numbers(0);
  batch.data = &none;
  CHECK(run_check(CountRows{}, batch).outcome == Outcome::abstain);
}

TEST_CASE("a batch states what it offers and refuses views that do not fit", "[check]") {
  Column account{{"account", ColumnType::categorical, ColumnRole::source, {"a"}}, {}, {0, 0}, {}, {}};
  Column when{{"when", ColumnType::timestamp, ColumnRole::time, {}}, {}, {}, {}, {1, 2}};
  Column y{{"y", ColumnType::categorical, ColumnRole::target, {"n", "p"}}, {}, {0, 1}, {}, {}};
  const Dataset data({account, when, y});
  Tensor<float> two({2, 3}), three({3, 3});
  Batch batch;
  batch.data = &data;
  CHECK(batch.available() == (Need::labels | Need::sources | Need::times));
  batch.probabilities = two;
  CHECK(covers(batch.available(), Need::probabilities));
  CHECK_FALSE(covers(batch.available(), Need::features));
  batch.features = three;
  CHECK_THROWS_WITH(run_check(CountRows{}, batch), Catch::Contains("`features` has 3 rows, the data has 2"));
  CHECK_THROWS_WITH(run_check(CountRows{}, Batch{}), Catch::Contains("null"));
}

TEST_CASE("needs are read as words", "[check]") {
  CHECK(to_string(Need::none) == "none");
  CHECK(to_string(Need::labels | Need::callers) == "labels, callers");
  CHECK((~Need::labels & (Need::labels | Need::times)) == Need::times);
}
