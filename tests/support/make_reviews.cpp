// Writes into the current folder what consumers, README snippets and the command's tests work on: reviews.csv (the
// simulated marketplace, smaller) and numeric.redoubt (a model that needs numbers only).
#include <redoubt/redoubt.hpp>

int main() {
  redoubt::MarketplaceOptions options;
  options.rows = 4000;
  options.five_star_rows = 120;
  options.five_star_accounts = 24;
  options.one_star_rows = 80;
  options.one_star_accounts = 16;
  redoubt::write_marketplace_csv(redoubt::generate_marketplace(options), "reviews.csv");
  const auto moons = redoubt::generate_moons(500);
  redoubt::GradientBoosting{{.trees = 20}}.fit(moons).save("numeric.redoubt");
}
