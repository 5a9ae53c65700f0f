#pragma once
#include <cstddef>
#include <vector>

namespace redoubt::detail {

/// Projections on the top right singular vector of z (rows x d), by power iteration on z'z from the longest row.
std::vector<double> top_projections(const std::vector<double>& z, std::size_t rows, std::size_t d);

}  // namespace redoubt::detail
