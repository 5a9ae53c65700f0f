#pragma once
#include "kernels/near_table.hpp"
#include "redoubt/core/cpu.hpp"

namespace redoubt::kernels {
namespace naive {
void near_fp32(const detail::NearBlocks& blocks) noexcept;
void near_bf16(const detail::NearBlocks& blocks) noexcept;
}  // namespace naive

namespace detail {
using NearKernel = void (*)(const NearBlocks&);
/// Kernels of the highest level that is not above `isa`. `bf16` is null where this machine has no instructions for it.
NearKernel near_fp32(Isa isa) noexcept;
NearKernel near_bf16(Isa isa) noexcept;
}  // namespace detail
}  // namespace redoubt::kernels
