#pragma once
#include <cstddef>
#include <cstdint>
#include <vector>

#include "redoubt/core/function_ref.hpp"
#include "redoubt/fwd.hpp"
#include "redoubt/model/model.hpp"

namespace redoubt {

/// A model of the rows that were believed.
struct RobustFit {
  Model model;
  std::vector<RowId> removed;  ///< in dataset order
  int rounds = 0;              ///< trainings of the run that was kept
  double loss = 0;             ///< mean loss of the model on the rows that it was trained on
};

struct TrimOptions {
  double poison = 0.1;  ///< share of the rows that is left out: at least what is poisoned, in (0, 0.5)
  int rounds = 30;      ///< trainings per start, at least 1
  int starts = 4;       ///< the first from all rows, further ones from random rows; the lowest loss wins; at least 1
  std::uint64_t seed = 0;
};

/// Trains and keeps the rows of least loss, again and again, until they are the same ones (TRIM; Jagielski et al., IEEE
/// S&P 2018): squared error for regression, log loss for classes. Meant for models that cannot fit every row by itself,
/// as linear ones; a forest learns poison by heart, and it then looks harmless. Leaves out as many honest rows as
/// there is less poison than said. `fit` must be deterministic. Error(invalid_argument) naming the option or for data
/// without a target; errors of `fit` pass through.
RobustFit trim(const Dataset& data, function_ref<Model(const Dataset&)> fit, const TrimOptions& options = {});

struct SeverOptions {
  double poison = 0.05;  ///< share of the rows that is left out over all rounds, in (0, 0.5)
  int rounds = 4;        ///< at least 1; each takes an equal share
};

/// Trains, and leaves out the rows whose gradients lie farthest along the direction in which the centred gradients
/// spread most, again and again (Sever; Diakonikolas et al., ICML 2019): rows that pull a model together do so in
/// one direction. Gradients are those of a linear last layer on the encoded row: (prediction - target) * row. Needs
/// encoded rows in memory. Otherwise as `trim`.
RobustFit sever(const Dataset& data, function_ref<Model(const Dataset&)> fit, const SeverOptions& options = {});

}  // namespace redoubt
