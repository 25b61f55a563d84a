// Soft thresholding and its kin. Order of operations as in regkern/reference/prox, so the bits are the
// same: 0 where |x| <= t, else x − copysign(t, x). NaN fails the comparison and propagates; a result of zero
// is +0.0.

#if defined(REGKERN_KERNELS_PROX_INL_H_) == defined(HWY_TARGET_TOGGLE)
#ifdef REGKERN_KERNELS_PROX_INL_H_
#undef REGKERN_KERNELS_PROX_INL_H_
#else
#define REGKERN_KERNELS_PROX_INL_H_
#endif

#include "kernels/half-inl.h"
#include "kernels/prox.h"
#include "kernels/simd-inl.h"

HWY_BEFORE_NAMESPACE();
namespace regkern {
namespace HWY_NAMESPACE {
namespace prox {

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
template <class D>
HWY_INLINE V<D> scale(D d, V<D> x, V<D> factor) {
  return hn::Add(hn::Mul(x, factor), hn::Zero(d));
}

template <class T>
void prox_l1(const T* x, T* y, size_t n, Lane<T> threshold, bool stream) {
  const Tag<Lane<T>> d;
  const auto t = hn::Set(d, threshold);
  map(d, n, stream, [t](auto v) HWY_ATTR { return soft_threshold(v, t); }, y, x);
}

template <class T>
void prox_l1_nonneg(const T* x, T* y, size_t n, Lane<T> threshold, bool stream) {
  const Tag<Lane<T>> d;
  const auto t = hn::Set(d, threshold);
  map(d, n, stream, [t](auto v) HWY_ATTR { return soft_threshold_nonneg(v, t); }, y, x);
}

// t·w, 0 where the weight is: it frees from a strength of Inf.
template <class D>
HWY_INLINE V<D> weighted(D d, V<D> t, V<D> w) {
  return hn::IfThenZeroElse(hn::Eq(w, hn::Zero(d)), hn::Mul(t, w));
}

// y = soft(x, threshold·w).
template <class T, class Soft>
HWY_INLINE void prox_l1_weighted_by(const T* x, const T* w, T* y, size_t n, T threshold, bool stream,
                                    Soft soft) {
  const Tag<T> d;
  const auto t = hn::Set(d, threshold);
  if (threshold < __builtin_inf()) {
    map(d, n, stream, [=](auto v, auto u) HWY_ATTR { return soft(v, hn::Mul(t, u)); }, y, x, w);
  } else {
    map(d, n, stream, [=](auto v, auto u) HWY_ATTR { return soft(v, weighted(d, t, u)); }, y, x, w);
  }
}

template <class T>
void prox_l1_weighted(const T* x, const T* w, T* y, size_t n, T threshold, bool stream) {
  prox_l1_weighted_by(x, w, y, n, threshold, stream,
                      [](auto v, auto t) HWY_ATTR { return soft_threshold(v, t); });
}

template <class T>
void prox_l1_weighted_nonneg(const T* x, const T* w, T* y, size_t n, T threshold, bool stream) {
  prox_l1_weighted_by(x, w, y, n, threshold, stream,
                      [](auto v, auto t) HWY_ATTR { return soft_threshold_nonneg(v, t); });
}

// A product, three times as fast as a quotient in cache: `factor` = 1 / (1 + shrink) is no further from the
// formula than 1 + shrink, rounded, is.
template <class T>
void prox_elastic_net(const T* x, T* y, size_t n, Lane<T> threshold, Lane<T> factor, bool stream) {
  const Tag<Lane<T>> d;
  const auto t = hn::Set(d, threshold), f = hn::Set(d, factor);
  map(d, n, stream, [d, t, f](auto v) HWY_ATTR { return scale(d, soft_threshold(v, t), f); }, y, x);
}

template <class T>
void prox_ridge(const T* x, T* y, size_t n, Lane<T> factor, bool stream) {
  const Tag<Lane<T>> d;
  const auto f = hn::Set(d, factor);
  map(d, n, stream, [d, f](auto v) HWY_ATTR { return scale(d, v, f); }, y, x);
}

// y = soft(x, threshold·w) / (1 + shrink·w).
template <class T>
void prox_elastic_net_weighted(const T* x, const T* w, T* y, size_t n, T threshold, T shrink, bool stream) {
  const Tag<T> d;
  const auto t = hn::Set(d, threshold), s = hn::Set(d, shrink), one = hn::Set(d, T(1));
  const auto op = [=](auto v, auto u) HWY_ATTR {
    return divide(d, soft_threshold(v, weighted(d, t, u)), hn::Add(one, weighted(d, s, u)));
  };
  map(d, n, stream, op, y, x, w);
}

// y = x / (1 + shrink·w).
template <class T>
void prox_ridge_weighted(const T* x, const T* w, T* y, size_t n, T shrink, bool stream) {
  const Tag<T> d;
  const auto s = hn::Set(d, shrink), one = hn::Set(d, T(1));
  const auto op = [=](auto v, auto u) HWY_ATTR { return divide(d, v, hn::Add(one, weighted(d, s, u))); };
  map(d, n, stream, op, y, x, w);
}

// x where |x| > cut.
template <class T>
void hard_threshold(const T* x, T* y, size_t n, T cut, bool stream) {
  const Tag<T> d;
  const auto c = hn::Set(d, cut);
  map(d, n, stream, [c](auto v) HWY_ATTR { return hn::IfThenZeroElse(hn::Le(hn::Abs(v), c), v); }, y, x);
}

template <class T>
void firm_threshold(const T* x, T* y, size_t n, const Firm<T>& firm, bool stream) {
  const Tag<T> d;
  const auto t = hn::Set(d, firm.t), knee = hn::Set(d, firm.knee), shift = hn::Set(d, firm.shift);
  const auto divisor = hn::Set(d, firm.divisor), far = hn::Set(d, firm.far);
  const auto op = [=](auto v) HWY_ATTR {
    const auto a = hn::Abs(v);
    const auto steep = hn::Div(hn::Sub(v, hn::CopySign(shift, v)), divisor);
    const auto soft = hn::Sub(v, hn::CopySign(t, v));
    return hn::IfThenZeroElse(
        hn::Le(a, t), hn::IfThenElse(hn::Le(a, knee), soft, hn::IfThenElse(hn::Le(a, far), steep, v)));
  };
  map(d, n, stream, op, y, x);
}

// y = x·r² with the largest root of r³ − r + c, c = half_t / |x|^1.5. Newton's iterates fall from r = 1
// without crossing the root; after 4 (float) or 5 (double) the error is below a rounding wherever y is not 0,
// that is for c < 1.5^−1.5 / 2. Everything up to `cut` is 0.
template <class T>
void prox_l_half(const T* x, T* y, size_t n, T half_t, T cut, bool stream) {
  const Tag<T> d;
  constexpr int kSteps = sizeof(T) == 4 ? 4 : 5;
  const auto half = hn::Set(d, half_t), none = hn::Set(d, cut), one = hn::Set(d, T(1)),
             three = hn::Set(d, T(3));
  const auto limit = hn::Set(d, T(0.27216552697590868));
  const auto op = [=](auto v) HWY_ATTR {
    const auto a = hn::Abs(v);
    const auto c = hn::Div(hn::Div(half, a), hn::Sqrt(a));
    auto r = one;
    for (int k = 0; k < kSteps; ++k) {
      const auto square = hn::Mul(r, r);
      const auto value = hn::Add(hn::Mul(r, hn::Sub(square, one)), c);
      r = hn::Sub(r, hn::Div(value, hn::Sub(hn::Mul(three, square), one)));
    }
    const auto dead = hn::Or(hn::Le(a, none), hn::Ge(c, limit));
    return hn::IfThenZeroElse(dead, hn::Mul(v, hn::Mul(r, r)));
  };
  map(d, n, stream, op, y, x);
}

// |y| = |x| − 2t / (|x| + eps + √((|x| + eps)² − 4t)), which loses nothing where t is small; the root as two,
// which does not overflow.
template <class T>
void prox_log_sum(const T* x, T* y, size_t n, T twice_t, T root, T eps, T cut, bool stream) {
  const Tag<T> d;
  const auto t = hn::Set(d, twice_t), q = hn::Set(d, root), e = hn::Set(d, eps), c = hn::Set(d, cut);
  const auto op = [=](auto v) HWY_ATTR {
    const auto a = hn::Abs(v);
    const auto s = hn::Add(a, e);
    const auto w = hn::Mul(hn::Sqrt(hn::Abs(hn::Sub(s, q))), hn::Sqrt(hn::Add(s, q)));
    const auto m = hn::Sub(a, hn::Div(t, hn::Add(s, w)));
    return hn::IfThenZeroElse(hn::Or(hn::Le(a, c), hn::Le(m, hn::Zero(d))), hn::CopySign(m, v));
  };
  map(d, n, stream, op, y, x);
}

template <class T>
void prox_huber(const T* x, T* y, size_t n, T divisor, T shift, T knee, bool stream) {
  const Tag<T> d;
  const auto q = hn::Set(d, divisor), t = hn::Set(d, shift), k = hn::Set(d, knee);
  const auto op = [=](auto v) HWY_ATTR {
    return hn::IfThenElse(hn::Le(hn::Abs(v), k), divide(d, v, q), hn::Sub(v, hn::CopySign(t, v)));
  };
  map(d, n, stream, op, y, x);
}

template <class Vec>
HWY_INLINE Vec clamp(Vec x, Vec lower, Vec upper) {
  return hn::IfThenElse(hn::Lt(x, lower), lower, hn::IfThenElse(hn::Gt(x, upper), upper, x));
}

template <class T>
void project_box(const T* x, T* y, size_t n, T lower, T upper, bool stream) {
  const Tag<T> d;
  const auto low = hn::Set(d, lower), high = hn::Set(d, upper);
  map(d, n, stream, [low, high](auto v) HWY_ATTR { return clamp(v, low, high); }, y, x);
}

template <class T>
void project_box_each(const T* x, const T* lower, const T* upper, T* y, size_t n, bool stream) {
  const Tag<T> d;
  const auto op = [](auto v, auto low, auto high) HWY_ATTR { return clamp(v, low, high); };
  map(d, n, stream, op, y, x, lower, upper);
}

// Whether lower <= upper everywhere; a bound that is NaN is not.
template <class T>
bool ordered(const T* lower, const T* upper, size_t n) {
  const Tag<T> d;
  const size_t lanes = hn::Lanes(d);
  size_t i = 0;
  for (; i + lanes <= n; i += lanes) {
    if (!hn::AllTrue(d, hn::Le(hn::LoadU(d, lower + i), hn::LoadU(d, upper + i)))) return false;
  }
  for (; i < n; ++i) {
    if (!(lower[i] <= upper[i])) return false;
  }
  return true;
}

template <class T>
double l1_norm(const T* x, size_t n) {
  return sum(x, n, [](auto v) HWY_ATTR { return hn::Abs(v); });
}

template <class T>
double squared_l2_norm(const T* x, size_t n) {
  // The square of a float is exact in double: one rounding, fused or not, and so the same bits.
  if constexpr (sizeof(Lane<T>) == 4) {
    return accumulate(x, n, [](auto lanes, auto v) HWY_ATTR { return hn::MulAdd(v, v, lanes); });
  } else {
    return sum(x, n, [](auto v) HWY_ATTR { return hn::Mul(v, v); });
  }
}

}  // namespace prox
}  // namespace HWY_NAMESPACE
}  // namespace regkern
HWY_AFTER_NAMESPACE();

#endif  // REGKERN_KERNELS_PROX_INL_H_
