#pragma once
#include <cstddef>
#include <cstdint>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "redoubt/core/view.hpp"
#include "redoubt/model/predictor.hpp"

namespace redoubt {

/// How the scores x W + b become outputs.
enum class LinearLink : std::uint8_t {
  identity,  ///< the scores: regression
  sigmoid,   ///< one score s; outputs {1 - sigmoid(s), sigmoid(s)}
  softmax    ///< one score per class
};

/// The learned form of every linear model. Sums are formed in double precision, one row at a time, so the one-row
/// and the batch form give the same bits at any thread count; zero inputs cost nothing.
class LinearForm final : public Predictor {
 public:
  /// weights: inputs x scores, row-major; bias: one value per score. Throws Error(shape_mismatch) naming both sizes,
  /// or Error(corrupt) if a value is not finite.
  LinearForm(std::vector<float> weights, std::vector<float> bias, LinearLink link);

  /// inputs x scores.
  MatrixView<const float> weights() const noexcept { return {weights_.data(), inputs(), score_count()}; }
  std::span<const float> bias() const noexcept { return bias_; }
  LinearLink link() const noexcept { return link_; }
  std::size_t score_count() const noexcept { return bias_.size(); }

  std::string_view form() const noexcept override { return "linear"; }
  std::size_t inputs() const noexcept override { return weights_.size() / bias_.size(); }
  std::size_t outputs() const noexcept override { return link_ == LinearLink::sigmoid ? 2 : bias_.size(); }
  void predict(std::span<const float> src, std::span<float> dst, std::span<float> scratch) const noexcept override;
  void save(Archive& archive) const override;
  std::string to_source(std::string_view name) const override;

  /// Scores before the link, one encoded row: dst has score_count() floats, clamped to finite ones. No allocation.
  void scores(std::span<const float> src, std::span<float> dst) const noexcept;
  /// Gradient of sum_k score_gradient[k] * score_k with respect to the row; dst has inputs() floats. It does not
  /// depend on the row. No allocation.
  void input_gradient(std::span<const float> score_gradient, std::span<float> dst) const noexcept;
  /// Cross-entropy -log p(label) of one row; writes its gradient with respect to the row (inputs() floats).
  /// For the identity link the label is the score that is to grow: the loss is -score. No allocation;
  /// label < outputs() is the caller's duty.
  float loss_gradient(std::span<const float> src, std::size_t label, std::span<float> dst) const noexcept;

 private:
  std::vector<float> weights_;
  std::vector<float> bias_;
  LinearLink link_;
};

}  // namespace redoubt
