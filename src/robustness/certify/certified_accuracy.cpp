#include "redoubt/robustness/certify/certified_accuracy.hpp"

#include <fmt/format.h>

#include <algorithm>
#include <cmath>
#include <nlohmann/json.hpp>
#include <ostream>

#include "redoubt/core/parallel.hpp"
#include "redoubt/data/dataset.hpp"
#include "redoubt/data/encoder.hpp"
#include "redoubt/linear/linear_form.hpp"
#include "redoubt/model/model.hpp"
#include "redoubt/nn/graph.hpp"
#include "redoubt/robustness/certify/tree_verifier.hpp"
#include "redoubt/robustness/evasion/attack.hpp"
#include "redoubt/trees/forest.hpp"
#include "robustness/feature_domain.hpp"
#include "robustness/rows.hpp"

namespace redoubt {
namespace {

void check_options(const CertificationOptions& options) {
  for (std::size_t i = 0; i < options.radii.size(); ++i)
    if (!(options.radii[i] >= 0) || (i > 0 && !(options.radii[i] > options.radii[i - 1])))
      detail::fail(
          errc::invalid_argument,
          fmt::format("certify: radii[{}] = {} must be at least 0 and above the one before", i, options.radii[i]));
  if (options.radii.empty()) detail::fail(errc::invalid_argument, "certify: radii is empty");
  if (options.attack_steps < 0) detail::fail(errc::invalid_argument, "certify: attack_steps is below 0");
}

/// The rows in question, in every form that is needed.
struct Rows {
  Rows(const Model& m, const Dataset& data, const CertificationOptions& o)
      : model(m), options(o), rows(detail::labelled_rows(data, o.max_rows, o.seed)) {
    if (rows.rows() == 0) detail::fail(errc::invalid_argument, "certify: the data has no labelled rows");
    // Classes are matched by name; a row of a class that the model does not know is wrong from the start.
    std::vector<std::size_t> known;
    for (const std::string& name : rows.classes())
      known.push_back(static_cast<std::size_t>(std::find(model.classes().begin(), model.classes().end(), name) -
                                               model.classes().begin()));
    for (const std::int32_t label : rows.labels()) labels.push_back(known[static_cast<std::size_t>(label)]);
    encoded = model.encoder().apply(rows, options.arena);
    const Schema& schema = model.encoder().schema();
    features.resize(schema.size());
    for (const auto& f : detail::numeric_features(data))
      for (std::size_t c = 0; c < schema.size(); ++c)
        if (schema[c].type == ColumnType::numeric && schema[c].name == data.schema()[f.column].name) features[c] = f;
    answers.assign(rows.rows() * options.radii.size(), Robustness::unknown);
  }

  std::span<const float> row(std::size_t r) const { return {encoded.data() + r * encoded.cols(), encoded.cols()}; }
  bool known(std::size_t r) const { return labels[r] < model.classes().size(); }
  Robustness& answer(std::size_t r, std::size_t radius) { return answers[r * options.radii.size() + radius]; }

  /// Smallest and largest encoded row within a radius: every encoded column rises with the raw column it comes from.
  void box(std::size_t r, double radius, std::vector<float>& lower, std::vector<float>& upper) const {
    const Encoder& encoder = model.encoder();
    std::vector<float> raw(encoder.inputs()), low, high;
    encoder.raw_row(rows.row(r), raw);
    low = high = raw;
    for (std::size_t c = 0; c < raw.size(); ++c) {
      const auto& f = features[c];
      if (f.deviation <= 0 || !std::isfinite(raw[c])) continue;
      double lo = std::max(f.low, raw[c] - radius * f.deviation), hi = std::min(f.high, raw[c] + radius * f.deviation);
      if (f.whole) lo = std::ceil(lo), hi = std::floor(hi);
      // Never inside the true box by rounding.
      low[c] = std::min(raw[c], static_cast<float>(lo) > lo ? std::nextafter(static_cast<float>(lo), -INFINITY)
                                                            : static_cast<float>(lo));
      high[c] = std::max(raw[c], static_cast<float>(hi) < hi ? std::nextafter(static_cast<float>(hi), INFINITY)
                                                             : static_cast<float>(hi));
    }
    lower.resize(encoder.width());
    upper.resize(encoder.width());
    if (encoder.apply(low, lower) != errc::ok || encoder.apply(high, upper) != errc::ok)
      detail::fail(errc::unsupported, "certify: text columns have no box around a row");
    for (std::size_t c = 0; c < lower.size(); ++c)
      if (lower[c] > upper[c]) std::swap(lower[c], upper[c]);
  }

