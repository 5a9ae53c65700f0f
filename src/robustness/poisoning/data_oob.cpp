#include "redoubt/robustness/poisoning/data_oob.hpp"

#include <fmt/format.h>

#include <cmath>

#include "redoubt/core/view.hpp"
#include "redoubt/trees/random_forest.hpp"
#include "robustness/poisoning/labelled.hpp"
#include "robustness/rows.hpp"

namespace redoubt {

void DataOob::update(const Batch& batch) { detail::add_labelled(*this, batch); }
void DataOob::merge(const DataOob& other) { detail::merge_labelled(*this, other); }

Verdict DataOob::finish() const {
  constexpr std::size_t fewest = 20;
  if (trees < 10)
    detail::fail(errc::invalid_argument, fmt::format("DataOob::trees is {}; it must be at least 10", trees));
  if (!(cut > 0)) detail::fail(errc::invalid_argument, fmt::format("DataOob::cut is {}; it must be positive", cut));
  const std::size_t n = ids_.size(), classes = names_.size();
  if (n < fewest || width_ == 0 || classes < 2)
    return Verdict::abstain(
        std::string(id), stage,
        fmt::format(
            "needs at least {} labelled rows of 2 classes with features; there are {} rows of {} and {} features",
            fewest, n, classes, width_));

  const RandomForest forest{{.trees = trees, .max_depth = max_depth, .seed = seed}};
  const TreeTarget target{
      .task = Task::classification, .labels = labels_, .classes = classes, .values = {}, .weights = {}};
  const RandomForestFit fit = forest.fit_encoded(MatrixView<const float>(features_.data(), n, width_), {}, target);

  Verdict verdict;
  verdict.check = id;
  verdict.stage = stage;
  for (std::size_t r = 0; r < n; ++r) {
    if (fit.oob_counts[r] == 0) continue;  // every tree saw it
    const auto share = fit.oob_proba.row(r);
    const auto own = static_cast<std::size_t>(labels_[r]);
    std::size_t other = own == 0 ? 1 : 0;
    for (std::size_t k = 0; k < classes; ++k)
      if (k != own && share[k] > share[other]) other = k;
    // Of two shares of as many trees, which exclude each other.
    const double count = fit.oob_counts[r], ahead = static_cast<double>(share[other]) - share[own];
    const double variance = (static_cast<double>(share[other]) + share[own] - ahead * ahead) / count;
    if (!(ahead > 0 && ahead >= cut * std::sqrt(std::max(variance, 0.0)))) continue;
    verdict.findings.push_back(
        {ids_[r], "", 1 - static_cast<double>(fit.oob_correct[r]),
         fmt::format("labelled {}: of the {} trees that did not see it {:.0f} % say so and {:.0f} % {}", names_[own],
                     fit.oob_counts[r], 100 * share[own], 100 * share[other], names_[other])});
  }
  detail::finish_warning(verdict, n);
  verdict.summary =
      fmt::format("{} of {} rows have a label that trees which did not see them deny", verdict.findings.size(), n);
  return verdict;
}

}  // namespace redoubt
