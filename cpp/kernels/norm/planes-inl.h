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

// Rows of neighbouring channels, which lie side by side, taken row by row. One row of all of them is pages
// away from the next, which no hardware prefetcher follows: where they are short, each is fetched a row
// ahead, very short ones at once, others line by line beside the sums. In a long one the prefetcher stops at
// the end of a page. Reaching past the end of the array is harmless.
constexpr size_t kShortRow = 1024, kVeryShortRow = 128;

template <class T>
struct ChannelRows {
  RowsOf<T> of;
  size_t channels, rows, cols;
  HWY_INLINE const T* at(size_t r, size_t c) const {
    return of.data + static_cast<ptrdiff_t>(r) * of.stride + c * cols;
  }
  // What is fetched beside it; that of a very short one has been.
  HWY_INLINE const T* ahead(size_t r, size_t c) const {
    if (cols > kShortRow) return at(r, c) + kAhead<T>;
    const T* const next = r + 1 < rows ? at(r + 1, c) : of.data + (channels + c) * cols;
    for (size_t j = 0; cols <= kVeryShortRow && j < cols; j += 64 / sizeof(T)) hwy::Prefetch(next + j);
    return next;
  }
};

// How an element enters the moments: as it is, or as its deviation from a shift.
template <bool kShifted, class T>
struct Deviation {
  static HWY_INLINE V<D64> of(V<D64> x, V<D64> shift) { return kShifted ? hn::Sub(x, shift) : x; }
  static HWY_INLINE V<D64> add_square(V<D64> deviation, V<D64> sum) {
    if constexpr (kShifted || sizeof(T) == 8) return hn::Add(sum, hn::Mul(deviation, deviation));
    return hn::MulAdd(deviation, deviation, sum);  // exact product: fused or not, the same bits
  }
};

// The moments of one channel so far.
struct Moments {
  HWY_INLINE Moments() {}
  SumLanes first, second;
};

// Numbers of two bytes are widened before they are added: of a long row some at a time, while the next ones
// come; of short ones a row of all channels.
constexpr size_t kRoom = 2048, kSome = 256;
template <class E>
constexpr size_t kWidenedRow = kUnpacks<E> ? 128 : kShortRow;

template <bool kShifted, class E>
HWY_INLINE void add_row(const Element<E>* x, const Element<E>* ahead, size_t cols, double shift,
                        Wide<E>* room, Moments& sums) {
  using T = Wide<E>;
  using Dev = Deviation<kShifted, T>;
  const D64 d;
  const size_t N = hn::MaxLanes(d);
  const auto s = hn::Set(d, shift);
  SumLanes first = sums.first, second = sums.second;  // copies, which stay in registers
  const auto add = [&](size_t k, auto deviation) HWY_ATTR {
    first.lanes[k] = hn::Add(first.lanes[k], deviation);
    second.lanes[k] = Dev::add_square(deviation, second.lanes[k]);
  };
  if (cols < kSumLanes) {
    T row[kSumLanes];
    for (T& v : row) v = static_cast<T>(shift);
    copy_row<E>(x, cols, row);
    for (size_t k = 0; k < kSumVectors; ++k) add(k, Dev::of(load_double(d, row + k * N), s));
  } else {
    const bool fetches = ahead != nullptr && cols > kVeryShortRow;
    const size_t rest = cols % kSumLanes, whole = cols - rest;
    for (size_t j = 0, n; j < whole; j += n) {
      n = kIsHalf<E> ? HWY_MIN(kSome, whole - j) : whole;
      const T* p = unpacked<E>(x + j, n, room);
      for (size_t i = 0; i < n; i += kSumLanes) {
        const bool new_line = !kIsHalf<E> || i % (2 * kSumLanes) == 0;
        if (fetches && new_line) hwy::Prefetch(ahead + j + i);
        for (size_t k = 0; k < kSumVectors; ++k) add(k, Dev::of(load_double(d, p + i + place_of<E>(k)), s));
      }
    }
    if (rest != 0) {
      const T* end = widened<E>(x + cols - kSumLanes, kSumLanes, room);
      for (size_t k = 0; k < kSumVectors; ++k) {
        const auto deviation = Dev::of(load_double(d, end + k * N), s);
        add(k, hn::IfThenElseZero(last_lanes(d, rest, k), deviation));
      }
    }
  }
  sums.first = first;
  sums.second = second;
}

template <bool kShifted, class E>
HWY_INLINE void moments_about(const ChannelRows<Element<E>>& x, const double* shift, double* sum,
                              double* sum_sq) {
  HWY_ALIGN Wide<E> room[kIsHalf<E> ? kRoom : kSumLanes];
  Moments sums[kMostChannels];
  const bool widens = kIsHalf<E> && x.cols <= kWidenedRow<E>;
  for (size_t r = 0; r < x.rows; ++r) {
    if constexpr (kIsHalf<E>) {
      if (widens) half::widen_all<E>(x.at(r, 0), room, x.channels * x.cols);
    }
    for (size_t c = 0; c < x.channels; ++c) {
      const Element<E>* const ahead = x.ahead(r, c);
      if (widens) {
        add_row<kShifted, Wide<E>>(room + c * x.cols, nullptr, x.cols, shift[c], nullptr, sums[c]);
      } else {
        add_row<kShifted, E>(x.at(r, c), ahead, x.cols, shift[c], room, sums[c]);
      }
    }
  }
  for (size_t c = 0; c < x.channels; ++c) {
    sum[c] = sums[c].first.total();
    sum_sq[c] = sums[c].second.total();
  }
}

