// LambdaRank: Burges, "From RankNet to LambdaRank to LambdaMART", 2010; truncation and normalisation as LightGBM's.
#include <algorithm>
#include <cmath>

#include "trees/objective.hpp"

namespace redoubt::detail {
namespace {

double gain_of(double grade) { return std::exp2(grade) - 1; }

class Lambdarank final : public Objective {
 public:
  Lambdarank(const GradientBoostingOptions& o, const BoostingData& data)
      : data_(data),
        truncation_(static_cast<std::size_t>(o.rank_truncation)),
        normalise_(o.rank_normalise),
        groups_(group_queries(data.y.queries, data.train)) {
    std::size_t longest = 0;
    for (std::size_t q = 0; q < groups_.count(); ++q) {
      std::vector<double> gains;
      for (const auto r : groups_[q]) gains.push_back(gain_of(data.y.values[r]));
      longest = std::max(longest, gains.size());
      std::sort(gains.begin(), gains.end(), std::greater<>());
      double best = 0;
      for (std::size_t i = 0; i < std::min(gains.size(), truncation_); ++i)
        best += gains[i] / std::log2(2.0 + static_cast<double>(i));
      inverse_best_.push_back(best > 0 ? 1 / best : 0);
    }
    for (std::size_t i = 0; i < longest; ++i) discount_.push_back(1 / std::log2(2.0 + static_cast<double>(i)));
  }
  ForestLink link() const noexcept override { return ForestLink::identity; }
  void gradients(const float* scores, float* g, float* h) override {
    data_.team.parallel_for(groups_.count(), 16, [&](std::size_t begin, std::size_t end) {
      std::vector<std::uint32_t> order;
      std::vector<double> lambda, curvature;
      for (std::size_t q = begin; q < end; ++q) query(q, scores, g, h, order, lambda, curvature);
    });
  }

 private:
  void query(std::size_t q, const float* scores, float* g, float* h, std::vector<std::uint32_t>& order,
             std::vector<double>& lambda, std::vector<double>& curvature) const {
    const auto rows = groups_[q];
    order.assign(rows.begin(), rows.end());
    std::stable_sort(order.begin(), order.end(), [&](auto a, auto b) { return scores[a] > scores[b]; });
    lambda.assign(order.size(), 0);
    curvature.assign(order.size(), 0);
    const bool by_distance = normalise_ && scores[order.front()] != scores[order.back()];
    double sum = 0;
    for (std::size_t i = 0; i + 1 < order.size() && i < truncation_; ++i) {
      const double grade_i = data_.y.values[order[i]];
      for (std::size_t j = i + 1; j < order.size(); ++j) {
        const double grade_j = data_.y.values[order[j]];
        if (grade_i == grade_j) continue;
        const std::size_t high = grade_i > grade_j ? i : j, low = grade_i > grade_j ? j : i;
        const double distance = static_cast<double>(scores[order[high]]) - scores[order[low]];
        double change =
            std::abs(gain_of(grade_i) - gain_of(grade_j)) * (discount_[i] - discount_[j]) * inverse_best_[q];
        if (by_distance) change /= 0.01 + std::abs(distance);
        const double p = 1 / (1 + std::exp(distance));
        lambda[high] -= p * change;
        lambda[low] += p * change;
        curvature[high] += p * (1 - p) * change;
        curvature[low] += p * (1 - p) * change;
        sum += 2 * p * change;
      }
    }
    const double factor = normalise_ && sum > 0 ? std::log2(1 + sum) / sum : 1;
    for (std::size_t i = 0; i < order.size(); ++i) {
      const double w = factor * data_.weight(order[i]);
      g[order[i]] = static_cast<float>(w * lambda[i]);
      h[order[i]] = static_cast<float>(w * curvature[i]);
    }
  }

  const BoostingData& data_;
  std::size_t truncation_;
  bool normalise_;
  QueryGroups groups_;
  std::vector<double> inverse_best_, discount_;
};

}  // namespace

std::unique_ptr<Objective> make_lambdarank(const GradientBoostingOptions& options, const BoostingData& data) {
  return std::make_unique<Lambdarank>(options, data);
}

}  // namespace redoubt::detail
