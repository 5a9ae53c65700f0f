#include "redoubt/nn/streaming.hpp"

#include <algorithm>
#include <catch2/catch.hpp>
#include <cmath>
#include <cstdlib>
#include <fstream>
#include <iostream>
#include <stdexcept>
#include <string>
#include <tuple>
#include <utility>
#include <vector>

#include "redoubt/core/error.hpp"
#include "redoubt/core/parallel.hpp"
#include "redoubt/core/random.hpp"
#include "redoubt/core/tensor.hpp"
#include "redoubt/data/csv_stream.hpp"
#include "redoubt/data/npy.hpp"
#include "redoubt/metrics/evaluation.hpp"
#include "redoubt/nn/mlp.hpp"
#include "redoubt/nn/neural_network.hpp"
#include "redoubt/nn/sequential.hpp"
#include "redoubt/nn/trainer.hpp"
#include "redoubt/nn/training_callback.hpp"
#include "redoubt/nn/training_objective.hpp"
#include "support/allocations.hpp"  // REDOUBT_SANITIZED
#include "support/child.hpp"
#include "support/test_data.hpp"

using namespace redoubt;
using namespace redoubt::layer;

namespace {

struct Rows {
  Tensor<float> x, y;
  Rows(std::size_t rows, std::size_t cols) : x({rows, cols}), y({rows, std::size_t{1}}) {
    Random random(4);
    for (float& v : x.flat()) v = static_cast<float>(static_cast<double>(random.below(2001)) / 1000 - 1);
    for (std::size_t r = 0; r < rows; ++r) y(r, 0) = x(r, 0) + x(r, 1) > 0;
  }
};

Graph network(std::uint32_t inputs) {
  Graph graph = Sequential{Dense{8}, ReLU{}, Dense{2}}.graph({inputs}, 0, true);
  graph.initialise(1);
  return graph;
}

/// Two epochs.
std::vector<float> streamed(RowStream& stream, std::uint32_t accumulate = 1) {
  Arena one(1);
  Graph graph = network(static_cast<std::uint32_t>(stream.inputs()));
  Trainer trainer(graph, NetworkLoss{}, {.batch = 64, .accumulate = accumulate, .arena = &one});
  const double first = train_stream(trainer, stream);
  CHECK(train_stream(trainer, stream) < first);
  return {std::as_const(graph).parameters().begin(), std::as_const(graph).parameters().end()};
}

std::vector<float> in_memory(const Rows& rows, std::uint32_t accumulate = 1) {
  Arena two(2);
  Graph graph = network(static_cast<std::uint32_t>(rows.x.cols()));
  Trainer trainer(graph, NetworkLoss{}, {.batch = 64, .accumulate = accumulate, .arena = &two});
  for (int epoch = 0; epoch < 2; ++epoch) {
    for (std::size_t r = 0; r < rows.x.rows(); r += 64) {
      const std::size_t end = std::min(rows.x.rows(), r + 64);
      trainer.step(MatrixView<const float>(rows.x).slice(r, end), MatrixView<const float>(rows.y).slice(r, end));
    }
    trainer.flush();
  }
  return {std::as_const(graph).parameters().begin(), std::as_const(graph).parameters().end()};
}

}  // namespace

