#pragma once
#include <cstddef>
#include <cstdint>
#include <iosfwd>
#include <string>
#include <vector>

#include "redoubt/fwd.hpp"
#include "redoubt/robustness/verdict.hpp"

namespace redoubt {

struct CertificationOptions {
  std::vector<double> radii{0.0, 0.01, 0.05, 0.1, 0.2};  ///< in standard deviations of each column, rising
  std::size_t max_rows = 1000;                           ///< a seeded choice of so many rows; 0 = all
  std::size_t max_states = 20'000;                       ///< trees: as in TreeVerifierOptions
  /// Networks: GraphBounds::crown for what faster bounds leave open. A backward pass per activation that is not
  /// settled, so milliseconds a row for a few hundred of them, seconds for convolutions on images; false: crown_ibp at
  /// most.
  bool crown = true;
  int attack_steps = 30;  ///< networks: gradients per row and radius to find what is broken; 0: none
  std::uint64_t seed = 0;
  Arena* arena = nullptr;
};

struct CertifiedPoint {
  double radius = 0;
  double certified = 0;  ///< share of the rows whose label is right for every row within the radius: proved
  double broken = 0;     ///< share of the rows with a counterexample, or wrong already; the rest is open
  bool operator==(const CertifiedPoint&) const = default;
};

/// Certified accuracy of a classifier over growing radii.
struct CertifiedAccuracy {
  std::string method;  ///< "search over the trees", "linear bounds", "exact"
  std::size_t rows = 0;
  std::vector<CertifiedPoint> points;

  std::string to_json() const;
  /// Blocks if less than `min_certified` of the rows is certified at the largest of the radii up to `radius`.
  Verdict verdict(double radius, double min_certified) const;
  bool operator==(const CertifiedAccuracy&) const = default;
};
std::ostream& operator<<(std::ostream& stream, const CertifiedAccuracy& report);

/// Proves the predictions of a classifier on labelled rows against every change (L-infinity) within a radius. Numeric
/// columns keep to the range that the data shows, whole numbers stay whole, everything else is fixed; a radius counts
/// standard deviations of the column.
///  - forests: TreeVerifier, exact up to its budget;
///  - networks: interval bounds, then linear ones (GraphBounds), which a network that was not trained for them fails
///    at larger radii, and an attack for what is broken; the open share is what neither settles;
///  - linear models: exact.
/// Parallel over rows, equal at any thread count. Error(unsupported) for other forms, Error(invalid_argument) naming
/// the option, or data without labelled rows.
CertifiedAccuracy certify(const Model& model, const Dataset& data, const CertificationOptions& options = {});

}  // namespace redoubt
