// What all kernels share: partial vectors, the elementwise loop, and sums over a fixed number of lanes.
// Compiled once per instruction set; see core/dispatch.h.

#if defined(REGKERN_KERNELS_SIMD_INL_H_) == defined(HWY_TARGET_TOGGLE)
#ifdef REGKERN_KERNELS_SIMD_INL_H_
#undef REGKERN_KERNELS_SIMD_INL_H_
#else
#define REGKERN_KERNELS_SIMD_INL_H_
#endif

#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include "hwy/highway.h"
#include "hwy/cache_control.h"

HWY_BEFORE_NAMESPACE();
namespace regkern {
namespace HWY_NAMESPACE {
namespace hn = hwy::HWY_NAMESPACE;

template <class T>
using Tag = hn::ScalableTag<T>;
template <class D>
using V = hn::Vec<D>;

// Whether masked loads leave alone what lies behind the array. AVX2 has them for lanes of four bytes and
// more, of which Highway says nothing.
template <class T>
constexpr bool kMaskedLoads = !HWY_MEM_OPS_MIGHT_FAULT || (HWY_TARGET == HWY_AVX2 && sizeof(T) >= 4);

// The first n < Lanes(d) elements at p, zeros behind them. Elsewhere through a buffer: a detour that for a
// row of 16 elements is most of the time, as the vector has to wait for the parts that it was stored in.
template <class D, class T = hn::TFromD<D>>
HWY_INLINE V<D> load_partial(D d, const T* p, size_t n) {
  if constexpr (kMaskedLoads<T>) {
    return hn::MaskedLoad(hn::FirstN(d, n), d, p);
  } else {
    HWY_ALIGN T buffer[hn::MaxLanes(d)] = {};
    memcpy(buffer, p, n * sizeof(T));
    return hn::Load(d, buffer);
  }
}

template <class D, class T = hn::TFromD<D>>
HWY_INLINE void store_partial(V<D> v, D d, T* p, size_t n) {
#if HWY_MEM_OPS_MIGHT_FAULT
  HWY_ALIGN T buffer[hn::MaxLanes(d)];
  hn::Store(v, d, buffer);
  memcpy(p, buffer, n * sizeof(T));
#else
  hn::BlendedStore(v, hn::FirstN(d, n), d, p);
#endif
}

// How far ahead memory is fetched that no cache holds: the hardware's prefetcher stops at the end of a page.
template <class T>
constexpr size_t kAhead = 4096 / sizeof(T);

// Fetches the line of p for a store, so that it comes once. The builtin means that only where the whole build
// may use the instruction, and else reads the line; every x86-64-v2 processor knows it or takes it for no
// operation.
HWY_INLINE void fetch_to_write(const void* p) {
#if HWY_ARCH_X86
  asm volatile("prefetchw %0" : : "m"(*static_cast<const char*>(p)));
#elif HWY_COMPILER_GCC || HWY_COMPILER_CLANG
  __builtin_prefetch(p, 1, 2);
#endif
}

// How far ahead of a store the lines of a result are fetched, where it comes in pieces that the hardware's
// prefetcher does not follow: from the third cache a pass of 12 bytes an element takes .85 of its time.
template <class T>
constexpr size_t kWriteAhead = 1024 / sizeof(T);

// y[i] = op(x[i]...) for n elements. y is one of the inputs or disjoint from all of them; `stream` (only if
// disjoint) writes around the cache, all but the lines at the two ends. Else the rest is done by one more
// whole vector that ends at the last element. Streamed results are visible to others after a fence
// (finish_stream), which is too dear for every row.
template <class D, class Op, class T = hn::TFromD<D>, class... In>
HWY_INLINE void map_unfenced(D d, size_t n, bool stream, Op op, T* y, const In*... x) {
  const size_t N = hn::Lanes(d);
  if (n < N) {
    if (n != 0) store_partial(op(load_partial(d, x, n)...), d, y, n);
    return;
  }
  const bool in_place = ((static_cast<const void*>(x) == static_cast<const void*>(y)) || ...);
  size_t i = 0;
  const auto plain = [&](size_t end) HWY_ATTR {
    for (; i + N <= end; i += N) hn::StoreU(op(hn::LoadU(d, x + i)...), d, y + i);
  };
  if (stream && !in_place) {
    // No line is written both ways: that would cost a row of a thousand elements as much as all else
    // together.
    constexpr size_t kLine = 64 / sizeof(T);
    const auto until = [&](size_t end) HWY_ATTR {
      plain(end);
      if (i < end) store_partial(op(load_partial(d, x + i, end - i)...), d, y + i, end - i);
      i = end;
    };
    until(HWY_MIN(n, (kLine - reinterpret_cast<uintptr_t>(y) % 64 / sizeof(T)) % kLine));
    for (; i + kLine <= n; i += kLine) {
      (hwy::Prefetch(x + i + kAhead<T>), ...);
      for (size_t k = i; k < i + kLine; k += N) hn::Stream(op(hn::LoadU(d, x + k)...), d, y + k);
    }
    return until(n);
  }
  // From the first whole vector of y's own alignment on: a vector across two lines is stored twice. The ends
  // are whole vectors too, computed before anything is written, since y may be an input, and stored last:
  // under a mask, planes of 8 × 8 took 1.7 times as long.
  const size_t past = reinterpret_cast<uintptr_t>(y) % (N * sizeof(T)) / sizeof(T);
  i = past != 0 && n >= 4 * N ? N - past : 0;
  const bool has_first = i != 0, has_last = (n - i) % N != 0;
  auto first = hn::Zero(d), last = first;
  if (has_first) first = op(hn::LoadU(d, x)...);
  if (has_last) last = op(hn::LoadU(d, x + n - N)...);
  // One stored before the next is loaded: left to GCC the second may go first, and lines that fill from
  // behind cost a product 1.4 times its time in the second cache.
  for (; i + 2 * N <= n; i += 2 * N) {
    hn::StoreU(op(hn::LoadU(d, x + i)...), d, y + i);
    hn::StoreU(op(hn::LoadU(d, x + i + N)...), d, y + i + N);
  }
  plain(n);
  if (has_first) hn::StoreU(first, d, y);
  if (has_last) hn::StoreU(last, d, y + n - N);
}

inline void finish_stream(bool stream) {
  if (stream) hwy::FlushStream();
}

template <class D, class Op, class T = hn::TFromD<D>, class... In>
HWY_INLINE void map(D d, size_t n, bool stream, Op op, T* y, const In*... x) {
  map_unfenced(d, n, stream, op, y, x...);
  finish_stream(stream);
}

// Sums run in kSumLanes lanes of double, whatever the vector width: element i of a row belongs to lane i mod
// kSumLanes, so every instruction set adds the same numbers in the same order.
constexpr size_t kSumLanes = 16;
using D64 = hn::ScalableTag<double>;
constexpr size_t kSumVectors = kSumLanes / hn::MaxLanes(D64());

HWY_INLINE V<D64> load_double(D64 d, const double* p) { return hn::LoadU(d, p); }
HWY_INLINE V<D64> load_double(D64 d, const float* p) {
  return hn::PromoteTo(d, hn::LoadU(hn::Rebind<float, D64>(), p));
}

// The lanes of a vector, folded in halves: lane i and i + N/2, and so on to the last.
template <class D>
HWY_INLINE double fold(D, V<D> v) {
  if constexpr (hn::MaxLanes(D()) == 1) {
    return static_cast<double>(hn::GetLane(v));
  } else {
    const hn::Half<D> half;
    return fold(half, hn::Add(hn::LowerHalf(half, v), hn::UpperHalf(half, v)));
  }
}

// Vectors are named one by one where they are cleared and folded: of a loop GCC makes a way through memory,
// which was a tenth of the time of 4096 floats, and three quarters of that of 40.
struct SumLanes {
  HWY_INLINE SumLanes() { clear<0>(); }
  // Adds n elements by step(lanes, values), which adds something to the lanes that is 0 for 0, so that zeros
  // can fill the last chunk.
  template <class T, class Step>
  HWY_INLINE void add(const T* x, size_t n, Step step) {
    const D64 d;
    const auto chunk = [&](const T* p) HWY_ATTR {
      for (size_t k = 0; k < kSumVectors; ++k) {
        lanes[k] = step(lanes[k], load_double(d, p + k * hn::MaxLanes(d)));
      }
    };
    size_t i = 0;
    const bool far = n > kAhead<T>;
    for (; i + kSumLanes <= n; i += kSumLanes) {
      for (size_t k = 0; far && k < kSumLanes; k += 64 / sizeof(T)) hwy::Prefetch(x + i + kAhead<T> + k);
      chunk(x + i);
    }
    if (i < n) {
      T rest[kSumLanes] = {};
      memcpy(rest, x + i, (n - i) * sizeof(T));
      chunk(rest);
    }
  }
  HWY_INLINE double total() const { return fold(D64(), folded<0, 1>()); }
  V<D64> lanes[kSumVectors];

