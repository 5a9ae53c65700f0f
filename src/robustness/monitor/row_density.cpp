#include "robustness/monitor/row_density.hpp"

#include <algorithm>
#include <array>
#include <cmath>
#include <utility>

namespace redoubt::detail {
namespace {

constexpr double nat = 64;  // units of the tables
constexpr std::uint8_t missing = 255;
constexpr double coarse = 8;               // values; a pair of them is met often enough to be missed
constexpr std::size_t coarse_values = 16;  // room for them, and for missing
constexpr std::size_t rows_for_tree = 2048;

std::size_t rest_of(float slope, float start, int parent, int own) noexcept {
  const float rest = static_cast<float>(own) - (slope * static_cast<float>(parent) + start) + 128.5f;
  return static_cast<std::size_t>(std::min(255.0f, std::max(0.0f, rest)));
}

// Of an entry of own_.
int units_of(std::int16_t entry) noexcept { return entry >> 4; }
std::size_t bin_of(std::int16_t entry) noexcept { return static_cast<std::size_t>(entry) % coarse_values; }

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
  parent_.resize(n);
  const double total = static_cast<double>(rows);
  std::vector<std::uint8_t> bins(n * rows);  // coarse bytes, by field
  std::vector<std::array<double, 16>> share(n);
  for (std::size_t f = 0; f < n; ++f) {
    std::array<double, 256> count{};
    for (std::size_t r = 0; r < rows; ++r) ++count[sketches[r * width + fields_[f]]];
    double below = 0;
    for (std::size_t b = 0; b < 256; ++b) {
      const double middle = (below + count[b] / 2) / total;
      const int bin = b == missing ? 15 : static_cast<int>(std::min(coarse - 1.0, coarse * middle));
      own_[f * 256 + b] =
          static_cast<std::int16_t>(units(-std::log((count[b] + 0.5) / (total + 128))) * coarse_values + bin);
      below += count[b];
    }
    share[f].fill(0);
    for (std::size_t r = 0; r < rows; ++r) {
      bins[f * rows + r] = static_cast<std::uint8_t>(bin_of(own_[f * 256 + sketches[r * width + fields_[f]]]));
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
      pair_[f * 256 + i] = units(-std::log((count[i] + 0.5) / (expected + 0.5)));
    }
  }

  // A straight line from the parent's byte, where it says more than the table: tails that go together are then no
  // surprise, and what contradicts its parent is one.
  line_.assign(n, {});
  rest_.assign(n * 256, 0);
  for (std::size_t f = 0; f < n; ++f) {
    const std::size_t p = parent_[f];
    if (p == f) continue;
    double count = 0, x = 0, y = 0, xx = 0, xy = 0, table = 0;
    const auto bytes_at = [&](std::size_t r) {
      return std::pair<int, int>{sketches[r * width + fields_[p]], sketches[r * width + fields_[f]]};
    };
    for (std::size_t r = 0; r < rows; ++r) {
      const auto [a, b] = bytes_at(r);
      if (a == missing || b == missing) continue;
      ++count, x += a, y += b, xx += double(a) * a, xy += double(a) * b;
      table += units_of(own_[f * 256 + static_cast<std::size_t>(b)]) +
               pair_[f * 256 + bins[p * rows + r] * 16u + bins[f * rows + r]];
    }
    const double spread = xx - x * x / std::max(count, 1.0);
    if (count < 16 || !(spread > 0)) continue;
    Line line{static_cast<float>((xy - x * y / count) / spread), 0, true};
    line.start = static_cast<float>((y - line.slope * x) / count);
    std::array<double, 256> rest{};
    for (std::size_t r = 0; r < rows; ++r)
      if (const auto [a, b] = bytes_at(r); a != missing && b != missing) ++rest[rest_of(line.slope, line.start, a, b)];
    double total_rest = 0;
    for (std::size_t i = 0; i < 256; ++i) {
      rest_[f * 256 + i] = units(-std::log((rest[i] + 0.5) / (count + 128)));
      total_rest += rest[i] * rest_[f * 256 + i];
    }
    if (total_rest < table) line_[f] = line;
  }
}

float RowDensity::surprise(const std::uint8_t* sketch) const noexcept {
  std::array<std::int16_t, 1024> alone;
  int sum = 0;
  const std::size_t n = fields_.size();
  for (std::size_t f = 0; f < n; ++f) alone[f] = own_[f * 256 + sketch[fields_[f]]];
  for (std::size_t f = 0; f < n; ++f) {
    const int parent = sketch[fields_[parent_[f]]], own = sketch[fields_[f]];
    if (line_[f].used && parent != missing && own != missing)
      sum += rest_[f * 256 + rest_of(line_[f].slope, line_[f].start, parent, own)];
    else
      sum += units_of(alone[f]) + pair_[f * 256 + bin_of(alone[parent_[f]]) * coarse_values + bin_of(alone[f])];
  }
  return static_cast<float>(sum) * static_cast<float>(1 / nat);
}

}  // namespace redoubt::detail
