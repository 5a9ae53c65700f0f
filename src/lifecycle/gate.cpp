#include "redoubt/lifecycle/gate.hpp"

#include <fmt/format.h>

#include <algorithm>
#include <chrono>
#include <cmath>
#include <nlohmann/json.hpp>
#include <ostream>

#include "redoubt/core/error.hpp"
#include "redoubt/data/dataset.hpp"
#include "redoubt/data/encoder.hpp"
#include "redoubt/metrics/evaluation.hpp"
#include "redoubt/metrics/regression.hpp"
#include "redoubt/model/model.hpp"
#include "redoubt/robustness/gate_checks.hpp"

namespace redoubt {
namespace {

constexpr double canary_confidence = 0.9;
constexpr std::size_t latency_calls = 2000;

Verdict judged(std::string check, Outcome outcome, double score, std::string summary) {
  Verdict verdict;
  verdict.check = std::move(check);
  verdict.stage = Stage::gate;
  verdict.outcome = outcome;
  verdict.score = score;
  verdict.summary = std::move(summary);
  return verdict;
}

/// What a model says about the holdout, in terms of one list of classes.
struct Answers {
  std::vector<std::string> classes;
  std::vector<std::int32_t> truth;
  std::vector<double> targets;        // regression
  std::vector<double> probabilities;  // rows x classes, or rows

  std::size_t rows() const { return classes.empty() ? targets.size() : truth.size(); }
  MatrixView<const double> view() const { return {probabilities.data(), rows(), classes.size()}; }
  std::size_t decided(std::size_t row) const {
    const auto* p = probabilities.data() + row * classes.size();
    return static_cast<std::size_t>(std::max_element(p, p + classes.size()) - p);
  }
};

std::size_t class_index(const std::vector<std::string>& classes, std::string_view name) {
  return static_cast<std::size_t>(std::find(classes.begin(), classes.end(), name) - classes.begin());
}

Answers ask(const Model& model, const Dataset& holdout, const std::vector<std::string>& classes, Arena* arena) {
  Answers answers;
  const auto out = model.predict_proba(holdout, arena);
  if (model.task() != Task::classification) {
    const auto targets = holdout.targets();
    answers.targets.assign(targets.begin(), targets.end());
    answers.probabilities.assign(out.flat().begin(), out.flat().end());
    return answers;
  }
  answers.classes = classes;
  const auto names = holdout.classes();
  const auto labels = holdout.labels();
  for (std::size_t i = 0; i < labels.size(); ++i) {
    const auto index =
        labels[i] < 0 ? classes.size() : class_index(classes, names[static_cast<std::size_t>(labels[i])]);
    if (index == classes.size())
      detail::fail(errc::invalid_argument,
                   fmt::format("row id {} of the holdout has {}", holdout.row_ids()[i],
                               labels[i] < 0 ? "no label"
                                             : fmt::format("class \"{}\", which the candidate does not know",
                                                           names[static_cast<std::size_t>(labels[i])])));
    answers.truth.push_back(static_cast<std::int32_t>(index));
  }
  answers.probabilities.assign(labels.size() * classes.size(), 0.0);
  for (std::size_t c = 0; c < model.classes().size(); ++c) {
    const auto index = class_index(classes, model.classes()[c]);
    if (index == classes.size()) continue;
    for (std::size_t i = 0; i < labels.size(); ++i) answers.probabilities[i * classes.size() + index] = out(i, c);
  }
  return answers;
}

/// One metric by its Evaluation name, with row weights; NaN where it is undefined. Error(not_found) for an unknown one.
double metric_of(std::string_view name, const Answers& a, std::span<const double> weights) {
  if (a.classes.empty()) {
    if (name == "rmse") return rmse(a.targets, a.probabilities, weights);
    if (name == "mae") return mae(a.targets, a.probabilities, weights);
    if (name == "r2") return r2(a.targets, a.probabilities, weights);
    detail::fail(errc::not_found, fmt::format("metric \"{}\" is not one of rmse, mae, r2", name));
  }
  const bool binary = a.classes.size() == 2;
  if (name == "log_loss") return log_loss(a.truth, a.view(), weights);
  if (name == "brier" && !binary) return brier(a.truth, a.view(), weights);
  if (name == "roc_auc" && !binary) return roc_auc(a.truth, a.view(), weights);
  if (name == "pr_auc" && !binary) return pr_auc(a.truth, a.view(), weights);
  if (name == "brier" || name == "roc_auc" || name == "pr_auc") {
    std::vector<double> positive(a.rows());
    for (std::size_t i = 0; i < positive.size(); ++i) positive[i] = a.probabilities[i * 2 + 1];
    return name == "brier"     ? brier(a.truth, std::span<const double>(positive), weights)
           : name == "roc_auc" ? roc_auc(a.truth, std::span<const double>(positive), weights)
                               : pr_auc(a.truth, std::span<const double>(positive), weights);
  }
  const auto table = confusion(a.truth, most_probable(a.view()), a.classes.size(), weights);
  if (name == "accuracy") return table.accuracy();
  if (name == "f1_macro") return table.f1_macro();
  const auto dot = name.find('.');
  const auto kind = name.substr(0, dot);
  const auto label =
      dot == std::string_view::npos ? a.classes.size() - 1 : class_index(a.classes, name.substr(dot + 1));
  if (label < a.classes.size() && (binary || dot != std::string_view::npos)) {
    if (kind == "precision") return table.precision(label);
    if (kind == "recall") return table.recall(label);
    if (kind == "f1") return table.f1(label);
  }
  detail::fail(errc::not_found, fmt::format("metric \"{}\" is not one of accuracy, log_loss, brier, roc_auc, pr_auc, "
                                            "f1_macro, precision.CLASS, recall.CLASS, f1.CLASS",
                                            name));
}

/// Runs one criterion; what it throws about the data becomes a blocking verdict, never a pass.
template <class F>
void criterion(GateReport& report, const char* id, F&& body) {
  const auto start = std::chrono::steady_clock::now();
  try {
    report.verdicts.push_back(body());
  } catch (const Error& error) {
    report.verdicts.push_back(judged(id, Outcome::block, 0, error.what()));
  }
  report.verdicts.back().seconds = std::chrono::duration<double>(std::chrono::steady_clock::now() - start).count();
}

class Gate {
 public:
  Gate(const Model& candidate, const Model& champion, const Dataset& holdout, const Goal& goal,
       const GateOptions& options)
      : candidate_(candidate), champion_(champion), holdout_(holdout), goal_(goal), options_(options) {}

