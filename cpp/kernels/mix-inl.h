// Two samples mixed, over one piece of dense memory.

#if defined(REGKERN_KERNELS_MIX_INL_H_) == defined(HWY_TARGET_TOGGLE)
#ifdef REGKERN_KERNELS_MIX_INL_H_
#undef REGKERN_KERNELS_MIX_INL_H_
#else
#define REGKERN_KERNELS_MIX_INL_H_
#endif

#include "kernels/augment/rows-inl.h"

HWY_BEFORE_NAMESPACE();
namespace regkern {
namespace HWY_NAMESPACE {
namespace mix {

using augment::blend;
using augment::DF;
using augment::map_float;

// y = lam·a + (1 − lam)·b; y may be a. A weight is rounded to T, that of bytes to float.
template <class T>
void mix(const T* a, const T* b, T* y, size_t n, double lam, bool stream) {
  const Tag<T> d;
  const auto wa = hn::Set(d, static_cast<T>(lam)), wb = hn::Set(d, static_cast<T>(1 - lam));
  map_unfenced(
      d, n, stream, [=](auto u, auto v) HWY_ATTR { return hn::Add(hn::Mul(wa, u), hn::Mul(wb, v)); }, y, a,
      b);
}

inline void mix_bytes(const uint8_t* a, const uint8_t* b, uint8_t* y, size_t n, double lam, bool) {
  const DF d;
  const auto wa = hn::Set(d, static_cast<float>(lam)), wb = hn::Set(d, static_cast<float>(1 - lam));
  map_float(n, [=](auto u, auto v) HWY_ATTR { return blend(wa, u, wb, v); }, y, a, b);
}

}  // namespace mix
}  // namespace HWY_NAMESPACE
}  // namespace regkern
HWY_AFTER_NAMESPACE();

#endif  // REGKERN_KERNELS_MIX_INL_H_
