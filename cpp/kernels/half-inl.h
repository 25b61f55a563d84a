// float from bfloat16 and float16, and back, rounded once to nearest even. NaN stays NaN and becomes quiet;
// what is too large becomes Inf; subnormal numbers keep their bits, whatever the processor's flags say.

#if defined(REGKERN_KERNELS_HALF_INL_H_) == defined(HWY_TARGET_TOGGLE)
#ifdef REGKERN_KERNELS_HALF_INL_H_
#undef REGKERN_KERNELS_HALF_INL_H_
#else
#define REGKERN_KERNELS_HALF_INL_H_
#endif

#include "kernels/half.h"
#include "kernels/simd-inl.h"

HWY_BEFORE_NAMESPACE();
namespace regkern {
namespace HWY_NAMESPACE {
namespace half {

using DF = Tag<float>;
using DU = hn::RebindToUnsigned<DF>;
using DI = hn::RebindToSigned<DF>;
using DH = hn::Rebind<uint16_t, DF>;
using D16 = hn::Repartition<uint16_t, DF>;

// F16C comes with AVX2.
#undef REGKERN_F16C
#if HWY_ARCH_X86 && HWY_TARGET <= HWY_AVX2 && !defined(HWY_DISABLE_F16C)
#define REGKERN_F16C 1
#else
#define REGKERN_F16C 0
#endif

// As many numbers as D has lanes, where they lie in memory.
template <class D>
using Bits = hn::Rebind<uint16_t, D>;

struct Bfloat16 {
  template <class D>
  static HWY_INLINE V<D> widen(D d, V<Bits<D>> bits) {
    return hn::BitCast(d, hn::ShiftLeft<16>(hn::PromoteTo(hn::RebindToUnsigned<D>(), bits)));
  }
  // From memory. Where a vector is two blocks of 16 bytes, both are loaded with the same, and each takes its
  // numbers from it: one shuffle within blocks, for one across them and a shift. With squares and sums 16
  // numbers take 4.3 cycles on AVX2 and not 5.0.
  static HWY_INLINE V<DF> load(const uint16_t* p) {
    if constexpr (hn::MaxLanes(DF()) == 8) {
      const DU du;  // lane i: two bytes of 0, which is what 0x80 stands for, and bytes 2i and 2i + 1
      const auto bytes =
          hn::Add(hn::Set(du, 0x01008080u), hn::Mul(hn::Iota(du, 0), hn::Set(du, 0x02020000u)));
      const auto twice = hn::BitCast(du, hn::LoadDup128(D16(), p));
      return hn::BitCast(DF(), hn::TableLookupBytesOr0(twice, bytes));
    } else {
      return widen(DF(), hn::LoadU(DH(), p));
    }
  }
  // Half a unit of the last place, less one where the number is even, carries into the upper half. NaN of any
  // bits is one of the upper half that is quiet.
  static HWY_INLINE V<DH> narrow(V<DF> x) {
    const DU du;
    const auto bits = hn::BitCast(du, x), upper = hn::ShiftRight<16>(bits);
    const auto odd = hn::And(upper, hn::Set(du, 1u));
    const auto rounded = hn::ShiftRight<16>(hn::Add(bits, hn::Add(odd, hn::Set(du, 0x7FFFu))));
    const auto quiet = hn::Or(upper, hn::Set(du, 0x40u));
    const auto nan = hn::RebindMask(du, hn::IsNaN(x));
    return hn::DemoteTo(DH(), hn::BitCast(DI(), hn::IfThenElse(nan, quiet, rounded)));
  }
  // Of numbers that are finite, in lanes of two bytes: the upper halves, one more where the lower ones, less
  // one beside an even number, are a half or more.
  static HWY_INLINE V<D16> nearest(V<D16> upper, V<D16> lower) {
    const auto less = hn::AndNot(upper, hn::Set(D16(), uint16_t{1}));
    return hn::Add(upper, hn::ShiftRight<15>(hn::SaturatedSub(lower, less)));
  }
  // narrow() of two vectors.
  static HWY_INLINE V<D16> narrow_two(V<DF> a, V<DF> b) {
    if (HWY_UNLIKELY(has_nan(a, b))) return hn::Combine(D16(), narrow(b), narrow(a));
    const D16 d;
    const auto first = hn::BitCast(d, a), second = hn::BitCast(d, b);
    return nearest(hn::ConcatOdd(d, second, first), hn::ConcatEven(d, second, first));
  }
  // Whether two vectors round to the numbers of `bits`, if none is NaN or halfway between two: less than half
  // a unit away, which is counted as of integers.
  static HWY_INLINE bool are_near(V<DF> a, V<DF> b, const uint16_t* bits) {
    const DF d;
    const DI di;
    const DU du;
    const auto distance = [=](auto own, const uint16_t* p) HWY_ATTR {
      const auto wide = widen(d, hn::LoadU(DH(), p));
      return hn::BitCast(du, hn::Abs(hn::Sub(hn::BitCast(di, own), hn::BitCast(di, wide))));
    };
    const auto either = hn::Or(distance(a, bits), distance(b, bits + hn::MaxLanes(d)));
    const auto sum = hn::Add(a, b);
    const auto near = hn::RebindMask(d, hn::Eq(hn::ShiftRight<15>(either), hn::Zero(du)));
    return hn::AllTrue(d, hn::And(near, hn::Eq(sum, sum)));
  }
  static HWY_INLINE bool has_nan(V<DF> a, V<DF> b) {  // or Inf of both signs
    return !hn::AllFalse(DF(), hn::IsNaN(hn::Add(a, b)));
  }

