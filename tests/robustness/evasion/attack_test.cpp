#include "redoubt/robustness/evasion/attack.hpp"

#include <algorithm>
#include <catch2/catch.hpp>
#include <cmath>
#include <limits>

#include "redoubt/core/error.hpp"
#include "redoubt/core/parallel.hpp"
#include "redoubt/core/random.hpp"
#include "redoubt/data/dataset.hpp"
#include "redoubt/data/encoder.hpp"
#include "redoubt/data/generators.hpp"
#include "redoubt/linear/linear_form.hpp"
#include "redoubt/metrics/evaluation.hpp"
#include "redoubt/model/model.hpp"
#include "redoubt/nn/graph.hpp"
#include "redoubt/nn/mlp.hpp"
#include "redoubt/robustness/certify/tree_verifier.hpp"
#include "redoubt/trees/forest.hpp"
#include "redoubt/trees/gradient_boosting.hpp"
#include "redoubt/trees/random_forest.hpp"

using namespace redoubt;

namespace {

struct Fitted {
  explicit Fitted(const Model& m, const Dataset& data)
      : model(m), rows(model.encoder().apply(data)), labels(data.labels().begin(), data.labels().end()) {}
  Model model;
  Tensor<float> rows;
  std::vector<std::int32_t> labels;
};

Fitted network() {
  const Dataset data = generate_blobs({.rows = 260, .features = 6, .classes = 4, .spread = 1.2, .seed = 3});
  return Fitted(Mlp{{.hidden = {24}, .epochs = 15, .batch = 32, .patience = 0}}.fit(data), data);
}

std::size_t class_of(const Predictor& model, std::span<const float> row) {
  std::vector<float> out(model.outputs()), scratch(model.scratch_size());
  model.predict(row, out, scratch);
  return static_cast<std::size_t>(std::max_element(out.begin(), out.end()) - out.begin());
}

/// Found rows are of another class, within the radius and the rules; the others are untouched.
void check_result(const Fitted& f, const AttackOptions& options, const AttackResult& result) {
  for (std::size_t r = 0; r < f.labels.size(); ++r) {
    const auto x = result.rows.row(r);
    const bool wrong = class_of(f.model.predictor(), x) != static_cast<std::size_t>(f.labels[r]);
    CHECK(wrong == (result.broken[r] == 1));
    double largest = 0, squares = 0;
    for (std::size_t c = 0; c < x.size(); ++c) {
      const FeatureRule rule = options.rules.empty() ? FeatureRule{} : options.rules[c];
      const double by = (double(x[c]) - double(f.rows(r, c))) / rule.unit;
      largest = std::max(largest, std::abs(by));
      squares += by * by;
      if (by == 0) continue;
      CHECK_FALSE(rule.fixed);
      CHECK(x[c] >= rule.lower);
      CHECK(x[c] <= rule.upper);
    }
    CHECK((options.norm == AttackNorm::linf ? largest : std::sqrt(squares)) <= options.radius);
    if (!result.broken[r]) CHECK(largest == 0);
  }
}

}  // namespace

TEST_CASE("attacks on a linear model find exactly what can be found", "[attack]") {
  Random random(1, 0);
  std::vector<float> weights;
  for (int c = 0; c < 8; ++c) weights.push_back(static_cast<float>(random.normal()));
  const LinearForm form(weights, {0.3f}, LinearLink::sigmoid);
  Tensor<float> rows({300, 8});
  std::vector<std::int32_t> labels;
  std::vector<double> reach_linf, reach_l2;  // distance to the boundary
  double l1 = 0, l2 = 0;
  for (const float w : weights) l1 += std::abs(w), l2 += double(w) * w;
  for (std::size_t r = 0; r < 300; ++r) {
    for (float& x : rows.row(r)) x = static_cast<float>(random.normal());
    float score = 0;
    form.scores(rows.row(r), {&score, 1});
    labels.push_back(score > 0);
    reach_linf.push_back(std::abs(score) / l1);
    reach_l2.push_back(std::abs(score) / std::sqrt(l2));
  }
  for (const AttackNorm norm : {AttackNorm::linf, AttackNorm::l2})
    for (const AttackMethod method :
         {AttackMethod::fgsm, AttackMethod::pgd, AttackMethod::apgd_ce, AttackMethod::apgd_dlr}) {
      const AttackOptions options{.method = method, .norm = norm, .radius = 0.3, .steps = 20};
      const AttackResult result = attack(form, rows, labels, options);
      CAPTURE(to_string(method), int(norm));
      for (std::size_t r = 0; r < 300; ++r) {
        const double reach = norm == AttackNorm::linf ? reach_linf[r] : reach_l2[r];
        if (std::abs(reach - 0.3) < 1e-4) continue;
        CHECK(result.broken[r] == (reach < 0.3));
      }
      CHECK(result.robust_accuracy() > 0.1);
      CHECK(result.robust_accuracy() < 0.9);
    }
}

