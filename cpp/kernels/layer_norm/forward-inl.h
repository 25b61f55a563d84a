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

// Σ(x − near) and Σ(x − near)².
template <class E>
HWY_INLINE void sum_deviations(const Element<E>* x, size_t n, bool fetch, Wide<E> near,
                               double* const (&fours)[2]) {
  const auto m = hn::Set(Tag<Wide<E>>(), near);
  const auto terms = [m](auto v) HWY_ATTR {
    const auto deviation = hn::Sub(v, m);
    return Terms<Wide<E>, 2>{{deviation, hn::Mul(deviation, deviation)}};
  };
  sum_row<E, 2, true>(n, fetch, near, terms, fours, x);
}

// Σx².
template <class E>
HWY_INLINE void sum_squares(const Element<E>* x, size_t n, bool fetch, double* const (&fours)[1]) {
  const auto terms = [](auto v) HWY_ATTR { return Terms<Wide<E>, 1>{{hn::Mul(v, v)}}; };
  sum_row<E, 1, true>(n, fetch, 0, terms, fours, x);
}

// An element near the mean: the median of three.
template <class E>
HWY_INLINE Wide<E> near_mean(const Element<E>* x, size_t n) {
  const auto at = [x](size_t i) HWY_ATTR { return static_cast<Wide<E>>(one_double<E>(x + i)); };
  const Wide<E> first = at(0), middle = at(n / 2), last = at(n - 1);
  return HWY_MAX(HWY_MIN(first, middle), HWY_MIN(HWY_MAX(first, middle), last));
}

// The same where a square leaves the range of float: in double.
template <class E>
HWY_INLINE void sum_deviations_wide(const Element<E>* x, size_t n, double near, double* sum,
                                    double* squares) {
  double s = 0, q = 0;
  for (size_t i = 0; i < n; ++i) {
    const double deviation = one_double<E>(x + i) - near;
    s += deviation;
    q += deviation * deviation;
  }
  *sum = s;
  *squares = q;
}

// Mean and Σ(x − mean)² of a block; not centred: 0 and Σx². One pass about the median of three elements, and
// another about the mean where that was more than a deviation away: the squares would then lose digits to it.
template <class E>
void block_moments(const Element<E>* x, size_t n, bool fetch, bool centred, double eps, double* mean,
                   double* squares) {
  using T = Wide<E>;
  const double count = static_cast<double>(n);
  double sum, fours[2][4];
  if (!centred) {
    sum_squares<E>(x, n, fetch, {fours[0]});
    *mean = 0;
    *squares = total_of_four(fours[0]);
    if (!squares_in_range<T>(*squares, eps)) sum_deviations_wide<E>(x, n, 0, &sum, squares);
    return;
  }
  T near = near_mean<E>(x, n);
  for (bool again = false;; again = true) {  // so that there is one copy of the sums
    sum_deviations<E>(x, n, fetch && !again, near, {fours[0], fours[1]});
    sum = total_of_four(fours[0]);
    *squares = total_of_four(fours[1]);
    if (again || !far_from_mean(count, sum, *squares)) break;
    near = static_cast<T>(static_cast<double>(near) + sum / count);
  }
  double centre = static_cast<double>(near);
  if (!squares_in_range<T>(*squares - sum * (sum / count), eps)) {
    centre += sum / count;
    if (!(centre - centre == 0)) centre = one_double<E>(x);
    sum_deviations_wide<E>(x, n, centre, &sum, squares);
  }
  const double m2 = *squares - sum * (sum / count);
  *mean = centre + sum / count;
  *squares = m2 < 0 ? 0 : m2;  // NaN stays
}

// --- the pass --------------------------------------------------------------------------------------------

// Parameters of every element in the order in which those of two bytes are loaded, as far as there are two
// vectors of them. NaN has nothing in its lower half.
template <class E>
HWY_INLINE size_t place_of_parameter(size_t i, size_t n) {
  const size_t past = i % kTwoLanes, two = i - past;
  if constexpr (kIsHalf<E>) return two + kTwoLanes <= n ? two + E::place_in_two(past) : i;
  return i;
}
template <class E>
void order_parameters(const float* from, float* to, size_t n) {
  const Tag<float> d;
  constexpr size_t N = hn::MaxLanes(d);
  const auto nan = hn::Set(d, std::numeric_limits<float>::quiet_NaN());
  const auto store = [=](auto v, float* p)
                         HWY_ATTR { hn::StoreU(hn::IfThenElse(hn::IsNaN(v), nan, v), d, p); };
  size_t i = 0;
  for (; i + 2 * N <= n; i += 2 * N) {
    V<Tag<float>> first, second;
    E::split_two(from + i, first, second);
    store(first, to + i), store(second, to + i + N);
  }
  for (; i < n; ++i) to[i] = coefficient<E>(static_cast<double>(from[i]));
}

