#include "cli/common.hpp"

#include <fmt/format.h>
#include <unistd.h>

#include <charconv>
#include <iostream>

#include "redoubt/core/error.hpp"
#include "redoubt/data/read.hpp"
#include "redoubt/linear/logistic_regression.hpp"
#include "redoubt/linear/ridge.hpp"
#include "redoubt/nn/mlp.hpp"
#include "redoubt/trees/extra_trees.hpp"
#include "redoubt/trees/gradient_boosting.hpp"
#include "redoubt/trees/isolation_forest.hpp"
#include "redoubt/trees/random_forest.hpp"

namespace redoubt::cli {

void add_data_arguments(CLI::App& app, DataArguments& arguments, bool needs_target) {
  app.add_option("FILE", arguments.file, "CSV, TSV, .arff, .npz, .npy or .libsvm file")->required();
  auto* target = app.add_option("--target,-t", arguments.target, "column to predict");
  if (needs_target) target->required();
  app.add_option("--source", arguments.source, "column that says who supplied a row (an account, a partner)");
  app.add_option("--time", arguments.time, "column that says when a row arose");
  app.add_option("--weight", arguments.weight, "column of sample weights");
  app.add_option("--ignore", arguments.ignore, "columns that are never features");
  app.add_option("--type", arguments.types, "NAME=numeric|categorical|text|timestamp: a type that is not inferred");
  app.add_option("--delimiter", arguments.delimiter, "field delimiter; default: the best of , tab ; |");
  app.add_option("--target-suffix", arguments.target_suffix, "cut from target cells that end in it");
  app.add_flag("--no-quotes", arguments.no_quotes, "quotes are ordinary characters");
  app.add_flag("--no-header", arguments.no_header, "the first row is data; columns are c1, c2, ...");
  app.add_flag("--strict", arguments.strict, "stop at the first bad row instead of setting it aside");
}

namespace {

ColumnType column_type(const std::string& name) {
  for (ColumnType type : {ColumnType::numeric, ColumnType::categorical, ColumnType::text, ColumnType::timestamp})
    if (name == to_string(type)) return type;
  detail::fail(errc::invalid_argument,
               fmt::format("unknown column type '{}': numeric, categorical, text or timestamp", name));
}

/// Takes settings out of the map one by one; what is left at the end was unknown.
class Reader {
 public:
  explicit Reader(Settings settings) : settings_(std::move(settings)) {}

  template <class T>
  void take(const std::string& name, T& value) {
    known_ += (known_.empty() ? "" : ", ") + name;
    const auto found = settings_.find(name);
    if (found == settings_.end()) return;
    const std::string& text = found->second;
    if constexpr (std::is_same_v<T, std::vector<std::uint32_t>>) {
      value.clear();
      for (std::size_t begin = 0; begin <= text.size();) {
        const std::size_t end = std::min(text.find('x', begin), text.size());
        value.push_back(number<std::uint32_t>(name, text.substr(begin, end - begin)));
        begin = end + 1;
      }
    } else {
      value = number<T>(name, text);
    }
    settings_.erase(found);
  }

  void finish(const std::string& estimator) const {
    if (settings_.empty()) return;
    detail::fail(errc::invalid_argument,
                 fmt::format("{} has no setting '{}'; it has: {}", estimator, settings_.begin()->first, known_));
  }

 private:
  template <class T>
  static T number(const std::string& name, const std::string& text) {
    T value{};
    const auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), value);
    if (error != std::errc{} || end != text.data() + text.size())
      detail::fail(errc::invalid_argument, fmt::format("setting '{}': '{}' is not a number it can take", name, text));
    return value;
  }

  Settings settings_;
  std::string known_;
};

}  // namespace

Dataset read(const DataArguments& arguments) {
  CsvOptions options;
  options.target = arguments.target;
  options.source = arguments.source;
  options.time = arguments.time;
  options.weight = arguments.weight;
  options.ignore = arguments.ignore;
  options.target_suffix = arguments.target_suffix;
  options.quoting = !arguments.no_quotes;
  if (arguments.no_header) options.header = Header::absent;
  if (arguments.strict) options.bad_rows = BadRows::error;
  if (!arguments.delimiter.empty()) {
    const std::string name = arguments.delimiter == "\\t" || arguments.delimiter == "tab" ? "\t" : arguments.delimiter;
    if (name.size() != 1) detail::fail(errc::invalid_argument, "--delimiter takes one character, or tab");
    options.delimiter = name[0];
  }
  for (const std::string& assignment : arguments.types) {
    const std::size_t equal = assignment.rfind('=');
    if (equal == std::string::npos)
      detail::fail(errc::invalid_argument, fmt::format("--type takes NAME=TYPE, got '{}'", assignment));
    options.types.emplace_back(assignment.substr(0, equal), column_type(assignment.substr(equal + 1)));
  }
  return read_file(arguments.file, options);
}

