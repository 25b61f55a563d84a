// Batch normalization over one piece of memory: sums, and the elementwise passes that use them.
//
// A piece is either planar (rows of one channel) or a matrix whose columns are channels. Statistics are sums
// in double: of x and x² as they are (the square of a float32 is exact in double, so it may be fused), or of
// deviations from a shift where the mean would drown the variance. The sums of the gradient run in the dtype
// over at most kLeaf elements or kRun rows, and in double above.

#if defined(REGKERN_KERNELS_NORM_INL_H_) == defined(HWY_TARGET_TOGGLE)
#ifdef REGKERN_KERNELS_NORM_INL_H_
#undef REGKERN_KERNELS_NORM_INL_H_
#else
#define REGKERN_KERNELS_NORM_INL_H_
#endif

#include "kernels/norm.h"
#include "kernels/simd-inl.h"

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

// Σ(x − shift) and Σ(x − shift)² over rows × cols elements.
template <bool kShifted, class T>
HWY_INLINE void moments_about(RowsOf<T> from, size_t rows, size_t cols, double shift, double* sum,
                              double* sum_sq) {
  const T* x = from.data;
  using Dev = Deviation<kShifted, T>;
  const D64 d;
  const size_t N = hn::MaxLanes(d);
  const auto s = hn::Set(d, shift);
  SumLanes first, second;
  const auto add = [&](size_t k, auto deviation) HWY_ATTR {
    first.lanes[k] = hn::Add(first.lanes[k], deviation);
    second.lanes[k] = Dev::add_square(deviation, second.lanes[k]);
  };
  const bool long_row = cols > kShortRow;
  for (size_t r = 0; r < rows; ++r, x += from.stride) {
    prefetch_next_channel(x, cols);
    if (cols < kSumLanes) {
      T row[kSumLanes];
      for (T& v : row) v = static_cast<T>(shift);
      memcpy(row, x, cols * sizeof(T));
      for (size_t k = 0; k < kSumVectors; ++k) add(k, Dev::of(load_double(d, row + k * N), s));
      continue;
    }
    size_t j = 0;
    for (; j + kSumLanes <= cols; j += kSumLanes) {
      if (long_row) hwy::Prefetch(x + j + kAhead<T>);
      for (size_t k = 0; k < kSumVectors; ++k) add(k, Dev::of(load_double(d, x + j + k * N), s));
    }
    if (j == cols) continue;
    const T* end = x + cols - kSumLanes;
    for (size_t k = 0; k < kSumVectors; ++k) {
      const auto deviation = Dev::of(load_double(d, end + k * N), s);
      add(k, hn::IfThenElseZero(last_lanes(d, cols - j, k), deviation));
    }
  }
  *sum = first.total();
  *sum_sq = second.total();
}

template <class T>
void moments(RowsOf<T> x, size_t rows, size_t cols, double shift, double* sum, double* sum_sq) {
  if (shift == 0) {
    moments_about<false>(x, rows, cols, shift, sum, sum_sq);
  } else {
    moments_about<true>(x, rows, cols, shift, sum, sum_sq);
  }
}

