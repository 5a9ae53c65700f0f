#pragma once
#include <limits>

namespace redoubt {

/// What an attacker can do to one encoded column.
struct FeatureRule {
  bool fixed = false;  ///< cannot change
  bool whole = false;  ///< takes whole numbers only
  float lower = -std::numeric_limits<float>::infinity(), upper = std::numeric_limits<float>::infinity();
  double unit = 1;  ///< a radius of r moves the column by r * unit; > 0
};

}  // namespace redoubt
