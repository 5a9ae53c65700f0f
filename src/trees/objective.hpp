#pragma once
// The losses of boosting: where scores start, their derivatives, values of leaves.
#include <memory>
#include <span>
#include <vector>

#include "redoubt/trees/forest.hpp"
#include "trees/boosting_data.hpp"

namespace redoubt::detail {

/// Scores, gradients and hessians are laid out output by output: entry k * rows + r.
class Objective {
 public:
  virtual ~Objective() = default;
  virtual std::size_t outputs() const noexcept { return 1; }
  virtual ForestLink link() const noexcept = 0;
  /// All hessians are 1 and never change.
  virtual bool unit_hessian() const noexcept { return false; }
  /// The constants that fit the training rows best.
  virtual std::vector<float> start() const { return std::vector<float>(outputs()); }
  /// Of at least the training rows.
  virtual void gradients(const float* scores, float* g, float* h) = 0;
  /// Whether it then expects there what it wrote before; else the memory may have served for something else.
  virtual bool keeps_gradient() const noexcept { return false; }
  virtual bool keeps_hessian() const noexcept { return false; }
  /// Whether leaves take `leaf_value` instead of the Newton step.
  virtual bool renews() const noexcept { return false; }
  /// `residuals` (scratch of the caller) is reordered.
  virtual double leaf_value(std::span<const std::uint32_t>, const float* /*scores*/,
                            std::vector<std::pair<double, double>>& /*residuals*/) const {
    return 0;
  }
};

/// `loss` resolved for this target. Error(invalid_argument) if target and loss do not fit, naming the row where a value
/// is outside the loss's range.
Loss resolve_loss(const GradientBoostingOptions& options, const TreeTarget& y);
const char* to_string(Loss loss) noexcept;
/// `data` must outlive it.
std::unique_ptr<Objective> make_objective(const GradientBoostingOptions& options, const BoostingData& data);

/// Quantile of weighted values: without weights interpolated between order statistics (as numpy and LightGBM), with
/// weights the first value at which the cumulated weight exceeds the share. `values` (value, weight) is reordered.
double quantile_of(std::vector<std::pair<double, double>>& values, double share, bool weighted);

std::unique_ptr<Objective> make_lambdarank(const GradientBoostingOptions& options, const BoostingData& data);

}  // namespace redoubt::detail
