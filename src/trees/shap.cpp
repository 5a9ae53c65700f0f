#include "redoubt/trees/shap.hpp"

#include <fmt/format.h>

#include <algorithm>

#include "kernels/shap.hpp"
#include "redoubt/core/parallel.hpp"
#include "redoubt/trees/forest.hpp"
#include "trees/shap_background.hpp"
#include "trees/shap_program.hpp"

namespace redoubt {
namespace {

using detail::ShapProgram;
using kernels::detail::shap_lanes;

constexpr std::size_t max_table_bytes = std::size_t{128} << 20;
constexpr std::size_t rows_per_block = 64;
constexpr std::size_t rows_per_rebuilt_block = 512;          // tables cost about as much as 30 rows
constexpr std::size_t block_doubles = std::size_t{1} << 17;  // of values: 1 MiB
constexpr std::size_t background_rows_per_block = 512;

/// Scratch of one block of rows: vectors of eight rows, and what the kernels need besides.
struct Scratch {
  Tensor<float> x;  // groups x inputs x lanes
  Tensor<double> slots, edges;
  std::vector<std::uint8_t> goes_left, open;

  Scratch(MatrixView<const float> src, std::size_t groups) : x({groups, src.cols(), shap_lanes}) {
    for (std::size_t g = 0; g < groups; ++g)
      for (std::size_t lane = 0; lane < shap_lanes; ++lane) {
        const auto row = src.row(std::min(g * shap_lanes + lane, src.rows() - 1));
        for (std::size_t f = 0; f < row.size(); ++f) group(g)[f * shap_lanes + lane] = row[f];
      }
  }
  float* group(std::size_t g) { return x.data() + g * x.extent(1) * shap_lanes; }

  /// Adds the values, and the interactions where `pairs` is given, of a tree for one group.
  void add(const Forest& forest, const ShapProgram& program, std::size_t g, double* values, double* pairs) {
    const std::size_t block = program.points() * shap_lanes;
    if (goes_left.size() < program.count()) {
      goes_left.resize(program.count());
      open.resize(3 * program.count());
    }
    if (slots.size() < program.slots() * block) slots = Tensor<double>({program.slots() * block});
    if (pairs && edges.size() < program.count() * block) edges = Tensor<double>({program.count() * block});
    for (const auto& [place, node] : program.decided()) {
      const float* const lanes = group(g) + forest.arrays().feature[node] * shap_lanes;
      unsigned bits = 0;
      for (std::size_t lane = 0; lane < shap_lanes; ++lane)
        bits |= unsigned{detail::goes_left(forest.arrays(), node, lanes[lane])} << lane;
      goes_left[place] = static_cast<std::uint8_t>(bits);
    }
    kernels::detail::shap_table().add_tree(program.view(),
                                           {group(g), x.extent(1), goes_left.data(), open.data(), slots.data(),
                                            pairs ? edges.data() : nullptr, values, pairs});
  }
};

}  // namespace

struct TreeShap::State {
  const Forest* forest;
  double scale = 1;  // of the sums over the trees
  std::vector<double> base;
  bool interventional = false;
  std::vector<ShapProgram> programs;  // empty: made anew per block
  detail::ShapBackground background;

  explicit State(const Forest& f) : forest(&f), base(f.shape().base.begin(), f.shape().base.end()) {
    const ForestLink link = f.shape().link;
    if ((link == ForestLink::average || link == ForestLink::isolation) && f.trees() > 0)
      scale = 1.0 / static_cast<double>(f.trees());
  }

  /// Calls body(program) for every score of every tree.
  template <class Body>
  void each_program(Body&& body) const {
    if (!programs.empty()) {
      for (const ShapProgram& program : programs) body(program);
      return;
    }
    for (std::size_t t = 0; t < forest->trees(); ++t) {
      const std::size_t width = forest->shape().leaf_width;
      for (std::size_t k = 0; k < width; ++k)
        body(ShapProgram(*forest, t, width > 1 ? k : forest->arrays().outputs_of[t]));
    }
  }

