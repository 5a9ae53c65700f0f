#include <fmt/format.h>

#include <iostream>
#include <iterator>
#include <memory>

#include "cli/common.hpp"
#include "redoubt/core/error.hpp"
#include "redoubt/data/split.hpp"
#include "redoubt/metrics/evaluation.hpp"
#include "redoubt/robustness/screen.hpp"
#include "redoubt/trees/boosting_metric.hpp"

namespace redoubt::cli {
namespace {

/// Settings that have an option of their own.
struct Shortcut {
  const char *option, *setting, *help;
};
constexpr Shortcut shortcuts[] = {
    {"--trees", "trees", "trees or rounds of boosting"},
    {"--learning-rate", "learning_rate", "share of its step that each round makes"},
    {"--leaves", "max_leaves", "most leaves of a tree"},
    {"--depth", "max_depth", "most splits on a path; 0: no limit"},
    {"--min-leaf-rows", "min_leaf_rows", "fewest rows of a leaf"},
    {"--bins", "max_bins", "bins per column, 2 to 255"},
    {"--loss", "loss", "what boosting minimises, see below; default: what fits the target"},
    {"--metric", "metrics", "measured after each round on the validation rows; the first one decides when to stop"},
    {"--early-stopping", "early_stopping_rounds", "stop after so many rounds without a better metric"},
    {"--row-fraction", "row_fraction", "share of the rows drawn for each round"},
    {"--column-fraction", "column_fraction", "share of the columns drawn for each tree"},
    {"--monotone", "monotone", "COLUMN:1 or COLUMN:-1: the prediction may only rise or fall with it"},
    {"--interactions", "interactions", "COLUMN,COLUMN,...: a group that may occur on one path; others may not"},
};

/// "auc 0.93 after round 37 of 50": of the best round by the first metric.
nlohmann::json describe(const BoostingHistory& history) {
  nlohmann::json result = {{"rounds", history.values.size()}};
  if (history.values.empty() || history.values[0].empty()) return result;
  const bool more = higher_is_better(history.metrics[0]);
  std::size_t best = 0;
  for (std::size_t round = 1; round < history.values.size(); ++round) {
    const double value = history.values[round][0], so_far = history.values[best][0];
    if (more ? value > so_far : value < so_far) best = round;
  }
  result["best_round"] = best + 1;
  for (std::size_t m = 0; m < history.metrics.size(); ++m) {
    auto values = nlohmann::json::array();
    for (const auto& round : history.values) values.push_back(round[m]);
    result["metrics"][history.metrics[m]] = {{"best", history.values[best][m]}, {"values", values}};
  }
  return result;
}

void print_history(const nlohmann::json& history) {
  if (!history.contains("metrics")) return;
  std::cout << fmt::format("best round {} of {}:", history["best_round"].get<std::size_t>(),
                           history["rounds"].get<std::size_t>());
  for (const auto& [name, metric] : history["metrics"].items())
    std::cout << fmt::format(" {} {:.6g}", name, metric["best"].get<double>());
  std::cout << '\n';
}

struct Arguments {
  DataArguments data;
  std::string estimator = "gradient_boosting", out, validation, start, importance;
  std::vector<std::string> settings, values[std::size(shortcuts)];
  double holdout = 0.2;
  std::uint64_t seed = 7;
  std::size_t sample = 100'000;
  int threads = 0;
  bool screen = false, stream = false, json = false;
};

struct Trained {
  Model model;
  Dataset test;  ///< rows for the evaluation
  std::uint64_t train_rows = 0;
  std::size_t blocked = 0;
  std::uint64_t quarantined = 0;
};

Trained train_streamed(const Arguments& arguments, const Settings& settings, const FitInputs& inputs) {
  if (arguments.screen) detail::fail(errc::invalid_argument, "--stream: --screen needs all rows at once");
  if (!arguments.validation.empty() || !arguments.start.empty())
    detail::fail(errc::invalid_argument, fmt::format("mlp takes no {}: only gradient_boosting does",
                                                     arguments.start.empty() ? "--validation" : "--start"));
  StreamedFit fitted = fit_stream(arguments.estimator, arguments.data, arguments.sample, arguments.holdout,
                                  arguments.seed, settings, inputs);
  const std::uint64_t rows = fitted.model.info().train_rows;
  return {std::move(fitted.model), std::move(fitted.test), rows, 0, fitted.bad_rows};
}

Trained train_whole(const Arguments& arguments, const Settings& settings, FitInputs inputs) {
  const Dataset data = read(arguments.data);
  print_quarantine(data);
  Dataset train = data;
  Trained result{.quarantined = data.quarantine().size()};
  // An isolation forest predicts no target, so a holdout would have nothing to be compared with.
  const bool has_target = data.task() != Task::none && arguments.estimator != "isolation_forest";
  if (arguments.holdout > 0 && has_target) {
    std::tie(train, result.test) = data.split(arguments.holdout, arguments.seed);
    result.test = result.test.seal();
  }
  if (arguments.screen) {
    const auto rows = screen(train).blocked();
    result.blocked = rows.size();
    train = train.without(rows);
  }
  result.train_rows = train.rows();
  Dataset validation;
  Model start;
  if (!arguments.validation.empty()) {
    DataArguments like = arguments.data;
    like.file = arguments.validation;
    validation = read(like);
    print_quarantine(validation);
    inputs.validation = &validation;
  }
  if (!arguments.start.empty()) {
    start = Model::load(arguments.start);
    inputs.start = &start;
  }
  result.model = fit(arguments.estimator, train, settings, inputs);
  return result;
}

}  // namespace

void add_train(CLI::App& app, int&) {
  auto arguments = std::make_shared<Arguments>();
  auto* command = app.add_subcommand("train", "fit a model on a file and save it");
  command->footer(settings_help());
  add_data_arguments(*command, arguments->data, false);
  command->add_option("--model,-m", arguments->estimator, "which estimator")
      ->check(CLI::IsMember(estimators()))
      ->capture_default_str();
  command->add_option("--out,-o", arguments->out, "model file to write")->required();
  for (std::size_t i = 0; i < std::size(shortcuts); ++i)
    command->add_option(shortcuts[i].option, arguments->values[i], shortcuts[i].help)
        ->allow_extra_args(false)
        ->type_name("");
  command->add_option("--set", arguments->settings, "any option of the estimator, name=value, see below")
      ->allow_extra_args(false);
  command->add_option("--validation", arguments->validation,
                      "boosting: a file like FILE for metrics and early stopping; default: some rows of FILE");
  command->add_option("--start", arguments->start, "boosting: a model to which rounds are added");
  command->add_option("--holdout", arguments->holdout, "share of the rows kept for the evaluation; 0: none")
      ->check(CLI::Range(0.0, 0.9))
      ->capture_default_str();
  command->add_option("--seed", arguments->seed, "of the split")->capture_default_str();
  command->add_option("--threads", arguments->threads, "0: one per CPU")
      ->check(CLI::Range(0, 1024))
      ->capture_default_str();
  add_importance(*command, arguments->importance);
  command->add_flag("--screen", arguments->screen, "leave out the rows that the poisoning checks block");
  command->add_flag(
      "--stream", arguments->stream,
      "mlp, delimited text: the file may be larger than memory; rows pass in its order (shuffle it), the "
      "holdout and what early stopping looks at come from a sample, and rows elsewhere that equal them are learned");
  command
      ->add_option("--sample", arguments->sample,
                   "with --stream: rows that types, encoding, holdout and early stopping are taken from")
      ->check(CLI::Range(std::size_t{10}, std::size_t{1} << 40))
      ->capture_default_str();
  command->add_flag("--json", arguments->json, "print the result as JSON");
  command->callback([arguments] {
    Settings settings;
    parse_settings(arguments->settings, settings);
    for (std::size_t i = 0; i < std::size(shortcuts); ++i) {
      if (arguments->values[i].empty()) continue;
      if (settings.contains(shortcuts[i].setting))
        detail::fail(errc::invalid_argument,
                     fmt::format("{} and --set {}= say the same", shortcuts[i].option, shortcuts[i].setting));
      settings[shortcuts[i].setting] = arguments->values[i];
    }
    const auto loss = settings.find("loss");
    if (arguments->holdout > 0 && loss != settings.end() && loss->second.back() == "lambdarank")
      detail::fail(errc::invalid_argument,
                   "--loss lambdarank: a holdout would cut queries; give --holdout 0, and --validation for metrics");
    TerminalProgress progress;
    BoostingHistory history;
    const FitInputs inputs{.history = &history, .threads = arguments->threads, .progress = &progress};
    const Trained trained =
        arguments->stream ? train_streamed(*arguments, settings, inputs) : train_whole(*arguments, settings, inputs);
    const Model& model = trained.model;
    nlohmann::json result = {{"model", arguments->out},
                             {"algorithm", model.info().algorithm},
                             {"train_rows", trained.train_rows},
                             {"blocked_rows", trained.blocked},
                             {"test_rows", trained.test.rows()},
                             {"quarantined_rows", trained.quarantined},
                             {"data_hash", model.info().data_hash}};
    if (!arguments->importance.empty()) result["importance"] = importance_of(model, arguments->importance);
    if (!history.values.empty()) result["boosting"] = describe(history);
    model.save(arguments->out);
    if (trained.test.rows() > 0) {
      const Evaluation evaluation = model.evaluate(trained.test);
      if (!arguments->json) std::cout << evaluation << '\n';
      result["evaluation"] = nlohmann::json::parse(evaluation.to_json());
    }
    if (arguments->json) {
      print(result);
      return;
    }
    if (result.contains("boosting")) print_history(result["boosting"]);
    if (result.contains("importance")) {
      std::cout << fmt::format("importance ({}):\n", arguments->importance);
      print_importance(result["importance"]);
    }
    std::cout << fmt::format("{} fitted on {} rows, saved as {}\n", model.info().algorithm, trained.train_rows,
                             arguments->out);
  });
}

}  // namespace redoubt::cli
