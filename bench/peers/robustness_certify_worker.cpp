// Our side of bench/peers/robustness_certify.py. Usage: peer_robustness_certify_worker MODE KEY=VALUE...
//   verify  model (LightGBM text), rows, labels (npy): lines "run" -> seconds, mean bound and error at 0.3 by the
//   search of
//           the published example
//   votes   sources flood partitions of spambase (majority), then of pendigits (majority, run-off): a line each
//   fashion dir (Fashion-MNIST), epsilon (0: plain), epochs, rows (of the test set, 0: all), network=dense|conv: a
//   network
//           trained by intervals -> accuracy, accuracy under attack, verified accuracy at 0.05 and 0.1 (pixels in [0,
//           1]), verified rows that the attack broke, seconds of training
//   splits  arff file: accuracy and verified error of plain trees and of robust splits, a line each
// threads: of votes, fashion and splits.
#include <algorithm>
#include <bit>
#include <cstdio>
#include <iostream>
#include <set>
#include <string>
#include <vector>

#include "bench/peers/trees_loop.hpp"
#include "redoubt/core/error.hpp"
#include "redoubt/core/parallel.hpp"
#include "redoubt/core/random.hpp"
#include "redoubt/core/tensor.hpp"
#include "redoubt/data/arff.hpp"
#include "redoubt/data/dataset.hpp"
#include "redoubt/data/idx.hpp"
#include "redoubt/data/npy.hpp"
#include "redoubt/interop/lightgbm.hpp"
#include "redoubt/model/model.hpp"
#include "redoubt/nn/sequential.hpp"
#include "redoubt/nn/trainer.hpp"
#include "redoubt/robustness/certify/certified_accuracy.hpp"
#include "redoubt/robustness/certify/interval_training.hpp"
#include "redoubt/robustness/certify/partition_ensemble.hpp"
#include "redoubt/robustness/certify/tree_verifier.hpp"
#include "redoubt/robustness/evasion/attack.hpp"
#include "redoubt/trees/forest.hpp"
#include "redoubt/trees/gradient_boosting.hpp"

