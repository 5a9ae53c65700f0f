#pragma once
#include <cstddef>
#include <string>
#include <string_view>

#include "redoubt/core/function_ref.hpp"
#include "redoubt/nn/neural_network.hpp"

namespace redoubt::detail {

/// What estimators of networks differ in.
struct NetworkTask {
  std::string_view algorithm;  ///< as in ModelInfo, and for messages
  std::string options;         ///< as in ModelInfo; "epochs_run" is added
  /// Graph for `inputs` encoded columns and `outputs` classes or values.
  function_ref<Graph(std::size_t inputs, std::size_t outputs, bool classification)> make;
};

/// The fit of every network. Checks `options` except those of the task.
Model fit_network(const Dataset& data, const NeuralNetworkOptions& options, const NetworkTask& task);

}  // namespace redoubt::detail
