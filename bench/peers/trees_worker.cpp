// Our side of bench/peers/trees.sh. Usage: peer_trees_worker MODE KEY=VALUE...
//
// Reads what it needs, then does one unit of work per line "run" on stdin and prints its seconds; a line "predict FILE"
// writes the predictions of the last model for x_test.npy, a line "ready" is answered at once. Data are .npy files in
// the folder `dir`.
//   bin     binning alone            dir threads
//   train   boosting on binned data  dir trees leaves threads [depthwise]
//   predict seconds per row       dir of trees_models.py, batch [cold]
//   shap    seconds per row of SHAP values   dir of trees_models.py, rows
//   forest, extra_trees  a forest from floats   dir classes trees threads
//   quality boosts once, writes predictions for x_test.npy   dir classes trees leaves bins seed out; ranks if there is
//           group_train.npy
//   iforest lines "load FOLDER", "fit", "score"
//   iforest_seeds  scores of x.npy by several forests   dir first seeds out
//   memory  reads, bins and boosts once, prints peak and earlier resident bytes
#include <sched.h>
#include <sys/resource.h>

#include <atomic>
#include <cstdio>
#include <cstdlib>
#include <filesystem>
#include <memory>
#include <optional>
#include <string>
#include <thread>
#include <vector>

#include "bench/peers/trees_loop.hpp"
#include "redoubt/core/error.hpp"
#include "redoubt/core/parallel.hpp"
#include "redoubt/core/tensor.hpp"
#include "redoubt/data/npy.hpp"
#include "redoubt/data/sparse.hpp"
#include "redoubt/interop/lightgbm.hpp"
#include "redoubt/trees/binning.hpp"
#include "redoubt/trees/extra_trees.hpp"
#include "redoubt/trees/forest.hpp"
#include "redoubt/trees/gradient_boosting.hpp"
#include "redoubt/trees/isolation_forest.hpp"
#include "redoubt/trees/random_forest.hpp"
#include "redoubt/trees/shap.hpp"

namespace {

using namespace redoubt;
using bench::serve;
using bench::Settings;

/// x (dense, or sparse where the case is), y, categories.
struct Data {
  Tensor<float> x;
  std::vector<std::uint64_t> row_offsets;  // sparse, with the next two
  std::vector<std::uint32_t> columns;
  std::vector<float> cells;
  std::size_t cols = 0;
  std::vector<std::uint32_t> categories;
  std::vector<std::int32_t> labels;
  std::vector<double> values;
  int max_bins = 255;

  Data(const Settings& settings, const std::string& part) {
    if (std::filesystem::exists(settings.file("x_" + part + ".npy"))) {
      x = read_npy<float>(settings.file("x_" + part + ".npy"));
    } else {
      fill(row_offsets, read_npy<std::int64_t>(settings.file("indptr_" + part + ".npy")));
      fill(columns, read_npy<std::int32_t>(settings.file("indices_" + part + ".npy")));
      fill(cells, read_npy<float>(settings.file("data_" + part + ".npy")));
      cols = static_cast<std::size_t>(settings.number("cols", 0));
    }
    if (std::filesystem::exists(settings.file("categories.npy")))
      fill(categories, read_npy<std::int32_t>(settings.file("categories.npy")));
    max_bins = settings.number("bins", max_bins);
    const auto y = read_npy<double>(settings.file("y_" + part + ".npy"));
    if (settings.number("classes", 0) > 0)
      fill(labels, y);
    else
      fill(values, y);
  }

  template <class To, class From>
  static void fill(std::vector<To>& to, const Tensor<From>& from) {
    to.reserve(from.size());
    for (const From v : from.flat()) to.push_back(static_cast<To>(v));
  }

  BinnedMatrix bins(Arena& arena) const {
    BinningOptions options;
    options.arena = &arena;
    options.max_bins = max_bins;
    if (row_offsets.empty()) return BinnedMatrix(x, categories, options);
    return BinnedMatrix(CsrView{row_offsets, columns, cells, cols}, categories, options);
  }

  /// The rows spread out, as prediction takes them.
  Tensor<float> dense() const {
    if (row_offsets.empty()) return x;
    Tensor<float> out({row_offsets.size() - 1, cols});
    for (std::size_t r = 0; r + 1 < row_offsets.size(); ++r)
      for (std::size_t i = row_offsets[r]; i < row_offsets[r + 1]; ++i) out(r, columns[i]) = cells[i];
    return out;
  }

