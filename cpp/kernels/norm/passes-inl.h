// The elementwise passes of batch norm. Where they stream, a fence (finish_stream) is left to the caller.

#if defined(REGKERN_KERNELS_NORM_PASSES_INL_H_) == defined(HWY_TARGET_TOGGLE)
#ifdef REGKERN_KERNELS_NORM_PASSES_INL_H_
#undef REGKERN_KERNELS_NORM_PASSES_INL_H_
#else
#define REGKERN_KERNELS_NORM_PASSES_INL_H_
#endif

#include "kernels/norm/planes-inl.h"

HWY_BEFORE_NAMESPACE();
namespace regkern {
namespace HWY_NAMESPACE {
namespace norm {

// a[i] = from[i], 0 where the weight is 0, whatever stood there. a may be from.
template <class T>
void leave_out(const T* from, const T* w, size_t n, T* a) {
  const Tag<T> d;
  map_unfenced(
      d, n, false,
      [d](auto v, auto weight) HWY_ATTR { return hn::IfThenZeroElse(hn::Eq(weight, hn::Zero(d)), v); }, a,
      from, w);
}

template <class Vec>
struct AffineVec {
  Vec mean, scale, shift;
  HWY_INLINE Vec operator()(Vec x) const { return hn::Add(hn::Mul(hn::Sub(x, mean), scale), shift); }
};

template <class Vec>
struct GradientVec {
  Vec mean, scale, a, b;
  HWY_INLINE Vec share(Vec x) const { return hn::Add(a, hn::Mul(hn::Sub(x, mean), b)); }
  HWY_INLINE Vec operator()(Vec x, Vec dy) const { return hn::Mul(hn::Sub(dy, share(x)), scale); }
  // An element of weight w has a share of w in the statistics; none at all, whatever x is, at 0.
  HWY_INLINE Vec operator()(Vec x, Vec dy, Vec w) const {
    const auto none = hn::Eq(w, hn::Zero(hn::DFromV<Vec>()));
    return hn::Mul(hn::Sub(dy, hn::IfThenZeroElse(none, hn::Mul(w, share(x)))), scale);
  }
};

template <class T>
HWY_INLINE AffineVec<V<Tag<T>>> coefficient(const AffineArrays<const T>& c, size_t channel) {
  const Tag<T> d;
  return {hn::Set(d, c.mean[channel]), hn::Set(d, c.scale[channel]), hn::Set(d, c.shift[channel])};
}
template <class T>
HWY_INLINE GradientVec<V<Tag<T>>> coefficient(const GradientArrays<const T>& c, size_t channel) {
  const Tag<T> d;
  return {hn::Set(d, c.mean[channel]), hn::Set(d, c.scale[channel]), hn::Set(d, c.a[channel]),
          hn::Set(d, c.b[channel])};
}
template <class T>
HWY_INLINE AffineVec<V<Tag<T>>> coefficients(const AffineArrays<const T>& c, size_t at) {
  const Tag<T> d;
  return {hn::LoadU(d, c.mean + at), hn::LoadU(d, c.scale + at), hn::LoadU(d, c.shift + at)};
}
template <class T>
HWY_INLINE GradientVec<V<Tag<T>>> coefficients(const GradientArrays<const T>& c, size_t at) {
  const Tag<T> d;
  return {hn::LoadU(d, c.mean + at), hn::LoadU(d, c.scale + at), hn::LoadU(d, c.a + at),
          hn::LoadU(d, c.b + at)};
}

// Row r is of channel `first` + r.
template <class E, class Arrays, class... In>
HWY_INLINE void map_rows(size_t rows, size_t cols, const Arrays& c, size_t first, bool stream, Element<E>* y,
                         const In*... x) {
  for (size_t r = 0; r < rows; ++r) {
    const size_t at = r * cols;
    const auto op = coefficient(c, first + r);
    if constexpr (kIsHalf<E>) {
      map_halves<E>(cols, stream, OnTwo<decltype(op)>{op, op}, y + at, (x + at)...);
    } else {
      map_unfenced(Tag<E>(), cols, stream, op, y + at, (x + at)...);
    }
  }
}

template <class E>
void apply(const Element<E>* x, Element<E>* y, size_t rows, size_t cols, const AffineArrays<const Wide<E>>& c,
           size_t first, bool stream) {
  map_rows<E>(rows, cols, c, first, stream, y, x);
}

template <class E>
void apply_gradient(const GradientPiece<Element<E>>& p, size_t rows, size_t cols,
                    const GradientArrays<const Wide<E>>& c, size_t first, bool stream) {
  if (kIsHalf<E> || p.w == nullptr) return map_rows<E>(rows, cols, c, first, stream, p.dx, p.x, p.dy);
  if constexpr (!kIsHalf<E>) map_rows<E>(rows, cols, c, first, stream, p.dx, p.x, p.dy, p.w);
}

// The same two passes where channels lie beside each other: element i belongs to channel
// (phase + i) mod period. The coefficients are arrays of `period` numbers, continued by kMaxLanes more from
// the start, so that a vector can be loaded at any phase.

// What a step of map_periods() takes: a vector of the dtype; of numbers of two bytes, all that a register
// holds.
template <class E>
struct StepOf {
  static constexpr size_t kLanes = hn::MaxLanes(Tag<E>());
  using Result = V<Tag<E>>;
  template <class Arrays>
  static HWY_INLINE auto coefficients_at(const Arrays& c, size_t at) {
    return coefficients(c, at);
  }
  template <class Op, class... In>
  static HWY_INLINE Result calculate(const Op& op, const In*... x) {
    return op(hn::LoadU(Tag<E>(), x)...);
  }
  static HWY_INLINE void put(Result v, E* to) { hn::StoreU(v, Tag<E>(), to); }
};
template <class E>
  requires kIsHalf<E>
struct StepOf<E> {
  static constexpr size_t kLanes = kTwoLanes;
  using Result = V<half::D16>;
  static HWY_INLINE Two split(const float* p) {
    Two v;
    E::split_two(p, v.first, v.second);
    return v;
  }
  static HWY_INLINE auto coefficients_at(const AffineArrays<const float>& c, size_t at) {
    const Two mean = split(c.mean + at), scale = split(c.scale + at), shift = split(c.shift + at);
    using Op = AffineVec<V<Tag<float>>>;
    return OnTwo<Op>{Op{mean.first, scale.first, shift.first}, Op{mean.second, scale.second, shift.second}};
  }
  static HWY_INLINE auto coefficients_at(const GradientArrays<const float>& c, size_t at) {
    const Two mean = split(c.mean + at), scale = split(c.scale + at), a = split(c.a + at),
              b = split(c.b + at);
    using Op = GradientVec<V<Tag<float>>>;
    return OnTwo<Op>{Op{mean.first, scale.first, a.first, b.first},
                     Op{mean.second, scale.second, a.second, b.second}};
  }
  template <class Op, class... In>
  static HWY_INLINE Result calculate(const Op& op, const In*... x) {
    return round_two<E>(op(load_two<E>(x)...));
  }
  static HWY_INLINE void put(Result v, Element<E>* to) { hn::StoreU(v, half::D16(), to); }
};

// Four whole periods side by side, or two long ones, which share what is loaded of the coefficients, as often
// as they fit; returns how many elements that is. The lines of the next ones are fetched; of rows of a page,
// for all of which the L1 cache has no places, those close ahead in the same ones. All are loaded before one
// is stored: rows of 4 KiB would else meet the stores of their neighbours, which have the same low bits of
// the address.
template <class E, bool kLong, class Arrays, class... In>
HWY_INLINE size_t map_periods(size_t n, size_t first, size_t period, const Arrays& c, Element<E>* y,
                              const In*... x) {
  using Step = StepOf<E>;
  constexpr size_t kRows = kLong ? 2 : 4, kClose = 256 / sizeof(*y);
  size_t i = 0;
  for (; i + kRows * period <= n; i += kRows * period) {
    for (size_t j = 0; j < period; j += Step::kLanes) {
      const auto at = Step::coefficients_at(c, first + j);
      typename Step::Result v[kRows];
      for (size_t k = 0; k < kRows; ++k) v[k] = Step::calculate(at, x + i + j + k * period...);
      for (size_t k = 0; k < kRows; ++k)
        fetch_to_write(y + i + j + (kLong ? k * period + kClose : (kRows + k) * period));
      for (size_t k = 0; k < kRows; ++k) Step::put(v[k], y + i + j + k * period);
    }
  }
  return i;
}

template <class E, class Arrays, class... In>
HWY_INLINE void map_cyclic(size_t n, size_t phase, size_t period, bool stream, Arrays c, Element<E>* y,
                           const In*... x) {
  using To = Element<E>*;
  const Tag<Wide<E>> d;
  const size_t N = hn::MaxLanes(d);
  size_t i = 0;
  const auto next = [&](size_t step) HWY_ATTR {
    i += step;
    phase += step;
    while (phase >= period) phase -= period;
  };
  const auto partly = [&](size_t count) HWY_ATTR {
    store_wide_partial<E>(coefficients(c, phase)(load_wide_partial<E>(d, x + i, count)...), d, y + i, count);
    next(count);
  };
  const auto walk = [&](auto put, auto done) HWY_ATTR {
    for (; i + N <= n && !done(); next(N)) put(coefficients(c, phase)(load_wide<E>(d, x + i)...), y + i);
  };
  const auto to_the_end = [] { return false; };
  const bool streams = !kIsHalf<E> && stream && n >= 2 * N;
  if (streams || n >= 2 * period) {
    const size_t bytes = N * sizeof(*y), past = reinterpret_cast<uintptr_t>(y) % bytes;
    if (past != 0) partly((bytes - past) / sizeof(*y));
  }
  if constexpr (!kIsHalf<E>) {
    // In the order of memory: of periods side by side, lines would go out in parts, and a matrix of
    // 100,352 × 64 takes 2.4 times as long.
    if (streams) walk([](auto v, To to) HWY_ATTR { hn::Stream(v, Tag<E>(), to); }, to_the_end);
  }
  const auto put = [d](auto v, To to) HWY_ATTR { store_wide<E>(v, d, to); };
  if (!streams && period % StepOf<E>::kLanes == 0) {
    walk(put, [&] { return phase < N; });
    const bool long_rows = period * sizeof(*y) > 2048;
    i += long_rows ? map_periods<E, true>(n - i, phase, period, c, y + i, (x + i)...)
                   : map_periods<E, false>(n - i, phase, period, c, y + i, (x + i)...);
  }
  walk(put, to_the_end);
  if (i < n) partly(n - i);
}

template <class E>
void apply_cyclic(const Element<E>* x, Element<E>* y, size_t n, size_t phase, size_t period,
                  const AffineArrays<const Wide<E>>& c, bool stream) {
  map_cyclic<E>(n, phase, period, stream, c, y, x);
}

template <class E>
void apply_gradient_cyclic(const GradientPiece<Element<E>>& p, size_t n, size_t phase, size_t period,
                           const GradientArrays<const Wide<E>>& c, bool stream) {
  if (kIsHalf<E> || p.w == nullptr) return map_cyclic<E>(n, phase, period, stream, c, p.dx, p.x, p.dy);
  if constexpr (!kIsHalf<E>) map_cyclic<E>(n, phase, period, stream, c, p.dx, p.x, p.dy, p.w);
}

// What follows the normalization, v += residual, then y = v where not v <= 0 (NaN goes through), else
// slope·v, and +0.0 at slope 0, for -Inf too. `positive` takes a bit an element, 1 where not v <= 0, from the
// lowest of the first byte on. v is a buffer with room for one vector more; `residual` and `positive` may be
// nullptr; y may be residual. `linear`: y = v + residual is all.
template <class T>
void activate(T* v, const T* residual, T* y, size_t n, bool linear, T slope, uint8_t* positive, bool stream) {
  const Tag<T> d;
  constexpr size_t N = hn::MaxLanes(d);
  const auto sum = [](auto a, auto r) HWY_ATTR { return hn::Add(a, r); };
  if (linear) return map_unfenced(d, n, stream, sum, y, v, residual);
  const auto zero = hn::Zero(d), factor = hn::Set(d, slope);
  const auto leaks = hn::Ne(factor, zero);
  const auto relu = [&](auto a) HWY_ATTR {
    return hn::IfThenElse(hn::Le(a, zero), hn::IfThenElseZero(leaks, hn::Mul(a, factor)), a);
  };
  hn::StoreU(zero, d, v + n);  // no bits behind the last
  constexpr size_t kStep = HWY_MAX(8, N);
  const size_t direct = stream ? 0 : n / kStep * kStep;  // in one pass; the rest goes back to v
  for (size_t i = 0; i < n; i += kStep) {
    uint8_t bits[kStep / 8] = {};
    for (size_t k = i; k < i + kStep; k += N) {
      auto a = hn::LoadU(d, v + k);
      if (residual != nullptr && k < n) {
        a = sum(a, k + N <= n ? hn::LoadU(d, residual + k) : load_partial(d, residual + k, n - k));
      }
      hn::StoreU(i < direct ? relu(a) : a, d, (i < direct ? y : v) + k);
      uint8_t some[8];
      hn::StoreMaskBits(d, hn::Not(hn::Le(a, zero)), some);
      for (size_t j = 0; j < HWY_MAX(1, N / 8); ++j) {
        bits[j] = static_cast<uint8_t>(bits[j] | some[j] << (k - i));
      }
    }
    if (positive == nullptr) continue;
    positive[i / 8] = bits[0];
    if (kStep > 8 && i + 8 < n) positive[i / 8 + 1] = bits[kStep / 8 - 1];
  }
  map_unfenced(d, n - direct, stream, relu, y + direct, v + direct);
}

// The gradient before the activation: g = dy where the bit is 1, else slope·dy, and 0 at slope 0 whatever dy
// is. Bit `first` belongs to the first element; eight bytes behind the last can be read.
template <class T>
void gate(const T* dy, const uint8_t* positive, size_t first, T* g, size_t n, T slope) {
  const Tag<T> d;
  constexpr size_t N = hn::MaxLanes(d);
  prefetch_next_channel(dy, n);
  const auto factor = hn::Set(d, slope);
  const auto leaks = hn::Ne(factor, hn::Zero(d));
  const auto gated = [&](auto v, auto keep) HWY_ATTR {
    return hn::IfThenElse(keep, v, hn::IfThenElseZero(leaks, hn::Mul(v, factor)));
  };
  const auto mask_at = [&](size_t bit) HWY_ATTR {
    uint64_t bits;
    memcpy(&bits, positive + bit / 8, sizeof(bits));
    bits >>= bit % 8;
    return hn::LoadMaskBits(d, reinterpret_cast<const uint8_t*>(&bits));
  };
  // g may be dy: the last vector, which overlaps another, is computed before anything is written.
  const bool has_last = n >= N && n % N != 0;
  auto last = hn::Zero(d);
  if (has_last) last = gated(hn::LoadU(d, dy + n - N), mask_at(first + n - N));
  size_t i = 0;
  if (N >= 8 && first % 8 == 0) {
    for (; i + N <= n; i += N) {
      const auto keep = hn::LoadMaskBits(d, positive + (first + i) / 8);
      hn::StoreU(gated(hn::LoadU(d, dy + i), keep), d, g + i);
    }
  } else {
    for (; i + N <= n; i += N) hn::StoreU(gated(hn::LoadU(d, dy + i), mask_at(first + i)), d, g + i);
  }
  if (has_last) {
    hn::StoreU(last, d, g + n - N);
  } else if (i != n) {
    store_partial(gated(load_partial(d, dy + i, n - i), mask_at(first + i)), d, g + i, n - i);
  }
}

}  // namespace norm
}  // namespace HWY_NAMESPACE
}  // namespace regkern
HWY_AFTER_NAMESPACE();

#endif  // REGKERN_KERNELS_NORM_PASSES_INL_H_
