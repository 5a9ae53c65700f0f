#pragma once
// What the SHAP kernels of each level read and write. Plain data only, as in table.hpp.
//
// One tree, eight rows in the lanes of a vector, weighted sums at the points t of a Gauss-Legendre rule on (0, 1):
// a leaf of value v whose path holds the distinct features j with cover ratios z_j, open to the row or not (o_j = 1,
// 0), gives feature i the share v (o_i - z_i) * integral over t of the product over j != i of (1 - t) z_j + t o_j. Down
// the tree the product P is multiplied up; up the tree H = sum of v P over the leaves below is added up, so an edge
// costs the same few operations however many leaves lie below it. A feature that comes back on a path replaces its
// earlier factor: (z_a, o_a) at the nearest edge a above on the same feature becomes (z_a * ratio, o_a and o).
#include <stddef.h>
#include <stdint.h>

namespace redoubt::kernels::detail {

inline constexpr size_t shap_lanes = 8;       ///< rows per call, at every level
inline constexpr size_t shap_max_points = 8;  ///< quadrature points per pass

/// An inner node. Nodes are in pre-order.
struct ShapNode {
  float threshold;
  uint32_t feature;
  int32_t parent;               ///< -1 root
  int32_t ancestor;             ///< nearest node above on the same feature, -1 if none
  uint32_t slot;                ///< where its P, later its H, is kept
  int32_t child[2];             ///< left, right: slot of the inner child, or -1: a leaf
  uint8_t side, ancestor_side;  ///< which child of `parent`, of `ancestor`, the path takes
  uint8_t test;                 ///< ShapTest
};

enum ShapTest : uint8_t {
  shap_missing_right,  ///< left iff x <= threshold
  shap_missing_left,   ///< left iff not x > threshold
  shap_decided         ///< `goes_left` holds the answer already
};

/// Constants of a node at `points` points: 7 x points and 2 numbers. With a the edge `ancestor` (z_a = 1 if none), e
/// the edge to a child, q(z) = (1 - t) z + t and A(z) = (1 - z) / q(z), w the weight of the point, v the leaf's value
/// (1 if the child is no leaf):
///   [0] v q(z_e) / q(z_a) left   [1] v (1 - t) z_e / q(z_a) left   [2], [3] the same, right
///   [4] w (A(z_e) - A(z_a)) left [5] the same, right               [6] w (-1 / (1 - t) - A(z_a))
/// and v ratio left, v ratio right: what P is multiplied by where the row is off the path at a already.
inline constexpr size_t shap_constants(size_t points) { return 7 * points + 2; }

struct ShapTree {
  const ShapNode* nodes;
  size_t count;           ///< at least 1
  const int32_t* order;   ///< 2 * count - 1 steps: c >= 0 enter inner node c (not the root), c < 0 leave ~c
  const double* numbers;  ///< per pass, per node shap_constants(points)
  size_t points, passes;
  size_t slots;

  // For interactions only, else null.
  const double* edge_values;   ///< per pass, per node 2 x points: A(z_e) of the left and the right edge
  const double* off_values;    ///< per pass, points: -1 / (1 - t)
  const uint32_t* path;        ///< per node range [path_begin[i], path_begin[i + 1]) of the nodes above it that are the
  const uint32_t* path_begin;  ///< nearest on their feature, its own feature left out
};

struct ShapRows {
  const float* x;      ///< inputs x lanes
  size_t inputs;       ///< row length of `pairs`
  uint8_t* goes_left;  ///< per node, a bit per lane; read where `shap_decided`, written elsewhere
  uint8_t* open;       ///< scratch: 3 per node
  double* slots;       ///< scratch: slots x points x lanes, 64-byte aligned
  double* edges;       ///< scratch for interactions: count x points x lanes, 64-byte aligned, else null
  double* values;      ///< inputs x lanes: shares are added
  double* pairs;       ///< inputs x inputs x lanes: interactions are added to (deeper, upper) feature, or null
};

struct ShapTable {
  void (*add_tree)(const ShapTree&, const ShapRows&);
};

extern const ShapTable naive_shap_table;
extern const ShapTable avx2_shap_table;
extern const ShapTable avx512_shap_table;

}  // namespace redoubt::kernels::detail
