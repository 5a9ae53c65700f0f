#include "data/names.hpp"

#include <algorithm>
#include <cctype>
#include <numeric>
#include <utility>

namespace redoubt::detail {
namespace {

constexpr std::size_t compared_length = 64;  // longer names are cut: only a hint depends on it

std::size_t edit_distance(std::string_view a, std::string_view b) {
  a = a.substr(0, compared_length);
  b = b.substr(0, compared_length);
  const auto lower = [](char c) { return std::tolower(static_cast<unsigned char>(c)); };
  std::vector<std::size_t> row(b.size() + 1);
  std::iota(row.begin(), row.end(), std::size_t{0});
  for (std::size_t i = 1; i <= a.size(); ++i) {
    std::size_t diagonal = row[0];
    row[0] = i;
    for (std::size_t j = 1; j <= b.size(); ++j) {
      const std::size_t changed = diagonal + (lower(a[i - 1]) != lower(b[j - 1]));
      diagonal = row[j];
      row[j] = std::min({row[j] + 1, row[j - 1] + 1, changed});
    }
  }
  return row.back();
}

}  // namespace

std::string nearest_names(std::string_view name, const std::vector<std::string_view>& known) {
  std::vector<std::pair<std::size_t, std::size_t>> ranked;  // distance, position
  for (std::size_t i = 0; i < known.size(); ++i) {
    const std::size_t distance = edit_distance(name, known[i]);
    if (distance <= std::max<std::size_t>(2, std::max(name.size(), known[i].size()) / 2))
      ranked.emplace_back(distance, i);
  }
  std::sort(ranked.begin(), ranked.end());
  if (ranked.empty()) {
    for (std::size_t i = 0; i < known.size(); ++i) ranked.emplace_back(0, i);
  }
  std::string text;
  for (std::size_t i = 0; i < std::min<std::size_t>(3, ranked.size()); ++i) {
    if (i > 0) text += ", ";
    text.append("\"").append(known[ranked[i].second]).append("\"");
  }
  return text;
}

}  // namespace redoubt::detail
