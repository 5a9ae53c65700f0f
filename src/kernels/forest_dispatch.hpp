#pragma once
#include "kernels/forest_block_table.hpp"
#include "kernels/forest_table.hpp"
#include "redoubt/core/cpu.hpp"

namespace redoubt::kernels::detail {

/// The naive reference: every kernel but the sweep, for blocks of 64 rows.
extern const ForestTable forest_naive_table;

/// Table for large blocks of the highest level that has one and is not above `isa`.
const ForestTable& forest_table(Isa isa) noexcept;
/// The same for smaller blocks; it may be the same table.
const ForestTable& forest_narrow_table(Isa isa) noexcept;

/// The naive reference of the block engine.
extern const ForestBlockTable forest_block_naive_table;
const ForestBlockTable& forest_block_table(Isa isa) noexcept;

}  // namespace redoubt::kernels::detail
