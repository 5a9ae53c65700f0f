#pragma once
// Scores and input gradients of the forms that have them, many rows at a time.
#include <memory>

#include "redoubt/core/view.hpp"
#include "redoubt/model/predictor.hpp"

namespace redoubt::detail {

/// Not thread-safe: one per block of work.
class GradientTarget {
 public:
  virtual ~GradientTarget() = default;
  /// Of one call, at most.
  virtual std::size_t rows() const noexcept = 0;
  virtual std::size_t classes() const noexcept = 0;
  /// rows x classes.
  virtual void scores(MatrixView<const float> rows, MatrixView<float> dst) = 0;
  /// After scores() of the same rows: gradient of sum_k upstream[r,k] * score[r,k] with respect to each row.
  virtual void backward(MatrixView<const float> rows, MatrixView<const float> upstream, MatrixView<float> dst) = 0;
};

/// What is made ready once for all blocks; must outlive their targets. Thread-safe.
class GradientForm {
 public:
  virtual ~GradientForm() = default;
  virtual std::unique_ptr<GradientTarget> target() const = 0;
};

/// Error(unsupported) naming the form if it has no gradients. The model must outlive it.
std::unique_ptr<const GradientForm> gradient_form(const Predictor& model);

}  // namespace redoubt::detail
