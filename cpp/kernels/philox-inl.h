// Philox4x32-10 over vectors of counters, and the decisions of dropout made from its bytes.
//
// A counter lives in 64-bit lanes, one lane a block: word 0 in the low half of `a`, word 2 in that of `c`.
// The widening multiply reads the low halves only, so the high halves may hold anything, and a product holds
// both words the next round needs: no shuffles inside the rounds. Lane 2k computes block k and lane 2k + 1
// block N/2 + k of a group, which makes the two interleaves at the end come out in the order of the stream.

#if defined(REGKERN_KERNELS_PHILOX_INL_H_) == defined(HWY_TARGET_TOGGLE)
#ifdef REGKERN_KERNELS_PHILOX_INL_H_
#undef REGKERN_KERNELS_PHILOX_INL_H_
#else
#define REGKERN_KERNELS_PHILOX_INL_H_
#endif

#include "kernels/simd-inl.h"
#include "regkern/random.h"

HWY_BEFORE_NAMESPACE();
namespace regkern {
namespace HWY_NAMESPACE {

using DU64 = hn::ScalableTag<uint64_t>;
using DU32 = hn::Repartition<uint32_t, DU64>;
using DU8 = hn::Repartition<uint8_t, DU64>;
using DI8 = hn::Repartition<int8_t, DU64>;

// Blocks a vector computes at once, and the words and bytes they make.
constexpr size_t kGroup = hn::MaxLanes(DU64());
constexpr size_t kGroupWords = 4 * kGroup;
constexpr size_t kGroupBytes = 16 * kGroup;

struct Philox {
  static constexpr int kRounds = 10;

  HWY_INLINE explicit Philox(Stream source) : stream(source.stream) {
    uint32_t k0 = static_cast<uint32_t>(source.seed), k1 = static_cast<uint32_t>(source.seed >> 32);
    for (int r = 0; r < kRounds; ++r) {
      key0[r] = hn::Set(DU64(), uint64_t{k0});
      key1[r] = hn::Set(DU64(), uint64_t{k1});
      k0 += 0x9E3779B9u;
      k1 += 0xBB67AE85u;
    }
  }

  struct Words {
    V<DU64> w01, w23;  // lane i: words 0, 1 and words 2, 3 of the block in lane i
  };

  HWY_INLINE Words operator()(V<DU64> block) const { return (*this)(block, hn::Set(DU64(), stream)); }
  // The same with a stream a lane.
  HWY_INLINE Words operator()(V<DU64> block, V<DU64> streams) const {
    const DU64 d;
    const DU32 d32;
    const auto m0 = hn::Set(d32, 0xD2511F53u), m1 = hn::Set(d32, 0xCD9E8D57u);
    auto a = block, b = hn::ShiftRight<32>(block);
    auto c = streams, e = hn::ShiftRight<32>(streams);
    for (int r = 0; r < kRounds; ++r) {
      const auto p0 = hn::MulEven(hn::BitCast(d32, a), m0);
      const auto p1 = hn::MulEven(hn::BitCast(d32, c), m1);
      a = hn::Xor(hn::Xor(hn::ShiftRight<32>(p1), b), key0[r]);
      c = hn::Xor(hn::Xor(hn::ShiftRight<32>(p0), e), key1[r]);
      b = p1;
      e = p0;
    }
    const auto join = [d, d32](auto high, auto low) HWY_ATTR {
      return hn::BitCast(d, hn::OddEven(hn::BitCast(d32, hn::ShiftLeft<32>(high)), hn::BitCast(d32, low)));
    };
    return {join(b, a), join(e, c)};
  }

  // The kGroup blocks from `first` on, as bytes in the order of the stream: two vectors.
  HWY_INLINE void group(uint64_t first, V<DU64>& low, V<DU64>& high) const {
    const DU64 d;
    HWY_ALIGN uint64_t order[kGroup];
    for (size_t k = 0; k < kGroup / 2; ++k) {
      order[2 * k] = k;
      order[2 * k + 1] = kGroup / 2 + k;
    }
    const Words w = (*this)(hn::Add(hn::Set(d, first), hn::Load(d, order)));
    low = hn::InterleaveLower(d, w.w01, w.w23);
    high = hn::InterleaveUpper(d, w.w01, w.w23);
  }

