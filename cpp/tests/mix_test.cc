// Mixup and cutmix against plain loops: partners of all kinds, in place and not, every instruction set and
// team.

#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>
#include <cstddef>
#include <cstdint>
#include <string>
#include <type_traits>
#include <vector>

#include "regkern/mix.h"
#include "regkern/runtime.h"
#include "tests/common.h"

namespace {

using regkern::Batch;

// A pair of halves, one circle, several of them, a partner of two, its own partner, an arrow into a circle.
const std::vector<std::vector<std::int64_t>> kPartners = {{6, 5, 4, 3, 2, 1, 0},
                                                          {6, 0, 1, 2, 3, 4, 5},
                                                          {1, 0, 3, 4, 2, 6, 5},
                                                          {3, 3, 0, 0, 4, 4, 6},
                                                          {1, 2, 3, 4, 5, 6, 4}};
constexpr std::ptrdiff_t kSamples = 7;

template <class Body>
void for_isas_and_teams(Body&& body) {
  regkern::tests::for_isas([&] {
    for (const int threads : {1, 2, 3}) {
      SCOPED_TRACE("threads " + std::to_string(threads));
      regkern::set_num_threads(threads);
      body();
    }
  });
  regkern::set_num_threads(0);
}

template <class T>
std::vector<T> samples(std::size_t n) {
  std::vector<T> x(n);
  for (std::size_t i = 0; i < n; ++i) {
    const std::size_t level = i * 2654435761u >> 7 & 255;
    x[i] = sizeof(T) == 1 ? static_cast<T>(level) : static_cast<T>(level) / static_cast<T>(255);
  }
  return x;
}

template <class T>
void test_mixup() {
  const double lam[] = {0.3, 1, 0, 0.5, 0.77, 0.123, 0.9};
  for (const std::ptrdiff_t size : {1, 31, 3072, 70001}) {
    const std::ptrdiff_t item = sizeof(T), strides[] = {size * item, item};
    const auto x = samples<T>(static_cast<std::size_t>(kSamples * size));
    for (const auto& partner : kPartners) {
      std::vector<T> expected(x.size());
      for (std::ptrdiff_t i = 0; i < kSamples; ++i) {
        for (std::ptrdiff_t k = 0; k < size; ++k) {
          using Real = std::conditional_t<sizeof(T) == 8, double, float>;
          const auto mine = static_cast<Real>(x[static_cast<std::size_t>(i * size + k)]);
          const auto other =
              static_cast<Real>(x[static_cast<std::size_t>(partner[static_cast<std::size_t>(i)] * size + k)]);
          const Real v = static_cast<Real>(lam[i]) * mine + static_cast<Real>(1 - lam[i]) * other;
          expected[static_cast<std::size_t>(i * size + k)] =
              sizeof(T) == 1 ? static_cast<T>(std::min(std::floor(v + Real(0.5)), Real(255)))
                             : static_cast<T>(v);
        }
      }
      for_isas_and_teams([&] {
        std::vector<T> y(x.size()), z = x;
        regkern::mixup<T>({kSamples, 1, &size, x.data(), strides, y.data(), strides}, partner.data(), lam);
        EXPECT_EQ(y, expected);
        regkern::mixup<T>({kSamples, 1, &size, z.data(), strides, z.data(), strides}, partner.data(), lam);
        EXPECT_EQ(z, expected);
      });
    }
  }
}
TEST(Mixup, Bytes) { test_mixup<std::uint8_t>(); }
TEST(Mixup, Floats) { test_mixup<float>(); }
TEST(Mixup, Doubles) { test_mixup<double>(); }

TEST(Cutmix, RectanglesFromThePartnersAsTheyWere) {
  constexpr std::ptrdiff_t kHeight = 40, kWidth = 50, kChannels = 3, kSize = kHeight * kWidth * kChannels;
  const std::int64_t boxes[] = {0, 0,  40, 50, -5, 10, 20, 30, 35, 45, INT64_MAX, INT64_MAX, 7,  8,
                                0, 10, 3,  3,  9,  1,  60, 0,  5,  5,  20,        20,        30, 40};
  const auto x = samples<float>(kSamples * kSize);
  for (const bool last : {true, false}) {
    const std::ptrdiff_t item = sizeof(float);
    const std::ptrdiff_t shape_last[] = {kHeight, kWidth, kChannels},
                         shape_first[] = {kChannels, kHeight, kWidth};
    const std::ptrdiff_t strides_last[] = {kSize * item, kWidth * kChannels * item, kChannels * item, item};
    const std::ptrdiff_t strides_first[] = {kSize * item, kHeight * kWidth * item, kWidth * item, item};
    const std::ptrdiff_t *const shape = last ? shape_last : shape_first, *const strides = last
                                                                                              ? strides_last
                                                                                              : strides_first;
    for (const auto& partner : kPartners) {
      auto expected = x;
      for (std::ptrdiff_t i = 0; i < kSamples; ++i) {
        const std::int64_t* const b = boxes + 4 * i;
        for (std::ptrdiff_t k = 0; k < kSize; ++k) {
          const std::ptrdiff_t row = last ? k / kChannels / kWidth : k / kWidth % kHeight;
          const std::ptrdiff_t column = last ? k / kChannels % kWidth : k % kWidth;
          if (row < b[0] || row - b[0] >= b[2] || column < b[1] || column - b[1] >= b[3]) continue;
          expected[static_cast<std::size_t>(i * kSize + k)] =
              x[static_cast<std::size_t>(partner[static_cast<std::size_t>(i)] * kSize + k)];
        }
      }
      for_isas_and_teams([&] {
        std::vector<float> y(x.size()), z = x;
        regkern::cutmix<float>({kSamples, 3, shape, x.data(), strides, y.data(), strides}, partner.data(),
                               boxes, last);
        EXPECT_EQ(y, expected);
        regkern::cutmix<float>({kSamples, 3, shape, z.data(), strides, z.data(), strides}, partner.data(),
                               boxes, last);
        EXPECT_EQ(z, expected);
      });
    }
  }
}

}  // namespace
