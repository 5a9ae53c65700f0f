#pragma once
#include <string>
#include <string_view>
#include <vector>

namespace redoubt::detail {

/// The up to three entries of `known` that are closest to `name` (edit distance without regard to case), as text for
/// an error message: `"genuine", "gender"`. Far-off names are left out; then the first few known ones are named.
std::string nearest_names(std::string_view name, const std::vector<std::string_view>& known);

}  // namespace redoubt::detail
