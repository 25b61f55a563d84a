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

// keep[0..n) = −1 where elements first, first + 1, ... are kept, else 0; a chunk more may be written.
class Decide {
 public:
  HWY_INLINE explicit Decide(const DecisionSource& source) : source_(source), draw_(source.drawn) {}
  // fetch(i) is called while elements i ... i + kPauseBytes − 1 are drawn.
  template <class Fetch>
  HWY_INLINE void operator()(uint64_t first, size_t n, int8_t* keep, Fetch fetch) {
    if (source_.bytes != nullptr) {
      for (size_t i = 0; i < n; ++i) keep[i] = source_.bytes[first + i] != 0 ? -1 : 0;
      return;
    }
    for (size_t at = 0; at < n;) {
      // A chunk that begins within a group ends at one, so that the following ones are decided where they
      // belong.
      const size_t inside = (first + at) % kGroupBytes,
                   some = HWY_MIN(n - at, dropout::kDropoutChunk - inside);
      if (source_.bits != nullptr) {
        memcpy(keep + at, unpack(first + at, some), some);
      } else if (inside == 0) {
        draw_.into(first + at, some, keep + at, [&](size_t i) HWY_ATTR { fetch(at + i); });
      } else {
        memcpy(keep + at, draw_(first + at, some), some);
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
// 4·kDecisionPad more.
inline void decide_tile(const DecisionSource& source, const DecisionTile& tile, int8_t* room, int8_t* keep) {
  Decide decide(source);
  const auto fetch_from = [&](size_t begin) HWY_ATTR {
    return [&tile, begin](size_t i) HWY_ATTR {
      for (const char* data : tile.data) {
        if (data != nullptr) dropout::prefetch(data + (begin + i) * tile.item, kPauseBytes * tile.item);
      }
    };
  };
  if (tile.one_run) {
    decide(tile.first + tile.numbers[0], tile.rows * tile.columns, room, fetch_from(0));
    transpose(room, tile.columns, tile.rows, tile.columns, keep);
    return;
  }
  const size_t pitch = tile.columns + kDecisionPad;
  for (size_t i = 0; i < tile.rows; ++i) {
    decide(tile.first + tile.numbers[i], tile.columns, room + i * pitch, fetch_from(i * tile.columns));
  }
  transpose(room, pitch, tile.rows, tile.columns, keep);
}

}  // namespace across
}  // namespace HWY_NAMESPACE
}  // namespace regkern
HWY_AFTER_NAMESPACE();

#endif  // REGKERN_KERNELS_ACROSS_INL_H_