TEST_CASE("stronger attacks break more of a network, and never what is certified", "[attack]") {
  const Fitted f = network();
  const auto& graph = dynamic_cast<const Graph&>(f.model.predictor());
  double before = 1;
  for (const double radius : {0.0, 0.1, 0.3, 0.6}) {
    AttackOptions options{.radius = radius, .steps = 20};
    const auto run = [&](AttackMethod method) {
      options.method = method;
      const AttackResult result = attack(graph, f.rows, f.labels, options);
      check_result(f, options, result);
      return result;
    };
    const AttackResult fgsm = run(AttackMethod::fgsm), pgd = run(AttackMethod::pgd), ce = run(AttackMethod::apgd_ce),
                       dlr = run(AttackMethod::apgd_dlr), aimed = run(AttackMethod::apgd_targeted),
                       square = run(AttackMethod::square), jump = run(AttackMethod::hop_skip_jump);
    const AttackResult bundle = attack_bundle(graph, f.rows, f.labels, options);
    CHECK(pgd.robust_accuracy() <= fgsm.robust_accuracy() + 0.005);
    CHECK(ce.robust_accuracy() <= fgsm.robust_accuracy() + 0.005);
    CHECK(bundle.robust_accuracy() <= ce.robust_accuracy());
    CHECK(bundle.robust_accuracy() <= dlr.robust_accuracy() + 0.01);
    CHECK(aimed.robust_accuracy() <= dlr.robust_accuracy() + 0.01);
    CHECK(bundle.robust_accuracy() <= before);
    before = bundle.robust_accuracy();
    if (radius == 0) {
      const double clean =
          f.model.evaluate(generate_blobs({.rows = 260, .features = 6, .classes = 4, .spread = 1.2, .seed = 3}))
              .value("accuracy");
      for (const auto* result : {&fgsm, &pgd, &ce, &dlr, &aimed, &square, &jump, &bundle})
        CHECK(result->robust_accuracy() == Approx(clean));
    }
    // No attack crosses a certificate.
    std::size_t certified = 0;
    for (std::size_t r = 0; r < f.labels.size(); ++r) {
      std::vector<float> lower, upper, margins(4);
      for (const float x : f.rows.row(r)) {
        lower.push_back(x - static_cast<float>(radius));
        upper.push_back(x + static_cast<float>(radius));
      }
      const auto label = static_cast<std::size_t>(f.labels[r]);
      graph.margin_bounds(lower, upper, label, margins);
      margins[label] = 1;
      if (*std::min_element(margins.begin(), margins.end()) <= 0) continue;
      ++certified;
      for (const auto* result : {&fgsm, &pgd, &ce, &dlr, &aimed, &square, &jump, &bundle})
        CHECK(result->broken[r] == 0);
    }
    if (radius <= 0.3) CHECK(certified > 0);
  }
  CHECK(before < 0.7);
}

