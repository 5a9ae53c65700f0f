#include "redoubt/trees/sparse.hpp"

#include <catch2/catch.hpp>
#include <cmath>

#include "redoubt/core/error.hpp"
#include "redoubt/data/libsvm.hpp"
#include "redoubt/trees/binning.hpp"
#include "redoubt/trees/extra_trees.hpp"
#include "redoubt/trees/gradient_boosting.hpp"
#include "redoubt/trees/random_forest.hpp"
#include "trees/support.hpp"

namespace redoubt {
namespace {

TEST_CASE("sparse rows are learned and predicted like dense ones", "[sparse]") {
  constexpr std::size_t rows = 1500, cols = 60;
  Tensor<float> x({rows, cols});
  std::vector<double> y;
  Random random(3);
  for (std::size_t r = 0; r < rows; ++r) {
    for (std::size_t c = 0; c < cols; ++c) {
      if (random.uniform() > 0.08) continue;
      x(r, c) = c % 7 == 3 && random.uniform() < 0.1 ? test::not_a_number : static_cast<float>(1 + random.below(5));
    }
    y.push_back(x(r, 0) - 2 * x(r, 5) + (x(r, 9) > 2 ? 3 : 0) + 0.1 * random.normal());
  }
  const test::Csr cells(x);
  const CsrView csr = cells.view();
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
  const CsrView bad{one, beyond, csr.values.first(1), cols};
  CHECK_THROWS_WITH(predict_sparse(*sparse, bad), Catch::Contains("column 60"));
  CHECK_THROWS_AS(predict_sparse(*sparse, CsrView{csr.row_offsets, csr.columns, csr.values, 61}), Error);
}

TEST_CASE("bagged forests of a sparse matrix are those of the dense one", "[sparse]") {
  constexpr std::size_t rows = 600, cols = 40;
  Tensor<float> x({rows, cols});
  std::vector<std::int32_t> labels;
  Random random(5);
  for (std::size_t r = 0; r < rows; ++r) {
    for (std::size_t c = 0; c < cols; ++c) {
      if (random.uniform() > (c < 3 ? 0.7 : 0.05)) continue;
      x(r, c) = random.below(20) ? static_cast<float>(1 + random.below(9)) : test::not_a_number;
    }
    labels.push_back(x(r, 0) > 4 || x(r, 7) > 0 ? 1 : 0);
  }
  const test::Csr cells(x);
  const CsrView csr = cells.view();
  const BinnedMatrix bins(csr, {});
  const auto& bundled = bins.place(20);
  CHECK((bins.place(0).stored != BinnedMatrix::Place::none && !bins.place(0).bundled));
  CHECK((bundled.bundled || bundled.stored == BinnedMatrix::Place::none));
  const TreeTarget y{.task = Task::classification, .labels = labels, .classes = 2};
  const auto same = [&](const RandomForestFit& sparse, const RandomForestFit& dense) {
    Tensor<float> a({rows, 2}), b({rows, 2});
    sparse.forest->predict_batch(x, a, nullptr);
    dense.forest->predict_batch(x, b, nullptr);
    CHECK(std::equal(a.flat().begin(), a.flat().end(), b.flat().begin()));
    CHECK(sparse.forest->leaves() == dense.forest->leaves());
    CHECK(sparse.oob_counts == dense.oob_counts);
    REQUIRE(sparse.oob_proba.size() == dense.oob_proba.size());
    std::size_t differ = 0;
    for (std::size_t i = 0; i < dense.oob_proba.size(); ++i) {
      const float p = sparse.oob_proba.flat()[i], q = dense.oob_proba.flat()[i];
      differ += p != q && !(std::isnan(p) && std::isnan(q));
    }
    CHECK(differ == 0);
    const Tensor<float> p = predict_sparse(*sparse.forest, csr);
    CHECK(std::equal(p.flat().begin(), p.flat().end(), a.flat().begin()));
  };
  const RandomForest forest{{.trees = 12, .seed = 4}};
  same(forest.fit_sparse(csr, {}, y), forest.fit_encoded(x, {}, y));
  const ExtraTrees extra{{.trees = 12, .seed = 4}};
  same(extra.fit_sparse(csr, {}, y), extra.fit_encoded(x, {}, y));
}

TEST_CASE("a LIBSVM file is learned from and predicted without being spread out", "[sparse]") {
  REDOUBT_NEED_DATA(train_path, "xgboost_demo/agaricus.txt.train");
  REDOUBT_NEED_DATA(test_path, "xgboost_demo/agaricus.txt.test");
  const SparseDataset train = read_libsvm_sparse(train_path), held = read_libsvm_sparse(test_path, {.features = 126});
  REQUIRE(train.cols == 127);
  REQUIRE(held.cols == 127);
  const GradientBoosting boosting{{.trees = 20}};
  const auto forest = boosting.fit_sparse(train.view(), {}, TreeTarget::of(train));
  const Tensor<float> p = predict_sparse(*forest, held.view());
  std::size_t wrong = 0;
  for (std::size_t r = 0; r < held.rows(); ++r) wrong += (p(r, 1) > 0.5f) != (held.labels[r] == 1);
  CHECK(wrong == 0);
  // The same as of dense rows.
  const Dataset dense = read_libsvm(train_path);
  Tensor<float> x({dense.rows(), 127});
  for (std::size_t c = 1; c < 127; ++c)
    for (std::size_t r = 0; r < dense.rows(); ++r)
      x(r, c) = static_cast<float>(dense.column("f" + std::to_string(c)).numbers[r]);
  const auto same = boosting.fit_encoded(x, {}, TreeTarget::of(dense));
  CHECK(same->arrays().feature == forest->arrays().feature);
  CHECK(same->arrays().leaf_values == forest->arrays().leaf_values);
}

TEST_CASE("queries of a LIBSVM file are ranked", "[sparse]") {
  Random random(9);
  std::string text;
  for (int r = 0; r < 600; ++r) {
    const auto a = random.below(4), b = random.below(3);
    text += std::to_string(a) + ":" + std::to_string(1 + r % 2) + " qid:" + std::to_string(r / 10) +
            " 3:" + std::to_string(a + random.uniform()) + " 7:" + std::to_string(b) + "\n";
  }
  const SparseDataset data = read_libsvm_sparse_text(text, {.weights = true});
  REQUIRE(data.rows() == 600);
  const auto forest =
      GradientBoosting{{.trees = 20, .loss = Loss::lambdarank}}.fit_sparse(data.view(), {}, TreeTarget::of(data));
  const Tensor<float> score = predict_sparse(*forest, data.view());
  std::size_t right = 0, pairs = 0;
  for (std::size_t r = 0; r < 600; ++r)
    for (std::size_t s = r / 10 * 10; s < r; ++s)
      if (data.targets[r] != data.targets[s]) {
        ++pairs;
        right += (score(r, 0) > score(s, 0)) == (data.targets[r] > data.targets[s]);
      }
  CHECK(pairs > 1000);
  CHECK(right > 0.99 * pairs);
}

}  // namespace
}  // namespace redoubt
