#include "redoubt/robustness/report.hpp"

#include <fmt/format.h>

#include <algorithm>
#include <nlohmann/json.hpp>
#include <ostream>

#include "redoubt/robustness/screen.hpp"
#include "robustness/source_json.hpp"

namespace redoubt {
namespace {

using Json = nlohmann::json;

constexpr std::size_t shown_sources = 10, shown_findings = 3;

/// Names and values come from data: nothing of them may move the cursor or start a line of its own.
std::string plain(std::string_view text, std::size_t most = 200) {
  std::string result;
  for (const char c : text.substr(0, most)) {
    const auto byte = static_cast<unsigned char>(c);
    // C1 controls reach some terminals as the bytes c2 80 to c2 9f.
    const bool c1 = byte >= 0x80 && byte < 0xa0 && !result.empty() && static_cast<unsigned char>(result.back()) == 0xc2;
    if (c1) result.back() = '?';
    result += byte < 0x20 || byte == 0x7f || c1 ? '?' : c;
  }
  return text.size() > most ? result + "..." : result;
}

std::string percent(double share) { return fmt::format("{:.1f} %", 100 * share); }

}  // namespace

RobustnessReport& RobustnessReport::add(const ScreenReport& screen) {
  verdicts.insert(verdicts.begin(), screen.verdicts().begin(), screen.verdicts().end());
  sources.insert(sources.begin(), screen.sources().begin(), screen.sources().end());
  origins.emplace_back("rows screened", std::to_string(screen.rows()));
  origins.emplace_back("rows blocked", std::to_string(screen.blocked().size()));
  if (!screen.sources().empty())
    origins.emplace_back("sources blocked", std::to_string(screen.blocked_sources().size()));
  return *this;
}

std::vector<const Verdict*> RobustnessReport::abstained() const {
  std::vector<const Verdict*> found;
  for (const Verdict& v : verdicts)
    if (v.outcome == Outcome::abstain) found.push_back(&v);
  return found;
}

std::vector<std::string> RobustnessReport::limits() const {
  std::vector<std::string> limits;
  const auto without = abstained().size();
  if (verdicts.empty()) limits.emplace_back("No check ran: nothing is known about poison in the data.");
  if (without > 0)
    limits.push_back(
        fmt::format("{} of {} checks could not look; what they look for may be there.", without, verdicts.size()));
  std::string unmeasured;
  std::size_t measured = 0;
  // Of each kind of poison, what the best single check named: a kind that all of them miss is the one to know about.
  std::vector<std::pair<std::string, double>> best;
  for (const Verdict& v : verdicts) {
    if (v.outcome == Outcome::abstain) continue;
    measured += !v.calibration.empty();
    if (v.calibration.empty()) unmeasured += (unmeasured.empty() ? "" : ", ") + v.check;
    for (const Calibration& c : v.calibration) {
      auto at = std::find_if(best.begin(), best.end(), [&](const auto& b) { return b.first == c.planted; });
      if (at == best.end()) at = best.insert(at, {c.planted, 0});
      at->second = std::max(at->second, c.recall);
    }
  }
  if (!unmeasured.empty())
    limits.push_back(fmt::format("How much these checks find in this data was not measured: {}.", unmeasured));
  for (const auto& [planted, recall] : best)
    if (recall < 0.5)
      limits.push_back(
          fmt::format("Of planted poison of the kind \"{}\" no check named more than {}.", planted, percent(recall)));
  if (measured > 0)
    limits.emplace_back(
        "Recall was measured on planted poison; real poison is made to be missed, and human mistakes are harder to "
        "find than random ones (about half the recall on CIFAR-10N). False-positive rates count poison that really was "
        "there as false, so they are upper bounds.");
  if (curves.empty())
    limits.emplace_back("No robustness curve was measured: how the model answers to perturbed inputs is unknown.");
  else
    limits.emplace_back(
        "Robustness curves come from searches: they show weakness. A stronger attack may do worse than they say.");
  if (certificates.empty())
    limits.emplace_back("No prediction was certified against changed inputs.");
  else
    limits.emplace_back(
        "Certificates against changed inputs hold for changes of numeric columns within the radius and for the rows "
        "that were verified, not for other rows, larger changes, categories or texts.");
  if (poisoning_certificates.empty())
    limits.emplace_back("No prediction was certified against poisoned training data.");
  else
    limits.emplace_back(
        "Certificates against poison hold for the ensemble of partitions, not for a single model trained on all rows, "
        "and "
        "up to the stated number of changed rows (or sources); beyond it nothing is promised.");
  if (memberships.empty())
    limits.emplace_back("Whether predictions give away which rows were trained on was not measured.");
  else
    limits.emplace_back(
        "Membership inference was tried with one attack on models trained on a part of the rows each; a stronger "
        "attack, "
        "or one who knows more about single rows, may find more.");
  limits.insert(limits.end(), remarks.begin(), remarks.end());
  return limits;
}

std::string RobustnessReport::to_json(bool with_cost) const {
  Json json = {{"subject", subject},
               {"outcome", to_string(outcome())},
               {"origins", Json::object()},
               {"verdicts", Json::array()},
               {"sources", Json::array()},
               {"curves", Json::array()},
               {"certificates", Json::array()},
               {"poisoning_certificates", Json::array()},
               {"memberships", Json::array()},
               {"limits", limits()}};
  for (const auto& [name, value] : origins) json["origins"][name] = value;
  for (const Verdict& v : verdicts) json["verdicts"].push_back(Json::parse(v.to_json(with_cost)));
  for (const SourceSuspicion& s : sources) json["sources"].push_back(detail::source_json(s));
  for (const auto& c : curves) json["curves"].push_back(Json::parse(c.to_json()));
  for (const auto& c : certificates) json["certificates"].push_back(Json::parse(c.to_json()));
  for (const auto& m : memberships) json["memberships"].push_back(Json::parse(m.to_json()));
  for (const auto& p : poisoning_certificates)
    json["poisoning_certificates"].push_back({{"rows", p.rows},
                                              {"accuracy", p.accuracy},
                                              {"certified", p.certified},
                                              {"median_tolerated", p.median_tolerated}});
  return json.dump(-1, ' ', false, Json::error_handler_t::replace);
}

std::ostream& operator<<(std::ostream& stream, const RobustnessReport& report) {
  stream << "Robustness report: " << plain(report.subject) << "\noutcome: " << to_string(report.outcome()) << '\n';
  for (const auto& [name, value] : report.origins) stream << "  " << plain(name) << ": " << plain(value) << '\n';

  stream << "\nWhat was checked\n";
  for (const Verdict& v : report.verdicts) {
    if (v.outcome == Outcome::abstain) continue;
    stream << fmt::format("  {:<8} {:<22} {}\n", to_string(v.outcome), plain(v.check), plain(v.summary));
    for (std::size_t i = 0; i < std::min(shown_findings, v.findings.size()); ++i) {
      const Finding& f = v.findings[i];
      stream << "             "
             << (f.row != no_row     ? fmt::format("row {}: ", f.row)
                 : !f.source.empty() ? "source " + plain(f.source, 60) + ": "
                                     : std::string())
             << plain(f.evidence) << '\n';
    }
    if (v.findings.size() > shown_findings)
      stream << fmt::format("             and {} more\n", v.findings.size() - shown_findings);
  }
  const auto abstained = report.abstained();
  if (!abstained.empty()) stream << "\nWhat could not be checked\n";
  for (const Verdict* v : abstained)
    stream << fmt::format("  abstain  {:<22} {}\n", plain(v->check), plain(v->summary));

  bool calibrated = false;
  for (const Verdict& v : report.verdicts)
    for (const Calibration& c : v.calibration) {
      if (!calibrated)
        stream << fmt::format("\nMeasured detection\n  {:<22} {:<52} {:>7} {:>7} {:>9}\n", "check", "planted", "number",
                              "recall", "false pos.");
      calibrated = true;
      stream << fmt::format("  {:<22} {:<52} {:>7} {:>7.3f} {:>9.4f}\n", plain(v.check), plain(c.planted), c.positives,
                            c.recall, c.false_positive_rate);
    }
  if (!calibrated) stream << "\nDetection was not measured (see calibrate)\n";

  if (!report.sources.empty())
    stream << fmt::format("\n{:<26} {:>6} {:>10} {:>9} {:>9}\n", "Sources", "rows", "suspicious", "expected", "q");
  for (std::size_t i = 0; i < std::min(shown_sources, report.sources.size()); ++i) {
    const SourceSuspicion& s = report.sources[i];
    stream << fmt::format("  {:<24} {:>6} {:>10} {:>9.1f} {:>9.2g}\n", plain(s.source, 60), s.rows, s.suspicious,
                          s.expected, s.q_value);
  }
  for (const auto& c : report.certificates) stream << "\nCertified against changed inputs: " << c;
  for (const auto& p : report.poisoning_certificates) stream << "\nCertified against poisoned training data: " << p;
  for (const auto& m : report.memberships) stream << "\nWhat predictions tell about the training rows: " << m;
  for (const auto& c : report.curves) stream << '\n' << c;
  stream << "\nLimits\n";
  for (const std::string& limit : report.limits()) stream << "  - " << plain(limit, 600) << '\n';
  return stream;
}

}  // namespace redoubt
