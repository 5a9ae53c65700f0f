#include <iostream>
#include <memory>

#include "cli/common.hpp"
#include "redoubt/core/cpu.hpp"
#include "redoubt/lifecycle/html_report.hpp"
#include "redoubt/metrics/evaluation.hpp"
#include "redoubt/robustness/certify/certified_accuracy.hpp"
#include "redoubt/robustness/evasion/sensitivity.hpp"
#include "redoubt/robustness/report.hpp"

namespace redoubt::cli {

void add_report(CLI::App& app, int&) {
  struct Arguments {
    std::string model, out = "report.html";
    DataArguments data;
    bool json = false;
  };
  auto arguments = std::make_shared<Arguments>();
  auto* command =
      app.add_subcommand("report", "an HTML report with pictures: how good and how robust a model is on labelled rows");
  command->add_option("MODEL", arguments->model, "model file")->required();
  add_data_arguments(*command, arguments->data, true);
  command->add_option("--out,-o", arguments->out, "HTML file to write")->capture_default_str();
  command->add_flag("--json", arguments->json, "print what was measured as JSON, too");
  command->callback([arguments] {
    const Model model = Model::load(arguments->model);
    const Dataset data = read(arguments->data);
    print_quarantine(data);
    const Evaluation evaluation = model.evaluate(data);
    const SensitivityReport curves = sensitivity(model, data);
    HtmlReport html("Model report: " + arguments->model, arguments->data.file + ", " + cpu_description());
    const ModelInfo& info = model.info();
    html.section("Origin");
    html.table("Model", {"what", "value"},
               {{"algorithm", info.algorithm},
                {"options", info.options},
                {"training rows", std::to_string(info.train_rows)},
                {"data hash", info.data_hash},
                {"lineage id", info.lineage_id},
                {"library", info.library_version + ", " + info.isa},
                {"model hash", model.hash()}});
    html.section("Quality", std::to_string(data.rows()) + " rows");
    html.metrics(evaluation);
    if (model.task() == Task::classification) {
      html.confusion(evaluation).reliability(evaluation);
      if (!evaluation.roc().empty()) html.roc(evaluation);
    }
    RobustnessReport robustness;
    robustness.subject = arguments->model + " on " + arguments->data.file;
    robustness.curves = {curves};
    if (model.task() == Task::classification) try {
        robustness.certificates = {certify(model, data, {.max_rows = 200})};
      } catch (const Error& error) {
        if (error.code() != errc::unsupported) throw;
        robustness.remarks.push_back(std::string("Nothing was certified: ") + error.what());
      }
    html.robustness(robustness);
    html.write(arguments->out);
    if (arguments->json)
      print({{"report", arguments->out},
             {"evaluation", nlohmann::json::parse(evaluation.to_json())},
             {"sensitivity", nlohmann::json::parse(curves.to_json())},
             {"robustness", nlohmann::json::parse(robustness.to_json())}});
    else
      std::cout << evaluation << '\n' << robustness << "report: " << arguments->out << '\n';
  });
}

}  // namespace redoubt::cli
