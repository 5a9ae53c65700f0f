// A model file is either loaded, and then predicts without harm, or Error(corrupt | unsupported).
//
// The first byte chooses: 0 takes the rest as a file; 1 to 5 take it as edits of a small real model (linear, forest,
// graph, graph in bf16, graph in int8), after which the checksum is made right again, as a forger would, so that the
// edits reach the loaders.
#include <array>
#include <cmath>
#include <cstddef>
#include <cstdint>
#include <cstdlib>
#include <cstring>
#include <span>
#include <string>
#include <vector>

#include "redoubt/core/error.hpp"
#include "redoubt/data/archive.hpp"
#include "redoubt/data/dataset.hpp"
#include "redoubt/linear/logistic_regression.hpp"
#include "redoubt/model/model.hpp"
#include "redoubt/nn/compression.hpp"
#include "redoubt/nn/mlp.hpp"
#include "redoubt/trees/gradient_boosting.hpp"

namespace {

using namespace redoubt;

Dataset tiny_data() {
  Column number{{"n", ColumnType::numeric, ColumnRole::feature, {}}, {}, {}, {}, {}};
  Column category{{"c", ColumnType::categorical, ColumnRole::feature, {"a", "b", "c"}}, {}, {}, {}, {}};
  Column text{{"t", ColumnType::text, ColumnRole::feature, {}}, {}, {}, {}, {}};
  Column label{{"y", ColumnType::categorical, ColumnRole::target, {"no", "yes"}}, {}, {}, {}, {}};
  for (int i = 0; i < 60; ++i) {
    number.numbers.push_back(i % 9 == 4 ? std::nan("") : i * 0.5);
    category.codes.push_back(i % 3);
    text.texts.push_back(i % 2 ? "good" : "bad one");
    label.codes.push_back((i / 7 + i % 3) % 2);
  }
  return Dataset({number, category, text, label});
}

const std::array<Archive, 5>& models() {
  static const std::array<Archive, 5> archives = [] {
    const Dataset data = tiny_data();
    GradientBoostingOptions boosting{.trees = 3, .max_leaves = 4, .min_leaf_rows = 5, .min_category_rows = 1};
    LogisticRegressionOptions linear{.max_iterations = 20};
    MlpOptions network{.hidden = {4}, .epochs = 1};
    for (EncoderOptions* encoder : {&boosting.encoder, &linear.encoder, &network.encoder}) encoder->text_dims = 4;
    const Model graph = Mlp{network}.fit(data);
    const auto narrow = [&](kernels::Precision precision) {
      return Archive::from_bytes(
          compress(graph, data, {.precision = precision, .most_loss = 1, .least_speedup = 0}).to_bytes());
    };
    return std::array{Archive::from_bytes(LogisticRegression{linear}.fit(data).to_bytes()),
                      Archive::from_bytes(GradientBoosting{boosting}.fit(data).to_bytes()),
                      Archive::from_bytes(graph.to_bytes()), narrow(kernels::Precision::bf16),
                      narrow(kernels::Precision::int8)};
  }();
  return archives;
}

/// Takes small values off the front of the input; zeros when it is used up.
class Input {
 public:
  explicit Input(std::span<const std::uint8_t> bytes) : bytes_(bytes) {}
  bool empty() const { return bytes_.empty(); }
  std::size_t below(std::size_t bound) {
    std::size_t value = 0;
    for (std::size_t scale = 1; scale < bound; scale *= 256) value = value * 256 + next();
    return value % bound;
  }
  std::uint8_t next() {
    if (bytes_.empty()) return 0;
    const std::uint8_t byte = bytes_.front();
    bytes_ = bytes_.subspan(1);
    return byte;
  }
  std::string text(std::size_t length) {
    std::string result;
    while (result.size() < length && !empty()) result += static_cast<char>(next());
    return result;
  }

 private:
  std::span<const std::uint8_t> bytes_;
};

/// Whether the file was accepted.
bool load(std::span<const std::byte> bytes) {
  try {
    const Model model = Model::from_bytes(bytes);
    const Dataset data = tiny_data();
    std::vector<float> out(model.outputs());
    for (const float value : {0.0f, 1.0f, -1e30f, NAN}) {
      const std::vector<float> row(model.inputs(), value);
      (void)model.predict(row, out);
    }
    try {
      model.predict_proba(data.take(std::vector<std::size_t>{0, 1}));
    } catch (const Error&) {  // it may want other columns
    }
    if (Model::from_bytes(model.to_bytes()).hash() != model.hash()) std::abort();
    return true;
  } catch (const Error& error) {
    if (error.code() != errc::corrupt && error.code() != errc::unsupported) std::abort();
    return false;
  }
}

bool load_resealed(Archive archive) {
  archive.set("model.checksum", archive.content_hash("model.checksum"));
  return load(archive.to_bytes());
}

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  if (size == 0) return 0;
  const std::span<const std::uint8_t> rest(data + 1, size - 1);
  if (data[0] % 6 == 0) {
    load(std::as_bytes(rest));
    return 0;
  }
  Input input(rest);
  Archive archive = models()[data[0] % 6 - 1];
  std::vector<std::string> keys;
  for (const auto& [key, value] : archive.strings()) keys.push_back(key);
  const std::vector<std::string> tensors = archive.tensor_names();
  for (int edits = 0; edits < 8 && !input.empty(); ++edits) {
    switch (input.next() % 3) {
      case 0: {  // another text
        const std::string& key = keys[input.below(keys.size())];
        archive.set(key, input.text(input.below(32)));
        break;
      }
      case 1: {  // another byte anywhere in the file
        auto bytes = archive.to_bytes();
        bytes[input.below(bytes.size())] = static_cast<std::byte>(input.next());
        try {
          archive = Archive::from_bytes(bytes);
        } catch (const Error&) {  // the header broke; the other edits go on
        }
        break;
      }
      default: {  // another tensor
        const std::string& name = tensors[input.below(tensors.size())];
        const std::string text = input.text(input.below(64) * 4);
        if (input.next() % 2) {
          std::vector<std::int32_t> values(text.size() / 4);
          if (!values.empty()) std::memcpy(values.data(), text.data(), values.size() * 4);
          archive.put(name, values);
        } else {
          std::vector<float> values(text.size() / 4);
          if (!values.empty()) std::memcpy(values.data(), text.data(), values.size() * 4);
          archive.put(name, values);
        }
      }
    }
  }
  const bool accepted = load_resealed(std::move(archive));
  if (rest.empty() && !accepted) std::abort();  // nothing was edited
  return 0;
}
