// Normalization of rows that lie in the L1 cache, a block of at most kRowBlock elements at a time, and of
// matrices whose columns are channels.
//
// Sums of a row run in kRowLanes lanes of the dtype, whatever the vector width, so every instruction set adds
// the same numbers in the same order; a lane adds its terms in pairs. Moments take two passes inside a block
// where one would lose digits: the second is centred on the mean that the first has found, and corrects it.
// Columns add at most kColumnRows terms before they go to double.

#if defined(REGKERN_KERNELS_LAYER_NORM_INL_H_) == defined(HWY_TARGET_TOGGLE)
#ifdef REGKERN_KERNELS_LAYER_NORM_INL_H_
#undef REGKERN_KERNELS_LAYER_NORM_INL_H_
#else
#define REGKERN_KERNELS_LAYER_NORM_INL_H_
#endif

#include "kernels/layer_norm.h"
#include "kernels/simd-inl.h"

HWY_BEFORE_NAMESPACE();
namespace regkern {
namespace HWY_NAMESPACE {

// --- sums over a row -------------------------------------------------------------------------------------

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

// terms(vector) of the chunks of a run, added in pairs. kFetch: the lines that many elements behind are
// fetched.
template <size_t kChunks, size_t kFetch, class T, class Op>
HWY_INLINE auto pairwise(Op terms, const T* x) {
  if constexpr (kChunks == 1) {
    if constexpr (kFetch != 0) __builtin_prefetch(x + kFetch, 0, 3);
    return terms(hn::LoadU(Tag<T>(), x));
  } else {
    constexpr size_t kHalf = kChunks / 2;
    return pairwise<kHalf, kFetch>(terms, x) + pairwise<kHalf, kFetch>(terms, x + kHalf * kRowLanes);
  }
}

// Adds terms(vector) for the whole runs of n elements, and returns how many elements they have. Chunk by
// chunk, as for two inputs, takes a tenth more of the time of a norm.
template <size_t kFetch, class T, size_t kSums, class Op>
HWY_INLINE size_t add_runs(RowSums<T, kSums>& sums, size_t n, Op terms, const T* x) {
  constexpr size_t kVectors = RowSums<T, kSums>::kVectors, kLength = kRunTerms * kRowLanes;
  size_t i = 0;
  for (; i + kLength <= n; i += kLength) {
    typename RowSums<T, kSums>::Lanes run;
    for (size_t k = 0; k < kVectors; ++k) {
      run[k] = pairwise<kRunTerms, kFetch>(terms, x + i + k * (kRowLanes / kVectors));
    }
    sums.done_run(run);
  }
  return i;
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

// Σ(x − near) and Σ(x − near)².
template <class T>
HWY_INLINE void sum_deviations(const T* x, size_t n, bool fetch, T near, double* sum, double* squares) {
  const auto m = hn::Set(Tag<T>(), near);
  RowSums<T, 2> sums;
  const auto terms = [m](auto v) HWY_ATTR {
    const auto deviation = hn::Sub(v, m);
    return Terms<T, 2>{{deviation, hn::Mul(deviation, deviation)}};
  };
  const size_t done = fetch ? add_runs<kNear<T>>(sums, n, terms, x) : add_runs<0>(sums, n, terms, x);
  add_row(sums, done, n, fetch, near, terms, x);
  double totals[2];
  sums.totals(totals);
  *sum = totals[0];
  *squares = totals[1];
}

// The same where a square leaves the range of float: in double.
template <class T>
HWY_INLINE void sum_deviations_wide(const T* x, size_t n, double near, double* sum, double* squares) {
  double s = 0, q = 0;
  for (size_t i = 0; i < n; ++i) {
    const double deviation = static_cast<double>(x[i]) - near;
    s += deviation;
    q += deviation * deviation;
  }
  *sum = s;
  *squares = q;
}

// Mean and Σ(x − mean)² of a block; not centred: 0 and Σx². One pass about the median of three elements, and
// another about the mean where that was more than a deviation away: the squares would then lose digits to it.
template <class T>
void block_moments(const T* x, size_t n, bool fetch, bool centred, double eps, double* mean,
                   double* squares) {
  const double count = static_cast<double>(n);
  double sum;
  T near = 0;
  if (!centred) {
    RowSums<T, 1> sums;
    const auto terms = [](auto v) HWY_ATTR { return Terms<T, 1>{{hn::Mul(v, v)}}; };
    const size_t done = fetch ? add_runs<kNear<T>>(sums, n, terms, x) : add_runs<0>(sums, n, terms, x);
    add_row(sums, done, n, fetch, T(0), terms, x);
    *mean = 0;
    sums.totals(squares);
    if (!squares_in_range<T>(*squares, eps)) sum_deviations_wide(x, n, 0, &sum, squares);
    return;
  }
  const T first = x[0], middle = x[n / 2], last = x[n - 1];
  near = HWY_MAX(HWY_MIN(first, middle), HWY_MIN(HWY_MAX(first, middle), last));
  sum_deviations(x, n, fetch, near, &sum, squares);
  if (far_from_mean(count, sum, *squares)) {
    near = static_cast<T>(static_cast<double>(near) + sum / count);
    sum_deviations(x, n, false, near, &sum, squares);
  }
  double centre = static_cast<double>(near);
  if (!squares_in_range<T>(*squares - sum * (sum / count), eps)) {
    centre += sum / count;
    if (!(centre - centre == 0)) centre = static_cast<double>(first);
    sum_deviations_wide(x, n, centre, &sum, squares);
  }
  const double m2 = *squares - sum * (sum / count);
  *mean = centre + sum / count;
  *squares = m2 < 0 ? 0 : m2;  // NaN stays
}

// --- rows forward ----------------------------------------------------------------------------------------

// map_unfenced for rows beyond the second cache: lines of y are fetched to be written a little ahead of the
// stores, and, where `ahead` is not 0, the elements of x so far ahead, which the sums of the next rows will
// read. A sweep that writes then does not wait for the lines it overwrites, nor one that reads for the last
// cache: 0.36 in place of 0.44 ns an element.
template <class Op, class T, class... In>
HWY_INLINE void map_far(size_t n, bool stream, size_t ahead, Op op, T* y, const T* x, const In*... more) {
  const Tag<T> d;
  constexpr size_t kLine = 64 / sizeof(T), N = hn::MaxLanes(d);
  size_t i = HWY_MIN(n, (kLine - reinterpret_cast<uintptr_t>(y) % 64 / sizeof(T)) % kLine);
  map_unfenced(d, i, false, op, y, x, more...);
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
  map_unfenced(d, n - i, false, op, y + i, x + i, (more + i)...);
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

// y = hat(x)·gamma + beta with parameters for every element; nullptr is 1 and 0.
template <class T, class Hat>
HWY_INLINE void apply_each(const RowAffine<T>& s, size_t ahead, const T* x, T* y, size_t n, Hat hat,
                           const T* gamma, const T* beta) {
  if (gamma != nullptr && beta != nullptr) {
    const auto op = [=](auto v, auto g, auto b) HWY_ATTR { return hn::Add(hn::Mul(hat(v), g), b); };
    map_row(s, ahead, n, op, y, x, gamma, beta);
  } else if (gamma != nullptr) {
    map_row(s, ahead, n, [=](auto v, auto g) HWY_ATTR { return hn::Mul(hat(v), g); }, y, x, gamma);
  } else if (beta != nullptr) {
    map_row(s, ahead, n, [=](auto v, auto b) HWY_ATTR { return hn::Add(hat(v), b); }, y, x, beta);
  } else {
    map_row(s, ahead, n, hat, y, x);
  }
}

// Elements of one row, of which the first has the affine parameters number `channel`: with inner of 1 every
// element has its own, else n is a part of one plane of `inner` elements or whole planes. What the dtype
// loses of the mean goes into the shift.
template <class T>
void row_apply(const T* x, T* y, size_t n, const RowAffine<T>& s, size_t channel, double mean, double invstd,
               size_t ahead) {
  const Tag<T> d;
  const T high = static_cast<T>(mean);
  const double low = mean - static_cast<double>(high);
  const auto m = hn::Set(d, high);
  const T* gamma = s.gamma ? s.gamma + channel : nullptr;
  const T* beta = s.beta ? s.beta + channel : nullptr;
  const auto centred = [=](double factor, double shift) HWY_ATTR {
    const auto scale = hn::Set(d, saturated<T>(factor));
    const auto offset = hn::Set(d, static_cast<T>(shift - low * factor));
    return [=](auto v) HWY_ATTR { return hn::Add(hn::Mul(hn::Sub(v, m), scale), offset); };
  };
  if (!s.centred) {
    const auto scale = hn::Set(d, saturated<T>(invstd));
    apply_each(s, ahead, x, y, n, [=](auto v) HWY_ATTR { return hn::Mul(v, scale); }, gamma, beta);
  } else if (s.inner == 1) {
    apply_each(s, ahead, x, y, n, centred(invstd, 0), gamma, beta);
  } else {
    for (size_t at = 0, c = 0; at < n; at += s.inner, ++c) {
      const double g = gamma ? static_cast<double>(gamma[c]) : 1.0;
      const double b = beta ? static_cast<double>(beta[c]) : 0.0;
      map_row(s, ahead, HWY_MIN(s.inner, n - at), centred(invstd * g, b), y + at, x + at);
    }
  }
}

// Rows of at most kRowBlock elements one behind the other, the first with the affine parameters from
// `channel` on. Several short rows share a sweep, so that the divisions of one hide behind the sums of
// others.
template <class T>
void normalize_rows(const T* x, T* y, size_t rows, const RowAffine<T>& s, size_t channel, double* mean,
                    double* invstd) {
  const size_t together = s.together, step = s.length / s.inner;
  const double n = static_cast<double>(s.length);
  for (size_t row = 0; row < rows; row += together) {
    const size_t end = HWY_MIN(rows, row + together);
    for (size_t r = row; r < end; ++r) {
      block_moments(x + r * s.length, s.length, s.by_hand, s.centred, s.eps, mean + r, invstd + r);
    }
    for (size_t r = row; r < end; ++r) invstd[r] = 1 / __builtin_sqrt(invstd[r] / n + s.eps);
    for (size_t r = row; r < end; ++r) {
      row_apply(x + r * s.length, y + r * s.length, s.length, s, channel, mean[r], invstd[r],
                together * s.length);
      channel += step;
      if (channel == s.channels) channel = 0;
    }
  }
}

template <class T>
void row_add(const T* x, const T* residual, T* y, size_t n) {
  map(Tag<T>(), n, false, [](auto a, auto b) HWY_ATTR { return hn::Add(a, b); }, y, x, residual);
}

// --- rows backward ---------------------------------------------------------------------------------------

// Σg and Σg·(x − mean) over a row. What the dtype loses of the mean is made good behind the sum.
template <class T>
class GradientRow {
 public:
  HWY_INLINE explicit GradientRow(double mean)
      : high_(hn::Set(Tag<T>(), static_cast<T>(mean))),
        low_(mean - static_cast<double>(static_cast<T>(mean))) {}
  // Chunk i of a row of g = gamma·dy, and elements [begin, n).
  HWY_INLINE void add_chunk(size_t i, const T* x, const T* dy, const T* gamma) {
    const Tag<T> d;
    const auto terms = weighted();
    for (size_t k = 0; k < RowSums<T, 2>::kVectors; ++k) {
      const size_t at = i + k * hn::Lanes(d);
      sums_.add(k, terms(hn::LoadU(d, x + at), hn::LoadU(d, dy + at), hn::LoadU(d, gamma + at)));
    }
    sums_.done();
  }
  HWY_INLINE void add(size_t begin, size_t n, const T* x, const T* dy, const T* gamma) {
    add_row(sums_, begin, n, false, T(0), weighted(), x, dy, gamma);
  }
  // n elements of g = dy.
  HWY_INLINE void add(size_t n, const T* x, const T* dy) {
    const auto m = high_;
    add_row(sums_, 0, n, false, T(0), [m](auto v, auto g) HWY_ATTR { return terms(v, g, m); }, x, dy);
  }
  HWY_INLINE GradientSums total() const {
    double sums[2];
    sums_.totals(sums);
    return {sums[0], sums[1] - low_ * sums[0]};
  }

 private:
  static HWY_INLINE Terms<T, 2> terms(V<Tag<T>> x, V<Tag<T>> g, V<Tag<T>> mean) {
    return {{g, hn::Mul(g, hn::Sub(x, mean))}};
  }
  HWY_INLINE auto weighted() const {
    const auto m = high_;
    return [m](auto v, auto g, auto w) HWY_ATTR { return terms(v, hn::Mul(g, w), m); };
  }

  V<Tag<T>> high_;
  double low_;
  RowSums<T, 2> sums_;
};

// The sums of g = gamma·dy over a row.
template <class T>
GradientSums row_gradient_sums(const T* x, const T* dy, const T* gamma, size_t n, double mean) {
  GradientRow<T> row(mean);
  row.add(0, n, x, dy, gamma);
  return row.total();
}

// The sums of dy over `planes` planes of n elements one behind the other.
template <class T>
void plane_gradient_sums(const T* x, const T* dy, size_t planes, size_t n, double mean, GradientSums* sums) {
  for (size_t p = 0; p < planes; ++p) {
    GradientRow<T> row(mean);
    row.add(n, x + p * n, dy + p * n);
    sums[p] = row.total();
  }
}

template <class T>
HWY_INLINE RowGradient<T> gradient_of_row(const RowAffine<T>& s, double mean, double invstd, GradientSums g) {
  const T high = static_cast<T>(mean);
  const double low = mean - static_cast<double>(high);
  if (!s.centred) g.sum = 0;
  const RowSlope c(g, s.length, low, invstd);
  return {high, static_cast<T>(low), saturated<T>(invstd), static_cast<T>(c.slope), static_cast<T>(c.offset)};
}

// dx for kRows rows that lie `stride` apart, and dgamma += Σ dy·((x − mean)·scale), dbeta += Σ dy over these
// rows. Several rows at once load and store the sums once. `stream`: around the cache, where `stride` is
// whole vectors and dx is not dy. `write_ahead`: how far ahead the lines of dx are fetched, if not 0;
// `read_ahead`: those of x and dy. beside(i) is called with multiples of kRowLanes, from 0 on, among the
// sweep.
template <size_t kRows, class T, class Beside>
HWY_INLINE void sweep_gradient(const T* x, const T* dy, T* dx, size_t stride, size_t n,
                               const RowGradient<T>* c, const T* gamma, T* dgamma, T* dbeta, bool stream,
                               size_t write_ahead, size_t read_ahead, Beside beside) {
  const Tag<T> d;
  const size_t N = hn::Lanes(d);
  V<Tag<T>> mean[kRows], low[kRows], scale[kRows], slope[kRows], offset[kRows];
  for (size_t r = 0; r < kRows; ++r) {
    mean[r] = hn::Set(d, c[r].mean);
    low[r] = hn::Set(d, c[r].mean_low);
    scale[r] = hn::Set(d, c[r].scale);
    slope[r] = hn::Set(d, c[r].slope);
    offset[r] = hn::Set(d, c[r].offset);
  }
  const auto some = [&](size_t i, auto load, auto store, auto store_dx) HWY_ATTR {
    const auto w = load(gamma + i);
    auto sum_gamma = load(dgamma + i), sum_beta = load(dbeta + i);
    for (size_t r = 0; r < kRows; ++r) {
      const size_t at = r * stride + i;
      const auto v = load(x + at), g = load(dy + at);
      if (read_ahead != 0) {
        __builtin_prefetch(x + at + read_ahead, 0, 2);
        __builtin_prefetch(dy + at + read_ahead, 0, 2);
      }
      if (write_ahead != 0) fetch_to_write(dx + at + write_ahead);
      const auto high = hn::Sub(v, mean[r]), share = hn::Add(hn::Mul(high, slope[r]), offset[r]);
      store_dx(hn::Mul(hn::Sub(hn::Mul(g, w), share), scale[r]), dx + at);
      sum_gamma = hn::Add(sum_gamma, hn::Mul(g, hn::Mul(hn::Sub(high, low[r]), scale[r])));
      sum_beta = hn::Add(sum_beta, g);
    }
    store(sum_gamma, dgamma + i);
    store(sum_beta, dbeta + i);
  };
  const auto partly = [&](size_t i, size_t count) HWY_ATTR {
    const auto store = [&](auto v, T* p) HWY_ATTR { store_partial(v, d, p, count); };
    some(i, [&](const T* p) HWY_ATTR { return load_partial(d, p, count); }, store, store);
  };
  const auto load = [&](const T* p) HWY_ATTR { return hn::LoadU(d, p); };
  const auto store = [&](auto v, T* p) HWY_ATTR { hn::StoreU(v, d, p); };
  size_t i = HWY_MIN(n, (N - reinterpret_cast<uintptr_t>(dx) / sizeof(T) % N) % N);
  if (i != 0) partly(0, i);
  const auto whole = [&](auto store_dx) HWY_ATTR {
    for (size_t at = 0; i + kRowLanes <= n; i += kRowLanes, at += kRowLanes) {
      for (size_t k = 0; k < kRowLanes; k += N) some(i + k, load, store, store_dx);
      beside(at);
    }
    for (; i + N <= n; i += N) some(i, load, store, store_dx);
  };
  if (stream) {
    whole([&](auto v, T* p) HWY_ATTR { hn::Stream(v, d, p); });
  } else {
    whole(store);
  }
  if (i < n) partly(i, n - i);
}

template <size_t kRows, class T>
void row_gradient(const T* x, const T* dy, T* dx, size_t stride, size_t n, const RowGradient<T>* c,
                  const T* gamma, T* dgamma, T* dbeta, bool stream, bool far) {
  const size_t ahead = far ? kRows * stride : 0;
  sweep_gradient<kRows>(x, dy, dx, stride, n, c, gamma, dgamma, dbeta, stream,
                        stream || !far ? 0
                        : kRows == 1   ? kNear<T>
                                       : ahead,
                        ahead, [](size_t) {});
}

// A piece of n elements of a row, the sums of which are known.
template <class T>
void gradient_run(const T* x, const T* dy, T* dx, size_t n, const RowAffine<T>& s, const T* gamma,
                  double mean, double invstd, const GradientSums& g, T* dgamma, T* dbeta) {
  const RowGradient<T> c = gradient_of_row(s, mean, invstd, g);
  row_gradient<1>(x, dy, dx, 0, n, &c, gamma, dgamma, dbeta, s.stream, s.far);
}

// gradient_rows, one row after the other: while one is written, the sums of the next are taken, so that slow
// caches read and write all the time. (64, 4096) 1.20, (1536, 1024) 1.14 times as fast on a Xeon (Emerald
// Rapids).
template <class T>
void gradient_rows_overlapped(const T* x, const T* dy, T* dx, size_t rows, const RowAffine<T>& s,
                              size_t channel, const double* mean, const double* invstd, T* dgamma, T* dbeta) {
  const size_t n = s.length;
  GradientSums sums = row_gradient_sums(x, dy, s.gamma + channel, n, mean[0]);
  for (size_t row = 0; row < rows; ++row, x += n, dy += n, dx += n) {
    const RowGradient<T> c = gradient_of_row(s, mean[row], invstd[row], sums);
    const size_t now = channel;
    channel = (channel + n) % s.channels;
    if (row + 1 == rows) {
      row_gradient<1>(x, dy, dx, n, n, &c, s.gamma + now, dgamma + now, dbeta + now, s.stream, true);
      return;
    }
    const T *const next_x = x + n, *const next_dy = dy + n, *const gamma = s.gamma + channel;
    GradientRow<T> next(mean[row + 1]);
    size_t done = 0;
    const auto beside = [&](size_t i) HWY_ATTR {
      fetch_near(next_x + i);
      fetch_near(next_dy + i);
      next.add_chunk(i, next_x, next_dy, gamma);
      done = i + kRowLanes;
    };
    sweep_gradient<1>(x, dy, dx, n, n, &c, s.gamma + now, dgamma + now, dbeta + now, s.stream,
                      s.stream ? 0 : kNear<T>, 0, beside);
    next.add(done, n, next_x, next_dy, gamma);
    sums = next.total();
  }
}

// Rows of at most kRowBlock elements one behind the other that all have the same affine parameters, or, one
// row at a time, parameters that begin at `channel` and go round.
template <class T>
void gradient_rows(const T* x, const T* dy, T* dx, size_t rows, const RowAffine<T>& s, size_t channel,
                   const double* mean, const double* invstd, T* dgamma, T* dbeta) {
  if (s.by_hand) return gradient_rows_overlapped(x, dy, dx, rows, s, channel, mean, invstd, dgamma, dbeta);
  const size_t n = s.length;
  for (size_t row = 0; row < rows;) {
    const size_t together = rows - row >= s.together ? s.together : 1, at = row * n;
    const T* gamma = s.gamma + channel;
    RowGradient<T> c[4];
    for (size_t r = 0; r < together; ++r) {
      const double m = mean[row + r];
      c[r] = gradient_of_row(s, m, invstd[row + r],
                             row_gradient_sums(x + at + r * n, dy + at + r * n, gamma, n, m));
    }
    const auto gradient = together == 4   ? &row_gradient<4, T>
                          : together == 2 ? &row_gradient<2, T>
                                          : &row_gradient<1, T>;
    gradient(x + at, dy + at, dx + at, n, n, c, gamma, dgamma + channel, dbeta + channel, s.stream, s.far);
    row += together;
    channel = (channel + together * n) % s.channels;
  }
}

// dx of `planes` planes of n elements that begin with the affine parameter number `channel`.
template <class T>
void gradient_planes(const T* x, const T* dy, T* dx, size_t planes, size_t n, const RowAffine<T>& s,
                     size_t channel, double mean, double invstd, const GradientSums& g) {
  const Tag<T> d;
  const T high = static_cast<T>(mean);
  const RowSlope c(g, s.length, mean - static_cast<double>(high), invstd);
  const auto m = hn::Set(d, high), slope = hn::Set(d, static_cast<T>(c.slope)),
             offset = hn::Set(d, static_cast<T>(c.offset)), scale = hn::Set(d, saturated<T>(invstd));
  for (size_t p = 0; p < planes; ++p) {
    const auto w = hn::Set(d, s.gamma ? s.gamma[channel + p] : T(1));
    const auto op = [=](auto gradient, auto v) HWY_ATTR {
      const auto share = hn::Add(hn::Mul(hn::Sub(v, m), slope), offset);
      return hn::Mul(hn::Sub(hn::Mul(gradient, w), share), scale);
    };
    map_row(s, 0, n, op, dx + p * n, dy + p * n, x + p * n);
  }
}

// total[i] += part[i], or the first time total[i] = part[i], and part[i] = 0.
template <class T>
void row_flush(double* total, T* part, size_t n, bool first) {
  const D64 d;
  const size_t N = hn::Lanes(d);
  size_t i = 0;
  if (first) {
    for (; i + N <= n; i += N) hn::StoreU(load_double(d, part + i), d, total + i);
    for (; i < n; ++i) total[i] = static_cast<double>(part[i]);
  } else {
    for (; i + N <= n; i += N) {
      hn::StoreU(hn::Add(hn::LoadU(d, total + i), load_double(d, part + i)), d, total + i);
    }
    for (; i < n; ++i) total[i] += static_cast<double>(part[i]);
  }
  memset(part, 0, n * sizeof(T));
}

// --- columns ---------------------------------------------------------------------------------------------

// Calls body(first, rows, column, load, store) for n elements in rows of `width`, the last of which may be
// shorter: kColumnSweep rows at a time, vector by vector of columns. The rows of the next sweep are fetched
// by hand: the hardware does not follow so many streams.
template <class T, class Body, class... In>
HWY_INLINE void for_columns(size_t n, size_t width, Body body, const In*... x) {
  const Tag<T> d;
  const size_t N = hn::Lanes(d);
  for (size_t first = 0; first < n;) {
    const size_t rows = HWY_MAX(size_t{1}, HWY_MIN(kColumnSweep, (n - first) / width));
    const size_t columns = HWY_MIN(width, n - first);
    size_t j = 0;
    for (; j + N <= columns; j += N) {
      for (size_t r = kColumnSweep; r < 2 * kColumnSweep; ++r) {
        (__builtin_prefetch(x + first + r * width + j, 0, 2), ...);
      }
      body(
          first, rows, j, [=](const T* p) HWY_ATTR { return hn::LoadU(d, p); },
          [=](auto v, T* p) HWY_ATTR { hn::StoreU(v, d, p); });
    }
    if (j < columns) {
      body(
          first, rows, j, [=](const T* p) HWY_ATTR { return load_partial(d, p, columns - j); },
          [=](auto v, T* p) HWY_ATTR { store_partial(v, d, p, columns - j); });
    }
    first += rows * width;
  }
}

// The terms of up to kColumnSweep rows.
template <class Op, class Load, class... In>
HWY_INLINE auto sweep_of_columns(size_t rows, Op terms, Load load, size_t width, const In*... x) {
  auto sum = terms(load(x)...);
  for (size_t r = 1; r < rows; ++r) sum = sum + terms(load(x + r * width)...);
  return sum;
}

// sum += Σ(x − shift) and squares += Σ(x − shift)², column by column.
template <class T>
void column_moments(const T* x, size_t n, size_t width, const T* shift, T* sum, T* squares) {
  const auto add = [&](size_t first, size_t rows, size_t j, auto load, auto store) HWY_ATTR {
    const auto s = load(shift + j);
    const auto terms = [s](auto v) HWY_ATTR {
      const auto deviation = hn::Sub(v, s);
      return Terms<T, 2>{{deviation, hn::Mul(deviation, deviation)}};
    };
    const auto sums = Terms<T, 2>{{load(sum + j), load(squares + j)}} +
                      sweep_of_columns(rows, terms, load, width, x + first + j);
    store(sums.v[0], sum + j);
    store(sums.v[1], squares + j);
  };
  for_columns<T>(n, width, add, x);
}

// sum += Σdy and sum_dev += Σdy·(x − mean), column by column.
template <class T>
void column_gradient_sums(const T* x, const T* dy, size_t n, size_t width, const T* mean, T* sum,
                          T* sum_dev) {
  const auto add = [&](size_t first, size_t rows, size_t j, auto load, auto store) HWY_ATTR {
    const auto m = load(mean + j);
    const auto terms = [m](auto v, auto g) HWY_ATTR { return Terms<T, 2>{{g, hn::Mul(g, hn::Sub(v, m))}}; };
    const auto sums = Terms<T, 2>{{load(sum + j), load(sum_dev + j)}} +
                      sweep_of_columns(rows, terms, load, width, x + first + j, dy + first + j);
    store(sums.v[0], sum + j);
    store(sums.v[1], sum_dev + j);
  };
  for_columns<T>(n, width, add, x, dy);
}

// Calls body(position, column, count) for n elements in rows of `width`: a row at a time, and where the
// coefficients of a row do not fit the L1 cache, a strip of some rows at a time.
template <class Body>
HWY_INLINE void for_strips(size_t n, size_t width, Body body) {
  for (size_t first = 0; first < n; first += kColumnSweep * width) {
    const size_t end = HWY_MIN(n, first + kColumnSweep * width);
    for (size_t j = 0; j < width; j += kColumnStrip) {
      for (size_t at = first + j; at < end; at += width) {
        body(at, j, HWY_MIN(HWY_MIN(kColumnStrip, width - j), end - at));
      }
    }
  }
}

// y = (x − mean)·scale + shift.
template <class T>
void column_apply(const T* x, T* y, size_t n, size_t width, const ColumnAffine<T>& c) {
  const auto op = [](auto v, auto mean, auto scale, auto shift)
                      HWY_ATTR { return hn::Add(hn::Mul(hn::Sub(v, mean), scale), shift); };
  for_strips(n, width, [&](size_t at, size_t j, size_t count) HWY_ATTR {
    map_unfenced(Tag<T>(), count, false, op, y + at, x + at, c.mean + j, c.scale + j, c.shift + j);
  });
}

// dx = (dy·gamma − ((x − mean)·slope + offset))·scale.
template <class T>
void column_gradient(const T* x, const T* dy, T* dx, size_t n, size_t width, const ColumnGradient<T>& c) {
  const auto op = [](auto g, auto v, auto mean, auto gamma, auto scale, auto slope, auto offset) HWY_ATTR {
    const auto share = hn::Add(hn::Mul(hn::Sub(v, mean), slope), offset);
    return hn::Mul(hn::Sub(hn::Mul(g, gamma), share), scale);
  };
  for_strips(n, width, [&](size_t at, size_t j, size_t count) HWY_ATTR {
    map_unfenced(Tag<T>(), count, false, op, dx + at, dy + at, x + at, c.mean + j, c.gamma + j, c.scale + j,
                 c.slope + j, c.offset + j);
  });
}

}  // namespace HWY_NAMESPACE
}  // namespace regkern
HWY_AFTER_NAMESPACE();

#endif  // REGKERN_KERNELS_LAYER_NORM_INL_H_