TEST_CASE("Streaming: NPY and LIBSVM files give the weights of rows in memory", "[streaming][threads]") {
  const test::TempDir folder;
  const Rows rows(300, 6);
  const std::string x = folder / "x.npy", y = folder / "y.npy", svm = folder / "rows.svm";
  write_npy(rows.x, x);
  write_npy(rows.y, y);
  std::ofstream text(svm);
  text << "# a comment\n\n";
  for (std::size_t r = 0; r < 300; ++r) {
    text << rows.y(r, 0);
    for (std::size_t c = 0; c < 6; ++c) {
      if (rows.x(r, c) != 0) text << ' ' << c + 1 << ':' << rows.x(r, c);
    }
    text << (r + 1 < 300 ? "\n" : "");
  }
  text.close();
  NpyRowStream npy(x, y);
  CHECK(npy.rows() == 300);
  LibsvmRowStream lines(svm, 6);
  for (const std::uint32_t accumulate : {1u, 3u}) {
    const std::vector<float> expected = in_memory(rows, accumulate);
    CHECK(streamed(npy, accumulate) == expected);
    CHECK(streamed(lines, accumulate) == expected);
  }
  LibsvmRowStream narrow(svm, 5);
  CHECK_THROWS_AS(streamed(narrow), Error);  // index 6
  write_npy(Rows(299, 6).y, y);
  CHECK_THROWS_WITH(NpyRowStream(x, y), Catch::Contains("300 rows") && Catch::Contains("299"));
  CHECK_THROWS_AS(NpyRowStream(folder / "none.npy", y), Error);
  CHECK_THROWS_AS(LibsvmRowStream(folder / "none.svm", 6), Error);
  std::ofstream(svm) << "# rows\n\n1 1:0.5\n0 1:abc\n";
  LibsvmRowStream broken(svm, 6);
  CHECK_THROWS_WITH(streamed(broken), Catch::Contains("(from line 1):4:"));
  CHECK_THROWS_AS(LibsvmRowStream(svm, 0), Error);
  std::ofstream(svm, std::ios::trunc).close();
  LibsvmRowStream empty(svm, 6);
  CHECK_THROWS_WITH(streamed(empty), Catch::Contains("no row"));
}

TEST_CASE("Streaming: a CSV file gives the weights of its rows in memory, and a model", "[streaming][threads]") {
  const test::TempDir folder;
  const std::string path = folder / "rows.csv";
  {
    Random random(2);
    std::ofstream text(path);
    text << "amount,shop,age,genuine\n";
    for (int r = 0; r < 1500; ++r) {
      const auto age = random.below(80);
      const bool south = random.below(2) == 1;
      text << (random.below(9) == 0 ? "" : std::to_string(random.normal()))
           << (south ? ",\"so\nuth\"," : ",\"n,orth\",") << age << (south == (age > 40) ? ",yes\n" : ",no\n");
    }
  }
  const CsvOptions options{.target = "genuine"};
  const Dataset data = read_csv(path, options);
  Rows rows(1, 2);
  const Encoder encoder = Encoder::fit_apply(data, EncoderOptions::dense(), rows.x);
  rows.y = Tensor<float>({data.rows(), std::size_t{1}});
  for (std::size_t r = 0; r < data.rows(); ++r) rows.y(r, 0) = static_cast<float>(data.labels()[r]);
  CsvRowStream stream(path, data.schema(), encoder, options);
  for (const std::uint32_t accumulate : {1u, 3u}) CHECK(streamed(stream, accumulate) == in_memory(rows, accumulate));

  // What a user does whose file does not fit: schema and encoder of a sample, and a model file like any other.
  const Dataset sample = read_csv_sample(path, options, 300);
  const Encoder fitted = Encoder::fit(sample, EncoderOptions::dense());
  CsvRowStream again(path, sample.schema(), fitted, options);
  Graph graph = network(static_cast<std::uint32_t>(again.inputs()));
  Trainer trainer(graph, NetworkLoss{}, {.batch = 64, .optimizer = {.learning_rate = 1e-2}});
  for (int epoch = 0; epoch < 30; ++epoch) train_stream(trainer, again);
  network_model(graph, sample, fitted, "streamed").save(folder / "model.redoubt");
  const Model model = Model::load(folder / "model.redoubt");
  CHECK(model.info().algorithm == "streamed");
  CHECK(model.encoder().names() == fitted.names());
  CHECK(model.evaluate(data).value("accuracy") > 0.95);
}

