#pragma once
// What the tests of the tree learners share: random matrices, fixed splits, golden figures.
#include <catch2/catch.hpp>
#include <cmath>
#include <cstdint>
#include <fstream>
#include <limits>
#include <sstream>
#include <string>
#include <vector>

#include "redoubt/core/parallel.hpp"
#include "redoubt/core/random.hpp"
#include "redoubt/core/tensor.hpp"
#include "redoubt/data/archive.hpp"
#include "redoubt/data/arff.hpp"
#include "redoubt/data/dataset.hpp"
#include "redoubt/data/sparse.hpp"
#include "redoubt/metrics/classification.hpp"
#include "redoubt/metrics/ranking.hpp"
#include "redoubt/metrics/regression.hpp"
#include "redoubt/model/model.hpp"
#include "redoubt/trees/forest.hpp"
#include "redoubt/trees/target.hpp"
#include "support/test_data.hpp"

namespace redoubt::test {

inline constexpr float not_a_number = std::numeric_limits<float>::quiet_NaN();
inline constexpr float infinite = std::numeric_limits<float>::infinity();

/// Normal numbers, a share of them missing.
inline Tensor<float> random_matrix(std::size_t rows, std::size_t cols, std::uint64_t seed, double missing = 0) {
  Tensor<float> x({rows, cols});
  Random random(seed);
  for (float& v : x.flat()) v = random.uniform() < missing ? not_a_number : static_cast<float>(random.normal());
  return x;
}

/// A matrix in rows of cells that are not 0.
struct Csr {
  std::vector<std::uint64_t> row_offsets = {0};
  std::vector<std::uint32_t> columns;
  std::vector<float> values;
  std::size_t cols = 0;

  explicit Csr(MatrixView<const float> x) : cols(x.cols()) {
    for (std::size_t r = 0; r < x.rows(); ++r) {
      for (std::size_t c = x.cols(); c-- > 0;) {         // any order will do
        if (x(r, c) == 0 && (r + c) % 7 != 0) continue;  // some zeros are written out
        columns.push_back(static_cast<std::uint32_t>(c));
        values.push_back(x(r, c));
      }
      row_offsets.push_back(values.size());
    }
  }
  CsrView view() const { return {row_offsets, columns, values, cols}; }
};

/// Whether row i is in the test side of a split: the rule of bench/peers/golden/trees_quality.py.
inline bool in_test(std::uint64_t i, std::uint64_t split) {
  std::uint64_t x = (i * 2654435761u + (split + 1) * 40503u) & 0xffffffffu;
  x = ((x ^ (x >> 16)) * 73244475u) & 0xffffffffu;
  return (x ^ (x >> 16)) < 858993459u;
}

inline std::pair<Dataset, Dataset> golden_split(const Dataset& data, std::uint64_t split) {
  std::vector<std::size_t> train, test;
  for (std::size_t i = 0; i < data.rows(); ++i) (in_test(i, split) ? test : train).push_back(i);
  return {data.take(train), data.take(test)};
}

/// Mean and standard deviation over splits or seeds of a figure of scikit-learn.
struct Golden {
  double mean = 0, deviation = 0;
  int runs = 0;
  /// Standard error of the mean.
  double error() const { return deviation / std::sqrt(static_cast<double>(runs)); }
};

inline Golden golden(const std::string& data, const std::string& estimator, const std::string& metric,
                     const std::string& table = "quality") {
  std::ifstream file(std::string(REDOUBT_SOURCE_DIR) + "/tests/trees/golden/" + table + ".tsv");
  for (std::string line; std::getline(file, line);) {
    std::istringstream fields(line);
    std::string a, b, c;
    Golden result;
    if (fields >> a >> b >> c >> result.mean >> result.deviation >> result.runs && a == data && b == estimator &&
        c == metric)
      return result;
  }
  FAIL("no golden figure for " << data << " " << estimator << " " << metric);
  return {};
}

struct Quality {
  double roc_auc = 0, accuracy = 0, log_loss = 0;
};

/// Of a classifier on `test`; roc_auc of the last class.
inline Quality quality(const Model& model, const Dataset& test) {
  const Tensor<float> p = model.predict_proba(test);
  std::vector<double> positive(p.rows());
  Tensor<double> all({p.rows(), p.cols()});
  for (std::size_t r = 0; r < p.rows(); ++r) {
    positive[r] = p(r, p.cols() - 1);
    for (std::size_t k = 0; k < p.cols(); ++k) all(r, k) = p(r, k);
  }
  Quality q;
  const auto truth = test.labels();
  if (p.cols() == 2) q.roc_auc = roc_auc(truth, positive);
  q.accuracy = accuracy(truth, most_probable(MatrixView<const float>(p)));
  q.log_loss = log_loss(truth, MatrixView<const double>(all));
  return q;
}

inline std::vector<std::byte> bytes_of(const Predictor& form) {
  Archive archive;
  form.save(archive);
  return archive.to_bytes();
}

inline std::vector<float> predict_row(const Predictor& form, std::span<const float> row) {
  std::vector<float> out(form.outputs()), scratch(form.scratch_size());
  form.predict(row, out, scratch);
  return out;
}

}  // namespace redoubt::test
