#pragma once
// Peers' C interfaces without their headers: libraries opened at run time, their few functions declared here.
#include <dlfcn.h>

#include <cstdint>
#include <cstdio>
#include <cstdlib>
#include <string>

namespace redoubt::bench {

[[noreturn]] inline void stop(const std::string& what) {
  std::fprintf(stderr, "%s\n", what.c_str());
  std::exit(1);
}

class Library {
 public:
  explicit Library(const std::string& path) : handle_(dlopen(path.c_str(), RTLD_NOW | RTLD_LOCAL)) {
    if (!handle_) stop(dlerror());
  }
  template <class F>
  F* get(const char* name) const {
    void* symbol = dlsym(handle_, name);
    if (!symbol) stop(std::string("no function ") + name);
    return reinterpret_cast<F*>(symbol);
  }

 private:
  void* handle_;
};

/// ONNX Runtime's interface is a table of functions whose order is its ABI; the places of those used here.
class OrtApi {
 public:
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
    cpu_memory = 69,
    release_value = 96
  };

  explicit OrtApi(const std::string& path) : library_(path) {
    struct Base {
      void* const* (*get_api)(std::uint32_t);
      const char* (*version)();
    };
    api_ = library_.get<const Base*()>("OrtGetApiBase")()->get_api(16);
  }

  template <class... A>
  void call(Place place, A... arguments) const {
    if (reinterpret_cast<void* (*)(A...)>(api_[place])(arguments...))
      stop("ONNX Runtime: call " + std::to_string(place));
  }
  /// A session with all optimisations and so many threads, sequential execution.
  void* session(const std::string& model, int threads) const {
    void *env = nullptr, *options = nullptr, *made = nullptr;
    call(create_env, 3, static_cast<const char*>("bench"), &env);
    call(create_options, &options);
    call(execution_mode, options, 0);
    call(optimisation, options, 99);
    call(intra_threads, options, threads);
    call(inter_threads, options, 1);
    call(create_session, env, model.c_str(), static_cast<const void*>(options), &made);
    return made;
  }
  void* memory() const {
    void* info = nullptr;
    call(cpu_memory, 1, 0, &info);
    return info;
  }
  void* tensor(void* memory_info, const float* data, const std::int64_t* shape, std::size_t rank) const {
    std::size_t size = sizeof(float);
    for (std::size_t i = 0; i < rank; ++i) size *= static_cast<std::size_t>(shape[i]);
    void* value = nullptr;
    call(tensor_with_data, static_cast<const void*>(memory_info), static_cast<void*>(const_cast<float*>(data)), size,
         shape, rank, 1, &value);
    return value;
  }
  /// One input, one output.
  void predict(void* session, const char* in_name, void* in, const char* out_name, void* out) const {
    const void* inputs[] = {in};
    call(run, session, static_cast<const void*>(nullptr), static_cast<const char* const*>(&in_name),
         static_cast<const void* const*>(inputs), std::size_t{1}, static_cast<const char* const*>(&out_name),
         std::size_t{1}, &out);
  }
  void release(void* value) const { reinterpret_cast<void (*)(void*)>(api_[release_value])(value); }

 private:
  Library library_;
  void* const* api_ = nullptr;
};

}  // namespace redoubt::bench
