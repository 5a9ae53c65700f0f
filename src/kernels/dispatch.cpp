#include "kernels/dispatch.hpp"

#include "redoubt/core/error.hpp"
#include "redoubt/kernels/isa.hpp"

namespace redoubt::kernels {

const detail::Table* detail::table_for([[maybe_unused]] Isa isa) noexcept {
#if defined(REDOUBT_HAS_X86_KERNELS)
  if (isa >= Isa::avx512) return &avx512_table;
  if (isa >= Isa::avx2) return &avx2_table;
#endif
  return nullptr;
}

const detail::Table* detail::table() noexcept {
  static const Table* const chosen = []() noexcept -> const Table* {
    try {
      return table_for(active_isa());
    } catch (const Error&) {
      return nullptr;
    }
  }();
  return chosen;
}

Isa selected_isa() {
  const detail::Table* table = detail::table_for(active_isa());
  return table ? static_cast<Isa>(table->isa) : Isa::baseline;
}

}  // namespace redoubt::kernels
