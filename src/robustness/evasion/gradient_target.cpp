#include "robustness/evasion/gradient_target.hpp"

#include <fmt/format.h>

#include <algorithm>
#include <vector>

#include "redoubt/core/error.hpp"
#include "redoubt/linear/linear_form.hpp"
#include "redoubt/nn/graph.hpp"

namespace redoubt::detail {
namespace {

class GraphTarget final : public GradientTarget {
 public:
  GraphTarget(const Graph& graph, std::size_t rows) : graph_(graph), workspace_(graph, rows) {}
  std::size_t classes() const noexcept override { return graph_.score_count(); }
  void scores(MatrixView<const float> rows, MatrixView<float> dst) override {
    graph_.forward(rows, workspace_);
    const auto scores = graph_.value(workspace_, graph_.score_tensor(), rows.rows());
    std::copy_n(scores.data(), dst.rows() * dst.cols(), dst.data());
  }
  void backward(MatrixView<const float> rows, MatrixView<const float> upstream, MatrixView<float> dst) override {
    const auto seed = graph_.gradient(workspace_, graph_.score_tensor(), rows.rows());
    std::copy_n(upstream.data(), upstream.rows() * upstream.cols(), seed.data());
    graph_.backward(rows, workspace_, {}, true);
    const auto gradient = graph_.gradient(workspace_, 0, rows.rows());
    std::copy_n(gradient.data(), dst.rows() * dst.cols(), dst.data());
  }

 private:
  const Graph& graph_;
  GraphWorkspace workspace_;
};

/// One score with a sigmoid counts as the scores 0 and s.
class LinearTarget final : public GradientTarget {
 public:
  explicit LinearTarget(const LinearForm& form) : form_(form), one_(form.link() == LinearLink::sigmoid) {}
  std::size_t classes() const noexcept override { return form_.outputs(); }
  void scores(MatrixView<const float> rows, MatrixView<float> dst) override {
    for (std::size_t r = 0; r < rows.rows(); ++r) {
      if (one_) dst(r, 0) = 0;
      form_.scores(rows.row(r), dst.row(r).subspan(one_));
    }
  }
  void backward(MatrixView<const float> rows, MatrixView<const float> upstream, MatrixView<float> dst) override {
    for (std::size_t r = 0; r < rows.rows(); ++r) form_.input_gradient(upstream.row(r).subspan(one_), dst.row(r));
  }

 private:
  const LinearForm& form_;
  bool one_;
};

}  // namespace

std::unique_ptr<GradientTarget> gradient_target(const Predictor& model, std::size_t rows) {
  if (const auto* graph = dynamic_cast<const Graph*>(&model); graph && graph->score_count() >= 2)
    return std::make_unique<GraphTarget>(*graph, rows);
  if (const auto* linear = dynamic_cast<const LinearForm*>(&model); linear && linear->outputs() >= 2)
    return std::make_unique<LinearTarget>(*linear);
  fail(errc::unsupported, fmt::format("attack: needs the gradients of a classifier, form '{}' with {} outputs has none",
                                      model.form(), model.outputs()));
}

}  // namespace redoubt::detail
