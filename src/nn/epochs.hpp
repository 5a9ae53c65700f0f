#pragma once
#include <limits>
#include <string>
#include <string_view>
#include <vector>

#include "redoubt/core/function_ref.hpp"
#include "redoubt/nn/neural_network.hpp"
#include "redoubt/nn/trainer.hpp"

namespace redoubt::detail {

/// Error(invalid_argument) naming the option that is out of range. That patience needs held-out rows is left to the
/// caller.
void check_options(const NeuralNetworkOptions& options, std::string_view what);

/// L-BFGS takes its gradients in fp32.
TrainingPrecision precision_of(const NeuralNetworkOptions& options);

/// Of everything that the weights depend on: a checkpoint of another one is refused. `data_hash` is of all rows that
/// have a say.
std::string fingerprint(std::string_view data_hash, const NeuralNetworkOptions& options, std::string_view algorithm,
                        std::string_view options_text, const Graph& graph);

/// The epochs of a fit, wherever its rows are: stopping, best weights, checkpoints, progress and callbacks.
class Epochs {
 public:
  /// What an epoch does. A `held_out_loss` that is null: no rows are held out.
  struct Work {
    function_ref<double(int epoch)> pass;  ///< the steps of an epoch; mean loss of its rows
    const function_ref<double()>* held_out_loss = nullptr;
  };

  /// All but the fingerprint, which only a checkpoint needs, is held by reference: also what `work` calls.
  Epochs(const NeuralNetworkOptions& options, std::string_view algorithm, Trainer& trainer, Graph& graph, Work work,
         std::string fingerprint);

  /// Goes on from the checkpoint, if there is one. Returns the number of epochs that were run; the graph has the
  /// weights of the best one if rows are held out.
  int run();

  /// Counts an epoch that was run otherwise, of this mean loss. Returns whether to go on. To be followed by `finish`.
  bool count(double loss);
  int finish();

 private:
  void progress(int done) const;
  void save() const;
  void resume();

  const NeuralNetworkOptions& options_;
  std::string_view algorithm_;
  Trainer& trainer_;
  Graph& graph_;
  Work work_;
  std::string fingerprint_;
  std::vector<float> best_;
  double best_loss_ = std::numeric_limits<double>::max();
  int epoch_ = 0, stale_ = 0;
  bool stopped_ = false;
};

}  // namespace redoubt::detail
