// Decisions of a mask turned from the order of their numbers into that of memory, as bytes or as bits.

#if defined(REGKERN_KERNELS_ACROSS_INL_H_) == defined(HWY_TARGET_TOGGLE)
#ifdef REGKERN_KERNELS_ACROSS_INL_H_
#undef REGKERN_KERNELS_ACROSS_INL_H_
#else
#define REGKERN_KERNELS_ACROSS_INL_H_
#endif

#include "kernels/across.h"
#include "kernels/dropout-inl.h"

HWY_BEFORE_NAMESPACE();
namespace regkern {
namespace HWY_NAMESPACE {
namespace across {

constexpr size_t kBlock = 16;

// Two or four rows of bytes, or three, as a picture's: dealt vector by vector.
template <size_t kRows>
HWY_INLINE void interleave(const int8_t* from, size_t pitch, size_t columns, int8_t* to) {
  const DI8 d;
  for (size_t j = 0; j < columns; j += hn::Lanes(d), from += hn::Lanes(d), to += kRows * hn::Lanes(d)) {
    const auto a = hn::LoadU(d, from), b = hn::LoadU(d, from + pitch);
    if constexpr (kRows == 2) {
      hn::StoreInterleaved2(a, b, d, to);
    } else if constexpr (kRows == 3) {
      hn::StoreInterleaved3(a, b, hn::LoadU(d, from + 2 * pitch), d, to);
    } else {
      hn::StoreInterleaved4(a, b, hn::LoadU(d, from + 2 * pitch), hn::LoadU(d, from + 3 * pitch), d, to);
    }
  }
}

// to[2k] and to[2k + 1]: the halves of kRows vectors, dealt like cards. In as many steps as halving kRows
// takes, rows become columns, in each block of 16 bytes.
template <size_t kRows, class D>
HWY_INLINE void deal(D d, const V<D>* from, V<D>* to) {
  for (size_t k = 0; k < kRows / 2; ++k) {
    to[2 * k] = hn::InterleaveLower(d, from[k], from[k + kRows / 2]);
    to[2 * k + 1] = hn::InterleaveUpper(d, from[k], from[k + kRows / 2]);
  }
}

// Eight, of 16 columns or two times 16 beside each other.
template <class D>
HWY_INLINE void interleave_eight(D d, const int8_t* from, size_t pitch, size_t columns, int8_t* to) {
  constexpr size_t kWidth = hn::MaxLanes(d);
  for (size_t j = 0; j < columns; j += kWidth, from += kWidth, to += 8 * kWidth) {
    V<D> a[8], b[8];
    for (size_t k = 0; k < 8; ++k) a[k] = hn::LoadU(d, from + k * pitch);
    deal<8>(d, a, b);
    deal<8>(d, b, a);
    deal<8>(d, a, b);
    for (size_t k = 0; k < 8; ++k) {
      if constexpr (kWidth == kBlock) {
        hn::StoreU(b[k], d, to + k * kBlock);
      } else {
        const hn::FixedTag<int8_t, kBlock> half;
        hn::StoreU(hn::LowerHalf(half, b[k]), half, to + k * kBlock);
        hn::StoreU(hn::UpperHalf(half, b[k]), half, to + (8 + k) * kBlock);
      }
    }
  }
}

// Blocks of 16 × 16, two beside each other where vectors are wide: 64 shuffles for 256 or 512 bytes. What a
// vector writes beyond its rows is written over by what belongs there: columns go up, and within them the
// blocks go down.
template <class D>
HWY_INLINE void deal_blocks(D d, const int8_t* from, size_t pitch, size_t rows, size_t columns, int8_t* to) {
  constexpr size_t kWidth = hn::MaxLanes(d);
  for (size_t j = 0; j < columns; j += kWidth) {
    const size_t width = HWY_MIN(kWidth, columns - j);
    for (size_t i = (rows - 1) / kBlock * kBlock + kBlock; i != 0;) {
      i -= kBlock;
      V<D> a[kBlock], b[kBlock];
      for (size_t k = 0; k < kBlock; ++k) a[k] = hn::LoadU(d, from + HWY_MIN(i + k, rows - 1) * pitch + j);
      deal<kBlock>(d, a, b);
      deal<kBlock>(d, b, a);
      deal<kBlock>(d, a, b);
      deal<kBlock>(d, b, a);
      int8_t* at = to + j * rows + i;
      if constexpr (kWidth == kBlock) {
        for (size_t k = 0; k < width; ++k, at += rows) hn::StoreU(a[k], d, at);
      } else {
        const hn::FixedTag<int8_t, kBlock> half;
        for (size_t k = 0; k < HWY_MIN(kBlock, width); ++k, at += rows) {
          hn::StoreU(hn::LowerHalf(half, a[k]), half, at);
        }
        for (size_t k = kBlock; k < width; ++k, at += rows) {
          hn::StoreU(hn::UpperHalf(half, a[k - kBlock]), half, at);
        }
      }
    }
  }
}

// to[j·rows + i] = from[i·pitch + j] for rows × columns bytes. Up to kDecisionPad bytes are read behind a
// row, and four times as many written behind the last.
HWY_INLINE void transpose(const int8_t* from, size_t pitch, size_t rows, size_t columns, int8_t* to) {
  const hn::CappedTag<int8_t, 2 * kBlock> d;
  if (rows == 2) return interleave<2>(from, pitch, columns, to);
  if (rows == 3) return interleave<3>(from, pitch, columns, to);
  if (rows == 4) return interleave<4>(from, pitch, columns, to);
  if (rows == 8) return interleave_eight(d, from, pitch, columns, to);
  deal_blocks(d, from, pitch, rows, columns, to);
}

// keep[0..n) = −1 where elements first, first + 1, ... are kept, else 0; the rest of the groups that
// begin and end within is written, too: nothing is copied, which would wait for all stores under way.
class Decide {
 public:
  HWY_INLINE explicit Decide(const DecisionSource& source) : source_(source), draw_(source.drawn) {}
  // meanwhile(i, k) is called while the group of element i is drawn, as keep_bytes() does.
  template <class Meanwhile>
  HWY_INLINE void operator()(uint64_t first, size_t n, int8_t* keep, Meanwhile meanwhile) {
    if (source_.bytes != nullptr) {
      for (size_t i = 0; i < n; ++i) keep[i] = source_.bytes[first + i] != 0 ? -1 : 0;
      return;
    }
    const size_t most = source_.bits != nullptr ? dropout::kDropoutChunk : kMostDecided;
    for (size_t at = 0; at < n;) {
      // A chunk that begins within a group ends at one, so that the following ones are decided where they
      // belong.
      const size_t inside = (first + at) % kGroupBytes, some = HWY_MIN(n - at, most - inside);
      if (source_.bits != nullptr) {
        memcpy(keep + at, unpack(first + at, some), some);
      } else {
        draw_.into(first + at - inside, inside + some, keep + at - inside,
                   [&](size_t i, size_t k) HWY_ATTR { meanwhile(at + HWY_MAX(i, inside) - inside, k); });
      }
      at += some;
    }
  }

