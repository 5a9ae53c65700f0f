#pragma once
#include <cstddef>
#include <cstdint>
#include <span>
#include <vector>

#include "redoubt/core/tensor.hpp"
#include "redoubt/fwd.hpp"
#include "redoubt/robustness/evasion/feature_rule.hpp"

namespace redoubt {

enum class AttackMethod : std::uint8_t {
  fgsm,      ///< one step along the sign of the gradient (Goodfellow et al., ICLR 2015)
  pgd,       ///< projected gradient steps from random starts (Madry et al., ICLR 2018)
  apgd_ce,   ///< the same with momentum and a step that halves itself, on cross-entropy (Croce & Hein, ICML 2020)
  apgd_dlr,  ///< on the difference of logits ratio, which large scores do not flatten; two classes: their difference
  square,    ///< black box: random squares or blocks of columns (Andriushchenko et al., ECCV 2020); any model
  apgd_targeted,  ///< the same towards each of the likeliest other classes in turn, at most nine; every second restart
                  ///< on the difference itself (Carlini & Wagner, 2017). Below four classes: apgd_dlr
  leaf_tuple,     ///< trees: walks over neighbouring leaf tuples (LT-Attack, Zhang et al., NeurIPS 2020)
  hop_skip_jump   ///< sees classes only: walks along the boundary (Chen et al., IEEE S&P 2020); any model
};
const char* to_string(AttackMethod method) noexcept;

enum class AttackNorm : std::uint8_t { linf, l2 };

struct AttackOptions {
  AttackMethod method = AttackMethod::apgd_ce;
  AttackNorm norm = AttackNorm::linf;  ///< of the change, each column divided by its unit
  double radius = 0.1;                 ///< >= 0
  int steps = 100;                     ///< gradients per restart; of `square` and `hop_skip_jump`: queries;
                                       ///< of `leaf_tuple`: moves of one walk
  double step = 0;                     ///< of pgd; 0: 2.5 * radius / steps
  int restarts = 1;                    ///< the first start of pgd is the row itself, further ones are random; the first
                                       ///< walk of `leaf_tuple` comes from the nearest row of another class
  std::vector<FeatureRule> rules;      ///< per encoded column; empty: all free
  std::size_t image_width = 0;         ///< of `square`: columns are pixels, row by row, channels last; 0: a table
  std::size_t channels = 1;
  std::uint64_t seed = 0;
  Arena* arena = nullptr;
};

struct AttackResult {
  Tensor<float> rows;                ///< encoded: a row of another class where one was found, else the row itself
  std::vector<std::uint8_t> broken;  ///< 1: the class is not the label (at once, or after the attack)
  std::size_t gradients = 0;         ///< forward and backward passes of single rows
  std::size_t queries = 0;           ///< forward passes alone
  double robust_accuracy() const noexcept;  ///< share of the rows that are not broken
};

/// Rules for the columns that an encoder writes: numbers are free, the columns of a one-hot feature are a group,
/// everything else (codes of categories, times, hashed texts) is fixed. Units and limits are the caller's to add.
std::vector<FeatureRule> encoded_rules(const Encoder& encoder);

/// Looks for rows within `radius` of the encoded `rows` (rows x inputs()) whose class is not the label. All changes
/// keep to the rules; a found row is checked by the model's own prediction, so that robust accuracy is an upper bound
/// of the truth. Gradients need a form that has them: "graph" with a score per class, or "linear"; leaf_tuple needs a
/// "forest" (what is exact there: TreeVerifier) and leaves groups of columns alone; Error(unsupported) otherwise. The
/// class is that of the largest output, of equal ones the first. A row of pgd that comes back to where it was leaves:
/// it would go round. Works on up to 256 rows at a time, in parallel; equal at any thread count. Scores and gradients
/// of dense layers are products in fp32x3 (kernels/matmul.hpp) where those are faster, that is with AMX: machines may
/// find different rows. Error(shape_mismatch), Error(invalid_argument).
AttackResult attack(const Predictor& model, MatrixView<const float> rows, std::span<const std::int32_t> labels,
                    const AttackOptions& options = {});

/// What attack research compares with (AutoAttack without FAB): apgd_ce, apgd_targeted, then square, each on the rows
/// that are left. `options.method` is ignored; the first two get twice the restarts, square fifty times the steps: with
/// the 100 steps of AutoAttack its 5,000 queries.
AttackResult attack_bundle(const Predictor& model, MatrixView<const float> rows, std::span<const std::int32_t> labels,
                           const AttackOptions& options = {});

}  // namespace redoubt
