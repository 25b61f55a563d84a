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

// Blocks a vector computes at once, and the words they make; groups decided at once, and the bytes they make.
constexpr size_t kGroup = hn::MaxLanes(DU64());
constexpr size_t kGroupWords = 4 * kGroup;
constexpr size_t kAtOnce = 2;
constexpr size_t kGroupBytes = 16 * kGroup * kAtOnce;
// How often other work is done meanwhile: before the first round, after the third and each of the next six.
constexpr size_t kPauses = 8, kPauseBytes = kGroupBytes / kPauses;

constexpr uint32_t kMultiplier0 = 0xD2511F53, kMultiplier1 = 0xCD9E8D57;

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
    auto a = block, b = hn::ShiftRight<32>(block);
    auto c = streams, e = hn::ShiftRight<32>(streams);
    for (int r = 0; r < kRounds - 1; ++r) round(r, a, b, c, e);
    return last(a, b, c, e, key0[kRounds - 1], key1[kRounds - 1]);
  }
  // One round: the low halves of a, b, c and e are words 0 to 3.
  HWY_INLINE void round(int r, V<DU64>& a, V<DU64>& b, V<DU64>& c, V<DU64>& e) const {
    const DU32 d32;
    const auto p0 = hn::MulEven(hn::BitCast(d32, a), hn::Set(d32, kMultiplier0));
    const auto p1 = hn::MulEven(hn::BitCast(d32, c), hn::Set(d32, kMultiplier1));
    a = hn::Xor(hn::Xor(hn::ShiftRight<32>(p1), b), key0[r]);
    c = hn::Xor(hn::Xor(hn::ShiftRight<32>(p0), e), key1[r]);
    b = p1;
    e = p0;
  }
  // The last one leaves two words in a lane: a product whose halves change places, the high one with more.
  static HWY_INLINE Words last(V<DU64> a, V<DU64> b, V<DU64> c, V<DU64> e, V<DU64> k0, V<DU64> k1) {
    const DU64 d;
    const DU32 d32;
    const auto words = [=](auto word, uint32_t multiplier, auto below, auto key) HWY_ATTR {
      const auto p = hn::MulEven(hn::BitCast(d32, word), hn::Set(d32, multiplier));
      const auto more = hn::Xor(hn::And(below, hn::Set(d, uint64_t{0xFFFFFFFF})), key);
      return hn::Xor(hn::BitCast(d, hn::Shuffle2301(hn::BitCast(d32, p))), more);
    };
    return {words(c, kMultiplier1, b, k0), words(a, kMultiplier0, e, k1)};
  }

  // The bytes of a group in the order of the stream: two vectors.
  static HWY_INLINE void interleave(const Words& w, V<DU64>& low, V<DU64>& high) {
    low = hn::InterleaveLower(DU64(), w.w01, w.w23);
    high = hn::InterleaveUpper(DU64(), w.w01, w.w23);
  }
  // Which block of a group a lane computes.
  static HWY_INLINE V<DU64> order() {
    HWY_ALIGN uint64_t block[kGroup];
    for (size_t k = 0; k < kGroup / 2; ++k) {
      block[2 * k] = k;
      block[2 * k + 1] = kGroup / 2 + k;
    }
    return hn::Load(DU64(), block);
  }
  // The kGroup blocks from `first` on.
  HWY_INLINE void group(uint64_t first, V<DU64>& low, V<DU64>& high) const {
    interleave((*this)(hn::Add(hn::Set(DU64(), first), order())), low, high);
  }

  V<DU64> key0[kRounds], key1[kRounds];
  uint64_t stream;
};

// Groups that follow one another, from a block that is a multiple of kAtOnce·kGroup on. Blocks that share the
// upper word of their number share half of the first two rounds, which is computed once, and the other
// product of the first round grows by a constant from group to group: 17 products a group are left of 20, and
// 14 operations before the fourth round in place of 24. A round waits for the one before it, so kAtOnce
// groups are computed side by side.
class PhiloxGroups {
 public:
  HWY_INLINE PhiloxGroups(const Philox& philox, uint64_t first, uint8_t flip)
      : philox_(philox),
        next_(first),
        last0_(hn::Xor(philox.key0[Philox::kRounds - 1], hn::BitCast(DU64(), hn::Set(DU8(), flip)))),
        last1_(hn::Xor(philox.key1[Philox::kRounds - 1], hn::BitCast(DU64(), hn::Set(DU8(), flip)))) {
    begin();
  }