// y[i] = op(x[i], parameters[i]...), which are in E's order.
template <class E, class Op, class... Parameters>
HWY_INLINE void map_with(const RowAffine<Wide<E>>& s, size_t ahead, size_t n, Op op, Element<E>* y,
                         const Element<E>* x, const Parameters*... p) {
  if constexpr (kIsHalf<E>) {
    const Tag<float> d;
    constexpr size_t N = hn::MaxLanes(d);
    size_t i = 0;
    for (; i + 2 * N <= n; i += 2 * N) {
      fetch_to_write(y + i + kWriteAhead<Element<E>>);
      const Two v = load_two<E>(x + i);
      const Two w{op(v.first, hn::LoadU(d, p + i)...), op(v.second, hn::LoadU(d, p + i + N)...)};
      hn::StoreU(round_two<E>(w), half::D16(), y + i);
    }
    if (i + N <= n) {
      store_wide<E>(op(load_wide<E>(d, x + i), hn::LoadU(d, p + i)...), d, y + i);
      i += N;
    }
    if (i == n) return;
    const auto w = op(load_wide_partial<E>(d, x + i, n - i), load_partial(d, p + i, n - i)...);
    store_wide_partial<E>(w, d, y + i, n - i);
  } else {
    map_row(s, ahead, n, op, y, x, p...);
  }
}

// y = hat(x)·gamma + beta with parameters for every element; nullptr is 1 and 0.
template <class E, class Hat>
HWY_INLINE void apply_each(const RowAffine<Wide<E>>& s, size_t ahead, const Element<E>* x, Element<E>* y,
                           size_t n, Hat hat, const Wide<E>* gamma, const Wide<E>* beta) {
  if (gamma != nullptr && beta != nullptr) {
    const auto op = [=](auto v, auto g, auto b) HWY_ATTR { return hn::Add(hn::Mul(hat(v), g), b); };
    map_with<E>(s, ahead, n, op, y, x, gamma, beta);
  } else if (gamma != nullptr) {
    map_with<E>(s, ahead, n, [=](auto v, auto g) HWY_ATTR { return hn::Mul(hat(v), g); }, y, x, gamma);
  } else if (beta != nullptr) {
    map_with<E>(s, ahead, n, [=](auto v, auto b) HWY_ATTR { return hn::Add(hat(v), b); }, y, x, beta);
  } else {
    map_with<E>(s, ahead, n, hat, y, x);
  }
}

// The same where a scale is extreme: through double.
template <class E>
HWY_NOINLINE void row_apply_extreme(const Element<E>* x, Element<E>* y, size_t n, const RowAffine<Wide<E>>& s,
                                    size_t channel, double mean, double invstd) {
  using T = Wide<E>;
  for (size_t i = 0; i < n; ++i) {
    const size_t c = channel + (s.inner == 1 ? place_of_parameter<E>(i, n) : i / s.inner);
    const T v = normalized(static_cast<T>(one_double<E>(x + i)), mean, invstd,
                           s.gamma ? static_cast<double>(s.gamma[c]) : 1.0,
                           s.beta && s.centred ? static_cast<double>(s.beta[c]) : 0.0);
    if constexpr (kIsHalf<E>) {
      y[i] = hn::GetLane(E::narrow(hn::Set(Tag<T>(), v)));
    } else {
      y[i] = v;
    }
  }
}

// How the elements of a row become those of mean 0 and variance 1: (x − mean)·scale + shift. What the dtype
// loses of the mean goes into the shift.
template <class T>
struct RowHat {
  T mean, scale, shift;
};

// Those of some rows.
template <class T>
struct RowHats {
  T mean[kRowsFolded], scale[kRowsFolded], shift[kRowsFolded];
  RowHat<T> operator[](size_t r) const { return {mean[r], scale[r], shift[r]}; }
};

template <class T>
HWY_INLINE RowHat<T> hat_of(double mean, double scale, double shift) {
  const T high = static_cast<T>(mean);
  const double low = mean - static_cast<double>(high);
  return {high, static_cast<T>(scale), static_cast<T>(shift - low * scale)};
}

