// Data larger than memory: rows arrive in batches from a file, a socket or, here, a generator; a Trainer learns from
// each and forgets it. Memory is one batch, whatever the amount of data. With arguments X.npy Y.npy (rows of numbers,
// and a label 0 or 1 for each) the rows come from these files, three times over; with TABLE.csv TARGET MODEL from a
// table with categories, texts and missing cells, and a model file comes out.
#include <cmath>
#include <iostream>
#include <redoubt/core/random.hpp>
#include <redoubt/data/csv_stream.hpp>
#include <redoubt/data/dataset.hpp>
#include <redoubt/metrics/evaluation.hpp>
#include <redoubt/nn/mlp.hpp>
#include <redoubt/nn/neural_network.hpp>
#include <redoubt/nn/streaming.hpp>
#include <redoubt/nn/trainer.hpp>

using namespace redoubt::layer;

namespace {

constexpr std::size_t width = 8, batch = 256;

/// A stream of rows; a real one would read the next block of a file into the same memory.
struct Stream {
  redoubt::Random random{1};
  redoubt::Tensor<float> rows{batch, width}, targets{batch, std::size_t{1}};

  void next() {
    for (std::size_t r = 0; r < batch; ++r) {
      for (float& v : rows.row(r)) v = static_cast<float>(random.normal());
      targets(r, 0) = rows(r, 0) * rows(r, 1) + std::sin(3 * rows(r, 2)) > 0;
    }
  }
};

/// A network from a table that need not fit in memory. What is held is a sample: it gives types, classes and encoding,
/// and a part of it tells how good the model is.
int learn_table(const char* path, const char* target, const char* file) {
  const redoubt::CsvOptions options{.target = target};
  const auto [sample, test] = redoubt::read_csv_sample(path, options, 20'000).split(0.2, /*seed=*/7);
  const auto encoder = redoubt::Encoder::fit(sample, redoubt::EncoderOptions::dense());
  redoubt::CsvRowStream rows(path, sample.schema(), encoder, options, {test.row_ids().begin(), test.row_ids().end()});
  const redoubt::Mlp mlp{{.epochs = 5, .patience = 0}};
  const redoubt::Model model = mlp.fit_stream(rows, encoder, sample, {});
  std::cout << model.evaluate(test) << '\n' << rows.quarantined() << " bad rows left out\n";
  model.save(file);
  return 0;
}

/// The epochs of files; Error names file and place if they cannot be read.
int learn_files(const char* x, const char* y) {
  redoubt::NpyRowStream stream(x, y);
  redoubt::Graph graph =
      redoubt::Sequential{Dense{64}, ReLU{}, Dense{2}}.graph({static_cast<std::uint32_t>(stream.inputs())}, 2, true);
  graph.initialise(1);
  redoubt::Trainer trainer(graph, redoubt::NetworkLoss{}, {.batch = batch});
  for (int epoch = 1; epoch <= 3; ++epoch) {
    std::cout << "epoch " << epoch << ": mean loss " << redoubt::train_stream(trainer, stream) << '\n';
  }
  return 0;
}

}  // namespace

int main(int argc, char** argv) {
  if (argc == 3) return learn_files(argv[1], argv[2]);
  if (argc == 4) return learn_table(argv[1], argv[2], argv[3]);
  redoubt::Graph graph = redoubt::Sequential{Dense{64}, ReLU{}, Dense{64}, ReLU{}, Dense{2}}.graph({width}, 2, true);
  graph.initialise(1);
  const std::uint64_t steps = 2000;
  redoubt::Trainer trainer(graph, redoubt::NetworkLoss{.kind = redoubt::LossKind::cross_entropy},
                           {.batch = batch,
                            .optimizer = {.learning_rate = 3e-3},
                            .schedule = {.kind = redoubt::ScheduleKind::linear, .warmup = 0.02},
                            .steps = steps,
                            .clip_norm = 5});
  Stream stream;
  double loss = 0;
  for (std::uint64_t step = 1; step <= steps; ++step) {
    stream.next();
    loss += trainer.step(stream.rows, stream.targets);
    if (step % 500 == 0) {
      std::cout << step * batch << " rows: mean loss " << loss / 500 << '\n';
      loss = 0;
    }
  }
  stream.next();  // rows that were never seen
  std::vector<std::int32_t> labels;
  for (std::size_t r = 0; r < batch; ++r) labels.push_back(static_cast<std::int32_t>(stream.targets(r, 0)));
  const auto test = redoubt::Dataset::from_matrix(stream.rows, std::span<const std::int32_t>(labels));
  const redoubt::Model model = redoubt::network_model(graph, test, "streamed");
  std::cout << model.evaluate(test) << '\n';
}
