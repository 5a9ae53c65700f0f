#pragma once
// What embedding and embedding_bag share: rows of a learned table, chosen by whole numbers.
#include <algorithm>
#include <cmath>
#include <limits>

#include "nn/ops/op_table.hpp"
#include "redoubt/core/random.hpp"

namespace redoubt::detail {

/// Row of the table for an id: its whole part downwards. `entries` (none) if it is outside or not a number.
inline std::size_t entry(float id, std::size_t entries) {
  return id >= 0 && id < static_cast<float>(entries) ? static_cast<std::size_t>(id) : entries;
}

class TableOp : public Op {
 public:
  std::vector<OpParameter> parameters(std::span<const OpShape>, std::span<const double> attributes) const override {
    return {{.name = "table",
             .shape = {static_cast<std::size_t>(attributes[0]), static_cast<std::size_t>(attributes[1])},
             .sparse = true}};
  }
  std::size_t used_rows(std::span<const float> input, std::span<const double> attributes,
                        std::span<std::uint32_t> rows) const override {
    const auto entries = static_cast<std::size_t>(attributes[0]);
    std::size_t count = 0;
    for (const float id : input) {
      const std::size_t e = entry(id, entries);
      if (e < entries) rows[count++] = static_cast<std::uint32_t>(e);
    }
    return count;
  }
  void initialise(std::span<const MatrixView<float>> parameters, Random& random) const override {
    const double deviation = 1.0 / std::sqrt(static_cast<double>(parameters[0].cols()));
    for (std::size_t r = 0; r < parameters[0].rows(); ++r) {
      for (float& w : parameters[0].row(r)) w = static_cast<float>(deviation * random.normal());
    }
  }

 protected:
  struct Reach {
    double low, high;
    bool certain;  // inside the table for every id, or outside for every id
    bool inside;
  };
  /// What value `d` of the row of an id in [low, high] may be.
  static Reach reach(const MatrixView<const float>& table, float low, float high, std::size_t d) {
    Reach found{std::numeric_limits<double>::infinity(), -std::numeric_limits<double>::infinity(), true, true};
    const auto see = [&](double v) {
      found.low = std::min(found.low, v);
      found.high = std::max(found.high, v);
    };
    const auto size = static_cast<double>(table.rows());
    const bool out_below = low < 0, out_above = high >= size;
    const auto first = static_cast<std::size_t>(std::clamp<double>(low, 0, size));
    const auto last = static_cast<std::size_t>(std::clamp<double>(high + 1.0, 0, size));
    found.inside = high >= 0 && low < size;
    if (found.inside) {
      for (std::size_t e = first; e < std::max(last, first); ++e) see(table(e, d));
    }
    if (!found.inside || out_below || out_above) see(0);
    found.certain = !found.inside || (!out_below && !out_above);
    return found;
  }
};

}  // namespace redoubt::detail
