#include "redoubt/trees/sparse.hpp"

#include <catch2/catch.hpp>

#include "redoubt/core/error.hpp"
#include "redoubt/trees/gradient_boosting.hpp"
#include "trees/support.hpp"

namespace redoubt {
namespace {

TEST_CASE("sparse rows are learned and predicted like dense ones", "[sparse]") {
  constexpr std::size_t rows = 1500, cols = 60;
  Tensor<float> x({rows, cols});
  std::vector<std::uint64_t> offsets = {0};
  std::vector<std::uint32_t> columns;
  std::vector<float> values;
  std::vector<double> y;
  Random random(3);
  for (std::size_t r = 0; r < rows; ++r) {
    for (std::size_t c = 0; c < cols; ++c) {
      if (random.uniform() > 0.08) continue;
      x(r, c) = c % 7 == 3 && random.uniform() < 0.1 ? test::not_a_number : static_cast<float>(1 + random.below(5));
      columns.push_back(static_cast<std::uint32_t>(c));
      values.push_back(x(r, c));
    }
    offsets.push_back(values.size());
    y.push_back(x(r, 0) - 2 * x(r, 5) + (x(r, 9) > 2 ? 3 : 0) + 0.1 * random.normal());
  }
  const CsrView csr{offsets, columns, values, cols};
  const GradientBoosting boosting{{.trees = 20, .row_fraction = 0.8, .early_stopping_rounds = 20, .seed = 2}};
  const auto sparse = boosting.fit_sparse(csr, {}, {.values = y});
  const auto dense = boosting.fit_encoded(x, {}, {.values = y});
  const Tensor<float> p = predict_sparse(*sparse, csr);
  Tensor<float> expected({rows, 1}), of_dense({rows, 1});
  sparse->predict_batch(x, expected, nullptr);
  dense->predict_batch(x, of_dense, nullptr);
  CHECK(std::equal(p.flat().begin(), p.flat().end(), expected.flat().begin()));
  double error = 0, dense_error = 0, variance = 0;
  for (std::size_t r = 0; r < rows; ++r) {
    error += std::pow(p(r, 0) - y[r], 2);
    dense_error += std::pow(of_dense(r, 0) - y[r], 2);
    variance += y[r] * y[r];
  }
  CHECK(error < 0.2 * variance);
  CHECK(error == Approx(dense_error).epsilon(0.02));

  const std::vector<std::uint32_t> beyond = {60};
  const std::vector<std::uint64_t> one = {0, 1};
  const CsrView bad{one, beyond, std::span(values).first(1), cols};
  CHECK_THROWS_WITH(predict_sparse(*sparse, bad), Catch::Contains("column 60"));
  CHECK_THROWS_AS(predict_sparse(*sparse, CsrView{offsets, columns, values, 61}), Error);
}

}  // namespace
}  // namespace redoubt
