#include "trees/boosting_data.hpp"

#include <fmt/format.h>

#include <algorithm>
#include <numeric>
#include <unordered_map>

#include "redoubt/core/error.hpp"

namespace redoubt::detail {

QueryGroups group_queries(std::span<const std::uint32_t> queries, RowList rows) {
  std::unordered_map<std::uint32_t, std::uint32_t> numbers;
  std::vector<std::uint32_t> number(rows.size());
  std::vector<std::size_t> sizes;
  for (std::size_t i = 0; i < rows.size(); ++i) {
    number[i] = numbers.try_emplace(queries[rows[i]], static_cast<std::uint32_t>(numbers.size())).first->second;
    if (number[i] == sizes.size()) sizes.push_back(0);
    ++sizes[number[i]];
  }
  QueryGroups groups;
  for (const auto size : sizes) groups.offsets.push_back(groups.offsets.back() + size);
  groups.rows.resize(rows.size());
  std::vector<std::size_t> next(groups.offsets.begin(), groups.offsets.end() - 1);
  for (std::size_t i = 0; i < rows.size(); ++i) groups.rows[next[number[i]]++] = rows[i];
  return groups;
}

BoostingData::BoostingData(const GradientBoostingOptions& options, const TreeTarget& target, std::size_t count,
                           RowList train_rows, Team& threads)
    : y(target), rows(count), train(train_rows), keep_hessian(!options.goss), team(threads) {
  for (std::size_t i = 0; i < train.size();) {
    blocks.push_back(train[i] / boosting_block * boosting_block);
    i = train.first_from(blocks.back() + boosting_block);
  }
  if (!y.weights.empty()) weights.assign(y.weights.begin(), y.weights.end());
  if (options.class_weights.empty() && !options.balance_classes) return;
  if (y.task != Task::classification)
    fail(errc::invalid_argument, "GradientBoosting: class_weights and balance_classes need a classification target");
  std::vector<double> factors(y.classes, 1);
  if (!options.class_weights.empty()) {
    if (options.class_weights.size() != y.classes)
      fail(errc::invalid_argument,
           fmt::format("GradientBoosting: class_weights has {} entries, must have one for each of the {} classes",
                       options.class_weights.size(), y.classes));
    factors = options.class_weights;
  }
  if (options.balance_classes) {
    std::vector<double> total(y.classes);
    double sum = 0;
    for (std::size_t i = 0; i < train.size(); ++i) {
      const std::uint32_t r = train[i];
      const double w = y.weights.empty() ? 1 : y.weights[r];
      total[static_cast<std::size_t>(y.labels[r])] += w;
      sum += w;
    }
    for (std::size_t k = 0; k < y.classes; ++k)
      if (total[k] > 0) factors[k] *= sum / (static_cast<double>(y.classes) * total[k]);
  }
  if (weights.empty()) weights.assign(rows, 1.0f);
  for (std::size_t r = 0; r < rows; ++r)
    if (y.labels[r] >= 0) weights[r] = static_cast<float>(weights[r] * factors[static_cast<std::size_t>(y.labels[r])]);
}

std::vector<double> BoostingData::class_shares() const {
  std::vector<double> shares = totals(
      y.classes, [&](std::uint32_t r, double* sums) { sums[static_cast<std::size_t>(y.labels[r])] += weight(r); });
  const double total = std::accumulate(shares.begin(), shares.end(), 0.0);
  for (double& share : shares) share /= total;
  return shares;
}

}  // namespace redoubt::detail
