#include "redoubt/nn/mlp.hpp"

#include <fmt/format.h>

#include <cmath>
#include <functional>
#include <limits>
#include <numbers>
#include <vector>

#include "redoubt/core/error.hpp"
#include "redoubt/core/parallel.hpp"
#include "redoubt/core/progress.hpp"
#include "redoubt/core/random.hpp"
#include "redoubt/core/tensor.hpp"
#include "redoubt/data/arff.hpp"
#include "redoubt/data/csv.hpp"
#include "redoubt/data/idx.hpp"
#include "redoubt/linear/logistic_regression.hpp"
#include "redoubt/metrics/evaluation.hpp"
#include "redoubt/nn/graph.hpp"
#include "support/test_data.hpp"

using namespace redoubt;

namespace {

Dataset exclusive_or(std::size_t rows) {
  Random random(1);
  Tensor<float> x{rows, std::size_t{2}};
  std::vector<std::int32_t> y(rows);
  for (std::size_t r = 0; r < rows; ++r) {
    x(r, 0) = static_cast<float>(random.uniform(-1, 1));
    x(r, 1) = static_cast<float>(random.uniform(-1, 1));
    y[r] = (x(r, 0) > 0) != (x(r, 1) > 0);
  }
  return Dataset::from_matrix(x, std::span<const std::int32_t>(y));
}

Dataset two_moons(std::size_t rows, std::uint64_t seed) {
  Random random(seed);
  Tensor<float> x{rows, std::size_t{2}};
  std::vector<std::int32_t> y(rows);
  for (std::size_t r = 0; r < rows; ++r) {
    y[r] = static_cast<std::int32_t>(r % 2);
    const double t = std::numbers::pi * random.uniform();
    x(r, 0) = static_cast<float>((y[r] ? 1 - std::cos(t) : std::cos(t)) + 0.1 * random.normal());
    x(r, 1) = static_cast<float>((y[r] ? 0.5 - std::sin(t) : std::sin(t)) + 0.1 * random.normal());
  }
  return Dataset::from_matrix(x, std::span<const std::int32_t>(y));
}

Dataset sine(std::size_t rows) {
  Random random(3);
  Tensor<float> x{rows, std::size_t{1}};
  std::vector<double> y(rows);
  for (std::size_t r = 0; r < rows; ++r) {
    x(r, 0) = static_cast<float>(random.uniform(-3, 3));
    y[r] = 5000 + 300 * std::sin(x(r, 0));  // far from standardised
  }
  return Dataset::from_matrix(x, std::span<const double>(y));
}

double score(const Model& model, const Dataset& data) {
  return model.evaluate(data).value(data.task() == Task::classification ? "accuracy" : "r2");
}

/// {train, test}: every fifth row is for the test, as in bench/peers/golden/nn.py.
std::pair<Dataset, Dataset> every_fifth(const Dataset& data) {
  std::vector<std::size_t> train, test;
  for (std::size_t r = 0; r < data.rows(); ++r) (r % 5 == 0 ? test : train).push_back(r);
  return {data.take(train), data.take(test)};
}

/// scikit-learn 1.9.1 on the same rows: mean and standard deviation over 5 seeds, by bench/peers/golden/nn.py.
struct Peer {
  const char* what;
  double mean, deviation;
};
constexpr Peer spambase_logistic{"spambase logistic", 0.91748, 0}, spambase_mlp{"spambase mlp", 0.93550, 0.00238},
    adult_logistic{"adult logistic", 0.85363, 0}, adult_mlp{"adult mlp", 0.85528, 0.00142},
    housing_mlp{"housing mlp", 0.79088, 0.00185}, fashion_mlp{"fashion mlp", 0.84754, 0.00290};

/// The mean over `seeds` of our scores is not below the peer's by more than three standard errors of the difference.
void require_as_good(const Peer& peer, int seeds, const std::function<double(std::uint64_t)>& run) {
  double sum = 0;
  std::string all;
  for (int s = 0; s < seeds; ++s) {
    const double one = run(static_cast<std::uint64_t>(s));
    sum += one;
    all += fmt::format(" {:.5f}", one);
  }
  const double mean = sum / seeds;
  const double error = peer.deviation * std::sqrt(1.0 / 5 + 1.0 / seeds);
  UNSCOPED_INFO(peer.what << ": ours" << all << ", mean " << mean << "; theirs " << peer.mean << " +- "
                          << peer.deviation);
  CHECK(mean >= peer.mean - 3 * error - 1e-3);
}

}  // namespace

