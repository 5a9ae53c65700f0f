#pragma once
#include <cstddef>
#include <cstdint>
#include <string>
#include <vector>

#include "redoubt/data/dataset.hpp"
#include "redoubt/robustness/check.hpp"

namespace redoubt {

struct LockstepOptions {
  std::string by;               ///< categorical column of the items; empty: the one with most categories
  bool by_label = true;         ///< two act alike only if they also give the same label; no effect without labels
  double window_hours = 24;     ///< two rows this far apart or less are at the same time; positive
  std::size_t min_items = 3;    ///< two sources are linked when they acted alike on so many items, at least 2
  std::size_t min_sources = 3;  ///< a group has so many sources, at least 2
  double false_links = 0.01;    ///< expected share of links by chance, in (0, 1)
  std::size_t shuffles = 10;    ///< of who did what, to know what chance links; at least 1
  std::uint64_t seed = 0;
};

/// Sources that act together.
struct LockstepGroup {
  std::vector<std::uint32_t> sources;  ///< codes of the source column, rising
  std::vector<std::uint32_t> rows;     ///< positions of what they did together, rising
  std::size_t items = 0;               ///< on so many items
  double share = 0;                    ///< of all rows of these sources, in (0, 1]
};

/// Groups of sources that act on the same items at the same times, again and again (CopyCatch, Beutel et al., WWW 2013;
/// by similarity of pairs: SynchroTrap, Cao et al., CCS 2014). Two sources are linked when they acted within the window
/// on at least k common items, where k >= min_items is the least for which the data with its sources dealt anew links
/// hardly anybody; groups are what links connect. Each row is compared with at most 64 later ones of its item, so that
/// the cost is O(rows log rows). Most rows first. Error(invalid_argument) for options out of range, without a source
/// or a time column, or without a categorical column.
std::vector<LockstepGroup> find_lockstep(const Dataset& data, const LockstepOptions& options = {});

/// The same as a check. Colleagues and families act together, too: it warns, and the rows' other evidence decides. A
/// row's score is the share of the group's rows that it did together.
struct Lockstep {
  static constexpr std::string_view id = "lockstep";
  static constexpr Stage stage = Stage::pre_train;
  static constexpr Need needs = Need::sources | Need::times;

  LockstepOptions options;

  void update(const Batch& batch);
  void merge(const Lockstep& other);
  /// Abstains without a categorical column.
  Verdict finish() const;

  // What was seen so far; no options. Public so that the check stays an aggregate.
  Dataset data_;
};

}  // namespace redoubt
