// Losses of generalized linear models over a stretch of samples, in float64: their sums, the means that
// linear predictors stand for, and how far two means are apart.

#if defined(REGKERN_KERNELS_LINEAR_LIKELIHOOD_INL_H_) == defined(HWY_TARGET_TOGGLE)
#ifdef REGKERN_KERNELS_LINEAR_LIKELIHOOD_INL_H_
#undef REGKERN_KERNELS_LINEAR_LIKELIHOOD_INL_H_
#else
#define REGKERN_KERNELS_LINEAR_LIKELIHOOD_INL_H_
#endif

#include <stddef.h>

#include "kernels/linear/likelihood.h"
#include "kernels/math-inl.h"

HWY_BEFORE_NAMESPACE();
namespace regkern {
namespace HWY_NAMESPACE {
namespace linear_likelihood {

// Where a loop is, and how many of a vector's elements there are: all, but at the end.
struct Place {
  size_t i, count;
  HWY_INLINE V<D64> load(const double* p) const {
    const D64 d;
    return count == hn::Lanes(d) ? hn::LoadU(d, p + i) : load_partial(d, p + i, count);
  }
  HWY_INLINE void store(V<D64> v, double* p) const {
    const D64 d;
    if (count == hn::Lanes(d)) {
      hn::StoreU(v, d, p + i);
    } else {
      store_partial(v, d, p + i, count);
    }
  }
};

// Σ step(place): a step weighs what it gives by what is 0 behind the end.
template <class Step>
HWY_INLINE double sum_of(size_t n, Step step) {
  const D64 d;
  const size_t N = hn::Lanes(d);
  V<D64> sum = hn::Zero(d);
  size_t i = 0;
  for (; i + N <= n; i += N) sum = hn::Add(sum, step(Place{i, N}));
  if (i < n) sum = hn::Add(sum, step(Place{i, n - i}));
  return fold(d, sum);
}

// log x of a normal x > 0.
HWY_INLINE V<D64> log_positive(V<D64> x) {
  const D64 d;
  const hn::RebindToSigned<D64> di;
  const auto from = hn::Set(di, int64_t{0x3FE6A09E667F3BCD});  // √½: what is left of x is in [√½, √2)
  const auto exponent = hn::ShiftRight<52>(hn::Sub(hn::BitCast(di, x), from));
  const auto rest = hn::BitCast(d, hn::Sub(hn::BitCast(di, x), hn::ShiftLeft<52>(exponent)));
  return log_of(d, hn::ConvertTo(d, exponent), hn::Sub(rest, hn::Set(d, 1.0)));
}

// log(1 + e), 0 <= e <= 1.
HWY_INLINE V<D64> log1p_of_unit(V<D64> e) {
  const D64 d;
  const auto one = hn::Set(d, 1.0);
  const auto far = hn::Gt(e, hn::Set(d, 0.41421356237309503));
  const auto halved = hn::Mul(hn::Set(d, 0.5), hn::Sub(e, one));
  return log_of(d, hn::IfThenElseZero(far, one), hn::IfThenElse(far, halved, e));
}

using linear::Between;
using linear::Means;
using linear::Stretch;

// Σ s·(log(1 + eᶻ) − yz), y 0 or 1.
inline double logistic(const Stretch& x, const Means& out) {
  const D64 d;
  const auto zero = hn::Zero(d), one = hn::Set(d, 1.0);
  return sum_of(x.n, [&](Place at) HWY_ATTR {
    const auto v = at.load(x.z), label = at.load(x.y), weight = at.load(x.s);
    const auto e = exp_nonpositive(d, hn::Neg(hn::Abs(v)), zero);
    if (out.mean != nullptr) {
      const auto large = hn::Div(one, hn::Add(one, e)), small = hn::Mul(e, large);
      const auto below = hn::Lt(v, zero);
      const auto mean = hn::IfThenElse(below, small, large), rest = hn::IfThenElse(below, large, small);
      at.store(mean, out.mean);
      at.store(rest, out.rest);
      at.store(hn::Mul(weight, hn::IfThenElse(hn::Gt(label, zero), rest, hn::Neg(mean))), out.slope);
    }
    const auto line = hn::Sub(hn::Max(v, zero), hn::Mul(label, v));
    return hn::Mul(weight, hn::Add(line, log1p_of_unit(e)));
  });
}

// Σ s·(eᶻ − yz).
inline double poisson(const Stretch& x, const Means& out) {
  const D64 d;
  const auto zero = hn::Zero(d), one = hn::Set(d, 1.0);
  return sum_of(x.n, [&](Place at) HWY_ATTR {
    const auto v = at.load(x.z), label = at.load(x.y), weight = at.load(x.s);
    const auto e = exp_nonpositive(d, hn::Neg(hn::Abs(v)), zero);
    const auto mean = hn::IfThenElse(hn::Gt(v, zero), hn::Div(one, e), e);
    if (out.mean != nullptr) {
      at.store(mean, out.mean);
      at.store(hn::Mul(weight, hn::Sub(label, mean)), out.slope);
    }
    return hn::Mul(weight, hn::Sub(mean, hn::Mul(label, v)));
  });
}

// Σ s·(log Σ_c exp(z_c) − z_y), y the number of a class.
inline double softmax(const Stretch& x, const Means& out) {
  const D64 d;
  const auto one = hn::Set(d, 1.0);
  return sum_of(x.n, [&](Place at) HWY_ATTR {
    const auto label = at.load(x.y), weight = at.load(x.s);
    auto most = at.load(x.z);
    for (size_t c = 1; c < x.classes; ++c) most = hn::Max(most, at.load(x.z + c * x.stride));
    auto sum = hn::Zero(d), own = hn::Zero(d);
    for (size_t c = 0; c < x.classes; ++c) {
      const auto v = hn::Sub(at.load(x.z + c * x.stride), most);
      const auto e = exp_nonpositive(d, v, hn::Zero(d));
      sum = hn::Add(sum, e);
      own = hn::IfThenElse(hn::Eq(label, hn::Set(d, static_cast<double>(c))), v, own);
      if (out.mean != nullptr) at.store(e, out.mean + c * x.stride);
    }
    if (out.mean != nullptr) {
      const auto inverse = hn::Div(one, sum);
      for (size_t c = 0; c < x.classes; ++c) {
        const auto mean = hn::Mul(at.load(out.mean + c * x.stride), inverse);
        const auto hit = hn::IfThenElseZero(hn::Eq(label, hn::Set(d, static_cast<double>(c))), one);
        at.store(mean, out.mean + c * x.stride);
        at.store(hn::Mul(weight, hn::Sub(hit, mean)), out.slope + c * x.stride);
      }
    }
    return hn::Mul(weight, hn::Sub(log_positive(sum), own));
  });
}

// Σ s·(q·log(q/μ) − q + μ): never negative.
inline double divergence(const Between& x, size_t n) {
  const D64 d;
  const auto zero = hn::Zero(d), one = hn::Set(d, 1.0), scale = hn::Set(d, x.scale);
  return sum_of(n, [&](Place at) HWY_ATTR {
    const auto mean = at.load(x.mean), weight = at.load(x.s);
    const auto step = hn::Div(at.load(x.t), hn::IfThenElse(hn::Gt(weight, zero), weight, one));
    const auto q = hn::Max(hn::Add(at.load(x.from), hn::Mul(scale, step)), zero);
    const auto safe = hn::Max(mean, hn::Set(d, 1e-290));
    const auto ratio = hn::Div(q, safe);
    const auto far =
        hn::Sub(hn::Mul(ratio, log_positive(hn::Max(ratio, hn::Set(d, 1e-300)))), hn::Sub(ratio, one));
    // (1 + x) log(1 + x) − x = x²/2 − x³/6 + x⁴/12 ∓ …
    const auto delta = hn::Div(hn::Sub(q, mean), safe);
    const auto near = hn::Mul(hn::Mul(delta, delta),
                              polynomial(d, delta, 1.0 / 2, -1.0 / 6, 1.0 / 12, -1.0 / 20, 1.0 / 30,
                                         -1.0 / 42, 1.0 / 56, -1.0 / 72, 1.0 / 90, -1.0 / 110, 1.0 / 132));
    const auto small = hn::Lt(hn::Abs(delta), hn::Set(d, 0.03));
    return hn::Mul(weight, hn::Mul(safe, hn::IfThenElse(small, near, hn::Max(far, zero))));
  });
}

}  // namespace linear_likelihood
}  // namespace HWY_NAMESPACE
}  // namespace regkern
HWY_AFTER_NAMESPACE();

#endif  // REGKERN_KERNELS_LINEAR_LIKELIHOOD_INL_H_
