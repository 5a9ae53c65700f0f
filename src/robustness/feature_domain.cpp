#include "robustness/feature_domain.hpp"

namespace redoubt::detail {

std::vector<NumericFeature> numeric_features(const Dataset& data) {
  std::vector<NumericFeature> features;
  for (std::size_t c : data.schema().features()) {
    if (data.schema()[c].type != ColumnType::numeric) continue;
    NumericFeature f{.column = c, .low = INFINITY, .high = -INFINITY};
    double sum = 0, square = 0;
    std::size_t n = 0;
    for (double v : data.column(c).numbers) {
      if (!std::isfinite(v)) continue;
      f.low = std::min(f.low, v), f.high = std::max(f.high, v);
      f.whole = f.whole && v == std::nearbyint(v);
      sum += v, ++n;
    }
    if (n == 0) continue;
    const double mean = sum / static_cast<double>(n);
    for (double v : data.column(c).numbers)
      if (std::isfinite(v)) square += (v - mean) * (v - mean);
    f.deviation = std::sqrt(square / static_cast<double>(n));
    if (f.deviation > 0) features.push_back(f);
  }
  return features;
}

}  // namespace redoubt::detail