  // The bytes of the next kAtOnce groups, Xor `flip`, two vectors a group. A round waits for the one before
  // it and fills half of the time meanwhile: between(k) is called beside them for k = 0 ... kPauses − 1.
  template <class Between>
  HWY_INLINE void operator()(V<DU64> (&bytes)[2 * kAtOnce], Between between) {
    const DU32 d32;
    const auto m0 = hn::Set(d32, kMultiplier0), m1 = hn::Set(d32, kMultiplier1);
    if (HWY_UNLIKELY(static_cast<uint32_t>(next_) == 0)) begin();
    V<DU64> a[kAtOnce], b[kAtOnce], c[kAtOnce], e[kAtOnce];
    between(0);
    for (size_t g = 0; g < kAtOnce; ++g) {
      // Round 1 leaves a and b constant, round 2 only e.
      e[g] = product_;
      product_ = hn::Add(product_, hn::Set(DU64(), uint64_t{kGroup} * kMultiplier0));
      b[g] = hn::MulEven(hn::BitCast(d32, hn::Xor(hn::ShiftRight<32>(e[g]), c1_)), m1);
      a[g] = hn::Xor(hn::ShiftRight<32>(b[g]), a2_);
      c[g] = hn::Xor(e[g], c2_);
      const auto p0 = hn::MulEven(hn::BitCast(d32, a[g]), m0);
      const auto p1 = hn::MulEven(hn::BitCast(d32, c[g]), m1);
      a[g] = hn::Xor(hn::Xor(hn::ShiftRight<32>(p1), b[g]), philox_.key0[2]);
      c[g] = hn::Xor(hn::ShiftRight<32>(p0), c3_);
      b[g] = p1;
      e[g] = p0;
    }
    between(1);
#if HWY_COMPILER_GCC || HWY_COMPILER_CLANG
#pragma GCC unroll 6
#endif
    for (int r = 3; r < Philox::kRounds - 1; ++r) {
      for (size_t g = 0; g < kAtOnce; ++g) philox_.round(r, a[g], b[g], c[g], e[g]);
      between(static_cast<size_t>(r - 1));
    }
    for (size_t g = 0; g < kAtOnce; ++g)
      Philox::interleave(Philox::last(a[g], b[g], c[g], e[g], last0_, last1_), bytes[2 * g],
                         bytes[2 * g + 1]);
    next_ += kAtOnce * kGroup;
  }

 private:
  HWY_INLINE void begin() {
    const DU64 d;
    const DU32 d32;
    const auto scalar = [](V<DU64> key) HWY_ATTR { return static_cast<uint32_t>(hn::GetLane(key)); };
    const auto high = [](uint64_t product) { return static_cast<uint32_t>(product >> 32); };
    const uint64_t p1 = uint64_t{static_cast<uint32_t>(philox_.stream)} * kMultiplier1;
    const uint32_t a1 = high(p1) ^ high(next_) ^ scalar(philox_.key0[0]);
    const uint64_t p0 = uint64_t{a1} * kMultiplier0;
    c1_ = hn::Set(d, uint64_t{high(philox_.stream) ^ scalar(philox_.key1[0])});
    a2_ = hn::Set(d, uint64_t{static_cast<uint32_t>(p1) ^ scalar(philox_.key0[1])});
    c2_ = hn::Set(d, uint64_t{high(p0) ^ scalar(philox_.key1[1])});
    c3_ = hn::Set(d, uint64_t{static_cast<uint32_t>(p0) ^ scalar(philox_.key1[2])});
    const auto block = hn::Add(hn::Set(d, uint64_t{static_cast<uint32_t>(next_)}), Philox::order());
    product_ = hn::MulEven(hn::BitCast(d32, block), hn::Set(d32, kMultiplier0));
  }

