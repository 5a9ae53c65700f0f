#pragma once
#include <cstddef>
#include <type_traits>
#include <utility>

namespace redoubt {

/// Non-owning reference to a callable: two pointers, no allocation. The callable must outlive the call.
template <class Signature>
class function_ref;

template <class R, class... Args>
class function_ref<R(Args...)> {
 public:
  template <class F>
    requires(!std::is_same_v<std::remove_cvref_t<F>, function_ref> && std::is_invocable_r_v<R, F&, Args...>)
  function_ref(F&& f) noexcept {  // NOLINT: implicit by design
    using Callable = std::remove_reference_t<F>;
    if constexpr (std::is_function_v<Callable>) {
      target_.function = reinterpret_cast<void (*)()>(&f);
      call_ = [](Target target, Args... args) -> R {
        return reinterpret_cast<Callable*>(target.function)(static_cast<Args&&>(args)...);
      };
    } else {
      target_.object = const_cast<void*>(static_cast<const void*>(__builtin_addressof(f)));
      call_ = [](Target target, Args... args) -> R {
        return (*static_cast<Callable*>(target.object))(static_cast<Args&&>(args)...);
      };
    }
  }
  R operator()(Args... args) const { return call_(target_, static_cast<Args&&>(args)...); }

 private:
  union Target {
    void* object;
    void (*function)();
  };
  Target target_;
  R (*call_)(Target, Args...);
};

}  // namespace redoubt
