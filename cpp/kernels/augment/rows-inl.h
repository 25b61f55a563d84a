// What the kernels of augmentation share: bytes and floats as vectors of float, and the dense runs of a row.

#if defined(REGKERN_KERNELS_AUGMENT_ROWS_INL_H_) == defined(HWY_TARGET_TOGGLE)
#ifdef REGKERN_KERNELS_AUGMENT_ROWS_INL_H_
#undef REGKERN_KERNELS_AUGMENT_ROWS_INL_H_
#else
#define REGKERN_KERNELS_AUGMENT_ROWS_INL_H_
#endif

#include "kernels/augment/pictures.h"
#include "kernels/simd-inl.h"

HWY_BEFORE_NAMESPACE();
namespace regkern {
namespace HWY_NAMESPACE {
namespace augment {

using regkern::augment::Picture;
using regkern::augment::Row;
using regkern::augment::Streaming;

// One plane of an image, or all of them where pixels are interleaved: rows of `width` pixels, `stride`
// elements from one row to the next.
template <class T>
struct Plane {
  T* data;
  ptrdiff_t stride, width, height;
};

// Memory that does not overlap. memcpy is a dear call for the row of a small image, and slow for one whose
// place in a line changes: so only what is long goes there.
HWY_INLINE void copy_bytes(const uint8_t* from, uint8_t* to, size_t n) {
  constexpr size_t kLong = 256 << 10;
  const auto by_vectors = [&](auto d) HWY_ATTR {
    const size_t N = hn::Lanes(d);
    size_t i = 0;
    if (n >= 8 * N) {
      hn::StoreU(hn::LoadU(d, from), d, to);
      i = N - reinterpret_cast<uintptr_t>(to) % N;
      for (; i + 2 * N <= n; i += 2 * N) {
        const auto a = hn::LoadU(d, from + i), b = hn::LoadU(d, from + i + N);
        hn::StoreU(a, d, to + i);
        hn::StoreU(b, d, to + i + N);
      }
    }
    for (; i + N <= n; i += N) hn::StoreU(hn::LoadU(d, from + i), d, to + i);
    hn::StoreU(hn::LoadU(d, from + n - N), d, to + n - N);
  };
  const Tag<uint8_t> d;
  const hn::Full128<uint8_t> d128;
  if (n >= hn::Lanes(d) && n <= kLong) return by_vectors(d);
  if (n >= hn::Lanes(d128) && n <= kLong) return by_vectors(d128);
  memcpy(to, from, n);
}

// Into the second cache; any address is legal.
HWY_INLINE void fetch_to_second(uintptr_t address) {
#if HWY_COMPILER_GCC  // and clang
  __builtin_prefetch(reinterpret_cast<const void*>(address), 0, 2);
#else
  hwy::Prefetch(reinterpret_cast<const char*>(address));
#endif
}

// What is fetched while x is read: as much from `ahead` on, or what comes a page later.
HWY_INLINE uintptr_t fetched(const void* x, const void* ahead) {
  return ahead != nullptr ? reinterpret_cast<uintptr_t>(ahead) : reinterpret_cast<uintptr_t>(x) + 4096;
}

// y = op(x) for n elements around the cache. Fetching meanwhile saves a fifth of a copy's time: reads that
// miss both caches wait behind the stores.
template <class D, class Op, class T = hn::TFromD<D>>
HWY_INLINE void stream_and_fetch(D d, size_t n, Op op, T* y, const T* x, const void* ahead) {
  const uintptr_t fetch = fetched(x, ahead);
  constexpr size_t kLine = 64 / sizeof(T);
  const size_t N = hn::Lanes(d);
  const size_t head = HWY_MIN(n, (kLine - reinterpret_cast<uintptr_t>(y) % 64 / sizeof(T)) % kLine);
  map_unfenced(d, head, false, op, y, x);
  size_t i = head;
  for (; i + kLine <= n; i += kLine) {
    fetch_to_second(fetch + i * sizeof(T));
    for (size_t k = i; k < i + kLine; k += N) hn::Stream(op(hn::LoadU(d, x + k)), d, y + k);
  }
  map_unfenced(d, n - i, false, op, y + i, x + i);
}

using DF = Tag<float>;
using DI32 = hn::RebindToSigned<DF>;
using DB = hn::Rebind<uint8_t, DF>;  // as many bytes as a vector has floats

HWY_INLINE V<DF> load_float(DF d, const float* p) { return hn::LoadU(d, p); }
HWY_INLINE V<DF> load_float(DF d, const uint8_t* p) {
  return hn::ConvertTo(d, hn::PromoteTo(DI32(), hn::LoadU(DB(), p)));
}

// A byte is floor(v + ½), saturated; NaN is 255. Below 0 the cut towards 0 differs from floor, but both
// saturate to 0. From 2¹⁵ on DemoteTo would wrap.
HWY_INLINE void store_float(V<DF> v, DF d, uint8_t* p) {
  const auto rounded = hn::ConvertTo(DI32(), hn::Min(hn::Add(v, hn::Set(d, 0.5f)), hn::Set(d, 255.0f)));
  hn::StoreU(hn::DemoteTo(DB(), rounded), DB(), p);
}
HWY_INLINE void store_float(V<DF> v, DF d, float* p) { hn::StoreU(v, d, p); }

// The same for the first n < Lanes(d).
template <class T>
HWY_INLINE V<DF> load_rest(DF d, const T* p, size_t n) {
  HWY_ALIGN T buffer[hn::MaxLanes(DF())] = {};
  memcpy(buffer, p, n * sizeof(T));
  return load_float(d, buffer);
}
template <class T>
HWY_INLINE void store_rest(V<DF> v, DF d, T* p, size_t n) {
  HWY_ALIGN T buffer[hn::MaxLanes(DF())];
  store_float(v, d, buffer);
  memcpy(p, buffer, n * sizeof(T));
}

// y[i] = op(x[i]...) for n elements, computed in float; y is one of the inputs or disjoint from all of them.
template <class T, class Op, class... In>
HWY_INLINE void map_float(size_t n, Op op, T* y, const In*... x) {
  const DF d;
  const size_t N = hn::Lanes(d);
  size_t i = 0;
  for (; i + N <= n; i += N) store_float(op(load_float(d, x + i)...), d, y + i);
  if (i < n) store_rest(op(load_rest(d, x + i, n - i)...), d, y + i, n - i);
}

// To [0, 1]; NaN stays.
HWY_INLINE V<DF> clamp_unit(DF d, V<DF> v) { return hn::Max(hn::Zero(d), hn::Min(hn::Set(d, 1.0f), v)); }

// What a pixel of T may hold: a byte saturates when it is stored.
template <class T>
HWY_INLINE V<DF> in_range(DF d, V<DF> v) {
  if constexpr (sizeof(T) == 1) {
    return v;
  } else {
    return clamp_unit(d, v);
  }
}

// The level of a float in [0, 1], floor(255·v + ½), as a byte.
HWY_INLINE void to_levels(const float* x, size_t n, uint8_t* levels) {
  const DF d;
  map_float(n, [d](auto v) HWY_ATTR { return hn::Mul(clamp_unit(d, v), hn::Set(d, 255.0f)); }, levels, x);
}

// factor·a + rest·b
HWY_INLINE V<DF> blend(V<DF> factor, V<DF> a, V<DF> rest, V<DF> b) {
  return hn::Add(hn::Mul(factor, a), hn::Mul(rest, b));
}

// One pixel is either: so the strides decide, not where the channels lie.
template <class T>
HWY_INLINE bool interleaved(const Row<T>& row) {
  return row.channels == 1 || (row.channel_stride == 1 && row.pixel_stride == row.channels);
}

template <class T>
HWY_INLINE Row<T> row_of(const Picture<T>& x, ptrdiff_t y) {
  return {x.data + y * x.row_stride, x.width, x.channels, x.pixel_stride, x.channel_stride};
}

// Rows that follow each other without a gap, in both pictures, are one long row.
template <class A, class B>
HWY_INLINE void join_rows(Picture<A>& a, Picture<B>& b) {
  if (a.row_stride == a.width * a.pixel_stride && b.row_stride == b.width * b.pixel_stride) {
    a.width = b.width = a.width * a.height;
    a.height = b.height = 1;
  }
}

// Calls body(channel, p, n) for the dense runs of a row: all of it as channel 0, or each channel's.
template <class T, class Body>
HWY_INLINE void for_runs(const Row<T>& row, Body body) {
  if (interleaved(row)) {
    body(ptrdiff_t{0}, row.data, static_cast<size_t>(row.width * row.channels));
  } else {
    for (ptrdiff_t c = 0; c < row.channels; ++c) {
      body(c, row.data + c * row.channel_stride, static_cast<size_t>(row.width));
    }
  }
}

}  // namespace augment
}  // namespace HWY_NAMESPACE
}  // namespace regkern
HWY_AFTER_NAMESPACE();

#endif  // REGKERN_KERNELS_AUGMENT_ROWS_INL_H_