  V<DU64> key0[kRounds], key1[kRounds];
  uint64_t stream;
};

// The first block of those that decide ties and lengthen the bits of double.
constexpr uint64_t kTieBlock = uint64_t{1} << 63;

// words[0..n): words from block `first_block` on.
HWY_INLINE void fill_words(const Philox& philox, uint64_t first_block, size_t n, uint32_t* words) {
  const DU64 d;
  V<DU64> low, high;
  for (; n >= kGroupWords; n -= kGroupWords, words += kGroupWords, first_block += kGroup) {
    philox.group(first_block, low, high);
    memcpy(words, &low, sizeof(low));
    memcpy(words + kGroupWords / 2, &high, sizeof(high));
  }
  if (n != 0) {
    HWY_ALIGN uint64_t rest[2 * kGroup];
    philox.group(first_block, low, high);
    hn::Store(low, d, rest);
    hn::Store(high, d, rest + kGroup);
    memcpy(words, rest, n * sizeof(uint32_t));
  }
}

// At most so many elements are decided at once: a chunk that starts in the middle of a block of 16, in whole
// groups.
constexpr size_t kMaxDecided = 1024 + 2 * 16 + kGroupBytes;

// Decides the elements whose byte was equal to the threshold's: kept where word i mod 4 of block
// 2⁶³ + i div 4 is below the threshold's low 32 bits. `tied` is one bit an element. One element in 256 is
// tied, which no branch predictor can learn, so the common path has no branch that depends on the bits: it
// cost 0.1 ns an element.
HWY_INLINE void decide_ties(const Philox& philox, uint64_t first, size_t n, const uint64_t* tied,
                            uint32_t low, int8_t* keep) {
  const DU64 d;
  uint32_t at[kMaxDecided + kGroup];
  size_t count = 0;
  for (size_t i = 0; i < n; i += 64) {
    uint64_t bits = tied[i / 64];
    for (int two = 0; two < 2; ++two) {
      at[count] = static_cast<uint32_t>(i + hwy::Num0BitsBelowLS1Bit_Nonzero64(bits | (uint64_t{1} << 63)));
      count += bits != 0;
      bits &= bits - 1;
    }
    if (HWY_UNLIKELY(bits != 0)) {
      for (; bits != 0; bits &= bits - 1)
        at[count++] = static_cast<uint32_t>(i + hwy::Num0BitsBelowLS1Bit_Nonzero64(bits));
    }
  }
  if (count == 0) return;
  // The last group is filled up with its first element, which is then decided more than once.
  for (size_t k = 0; k < kGroup; ++k) at[count + k] = at[count - 1];
  for (size_t t = 0; t < count; t += kGroup) {
    const auto places = hn::PromoteTo(d, hn::LoadU(hn::Rebind<uint32_t, DU64>(), at + t));
    const auto elements = hn::Add(hn::Set(d, first), places);
    const auto w = philox(hn::Add(hn::ShiftRight<2>(elements), hn::Set(d, kTieBlock)));
    const auto one = hn::Set(d, uint64_t{1}), two = hn::Set(d, uint64_t{2});
    const auto pair = hn::IfThenElse(hn::Eq(hn::And(elements, two), two), w.w23, w.w01);
    const auto odd = hn::Eq(hn::And(elements, one), one);
    const auto word =
        hn::And(hn::IfThenElse(odd, hn::ShiftRight<32>(pair), pair), hn::Set(d, uint64_t{0xFFFFFFFF}));
    HWY_ALIGN uint64_t words[kGroup];
    hn::Store(word, d, words);
    for (size_t k = 0; k < kGroup; ++k) keep[at[t + k]] = words[k] < low ? -1 : 0;
  }
}

// keep[0..n) = −1 where elements first, first + 1, ... are kept, else 0; `first` is a multiple of 16, n at
// most 1024 + 16, and keep has room for kMaxDecided. 0 < threshold < 2⁴⁰. meanwhile(i) is called before
// elements i ... i + kGroupBytes − 1 are decided.
template <class Meanwhile>
HWY_INLINE void keep_bytes(const Philox& philox, uint64_t first, size_t n, uint64_t threshold, int8_t* keep,
                           Meanwhile meanwhile) {
  const DU8 d8;
  const DI8 di8;
  const uint32_t low = static_cast<uint32_t>(threshold);
  const auto limit = hn::Set(d8, static_cast<uint8_t>(threshold >> 32));
  uint64_t tied[kMaxDecided / 64 + 1];
  const auto decide = [&](auto random, size_t at) HWY_ATTR {
    const auto bytes = hn::BitCast(d8, random);
    hn::StoreU(hn::BitCast(di8, hn::VecFromMask(d8, hn::Lt(bytes, limit))), di8, keep + at);
    hn::StoreMaskBits(d8, hn::Eq(bytes, limit), reinterpret_cast<uint8_t*>(tied) + at / 8);
  };
  for (size_t i = 0; i < n; i += kGroupBytes) {
    V<DU64> random0, random1;
    meanwhile(i);
    philox.group((first + i) / 16, random0, random1);
    decide(random0, i);
    decide(random1, i + kGroupBytes / 2);
  }
  if (low == 0) return;  // a tie is never kept
  // Bits that no group has written, behind the last one.
  const size_t decided = (n + kGroupBytes - 1) / kGroupBytes * kGroupBytes;
  if (decided % 64 != 0) tied[decided / 64] &= (uint64_t{1} << (decided % 64)) - 1;
  decide_ties(philox, first, decided, tied, low, keep);
}

}  // namespace HWY_NAMESPACE
}  // namespace regkern
HWY_AFTER_NAMESPACE();

#endif  // REGKERN_KERNELS_PHILOX_INL_H_
