#pragma once
#include <cstddef>
#include <utility>

namespace redoubt {

namespace detail {
struct SharedBlock {
  virtual ~SharedBlock() = default;
  std::size_t count = 1;
};
}  // namespace detail

/// Shared ownership of an immutable value: what std::shared_ptr does, without `<memory>`, which alone costs
/// 1.5 times the parse time of `<vector>` and would be the most expensive part of the public headers.
/// T may be incomplete wherever no `make` is called. The count is atomic; the value is not guarded.
template <class T>
class Shared {
 public:
  constexpr Shared() noexcept = default;
  constexpr Shared(std::nullptr_t) noexcept {}  // NOLINT: implicit by design
  template <class... Args>
  static Shared make(Args&&... args) {
    struct Owned final : detail::SharedBlock {
      explicit Owned(Args&&... a) : value(static_cast<Args&&>(a)...) {}
      T value;
    };
    auto* owned = new Owned(static_cast<Args&&>(args)...);
    Shared result;
    result.address_ = &owned->value;
    result.block_ = owned;
    return result;
  }
  Shared(const Shared& other) noexcept : address_(other.address_), block_(other.block_) { retain(); }
  Shared(Shared&& other) noexcept
      : address_(std::exchange(other.address_, nullptr)), block_(std::exchange(other.block_, nullptr)) {}
  /// From a derived class, or from T to const T.
  template <class U>
    requires requires(U* from, T*& to) { to = from; }
  Shared(const Shared<U>& other) noexcept  // NOLINT: implicit by design
      : address_(other.address_), block_(other.block_) {
    retain();
  }
  Shared& operator=(Shared other) noexcept {
    std::swap(address_, other.address_);
    std::swap(block_, other.block_);
    return *this;
  }
  ~Shared() {
    if (block_ && __atomic_sub_fetch(&block_->count, 1, __ATOMIC_ACQ_REL) == 0) delete block_;
  }

  T* get() const noexcept { return address_; }
  T* operator->() const noexcept { return address_; }
  T& operator*() const noexcept { return *address_; }
  explicit operator bool() const noexcept { return block_ != nullptr; }
  bool operator==(const Shared& other) const noexcept { return block_ == other.block_; }

 private:
  template <class U>
  friend class Shared;
  void retain() noexcept {
    if (block_) __atomic_add_fetch(&block_->count, 1, __ATOMIC_RELAXED);
  }
  T* address_ = nullptr;
  detail::SharedBlock* block_ = nullptr;
};

}  // namespace redoubt
