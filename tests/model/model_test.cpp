#include "redoubt/model/model.hpp"

#include <sys/wait.h>

#include <array>
#include <atomic>
#include <catch2/catch.hpp>
#include <cmath>
#include <cstdlib>
#include <fstream>
#include <new>
#include <sstream>
#include <thread>

#include "model/toy_form.hpp"
#include "redoubt/core/cpu.hpp"
#include "redoubt/core/parallel.hpp"
#include "redoubt/core/version.hpp"
#include "redoubt/data/arff.hpp"
#include "redoubt/linear/logistic_regression.hpp"
#include "redoubt/metrics/evaluation.hpp"
#include "redoubt/nn/mlp.hpp"
#include "redoubt/trees/gradient_boosting.hpp"
#include "support/counting_allocator.hpp"
#include "support/test_data.hpp"

using namespace redoubt;

namespace {

constexpr std::string_view checksum_key = "model.checksum";

/// The model file of `archive` after a change, with a right checksum: what a careful forger would write.
std::vector<std::byte> resealed(Archive archive) {
  archive.set(checksum_key, archive.content_hash(checksum_key));
  return archive.to_bytes();
}

struct Outcome {
  errc code = errc::ok;
  std::string message;
};

Outcome outcome(auto call) {
  try {
    call();
    return {};
  } catch (const Error& error) {
    return {error.code(), error.what()};
  }
}

Outcome load(std::span<const std::byte> bytes) {
  return outcome([&] { Model::from_bytes(bytes, "test.redoubt"); });
}

Tensor<float> raw_rows(const Model& model, const Dataset& data) {
  Tensor<float> rows({data.rows(), model.inputs()});
  for (std::size_t r = 0; r < data.rows(); ++r) model.encoder().raw_row(data.row(r), rows.row(r));
  return rows;
}

/// Copies all but the listed string or tensor.
Archive without(const Archive& archive, const std::string& dropped) {
  Archive copy;
  for (const auto& [key, value] : archive.strings())
    if (key != dropped) copy.set(key, value);
  const auto copy_as = [&]<class T>(const std::string& name, T) {
    const auto view = archive.tensor<T>(name);
    copy.put<T>(name, view.flat(), view.shape());
  };
  for (const std::string& name : archive.tensor_names()) {
    if (name == dropped) continue;
    bool done = false;
    const auto attempt = [&](auto type) {
      if (done) return;
      try {
        copy_as(name, type);
        done = true;
      } catch (const Error&) {  // another type
      }
    };
    attempt(float{});
    attempt(double{});
    attempt(std::int32_t{});
    attempt(std::uint32_t{});
    attempt(std::uint8_t{});
    attempt(std::int64_t{});
    attempt(std::uint64_t{});
    REQUIRE(done);
  }
  return copy;
}

}  // namespace

TEST_CASE("a model knows what it was made of", "[model]") {
  const Dataset data = test::toy_data();
  const Model model = test::toy_model(data);
  CHECK(model);
  CHECK(model.info().algorithm == "toy");
  CHECK(model.info().data_hash == data.hash());
  CHECK(model.info().library_version == version());
  CHECK(model.info().isa == to_string(active_isa()));
  CHECK(model.classes() == std::vector<std::string>{"no", "yes"});
  CHECK(model.task() == Task::classification);
  CHECK(model.inputs() == 4);
  CHECK(model.outputs() == 2);
  CHECK(model.schema()[0].name == "age \"x\"");
  CHECK(model.predictor().form() == "toy");
}

TEST_CASE("an empty model says so and predicts nothing", "[model]") {
  const Model empty;
  CHECK_FALSE(empty);
  CHECK(outcome([&] { empty.info(); }).code == errc::invalid_argument);
  CHECK(outcome([&] { empty.to_bytes(); }).code == errc::invalid_argument);
  CHECK(outcome([&] { empty.predict_proba(test::toy_data()); }).code == errc::invalid_argument);
  float value = 0;
  CHECK(empty.predict({&value, 1}, {&value, 1}) == errc::invalid_argument);
}

