#include "redoubt/robustness/evasion/sensitivity.hpp"

#include <fmt/format.h>

#include <algorithm>
#include <cmath>
#include <limits>
#include <nlohmann/json.hpp>
#include <numeric>
#include <ostream>

#include "redoubt/core/parallel.hpp"
#include "redoubt/core/random.hpp"
#include "redoubt/core/tensor.hpp"
#include "redoubt/data/dataset.hpp"
#include "redoubt/model/model.hpp"
#include "robustness/feature_domain.hpp"
#include "robustness/rows.hpp"
#include "robustness/scoring.hpp"

namespace redoubt {
namespace {

/// Independent random numbers for a row, whatever the order of work.
Random row_random(const SensitivityOptions& options, RowId row, std::uint64_t what, std::uint64_t turn) {
  return Random(options.seed + 0x9e3779b97f4a7c15ull * (what * 1000003 + turn + 1), row);
}

/// The rows under attack and how the model answers them.
struct Target {
  const Model& model;
  const Dataset& data;
  const SensitivityOptions& options;
  std::vector<detail::NumericFeature> features;
  std::string metric;
  Tensor<float> clean;

  /// `data` with the numeric features replaced: values[f][row].
  Dataset with_values(const std::vector<std::vector<double>>& values) const {
    Dataset changed = data;
    for (std::size_t f = 0; f < features.size(); ++f) {
      Column column = data.column(features[f].column);
      column.numbers = values[f];
      changed = changed.with_column(std::move(column));
    }
    return changed;
  }
  std::vector<std::vector<double>> values() const {
    std::vector<std::vector<double>> all;
    for (const detail::NumericFeature& f : features) all.push_back(data.column(f.column).numbers);
    return all;
  }
  Tensor<float> outputs(const Dataset& rows) const { return detail::aligned_outputs(model, rows, options.arena); }

  bool classifies() const { return data.task() == Task::classification; }

  /// How wrong the outputs are for a row; larger is worse.
  double loss(const Tensor<float>& out, std::size_t row) const {
    if (!classifies()) return std::abs(out(row, 0) - data.targets()[row]);
    const auto truth = static_cast<std::size_t>(data.labels()[row]);
    float other = 0;
    for (std::size_t c = 0; c < out.cols(); ++c)
      if (c != truth) other = std::max(other, out(row, c));
    return other - out(row, truth);
  }

