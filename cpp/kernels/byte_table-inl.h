// Bytes through tables of 256 bytes.
//
// With AVX3_DL two-register lookups take 128 bytes a time. Before it a shuffle takes 16, and 16 of them make
// a table if each adds, by xor, what its sixteenth has other than the one before: a byte below 128 meets the
// shuffles of its own sixteenth and of those below it, because beyond them its index has gone negative and a
// shuffle gives 0.

#if defined(REGKERN_KERNELS_BYTE_TABLE_INL_H_) == defined(HWY_TARGET_TOGGLE)
#ifdef REGKERN_KERNELS_BYTE_TABLE_INL_H_
#undef REGKERN_KERNELS_BYTE_TABLE_INL_H_
#else
#define REGKERN_KERNELS_BYTE_TABLE_INL_H_
#endif

#include "kernels/simd-inl.h"

HWY_BEFORE_NAMESPACE();
namespace regkern {
namespace HWY_NAMESPACE {

using DBytes = Tag<uint8_t>;

#if HWY_ARCH_X86 && HWY_TARGET <= HWY_AVX3_DL

struct ByteTable {
  HWY_INLINE explicit ByteTable(const uint8_t* table) {
    const DBytes d;
    for (size_t k = 0; k < 4; ++k) quarter[k] = hn::LoadU(d, table + 64 * k);
  }
  HWY_INLINE V<DBytes> operator()(V<DBytes> v) const {
    const auto low = _mm512_permutex2var_epi8(quarter[0].raw, v.raw, quarter[1].raw);
    const auto high = _mm512_permutex2var_epi8(quarter[2].raw, v.raw, quarter[3].raw);
    return V<DBytes>{_mm512_mask_blend_epi8(_mm512_movepi8_mask(v.raw), low, high)};
  }
  V<DBytes> quarter[4];
};

#elif HWY_ARCH_X86

struct ByteTable {
  HWY_INLINE explicit ByteTable(const uint8_t* table) {
    const DBytes d;
    for (size_t k = 0; k < 16; ++k) {
      const auto part = hn::LoadDup128(d, table + 16 * k);
      change[k] = k % 8 == 0 ? part : hn::Xor(part, hn::LoadDup128(d, table + 16 * (k - 1)));
    }
  }
  HWY_INLINE V<DBytes> operator()(V<DBytes> v) const {
    const hn::RebindToSigned<DBytes> di;
    const auto step = hn::Set(di, int8_t{16});
    auto below = hn::BitCast(di, v);  // >= 0 where v < 128
    auto above = hn::Xor(below, hn::Set(di, int8_t{-128}));
    auto result = hn::Zero(di);
    for (size_t k = 0; k < 8; ++k) {
      result = hn::Xor(result, hn::Xor(hn::TableLookupBytes(hn::BitCast(di, change[k]), below),
                                       hn::TableLookupBytes(hn::BitCast(di, change[k + 8]), above)));
      below = hn::SaturatedSub(below, step);
      above = hn::SaturatedSub(above, step);
    }
    return hn::BitCast(DBytes(), result);
  }
  V<DBytes> change[16];
};

#else

struct ByteTable {
  HWY_INLINE explicit ByteTable(const uint8_t* t) : table(t) {}
  HWY_INLINE V<DBytes> operator()(V<DBytes> v) const {
    const DBytes d;
    HWY_ALIGN uint8_t bytes[hn::MaxLanes(DBytes())];
    hn::Store(v, d, bytes);
    for (size_t i = 0; i < hn::Lanes(d); ++i) bytes[i] = table[bytes[i]];
    return hn::Load(d, bytes);
  }
  const uint8_t* table;
};

#endif

// p[i] = table[p[i]]
HWY_INLINE void look_up_bytes(uint8_t* p, size_t n, const uint8_t* table) {
  const DBytes d;
  const size_t N = hn::Lanes(d);
  const ByteTable t(table);
  size_t i = 0;
  for (; i + 2 * N <= n; i += 2 * N) {
    const auto a = t(hn::LoadU(d, p + i)), b = t(hn::LoadU(d, p + i + N));
    hn::StoreU(a, d, p + i);
    hn::StoreU(b, d, p + i + N);
  }
  if (i + N <= n) {
    hn::StoreU(t(hn::LoadU(d, p + i)), d, p + i);
    i += N;
  }
  if (i < n) store_partial(t(load_partial(d, p + i, n - i)), d, p + i, n - i);
}

// The same for n pixels of three interleaved channels with a table each.
HWY_INLINE void look_up_colors(uint8_t* p, size_t n, const uint8_t* tables) {
  const DBytes d;
  const size_t N = hn::Lanes(d);
  const ByteTable red(tables), green(tables + 256), blue(tables + 512);
  size_t i = 0;
  for (; i + N <= n; i += N) {
    V<DBytes> r, g, b;
    hn::LoadInterleaved3(d, p + 3 * i, r, g, b);
    hn::StoreInterleaved3(red(r), green(g), blue(b), d, p + 3 * i);
  }
  for (; i < n; ++i) {
    for (size_t c = 0; c < 3; ++c) p[3 * i + c] = tables[256 * c + p[3 * i + c]];
  }
}

}  // namespace HWY_NAMESPACE
}  // namespace regkern
HWY_AFTER_NAMESPACE();

#endif  // REGKERN_KERNELS_BYTE_TABLE_INL_H_
