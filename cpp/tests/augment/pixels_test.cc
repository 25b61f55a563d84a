// The pixel kernels of augmentation against plain loops over pixels, under every instruction set, for both
// layouts, at widths around the lanes. A frame of other values around each image shows that nothing beyond it
// is touched.

#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>
#include <cstddef>
#include <cstdint>
#include <cstring>
#include <initializer_list>
#include <string>
#include <utility>
#include <vector>

#include "kernels/augment/pixels.h"
#include "regkern/random.h"
#include "tests/common.h"

namespace {

using namespace regkern::augment;
using regkern::Stream;
using regkern::tests::for_isas;

constexpr std::ptrdiff_t kGap = 7;  // elements between rows or planes

// An image in memory of its own, interleaved or planar.
template <class T>
struct Image {
  Image(std::ptrdiff_t h, std::ptrdiff_t w, std::ptrdiff_t c, bool planar, unsigned seed = 1)
      : height(h), width(w), channels(c), is_planar(planar && c > 1) {
    memory.assign(static_cast<std::size_t>((h + 2) * (w + kGap) * c + 2 * kGap), T(9));
    std::uint32_t state = seed * 2654435761u + 12345u;
    for (std::ptrdiff_t y = 0; y < h; ++y) {
      for (std::ptrdiff_t x = 0; x < w; ++x) {
        for (std::ptrdiff_t k = 0; k < c; ++k) {
          state = state * 1664525u + 1013904223u;
          const std::uint32_t level = state >> 30 ? state >> 24 : (state >> 24 & 3) * 85;  // with ties
          at(y, x, k) =
              sizeof(T) == 1 ? static_cast<T>(level) : static_cast<T>(static_cast<float>(level) / 255.0f);
        }
      }
    }
  }
  Picture<T> picture() {
    return {base(), height, width, channels, row_stride(), pixel_stride(), channel_stride()};
  }
  Picture<const T> view() {
    return {base(), height, width, channels, row_stride(), pixel_stride(), channel_stride()};
  }
  Row<T> row(std::ptrdiff_t y) { return picture().row(y); }
  T& at(std::ptrdiff_t y, std::ptrdiff_t x, std::ptrdiff_t c) {
    return base()[y * row_stride() + x * pixel_stride() + c * channel_stride()];
  }
  T* base() { return memory.data() + kGap; }
  std::ptrdiff_t pixel_stride() const { return is_planar ? 1 : channels; }
  std::ptrdiff_t channel_stride() const { return is_planar ? height * (width + kGap) : 1; }
  std::ptrdiff_t row_stride() const { return is_planar ? width + kGap : width * channels + kGap; }