 private:
  HWY_INLINE const int8_t* unpack(uint64_t first, size_t n) {
    const size_t inside = first % 8;
    dropout::unpack_bits(source_.bits + first / 8, inside + n, unpacked_);
    return unpacked_ + inside;
  }

  const DecisionSource& source_;
  dropout::Decisions draw_;
  HWY_ALIGN int8_t unpacked_[dropout::kUnpackedBytes];
};

HWY_INLINE size_t pitch_of(const DecisionTile& tile) {
  return tile.one_run ? tile.columns : tile.columns + kDecisionPad;
}

// Rows of decisions, pitch_of(tile) apart, the first of them kDecisionPad behind `room`, which has a pitch
// for each and 6·kDecisionPad bytes more. meanwhile(i, k) is called beside the
// decisions, where they are drawn.
template <class Meanwhile>
HWY_INLINE void decide_rows(const DecisionSource& source, const DecisionTile& tile, int8_t* room,
                            Meanwhile meanwhile) {
  Decide decide(source);
  const size_t pitch = pitch_of(tile);
  const size_t runs = tile.one_run ? 1 : tile.rows;
  const size_t length = tile.one_run ? tile.sheets * tile.rows * pitch : tile.columns;
  for (size_t i = 0; i < runs; ++i) {  // one call of decide: what is done meanwhile is inlined there
    decide(tile.first + tile.numbers[i], length, room + kDecisionPad + i * pitch,
           [&](size_t j, size_t k) HWY_ATTR { meanwhile(i * tile.columns + j, k); });
  }
}

// keep[j·rows + i]: the decision of column j in row i, sheet by sheet. It is as large as the room of the
// rows.
inline void decide_tile(const DecisionSource& source, const DecisionTile& tile, int8_t* room, int8_t* keep) {
  decide_rows(source, tile, room, [&tile](size_t i, size_t k) HWY_ATTR {
    for (const char* data : tile.data) {
      if (data == nullptr) continue;
      dropout::prefetch(data + (i + k * kPauseBytes) * tile.item, kPauseBytes * tile.item);
    }
  });
  for (size_t s = 0; s < tile.sheets; ++s) {
    const size_t at = s * tile.rows * tile.columns;
    transpose(room + kDecisionPad + at, pitch_of(tile), tile.rows, tile.columns, keep + at);
  }
}

// Bits one after the other, the low one of a byte first. Eight bytes are read and written at a time.
class Bits {
 public:
  static constexpr size_t kMost = 56;
  HWY_INLINE explicit Bits(int8_t* to) : to_(to) {}
  // The low n <= kMost bits at `from`.
  HWY_INLINE void put(const int8_t* from, size_t n) {
    uint64_t some;
    memcpy(&some, from, sizeof(some));
    open_ |= (some & ((uint64_t{1} << n) - 1)) << filled_;
    memcpy(to_, &open_, sizeof(open_));
    filled_ += n;
    to_ += filled_ / 8;
    open_ >>= filled_ / 8 * 8;
    filled_ %= 8;
  }
  // The first `bytes` of each of `count` units of `unit` bytes, which divides 16, where a byte begins.
  HWY_INLINE bool at_byte() const { return filled_ == 0; }
  HWY_INLINE void put_units(const int8_t* from, size_t count, size_t unit, size_t bytes) {
    const hn::FixedTag<int8_t, kBlock> d;
    HWY_ALIGN int8_t place[kBlock] = {};
    size_t taken = 0, units = 0;
    for (size_t i = 0; i < kBlock; i += unit, ++units) {
      for (size_t k = 0; k < bytes; ++k) place[taken++] = static_cast<int8_t>(i + k);
    }
    const auto table = hn::Load(d, place);
    int8_t* to = to_;
    for (size_t k = 0; k < count; k += units, from += kBlock, to += taken) {
      hn::StoreU(hn::TableLookupBytes(hn::LoadU(d, from), table), d, to);
    }
    to_ += count * bytes;
  }

