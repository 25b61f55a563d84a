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

  HWY_INLINE Words operator()(V<DU64> block) const {
    const DU64 d;
    const DU32 d32;
    const auto m0 = hn::Set(d32, 0xD2511F53u), m1 = hn::Set(d32, 0xCD9E8D57u);
    auto a = block, b = hn::ShiftRight<32>(block);
    auto c = hn::Set(d, stream), e = hn::Set(d, stream >> 32);
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

// Decides the elements whose byte was equal to the threshold's: kept where word i mod 4 of block 2⁶³ + i div
// 4 is below the threshold's low 32 bits.
class Ties {
 public:
  HWY_INLINE Ties(const Philox& philox, uint32_t low) : philox_(philox), low_(low) {}

  HWY_INLINE void add(uint64_t element, int8_t* keep) {
    element_[count_] = element;
    keep_[count_] = keep;
    if (++count_ == kGroup) decide();
  }

  HWY_INLINE void decide() {
    if (count_ == 0) return;
    const DU64 d;
    HWY_ALIGN uint64_t words[2 * kGroup];
    for (size_t k = count_; k < kGroup; ++k) element_[k] = 0;
    const auto elements = hn::Load(d, element_);
    const auto w = philox_(hn::Add(hn::ShiftRight<2>(elements), hn::Set(d, kTieBlock)));
    hn::Store(w.w01, d, words);
    hn::Store(w.w23, d, words + kGroup);
    for (size_t k = 0; k < count_; ++k) {
      const uint64_t pair = words[k + (element_[k] & 2 ? kGroup : 0)];
      const uint32_t word = static_cast<uint32_t>(pair >> (element_[k] & 1 ? 32 : 0));
      *keep_[k] = word < low_ ? -1 : 0;
    }
    count_ = 0;
  }

 private:
  const Philox& philox_;
  const uint32_t low_;
  size_t count_ = 0;
  HWY_ALIGN uint64_t element_[kGroup];
  int8_t* keep_[kGroup];
};

// What keep_bytes may write: whole groups.
HWY_INLINE constexpr size_t keep_capacity(size_t n) {
  return (n + kGroupBytes - 1) / kGroupBytes * kGroupBytes;
}

// keep[0..n) = −1 where elements first, first + 1, ... are kept, else 0; `first` is a multiple of 16 and keep
// has room for keep_capacity(n). 0 < threshold < 2⁴⁰.
HWY_INLINE void keep_bytes(const Philox& philox, uint64_t first, size_t n, uint64_t threshold, int8_t* keep) {
  const DU8 d8;
  const DI8 di8;
  const uint8_t high = static_cast<uint8_t>(threshold >> 32);
  const uint32_t low = static_cast<uint32_t>(threshold);
  const auto limit = hn::Set(d8, high);
  Ties ties(philox, low);
  const auto decide = [&](auto random, uint64_t element, int8_t* to) HWY_ATTR {
    const auto bytes = hn::BitCast(d8, random);
    hn::StoreU(hn::BitCast(di8, hn::VecFromMask(d8, hn::Lt(bytes, limit))), di8, to);
    if (low == 0) return;  // a tie is never kept
    const auto equal = hn::Eq(bytes, limit);
    if (HWY_LIKELY(hn::AllFalse(d8, equal))) return;
    uint64_t bits = 0;
    hn::StoreMaskBits(d8, equal, reinterpret_cast<uint8_t*>(&bits));  // at most 64 lanes
    for (; bits != 0; bits &= bits - 1) {
      const size_t at = hwy::Num0BitsBelowLS1Bit_Nonzero64(bits);
      ties.add(element + at, to + at);
    }
  };
  for (size_t i = 0; i < n; i += kGroupBytes) {
    V<DU64> random0, random1;
    philox.group((first + i) / 16, random0, random1);
    decide(random0, first + i, keep + i);
    decide(random1, first + i + kGroupBytes / 2, keep + i + kGroupBytes / 2);
  }
  ties.decide();
}

}  // namespace HWY_NAMESPACE
}  // namespace regkern
HWY_AFTER_NAMESPACE();

#endif  // REGKERN_KERNELS_PHILOX_INL_H_
