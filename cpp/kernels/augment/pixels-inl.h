// Rows of pixels, in place: tables, colors, noise, erased rectangles.

#if defined(REGKERN_KERNELS_AUGMENT_PIXELS_INL_H_) == defined(HWY_TARGET_TOGGLE)
#ifdef REGKERN_KERNELS_AUGMENT_PIXELS_INL_H_
#undef REGKERN_KERNELS_AUGMENT_PIXELS_INL_H_
#else
#define REGKERN_KERNELS_AUGMENT_PIXELS_INL_H_
#endif

#include "kernels/augment/pixels.h"
#include "kernels/augment/rows-inl.h"
#include "kernels/byte_table-inl.h"
#include "kernels/random-inl.h"

HWY_BEFORE_NAMESPACE();
namespace regkern {
namespace HWY_NAMESPACE {
namespace augment {

using random::kRandomChunk;
using random::minus_log_of;
using random::RandomBits;
using regkern::augment::FillMode;
using regkern::augment::kLevels;
using regkern::augment::kMaxPermuted;
using regkern::augment::Op;
using regkern::augment::PixelTable;

// --- tables ----------------------------------------------------------------------------------------------

HWY_INLINE const uint8_t* table_of(const uint8_t* tables, ptrdiff_t table_channels, ptrdiff_t channel) {
  return tables + (table_channels == 1 ? 0 : channel * kLevels);
}

// Bytes of an interleaved row, of which the first is one of channel 0.
HWY_INLINE void look_up_interleaved(uint8_t* p, size_t width, size_t channels, const uint8_t* tables,
                                    ptrdiff_t table_channels) {
  if (table_channels == 1) {
    look_up_bytes(p, width * channels, tables);
  } else if (channels == 3) {
    look_up_colors(p, width, tables);
  } else {
    for (size_t i = 0; i < width; ++i) {
      for (size_t c = 0; c < channels; ++c) p[i * channels + c] = tables[c * 256 + p[i * channels + c]];
    }
  }
}

inline void byte_look_up(Row<uint8_t> row, const uint8_t* tables, ptrdiff_t table_channels) {
  const auto channels = static_cast<size_t>(row.channels);
  if (interleaved(row)) {
    look_up_interleaved(row.data, static_cast<size_t>(row.width), channels, tables, table_channels);
  } else {
    for_runs(row, [&](ptrdiff_t c, uint8_t* p, size_t n)
                      HWY_ATTR { look_up_bytes(p, n, table_of(tables, table_channels, c)); });
  }
}

inline void look_up_rows(Picture<const uint8_t> x, const uint8_t* table, Picture<uint8_t> out,
                         Streaming streaming) {
  const DBytes d;
  join_rows(x, out);
  const ByteTable look_up(table);
  const auto op = [look_up](auto v) HWY_ATTR { return look_up(v); };  // a copy: bytes alias a reference
  const auto n = static_cast<size_t>(x.width * x.channels);
  for (ptrdiff_t y = 0; y < x.height; ++y) {
    const uint8_t* const from = x.data + y * x.row_stride;
    uint8_t* const to = out.data + y * out.row_stride;
    if (streaming.on) {
      stream_and_fetch(d, n, op, to, from, x.height == 1 ? streaming.ahead : nullptr);
    } else {
      map_unfenced(d, n, false, op, to, from);
    }
  }
}

inline void float_look_up(Row<float> row, const uint8_t* tables, ptrdiff_t table_channels) {
  constexpr size_t kPiece = 1024;
  const DF d;
  uint8_t levels[kPiece];
  const auto from_levels = [&](float* p, size_t n) HWY_ATTR {
    map_float(n, [d](auto v) HWY_ATTR { return hn::Div(v, hn::Set(d, 255.0f)); }, p, levels);
  };
  // Pieces of whole pixels where the channels have tables of their own.
  const bool mixed = interleaved(row) && table_channels != 1;
  const size_t channels = mixed ? static_cast<size_t>(row.channels) : 1;
  if (channels > kPiece) {
    for (size_t i = 0; i < static_cast<size_t>(row.width * row.channels); ++i) {
      to_levels(row.data + i, 1, levels);
      levels[0] = tables[i % channels * kLevels + levels[0]];
      from_levels(row.data + i, 1);
    }
    return;
  }
  for_runs(row, [&](ptrdiff_t c, float* p, size_t n) HWY_ATTR {
    const size_t piece = kPiece / channels * channels;
    for (size_t i = 0; i < n; i += piece) {
      const size_t m = HWY_MIN(piece, n - i);
      to_levels(p + i, m, levels);
      look_up_interleaved(levels, m / channels, channels, table_of(tables, table_channels, c),
                          mixed ? table_channels : 1);
      from_levels(p + i, m);
    }
  });
}

// --- float, value by value -------------------------------------------------------------------------------

template <class Op>
HWY_INLINE void map_row(const Row<float>& row, Op op) {
  for_runs(row, [&](ptrdiff_t, float* p, size_t n)
                    HWY_ATTR { map(DF(), n, false, op, p, static_cast<const float*>(p)); });
}

inline void contrast(Row<float> row, double factor, double mean) {
  const DF d;
  const auto f = hn::Set(d, static_cast<float>(factor));
  const auto offset = hn::Set(d, static_cast<float>((1 - factor) * mean));
  map_row(row, [=](auto v) HWY_ATTR { return clamp_unit(d, hn::Add(hn::Mul(f, v), offset)); });
}

// (row[c] − low) / (high − low) of channel c
inline void autocontrast(Row<float> row, const float* low, const float* high) {
  const DF d;
  const auto stretch = [d](auto v, auto least, auto range)
                           HWY_ATTR { return clamp_unit(d, hn::Div(hn::Sub(v, least), range)); };
  if (!interleaved(row) || row.channels == 1) {
    return for_runs(row, [&](ptrdiff_t c, float* p, size_t n) HWY_ATTR {
      const bool stays = low[c] == high[c];
      const auto least = hn::Set(d, stays ? 0 : low[c]), range = hn::Set(d, stays ? 1 : high[c] - low[c]);
      map(
          d, n, false, [=](auto v) HWY_ATTR { return stretch(v, least, range); }, p,
          static_cast<const float*>(p));
    });
  }
  const size_t channels = static_cast<size_t>(row.channels), n = static_cast<size_t>(row.width) * channels;
  constexpr size_t kMost = 4;
  if (channels > kMost) {
    for (ptrdiff_t x = 0; x < row.width; ++x) {
      const auto op = [=](auto v, auto l, auto h) HWY_ATTR {
        return hn::IfThenElse(hn::Eq(l, h), clamp_unit(d, v), stretch(v, l, hn::Sub(h, l)));
      };
      float* const p = row.data + x * row.pixel_stride;
      map(d, channels, false, op, p, static_cast<const float*>(p), low, high);
    }
    return;
  }
  // The numbers of the channels, repeated over as many vectors.
  HWY_ALIGN float least[kMost * hn::MaxLanes(DF())], range[kMost * hn::MaxLanes(DF())];
  const size_t period = channels * hn::Lanes(d);
  for (size_t i = 0; i < period; ++i) {
    const size_t c = i % channels;
    const bool stays = low[c] == high[c];
    least[i] = stays ? 0 : low[c];
    range[i] = stays ? 1 : high[c] - low[c];
  }
  for (size_t i = 0; i < n; i += period) {
    map(d, HWY_MIN(period, n - i), false, stretch, row.data + i, static_cast<const float*>(row.data + i),
        static_cast<const float*>(least), static_cast<const float*>(range));
  }
}

// gain·x^gamma, both rounded to float, through double as e^(gamma·log x): off by less than 1 ulp of float.
// What is below 0 counts as 0.
struct Power {
  HWY_INLINE Power(float gamma_, float gain_) : gain(gain_) {
    gamma = HWY_MAX(hwy::LowestValue<float>(), HWY_MIN(gamma_, hwy::HighestValue<float>()));
    of_zero = gamma_ > 0 ? 0 : gamma_ == 0 ? 1 : hwy::HighestValue<double>();
  }
  HWY_INLINE V<D64> operator()(D64 d, V<D64> x) const {
    const auto one = hn::Set(d, 1.0), zero = hn::Zero(d);
    constexpr double kTwo200 = 1.6069380442589903e60;
    const auto log = minus_log_of(d, hn::Mul(x, hn::Set(d, kTwo200)), hn::Sub(x, one), 200);
    const auto exponent = hn::Neg(hn::Mul(hn::Set(d, static_cast<double>(gamma)), log));
    const auto e = exp_nonpositive(d, hn::Neg(hn::Abs(exponent)), zero);
    auto y = hn::IfThenElse(hn::Gt(exponent, zero), hn::Div(one, e), e);
    y = hn::IfThenElse(hn::Le(x, zero), hn::Set(d, of_zero), y);
    return hn::Mul(hn::Set(d, static_cast<double>(gain)), hn::IfThenElse(hn::Eq(x, x), y, x));
  }
  // Not Inf, which times log 1 is NaN. As float: g++ 12 drops a pair of conversions to float and back that it
  // has vectorized.
  float gamma, gain;
  double of_zero;
};

HWY_INLINE void gamma_row(const Row<float>& row, float gamma, float gain) {
  const D64 wide;
  const hn::Rebind<float, D64> d;
  const Power power(gamma, gain);
  const size_t N = hn::Lanes(wide);
  for_runs(row, [&](ptrdiff_t, float* p, size_t n) HWY_ATTR {
    const auto step = [&](const float* from, float* to) HWY_ATTR {
      const auto y = hn::DemoteTo(d, power(wide, hn::PromoteTo(wide, hn::LoadU(d, from))));
      hn::StoreU(hn::Max(hn::Zero(d), hn::Min(hn::Set(d, 1.0f), y)), d, to);
    };
    size_t i = 0;
    for (; i + N <= n; i += N) step(p + i, p + i);
    if (i == n) return;
    float rest[hn::MaxLanes(D64())] = {};
    memcpy(rest, p + i, (n - i) * sizeof(float));
    step(rest, rest);
    memcpy(p + i, rest, (n - i) * sizeof(float));
  });
}

// --- colors ----------------------------------------------------------------------------------------------

// op(r, g, b) on vectors of pixels of three channels, which it changes. Interleaved pixels pass through
// planes of a vector of T each.
template <class T, class Op>
HWY_INLINE void for_colors(const Row<T>& row, Op op) {
  const DF d;
  const Tag<T> dt;
  const size_t N = hn::Lanes(d);
  const auto step = [&](T* r, T* g, T* b) HWY_ATTR {
    auto vr = load_float(d, r), vg = load_float(d, g), vb = load_float(d, b);
    op(vr, vg, vb);
    store_float(vr, d, r);
    store_float(vg, d, g);
    store_float(vb, d, b);
  };
  constexpr size_t kPlane = hn::MaxLanes(Tag<T>());
  HWY_ALIGN T planes[3][kPlane] = {};
  const size_t n = static_cast<size_t>(row.width);
  size_t i = 0;
  if (interleaved(row)) {
    T* const p = row.data;
    const auto pass = [&](T* pixels) HWY_ATTR {
      V<Tag<T>> r, g, b;
      hn::LoadInterleaved3(dt, pixels, r, g, b);
      hn::Store(r, dt, planes[0]);
      hn::Store(g, dt, planes[1]);
      hn::Store(b, dt, planes[2]);
      for (size_t k = 0; k < kPlane; k += N) step(planes[0] + k, planes[1] + k, planes[2] + k);
      hn::StoreInterleaved3(hn::Load(dt, planes[0]), hn::Load(dt, planes[1]), hn::Load(dt, planes[2]), dt,
                            pixels);
    };
    for (; i + kPlane <= n; i += kPlane) pass(p + 3 * i);
    if (i == n) return;
    HWY_ALIGN T rest[3 * kPlane] = {};
    memcpy(rest, p + 3 * i, 3 * (n - i) * sizeof(T));
    pass(rest);
    memcpy(p + 3 * i, rest, 3 * (n - i) * sizeof(T));
  } else {
    T* const p[3] = {row.data, row.data + row.channel_stride, row.data + 2 * row.channel_stride};
    for (; i + N <= n; i += N) step(p[0] + i, p[1] + i, p[2] + i);
    if (i == n) return;
    for (size_t c = 0; c < 3; ++c) memcpy(planes[c], p[c] + i, (n - i) * sizeof(T));
    step(planes[0], planes[1], planes[2]);
    for (size_t c = 0; c < 3; ++c) memcpy(p[c] + i, planes[c], (n - i) * sizeof(T));
  }
}

// ((19595 r + 38470 g + 7471 b + 32768) >> 16, in which float is exact, or 0.299 r + 0.587 g + 0.114 b.
template <class T>
HWY_INLINE V<DF> luma(DF d, V<DF> r, V<DF> g, V<DF> b) {
  constexpr bool kByte = sizeof(T) == 1;
  const auto wr = hn::Set(d, kByte ? 19595.0f : 0.299f), wg = hn::Set(d, kByte ? 38470.0f : 0.587f);
  const auto wb = hn::Set(d, kByte ? 7471.0f : 0.114f);
  const auto sum = hn::Add(hn::Add(hn::Mul(wr, r), hn::Mul(wg, g)), hn::Mul(wb, b));
  if constexpr (kByte) {
    return hn::Floor(hn::Mul(hn::Add(sum, hn::Set(d, 32768.0f)), hn::Set(d, 1.0f / 65536)));
  } else {
    return sum;
  }
}

template <class T>
HWY_INLINE void grayscale(const Row<T>& row) {
  const DF d;
  for_colors(row, [=](auto& r, auto& g, auto& b) HWY_ATTR { r = g = b = luma<T>(d, r, g, b); });
}

template <class T>
HWY_INLINE void saturation(const Row<T>& row, double factor) {
  const DF d;
  const auto f = hn::Set(d, static_cast<float>(factor)), rest = hn::Set(d, static_cast<float>(1 - factor));
  for_colors(row, [=](auto& r, auto& g, auto& b) HWY_ATTR {
    const auto gray = hn::Mul(rest, luma<T>(d, r, g, b));
    const auto mix = [=](auto v) HWY_ATTR { return in_range<T>(d, hn::Add(hn::Mul(f, v), gray)); };
    r = mix(r);
    g = mix(g);
    b = mix(b);
  });
}

// The hue h of a color, 0 … 6, goes up by 6·shift. Channel n is then max − c·clamp(min(k, 4 − k), 0, 1) with
// k = (h + 6·shift + n) mod 6, and -3 − 1 <= k <= 5 + 3 + 5 before the mod, n = 5, 3, 1.
template <class T>
HWY_INLINE void hue(const Row<T>& row, double shift) {
  const DF d;
  const auto up = hn::Set(d, static_cast<float>(6 * shift));
  for_colors(row, [=](auto& r, auto& g, auto& b) HWY_ATTR {
    const auto zero = hn::Zero(d), one = hn::Set(d, 1.0f), six = hn::Set(d, 6.0f);
    const auto top = hn::Max(hn::Max(r, g), b);
    const auto chroma = hn::Sub(top, hn::Min(hn::Min(r, g), b));
    const auto red = hn::Eq(top, r), green = hn::Eq(top, g);
    const auto difference =
        hn::IfThenElse(red, hn::Sub(g, b), hn::IfThenElse(green, hn::Sub(b, r), hn::Sub(r, g)));
    const auto sextant = hn::IfThenElse(red, zero, hn::IfThenElse(green, hn::Set(d, 2.0f), hn::Set(d, 4.0f)));
    const auto gray = hn::Eq(chroma, zero);
    const auto ratio = hn::Div(difference, hn::IfThenElse(gray, one, chroma));
    const auto h = hn::Add(hn::IfThenElse(gray, zero, hn::Add(ratio, sextant)), up);
    const auto channel = [=](float n) HWY_ATTR {
      auto k = hn::Add(h, hn::Set(d, n));
      const auto turns = hn::Sub(hn::Add(hn::IfThenElseZero(hn::Ge(k, six), one),
                                         hn::IfThenElseZero(hn::Ge(k, hn::Set(d, 12.0f)), one)),
                                 hn::IfThenElseZero(hn::Lt(k, zero), one));
      k = hn::Sub(k, hn::Mul(six, turns));
      const auto share = clamp_unit(d, hn::Min(k, hn::Sub(hn::Set(d, 4.0f), k)));
      return hn::Sub(top, hn::Mul(chroma, share));
    };
    r = channel(5);
    g = channel(3);
    b = channel(1);
  });
}

template <class T>
HWY_INLINE void permute(const Row<T>& row, const double* from) {
  ptrdiff_t source[kMaxPermuted];
  T pixel[kMaxPermuted];
  const ptrdiff_t channels = row.channels;
  for (ptrdiff_t c = 0; c < channels; ++c) source[c] = static_cast<ptrdiff_t>(from[c]);
  ptrdiff_t x = 0;
  if (channels == 3) {
    const Tag<T> d;
    const auto N = static_cast<ptrdiff_t>(hn::Lanes(d));
    const auto pick = [&](ptrdiff_t c, auto r, auto g, auto b) HWY_ATTR {
      return source[c] == 0 ? r : source[c] == 1 ? g : b;
    };
    const bool packed = interleaved(row);
    for (; x + N <= row.width; x += N) {
      V<Tag<T>> r, g, b;
      T* const p = row.data + x * row.pixel_stride;
      if (packed) {
        hn::LoadInterleaved3(d, p, r, g, b);
        hn::StoreInterleaved3(pick(0, r, g, b), pick(1, r, g, b), pick(2, r, g, b), d, p);
      } else {
        r = hn::LoadU(d, p);
        g = hn::LoadU(d, p + row.channel_stride);
        b = hn::LoadU(d, p + 2 * row.channel_stride);
        for (ptrdiff_t c = 0; c < 3; ++c) hn::StoreU(pick(c, r, g, b), d, p + c * row.channel_stride);
      }
    }
  }
  for (; x < row.width; ++x) {
    T* const p = row.data + x * row.pixel_stride;
    for (ptrdiff_t c = 0; c < channels; ++c) pixel[c] = p[source[c] * row.channel_stride];
    for (ptrdiff_t c = 0; c < channels; ++c) p[c * row.channel_stride] = pixel[c];
  }
}

template <class T>
void point(Op op, Row<T> row, const double* parameters) {
  const DF d;
  const auto number = [&](size_t i) HWY_ATTR { return hn::Set(d, static_cast<float>(parameters[i])); };
  switch (op) {
    case Op::kSaturation:
      if (row.channels == 3) saturation(row, parameters[0]);
      return;
    case Op::kHue:
      if (row.channels == 3) hue(row, parameters[0]);
      return;
    case Op::kGrayscale:
      if (row.channels == 3) grayscale(row);
      return;
    case Op::kPermute:
      return permute(row, parameters);
    default:
      break;
  }
  if constexpr (sizeof(T) == 4) {
    const auto one = hn::Set(d, 1.0f);
    switch (op) {
      case Op::kBrightness: {
        const auto f = number(0);
        return map_row(row, [=](auto v) HWY_ATTR { return clamp_unit(d, hn::Mul(v, f)); });
      }
      case Op::kScale: {
        const auto f = number(0);
        return map_row(row, [=](auto v) HWY_ATTR { return hn::Mul(v, f); });
      }
      case Op::kGamma:
        return gamma_row(row, static_cast<float>(parameters[0]), static_cast<float>(parameters[1]));
      case Op::kPosterize: {
        const float count = static_cast<float>(1 << static_cast<int>(parameters[0]));
        const auto levels = hn::Set(d, count), last = hn::Set(d, count - 1), level = hn::Set(d, 1 / count);
        return map_row(row, [=](auto v) HWY_ATTR {
          return hn::Mul(hn::Max(hn::Zero(d), hn::Min(last, hn::Floor(hn::Mul(v, levels)))), level);
        });
      }
      case Op::kSolarize: {
        const auto threshold = number(0);
        return map_row(
            row, [=](auto v) HWY_ATTR { return hn::IfThenElse(hn::Ge(v, threshold), hn::Sub(one, v), v); });
      }
      case Op::kInvert:
        return map_row(row, [=](auto v) HWY_ATTR { return hn::Sub(one, v); });
      default:
        return;
    }
  }
}

// --- random numbers --------------------------------------------------------------------------------------

// Calls body(p, numbers, n) for the elements of an interleaved row, or for parts of the channels of a planar
// one, with the number of each: pixel x, channel c has number first + x·channels + c. make(first, n, numbers)
// makes numbers from a multiple of 4 on, and may write whole vectors.
template <class Number, class T, class Make, class Body>
HWY_INLINE void with_numbers(const Row<T>& row, uint64_t first, Make make, Body body) {
  constexpr size_t kPiece = kRandomChunk - 4;
  HWY_ALIGN Number numbers[kRandomChunk], plane[kRandomChunk];
  const size_t channels = static_cast<size_t>(row.channels), all = static_cast<size_t>(row.width) * channels;
  const bool together = interleaved(row), pixels = !together && channels <= kPiece;
  const size_t piece = pixels ? kPiece / channels * channels : kPiece;
  for (size_t i = 0; i < all; i += piece) {
    const size_t n = HWY_MIN(piece, all - i), skip = (first + i) % 4;
    make(first + i - skip, skip + n, numbers);
    const Number* const z = numbers + skip;
    if (together) {
      body(row.data + i, z, n);
    } else if (pixels) {
      const size_t width = n / channels;
      for (size_t c = 0; c < channels; ++c) {
        for (size_t x = 0; x < width; ++x) plane[x] = z[x * channels + c];
        T* const p = row.data + static_cast<ptrdiff_t>(c) * row.channel_stride;
        body(p + i / channels, static_cast<const Number*>(plane), width);
      }
    } else {
      for (size_t k = 0; k < n; ++k) {
        T* const p = row.data + static_cast<ptrdiff_t>((i + k) % channels) * row.channel_stride;
        body(p + (i + k) / channels, z + k, size_t{1});
      }
    }
  }
}

// Standard normal numbers for with_numbers.
struct MakeNormal {
  HWY_INLINE explicit MakeNormal(Stream source) : philox(source) {}
  HWY_INLINE void operator()(uint64_t first, size_t n, float* numbers) {
    bits.draw(philox, first, n, false);
    normal_chunk(bits, n, numbers);
  }
  Philox philox;
  RandomBits bits;
};

template <class T>
void noise(Row<T> row, Stream source, uint64_t first, double mean, double sigma, bool clip) {
  const DF d;
  constexpr double kUnit = sizeof(T) == 1 ? 255 : 1;
  const auto m = hn::Set(d, static_cast<float>(kUnit * mean));
  const auto s = hn::Set(d, static_cast<float>(kUnit * sigma));
  const auto add = [=](auto v, auto z) HWY_ATTR { return hn::Add(v, hn::Add(m, hn::Mul(s, z))); };
  MakeNormal make(source);
  with_numbers<float>(
      row, first, [&](uint64_t at, size_t n, float* z) HWY_ATTR { make(at, n, z); },
      [&](T* p, const float* z, size_t n) HWY_ATTR {
        const T* const from = p;
        if (clip) {
          map_float(
              n, [=](auto v, auto number) HWY_ATTR { return in_range<T>(d, add(v, number)); }, p, from, z);
        } else {
          map_float(n, add, p, from, z);
        }
      });
}

// --- erased rectangles -----------------------------------------------------------------------------------

HWY_INLINE uint8_t to_pixel(double v, uint8_t) {
  return static_cast<uint8_t>(v < 0 ? 0 : v > 255 ? 255 : static_cast<int>(v + 0.5));
}
HWY_INLINE float to_pixel(double v, float) { return static_cast<float>(v); }

// Random pixels: levels with equal chances, or standard normal numbers.
HWY_INLINE void random_pixels(Stream source, uint64_t first, size_t n, uint8_t* pixels) {
  uint32_t words[kRandomChunk];
  fill_words(Philox(source), first / 4, n, words);
  for (size_t i = 0; i < n; ++i) pixels[i] = static_cast<uint8_t>(words[i] >> 24);
}
HWY_INLINE void random_pixels(Stream source, uint64_t first, size_t n, float* pixels) {
  MakeNormal make(source);
  make(first, n, pixels);
}

// Every pixel of the row becomes `color`; its channels may be some of an image's.
template <class T>
HWY_INLINE void fill_row(const Row<T>& row, const T* color) {
  for (ptrdiff_t x = 0; x < row.width; ++x) {
    T* const p = row.data + x * row.pixel_stride;
    for (ptrdiff_t c = 0; c < row.channels; ++c) p[c * row.channel_stride] = color[c];
  }
}

// Rows of one color: the first is made, the others are copies of it.
template <class T>
HWY_INLINE void fill_rows(const Picture<T>& x, FillMode mode, const double* fill, Stream source) {
  constexpr auto kPiece = static_cast<ptrdiff_t>(kRandomChunk);
  HWY_ALIGN T color[kRandomChunk];
  for (ptrdiff_t c = 0; c < x.channels; c += kPiece) {
    const ptrdiff_t n = HWY_MIN(kPiece, x.channels - c);
    if (mode == FillMode::kColor) {
      random_pixels(source, static_cast<uint64_t>(c), static_cast<size_t>(n), color);
    } else {
      for (ptrdiff_t k = 0; k < n; ++k) color[k] = to_pixel(fill == nullptr ? 0 : fill[c + k], T{});
    }
    fill_row(Row<T>{x.data + c * x.channel_stride, x.width, n, x.pixel_stride, x.channel_stride}, color);
  }
  const Row<T> made = row_of(x, 0);
  for (ptrdiff_t y = 1; y < x.height; ++y) {
    for_runs(made, [&](ptrdiff_t, const T* p, size_t n) HWY_ATTR {
      copy_bytes(reinterpret_cast<const uint8_t*>(p),
                 reinterpret_cast<uint8_t*>(x.data + y * x.row_stride + (p - made.data)), n * sizeof(T));
    });
  }
}

template <class T>
void erase(Picture<T> x, ptrdiff_t y, const double* box, FillMode mode, const double* fill, Stream source) {
  const auto clipped = [](double v, ptrdiff_t size) HWY_ATTR {
    return static_cast<ptrdiff_t>(HWY_MIN(HWY_MAX(v, 0.0), static_cast<double>(size)));
  };
  const double above = box[0] - static_cast<double>(y);
  const ptrdiff_t top = clipped(above, x.height), bottom = clipped(above + box[2], x.height);
  const ptrdiff_t left = clipped(box[1], x.width), right = clipped(box[1] + box[3], x.width);
  if (top >= bottom || left >= right) return;
  Picture<T> part = x;
  part.data += top * x.row_stride + left * x.pixel_stride;
  part.height = bottom - top;
  part.width = right - left;
  if (mode != FillMode::kPixels) return fill_rows(part, mode, fill, source);
  for (ptrdiff_t r = 0; r < part.height; ++r) {
    const auto first = static_cast<uint64_t>(((y + top + r) * x.width + left) * x.channels);
    with_numbers<T>(
        row_of(part, r), first,
        [&](uint64_t at, size_t n, T* pixels) HWY_ATTR { random_pixels(source, at, n, pixels); },
        [&](T* p, const T* pixels, size_t n) HWY_ATTR { memcpy(p, pixels, n * sizeof(T)); });
  }
}

}  // namespace augment
}  // namespace HWY_NAMESPACE
}  // namespace regkern
HWY_AFTER_NAMESPACE();

#endif  // REGKERN_KERNELS_AUGMENT_PIXELS_INL_H_
