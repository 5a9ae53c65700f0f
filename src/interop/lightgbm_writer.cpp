// Forests as LightGBM text.
#include <fmt/format.h>

#include <algorithm>
#include <bit>
#include <cmath>
#include <limits>

#include "data/atomic_file.hpp"
#include "data/header_json.hpp"
#include "redoubt/core/error.hpp"
#include "redoubt/data/encoder.hpp"
#include "redoubt/interop/lightgbm.hpp"
#include "redoubt/model/model.hpp"
#include "redoubt/trees/forest.hpp"

namespace redoubt {
namespace {

[[noreturn]] void refuse(const std::string& what) {
  detail::fail(errc::unsupported, "LightGBM's text format has no " + what);
}

/// The largest double that becomes `threshold` or less when it is rounded to float.
double widened(float threshold) {
  const float next = std::nextafter(threshold, std::numeric_limits<float>::infinity());
  if (std::isinf(threshold) || std::isinf(next)) return threshold;
  const double middle = static_cast<double>(threshold) / 2 + static_cast<double>(next) / 2;
  // The middle itself goes to the float whose last bit is 0.
  const bool goes_up = std::bit_cast<std::uint32_t>(threshold) & 1;
  return goes_up ? std::nextafter(middle, -std::numeric_limits<double>::infinity()) : middle;
}

/// One output of one tree of the forest, as a tree of LightGBM.
struct Part {
  std::size_t tree = 0, column = 0;
  bool empty = false;  ///< a tree of one leaf that fills an iteration up
  double scale = 1, base = 0;
};

class Writer {
 public:
  Writer(const Forest& forest, std::vector<std::string> names, std::string categories)
      : shape_(forest.shape()), a_(forest.arrays()), names_(std::move(names)), categories_(std::move(categories)) {
    for (std::size_t c = 0; c < names_.size(); ++c)
      for (char& letter : names_[c])
        if (static_cast<unsigned char>(letter) <= ' ') letter = '_';  // a space ends a name there
  }

  std::string text() {
    const std::string objective = objective_line();
    std::string trees, sizes;
    const auto parts = arrange();
    for (std::size_t i = 0; i < parts.size(); ++i) {
      const std::string tree = fmt::format("Tree={}\n{}\n", i, tree_text(parts[i]));
      sizes += fmt::format("{}{}", i ? " " : "", tree.size());
      trees += tree;
    }
    const std::uint32_t outputs = shape_.outputs;
    std::string out = "tree\nversion=v4\n";
    out += fmt::format("num_class={0}\nnum_tree_per_iteration={0}\nlabel_index=0\nmax_feature_idx={1}\n", outputs,
                       names_.size() - 1);
    if (!objective.empty()) out += "objective=" + objective + "\n";
    if (shape_.link == ForestLink::average) out += "average_output\n";
    out += "feature_names=" + joined(names_) + "\nfeature_infos=" + joined(feature_infos()) + "\n";
    out += "tree_sizes=" + sizes + "\n\n" + trees + "end of trees\n\nfeature_importances:\n\n";
    return out + "parameters:\nend of parameters\n\npandas_categorical:" + categories_ + "\n";
  }

 private:
  std::string objective_line() const {
    const std::uint32_t n = shape_.outputs;
    const auto one = [&](const char* text) {
      if (n != 1) refuse(fmt::format("objective {} for {} scores", text, n));
      return std::string(text);
    };
    switch (shape_.link) {
      case ForestLink::identity:
      case ForestLink::average: return n == 1 ? "regression" : "";
      case ForestLink::sigmoid: return "binary sigmoid:1";
      case ForestLink::softmax:
        if (n < 2) refuse("softmax of one score");
        return fmt::format("multiclass num_class:{}", n);
      case ForestLink::exponential: return one("poisson");
      case ForestLink::sigmoids:
        return n == 1 ? "cross_entropy" : fmt::format("multiclassova num_class:{} sigmoid:1", n);
      case ForestLink::signed_square: return one("regression sqrt");
      case ForestLink::softplus: return one("cross_entropy_lambda");
      case ForestLink::isolation: refuse("isolation forests");
      case ForestLink::one_vs_all: refuse("one-vs-all probabilities that sum to 1");
      case ForestLink::step: break;
    }
    refuse("output that is 0 or 1 by the sign of the score");
  }