 private:
  template <size_t k>
  HWY_INLINE void clear() {
    lanes[k] = hn::Zero(D64());
    if constexpr (k + 1 < kSumVectors) clear<k + 1>();
  }
  // The sum of vectors k, k + step, k + 2·step and so on, in halves.
  template <size_t k, size_t step>
  HWY_INLINE V<D64> folded() const {
    if constexpr (step == kSumVectors) {
      return lanes[k];
    } else {
      return hn::Add(folded<k, 2 * step>(), folded<k + step, 2 * step>());
    }
  }
};

// Σ over n elements by step, as of SumLanes::add().
template <class T, class Step>
HWY_INLINE double accumulate(const T* x, size_t n, Step step) {
  SumLanes s;
  s.add(x, n, step);
  return s.total();
}

// Σ op(x[i]); op(0) = 0.
template <class T, class Op>
HWY_INLINE double sum(const T* x, size_t n, Op op) {
  return accumulate(x, n, [op](auto lanes, auto v) HWY_ATTR { return hn::Add(lanes, op(v)); });
}

// Sums of some thousand terms, in kRowLanes lanes of the dtype and folded in double. A lane adds runs of
// eight terms one by one, and runs in pairs, pairs of them in pairs and so on: a term takes part in as many
// roundings as there are levels. One by one, a hundred equal terms are all rounded the same way, and lose up
// to 50 units in the last place.
constexpr size_t kRowLanes = 32;
constexpr size_t kRunTerms = 8;

// A term of each of kSums sums, for a vector of lanes.
template <class T, size_t kSums>
struct Terms {
  V<Tag<T>> v[kSums];
  HWY_INLINE Terms operator+(const Terms& other) const {
    Terms sum;
    for (size_t s = 0; s < kSums; ++s) sum.v[s] = hn::Add(v[s], other.v[s]);
    return sum;
  }
};

template <class T, size_t kSums, size_t kLevels = 10>  // for 8191 chunks
class RowSums {
 public:
  static constexpr size_t kVectors = kRowLanes / hn::MaxLanes(Tag<T>());
  using Lanes = Terms<T, kSums>[kVectors];

