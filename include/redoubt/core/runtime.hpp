#pragma once

namespace redoubt {

/// Process-wide settings that Redoubt never changes by itself. Call before any work, from main.
struct RuntimeOptions {
  /// Sets OpenBLAS's own thread count (process-wide!) to 1, so that Redoubt may call it inside its tasks.
  /// Without it Redoubt uses OpenBLAS only if it is already single-threaded, and its own kernels otherwise.
  bool single_threaded_openblas = false;
};

/// Applies `options`. Not thread-safe.
void configure(const RuntimeOptions& options);

}  // namespace redoubt
