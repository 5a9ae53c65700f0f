#pragma once
#include "kernels/table.hpp"
#include "redoubt/core/cpu.hpp"
#include "redoubt/core/view.hpp"
#include "redoubt/kernels/epilogue.hpp"

namespace redoubt::kernels::detail {

/// Table of the highest level with kernels of its own that is not above `isa`; null means the naive references.
const Table* table_for(Isa isa) noexcept;

/// `table_for(active_isa())`, chosen once; null also if REDOUBT_ISA is not usable.
const Table* table() noexcept;

/// What kernels that know only relu leave to do: sigmoid or tanh of c, in place.
inline void finish_activation(Activation activation, MatrixView<float> c) noexcept {
  if (activation <= Activation::relu) return;
  const auto apply = activation == Activation::sigmoid ? table()->sigmoid : table()->tanh;
  for (std::size_t r = 0; r < c.rows(); ++r) apply(c.row(r).data(), c.row(r).data(), c.cols());
}

}  // namespace redoubt::kernels::detail
