#pragma once
#include <cstddef>
#include <string>

#include "redoubt/fwd.hpp"
#include "redoubt/kernels/narrow.hpp"
#include "redoubt/model/model.hpp"

namespace redoubt {

struct CompressionOptions {
  kernels::Precision precision = kernels::Precision::int8;
  /// Share of the hidden units of dense layers to remove first, [0, 1): those that move the next layer least on the
  /// calibration rows (deviation of the activation times the length of the outgoing weights). Whole units go, 16 at a
  /// time, so that matrices shrink and prediction is faster at the same precision; single zeros would not make it so.
  double prune = 0;
  double most_loss = 0.005;             ///< by how much accuracy (classes) or R2 (values) may fall
  double least_speedup = 1.0;           ///< of one row here; 0 = not measured
  std::size_t calibration_rows = 1024;  ///< of the data, evenly spread: they set the ranges of int8 and choose units
  Arena* arena = nullptr;               ///< for evaluating; null = the default arena
};

/// What was measured.
struct Compression {
  std::string metric;  ///< "accuracy" or "r2"
  double before = 0, after = 0;
  double speedup = 0;  ///< time of one row before over after, median of rounds that alternate; 0 = not measured
};

/// The model of a network in fewer bits (Graph::compile) or units, if it is worth it: evaluated on `data`, which should
/// be rows that it was not trained on, and timed on this machine. Same encoder, classes and schema. Error(refused),
/// with the figures, if the metric falls by more than `most_loss` or it is not `least_speedup` times as fast, or there
/// is no unit to remove; Error(unsupported) if the model is no network; Error(invalid_argument) for options out of
/// range or data without usable rows.
Model compress(const Model& model, const Dataset& data, const CompressionOptions& options = {},
               Compression* measured = nullptr);

}  // namespace redoubt
