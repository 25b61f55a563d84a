// The gradients of rows that lie in the L1 cache, a block of at most kRowBlock elements at a time: of x, and
// sums for those of gamma and beta.

#if defined(REGKERN_KERNELS_LAYER_NORM_BACKWARD_INL_H_) == defined(HWY_TARGET_TOGGLE)
#ifdef REGKERN_KERNELS_LAYER_NORM_BACKWARD_INL_H_
#undef REGKERN_KERNELS_LAYER_NORM_BACKWARD_INL_H_
#else
#define REGKERN_KERNELS_LAYER_NORM_BACKWARD_INL_H_
#endif

#include "kernels/layer_norm/rows.h"
#include "kernels/layer_norm/rows-inl.h"

HWY_BEFORE_NAMESPACE();
namespace regkern {
namespace HWY_NAMESPACE {
namespace layer_norm {

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

// The same to four lanes each.
template <class T>
HWY_INLINE void sum_gradients(const T* x, const T* dy, const T* gamma, size_t n, bool fetch, double mean,
                              double* const (&fours)[2]) {
  const auto m = hn::Set(Tag<T>(), static_cast<T>(mean));
  const auto terms = [m](auto v, auto g, auto w) HWY_ATTR {
    const auto weighted = hn::Mul(g, w);
    return Terms<T, 2>{{weighted, hn::Mul(weighted, hn::Sub(v, m))}};
  };
  sum_row<T, 2, false>(n, fetch, T(0), terms, fours, x, dy, gamma);
}

// The sums of g = gamma·dy over a row.
template <class T>
GradientSums row_gradient_sums(const T* x, const T* dy, const T* gamma, size_t n, double mean) {
  double sum[4], dev[4];
  sum_gradients(x, dy, gamma, n, false, mean, {sum, dev});
  const double total = total_of_four(sum), low = mean - static_cast<double>(static_cast<T>(mean));
  return {total, total_of_four(dev) - low * total};
}

// The sums of dy over `planes` planes of n elements one behind the other.
template <class E>
void plane_gradient_sums(const Element<E>* x, const Element<E>* dy, size_t planes, size_t n, double mean,
                         GradientSums* sums) {
  using T = Wide<E>;
  const T high = static_cast<T>(mean);
  const double low = mean - static_cast<double>(high);
  const auto m = hn::Set(Tag<T>(), high);
  const auto terms = [m](auto v, auto g) HWY_ATTR { return Terms<T, 2>{{g, hn::Mul(g, hn::Sub(v, m))}}; };
  for (size_t p = 0; p < planes; ++p) {
    double sum[4], dev[4];
    sum_row<E, 2, false>(n, false, T(0), terms, {sum, dev}, x + p * n, dy + p * n);
    const double total = total_of_four(sum);
    sums[p] = {total, total_of_four(dev) - low * total};
  }
}

template <class T>
HWY_INLINE RowGradient<T> gradient_of_row(const RowAffine<T>& s, double mean, double invstd, GradientSums g) {
  const T high = static_cast<T>(mean);
  const double low = mean - static_cast<double>(high);
  if (!s.centred) g.sum = 0;
  const RowSlope c(g, s.length, low, invstd);
  return {high, static_cast<T>(low), static_cast<T>(invstd), static_cast<T>(c.slope),
          static_cast<T>(c.offset)};
}

// Those of some rows.
template <class T>
struct RowGradients {
  T mean[kRowsFolded], mean_low[kRowsFolded], scale[kRowsFolded], slope[kRowsFolded], offset[kRowsFolded];
  void set(size_t r, const RowGradient<T>& c) {
    mean[r] = c.mean, mean_low[r] = c.mean_low, scale[r] = c.scale, slope[r] = c.slope, offset[r] = c.offset;
  }
};

// Σg and Σg·(x − mean) of rows that share gamma, in four lanes each. Zeros where there are no rows: a vector
// of several is divided at once, and what happens to lie in memory may be subnormal, which takes 50 ns.
struct GradientSumsOfRows {
  HWY_ALIGN double sum[kRowsFolded][4] = {}, dev[kRowsFolded][4] = {};