namespace {

using namespace redoubt;
using bench::Settings;

/// Ten steps from 0.3: doubling until a radius breaks, at most to 1, halving until one holds, then bisection.
int verify(const Settings& settings) {
  const auto forest = read_lightgbm_forest(settings.file("model.txt"));
  const auto rows = read_npy<float>(settings.file("rows.npy"));
  const auto labels = read_npy<std::int32_t>(settings.file("labels.npy"));
  for (std::string line; std::getline(std::cin, line);) {
    const double start = bench::now();
    const TreeVerifier verifier(*forest);
    double bounds = 0;
    std::size_t failed = 0;
    for (std::size_t r = 0; r < rows.rows(); ++r) {
      double eps = 0.3, held = 0, broke = 0;
      for (int step = 0; step < 10; ++step) {
        const auto label = static_cast<std::size_t>(labels.data()[r]);
        const bool holds = verifier.verify(rows.row(r), label, eps).result == Robustness::certified;
        if (step == 0 && !holds) ++failed;
        (holds ? held : broke) = eps;
        if (held > 0 && broke == 0 && eps >= 1) break;
        eps = held == 0 ? eps / 2 : broke == 0 ? eps * 2 : (held + broke) / 2;
      }
      bounds += held;
    }
    const double count = static_cast<double>(rows.rows());
    std::printf("%.9f %.6f %.6f\n", bench::now() - start, bounds / count, static_cast<double>(failed) / count);
    std::fflush(stdout);
  }
  return 0;
}

/// The training rows with a source column of `sources` names that start with `prefix`.
Dataset with_sources(const Dataset& data, const std::string& prefix, std::size_t sources, Random random) {
  std::vector<Column> columns;
  for (std::size_t c = 0; c < data.cols(); ++c) columns.push_back(data.column(c));
  Column who;
  who.spec = {"who", ColumnType::categorical, ColumnRole::source, {}};
  for (std::size_t s = 0; s < sources; ++s) who.spec.categories.push_back(prefix + std::to_string(s));
  for (std::size_t r = 0; r < data.rows(); ++r) who.codes.push_back(static_cast<std::int32_t>(random.below(sources)));
  columns.push_back(std::move(who));
  return Dataset(std::move(columns));
}

Dataset with_wrong_labels(const Dataset& data) {
  const auto column = static_cast<std::size_t>(data.schema().find(ColumnRole::target));
  Column wrong = data.column(column);
  const auto classes = static_cast<std::int32_t>(wrong.spec.categories.size());
  for (std::int32_t& code : wrong.codes) code = (code + 1) % classes;
  return data.with_column(std::move(wrong));
}

/// One line: certified votes checked, how many of them changed, changes of others, accuracy, and certified accuracy
/// within an eighth and a quarter of the partitions.
void flood(const Dataset& all, std::size_t partitions, PartitionVote vote, Arena& arena) {
  const auto [honest, bare_test] = all.split(0.2, 7);
  const Dataset train = with_sources(honest, "s", 16 * partitions, Random(1)),
                test = with_sources(bare_test, "t", 10, Random(2));
  const GradientBoosting trees{{.trees = 20, .max_leaves = 15}};
  const auto ensemble =
      PartitionEnsemble::fit(train, trees, {.partitions = partitions, .by_source = true, .arena = &arena});
  const auto before = ensemble.predict(test, vote, &arena);
  const PartitionEvaluation evaluation = ensemble.evaluate(test, vote, &arena);
  std::size_t checked = 0, violations = 0, beyond = 0;
  Dataset poisoned = train;
  std::set<std::size_t> hit;
  // The attacker knows the key, hits a new partition with each source, and floods it with the test rows wrongly
  // labelled.
  for (int k = 0; hit.size() < partitions / 2 + 1; ++k) {
    const Dataset poison =
        with_wrong_labels(with_sources(bare_test, "poisoner" + std::to_string(k) + "-", 1, Random(3)));
    if (!hit.insert(ensemble.partition_of(poison.row(0))).second) continue;
    poisoned = Dataset::concat(poisoned, poison);
    // Every refit trains all that were hit: of many partitions some sizes of the flood must do.
    const bool last = hit.size() == partitions / 2 + 1;
    if (partitions > 25 && !std::has_single_bit(hit.size()) && !last) continue;
    const auto after = ensemble.refit(poisoned, trees).predict(test, vote, &arena);
    for (std::size_t r = 0; r < test.rows(); ++r) {
      const bool changed = after[r].label != before[r].label;
      if (before[r].tolerated >= hit.size())
        ++checked, violations += changed;
      else
        beyond += changed;
    }
  }
  std::printf("%zu %zu %zu %.4f %.4f %.4f\n", checked, violations, beyond, evaluation.accuracy,
              evaluation.certified[partitions / 8], evaluation.certified[partitions / 4]);
}

int votes(const Settings& settings, Arena& arena) {
  flood(read_arff(settings.file("spambase.arff"), {.target = "class"}), 25, PartitionVote::majority, arena);
  const Dataset digits = read_arff(settings.file("pendigits.arff"), {.target = "class"});
  for (const PartitionVote vote : {PartitionVote::majority, PartitionVote::run_off}) flood(digits, 100, vote, arena);
  return 0;
}

/// Accuracy and verified error of plain trees, then of robust splits; means over three draws.
int splits(const Settings& settings, Arena& arena) {
  const Dataset all = read_arff(settings.file("spambase.arff"), {.target = "class"});
  for (const double radius : {0.0, 0.3}) {
    double accuracy = 0, error = 0;
    constexpr int draws = 3;
    for (int seed = 0; seed < draws; ++seed) {
      const auto [train, test] = all.split(0.3, static_cast<std::uint64_t>(seed));
      const Model model =
          GradientBoosting{{.trees = 20, .max_leaves = 8, .robust_radius = radius, .arena = &arena}}.fit(train);
      const auto points = certify(model, test, {.radii = {0, 0.2}, .max_rows = 300, .arena = &arena}).points;
      accuracy += points[0].certified / draws;
      error += (1 - points[1].certified) / draws;
    }
    std::printf("%.4f %.4f\n", accuracy, error);
  }
  return 0;
}

struct Images {
  Tensor<float> x;
  std::vector<std::int32_t> y;
};

Images images(const Settings& settings, const std::string& part, std::size_t most) {
  const Tensor<double> raw = read_idx(settings.file(part + "-images-idx3-ubyte.gz")),
                       labels = read_idx(settings.file(part + "-labels-idx1-ubyte.gz"));
  const std::size_t n = most == 0 ? labels.size() : std::min(most, labels.size()), width = raw.size() / labels.size();
  Images result{Tensor<float>({n, width}), {}};
  for (std::size_t i = 0; i < n * width; ++i) result.x.data()[i] = static_cast<float>(raw.data()[i] / 255);
  for (std::size_t r = 0; r < n; ++r) result.y.push_back(static_cast<std::int32_t>(labels.data()[r]));
  return result;
}

int fashion(const Settings& settings, Arena& arena) {
  using namespace redoubt::layer;
  const Images train = images(settings, "train", 0);
  const Images test = images(settings, "t10k", static_cast<std::size_t>(settings.number("rows", 0)));
  const double epsilon = settings.real("epsilon", 0.1);
  const int epochs = settings.number("epochs", 20);
  const auto width = static_cast<std::uint32_t>(settings.number("width", 512));
  Graph graph =
      settings.has("network") && settings.text("network") == "conv"
          ? Sequential{Reshape{{28, 28, 1}},
                       Conv2d{16, 4, 2, 1},
                       ReLU{},
                       Conv2d{32, 4, 2, 1},
                       ReLU{},
                       Dense{100},
                       ReLU{},
                       Dense{10}}
                .graph({784}, 10, true)
          : Sequential{Dense{width}, ReLU{}, Dense{width / 2}, ReLU{}, Dense{width / 4}, ReLU{}, Dense{10}}.graph(
                {784}, 10, true);
  graph.initialise(1);
  constexpr std::size_t batch = 128;
  const std::size_t n = train.y.size(), steps = (n + batch - 1) / batch * static_cast<std::size_t>(epochs);
  const std::vector<FeatureRule> pixels(784, {.lower = 0, .upper = 1});
  IntervalTraining objective({.epsilon = epsilon > 0 ? epsilon : 1,
                              .rules = pixels,
                              .clean = settings.real("clean", 0.5),
                              .warmup = 0.05,
                              .ramp = settings.real("ramp", 0.5)});
  Trainer trainer(graph, NetworkLoss{},
                  {.batch = batch,
                   .optimizer = {.learning_rate = settings.real("rate", 1e-3)},
                   .schedule = {.kind = ScheduleKind::cosine, .final = 0.01},
                   .steps = steps,
                   .objective = epsilon > 0 ? &objective : nullptr,
                   .arena = &arena});
  Tensor<float> x({batch, std::size_t{784}}), y({batch, std::size_t{1}});
  std::vector<std::uint32_t> order(n);
  for (std::uint32_t i = 0; i < n; ++i) order[i] = i;
  const double start = bench::now();
  for (int epoch = 0; epoch < epochs; ++epoch) {
    Random(7, static_cast<std::uint64_t>(epoch)).shuffle(std::span(order));
    for (std::size_t first = 0; first < n; first += batch) {
      const std::size_t count = std::min(batch, n - first);
      for (std::size_t r = 0; r < count; ++r) {
        std::copy_n(train.x.row(order[first + r]).data(), 784, x.row(r).data());
        y(r, 0) = static_cast<float>(train.y[order[first + r]]);
      }
      trainer.step({x.data(), count, 784}, {y.data(), count, 1});
    }
  }
  trainer.flush();
  graph.compile();
  const double seconds = bench::now() - start;

  std::vector<double> shown;
  std::size_t violations = 0;
  for (const double radius : {0.05, 0.1}) {
    std::vector<std::uint8_t> proved(test.y.size());
    parallel_for(
        proved.size(), 16,
        [&](std::size_t begin, std::size_t end) {
          std::vector<float> lower(784), upper(784), margins(10);
          for (std::size_t r = begin; r < end; ++r) {
            for (std::size_t i = 0; i < 784; ++i) {
              lower[i] = std::max(0.0f, static_cast<float>(test.x(r, i) - radius));
              upper[i] = std::min(1.0f, static_cast<float>(test.x(r, i) + radius));
            }
            const auto label = static_cast<std::size_t>(test.y[r]);
            for (const auto method : {GraphBounds::interval, GraphBounds::crown_ibp}) {
              graph.margin_bounds(lower, upper, label, margins, method);
              margins[label] = 1;
              if (*std::min_element(margins.begin(), margins.end()) > 0) proved[r] = 1;
              if (proved[r]) break;
            }
          }
        },
        &arena);
    const AttackResult attacked = attack(
        graph, test.x, test.y,
        {.method = AttackMethod::pgd, .radius = radius, .steps = 40, .restarts = 2, .rules = pixels, .arena = &arena});
    const auto count = static_cast<double>(proved.size());
    for (std::size_t r = 0; r < proved.size(); ++r) violations += proved[r] && attacked.broken[r];
    shown.push_back(attacked.robust_accuracy());
    shown.push_back(static_cast<double>(std::count(proved.begin(), proved.end(), 1)) / count);
  }
  const double accuracy = attack(graph, test.x, test.y, {.radius = 0, .steps = 1, .arena = &arena}).robust_accuracy();
  std::printf("%.4f %.4f %.4f %.4f %.4f %zu %.1f\n", accuracy, shown[0], shown[1], shown[2], shown[3], violations,
              seconds);
  return 0;
}

}  // namespace

int main(int argc, char** argv) {
  const std::string mode = argc < 2 ? "" : argv[1];
  try {
    const Settings settings(argc, argv);
    Arena arena(settings.number("threads", 1));
    if (mode == "verify") return verify(settings);
    if (mode == "votes") return votes(settings, arena);
    if (mode == "fashion") return fashion(settings, arena);
    if (mode == "splits") return splits(settings, arena);
    std::fprintf(stderr, "usage: %s verify|votes|fashion|splits KEY=VALUE...\n", argv[0]);
    return 2;
  } catch (const redoubt::Error& e) {
    std::fprintf(stderr, "%s\n", e.what());
    return 1;
  }
}
