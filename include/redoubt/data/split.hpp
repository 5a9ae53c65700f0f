#pragma once
#include <cstdint>
#include <utility>
#include <vector>

#include "redoubt/data/dataset.hpp"

namespace redoubt {

using Split = std::pair<Dataset, Dataset>;  ///< {train, test}

// In every split, rows with equal feature cells fall on the same side ("duplicates never straddle"), rows keep their
// order, and both sides are non-empty: Error(invalid_argument) says why if that cannot be. A split is a pure function
// of data, options and seed. Fractions are in (0, 1), otherwise Error(invalid_argument).

/// Same as Dataset::split. Each class (rows without a label are one more) sends round(test_fraction * rows) of its rows
/// to test, give or take the rounding that makes the total right and half a group of duplicates. A group of duplicates
/// with different labels counts for the label of its first row. Every row is on one side.
Split split_stratified(const Dataset& data, double test_fraction, std::uint64_t seed);
/// Whole sources go to one side; test gets about `test_fraction` of the rows. Error(invalid_argument) without sources.
/// A row without a source is a source of its own. Test rows that equal a training row of another source are dropped;
/// their number is what is missing from the sum.
Split split_by_source(const Dataset& data, double test_fraction, std::uint64_t seed);
/// The latest rows go to test: every test time >= every train time. Test rows that equal an older, training row are
/// dropped; their number is what is missing from the sum. Rows without a time count as oldest. Error(invalid_argument)
/// without a time column.
Split split_by_time(const Dataset& data, double test_fraction);
/// Later rows of unseen sources: train holds rows up to the cut, test only rows later than the cut *and* of sources
/// that training does not contain. The cut leaves about `test_fraction` of the rows later. Sources seen on both sides
/// of it are held out of training in random order until test has `test_fraction` of the rows that are kept, or none is
/// left. Rows that satisfy neither side, and test rows that equal a training row, are dropped from both; their number
/// is what is missing from the sum.
Split split_by_source_and_time(const Dataset& data, double test_fraction, std::uint64_t seed);
/// k pairs {train, test}; each row is in exactly one test side; stratified when the task is classification.
/// k in [2, number of distinct rows].
std::vector<Split> k_fold(const Dataset& data, int k, std::uint64_t seed);
/// Fold number of each row, for out-of-fold predictions. Same rule as k_fold, but a fold may be empty if there are
/// fewer distinct rows than folds. k in [2, rows].
std::vector<std::uint32_t> fold_ids(const Dataset& data, int k, std::uint64_t seed);

}  // namespace redoubt