  const Model& model;
  const CertificationOptions& options;
  Dataset rows;
  std::vector<std::size_t> labels;
  Tensor<float> encoded;
  std::vector<detail::NumericFeature> features;  // per raw column; deviation 0: fixed
  std::vector<Robustness> answers;
};

/// f(row, place of the radius, radius) for every row and rising radii, in parallel; a broken row stays broken.
template <class F>
void each_row(Rows& rows, const F& f) {
  parallel_for(
      rows.rows.rows(), 1,
      [&](std::size_t begin, std::size_t end) {
        for (std::size_t r = begin; r < end; ++r) {
          bool broken = !rows.known(r);
          for (std::size_t i = 0; i < rows.options.radii.size(); ++i) {
            if (!broken) rows.answer(r, i) = f(r, rows.options.radii[i]);
            broken = broken || rows.answer(r, i) == Robustness::broken;
            if (broken) rows.answer(r, i) = Robustness::broken;
          }
        }
      },
      rows.options.arena);
}

void certify_forest(const Forest& forest, Rows& rows) {
  const Encoder& encoder = rows.model.encoder();
  const bool raw = encoder.options().numeric == NumericEncoding::raw;
  const std::vector<std::uint32_t> origins = encoder.origins();
  std::vector<FeatureRule> rules(encoder.width(), FeatureRule{.fixed = true});
  for (std::size_t c = 0; raw && c < origins.size(); ++c)
    if (const auto& f = rows.features[origins[c]]; f.deviation > 0)
      rules[c] = {.fixed = false,
                  .whole = f.whole,
                  .lower = static_cast<float>(f.low),
                  .upper = static_cast<float>(f.high),
                  .unit = f.deviation};
  const TreeVerifier verifier(forest, {.rules = rules, .max_states = rows.options.max_states});
  each_row(rows,
           [&](std::size_t r, double radius) { return verifier.verify(rows.row(r), rows.labels[r], radius).result; });
}

bool right(const Predictor& predictor, std::span<const float> row, std::size_t label) {
  std::vector<float> out(predictor.outputs()), scratch(predictor.scratch_size());
  predictor.predict(row, out, scratch);
  return static_cast<std::size_t>(std::max_element(out.begin(), out.end()) - out.begin()) == label;
}

/// The least margin lies in a corner of the box.
void certify_linear(const LinearForm& form, Rows& rows) {
  const std::size_t scores = form.score_count();
  each_row(rows, [&](std::size_t r, double radius) {
    std::vector<float> lower, upper;
    rows.box(r, radius, lower, upper);
    std::vector<float> corner(lower.size());
    const std::size_t label = rows.labels[r], others = scores == 1 ? 2 : scores;
    bool certified = true;
    for (std::size_t other = 0; other < others; ++other) {
      if (other == label) continue;
      const auto weight = [&](std::size_t c) {
        const auto w = [&](std::size_t k) { return static_cast<double>(form.weights()(c, k)); };
        return scores == 1 ? (label == 1 ? w(0) : -w(0)) : w(label) - w(other);
      };
      const auto bias = [&](std::size_t k) { return static_cast<double>(form.bias()[k]); };
      double margin = scores == 1 ? (label == 1 ? bias(0) : -bias(0)) : bias(label) - bias(other), size = 1;
      for (std::size_t c = 0; c < corner.size(); ++c) {
        corner[c] = weight(c) > 0 ? lower[c] : upper[c];
        margin += weight(c) * corner[c];
        size += std::abs(weight(c) * corner[c]);
      }
      if (!right(form, corner, label)) return Robustness::broken;
      certified = certified && margin > 1e-6 * size;  // beyond the rounding of a float
    }
    return certified ? Robustness::certified : Robustness::unknown;
  });
}

void certify_graph(const Graph& graph, Rows& rows) {
  each_row(rows, [&](std::size_t r, double radius) {
    if (!right(graph, rows.row(r), rows.labels[r])) return Robustness::broken;
    std::vector<float> lower, upper, margins(graph.score_count());
    rows.box(r, radius, lower, upper);
    for (const auto method : {GraphBounds::interval, GraphBounds::crown_ibp, GraphBounds::crown}) {
      if (method == GraphBounds::crown && !rows.options.crown) break;
      graph.margin_bounds(lower, upper, rows.labels[r], margins, method);
      margins[rows.labels[r]] = 1;
      if (std::all_of(margins.begin(), margins.end(), [](float m) { return m > 0; })) return Robustness::certified;
    }
    return Robustness::unknown;
  });
  if (rows.options.attack_steps == 0 || rows.encoded.rows() == 0) return;
  // An encoded column moves by a constant times the raw one. Whole numbers are left alone: a step may not be whole.
  const Encoder& encoder = rows.model.encoder();
  const std::vector<std::uint32_t> origins = encoder.origins();
  std::vector<FeatureRule> rules(encoder.width(), FeatureRule{.fixed = true});
  std::vector<float> zero(encoder.inputs(), 0.0f), low, high, at(encoder.width()), below(encoder.width()),
      above(encoder.width()), from(encoder.width());
  low = high = zero;
  std::vector<float> one = zero;
  for (std::size_t c = 0; c < zero.size(); ++c)
    if (const auto& f = rows.features[c]; f.deviation > 0) {
      low[c] = static_cast<float>(f.low);
      high[c] = static_cast<float>(f.high);
      one[c] = static_cast<float>(f.deviation);
    }
  if (encoder.apply(zero, from) != errc::ok || encoder.apply(one, at) != errc::ok ||
      encoder.apply(low, below) != errc::ok || encoder.apply(high, above) != errc::ok)
    return;
  for (std::size_t c = 0; c < origins.size(); ++c)
    if (const auto& f = rows.features[origins[c]]; f.deviation > 0 && !f.whole && at[c] > from[c])
      rules[c] = {.fixed = false,
                  .whole = false,
                  .lower = below[c],
                  .upper = above[c],
                  .unit = static_cast<double>(at[c]) - static_cast<double>(from[c])};
  std::vector<std::size_t> open;
  for (std::size_t r = 0; r < rows.rows.rows(); ++r)
    if (rows.known(r)) open.push_back(r);
  for (std::size_t i = 0; i < rows.options.radii.size(); ++i) {
    std::vector<std::size_t> some;
    for (const std::size_t r : open)
      if (rows.answer(r, i) == Robustness::unknown) some.push_back(r);
    if (some.empty()) continue;
    Tensor<float> x({some.size(), encoder.width()});
    std::vector<std::int32_t> labels;
    for (std::size_t k = 0; k < some.size(); ++k) {
      std::copy(rows.row(some[k]).begin(), rows.row(some[k]).end(), x.row(k).begin());
      labels.push_back(static_cast<std::int32_t>(rows.labels[some[k]]));
    }
    const AttackResult result = attack(graph, x, labels,
                                       {.method = AttackMethod::apgd_dlr,
                                        .radius = rows.options.radii[i],
                                        .steps = rows.options.attack_steps,
                                        .rules = rules,
                                        .seed = rows.options.seed,
                                        .arena = rows.options.arena});
    for (std::size_t k = 0; k < some.size(); ++k)
      for (std::size_t j = i; result.broken[k] && j < rows.options.radii.size(); ++j)
        rows.answer(some[k], j) = Robustness::broken;
  }
}

}  // namespace

CertifiedAccuracy certify(const Model& model, const Dataset& data, const CertificationOptions& options) {
  check_options(options);
  if (model.task() != Task::classification) detail::fail(errc::unsupported, "certify: the model is no classifier");
  if (data.task() != Task::classification)
    detail::fail(errc::invalid_argument, "certify: the data has no class labels");
  Rows rows(model, data, options);
  CertifiedAccuracy report;
  if (const auto* forest = dynamic_cast<const Forest*>(&model.predictor())) {
    report.method = "search over the trees";
    certify_forest(*forest, rows);
  } else if (const auto* linear = dynamic_cast<const LinearForm*>(&model.predictor())) {
    report.method = "exact";
    certify_linear(*linear, rows);
  } else if (const auto* graph = dynamic_cast<const Graph*>(&model.predictor())) {
    report.method = "linear bounds";
    certify_graph(*graph, rows);
  } else {
    detail::fail(errc::unsupported,
                 fmt::format("certify: nothing can be proved about form '{}'", model.predictor().form()));
  }
  report.rows = rows.rows.rows();
  for (std::size_t i = 0; i < options.radii.size(); ++i) {
    std::size_t certified = 0, broken = 0;
    for (std::size_t r = 0; r < report.rows; ++r) {
      certified += rows.answer(r, i) == Robustness::certified;
      broken += rows.answer(r, i) == Robustness::broken;
    }
    const double n = static_cast<double>(report.rows);
    report.points.push_back({options.radii[i], static_cast<double>(certified) / n, static_cast<double>(broken) / n});
  }
  return report;
}

std::string CertifiedAccuracy::to_json() const {
  nlohmann::json json = {{"method", method}, {"rows", rows}, {"points", nlohmann::json::array()}};
  for (const auto& p : points)
    json["points"].push_back({{"radius", p.radius}, {"certified", p.certified}, {"broken", p.broken}});
  return json.dump();
}

Verdict CertifiedAccuracy::verdict(double radius, double min_certified) const {
  Verdict verdict;
  verdict.check = "certified_accuracy";
  verdict.stage = Stage::gate;
  const CertifiedPoint* at = nullptr;
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

std::ostream& operator<<(std::ostream& stream, const CertifiedAccuracy& report) {
  stream << fmt::format("{} rows verified by {}\n  radius  proved  broken    open\n", report.rows, report.method);
  for (const auto& p : report.points)
    stream << fmt::format("  {:<6g} {:7.4f} {:7.4f} {:7.4f}\n", p.radius, p.certified, p.broken,
                          std::max(0.0, 1 - p.certified - p.broken));
  return stream;
}

}  // namespace redoubt
