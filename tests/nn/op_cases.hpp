#pragma once
// The case table of the ops: one row or more per op drives its forward test against a naive reference in double
// precision, its gradient check, its bounds check and its source check. Adding an op means adding a row here.
#include <algorithm>
#include <cmath>
#include <cstddef>
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
  bool positive = false;  // inputs, away from zero
  bool source = true;     // can be written as source
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

/// A convolution by its definition: for every output place, filter and tap.
inline auto naive_conv2d(OpShape shape) {
  return [shape](const std::vector<Values>& x, const std::vector<Values>& p, const std::vector<double>& a) {
    const int height = int(shape[0]), width = int(shape[1]), channels = int(shape[2]), filters = int(a[0]);
    const int kh = int(a[1]), kw = int(a[2]), stride = int(a[3]), pad = int(a[4]), dilation = int(a[5]);
    const int groups = int(a[6]), in = channels / groups, out = filters / groups;
    Values y;
    for (int top = -pad; top + dilation * (kh - 1) < height + pad; top += stride) {
      for (int left = -pad; left + dilation * (kw - 1) < width + pad; left += stride) {
        for (int f = 0; f < filters; ++f) {
          double sum = p[1][std::size_t(f)];
          for (int k = 0; k < kh * kw * in; ++k) {
            const int row = top + k / in / kw * dilation, col = left + k / in % kw * dilation,
                      c = f / out * in + k % in;
            if (row < 0 || row >= height || col < 0 || col >= width) continue;
            sum += x[0][std::size_t((row * width + col) * channels + c)] * p[0][std::size_t(k * filters + f)];
          }
          y.push_back(sum);
        }
      }
    }
    return y;
  };
}

/// A transposed convolution by its definition: every input value adds its multiple of each kernel.
inline auto naive_conv_transpose2d(OpShape shape) {
  return [shape](const std::vector<Values>& x, const std::vector<Values>& p, const std::vector<double>& a) {
    const int height = int(shape[0]), width = int(shape[1]), channels = int(shape[2]), filters = int(a[0]);
    const int kh = int(a[1]), kw = int(a[2]), stride = int(a[3]), pad = int(a[4]), more = int(a[5]);
    const int dilation = int(a[6]), groups = int(a[7]), in = channels / groups, out = filters / groups;
    const int out_height = (height - 1) * stride + dilation * (kh - 1) + 1 + more - 2 * pad;
    const int out_width = (width - 1) * stride + dilation * (kw - 1) + 1 + more - 2 * pad;
    Values y;
    for (int place = 0; place < out_height * out_width; ++place) y.insert(y.end(), p[1].begin(), p[1].end());
    for (int i = 0; i < int(x[0].size()); ++i) {
      const int c = i % channels, top = i / channels / width * stride - pad, left = i / channels % width * stride - pad;
      for (int k = 0; k < kh * kw * out; ++k) {
        const int row = top + k / out / kw * dilation, col = left + k / out % kw * dilation;
        if (row < 0 || row >= out_height || col < 0 || col >= out_width) continue;
        y[std::size_t((row * out_width + col) * filters + c / in * out + k % out)] +=
            x[0][std::size_t(i)] * p[0][std::size_t(c * kh * kw * out + k)];
      }
    }
    return y;
  };
}

inline auto naive_pool(OpShape shape, bool largest) {
  return [shape, largest](const std::vector<Values>& x, const std::vector<Values>&, const std::vector<double>& a) {
    const int height = int(shape[0]), width = int(shape[1]), channels = int(shape[2]);
    const int kh = int(a[0]), kw = int(a[1]), stride = int(a[2]), pad = int(a[3]);
    Values y;
    for (int top = -pad; top + kh <= height + pad; top += stride) {
      for (int left = -pad; left + kw <= width + pad; left += stride) {
        for (int c = 0; c < channels; ++c) {
          double best = -1e300, sum = 0, count = 0;
          for (int row = std::max(top, 0); row < std::min(top + kh, height); ++row) {
            for (int col = std::max(left, 0); col < std::min(left + kw, width); ++col) {
              const double v = x[0][std::size_t((row * width + col) * channels + c)];
              best = std::max(best, v);
              sum += v;
              ++count;
            }
          }
          y.push_back(largest ? best : sum / count);
        }
      }
    }
    return y;
  };
}

