#include "redoubt/data/generators.hpp"

#include <fmt/format.h>

#include <algorithm>
#include <catch2/catch.hpp>
#include <cmath>
#include <fstream>
#include <map>
#include <numeric>
#include <set>

#include "redoubt/core/error.hpp"
#include "redoubt/core/random.hpp"
#include "redoubt/core/tensor.hpp"
#include "redoubt/data/encoder.hpp"
#include "redoubt/data/split.hpp"
#include "redoubt/data/text.hpp"
#include "support/test_data.hpp"

using namespace redoubt;

namespace {

/// Area under the ROC curve: the share of (1, 0) pairs that the scores order rightly.
double auc(const std::vector<double>& scores, std::span<const std::int32_t> labels) {
  std::vector<std::size_t> order(scores.size());
  std::iota(order.begin(), order.end(), std::size_t{0});
  std::sort(order.begin(), order.end(), [&](std::size_t a, std::size_t b) { return scores[a] < scores[b]; });
  double rank_sum = 0, ones = 0;
  for (std::size_t i = 0; i < order.size(); ++i) {
    if (labels[order[i]] != 1) continue;
    rank_sum += static_cast<double>(i + 1);
    ++ones;
  }
  return (rank_sum - ones * (ones + 1) / 2) / (ones * (static_cast<double>(scores.size()) - ones));
}

/// A plain logistic regression by stochastic gradient steps: enough to see whether a task can be learned.
std::vector<double> logistic_scores(const Dataset& train, const Dataset& test) {
  const Encoder encoder = Encoder::fit(train, EncoderOptions::dense());
  const Tensor<float> x = encoder.apply(train), t = encoder.apply(test);
  std::vector<double> w(encoder.width() + 1);
  const auto score = [&](std::span<const float> row) {
    return std::inner_product(row.begin(), row.end(), w.begin(), w.back());
  };
  std::vector<std::uint64_t> order(train.rows());
  std::iota(order.begin(), order.end(), std::uint64_t{0});
  Random random(1);
  for (int epoch = 0; epoch < 8; ++epoch) {
    random.shuffle(std::span<std::uint64_t>(order));
    const double step = 0.1 / (1 + epoch);
    for (const std::uint64_t i : order) {
      const double error = train.labels()[i] - 1 / (1 + std::exp(-score(x.row(i))));
      for (std::size_t f = 0; f < x.cols(); ++f) w[f] += step * error * x(i, f);
      w.back() += step * error;
    }
  }
  std::vector<double> scores(test.rows());
  for (std::size_t i = 0; i < scores.size(); ++i) scores[i] = score(t.row(i));
  return scores;
}

errc code_of(auto&& call) {
  try {
    call();
  } catch (const Error& error) {
    return error.code();
  }
  return errc::ok;
}

}  // namespace

TEST_CASE("the marketplace holds what its options say", "[generators]") {
  const MarketplaceOptions options;
  const Marketplace market = generate_marketplace(options);
  const Dataset& data = market.data;
  REQUIRE(data.rows() == 12000);
  REQUIRE(market.truth.size() == data.rows());
  CHECK(data.task() == Task::classification);
  CHECK(std::vector<std::string>(data.classes().begin(), data.classes().end()) ==
        std::vector<std::string>{"no", "yes"});

  std::map<PoisonKind, std::size_t> kinds;
  std::size_t fakes = 0;
  for (std::size_t i = 0; i < data.rows(); ++i) {
    const MarketplaceTruth& truth = market.truth[i];
    REQUIRE(truth.row == data.row_ids()[i]);
    ++kinds[truth.poison];
    fakes += !truth.genuine;
    // A label is wrong exactly where poison was planted.
    REQUIRE((data.labels()[i] == 1) == (truth.genuine == (truth.poison == PoisonKind::none)));
    const std::string account(data.source_names()[static_cast<std::size_t>(data.sources()[i])]);
    REQUIRE((truth.poison == PoisonKind::bought_five_star) ==
            std::binary_search(market.five_star_accounts.begin(), market.five_star_accounts.end(), account));
    REQUIRE((truth.poison == PoisonKind::one_star_brigade) ==
            std::binary_search(market.one_star_accounts.begin(), market.one_star_accounts.end(), account));
    if (std::binary_search(market.odd_accounts.begin(), market.odd_accounts.end(), account)) REQUIRE(truth.genuine);
  }
  CHECK(kinds[PoisonKind::bought_five_star] == options.five_star_rows);
  CHECK(kinds[PoisonKind::one_star_brigade] == options.one_star_rows);
  CHECK(kinds[PoisonKind::mislabelled] == 180);
  CHECK(fakes == 2640 + options.five_star_rows + options.one_star_rows + options.returning_rows);
  CHECK(market.five_star_accounts.size() == options.five_star_accounts);
  CHECK(market.one_star_accounts.size() == options.one_star_accounts);
  CHECK(market.odd_accounts.size() > 20);
  CHECK(market.poisoned().size() == 660);
  CHECK(market.truth_of(data.row_ids()[77]).row == data.row_ids()[77]);
  CHECK(code_of([&] { market.truth_of(99999); }) == errc::not_found);
  CHECK(std::is_sorted(data.times().begin(), data.times().end()));
}