TEST_CASE("projected gradient steps find what plain ones find, though rows that go round leave", "[attack]") {
  const Fitted f = network();
  const auto& graph = dynamic_cast<const Graph&>(f.model.predictor());
  const AttackOptions options{.method = AttackMethod::pgd, .radius = 0.25, .steps = 50, .step = 0.25 / 4};
  const AttackResult result = attack(graph, f.rows, f.labels, options);
  GraphWorkspace workspace(graph, 1);
  std::vector<float> slope(6);
  std::size_t all = 0;
  for (std::size_t r = 0; r < f.labels.size(); ++r) {
    std::vector<float> x(f.rows.row(r).begin(), f.rows.row(r).end());
    const auto label = static_cast<std::size_t>(f.labels[r]);
    bool broken = class_of(graph, x) != label;
    for (int step = 0; step < 50 && !broken; ++step, ++all) {
      graph.loss_gradient(x, label, slope, workspace);
      for (std::size_t c = 0; c < 6; ++c) {
        x[c] += 0.0625f * static_cast<float>((slope[c] > 0) - (slope[c] < 0));
        x[c] = std::clamp(x[c], f.rows(r, c) - 0.25f, f.rows(r, c) + 0.25f);
      }
      broken = class_of(graph, x) != label;
    }
    CHECK(result.broken[r] == broken);
  }
  CHECK(result.gradients < all / 2);
  CHECK(result.robust_accuracy() > 0.2);
}

TEST_CASE("attacks keep to rules and to the second norm", "[attack]") {
  const Fitted f = network();
  std::vector<FeatureRule> rules(6);
  rules[0].fixed = true;
  rules[1].upper = 0.5f;
  rules[2].lower = -0.25f;
  rules[3].unit = 3;
  for (const AttackMethod method :
       {AttackMethod::fgsm, AttackMethod::pgd, AttackMethod::apgd_ce, AttackMethod::apgd_dlr,
        AttackMethod::apgd_targeted, AttackMethod::square, AttackMethod::hop_skip_jump})
    for (const AttackNorm norm : {AttackNorm::linf, AttackNorm::l2}) {
      const AttackOptions options{
          .method = method, .norm = norm, .radius = 0.4, .steps = 25, .restarts = 2, .rules = rules};
      check_result(f, options, attack(f.model.predictor(), f.rows, f.labels, options));
    }
  // Whole numbers stay whole.
  Tensor<float> whole({1, 2});
  whole(0, 0) = 3, whole(0, 1) = -1;
  const LinearForm form({1.0f, 1.0f}, {-4.5f}, LinearLink::sigmoid);
  const std::vector<std::int32_t> zero{0};
  const std::vector<FeatureRule> integers(2, {.whole = true});
  CHECK(attack(form, whole, zero, {.radius = 0.9, .rules = integers}).broken[0] == 0);
  CHECK(attack(form, whole, zero, {.radius = 1.3, .rules = integers}).broken[0] == 0);
  const AttackResult found = attack(form, whole, zero, {.radius = 2.2, .rules = integers});
  REQUIRE(found.broken[0] == 1);
  CHECK(found.rows(0, 0) == std::floor(found.rows(0, 0)));
  CHECK(found.rows(0, 1) == std::floor(found.rows(0, 1)));
}

