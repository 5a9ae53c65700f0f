// The encoder's part of a model file. Strings: options, names and types of the feature columns, category names.
// Tensors: encoder.numbers (features x 3: fill, mean or low, scale or range), encoder.idf.N, encoder.target.N.
#include <fmt/format.h>

#include <array>
#include <bit>
#include <cmath>

#include "data/encoder_state.hpp"
#include "redoubt/core/error.hpp"
#include "redoubt/data/archive.hpp"
#include "redoubt/data/text.hpp"

namespace redoubt {

namespace {

constexpr std::int64_t format = 1;

constexpr std::array numeric_names{"raw", "standardise", "min_max"};
constexpr std::array categorical_names{"ordinal", "one_hot", "target"};
constexpr std::array types{ColumnType::numeric, ColumnType::categorical, ColumnType::text, ColumnType::timestamp};

[[noreturn]] void corrupt(const std::string& key, const std::string& what) {
  detail::fail(errc::corrupt, fmt::format("encoder: {} {}", key, what));
}

template <std::size_t N>
std::size_t one_of(const Archive& archive, const std::string& key, const std::array<const char*, N>& names) {
  const std::string& value = archive.get(key);
  for (std::size_t i = 0; i < N; ++i)
    if (value == names[i]) return i;
  corrupt(key, fmt::format("holds the unknown value \"{:.40}\"", value));
}

template <class T>
TensorView<const T> finite_tensor(const Archive& archive, const std::string& key, std::size_t rank) {
  const TensorView<const T> view = archive.tensor<T>(key);
  if (view.rank() != rank) corrupt(key, fmt::format("has rank {}, not {}", view.rank(), rank));
  for (std::size_t i = 0; i < view.size(); ++i)
    if (!std::isfinite(view.data()[i])) corrupt(key, fmt::format("holds a value that is not finite at element {}", i));
  return view;
}

std::string numbered(const char* key, std::size_t i) { return fmt::format("encoder.{}.{}", key, i); }

}  // namespace

void Encoder::save(Archive& archive) const {
  const State& state = *state_;
  const EncoderOptions& options = state.options;
  archive.set_int("encoder.format", format);
  archive.set("encoder.numeric", numeric_names[static_cast<std::size_t>(options.numeric)]);
  archive.set_int("encoder.impute", options.impute);
  archive.set("encoder.categorical", categorical_names[static_cast<std::size_t>(options.categorical)]);
  archive.set_number("encoder.target_smoothing", options.target_smoothing);
  archive.set_int("encoder.text_dims", static_cast<std::int64_t>(options.text_dims));
  archive.set_int("encoder.text_ngrams", options.text_ngrams);
  archive.set_int("encoder.seed", static_cast<std::int64_t>(options.seed));
  if (!state.target_names.empty()) archive.set_list("encoder.target_names", state.target_names);

  std::vector<std::string> names, type_names;
  std::vector<double> numbers(state.steps.size() * 3);
  for (std::size_t i = 0; i < state.steps.size(); ++i) {
    const ColumnSpec& spec = state.schema[i];
    const detail::EncoderStep& step = state.steps[i];
    names.push_back(spec.name);
    type_names.emplace_back(to_string(spec.type));
    if (spec.type == ColumnType::categorical) archive.set_list(numbered("categories", i), spec.categories);
    if (const auto* number = std::get_if<detail::NumberStep>(&step.transform)) {
      const bool scaled = number->encoding == NumericEncoding::min_max;
      numbers[i * 3] = number->fill.value;
      numbers[i * 3 + 1] = scaled ? number->min_max.low : number->standardise.mean;
      numbers[i * 3 + 2] = scaled ? number->min_max.range : number->standardise.scale;
    } else if (const auto* target = std::get_if<TargetEncoding>(&step.transform)) {
      const std::array<std::size_t, 2> shape{target->categories + std::size_t{1}, target->outputs};
      archive.put<float>(numbered("target", i), target->means, shape);
    } else if (const auto* tfidf = std::get_if<HashedTfidf>(&step.transform)) {
      archive.put(numbered("idf", i), tfidf->idf);
    }
  }
  archive.set_list("encoder.names", names);
  archive.set_list("encoder.types", type_names);
  archive.put<double>("encoder.numbers", numbers, std::array<std::size_t, 2>{state.steps.size(), 3});
}

Encoder Encoder::load(const Archive& archive) {
  if (const auto found = archive.get_int("encoder.format"); found != format)
    detail::fail(errc::unsupported,
                 fmt::format("encoder: format {} is not {}, the one this version reads", found, format));
  auto state = Shared<State>::make();
  EncoderOptions& options = state->options;
  options.numeric = static_cast<NumericEncoding>(one_of(archive, "encoder.numeric", numeric_names));
  options.impute = archive.get_int("encoder.impute") != 0;
  options.categorical = static_cast<CategoricalEncoding>(one_of(archive, "encoder.categorical", categorical_names));
  options.target_smoothing = archive.get_number("encoder.target_smoothing");
  const std::int64_t dims = archive.get_int("encoder.text_dims"), ngrams = archive.get_int("encoder.text_ngrams");
  if (dims < 0 || dims > static_cast<std::int64_t>(detail::max_encoded_width))
    corrupt("encoder.text_dims", fmt::format("is {}", dims));
  if (ngrams < 0 || ngrams > max_text_ngrams) corrupt("encoder.text_ngrams", fmt::format("is {}", ngrams));
  options.text_dims = static_cast<std::size_t>(dims);
  options.text_ngrams = static_cast<int>(ngrams);
  options.seed = static_cast<std::uint64_t>(archive.get_int("encoder.seed"));
  if (archive.has("encoder.target_names")) state->target_names = archive.get_list("encoder.target_names");

  const std::vector<std::string> names = archive.get_list("encoder.names");
  const std::vector<std::string> type_names = archive.get_list("encoder.types");
  if (names.size() != type_names.size())
    corrupt("encoder.types", fmt::format("lists {} types for {} names", type_names.size(), names.size()));
  const auto numbers = finite_tensor<double>(archive, "encoder.numbers", 2);
  if (numbers.extent(0) != names.size() || numbers.extent(1) != 3)
    corrupt("encoder.numbers",
            fmt::format("has shape {} x {}, not {} x 3", numbers.extent(0), numbers.extent(1), names.size()));

  std::vector<ColumnSpec> specs(names.size());
  state->steps.resize(names.size());
  for (std::size_t i = 0; i < names.size(); ++i) {
    ColumnSpec& spec = specs[i];
    detail::EncoderStep& step = state->steps[i];
    spec.name = names[i];
    std::size_t type = 0;
    while (type < types.size() && type_names[i] != to_string(types[type])) ++type;
    if (type == types.size()) corrupt("encoder.types", fmt::format("holds the unknown type \"{:.40}\"", type_names[i]));
    spec.type = types[type];
    if (spec.type == ColumnType::text) {
      const std::string key = numbered("idf", i);
      const auto idf = finite_tensor<float>(archive, key, 1);
      if (ngrams < 1 || !std::has_single_bit(idf.size()) || idf.size() > detail::max_encoded_width)
        corrupt(key, fmt::format("has {} elements for word n-grams up to {}", idf.size(), ngrams));
      step.transform = HashedTfidf{options.text_ngrams, {idf.data(), idf.data() + idf.size()}};
    } else if (spec.type == ColumnType::categorical) {
      spec.categories = archive.get_list(numbered("categories", i));
      step.categories = Categories(spec.categories);
      const auto count = static_cast<std::uint32_t>(spec.categories.size());
      if (options.categorical == CategoricalEncoding::ordinal) {
        step.transform = Ordinal{count};
      } else if (options.categorical == CategoricalEncoding::one_hot) {
        step.transform = OneHot{count};
      } else {
        const std::string key = numbered("target", i);
        const auto means = finite_tensor<float>(archive, key, 2);
        const std::size_t outputs = state->target_names.size();
        if (outputs == 0 || means.extent(0) != count + std::size_t{1} || means.extent(1) != outputs)
          corrupt(key,
                  fmt::format("has shape {} x {}, not {} x {}", means.extent(0), means.extent(1), count + 1, outputs));
        step.transform =
            TargetEncoding{count, static_cast<std::uint32_t>(outputs), {means.data(), means.data() + means.size()}};
      }
    } else {
      const double fill = numbers.data()[i * 3], a = numbers.data()[i * 3 + 1], b = numbers.data()[i * 3 + 2];
      detail::NumberStep number;
      number.impute = options.impute;
      number.fill.value = to_float(fill);
      number.encoding = options.numeric;
      const bool scaled = options.numeric == NumericEncoding::min_max;
      if (scaled ? b < 0 : !(b > 0))
        corrupt("encoder.numbers", fmt::format("holds the scale {} for column '{}'", b, spec.name));
      if (scaled)
        number.min_max = {a, b};
      else
        number.standardise = {a, b};
      step.transform = number;
    }
  }
  try {
    state->schema = Schema(std::move(specs));
    state->lay_out();
  } catch (const Error& error) {
    corrupt("encoder.names", fmt::format("do not make a schema: {}", error.what()));
  }
  Encoder encoder;
  encoder.state_ = state;
  return encoder;
}

}  // namespace redoubt
