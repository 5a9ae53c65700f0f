// Estimators by name, and their options by name.
#include <fmt/format.h>
#include <fmt/ranges.h>

#include <charconv>
#include <optional>

#include "cli/common.hpp"
#include "redoubt/core/error.hpp"
#include "redoubt/core/parallel.hpp"
#include "redoubt/data/csv_stream.hpp"
#include "redoubt/data/encoder.hpp"
#include "redoubt/data/split.hpp"
#include "redoubt/linear/logistic_regression.hpp"
#include "redoubt/linear/ridge.hpp"
#include "redoubt/nn/mlp.hpp"
#include "redoubt/trees/extra_trees.hpp"
#include "redoubt/trees/gradient_boosting.hpp"
#include "redoubt/trees/isolation_forest.hpp"
#include "redoubt/trees/random_forest.hpp"

namespace redoubt::cli {
namespace {

constexpr const char* losses[] = {"automatic", "squared", "absolute", "huber",   "quantile",   "poisson",
                                  "gamma",     "tweedie", "logistic", "softmax", "one_vs_all", "lambdarank"};

std::vector<std::string> parts_of(const std::string& text, char separator) {
  std::vector<std::string> parts;
  for (std::size_t begin = 0; begin <= text.size();) {
    const std::size_t end = std::min(text.find(separator, begin), text.size());
    parts.push_back(text.substr(begin, end - begin));
    begin = end + 1;
  }
  return parts;
}

/// Puts settings into options one by one; what is left at the end was unknown. Without settings it only lists them.
class Reader {
 public:
  Reader(std::string estimator, const Settings& settings) : estimator_(std::move(estimator)), settings_(settings) {}

  template <class T>
  void take(const std::string& name, T& value) {
    known_.push_back(fmt::format("{}={}", name, shown(value)));
    const auto found = settings_.find(name);
    if (found == settings_.end()) return;
    read(name, found->second, value);
    settings_.erase(found);
  }

  const std::vector<std::string>& known() const { return known_; }

  void finish() const {
    if (settings_.empty()) return;
    detail::fail(errc::invalid_argument, fmt::format("{} has no setting '{}'; it has, with defaults: {}", estimator_,
                                                     settings_.begin()->first, fmt::join(known_, ", ")));
  }

 private:
  using Texts = std::vector<std::string>;

  static std::string shown(bool value) { return value ? "true" : "false"; }
  static std::string shown(Loss loss) { return losses[static_cast<std::size_t>(loss)]; }
  static std::string shown(const std::string& value) { return value; }
  static std::string shown(const std::vector<std::uint32_t>& value) { return fmt::format("{}", fmt::join(value, "x")); }
  static std::string shown(const std::vector<double>&) { return "W,W,..."; }
  static std::string shown(const std::vector<std::string>&) { return "NAME,..."; }
  static std::string shown(const std::vector<MonotoneColumn>&) { return "COLUMN:1|-1"; }
  static std::string shown(const std::vector<std::vector<std::string>>&) { return "COLUMN,COLUMN,..."; }
  template <class T>
  static std::string shown(T value) {
    return fmt::format("{}", value);
  }

  [[noreturn]] static void bad(const std::string& name, const std::string& text, const std::string& rule) {
    detail::fail(errc::invalid_argument, fmt::format("setting '{}': '{}' is {}", name, text, rule));
  }

  template <class T>
  static T number(const std::string& name, const std::string& text) {
    T value{};
    const auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), value);
    if (error != std::errc{} || end != text.data() + text.size() || text.empty())
      bad(name, text, "not a number it can take");
    return value;
  }

