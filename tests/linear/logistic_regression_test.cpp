#include "redoubt/linear/logistic_regression.hpp"

#include <cmath>
#include <vector>

#include "linear/golden.hpp"
#include "redoubt/core/error.hpp"
#include "redoubt/core/parallel.hpp"
#include "redoubt/core/random.hpp"
#include "redoubt/core/tensor.hpp"
#include "redoubt/data/arff.hpp"
#include "redoubt/data/csv.hpp"
#include "redoubt/metrics/evaluation.hpp"
#include "support/test_data.hpp"

using namespace redoubt;
using namespace redoubt::test;

namespace {

Dataset blobs(std::size_t rows, std::size_t classes, std::uint64_t seed) {
  Random random(seed);
  Tensor<float> x{rows, std::size_t{2}};
  std::vector<std::int32_t> y(rows);
  for (std::size_t r = 0; r < rows; ++r) {
    y[r] = static_cast<std::int32_t>(r % classes);
    x(r, 0) = static_cast<float>(2 * std::cos(2.0 * y[r]) + random.normal());
    x(r, 1) = static_cast<float>(2 * std::sin(2.0 * y[r]) + random.normal());
  }
  return Dataset::from_matrix(x, std::span<const std::int32_t>(y));
}

}  // namespace

TEST_CASE("Logistic regression: two classes equal scikit-learn's", "[logistic]") {
  REDOUBT_NEED_DATA(path, "uci_arff/breast.w.arff");
  const Dataset data = read_arff(path);
  require_golden(LogisticRegression{}.fit(data), "breast_standardised");
  require_golden(LogisticRegression{{.encoder = raw_numbers()}}.fit(data), "breast_raw");
  require_golden(LogisticRegression{}.fit(with_weights(data)), "breast_weighted");
}

TEST_CASE("Logistic regression: spambase equals scikit-learn's", "[logistic]") {
  REDOUBT_NEED_DATA(path, "uci_arff/spambase.arff");
  const Dataset data = read_arff(path);
  require_golden(LogisticRegression{}.fit(data), "spambase_standardised");
  require_golden(LogisticRegression{{.l2 = 0.1}}.fit(data), "spambase_weak");
}

TEST_CASE("Logistic regression: three classes equal scikit-learn's", "[logistic]") {
  REDOUBT_NEED_DATA(path, "uci_arff/iris.arff");
  const Dataset data = read_arff(path);
  const Model model = LogisticRegression{}.fit(data);
  require_golden(model, "iris_standardised");
  require_golden(LogisticRegression{{.encoder = raw_numbers()}}.fit(data), "iris_raw");
  require_golden(LogisticRegression{{.l2 = 10.0}}.fit(data), "iris_strong");
  CHECK(model.info().algorithm == "logistic_regression");
  CHECK(model.info().options.find("converged=true") != std::string::npos);
  CHECK(model.evaluate(data).value("accuracy") > 0.95);
}

TEST_CASE("Logistic regression: text goes through sparse rows", "[logistic]") {
  REDOUBT_NEED_DATA(path, "sms_spam/SMSSpamCollection");
  const Dataset data = read_csv(path, {.target = "c1",
                                       .types = {{"c2", ColumnType::text}},
                                       .delimiter = '\t',
                                       .header = Header::absent,
                                       .quoting = false});
  const auto [train, test] = data.split(0.2, 3);
  EncoderOptions encoder = EncoderOptions::dense();
  encoder.text_dims = 4096;
  const Model model = LogisticRegression{{.l2 = 0.1, .encoder = encoder}}.fit(train);
  CHECK(model.info().options.find("converged=true") != std::string::npos);
  CHECK(model.evaluate(test).value("accuracy") > 0.97);
}