TEST_CASE("the campaigns look as described", "[generators]") {
  const Marketplace market = generate_marketplace();
  const Dataset& data = market.data;
  const auto& stars = data.column("stars").numbers;
  const auto& age = data.column("account_age_days").numbers;
  const auto groups = near_duplicate_groups(data.column("review").texts, 0.5);
  std::map<std::uint32_t, std::size_t> group_size;
  for (const std::uint32_t g : groups) ++group_size[g];
  for (const PoisonKind kind : {PoisonKind::bought_five_star, PoisonKind::one_star_brigade}) {
    const bool praise = kind == PoisonKind::bought_five_star;
    double rows = 0, extreme = 0, fresh = 0, copied = 0, in_burst = 0;
    std::map<std::int32_t, double> products;
    const double start = 86400e6 * 180 * (praise ? 0.30 : 0.42), first = 1'735'689'600e6;
    for (std::size_t i = 0; i < data.rows(); ++i) {
      if (market.truth[i].poison != kind) continue;
      ++rows;
      extreme += stars[i] == (praise ? 5 : 1);
      fresh += age[i] <= 40;
      copied += group_size[groups[i]] >= 10;
      ++products[data.column("product").codes[i]];
      const double since = static_cast<double>(data.times()[i]) - first - start;
      in_burst += since >= 0 && since <= 3 * 86400e6;
    }
    std::vector<double> sizes;
    for (const auto& [product, count] : products) sizes.push_back(count);
    std::sort(sizes.rbegin(), sizes.rend());
    const double few = std::accumulate(sizes.begin(), sizes.begin() + (praise ? 5 : 4), 0.0);
    CAPTURE(to_string(kind));
    CHECK(extreme > 0.85 * rows);
    CHECK(fresh > 0.7 * rows);
    CHECK(copied > 0.75 * rows);
    CHECK(in_burst > 0.8 * rows);
    CHECK(few > 0.8 * rows);
    CHECK(few < rows);  // camouflage
  }
}

TEST_CASE("the marketplace is learned but not given away, and poison costs quality", "[generators]") {
  const Marketplace market = generate_marketplace();
  const auto [train, test] = split_by_source_and_time(market.data, 0.2, 7);
  REQUIRE(test.rows() > 1500);
  REQUIRE(train.rows() > 7500);
  const Dataset truth = market.with_true_labels(test);
  const double clean = auc(logistic_scores(train.without(market.poisoned()), test), truth.labels());
  const double poisoned = auc(logistic_scores(train, test), truth.labels());
  CAPTURE(clean, poisoned);
  CHECK(clean > 0.85);
  CHECK(clean < 0.97);
  CHECK(poisoned < clean - 0.02);
}

TEST_CASE("the marketplace's file reads back to the same data, broken lines in quarantine", "[generators]") {
  for (const std::size_t rows : {600u, 3000u}) {
    MarketplaceOptions options;
    options.rows = rows;
    options.seed = 3;
    options.five_star_rows = 60;
    options.five_star_accounts = 12;
    options.one_star_rows = 40;
    options.one_star_accounts = 10;
    options.returning_rows = 20;
    const Marketplace market = generate_marketplace(options);
    const test::TempDir folder;
    const std::string path = folder / "market.csv";
    write_marketplace_csv(market, path);
    const Dataset read = read_csv(path, marketplace_csv_options());
    CHECK(read.schema() == market.data.schema());
    CHECK(read.hash() == market.data.hash());  // row ids, every cell
    REQUIRE(market.broken.size() == 5);
    REQUIRE(read.quarantine().size() == 5);
    for (std::size_t i = 0; i < 5; ++i) {
      CHECK(read.quarantine()[i].line == market.broken[i].first + 2);  // the header is line 1
      CHECK(!read.quarantine()[i].reason.empty());
    }
    const Dataset corrected = market.with_true_labels(read);
    std::size_t changed = 0;
    for (std::size_t i = 0; i < read.rows(); ++i) changed += corrected.labels()[i] != read.labels()[i];
    CHECK(changed == market.poisoned().size());
  }
}

