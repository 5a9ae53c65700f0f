#pragma once
#include <cstddef>
#include <cstdint>
#include <span>

#include "redoubt/core/error.hpp"
#include "redoubt/core/shared.hpp"
#include "redoubt/core/view.hpp"

namespace redoubt {

struct BlacklightOptions {
  double step = 50.0 / 255;       ///< quantisation, as a share of the range of each column in the reference; in (0, 1]
  std::size_t window = 20;        ///< neighbouring columns hashed together; at most the columns
  std::size_t keep = 50;          ///< fingerprints kept per query: the largest hashes
  std::size_t matches = 25;       ///< fingerprints shared with one earlier query that are an alarm
  std::size_t queries = 100'000;  ///< remembered, whoever asked; the oldest are forgotten
  std::uint64_t key = 0;          ///< secret: salts the quantisation and the hashes
};

struct BlacklightVerdict {
  errc status = errc::ok;  ///< shape_mismatch: not looked at
  bool suspicious = false;
  std::size_t matches = 0;  ///< largest number of fingerprints shared with one earlier query
};

/// Probabilistic fingerprints of queries (Li et al., "Blacklight", USENIX Security 2022), here to compare QueryMonitor
/// with: a query that shares enough hashed windows of quantised values with one earlier query is an alarm. The hash is
/// a keyed 64-bit one in place of SHA-256. It was made for images; windows of a few columns suit tables. Published
/// attacks get round it (OARS, Feng et al. 2023): prefer QueryMonitor.
///
/// Allocates within the bound of `queries` and, per fingerprint, the 64 latest queries that have it; not thread-safe.
class Blacklight {
 public:
  /// `reference` gives the range of each column. Error(invalid_argument) names the option that is out of range.
  explicit Blacklight(MatrixView<const float> reference, const BlacklightOptions& options = {});
  BlacklightVerdict observe(std::span<const float> row);

 private:
  struct State;
  Shared<State> state_;
};

}  // namespace redoubt
