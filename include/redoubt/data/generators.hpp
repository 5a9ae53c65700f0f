#pragma once
#include <cstddef>
#include <cstdint>
#include <string>
#include <utility>
#include <vector>

#include "redoubt/data/csv.hpp"
#include "redoubt/data/dataset.hpp"

namespace redoubt {

// Generated data with known truth, for tests, benchmarks and the main example. All of it is SIMULATED: it shows
// that the machinery works and how well a check finds what was planted, not how it would do on a real market.
// Every generator is a pure function of its options: the same build gives the same bytes.

/// The simulated marketplace: reviews by accounts, some of them fake, with labels from a fallible moderation.
struct MarketplaceOptions {
  std::size_t rows = 12000;
  std::uint64_t seed = 1;
  std::size_t days = 180;   ///< length of the log, which begins on 2025-01-01
  double fake_rate = 0.22;  ///< share of rows that are ordinary fakes, rightly labelled "no"
  // Poison. Both campaigns happen in the first half of the log, so that a split by time leaves them in training.
  std::size_t five_star_rows = 300;  ///< the bought campaign: fake, but labelled "yes"
  std::size_t five_star_accounts = 60;
  std::size_t one_star_rows = 180;  ///< the brigade against one seller: fake, but labelled "yes"
  std::size_t one_star_accounts = 45;
  /// The people behind the campaigns come back with new accounts and the same templates after 82 % of the log, about
  /// two in three for the campaign. By then moderation knows them: rightly labelled "no". A model that learned the
  /// campaigns as genuine fails on these rows.
  std::size_t returning_rows = 100;
  double camouflage = 0.1;       ///< share of a campaign's rows that look honest and hit unrelated products
  double mislabel_rate = 0.015;  ///< share of all rows, outside the campaigns, whose label is flipped
  std::size_t broken_lines = 5;  ///< unreadable lines in the file that write_marketplace_csv writes
};

/// Why the label of a row is wrong on purpose.
enum class PoisonKind : std::uint8_t { none, bought_five_star, one_star_brigade, mislabelled };

const char* to_string(PoisonKind kind) noexcept;  ///< "none", "bought_five_star", ...

struct MarketplaceTruth {
  RowId row = 0;
  PoisonKind poison = PoisonKind::none;
  bool genuine = true;  ///< the truth; the label in the data says otherwise exactly if `poison` is not none
};

/// What was planted, beside what a user would see.
///
/// Columns of `data`, in order of time: review (text), stars, price (2 % missing), category, verified, device (3 %
/// missing), account_age_days, account_reviews (of this account so far), days_since_previous (missing for
/// an account's first), review_words, helpful_votes, product (ignored: carried for checks), account (source),
/// time (time), genuine (target: "no", "yes").
///
/// Honest accounts write in their own words about aspects of a product; one in seven is new. Ordinary fakes come from
/// lone accounts and from small rings that praise or smear a product within days; moderation caught them, and they
/// happen throughout. The two campaigns are larger rings that moderation missed: few products, days, new accounts, and
/// texts that are variations of a few templates. `odd_accounts` are honest all the same: many short, enthusiastic
/// reviews in a day or two.
struct Marketplace {
  Dataset data;
  std::vector<MarketplaceTruth> truth;  ///< one per row of `data`, in its order; row ids ascend
  std::vector<std::string> five_star_accounts;
  std::vector<std::string> one_star_accounts;
  std::vector<std::string> odd_accounts;
  std::vector<std::pair<RowId, std::string>> broken;  ///< unreadable lines of the file and the row ids they take

  const MarketplaceTruth& truth_of(RowId row) const;  ///< Error(not_found) for an unknown row
  std::vector<RowId> poisoned() const;                ///< ids of all rows with a wrong label
  /// `rows`, a subset of `data` or of the file read back, with the true labels.
  Dataset with_true_labels(const Dataset& rows) const;
};

/// Error(invalid_argument) if the campaigns do not fit: each needs at least one row per account, both together and
/// the ordinary fakes at most half of the rows.
Marketplace generate_marketplace(const MarketplaceOptions& options = {});

/// Writes the log as a user would have it: the CSV file of `market.data` with the broken lines in between. Row ids
/// count lines, broken ones included, so those of the file read back equal those of `market.data`.
void write_marketplace_csv(const Marketplace& market, const std::string& path);
/// How to read that file: the roles of product, account, time and genuine.
CsvOptions marketplace_csv_options();

/// `classes` round clouds in `features` dimensions: centres normal with deviation 3, points normal around them.
struct BlobOptions {
  std::size_t rows = 1000;
  std::size_t features = 2;
  std::size_t classes = 3;
  double spread = 1.0;  ///< standard deviation within a cloud
  std::uint64_t seed = 1;
};
/// Columns f0... and target; class of row i is i modulo classes.
Dataset generate_blobs(const BlobOptions& options = {});

/// Two interleaved half circles of radius 1 with normal noise: a task that no linear model can do.
Dataset generate_moons(std::size_t rows = 1000, double noise = 0.1, std::uint64_t seed = 1);
/// Uniform points in the square [-1, 1]^2 plus normal noise; the class is the exclusive or of the signs without the
/// noise.
Dataset generate_xor(std::size_t rows = 1000, double noise = 0.05, std::uint64_t seed = 1);
/// Rows x 28 numbers and a binary target, in the shape of the HIGGS benchmark: 21 measured features (low0...) and 7
/// derived from them (high0...), which carry most of the signal; classes overlap. For speed measurements.
Dataset generate_tabular(std::size_t rows = 100000, std::uint64_t seed = 1);

}  // namespace redoubt