template <class E>
HWY_INLINE auto normalized_by(const RowHat<Wide<E>>& hat) {
  const Tag<Wide<E>> d;
  const auto mean = hn::Set(d, coefficient<E>(hat.mean)), scale = hn::Set(d, coefficient<E>(hat.scale)),
             shift = hn::Set(d, coefficient<E>(hat.shift));
  return [=](auto v) HWY_ATTR { return hn::Add(hn::Mul(hn::Sub(v, mean), scale), shift); };
}

// n elements that have an affine parameter each, from number `channel` on.
template <class E>
HWY_INLINE void apply_hat(const Element<E>* x, Element<E>* y, size_t n, const RowAffine<Wide<E>>& s,
                          size_t channel, const RowHat<Wide<E>>& hat, size_t ahead) {
  using T = Wide<E>;
  const T* gamma = s.gamma ? s.gamma + channel : nullptr;
  const T* beta = s.beta ? s.beta + channel : nullptr;
  if (s.centred) {
    apply_each<E>(s, ahead, x, y, n, normalized_by<E>(hat), gamma, beta);
  } else {
    const auto scale = hn::Set(Tag<T>(), coefficient<E>(hat.scale));
    apply_each<E>(s, ahead, x, y, n, [=](auto v) HWY_ATTR { return hn::Mul(v, scale); }, gamma, nullptr);
  }
}

// Planes of `inner` elements that have an affine parameter each, from number `channel` on, or a part of one.
template <class E>
void apply_planes(const Element<E>* x, Element<E>* y, size_t n, const RowAffine<Wide<E>>& s, size_t channel,
                  double mean, double invstd, size_t ahead) {
  using T = Wide<E>;
  const auto op_of = [&](size_t plane) HWY_ATTR {
    const double g = s.gamma ? static_cast<double>(s.gamma[channel + plane]) : 1.0;
    const double b = s.beta ? static_cast<double>(s.beta[channel + plane]) : 0.0;
    return normalized_by<E>(hat_of<T>(mean, invstd * g, b));
  };
  const size_t plane = HWY_MIN(s.inner, n);
  map_planes<E>(s, ahead, n / plane, plane, op_of, y, x);
}

// Elements of one row, of which the first has the affine parameters number `channel`: with inner of 1 every
// element has its own, else n is a part of one plane of `inner` elements or whole planes.
template <class E>
void row_apply(const Element<E>* x, Element<E>* y, size_t n, const RowAffine<Wide<E>>& s, size_t channel,
               double mean, double invstd, size_t ahead) {
  if (!s.usual(invstd) && std::isfinite(invstd) && invstd != 0) {
    return row_apply_extreme<E>(x, y, n, s, channel, mean, invstd);
  }
  if (s.inner == 1 || !s.centred) {
    return apply_hat<E>(x, y, n, s, channel, hat_of<Wide<E>>(mean, invstd, 0), ahead);
  }
  apply_planes<E>(x, y, n, s, channel, mean, invstd, ahead);
}

// --- rows side by side -----------------------------------------------------------------------------------

// Mean and 1/√(variance + eps) of a row.
template <class E>
HWY_NOINLINE void row_statistics(const Element<E>* x, const RowAffine<Wide<E>>& s, double* mean,
                                 double* invstd) {
  block_moments<E>(x, s.length, false, s.centred, s.eps, mean, invstd);
  const double v = *invstd / static_cast<double>(s.length) + s.eps;
  *invstd = 1 / __builtin_sqrt(v);
  if (squares_suspect<Wide<E>>(v)) {
    const auto at = [x](size_t i) HWY_ATTR { return one_double<E>(x + i); };
    rescale_row(s.length, s.centred, s.eps, at, mean, invstd);
  }
}

