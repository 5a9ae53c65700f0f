#pragma once
// The least sum of one value per list, over choices whose boxes meet: what verifying a forest comes down to.
#include <cstddef>
#include <cstdint>
#include <limits>
#include <span>
#include <vector>

namespace redoubt::detail {

/// Cells lo to hi, both included, of one column.
struct CellRange {
  std::uint32_t column = 0;
  std::int32_t lo = 0, hi = 0;
};

/// Lists of boxes with values. The boxes of one list are disjoint and fill the whole box. Not thread-safe.
class BoxSearch {
 public:
  static constexpr std::int64_t none = std::numeric_limits<std::int64_t>::max();

  /// `box`: the whole box, column i at place i.
  explicit BoxSearch(std::span<const CellRange> box);
  /// The list that `add` adds to from now on.
  void begin_list();
  /// `ranges`: ascending columns, only those that are narrower than the whole box.
  void add(std::int64_t value, std::span<const CellRange> ranges);

  struct Result {
    std::int64_t lower = 0;      ///< the least sum is not below this
    std::int64_t upper = none;   ///< a sum that was found; `none` if none was
    std::vector<CellRange> box;  ///< where it is found
    std::size_t states = 0;
    bool complete() const noexcept { return lower == upper; }
  };
  /// Looks for a sum of at most `goal` and ends with the first, or with the proof that there is none (lower > goal), or
  /// after `max_states`. With goal = none it looks for the least sum.
  Result minimise(std::int64_t goal, std::size_t max_states);

 private:
  struct Item {
    std::int64_t value;
    std::uint32_t first, count;  // of ranges_
  };
  struct List {
    std::uint32_t first, count;  // of items_
    std::uint64_t columns;       // bit c % 64 for every column that its items narrow
  };
  /// What is left of a list in a part of the box.
  struct Slice {
    std::size_t first;  // of pool_
    std::uint32_t count;
    std::int64_t least, second;
  };

  bool meets(const Item& item) const noexcept;
  bool join(const List& a, const List& b, std::size_t cap, List& joint);
  void merge(std::size_t cap);
  void filter(std::span<const std::uint32_t> from, Slice& slice);
  std::int64_t start();
  void explore(std::size_t level, std::int64_t bound);
  void dive(std::int64_t goal, std::size_t max_states);

  std::vector<CellRange> whole_, box_;
  std::vector<CellRange> ranges_;
  std::vector<Item> items_;
  std::vector<List> lists_;
  std::int64_t constant_ = 0;  // of the lists with one box

  std::vector<std::uint32_t> pool_;
  std::vector<std::vector<Slice>> levels_;
  std::int64_t goal_ = 0, pruned_ = none;
  std::size_t max_states_ = 0;
  bool stop_ = false;
  Result result_;
};

}  // namespace redoubt::detail
