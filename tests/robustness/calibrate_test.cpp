#include "redoubt/robustness/calibrate.hpp"

#include <catch2/catch.hpp>
#include <set>
#include <sstream>

#include "redoubt/core/error.hpp"
#include "redoubt/data/generators.hpp"
#include "redoubt/linear/logistic_regression.hpp"
#include "redoubt/model/model.hpp"
#include "redoubt/robustness/gate_checks.hpp"
#include "redoubt/trees/gradient_boosting.hpp"
#include "robustness/poisoning/support.hpp"

using namespace redoubt;

namespace {

/// Easy blobs, twenty rows per source.
Dataset with_sources() {
  const Dataset blobs = generate_blobs({.rows = 800, .features = 3, .classes = 2, .seed = 5});
  Column source{{"sensor", ColumnType::categorical, ColumnRole::source, {}}, {}, {}, {}, {}};
  for (int s = 0; s < 40; ++s) source.spec.categories.push_back("s" + std::to_string(10 + s));
  for (std::size_t r = 0; r < 800; ++r) source.codes.push_back(static_cast<std::int32_t>(r / 20));
  std::vector<Column> columns{source};
  for (std::size_t c = 0; c < blobs.cols(); ++c) columns.push_back(blobs.column(c));
  return Dataset(columns);
}

}  // namespace

TEST_CASE("planted flips change exactly the labels they say", "[calibrate]") {
  const Dataset data = with_sources();
  const PlantedFlips planted = plant_flips(data, {.flip_rate = 0.1, .source_rate = 0.05});
  CHECK(planted.by_source.size() == 40);
  CHECK(planted.sources.size() == 2);
  CHECK(planted.random.size() == 76);
  std::set<RowId> touched(planted.random.begin(), planted.random.end());
  touched.insert(planted.by_source.begin(), planted.by_source.end());
  CHECK(touched.size() == 116);
  for (std::size_t r = 0; r < data.rows(); ++r)
    CHECK((data.labels()[r] != planted.data.labels()[r]) == touched.contains(data.row_ids()[r]));
  CHECK(plant_flips(data, {.seed = 1}).random == plant_flips(data, {.seed = 1}).random);
  CHECK(plant_flips(data, {.seed = 1}).random != plant_flips(data, {.seed = 2}).random);
}

TEST_CASE("without sources only random flips are planted", "[calibrate]") {
  const Dataset data = generate_blobs({.rows = 200, .classes = 3});
  const PlantedFlips planted = plant_flips(data);
  CHECK(planted.by_source.empty());
  CHECK(planted.random.size() == 6);
}

TEST_CASE("measured recall and false positives stand beside the verdicts", "[calibrate]") {
  const Dataset data = with_sources();
  ScreenReport report = screen(data);
  const auto blocked = report.blocked();
  calibrate(report, data);
  CHECK(report.blocked() == blocked);
  const auto& measured = report.verdict("screen").calibration;
  REQUIRE(measured.size() == 5);
  CHECK(measured[0].planted == "random label flips");
  CHECK(measured[0].positives == 23);
  CHECK(measured[0].recall >= 0.7);
  CHECK(measured[1].recall >= 0.7);
  CHECK(measured[0].false_positive_rate <= 0.05);
  CHECK(measured[2].planted == "backdoor trigger");
  CHECK(measured[2].positives == 8);
  CHECK(measured[3].planted == "clean-label pattern");
  CHECK(measured[4].planted == "campaign of 4 new accounts");
  CHECK(measured[4].positives == 16);
  CHECK(report.verdict("confident_learning").calibration.size() == 5);
  CHECK(report.verdict("bursts").calibration.empty());  // abstained: nothing was measured
  CHECK(report.verdict("source_suspicion").calibration[1].recall >= 0.9);
  std::ostringstream text;
  text << report;
  CHECK_THAT(text.str(), Catch::Contains("recall") && !Catch::Contains("not calibrated"));
}