TEST_CASE("attacks change a category as a whole", "[attack]") {
  // Two numbers, a category of four, one of three, a column that is no part of a group.
  std::vector<FeatureRule> rules(10);
  for (std::size_t c = 2; c < 6; ++c) rules[c].group = 7;
  for (std::size_t c = 6; c < 9; ++c) rules[c] = {.unit = 2, .group = 3};
  rules[5].fixed = true;  // nobody may become the fourth category, who is it stays
  Random random(5, 0);
  std::vector<float> weights(10 * 3);
  for (float& w : weights) w = static_cast<float>(random.normal());
  const LinearForm form(weights, {0.1f, 0, 0}, LinearLink::softmax);
  Tensor<float> rows({400, 10});
  std::vector<std::int32_t> labels;
  for (std::size_t r = 0; r < 400; ++r) {
    for (const std::size_t c : {0, 1, 9}) rows(r, c) = static_cast<float>(random.normal());
    rows(r, 2 + random.below(4)) = 1;
    if (r % 10 != 0) rows(r, 6 + random.below(3)) = 1;  // else an unknown category
    labels.push_back(static_cast<std::int32_t>(class_of(form, rows.row(r))));
  }
  for (const AttackNorm norm : {AttackNorm::linf, AttackNorm::l2})
    for (const double radius : {0.3, 0.75, 1.6}) {
      // The largest margin by going through all pairs of categories, the rest in closed form.
      std::vector<std::uint8_t> truth;
      for (std::size_t r = 0; r < 400; ++r) {
        bool broken = false;
        std::vector<float> x(rows.row(r).begin(), rows.row(r).end());
        for (std::size_t one = 2; one < 6; ++one)
          for (std::size_t two = 6; two < 9; ++two) {
            double spent = 0;
            std::copy(rows.row(r).begin(), rows.row(r).end(), x.begin());
            if (x[one] == 0) {
              if (one == 5 || x[5] == 1 || radius < 1) continue;
              std::fill(x.begin() + 2, x.begin() + 6, 0.0f);
              x[one] = 1;
              spent += 2;
            }
            if (x[two] == 0) {
              if (r % 10 == 0 ? two > 6 : radius < 0.5) continue;
              if (r % 10 != 0) {
                std::fill(x.begin() + 6, x.begin() + 9, 0.0f);
                x[two] = 1;
                spent += 0.5;
              }
            }
            if (norm == AttackNorm::l2 && spent > radius * radius) continue;
            const double left = norm == AttackNorm::l2 ? std::sqrt(radius * radius - spent) : radius;
            std::vector<float> z(3);
            form.scores(x, z);
            const auto label = static_cast<std::size_t>(labels[r]);
            for (std::size_t k = 0; k < 3; ++k) {
              double l1 = 0, l2 = 0;
              for (const std::size_t c : {0, 1, 9}) {
                std::vector<float> slope(10), upstream(3);
                upstream[k] = 1, upstream[label] -= 1;
                form.input_gradient(upstream, slope);
                l1 += std::abs(slope[c]), l2 += double(slope[c]) * slope[c];
              }
              const double reach = left * (norm == AttackNorm::linf ? l1 : std::sqrt(l2));
              broken = broken || (k != label && z[k] + reach > z[label] + 1e-4);
            }
          }
        truth.push_back(broken);
      }
      const auto all = std::count(truth.begin(), truth.end(), 1);
      for (const AttackMethod method : {AttackMethod::fgsm, AttackMethod::pgd, AttackMethod::apgd_ce,
                                        AttackMethod::apgd_dlr, AttackMethod::square, AttackMethod::hop_skip_jump}) {
        const bool jump = method == AttackMethod::hop_skip_jump;
        const AttackOptions options{
            .method = method, .norm = norm, .radius = radius, .steps = jump ? 600 : 200, .rules = rules};
        const AttackResult result = attack(form, rows, labels, options);
        long found = 0, changed = 0;
        for (std::size_t r = 0; r < 400; ++r) {
          const auto x = result.rows.row(r);
          double largest = 0, squares = 0;
          for (std::size_t c = 0; c < 10; ++c) {
            const double by = std::abs(double(x[c]) - rows(r, c)) / rules[c].unit;
            largest = std::max(largest, by);
            squares += by * by;
            if (c < 2 || c == 9) continue;
            CHECK((x[c] == 0 || x[c] == 1));
            changed += by > 0;
          }
          CHECK((norm == AttackNorm::linf ? largest : std::sqrt(squares)) <= radius);
          CHECK(x[2] + x[3] + x[4] + x[5] == 1);
          CHECK(x[5] == rows(r, 5));
          CHECK(x[6] + x[7] + x[8] == (r % 10 == 0 ? 0 : 1));
          CHECK((class_of(form, x) != static_cast<std::size_t>(labels[r])) == (result.broken[r] == 1));
          if (result.broken[r] && !truth[r]) ++found;  // within 1e-4 of the boundary
        }
        CHECK(found <= 1);
        const auto broken = std::count(result.broken.begin(), result.broken.end(), 1);
        CAPTURE(to_string(method), int(norm), radius, all, broken, changed);
        if (radius > 1) CHECK(changed > 0);
        CHECK(broken * 100 >= all * (jump ? 55 : method == AttackMethod::fgsm ? 70 : 90));
      }
    }
  // From an encoder.
  std::vector<Column> columns(2);
  columns[0].spec = {"size", ColumnType::numeric, ColumnRole::feature, {}};
  columns[0].numbers = {1, 2, 3};
  columns[1].spec = {"kind", ColumnType::categorical, ColumnRole::feature, {"a", "b"}};
  columns[1].codes = {0, 1, 0};
  const Dataset data(columns);
  const auto derived = encoded_rules(Encoder::fit(data, EncoderOptions::dense()));
  REQUIRE(derived.size() == 3);
  CHECK((derived[0].group == 0 && !derived[0].fixed));
  CHECK((derived[1].group > 0 && derived[1].group == derived[2].group && !derived[1].fixed));
  const auto codes = encoded_rules(Encoder::fit(data, EncoderOptions::for_trees()));
  REQUIRE(codes.size() == 2);
  CHECK((!codes[0].fixed && codes[1].fixed));
}

