#pragma once
#include <concepts>
#include <cstddef>
#include <cstdint>
#include <span>
#include <string>
#include <string_view>
#include <utility>

#include "redoubt/core/shared.hpp"
#include "redoubt/core/view.hpp"
#include "redoubt/robustness/verdict.hpp"

namespace redoubt {

/// What a check needs beside the rows themselves; a set of bits.
enum class Need : std::uint32_t {
  none = 0,
  labels = 1u << 0,         ///< class labels
  sources = 1u << 1,        ///< who supplied each row
  times = 1u << 2,          ///< when each row arose
  features = 1u << 3,       ///< encoded rows
  probabilities = 1u << 4,  ///< out-of-fold before training, the candidate's at the gate; values for regression
  reference = 1u << 5,      ///< the champion's probabilities on the same rows
  leaf_ids = 1u << 6,       ///< leaf of every tree
  gradients = 1u << 7,      ///< gradient of the loss by the input
  callers = 1u << 8         ///< who asked
};
constexpr Need operator|(Need a, Need b) noexcept {
  return static_cast<Need>(static_cast<std::uint32_t>(a) | static_cast<std::uint32_t>(b));
}
constexpr Need operator&(Need a, Need b) noexcept {
  return static_cast<Need>(static_cast<std::uint32_t>(a) & static_cast<std::uint32_t>(b));
}
constexpr Need operator~(Need a) noexcept { return static_cast<Need>(~static_cast<std::uint32_t>(a)); }
/// Whether `offered` has every bit of `needed`.
constexpr bool covers(Need offered, Need needed) noexcept { return (offered & needed) == needed; }
/// "labels, sources"
std::string to_string(Need needs);

/// What a stage can ever offer. A check that needs more is no `Check`: a compile error, not a silent pass.
constexpr Need offered_by(Stage stage) noexcept {
  constexpr Need rows = Need::labels | Need::sources | Need::times;
  switch (stage) {
    case Stage::ingest: return rows;
    case Stage::pre_train: return rows | Need::features | Need::probabilities;
    case Stage::epoch: return rows | Need::features | Need::probabilities | Need::gradients;
    case Stage::gate:
      return rows | Need::features | Need::probabilities | Need::reference | Need::leaf_ids | Need::gradients;
    case Stage::serve: return Need::features | Need::probabilities | Need::times | Need::callers;
    case Stage::audit:
      return rows | Need::features | Need::probabilities | Need::reference | Need::leaf_ids | Need::gradients |
             Need::callers;
  }
  return Need::none;
}

/// Rows that a check looks at, with what is known about each. Non-owning. Every view has as many rows as `data`;
/// an empty view means that this is not known here.
struct Batch {
  const Dataset* data = nullptr;
  MatrixView<const float> features;
  MatrixView<const float> probabilities;
  MatrixView<const float> reference;
  MatrixView<const std::uint32_t> leaf_ids;
  MatrixView<const float> gradients;
  std::span<const std::uint64_t> callers;
  Arena* arena = nullptr;  ///< threads to use; null = default

  /// What this batch offers. Labels, sources and times count when the data has such a column.
  Need available() const noexcept;
  /// Error(shape_mismatch) naming the view and both lengths if a view does not fit the rows.
  void validate() const;
};

/// A robustness check: a value type that holds its options and its state.
///  - `id`, `stage` and `needs` are compile-time constants; `needs` lies within what the stage can offer.
///  - update(batch) takes in rows; only called with batches that offer all `needs`.
///  - merge(other) takes in the state of a check that saw later rows. update(a); update(b) and a merge of both
///    give the same verdict, so that checks stream and run in parallel.
///  - finish() judges what was seen. Random choices come from a seed in its options.
/// Plain example: examples/06_custom_check.cpp.
template <class C>
concept Check = std::copy_constructible<C> && requires(C check, const C& other, const Batch& batch) {
  { C::id } -> std::convertible_to<std::string_view>;
  { C::stage } -> std::convertible_to<Stage>;
  { C::needs } -> std::convertible_to<Need>;
  check.update(batch);
  check.merge(other);
  { check.finish() } -> std::same_as<Verdict>;
} && covers(offered_by(C::stage), C::needs);

/// Any check, with its options, behind one type: what screens, gates and reports hold lists of.
/// Immutable and cheap to copy; each run works on a fresh copy of the check. Thread-safe.
class AnyCheck {
 public:
  // In this order: a copy of AnyCheck must not ask whether AnyCheck is a Check.
  template <class C>
    requires(!std::same_as<C, AnyCheck>) && Check<C>
  AnyCheck(C check)  // NOLINT: implicit by design
      : held_(Shared<const Held<C>>::make(std::move(check))), id_(C::id), stage_(C::stage), needs_(C::needs) {}

  std::string_view id() const noexcept { return id_; }
  Stage stage() const noexcept { return stage_; }
  Need needs() const noexcept { return needs_; }

  /// The verdict on one batch, with its cost. Abstains, naming what is missing, if the batch does not offer every
  /// need or has no rows. Exceptions of the check pass through.
  Verdict run(const Batch& batch) const;

 private:
  struct Base {
    virtual ~Base() = default;
    virtual Verdict run(const Batch& batch) const = 0;
  };
  template <class C>
  struct Held final : Base {
    explicit Held(C c) : prototype(std::move(c)) {}
    Verdict run(const Batch& batch) const override {
      C check = prototype;
      check.update(batch);
      return check.finish();
    }
    C prototype;
  };

  Shared<const Base> held_;
  std::string_view id_;
  Stage stage_;
  Need needs_;
};

/// Runs one check on one batch; see AnyCheck::run.
template <Check C>
Verdict run_check(C check, const Batch& batch) {
  return AnyCheck(std::move(check)).run(batch);
}

}  // namespace redoubt
