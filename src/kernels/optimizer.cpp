#include "redoubt/kernels/optimizer.hpp"

#include <algorithm>
#include <cmath>

#include "kernels/dispatch.hpp"

namespace redoubt::kernels {
namespace {

constexpr float negligible = 1e-30f;
float clean(float moment) { return std::abs(moment) < negligible ? 0.0f : moment; }

std::size_t common(std::span<const float> w, std::span<const float> g, std::span<const float> m,
                   std::span<const float> v) {
  return std::min({w.size(), g.size(), m.size(), v.size()});
}

}  // namespace

namespace naive {

void adam(const AdamStep& step, std::span<float> w, std::span<const float> g, std::span<float> m,
          std::span<float> v) noexcept {
  for (std::size_t i = 0, n = common(w, g, m, v); i < n; ++i) {
    const float slope = step.factor * g[i] + step.coupled * w[i];
    m[i] = clean(step.first_keep * m[i] + step.first_add * slope);
    v[i] = clean(step.second_keep * v[i] + step.second_add * slope * slope);
    w[i] = step.keep * w[i] - step.rate * m[i] / (std::sqrt(v[i]) + step.epsilon);
  }
}

}  // namespace naive

void adam(const AdamStep& s, std::span<float> w, std::span<const float> g, std::span<float> m,
          std::span<float> v) noexcept {
  const detail::Table* table = detail::table();
  if (!table) return naive::adam(s, w, g, m, v);
  const detail::AdamConstants constants{.factor = s.factor,
                                        .coupled = s.coupled,
                                        .keep = s.keep,
                                        .first_keep = s.first_keep,
                                        .first_add = s.first_add,
                                        .second_keep = s.second_keep,
                                        .second_add = s.second_add,
                                        .rate = s.rate,
                                        .epsilon = s.epsilon,
                                        .negligible = negligible};
  table->adam(constants, w.data(), g.data(), m.data(), v.data(), common(w, g, m, v));
}

}  // namespace redoubt::kernels
