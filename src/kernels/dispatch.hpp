#pragma once
#include "kernels/table.hpp"
#include "redoubt/core/cpu.hpp"

namespace redoubt::kernels::detail {

/// Table of the highest level with kernels of its own that is not above `isa`; null means the naive references.
const Table* table_for(Isa isa) noexcept;

/// `table_for(active_isa())`, chosen once; null also if REDOUBT_ISA is not usable.
const Table* table() noexcept;

}  // namespace redoubt::kernels::detail
