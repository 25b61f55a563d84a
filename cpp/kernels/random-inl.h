// Uniform and normal numbers of the Philox stream. Contract: regkern/reference/random.py.
//
// Element j has the bits B(j): for float word j of the stream, 32 bits; for double 32 more below them,
// word j mod 4 of block 2⁶³ + j div 4, where dropout finds its ties.

#if defined(REGKERN_KERNELS_RANDOM_INL_H_) == defined(HWY_TARGET_TOGGLE)
#ifdef REGKERN_KERNELS_RANDOM_INL_H_
#undef REGKERN_KERNELS_RANDOM_INL_H_
#else
#define REGKERN_KERNELS_RANDOM_INL_H_
#endif

#include "kernels/math-inl.h"
#include "kernels/philox-inl.h"

HWY_BEFORE_NAMESPACE();
namespace regkern {
namespace HWY_NAMESPACE {
namespace random {

constexpr size_t kRandomChunk = 1024;

struct RandomBits {
  // The bits of up to kRandomChunk elements from `first` on, a multiple of 4, and of the partner of the last
  // one.
  HWY_INLINE void draw(const Philox& philox, uint64_t first, size_t n, bool low) {
    n += n % 2;
    fill_words(philox, first / 4, n, high_);
    if (low) fill_words(philox, kTieBlock + first / 4, n, low_);
  }
  HWY_INLINE V<DU32> at(Tag<float>, size_t i) const { return hn::LoadU(DU32(), high_ + i); }
  HWY_INLINE V<DU64> at(Tag<double>, size_t i) const {
    const DU64 d;
    const hn::Rebind<uint32_t, DU64> half;
    const auto high = hn::PromoteTo(d, hn::LoadU(half, high_ + i));
    return hn::Or(hn::ShiftLeft<32>(high), hn::PromoteTo(d, hn::LoadU(half, low_ + i)));
  }
  HWY_ALIGN uint32_t high_[kRandomChunk], low_[kRandomChunk];
};

// A number below 2³², rounded to float; one below 2⁵², exactly.
HWY_INLINE V<Tag<float>> to_real(Tag<float> d, V<DU32> k) {
  const hn::RebindToSigned<Tag<float>> di;
  const auto high = hn::ConvertTo(d, hn::BitCast(di, hn::ShiftRight<16>(k)));
  const auto low = hn::ConvertTo(d, hn::BitCast(di, hn::And(k, hn::Set(DU32(), 0xFFFF))));
  return hn::Add(hn::Mul(high, hn::Set(d, 65536.0f)), low);
}
HWY_INLINE V<Tag<double>> to_real(Tag<double> d, V<DU64> k) {
  const auto two52 = hn::Set(d, 4503599627370496.0);
  return hn::Sub(hn::BitCast(d, hn::Or(k, hn::BitCast(DU64(), two52))), two52);
}

// The upper 24 or 53 of the bits as a fraction in [0, 1).
HWY_INLINE V<Tag<float>> fraction(Tag<float> d, V<DU32> bits) {
  return hn::Mul(to_real(d, hn::ShiftRight<8>(bits)), hn::Set(d, 5.9604644775390625e-08f));  // 2⁻²⁴
}
HWY_INLINE V<Tag<double>> fraction(Tag<double> d, V<DU64> bits) {
  const auto high =
      hn::Mul(to_real(d, hn::ShiftRight<32>(bits)), hn::Set(d, 2.3283064365386963e-10));  // 2⁻³²
  const auto low = hn::ShiftRight<11>(hn::And(bits, hn::Set(DU64(), uint64_t{0xFFFFFFFF})));
  return hn::Add(high, hn::Mul(to_real(d, low), hn::Set(d, 1.1102230246251565e-16)));  // 2⁻⁵³
}

// −log u of v = u·2^scale and, for u near 1, of u − 1.
template <class D>
HWY_INLINE V<D> minus_log_of(D d, V<D> v, V<D> u_less_one, int scale) {
  using T = hn::TFromD<D>;
  using F = Format<T>;
  const hn::RebindToSigned<D> di;
  using I = hn::TFromD<decltype(di)>;
  constexpr I kRootHalf = sizeof(T) == 4 ? I(0x3F3504F3) : I(0x3FE6A09E667F3BCD);
  // v = 2ⁿ·m with √½ <= m < √2. v >= ½: one more in the exponent lets the logical shift serve.
  const hn::RebindToUnsigned<D> du;
  const auto one_up = hn::Set(di, I{1} << F::mantissa);
  const auto offset = hn::Add(hn::Sub(hn::BitCast(di, v), hn::Set(di, kRootHalf)), one_up);
  const auto n_up = hn::BitCast(di, hn::ShiftRight<F::mantissa>(hn::BitCast(du, offset)));
  const auto m =
      hn::BitCast(d, hn::Add(hn::Sub(hn::BitCast(di, v), hn::ShiftLeft<F::mantissa>(n_up)), one_up));
  const auto round = hn::Set(d, F::round);
  const auto less = hn::Set(di, static_cast<I>(scale + 1));
  const auto exponent = hn::Sub(hn::BitCast(d, hn::Add(hn::BitCast(di, round), hn::Sub(n_up, less))), round);
  const auto near_one = hn::Eq(exponent, hn::Zero(d));
  const auto f = hn::IfThenElse(near_one, u_less_one, hn::Sub(m, hn::Set(d, T(1))));
  return hn::Neg(log_of(d, exponent, f));
}

// −log u for u = (bits + ½)·2⁻³², or u = (the upper 52 bits + ½)·2⁻⁵².
HWY_INLINE V<Tag<float>> minus_log(Tag<float> d, V<DU32> bits) {
  const auto half = hn::Set(d, 0.5f);
  const auto v = hn::Add(to_real(d, bits), half);
  // u − 1 from the bits, because v has lost their last ones.
  const auto rest = hn::Add(to_real(d, hn::Not(bits)), half);
  return minus_log_of(d, v, hn::Mul(rest, hn::Set(d, -2.3283064365386963e-10f)), 32);
}
HWY_INLINE V<Tag<double>> minus_log(Tag<double> d, V<DU64> bits) {
  const auto v = hn::Add(to_real(d, hn::ShiftRight<12>(bits)), hn::Set(d, 0.5));
  const auto u = hn::Mul(v, hn::Set(d, 2.220446049250313e-16));  // exact, and so is u − 1 for u >= ½
  return minus_log_of(d, v, hn::Sub(u, hn::Set(d, 1.0)), 52);
}

// Cosine and sine of 2π·j/2³², or of 2π·(the upper 52 bits)/2⁵².
template <class D>
struct Point {
  V<D> cosine, sine;
};
template <class D, class DU>
HWY_INLINE Point<D> point_on_circle(D d, DU du, V<D> f, V<DU> quadrant) {
  using T = hn::TFromD<D>;
  using U = hn::TFromD<DU>;
  const auto z = hn::Mul(f, f);
  const auto sine = hn::Mul(f, sine_ratio(d, z));
  const auto cosine = hn::Add(hn::Set(d, T(1)), hn::Mul(z, cosine_tail(d, z)));
  const auto one = hn::Set(du, U(1));
  const auto odd = hn::RebindMask(d, hn::Eq(hn::And(quadrant, one), one));
  constexpr int kSign = sizeof(T) * 8 - 2;
  const auto bit1 = hn::Set(du, U(2));
  const auto cosine_sign = hn::ShiftLeft<kSign>(hn::And(hn::Add(quadrant, one), bit1));
  const auto sine_sign = hn::ShiftLeft<kSign>(hn::And(quadrant, bit1));
  return {hn::Xor(hn::IfThenElse(odd, sine, cosine), hn::BitCast(d, cosine_sign)),
          hn::Xor(hn::IfThenElse(odd, cosine, sine), hn::BitCast(d, sine_sign))};
}
HWY_INLINE Point<Tag<float>> turn(Tag<float> d, V<DU32> bits) {
  const DU32 du;
  const hn::RebindToSigned<Tag<float>> di;
  const auto quadrant = hn::ShiftRight<30>(hn::Add(bits, hn::Set(du, 1u << 29)));
  const auto past = hn::BitCast(di, hn::Sub(bits, hn::ShiftLeft<30>(quadrant)));
  const auto f = hn::Mul(hn::ConvertTo(d, past), hn::Set(d, 9.3132257461547852e-10f));  // 2⁻³⁰
  return point_on_circle(d, du, f, quadrant);
}
HWY_INLINE Point<Tag<double>> turn(Tag<double> d, V<DU64> bits) {
  const DU64 du;
  const auto j = hn::ShiftRight<12>(bits);
  const auto quadrant = hn::ShiftRight<50>(hn::Add(j, hn::Set(du, uint64_t{1} << 49)));
  const auto past = hn::Sub(j, hn::ShiftLeft<50>(quadrant));  // −2⁴⁹ <= past < 2⁴⁹
  const auto shifted = to_real(d, hn::Add(past, hn::Set(du, uint64_t{1} << 51)));
  const auto f =
      hn::Mul(hn::Sub(shifted, hn::Set(d, 2251799813685248.0)), hn::Set(d, 8.8817841970012523e-16));
  return point_on_circle(d, du, f, quadrant);
}

// Box and Muller: elements 2k and 2k + 1 are r·cos θ and r·sin θ with r = √(−2·log u(B(2k))), θ =
// 2π·B(2k + 1). Writes whole vectors: y has room for kRandomChunk.
template <class T>
HWY_INLINE void normal_chunk(const RandomBits& bits, size_t n, T* y) {
  const Tag<T> d;
  const hn::RebindToUnsigned<Tag<T>> du;
  const size_t N = hn::Lanes(d);
  for (size_t i = 0; i < n; i += 2 * N) {
    const auto a = bits.at(d, i), b = bits.at(d, i + N);
    const auto log = minus_log(d, hn::ConcatEven(du, b, a));
    const auto r = hn::Sqrt(hn::Add(log, log));
    const auto direction = turn(d, hn::ConcatOdd(du, b, a));
    hn::StoreInterleaved2(hn::Mul(r, direction.cosine), hn::Mul(r, direction.sine), d, y + i);
  }
}

// The words of n / 4 blocks from first_block on.
inline void words(Stream source, uint64_t first_block, size_t n, uint32_t* y) {
  fill_words(Philox(source), first_block, n, y);
}

// y[0..n): elements from `first` on, a multiple of 4.
template <class T>
void uniform(Stream source, uint64_t first, size_t n, T* y) {
  const Tag<T> d;
  const Philox philox(source);
  RandomBits bits;
  while (n != 0) {
    const size_t chunk = HWY_MIN(n, kRandomChunk), N = hn::Lanes(d);
    bits.draw(philox, first, chunk, sizeof(T) == 8);
    size_t i = 0;
    for (; i + N <= chunk; i += N) hn::StoreU(fraction(d, bits.at(d, i)), d, y + i);
    if (i < chunk) store_partial(fraction(d, bits.at(d, i)), d, y + i, chunk - i);
    first += chunk;
    y += chunk;
    n -= chunk;
  }
}

template <class T>
void normal(Stream source, uint64_t first, size_t n, T* y) {
  const Philox philox(source);
  RandomBits bits;
  HWY_ALIGN T numbers[kRandomChunk];
  while (n != 0) {
    const size_t chunk = HWY_MIN(n, kRandomChunk);
    bits.draw(philox, first, chunk, sizeof(T) == 8);
    normal_chunk(bits, chunk, chunk == kRandomChunk ? y : numbers);
    if (chunk != kRandomChunk) memcpy(y, numbers, chunk * sizeof(T));
    first += chunk;
    y += chunk;
    n -= chunk;
  }
}

}  // namespace random
}  // namespace HWY_NAMESPACE
}  // namespace regkern
HWY_AFTER_NAMESPACE();

#endif  // REGKERN_KERNELS_RANDOM_INL_H_
