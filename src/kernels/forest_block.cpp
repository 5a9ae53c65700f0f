#include "kernels/forest_dispatch.hpp"

namespace redoubt::kernels::detail {
namespace {

std::uint32_t find_one(const ForestBlockGroup& group, std::size_t lane, const unsigned char* codes,
                       const ForestBlock* blocks) {
  std::size_t exit = 0;
  for (std::size_t i = 0; i < group.top.slots; ++i) {
    const unsigned char* const slot = group.top.nodes + 192 * i + lane;
    if (codes[slot[0]] > slot[64] && exit == slot[128]) exit = i + 1;
  }
  std::size_t block = group.first + group.stride * lane + exit;
  for (;;) {
    unsigned forbidden = 0;
    for (std::size_t i = 0; i < forest_block_nodes; ++i)
      if (codes[blocks[block].column[i]] > blocks[block].threshold[i]) forbidden |= blocks[block].forbidden[i];
    for (exit = 0; forbidden >> exit & 1; ++exit) {
    }
    const std::int32_t slot = blocks[block].slots[exit];
    if (slot >= forest_block_results) return static_cast<std::uint32_t>(32 * block + 16 + exit);
    block = static_cast<std::uint32_t>(slot) & 0x7fffffffu;
  }
}

void find(const ForestBlockGroup* groups, std::size_t count, const unsigned char* const* codes,
          const ForestBlock* blocks, std::uint32_t* places) {
  for (std::size_t g = 0; g < count; ++g)
    for (std::size_t lane = 0; lane < groups[g].lanes; ++lane)
      places[64 * g + lane] = find_one(groups[g], lane, codes[g], blocks);
}

std::uint32_t sum(const ForestBlockGroup* groups, std::size_t count, const unsigned char* const* codes,
                  const ForestBlock* blocks) {
  std::uint32_t total = 0;
  for (std::size_t g = 0; g < count; ++g)
    for (std::size_t lane = 0; lane < groups[g].lanes; ++lane) {
      const std::uint32_t place = find_one(groups[g], lane, codes[g], blocks);
      total += static_cast<std::uint32_t>(blocks[place / 32].slots[place % 32 - 16]);
    }
  return total;
}

}  // namespace

const ForestBlockTable forest_block_naive_table = {0, find, sum};

const ForestBlockTable& forest_block_table([[maybe_unused]] Isa isa) noexcept {
#if defined(REDOUBT_HAS_X86_KERNELS)
  if (isa >= Isa::avx512) return forest_block_avx512_table;
  if (isa >= Isa::avx2) return forest_block_avx2_table;
#endif
  return forest_block_naive_table;
}

}  // namespace redoubt::kernels::detail
