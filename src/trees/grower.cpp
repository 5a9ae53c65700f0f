#include "trees/grower.hpp"

#include <algorithm>
#include <array>
#include <atomic>
#include <bit>
#include <cmath>
#include <limits>
#include <numeric>
#include <queue>

#include "kernels/grow.hpp"
#include "redoubt/core/random.hpp"
#include "trees/histogram.hpp"
#include "trees/row_partition.hpp"
#include "trees/split_search.hpp"

namespace redoubt::detail {
namespace {

constexpr std::size_t wide_rows = 2048;             // up to so many rows gradients have 30 bits
constexpr std::size_t exact_rows = 32 * 1024;       // up to so many rows leaf values come from the floats
constexpr std::size_t quantised_block = 32 * 1024;  // rows
constexpr std::size_t search_rows = 3600;           // rows whose histogram takes as long as searching a pair of nodes
constexpr std::size_t forgotten_together = 16;      // leaves
constexpr std::size_t ahead_per_thread = 4;         // leaves that are split before their turn
constexpr std::size_t most_left_out = 16;           // of the largest of those, tried

std::uint64_t mix(std::uint64_t x) noexcept {  // SplitMix64
  x += 0x9e3779b97f4a7c15u;
  x = (x ^ (x >> 30)) * 0xbf58476d1ce4e5b9u;
  x = (x ^ (x >> 27)) * 0x94d049bb133111ebu;
  return x ^ (x >> 31);
}

/// Power of two that brings numbers up to `largest` below 2^bits.
double power_scale(double largest, int bits) {
  int exponent = 0;
  std::frexp(largest, &exponent);
  return largest > 0 ? std::ldexp(1.0, std::clamp(bits - exponent, -1000, 1000)) : 1.0;
}

}  // namespace

struct Grower::Impl {
  struct Leaf {
    std::size_t begin = 0, end = 0;
    int side = 0;  // which of the two buffers holds its rows
    GradientSum total;
    int depth = 0;
    std::int32_t parent = -1;  // node, -1 at the root
    bool is_left = false;
    std::uint64_t path = 1;  // of all above: what is drawn at random depends on it, not on when
    int histogram = -1;      // slot, -1: none
    std::size_t lane = 0;    // who has split its parent
    double output = 0, parent_output = 0;
    double lower = -std::numeric_limits<double>::infinity(), upper = std::numeric_limits<double>::infinity();
    Split best;
  };
  /// What a leaf becomes when its best split is made.
  struct Children {
    Leaf left, right;
    bool made = false;
  };
  /// Slots for the histograms of a leaf's children; that of the larger is -1 if it takes the leaf's.
  struct ChildSlots {
    int small = -1, large = -1;
  };
  /// A leaf to split.
  struct Job {
    std::uint32_t leaf;
    std::size_t turn, cost;
    std::size_t lane = 0;
    ChildSlots slots = {};
  };
  /// The tree that is being grown.
  struct Growing {
    GrownTree tree;
    std::span<const std::uint8_t> column_on;
  };

  Impl(const BinnedMatrix& matrix, const GrowerOptions& o, Team& threads)
      : bins(matrix),
        options(o),
        team(threads),
        builder(matrix, team),
        pool(builder.layout()),
        search(matrix, builder.layout(), options, team),
        kernels(kernels::detail::grow_table()),
        rows(matrix, team) {}

  GrownTree grow(RowList bag, std::span<float> g, std::span<float> h, std::uint64_t tree_number,
                 std::span<const std::uint8_t> column_on);
  GradientSum quantise(std::span<const float> g, std::span<const float> h, std::uint64_t tree_number);
  GradientSum quantise_wide(std::span<const float> g, std::span<const float> h);
  NodeRows rows_of(const Leaf& leaf) const noexcept;
  SearchedNode node_for_search(const Leaf& leaf, const Leaf* from, const Growing& growing,
                               std::vector<std::uint8_t>& columns) const;
  void split_leaf(std::uint32_t id, bool search_children, ChildSlots to, const Growing& growing, const Crew& crew);
  double share_out(std::span<Job> jobs, std::size_t lanes) const;
  void split_ahead(std::span<const std::uint32_t> window, const Growing& growing);
  bool splittable(const Leaf& leaf) const noexcept;
  int take_slot(std::size_t of_rows);
  ChildSlots take_slots(const Leaf& leaf);
  void release_slot(int& slot);
  std::span<const std::uint8_t> columns_for(const Leaf& leaf, const Leaf* from, const Growing& growing,
                                            std::vector<std::uint8_t>& out) const;
  void set_covers(GrownTree& tree) const;