  GateReport run() {
    report_.goal = goal_.to_json();
    criterion(report_, "gate.holdout", [&] { return check_holdout(); });
    if (report_.verdicts.back().blocks()) return std::move(report_);
    criterion(report_, "gate.metric", [&] { return check_metric(); });
    if (champion_) {
      criterion(report_, "gate.champion", [&] { return check_champion(); });
      if (goal_.max_canary_flips >= 0) criterion(report_, "gate.canary", [&] { return check_canary(); });
    }
    if (!goal_.slices.empty()) criterion(report_, "gate.slices", [&] { return check_slices(); });
    if (goal_.latency_budget_us > 0) criterion(report_, "gate.latency", [&] { return check_latency(); });
    run_checks();
    return std::move(report_);
  }

  GateReport report_;

 private:
  double sign() const { return lower_is_better(goal_.metric) ? -1 : 1; }
  const char* reach() const { return sign() > 0 ? "at least" : "at most"; }

  Verdict check_holdout() {
    const auto target = holdout_.schema().find(ColumnRole::target);
    if (target == Schema::npos || holdout_.schema()[target].name != goal_.target)
      return judged("gate.holdout", Outcome::block, 0,
                    fmt::format("the goal is about column \"{}\", but the holdout's target is {}", goal_.target,
                                target == Schema::npos ? "absent" : "\"" + holdout_.schema()[target].name + "\""));
    if (holdout_.rows() == 0) return judged("gate.holdout", Outcome::block, 0, "the holdout has no rows");
    if (holdout_.task() != candidate_.task())
      return judged("gate.holdout", Outcome::block, 0,
                    fmt::format("the candidate does {}, the holdout is for {}", to_string(candidate_.task()),
                                to_string(holdout_.task())));
    if (report_.holdout == candidate_.info().data_hash)
      return judged("gate.holdout", Outcome::block, 0, "the candidate was trained on exactly these rows");
    const auto rows = static_cast<double>(holdout_.rows());
    if (!holdout_.sealed())
      return judged("gate.holdout", Outcome::warn, rows,
                    "the holdout is not sealed, so nothing kept training from seeing it (Dataset::seal)");
    return judged("gate.holdout", Outcome::pass, rows, fmt::format("{} sealed rows", holdout_.rows()));
  }

