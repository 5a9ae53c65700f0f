#pragma once
// What the importers of other libraries' tree models have in common: from their trees to a Forest and a Model.
#include <cstdint>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "redoubt/core/shared.hpp"
#include "redoubt/model/model.hpp"
#include "redoubt/trees/forest.hpp"

namespace redoubt::detail {

/// The largest float that is not above `value`: x <= value holds for the same floats x.
float round_down(double value) noexcept;
/// The largest float below `value`: x <= it holds for the floats x < value.
float just_below(float value) noexcept;

/// One node as the file states it. Child c >= 0 is a node of the same tree, c < 0 its leaf ~c.
struct PeerNode {
  std::uint32_t feature = 0;
  float threshold = 0;
  std::uint8_t flags = 0;
  std::int32_t left = 0, right = 0;
  std::int32_t category_set = -1;  ///< as `PeerForest::add_set` numbered it
  float cover = 0, gain = 0;
};

struct PeerTree {
  std::int32_t root = ~0;
  std::vector<PeerNode> nodes;
  std::vector<double> leaf_values;
  std::vector<float> leaf_cover;
};

/// A forest in the making, and what a Model needs beside it.
class PeerForest {
 public:
  std::string library;    ///< "lightgbm"; ModelInfo::algorithm
  std::string objective;  ///< as the file names it; "" if it names none
  std::uint32_t columns = 0;
  std::vector<std::string> column_names;  ///< one per column; empty: f0, f1, ...
  ForestLink link = ForestLink::identity;
  std::uint32_t outputs = 1;
  std::vector<double> base;  ///< per output, in the space of the scores; empty: the leaves hold it

  std::size_t trees() const noexcept { return arrays_.roots.size(); }
  /// Bit k of `words`: code k goes left. Returns the number of the set.
  std::int32_t add_set(std::span<const std::uint32_t> words);
  /// Nodes that are not reached are left out; leaves keep their order, each must be reached exactly once.
  /// Error(corrupt) beginning with `where` for children out of range, circles, leaves without a parent, numbers that
  /// are not finite.
  void add_tree(const PeerTree& tree, std::uint32_t output, double scale, std::string_view where);

  /// The forest; leaves a `PeerForest` without trees. Where `base` is empty and the leaves of the first tree of an
  /// output have a large part in common (the initial score that LightGBM adds there), it moves into the base, so that
  /// less is lost when leaves and scores become float.
  Shared<const Forest> forest();
  /// The model around `forest`. Error(unsupported) if its outputs mean nothing to a Model.
  Model model(Shared<const Forest> forest) const;

 private:
  ForestArrays arrays_;
  std::vector<double> leaf_values_;
  std::vector<std::size_t> first_leaves_;  ///< per tree
};

/// A count or gain for display, whatever the file says: NaN becomes 0, the rest is clamped to floats from `lowest` on.
float harmless(double value, float lowest) noexcept;

}  // namespace redoubt::detail
