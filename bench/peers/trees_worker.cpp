// Our side of bench/peers/trees.sh. Usage: peer_trees_worker MODE KEY=VALUE...
//
// Reads what it needs, then does one unit of work per line "run" on stdin and prints its seconds; a line "predict FILE"
// writes the predictions of the last model for x_test.npy, a line "ready" is answered at once. Data are .npy files in
// the folder `dir`.
//   bin     binning alone            dir threads
//   train   boosting on binned data  dir trees leaves threads [depthwise]
//   memory  reads, bins and boosts once, prints peak and earlier resident bytes
#include <sys/resource.h>

#include <chrono>
#include <cstdio>
#include <cstdlib>
#include <filesystem>
#include <iostream>
#include <map>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "redoubt/core/error.hpp"
#include "redoubt/core/parallel.hpp"
#include "redoubt/core/tensor.hpp"
#include "redoubt/data/npy.hpp"
#include "redoubt/trees/binning.hpp"
#include "redoubt/trees/forest.hpp"
#include "redoubt/trees/gradient_boosting.hpp"

namespace {

using namespace redoubt;

double now() { return std::chrono::duration<double>(std::chrono::steady_clock::now().time_since_epoch()).count(); }

class Settings {
 public:
  Settings(int argc, char** argv) {
    for (int i = 2; i < argc; ++i) {
      const std::string text = argv[i];
      const auto equals = text.find('=');
      values_[text.substr(0, equals)] = equals == std::string::npos ? "1" : text.substr(equals + 1);
    }
  }
  bool has(const std::string& name) const { return values_.contains(name); }
  std::string text(const std::string& name) const { return values_.at(name); }
  int number(const std::string& name, int otherwise) const {
    return has(name) ? std::atoi(values_.at(name).c_str()) : otherwise;
  }
  double real(const std::string& name, double otherwise) const {
    return has(name) ? std::atof(values_.at(name).c_str()) : otherwise;
  }
  /// Path of a file in `dir`.
  std::string file(const std::string& name) const { return text("dir") + "/" + name; }

 private:
  std::map<std::string, std::string> values_;
};

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

/// Answers the lines on stdin: "run" does `unit`, "predict FILE" predicts with `forest`.
template <class Unit, class Predict>
void serve(Unit unit, Predict predict) {
  for (std::string line; std::getline(std::cin, line);) {
    if (line.starts_with("predict ")) {
      predict(line.substr(8));
      std::printf("ok\n");
    } else if (line == "ready") {
      std::printf("ok\n");
    } else {
      const double start = now();
      unit();
      std::printf("%.9f\n", now() - start);
    }
    std::fflush(stdout);
  }
}

int run(const std::string& mode, const Settings& settings) {
  Arena arena(settings.number("threads", 1));
  BinningOptions binning;
  binning.arena = &arena;
  if (mode == "bin") {
    const Data data(settings, "train");
    std::optional<BinnedMatrix> last;  // freed outside the timed part, as the peers' are
    serve([&] { last.reset(), last.emplace(data.x, data.categories, binning); }, [](const std::string&) {});
    return 0;
  }
  if (mode == "train") {
    std::optional<Data> data(std::in_place, settings, "train");
    const BinnedMatrix bins(data->x, data->categories, binning);
    data->x = {};
    const auto options = boosting(settings, arena);
    std::optional<Shared<const Forest>> last;
    serve([&] { last = GradientBoosting{options}.fit_binned(bins, data->target(settings)); },
          [&](const std::string& path) { predict_test(**last, settings, path, arena); });
    return 0;
  }
  if (mode == "memory") {
    const Data data(settings, "train");
    const double before = status("VmRSS");
    const BinnedMatrix bins(data.x, data.categories, binning);
    const auto forest = GradientBoosting{boosting(settings, arena)}.fit_binned(bins, data.target(settings));
    std::printf("%.0f %.0f %zu\n", status("VmHWM"), before, forest->trees());
    return 0;
  }
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
