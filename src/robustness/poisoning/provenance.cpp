#include "redoubt/robustness/poisoning/provenance.hpp"

#include <fmt/format.h>

#include <algorithm>
#include <cmath>

#include "redoubt/core/error.hpp"
#include "redoubt/core/parallel.hpp"
#include "redoubt/data/dataset.hpp"
#include "redoubt/model/model.hpp"
#include "robustness/rows.hpp"
#include "robustness/scoring.hpp"

namespace redoubt {
namespace {

/// Mean log loss, or mean squared error over the variance.
double loss_of(const Model& model, const Dataset& trusted) {
  const Tensor<float> outputs = detail::aligned_outputs(model, trusted, nullptr);
  if (trusted.task() == Task::classification) return detail::metric_of(trusted, outputs, "log_loss");
  const double rmse = detail::metric_of(trusted, outputs, "rmse");
  double mean = 0, variance = 0;
  for (const double y : trusted.targets()) mean += y / static_cast<double>(trusted.rows());
  for (const double y : trusted.targets()) variance += (y - mean) * (y - mean) / static_cast<double>(trusted.rows());
  return rmse * rmse / std::max(variance, 1e-300);
}

}  // namespace

std::vector<SourceHarm> provenance_harm(const Dataset& data, const Dataset& trusted,
                                        function_ref<Model(const Dataset&)> fit, const ProvenanceOptions& options) {
  if (options.min_rows < 1 || !(options.cut > 0) || !(options.min_harm >= 0) ||
      !(options.min_share > 0 && options.min_share <= 1))
    detail::fail(errc::invalid_argument,
                 fmt::format("ProvenanceOptions: min_rows {} must be at least 1, cut {} above 0, min_share {} in (0, "
                             "1], min_harm {} at least 0",
                             options.min_rows, options.cut, options.min_share, options.min_harm));
  data.require_trainable();
  if (data.sources().empty()) detail::fail(errc::invalid_argument, "provenance_harm: the data has no source column");
  if (data.task() != trusted.task())
    detail::fail(errc::invalid_argument, "provenance_harm: the trusted rows have another kind of target");
  const Dataset judges = detail::labelled_rows(trusted, 0, 0);
  if (judges.rows() == 0) detail::fail(errc::invalid_argument, "provenance_harm: no trusted row has a target");

  std::vector<SourceHarm> open, found;
  {
    std::vector<std::size_t> rows(data.source_names().size(), 0);
    for (const std::int32_t s : data.sources())
      if (s >= 0) ++rows[static_cast<std::size_t>(s)];
    for (std::size_t s = 0; s < rows.size(); ++s)
      if (rows[s] >= options.min_rows) open.push_back({.source = data.source_names()[s], .rows = rows[s]});
  }
  Dataset left = data;
  while (!open.empty()) {
    const double with = loss_of(fit(left), judges);
    parallel_for(
        open.size(), 1,
        [&](std::size_t begin, std::size_t end) {
          for (std::size_t s = begin; s < end; ++s) {
            const Dataset rest = left.without_sources(std::span(&open[s].source, 1));
            open[s].harm = rest.rows() == 0 ? 0 : with - loss_of(fit(rest), judges);
          }
        },
        options.arena);
    for (SourceHarm& s : open) s.share = with > 0 ? s.harm / with : 0;
    // What a row does is about as much for every honest source; a few bad ones do not move the median.
    std::vector<double> per_row, distance;
    for (const SourceHarm& s : open) per_row.push_back(s.harm / static_cast<double>(s.rows));
    const double centre = detail::median(per_row);
    for (const double v : per_row) distance.push_back(std::abs(v - centre));
    const double spread = std::max(1.4826 * detail::median(distance), 1e-12);
    for (std::size_t s = 0; s < open.size(); ++s) open[s].z = (per_row[s] - centre) / spread;
    // Among few sources, or very unequal ones, the deviation says little; what the loss consists of still does. The
    // worst of those that qualify: a large honest source may do more by its size alone.
    auto worst = open.end();
    for (auto s = open.begin(); s != open.end(); ++s) {
      if ((s->z < options.cut && s->share < options.min_share) || s->harm < options.min_harm) continue;
      if (worst == open.end() || s->harm > worst->harm) worst = s;
    }
    if (worst == open.end() || found.size() >= options.max_removed) break;
    worst->harmful = true;
    left = left.without_sources(std::span(&worst->source, 1));
    found.push_back(*worst);
    open.erase(worst);
  }
  std::stable_sort(open.begin(), open.end(), [](const SourceHarm& a, const SourceHarm& b) { return a.z > b.z; });
  found.insert(found.end(), open.begin(), open.end());
  return found;
}

Verdict provenance_verdict(std::span<const SourceHarm> sources) {
  if (sources.empty())
    return Verdict::abstain("provenance", Stage::pre_train, "no source has enough rows to be judged by itself");
  Verdict verdict;
  verdict.check = "provenance";
  verdict.stage = Stage::pre_train;
  for (const SourceHarm& s : sources)
    if (s.harmful)
      verdict.findings.push_back(
          {no_row, s.source, s.z,
           fmt::format("its {} rows add {:.4f} to the loss on trusted rows ({:.0f} % of it), {:.1f} robust deviations "
                       "above the others",
                       s.rows, s.harm, 100 * s.share, s.z)});
  verdict.outcome = verdict.findings.empty() ? Outcome::pass : Outcome::block;
  verdict.score = static_cast<double>(verdict.findings.size()) / static_cast<double>(sources.size());
  verdict.summary =
      fmt::format("{} of {} sources make predictions on trusted rows worse", verdict.findings.size(), sources.size());
  return verdict;
}

}  // namespace redoubt
