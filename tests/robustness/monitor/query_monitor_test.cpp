#include "redoubt/robustness/monitor/query_monitor.hpp"

#include <catch2/catch.hpp>
#include <cmath>
#include <thread>

#include "redoubt/core/random.hpp"
#include "redoubt/core/tensor.hpp"
#include "redoubt/data/arff.hpp"
#include "redoubt/data/dataset.hpp"
#include "redoubt/data/generators.hpp"
#include "redoubt/linear/linear_form.hpp"
#include "redoubt/model/predictor.hpp"
#include "redoubt/robustness/evasion/attack.hpp"
#include "support/test_data.hpp"

using namespace redoubt;

namespace {

/// Correlated numeric rows, a few of them discrete: three hidden factors mixed into `cols` columns.
Tensor<float> benign_rows(std::size_t rows, std::size_t cols, std::uint64_t seed) {
  Random mixing(99), random(seed);
  std::vector<double> loadings(cols * 3);
  for (double& l : loadings) l = mixing.normal();
  Tensor<float> x({rows, cols});
  for (std::size_t r = 0; r < rows; ++r) {
    const double factors[3] = {random.normal(), random.normal(), random.normal()};
    for (std::size_t c = 0; c < cols; ++c) {
      double v = random.normal() * 0.5;
      for (int k = 0; k < 3; ++k) v += loadings[c * 3 + k] * factors[k];
      x(r, c) = static_cast<float>(c % 5 == 0 ? std::floor(v) : v);
    }
  }
  return x;
}

/// Share of benign queries called suspicious when `callers` users take turns.
double false_alarms(QueryMonitor& monitor, MatrixView<const float> rows, std::size_t callers) {
  Random random(5);
  std::size_t alarms = 0;
  for (std::size_t r = 0; r < rows.rows(); ++r)
    alarms += monitor.observe(random.below(callers), rows.row(r)).suspicious;
  return static_cast<double>(alarms) / static_cast<double>(rows.rows());
}

/// The decision that the attacks of this test probe: a plane.
bool accepted(std::span<const float> row) {
  double s = 0;
  for (std::size_t c = 0; c < row.size(); ++c) s += row[c] * (c % 2 ? 1.0 : -0.7);
  return s > 0;
}

/// Decision-based boundary walk in the manner of HopSkipJump: bisect to the boundary, then ask many small random
/// directions around it, step, repeat. Calls `ask` for every query.
template <class Ask>
void boundary_walk(std::vector<float> from, std::vector<float> to, int rounds, int directions, std::uint64_t seed,
                   Ask&& ask) {
  Random random(seed);
  const std::size_t d = from.size();
  const bool wanted = accepted(to);
  for (int round = 0; round < rounds; ++round) {
    std::vector<float> low = from, high = to, middle(d);
    for (int i = 0; i < 10; ++i) {
      for (std::size_t c = 0; c < d; ++c) middle[c] = 0.5f * (low[c] + high[c]);
      (ask(middle) == wanted ? high : low) = middle;
    }
    std::vector<double> direction(d, 0.0);
    for (int k = 0; k < directions; ++k) {
      std::vector<float> probe = high;
      std::vector<double> noise(d);
      for (std::size_t c = 0; c < d; ++c) {
        noise[c] = random.normal();
        probe[c] += static_cast<float>(0.05 * noise[c]);
      }
      const double sign = ask(probe) == wanted ? 1 : -1;
      for (std::size_t c = 0; c < d; ++c) direction[c] += sign * noise[c];
    }
    double norm = 1e-12;
    for (double v : direction) norm += v * v;
    to = high;
    for (std::size_t c = 0; c < d; ++c) to[c] += static_cast<float>(0.3 * direction[c] / std::sqrt(norm));
  }
}

}  // namespace

TEST_CASE("benign traffic rarely alarms", "[query_monitor]") {
  for (std::size_t cols : {4u, 20u, 100u}) {
    CAPTURE(cols);
    const auto reference = benign_rows(4000, cols, 1), fresh = benign_rows(10000, cols, 2);
    for (std::size_t callers : {1u, 10u, 2000u}) {
      CAPTURE(callers);
      QueryMonitor monitor{MatrixView<const float>(reference)};
      CHECK(false_alarms(monitor, fresh, callers) <= 0.001);
    }
  }
}