  /// Tree i of the file adds to output i modulo the number of outputs.
  std::vector<Part> arrange() const {
    const std::size_t outputs = shape_.outputs;
    std::vector<std::vector<Part>> of(outputs);
    for (std::size_t t = 0; t < a_.roots.size(); ++t) {
      if (shape_.leaf_width > 1)
        for (std::size_t k = 0; k < outputs; ++k) of[k].push_back({.tree = t, .column = k});
      else
        of[a_.outputs_of[t]].push_back({.tree = t});
    }
    std::size_t iterations = 0;
    for (const auto& list : of) iterations = std::max(iterations, list.size());
    iterations = std::max<std::size_t>(iterations, 1);
    std::vector<Part> parts;
    for (std::size_t i = 0; i < iterations; ++i)
      for (std::size_t k = 0; k < outputs; ++k) {
        Part part = i < of[k].size() ? of[k][i] : Part{.empty = true};
        // There the average is over the iterations, here over the trees.
        if (shape_.link == ForestLink::average)
          part.scale = static_cast<double>(iterations) / static_cast<double>(std::max<std::size_t>(a_.roots.size(), 1));
        if (i == 0) part.base = shape_.base[k];
        parts.push_back(part);
      }
    return parts;
  }

  double leaf_value(const Part& part, std::size_t leaf) const {
    return (a_.leaf_values[leaf * shape_.leaf_width + part.column] + part.base) * part.scale;
  }

  std::string tree_text(const Part& part) const {
    const std::int32_t root = part.empty ? 0 : a_.roots[part.tree];
    if (part.empty || root < 0) {
      const auto leaf = static_cast<std::size_t>(~root);
      const double value = part.empty ? part.base * part.scale : leaf_value(part, leaf);
      return fmt::format(
          "num_leaves=1\nnum_cat=0\nsplit_feature=\nsplit_gain=\nthreshold=\ndecision_type=\nleft_child=\nright_child="
          "\n"
          "leaf_value={:.17g}\nleaf_weight=\nleaf_count={:.0f}\ninternal_value=\ninternal_weight=\ninternal_count=\n"
          "is_linear=0\nshrinkage=1\n\n",
          value, part.empty ? 0.0f : a_.leaf_cover[leaf]);
    }
    // Nodes in pre-order, leaves as they are met: their numbers start at 0 in every tree there.
    std::vector<std::int32_t> nodes, leaves, left_child, right_child;
    struct Open {
      std::int32_t child;
      std::vector<std::int32_t>* into;  // where its new number goes
      std::size_t at;
    };
    std::vector<Open> open{{root, nullptr, 0}};
    while (!open.empty()) {
      const Open next = open.back();
      open.pop_back();
      std::int32_t number;
      if (next.child < 0) {
        number = ~static_cast<std::int32_t>(leaves.size());
        leaves.push_back(~next.child);
      } else {
        number = static_cast<std::int32_t>(nodes.size());
        nodes.push_back(next.child);
        left_child.push_back(0);
        right_child.push_back(0);
        const auto i = static_cast<std::size_t>(next.child);
        const bool swapped = goes_over(part.tree, i);
        open.push_back({swapped ? a_.left[i] : a_.right[i], &right_child, nodes.size() - 1});
        open.push_back({swapped ? a_.right[i] : a_.left[i], &left_child, nodes.size() - 1});
      }
      if (next.into) (*next.into)[next.at] = number;
    }
    return node_text(part, nodes, leaves, left_child, right_child);
  }

  /// There, missing and unknown codes always go right: a node that sends them left is written with sides exchanged.
  bool goes_over(std::size_t tree, std::size_t i) const {
    if (a_.category_set[i] < 0) return false;
    const bool missing = a_.flags[i] & missing_left, others = a_.flags[i] & others_left;
    if (missing != others)
      refuse(
          fmt::format("categorical split that sends missing values and unknown codes to different sides (tree {}, "
                      "column \"{}\")",
                      tree, names_[a_.feature[i]]));
    return missing;
  }

  std::string node_text(const Part& part, const std::vector<std::int32_t>& nodes,
                        const std::vector<std::int32_t>& leaves, const std::vector<std::int32_t>& left_child,
                        const std::vector<std::int32_t>& right_child) const {
    std::string features, gains, thresholds, types, values, counts, leaf_counts, bounds = "0", words;
    std::size_t sets = 0, word_count = 0;
    const auto add = [](std::string& list, std::string item) {
      if (!list.empty()) list += ' ';
      list += item;
    };
    for (const std::int32_t node : nodes) {
      const auto i = static_cast<std::size_t>(node);
      add(features, std::to_string(a_.feature[i]));
      add(gains, fmt::format("{}", a_.gain[i]));
      add(counts, fmt::format("{:.0f}", a_.cover[i]));
      if (a_.category_set[i] < 0) {
        const int missing = a_.flags[i] & zero_missing ? 1 : 2;
        add(types, std::to_string((a_.flags[i] & missing_left ? 2 : 0) | missing << 2));
        add(thresholds, fmt::format("{:.17g}", widened(a_.threshold[i])));
        continue;
      }
      const auto set = static_cast<std::size_t>(a_.category_set[i]);
      const std::uint32_t flip = a_.flags[i] & missing_left ? ~0u : 0u;
      for (std::uint32_t w = a_.category_offsets[set]; w < a_.category_offsets[set + 1]; ++w, ++word_count)
        add(words, std::to_string(a_.category_bits[w] ^ flip));
      bounds += fmt::format(" {}", word_count);
      add(types, std::to_string(1 | 2 << 2));
      add(thresholds, std::to_string(sets++));
    }
    for (const std::int32_t leaf : leaves) {
      add(values, fmt::format("{:.17g}", leaf_value(part, static_cast<std::size_t>(leaf))));
      add(leaf_counts, fmt::format("{:.0f}", a_.leaf_cover[static_cast<std::size_t>(leaf)]));
    }
    std::string out = fmt::format(
        "num_leaves={}\nnum_cat={}\nsplit_feature={}\nsplit_gain={}\nthreshold={}\ndecision_type={}\nleft_child={}\n"
        "right_child={}\nleaf_value={}\nleaf_weight={}\nleaf_count={}\ninternal_value={}\ninternal_weight={}\n"
        "internal_count={}\n",
        leaves.size(), sets, features, gains, thresholds, types, fmt::join(left_child, " "),
        fmt::join(right_child, " "), values, leaf_counts, leaf_counts, zeros(nodes.size()), counts, counts);
    if (sets) out += fmt::format("cat_boundaries={}\ncat_threshold={}\n", bounds, words);
    return out + "is_linear=0\nshrinkage=1\n\n";
  }

