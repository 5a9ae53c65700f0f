#include "redoubt/data/encoder.hpp"

#include <fmt/format.h>

#include <algorithm>
#include <bit>
#include <limits>

#include "data/encoder_state.hpp"
#include "redoubt/core/parallel.hpp"
#include "redoubt/data/dataset.hpp"
#include "redoubt/data/split.hpp"

namespace redoubt {

namespace {

constexpr float missing = std::numeric_limits<float>::quiet_NaN();

/// Float form of one cell that is not text; `translated` is the code in the encoder's categories.
float raw_cell(const Column& column, std::size_t row, std::int32_t translated) noexcept {
  switch (column.spec.type) {
    case ColumnType::numeric: return to_float(column.numbers[row]);
    case ColumnType::categorical: return translated < 0 ? missing : static_cast<float>(translated);
    case ColumnType::timestamp:
      return column.times[row] == missing_time ? missing : to_float(static_cast<double>(column.times[row]) * 1e-6);
    case ColumnType::text: break;
  }
  return 0;
}

/// Finds the columns that an encoder needs, in order. A search starts where the last one ended, so a dataset whose
/// columns have the training order is matched with one comparison per column.
class ColumnMatcher {
 public:
  ColumnMatcher(const Dataset& data, const Schema& wanted) noexcept : data_(data), wanted_(wanted) {}

  const Column& operator()(std::size_t feature) {
    const ColumnSpec& spec = wanted_[feature];
    const Schema& have = data_.schema();
    for (std::size_t tried = 0; tried < have.size(); ++tried, ++next_) {
      if (next_ >= have.size()) next_ = 0;
      if (have[next_].name != spec.name) continue;
      if (have[next_].type != spec.type)
        detail::fail(errc::type_mismatch,
                     fmt::format("column '{}' is {}, but the model was trained on a {} column; read it with that type",
                                 spec.name, to_string(have[next_].type), to_string(spec.type)));
      return data_.column(next_++);
    }
    std::string names;
    for (std::size_t i = 0; i < std::min<std::size_t>(have.size(), 20); ++i)
      names += fmt::format("{}'{}'", i == 0 ? "" : ", ", have[i].name);
    detail::fail(errc::not_found,
                 fmt::format("the data has no column '{}', which the model was trained on; it has {}{}", spec.name,
                             names, have.size() > 20 ? ", ..." : ""));
  }