  const Philox& philox_;
  uint64_t next_;
  const V<DU64> last0_, last1_;
  V<DU64> product_, c1_, a2_, c2_, c3_;
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

// At most so many elements are decided at once, and so many bytes made for a chunk that starts in the middle
// of a group.
constexpr size_t kMostDecided = 4096;
constexpr size_t kMaxDecided = kMostDecided + 2 * kGroupBytes;

// The elements whose byte was equal to the threshold's: kept where word i mod 4 of block 2⁶³ + i div 4 is
// below the threshold's low 32 bits. One element in 256 is tied, which no branch predictor can learn, so the
// common path has no branch that depends on the bits: it cost 0.1 ns an element.
class Ties {
 public:
  static constexpr size_t kWords = (kGroupBytes + 63) / 64;
  // Those of elements i ... i + kGroupBytes − 1, one bit each.
  HWY_INLINE void add(size_t i, const uint64_t (&tied)[kWords]) {
    for (size_t w = 0; w < kWords; ++w, i += 64) {
      uint64_t bits = tied[w];
      at_[count_] = static_cast<uint32_t>(i + hwy::Num0BitsBelowLS1Bit_Nonzero64(bits | kLast));
      count_ += bits != 0;
      for (bits &= bits - 1; HWY_UNLIKELY(bits != 0); bits &= bits - 1)
        at_[count_++] = static_cast<uint32_t>(i + hwy::Num0BitsBelowLS1Bit_Nonzero64(bits));
    }
  }
  HWY_INLINE void decide(const Philox& philox, uint64_t first, uint32_t low, int8_t* keep) {
    const DU64 d;
    if (count_ == 0) return;
    // The last group is filled up with its first element, which is then decided more than once.
    for (size_t k = 0; k < kGroup; ++k) at_[count_ + k] = at_[count_ - 1];
    for (size_t t = 0; t < count_; t += kGroup) {
      const auto places = hn::PromoteTo(d, hn::LoadU(hn::Rebind<uint32_t, DU64>(), at_ + t));
      const auto elements = hn::Add(hn::Set(d, first), places);
      const auto w = philox(hn::Add(hn::ShiftRight<2>(elements), hn::Set(d, kTieBlock)));
      const auto one = hn::Set(d, uint64_t{1}), two = hn::Set(d, uint64_t{2});
      const auto pair = hn::IfThenElse(hn::Eq(hn::And(elements, two), two), w.w23, w.w01);
      const auto odd = hn::Eq(hn::And(elements, one), one);
      const auto word = hn::ShiftRight<32>(hn::IfThenElse(odd, pair, hn::ShiftLeft<32>(pair)));
      const hn::RebindToSigned<DU64> di;
      HWY_ALIGN int64_t kept[kGroup];
      hn::Store(hn::VecFromMask(di, hn::Lt(hn::BitCast(di, word), hn::Set(di, int64_t{low}))), di, kept);
      for (size_t k = 0; k < kGroup; ++k) keep[at_[t + k]] = static_cast<int8_t>(kept[k]);
    }
  }

 private:
  static constexpr uint64_t kLast = uint64_t{1} << 63;
  size_t count_ = 0;
  uint32_t at_[kMaxDecided + kGroup];
};

// keep[0..n) = −1 where elements first, first + 1, ... are kept, else 0; `first` is a multiple of
// kGroupBytes, n at most kMostDecided + kGroupBytes, and keep has room for kMaxDecided. 0 < threshold < 2⁴⁰.
// meanwhile(i, k) is called for k = 0 ... kPauses − 1 beside the rounds that decide elements i, i + 1, ...,
// i + kGroupBytes − 1.
template <class Meanwhile>
HWY_INLINE void keep_bytes(const Philox& philox, uint64_t first, size_t n, uint64_t threshold, int8_t* keep,
                           Meanwhile meanwhile) {
  const DU8 d8;
  const DI8 di8;
  // AVX2 compares signed bytes alone. The last round turns the sign bits at no cost.
  constexpr uint8_t kSign = 0x80;
  const uint32_t low = static_cast<uint32_t>(threshold);
  const auto limit = hn::BitCast(di8, hn::Set(d8, static_cast<uint8_t>(threshold >> 32 ^ kSign)));
  PhiloxGroups groups(philox, first / 16, kSign);
  Ties ties;
  for (size_t i = 0; i < n; i += kGroupBytes) {
    V<DU64> random[2 * kAtOnce];
    groups(random, [&](size_t k) HWY_ATTR { meanwhile(i, k); });
    uint64_t tied[Ties::kWords] = {};
    for (size_t k = 0; k < 2 * kAtOnce; ++k) {
      const size_t at = k * hn::MaxLanes(di8);
      const auto bytes = hn::BitCast(di8, random[k]);
      hn::StoreU(hn::VecFromMask(di8, hn::Lt(bytes, limit)), di8, keep + i + at);
      uint64_t bits = 0;
      hn::StoreMaskBits(di8, hn::Eq(bytes, limit), reinterpret_cast<uint8_t*>(&bits));
      tied[at / 64] |= bits << (at % 64);
    }
    if (low != 0) ties.add(i, tied);  // else a tie is never kept
  }
  ties.decide(philox, first, low, keep);
}

}  // namespace HWY_NAMESPACE
}  // namespace regkern
HWY_AFTER_NAMESPACE();

#endif  // REGKERN_KERNELS_PHILOX_INL_H_
