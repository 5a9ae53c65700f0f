#include "redoubt/robustness/screen.hpp"

#include <algorithm>
#include <catch2/catch.hpp>
#include <sstream>
#include <unordered_set>

#include "redoubt/core/error.hpp"
#include "redoubt/core/parallel.hpp"
#include "redoubt/core/random.hpp"
#include "redoubt/data/generators.hpp"
#include "redoubt/robustness/calibrate.hpp"
#include "robustness/poisoning/support.hpp"

using namespace redoubt;

namespace {

struct Detection {
  double recall = 0, campaign_recall = 0, false_positive_rate = 0;
};

Detection measure(const Marketplace& market, const ScreenReport& report) {
  const std::unordered_set<RowId> blocked(report.blocked().begin(), report.blocked().end());
  double poison = 0, found = 0, campaign = 0, campaign_found = 0, clean = 0, wrong = 0;
  for (const MarketplaceTruth& t : market.truth) {
    const bool hit = blocked.contains(t.row);
    if (t.poison == PoisonKind::none) {
      ++clean, wrong += hit;
      continue;
    }
    ++poison, found += hit;
    if (t.poison != PoisonKind::mislabelled) ++campaign, campaign_found += hit;
  }
  return {found / poison, campaign_found / campaign, wrong / clean};
}

/// Says that every row is bad, or warns about it.
struct Paranoid {
  static constexpr std::string_view id = "paranoid";
  static constexpr Stage stage = Stage::pre_train;
  static constexpr Need needs = Need::none;
  Outcome outcome = Outcome::block;
  std::vector<RowId> rows;
  void update(const Batch& batch) { rows.assign(batch.data->row_ids().begin(), batch.data->row_ids().end()); }
  void merge(const Paranoid&) {}
  Verdict finish() const {
    Verdict verdict;
    verdict.check = id;
    verdict.outcome = outcome;
    for (RowId row : rows) verdict.findings.push_back({row, "", 0.9, "no reason"});
    return verdict;
  }
};

struct GateOnly : Paranoid {
  static constexpr Stage stage = Stage::gate;
  void merge(const GateOnly&) {}
};

Dataset small_blobs() { return generate_blobs({.rows = 200, .features = 3, .classes = 2, .seed = 2}); }

}  // namespace

TEST_CASE("most of the planted poison of the marketplace is blocked, few honest rows are", "[screen]") {
  const Marketplace market = generate_marketplace({.rows = 6000,
                                                   .seed = 7,
                                                   .five_star_rows = 200,
                                                   .five_star_accounts = 33,
                                                   .one_star_rows = 120,
                                                   .one_star_accounts = 24});
  REQUIRE(market.poisoned().size() > 300);
  const ScreenReport report = screen(market.data);
  const Detection found = measure(market, report);
  INFO("recall " << found.recall << ", of campaigns " << found.campaign_recall << ", false positives "
                 << found.false_positive_rate);
  CHECK(found.campaign_recall >= 0.8);
  CHECK(found.recall >= 0.7);
  CHECK(found.false_positive_rate <= 0.04);
  CHECK(report.outcome() == Outcome::block);
  CHECK(report.rows() == 6000);
  CHECK(report.row_scores().size() == 6000);
  CHECK(report.row_ids().size() == 6000);
  CHECK(std::is_sorted(report.blocked().begin(), report.blocked().end()));
  CHECK(market.data.without(report.blocked()).rows() == 6000 - report.blocked().size());

  // Campaign accounts are one in thirty sources; among the accused they are at least one in three.
  std::unordered_set<std::string> bad(market.five_star_accounts.begin(), market.five_star_accounts.end());
  bad.insert(market.one_star_accounts.begin(), market.one_star_accounts.end());
  std::size_t right = 0;
  for (const auto& name : report.blocked_sources()) right += bad.contains(name);
  CHECK(right >= 10);
  CHECK(right * 3 >= report.blocked_sources().size());
  CHECK_FALSE(report.sources().empty());

  std::ostringstream text;
  text << report;
  CHECK_THAT(text.str(), Catch::Contains("confident_learning") && Catch::Contains("source_suspicion") &&
                             Catch::Contains("not calibrated"));
  CHECK_THAT(report.to_json(), Catch::Contains("\"blocked_sources\""));
}

