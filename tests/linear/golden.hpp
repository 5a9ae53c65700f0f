#pragma once
// Coefficients that bench/peers/golden/linear.py wrote.
#include <catch2/catch.hpp>
#include <fstream>
#include <sstream>
#include <string>
#include <vector>

#include "redoubt/data/dataset.hpp"
#include "redoubt/linear/linear_form.hpp"
#include "redoubt/model/model.hpp"

namespace redoubt::test {

struct Golden {
  std::size_t outputs = 0;
  std::vector<double> values;  ///< output by output: coefficients, intercept
};

inline Golden golden(const std::string& name) {
  std::ifstream file(std::string(REDOUBT_SOURCE_DIR) + "/tests/linear/golden_linear.txt");
  for (std::string line; std::getline(file, line);) {
    std::istringstream words(line);
    std::string first;
    words >> first;
    if (first != name) continue;
    Golden found;
    words >> found.outputs;
    for (double v = 0; words >> v;) found.values.push_back(v);
    return found;
  }
  FAIL("no golden line called " << name);
  return {};
}

/// Every coefficient within 1e-4, relative to the largest one of its kind or 1.
inline void require_golden(const Model& model, const std::string& name) {
  const Golden expected = golden(name);
  const auto& form = dynamic_cast<const LinearForm&>(model.predictor());
  REQUIRE(form.score_count() == expected.outputs);
  REQUIRE(expected.values.size() == expected.outputs * (form.inputs() + 1));
  std::size_t at = 0;
  for (std::size_t k = 0; k < expected.outputs; ++k) {
    for (std::size_t i = 0; i <= form.inputs(); ++i, ++at) {
      const double found = i < form.inputs() ? form.weights()(i, k) : form.bias()[k];
      INFO(name << ": output " << k << ", coefficient " << i);
      CHECK(found == Approx(expected.values[at]).epsilon(1e-4).margin(1e-4));
    }
  }
}

/// The same data with weights 0.5, 1.5, 2.5, 0.5, ...
inline Dataset with_weights(const Dataset& data) {
  std::vector<Column> columns;
  for (std::size_t c = 0; c < data.cols(); ++c) columns.push_back(data.column(c));
  Column weights;
  weights.spec = {.name = "w", .type = ColumnType::numeric, .role = ColumnRole::weight};
  for (std::size_t i = 0; i < data.rows(); ++i) weights.numbers.push_back(0.5 + static_cast<double>(i % 3));
  columns.push_back(weights);
  return Dataset(columns);
}

inline EncoderOptions raw_numbers() {
  EncoderOptions options = EncoderOptions::dense();
  options.numeric = NumericEncoding::raw;
  return options;
}

}  // namespace redoubt::test
