// ONNX Runtime and OpenVINO for nn_infer.py, called from C++ through their C interfaces so that no interpreter is
// timed:
//   peer_nn_engines ENGINE library=LIB model=ONNX x=FILE cols=N outputs=N batch=N threads=N
// The libraries come from the peers' own packages and are opened at run time; their few functions are declared here.
// This program links nothing of ours, so that OpenVINO gets its own oneTBB. Model files have a fixed batch.
#include <dlfcn.h>

#include <cstdint>
#include <cstdlib>
#include <cstring>

#include "bench/peers/nn_loop.hpp"

namespace {

using redoubt::bench::Settings;

class Library {
 public:
  explicit Library(const std::string& path) : handle_(dlopen(path.c_str(), RTLD_NOW | RTLD_LOCAL)) {
    if (!handle_) throw std::runtime_error(dlerror());
  }
  template <class F>
  F* get(const char* name) const {
    void* symbol = dlsym(handle_, name);
    if (!symbol) throw std::runtime_error(std::string("no function ") + name);
    return reinterpret_cast<F*>(symbol);
  }

 private:
  void* handle_;
};

/// What a run works on: rows, room for outputs, and the sizes of one call.
struct Job {
  explicit Job(const Settings& settings)
      : x(redoubt::bench::read_floats(settings.text("x"))),
        cols(static_cast<std::size_t>(settings.number("cols", 1))),
        outputs(static_cast<std::size_t>(settings.number("outputs", 1))),
        batch(static_cast<std::size_t>(settings.number("batch", 1))),
        rows(x.size() / cols),
        out(rows * outputs) {}

  std::vector<float> x;
  std::size_t cols, outputs, batch, rows;
  std::vector<float> out;
};

/// ONNX Runtime's interface is a table of functions whose order is its ABI; the places of those used here.
class OnnxRuntime {
 public:
  OnnxRuntime(const Settings& settings, Job& job) : library_(settings.text("library")), job_(job) {
    api_ = library_.get<const Base*()>("OrtGetApiBase")()->get_api(16);
    void *env = nullptr, *options = nullptr, *memory = nullptr;
    call(create_env, 3, static_cast<const char*>("bench"), &env);
    call(create_options, &options);
    call(execution_mode, options, 0);
    call(optimisation, options, 99);
    call(intra_threads, options, settings.number("threads", 1));
    call(inter_threads, options, 1);
    const std::string path = settings.text("model");
    call(create_session, env, path.c_str(), static_cast<const void*>(options), &session_);
    call(cpu_memory, 1, 0, &memory);
    // Values over the caller's memory, made once: a call then costs what one with an IOBinding costs, and copies
    // nothing.
    std::vector<std::int64_t> shape{static_cast<std::int64_t>(job.batch)};
    if (settings.has("image")) {
      for (const std::int64_t extent : {1, 28, 28}) shape.push_back(extent);
    } else {
      shape.push_back(static_cast<std::int64_t>(job.cols));
    }
    const std::int64_t out_shape[] = {static_cast<std::int64_t>(job.batch), static_cast<std::int64_t>(job.outputs)};
    for (std::size_t r = 0; r + job.batch <= job.rows; r += job.batch) {
      inputs_.push_back(tensor(memory, &job.x[r * job.cols], job.batch * job.cols, shape.data(), shape.size()));
      results_.push_back(tensor(memory, &job.out[r * job.outputs], job.batch * job.outputs, out_shape, 2));
    }
  }
  void operator()(std::size_t begin, std::size_t) {
    const char *in_name = "x", *out_name = "y";
    const void* const in = inputs_[begin / job_.batch];
    void* out = results_[begin / job_.batch];
    call(run, session_, static_cast<const void*>(nullptr), static_cast<const char* const*>(&in_name),
         static_cast<const void* const*>(&in), std::size_t{1}, static_cast<const char* const*>(&out_name),
         std::size_t{1}, &out);
  }

 private:
  enum Place {
    create_env = 3,
    create_session = 7,
    run = 9,
    create_options = 10,
    execution_mode = 13,
    optimisation = 23,
    intra_threads = 24,
    inter_threads = 25,
    tensor_with_data = 49,
    cpu_memory = 69
  };
  struct Base {
    void* const* (*get_api)(std::uint32_t);
    const char* (*version)();
  };
  template <class... A>
  void call(Place place, A... arguments) const {
    if (reinterpret_cast<void* (*)(A...)>(api_[place])(arguments...))
      throw std::runtime_error("ONNX Runtime: call " + std::to_string(place));
  }
  void* tensor(void* memory, float* data, std::size_t count, const std::int64_t* shape, std::size_t rank) const {
    void* value = nullptr;
    call(tensor_with_data, static_cast<const void*>(memory), static_cast<void*>(data), count * sizeof(float), shape,
         rank, 1, &value);
    return value;
  }

