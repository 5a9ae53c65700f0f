#pragma once
// The SHAP kernel, written once over a vector type V of eight doubles (see body.hpp for why all is unnamed).
// V has: Reg, Mask; set(x), load(p), store(p, x) (aligned), mul, add, fma(a, b, c) = a * b + c, mask(bits),
// select(mask, yes, no), at_most(x, threshold) and above(x, threshold): a bit per lane of eight floats.
#include "kernels/shap_table.hpp"

namespace redoubt::kernels::detail {
namespace {

/// Per node: bits of the lanes whose path over the nearest edge above on the same feature is open, then of those that
/// are open to the left and to the right.
template <class V>
void shap_open(const ShapTree& tree, const ShapRows& rows) {
  for (size_t i = 0; i < tree.count; ++i) {
    const ShapNode& node = tree.nodes[i];
    const float* const x = rows.x + node.feature * shap_lanes;
    if (node.test == shap_missing_right)
      rows.goes_left[i] = V::at_most(x, node.threshold);
    else if (node.test == shap_missing_left)
      rows.goes_left[i] = static_cast<uint8_t>(~V::above(x, node.threshold));
    const uint8_t before = node.ancestor < 0 ? 0xff : rows.open[3 * node.ancestor + 1 + node.ancestor_side];
    rows.open[3 * i] = before;
    rows.open[3 * i + 1] = before & rows.goes_left[i];
    rows.open[3 * i + 2] = before & static_cast<uint8_t>(~rows.goes_left[i]);
  }
}

/// All of one pass. Points is a constant so that the loops over points unroll.
template <class V, size_t Points, bool Pairs>
void shap_pass(const ShapTree& tree, const ShapRows& rows, size_t pass) {
  using Reg = typename V::Reg;
  using Mask = typename V::Mask;
  constexpr size_t block = Points * shap_lanes;
  const double* const numbers = tree.numbers + pass * tree.count * shap_constants(Points);
  for (size_t p = 0; p < Points; ++p) V::store(rows.slots + tree.nodes[0].slot * block + p * shap_lanes, V::set(1));

  for (size_t step = 0; step < 2 * tree.count - 1; ++step) {
    const int32_t code = tree.order[step];
    if (code >= 0) {
      const ShapNode& child = tree.nodes[code];
      const ShapNode& node = tree.nodes[child.parent];
      const double* const c = numbers + child.parent * shap_constants(Points);
      const double* const q1 = c + 2 * Points * child.side;
      const uint8_t* const open = rows.open + 3 * child.parent;
      const Mask here = V::mask(open[1 + child.side]);
      const double* const from = rows.slots + node.slot * block;
      double* const to = rows.slots + child.slot * block;
      if (node.ancestor < 0) {
        for (size_t p = 0; p < Points; ++p)
          V::store(to + p * shap_lanes,
                   V::mul(V::load(from + p * shap_lanes), V::select(here, V::set(q1[p]), V::set(q1[Points + p]))));
      } else {
        const Mask before = V::mask(open[0]);
        const Reg ratio = V::set(c[7 * Points + child.side]);
        for (size_t p = 0; p < Points; ++p) {
          const Reg q = V::select(before, V::select(here, V::set(q1[p]), V::set(q1[Points + p])), ratio);
          V::store(to + p * shap_lanes, V::mul(V::load(from + p * shap_lanes), q));
        }
      }
      if constexpr (Pairs) {
        const double* const value =
            tree.edge_values + (pass * tree.count + child.parent) * 2 * Points + child.side * Points;
        const double* const off = tree.off_values + pass * Points;
        for (size_t p = 0; p < Points; ++p)
          V::store(rows.edges + child.parent * block + p * shap_lanes,
                   V::select(here, V::set(value[p]), V::set(off[p])));
      }
      continue;
    }

    const ShapNode& node = tree.nodes[~code];
    const double* const c = numbers + ~code * shap_constants(Points);
    const uint8_t* const open = rows.open + 3 * ~code;
    const Mask left = V::mask(open[1]), right = V::mask(open[2]);
    double* const own = rows.slots + node.slot * block;
    const auto below = [&](int side, Mask here, Reg(&h)[Points]) {
      if (node.child[side] >= 0) {
        const double* const from = rows.slots + node.child[side] * block;
        for (size_t p = 0; p < Points; ++p) h[p] = V::load(from + p * shap_lanes);
        return;
      }
      const double* const q1 = c + 2 * Points * side;
      if (node.ancestor < 0) {
        for (size_t p = 0; p < Points; ++p)
          h[p] = V::mul(V::load(own + p * shap_lanes), V::select(here, V::set(q1[p]), V::set(q1[Points + p])));
        return;
      }
      const Mask before = V::mask(open[0]);
      const Reg ratio = V::set(c[7 * Points + side]);
      for (size_t p = 0; p < Points; ++p)
        h[p] = V::mul(V::load(own + p * shap_lanes),
                      V::select(before, V::select(here, V::set(q1[p]), V::set(q1[Points + p])), ratio));
    };
    Reg h_left[Points], h_right[Points];
    below(0, left, h_left);
    below(1, right, h_right);

    double* const share = rows.values + node.feature * shap_lanes;
    const Reg zero = V::set(0);
    const Mask before = V::mask(open[0]);
    Reg sum = zero;
    [[maybe_unused]] Reg shares[Points];
    for (size_t p = 0; p < Points; ++p) {
      const Reg off = V::set(c[6 * Points + p]);
      const Reg at_left = V::select(left, V::set(c[4 * Points + p]), off);
      const Reg at_right = V::select(right, V::set(c[5 * Points + p]), off);
      if constexpr (Pairs) {
        shares[p] = V::select(before, V::fma(at_right, h_right[p], V::mul(at_left, h_left[p])), zero);
        sum = V::add(sum, shares[p]);
      } else {
        sum = V::fma(at_right, h_right[p], V::fma(at_left, h_left[p], sum));
      }
      V::store(own + p * shap_lanes, V::add(h_left[p], h_right[p]));
    }
    V::store(share, V::add(V::load(share), V::select(before, sum, zero)));
    if constexpr (Pairs) {
      double* const pairs = rows.pairs + node.feature * rows.inputs * shap_lanes;
      for (uint32_t k = tree.path_begin[~code]; k < tree.path_begin[~code + 1]; ++k) {
        const double* const edge = rows.edges + tree.path[k] * block;
        double* const pair = pairs + tree.nodes[tree.path[k]].feature * shap_lanes;
        Reg both = V::load(pair);
        for (size_t p = 0; p < Points; ++p) both = V::fma(shares[p], V::load(edge + p * shap_lanes), both);
        V::store(pair, both);
      }
    }
  }
}

template <class V, bool Pairs>
void shap_passes(const ShapTree& tree, const ShapRows& rows) {
  static_assert(shap_max_points == 8);
  for (size_t pass = 0; pass < tree.passes; ++pass) switch (tree.points) {
      case 1: shap_pass<V, 1, Pairs>(tree, rows, pass); break;
      case 2: shap_pass<V, 2, Pairs>(tree, rows, pass); break;
      case 3: shap_pass<V, 3, Pairs>(tree, rows, pass); break;
      case 4: shap_pass<V, 4, Pairs>(tree, rows, pass); break;
      case 5: shap_pass<V, 5, Pairs>(tree, rows, pass); break;
      case 6: shap_pass<V, 6, Pairs>(tree, rows, pass); break;
      case 7: shap_pass<V, 7, Pairs>(tree, rows, pass); break;
      default: shap_pass<V, 8, Pairs>(tree, rows, pass); break;
    }
}

template <class V>
void shap_tree(const ShapTree& tree, const ShapRows& rows) {
  shap_open<V>(tree, rows);
  if (rows.pairs)
    shap_passes<V, true>(tree, rows);
  else
    shap_passes<V, false>(tree, rows);
}

}  // namespace
}  // namespace redoubt::kernels::detail
