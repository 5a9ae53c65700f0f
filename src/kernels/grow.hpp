#pragma once
#include "kernels/grow_table.hpp"
#include "redoubt/core/cpu.hpp"

namespace redoubt::kernels::detail {

/// Kernels of the highest level that has some and is not above `isa`; at least the naive ones.
const GrowTable& grow_table_for(Isa isa) noexcept;

/// `grow_table_for(active_isa())`, chosen once; the naive ones if REDOUBT_ISA is not usable.
const GrowTable& grow_table() noexcept;

}  // namespace redoubt::kernels::detail
