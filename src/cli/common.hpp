#pragma once
// What the subcommands share: data arguments, progress on a terminal, output, exit codes.
#include <CLI/CLI.hpp>
#include <map>
#include <nlohmann/json.hpp>
#include <string>
#include <vector>

#include "redoubt/core/progress.hpp"
#include "redoubt/data/csv.hpp"
#include "redoubt/data/dataset.hpp"
#include "redoubt/model/model.hpp"
#include "redoubt/model/permutation.hpp"
#include "redoubt/trees/boosting_callback.hpp"

namespace redoubt::cli {

/// Exit codes, listed by `redoubt --help`.
enum Exit : int {
  done = 0,
  said_no = 1,      ///< a check, a gate or a self-test says no
  usage = 2,        ///< the command line is wrong
  bad_input = 3,    ///< a file cannot be used as asked
  system_error = 4  ///< the operating system refused, or a bug
};

struct DataArguments {
  std::string file, target, source, time, weight, delimiter, target_suffix;
  std::vector<std::string> ignore, types;
  bool strict = false, no_quotes = false, no_header = false;
};

/// Adds FILE, --target, --source, ... to a subcommand.
void add_data_arguments(CLI::App& app, DataArguments& arguments, bool needs_target);
CsvOptions csv_options(const DataArguments& arguments);
Dataset read(const DataArguments& arguments);

/// Settings of an estimator: values by name, in the order given. Of a setting that is one value the last counts.
using Settings = std::map<std::string, std::vector<std::string>>;
/// Adds name=value ones.
void parse_settings(const std::vector<std::string>& assignments, Settings& settings);
/// Names of the estimators that `fit` knows.
const std::vector<std::string>& estimators();
/// "name=default ..." of every estimator, a paragraph each.
std::string settings_help();

struct FitInputs {
  const Dataset* validation = nullptr;  ///< gradient_boosting: what metrics and early stopping look at
  const Model* start = nullptr;         ///< gradient_boosting: the model to add rounds to
  BoostingHistory* history = nullptr;   ///< gradient_boosting: gets the metrics of every round
  int threads = 0;                      ///< 0: one per CPU
  ProgressSink* progress = nullptr;
};
/// Error(invalid_argument) naming the setting that this estimator does not have, and those it has.
Model fit(const std::string& estimator, const Dataset& data, const Settings& settings, const FitInputs& inputs);

/// A network on rows of a file that need not fit in memory.
struct StreamedFit {
  Model model;
  Dataset test;  ///< rows of a sample that it did not learn
  std::uint64_t bad_rows = 0;
};
/// `holdout`: share of a sample of `sample_rows` rows that is kept for the evaluation; `seed`: of both choices. Bad
/// rows are printed. Error(invalid_argument) for what needs all rows at once.
StreamedFit fit_stream(const std::string& estimator, const DataArguments& data, std::size_t sample_rows, double holdout,
                       std::uint64_t seed, const Settings& settings, const FitInputs& inputs);

/// A line on stderr that moves; silent when stderr is not a terminal.
class TerminalProgress final : public ProgressSink {
 public:
  void update(std::string_view stage, std::size_t done, std::size_t total) override;
};

/// Prints `json` to stdout, indented.
void print(const nlohmann::json& json);
/// Prints what was quarantined, at most `most` lines, to stderr.
void print_quarantine(const Dataset& data, std::size_t most = 10);
/// The same for `count` rows, the first of which are listed.
void print_quarantine(const std::vector<QuarantinedRow>& rows, std::uint64_t count, std::size_t most = 10);
nlohmann::json describe(const Schema& schema);
/// Columns by falling importance. `print_importance` prints at most `most` of them.
nlohmann::json describe(std::vector<ColumnImportance> columns);
void print_importance(const nlohmann::json& columns, std::size_t most = 20);
/// Adds --importance: "", gain, split or cover, for `importance_of`.
void add_importance(CLI::App& app, std::string& kind);
nlohmann::json importance_of(const Model& model, const std::string& kind);

// The subcommands; each adds itself to the app and runs when it was chosen.
void add_train(CLI::App& app, int& exit_code);
void add_evaluate(CLI::App& app, int& exit_code);
void add_predict(CLI::App& app, int& exit_code);
void add_screen(CLI::App& app, int& exit_code);
void add_import(CLI::App& app, int& exit_code);
void add_inspect(CLI::App& app, int& exit_code);
void add_report(CLI::App& app, int& exit_code);
void add_lineage(CLI::App& app, int& exit_code);
void add_serve(CLI::App& app, int& exit_code);

}  // namespace redoubt::cli