  Verdict check_metric() {
    classes_ = candidate_.classes();
    answers_ = ask(candidate_, holdout_, classes_, options_.arena);
    const auto value = metric_of(goal_.metric, answers_, holdout_.weights());
    const auto interval = resample([&](std::span<const double> w) { return metric_of(goal_.metric, answers_, w); });
    const double worst = sign() > 0 ? interval.low : interval.high;
    const auto text = fmt::format("{} {:.4f}, 95 % interval [{:.4f}, {:.4f}], wanted {} {}", goal_.metric, value,
                                  interval.low, interval.high, reach(), goal_.threshold);
    if (!(sign() * (value - goal_.threshold) >= 0)) return judged("gate.metric", Outcome::block, value, text);
    if (!(sign() * (worst - goal_.threshold) >= 0))
      return judged("gate.metric", Outcome::abstain, value, text + ": the holdout is too small to tell");
    return judged("gate.metric", Outcome::pass, value, text);
  }

  Verdict check_champion() {
    theirs_ = ask(champion_, holdout_, classes_, options_.arena);
    const auto gain = [&](std::span<const double> w) {
      return sign() * (metric_of(goal_.metric, answers_, w) - metric_of(goal_.metric, theirs_, w));
    };
    const auto value = gain(holdout_.weights());
    const auto interval = resample(gain);
    const auto text =
        fmt::format("{} against the champion: {:+.4f} (above 0 is better), 95 % interval [{:+.4f}, {:+.4f}]",
                    goal_.metric, value, interval.low, interval.high);
    // Equal models have an interval of zero width, which is fine.
    if (std::isnan(value) || interval.high < -goal_.max_regression)
      return judged("gate.champion", Outcome::block, value, text + ": the champion is better");
    if (value < -goal_.max_regression)
      return judged("gate.champion", Outcome::warn, value, text + ": maybe worse, within noise");
    return judged("gate.champion", Outcome::pass, value, text);
  }

  Verdict check_canary() {
    if (theirs_.classes.empty())
      return Verdict::abstain("gate.canary", Stage::gate, "canary flips need a classification champion that answers");
    std::size_t canaries = 0;
    std::vector<Finding> flips;
    for (std::size_t i = 0; i < theirs_.rows(); ++i) {
      const auto truth = static_cast<std::size_t>(theirs_.truth[i]);
      const double confidence = theirs_.probabilities[i * classes_.size() + truth];
      if (confidence < canary_confidence || theirs_.decided(i) != truth) continue;
      ++canaries;
      if (answers_.decided(i) != truth)
        flips.push_back({holdout_.row_ids()[i], "", confidence,
                         fmt::format("the champion said \"{}\" with {:.2f}, the candidate says \"{}\"", classes_[truth],
                                     confidence, classes_[answers_.decided(i)])});
    }
    if (!canaries)
      return Verdict::abstain("gate.canary", Stage::gate, "the champion is nowhere confident and right: no canaries");
    const double share = static_cast<double>(flips.size()) / static_cast<double>(canaries);
    std::stable_sort(flips.begin(), flips.end(), [](const Finding& a, const Finding& b) { return a.score > b.score; });
    auto verdict =
        judged("gate.canary", share > goal_.max_canary_flips ? Outcome::block : Outcome::pass, share,
               fmt::format("{} of {} answers that the champion was sure of are lost ({:.2f} %, at most {:.2f} %)",
                           flips.size(), canaries, 100 * share, 100 * goal_.max_canary_flips));
    flips.resize(std::min<std::size_t>(flips.size(), 100));
    verdict.findings = std::move(flips);
    return verdict;
  }

