#pragma once
#include <cstddef>
#include <span>
#include <string>
#include <vector>

namespace redoubt {

/// What a callback sees after a round. Views, valid during the call.
struct BoostingRound {
  std::size_t round = 0;   ///< of this fit, from 1
  std::size_t rounds = 0;  ///< as asked for
  std::span<const std::string> metrics;
  std::span<const double> values;  ///< on the validation rows, in the order of `metrics`; empty without such rows
};

/// Called after every round on the thread that called `fit`. An exception ends the fit and is passed on; nothing is
/// left half-made.
class BoostingCallback {
 public:
  virtual ~BoostingCallback() = default;
  /// False: this was the last round.
  virtual bool after_round(const BoostingRound& round) = 0;
};

/// Keeps all values.
struct BoostingHistory : BoostingCallback {
  std::vector<std::string> metrics;
  std::vector<std::vector<double>> values;  ///< per round, per metric

  bool after_round(const BoostingRound& round) override {
    metrics.assign(round.metrics.begin(), round.metrics.end());
    values.emplace_back(round.values.begin(), round.values.end());
    return true;
  }
};

}  // namespace redoubt
