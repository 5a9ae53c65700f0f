#pragma once
// A form and a dataset small enough to reason about: the tests of the model artifact need no estimator.
#include <fmt/format.h>

#include <cmath>
#include <memory>
#include <string>
#include <vector>

#include "redoubt/core/error.hpp"
#include "redoubt/core/random.hpp"
#include "redoubt/data/archive.hpp"
#include "redoubt/data/dataset.hpp"
#include "redoubt/data/encoder.hpp"
#include "redoubt/model/model.hpp"
#include "redoubt/model/parts.hpp"

namespace redoubt::test {

/// Two outputs {1 - p, p} with p = 1 / (1 + exp(-w.x)), missing inputs count 0; or the one value w.x.
/// Copies its inputs through `scratch` floats, so that a wrong scratch size or two threads in one slot show.
class ToyForm final : public Predictor {
 public:
  ToyForm(std::vector<float> weights, std::size_t outputs, std::size_t scratch)
      : weights_(std::move(weights)), outputs_(outputs), scratch_(scratch) {}

  std::string_view form() const noexcept override { return "toy"; }
  std::size_t inputs() const noexcept override { return weights_.size(); }
  std::size_t outputs() const noexcept override { return outputs_; }
  std::size_t scratch_size() const noexcept override { return scratch_; }
  void predict(std::span<const float> src, std::span<float> dst, std::span<float> scratch) const noexcept override {
    for (float& value : scratch) value = src[0];
    double sum = 0;
    for (std::size_t i = 0; i < src.size(); ++i)
      if (src[i] == src[i]) sum += static_cast<double>(weights_[i]) * src[i];
    for (const float value : scratch)
      if (value != src[0] && src[0] == src[0]) sum = 1e9;  // somebody else wrote here
    if (outputs_ == 1) {
      dst[0] = static_cast<float>(sum);
    } else {
      const double p = 1 / (1 + std::exp(-sum));
      dst[0] = static_cast<float>(1 - p);
      dst[1] = static_cast<float>(p);
    }
  }
  void save(Archive& archive) const override {
    archive.put("toy.weights", weights_);
    archive.set_int("toy.outputs", static_cast<std::int64_t>(outputs_));
    archive.set_int("toy.scratch", static_cast<std::int64_t>(scratch_));
  }
  std::string to_source(std::string_view name) const override {
    if (outputs_ == 1) return "";
    std::string list;
    for (const float w : weights_) list += fmt::format("{:.9g}, ", w);
    return fmt::format(
        "inline void {}(const float* src, float* dst) {{\n  static const float weights[] = {{{}}};\n"
        "  double sum = 0;\n  for (int i = 0; i < {}; ++i)\n"
        "    if (src[i] == src[i]) sum += (double)weights[i] * src[i];\n"
        "  const double p = 1 / (1 + std::exp(-sum));\n  dst[0] = (float)(1 - p);\n  dst[1] = (float)p;\n}}\n",
        name, list, weights_.size());
  }

 private:
  std::vector<float> weights_;
  std::size_t outputs_, scratch_;
};

inline Shared<const Predictor> load_toy(const Archive& archive) {
  const std::int64_t outputs = archive.get_int("toy.outputs"), scratch = archive.get_int("toy.scratch");
  auto weights = archive.get_vector<float>("toy.weights");
  if (weights.empty() || outputs < 1 || outputs > 2 || scratch < 0 || scratch > 1 << 20)
    detail::fail(errc::corrupt, "a toy of impossible size");
  return Shared<const ToyForm>::make(std::move(weights), static_cast<std::size_t>(outputs),
                                     static_cast<std::size_t>(scratch));
}

inline const int toy_registered = register_form("toy", &load_toy);

/// Numbers with gaps, categories with one that never occurs, times with gaps; target "label" with classes no, yes.
inline Dataset toy_data(std::size_t rows = 60, bool text = false) {
  Random random(5);
  Column age{{"age \"x\"", ColumnType::numeric, ColumnRole::feature, {}}, {}, {}, {}, {}};
  Column flat{{"flat", ColumnType::numeric, ColumnRole::feature, {}}, {}, {}, {}, {}};
  Column city{
      {"city", ColumnType::categorical, ColumnRole::feature, {"Ulm", "caf\xe9", "?\?=", "never"}}, {}, {}, {}, {}};
  Column when{{"when", ColumnType::timestamp, ColumnRole::feature, {}}, {}, {}, {}, {}};
  Column note{{"note", ColumnType::text, ColumnRole::feature, {}}, {}, {}, {}, {}};
  Column label{{"label", ColumnType::categorical, ColumnRole::target, {"no", "yes"}}, {}, {}, {}, {}};
  for (std::size_t i = 0; i < rows; ++i) {
    age.numbers.push_back(i % 7 == 3 ? std::nan("") : 20 + 50 * random.uniform());
    flat.numbers.push_back(2.5);
    city.codes.push_back(i % 11 == 5 ? -1 : static_cast<std::int32_t>(random.below(3)));
    when.times.push_back(i % 13 == 7 ? missing_time : static_cast<std::int64_t>(1'600'000'000'000'000 + 1'000'003 * i));
    note.texts.push_back(i % 2 ? "good phone" : "bad phone");
    label.codes.push_back((age.numbers[i] > 45) != (random.uniform() < 0.1));
  }
  std::vector<Column> columns{age, flat, city, when, label};
  if (text) columns.push_back(note);
  return Dataset(std::move(columns));
}

/// A toy model of `data`; a large `scratch` makes predictions leave the stack.
inline Model toy_model(const Dataset& data = toy_data(), const EncoderOptions& options = EncoderOptions::dense(),
                       std::size_t scratch = 3) {
  ModelParts parts;
  parts.info.algorithm = "toy";
  parts.info.options = "scratch=3\n*/ \\";
  parts.info.seed = 0xffffffffffffffffu;
  parts.info.data_hash = data.hash();
  parts.info.train_rows = data.rows();
  parts.task = data.task();
  if (parts.task == Task::classification) parts.classes.assign(data.classes().begin(), data.classes().end());
  auto encoder = Shared<const Encoder>::make(Encoder::fit(data, options));
  std::vector<float> weights(encoder->width());
  Random random(8);
  for (float& w : weights) w = static_cast<float>(random.normal());
  parts.encoder = encoder;
  parts.predictor =
      Shared<const ToyForm>::make(std::move(weights), parts.task == Task::classification ? 2 : 1, scratch);
  return Model(std::move(parts), data);
}

}  // namespace redoubt::test