/// Which input value every output value is.
inline auto picked(std::vector<std::size_t> from) {
  return [from](const std::vector<Values>& x, const std::vector<Values>&, const std::vector<double>&) {
    Values all, y;
    for (const Values& input : x) all.insert(all.end(), input.begin(), input.end());
    for (const std::size_t i : from) y.push_back(all[i]);
    return y;
  };
}

enum class Reduction { sum, mean, max };

/// Output o gathers the inputs listed for it.
inline auto naive_reduce(Reduction kind, std::vector<std::vector<std::size_t>> lists) {
  return [=](const std::vector<Values>& x, const std::vector<Values>&, const std::vector<double>&) {
    Values y;
    for (const auto& list : lists) {
      double sum = 0, best = -1e300;
      for (const std::size_t i : list) {
        sum += x[0][i];
        best = std::max(best, x[0][i]);
      }
      y.push_back(kind == Reduction::max ? best : kind == Reduction::sum ? sum : sum / double(list.size()));
    }
    return y;
  };
}

/// y = f(a, b), where b repeats.
template <class Function>
auto pairwise(Function function) {
  return [function](const std::vector<Values>& x, const std::vector<Values>&, const std::vector<double>&) {
    Values y = x[0];
    for (std::size_t i = 0; i < y.size(); ++i) y[i] = function(y[i], x[1][i % x[1].size()]);
    return y;
  };
}

/// Dense at each position of `width` values.
inline auto naive_position_dense(std::size_t width) {
  return [width](const std::vector<Values>& x, const std::vector<Values>& p, const std::vector<double>& a) {
    Values y;
    for (auto at = x[0].begin(); at != x[0].end(); at += std::ptrdiff_t(width)) {
      const Values one = naive_dense({Values(at, at + std::ptrdiff_t(width))}, p, a);
      y.insert(y.end(), one.begin(), one.end());
    }
    return y;
  };
}

/// Normalisation of each run of `width` values by its root mean square.
inline auto naive_rms_norm(std::size_t width) {
  return [width](const std::vector<Values>& x, const std::vector<Values>& p, const std::vector<double>& a) {
    Values y = x[0];
    for (std::size_t i = 0; i < y.size(); ++i) {
      double square = 0;
      for (std::size_t j = 0; j < width; ++j) square += std::pow(x[0][i / width * width + j], 2);
      y[i] *= p[0][i % width] / std::sqrt(square / double(width) + a[0]);
    }
    return y;
  };
}

/// Normalisation of each run of `width` values by its mean and deviation.
inline auto naive_position_norm(std::size_t width) {
  return [width](const std::vector<Values>& x, const std::vector<Values>& p, const std::vector<double>& a) {
    Values y;
    for (auto at = x[0].begin(); at != x[0].end(); at += std::ptrdiff_t(width)) {
      const Values one = naive_layer_norm({Values(at, at + std::ptrdiff_t(width))}, p, a);
      y.insert(y.end(), one.begin(), one.end());
    }
    return y;
  };
}

/// Inference form: running mean and variance.
inline Values naive_batch_norm(const std::vector<Values>& x, const std::vector<Values>& p,
                               const std::vector<double>& a) {
  Values y = x[0];
  for (std::size_t i = 0; i < y.size(); ++i) {
    const std::size_t c = i % p[0].size();
    y[i] = p[0][c] * (y[i] - p[2][c]) / std::sqrt(p[3][c] + a[0]) + p[1][c];
  }
  return y;
}

inline Values naive_embedding(const std::vector<Values>& x, const std::vector<Values>& p,
                              const std::vector<double>& a) {
  Values y;
  for (const double id : x[0]) {
    for (double d = 0; d < a[1]; ++d) {
      y.push_back(id < 0 || id >= a[0] ? 0.0 : p[0][std::size_t(std::floor(id) * a[1] + d)]);
    }
  }
  return y;
}