  static std::string zeros(std::size_t count) {
    std::string out(count * 2 - 1, ' ');
    for (std::size_t i = 0; i < count; ++i) out[2 * i] = '0';
    return out;
  }
  static std::string joined(const std::vector<std::string>& items) { return fmt::format("{}", fmt::join(items, " ")); }

  /// The range of the thresholds of a column, or its codes.
  std::vector<std::string> feature_infos() const {
    struct Info {
      bool used = false, categorical = false;
      float low = std::numeric_limits<float>::max(), high = std::numeric_limits<float>::lowest();
      std::uint32_t words = 0;
    };
    std::vector<Info> infos(names_.size());
    for (std::size_t i = 0; i < a_.feature.size(); ++i) {
      Info& info = infos[a_.feature[i]];
      info.used = true;
      if (a_.category_set[i] >= 0) {
        info.categorical = true;
        const auto set = static_cast<std::size_t>(a_.category_set[i]);
        info.words = std::max(info.words, a_.category_offsets[set + 1] - a_.category_offsets[set]);
      } else if (std::isfinite(a_.threshold[i])) {
        info.low = std::min(info.low, a_.threshold[i]);
        info.high = std::max(info.high, a_.threshold[i]);
      }
    }
    std::vector<std::string> out;
    for (const Info& info : infos) {
      if (!info.used) {
        out.push_back("none");
      } else if (info.categorical) {
        std::string codes = "0";
        for (std::uint32_t k = 1; k < std::min(info.words * 32, 4096u); ++k) codes += fmt::format(":{}", k);
        out.push_back(codes);
      } else {
        out.push_back(info.low <= info.high ? fmt::format("[{}:{}]", info.low, info.high) : "[0:1]");
      }
    }
    return out;
  }

  const ForestShape& shape_;
  const ForestArrays& a_;
  std::vector<std::string> names_;
  std::string categories_;
};

void write_text(const std::string& text, const std::string& path) {
  detail::write_file_atomically(path, std::as_bytes(std::span(text.data(), text.size())));
}

}  // namespace

std::string write_lightgbm_text(const Forest& forest) {
  if (forest.inputs() == 0) refuse("forest without inputs");
  std::vector<std::string> names;
  for (std::size_t c = 0; c < forest.inputs(); ++c) names.push_back(fmt::format("Column_{}", c));
  return Writer(forest, std::move(names), "null").text();
}

std::string write_lightgbm_text(const Model& model) {
  const auto* forest = dynamic_cast<const Forest*>(&model.predictor());
  if (!forest) refuse(fmt::format("model of the form \"{}\", only forests", model.predictor().form()));
  const Encoder& encoder = model.encoder();
  const EncoderOptions& options = encoder.options();
  if (encoder.has_text() || encoder.width() != encoder.inputs() || options.impute ||
      options.numeric != NumericEncoding::raw || options.categorical != CategoricalEncoding::ordinal)
    refuse("preprocessing: only numbers as they are and category codes");
  std::vector<std::string> names;
  std::string categories;
  for (const ColumnSpec& column : model.schema().columns()) {
    names.push_back(column.name);
    if (column.type != ColumnType::categorical) continue;
    categories += categories.empty() ? "[[" : ", [";
    for (std::size_t k = 0; k < column.categories.size(); ++k) {
      if (k) categories += ", ";
      detail::append_json_string(categories, column.categories[k]);
    }
    categories += "]";
  }
  return Writer(*forest, std::move(names), categories.empty() ? "null" : categories + "]").text();
}

void write_lightgbm(const Forest& forest, const std::string& path) { write_text(write_lightgbm_text(forest), path); }

void write_lightgbm(const Model& model, const std::string& path) { write_text(write_lightgbm_text(model), path); }

}  // namespace redoubt