 private:
  int8_t* to_;
  size_t filled_ = 0;  // bits of the byte at to_
  uint64_t open_ = 0;  // and those
};

// bytes[j]: in bit k, whether row k < rows keeps element j.
HWY_INLINE void pack_rows(const int8_t* from, size_t pitch, size_t rows, size_t columns, int8_t* bytes) {
  const DI8 d;
  for (size_t j = 0; j < columns; j += hn::Lanes(d)) {
    auto bits = hn::Zero(d);
    for (size_t k = rows; k-- > 0;) {
      bits = hn::Sub(hn::Add(bits, bits), hn::LoadU(d, from + k * pitch + j));
    }
    hn::StoreU(bits, d, bytes + j);
  }
}

// Of words of 2·`bytes` bytes: the low n bits of the upper half move down to those of the lower.
HWY_INLINE void join_halves(int8_t* words, size_t length, size_t bytes, size_t n) {
  const DU64 d;
  const int half = static_cast<int>(8 * bytes), down = half - static_cast<int>(n);
  uint64_t low = (uint64_t{1} << n) - 1;
  for (size_t bits = 2 * 8 * bytes; bits < 64; bits *= 2) low |= low << bits;
  const auto lower = hn::Set(d, low), upper = hn::Set(d, low << n);
  for (size_t j = 0; j < length; j += hn::Lanes(DU8())) {
    auto* const at = reinterpret_cast<uint64_t*>(words + j);
    const auto word = hn::LoadU(d, at);
    hn::StoreU(hn::Or(hn::And(word, lower), hn::And(hn::ShiftRightSame(word, down), upper)), d, at);
  }
}

// Columns of `rows` bits, which begin `step` bytes apart, one after the other: as many at once as fill bytes,
// or fit in a word, which are joined there first.
HWY_INLINE void join_columns(int8_t* columns, size_t rows, size_t step, size_t n, Bits& bits) {
  size_t together = 1;
  const auto fills = [&] { return together * rows % 8 == 0; };
  for (; !fills() && together * step < 8 && 2 * together * rows <= Bits::kMost; together *= 2) {
    join_halves(columns, step * n, together * step, together * rows);
  }
  size_t j = 0;
  if (fills() && kBlock % (together * step) == 0 && bits.at_byte()) {
    bits.put_units(columns, n / together, together * step, together * rows / 8);
    j = n / together * together;
  }
  for (; j + together <= n; j += together) {
    const int8_t* at = columns + j * step;
    size_t left = together * rows;
    constexpr size_t kSome = 48;  // whole bytes, so few that more than none are left
    for (; left > Bits::kMost; left -= kSome, at += kSome / 8) bits.put(at, kSome);
    bits.put(at, left);
  }
  if (j < n) bits.put(columns + j * step, (n - j) * rows);
}

// The bits at `from`, `shift` < 8 further up, which begin kDecisionPad before them: a vector is written where
// all has been read.
HWY_INLINE const uint8_t* shift_bits(int8_t* from, size_t bytes, size_t shift) {
  static_assert(kDecisionPad >= hn::MaxLanes(DU8()) + sizeof(uint64_t));
  const DU64 d;
  const int up = static_cast<int>(shift), down = 64 - up;
  int8_t* const to = from - kDecisionPad;
  for (size_t j = 0; j <= bytes; j += hn::Lanes(DU8())) {
    const auto load = [d](const int8_t* at)
                          HWY_ATTR { return hn::LoadU(d, reinterpret_cast<const uint64_t*>(at)); };
    const auto bits =
        hn::Or(hn::ShiftLeftSame(load(from + j), up), hn::ShiftRightSame(load(from + j - 8), down));
    hn::StoreU(bits, d, reinterpret_cast<uint64_t*>(to + j));
  }
  return reinterpret_cast<const uint8_t*>(to);
}

// Bits of the decisions of a tile along its memory, the low one of a byte first: bit shift + j·rows + i for
// column j of row i of the first sheet, shift < 8. Before they are turned, eight rows become one of bytes,
// which takes a quarter of the instructions that turning their bytes takes, and an eighth of the memory.
// `room` is that of two tiles.
inline const uint8_t* turn_to_bits(const int8_t* from, const DecisionTile& tile, size_t shift, int8_t* room) {
  const size_t rows = tile.rows, columns = tile.columns, pitch = pitch_of(tile);
  const size_t n = tile.sheets * rows * columns;
  const auto shifted = [&](int8_t* bits) HWY_ATTR {
    return shift == 0 ? reinterpret_cast<const uint8_t*>(bits) : shift_bits(bits, n / 8 + 1, shift);
  };
  if (rows <= 4) {  // bytes are dealt at once, and their signs are the bits
    const DI8 d;
    int8_t* const bytes = room + kDecisionPad;
    for (size_t s = 0; s < tile.sheets; ++s) {
      transpose(from + s * rows * pitch, pitch, rows, columns, bytes + s * rows * columns);
    }
    for (size_t i = 0; i < n; i += hn::Lanes(d)) {
      hn::StoreMaskBits(d, hn::MaskFromVec(hn::LoadU(d, bytes + i)),
                        reinterpret_cast<uint8_t*>(bytes) + i / 8);
    }
    return shifted(bytes);
  }
  const size_t eights = rows / 8, rest = rows % 8, bytes = eights + (rest != 0);
  // Columns of whole bytes need no joining: they are only shifted, all sheets at once.
  const size_t step = bytes == 3 && rest != 0 ? 4 : bytes, sheet = step * columns;
  int8_t* const turned = room + sheet + 2 * kDecisionPad;
  int8_t* const all = rest == 0 ? turned : turned + sheet + 4 * kDecisionPad;
  Bits bits(all);
  for (size_t s = 0; s < tile.sheets; ++s, from += rows * pitch) {
    int8_t* const to = turned + (rest == 0 ? s * sheet : 0);
    int8_t* const packed = step == 1 ? to : room;
    for (size_t g = 0; g < eights; ++g)
      pack_rows(from + 8 * g * pitch, pitch, 8, columns, packed + g * columns);
    if (rest != 0) pack_rows(from + 8 * eights * pitch, pitch, rest, columns, packed + eights * columns);
    if (step != 1) transpose(packed, columns, step, columns, to);
    if (rest != 0) join_columns(to, rows, step, columns, bits);
  }
  return shifted(all);
}

}  // namespace across

namespace dropout {

// Lanes of all ones or zeros from bits i, i + 1, ... for an i that is a multiple of the lanes.
template <class D>
HWY_INLINE V<D> lanes_of_bits(D d, const uint8_t* bits, size_t i) {
  const hn::RebindToUnsigned<D> du;
#if HWY_TARGET <= HWY_AVX3
  return hn::BitCast(d, hn::VecFromMask(du, hn::LoadMaskBits(du, bits + i / 8)));
#else
  using Bits = hn::TFromD<decltype(du)>;
  static_assert(hn::MaxLanes(d) <= 8 * sizeof(Bits));
  Bits some;
  memcpy(&some, bits + i / 8, sizeof(some));
  const auto each = hn::Shl(hn::Set(du, Bits{1}), hn::Iota(du, static_cast<Bits>(i % 8)));
  return hn::BitCast(d, hn::VecFromMask(du, hn::TestBit(hn::Set(du, some), each)));
#endif
}

// What op makes of the vector at x + i, of which bits from i on are kept.
template <class T, class Op>
HWY_INLINE V<Tag<T>> map_of_bits(Op op, const uint8_t* bits, size_t i, const T* x) {
  const Tag<T> d;
  // A load under a mask makes zeros of what is dropped, which a positive scale keeps.
#if HWY_TARGET <= HWY_AVX3
  if constexpr (std::is_same_v<Op, Scaled<T>>) {
    return op.kept(hn::MaskedLoad(hn::LoadMaskBits(d, bits + i / 8), d, x + i));
  }
#elif HWY_TARGET == HWY_AVX2
  // The mask is a sign: one instruction where a test and And are three.
  if constexpr (std::is_same_v<Op, Scaled<T>>) {
    const hn::RebindToUnsigned<Tag<T>> du;
    using Bits = hn::TFromD<decltype(du)>;
    Bits some;
    memcpy(&some, bits + i / 8, sizeof(some));
    const auto up = hn::Sub(hn::Set(du, static_cast<Bits>(8 * sizeof(T) - 1 - i % 8)), hn::Iota(du, Bits{0}));
    const auto sign = hn::BitCast(d, hn::Shl(hn::Set(du, some), up));
    return op.kept(hn::MaskedLoad(hn::MaskFromVec(sign), d, x + i));
  }
#endif
  return op(lanes_of_bits(d, bits, i), hn::LoadU(d, x + i));
}
template <Storage kStorage, class Op>
HWY_INLINE auto map_of_bits(Op op, const uint8_t* bits, size_t i, const Half<kStorage>* x) {
  using Stored = half::Stored<Half<kStorage>>;
  const typename Stored::D d;
  const auto kept = [&op](auto v) HWY_ATTR { return op.kept(v); };
  return op.select(lanes_of_bits(d, bits, i), Stored::map(kept, hn::LoadU(d, &x[i].bits)));
}

// map_kept() by bits for n elements, a multiple of eight and of vectors.
template <class T, class Op>
HWY_INLINE void map_bits(size_t n, const uint8_t* bits, bool stream, Op op, T* y, const T* x) {
  const auto each = [=](auto d, auto store) HWY_ATTR {
    for (size_t i = 0; i < n; i += hn::MaxLanes(d)) store(map_of_bits(op, bits, i, x), d, i);
  };
  if constexpr (std::is_arithmetic_v<T>) {
    if (stream) {
      each(Tag<T>(), [=](auto v, auto d, size_t i) HWY_ATTR { hn::Stream(v, d, y + i); });
    } else {
      each(Tag<T>(), [=](auto v, auto d, size_t i) HWY_ATTR { hn::StoreU(v, d, y + i); });
    }
  } else {
    const typename half::Stored<T>::D d;
    if (stream) {
      each(d, [=](auto v, auto tag, size_t i) HWY_ATTR { half::stream_stored(v, tag, &y[i].bits); });
    } else {
      each(d, [=](auto v, auto tag, size_t i) HWY_ATTR { hn::StoreU(v, tag, &y[i].bits); });
    }
  }
}

// Decides a tile while the one before it is applied: deciding is arithmetic, and applying memory. `keep` is
// room for the bits of the latter, that of two tiles.
template <class T>
void dropout_turned(const DecisionSource& source, const DecisionTile& next, int8_t* room,
                    const DecidedTile<T>& last, int8_t* keep, const KeepMap& m) {
  const T* const x = last.x;
  T* const y = last.y;
  const size_t n = last.tile.sheets * last.tile.rows * last.tile.columns;
  const bool stream = last.stream;
  constexpr size_t kVector = hn::MaxLanes(DU8()) / sizeof(T);
  const size_t past = reinterpret_cast<uintptr_t>(y) / sizeof(T) % kVector;
  // From where y is aligned on, and bits begin a byte.
  const size_t head = HWY_MIN(n, (kVector - past) % kVector), shift = (8 - head % 8) % 8;
  const uint8_t* const bits =
      n == 0 ? nullptr : across::turn_to_bits(last.decided + kDecisionPad, last.tile, shift, keep);
  const auto run = [&](auto op) HWY_ATTR {
    const auto by_bytes = [&](size_t begin, size_t count) HWY_ATTR {
      int8_t some[kPauseBytes + kCacheLine];
      for (size_t i = 0; i < count; ++i) {
        const size_t bit = shift + begin + i;
        some[i] = (bits[bit / 8] >> bit % 8 & 1) != 0 ? -1 : 0;
      }
      map_kept(count, some, false, op, y + begin, x + begin);
    };
    by_bytes(0, head);
    size_t done = head;
    // Of a whole group; nothing more is counted between its rounds.
    const T* from = nullptr;
    T* to = nullptr;
    const uint8_t* kept = nullptr;
    across::decide_rows(source, next, room, [&](size_t, size_t k) HWY_ATTR {
      if (k == 0) {
        const bool whole = n - done >= kGroupBytes;
        kept = whole ? bits + (shift + done) / 8 : nullptr;
        from = x + done;
        to = y + done;
        done += whole ? kGroupBytes : 0;
      }
      if (HWY_UNLIKELY(kept == nullptr)) return;
      const size_t i = k * kPauseBytes;
      prefetch(from + i + kFetchAhead, kPauseBytes);
      map_bits(kPauseBytes, kept + i / 8, stream, op, to + i, from + i);
    });
    for (; n - done >= kPauseBytes; done += kPauseBytes) {
      map_bits(kPauseBytes, bits + (shift + done) / 8, stream, op, y + done, x + done);
    }
    by_bytes(done, n - done);
  };
  if (m.plain()) {
    run(Scaled<T>(m));
  } else {
    run(Shifted<T>(m));
  }
}

}  // namespace dropout
}  // namespace HWY_NAMESPACE
}  // namespace regkern
HWY_AFTER_NAMESPACE();

#endif  // REGKERN_KERNELS_ACROSS_INL_H_