  template <class T>
  static void read(const std::string& name, const Texts& texts, T& value) {
    value = number<T>(name, texts.back());
  }
  static void read(const std::string& name, const Texts& texts, bool& value) {
    const std::string& text = texts.back();
    value = text == "true" || text == "1" || text == "yes" || text == "on";
    if (!value && text != "false" && text != "0" && text != "no" && text != "off")
      bad(name, text, "neither true nor false");
  }
  static void read(const std::string&, const Texts& texts, std::string& value) { value = texts.back(); }
  static void read(const std::string& name, const Texts& texts, Loss& value) {
    const auto* found = std::find(std::begin(losses), std::end(losses), texts.back());
    if (found == std::end(losses)) bad(name, texts.back(), fmt::format("none of {}", fmt::join(losses, ", ")));
    value = static_cast<Loss>(found - losses);
  }
  static void read(const std::string& name, const Texts& texts, std::vector<std::uint32_t>& value) {
    value.clear();
    for (const auto& part : parts_of(texts.back(), 'x')) value.push_back(number<std::uint32_t>(name, part));
  }
  static void read(const std::string& name, const Texts& texts, std::vector<double>& value) {
    value.clear();
    for (const auto& part : parts_of(texts.back(), ',')) value.push_back(number<double>(name, part));
  }
  static void read(const std::string&, const Texts& texts, std::vector<std::string>& value) {
    value.clear();
    for (const auto& text : texts)
      for (auto& part : parts_of(text, ',')) value.push_back(std::move(part));
  }
  static void read(const std::string& name, const Texts& texts, std::vector<MonotoneColumn>& value) {
    value.clear();
    for (const auto& text : texts) {
      const std::size_t colon = text.rfind(':');
      const std::string direction = colon == std::string::npos ? "" : text.substr(colon + 1);
      if (direction != "1" && direction != "+1" && direction != "-1")
        bad(name, text, "not COLUMN:1 (rises) or COLUMN:-1 (falls)");
      value.push_back({text.substr(0, colon), direction == "-1" ? -1 : 1});
    }
  }
  static void read(const std::string&, const Texts& texts, std::vector<std::vector<std::string>>& value) {
    value.clear();
    for (const auto& text : texts) value.push_back(parts_of(text, ','));
  }

  std::string estimator_;
  Settings settings_;
  std::vector<std::string> known_;
};

void take(Reader& r, GradientBoostingOptions& o) {
  r.take("trees", o.trees);
  r.take("learning_rate", o.learning_rate);
  r.take("loss", o.loss);
  r.take("huber_delta", o.huber_delta);
  r.take("quantile", o.quantile);
  r.take("tweedie_power", o.tweedie_power);
  r.take("poisson_max_delta", o.poisson_max_delta);
  r.take("rank_truncation", o.rank_truncation);
  r.take("rank_normalise", o.rank_normalise);
  r.take("query_column", o.query_column);
  r.take("scale_pos_weight", o.scale_pos_weight);
  r.take("class_weights", o.class_weights);
  r.take("balance_classes", o.balance_classes);
  r.take("start_from_average", o.start_from_average);
  r.take("max_leaves", o.max_leaves);
  r.take("max_depth", o.max_depth);
  r.take("depthwise", o.depthwise);
  r.take("min_leaf_rows", o.min_leaf_rows);
  r.take("min_leaf_hessian", o.min_leaf_hessian);
  r.take("l1", o.l1);
  r.take("l2", o.l2);
  r.take("min_gain", o.min_gain);
  r.take("max_delta_step", o.max_delta_step);
  r.take("path_smooth", o.path_smooth);
  r.take("random_thresholds", o.random_thresholds);
  r.take("robust_radius", o.robust_radius);
  r.take("monotone", o.monotone);
  r.take("interactions", o.interactions);
  r.take("max_bins", o.max_bins);
  r.take("row_fraction", o.row_fraction);
  r.take("row_frequency", o.row_frequency);
  r.take("column_fraction", o.column_fraction);
  r.take("node_column_fraction", o.node_column_fraction);
  r.take("goss", o.goss);
  r.take("goss_top", o.goss_top);
  r.take("goss_other", o.goss_other);
  r.take("dart", o.dart);
  r.take("drop_rate", o.drop_rate);
  r.take("max_drop", o.max_drop);
  r.take("skip_drop", o.skip_drop);
  r.take("max_one_hot", o.max_one_hot);
  r.take("category_smoothing", o.category_smoothing);
  r.take("category_l2", o.category_l2);
  r.take("min_category_rows", o.min_category_rows);
  r.take("max_category_side", o.max_category_side);
  r.take("early_stopping_rounds", o.early_stopping_rounds);
  r.take("validation_fraction", o.validation_fraction);
  r.take("min_delta", o.min_delta);
  r.take("metrics", o.metrics);
  r.take("seed", o.seed);
}

