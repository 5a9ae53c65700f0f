#pragma once
#include "kernels/near_table.hpp"
#include "redoubt/core/cpu.hpp"

namespace redoubt::kernels {
namespace naive {
void near_fp32(const detail::NearBlocks& blocks) noexcept;
void near_bf16(const detail::NearBlocks& blocks) noexcept;
}  // namespace naive

namespace detail {
/// Kernels of the highest level that is not above `isa`. `bf16` is null where this machine has no instructions for it,
/// and wants `groups` by fours, `panels` by twos and the depth that near_depth gives.
NearKernel near_fp32(Isa isa) noexcept;
NearKernel near_bf16(Isa isa) noexcept;
}  // namespace detail
}  // namespace redoubt::kernels
