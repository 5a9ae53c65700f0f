#include "data/dictionary.hpp"

#include <fmt/format.h>

#include <algorithm>
#include <cmath>
#include <numeric>
#include <random>
#include <unordered_map>
#include <utility>

#include "data/number.hpp"
#include "redoubt/core/error.hpp"
#include "redoubt/core/hash.hpp"

namespace redoubt::detail {
namespace {

std::uint64_t process_seed() {
  static const std::uint64_t seed = (std::uint64_t{std::random_device{}()} << 32) | std::random_device{}();
  return seed;
}

}  // namespace

Dictionary::Dictionary() : slots_(64, -1), mask_(slots_.size() - 1) {}

std::int32_t Dictionary::find_or_add(std::string_view text) {
  const std::uint64_t hash = hash64(text, process_seed());
  std::size_t slot = hash & mask_;
  for (; slots_[slot] >= 0; slot = (slot + 1) & mask_) {
    const std::int32_t code = slots_[slot];
    if (hashes_[static_cast<std::size_t>(code)] == hash && names_[static_cast<std::size_t>(code)] == text) return code;
  }
  if (names_.size() >= std::size_t{1} << 30) fail(errc::unsupported, "a column has more than 2^30 distinct values");
  const auto code = static_cast<std::int32_t>(names_.size());
  slots_[slot] = code;
  names_.push_back(text);
  hashes_.push_back(hash);
  if (2 * names_.size() > slots_.size()) grow();
  return code;
}

void Dictionary::grow() {
  slots_.assign(slots_.size() * 4, -1);
  mask_ = slots_.size() - 1;
  for (std::size_t code = 0; code < hashes_.size(); ++code) {
    std::size_t slot = hashes_[code] & mask_;
    while (slots_[slot] >= 0) slot = (slot + 1) & mask_;
    slots_[slot] = static_cast<std::int32_t>(code);
  }
}

Column categorical_column(ColumnSpec spec, std::vector<std::int32_t> codes, const Dictionary& names) {
  std::vector<bool> used(names.size());
  for (const std::int32_t code : codes) {
    if (code >= 0) used[static_cast<std::size_t>(code)] = true;
  }
  std::vector<std::int32_t> order;
  std::vector<double> numbers(names.size());
  bool all_numbers = true;
  for (std::int32_t code = 0; code < static_cast<std::int32_t>(names.size()); ++code) {
    if (!used[static_cast<std::size_t>(code)]) continue;
    order.push_back(code);
    const std::string_view name = names[code];
    all_numbers =
        all_numbers && parse_number(name.data(), name.data() + name.size(), numbers[static_cast<std::size_t>(code)]);
  }
  std::sort(order.begin(), order.end(), [&](std::int32_t a, std::int32_t b) {
    const double x = numbers[static_cast<std::size_t>(a)], y = numbers[static_cast<std::size_t>(b)];
    return all_numbers && x != y ? x < y : names[a] < names[b];
  });
  std::vector<std::int32_t> rank(names.size(), -1);
  Column column;
  column.spec = std::move(spec);
  column.spec.type = ColumnType::categorical;
  column.spec.categories.clear();
  for (const std::int32_t code : order) {
    rank[static_cast<std::size_t>(code)] = static_cast<std::int32_t>(column.spec.categories.size());
    column.spec.categories.emplace_back(names[code]);
  }
  for (std::int32_t& code : codes) {
    if (code >= 0) code = rank[static_cast<std::size_t>(code)];
  }
  column.codes = std::move(codes);
  return column;
}

bool is_text(std::size_t values, std::size_t bytes, std::size_t distinct, std::size_t max_categories) noexcept {
  if (values == 0) return false;
  const double mean_length = static_cast<double>(bytes) / static_cast<double>(values);
  const double different = static_cast<double>(distinct) / static_cast<double>(values);
  return mean_length > 64 || (mean_length > 24 && different > 0.2) || distinct > max_categories;
}

Column string_column(Column column, std::size_t max_categories) {
  Dictionary names;
  std::vector<std::int32_t> codes(column.size(), -1);
  std::size_t present = 0;
  for (std::size_t row = 0; row < column.size(); ++row) {
    if (column.missing(row)) continue;
    ++present;
    codes[row] = names.find_or_add(column.texts[row]);
    if (names.size() > max_categories) return column;
  }
  if (is_text(present, column.texts.bytes.size(), names.size(), max_categories)) return column;
  return categorical_column(std::move(column.spec), std::move(codes), names);
}

Column target_column(ColumnSpec spec, const std::vector<double>& values, Task task) {
  std::vector<double> distinct;  // stays small unless the caller insists on classes
  bool classes = task != Task::regression;
  const std::size_t limit = task == Task::classification ? 65536 : max_class_numbers;
  std::unordered_map<double, std::int32_t> codes;
  for (std::size_t row = 0; row < values.size() && classes; ++row) {
    if (std::isnan(values[row])) continue;
    if (task != Task::classification && values[row] != std::floor(values[row])) classes = false;
    if (codes.try_emplace(values[row], 0).second) distinct.push_back(values[row]);
    if (distinct.size() > limit) {
      if (task == Task::classification) {
        fail(errc::type_mismatch,
             fmt::format("target \"{}\" has more than {} distinct values: not classes", spec.name, limit));
      }
      classes = false;
    }
  }
  Column column;
  column.spec = std::move(spec);
  if (!classes || distinct.empty()) {
    column.spec.type = ColumnType::numeric;
    column.numbers = values;
    return column;
  }
  std::sort(distinct.begin(), distinct.end());
  column.spec.type = ColumnType::categorical;
  for (std::size_t i = 0; i < distinct.size(); ++i) {
    codes[distinct[i]] = static_cast<std::int32_t>(i);
    column.spec.categories.push_back(fmt::format("{}", distinct[i] + 0.0));
  }
  column.codes.resize(values.size(), -1);
  for (std::size_t row = 0; row < values.size(); ++row) {
    if (!std::isnan(values[row])) column.codes[row] = codes[values[row]];
  }
  return column;
}

}  // namespace redoubt::detail
