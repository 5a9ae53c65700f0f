#pragma once
// One attack on a block of rows.
#include <cstdint>
#include <memory>
#include <span>
#include <vector>

#include "redoubt/core/random.hpp"
#include "redoubt/core/tensor.hpp"
#include "redoubt/robustness/evasion/attack.hpp"
#include "robustness/evasion/gradient_target.hpp"
#include "robustness/evasion/leaf_walk.hpp"
#include "robustness/evasion/one_hot.hpp"

namespace redoubt::detail {

class AttackBlock {
 public:
  /// `first`: number of the first row, for its random numbers. `gradients`: null for attacks that need none.
  AttackBlock(const Predictor& model, const GradientForm* gradients, const AttackOptions& options,
              MatrixView<const float> rows, std::span<const std::int32_t> labels, std::size_t first);
  /// Fills in `found` and `broken` for the rows that break.
  void run(MatrixView<float> found, std::span<std::uint8_t> broken);
  std::size_t gradients() const noexcept { return gradients_; }
  std::size_t queries() const noexcept { return queries_; }

 private:
  /// A row still under attack, in the state of one restart.
  struct Row {
    std::size_t at = 0;  // in the block
    double loss = 0, loss_before = 0, best_loss = 0, eta = 0, eta_before = 0, best_before = 0;
    int rises = 0;
    std::vector<std::uint64_t> passed{};  // fingerprints of the points of a descent
  };

  void predict();
  void descend(int restart);
  void adaptive(int restart);
  void targeted(int restart);
  void square(int restart);
  void jump(int restart);
  void walk(int restart);
  /// Loss and its gradient for all rows under attack, and whether they are broken now; broken ones are kept and leave.
  void evaluate(bool want_gradient);
  void keep(std::size_t at, std::span<const float> x);
  /// Those marked leave, in every array.
  void leave(std::span<const std::uint8_t> marks);
  void start(int restart, bool random);
  void project(std::size_t at, std::span<float> x) const;
  void move(std::size_t at, std::span<const float> from, std::span<const float> gradient, double eta,
            std::span<float> to) const;
  double unit(std::size_t column) const { return options_.rules.empty() ? 1 : options_.rules[column].unit; }
  const FeatureRule& rule(std::size_t column) const;
  bool grouped(std::size_t column) const { return !options_.rules.empty() && options_.rules[column].group > 0; }
  std::span<const float> bounds(const std::vector<float>& values, std::size_t at) const {
    return std::span(values).subspan(at * d_, d_);
  }
  std::span<float> row(std::vector<float>& values, std::size_t i) const {
    return std::span(values).subspan(i * d_, d_);
  }

  const Predictor& model_;
  const AttackOptions& options_;
  MatrixView<const float> rows_;
  std::span<const std::int32_t> labels_;
  std::size_t first_, d_;
  std::unique_ptr<GradientTarget> target_;  // null for attacks without gradients
  std::unique_ptr<LeafWalk> walk_;          // of leaf_tuple
  std::vector<float> lower_, upper_;        // rows x d: what the rules (and for linf the radius) allow
  std::vector<std::uint8_t> broken_;
  MatrixView<float> found_;
  OneHotGroups groups_;
  bool whole_ = false;        // some rule wants whole numbers, or there are groups
  std::vector<float> units_;  // per column
  std::vector<Row> alive_;
  std::vector<std::int32_t> target_of_;     // per row of the block: the class to reach; empty: any other
  bool ratio_ = true;                       // of differences of logits
  std::vector<float> x_, previous_, best_;  // row i: of alive_[i]
  std::vector<float> gradient_, best_gradient_;
  std::vector<float> scores_, upstream_, out_, scratch_;
  std::size_t gradients_ = 0, queries_ = 0;
};

}  // namespace redoubt::detail
