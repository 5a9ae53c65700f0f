#pragma once
// Body of the kernels of confident learning; V wraps a vector of a level. No includes of its own, see body.hpp.
#include "kernels/confident_table.hpp"

namespace redoubt::kernels::detail {
namespace {

/// Fewer classes than a vector holds.
template <class T>
ConfidentRow confident_short(const T* row, size_t classes, const T* least) {
  ConfidentRow out = {-1, -1, 0, 1};
  for (size_t c = 0; c < classes; ++c) {
    const double v = row[c];
    out.sound &= row[c] >= T(-1e-6);
    if (v > out.most) out.most = v;
    if (row[c] >= least[c] && v > out.best) {
      out.best = v;
      out.guess = static_cast<uint32_t>(c);
    }
  }
  return out;
}

/// The last vector overlaps the one before it, which changes no maximum.
template <class V>
ConfidentRow confident_row(const typename V::Value* row, size_t classes, const typename V::Value* least) {
  using T = typename V::Value;
  constexpr size_t ahead = 4096 / sizeof(T);  // the exit of a search for the guess stops what runs ahead (7.3 ms, 4.5)
  const auto lower = V::all(T(-1e-6)), none = V::all(T(-1));
  auto best = none, most = none;
  auto sound = V::yes();
  const auto take = [&](size_t c) {
    const auto v = V::load(row + c);
    __builtin_prefetch(row + c + ahead);
    sound = V::both(sound, V::at_least(v, lower));
    most = V::larger(v, most);
    best = V::larger(V::where(V::at_least(v, V::load(least + c)), v, none), best);
  };
  const size_t last = classes - V::lanes;
  for (size_t c = 0; c < last; c += V::lanes) take(c);
  take(last);
  ConfidentRow out = {V::largest(best), V::largest(most), 0, V::bits(sound) == V::every};
  if (out.best == -1) return out;
  const auto wanted = V::all(static_cast<T>(out.best));
  const auto there = [&](size_t c) {
    const auto v = V::load(row + c);
    return V::bits(V::both(V::at_least(v, wanted), V::at_least(v, V::load(least + c))));
  };
  for (size_t c = 0; c < last; c += V::lanes)
    if (const unsigned bits = there(c)) {
      out.guess = static_cast<uint32_t>(c) + static_cast<uint32_t>(__builtin_ctz(bits));
      return out;
    }
  out.guess = static_cast<uint32_t>(last) + static_cast<uint32_t>(__builtin_ctz(there(last)));
  return out;
}

template <class V>
void confident_rows(const typename V::Value* p, size_t stride, size_t rows, size_t classes,
                    const typename V::Value* least, ConfidentRow* out) {
  for (size_t r = 0; r < rows; ++r, p += stride)
    out[r] = classes < V::lanes ? confident_short(p, classes, least) : confident_row<V>(p, classes, least);
}

}  // namespace
}  // namespace redoubt::kernels::detail
