#include "redoubt/interop/xgboost.hpp"

#include <fmt/format.h>

#include <algorithm>
#include <charconv>
#include <cmath>
#include <limits>

#include "data/input_file.hpp"
#include "interop/document.hpp"
#include "interop/peer_forest.hpp"
#include "redoubt/core/error.hpp"

namespace redoubt {
namespace {

using detail::DocumentValue;
using Kind = DocumentValue::Kind;

constexpr std::size_t max_file = std::size_t{1} << 34;
constexpr std::uint32_t max_columns = 1u << 24;
constexpr double max_category = 16777216;             // XGBoost's own bound: 2^24
constexpr std::size_t max_category_words = 1u << 24;  // of all nodes: 64 MiB

/// A value with its path in the file, for errors.
class Node {
 public:
  Node(const DocumentValue& value, std::string path, std::string_view origin)
      : value_(&value), path_(std::move(path)), origin_(origin) {}

  [[noreturn]] void fail(const std::string& what, errc code = errc::corrupt) const {
    detail::fail(code, fmt::format("{}: {}: {}", origin_, path_.empty() ? "the document" : path_, what));
  }
  bool has(std::string_view key) const noexcept { return value_->find(key) != nullptr; }
  Node at(std::string_view key) const {
    if (value_->kind != Kind::object) fail("is no object");
    const DocumentValue* found = value_->find(key);
    if (!found) fail(fmt::format("key \"{}\" is missing", key));
    return {*found, path_.empty() ? std::string(key) : fmt::format("{}.{}", path_, key), origin_};
  }
  Node at(std::size_t i) const { return {value_->items[i], fmt::format("{}[{}]", path_, i), origin_}; }
  std::size_t list_size() const {
    if (value_->kind == Kind::numbers && value_->numbers.empty()) return 0;
    if (value_->kind != Kind::list) fail("is no list");
    return value_->items.size();
  }
  const std::vector<double>& numbers() const {
    if (value_->kind != Kind::numbers) fail("is no array of numbers");
    return value_->numbers;
  }
  const std::vector<double>& numbers(std::size_t count) const {
    if (numbers().size() != count) fail(fmt::format("{} entries, {} are expected", value_->numbers.size(), count));
    return value_->numbers;
  }
  const std::string& text() const {
    if (value_->kind != Kind::text) fail("is no text");
    return value_->text;
  }
  /// A whole number, written as a text (as XGBoost does) or a number.
  std::uint32_t count(std::uint32_t most = std::numeric_limits<std::int32_t>::max()) const {
    double x = value_->number;
    if (value_->kind == Kind::text)
      x = decimal(value_->text);
    else if (value_->kind != Kind::number)
      fail("is no number");
    if (!(x >= 0 && x <= most && x == std::floor(x))) fail(fmt::format("{} is no whole number in 0 .. {}", x, most));
    return static_cast<std::uint32_t>(x);
  }
  double decimal(std::string_view digits) const {
    double x = 0;
    const auto [end, error] = std::from_chars(digits.data(), digits.data() + digits.size(), x);
    if (error != std::errc{} || end != digits.data() + digits.size())
      fail(fmt::format("\"{:.40}\" is no number", digits));
    return x;
  }
  const std::string& path() const noexcept { return path_; }
  std::string where() const { return fmt::format("{}: {}", origin_, path_); }

