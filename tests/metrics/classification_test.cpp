#include "redoubt/metrics/classification.hpp"

#include <fmt/format.h>

#include <array>
#include <catch2/catch.hpp>
#include <cmath>
#include <limits>

#include "metrics/golden_inputs.hpp"
#include "redoubt/core/error.hpp"

using namespace redoubt;

namespace {

const test::GoldenInputs inputs;

errc code_of(auto call) {
  try {
    call();
    return errc::ok;
  } catch (const Error& error) {
    return error.code();
  }
}

}  // namespace

TEST_CASE("classification metrics equal scikit-learn's to 1e-9", "[classification]") {
  for (const bool weighted : {false, true}) {
    const std::span<const double> w = weighted ? std::span<const double>(inputs.weights) : std::span<const double>();
    const std::string tag = weighted ? ".weighted" : "";
    const auto golden = [&](const std::string& name) {
      return Approx(test::golden(name + tag)).margin(1e-9).epsilon(0);
    };
    const auto predicted = most_probable(inputs.probabilities);
    const Confusion table = confusion(inputs.truth, predicted, test::golden_classes, w);
    CHECK(accuracy(inputs.truth, predicted, w) == golden("accuracy"));
    CHECK(table.accuracy() == golden("accuracy"));
    CHECK(table.f1_macro() == golden("f1_macro"));
    for (std::size_t c = 0; c < test::golden_classes; ++c) {
      const std::string class_tag = fmt::format(".{}", c);
      CHECK(table.precision(c) == golden("precision" + class_tag));
      CHECK(table.recall(c) == golden("recall" + class_tag));
      CHECK(table.f1(c) == golden("f1" + class_tag));
      for (std::size_t p = 0; p < test::golden_classes; ++p)
        CHECK(table(c, p) == golden(fmt::format("confusion{}.{}", class_tag, p)));
    }
    CHECK(log_loss(inputs.truth, inputs.probabilities, w) == golden("log_loss.multi"));
    CHECK(brier(inputs.truth, MatrixView<const double>(inputs.probabilities), w) == golden("brier.multi"));
    for (const bool tied : {false, true}) {
      const auto& score = tied ? inputs.ties : inputs.fine;
      const std::string kind = tied ? ".ties" : ".fine";
      Tensor<double> both{test::golden_rows, 2};
      for (std::size_t i = 0; i < test::golden_rows; ++i) {
        both(i, 0) = 1 - score[i];
        both(i, 1) = score[i];
      }
      CHECK(brier(inputs.binary_truth, std::span<const double>(score), w) == golden("brier" + kind));
      CHECK(log_loss(inputs.binary_truth, both, w) == golden("log_loss" + kind));
      CHECK(calibration_error(reliability(inputs.binary_truth, score, 10, w)) == golden("ece" + kind));
      // Over both columns the Brier score counts every error twice.
      CHECK(brier(inputs.binary_truth, MatrixView<const double>(both), w) ==
            Approx(2 * test::golden("brier" + kind + tag)));
    }
    std::vector<std::int32_t> hit(test::golden_rows);
    std::vector<double> top(test::golden_rows);
    for (std::size_t i = 0; i < test::golden_rows; ++i) {
      hit[i] = predicted[i] == inputs.truth[i];
      top[i] = inputs.probabilities(i, static_cast<std::size_t>(predicted[i]));
    }
    CHECK(calibration_error(reliability(hit, top, 10, w)) == golden("ece.multi"));
  }
}

TEST_CASE("classes that never occur count as documented", "[classification]") {
  const std::array<std::int32_t, 4> truth{0, 0, 1, 1}, predicted{0, 0, 0, 0};
  const Confusion table = confusion(truth, predicted, 3);
  CHECK(table.recall(0) == 1.0);
  CHECK(table.precision(0) == 0.5);
  CHECK(table.precision(1) == 0.0);  // never predicted
  CHECK(table.recall(2) == 0.0);     // never true
  CHECK(table.f1(2) == 0.0);
  CHECK(table.f1_macro() == Approx((2.0 / 3 + 0) / 2));  // class 2 does not occur at all
}

