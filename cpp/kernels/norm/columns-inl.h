// The sums of batch norm over a matrix of rows × cols whose columns are channels, added to what is there. A
// channel's elements are added row by row, whatever the vector width; the terms of its gradient in the dtype
// over at most kRun rows, and in double above.

#if defined(REGKERN_KERNELS_NORM_COLUMNS_INL_H_) == defined(HWY_TARGET_TOGGLE)
#ifdef REGKERN_KERNELS_NORM_COLUMNS_INL_H_
#undef REGKERN_KERNELS_NORM_COLUMNS_INL_H_
#else
#define REGKERN_KERNELS_NORM_COLUMNS_INL_H_
#endif

#include "kernels/norm/planes-inl.h"

HWY_BEFORE_NAMESPACE();
namespace regkern {
namespace HWY_NAMESPACE {
namespace norm {

// A sweep of rows keeps the sums of a line of columns in registers for as many additions, and fetches the
// lines of the next sweep. Not unrolled: the code of eight rows takes 1.25 times as long as a loop over them.
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

// Forgets what was stored. Else compilers take the halves of a vector apart in registers, where each becomes
// double in two steps, on ports that the sums need, in place of one from memory.
template <class T>
HWY_INLINE void forget_stores(T& memory) {
#if HWY_COMPILER_GCC || HWY_COMPILER_CLANG
  asm("" : "+m"(memory));
#endif
}

// `rows` rows of kVectors vectors of columns.
template <class E, bool kShifted, size_t kVectors>
HWY_INLINE void sweep_moments(RowsOf<Element<E>> x, size_t rows, const double* shift, double* sum,
                              double* sum_sq) {
  using Dev = Deviation<kShifted, Wide<E>>;
  const D64 d;
  const size_t N = hn::MaxLanes(d);
  HWY_ALIGN Wide<E> room[kSumLanes];
  V<D64> s[kVectors], first[kVectors], second[kVectors];
  for (size_t k = 0; k < kVectors; ++k) {
    s[k] = hn::LoadU(d, shift + k * N);
    first[k] = hn::LoadU(d, sum + k * N);
    second[k] = hn::LoadU(d, sum_sq + k * N);
  }
  const Element<E>* p = x.data;
  const ptrdiff_t ahead = static_cast<ptrdiff_t>(rows) * x.stride;
  for (; rows != 0; --rows, p += x.stride) {
    forget_origin(p);
    hwy::Prefetch(p + ahead);
    const Wide<E>* wide = nullptr;
    if constexpr (kVectors == kSumVectors) {
      wide = unpacked<E>(p, kSumLanes, room);
      if (kIsHalf<E>) forget_stores(room);
    }
    for (size_t k = 0; k < kVectors; ++k) {
      const auto v =
          kVectors == kSumVectors ? load_double(d, wide + place_of<E>(k)) : load_double<E>(p + k * N);
      const auto deviation = Dev::of(v, s[k]);
      first[k] = hn::Add(first[k], deviation);
      second[k] = Dev::add_square(deviation, second[k]);
    }
  }
  for (size_t k = 0; k < kVectors; ++k) {
    hn::StoreU(first[k], d, sum + k * N);
    hn::StoreU(second[k], d, sum_sq + k * N);
  }
}

template <class E>
void column_moments(RowsOf<Element<E>> x, size_t rows, size_t cols, const double* shift, double* sum,
                    double* sum_sq) {
  const D64 d;
  const size_t N = hn::MaxLanes(d), most = sweep_rows<Element<E>>(x.stride, 1);
  const auto shifted = [&](size_t begin, size_t end) HWY_ATTR {
    auto any = hn::Zero(d);
    for (size_t j = begin; j < end; j += N) any = hn::Or(any, hn::LoadU(d, shift + j));
    return !hn::AllTrue(d, hn::Eq(any, hn::Zero(d)));
  };
  const bool some_shifted = shifted(0, cols / N * N);
  for (size_t r = 0; r < rows; r += most) {
    const size_t now = HWY_MIN(most, rows - r);
    const Element<E>* const row = x.data + static_cast<ptrdiff_t>(r) * x.stride;
    size_t j = 0;
    const auto sweep = [&]<size_t kVectors>(std::integral_constant<size_t, kVectors>) HWY_ATTR {
      for (const size_t width = kVectors * N; j + width <= cols; j += width) {
        const RowsOf<Element<E>> from{row + j, x.stride};
        if (some_shifted && shifted(j, j + width)) {
          sweep_moments<E, true, kVectors>(from, now, shift + j, sum + j, sum_sq + j);
        } else {
          sweep_moments<E, false, kVectors>(from, now, shift + j, sum + j, sum_sq + j);
        }
      }
    };
    sweep(std::integral_constant<size_t, kSumVectors>());
    sweep(std::integral_constant<size_t, 1>());
    for (; j < cols; ++j) {
      const Element<E>* p = row + j;
      for (size_t i = 0; i < now; ++i, p += x.stride) {
        const double deviation = one_double<E>(p) - shift[j];
        sum[j] += deviation;
        sum_sq[j] += deviation * deviation;
      }
    }
  }
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
template <class E>
struct GradientColumns {
  RowsOf<Element<E>> x, dy;
  const Wide<E>* mean;
};
template <class T>
struct PartOfRun {
  T *sum, *dev;
  bool begins, ends;
};

template <class E, size_t kVectors, class Load, class LoadMean, class Total>
HWY_INLINE void sweep_gradient_sums(const GradientColumns<E>& of, size_t rows, const PartOfRun<Wide<E>>& run,
                                    Load load, LoadMean load_mean, Total total) {
  using T = Wide<E>;
  const Tag<T> d;
  const size_t N = hn::MaxLanes(d);
  V<Tag<T>> m[kVectors], first[kVectors], second[kVectors];
  for (size_t k = 0; k < kVectors; ++k) {
    m[k] = load_mean(of.mean + k * N);
    first[k] = run.begins ? hn::Zero(d) : hn::Load(d, run.sum + k * N);
    second[k] = run.begins ? hn::Zero(d) : hn::Load(d, run.dev + k * N);
  }
  const Element<E>*p = of.x.data, *q = of.dy.data;
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
template <class E>
void column_gradient_sums(RowsOf<Element<E>> x, RowsOf<Element<E>> dy, size_t rows, size_t cols,
                          const Wide<E>* mean, double* sum, double* sum_dev) {
  using T = Wide<E>;
  constexpr size_t kRun = 16, kWidth = 512;
  const Tag<T> d;
  constexpr size_t N = hn::MaxLanes(Tag<T>()), kLine = HWY_MAX(size_t{1}, 64 / sizeof(T) / N);  // vectors
  const size_t most = HWY_MIN(sweep_rows<Element<E>>(x.stride, 2), sweep_rows<Element<E>>(dy.stride, 2));
  HWY_ALIGN T part[kWidth], part_dev[kWidth];
  for (size_t col = 0; col < cols; col += kWidth) {
    const size_t end = HWY_MIN(col + kWidth, cols);
    for (size_t r = 0, now; r < rows; r += now) {
      now = HWY_MIN(HWY_MIN(most, kRun - r % kRun), rows - r);
      const bool begins = r % kRun == 0, ends = (r + now) % kRun == 0 || r + now == rows;
      const ptrdiff_t row = static_cast<ptrdiff_t>(r);
      size_t j = col;
      const auto sweep = [&]<size_t kVectors>(std::integral_constant<size_t, kVectors>, auto load,
                                              auto load_mean, auto add) HWY_ATTR {
        const GradientColumns<E> of{
            {x.data + row * x.stride + j, x.stride}, {dy.data + row * dy.stride + j, dy.stride}, mean + j};
        const PartOfRun<T> run{part + (j - col), part_dev + (j - col), begins, ends};
        sweep_gradient_sums<E, kVectors>(of, now, run, load, load_mean,
                                         [&](auto first, auto second, size_t k) HWY_ATTR {
                                           add(first, sum + j + k);
                                           add(second, sum_dev + j + k);
                                         });
      };
      const auto load = [d](const Element<E>* from) HWY_ATTR { return load_wide<E>(d, from); };
      const auto load_mean = [d](const T* from) HWY_ATTR { return hn::LoadU(d, from); };
      const auto add = [](auto v, double* total) HWY_ATTR { add_to<T>(total, v); };
      for (; j + kLine * N <= end; j += kLine * N)
        sweep(std::integral_constant<size_t, kLine>(), load, load_mean, add);
      for (; j + N <= end; j += N) sweep(std::integral_constant<size_t, 1>(), load, load_mean, add);
      if (j == end) continue;
      const size_t rest = end - j;
      sweep(
          std::integral_constant<size_t, 1>(),
          [d, rest](const Element<E>* from) HWY_ATTR { return load_wide_partial<E>(d, from, rest); },
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

}  // namespace norm
}  // namespace HWY_NAMESPACE
}  // namespace regkern
HWY_AFTER_NAMESPACE();

#endif  // REGKERN_KERNELS_NORM_COLUMNS_INL_H_
