#pragma once
#include <cstddef>
#include <cstdint>
#include <span>
#include <vector>

#include "redoubt/core/view.hpp"
#include "redoubt/fwd.hpp"
#include "redoubt/robustness/evasion/feature_rule.hpp"

namespace redoubt {

struct SmoothingOptions {
  double sigma = 0.25;            ///< standard deviation of the noise, times the unit of each column; > 0
  std::size_t selection = 100;    ///< noisy copies that choose the class; >= 1
  std::size_t samples = 1000;     ///< further ones that prove it: more prove larger radii, at most about 3 sigma; >= 1
  double alpha = 0.001;           ///< chance that one certificate is wrong, in (0, 1)
  std::vector<FeatureRule> rules; /**< per encoded column; empty: all free. Fixed columns get no noise; limits and whole
                                       numbers are kept by what the model is shown, and stay part of the proof */
  std::uint64_t seed = 0;
  Arena* arena = nullptr;
};

struct SmoothedPrediction {
  std::int32_t label = -1;  ///< of the smoothed model; -1: it abstains
  double radius = 0;        ///< the label is the same for every row nearer than this (L2, in units); 0 if it abstains
  std::size_t votes = 0;    ///< of `samples`, for the class that was chosen
};

/// Randomised smoothing (Cohen, Rosenfeld & Kolter, ICML 2019): the class that a model gives most often under Gaussian
/// noise, with an L2 radius sigma * quantile(p) within which that class cannot change, p being the lower
/// Clopper-Pearson bound of its share. Holds for any model, also for those without gradients, with probability 1 -
/// alpha for each row; it is a statement about the smoothed model, which has to be the one that is served. Missing
/// values stay missing. `rows`: encoded, rows x inputs(). Costs selection + samples predictions a row; parallel over
/// rows, equal at any thread count. Error(shape_mismatch), Error(invalid_argument) naming the option, or a model with
/// one output.
std::vector<SmoothedPrediction> smoothed_predict(const Predictor& model, MatrixView<const float> rows,
                                                 const SmoothingOptions& options = {});

/// Share of rows that have their label and a radius of at least `radius`.
double certified_share(std::span<const SmoothedPrediction> predictions, std::span<const std::int32_t> labels,
                       double radius);

}  // namespace redoubt
