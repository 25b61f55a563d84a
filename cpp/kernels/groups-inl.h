// Scaling groups of elements by a function of their Euclidean norm.
//
// Norms are sums of squares in 16 lanes of double, so the bits are those of any instruction set and float32
// data neither overflows nor vanishes. Float64 data whose squares do is scaled first. A factor of 0 gives
// +0.0 whatever it multiplies; NaN stays in its group.

#if defined(REGKERN_KERNELS_GROUPS_INL_H_) == defined(HWY_TARGET_TOGGLE)
#ifdef REGKERN_KERNELS_GROUPS_INL_H_
#undef REGKERN_KERNELS_GROUPS_INL_H_
#else
#define REGKERN_KERNELS_GROUPS_INL_H_
#endif

#include "kernels/prox-inl.h"
#include "kernels/prox.h"
#include "kernels/simd-inl.h"

HWY_BEFORE_NAMESPACE();
namespace regkern {
namespace HWY_NAMESPACE {

// Σ (scale·s)², s the soft threshold of x by `soft`.
template <class T>
double sum_squares(const T* x, size_t n, T soft, double scale) {
  if (soft == 0 && scale == 1) {
    if (n < kSumLanes) {  // the same sum, without the lanes that stay 0
      double s[kSumLanes] = {};
      for (size_t i = 0; i < n; ++i) s[i] = static_cast<double>(x[i]) * static_cast<double>(x[i]);
      for (size_t half = kSumLanes / 2; half != 0; half /= 2) {
        for (size_t i = 0; i < half && i + half < n; ++i) s[i] += s[i + half];
      }
      return s[0];
    }
    return accumulate(x, n, [](auto lanes, auto v) HWY_ATTR {
      // The square of a float32 is exact in float64, and so fma rounds no differently.
      if constexpr (sizeof(T) == 4) return hn::MulAdd(v, v, lanes);
      return hn::Add(lanes, hn::Mul(v, v));
    });
  }
  const D64 d;
  const auto t = hn::Set(d, static_cast<double>(soft)), c = hn::Set(d, scale);
  return sum(x, n, [t, c](auto v) HWY_ATTR {
    const auto s = hn::Mul(soft_threshold(v, t), c);
    return hn::Mul(s, s);
  });
}

// What to multiply a group of this norm by.
template <class T>
T group_factor(double norm, double t, bool ball) {
  if (ball) return norm <= t ? T(1) : static_cast<T>(t / norm);
  return norm <= t ? T(0) : static_cast<T>(1 - t / norm);
}

template <class D>
HWY_INLINE V<D> scale_by(D d, V<D> x, V<D> factor) {
  return hn::IfThenZeroElse(hn::Eq(factor, hn::Zero(d)), hn::Add(hn::Mul(x, factor), hn::Zero(d)));
}

template <class T>
void scale(const T* x, T* y, size_t n, T factor, bool stream) {
  const Tag<T> d;
  const auto f = hn::Set(d, factor);
  map(d, n, stream, [d, f](auto v) HWY_ATTR { return scale_by(d, v, f); }, y, x);
}

// y = apply(x, factor of its group) for groups of `size` neighbours. Those that fit are worked off many at a
// time: their factors are spread to one an element, so that one pass streams over all of them.
template <class T, class Apply>
HWY_INLINE void scale_groups_by(const T* x, T* y, size_t groups, size_t size, const T* weights,
                                const GroupRule<T>& rule, bool stream, Apply apply) {
  constexpr size_t kRoom = 1024;
  const Tag<T> d;
  const auto factor_of = [&](size_t g) HWY_ATTR {
    const double norm =
        norm_of([&](double c) HWY_ATTR { return sum_squares(x + g * size, size, rule.soft, c); });
    const double w = weights == nullptr ? 1.0 : static_cast<double>(weights[g]);
    return group_factor<T>(norm, rule.threshold * w, rule.ball);
  };
  if (size > kRoom) {
    for (size_t g = 0; g < groups; ++g) {
      const auto factor = hn::Set(d, factor_of(g));
      map_unfenced(
          d, size, stream, [&](auto v) HWY_ATTR { return apply(v, factor); }, y + g * size, x + g * size);
    }
    return;
  }
  HWY_ALIGN T factors[kRoom + hn::MaxLanes(d)];
  const size_t at_once = kRoom / size;
  for (size_t first = 0; first < groups; first += at_once) {
    const size_t count = HWY_MIN(at_once, groups - first);
    for (size_t g = 0; g < count; ++g) {  // a whole vector may reach into the next group, whose turn comes
      const auto factor = hn::Set(d, factor_of(first + g));
      for (size_t i = 0; i < size; i += hn::Lanes(d)) hn::StoreU(factor, d, factors + g * size + i);
    }
    map_unfenced(d, count * size, stream, apply, y + first * size, x + first * size, factors);
  }
}

template <class T>
void scale_groups(const T* x, T* y, size_t groups, size_t size, const T* weights, const GroupRule<T>& rule,
                  bool stream) {
  const Tag<T> d;
  if (rule.soft == 0 && rule.threshold < __builtin_inf()) {
    // 0 times what is there is 0: only an infinite threshold or a soft one brings Inf to 0.
    const auto apply = [d](auto v, auto factor) HWY_ATTR { return hn::Add(hn::Mul(v, factor), hn::Zero(d)); };
    scale_groups_by(x, y, groups, size, weights, rule, stream, apply);
  } else {
    const auto soft = hn::Set(d, rule.soft);
    const auto apply = [d, soft](auto v, auto factor)
                           HWY_ATTR { return scale_by(d, soft_threshold(v, soft), factor); };
    scale_groups_by(x, y, groups, size, weights, rule, stream, apply);
  }
  finish_stream(stream);
}

}  // namespace HWY_NAMESPACE
}  // namespace regkern
HWY_AFTER_NAMESPACE();

#endif  // REGKERN_KERNELS_GROUPS_INL_H_
