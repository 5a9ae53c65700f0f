#include "redoubt/interop/lightgbm.hpp"

#include <fmt/format.h>

#include <charconv>
#include <cmath>
#include <map>

#include "data/input_file.hpp"
#include "interop/peer_forest.hpp"
#include "redoubt/core/error.hpp"

namespace redoubt {
namespace {

constexpr std::size_t max_file = std::size_t{1} << 34;
constexpr std::uint32_t max_columns = 1u << 24;
constexpr float zero_bound = 1e-35f;  // LightGBM's kZeroThreshold

/// A value with the line it stands on.
struct Entry {
  std::string_view value;
  std::size_t line = 0;
};

/// The key=value lines of the header or of one tree.
class Section {
 public:
  Section(std::string_view origin, std::string name) : origin_(origin), name_(std::move(name)) {}

  void add(std::string_view line, std::size_t number) {
    last_line_ = number;
    const std::size_t equals = line.find('=');
    const std::string_view key = line.substr(0, equals);
    const std::string_view value = equals == line.npos ? std::string_view() : line.substr(equals + 1);
    if (!entries_.emplace(key, Entry{value, number}).second)
      fail_at(number, fmt::format("key \"{:.40}\" occurs twice", key));
  }
  bool has(std::string_view key) const { return entries_.count(key) != 0; }
  std::string_view text(std::string_view key) const { return entry(key).value; }

  template <class T>
  T number(std::string_view key) const {
    const Entry& e = entry(key);
    return parse<T>(key, e, e.value);
  }
  /// Exactly `count` numbers; a missing key is an error unless `optional` (then empty).
  template <class T>
  std::vector<T> numbers(std::string_view key, std::size_t count, bool optional = false) const {
    if (optional && !has(key)) return {};
    const Entry& e = entry(key);
    std::vector<T> values;
    for_tokens(e.value, [&](std::string_view token) {
      if (values.size() == count) fail(key, fmt::format("more than the {} expected numbers", count));
      values.push_back(parse<T>(key, e, token));
    });
    if (values.size() != count) fail(key, fmt::format("{} numbers, {} are expected", values.size(), count));
    return values;
  }
  template <class F>
  static void for_tokens(std::string_view text, F&& f) {
    for (std::size_t i = 0; i < text.size();) {
      const std::size_t end = std::min(text.find(' ', i), text.size());
      if (end > i) f(text.substr(i, end - i));
      i = end + 1;
    }
  }
  [[noreturn]] void fail(std::string_view key, const std::string& what, errc code = errc::parse_error) const {
    const auto found = entries_.find(key);
    fail_at(found == entries_.end() ? last_line_ : found->second.line, fmt::format("{}: {}", key, what), code);
  }
  [[noreturn]] void fail_at(std::size_t line, const std::string& what, errc code = errc::parse_error) const {
    detail::fail(code, fmt::format("{}:{}: {}: {}", origin_, line, name_, what));
  }
  std::string where() const { return fmt::format("{}:{}: {}", origin_, last_line_, name_); }

 private:
  const Entry& entry(std::string_view key) const {
    const auto found = entries_.find(key);
    if (found == entries_.end()) fail(key, "this key is missing");
    return found->second;
  }
  template <class T>
  T parse(std::string_view key, const Entry& e, std::string_view token) const {
    T value{};
    const auto [end, error] = std::from_chars(token.data(), token.data() + token.size(), value);
    if (end == token.data() + token.size()) {
      if (error == std::errc{}) return value;
      // A double too small for its type is zero, as strtod has it; one too large is left to be refused.
      if constexpr (std::is_floating_point_v<T>)
        if (error == std::errc::result_out_of_range && token.find("e-") != token.npos) return 0;
    }
    fail_at(e.line, fmt::format("{}: \"{:.40}\" is no number of its kind", key, token));
  }