TEST_CASE("Logistic regression: equal bytes at any thread count, and a saved model answers alike",
          "[logistic][threads]") {
  const Dataset data = blobs(5000, 4, 1);
  Arena one(1), two(2), four(4);
  const Model model = LogisticRegression{{.arena = &one}}.fit(data);
  const auto bytes = model.to_bytes();
  CHECK(LogisticRegression{{.arena = &two}}.fit(data).to_bytes() == bytes);
  CHECK(LogisticRegression{{.arena = &four}}.fit(data).to_bytes() == bytes);
  CHECK(Model::from_bytes(bytes).predict_proba(data) == model.predict_proba(data));
}

TEST_CASE("Logistic regression: separable data without a penalty ends at the iteration limit", "[logistic]") {
  Tensor<float> x{std::size_t{40}, std::size_t{1}};
  std::vector<std::int32_t> y(40);
  for (std::size_t r = 0; r < 40; ++r) {
    y[r] = r < 20 ? 0 : 1;
    x(r, 0) = static_cast<float>(r) - 19.5f;
  }
  const Dataset data = Dataset::from_matrix(x, std::span<const std::int32_t>(y));
  const Model model = LogisticRegression{{.l2 = 0.0, .max_iterations = 5, .tolerance = 0}}.fit(data);
  CHECK(model.info().options.find("iterations=5 converged=false") != std::string::npos);
  CHECK(model.evaluate(data).value("accuracy") == 1.0);
}

TEST_CASE("Logistic regression: a weight counts like repeated rows", "[logistic]") {
  const Dataset data = blobs(120, 2, 2);
  std::vector<std::size_t> repeated;
  std::vector<Column> columns;
  for (std::size_t c = 0; c < data.cols(); ++c) columns.push_back(data.column(c));
  Column weights;
  weights.spec = {.name = "w", .type = ColumnType::numeric, .role = ColumnRole::weight};
  for (std::size_t i = 0; i < 120; ++i) {
    weights.numbers.push_back(static_cast<double>(i % 4));
    for (std::size_t k = 0; k < i % 4; ++k) repeated.push_back(i);
  }
  columns.push_back(weights);
  std::vector<Column> copies;
  for (std::size_t c = 0; c < data.cols(); ++c) copies.push_back(data.column(c).take(repeated));
  const Model a = LogisticRegression{{.encoder = raw_numbers()}}.fit(Dataset(columns));
  const Model b = LogisticRegression{{.encoder = raw_numbers()}}.fit(Dataset(copies));
  const auto& form_a = dynamic_cast<const LinearForm&>(a.predictor());
  const auto& form_b = dynamic_cast<const LinearForm&>(b.predictor());
  for (std::size_t i = 0; i < 2; ++i) CHECK(form_a.weights()(i, 0) == Approx(form_b.weights()(i, 0)).epsilon(1e-5));
}

TEST_CASE("Logistic regression: bad input is refused with its place", "[logistic]") {
  const Dataset data = blobs(30, 2, 3);
  CHECK_THROWS_WITH(LogisticRegression{{.l2 = -0.5}}.fit(data), Catch::Contains("l2 is -0.5"));
  CHECK_THROWS_AS(LogisticRegression{{.max_iterations = -1}}.fit(data), Error);
  CHECK_THROWS_AS(LogisticRegression{{.tolerance = -1}}.fit(data), Error);
  try {
    LogisticRegression{}.fit(data.seal());
    FAIL("sealed data was accepted");
  } catch (const Error& error) {
    CHECK(error.code() == errc::refused);
  }
  const std::vector<std::size_t> even{0, 2, 4, 6};
  CHECK_THROWS_WITH(LogisticRegression{}.fit(data.take(even)), Catch::Contains("at least two"));
  Column labels = data.column("target");
  labels.codes[11] = -1;
  CHECK_THROWS_AS(LogisticRegression{}.fit(data.with_column(labels)), Error);
  Tensor<float> x{std::size_t{3}, std::size_t{1}};
  const std::vector<double> values{1, 2, 3};
  CHECK_THROWS_AS(LogisticRegression{}.fit(Dataset::from_matrix(x, std::span<const double>(values))), Error);
}
