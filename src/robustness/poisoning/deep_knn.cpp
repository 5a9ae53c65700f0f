#include "redoubt/robustness/poisoning/deep_knn.hpp"

#include <fmt/format.h>

#include "redoubt/core/tensor.hpp"
#include "redoubt/neighbors/nearest_neighbors.hpp"
#include "robustness/complete.hpp"
#include "robustness/poisoning/labelled.hpp"
#include "robustness/rows.hpp"

namespace redoubt {

void DeepKnn::update(const Batch& batch) { detail::add_labelled(*this, batch); }
void DeepKnn::merge(const DeepKnn& other) { detail::merge_labelled(*this, other); }

Verdict DeepKnn::finish() const {
  constexpr std::size_t fewest = 5;
  if (k < 1) detail::fail(errc::invalid_argument, fmt::format("DeepKnn::k is {}; it must be at least 1", k));
  const std::size_t n = ids_.size();
  if (n < fewest || width_ == 0)
    return Verdict::abstain(
        std::string(id), stage,
        fmt::format("needs at least {} labelled rows with features; there are {} rows of {}", fewest, n, width_));
  const Tensor<float> x = detail::completed(MatrixView<const float>(features_.data(), n, width_), scaled);
  const std::size_t near = std::min<std::size_t>(static_cast<std::size_t>(k), n - 1);
  const Neighbors found = NearestNeighbors(x).find_others(near);

  Verdict verdict;
  verdict.check = id;
  verdict.stage = stage;
  std::vector<std::uint32_t> votes(names_.size());
  for (std::size_t r = 0; r < n; ++r) {
    std::fill(votes.begin(), votes.end(), 0u);
    for (std::size_t i = 0; i < near; ++i) ++votes[static_cast<std::size_t>(labels_[found.rows(r, i)])];
    const auto top = std::max_element(votes.begin(), votes.end());
    const std::uint32_t own = votes[static_cast<std::size_t>(labels_[r])];
    if (own == *top) continue;
    verdict.findings.push_back({ids_[r], "", static_cast<double>(*top - own) / static_cast<double>(near),
                                fmt::format("labelled {}, but {} of the {} nearest rows are {} and {} its own",
                                            names_[static_cast<std::size_t>(labels_[r])], *top, near,
                                            names_[static_cast<std::size_t>(top - votes.begin())], own)});
  }
  detail::finish_warning(verdict, n);
  verdict.summary = fmt::format("{} of {} rows have another label than most of their {} nearest rows",
                                verdict.findings.size(), n, near);
  return verdict;
}

}  // namespace redoubt
