#include "redoubt/nn/layer.hpp"

namespace redoubt {

Layer Layer::named(std::string text) const& {
  Layer copy = *this;
  copy.name = static_cast<std::string&&>(text);
  return copy;
}

namespace layer {

Dense::operator Layer() const {
  return {.kind = "dense", .attributes = {double(units), per_position ? 1.0 : 0.0}, .initialiser = initialiser};
}
Output::operator Layer() const { return {.kind = "output", .initialiser = initialiser}; }
Conv2d::operator Layer() const {
  return {.kind = "conv2d",
          .attributes = {double(filters), double(kernel), double(kernel), double(stride), double(pad), double(dilation),
                         double(groups)},
          .initialiser = initialiser};
}
ConvTranspose2d::operator Layer() const {
  return {.kind = "conv_transpose2d",
          .attributes = {double(filters), double(kernel), double(kernel), double(stride), double(pad),
                         double(output_pad), double(dilation), double(groups)},
          .initialiser = initialiser};
}
MaxPool2d::operator Layer() const {
  return {.kind = "max_pool2d", .attributes = {double(kernel), double(kernel), double(stride), double(pad)}};
}
AveragePool2d::operator Layer() const {
  return {.kind = "average_pool2d", .attributes = {double(kernel), double(kernel), double(stride), double(pad)}};
}
GlobalMaxPool::operator Layer() const { return {.kind = "global_max_pool"}; }
GlobalAveragePool::operator Layer() const { return {.kind = "global_average_pool"}; }
BatchNorm::operator Layer() const { return {.kind = "batch_norm", .attributes = {epsilon, momentum}}; }
LayerNorm::operator Layer() const { return {.kind = "layer_norm", .attributes = {epsilon, 1}}; }
RmsNorm::operator Layer() const { return {.kind = "rms_norm", .attributes = {epsilon}}; }
Dropout::operator Layer() const { return {.kind = "dropout", .attributes = {rate}}; }
Embedding::operator Layer() const { return {.kind = "embedding", .attributes = {double(entries), double(width)}}; }
EmbeddingBag::operator Layer() const {
  return {.kind = "embedding_bag", .attributes = {double(entries), double(width), mean ? 1.0 : 0.0}};
}
Gru::operator Layer() const { return {.kind = "gru", .attributes = {double(units)}}; }
Lstm::operator Layer() const { return {.kind = "lstm", .attributes = {double(units)}}; }
LastPosition::operator Layer() const { return {.kind = "last_position"}; }
MultiHeadAttention::operator Layer() const {
  return {
      .kind = "multi_head_attention", .attributes = {double(heads), causal ? 1.0 : 0.0}, .initialiser = initialiser};
}
Residual::operator Layer() const { return {.kind = "residual", .inside = inside}; }
Flatten::operator Layer() const { return {.kind = "flatten"}; }
Reshape::operator Layer() const { return {.kind = "reshape", .attributes = {shape.begin(), shape.end()}}; }
LeakyReLU::operator Layer() const { return {.kind = "leaky_relu", .attributes = {alpha}}; }
ReLU::operator Layer() const { return {.kind = "relu"}; }
GELU::operator Layer() const { return {.kind = "gelu"}; }
SiLU::operator Layer() const { return {.kind = "silu"}; }
Sigmoid::operator Layer() const { return {.kind = "sigmoid"}; }
Tanh::operator Layer() const { return {.kind = "tanh"}; }
Softmax::operator Layer() const { return {.kind = "softmax"}; }

}  // namespace layer
}  // namespace redoubt
