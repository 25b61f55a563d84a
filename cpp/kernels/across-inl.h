// Decisions of a mask turned from the order of their numbers into that of memory, as bytes.

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

// Two or four rows of bytes, or three, as a picture's: dealt vector by vector. Else as below.
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

// Blocks of 16 × 16, two beside each other where vectors are wide, in four steps, each of which deals two
// halves of the vectors like cards: 64 shuffles for 256 or 512 bytes. What a vector writes beyond its rows is
// written over by what belongs there: columns go up, and within them the blocks go down.
template <class D>
HWY_INLINE void deal_blocks(D d, const int8_t* from, size_t pitch, size_t rows, size_t columns, int8_t* to) {
  constexpr size_t kWidth = hn::MaxLanes(d);
  const auto deal = [d](const V<D>* x, V<D>* y) HWY_ATTR {
    for (size_t k = 0; k < kBlock / 2; ++k) {
      y[2 * k] = hn::InterleaveLower(d, x[k], x[k + kBlock / 2]);
      y[2 * k + 1] = hn::InterleaveUpper(d, x[k], x[k + kBlock / 2]);
    }
  };
  for (size_t j = 0; j < columns; j += kWidth) {
    const size_t width = HWY_MIN(kWidth, columns - j);
    for (size_t i = (rows - 1) / kBlock * kBlock + kBlock; i != 0;) {
      i -= kBlock;
      V<D> a[kBlock], b[kBlock];
      for (size_t k = 0; k < kBlock; ++k) a[k] = hn::LoadU(d, from + HWY_MIN(i + k, rows - 1) * pitch + j);
      deal(a, b);
      deal(b, a);
      deal(a, b);
      deal(b, a);
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
  if (rows == 2) return interleave<2>(from, pitch, columns, to);
  if (rows == 3) return interleave<3>(from, pitch, columns, to);
  if (rows == 4) return interleave<4>(from, pitch, columns, to);
  deal_blocks(hn::CappedTag<int8_t, 2 * kBlock>(), from, pitch, rows, columns, to);
}

// keep[0..n) = −1 where elements first, first + 1, ... are kept, else 0; the rest of the groups that
// begin and end within is written, too: nothing is copied, which would wait for all stores under way.
class Decide {
 public:
  HWY_INLINE explicit Decide(const DecisionSource& source) : source_(source), draw_(source.drawn) {}
  // meanwhile(i) is called while elements i ... i + kPauseBytes − 1 are drawn.
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
                   [&](size_t i) HWY_ATTR { meanwhile(at + HWY_MAX(i, inside) - inside); });
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

// keep[j·rows + i]: the decision of column j in row i. room and keep: rows·(columns + kDecisionPad) bytes and
// 4·kDecisionPad more. meanwhile(i) is called beside the decisions, where they are drawn.
template <class Meanwhile>
HWY_INLINE void turn_tile(const DecisionSource& source, const DecisionTile& tile, int8_t* room, int8_t* keep,
                          Meanwhile meanwhile) {
  Decide decide(source);
  const size_t pitch = tile.one_run ? tile.columns : tile.columns + kDecisionPad;
  const size_t runs = tile.one_run ? 1 : tile.rows, length = tile.one_run ? tile.rows * pitch : tile.columns;
  room += kDecisionPad;
  for (size_t i = 0; i < runs; ++i) {  // one call of decide: what is done meanwhile is inlined there
    decide(tile.first + tile.numbers[i], length, room + i * pitch,
           [&](size_t j) HWY_ATTR { meanwhile(i * tile.columns + j); });
  }
  transpose(room, pitch, tile.rows, tile.columns, keep);
}

inline void decide_tile(const DecisionSource& source, const DecisionTile& tile, int8_t* room, int8_t* keep) {
  turn_tile(source, tile, room, keep, [&tile](size_t i) HWY_ATTR {
    for (const char* data : tile.data) {
      if (data != nullptr) dropout::prefetch(data + i * tile.item, kPauseBytes * tile.item);
    }
  });
}

}  // namespace across

namespace dropout {

// Decides a tile while the one before it is applied: deciding is arithmetic, and applying memory.
template <class T>
void dropout_turned(const DecisionSource& source, const DecisionTile& next, int8_t* room, int8_t* keep,
                    const DecidedTile<T>& last, const KeepMap& m) {
  const T* const x = last.x;
  T* const y = last.y;
  const size_t n = last.n;
  const int8_t* const decided = last.decided;
  const bool stream = last.stream;
  constexpr size_t kVector = hn::MaxLanes(DU8()) / sizeof(T);
  const size_t past = reinterpret_cast<uintptr_t>(y) / sizeof(T) % kVector;
  const auto run = [&](auto op) HWY_ATTR {
    // From where y is aligned on.
    size_t done = HWY_MIN(n, (kVector - past) % kVector);
    map_kept(done, decided, false, op, y, x);
    across::turn_tile(source, next, room, keep, [&](size_t) HWY_ATTR {
      if (HWY_UNLIKELY(n - done < kPauseBytes)) return;
      prefetch(x + done + kFetchAhead, kPauseBytes);
      map_kept(kPauseBytes, decided + done, stream, op, y + done, x + done);
      done += kPauseBytes;
    });
    map_kept(n - done, decided + done, stream, op, y + done, x + done);
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