TEST_CASE("planted patterns are where they say, and a campaign is new accounts in a hurry", "[calibrate]") {
  const Dataset data = generate_marketplace({.rows = 4000}).data;
  const PlantedPatterns planted = plant_patterns(data);
  CHECK(planted.triggered.size() == 40);
  CHECK(planted.clean_label.size() == 40);
  CHECK(planted.accounts == 20);
  REQUIRE(planted.campaign.size() == 80);
  CHECK(planted.data.rows() == data.rows() + 80);
  const std::set<RowId> triggered(planted.triggered.begin(), planted.triggered.end()),
      clean(planted.clean_label.begin(), planted.clean_label.end());
  std::set<std::int32_t> aims;
  for (std::size_t r = 0; r < data.rows(); ++r) {
    const RowId id = data.row_ids()[r];
    std::size_t changed = 0;
    for (const std::size_t c : data.schema().features())
      changed += data.column(c).to_text(r) != planted.data.column(c).to_text(r);
    CHECK(changed <= (triggered.contains(id) || clean.contains(id) ? 2 : 0));
    CHECK((data.labels()[r] != planted.data.labels()[r]) == triggered.contains(id));
    if (triggered.contains(id) || clean.contains(id)) aims.insert(planted.data.labels()[r]);
  }
  CHECK(aims.size() == 1);
  const Dataset added = planted.data.take_ids(planted.campaign);
  CHECK(std::set<std::int32_t>(added.labels().begin(), added.labels().end()).size() == 1);
  CHECK(std::set<std::int32_t>(added.sources().begin(), added.sources().end()).size() == 20);
  const auto [first, last] = std::minmax_element(added.times().begin(), added.times().end());
  CHECK(*last - *first <= 2 * std::int64_t{86'400'000'000});
  CHECK(*last - *first >= std::int64_t{86'400'000'000});  // hours apart, not all at once
  CHECK(plant_patterns(data).campaign == planted.campaign);
  CHECK(plant_patterns(data).data.hash() == planted.data.hash());
  // Nothing to plant them with.
  CHECK(plant_patterns(generate_blobs({.rows = 100, .classes = 2})).accounts == 0);
}

TEST_CASE("rates out of range and data without classes are errors", "[calibrate]") {
  const Dataset data = with_sources();
  CHECK_THROWS_WITH(plant_flips(data, {.flip_rate = 0.9}), Catch::Contains("flip_rate"));
  CHECK_THROWS_WITH(plant_flips(data, {.source_rate = -1}), Catch::Contains("source_rate"));
  CHECK_THROWS_WITH(plant_flips(Dataset()), Catch::Contains("two classes"));
}

namespace {

const Calibration& of_kind(const Verdict& verdict, const std::string& planted) {
  for (const Calibration& c : verdict.calibration)
    if (c.planted == planted) return c;
  FAIL("nothing was measured for " << planted);
  return verdict.calibration.front();
}

Model linear(const Dataset& rows) { return LogisticRegression{{}}.fit(rows); }

}  // namespace

TEST_CASE("a planted region is where it says, and all its labels change", "[calibrate]") {
  const Dataset data = with_sources();
  const PlantedRegion planted = plant_region(data, {.region_rate = 0.1, .seed = 3});
  CHECK(planted.rows.size() == 80);
  CHECK(planted.where.find(" at least ") != std::string::npos);
  const std::set<RowId> touched(planted.rows.begin(), planted.rows.end());
  for (std::size_t r = 0; r < data.rows(); ++r)
    CHECK((data.labels()[r] != planted.data.labels()[r]) == touched.contains(data.row_ids()[r]));
  CHECK(plant_region(data, {.region_rate = 0}).rows.empty());
  // Columns of ties: 300 zeros of 400 rows are no region of a tenth, the 30 ones above them are; two values are none.
  const auto tied = [](std::size_t ones) {
    std::vector<double> x(400, 0), one(400, 1);
    std::vector<std::int32_t> y(400, 0);
    for (std::size_t r = 0; r < 400; ++r) y[r] = static_cast<std::int32_t>(r % 2);
    for (std::size_t r = 0; r < ones; ++r) x[7 + 3 * r] = 1;
    return Dataset({test::numeric("x", x), test::numeric("same", one),
                    test::categorical("class", {"no", "yes"}, y, ColumnRole::target)});
  };
  for (std::uint64_t seed = 0; seed < 4; ++seed) {
    const Dataset some = tied(30);
    const PlantedRegion of_ones = plant_region(some, {.region_rate = 0.1, .seed = seed});
    CHECK(of_ones.where == "x at least 1");
    REQUIRE(of_ones.rows.size() == 30);
    for (std::size_t r = 0; r < 30; ++r) CHECK(of_ones.rows[r] == some.row_ids()[7 + 3 * r]);
    CHECK(plant_region(tied(5), {.region_rate = 0.1, .seed = seed}).rows.empty());
  }
  CHECK_THROWS_AS(plant_region(data, {.region_rate = 0.6}), Error);
  CHECK_THROWS_AS(plant_region(data, {.trials = 0}), Error);
}

TEST_CASE("drift is measured on batches drawn from its reference", "[calibrate]") {
  Drift drift;
  drift.options.reference = with_sources();
  drift.options.trees = 5;
  Verdict verdict = run_check(drift, {.data = &drift.options.reference});
  calibrate_drift(verdict, drift, 400, {.source_rate = 0.2, .trials = 6});
  const Calibration& moved = of_kind(verdict, "batches with a column moved by half a deviation");
  CHECK(moved.positives == 6);
  CHECK(moved.recall >= 0.8);
  CHECK(moved.false_positive_rate == 0);
  CHECK(of_kind(verdict, "batches with all labels of some sources flipped").recall >= 0.8);
  // So few flips do not move anything by min_distance: the report has to say that they are missed.
  CHECK(of_kind(verdict, "batches with random label flips").recall <= 0.2);
  CHECK(verdict.calibration.size() == 7);

  // A nervous check finds more, and its false-positive rate says what that is worth.
  Drift nervous = drift;
  nervous.options.significance = 0.999999;
  nervous.options.min_distance = 0;
  nervous.options.relation = false;
  calibrate_drift(verdict, nervous, 400, {.trials = 12});
  CHECK(of_kind(verdict, "batches with random label flips").recall >= 0.5);
  CHECK(of_kind(verdict, "batches with random label flips").false_positive_rate >= 0.5);

  Verdict abstained = Verdict::abstain("drift", Stage::ingest, "no rows");
  calibrate_drift(abstained, drift, 400, {.trials = 1});
  CHECK(abstained.calibration.empty());
  drift.options.reference = drift.options.reference.take(std::vector<std::size_t>(30, 0));
  CHECK_THROWS_AS(calibrate_drift(verdict, drift, 400, {}), Error);
}

TEST_CASE("the checks of a gate are measured on candidates taught poison and on honest ones", "[calibrate]") {
  const auto [train, frozen] = with_sources().split(0.4, 1);
  const std::vector<AnyCheck> checks{
      ChampionChallenger{.metric = "accuracy", .max_loss = 0.03, .data_ = {}, .outputs_ = {}, .reference_ = {}},
      CanaryFlips{}, MetricThreshold{.metric = "accuracy", .threshold = 0, .data_ = {}, .outputs_ = {}},
      MetricThreshold{.metric = "accuracy", .threshold = 1.01, .data_ = {}, .outputs_ = {}}};
  const Model model = linear(train);
  auto verdicts = run_gate_checks(model, &model, frozen, checks);
  const CalibrationOptions options{.flip_rate = 0.01, .region_rate = 0.45, .trials = 4, .seed = 2};
  calibrate_gate(verdicts, train, frozen, linear, checks, options);
  REQUIRE(verdicts.size() == 4);
  for (int v : {0, 1}) {
    const Calibration& region = of_kind(verdicts[v], "candidates taught all labels of one region changed");
    CHECK(region.positives == 4);
    CHECK(region.recall >= 0.75);
    CHECK(region.false_positive_rate == 0);
    CHECK(of_kind(verdicts[v], "candidates taught random label flips").recall <= 0.25);
    CHECK(verdicts[v].calibration.size() == 6);
  }
  for (const Calibration& c : verdicts[2].calibration) CHECK(c.recall == 0);  // it never blocks, and that shows
  for (const Calibration& c : verdicts[3].calibration) {                      // of the same name: always blocks
    CHECK(c.positives == verdicts[2].calibration[0].positives);
    CHECK(c.recall == 1);
    CHECK(c.false_positive_rate == 1);
  }
  auto again = run_gate_checks(model, &model, frozen, checks);
  calibrate_gate(again, train, frozen, linear, checks, options);
  CHECK(again == verdicts);

  // Without a champion the checks that compare abstain: nothing is claimed for them.
  auto alone = run_gate_checks(model, nullptr, frozen, checks);
  calibrate_gate(alone, train, frozen, linear, checks, {.trials = 1});
  CHECK(alone[0].calibration.empty());
  CHECK(!alone[2].calibration.empty());
}

TEST_CASE("provenance is measured on sources that turn bad", "[calibrate]") {
  const auto [train, trusted] = with_sources().split(0.3, 4);
  const ProvenanceOptions options;
  Verdict verdict = provenance_verdict(provenance_harm(train, trusted, linear, options));
  CHECK(verdict.outcome == Outcome::pass);
  calibrate_provenance(verdict, train, trusted, linear, options, {.source_rate = 0.08, .trials = 3});
  REQUIRE(verdict.calibration.size() == 1);
  const Calibration& sources = verdict.calibration[0];
  CHECK(sources.planted == "sources with all labels flipped");
  CHECK(sources.positives >= 6);
  CHECK(sources.recall >= 0.6);
  CHECK(sources.false_positive_rate <= 0.05);

  const PlantedFlips planted = plant_flips(train, {.flip_rate = 0, .source_rate = 0.08});
  const Verdict blocked = provenance_verdict(provenance_harm(planted.data, trusted, linear, options));
  CHECK(blocked.outcome == Outcome::block);
  REQUIRE(!blocked.findings.empty());
  CHECK(!blocked.findings[0].source.empty());
  CHECK(provenance_verdict({}).outcome == Outcome::abstain);
}
