// Dropout in one pass with its neighbours: bias and residual add, ReLU and GELU, softmax.

#if defined(REGKERN_KERNELS_FUSED_INL_H_) == defined(HWY_TARGET_TOGGLE)
#ifdef REGKERN_KERNELS_FUSED_INL_H_
#undef REGKERN_KERNELS_FUSED_INL_H_
#else
#define REGKERN_KERNELS_FUSED_INL_H_
#endif

#include "kernels/dropout-inl.h"
#include "kernels/fused.h"
#include "kernels/math-inl.h"
#include "regkern/fused.h"

HWY_BEFORE_NAMESPACE();
namespace regkern {
namespace HWY_NAMESPACE {
namespace fused {

using dropout::Decisions;
using dropout::for_decided;
using dropout::kDropoutChunk;
using dropout::kLongestPiece;
using dropout::map_kept;
using dropout::map_random;
using dropout::Scaled;

// --- bias and residual ----------------------------------------------------------------------------------

// y = residual + scale·(x + bias) where kept, residual elsewhere; bias and residual may be nullptr.
// bias[i mod period] belongs to element i, and bias goes on for a chunk behind its period, so that a chunk
// may start anywhere.
template <class T>
void bias_dropout_add(const T* x, const T* bias, size_t period, const T* residual, T* y, size_t n,
                      const Kept& kept_from, bool stream) {
  const uint64_t first = kept_from.first;
  const auto scale = hn::Set(Tag<T>(), static_cast<T>(kept_from.scale));
  const auto branch = [=](auto kept, auto v) HWY_ATTR { return hn::And(kept, hn::Mul(v, scale)); };
  size_t piece = n, offset = 0;
  const auto apply = [&](size_t begin, size_t i, size_t count, const int8_t* keep, bool around) HWY_ATTR {
    const size_t at = begin + i;
    if (bias && begin != piece) {
      piece = begin;
      offset = (first + begin) % period;  // a division for every group would be a sixth of the time in cache
    }
    const T* b = bias ? bias + offset + i : nullptr;
    const auto run = [&](auto op, auto... more)
                         HWY_ATTR { map_kept(count, keep, around, op, y + at, x + at, more...); };
    if (bias && residual) {
      run([&](auto kept, auto v, auto c, auto r) HWY_ATTR { return hn::Add(r, branch(kept, hn::Add(v, c))); },
          b, residual + at);
    } else if (bias) {
      run([&](auto kept, auto v, auto c) HWY_ATTR { return branch(kept, hn::Add(v, c)); }, b);
    } else if (residual) {
      run([&](auto kept, auto v, auto r) HWY_ATTR { return hn::Add(r, branch(kept, v)); }, residual + at);
    } else {
      run(branch);
    }
  };
  for_decided(n, kept_from.mask, first, y, stream, apply, x, residual ? residual : x);
}

// sums[j] += x[j], in float64.
template <class T>
HWY_INLINE void add_to(double* sums, const T* x, size_t n) {
  const D64 d;
  const size_t N = hn::Lanes(d);
  size_t j = 0;
  for (; j + N <= n; j += N) hn::StoreU(hn::Add(hn::LoadU(d, sums + j), load_double(d, x + j)), d, sums + j);
  for (; j < n; ++j) sums[j] += static_cast<double>(x[j]);
}

// dx = scale·dy where kept, +0.0 elsewhere; sums[i mod period + j] += dx[i + j] for the elements j of a chunk
// that starts at i. Chunks end at multiples of their length, wherever a call begins: so the sums are the same
// in any memory.
template <class T>
void bias_dropout_add_backward(const T* dy, T* dx, size_t n, const Kept& kept, double* sums, size_t period,
                               bool stream) {
  const Tag<T> d;
  const uint64_t first = kept.first;
  const Scaled<T> op(KeepMap{kept.scale});
  Decisions decide(kept.mask);
  HWY_ALIGN T block[kDropoutChunk];
  for (size_t at = 0, chunk; at < n; at += chunk) {
    chunk = HWY_MIN(n - at, kDropoutChunk - (first + at) % kDropoutChunk);
    map_kept(chunk, decide(first + at, chunk, dy + at), false, op, static_cast<T*>(block), dy + at);
    add_to(sums + (first + at) % period, block, chunk);
    map(d, chunk, stream, [](auto v) HWY_ATTR { return v; }, dx + at, static_cast<const T*>(block));
  }
}

// --- activations ----------------------------------------------------------------------------------------

// A value and a slope of x, each times what arrives from outside.
template <class T>
struct Relu {
  using D = Tag<T>;
  HWY_INLINE V<D> value(V<D> x) const { return hn::IfThenZeroElse(hn::Le(x, hn::Zero(D())), x); }
  HWY_INLINE V<D> slope(V<D> x, V<D> dy) const { return hn::IfThenZeroElse(hn::Le(x, hn::Zero(D())), dy); }
};

template <class T>
struct Gelu {
  using D = Tag<T>;
  HWY_INLINE V<D> value(V<D> x) const { return hn::Mul(x, normal_distribution(D(), x).cdf); }
  HWY_INLINE V<D> slope(V<D> x, V<D> dy) const {
    const D d;
    const Normal<D> at = normal_distribution(d, x);
    const auto density = hn::Mul(at.bell, hn::Set(d, T(0.3989422804014327)));  // 1/√(2π)
    return hn::Mul(dy, hn::Add(at.cdf, hn::Mul(x, density)));
  }
};

// x·logistic(v) with v = 2·√(2/π)·(x + 0.044715·x³), which is x·(1 + tanh(v/2))/2.
template <class T>
struct GeluTanh {
  using D = Tag<T>;
  static constexpr T kTwice = T(1.5957691216057308), kCubic = T(0.044715);
  // Behind ±30 the logistic is 0 or 1, and x³ need not overflow.
  HWY_INLINE V<D> near(V<D> x) const {
    const D d;
    const auto c = hn::Min(hn::Max(x, hn::Set(d, T(-30))), hn::Set(d, T(30)));
    return hn::IfThenElse(hn::Eq(x, x), c, x);
  }
  HWY_INLINE V<D> steepness(V<D> x) const {
    const D d;
    const auto cubic = hn::Mul(hn::Set(d, kCubic), hn::Mul(x, x));
    return hn::Mul(hn::Set(d, kTwice), hn::Add(hn::Set(d, T(1)), cubic));
  }
  HWY_INLINE V<D> value(V<D> x) const {
    const auto c = near(x);
    return hn::Mul(x, logistic(D(), hn::Mul(c, steepness(c))));
  }
  HWY_INLINE V<D> slope(V<D> x, V<D> dy) const {
    const D d;
    const auto one = hn::Set(d, T(1));
    const auto c = near(x);
    const auto s = logistic(d, hn::Mul(c, steepness(c)));
    const auto rest = logistic(d, hn::Neg(hn::Mul(c, steepness(c))));  // 1 − s, without cancellation
    const auto cubic = hn::Mul(hn::Set(d, 3 * kCubic), hn::Mul(c, c));
    const auto dv = hn::Mul(hn::Set(d, kTwice), hn::Add(one, cubic));
    return hn::Mul(dy, hn::Add(s, hn::Mul(hn::Mul(c, dv), hn::Mul(s, rest))));
  }
};

// y = scale·f(x) where kept, +0.0 elsewhere.
template <class F, class T>
HWY_INLINE void activation(const T* x, T* y, size_t n, const Kept& from, bool stream) {
  const Scaled<T> scaled(KeepMap{from.scale});
  const F f;
  const auto op = [=](auto kept, auto v) HWY_ATTR { return scaled(kept, f.value(v)); };
  map_random(n, from.mask, from.first, stream, op, y, x);
}

template <class F, class T>
HWY_INLINE void activation_backward(const T* dy, const T* x, T* dx, size_t n, const Kept& from, bool stream) {
  const Scaled<T> scaled(KeepMap{from.scale});
  const F f;
  const auto op = [=](auto kept, auto g, auto v) HWY_ATTR { return scaled(kept, f.slope(v, g)); };
  map_random(n, from.mask, from.first, stream, op, dx, dy, x);
}

template <class T>
void relu_dropout(const T* x, T* y, size_t n, const Kept& from, bool stream) {
  activation<Relu<T>>(x, y, n, from, stream);
}
template <class T>
void relu_dropout_backward(const T* dy, const T* x, T* dx, size_t n, const Kept& from, bool stream) {
  activation_backward<Relu<T>>(dy, x, dx, n, from, stream);
}

template <class T>
void gelu_dropout(const T* x, T* y, size_t n, const Kept& from, bool stream) {
  activation<Gelu<T>>(x, y, n, from, stream);
}
template <class T>
void gelu_dropout_backward(const T* dy, const T* x, T* dx, size_t n, const Kept& from, bool stream) {
  activation_backward<Gelu<T>>(dy, x, dx, n, from, stream);
}

template <class T>
void gelu_tanh_dropout(const T* x, T* y, size_t n, const Kept& from, bool stream) {
  activation<GeluTanh<T>>(x, y, n, from, stream);
}
template <class T>
void gelu_tanh_dropout_backward(const T* dy, const T* x, T* dx, size_t n, const Kept& from, bool stream) {
  activation_backward<GeluTanh<T>>(dy, x, dx, n, from, stream);
}

// --- softmax --------------------------------------------------------------------------------------------

template <class T>
HWY_INLINE T maximum(const T* x, size_t n) {
  const Tag<T> d;
  const size_t N = hn::Lanes(d);
  auto m = hn::Set(d, x[0]);
  size_t i = 0;
  for (; i + N <= n; i += N) m = hn::Max(m, hn::LoadU(d, x + i));
  T lanes[hn::MaxLanes(d)];
  hn::StoreU(m, d, lanes);
  T best = lanes[0];
  for (size_t k = 1; k < N; ++k) best = best < lanes[k] ? lanes[k] : best;
  for (; i < n; ++i) best = best < x[i] ? x[i] : best;
  return best;
}

// e[i] = exp(x[i] − max x); returns their sum. A NaN reaches the sum whatever the maximum made of it.
template <class T>
HWY_INLINE double exponentials(const T* x, T* e, size_t n) {
  const Tag<T> d;
  const auto m = hn::Set(d, maximum(x, n));
  const auto op = [=](auto v) HWY_ATTR {
    // v − m = s + c to twice the precision (Knuth, "The Art of Computer Programming" 2, 4.2.2).
    const auto s = hn::Sub(v, m);
    const auto b = hn::Sub(s, v);
    const auto c = hn::Sub(hn::Sub(v, hn::Sub(s, b)), hn::Add(m, b));
    return exp_nonpositive(d, s, c);
  };
  map(d, n, false, op, e, x);
  return sum_in_pairs(n, [](auto v) HWY_ATTR { return v; }, static_cast<const T*>(e));
}

// The decisions along rows that need not end where a chunk does: draws a chunk when the last one is used up.
class RowDecisions {
 public:
  HWY_INLINE RowDecisions(const Bernoulli& mask, uint64_t end) : decide_(mask), end_(end) {}
  // Calls body(at, length, keep) for the pieces of elements first ... first + n − 1.
  template <class Body>
  HWY_INLINE void operator()(uint64_t first, size_t n, Body body) {
    for (size_t at = 0; at < n;) {
      if (first + at >= drawn_end_) {
        begin_ = first + at;
        drawn_end_ = HWY_MIN(end_, begin_ + kDropoutChunk);
        keep_ = decide_(begin_, static_cast<size_t>(drawn_end_ - begin_));
      }
      const size_t length = HWY_MIN(n - at, static_cast<size_t>(drawn_end_ - first - at));
      body(at, length, keep_ + (first + at - begin_));
      at += length;
    }
  }

