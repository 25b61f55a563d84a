// The machine of augmentation: geometry by hand, and one program under every instruction set, team and
// layout.

#include <gtest/gtest.h>

#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <cstring>
#include <string>
#include <vector>

#include "regkern/augment.h"
#include "regkern/random.h"
#include "regkern/runtime.h"

namespace {

using namespace regkern::augment;

template <class T>
Images images(T* data, std::ptrdiff_t n, std::ptrdiff_t height, std::ptrdiff_t width, std::ptrdiff_t channels,
              bool planar) {
  const Pixel pixel = sizeof(T) == 1 ? Pixel::kUint8 : Pixel::kFloat32;
  constexpr auto kSize = static_cast<std::ptrdiff_t>(sizeof(T));
  const std::ptrdiff_t image = height * width * channels * kSize;
  if (planar)
    return {data, pixel, n, height, width, channels, image, width * kSize, kSize, height * width * kSize};
  return {data, pixel, n, height, width, channels, image, width * channels * kSize, channels * kSize, kSize};
}

std::vector<std::uint8_t> ramp(std::ptrdiff_t n) {
  std::vector<std::uint8_t> x(static_cast<std::size_t>(n));
  for (std::size_t i = 0; i < x.size(); ++i) x[i] = static_cast<std::uint8_t>(i * 37 + i / 5);
  return x;
}

// One channel, one sample.
std::vector<std::uint8_t> through(const std::vector<std::uint8_t>& x, std::ptrdiff_t height,
                                  std::ptrdiff_t width, const Step& step, std::size_t size) {
  std::vector<std::uint8_t> in = x, y(size + 2, 77);
  const bool sized = step.out_height != 0;
  run(images(in.data(), 1, height, width, 1, false), {&step, 1},
      images(y.data() + 1, 1, sized ? step.out_height : height, sized ? step.out_width : width, 1, false));
  EXPECT_EQ(y.front(), 77);
  EXPECT_EQ(y.back(), 77);
  return {y.begin() + 1, y.end() - 1};
}

Step sized(Op op, const std::vector<double>& parameters, std::ptrdiff_t height, std::ptrdiff_t width) {
  Step step{op, parameters.data(), static_cast<std::ptrdiff_t>(parameters.size())};
  step.out_height = height;
  step.out_width = width;
  return step;
}

using Bytes = std::vector<std::uint8_t>;

TEST(AugmentMachine, GeometryByHand) {
  const Bytes x = {1, 2, 3, 4, 5, 6};  // 2 × 3
  const std::vector<double> flip = {1, 0}, turn = {1}, corner = {-1, 1}, half = {0, 0, 2, 2};
  EXPECT_EQ(through(x, 2, 3, sized(Op::kFlip, flip, 0, 0), 6), (Bytes{3, 2, 1, 6, 5, 4}));
  EXPECT_EQ(through(x, 2, 3, sized(Op::kRotate90, turn, 3, 2), 6), (Bytes{3, 6, 2, 5, 1, 4}));
  Step crop = sized(Op::kCrop, corner, 2, 3);
  EXPECT_EQ(through(x, 2, 3, crop, 6), (Bytes{0, 0, 0, 2, 3, 0}));
  crop.padding = Padding::kReflect;
  EXPECT_EQ(through(x, 2, 3, crop, 6), (Bytes{5, 6, 5, 2, 3, 2}));
  crop.padding = Padding::kSymmetric;
  EXPECT_EQ(through(x, 2, 3, crop, 6), (Bytes{2, 3, 3, 2, 3, 3}));
  // Half a pixel to the right and down; the fill beyond.
  const std::vector<double> shift = {1, 0, 0.5, 0, 1, 0.5, 0, 0, 1};
  EXPECT_EQ(through(x, 2, 3, sized(Op::kWarp, shift, 2, 3), 6), (Bytes{3, 4, 2, 2, 3, 2}));
  EXPECT_EQ(through(x, 2, 3, sized(Op::kResize, half, 1, 1), 1), Bytes{3});
}

TEST(AugmentMachine, SameBitsForEveryIsaTeamAndLayout) {
  const std::string before = regkern::isa();
  for (const std::ptrdiff_t channels : {1, 3, 4, 6}) {
    const std::ptrdiff_t n = 23, height = 61, width = 83, out_height = 50, out_width = 71;
    const Bytes x = ramp(n * height * width * channels);
    std::vector<double> flips, corners, warps, boxes, fill, scale, bias;
    for (std::ptrdiff_t i = 0; i < n; ++i) {
      const auto v = static_cast<double>(i);
      flips.insert(flips.end(), {static_cast<double>(i % 2), static_cast<double>(i / 2 % 2)});
      corners.insert(corners.end(), {v - 9, 5 - v});
      warps.insert(warps.end(), {0.9, 0.03 * v, -4, -0.02 * v, 1.1, 3, 0, i % 3 == 0 ? 1e-3 : 0, 1});
      boxes.insert(boxes.end(), {v, 3, 61 - 2 * v, 71});
    }
    for (std::ptrdiff_t c = 0; c < channels; ++c) {
      fill.push_back(static_cast<double>(20 * c));
      scale.push_back(1.0 / static_cast<double>(50 + c));
      bias.push_back(-0.5);
    }
    std::vector<Step> steps(5);
    steps[0] = {Op::kFlip, flips.data(), 2};
    steps[1] = {Op::kCrop, corners.data(), 2};
    steps[2] = {Op::kWarp, warps.data(), 9};
    steps[3] = {Op::kResize, boxes.data(), 4};
    steps[4] = {Op::kNormalize, flips.data(), 0};
    for (Step& step : steps) {
      step.fill = fill.data();
      step.scale = scale.data();
      step.bias = bias.data();
      step.out_height = step.op == Op::kResize ? out_height : height;
      step.out_width = step.op == Op::kResize ? out_width : width;
    }
    steps[1].padding = Padding::kEdge;
    steps[3].antialias = true;
    Bytes planar(x.size());
    const std::ptrdiff_t image = height * width;
    for (std::ptrdiff_t i = 0; i < n; ++i) {
      for (std::ptrdiff_t p = 0; p < image; ++p) {
        for (std::ptrdiff_t c = 0; c < channels; ++c) {
          planar[static_cast<std::size_t>((i * channels + c) * image + p)] =
              x[static_cast<std::size_t>((i * image + p) * channels + c)];
        }
      }
    }
    std::vector<float> first;
    for (const std::string& isa : regkern::isas()) {
      ASSERT_TRUE(regkern::set_isa(isa));
      for (const int team : {1, 2, 5}) {
        regkern::swap_local_threads(team);
        for (const bool is_planar : {false, true}) {
          Bytes in = is_planar ? planar : x;
          std::vector<float> y(static_cast<std::size_t>(n * out_height * out_width * channels), -7.0f);
          run(images(in.data(), n, height, width, channels, is_planar), steps,
              images(y.data(), n, out_height, out_width, channels, false));
          if (first.empty()) first = y;
          EXPECT_EQ(std::memcmp(y.data(), first.data(), y.size() * sizeof(float)), 0)
              << isa << ' ' << team << ' ' << is_planar << ' ' << channels;
        }
      }
    }
    regkern::swap_local_threads(0);
  }
  regkern::set_isa(before);
}

TEST(AugmentDraws, AreTheStreams) {
  const std::string before = regkern::isa();
  std::vector<std::uint64_t> index(19);
  for (std::size_t i = 0; i < index.size(); ++i) index[i] = i % 2 == 0 ? i : (std::uint64_t{1} << 63) + 7 * i;
  for (const std::string& isa : regkern::isas()) {
    regkern::set_isa(isa);
    for (const std::size_t n : {0, 1, 3, 8, 19}) {
      for (const std::size_t count : {0, 1, 2, 4, 7, 22}) {
        const std::size_t size = n * count;
        std::vector<double> u(size + 1, -1), row(count);
        draws(42, index.data(), n, count, u.data());
        EXPECT_EQ(u[size], -1);
        for (std::size_t i = 0; i < n; ++i) {
          regkern::uniform<double>(count, {row.data()}, {42, index[i]});
          EXPECT_TRUE(std::equal(row.begin(), row.end(), u.data() + i * count))
              << isa << ' ' << n << ' ' << count;
        }
      }
    }
  }
  regkern::set_isa(before);
}

}  // namespace