Settings parse_settings(const std::vector<std::string>& assignments) {
  Settings settings;
  for (const std::string& assignment : assignments) {
    const std::size_t equal = assignment.find('=');
    if (equal == std::string::npos || equal == 0)
      detail::fail(errc::invalid_argument, fmt::format("--set takes name=value, got '{}'", assignment));
    settings[assignment.substr(0, equal)] = assignment.substr(equal + 1);
  }
  return settings;
}

const std::vector<std::string>& estimators() {
  static const std::vector<std::string> names = {"gradient_boosting",   "random_forest", "extra_trees",     "mlp",
                                                 "logistic_regression", "ridge",         "isolation_forest"};
  return names;
}

namespace {

template <class Estimator, class Options>
Model bagging(const std::string& name, Reader& reader, const Dataset& data, ProgressSink* progress) {
  Options options;
  reader.take("trees", options.trees);
  reader.take("max_depth", options.max_depth);
  reader.take("max_leaves", options.max_leaves);
  reader.take("min_leaf_rows", options.min_leaf_rows);
  reader.take("max_features", options.max_features);
  reader.take("seed", options.seed);
  reader.finish(name);
  options.progress = progress;
  return Estimator{options}.fit(data);
}

}  // namespace

Model fit(const std::string& estimator, const Dataset& data, Settings settings, ProgressSink* progress) {
  Reader reader(std::move(settings));
  if (estimator == "gradient_boosting") {
    GradientBoostingOptions options;
    reader.take("trees", options.trees);
    reader.take("learning_rate", options.learning_rate);
    reader.take("max_leaves", options.max_leaves);
    reader.take("max_depth", options.max_depth);
    reader.take("min_leaf_rows", options.min_leaf_rows);
    reader.take("l1", options.l1);
    reader.take("l2", options.l2);
    reader.take("scale_pos_weight", options.scale_pos_weight);
    reader.take("row_fraction", options.row_fraction);
    reader.take("column_fraction", options.column_fraction);
    reader.take("early_stopping_rounds", options.early_stopping_rounds);
    reader.take("seed", options.seed);
    reader.finish(estimator);
    options.progress = progress;
    return GradientBoosting{options}.fit(data);
  }
  if (estimator == "random_forest")
    return bagging<RandomForest, RandomForestOptions>(estimator, reader, data, progress);
  if (estimator == "extra_trees") return bagging<ExtraTrees, ExtraTreesOptions>(estimator, reader, data, progress);
  if (estimator == "mlp") {
    MlpOptions options;
    reader.take("hidden", options.hidden);
    reader.take("epochs", options.epochs);
    reader.take("batch", options.batch);
    reader.take("learning_rate", options.learning_rate);
    reader.take("l2", options.l2);
    reader.take("dropout", options.dropout);
    reader.take("patience", options.patience);
    reader.take("seed", options.seed);
    reader.finish(estimator);
    options.progress = progress;
    return Mlp{options}.fit(data);
  }
  if (estimator == "logistic_regression") {
    LogisticRegressionOptions options;
    reader.take("l2", options.l2);
    reader.take("max_iterations", options.max_iterations);
    reader.take("tolerance", options.tolerance);
    reader.finish(estimator);
    return LogisticRegression{options}.fit(data);
  }
  if (estimator == "ridge") {
    RidgeOptions options;
    reader.take("l2", options.l2);
    reader.finish(estimator);
    return Ridge{options}.fit(data);
  }
  if (estimator == "isolation_forest") {
    IsolationForestOptions options;
    reader.take("trees", options.trees);
    reader.take("subsample", options.subsample);
    reader.take("max_features", options.max_features);
    reader.take("seed", options.seed);
    reader.finish(estimator);
    return IsolationForest{options}.fit(data);
  }
  detail::fail(errc::invalid_argument,
               fmt::format("unknown estimator '{}'; known: {}", estimator, fmt::join(estimators(), ", ")));
}

void TerminalProgress::update(std::string_view stage, std::size_t done, std::size_t total) {
  static const bool terminal = ::isatty(STDERR_FILENO) == 1;
  if (!terminal) return;
  std::cerr << fmt::format("\r{}: {} of {}   ", stage, done, total) << (done == total ? "\n" : "") << std::flush;
}

void print(const nlohmann::json& json) { std::cout << json.dump(2) << '\n'; }

void print_quarantine(const Dataset& data, std::size_t most) {
  const auto& rows = data.quarantine();
  if (rows.empty()) return;
  std::cerr << rows.size() << " bad rows set aside:\n";
  for (std::size_t i = 0; i < std::min(most, rows.size()); ++i)
    std::cerr << fmt::format("  {}:{}: field {}: {}\n", rows[i].file, rows[i].line, rows[i].column, rows[i].reason);
  if (rows.size() > most) std::cerr << "  ...\n";
}

nlohmann::json describe(const Schema& schema) {
  auto columns = nlohmann::json::array();
  for (const ColumnSpec& spec : schema.columns()) {
    nlohmann::json column = {{"name", spec.name}, {"type", to_string(spec.type)}, {"role", to_string(spec.role)}};
    if (spec.type == ColumnType::categorical) column["categories"] = spec.categories.size();
    columns.push_back(column);
  }
  return columns;
}

}  // namespace redoubt::cli
