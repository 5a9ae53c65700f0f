#include "kernels/shap.hpp"

#include "kernels/shap_body.hpp"
#include "redoubt/core/error.hpp"

namespace redoubt::kernels {
namespace {

/// Eight doubles without vector instructions.
struct Plain {
  struct Reg {
    double lane[detail::shap_lanes];
  };
  using Mask = uint8_t;
  template <class F>
  static Reg each(F f) {
    Reg r;
    for (size_t i = 0; i < detail::shap_lanes; ++i) r.lane[i] = f(i);
    return r;
  }
  static Reg set(double x) {
    return each([&](size_t) { return x; });
  }
  static Reg load(const double* p) {
    return each([&](size_t i) { return p[i]; });
  }
  static void store(double* p, const Reg& x) {
    for (size_t i = 0; i < detail::shap_lanes; ++i) p[i] = x.lane[i];
  }
  static Reg mul(const Reg& a, const Reg& b) {
    return each([&](size_t i) { return a.lane[i] * b.lane[i]; });
  }
  static Reg add(const Reg& a, const Reg& b) {
    return each([&](size_t i) { return a.lane[i] + b.lane[i]; });
  }
  static Reg fma(const Reg& a, const Reg& b, const Reg& c) {
    return each([&](size_t i) { return a.lane[i] * b.lane[i] + c.lane[i]; });
  }
  static Mask mask(uint8_t bits) { return bits; }
  static Reg select(Mask m, const Reg& yes, const Reg& no) {
    return each([&](size_t i) { return m >> i & 1 ? yes.lane[i] : no.lane[i]; });
  }
  static uint8_t at_most(const float* x, float t) {
    unsigned bits = 0;
    for (size_t i = 0; i < detail::shap_lanes; ++i) bits |= unsigned{x[i] <= t} << i;
    return static_cast<uint8_t>(bits);
  }
  static uint8_t above(const float* x, float t) {
    unsigned bits = 0;
    for (size_t i = 0; i < detail::shap_lanes; ++i) bits |= unsigned{x[i] > t} << i;
    return static_cast<uint8_t>(bits);
  }
};

}  // namespace

void naive::shap_tree(const detail::ShapTree& tree, const detail::ShapRows& rows) noexcept {
  detail::shap_tree<Plain>(tree, rows);
}

const detail::ShapTable detail::naive_shap_table = {naive::shap_tree};

const detail::ShapTable& detail::shap_table_for([[maybe_unused]] Isa isa) noexcept {
#if defined(REDOUBT_HAS_X86_KERNELS)
  if (isa >= Isa::avx512) return avx512_shap_table;
  if (isa >= Isa::avx2) return avx2_shap_table;
#endif
  return naive_shap_table;
}

const detail::ShapTable& detail::shap_table() noexcept {
  static const ShapTable* const chosen = []() noexcept -> const ShapTable* {
    try {
      return &shap_table_for(active_isa());
    } catch (const Error&) {
      return &naive_shap_table;
    }
  }();
  return *chosen;
}

}  // namespace redoubt::kernels
