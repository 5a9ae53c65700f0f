#include <fmt/format.h>

#include <iostream>
#include <memory>

#include "cli/common.hpp"
#include "redoubt/core/error.hpp"
#include "redoubt/data/split.hpp"
#include "redoubt/metrics/evaluation.hpp"
#include "redoubt/robustness/screen.hpp"

namespace redoubt::cli {

void add_train(CLI::App& app, int&) {
  struct Arguments {
    DataArguments data;
    std::string estimator = "gradient_boosting", out;
    std::vector<std::string> settings;
    double holdout = 0.2;
    std::uint64_t seed = 7;
    bool screen = false, json = false;
  };
  auto arguments = std::make_shared<Arguments>();
  auto* command = app.add_subcommand("train", "fit a model on a file and save it");
  add_data_arguments(*command, arguments->data, false);
  command->add_option("--model,-m", arguments->estimator, "which estimator")
      ->check(CLI::IsMember(estimators()))
      ->capture_default_str();
  command->add_option("--out,-o", arguments->out, "model file to write")->required();
  command->add_option("--set", arguments->settings, "an option of the estimator, name=value; hidden=64x64 for an mlp");
  command->add_option("--holdout", arguments->holdout, "share of the rows kept for the evaluation; 0: none")
      ->check(CLI::Range(0.0, 0.9))
      ->capture_default_str();
  command->add_option("--seed", arguments->seed, "of the split")->capture_default_str();
  command->add_flag("--screen", arguments->screen, "leave out the rows that the poisoning checks block");
  command->add_flag("--json", arguments->json, "print the result as JSON");
  command->callback([arguments] {
    const Dataset data = read(arguments->data);
    print_quarantine(data);
    Dataset train = data, test;
    // An isolation forest predicts no target, so a holdout would have nothing to be compared with.
    const bool has_target = data.task() != Task::none && arguments->estimator != "isolation_forest";
    if (arguments->holdout > 0 && has_target) {
      std::tie(train, test) = data.split(arguments->holdout, arguments->seed);
      test = test.seal();
    }
    std::size_t blocked = 0;
    if (arguments->screen) {
      const auto rows = screen(train).blocked();
      blocked = rows.size();
      train = train.without(rows);
    }
    TerminalProgress progress;
    const Model model = fit(arguments->estimator, train, parse_settings(arguments->settings), &progress);
    model.save(arguments->out);
    nlohmann::json result = {{"model", arguments->out},
                             {"algorithm", model.info().algorithm},
                             {"train_rows", train.rows()},
                             {"blocked_rows", blocked},
                             {"test_rows", test.rows()},
                             {"quarantined_rows", data.quarantine().size()},
                             {"data_hash", model.info().data_hash}};
    if (test.rows() > 0) {
      const Evaluation evaluation = model.evaluate(test);
      if (!arguments->json) std::cout << evaluation << '\n';
      result["evaluation"] = nlohmann::json::parse(evaluation.to_json());
    }
    if (arguments->json)
      print(result);
    else
      std::cout << fmt::format("{} fitted on {} rows, saved as {}\n", model.info().algorithm, train.rows(),
                               arguments->out);
  });
}

}  // namespace redoubt::cli