// Σdy and Σdy·(x − mean) over rows × cols elements.
template <class T>
void gradient_sums(RowsOf<T> of_x, RowsOf<T> of_dy, size_t rows, size_t cols, T mean, double* sum,
                   double* sum_dev) {
  const T *x = of_x.data, *dy = of_dy.data;
  const Tag<T> d;
  const size_t N = hn::MaxLanes(d);
  constexpr size_t kHalf = RowSums<T, 2>::kVectors / 2;  // vectors of kSumLanes elements, half of kRowLanes
  const auto m = hn::Set(d, mean);
  RowSums<T, 2> sums;
  const auto terms = [m](auto v, auto g) HWY_ATTR { return Terms<T, 2>{{g, hn::Mul(g, hn::Sub(v, m))}}; };
  const auto whole = [&](const T* p, const T* q, size_t vectors) HWY_ATTR {
    for (size_t k = 0; k < vectors; ++k) {
      sums.add(k, terms(hn::LoadU(d, p + k * N), hn::LoadU(d, q + k * N)));
    }
  };
  const bool long_row = cols > kShortRow;
  for (size_t r = 0; r < rows; ++r, x += of_x.stride, dy += of_dy.stride) {
    prefetch_next_channel(x, cols);
    prefetch_next_channel(dy, cols);
    if (cols < kSumLanes) {
      T row_x[kSumLanes], row_dy[kSumLanes] = {};
      for (T& v : row_x) v = mean;  // finite beside an Inf in x, so that 0·(x − mean) is 0
      memcpy(row_x, x, cols * sizeof(T));
      memcpy(row_dy, dy, cols * sizeof(T));
      whole(row_x, row_dy, kHalf);
      sums.done();
      continue;
    }
    size_t j = 0;
    for (; j + kRowLanes <= cols; j += kRowLanes) {
      for (size_t k = 0; long_row && k < kRowLanes; k += 64 / sizeof(T)) {
        hwy::Prefetch(x + j + kAhead<T> + k);
        hwy::Prefetch(dy + j + kAhead<T> + k);
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
      auto last = terms(hn::LoadU(d, x + end + k * N), hn::LoadU(d, dy + end + k * N));
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

// The same sums for a matrix of rows × cols whose columns are channels, added to what is there. A channel's
// elements are added row by row, whatever the vector width. A sweep of rows keeps the sums of a line of
// columns in registers for as many additions, and fetches the lines of the next sweep. Not unrolled: the code
// of eight rows takes 1.25 times as long as a loop over them.
constexpr size_t kSweep = 8;

// Rows of a sweep. In rows of a page, the lines of one column all compete for the same eight places of the L1
// cache: those of a sweep and the next have to fit there, else each is fetched twice.
template <class T>
HWY_INLINE size_t sweep_rows(ptrdiff_t row_stride, size_t operands) {
  constexpr size_t kPage = 4096, kPlaces = 8;
  const size_t stride = static_cast<size_t>(row_stride < 0 ? -row_stride : row_stride) * sizeof(T);
  const size_t rows = kPlaces * kPage / (2 * operands * HWY_MAX(size_t{1}, HWY_MIN(stride, kPage)));
  return HWY_MIN(rows, kSweep);
}

// Forgets how p came about. Else compilers keep a pointer a row and another a row to fetch, in more registers
// than there are: the sums of 256 rows of 128 then take 1.15 times as long.
template <class T>
HWY_INLINE void forget_origin(T*& p) {
#if HWY_COMPILER_GCC || HWY_COMPILER_CLANG
  asm("" : "+r"(p));
#endif
}

// `rows` rows of kVectors vectors of columns.
template <class Dev, size_t kVectors, class T>
HWY_INLINE void sweep_moments(RowsOf<T> x, size_t rows, const double* shift, double* sum, double* sum_sq) {
  const D64 d;
  const size_t N = hn::MaxLanes(d);
  V<D64> s[kVectors], first[kVectors], second[kVectors];
  for (size_t k = 0; k < kVectors; ++k) {
    s[k] = hn::LoadU(d, shift + k * N);
    first[k] = hn::LoadU(d, sum + k * N);
    second[k] = hn::LoadU(d, sum_sq + k * N);
  }
  const T* p = x.data;
  const ptrdiff_t ahead = static_cast<ptrdiff_t>(rows) * x.stride;
  for (; rows != 0; --rows, p += x.stride) {
    forget_origin(p);
    hwy::Prefetch(p + ahead);
    for (size_t k = 0; k < kVectors; ++k) {
      const auto deviation = Dev::of(load_double(d, p + k * N), s[k]);
      first[k] = hn::Add(first[k], deviation);
      second[k] = Dev::add_square(deviation, second[k]);
    }
  }
  for (size_t k = 0; k < kVectors; ++k) {
    hn::StoreU(first[k], d, sum + k * N);
    hn::StoreU(second[k], d, sum_sq + k * N);
  }
}

template <class T>
void column_moments(RowsOf<T> x, size_t rows, size_t cols, const double* shift, double* sum, double* sum_sq) {
  const D64 d;
  const size_t N = hn::MaxLanes(d), most = sweep_rows<T>(x.stride, 1);
  const auto shifted = [&](size_t begin, size_t end) HWY_ATTR {
    auto any = hn::Zero(d);
    for (size_t j = begin; j < end; j += N) any = hn::Or(any, hn::LoadU(d, shift + j));
    return !hn::AllTrue(d, hn::Eq(any, hn::Zero(d)));
  };
  const bool some_shifted = shifted(0, cols / N * N);
  for (size_t r = 0; r < rows; r += most) {
    const size_t now = HWY_MIN(most, rows - r);
    const T* const row = x.data + static_cast<ptrdiff_t>(r) * x.stride;
    size_t j = 0;
    const auto sweep = [&]<size_t kVectors>(std::integral_constant<size_t, kVectors>) HWY_ATTR {
      for (const size_t width = kVectors * N; j + width <= cols; j += width) {
        const RowsOf<T> from{row + j, x.stride};
        if (some_shifted && shifted(j, j + width)) {
          sweep_moments<Deviation<true, T>, kVectors>(from, now, shift + j, sum + j, sum_sq + j);
        } else {
          sweep_moments<Deviation<false, T>, kVectors>(from, now, shift + j, sum + j, sum_sq + j);
        }
      }
    };
    sweep(std::integral_constant<size_t, kSumVectors>());
    sweep(std::integral_constant<size_t, 1>());
    for (; j < cols; ++j) {
      const T* p = row + j;
      for (size_t i = 0; i < now; ++i, p += x.stride) {
        const double deviation = static_cast<double>(*p) - shift[j];
        sum[j] += deviation;
        sum_sq[j] += deviation * deviation;
      }
    }
  }
}

// a[i] = from[i], 0 where the weight is 0, whatever stood there. a may be from.
template <class T>
void leave_out(const T* from, const T* w, size_t n, T* a) {
  const Tag<T> d;
  map_unfenced(
      d, n, false,
      [d](auto v, auto weight) HWY_ATTR { return hn::IfThenZeroElse(hn::Eq(weight, hn::Zero(d)), v); }, a,
      from, w);
}

// Adds a vector of the dtype to as many totals in double.
template <class T>
HWY_INLINE void add_to(double* total, V<Tag<T>> v) {
  const D64 d;
  const auto add = [d](auto terms, double* to)
                       HWY_ATTR { hn::StoreU(hn::Add(hn::LoadU(d, to), terms), d, to); };
  if constexpr (sizeof(T) == 8) {
    add(v, total);
  } else {
    const hn::Half<Tag<T>> half;
    add(hn::PromoteTo(d, hn::LowerHalf(half, v)), total);
    add(hn::PromoteTo(d, hn::UpperHalf(half, v)), total + hn::MaxLanes(d));
  }
}

// Some columns of both operands, and what a sweep has of a run: its sums so far lie in `sum` and `dev` where
// it does not begin or end here.
template <class T>
struct GradientColumns {
  RowsOf<T> x, dy;
  const T* mean;
};
template <class T>
struct PartOfRun {
  T *sum, *dev;
  bool begins, ends;
};

template <class T, size_t kVectors, class Load, class Total>
HWY_INLINE void sweep_gradient_sums(const GradientColumns<T>& of, size_t rows, const PartOfRun<T>& run,
                                    Load load, Total total) {
  const Tag<T> d;
  const size_t N = hn::MaxLanes(d);
  V<Tag<T>> m[kVectors], first[kVectors], second[kVectors];
  for (size_t k = 0; k < kVectors; ++k) {
    m[k] = load(of.mean + k * N);
    first[k] = run.begins ? hn::Zero(d) : hn::Load(d, run.sum + k * N);
    second[k] = run.begins ? hn::Zero(d) : hn::Load(d, run.dev + k * N);
  }
  const T *p = of.x.data, *q = of.dy.data;
  const ptrdiff_t x_stride = of.x.stride, dy_stride = of.dy.stride, count = static_cast<ptrdiff_t>(rows);
  for (; rows != 0; --rows, p += x_stride, q += dy_stride) {
    forget_origin(p);
    forget_origin(q);
    hwy::Prefetch(p + count * x_stride);
    hwy::Prefetch(q + count * dy_stride);
    for (size_t k = 0; k < kVectors; ++k) {
      const auto g = load(q + k * N);
      first[k] = hn::Add(first[k], g);
      second[k] = hn::Add(second[k], hn::Mul(g, hn::Sub(load(p + k * N), m[k])));
    }
  }
  for (size_t k = 0; k < kVectors; ++k) {
    if (run.ends) {
      total(first[k], second[k], k * N);
    } else {
      hn::Store(first[k], d, run.sum + k * N);
      hn::Store(second[k], d, run.dev + k * N);
    }
  }
}

// Here the sums of kRun rows are formed in the dtype.
template <class T>
void column_gradient_sums(RowsOf<T> x, RowsOf<T> dy, size_t rows, size_t cols, const T* mean, double* sum,
                          double* sum_dev) {
  constexpr size_t kRun = 16, kWidth = 512;
  const Tag<T> d;
  constexpr size_t N = hn::MaxLanes(Tag<T>()), kLine = HWY_MAX(size_t{1}, 64 / sizeof(T) / N);  // vectors
  const size_t most = HWY_MIN(sweep_rows<T>(x.stride, 2), sweep_rows<T>(dy.stride, 2));
  HWY_ALIGN T part[kWidth], part_dev[kWidth];
  for (size_t col = 0; col < cols; col += kWidth) {
    const size_t end = HWY_MIN(col + kWidth, cols);
    for (size_t r = 0, now; r < rows; r += now) {
      now = HWY_MIN(HWY_MIN(most, kRun - r % kRun), rows - r);
      const bool begins = r % kRun == 0, ends = (r + now) % kRun == 0 || r + now == rows;
      const ptrdiff_t row = static_cast<ptrdiff_t>(r);
      size_t j = col;
      const auto sweep = [&]<size_t kVectors>(std::integral_constant<size_t, kVectors>, auto load,
                                              auto add) HWY_ATTR {
        const GradientColumns<T> of{
            {x.data + row * x.stride + j, x.stride}, {dy.data + row * dy.stride + j, dy.stride}, mean + j};
        const PartOfRun<T> run{part + (j - col), part_dev + (j - col), begins, ends};
        sweep_gradient_sums<T, kVectors>(of, now, run, load, [&](auto first, auto second, size_t k) HWY_ATTR {
          add(first, sum + j + k);
          add(second, sum_dev + j + k);
        });
      };
      const auto load = [d](const T* from) HWY_ATTR { return hn::LoadU(d, from); };
      const auto add = [](auto v, double* total) HWY_ATTR { add_to<T>(total, v); };
      for (; j + kLine * N <= end; j += kLine * N) sweep(std::integral_constant<size_t, kLine>(), load, add);
      for (; j + N <= end; j += N) sweep(std::integral_constant<size_t, 1>(), load, add);
      if (j == end) continue;
      const size_t rest = end - j;
      sweep(
          std::integral_constant<size_t, 1>(),
          [d, rest](const T* from) HWY_ATTR { return load_partial(d, from, rest); },
          [d, rest](auto v, double* total) HWY_ATTR {
            T terms[N];
            hn::StoreU(v, d, terms);
            for (size_t i = 0; i < rest; ++i) total[i] += static_cast<double>(terms[i]);
          });
    }
  }
}

// Rows of x and w lie without gaps.
template <class T>
void column_weighted_moments(const T* x, const T* w, size_t rows, size_t cols, const double* shift,
                             double* sum_w, double* sum, double* sum_sq) {
  for (size_t r = 0; r < rows; ++r, x += cols, w += cols) {
    for (size_t j = 0; j < cols; ++j) {
      const double weight = static_cast<double>(w[j]);
      const double deviation = weight == 0 ? 0 : static_cast<double>(x[j]) - shift[j];
      sum_w[j] += weight;
      sum[j] += weight * deviation;
      sum_sq[j] += weight * deviation * deviation;
    }
  }
}

// --- one number a channel ---

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

// What of v float cannot hold, but for Inf, becomes its largest number: beside a deviation of 0 that is still
// 0.
template <class T>
HWY_INLINE V<D64> saturated(V<D64> v) {
  const D64 d;
  const auto most = hn::Set(d, static_cast<double>(hwy::HighestValue<T>()));
  const auto clamped = hn::Min(hn::Max(v, hn::Neg(most)), most);
  return hn::IfThenElse(hn::Lt(hn::Abs(v), hn::Inf(d)), clamped, v);
}

// The coefficients of Affine, an array each. What the dtype loses of the mean is taken off the shift.
template <class T>
void affine_arrays(const double* mean, const double* scale, const double* shift, size_t n,
                   AffineArrays<T> to) {
  for_channels(n, [&](size_t i, auto io) HWY_ATTR {
    const auto m = io.load(mean + i), s = io.load(scale + i);
    io.store(m, to.mean + i);
    io.store(saturated<T>(s), to.scale + i);
    const auto low = hn::Sub(m, io.load(to.mean + i));
    io.store(hn::Sub(io.load(shift + i), hn::Mul(low, s)), to.shift + i);
  });
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
// each. Every one is in the range of float as long as std and 1/std are.
template <class T>
void gradient_arrays(double count, const ChannelGradient<T>& from, size_t n, GradientArrays<T> to) {
  const auto total = hn::Set(D64(), count);
  for_channels(n, [&](size_t i, auto io) HWY_ATTR {
    const auto m = io.load(from.mean + i), inverse = io.load(from.invstd + i);
    const auto s = from.gamma ? hn::Mul(io.load(from.gamma + i), inverse) : inverse;
    io.store(m, to.mean + i);
    io.store(saturated<T>(s), to.scale + i);
    const auto low = hn::Sub(m, io.load(to.mean + i));
    const auto b = hn::Mul(inverse, hn::Mul(inverse, hn::Div(io.load(from.sum_dev + i), total)));
    io.store(hn::Sub(hn::Div(io.load(from.sum_dy + i), total), hn::Mul(low, b)), to.a + i);
    io.store(b, to.b + i);
  });
}

// --- the elementwise passes; where they stream, a fence (finish_stream) is left to the caller ---

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
template <class Arrays, class T, class... In>
HWY_INLINE void map_rows(size_t rows, size_t cols, const Arrays& c, size_t first, bool stream, T* y,
                         const In*... x) {
  for (size_t r = 0; r < rows; ++r) {
    const size_t at = r * cols;
    map_unfenced(Tag<T>(), cols, stream, coefficient(c, first + r), y + at, (x + at)...);
  }
}

template <class T>
void apply(const T* x, T* y, size_t rows, size_t cols, const AffineArrays<const T>& c, size_t first,
           bool stream) {
  map_rows(rows, cols, c, first, stream, y, x);
}

template <class T>
void apply_gradient(const GradientPiece<T>& p, size_t rows, size_t cols, const GradientArrays<const T>& c,
                    size_t first, bool stream) {
  if (p.w == nullptr) {
    map_rows(rows, cols, c, first, stream, p.dx, p.x, p.dy);
  } else {
    map_rows(rows, cols, c, first, stream, p.dx, p.x, p.dy, p.w);
  }
}

// The same two passes where channels lie beside each other: element i belongs to channel
// (phase + i) mod period. The coefficients are arrays of `period` numbers, continued by kMaxLanes more from
// the start, so that a vector can be loaded at any phase.

// kRows whole periods side by side, which share what is loaded of the coefficients, as often as they fit;
// returns how many elements that is. The lines of the next ones are fetched. All are loaded before one is
// stored: rows of 4 KiB would else meet the stores of their neighbours, which have the same low bits of the
// address.
template <size_t kRows, class Put, class Fetch, class Arrays, class T, class... In>
HWY_INLINE size_t map_periods(size_t n, size_t first, size_t period, Put put, Fetch fetch, const Arrays& c,
                              T* y, const In*... x) {
  const Tag<T> d;
  const size_t N = hn::MaxLanes(d);
  size_t i = 0;
  for (; i + kRows * period <= n; i += kRows * period) {
    for (size_t j = 0; j < period; j += N) {
      const auto at = coefficients(c, first + j);
      V<Tag<T>> v[kRows];
      for (size_t k = 0; k < kRows; ++k) v[k] = at(hn::LoadU(d, x + i + j + k * period)...);
      for (size_t k = 0; k < kRows; ++k) fetch(y + i + j + (kRows + k) * period);
      for (size_t k = 0; k < kRows; ++k) put(v[k], y + i + j + k * period);
    }
  }
  return i;
}

template <class Arrays, class T, class... In>
HWY_INLINE void map_cyclic(size_t n, size_t phase, size_t period, bool stream, Arrays c, T* y,
                           const In*... x) {
  const Tag<T> d;
  const size_t N = hn::MaxLanes(d);
  size_t i = 0;
  const auto next = [&](size_t step) HWY_ATTR {
    i += step;
    phase += step;
    while (phase >= period) phase -= period;
  };
  const auto partly = [&](size_t count) HWY_ATTR {
    store_partial(coefficients(c, phase)(load_partial(d, x + i, count)...), d, y + i, count);
    next(count);
  };
  const auto walk = [&](auto put, auto fetch) HWY_ATTR {
    const auto until = [&](auto done) HWY_ATTR {
      for (; i + N <= n && !done(); next(N)) put(coefficients(c, phase)(hn::LoadU(d, x + i)...), y + i);
    };
    if (period % N == 0) {
      until([&] { return phase < N; });
      // Of rows of a page, the L1 cache has no places for the lines of more than two.
      const bool short_rows = period * sizeof(T) <= 2048;
      i += short_rows ? map_periods<4>(n - i, phase, period, put, fetch, c, y + i, (x + i)...)
                      : map_periods<2>(n - i, phase, period, put, fetch, c, y + i, (x + i)...);
    }
    until([] { return false; });
  };
  if (stream ? n >= 2 * N : n >= 2 * period) {
    const size_t bytes = N * sizeof(T), past = reinterpret_cast<uintptr_t>(y) % bytes;
    if (past != 0) partly((bytes - past) / sizeof(T));
  }
  if (stream && n >= 2 * N) {
    walk([d](auto v, T* to) HWY_ATTR { hn::Stream(v, d, to); }, [](T*) {});
  } else {
    walk([d](auto v, T* to) HWY_ATTR { hn::StoreU(v, d, to); }, [](T* to) { fetch_to_write(to); });
  }
  if (i < n) partly(n - i);
}

template <class T>
void apply_cyclic(const T* x, T* y, size_t n, size_t phase, size_t period, const AffineArrays<const T>& c,
                  bool stream) {
  map_cyclic(n, phase, period, stream, c, y, x);
}

template <class T>
void apply_gradient_cyclic(const GradientPiece<T>& p, size_t n, size_t phase, size_t period,
                           const GradientArrays<const T>& c, bool stream) {
  if (p.w == nullptr) {
    map_cyclic(n, phase, period, stream, c, p.dx, p.x, p.dy);
  } else {
    map_cyclic(n, phase, period, stream, c, p.dx, p.x, p.dy, p.w);
  }
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
  hn::StoreU(hn::Zero(d), d, v + n);  // no bits behind the last
  if (residual != nullptr) {
    size_t i = 0;
    for (; i + N <= n; i += N) hn::StoreU(sum(hn::LoadU(d, v + i), hn::LoadU(d, residual + i)), d, v + i);
    if (i < n) hn::StoreU(sum(hn::LoadU(d, v + i), load_partial(d, residual + i, n - i)), d, v + i);
  }
  const auto zero = hn::Zero(d), factor = hn::Set(d, slope);
  if (positive != nullptr) {
    constexpr size_t kStep = HWY_MAX(8, N);
    for (size_t i = 0; i < n; i += kStep) {
      uint8_t bits[kStep / 8] = {};
      for (size_t k = 0; k < kStep; k += N) {
        uint8_t some[8];
        hn::StoreMaskBits(d, hn::Not(hn::Le(hn::LoadU(d, v + i + k), zero)), some);
        for (size_t j = 0; j < HWY_MAX(1, N / 8); ++j) bits[j] = static_cast<uint8_t>(bits[j] | some[j] << k);
      }
      positive[i / 8] = bits[0];
      if (kStep > 8 && i + 8 < n) positive[i / 8 + 1] = bits[kStep / 8 - 1];
    }
  }
  const auto leaks = hn::Ne(factor, zero);
  map_unfenced(
      d, n, stream,
      [&](auto a) HWY_ATTR {
        return hn::IfThenElse(hn::Le(a, zero), hn::IfThenElseZero(leaks, hn::Mul(a, factor)), a);
      },
      y, v);
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
  size_t i = 0;
  if (N >= 8 && first % 8 == 0) {
    for (; i + N <= n; i += N) {
      const auto keep = hn::LoadMaskBits(d, positive + (first + i) / 8);
      hn::StoreU(gated(hn::LoadU(d, dy + i), keep), d, g + i);
    }
  } else {
    for (; i + N <= n; i += N) hn::StoreU(gated(hn::LoadU(d, dy + i), mask_at(first + i)), d, g + i);
  }
  if (i == n) return;
  if (n >= N && g != dy) {
    hn::StoreU(gated(hn::LoadU(d, dy + n - N), mask_at(first + n - N)), d, g + n - N);
  } else {
    store_partial(gated(load_partial(d, dy + i, n - i), mask_at(first + i)), d, g + i, n - i);
  }
}

}  // namespace norm
}  // namespace HWY_NAMESPACE
}  // namespace regkern
HWY_AFTER_NAMESPACE();

#endif  // REGKERN_KERNELS_NORM_INL_H_
