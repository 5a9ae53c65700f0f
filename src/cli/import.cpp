#include <fmt/format.h>

#include <fstream>
#include <iostream>
#include <memory>

#include "cli/common.hpp"
#include "redoubt/core/error.hpp"
#include "redoubt/interop/lightgbm.hpp"
#include "redoubt/interop/xgboost.hpp"

namespace redoubt::cli {

void add_import(CLI::App& app, int&) {
  struct Arguments {
    std::string file, out = "model.redoubt";
    bool best = false, json = false;
  };
  auto arguments = std::make_shared<Arguments>();
  auto* command = app.add_subcommand("import", "take over a model of LightGBM (text) or XGBoost (JSON, UBJ)");
  command->add_option("FILE", arguments->file, "what save_model of the other library wrote")->required();
  command->add_option("--out,-o", arguments->out, "model file to write")->capture_default_str();
  command->add_flag("--best-iteration", arguments->best,
                    "XGBoost: only the trees up to the best iteration of early stopping");
  command->add_flag("--json", arguments->json, "print what was taken over as JSON");
  command->callback([arguments] {
    std::ifstream file(arguments->file, std::ios::binary);
    char head[4] = {};
    file.read(head, sizeof head);
    const bool lightgbm = std::string_view(head, sizeof head) == "tree";
    const Model model =
        lightgbm ? read_lightgbm(arguments->file) : read_xgboost(arguments->file, {.best_iteration = arguments->best});
    model.save(arguments->out);
    if (arguments->json)
      print({{"model", arguments->out},
             {"hash", model.hash()},
             {"algorithm", model.info().algorithm},
             {"options", model.info().options},
             {"task", to_string(model.task())},
             {"features", describe(model.schema())}});
    else
      std::cout << fmt::format("{} model of {} columns ({}), saved as {}\n", model.info().algorithm, model.inputs(),
                               model.info().options, arguments->out);
  });
}

}  // namespace redoubt::cli