  const BinnedMatrix& bins;
  const GrowerOptions options;
  Team& team;
  HistogramBuilder builder;
  HistogramPool pool;
  SplitSearch search;
  const kernels::detail::GrowTable& kernels;

  GradientScale scale;
  WidePairs wide;
  RowPartition rows;
  std::vector<Leaf> leaves;
  std::vector<Children> children;  // of each leaf
  std::vector<std::int32_t> node_parents;
  std::vector<Histogram> slots;
  std::vector<int> free_slots;  // without memory
};

GradientSum Grower::Impl::quantise_wide(std::span<const float> g, std::span<const float> h) {
  const RowList bag = rows.rows();
  double largest_g = 0, largest_h = 0;
  for (std::size_t i = 0; i < bag.size(); ++i) {
    largest_g = std::max(largest_g, std::abs(static_cast<double>(g[bag[i]])));
    largest_h = std::max(largest_h, static_cast<double>(h[bag[i]]));
  }
  const double g_scale = power_scale(largest_g, 30), h_scale = power_scale(largest_h, 30);
  scale.g = 1 / g_scale;
  scale.h = 1 / h_scale;
  wide.g.resize(bag.size());
  wide.h.resize(bag.size());
  GradientSum total;
  for (std::size_t i = 0; i < bag.size(); ++i) {
    wide.g[i] = static_cast<std::int32_t>(std::lrint(g[bag[i]] * g_scale));
    wide.h[i] = static_cast<std::uint32_t>(std::max(std::lrint(h[bag[i]] * h_scale), 0l));
    rows.pairs()[i] = static_cast<std::uint32_t>(i);
    total += {wide.g[i], (static_cast<std::uint64_t>(wide.h[i]) << scale.count_bits) + 1};
  }
  return total;
}

GradientSum Grower::Impl::quantise(std::span<const float> g, std::span<const float> h, std::uint64_t tree_number) {
  const std::size_t n = rows.rows().size(), blocks = (n + quantised_block - 1) / quantised_block;
  struct Block {
    float g_low, g_high, h_low, h_high;
    std::int64_t sums[2] = {};
  };
  std::vector<Block> found(blocks);
  const std::uint32_t* listed = rows.all_rows() ? nullptr : rows.rows().list();
  team.parallel_for(n, quantised_block, [&](std::size_t begin, std::size_t end) {
    Block& block = found[begin / quantised_block];
    const std::size_t first = listed ? 0 : begin;
    kernels.bounds(g.data() + first, listed ? listed + begin : nullptr, end - begin, &block.g_low, &block.g_high);
    kernels.bounds(h.data() + first, listed ? listed + begin : nullptr, end - begin, &block.h_low, &block.h_high);
  });
  Block all = found[0];
  for (const Block& block : found) {
    all.g_low = std::min(all.g_low, block.g_low);
    all.g_high = std::max(all.g_high, block.g_high);
    all.h_low = std::min(all.h_low, block.h_low);
    all.h_high = std::max(all.h_high, block.h_high);
  }
  const double largest_g =
      std::max(std::abs(static_cast<double>(all.g_low)), std::abs(static_cast<double>(all.g_high)));
  // Their sum and the number of rows share 64 bits: from 2^26 rows on there is less room.
  const int h_bits = std::min<int>(kernels::detail::grow_h_bits, 64 - 2 * static_cast<int>(scale.count_bits));
  double g_scale = power_scale(largest_g, kernels::detail::grow_g_bits), h_scale = power_scale(all.h_high, h_bits);
  scale.g = 1 / g_scale;
  scale.h = 1 / h_scale;
  if (all.h_low == all.h_high && all.h_high > 0) {
    // Equal hessians count rows: exactly 1 each. A little more than 1 is never rounded up to 2.
    scale.h = all.h_high;
    h_scale = (1 + 0x1p-20) / static_cast<double>(all.h_high);
  }
  const std::uint64_t key = mix(tree_number);
  team.parallel_for(n, quantised_block, [&](std::size_t begin, std::size_t end) {
    kernels.quantise(g.data(), h.data(), listed ? listed + begin : nullptr, begin, end - begin,
                     static_cast<float>(g_scale), static_cast<float>(h_scale), key, rows.pairs() + begin,
                     found[begin / quantised_block].sums);
  });
  GradientSum total{0, n};
  for (const Block& block : found)
    total += {block.sums[0], static_cast<std::uint64_t>(block.sums[1]) << scale.count_bits};
  return total;
}

NodeRows Grower::Impl::rows_of(const Leaf& leaf) const noexcept {
  return leaf.depth == 0 ? rows.root() : rows.node(leaf.side, leaf.begin, leaf.end);
}

bool Grower::Impl::splittable(const Leaf& leaf) const noexcept {
  return scale.rows(leaf.total) >= 2 * static_cast<std::int64_t>(std::max(options.min_leaf_rows, 1)) &&
         (options.max_depth == 0 || leaf.depth < options.max_depth);
}

int Grower::Impl::take_slot(std::size_t of_rows) {
  if (free_slots.empty()) {
    free_slots.push_back(static_cast<int>(slots.size()));
    slots.emplace_back();
  }
  const int slot = free_slots.back();
  free_slots.pop_back();
  slots[static_cast<std::size_t>(slot)] = pool.take(builder.compact(of_rows));
  return slot;
}

Grower::Impl::ChildSlots Grower::Impl::take_slots(const Leaf& leaf) {
  const std::size_t rows_here = leaf.end - leaf.begin, left = static_cast<std::size_t>(scale.rows(leaf.best.left));
  const std::size_t small = std::min(left, rows_here - left), large = rows_here - small;
  return {take_slot(small), builder.compact(large) != builder.compact(rows_here) ? take_slot(large) : -1};
}

void Grower::Impl::release_slot(int& slot) {
  if (slot < 0) return;
  pool.give_back(slots[static_cast<std::size_t>(slot)]);
  free_slots.push_back(slot);
  slot = -1;
}

/// The columns that may split a leaf: those that are on, that may meet the ones above, and that are drawn.
/// `from`: the leaf that it is split from, which is no node yet; null for the root.
std::span<const std::uint8_t> Grower::Impl::columns_for(const Leaf& leaf, const Leaf* from, const Growing& growing,
                                                        std::vector<std::uint8_t>& out) const {
  const std::span<const std::uint8_t> column_on = growing.column_on;
  if (options.interactions.empty() && options.node_column_fraction >= 1) return column_on;
  out.assign(column_on.begin(), column_on.end());
  if (!options.interactions.empty()) {
    std::vector<std::uint32_t> above;
    if (from) above.push_back(from->best.column);
    for (std::int32_t node = from ? from->parent : -1; node >= 0; node = node_parents[static_cast<std::size_t>(node)])
      above.push_back(growing.tree.nodes[static_cast<std::size_t>(node)].column);
    std::vector<std::uint8_t> grouped(bins.cols()), allowed(bins.cols());
    for (const auto& group : options.interactions) {
      for (const auto c : group) grouped[c] = 1;
      const bool holds_all = std::all_of(above.begin(), above.end(), [&](std::uint32_t c) {
        return std::find(group.begin(), group.end(), c) != group.end();
      });
      if (holds_all)
        for (const auto c : group) allowed[c] = 1;
    }
    // A column of no group is a group of its own.
    for (std::uint32_t c = 0; c < bins.cols(); ++c) {
      const bool alone = !grouped[c] && std::all_of(above.begin(), above.end(), [&](auto a) { return a == c; });
      if (!allowed[c] && !alone) out[c] = 0;
    }
  }
  if (options.node_column_fraction < 1) {
    const auto on = static_cast<std::size_t>(std::count(out.begin(), out.end(), std::uint8_t{1}));
    const auto wanted = static_cast<std::size_t>(std::llround(options.node_column_fraction * static_cast<double>(on)));
    std::size_t left = on, take = std::clamp<std::size_t>(wanted, 1, std::max<std::size_t>(on, 1));
    Random random(options.seed ^ 0x6e6f6465, leaf.path);
    for (auto& o : out) {
      if (!o) continue;
      const bool taken = random.below(left--) < take;
      take -= taken;
      o = taken;
    }
  }
  return out;
}

void Grower::Impl::set_covers(GrownTree& tree) const {
  std::vector<double> leaf_cover(leaves.size()), node_cover(tree.nodes.size());
  for (std::size_t i = 0; i < leaves.size(); ++i) {
    if (options.weights.empty()) {
      leaf_cover[i] = static_cast<double>(scale.rows(leaves[i].total));
    } else {
      const NodeRows node = rows_of(leaves[i]);
      for (std::size_t k = 0; k < node.count; ++k) leaf_cover[i] += options.weights[node.rows ? node.rows[k] : k];
    }
  }
  for (std::size_t i = tree.nodes.size(); i-- > 0;) {
    GrownNode& node = tree.nodes[i];
    const auto of = [&](std::int32_t child) {
      return child >= 0 ? node_cover[static_cast<std::size_t>(child)] : leaf_cover[static_cast<std::size_t>(~child)];
    };
    node_cover[i] = of(node.left) + of(node.right);
    node.cover = static_cast<float>(node_cover[i]);
  }
  tree.leaf_cover.assign(leaf_cover.begin(), leaf_cover.end());
}

SearchedNode Grower::Impl::node_for_search(const Leaf& leaf, const Leaf* from, const Growing& growing,
                                           std::vector<std::uint8_t>& columns) const {
  SearchedNode node;
  node.total = leaf.total;
  node.output = leaf.output;
  node.lower = leaf.lower;
  node.upper = leaf.upper;
  node.random_stream = leaf.path;
  node.columns = columns_for(leaf, from, growing, columns);
  return node;
}

/// Makes the children of a leaf, with their histograms and best splits if those are wanted; `to` is for the histograms.
/// Touches nothing that belongs to another leaf.
void Grower::Impl::split_leaf(std::uint32_t id, bool search_children, ChildSlots to, const Growing& growing,
                              const Crew& crew) {
  const Leaf& leaf = leaves[id];
  const Split& split = leaf.best;
  auto& [left, right, made] = children[id];
  const std::size_t middle = leaf.begin + static_cast<std::size_t>(scale.rows(split.left));
  rows.split(rows_of(leaf), leaf.side, leaf.begin, split, middle - leaf.begin, crew);
  left = right = leaf;
  left.end = right.begin = middle;
  left.total = split.left;
  right.total = leaf.total - split.left;
  for (Leaf* child : {&left, &right}) {
    child->side = 1 - leaf.side;
    ++child->depth;
    child->is_left = child == &left;
    child->lane = crew.threads > 1 ? static_cast<std::size_t>(child == &left) : crew.lane;
    child->path = mix(2 * leaf.path + child->is_left);
    child->histogram = -1;
    child->best = {};
    child->parent_output = leaf.output;
    child->output = search.output(child->total, leaf.output, child->lower, child->upper);
  }
  if (!options.monotone.empty() && options.monotone[split.column] != 0) {
    // Neither side may ever cross the middle between them.
    const double between = (left.output + right.output) / 2;
    const bool up = options.monotone[split.column] > 0;
    (up ? left : right).upper = std::min((up ? left : right).upper, between);
    (up ? right : left).lower = std::max((up ? right : left).lower, between);
  }
  const bool left_is_small = scale.rows(left.total) <= scale.rows(right.total);
  Leaf& small = left_is_small ? left : right;
  Leaf& large = left_is_small ? right : left;
  large.histogram = to.large >= 0 ? to.large : leaf.histogram;
  small.histogram = to.small;
  const bool small_splits = search_children && splittable(small), large_splits = search_children && splittable(large);
  if (large_splits || small_splits) {
    std::vector<std::uint8_t> small_columns, large_columns;
    Histogram& small_histogram = slots[static_cast<std::size_t>(small.histogram)];
    Histogram& large_histogram = slots[static_cast<std::size_t>(large.histogram)];
    builder.build(rows_of(small), small_histogram, crew.threads);
    SearchedNode small_node, large_node;
    if (small_splits) small_node = node_for_search(small, &leaf, growing, small_columns);
    if (large_splits) large_node = node_for_search(large, &leaf, growing, large_columns);
    search.find(small_splits ? &small_node : nullptr, &small_histogram, large_splits ? &large_node : nullptr,
                &large_histogram, &slots[static_cast<std::size_t>(leaf.histogram)], growing.column_on, &small.best,
                &large.best, crew.threads);
  }
  made = true;
}

/// Says who takes which job; returns the share of the time of all lanes that is work. `jobs` are ordered by cost, the
/// largest first: each goes to the lane that has written its rows and so has them near it, unless that one has enough
/// already.
double Grower::Impl::share_out(std::span<Job> jobs, std::size_t lanes) const {
  std::size_t total = 0, longest = 0;
  for (const Job& job : jobs) total += job.cost;
  const std::size_t enough = std::max(total / lanes, jobs[0].cost);
  std::vector<std::size_t> load(lanes);
  for (Job& job : jobs) {
    job.lane = leaves[job.leaf].lane;
    if (job.lane >= lanes || load[job.lane] + job.cost > enough)
      job.lane = static_cast<std::size_t>(std::min_element(load.begin(), load.end()) - load.begin());
    longest = std::max(longest, load[job.lane] += job.cost);
  }
  return static_cast<double>(total) / static_cast<double>(lanes * longest);
}

/// Splits the first of `window`, the leaves whose turn is next, and perhaps others of them: a tree has many small
/// leaves, and several at once, each by one thread, take less time than one after the other by all. Only the order of
/// work changes: a leaf's children do not depend on other leaves.
void Grower::Impl::split_ahead(std::span<const std::uint32_t> window, const Growing& growing) {
  std::vector<Job> jobs;
  for (std::size_t i = 0; i < window.size(); ++i)
    if (!children[window[i]].made)
      jobs.push_back({window[i], i, leaves[window[i]].end - leaves[window[i]].begin + search_rows});
  const std::size_t parts = team.size();
  const Job first = jobs[0];
  // Share of the time of all lanes that is work when they split the first leaf together: the less, the smaller it is.
  const double alone = first.cost >= 2 * RowPartition::parallel_rows ? 0.9
                       : first.cost >= RowPartition::parallel_rows   ? 0.75
                                                                     : 0.6;
  const auto largest_first = [](const Job& a, const Job& b) { return a.cost > b.cost; };
  std::stable_sort(jobs.begin(), jobs.end(), largest_first);
  double share = parts > 1 ? share_out(jobs, parts) : 0;
  // Without one of them the others may be shared out more evenly; its turn comes later.
  while (parts > 1 && jobs.size() > 2) {
    std::vector<Job> best;
    for (std::size_t i = 0; i < std::min(jobs.size(), most_left_out); ++i) {
      if (jobs[i].leaf == first.leaf) continue;
      std::vector<Job> others = jobs;
      others.erase(others.begin() + static_cast<std::ptrdiff_t>(i));
      if (const double s = share_out(others, parts); s > share + 0.02) {
        share = s;
        best = std::move(others);
      }
    }
    if (best.empty()) break;
    jobs = std::move(best);
  }
  if (share < alone || jobs.size() == 1) jobs.assign(1, first);
  for (Job& job : jobs) job.slots = take_slots(leaves[job.leaf]);
  const auto split = [&](const Job& job, const Crew& crew) {
    // With this leaf and those before it split, is there room for more?
    const bool search_children = leaves.size() + job.turn + 1 < static_cast<std::size_t>(options.max_leaves);
    split_leaf(job.leaf, search_children, job.slots, growing, crew);
  };
  const auto release_parents = [&] {
    for (const Job& job : jobs)
      if (job.slots.large >= 0) release_slot(leaves[job.leaf].histogram);
  };
  if (jobs.size() == 1) {
    split(jobs[0], {parts, 0});
    release_parents();
    return;
  }
  std::vector<std::atomic<bool>> taken(jobs.size());
  team.each([&](std::size_t lane) {
    for (const bool own : {true, false})
      for (std::size_t i = 0; i < jobs.size(); ++i)
        if ((!own || jobs[i].lane == lane) && !taken[i].exchange(true)) split(jobs[i], {1, lane});
  });
  release_parents();
}

GrownTree Grower::Impl::grow(RowList bag, std::span<float> g, std::span<float> h, std::uint64_t tree_number,
                             std::span<const std::uint8_t> column_on) {
  rows.start(bag, team.size());
  scale.count_bits = static_cast<unsigned>(std::bit_width(bag.size()));
  const bool is_wide = bag.size() <= wide_rows;
  Growing growing{{}, column_on};
  GrownTree& tree = growing.tree;
  leaves.assign(1, Leaf{});
  children.resize(1);
  children[0].made = false;
  node_parents.clear();
  Leaf& root = leaves[0];
  root.end = bag.size();
  root.path = mix(tree_number);
  if (bag.empty()) return tree;
  root.total = is_wide ? quantise_wide(g, h) : quantise(g, h, tree_number);
  const bool floats_again = bag.size() <= exact_rows;
  rows.use_room(floats_again || options.keep_gradient ? std::span<std::uint32_t>{} : as_room_for<std::uint32_t>(g),
                floats_again || options.keep_hessian ? std::span<std::uint32_t>{} : as_room_for<std::uint32_t>(h));
  team.measure_distance();
  builder.use_columns(column_on);
  builder.use_pairs(scale.count_bits, is_wide ? &wide : nullptr);
  search.use(scale, column_on);
  root.output = search.output(root.total, 0, root.lower, root.upper);

  free_slots.clear();
  for (auto slot = static_cast<int>(slots.size()); slot-- > 0;) {
    pool.give_back(slots[static_cast<std::size_t>(slot)]);
    free_slots.push_back(slot);
  }
  // Depth-wise: the upper level first. Largest gain first, then the older leaf.
  const auto later = [&](std::uint32_t a, std::uint32_t b) {
    if (options.depthwise && leaves[a].depth != leaves[b].depth) return leaves[a].depth > leaves[b].depth;
    return leaves[a].best.gain != leaves[b].best.gain ? leaves[a].best.gain < leaves[b].best.gain : a > b;
  };
  std::priority_queue<std::uint32_t, std::vector<std::uint32_t>, decltype(later)> queue(later);
  const auto release = [&](Leaf& leaf) { release_slot(leaf.histogram); };
  const auto offer = [&](std::uint32_t id) {
    Leaf& leaf = leaves[id];
    leaf.best.gain > 0 ? queue.push(id) : release(leaf);
  };
  if (options.max_leaves > 1 && splittable(root) && bins.cols() > 0) {
    root.histogram = take_slot(bag.size());
    Histogram& histogram = slots[static_cast<std::size_t>(root.histogram)];
    builder.build(rows_of(root), histogram, team.size());
    std::vector<std::uint8_t> columns;
    const SearchedNode node = node_for_search(root, nullptr, growing, columns);
    search.find(&node, &histogram, nullptr, nullptr, nullptr, column_on, &root.best, nullptr, team.size());
    offer(0);
  }
  // What the splits that are left cannot reach gives its histogram back; a few at a time.
  const auto forget_unreachable = [&] {
    const std::size_t room = static_cast<std::size_t>(options.max_leaves) - leaves.size();
    if (queue.size() <= room + forgotten_together) return;
    std::vector<std::uint32_t> reachable;
    for (; reachable.size() < room; queue.pop()) reachable.push_back(queue.top());
    for (; !queue.empty(); queue.pop()) {
      Leaf& leaf = leaves[queue.top()];
      Children& ahead = children[queue.top()];
      if (!ahead.made) {
        release(leaf);
      } else {  // one of them has the leaf's own
        release(ahead.left);
        release(ahead.right);
        leaf.histogram = -1;
      }
    }
    for (const auto id : reachable) queue.push(id);
  };
  std::vector<std::uint32_t> window;
  while (!queue.empty() && leaves.size() < static_cast<std::size_t>(options.max_leaves)) {
    const std::uint32_t left_id = queue.top();
    if (!children[left_id].made) {
      // Of the last splits half at most are prepared: their turn might not come.
      const std::size_t room = static_cast<std::size_t>(options.max_leaves) - leaves.size();
      const std::size_t most = team.size() == 1 ? 1 : std::min(ahead_per_thread * team.size(), (room + 1) / 2);
      for (window.clear(); window.size() < most && !queue.empty(); queue.pop()) window.push_back(queue.top());
      split_ahead(window, growing);
      for (const auto id : window) queue.push(id);
    }
    queue.pop();
    const auto right_id = static_cast<std::uint32_t>(leaves.size());
    const auto node = static_cast<std::int32_t>(tree.nodes.size());
    const Leaf& leaf = leaves[left_id];
    const Split& split = leaf.best;
    tree.nodes.push_back({split.column, split.last_bin, split.left_bins, ~static_cast<std::int32_t>(left_id),
                          ~static_cast<std::int32_t>(right_id), 0, static_cast<float>(split.gain)});
    node_parents.push_back(leaf.parent);
    if (leaf.parent < 0) {
      tree.root = node;
    } else {
      GrownNode& parent = tree.nodes[static_cast<std::size_t>(leaf.parent)];
      (leaf.is_left ? parent.left : parent.right) = node;
    }
    leaves.push_back(children[left_id].right);
    leaves[left_id] = children[left_id].left;
    leaves[left_id].parent = leaves[right_id].parent = node;
    children[left_id].made = false;
    children.resize(leaves.size());
    children[right_id].made = false;
    offer(left_id);
    offer(right_id);
    forget_unreachable();
  }

  tree.leaf_values.reserve(leaves.size());
  for (const Leaf& leaf : leaves) {
    double value = leaf.output;
    if (floats_again) {
      // Rounding averages out over many rows; here it could still be seen.
      const NodeRows node = rows_of(leaf);
      std::array<double, 4> g_sum{}, h_sum{};  // several, so that no sum waits for the one before
      std::size_t i = 0;
      const auto add = [&](std::size_t k) {
        const std::size_t row = node.rows ? node.rows[i + k] : i + k;
        g_sum[k] += g[row];
        h_sum[k] += h[row];
      };
      for (; i + 4 <= node.count; i += 4) {
        add(0);
        add(1);
        add(2);
        add(3);
      }
      for (; i < node.count; ++i) add(0);
      const auto all = [](const auto& s) { return (s[0] + s[1]) + (s[2] + s[3]); };
      value = search.output(all(g_sum), all(h_sum), scale.rows(leaf.total), leaf.parent_output, leaf.lower, leaf.upper);
    }
    tree.leaf_values.push_back(static_cast<float>(value));
  }
  set_covers(tree);
  rows.finish(tree.nodes.empty());
  return tree;
}

Grower::Grower(const BinnedMatrix& bins, const GrowerOptions& options, Team& team)
    : impl_(std::make_unique<Impl>(bins, options, team)) {}
Grower::~Grower() = default;
Grower::Grower(Grower&&) noexcept = default;

GrownTree Grower::grow(RowList rows, std::span<float> g, std::span<float> h, std::uint64_t tree_number,
                       std::span<const std::uint8_t> column_on) {
  GrownTree tree;
  impl_->team.gather([&] { tree = impl_->grow(rows, g, h, tree_number, column_on); });
  return tree;
}

std::span<const std::uint32_t> Grower::leaf_rows(std::size_t leaf) const noexcept {
  const Impl::Leaf& l = impl_->leaves[leaf];
  return impl_->rows.row_numbers(l.side, l.begin, l.end);
}

}  // namespace redoubt::detail