 private:
  Decisions decide_;
  const uint64_t end_;
  uint64_t begin_ = 0, drawn_end_ = 0;
  const int8_t* keep_ = nullptr;
};

// y = scale·softmax(x) where kept, +0.0 elsewhere, for rows one behind the other; the first row starts at
// element `first` of the mask.
template <class T>
void softmax_dropout(const T* x, T* y, size_t rows, size_t length, const Kept& kept) {
  uint64_t first = kept.first;
  RowDecisions decide(kept.mask, first + rows * length);
  for (size_t row = 0; row < rows; ++row, x += length, y += length, first += length) {
    const double total = exponentials(x, y, length);
    const Scaled<T> op(KeepMap{kept.scale / total});
    decide(first, length, [&](size_t at, size_t n, const int8_t* keep) HWY_ATTR {
      map_kept(n, keep, false, op, y + at, static_cast<const T*>(y + at));
    });
  }
}

// dx = s·(g − Σ g·s); s and g are room for a row each.
template <class T>
void softmax_dropout_backward(const T* dy, const T* x, T* dx, size_t rows, size_t length, const Kept& kept,
                              T* s, T* g) {
  const Tag<T> d;
  const Scaled<T> op(KeepMap{kept.scale});
  uint64_t first = kept.first;
  RowDecisions decide(kept.mask, first + rows * length);
  for (size_t row = 0; row < rows; ++row, dy += length, x += length, dx += length, first += length) {
    const double total = exponentials(x, s, length);
    decide(first, length, [&](size_t at, size_t n, const int8_t* keep) HWY_ATTR {
      map_kept(n, keep, false, op, g + at, dy + at);
    });
    const double products = sum_in_pairs(
        length, [](auto a, auto b) HWY_ATTR { return hn::Mul(a, b); }, static_cast<const T*>(s),
        static_cast<const T*>(g));
    const auto share = hn::Set(d, static_cast<T>(1 / total));
    const auto mean = hn::Set(d, static_cast<T>(products / total));
    map(
        d, length, false,
        [=](auto e, auto v) HWY_ATTR { return hn::Mul(hn::Mul(e, share), hn::Sub(v, mean)); }, dx,
        static_cast<const T*>(s), static_cast<const T*>(g));
  }
}

}  // namespace fused
}  // namespace HWY_NAMESPACE
}  // namespace regkern
HWY_AFTER_NAMESPACE();

#endif  // REGKERN_KERNELS_FUSED_INL_H_
