#include "redoubt/model/model.hpp"

#include <fmt/format.h>

#include <algorithm>
#include <bit>
#include <cmath>
#include <cstring>
#include <optional>
#if defined(__GLIBC__)
#include <gnu/libc-version.h>
#endif

#include "model/scratch_pool.hpp"
#include "redoubt/core/cpu.hpp"
#include "redoubt/core/hash.hpp"
#include "redoubt/core/parallel.hpp"
#include "redoubt/core/version.hpp"
#include "redoubt/data/archive.hpp"
#include "redoubt/data/dataset.hpp"
#include "redoubt/data/encoder.hpp"
#include "redoubt/metrics/evaluation.hpp"
#include "redoubt/model/parts.hpp"

namespace redoubt {
namespace {

constexpr std::string_view format_name = "redoubt-model";
constexpr std::int64_t format_version = 1;
constexpr std::string_view checksum_key = "model.checksum";
constexpr std::size_t self_test_rows = 8;
constexpr std::size_t stack_floats = 4096;       ///< one prediction that needs no more uses the caller's stack
constexpr std::size_t chunk_floats = 16u << 20;  ///< encoded floats held at a time when predicting a dataset

/// What decides the last bits of a result beside the input: kernels, compiler, C library.
std::string build_description() {
  std::string text = fmt::format("{} {} {}", version(), to_string(active_isa()), __VERSION__);
#if defined(__OPTIMIZE__)
  text += " optimised";
#endif
  if (cpu_features().fma) text += " fma";  // the C library picks its exp and log by it
#if defined(__GLIBC__)
  text += fmt::format(" glibc {}", gnu_get_libc_version());
#endif
  return text;
}

/// A few rows with the outputs that they had when the model was made.
struct SelfTest {
  std::string build;
  Tensor<float> raw;       ///< rows x inputs; no rows if the model has text columns
  Tensor<float> encoded;   ///< rows x encoder width
  Tensor<float> expected;  ///< rows x outputs
};

bool same_bits(float a, float b) noexcept { return std::bit_cast<std::uint32_t>(a) == std::bit_cast<std::uint32_t>(b); }

/// Equal bits on the build that made the test; on another one, equal to 1e-4 of the value or 1e-5.
bool matches(float got, float want, bool exact) noexcept {
  if (same_bits(got, want) || (std::isnan(got) && std::isnan(want))) return true;
  return !exact && std::abs(got - want) <= 1e-5f + 1e-4f * std::abs(want);
}

Task parse_task(const std::string& text) {
  for (const Task task : {Task::none, Task::classification, Task::regression})
    if (text == to_string(task)) return task;
  detail::fail(errc::corrupt, fmt::format("key \"model.task\" is \"{:.40}\", no task", text));
}

std::uint64_t parse_unsigned(const Archive& archive, std::string_view key) {
  return static_cast<std::uint64_t>(archive.get_int(key));  // stored as the signed number of the same bits
}

Tensor<float> copy_matrix(const Archive& archive, std::string_view name, std::size_t cols) {
  const auto view = archive.tensor<float>(name);
  if (view.rank() != 2 || view.extent(0) > self_test_rows || view.extent(1) != cols)
    detail::fail(errc::corrupt,
                 fmt::format("tensor \"{}\" should have at most {} rows of {}", name, self_test_rows, cols));
  Tensor<float> copy({view.extent(0), view.extent(1)});
  std::copy(view.flat().begin(), view.flat().end(), copy.flat().begin());
  return copy;
}

void check_parts(const Model::Parts& parts, errc code) {
  if (!parts.encoder || !parts.predictor) detail::fail(code, "a model needs an encoder and a predictor");
  const Predictor& predictor = *parts.predictor;
  if (predictor.inputs() != parts.encoder->width())
    detail::fail(code, fmt::format("the {} takes {} inputs, but the encoder makes rows of {}", predictor.form(),
                                   predictor.inputs(), parts.encoder->width()));
  const bool classifies = parts.task == Task::classification;
  if (classifies && parts.classes.size() < 2)
    detail::fail(code, fmt::format("a classifier needs at least 2 classes, has {}", parts.classes.size()));
  if (!classifies && !parts.classes.empty())
    detail::fail(code,
                 fmt::format("a model of task {} has {} class names", to_string(parts.task), parts.classes.size()));
  const std::size_t outputs = classifies ? parts.classes.size() : 1;
  if (predictor.outputs() != outputs)
    detail::fail(code, fmt::format("the {} has {} outputs, but the task needs {}", predictor.form(),
                                   predictor.outputs(), outputs));
}

}  // namespace

struct Model::State {
  State(Parts given, SelfTest test) : parts(std::move(given)), self_test(std::move(test)) {
    inputs = parts.encoder->inputs();
    outputs = parts.predictor->outputs();
    width = parts.encoder->width();
    scratch = parts.predictor->scratch_size();
    has_text = parts.encoder->has_text();
    if (width + scratch > stack_floats && !has_text) pool.emplace(width + scratch);
  }

