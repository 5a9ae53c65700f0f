#include "redoubt/core/runtime.hpp"

// Weak: Redoubt does not depend on OpenBLAS. They are null unless the application has linked one.
extern "C" {
__attribute__((weak)) void openblas_set_num_threads(int threads);
__attribute__((weak)) int openblas_get_num_threads(void);
__attribute__((weak)) int openblas_get_parallel(void);
}

namespace redoubt {

int openblas_threads() noexcept {
  if (!openblas_get_num_threads) return 0;
  // The serial build (openblas_get_parallel() == 0) may still report a configured number.
  if (openblas_get_parallel && openblas_get_parallel() == 0) return 1;
  return openblas_get_num_threads();
}

void configure(const RuntimeOptions& options) {
  if (options.single_threaded_openblas && openblas_set_num_threads) openblas_set_num_threads(1);
}

}  // namespace redoubt
