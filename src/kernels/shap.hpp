#pragma once
#include "kernels/shap_table.hpp"
#include "redoubt/core/cpu.hpp"

namespace redoubt::kernels::detail {

/// The kernels of the highest level not above `isa`; the naive ones at `Isa::baseline`.
const ShapTable& shap_table_for(Isa isa) noexcept;

/// `shap_table_for(active_isa())`, chosen once; the naive ones if REDOUBT_ISA is not usable.
const ShapTable& shap_table() noexcept;

}  // namespace redoubt::kernels::detail

namespace redoubt::kernels::naive {

/// The reference: the same sums, lane by lane in plain loops. Adds the shares of one tree for eight rows to
/// `rows.values` and, where given, `rows.pairs`. Allocates nothing.
void shap_tree(const detail::ShapTree& tree, const detail::ShapRows& rows) noexcept;

}  // namespace redoubt::kernels::naive