TEST_CASE("a boundary walk is noticed within a bounded number of queries", "[query_monitor]") {
  for (std::size_t cols : {8u, 20u, 100u}) {
    CAPTURE(cols);
    const auto reference = benign_rows(4000, cols, 1), fresh = benign_rows(2000, cols, 3);
    int noticed = 0, worst = 0;
    constexpr int attacks = 8;
    for (int a = 0; a < attacks; ++a) {
      QueryMonitor monitor{MatrixView<const float>(reference)};
      std::size_t benign = 0;
      int asked = 0, first = 0;
      const auto row = [&](std::size_t r) { return std::vector<float>(fresh.row(r).begin(), fresh.row(r).end()); };
      std::size_t other = a + 1;
      while (accepted(fresh.row(other)) == accepted(fresh.row(a))) ++other;
      boundary_walk(row(a), row(other), 3, 40, a, [&](const std::vector<float>& probe) {
        for (int k = 0; k < 5; ++k) monitor.observe(1000 + benign % 50, fresh.row(100 + benign % 1900)), ++benign;
        ++asked;
        if (monitor.observe(7, probe).suspicious && first == 0) first = asked;
        return accepted(probe);
      });
      noticed += first != 0;
      worst = std::max(worst, first);
    }
    CHECK(noticed == attacks);
    CHECK(worst <= 40);
  }
}

TEST_CASE("repeats, few-field variation and small changes are told apart", "[query_monitor]") {
  const auto reference = benign_rows(2000, 30, 1), fresh = benign_rows(500, 30, 2);
  const auto ask = [&](auto&& change) {
    QueryMonitor monitor{MatrixView<const float>(reference)};
    Random random(3);
    ProbeKind kind = ProbeKind::none;
    int first = 0;
    for (int i = 1; i <= 50 && kind == ProbeKind::none; ++i) {
      std::vector<float> row(fresh.row(0).begin(), fresh.row(0).end());
      change(row, random, i);
      kind = monitor.observe(1, row).kind;
      first = i;
    }
    CHECK(first <= 20);
    return kind;
  };
  CHECK(ask([](auto&, auto&, int) {}) == ProbeKind::repeats);
  CHECK(ask([](auto& row, auto&, int i) { row[7] = static_cast<float>(i) * 0.2f; }) == ProbeKind::few_fields);
  CHECK(ask([](auto& row, auto& random, int) {
          for (float& v : row) v += static_cast<float>(0.1 * random.normal());
        }) == ProbeKind::nearby);
}

TEST_CASE("fields that differ from the nearest query are counted, whatever the number of fields", "[query_monitor]") {
  for (const std::size_t cols : {2u, 7u, 8u, 9u, 15u, 16u, 17u, 24u, 33u, 100u}) {
    INFO(cols);
    Tensor<float> reference({std::size_t{200}, cols});
    Random random(5);
    for (float& v : reference.flat()) v = static_cast<float>(random.normal());
    for (const std::size_t moved : {std::size_t{0}, cols / 2, cols - 1}) {
      QueryMonitor monitor{MatrixView<const float>(reference)};
      std::vector<float> row(reference.row(0).begin(), reference.row(0).end());
      CHECK(monitor.observe(1, row).fields_changed == cols);  // there was none before
      auto verdict = monitor.observe(1, row);
      CHECK(verdict.fields_changed == 0);
      CHECK(verdict.similarity == 1);
      row[moved] += 3;
      verdict = monitor.observe(1, row);
      CHECK(verdict.fields_changed == 1);
      CHECK(verdict.similarity < 1);
      for (float& v : row) v += 3;
      CHECK(monitor.observe(1, row).fields_changed == cols);
    }
  }
}

TEST_CASE("an attacker who spreads over callers is seen as a chain", "[query_monitor]") {
  const auto reference = benign_rows(4000, 30, 1), fresh = benign_rows(6000, 30, 2);
  QueryMonitor monitor{MatrixView<const float>(reference)};
  Random random(3);
  int first = 0;
  ProbeKind kind = ProbeKind::none;
  for (int i = 1; i <= 300 && first == 0; ++i) {
    for (int k = 0; k < 10; ++k) monitor.observe(random.below(1000), fresh.row(random.below(6000)));
    std::vector<float> row(fresh.row(0).begin(), fresh.row(0).end());
    for (float& v : row) v += static_cast<float>(0.03 * random.normal());
    const QueryVerdict verdict = monitor.observe(1000000 + i, row);  // never the same caller twice
    if (verdict.suspicious) first = i, kind = verdict.kind;
  }
  CHECK(kind == ProbeKind::chain);
  CHECK(first > 0);
  CHECK(first <= 100);
}

