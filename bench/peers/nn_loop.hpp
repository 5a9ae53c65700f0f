#pragma once
// What nn_worker.cpp (ours) and nn_engines.cpp (theirs) share: matrices of floats as bare files, and the timed loop.
#include <cstdio>
#include <stdexcept>

#include "bench/peers/trees_loop.hpp"

namespace redoubt::bench {

/// All floats of a file.
inline std::vector<float> read_floats(const std::string& path) {
  std::FILE* const file = std::fopen(path.c_str(), "rb");
  if (!file) throw std::runtime_error("cannot read " + path);
  std::vector<float> values;
  float block[4096];
  for (std::size_t n; (n = std::fread(block, sizeof(float), 4096, file)) > 0;)
    values.insert(values.end(), block, block + n);
  std::fclose(file);
  return values;
}

inline void write_floats(const float* values, std::size_t count, const std::string& path) {
  std::FILE* const file = std::fopen(path.c_str(), "wb");
  if (!file || std::fwrite(values, sizeof(float), count, file) != count || std::fclose(file) != 0)
    throw std::runtime_error("cannot write " + path);
}

/// Serves timed passes of `call(begin, count)` over `rows` rows, and "predict FILE": all rows, then their outputs.
template <class Call>
int serve_predictions(std::size_t rows, const std::vector<float>& out, const Settings& settings, Call&& call) {
  PredictLoop loop(rows, settings);
  const auto batch = static_cast<std::size_t>(settings.number("batch", 1));
  return serve([&] { return loop(call); },
               [&](const std::string& path) {
                 for (std::size_t r = 0; r + batch <= rows; r += batch) call(r, batch);
                 write_floats(out.data(), out.size(), path);
               });
}

}  // namespace redoubt::bench