  // Two vectors at once, of the elements at even places and of those at odd ones: no lane has to move. Those
  // at odd ones are floats as they lie, but for the bits of their neighbours: 10 instructions widen and round
  // 16 numbers.
  static HWY_INLINE V<DF> even(V<D16> bits) {
    return hn::BitCast(DF(), hn::ShiftLeft<16>(hn::BitCast(DU(), bits)));
  }
  static HWY_INLINE V<DF> odd(V<D16> bits) {
    return hn::BitCast(DF(), hn::And(hn::BitCast(DU(), bits), hn::Set(DU(), 0xFFFF0000u)));
  }
  static HWY_INLINE void load_two(const uint16_t* p, V<DF>& first, V<DF>& second) {
    const auto both = hn::LoadU(D16(), p);
    first = even(both), second = odd(both);
  }
  // Back from that order; where number i is in it; how many lanes the first n numbers have.
  static HWY_INLINE void in_order(V<DF>& even, V<DF>& odd) {
    HWY_ALIGN float numbers[2 * hn::MaxLanes(DF())];
    hn::StoreInterleaved2(even, odd, DF(), numbers);
    even = hn::Load(DF(), numbers), odd = hn::Load(DF(), numbers + hn::MaxLanes(DF()));
  }
  static constexpr size_t place_in_two(size_t i) { return i % 2 * hn::MaxLanes(DF()) + i / 2; }
  static HWY_INLINE size_t lanes_of_first(size_t n) { return (n + 1) / 2; }
  static HWY_INLINE size_t lanes_of_second(size_t n) { return n / 2; }
  // narrow() of what was calculated from bfloat16 numbers: the lower half of such a NaN is 0, and none is
  // carried from it.
  static HWY_INLINE V<D16> round_two(V<DF> even, V<DF> odd) {
    const DU du;
    const D16 d;
    const auto e = hn::BitCast(du, even), o = hn::BitCast(du, odd);
    const auto upper = hn::OddEven(hn::BitCast(d, o), hn::BitCast(d, hn::ShiftRight<16>(e)));
    const auto lower = hn::OddEven(hn::BitCast(d, hn::ShiftLeft<16>(o)), hn::BitCast(d, e));
    return nearest(upper, lower);
  }
  static HWY_INLINE V<DH> round(V<DF> x) {
    return hn::DemoteTo(DH(), hn::BitCast(DI(), hn::ShiftRight<16>(rounded(x))));
  }
  // Numbers of float in the order of load_two().
  static HWY_INLINE void split_two(const float* p, V<DF>& even, V<DF>& odd) {
    hn::LoadInterleaved2(DF(), p, even, odd);
  }