  Library library_;
  Job& job_;
  void* const* api_ = nullptr;
  void* session_ = nullptr;
  std::vector<void*> inputs_, results_;
};

class OpenVino {
 public:
  OpenVino(const Settings& settings, Job& job) : library_(settings.text("library")), job_(job) {
    void *core = nullptr, *compiled = nullptr;
    check(library_.get<int(void**)>("ov_core_create")(&core));
    const std::string threads = std::to_string(settings.number("threads", 1));
    check(library_.get<int(const void*, const char*, const char*, std::size_t, void**, ...)>(
        "ov_core_compile_model_from_file")(core, settings.text("model").c_str(), "CPU", 6, &compiled,
                                           "PERFORMANCE_HINT", "LATENCY", "INFERENCE_PRECISION_HINT", "f32",
                                           "INFERENCE_NUM_THREADS", threads.c_str()));
    check(library_.get<int(const void*, void**)>("ov_compiled_model_create_infer_request")(compiled, &request_));
    check(library_.get<int(const void*, void**)>("ov_infer_request_get_input_tensor")(request_, &input_));
    check(library_.get<int(const void*, void**)>("ov_infer_request_get_output_tensor")(request_, &output_));
    auto* const data = library_.get<int(const void*, void**)>("ov_tensor_data");
    check(data(input_, &to_));
    check(data(output_, &from_));
    infer_ = library_.get<int(void*)>("ov_infer_request_infer");
    set_input_ = library_.get<int(void*, const void*)>("ov_infer_request_set_input_tensor");
    set_output_ = library_.get<int(void*, const void*)>("ov_infer_request_set_output_tensor");
    // Small inputs are copied into the request's own tensor, large ones lie in tensors made once over the rows.
    copies_ = job.batch * job.cols <= 4096;
    for (std::size_t r = 0; !copies_ && r + job.batch <= job.rows; r += job.batch) {
      inputs_.push_back(like(input_, &job.x[r * job.cols]));
      results_.push_back(like(output_, &job.out[r * job.outputs]));
    }
  }
  void operator()(std::size_t begin, std::size_t count) {
    if (copies_) {
      std::memcpy(to_, &job_.x[begin * job_.cols], count * job_.cols * sizeof(float));
      check(infer_(request_));
      std::memcpy(&job_.out[begin * job_.outputs], from_, count * job_.outputs * sizeof(float));
      return;
    }
    check(set_input_(request_, inputs_[begin / job_.batch]));
    check(set_output_(request_, results_[begin / job_.batch]));
    check(infer_(request_));
  }

 private:
  struct Shape {
    std::int64_t rank;
    std::int64_t* dims;
  };
  void check(int status) const {
    if (status != 0)
      throw std::runtime_error(std::string("OpenVINO: ") + library_.get<const char*()>("ov_get_last_err_msg")());
  }
  void* like(const void* tensor, float* data) const {
    int type = 0;
    Shape shape{};
    void* made = nullptr;
    check(library_.get<int(const void*, int*)>("ov_tensor_get_element_type")(tensor, &type));
    check(library_.get<int(const void*, Shape*)>("ov_tensor_get_shape")(tensor, &shape));
    check(library_.get<int(int, Shape, void*, void**)>("ov_tensor_create_from_host_ptr")(type, shape, data, &made));
    return made;
  }

  Library library_;
  Job& job_;
  void *request_ = nullptr, *input_ = nullptr, *output_ = nullptr, *to_ = nullptr, *from_ = nullptr;
  int (*infer_)(void*) = nullptr;
  int (*set_input_)(void*, const void*) = nullptr;
  int (*set_output_)(void*, const void*) = nullptr;
  bool copies_ = false;
  std::vector<void*> inputs_, results_;
};

int work(const std::string& name, const Settings& settings) {
  Job job(settings);
  if (name == "onnxruntime") {
    OnnxRuntime engine(settings, job);
    return redoubt::bench::serve_predictions(job.rows, job.out, settings, engine);
  }
  OpenVino engine(settings, job);
  return redoubt::bench::serve_predictions(job.rows, job.out, settings, engine);
}

}  // namespace

int main(int argc, char** argv) {
  const int code = redoubt::bench::run_worker(argc, argv, work);
  std::fflush(nullptr);
  std::_Exit(code);  // the libraries' threads are of no more interest
}
