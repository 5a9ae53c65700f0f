#pragma once
#include <string>
#include <string_view>

#include "redoubt/core/shared.hpp"
#include "redoubt/fwd.hpp"

namespace redoubt {

/// Takes over a model that LightGBM saved as text (`Booster.save_model`, `version=v3` or `v4`).
///
/// The forest routes every float32 row to the same leaves as LightGBM's `predict` on that row: thresholds are rounded
/// down to float32; missing types None, Zero and NaN, categorical sets with unseen, negative and missing codes are
/// kept; as there, |x| <= 1e-35 counts as zero. Scores differ from LightGBM's sums in double by float rounding. Outputs
/// are those of `predict`: the objective's transformation is applied (`sigmoid`, `reg_sqrt`, averages of
/// `boosting=rf`), dart is an ordinary sum of trees. Node and leaf covers are LightGBM's row counts, so that
/// path-dependent SHAP values agree.
///
/// Columns are numeric and named as in the file; categorical ones take codes as numbers (of pandas' categories, the
/// position in the list). binary: classes "0" and "1"; multiclass and multiclassova: "0", "1", ... (the latter's
/// outputs do not sum to 1, as in LightGBM); anything else, a cross-entropy probability too: one value. The file holds
/// the trees that were saved: after early stopping, LightGBM saves those up to the best iteration.
///
/// Errors: not_found and io_error of the file; parse_error naming file, line and key; unsupported for linear leaves,
/// other versions, unknown objectives. Nothing is trusted: sizes are checked before memory is taken.
Model read_lightgbm(const std::string& path);
/// The same from memory; `origin` is the name in errors.
Model read_lightgbm_text(std::string_view text, std::string_view origin = "text");
/// Only the forest, also where a Model cannot be made of it: several outputs under a custom objective. Leaf i of tree t
/// is the i-th after all leaves of the trees before t; its number in LightGBM's `predict(pred_leaf=True)` is i.
Shared<const Forest> read_lightgbm_forest(const std::string& path);
Shared<const Forest> read_lightgbm_forest_text(std::string_view text, std::string_view origin = "text");

/// Writes a model of trees as LightGBM text (v4) that LightGBM loads with equal routing and predictions (float32 rows,
/// |x| > 1e-35 or 0). Class names are lost (LightGBM has numbers); names of categories go into `pandas_categorical`.
/// Thresholds lie between two floats, so that doubles are routed as if rounded to float first.
/// Forests whose leaves hold several values become one tree per output. Error(unsupported) naming what LightGBM cannot
/// hold: a form other than a forest, preprocessing, isolation forests, normalised one-vs-all, step outputs,
/// exponential and similar outputs for several scores, category splits that send missing and unknown codes to
/// different sides. Atomic: a failed write leaves what was there.
void write_lightgbm(const Model& model, const std::string& path);
void write_lightgbm(const Forest& forest, const std::string& path);
std::string write_lightgbm_text(const Model& model);
std::string write_lightgbm_text(const Forest& forest);

}  // namespace redoubt
