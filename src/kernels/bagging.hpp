#pragma once
#include "kernels/bagging_table.hpp"
#include "redoubt/core/cpu.hpp"

namespace redoubt::kernels {

namespace naive {

void two_class_cut(const uint64_t* bins, size_t count, uint64_t missing, uint64_t total, detail::TwoClassCut* found);
void two_class_cut_rows(const detail::TwoClassRows& rows, const unsigned char* codes, unsigned missing,
                        detail::TwoClassCut* found);
uint64_t two_class_planes(const uint64_t* rows, size_t count, detail::TwoClassPlanes* out);
bool code_bounds(const unsigned char* codes, size_t count, unsigned missing, unsigned char* least,
                 unsigned char* highest);
uint64_t two_class_sum_to(const detail::TwoClassPlanes* planes, const unsigned char* codes, size_t count,
                          unsigned last);

}  // namespace naive

namespace detail {

/// Kernels of the highest level that has some and is not above `isa`; at least the naive ones.
const BaggingTable& bagging_table_for(Isa isa) noexcept;

/// `bagging_table_for(active_isa())`, chosen once; the naive ones if REDOUBT_ISA is not usable.
const BaggingTable& bagging_table() noexcept;

}  // namespace detail
}  // namespace redoubt::kernels
