// Batch norm of one number a channel: shifts, statistics and the coefficients of the elementwise passes.

#if defined(REGKERN_KERNELS_NORM_CHANNELS_INL_H_) == defined(HWY_TARGET_TOGGLE)
#ifdef REGKERN_KERNELS_NORM_CHANNELS_INL_H_
#undef REGKERN_KERNELS_NORM_CHANNELS_INL_H_
#else
#define REGKERN_KERNELS_NORM_CHANNELS_INL_H_
#endif

#include <limits>

#include "kernels/norm/norm.h"
#include "kernels/range.h"
#include "kernels/simd-inl.h"

HWY_BEFORE_NAMESPACE();
namespace regkern {
namespace HWY_NAMESPACE {
namespace norm {

// Runs body(i, load, store) over n channels, vectors of double whole and partial: load and store take arrays
// of double, or of float to be widened and narrowed.
template <class Body>
HWY_INLINE void for_channels(size_t n, Body body) {
  const D64 d;
  const size_t N = hn::MaxLanes(d);
  struct Whole {
    HWY_INLINE V<D64> load(const double* p) const { return load_double(D64(), p); }
    HWY_INLINE V<D64> load(const float* p) const { return load_double(D64(), p); }
    HWY_INLINE void store(V<D64> v, double* p) const { hn::StoreU(v, D64(), p); }
    HWY_INLINE void store(V<D64> v, float* p) const {
      const hn::Rebind<float, D64> half;
      hn::StoreU(hn::DemoteTo(half, v), half, p);
    }
  };
  struct Part {
    size_t count;
    HWY_INLINE V<D64> load(const double* p) const { return load_partial(D64(), p, count); }
    HWY_INLINE V<D64> load(const float* p) const {
      return hn::PromoteTo(D64(), load_partial(hn::Rebind<float, D64>(), p, count));
    }
    HWY_INLINE void store(V<D64> v, double* p) const { store_partial(v, D64(), p, count); }
    HWY_INLINE void store(V<D64> v, float* p) const {
      const hn::Rebind<float, D64> half;
      store_partial(hn::DemoteTo(half, v), half, p, count);
    }
  };
  size_t i = 0;
  for (; i + N <= n; i += N) body(i, Whole());
  if (i < n) body(i, Part{n - i});
}

// The shift of each channel from five of its elements, an array each: their median, if it is more than twice
// their spread, else 0. Double has no digits to spare: there it is the median in any case.
template <class T>
void choose_shifts(const T* const* samples, size_t n, double* shift) {
  const D64 d;
  for_channels(n, [&](size_t i, auto io) HWY_ATTR {
    const auto a = io.load(samples[0] + i), b = io.load(samples[1] + i), c = io.load(samples[2] + i),
               e = io.load(samples[3] + i), f = io.load(samples[4] + i);
    const auto low = hn::Max(hn::Min(a, b), hn::Min(c, e)), high = hn::Min(hn::Max(a, b), hn::Max(c, e));
    const auto median = hn::Max(hn::Min(low, high), hn::Min(hn::Max(low, high), f));
    const auto least = hn::Min(hn::Min(hn::Min(a, b), hn::Min(c, e)), f);
    const auto most = hn::Max(hn::Max(hn::Max(a, b), hn::Max(c, e)), f);
    auto wanted = hn::Lt(hn::Abs(median), hn::Inf(d));
    if constexpr (sizeof(T) == 4) {
      const auto spread = hn::Sub(most, least);
      wanted = hn::And(wanted, hn::Gt(hn::Abs(median), hn::Add(spread, spread)));
    }
    io.store(hn::IfThenElseZero(wanted, median), shift + i);
  });
}

// mean and variance from the sums about the shift, 0 where the weights add up to 0; true if no shift was more
// than 32 deviations away, which would cost the variance digits.
inline bool statistics(double count, const double* x, const double* xx, const double* shift, size_t n,
                       double* mean, double* var) {
  const D64 d;
  const auto zero = hn::Zero(d), total = hn::Set(d, count), inverse = hn::Set(d, 1 / count);
  const auto each = [&](auto over_count) HWY_ATTR {
    bool near = true;
    for_channels(n, [&](size_t i, auto io) HWY_ATTR {
      const auto sum = io.load(x + i), distance = over_count(sum);
      const auto m2 = hn::Sub(io.load(xx + i), hn::Mul(sum, distance));
      // Rounding can make it negative; NaN stays.
      const auto variance = over_count(hn::IfThenElseZero(hn::Not(hn::Lt(m2, zero)), m2));
      io.store(hn::Add(io.load(shift + i), distance), mean + i);
      io.store(variance, var + i);
      near =
          near && hn::AllFalse(d, hn::Gt(hn::Mul(distance, distance), hn::Mul(hn::Set(d, 1024.0), variance)));
    });
    return near;
  };
  if (count == 0) {
    memset(mean, 0, n * sizeof(double));
    memset(var, 0, n * sizeof(double));
    return true;
  }
  uint64_t bits;
  memcpy(&bits, &count, sizeof(bits));
  // By a power of two, multiplying is dividing to the bit, and a third of the time.
  if (bits << 12 == 0) return each([&](auto v) HWY_ATTR { return hn::Mul(v, inverse); });
  return each([&](auto v) HWY_ATTR { return hn::Div(v, total); });
}

// r ← (1 − momentum)·r + momentum·(batch·factor)
template <class T>
void update(const double* batch, double momentum, double factor, size_t n, T* running) {
  const D64 d;
  const auto keep = hn::Set(d, 1 - momentum), take = hn::Set(d, momentum), f = hn::Set(d, factor);
  for_channels(n, [&](size_t i, auto io) HWY_ATTR {
    const auto fresh = hn::Mul(take, hn::Mul(io.load(batch + i), f));
    io.store(hn::Add(hn::Mul(keep, io.load(running + i)), fresh), running + i);
  });
}

// invstd = 1/√(var + eps), scale = gamma·invstd, shift = beta; gamma and beta may be nullptr.
template <class T>
void scales(const double* var, const T* gamma, const T* beta, double eps, size_t n, double* invstd,
            double* scale, double* shift) {
  const D64 d;
  for_channels(n, [&](size_t i, auto io) HWY_ATTR {
    const auto inverse = hn::Div(hn::Set(d, 1.0), hn::Sqrt(hn::Add(io.load(var + i), hn::Set(d, eps))));
    io.store(inverse, invstd + i);
    io.store(gamma ? hn::Mul(io.load(gamma + i), inverse) : inverse, scale + i);
    io.store(beta ? io.load(beta + i) : hn::Zero(d), shift + i);
  });
}

// is_extreme of each lane.
template <class T>
HWY_INLINE hn::Mask<D64> extreme(V<D64> factor, V<D64> of, double room = 1) {
  const D64 d;
  constexpr double least = std::numeric_limits<T>::min(), most = std::numeric_limits<T>::max();
  const auto size = hn::Abs(factor), source = hn::Abs(of);
  const auto is_normal =
      hn::And(hn::Ge(size, hn::Set(d, room * least)), hn::Le(size, hn::Set(d, most / room)));
  return hn::AndNot(is_normal, hn::And(hn::Gt(source, hn::Zero(d)), hn::Lt(source, hn::Inf(d))));
}

template <class T>
HWY_INLINE hn::Mask<D64> extreme(V<D64> factor) {
  return hn::Or(extreme<T>(factor, factor), hn::IsInf(factor));
}

// The coefficients of Affine, an array each. What the dtype loses of the mean is taken off the shift. Returns
// whether a scale is extreme.
template <class T>
bool affine_arrays(const double* mean, const double* scale, const double* shift, size_t n,
                   AffineArrays<T> to) {
  auto any = hn::FirstN(D64(), 0);
  for_channels(n, [&](size_t i, auto io) HWY_ATTR {
    const auto m = io.load(mean + i), s = io.load(scale + i);
    io.store(m, to.mean + i);
    io.store(s, to.scale + i);
    const auto low = hn::Sub(m, io.load(to.mean + i));
    io.store(hn::Sub(io.load(shift + i), hn::Mul(low, s)), to.shift + i);
    any = hn::Or(any, extreme<T>(s));
  });
  return !hn::AllFalse(D64(), any);
}

// Σdy·(x − mean) from that about the mean as the dtype has it.
template <class T>
void centre_sums(const double* mean, const double* sum_dy, size_t n, double* sum_dev) {
  for_channels(n, [&](size_t i, auto io) HWY_ATTR {
    const auto m = io.load(mean + i);
    T rounded[hn::MaxLanes(D64())];
    io.store(m, rounded);
    const auto low = hn::Sub(m, io.load(rounded));
    io.store(hn::Sub(io.load(sum_dev + i), hn::Mul(low, io.load(sum_dy + i))), sum_dev + i);
  });
}

// a[i] ← a[i]·factor[i]
inline void multiply(const double* factor, size_t n, double* a) {
  for_channels(
      n, [&](size_t i, auto io) HWY_ATTR { io.store(hn::Mul(io.load(a + i), io.load(factor + i)), a + i); });
}

// dx = (dy − (Σdy/n + (x − mean)·invstd²·Σdy(x−mean)/n))·gamma·invstd: the coefficients of Gradient, an array
// each. Every one is in the range of float as long as std and 1/std are, and weights are near 1. Returns
// whether one is extreme.
template <class T>
bool gradient_arrays(double count, const ChannelGradient<T>& from, size_t n, GradientArrays<T> to) {
  const auto total = hn::Set(D64(), count);
  auto any = hn::FirstN(D64(), 0);
  for_channels(n, [&](size_t i, auto io) HWY_ATTR {
    const auto m = io.load(from.mean + i), inverse = io.load(from.invstd + i);
    const auto sum = io.load(from.sum_dy + i), dev = io.load(from.sum_dev + i);
    const auto s = from.gamma ? hn::Mul(io.load(from.gamma + i), inverse) : inverse;
    io.store(m, to.mean + i);
    io.store(s, to.scale + i);
    const auto low = hn::Sub(m, io.load(to.mean + i));
    const auto a = hn::Div(sum, total), share = hn::Div(dev, total);
    const auto of_hat = hn::Mul(inverse, share), b = hn::Mul(inverse, of_hat);
    io.store(hn::Sub(a, hn::Mul(low, b)), to.a + i);
    io.store(b, to.b + i);
    const auto larger = hn::Max(hn::Abs(a), hn::Abs(of_hat)), of_larger = hn::Max(hn::Abs(sum), hn::Abs(dev));
    const auto in_shares = extreme<T>(larger, of_larger, kRoomOfShares);
    auto in_b = extreme<T>(b, dev);
    if constexpr (sizeof(T) == 8) in_b = hn::Or(in_b, extreme<T>(share, dev));
    any = hn::Or(any, hn::Or(extreme<T>(s), hn::Or(in_shares, in_b)));
  });
  return !hn::AllFalse(D64(), any);
}

}  // namespace norm
}  // namespace HWY_NAMESPACE
}  // namespace regkern
HWY_AFTER_NAMESPACE();

#endif  // REGKERN_KERNELS_NORM_CHANNELS_INL_H_
