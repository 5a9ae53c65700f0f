#pragma once
#include <cstddef>
#include <span>
#include <string>
#include <string_view>

#include "redoubt/core/shared.hpp"
#include "redoubt/core/view.hpp"
#include "redoubt/fwd.hpp"

namespace redoubt {

/// A learned form: a pure function from encoded rows to outputs. Immutable, thread-safe.
/// Outputs: class probabilities (classification, one per class), a value (regression, outlier score).
class Predictor {
 public:
  virtual ~Predictor();

  virtual std::string_view form() const noexcept = 0;  ///< name in the table of forms: "forest", "linear", "graph"
  virtual std::size_t inputs() const noexcept = 0;     ///< floats in an encoded row
  virtual std::size_t outputs() const noexcept = 0;
  /// Floats of scratch that `predict` needs for one row.
  virtual std::size_t scratch_size() const noexcept { return 0; }

  /// One encoded row. src: inputs(), dst: outputs(), scratch: at least scratch_size(). No allocation,
  /// no exceptions; sizes are the caller's duty (Model checks them).
  virtual void predict(std::span<const float> src, std::span<float> dst, std::span<float> scratch) const noexcept = 0;
  /// Many rows, in parallel. src: rows x inputs(), dst: rows x outputs(). Bit-identical to the one-row form
  /// unless the form documents otherwise.
  virtual void predict_batch(MatrixView<const float> src, MatrixView<float> dst, Arena* arena) const;

  virtual void save(Archive& archive) const = 0;
  /// C++ source of a function `inline void NAME(const float* src, float* dst)` without dependencies, or "" if this
  /// form cannot be written as source.
  virtual std::string to_source(std::string_view name) const;
};

/// Rebuilds a form from an archive; throws Error(corrupt) with the offending key or tensor.
using FormLoader = Shared<const Predictor> (*)(const Archive& archive);

/// Adds a form to the table `Model::load` looks in; returns 1 so that it can initialise a global:
/// `extern "C" const int redoubt_form_forest = register_form("forest", &load_forest);`
/// (the build links that symbol in, so a static library keeps its registration).
int register_form(const char* name, FormLoader loader) noexcept;

/// Error(unsupported) with the list of linked forms if the name is unknown.
FormLoader find_form(std::string_view name);

}  // namespace redoubt
