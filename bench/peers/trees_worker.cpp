// Our side of bench/peers/trees.sh. Usage: peer_trees_worker MODE KEY=VALUE...
//
// Reads what it needs, then does one unit of work per line "run" on stdin and prints its seconds; a line "predict FILE"
// writes the predictions of the last model for x_test.npy, a line "ready" is answered at once. Data are .npy files in
// the folder `dir`.
//   bin     binning alone            dir threads
//   train   boosting on binned data  dir trees leaves threads [depthwise]
//   predict seconds per row       dir of trees_models.py, batch [cold]
//   forest  a random forest from floats   dir trees threads
//   quality boosts once, writes predictions for x_test.npy   dir classes trees leaves seed out [objective]
//   iforest_fit, iforest_score, iforest_seeds   isolation forests on x.npy   dir [seeds out]
//   memory  reads, bins and boosts once, prints peak and earlier resident bytes
#include <sys/resource.h>

#include <cstdio>
#include <cstdlib>
#include <filesystem>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "bench/peers/trees_loop.hpp"
#include "redoubt/core/error.hpp"
#include "redoubt/core/parallel.hpp"
#include "redoubt/core/tensor.hpp"
#include "redoubt/data/npy.hpp"
#include "redoubt/trees/binning.hpp"
#include "redoubt/trees/forest.hpp"
#include "redoubt/trees/gradient_boosting.hpp"
#include "redoubt/trees/isolation_forest.hpp"
#include "redoubt/trees/random_forest.hpp"

namespace {

using namespace redoubt;
using bench::serve;
using bench::Settings;

/// x as floats (a sparse case is read as CSR and spread out: that is what the library takes), y, categories.
struct Data {
  Tensor<float> x;
  std::vector<std::uint32_t> categories;
  std::vector<std::int32_t> labels;
  std::vector<double> values;

  Data(const Settings& settings, const std::string& part) {
    x = read_matrix(settings, part);
    if (std::filesystem::exists(settings.file("categories.npy"))) {
      const auto counts = read_npy<std::int32_t>(settings.file("categories.npy"));
      categories.assign(counts.flat().begin(), counts.flat().end());
    }
    const auto y = read_npy<double>(settings.file("y_" + part + ".npy"));
    if (settings.number("classes", 0) > 0)
      for (const double v : y.flat()) labels.push_back(static_cast<std::int32_t>(v));
    else
      values.assign(y.flat().begin(), y.flat().end());
  }