TEST_CASE("Mlp: learns what no linear model can", "[mlp]") {
  const Dataset data = exclusive_or(400);
  CHECK(score(LogisticRegression{}.fit(data), data) < 0.65);
  for (const auto activation : {MlpActivation::relu, MlpActivation::leaky_relu, MlpActivation::gelu,
                                MlpActivation::tanh, MlpActivation::sigmoid}) {
    INFO("activation " << static_cast<int>(activation));
    const Model model = Mlp{
        {.hidden = {16, 16},
         .activation = activation,
         .epochs = 150,
         .batch = 32,
         .learning_rate = 1e-2,
         .patience = 0}}.fit(data);
    CHECK(score(model, data) > 0.96);
  }
  const Dataset train = two_moons(1000, 1), test = two_moons(1000, 2);
  CHECK(score(Mlp{{.epochs = 40, .batch = 32, .learning_rate = 1e-2}}.fit(train), test) > 0.99);
}

TEST_CASE("Mlp: layer norm and dropout train too", "[mlp]") {
  const Dataset train = two_moons(1000, 1), test = two_moons(1000, 2);
  const Model model =
      Mlp{{.epochs = 40, .batch = 32, .learning_rate = 1e-2, .dropout = 0.1, .layer_norm = true}}.fit(train);
  CHECK(score(model, test) > 0.98);
  const auto& graph = dynamic_cast<const Graph&>(model.predictor());
  CHECK(graph.nodes().size() == 2 * 4 + 2);
}

TEST_CASE("Mlp: regression answers in the unit of its target", "[mlp]") {
  const Dataset data = sine(1000);
  const Model model = Mlp{{.epochs = 100, .batch = 32, .learning_rate = 5e-3}}.fit(data);
  CHECK(score(model, data) > 0.995);
  CHECK(model.outputs() == 1);
  const auto p = model.predict(data.row(0));
  CHECK(p.value == Approx(data.targets()[0]).margin(60));
}

TEST_CASE("Mlp: equal bytes at any thread count and for equal seeds, other bytes for another seed", "[mlp][threads]") {
  const Dataset data = two_moons(700, 4);
  const auto fit = [&](int threads, std::uint64_t seed) {
    Arena arena(threads);
    return Mlp{{.hidden = {96, 160}, .epochs = 3, .batch = 96, .dropout = 0.2, .seed = seed, .arena = &arena}}
        .fit(data)
        .to_bytes();
  };
  const auto one = fit(1, 5);
  CHECK(fit(2, 5) == one);
  CHECK(fit(4, 5) == one);
  CHECK_FALSE(fit(1, 6) == one);
  const Model loaded = Model::from_bytes(one);
  CHECK(loaded.info().algorithm == "mlp");
  CHECK(loaded.to_bytes() == one);
}

TEST_CASE("Mlp: rows of weight zero do not count", "[mlp]") {
  // Half of the rows carry the wrong label and no weight.
  const Dataset clean = two_moons(600, 5);
  std::vector<Column> columns;
  for (std::size_t c = 0; c < clean.cols(); ++c) columns.push_back(clean.column(c));
  Column weights;
  weights.spec = {.name = "w", .type = ColumnType::numeric, .role = ColumnRole::weight};
  for (std::size_t r = 0; r < clean.rows(); ++r) {
    const bool wrong = r % 4 < 2;
    weights.numbers.push_back(wrong ? 0.0 : 2.0);
    if (wrong) {
      for (Column& column : columns) {
        if (column.spec.role == ColumnRole::target) column.codes[r] = 1 - column.codes[r];
      }
    }
  }
  columns.push_back(weights);
  const Model model = Mlp{{.epochs = 60, .batch = 32, .learning_rate = 1e-2}}.fit(Dataset(columns));
  CHECK(score(model, two_moons(500, 6)) > 0.98);
}

TEST_CASE("Mlp: stops early, keeps the best epoch, reports progress", "[mlp]") {
  struct Sink final : ProgressSink {
    std::vector<std::size_t> done;
    void update(std::string_view stage, std::size_t at, std::size_t total) override {
      CHECK(stage == "epochs");
      CHECK(total == 500);
      done.push_back(at);
    }
  } sink;
  const Dataset data = two_moons(300, 7);
  const Model model =
      Mlp{{.epochs = 500, .batch = 16, .learning_rate = 2e-2, .patience = 3, .progress = &sink}}.fit(data);
  CHECK(sink.done.size() < 400);
  CHECK(sink.done.back() == 500);
  CHECK(model.info().options.find("epochs_run=500") == std::string::npos);
  CHECK(model.info().options.find(fmt::format("epochs_run={}", sink.done[sink.done.size() - 2])) != std::string::npos);
}

