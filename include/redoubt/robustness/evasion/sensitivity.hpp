#pragma once
#include <cstddef>
#include <cstdint>
#include <iosfwd>
#include <string>
#include <vector>

#include "redoubt/fwd.hpp"
#include "redoubt/robustness/verdict.hpp"

namespace redoubt {

/// How rows are perturbed. All keep to the feature domain: numbers stay within the range that the data shows and whole
/// numbers stay whole; categories, texts and times are not changed, only made missing.
enum class Perturbation : std::uint8_t {
  noise,    ///< every numeric feature += size standard deviations of it x a normal number
  missing,  ///< every feature cell is missing with probability `size` (at most 1)
  search    ///< black box, worst of `tries`: a random search, as in Square (Andriushchenko et al., ECCV 2020), for the
            ///< worst point with every numeric feature within size standard deviations of its value
};
const char* to_string(Perturbation perturbation) noexcept;

struct SensitivityOptions {
  std::vector<double> sizes{0.0, 0.05, 0.1, 0.2, 0.5, 1.0};  ///< rising, non-negative
  std::vector<Perturbation> perturbations{Perturbation::noise, Perturbation::missing, Perturbation::search};
  std::string metric;           ///< empty: accuracy or rmse; names as in Evaluation
  int tries = 10;               ///< of the search, per row and size
  std::size_t max_rows = 1000;  ///< a seeded choice of so many rows is perturbed; 0 = all
  std::uint64_t seed = 0;
  Arena* arena = nullptr;
};

struct SensitivityPoint {
  double size = 0;
  double metric = 0;
  double changed = 0;  ///< share of the rows whose class changed (regression: mean absolute change of the value)
  bool operator==(const SensitivityPoint&) const = default;
};

/// One robustness curve.
struct SensitivityCurve {
  Perturbation perturbation = Perturbation::noise;
  std::vector<SensitivityPoint> points;
  bool operator==(const SensitivityCurve&) const = default;
};

struct SensitivityReport {
  std::string metric;
  std::size_t rows = 0;
  double clean = 0;  ///< the metric on the same rows, unperturbed; a point of size 0 equals it exactly
  std::vector<SensitivityCurve> curves;

  std::string to_json() const;
  /// As a verdict of the gate: blocks if any curve at `size` or below loses more than `max_loss` of the metric (for
  /// errors: relative to the clean one).
  Verdict verdict(double size, double max_loss) const;
  bool operator==(const SensitivityReport&) const = default;
};
std::ostream& operator<<(std::ostream& stream, const SensitivityReport& report);

/// Robustness curves of any model: a metric against growing perturbations (MLSEC-11). The search uses predictions only,
/// so it shows weakness but proves no strength: a stronger attack may do worse. Perturbing needs numeric features;
/// curves without any are left out, except `missing`. Deterministic at any thread count.
/// Error(invalid_argument) names the option that is out of range, or a data set without labelled rows.
SensitivityReport sensitivity(const Model& model, const Dataset& data, const SensitivityOptions& options = {});

}  // namespace redoubt