 private:
  static HWY_INLINE V<DU> rounded(V<DF> x) {
    const DU du;
    const auto bits = hn::BitCast(du, x);
    const auto odd = hn::And(hn::ShiftRight<16>(bits), hn::Set(du, 1u));
    return hn::Add(hn::Add(bits, hn::Set(du, 0x7FFFu)), odd);
  }
};

struct Float16 {
#if REGKERN_F16C
  template <class D>
  static HWY_INLINE V<D> widen(D d, V<Bits<D>> bits) {
    return hn::PromoteTo(d, hn::BitCast(hn::Rebind<hwy::float16_t, D>(), bits));
  }
  static HWY_INLINE V<DH> narrow(V<DF> x) {
    return hn::BitCast(DH(), hn::DemoteTo(hn::Rebind<hwy::float16_t, DF>(), x));
  }
#else
  template <class D>
  static HWY_INLINE V<D> widen(D d, V<Bits<D>> bits) {
    const hn::RebindToUnsigned<D> du;
    const hn::RebindToSigned<D> di;
    const auto all = hn::PromoteTo(du, bits);
    const auto sign = hn::ShiftLeft<16>(hn::And(all, hn::Set(du, 0x8000u)));
    const auto rest = hn::And(all, hn::Set(du, 0x7FFFu));
    const auto shifted = hn::ShiftLeft<13>(rest);
    const auto large = hn::Gt(hn::BitCast(di, rest), hn::Set(di, 0x7BFF));
    const auto nan = hn::Gt(hn::BitCast(di, rest), hn::Set(di, 0x7C00));
    const auto small = hn::Lt(hn::BitCast(di, rest), hn::Set(di, 0x0400));
    const auto exponent = hn::IfThenElse(hn::RebindMask(du, large), hn::Set(du, 224u << 23),  // 255 − 31
                                         hn::Set(du, 112u << 23));                            // 127 − 15
    auto number = hn::Add(shifted, exponent);
    number = hn::Or(number, hn::IfThenElseZero(hn::RebindMask(du, nan), hn::Set(du, 0x400000u)));
    const auto subnormal = hn::Mul(hn::ConvertTo(d, hn::BitCast(di, rest)), hn::Set(d, 0x1p-24f));
    number = hn::IfThenElse(hn::RebindMask(du, small), hn::BitCast(du, subnormal), number);
    return hn::BitCast(d, hn::Or(number, sign));
  }
  static HWY_INLINE V<DH> narrow(V<DF> x) {
    const DU du;
    const DI di;
    const auto bits = hn::BitCast(du, x);
    const auto sign = hn::ShiftRight<16>(hn::And(bits, hn::Set(du, 0x80000000u)));
    const auto rest = hn::And(bits, hn::Set(du, 0x7FFFFFFFu));
    const auto odd = hn::And(hn::ShiftRight<13>(rest), hn::Set(du, 1u));
    const auto normal = hn::ShiftRight<13>(
        hn::Add(hn::Sub(rest, hn::Set(du, 112u << 23)), hn::Add(odd, hn::Set(du, 0xFFFu))));
    // Beside ½ the last place of a float is that of a subnormal float16: the addition rounds.
    const auto beside = hn::Add(hn::BitCast(DF(), rest), hn::Set(DF(), 0.5f));
    const auto subnormal = hn::Sub(hn::BitCast(du, beside), hn::Set(du, 126u << 23));
    const auto quiet = hn::Or(hn::And(hn::ShiftRight<13>(rest), hn::Set(du, 0x3FFu)), hn::Set(du, 0x7E00u));
    const auto below = [&](uint32_t limit) HWY_ATTR {
      return hn::RebindMask(du, hn::Lt(hn::BitCast(di, rest), hn::Set(di, static_cast<int32_t>(limit))));
    };
    auto number = hn::IfThenElse(below(113u << 23), subnormal, normal);
    number = hn::IfThenElse(below(143u << 23), number, hn::Set(du, 0x7C00u));
    number = hn::IfThenElse(below(0x7F800001u), number, quiet);
    return hn::DemoteTo(DH(), hn::BitCast(di, hn::Or(number, sign)));
  }
#endif

