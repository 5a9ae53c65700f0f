#include <iostream>
#include <memory>

#include "cli/common.hpp"
#include "redoubt/core/error.hpp"
#include "redoubt/metrics/evaluation.hpp"

namespace redoubt::cli {

void add_evaluate(CLI::App& app, int&) {
  struct Arguments {
    std::string model;
    DataArguments data;
    bool json = false, importance = false;
  };
  auto arguments = std::make_shared<Arguments>();
  auto* command = app.add_subcommand("evaluate", "measure a model on labelled rows, with confidence intervals");
  command->add_option("MODEL", arguments->model, "model file")->required();
  add_data_arguments(*command, arguments->data, true);
  command->add_flag("--importance", arguments->importance,
                    "also how much worse it gets when a column is shuffled, for any model");
  command->add_flag("--json", arguments->json, "print the result as JSON");
  command->callback([arguments] {
    const Model model = Model::load(arguments->model);
    const Dataset data = read(arguments->data);
    print_quarantine(data);
    const Evaluation evaluation = model.evaluate(data);
    auto result = nlohmann::json::parse(evaluation.to_json());
    if (arguments->importance) result["importance"] = describe(permutation_importance(model, data));
    if (arguments->json) {
      print(result);
      return;
    }
    std::cout << evaluation << '\n';
    if (arguments->importance) {
      std::cout << "importance (loss when shuffled):\n";
      print_importance(result["importance"]);
    }
  });
}

}  // namespace redoubt::cli