TEST_CASE("the screen is equal at one and two threads", "[screen][threads]") {
  const Marketplace market = generate_marketplace(
      {.rows = 1200, .five_star_rows = 60, .five_star_accounts = 10, .one_star_rows = 40, .one_star_accounts = 8});
  Arena one(1), two(2);
  const auto a = screen(market.data, {.trees = 10, .arena = &one}),
             b = screen(market.data, {.trees = 10, .arena = &two});
  CHECK(a.to_json(false) == b.to_json(false));
  CHECK(std::equal(a.row_scores().begin(), a.row_scores().end(), b.row_scores().begin()));
}

TEST_CASE("checks that lack what they need abstain with the reason", "[screen]") {
  const ScreenReport report = screen(small_blobs());
  CHECK(report.verdict("bursts").outcome == Outcome::abstain);
  CHECK_THAT(report.verdict("bursts").summary, Catch::Contains("times"));
  CHECK(report.verdict("source_suspicion").outcome == Outcome::abstain);
  CHECK_THAT(report.verdict("source_suspicion").summary, Catch::Contains("sources"));
  CHECK(report.verdict("confident_learning").outcome != Outcome::abstain);
  CHECK(report.sources().empty());
  CHECK_THROWS_WITH(report.verdict("nothing"), Catch::Contains("confident_learning"));
}

TEST_CASE("flipped labels of an easy task are found", "[screen]") {
  const Dataset clean = generate_blobs({.rows = 600, .features = 3, .classes = 2, .seed = 5});
  Column target = clean.column("target");
  std::vector<RowId> flipped;
  for (std::size_t r = 0; r < 600; r += 25)
    target.codes[r] = 1 - target.codes[r], flipped.push_back(clean.row_ids()[r]);
  const ScreenReport report = screen(clean.with_column(target));
  std::size_t hits = 0;
  for (RowId row : flipped) hits += std::count(report.blocked().begin(), report.blocked().end(), row);
  CHECK(hits >= flipped.size() * 3 / 4);
  CHECK(report.blocked().size() - hits <= 12);
}

TEST_CASE("a burst by few devoted accounts is blocked whatever its labels, one by many people is not", "[screen]") {
  // Labels say nothing here, so the model has no opinion. Hired accounts speak four times each; a crowd once each.
  for (const bool hired : {true, false}) {
    Random random(3);
    std::vector<double> x;
    std::vector<std::int32_t> account, product, good;
    Column posted{{"posted", ColumnType::timestamp, ColumnRole::time, {}}, {}, {}, {}, {}};
    const auto add = [&](std::int32_t who, std::int32_t what, std::int64_t when, std::int32_t label) {
      x.push_back(random.normal());
      account.push_back(who);
      product.push_back(what);
      good.push_back(label);
      posted.times.push_back(when);
    };
    constexpr std::int64_t day = 86'400, start = 1'700'000'000;
    const auto any = [&](std::uint64_t bound) { return static_cast<std::int32_t>(random.below(bound)); };
    for (int r = 0; r < 1500; ++r) add(any(500), any(40), start + any(360 * day), any(2));
    const std::size_t honest = x.size();
    for (int r = 0; r < 32; ++r) add(500 + (hired ? r / 4 : r), 7, start + 100 * day + any(day), 1);
    std::vector<std::string> accounts, products;
    for (int a = 0; a < 532; ++a) accounts.push_back("a" + std::to_string(a));
    for (int p = 0; p < 40; ++p) products.push_back("p" + std::to_string(p));
    const Dataset data({test::numeric("x", x), test::categorical("product", products, product, ColumnRole::ignore),
                        test::categorical("account", accounts, account, ColumnRole::source), posted,
                        test::categorical("good", {"no", "yes"}, good, ColumnRole::target)});
    const auto report = screen(data);
    const std::unordered_set<RowId> blocked(report.blocked().begin(), report.blocked().end());
    std::size_t found = 0;
    for (std::size_t r = honest; r < data.rows(); ++r) found += blocked.contains(data.row_ids()[r]);
    CAPTURE(hired, found, blocked.size());
    if (hired)
      CHECK(found == 32);
    else
      CHECK(found < 8);
    CHECK(blocked.size() - found < 30);
  }
}