 private:
  const DocumentValue* value_;
  std::string path_;
  std::string_view origin_;
};

struct Objective {
  ForestLink link = ForestLink::identity;
  enum Space { score, probability, positive } base = score;  ///< in which the base score is stated
};

Objective parse_objective(const Node& learner) {
  const Node node = learner.at("objective").at("name");
  const std::string& name = node.text();
  const auto is = [&](auto... names) { return ((name == names) || ...); };
  if (is("binary:logistic")) return {ForestLink::sigmoid, Objective::probability};
  if (is("reg:logistic")) return {ForestLink::sigmoids, Objective::probability};
  if (is("binary:hinge")) return {ForestLink::step, Objective::score};
  if (is("count:poisson", "reg:gamma", "reg:tweedie", "survival:cox", "survival:aft"))
    return {ForestLink::exponential, Objective::positive};
  if (is("multi:softmax", "multi:softprob")) return {ForestLink::softmax, Objective::score};
  if (is("reg:squarederror", "reg:linear", "reg:squaredlogerror", "reg:pseudohubererror", "reg:absoluteerror",
         "reg:quantileerror", "reg:expectileerror", "binary:logitraw", "rank:pairwise", "rank:ndcg", "rank:map"))
    return {};
  node.fail(fmt::format("objective \"{:.40}\" is not known here", name), errc::unsupported);
}

/// "5E-1" or "[1E0,2E0]", in the space of the scores.
std::vector<double> parse_base(const Node& node, std::uint32_t outputs, Objective::Space space) {
  std::string_view text = node.text();
  if (text.starts_with('[') && text.ends_with(']')) text = text.substr(1, text.size() - 2);
  std::vector<double> base;
  for (std::size_t at = 0; at <= text.size();) {
    const std::size_t end = std::min(text.find(',', at), text.size());
    // As XGBoost: everything is float.
    float x = static_cast<float>(node.decimal(text.substr(at, end - at)));
    at = end + 1;
    if (space == Objective::probability) {
      if (!(x > 0 && x < 1)) node.fail(fmt::format("{} is no probability", x));
      x = static_cast<float>(-std::log(1.0 / static_cast<double>(x) - 1.0));
    } else if (space == Objective::positive) {
      if (!(x > 0)) node.fail(fmt::format("{} is not above 0", x));
      x = std::log(x);
    }
    if (!std::isfinite(x)) node.fail("is not finite");
    base.push_back(static_cast<double>(x));
    if (base.size() > outputs) node.fail(fmt::format("more than {} numbers", outputs));
  }
  if (base.size() == 1) base.resize(outputs, base[0]);
  if (base.size() != outputs) node.fail(fmt::format("{} numbers for {} outputs", base.size(), outputs));
  return base;
}

/// The category sets of one tree: per node the words of the codes that go right.
class TreeCategories {
 public:
  TreeCategories(const Node& tree, std::size_t nodes) {
    if (!tree.has("categories_nodes")) return;
    const Node where = tree.at("categories_nodes");
    const auto& owners = where.numbers();
    segments_ = &tree.at("categories_segments").numbers(owners.size());
    sizes_ = &tree.at("categories_sizes").numbers(owners.size());
    codes_ = &tree.at("categories").numbers();
    set_of_.assign(owners.empty() ? 0 : nodes, -1);
    for (std::size_t s = 0; s < owners.size(); ++s) {
      if (!(owners[s] >= 0 && owners[s] < static_cast<double>(nodes)))
        where.fail(fmt::format("entry {} is {}, no node (there are {})", s, owners[s], nodes));
      const double count = static_cast<double>(codes_->size());
      const double first = (*segments_)[s], size = (*sizes_)[s];
      if (!(first >= 0 && size >= 0 && first <= count && size <= count - first))
        where.fail(fmt::format("set {} is not within the {} categories", s, count));
      set_of_[static_cast<std::size_t>(owners[s])] = static_cast<std::int32_t>(s);
    }
  }
  /// The codes that go left, as a set of the forest; codes beyond it go left too.
  std::int32_t add(const Node& tree, std::size_t node, detail::PeerForest& forest, std::size_t& budget) const {
    if (node >= set_of_.size() || set_of_[node] < 0)
      tree.at("split_type").fail(fmt::format("node {} is categorical, but has no entry in categories_nodes", node));
    const auto set = static_cast<std::size_t>(set_of_[node]);
    const auto codes = std::span(*codes_).subspan(static_cast<std::size_t>((*segments_)[set]),
                                                  static_cast<std::size_t>((*sizes_)[set]));
    double highest = -1;
    for (const double code : codes) {
      if (!(code >= 0 && code < max_category && code == std::floor(code)))
        tree.at("categories").fail(fmt::format("{} is no category code", code));
      highest = std::max(highest, code);
    }
    std::vector<std::uint32_t> words(static_cast<std::size_t>(highest + 32) / 32, ~0u);
    if (words.size() > budget) tree.fail("the category sets are too large", errc::unsupported);
    budget -= words.size();
    for (const double code : codes) {
      const auto k = static_cast<std::uint32_t>(code);
      words[k / 32] &= ~(1u << (k % 32));
    }
    return forest.add_set(words);
  }