  static Tensor<float> read_matrix(const Settings& settings, const std::string& part) {
    const std::string dense = settings.file("x_" + part + ".npy");
    if (std::filesystem::exists(dense)) return read_npy<float>(dense);
    const auto offsets = read_npy<std::int64_t>(settings.file("indptr_" + part + ".npy"));
    const auto columns = read_npy<std::int32_t>(settings.file("indices_" + part + ".npy"));
    const auto cells = read_npy<float>(settings.file("data_" + part + ".npy"));
    Tensor<float> x({offsets.size() - 1, static_cast<std::size_t>(settings.number("cols", 0))});
    for (std::size_t r = 0; r + 1 < offsets.size(); ++r)
      for (auto i = static_cast<std::size_t>(offsets.data()[r]); i < static_cast<std::size_t>(offsets.data()[r + 1]);
           ++i)
        x(r, static_cast<std::size_t>(columns.data()[i])) = cells.data()[i];
    return x;
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

void predict_test(const Forest& forest, const Settings& settings, const std::string& path, Arena& arena) {
  const Tensor<float> x = Data::read_matrix(settings, "test");
  Tensor<float> out({x.rows(), forest.outputs()});
  forest.predict_batch(x, out, &arena);
  write_npy<float>(out, path);
}

/// The forest whose arrays trees_models.py wrote: the very trees that the other engines have.
Forest read_forest(const Settings& settings) {
  ForestArrays arrays;
  const auto integers = [&](const char* name) { return read_npy<std::int32_t>(settings.file(name)); };
  const auto floats = [&](const char* name) {
    const auto values = read_npy<float>(settings.file(name));
    return std::vector<float>(values.flat().begin(), values.flat().end());
  };
  for (const auto& [to, name] : {std::pair{&arrays.roots, "roots.npy"}, std::pair{&arrays.left, "left.npy"},
                                 std::pair{&arrays.right, "right.npy"}}) {
    const auto values = integers(name);
    to->assign(values.flat().begin(), values.flat().end());
  }
  const auto feature = integers("feature.npy");
  arrays.feature.assign(feature.flat().begin(), feature.flat().end());
  arrays.threshold = floats("threshold.npy");
  arrays.leaf_values = floats("leaf.npy");
  arrays.cover = floats("cover.npy");
  arrays.leaf_cover = floats("leaf_cover.npy");
  arrays.outputs_of.assign(arrays.roots.size(), 0);
  arrays.flags.assign(arrays.feature.size(), 0);
  arrays.category_set.assign(arrays.feature.size(), -1);
  arrays.gain.assign(arrays.feature.size(), 0.0F);
  return Forest({.inputs = 28, .outputs = 1, .base = {0.0F}}, std::move(arrays));
}

/// Seconds per row of a forest that other engines have, too.
int predict(const Settings& settings, Arena& arena) {
  const Forest forest = read_forest(settings);
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
  BinningOptions binning;
  binning.arena = &arena;
  const BinnedMatrix bins(data.x, data.categories, binning);
  if (settings.has("objective")) {
    std::fprintf(stderr, "objective %s: not there yet\n", settings.text("objective").c_str());
    return 1;
  }
  const auto forest = GradientBoosting{boosting(settings, arena)}.fit_binned(bins, data.target(settings));
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

/// Fits isolation forests, or scores with one, or (seeds) writes a row of scores per seed.
int isolation(const std::string& mode, const Settings& settings, Arena& arena) {
  const auto x = read_npy<float>(settings.file("x.npy"));
  IsolationForestOptions options;
  if (mode == "iforest_fit")
    return serve(timed([&] { (void)IsolationForest{options}.fit_encoded(x); }), [](const std::string&) {});
  const auto score = [&](const Forest& forest, std::span<float> to) {
    forest.predict_batch(x, MatrixView<float>(to.data(), x.rows(), 1), &arena);
  };
  if (mode == "iforest_score") {
    const auto forest = IsolationForest{options}.fit_encoded(x);
    Tensor<float> out({x.rows(), 1});
    return serve(timed([&] { score(*forest, out.flat()); }), [](const std::string&) {});
  }
  const auto seeds = static_cast<std::size_t>(settings.number("seeds", 5));
  Tensor<float> out({seeds, x.rows()});
  for (std::size_t seed = 0; seed < seeds; ++seed) {
    options.seed = seed;
    score(*IsolationForest{options}.fit_encoded(x), out.row(seed));
  }
  write_npy<float>(out, settings.text("out"));
  return 0;
}

int run(const std::string& mode, const Settings& settings) {
  Arena arena(settings.number("threads", 1));
  BinningOptions binning;
  binning.arena = &arena;
  if (mode == "bin") {
    const Data data(settings, "train");
    std::optional<BinnedMatrix> last;  // freed outside the timed part, as the peers' are
    return serve(
        [&] {
          last.reset();
          return timed([&] { last.emplace(data.x, data.categories, binning); })();
        },
        [](const std::string&) {});
  }
  if (mode == "train") {
    std::optional<Data> data(std::in_place, settings, "train");
    const BinnedMatrix bins(data->x, data->categories, binning);
    data->x = {};
    const auto options = boosting(settings, arena);
    std::optional<Shared<const Forest>> last;
    return serve(timed([&] { last = GradientBoosting{options}.fit_binned(bins, data->target(settings)); }),
                 [&](const std::string& path) { predict_test(**last, settings, path, arena); });
  }
  if (mode == "memory") {
    const Data data(settings, "train");
    const double before = status("VmRSS");
    const BinnedMatrix bins(data.x, data.categories, binning);
    const auto forest = GradientBoosting{boosting(settings, arena)}.fit_binned(bins, data.target(settings));
    std::printf("%.0f %.0f %zu\n", status("VmHWM"), before, forest->trees());
    return 0;
  }
  if (mode == "forest") {
    const Data data(settings, "train");
    const RandomForest learner{{.trees = settings.number("trees", 10), .arena = &arena}};
    std::optional<RandomForestFit> last;
    return serve(timed([&] { last = learner.fit_encoded(data.x, {}, data.target(settings), false); }),
                 [&](const std::string& path) { predict_test(*last->forest, settings, path, arena); });
  }
  if (mode == "quality") return quality(settings, arena);
  if (mode == "predict") return predict(settings, arena);
  if (mode.starts_with("iforest_")) return isolation(mode, settings, arena);
  std::fprintf(stderr, "unknown mode %s\n", mode.c_str());
  return 2;
}

}  // namespace

int main(int argc, char** argv) {
  if (argc < 2) {
    std::fprintf(stderr, "usage: %s MODE KEY=VALUE...\n", argv[0]);
    return 2;
  }
  try {
    return run(argv[1], Settings(argc, argv));
  } catch (const redoubt::Error& e) {
    std::fprintf(stderr, "%s\n", e.what());
    return 1;
  }
}