TEST_CASE("the black-box attack works on forests and never crosses their certificates", "[attack][threads]") {
  const Dataset data = generate_blobs({.rows = 150, .features = 4, .classes = 3, .spread = 2.5, .seed = 6});
  const Fitted f(GradientBoosting{{.trees = 12, .max_leaves = 8}}.fit(data), data);
  const auto& forest = dynamic_cast<const Forest&>(f.model.predictor());
  AttackOptions options{.method = AttackMethod::square, .radius = 0.4, .steps = 200, .seed = 9};
  Arena one(1), two(2);
  options.arena = &one;
  const AttackResult result = attack(forest, f.rows, f.labels, options);
  check_result(f, options, result);
  options.arena = &two;
  const AttackResult again = attack(forest, f.rows, f.labels, options);
  CHECK(again.broken == result.broken);
  CHECK(std::equal(again.rows.flat().begin(), again.rows.flat().end(), result.rows.flat().begin()));
  const TreeVerifier verifier(forest);
  std::size_t certified = 0, truly_broken = 0, found = 0;
  for (std::size_t r = 0; r < 150; ++r) {
    const auto answer = verifier.verify(f.rows.row(r), static_cast<std::size_t>(f.labels[r]), 0.4);
    certified += answer.result == Robustness::certified;
    if (answer.result == Robustness::certified) CHECK(result.broken[r] == 0);
    truly_broken += answer.result == Robustness::broken;
    found += result.broken[r];
  }
  CHECK(certified > 10);
  CHECK(found * 10 >= truly_broken * 8);
}

TEST_CASE("the leaf walk finds almost all that is there, more than the squares, and nothing that is certified",
          "[attack][threads]") {
  const Dataset data = generate_blobs({.rows = 150, .features = 6, .classes = 3, .spread = 2.5, .seed = 6});
  const Dataset two = generate_blobs({.rows = 150, .features = 5, .classes = 2, .spread = 3, .seed = 8});
  std::vector<FeatureRule> rules(6);
  rules[0].fixed = true;
  rules[1].unit = 2;
  rules[2].lower = -1;
  for (const Fitted& f : {Fitted(GradientBoosting{{.trees = 20, .max_leaves = 8}}.fit(data), data),
                          Fitted(RandomForest{{.trees = 15, .max_depth = 5}}.fit(data), data),
                          Fitted(GradientBoosting{{.trees = 30, .max_leaves = 6}}.fit(two), two)}) {
    const auto& forest = dynamic_cast<const Forest&>(f.model.predictor());
    for (const bool ruled : {false, true}) {
      if (ruled && forest.inputs() != 6) continue;
      AttackOptions options{.method = AttackMethod::leaf_tuple, .radius = 0.3, .restarts = 5, .seed = 9};
      if (ruled) options.rules = rules;
      const AttackResult walked = attack(forest, f.rows, f.labels, options);
      check_result(f, options, walked);
      options.method = AttackMethod::square;
      options.steps = 500;
      const AttackResult square = attack(forest, f.rows, f.labels, options);
      const TreeVerifier verifier(forest, {.rules = options.rules});
      std::size_t broken = 0, by_walk = 0, by_square = 0;
      for (std::size_t r = 0; r < 150; ++r) {
        const auto label = static_cast<std::size_t>(f.labels[r]);
        const auto answer = verifier.verify(f.rows.row(r), label, 0.3);
        if (answer.result == Robustness::certified) CHECK(walked.broken[r] == 0);
        broken += answer.result == Robustness::broken;
        by_walk += walked.broken[r];
        by_square += square.broken[r];
      }
      CAPTURE(ruled, broken, by_walk, by_square, walked.queries, square.queries);
      CHECK(broken > 10);
      CHECK(broken < 140);
      CHECK(by_walk >= by_square);
      CHECK(by_walk * 100 >= broken * 95);
      CHECK(walked.queries < square.queries);
    }
    // Found rows are no nearer than the exact radius, the walks' best ones near it; the second norm is kept.
    AttackOptions options{.method = AttackMethod::leaf_tuple, .norm = AttackNorm::l2, .radius = 0.4, .restarts = 3};
    Arena one(1), two_threads(2);
    options.arena = &one;
    const AttackResult result = attack(forest, f.rows, f.labels, options);
    check_result(f, options, result);
    options.arena = &two_threads;
    const AttackResult again = attack(forest, f.rows, f.labels, options);
    CHECK(std::equal(again.rows.flat().begin(), again.rows.flat().end(), result.rows.flat().begin()));
  }
}

