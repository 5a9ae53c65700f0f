#pragma once
// Helpers of the checks that keep the rows they saw.
#include "redoubt/data/dataset.hpp"
#include "redoubt/robustness/verdict.hpp"

namespace redoubt {
struct SourceSuspicion;
}

namespace redoubt::detail {

/// `kept` followed by `more`.
inline void append_rows(Dataset& kept, const Dataset& more) {
  if (more.rows() == 0) return;
  kept = kept.rows() == 0 ? more : Dataset::concat(kept, more);
}

/// Labelled rows in their order; a seeded choice if they are more than max_rows (0: all).
Dataset labelled_rows(const Dataset& data, std::size_t max_rows, std::uint64_t seed);

/// Findings by falling score; equal scores keep their order.
void sort_findings(std::vector<Finding>& findings);
/// Of one finding per row, those with a score above 0.
std::vector<Finding> scored(std::vector<Finding> by_row);
/// Ends a verdict that warns and never blocks: findings sorted, a warning if there are any, their share of the rows as
/// the score.
void finish_warning(Verdict& verdict, std::size_t rows);

/// The upper one of two in the middle; at least one value.
double median(std::vector<double> values);

/// P(chi^2 with `degrees` <= value): the regularised incomplete gamma function, by series or continued fraction.
double chi_square_below(double value, double degrees);
/// Of the standard normal distribution, p in (0, 1); Acklam's rational approximation, relative error 1.2e-9.
double normal_quantile(double p);
/// P(X >= k), X binomial(n, p).
double binomial_tail(std::size_t k, std::size_t n, double p);
/// P(X >= k), X Poisson(mean).
double poisson_tail(std::size_t k, double mean);

/// Rows of a group (a source, a set of copies, a burst) and how many of them are flagged.
struct GroupCount {
  std::size_t rows = 0, flagged = 0;
  void add(bool flag) noexcept {
    ++rows;
    flagged += flag;
  }
};
struct GroupTest {
  double expected = 0, p_value = 1, q_value = 1;
  double excess = 0;  ///< share of the group flagged beyond chance
};
/// Binomial test of each non-empty group against the others' rate, then Benjamini-Hochberg; see source_suspicion.
std::vector<GroupTest> test_groups(std::span<const GroupCount> groups);
/// By q-value, of equal ones the higher score first.
bool more_suspicious(const SourceSuspicion& a, const SourceSuspicion& b);

}  // namespace redoubt::detail
