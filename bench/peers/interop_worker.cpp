// interop_worker LIBRARY MODEL ROWS COLUMNS OUT [EXPORT] [best]: predicts float32 rows with a model taken over from
// LIBRARY (lightgbm, xgboost); OUT gets the outputs (rows x outputs floats), then the leaf of every tree, counted
// within the tree (rows x trees int32). EXPORT gets the forest as LightGBM text. Prints "OUTPUTS TREES".
#include <algorithm>
#include <cstdio>
#include <fstream>
#include <iostream>
#include <iterator>
#include <string>
#include <vector>

#include "redoubt/core/error.hpp"
#include "redoubt/core/tensor.hpp"
#include "redoubt/interop/lightgbm.hpp"
#include "redoubt/interop/xgboost.hpp"
#include "redoubt/trees/forest.hpp"

using namespace redoubt;

namespace {

std::int32_t first_leaf(const ForestArrays& a, std::int32_t root) {
  std::int32_t least = -1;
  std::vector<std::int32_t> open{root};
  while (!open.empty()) {
    const std::int32_t i = open.back();
    open.pop_back();
    if (i >= 0) {
      open.push_back(a.left[static_cast<std::size_t>(i)]);
      open.push_back(a.right[static_cast<std::size_t>(i)]);
    } else if (least < 0 || ~i < least) {
      least = ~i;
    }
  }
  return least;
}

template <class T>
void write(std::ofstream& out, const std::vector<T>& values) {
  out.write(reinterpret_cast<const char*>(values.data()), static_cast<std::streamsize>(values.size() * sizeof(T)));
}

}  // namespace

int main(int argc, char** argv) {
  if (argc < 6) return 2;
  try {
    const std::string library = argv[1], model = argv[2], exported = argc > 6 ? argv[6] : "";
    const std::size_t columns = std::stoul(argv[4]);
    const bool best = argc > 7 && std::string(argv[7]) == "best";
    const auto forest =
        library == "lightgbm" ? read_lightgbm_forest(model) : read_xgboost_forest(model, {.best_iteration = best});
    std::ifstream file(argv[3], std::ios::binary);
    const std::string bytes((std::istreambuf_iterator<char>(file)), {});
    const std::size_t rows = bytes.size() / sizeof(float) / columns;
    if (columns != forest->inputs()) return 3;
    Tensor<float> x({rows, columns});
    std::copy_n(bytes.data(), rows * columns * sizeof(float), reinterpret_cast<char*>(x.flat().data()));
    const std::size_t outputs = forest->outputs(), trees = forest->trees();
    std::vector<float> y(rows * outputs);
    std::vector<std::int32_t> leaves(rows * trees), first;
    for (const std::int32_t root : forest->arrays().roots) first.push_back(first_leaf(forest->arrays(), root));
    std::vector<std::uint32_t> ids(trees);
    for (std::size_t r = 0; r < rows; ++r) {
      forest->leaf_ids(x.row(r), ids);
      for (std::size_t t = 0; t < trees; ++t) leaves[r * trees + t] = static_cast<std::int32_t>(ids[t]) - first[t];
    }
    forest->predict_batch(x, {y.data(), rows, outputs}, nullptr);
    // The single-row way must say the same.
    std::vector<float> one(outputs), scratch(forest->scratch_size());
    for (std::size_t r = 0; r < rows; ++r) {
      forest->predict(x.row(r), one, scratch);
      if (!std::equal(one.begin(), one.end(), y.begin() + static_cast<std::ptrdiff_t>(r * outputs))) return 5;
    }
    std::ofstream out(argv[5], std::ios::binary);
    write(out, y);
    write(out, leaves);
    if (!exported.empty() && exported != "-") write_lightgbm(*forest, exported);
    std::cout << outputs << ' ' << trees << '\n';
  } catch (const Error& error) {
    std::cerr << to_string(error.code()) << ": " << error.what() << '\n';
    return 4;
  }
}
