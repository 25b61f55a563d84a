// The kernels that change pixels, one table a pixel type, and lookup tables and taps, which are made by
// plain loops. The machine, which calls them, cuts the work.

#include "kernels/augment/pixels.h"

#undef HWY_TARGET_INCLUDE
#define HWY_TARGET_INCLUDE "core/augment/pixels.cc"
#include "hwy/foreach_target.h"

#include <algorithm>
#include <cmath>
#include <cstring>

#include "core/dispatch.h"
#include "kernels/augment/filters-inl.h"
#include "kernels/augment/pixels-inl.h"
#include "kernels/augment/statistics-inl.h"

HWY_BEFORE_NAMESPACE();
namespace regkern {
namespace HWY_NAMESPACE {

namespace augment {

constexpr PixelTable<uint8_t> kBytePixels = {.look_up = &byte_look_up,
                                             .look_up_rows = &look_up_rows,
                                             .point = &point<uint8_t>,
                                             .contrast = nullptr,
                                             .autocontrast = nullptr,
                                             .noise = &noise<uint8_t>,
                                             .erase = &erase<uint8_t>,
                                             .mean_luma = &byte_mean_luma,
                                             .min_max = &byte_min_max,
                                             .histogram = &histogram<uint8_t>,
                                             .blur = &blur<uint8_t>,
                                             .sharpness = &sharpness<uint8_t>};
constexpr PixelTable<float> kFloatPixels = {.look_up = &float_look_up,
                                            .look_up_rows = nullptr,
                                            .point = &point<float>,
                                            .contrast = &contrast,
                                            .autocontrast = &autocontrast,
                                            .noise = &noise<float>,
                                            .erase = &erase<float>,
                                            .mean_luma = &float_mean_luma,
                                            .min_max = &float_min_max,
                                            .histogram = &histogram<float>,
                                            .blur = &blur<float>,
                                            .sharpness = &sharpness<float>};

}  // namespace augment

const regkern::augment::PixelTable<uint8_t>& byte_pixels() { return augment::kBytePixels; }
const regkern::augment::PixelTable<float>& float_pixels() { return augment::kFloatPixels; }

}  // namespace HWY_NAMESPACE
}  // namespace regkern
HWY_AFTER_NAMESPACE();

#if HWY_ONCE
namespace regkern {

REGKERN_EXPORT(byte_pixels);
REGKERN_EXPORT(float_pixels);

namespace augment {

template <>
const PixelTable<std::uint8_t>& pixel_table() {
  return REGKERN_TABLE(byte_pixels);
}
template <>
const PixelTable<float>& pixel_table() {
  return REGKERN_TABLE(float_pixels);
}

namespace {

std::uint8_t to_byte(double v) {  // 255 for NaN, which Inf − Inf is
  return static_cast<std::uint8_t>(std::max(std::floor(std::fmin(v + 0.5, 255.0)), 0.0));
}

template <class Value>
void fill_table(std::uint8_t* table, Value value) {
  for (int v = 0; v < kLevels; ++v) table[v] = value(v);
}

std::uint8_t same(int v) { return static_cast<std::uint8_t>(v); }

}  // namespace

void make_table(Op op, const double* parameters, std::uint8_t* table) {
  if (op == Op::kBrightness) {
    fill_table(table, [f = parameters[0]](int v) { return to_byte(f * v); });
  } else if (op == Op::kPosterize) {
    const int kept = 0x100 - (1 << (8 - static_cast<int>(parameters[0])));
    fill_table(table, [kept](int v) { return same(v & kept); });
  } else if (op == Op::kSolarize) {
    fill_table(table, [threshold = parameters[0]](int v) { return same(v >= threshold ? 255 - v : v); });
  } else {  // kInvert
    fill_table(table, [](int v) { return same(255 - v); });
  }
}

void contrast_table(double factor, double mean, std::uint8_t* table) {
  const double offset = (1 - factor) * mean;
  fill_table(table, [=](int v) { return to_byte(factor * v + offset); });
}

// Pillow's: level v becomes the number of pixels below it in units of a step, of which the levels but the
// last one that occurs make 255.
void equalize_table(const std::uint32_t* counts, std::uint8_t* table) {
  std::uint64_t all = 0, last = 0;
  for (int v = 0; v < kLevels; ++v) {
    all += counts[v];
    if (counts[v] != 0) last = counts[v];
  }
  const std::uint64_t step = (all - last) / 255;
  if (step == 0) return fill_table(table, same);
  std::uint64_t below = step / 2;
  fill_table(table, [&](int v) {
    const auto level = static_cast<std::uint8_t>(std::min<std::uint64_t>(below / step, 255));
    below += counts[v];
    return level;
  });
}

void autocontrast_table(std::uint8_t low, std::uint8_t high, std::uint8_t* table) {
  if (low == high) return fill_table(table, same);
  fill_table(table, [=](int v) { return to_byte((v - low) * 255.0 / (high - low)); });
}

void compose_tables(std::uint8_t* tables, std::ptrdiff_t channels, const std::uint8_t* next,
                    std::ptrdiff_t next_channels) {
  for (std::ptrdiff_t c = 0; c < channels; ++c) {
    const std::uint8_t* const then = next + (next_channels == 1 ? 0 : c * kLevels);
    for (std::ptrdiff_t v = 0; v < kLevels; ++v) tables[c * kLevels + v] = then[tables[c * kLevels + v]];
  }
}

void count_through(const std::uint32_t* counts, const std::uint8_t* table, std::uint32_t* mapped) {
  std::fill_n(mapped, kLevels, 0u);
  for (std::ptrdiff_t v = 0; v < kLevels; ++v) mapped[table[v]] += counts[v];
}

std::ptrdiff_t gaussian_taps(std::ptrdiff_t size, double sigma, float* taps) {
  const double spread = 2 * sigma * sigma;
  if (spread == 0) {
    taps[0] = 1;
    return 1;
  }
  const auto weight = [=](std::ptrdiff_t i) {
    const double t = static_cast<double>(i - size / 2);
    return std::exp(-t * t / spread);
  };
  double sum = 0;
  for (std::ptrdiff_t i = 0; i < size; ++i) sum += weight(i);
  for (std::ptrdiff_t i = 0; i < size; ++i) taps[i] = static_cast<float>(weight(i) / sum);
  return size;
}

std::ptrdiff_t blur_scratch(std::ptrdiff_t height, std::ptrdiff_t width, std::ptrdiff_t channels,
                            std::ptrdiff_t kx, std::ptrdiff_t ky) {
  return (std::min(height, ky) * width + width + kx - 1) * channels;
}

}  // namespace augment
}  // namespace regkern
#endif  // HWY_ONCE