  Verdict check_slices() {
    auto verdict = judged("gate.slices", Outcome::pass, 0, "");
    std::size_t judged_slices = 0, bad = 0;
    bool first = true;
    for (const auto& name : goal_.slices) {
      const auto& column = holdout_.column(name);
      if (column.spec.type != ColumnType::categorical)
        detail::fail(errc::type_mismatch,
                     fmt::format("slice column \"{}\" is {}, not categorical", name, to_string(column.spec.type)));
      for (std::size_t c = 0; c < column.spec.categories.size(); ++c) {
        std::vector<double> weights(holdout_.rows());
        std::size_t rows = 0;
        const auto given = holdout_.weights();
        for (std::size_t i = 0; i < weights.size(); ++i)
          if (column.codes[i] == static_cast<std::int32_t>(c)) {
            weights[i] = given.empty() ? 1.0 : given[i];
            ++rows;
          }
        if (rows < goal_.min_slice_rows) continue;
        ++judged_slices;
        const auto value = metric_of(goal_.metric, answers_, weights);
        if (first || sign() * value < sign() * verdict.score) verdict.score = value;
        first = false;
        if (sign() * (value - goal_.min_slice) >= 0) continue;
        ++bad;
        verdict.findings.push_back({no_row, "", std::abs(value - goal_.min_slice),
                                    fmt::format("{} = \"{}\": {} {:.4f} over {} rows", name, column.spec.categories[c],
                                                goal_.metric, value, rows)});
      }
    }
    std::stable_sort(verdict.findings.begin(), verdict.findings.end(),
                     [](const Finding& a, const Finding& b) { return a.score > b.score; });
    verdict.summary =
        fmt::format("{} of {} slices miss {} {} {}", bad, judged_slices, goal_.metric, reach(), goal_.min_slice);
    if (bad) verdict.outcome = Outcome::block;
    if (!judged_slices)
      return Verdict::abstain("gate.slices", Stage::gate, fmt::format("no slice has {} rows", goal_.min_slice_rows));
    return verdict;
  }

  Verdict check_latency() {
    const std::size_t rows = std::min(holdout_.rows(), latency_calls);
    const bool text = candidate_.encoder().has_text();
    std::vector<float> raw(candidate_.inputs()), out(candidate_.outputs());
    std::vector<double> micros;
    micros.reserve(rows);
    for (std::size_t i = 0; i < rows; ++i) {
      if (!text) candidate_.encoder().raw_row(holdout_.row(i), raw);
      const auto start = std::chrono::steady_clock::now();
      if (text)
        candidate_.predict_proba(holdout_.row(i));
      else if (const auto code = candidate_.predict(raw, out); code != errc::ok)
        detail::fail(code, fmt::format("prediction of row id {} failed", holdout_.row_ids()[i]));
      micros.push_back(std::chrono::duration<double, std::micro>(std::chrono::steady_clock::now() - start).count());
    }
    const auto p95 = micros.begin() + static_cast<std::ptrdiff_t>((micros.size() - 1) * 95 / 100);
    std::nth_element(micros.begin(), p95, micros.end());
    return judged("gate.latency", *p95 <= goal_.latency_budget_us ? Outcome::pass : Outcome::block, *p95,
                  fmt::format("95th percentile of {} single predictions: {:.1f} us, budget {} us", rows, *p95,
                              goal_.latency_budget_us));
  }