inline Values naive_embedding_bag(const std::vector<Values>& x, const std::vector<Values>& p,
                                  const std::vector<double>& a) {
  const auto width = static_cast<std::size_t>(a[1]);
  const Values rows = naive_embedding(x, p, a);
  double count = 0;
  for (const double id : x[0]) count += id >= 0 && id < a[0];
  Values y(width);
  for (std::size_t i = 0; i < rows.size(); ++i) y[i % width] += rows[i] / (a[2] == 1 ? std::max(count, 1.0) : 1.0);
  return y;
}

inline auto naive_attention(std::size_t queries, std::size_t keys, std::size_t width) {
  return [=](const std::vector<Values>& x, const std::vector<Values>&, const std::vector<double>& a) {
    const auto head = width / static_cast<std::size_t>(a[0]);
    Values y(queries * width);
    for (std::size_t t = 0; t < queries; ++t) {
      for (std::size_t first = 0; first < width; first += head) {
        Values weights(a[1] == 1 ? t + 1 : keys);
        for (std::size_t j = 0; j < weights.size(); ++j) {
          for (std::size_t d = first; d < first + head; ++d) weights[j] += x[0][t * width + d] * x[1][j * width + d];
          weights[j] /= std::sqrt(double(head));
        }
        weights = naive_softmax({weights}, {}, {});
        for (std::size_t j = 0; j < weights.size(); ++j) {
          for (std::size_t d = first; d < first + head; ++d) y[t * width + d] += weights[j] * x[2][j * width + d];
        }
      }
    }
    return y;
  };
}

