#pragma once
// The case table of the ops: one row or more per op drives its forward test against a naive reference in double
// precision, its gradient check, its bounds check and its source check. Adding an op means adding a row here.
#include <cmath>
#include <functional>
#include <string>
#include <vector>

#include "redoubt/nn/op.hpp"

namespace redoubt::test {

using Values = std::vector<double>;

struct OpCase {
  std::string op;
  std::vector<OpShape> inputs;
  std::vector<double> attributes;
  /// Inputs and parameters of one row to its output.
  std::function<Values(const std::vector<Values>& x, const std::vector<Values>& p, const std::vector<double>& a)> naive;
  std::string note = "";
};

/// The reference of an op that maps every value alone.
template <class Function>
auto each(Function function) {
  return [function](const std::vector<Values>& x, const std::vector<Values>&, const std::vector<double>& a) {
    Values y = x[0];
    for (double& v : y) v = function(v, a);
    return y;
  };
}

inline Values naive_dense(const std::vector<Values>& x, const std::vector<Values>& p, const std::vector<double>& a) {
  const auto units = static_cast<std::size_t>(a[0]);
  Values y = p[1];
  for (std::size_t i = 0; i < x[0].size(); ++i) {
    for (std::size_t j = 0; j < units; ++j) y[j] += x[0][i] * p[0][i * units + j];
  }
  return y;
}

inline Values naive_softmax(const std::vector<Values>& x, const std::vector<Values>&, const std::vector<double>&) {
  Values y = x[0];
  double sum = 0;
  for (double& v : y) sum += v = std::exp(v);
  for (double& v : y) v /= sum;
  return y;
}

inline Values naive_layer_norm(const std::vector<Values>& x, const std::vector<Values>& p,
                               const std::vector<double>& a) {
  const double n = static_cast<double>(x[0].size());
  double mean = 0, variance = 0;
  for (const double v : x[0]) mean += v / n;
  for (const double v : x[0]) variance += (v - mean) * (v - mean) / n;
  Values y = x[0];
  for (std::size_t i = 0; i < y.size(); ++i) y[i] = p[0][i] * (y[i] - mean) / std::sqrt(variance + a[0]) + p[1][i];
  return y;
}

inline std::vector<OpCase> op_cases() {
  const auto sum = [](const std::vector<Values>& x, const std::vector<Values>&, const std::vector<double>&) {
    Values y = x[0];
    for (std::size_t i = 0; i < y.size(); ++i) y[i] += x[1][i];
    return y;
  };
  return {
      {"add", {{7}, {7}}, {}, sum},
      {"add", {{2, 3}, {2, 3}}, {}, sum, "rank 2"},
      {"dense", {{5}}, {3}, naive_dense},
      {"dense", {{1}}, {1}, naive_dense, "one value"},
      {"dense", {{3, 4, 2}}, {17}, naive_dense, "flattens"},
      {"dense", {{130}}, {65}, naive_dense, "odd sizes"},
      {"dropout", {{6}}, {0.4}, each([](double x, const auto&) { return x; }), "inference"},
      {"gelu", {{9}}, {}, each([](double x, const auto&) { return 0.5 * x * std::erfc(-x / std::sqrt(2.0)); })},
      {"layer_norm", {{8}}, {1e-5}, naive_layer_norm},
      {"layer_norm", {{2}}, {1e-2}, naive_layer_norm, "two values"},
      {"leaky_relu", {{9}}, {0.1}, each([](double x, const auto& a) { return x > 0 ? x : a[0] * x; })},
      {"relu", {{9}}, {}, each([](double x, const auto&) { return x > 0 ? x : 0; })},
      {"sigmoid", {{9}}, {}, each([](double x, const auto&) { return 1 / (1 + std::exp(-x)); })},
      {"softmax", {{2}}, {}, naive_softmax},
      {"softmax", {{11}}, {}, naive_softmax, "eleven classes"},
      {"tanh", {{9}}, {}, each([](double x, const auto&) { return std::tanh(x); })},
  };
}

}  // namespace redoubt::test
