#pragma once
#include <span>

#include "redoubt/core/function_ref.hpp"
#include "redoubt/fwd.hpp"

namespace redoubt {

struct LbfgsOptions {
  int history = 10;           ///< pairs (step, gradient change) that are kept
  int max_iterations = 1000;  ///< accepted steps
  double tolerance = 1e-6;    ///< stop when max_i |gradient_i| is at most this
  int max_line_search = 40;   ///< evaluations in one line search
  double noise = 1e-14;       ///< relative error of a value: smaller rises pass for falls, as near the minimum
  ProgressSink* progress = nullptr;
};

struct LbfgsResult;

/// Called after every accepted step; false ends the search there.
using LbfgsStep = function_ref<bool(std::span<const double> x, const LbfgsResult& result)>;

struct LbfgsResult {
  double value = 0;         ///< objective at the returned point
  double gradient_max = 0;  ///< max_i |gradient_i| there
  int iterations = 0;
  int evaluations = 0;
  bool converged = false;  ///< gradient_max <= tolerance; otherwise iterations or floating-point precision ran out
};

/// Value at `x`; writes the gradient (same size).
using LbfgsObjective = function_ref<double(std::span<const double> x, std::span<double> gradient)>;

/// Minimises a smooth function from the start point in `x`, which is overwritten by the best point found.
/// Limited-memory BFGS: two-loop recursion (Nocedal, "Updating quasi-Newton matrices with limited storage", 1980)
/// and a line search for the strong Wolfe conditions with c1 = 1e-4, c2 = 0.9 (Nocedal & Wright, "Numerical
/// optimization", algorithms 3.5 and 3.6). A trial point where the value is not finite counts as too far.
/// `step`, if given, sees every accepted point; the objective was evaluated there last.
/// Throws Error(invalid_argument) for bad options or a start point without a finite value and gradient; an exception of
/// the objective passes through and leaves `x` as it was. Allocates only at the start, 2 history + 5 vectors.
LbfgsResult lbfgs_minimise(std::span<double> x, LbfgsObjective objective, const LbfgsOptions& options = {},
                           const LbfgsStep* step = nullptr);

}  // namespace redoubt