/// LSTM (gates i, f, g, o) or GRU (r, z, n) over `positions`, by their definitions.
inline auto naive_recurrent(std::size_t positions, bool lstm) {
  return [=](const std::vector<Values>& x, const std::vector<Values>& p, const std::vector<double>& a) {
    const auto units = static_cast<std::size_t>(a[0]), columns = (lstm ? 4 : 3) * units;
    const std::size_t features = x[0].size() / positions;
    const auto squash = [](double v) { return 1 / (1 + std::exp(-v)); };
    Values h(units), c(units), y;
    for (std::size_t t = 0; t < positions; ++t) {
      Values in = p[2], back = lstm ? Values(columns) : p[3];
      for (std::size_t j = 0; j < columns; ++j) {
        for (std::size_t i = 0; i < features; ++i) in[j] += x[0][t * features + i] * p[0][i * columns + j];
        for (std::size_t i = 0; i < units; ++i) back[j] += h[i] * p[1][i * columns + j];
      }
      for (std::size_t u = 0; u < units; ++u) {
        const auto both = [&](std::size_t k) { return in[k * units + u] + back[k * units + u]; };
        if (lstm) {
          c[u] = squash(both(1)) * c[u] + squash(both(0)) * std::tanh(both(2));
          h[u] = squash(both(3)) * std::tanh(c[u]);
        } else {
          const double z = squash(both(1));
          h[u] = (1 - z) * std::tanh(in[2 * units + u] + squash(both(0)) * back[2 * units + u]) + z * h[u];
        }
      }
      y.insert(y.end(), h.begin(), h.end());
    }
    return y;
  };
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
      {"attention", {{3, 4}, {5, 4}, {5, 4}}, {2}, naive_attention(3, 5, 4), "two heads", false, false},
      {"attention", {{4, 3}, {4, 3}, {4, 3}}, {1, 1}, naive_attention(4, 4, 3), "causal", false, false},
      {"attention", {{130, 2}, {3, 2}, {3, 2}}, {}, naive_attention(130, 3, 2), "few keys", false, false},
      {"attention", {{2, 2}, {130, 2}, {130, 2}}, {}, naive_attention(2, 130, 2), "two blocks of keys", false, false},
      {"attention",
       {{130, 2}, {130, 2}, {130, 2}},
       {1, 1},
       naive_attention(130, 130, 2),
       "two blocks of queries",
       false,
       false},
      {"batch_norm", {{5}}, {}, naive_batch_norm, "inference", false, false},
      {"batch_norm", {{2, 2, 3}}, {1e-3}, naive_batch_norm, "inference, image", false, false},
      {"average_pool2d", {{5, 4, 3}}, {}, naive_pool({5, 4, 3}, false), "drops the last row", false, false},
      {"average_pool2d", {{5, 5, 1}}, {3, 3, 1, 1}, naive_pool({5, 5, 1}, false), "padded", false, false},
      {"concat", {{2}, {3}}, {}, picked({0, 1, 2, 3, 4}), "", false, false},
      {"concat", {{2, 1}, {2, 2}, {2, 1}}, {1}, picked({0, 2, 3, 6, 1, 4, 5, 7}), "three, last axis", false, false},
      {"conv2d", {{5, 6, 3}}, {4}, naive_conv2d({5, 6, 3}), "3 x 3", false, false},
      {"conv2d", {{7, 7, 2}}, {5, 3, 3, 2, 1}, naive_conv2d({7, 7, 2}), "stride and padding", false, false},
      {"conv2d", {{8, 7, 1}}, {3, 2, 3, 1, 2, 2}, naive_conv2d({8, 7, 1}), "dilation", false, false},
      {"conv2d", {{4, 4, 6}}, {4, 3, 3, 1, 1, 1, 2}, naive_conv2d({4, 4, 6}), "groups", false, false},
      {"conv2d", {{5, 5, 4}}, {4, 3, 3, 1, 1, 1, 4}, naive_conv2d({5, 5, 4}), "depthwise", false, false},
      {"conv2d", {{3, 3, 5}}, {7, 1, 1}, naive_conv2d({3, 3, 5}), "1 x 1", false, false},
      {"conv_transpose2d", {{3, 2, 3}}, {2}, naive_conv_transpose2d({3, 2, 3}), "3 x 3", false, false},
      {"conv_transpose2d",
       {{4, 3, 2}},
       {3, 3, 2, 2, 1, 1},
       naive_conv_transpose2d({4, 3, 2}),
       "stride and padding of both sides",
       false,
       false},
      {"conv_transpose2d",
       {{3, 3, 1}},
       {2, 2, 3, 1, 1, 1, 2},
       naive_conv_transpose2d({3, 3, 1}),
       "dilation",
       false,
       false},
      {"conv_transpose2d",
       {{3, 3, 4}},
       {6, 2, 2, 2, 0, 0, 1, 2},
       naive_conv_transpose2d({3, 3, 4}),
       "groups",
       false,
       false},
      {"conv_transpose2d", {{6, 7, 2}}, {2, 3, 3}, naive_conv_transpose2d({6, 7, 2}), "two tiles", false, false},
      {"dense", {{5}}, {3}, naive_dense},
      {"dense", {{3, 4}}, {5, 1}, naive_position_dense(4), "per position"},
      {"dense", {{2, 3, 2}}, {3, 1}, naive_position_dense(2), "per position, rank 3"},
      {"div", {{6}, {6}}, {}, pairwise([](double a, double b) { return a / b; }), "", true},
      {"div", {{6}, {6}}, {}, pairwise([](double a, double b) { return a / b; }), "any sign"},
      {"embedding", {{4}}, {3, 2}, naive_embedding, "ids of either sign", false, false},
      {"embedding", {{2, 2}}, {4, 3}, naive_embedding, "rank 2", true, false},
      {"embedding_bag", {{5}}, {3, 4}, naive_embedding_bag, "mean with padding", false, false},
      {"embedding_bag", {{5}}, {8, 4, 0}, naive_embedding_bag, "sum", true, false},
      {"exp", {{9}}, {}, each([](double x, const auto&) { return std::exp(x); })},
      {"log", {{9}}, {}, each([](double x, const auto&) { return std::log(x); }), "", true},
      {"max_pool2d", {{5, 4, 3}}, {}, naive_pool({5, 4, 3}, true), "drops the last row", false, false},
      {"max_pool2d", {{5, 5, 2}}, {3, 3, 2, 1}, naive_pool({5, 5, 2}, true), "padded", false, false},
      {"mul", {{6}, {6}}, {}, pairwise([](double a, double b) { return a * b; })},
      {"mul", {{2, 3}, {3}}, {}, pairwise([](double a, double b) { return a * b; }), "repeats"},
      {"reduce_max", {{2, 3}}, {2}, naive_reduce(Reduction::max, {{0, 1, 2}, {3, 4, 5}}), "last axis", false, false},
      {"reduce_mean",
       {{2, 2, 2}},
       {3},
       naive_reduce(Reduction::mean, {{0, 2, 4, 6}, {1, 3, 5, 7}}),
       "global",
       false,
       false},
      {"reduce_sum", {{2, 3}}, {1}, naive_reduce(Reduction::sum, {{0, 3}, {1, 4}, {2, 5}}), "first axis", false, false},
      {"reduce_sum", {{4}}, {1}, naive_reduce(Reduction::sum, {{0, 1, 2, 3}}), "all", false, false},
      {"reshape", {{2, 3}}, {3, 2}, picked({0, 1, 2, 3, 4, 5}), "", false, false},
      {"rms_norm", {{8}}, {}, naive_rms_norm(8), "", false, false},
      {"rms_norm", {{3, 4}}, {1e-2}, naive_rms_norm(4), "positions", false, false},
      {"silu", {{9}}, {}, each([](double x, const auto&) { return x / (1 + std::exp(-x)); })},
      {"slice", {{5}}, {0, 1, 3}, picked({1, 2, 3}), "", false, false},
      {"slice", {{2, 3}}, {1, 1, 2}, picked({1, 2, 4, 5}), "last axis", false, false},
      {"sqrt", {{9}}, {}, each([](double x, const auto&) { return std::sqrt(x); }), "", true},
      {"sub", {{6}, {6}}, {}, pairwise([](double a, double b) { return a - b; })},
      {"sub", {{3, 2}, {2}}, {}, pairwise([](double a, double b) { return a - b; }), "repeats"},
      {"transpose", {{2, 3}}, {1, 0}, picked({0, 3, 1, 4, 2, 5}), "", false, false},
      {"transpose", {{2, 1, 3}}, {2, 0, 1}, picked({0, 3, 1, 4, 2, 5}), "rank 3", false, false},
      {"dense", {{1}}, {1}, naive_dense, "one value"},
      {"dense", {{3, 4, 2}}, {17}, naive_dense, "flattens"},
      {"dense", {{130}}, {65}, naive_dense, "odd sizes"},
      {"dropout", {{6}}, {0.4}, each([](double x, const auto&) { return x; }), "inference"},
      {"gelu", {{9}}, {}, each([](double x, const auto&) { return 0.5 * x * std::erfc(-x / std::sqrt(2.0)); })},
      {"gru", {{4, 3}}, {5}, naive_recurrent(4, false), "four positions", false, false},
      {"gru", {{1, 2}}, {2}, naive_recurrent(1, false), "one position", false, false},
      {"lstm", {{4, 3}}, {5}, naive_recurrent(4, true), "four positions", false, false},
      {"lstm", {{1, 2}}, {2}, naive_recurrent(1, true), "one position", false, false},
      {"layer_norm", {{8}}, {1e-5}, naive_layer_norm},
      {"layer_norm", {{2}}, {1e-2}, naive_layer_norm, "two values"},
      {"layer_norm", {{3, 4}}, {1e-5, 1}, naive_position_norm(4), "positions"},
      {"leaky_relu", {{9}}, {0.1}, each([](double x, const auto& a) { return x > 0 ? x : a[0] * x; })},
      {"relu", {{9}}, {}, each([](double x, const auto&) { return x > 0 ? x : 0; })},
      {"sigmoid", {{9}}, {}, each([](double x, const auto&) { return 1 / (1 + std::exp(-x)); })},
      {"softmax", {{2}}, {}, naive_softmax},
      {"softmax", {{11}}, {}, naive_softmax, "eleven classes"},
      {"tanh", {{9}}, {}, each([](double x, const auto&) { return std::tanh(x); })},
  };
}

}  // namespace redoubt::test
