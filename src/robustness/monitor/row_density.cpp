#include "robustness/monitor/row_density.hpp"

#include <algorithm>
#include <array>
#include <cmath>

namespace redoubt::detail {
namespace {

constexpr double nat = 64;  // units of the tables
constexpr std::uint8_t missing = 255;
constexpr std::size_t rows_for_tree = 2048;

std::int16_t units(double nats) { return static_cast<std::int16_t>(std::lround(std::clamp(nats, -20.0, 20.0) * nat)); }

}  // namespace

void RowDensity::fit(std::span<const std::uint8_t> sketches, std::size_t rows, std::span<const char> use) {
  const std::size_t width = use.size();
  fields_.clear();
  for (std::uint32_t i = 0; i < width; ++i)
    if (use[i]) fields_.push_back(i);
  const std::size_t n = fields_.size();
  own_.assign(n * 256, 0);
  pair_.assign(n * 256, 0);
  coarse_.assign(n * 256, 0);
  parent_.resize(n);
  const double total = static_cast<double>(rows);
  std::vector<std::uint8_t> bins(n * rows);  // coarse bytes, by field
  std::vector<std::array<double, 16>> share(n);
  for (std::size_t f = 0; f < n; ++f) {
    std::array<double, 256> count{};
    for (std::size_t r = 0; r < rows; ++r) ++count[sketches[r * width + fields_[f]]];
    double below = 0;
    for (std::size_t b = 0; b < 256; ++b) {
      own_[f * 256 + b] = units(-std::log((count[b] + 0.5) / (total + 128)));
      const double middle = (below + count[b] / 2) / total;
      coarse_[f * 256 + b] = b == missing ? 15 : static_cast<std::uint8_t>(std::min(14.0, 15 * middle));
      below += count[b];
    }
    share[f].fill(0);
    for (std::size_t r = 0; r < rows; ++r) {
      bins[f * rows + r] = coarse_[f * 256 + sketches[r * width + fields_[f]]];
      share[f][bins[f * rows + r]] += 1 / total;
    }
  }

  const auto joint = [&](std::size_t a, std::size_t b, std::size_t stride) {
    std::array<double, 256> count{};
    for (std::size_t r = 0; r < rows; r += stride) ++count[bins[a * rows + r] * 16 + bins[b * rows + r]];
    return count;
  };
  const std::size_t stride = std::max<std::size_t>(1, rows / rows_for_tree);
  const auto information = [&](std::size_t a, std::size_t b) {
    const auto count = joint(a, b, stride);
    double sum = 0, all = 0;
    for (const double c : count) all += c;
    for (std::size_t i = 0; i < 256; ++i)
      if (count[i] > 0)
        sum += count[i] / all * std::log(count[i] / all / (share[a][i / 16] * share[b][i % 16] + 1e-12));
    return sum;
  };

  // Prim's algorithm: the field most informed by one that is already in the tree comes next.
  const std::size_t reach = n > 128 ? 32 : n;
  std::vector<double> best(n, -1);
  std::vector<char> in(n, 0);
  for (std::size_t f = 0; f < n; ++f) parent_[f] = static_cast<std::uint32_t>(f);
  for (std::size_t step = 0; step < n; ++step) {
    std::size_t next = n;
    for (std::size_t f = 0; f < n; ++f)
      if (!in[f] && (next == n || best[f] > best[next])) next = f;
    in[next] = 1;
    const std::size_t from = next > reach ? next - reach : 0, to = std::min(n, next + reach + 1);
    for (std::size_t f = from; f < to; ++f) {
      if (in[f]) continue;
      if (const double i = information(next, f); i > best[f]) {
        best[f] = i;
        parent_[f] = static_cast<std::uint32_t>(next);
      }
    }
  }
  for (std::size_t f = 0; f < n; ++f) {
    if (parent_[f] == f) continue;
    const auto count = joint(parent_[f], f, 1);
    for (std::size_t i = 0; i < 256; ++i) {
      const double expected = total * share[parent_[f]][i / 16] * share[f][i % 16];
      pair_[f * 256 + i] = units(-std::log((count[i] + 1) / (expected + 1)));
    }
  }
}

float RowDensity::surprise(const std::uint8_t* sketch) const noexcept {
  std::array<std::uint8_t, 1024> bin;
  int sum = 0;
  const std::size_t n = fields_.size();
  for (std::size_t f = 0; f < n; ++f) {
    const std::size_t at = f * 256 + sketch[fields_[f]];
    sum += own_[at];
    bin[f] = coarse_[at];
  }
  for (std::size_t f = 0; f < n; ++f) sum += pair_[f * 256 + bin[parent_[f]] * 16 + bin[f]];
  return static_cast<float>(sum) * static_cast<float>(1 / nat);
}

}  // namespace redoubt::detail
