#pragma once
// Models of other libraries with the predictions they gave: tests/interop/golden, made by
// bench/peers/golden/interop.py.
#include <algorithm>
#include <cmath>
#include <cstring>
#include <filesystem>
#include <fstream>
#include <iterator>
#include <string>
#include <vector>

#include "redoubt/core/tensor.hpp"
#include "redoubt/trees/forest.hpp"

namespace redoubt::test {

inline std::string bytes_of(const std::filesystem::path& path) {
  std::ifstream file(path, std::ios::binary);
  return {std::istreambuf_iterator<char>(file), {}};
}

struct Golden {
  std::string name;
  Tensor<float> x;
  Tensor<double> y;
  Tensor<std::int32_t> leaves;
};

/// The rows beside a model file.
inline Golden golden_of(const std::filesystem::path& model) {
  Golden golden;
  golden.name = model.stem().string();
  const std::string bytes = bytes_of(std::filesystem::path(model).replace_extension(".rows"));
  std::size_t at = 0;
  const auto take = [&](void* into, std::size_t size) {
    if (size > bytes.size() - at) throw std::runtime_error("golden file too short: " + golden.name);
    std::memcpy(into, bytes.data() + at, size);
    at += size;
  };
  std::uint32_t sizes[4];  // rows, columns, outputs, trees
  take(sizes, sizeof sizes);
  golden.x = Tensor<float>({sizes[0], sizes[1]});
  golden.y = Tensor<double>({sizes[0], sizes[2]});
  golden.leaves = Tensor<std::int32_t>({sizes[0], sizes[3]});
  take(golden.x.flat().data(), golden.x.flat().size_bytes());
  take(golden.y.flat().data(), golden.y.flat().size_bytes());
  take(golden.leaves.flat().data(), golden.leaves.flat().size_bytes());
  return golden;
}

/// Model files of one library and format, sorted.
inline std::vector<std::filesystem::path> golden_models(const std::string& prefix, const std::string& extension) {
  std::vector<std::filesystem::path> found;
  for (const auto& entry : std::filesystem::directory_iterator(REDOUBT_SOURCE_DIR "/tests/interop/golden"))
    if (entry.path().filename().string().starts_with(prefix) && entry.path().extension() == extension)
      found.push_back(entry.path());
  std::sort(found.begin(), found.end());
  return found;
}

/// Largest |ours - theirs| / max(1, |theirs|); of two complementary probabilities they give the second.
inline double largest_difference(const Forest& forest, const Golden& golden) {
  std::vector<float> out(forest.outputs()), scratch(forest.scratch_size());
  const std::size_t skipped = out.size() - golden.y.cols();
  double most = 0;
  for (std::size_t r = 0; r < golden.x.rows(); ++r) {
    forest.predict(golden.x.row(r), out, scratch);
    for (std::size_t k = 0; k < golden.y.cols(); ++k) {
      const double want = golden.y(r, k);
      const double difference = std::abs(static_cast<double>(out[k + skipped]) - want) / std::max(1.0, std::abs(want));
      most = difference <= most ? most : difference;  // NaN stays
    }
  }
  return most;
}

/// Leaves that differ from those of the library, counted within each tree.
inline std::size_t wrong_leaves(const Forest& forest, const Golden& golden) {
  const auto& a = forest.arrays();
  if (forest.trees() != golden.leaves.cols()) return golden.leaves.flat().size();
  std::vector<std::uint32_t> first(forest.trees() + 1), ids(forest.trees());
  for (std::size_t t = 0; t < forest.trees(); ++t) {
    std::uint32_t leaves = 0;  // they lie together, tree by tree
    std::vector<std::int32_t> open{a.roots[t]};
    while (!open.empty()) {
      const std::int32_t i = open.back();
      open.pop_back();
      leaves += i < 0;
      if (i < 0) continue;
      open.push_back(a.left[static_cast<std::size_t>(i)]);
      open.push_back(a.right[static_cast<std::size_t>(i)]);
    }
    first[t + 1] = first[t] + leaves;
  }
  std::size_t wrong = 0;
  for (std::size_t r = 0; r < golden.x.rows(); ++r) {
    forest.leaf_ids(golden.x.row(r), ids);
    for (std::size_t t = 0; t < forest.trees(); ++t)
      wrong += ids[t] - first[t] != static_cast<std::uint32_t>(golden.leaves(r, t));
  }
  return wrong;
}

}  // namespace redoubt::test