template <class Options>
void take_bagging(Reader& r, Options& o) {
  r.take("trees", o.trees);
  r.take("max_depth", o.max_depth);
  r.take("max_leaves", o.max_leaves);
  r.take("min_leaf_rows", o.min_leaf_rows);
  r.take("min_split_gain", o.min_split_gain);
  r.take("max_features", o.max_features);
  r.take("bootstrap", o.bootstrap);
  r.take("max_bins", o.max_bins);
  r.take("class_weights", o.class_weights);
  r.take("seed", o.seed);
}
void take(Reader& r, RandomForestOptions& o) { take_bagging(r, o); }
void take(Reader& r, ExtraTreesOptions& o) { take_bagging(r, o); }

void take(Reader& r, IsolationForestOptions& o) {
  r.take("trees", o.trees);
  r.take("subsample", o.subsample);
  r.take("max_features", o.max_features);
  r.take("bootstrap", o.bootstrap);
  r.take("seed", o.seed);
}

void take(Reader& r, MlpOptions& o) {
  r.take("hidden", o.hidden);
  r.take("epochs", o.epochs);
  r.take("batch", o.batch);
  r.take("learning_rate", o.learning_rate);
  r.take("l2", o.l2);
  r.take("dropout", o.dropout);
  r.take("patience", o.patience);
  r.take("seed", o.seed);
}

void take(Reader& r, LogisticRegressionOptions& o) {
  r.take("l2", o.l2);
  r.take("max_iterations", o.max_iterations);
  r.take("tolerance", o.tolerance);
}

void take(Reader& r, RidgeOptions& o) { r.take("l2", o.l2); }

template <class Estimator>
Model fit_as(Reader& reader, const Dataset& data, const FitInputs& inputs, Arena* arena) {
  auto options = Estimator{}.options;
  take(reader, options);
  reader.finish();
  if constexpr (requires { options.progress; }) options.progress = inputs.progress;
  if constexpr (requires { options.arena; }) options.arena = arena;
  if constexpr (std::is_same_v<Estimator, GradientBoosting>) {
    options.callback = inputs.history;
    const GradientBoosting boosting{options};
    if (inputs.start)
      return inputs.validation ? boosting.fit_more(*inputs.start, data, *inputs.validation)
                               : boosting.fit_more(*inputs.start, data);
    if (inputs.validation) return boosting.fit(data, *inputs.validation);
    return boosting.fit(data);
  } else {
    return Estimator{options}.fit(data);
  }
}

template <class Estimator>
std::vector<std::string> known_of() {
  Reader reader("", {});
  auto options = Estimator{}.options;
  take(reader, options);
  return reader.known();
}

struct Known {
  std::string name;
  Model (*fit)(Reader& reader, const Dataset& data, const FitInputs& inputs, Arena* arena);
  std::vector<std::string> (*settings)();
};

template <class Estimator>
Known known(const char* name) {
  return {name, fit_as<Estimator>, known_of<Estimator>};
}

const std::vector<Known>& table() {
  static const std::vector<Known> all = {
      known<GradientBoosting>("gradient_boosting"),
      known<RandomForest>("random_forest"),
      known<ExtraTrees>("extra_trees"),
      known<Mlp>("mlp"),
      known<LogisticRegression>("logistic_regression"),
      known<Ridge>("ridge"),
      known<IsolationForest>("isolation_forest"),
  };
  return all;
}

}  // namespace

void parse_settings(const std::vector<std::string>& assignments, Settings& settings) {
  for (const std::string& assignment : assignments) {
    const std::size_t equal = assignment.find('=');
    if (equal == std::string::npos || equal == 0)
      detail::fail(errc::invalid_argument, fmt::format("--set takes name=value, got '{}'", assignment));
    settings[assignment.substr(0, equal)].push_back(assignment.substr(equal + 1));
  }
}

