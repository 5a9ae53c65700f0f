#include "redoubt/trees/objective.hpp"

#include <catch2/catch.hpp>
#include <cmath>

#include "redoubt/core/error.hpp"
#include "redoubt/trees/forest.hpp"
#include "redoubt/trees/gradient_boosting.hpp"
#include "trees/boosting_support.hpp"
#include "trees/objective.hpp"

namespace redoubt {
namespace {

GradientBoostingOptions golden_options() {
  return {.trees = 5, .learning_rate = 0.2, .max_leaves = 7, .min_leaf_rows = 1, .min_leaf_hessian = 0.9};
}

/// Scores before the link, row by row.
std::vector<double> scores_of(const Forest& forest, const Tensor<float>& x) {
  std::vector<double> result;
  std::vector<float> row(forest.shape().outputs);
  for (std::size_t r = 0; r < x.rows(); ++r) {
    forest.scores(x.row(r), row);
    result.insert(result.end(), row.begin(), row.end());
  }
  return result;
}

TEST_CASE("five rounds of each loss end where LightGBM's do", "[objective]") {
  const auto& golden = test::boosting_golden();
  const auto numbers = [&](const std::vector<double>& v) { return TreeTarget{.values = v}; };
  const auto classes = [](const std::vector<std::int32_t>& v, std::size_t k) {
    return TreeTarget{.task = Task::classification, .labels = v, .classes = k};
  };
  const auto check = [&](const std::string& name, TreeTarget y, bool weighted, auto set) {
    INFO(name);
    GradientBoostingOptions options = golden_options();
    set(options);
    if (weighted) y.weights = golden.weight;
    const auto forest = GradientBoosting{options}.fit_encoded(golden.x, {}, y);
    const auto scores = scores_of(*forest, golden.x);
    const auto& expected = golden.scores.at(name);
    REQUIRE(scores.size() == expected.size());
    double worst = 0;
    for (std::size_t i = 0; i < scores.size(); ++i) worst = std::max(worst, std::abs(scores[i] - expected[i]));
    CHECK(worst < 2e-5);
  };
  const auto none = [](auto&) {};
  using O = GradientBoostingOptions;
  check("squared", numbers(golden.value), false, none);
  check("absolute", numbers(golden.value), false, [](O& o) { o.loss = Loss::absolute; });
  check("huber", numbers(golden.value), false, [](O& o) {
    o.loss = Loss::huber;
    o.huber_delta = 0.5;
  });
  check("quantile", numbers(golden.value), false, [](O& o) {
    o.loss = Loss::quantile;
    o.quantile = 0.7;
  });
  check("poisson", numbers(golden.count), false, [](O& o) { o.loss = Loss::poisson; });
  check("gamma", numbers(golden.amount), false, [](O& o) { o.loss = Loss::gamma; });
  check("tweedie", numbers(golden.count), false, [](O& o) {
    o.loss = Loss::tweedie;
    o.tweedie_power = 1.3;
  });
  check("logistic", classes(golden.binary, 2), false, none);
  check("logistic_positive", classes(golden.binary, 2), true, [](O& o) { o.scale_pos_weight = 3; });
  check("softmax", classes(golden.label, 3), false, none);
  check("one_vs_all", classes(golden.label, 3), false, [](O& o) { o.loss = Loss::one_vs_all; });
  TreeTarget ranking = numbers(golden.grade);
  ranking.queries = golden.query;
  check("lambdarank", ranking, false, [](O& o) { o.loss = Loss::lambdarank; });
  check("lambdarank_plain", ranking, true, [](O& o) {
    o.loss = Loss::lambdarank;
    o.rank_normalise = false;
    o.rank_truncation = 5;
  });
}

/// The loss of one row as written in objective.hpp.
double loss_of(Loss loss, const GradientBoostingOptions& o, double y, double s) {
  const double e = s - y, p = o.tweedie_power;
  switch (loss) {
    case Loss::squared: return e * e / 2;
    case Loss::huber:
      return std::abs(e) <= o.huber_delta ? e * e / 2 : o.huber_delta * (std::abs(e) - o.huber_delta / 2);
    case Loss::absolute: return std::abs(e);
    case Loss::quantile: return e >= 0 ? (1 - o.quantile) * e : -o.quantile * e;
    case Loss::poisson: return std::exp(s) - y * s;
    case Loss::gamma: return y * std::exp(-s) + s;
    case Loss::tweedie: return -y * std::exp((1 - p) * s) / (1 - p) + std::exp((2 - p) * s) / (2 - p);
    default: return std::log1p(std::exp(y > 0 ? -s : s));
  }
}

TEST_CASE("gradients and hessians are derivatives of the losses", "[objective]") {
  constexpr std::size_t rows = 9000;  // three blocks
  Random random(3);
  std::vector<double> values(rows), weights(rows);
  std::vector<std::int32_t> labels(rows);
  std::vector<float> scores(rows), g(rows), h(rows);
  std::vector<std::uint32_t> all(rows);
  for (std::size_t r = 0; r < rows; ++r) {
    values[r] = static_cast<double>(1 + random.below(6));
    labels[r] = static_cast<std::int32_t>(random.below(2));
    weights[r] = random.uniform(0.5, 2);
    scores[r] = static_cast<float>(2 * random.normal());
    all[r] = static_cast<std::uint32_t>(r);
  }
  for (const Loss loss : {Loss::squared, Loss::huber, Loss::absolute, Loss::quantile, Loss::poisson, Loss::gamma,
                          Loss::tweedie, Loss::logistic}) {
    INFO(detail::to_string(loss));
    const GradientBoostingOptions options{.loss = loss, .huber_delta = 1.25};
    TreeTarget y{.values = values, .weights = weights};
    if (loss == Loss::logistic) y = {.task = Task::classification, .labels = labels, .classes = 2, .weights = weights};
    detail::Team team(options.arena);
    const detail::BoostingData data(options, y, rows, all, team);
    detail::make_objective(options, data)->gradients(scores.data(), g.data(), h.data());
    const bool curved = loss != Loss::huber && loss != Loss::absolute && loss != Loss::quantile;
    std::size_t wrong = 0;
    for (std::size_t r = 0; r < rows; ++r) {
      const double t = loss == Loss::logistic ? labels[r] : values[r], s = scores[r], step = 1e-4;
      const auto at = [&](double d) { return loss_of(loss, options, t, s + d); };
      if (!curved && (std::abs(std::abs(s - t) - 1.25) < 1e-3 || std::abs(s - t) < 1e-3)) continue;  // a corner
      const double first = weights[r] * (at(step) - at(-step)) / (2 * step);
      double second = curved ? weights[r] * (at(step) - 2 * at(0) + at(-step)) / (step * step) : weights[r];
      if (loss == Loss::poisson) second *= std::exp(0.7);
      wrong += std::abs(g[r] - first) > 1e-5 * (1 + std::abs(first)) + 1e-6 * std::abs(at(0));
      wrong += std::abs(h[r] - second) > 1e-4 * (1 + std::abs(second) + std::abs(at(0)));
    }
    CHECK(wrong == 0);
  }
}

TEST_CASE("softmax and one-vs-all gradients follow their formulas", "[objective]") {
  constexpr std::size_t rows = 5000, classes = 5;
  Random random(4);
  std::vector<std::int32_t> labels(rows);
  std::vector<float> scores(rows * classes), g(scores.size()), h(scores.size());
  std::vector<std::uint32_t> all(rows);
  for (std::size_t r = 0; r < rows; ++r) {
    labels[r] = static_cast<std::int32_t>(random.below(classes));
    all[r] = static_cast<std::uint32_t>(r);
  }
  for (float& s : scores) s = static_cast<float>(5 * random.normal());
  const TreeTarget y{.task = Task::classification, .labels = labels, .classes = classes};
  for (const bool softmax : {true, false}) {
    const GradientBoostingOptions options{.loss = softmax ? Loss::softmax : Loss::one_vs_all};
    detail::Team team(options.arena);
    const detail::BoostingData data(options, y, rows, all, team);
    detail::make_objective(options, data)->gradients(scores.data(), g.data(), h.data());
    double worst = 0;
    for (std::size_t r = 0; r < rows; ++r) {
      double total = 0;
      for (std::size_t k = 0; k < classes; ++k) total += std::exp(static_cast<double>(scores[k * rows + r]));
      for (std::size_t k = 0; k < classes; ++k) {
        const double e = std::exp(static_cast<double>(scores[k * rows + r])), p = softmax ? e / total : e / (1 + e);
        const double wanted = p - (labels[r] == static_cast<std::int32_t>(k));
        worst = std::max(worst, std::abs(g[k * rows + r] - wanted));
        worst = std::max(worst, std::abs(h[k * rows + r] - (softmax ? 1.25 : 1) * p * (1 - p)));
      }
    }
    CHECK(worst < 2e-6);
  }
}

TEST_CASE("lambdas are the sums over pairs", "[objective]") {
  // Two queries whose rows alternate.
  const std::vector<double> grades = {2, 0, 0, 1, 1, 3, 4, 0};
  const std::vector<std::uint32_t> queries = {7, 9, 7, 9, 7, 9, 7, 9};
  const std::vector<float> scores = {0.5f, 0.1f, -0.2f, 0.4f, 0.3f, 0.0f, 0.1f, 0.9f};
  std::vector<std::uint32_t> all = {0, 1, 2, 3, 4, 5, 6, 7};
  std::vector<float> g(8), h(8);
  const TreeTarget y{.values = grades, .queries = queries};
  GradientBoostingOptions options{.loss = Loss::lambdarank, .rank_normalise = false};
  detail::Team team(options.arena);
  const detail::BoostingData data(options, y, 8, all, team);
  detail::make_objective(options, data)->gradients(scores.data(), g.data(), h.data());
  const auto gain = [](double grade) { return std::pow(2, grade) - 1; };
  for (std::size_t i = 0; i < 8; ++i) {
    double lambda = 0, curvature = 0, best = 0;
    std::vector<std::size_t> rows;
    for (std::size_t j = 0; j < 8; ++j)
      if (queries[j] == queries[i]) rows.push_back(j);
    const auto rank = [&](std::size_t r, auto value) {
      double above = 0;
      for (const auto o : rows) above += value(o) > value(r) || (value(o) == value(r) && o < r);
      return above;
    };
    const auto discount = [&](std::size_t r) { return 1 / std::log2(2 + rank(r, [&](auto o) { return scores[o]; })); };
    for (const auto r : rows) best += gain(grades[r]) / std::log2(2 + rank(r, [&](auto o) { return grades[o]; }));
    for (const auto j : rows) {
      if (grades[i] == grades[j]) continue;
      const double change = std::abs((gain(grades[i]) - gain(grades[j])) * (discount(i) - discount(j))) / best;
      const bool better = grades[i] > grades[j];
      const double distance = better ? scores[i] - scores[j] : scores[j] - scores[i];
      const double p = 1 / (1 + std::exp(distance));
      lambda += better ? -p * change : p * change;
      curvature += p * (1 - p) * change;
    }
    CHECK(g[i] == Approx(lambda).epsilon(1e-5));
    CHECK(h[i] == Approx(curvature).epsilon(1e-5));
  }
}

TEST_CASE("a leaf of the quantile loss is the quantile of its residuals", "[objective]") {
  std::vector<std::pair<double, double>> v = {{3, 1}, {1, 1}, {2, 1}, {4, 1}};
  CHECK(detail::quantile_of(v, 0.5, false) == Approx(2.5));
  CHECK(detail::quantile_of(v, 0.9, false) == Approx(3.7));
  CHECK(detail::quantile_of(v, 1, false) == 4);
  v = {{3, 10}, {1, 1}, {2, 1}};
  CHECK(detail::quantile_of(v, 0.5, true) == 3);
  CHECK(detail::quantile_of(v, 0.1, true) == 2);
  // And of a whole model: 70 % of the training rows lie below a prediction of the 0.7 quantile.
  const auto& golden = test::boosting_golden();
  GradientBoostingOptions options = golden_options();
  options.loss = Loss::quantile;
  options.quantile = 0.7;
  options.trees = 60;
  const auto forest = GradientBoosting{options}.fit_encoded(golden.x, {}, {.values = golden.value});
  double below = 0;
  for (std::size_t r = 0; r < 240; ++r) below += golden.value[r] <= test::predict_row(*forest, golden.x.row(r))[0];
  CHECK(below / 240 == Approx(0.7).margin(0.04));
}

struct Cubed : CustomObjective {  // |s - y|^3 / 3
  void start(const TreeTarget&, std::span<const std::uint32_t>, std::span<float> base) const override {
    base[0] = 0.25f;
  }
  void gradients(const TreeTarget& y, MatrixView<const float> s, MatrixView<float> g,
                 MatrixView<float> h) const override {
    for (std::size_t r = 0; r < s.cols(); ++r) {
      const double e = s(0, r) - y.values[r];
      g(0, r) = static_cast<float>(e * std::abs(e));
      h(0, r) = static_cast<float>(2 * std::abs(e));
      if (poison && r == 17) h(0, r) = -1;
    }
  }
  bool poison = false;
};
struct OwnSquared : CustomObjective {
  void gradients(const TreeTarget& y, MatrixView<const float> s, MatrixView<float> g,
                 MatrixView<float> h) const override {
    for (std::size_t r = 0; r < s.cols(); ++r) {
      g(0, r) = s(0, r) - static_cast<float>(y.values[r]);
      h(0, r) = 1;
    }
  }
  void start(const TreeTarget& y, std::span<const std::uint32_t> rows, std::span<float> base) const override {
    double sum = 0;
    for (const auto r : rows) sum += y.values[r];
    base[0] = static_cast<float>(sum / static_cast<double>(rows.size()));
  }
};

TEST_CASE("a custom objective is followed", "[objective]") {
  const auto& golden = test::boosting_golden();
  const TreeTarget y{.values = golden.value};
  const OwnSquared squared;
  const auto own = GradientBoosting{{.trees = 5, .objective = &squared}}.fit_encoded(golden.x, {}, y);
  const auto built_in = GradientBoosting{{.trees = 5}}.fit_encoded(golden.x, {}, y);
  CHECK(own->arrays().threshold == built_in->arrays().threshold);
  for (std::size_t i = 0; i < own->leaves(); ++i)
    CHECK(own->arrays().leaf_values[i] == Approx(built_in->arrays().leaf_values[i]).epsilon(1e-4).margin(1e-6));

  Cubed cubed;
  const auto forest = GradientBoosting{{.trees = 100, .objective = &cubed}}.fit_encoded(golden.x, {}, y);
  CHECK(forest->shape().base[0] == 0.25f);
  double fitted = 0, constant = 0;
  for (std::size_t r = 0; r < 240; ++r) {
    fitted += std::pow(std::abs(test::predict_row(*forest, golden.x.row(r))[0] - golden.value[r]), 3);
    constant += std::pow(std::abs(0.25 - golden.value[r]), 3);
  }
  CHECK(fitted < 0.2 * constant);
  cubed.poison = true;
  CHECK_THROWS_WITH((GradientBoosting{{.trees = 1, .objective = &cubed}}.fit_encoded(golden.x, {}, y)),
                    Catch::Contains("row 17") && Catch::Contains("hessian -1"));
  // Classes need a link that gives probabilities.
  const TreeTarget classes{.task = Task::classification, .labels = golden.label, .classes = 3};
  CHECK_THROWS_WITH((GradientBoosting{{.objective = &squared}}.fit_encoded(golden.x, {}, classes)),
                    Catch::Contains("softmax or one_vs_all with 3"));
}

TEST_CASE("a loss that does not fit the target is refused", "[objective]") {
  const auto& golden = test::boosting_golden();
  const auto refused = [&](Loss loss, const TreeTarget& y, const std::string& words) {
    CHECK_THROWS_WITH(GradientBoosting{{.loss = loss}}.fit_encoded(golden.x, {}, y), Catch::Contains(words));
  };
  const TreeTarget numbers{.values = golden.value};
  const TreeTarget three{.task = Task::classification, .labels = golden.label, .classes = 3};
  refused(Loss::poisson, numbers, "loss poisson needs targets of at least 0, row");
  refused(Loss::gamma, {.values = golden.count}, "above 0");
  refused(Loss::softmax, numbers, "loss is softmax");
  refused(Loss::squared, three, "loss is squared");
  refused(Loss::logistic, three, "3 classes");
  refused(Loss::lambdarank, {.values = golden.grade}, "no queries");
}

}  // namespace
}  // namespace redoubt
