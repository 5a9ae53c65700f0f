#pragma once
// How strange a sketch is beside the benign ones.
#include <cstddef>
#include <cstdint>
#include <span>
#include <vector>

namespace redoubt::detail {

/// A density over rows of bytes along the spanning tree of most mutual information (Chow & Liu 1968). A byte depends on
/// its parent either by a table over 8 coarse values each (and missing), or as what remains after a straight line,
/// whichever codes the rows in fewer nats. Immutable after `fit`.
class RowDensity {
 public:
  /// `sketches`: rows x use.size(); `use`: which bytes count. Beyond 128 bytes only neighbours up to 32 apart are tried
  /// as parents, which keeps the cost linear.
  void fit(std::span<const std::uint8_t> sketches, std::size_t rows, std::span<const char> use);
  /// Minus the log density, in nats; larger is stranger. 0 before `fit`.
  float surprise(const std::uint8_t* sketch) const noexcept;
  std::size_t memory_bytes() const noexcept {
    return own_.size() * sizeof(own_[0]) + pair_.size() * sizeof(pair_[0]) + 4 * parent_.size() +
           rest_.size() * sizeof(rest_[0]) + line_.size() * sizeof(Line);
  }

 private:
  std::vector<std::uint32_t> fields_;  // that count
  std::vector<std::uint32_t> parent_;  // per field that counts: index into fields_; itself at a root
  std::vector<std::int16_t> own_;      // x 256: minus log frequency, in 1/64 nat, above 4 bits for byte -> 0 to 15
  std::vector<std::int16_t> pair_;     // x 256: minus log ratio of joint and independent frequency
  struct Line {
    float slope = 0, start = 0;
    bool used = false;
  };
  std::vector<Line> line_;          // per field that counts: byte from its parent's
  std::vector<std::int16_t> rest_;  // x 256: minus log frequency of byte - line + 128
};

}  // namespace redoubt::detail
