#include "robustness/evasion/gradient_target.hpp"

#include <fmt/format.h>

#include "nn/gradient_plan.hpp"
#include "redoubt/core/error.hpp"
#include "redoubt/linear/linear_form.hpp"
#include "redoubt/nn/graph.hpp"

namespace redoubt::detail {
namespace {

class GraphTarget final : public GradientTarget {
 public:
  explicit GraphTarget(const GradientPlan& plan) : plan_(plan), pass_(plan) {}
  std::size_t rows() const noexcept override { return plan_.rows(); }
  std::size_t classes() const noexcept override { return plan_.graph().score_count(); }
  void scores(MatrixView<const float> rows, MatrixView<float> dst) override { pass_.scores(rows, dst); }
  void backward(MatrixView<const float> rows, MatrixView<const float> upstream, MatrixView<float> dst) override {
    pass_.backward(rows, upstream, dst);
  }

 private:
  const GradientPlan& plan_;
  GradientPass pass_;
};

class GraphGradients final : public GradientForm {
 public:
  explicit GraphGradients(const Graph& graph) : plan_(graph) {}
  std::unique_ptr<GradientTarget> target() const override { return std::make_unique<GraphTarget>(plan_); }

 private:
  GradientPlan plan_;
};

/// One score with a sigmoid counts as the scores 0 and s.
class LinearTarget final : public GradientTarget {
 public:
  explicit LinearTarget(const LinearForm& form) : form_(form), one_(form.link() == LinearLink::sigmoid) {}
  std::size_t rows() const noexcept override { return 64; }
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

class LinearGradients final : public GradientForm {
 public:
  explicit LinearGradients(const LinearForm& form) : form_(form) {}
  std::unique_ptr<GradientTarget> target() const override { return std::make_unique<LinearTarget>(form_); }

 private:
  const LinearForm& form_;
};

}  // namespace

std::unique_ptr<const GradientForm> gradient_form(const Predictor& model) {
  if (const auto* graph = dynamic_cast<const Graph*>(&model); graph && graph->score_count() >= 2)
    return std::make_unique<GraphGradients>(*graph);
  if (const auto* linear = dynamic_cast<const LinearForm*>(&model); linear && linear->outputs() >= 2)
    return std::make_unique<LinearGradients>(*linear);
  fail(errc::unsupported, fmt::format("attack: needs the gradients of a classifier, form '{}' with {} outputs has none",
                                      model.form(), model.outputs()));
}

}  // namespace redoubt::detail
