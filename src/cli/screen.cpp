#include <fmt/format.h>

#include <iostream>
#include <memory>

#include "cli/common.hpp"
#include "redoubt/data/csv.hpp"
#include "redoubt/lifecycle/html_report.hpp"
#include "redoubt/robustness/calibrate.hpp"
#include "redoubt/robustness/report.hpp"
#include "redoubt/robustness/screen.hpp"

namespace redoubt::cli {

void add_screen(CLI::App& app, int& exit_code) {
  struct Arguments {
    DataArguments data;
    std::string out, html;
    std::uint64_t seed = 0;
    bool no_calibration = false, json = false;
  };
  auto arguments = std::make_shared<Arguments>();
  auto* command = app.add_subcommand(
      "screen",
      "look for poison in rows that are about to be trained on, per row and per source; exit code 1 if any is blocked");
  add_data_arguments(*command, arguments->data, true);
  command->add_option("--out,-o", arguments->out, "CSV file for the rows that are not blocked");
  command->add_option("--report", arguments->html,
                      "HTML file: what was checked, what could not be, measured detection, limits");
  command->add_option("--seed", arguments->seed, "of the folds and of the planted flips")->capture_default_str();
  command->add_flag("--no-calibration", arguments->no_calibration,
                    "do not plant known flips to measure what the checks find here (it doubles the time)");
  command->add_flag("--json", arguments->json, "print the result as JSON");
  command->callback([arguments, &exit_code] {
    const Dataset data = read(arguments->data);
    print_quarantine(data);
    TerminalProgress progress;
    ScreenOptions options;
    options.seed = arguments->seed;
    options.progress = &progress;
    ScreenReport report = screen(data, options);
    if (!arguments->no_calibration && data.task() == Task::classification) calibrate(report, data, options);
    if (!arguments->out.empty()) write_csv(data.without(report.blocked()), arguments->out);
    if (!arguments->html.empty()) {
      RobustnessReport robustness;
      robustness.subject = arguments->data.file;
      robustness.origins = {{"data", arguments->data.file}, {"data hash", data.hash()}};
      robustness.add(report);
      HtmlReport html("Robustness report", robustness.subject);
      html.robustness(robustness).write(arguments->html);
    }
    if (arguments->json)
      print(nlohmann::json::parse(report.to_json()));
    else
      std::cout << report;
    exit_code = report.blocked().empty() ? done : said_no;
  });
}

}  // namespace redoubt::cli
