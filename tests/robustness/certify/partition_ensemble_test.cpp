#include "redoubt/robustness/certify/partition_ensemble.hpp"

#include <algorithm>
#include <catch2/catch.hpp>
#include <cmath>
#include <set>
#include <sstream>

#include "model/toy_form.hpp"
#include "redoubt/core/error.hpp"
#include "redoubt/core/parallel.hpp"
#include "redoubt/core/random.hpp"
#include "redoubt/data/dataset.hpp"
#include "redoubt/data/encoder.hpp"
#include "redoubt/data/generators.hpp"
#include "redoubt/linear/logistic_regression.hpp"
#include "redoubt/model/model.hpp"
#include "redoubt/model/parts.hpp"
#include "redoubt/trees/gradient_boosting.hpp"
#include "robustness/poisoning/support.hpp"

using namespace redoubt;

namespace {

/// Two classes in two columns, a category that helps a little, and many sources.
Dataset sourced(std::uint64_t seed, std::size_t rows, std::size_t sources, const std::string& prefix = "s",
                bool poison = false) {
  Random random(seed, 0);
  std::vector<double> x, y;
  std::vector<std::int32_t> kind, who, label;
  std::vector<std::string> names;
  for (std::size_t s = 0; s < sources; ++s) names.push_back(prefix + std::to_string(s));
  for (std::size_t r = 0; r < rows; ++r) {
    const bool positive = random.below(2);
    x.push_back((positive ? 1.0 : -1.0) + random.normal());
    y.push_back((positive ? 1.0 : -1.0) + random.normal());
    kind.push_back(static_cast<std::int32_t>(random.below(3)));
    who.push_back(static_cast<std::int32_t>(random.below(sources)));
    label.push_back(positive != poison);
  }
  return Dataset({test::numeric("x", x), test::numeric("y", y), test::categorical("kind", {"b", "a", "c"}, kind),
                  test::categorical("who", names, who, ColumnRole::source),
                  test::categorical("class", {"no", "yes"}, label, ColumnRole::target)});
}

/// Four classes in the corners of a square; poison gives each the label of the next.
Dataset corners(std::uint64_t seed, std::size_t rows, std::size_t sources, const std::string& prefix = "s",
                bool poison = false) {
  Random random(seed, 0);
  std::vector<double> x, y;
  std::vector<std::int32_t> who, label;
  std::vector<std::string> names;
  for (std::size_t s = 0; s < sources; ++s) names.push_back(prefix + std::to_string(s));
  for (std::size_t r = 0; r < rows; ++r) {
    const auto corner = static_cast<std::int32_t>(random.below(4));
    x.push_back((corner % 2 ? 1.0 : -1.0) + random.normal());
    y.push_back((corner / 2 ? 1.0 : -1.0) + random.normal());
    who.push_back(static_cast<std::int32_t>(random.below(sources)));
    label.push_back((corner + poison) % 4);
  }
  return Dataset({test::numeric("x", x), test::numeric("y", y),
                  test::categorical("who", names, who, ColumnRole::source),
                  test::categorical("class", {"a", "b", "c", "d"}, label, ColumnRole::target)});
}

const GradientBoosting trees{{.trees = 5, .max_leaves = 4, .min_leaf_rows = 5}};

bool same(const PartitionEnsemble& a, const PartitionEnsemble& b) {
  if (a.partitions() != b.partitions()) return false;
  for (std::size_t p = 0; p < a.partitions(); ++p) {
    if (a.data_hash(p) != b.data_hash(p) || bool(a.model(p)) != bool(b.model(p))) return false;
    if (a.model(p) && a.model(p).hash() != b.model(p).hash()) return false;
  }
  return true;
}

struct Flood {
  std::size_t checked = 0, broken = 0, changed_beyond = 0;  // votes within their certificate, of these changed, others
};

/// Six poisoners, each of which floods another partition, where they harm most; poison(k) has one source.
template <class Poison>
Flood flood(const PartitionEnsemble& ensemble, const Dataset& train, const Dataset& test, PartitionVote vote,
            Poison poison) {
  Flood result;
  const auto before = ensemble.predict(test, vote);
  Dataset poisoned = train;
  std::set<std::size_t> hit;
  for (std::uint64_t k = 0; hit.size() < 6; ++k) {
    const Dataset added = poison(k);
    if (!hit.insert(ensemble.partition_of(added.row(0))).second) continue;
    poisoned = Dataset::concat(poisoned, added);
    const auto attacked = ensemble.refit(poisoned, trees);
    CHECK(attacked.trained() == hit.size());
    const auto after = attacked.predict(test, vote);
    for (std::size_t r = 0; r < test.rows(); ++r) {
      const bool changed = after[r].label != before[r].label;
      if (before[r].tolerated >= hit.size())
        ++result.checked, result.broken += changed;
      else
        result.changed_beyond += changed;
    }
  }
  return result;
}

}  // namespace

