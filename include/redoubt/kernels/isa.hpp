#pragma once
#include "redoubt/core/cpu.hpp"

namespace redoubt::kernels {

/// Instruction-set level of the kernels that this process runs: the highest level that has kernels of its own
/// and is not above `active_isa()`. AMX has kernels of bf16 and int8 products only, which are chosen apart, so
/// at `amx` this returns avx512. Throws as `active_isa()` if REDOUBT_ISA is not usable; kernels that are noexcept run
/// the naive reference in that case.
Isa selected_isa();

}  // namespace redoubt::kernels
