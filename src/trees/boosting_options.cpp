#include "trees/boosting_options.hpp"

#include <fmt/format.h>
#include <fmt/ranges.h>

#include <charconv>
#include <cmath>

#include "redoubt/core/error.hpp"
#include "trees/grown_tree.hpp"
#include "trees/objective.hpp"

namespace redoubt::detail {

void check_boosting(const GradientBoostingOptions& o) {
  const auto require = [](bool ok, const char* option, double value, const char* rule) {
    require_option(ok, "GradientBoosting", option, value, rule);
  };
  const auto positive = [](double x) { return x > 0 && std::isfinite(x); };
  const auto not_negative = [](double x) { return x >= 0 && std::isfinite(x); };
  require(o.trees >= 1, "trees", o.trees, "at least 1");
  require(o.learning_rate > 0 && o.learning_rate <= 1, "learning_rate", o.learning_rate, "in (0, 1]");
  require(positive(o.huber_delta), "huber_delta", o.huber_delta, "above 0");
  require(o.quantile > 0 && o.quantile < 1, "quantile", o.quantile, "in (0, 1)");
  require(o.tweedie_power >= 1 && o.tweedie_power < 2, "tweedie_power", o.tweedie_power, "in [1, 2)");
  require(positive(o.poisson_max_delta), "poisson_max_delta", o.poisson_max_delta, "above 0");
  require(o.rank_truncation >= 1, "rank_truncation", o.rank_truncation, "at least 1");
  require(positive(o.scale_pos_weight), "scale_pos_weight", o.scale_pos_weight, "above 0");
  for (const double w : o.class_weights) require(positive(w), "class_weights", w, "above 0");
  require(o.max_leaves >= 2 && o.max_leaves <= 65536, "max_leaves", o.max_leaves, "2 .. 65536");
  require(o.max_depth >= 0, "max_depth", o.max_depth, "0 (unlimited) or more");
  require(o.min_leaf_rows >= 1, "min_leaf_rows", o.min_leaf_rows, "at least 1");
  require(o.min_leaf_hessian >= 0, "min_leaf_hessian", o.min_leaf_hessian, "at least 0");
  require(not_negative(o.l1), "l1", o.l1, "at least 0");
  require(not_negative(o.l2), "l2", o.l2, "at least 0");
  require(o.min_gain >= 0, "min_gain", o.min_gain, "at least 0");
  require(not_negative(o.max_delta_step), "max_delta_step", o.max_delta_step, "0 (unlimited) or more");
  require(not_negative(o.path_smooth), "path_smooth", o.path_smooth, "at least 0");
  require(not_negative(o.robust_radius), "robust_radius", o.robust_radius, "at least 0");
  require(o.robust_radius == 0 || !o.random_thresholds, "robust_radius", o.robust_radius, "0 with random_thresholds");
  for (const MonotoneColumn& m : o.monotone)
    if (m.direction < -1 || m.direction > 1)
      fail(errc::invalid_argument, fmt::format("GradientBoosting: monotone direction of column '{}' is {}, must be -1, "
                                               "0 or 1",
                                               m.column, m.direction));
  require(o.max_bins >= 2 && o.max_bins <= 255, "max_bins", o.max_bins, "2 .. 255");
  require(o.row_fraction > 0 && o.row_fraction <= 1, "row_fraction", o.row_fraction, "in (0, 1]");
  require(o.row_frequency >= 1, "row_frequency", o.row_frequency, "at least 1");
  require(o.column_fraction > 0 && o.column_fraction <= 1, "column_fraction", o.column_fraction, "in (0, 1]");
  require(o.node_column_fraction > 0 && o.node_column_fraction <= 1, "node_column_fraction", o.node_column_fraction,
          "in (0, 1]");
  require(o.goss_top > 0 && o.goss_top < 1, "goss_top", o.goss_top, "in (0, 1)");
  require(o.goss_other > 0 && o.goss_top + o.goss_other <= 1 + 1e-9, "goss_other", o.goss_other,
          "above 0, with goss_top at most 1");
  require(!o.goss || o.row_fraction == 1, "row_fraction", o.row_fraction, "1 with goss");
  require(o.drop_rate >= 0 && o.drop_rate <= 1, "drop_rate", o.drop_rate, "in [0, 1]");
  require(o.max_drop >= 0, "max_drop", o.max_drop, "0 (unlimited) or more");
  require(o.skip_drop >= 0 && o.skip_drop <= 1, "skip_drop", o.skip_drop, "in [0, 1]");
  require(o.max_one_hot >= 0, "max_one_hot", o.max_one_hot, "at least 0");
  require(o.category_smoothing >= 0, "category_smoothing", o.category_smoothing, "at least 0");
  require(not_negative(o.category_l2), "category_l2", o.category_l2, "at least 0");
  require(o.min_category_rows >= 1, "min_category_rows", o.min_category_rows, "at least 1");
  require(o.max_category_side >= 1, "max_category_side", o.max_category_side, "at least 1");
  require(o.early_stopping_rounds >= 0, "early_stopping_rounds", o.early_stopping_rounds, "0 (off) or more");
  require(!o.dart || o.early_stopping_rounds == 0, "early_stopping_rounds", o.early_stopping_rounds,
          "0 with dart: later rounds change earlier trees");
  require(o.validation_fraction > 0 && o.validation_fraction < 1, "validation_fraction", o.validation_fraction,
          "in (0, 1)");
  require(not_negative(o.min_delta), "min_delta", o.min_delta, "at least 0");
  require(o.refit_decay >= 0 && o.refit_decay <= 1, "refit_decay", o.refit_decay, "in [0, 1]");
  for (const std::string& name : o.metrics) higher_is_better(name);
}

std::string describe_boosting(const GradientBoostingOptions& o) {
  std::string text =
      fmt::format("trees={} learning_rate={} max_leaves={} max_depth={} min_leaf_rows={} min_leaf_hessian={} l2={}",
                  o.trees, o.learning_rate, o.max_leaves, o.max_depth, o.min_leaf_rows, o.min_leaf_hessian, o.l2);
  text += fmt::format(" min_gain={} max_bins={} row_fraction={} column_fraction={} max_one_hot={}", o.min_gain,
                      o.max_bins, o.row_fraction, o.column_fraction, o.max_one_hot);
  text += fmt::format(" category_smoothing={} category_l2={} min_category_rows={} max_category_side={}",
                      o.category_smoothing, o.category_l2, o.min_category_rows, o.max_category_side);
  const GradientBoostingOptions d;
  const auto differing = [&](const char* name, const auto& value, const auto& by_default) {
    if (value != by_default) text += fmt::format(" {}={}", name, value);
  };
  if (o.objective) text += " loss=custom";
  if (o.loss != d.loss) text += fmt::format(" loss={}", to_string(o.loss));
  differing("huber_delta", o.huber_delta, d.huber_delta);
  differing("quantile", o.quantile, d.quantile);
  differing("tweedie_power", o.tweedie_power, d.tweedie_power);
  differing("poisson_max_delta", o.poisson_max_delta, d.poisson_max_delta);
  differing("rank_truncation", o.rank_truncation, d.rank_truncation);
  differing("rank_normalise", o.rank_normalise, d.rank_normalise);
  differing("query_column", o.query_column, d.query_column);
  differing("scale_pos_weight", o.scale_pos_weight, d.scale_pos_weight);
  if (!o.class_weights.empty()) text += fmt::format(" class_weights={}", fmt::join(o.class_weights, ","));
  differing("balance_classes", o.balance_classes, d.balance_classes);
  differing("start_from_average", o.start_from_average, d.start_from_average);
  differing("depthwise", o.depthwise, d.depthwise);
  differing("l1", o.l1, d.l1);
  differing("max_delta_step", o.max_delta_step, d.max_delta_step);
  differing("path_smooth", o.path_smooth, d.path_smooth);
  differing("random_thresholds", o.random_thresholds, d.random_thresholds);
  differing("robust_radius", o.robust_radius, d.robust_radius);
  for (const MonotoneColumn& m : o.monotone) text += fmt::format(" monotone={}:{}", m.column, m.direction);
  for (const auto& group : o.interactions) text += fmt::format(" interactions={}", fmt::join(group, ","));
  differing("row_frequency", o.row_frequency, d.row_frequency);
  differing("node_column_fraction", o.node_column_fraction, d.node_column_fraction);
  if (o.goss) text += fmt::format(" goss_top={} goss_other={}", o.goss_top, o.goss_other);
  if (o.dart) text += fmt::format(" drop_rate={} max_drop={} skip_drop={}", o.drop_rate, o.max_drop, o.skip_drop);
  if (o.early_stopping_rounds > 0)
    text +=
        fmt::format(" early_stopping_rounds={} validation_fraction={}", o.early_stopping_rounds, o.validation_fraction);
  differing("min_delta", o.min_delta, d.min_delta);
  if (!o.metrics.empty()) text += fmt::format(" metrics={}", fmt::join(o.metrics, ","));
  return text;
}

namespace {

struct NamedColumn {
  bool numeric = true;
  std::vector<std::uint32_t> encoded;
};

/// find(name): Error(not_found) if there is none.
template <class F>
ColumnRules make_rules(const GradientBoostingOptions& o, std::size_t cols, const F& find) {
  ColumnRules rules;
  for (const MonotoneColumn& m : o.monotone) {
    const NamedColumn column = find(m.column);
    if (!column.numeric)
      fail(errc::type_mismatch,
           fmt::format("GradientBoosting: monotone column '{}' is not numeric, its values have no order", m.column));
    rules.monotone.resize(cols);
    for (const auto c : column.encoded) rules.monotone[c] = static_cast<std::int8_t>(m.direction);
  }
  for (const auto& group : o.interactions) {
    rules.interactions.emplace_back();
    for (const std::string& name : group) {
      const NamedColumn column = find(name);
      rules.interactions.back().insert(rules.interactions.back().end(), column.encoded.begin(), column.encoded.end());
    }
  }
  return rules;
}

}  // namespace

ColumnRules rules_for(const GradientBoostingOptions& options, const Encoder& encoder) {
  if (options.monotone.empty() && options.interactions.empty()) return {};
  const auto origins = encoder.origins();
  return make_rules(options, encoder.width(), [&](const std::string& name) {
    NamedColumn column;
    const std::size_t index = encoder.schema().at(name);
    const ColumnType type = encoder.schema()[index].type;
    column.numeric = type == ColumnType::numeric || type == ColumnType::timestamp;
    for (std::size_t c = 0; c < origins.size(); ++c)
      if (origins[c] == index) column.encoded.push_back(static_cast<std::uint32_t>(c));
    return column;
  });
}

ColumnRules rules_for(const GradientBoostingOptions& options, std::span<const std::uint32_t> category_counts,
                      std::size_t cols) {
  if (options.monotone.empty() && options.interactions.empty()) return {};
  return make_rules(options, cols, [&](const std::string& name) {
    std::uint32_t c = 0;
    const char* end = name.data() + name.size();
    const bool known = name.size() > 1 && name[0] == 'f' &&
                       std::from_chars(name.data() + 1, end, c) == std::from_chars_result{end, std::errc{}} && c < cols;
    if (!known)
      fail(errc::not_found,
           fmt::format("GradientBoosting: no column '{}'; encoded columns are called f0 .. f{}", name, cols - 1));
    return NamedColumn{category_counts.empty() || category_counts[c] == 0, {c}};
  });
}

}  // namespace redoubt::detail
