// Batch normalization over one piece of memory: sums, and the elementwise passes that use them.
//
// A piece is either planar (rows of one channel) or a matrix whose columns are channels. Deviations are taken
// from a shift that is an element of the piece itself; the shift then lies within √n standard deviations of
// the mean, so forming Σ(x−s)² − (Σ(x−s))²/n in double costs at most a factor n + 1 of 2⁻⁵³ (n <= 4096 here),
// and memory is read once.

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

// kLastLanes + r: a mask of kSumLanes lanes that keeps the last r of them.
HWY_ALIGN constexpr uint64_t kLastLanes[2 * kSumLanes] = {
    0,     0,     0,     0,     0,     0,     0,     0,     0,     0,     0,
    0,     0,     0,     0,     0,     ~0ull, ~0ull, ~0ull, ~0ull, ~0ull, ~0ull,
    ~0ull, ~0ull, ~0ull, ~0ull, ~0ull, ~0ull, ~0ull, ~0ull, ~0ull, ~0ull};

HWY_INLINE V<D64> last_lanes(size_t rest, size_t k) {
  const D64 d;
  const hn::ScalableTag<uint64_t> du;
  return hn::BitCast(d, hn::LoadU(du, kLastLanes + rest + k * hn::MaxLanes(d)));
}

// Calls whole(offset) for every chunk of kSumLanes columns of a row, and last(offset, rest) for the chunk
// that ends at the last column and of which only the last `rest` lanes are new. Rows shorter than a chunk:
// see short_row.
template <class Whole, class Last>
HWY_INLINE void for_chunks(size_t cols, Whole whole, Last last) {
  size_t j = 0;
  for (; j + kSumLanes <= cols; j += kSumLanes) whole(j);
  if (j < cols) last(cols - kSumLanes, cols - j);
}

// The rows of one channel may be pages apart, which no hardware prefetcher follows; but behind a row lies
// that of the next channel, which is needed next. Reaching past the end of the array is harmless.
constexpr size_t kShortRow = 1024;

template <class T>
HWY_INLINE void prefetch_next_channel(const T* row, size_t cols) {
  if (cols > kShortRow) return;
  for (size_t j = cols; j < 2 * cols; j += 64 / sizeof(T)) hwy::Prefetch(row + j);
}

// Σ(x − shift) and Σ(x − shift)² over rows × cols elements.
template <class T>
void moments(const T* x, ptrdiff_t row_stride, size_t rows, size_t cols, double shift, double* sum,
             double* sum_sq) {
  const D64 d;
  const size_t N = hn::MaxLanes(d);
  const auto s = hn::Set(d, shift);
  SumLanes first, second;
  const auto add = [&](size_t k, auto deviation) HWY_ATTR {
    first.lanes[k] = hn::Add(first.lanes[k], deviation);
    second.lanes[k] = hn::Add(second.lanes[k], hn::Mul(deviation, deviation));
  };
  for (size_t r = 0; r < rows; ++r, x += row_stride) {
    prefetch_next_channel(x, cols);
    if (cols < kSumLanes) {
      T row[kSumLanes];
      for (T& v : row) v = static_cast<T>(shift);
      memcpy(row, x, cols * sizeof(T));
      for (size_t k = 0; k < kSumVectors; ++k) add(k, hn::Sub(load_double(d, row + k * N), s));
      continue;
    }
    for_chunks(
        cols,
        [&](size_t j) HWY_ATTR {
          for (size_t k = 0; k < kSumVectors; ++k) add(k, hn::Sub(load_double(d, x + j + k * N), s));
        },
        [&](size_t j, size_t rest) HWY_ATTR {
          for (size_t k = 0; k < kSumVectors; ++k) {
            add(k, hn::And(last_lanes(rest, k), hn::Sub(load_double(d, x + j + k * N), s)));
          }
        });
  }
  *sum = first.total();
  *sum_sq = second.total();
}

// Σdy and Σdy·(x − mean) over rows × cols elements.
template <class T>
void gradient_sums(const T* x, ptrdiff_t x_stride, const T* dy, ptrdiff_t dy_stride, size_t rows, size_t cols,
                   double mean, double* sum, double* sum_dev) {
  const D64 d;
  const size_t N = hn::MaxLanes(d);
  const auto m = hn::Set(d, mean);
  SumLanes first, second;
  const auto add = [&](size_t k, auto g, auto product) HWY_ATTR {
    first.lanes[k] = hn::Add(first.lanes[k], g);
    second.lanes[k] = hn::Add(second.lanes[k], product);
  };
  const auto product = [m](auto g, auto v) HWY_ATTR { return hn::Mul(g, hn::Sub(v, m)); };
  for (size_t r = 0; r < rows; ++r, x += x_stride, dy += dy_stride) {
    prefetch_next_channel(x, cols);
    prefetch_next_channel(dy, cols);
    if (cols < kSumLanes) {
      T row_x[kSumLanes], row_dy[kSumLanes] = {};
      for (T& v : row_x) v = static_cast<T>(mean);  // finite beside an Inf in x, so that 0·(x − mean) is 0
      memcpy(row_x, x, cols * sizeof(T));
      memcpy(row_dy, dy, cols * sizeof(T));
      for (size_t k = 0; k < kSumVectors; ++k) {
        const auto g = load_double(d, row_dy + k * N);
        add(k, g, product(g, load_double(d, row_x + k * N)));
      }
      continue;
    }
    for_chunks(
        cols,
        [&](size_t j) HWY_ATTR {
          for (size_t k = 0; k < kSumVectors; ++k) {
            const auto g = load_double(d, dy + j + k * N);
            add(k, g, product(g, load_double(d, x + j + k * N)));
          }
        },
        [&](size_t j, size_t rest) HWY_ATTR {
          for (size_t k = 0; k < kSumVectors; ++k) {
            const auto mask = last_lanes(rest, k), g = load_double(d, dy + j + k * N);
            add(k, hn::And(mask, g), hn::And(mask, product(g, load_double(d, x + j + k * N))));
          }
        });
  }
  *sum = first.total();
  *sum_dev = second.total();
}

