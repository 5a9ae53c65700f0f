#pragma once
#include <cstdint>

namespace redoubt {

enum class OptimizerKind : std::uint8_t {
  sgd,      ///< w -= rate v with v = momentum v + g; with `nesterov` g + momentum v takes the place of v
  adam,     ///< Kingma & Ba, arXiv:1412.6980
  adamw,    ///< Adam with decoupled decay (Loshchilov & Hutter, arXiv:1711.05101)
  rmsprop,  ///< w -= rate g / (sqrt(s) + epsilon) with s = alpha s + (1 - alpha) g^2; then momentum as in sgd
  lion,     ///< w -= rate sign(beta1 m + (1 - beta1) g), decoupled decay (Chen et al., arXiv:2302.06675)
  lbfgs     ///< all rows at once (nn/full_batch.hpp): an epoch is a step along a line; only `weight_decay`, `history`
};

/// How weights move along a gradient g of the mean loss. `weight_decay` applies to weights, never to biases, scales or
/// tables: coupled (g += decay w) for sgd, adam, rmsprop and lbfgs; decoupled (w -= rate decay w) for adamw and lion.
/// Rows of embedding tables move only in steps that use them, with their moments.
struct Optimizer {
  OptimizerKind kind = OptimizerKind::adam;
  double learning_rate = 1e-3;  ///< > 0; Lion wants about a tenth of Adam's, SGD ten times as much
  double weight_decay = 0;      ///< >= 0
  double momentum = 0;          ///< sgd and rmsprop, [0, 1)
  bool nesterov = false;        ///< sgd with momentum > 0
  double beta1 = 0.9;           ///< adam, adamw, lion, [0, 1)
  double beta2 = 0.999;         ///< adam, adamw, lion, [0, 1); Lion's authors use 0.99
  double alpha = 0.99;          ///< rmsprop, [0, 1)
  double epsilon = 1e-8;        ///< > 0
  int history = 10;             ///< lbfgs, 1 to 1000
};

/// Throws Error(invalid_argument) naming the option and its range.
void check(const Optimizer& optimizer);

}  // namespace redoubt
