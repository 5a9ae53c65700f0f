#pragma once
#include "kernels/confident_table.hpp"
#include "redoubt/core/cpu.hpp"

namespace redoubt::kernels::detail {

/// The reference, plain loops.
extern const ConfidentTable naive_confident_table;

/// Table of the highest level that is not above `isa`.
const ConfidentTable& confident_table(Isa isa) noexcept;

}  // namespace redoubt::kernels::detail