  // Of rows r to `end`, `stride` apart, the first of which is at o. A call, so that a sweep which goes on
  // beside it keeps its registers.
  template <class T>
  HWY_NOINLINE void set(size_t r, size_t end, const RowOperands<T>& o, size_t stride, const T* gamma,
                        size_t n, bool fetch, const double* mean) {
    const T *x = o.x, *dy = o.dy;
    for (; r < end; ++r, ++mean, x += stride, dy += stride) {
      sum_gradients(x, dy, gamma, n, fetch, *mean, {sum[r], dev[r]});
    }
  }
};

// gradient_of_row for at most kRowsFolded rows. The sums of a row end in four lanes each; from there on a
// vector holds several rows.
template <class T>
HWY_INLINE void gradients_of_rows(const GradientSumsOfRows& sums, size_t rows, const RowAffine<T>& s,
                                  const double* mean, const double* invstd, RowGradients<T>& c) {
  const D64 d;
  const auto n = hn::Set(d, static_cast<double>(s.length));
  for (size_t r = 0; r < rows; r += hn::Lanes(d)) {
    const auto load = [&](const double* of_rows) HWY_ATTR {
      const size_t some = rows - r;
      return some < hn::Lanes(d) ? load_partial(d, of_rows + r, some) : hn::LoadU(d, of_rows + r);
    };
    const auto m = load(mean), inverse = load(invstd);
    const auto low = hn::Sub(m, store_rounded(m, c.mean + r));
    auto sum = total_of_fours(sums.sum[r]);
    const auto dev = hn::Sub(total_of_fours(sums.dev[r]), hn::Mul(low, sum));
    if (!s.centred) sum = hn::Zero(d);
    const auto slope = hn::Mul(inverse, hn::Mul(inverse, hn::Div(dev, n)));
    store_rounded(low, c.mean_low + r);
    store_rounded(inverse, c.scale + r);
    store_rounded(slope, c.slope + r);
    store_rounded(hn::Sub(hn::Div(sum, n), hn::Mul(low, slope)), c.offset + r);
  }
}

// How a sweep writes and fetches. `stream`: around the cache, where rows are whole vectors apart and dx is
// not dy. `write_ahead`: how far ahead the lines of dx are fetched, if not 0; `read_ahead`: those of x and
// dy.
struct Traffic {
  bool stream;
  size_t write_ahead, read_ahead;
};

// Rows of fewer vectors are not worth being aligned.
constexpr size_t kAlignFrom = 16;

// dx for some rows that lie `stride` apart, and dgamma += Σ dy·((x − mean)·scale), dbeta += Σ dy over these
// rows: two vectors of columns at a time, whose sums stay in registers while the rows go by. beside(i) is
// called with multiples of kRowLanes, from 0 on, among the sweep.
template <class T, class Beside>
HWY_INLINE void sweep_gradient(const RowOperands<T>& o, size_t rows, size_t stride, size_t n,
                               const RowGradients<T>& c, const RowParameters<T>& p, Traffic traffic,
                               Beside beside) {
  const T *const x = o.x, *const dy = o.dy, *const gamma = p.gamma;
  T *const dx = o.dx, *const dgamma = p.dgamma, *const dbeta = p.dbeta;
  const size_t write_ahead = traffic.write_ahead, read_ahead = traffic.read_ahead;
  const Tag<T> d;
  const size_t N = hn::Lanes(d);
  struct Row {
    V<Tag<T>> mean, low, scale, slope, offset;
  };
  const auto row_of = [&](size_t r) HWY_ATTR {
    return Row{hn::Set(d, c.mean[r]), hn::Set(d, c.mean_low[r]), hn::Set(d, c.scale[r]),
               hn::Set(d, c.slope[r]), hn::Set(d, c.offset[r])};
  };
  // One vector of columns of one row. keep(v) is v where the columns count.
  const auto one = [&](const Row& row, size_t at, V<Tag<T>> w, V<Tag<T>>& sum_gamma, V<Tag<T>>& sum_beta,
                       auto load, auto keep, auto store_dx) HWY_ATTR {
    const auto v = load(x + at), g = load(dy + at), high = hn::Sub(v, row.mean);
    const auto share = hn::Add(hn::Mul(high, row.slope), row.offset);
    store_dx(hn::Mul(hn::Sub(hn::Mul(g, w), share), row.scale), dx + at);
    sum_gamma = hn::Add(sum_gamma, keep(hn::Mul(g, hn::Mul(hn::Sub(high, row.low), row.scale))));
    sum_beta = hn::Add(sum_beta, keep(g));
  };
  const auto load = [&](const T* from) HWY_ATTR { return hn::LoadU(d, from); };
  const auto store = [&](auto v, T* to) HWY_ATTR { hn::StoreU(v, d, to); };
  const auto all = [](auto v) HWY_ATTR { return v; };
  const auto some = [&](size_t i, auto from, auto keep, auto to, auto store_dx) HWY_ATTR {
    const auto w = from(gamma + i);
    auto sum_gamma = from(dgamma + i), sum_beta = from(dbeta + i);
    for (size_t r = 0; r < rows; ++r)
      one(row_of(r), r * stride + i, w, sum_gamma, sum_beta, from, keep, store_dx);
    to(sum_gamma, dgamma + i);
    to(sum_beta, dbeta + i);
  };
  const auto two = [&](size_t i, auto store_dx) HWY_ATTR {
    const auto w0 = load(gamma + i), w1 = load(gamma + i + N);
    auto gamma0 = load(dgamma + i), gamma1 = load(dgamma + i + N);
    auto beta0 = load(dbeta + i), beta1 = load(dbeta + i + N);
    for (size_t r = 0; r < rows; ++r) {
      const size_t at = r * stride + i;
      if (read_ahead != 0) {
        __builtin_prefetch(x + at + read_ahead, 0, 2);
        __builtin_prefetch(dy + at + read_ahead, 0, 2);
      }
      if (write_ahead != 0) fetch_to_write(dx + at + write_ahead);
      const Row row = row_of(r);
      one(row, at, w0, gamma0, beta0, load, all, store_dx);
      one(row, at + N, w1, gamma1, beta1, load, all, store_dx);
    }
    store(gamma0, dgamma + i);
    store(gamma1, dgamma + i + N);
    store(beta0, dbeta + i);
    store(beta1, dbeta + i + N);
  };
  // Less than a vector: as whole ones that others overlap, as far as dx may be written twice: stores under a
  // mask are slow on Zen.
  const bool twice = !traffic.stream && dx != dy && n >= N;
  const auto partly = [&](size_t i, size_t count) HWY_ATTR {
    const auto to = [&](auto v, T* at) HWY_ATTR { store_partial(v, d, at, count); };
    some(i, [&](const T* at) HWY_ATTR { return load_partial(d, at, count); }, all, to, to);
  };
  // Streams begin with a line, of which no other way writes a part: of lines in two parts, a few rows at a
  // time, (100,000, 256) took 3.2 times as long.
  const size_t unit = traffic.stream ? 64 / sizeof(T) : N;
  const size_t past = reinterpret_cast<uintptr_t>(dx) / sizeof(T) % unit;
  const size_t head = past == 0 || (!traffic.stream && n < kAlignFrom * N) ? 0 : unit - past;
  size_t i = head % N;
  if (n < N) return partly(0, n);
  if (i != 0 && twice) {
    const auto first = hn::FirstN(d, i);
    some(0, load, [&](auto v) HWY_ATTR { return hn::IfThenElseZero(first, v); }, store, store);
  } else if (i != 0) {
    partly(0, i);
  }
  for (; i < head; i += N) some(i, load, all, store, store);
  const auto chunks = [&](auto store_dx) HWY_ATTR {
    size_t at = 0;
    for (; i + kRowLanes <= n; i += kRowLanes, at += kRowLanes) {
      for (size_t k = 0; k < kRowLanes; k += 2 * N) two(i + k, store_dx);
      beside(at);
    }
  };
  if (traffic.stream) {
    // What is left of a line belongs to the next row: it is on its way meanwhile.
    for (size_t r = 0; r < rows; ++r) fetch_to_write(dx + r * stride + n - 1);
    const auto stream = [&](auto v, T* to) HWY_ATTR { hn::Stream(v, d, to); };
    chunks(stream);
    for (; i + 2 * N <= n; i += 2 * N) two(i, stream);
  } else {
    chunks(store);
    for (; i + 2 * N <= n; i += 2 * N) two(i, store);
  }
  for (; i + N <= n; i += N) some(i, load, all, store, store);
  if (i == n) return;
  if (twice) {
    const auto done = hn::FirstN(d, N - (n - i));
    some(n - N, load, [&](auto v) HWY_ATTR { return hn::IfThenZeroElse(done, v); }, store, store);
  } else {
    partly(i, n - i);
  }
}

// A sweep of its own over a row.
template <class T>
void row_gradient(const RowOperands<T>& o, size_t n, const RowGradients<T>& c, const RowParameters<T>& p,
                  bool stream, bool far) {
  sweep_gradient(o, 1, n, n, c, p, {stream, stream || !far ? 0 : kNear<T>, 0}, [](size_t) {});
}

// A piece of n elements of a row, the sums of which are known.
template <class T>
void gradient_run(const RowOperands<T>& o, size_t n, const RowAffine<T>& s, const RowParameters<T>& p,
                  double mean, double invstd, const GradientSums& g) {
  RowGradients<T> c;
  c.set(0, gradient_of_row(s, mean, invstd, g));
  row_gradient(o, n, c, p, s.stream, s.far);
}

// gradient_rows, one row after the other: while one is written, the sums of the next are taken, so that slow
// caches read and write all the time. (64, 4096) 1.20, (1536, 1024) 1.14 times as fast on a Xeon (Emerald
// Rapids).
template <class T>
void gradient_rows_overlapped(const RowOperands<T>& o, size_t rows, const RowAffine<T>& s,
                              const RowParameters<T>& p, size_t channel, const double* mean,
                              const double* invstd) {
  const size_t n = s.length;
  GradientSums sums = row_gradient_sums(o.x, o.dy, p.gamma + channel, n, mean[0]);
  for (size_t row = 0; row < rows; ++row) {
    RowGradients<T> c;
    c.set(0, gradient_of_row(s, mean[row], invstd[row], sums));
    const size_t now = channel;
    channel = (channel + n) % s.channels;
    if (row + 1 == rows) {
      row_gradient(o.at(row * n), n, c, p.at(now), s.stream, true);
      return;
    }
    const RowOperands<T> next_row = o.at((row + 1) * n);
    const T *const next_x = next_row.x, *const next_dy = next_row.dy, *const gamma = p.gamma + channel;
    GradientRow<T> next(mean[row + 1]);
    size_t done = 0;
    const auto beside = [&](size_t i) HWY_ATTR {
      fetch_near(next_x + i);
      fetch_near(next_dy + i);
      next.add_chunk(i, next_x, next_dy, gamma);
      done = i + kRowLanes;
    };
    sweep_gradient(o.at(row * n), 1, n, n, c, p.at(now), {s.stream, s.stream ? 0 : kNear<T>, 0}, beside);
    next.add(done, n, next_x, next_dy, gamma);
    sums = next.total();
  }
}

// Longer rows that come from slow caches overlap one by one.
constexpr size_t kRowsShort = 256;

// Some rows with the same affine parameters, which share a sweep.
struct RowsOfSweep {
  size_t first, count;
};

// Rows of at most kRowBlock elements one behind the other: one with the affine parameters from `channel` on,
// or whole cycles of them. Where caches are slow, the sums of the rows of the next sweep are taken beside
// this one: the two wait for different things. On a Xeon (Emerald Rapids) (1024, 256) 1.15, (256, 512) in the
// second cache 1.25 times as fast.
template <class T>
void gradient_rows(const RowOperands<T>& o, size_t rows, const RowAffine<T>& s, const RowParameters<T>& p,
                   size_t channel, const double* mean, const double* invstd) {
  const size_t n = s.length;
  if (s.by_hand && s.far && n > kRowsShort) {
    return gradient_rows_overlapped(o, rows, s, p, channel, mean, invstd);
  }
  const size_t cycle = rows == 1 ? 1 : s.channels / n;
  const auto some_from = [&](size_t row)
                             HWY_ATTR { return RowsOfSweep{row, HWY_MIN(s.together, (rows - row) / cycle)}; };
  const auto behind = [&](RowsOfSweep r) HWY_ATTR {
    return (r.first + 1) % cycle != 0 ? RowsOfSweep{r.first + 1, r.count}
                                      : some_from(r.first + 1 + (r.count - 1) * cycle);
  };
  const auto channel_of = [&](RowsOfSweep r) HWY_ATTR { return channel + r.first % cycle * n; };
  GradientSumsOfRows sums;
  double means[kRowsFolded], invstds[kRowsFolded];
  size_t known = 0;  // rows of the next sweep, the sums of which are known
  const auto sum_until = [&](RowsOfSweep r, size_t end) HWY_ATTR {
    if (end <= known) return;
    for (size_t k = known; k < end; ++k) {
      means[k] = mean[r.first + k * cycle], invstds[k] = invstd[r.first + k * cycle];
    }
    sums.set(known, end, o.at((r.first + known * cycle) * n), cycle * n, p.gamma + channel_of(r), n,
             s.by_hand, means + known);
    known = end;
  };
  RowsOfSweep now = some_from(0);
  sum_until(now, now.count);
  while (now.count != 0) {
    RowGradients<T> c;
    gradients_of_rows(sums, now.count, s, means, invstds, c);
    const RowsOfSweep next = behind(now);
    const size_t ahead = (next.first - now.first) * n;
    known = 0;
    const auto beside = [&](size_t at) HWY_ATTR {
      if (s.by_hand) sum_until(next, (at + kRowLanes) * next.count / n);
    };
    const Traffic traffic{s.stream, s.stream || !s.far ? 0 : ahead, s.far && !s.by_hand ? ahead : 0};
    sweep_gradient(o.at(now.first * n), now.count, cycle * n, n, c, p.at(channel_of(now)), traffic, beside);
    sum_until(next, next.count);
    now = next;
  }
}

// dx of `planes` planes of n elements that begin with the affine parameter number `channel`.
template <class E>
void gradient_planes(const RowOperands<Element<E>>& o, size_t planes, size_t n, const RowAffine<Wide<E>>& s,
                     size_t channel, double mean, double invstd, const GradientSums& g) {
  using T = Wide<E>;
  const Tag<T> d;
  const RowSlope c(g, s.length, mean - static_cast<double>(static_cast<T>(mean)), invstd);
  const auto m = hn::Set(d, coefficient<E>(mean)), slope = hn::Set(d, coefficient<E>(c.slope)),
             offset = hn::Set(d, coefficient<E>(c.offset)), scale = hn::Set(d, coefficient<E>(invstd));
  const auto op_of = [&](size_t plane) HWY_ATTR {
    const auto w = hn::Set(d, s.gamma ? coefficient<E>(s.gamma[channel + plane]) : T(1));
    return [=](auto gradient, auto v) HWY_ATTR {
      const auto share = hn::Add(hn::Mul(hn::Sub(v, m), slope), offset);
      return hn::Mul(hn::Sub(hn::Mul(gradient, w), share), scale);
    };
  };
  map_planes<E>(s, 0, planes, n, op_of, o.dx, o.dy, o.x);
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

// The kernels that read and write numbers of two bytes as they lie.
template <class E>
constexpr HalfPlaneGradients kHalfGradients = {.sums = &plane_gradient_sums<E>, .apply = &gradient_planes<E>};
inline constexpr HalfPlaneGradients bfloat16_gradients = kHalfGradients<half::Bfloat16>;
#if REGKERN_F16C
inline constexpr HalfPlaneGradients float16_gradients = kHalfGradients<half::Float16>;
#else
inline constexpr HalfPlaneGradients float16_gradients = {};
#endif

}  // namespace layer_norm
}  // namespace HWY_NAMESPACE
}  // namespace regkern
HWY_AFTER_NAMESPACE();

#endif  // REGKERN_KERNELS_LAYER_NORM_BACKWARD_INL_H_
