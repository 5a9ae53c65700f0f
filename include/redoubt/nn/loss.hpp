#pragma once
#include <cstddef>
#include <cstdint>
#include <span>
#include <string>
#include <vector>

#include "redoubt/core/view.hpp"

namespace redoubt {

enum class LossKind : std::uint8_t {
  cross_entropy,         ///< -log softmax(s)[y], one label per row
  focal,                 ///< -(1 - p)^gamma log p with p = softmax(s)[y] (Lin et al., arXiv:1708.02002)
  hinge,                 ///< sum over k != y of max(0, 1 - s[y] + s[k]), divided by the number of scores
  binary_cross_entropy,  ///< mean over scores of the loss of sigmoid(s); one target in [0, 1] per score
  mse,                   ///< mean over scores of (s - t)^2
  huber,                 ///< mean over scores of r^2 / 2 within delta, else delta (|r| - delta / 2)
  /// The scores embed the row; each row of a batch is an anchor: max(0, margin + |a - p| - |a - n|) with p the farthest
  /// row of its label in the batch and n the nearest of another one; 0 if it has no such rows. Sample with several rows
  /// per label. ("Batch hard", Hermans et al., arXiv:1703.07737.) Work is quadratic in the batch.
  triplet,
  automatic  ///< estimators only: cross_entropy for classes, else mse
};

/// What training minimises for one head of a network. Formed on scores: the values before a softmax.
struct NetworkLoss {
  LossKind kind = LossKind::cross_entropy;
  double smoothing =
      0;              ///< cross_entropy: the target is (1 - smoothing) of the label and smoothing of all alike; [0, 1)
  double gamma = 2;   ///< focal, >= 0
  double delta = 1;   ///< huber, > 0
  double margin = 1;  ///< triplet, > 0
  double weight = 1;  ///< of this head among several, > 0
  std::vector<double> class_weights{};  ///< kinds with labels: multiplies the loss of each label's rows; empty = all 1
};

/// The target of a row is one label, a whole number; else it is a value per score.
constexpr bool has_labels(LossKind kind) noexcept { return kind <= LossKind::hinge || kind == LossKind::triplet; }

/// One head: scores [first, first + size) of a network and their loss.
struct LossHead {
  std::string name;
  std::size_t first = 0, size = 0;
  NetworkLoss loss;
  /// Columns of the target matrix: 1 for kinds with labels (the label as a float), else `size`.
  std::size_t targets() const noexcept { return has_labels(loss.kind) ? 1 : size; }
};

/// Loss of one row, for all kinds but triplet. `gradient` is empty, or receives dloss/dscores. The label is target[0],
/// a whole number below scores.size(). Allocates nothing; the sizes and the label are the caller's duty. Thread-safe.
double loss_of_row(const NetworkLoss& loss, std::span<const float> scores, std::span<const float> target,
                   std::span<float> gradient) noexcept;

/// Sum of the losses of a batch, for triplet. labels: one per row; weights of the anchors, empty = all 1. `gradient`
/// has no data, or is added share times dloss/dscores. Allocates nothing; sizes are the caller's duty. Thread-safe.
double triplet_loss(const NetworkLoss& loss, MatrixView<const float> scores, MatrixView<const float> labels,
                    std::span<const float> weights, double share, MatrixView<float> gradient) noexcept;

}  // namespace redoubt
