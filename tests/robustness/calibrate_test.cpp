#include "redoubt/robustness/calibrate.hpp"

#include <catch2/catch.hpp>
#include <set>
#include <sstream>

#include "redoubt/core/error.hpp"
#include "redoubt/data/generators.hpp"

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
