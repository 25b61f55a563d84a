// The sums of batch norm over a plane: rows that belong to one channel.
//
// Statistics are sums in double: of x and x² as they are (the square of a float32 is exact in double, so it
// may be fused), or of deviations from a shift where the mean would drown the variance. The sums of the
// gradient run in the dtype over at most kLeaf elements, and in double above.

#if defined(REGKERN_KERNELS_NORM_PLANES_INL_H_) == defined(HWY_TARGET_TOGGLE)
#ifdef REGKERN_KERNELS_NORM_PLANES_INL_H_
#undef REGKERN_KERNELS_NORM_PLANES_INL_H_
#else
#define REGKERN_KERNELS_NORM_PLANES_INL_H_
#endif

#include "kernels/elements-inl.h"
#include "kernels/norm/norm.h"

HWY_BEFORE_NAMESPACE();
namespace regkern {
namespace HWY_NAMESPACE {
namespace norm {

// The last `rest` of kSumLanes lanes, of which this is vector k.
template <class D>
HWY_INLINE hn::Mask<D> last_lanes(D d, size_t rest, size_t k) {
  using T = hn::TFromD<D>;
  return hn::Ge(hn::Iota(d, static_cast<T>(k * hn::MaxLanes(d))),
                hn::Set(d, static_cast<T>(kSumLanes - rest)));
}

// The rows of one channel may be pages apart, which no hardware prefetcher follows; but behind a short row
// lies that of the next channel, which is needed next, and in a long one the prefetcher stops at the end of a
// page. Reaching past the end of the array is harmless.
constexpr size_t kShortRow = 1024;

template <class T>
HWY_INLINE void prefetch_next_channel(const T* row, size_t cols) {
  if (cols > kShortRow) return;
  for (size_t j = cols; j < 2 * cols; j += 64 / sizeof(T)) hwy::Prefetch(row + j);
}

// How an element enters the moments: as it is, or as its deviation from a shift.
template <bool kShifted, class T>
struct Deviation {
  static HWY_INLINE V<D64> of(V<D64> x, V<D64> shift) { return kShifted ? hn::Sub(x, shift) : x; }
  static HWY_INLINE V<D64> add_square(V<D64> deviation, V<D64> sum) {
    if constexpr (kShifted || sizeof(T) == 8) return hn::Add(sum, hn::Mul(deviation, deviation));
    return hn::MulAdd(deviation, deviation, sum);  // exact product: fused or not, the same bits
  }
};

// Numbers of two bytes that are widened before they are added: the next ones meanwhile.
constexpr size_t kRoom = 256;

// Σ(x − shift) and Σ(x − shift)² over rows × cols elements.
template <bool kShifted, class E>
HWY_INLINE void moments_about(RowsOf<Element<E>> from, size_t rows, size_t cols, double shift, double* sum,
                              double* sum_sq) {
  using T = Wide<E>;
  using Dev = Deviation<kShifted, T>;
  const Element<E>* x = from.data;
  const D64 d;
  const size_t N = hn::MaxLanes(d);
  const auto s = hn::Set(d, shift);
  SumLanes first, second;
  const auto add = [&](size_t k, auto deviation) HWY_ATTR {
    first.lanes[k] = hn::Add(first.lanes[k], deviation);
    second.lanes[k] = Dev::add_square(deviation, second.lanes[k]);
  };
  const bool long_row = cols > kShortRow;
  HWY_ALIGN T room[kIsHalf<E> ? kRoom : kSumLanes];
  for (size_t r = 0; r < rows; ++r, x += from.stride) {
    prefetch_next_channel(x, cols);
    if (cols < kSumLanes) {
      T row[kSumLanes];
      for (T& v : row) v = static_cast<T>(shift);
      copy_row<E>(x, cols, row);
      for (size_t k = 0; k < kSumVectors; ++k) add(k, Dev::of(load_double(d, row + k * N), s));
      continue;
    }
    const size_t rest = cols % kSumLanes, whole = cols - rest;
    for (size_t j = 0, n; j < whole; j += n) {
      n = kIsHalf<E> ? HWY_MIN(kRoom, whole - j) : whole;
      const T* p = widened<E>(x + j, n, room);
      for (size_t i = 0; i < n; i += kSumLanes) {
        if (long_row && (!kIsHalf<E> || i % (2 * kSumLanes) == 0)) {  // once a line
          hwy::Prefetch(x + j + i + kAhead<Element<E>>);
        }
        for (size_t k = 0; k < kSumVectors; ++k) add(k, Dev::of(load_double(d, p + i + k * N), s));
      }
    }
    if (rest == 0) continue;
    const T* end = widened<E>(x + cols - kSumLanes, kSumLanes, room);
    for (size_t k = 0; k < kSumVectors; ++k) {
      const auto deviation = Dev::of(load_double(d, end + k * N), s);
      add(k, hn::IfThenElseZero(last_lanes(d, rest, k), deviation));
    }
  }
  *sum = first.total();
  *sum_sq = second.total();
}

template <class E>
void moments(RowsOf<Element<E>> x, size_t rows, size_t cols, double shift, double* sum, double* sum_sq) {
  if (shift == 0) {
    moments_about<false, E>(x, rows, cols, shift, sum, sum_sq);
  } else {
    moments_about<true, E>(x, rows, cols, shift, sum, sum_sq);
  }
}

// Σdy and Σdy·(x − mean) over rows × cols elements; next_row() gives those of dy one after the other.
template <class E, class NextRow>
HWY_INLINE void sum_gradient(RowsOf<Element<E>> of_x, NextRow next_row, size_t rows, size_t cols,
                             Wide<E> mean, double* sum, double* sum_dev) {
  using T = Wide<E>;
  const Element<E>* x = of_x.data;
  const Tag<T> d;
  const size_t N = hn::MaxLanes(d);
  constexpr size_t kHalf = RowSums<T, 2>::kVectors / 2;  // vectors of kSumLanes elements, half of kRowLanes
  const auto m = hn::Set(d, mean);
  RowSums<T, 2> sums;
  const auto terms = [m](auto v, auto g) HWY_ATTR { return Terms<T, 2>{{g, hn::Mul(g, hn::Sub(v, m))}}; };
  const auto whole = [&](const Element<E>* p, const Element<E>* q, size_t vectors) HWY_ATTR {
    for (size_t k = 0; k < vectors; ++k) {
      sums.add(k, terms(load_wide<E>(d, p + k * N), load_wide<E>(d, q + k * N)));
    }
  };
  const bool long_row = cols > kShortRow;
  for (size_t r = 0; r < rows; ++r, x += of_x.stride) {
    const Element<E>* const dy = next_row();
    prefetch_next_channel(x, cols);
    prefetch_next_channel(dy, cols);
    if (cols < kSumLanes) {
      T row_x[kSumLanes], row_dy[kSumLanes] = {};
      for (T& v : row_x) v = mean;  // finite beside an Inf in x, so that 0·(x − mean) is 0
      copy_row<E>(x, cols, row_x);
      copy_row<E>(dy, cols, row_dy);
      for (size_t k = 0; k < kHalf; ++k) {
        sums.add(k, terms(hn::LoadU(d, row_x + k * N), hn::LoadU(d, row_dy + k * N)));
      }
      sums.done();
      continue;
    }
    size_t j = 0;
    for (; j + kRowLanes <= cols; j += kRowLanes) {
      for (size_t k = 0; long_row && k < kRowLanes; k += 64 / sizeof(*x)) {
        hwy::Prefetch(x + j + kAhead<Element<E>> + k);
        hwy::Prefetch(dy + j + kAhead<Element<E>> + k);
      }
      whole(x + j, dy + j, 2 * kHalf);
      sums.done();
    }
    if (j == cols) continue;
    if (j + kSumLanes <= cols) {
      whole(x + j, dy + j, kHalf);
      j += kSumLanes;
    }
    if (j == cols) {
      sums.done();
      continue;
    }
    const size_t end = cols - kSumLanes;
    for (size_t k = 0; k < kHalf; ++k) {
      const auto keep = last_lanes(d, cols - j, k);
      auto last = terms(load_wide<E>(d, x + end + k * N), load_wide<E>(d, dy + end + k * N));
      for (auto& v : last.v) v = hn::IfThenElseZero(keep, v);
      sums.add(kHalf + k, last);
    }
    sums.done();
  }
  double totals[2];
  sums.totals(totals);
  *sum = totals[0];
  *sum_dev = totals[1];
}

template <class E>
void gradient_sums(RowsOf<Element<E>> x, RowsOf<Element<E>> dy, size_t rows, size_t cols, Wide<E> mean,
                   double* sum, double* sum_dev) {
  const auto next_row = [&]() HWY_ATTR {
    const Element<E>* const row = dy.data;
    dy.data += dy.stride;
    return row;
  };
  sum_gradient<E>(x, next_row, rows, cols, mean, sum, sum_dev);
}

// Σw, Σw·(x − shift) and Σw·(x − shift)² over n elements with a weight each. What weight 0 belongs to may be
// anything, NaN too.
template <class T>
void weighted_moments(const T* x, const T* w, size_t n, double shift, double* sum_w, double* sum,
                      double* sum_sq) {
  const D64 d;
  const size_t N = hn::MaxLanes(d);
  const auto s = hn::Set(d, shift);
  SumLanes weights, first, second;
  const auto add = [&](const T* p, const T* q) HWY_ATTR {
    for (size_t k = 0; k < kSumVectors; ++k) {
      const auto weight = load_double(d, q + k * N);
      const auto deviation =
          hn::IfThenZeroElse(hn::Eq(weight, hn::Zero(d)), hn::Sub(load_double(d, p + k * N), s));
      const auto product = hn::Mul(weight, deviation);
      weights.lanes[k] = hn::Add(weights.lanes[k], weight);
      first.lanes[k] = hn::Add(first.lanes[k], product);
      second.lanes[k] = hn::Add(second.lanes[k], hn::Mul(product, deviation));
    }
  };
  size_t i = 0;
  for (; i + kSumLanes <= n; i += kSumLanes) add(x + i, w + i);
  if (i < n) {
    T rest_x[kSumLanes] = {}, rest_w[kSumLanes] = {};
    memcpy(rest_x, x + i, (n - i) * sizeof(T));
    memcpy(rest_w, w + i, (n - i) * sizeof(T));
    add(rest_x, rest_w);
  }
  *sum_w = weights.total();
  *sum = first.total();
  *sum_sq = second.total();
}

}  // namespace norm
}  // namespace HWY_NAMESPACE
}  // namespace regkern
HWY_AFTER_NAMESPACE();

#endif  // REGKERN_KERNELS_NORM_PLANES_INL_H_