 private:
  const Dataset& data_;
  const Schema& wanted_;
  std::size_t next_ = 0;
};

void check(const EncoderOptions& options) {
  if (!(options.target_smoothing >= 0 && options.target_smoothing <= std::numeric_limits<double>::max()))
    detail::fail(errc::invalid_argument,
                 fmt::format("target_smoothing = {} is not a finite number from 0 up", options.target_smoothing));
}

void check_size(const char* what, std::size_t have, std::size_t wanted) {
  if (have != wanted)
    detail::fail(errc::shape_mismatch, fmt::format("the {} holds {} floats, the encoder needs {}", what, have, wanted));
}

void check_row(const RowView& row) {
  if (row.index() >= row.dataset().rows())
    detail::fail(errc::invalid_argument,
                 fmt::format("row {} of a dataset that has {} rows", row.index(), row.dataset().rows()));
}

detail::NumberStep fit_number(const Column& column, const EncoderOptions& options) {
  detail::NumberStep step;
  std::vector<float> values = raw_values(column);
  step.impute = options.impute;
  step.encoding = options.numeric;
  if (step.impute) {
    step.fill = Impute::fit(values);
    for (float& x : values) x = step.fill.apply(x);
  }
  if (step.encoding == NumericEncoding::standardise) step.standardise = Standardise::fit(values);
  if (step.encoding == NumericEncoding::min_max) step.min_max = MinMax::fit(values);
  return step;
}

/// Translated code of every row; -1 is missing or unknown.
std::vector<std::int32_t> translate(const Column& column, const Categories& categories) {
  const std::vector<std::int32_t> table = categories.translate(column.spec);
  std::vector<std::int32_t> codes(column.size());
  for (std::size_t i = 0; i < codes.size(); ++i)
    codes[i] = column.codes[i] < 0 ? -1 : table[static_cast<std::size_t>(column.codes[i])];
  return codes;
}

}  // namespace

void Encoder::State::lay_out() {
  width = 0;
  has_text = false;
  for (auto& step : steps) {
    step.first = width;
    step.width = 1;
    if (const auto* one_hot = std::get_if<OneHot>(&step.transform)) step.width = one_hot->width();
    if (const auto* target = std::get_if<TargetEncoding>(&step.transform)) step.width = target->width();
    if (const auto* tfidf = std::get_if<HashedTfidf>(&step.transform)) {
      step.width = tfidf->width();
      has_text = true;
    }
    width += step.width;
    if (width > detail::max_encoded_width)
      detail::fail(
          errc::unsupported,
          fmt::format("the encoding needs more than {} columns; use ordinal or target encoding for columns with "
                      "many categories, or fewer text_dims",
                      detail::max_encoded_width));
  }
}

Encoder::Encoder() : state_(Shared<State>::make()) {}
Encoder::~Encoder() = default;
Encoder::Encoder(const Encoder&) = default;
// A moved-from encoder stays usable (as a copy): the state is immutable and shared, so this costs one increment.
Encoder::Encoder(Encoder&& other) noexcept : state_(other.state_) {}
Encoder& Encoder::operator=(const Encoder&) = default;
Encoder& Encoder::operator=(Encoder&& other) noexcept {
  state_ = other.state_;
  return *this;
}

Encoder Encoder::fit(const Dataset& data, const EncoderOptions& options) {
  check(options);
  data.require_trainable(false);
  auto state = Shared<State>::make();
  state->options = options;
  std::vector<ColumnSpec> specs;
  std::vector<double> indicators;
  std::size_t outputs = 0;
  for (const std::size_t index : data.schema().features()) {
    const Column& column = data.column(index);
    ColumnSpec spec = column.spec;
    spec.role = ColumnRole::feature;
    detail::EncoderStep step;
    switch (spec.type) {
      case ColumnType::numeric:
      case ColumnType::timestamp: step.transform = fit_number(column, options); break;
      case ColumnType::text:
        step.transform = HashedTfidf::fit(column.texts, options.text_dims, options.text_ngrams);
        break;
      case ColumnType::categorical:
        step.categories = Categories::fit(column);
        spec.categories = step.categories.names();
        if (options.categorical == CategoricalEncoding::ordinal) {
          step.transform = Ordinal::fit(step.categories);
        } else if (options.categorical == CategoricalEncoding::one_hot) {
          step.transform = OneHot::fit(step.categories);
        } else {
          if (outputs == 0) {
            indicators = target_indicators(data, outputs);
            if (data.task() == Task::regression)
              state->target_names = {"mean"};
            else if (outputs == 1)
              state->target_names = {data.classes().back()};
            else
              state->target_names.assign(data.classes().begin(), data.classes().end());
          }
          step.transform = TargetEncoding::fit(translate(column, step.categories), step.categories.size(),
                                               {indicators.data(), data.rows(), outputs}, options.target_smoothing);
        }
        break;
    }
    specs.push_back(std::move(spec));
    state->steps.push_back(std::move(step));
  }
  if (specs.empty())
    detail::fail(errc::invalid_argument,
                 "the data has no feature columns: every column is a target, source, time, "
                 "weight or ignored");
  state->schema = Schema(std::move(specs));
  state->lay_out();
  Encoder encoder;
  encoder.state_ = state;
  return encoder;
}

Encoder Encoder::fit_apply(const Dataset& data, const EncoderOptions& options, Tensor<float>& encoded) {
  Encoder encoder = fit(data, options);
  Tensor<float> result = encoder.apply(data);
  if (!encoder.state_->target_names.empty()) {
    constexpr std::size_t most_folds = 5;
    std::size_t outputs = 0;
    const std::vector<double> indicators = target_indicators(data, outputs);
    const std::size_t folds = std::min(most_folds, data.rows());
    const std::vector<std::uint32_t> fold =
        folds < 2 ? std::vector<std::uint32_t>(data.rows()) : fold_ids(data, static_cast<int>(folds), options.seed);
    std::vector<std::uint8_t> outside(data.rows());
    ColumnMatcher match(data, encoder.schema());
    for (std::size_t feature = 0; feature < encoder.inputs(); ++feature) {
      const auto& step = encoder.state_->steps[feature];
      const Column& column = match(feature);
      if (!std::holds_alternative<TargetEncoding>(step.transform)) continue;
      const std::vector<std::int32_t> codes = translate(column, step.categories);
      for (std::size_t f = 0; f < folds; ++f) {
        for (std::size_t row = 0; row < fold.size(); ++row) outside[row] = fold[row] != f;
        const auto means = TargetEncoding::fit(codes, step.categories.size(), {indicators.data(), data.rows(), outputs},
                                               options.target_smoothing, outside);
        for (std::size_t row = 0; row < fold.size(); ++row)
          if (fold[row] == f)
            means.apply(static_cast<float>(codes[row]), result.row(row).subspan(step.first, step.width));
      }
    }
  }
  encoded = std::move(result);
  return encoder;
}

Encoder Encoder::identity(const Schema& features) {
  auto state = Shared<State>::make();
  std::vector<ColumnSpec> specs;
  for (const ColumnSpec& spec : features.columns()) {
    if (spec.role != ColumnRole::feature) continue;
    detail::EncoderStep step;
    if (spec.type == ColumnType::text)
      detail::fail(errc::unsupported, fmt::format("column '{}' is text, which has no identity encoding", spec.name));
    if (spec.type == ColumnType::categorical) {
      step.categories = Categories(spec.categories);
      step.transform = Ordinal::fit(step.categories);
    }
    specs.push_back(spec);
    state->steps.push_back(std::move(step));
  }
  if (specs.empty()) detail::fail(errc::invalid_argument, "the schema has no feature columns");
  state->schema = Schema(std::move(specs));
  state->lay_out();
  Encoder encoder;
  encoder.state_ = state;
  return encoder;
}

const Schema& Encoder::schema() const noexcept { return state_->schema; }
std::size_t Encoder::inputs() const noexcept { return state_->schema.size(); }
std::size_t Encoder::width() const noexcept { return state_->width; }
bool Encoder::has_text() const noexcept { return state_->has_text; }
const EncoderOptions& Encoder::options() const noexcept { return state_->options; }

std::vector<std::string> Encoder::names() const {
  std::vector<std::string> names;
  names.reserve(width());
  for (std::size_t i = 0; i < inputs(); ++i) {
    const std::string& name = schema()[i].name;
    const auto& step = state_->steps[i];
    if (std::holds_alternative<OneHot>(step.transform)) {
      for (const auto& category : step.categories.names()) names.push_back(fmt::format("{}={}", name, category));
    } else if (std::holds_alternative<TargetEncoding>(step.transform)) {
      for (const auto& target : state_->target_names) names.push_back(fmt::format("{}~{}", name, target));
    } else if (std::holds_alternative<HashedTfidf>(step.transform)) {
      for (std::size_t d = 0; d < step.width; ++d) names.push_back(fmt::format("{}#{}", name, d));
    } else {
      names.push_back(name);
    }
  }
  return names;
}

std::vector<std::uint32_t> Encoder::origins() const {
  std::vector<std::uint32_t> origins;
  origins.reserve(width());
  for (std::size_t i = 0; i < inputs(); ++i)
    origins.insert(origins.end(), state_->steps[i].width, static_cast<std::uint32_t>(i));
  return origins;
}

std::vector<std::uint32_t> Encoder::category_counts() const {
  std::vector<std::uint32_t> counts(width());
  for (const auto& step : state_->steps)
    if (const auto* ordinal = std::get_if<Ordinal>(&step.transform)) counts[step.first] = ordinal->categories;
  return counts;
}

Tensor<float> Encoder::apply(const Dataset& data, Arena* arena) const {
  const auto& steps = state_->steps;
  std::vector<const Column*> columns;
  std::vector<std::vector<std::int32_t>> tables(steps.size());
  ColumnMatcher match(data, schema());
  for (std::size_t i = 0; i < steps.size(); ++i) {
    columns.push_back(&match(i));
    if (columns[i]->spec.type == ColumnType::categorical) tables[i] = steps[i].categories.translate(columns[i]->spec);
  }
  Tensor<float> encoded({data.rows(), width()});
  parallel_for(
      data.rows(), 256,
      [&](std::size_t begin, std::size_t end) {
        for (std::size_t i = 0; i < steps.size(); ++i) {
          const Column& column = *columns[i];
          const auto* tfidf = std::get_if<HashedTfidf>(&steps[i].transform);
          for (std::size_t row = begin; row < end; ++row) {
            const std::span<float> out = encoded.row(row);
            if (tfidf) {
              tfidf->apply(column.texts[row], out.subspan(steps[i].first, steps[i].width));
              continue;
            }
            std::int32_t code = -1;
            if (column.spec.type == ColumnType::categorical && column.codes[row] >= 0)
              code = tables[i][static_cast<std::size_t>(column.codes[row])];
            steps[i].apply(raw_cell(column, row, code), out.data());
          }
        }
      },
      arena);
  return encoded;
}

void Encoder::apply(const RowView& row, std::span<float> dst) const {
  check_size("encoded row", dst.size(), width());
  check_row(row);
  ColumnMatcher match(row.dataset(), schema());
  for (std::size_t i = 0; i < inputs(); ++i) {
    const Column& column = match(i);
    const auto& step = state_->steps[i];
    if (const auto* tfidf = std::get_if<HashedTfidf>(&step.transform)) {
      tfidf->apply(column.texts[row.index()], dst.subspan(step.first, step.width));
      continue;
    }
    std::int32_t code = -1;
    if (column.spec.type == ColumnType::categorical)
      code = step.categories.translate(column.spec, column.codes[row.index()]);
    step.apply(raw_cell(column, row.index(), code), dst.data());
  }
}

errc Encoder::apply(std::span<const float> raw, std::span<float> dst) const noexcept {
  const State& state = *state_;
  if (raw.size() != state.steps.size() || dst.size() != state.width) return errc::shape_mismatch;
  if (state.has_text) return errc::unsupported;
  for (std::size_t i = 0; i < raw.size(); ++i) state.steps[i].apply(raw[i], dst.data());
  return errc::ok;
}

void Encoder::raw_row(const RowView& row, std::span<float> dst) const {
  check_size("raw row", dst.size(), inputs());
  check_row(row);
  ColumnMatcher match(row.dataset(), schema());
  for (std::size_t i = 0; i < inputs(); ++i) {
    const Column& column = match(i);
    std::int32_t code = -1;
    if (column.spec.type == ColumnType::categorical)
      code = state_->steps[i].categories.translate(column.spec, column.codes[row.index()]);
    dst[i] = raw_cell(column, row.index(), code);
  }
}

}  // namespace redoubt
