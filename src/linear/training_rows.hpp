#pragma once
#include <string_view>
#include <vector>

#include "redoubt/core/shared.hpp"
#include "redoubt/core/tensor.hpp"
#include "redoubt/data/dataset.hpp"
#include "redoubt/data/encoder.hpp"

namespace redoubt::detail {

/// Encoded training inputs of a linear model, all finite, and one weight per row with a positive sum.
struct TrainingRows {
  Shared<const Encoder> encoder;
  Tensor<float> inputs;
  std::vector<double> weights;
};

/// Encodes and checks; `algorithm` starts every message. Throws as the `fit` members document.
TrainingRows training_rows(const Dataset& data, const EncoderOptions& options, std::string_view algorithm);

/// Throws Error(invalid_argument) unless `l2` is finite and not negative.
void require_penalty(double l2, std::string_view algorithm);

}  // namespace redoubt::detail
