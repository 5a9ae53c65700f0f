#pragma once
#include <cstddef>
#include <cstdint>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "redoubt/core/shared.hpp"
#include "redoubt/core/tensor.hpp"
#include "redoubt/data/schema.hpp"

namespace redoubt {

/// Where a model comes from. Travels in the model file.
struct ModelInfo {
  std::string algorithm;  ///< "gradient_boosting", "mlp", ...
  std::string options;    ///< the estimator's options as one readable line
  std::uint64_t seed = 0;
  std::string data_hash;  ///< Dataset::hash() of the training rows; of streamed rows see NeuralNetwork::fit_stream
  std::uint64_t train_rows = 0;
  std::string lineage_id;  ///< run id in a Workspace; empty if fitted outside one
  std::string library_version;
  std::string isa;  ///< instruction-set level it was trained with
};

struct ModelParts;

/// One prediction in words.
struct Prediction {
  std::string label;  ///< most probable class; empty for regression
  double value = 0;   ///< its probability, or the predicted value
};

/// The type-erased artifact: schema, preprocessing, learned form, label names, origin, self-test.
/// Value type; copies share the immutable content. All const members are thread-safe.
class Model {
 public:
  using Parts = ModelParts;  ///< what an estimator hands over; defined in model/parts.hpp

  Model() = default;  ///< empty: every call but `operator bool` throws Error(invalid_argument)
  /// Checks that the parts fit together and stores a self-test made of up to 8 rows of `sample`.
  Model(Parts parts, const Dataset& sample);

  /// Reads, checks, finds the form by name, re-runs the stored self-test; Error(corrupt) names the byte
  /// offset, key or self-test row that is wrong, Error(unsupported) the form or format version that is not known here.
  /// A checksum finds bytes changed by accident. The self-test must give equal bits on the build (library, compiler,
  /// instruction set, C library) that made the model, and values equal to 1e-4 of their size or 1e-5 on another.
  static Model load(const std::string& path);
  static Model from_bytes(std::span<const std::byte> bytes, std::string_view origin = "memory");
  /// Atomic: a failed save leaves what was there. Equal models give equal bytes.
  void save(const std::string& path) const;
  std::vector<std::byte> to_bytes() const;
  std::string hash() const;  ///< SHA-256 of to_bytes()
  /// One C++11 header that includes only <cmath>, <cstddef> and <cstdint>: `NAME::predict(const float* raw_row, float*
  /// out)` with the preprocessing, `NAME::category_code(input, "text")`, and tables of names. Outputs equal `predict`
  /// to 1e-5 (exactly, except for networks). `name` is a C++ identifier. Atomic, as `save`. Error(unsupported) for
  /// models with text columns and forms without source.
  void save_as_header(const std::string& path, std::string_view name) const;
  /// The same model under a lineage id.
  Model with_lineage(std::string lineage_id) const;

  explicit operator bool() const noexcept { return state_ != nullptr; }
  const ModelInfo& info() const;
  Task task() const;
  const std::vector<std::string>& classes() const;
  const Schema& schema() const;  ///< feature columns
  const Encoder& encoder() const;
  const Predictor& predictor() const;
  std::size_t inputs() const;   ///< floats in a raw row (see Encoder)
  std::size_t outputs() const;  ///< classes, or 1

  // --- hot path -----------------------------------------------------------------------------------
  /// One raw row -> probabilities or value. Never allocates, never throws, any number of threads.
  /// Works on up to 16 KB of stack. A model that needs more holds scratch for twice as many threads as there are CPUs,
  /// made when it was built or loaded; further threads sleep until one is free.
  /// errc::shape_mismatch if a size is wrong, errc::unsupported if the model has text columns,
  /// errc::invalid_argument if the model is empty.
  errc predict(std::span<const float> row, std::span<float> out) const noexcept;

  // --- convenient -----------------------------------------------------------------------------------
  Prediction predict(const RowView& row) const;
  std::vector<Prediction> predict(const Dataset& data, Arena* arena = nullptr) const;
  std::vector<float> predict_proba(const RowView& row) const;
  /// rows x outputs(); for regression the predicted values.
  Tensor<float> predict_proba(const Dataset& data, Arena* arena = nullptr) const;
  /// Metrics of the task on `data`, matching class names; see metrics/evaluation.hpp.
  Evaluation evaluate(const Dataset& data, Arena* arena = nullptr) const;

 private:
  struct State;
  static Model from_archive(const Archive& archive, std::string_view origin);
  const State& state() const;  ///< Error(invalid_argument) if empty
  Shared<const State> state_;
};

}  // namespace redoubt
