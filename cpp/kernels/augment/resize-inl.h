// Resizing, one direction after the other: weighted sums along a row, then of rows.

#if defined(REGKERN_KERNELS_AUGMENT_RESIZE_INL_H_) == defined(HWY_TARGET_TOGGLE)
#ifdef REGKERN_KERNELS_AUGMENT_RESIZE_INL_H_
#undef REGKERN_KERNELS_AUGMENT_RESIZE_INL_H_
#else
#define REGKERN_KERNELS_AUGMENT_RESIZE_INL_H_
#endif

#include "kernels/augment/geometry-inl.h"

HWY_BEFORE_NAMESPACE();
namespace regkern {
namespace HWY_NAMESPACE {
namespace augment {

using regkern::augment::Taps;

// Sums of two neighbours' products each.
template <class DI16, class V16>
HWY_INLINE auto pair_sums(DI16, V16 a, V16 b) {
  const hn::RepartitionToWide<DI16> d32;
  auto second = hn::Zero(d32);
  const auto first = hn::ReorderWidenMulAccumulate(d32, a, b, hn::Zero(d32), second);
  return hn::RearrangeToOddPlusEven(first, second);
}

HWY_INLINE int16_t resized_across(int32_t sum) { return static_cast<int16_t>((sum + 64) >> 7); }

// Output i of one channel, `step` elements between neighbours.
HWY_INLINE void resize_pixel(const uint8_t* x, ptrdiff_t step, const Taps<int16_t>& taps, ptrdiff_t i,
                             int16_t* out) {
  const int16_t* const w = taps.weights + i * taps.stride;
  int32_t sum = 0;
  for (ptrdiff_t k = 0; k < taps.count[i]; ++k) sum += w[k] * x[(taps.first[i] + k) * step];
  *out = resized_across(sum);
}
HWY_INLINE void resize_pixel(const float* x, ptrdiff_t step, const Taps<float>& taps, ptrdiff_t i,
                             float* out) {
  const float* const w = taps.weights + i * taps.stride;
  float sum = 0;
  for (ptrdiff_t k = 0; k < taps.count[i]; ++k) sum += w[k] * x[(taps.first[i] + k) * step];
  *out = sum;
}

// One channel where no output has more than two neighbours, as when an image grows.
HWY_INLINE void resize_pairs(const uint8_t* x, ptrdiff_t step, ptrdiff_t width, const Taps<int16_t>& taps,
                             int16_t* out, ptrdiff_t out_step) {
  for (ptrdiff_t i = 0; i < taps.length; ++i) {
    const ptrdiff_t first = HWY_MAX(taps.first[i], 0), second = HWY_MIN(first + 1, width - 1);
    const int16_t* const w = taps.weights + i * taps.stride;
    out[i * out_step] = resized_across(w[0] * x[first * step] + w[1] * x[second * step]);
  }
}

// Of two interleaved pixels of three or four channels, 8 bytes: the int32 of each channel, weighted.
template <ptrdiff_t kChannels>
struct TwoPixels {
  HWY_INLINE TwoPixels() {
    HWY_ALIGN uint8_t bytes[16];
    for (size_t c = 0; c < 4; ++c) {
      const bool real = c < kChannels;
      bytes[4 * c] = static_cast<uint8_t>(real ? c : 0x80);
      bytes[4 * c + 2] = static_cast<uint8_t>(real ? kChannels + c : 0x80);
      bytes[4 * c + 1] = bytes[4 * c + 3] = 0x80;
    }
    order = hn::Load(Block8(), bytes);
  }
  HWY_INLINE hn::Vec<hn::Full128<int32_t>> operator()(uint64_t two, const int16_t* weights) const {
    const hn::Full128<int16_t> d16;
    const hn::Full128<uint32_t> du;
    const hn::Full128<uint64_t> d64;
    uint32_t w;
    memcpy(&w, weights, sizeof w);
    const auto v = hn::TableLookupBytesOr0(hn::BitCast(Block8(), hn::Set(d64, two)), order);
    return pair_sums(d16, hn::BitCast(d16, v), hn::BitCast(d16, hn::Set(du, w)));
  }
  hn::Vec<Block8> order;
};

HWY_INLINE void store_across(hn::Vec<hn::Full128<int32_t>> sum, int16_t* to) {
  const hn::Half<hn::Full128<int16_t>> d;
  hn::StoreU(hn::DemoteTo(d, hn::ShiftRight<7>(sum)), d, to);
}

template <ptrdiff_t kChannels>
HWY_INLINE void resize_packed(const uint8_t* x, ptrdiff_t width, const Taps<int16_t>& taps, int16_t* out) {
  const TwoPixels<kChannels> two_pixels;
  const auto round = hn::Set(hn::Full128<int32_t>(), 64);
  ptrdiff_t i = 0;
  if (taps.most <= 2 && width >= 3) {
    // Without a branch: near the end the last 8 bytes are read and shifted. An output writes four numbers.
    const ptrdiff_t last = width * kChannels - 8;
    for (; i + 1 < taps.length; ++i) {
      const ptrdiff_t at = HWY_MAX(taps.first[i], 0) * kChannels, from_byte = HWY_MIN(at, last);
      uint64_t two;
      memcpy(&two, x + from_byte, sizeof two);
      two >>= 8 * (at - from_byte);
      store_across(hn::Add(round, two_pixels(two, taps.weights + i * taps.stride)), out + i * kChannels);
    }
  }
  for (; i < taps.length; ++i) {
    const ptrdiff_t first = taps.first[i], count = taps.count[i];
    int16_t* const to = out + i * kChannels;
    // A read of pixels k and k + 1 reaches into pixel k + 2.
    if (first == kOutside || first + count + 3 > width || i + 2 > taps.length) {
      for (ptrdiff_t c = 0; first != kOutside && c < kChannels; ++c) {
        resize_pixel(x + c, kChannels, taps, i, to + c);
      }
      continue;
    }
    const uint8_t* p = x + first * kChannels;
    const int16_t* const w = taps.weights + i * taps.stride;
    auto sum = round;
    for (ptrdiff_t k = 0; k < count; k += 2, p += 2 * kChannels) {
      uint64_t two;
      memcpy(&two, p, sizeof two);
      sum = hn::Add(sum, two_pixels(two, w + k));
    }
    store_across(sum, to);
  }
}
template <ptrdiff_t kChannels>
HWY_INLINE void resize_packed(const float* x, ptrdiff_t width, const Taps<float>& taps, float* out) {
  const Block32 d;
  for (ptrdiff_t i = 0; i < taps.length; ++i) {
    const ptrdiff_t first = taps.first[i], count = taps.count[i];
    float* const to = out + i * kChannels;
    if (first == kOutside || first + count + 1 > width || i + 2 > taps.length) {
      for (ptrdiff_t c = 0; first != kOutside && c < kChannels; ++c) {
        resize_pixel(x + c, kChannels, taps, i, to + c);
      }
      continue;
    }
    const float* p = x + first * kChannels;
    const float* const w = taps.weights + i * taps.stride;
    auto sum = hn::Zero(d);
    for (ptrdiff_t k = 0; k < count; ++k, p += kChannels) {
      sum = hn::Add(sum, hn::Mul(hn::Set(d, w[k]), hn::LoadU(d, p)));
    }
    hn::StoreU(sum, d, to);
  }
}

template <class T, class W, class B>
HWY_INLINE void resize_row(Row<const T> x, const Taps<W>& taps, Row<B> out) {
  if (x.channel_stride == 1 && x.pixel_stride == x.channels && (x.channels == 3 || x.channels == 4)) {
    return x.channels == 3 ? resize_packed<3>(x.data, x.width, taps, out.data)
                           : resize_packed<4>(x.data, x.width, taps, out.data);
  }
  for (ptrdiff_t c = 0; c < x.channels; ++c) {
    if constexpr (sizeof(T) == 1) {
      if (taps.most <= 2) {
        resize_pairs(x.data + c * x.channel_stride, x.pixel_stride, x.width, taps,
                     out.data + c * out.channel_stride, out.pixel_stride);
        continue;
      }
    }
    for (ptrdiff_t i = 0; i < taps.length; ++i) {
      if (taps.first[i] == kOutside) continue;
      resize_pixel(x.data + c * x.channel_stride, x.pixel_stride, taps, i,
                   out.data + c * out.channel_stride + i * out.pixel_stride);
    }
  }
}
inline void resize_across(Row<const uint8_t> x, const Taps<int16_t>& taps, Row<int16_t> out) {
  resize_row(x, taps, out);
}
inline void resize_across(Row<const float> x, const Taps<float>& taps, Row<float> out) {
  resize_row(x, taps, out);
}

inline void resize_down(const int16_t* const* rows, const int16_t* weights, ptrdiff_t count, ptrdiff_t n,
                        uint8_t* out) {
  const Tag<int16_t> d16;
  const Tag<int32_t> d32;
  const Tag<uint32_t> du;
  const hn::Half<Tag<int16_t>> half;
  const hn::Half<Tag<uint8_t>> d8;
  const auto N = static_cast<ptrdiff_t>(hn::Lanes(d16));
  const auto round = hn::Set(d32, 1 << 20);
  ptrdiff_t i = 0;
  (void)half;
  for (; i + N <= n; i += N) {
    auto low = round, high = round;
    for (ptrdiff_t k = 0; k < count; k += 2) {
      uint32_t two;
      memcpy(&two, weights + k, sizeof two);
      const auto w = hn::BitCast(d16, hn::Set(du, two));
      const auto a = hn::LoadU(d16, rows[k] + i);
      const auto b = hn::LoadU(d16, rows[k + 1 < count ? k + 1 : k] + i);
      low = hn::Add(low, pair_sums(d16, hn::InterleaveLower(d16, a, b), w));
      high = hn::Add(high, pair_sums(d16, hn::InterleaveUpper(d16, a, b), w));
    }
    const auto words = hn::ReorderDemote2To(d16, hn::ShiftRight<21>(low), hn::ShiftRight<21>(high));
    hn::StoreU(hn::DemoteTo(d8, words), d8, out + i);
  }
  for (; i < n; ++i) {
    int32_t sum = 1 << 20;
    for (ptrdiff_t k = 0; k < count; ++k) sum += weights[k] * rows[k][i];
    const int32_t v = sum >> 21;
    out[i] = static_cast<uint8_t>(v < 0 ? 0 : v > 255 ? 255 : v);
  }
}
inline void resize_down(const float* const* rows, const float* weights, ptrdiff_t count, ptrdiff_t n,
                        float* out) {
  const DF d;
  const auto N = static_cast<ptrdiff_t>(hn::Lanes(d));
  ptrdiff_t i = 0;
  for (; i + N <= n; i += N) {
    auto sum = hn::Zero(d);
    for (ptrdiff_t k = 0; k < count; ++k) {
      sum = hn::Add(sum, hn::Mul(hn::Set(d, weights[k]), hn::LoadU(d, rows[k] + i)));
    }
    hn::StoreU(sum, d, out + i);
  }
  for (; i < n; ++i) {
    float sum = 0;
    for (ptrdiff_t k = 0; k < count; ++k) sum += weights[k] * rows[k][i];
    out[i] = sum;
  }
}

}  // namespace augment
}  // namespace HWY_NAMESPACE
}  // namespace regkern
HWY_AFTER_NAMESPACE();

#endif  // REGKERN_KERNELS_AUGMENT_RESIZE_INL_H_
