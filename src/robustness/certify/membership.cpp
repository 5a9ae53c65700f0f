#include "redoubt/robustness/certify/membership.hpp"

#include <fmt/format.h>

#include <algorithm>
#include <cmath>
#include <nlohmann/json.hpp>
#include <ostream>

#include "redoubt/core/error.hpp"
#include "redoubt/core/parallel.hpp"
#include "redoubt/core/tensor.hpp"
#include "redoubt/data/dataset.hpp"
#include "redoubt/model/model.hpp"
#include "redoubt/robustness/certify/partition_ensemble.hpp"
#include "robustness/rows.hpp"
#include "robustness/scoring.hpp"

namespace redoubt {
namespace {

using Json = nlohmann::json;

constexpr double smoothing = 1e-5;  // of probabilities that are exactly 0 or 1
constexpr double prior_weight = 8;  // models that the common deviation counts as beside a row's own
constexpr std::size_t fewest_models = 4;
constexpr std::size_t curve_points = 200;

struct Sums {
  double n = 0, sum = 0, square = 0;
  void add(double v) { n += 1, sum += v, square += v * v; }
  Sums without(const Sums& part) const { return {n - part.n, sum - part.sum, square - part.square}; }
  double mean() const { return n > 0 ? sum / n : 0; }
  double variance() const { return n > 1 ? std::max((square - sum * sum / n) / (n - 1), 0.0) : 0; }
};

double log_density(double v, double mean, double variance) {
  return -((v - mean) * (v - mean) / variance + std::log(variance)) / 2;
}

struct Pair {
  double score;
  std::uint32_t row;
  bool member;
};

}  // namespace

MembershipReport membership_inference(const PartitionEnsemble& ensemble, const Dataset& data,
                                      const MembershipOptions& options) {
  if (data.task() != Task::classification)
    detail::fail(errc::invalid_argument, "membership_inference: the data has no class labels");
  const Dataset rows = detail::labelled_rows(data, options.max_rows, options.seed);
  const std::size_t n = rows.rows();
  if (n == 0) detail::fail(errc::invalid_argument, "membership_inference: the data has no labelled rows");
  std::vector<std::size_t> models, index(ensemble.partitions(), ensemble.partitions());
  for (std::size_t p = 0; p < ensemble.partitions(); ++p)
    if (ensemble.model(p)) {
      index[p] = models.size();
      models.push_back(p);
    }
  const std::size_t m = models.size();
  if (m < fewest_models)
    detail::fail(errc::invalid_argument, fmt::format("membership_inference: {} of {} partitions have a model; {} are "
                                                     "needed",
                                                     m, ensemble.partitions(), fewest_models));
  // Which model was trained on each row; m: none that is here.
  std::vector<std::size_t> own(n);
  for (std::size_t r = 0; r < n; ++r) own[r] = std::min(index[ensemble.partition_of(rows.row(r))], m);

  std::vector<double> odds(m * n);  // [model * n + row]
  parallel_for(
      m, 1,
      [&](std::size_t begin, std::size_t end) {
        for (std::size_t p = begin; p < end; ++p) {
          const Tensor<float> scores = detail::aligned_outputs(ensemble.model(models[p]), rows, nullptr);
          for (std::size_t r = 0; r < n; ++r) {
            const auto label = static_cast<std::size_t>(rows.labels()[r]);
            double rest = 0;
            for (std::size_t c = 0; c < scores.cols(); ++c) rest += c == label ? 0 : scores(r, c);
            odds[p * n + r] = std::log((scores(r, label) + smoothing) / (rest + smoothing));
            if (!std::isfinite(odds[p * n + r]))
              detail::fail(errc::invalid_argument,
                           fmt::format("membership_inference: model {} gives row {} no probabilities", models[p],
                                       rows.row_ids()[r]));
          }
        }
      },
      options.arena);

  // What is usual for a row, over the models that did not see it.
  std::vector<Sums> unseen(n);
  double spread = 0;
  for (std::size_t r = 0; r < n; ++r) {
    for (std::size_t p = 0; p < m; ++p)
      if (p != own[r]) unseen[r].add(odds[p * n + r]);
    spread += unseen[r].variance() / static_cast<double>(n);
  }
  spread = std::max(spread, 1e-12);
  // Deviations from that of one pair, by as many models for members as for others: where nothing was learned, both are
  // draws of the same distribution.
  const auto deviation = [&](std::size_t p, std::size_t r) {
    const std::size_t left_out = p == own[r] ? (p + 1) % m : p;
    Sums one;
    one.add(odds[left_out * n + r]);
    const Sums usual = unseen[r].without(one);
    const double variance = (usual.variance() * (usual.n - 1) + spread * prior_weight) / (usual.n - 1 + prior_weight);
    return (odds[p * n + r] - usual.mean()) / std::sqrt(variance);
  };
  std::vector<Sums> in(m + 1), out(m + 1);  // by model, then all
  std::vector<double> z(m * n);
  for (std::size_t p = 0; p < m; ++p)
    for (std::size_t r = 0; r < n; ++r) {
      const double value = z[p * n + r] = deviation(p, r);
      auto& sums = p == own[r] ? in : out;
      sums[p].add(value);
      sums[m].add(value);
    }

  MembershipReport report;
  report.models = m;
  std::vector<Pair> pairs;
  pairs.reserve(m * n);
  for (std::size_t p = 0; p < m; ++p) {
    const Sums in_others = in[m].without(in[p]), out_others = out[m].without(out[p]);
    const double out_variance = std::max(out_others.variance(), 1e-6);
    const double in_variance = in_others.n > 1 ? std::max(in_others.variance(), 1e-6) : out_variance;
    for (std::size_t r = 0; r < n; ++r) {
      const double value = z[p * n + r];
      pairs.push_back(
          {log_density(value, in_others.mean(), in_variance) - log_density(value, out_others.mean(), out_variance),
           static_cast<std::uint32_t>(r), p == own[r]});
      ++(p == own[r] ? report.members : report.others);
    }
  }
  if (report.members == 0 || report.others == 0)
    detail::fail(errc::invalid_argument, "membership_inference: no row belongs to a shard with a model");
  std::sort(pairs.begin(), pairs.end(),
            [](const Pair& a, const Pair& b) { return a.score != b.score ? a.score > b.score : a.row < b.row; });

  const auto positives = static_cast<double>(report.members), negatives = static_cast<double>(report.others);
  double tp = 0, fp = 0, area = 0;
  const std::size_t step = (pairs.size() + curve_points - 2) / (curve_points - 1);  // the last one is shown, too
  std::size_t shown = 0;
  for (std::size_t i = 0; i < pairs.size();) {
    double more_tp = 0, more_fp = 0;
    std::size_t j = i;
    for (; j < pairs.size() && pairs[j].score == pairs[i].score; ++j) (pairs[j].member ? more_tp : more_fp) += 1;
    area += more_fp * (tp + more_tp / 2);
    tp += more_tp;
    fp += more_fp;
    if (fp / negatives <= 0.001) {
      report.tpr_at_01 = tp / positives;
      for (std::size_t k = i; k < j; ++k)
        if (pairs[k].member && report.exposed.size() < options.max_exposed)
          report.exposed.push_back({rows.row_ids()[pairs[k].row], pairs[k].score});
    }
    if (fp / negatives <= 0.01) report.tpr_at_1 = tp / positives;
    if (j >= shown || j == pairs.size()) {
      report.curve.emplace_back(fp / negatives, tp / positives);
      shown = j + step;
    }
    i = j;
  }
  report.auc = area / (positives * negatives);
  return report;
}

std::string MembershipReport::to_json() const {
  Json json = {{"models", models},       {"members", members},   {"others", others},       {"auc", auc},
               {"tpr_at_01", tpr_at_01}, {"tpr_at_1", tpr_at_1}, {"curve", Json::array()}, {"exposed", Json::array()}};
  for (const auto& [fp, tp] : curve) json["curve"].push_back({fp, tp});
  for (const ExposedRow& e : exposed) json["exposed"].push_back({{"row", e.row}, {"score", e.score}});
  return json.dump();
}

Verdict MembershipReport::verdict(double max_tpr) const {
  if (!(max_tpr >= 0 && max_tpr <= 1))
    detail::fail(errc::invalid_argument,
                 fmt::format("MembershipReport::verdict: max_tpr is {}; it must be in [0, 1]", max_tpr));
  Verdict verdict;
  verdict.check = "membership_inference";
  verdict.stage = Stage::audit;
  verdict.score = tpr_at_01;
  verdict.outcome = tpr_at_01 > max_tpr ? Outcome::warn : Outcome::pass;
  for (const ExposedRow& e : exposed)
    verdict.findings.push_back(
        {e.row, "", e.score, fmt::format("predictions give away that it was trained on (log ratio {:.1f})", e.score)});
  verdict.summary = fmt::format(
      "{:.2f} % of the training rows are told from others at 0.1 % false positives; AUC {:.3f}", 100 * tpr_at_01, auc);
  return verdict;
}

std::ostream& operator<<(std::ostream& stream, const MembershipReport& report) {
  stream << fmt::format(
      "membership inference (LiRA) on {} models: {} pairs trained on, {} not\n"
      "  AUC {:.3f}; found at 0.1 % false positives {:.2f} %, at 1 % {:.2f} %\n",
      report.models, report.members, report.others, report.auc, 100 * report.tpr_at_01, 100 * report.tpr_at_1);
  return stream;
}

}  // namespace redoubt
