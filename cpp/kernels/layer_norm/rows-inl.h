// What the normalization of rows shares: sums over a row, and passes over rows that lie far away.
//
// Sums of a row run in kRowLanes lanes of the dtype, whatever the vector width, so every instruction set adds
// the same numbers in the same order; a lane adds its terms in pairs.

#if defined(REGKERN_KERNELS_LAYER_NORM_ROWS_INL_H_) == defined(HWY_TARGET_TOGGLE)
#ifdef REGKERN_KERNELS_LAYER_NORM_ROWS_INL_H_
#undef REGKERN_KERNELS_LAYER_NORM_ROWS_INL_H_
#else
#define REGKERN_KERNELS_LAYER_NORM_ROWS_INL_H_
#endif

#include "kernels/elements-inl.h"
#include "kernels/layer_norm/rows.h"

HWY_BEFORE_NAMESPACE();
namespace regkern {
namespace HWY_NAMESPACE {
namespace layer_norm {

// Stores numbers in the dtype, and returns what is left of them there.
HWY_INLINE V<D64> store_rounded(V<D64> v, double* to) {
  hn::StoreU(v, D64(), to);
  return v;
}
HWY_INLINE V<D64> store_rounded(V<D64> v, float* to) {
  const hn::Rebind<float, D64> d;
  const auto rounded = hn::DemoteTo(d, v);
  hn::StoreU(rounded, d, to);
  return hn::PromoteTo(D64(), rounded);
}

// Those of a gamma, of which nullptr is 1.
template <class T>
MagnitudeRange magnitudes(const T* v, size_t n) {
  if (v == nullptr) return {};
  const Tag<T> d;
  const size_t N = hn::Lanes(d);
  const auto none = hn::Inf(d);
  auto least = none, most = hn::Zero(d);
  auto infinite = hn::FirstN(d, 0);
  const auto take = [&](auto some) HWY_ATTR {
    const auto size = hn::Abs(some);
    const auto counts = hn::And(hn::Gt(size, hn::Zero(d)), hn::Lt(size, none));
    least = hn::Min(least, hn::IfThenElse(counts, size, none));
    most = hn::Max(most, hn::IfThenElseZero(counts, size));
    infinite = hn::Or(infinite, hn::Eq(size, none));
  };
  size_t i = 0;
  for (; i + N <= n; i += N) take(hn::LoadU(d, v + i));
  if (i < n) take(load_partial(d, v + i, n - i));
  const bool has_infinite = !hn::AllFalse(d, infinite);
  const double largest = static_cast<double>(hn::GetLane(hn::MaxOfLanes(d, most)));
  if (largest == 0) return {.has_infinite = has_infinite};
  return {static_cast<double>(hn::GetLane(hn::MinOfLanes(d, least))), largest, has_infinite};
}

// How many rows there are before the first that is not usual.
inline size_t count_usual(const double* invstd, size_t rows, const RowRange& usual) {
  const D64 d;
  const size_t N = hn::Lanes(d);
  const auto least = hn::Set(d, usual.least), most = hn::Set(d, usual.most);
  size_t r = 0;
  for (; r + N <= rows; r += N) {
    const auto v = hn::LoadU(d, invstd + r);
    if (!hn::AllTrue(d, hn::And(hn::Ge(v, least), hn::Le(v, most)))) break;
  }
  while (r < rows && usual(invstd[r])) ++r;
  return r;
}

// How far ahead a sweep fetches the lines that it will read, and those that it will write.
template <class T>
constexpr size_t kNear = 1024 / sizeof(T);

// Fetches the lines a little behind the kRowLanes elements from x on. Reaching past the end of the array is
// harmless. GCC drops calls of lambdas that only fetch, as if they had no effect; a function is inlined
// first.
template <class T>
HWY_INLINE void fetch_near(const T* x) {
  for (size_t i = 0; i < kRowLanes; i += 64 / sizeof(T)) __builtin_prefetch(x + i + kNear<T>, 0, 3);
}

// Adds terms(vectors...) for elements [begin, n) of each input; begin is a multiple of kRowLanes. The last
// kRowLanes are read once more where some of them are left, with `fill` in place of those done, whose terms
// are zeros; rows shorter than that are filled behind their end.
template <class T, size_t kSums, class Op, class... In>
HWY_INLINE void add_row(RowSums<T, kSums>& sums, size_t begin, size_t n, bool fetch, T fill, Op terms,
                        const In*... x) {
  const Tag<T> d;
  const size_t N = hn::Lanes(d);
  constexpr size_t kVectors = RowSums<T, kSums>::kVectors;
  typename RowSums<T, kSums>::Lanes run;
  for (size_t k = 0; k < kVectors; ++k) run[k] = sums.run()[k];
  size_t i = begin;
  for (; i + kRowLanes <= n; i += kRowLanes) {
    if (fetch) (fetch_near(x + i), ...);
    for (size_t k = 0; k < kVectors; ++k) run[k] = run[k] + terms(hn::LoadU(d, x + i + k * N)...);
    sums.done(run);
  }
  for (size_t k = 0; k < kVectors; ++k) sums.run()[k] = run[k];
  if (i == n) return;
  const auto filled = hn::Set(d, fill);
  const auto add = [&](size_t k, auto... v) HWY_ATTR { sums.add(k, terms(v...)); };
  if (n > kRowLanes) {
    const size_t done = kRowLanes - (n - i), at = n - kRowLanes;
    for (size_t k = 0; k < kVectors; ++k) {
      if (done >= (k + 1) * N) continue;
      const auto old = hn::FirstN(d, done > k * N ? done - k * N : 0);
      add(k, hn::IfThenElse(old, filled, hn::LoadU(d, x + at + k * N))...);
    }
  } else {
    for (size_t k = 0; k * N < n; ++k) {
      if ((k + 1) * N <= n) {
        add(k, hn::LoadU(d, x + k * N)...);
      } else {
        const auto real = hn::FirstN(d, n - k * N);
        add(k, hn::IfThenElse(real, load_partial(d, x + k * N, n - k * N), filled)...);
      }
    }
  }
}

// kRowLanes lanes in vectors, folded in halves to four of double; float down to eight before that. All behind
// the first kUsed vectors are zeros: these are as many as are kept, or twice as many, and so on.
template <class T, size_t kUsed = kRowLanes / hn::MaxLanes(Tag<T>())>
class FourLanes {
 public:
  static constexpr size_t kKept = HWY_MAX(size_t{1}, (sizeof(T) == 8 ? 4 : 8) / hn::MaxLanes(Tag<T>()));
  HWY_INLINE explicit FourLanes(V<Tag<T>>* s) {
    constexpr size_t kLanes = hn::MaxLanes(Tag<T>());
    for (size_t half = kUsed / 2; half >= kKept; half /= 2) {
      for (size_t k = 0; k < half; ++k) s[k] = hn::Add(s[k], s[k + half]);
    }
    const hn::Half<Tag<T>> half;
    if constexpr (sizeof(T) == 8 && kLanes > 4) {
      v_[0] = hn::Add(hn::LowerHalf(half, s[0]), hn::UpperHalf(half, s[0]));
    } else if constexpr (sizeof(T) == 8) {
      for (size_t k = 0; k < kParts; ++k) v_[k] = s[k];
    } else if constexpr (kLanes > 8) {
      const hn::Half<decltype(half)> quarter;
      const auto eight = hn::Add(hn::LowerHalf(half, s[0]), hn::UpperHalf(half, s[0]));
      v_[0] = hn::Add(promote(hn::LowerHalf(quarter, eight)), promote(hn::UpperHalf(quarter, eight)));
    } else if constexpr (kLanes == 8) {
      v_[0] = hn::Add(promote(hn::LowerHalf(half, s[0])), promote(hn::UpperHalf(half, s[0])));
    } else {
      v_[0] = hn::Add(promote(hn::LowerHalf(half, s[0])), promote(hn::LowerHalf(half, s[1])));
      v_[1] = hn::Add(promote(hn::UpperHalf(half, s[0])), promote(hn::UpperHalf(half, s[1])));
    }
  }
  HWY_INLINE void store(double* four) const {
    for (size_t k = 0; k < kParts; ++k) hn::StoreU(v_[k], D(), four + k * hn::MaxLanes(D()));
  }

