// The inference engines of nn.sh, called from C++ through their C interfaces so that no interpreter is timed:
//   peer_nn_engines ENGINE library=LIB model=ONNX x=NPY outputs=N batch=N threads=N [precision=f32|bf16] [tail]
// ENGINE: onnxruntime or openvino. The model has a fixed batch. Lines on stdin as for peer_trees_worker; a run prints
// seconds per row, or with `tail` the 99th percentile of single calls.
#include <memory>
#include <utility>
#include <vector>

#include "bench/peers/engine_library.hpp"
#include "bench/peers/trees_loop.hpp"
#include "redoubt/core/tensor.hpp"
#include "redoubt/data/npy.hpp"

namespace {

using namespace redoubt;
using bench::Settings;
using bench::stop;

struct Engine {
  Engine(const Settings& settings, const Tensor<float>& rows)
      : x(rows),
        batch(static_cast<std::size_t>(settings.number("batch", 1))),
        out({rows.rows(), static_cast<std::size_t>(settings.number("outputs", 1))}),
        tensors(rows.rows()) {}
  virtual ~Engine() = default;
  /// Rows [begin, begin + batch) of x.
  virtual void predict(std::size_t begin) = 0;

  const Tensor<float>& x;
  std::size_t batch;
  Tensor<float> out;
  std::vector<std::pair<void*, void*>> tensors;  // input and output of the batch that begins there, made once
};

struct OnnxRuntime final : Engine {
  OnnxRuntime(const Settings& settings, const Tensor<float>& rows)
      : Engine(settings, rows),
        api(settings.text("library")),
        session(api.session(settings.text("model"), settings.number("threads", 1))),
        memory(api.memory()) {}
  void predict(std::size_t begin) override {
    const auto n = static_cast<std::int64_t>(batch);
    const std::int64_t shape[] = {n, static_cast<std::int64_t>(x.cols())};
    const std::int64_t out_shape[] = {n, static_cast<std::int64_t>(out.cols())};
    auto& [in, result] = tensors[begin];
    if (!in) {
      in = api.tensor(memory, x.row(begin).data(), shape, 2);
      result = api.tensor(memory, out.row(begin).data(), out_shape, 2);
    }
    api.predict(session, "x", in, "y", result);
  }

  bench::OrtApi api;
  void *session, *memory;
};

/// One request whose tensors are set anew for every batch.
struct OpenVino final : Engine {
  struct Shape {
    std::int64_t rank;
    std::int64_t* dims;
  };
  static void check(int status, const char* what) {
    if (status != 0) stop(std::string("OpenVINO: ") + what + ": status " + std::to_string(status));
  }
  OpenVino(const Settings& settings, const Tensor<float>& rows)
      : Engine(settings, rows), library(settings.text("library")) {
    void *core = nullptr, *compiled = nullptr;
    check(library.get<int(void**)>("ov_core_create")(&core), "core");
    const std::string threads = std::to_string(settings.number("threads", 1));
    const std::string precision = settings.has("precision") ? settings.text("precision") : "f32";
    check(
        library.get<int(const void*, const char*, const char*, std::size_t, void**, ...)>(
            "ov_core_compile_model_from_file")(core, settings.text("model").c_str(), "CPU", 8, &compiled,
                                               "PERFORMANCE_HINT", "LATENCY", "INFERENCE_NUM_THREADS", threads.c_str(),
                                               "NUM_STREAMS", "1", "INFERENCE_PRECISION_HINT", precision.c_str()),
        "compile");
    check(library.get<int(const void*, void**)>("ov_compiled_model_create_infer_request")(compiled, &request),
          "request");
    make_tensor = library.get<int(int, Shape, void*, void**)>("ov_tensor_create_from_host_ptr");
    set_input = library.get<int(void*, const void*)>("ov_infer_request_set_input_tensor");
    set_output = library.get<int(void*, const void*)>("ov_infer_request_set_output_tensor");
    infer = library.get<int(void*)>("ov_infer_request_infer");
  }
  void* tensor(const float* data, std::size_t cols) const {
    std::int64_t dims[] = {static_cast<std::int64_t>(batch), static_cast<std::int64_t>(cols)};
    void* made = nullptr;
    check(make_tensor(f32, {2, dims}, const_cast<float*>(data), &made), "tensor");
    return made;
  }
  void predict(std::size_t begin) override {
    auto& [in, result] = tensors[begin];
    if (!in) {
      in = tensor(x.row(begin).data(), x.cols());
      result = tensor(out.row(begin).data(), out.cols());
    }
    check(set_input(request, in), "input");
    check(set_output(request, result), "output");
    check(infer(request), "infer");
  }

  static constexpr int f32 = 4;  // its number in ov_element_type_e
  bench::Library library;
  void* request = nullptr;
  int (*make_tensor)(int, Shape, void*, void**) = nullptr;
  int (*set_input)(void*, const void*) = nullptr;
  int (*set_output)(void*, const void*) = nullptr;
  int (*infer)(void*) = nullptr;
};

int run(const std::string& name, const Settings& settings) {
  const Tensor<float> x = read_npy<float>(settings.text("x"));
  std::unique_ptr<Engine> engine;
  if (name == "onnxruntime") engine = std::make_unique<OnnxRuntime>(settings, x);
  if (name == "openvino") engine = std::make_unique<OpenVino>(settings, x);
  if (!engine) stop("unknown engine " + name);
  bench::PredictLoop loop(x.rows(), settings);
  const auto predict = [&](std::size_t begin, std::size_t) { engine->predict(begin); };
  const bool tail = settings.has("tail");
  return bench::serve([&] { return tail ? bench::tail(x.rows(), engine->batch, 0.5, predict) : loop(predict); },
                      [&](const std::string& path) {
                        for (std::size_t b = 0; b + engine->batch <= x.rows(); b += engine->batch) engine->predict(b);
                        write_npy(engine->out, path);
                      });
}

}  // namespace

int main(int argc, char** argv) { return redoubt::bench::run_worker(argc, argv, run); }
