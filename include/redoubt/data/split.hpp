#pragma once
#include <cstdint>
#include <utility>
#include <vector>

#include "redoubt/data/dataset.hpp"

namespace redoubt {

using Split = std::pair<Dataset, Dataset>;  ///< {train, test}

// In every split, rows with equal feature cells fall on the same side ("duplicates never straddle").

/// Same as Dataset::split.
Split split_stratified(const Dataset& data, double test_fraction, std::uint64_t seed);
/// Whole sources go to one side; test gets about `test_fraction` of the rows. Error(invalid_argument) without sources.
Split split_by_source(const Dataset& data, double test_fraction, std::uint64_t seed);
/// The latest rows go to test: every test time >= every train time. Older duplicates of test rows leave the test side.
Split split_by_time(const Dataset& data, double test_fraction);
/// Later rows of unseen sources: the test side holds only rows later than the cut *and* of sources that
/// training does not contain (a share of the sources is held out). Rows that satisfy neither side are dropped from
/// both; their number is what is missing from the sum.
Split split_by_source_and_time(const Dataset& data, double test_fraction, std::uint64_t seed);
/// k pairs {train, test}; each row is in exactly one test side; stratified when the task is classification.
std::vector<Split> k_fold(const Dataset& data, int k, std::uint64_t seed);
/// Fold number of each row, for out-of-fold predictions. Same rule as k_fold.
std::vector<std::uint32_t> fold_ids(const Dataset& data, int k, std::uint64_t seed);

}  // namespace redoubt
