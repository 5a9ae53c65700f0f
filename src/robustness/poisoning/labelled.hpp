#pragma once
// State of the checks that look at features and labels of rows together.
#include <fmt/format.h>

#include <algorithm>

#include "redoubt/data/dataset.hpp"
#include "redoubt/robustness/check.hpp"

namespace redoubt::detail {

/// Takes in the labelled rows; a row without a label has nothing to be judged by.
template <class C>
void add_labelled(C& check, const Batch& batch) {
  const auto names = batch.data->classes();
  const auto labels = batch.data->labels();
  const bool first = check.names_.empty();
  if (!first && check.width_ != batch.features.cols())
    fail(errc::shape_mismatch,
         fmt::format("{}: batches have {} and {} features", C::id, check.width_, batch.features.cols()));
  if (!first && !std::equal(names.begin(), names.end(), check.names_.begin(), check.names_.end()))
    fail(errc::type_mismatch, fmt::format("{}: batches have different classes", C::id));
  check.width_ = batch.features.cols();
  check.names_.assign(names.begin(), names.end());
  for (std::size_t r = 0; r < labels.size(); ++r) {
    if (labels[r] < 0) continue;
    const auto row = batch.features.row(r);
    check.features_.insert(check.features_.end(), row.begin(), row.end());
    check.labels_.push_back(labels[r]);
    check.ids_.push_back(batch.data->row_ids()[r]);
  }
}

template <class C>
void merge_labelled(C& check, const C& other) {
  if (other.names_.empty()) return;
  if (!check.names_.empty() && check.width_ != other.width_)
    fail(errc::shape_mismatch,
         fmt::format("{}: merged states have {} and {} features", C::id, check.width_, other.width_));
  if (!check.names_.empty() && check.names_ != other.names_)
    fail(errc::type_mismatch, fmt::format("{}: merged states have different classes", C::id));
  check.width_ = other.width_;
  check.names_ = other.names_;
  check.features_.insert(check.features_.end(), other.features_.begin(), other.features_.end());
  check.labels_.insert(check.labels_.end(), other.labels_.begin(), other.labels_.end());
  check.ids_.insert(check.ids_.end(), other.ids_.begin(), other.ids_.end());
}

}  // namespace redoubt::detail