  void check(MatrixView<const float> src, MatrixView<double> dst, std::size_t per_output) const {
    const std::size_t cols = base.size() * per_output;
    if (src.cols() != forest->inputs() || dst.cols() != cols || src.rows() != dst.rows())
      detail::fail(errc::shape_mismatch,
                   fmt::format("TreeShap of {} inputs and {} outputs was given rows {} x {} and room for {} x {}, "
                               "expected {} columns there",
                               forest->inputs(), base.size(), src.rows(), src.cols(), dst.rows(), dst.cols(), cols));
  }
};

TreeShap::TreeShap(const Forest& forest) {
  State state(forest);
  std::vector<ShapProgram> programs;
  std::size_t bytes = 0;
  state.each_program([&](ShapProgram program) {
    state.base[program.output()] += program.expected();
    bytes += program.bytes();
    if (bytes > max_table_bytes)
      programs = {};
    else if (!program.empty())
      programs.push_back(std::move(program));
  });
  for (double& b : state.base) b *= state.scale;
  state.programs = std::move(programs);
  state_ = Shared<const State>::make(std::move(state));
}

TreeShap::TreeShap(const Forest& forest, MatrixView<const float> background, Arena* arena) {
  if (background.cols() != forest.inputs())
    detail::fail(errc::shape_mismatch, fmt::format("TreeShap: background rows of {} columns for a forest of {} inputs",
                                                   background.cols(), forest.inputs()));
  if (background.rows() == 0) detail::fail(errc::invalid_argument, "TreeShap: the background has no rows");
  State state(forest);
  state.interventional = true;
  state.background = detail::ShapBackground(forest, background, arena);
  // In double from the leaves: the mean of the forest's float scores would not be exact enough.
  const ForestArrays& a = forest.arrays();
  const std::size_t width = forest.shape().leaf_width;
  std::vector<double> sums(state.base.size());
  std::vector<std::uint32_t> ids(forest.trees());
  for (std::size_t r = 0; r < background.rows(); ++r) {
    forest.leaf_ids(background.row(r), ids);
    for (std::size_t t = 0; t < ids.size(); ++t)
      for (std::size_t k = 0; k < width; ++k)
        sums[width > 1 ? k : a.outputs_of[t]] += a.leaf_values[ids[t] * width + k];
  }
  for (std::size_t k = 0; k < sums.size(); ++k)
    state.base[k] = (state.base[k] + sums[k] / static_cast<double>(background.rows())) * state.scale;
  state_ = Shared<const State>::make(std::move(state));
}

std::size_t TreeShap::inputs() const noexcept { return state_->forest->inputs(); }
std::size_t TreeShap::outputs() const noexcept { return state_->base.size(); }
std::span<const double> TreeShap::base() const noexcept { return state_->base; }

void TreeShap::values(MatrixView<const float> src, MatrixView<double> dst, Arena* arena) const {
  const State& s = *state_;
  s.check(src, dst, inputs());
  const std::size_t cols = dst.cols();
  if (s.interventional) {
    parallel_for(
        src.rows(), background_rows_per_block,
        [&](std::size_t begin, std::size_t end) {
          for (std::size_t r = begin; r < end; ++r) std::fill_n(dst.row(r).data(), cols, 0.0);
          s.background.add_values(*s.forest, src.slice(begin, end), dst.slice(begin, end));
          for (std::size_t r = begin; r < end; ++r)
            for (double& v : dst.row(r)) v *= s.scale;
        },
        arena);
    return;
  }
  const std::size_t groups_fit = std::max<std::size_t>(block_doubles / std::max<std::size_t>(cols * shap_lanes, 1), 1);
  const std::size_t grain =
      std::min(s.programs.empty() ? rows_per_rebuilt_block : rows_per_block, groups_fit * shap_lanes);
  parallel_for(
      src.rows(), grain,
      [&](std::size_t begin, std::size_t end) {
        const std::size_t groups = (end - begin + shap_lanes - 1) / shap_lanes;
        Scratch scratch(src.slice(begin, end), groups);
        Tensor<double> sums({groups, cols * shap_lanes});
        s.each_program([&](const ShapProgram& program) {
          if (program.empty()) return;
          for (std::size_t g = 0; g < groups; ++g)
            scratch.add(*s.forest, program, g, sums.row(g).data() + program.output() * inputs() * shap_lanes, nullptr);
        });
        for (std::size_t r = begin; r < end; ++r) {
          const double* const lane = sums.row((r - begin) / shap_lanes).data() + (r - begin) % shap_lanes;
          for (std::size_t c = 0; c < cols; ++c) dst(r, c) = s.scale * lane[c * shap_lanes];
        }
      },
      arena);
}

Tensor<double> TreeShap::values(MatrixView<const float> src, Arena* arena) const {
  Tensor<double> result({src.rows(), outputs() * inputs()});
  values(src, result, arena);
  return result;
}

void TreeShap::interactions(MatrixView<const float> src, MatrixView<double> dst, Arena* arena) const {
  const State& s = *state_;
  if (s.interventional)
    detail::fail(errc::unsupported, "TreeShap: interactions are path-dependent only; leave the background out");
  const std::size_t n = inputs(), square = n * n;
  s.check(src, dst, square);
  parallel_for(
      src.rows(), shap_lanes,
      [&](std::size_t begin, std::size_t end) {
        Scratch scratch(src.slice(begin, end), 1);
        Tensor<double> sums({n * shap_lanes}), pairs({square * shap_lanes});
        // One score at a time: the sums of all would not stay in the cache.
        for (std::size_t k = 0; k < outputs(); ++k) {
          std::fill_n(sums.data(), sums.size(), 0.0);
          std::fill_n(pairs.data(), pairs.size(), 0.0);
          s.each_program([&](const ShapProgram& program) {
            if (!program.empty() && program.output() == k)
              scratch.add(*s.forest, program, 0, sums.data(), pairs.data());
          });
          for (std::size_t r = begin; r < end; ++r) {
            double* const out = dst.row(r).data() + k * square;
            const std::size_t lane = r - begin;
            for (std::size_t i = 0; i < n; ++i) {
              double alone = sums.data()[i * shap_lanes + lane];
              for (std::size_t j = 0; j < n; ++j) {
                if (j == i) continue;
                const double both =
                    (pairs.data()[(i * n + j) * shap_lanes + lane] + pairs.data()[(j * n + i) * shap_lanes + lane]) / 2;
                out[i * n + j] = s.scale * both;
                alone -= both;
              }
              out[i * n + i] = s.scale * alone;
            }
          }
        }
      },
      arena);
}

Tensor<double> TreeShap::interactions(MatrixView<const float> src, Arena* arena) const {
  Tensor<double> result({src.rows(), outputs() * inputs() * inputs()});
  interactions(src, result, arena);
  return result;
}

}  // namespace redoubt
