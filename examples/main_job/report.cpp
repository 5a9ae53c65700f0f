// The HTML report of the main job.
#include <cstdio>

#include "job.hpp"

namespace job {

namespace {

std::string percent(double share) {
  char text[32];
  std::snprintf(text, sizeof text, "%.2f %%", 100 * share);
  return text;
}

}  // namespace

void write_report(const Story& story, const std::string& path) {
  const Input& input = story.input;
  HtmlReport html("Redoubt: the main job", input.origin + ", on " + cpu_description());
  if (input.simulated)
    html.paragraph(
        "The marketplace is simulated: the figures say that the job works, not how it would fare on your data.");

  html.section("Data", std::to_string(input.data.rows()) + " rows. Planted: " + input.planted + ".");
  std::vector<std::vector<std::string>> quarantine;
  for (const QuarantinedRow& row : input.data.quarantine())
    quarantine.push_back({row.file, std::to_string(row.line), std::to_string(row.column), row.reason});
  if (!quarantine.empty()) html.table("Quarantined rows", {"file", "line", "field", "reason"}, quarantine);

  html.section("Screening", "Found " + std::to_string(story.found.found) + " of " +
                                std::to_string(story.found.planted) + " planted rows (" + percent(story.found.recall) +
                                "), with " + std::to_string(story.found.false_alarms) + " false alarms among " +
                                std::to_string(story.found.clean) + " other rows (" +
                                percent(story.found.false_positive_rate) + ").");
  html.verdicts(story.screened.verdicts());
  std::vector<Bar> bars;
  for (const SourceSuspicion& source : story.screened.sources()) {
    if (source.suspicious == 0) continue;
    bars.push_back({source.source, source.score, source.q_value < 0.01,
                    std::to_string(source.suspicious) + " of " + std::to_string(source.rows) + " rows"});
  }
  if (!bars.empty()) html.bars("Suspicion per source", bars);

  html.section("The released model on the sealed holdout");
  html.metrics(story.evaluation);
  if (story.evaluation.task() == Task::classification) {
    html.confusion(story.evaluation);
    html.reliability(story.evaluation);
    if (!story.evaluation.roc().empty()) html.roc(story.evaluation);
  }
  html.robustness(story.sensitivity);

  html.section("Release");
  html.gate(story.accepted);
  html.section("The prober");
  html.verdicts({&story.monitor, 1}, "Query monitor");
  html.section("The poisoned retraining",
               "Refused by the gate; forced out all the same to show the damage; rolled back.");
  html.gate(story.refused);
  html.metrics(story.damaged, "The forced model on the same holdout");
  html.section("Lineage");
  html.lineage(story.lineage);
  html.write(path);
}

}  // namespace job
