// A network for a table with numbers and categories: what it learned is saved, and a training that was stopped goes on
// from its checkpoint.
#include <cstdio>
#include <iostream>
#include <redoubt/data/generators.hpp>
#include <redoubt/metrics/evaluation.hpp>
#include <redoubt/nn/neural_network.hpp>

using namespace redoubt::layer;

int main() {
  const auto market = redoubt::generate_marketplace({.rows = 4000});
  const auto [train, test] = market.data.split(0.2, 7);
  redoubt::NeuralNetwork network(
      {Dense{64}, LayerNorm{}, GELU{}, Residual{{Dense{64}, GELU{}, Dropout{0.1}}}, Output{}},
      {.epochs = 15,
       .batch = 128,
       .optimizer = {.kind = redoubt::OptimizerKind::adamw, .learning_rate = 3e-3, .weight_decay = 1e-2},
       .balanced = true,
       .clip_norm = 1,
       .validation_fraction = 0.1,
       .patience = 5});
  network.options.checkpoint = "tabular.checkpoint";
  const redoubt::Model model = network.fit(train);  // run it again: it goes on where it stopped, here at its end
  std::remove("tabular.checkpoint");
  std::cout << model.info().options << '\n' << model.evaluate(test) << '\n';
}