  std::string_view origin_;
  std::string name_;
  std::map<std::string_view, Entry> entries_;
  std::size_t last_line_ = 1;
};

/// What an objective line says about the outputs.
struct Objective {
  ForestLink link = ForestLink::identity;
  double scale = 1;  ///< of the scores before the link
};

Objective parse_objective(const Section& header, std::uint32_t outputs) {
  Objective result;
  if (!header.has("objective")) return result;  // a custom one: raw scores
  std::string_view name;
  double sigmoid = 1;
  std::uint32_t classes = 0;
  bool root = false;
  Section::for_tokens(header.text("objective"), [&](std::string_view token) {
    const auto value = [&](std::string_view key, auto& into) {
      if (!token.starts_with(key)) return;
      const std::string_view digits = token.substr(key.size());
      const auto [end, error] = std::from_chars(digits.data(), digits.data() + digits.size(), into);
      if (error != std::errc{} || end != digits.data() + digits.size())
        header.fail("objective", fmt::format("\"{:.40}\" holds no number", token));
    };
    if (name.empty()) {
      name = token;
      return;
    }
    root = root || token == "sqrt";
    value("sigmoid:", sigmoid);
    value("num_class:", classes);
  });
  if (!(sigmoid > 0 && std::isfinite(sigmoid)))
    header.fail("objective", fmt::format("sigmoid is {}, must be a number above 0", sigmoid));
  const auto is = [&](auto... names) { return ((name == names) || ...); };
  const bool many = is("multiclass", "multiclassova");
  if (is("regression", "regression_l1", "huber", "fair", "quantile", "mape")) {
    if (root) result.link = ForestLink::signed_square;
  } else if (is("poisson", "gamma", "tweedie")) {
    result.link = ForestLink::exponential;
  } else if (is("binary")) {
    result = {ForestLink::sigmoid, sigmoid};
  } else if (is("multiclass")) {
    result.link = ForestLink::softmax;
  } else if (is("multiclassova")) {
    result = {ForestLink::sigmoids, sigmoid};
  } else if (is("cross_entropy")) {
    result.link = ForestLink::sigmoids;
  } else if (is("cross_entropy_lambda")) {
    result.link = ForestLink::softplus;
  } else if (!is("lambdarank", "rank_xendcg", "custom", "none", "")) {
    header.fail("objective", fmt::format("\"{:.40}\" is not known here", name), errc::unsupported);
  }
  if (many && classes != outputs)
    header.fail("objective", fmt::format("num_class is {}, but {} trees make an iteration", classes, outputs));
  if (!many && result.link != ForestLink::identity && outputs != 1)
    header.fail("objective", fmt::format("{} has one output, but {} trees make an iteration", name, outputs));
  return result;
}

void parse_node(const Section& section, std::size_t i, int type, double threshold, detail::PeerNode& node) {
  const bool default_left = type & 2;
  const int missing = type >> 2 & 3;  // None, Zero, NaN
  if (type < 0 || type > 15 || missing == 3)
    section.fail("decision_type", fmt::format("entry {} is {}, no decision type", i, type));
  if (std::isnan(threshold)) section.fail("threshold", fmt::format("entry {} is not a number", i));
  node.threshold = detail::round_down(threshold);
  // LightGBM's matrix interface takes |x| <= 1e-35 for 0, so that the smallest numbers go where 0 goes.
  if (threshold >= 0 && threshold < zero_bound) node.threshold = zero_bound;
  if (threshold < 0 && threshold >= -zero_bound) node.threshold = detail::just_below(-zero_bound);
  // Without a kind of missing value, NaN is taken for 0.
  const bool left = missing == 0 ? threshold >= 0 : default_left;
  node.flags = static_cast<std::uint8_t>((left ? missing_left : 0) | (missing == 1 ? zero_missing : 0));
}

void parse_sets(const Section& section, std::size_t count, const std::vector<int>& types,
                const std::vector<double>& thresholds, detail::PeerTree& tree, detail::PeerForest& forest) {
  const auto bounds = section.numbers<std::uint32_t>("cat_boundaries", count + 1);
  for (std::size_t s = 0; s < count; ++s)
    if (bounds[s] > bounds[s + 1]) section.fail("cat_boundaries", fmt::format("entry {} is above the next", s));
  if (bounds[0] != 0) section.fail("cat_boundaries", fmt::format("begins with {} instead of 0", bounds[0]));
  const auto words = section.numbers<std::uint32_t>("cat_threshold", bounds[count]);
  for (std::size_t i = 0; i < types.size(); ++i) {
    if (!(types[i] & 1)) continue;
    const double set = thresholds[i];
    if (!(set >= 0 && set < static_cast<double>(count) && set == std::floor(set)))
      section.fail("threshold", fmt::format("entry {} is {}, no category set (there are {})", i, set, count));
    const auto s = static_cast<std::size_t>(set);
    auto& node = tree.nodes[i];
    node.category_set = forest.add_set(std::span(words).subspan(bounds[s], bounds[s + 1] - bounds[s]));
    node.threshold = 0;
    node.flags = 0;  // missing, negative and unseen codes go right
  }
}

void parse_tree(const Section& section, std::uint32_t output, double scale, detail::PeerForest& forest) {
  const auto leaves = section.number<std::int32_t>("num_leaves");
  if (leaves < 1) section.fail("num_leaves", fmt::format("{} is below 1", leaves));
  if (section.has("is_linear") && section.number<int>("is_linear") != 0)
    section.fail("is_linear", "linear leaves (linear_tree=true) are not supported", errc::unsupported);
  const auto count = static_cast<std::size_t>(leaves);
  detail::PeerTree tree;
  tree.leaf_values = section.numbers<double>("leaf_value", count);
  if (count == 1) {  // the other arrays are empty or absent
    tree.leaf_cover.assign(1, 0);
    if (section.has("leaf_count") && !section.text("leaf_count").empty())
      tree.leaf_cover[0] = detail::harmless(section.numbers<double>("leaf_count", 1)[0], 0);
    forest.add_tree(tree, output, scale, section.where());
    return;
  }
  const std::size_t nodes = count - 1;
  const auto features = section.numbers<std::uint32_t>("split_feature", nodes);
  const auto thresholds = section.numbers<double>("threshold", nodes);
  const auto types = section.numbers<int>("decision_type", nodes);
  const auto left = section.numbers<std::int32_t>("left_child", nodes);
  const auto right = section.numbers<std::int32_t>("right_child", nodes);
  const auto gains = section.numbers<double>("split_gain", nodes, true);
  const auto leaf_counts = section.numbers<double>("leaf_count", count, true);
  const auto counts = section.numbers<double>("internal_count", nodes, true);
  tree.root = 0;
  tree.nodes.resize(nodes);
  for (std::size_t i = 0; i < nodes; ++i) {
    auto& node = tree.nodes[i];
    parse_node(section, i, types[i], thresholds[i], node);
    node.feature = features[i];
    node.left = left[i];
    node.right = right[i];
    node.gain = gains.empty() ? 0 : detail::harmless(gains[i], std::numeric_limits<float>::lowest());
    node.cover = counts.empty() ? 0 : detail::harmless(counts[i], 0);
  }
  for (std::size_t i = 0; i < count; ++i)
    tree.leaf_cover.push_back(leaf_counts.empty() ? 0 : detail::harmless(leaf_counts[i], 0));
  const auto sets = section.has("num_cat") ? section.number<std::int32_t>("num_cat") : 0;
  if (sets < 0) section.fail("num_cat", fmt::format("{} is below 0", sets));
  for (std::size_t i = 0; i < nodes && sets == 0; ++i)
    if (types[i] & 1) section.fail("decision_type", fmt::format("entry {} is categorical, but num_cat is 0", i));
  if (sets > 0) parse_sets(section, static_cast<std::size_t>(sets), types, thresholds, tree, forest);
  forest.add_tree(tree, output, scale, section.where());
}

detail::PeerForest parse_header(const Section& header, Objective& objective) {
  detail::PeerForest forest;
  forest.library = "lightgbm";
  const std::string_view version = header.text("version");
  if (version != "v3" && version != "v4")
    header.fail("version", fmt::format("\"{:.20}\" is not known here (v3 and v4 are)", version), errc::unsupported);
  const auto per_iteration = header.number<std::uint32_t>("num_tree_per_iteration");
  const auto last = header.number<std::uint32_t>("max_feature_idx");
  if (per_iteration < 1 || per_iteration > max_columns)
    header.fail("num_tree_per_iteration", fmt::format("{} is not in 1 .. {}", per_iteration, max_columns));
  if (last >= max_columns)
    header.fail("max_feature_idx", fmt::format("{} columns, at most {} are supported", last, max_columns),
                errc::unsupported);
  Section::for_tokens(header.text("feature_names"), [&](std::string_view token) {
    if (forest.column_names.size() <= last + 1) forest.column_names.emplace_back(token);
  });
  if (forest.column_names.size() != last + 1)
    header.fail("feature_names", fmt::format("{}{} names, but max_feature_idx is {}",
                                             forest.column_names.size() > last + 1 ? "at least " : "",
                                             forest.column_names.size(), last));
  forest.columns = last + 1;
  forest.outputs = per_iteration;
  objective = parse_objective(header, per_iteration);
  forest.link = objective.link;
  if (header.has("objective")) forest.objective = header.text("objective");
  return forest;
}

detail::PeerForest parse(std::string_view text, std::string_view origin) {
  Section header(origin, "header");
  std::vector<Section> trees;
  bool ended = false;
  std::size_t number = 0;
  for (std::size_t at = 0; at < text.size() && !ended;) {
    const std::size_t end = std::min(text.find('\n', at), text.size());
    std::string_view line = text.substr(at, end - at);
    at = end + 1;
    ++number;
    if (line.ends_with('\r')) line.remove_suffix(1);
    if (number == 1 && line != "tree") header.fail_at(1, "this is no LightGBM model: its first line is not \"tree\"");
    if (line.empty() || number == 1) continue;
    if (line == "end of trees") {
      ended = true;
    } else if (line.starts_with("Tree=")) {
      if (line.substr(5) != std::to_string(trees.size()))
        header.fail_at(number, fmt::format("\"{:.40}\" where tree {} should begin", line, trees.size()));
      trees.emplace_back(origin, fmt::format("tree {}", trees.size()));
    } else {
      (trees.empty() ? header : trees.back()).add(line, number);
    }
  }
  if (!ended) header.fail_at(number, "the file ends before \"end of trees\": it is cut off");

  Objective objective;
  detail::PeerForest forest = parse_header(header, objective);
  if (trees.size() % forest.outputs != 0 || (trees.empty() && forest.outputs > 1))
    header.fail("num_tree_per_iteration",
                fmt::format("{} trees are no whole number of iterations of {}", trees.size(), forest.outputs));
  if (header.has("tree_sizes")) header.numbers<std::uint64_t>("tree_sizes", trees.size());
  double scale = objective.scale;
  if (header.has("average_output") && !trees.empty()) {
    // boosting=rf: the mean over the iterations, before the objective's transformation.
    if (forest.link == ForestLink::identity && forest.outputs == 1)
      forest.link = ForestLink::average;
    else
      scale /= static_cast<double>(trees.size() / forest.outputs);
  }
  for (std::size_t t = 0; t < trees.size(); ++t)
    parse_tree(trees[t], static_cast<std::uint32_t>(t % forest.outputs), scale, forest);
  return forest;
}

/// Runs `make`; what later constructors find wrong is said to be in the file.
template <class F>
auto from_file(std::string_view origin, F&& make) {
  try {
    return make();
  } catch (const Error& error) {
    const bool named = std::string_view(error.what()).starts_with(origin);
    detail::fail(error.code() == errc::unsupported ? errc::unsupported : errc::parse_error,
                 named ? std::string(error.what()) : fmt::format("{}: {}", origin, error.what()));
  }
}

}  // namespace

Shared<const Forest> read_lightgbm_forest_text(std::string_view text, std::string_view origin) {
  return from_file(origin, [&] { return parse(text, origin).forest(); });
}

Model read_lightgbm_text(std::string_view text, std::string_view origin) {
  return from_file(origin, [&] {
    auto peer = parse(text, origin);
    auto forest = peer.forest();
    return peer.model(std::move(forest));
  });
}

Shared<const Forest> read_lightgbm_forest(const std::string& path) {
  return read_lightgbm_forest_text(detail::read_whole_text(path, max_file), path);
}

Model read_lightgbm(const std::string& path) {
  return read_lightgbm_text(detail::read_whole_text(path, max_file), path);
}

}  // namespace redoubt
