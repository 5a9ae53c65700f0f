#pragma once
#include <cstddef>
#include <cstdint>
#include <span>
#include <string>
#include <vector>

#include "redoubt/core/function_ref.hpp"
#include "redoubt/fwd.hpp"
#include "redoubt/robustness/verdict.hpp"

namespace redoubt {

struct ProvenanceOptions {
  std::size_t min_rows = 3;  ///< smaller sources are not judged by themselves
  double cut = 4;            ///< harmful: so many robust standard deviations above what the other sources do, or ...
  double min_share = 0.35;   ///< ... without it this share of the loss on trusted rows is gone (in (0, 1]), and ...
  double min_harm = 5e-3;    ///< ... at least so much log loss on the trusted rows (regression: share of the variance)
  std::size_t max_removed = 20;  ///< most sources that are found
  Arena* arena = nullptr;
};

/// What training without a source does to predictions on trusted rows.
struct SourceHarm {
  std::string source;
  std::size_t rows = 0;
  double harm = 0;   ///< loss with the source minus loss without it, against all sources not yet found harmful
  double share = 0;  ///< of the loss with it
  double z = 0;      ///< harm per row, in robust standard deviations of the other sources
  bool harmful = false;
};

/// Reject on negative impact, by source (Nelson et al. 2008; by provenance: Baracaldo et al., AISec 2017): the model is
/// trained with and without each source and judged on trusted rows. Of the sources that are harmful by the options the
/// one of most harm is taken away, then the others are judged again, so that several poisoners cannot hide behind each
/// other. Needs one training per source and round; rows without a source are always kept. Harmful sources come first,
/// in the order in which they were found, then the others by falling z. In simulations with 1 to 3 wrong sources of 20,
/// ten rows each, all wrong ones were found, and one honest source in 20 was named: few rows can be unlucky. More
/// trusted rows help.
///
/// `fit` trains a model on rows; it is called from several threads at once and must be deterministic. Error
/// (invalid_argument) for options out of range, without a source column, if the tasks differ, or if `trusted` has no
/// labelled rows.
std::vector<SourceHarm> provenance_harm(const Dataset& data, const Dataset& trusted,
                                        function_ref<Model(const Dataset&)> fit, const ProvenanceOptions& options = {});

/// The same as a verdict "provenance" for reports: blocks if a source is harmful, which the findings name; abstains if
/// no source was judged. Measure what it finds with calibrate_provenance.
Verdict provenance_verdict(std::span<const SourceHarm> sources);

}  // namespace redoubt
