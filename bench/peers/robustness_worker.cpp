// Our side of bench/peers/robustness.sh. Usage: peer_robustness_worker MODE KEY=VALUE...
//   outliers  lines "load FOLDER" (x.npy), "run METHOD" -> seconds, "scores FILE" of the last run   threads [seed]
//   flips     value of labels by knn_shapley and Data-OOB, and what the checks flag: lines "run FOLDER" (x.npy, y.npy,
//   vx.npy,
//             vy.npy) -> seconds; writes shapley.npy, oob.npy and flagged_CHECK.npy there   threads k
//   shapley   the same without the checks
#include <cstdio>
#include <string>
#include <vector>

#include "bench/peers/trees_loop.hpp"
#include "redoubt/core/error.hpp"
#include "redoubt/core/parallel.hpp"
#include "redoubt/core/tensor.hpp"
#include "redoubt/data/dataset.hpp"
#include "redoubt/data/npy.hpp"
#include "redoubt/robustness/poisoning/data_oob.hpp"
#include "redoubt/robustness/poisoning/deep_knn.hpp"
#include "redoubt/robustness/poisoning/knn_shapley.hpp"
#include "redoubt/robustness/poisoning/outlier_scores.hpp"
#include "redoubt/trees/forest.hpp"
#include "redoubt/trees/isolation_forest.hpp"
#include "redoubt/trees/random_forest.hpp"

namespace {

using namespace redoubt;
using bench::Settings;

std::vector<double> scores_of(const std::string& method, const Tensor<float>& x, std::uint64_t seed, Arena& arena) {
  if (method == "ecod") return ecod_scores(x, &arena);
  if (method == "hbos") return hbos_scores(x, {.arena = &arena});
  if (method == "knn") return knn_scores(x, 5, &arena);
  if (method == "lof") return lof_scores(x, 20, &arena);
  if (method == "mcd") return robust_distance_scores(x, {.seed = seed, .arena = &arena});
  // PyOD's fit also scores the rows that it learns from.
  const auto forest = IsolationForest{{.seed = seed, .arena = &arena}}.fit_encoded(x);
  Tensor<float> out({x.rows(), 1});
  forest->predict_batch(x, out, &arena);
  return {out.data(), out.data() + out.size()};
}

int outliers(const Settings& settings) {
  Arena arena(settings.number("threads", 1));
  Tensor<float> x;
  std::vector<double> scores;
  for (std::string line; std::getline(std::cin, line);) {
    const auto space = line.find(' ');
    const std::string command = line.substr(0, space), argument = line.substr(space + 1);
    if (command == "load") {
      x = read_npy<float>(argument + "/x.npy");
      std::printf("ok\n");
    } else if (command == "scores") {
      Tensor<double> out({scores.size()});
      std::copy(scores.begin(), scores.end(), out.data());
      write_npy<double>(out, argument);
      std::printf("ok\n");
    } else {
      const auto colon = argument.find(':');  // METHOD:SEED
      const std::uint64_t seed = colon == std::string::npos ? 0 : std::stoull(argument.substr(colon + 1));
      const double start = bench::now();
      scores = scores_of(argument.substr(0, colon), x, seed, arena);
      std::printf("%.9f\n", bench::now() - start);
    }
    std::fflush(stdout);
  }
  return 0;
}

void write_flags(const Verdict& verdict, std::size_t rows, const std::string& path) {
  Tensor<double> out({rows});
  for (const auto& finding : verdict.findings) out.data()[finding.row] = 1;
  write_npy<double>(out, path);
}

void flag(const Tensor<float>& x, const Tensor<std::int32_t>& y, const std::string& folder, Arena& arena) {
  const auto data = Dataset::from_matrix(MatrixView<const float>(x), y.flat());
  Batch batch;
  batch.data = &data;
  batch.features = x;
  batch.arena = &arena;
  write_flags(run_check(KnnShapley{}, batch), x.rows(), folder + "flagged_knn_shapley.npy");
  write_flags(run_check(DeepKnn{}, batch), x.rows(), folder + "flagged_deep_knn.npy");
  write_flags(run_check(DataOob{}, batch), x.rows(), folder + "flagged_data_oob.npy");
  const auto fit = RandomForest{{.trees = 800, .arena = &arena}}.fit_encoded(
      x, {}, {.task = Task::classification, .labels = y.flat(), .classes = 2, .values = {}, .weights = {}});
  Tensor<double> values({x.rows()});
  std::copy(fit.oob_correct.begin(), fit.oob_correct.end(), values.data());
  write_npy<double>(values, folder + "oob.npy");
}

int flips(const Settings& settings, bool checks) {
  Arena arena(settings.number("threads", 1));
  const auto k = static_cast<std::size_t>(settings.number("k", 10));
  for (std::string line; std::getline(std::cin, line);) {
    const std::string folder = line.substr(line.find(' ') + 1) + "/";
    const auto x = read_npy<float>(folder + "x.npy"), queries = read_npy<float>(folder + "vx.npy");
    const auto y = read_npy<std::int32_t>(folder + "y.npy"), query_labels = read_npy<std::int32_t>(folder + "vy.npy");
    const double start = bench::now();
    const auto values = knn_shapley(x, y.flat(), queries, query_labels.flat(), k, &arena);
    const double seconds = bench::now() - start;
    Tensor<double> out({values.size()});
    std::copy(values.begin(), values.end(), out.data());
    write_npy<double>(out, folder + "shapley.npy");
    if (checks) flag(x, y, folder, arena);
    std::printf("%.9f\n", seconds);
    std::fflush(stdout);
  }
  return 0;
}

int run(const std::string& mode, const Settings& settings) {
  if (mode == "outliers") return outliers(settings);
  if (mode == "flips") return flips(settings, true);
  if (mode == "shapley") return flips(settings, false);
  std::fprintf(stderr, "unknown mode %s\n", mode.c_str());
  return 2;
}

}  // namespace

int main(int argc, char** argv) { return redoubt::bench::run_worker(argc, argv, run); }
