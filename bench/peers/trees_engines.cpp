// The prediction engines of trees.sh, called from C++ through their C interfaces so that no interpreter is timed:
//   peer_trees_engines ENGINE library=LIB model=FILE x=NPY batch=N [cold]
// ENGINE: lightgbm, xgboost, onnxruntime, tl2cgen or lleaves. The libraries come from the peers' own packages and are
// opened at run time; their few functions are declared here. Lines on stdin as for peer_trees_worker; a run prints
// seconds per row. Every engine runs on one thread and gives raw scores.
#include <cmath>
#include <cstdint>
#include <cstdlib>
#include <memory>

#include "bench/peers/engine_library.hpp"
#include "bench/peers/trees_loop.hpp"
#include "redoubt/core/tensor.hpp"
#include "redoubt/data/npy.hpp"

namespace {

using namespace redoubt;
using bench::Library;
using bench::Settings;
using bench::stop;

void check(int code, const char* what) {
  if (code != 0) stop(std::string(what) + " failed");
}

/// Predicts rows [begin, begin + count) of x into out.
struct Engine {
  explicit Engine(const Tensor<float>& rows) : x(rows), out(rows.rows()) {}
  virtual ~Engine() = default;
  virtual void predict(std::size_t begin, std::size_t count) = 0;
  virtual double result(std::size_t row) const { return out[row]; }

  const Tensor<float>& x;
  std::vector<double> out;
};

struct LightGbm final : Engine {
  LightGbm(const Settings& settings, const Tensor<float>& rows) : Engine(rows), library(settings.text("library")) {
    int iterations = 0;
    check(library.get<int(const char*, int*, void**)>("LGBM_BoosterCreateFromModelfile")(settings.text("model").c_str(),
                                                                                         &iterations, &booster),
          "LGBM_BoosterCreateFromModelfile");
    const auto cols = static_cast<std::int32_t>(x.cols());
    check(library.get<int(void*, int, int, int, int, std::int32_t, const char*, void**)>(
              "LGBM_BoosterPredictForMatSingleRowFastInit")(booster, 1, 0, -1, 0, cols, parameters, &fast),
          "LGBM_BoosterPredictForMatSingleRowFastInit");
    if (settings.has("contributions")) contributions.resize(x.rows() * (x.cols() + 1));
    row = library.get<int(void*, const void*, std::int64_t*, double*)>("LGBM_BoosterPredictForMatSingleRowFast");
    matrix = library.get<int(void*, const void*, int, std::int32_t, std::int32_t, int, int, int, int, const char*,
                             std::int64_t*, double*)>("LGBM_BoosterPredictForMat");
  }
  void predict(std::size_t begin, std::size_t count) override {
    std::int64_t length = 0;
    if (!contributions.empty())
      check(
          matrix(booster, x.row(begin).data(), 0, static_cast<std::int32_t>(count), static_cast<std::int32_t>(x.cols()),
                 1, 3, 0, -1, parameters, &length, &contributions[begin * (x.cols() + 1)]),
          "contributions");
    else if (count == 1)
      check(row(fast, x.row(begin).data(), &length, &out[begin]), "predict row");
    else
      check(matrix(booster, x.row(begin).data(), 0, static_cast<std::int32_t>(count),
                   static_cast<std::int32_t>(x.cols()), 1, 1, 0, -1, parameters, &length, &out[begin]),
            "predict matrix");
  }

  const char* parameters = "num_threads=1";
  std::vector<double> contributions;  // rows x (columns + 1), if they are asked for
  Library library;
  void* booster = nullptr;
  void* fast = nullptr;
  int (*row)(void*, const void*, std::int64_t*, double*);
  int (*matrix)(void*, const void*, int, std::int32_t, std::int32_t, int, int, int, int, const char*, std::int64_t*,
                double*);
};

struct XgBoost final : Engine {
  XgBoost(const Settings& settings, const Tensor<float>& rows)
      : Engine(rows), library(settings.text("library")), values(rows.rows()) {
    check(library.get<int(const void*, std::uint64_t, void**)>("XGBoosterCreate")(nullptr, 0, &booster), "create");
    check(library.get<int(void*, const char*)>("XGBoosterLoadModel")(booster, settings.text("model").c_str()), "load");
    check(library.get<int(void*, const char*, const char*)>("XGBoosterSetParam")(booster, "nthread", "1"), "nthread");
    dense =
        library.get<int(void*, const char*, const char*, void*, const std::uint64_t**, std::uint64_t*, const float**)>(
            "XGBoosterPredictFromDense");
  }
  void predict(std::size_t begin, std::size_t count) override {
    char array[160];
    std::snprintf(array, sizeof array, R"({"data":[%zu,true],"shape":[%zu,%zu],"typestr":"<f4","version":3})",
                  reinterpret_cast<std::size_t>(x.row(begin).data()), count, x.cols());
    const std::uint64_t* shape = nullptr;
    std::uint64_t dims = 0;
    const float* scores = nullptr;
    check(
        dense(booster, array,
              R"({"type":1,"training":false,"iteration_begin":0,"iteration_end":0,"strict_shape":false,"missing":NaN})",
              nullptr, &shape, &dims, &scores),
        "predict");
    std::copy_n(scores, count, values.begin() + static_cast<std::ptrdiff_t>(begin));
  }
  double result(std::size_t row) const override { return values[row]; }