TEST_CASE("no rows, no labels, regression: an abstention, never a pass", "[screen]") {
  const ScreenReport none = screen(Dataset());
  CHECK(none.outcome() == Outcome::abstain);
  for (const Verdict& v : none.verdicts()) CHECK(v.outcome == Outcome::abstain);
  CHECK(none.blocked().empty());

  std::vector<double> x, y;
  for (int i = 0; i < 100; ++i) x.push_back(i), y.push_back(i);
  const Dataset regression({Column{{"x", ColumnType::numeric, ColumnRole::feature, {}}, x, {}, {}, {}},
                            Column{{"y", ColumnType::numeric, ColumnRole::target, {}}, y, {}, {}, {}}});
  const ScreenReport report = screen(regression);
  CHECK(report.verdict("confident_learning").outcome == Outcome::abstain);
  CHECK(report.verdict("outliers").outcome != Outcome::abstain);

  const Dataset one_class = small_blobs().take(std::vector<std::size_t>{0, 2, 4, 6, 8, 10});
  CHECK(screen(one_class).verdict("confident_learning").outcome == Outcome::abstain);
}

TEST_CASE("an added check blocks by its word and warns by half", "[screen]") {
  const Dataset data = small_blobs();
  CHECK(screen(data, {.checks = {Paranoid{}}}).blocked().size() == 200);
  const auto warned = screen(data, {.checks = {Paranoid{.outcome = Outcome::warn}}});
  CHECK(warned.blocked().size() < 100);
  CHECK(warned.row_scores()[0] >= 0.45);
  CHECK(warned.verdict("paranoid").findings.size() == 200);
}

TEST_CASE("bad options and sealed data are refused", "[screen]") {
  const Dataset data = small_blobs();
  CHECK_THROWS_WITH(screen(data, {.folds = 1}), Catch::Contains("folds"));
  CHECK_THROWS_WITH(screen(data, {.trees = 0}), Catch::Contains("trees"));
  CHECK_THROWS_WITH(screen(data, {.sure = 0.7}), Catch::Contains("sure"));
  CHECK_THROWS_WITH(screen(data, {.false_discovery_rate = 1}), Catch::Contains("false_discovery_rate"));
  CHECK_THROWS_WITH(screen(data, {.duplicates = {.similarity = -1}}), Catch::Contains("similarity"));
  CHECK_THROWS_WITH(screen(data, {.checks = {GateOnly{}}}), Catch::Contains("gate"));
  try {
    screen(data.seal());
    FAIL("screened sealed data");
  } catch (const Error& e) {
    CHECK(e.code() == errc::refused);
  }
}

TEST_CASE("new accounts of one label are found without times, though they are all of one kind", "[screen]") {
  const Dataset blobs = generate_blobs({.rows = 1600, .features = 4, .classes = 3, .seed = 5});
  std::vector<std::string> names;
  std::vector<std::int32_t> who;
  Random random(5, 5);
  while (who.size() < blobs.rows()) {  // honest accounts of one to eight rows
    names.push_back("a" + std::to_string(names.size()));
    for (std::size_t left = 1 + random.below(8); left > 0 && who.size() < blobs.rows(); --left)
      who.push_back(static_cast<std::int32_t>(names.size()) - 1);
  }
  std::vector<Column> columns{test::categorical("account", names, who, ColumnRole::source)};
  for (std::size_t c = 0; c < blobs.cols(); ++c) columns.push_back(blobs.column(c));
  const Dataset data(std::move(columns));
  const PlantedPatterns planted = plant_patterns(
      data, {.flip_rate = 0, .source_rate = 0, .trigger_rate = 0, .clean_label_rate = 0, .campaign_rate = 0.05});
  REQUIRE(planted.accounts == 20);
  const ScreenReport report = screen(planted.data);
  std::size_t found = 0;
  for (const std::string& name : report.blocked_sources()) found += name.starts_with("planted account");
  CHECK(found >= 18);
  CHECK(report.blocked_sources().size() <= found + 1);
  // What is shown of them are the numbers of the test that blocked them.
  std::size_t shown = 0;
  for (const SourceSuspicion& s : report.sources()) {
    if (std::find(report.blocked_sources().begin(), report.blocked_sources().end(), s.source) ==
        report.blocked_sources().end())
      continue;
    CHECK(s.q_value <= ScreenOptions{}.false_discovery_rate);
    if (s.label.empty()) continue;
    ++shown;
    CHECK(s.suspicious <= s.rows);
    CHECK(s.suspicious > s.expected);
  }
  CHECK(shown > 0);
  for (const Finding& f : report.verdict("source_suspicion").findings)
    CHECK(((f.evidence.find("bear the label '") != std::string::npos) ||
           (f.evidence.find("are suspicious") != std::string::npos)));
  CHECK(report.to_json().find("\"label\":") != std::string::npos);
  CHECK(screen(data).blocked_sources().size() <= 1);
}