TEST_CASE("Mlp: bad options and data are refused with what and where", "[mlp]") {
  const Dataset data = two_moons(60, 8);
  const auto message = [&](MlpOptions options) -> std::string {
    try {
      Mlp{options}.fit(data);
    } catch (const Error& error) {
      CHECK(error.code() == errc::invalid_argument);
      return error.what();
    }
    return "accepted";
  };
  const double nan = std::nan("");
  CHECK_THAT(message({.hidden = {0}}), Catch::Contains("hidden width"));
  CHECK_THAT(message({.hidden = {70000}}), Catch::Contains("hidden width"));
  CHECK_THAT(message({.activation = static_cast<MlpActivation>(77)}), Catch::Contains("activation"));
  CHECK_THAT(message({.epochs = 0}), Catch::Contains("epochs is 0"));
  CHECK_THAT(message({.batch = 0}), Catch::Contains("batch is 0"));
  CHECK_THAT(message({.learning_rate = 0}), Catch::Contains("learning_rate"));
  CHECK_THAT(message({.learning_rate = nan}), Catch::Contains("learning_rate"));
  CHECK_THAT(message({.l2 = -1}), Catch::Contains("l2"));
  CHECK_THAT(message({.dropout = 1.5}), Catch::Contains("dropout"));
  CHECK_THAT(message({.patience = -1}), Catch::Contains("patience"));
  CHECK_THAT(message({.validation_fraction = 1}), Catch::Contains("validation_fraction"));
  CHECK_THAT(message({.learning_rate = 1e30}), Catch::Contains("in epoch"));  // diverges

  try {
    Mlp{}.fit(data.seal());
    FAIL("sealed data was accepted");
  } catch (const Error& error) {
    CHECK(error.code() == errc::refused);
  }
  Column missing = data.column("f1");
  missing.numbers[7] = std::numeric_limits<double>::quiet_NaN();
  CHECK_THROWS_WITH((Mlp{{.encoder = EncoderOptions{}}}.fit(data.with_column(missing))),
                    Catch::Contains("row id 7") && Catch::Contains("f1"));
  CHECK_NOTHROW(Mlp{{.epochs = 1}}.fit(data.with_column(missing)));
}

TEST_CASE("Mlp and logistic regression: spambase as good as scikit-learn", "[mlp]") {
  REDOUBT_NEED_DATA(path, "uci_arff/spambase.arff");
  const auto [train, test] = every_fifth(read_arff(path));
  require_as_good(spambase_logistic, 1, [&](auto) { return score(LogisticRegression{}.fit(train), test); });
  require_as_good(spambase_mlp, 5, [&](auto seed) { return score(Mlp{{.seed = seed}}.fit(train), test); });
}

TEST_CASE("Mlp and logistic regression: adult as good as scikit-learn", "[mlp][slow]") {
  REDOUBT_NEED_DATA(train_path, "adult_keele_modified/adult.data");
  REDOUBT_NEED_DATA(test_path, "adult_keele_modified/adult.test");
  const Dataset train = read_csv(train_path, {.target = "income"});
  const Dataset test = read_csv(test_path, {.target = "income", .target_suffix = "."});
  require_as_good(adult_logistic, 1, [&](auto) { return score(LogisticRegression{}.fit(train), test); });
  require_as_good(adult_mlp, 3, [&](auto seed) { return score(Mlp{{.seed = seed}}.fit(train), test); });
}

TEST_CASE("Mlp: california housing as good as scikit-learn", "[mlp][slow]") {
  REDOUBT_NEED_DATA(path, "uci_arff/cal.housing.arff");
  const auto [train, test] = every_fifth(read_arff(path));
  require_as_good(housing_mlp, 3, [&](auto seed) { return score(Mlp{{.seed = seed}}.fit(train), test); });
}

TEST_CASE("Mlp: Fashion-MNIST as good as scikit-learn", "[mlp][slow]") {
  REDOUBT_NEED_DATA(images, "fashion_mnist/train-images-idx3-ubyte.gz");
  REDOUBT_NEED_DATA(labels, "fashion_mnist/train-labels-idx1-ubyte.gz");
  REDOUBT_NEED_DATA(test_images, "fashion_mnist/t10k-images-idx3-ubyte.gz");
  REDOUBT_NEED_DATA(test_labels, "fashion_mnist/t10k-labels-idx1-ubyte.gz");
  const Dataset all = read_idx(images, labels), test = read_idx(test_images, test_labels);
  std::vector<std::size_t> first(20000);
  for (std::size_t i = 0; i < first.size(); ++i) first[i] = i;
  const Dataset train = all.take(first);
  EncoderOptions encoder = EncoderOptions::dense();
  encoder.numeric = NumericEncoding::min_max;
  require_as_good(fashion_mlp, 2, [&](auto seed) {
    return score(Mlp{{.hidden = {128}, .epochs = 5, .patience = 0, .seed = seed, .encoder = encoder}}.fit(train), test);
  });
}