  HWY_INLINE RowSums() { clear(run_); }
  // A term for vector k of the lanes. Every lane gets at most one before done() ends the chunk of terms.
  HWY_INLINE void add(size_t k, const Terms<T, kSums>& terms) { run_[k] = run_[k] + terms; }
  HWY_INLINE void done() { done(run_); }
  // The same with the run in hand: a loop that keeps it in variables of its own keeps it in registers.
  HWY_INLINE Lanes& run() { return run_; }
  // A whole run at once, where none has begun.
  HWY_INLINE void done_run(Lanes& run) {
    chunks_ += kRunTerms - 1;
    done(run);
  }
  // Level i holds the sum of 2^i runs where bit i of their number is set.
  HWY_INLINE void done(Lanes& run) {
    if (++chunks_ % kRunTerms != 0) return;
    const size_t runs = chunks_ / kRunTerms - 1;
    size_t i = 0;
    for (; (runs >> i & 1) != 0; ++i) {
      for (size_t k = 0; k < kVectors; ++k) run[k] = level_[i][k] + run[k];
    }
    for (size_t k = 0; k < kVectors; ++k) level_[i][k] = run[k];
    clear(run);
  }
  // The lanes, folded in halves: float down to eight lanes, then double.
  HWY_INLINE void totals(double* total) const {
    Terms<T, kSums> all[kVectors];
    for (size_t k = 0; k < kVectors; ++k) all[k] = run_[k];
    const size_t runs = chunks_ / kRunTerms;
    for (size_t i = 0; runs >> i != 0; ++i) {
      if ((runs >> i & 1) == 0) continue;
      for (size_t k = 0; k < kVectors; ++k) all[k] = level_[i][k] + all[k];
    }
    for (size_t s = 0; s < kSums; ++s) {
      V<Tag<T>> lanes[kVectors];
      for (size_t k = 0; k < kVectors; ++k) lanes[k] = all[k].v[s];
      total[s] = fold_row(lanes);
    }
  }

