#pragma once
#include <cstddef>
#include <cstdint>
#include <span>
#include <string>
#include <vector>

#include "redoubt/data/dataset.hpp"
#include "redoubt/robustness/check.hpp"

namespace redoubt {

/// What the rows of one source say about it together.
struct SourceSuspicion {
  std::string source;
  std::size_t rows = 0;
  std::size_t suspicious = 0;  ///< rows with evidence against them
  double expected = 0;         ///< suspicious rows that a source of this size would have by chance
  double p_value = 1;          ///< P(at least so many by chance)
  double q_value = 1;          ///< after Benjamini-Hochberg over all sources
  double score = 0;            ///< share of its rows that is suspicious beyond chance, in [0, 1]
  std::string label{};         ///< of a screen: `suspicious` counts its rows of this label, by what the rows say alone
};

/// Are a source's suspicious rows more than chance? One-sided binomial test of every source against the rate among all
/// others, then Benjamini-Hochberg ("Controlling the false discovery rate", JRSS B 1995) over the sources.
/// `suspicious`: 0 or 1 per row of `data`. Rows without a source count for none. Sorted by q-value, then by
/// score. Error(invalid_argument) without a source column, Error(shape_mismatch) naming both lengths.
std::vector<SourceSuspicion> source_suspicion(const Dataset& data, std::span<const std::uint8_t> suspicious);

/// Benjamini-Hochberg q-values, in the order of `p_values`.
std::vector<double> benjamini_hochberg(std::span<const double> p_values);

/// Refuses rows that do not come from a listed source: provenance is the cheapest defence there is.
struct SourceAllowList {
  static constexpr std::string_view id = "source_allow_list";
  static constexpr Stage stage = Stage::ingest;
  static constexpr Need needs = Need::sources;

  std::vector<std::string> allowed;  ///< names of the source column; empty: abstains

  void update(const Batch& batch);
  void merge(const SourceAllowList& other);
  /// Blocks on any other source, and on rows without one; row scores are 1.
  Verdict finish() const;

  // What was seen so far; no options. Public so that the check stays an aggregate.
  std::size_t rows_ = 0;
  std::vector<Finding> refused_;
};

}  // namespace redoubt