// The same two pairs of sums for a matrix of rows × cols whose columns are channels, added to sum[] and
// sum_sq[]. A channel's elements are added row by row, whatever the vector width. Eight rows a sweep keep
// eight streams for the prefetcher and the accumulators in registers for eight additions.
constexpr size_t kSweep = 8;

template <class T>
void column_moments(const T* x, ptrdiff_t row_stride, size_t rows, size_t cols, const double* shift,
                    double* sum, double* sum_sq) {
  const D64 d;
  const size_t N = hn::MaxLanes(d);
  for (size_t r = 0; r < rows; r += kSweep, x += static_cast<ptrdiff_t>(kSweep) * row_stride) {
    const size_t sweep = HWY_MIN(kSweep, rows - r);
    size_t j = 0;
    for (; j + kSumLanes <= cols; j += kSumLanes) {
      V<D64> s[kSumVectors], first[kSumVectors], second[kSumVectors];
      for (size_t k = 0; k < kSumVectors; ++k) {
        s[k] = hn::LoadU(d, shift + j + k * N);
        first[k] = hn::LoadU(d, sum + j + k * N);
        second[k] = hn::LoadU(d, sum_sq + j + k * N);
      }
      const T* p = x + j;
      for (size_t i = 0; i < sweep; ++i, p += row_stride) {
        for (size_t k = 0; k < kSumVectors; ++k) {
          const auto deviation = hn::Sub(load_double(d, p + k * N), s[k]);
          first[k] = hn::Add(first[k], deviation);
          second[k] = hn::Add(second[k], hn::Mul(deviation, deviation));
        }
      }
      for (size_t k = 0; k < kSumVectors; ++k) {
        hn::StoreU(first[k], d, sum + j + k * N);
        hn::StoreU(second[k], d, sum_sq + j + k * N);
      }
    }
    for (; j < cols; ++j) {
      const T* p = x + j;
      for (size_t i = 0; i < sweep; ++i, p += row_stride) {
        const double deviation = static_cast<double>(*p) - shift[j];
        sum[j] += deviation;
        sum_sq[j] += deviation * deviation;
      }
    }
  }
}

template <class T>
void column_gradient_sums(const T* x, ptrdiff_t x_stride, const T* dy, ptrdiff_t dy_stride, size_t rows,
                          size_t cols, const double* mean, double* sum, double* sum_dev) {
  const D64 d;
  const size_t N = hn::MaxLanes(d);
  for (size_t r = 0; r < rows; r += kSweep) {
    const size_t sweep = HWY_MIN(kSweep, rows - r);
    size_t j = 0;
    for (; j + kSumLanes <= cols; j += kSumLanes) {
      V<D64> m[kSumVectors], first[kSumVectors], second[kSumVectors];
      for (size_t k = 0; k < kSumVectors; ++k) {
        m[k] = hn::LoadU(d, mean + j + k * N);
        first[k] = hn::LoadU(d, sum + j + k * N);
        second[k] = hn::LoadU(d, sum_dev + j + k * N);
      }
      const T* p = x + j;
      const T* q = dy + j;
      for (size_t i = 0; i < sweep; ++i, p += x_stride, q += dy_stride) {
        for (size_t k = 0; k < kSumVectors; ++k) {
          const auto g = load_double(d, q + k * N);
          first[k] = hn::Add(first[k], g);
          second[k] = hn::Add(second[k], hn::Mul(g, hn::Sub(load_double(d, p + k * N), m[k])));
        }
      }
      for (size_t k = 0; k < kSumVectors; ++k) {
        hn::StoreU(first[k], d, sum + j + k * N);
        hn::StoreU(second[k], d, sum_dev + j + k * N);
      }
    }
    for (; j < cols; ++j) {
      for (size_t i = 0; i < sweep; ++i) {
        const double g =
            static_cast<double>(dy[static_cast<ptrdiff_t>(i) * dy_stride + static_cast<ptrdiff_t>(j)]);
        const double v =
            static_cast<double>(x[static_cast<ptrdiff_t>(i) * x_stride + static_cast<ptrdiff_t>(j)]);
        sum[j] += g;
        sum_dev[j] += g * (v - mean[j]);
      }
    }
    x += static_cast<ptrdiff_t>(kSweep) * x_stride;
    dy += static_cast<ptrdiff_t>(kSweep) * dy_stride;
  }
}