  Library library;
  void* booster = nullptr;
  std::vector<float> values;
  int (*dense)(void*, const char*, const char*, void*, const std::uint64_t**, std::uint64_t*, const float**);
};

struct OnnxRuntime final : Engine {
  OnnxRuntime(const Settings& settings, const Tensor<float>& rows)
      : Engine(rows),
        api(settings.text("library")),
        session(api.session(settings.text("model"), 1)),
        memory(api.memory()),
        values(rows.rows()) {}
  void predict(std::size_t begin, std::size_t count) override {
    const std::int64_t shape[] = {static_cast<std::int64_t>(count), static_cast<std::int64_t>(x.cols())};
    const std::int64_t out_shape[] = {static_cast<std::int64_t>(count), 1};
    void* const in = api.tensor(memory, x.row(begin).data(), shape, 2);
    void* const result = api.tensor(memory, &values[begin], out_shape, 2);
    api.predict(session, "x", in, "variable", result);
    api.release(in);
    api.release(result);
  }
  double result(std::size_t row) const override { return values[row]; }

  bench::OrtApi api;
  void *session, *memory;
  std::vector<float> values;
};

/// Code that tl2cgen made: one function per row over an array of unions, which its quantised form overwrites.
struct Tl2cgen final : Engine {
  union Entry {
    int missing;
    double value;
  };
  Tl2cgen(const Settings& settings, const Tensor<float>& rows)
      : Engine(rows), library(settings.text("model")), row(rows.cols()) {
    function = library.get<void(Entry*, int, double*)>("predict");
  }
  void predict(std::size_t begin, std::size_t count) override {
    for (std::size_t r = begin; r < begin + count; ++r) {
      const float* src = x.row(r).data();
      for (std::size_t c = 0; c < row.size(); ++c) {
        row[c].value = src[c];
        if (std::isnan(src[c])) row[c].missing = -1;
      }
      out[r] = 0;
      function(row.data(), 1, &out[r]);
    }
  }

  Library library;
  std::vector<Entry> row;
  void (*function)(Entry*, int, double*);
};

/// Code that lleaves made. It takes doubles: they are given as such, the conversion is not timed.
struct Lleaves final : Engine {
  Lleaves(const Settings& settings, const Tensor<float>& rows)
      : Engine(rows), library(settings.text("model")), doubles(rows.flat().begin(), rows.flat().end()) {
    function = library.get<void(const double*, double*, int, int)>("forest_root");
  }
  void predict(std::size_t begin, std::size_t count) override {
    function(doubles.data() + begin * x.cols(), &out[begin], 0, static_cast<int>(count));
  }

  Library library;
  std::vector<double> doubles;
  void (*function)(const double*, double*, int, int);
};

std::unique_ptr<Engine> make(const std::string& name, const Settings& settings, const Tensor<float>& rows) {
  if (name == "lightgbm") return std::make_unique<LightGbm>(settings, rows);
  if (name == "xgboost") return std::make_unique<XgBoost>(settings, rows);
  if (name == "onnxruntime") return std::make_unique<OnnxRuntime>(settings, rows);
  if (name == "tl2cgen") return std::make_unique<Tl2cgen>(settings, rows);
  if (name == "lleaves") return std::make_unique<Lleaves>(settings, rows);
  stop("unknown engine " + name);
}

}  // namespace

int main(int argc, char** argv) {
  if (argc < 2) stop("usage: peer_trees_engines ENGINE KEY=VALUE...");
  const Settings settings(argc, argv);
  const Tensor<float> rows = read_npy<float>(settings.text("x"));
  const auto engine = make(argv[1], settings, rows);
  bench::PredictLoop loop(rows.rows(), settings);
  return bench::serve(
      [&] { return loop([&](std::size_t begin, std::size_t count) { engine->predict(begin, count); }); },
      [&](const std::string& path) {
        const auto batch = static_cast<std::size_t>(settings.number("batch", 1));
        const std::size_t count = settings.has("contributions") ? batch : rows.rows();
        for (std::size_t r = 0; r < count; r += batch) engine->predict(r, std::min(batch, count - r));
        if (const auto* lightgbm = dynamic_cast<LightGbm*>(engine.get()); lightgbm && settings.has("contributions")) {
          Tensor<double> all({batch, rows.cols() + 1});
          std::copy_n(lightgbm->contributions.begin(), all.size(), all.data());
          write_npy<double>(all, path);
          return;
        }
        Tensor<double> out({rows.rows()});
        for (std::size_t r = 0; r < rows.rows(); ++r) out.data()[r] = engine->result(r);
        write_npy<double>(out, path);
      });
}