TEST_CASE("the leaf walk keeps whole numbers, missing values and categories as they are", "[attack]") {
  Random random(3, 0);
  Tensor<float> rows({240, 4});
  std::vector<std::int32_t> labels;
  for (std::size_t r = 0; r < 240; ++r) {
    rows(r, 0) = static_cast<float>(random.below(7));
    rows(r, 1) = random.below(5) == 0 ? std::numeric_limits<float>::quiet_NaN() : static_cast<float>(random.normal());
    rows(r, 2) = static_cast<float>(random.normal());
    rows(r, 3) = random.below(3) == 0 ? 0.0f : static_cast<float>(random.normal());
    labels.push_back(rows(r, 0) + rows(r, 2) + (std::isnan(rows(r, 1)) ? 1 : rows(r, 1)) + rows(r, 3) > 3);
  }
  const Dataset data = Dataset::from_matrix(MatrixView<const float>(rows), labels);
  const Model model = GradientBoosting{{.trees = 25, .max_leaves = 8}}.fit(data);
  const Fitted f(model, data);
  const auto& forest = dynamic_cast<const Forest&>(model.predictor());
  // The same with nodes to which zero is missing.
  ForestArrays arrays = forest.arrays();
  for (std::size_t n = 0; n < arrays.flags.size(); ++n)
    if (arrays.feature[n] == 3) arrays.flags[n] |= zero_missing;
  const Forest zeros(forest.shape(), arrays);
  std::vector<FeatureRule> rules(4);
  rules[0].whole = true;
  rules[0].upper = 5;
  for (const Forest* each : {&forest, &zeros}) {
    const AttackOptions options{.method = AttackMethod::leaf_tuple, .radius = 1.1, .restarts = 5, .rules = rules};
    const AttackResult result = attack(*each, f.rows, f.labels, options);
    const TreeVerifier verifier(*each, {.rules = rules});
    std::size_t broken = 0, found = 0;
    for (std::size_t r = 0; r < 240; ++r) {
      const auto x = result.rows.row(r);
      CHECK(x[0] == std::floor(x[0]));
      CHECK(std::isnan(x[1]) == std::isnan(f.rows(r, 1)));
      const auto label = static_cast<std::size_t>(labels[r]);
      CHECK((class_of(*each, x) != label) == (result.broken[r] == 1));
      const auto answer = verifier.verify(f.rows.row(r), label, 1.1);
      if (answer.result == Robustness::certified) CHECK(result.broken[r] == 0);
      broken += answer.result == Robustness::broken;
      found += result.broken[r];
    }
    CAPTURE(broken, found);
    CHECK(broken > 20);
    CHECK(found * 100 >= broken * 95);
  }
}