TEST_CASE("a caller who stops probing recovers", "[query_monitor]") {
  const auto reference = benign_rows(2000, 20, 1), fresh = benign_rows(200, 20, 2);
  QueryMonitor monitor{MatrixView<const float>(reference)};
  for (int i = 0; i < 100; ++i) monitor.observe(1, reference.row(0));
  REQUIRE(monitor.alarms().size() == 1);
  CHECK(monitor.alarms()[0].caller == 1);
  CHECK(monitor.alarms()[0].first_query <= 20);
  for (std::size_t r = 0; r < 100; ++r) CHECK_FALSE(monitor.observe(1, fresh.row(r)).suspicious);
  CHECK(monitor.observe(1, fresh.row(150)).caller_score < 1.0f);
}

TEST_CASE("the verdict names callers and abstains before the first query", "[query_monitor]") {
  const auto reference = benign_rows(500, 10, 1);
  QueryMonitor monitor{MatrixView<const float>(reference)};
  CHECK(monitor.verdict().outcome == Outcome::abstain);
  monitor.observe(1, reference.row(0));
  CHECK(monitor.verdict().outcome == Outcome::pass);
  for (int i = 0; i < 60; ++i) monitor.observe(42, reference.row(1));
  const Verdict verdict = monitor.verdict();
  CHECK(verdict.outcome == Outcome::warn);
  CHECK(verdict.stage == Stage::serve);
  REQUIRE(verdict.findings.size() == 1);
  CHECK(verdict.findings[0].source == "caller 42");
  CHECK(monitor.queries() == 61);
}

TEST_CASE("rows of a dataset are watched with categories and text", "[query_monitor]") {
  Random random(1);
  const char* words[] = {"good", "bad", "fast", "slow", "cheap", "dear", "big", "small", "red", "blue", "old", "new"};
  const auto make = [&](std::size_t rows) {
    Column price{{"price", ColumnType::numeric, ColumnRole::feature, {}}, {}, {}, {}, {}};
    Column shop{{"shop", ColumnType::categorical, ColumnRole::feature, {"a", "b", "c"}}, {}, {}, {}, {}};
    Column review{{"review", ColumnType::text, ColumnRole::feature, {}}, {}, {}, {}, {}};
    for (std::size_t r = 0; r < rows; ++r) {
      price.numbers.push_back(random.uniform(0, 100));
      shop.codes.push_back(static_cast<std::int32_t>(random.below(3)));
      std::string text;
      for (int w = 0; w < 8; ++w) text += std::string(w ? " " : "") + words[random.below(12)];
      review.texts.push_back(text);
    }
    return Dataset({price, shop, review});
  };
  const Dataset reference = make(1000), fresh = make(1000);
  QueryMonitor monitor(reference);
  std::size_t alarms = 0;
  for (std::size_t r = 0; r < 800; ++r) alarms += monitor.observe(r % 20, fresh.row(r)).suspicious;
  CHECK(alarms <= 2);
  // The same review again and again, only the price varies.
  std::vector<std::size_t> same(30, 900);
  const Dataset base = fresh.take(same);
  Column price = base.column("price");
  for (std::size_t r = 0; r < 30; ++r) price.numbers[r] = static_cast<double>(r);
  const Dataset probes = base.with_column(price);
  int first = 0;
  for (std::size_t r = 0; r < 30 && first == 0; ++r)
    if (monitor.observe(777, probes.row(r)).kind == ProbeKind::few_fields) first = static_cast<int>(r) + 1;
  CHECK(first > 0);
  CHECK(first <= 15);
}

TEST_CASE("a caller who makes rows up is seen as extraction, drift of all callers is not", "[query_monitor]") {
  const auto reference = benign_rows(4000, 20, 1), fresh = benign_rows(8000, 20, 2);
  QueryMonitor monitor{MatrixView<const float>(reference)};
  Random random(8);
  int first = 0;
  ProbeKind kind = ProbeKind::none;
  for (int i = 1; i <= 200 && first == 0; ++i) {
    for (int k = 0; k < 4; ++k) monitor.observe(random.below(50), fresh.row(random.below(8000)));
    std::vector<float> row(20);  // every column as it may be, all together as they never are
    for (std::size_t c = 0; c < 20; ++c) row[c] = fresh(random.below(8000), c);
    const QueryVerdict verdict = monitor.observe(777, row);
    if (verdict.suspicious) first = i, kind = verdict.kind;
  }
  CHECK(kind == ProbeKind::extraction);
  CHECK(first > 0);
  CHECK(first <= 60);
  // From one day to the next every caller's rows lie elsewhere: some alarms at first, then none.
  QueryMonitor drifting{MatrixView<const float>(reference)};
  std::size_t early = 0, late = 0;
  for (std::size_t r = 0; r < 8000; ++r) {
    std::vector<float> row(fresh.row(r).begin(), fresh.row(r).end());
    for (std::size_t c = 0; r >= 1000 && c < 10; ++c) row[c] += 40;
    const bool alarm = drifting.observe(random.below(400), row).suspicious;
    (r < 4000 ? early : late) += alarm;
  }
  CAPTURE(early, drifting.strange_share());
  CHECK(late == 0);
  CHECK(drifting.strange_share() > 0.9);
}

