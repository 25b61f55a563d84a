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

// Those of the first and of the second vector of two, as split(array) gives them.
template <class Split>
HWY_INLINE auto on_two(const AffineArrays<const float>& c, Split split) {
  const Two mean = split(c.mean), scale = split(c.scale), shift = split(c.shift);
  using Op = AffineVec<V<Tag<float>>>;
  return OnTwo<Op>{Op{mean.first, scale.first, shift.first}, Op{mean.second, scale.second, shift.second}};
}
template <class Split>
HWY_INLINE auto on_two(const GradientArrays<const float>& c, Split split) {
  const Two mean = split(c.mean), scale = split(c.scale), a = split(c.a), b = split(c.b);
  using Op = GradientVec<V<Tag<float>>>;
  return OnTwo<Op>{Op{mean.first, scale.first, a.first, b.first},
                   Op{mean.second, scale.second, a.second, b.second}};
}

// Row r is of channel `first` + r.
template <class E, class Arrays, class... In>
HWY_INLINE void map_rows(size_t rows, size_t cols, const Arrays& c, size_t first, bool stream, Element<E>* y,
                         const In*... x) {
  if (!stream && cols >= Step<E>::kLanes) {
    const auto op_of = [&](size_t r) HWY_ATTR { return coefficient(c, first + r); };
    return map_joined_rows<E>(rows, cols, op_of, y, x...);
  }
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

// The coefficients of a step from number `at` on.
template <class E, class Arrays>
HWY_INLINE auto coefficients_of_step(const Arrays& c, size_t at) {
  if constexpr (kIsHalf<E>) {
    const auto split = [at](const float* p) HWY_ATTR {
      Two v;
      E::split_two(p + at, v.first, v.second);
      return v;
    };
    return on_two(c, split);
  } else {
    return coefficients(c, at);
  }
}

// Four whole periods side by side, or two long ones, which share what is loaded of the coefficients, as often
// as they fit; returns how many elements that is. The lines of the next ones are fetched; of rows of a page,
// for all of which the L1 cache has no places, those close ahead in the same ones. All are loaded before one
// is stored: rows of 4 KiB would else meet the stores of their neighbours, which have the same low bits of
// the address.
template <class E, bool kLong, class Arrays, class... In>
HWY_INLINE size_t map_periods(size_t n, size_t first, size_t period, const Arrays& c, Element<E>* y,
                              const In*... x) {
  constexpr size_t kRows = kLong ? 2 : 4, kClose = 256 / sizeof(*y);
  size_t i = 0;
  for (; i + kRows * period <= n; i += kRows * period) {
    for (size_t j = 0; j < period; j += Step<E>::kLanes) {
      const auto op = coefficients_of_step<E>(c, first + j);
      typename Step<E>::Result v[kRows];
      for (size_t k = 0; k < kRows; ++k) v[k] = Step<E>::calculate(op, x + i + j + k * period...);
      for (size_t k = 0; k < kRows; ++k)
        fetch_to_write(y + i + j + (kLong ? k * period + kClose : (kRows + k) * period));
      for (size_t k = 0; k < kRows; ++k) Step<E>::put(v[k], y + i + j + k * period);
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
  if (!streams && period % Step<E>::kLanes == 0) {
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

// f(v) = v where it passed, which is where not v <= 0 (NaN goes through), else slope·v, and +0.0 at slope 0,
// for -Inf too.
template <class T>
struct Activation {
  using D = Tag<T>;
  HWY_INLINE explicit Activation(T slope)
      : factor(hn::Set(D(), slope)), leaks(hn::Ne(factor, hn::Zero(D()))) {}
  HWY_INLINE auto passes(V<D> v) const { return hn::Not(hn::Le(v, hn::Zero(D()))); }
  HWY_INLINE V<D> operator()(V<D> v, hn::Mask<D> passed) const {
    return hn::IfThenElse(passed, v, hn::IfThenElseZero(leaks, hn::Mul(v, factor)));
  }
  V<D> factor;
  hn::Mask<D> leaks;
};

// What lies i elements behind p, where there is something.
template <class T>
HWY_INLINE T* behind(T* p, size_t i) {
  return p != nullptr ? p + i : nullptr;
}

// As many vectors as have whole bytes of bits.
template <class T>
struct Octets {
  static constexpr size_t N = hn::MaxLanes(Tag<T>()), kLanes = HWY_MAX(8, N), kVectors = kLanes / N;
  V<Tag<T>> v[kVectors];
  uint32_t bits = 0;
};

// y = f(op(x) + residual) for n elements, of which `positive` takes a bit each. kFetch: y is memory, not a
// buffer in the first cache.
template <bool kFetch, class T, class Op>
HWY_INLINE void activate_row(const T* x, const T* residual, T* y, size_t n, const Op& op,
                             const Activation<T>& f, uint8_t* positive) {
  const Tag<T> d;
  using Some = Octets<T>;
  constexpr size_t N = Some::N, kLanes = Some::kLanes;
  const auto calculate = [&](const T* p, const T* r) HWY_ATTR {
    Some some;
    for (size_t k = 0; k < kLanes; k += N) {
      auto v = op(hn::LoadU(d, p + k));
      if (r != nullptr) v = hn::Add(v, hn::LoadU(d, r + k));
      const auto passed = f.passes(v);
      uint8_t bits[8];
      hn::StoreMaskBits(d, passed, bits);
      some.bits |= static_cast<uint32_t>(N > 8 ? bits[0] | bits[1] << 8 : bits[0] << k);
      some.v[k / N] = f(v, passed);
    }
    return some;
  };
  const auto at = [&](size_t i) HWY_ATTR { return calculate(x + i, behind(residual, i)); };
  const auto store = [&](const Some& some, T* to) HWY_ATTR {
    for (size_t k = 0; k < kLanes; k += N) hn::StoreU(some.v[k / N], d, to + k);
  };
  const auto keep = [&](uint32_t bits, size_t i) HWY_ATTR {
    if (positive == nullptr) return;
    positive[i / 8] = static_cast<uint8_t>(bits);
    if (kLanes > 8 && i + 8 < n) positive[i / 8 + 1] = static_cast<uint8_t>(bits >> 8);
  };
  if (n < kLanes) {
    T some_x[kLanes] = {}, some_residual[kLanes] = {}, some_y[kLanes];
    memcpy(some_x, x, n * sizeof(T));
    if (residual != nullptr) memcpy(some_residual, residual, n * sizeof(T));
    const Some some = calculate(some_x, residual != nullptr ? some_residual : nullptr);
    store(some, some_y);
    memcpy(y, some_y, n * sizeof(T));
    if (n != 0) keep(some.bits & ((1u << n) - 1), 0);
    return;
  }
  // y may be x or residual: the last ones, which overlap others, are computed before anything is written.
  const size_t rest = n % kLanes, whole = n - rest;
  Some last{};
  if (rest != 0) last = at(n - kLanes);
  for (size_t i = 0; i < whole; i += kLanes) {
    if (kFetch) fetch_to_write(y + i + kWriteAhead<T>);
    const Some some = at(i);
    store(some, y + i);
    keep(some.bits, i);
  }
  if (rest == 0) return;
  store(last, y + n - kLanes);
  keep(last.bits >> (kLanes - rest), whole);  // no bits behind the last
}

// What EpiloguePiece says of op(x), over one row of it.
template <class T, class Op>
HWY_INLINE void finish_row(const T* x, T* y, size_t n, const Op& op, const EpiloguePiece<T>& e, size_t row,
                           bool stream) {
  const Tag<T> d;
  const T* const residual = behind(e.residual, row * n);
  if (e.linear) {
    const auto sum = [op](auto v, auto r) HWY_ATTR { return hn::Add(op(v), r); };
    return map_unfenced(d, n, stream, sum, y, x, residual);
  }
  const Activation<T> f(e.slope);
  uint8_t* const positive = behind(e.positive, row * e.bit_row_bytes);
  if (!stream) return activate_row<true>(x, residual, y, n, op, f, positive);
  // Vectors begin where the row and its bits do, streaming stores where a line does.
  constexpr size_t kPart = 1024;
  HWY_ALIGN T part[kPart];
  for (size_t i = 0; i < n; i += kPart) {
    const size_t some = HWY_MIN(kPart, n - i);
    activate_row<false>(x + i, behind(residual, i), part, some, op, f, behind(positive, i / 8));
    map_unfenced(d, some, true, [](auto v) HWY_ATTR { return v; }, y + i, part);
  }
}

// The affine function and the epilogue of rows, of which row r is of channel `first` + r.
template <class T>
void apply_epilogue(const T* x, T* y, size_t rows, size_t cols, const AffineArrays<const T>& c, size_t first,
                    const EpiloguePiece<T>& e, bool stream) {
  for (size_t r = 0; r < rows; ++r) {
    finish_row(x + r * cols, y + r * cols, cols, coefficient(c, first + r), e, r, stream);
  }
}

// The epilogue alone, of one row.
template <class T>
void activate(const T* v, T* y, size_t n, const EpiloguePiece<T>& e, bool stream) {
  finish_row(v, y, n, [](auto a) HWY_ATTR { return a; }, e, 0, stream);
}

// One row of a GatePiece.
template <class T>
HWY_INLINE void gate_row(const T* dy, const uint8_t* positive, size_t first, T* g, size_t n, T slope) {
  const Tag<T> d;
  constexpr size_t N = hn::MaxLanes(d);
  const Activation<T> f(slope);
  const auto mask_at = [&](size_t bit) HWY_ATTR {
    uint64_t bits;
    memcpy(&bits, positive + bit / 8, sizeof(bits));
    bits >>= bit % 8;
    return hn::LoadMaskBits(d, reinterpret_cast<const uint8_t*>(&bits));
  };
  // g may be dy: the last vector, which overlaps another, is computed before anything is written.
  const bool has_last = n >= N && n % N != 0;
  auto last = hn::Zero(d);
  if (has_last) last = f(hn::LoadU(d, dy + n - N), mask_at(first + n - N));
  size_t i = 0;
  if (N >= 8 && first % 8 == 0) {
    for (; i + N <= n; i += N) {
      const auto passed = hn::LoadMaskBits(d, positive + (first + i) / 8);
      hn::StoreU(f(hn::LoadU(d, dy + i), passed), d, g + i);
    }
  } else {
    for (; i + N <= n; i += N) hn::StoreU(f(hn::LoadU(d, dy + i), mask_at(first + i)), d, g + i);
  }
  if (has_last) {
    hn::StoreU(last, d, g + n - N);
  } else if (i != n) {
    store_partial(f(load_partial(d, dy + i, n - i), mask_at(first + i)), d, g + i, n - i);
  }
}

// Calculates a row of g where it is asked for.
template <class T>
struct GatedRows {
  ChannelRows<T> dy;
  const GatePiece<T>& of;
  HWY_INLINE const T* at(size_t r, size_t c) const {
    const auto row = static_cast<ptrdiff_t>(r), channel = static_cast<ptrdiff_t>(c);
    T* const g = of.g + row * of.step + channel * of.channel_step;
    const uint8_t* const bits = of.positive.data + row * of.positive.stride + channel * of.channel_bits;
    if (of.step != 0 && dy.cols <= kShortRow) {
      for (size_t j = 0; j < dy.cols; j += 64 / sizeof(T)) fetch_to_write(g + of.step + j);
    }
    gate_row(dy.at(r, c), bits, of.first, g, dy.cols, of.slope);
    return g;
  }
  HWY_INLINE const T* ahead(size_t r, size_t c) const { return dy.ahead(r, c); }
};

// The rows of g alone, at the steps that `of` says.
template <class T>
void gate(const GatePiece<T>& of, size_t rows, size_t cols) {
  const GatedRows<T> gated{{of.dy, 1, rows, cols}, of};
  for (size_t r = 0; r < rows; ++r) gated.at(r, 0);
}

// And the sums of neighbouring channels: each row of g is added while it is in the L1 cache.
template <class T>
void gated_gradient_sums(RowsOf<T> x, const GatePiece<T>& of, size_t channels, size_t rows, size_t cols,
                         const T* mean, double* sum, double* sum_dev) {
  const GatedRows<T> gated{{of.dy, channels, rows, cols}, of};
  sum_gradient<T>(ChannelRows<T>{x, channels, rows, cols}, gated, mean, sum, sum_dev);
}

}  // namespace norm
}  // namespace HWY_NAMESPACE
}  // namespace regkern
HWY_AFTER_NAMESPACE();

#endif  // REGKERN_KERNELS_NORM_PASSES_INL_H_