TEST_CASE("certified votes stay when that many sources are poisoned, and some others change", "[partition_ensemble]") {
  const Dataset train = sourced(1, 1500, 200), test = sourced(2, 150, 10, "t");
  const auto ensemble = PartitionEnsemble::fit(train, trees, {.partitions = 15, .by_source = true});
  CHECK(ensemble.trained() == 15);
  const PartitionEvaluation evaluation = ensemble.evaluate(test);
  CHECK(evaluation.accuracy > 0.85);
  CHECK(evaluation.certified[0] == evaluation.accuracy);
  CHECK(evaluation.certified[1] > 0.7);
  CHECK(std::is_sorted(evaluation.certified.rbegin(), evaluation.certified.rend()));
  CHECK(evaluation.median_tolerated >= 5);

  const Flood result = flood(ensemble, train, test, PartitionVote::majority, [](std::uint64_t k) {
    return sourced(100 + k, 600, 1, "poisoner" + std::to_string(k) + "-", true);
  });
  CHECK(result.checked > 300);
  CHECK(result.broken == 0);
  CHECK(result.changed_beyond > 10);  // so the attack does bite
}

TEST_CASE("a run-off certifies more of four classes, and what it certifies stays", "[partition_ensemble]") {
  const Dataset train = corners(11, 1600, 200), test = corners(12, 200, 10, "t");
  const auto ensemble = PartitionEnsemble::fit(train, trees, {.partitions = 25, .by_source = true});
  const PartitionEvaluation plain = ensemble.evaluate(test), run_off = ensemble.evaluate(test, PartitionVote::run_off);
  CHECK(std::abs(plain.accuracy - run_off.accuracy) < 0.03);
  CHECK(run_off.certified[4] > plain.certified[4]);

  const Flood result = flood(ensemble, train, test, PartitionVote::run_off, [](std::uint64_t k) {
    return corners(200 + k, 600, 1, "poisoner" + std::to_string(k) + "-", true);
  });
  CHECK(result.checked > 300);
  CHECK(result.broken == 0);
  CHECK(result.changed_beyond > 10);
}

TEST_CASE("a class that poison brings may win a tie by its name", "[partition_ensemble]") {
  const Dataset train = sourced(5, 300, 40), test = sourced(6, 60, 5);
  const auto ensemble = PartitionEnsemble::fit(train, trees, {.partitions = 2, .by_source = true});
  const auto before = ensemble.predict(test);
  const std::vector<std::int32_t> all_first(3000, 0);
  const Dataset poison = sourced(7, 3000, 1, "poisoner")
                             .with_column(test::categorical("class", {"a new one"}, all_first, ColumnRole::target));
  const auto after = ensemble.refit(Dataset::concat(train, poison), trees).predict(test);
  std::size_t moved = 0;
  for (std::size_t r = 0; r < test.rows(); ++r) {
    moved += after[r].label == "a new one";
    if (after[r].label != before[r].label) CHECK(before[r].tolerated == 0);
  }
  CHECK(moved > 30);
}

TEST_CASE("rows deleted and relabelled up to the tolerance change nothing", "[partition_ensemble]") {
  const Dataset train = sourced(3, 500, 20), test = sourced(4, 60, 5);
  const auto ensemble = PartitionEnsemble::fit(train, trees, {.partitions = 9, .key = 5});
  const auto before = ensemble.predict(test);
  Random random(9, 0);
  for (int trial = 0; trial < 6; ++trial) {
    std::vector<RowId> deleted;
    std::vector<std::int32_t> labels(train.labels().begin(), train.labels().end());
    for (std::size_t k = 0; k < 2; ++k) {
      const std::size_t row = random.below(train.rows());
      if (k == 0)
        labels[row] = 1 - labels[row];
      else
        deleted.push_back(train.row_ids()[row]);
    }
    const Dataset changed =
        train.with_column(test::categorical("class", {"no", "yes"}, labels, ColumnRole::target)).without(deleted);
    const auto after_fit = ensemble.refit(changed, trees);
    CHECK(after_fit.trained() <= 2);
    CHECK(after_fit.trained() >= 1);
    const auto after = after_fit.predict(test);
    for (std::size_t r = 0; r < test.rows(); ++r)
      if (before[r].tolerated >= 2) CHECK(after[r].label == before[r].label);
  }
}

