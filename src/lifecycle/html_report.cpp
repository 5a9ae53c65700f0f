#include "redoubt/lifecycle/html_report.hpp"

#include <fmt/format.h>

#include <algorithm>
#include <cmath>
#include <cstddef>

#include "lifecycle/files.hpp"
#include "lifecycle/svg.hpp"
#include "redoubt/core/error.hpp"
#include "redoubt/core/version.hpp"
#include "redoubt/lifecycle/gate.hpp"
#include "redoubt/robustness/certify/certified_accuracy.hpp"
#include "redoubt/robustness/certify/partition_ensemble.hpp"
#include "redoubt/robustness/evasion/sensitivity.hpp"
#include "redoubt/robustness/report.hpp"

namespace redoubt {

using detail::escape;

namespace {

constexpr const char* style = R"css(
:root{--ink:#1c2430;--soft:#5b6676;--line:#d9dfe7;--paper:#fff;--page:#f4f6f9;--accent:#2457a6}
*{box-sizing:border-box}
body{margin:0;background:var(--page);color:var(--ink);font:16px/1.55 system-ui,"Segoe UI",Roboto,"DejaVu Sans",sans-serif}
main{max-width:1060px;margin:0 auto;padding:40px 28px 64px}
h1{font-size:2rem;line-height:1.2;margin:0 0 6px}
h2{font-size:1.35rem;margin:52px 0 10px;padding-top:18px;border-top:2px solid var(--line)}
.subtitle{color:var(--soft);margin:0 0 28px;font-size:1.05rem}
p{max-width:72ch}
figure{display:inline-block;vertical-align:top;width:calc(50% - 20px);margin:12px 16px 12px 0;background:var(--paper);border:1px solid var(--line);border-radius:8px;padding:16px 18px 12px;
  overflow-x:auto}
figure.wide,figure.full{display:block;width:auto;margin-right:0}
@media (max-width:760px){figure{display:block;width:auto;margin-right:0}}
figcaption{font-weight:600;margin-bottom:8px}
figcaption span{display:block;font-weight:400;color:var(--soft);font-size:.88rem}
svg{display:block;width:100%;height:auto;font-family:inherit}
figure svg{min-width:320px}
figure.wide svg,figure.full svg{min-width:560px;margin:0 auto}
.tick{font-size:12px;fill:var(--soft)}.label{font-size:13px;fill:var(--ink)}.count{font-size:16px;font-weight:600}
.grid{stroke:#e9edf2}.axis{fill:none;stroke:#9aa5b4}.guide{fill:none;stroke:#9aa5b4;stroke-dasharray:5 4}
.weight{fill:#dbe4f0}
.edge{fill:none;stroke:#9aa5b4;stroke-width:1.4}.head{fill:#7c8896}
.node rect{stroke-width:1.4}.node .name{font-size:13.5px;font-weight:600;fill:var(--ink)}.node .note{font-size:10.5px;fill:var(--soft)}
.dataset rect{fill:#eef4fb;stroke:#8aa4c8}.stage rect{fill:#fff;stroke:#9aa5b4}
.model rect{fill:#fdf3e3;stroke:#c99a3e}.release rect{fill:#e8f5ec;stroke:#4f9d69}
.scroll{overflow-x:auto}
table{border-collapse:collapse;margin:16px 0;background:var(--paper);border:1px solid var(--line);font-size:.93rem}
caption{text-align:left;font-weight:600;padding:0 0 8px}
th,td{text-align:left;padding:7px 14px;border-bottom:1px solid var(--line);vertical-align:top;overflow-wrap:anywhere}
th{background:#f8fafc;color:var(--soft);font-weight:600;white-space:nowrap}
td.number{text-align:right;font-variant-numeric:tabular-nums;white-space:nowrap}
.badge{display:inline-block;border-radius:4px;padding:1px 9px;font-size:.82rem;font-weight:600;white-space:nowrap}
.pass{background:#dcf3e3;color:#14532d}.warn{background:#fdf0cf;color:#6b4a05}
.block{background:#fbdfdb;color:#8a1c10}.abstain{background:#e5e9ef;color:#39424f}
.banner{border-radius:8px;padding:14px 18px;font-weight:600;margin:16px 0}
details{margin:4px 0 0}summary{cursor:pointer;color:var(--accent);font-size:.88rem}
details ul{margin:6px 0;padding-left:20px;font-size:.88rem}
footer{margin-top:56px;color:var(--soft);font-size:.85rem}
@media print{body{background:#fff}figure,tr{break-inside:avoid}}
)css";

bool is_number(const std::string& cell) {
  return !cell.empty() && cell.find_first_not_of("0123456789.,+-eE% \u2212") == std::string::npos &&
         cell.find_first_of("0123456789") != std::string::npos;
}

std::string badge(Outcome outcome) { return fmt::format("<span class=\"badge {0}\">{0}</span>", to_string(outcome)); }

std::string number(double value) { return std::isnan(value) ? "undefined" : fmt::format("{:.4f}", value); }

}  // namespace

HtmlReport::HtmlReport(std::string_view title, std::string_view subtitle) : title_(title), subtitle_(subtitle) {}

void HtmlReport::figure(std::string_view title, const std::string& svg, std::string_view caption) {
  body_ += fmt::format("<figure><figcaption>{}<span>{}</span></figcaption>{}</figure>\n", escape(title),
                       escape(caption), svg);
}

HtmlReport& HtmlReport::section(std::string_view heading, std::string_view text) {
  body_ += fmt::format("<h2>{}</h2>\n", escape(heading));
  return text.empty() ? *this : paragraph(text);
}

HtmlReport& HtmlReport::paragraph(std::string_view text) {
  body_ += fmt::format("<p>{}</p>\n", escape(text));
  return *this;
}

HtmlReport& HtmlReport::table(std::string_view caption, const std::vector<std::string>& columns,
                              const std::vector<std::vector<std::string>>& rows) {
  body_ += fmt::format("<div class=\"scroll\"><table><caption>{}</caption><thead><tr>", escape(caption));
  for (const auto& column : columns) body_ += fmt::format("<th scope=\"col\">{}</th>", escape(column));
  body_ += "</tr></thead><tbody>\n";
  for (const auto& row : rows) {
    body_ += "<tr>";
    for (std::size_t i = 0; i < columns.size(); ++i) {
      const std::string cell = i < row.size() ? row[i] : "";
      body_ += fmt::format("<td{}>{}</td>", is_number(cell) ? " class=\"number\"" : "", escape(cell));
    }
    body_ += "</tr>\n";
  }
  body_ += "</tbody></table></div>\n";
  return *this;
}

HtmlReport& HtmlReport::metrics(const Evaluation& evaluation, std::string_view caption) {
  std::vector<std::vector<std::string>> rows;
  for (const auto& name : evaluation.names()) {
    std::string low, high;
    if (evaluation.has_interval(name)) {
      low = number(evaluation.interval(name).low);
      high = number(evaluation.interval(name).high);
    }
    rows.push_back({name, number(evaluation.value(name)), low, high});
  }
  const auto level = fmt::format("{:.0f} %", 100 * evaluation.level());
  return table(fmt::format("{} ({} rows)", caption, evaluation.rows()),
               {"metric", "value", level + " interval from", "to"}, rows);
}

HtmlReport& HtmlReport::confusion(const Evaluation& evaluation, std::string_view title) {
  if (evaluation.task() != Task::classification)
    detail::fail(errc::invalid_argument, "a confusion matrix needs a classification evaluation");
  figure(title, detail::svg_confusion(evaluation.confusion(), evaluation.classes(), fmt::format("f{}", ++ids_), title),
         "Rows of the true class; blue where the prediction is right.");
  return *this;
}

HtmlReport& HtmlReport::reliability(const Evaluation& evaluation, std::string_view title) {
  if (evaluation.task() != Task::classification)
    detail::fail(errc::invalid_argument, "a reliability curve needs a classification evaluation");
  figure(title, detail::svg_reliability(evaluation.reliability(), fmt::format("f{}", ++ids_), title),
         fmt::format("On the dashed line predictions come true as often as they say. Grey: how many rows. Calibration "
                     "error {}.",
                     number(evaluation.value("calibration_error"))));
  return *this;
}

HtmlReport& HtmlReport::roc(const Evaluation& evaluation, std::string_view title) {
  if (evaluation.roc().empty())
    detail::fail(errc::invalid_argument, "a ROC curve needs an evaluation of two classes that both occur");
  Chart plot{std::string(title), "false positive rate", "true positive rate", {}, true};
  plot.lines.emplace_back();
  for (const auto& point : evaluation.roc()) {
    plot.lines[0].x.push_back(point.false_positive_rate);
    plot.lines[0].y.push_back(point.true_positive_rate);
  }
  figure(title, detail::svg_chart(plot, fmt::format("f{}", ++ids_), true),
         fmt::format("Area {}; the dashed line is guessing.", number(evaluation.value("roc_auc"))));
  return *this;
}

HtmlReport& HtmlReport::chart(const Chart& chart) {
  for (const auto& line : chart.lines)
    if (line.x.size() != line.y.size())
      detail::fail(errc::shape_mismatch, fmt::format("chart \"{}\", line \"{}\": {} x values, {} y values", chart.title,
                                                     line.name, line.x.size(), line.y.size()));
  const bool bands =
      std::any_of(chart.lines.begin(), chart.lines.end(), [](const ChartLine& l) { return !l.low.empty(); });
  figure(chart.title, detail::svg_chart(chart, fmt::format("f{}", ++ids_), false),
         fmt::format("{} against {}{}.", chart.y_label, chart.x_label,
                     bands ? "; the band is the confidence interval" : ""));
  return *this;
}

HtmlReport& HtmlReport::robustness(const SensitivityReport& report, std::string_view title) {
  Chart curves{.title = std::string(title),
               .x_label = "size (standard deviations, or share of missing cells)",
               .y_label = report.metric,
               .lines = {}};
  for (const SensitivityCurve& curve : report.curves) {
    ChartLine& line = curves.lines.emplace_back();
    line.name = to_string(curve.perturbation);
    for (const SensitivityPoint& point : curve.points) {
      line.x.push_back(point.size);
      line.y.push_back(point.metric);
      curves.y_from_zero_to_one = curves.y_from_zero_to_one && point.metric >= 0 && point.metric <= 1;
    }
  }
  return chart(curves);
}

HtmlReport& HtmlReport::certificate(const CertifiedAccuracy& report, std::string_view title) {
  Chart curves{
      .title = std::string(title), .x_label = "radius (standard deviations)", .y_label = "share of rows", .lines = {}};
  ChartLine proved{.name = "proved right", .x = {}, .y = {}, .low = {}, .high = {}}, open = proved;
  open.name = "not broken";
  std::vector<std::vector<std::string>> rows;
  for (const CertifiedPoint& p : report.points) {
    proved.x.push_back(p.radius);
    proved.y.push_back(p.certified);
    open.x.push_back(p.radius);
    open.y.push_back(1 - p.broken);
    rows.push_back({fmt::format("{:g}", p.radius), number(p.certified), number(p.broken),
                    number(std::max(0.0, 1 - p.certified - p.broken))});
  }
  curves.lines = {std::move(proved), std::move(open)};
  chart(curves);
  return table(fmt::format("{} ({} rows, by {})", title, report.rows, report.method),
               {"radius", "proved right", "broken", "open"}, rows);
}

HtmlReport& HtmlReport::certificate(const PartitionEvaluation& report, std::string_view title) {
  Chart curve{.title = std::string(title),
              .x_label = "changed training rows (or sources)",
              .y_label = "certified accuracy",
              .lines = {}};
  ChartLine& line = curve.lines.emplace_back();
  line.name = "certified";
  for (std::size_t r = 0; r < report.certified.size(); ++r) {
    line.x.push_back(static_cast<double>(r));
    line.y.push_back(report.certified[r]);
  }
  chart(curve);
  std::vector<std::vector<std::string>> rows;
  for (std::size_t r = 0; r < report.certified.size(); r = r == 0 ? 1 : 2 * r)
    rows.push_back({std::to_string(r), number(report.certified[r])});
  return table(fmt::format("{} ({} rows, accuracy {}; half of the rows tolerate {} changes or more)", title,
                           report.rows, number(report.accuracy), report.median_tolerated),
               {"changes", "right whatever they are"}, rows);
}

HtmlReport& HtmlReport::robustness(const RobustnessReport& report) {
  body_ += fmt::format("<div class=\"banner {0}\">Outcome: {0}. {1}</div>\n", to_string(report.outcome()),
                       report.outcome() == Outcome::block     ? "Something should be stopped or taken out."
                       : report.outcome() == Outcome::warn    ? "Somebody should look at what is below."
                       : report.outcome() == Outcome::abstain ? "Some checks could not look: this is no pass."
                                                              : "Nothing was found by the checks that ran.");
  if (!report.origins.empty()) {
    std::vector<std::vector<std::string>> rows;
    for (const auto& [name, value] : report.origins) rows.push_back({name, value});
    table("What this is about", {"what", "value"}, rows);
  }
  section("What was checked", "Every check says what it found; its findings fold out.");
  std::vector<Verdict> looked, abstained;
  for (const Verdict& v : report.verdicts) (v.outcome == Outcome::abstain ? abstained : looked).push_back(v);
  looked.empty() ? paragraph("No check ran.") : verdicts(looked);

  section("What could not be checked");
  if (abstained.empty()) paragraph("Every check had what it needs.");
  std::vector<std::vector<std::string>> reasons;
  for (const Verdict& v : abstained) reasons.push_back({v.check, v.summary});
  if (!reasons.empty()) table("Checks that abstained", {"check", "why"}, reasons);

  section(
      "Measured detection",
      "Known poison was planted in a copy of this data: how much of it each check named (recall), and what share of "
      "the other rows it named, too (false-positive rate). Checks that judge a batch, a model or a source as a whole "
      "were given so many planted ones, and honest ones drawn from the same data.");
  std::vector<std::vector<std::string>> measured;
  std::vector<std::string> kinds;
  for (const Verdict& v : looked) {
    if (v.calibration.empty()) measured.push_back({v.check, "not measured"});
    for (const Calibration& c : v.calibration) {
      measured.push_back({v.check, c.planted, std::to_string(c.positives), fmt::format("{:.3f}", c.recall),
                          fmt::format("{:.4f}", c.false_positive_rate)});
      if (std::find(kinds.begin(), kinds.end(), c.planted) == kinds.end()) kinds.push_back(c.planted);
    }
  }
  for (const std::string& kind : kinds) {
    std::vector<Bar> recalls;
    for (const Verdict& v : looked)
      for (const Calibration& c : v.calibration)
        if (c.planted == kind)
          recalls.push_back(
              {v.check, c.recall, false, fmt::format("at false-positive rate {:.4f}", c.false_positive_rate)});
    std::stable_sort(recalls.begin(), recalls.end(), [](const Bar& a, const Bar& b) { return a.value > b.value; });
    bars("Recall: " + kind, recalls);
  }
  table("Recall at false-positive rate", {"check", "planted", "how many", "recall", "false-positive rate"}, measured);

  if (!report.sources.empty()) {
    section("Sources", "Suspicious rows of each source beyond what chance gives a source of its size.");
    std::vector<Bar> shares;
    for (const SourceSuspicion& s : report.sources)
      shares.push_back({s.source, s.score, s.q_value <= 0.02,
                        fmt::format("{} of {} rows, q = {:.2g}", s.suspicious, s.rows, s.q_value)});
    bars("Share of suspicious rows beyond chance", shares);
  }
  section("Robustness curves",
          "How the metric falls when inputs are perturbed. Searches show weakness; they prove no strength.");
  if (report.curves.empty()) paragraph("Not measured.");
  for (const SensitivityReport& c : report.curves) {
    robustness(c, fmt::format("{} on {} rows, {} without perturbation", c.metric, c.rows, number(c.clean)));
    std::vector<std::vector<std::string>> points;
    for (const SensitivityCurve& curve : c.curves)
      for (const SensitivityPoint& p : curve.points)
        points.push_back(
            {to_string(curve.perturbation), fmt::format("{:g}", p.size), number(p.metric), number(p.changed)});
    table("Robustness curves", {"perturbation", "size", c.metric, "changed"}, points);
  }
  section("Certificates", "What is proved, for the rows that were verified.");
  if (report.certificates.empty() && report.poisoning_certificates.empty()) paragraph("Nothing was certified.");
  for (const CertifiedAccuracy& c : report.certificates) certificate(c);
  for (const PartitionEvaluation& p : report.poisoning_certificates) certificate(p);

  section("Membership", "How well somebody who sees predictions can tell which rows a model was trained on.");
  if (report.memberships.empty()) paragraph("Not measured.");
  std::vector<std::vector<std::string>> told;
  for (const MembershipReport& m : report.memberships)
    told.push_back({std::to_string(m.models), std::to_string(m.members), fmt::format("{:.3f}", m.auc),
                    fmt::format("{:.4f}", m.tpr_at_01), fmt::format("{:.4f}", m.tpr_at_1)});
  if (!told.empty())
    table("Likelihood-ratio attack (LiRA)",
          {"models", "rows trained on", "AUC", "found at 0.1 % false positives", "found at 1 %"}, told);

  section("Limits", "What must not be concluded from this report.");
  body_ += "<ul>";
  for (const std::string& limit : report.limits()) body_ += fmt::format("<li>{}</li>", escape(limit));
  body_ += "</ul>\n";
  return *this;
}

HtmlReport& HtmlReport::bars(std::string_view title, const std::vector<Bar>& bars, std::size_t limit) {
  const auto shown = std::span(bars).first(std::min(limit, bars.size()));
  auto caption = shown.size() < bars.size() ? fmt::format("{} of {} shown.", shown.size(), bars.size()) : std::string();
  if (std::any_of(shown.begin(), shown.end(), [](const Bar& bar) { return bar.marked; }))
    caption += std::string(caption.empty() ? "" : " ") + "Red: flagged.";
  body_ += fmt::format("<figure class=\"wide\"><figcaption>{}<span>{}</span></figcaption>{}</figure>\n", escape(title),
                       escape(caption), detail::svg_bars(shown, fmt::format("f{}", ++ids_), title));
  return *this;
}

HtmlReport& HtmlReport::lineage(const LineageGraph& graph, std::string_view title) {
  body_ += fmt::format(
      "<figure class=\"full\"><figcaption>{}<span>Data flows downwards. Blue: datasets, white: stages, yellow: models, "
      "green: releases.</span></figcaption>{}</figure>\n",
      escape(title), detail::svg_lineage(graph, fmt::format("f{}", ++ids_), title));
  return *this;
}

HtmlReport& HtmlReport::verdicts(std::span<const Verdict> verdicts, std::string_view caption, std::size_t findings) {
  body_ += fmt::format(
      "<div class=\"scroll\"><table><caption>{}</caption><thead><tr><th scope=\"col\">outcome</th><th "
      "scope=\"col\">check</th>"
      "<th scope=\"col\">what it says</th></tr></thead><tbody>\n",
      escape(caption));
  for (const auto& verdict : verdicts) {
    body_ += fmt::format("<tr><td>{}</td><td>{}</td><td>{}", badge(verdict.outcome), escape(verdict.check),
                         escape(verdict.summary));
    for (const auto& c : verdict.calibration)
      body_ += fmt::format(
          "<br><small>Calibration ({}): recall {:.3f}, false-positive rate {:.4f} on {} planted rows.</small>",
          escape(c.planted), c.recall, c.false_positive_rate, c.positives);
    if (!verdict.findings.empty()) {
      const auto n = std::min(findings, verdict.findings.size());
      body_ += fmt::format("<details><summary>{} finding{}{}</summary><ul>", verdict.findings.size(),
                           verdict.findings.size() == 1 ? "" : "s",
                           n < verdict.findings.size() ? fmt::format(", the first {}", n) : std::string());
      for (const auto& finding : std::span(verdict.findings).first(n)) {
        body_ += "<li>";
        if (finding.row != no_row) body_ += fmt::format("row {} ", finding.row);
        if (!finding.source.empty()) body_ += fmt::format("source {} ", escape(finding.source));
        body_ += fmt::format("(score {:.4g}) {}</li>", finding.score, escape(finding.evidence));
      }
      body_ += "</ul></details>";
    }
    body_ += "</td></tr>\n";
  }
  body_ += "</tbody></table></div>\n";
  return *this;
}

HtmlReport& HtmlReport::gate(const GateReport& report) {
  body_ += fmt::format("<div class=\"banner {}\">{}</div>\n", report.passed() ? "pass" : "block",
                       report.passed() ? "The gate passed." : "The gate did not pass.");
  return verdicts(report.verdicts, "Gate criteria");
}

std::string HtmlReport::str() const {
  auto page = fmt::format(
      "<!doctype html>\n<html lang=\"en\"><head><meta charset=\"utf-8\"><meta name=\"viewport\" "
      "content=\"width=device-width,initial-scale=1\">\n<meta http-equiv=\"Content-Security-Policy\" "
      "content=\"default-src 'none'; style-src 'unsafe-inline'\">\n<title>{0}</title><style>{1}</style></head>\n"
      "<body><main><h1>{0}</h1>\n",
      escape(title_), style);
  if (!subtitle_.empty()) page += fmt::format("<p class=\"subtitle\">{}</p>\n", escape(subtitle_));
  return page + body_ + fmt::format("<footer>Made by Redoubt {}.</footer></main></body></html>\n", version());
}

void HtmlReport::write(const std::string& path) const {
  const auto text = str();
  detail::write_atomically(path, std::as_bytes(std::span(text.data(), text.size())));
}

}  // namespace redoubt
