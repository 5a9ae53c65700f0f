#pragma once
#include <cstdint>
#include <vector>

#include "redoubt/model/permutation.hpp"

namespace redoubt {

enum class Importance : std::uint8_t {
  gain,   ///< sum over the splits on a column of what they gained
  split,  ///< number of splits
  cover   ///< sum over the splits of the training weight that passed through
};

/// Per encoded column of any forest. Gains are not kept by every source of forests: those are zeros.
std::vector<double> importance(const Forest& forest, Importance kind = Importance::gain);

/// Per feature column of a tree model, in the order of `model.schema()`, summed over the encoded columns that came from
/// it. Error(unsupported) if the model is no forest. See `permutation_importance` for one that works on any model.
std::vector<ColumnImportance> importance(const Model& model, Importance kind = Importance::gain);

}  // namespace redoubt
