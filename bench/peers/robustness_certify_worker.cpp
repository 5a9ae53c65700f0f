// Our side of bench/peers/robustness_certify.py. Usage: peer_robustness_certify_worker MODE KEY=VALUE...
//   verify  model (LightGBM text), rows, labels (npy): lines "run" -> seconds, mean bound and error at 0.3 by the
//   search of
//           the published example
//   votes   arff file: sources flood partitions; -> checked votes, changed within their certificate, changed beyond it
// threads: of votes.
#include <cstdio>
#include <iostream>
#include <set>
#include <string>
#include <vector>

#include "bench/peers/trees_loop.hpp"
#include "redoubt/core/error.hpp"
#include "redoubt/core/parallel.hpp"
#include "redoubt/core/random.hpp"
#include "redoubt/core/tensor.hpp"
#include "redoubt/data/arff.hpp"
#include "redoubt/data/dataset.hpp"
#include "redoubt/data/npy.hpp"
#include "redoubt/interop/lightgbm.hpp"
#include "redoubt/model/model.hpp"
#include "redoubt/robustness/certify/partition_ensemble.hpp"
#include "redoubt/robustness/certify/tree_verifier.hpp"
#include "redoubt/trees/forest.hpp"
#include "redoubt/trees/gradient_boosting.hpp"

namespace {

using namespace redoubt;
using bench::Settings;

/// Ten steps from 0.3: doubling until a radius breaks, at most to 1, halving until one holds, then bisection.
int verify(const Settings& settings) {
  const auto forest = read_lightgbm_forest(settings.file("model.txt"));
  const auto rows = read_npy<float>(settings.file("rows.npy"));
  const auto labels = read_npy<std::int32_t>(settings.file("labels.npy"));
  for (std::string line; std::getline(std::cin, line);) {
    const double start = bench::now();
    const TreeVerifier verifier(*forest);
    double bounds = 0;
    std::size_t failed = 0;
    for (std::size_t r = 0; r < rows.rows(); ++r) {
      double eps = 0.3, held = 0, broke = 0;
      for (int step = 0; step < 10; ++step) {
        const auto label = static_cast<std::size_t>(labels.data()[r]);
        const bool holds = verifier.verify(rows.row(r), label, eps).result == Robustness::certified;
        if (step == 0 && !holds) ++failed;
        (holds ? held : broke) = eps;
        if (held > 0 && broke == 0 && eps >= 1) break;
        eps = held == 0 ? eps / 2 : broke == 0 ? eps * 2 : (held + broke) / 2;
      }
      bounds += held;
    }
    const double count = static_cast<double>(rows.rows());
    std::printf("%.9f %.6f %.6f\n", bench::now() - start, bounds / count, static_cast<double>(failed) / count);
    std::fflush(stdout);
  }
  return 0;
}

/// The training rows with a source column of `sources` names that start with `prefix`.
Dataset with_sources(const Dataset& data, const std::string& prefix, std::size_t sources, Random random) {
  std::vector<Column> columns;
  for (std::size_t c = 0; c < data.cols(); ++c) columns.push_back(data.column(c));
  Column who;
  who.spec = {"who", ColumnType::categorical, ColumnRole::source, {}};
  for (std::size_t s = 0; s < sources; ++s) who.spec.categories.push_back(prefix + std::to_string(s));
  for (std::size_t r = 0; r < data.rows(); ++r) who.codes.push_back(static_cast<std::int32_t>(random.below(sources)));
  columns.push_back(std::move(who));
  return Dataset(std::move(columns));
}

Dataset with_wrong_labels(const Dataset& data) {
  const auto column = static_cast<std::size_t>(data.schema().find(ColumnRole::target));
  Column wrong = data.column(column);
  const auto classes = static_cast<std::int32_t>(wrong.spec.categories.size());
  for (std::int32_t& code : wrong.codes) code = (code + 1) % classes;
  return data.with_column(std::move(wrong));
}

int votes(const Settings& settings, Arena& arena) {
  const Dataset all = read_arff(settings.file("spambase.arff"), {.target = "class"});
  const auto [honest, bare_test] = all.split(0.2, 7);
  const Dataset train = with_sources(honest, "s", 400, Random(1)), test = with_sources(bare_test, "t", 10, Random(2));
  const GradientBoosting trees{{.trees = 20, .max_leaves = 15}};
  const auto ensemble = PartitionEnsemble::fit(train, trees, {.partitions = 25, .by_source = true, .arena = &arena});
  const auto before = ensemble.predict(test, &arena);
  const PartitionEvaluation evaluation = ensemble.evaluate(test, &arena);
  std::size_t checked = 0, violations = 0, beyond = 0;
  Dataset poisoned = train;
  std::set<std::size_t> hit;
  // The attacker knows the key, hits a new partition with each source, and floods it with the test rows wrongly
  // labelled.
  for (int k = 0; hit.size() < 13; ++k) {
    const Dataset poison =
        with_wrong_labels(with_sources(bare_test, "poisoner" + std::to_string(k) + "-", 1, Random(3)));
    if (!hit.insert(ensemble.partition_of(poison.row(0))).second) continue;
    poisoned = Dataset::concat(poisoned, poison);
    const auto after = ensemble.refit(poisoned, trees).predict(test, &arena);
    for (std::size_t r = 0; r < test.rows(); ++r) {
      const bool changed = after[r].label != before[r].label;
      if (before[r].tolerated >= hit.size())
        ++checked, violations += changed;
      else
        beyond += changed;
    }
  }
  std::printf("%zu %zu %zu %.4f %zu\n", checked, violations, beyond, evaluation.accuracy, evaluation.median_tolerated);
  return 0;
}

}  // namespace

int main(int argc, char** argv) {
  const std::string mode = argc < 2 ? "" : argv[1];
  try {
    const Settings settings(argc, argv);
    Arena arena(settings.number("threads", 1));
    if (mode == "verify") return verify(settings);
    if (mode == "votes") return votes(settings, arena);
    std::fprintf(stderr, "usage: %s verify|votes KEY=VALUE...\n", argv[0]);
    return 2;
  } catch (const redoubt::Error& e) {
    std::fprintf(stderr, "%s\n", e.what());
    return 1;
  }
}
