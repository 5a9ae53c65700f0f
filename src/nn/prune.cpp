#include "nn/prune.hpp"

#include <fmt/format.h>

#include <algorithm>
#include <array>
#include <cmath>
#include <numeric>
#include <string_view>
#include <vector>

#include "redoubt/core/error.hpp"
#include "redoubt/core/function_ref.hpp"

namespace redoubt::detail {
namespace {

constexpr std::size_t lanes = 16;
constexpr std::size_t block = 64;
constexpr std::array<std::string_view, 8> elementwise{"relu", "leaky_relu", "gelu",    "silu",
                                                      "tanh", "sigmoid",    "dropout", "exp"};

/// Units of dense node `first` that reach dense node `second` alone, as tensor `tensor`.
struct Chain {
  std::uint32_t first = 0, second = 0, tensor = 0;
  std::vector<std::size_t> kept;  // units, ascending
};

std::vector<Chain> chains_of(const Graph& graph) {
  const auto& nodes = graph.nodes();
  std::vector<std::vector<std::uint32_t>> users(nodes.size() + 1);
  for (std::uint32_t i = 0; i < nodes.size(); ++i)
    for (const auto t : nodes[i].inputs) users[t].push_back(i);
  std::vector<Chain> found;
  const auto flat_dense = [&](std::uint32_t i) { return nodes[i].op == "dense" && nodes[i].attributes[1] == 0; };
  for (std::uint32_t i = 0; i < nodes.size(); ++i) {
    if (!flat_dense(i)) continue;
    std::uint32_t at = i;
    while (users[at + 1].size() == 1) {
      const std::uint32_t next = users[at + 1][0];
      if (flat_dense(next)) {
        found.push_back({.first = i, .second = next, .tensor = at + 1});
        break;
      }
      if (std::find(elementwise.begin(), elementwise.end(), nodes[next].op) == elementwise.end()) break;
      at = next;
    }
  }
  return found;
}

const GraphParameter& parameter(const Graph& graph, std::uint32_t node, std::string_view ending) {
  const auto& table = graph.parameter_table();
  return *std::find_if(table.begin(), table.end(),
                       [&](const auto& p) { return p.node == node && p.name.ends_with(ending); });
}

}  // namespace

Graph prune_units(const Graph& graph, double share, MatrixView<const float> rows) {
  std::vector<Chain> chains = chains_of(graph);
  std::vector<std::vector<double>> means(chains.size()), squares(chains.size());
  for (std::size_t c = 0; c < chains.size(); ++c) {
    const std::size_t units = op_size(graph.shapes()[chains[c].tensor]);
    means[c].assign(units, 0.0), squares[c].assign(units, 0.0);
  }
  GraphWorkspace workspace(graph, block, false);
  for (std::size_t first = 0; first < rows.rows(); first += block) {
    const std::size_t count = std::min(block, rows.rows() - first);
    graph.forward(rows.slice(first, first + count), workspace);
    for (std::size_t c = 0; c < chains.size(); ++c) {
      const auto values = graph.value(workspace, chains[c].tensor, count);
      for (std::size_t r = 0; r < count; ++r) {
        for (std::size_t u = 0; u < values.cols(); ++u) {
          means[c][u] += values(r, u);
          squares[c][u] += static_cast<double>(values(r, u)) * values(r, u);
        }
      }
    }
  }
  const std::span<const float> old = graph.parameters();
  std::vector<GraphNode> nodes = graph.nodes();
  // New values by place in the table; empty: as they were.
  std::vector<std::vector<float>> changed(graph.parameter_table().size());
  const auto place = [&](const GraphParameter& p) {
    return static_cast<std::size_t>(&p - graph.parameter_table().data());
  };
  const auto values_of = [&](const GraphParameter& p) -> std::vector<float>& {
    auto& values = changed[place(p)];
    if (values.empty()) values.assign(old.begin() + p.offset, old.begin() + p.offset + p.size);
    return values;
  };
  bool smaller = false;
  for (std::size_t c = 0; c < chains.size(); ++c) {
    Chain& chain = chains[c];
    const GraphParameter &in = parameter(graph, chain.first, ".weight"),
                         &in_bias = parameter(graph, chain.first, ".bias"),
                         &out = parameter(graph, chain.second, ".weight"),
                         &out_bias = parameter(graph, chain.second, ".bias");
    const std::size_t units = in.shape[1], next = out.shape[1];
    const auto wanted = static_cast<std::size_t>(std::ceil((1 - share) * static_cast<double>(units)));
    const std::size_t left = std::min(units, std::max<std::size_t>(1, (wanted + lanes - 1) / lanes) * lanes);
    if (left == units) continue;
    smaller = true;
    std::vector<double> score(units);
    const auto count = static_cast<double>(rows.rows());
    for (std::size_t u = 0; u < units; ++u) {
      means[c][u] /= count;
      double length = 0;
      for (std::size_t k = 0; k < next; ++k) {
        const double w = old[out.offset + u * next + k];
        length += w * w;
      }
      score[u] = std::max(0.0, squares[c][u] / count - means[c][u] * means[c][u]) * length;
    }
    std::vector<std::size_t> order(units);
    std::iota(order.begin(), order.end(), std::size_t{0});
    std::stable_sort(order.begin(), order.end(), [&](std::size_t a, std::size_t b) { return score[a] > score[b]; });
    chain.kept.assign(order.begin(), order.begin() + static_cast<std::ptrdiff_t>(left));
    std::sort(chain.kept.begin(), chain.kept.end());
    std::vector<float>& bias = values_of(out_bias);
    for (std::size_t i = left; i < units; ++i) {
      for (std::size_t k = 0; k < next; ++k)
        bias[k] = static_cast<float>(bias[k] + means[c][order[i]] * old[out.offset + order[i] * next + k]);
    }
    nodes[chain.first].attributes[0] = static_cast<double>(left);
    // Columns of the one matrix, which may have lost rows before, and rows of the other, which still has its columns.
    const std::vector<float> wide = values_of(in), wide_bias = values_of(in_bias), tall = values_of(out);
    const std::size_t inputs = wide.size() / units;
    std::vector<float>&narrow = values_of(in), &narrow_bias = values_of(in_bias), &low = values_of(out);
    narrow.resize(inputs * left), narrow_bias.resize(left), low.resize(left * next);
    for (std::size_t i = 0; i < left; ++i) {
      const std::size_t u = chain.kept[i];
      for (std::size_t r = 0; r < inputs; ++r) narrow[r * left + i] = wide[r * units + u];
      narrow_bias[i] = wide_bias[u];
      std::copy_n(tall.begin() + static_cast<std::ptrdiff_t>(u * next), next,
                  low.begin() + static_cast<std::ptrdiff_t>(i * next));
    }
  }
  if (!smaller) {
    fail(errc::refused, fmt::format("prune: no dense layer has hidden units to remove at a share of {} (they go by {})",
                                    share, lanes));
  }
  const auto& table = graph.parameter_table();
  const auto values = [&](const GraphParameter& p) -> std::span<const float> {
    const auto at = std::find_if(table.begin(), table.end(), [&](const auto& q) { return q.name == p.name; });
    const auto& own = changed[static_cast<std::size_t>(at - table.begin())];
    return own.empty() ? old.subspan(at->offset, at->size) : std::span<const float>(own);
  };
  return Graph(graph.input_shape(), std::move(nodes), values);
}

}  // namespace redoubt::detail
