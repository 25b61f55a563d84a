// Normalization of rows that lie in the L1 cache, a block of at most kRowBlock elements at a time.
//
// Moments take two passes inside a block where one would lose digits: the second is centred on the mean that
// the first has found, and corrects it.

#if defined(REGKERN_KERNELS_LAYER_NORM_FORWARD_INL_H_) == defined(HWY_TARGET_TOGGLE)
#ifdef REGKERN_KERNELS_LAYER_NORM_FORWARD_INL_H_
#undef REGKERN_KERNELS_LAYER_NORM_FORWARD_INL_H_
#else
#define REGKERN_KERNELS_LAYER_NORM_FORWARD_INL_H_
#endif

#include "kernels/layer_norm/rows.h"
#include "kernels/layer_norm/rows-inl.h"

HWY_BEFORE_NAMESPACE();
namespace regkern {
namespace HWY_NAMESPACE {
namespace layer_norm {

// --- moments ---------------------------------------------------------------------------------------------

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
  for (bool again = false;; again = true) {  // so that there is one copy of the sums
    sum_deviations(x, n, fetch && !again, near, &sum, squares);
    if (again || !far_from_mean(count, sum, *squares)) break;
    near = static_cast<T>(static_cast<double>(near) + sum / count);
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

// --- the pass --------------------------------------------------------------------------------------------

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

// The same through double.
template <class T>
HWY_NOINLINE void row_apply_steep(const T* x, T* y, size_t n, const RowAffine<T>& s, const T* gamma,
                                  const T* beta, double mean, double invstd) {
  for (size_t i = 0; i < n; ++i) {
    const size_t c = i / s.inner;
    y[i] = steep(x[i], mean, invstd * (gamma ? static_cast<double>(gamma[c]) : 1.0),
                 beta && s.centred ? static_cast<double>(beta[c]) : 0.0);
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
  if (is_steep<T>(invstd)) return row_apply_steep(x, y, n, s, gamma, beta, mean, invstd);
  const auto centred = [=](double factor, double shift) HWY_ATTR {
    const auto scale = hn::Set(d, saturated<T>(factor));
    const auto offset = hn::Set(d, static_cast<T>(shift - low * factor));
    return [=](auto v) HWY_ATTR { return hn::Add(hn::Mul(hn::Sub(v, m), scale), offset); };
  };
  if (!s.centred) {
    const auto scale = hn::Set(d, saturated<T>(invstd));
    const auto hat = [=](auto v) HWY_ATTR { return hn::Mul(v, scale); };
    if (gamma == nullptr) return map_row(s, ahead, n, hat, y, x);
    map_row(s, ahead, n, [=](auto v, auto g) HWY_ATTR { return hn::Mul(hat(v), g); }, y, x, gamma);
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
    for (size_t r = row; r < end; ++r) {
      const double v = invstd[r] / n + s.eps;
      invstd[r] = 1 / __builtin_sqrt(v);
      if (squares_suspect<T>(v)) {
        rescale_row(
            s.length, s.centred, s.eps,
            [row_of = x + r * s.length](size_t i) { return static_cast<double>(row_of[i]); }, mean + r,
            invstd + r);
      }
    }
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

}  // namespace layer_norm
}  // namespace HWY_NAMESPACE
}  // namespace regkern
HWY_AFTER_NAMESPACE();

#endif  // REGKERN_KERNELS_LAYER_NORM_FORWARD_INL_H_
