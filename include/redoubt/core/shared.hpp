#pragma once
#include <cstddef>
#include <utility>

namespace redoubt {

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
    struct Owned final : Block {
      explicit Owned(Args&&... a) : value(static_cast<Args&&>(a)...) { this->address = &value; }
      T value;
    };
    Shared result;
    result.block_ = new Owned(static_cast<Args&&>(args)...);
    return result;
  }
  Shared(const Shared& other) noexcept : block_(other.block_) {
    if (block_) __atomic_add_fetch(&block_->count, 1, __ATOMIC_RELAXED);
  }
  Shared(Shared&& other) noexcept : block_(std::exchange(other.block_, nullptr)) {}
  Shared& operator=(Shared other) noexcept {
    std::swap(block_, other.block_);
    return *this;
  }
  ~Shared() {
    if (block_ && __atomic_sub_fetch(&block_->count, 1, __ATOMIC_ACQ_REL) == 0) delete block_;
  }

  T* get() const noexcept { return block_ ? block_->address : nullptr; }
  T* operator->() const noexcept { return block_->address; }
  T& operator*() const noexcept { return *block_->address; }
  explicit operator bool() const noexcept { return block_ != nullptr; }
  bool operator==(const Shared& other) const noexcept { return block_ == other.block_; }

 private:
  struct Block {
    virtual ~Block() = default;
    T* address = nullptr;
    std::size_t count = 1;
  };
  Block* block_ = nullptr;
};

}  // namespace redoubt