namespace {

/// A client's view of a model: every question passes the monitor, and other callers' rows come between.
class WatchedModel final : public Predictor {
 public:
  WatchedModel(const Predictor& model, QueryMonitor& monitor, MatrixView<const float> traffic)
      : model_(model), monitor_(monitor), traffic_(traffic) {}
  std::string_view form() const noexcept override { return "watched"; }
  std::size_t inputs() const noexcept override { return model_.inputs(); }
  std::size_t outputs() const noexcept override { return model_.outputs(); }
  void predict(std::span<const float> src, std::span<float> dst, std::span<float> scratch) const noexcept override {
    for (int k = 0; k < 4; ++k, ++benign_)
      benign_alarms += monitor_.observe(benign_ % 20, traffic_.row(benign_)).suspicious;
    ++asked;
    if (monitor_.observe(99, src).suspicious && first == 0) first = asked;
    model_.predict(src, dst, scratch);
  }
  void predict_batch(MatrixView<const float> src, MatrixView<float> dst, Arena*) const override {
    for (std::size_t r = 0; r < src.rows(); ++r) predict(src.row(r), dst.row(r), {});
  }
  void save(Archive&) const override {}
  mutable int asked = 0, first = 0, benign_alarms = 0;

 private:
  const Predictor& model_;
  QueryMonitor& monitor_;
  MatrixView<const float> traffic_;
  mutable std::size_t benign_ = 0;
};

}  // namespace

TEST_CASE("HopSkipJump and Square as clients are seen early, the traffic between stays silent", "[query_monitor]") {
  const auto reference = benign_rows(3000, 12, 1), fresh = benign_rows(3000, 12, 2);
  const LinearForm model(std::vector<float>{1, -1, .5, 2, -.3f, 1, 1, -2, .1f, .4f, 1, -1}, {0.2f},
                         LinearLink::sigmoid);
  for (const AttackMethod method : {AttackMethod::hop_skip_jump, AttackMethod::square}) {
    int seen = 0, latest = 0, benign_alarms = 0;
    for (std::size_t r = 0; r < 10; ++r) {
      QueryMonitor monitor{MatrixView<const float>(reference)};
      const WatchedModel client(model, monitor, fresh);
      float score = 0;
      model.scores(fresh.row(r), {&score, 1});
      const std::vector<std::int32_t> label{score > 0};
      const MatrixView<const float> victim(fresh.row(r).data(), 1, 12);
      attack(client, victim, label, {.method = method, .radius = 0.01, .steps = 150, .seed = r});
      CHECK(client.asked >= 150);
      seen += client.first > 0;
      latest = std::max(latest, client.first);
      benign_alarms += client.benign_alarms;
    }
    CAPTURE(to_string(method), latest);
    CHECK(seen >= 9);
    CHECK(latest <= 60);
    CHECK(benign_alarms == 0);
  }
}

TEST_CASE("after a million callers memory is what it was, and the next attacker is seen", "[query_monitor]") {
  const auto reference = benign_rows(1000, 8, 1);
  QueryMonitor monitor{MatrixView<const float>(reference)};
  const std::size_t before = monitor.memory_bytes();
  Random random(3);
  for (std::uint64_t i = 0; i < 1'000'000; ++i) monitor.observe(i, reference.row(i % 1000));
  CHECK(monitor.memory_bytes() == before);
  CHECK(monitor.queries() == 1'000'000);
  CHECK(before < 4'000'000);
  int first = 0;
  for (int i = 1; i <= 60 && first == 0; ++i) {
    std::vector<float> row(reference.row(5).begin(), reference.row(5).end());
    for (float& v : row) v += static_cast<float>(0.05 * random.normal());
    const QueryVerdict verdict = monitor.observe(5'000'000, row);
    if (verdict.suspicious && verdict.kind != ProbeKind::chain) first = i;
  }
  CHECK(first > 0);
  CHECK(first <= 25);
}

