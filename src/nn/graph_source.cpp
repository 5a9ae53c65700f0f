#include <fmt/format.h>

#include "redoubt/nn/graph.hpp"

namespace redoubt {
namespace {

constexpr std::size_t source_limit = std::size_t{1} << 20;  // parameters; beyond this a header helps nobody

std::string array_source(std::string_view name, std::span<const float> values) {
  std::string text = fmt::format("  static const float {}[{}] = {{", name, values.size());
  for (std::size_t i = 0; i < values.size(); ++i) {
    // Nine digits identify every float.
    text +=
        fmt::format("{}{:.9g}", i == 0 ? "\n    " : (i % 8 == 0 ? ",\n    " : ", "), static_cast<double>(values[i]));
  }
  return text + "};\n";
}

}  // namespace

std::string Graph::to_source(std::string_view name) const {
  if (parameters_.size() > source_limit) return "";
  const auto tensor_name = [&](std::size_t t) {
    return t == 0 ? std::string("src") : (t == nodes_.size() ? std::string("dst") : fmt::format("t{}", t));
  };
  std::string arrays, buffers, body;
  for (std::size_t i = 0; i < nodes_.size(); ++i) {
    std::vector<std::string> inputs, parameter_names;
    std::vector<std::size_t> sizes;
    for (const auto t : nodes_[i].inputs) {
      inputs.push_back(tensor_name(t));
      sizes.push_back(sizes_[t]);
    }
    for (std::size_t p = first_parameter_[i]; p < first_parameter_[i + 1]; ++p) {
      parameter_names.push_back(fmt::format("p{}", p));
      arrays += array_source(parameter_names.back(), parameters().subspan(table_[p].offset, table_[p].size));
    }
    if (i + 1 < nodes_.size()) buffers += fmt::format("  float t{}[{}];\n", i + 1, sizes_[i + 1]);
    const std::string statements = ops_[i]->source({.attributes = nodes_[i].attributes,
                                                    .inputs = inputs,
                                                    .parameters = parameter_names,
                                                    .input_sizes = sizes,
                                                    .shapes = input_shapes_[i],
                                                    .output = tensor_name(i + 1),
                                                    .output_size = sizes_[i + 1]});
    if (statements.empty()) return "";
    body += statements;
  }
  return fmt::format("inline void {}(const float* src, float* dst) {{\n{}{}{}}}\n", name, arrays, buffers, body);
}

}  // namespace redoubt