const std::vector<std::string>& estimators() {
  static const std::vector<std::string> names = [] {
    std::vector<std::string> all;
    for (const Known& estimator : table()) all.push_back(estimator.name);
    return all;
  }();
  return names;
}

std::string settings_help() {
  std::string text = "Settings for --set, with their defaults:\n";
  for (const Known& estimator : table()) {
    text += fmt::format("  {}:\n", estimator.name);
    std::string line = "   ";
    for (const std::string& setting : estimator.settings()) {
      if (line.size() + 1 + setting.size() > 110) {
        text += line + '\n';
        line = "   ";
      }
      line += ' ' + setting;
    }
    text += line + '\n';
  }
  return text + "loss: " + fmt::format("{}", fmt::join(losses, ", ")) +
         "\nmetrics: " + fmt::format("{}", fmt::join(boosting_metrics(), ", "));
}

Model fit(const std::string& estimator, const Dataset& data, const Settings& settings, const FitInputs& inputs) {
  for (const Known& known : table()) {
    if (known.name != estimator) continue;
    if (estimator != "gradient_boosting" && (inputs.validation || inputs.start))
      detail::fail(errc::invalid_argument, fmt::format("{} takes no {}: only gradient_boosting does", estimator,
                                                       inputs.validation ? "--validation" : "--start"));
    std::optional<Arena> arena;
    if (inputs.threads > 0) arena.emplace(inputs.threads);
    Reader reader(estimator, settings);
    return known.fit(reader, data, inputs, arena ? &*arena : nullptr);
  }
  detail::fail(errc::invalid_argument,
               fmt::format("unknown estimator '{}'; known: {}", estimator, fmt::join(estimators(), ", ")));
}

StreamedFit fit_stream(const std::string& estimator, const DataArguments& data, std::size_t sample_rows, double holdout,
                       std::uint64_t seed, const Settings& settings, const FitInputs& inputs) {
  if (estimator != "mlp") {
    detail::fail(errc::invalid_argument,
                 fmt::format("--stream: {} needs all rows at once; of the estimators only mlp does not", estimator));
  }
  for (const char* ending : {".arff", ".libsvm", ".svm", ".npz", ".npy"}) {
    if (data.file.ends_with(ending))
      detail::fail(errc::invalid_argument,
                   fmt::format("--stream: {} is no delimited text, which alone can be streamed here", data.file));
  }
  if (data.target.empty()) detail::fail(errc::invalid_argument, "--stream needs a --target");
  std::optional<Arena> arena;
  if (inputs.threads > 0) arena.emplace(inputs.threads);
  Reader reader(estimator, settings);
  MlpOptions options;
  take(reader, options);
  reader.finish();
  options.progress = inputs.progress;
  options.arena = arena ? &*arena : nullptr;

  const CsvOptions form = csv_options(data);
  Dataset sample = read_csv_sample(data.file, form, sample_rows, seed);
  Dataset held_out;
  StreamedFit result;
  if (holdout > 0) std::tie(sample, result.test) = sample.split(holdout, seed);
  if (options.patience > 0) std::tie(sample, held_out) = sample.split(options.validation_fraction, seed + 1);
  std::vector<RowId> without(result.test.row_ids().begin(), result.test.row_ids().end());
  without.insert(without.end(), held_out.row_ids().begin(), held_out.row_ids().end());
  EncoderOptions encoding = options.encoder;
  encoding.seed = options.seed;
  const Encoder encoder = Encoder::fit(sample, encoding);
  CsvRowStream rows(data.file, sample.schema(), encoder, form, std::move(without));
  result.model = Mlp{options}.fit_stream(rows, encoder, sample, held_out);
  result.test = result.test.seal();
  result.bad_rows = rows.quarantined();
  print_quarantine(rows.quarantine(), result.bad_rows);
  return result;
}

}  // namespace redoubt::cli