TEST_CASE("hostile values are watched, wrong sizes refused", "[query_monitor]") {
  const auto reference = benign_rows(500, 5, 1);
  QueryMonitor monitor{MatrixView<const float>(reference)};
  const float inf = INFINITY, nan = NAN, huge = 3e38f;
  for (const auto& row : {std::vector<float>{inf, -inf, nan, huge, -huge}, std::vector<float>(5, nan)})
    for (int i = 0; i < 40; ++i) CHECK(monitor.observe(3, row).status == errc::ok);
  CHECK(monitor.suspicious() > 0);
  const auto before = monitor.queries();
  CHECK(monitor.observe(3, std::vector<float>(4)).status == errc::shape_mismatch);
  CHECK(monitor.queries() == before);
}

TEST_CASE("bad options and references name what is wrong", "[query_monitor]") {
  const auto reference = benign_rows(200, 5, 1), few = benign_rows(10, 5, 1);
  const auto with = [&](auto&& change) {
    QueryMonitorOptions options;
    change(options);
    QueryMonitor monitor{MatrixView<const float>(reference), options};
  };
  CHECK_THROWS_WITH(with([](auto& o) { o.callers = 0; }), Catch::Contains("callers"));
  CHECK_THROWS_WITH(with([](auto& o) { o.buckets = 1; }), Catch::Contains("buckets"));
  CHECK_THROWS_WITH(with([](auto& o) { o.max_fields = 5000; }), Catch::Contains("max_fields"));
  CHECK_THROWS_WITH(with([](auto& o) { o.min_links = 0; }), Catch::Contains("min_links"));
  CHECK_THROWS_WITH(with([](auto& o) { o.false_alarm = 0; }), Catch::Contains("false_alarm"));
  CHECK_THROWS_WITH(with([](auto& o) { o.step = std::nan(""); }), Catch::Contains("step"));
  CHECK_THROWS_WITH(QueryMonitor{MatrixView<const float>(few)}, Catch::Contains("10 rows"));
  CHECK_THROWS_AS(QueryMonitor(Dataset()), Error);
}

TEST_CASE("memory stays fixed with very many callers and many threads", "[query_monitor][threads]") {
  const auto reference = benign_rows(1000, 20, 1);
  QueryMonitor monitor{MatrixView<const float>(reference), {.callers = 1024, .buckets = 1024}};
  const std::size_t before = monitor.memory_bytes();
  std::vector<std::thread> threads;
  for (int t = 0; t < 4; ++t)
    threads.emplace_back([&, t] {
      for (std::uint64_t i = 0; i < 20000; ++i) monitor.observe(i * 4 + t, reference.row((i * 7 + t) % 1000));
    });
  for (auto& thread : threads) thread.join();
  CHECK(monitor.queries() == 80000);
  CHECK(monitor.memory_bytes() == before);
  CHECK(before < 4'000'000);
}

TEST_CASE("equal traffic gives equal verdicts, another key other sketches", "[query_monitor]") {
  const auto reference = benign_rows(1000, 200, 1), fresh = benign_rows(300, 200, 2);
  QueryMonitor a{MatrixView<const float>(reference)}, b{MatrixView<const float>(reference)};
  QueryMonitor c{MatrixView<const float>(reference), {.key = 77}};
  bool same = true, other = false;
  for (std::size_t r = 0; r < 300; ++r) {
    const auto va = a.observe(r % 3, fresh.row(r)), vb = b.observe(r % 3, fresh.row(r)),
               vc = c.observe(r % 3, fresh.row(r));
    same = same && va.similarity == vb.similarity && va.caller_score == vb.caller_score && va.kind == vb.kind;
    other = other || va.similarity != vc.similarity;
  }
  CHECK(same);
  CHECK(other);
}

TEST_CASE("real and simulated traffic rarely alarms", "[query_monitor]") {
  const auto share = [](const Dataset& data) {
    std::vector<std::size_t> first, second;
    for (std::size_t r = 0; r < data.rows(); ++r) (r % 2 ? first : second).push_back(r);
    const Dataset reference = data.take(first), fresh = data.take(second);
    QueryMonitor monitor(reference);
    Random random(5);
    double alarms = 0;
    for (std::size_t r = 0; r < fresh.rows(); ++r)
      alarms += monitor.observe(random.below(200), fresh.row(r)).suspicious;
    return alarms / static_cast<double>(fresh.rows());
  };
  CHECK(share(generate_marketplace({.rows = 4000}).data) <= 0.005);
  REDOUBT_NEED_DATA(path, "uci_arff/spambase.arff");
  CHECK(share(read_arff(path)) <= 0.005);
}