  void run_checks() {
    if (options_.checks.empty()) return;
    try {
      auto verdicts =
          run_gate_checks(candidate_, champion_ ? &champion_ : nullptr, holdout_, options_.checks, options_.arena);
      for (auto& verdict : verdicts) report_.verdicts.push_back(std::move(verdict));
    } catch (const std::exception& error) {
      report_.verdicts.push_back(
          judged("gate.checks", Outcome::block, 0, fmt::format("a check failed: {}", error.what())));
    }
  }

  template <class F>
  Interval resample(F&& statistic) {
    BootstrapOptions bootstrap_options;
    bootstrap_options.resamples = options_.resamples;
    bootstrap_options.seed = options_.seed;
    const auto given = holdout_.weights();
    return bootstrap(
        answers_.rows(), bootstrap_options,
        [&](std::span<const double> counts) {
          if (given.empty()) return statistic(counts);
          std::vector<double> weights(counts.begin(), counts.end());
          for (std::size_t i = 0; i < weights.size(); ++i) weights[i] *= given[i];
          return statistic(std::span<const double>(weights));
        },
        options_.arena);
  }

  const Model& candidate_;
  const Model& champion_;
  const Dataset& holdout_;
  const Goal& goal_;
  const GateOptions& options_;
  std::vector<std::string> classes_;
  Answers answers_, theirs_;
};

GateReport identify(const Model& candidate, const Model& champion, const Dataset& holdout) {
  GateReport report;
  report.candidate = candidate.hash();
  if (champion) report.champion = champion.hash();
  report.holdout = holdout.hash();
  return report;
}

}  // namespace

bool GateReport::passed() const noexcept {
  return !verdicts.empty() && std::all_of(verdicts.begin(), verdicts.end(), [](const Verdict& v) {
    return v.outcome == Outcome::pass || v.outcome == Outcome::warn;
  });
}

std::string GateReport::why_not() const {
  std::string lines;
  if (verdicts.empty()) return "nothing was judged";
  for (const auto& v : verdicts)
    if (v.outcome != Outcome::pass)
      lines += fmt::format("{}{}: {}: {}", lines.empty() ? "" : "\n", v.check, to_string(v.outcome), v.summary);
  return lines;
}

std::string GateReport::to_json() const {
  auto list = nlohmann::json::array();
  for (const auto& verdict : verdicts) list.push_back(nlohmann::json::parse(verdict.to_json()));
  nlohmann::json document{{"candidate", candidate}, {"champion", champion}, {"holdout", holdout},
                          {"passed", passed()},     {"verdicts", list},     {"goal", nullptr}};
  if (!goal.empty()) document["goal"] = nlohmann::json::parse(goal);
  return document.dump();
}

std::ostream& operator<<(std::ostream& stream, const GateReport& report) {
  stream << "gate: " << (report.passed() ? "passed" : "NOT passed") << '\n';
  for (const auto& verdict : report.verdicts)
    stream << fmt::format("  {:<8} {:<16} {}\n", to_string(verdict.outcome), verdict.check, verdict.summary);
  return stream;
}

GateReport gate(const Model& candidate, const Model& champion, const Dataset& holdout, const Goal& goal,
                const GateOptions& options) {
  Gate judge(candidate, champion, holdout, goal, options);
  judge.report_ = identify(candidate, champion, holdout);
  return judge.run();
}

GateReport gate(const Model& candidate, const Model& champion, const Dataset& holdout, const std::string& goal_path,
                const GateOptions& options) {
  Goal goal;
  try {
    goal = Goal::read(goal_path);
  } catch (const Error& error) {
    if (error.code() != errc::not_found) throw;
    auto report = identify(candidate, champion, holdout);
    report.verdicts.push_back(judged(
        "gate.goal", Outcome::block, 0,
        fmt::format(
            "no goal file \"{}\": write one such as {{\"target\": \"{}\", \"metric\": \"{}\", \"threshold\": 0.9}}",
            goal_path,
            holdout.task() == Task::none ? "column" : holdout.schema()[holdout.schema().find(ColumnRole::target)].name,
            candidate.task() == Task::regression ? "r2" : "roc_auc")));
    return report;
  }
  return gate(candidate, champion, holdout, goal, options);
}

}  // namespace redoubt
