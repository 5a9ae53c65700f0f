#pragma once
#include <cstdint>
#include <utility>
#include <vector>

#include "redoubt/core/view.hpp"

namespace redoubt {
class Arena;
class BinnedMatrix;
}  // namespace redoubt

namespace redoubt::detail {

/// Per cut of a numeric column (after bin b): the rows of bins below `first` stay left and those from `second` on stay
/// right, whatever a change within the radius does.
using RobustCuts = std::vector<std::pair<std::uint16_t, std::uint16_t>>;

/// For every column of x (rows x columns, as binned); `radius` counts standard deviations of the column's values.
/// Columns of categories have none. A bin is taken to cross as a whole if its row next to the cut can.
std::vector<RobustCuts> robust_cuts(const BinnedMatrix& bins, MatrixView<const float> x, double radius, Arena* arena);

}  // namespace redoubt::detail
