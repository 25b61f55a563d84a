// Pieces of the projections onto simplex and L1 ball: what finds the threshold θ, and what subtracts it.
//
// θ is a double, given to the kernels as high + low of T, so that x − θ keeps its bits where both are large.

#if defined(REGKERN_KERNELS_ROWS_INL_H_) == defined(HWY_TARGET_TOGGLE)
#ifdef REGKERN_KERNELS_ROWS_INL_H_
#undef REGKERN_KERNELS_ROWS_INL_H_
#else
#define REGKERN_KERNELS_ROWS_INL_H_
#endif

#include "kernels/rows.h"
#include "kernels/simd-inl.h"

HWY_BEFORE_NAMESPACE();
namespace regkern {
namespace HWY_NAMESPACE {
namespace rows {

// What an element stands for.
template <bool kMagnitude, class Vec>
HWY_INLINE Vec value_of(Vec v) {
  if constexpr (kMagnitude) return hn::Abs(v);
  return v;
}

template <class T>
double row_sum(Values values, const T* x, size_t n) {
  if (values == Values::kMagnitudes) return sum(x, n, [](auto v) HWY_ATTR { return hn::Abs(v); });
  return sum(x, n, [](auto v) HWY_ATTR { return v; });
}

// Σ (x − base), n a multiple of kSumLanes.
template <class T>
double row_sum_from(const T* x, size_t n, double base) {
  const auto b = hn::Set(D64(), base);
  return sum(x, n, [b](auto v) HWY_ATTR { return hn::Sub(v, b); });
}

template <bool kMagnitude, class T>
HWY_INLINE T row_max_of(const T* x, size_t n) {
  const Tag<T> d;
  const size_t N = hn::Lanes(d);
  if (n < N) {
    T largest = kMagnitude && x[0] < 0 ? -x[0] : x[0];
    for (size_t i = 1; i < n; ++i) {
      const T v = kMagnitude && x[i] < 0 ? -x[i] : x[i];
      if (v > largest) largest = v;
    }
    return largest;
  }
  auto largest = value_of<kMagnitude>(hn::LoadU(d, x + n - N));
  for (size_t i = 0; i + N <= n; i += N)
    largest = hn::Max(largest, value_of<kMagnitude>(hn::LoadU(d, x + i)));
  return hn::GetLane(hn::MaxOfLanes(d, largest));
}

// The largest of n > 0 values; any number at all where one is NaN.
template <class T>
T row_max(Values values, const T* x, size_t n) {
  return values == Values::kMagnitudes ? row_max_of<true>(x, n) : row_max_of<false>(x, n);
}

template <bool kMagnitude, class T>
HWY_INLINE size_t keep_above_of(const T* x, size_t n, T high, T low, T* kept) {
  const Tag<T> d;
  const size_t N = hn::Lanes(d);
  const auto h = hn::Set(d, high), l = hn::Set(d, low);
  size_t count = 0;
  const auto keep = [&](auto v, auto among) HWY_ATTR {
    count += hn::CompressStore(v, hn::And(hn::Gt(hn::Sub(v, h), l), among), d, kept + count);
  };
  size_t i = 0;
  const auto all = hn::FirstN(d, N);
  for (; i + N <= n; i += N) keep(value_of<kMagnitude>(hn::LoadU(d, x + i)), all);
  if (i < n) keep(value_of<kMagnitude>(load_partial(d, x + i, n - i)), hn::FirstN(d, n - i));
  return count;
}

// The values above high + low, in their order, to `kept`, which has room for one more vector and may be x;
// returns how many.
template <class T>
size_t keep_above(Values values, const T* x, size_t n, T high, T low, T* kept) {
  if (values == Values::kMagnitudes) return keep_above_of<true>(x, n, high, low, kept);
  return keep_above_of<false>(x, n, high, low, kept);
}

template <bool kMagnitude, class T>
HWY_INLINE void subtract_threshold_of(const T* x, T* y, size_t n, T high, T low, bool stream) {
  const Tag<T> d;
  const auto h = hn::Set(d, high), l = hn::Set(d, low);
  const auto op = [=](auto v) HWY_ATTR {
    const auto left = hn::Sub(hn::Sub(value_of<kMagnitude>(v), h), l);
    const auto dead = hn::Le(left, hn::Zero(d));
    if constexpr (kMagnitude) return hn::IfThenZeroElse(dead, hn::CopySign(left, v));
    return hn::IfThenZeroElse(dead, left);
  };
  map(d, n, stream, op, y, x);
}

// max(x − θ, 0), or that of |x| with the sign of x.
template <class T>
void subtract_threshold(Values values, const T* x, T* y, size_t n, T high, T low, bool stream) {
  if (values == Values::kMagnitudes) return subtract_threshold_of<true>(x, y, n, high, low, stream);
  subtract_threshold_of<false>(x, y, n, high, low, stream);
}

// x, but no further from 0 than θ; θ = NaN makes all of it NaN.
template <class T>
void limit_magnitude(const T* x, T* y, size_t n, T theta, bool stream) {
  const Tag<T> d;
  const auto t = hn::Set(d, theta);
  const auto op = [=](auto v) HWY_ATTR {
    return hn::Add(hn::IfThenElse(hn::Le(hn::Abs(v), t), v, hn::CopySign(t, v)), hn::Zero(d));
  };
  map(d, n, stream, op, y, x);
}

}  // namespace rows
}  // namespace HWY_NAMESPACE
}  // namespace regkern
HWY_AFTER_NAMESPACE();

#endif  // REGKERN_KERNELS_ROWS_INL_H_
