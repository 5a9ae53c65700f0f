#pragma once

namespace redoubt::detail {

/// Empties a container and gives its memory back, which `container = {}` keeps.
template <class Container>
void release(Container& container) noexcept {
  Container().swap(container);
}

}  // namespace redoubt::detail
