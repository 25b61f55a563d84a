// y = x·scale where kept, +0.0 elsewhere: a select, so that a dropped NaN or Inf is 0 as well.
//
// The decisions of a chunk are made into a buffer that stays in the L1 cache and applied from there.

#if defined(REGKERN_KERNELS_DROPOUT_INL_H_) == defined(HWY_TARGET_TOGGLE)
#ifdef REGKERN_KERNELS_DROPOUT_INL_H_
#undef REGKERN_KERNELS_DROPOUT_INL_H_
#else
#define REGKERN_KERNELS_DROPOUT_INL_H_
#endif

#include "kernels/philox-inl.h"

HWY_BEFORE_NAMESPACE();
namespace regkern {
namespace HWY_NAMESPACE {

constexpr size_t kDropoutChunk = 1024;
constexpr size_t kCacheLine = 64;

// Bytes of −1 and 0, widened to lanes of all ones and zeros.
HWY_INLINE V<Tag<float>> lanes_of(Tag<float> d, const int8_t* keep) {
  const hn::RebindToSigned<Tag<float>> di;
  return hn::BitCast(d, hn::PromoteTo(di, hn::LoadU(hn::Rebind<int8_t, decltype(di)>(), keep)));
}

HWY_INLINE V<Tag<double>> lanes_of(Tag<double> d, const int8_t* keep) {
  const hn::RebindToSigned<Tag<double>> di;
  const hn::Rebind<int32_t, decltype(di)> d32;
  return hn::BitCast(
      d, hn::PromoteTo(di, hn::PromoteTo(d32, hn::LoadU(hn::Rebind<int8_t, decltype(d32)>(), keep))));
}

template <class T>
HWY_INLINE void apply_keep(const T* x, T* y, size_t n, const int8_t* keep, T scale, bool stream) {
  const Tag<T> d;
  const size_t N = hn::Lanes(d);
  const auto s = hn::Set(d, scale);
  size_t i = 0;
  if (stream) {  // y is aligned
    for (; i + N <= n; i += N)
      hn::Stream(hn::And(lanes_of(d, keep + i), hn::Mul(hn::LoadU(d, x + i), s)), d, y + i);
  } else {
    for (; i + N <= n; i += N)
      hn::StoreU(hn::And(lanes_of(d, keep + i), hn::Mul(hn::LoadU(d, x + i), s)), d, y + i);
  }
  if (i < n) {
    const auto kept = hn::Mul(load_partial(d, x + i, n - i), s);
    store_partial(hn::And(lanes_of(d, keep + i), kept), d, y + i, n - i);
  }
}

// Elements first, first + 1, ... of the stream; 0 < threshold < 2⁴⁰.
template <class T>
void dropout(const T* x, T* y, size_t n, Stream source, uint64_t first, uint64_t threshold, T scale,
             bool stream) {
  const Philox philox(source);
  // Room for a chunk that starts in the middle of a block of 16, and for the vector that reads past its end.
  HWY_ALIGN int8_t keep[kDropoutChunk + kGroupBytes + 64];
  while (n != 0) {
    size_t chunk = HWY_MIN(n, kDropoutChunk);
    bool around_cache = stream;
    if (stream) {
      const size_t bytes = hn::Lanes(Tag<T>()) * sizeof(T);
      const size_t past = reinterpret_cast<uintptr_t>(y) % bytes;
      if (past != 0) {  // the first chunk: only up to where y is aligned
        chunk = HWY_MIN(n, (bytes - past) / sizeof(T));
        around_cache = false;
      }
    }
    // Deciding is arithmetic, applying is memory: let the data of this chunk arrive while its bits are made.
    for (size_t j = 0; j < chunk; j += kCacheLine / sizeof(T)) hwy::Prefetch(x + j);
    const size_t inside = first % 16;
    keep_bytes(philox, first - inside, inside + chunk, threshold, keep);
    apply_keep(x, y, chunk, keep + inside, scale, around_cache);
    x += chunk;
    y += chunk;
    first += chunk;
    n -= chunk;
  }
  if (stream) hwy::FlushStream();
}

// kept[0..n) = 1 or 0.
inline void keep_mask(Stream source, uint64_t first, size_t n, uint64_t threshold, uint8_t* kept) {
  const Philox philox(source);
  HWY_ALIGN int8_t keep[kDropoutChunk + kGroupBytes];
  for (size_t i = 0; i < n; i += kDropoutChunk) {
    const size_t chunk = HWY_MIN(n - i, kDropoutChunk);
    keep_bytes(philox, first + i, chunk, threshold, keep);
    for (size_t j = 0; j < chunk; ++j) kept[i + j] = keep[j] & 1;
  }
}

}  // namespace HWY_NAMESPACE
}  // namespace regkern
HWY_AFTER_NAMESPACE();

#endif  // REGKERN_KERNELS_DROPOUT_INL_H_
