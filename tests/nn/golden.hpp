#pragma once
// What PyTorch says: tests/nn/golden/nn_ops.txt, written by bench/peers/golden/nn_ops.py in double precision from
// inputs that floats hold exactly.
#include <cmath>
#include <cstddef>
#include <fstream>
#include <string>
#include <vector>

#include "redoubt/nn/op.hpp"
#include "support/test_data.hpp"

namespace redoubt::test {

struct GoldenOp {
  std::string name, op;
  bool training = false;
  std::vector<double> attributes;
  std::vector<OpShape> shapes;
  std::vector<std::vector<float>> inputs, parameters;
  std::vector<double> output, seed;
  std::vector<std::vector<double>> gradients;  // of inputs, then of parameters; empty: none
};

struct GoldenLoss {
  std::string name;
  int kind = 0;
  double parameter = 0;
  std::vector<float> scores, target;
  std::vector<double> value, gradient;
};

struct GoldenOptimizer {
  std::string name;
  int kind = 0, nesterov = 0;
  double rate = 0, decay = 0, momentum = 0;
  std::vector<double> path;
};

struct Golden {
  static constexpr std::size_t rows = 3;
  std::vector<GoldenOp> ops;
  std::vector<GoldenLoss> losses;
  std::vector<GoldenOptimizer> optimizers;

  Golden() : file_(REDOUBT_SOURCE_DIR "/tests/nn/golden/nn_ops.txt") {
    REQUIRE(file_.good());
    for (std::string word; file_ >> word && word != "end";) {
      if (word == "case") {
        ops.emplace_back();
        file_ >> ops.back().name >> ops.back().op >> ops.back().training;
      } else if (word == "attributes") {
        read(ops.back().attributes);
      } else if (word == "input") {
        std::size_t rank = 0;
        file_ >> rank;
        OpShape shape(rank);
        for (auto& extent : shape) file_ >> extent;
        ops.back().inputs.emplace_back();
        read(ops.back().inputs.back(), rows * op_size(shape));
        ops.back().shapes.push_back(shape);
      } else if (word == "parameter") {
        ops.back().parameters.emplace_back();
        read(ops.back().parameters.back());
      } else if (word == "seed") {
        read(ops.back().seed);
      } else if (word == "output") {
        read(ops.back().output);
      } else if (word == "loss") {
        losses.emplace_back();
        file_ >> losses.back().name >> losses.back().kind >> losses.back().parameter;
      } else if (word == "scores") {
        read(losses.back().scores);
      } else if (word == "target") {
        read(losses.back().target);
      } else if (word == "value") {
        read(losses.back().value);
      } else if (word == "optimizer") {
        optimizers.emplace_back();
        auto& o = optimizers.back();
        file_ >> o.name >> o.kind >> o.rate >> o.decay >> o.momentum >> o.nesterov;
      } else if (word == "path") {
        read(optimizers.back().path);
      } else if (word == "gradient" && losses.empty()) {
        ops.back().gradients.emplace_back();
        read(ops.back().gradients.back());
      } else if (word == "gradient") {
        read(losses.back().gradient);
      } else {
        FAIL("unknown word in nn_ops.txt: " << word);
      }
    }
    REQUIRE(file_.good());
  }

 private:
  template <class T>
  void read(std::vector<T>& values, std::size_t count = static_cast<std::size_t>(-1)) {
    if (count == static_cast<std::size_t>(-1)) file_ >> count;
    values.resize(count);
    for (T& v : values) file_ >> v;
  }
  std::ifstream file_;
};

}  // namespace redoubt::test
