// Filters that look at a pixel's neighbours: Gaussian blur and sharpness, from one image to another.

#if defined(REGKERN_KERNELS_AUGMENT_FILTERS_INL_H_) == defined(HWY_TARGET_TOGGLE)
#ifdef REGKERN_KERNELS_AUGMENT_FILTERS_INL_H_
#undef REGKERN_KERNELS_AUGMENT_FILTERS_INL_H_
#else
#define REGKERN_KERNELS_AUGMENT_FILTERS_INL_H_
#endif

#include "kernels/augment/rows-inl.h"

HWY_BEFORE_NAMESPACE();
namespace regkern {
namespace HWY_NAMESPACE {
namespace augment {

// --- blur ------------------------------------------------------------------------------------------------

// i brought into [0, n) by reflection at the first and the last element, as often as it takes.
HWY_INLINE ptrdiff_t reflected(ptrdiff_t i, ptrdiff_t n) {
  if (n == 1) return 0;
  const ptrdiff_t period = 2 * (n - 1);
  i = i < 0 ? -i % period : i % period;
  return i < n ? i : period - i;
}

// Walks the rows that the taps of an output row meet, as offsets into a ring that holds `slots` rows of n
// elements: row r has slot r mod slots.
struct RingWalk {
  HWY_INLINE RingWalk(ptrdiff_t first, ptrdiff_t height_, ptrdiff_t slots_, ptrdiff_t n_)
      : height(height_), slots(slots_), n(n_) {
    row = reflected(first, height);
    slot = row % slots;
    step = height == 1 ? 0 : first < 0 || first >= height ? direction(first) : 1;
  }
  HWY_INLINE ptrdiff_t direction(ptrdiff_t i) const { return reflected(i + 1, height) - row; }
  HWY_INLINE ptrdiff_t offset() const { return slot * n; }
  HWY_INLINE void next() {
    if (row + step < 0 || row + step >= height) step = -step;
    row += step;
    slot += step;
    if (slot < 0) slot += slots;
    if (slot >= slots) slot -= slots;
  }
  ptrdiff_t height, slots, n, row, slot, step;
};

constexpr size_t kBlurVectors = 4;

// y[i] = Σ taps[t]·x(t)[i], added in the order of the taps; next(t) gives x(0), x(1), ...
template <class T, class Restart>
HWY_INLINE void weigh(T* y, size_t n, const float* taps, ptrdiff_t count, Restart restart) {
  const DF d;
  const size_t N = hn::Lanes(d);
  size_t i = 0;
  for (; i + kBlurVectors * N <= n; i += kBlurVectors * N) {
    auto next = restart();
    V<DF> sums[kBlurVectors];
    const float* x = next() + i;
    auto tap = hn::Set(d, taps[0]);
    for (size_t k = 0; k < kBlurVectors; ++k) sums[k] = hn::Mul(tap, hn::LoadU(d, x + k * N));
    for (ptrdiff_t t = 1; t < count; ++t) {
      x = next() + i;
      tap = hn::Set(d, taps[t]);
      for (size_t k = 0; k < kBlurVectors; ++k) {
        sums[k] = hn::Add(sums[k], hn::Mul(tap, hn::LoadU(d, x + k * N)));
      }
    }
    for (size_t k = 0; k < kBlurVectors; ++k) store_float(sums[k], d, y + i + k * N);
  }
  for (; i < n; i += N) {
    const size_t m = HWY_MIN(N, n - i);
    const auto load = [&](const float* x)
                          HWY_ATTR { return m == N ? hn::LoadU(d, x) : load_partial(d, x, m); };
    auto next = restart();
    auto sum = hn::Mul(hn::Set(d, taps[0]), load(next() + i));
    for (ptrdiff_t t = 1; t < count; ++t) {
      sum = hn::Add(sum, hn::Mul(hn::Set(d, taps[t]), load(next() + i)));
    }
    if (m == N) {
      store_float(sum, d, y + i);
    } else {
      store_rest(sum, d, y + i, m);
    }
  }
}

// The horizontal pass over a run of `width` pixels of `channels` interleaved channels. wide:
// (width + kx − 1)·channels floats.
template <class T>
HWY_INLINE void blur_run(const T* x, float* y, ptrdiff_t width, ptrdiff_t channels, const float* taps,
                         ptrdiff_t kx, float* wide) {
  const ptrdiff_t radius = kx / 2, n = width * channels;
  float* const middle = wide + radius * channels;
  const DF d;
  (void)d;
  map_float(static_cast<size_t>(n), [](auto v) HWY_ATTR { return v; }, middle, x);
  const size_t pixel = static_cast<size_t>(channels) * sizeof(float);
  for (ptrdiff_t i = 1; i <= radius; ++i) {
    memcpy(middle - i * channels, middle + reflected(-i, width) * channels, pixel);
    memcpy(middle + (width - 1 + i) * channels, middle + reflected(width - 1 + i, width) * channels, pixel);
  }
  weigh(y, static_cast<size_t>(n), taps, kx, [&] {
    return [at = static_cast<const float*>(wide) - channels, channels]() mutable { return at += channels; };
  });
}

// Rows go through the horizontal pass into a ring of as many as the vertical one needs, so an image of any
// height stays in the cache.
template <class T>
void blur(Picture<const T> x, Picture<T> out, const float* taps_x, ptrdiff_t kx, const float* taps_y,
          ptrdiff_t ky, float* scratch) {
  const ptrdiff_t height = x.height, n = x.width * x.channels, slots = HWY_MIN(height, ky);
  float *const ring = scratch, *const wide = scratch + slots * n;
  const auto widen_row = [&](ptrdiff_t y) HWY_ATTR {
    float* const to = ring + y % slots * n;
    const Row<const T> row = row_of(x, y);
    const ptrdiff_t channels = interleaved(row) ? row.channels : 1;
    for_runs(row, [&](ptrdiff_t c, const T* p, size_t)
                      HWY_ATTR { blur_run(p, to + c * row.width, row.width, channels, taps_x, kx, wide); });
  };
  ptrdiff_t done = 0;
  for (ptrdiff_t y = 0; y < height; ++y) {
    for (; done < height && done <= y + ky / 2; ++done) widen_row(done);
    for_runs(row_of(out, y), [&](ptrdiff_t c, T* p, size_t m) HWY_ATTR {
      const float* const rows = ring + c * x.width;
      weigh(p, m, taps_y, ky, [&] {
        return [=, walk = RingWalk(y - ky / 2, height, slots, n), fresh = true]() mutable {
          if (!fresh) walk.next();
          fresh = false;
          return rows + walk.offset();
        };
      });
    });
  }
}

// --- sharpness -------------------------------------------------------------------------------------------

// The smooth image, (Σ of the 3×3 pixels, the middle one five times) / 13, of n elements whose neighbours in
// the row lie `step` away. Bytes: exact, rounded. Float: added row by row, left to right.
HWY_INLINE void smooth(const uint8_t* above, const uint8_t* middle, const uint8_t* below, ptrdiff_t step,
                       size_t n, uint8_t* y) {
  const Tag<uint16_t> d;
  const hn::Rebind<uint8_t, Tag<uint16_t>> half;
  const size_t N = hn::Lanes(d);
  const auto smooth_at = [&](auto load) HWY_ATTR {
    const auto wide = [&](const uint8_t* p) HWY_ATTR { return hn::PromoteTo(d, load(p)); };
    const auto three = [&](const uint8_t* p)
                           HWY_ATTR { return hn::Add(hn::Add(wide(p - step), wide(p)), wide(p + step)); };
    const auto sum =
        hn::Add(hn::Add(three(above), three(below)), hn::Add(three(middle), hn::ShiftLeft<2>(wide(middle))));
    // floor((sum + 6) / 13), which is the rounded sum / 13: exact for sum <= 13·255.
    const auto rounded = hn::MulHigh(hn::Add(sum, hn::Set(d, uint16_t{6})), hn::Set(d, uint16_t{5042}));
    return hn::DemoteTo(half, hn::BitCast(hn::RebindToSigned<Tag<uint16_t>>(), rounded));
  };
  size_t i = 0;
  for (; i + N <= n; i += N) {
    hn::StoreU(smooth_at([&](const uint8_t* p) HWY_ATTR { return hn::LoadU(half, p + i); }), half, y + i);
  }
  for (; i < n; ++i) {
    const auto three = [&](const uint8_t* p) { return p[i] + *(p + i - step) + *(p + i + step); };
    y[i] = static_cast<uint8_t>((three(above) + three(middle) + three(below) + 4 * middle[i] + 6) / 13);
  }
}
HWY_INLINE void smooth(const float* above, const float* middle, const float* below, ptrdiff_t step, size_t n,
                       float* y) {
  const DF d;
  const auto op = [d](auto a0, auto a1, auto a2, auto b0, auto b1, auto b2, auto c0, auto c1, auto c2)
                      HWY_ATTR {
                        auto sum = hn::Add(hn::Add(hn::Add(a0, a1), a2), b0);
                        sum = hn::Add(hn::Add(sum, hn::Mul(hn::Set(d, 5.0f), b1)), b2);
                        sum = hn::Add(hn::Add(hn::Add(sum, c0), c1), c2);
                        return hn::Div(sum, hn::Set(d, 13.0f));
                      };
  map(d, n, false, op, y, above - step, above, above + step, middle - step, middle, middle + step,
      below - step, below, below + step);
}

// The pixels of the border are their own smooth ones.
template <class T>
void sharpness(Picture<const T> x, Picture<T> out, double factor) {
  constexpr size_t kPiece = 1024;
  const DF d;
  const auto f = hn::Set(d, static_cast<float>(factor)), rest = hn::Set(d, static_cast<float>(1 - factor));
  const auto mix = [=](auto v, auto other) HWY_ATTR { return in_range<T>(d, blend(f, v, rest, other)); };
  const bool too_small = x.height < 3 || x.width < 3;
  const bool packed = interleaved(row_of(x, 0));
  const ptrdiff_t step = packed ? x.channels : 1;
  const auto margin = static_cast<size_t>(step);
  for (ptrdiff_t y = 0; y < x.height; ++y) {
    const bool border = y == 0 || y == x.height - 1;
    const Row<const T> row = row_of(x, y);
    for_runs(row_of(out, y), [&](ptrdiff_t c, T* to, size_t n) HWY_ATTR {
      const T* const from = row.data + c * row.channel_stride;
      if (too_small) {
        memcpy(to, from, n * sizeof(T));
        return;
      }
      if (border) {
        map_float(n, mix, to, from, from);
        return;
      }
      map_float(margin, mix, to, from, from);
      map_float(margin, mix, to + n - margin, from + n - margin, from + n - margin);
      HWY_ALIGN T soft[kPiece];
      for (size_t i = margin; i < n - margin; i += kPiece) {
        const size_t m = HWY_MIN(kPiece, n - margin - i);
        const T* const middle = from + i;
        smooth(middle - x.row_stride, middle, middle + x.row_stride, step, m, soft);
        map_float(m, mix, to + i, middle, static_cast<const T*>(soft));
      }
    });
  }
}

}  // namespace augment
}  // namespace HWY_NAMESPACE
}  // namespace regkern
HWY_AFTER_NAMESPACE();

#endif  // REGKERN_KERNELS_AUGMENT_FILTERS_INL_H_