// y = ((x − mean) − mean_low)·scale + shift. The mean is a pair, mean + mean_low: with one float32 the result
// would be off by 4e-4 at mean/std = 1e4.
template <class Vec>
HWY_INLINE Vec affine(Vec x, Vec mean, Vec mean_low, Vec scale, Vec shift) {
  return hn::Add(hn::Mul(hn::Sub(hn::Sub(x, mean), mean_low), scale), shift);
}

// dx = (dy − a)·scale − ((x − mean) − mean_low)·b
template <class Vec>
HWY_INLINE Vec gradient(Vec x, Vec dy, Vec mean, Vec mean_low, Vec scale, Vec a, Vec b) {
  return hn::Sub(hn::Mul(hn::Sub(dy, a), scale), hn::Mul(hn::Sub(hn::Sub(x, mean), mean_low), b));
}

// Row r is of the channel with coefficients c[r].
template <class T>
void apply(const T* x, T* y, size_t rows, size_t cols, const Affine<T>* c, bool stream) {
  const Tag<T> d;
  for (size_t r = 0; r < rows; ++r, x += cols, y += cols) {
    const auto mean = hn::Set(d, c[r].mean), mean_low = hn::Set(d, c[r].mean_low);
    const auto scale = hn::Set(d, c[r].scale), shift = hn::Set(d, c[r].shift);
    map_unfenced(
        d, cols, stream, [=](auto v) HWY_ATTR { return affine(v, mean, mean_low, scale, shift); }, y, x);
  }
  finish_stream(stream);
}

template <class T>
void apply_gradient(const T* x, const T* dy, T* dx, size_t rows, size_t cols, const Gradient<T>* c,
                    bool stream) {
  const Tag<T> d;
  for (size_t r = 0; r < rows; ++r, x += cols, dy += cols, dx += cols) {
    const auto mean = hn::Set(d, c[r].mean), mean_low = hn::Set(d, c[r].mean_low),
               scale = hn::Set(d, c[r].scale);
    const auto a = hn::Set(d, c[r].a), b = hn::Set(d, c[r].b);
    map_unfenced(
        d, cols, stream, [=](auto v, auto g) HWY_ATTR { return gradient(v, g, mean, mean_low, scale, a, b); },
        dx, x, dy);
  }
  finish_stream(stream);
}

// The same two passes where channels lie beside each other: element i belongs to channel (phase + i) mod
// period. The coefficients are arrays of `period` numbers, continued by kMaxLanes more from the start, so
// that a vector can be loaded at any phase.
template <class T, class Op, class... In>
HWY_INLINE void map_cyclic(size_t n, size_t phase, size_t period, bool stream, Op op, T* y, const In*... x) {
  const Tag<T> d;
  const size_t N = hn::Lanes(d);
  size_t i = 0;
  const auto next = [&](size_t step) HWY_ATTR {
    i += step;
    phase += step;
    while (phase >= period) phase -= period;
  };
  if (stream && n >= 2 * N) {
    const size_t bytes = N * sizeof(T);
    hn::StoreU(op(phase, hn::LoadU(d, x)...), d, y);
    for (next((bytes - reinterpret_cast<uintptr_t>(y) % bytes) / sizeof(T)); i + N <= n; next(N)) {
      hn::Stream(op(phase, hn::LoadU(d, x + i)...), d, y + i);
    }
    hwy::FlushStream();
  }
  for (; i + N <= n; next(N)) hn::StoreU(op(phase, hn::LoadU(d, x + i)...), d, y + i);
  if (i < n) store_partial(op(phase, load_partial(d, x + i, n - i)...), d, y + i, n - i);
}

template <class T>
void apply_cyclic(const T* x, T* y, size_t n, size_t phase, size_t period, const AffineArrays<T>& c,
                  bool stream) {
  const Tag<T> d;
  map_cyclic(
      n, phase, period, stream,
      [&c, d](size_t j, auto v) HWY_ATTR {
        return affine(v, hn::LoadU(d, c.mean + j), hn::LoadU(d, c.mean_low + j), hn::LoadU(d, c.scale + j),
                      hn::LoadU(d, c.shift + j));
      },
      y, x);
}

template <class T>
void apply_gradient_cyclic(const T* x, const T* dy, T* dx, size_t n, size_t phase, size_t period,
                           const GradientArrays<T>& c, bool stream) {
  const Tag<T> d;
  map_cyclic(
      n, phase, period, stream,
      [&c, d](size_t j, auto v, auto g) HWY_ATTR {
        return gradient(v, g, hn::LoadU(d, c.mean + j), hn::LoadU(d, c.mean_low + j),
                        hn::LoadU(d, c.scale + j), hn::LoadU(d, c.a + j), hn::LoadU(d, c.b + j));
      },
      dx, x, dy);
}

}  // namespace HWY_NAMESPACE
}  // namespace regkern
HWY_AFTER_NAMESPACE();

#endif  // REGKERN_KERNELS_NORM_INL_H_
