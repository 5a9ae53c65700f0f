// FastMCD: many starts on small subsets, the best of them on a larger one, the best of those on all rows.
#include <fmt/format.h>

#include <Eigen/Cholesky>
#include <Eigen/Core>
#include <Eigen/Eigenvalues>
#include <Eigen/LU>
#include <algorithm>
#include <cmath>
#include <limits>
#include <numeric>

#include "redoubt/core/parallel.hpp"
#include "redoubt/core/random.hpp"
#include "redoubt/robustness/poisoning/outlier_scores.hpp"
#include "robustness/complete.hpp"
#include "robustness/rows.hpp"

namespace redoubt {
namespace {

using Eigen::MatrixXd;
using Eigen::VectorXd;
using Rows = std::vector<std::uint32_t>;

constexpr double infinity = std::numeric_limits<double>::infinity();
constexpr std::size_t points_at_once = 256;

double chi_square_quantile(double p, double degrees) {
  double low = 0, high = degrees + 10;
  while (detail::chi_square_below(high, degrees) < p) high *= 2;
  for (int i = 0; i < 100; ++i) {
    const double middle = (low + high) / 2;
    (detail::chi_square_below(middle, degrees) < p ? low : high) = middle;
  }
  return high;
}

/// What the covariance of the central share `alpha` of a normal must be multiplied by (Croux and Haesbroeck 1999).
double consistency(double alpha, double degrees) {
  if (alpha >= 1) return 1;
  return alpha / detail::chi_square_below(chi_square_quantile(alpha, degrees), degrees + 2);
}

struct Estimate {
  VectorXd location;
  MatrixXd covariance;
  double log_determinant = infinity;  // minus infinity: singular
  bool definite = false;              // clearly so: a Cholesky factor whitens
};

/// Of a covariance that is singular but for rounding: what an LU factorisation leaves of it. Where that is positive
/// steps go on, as in scikit-learn (LAPACK's getrf); taken as zero all such starts would count as equally good and none
/// would be concentrated.
double rounded_log_determinant(const MatrixXd& covariance) {
  const Eigen::PartialPivLU<MatrixXd> factor(covariance);
  double sign = static_cast<double>(factor.permutationP().determinant()), sum = 0;
  for (Eigen::Index i = 0; i < covariance.rows(); ++i) {
    const double pivot = factor.matrixLU()(i, i);
    if (pivot < 0) sign = -sign;
    sum += std::log(std::abs(pivot));
  }
  return sign > 0 ? sum : -infinity;
}

/// Location and covariance of some columns (points) of x.
Estimate estimate(const MatrixXd& x, const Rows& chosen) {
  const auto p = x.rows();
  Estimate e{VectorXd::Zero(p), MatrixXd::Zero(p, p)};
  for (const auto r : chosen) e.location += x.col(r);
  e.location /= static_cast<double>(chosen.size());
  MatrixXd block(p, points_at_once);
  for (std::size_t first = 0; first < chosen.size(); first += points_at_once) {
    const std::size_t count = std::min(points_at_once, chosen.size() - first);
    for (std::size_t i = 0; i < count; ++i)
      block.col(static_cast<Eigen::Index>(i)) = x.col(chosen[first + i]) - e.location;
    e.covariance.selfadjointView<Eigen::Lower>().rankUpdate(block.leftCols(static_cast<Eigen::Index>(count)));
  }
  e.covariance /= static_cast<double>(chosen.size());
  e.covariance.triangularView<Eigen::StrictlyUpper>() = e.covariance.transpose();
  const Eigen::LLT<MatrixXd> factor(e.covariance);
  e.definite = factor.info() == Eigen::Success;
  double sum = 0;
  for (Eigen::Index i = 0; i < p && e.definite; ++i) {
    const double pivot = factor.matrixLLT()(i, i) * factor.matrixLLT()(i, i);
    e.definite = pivot > 1e-11 * e.covariance(i, i);
    sum += std::log(pivot);
  }
  e.log_determinant = e.definite ? sum : rounded_log_determinant(e.covariance);
  return e;
}

/// F such that |F (x - location)|^2 is the Mahalanobis distance; without directions of no variance.
MatrixXd whitening(const Estimate& e) {
  const auto p = e.covariance.rows();
  if (e.definite) {
    MatrixXd f = MatrixXd::Identity(p, p);
    Eigen::LLT<MatrixXd>(e.covariance).matrixL().solveInPlace(f);
    return f;
  }
  const Eigen::SelfAdjointEigenSolver<MatrixXd> parts(e.covariance);
  const double least = static_cast<double>(p) * 2.3e-16 * parts.eigenvalues().cwiseAbs().maxCoeff();
  Eigen::Index first = 0;
  while (first < p && !(parts.eigenvalues()(first) > least)) ++first;
  MatrixXd f = parts.eigenvectors().rightCols(p - first).transpose();
  for (Eigen::Index i = 0; i < f.rows(); ++i) f.row(i) /= std::sqrt(parts.eigenvalues()(first + i));
  return f;
}

std::vector<double> distances(const MatrixXd& x, const Estimate& e, Arena* arena) {
  std::vector<double> out(static_cast<std::size_t>(x.cols()));
  const MatrixXd f = whitening(e);
  parallel_for(
      out.size(), points_at_once,
      [&](std::size_t begin, std::size_t end) {
        const auto first = static_cast<Eigen::Index>(begin), count = static_cast<Eigen::Index>(end - begin);
        const MatrixXd white = f * (x.middleCols(first, count).colwise() - e.location);
        for (Eigen::Index i = 0; i < count; ++i) out[begin + static_cast<std::size_t>(i)] = white.col(i).squaredNorm();
      },
      arena);
  return out;
}

/// The estimate from the `support` points nearest by `e`.
Estimate concentrate(const MatrixXd& x, const Estimate& e, std::size_t support, Arena* arena) {
  const auto d = distances(x, e, arena);
  Rows rows(d.size());
  std::iota(rows.begin(), rows.end(), 0u);
  std::nth_element(rows.begin(), rows.begin() + static_cast<std::ptrdiff_t>(support - 1), rows.end(),
                   [&](std::uint32_t a, std::uint32_t b) { return d[a] != d[b] ? d[a] < d[b] : a < b; });
  rows.resize(support);
  std::sort(rows.begin(), rows.end());
  return estimate(x, rows);
}

/// Steps until the determinant no longer falls.
Estimate settle(const MatrixXd& x, Estimate e, std::size_t support, int most, Arena* arena) {
  for (int i = 0; i < most && e.log_determinant > -infinity; ++i) {
    Estimate next = concentrate(x, e, support, arena);
    if (!(next.log_determinant < e.log_determinant)) break;
    e = std::move(next);
  }
  return e;
}

void keep_best(std::vector<Estimate>& candidates, std::size_t count) {
  std::stable_sort(candidates.begin(), candidates.end(),
                   [](const Estimate& a, const Estimate& b) { return a.log_determinant < b.log_determinant; });
  if (candidates.size() > count) candidates.resize(count);
}

Rows shuffled(std::size_t n, Random random) {
  Rows rows(n);
  std::iota(rows.begin(), rows.end(), 0u);
  random.shuffle(rows);
  return rows;
}

MatrixXd columns(const MatrixXd& x, const Rows& order, std::size_t begin, std::size_t end) {
  MatrixXd out(x.rows(), static_cast<Eigen::Index>(end - begin));
  for (std::size_t i = begin; i < end; ++i) out.col(static_cast<Eigen::Index>(i - begin)) = x.col(order[i]);
  return out;
}

/// `trials` random starts on x, two steps each; the ten best.
std::vector<Estimate> starts(const MatrixXd& x, std::size_t support, std::size_t trials, std::uint64_t seed,
                             std::uint64_t stream, Arena* arena) {
  std::vector<Estimate> found;
  for (std::size_t t = 0; t < trials; ++t) {
    Rows rows = shuffled(static_cast<std::size_t>(x.cols()), Random(seed, stream + t));
    rows.resize(support);
    found.push_back(settle(x, estimate(x, rows), support, 2, arena));
    if (found.size() >= 32) keep_best(found, 10);
  }
  keep_best(found, 10);
  return found;
}

std::vector<Estimate> refine(const MatrixXd& x, const std::vector<Estimate>& candidates, std::size_t support,
                             std::size_t best, Arena* arena) {
  std::vector<Estimate> found(candidates.size());
  parallel_for(
      candidates.size(), 1,
      [&](std::size_t begin, std::size_t end) {
        for (std::size_t i = begin; i < end; ++i)
          found[i] = settle(x, concentrate(x, candidates[i], support, arena), support, 30, arena);
      },
      arena);
  keep_best(found, best);
  return found;
}

Estimate fast_mcd(const MatrixXd& x, std::size_t support, std::uint64_t seed, Arena* arena) {
  const auto n = static_cast<std::size_t>(x.cols());
  if (n <= 500) return refine(x, starts(x, support, 30, seed, 2, arena), support, 1, arena).front();

  const double share = static_cast<double>(support) / static_cast<double>(n);
  const auto part = [&](std::size_t rows) {
    return static_cast<std::size_t>(std::ceil(static_cast<double>(rows) * share));
  };
  const std::size_t subsets = n / 300, size = n / subsets, trials = std::max<std::size_t>(10, 500 / subsets);
  const Rows order = shuffled(n, Random(seed, 0));
  std::vector<std::vector<Estimate>> found(subsets);
  parallel_for(
      subsets, 1,
      [&](std::size_t begin, std::size_t end) {
        for (std::size_t s = begin; s < end; ++s)
          found[s] =
              starts(columns(x, order, s * size, (s + 1) * size), part(size), trials, seed, 2 + s * trials, arena);
      },
      arena);
  std::vector<Estimate> candidates;
  for (auto& some : found) std::move(some.begin(), some.end(), std::back_inserter(candidates));
  const std::size_t merged = std::min<std::size_t>(1500, n);
  const Rows selection = shuffled(n, Random(seed, 1));
  candidates = refine(columns(x, selection, 0, merged), candidates, part(merged), n > 1500 ? 10 : 1, arena);
  return refine(x, candidates, support, 1, arena).front();
}

}  // namespace

std::vector<double> robust_distance_scores(MatrixView<const float> x, const RobustDistanceOptions& options) {
  if (options.support != 0 && !(options.support >= 0.5 && options.support <= 1))
    detail::fail(errc::invalid_argument,
                 fmt::format("RobustDistanceOptions::support is {}; it must be 0 or in [0.5, 1]", options.support));
  detail::require_finite(x, "robust_distance_scores");
  const std::size_t n = x.rows();
  if (n == 0) return {};
  if (n < 2) detail::fail(errc::invalid_argument, "robust_distance_scores: there is 1 row; at least 2 are needed");

  std::vector<std::size_t> varying;
  for (std::size_t c = 0; c < x.cols(); ++c)
    for (std::size_t r = 1; r < n; ++r)
      if (x(r, c) != x(0, c)) {
        varying.push_back(c);
        break;
      }
  const std::size_t p = varying.size();
  if (p == 0) return std::vector<double>(n, 0);
  MatrixXd points(static_cast<Eigen::Index>(p), static_cast<Eigen::Index>(n));
  for (std::size_t r = 0; r < n; ++r)
    for (std::size_t i = 0; i < p; ++i)
      points(static_cast<Eigen::Index>(i), static_cast<Eigen::Index>(r)) = x(r, varying[i]);
  const std::size_t support = std::clamp<std::size_t>(
      options.support == 0 ? (n + p + 2) / 2
                           : static_cast<std::size_t>(std::ceil(options.support * static_cast<double>(n))),
      2, n);

  Estimate clean = fast_mcd(points, support, options.seed, options.arena);
  // Reweighted: all rows that a normal would have, not only the central ones.
  const auto raw = distances(points, clean, options.arena);
  const double degrees = static_cast<double>(p), beyond = 0.025;
  const double limit = chi_square_quantile(1 - beyond, degrees) *
                       consistency(static_cast<double>(support) / static_cast<double>(n), degrees);
  Rows kept;
  for (std::size_t r = 0; r < n; ++r)
    if (raw[r] < limit) kept.push_back(static_cast<std::uint32_t>(r));
  if (!kept.empty()) clean = estimate(points, kept);
  auto scores = distances(points, clean, options.arena);
  const double factor = consistency(1 - beyond, degrees);
  for (double& s : scores) s /= factor;
  return scores;
}

}  // namespace redoubt
