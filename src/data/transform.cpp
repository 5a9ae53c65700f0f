#include "redoubt/data/transform.hpp"

#include <fmt/format.h>

#include <algorithm>
#include <bit>
#include <cmath>
#include <numeric>

#include "redoubt/core/error.hpp"
#include "redoubt/core/parallel.hpp"
#include "redoubt/data/dataset.hpp"
#include "redoubt/data/text.hpp"

namespace redoubt {

std::vector<float> raw_values(const Column& column) {
  std::vector<float> values(column.size());
  if (column.spec.type == ColumnType::numeric) {
    for (std::size_t i = 0; i < values.size(); ++i) values[i] = to_float(column.numbers[i]);
  } else if (column.spec.type == ColumnType::timestamp) {
    for (std::size_t i = 0; i < values.size(); ++i)
      values[i] = column.times[i] == missing_time ? std::numeric_limits<float>::quiet_NaN()
                                                  : to_float(static_cast<double>(column.times[i]) * 1e-6);
  } else {
    detail::fail(errc::type_mismatch, fmt::format("column '{}' is {}, not numeric or timestamp", column.spec.name,
                                                  to_string(column.spec.type)));
  }
  return values;
}

Impute Impute::fit(std::span<const float> values) {
  std::vector<float> present;
  present.reserve(values.size());
  for (float x : values)
    if (x == x) present.push_back(to_float(x));
  if (present.empty()) return {};
  const auto middle = present.begin() + static_cast<std::ptrdiff_t>(present.size() / 2);
  std::nth_element(present.begin(), middle, present.end());
  double median = *middle;
  if (present.size() % 2 == 0) median = (median + *std::max_element(present.begin(), middle)) / 2;
  return {to_float(median)};
}

Standardise Standardise::fit(std::span<const float> values) {
  double sum = 0, low = std::numeric_limits<double>::infinity(), high = -low;
  std::size_t count = 0;
  for (float raw : values) {
    if (raw != raw) continue;
    const double x = to_float(raw);
    sum += x;
    low = std::min(low, x);
    high = std::max(high, x);
    ++count;
  }
  if (count == 0) return {};
  if (low == high) return {low, 1};
  const double mean = sum / static_cast<double>(count);
  double squares = 0;
  for (float raw : values) {
    if (raw != raw) continue;
    const double d = static_cast<double>(to_float(raw)) - mean;
    squares += d * d;
  }
  return {mean, std::sqrt(squares / static_cast<double>(count))};
}

MinMax MinMax::fit(std::span<const float> values) {
  double low = std::numeric_limits<double>::infinity(), high = -low;
  for (float x : values) {
    if (x != x) continue;
    low = std::min(low, static_cast<double>(to_float(x)));
    high = std::max(high, static_cast<double>(to_float(x)));
  }
  return low < high ? MinMax{low, high - low} : MinMax{};
}

Categories::Categories(std::vector<std::string> names) : names_(std::move(names)), by_name_(names_.size()) {
  std::iota(by_name_.begin(), by_name_.end(), 0);
  std::sort(by_name_.begin(), by_name_.end(), [&](std::int32_t a, std::int32_t b) {
    return names_[static_cast<std::size_t>(a)] < names_[static_cast<std::size_t>(b)];
  });
}

Categories Categories::fit(const Column& column) {
  if (column.spec.type != ColumnType::categorical)
    detail::fail(errc::type_mismatch,
                 fmt::format("column '{}' is {}, not categorical", column.spec.name, to_string(column.spec.type)));
  std::vector<std::uint8_t> seen(column.spec.categories.size());
  for (std::int32_t code : column.codes)
    if (code >= 0) seen[static_cast<std::size_t>(code)] = 1;
  std::vector<std::string> names;
  for (std::size_t c = 0; c < seen.size(); ++c)
    if (seen[c]) names.push_back(column.spec.categories[c]);
  return Categories(std::move(names));
}

std::int32_t Categories::find(std::string_view name) const noexcept {
  const auto at = std::lower_bound(
      by_name_.begin(), by_name_.end(), name,
      [&](std::int32_t code, std::string_view wanted) { return names_[static_cast<std::size_t>(code)] < wanted; });
  return at != by_name_.end() && names_[static_cast<std::size_t>(*at)] == name ? *at : -1;
}

std::vector<std::int32_t> Categories::translate(const ColumnSpec& spec) const {
  std::vector<std::int32_t> codes(spec.categories.size());
  for (std::size_t c = 0; c < codes.size(); ++c) codes[c] = translate(spec, static_cast<std::int32_t>(c));
  return codes;
}

std::int32_t Categories::translate(const ColumnSpec& spec, std::int32_t code) const noexcept {
  if (code < 0 || static_cast<std::size_t>(code) >= spec.categories.size()) return -1;
  const auto c = static_cast<std::size_t>(code);
  if (c < names_.size() && names_[c] == spec.categories[c]) return code;
  return find(spec.categories[c]);
}

void OneHot::apply(float code, std::span<float> dst) const noexcept {
  std::fill(dst.begin(), dst.end(), 0.0f);
  if (const std::int32_t c = category_code(code, categories); c >= 0) dst[static_cast<std::size_t>(c)] = 1.0f;
}

TargetEncoding TargetEncoding::fit(std::span<const std::int32_t> codes, std::size_t categories,
                                   MatrixView<const double> targets, double smoothing,
                                   std::span<const std::uint8_t> use) {
  if (targets.rows() != codes.size() || (!use.empty() && use.size() != codes.size()))
    detail::fail(errc::shape_mismatch, fmt::format("target encoding: {} codes, {} targets, {} flags", codes.size(),
                                                   targets.rows(), use.size()));
  const std::size_t outputs = targets.cols();
  std::vector<double> sums((categories + 1) * outputs), counts(categories + 1);
  for (std::size_t row = 0; row < codes.size(); ++row) {
    const auto target = targets.row(row);
    if ((!use.empty() && !use[row]) || std::any_of(target.begin(), target.end(), [](double y) { return y != y; }))
      continue;
    counts[categories] += 1;
    for (std::size_t o = 0; o < outputs; ++o) sums[categories * outputs + o] += target[o];
    if (codes[row] < 0 || static_cast<std::size_t>(codes[row]) >= categories) continue;
    const auto c = static_cast<std::size_t>(codes[row]);
    counts[c] += 1;
    for (std::size_t o = 0; o < outputs; ++o) sums[c * outputs + o] += target[o];
  }
  TargetEncoding result{static_cast<std::uint32_t>(categories), static_cast<std::uint32_t>(outputs),
                        std::vector<float>(sums.size())};
  for (std::size_t o = 0; o < outputs; ++o) {
    const double overall = counts[categories] > 0 ? sums[categories * outputs + o] / counts[categories] : 0.0;
    result.means[categories * outputs + o] = to_float(overall);
    for (std::size_t c = 0; c < categories; ++c) {
      const double weight = counts[c] + smoothing;
      result.means[c * outputs + o] =
          to_float(weight > 0 ? (sums[c * outputs + o] + smoothing * overall) / weight : overall);
    }
  }
  return result;
}

void TargetEncoding::apply(float code, std::span<float> dst) const noexcept {
  const std::int32_t c = category_code(code, categories);
  const float* row = means.data() + (c < 0 ? categories : static_cast<std::size_t>(c)) * outputs;
  std::copy(row, row + outputs, dst.begin());
}

std::vector<double> target_indicators(const Dataset& data, std::size_t& outputs) {
  if (data.task() == Task::none)
    detail::fail(errc::invalid_argument, "target encoding needs a dataset with a target column");
  if (data.task() == Task::regression) {
    outputs = 1;
    const auto targets = data.targets();
    return {targets.begin(), targets.end()};
  }
  const auto labels = data.labels();
  const std::size_t classes = data.classes().size();
  outputs = classes == 2 ? 1 : classes;
  std::vector<double> indicators(labels.size() * outputs);
  for (std::size_t row = 0; row < labels.size(); ++row) {
    double* out = indicators.data() + row * outputs;
    if (labels[row] < 0) {
      std::fill(out, out + outputs, std::numeric_limits<double>::quiet_NaN());
    } else if (classes == 2) {
      out[0] = labels[row];
    } else {
      out[labels[row]] = 1;
    }
  }
  return indicators;
}

HashedTfidf HashedTfidf::fit(const TextColumn& texts, std::size_t dims, int ngrams, Arena* arena) {
  if (!std::has_single_bit(dims) || dims > (std::size_t{1} << 20))
    detail::fail(errc::invalid_argument, fmt::format("text_dims = {} is not a power of two up to 1048576", dims));
  if (ngrams < 1 || ngrams > max_text_ngrams)
    detail::fail(errc::invalid_argument, fmt::format("text_ngrams = {} is not in 1..{}", ngrams, max_text_ngrams));
  constexpr std::size_t grain = 4096;
  std::vector<std::vector<std::uint32_t>> partial((texts.size() + grain - 1) / grain);
  parallel_for(
      texts.size(), grain,
      [&](std::size_t begin, std::size_t end) {
        std::vector<std::uint32_t> documents(dims);
        std::vector<std::size_t> last(dims, texts.size());  // last text that counted a bucket
        for (std::size_t i = begin; i < end; ++i)
          for_each_ngram(texts[i], ngrams, [&](std::uint64_t hash) {
            const std::size_t bucket = hash & (dims - 1);
            if (last[bucket] == i) return;
            last[bucket] = i;
            ++documents[bucket];
          });
        partial[begin / grain] = std::move(documents);
      },
      arena);
  HashedTfidf result{ngrams, std::vector<float>(dims)};
  for (std::size_t d = 0; d < dims; ++d) {
    std::uint64_t documents = 0;
    for (const auto& block : partial) documents += block[d];
    result.idf[d] = static_cast<float>(
        std::log((1.0 + static_cast<double>(texts.size())) / (1.0 + static_cast<double>(documents))) + 1.0);
  }
  return result;
}

void HashedTfidf::apply(std::string_view text, std::span<float> dst) const noexcept {
  std::fill(dst.begin(), dst.end(), 0.0f);
  const std::size_t mask = idf.size() - 1;
  for_each_ngram(text, ngrams, [&](std::uint64_t hash) { dst[hash & mask] += 1.0f; });
  double squares = 0;
  for (std::size_t d = 0; d < idf.size(); ++d) {
    if (dst[d] == 0) continue;
    dst[d] *= idf[d];
    squares += static_cast<double>(dst[d]) * dst[d];
  }
  if (squares == 0) return;
  const auto inverse = static_cast<float>(1.0 / std::sqrt(squares));
  for (float& x : dst) x *= inverse;
}

}  // namespace redoubt