  std::ptrdiff_t height, width, channels;
  bool is_planar;
  std::vector<T> memory;
};

template <class T>
::testing::AssertionResult same(const Image<T>& got, const Image<T>& expected) {
  for (std::size_t i = 0; i < got.memory.size(); ++i) {
    if (std::memcmp(&got.memory[i], &expected.memory[i], sizeof(T)) != 0) {
      return ::testing::AssertionFailure() << "element " << static_cast<std::ptrdiff_t>(i) - kGap << " is "
                                           << +got.memory[i] << ", not " << +expected.memory[i];
    }
  }
  return ::testing::AssertionSuccess();
}

float in_range(float v, float) { return std::min(std::max(v, 0.0f), 1.0f); }
std::uint8_t in_range(float v, std::uint8_t) {
  return static_cast<std::uint8_t>(std::min(std::max(std::floor(v + 0.5f), 0.0f), 255.0f));
}

// Widths around the lanes of bytes and floats of every instruction set; then body(image, copy) for images of
// them.
template <class T, class Body>
void for_images(std::initializer_list<std::ptrdiff_t> channels, std::ptrdiff_t height, Body&& body) {
  for (const std::ptrdiff_t width : {1, 2, 3, 5, 15, 16, 17, 31, 33, 63, 64, 65, 100, 127, 129, 200, 395}) {
    for (const std::ptrdiff_t c : channels) {
      for (const bool planar : {false, true}) {
        if (planar && c == 1) continue;
        SCOPED_TRACE("width " + std::to_string(width) + ", channels " + std::to_string(c) +
                     (planar ? ", planar" : ""));
        Image<T> x(height, width, c, planar), y = x;
        body(x, y);
      }
    }
  }
}

// expected(image, x) is what each pixel becomes by `change(pixel)`, an array of the channels.
template <class T, class Change>
void change_pixels(Image<T>& image, Change&& change) {
  std::vector<T> pixel(static_cast<std::size_t>(image.channels));
  for (std::ptrdiff_t y = 0; y < image.height; ++y) {
    for (std::ptrdiff_t x = 0; x < image.width; ++x) {
      for (std::ptrdiff_t c = 0; c < image.channels; ++c)
        pixel[static_cast<std::size_t>(c)] = image.at(y, x, c);
      change(pixel.data(), y, x);
      for (std::ptrdiff_t c = 0; c < image.channels; ++c)
        image.at(y, x, c) = pixel[static_cast<std::size_t>(c)];
    }
  }
}

std::vector<std::uint8_t> shuffled_tables(std::ptrdiff_t n) {
  std::vector<std::uint8_t> tables(static_cast<std::size_t>(n * kLevels));
  for (std::size_t i = 0; i < tables.size(); ++i)
    tables[i] = static_cast<std::uint8_t>(i * 167 + i / 256 * 31 + 5);
  return tables;
}

TEST(Pixels, EveryByteOfATable) {
  for_isas([] {
    const auto table = shuffled_tables(1);
    std::vector<std::uint8_t> p(256);
    for (std::size_t i = 0; i < 256; ++i) p[i] = static_cast<std::uint8_t>(i);
    pixel_table<std::uint8_t>().look_up({p.data(), 256, 1, 1, 1}, table.data(), 1);
    EXPECT_EQ(p, table);
  });
}

TEST(Pixels, Tables) {
  for_isas([] {
    for_images<std::uint8_t>({1, 2, 3, 5}, 2, [](auto& got, auto& expected) {
      for (const std::ptrdiff_t n : {std::ptrdiff_t{1}, got.channels}) {
        const auto tables = shuffled_tables(n);
        for (std::ptrdiff_t y = 0; y < 2; ++y)
          pixel_table<std::uint8_t>().look_up(got.row(y), tables.data(), n);
        change_pixels(expected, [&](std::uint8_t* p, auto, auto) {
          for (std::ptrdiff_t c = 0; c < got.channels; ++c)
            p[c] = tables[static_cast<std::size_t>((n == 1 ? 0 : c) * 256 + p[c])];
        });
        EXPECT_TRUE(same(got, expected));
      }
    });
    for_images<float>({1, 2, 3, 5}, 2, [](auto& got, auto& expected) {
      for (const std::ptrdiff_t n : {std::ptrdiff_t{1}, got.channels}) {
        const auto tables = shuffled_tables(n);
        for (std::ptrdiff_t y = 0; y < 2; ++y) pixel_table<float>().look_up(got.row(y), tables.data(), n);
        change_pixels(expected, [&](float* p, auto, auto) {
          for (std::ptrdiff_t c = 0; c < got.channels; ++c) {
            const auto level = static_cast<std::ptrdiff_t>(std::floor(p[c] * 255.0f + 0.5f));
            p[c] =
                static_cast<float>(tables[static_cast<std::size_t>((n == 1 ? 0 : c) * 256 + level)]) / 255.0f;
          }
        });
        EXPECT_TRUE(same(got, expected));
      }
    });
  });
}

template <class T>
float luma(const T* p) {
  if (sizeof(T) == 4) {
    return 0.299f * static_cast<float>(p[0]) + 0.587f * static_cast<float>(p[1]) +
           0.114f * static_cast<float>(p[2]);
  }
  return static_cast<float>((19595 * static_cast<int>(p[0]) + 38470 * static_cast<int>(p[1]) +
                             7471 * static_cast<int>(p[2]) + 32768) >>
                            16);
}

template <class T>
void hue(T* p, double shift) {
  const float r = p[0], g = p[1], b = p[2];
  const float top = std::max({r, g, b}), c = top - std::min({r, g, b});
  float h = 0;
  if (c != 0) h = top == r ? (g - b) / c + 0.0f : top == g ? (b - r) / c + 2.0f : (r - g) / c + 4.0f;
  for (int i = 0; i < 3; ++i) {
    float k = h + static_cast<float>(6 * shift) + static_cast<float>(5 - 2 * i);
    k = k - 6 * std::floor(k / 6);
    p[i] = sizeof(T) == 4
               ? static_cast<T>(top - c * std::min(std::max(std::min(k, 4 - k), 0.0f), 1.0f))
               : static_cast<T>(in_range(top - c * std::min(std::max(std::min(k, 4 - k), 0.0f), 1.0f), T{}));
  }
}

template <class T>
void test_colors() {
  for_isas([] {
    for_images<T>({1, 3}, 2, [](auto& got, auto& expected) {
      const auto check = [&](Op op, std::vector<double> parameters, auto change) {
        for (std::ptrdiff_t y = 0; y < 2; ++y) pixel_table<T>().point(op, got.row(y), parameters.data());
        if (got.channels == 3) change_pixels(expected, [&](T* p, auto, auto) { change(p); });
        EXPECT_TRUE(same(got, expected))
            << static_cast<int>(op) << " " << (parameters.empty() ? 0 : parameters[0]);
      };
      for (const double shift : {0.1, -0.5, 0.5, 0.0, -0.23})
        check(Op::kHue, {shift}, [=](T* p) { hue(p, shift); });
      for (const double f : {0.7, 1.6, 0.0, -1.0}) {
        check(Op::kSaturation, {f}, [=](T* p) {
          const float gray = static_cast<float>(1 - f) * luma(p);
          for (int i = 0; i < 3; ++i)
            p[i] = in_range(static_cast<float>(f) * static_cast<float>(p[i]) + gray, T{});
        });
      }
      check(Op::kPermute, {got.channels == 3 ? 2.0 : 0.0, 0, 1}, [](T* p) { std::rotate(p, p + 2, p + 3); });
      check(Op::kGrayscale, {}, [](T* p) { p[0] = p[1] = p[2] = static_cast<T>(luma(p)); });
    });
    for_images<T>({2, 4, 5}, 1, [](auto& got, auto& expected) {
      std::vector<double> from;
      for (std::ptrdiff_t c = 0; c < got.channels; ++c)
        from.push_back(static_cast<double>((c + 1) % got.channels));
      pixel_table<T>().point(Op::kPermute, got.row(0), from.data());
      change_pixels(expected, [&](T* p, auto, auto) { std::rotate(p, p + 1, p + got.channels); });
      EXPECT_TRUE(same(got, expected));
    });
  });
}
TEST(Pixels, ColorsOfBytes) { test_colors<std::uint8_t>(); }
TEST(Pixels, ColorsOfFloats) { test_colors<float>(); }

TEST(Pixels, FloatsOneByOne) {
  for_isas([] {
    for_images<float>({1, 2, 3}, 2, [](auto& got, auto& expected) {
      const auto& k = pixel_table<float>();
      const auto check = [&](Op op, std::vector<double> parameters, auto change) {
        for (std::ptrdiff_t y = 0; y < 2; ++y) k.point(op, got.row(y), parameters.data());
        change_pixels(expected, [&](float* p, auto, auto) {
          for (std::ptrdiff_t c = 0; c < got.channels; ++c) p[c] = change(p[c]);
        });
        EXPECT_TRUE(same(got, expected)) << static_cast<int>(op);
      };
      check(Op::kBrightness, {1.3}, [](float v) { return in_range(v * 1.3f, 0.0f); });
      check(Op::kSolarize, {0.6}, [](float v) { return v >= 0.6f ? 1 - v : v; });
      check(Op::kInvert, {}, [](float v) { return 1 - v; });
      for (std::ptrdiff_t y = 0; y < 2; ++y) k.contrast(got.row(y), 0.8, 0.45);
      change_pixels(expected, [&](float* p, auto, auto) {
        for (std::ptrdiff_t c = 0; c < got.channels; ++c)
          p[c] = in_range(0.8f * p[c] + static_cast<float>((1 - 0.8) * 0.45), 0.0f);
      });
      EXPECT_TRUE(same(got, expected));
      check(Op::kScale, {2.5}, [](float v) { return v * 2.5f; });
      check(Op::kPosterize, {3},
            [](float v) { return std::min(std::max(std::floor(v * 8), 0.0f), 7.0f) / 8; });
    });
  });
}

TEST(Pixels, GammaWithinAnUlp) {
  for_isas([] {
    for_images<float>({1, 3}, 1, [](auto& got, auto&) {
      for (const double gamma : {0.0, 0.45, 1.0, 2.2, 5.0}) {
        Image<float> x = got;
        x.at(0, 0, 0) = 1e-40f;
        if (x.width > 2) x.at(0, 1, 0) = 0, x.at(0, 2, 0) = 1;
        if (x.width > 4) x.at(0, 3, 0) = -0.0f, x.at(0, 4, 0) = -0.5f;
        Image<float> y = x;
        const double parameters[] = {gamma, 0.9};
        pixel_table<float>().point(Op::kGamma, y.row(0), parameters);
        for (std::ptrdiff_t i = 0; i < x.width; ++i) {
          for (std::ptrdiff_t c = 0; c < x.channels; ++c) {
            const double from = std::max(static_cast<double>(x.at(0, i, c)), 0.0);
            const double exact =
                static_cast<double>(0.9f) * std::pow(from, static_cast<double>(static_cast<float>(gamma)));
            const auto rounded = static_cast<float>(exact);
            EXPECT_LE(std::abs(static_cast<double>(y.at(0, i, c)) - exact),
                      0.51 * (std::nextafter(rounded, 2.0f) - rounded))
                << gamma << " " << x.at(0, i, c);
          }
        }
      }
    });
  });
}

TEST(Pixels, Autocontrast) {
  for_isas([] {
    for_images<float>({1, 2, 3, 5}, 3, [](auto& got, auto& expected) {
      const auto channels = static_cast<std::size_t>(got.channels);
      std::vector<float> low(channels), high(channels);
      pixel_table<float>().min_max(got.view(), nullptr, 1, low.data(), high.data());
      for (std::size_t c = 0; c < channels; ++c) {
        float least = 9, most = -9;
        change_pixels(expected, [&](const float* p, auto, auto) {
          least = std::min(least, p[c]), most = std::max(most, p[c]);
        });
        EXPECT_EQ(low[c], least);
        EXPECT_EQ(high[c], most);
      }
      if (channels == 3) low[1] = high[1];
      for (std::ptrdiff_t y = 0; y < 3; ++y)
        pixel_table<float>().autocontrast(got.row(y), low.data(), high.data());
      change_pixels(expected, [&](float* p, auto, auto) {
        for (std::size_t c = 0; c < channels; ++c) {
          if (low[c] != high[c]) p[c] = in_range((p[c] - low[c]) / (high[c] - low[c]), 0.0f);
        }
      });
      EXPECT_TRUE(same(got, expected));
    });
  });
}

TEST(Pixels, StatisticsOfBytes) {
  for_isas([] {
    for_images<std::uint8_t>({1, 2, 3, 5}, 5, [](auto& x, auto&) {
      const auto& k = pixel_table<std::uint8_t>();
      const auto channels = static_cast<std::size_t>(x.channels);
      for (const std::ptrdiff_t n : {std::ptrdiff_t{0}, std::ptrdiff_t{1}, x.channels}) {
        const auto tables = shuffled_tables(std::max<std::ptrdiff_t>(n, 1));
        const std::uint8_t* const given = n == 0 ? nullptr : tables.data();
        std::vector<std::uint32_t> counts(channels * 256, 0), got(channels * 256, 77);
        std::vector<std::uint8_t> low(channels), high(channels), least(channels, 255), most(channels, 0);
        Image<std::uint8_t> y = x;
        if (n != 0)
          for (std::ptrdiff_t i = 0; i < x.height; ++i) k.look_up(y.row(i), given, n);
        std::uint64_t sums[5] = {};
        change_pixels(y, [&](const std::uint8_t* p, auto, auto) {
          for (std::size_t c = 0; c < channels; ++c) {
            ++counts[c * 256 + p[c]];
            sums[c] += p[c];
            least[c] = std::min(least[c], p[c]);
            most[c] = std::max(most[c], p[c]);
          }
        });
        k.min_max(x.view(), given, n, low.data(), high.data());
        EXPECT_EQ(low, least);
        EXPECT_EQ(high, most);
        k.histogram(y.view(), got.data());
        EXPECT_EQ(got, counts);
        if (channels == 1 || channels == 3) {
          const double pixels = static_cast<double>(x.height * x.width);
          const double mean =
              channels == 1
                  ? static_cast<double>(sums[0]) / pixels
                  : static_cast<double>(19595 * sums[0] + 38470 * sums[1] + 7471 * sums[2]) / 65536 / pixels;
          EXPECT_EQ(k.mean_luma(x.view(), given, n), mean);
        }
      }
    });
  });
}

TEST(Pixels, StatisticsOfFloats) {
  std::vector<double> means;
  for_isas([&] {
    std::size_t at = 0;
    for_images<float>({1, 3, 4, 6}, 3, [&](auto& x, auto&) {
      const auto channels = static_cast<std::size_t>(x.channels);
      std::vector<std::uint32_t> counts(channels * 256, 0), got(channels * 256, 77);
      double sum = 0;
      change_pixels(x, [&](const float* p, auto, auto) {
        for (std::size_t c = 0; c < channels; ++c)
          ++counts[c * 256 + static_cast<std::size_t>(std::floor(p[c] * 255.0f + 0.5f))];
        if (channels != 4) sum += static_cast<double>(channels == 3 ? luma(p) : p[0]);
      });
      pixel_table<float>().histogram(x.view(), got.data());
      EXPECT_EQ(got, counts);
      if (channels == 1 || channels == 3) {
        const double mean = pixel_table<float>().mean_luma(x.view(), nullptr, 1);
        EXPECT_NEAR(mean, sum / static_cast<double>(x.height * x.width), 1e-12);
        if (at == means.size()) means.push_back(mean);
        EXPECT_EQ(mean, means[at++]);  // under every instruction set
      }
    });
  });
}

template <class T>
void test_noise() {
  constexpr Stream kStream = {123456789012345, 77};
  std::vector<float> z(1 << 14);
  const std::uint64_t firsts[] = {0, 3, 9001};
  for_isas([&] {
    regkern::normal<float>(z.size(), {z.data()}, kStream);
    for_images<T>({1, 3, 4}, 1, [&](auto& got, auto& expected) {
      for (const std::uint64_t first : firsts) {
        for (const bool clip : {false, true}) {
          pixel_table<T>().noise(got.row(0), kStream, first, 0.02, 0.3, clip);
          constexpr double kUnit = sizeof(T) == 1 ? 255 : 1;
          const auto m = static_cast<float>(kUnit * 0.02), s = static_cast<float>(kUnit * 0.3);
          change_pixels(expected, [&](T* p, auto, std::ptrdiff_t x) {
            for (std::ptrdiff_t c = 0; c < got.channels; ++c) {
              const float v = static_cast<float>(p[c]) +
                              (m + s * z[first + static_cast<std::size_t>(x * got.channels + c)]);
              p[c] = sizeof(T) == 1 || clip ? in_range(v, T{}) : static_cast<T>(v);
            }
          });
          EXPECT_TRUE(same(got, expected)) << first << clip;
        }
      }
    });
  });
}
TEST(Pixels, NoiseOnBytes) { test_noise<std::uint8_t>(); }
TEST(Pixels, NoiseOnFloats) { test_noise<float>(); }

template <class T>
void test_erase() {
  constexpr Stream kStream = {5, 6};
  std::vector<float> z(1 << 14), u(1 << 14);
  const double fill[] = {3, 4, 200.6, 300};
  for_isas([&] {
    regkern::normal<float>(z.size(), {z.data()}, kStream);
    regkern::uniform<float>(u.size(), {u.data()}, kStream);
    const auto random = [&](std::size_t j) {
      return sizeof(T) == 1 ? static_cast<T>(std::floor(256 * u[j])) : static_cast<T>(z[j]);
    };
    for_images<T>({1, 3, 4}, 4, [&](auto& original, auto&) {
      const double w = static_cast<double>(original.width);
      for (const auto& box :
           {std::vector<double>{1, 0, 2, w}, {-1, w / 4, 3, w}, {2, -3, 9, w}, {0, w, 4, 3}, {4, 0, 2, w}}) {
        std::vector<double> whole = {std::floor(box[0]), std::floor(box[1]), box[2], std::floor(box[3])};
        for (const FillMode mode : {FillMode::kConstant, FillMode::kColor, FillMode::kPixels}) {
          Image<T> got = original, expected = original;
          for (const std::ptrdiff_t y : {0, 1}) {  // one row, and all below it
            Picture<T> rows = got.picture();
            rows.data += y * rows.row_stride;
            rows.height = y == 0 ? 1 : 3;
            pixel_table<T>().erase(rows, y, whole.data(), mode, fill, kStream);
          }
          change_pixels(expected, [&](T* p, std::ptrdiff_t y, std::ptrdiff_t x) {
            const double row = static_cast<double>(y) - whole[0], column = static_cast<double>(x) - whole[1];
            const bool in = row >= 0 && row < whole[2] && column >= 0 && column < whole[3];
            for (std::ptrdiff_t c = 0; in && c < got.channels; ++c) {
              if (mode == FillMode::kConstant)
                p[c] = sizeof(T) == 1 ? static_cast<T>(in_range(static_cast<float>(fill[c]), T{}))
                                      : static_cast<T>(fill[c]);
              if (mode == FillMode::kColor) p[c] = random(static_cast<std::size_t>(c));
              if (mode == FillMode::kPixels)
                p[c] = random(static_cast<std::size_t>((y * got.width + x) * got.channels + c));
            }
          });
          EXPECT_TRUE(same(got, expected)) << static_cast<int>(mode);
        }
      }
    });
  });
}
TEST(Pixels, EraseBytes) { test_erase<std::uint8_t>(); }
TEST(Pixels, EraseFloats) { test_erase<float>(); }

std::ptrdiff_t reflected(std::ptrdiff_t i, std::ptrdiff_t n) {
  if (n == 1) return 0;
  while (i < 0 || i >= n) i = i < 0 ? -i : 2 * (n - 1) - i;
  return i;
}

template <class T>
void test_blur() {
  for_isas([] {
    for (const std::ptrdiff_t height : {1, 2, 4, 11}) {
      for (const auto& [kx, ky] :
           {std::pair<std::ptrdiff_t, std::ptrdiff_t>{1, 1}, {3, 5}, {5, 1}, {23, 23}}) {
        for_images<T>({1, 3, 4}, height, [&, kx = kx, ky = ky](auto& x, auto&) {
          std::vector<float> taps_x(static_cast<std::size_t>(kx)), taps_y(static_cast<std::size_t>(ky));
          ASSERT_EQ(gaussian_taps(kx, kx == 1 ? 0 : 1.3, taps_x.data()), kx);
          ASSERT_EQ(gaussian_taps(ky, ky == 1 ? 0 : 0.8, taps_y.data()), ky);
          std::vector<float> scratch(
              static_cast<std::size_t>(blur_scratch(height, x.width, x.channels, kx, ky)));
          Image<T> got = x, expected = x;
          change_pixels(got, [&](T* p, auto, auto) { std::fill_n(p, x.channels, T(0)); });
          pixel_table<T>().blur(x.view(), got.picture(), taps_x.data(), kx, taps_y.data(), ky,
                                scratch.data());
          std::vector<float> across(static_cast<std::size_t>(height * x.width * x.channels));
          const auto h = [&](std::ptrdiff_t r, std::ptrdiff_t i, std::ptrdiff_t c) -> float& {
            return across[static_cast<std::size_t>((r * x.width + i) * x.channels + c)];
          };
          for (const bool vertical : {false, true}) {
            for (std::ptrdiff_t y = 0; y < height; ++y) {
              for (std::ptrdiff_t i = 0; i < x.width; ++i) {
                for (std::ptrdiff_t c = 0; c < x.channels; ++c) {
                  float sum = 0;
                  for (std::ptrdiff_t t = 0; t < (vertical ? ky : kx); ++t) {
                    const float term =
                        vertical
                            ? taps_y[static_cast<std::size_t>(t)] * h(reflected(y + t - ky / 2, height), i, c)
                            : taps_x[static_cast<std::size_t>(t)] *
                                  static_cast<float>(x.at(y, reflected(i + t - kx / 2, x.width), c));
                    sum = t == 0 ? term : sum + term;
                  }
                  if (!vertical) h(y, i, c) = sum;
                  if (vertical)
                    expected.at(y, i, c) =
                        sizeof(T) == 1 ? static_cast<T>(in_range(sum, T{})) : static_cast<T>(sum);
                }
              }
            }
          }
          EXPECT_TRUE(same(got, expected)) << height << " rows, kernel " << kx << ", " << ky;
        });
      }
    }
  });
}
TEST(Filters, BlurOfBytes) { test_blur<std::uint8_t>(); }
TEST(Filters, BlurOfFloats) { test_blur<float>(); }

template <class T>
T smooth(Image<T>& x, std::ptrdiff_t y, std::ptrdiff_t i, std::ptrdiff_t c) {
  if (sizeof(T) == 1) {
    int sum = 4 * static_cast<int>(x.at(y, i, c));
    for (int k = 0; k < 9; ++k) sum += static_cast<int>(x.at(y - 1 + k / 3, i - 1 + k % 3, c));
    return static_cast<T>((2 * sum + 13) / 26);
  }
  float sum = 0;
  for (int k = 0; k < 9; ++k) {
    const auto v = static_cast<float>(x.at(y - 1 + k / 3, i - 1 + k % 3, c));
    sum = k == 0 ? v : sum + (k == 4 ? 5 * v : v);
  }
  return static_cast<T>(sum / 13);
}

template <class T>
void test_sharpness() {
  for_isas([] {
    for (const std::ptrdiff_t height : {1, 2, 3, 6}) {
      for_images<T>({1, 3, 4}, height, [&](auto& x, auto&) {
        for (const double f : {0.0, 0.3, 1.7}) {
          Image<T> got = x, expected = x;
          change_pixels(got, [&](T* p, auto, auto) { std::fill_n(p, x.channels, T(0)); });
          pixel_table<T>().sharpness(x.view(), got.picture(), f);
          for (std::ptrdiff_t y = 0; y < height && height > 2 && x.width > 2; ++y) {
            for (std::ptrdiff_t i = 0; i < x.width; ++i) {
              const bool border = y == 0 || y + 1 == height || i == 0 || i + 1 == x.width;
              for (std::ptrdiff_t c = 0; c < x.channels; ++c) {
                const auto soft = static_cast<float>(border ? x.at(y, i, c) : smooth(x, y, i, c));
                const float v = static_cast<float>(f) * static_cast<float>(x.at(y, i, c)) +
                                static_cast<float>(1 - f) * soft;
                expected.at(y, i, c) = static_cast<T>(in_range(v, T{}));
              }
            }
          }
          EXPECT_TRUE(same(got, expected)) << height << " rows, factor " << f;
        }
      });
    }
  });
}
TEST(Filters, SharpnessOfBytes) { test_sharpness<std::uint8_t>(); }
TEST(Filters, SharpnessOfFloats) { test_sharpness<float>(); }

// More channels than any buffer holds.
template <class T>
void test_long_pixels() {
  constexpr Stream kStream = {3, 4};
  constexpr std::ptrdiff_t kChannels = 3500;
  std::vector<float> z(1 << 14);
  for_isas([&] {
    regkern::normal<float>(z.size(), {z.data()}, kStream);
    const auto& k = pixel_table<T>();
    for (const bool planar : {false, true}) {
      Image<T> x(1, 3, kChannels, planar), got = x, expected = x;
      const auto tables = shuffled_tables(kChannels);
      k.look_up(got.row(0), tables.data(), kChannels);
      for (std::ptrdiff_t i = 0; i < 3 * kChannels; ++i) {
        T& v = expected.at(0, i / kChannels, i % kChannels);
        const auto level = static_cast<std::ptrdiff_t>(sizeof(T) == 1 ? v : std::floor(v * T(255) + T(0.5)));
        const float looked = tables[static_cast<std::size_t>(i % kChannels * kLevels + level)];
        v = static_cast<T>(sizeof(T) == 1 ? looked : looked / 255.0f);
      }
      EXPECT_TRUE(same(got, expected));
      std::vector<std::uint32_t> counts(kChannels * 256);
      k.histogram(got.view(), counts.data());
      std::vector<T> low(kChannels), high(kChannels);
      k.min_max(sizeof(T) == 1 ? x.view() : got.view(), sizeof(T) == 1 ? tables.data() : nullptr, kChannels,
                low.data(), high.data());
      for (std::ptrdiff_t c = 0; c < kChannels; ++c) {
        const T v[] = {got.at(0, 0, c), got.at(0, 1, c), got.at(0, 2, c)};
        for (const T value : v) {
          const auto level =
              static_cast<std::size_t>(sizeof(T) == 1 ? value : std::floor(value * T(255) + T(0.5)));
          EXPECT_EQ(counts[static_cast<std::size_t>(c) * 256 + level], std::count(v, v + 3, value));
        }
        EXPECT_EQ(low[static_cast<std::size_t>(c)], std::min({v[0], v[1], v[2]}));
        EXPECT_EQ(high[static_cast<std::size_t>(c)], std::max({v[0], v[1], v[2]}));
      }
      expected = got;
      k.noise(got.row(0), kStream, 1, 0, sizeof(T) == 1 ? 1.0 / 255 : 1, false);
      for (std::ptrdiff_t i = 0; i < 3 * kChannels; ++i) {
        T& v = expected.at(0, i / kChannels, i % kChannels);
        const float sum = static_cast<float>(v) + (0.0f + 1.0f * z[static_cast<std::size_t>(i + 1)]);
        v = sizeof(T) == 1 ? static_cast<T>(in_range(sum, T{})) : static_cast<T>(sum);
      }
      EXPECT_TRUE(same(got, expected));
      const double box[] = {0, 1, 1, 1};
      k.erase(got.picture(), 0, box, FillMode::kConstant, nullptr, kStream);
      for (std::ptrdiff_t c = 0; c < kChannels; ++c) expected.at(0, 1, c) = 0;
      EXPECT_TRUE(same(got, expected));
    }
  });
}
TEST(Pixels, LongPixelsOfBytes) { test_long_pixels<std::uint8_t>(); }
TEST(Pixels, LongPixelsOfFloats) { test_long_pixels<float>(); }

TEST(Tables, ByHand) {
  std::uint8_t t[kLevels], other[kLevels];
  const double one_half = 0.5, bits = 2, threshold = 100.5;
  make_table(Op::kBrightness, &one_half, t);
  EXPECT_EQ(t[0], 0);
  EXPECT_EQ(t[1], 1);  // 0.5 goes up
  EXPECT_EQ(t[255], 128);
  make_table(Op::kPosterize, &bits, t);
  EXPECT_EQ(t[63], 0);
  EXPECT_EQ(t[200], 192);
  make_table(Op::kSolarize, &threshold, t);
  EXPECT_EQ(t[100], 100);
  EXPECT_EQ(t[101], 154);
  make_table(Op::kInvert, nullptr, other);
  compose_tables(t, 1, other, 1);
  EXPECT_EQ(t[101], 101);
  contrast_table(2, 100, t);
  EXPECT_EQ(t[40], 0);
  EXPECT_EQ(t[101], 102);
  EXPECT_EQ(t[200], 255);
  autocontrast_table(10, 20, t);
  EXPECT_EQ(t[10], 0);
  EXPECT_EQ(t[15], 128);
  EXPECT_EQ(t[200], 255);
  autocontrast_table(7, 7, t);
  EXPECT_EQ(t[100], 100);
  std::uint32_t counts[kLevels] = {}, mapped[kLevels];
  counts[10] = 255;
  counts[20] = 255;
  counts[30] = 1000;
  equalize_table(counts, t);  // a step of 2: 1 pixel in, then 256, then 511 halves
  EXPECT_EQ(t[10], 0);
  EXPECT_EQ(t[11], 128);
  EXPECT_EQ(t[20], 128);
  EXPECT_EQ(t[30], 255);
  counts[20] = counts[10] = 0;
  equalize_table(counts, t);
  EXPECT_EQ(t[30], 30);
  std::fill_n(t, kLevels, std::uint8_t{9});
  count_through(counts, t, mapped);
  EXPECT_EQ(mapped[9], 1000u);
  EXPECT_EQ(mapped[30], 0u);
}

}  // namespace
