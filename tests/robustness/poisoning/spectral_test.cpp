#include "redoubt/robustness/poisoning/spectral.hpp"

#include <Eigen/Dense>
#include <algorithm>
#include <catch2/catch.hpp>
#include <cmath>
#include <limits>
#include <set>

#include "redoubt/core/error.hpp"
#include "redoubt/core/random.hpp"
#include "redoubt/core/tensor.hpp"
#include "redoubt/data/dataset.hpp"
#include "redoubt/robustness/screen.hpp"

using namespace redoubt;

namespace {

struct Rows {
  Tensor<float> x;
  std::vector<std::int32_t> labels;
  std::set<std::size_t> planted;
};

/// Two classes with a large mean each; `poison` rows of class 0 carry a pattern over the first columns.
Rows with_trigger(std::uint64_t seed, std::size_t rows, std::size_t columns, std::size_t poison) {
  Random random(seed, 0);
  Rows r{Tensor<float>({rows, columns}), {}, {}};
  for (std::size_t i = 0; i < rows; ++i) {
    r.labels.push_back(static_cast<std::int32_t>(i % 2));
    for (std::size_t c = 0; c < columns; ++c)
      r.x(i, c) = static_cast<float>((i % 2 ? 20 : -20) + (1 + static_cast<double>(c % 5)) * random.normal());
  }
  while (r.planted.size() < poison) {
    const std::size_t i = 2 * random.below(rows / 2);
    if (!r.planted.insert(i).second) continue;
    for (std::size_t c = 0; c < columns / 4; ++c) r.x(i, c) = static_cast<float>(c % 2 ? -35 : -5);
  }
  return r;
}

}  // namespace

TEST_CASE("spectral scores are squared projections on the top singular vector", "[spectral]") {
  const Rows r = with_trigger(1, 120, 7, 4);
  const auto scores = spectral_scores(r.x, r.labels);
  for (const std::int32_t label : {0, 1}) {
    Eigen::MatrixXd z(60, 7);
    std::vector<std::size_t> members;
    for (std::size_t i = 0; i < 120; ++i)
      if (r.labels[i] == label) members.push_back(i);
    for (int i = 0; i < 60; ++i)
      for (int c = 0; c < 7; ++c) z(i, c) = r.x(members[static_cast<std::size_t>(i)], static_cast<std::size_t>(c));
    z.rowwise() -= z.colwise().mean().eval();
    for (int c = 0; c < 7; ++c) z.col(c) /= std::sqrt(z.col(c).squaredNorm() / 60);
    const Eigen::JacobiSVD<Eigen::MatrixXd> svd(z, Eigen::ComputeThinV);
    const Eigen::VectorXd p = (z * svd.matrixV().col(0)).array().square();
    for (int i = 0; i < 60; ++i)
      CHECK(scores[members[static_cast<std::size_t>(i)]] == Approx(p(i) / p.mean()).epsilon(1e-3).margin(1e-3));
  }
}

TEST_CASE("rows with a planted pattern are found, clean rows are left", "[spectral]") {
  std::size_t found = 0, planted = 0, others = 0, false_alarms = 0;
  for (std::uint64_t seed = 0; seed < 4; ++seed) {
    for (const std::size_t poison : {std::size_t{0}, std::size_t{20}}) {
      Rows r = with_trigger(seed, 1000, 40, poison);
      r.x(1, 3) = std::numeric_limits<float>::quiet_NaN();
      const Dataset data = Dataset::from_matrix(r.x, r.labels);
      const Verdict verdict = run_check(SpectralSignatures{.expected_share = 0.04}, {.data = &data, .features = r.x});
      std::set<RowId> named;
      for (const auto& f : verdict.findings) named.insert(f.row);
      for (std::size_t i = 0; i < 1000; ++i) {
        const bool is = named.count(data.row_ids()[i]);
        (r.planted.count(i) ? planted : others) += 1;
        (r.planted.count(i) ? found : false_alarms) += is;
      }
    }
  }
  CAPTURE(found, planted, false_alarms, others);
  CHECK(found >= planted * 9 / 10);
  CHECK(false_alarms * 100 < others);
}

TEST_CASE("spectral signatures in parts, and what they refuse", "[spectral]") {
  const Rows r = with_trigger(3, 200, 12, 6);
  const Dataset data = Dataset::from_matrix(r.x, r.labels);
  SpectralSignatures whole, left, right;
  whole.update({.data = &data, .features = r.x});
  std::vector<std::size_t> first, second;
  for (std::size_t i = 0; i < 200; ++i) (i < 70 ? first : second).push_back(i);
  const Dataset a = data.take(first), b = data.take(second);
  left.update({.data = &a, .features = {r.x.data(), 70, 12}});
  right.update({.data = &b, .features = {r.x.data() + 70 * 12, 130, 12}});
  left.merge(right);
  CHECK(left.finish() == whole.finish());

  CHECK_THROWS_AS(spectral_scores(r.x, std::span(r.labels).first(3)), Error);
  CHECK_THROWS_AS(run_check(SpectralSignatures{.expected_share = 0.5}, {.data = &data, .features = r.x}), Error);
  CHECK_THROWS_AS(run_check(SpectralSignatures{.cut = 0}, {.data = &data, .features = r.x}), Error);
  const Dataset few = data.take(std::vector<std::size_t>{0, 1, 2});
  CHECK(run_check(SpectralSignatures{}, {.data = &few, .features = {r.x.data(), 3, 12}}).outcome == Outcome::abstain);
  CHECK(screen(data, {.trees = 3, .checks = {SpectralSignatures{}}}).verdict("spectral_signatures").outcome !=
        Outcome::abstain);
}