TEST_CASE("removing a source trains one model again and equals training without it", "[partition_ensemble][threads]") {
  const Dataset train = sourced(5, 600, 40);
  Arena one(1), two(2);
  const PartitionOptions options{.partitions = 8, .by_source = true, .arena = &two};
  const auto ensemble = PartitionEnsemble::fit(train, trees, options);
  const std::vector<std::string> bad{"s7"};
  const Dataset kept = train.without_sources(bad);
  REQUIRE(kept.rows() < train.rows());
  const auto removed = ensemble.refit(kept, trees);
  CHECK(removed.trained() == 1);
  auto serial = options;
  serial.arena = &one;
  const auto fresh = PartitionEnsemble::fit(kept, trees, serial);
  CHECK(fresh.trained() == 8);
  CHECK(same(removed, fresh));
  CHECK_FALSE(same(ensemble, removed));

  // Nothing depends on the order of rows, or on names that other partitions use.
  std::vector<std::size_t> order(kept.rows());
  for (std::size_t i = 0; i < order.size(); ++i) order[i] = order.size() - 1 - i;
  CHECK(removed.refit(kept.take(order), trees).trained() == 0);
  const auto back = removed.refit(train, trees);
  CHECK(back.trained() == 1);
  CHECK(same(back, ensemble));
}

TEST_CASE("models that did not see a row disagree with a wrong label", "[partition_ensemble]") {
  const Dataset clean = sourced(6, 800, 30);
  std::vector<std::int32_t> labels(clean.labels().begin(), clean.labels().end());
  Random random(3, 3);
  std::set<std::size_t> flipped;
  while (flipped.size() < 80) flipped.insert(random.below(clean.rows()));
  for (const std::size_t r : flipped) labels[r] = 1 - labels[r];
  const Dataset data = clean.with_column(test::categorical("class", {"no", "yes"}, labels, ColumnRole::target));
  const auto ensemble = PartitionEnsemble::fit(data, LogisticRegression{}, {.partitions = 10});
  const auto agreement = ensemble.out_of_partition_agreement(data);
  double wrong = 0, right = 0;
  for (std::size_t r = 0; r < data.rows(); ++r) (flipped.count(r) ? wrong : right) += agreement[r];
  CHECK(wrong / 80 < 0.25);
  CHECK(right / 720 > 0.85);
}

TEST_CASE("partitions without a choice vote for their class or not at all", "[partition_ensemble]") {
  const Dataset train = sourced(8, 12, 3), test = sourced(9, 20, 3);
  const auto ensemble = PartitionEnsemble::fit(train, trees, {.partitions = 30});
  CHECK(ensemble.trained() <= 6);
  std::size_t empty = 0;
  for (std::size_t p = 0; p < 30; ++p) empty += !ensemble.model(p);
  CHECK(empty >= 24);
  for (const auto& p : ensemble.predict(test)) {
    CHECK(p.votes + p.runner_up <= 12);
    CHECK(p.tolerated <= p.votes / 2);
  }
  std::ostringstream text;
  text << ensemble.evaluate(test);
  CHECK(text.str().find("certified") != std::string::npos);

  CHECK_THROWS_AS(PartitionEnsemble::fit(train, trees, {.partitions = 0}), Error);
  CHECK_THROWS_AS(PartitionEnsemble::fit(generate_blobs({.rows = 30}), trees, {.by_source = true}), Error);
  CHECK_THROWS_AS(PartitionEnsemble::fit(train.seal(), trees), Error);
  const Dataset plain({test::numeric("x", {1, 2, 3})});
  CHECK_THROWS_AS(PartitionEnsemble::fit(plain, trees), Error);
  CHECK_THROWS_AS(ensemble.evaluate(plain), Error);
}

TEST_CASE("a model that says nothing does not vote, and one that knows too much is refused", "[partition_ensemble]") {
  const Dataset train = sourced(13, 300, 20), rows = sourced(14, 20, 3);
  const auto silent = [](const Dataset& data) {
    ModelParts parts;
    parts.task = data.task();
    parts.classes.assign(data.classes().begin(), data.classes().end());
    const auto encoder = Shared<const Encoder>::make(Encoder::fit(data, EncoderOptions::dense()));
    parts.encoder = encoder;
    parts.predictor = Shared<const test::ToyForm>::make(std::vector<float>(encoder->width(), std::nanf("")), 2, 0);
    return Model(std::move(parts), data);
  };
  const auto ensemble = PartitionEnsemble::fit(train, PartitionEnsemble::Fit(silent), {.partitions = 3});
  REQUIRE(std::isnan(ensemble.model(0).predict_proba(rows)(0, 0)));
  for (const PartitionVote vote : {PartitionVote::majority, PartitionVote::run_off}) {
    for (const auto& p : ensemble.predict(rows, vote)) {
      CHECK(p.votes == 0);
      CHECK(p.tolerated == 0);
    }
    CHECK(ensemble.evaluate(rows, vote).median_tolerated == 0);
  }

  const Model all = trees.fit(corners(15, 400, 20));
  const auto elsewhere = [&](const Dataset&) { return all; };
  CHECK_THROWS_WITH(PartitionEnsemble::fit(train, PartitionEnsemble::Fit(elsewhere), {.partitions = 2}),
                    Catch::Contains("class 'a'"));
}