  /// `room` has at least width + scratch floats.
  errc predict(std::span<const float> row, std::span<float> out, std::span<float> room) const noexcept {
    const auto encoded = room.first(width);
    if (const errc code = parts.encoder->apply(row, encoded); code != errc::ok) return code;
    parts.predictor->predict(encoded, out, room.subspan(width, scratch));
    return errc::ok;
  }

  Archive archive() const;
  void run_self_test() const;

  Parts parts;
  SelfTest self_test;
  std::size_t inputs = 0, outputs = 0, width = 0, scratch = 0;
  bool has_text = false;
  mutable std::optional<detail::ScratchPool> pool;  ///< only where the stack is too small
};

Archive Model::State::archive() const {
  Archive archive;
  archive.set("format", format_name);
  archive.set_int("format.version", format_version);
  const ModelInfo& info = parts.info;
  archive.set("info.algorithm", info.algorithm);
  archive.set("info.options", info.options);
  archive.set_int("info.seed", static_cast<std::int64_t>(info.seed));
  archive.set("info.data_hash", info.data_hash);
  archive.set_int("info.train_rows", static_cast<std::int64_t>(info.train_rows));
  archive.set("info.lineage_id", info.lineage_id);
  archive.set("info.library_version", info.library_version);
  archive.set("info.isa", info.isa);
  archive.set("model.task", to_string(parts.task));
  archive.set("model.form", parts.predictor->form());
  archive.set_list("model.classes", parts.classes);
  parts.encoder->save(archive);
  parts.predictor->save(archive);
  archive.set("self_test.build", self_test.build);
  archive.put<float>("self_test.raw", self_test.raw.flat(), self_test.raw.shape());
  archive.put<float>("self_test.encoded", self_test.encoded.flat(), self_test.encoded.shape());
  archive.put<float>("self_test.expected", self_test.expected.flat(), self_test.expected.shape());
  archive.set(checksum_key, archive.content_hash(checksum_key));
  return archive;
}

void Model::State::run_self_test() const {
  const bool exact = self_test.build == build_description();
  const auto compare = [&](std::size_t row, std::span<const float> got, std::span<const float> want, const char* what) {
    for (std::size_t i = 0; i < got.size(); ++i)
      if (!matches(got[i], want[i], exact))
        detail::fail(errc::corrupt, fmt::format("self-test row {}: {} {} is {:.9g}, was {:.9g} when the model was made "
                                                "(by {}{})",
                                                row, what, i, got[i], want[i], self_test.build,
                                                exact ? "" : ", another build: 1e-4 was allowed"));
  };
  std::vector<float> encoded(width), out(outputs), room(scratch);
  for (std::size_t r = 0; r < self_test.expected.rows(); ++r) {
    if (r < self_test.raw.rows()) {
      if (parts.encoder->apply(self_test.raw.row(r), encoded) != errc::ok)
        detail::fail(errc::corrupt, fmt::format("self-test row {}: the encoder refuses the row", r));
      compare(r, encoded, self_test.encoded.row(r), "encoded value");
    }
    parts.predictor->predict(self_test.encoded.row(r), out, room);
    compare(r, out, self_test.expected.row(r), "output");
  }
}

Model::Model(Parts parts, const Dataset& sample) {
  check_parts(parts, errc::invalid_argument);
  if (parts.info.library_version.empty()) parts.info.library_version = version();
  if (parts.info.isa.empty()) parts.info.isa = to_string(active_isa());

  const Encoder& encoder = *parts.encoder;
  const Predictor& predictor = *parts.predictor;
  const std::size_t rows = std::min(self_test_rows, sample.rows());
  SelfTest test;
  test.build = build_description();
  test.raw = Tensor<float>({encoder.has_text() ? 0 : rows, encoder.inputs()});
  test.encoded = Tensor<float>({rows, encoder.width()});
  test.expected = Tensor<float>({rows, predictor.outputs()});
  std::vector<float> scratch(predictor.scratch_size());
  for (std::size_t r = 0; r < rows; ++r) {
    const RowView row = sample.row(rows > 1 ? r * (sample.rows() - 1) / (rows - 1) : 0);
    if (encoder.has_text()) {
      encoder.apply(row, test.encoded.row(r));
    } else {
      encoder.raw_row(row, test.raw.row(r));
      if (const errc code = encoder.apply(test.raw.row(r), test.encoded.row(r)); code != errc::ok)
        detail::fail(errc::internal, fmt::format("the encoder refuses its own raw row: {}", to_string(code)));
    }
    predictor.predict(test.encoded.row(r), test.expected.row(r), scratch);
  }
  state_ = Shared<const State>::make(std::move(parts), std::move(test));
}

// --- files ----------------------------------------------------------------------------------------

namespace {

/// The checks and the loading that do not need Model's privates.
std::pair<Model::Parts, SelfTest> read_parts(const Archive& archive) {
  if (!archive.has("format") || archive.get("format") != format_name)
    detail::fail(errc::corrupt,
                 "this safetensors file is no Redoubt model: its key \"format\" is not \"redoubt-model\"");
  const std::int64_t format = archive.get_int("format.version");
  if (format != format_version)
    detail::fail(errc::unsupported,
                 fmt::format("the model has format version {}; this library reads version {}", format, format_version));
  if (const std::string& stated = archive.get(checksum_key); stated != archive.content_hash(checksum_key))
    detail::fail(errc::corrupt, fmt::format("the content does not have the checksum that key \"{}\" states ({:.64}): a "
                                            "byte was changed after the model was saved",
                                            checksum_key, stated));
  Model::Parts parts;
  parts.info.algorithm = archive.get("info.algorithm");
  parts.info.options = archive.get("info.options");
  parts.info.seed = parse_unsigned(archive, "info.seed");
  parts.info.data_hash = archive.get("info.data_hash");
  parts.info.train_rows = parse_unsigned(archive, "info.train_rows");
  parts.info.lineage_id = archive.get("info.lineage_id");
  parts.info.library_version = archive.get("info.library_version");
  parts.info.isa = archive.get("info.isa");
  parts.task = parse_task(archive.get("model.task"));
  parts.classes = archive.get_list("model.classes");
  const std::string& form = archive.get("model.form");
  const FormLoader loader = find_form(form);
  parts.encoder = Shared<const Encoder>::make(Encoder::load(archive));
  parts.predictor = loader(archive);
  check_parts(parts, errc::corrupt);
  if (parts.predictor->form() != form)
    detail::fail(errc::corrupt, fmt::format("key \"model.form\" says \"{}\", but the content is a \"{}\"", form,
                                            parts.predictor->form()));
  SelfTest test;
  test.build = archive.get("self_test.build");
  test.raw = copy_matrix(archive, "self_test.raw", parts.encoder->inputs());
  test.encoded = copy_matrix(archive, "self_test.encoded", parts.encoder->width());
  test.expected = copy_matrix(archive, "self_test.expected", parts.predictor->outputs());
  const std::size_t raw_rows = parts.encoder->has_text() ? 0 : test.expected.rows();
  if (test.encoded.rows() != test.expected.rows() || test.raw.rows() != raw_rows)
    detail::fail(errc::corrupt, fmt::format("the self-test has {} raw rows, {} encoded rows and {} expected ones",
                                            test.raw.rows(), test.encoded.rows(), test.expected.rows()));
  return {std::move(parts), std::move(test)};
}

}  // namespace

Model Model::from_archive(const Archive& archive, std::string_view origin) {
  try {
    auto [parts, test] = read_parts(archive);
    Model model;
    auto state = Shared<const State>::make(std::move(parts), std::move(test));
    state->run_self_test();
    model.state_ = std::move(state);
    return model;
  } catch (const Error& error) {
    // A schema or shape that cannot be, found by a constructor below, means a bad file here.
    const errc code = error.code() == errc::unsupported ? errc::unsupported : errc::corrupt;
    detail::fail(code, fmt::format("{}: {}", origin, error.what()));
  } catch (const std::exception& error) {  // sizes that no machine can allocate
    detail::fail(errc::corrupt, fmt::format("{}: cannot be built: {}", origin, error.what()));
  }
}

Model Model::load(const std::string& path) { return from_archive(Archive::read(path), path); }

Model Model::from_bytes(std::span<const std::byte> bytes, std::string_view origin) {
  return from_archive(Archive::from_bytes(bytes, origin), origin);
}

void Model::save(const std::string& path) const { state().archive().write(path); }

std::vector<std::byte> Model::to_bytes() const { return state().archive().to_bytes(); }

std::string Model::hash() const { return sha256_hex(std::span<const std::byte>(to_bytes())); }

Model Model::with_lineage(std::string lineage_id) const {
  Parts parts = state().parts;
  parts.info.lineage_id = std::move(lineage_id);
  Model model;
  model.state_ = Shared<const State>::make(std::move(parts), state().self_test);
  return model;
}

// --- what it is -----------------------------------------------------------------------------------

const Model::State& Model::state() const {
  if (!state_) detail::fail(errc::invalid_argument, "this Model is empty: fit or load one first");
  return *state_;
}

const ModelInfo& Model::info() const { return state().parts.info; }
Task Model::task() const { return state().parts.task; }
const std::vector<std::string>& Model::classes() const { return state().parts.classes; }
const Schema& Model::schema() const { return encoder().schema(); }
const Encoder& Model::encoder() const { return *state().parts.encoder; }
const Predictor& Model::predictor() const { return *state().parts.predictor; }
std::size_t Model::inputs() const { return state().inputs; }
std::size_t Model::outputs() const { return state().outputs; }

// --- prediction -----------------------------------------------------------------------------------

errc Model::predict(std::span<const float> row, std::span<float> out) const noexcept {
  if (!state_) return errc::invalid_argument;
  const State& state = *state_;
  if (state.has_text) return errc::unsupported;
  if (row.size() != state.inputs || out.size() != state.outputs) return errc::shape_mismatch;
  if (state.pool) return state.predict(row, out, detail::ScratchPool::Lease(*state.pool).floats());
  alignas(64) float room[stack_floats];
  return state.predict(row, out, room);
}

namespace {

Prediction in_words(std::span<const float> out, const std::vector<std::string>& classes) {
  if (classes.empty()) return {{}, static_cast<double>(out[0])};
  const auto best = std::max_element(out.begin(), out.end());
  return {classes[static_cast<std::size_t>(best - out.begin())], static_cast<double>(*best)};
}

}  // namespace

Prediction Model::predict(const RowView& row) const { return in_words(predict_proba(row), classes()); }

std::vector<Prediction> Model::predict(const Dataset& data, Arena* arena) const {
  const Tensor<float> out = predict_proba(data, arena);
  std::vector<Prediction> predictions(data.rows());
  for (std::size_t r = 0; r < predictions.size(); ++r) predictions[r] = in_words(out.row(r), classes());
  return predictions;
}

std::vector<float> Model::predict_proba(const RowView& row) const {
  const State& state = this->state();
  std::vector<float> encoded(state.width), out(state.outputs), scratch(state.scratch);
  state.parts.encoder->apply(row, encoded);
  state.parts.predictor->predict(encoded, out, scratch);
  return out;
}

Tensor<float> Model::predict_proba(const Dataset& data, Arena* arena) const {
  const State& state = this->state();
  Tensor<float> out({data.rows(), state.outputs});
  const MatrixView<float> all(out);
  const std::size_t chunk = std::max<std::size_t>(1024, chunk_floats / std::max<std::size_t>(state.width, 1));
  for (std::size_t begin = 0; begin < data.rows(); begin += chunk) {
    const std::size_t end = std::min(data.rows(), begin + chunk);
    std::vector<std::size_t> rows(end - begin);
    for (std::size_t i = 0; i < rows.size(); ++i) rows[i] = begin + i;
    const Tensor<float> encoded =
        state.parts.encoder->apply(rows.size() == data.rows() ? data : data.take(rows), arena);
    state.parts.predictor->predict_batch(encoded, all.slice(begin, end), arena);
  }
  return out;
}

Evaluation Model::evaluate(const Dataset& data, Arena* arena) const {
  const State& state = this->state();
  if (state.parts.task == Task::none)
    detail::fail(errc::unsupported, fmt::format("a model of {} has no target, so there is nothing to evaluate against; "
                                                "use predict_proba for its scores",
                                                state.parts.info.algorithm));
  if (data.rows() == 0) detail::fail(errc::invalid_argument, "there are no rows to evaluate on");
  const Tensor<float> out = predict_proba(data, arena);
  std::vector<std::size_t> known;  // rows with a target; the others say nothing
  known.reserve(data.rows());
  std::vector<double> weights;
  const auto keep = [&](std::size_t row) {
    known.push_back(row);
    if (!data.weights().empty()) weights.push_back(data.weights()[row]);
  };

  if (state.parts.task == Task::regression) {
    std::vector<double> truth, predicted;
    for (std::size_t r = 0; r < data.rows(); ++r) {
      if (std::isnan(data.targets()[r])) continue;
      keep(r);
      truth.push_back(data.targets()[r]);
      predicted.push_back(static_cast<double>(out(r, 0)));
    }
    return Evaluation::regression(truth, predicted, weights, {}, arena);
  }

  // The data may list other classes, or the same ones in another order.
  const std::vector<std::string>& classes = state.parts.classes;
  std::vector<std::int32_t> code_of;
  for (const std::string& name : data.classes()) {
    const auto it = std::find(classes.begin(), classes.end(), name);
    code_of.push_back(it == classes.end() ? -1 : static_cast<std::int32_t>(it - classes.begin()));
  }
  const auto labels = data.labels();
  std::vector<std::int32_t> truth;
  for (std::size_t r = 0; r < data.rows(); ++r) {
    if (labels[r] < 0) continue;
    const std::int32_t code = code_of[static_cast<std::size_t>(labels[r])];
    if (code < 0)
      detail::fail(errc::invalid_argument,
                   fmt::format("row {} has the class \"{}\", which the model does not know; it "
                               "knows: {}",
                               data.row_ids()[r], data.classes()[static_cast<std::size_t>(labels[r])],
                               fmt::join(classes, ", ")));
    keep(r);
    truth.push_back(code);
  }
  if (known.size() == data.rows()) return Evaluation::classification(classes, truth, out, weights, {}, arena);
  Tensor<float> kept({known.size(), state.outputs});
  for (std::size_t i = 0; i < known.size(); ++i)
    std::copy(out.row(known[i]).begin(), out.row(known[i]).end(), kept.row(i).begin());
  return Evaluation::classification(classes, truth, kept, weights, {}, arena);
}

}  // namespace redoubt
