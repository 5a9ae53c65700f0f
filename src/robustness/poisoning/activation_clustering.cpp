#include "redoubt/robustness/poisoning/activation_clustering.hpp"

#include <fmt/format.h>

#include <Eigen/Dense>
#include <algorithm>
#include <cmath>

#include "redoubt/core/error.hpp"
#include "robustness/poisoning/labelled.hpp"
#include "robustness/rows.hpp"

namespace redoubt {
namespace {

using Eigen::MatrixXd;
using Eigen::VectorXd;

/// Rows with columns of mean 0 and deviation 1 (missing and constant ones 0), on their `count` main directions.
MatrixXd on_main_directions(MatrixXd z, std::size_t count) {
  for (Eigen::Index c = 0; c < z.cols(); ++c) {
    double sum = 0, squares = 0, there = 0;
    for (const double v : z.col(c))
      if (std::isfinite(v)) sum += v, ++there;
    const double mean = there > 0 ? sum / there : 0;
    for (double& v : z.col(c)) v = std::isfinite(v) ? v - mean : 0, squares += v * v;
    const double deviation = there > 0 ? std::sqrt(squares / there) : 0;
    z.col(c) *= deviation > 1e-12 * std::abs(mean) && deviation > 0 ? 1 / deviation : 0;
  }
  // The smaller of the two products has the same spectrum.
  const bool wide = z.cols() > z.rows();
  const MatrixXd product = wide ? MatrixXd(z * z.transpose()) : MatrixXd(z.transpose() * z);
  const Eigen::SelfAdjointEigenSolver<MatrixXd> solved(product);
  const auto kept = std::min<Eigen::Index>(static_cast<Eigen::Index>(count), product.rows());
  const MatrixXd vectors = solved.eigenvectors().rightCols(kept);
  if (!wide) return z * vectors;
  return vectors * solved.eigenvalues().tail(kept).cwiseMax(0).cwiseSqrt().asDiagonal();
}

struct Parts {
  std::vector<std::uint8_t> second;  // of each row
  MatrixXd centres;                  // 2 x directions
  double inertia = 0;
};

Parts two_means(const MatrixXd& x, std::vector<std::uint8_t> second) {
  Parts parts{std::move(second), MatrixXd::Zero(2, x.cols()), 0};
  for (int step = 0; step < 100; ++step) {
    double rows[2] = {0, 0};
    parts.centres.setZero();
    for (Eigen::Index r = 0; r < x.rows(); ++r) {
      const int p = parts.second[static_cast<std::size_t>(r)];
      parts.centres.row(p) += x.row(r);
      ++rows[p];
    }
    for (const int p : {0, 1})
      if (rows[p] > 0) parts.centres.row(p) /= rows[p];
    bool moved = false;
    parts.inertia = 0;
    for (Eigen::Index r = 0; r < x.rows(); ++r) {
      const double first_distance = (x.row(r) - parts.centres.row(0)).squaredNorm(),
                   second_distance = (x.row(r) - parts.centres.row(1)).squaredNorm();
      const std::uint8_t to = rows[0] > 0 && rows[1] > 0 && second_distance < first_distance;
      moved = moved || to != parts.second[static_cast<std::size_t>(r)];
      parts.second[static_cast<std::size_t>(r)] = to;
      parts.inertia += std::min(first_distance, second_distance);
    }
    if (!moved) break;
  }
  return parts;
}

/// The better of two starts: the two sides of the main direction, and the row farthest out with those near to it.
Parts part(const MatrixXd& x) {
  const auto rows = static_cast<std::size_t>(x.rows());
  std::vector<std::uint8_t> side(rows), near(rows);
  Eigen::Index farthest = 0;
  x.rowwise().squaredNorm().maxCoeff(&farthest);
  for (std::size_t r = 0; r < rows; ++r) {
    const auto row = x.row(static_cast<Eigen::Index>(r));
    side[r] = row(x.cols() - 1) > 0;
    near[r] = (row - x.row(farthest)).squaredNorm() < row.squaredNorm();
  }
  Parts a = two_means(x, std::move(side)), b = two_means(x, std::move(near));
  return b.inertia < a.inertia ? b : a;
}

}  // namespace

void ActivationClustering::update(const Batch& batch) { detail::add_labelled(*this, batch); }
void ActivationClustering::merge(const ActivationClustering& other) { detail::merge_labelled(*this, other); }

Verdict ActivationClustering::finish() const {
  if (directions < 1 || min_rows < 1 || !(largest_share > 0 && largest_share <= 0.5) || !(cut >= 0 && cut <= 1))
    detail::fail(
        errc::invalid_argument,
        fmt::format("ActivationClustering: directions {} and min_rows {} must be at least 1, largest_share {} in "
                    "(0, 0.5], cut {} in [0, 1]",
                    directions, min_rows, largest_share, cut));
  constexpr std::size_t fewest = 20;
  if (ids_.size() < fewest || width_ < 2)
    return Verdict::abstain(
        std::string(id), stage,
        fmt::format("needs at least {} rows of 2 features; there are {} of {}", fewest, ids_.size(), width_));
  Verdict verdict;
  verdict.check = id;
  verdict.stage = stage;
  for (std::size_t k = 0; k < names_.size(); ++k) {
    std::vector<std::size_t> members;
    for (std::size_t r = 0; r < ids_.size(); ++r)
      if (labels_[r] == static_cast<std::int32_t>(k)) members.push_back(r);
    if (members.size() < std::max(fewest, 2 * min_rows)) continue;
    MatrixXd z(static_cast<Eigen::Index>(members.size()), static_cast<Eigen::Index>(width_));
    for (std::size_t i = 0; i < members.size(); ++i)
      for (std::size_t c = 0; c < width_; ++c)
        z(static_cast<Eigen::Index>(i), static_cast<Eigen::Index>(c)) = features_[members[i] * width_ + c];
    const MatrixXd x = on_main_directions(std::move(z), directions);
    const Parts parts = part(x);
    const auto seconds = static_cast<std::size_t>(std::count(parts.second.begin(), parts.second.end(), 1));
    const std::uint8_t small = 2 * seconds <= members.size();
    const std::size_t count = small ? seconds : members.size() - seconds;
    const double share = static_cast<double>(count) / static_cast<double>(members.size());
    if (count < min_rows || share >= largest_share) continue;
    std::vector<double> silhouette(members.size());
    double mean = 0;
    for (std::size_t i = 0; i < members.size(); ++i) {
      const auto row = x.row(static_cast<Eigen::Index>(i));
      const double own = (row - parts.centres.row(parts.second[i])).norm(),
                   other = (row - parts.centres.row(1 - parts.second[i])).norm();
      silhouette[i] = (other - own) / std::max({own, other, 1e-300});
      mean += silhouette[i] / static_cast<double>(members.size());
    }
    if (mean < cut) continue;
    for (std::size_t i = 0; i < members.size(); ++i)
      if (parts.second[i] == small)
        verdict.findings.push_back({ids_[members[i]], "", silhouette[i],
                                    fmt::format("in a part of {:.1f} % of class {} that lies apart (silhouette {:.2f})",
                                                100 * share, names_[k], mean)});
  }
  detail::finish_warning(verdict, ids_.size());
  verdict.summary = fmt::format("{} of {} rows are in a small part of their class that lies apart",
                                verdict.findings.size(), ids_.size());
  return verdict;
}

}  // namespace redoubt
