#pragma once
#include <cstddef>
#include <string_view>

namespace redoubt {

/// Where long work reports how far it is. The library never prints; an application that wants to
/// show progress implements this and passes a pointer in the options. Null means silence.
/// Called from one thread at a time.
class ProgressSink {
 public:
  virtual ~ProgressSink() = default;
  /// `done` of `total` units of `stage` ("trees", "epochs", ...); done == total ends the stage.
  virtual void update(std::string_view stage, std::size_t done, std::size_t total) = 0;
};

}  // namespace redoubt
