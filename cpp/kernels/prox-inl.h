// Soft thresholding and its kin. Order of operations as in regkern/reference/prox.py, so the bits are the
// same: 0 where |x| <= t, else x − copysign(t, x). NaN fails the comparison and propagates; a result of zero
// is +0.0.

#if defined(REGKERN_KERNELS_PROX_INL_H_) == defined(HWY_TARGET_TOGGLE)
#ifdef REGKERN_KERNELS_PROX_INL_H_
#undef REGKERN_KERNELS_PROX_INL_H_
#else
#define REGKERN_KERNELS_PROX_INL_H_
#endif

#include "kernels/simd-inl.h"

HWY_BEFORE_NAMESPACE();
namespace regkern {
namespace HWY_NAMESPACE {

template <class Vec>
HWY_INLINE Vec soft_threshold(Vec x, Vec t) {
  return hn::IfThenZeroElse(hn::Le(hn::Abs(x), t), hn::Sub(x, hn::CopySign(t, x)));
}

template <class Vec>
HWY_INLINE Vec soft_threshold_nonneg(Vec x, Vec t) {
  return hn::IfThenZeroElse(hn::Le(x, t), hn::Sub(x, t));
}

// A negative number may underflow to −0.0; adding 0 makes it +0.0.
template <class D>
HWY_INLINE V<D> divide(D d, V<D> x, V<D> divisor) {
  return hn::Add(hn::Div(x, divisor), hn::Zero(d));
}

template <class T>
void prox_l1(const T* x, T* y, size_t n, T threshold, bool stream) {
  const Tag<T> d;
  const auto t = hn::Set(d, threshold);
  map(d, n, stream, [t](auto v) HWY_ATTR { return soft_threshold(v, t); }, y, x);
}

template <class T>
void prox_l1_nonneg(const T* x, T* y, size_t n, T threshold, bool stream) {
  const Tag<T> d;
  const auto t = hn::Set(d, threshold);
  map(d, n, stream, [t](auto v) HWY_ATTR { return soft_threshold_nonneg(v, t); }, y, x);
}

template <class T>
void prox_l1_weighted(const T* x, const T* w, T* y, size_t n, T threshold, bool stream) {
  const Tag<T> d;
  const auto t = hn::Set(d, threshold);
  map(d, n, stream, [t](auto v, auto u) HWY_ATTR { return soft_threshold(v, hn::Mul(t, u)); }, y, x, w);
}

template <class T>
void prox_l1_weighted_nonneg(const T* x, const T* w, T* y, size_t n, T threshold, bool stream) {
  const Tag<T> d;
  const auto t = hn::Set(d, threshold);
  map(
      d, n, stream, [t](auto v, auto u) HWY_ATTR { return soft_threshold_nonneg(v, hn::Mul(t, u)); }, y, x,
      w);
}

template <class T>
void prox_elastic_net(const T* x, T* y, size_t n, T threshold, T divisor, bool stream) {
  const Tag<T> d;
  const auto t = hn::Set(d, threshold), q = hn::Set(d, divisor);
  map(d, n, stream, [d, t, q](auto v) HWY_ATTR { return divide(d, soft_threshold(v, t), q); }, y, x);
}

template <class T>
void prox_ridge(const T* x, T* y, size_t n, T divisor, bool stream) {
  const Tag<T> d;
  const auto q = hn::Set(d, divisor);
  map(d, n, stream, [d, q](auto v) HWY_ATTR { return divide(d, v, q); }, y, x);
}

template <class T>
double l1_norm(const T* x, size_t n) {
  return sum(x, n, [](auto v) HWY_ATTR { return hn::Abs(v); });
}

template <class T>
double squared_l2_norm(const T* x, size_t n) {
  return sum(x, n, [](auto v) HWY_ATTR { return hn::Mul(v, v); });
}

}  // namespace HWY_NAMESPACE
}  // namespace regkern
HWY_AFTER_NAMESPACE();

#endif  // REGKERN_KERNELS_PROX_INL_H_