  SensitivityPoint point(double size, const Tensor<float>& out) const {
    SensitivityPoint p{size, detail::metric_of(data, out, metric), 0};
    for (std::size_t r = 0; r < data.rows(); ++r) {
      if (!classifies()) {
        p.changed += std::abs(out(r, 0) - clean(r, 0));
        continue;
      }
      const auto best = [&](const Tensor<float>& t) {
        return std::max_element(t.row(r).begin(), t.row(r).end()) - t.row(r).begin();
      };
      p.changed += best(out) != best(clean);
    }
    p.changed /= static_cast<double>(data.rows());
    return p;
  }
};

Tensor<float> with_noise(const Target& target, double size) {
  auto values = target.values();
  for (std::size_t r = 0; r < target.data.rows(); ++r) {
    Random random = row_random(target.options, target.data.row_ids()[r], 1, 0);
    for (std::size_t f = 0; f < values.size(); ++f) {
      // One draw per feature whatever the size, so that a curve follows the same directions outwards.
      const double step = size * target.features[f].deviation * random.normal();
      if (std::isfinite(values[f][r])) values[f][r] = target.features[f].to_domain(values[f][r] + step);
    }
  }
  return target.outputs(target.with_values(values));
}

Tensor<float> with_missing(const Target& target, double size) {
  Dataset changed = target.data;
  for (std::size_t c : target.data.schema().features()) {
    Column column = target.data.column(c);
    TextColumn texts;
    for (std::size_t r = 0; r < target.data.rows(); ++r) {
      const bool gone = row_random(target.options, target.data.row_ids()[r], 2, c).uniform() < size;
      switch (column.spec.type) {
        case ColumnType::numeric:
          if (gone) column.numbers[r] = std::numeric_limits<double>::quiet_NaN();
          break;
        case ColumnType::categorical:
          if (gone) column.codes[r] = -1;
          break;
        case ColumnType::timestamp:
          if (gone) column.times[r] = missing_time;
          break;
        case ColumnType::text: texts.push_back(gone ? std::string_view() : column.texts[r]); break;
      }
    }
    if (column.spec.type == ColumnType::text) column.texts = std::move(texts);
    changed = changed.with_column(std::move(column));
  }
  return target.outputs(changed);
}

/// Random search within the box. `worst` and `worst_out` hold the worst point so far, of a smaller box or the rows
/// themselves, so that the loss never falls as the box grows.
void search(const Target& target, double size, std::vector<std::vector<double>>& worst, Tensor<float>& worst_out) {
  const auto original = target.values();
  for (int turn = 0; turn < target.options.tries; ++turn) {
    auto probe = worst;
    // The share of features that move shrinks as the search goes on.
    const double share = std::max(1.0 / (1.0 + turn), 1.0 / static_cast<double>(probe.size()));
    for (std::size_t r = 0; r < target.data.rows(); ++r) {
      Random random = row_random(target.options, target.data.row_ids()[r], 3 + static_cast<std::uint64_t>(size * 4096),
                                 static_cast<std::uint64_t>(turn));
      for (std::size_t f = 0; f < probe.size(); ++f) {
        const bool moves = random.uniform() < share;
        const double side = random.uniform() < 0.5 ? -1 : 1;
        if (!moves || !std::isfinite(original[f][r])) continue;
        const detail::NumericFeature& feature = target.features[f];
        double value = feature.to_domain(original[f][r] + side * size * feature.deviation);
        // Rounding to a whole number may leave the box: go back towards the original.
        if (feature.whole && std::abs(value - original[f][r]) > size * feature.deviation)
          value = original[f][r] + side * std::floor(size * feature.deviation);
        probe[f][r] = std::clamp(value, std::min(feature.low, original[f][r]), std::max(feature.high, original[f][r]));
      }
    }
    const Tensor<float> out = target.outputs(target.with_values(probe));
    for (std::size_t r = 0; r < target.data.rows(); ++r) {
      if (!(target.loss(out, r) > target.loss(worst_out, r))) continue;
      for (std::size_t f = 0; f < probe.size(); ++f) worst[f][r] = probe[f][r];
      std::copy(out.row(r).begin(), out.row(r).end(), worst_out.row(r).begin());
    }
  }
}

void check_options(const SensitivityOptions& options) {
  const auto require = [](bool ok, const std::string& message) {
    if (!ok) detail::fail(errc::invalid_argument, message);
  };
  require(!options.sizes.empty(), "SensitivityOptions::sizes is empty");
  for (std::size_t i = 0; i < options.sizes.size(); ++i)
    require(
        std::isfinite(options.sizes[i]) && options.sizes[i] >= (i == 0 ? 0 : options.sizes[i - 1]),
        fmt::format("SensitivityOptions::sizes[{}] is {}; sizes must be non-negative and rising", i, options.sizes[i]));
  require(!options.perturbations.empty(), "SensitivityOptions::perturbations is empty");
  require(options.tries >= 1 && options.tries <= 100000,
          fmt::format("SensitivityOptions::tries is {}; it must be in [1, 100000]", options.tries));
}

}  // namespace

const char* to_string(Perturbation perturbation) noexcept {
  switch (perturbation) {
    case Perturbation::noise: return "noise";
    case Perturbation::missing: return "missing";
    case Perturbation::search: return "search";
  }
  return "unknown";
}

SensitivityReport sensitivity(const Model& model, const Dataset& data, const SensitivityOptions& options) {
  check_options(options);
  if (data.task() == Task::none)
    detail::fail(errc::invalid_argument, "sensitivity: the data has no target to measure against");
  const Dataset rows = detail::labelled_rows(data, options.max_rows, options.seed);
  if (rows.rows() == 0) detail::fail(errc::invalid_argument, "sensitivity: the data has no rows with a target");

  Target target{model, rows, options, detail::numeric_features(data), {}, {}};
  target.metric = !options.metric.empty() ? options.metric : target.classifies() ? "accuracy" : "rmse";
  target.clean = target.outputs(rows);

  SensitivityReport report;
  report.metric = target.metric;
  report.rows = rows.rows();
  report.clean = detail::metric_of(rows, target.clean, target.metric);
  for (Perturbation perturbation : options.perturbations) {
    if (perturbation != Perturbation::missing && target.features.empty()) continue;
    SensitivityCurve curve{perturbation, {}};
    auto worst = target.values();
    Tensor<float> worst_out = target.clean;
    for (double size : options.sizes) {
      if (size == 0) {
        curve.points.push_back(target.point(0, target.clean));
        continue;
      }
      switch (perturbation) {
        case Perturbation::noise: curve.points.push_back(target.point(size, with_noise(target, size))); break;
        case Perturbation::missing: curve.points.push_back(target.point(size, with_missing(target, size))); break;
        case Perturbation::search:
          search(target, size, worst, worst_out);
          curve.points.push_back(target.point(size, worst_out));
          break;
      }
    }
    report.curves.push_back(std::move(curve));
  }
  return report;
}

std::string SensitivityReport::to_json() const {
  nlohmann::json json = {{"metric", metric}, {"rows", rows}, {"clean", clean}, {"curves", nlohmann::json::array()}};
  for (const SensitivityCurve& curve : curves) {
    nlohmann::json points = nlohmann::json::array();
    for (const SensitivityPoint& p : curve.points)
      points.push_back({{"size", p.size}, {"metric", p.metric}, {"changed", p.changed}});
    json["curves"].push_back({{"perturbation", to_string(curve.perturbation)}, {"points", std::move(points)}});
  }
  return json.dump();
}

Verdict SensitivityReport::verdict(double size, double max_loss) const {
  Verdict verdict;
  verdict.check = "sensitivity";
  verdict.stage = Stage::gate;
  std::size_t looked_at = 0;
  for (const SensitivityCurve& curve : curves)
    for (const SensitivityPoint& p : curve.points) {
      if (p.size > size || std::isnan(p.metric)) continue;
      ++looked_at;
      const double loss = detail::worsening(metric, clean, p.metric);
      verdict.score = std::max(verdict.score, loss);
      if (loss > max_loss)
        verdict.findings.push_back({no_row, "", loss,
                                    fmt::format("{} of size {}: {} is {:.4f}, clean {:.4f}",
                                                to_string(curve.perturbation), p.size, metric, p.metric, clean)});
    }
  if (looked_at == 0 || std::isnan(clean))
    return Verdict::abstain("sensitivity", Stage::gate, fmt::format("no curve was measured up to size {}", size));
  verdict.outcome = verdict.findings.empty() ? Outcome::pass : Outcome::block;
  verdict.summary =
      fmt::format("{} loses at most {:.4f} up to size {}; {:.4f} is tolerated", metric, verdict.score, size, max_loss);
  return verdict;
}

std::ostream& operator<<(std::ostream& stream, const SensitivityReport& report) {
  stream << fmt::format("{} of {} rows against perturbation size (clean {:.4f})\n", report.metric, report.rows,
                        report.clean);
  for (const SensitivityCurve& curve : report.curves) {
    stream << fmt::format("  {:<8}", to_string(curve.perturbation));
    for (const SensitivityPoint& p : curve.points) stream << fmt::format("  {:g}: {:.4f}", p.size, p.metric);
    stream << '\n';
  }
  return stream;
}

}  // namespace redoubt
