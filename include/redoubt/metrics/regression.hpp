#pragma once
#include <span>

namespace redoubt {

// `weights`, sizes and errors as in classification.hpp; a truth or prediction that is NaN is Error(invalid_argument).

/// Root of the mean squared error.
double rmse(std::span<const double> truth, std::span<const double> predicted, std::span<const double> weights = {});
/// Mean absolute error.
double mae(std::span<const double> truth, std::span<const double> predicted, std::span<const double> weights = {});
/// 1 - squared error / variance of the truth. NaN if the truth is constant (scikit-learn says 0 or 1 there).
double r2(std::span<const double> truth, std::span<const double> predicted, std::span<const double> weights = {});

}  // namespace redoubt
