// Warps: an affine or projective map of the output's pixels into the source, nearest or bilinear.
//
// A row is done in chunks of pixels. First the places in the source, by vectors; then the neighbours of each
// are fetched, pixel by pixel, into a buffer, where those outside of the image are what the padding says;
// then the values, by vectors again. So the border costs nothing inside of the image and needs no second
// formula.

#if defined(REGKERN_KERNELS_AUGMENT_WARP_INL_H_) == defined(HWY_TARGET_TOGGLE)
#ifdef REGKERN_KERNELS_AUGMENT_WARP_INL_H_
#undef REGKERN_KERNELS_AUGMENT_WARP_INL_H_
#else
#define REGKERN_KERNELS_AUGMENT_WARP_INL_H_
#endif

#include "kernels/augment/geometry-inl.h"

HWY_BEFORE_NAMESPACE();
namespace regkern {
namespace HWY_NAMESPACE {
namespace augment {

using regkern::augment::Interpolation;
using regkern::augment::Padding;
using regkern::augment::Warp;

constexpr ptrdiff_t kWarpChunk = 64;    // a multiple of all numbers of lanes
constexpr float kFarthest = 524288.0f;  // 2¹⁹

using DI = hn::RebindToSigned<DF>;

template <size_t kN>
struct Number {
  static constexpr size_t value = kN;
};

// --- places ---

struct Places {
  HWY_ALIGN int32_t x[kWarpChunk], y[kWarpChunk];    // of the upper left neighbour
  HWY_ALIGN int32_t wx[kWarpChunk], wy[kWarpChunk];  // bytes: 0 … 2047; float: the bits of 0 … 1
  bool inside;                                       // all have their neighbours in the image
  HWY_ALIGN int32_t at[kWarpChunk];                  // if inside: elements from the first pixel
};

// Fills in `at`; an image too large for it is never `inside`.
HWY_INLINE void find_offsets(Places& places, ptrdiff_t n, ptrdiff_t height, ptrdiff_t row_stride,
                             ptrdiff_t pixel_stride) {
  const DI di;
  const auto N = static_cast<ptrdiff_t>(hn::Lanes(di));
  constexpr ptrdiff_t kFarthestOffset = ptrdiff_t{1} << 30;
  if (height * (row_stride < 0 ? -row_stride : row_stride) > kFarthestOffset) {
    places.inside = false;
    return;
  }
  const auto down = hn::Set(di, static_cast<int32_t>(row_stride));
  const auto right = hn::Set(di, static_cast<int32_t>(pixel_stride));
  for (ptrdiff_t i = 0; i < n; i += N) {
    const auto line = hn::Mul(hn::Load(di, places.y + i), down);
    hn::Store(hn::Add(line, hn::Mul(hn::Load(di, places.x + i), right)), di, places.at + i);
  }
}

// A row's coordinates in the source: (a·x + b) / (g·x + h).
struct WarpRow {
  HWY_INLINE WarpRow(const Warp& warp, ptrdiff_t row) : projective(warp.projective) {
    const double y = static_cast<double>(row);
    const double* m = warp.m;
    ax = static_cast<float>(m[0]);
    bx = static_cast<float>(m[1] * y + m[2]);
    ay = static_cast<float>(m[3]);
    by = static_cast<float>(m[4] * y + m[5]);
    g = static_cast<float>(m[6]);
    h = static_cast<float>(m[7] * y + m[8]);
  }
  HWY_INLINE void at(V<DF> x, V<DF>& sx, V<DF>& sy) const {
    const DF d;
    sx = hn::Add(hn::Mul(hn::Set(d, ax), x), hn::Set(d, bx));
    sy = hn::Add(hn::Mul(hn::Set(d, ay), x), hn::Set(d, by));
    if (projective) {
      const auto z = hn::Add(hn::Mul(hn::Set(d, g), x), hn::Set(d, h));
      sx = hn::Div(sx, z);
      sy = hn::Div(sy, z);
    }
    sx = clamp(sx);
    sy = clamp(sy);
  }
  // NaN becomes the lowest.
  static HWY_INLINE V<DF> clamp(V<DF> s) {
    const DF d;
    const auto low = hn::Set(d, -kFarthest);
    return hn::IfThenElse(hn::Gt(s, low), hn::Min(s, hn::Set(d, kFarthest)), low);
  }
  bool projective;
  float ax, bx, ay, by, g, h;
};

// step(x of a chunk's first pixel, its pixels, i, coordinates) for the vectors of a chunk.
template <class Body>
HWY_INLINE void for_coordinates(const WarpRow& row, ptrdiff_t first, ptrdiff_t n, Body body) {
  const DF d;
  const DI di;
  const auto N = static_cast<ptrdiff_t>(hn::Lanes(d));
  auto column = hn::Add(hn::Iota(di, 0), hn::Set(di, static_cast<int32_t>(first)));
  for (ptrdiff_t i = 0; i < n; i += N) {
    V<DF> sx, sy;
    row.at(hn::ConvertTo(d, column), sx, sy);
    column = hn::Add(column, hn::Set(di, static_cast<int32_t>(N)));
    body(i, sx, sy);
  }
}

// Lanes that are not in 0 … last.
HWY_INLINE V<DI> beyond(V<DI> i, V<DI> last) {
  const DI di;
  return hn::Or(hn::VecFromMask(di, hn::Lt(i, hn::Zero(di))), hn::VecFromMask(di, hn::Gt(i, last)));
}

// Whether the chunk's reads of `reach` columns and `below` rows stay in the image. Lanes behind the last
// pixel do not count.
HWY_INLINE bool all_inside(const Places& places, ptrdiff_t n, ptrdiff_t width, ptrdiff_t height,
                           ptrdiff_t reach, ptrdiff_t below) {
  const DI di;
  const auto N = static_cast<ptrdiff_t>(hn::Lanes(di));
  const auto last_x = hn::Set(di, static_cast<int32_t>(width - reach));
  const auto last_y = hn::Set(di, static_cast<int32_t>(height - below));
  const auto out = [&](ptrdiff_t i) HWY_ATTR {
    return hn::Or(beyond(hn::Load(di, places.x + i), last_x), beyond(hn::Load(di, places.y + i), last_y));
  };
  auto any = hn::Zero(di);
  ptrdiff_t i = 0;
  for (; i + N <= n; i += N) any = hn::Or(any, out(i));
  if (i < n) {
    const auto counts = hn::Lt(hn::Iota(di, 0), hn::Set(di, static_cast<int32_t>(n - i)));
    any = hn::Or(any, hn::And(out(i), hn::VecFromMask(di, counts)));
  }
  return hn::AllTrue(di, hn::Eq(any, hn::Zero(di)));
}

template <class T>
HWY_INLINE void bilinear_places(const WarpRow& row, ptrdiff_t first, ptrdiff_t n, Places& places) {
  const DF d;
  const DI di;
  const auto half = hn::Set(d, 0.5f), fine = hn::Set(d, 2048.0f);
  const auto low = hn::Set(di, 2047);
  const auto one = [&](V<DF> s, int32_t* at, int32_t* weight) HWY_ATTR {
    if constexpr (sizeof(T) == 1) {
      const auto q = hn::ConvertTo(di, hn::Floor(hn::Add(hn::Mul(s, fine), half)));
      hn::Store(hn::ShiftRight<11>(q), di, at);
      hn::Store(hn::And(q, low), di, weight);
    } else {
      const auto whole = hn::Floor(s);
      hn::Store(hn::ConvertTo(di, whole), di, at);
      hn::Store(hn::BitCast(di, hn::Sub(s, whole)), di, weight);
    }
  };
  for_coordinates(row, first, n, [&](ptrdiff_t i, V<DF> sx, V<DF> sy) HWY_ATTR {
    one(sx, places.x + i, places.wx + i);
    one(sy, places.y + i, places.wy + i);
  });
}

// --- outside ---

// Which of n rows (or columns) stands for number i, kOutside: the fill.
HWY_INLINE ptrdiff_t padded(ptrdiff_t i, ptrdiff_t n, Padding padding) {
  if (static_cast<size_t>(i) < static_cast<size_t>(n)) return i;
  switch (padding) {
    case Padding::kConstant:
      return kOutside;
    case Padding::kEdge:
      return i < 0 ? 0 : n - 1;
    case Padding::kReflect: {
      if (n == 1) return 0;
      const ptrdiff_t period = 2 * (n - 1), r = i % period, at = r < 0 ? r + period : r;
      return at < n ? at : period - at;
    }
    default: {
      const ptrdiff_t period = 2 * n, r = i % period, at = r < 0 ? r + period : r;
      return at < n ? at : period - 1 - at;
    }
  }
}

// --- nearest ---

template <size_t kBytes>
void warp_nearest(Plane<const uint8_t> x, const Warp& warp, const Pixels<kBytes>& pixels, const uint8_t* fill,
                  ptrdiff_t y, Plane<uint8_t> out) {
  const auto size = static_cast<ptrdiff_t>(pixels.size());
  for (ptrdiff_t r = 0; r < out.height; ++r) {
    const WarpRow row(warp, y + r);
    for (ptrdiff_t first = 0; first < out.width; first += kWarpChunk) {
      const ptrdiff_t n = HWY_MIN(kWarpChunk, out.width - first);
      Places places;
      for_coordinates(row, first, n, [&](ptrdiff_t i, V<DF> sx, V<DF> sy) HWY_ATTR {
        const DF d;
        const DI di;
        const auto half = hn::Set(d, 0.5f);
        hn::Store(hn::ConvertTo(di, hn::Floor(hn::Add(sx, half))), di, places.x + i);
        hn::Store(hn::ConvertTo(di, hn::Floor(hn::Add(sy, half))), di, places.y + i);
      });
      uint8_t* const to = out.data + r * out.stride + first * size;
      places.inside = all_inside(places, n, x.width, x.height, 1, 1);
      if (places.inside) find_offsets(places, n, x.height, x.stride, size);
      if (places.inside) {
        for (ptrdiff_t i = 0; i < n; ++i) pixels.move(x.data + places.at[i], to + i * size);
        continue;
      }
      for (ptrdiff_t i = 0; i < n; ++i) {
        const ptrdiff_t column = padded(places.x[i], x.width, warp.padding);
        const ptrdiff_t line = padded(places.y[i], x.height, warp.padding);
        const bool outside = column == kOutside || line == kOutside;
        pixels.move(outside ? fill : x.data + line * x.stride + column * size, to + i * size);
      }
    }
  }
}

template <class T>
void warp_nearest_rows(Picture<const T> x, const Warp& warp, const T* fill, ptrdiff_t y, Picture<T> out) {
  for_planes_of_bytes(x, fill, out, [&](auto from, const uint8_t* value, auto to, auto pixels) HWY_ATTR {
    warp_nearest(from, warp, pixels, value, y, to);
  });
}

// --- bilinear, bytes: up to four channels at once ---

// The two neighbours in a row, as 2·kChannels bytes in the low end of the number; kFar: four channels of
// more, whose pixels lie `step` bytes apart.
template <int kChannels, bool kFar>
HWY_INLINE uint64_t load_two(const uint8_t* p, ptrdiff_t step) {
  if constexpr (kFar) {
    uint32_t a, b;
    memcpy(&a, p, 4);
    memcpy(&b, p + step, 4);
    return a | uint64_t{b} << 32;
  } else {
    uint64_t two = 0;
    memcpy(&two, p, kChannels == 3 ? 8 : 2 * kChannels);
    return two;
  }
}

// Channel c of the left and of the right neighbour, as the two int16 of a lane.
template <int kChannels, int kChannel, class V32>
HWY_INLINE auto channel_pairs(V32 low, V32 high, V32 lanes) {
  const hn::Repartition<uint8_t, DF> d8;
  const hn::Repartition<int16_t, DF> d16;
  const hn::RebindToUnsigned<DF> du;
  constexpr uint32_t kNone = 0x80, kLeft = kChannel, kRight = kChannels + kChannel;
  const auto look = [&](V32 v, uint32_t left, uint32_t right) HWY_ATTR {
    const auto order = hn::Add(lanes, hn::Set(du, left | kNone << 8 | right << 16 | kNone << 24));
    return hn::TableLookupBytesOr0(hn::BitCast(d8, v), hn::BitCast(d8, order));
  };
  if constexpr (kRight < 4) {
    return hn::BitCast(d16, look(low, kLeft, kRight));
  } else {
    return hn::BitCast(d16, hn::Or(look(low, kLeft, kNone), look(high, kNone, kRight - 4)));
  }
}

struct BytePairs {
  HWY_ALIGN uint64_t upper[kWarpChunk], lower[kWarpChunk];
};

// values[i]: the channels of pixel i, a byte each.
template <int kChannels>
HWY_INLINE void blend_bytes(const BytePairs& pairs, const Places& places, ptrdiff_t n, uint32_t* values) {
  const DI di;
  const hn::RebindToUnsigned<DF> du;
  const hn::Repartition<int16_t, DF> d16;
  const auto N = static_cast<ptrdiff_t>(hn::Lanes(di));
  HWY_ALIGN static constexpr uint32_t kLanes[4] = {0, 0x04040404, 0x08080808, 0x0C0C0C0C};
  const auto lanes = hn::LoadDup128(du, kLanes);
  const auto round = hn::Set(di, 1 << 21), whole = hn::Set(di, 2048);
  for (ptrdiff_t i = 0; i < n; i += N) {
    const auto wx = hn::Load(di, places.wx + i), wy = hn::Load(di, places.wy + i);
    const auto weights = hn::BitCast(d16, hn::Or(hn::Sub(whole, wx), hn::ShiftLeft<16>(wx)));
    const auto load = [&](const uint64_t* p, auto& low, auto& high) HWY_ATTR {
      const auto a = hn::Load(du, reinterpret_cast<const uint32_t*>(p + i));
      const auto b = hn::Load(du, reinterpret_cast<const uint32_t*>(p + i) + N);
      low = hn::ConcatEven(du, b, a);
      high = hn::ConcatOdd(du, b, a);
    };
    auto upper_low = hn::Zero(du), upper_high = upper_low, lower_low = upper_low, lower_high = upper_low;
    load(pairs.upper, upper_low, upper_high);
    load(pairs.lower, lower_low, lower_high);
    const auto blend = [&](auto upper, auto lower) HWY_ATTR {
      const auto h0 = pair_sums(d16, upper, weights), h1 = pair_sums(d16, lower, weights);
      const auto v = hn::Add(hn::Add(hn::ShiftLeft<11>(h0), round), hn::Mul(hn::Sub(h1, h0), wy));
      return hn::BitCast(du, hn::ShiftRight<22>(v));
    };
    const auto channel = [&](auto number) HWY_ATTR {
      constexpr auto kChannel = static_cast<int>(decltype(number)::value);
      return blend(channel_pairs<kChannels, kChannel>(upper_low, upper_high, lanes),
                   channel_pairs<kChannels, kChannel>(lower_low, lower_high, lanes));
    };
    auto value = channel(Number<0>());
    if constexpr (kChannels > 1) value = hn::Or(value, hn::ShiftLeft<8>(channel(Number<1>())));
    if constexpr (kChannels > 2) value = hn::Or(value, hn::ShiftLeft<16>(channel(Number<2>())));
    if constexpr (kChannels > 3) value = hn::Or(value, hn::ShiftLeft<24>(channel(Number<3>())));
    hn::Store(value, du, values + i);
  }
}

// The values as pixels of kChannels bytes, `step` apart.
template <int kChannels, bool kFar>
HWY_INLINE void store_bytes(const uint32_t* values, ptrdiff_t n, uint8_t* out, ptrdiff_t step) {
  ptrdiff_t i = 0;
  if constexpr (kChannels == 3) {
    const Block8 d;
    HWY_ALIGN static constexpr uint8_t kOrder[16] = {0, 1, 2, 4, 5, 6, 8, 9, 10, 12, 13, 14};
    const auto order = hn::Load(d, kOrder);
    for (; i + 6 <= n; i += 4) {
      const auto v = hn::Load(d, reinterpret_cast<const uint8_t*>(values + i));
      hn::StoreU(hn::TableLookupBytes(v, order), d, out + 3 * i);
    }
  } else if constexpr (kChannels == 4 && !kFar) {
    memcpy(out, values, static_cast<size_t>(n) * 4);
    return;
  } else if constexpr (kChannels == 1) {
    const hn::RebindToUnsigned<DF> du;
    const hn::Rebind<uint8_t, DF> d8;
    const auto N = static_cast<ptrdiff_t>(hn::Lanes(du));
    for (; i + N <= n; i += N) hn::StoreU(hn::U8FromU32(hn::Load(du, values + i)), d8, out + i);
  }
  for (; i < n; ++i) memcpy(out + i * step, values + i, kChannels);
}

// Channels [0, kChannels) of the pixels of x, `step` bytes from one to the next.
template <int kChannels, bool kFar = false>
HWY_INLINE void warp_bytes(Plane<const uint8_t> x, ptrdiff_t step, const Warp& warp, const uint8_t* fill,
                           const Places& places, ptrdiff_t n, uint8_t* out) {
  BytePairs pairs;
  if (places.inside) {
    for (ptrdiff_t i = 0; i < n; ++i) {
      const uint8_t* p = x.data + places.at[i];
      pairs.upper[i] = load_two<kChannels, kFar>(p, step);
      pairs.lower[i] = load_two<kChannels, kFar>(p + x.stride, step);
    }
  } else {
    uint64_t filled = 0;
    for (int c = 0; c < kChannels; ++c) {
      filled |= uint64_t{fill[c]} << (8 * c) | uint64_t{fill[c]} << (8 * (kChannels + c));
    }
    constexpr ptrdiff_t kReach = kChannels == 3 ? 3 : 2;
    for (ptrdiff_t i = 0; i < n; ++i) {
      const ptrdiff_t px = places.x[i], py = places.y[i];
      if (px >= 0 && px <= x.width - kReach && py >= 0 && py <= x.height - 2) {
        const uint8_t* p = x.data + py * x.stride + px * step;
        pairs.upper[i] = load_two<kChannels, kFar>(p, step);
        pairs.lower[i] = load_two<kChannels, kFar>(p + x.stride, step);
        continue;
      }
      if (warp.padding == Padding::kConstant && (px < -1 || px >= x.width || py < -1 || py >= x.height)) {
        pairs.upper[i] = pairs.lower[i] = filled;
        continue;
      }
      const ptrdiff_t columns[2] = {padded(px, x.width, warp.padding), padded(px + 1, x.width, warp.padding)};
      uint64_t* const to[2] = {pairs.upper, pairs.lower};
      for (ptrdiff_t k = 0; k < 2; ++k) {
        const ptrdiff_t line = padded(py + k, x.height, warp.padding);
        uint64_t two = 0;
        for (ptrdiff_t side = 0; side < 2; ++side) {
          const bool outside = line == kOutside || columns[side] == kOutside;
          const uint8_t* p = outside ? fill : x.data + line * x.stride + columns[side] * step;
          for (int c = 0; c < kChannels; ++c) two |= uint64_t{p[c]} << (8 * (side * kChannels + c));
        }
        to[k][i] = two;
      }
    }
  }
  HWY_ALIGN uint32_t values[kWarpChunk];
  blend_bytes<kChannels>(pairs, places, n, values);
  store_bytes<kChannels, kFar>(values, n, out, step);
}

// --- bilinear, float: one channel after the other ---

HWY_INLINE void warp_floats(Plane<const float> x, ptrdiff_t step, const Warp& warp, float fill,
                            const Places& places, ptrdiff_t n, float* out, ptrdiff_t out_step) {
  HWY_ALIGN float taps[4][kWarpChunk], values[kWarpChunk];
  const auto fetch = [&](ptrdiff_t i, const float* p) HWY_ATTR {
    taps[0][i] = p[0];
    taps[1][i] = p[step];
    taps[2][i] = p[x.stride];
    taps[3][i] = p[x.stride + step];
  };
  for (ptrdiff_t i = 0; places.inside && i < n; ++i) fetch(i, x.data + places.at[i]);
  for (ptrdiff_t i = 0; !places.inside && i < n; ++i) {
    const ptrdiff_t px = places.x[i], py = places.y[i];
    if (px >= 0 && px <= x.width - 2 && py >= 0 && py <= x.height - 2) {
      fetch(i, x.data + py * x.stride + px * step);
      continue;
    }
    for (ptrdiff_t k = 0; k < 4; ++k) {
      const ptrdiff_t line = padded(py + k / 2, x.height, warp.padding);
      const ptrdiff_t column = padded(px + k % 2, x.width, warp.padding);
      taps[k][i] = line == kOutside || column == kOutside ? fill : x.data[line * x.stride + column * step];
    }
  }
  const DF d;
  const auto N = static_cast<ptrdiff_t>(hn::Lanes(d));
  float* const to = out_step == 1 && n == kWarpChunk ? out : values;
  for (ptrdiff_t i = 0; i < n; i += N) {
    const auto wx = hn::Load(d, reinterpret_cast<const float*>(places.wx + i));
    const auto wy = hn::Load(d, reinterpret_cast<const float*>(places.wy + i));
    const auto mix = [](auto a, auto b, auto w) HWY_ATTR { return hn::Add(a, hn::Mul(w, hn::Sub(b, a))); };
    const auto h0 = mix(hn::Load(d, taps[0] + i), hn::Load(d, taps[1] + i), wx);
    const auto h1 = mix(hn::Load(d, taps[2] + i), hn::Load(d, taps[3] + i), wx);
    hn::StoreU(mix(h0, h1, wy), d, to + i);
  }
  if (to == values) {
    for (ptrdiff_t i = 0; i < n; ++i) out[i * out_step] = values[i];
  }
}

// --- rows ---

inline void warp_chunk(const Picture<const uint8_t>& x, const Warp& warp, const uint8_t* fill,
                       const Places& places, ptrdiff_t n, uint8_t* out, ptrdiff_t out_channel_stride,
                       bool packed) {
  const auto run = [&](auto channels, auto far, ptrdiff_t c, ptrdiff_t step, uint8_t* to) HWY_ATTR {
    constexpr auto kChannels = static_cast<int>(decltype(channels)::value);
    const Plane<const uint8_t> plane{x.data + c * x.channel_stride, x.row_stride, x.width, x.height};
    warp_bytes<kChannels, decltype(far)::value != 0>(plane, step, warp, fill + c, places, n, to);
  };
  constexpr Number<0> kNear;
  constexpr Number<1> kFar;
  if (!packed || x.channels == 1) {
    for (ptrdiff_t c = 0; c < x.channels; ++c) run(Number<1>(), kNear, c, 1, out + c * out_channel_stride);
  } else if (x.channels == 2) {
    run(Number<2>(), kNear, 0, 2, out);
  } else if (x.channels == 3) {
    run(Number<3>(), kNear, 0, 3, out);
  } else if (x.channels == 4) {
    run(Number<4>(), kNear, 0, 4, out);
  } else {  // four by four, the last four once more
    for (ptrdiff_t c = 0; c < x.channels; c += 4) {
      const ptrdiff_t at = HWY_MIN(c, x.channels - 4);
      run(Number<4>(), kFar, at, x.channels, out + at);
    }
  }
}
inline void warp_chunk(const Picture<const float>& x, const Warp& warp, const float* fill,
                       const Places& places, ptrdiff_t n, float* out, ptrdiff_t out_channel_stride,
                       bool packed) {
  for (ptrdiff_t c = 0; c < x.channels; ++c) {
    const Plane<const float> plane{x.data + c * x.channel_stride, x.row_stride, x.width, x.height};
    warp_floats(plane, x.pixel_stride, warp, fill[c], places, n, out + c * out_channel_stride,
                packed ? x.channels : 1);
  }
}

template <class T>
void warp_rows(Picture<const T> x, const Warp& warp, const T* fill, ptrdiff_t y, Picture<T> out) {
  if (warp.interpolation == Interpolation::kNearest) return warp_nearest_rows(x, warp, fill, y, out);
  const bool packed = is_interleaved(out);
  const ptrdiff_t reach = sizeof(T) == 1 && packed && x.channels == 3 ? 3 : 2;
  for (ptrdiff_t r = 0; r < out.height; ++r) {
    const WarpRow row(warp, y + r);
    T* const line = out.data + r * out.row_stride;
    for (ptrdiff_t first = 0; first < out.width; first += kWarpChunk) {
      const ptrdiff_t n = HWY_MIN(kWarpChunk, out.width - first);
      Places places;
      bilinear_places<T>(row, first, n, places);
      places.inside = all_inside(places, n, x.width, x.height, reach, 2);
      if (places.inside) find_offsets(places, n, x.height, x.row_stride, x.pixel_stride);
      warp_chunk(x, warp, fill, places, n, line + first * out.pixel_stride, out.channel_stride, packed);
    }
  }
}

}  // namespace augment
}  // namespace HWY_NAMESPACE
}  // namespace regkern
HWY_AFTER_NAMESPACE();

#endif  // REGKERN_KERNELS_AUGMENT_WARP_INL_H_
