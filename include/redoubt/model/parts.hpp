#pragma once
#include <string>
#include <vector>

#include "redoubt/model/model.hpp"
#include "redoubt/model/predictor.hpp"

namespace redoubt {

/// Everything that an estimator hands over to make a Model.
struct ModelParts {
  ModelInfo info;
  Task task = Task::none;
  std::vector<std::string> classes;  ///< classification: names in the order of the outputs
  Shared<const Encoder> encoder;
  Shared<const Predictor> predictor;
};

}  // namespace redoubt
