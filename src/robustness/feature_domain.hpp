#pragma once
// What values the features of a data set can take: attacks and certificates keep to them.
#include <algorithm>
#include <cmath>
#include <cstddef>
#include <vector>

#include "redoubt/data/dataset.hpp"

namespace redoubt::detail {

/// A numeric feature: where it is, how far it varies, and what values are possible.
struct NumericFeature {
  std::size_t column = 0;
  double low = 0, high = 0, deviation = 0;
  bool whole = true;

  double to_domain(double value) const noexcept {
    value = std::clamp(value, low, high);
    return whole ? std::nearbyint(value) : value;
  }
};

/// Those that vary; missing and infinite values do not count.
std::vector<NumericFeature> numeric_features(const Dataset& data);

}  // namespace redoubt::detail