TEST_CASE("a sure mistake costs a finite log loss", "[classification]") {
  const std::array<std::int32_t, 2> truth{0, 1};
  const std::array<double, 4> rows{0, 1, 0, 1};
  CHECK(log_loss(truth, MatrixView<const double>(rows.data(), 2, 2)) == Approx(52 * std::log(2.0) / 2));
}

TEST_CASE("the first of equally probable classes is predicted", "[classification]") {
  const std::array<float, 6> rows{0.5f, 0.5f, 0.0f, 0.2f, 0.4f, 0.4f};
  CHECK(most_probable(MatrixView<const float>(rows.data(), 2, 3)) == std::vector<std::int32_t>{0, 1});
}

TEST_CASE("reliability bins are half open and the last holds 1", "[classification]") {
  const std::array<std::int32_t, 6> event{0, 1, 1, 0, 1, 1};
  for (const std::size_t bins : {1, 3, 7, 10, 15}) {
    // Probabilities that lie exactly on the edges as the bins state them.
    std::vector<double> edges;
    std::vector<std::int32_t> events;
    for (std::size_t b = 0; b <= bins; ++b) {
      edges.push_back(static_cast<double>(b) / static_cast<double>(bins));
      events.push_back(b % 2);
    }
    const auto table = reliability(events, edges, bins);
    REQUIRE(table.size() == bins);
    for (std::size_t b = 0; b < bins; ++b) {
      CHECK(table[b].low == edges[b]);
      CHECK(table[b].high == edges[b + 1]);
      CHECK(table[b].weight == (b + 1 == bins ? 2.0 : 1.0));
    }
  }
  const std::array<double, 6> probability{0.05, 0.1, 0.19, 0.95, 1.0, 0.9};
  const auto table = reliability(event, probability, 10);
  CHECK(table[0].weight == 1);
  CHECK(table[1].weight == 2);
  CHECK(table[1].observed == 1.0);
  CHECK(table[9].weight == 3);
  CHECK(table[9].observed == Approx(2.0 / 3));
  CHECK(table[5].weight == 0);
  CHECK(table[5].predicted == 0);
}

TEST_CASE("classification metrics refuse what does not fit", "[classification]") {
  const std::array<std::int32_t, 3> truth{0, 1, 1};
  const std::array<std::int32_t, 2> two{0, 1};
  const std::array<std::int32_t, 3> outside{0, 1, 2};
  const std::array<std::int32_t, 3> missing{0, -1, 1};
  const std::array<double, 3> p{0.1, 0.2, 0.3}, nan_weight{1, std::nan(""), 1}, negative{1, -1, 1}, zero{0, 0, 0};
  const std::array<double, 3> above{0.1, 1.5, 0.3}, nan_p{0.1, std::nan(""), 0.3};
  const std::span<const std::int32_t> none;
  CHECK(code_of([&] { accuracy(truth, two); }) == errc::shape_mismatch);
  CHECK(code_of([&] { accuracy(truth, truth, std::span(p).first(2)); }) == errc::shape_mismatch);
  CHECK(code_of([&] { accuracy(none, none); }) == errc::invalid_argument);
  CHECK(code_of([&] { accuracy(truth, truth, nan_weight); }) == errc::invalid_argument);
  CHECK(code_of([&] { accuracy(truth, truth, negative); }) == errc::invalid_argument);
  CHECK(code_of([&] { accuracy(truth, truth, zero); }) == errc::invalid_argument);
  CHECK(code_of([&] { confusion(truth, outside, 2); }) == errc::invalid_argument);
  CHECK(code_of([&] { confusion(missing, truth, 2); }) == errc::invalid_argument);
  CHECK(code_of([&] { brier(truth, above); }) == errc::invalid_argument);
  CHECK(code_of([&] { brier(truth, nan_p); }) == errc::invalid_argument);
  CHECK(code_of([&] { brier(outside, p); }) == errc::invalid_argument);
  CHECK(code_of([&] { reliability(truth, p, 0); }) == errc::invalid_argument);
  CHECK(code_of([&] { log_loss(truth, MatrixView<const double>(p.data(), 3, 1)); }) == errc::invalid_argument);
  try {
    confusion(truth, outside, 2);
    FAIL("accepted");
  } catch (const Error& error) {
    CHECK(std::string(error.what()) == "the predicted class 2 of row 2 is not in 0..1");
  }
}
