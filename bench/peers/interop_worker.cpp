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
#include "redoubt/data/dataset.hpp"
#include "redoubt/interop/lightgbm.hpp"
#include "redoubt/interop/xgboost.hpp"
#include "redoubt/model/model.hpp"
#include "redoubt/trees/forest.hpp"
#include "redoubt/trees/gradient_boosting.hpp"
#include "redoubt/trees/random_forest.hpp"
#include "redoubt/trees/shap.hpp"

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

/// Redoubt's own model of the float rows in `path`, target last.
Model train(const std::string& estimator, const std::string& path, std::size_t columns) {
  std::ifstream file(path, std::ios::binary);
  const std::string bytes((std::istreambuf_iterator<char>(file)), {});
  std::vector<float> cells(bytes.size() / sizeof(float));
  std::copy_n(bytes.data(), cells.size() * sizeof(float), reinterpret_cast<char*>(cells.data()));
  const std::size_t rows = cells.size() / (columns + 1);
  std::vector<Column> table;
  for (std::size_t c = 0; c <= columns; ++c) {
    Column column{.spec = {.name = c < columns ? "x" + std::to_string(c) : "y"}};
    std::vector<float> values;
    for (std::size_t r = 0; r < rows; ++r) values.push_back(cells[r * (columns + 1) + c]);
    const bool classes = c == columns && std::all_of(values.begin(), values.end(), [](float v) {
                           return v >= 0 && v < 20 && v == static_cast<float>(static_cast<int>(v));
                         });
    if (c == columns) column.spec.role = ColumnRole::target;
    if (classes || c == 4 || c == 5) {
      column.spec.type = ColumnType::categorical;
      // All codes occur in the rows, in order, so that the encoder keeps their numbers.
      float most = 0;
      for (const float v : values) most = std::max(most, v == v ? v : 0.0f);
      for (int k = 0; k <= static_cast<int>(most); ++k)
        column.spec.categories.push_back(std::string(k < 10 ? "0" : "") + std::to_string(k));
      for (const float v : values) column.codes.push_back(v == v ? static_cast<std::int32_t>(v) : -1);
    } else {
      column.numbers.assign(values.begin(), values.end());
    }
    table.push_back(std::move(column));
  }
  const Dataset data(std::move(table));
  if (estimator == "forest") return RandomForest{{.trees = 20}}.fit(data);
  return GradientBoosting{{.trees = 40}}.fit(data);
}

}  // namespace

int main(int argc, char** argv) {
  if (argc < 6) return 2;
  try {
    const std::string library = argv[1], model = argv[2], exported = argc > 6 ? argv[6] : "";
    const std::size_t columns = std::stoul(argv[4]);
    const bool best = argc > 7 && std::string(argv[7]) == "best";
    Model own;
    Shared<const Forest> taken;
    if (library == "lightgbm")
      taken = read_lightgbm_forest(model);
    else if (library == "xgboost")
      taken = read_xgboost_forest(model, {.best_iteration = best});
    else
      own = train(library, model, columns);
    const Forest* const forest = own ? dynamic_cast<const Forest*>(&own.predictor()) : &*taken;
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
    const TreeShap shap(*forest);
    const std::size_t explained = std::min<std::size_t>(rows, 500);
    const auto values = shap.values(MatrixView<const float>(x.flat().data(), explained, columns));
    std::vector<double> contributions;
    for (std::size_t r = 0; r < explained; ++r)
      for (std::size_t k = 0; k < shap.outputs(); ++k) {
        const auto row = values.row(r).subspan(k * columns, columns);
        contributions.insert(contributions.end(), row.begin(), row.end());
        contributions.push_back(shap.base()[k]);
      }
    write(out, contributions);
    if (!exported.empty() && exported != "-") {
      if (own)
        write_lightgbm(own, exported);
      else
        write_lightgbm(*forest, exported);
    }
    std::cout << outputs << ' ' << trees << '\n';
  } catch (const Error& error) {
    std::cerr << to_string(error.code()) << ": " << error.what() << '\n';
    return 4;
  }
}
