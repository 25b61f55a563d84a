// What contrast, equalize and autocontrast ask of a whole image: sums, extremes, histograms.

#if defined(REGKERN_KERNELS_AUGMENT_STATISTICS_INL_H_) == defined(HWY_TARGET_TOGGLE)
#ifdef REGKERN_KERNELS_AUGMENT_STATISTICS_INL_H_
#undef REGKERN_KERNELS_AUGMENT_STATISTICS_INL_H_
#else
#define REGKERN_KERNELS_AUGMENT_STATISTICS_INL_H_
#endif

#include "kernels/augment/pixels-inl.h"

HWY_BEFORE_NAMESPACE();
namespace regkern {
namespace HWY_NAMESPACE {
namespace augment {

// The same image as one row, if its rows follow one another.
template <class T>
HWY_INLINE Picture<T> joined(Picture<T> x) {
  if (x.row_stride == x.width * x.pixel_stride) {
    x.width *= x.height;
    x.row_stride *= x.height;
    x.height = 1;
  }
  return x;
}

constexpr size_t kLevelPiece = 3072;

// Calls body(channel, levels, n) for pieces of the image as bytes: whole pixels of an interleaved image
// (channel 0), a part of a very long one (its first channel), or a part of a channel. Bytes are taken through
// the tables, floats to their levels.
template <class T, class Body>
HWY_INLINE void for_levels(const Picture<const T>& image, const uint8_t* tables, ptrdiff_t table_channels,
                           Body body) {
  const Picture<const T> x = joined(image);
  HWY_ALIGN uint8_t buffer[kLevelPiece];
  const size_t channels = interleaved(row_of(x, 0)) ? static_cast<size_t>(x.channels) : 1;
  const bool long_pixels = channels > kLevelPiece;
  const size_t piece = long_pixels ? kLevelPiece : kLevelPiece / channels * channels;
  for (ptrdiff_t y = 0; y < x.height; ++y) {
    for_runs(row_of(x, y), [&](ptrdiff_t c, const T* p, size_t n) HWY_ATTR {
      if constexpr (sizeof(T) == 1) {
        if (tables == nullptr) return body(c, p, n);
      }
      const size_t unit = long_pixels ? channels : n;
      for (const T* const end = p + n; p != end; p += unit) {
        for (size_t i = 0; i < unit; i += piece) {
          const size_t m = HWY_MIN(piece, unit - i), pixels = long_pixels ? 1 : m / channels;
          const ptrdiff_t first = c + (long_pixels ? static_cast<ptrdiff_t>(i) : 0);
          if constexpr (sizeof(T) == 1) {
            memcpy(buffer, p + i, m);
            look_up_interleaved(buffer, pixels, m / pixels, table_of(tables, table_channels, first),
                                channels == 1 ? 1 : table_channels);
          } else {
            to_levels(p + i, m, buffer);
          }
          body(first, static_cast<const uint8_t*>(buffer), m);
        }
      }
    });
  }
}

// --- mean luma -------------------------------------------------------------------------------------------

HWY_INLINE uint64_t sum_bytes(const uint8_t* p, size_t n) {
  const DBytes d;
  const DU64 wide;
  const size_t N = hn::Lanes(d);
  auto sums = hn::Zero(wide);
  size_t i = 0;
  for (; i + N <= n; i += N) sums = hn::Add(sums, hn::SumsOf8(hn::LoadU(d, p + i)));
  uint64_t sum = hn::GetLane(hn::SumOfLanes(wide, sums));
  for (; i < n; ++i) sum += p[i];
  return sum;
}

// sums[c] += Σ level(p[3·i + c]) for n pixels: all bytes, and two of the channels, which masks pick out.
// level: of a vector, and of the rest.
template <class Level, class LevelOfOne>
HWY_INLINE void sum_colors(const uint8_t* p, size_t n, uint64_t* sums, Level level, LevelOfOne level_of_one) {
  const DBytes d;
  const DU64 wide;
  constexpr size_t N = hn::MaxLanes(DBytes());
  uint8_t red[3 * N + 2];
  for (size_t i = 0; i < 3 * N + 2; ++i) red[i] = i % 3 == 0 ? 0xFF : 0;
  V<DBytes> masks[2][3];
  for (size_t k = 0; k < 3; ++k) {
    masks[0][k] = hn::LoadU(d, red + k * N);
    masks[1][k] = hn::LoadU(d, red + k * N + 2);
  }
  auto all = hn::Zero(wide), first = all, second = all;
  size_t i = 0;
  for (; i + N <= n; i += N) {
    for (size_t k = 0; k < 3; ++k) {
      const auto v = level(hn::LoadU(d, p + 3 * i + k * N));
      all = hn::Add(all, hn::SumsOf8(v));
      first = hn::Add(first, hn::SumsOf8(hn::And(v, masks[0][k])));
      second = hn::Add(second, hn::SumsOf8(hn::And(v, masks[1][k])));
    }
  }
  const auto total = [&](auto v) HWY_ATTR { return hn::GetLane(hn::SumOfLanes(wide, v)); };
  const uint64_t r = total(first), g = total(second);
  sums[0] += r;
  sums[1] += g;
  sums[2] += total(all) - r - g;
  for (; i < n; ++i) {
    for (size_t c = 0; c < 3; ++c) sums[c] += level_of_one(p[3 * i + c]);
  }
}

inline double byte_mean_luma(Picture<const uint8_t> x, const uint8_t* tables, ptrdiff_t table_channels) {
  uint64_t sums[3] = {0, 0, 0};
  const bool colors = x.channels == 3;
  const bool together = colors && interleaved(row_of(x, 0));
  const bool one_table = together && tables != nullptr && table_channels == 1;
  const auto same = [](auto v) HWY_ATTR { return v; };
  const uint8_t* const ridden = tables;  // a table for all channels rides on the sum
  for_levels(x, one_table ? nullptr : tables, table_channels,
             [&](ptrdiff_t c, const uint8_t* p, size_t n) HWY_ATTR {
               if (one_table) {
                 const ByteTable table(ridden);
                 sum_colors(
                     p, n / 3, sums, [&](auto v) HWY_ATTR { return table(v); },
                     [=](uint8_t v) { return ridden[v]; });
               } else if (together) {
                 sum_colors(p, n / 3, sums, same, same);
               } else {
                 sums[c] += sum_bytes(p, n);
               }
             });
  const double pixels = static_cast<double>(x.height * x.width);
  if (!colors) return static_cast<double>(sums[0]) / pixels;
  return static_cast<double>(19595 * sums[0] + 38470 * sums[1] + 7471 * sums[2]) / 65536 / pixels;
}

// Row by row in the lanes of SumLanes, so that neither the layout nor the instruction set changes the sum.
inline double float_mean_luma(Picture<const float> x, const uint8_t*, ptrdiff_t) {
  constexpr size_t kPiece = 1024;
  const DF d;
  const auto identity = [](auto v) HWY_ATTR { return v; };
  double total = 0;
  for (ptrdiff_t y = 0; y < x.height; ++y) {
    const float* const p = x.data + y * x.row_stride;
    const size_t n = static_cast<size_t>(x.width), N = hn::Lanes(d);
    if (x.channels != 3) {
      total += sum(p, n, identity);
      continue;
    }
    for (size_t i = 0; i < n; i += kPiece) {
      HWY_ALIGN float values[kPiece + hn::MaxLanes(DF())];
      const size_t m = HWY_MIN(kPiece, n - i);
      if (!interleaved(row_of(x, 0))) {
        const float* const q = p + i;
        map(
            d, m, false, [d](auto r, auto g, auto b) HWY_ATTR { return luma<float>(d, r, g, b); }, values, q,
            q + x.channel_stride, q + 2 * x.channel_stride);
      } else {
        size_t k = 0;
        for (; k < m; k += N) {
          HWY_ALIGN float rest[3 * hn::MaxLanes(DF())] = {};
          const float* pixels = p + 3 * (i + k);
          if (k + N > m) {
            memcpy(rest, pixels, 3 * (m - k) * sizeof(float));
            pixels = rest;
          }
          V<DF> r, g, b;
          hn::LoadInterleaved3(d, pixels, r, g, b);
          hn::Store(luma<float>(d, r, g, b), d, values + k);
        }
      }
      total += sum(static_cast<const float*>(values), m, identity);
    }
  }
  return total / static_cast<double>(x.height * x.width);
}

// --- extremes --------------------------------------------------------------------------------------------

// low[c], high[c] down and up to the values of n elements of interleaved channels.
template <class T>
HWY_INLINE void widen(const T* p, size_t n, size_t channels, T* low, T* high) {
  const Tag<T> d;
  constexpr size_t N = hn::MaxLanes(Tag<T>()), kMost = 4;
  size_t i = 0;
  if (channels <= kMost && n >= channels * N) {
    V<Tag<T>> least[kMost], most[kMost];
    for (size_t k = 0; k < channels; ++k) least[k] = most[k] = hn::LoadU(d, p + k * N);
    for (i = channels * N; i + channels * N <= n; i += channels * N) {
      for (size_t k = 0; k < channels; ++k) {
        const auto v = hn::LoadU(d, p + i + k * N);
        least[k] = hn::Min(least[k], v);
        most[k] = hn::Max(most[k], v);
      }
    }
    T lanes[2][kMost * N];
    for (size_t k = 0; k < channels; ++k) {
      hn::StoreU(least[k], d, lanes[0] + k * N);
      hn::StoreU(most[k], d, lanes[1] + k * N);
    }
    for (size_t k = 0; k < channels * N; ++k) {
      low[k % channels] = HWY_MIN(low[k % channels], lanes[0][k]);
      high[k % channels] = HWY_MAX(high[k % channels], lanes[1][k]);
    }
  }
  for (size_t c = 0; i < n; ++i, c = c + 1 == channels ? 0 : c + 1) {
    low[c] = HWY_MIN(low[c], p[i]);
    high[c] = HWY_MAX(high[c], p[i]);
  }
}

inline void byte_min_max(Picture<const uint8_t> x, const uint8_t* tables, ptrdiff_t table_channels,
                         uint8_t* low, uint8_t* high) {
  memset(low, 0xFF, static_cast<size_t>(x.channels));
  memset(high, 0, static_cast<size_t>(x.channels));
  const size_t channels = interleaved(row_of(x, 0)) ? static_cast<size_t>(x.channels) : 1;
  for_levels(x, tables, table_channels, [&](ptrdiff_t c, const uint8_t* p, size_t n) HWY_ATTR {
    widen(p, n, channels, low + c, high + c);
  });
}

inline void float_min_max(Picture<const float> image, const uint8_t*, ptrdiff_t, float* low, float* high) {
  const Picture<const float> x = joined(image);
  for (ptrdiff_t c = 0; c < x.channels; ++c) low[c] = high[c] = x.data[c * x.channel_stride];
  const size_t channels = interleaved(row_of(x, 0)) ? static_cast<size_t>(x.channels) : 1;
  for (ptrdiff_t y = 0; y < x.height; ++y) {
    for_runs(row_of(x, y), [&](ptrdiff_t c, const float* p, size_t n)
                               HWY_ATTR { widen(p, n, channels, low + c, high + c); });
  }
}

// --- histograms ------------------------------------------------------------------------------------------

// Neighbours are often equal, and a count that was just stored cannot be loaded at once: four sets of counts
// take turns.
constexpr size_t kCountSets = 4, kCountedTogether = 4;
struct LevelCounts {
  uint32_t of[kCountSets][kCountedTogether][kLevels];
};

template <size_t kChannels>
HWY_INLINE void count_levels(const uint8_t* p, size_t n, LevelCounts& counts) {
  size_t i = 0;
  for (; i + kCountSets * kChannels <= n; i += kCountSets * kChannels) {
    for (size_t s = 0; s < kCountSets; ++s) {
      for (size_t c = 0; c < kChannels; ++c) ++counts.of[s][c][p[i + s * kChannels + c]];
    }
  }
  for (; i < n; i += kChannels) {
    for (size_t c = 0; c < kChannels; ++c) ++counts.of[0][c][p[i + c]];
  }
}

template <class T>
void histogram(Picture<const T> x, uint32_t* counts) {
  const auto channels = static_cast<size_t>(x.channels);
  const size_t together = interleaved(row_of(x, 0)) ? channels : 1;
  memset(counts, 0, channels * kLevels * sizeof(uint32_t));
  if (together > kCountedTogether) {
    return for_levels(x, nullptr, 1, [&](ptrdiff_t first, const uint8_t* p, size_t n) HWY_ATTR {
      auto c = static_cast<size_t>(first);
      for (size_t i = 0; i < n; ++i, c = c + 1 == channels ? 0 : c + 1) {
        ++counts[c * kLevels + p[i]];
      }
    });
  }
  LevelCounts sets = {};
  ptrdiff_t counted = 0;  // the channel, or the first of those together
  const auto flush = [&] {
    uint32_t* const to = counts + counted * kLevels;
    for (size_t s = 0; s < kCountSets; ++s) {
      const uint32_t* const from = sets.of[s][0];
      for (size_t i = 0; i < together * kLevels; ++i) to[i] += from[i];
    }
  };
  for_levels(x, nullptr, 1, [&](ptrdiff_t c, const uint8_t* p, size_t n) HWY_ATTR {
    if (c != counted) {
      flush();
      memset(&sets, 0, sizeof(sets));
      counted = c;
    }
    if (together == 1) return count_levels<1>(p, n, sets);
    if (together == 2) return count_levels<2>(p, n, sets);
    if (together == 3) return count_levels<3>(p, n, sets);
    count_levels<4>(p, n, sets);
  });
  flush();
}

}  // namespace augment
}  // namespace HWY_NAMESPACE
}  // namespace regkern
HWY_AFTER_NAMESPACE();

#endif  // REGKERN_KERNELS_AUGMENT_STATISTICS_INL_H_