  static HWY_INLINE V<DF> load(const uint16_t* p) { return widen(DF(), hn::LoadU(DH(), p)); }
  static HWY_INLINE V<D16> narrow_two(V<DF> a, V<DF> b) { return hn::Combine(D16(), narrow(b), narrow(a)); }
  static HWY_INLINE bool are_near(V<DF> a, V<DF> b, const uint16_t* bits) {
    return hn::AllTrue(D16(), hn::Eq(narrow_two(a, b), hn::LoadU(D16(), bits)));
  }

  static HWY_INLINE void load_two(const uint16_t* p, V<DF>& first, V<DF>& second) {
    first = widen(DF(), hn::LoadU(DH(), p));
    second = widen(DF(), hn::LoadU(DH(), p + hn::MaxLanes(DF())));
  }
  static HWY_INLINE void in_order(V<DF>&, V<DF>&) {}
  static constexpr size_t place_in_two(size_t i) { return i; }
  static HWY_INLINE size_t lanes_of_first(size_t n) { return n; }
  static HWY_INLINE size_t lanes_of_second(size_t n) {
    return n > hn::MaxLanes(DF()) ? n - hn::MaxLanes(DF()) : 0;
  }
  static HWY_INLINE V<D16> round_two(V<DF> first, V<DF> second) {
    return hn::Combine(D16(), narrow(second), narrow(first));
  }
  static HWY_INLINE V<DH> round(V<DF> x) { return narrow(x); }
  static HWY_INLINE void split_two(const float* p, V<DF>& first, V<DF>& second) {
    first = hn::LoadU(DF(), p);
    second = hn::LoadU(DF(), p + hn::MaxLanes(DF()));
  }
};

// What is read next, and written next, is fetched meanwhile: a block at a time comes and goes, and between
// two of them is other work.
constexpr size_t kNext = 1024;  // elements
constexpr size_t kLine = 64 / sizeof(uint16_t);

template <class Format>
HWY_INLINE void widen_all(const void* bits, float* to, size_t n) {
  const uint16_t* from = static_cast<const uint16_t*>(bits);
  const DF d;
  const DH dh;
  const size_t N = hn::Lanes(d);
  size_t i = 0;
  for (; i + kLine <= n; i += kLine) {
    hwy::Prefetch(from + i + kNext);
    for (size_t k = i; k < i + kLine; k += N) {
      hn::StoreU(Format::load(from + k), d, to + k);
    }
  }
  for (; i + N <= n; i += N) hn::StoreU(Format::load(from + i), d, to + i);
  if (i < n) store_partial(Format::widen(d, load_partial(dh, from + i, n - i)), d, to + i, n - i);
}

template <class Format>
HWY_INLINE void narrow_rest(const float* from, uint16_t* to, size_t i, size_t n) {
  const DF d;
  const DH dh;
  const size_t N = hn::Lanes(d);
  for (; i + N <= n; i += N) hn::StoreU(Format::narrow(hn::LoadU(d, from + i)), dh, to + i);
  if (i < n) store_partial(Format::narrow(load_partial(d, from + i, n - i)), dh, to + i, n - i);
}

// Numbers that are finite, in lanes of two bytes: the upper halves, one more where the lower halves are above
// a half or are a half beside an odd one. Returns where it stopped, 0 if there was an Inf or NaN.
HWY_INLINE size_t narrow_finite_bfloat16(const float* from, uint16_t* to, size_t n) {
  const DF d;
  const hn::Repartition<uint16_t, DF> d16;
  const hn::RebindToSigned<decltype(d16)> di16;
  const size_t N = hn::Lanes(d);
  const auto one = hn::Set(d16, uint16_t{1}), half = hn::Set(d16, uint16_t{0x8000}),
             magnitude = hn::Set(d16, uint16_t{0x7FFF});
  auto largest = hn::Zero(di16);
  size_t i = 0;
  for (; i + kLine <= n; i += kLine) {
    fetch_to_write(to + i + kNext);
    for (size_t k = i; k < i + kLine; k += 2 * N) {
      const auto a = hn::BitCast(d16, hn::LoadU(d, from + k)),
                 b = hn::BitCast(d16, hn::LoadU(d, from + k + N));
      const auto upper = hn::ConcatOdd(d16, b, a), lower = hn::ConcatEven(d16, b, a);
      largest = hn::Max(largest, hn::BitCast(di16, hn::And(upper, magnitude)));
      const auto above =
          hn::Gt(hn::BitCast(di16, hn::Xor(lower, half)), hn::Neg(hn::BitCast(di16, hn::And(upper, one))));
      hn::StoreU(hn::Sub(upper, hn::BitCast(d16, hn::VecFromMask(di16, above))), d16, to + k);
    }
  }
  return hn::AllFalse(di16, hn::Gt(largest, hn::Set(di16, int16_t{0x7F7F}))) ? i : 0;
}

// What own becomes where others may have written over what it was rounded to: it stays where it rounds to
// that, to the bit or from NaN to NaN.
template <class Format>
HWY_INLINE V<DF> followed(V<DH> bits, V<DF> own) {
  const DF d;
  const DU du;
  const auto wide = Format::widen(d, bits), rounded = Format::widen(d, Format::narrow(own));
  const auto same = hn::RebindMask(d, hn::Eq(hn::BitCast(du, rounded), hn::BitCast(du, wide)));
  return hn::IfThenElse(hn::Or(same, hn::And(hn::IsNaN(own), hn::IsNaN(wide))), own, wide);
}

template <class Format>
HWY_INLINE void follow_two(const uint16_t* bits, V<DF>& a, V<DF>& b) {
  if (HWY_LIKELY(Format::are_near(a, b, bits))) return;
  a = followed<Format>(hn::LoadU(DH(), bits), a);
  b = followed<Format>(hn::LoadU(DH(), bits + hn::MaxLanes(DF())), b);
}

template <class Format>
HWY_INLINE void follow_all(const void* bits, float* to, size_t n) {
  const uint16_t* from = static_cast<const uint16_t*>(bits);
  const DF d;
  const DH dh;
  const size_t N = hn::Lanes(d);
  size_t i = 0;
  for (; i + N <= n; i += N) {
    hn::StoreU(followed<Format>(hn::LoadU(dh, from + i), hn::LoadU(d, to + i)), d, to + i);
  }
  if (i < n) {
    const auto rest = followed<Format>(load_partial(dh, from + i, n - i), load_partial(d, to + i, n - i));
    store_partial(rest, d, to + i, n - i);
  }
}

inline void widen_bfloat16(const void* from, float* to, size_t n) { widen_all<Bfloat16>(from, to, n); }
inline void widen_float16(const void* from, float* to, size_t n) { widen_all<Float16>(from, to, n); }
inline void narrow_bfloat16(const float* from, void* bits, size_t n) {
  uint16_t* to = static_cast<uint16_t*>(bits);
  narrow_rest<Bfloat16>(from, to, narrow_finite_bfloat16(from, to, n), n);
}
inline void narrow_float16(const float* from, void* bits, size_t n) {
  uint16_t* to = static_cast<uint16_t*>(bits);
  const DF d;
  const DH dh;
  const size_t N = hn::Lanes(d);
  size_t i = 0;
  for (; i + kLine <= n; i += kLine) {
    fetch_to_write(to + i + kNext);
    for (size_t k = i; k < i + kLine; k += N) {
      hn::StoreU(Float16::narrow(hn::LoadU(d, from + k)), dh, to + k);
    }
  }
  narrow_rest<Float16>(from, to, i, n);
}

inline void follow_bfloat16(const void* from, float* to, size_t n) { follow_all<Bfloat16>(from, to, n); }
inline void follow_float16(const void* from, float* to, size_t n) { follow_all<Float16>(from, to, n); }

// A vector of numbers as they lie in memory: op's arguments are widened, and its result is rounded, in
// registers.
template <class H>
struct Stored;

template <>
struct Stored<HalfFloat16> {
  using Format = Float16;
  using D = DH;
  template <class Op, class... Bits>
  static HWY_INLINE V<D> map(Op op, Bits... x) {
    return Float16::narrow(op(Float16::widen(DF(), x)...));
  }
};

// op must leave nothing in the lower half of a NaN, as arithmetic does of one that had nothing there.
template <>
struct Stored<HalfBfloat16> {
  using Format = Bfloat16;
  using D = D16;
  template <class Op, class... Bits>
  static HWY_INLINE V<D> map(Op op, Bits... x) {
    return Bfloat16::round_two(op(Bfloat16::even(x)...), op(Bfloat16::odd(x)...));
  }
};

// Around the cache, where y is aligned to vectors; there is no such store of 8 bytes, SSE4's four of float16.
template <class D>
HWY_INLINE void stream_stored(V<D> v, D d, uint16_t* y) {
  if constexpr (hn::MaxLanes(d) * sizeof(uint16_t) >= 16) {
    hn::Stream(v, d, y);
  } else {
    hn::StoreU(v, d, y);
  }
}

// A line that is not whole, with zeros behind.
template <class H>
struct PartOfLine {
  HWY_INLINE PartOfLine(const H* x, size_t n) { memcpy(numbers, x, n * sizeof(H)); }
  HWY_ALIGN H numbers[kLine] = {};
};

}  // namespace half

// accumulate() of numbers of half precision. They get to double by way of memory, from where AVX2 converts in
// one operation, and from a register in two or three: a few hundred at a time, so that the next are widened
// while these are added.
template <Storage kStorage, class Step>
HWY_INLINE double accumulate(const Half<kStorage>* x, size_t n, Step step) {
  constexpr size_t kPiece = 256;
  HWY_ALIGN float numbers[kPiece];
  SumLanes s;
  for (size_t i = 0; i < n; i += kPiece) {
    const size_t m = HWY_MIN(kPiece, n - i);
    half::widen_all<typename half::Stored<Half<kStorage>>::Format>(x + i, numbers, m);
    s.add(static_cast<const float*>(numbers), m, step);
  }
  return s.total();
}

// y[i] = op(x[i]...) as of floats, for numbers of half precision: widened and rounded where they lie, a line
// of y at a time.
template <class D, class Op, Storage kStorage, class... In>
HWY_INLINE void map(D, size_t n, bool stream, Op op, Half<kStorage>* y, const In*... x) {
  using H = Half<kStorage>;
  using Stored = half::Stored<H>;
  const typename Stored::D d;
  constexpr size_t kLine = half::kLine;
  const auto line = [=](auto store, H* to, const In*... from) HWY_ATTR {
    for (size_t k = 0; k < kLine; k += hn::MaxLanes(d)) {
      store(Stored::map(op, hn::LoadU(d, &from[k].bits)...), &to[k].bits);
    }
  };
  const auto plain = [d](auto v, uint16_t* to) HWY_ATTR { hn::StoreU(v, d, to); };
  const auto around_cache = [d](auto v, uint16_t* to) HWY_ATTR { half::stream_stored(v, d, to); };
  const bool in_place = ((static_cast<const void*>(x) == static_cast<const void*>(y)) || ...);
  const bool aligns = n >= 4 * kLine, far = n > 2 * kAhead<H>;
  const size_t past = reinterpret_cast<uintptr_t>(y) % 64 / sizeof(H);
  for (size_t i = 0, rest = aligns ? (kLine - past) % kLine : 0;; rest = n - i) {
    if (rest != 0) {
      H part[kLine];
      line(plain, part, half::PartOfLine<H>(x + i, rest).numbers...);
      memcpy(y + i, part, rest * sizeof(H));
      i += rest;
    }
    if (i == n) break;
    if (stream && aligns && !in_place) {
      for (; i + kLine <= n; i += kLine) {
        (hwy::Prefetch(x + i + kAhead<H>), ...);
        line(around_cache, y + i, (x + i)...);
      }
    } else {
      // A line is so much arithmetic that few of them are under way at once: in place it took three times as
      // long where nothing was fetched.
      for (; i + kLine <= n; i += kLine) {
        if (far) {
          if (!in_place) (hwy::Prefetch(x + i + kAhead<H>), ...);
          fetch_to_write(y + i + kAhead<H>);
        }
        line(plain, y + i, (x + i)...);
      }
    }
  }
  finish_stream(stream);
}

}  // namespace HWY_NAMESPACE
}  // namespace regkern
HWY_AFTER_NAMESPACE();

#endif  // REGKERN_KERNELS_HALF_INL_H_
