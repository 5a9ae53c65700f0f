// What can be proved about a model: predictions that no small change of a row can turn (certify), predictions that no
// few poisoned sources can turn (PartitionEnsemble), and how a source is taken out again without training everything
// anew.
#include <iostream>
#include <redoubt/data/dataset.hpp>
#include <redoubt/data/generators.hpp>
#include <redoubt/model/model.hpp>
#include <redoubt/robustness/certify/certified_accuracy.hpp>
#include <redoubt/robustness/certify/partition_ensemble.hpp>
#include <redoubt/trees/gradient_boosting.hpp>

int main() {
  // Text has no small changes; the other columns have.
  const auto market =
      redoubt::generate_marketplace({.rows = 4000}).data.with_role("review", redoubt::ColumnRole::ignore);
  const auto [train, test] = market.split(0.25, /*seed=*/7);
  const redoubt::GradientBoosting trees{{.trees = 30, .max_leaves = 8}};

  const auto model = trees.fit(train);
  std::cout << redoubt::certify(model, test, {.radii = {0, 0.01, 0.05, 0.1}, .max_rows = 300});

  const auto ensemble = redoubt::PartitionEnsemble::fit(train, trees, {.partitions = 25, .by_source = true});
  std::cout << "\nvotes of " << ensemble.partitions()
            << " models, against poisoned accounts: " << ensemble.evaluate(test);

  const std::vector<std::string> leaving{train.source_names()[0]};
  const auto without = ensemble.refit(train.without_sources(leaving), trees);
  std::cout << "\naccount " << leaving[0] << " is gone: " << without.trained() << " of " << without.partitions()
            << " models were trained again\n";
}
