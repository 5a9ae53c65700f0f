#include "redoubt/nn/full_batch.hpp"

#include <fmt/format.h>

#include <algorithm>
#include <cmath>
#include <utility>
#include <vector>

#include "nn/require.hpp"
#include "redoubt/nn/graph.hpp"
#include "redoubt/nn/trainer.hpp"

namespace redoubt {
namespace {

/// Losses are sums of floats: rises below this are rounding.
constexpr double float_noise = 1e-7;

void check(const Graph& graph, const FullBatchOptions& o) {
  const auto require = [](bool good, std::string_view option, double value, std::string_view rule) {
    detail::require(good, "full-batch training", option, value, rule);
  };
  require(o.iterations >= 1, "iterations", o.iterations, "at least 1");
  require(o.weight_decay >= 0 && std::isfinite(o.weight_decay), "weight_decay", o.weight_decay, "finite and >= 0");
  for (std::size_t i = 0; i < graph.nodes().size(); ++i) {
    const std::string& op = graph.nodes()[i].op;
    const auto& table = graph.parameter_table();
    const bool state = std::any_of(table.begin(), table.end(), [&](const auto& p) { return p.node == i && p.state; });
    if (op != "dropout" && !state) continue;
    detail::fail(errc::unsupported,
                 fmt::format("full-batch training: node {} ({}) {}; L-BFGS needs a loss that depends on the weights "
                             "alone",
                             i, op, state ? "learns running statistics" : "is random"));
  }
}

}  // namespace

LbfgsResult train_full_batch(Trainer& trainer, Graph& graph, MatrixView<const float> rows,
                             MatrixView<const float> targets, std::span<const float> weights,
                             const FullBatchOptions& options, const function_ref<bool(const LbfgsResult&)>* after) {
  check(graph, options);
  if (rows.rows() == 0 || targets.rows() != rows.rows() || (!weights.empty() && weights.size() != rows.rows())) {
    detail::fail(errc::shape_mismatch, fmt::format("full-batch training: {} rows, {} targets and {} weights",
                                                   rows.rows(), targets.rows(), weights.size()));
  }
  const std::span<const float> given = std::as_const(graph).parameters();
  const std::vector<float> start(given.begin(), given.end());
  const auto place = [&](std::span<const double> x) {
    const std::span<float> parameters = graph.parameters();  // anew, as `after` may have compiled the graph
    for (std::size_t i = 0; i < x.size(); ++i) parameters[i] = static_cast<float>(x[i]);
  };
  const double share = 1.0 / static_cast<double>(rows.rows());
  const auto objective = [&](std::span<const double> x, std::span<double> gradient) {
    place(x);
    std::fill(gradient.begin(), gradient.end(), 0.0);
    double value = 0;
    for (std::size_t first = 0; first < rows.rows(); first += trainer.batch()) {
      const std::size_t last = std::min(rows.rows(), first + trainer.batch());
      value += trainer.gradient(rows.slice(first, last), targets.slice(first, last),
                                weights.empty() ? weights : weights.subspan(first, last - first), gradient);
    }
    for (double& g : gradient) g *= share;
    value *= share;
    if (options.weight_decay > 0) {
      for (const GraphParameter& p : graph.parameter_table()) {
        if (!p.decay) continue;
        for (std::size_t i = p.offset; i < p.offset + p.size; ++i) {
          value += 0.5 * options.weight_decay * x[i] * x[i];
          gradient[i] += options.weight_decay * x[i];
        }
      }
    }
    return value;
  };
  std::vector<double> x(start.begin(), start.end());
  try {
    const auto ask = [&](std::span<const double> at, const LbfgsResult& result) {
      place(at);
      return (*after)(result);
    };
    const LbfgsStep step(ask);
    const LbfgsResult result = lbfgs_minimise(x, objective,
                                              {.history = options.history,
                                               .max_iterations = options.iterations,
                                               .tolerance = options.tolerance,
                                               .noise = float_noise},
                                              after ? &step : nullptr);
    place(x);
    return result;
  } catch (...) {
    std::copy(start.begin(), start.end(), graph.parameters().begin());
    throw;
  }
}

}  // namespace redoubt
