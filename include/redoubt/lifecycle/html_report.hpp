#pragma once
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "redoubt/fwd.hpp"
#include "redoubt/lifecycle/lineage.hpp"
#include "redoubt/robustness/verdict.hpp"

namespace redoubt {

struct CertifiedAccuracy;
struct GateReport;
struct PartitionEvaluation;
struct RobustnessReport;
struct SensitivityReport;

/// One line of a chart. `low` and `high` draw a band when both have as many values as `y`.
struct ChartLine {
  std::string name;
  std::vector<double> x, y, low, high;
};

struct Chart {
  std::string title, x_label, y_label;
  std::vector<ChartLine> lines;
  bool y_from_zero_to_one = true;  ///< false: the axis fits the values
};

/// One horizontal bar; `marked` ones are drawn in the warning colour.
struct Bar {
  std::string label;
  double value = 0;
  bool marked = false;
  std::string note;  ///< shown after the value
};

/// A report as one self-contained HTML file: pictures are inline SVG, there are no scripts and nothing is fetched, so
/// it can be mailed and kept. Everything appears in the order of the calls. All text is escaped; every picture has a
/// title and a description for screen readers, and its numbers beside it or in a table. Not thread-safe.
class HtmlReport {
 public:
  explicit HtmlReport(std::string_view title, std::string_view subtitle = {});

  HtmlReport& section(std::string_view heading, std::string_view text = {});
  HtmlReport& paragraph(std::string_view text);
  /// Rows of cells; a row shorter than `columns` is filled with empty cells. Cells that are numbers are right-aligned.
  HtmlReport& table(std::string_view caption, const std::vector<std::string>& columns,
                    const std::vector<std::vector<std::string>>& rows);

  HtmlReport& metrics(const Evaluation& evaluation, std::string_view caption = "Metrics");
  HtmlReport& confusion(const Evaluation& evaluation, std::string_view title = "Confusion matrix");
  HtmlReport& reliability(const Evaluation& evaluation, std::string_view title = "Reliability");
  HtmlReport& roc(const Evaluation& evaluation, std::string_view title = "ROC curve");
  HtmlReport& chart(const Chart& chart);
  /// Robustness curves: the metric against the size of each perturbation.
  HtmlReport& robustness(const SensitivityReport& report, std::string_view title = "Robustness");
  /// Share of the rows that is proved right, and not broken, against the radius.
  HtmlReport& certificate(const CertifiedAccuracy& report, std::string_view title = "Certified against changed inputs");
  /// Share of the rows that is right whatever so many changes of the training data do.
  HtmlReport& certificate(const PartitionEvaluation& report,
                          std::string_view title = "Certified against poisoned training data");
  /// Every section of a robustness report: outcome, what was checked, what could not be checked and why, measured
  /// detection per check, sources, robustness curves, certificates, limits.
  HtmlReport& robustness(const RobustnessReport& report);
  /// For example suspicion per source. At most `limit` bars are drawn, in the given order; the caption says so.
  HtmlReport& bars(std::string_view title, const std::vector<Bar>& bars, std::size_t limit = 20);
  /// Stages, datasets, models and releases, data flowing downwards; verdicts are counted at their stage.
  HtmlReport& lineage(const LineageGraph& graph, std::string_view title = "Lineage");

  /// Table of outcomes; the findings of each verdict (at most `findings`) fold out below it.
  HtmlReport& verdicts(std::span<const Verdict> verdicts, std::string_view caption = "Checks",
                       std::size_t findings = 10);
  HtmlReport& gate(const GateReport& report);

  std::string str() const;
  /// Atomic; Error(io_error) leaves what was there.
  void write(const std::string& path) const;

 private:
  void figure(std::string_view title, const std::string& svg, std::string_view caption);
  std::string title_, subtitle_, body_;
  int ids_ = 0;
};

}  // namespace redoubt