TEST_CASE("parts that do not fit together are refused", "[model]") {
  const Dataset data = test::toy_data();
  const auto with = [&](auto change) {
    const Model good = test::toy_model(data);
    ModelParts parts;
    parts.task = good.task();
    parts.classes = good.classes();
    parts.encoder = Shared<const Encoder>::make(good.encoder());
    parts.predictor = Shared<const test::ToyForm>::make(std::vector<float>(good.encoder().width()), 2, 0);
    change(parts);
    return outcome([&] { Model(parts, data); });
  };
  CHECK(with([](ModelParts&) {}).code == errc::ok);
  CHECK(with([](ModelParts& p) { p.predictor = nullptr; }).code == errc::invalid_argument);
  CHECK(with([](ModelParts& p) { p.encoder = nullptr; }).code == errc::invalid_argument);
  CHECK(with([](ModelParts& p) { p.classes.push_back("maybe"); }).message ==
        "the toy has 2 outputs, but the task needs 3");
  CHECK(with([](ModelParts& p) { p.classes = {"one"}; }).code == errc::invalid_argument);
  CHECK(with([](ModelParts& p) { p.task = Task::regression; }).code == errc::invalid_argument);
  CHECK(with([](ModelParts& p) {
          p.predictor = Shared<const test::ToyForm>::make(std::vector<float>(3), 2, 0);
        }).message.find("takes 3 inputs, but the encoder makes rows of") != std::string::npos);
}

TEST_CASE("all ways to predict agree bit for bit", "[model]") {
  for (const EncoderOptions& options : {EncoderOptions::dense(), EncoderOptions::for_trees()}) {
    const Dataset data = test::toy_data();
    const Model model = test::toy_model(data, options);
    const Tensor<float> batch = model.predict_proba(data);
    const auto words = model.predict(data);
    const Tensor<float> raw = raw_rows(model, data);
    for (std::size_t r = 0; r < data.rows(); ++r) {
      const std::vector<float> row = model.predict_proba(data.row(r));
      std::array<float, 2> out{};
      REQUIRE(model.predict(raw.row(r), out) == errc::ok);
      REQUIRE(row == std::vector<float>(batch.row(r).begin(), batch.row(r).end()));
      REQUIRE(row == std::vector<float>(out.begin(), out.end()));
      const std::size_t best = out[1] > out[0];
      REQUIRE(words[r].label == model.classes()[best]);
      REQUIRE(words[r].value == static_cast<double>(out[best]));
      REQUIRE(model.predict(data.row(r)).label == words[r].label);
    }
  }
}

TEST_CASE("predicting a raw row checks its sizes and refuses text", "[model]") {
  const Model model = test::toy_model();
  std::array<float, 4> row{};
  std::array<float, 2> out{};
  CHECK(model.predict(row, out) == errc::ok);
  CHECK(model.predict(std::span(row).first(3), out) == errc::shape_mismatch);
  CHECK(model.predict(row, std::span(out).first(1)) == errc::shape_mismatch);
  CHECK(model.predict({}, out) == errc::shape_mismatch);
  const Dataset text = test::toy_data(60, true);
  const Model reads = test::toy_model(text);
  std::array<float, 5> five{};
  CHECK(reads.predict(five, out) == errc::unsupported);
  CHECK(reads.predict_proba(text.row(3)).size() == 2);
}