// The same for at most kRowsFolded rows, with what they become by it. The sums of a row end in four lanes
// each; from there on a vector holds several rows, which share its divisions and its root. Returns a bit for
// every row that takes more than one pass: its numbers are not set.
template <class E>
HWY_INLINE unsigned rows_statistics(const Element<E>* x, size_t rows, const RowAffine<Wide<E>>& s,
                                    double* mean, double* invstd, RowHats<Wide<E>>& hats) {
  using T = Wide<E>;
  const D64 d;
  const size_t N = hn::Lanes(d);
  using Fours = double[kRowsFolded][4];
  HWY_ALIGN Fours sums, squares;
  for (size_t r = rows; r % N != 0; ++r) {  // what happens to lie there may be subnormal, and slow
    for (size_t k = 0; k < 4; ++k) sums[r][k] = squares[r][k] = 0;
  }
  HWY_ALIGN double near[kRowsFolded] = {}, means[kRowsFolded], invstds[kRowsFolded];
  for (size_t r = 0; r < rows; ++r) {
    const Element<E>* row = x + r * s.length;
    if (s.centred) {
      const T close = near_mean<E>(row, s.length);
      sum_deviations<E>(row, s.length, s.by_hand, close, {sums[r], squares[r]});
      near[r] = static_cast<double>(close);
    } else {
      sum_squares<E>(row, s.length, s.by_hand, {squares[r]});
    }
  }
  const double count = static_cast<double>(s.length);
  const SquaresRange range = squares_range<T>(s.eps);
  unsigned unusual = 0;
  for (size_t r = 0; r < rows; r += N) {
    auto m2 = total_of_fours(squares[r]), m = hn::Zero(d);
    auto usual = hn::Eq(m, m);
    if (s.centred) {
      const auto sum = total_of_fours(sums[r]), offset = hn::Div(sum, hn::Set(d, count));
      usual = hn::Le(hn::Mul(sum, sum), hn::Mul(hn::Set(d, 0.8 * count), m2));
      m = hn::Add(hn::Load(d, near + r), offset);
      m2 = hn::Sub(m2, hn::Mul(sum, offset));
    }
    const auto v = hn::Add(hn::Div(hn::IfThenZeroElse(hn::Lt(m2, hn::Zero(d)), m2), hn::Set(d, count)),
                           hn::Set(d, s.eps));
    const auto checked = sizeof(T) == 8 ? v : m2;
    usual = hn::And(
        usual, hn::And(hn::Gt(checked, hn::Set(d, range.least)), hn::Lt(checked, hn::Set(d, range.most))));
    const auto inverse = hn::Div(hn::Set(d, 1.0), hn::Sqrt(v));
    const auto low = hn::Sub(m, store_rounded(m, hats.mean + r));
    store_rounded(inverse, hats.scale + r);
    store_rounded(hn::Sub(hn::Zero(d), hn::Mul(low, inverse)), hats.shift + r);
    hn::Store(m, d, means + r);
    hn::Store(inverse, d, invstds + r);
    uint8_t bits[8];
    hn::StoreMaskBits(d, hn::Not(usual), bits);
    unusual |= unsigned{bits[0]} << r;
  }
  memcpy(mean, means, rows * sizeof(double));
  memcpy(invstd, invstds, rows * sizeof(double));
  return unusual & ((1u << rows) - 1);
}

// Rows of at most kRowBlock elements one behind the other, the first with the affine parameters from
// `channel` on.
template <class E>
void normalize_rows(const Element<E>* x, Element<E>* y, size_t rows, const RowAffine<Wide<E>>& s,
                    size_t channel, double* mean, double* invstd) {
  const size_t n = s.length, step = n / s.inner, ahead = s.together * n;
  for (size_t row = 0; row < rows; row += s.together) {
    const size_t some = HWY_MIN(s.together, rows - row);
    RowHats<Wide<E>> hats;
    const unsigned unusual = rows_statistics<E>(x + row * n, some, s, mean + row, invstd + row, hats);
    for (size_t r = 0; r < some; ++r) {
      const size_t at = row + r;
      const bool is_usual = (unusual >> r & 1) == 0;
      const Element<E>* const from = x + at * n;
      Element<E>* const to = y + at * n;
      if (!is_usual) row_statistics<E>(from, s, mean + at, invstd + at);
      if (!is_usual || s.inner != 1) {
        row_apply<E>(from, to, n, s, channel, mean[at], invstd[at], ahead);
      } else {
        apply_hat<E>(from, to, n, s, channel, hats[r], ahead);
      }
      channel += step;
      if (channel == s.channels) channel = 0;
    }
  }
}

template <class T>
void row_add(const T* x, const T* residual, T* y, size_t n) {
  map(Tag<T>(), n, false, [](auto a, auto b) HWY_ATTR { return hn::Add(a, b); }, y, x, residual);
}

// The kernels that read and write numbers of two bytes as they lie.
template <class E>
constexpr HalfRows kHalfRows = {.moments = &block_moments<E>,
                                .apply = &row_apply<E>,
                                .rows = &normalize_rows<E>,
                                .order_parameters = &order_parameters<E>};
inline constexpr HalfRows bfloat16_rows = kHalfRows<half::Bfloat16>;
#if REGKERN_F16C
inline constexpr HalfRows float16_rows = kHalfRows<half::Float16>;
#else
inline constexpr HalfRows float16_rows = {};
#endif

}  // namespace layer_norm
}  // namespace HWY_NAMESPACE
}  // namespace regkern
HWY_AFTER_NAMESPACE();

#endif  // REGKERN_KERNELS_LAYER_NORM_FORWARD_INL_H_
