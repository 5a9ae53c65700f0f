#pragma once
#include <cstddef>
#include <span>
#include <string>
#include <vector>

#include "redoubt/core/shared.hpp"
#include "redoubt/core/tensor.hpp"
#include "redoubt/fwd.hpp"

namespace redoubt {

/// SHAP values of a forest: what each encoded column adds to a row's score, so that base + sum of a row's values is the
/// score. Score k is the sum of the leaf values before the link (for `ForestLink::average` and `isolation` the mean
/// over the trees: the prediction itself, the mean path length).
///
/// Without a background: *path-dependent* TreeSHAP (Lundberg, Erion & Lee, arXiv:1802.03888), what LightGBM and XGBoost
/// report. A column that is not known sends a row both ways, weighted by the covers of the two children (by halves
/// where both are 0). Shapley weights are integrals of products over a path; they are summed by a Gauss-Legendre rule
/// with enough points to be exact, eight rows at a time, in O(nodes x depth / 2) per row and tree, in double precision.
///
/// With a background: *interventional* TreeSHAP (Lundberg et al., Nature MI 2020): a column that is not known takes its
/// value from a background row, averaged over these rows. Exact; cost per row does not grow with the background once
/// its distinct patterns per leaf are found.
///
/// Value type; copies share what was built. The forest must outlive it. Const members are thread-safe, parallel over
/// rows, and give the same bits for a row whatever the other rows and the number of threads.
class TreeShap {
 public:
  /// Builds tables of up to about 128 MiB; of a larger forest they are rebuilt per block of rows. Error(unsupported) if
  /// more than 512 different columns lie on one path.
  explicit TreeShap(const Forest& forest);
  /// background: rows x inputs(), at least one row; read here only. Error(shape_mismatch), Error(invalid_argument).
  TreeShap(const Forest& forest, MatrixView<const float> background, Arena* arena = nullptr);

  std::size_t inputs() const noexcept;   ///< encoded columns
  std::size_t outputs() const noexcept;  ///< scores: shape().outputs of the forest
  /// Per score: its mean over the covers, or over the background.
  std::span<const double> base() const noexcept;

  /// src: encoded rows x inputs(). dst: rows x (outputs() * inputs()), the values of score k from column k * inputs().
  /// Allocates scratch. Error(shape_mismatch) naming both shapes.
  void values(MatrixView<const float> src, MatrixView<double> dst, Arena* arena = nullptr) const;
  Tensor<double> values(MatrixView<const float> src, Arena* arena = nullptr) const;

  /// SHAP interaction values, path-dependent only (else Error(unsupported)): dst is rows x (outputs() * inputs()^2),
  /// per score a symmetric matrix whose row i sums to the SHAP value of column i; what two columns do together is
  /// halved between (i, j) and (j, i), what column i does alone stands at (i, i). Scratch of 64 * inputs()^2 bytes per
  /// thread.
  void interactions(MatrixView<const float> src, MatrixView<double> dst, Arena* arena = nullptr) const;
  Tensor<double> interactions(MatrixView<const float> src, Arena* arena = nullptr) const;

 private:
  struct State;
  Shared<const State> state_;
};

/// SHAP values by the names that users know: encoded columns are summed back to the column they came from.
struct Explanation {
  std::vector<std::string> columns;  ///< feature columns of the model
  std::vector<std::string> outputs;  ///< per score: the class it speaks for, or "value"
  std::vector<double> base;          ///< per score
  Tensor<double> values;             ///< rows x outputs x columns

  std::size_t rows() const noexcept { return values.rows(); }
  std::span<const double> row(std::size_t row, std::size_t output = 0) const noexcept;
  /// base + sum of the row's values: the model's score before its link.
  double score(std::size_t row, std::size_t output = 0) const noexcept;
  /// Per column: mean of |value| over the rows.
  std::vector<double> importance(std::size_t output = 0) const;
  /// Columns of a row, largest |value| first.
  std::vector<std::size_t> order(std::size_t row, std::size_t output = 0) const;
  /// One row in words: "genuine 1.31 = base 0.20 + age 0.61 - state 0.12 + 3 others 0.62".
  std::string text(std::size_t row, std::size_t output = 0, std::size_t top = 5) const;
};

/// Explains the predictions of a model that is a forest: path-dependent, or against the rows of `background`. Two
/// classes have one score, that of the second. Building costs as much as explaining some ten to a hundred rows, so keep
/// one for a service. Holds the model; copies share what was built; const members are thread-safe.
class Explainer {
 public:
  /// Error(unsupported) naming the form if the model is not a forest.
  explicit Explainer(const Model& model);
  /// Columns of `background` are matched by name, as everywhere. Error(invalid_argument) if it has no rows.
  Explainer(const Model& model, const Dataset& background, Arena* arena = nullptr);

  Explanation explain(const Dataset& data, Arena* arena = nullptr) const;
  /// Raw rows (see Encoder), rows x model.inputs(). Error(unsupported) for models with text columns.
  Explanation explain(MatrixView<const float> raw, Arena* arena = nullptr) const;

 private:
  struct State;
  Explanation explain_encoded(MatrixView<const float> rows, Arena* arena) const;
  Shared<const State> state_;
};

/// Explainer(model).explain(data): for one use.
Explanation explain(const Model& model, const Dataset& data, Arena* arena = nullptr);

}  // namespace redoubt
