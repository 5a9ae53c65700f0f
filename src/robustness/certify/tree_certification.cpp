#include <fmt/format.h>

#include <algorithm>
#include <cmath>
#include <nlohmann/json.hpp>
#include <ostream>

#include "redoubt/core/parallel.hpp"
#include "redoubt/data/dataset.hpp"
#include "redoubt/data/encoder.hpp"
#include "redoubt/model/model.hpp"
#include "redoubt/robustness/certify/tree_verifier.hpp"
#include "redoubt/trees/forest.hpp"
#include "robustness/feature_domain.hpp"
#include "robustness/rows.hpp"

namespace redoubt {
namespace {

/// Numeric columns may move within what the data shows, everything else is fixed.
std::vector<FeatureRule> rules_of(const Model& model, const Dataset& data) {
  const Encoder& encoder = model.encoder();
  const bool raw = encoder.options().numeric == NumericEncoding::raw;
  const auto features = detail::numeric_features(data);
  std::vector<FeatureRule> rules(encoder.width(), FeatureRule{.fixed = true});
  const std::vector<std::uint32_t> origins = encoder.origins();
  for (std::size_t c = 0; raw && c < origins.size(); ++c) {
    const ColumnSpec& column = encoder.schema()[origins[c]];
    if (column.type != ColumnType::numeric) continue;
    for (const auto& f : features)
      if (data.schema()[f.column].name == column.name)
        rules[c] = {.fixed = false,
                    .whole = f.whole,
                    .lower = static_cast<float>(f.low),
                    .upper = static_cast<float>(f.high),
                    .unit = f.deviation};
  }
  return rules;
}

void check_options(const TreeCertificationOptions& options) {
  for (std::size_t i = 0; i < options.radii.size(); ++i)
    if (!(options.radii[i] >= 0) || (i > 0 && !(options.radii[i] > options.radii[i - 1])))
      detail::fail(errc::invalid_argument,
                   fmt::format("certify_trees: radii[{}] = {} must be at least 0 and above the one before", i,
                               options.radii[i]));
  if (options.radii.empty()) detail::fail(errc::invalid_argument, "certify_trees: radii is empty");
}

}  // namespace

TreeCertification certify_trees(const Model& model, const Dataset& data, const TreeCertificationOptions& options) {
  check_options(options);
  const auto* forest = dynamic_cast<const Forest*>(&model.predictor());
  if (!forest || model.task() != Task::classification)
    detail::fail(errc::unsupported,
                 fmt::format("certify_trees: needs a forest that classifies, this model is of form '{}'",
                             model.predictor().form()));
  if (data.task() != Task::classification)
    detail::fail(errc::invalid_argument, "certify_trees: the data has no class labels");
  const Dataset rows = detail::labelled_rows(data, options.max_rows, options.seed);
  if (rows.rows() == 0) detail::fail(errc::invalid_argument, "certify_trees: the data has no labelled rows");

  // Classes are matched by name; a row of a class that the model does not know is wrong from the start.
  std::vector<std::size_t> label_of;
  for (const std::string& name : rows.classes()) {
    const auto& known = model.classes();
    label_of.push_back(static_cast<std::size_t>(std::find(known.begin(), known.end(), name) - known.begin()));
  }
  const TreeVerifier verifier(*forest, {.rules = rules_of(model, data), .max_states = options.max_states});
  const Tensor<float> encoded = model.encoder().apply(rows, options.arena);
  const std::size_t radii = options.radii.size();
  std::vector<Robustness> answers(rows.rows() * radii, Robustness::broken);
  parallel_for(
      rows.rows(), 1,
      [&](std::size_t begin, std::size_t end) {
        for (std::size_t r = begin; r < end; ++r) {
          const std::size_t label = label_of[static_cast<std::size_t>(rows.labels()[r])];
          if (label >= verifier.classes()) continue;
          const std::span<const float> row(encoded.data() + r * encoded.cols(), encoded.cols());
          for (std::size_t i = 0; i < radii; ++i) {
            answers[r * radii + i] = verifier.verify(row, label, options.radii[i]).result;
            if (answers[r * radii + i] == Robustness::broken) break;  // so are the larger ones
          }
        }
      },
      options.arena);

  TreeCertification report;
  report.rows = rows.rows();
  for (std::size_t i = 0; i < radii; ++i) {
    std::size_t certified = 0, broken = 0;
    for (std::size_t r = 0; r < rows.rows(); ++r) {
      certified += answers[r * radii + i] == Robustness::certified;
      broken += answers[r * radii + i] == Robustness::broken;
    }
    const double n = static_cast<double>(rows.rows());
    report.points.push_back({options.radii[i], static_cast<double>(certified) / n, static_cast<double>(broken) / n});
  }
  return report;
}

std::string TreeCertification::to_json() const {
  nlohmann::json json = {{"rows", rows}, {"points", nlohmann::json::array()}};
  for (const auto& p : points)
    json["points"].push_back({{"radius", p.radius}, {"certified", p.certified}, {"broken", p.broken}});
  return json.dump();
}

Verdict TreeCertification::verdict(double radius, double min_certified) const {
  Verdict verdict;
  verdict.check = "tree_certificate";
  verdict.stage = Stage::gate;
  const TreeCertificationPoint* at = nullptr;
  for (const auto& p : points)
    if (p.radius <= radius) at = &p;
  if (!at)
    return Verdict::abstain(verdict.check, verdict.stage, fmt::format("nothing was verified up to radius {}", radius));
  verdict.score = 1 - at->certified;
  verdict.outcome = at->certified < min_certified ? Outcome::block : Outcome::pass;
  verdict.summary = fmt::format(
      "at radius {:g} {:.1f} % of {} rows are proved right, {:.1f} % have a counterexample, {:.1f} % are open; {:.1f} "
      "% "
      "are asked for",
      at->radius, 100 * at->certified, rows, 100 * at->broken, 100 * std::max(0.0, 1 - at->certified - at->broken),
      100 * min_certified);
  return verdict;
}

std::ostream& operator<<(std::ostream& stream, const TreeCertification& report) {
  stream << fmt::format("{} rows verified\n  radius  proved  broken    open\n", report.rows);
  for (const auto& p : report.points)
    stream << fmt::format("  {:<6g} {:7.4f} {:7.4f} {:7.4f}\n", p.radius, p.certified, p.broken,
                          std::max(0.0, 1 - p.certified - p.broken));
  return stream;
}

}  // namespace redoubt