 private:
  using D = hn::CappedTag<double, 4>;
  static constexpr size_t kParts = 4 / hn::MaxLanes(D());
  template <class Vec>
  static HWY_INLINE V<D> promote(Vec v) {
    return hn::PromoteTo(D(), v);
  }
  V<D> v_[kParts];
};

// What four lanes add up to.
HWY_INLINE double total_of_four(const double* v) { return (v[0] + v[2]) + (v[1] + v[3]); }

// The same for as many rows as a vector has lanes, whose fours lie one behind the other.
HWY_INLINE V<D64> total_of_fours(const double* fours) {
  V<D64> v0, v1, v2, v3;
  hn::LoadInterleaved4(D64(), fours, v0, v1, v2, v3);
  return hn::Add(hn::Add(v0, v2), hn::Add(v1, v3));
}

// terms(vectors...) of vector k of two in each of kChunks chunks, added in pairs.
template <class E, size_t k, size_t kChunks, class Op, class... In>
HWY_INLINE auto pairwise(Op terms, const In*... x) {
  if constexpr (kChunks == 1) {
    return terms(load_of_two<E, k>(x)...);
  } else {
    constexpr size_t kHalf = kChunks / 2, kBehind = kHalf * kRowLanes;
    return pairwise<E, k, kHalf>(terms, x...) + pairwise<E, k, kHalf>(terms, (x + kBehind)...);
  }
}

// The terms of a vector and of the next.
template <class T, size_t kSums>
HWY_INLINE Terms<T, 2 * kSums> both(const Terms<T, kSums>& first, const Terms<T, kSums>& second) {
  Terms<T, 2 * kSums> all;
  for (size_t s = 0; s < kSums; ++s) all.v[s] = first.v[s], all.v[kSums + s] = second.v[s];
  return all;
}

// terms(vectors...) of vector k of two, of the elements behind the first `old`.
template <class E, size_t k, class Op, class... In>
HWY_INLINE auto terms_behind(size_t old, Wide<E> fill, Op terms, const In*... x) {
  const auto filled = hn::Set(Tag<Wide<E>>(), fill);
  const auto is_old = first_of_two<E, k>(old);
  return terms(hn::IfThenElse(is_old, filled, load_of_two<E, k>(x))...);
}

// sum_row for a row of at most kUsed vectors of lanes.
template <class E, size_t kSums, size_t kUsed, class Op, class... In>
HWY_INLINE void sum_few(size_t n, Wide<E> fill, Op terms, double* const (&fours)[kSums], const In*... x) {
  using T = Wide<E>;
  constexpr size_t N = hn::MaxLanes(Tag<T>());
  if constexpr (kUsed * N < kRowLanes) {
    if (n > kUsed * N) return sum_few<E, kSums, 2 * kUsed>(n, fill, terms, fours, x...);
  }
  const Tag<T> d;
  V<Tag<T>> lanes[kSums][kUsed];
  for (size_t k = 0; k < kUsed; ++k) {
    for (size_t s = 0; s < kSums; ++s) lanes[s][k] = hn::Zero(d);
    const auto add = [&](const Terms<T, kSums>& t) HWY_ATTR {
      for (size_t s = 0; s < kSums; ++s) lanes[s][k] = hn::Add(lanes[s][k], t.v[s]);
    };
    if ((k + 1) * N <= n) {
      add(terms(load_wide<E>(d, x + k * N)...));
    } else if (k * N < n) {
      const auto real = hn::FirstN(d, n - k * N);
      add(terms(hn::IfThenElse(real, load_wide_partial<E>(d, x + k * N, n - k * N), hn::Set(d, fill))...));
    }
  }
  for (size_t s = 0; s < kSums; ++s) FourLanes<T, kUsed>(lanes[s]).store(fours[s]);
}

// The sums that RowSums has of a row of at most kRowBlock elements, to four lanes each, at fours[s]. Two
// vectors of its lanes after the other: their sums stay in registers, and a row shorter than a run needs no
// more. kPairs: the chunks of a run are added in pairs as well. Terms of `fill` are zeros, or NaN where those
// of the row are.
template <class E, size_t kSums, bool kPairs, class Op, class... In>
HWY_INLINE void sum_row(size_t n, bool fetch, Wide<E> fill, Op terms, double* const (&fours)[kSums],
                        const In*... x) {
  using T = Wide<E>;
  constexpr size_t N = hn::MaxLanes(Tag<T>()), kVectors = kRowLanes / N, kRun = kRunTerms * kRowLanes;
  const Tag<T> d;
  if (n <= kRowLanes) {
    for (size_t i = 0; fetch && i < n; i += 64 / sizeof(T))
      (__builtin_prefetch(x + i + kNear<In>, 0, 3), ...);
    return sum_few<E, kSums, FourLanes<T>::kKept>(n, fill, terms, fours, x...);
  }
  const size_t runs = n / kRun, rest = n % kRowLanes, whole = n - rest;
  V<Tag<T>> lanes[kSums][kVectors], level[5][2 * kSums];
  for (size_t k = 0; k < kVectors; k += 2) {
    size_t i = k * N;
    const auto next = [&]() HWY_ATTR {
      if (fetch) (__builtin_prefetch(x + i + kNear<In>, 0, 3), ...);
      const auto t = both(terms(load_of_two<E, 0>(x + i)...), terms(load_of_two<E, 1>(x + i)...));
      i += kRowLanes;
      return t;
    };
    for (size_t r = 0; r < runs; ++r) {
      Terms<T, 2 * kSums> run;
      if constexpr (kPairs) {
        for (size_t c = 0; fetch && c < kRun; c += kRowLanes) {
          (__builtin_prefetch(x + i + c + kNear<In>, 0, 3), ...);
        }
        run =
            both(pairwise<E, 0, kRunTerms>(terms, (x + i)...), pairwise<E, 1, kRunTerms>(terms, (x + i)...));
        i += kRun;
      } else {
        run = next();
        for (size_t c = 1; c < kRunTerms; ++c) run = run + next();
      }
      size_t l = 0;
      for (; (r >> l & 1) != 0; ++l) {
        for (size_t s = 0; s < 2 * kSums; ++s) run.v[s] = hn::Add(level[l][s], run.v[s]);
      }
      for (size_t s = 0; s < 2 * kSums; ++s) level[l][s] = run.v[s];
    }
    Terms<T, 2 * kSums> all;
    for (size_t s = 0; s < 2 * kSums; ++s) all.v[s] = hn::Zero(d);
    while (i < whole) all = all + next();
    if (const size_t done = kRowLanes - rest; done < (k + 2) * N) {
      const size_t at = n - kRowLanes + k * N, old = done > k * N ? done - k * N : 0;
      all = all + both(terms_behind<E, 0>(old, fill, terms, (x + at)...),
                       terms_behind<E, 1>(old, fill, terms, (x + at)...));
    }
    for (size_t l = 0; runs >> l != 0; ++l) {
      if ((runs >> l & 1) == 0) continue;
      for (size_t s = 0; s < 2 * kSums; ++s) all.v[s] = hn::Add(level[l][s], all.v[s]);
    }
    for (size_t s = 0; s < kSums; ++s) {
      if constexpr (kIsHalf<E>) E::in_order(all.v[s], all.v[kSums + s]);
      lanes[s][k] = all.v[s], lanes[s][k + 1] = all.v[kSums + s];
    }
  }
  for (size_t s = 0; s < kSums; ++s) FourLanes<T>(lanes[s]).store(fours[s]);
}

// y[i] = op(x[i]...) for less than a cache line of elements.
template <class Op, class T, class... In>
HWY_INLINE void map_few(size_t n, Op op, T* y, const In*... x) {
  const Tag<T> d;
  const size_t N = hn::Lanes(d);
  size_t i = 0;
  for (; i + N <= n; i += N) hn::StoreU(op(hn::LoadU(d, x + i)...), d, y + i);
  if (i < n) store_partial(op(load_partial(d, x + i, n - i)...), d, y + i, n - i);
}

// map_unfenced for rows beyond the second cache: lines of y are fetched to be written a little ahead of the
// stores, and, where `ahead` is not 0, the elements of x so far ahead, which the sums of the next rows will
// read. A sweep that writes then does not wait for the lines it overwrites, nor one that reads for the last
// cache: 0.36 in place of 0.44 ns an element.
template <class Op, class T, class... In>
HWY_INLINE void map_far(size_t n, bool stream, size_t ahead, Op op, T* y, const T* x, const In*... more) {
  const Tag<T> d;
  constexpr size_t kLine = 64 / sizeof(T), N = hn::MaxLanes(d);
  size_t i = HWY_MIN(n, (kLine - reinterpret_cast<uintptr_t>(y) % 64 / sizeof(T)) % kLine);
  map_few(i, op, y, x, more...);
  const auto lines = [&](auto store, auto fetch) HWY_ATTR {
    for (; i + kLine <= n; i += kLine) {
      if (ahead != 0) __builtin_prefetch(x + i + ahead, 0, 2);
      fetch(y + i);
      for (size_t k = i; k < i + kLine; k += N)
        store(op(hn::LoadU(d, x + k), hn::LoadU(d, more + k)...), y + k);
    }
  };
  if (stream) {
    lines([&](auto v, T* p) HWY_ATTR { hn::Stream(v, d, p); }, [](T*) HWY_ATTR {});
  } else {
    lines([&](auto v, T* p) HWY_ATTR { hn::StoreU(v, d, p); },
          [](T* p) HWY_ATTR { fetch_to_write(p + kNear<T>); });
  }
  map_few(n - i, op, y + i, x + i, (more + i)...);
}

template <class Op, class T, class... In>
HWY_INLINE void map_row(const RowAffine<T>& s, size_t ahead, size_t n, Op op, T* y, const T* x,
                        const In*... more) {
  if (s.far) {
    map_far(n, s.stream, ahead, op, y, x, more...);
  } else {
    map_unfenced(Tag<T>(), n, s.stream, op, y, x, more...);
  }
}

// y = op_of(p)(x...) for the elements of each of some planes of n elements, which lie without gaps. They are
// written as one run where the ends of that are little of it.
template <class E, class OpOf, class... In>
HWY_INLINE void map_planes(const RowAffine<Wide<E>>& s, size_t ahead, size_t planes, size_t n, OpOf op_of,
                           Element<E>* y, const In*... x) {
  const bool one_run = !s.stream && n >= Step<E>::kLanes;
  if (one_run && (planes >= 4 || (kIsHalf<E> && n >= 512)))
    return map_joined_rows<E>(planes, n, op_of, y, x...);
  for (size_t p = 0, at = 0; p < planes; ++p, at += n) {
    if constexpr (kIsHalf<E>) {
      map_halves<E>(n, s.stream, Step<E>::op(op_of, p), y + at, (x + at)...);
    } else {
      map_row(s, ahead, n, op_of(p), y + at, (x + at)...);
    }
  }
}

// A coefficient as the operations on E want it: one that is NaN has nothing in its lower half.
template <class E>
HWY_INLINE Wide<E> coefficient(double v) {
  const auto c = static_cast<Wide<E>>(v);
  return kIsHalf<E> && c != c ? std::numeric_limits<Wide<E>>::quiet_NaN() : c;
}

}  // namespace layer_norm
}  // namespace HWY_NAMESPACE
}  // namespace regkern
HWY_AFTER_NAMESPACE();

#endif  // REGKERN_KERNELS_LAYER_NORM_ROWS_INL_H_
