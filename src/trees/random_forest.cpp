#include "redoubt/trees/random_forest.hpp"

#include "redoubt/data/dataset.hpp"
#include "trees/bagging.hpp"

namespace redoubt {
namespace {

detail::BaggingOptions bagging(const RandomForestOptions& options, Task task) {
  return detail::bagging_options(options, "RandomForest", false, task == Task::classification ? 0 : 1.0 / 3);
}

}  // namespace

RandomForestFit RandomForest::fit_binned(const BinnedMatrix& x, const TreeTarget& y,
                                         std::span<const std::uint32_t> rows, bool with_oob) const {
  return detail::fit_bagging(bagging(options, y.task), x, y, rows, with_oob);
}

RandomForestFit RandomForest::fit_encoded(MatrixView<const float> x, std::span<const std::uint32_t> category_counts,
                                          const TreeTarget& y, bool with_oob) const {
  return detail::fit_bagging(bagging(options, y.task), x, category_counts, y, with_oob);
}

RandomForestFit RandomForest::fit_sparse(const CsrView& x, std::span<const std::uint32_t> category_counts,
                                         const TreeTarget& y, bool with_oob) const {
  return detail::fit_bagging(bagging(options, y.task), x, category_counts, y, with_oob);
}

Model RandomForest::fit(const Dataset& data) const {
  return detail::fit_bagging(bagging(options, data.task()), "random_forest", options.encoder, data);
}

}  // namespace redoubt
