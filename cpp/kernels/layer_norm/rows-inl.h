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

#include "kernels/layer_norm/rows.h"
#include "kernels/simd-inl.h"

HWY_BEFORE_NAMESPACE();
namespace regkern {
namespace HWY_NAMESPACE {
namespace layer_norm {

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

}  // namespace layer_norm
}  // namespace HWY_NAMESPACE
}  // namespace regkern
HWY_AFTER_NAMESPACE();

#endif  // REGKERN_KERNELS_LAYER_NORM_ROWS_INL_H_
