#pragma once
// Which rows a round of boosting grows its trees on.
#include <cstdint>
#include <span>
#include <vector>

#include "trees/boosting_data.hpp"

namespace redoubt::detail {

/// Deterministic by seed and round, in fixed blocks.
class RowSampler {
 public:
  RowSampler(const GradientBoostingOptions& options, const BoostingData& data) : options_(options), data_(data) {}

  /// Chooses the rows of a round; with GOSS it multiplies the gradients (outputs x rows) of the small ones that it
  /// keeps.
  void draw(std::size_t round, std::size_t outputs, float* g, float* h);
  RowList bag() const noexcept { return all_ ? data_.train : RowList(bag_); }
  /// Training rows outside the bag.
  std::span<const std::uint32_t> rest() const noexcept {
    return all_ ? std::span<const std::uint32_t>{} : std::span(rest_);
  }

 private:
  void share(std::size_t round);
  void goss(std::size_t round, std::size_t outputs, float* g, float* h);

  const GradientBoostingOptions& options_;
  const BoostingData& data_;
  bool all_ = true;
  std::size_t drawn_at_ = static_cast<std::size_t>(-1);
  std::vector<std::uint32_t> bag_, rest_;
  std::vector<float> size_;  // |g h| of the training rows, in their order
};

}  // namespace redoubt::detail
