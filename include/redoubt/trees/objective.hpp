#pragma once
#include <cstddef>
#include <cstdint>
#include <span>

#include "redoubt/core/view.hpp"
#include "redoubt/trees/target.hpp"

namespace redoubt {

enum class ForestLink : std::uint8_t;

/// What boosting minimises. s is the score (sum of leaves), y the target, w the weight; g and h are its first and
/// second derivative by s, the latter as LightGBM has it.
enum class Loss : std::uint8_t {
  automatic,   ///< squared for regression; logistic for two classes, softmax for more
  squared,     ///< (s - y)^2 / 2; starts at the mean
  absolute,    ///< |s - y|; h = 1, then each leaf becomes the median residual; starts at the median
  huber,       ///< squared up to `huber_delta`, absolute beyond; h = 1; starts at the mean
  quantile,    ///< pinball loss of `quantile`; h = 1, then each leaf becomes that quantile of its residuals
  poisson,     ///< e^s - y s, y >= 0; h = e^(s + poisson_max_delta); predicts e^s
  gamma,       ///< y e^-s + s, y > 0; predicts e^s
  tweedie,     ///< variance ~ mean^tweedie_power, y >= 0; predicts e^s
  logistic,    ///< two classes: log(1 + e^-s) of the true side; starts at the log-odds
  softmax,     ///< log loss of K classes; h = K/(K-1) p (1-p) (Friedman 2001)
  one_vs_all,  ///< K logistic losses; predicts their probabilities divided by their sum
  lambdarank   ///< pairs of a query weighed by the change of NDCG (Burges 2010); predicts a score
};

/// A loss of the user's own. Members are called from one thread at a time; an exception ends the fit and is passed on.
class CustomObjective {
 public:
  virtual ~CustomObjective() = default;
  /// Scores per row; each gets a tree in every round.
  virtual std::size_t outputs(const TreeTarget& target) const;
  /// How scores become predictions; the default is the identity. Classification needs sigmoid (one output), softmax or
  /// one_vs_all (one per class).
  virtual ForestLink link() const;
  /// Constants that all scores start from; zeros on entry. `rows`: those that are trained on.
  virtual void start(const TreeTarget& target, std::span<const std::uint32_t> rows, std::span<float> base) const;
  /// First and second derivative of the loss of every row by each of its scores, without the row's weight, which is
  /// applied afterwards. The matrices are outputs x rows. Error(invalid_argument) naming the row follows if a value of
  /// a training row is not finite or a hessian is negative.
  virtual void gradients(const TreeTarget& target, MatrixView<const float> scores, MatrixView<float> gradient,
                         MatrixView<float> hessian) const = 0;
};

}  // namespace redoubt
