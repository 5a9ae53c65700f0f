// The forest in a file and as C++ source.
#include <fmt/format.h>

#include <algorithm>
#include <cmath>

#include "redoubt/data/archive.hpp"
#include "trees/forest_compiled.hpp"

namespace redoubt {
namespace {

std::uint32_t get_count(const Archive& archive, std::string_view key) {
  const std::int64_t value = archive.get_int(key);
  if (value < 0 || value > 0xffffffffll)
    detail::fail(errc::corrupt, fmt::format("{}: {} is not in 0 .. 4294967295", key, value));
  return static_cast<std::uint32_t>(value);
}

Shared<const Predictor> load_forest(const Archive& archive) {
  ForestShape shape;
  shape.inputs = get_count(archive, "forest.inputs");
  shape.outputs = get_count(archive, "forest.outputs");
  shape.leaf_width = get_count(archive, "forest.leaf_width");
  const std::uint32_t link = get_count(archive, "forest.link");
  if (link > static_cast<std::uint32_t>(ForestLink::step))
    detail::fail(errc::corrupt, fmt::format("forest.link: unknown link {}", link));
  shape.link = static_cast<ForestLink>(link);
  shape.normaliser = static_cast<float>(archive.get_number("forest.normaliser"));
  shape.base = archive.get_vector<float>("forest.base");

  ForestArrays arrays;
  arrays.roots = archive.get_vector<std::int32_t>("forest.roots");
  arrays.outputs_of = archive.get_vector<std::uint32_t>("forest.outputs_of");
  arrays.feature = archive.get_vector<std::uint32_t>("forest.feature");
  arrays.threshold = archive.get_vector<float>("forest.threshold");
  arrays.left = archive.get_vector<std::int32_t>("forest.left");
  arrays.right = archive.get_vector<std::int32_t>("forest.right");
  arrays.flags = archive.get_vector<std::uint8_t>("forest.flags");
  arrays.category_set = archive.get_vector<std::int32_t>("forest.category_set");
  arrays.category_offsets = archive.get_vector<std::uint32_t>("forest.category_offsets");
  arrays.category_bits = archive.get_vector<std::uint32_t>("forest.category_bits");
  arrays.leaf_values = archive.get_vector<float>("forest.leaf_values");
  arrays.cover = archive.get_vector<float>("forest.cover");
  arrays.leaf_cover = archive.get_vector<float>("forest.leaf_cover");
  arrays.gain = archive.get_vector<float>("forest.gain");
  return Shared<const Forest>::make(std::move(shape), std::move(arrays));
}

/// Text that a C++ compiler reads back as the same number.
std::string literal(float value) {
  if (std::isinf(value)) return value > 0 ? "HUGE_VALF" : "-HUGE_VALF";
  std::string text = fmt::format("{:.9g}", value);
  if (text.find_first_of(".e") == std::string::npos) text += ".0";
  return text + "f";
}
std::string literal(std::int32_t value) { return fmt::format("{}", value); }
std::string literal(std::int64_t value) { return fmt::format("{}LL", value); }
std::string literal(std::uint32_t value) { return fmt::format("{}u", value); }
std::string literal(std::uint8_t value) { return fmt::format("{}", value); }

template <class T>
void append_array(std::string& out, const char* type, const char* name, const std::vector<T>& values) {
  out += fmt::format("  static const {} {}[] = {{", type, name);
  if (values.empty()) out += "0";  // C++ has no empty arrays
  for (std::size_t i = 0; i < values.size(); ++i) {
    if (i > 0) out += ',';
    if (i % 16 == 15) out += "\n    ";
    out += literal(values[i]);
  }
  out += "};\n";
}

/// The statements that add the leaf values of all trees to dst.
void append_trees(std::string& out, const ForestShape& shape, const ForestArrays& a, const detail::FixedLeaves& leaves,
                  bool categories) {
  const std::size_t outputs = shape.outputs;
  append_array(out, "int", "roots", a.roots);
  append_array(out, "unsigned", "feature", a.feature);
  append_array(out, "float", "threshold", a.threshold);
  append_array(out, "int", "left", a.left);
  append_array(out, "int", "right", a.right);
  append_array(out, "unsigned char", "flags", a.flags);
  if (leaves.wide)
    append_array(out, "long long", "leaf", leaves.wide_values);
  else
    append_array(out, "int", "leaf", leaves.values);
  out += fmt::format("  {} sum[{}] = {{0}};\n", leaves.wide ? "long long" : "int", outputs);
  if (categories) {
    append_array(out, "int", "category_set", a.category_set);
    append_array(out, "unsigned", "category_offsets", a.category_offsets);
    append_array(out, "unsigned", "category_bits", a.category_bits);
  }
  if (shape.leaf_width == 1 && outputs > 1) append_array(out, "unsigned", "output_of", a.outputs_of);
  out += fmt::format("  for (unsigned t = 0; t < {}u; ++t) {{\n    int i = roots[t];\n    while (i >= 0) {{\n",
                     a.roots.size());
  out += "      const float x = src[feature[i]];\n";
  const bool zeros = std::any_of(a.flags.begin(), a.flags.end(), [](auto f) { return (f & zero_missing) != 0; });
  const char* const numeric =
      zeros ? "x != x || ((flags[i] & 2) && std::fabs(x) <= 1e-35f) ? (flags[i] & 1) != 0 : x <= threshold[i]"
            : "x <= threshold[i] || (x != x && (flags[i] & 1))";
  if (categories) {
    out += "      bool go_left = (flags[i] & (x != x ? 1 : 4)) != 0;\n      if (category_set[i] >= 0) {\n";
    out += "        const unsigned first = category_offsets[category_set[i]];\n";
    out += "        const unsigned words = category_offsets[category_set[i] + 1] - first;\n";
    out += "        if (x > -1 && (x < 0 ? 0.0 : static_cast<double>(x)) < 32.0 * words) {\n";
    out += "          const unsigned long long code = static_cast<unsigned long long>(x);\n";
    out += "          go_left = category_bits[first + code / 32] >> (code % 32) & 1;\n        }\n";
    out += fmt::format("      }} else {{\n        go_left = {};\n      }}\n", numeric);
  } else {
    out += fmt::format("      const bool go_left = {};\n", numeric);
  }
  out += "      i = go_left ? left[i] : right[i];\n    }\n";
  if (shape.leaf_width > 1)
    out += fmt::format("    for (unsigned k = 0; k < {0}u; ++k) sum[k] += leaf[~i * {0} + static_cast<int>(k)];\n",
                       outputs);
  else
    out += fmt::format("    sum[{}] += leaf[~i];\n", outputs > 1 ? "output_of[t]" : "0");
  out += "  }\n";
  out += fmt::format("  for (unsigned k = 0; k < {}u; ++k)\n", outputs);
  // A power of two: 17 digits give it back exactly.
  out += fmt::format(
      "    dst[k] = static_cast<float>(static_cast<double>(base[k]) + static_cast<double>(sum[k]) * {:.17g});\n",
      leaves.inverse);
}

/// The statements that turn the sums in dst into outputs.
void append_link(std::string& out, const ForestShape& shape, std::size_t count) {
  const std::uint32_t outputs = shape.outputs;
  const char* const sigmoid = "1.0 / (1.0 + std::exp(-static_cast<double>(dst[k])))";
  switch (shape.link) {
    case ForestLink::identity: break;
    case ForestLink::sigmoid:
      out += "  const double p = 1.0 / (1.0 + std::exp(-static_cast<double>(dst[0])));\n";
      out += "  dst[0] = static_cast<float>(1.0 - p);\n  dst[1] = static_cast<float>(p);\n";
      break;
    case ForestLink::softmax:
      out += "  float largest = dst[0];\n";
      out +=
          fmt::format("  for (unsigned k = 1; k < {}u; ++k) largest = largest < dst[k] ? dst[k] : largest;\n", outputs);
      out += "  double total = 0;\n";
      out += fmt::format("  for (unsigned k = 0; k < {}u; ++k) {{\n", outputs);
      out += "    dst[k] = std::exp(dst[k] - largest);\n    total += dst[k];\n  }\n";
      out +=
          fmt::format("  for (unsigned k = 0; k < {}u; ++k) dst[k] = static_cast<float>(dst[k] / total);\n", outputs);
      break;
    case ForestLink::average:
      out += fmt::format("  for (unsigned k = 0; k < {}u; ++k) dst[k] /= {};\n", outputs,
                         literal(static_cast<float>(count)));
      break;
    case ForestLink::isolation:
      out += fmt::format("  dst[0] = std::exp2(-dst[0] / {} / {});\n", literal(static_cast<float>(count)),
                         literal(shape.normaliser));
      break;
    case ForestLink::exponential:
      out += fmt::format("  for (unsigned k = 0; k < {}u; ++k) dst[k] = static_cast<float>({});\n", outputs,
                         "std::exp(static_cast<double>(dst[k]))");
      break;
    case ForestLink::sigmoids:
    case ForestLink::one_vs_all:
      if (shape.link == ForestLink::one_vs_all)
        out +=
            fmt::format("  double total = 0;\n  for (unsigned k = 0; k < {}u; ++k) total += {};\n", outputs, sigmoid);
      out += fmt::format("  for (unsigned k = 0; k < {}u; ++k)\n", outputs);
      if (shape.link == ForestLink::sigmoids)
        out += fmt::format("    dst[k] = static_cast<float>({});\n", sigmoid);
      else
        out += fmt::format("    dst[k] = total > 0 ? static_cast<float>({} / total) : 1.0f / {};\n", sigmoid,
                           literal(static_cast<float>(outputs)));
      break;
    case ForestLink::signed_square:
      out += fmt::format("  for (unsigned k = 0; k < {}u; ++k) dst[k] *= std::fabs(dst[k]);\n", outputs);
      break;
    case ForestLink::softplus:
      out += fmt::format("  for (unsigned k = 0; k < {}u; ++k) {{\n    const double s = dst[k];\n", outputs);
      out += "    dst[k] = static_cast<float>(s > 0 ? s + std::log1p(std::exp(-s)) : std::log1p(std::exp(s)));\n  }\n";
      break;
    case ForestLink::step:
      out += fmt::format("  for (unsigned k = 0; k < {}u; ++k) dst[k] = dst[k] > 0 ? 1.0f : 0.0f;\n", outputs);
      break;
  }
}

}  // namespace

void Forest::save(Archive& archive) const {
  archive.set_int("forest.inputs", shape_.inputs);
  archive.set_int("forest.outputs", shape_.outputs);
  archive.set_int("forest.leaf_width", shape_.leaf_width);
  archive.set_int("forest.link", static_cast<int>(shape_.link));
  archive.set_number("forest.normaliser", shape_.normaliser);
  archive.put("forest.base", shape_.base);
  archive.put("forest.roots", arrays_.roots);
  archive.put("forest.outputs_of", arrays_.outputs_of);
  archive.put("forest.feature", arrays_.feature);
  archive.put("forest.threshold", arrays_.threshold);
  archive.put("forest.left", arrays_.left);
  archive.put("forest.right", arrays_.right);
  archive.put("forest.flags", arrays_.flags);
  archive.put("forest.category_set", arrays_.category_set);
  archive.put("forest.category_offsets", arrays_.category_offsets);
  archive.put("forest.category_bits", arrays_.category_bits);
  archive.put("forest.leaf_values", arrays_.leaf_values);
  archive.put("forest.cover", arrays_.cover);
  archive.put("forest.leaf_cover", arrays_.leaf_cover);
  archive.put("forest.gain", arrays_.gain);
}

std::string Forest::to_source(std::string_view name) const {
  std::string out = fmt::format("inline void {}(const float* src, float* dst) {{\n", name);
  append_array(out, "float", "base", shape_.base);
  if (trees() == 0)
    out += fmt::format("  (void)src;\n  for (unsigned k = 0; k < {}u; ++k) dst[k] = base[k];\n", shape_.outputs);
  else
    append_trees(out, shape_, arrays_, compiled_->leaves, has_categories_);
  append_link(out, shape_, std::max<std::size_t>(trees(), 1));
  return out + "}\n";
}

}  // namespace redoubt

extern "C" const int redoubt_form_forest = redoubt::register_form("forest", &redoubt::load_forest);
