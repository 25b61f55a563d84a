// exp, log, sine and cosine, the normal distribution: what the fused activations and the normal numbers need.
//
// Nothing is fused, so every instruction set gives the same bits; polynomials are minimax fits (Remez, 50
// digits) whose error stands beside them. Coefficients go from the constant term up.

#if defined(REGKERN_KERNELS_MATH_INL_H_) == defined(HWY_TARGET_TOGGLE)
#ifdef REGKERN_KERNELS_MATH_INL_H_
#undef REGKERN_KERNELS_MATH_INL_H_
#else
#define REGKERN_KERNELS_MATH_INL_H_
#endif

#include "kernels/simd-inl.h"

HWY_BEFORE_NAMESPACE();
namespace regkern {
namespace HWY_NAMESPACE {

template <class T>
struct Format;
template <>
struct Format<float> {
  static constexpr int mantissa = 23, bias = 127;
  static constexpr float round = 12582912.0f;                                // 1.5·2²³
  static constexpr float ln2_high = 0.693145752f, ln2_low = 1.42860677e-6f;  // high·n is exact for |n| < 2⁸
  static constexpr float exp_zero = -104.0f;                                 // exp rounds to 0 below
  static constexpr int32_t upper_half = ~0xFFF;  // a number of 12 bits: its square is exact
};
template <>
struct Format<double> {
  static constexpr int mantissa = 52, bias = 1023;
  static constexpr double round = 6755399441055744.0;  // 1.5·2⁵²
  static constexpr double ln2_high = 0.69314718036912382, ln2_low = 1.9082149292705877e-10;
  static constexpr double exp_zero = -746.0;
  static constexpr int64_t upper_half = ~int64_t{0x7FFFFFF};
};

template <class D, class T = hn::TFromD<D>>
HWY_INLINE V<D> polynomial(D d, V<D>, T c) {
  return hn::Set(d, c);
}
template <class D, class T = hn::TFromD<D>, class... Rest>
HWY_INLINE V<D> polynomial(D d, V<D> x, T c, Rest... rest) {
  return hn::Add(hn::Set(d, c), hn::Mul(x, polynomial(d, x, rest...)));
}

// (exp(r) − 1 − r) / r² on |r| <= ln 2 / 2; exp is off by 2⁻²⁷ and 2⁻⁵⁶ of itself.
HWY_INLINE V<Tag<float>> exp_tail(Tag<float> d, V<Tag<float>> r) {
  return polynomial(d, r, 0.5f, 0.166665763f, 0.0416668542f, 0.00836319942f, 0.00139013189f);
}
HWY_INLINE V<Tag<double>> exp_tail(Tag<double> d, V<Tag<double>> r) {
  return polynomial(d, r, 0.50000000000000011, 0.16666666666666644, 0.041666666666624004,
                    0.0083333333333563617, 0.0013888888917290415, 0.00019841269784366694,
                    2.4801521160002061e-05, 2.755735563325644e-06, 2.7620159124636228e-07,
                    2.5068198579960961e-08);
}

// exp(x + c) for x + c <= 0, NaN for NaN: c carries what x could not hold. Subnormal results are kept.
template <class D, class T = hn::TFromD<D>>
HWY_INLINE V<D> exp_nonpositive(D d, V<D> x, V<D> c) {
  const hn::RebindToSigned<D> di;
  using F = Format<T>;
  constexpr int kLift = 64;  // 2ⁿ⁺⁶⁴ is normal wherever the result is not 0
  const auto alive = hn::Gt(x, hn::Set(d, F::exp_zero));
  const auto at = hn::IfThenElse(alive, x, hn::Set(d, F::exp_zero));
  const auto carry = hn::IfThenElseZero(alive, c);
  const auto round = hn::Set(d, F::round);
  const auto shifted = hn::Add(hn::Mul(hn::Add(at, carry), hn::Set(d, T(1.4426950408889634))), round);
  const auto n = hn::Sub(shifted, round);
  const auto r = hn::Sub(hn::Sub(at, hn::Mul(n, hn::Set(d, F::ln2_high))),
                         hn::Sub(hn::Mul(n, hn::Set(d, F::ln2_low)), carry));
  const auto p = hn::Add(hn::Set(d, T(1)), hn::Add(r, hn::Mul(hn::Mul(r, r), exp_tail(d, r))));
  const auto exponent =
      hn::Add(hn::Sub(hn::BitCast(di, shifted), hn::BitCast(di, round)), hn::Set(di, F::bias + kLift));
  const auto power = hn::BitCast(d, hn::ShiftLeft<F::mantissa>(exponent));
  const auto y = hn::Mul(hn::Mul(p, power), hn::Set(d, T(5.421010862427522e-20)));  // 2⁻⁶⁴
  return hn::IfThenElse(hn::Eq(x, x), y, x);
}

// (log((1 + s)/(1 − s))/s − 2) / s² with z = s² <= (√2 − 1)²/(√2 + 1)²; log is off by 2⁻²⁸ and 2⁻⁵⁷.
HWY_INLINE V<Tag<float>> log_tail(Tag<float> d, V<Tag<float>> z) {
  return polynomial(d, z, 0.666666865f, 0.399887413f, 0.295815557f);
}
HWY_INLINE V<Tag<double>> log_tail(Tag<double> d, V<Tag<double>> z) {
  return polynomial(d, z, 0.66666666666666696, 0.39999999999898567, 0.28571428626384521, 0.2222221107032322,
                    0.18182893683773751, 0.1533157391106347, 0.14618235377145675);
}

// n·ln 2 + log(1 + f), for √½ <= 1 + f < √2.
template <class D, class T = hn::TFromD<D>>
HWY_INLINE V<D> log_of(D d, V<D> n, V<D> f) {
  using F = Format<T>;
  const auto two = hn::Set(d, T(2));
  const auto s = hn::Div(f, hn::Add(two, f));
  const auto z = hn::Mul(s, s);
  const auto log1p = hn::Mul(s, hn::Add(two, hn::Mul(z, log_tail(d, z))));
  return hn::Add(hn::Mul(n, hn::Set(d, F::ln2_high)), hn::Add(hn::Mul(n, hn::Set(d, F::ln2_low)), log1p));
}

// sin(π/2·f)/f and (cos(π/2·f) − 1)/f² of z = f² <= ¼; sine is off by 2⁻³⁷ and 2⁻⁶⁸, cosine by 2⁻³² and 2⁻⁶².
HWY_INLINE V<Tag<float>> sine_ratio(Tag<float> d, V<Tag<float>> z) {
  return polynomial(d, z, 1.57079637f, -0.645964086f, 0.0796925798f, -0.00468126033f, 0.000158194176f);
}
HWY_INLINE V<Tag<double>> sine_ratio(Tag<double> d, V<Tag<double>> z) {
  return polynomial(d, z, 1.5707963267948966, -0.64596409750624628, 0.079692626246166923,
                    -0.0046817541353147314, 0.00016044118472557337, -3.5988427106600859e-06,
                    5.6919259525202681e-08, -6.6274066655593903e-10);
}
HWY_INLINE V<Tag<float>> cosine_tail(Tag<float> d, V<Tag<float>> z) {
  return polynomial(d, z, -1.23370051f, 0.253669411f, -0.0208615139f, 0.000906698348f);
}
HWY_INLINE V<Tag<double>> cosine_tail(Tag<double> d, V<Tag<double>> z) {
  return polynomial(d, z, -1.2337005501361697, 0.25366950790104781, -0.020863480763340585,
                    0.00091926027454360874, -2.5202039002688984e-05, 4.7106774911019685e-07,
                    -6.3292726335276345e-09);
}

// Φ(−a)·exp(a²/2) for 0 <= a, as w·P(1 − 2k·w) with w = 1/(a + k); off by 2⁻³⁰ and 2⁻⁵⁵.
HWY_INLINE V<Tag<float>> mills(Tag<float> d, V<Tag<float>> a) {
  const auto one = hn::Set(d, 1.0f);
  const auto w = hn::Div(one, hn::Add(a, hn::Set(d, 3.0f)));
  const auto t = hn::Sub(one, hn::Mul(hn::Set(d, 6.0f), w));
  return hn::Mul(w, polynomial(d, t, 0.729083717f, -0.509332001f, 0.230017707f, -0.0472626872f,
                               -0.0104625132f, 0.00696931127f, 0.00102475379f, -0.0010325734f,
                               -0.000244729745f, 0.000131330104f, 5.4488919e-05f));
}
HWY_INLINE V<Tag<double>> mills(Tag<double> d, V<Tag<double>> a) {
  const auto one = hn::Set(d, 1.0);
  const auto w = hn::Div(one, hn::Add(a, hn::Set(d, 4.0)));
  const auto t = hn::Sub(one, hn::Mul(hn::Set(d, 8.0), w));
  return hn::Mul(w, polynomial(d, t, 0.75528513041575152, -0.60789664197189208, 0.38713740074221947,
                               -0.18652185795966542, 0.060396574890666278, -0.0075401889664351929,
                               -0.0034796923616069262, 0.0016308184532801519, 0.00013334424852431409,
                               -0.00023109490371814301, -1.9078439758303457e-06, 3.5144569680885602e-05,
                               7.1497553028360548e-07, -5.9200112972086512e-06, -6.2522845250191513e-07,
                               1.0218572721228083e-06, 2.6415458193213227e-07, -1.5659218832344495e-07,
                               -7.7210449806738335e-08, 1.606930916996967e-08, 1.4619043041819437e-08,
                               -3.3906093898342493e-10, -1.1965467219032051e-09));
}

template <class D>
struct Normal {
  V<D> cdf, bell;  // Φ(x), exp(−x²/2)
};
template <class D, class T = hn::TFromD<D>>
HWY_INLINE Normal<D> normal_distribution(D d, V<D> x) {
  const hn::RebindToSigned<D> di;
  const auto far = hn::Set(d, sizeof(T) == 4 ? T(15) : T(39));  // Φ(−a) rounds to 0 behind
  const auto a = hn::Min(hn::Abs(x), far);
  // a² does not fit: −a²/2 = −z²/2 + (z − a)(z + a)/2 with z the upper half of a, whose square is exact.
  const auto z = hn::BitCast(d, hn::And(hn::BitCast(di, a), hn::Set(di, Format<T>::upper_half)));
  const auto half = hn::Set(d, T(0.5));
  const auto bell = exp_nonpositive(d, hn::Mul(hn::Set(d, T(-0.5)), hn::Mul(z, z)),
                                    hn::Mul(half, hn::Mul(hn::Sub(z, a), hn::Add(z, a))));
  const auto tail = hn::Mul(bell, mills(d, a));
  return {hn::IfThenElse(hn::Lt(x, hn::Zero(d)), tail, hn::Sub(hn::Set(d, T(1)), tail)), bell};
}

// 1 / (1 + exp(−v))
template <class D, class T = hn::TFromD<D>>
HWY_INLINE V<D> logistic(D d, V<D> v) {
  const auto one = hn::Set(d, T(1));
  const auto e = exp_nonpositive(d, hn::Neg(hn::Abs(v)), hn::Zero(d));
  return hn::Div(hn::IfThenElse(hn::Lt(v, hn::Zero(d)), e, one), hn::Add(one, e));
}

}  // namespace HWY_NAMESPACE
}  // namespace regkern
HWY_AFTER_NAMESPACE();

#endif  // REGKERN_KERNELS_MATH_INL_H_