 private:
  const std::vector<double>*segments_ = nullptr, *sizes_ = nullptr, *codes_ = nullptr;
  std::vector<std::int32_t> set_of_;
};

void parse_tree(const Node& tree, std::uint32_t output, double weight, std::size_t& budget,
                detail::PeerForest& forest) {
  const Node param = tree.at("tree_param");
  const std::size_t count = param.at("num_nodes").count();
  if (param.has("size_leaf_vector") && param.at("size_leaf_vector").count() > 1)
    param.at("size_leaf_vector")
        .fail("leaves that are vectors (multi_strategy=multi_output_tree) are not supported", errc::unsupported);
  const auto& left = tree.at("left_children").numbers(count);
  const auto& right = tree.at("right_children").numbers(count);
  const auto& conditions = tree.at("split_conditions").numbers(count);
  const auto& columns = tree.at("split_indices").numbers(count);
  const auto& default_left = tree.at("default_left").numbers(count);
  const auto& hessians = tree.at("sum_hessian").numbers(count);
  const auto& gains = tree.at("loss_changes").numbers(count);
  const std::vector<double>* const types = tree.has("split_type") ? &tree.at("split_type").numbers() : nullptr;
  if (types && !types->empty()) tree.at("split_type").numbers(count);
  if (count == 0) tree.fail("no nodes");
  const TreeCategories categories(tree, count);

  // Walks from the root: what pruning has deleted is not reached.
  std::vector<std::int32_t> place(count, -1);  // of a reached node among the inner nodes; leaves: -2
  std::vector<std::size_t> inner;
  std::vector<std::size_t> open{0};
  const auto child = [&](const std::vector<double>& side, std::size_t i, const char* key) {
    const double c = side[i];
    if (!(c >= 0 && c < static_cast<double>(count) && c == std::floor(c)))
      tree.at(key).fail(fmt::format("child {} of node {} does not exist", c, i));
    return static_cast<std::size_t>(c);
  };
  while (!open.empty()) {
    const std::size_t i = open.back();
    open.pop_back();
    if (place[i] != -1) tree.fail(fmt::format("node {} is reached twice", i));
    if (left[i] == -1) {
      place[i] = -2;
      continue;
    }
    place[i] = static_cast<std::int32_t>(inner.size());
    inner.push_back(i);
    open.push_back(child(right, i, "right_children"));
    open.push_back(child(left, i, "left_children"));
  }
  detail::PeerTree result;
  std::vector<std::int32_t> leaf_of(count, -1);
  for (std::size_t i = 0; i < count; ++i) {
    if (place[i] != -2) continue;
    leaf_of[i] = static_cast<std::int32_t>(result.leaf_values.size());
    result.leaf_values.push_back(static_cast<double>(static_cast<float>(conditions[i])));
    result.leaf_cover.push_back(detail::harmless(hessians[i], 0));
  }
  const auto moved = [&](std::size_t i) { return place[i] == -2 ? ~leaf_of[i] : place[i]; };
  result.root = moved(0);
  for (const std::size_t i : inner) {
    detail::PeerNode node;
    if (!(columns[i] >= 0 && columns[i] < static_cast<double>(forest.columns)))
      tree.at("split_indices")
          .fail(fmt::format("node {} splits on column {}, there are {}", i, columns[i], forest.columns));
    node.feature = static_cast<std::uint32_t>(columns[i]);
    node.left = moved(static_cast<std::size_t>(left[i]));
    node.right = moved(static_cast<std::size_t>(right[i]));
    node.cover = detail::harmless(hessians[i], 0);
    node.gain = detail::harmless(gains[i], std::numeric_limits<float>::lowest());
    node.flags = default_left[i] != 0 ? missing_left : 0;
    if (types && !types->empty() && (*types)[i] != 0) {
      if ((*types)[i] != 1) tree.at("split_type").fail(fmt::format("type {} of node {}", (*types)[i], i));
      node.category_set = categories.add(tree, i, forest, budget);
      node.flags |= others_left;
    } else {
      const auto threshold = static_cast<float>(conditions[i]);
      if (!(threshold > -std::numeric_limits<float>::infinity()))
        tree.at("split_conditions").fail(fmt::format("threshold {} of node {}", threshold, i));
      node.threshold = detail::just_below(threshold);
    }
    result.nodes.push_back(node);
  }
  forest.add_tree(result, output, weight, tree.where());
}

std::vector<std::string> parse_names(const Node& learner, std::uint32_t columns) {
  std::vector<std::string> names;
  const std::size_t given = learner.has("feature_names") ? learner.at("feature_names").list_size() : 0;
  if (given != 0 && given != columns)
    learner.at("feature_names").fail(fmt::format("{} names for {} columns", given, columns));
  for (std::uint32_t c = 0; c < given; ++c) names.push_back(learner.at("feature_names").at(c).text());
  return names;
}

/// How many of the trees count.
std::size_t used_trees(const Node& learner, const Node& model, std::size_t trees, std::uint32_t outputs) {
  if (!learner.has("attributes") || !learner.at("attributes").has("best_iteration")) return trees;
  const std::size_t iterations = learner.at("attributes").at("best_iteration").count() + std::size_t{1};
  if (model.has("iteration_indptr")) {
    const auto& bounds = model.at("iteration_indptr").numbers();
    if (iterations >= bounds.size() || !(bounds[iterations] >= 0 && bounds[iterations] <= static_cast<double>(trees)))
      learner.at("attributes").at("best_iteration").fail("is not one of the iterations");
    return static_cast<std::size_t>(bounds[iterations]);
  }
  const Node param = model.at("gbtree_model_param");
  const std::size_t parallel = param.has("num_parallel_tree") ? param.at("num_parallel_tree").count() : 1;
  const std::size_t wanted = iterations * std::max<std::size_t>(parallel, 1) * outputs;
  if (wanted > trees) learner.at("attributes").at("best_iteration").fail("is not one of the iterations");
  return wanted;
}

detail::PeerForest parse(const DocumentValue& document, const XgboostOptions& options, std::string_view origin) {
  const Node learner = Node(document, "", origin).at("learner");
  const Node booster = learner.at("gradient_booster");
  const std::string& kind = booster.at("name").text();
  if (kind != "gbtree" && kind != "dart")
    booster.at("name").fail(fmt::format("booster \"{:.40}\" is no forest (gbtree and dart are)", kind),
                            errc::unsupported);
  // Dart keeps its trees in a gbtree of its own; later versions put the weights into the model.
  const Node model = booster.has("gbtree") ? booster.at("gbtree").at("model") : booster.at("model");
  const Node param = learner.at("learner_model_param");
  const Objective objective = parse_objective(learner);

  detail::PeerForest forest;
  forest.library = "xgboost";
  forest.objective = learner.at("objective").at("name").text();
  forest.link = objective.link;
  forest.columns = param.at("num_feature").count(max_columns);
  forest.column_names = parse_names(learner, forest.columns);
  const std::uint32_t classes = param.at("num_class").count(max_columns);
  const std::uint32_t targets = param.has("num_target") ? param.at("num_target").count(max_columns) : 1;
  if (classes > 1 && targets > 1) param.fail("several targets of several classes", errc::unsupported);
  forest.outputs = std::max({classes, targets, std::uint32_t{1}});
  if (objective.link == ForestLink::softmax && classes < 2) param.at("num_class").fail("must be at least 2");
  if (objective.link == ForestLink::sigmoid && forest.outputs > 1) forest.link = ForestLink::sigmoids;

  const Node trees = model.at("trees");
  const std::size_t count = trees.list_size();
  if (forest.outputs > 1 && forest.outputs > count)
    param.fail(fmt::format("{} outputs, but there are {} trees", forest.outputs, count));
  forest.base = parse_base(param.at("base_score"), forest.outputs, objective.base);
  const auto& outputs = model.at("tree_info").numbers(count);
  const std::vector<double>* weights = nullptr;
  for (const Node& holder : {booster, model})
    if (holder.has("weight_drop")) weights = &holder.at("weight_drop").numbers(count);
  if (kind == "dart" && !weights) booster.fail("key \"weight_drop\" is missing");
  const std::size_t used = options.best_iteration ? used_trees(learner, model, count, forest.outputs) : count;
  std::size_t budget = max_category_words;
  for (std::size_t t = 0; t < used; ++t) {
    if (!(outputs[t] >= 0 && outputs[t] < forest.outputs))
      model.at("tree_info").fail(fmt::format("entry {} is {}, there are {} outputs", t, outputs[t], forest.outputs));
    parse_tree(trees.at(t), static_cast<std::uint32_t>(outputs[t]),
               weights ? static_cast<double>(static_cast<float>((*weights)[t])) : 1.0, budget, forest);
  }
  return forest;
}

template <class F>
auto from_bytes(std::span<const std::byte> bytes, const XgboostOptions& options, std::string_view origin, F&& make) {
  try {
    auto peer = parse(detail::parse_document(bytes, origin), options, origin);
    return make(peer);
  } catch (const Error& error) {  // what later constructors find wrong is wrong in the file
    const bool named = std::string_view(error.what()).starts_with(origin);
    detail::fail(error.code() == errc::unsupported ? errc::unsupported : errc::corrupt,
                 named ? std::string(error.what()) : fmt::format("{}: {}", origin, error.what()));
  }
}

}  // namespace

Shared<const Forest> read_xgboost_forest_bytes(std::span<const std::byte> bytes, const XgboostOptions& options,
                                               std::string_view origin) {
  return from_bytes(bytes, options, origin, [](detail::PeerForest& peer) { return peer.forest(); });
}

Model read_xgboost_bytes(std::span<const std::byte> bytes, const XgboostOptions& options, std::string_view origin) {
  return from_bytes(bytes, options, origin, [](detail::PeerForest& peer) {
    auto forest = peer.forest();
    return peer.model(std::move(forest));
  });
}

Shared<const Forest> read_xgboost_forest(const std::string& path, const XgboostOptions& options) {
  return read_xgboost_forest_bytes(detail::read_whole_file(path, max_file), options, path);
}

Model read_xgboost(const std::string& path, const XgboostOptions& options) {
  return read_xgboost_bytes(detail::read_whole_file(path, max_file), options, path);
}

}  // namespace redoubt