// Σ(x − shift) and Σ(x − shift)² over rows × cols elements of each of some channels. A shift of 0 makes the
// same bits either way.
template <class E>
void moments(RowsOf<Element<E>> x, size_t channels, size_t rows, size_t cols, const double* shift,
             double* sum, double* sum_sq) {
  const ChannelRows<Element<E>> all{x, channels, rows, cols};
  bool shifted = false;
  for (size_t c = 0; c < channels; ++c) shifted = shifted || shift[c] != 0;
  if (shifted) {
    moments_about<true, E>(all, shift, sum, sum_sq);
  } else {
    moments_about<false, E>(all, shift, sum, sum_sq);
  }
}

// Of one channel, over a leaf: at most 256 chunks, of rows of 16 elements. That of 16 channels lies on the
// stack: 57 KiB in double.
template <class T>
using LeafSums = RowSums<T, 2, 6>;

template <class E>
HWY_INLINE void add_gradient_row(const Element<E>* x, const Element<E>* dy, const Element<E>* x_ahead,
                                 const Element<E>* dy_ahead, size_t cols, Wide<E> mean,
                                 LeafSums<Wide<E>>& sums) {
  using T = Wide<E>;
  const Tag<T> d;
  const size_t N = hn::MaxLanes(d);
  constexpr size_t kVectors = LeafSums<T>::kVectors, kHalf = kVectors / 2;  // of kSumLanes elements
  const auto m = hn::Set(d, mean);
  const auto terms = [m](auto v, auto g) HWY_ATTR { return Terms<T, 2>{{g, hn::Mul(g, hn::Sub(v, m))}}; };
  typename LeafSums<T>::Lanes run;
  for (size_t k = 0; k < kVectors; ++k) run[k] = sums.run()[k];
  const auto whole = [&](size_t j, size_t vectors) HWY_ATTR {
    for (size_t k = 0; k < vectors; ++k) {
      const size_t at = j + k * N;
      run[k] = run[k] + terms(load_wide<E>(d, x + at), load_wide<E>(d, dy + at));
    }
  };
  if (cols < kSumLanes) {
    T row_x[kSumLanes], row_dy[kSumLanes] = {};
    for (T& v : row_x) v = mean;  // finite beside an Inf in x, so that 0·(x − mean) is 0
    copy_row<E>(x, cols, row_x);
    copy_row<E>(dy, cols, row_dy);
    for (size_t k = 0; k < kHalf; ++k) {
      run[k] = run[k] + terms(hn::LoadU(d, row_x + k * N), hn::LoadU(d, row_dy + k * N));
    }
    sums.done(run);
  } else {
    const bool fetches = cols > kVeryShortRow;
    size_t j = 0;
    for (; j + kRowLanes <= cols; j += kRowLanes) {
      for (size_t k = 0; fetches && k < kRowLanes; k += 64 / sizeof(*x)) {
        hwy::Prefetch(x_ahead + j + k);
        hwy::Prefetch(dy_ahead + j + k);
      }
      whole(j, kVectors);
      sums.done(run);
    }
    const bool some_left = j != cols;
    if (j + kSumLanes <= cols) {
      whole(j, kHalf);
      j += kSumLanes;
    }
    if (j != cols) {
      const size_t end = cols - kSumLanes;
      for (size_t k = 0; k < kHalf; ++k) {
        const auto keep = last_lanes(d, cols - j, k);
        auto last = terms(load_wide<E>(d, x + end + k * N), load_wide<E>(d, dy + end + k * N));
        for (auto& v : last.v) v = hn::IfThenElseZero(keep, v);
        run[kHalf + k] = run[kHalf + k] + last;
      }
    }
    if (some_left) sums.done(run);
  }
  for (size_t k = 0; k < kVectors; ++k) sums.run()[k] = run[k];
}

// Σdy and Σdy·(x − mean) over rows × cols elements of each of some channels; dy.at(r, c) gives a row.
template <class E, class Rows>
HWY_INLINE void sum_gradient(const ChannelRows<Element<E>>& x, const Rows& dy, const Wide<E>* mean,
                             double* sum, double* sum_dev) {
  LeafSums<Wide<E>> sums[kMostChannels];
  for (size_t r = 0; r < x.rows; ++r) {
    for (size_t c = 0; c < x.channels; ++c) {
      const auto* const x_ahead = x.ahead(r, c);
      const auto* const dy_ahead = dy.ahead(r, c);
      add_gradient_row<E>(x.at(r, c), dy.at(r, c), x_ahead, dy_ahead, x.cols, mean[c], sums[c]);
    }
  }
  for (size_t c = 0; c < x.channels; ++c) {
    double totals[2];
    sums[c].totals(totals);
    sum[c] = totals[0];
    sum_dev[c] = totals[1];
  }
}

template <class E>
void gradient_sums(RowsOf<Element<E>> x, RowsOf<Element<E>> dy, size_t channels, size_t rows, size_t cols,
                   const Wide<E>* mean, double* sum, double* sum_dev) {
  using All = ChannelRows<Element<E>>;
  sum_gradient<E>(All{x, channels, rows, cols}, All{dy, channels, rows, cols}, mean, sum, sum_dev);
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