TEST_CASE("HopSkipJump comes near the boundary of a linear model and not nearer than it is", "[attack]") {
  Random random(4, 0);
  std::vector<float> weights;
  for (int c = 0; c < 8; ++c) weights.push_back(static_cast<float>(random.normal()));
  const LinearForm form(weights, {0.2f}, LinearLink::sigmoid);
  double l1 = 0, l2 = 0;
  for (const float w : weights) l1 += std::abs(w), l2 += double(w) * w;
  Tensor<float> row({1, 8});
  for (const AttackNorm norm : {AttackNorm::linf, AttackNorm::l2}) {
    int near = 0, nearer = 0;
    std::size_t queries = 0;
    for (int r = 0; r < 40; ++r) {
      for (float& x : row.row(0)) x = static_cast<float>(random.normal());
      float score = 0;
      form.scores(row.row(0), {&score, 1});
      const std::vector<std::int32_t> label{score > 0};
      const double reach = std::abs(score) / (norm == AttackNorm::linf ? l1 : std::sqrt(l2));
      AttackOptions options{
          .method = AttackMethod::hop_skip_jump, .norm = norm, .radius = 1.1 * reach, .steps = 3000, .seed = 5};
      const AttackResult found = attack(form, row, label, options);
      near += found.broken[0];
      queries += found.queries;
      CHECK(found.queries <= 3001);
      options.radius = 0.999 * reach;
      options.steps = 500;
      nearer += attack(form, row, label, options).broken[0];
    }
    CAPTURE(int(norm), queries);
    CHECK(near >= 38);
    CHECK(nearer == 0);
  }
}

TEST_CASE("HopSkipJump breaks forests and never what is certified, and is equal at any thread count",
          "[attack][threads]") {
  const Dataset data = generate_blobs({.rows = 130, .features = 4, .classes = 3, .spread = 2.5, .seed = 6});
  const Fitted f(GradientBoosting{{.trees = 12, .max_leaves = 8}}.fit(data), data);
  const auto& forest = dynamic_cast<const Forest&>(f.model.predictor());
  AttackOptions options{.method = AttackMethod::hop_skip_jump, .radius = 0.4, .steps = 600, .seed = 9};
  Arena one(1), two(2);
  options.arena = &one;
  const AttackResult result = attack(forest, f.rows, f.labels, options);
  check_result(f, options, result);
  options.arena = &two;
  CHECK(attack(forest, f.rows, f.labels, options).broken == result.broken);
  const TreeVerifier verifier(forest);
  std::size_t truly_broken = 0, found = 0;
  for (std::size_t r = 0; r < 130; ++r) {
    const auto answer = verifier.verify(f.rows.row(r), static_cast<std::size_t>(f.labels[r]), 0.4);
    if (answer.result == Robustness::certified) CHECK(result.broken[r] == 0);
    truly_broken += answer.result == Robustness::broken;
    found += result.broken[r];
  }
  CAPTURE(truly_broken, found);
  CHECK(truly_broken > 10);
  CHECK(found * 10 >= truly_broken * 6);
}

TEST_CASE("attacks on images draw squares, and bad options are named", "[attack]") {
  const Fitted f = network();
  // Six columns as an image of 3 x 2.
  AttackOptions options{.method = AttackMethod::square, .radius = 0.3, .steps = 100, .image_width = 3};
  check_result(f, options, attack(f.model.predictor(), f.rows, f.labels, options));

  const auto with = [&](AttackOptions bad) { return attack(f.model.predictor(), f.rows, f.labels, bad); };
  CHECK_THROWS_AS(with({.radius = -1}), Error);
  CHECK_THROWS_AS(with({.steps = 0}), Error);
  CHECK_THROWS_AS(with({.restarts = 0}), Error);
  CHECK_THROWS_AS(with({.rules = std::vector<FeatureRule>(2)}), Error);
  CHECK_THROWS_AS(with({.rules = std::vector<FeatureRule>(6, {.unit = 0})}), Error);
  CHECK_THROWS_AS(with({.image_width = 4}), Error);
  CHECK_THROWS_AS(attack(f.model.predictor(), f.rows, std::span(f.labels).first(2)), Error);
  std::vector<std::int32_t> labels = f.labels;
  labels[5] = 4;
  CHECK_THROWS_AS(attack(f.model.predictor(), f.rows, labels), Error);
  const Dataset data = generate_blobs({.rows = 60, .seed = 1});
  const Fitted trees(GradientBoosting{{.trees = 2}}.fit(data), data);
  CHECK_THROWS_AS(attack(trees.model.predictor(), trees.rows, trees.labels), Error);
  CHECK_THROWS_AS(with({.method = AttackMethod::leaf_tuple}), Error);
}