TEST_CASE("the marketplace depends on its seed", "[generators]") {
  MarketplaceOptions options;
  options.rows = 3000;
  const std::string hash = generate_marketplace(options).data.hash();
  CHECK(generate_marketplace(options).data.hash() == hash);
  options.seed = 2;
  CHECK(generate_marketplace(options).data.hash() != hash);
}

TEST_CASE("campaigns that do not fit are refused", "[generators]") {
  const auto refused = [](auto&& change) {
    MarketplaceOptions options;
    change(options);
    return code_of([&] { generate_marketplace(options); }) == errc::invalid_argument;
  };
  CHECK(refused([](auto& o) { o.rows = 50; }));
  CHECK(refused([](auto& o) { o.rows = 1000; }));  // default campaigns are too large for it
  CHECK(refused([](auto& o) { o.five_star_accounts = 0; }));
  CHECK(refused([](auto& o) { o.one_star_accounts = o.one_star_rows + 1; }));
  CHECK(refused([](auto& o) { o.five_star_rows = static_cast<std::size_t>(-1); }));
  CHECK(refused([](auto& o) { o.fake_rate = 0.6; }));
  CHECK(refused([](auto& o) { o.mislabel_rate = std::nan(""); }));
  CHECK(refused([](auto& o) { o.days = 3; }));
  CHECK(refused([](auto& o) { o.broken_lines = 5000; }));
  MarketplaceOptions none;
  none.five_star_rows = none.one_star_rows = none.returning_rows = none.broken_lines = 0;
  none.mislabel_rate = 0;
  CHECK(generate_marketplace(none).poisoned().empty());
}

TEST_CASE("small generated sets have their shapes", "[generators]") {
  const Dataset blobs = generate_blobs({.rows = 900, .features = 4, .classes = 3, .spread = 0.1, .seed = 2});
  CHECK(blobs.rows() == 900);
  CHECK(blobs.schema().features().size() == 4);
  for (std::int32_t c = 0; c < 3; ++c) CHECK(std::count(blobs.labels().begin(), blobs.labels().end(), c) == 300);
  CHECK(code_of([] { generate_blobs({.classes = 0}); }) == errc::invalid_argument);

  const Dataset moons = generate_moons(400, 0.0, 3);
  for (std::size_t i = 0; i < 400; ++i) {
    const double x = moons.column(0).numbers[i], y = moons.column(1).numbers[i];
    const double radius = moons.labels()[i] == 0 ? std::hypot(x, y) : std::hypot(x - 1, y - 0.5);
    REQUIRE(radius == Approx(1).epsilon(1e-5));
  }
  const Dataset both = generate_xor(400, 0.0, 3);
  for (std::size_t i = 0; i < 400; ++i)
    REQUIRE(both.labels()[i] == ((both.column(0).numbers[i] > 0) != (both.column(1).numbers[i] > 0)));
  CHECK(generate_moons(400, 0.1, 1).hash() == generate_moons(400, 0.1, 1).hash());
  CHECK(generate_moons(400, 0.1, 1).hash() != generate_moons(400, 0.1, 2).hash());

  const Dataset tabular = generate_tabular(5000, 1);
  CHECK(tabular.schema().features().size() == 28);
  std::vector<double> score(5000), single(5000);
  for (std::size_t i = 0; i < 5000; ++i) {
    single[i] = tabular.column("low0").numbers[i];
    for (int h = 0; h < 7; ++h) score[i] += tabular.column(fmt::format("high{}", h)).numbers[i];
  }
  CHECK(auc(score, tabular.labels()) > 0.6);
  CHECK(auc(score, tabular.labels()) < 0.9);
  CHECK(std::abs(auc(single, tabular.labels()) - 0.5) < 0.03);  // one measured feature says nothing alone
}
