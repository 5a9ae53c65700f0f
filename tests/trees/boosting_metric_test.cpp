#include "redoubt/trees/boosting_metric.hpp"

#include <catch2/catch.hpp>
#include <numeric>

#include "redoubt/core/error.hpp"
#include "trees/boosting_metric.hpp"
#include "trees/boosting_support.hpp"

namespace redoubt {
namespace {

/// Metrics of LightGBM's scores.
std::vector<double> measure(const std::string& name, const TreeTarget& y, std::vector<std::string> metrics,
                            ForestLink link, std::size_t outputs, GradientBoostingOptions options = {}) {
  const auto& golden = test::boosting_golden();
  const auto& by_row = golden.scores.at(name);
  std::vector<float> scores(by_row.size());
  for (std::size_t r = 0; r < 240; ++r)
    for (std::size_t k = 0; k < outputs; ++k) scores[k * 240 + r] = static_cast<float>(by_row[r * outputs + k]);
  std::vector<std::uint32_t> rows(240);
  std::iota(rows.begin(), rows.end(), 0u);
  options.metrics = std::move(metrics);
  return detail::MetricSet(options, y, rows, link, outputs).evaluate(scores.data(), 240);
}

TEST_CASE("metrics are LightGBM's", "[boosting_metric]") {
  const auto& golden = test::boosting_golden();
  const auto same = [&](const std::string& name, const std::vector<std::string>& theirs,
                        const std::vector<double>& ours) {
    REQUIRE(theirs.size() == ours.size());
    for (std::size_t i = 0; i < ours.size(); ++i) {
      INFO(name << " " << theirs[i]);
      CHECK(ours[i] == Approx(golden.metrics.at(name).at(theirs[i])).epsilon(2e-6));
    }
  };
  const TreeTarget value{.values = golden.value}, count{.values = golden.count}, amount{.values = golden.amount};
  const auto identity = ForestLink::identity, exponential = ForestLink::exponential;
  same("squared", {"l2"}, measure("squared", value, {"l2"}, identity, 1));
  same("absolute", {"l1"}, measure("absolute", value, {"l1"}, identity, 1));
  same("huber", {"huber"}, measure("huber", value, {"huber"}, identity, 1, {.huber_delta = 0.5}));
  same("quantile", {"quantile"}, measure("quantile", value, {"quantile"}, identity, 1, {.quantile = 0.7}));
  same("poisson", {"poisson"}, measure("poisson", count, {"poisson"}, exponential, 1));
  same("gamma", {"gamma"}, measure("gamma", amount, {"gamma"}, exponential, 1));
  same("tweedie", {"tweedie"}, measure("tweedie", count, {"tweedie"}, exponential, 1, {.tweedie_power = 1.3}));
  const TreeTarget binary{.task = Task::classification, .labels = golden.binary, .classes = 2};
  same("logistic", {"binary_logloss", "auc", "average_precision", "binary_error"},
       measure("logistic", binary, {"log_loss", "auc", "average_precision", "error"}, ForestLink::sigmoid, 1));
  const TreeTarget label{.task = Task::classification, .labels = golden.label, .classes = 3};
  same("softmax", {"multi_logloss", "multi_error"},
       measure("softmax", label, {"log_loss", "error"}, ForestLink::softmax, 3));
  TreeTarget rank{.values = golden.grade, .queries = golden.query};
  same("lambdarank", {"ndcg@3", "ndcg@10", "map@3", "map@10"},
       measure("lambdarank", rank, {"ndcg@3", "ndcg@10", "map@3", "map@10"}, identity, 1));
}

TEST_CASE("weights count, roots are roots", "[boosting_metric]") {
  const auto& golden = test::boosting_golden();
  TreeTarget y{.values = golden.value, .weights = golden.weight};
  double sum = 0, total = 0;
  for (std::size_t r = 0; r < 240; ++r) {
    const double e = static_cast<float>(golden.scores.at("squared")[r]) - golden.value[r];
    sum += golden.weight[r] * e * e;
    total += golden.weight[r];
  }
  const auto values = measure("squared", y, {"rmse", "l2"}, ForestLink::identity, 1);
  CHECK(values[0] == Approx(std::sqrt(sum / total)));
  CHECK(values[1] == Approx(sum / total));
}

TEST_CASE("the probabilities of one-vs-all are those of the model", "[boosting_metric]") {
  const auto& golden = test::boosting_golden();
  const TreeTarget y{.task = Task::classification, .labels = golden.label, .classes = 3};
  double sum = 0;
  for (std::size_t r = 0; r < 240; ++r) {
    double p[3], total = 0;
    for (std::size_t k = 0; k < 3; ++k) total += p[k] = 1 / (1 + std::exp(-golden.scores.at("one_vs_all")[3 * r + k]));
    sum -= std::log(p[golden.label[r]] / total);
  }
  CHECK(measure("one_vs_all", y, {"log_loss"}, ForestLink::one_vs_all, 3)[0] == Approx(sum / 240).epsilon(1e-5));
}

TEST_CASE("unknown and unfitting metrics are refused", "[boosting_metric]") {
  CHECK(higher_is_better("auc"));
  CHECK(higher_is_better("ndcg@5"));
  CHECK_FALSE(higher_is_better("log_loss"));
  CHECK_THROWS_WITH(higher_is_better("ndcg"), Catch::Contains("'ndcg'") && Catch::Contains("ndcg@K"));
  CHECK_THROWS_WITH(higher_is_better("ndcg@0"), Catch::Contains("ndcg@0"));
  const auto& golden = test::boosting_golden();
  const TreeTarget y{.values = golden.value};
  CHECK_THROWS_WITH(measure("squared", y, {"auc"}, ForestLink::identity, 1), Catch::Contains("'auc'"));
  CHECK_THROWS_WITH(measure("squared", y, {"map@3"}, ForestLink::identity, 1), Catch::Contains("no queries"));
  CHECK_THROWS_WITH((GradientBoosting{{.metrics = {"acu"}}}.fit_encoded(golden.x, {}, y)), Catch::Contains("'acu'"));
}

struct Bias : CustomMetric {
  std::string name() const override { return "bias"; }
  double evaluate(const TreeTarget& y, std::span<const std::uint32_t> rows,
                  MatrixView<const float> scores) const override {
    double sum = 0;
    for (const auto r : rows) sum += scores(0, r) - y.values[r];
    return std::abs(sum) / static_cast<double>(rows.size());
  }
};

TEST_CASE("a custom metric comes first and decides when to stop", "[boosting_metric]") {
  const auto& golden = test::boosting_golden();
  const TreeTarget y{.values = golden.value};
  const Bias bias;
  BoostingHistory history;
  const GradientBoosting boosting{
      {.trees = 50, .early_stopping_rounds = 5, .metrics = {"l1"}, .metric = &bias, .callback = &history}};
  const auto forest = boosting.fit_encoded(golden.x, {}, y);
  REQUIRE(history.metrics == std::vector<std::string>{"bias", "l1"});
  const auto best = std::min_element(history.values.begin(), history.values.end(),
                                     [](const auto& a, const auto& b) { return a[0] < b[0]; });
  CHECK(forest->trees() == static_cast<std::size_t>(best - history.values.begin()) + 1);
}

}  // namespace
}  // namespace redoubt
