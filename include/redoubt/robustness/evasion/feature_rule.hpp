#pragma once
#include <limits>

namespace redoubt {

/// What an attacker can do to one encoded column.
struct FeatureRule {
  bool fixed = false;  ///< cannot change
  bool whole = false;  ///< takes whole numbers only
  float lower = -std::numeric_limits<float>::infinity(), upper = std::numeric_limits<float>::infinity();
  double unit = 1;  ///< a radius of r moves the column by r * unit; > 0
  /// Above 0: columns of the same number are the categories of one feature, of which a row holds exactly one as 1, the
  /// others as 0. Attacks change the category as a whole, which moves two columns by 1: it needs a radius of 1 / unit.
  /// Certificates look at each column by itself, so they hold for more than attacks do.
  int group = 0;
};

}  // namespace redoubt
