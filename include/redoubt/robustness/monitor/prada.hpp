#pragma once
#include <cstddef>
#include <cstdint>
#include <span>

#include "redoubt/core/error.hpp"
#include "redoubt/core/shared.hpp"
#include "redoubt/core/view.hpp"

namespace redoubt {

/// W of the Shapiro-Wilk test of normality, coefficients after Royston (1995, AS R94): near 1 for normal values. At
/// least 3 values, not all equal; else NaN.
double shapiro_wilk(std::span<const double> values);

struct PradaOptions {
  double delta = 0.95;             ///< W below it is an alarm; in (0, 1)
  std::size_t fewest = 100;        ///< distances before the first test; at least 3
  std::size_t every = 10;          ///< queries of a caller between tests
  std::size_t most_rows = 2000;    ///< growing set per caller and class; a full one grows no more
  std::size_t most_values = 5000;  ///< latest distances that are tested; the approximation holds to 5000
  std::size_t callers = 1024;      ///< remembered; the longest silent one is forgotten first
};

struct PradaVerdict {
  errc status = errc::ok;   ///< shape_mismatch: not looked at
  bool suspicious = false;  ///< since the caller's latest test
  double w = 1;             ///< of that test; 1 before it
};

/// Detection of model extraction (Juuti et al., "PRADA", EuroS&P 2019), here to compare QueryMonitor with: distances of
/// a caller's queries to the nearest earlier one of the same answer are close to normal for benign traffic, and not for
/// synthetic queries. Its assumption fails on much real traffic, and a caller is not judged before `fewest` queries.
///
/// Per query a pass over the caller's growing set. Allocates within the bounds of the options; not thread-safe.
class Prada {
 public:
  /// `reference` gives the deviation of each column, its unit of distance. Error(invalid_argument) names the option.
  explicit Prada(MatrixView<const float> reference, const PradaOptions& options = {});
  /// `label`: the class that was answered.
  PradaVerdict observe(std::uint64_t caller, std::span<const float> row, std::size_t label);

 private:
  struct State;
  Shared<State> state_;
};

}  // namespace redoubt
