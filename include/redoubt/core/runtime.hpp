#pragma once

namespace redoubt {

/// Process-wide settings that Redoubt never changes by itself. Call before any work, from main.
struct RuntimeOptions {
  /// Sets OpenBLAS's own thread count (process-wide!) to 1. For applications that call OpenBLAS from tasks that run
  /// beside Redoubt's: two thread pools on the same CPUs are slower than one. Does nothing if no OpenBLAS is linked.
  /// Redoubt's own products use its own kernels and never call OpenBLAS.
  bool single_threaded_openblas = false;
};

/// Applies `options`. Not thread-safe.
void configure(const RuntimeOptions& options);

/// Threads that OpenBLAS would use for one call in this process; 0 if no OpenBLAS is linked. Reads only.
int openblas_threads() noexcept;

}  // namespace redoubt
