#include "redoubt/linear/linear_form.hpp"

#include <fmt/format.h>

#include <algorithm>
#include <array>
#include <cmath>
#include <memory>

#include "redoubt/core/error.hpp"
#include "redoubt/data/archive.hpp"
#include "redoubt/data/transform.hpp"

namespace redoubt {
namespace {

constexpr std::size_t source_limit = 1u << 20;  // weights; beyond this a header helps nobody
constexpr std::array<std::string_view, 3> link_names{"identity", "sigmoid", "softmax"};

/// log(1 + e^x) without overflow.
double softplus(double x) { return x > 0 ? x + std::log1p(std::exp(-x)) : std::log1p(std::exp(x)); }

void softmax_in_place(std::span<float> values) {
  const float top = *std::max_element(values.begin(), values.end());
  double sum = 0;
  for (float& v : values) {
    v = std::exp(v - top);
    sum += v;
  }
  for (float& v : values) v = static_cast<float>(v / sum);
}

std::string number_list(std::span<const float> values) {
  std::string text;
  for (std::size_t i = 0; i < values.size(); ++i) {
    // Nine digits identify every float.
    text += fmt::format("{}{:.9g}", i == 0 ? "" : (i % 8 == 0 ? ",\n    " : ", "), static_cast<double>(values[i]));
  }
  return text;
}

}  // namespace

LinearForm::LinearForm(std::vector<float> weights, std::vector<float> bias, LinearLink link)
    : weights_(std::move(weights)), bias_(std::move(bias)), link_(link) {
  if (bias_.empty() || weights_.empty() || weights_.size() % bias_.size() != 0) {
    detail::fail(
        errc::shape_mismatch,
        fmt::format("linear form: {} weights and {} biases; there must be inputs x scores weights, one bias per "
                    "score, and at least one of each",
                    weights_.size(), bias_.size()));
  }
  if ((link_ == LinearLink::sigmoid && bias_.size() != 1) || (link_ == LinearLink::softmax && bias_.size() < 2)) {
    detail::fail(errc::shape_mismatch,
                 fmt::format("linear form: link {} does not fit {} scores; sigmoid takes 1, softmax at least 2",
                             link_names[static_cast<std::size_t>(link_)], bias_.size()));
  }
  const auto finite = [](float v) { return std::isfinite(v); };
  if (const auto bad = std::find_if_not(weights_.begin(), weights_.end(), finite); bad != weights_.end()) {
    const auto position = static_cast<std::size_t>(bad - weights_.begin());
    detail::fail(errc::corrupt, fmt::format("linear form: weight of input {}, score {} is {}; it must be finite",
                                            position / bias_.size(), position % bias_.size(), *bad));
  }
  if (const auto bad = std::find_if_not(bias_.begin(), bias_.end(), finite); bad != bias_.end()) {
    detail::fail(errc::corrupt,
                 fmt::format("linear form: bias {} is {}; it must be finite", bad - bias_.begin(), *bad));
  }
}

void LinearForm::scores(std::span<const float> src, std::span<float> dst) const noexcept {
  constexpr std::size_t lane = 16;
  const std::size_t count = bias_.size();
  for (std::size_t first = 0; first < count; first += lane) {
    const std::size_t n = std::min(lane, count - first);
    std::array<double, lane> sums{};
    for (std::size_t k = 0; k < n; ++k) sums[k] = bias_[first + k];
    const float* w = weights_.data() + first;
    for (std::size_t i = 0; i < src.size(); ++i, w += count) {
      if (src[i] == 0.0f) continue;
      const double x = src[i];
      for (std::size_t k = 0; k < n; ++k) sums[k] += x * w[k];
    }
    for (std::size_t k = 0; k < n; ++k) dst[first + k] = to_float(sums[k]);
  }
}

void LinearForm::predict(std::span<const float> src, std::span<float> dst, std::span<float>) const noexcept {
  if (link_ == LinearLink::sigmoid) {
    float score = 0;
    scores(src, {&score, 1});
    dst[0] = 1.0f / (1.0f + std::exp(score));
    dst[1] = 1.0f / (1.0f + std::exp(-score));
    return;
  }
  scores(src, dst);
  if (link_ == LinearLink::softmax) softmax_in_place(dst.first(bias_.size()));
}

void LinearForm::input_gradient(std::span<const float> score_gradient, std::span<float> dst) const noexcept {
  for (std::size_t i = 0; i < dst.size(); ++i) {
    const auto w = weights().row(i);
    double sum = 0;
    for (std::size_t k = 0; k < w.size(); ++k) sum += static_cast<double>(w[k]) * score_gradient[k];
    dst[i] = static_cast<float>(sum);
  }
}

float LinearForm::loss_gradient(std::span<const float> src, std::size_t label, std::span<float> dst) const noexcept {
  const MatrixView<const float> w = weights();
  if (link_ == LinearLink::sigmoid) {
    float score = 0;
    scores(src, {&score, 1});
    const double sign = label == 1 ? -1.0 : 1.0;
    const auto gradient = static_cast<float>(sign / (1.0 + std::exp(-sign * score)));
    input_gradient({&gradient, 1}, dst);
    return static_cast<float>(softplus(sign * score));
  }
  if (link_ == LinearLink::identity) {
    for (std::size_t i = 0; i < dst.size(); ++i) dst[i] = -w(i, label);
    double score = bias_[label];
    for (std::size_t i = 0; i < src.size(); ++i) score += static_cast<double>(src[i]) * w(i, label);
    return static_cast<float>(-score);
  }
  // Softmax without storage for the scores: they are formed again where they are needed.
  const std::size_t count = bias_.size();
  const auto score = [&](std::size_t k) {
    double sum = bias_[k];
    for (std::size_t i = 0; i < src.size(); ++i) sum += static_cast<double>(src[i]) * w(i, k);
    return sum;
  };
  double top = score(0);
  for (std::size_t k = 1; k < count; ++k) top = std::max(top, score(k));
  double sum = 0;
  for (std::size_t k = 0; k < count; ++k) sum += std::exp(score(k) - top);
  std::fill(dst.begin(), dst.end(), 0.0f);
  for (std::size_t k = 0; k < count; ++k) {
    const double gradient = std::exp(score(k) - top) / sum - (k == label ? 1.0 : 0.0);
    for (std::size_t i = 0; i < dst.size(); ++i) dst[i] += static_cast<float>(gradient * w(i, k));
  }
  return static_cast<float>(top + std::log(sum) - score(label));
}

void LinearForm::save(Archive& archive) const {
  archive.set("linear.link", link_names[static_cast<std::size_t>(link_)]);
  const std::size_t shape[] = {inputs(), score_count()};
  archive.put<float>("linear.weights", weights_, shape);
  archive.put<float>("linear.bias", bias_);
}

std::string LinearForm::to_source(std::string_view name) const {
  if (weights_.size() > source_limit) return "";
  const std::size_t count = bias_.size();
  std::string link;
  if (link_ == LinearLink::identity) {
    link = "  for (int k = 0; k < scores; ++k) dst[k] = score(k);\n";
  } else if (link_ == LinearLink::sigmoid) {
    link =
        "  dst[0] = 1.0f / (1.0f + std::exp(score(0)));\n"
        "  dst[1] = 1.0f / (1.0f + std::exp(-score(0)));\n";
  } else {
    link =
        "  float top = score(0);\n"
        "  for (int k = 1; k < scores; ++k) top = score(k) > top ? score(k) : top;\n"
        "  double total = 0;\n"
        "  for (int k = 0; k < scores; ++k) {\n"
        "    dst[k] = std::exp(score(k) - top);\n"
        "    total += dst[k];\n"
        "  }\n"
        "  for (int k = 0; k < scores; ++k) dst[k] = (float)(dst[k] / total);\n";
  }
  return fmt::format(
      "inline void {0}(const float* src, float* dst) {{\n"
      "  constexpr int inputs = {1}, scores = {2};\n"
      "  static const float weights[inputs * scores] = {{\n    {3}}};\n"
      "  static const float bias[scores] = {{{4}}};\n"
      "  double sums[scores];\n"
      "  for (int k = 0; k < scores; ++k) sums[k] = bias[k];\n"
      "  for (int i = 0; i < inputs; ++i) {{\n"
      "    if (src[i] == 0.0f) continue;\n"
      "    for (int k = 0; k < scores; ++k) sums[k] += (double)src[i] * weights[i * scores + k];\n"
      "  }}\n"
      "  const auto score = [&](int k) {{  // clamped to finite values\n"
      "    constexpr double limit = 3.4028234663852886e38;\n"
      "    return (float)(sums[k] > limit ? limit : sums[k] < -limit ? -limit : sums[k]);\n"
      "  }};\n"
      "{5}"
      "}}\n",
      name, inputs(), count, number_list(weights_), number_list(bias_), link);
}

namespace {

Shared<const Predictor> load_linear(const Archive& archive) {
  const std::string& link = archive.get("linear.link");
  const auto found = std::find(link_names.begin(), link_names.end(), link);
  if (found == link_names.end()) {
    detail::fail(errc::corrupt,
                 fmt::format("key \"linear.link\" is \"{}\"; it must be identity, sigmoid or softmax", link));
  }
  const auto weights = archive.tensor<float>("linear.weights");
  const auto bias = archive.tensor<float>("linear.bias");
  if (weights.rank() != 2 || bias.rank() != 1 || weights.extent(1) != bias.extent(0) || bias.size() == 0) {
    detail::fail(errc::corrupt, fmt::format("tensors \"linear.weights\" (rank {}, {} values) and \"linear.bias\" (rank "
                                            "{}, {} values) do not fit: inputs x scores and scores are needed",
                                            weights.rank(), weights.size(), bias.rank(), bias.size()));
  }
  try {
    return Shared<const LinearForm>::make(std::vector<float>(weights.data(), weights.data() + weights.size()),
                                          std::vector<float>(bias.data(), bias.data() + bias.size()),
                                          static_cast<LinearLink>(found - link_names.begin()));
  } catch (const Error& error) {
    detail::fail(errc::corrupt, error.what());
  }
}

}  // namespace

extern "C" const int redoubt_form_linear = register_form("linear", &load_linear);

}  // namespace redoubt
