#include "redoubt/nn/compression.hpp"

#include <fmt/format.h>

#include <algorithm>
#include <chrono>
#include <vector>

#include "nn/prune.hpp"
#include "nn/require.hpp"
#include "redoubt/core/error.hpp"
#include "redoubt/data/dataset.hpp"
#include "redoubt/data/encoder.hpp"
#include "redoubt/metrics/evaluation.hpp"
#include "redoubt/model/parts.hpp"
#include "redoubt/nn/graph.hpp"

namespace redoubt {
namespace {

constexpr int timed_rounds = 9;
constexpr std::chrono::milliseconds timed_round{5};

/// Rows a second of one-row predictions, for a few milliseconds.
double speed(const Graph& graph, const Tensor<float>& rows) {
  std::vector<float> out(graph.outputs()), scratch(graph.scratch_size());
  using Clock = std::chrono::steady_clock;
  std::size_t done = 0;
  const auto start = Clock::now();
  do {
    for (int i = 0; i < 16; ++i) graph.predict(rows.row(done++ % rows.rows()), out, scratch);
  } while (Clock::now() - start < timed_round);
  return static_cast<double>(done) / std::chrono::duration<double>(Clock::now() - start).count();
}

}  // namespace

Model compress(const Model& model, const Dataset& data, const CompressionOptions& options, Compression* measured) {
  const auto* const graph = dynamic_cast<const Graph*>(&model.predictor());
  if (!graph)
    detail::fail(errc::unsupported,
                 fmt::format("compress: the model is a {}, not a network", model.predictor().form()));
  detail::require(options.most_loss >= 0, "compress", "most_loss", options.most_loss, "at least 0");
  detail::require(options.least_speedup >= 0, "compress", "least_speedup", options.least_speedup, "at least 0");
  detail::require(options.calibration_rows > 0, "compress", "calibration_rows", 0, "at least 1");
  detail::require(options.prune >= 0 && options.prune < 1, "compress", "prune", options.prune, "in [0, 1)");
  if (data.rows() == 0) detail::fail(errc::invalid_argument, "compress: the data have no rows");
  const Tensor<float> all = model.encoder().apply(data, options.arena);
  const std::size_t count = std::min(all.rows(), options.calibration_rows);
  Tensor<float> rows({count, all.cols()});
  for (std::size_t i = 0; i < count; ++i)
    std::copy_n(all.row(i * all.rows() / count).data(), all.cols(), rows.row(i).data());

  Graph narrow = options.prune > 0 ? detail::prune_units(*graph, options.prune, rows) : *graph;
  narrow.compile(options.precision, rows);
  ModelParts parts{.info = model.info(),
                   .task = model.task(),
                   .classes = model.classes(),
                   .encoder = Shared<const Encoder>::make(model.encoder()),
                   .predictor = Shared<Graph>::make(std::move(narrow))};
  Model compressed(std::move(parts), data);

  Compression found;
  found.metric = model.task() == Task::classification ? "accuracy" : "r2";
  found.before = model.evaluate(data, options.arena).value(found.metric);
  found.after = compressed.evaluate(data, options.arena).value(found.metric);
  if (options.least_speedup > 0) {
    const auto& after = static_cast<const Graph&>(compressed.predictor());
    std::vector<double> ratios;
    for (int round = 0; round < timed_rounds; ++round) {
      const double slow = speed(*graph, rows);
      ratios.push_back(speed(after, rows) / slow);
    }
    std::nth_element(ratios.begin(), ratios.begin() + timed_rounds / 2, ratios.end());
    found.speedup = ratios[timed_rounds / 2];
  }
  if (measured) *measured = found;
  const std::string name =
      options.prune > 0 ? fmt::format("{} with {} of the units pruned", to_string(options.precision), options.prune)
                        : std::string(to_string(options.precision));
  if (!(found.before - found.after <= options.most_loss))
    detail::fail(errc::refused, fmt::format("compress: in {} {} falls from {:.5f} to {:.5f}, by more than {}", name,
                                            found.metric, found.before, found.after, options.most_loss));
  if (found.speedup < options.least_speedup)
    detail::fail(errc::refused, fmt::format("compress: in {} one row is {:.2f} times as fast here, {} was wanted", name,
                                            found.speedup, options.least_speedup));
  return compressed;
}

}  // namespace redoubt