 private:
  static HWY_INLINE void clear(Lanes& run) {
    for (auto& terms : run) {
      for (auto& v : terms.v) v = hn::Zero(Tag<T>());
    }
  }
  static HWY_INLINE double fold_row(V<Tag<T>>* s) {
    const Tag<T> d;
    constexpr size_t kKept = sizeof(T) == 8 ? 1 : HWY_MAX(size_t{1}, 8 / hn::MaxLanes(Tag<T>()));
    for (size_t half = kVectors / 2; half >= kKept; half /= 2) {
      for (size_t k = 0; k < half; ++k) s[k] = hn::Add(s[k], s[k + half]);
    }
    const D64 wide;
    const hn::Half<Tag<T>> half;
    if constexpr (sizeof(T) == 8) {
      return fold(d, s[0]);
    } else if constexpr (hn::MaxLanes(Tag<T>()) == 16) {
      return fold(wide, hn::PromoteTo(wide, hn::Add(hn::LowerHalf(half, s[0]), hn::UpperHalf(half, s[0]))));
    } else if constexpr (hn::MaxLanes(Tag<T>()) == 8) {
      return fold(wide, hn::Add(hn::PromoteTo(wide, hn::LowerHalf(half, s[0])),
                                hn::PromoteTo(wide, hn::UpperHalf(half, s[0]))));
    } else {
      const auto low = hn::Add(hn::PromoteTo(wide, hn::LowerHalf(half, s[0])),
                               hn::PromoteTo(wide, hn::LowerHalf(half, s[1])));
      const auto high = hn::Add(hn::PromoteTo(wide, hn::UpperHalf(half, s[0])),
                                hn::PromoteTo(wide, hn::UpperHalf(half, s[1])));
      return fold(wide, hn::Add(low, high));
    }
  }

  Lanes run_;
  Lanes level_[kLevels];
  size_t chunks_ = 0;
};

// The last elements of a row, and zeros.
template <class T>
struct Padded {
  HWY_INLINE Padded(const T* x, size_t n) { memcpy(values, x, n * sizeof(T)); }
  T values[kSumLanes] = {};
};

// Σ op(x[i], ...) in double over whole runs, in pairs as of RowSums.
template <class Op, class... T>
HWY_NOINLINE double sum_runs(size_t runs, Op op, const T*... x) {
  using Sums = RowSums<double, 1, 40>;
  const D64 d;
  Sums sums;
  for (size_t r = 0; r < runs; ++r) {
    typename Sums::Lanes run;
    for (size_t k = 0; k < Sums::kVectors; ++k) {
      size_t at = r * kRunTerms * kRowLanes + k * hn::MaxLanes(d);
      V<D64> v = op(load_double(d, x + at)...);
      for (size_t c = 1; c < kRunTerms; ++c) {
        at += kRowLanes;
        v = hn::Add(v, op(load_double(d, x + at)...));
      }
      run[k] = {{v}};
    }
    sums.done_run(run);
  }
  double total;
  sums.totals(&total);
  return total;
}

// Σ op(x[i], ...) in double, as exact for a row of any length; op(0, ...) is 0. What is left of a run goes
// one by one.
template <class Op, class... T>
HWY_INLINE double sum_in_pairs(size_t n, Op op, const T*... x) {
  const D64 d;
  const size_t runs = n / (kRunTerms * kRowLanes);
  const double total = runs == 0 ? 0 : sum_runs(runs, op, x...);
  SumLanes rest;
  const auto add = [&](const auto*... p) HWY_ATTR {
    for (size_t k = 0; k < kSumVectors; ++k) {
      rest.lanes[k] = hn::Add(rest.lanes[k], op(load_double(d, p + k * hn::MaxLanes(d))...));
    }
  };
  size_t i = runs * kRunTerms * kRowLanes;
  for (; i + kSumLanes <= n; i += kSumLanes) add(x + i...);
  if (i < n) add(Padded<T>(x + i, n - i).values...);
  return total + rest.total();
}

}  // namespace HWY_NAMESPACE
}  // namespace regkern
HWY_AFTER_NAMESPACE();

#endif  // REGKERN_KERNELS_SIMD_INL_H_
