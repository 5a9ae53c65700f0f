#include "trees/row_sampler.hpp"

#include <algorithm>
#include <array>
#include <bit>
#include <cmath>

#include "redoubt/core/random.hpp"

namespace redoubt::detail {
namespace {

constexpr std::size_t draw_block = 4096;

/// The `count`-th largest of non-negative floats: their bit patterns are ordered alike. Two passes of counting.
float nth_largest(std::span<const float> values, std::size_t count) {
  std::uint32_t prefix = 0;
  for (const int shift : {16, 0}) {
    std::vector<std::size_t> histogram(65536);
    for (const float v : values) {
      const auto bits = std::bit_cast<std::uint32_t>(v);
      if (shift == 16 || bits >> 16 == prefix >> 16) ++histogram[bits >> shift & 0xffff];
    }
    std::uint32_t bin = 65535;
    while (bin > 0 && histogram[bin] < count) count -= histogram[bin--];
    prefix |= bin << shift;
  }
  return std::bit_cast<float>(prefix);
}

}  // namespace

void RowSampler::draw(std::size_t round, std::size_t outputs, float* g, float* h) {
  if (options_.goss) {
    all_ = static_cast<double>(round) < 1 / options_.learning_rate;
    if (!all_) goss(round, outputs, g, h);
  } else if (options_.row_fraction < 1) {
    all_ = false;
    const std::size_t draw = round / static_cast<std::size_t>(options_.row_frequency);
    if (draw != drawn_at_) share(draw);
    drawn_at_ = draw;
  }
}

/// Each block gives its share, so that all together are the rounded share of all rows; at least one.
void RowSampler::share(std::size_t round) {
  const auto train = data_.train;
  const auto up_to = [&](std::size_t rows) {
    const auto count = static_cast<std::size_t>(std::llround(options_.row_fraction * static_cast<double>(rows)));
    return rows == train.size() ? std::max<std::size_t>(count, 1) : count;
  };
  bag_.resize(up_to(train.size()));
  rest_.resize(train.size() - bag_.size());
  data_.team.parallel_for(train.size(), draw_block, [&](std::size_t begin, std::size_t end) {
    Random random(options_.seed, (2 * round + 1) << 32 | begin / draw_block);
    std::size_t in = up_to(begin);
    std::size_t out = begin - in;
    std::size_t wanted = up_to(end) - in;
    for (std::size_t i = begin; i < end; ++i) {
      const std::uint64_t left = end - i;
      const bool take = (static_cast<std::uint64_t>(random()) * left >> 32) < wanted;
      if (take) {
        bag_[in++] = train[i];
        --wanted;
      } else {
        rest_[out++] = train[i];
      }
    }
  });
}

void RowSampler::goss(std::size_t round, std::size_t outputs, float* g, float* h) {
  const auto train = data_.train;
  size_.resize(train.size());
  data_.team.parallel_for(train.size(), draw_block, [&](std::size_t begin, std::size_t end) {
    for (std::size_t i = begin; i < end; ++i) {
      float sum = 0;
      for (std::size_t k = 0; k < outputs; ++k)
        sum += std::abs(g[k * data_.rows + train[i]] * h[k * data_.rows + train[i]]);
      size_[i] = sum;
    }
  });
  const double rows = static_cast<double>(train.size());
  const auto top = std::max<std::size_t>(static_cast<std::size_t>(options_.goss_top * rows), 1);
  const float threshold = nth_largest(size_, top);
  // Of the others each with the same probability; what is kept stands for all of them.
  const double probability = std::min(options_.goss_other / std::max(1 - options_.goss_top, 1e-9), 1.0);
  const auto limit = static_cast<std::uint64_t>(probability * 4294967296.0);
  const float factor = static_cast<float>(1 / probability);
  std::vector<std::vector<std::uint32_t>> kept((train.size() + draw_block - 1) / draw_block), left(kept.size());
  for (auto* lists : {&kept, &left})
    for (auto& rows_of_block : *lists) rows_of_block.reserve(draw_block);  // it must not throw later
  data_.team.parallel_for(train.size(), draw_block, [&](std::size_t begin, std::size_t end) {
    const std::size_t block = begin / draw_block;
    Random random(options_.seed, (2 * round + 1) << 32 | block);
    for (std::size_t i = begin; i < end; ++i) {
      const std::uint32_t r = train[i];
      if (size_[i] >= threshold) {
        kept[block].push_back(r);
      } else if (random() < limit) {
        kept[block].push_back(r);
        for (std::size_t k = 0; k < outputs; ++k) {
          g[k * data_.rows + r] *= factor;
          h[k * data_.rows + r] *= factor;
        }
      } else {
        left[block].push_back(r);
      }
    }
  });
  bag_.clear();
  rest_.clear();
  for (const auto& rows_of_block : kept) bag_.insert(bag_.end(), rows_of_block.begin(), rows_of_block.end());
  for (const auto& rows_of_block : left) rest_.insert(rest_.end(), rows_of_block.begin(), rows_of_block.end());
}

}  // namespace redoubt::detail