TEST_CASE("Streaming: an MLP learns from rows that pass", "[streaming][threads]") {
  const test::TempDir folder;
  const std::string path = folder / "houses.csv";
  {
    Random random(3);
    std::ofstream text(path);
    text << "size,kind,price,dear\n";
    for (int r = 0; r < 3000; ++r) {
      const double size = 40 + random.uniform() * 160;
      const bool villa = random.below(3) == 0;
      const double price = 1000 * size + (villa ? 50'000 : 0);
      text << size << (villa ? ",villa," : ",\"fl\nat\",") << price
           << (random.below(20) == 0 || price > 140'000 ? ",yes\n" : ",no\n");
    }
  }
  const auto fit = [&](const CsvOptions& form, const MlpOptions& options, std::size_t rows, Dataset& test) {
    Dataset sample = read_csv_sample(path, form, rows), held_out;
    std::tie(sample, test) = sample.split(0.3, 1);
    if (options.patience > 0) std::tie(sample, held_out) = sample.split(0.2, 2);
    std::vector<RowId> without(test.row_ids().begin(), test.row_ids().end());
    without.insert(without.end(), held_out.row_ids().begin(), held_out.row_ids().end());
    const Encoder encoder = Encoder::fit(sample, EncoderOptions::dense());
    CsvRowStream stream(path, sample.schema(), encoder, form, without);
    const Model model = Mlp{options}.fit_stream(stream, encoder, sample, held_out);
    CHECK(model.info().train_rows == 3000 - without.size());
    CHECK(model.info().data_hash.size() == 64);
    return model;
  };
  Arena one(1), two(2);
  MlpOptions options{.hidden = {16}, .epochs = 40, .learning_rate = 1e-2, .patience = 0, .arena = &one};
  Dataset test;
  const CsvOptions prices{.target = "price", .ignore = {"dear"}}, classes{.target = "dear", .ignore = {"price"}};
  const Model value = fit(prices, options, 500, test);
  CHECK(value.evaluate(test).value("r2") > 0.98);  // the target's scale is folded back
  CHECK_THAT(value.info().options, Catch::Contains("streamed=true") && Catch::Contains("epochs_run=40"));
  options.arena = &two;
  CHECK(fit(prices, options, 500, test).to_bytes() == value.to_bytes());
  options.epochs = 200, options.patience = 2;
  const Model label = fit(classes, options, 1000, test);
  CHECK(label.evaluate(test).value("accuracy") > 0.9);
  CHECK_THAT(label.info().options, !Catch::Contains("epochs_run=200"));  // stopped
  label.save(folder / "model.redoubt");
  CHECK(Model::load(folder / "model.redoubt").info().algorithm == "mlp");

  // Without rows to hold out it is the Trainer on the stream.
  options = {.hidden = {8}, .epochs = 2, .batch = 64, .learning_rate = 1e-3, .l2 = 0, .patience = 0, .seed = 1};
  const Dataset all = read_csv(path, classes);
  const Encoder encoder = Encoder::fit(all, EncoderOptions::dense());
  CsvRowStream stream(path, all.schema(), encoder, classes);
  const Model streamed_model = Mlp{options}.fit_stream(stream, encoder, all, {});
  Graph graph = network(static_cast<std::uint32_t>(encoder.width()));
  Trainer trainer(graph, NetworkLoss{}, {.batch = 64, .optimizer = {.weight_decay = 0}, .seed = 1});
  for (int epoch = 0; epoch < 2; ++epoch) train_stream(trainer, stream);
  CHECK(network_model(graph, all, encoder, "mlp").predict_proba(all) == streamed_model.predict_proba(all));

  CHECK_THROWS_WITH((Mlp{options}.fit_stream(stream, Encoder::fit(read_csv(path, prices), {}), all, {})),
                    Catch::Contains("those of the encoder"));
  CHECK_THROWS_WITH((Mlp{options}.fit_stream(stream, encoder, all, read_csv(path, prices))),
                    Catch::Contains("another target"));
  CHECK_THROWS_AS((Mlp{options}.fit_stream(stream, encoder, all.seal(), {})), Error);
  // Rows held out may be of one class, but not without a target: said before the first epoch.
  std::vector<std::size_t> cheap;
  for (std::size_t r = 0; cheap.size() < 5; ++r)
    if (all.labels()[r] == 0) cheap.push_back(r);
  CHECK_NOTHROW(Mlp{options}.fit_stream(stream, encoder, all, all.take(cheap)));
  const Dataset unknown = read_csv_text("size,kind,dear\n50,villa,no\n60,villa,\n70,villa,yes\n", {.target = "dear"});
  CHECK_THROWS_WITH((Mlp{options}.fit_stream(stream, encoder, all, unknown)),
                    Catch::Contains("row id 1 has no target"));
  options.learning_rate = -1;
  CHECK_THROWS_AS((Mlp{options}.fit_stream(stream, encoder, all, {})), Error);
}

TEST_CASE("Streaming: any network learns from rows that pass, and goes on where it was stopped",
          "[streaming][threads]") {
  const test::TempDir folder;
  const std::string path = folder / "rows.csv";
  {
    Random random(6);
    std::ofstream text(path);
    text << "a,b,c,d,rare\n";
    for (int r = 0; r < 2000; ++r) {
      const double a = random.normal(), b = random.normal();
      text << a << ',' << b << ',' << random.normal() << ',' << random.normal() << (a * b > 1 ? ",yes\n" : ",no\n");
    }
  }
  const CsvOptions form{.target = "rare"};
  const auto [sample, held_out] = read_csv_sample(path, form, 1000).split(0.3, 1);
  const Encoder encoder = Encoder::fit(sample, EncoderOptions::dense());
  CsvRowStream stream(path, sample.schema(), encoder, form, {held_out.row_ids().begin(), held_out.row_ids().end()});
  NeuralNetworkOptions options{.epochs = 6,
                               .batch = 64,
                               .accumulate = 2,
                               .optimizer = {.learning_rate = 1e-2},
                               .schedule = {.kind = ScheduleKind::cosine, .warmup = 0.1},
                               .balanced = true,
                               .clip_norm = 1,
                               .seed = 3};
  const auto network_of = [](const NeuralNetworkOptions& o) {
    return NeuralNetwork(Sequential{Reshape{{2, 2, 1}}, Conv2d{8, 2}, ReLU{}, Flatten{}, Dense{16}, ReLU{}, Output{}},
                         o);
  };
  const auto fit = [&](const NeuralNetworkOptions& o) {
    return network_of(o).fit_stream(stream, encoder, sample, held_out);
  };
  const Model model = fit(options);
  CHECK(model.evaluate(held_out).value("roc_auc") > 0.9);
  CHECK(model.info().train_rows == 2000 - held_out.rows());
  CHECK_THAT(model.info().options,
             Catch::Contains("schedule=cosine") && Catch::Contains("streamed=true") && Catch::Contains("epochs_run=6"));

  // The same weights as steps of a Trainer told how many there will be.
  NeuralNetworkOptions plain = options;
  plain.balanced = false;
  Graph graph = Sequential{Dense{8}, ReLU{}, Output{}}.graph({4}, 2, true);
  const Model all_epochs = NeuralNetwork(graph, plain).fit_stream(stream, encoder, sample, {});
  graph.initialise(3);
  const std::uint64_t rows = 2000 - held_out.rows(), moves = ((rows + 63) / 64 + 1) / 2;
  Trainer trainer(graph, NetworkLoss{.kind = LossKind::cross_entropy},
                  {.batch = 64,
                   .accumulate = 2,
                   .optimizer = options.optimizer,
                   .schedule = options.schedule,
                   .steps = 6 * moves,
                   .clip_norm = 1,
                   .seed = 3});
  for (int epoch = 0; epoch < 6; ++epoch) train_stream(trainer, stream);
  CHECK(network_model(graph, sample, encoder).predict_proba(held_out) == all_epochs.predict_proba(held_out));

  // Balanced: the classes of the sample weigh the same.
  plain = {.epochs = 1, .batch = 64, .optimizer = options.optimizer, .balanced = true, .seed = 3};
  const auto rare = static_cast<double>(std::count(sample.labels().begin(), sample.labels().end(), 1));
  const auto half = static_cast<double>(sample.rows()) / 2;
  graph.initialise(3);
  Trainer weighted(graph, {.kind = LossKind::cross_entropy, .class_weights = {half / (2 * half - rare), half / rare}},
                   {.batch = 64, .optimizer = options.optimizer, .seed = 3});
  train_stream(weighted, stream);
  CHECK(network_model(graph, sample, encoder).predict_proba(held_out) ==
        NeuralNetwork(graph, plain).fit_stream(stream, encoder, sample, {}).predict_proba(held_out));

  // An objective is told how many steps there will be; held-out rows and a callback may stop.
  struct Plan final : TrainingObjective {
    std::uint64_t steps = 0;
    std::string name() const override { return "plan"; }
    double step(TrainingPass& pass) override {
      steps = pass.steps;
      return pass.learn(pass.rows);
    }
  } plan;
  plain.balanced = false;
  plain.objective = &plan;
  NeuralNetwork(graph, plain).fit_stream(stream, encoder, sample, {});
  CHECK(plan.steps == (rows + 63) / 64);
  struct Stopper final : TrainingCallback {
    bool after_epoch(const TrainingEpoch& epoch) override { return epoch.epoch < 2; }
  } stopper;
  plain = {.epochs = 9, .batch = 64, .callback = &stopper};
  CHECK_THAT(NeuralNetwork(graph, plain).fit_stream(stream, encoder, sample, {}).info().options,
             Catch::Contains("epochs_run=2"));
  plain = {.epochs = 200, .batch = 64, .optimizer = {.learning_rate = 0.1}, .patience = 1};
  CHECK_THAT(NeuralNetwork(graph, plain).fit_stream(stream, encoder, sample, held_out).info().options,
             !Catch::Contains("epochs_run=200"));

  // Stopped by its callback's exception in the fourth epoch, then taken up from the file.
  struct Watcher final : TrainingCallback {
    int fail_after = 100;
    std::vector<double> held_out_losses;
    bool after_epoch(const TrainingEpoch& epoch) override {
      held_out_losses.push_back(epoch.validation_loss);
      if (epoch.epoch > fail_after) throw std::runtime_error("out of power");
      return true;
    }
  } watcher;
  NeuralNetworkOptions kept = options;
  kept.checkpoint = folder / "training.checkpoint";
  kept.callback = &watcher;
  watcher.fail_after = 3;
  CHECK_THROWS_WITH(fit(kept), "out of power");
  watcher.fail_after = 100;
  Arena two(2);
  kept.arena = &two;
  CHECK(fit(kept).predict_proba(held_out) == model.predict_proba(held_out));
  REQUIRE(watcher.held_out_losses.size() == 4 + 3);
  CHECK(watcher.held_out_losses[3] == watcher.held_out_losses[4]);            // the fourth, again
  CHECK(fit(kept).predict_proba(held_out) == model.predict_proba(held_out));  // it is complete: no epoch is run
  CHECK(watcher.held_out_losses.size() == 4 + 3);
  const auto [other_sample, other_held_out] = held_out.split(0.5, 1);
  for (const auto& [a, b] :
       {std::pair(sample, other_held_out), std::pair(other_sample, held_out), std::pair(sample, Dataset())})
    CHECK_THROWS_WITH(network_of(kept).fit_stream(stream, encoder, a, b), Catch::Contains("other data"));
  CsvRowStream more(path, sample.schema(), encoder, form);
  CHECK_THROWS_WITH(network_of(kept).fit_stream(more, encoder, sample, held_out), Catch::Contains("other data"));

  const auto refuses = [&](const NeuralNetworkOptions& bad, const char* why) {
    CHECK_THROWS_WITH(fit(bad), Catch::Contains(why));
  };
  options.validation_fraction = 0.1;
  refuses(options, "validation_fraction");
  options.validation_fraction = 0;
  options.accumulate = 0;
  refuses(options, "accumulate is 0");
  options.accumulate = 1;
  options.epochs = 0;
  refuses(options, "epochs is 0");
  options = {.optimizer = {.kind = OptimizerKind::lbfgs}};
  refuses(options, "cannot be streamed");
  options = {};
  options.patience = 1;
  CHECK_THROWS_WITH(network_of(options).fit_stream(stream, encoder, sample, {}), Catch::Contains("patience"));
  options.patience = 0, options.schedule = {.kind = ScheduleKind::cosine, .warmup = 2};
  refuses(options, "warmup");
  const Graph wide = Sequential{Dense{3}}.graph({4}, 3, true);
  CHECK_THROWS_WITH(NeuralNetwork(wide, {}).fit_stream(stream, encoder, sample, {}),
                    Catch::Contains("the network maps [4] to 3 values"));
}

TEST_CASE("prints the most memory that a pass took", "[.streamed-memory]") {
  if (!std::getenv("REDOUBT_STREAMED")) return;  // not asked for by the test below
  const std::string folder = std::getenv("REDOUBT_STREAMED"), how = std::getenv("REDOUBT_STREAMED_HOW");
  if (how == "training") {
    Arena one(1);
    Graph graph = network(100);
    Trainer trainer(graph, NetworkLoss{}, {.batch = 256, .arena = &one});
    NpyRowStream stream(folder + "/x.npy", folder + "/y.npy");
    REQUIRE(std::isfinite(train_stream(trainer, stream)));
  } else if (how == "whole") {
    REQUIRE(read_npy<float>(folder + "/x.npy").rows() == 160'000);
  } else if (how == "csv") {
    Arena one(1);
    const CsvOptions options{.target = "y", .types = {{"word", ColumnType::categorical}}};
    const Dataset sample = read_csv_sample(folder + "/rows.csv", options, 1000);
    const Encoder encoder = Encoder::fit(sample, EncoderOptions::dense());
    CsvRowStream stream(folder + "/rows.csv", sample.schema(), encoder, options);
    Graph graph = network(static_cast<std::uint32_t>(stream.inputs()));
    Trainer trainer(graph, NetworkLoss{}, {.batch = 256, .arena = &one});
    REQUIRE(std::isfinite(train_stream(trainer, stream)));
  } else if (how == "whole-csv") {
    REQUIRE(read_csv(folder + "/rows.csv").rows() == 200'000);
  }
  std::ifstream status("/proc/self/status");
  for (std::string line; std::getline(status, line);) {
    if (line.starts_with("VmHWM:")) std::cout << "answer: " << std::atol(line.c_str() + 6) << '\n';
  }
}

TEST_CASE("Streaming: memory does not grow with the file", "[streaming]") {
#if defined(REDOUBT_SANITIZED)
  SUCCEED("memory is not that of the program under sanitizers");
#else
  const test::TempDir folder;
  {
    const Rows rows(160'000, 100);  // 64 MB
    write_npy(rows.x, folder / "x.npy");
    write_npy(rows.y, folder / "y.npy");
  }
  {
    std::ofstream text(folder / "rows.csv");  // 37 MB; 35 MB as numbers
    text << "word,y";
    for (int c = 0; c < 20; ++c) text << ",c" << c;
    for (int r = 0; r < 200'000; ++r) {
      text << "\n\"w\n" << r % 50 << "\"," << r % 2;
      for (int c = 0; c < 20; ++c) text << ',' << (r * (c + 1)) % 9973 << ".25";
    }
  }
  // Peak memory in KB of a program of its own: a fork, and even getrusage after exec, would count what this one holds.
  const auto peak = [&](const char* how) {
    const std::string environment = "REDOUBT_STREAMED='" + folder.path() + "' REDOUBT_STREAMED_HOW=" + how;
    const std::string answer = test::child_answer(environment, "[.streamed-memory]");
    REQUIRE(!answer.empty());
    return std::atol(answer.c_str());
  };
  const long idle = peak("idle"), training = peak("training"), whole = peak("whole");
  CHECK(training - idle < 16'000);
  CHECK(whole - idle > 60'000);  // the measure sees what it should
  CHECK(peak("csv") - idle < 16'000);
  CHECK(peak("whole-csv") - idle > 30'000);
#endif
}
