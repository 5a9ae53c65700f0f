#pragma once
#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

#include "redoubt/nn/op.hpp"

namespace redoubt {

/// A layer whose input is not known yet: what `Sequential` lists and `GraphBuilder::add` applies. `kind` is the name of
/// an op, registered ones included, or of a group of ops that the layers below stand for.
struct Layer {
  std::string kind;
  std::vector<double> attributes{};  ///< in the order of Op::attributes(); those not given take their fallback
  Initialiser initialiser = Initialiser::standard;
  std::string name{};           ///< for messages; empty: the kind
  std::vector<Layer> inside{};  ///< of "residual"
  Layer named(std::string text) const&;
};

/// The layers by name, for `using namespace redoubt::layer`. Each converts to a `Layer`.
namespace layer {

/// y = x W + b. Inputs of higher rank are flattened, or with `per_position` the layer applies to the last axis.
struct Dense {
  std::uint32_t units;
  bool per_position = false;
  Initialiser initialiser = Initialiser::standard;  ///< Glorot, normal
  operator Layer() const;
};
/// Dense with as many units as the target has classes, or 1: for estimators, which know that number.
struct Output {
  Initialiser initialiser = Initialiser::standard;
  operator Layer() const;
};
/// Images of height x width x channels. Padding is zero and equal on all sides.
struct Conv2d {
  std::uint32_t filters, kernel = 3, stride = 1, pad = 0, dilation = 1, groups = 1;
  Initialiser initialiser = Initialiser::standard;  ///< He, normal
  operator Layer() const;
};
struct ConvTranspose2d {
  std::uint32_t filters, kernel = 3, stride = 1, pad = 0, output_pad = 0, dilation = 1, groups = 1;
  Initialiser initialiser = Initialiser::standard;  ///< He, normal
  operator Layer() const;
};
struct MaxPool2d {
  std::uint32_t kernel = 2, stride = 2, pad = 0;
  operator Layer() const;
};
struct AveragePool2d {
  std::uint32_t kernel = 2, stride = 2, pad = 0;
  operator Layer() const;
};
/// One value per channel: over all positions of an image or a sequence.
struct GlobalMaxPool {
  operator Layer() const;
};
struct GlobalAveragePool {
  operator Layer() const;
};
struct BatchNorm {
  double epsilon = 1e-5, momentum = 0.1;
  operator Layer() const;
};
/// Over the last axis; over the whole row if that is the only one.
struct LayerNorm {
  double epsilon = 1e-5;
  operator Layer() const;
};
struct RmsNorm {
  double epsilon = 1e-5;
  operator Layer() const;
};
struct Dropout {
  double rate = 0.5;
  operator Layer() const;
};
/// Ids (floats that hold whole numbers) to rows of a learned table.
struct Embedding {
  std::uint32_t entries, width;
  operator Layer() const;
};
/// Their mean or sum; ids outside [0, entries) pad.
struct EmbeddingBag {
  std::uint32_t entries, width;
  bool mean = true;
  operator Layer() const;
};
/// Positions x features to positions x units; follow with `LastPosition` for one answer per sequence.
struct Gru {
  std::uint32_t units;
  operator Layer() const;
};
struct Lstm {
  std::uint32_t units;
  operator Layer() const;
};
struct LastPosition {
  operator Layer() const;
};
/// Self-attention of positions x width with learned projections of queries, keys, values and output.
struct MultiHeadAttention {
  std::uint32_t heads = 1;
  bool causal = false;
  Initialiser initialiser = Initialiser::standard;
  operator Layer() const;
};
/// x + f(x), with f the layers inside.
struct Residual {
  std::vector<Layer> inside;
  operator Layer() const;
};
struct Flatten {
  operator Layer() const;
};
struct Reshape {
  OpShape shape;
  operator Layer() const;
};
struct LeakyReLU {
  double alpha = 0.01;
  operator Layer() const;
};
struct ReLU {
  operator Layer() const;
};
struct GELU {
  operator Layer() const;
};
struct SiLU {
  operator Layer() const;
};
struct Sigmoid {
  operator Layer() const;
};
struct Tanh {
  operator Layer() const;
};
/// Only as the last layer; estimators of classes add it themselves.
struct Softmax {
  operator Layer() const;
};

}  // namespace layer
}  // namespace redoubt