  TreeTarget target(const Settings& settings) const {
    const auto classes = static_cast<std::size_t>(settings.number("classes", 0));
    if (classes > 0) return {.task = Task::classification, .labels = labels, .classes = classes};
    return {.task = Task::regression, .values = values};
  }
};

GradientBoostingOptions boosting(const Settings& settings, Arena& arena) {
  GradientBoostingOptions options;
  options.trees = settings.number("trees", 100);
  options.max_leaves = settings.number("leaves", 31);
  options.learning_rate = settings.real("lr", 0.1);
  options.min_leaf_rows = settings.number("min_rows", 20);
  options.seed = static_cast<std::uint64_t>(settings.number("seed", 0));
  options.arena = &arena;
  return options;
}

/// The value after `name:` in /proc/self/status, in bytes.
double status(const char* name) {
  std::FILE* file = std::fopen("/proc/self/status", "r");
  char line[256];
  double bytes = 0;
  while (std::fgets(line, sizeof line, file)) {
    long kib = 0;
    char key[64];
    if (std::sscanf(line, "%63[^:]: %ld kB", key, &kib) == 2 && std::string(key) == name) bytes = 1024.0 * kib;
  }
  std::fclose(file);
  return bytes;
}

/// What it takes until one CPU sees what another wrote.
double hand_over_nanoseconds() {
  alignas(64) static std::atomic<int> turn = 0;
  constexpr int rounds = 200'000;
  const auto stay_on = [](int cpu) {
    cpu_set_t set;
    CPU_ZERO(&set);
    CPU_SET(cpu, &set);
    sched_setaffinity(0, sizeof set, &set);
  };
  double seconds = 0;
  std::thread other([&] {
    stay_on(1);
    for (int i = 0; i < rounds; ++i) {
      while (turn.load() != 2 * i + 1) continue;
      turn.store(2 * i + 2);
    }
  });
  std::thread one([&] {
    stay_on(0);
    const double start = bench::now();
    for (int i = 0; i < rounds; ++i) {
      turn.store(2 * i + 1);
      while (turn.load() != 2 * i + 2) continue;
    }
    seconds = bench::now() - start;
  });
  one.join();
  other.join();
  return 1e9 * seconds / (2 * rounds);
}

void predict_test(const Forest& forest, const Settings& settings, const std::string& path, Arena& arena) {
  const Tensor<float> x = Data(settings, "test").dense();
  Tensor<float> out({x.rows(), forest.outputs()});
  forest.predict_batch(x, out, &arena);
  write_npy<float>(out, path);
}

/// Seconds per row of a forest that other engines have, too.
int predict(const Settings& settings, Arena& arena) {
  const auto model = read_lightgbm_forest(settings.file("lightgbm.txt"));
  const Forest& forest = *model;
  const auto x = read_npy<float>(settings.file("x.npy"));
  const MatrixView<const float> rows(x);
  const auto batch = static_cast<std::size_t>(settings.number("batch", 1));
  Tensor<float> out({x.rows(), 1});
  const MatrixView<float> results(out);
  const auto call = [&](std::size_t begin, std::size_t count) {
    if (batch == 1)
      forest.predict(rows.row(begin), results.row(begin), {});
    else
      forest.predict_batch(rows.slice(begin, begin + count), results.slice(begin, begin + count), &arena);
  };
  bench::PredictLoop loop(x.rows(), settings);
  return serve([&] { return loop(call); },
               [&](const std::string& path) {
                 for (std::size_t r = 0; r < x.rows(); r += batch) call(r, std::min(batch, x.rows() - r));
                 write_npy<float>(out, path);
               });
}

/// Trains once and writes the predictions for the test rows.
int quality(const Settings& settings, Arena& arena) {
  const Data data(settings, "train");
  const BinnedMatrix bins = data.bins(arena);
  TreeTarget target = data.target(settings);
  GradientBoostingOptions options = boosting(settings, arena);
  std::vector<std::uint32_t> queries;
  if (std::filesystem::exists(settings.file("group_train.npy"))) {
    const auto sizes = read_npy<std::int32_t>(settings.file("group_train.npy"));
    for (std::size_t q = 0; q < sizes.size(); ++q)
      queries.insert(queries.end(), static_cast<std::size_t>(sizes.data()[q]), static_cast<std::uint32_t>(q));
    target.queries = queries;
    options.loss = Loss::lambdarank;
  }
  const auto forest = GradientBoosting{options}.fit_binned(bins, target);
  predict_test(*forest, settings, settings.text("out"), arena);
  return 0;
}

/// A unit of work whose seconds are those of the whole of it.
template <class Unit>
auto timed(Unit unit) {
  return [unit] {
    const double start = bench::now();
    unit();
    return bench::now() - start;
  };
}

/// SHAP values of the first rows, path-dependent. The tables are built once, before.
int shap(const Settings& settings, Arena& arena) {
  const auto model = read_lightgbm_forest(settings.file("lightgbm.txt"));
  const Forest& forest = *model;
  const auto x = read_npy<float>(settings.file("x.npy"));
  const auto rows = static_cast<std::size_t>(settings.number("rows", 500));
  const TreeShap explainer(forest);
  Tensor<double> out({rows, x.cols()});
  const auto run = timed([&] { explainer.values(MatrixView<const float>(x).slice(0, rows), out, &arena); });
  return serve([&] { return run() / static_cast<double>(rows); },
               [&](const std::string& path) { write_npy<double>(out, path); });
}

void score(const Forest& forest, const Tensor<float>& x, std::span<float> to, Arena& arena) {
  forest.predict_batch(x, MatrixView<float>(to.data(), x.rows(), 1), &arena);
}

/// Lines "load FOLDER", "fit", "score": each is answered with its seconds.
int isolation(Arena& arena) {
  Tensor<float> x, out;
  std::optional<Shared<const Forest>> forest;
  for (std::string line; std::getline(std::cin, line);) {
    if (line.starts_with("load ")) {
      x = read_npy<float>(line.substr(5) + "/x.npy");
      out = Tensor<float>({x.rows(), 1});
    }
    const double start = bench::now();
    if (line == "fit") forest = IsolationForest{}.fit_encoded(x);
    if (line == "score") score(**forest, x, out.flat(), arena);
    std::printf("%.9f\n", bench::now() - start);
    std::fflush(stdout);
  }
  return 0;
}

/// Scores of x.npy by forests of several seeds: seeds x rows.
int isolation_seeds(const Settings& settings, Arena& arena) {
  const auto x = read_npy<float>(settings.file("x.npy"));
  const auto seeds = static_cast<std::size_t>(settings.number("seeds", 5));
  const auto first = static_cast<std::uint64_t>(settings.number("first", 0));
  Tensor<float> out({seeds, x.rows()});
  for (std::size_t i = 0; i < seeds; ++i)
    score(*IsolationForest{{.seed = first + i}}.fit_encoded(x), x, out.row(i), arena);
  write_npy<float>(out, settings.text("out"));
  return 0;
}

/// A forest from floats, binning within the time.
template <class Learner>
int bagging(const Learner& learner, const Settings& settings, Arena& arena) {
  const Data data(settings, "train");
  std::optional<RandomForestFit> last;
  return serve(timed([&] { last = learner.fit_encoded(data.x, {}, data.target(settings), false); }),
               [&](const std::string& path) { predict_test(*last->forest, settings, path, arena); });
}

int run(const std::string& mode, const Settings& settings) {
  Arena arena(settings.number("threads", 1));
  if (mode == "bin") {
    const Data data(settings, "train");
    std::optional<BinnedMatrix> last;  // freed outside the timed part, as the peers' are
    return serve(
        [&] {
          last.reset();
          return timed([&] { last.emplace(data.bins(arena)); })();
        },
        [](const std::string&) {});
  }
  if (mode == "train") {
    std::optional<Data> data(std::in_place, settings, "train");
    const BinnedMatrix bins = data->bins(arena);
    data->x = {};
    const auto options = boosting(settings, arena);
    std::optional<Shared<const Forest>> last;
    return serve(timed([&] { last = GradientBoosting{options}.fit_binned(bins, data->target(settings)); }),
                 [&](const std::string& path) { predict_test(**last, settings, path, arena); });
  }
  if (mode == "cores") {
    std::printf("%.0f\n", hand_over_nanoseconds());
    return 0;
  }
  if (mode == "memory") {
    const Data data(settings, "train");
    const double before = status("VmRSS");
    const BinnedMatrix bins = data.bins(arena);
    const auto forest = GradientBoosting{boosting(settings, arena)}.fit_binned(bins, data.target(settings));
    std::printf("%.0f %.0f %zu\n", status("VmHWM"), before, forest->trees());
    return 0;
  }
  if (mode == "forest")
    return bagging(RandomForest{{.trees = settings.number("trees", 10), .arena = &arena}}, settings, arena);
  if (mode == "extra_trees")
    return bagging(ExtraTrees{{.trees = settings.number("trees", 10), .arena = &arena}}, settings, arena);
  if (mode == "shap") return shap(settings, arena);
  if (mode == "quality") return quality(settings, arena);
  if (mode == "predict") return predict(settings, arena);
  if (mode == "iforest") return isolation(arena);
  if (mode == "iforest_seeds") return isolation_seeds(settings, arena);
  std::fprintf(stderr, "unknown mode %s\n", mode.c_str());
  return 2;
}

}  // namespace

int main(int argc, char** argv) { return redoubt::bench::run_worker(argc, argv, run); }