TEST_CASE("predicting a raw row allocates nothing", "[model]") {
  const Dataset data = test::toy_data(400);
  const GradientBoosting trees{{.trees = 20, .min_leaf_rows = 5}};
  const Mlp network{{.hidden = {16}, .epochs = 2}};
  const std::pair<const char*, Model> models[] = {
      {"on the stack", test::toy_model(data)},
      {"in the pool", test::toy_model(data, EncoderOptions::dense(), 100'000)},
      {"linear", LogisticRegression{}.fit(data)},
      {"forest", trees.fit(data)},
      {"graph", network.fit(data)},
  };
  for (const auto& [name, model] : models) {
    INFO(name);
    const Tensor<float> raw = raw_rows(model, data);
    std::array<float, 2> out{};
    std::size_t failed = 0;
    const std::size_t before = test::allocations.load();
    for (int repeat = 0; repeat < 3; ++repeat)
      for (std::size_t r = 0; r < raw.rows(); ++r) failed += model.predict(raw.row(r), out) != errc::ok;
    failed += model.predict(raw.row(0), std::span(out).first(1)) != errc::shape_mismatch;
    const std::size_t after = test::allocations.load();
    CHECK(after == before);
    CHECK(failed == 0);
  }
#if !defined(REDOUBT_SANITIZED)
  const std::size_t before = test::allocations.load();
  const std::vector<int> some(1000);
  CHECK(test::allocations.load() > before);  // the counter counts
#endif
}

TEST_CASE("many threads predict with one model, more than it has scratch for", "[model][threads]") {
  const Dataset data = test::toy_data();
  for (const std::size_t scratch : {std::size_t{3}, std::size_t{20'000}}) {
    const Model model = test::toy_model(data, EncoderOptions::dense(), scratch);
    const Tensor<float> raw = raw_rows(model, data), expected = model.predict_proba(data);
    std::atomic<std::size_t> wrong{0};
    std::vector<std::thread> threads;
    for (int t = 0; t < 24; ++t) {
      threads.emplace_back([&, t] {
        std::array<float, 2> out{};
        for (std::size_t i = 0; i < 200; ++i) {
          const std::size_t r = (i * 7 + static_cast<std::size_t>(t)) % raw.rows();
          if (model.predict(raw.row(r), out) != errc::ok || out[0] != expected(r, 0) || out[1] != expected(r, 1))
            wrong.fetch_add(1);
        }
      });
    }
    for (std::thread& thread : threads) thread.join();
    CHECK(wrong.load() == 0);
  }
}

// --- files --------------------------------------------------------------------------------------------

TEST_CASE("a loaded model is the saved one, byte for byte and bit for bit", "[model]") {
  const test::TempDir directory;
  for (const bool text : {false, true}) {
    const Dataset data = test::toy_data(60, text);
    for (const EncoderOptions& options : {EncoderOptions::dense(), EncoderOptions::for_trees()}) {
      const Model model = test::toy_model(data, options);
      model.save(directory / "m.redoubt");
      const Model back = Model::load(directory / "m.redoubt");
      CHECK(back.to_bytes() == model.to_bytes());
      CHECK(back.hash() == model.hash());
      CHECK(back.predict_proba(data) == model.predict_proba(data));
      CHECK(back.info().seed == model.info().seed);
      CHECK(back.info().options == model.info().options);
      CHECK(back.classes() == model.classes());
      CHECK(back.schema() == model.schema());
      back.save(directory / "again.redoubt");
      std::ifstream first(directory / "m.redoubt"), second(directory / "again.redoubt");
      std::stringstream a, b;
      a << first.rdbuf();
      b << second.rdbuf();
      CHECK(a.str() == b.str());
    }
  }
  CHECK(test::toy_model().hash() == test::toy_model().hash());
}

TEST_CASE("every form survives its file", "[model]") {
  const Dataset data = test::toy_data(300);
  for (const Model& model : {LogisticRegression{}.fit(data), GradientBoosting{{.trees = 10}}.fit(data),
                             Mlp{{.hidden = {8}, .epochs = 2}}.fit(data)}) {
    INFO(model.info().algorithm);
    const Model back = Model::from_bytes(model.to_bytes());
    CHECK(back.to_bytes() == model.to_bytes());
    CHECK(back.predict_proba(data) == model.predict_proba(data));
  }
}

TEST_CASE("a lineage id changes nothing else", "[model]") {
  const Dataset data = test::toy_data();
  const Model model = test::toy_model(data), named = model.with_lineage("run-7");
  CHECK(named.info().lineage_id == "run-7");
  CHECK(model.info().lineage_id.empty());
  CHECK(named.hash() != model.hash());
  CHECK(named.with_lineage("").hash() == model.hash());
  CHECK(named.predict_proba(data) == model.predict_proba(data));
}

TEST_CASE("a model without rows has an empty self-test and still loads", "[model]") {
  const Dataset data = test::toy_data();
  const Model full = test::toy_model(data);
  ModelParts parts;
  parts.task = full.task();
  parts.classes = full.classes();
  parts.encoder = Shared<const Encoder>::make(full.encoder());
  parts.predictor = Shared<const test::ToyForm>::make(std::vector<float>(full.encoder().width()), 2, 0);
  const Model model(parts, data.take({}));
  CHECK(Model::from_bytes(model.to_bytes()).hash() == model.hash());
}

TEST_CASE("a model file cut anywhere is refused with its place", "[model][hostile]") {
  const auto bytes = test::toy_model().to_bytes();
  for (std::size_t size = 0; size < bytes.size(); ++size) {
    const Outcome result = load(std::span(bytes).first(size));
    INFO(size << ": " << result.message);
    REQUIRE(result.code == errc::corrupt);
    REQUIRE(result.message.rfind("test.redoubt: byte ", 0) == 0);
  }
}

TEST_CASE("any flipped bit of a model file is noticed", "[model][hostile]") {
  const Model model = test::toy_model();
  const auto bytes = model.to_bytes();
  std::size_t harmless = 0;
  for (std::size_t i = 0; i < bytes.size() * 8; i += i % 5 == 0 ? 3 : 1) {
    auto flipped = bytes;
    flipped[i / 8] ^= std::byte{1} << (i % 8);
    try {
      const Model loaded = Model::from_bytes(flipped);
      REQUIRE(loaded.hash() == model.hash());  // the name of a padding tensor: the same model
      ++harmless;
    } catch (const Error& error) {
      INFO("bit " << i % 8 << " of byte " << i / 8 << ": " << error.what());
      REQUIRE((error.code() == errc::corrupt || error.code() == errc::unsupported));
    }
  }
  CHECK(harmless < 300);
}

TEST_CASE("a model file with a key or tensor missing is refused", "[model][hostile]") {
  const Archive good = Archive::from_bytes(test::toy_model().to_bytes());
  REQUIRE(load(resealed(without(good, ""))).code == errc::ok);
  std::vector<std::string> names = good.tensor_names();
  for (const auto& [key, value] : good.strings())
    if (key != checksum_key) names.push_back(key);
  for (const std::string& name : names) {
    INFO(name);
    const Outcome result = load(resealed(without(good, name)));
    INFO(result.message);
    CHECK(result.code == errc::corrupt);
    CHECK(result.message.rfind("test.redoubt: ", 0) == 0);
    if (name != "format") CHECK(result.message.find(name) != std::string::npos);
  }
  const Outcome unsigned_one = load(without(good, std::string(checksum_key)).to_bytes());
  CHECK(unsigned_one.code == errc::corrupt);
}

TEST_CASE("a model file whose content was replaced is refused", "[model][hostile]") {
  const Archive good = Archive::from_bytes(test::toy_model().to_bytes());
  const auto with = [&](auto change) {
    Archive archive = good;
    change(archive);
    return load(resealed(archive));
  };
  REQUIRE(with([](Archive&) {}).code == errc::ok);

  Archive unsealed = good;
  unsealed.set("info.algorithm", "other");
  CHECK(load(unsealed.to_bytes()).message.find("checksum") != std::string::npos);

  const Outcome form = with([](Archive& a) { a.set("model.form", "oracle"); });
  CHECK(form.code == errc::unsupported);
  CHECK(form.message.find("\"oracle\" is not linked") != std::string::npos);
  const Outcome version = with([](Archive& a) { a.set_int("format.version", 2); });
  CHECK(version.code == errc::unsupported);
  CHECK(version.message.find("format version 2") != std::string::npos);
  CHECK(with([](Archive& a) { a.set("format", "other"); }).code == errc::corrupt);
  CHECK(with([](Archive& a) { a.set("model.task", "dreaming"); }).message.find("dreaming") != std::string::npos);
  CHECK(with([](Archive& a) { a.set("model.task", "regression"); }).code == errc::corrupt);
  CHECK(with([](Archive& a) { a.set_list("model.classes", std::vector<std::string>{"a"}); }).code == errc::corrupt);
  CHECK(with([](Archive& a) { a.set("model.classes", "[\"a\""); }).code == errc::corrupt);
  CHECK(with([](Archive& a) { a.set_int("toy.outputs", 1); }).code == errc::corrupt);

  // Weights or outputs that do not belong together: the self-test sees it.
  auto weights = good.get_vector<float>("toy.weights");
  for (float& w : weights) w *= 1.0001f;
  const Outcome other_weights = with([&](Archive& a) { a.put("toy.weights", weights); });
  CHECK(other_weights.code == errc::corrupt);
  CHECK(other_weights.message.find("self-test row 0: output") != std::string::npos);
  weights.push_back(1);
  CHECK(with([&](Archive& a) { a.put("toy.weights", weights); }).message.find("inputs, but the encoder") !=
        std::string::npos);

  for (const char* name : {"self_test.raw", "self_test.encoded", "self_test.expected"}) {
    INFO(name);
    const auto view = good.tensor<float>(name);
    std::vector<float> values(view.flat().begin(), view.flat().end());
    const std::vector<std::size_t> shape(view.shape().begin(), view.shape().end());
    float& second_of_last_row = values[values.size() - shape[1] + 1];
    second_of_last_row = 1.5f * second_of_last_row + 0.5f;
    CHECK(with([&](Archive& a) { a.put<float>(name, values, shape); }).message.find("self-test row 7") !=
          std::string::npos);
    const std::vector<double> doubles(values.begin(), values.end());
    CHECK(with([&](Archive& a) { a.put<double>(name, doubles, shape); }).message.find("should have type F32") !=
          std::string::npos);
    CHECK(with([&](Archive& a) { a.put("" + std::string(name), values); }).code == errc::corrupt);
    const std::vector<std::size_t> fewer{shape[0] - 1, shape[1]};
    values.resize(fewer[0] * fewer[1]);
    CHECK(with([&](Archive& a) { a.put<float>(name, values, fewer); }).code == errc::corrupt);
    const std::vector<std::size_t> many{9, shape[1]};
    values.resize(9 * shape[1]);
    CHECK(with([&](Archive& a) { a.put<float>(name, values, many); }).message.find("at most 8 rows") !=
          std::string::npos);
  }
}

TEST_CASE("a model of another build may differ in the last bits, not more", "[model]") {
  const Archive good = Archive::from_bytes(test::toy_model().to_bytes());
  const auto expected = good.tensor<float>("self_test.expected");
  const std::vector<std::size_t> shape(expected.shape().begin(), expected.shape().end());
  const auto load_scaled = [&](float factor, const char* build) {
    std::vector<float> values(expected.flat().begin(), expected.flat().end());
    for (float& v : values) v *= factor;
    Archive archive = good;
    archive.put<float>("self_test.expected", values, shape);
    if (build) archive.set("self_test.build", build);
    return load(resealed(archive));
  };
  CHECK(load_scaled(1.0f, nullptr).code == errc::ok);
  CHECK(load_scaled(1.00001f, nullptr).code == errc::corrupt);
  CHECK(load_scaled(1.00001f, "0.0.1 sparc").code == errc::ok);
  const Outcome far = load_scaled(1.01f, "0.0.1 sparc");
  CHECK(far.code == errc::corrupt);
  CHECK(far.message.find("0.0.1 sparc") != std::string::npos);
}

TEST_CASE("loading names a path that is not there or is no model", "[model]") {
  const test::TempDir directory;
  CHECK(outcome([&] { Model::load(directory / "absent"); }).code == errc::not_found);
  Archive weights;
  weights.put("w", std::vector<float>{1});
  weights.write(directory / "weights.safetensors");
  const Outcome other = outcome([&] { Model::load(directory / "weights.safetensors"); });
  CHECK(other.code == errc::corrupt);
  CHECK(other.message.find("no Redoubt model") != std::string::npos);
  CHECK(outcome([&] { test::toy_model().save(directory / "no/model"); }).code == errc::io_error);
}

// --- evaluation ---------------------------------------------------------------------------------------

TEST_CASE("evaluation matches classes by name and skips rows without a label", "[model]") {
  const Dataset data = test::toy_data(200);
  const Model model = test::toy_model(data);
  const Evaluation straight = model.evaluate(data);
  CHECK(straight.rows() == 200);

  Column swapped = data.column("label");
  swapped.spec.categories = {"yes", "unused", "no"};
  for (std::int32_t& code : swapped.codes) code = code == 1 ? 0 : 2;
  const Evaluation same = model.evaluate(data.with_column(swapped));
  CHECK(same.to_json() == straight.to_json());

  Column partly = data.column("label");
  for (std::size_t i = 0; i < 50; ++i) partly.codes[i] = -1;
  std::vector<std::size_t> rest(150);
  for (std::size_t i = 0; i < rest.size(); ++i) rest[i] = 50 + i;
  CHECK(model.evaluate(data.with_column(partly)).to_json() == model.evaluate(data.take(rest)).to_json());

  Column unknown = data.column("label");
  unknown.spec.categories.push_back("maybe");
  unknown.codes[17] = 2;
  const Outcome refused = outcome([&] { model.evaluate(data.with_column(unknown)); });
  CHECK(refused.code == errc::invalid_argument);
  CHECK(refused.message.find("row 17 has the class \"maybe\"") != std::string::npos);
  CHECK(outcome([&] { model.evaluate(data.take({})); }).code == errc::invalid_argument);
}

TEST_CASE("a sealed holdout may be evaluated", "[model]") {
  const Dataset data = test::toy_data(100);
  const Model model = test::toy_model(data);
  CHECK(model.evaluate(data.seal()).to_json() == model.evaluate(data).to_json());
}

TEST_CASE("evaluation uses the weights of the data", "[model]") {
  const Dataset data = test::toy_data(40);
  const Model model = test::toy_model(data);
  Column weight{{"w", ColumnType::numeric, ColumnRole::weight, {}}, std::vector<double>(40, 0.0), {}, {}, {}};
  std::vector<Column> columns;
  for (std::size_t c = 0; c < data.cols(); ++c) columns.push_back(data.column(c));
  weight.numbers[3] = weight.numbers[8] = 2;
  columns.push_back(weight);
  const Evaluation weighted = model.evaluate(Dataset(columns));
  CHECK(weighted.confusion().total() == 4);
  CHECK(weighted.value("accuracy") == model.evaluate(data.take(std::vector<std::size_t>{3, 8})).value("accuracy"));
}

TEST_CASE("regression models evaluate and predict values", "[model]") {
  const Dataset data = test::toy_data(80).with_role("label", ColumnRole::ignore).with_role("flat", ColumnRole::target);
  REQUIRE(data.task() == Task::regression);
  const Model model = test::toy_model(data);
  CHECK(model.outputs() == 1);
  const Prediction one = model.predict(data.row(0));
  CHECK(one.label.empty());
  CHECK(one.value == static_cast<double>(model.predict_proba(data.row(0))[0]));
  const Evaluation evaluation = model.evaluate(data);
  CHECK(evaluation.value("rmse") > 0);
  CHECK(std::isnan(evaluation.value("r2")));  // "flat" is constant
}

// --- as source ----------------------------------------------------------------------------------------

namespace {

/// Compiles a program that holds the headers of all `models`, runs it on `rows`, and returns what it printed per model.
std::vector<std::vector<float>> run_headers(const std::vector<Model>& models, const std::vector<Tensor<float>>& rows,
                                            const std::string& standard) {
  const test::TempDir directory;
  std::string program, calls;
  for (std::size_t m = 0; m < models.size(); ++m) {
    const std::string name = fmt::format("model{}", m);
    models[m].save_as_header(directory / (name + ".hpp"), name);
    program += fmt::format("#include \"{}.hpp\"\n", name);
    calls += fmt::format(
        "  for (int r = 0; r < {1}; ++r) {{\n    float row[{0}::inputs], out[{0}::outputs];\n"
        "    if (std::fread(row, sizeof row, 1, stdin) != 1) return 1;\n    {0}::predict(row, out);\n"
        "    std::fwrite(out, sizeof out, 1, stdout);\n  }}\n",
        name, rows[m].rows());
    std::ofstream input(directory / "rows", std::ios::binary | std::ios::app);
    input.write(reinterpret_cast<const char*>(rows[m].data()),
                static_cast<std::streamsize>(rows[m].size() * sizeof(float)));
  }
  program += "#include <cstdio>\nint main() {\n" + calls + "}\n";
  std::ofstream(directory / "main.cpp") << program;
  const char* compiler = std::getenv("CXX") ? std::getenv("CXX") : "c++";
  const std::string command =
      fmt::format("cd '{0}' && {1} -std={2} -Wall -Wextra -Werror -o main main.cpp && ./main < rows > out",
                  directory.path(), compiler, standard);
  REQUIRE(std::system(command.c_str()) == 0);
  std::ifstream output(directory / "out", std::ios::binary);
  std::vector<std::vector<float>> results;
  for (std::size_t m = 0; m < models.size(); ++m) {
    results.emplace_back(rows[m].rows() * models[m].outputs());
    output.read(reinterpret_cast<char*>(results[m].data()),
                static_cast<std::streamsize>(results[m].size() * sizeof(float)));
    REQUIRE(output.good());
  }
  return results;
}

}  // namespace

TEST_CASE("a model written as a header predicts as the model does", "[model][header]") {
  const Dataset data = test::toy_data(300);
  EncoderOptions scaled = EncoderOptions::dense(), by_target;
  scaled.numeric = NumericEncoding::min_max;
  scaled.impute = false;
  by_target.categorical = CategoricalEncoding::target;
  const std::vector<Model> models{
      test::toy_model(data),
      test::toy_model(data, EncoderOptions::for_trees()),
      test::toy_model(data, scaled),
      test::toy_model(data, by_target),
      LogisticRegression{}.fit(data),
      GradientBoosting{{.trees = 12, .min_leaf_rows = 5}}.fit(data),
      Mlp{{.hidden = {12, 8}, .epochs = 3}}.fit(data),
  };
  std::vector<Tensor<float>> rows;
  for (const Model& model : models) {
    rows.push_back(raw_rows(model, data));
    const float infinity = std::numeric_limits<float>::infinity();
    const std::array<float, 4> odd[] = {{infinity, -infinity, 1.5f, infinity},
                                        {-infinity, infinity, -1, -1},
                                        {NAN, NAN, NAN, NAN},
                                        {0, 0, 1e9f, 3.4e38f}};
    for (std::size_t i = 0; i < std::size(odd); ++i)
      std::copy(odd[i].begin(), odd[i].end(), rows.back().row(i).begin());
  }
  const auto results = run_headers(models, rows, "c++11");
  for (std::size_t m = 0; m < models.size(); ++m) {
    INFO("model " << m << ", " << models[m].predictor().form());
    const bool sums_in_another_order = models[m].predictor().form() == "graph";
    double worst = 0;
    std::size_t different = 0;
    for (std::size_t r = 0; r < rows[m].rows(); ++r) {
      std::array<float, 2> out{};
      REQUIRE(models[m].predict(rows[m].row(r), out) == errc::ok);
      for (std::size_t k = 0; k < 2; ++k) {
        const float got = results[m][2 * r + k];
        if (std::isnan(got) && std::isnan(out[k])) continue;
        different += got != out[k];
        worst = std::max(worst, static_cast<double>(std::abs(got - out[k])));
      }
    }
    CHECK(worst <= 1e-5);
    if (!sums_in_another_order) CHECK(different == 0);
  }
}

TEST_CASE("a model header names its columns, categories and classes and includes nothing else", "[model][header]") {
  const test::TempDir directory;
  const Model model = test::toy_model();
  model.save_as_header(directory / "toy.hpp", "toy");
  std::ifstream file(directory / "toy.hpp");
  std::stringstream content;
  content << file.rdbuf();
  const std::string text = content.str();
  std::size_t includes = 0;
  for (std::size_t at = 0; (at = text.find("#include", at)) != std::string::npos; ++at) ++includes;
  CHECK(includes == 3);
  for (const char* header : {"<cmath>", "<cstddef>", "<cstdint>"}) CHECK(text.find(header) != std::string::npos);
  CHECK(text.find(R"("age \042x\042", "flat", "city", "when")") != std::string::npos);
  CHECK(text.find(R"({"no", "yes"})") != std::string::npos);

  std::ofstream(directory / "main.cpp") << R"(#include "toy.hpp"
int main() {
  const bool right = toy::inputs == 4 && toy::outputs == 2 && toy::category_code(2, "Ulm") == 0 &&
                     toy::category_code(2, "caf\351") == 1 && std::isnan(toy::category_code(2, "never")) &&
                     std::isnan(toy::category_code(0, "Ulm"));
  return right ? 0 : 1;
})";
  const std::string command =
      fmt::format("cd '{}' && c++ -std=c++11 -Wall -Wextra -Werror main.cpp -o main && ./main", directory.path());
  CHECK(std::system(command.c_str()) == 0);
}

TEST_CASE("what cannot become a header is refused", "[model][header]") {
  const test::TempDir directory;
  const Model model = test::toy_model();
  for (const char* bad : {"", "1x", "a b", "a::b", "a__b", "x;"})
    CHECK(outcome([&] { model.save_as_header(directory / "x.hpp", bad); }).code == errc::invalid_argument);
  const Model text = test::toy_model(test::toy_data(60, true));
  CHECK(outcome([&] { text.save_as_header(directory / "x.hpp", "x"); }).code == errc::unsupported);
  const Dataset values =
      test::toy_data(80).with_role("label", ColumnRole::ignore).with_role("flat", ColumnRole::target);
  const Outcome form = outcome([&] { test::toy_model(values).save_as_header(directory / "x.hpp", "x"); });
  CHECK(form.message == "this toy cannot be written as a C++ header");
  CHECK_FALSE(std::ifstream(directory / "x.hpp").good());
}

TEST_CASE("spam mail: train, seal, save, load, evaluate, write as a header", "[model][real]") {
  REDOUBT_NEED_DATA(path, "uci_arff/spambase.arff");
  const auto [train, test] = read_arff(path).split(0.25, 7);
  const Dataset holdout = test.seal();
  const test::TempDir directory;
  std::vector<Model> models{LogisticRegression{}.fit(train), GradientBoosting{{.trees = 60}}.fit(train)};
  std::vector<Tensor<float>> rows;
  for (Model& model : models) {
    INFO(model.info().algorithm);
    const Evaluation evaluation = model.evaluate(holdout);
    CHECK(evaluation.rows() == holdout.rows());
    // scikit-learn on the same rows: 0.947949 for LogisticRegression, 0.987 for HistGradientBoostingClassifier.
    if (model.info().algorithm == "logistic_regression")
      CHECK(evaluation.value("roc_auc") == Approx(0.947949).margin(1e-5));
    else
      CHECK(evaluation.value("roc_auc") > 0.98);
    const Interval interval = evaluation.interval("roc_auc");
    CHECK(interval.low < evaluation.value("roc_auc"));
    CHECK(interval.high > evaluation.value("roc_auc"));
    CHECK(interval.high - interval.low < 0.03);
    model.save(directory / "spam.redoubt");
    model = Model::load(directory / "spam.redoubt");
    CHECK(model.evaluate(holdout).to_json() == evaluation.to_json());
    rows.push_back(raw_rows(model, holdout));
  }
  const auto results = run_headers(models, rows, "c++11");
  for (std::size_t m = 0; m < models.size(); ++m) {
    INFO(models[m].info().algorithm);
    const Tensor<float> expected = models[m].predict_proba(holdout);
    std::size_t different = 0;
    for (std::size_t i = 0; i < expected.size(); ++i) different += results[m][i] != expected.flat()[i];
    CHECK(different == 0);
  }
}
