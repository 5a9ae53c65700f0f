#include "redoubt/robustness/verdict.hpp"

#include <fmt/format.h>

#include <algorithm>
#include <nlohmann/json.hpp>
#include <ostream>

#include "redoubt/core/error.hpp"

namespace redoubt {
namespace {

using Json = nlohmann::json;

constexpr Stage stages[] = {Stage::ingest, Stage::pre_train, Stage::epoch, Stage::gate, Stage::serve, Stage::audit};
constexpr Outcome outcomes[] = {Outcome::pass, Outcome::warn, Outcome::block, Outcome::abstain};

template <class Enum, std::size_t N>
Enum from_name(const Enum (&values)[N], std::string_view name, std::string_view what) {
  std::string known;
  for (Enum value : values) {
    if (name == to_string(value)) return value;
    known += known.empty() ? "" : ", ";
    known += to_string(value);
  }
  detail::fail(errc::invalid_argument, fmt::format("unknown {} '{}'; known are {}", what, name, known));
}

int strictness(Outcome outcome) noexcept {
  switch (outcome) {
    case Outcome::pass: return 0;
    case Outcome::abstain: return 1;
    case Outcome::warn: return 2;
    case Outcome::block: return 3;
  }
  return 3;
}

}  // namespace

const char* to_string(Stage stage) noexcept {
  switch (stage) {
    case Stage::ingest: return "ingest";
    case Stage::pre_train: return "pre_train";
    case Stage::epoch: return "epoch";
    case Stage::gate: return "gate";
    case Stage::serve: return "serve";
    case Stage::audit: return "audit";
  }
  return "unknown";
}

const char* to_string(Outcome outcome) noexcept {
  switch (outcome) {
    case Outcome::pass: return "pass";
    case Outcome::warn: return "warn";
    case Outcome::block: return "block";
    case Outcome::abstain: return "abstain";
  }
  return "unknown";
}

Stage stage_from_string(std::string_view name) { return from_name(stages, name, "stage"); }
Outcome outcome_from_string(std::string_view name) { return from_name(outcomes, name, "outcome"); }

std::string Verdict::to_json(bool with_cost) const {
  Json findings_json = Json::array();
  for (const Finding& f : findings) {
    Json one = {{"score", f.score}, {"evidence", f.evidence}};
    if (f.row != no_row) one["row"] = f.row;
    if (!f.source.empty()) one["source"] = f.source;
    findings_json.push_back(std::move(one));
  }
  Json calibration_json = Json::array();
  for (const Calibration& c : calibration)
    calibration_json.push_back({{"planted", c.planted},
                                {"positives", c.positives},
                                {"recall", c.recall},
                                {"false_positive_rate", c.false_positive_rate}});
  Json verdict = {{"check", check},
                  {"stage", to_string(stage)},
                  {"outcome", to_string(outcome)},
                  {"score", score},
                  {"summary", summary},
                  {"findings", std::move(findings_json)},
                  {"calibration", std::move(calibration_json)}};
  if (with_cost) verdict["seconds"] = seconds;
  // Evidence may quote user text that is no valid UTF-8; the report must still be written.
  return verdict.dump(-1, ' ', false, Json::error_handler_t::replace);
}

Verdict Verdict::from_json(std::string_view text) {
  try {
    const Json json = Json::parse(text);
    Verdict verdict;
    verdict.check = json.at("check").get<std::string>();
    verdict.stage = stage_from_string(json.at("stage").get<std::string>());
    verdict.outcome = outcome_from_string(json.at("outcome").get<std::string>());
    // JSON has no NaN or infinity: they are written as null.
    const auto number = [](const Json& value) { return value.is_null() ? 0.0 : value.get<double>(); };
    verdict.score = number(json.at("score"));
    verdict.summary = json.at("summary").get<std::string>();
    verdict.seconds = json.value("seconds", 0.0);
    for (const Json& f : json.at("findings"))
      verdict.findings.push_back({f.value("row", no_row), f.value("source", std::string()), number(f.at("score")),
                                  f.at("evidence").get<std::string>()});
    for (const Json& c : json.at("calibration"))
      verdict.calibration.push_back({c.at("planted").get<std::string>(), c.at("positives").get<std::size_t>(),
                                     number(c.at("recall")), number(c.at("false_positive_rate"))});
    return verdict;
  } catch (const Json::exception& e) {
    detail::fail(errc::parse_error, fmt::format("not a verdict: {}", e.what()));
  }
}

Verdict Verdict::abstain(std::string check, Stage stage, std::string reason) {
  Verdict verdict;
  verdict.check = std::move(check);
  verdict.stage = stage;
  verdict.outcome = Outcome::abstain;
  verdict.summary = std::move(reason);
  return verdict;
}

bool Verdict::operator==(const Verdict& other) const {
  return check == other.check && stage == other.stage && outcome == other.outcome && score == other.score &&
         summary == other.summary && findings == other.findings && calibration == other.calibration;
}

Outcome worst(std::span<const Verdict> verdicts) noexcept {
  Outcome outcome = Outcome::pass;
  for (const Verdict& v : verdicts)
    if (strictness(v.outcome) > strictness(outcome)) outcome = v.outcome;
  return verdicts.empty() ? Outcome::abstain : outcome;
}

std::ostream& operator<<(std::ostream& stream, const Verdict& verdict) {
  constexpr std::size_t shown = 5;
  stream << fmt::format("{:<8} {:<22} {}\n", to_string(verdict.outcome), verdict.check, verdict.summary);
  for (const Calibration& c : verdict.calibration)
    stream << fmt::format("         calibrated on {} ({} rows): recall {:.2f} at false-positive rate {:.4f}\n",
                          c.planted, c.positives, c.recall, c.false_positive_rate);
  for (std::size_t i = 0; i < std::min(shown, verdict.findings.size()); ++i) {
    const Finding& f = verdict.findings[i];
    const std::string who = !f.source.empty() ? fmt::format("source {}", f.source)
                            : f.row != no_row ? fmt::format("row {}", f.row)
                                              : std::string("overall");
    stream << fmt::format("         {} (score {:.3g}): {}\n", who, f.score, f.evidence);
  }
  if (verdict.findings.size() > shown) stream << fmt::format("         and {} more\n", verdict.findings.size() - shown);
  return stream;
}

}  // namespace redoubt
