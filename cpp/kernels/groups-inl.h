// Scaling groups of elements by a function of their Euclidean norm.
//
// Norms are sums of squares in 16 lanes of double, so the bits are those of any instruction set and float32
// data neither overflows nor vanishes. Float64 data whose squares do is scaled first. A threshold of Inf
// gives +0.0 for Inf too; NaN stays in its group.

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
namespace groups {

using prox::soft_threshold;

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

// Σ s² of as many small groups as a vector has lanes, added in the order of sum_squares: its loops with
// vectors in place of numbers. One element of each group is gathered at a time.
HWY_INLINE V<D64> sum_squares_side_by_side(const float* x, size_t size, float soft) {
  const D64 d;
  const hn::Rebind<float, D64> df;
  const hn::Rebind<int32_t, D64> di;
  const auto t = hn::Set(d, static_cast<double>(soft));
  const auto at = hn::Mul(hn::Iota(di, 0), hn::Set(di, static_cast<int32_t>(size)));
  V<D64> s[kSumLanes];
  for (size_t i = 0; i < size; ++i) {
    const auto v = soft_threshold(hn::PromoteTo(d, hn::GatherIndex(df, x + i, at)), t);
    s[i] = hn::Mul(v, v);
  }
  for (size_t half = kSumLanes / 2; half != 0; half /= 2) {
    for (size_t i = 0; i < half && i + half < size; ++i) s[i] = hn::Add(s[i], s[i + half]);
  }
  return s[0];
}

// Lane i of the result is fold(v[i]): its additions, for two vectors at a time.
template <size_t N>
HWY_INLINE V<D64> fold_together(V<D64>* v) {
  const D64 d;
  for (size_t k = 0; k < N / 2; ++k) {
    const auto a = v[k], b = v[k + N / 2];
    if constexpr (N == 2) {
      v[k] = hn::Add(hn::InterleaveLower(d, a, b), hn::InterleaveUpper(d, a, b));
    } else if constexpr (N < hn::MaxLanes(D64())) {
      v[k] = hn::Add(hn::OddEvenBlocks(hn::SwapAdjacentBlocks(b), a),
                     hn::OddEvenBlocks(b, hn::SwapAdjacentBlocks(a)));
    } else {
      v[k] = hn::Add(hn::ConcatLowerLower(d, b, a), hn::ConcatUpperUpper(d, b, a));
    }
  }
  if constexpr (N > 2) return fold_together<N / 2>(v);
  return v[0];
}

// Σ s² of as many groups as a vector has lanes, of kSumLanes elements or more: each as sum_squares has it,
// but without a number on its own, whose way through memory to the vector of roots would be long.
HWY_INLINE V<D64> sum_squares_together(const float* x, size_t size, float soft) {
  const D64 d;
  constexpr size_t N = hn::MaxLanes(D64());
  const auto t = hn::Set(d, static_cast<double>(soft));
  V<D64> v[N];
  for (size_t g = 0; g < N; ++g) {
    SumLanes s;
    const auto add = [&](const float* p) HWY_ATTR {
      for (size_t k = 0; k < kSumVectors; ++k) {
        auto e = load_double(d, p + k * N);
        if (soft != 0) e = soft_threshold(e, t);
        s.lanes[k] = hn::MulAdd(e, e, s.lanes[k]);
      }
    };
    const float* const group = x + g * size;
    size_t i = 0;
    for (; i + kSumLanes <= size; i += kSumLanes) {
      hwy::Prefetch(group + N * size + i);
      add(group + i);
    }
    if (i < size) {
      float rest[kSumLanes] = {};
      memcpy(rest, group + i, (size - i) * sizeof(float));
      add(rest);
    }
    for (size_t half = kSumVectors / 2; half != 0; half /= 2) {
      for (size_t k = 0; k < half; ++k) s.lanes[k] = hn::Add(s.lanes[k], s.lanes[k + half]);
    }
    v[g] = s.lanes[0];
  }
  if constexpr (N > 1) return fold_together<N>(v);
  return v[0];
}

// What to multiply groups of these norms by.
template <class D>
HWY_INLINE V<D> factors_of(D d, V<D> norm, V<D> t, bool ball) {
  const auto ratio = hn::Div(t, norm), one = hn::Set(d, 1.0);
  const auto within = hn::Le(norm, t);
  return ball ? hn::IfThenElse(within, one, ratio) : hn::IfThenZeroElse(within, hn::Sub(one, ratio));
}

template <class T>
T group_factor(double norm, double t, bool ball) {
  const hn::CappedTag<double, 1> d;
  return static_cast<T>(hn::GetLane(factors_of(d, hn::Set(d, norm), hn::Set(d, t), ball)));
}

template <class D>
HWY_INLINE V<D> scale_by(D d, V<D> x, V<D> factor) {
  return hn::IfThenZeroElse(hn::Eq(factor, hn::Zero(d)), hn::Add(hn::Mul(x, factor), hn::Zero(d)));
}

// A factor of 0 clears Inf too where the prox has an infinite threshold; a ball makes NaN of Inf.
template <class T>
void scale(const T* x, T* y, size_t n, T factor, bool ball, bool stream) {
  const Tag<T> d;
  const auto f = hn::Set(d, factor);
  if (ball) {
    map(d, n, stream, [d, f](auto v) HWY_ATTR { return hn::Add(hn::Mul(v, f), hn::Zero(d)); }, y, x);
  } else {
    map(d, n, stream, [d, f](auto v) HWY_ATTR { return scale_by(d, v, f); }, y, x);
  }
}

HWY_INLINE void store_rounded(D64 d, V<D64> v, double* p) { hn::StoreU(v, d, p); }
HWY_INLINE void store_rounded(D64, V<D64> v, float* p) {
  const hn::Rebind<float, D64> d;
  hn::StoreU(hn::DemoteTo(d, v), d, p);
}

constexpr size_t kGroupRoom =
    512;  // elements worked off at once: their stores drain while the next are summed

// The factors of up to kGroupRoom groups.
template <class T>
HWY_INLINE void find_factors(const T* x, size_t groups, size_t size, const T* weights,
                             const GroupRule<T>& rule, T* factors) {
  const D64 d;
  constexpr size_t N = hn::MaxLanes(D64());
  HWY_ALIGN double norms[kGroupRoom + N], thresholds[kGroupRoom + N];
  size_t together = 0;  // groups whose norms are taken N at a time
  if constexpr (sizeof(T) == 4) {
    // Gathers are slow: from 8 elements on, one group after another is faster, unless each needs a threshold.
    if (size < 8 || (size < kSumLanes && rule.soft != 0)) {
      for (; together + N <= groups; together += N) {
        hn::Store(sum_squares_side_by_side(x + together * size, size, rule.soft), d, norms + together);
      }
    } else if (size >= kSumLanes) {
      for (; together + N <= groups; together += N) {
        hn::Store(sum_squares_together(x + together * size, size, rule.soft), d, norms + together);
      }
    }
  }
  for (size_t g = 0; g < groups; ++g) {
    thresholds[g] = weights == nullptr ? rule.threshold : rule.threshold * static_cast<double>(weights[g]);
  }
  if (rule.threshold == __builtin_inf() && weights != nullptr) {  // a weight of 0 frees from it
    for (size_t g = 0; g < groups; ++g) thresholds[g] = weights[g] == 0 ? 0.0 : thresholds[g];
  }
  for (size_t g = together; g < groups; ++g) {
    const T* const group = x + g * size;
    // Squares of float32 stay in the range of float64; their roots are taken together.
    norms[g] = sizeof(T) == 4
                   ? sum_squares(group, size, rule.soft, 1.0)
                   : norm_of([&](double c) HWY_ATTR { return sum_squares(group, size, rule.soft, c); });
  }
  for (size_t g = groups; g < groups + N; ++g) norms[g] = thresholds[g] = 1;
  for (size_t g = 0; g < groups; g += N) {
    const auto v = hn::Load(d, norms + g);
    const auto norm = sizeof(T) == 4 ? hn::Sqrt(v) : v;
    store_rounded(d, factors_of(d, norm, hn::Load(d, thresholds + g), rule.ball), factors + g);
  }
}

// y = apply(x, factor of its group) for groups of `size` neighbours. Those that fit are worked off many at a
// time: their factors are spread to one an element, so that one pass streams over all of them.
template <class T, class Apply>
HWY_INLINE void scale_groups_by(const T* x, T* y, size_t groups, size_t size, const T* weights,
                                const GroupRule<T>& rule, bool stream, Apply apply) {
  const Tag<T> d;
  constexpr size_t kLine = 64 / sizeof(T);
  HWY_ALIGN T each[kGroupRoom + kLine];
  if (size > kGroupRoom) {
    for (size_t g = 0; g < groups; ++g) {
      find_factors(x + g * size, 1, size, weights == nullptr ? nullptr : weights + g, rule, each);
      const auto factor = hn::Set(d, each[0]);
      map_unfenced(
          d, size, stream, [&](auto v) HWY_ATTR { return apply(v, factor); }, y + g * size, x + g * size);
    }
    return;
  }
  HWY_ALIGN T buffer[kLine + kGroupRoom + hn::MaxLanes(d)];
  T* const spread = buffer + kLine;
  const size_t at_once = kGroupRoom / size;
  size_t done = 0, ahead = 0;  // elements written; factors known beyond them, which stand before `spread`
  for (size_t first = 0; first < groups; first += at_once) {
    const size_t count = HWY_MIN(at_once, groups - first);
    for (size_t i = 0; i < at_once * size; i += kLine) hwy::Prefetch(x + (first + at_once) * size + i);
    find_factors(x + first * size, count, size, weights == nullptr ? nullptr : weights + first, rule, each);
    for (size_t g = 0; g < count; ++g) {  // a whole vector may reach into the next group, whose turn comes
      const auto factor = hn::Set(d, each[g]);
      for (size_t i = 0; i < size; i += hn::Lanes(d)) hn::StoreU(factor, d, spread + g * size + i);
    }
    // Streams end with a cache line of y, so that none is written in two parts.
    const size_t known = ahead + count * size;
    const size_t over = reinterpret_cast<uintptr_t>(y + done + known) % 64 / sizeof(T);
    const size_t left = !stream || first + count == groups ? 0 : HWY_MIN(over, known);
    const size_t n = known - left;
    map_unfenced(d, n, stream, apply, y + done, x + done, spread - ahead);
    for (size_t i = left; i != 0; --i) spread[-static_cast<ptrdiff_t>(i)] = spread[count * size - i];
    ahead = left;
    done += n;
  }
}

// The same for groups of whole vectors and a cache line at least. Factors of the next groups are on their way
// while these are multiplied, and stores are aligned: a vector across two groups has a factor of each.
template <class T, class Apply>
HWY_INLINE void scale_even_groups_by(const T* x, T* y, size_t groups, size_t size, const T* weights,
                                     const GroupRule<T>& rule, bool stream, Apply apply) {
  const Tag<T> d;
  const size_t N = hn::Lanes(d);
  constexpr size_t kLine = 64 / sizeof(T), kTogether = hn::MaxLanes(D64());
  HWY_ALIGN T factors[2][kGroupRoom + kTogether];
  const size_t at_once = HWY_MAX(kTogether, kGroupRoom / size / kTogether * kTogether);
  const auto find = [&](size_t first, T* to) HWY_ATTR {
    const size_t count = HWY_MIN(at_once, groups - first);
    find_factors(x + first * size, count, size, weights == nullptr ? nullptr : weights + first, rule, to);
  };
  const size_t n = groups * size;
  // Elements before the first whole line of y, before its first whole vector, and up to its last whole line.
  const size_t lead = (kLine - reinterpret_cast<uintptr_t>(y) % 64 / sizeof(T)) % kLine;
  const size_t past = lead % N, lines = (n - lead) / kLine * kLine;
  const auto put = [&](auto v, size_t i) HWY_ATTR {
    if (stream && i - lead < lines) {
      hn::Stream(v, d, y + i);
    } else {
      hn::StoreU(v, d, y + i);
    }
  };
  find(0, factors[0]);
  const auto at_end = hn::FirstN(d, N - past);
  if (past != 0) store_partial(apply(load_partial(d, x, past), hn::Set(d, factors[0][0])), d, y, past);
  for (size_t first = 0, turn = 0; first < groups; first += at_once, turn ^= 1) {
    const T* const now = factors[turn];
    const T* const next = factors[turn ^ 1];
    if (first + at_once < groups) find(first + at_once, factors[turn ^ 1]);
    const size_t count = HWY_MIN(at_once, groups - first);
    for (size_t g = 0; g < count; ++g) {
      const auto factor = hn::Set(d, now[g]);
      const size_t end = (first + g + 1) * size;
      size_t i = end - size + past;
      for (; i + N <= end; i += N) put(apply(hn::LoadU(d, x + i), factor), i);
      if (past == 0) continue;
      if (end == n) {
        store_partial(apply(load_partial(d, x + i, N - past), factor), d, y + i, N - past);
      } else {
        const auto following = hn::Set(d, g + 1 < count ? now[g + 1] : next[0]);
        put(apply(hn::LoadU(d, x + i), hn::IfThenElse(at_end, factor, following)), i);
      }
    }
  }
}

template <class T, class Apply>
HWY_INLINE void scale_groups_with(const T* x, T* y, size_t groups, size_t size, const T* weights,
                                  const GroupRule<T>& rule, bool stream, Apply apply) {
  if (size % hn::Lanes(Tag<T>()) == 0 && size * sizeof(T) >= 64 && size <= kGroupRoom) {
    scale_even_groups_by(x, y, groups, size, weights, rule, stream, apply);
  } else {
    scale_groups_by(x, y, groups, size, weights, rule, stream, apply);
  }
}

template <class T>
void scale_groups(const T* x, T* y, size_t groups, size_t size, const T* weights, const GroupRule<T>& rule,
                  bool stream) {
  const Tag<T> d;
  bool finite = rule.threshold < __builtin_inf();
  for (size_t g = 0; weights != nullptr && g < groups; ++g) {
    finite &= rule.threshold * static_cast<double>(weights[g]) < __builtin_inf();
  }
  if (rule.soft == 0 && finite) {
    // 0 times what is there is 0: only an infinite threshold or a soft one brings Inf to 0.
    const auto apply = [d](auto v, auto factor) HWY_ATTR { return hn::Add(hn::Mul(v, factor), hn::Zero(d)); };
    scale_groups_with(x, y, groups, size, weights, rule, stream, apply);
  } else {
    const auto soft = hn::Set(d, rule.soft);
    const auto apply = [d, soft](auto v, auto factor)
                           HWY_ATTR { return scale_by(d, soft_threshold(v, soft), factor); };
    scale_groups_with(x, y, groups, size, weights, rule, stream, apply);
  }
  finish_stream(stream);
}

}  // namespace groups
}  // namespace HWY_NAMESPACE
}  // namespace regkern
HWY_AFTER_NAMESPACE();

#endif  // REGKERN_KERNELS_GROUPS_INL_H_
