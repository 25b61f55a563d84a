// The machine of augmentation: geometry by hand, and one program under every instruction set, team and
// layout.

#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>
#include <cstddef>
#include <cstdint>
#include <cstring>
#include <memory>
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
        regkern::swap_local_threads({team});
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
    regkern::swap_local_threads({});
  }
  regkern::set_isa(before);
}

// Images that end where their memory does: a sanitizer sees a read or a write too far, and without one the
// instruction sets, whose vectors reach differently far, must agree.
template <class T>
void test_ends(std::ptrdiff_t height, std::ptrdiff_t width, std::ptrdiff_t channels, bool is_planar) {
  struct Case {
    Op op;
    std::vector<double> parameters;
    std::ptrdiff_t out_height, out_width;
  };
  const std::ptrdiff_t more = height + 5, wider = 2 * width + 1, less = height / 2 + 1,
                       narrower = width / 3 + 1;
  const auto h = static_cast<double>(height), w = static_cast<double>(width);
  const std::vector<Case> cases = {
      {Op::kFlip, {0, 0}, 0, 0},  // what follows reads the image itself
      {Op::kCrop, {h - 1, std::floor(w / 2)}, 1, width - width / 2},
      {Op::kFlip, {1, 1}, 0, 0},
      {Op::kFlip, {1, 0}, 0, 0},
      {Op::kRotate90, {1}, width, height},
      {Op::kCrop, {-2, -3}, height, width},
      {Op::kCrop, {1, 3}, height, width},
      {Op::kWarp, {1, 0, 0, 0, 1, 0, 0, 0, 1}, height, width},
      // Inside of the image to the last pixel of a chunk, whose neighbour is the last one of all.
      {Op::kWarp, {(w - 1.5) / 63, 0, 0, 0, 0.5, 0.4, 0, 0, 1}, 3, 64},
      {Op::kWarp, {1, 0, -0.5, 0, 1, -0.5, 0, 0, 1}, height, width},
      {Op::kWarp, {0.9, 0.1, 0.2, -0.1, 0.95, 1.5, 0, 0, 1}, height, width},
      {Op::kWarp, {-1, 0, w - 1, 0, -1, h - 1, 0, 1e-4, 1}, height, width},
      {Op::kResize, {0, 0, h, w}, more, wider},
      {Op::kResize, {0, 0, h, w}, less, narrower},
      {Op::kResize, {h - 1, w - 1, 1, 1}, more, wider},
      {Op::kErase, {1, 1, h, w}, 0, 0},
      {Op::kBrightness, {1.3}, 0, 0},
      {Op::kContrast, {0.7}, 0, 0},
      {Op::kAutocontrast, {}, 0, 0},
      {Op::kEqualize, {}, 0, 0},
      {Op::kSaturation, {1.4}, 0, 0},
      {Op::kHue, {0.2}, 0, 0},
      {Op::kNoise, {0, 0.1}, 0, 0},
      {Op::kBlur, {1, 1}, 5, 5},
      {Op::kSharpness, {1.5}, 0, 0},
  };
  const auto size = static_cast<std::size_t>(height * width * channels);
  const Bytes bytes = ramp(height * width * channels);
  const std::vector<double> fill(4, 7), scale(4, 0.02), bias(4, -1);
  const std::vector<std::uint64_t> index = {3};
  for (const Case& c : cases) {
    const bool colors = c.op == Op::kSaturation || c.op == Op::kHue || c.op == Op::kContrast;
    if (colors && channels == 4) continue;
    for (const Interpolation interpolation : {Interpolation::kNearest, Interpolation::kBilinear}) {
      for (const bool normalized : {false, true}) {
        std::vector<Step> steps(normalized ? 2 : 1);
        steps[0] = sized(c.op, c.parameters, c.out_height, c.out_width);
        steps[0].interpolation = interpolation;
        steps[0].antialias = true;
        steps[0].index = index.data();
        if (normalized) steps[1].op = Op::kNormalize;
        for (Step& step : steps) {
          step.fill = fill.data();
          step.scale = scale.data();
          step.bias = bias.data();
        }
        const bool same_size = c.out_height == 0 || c.op == Op::kBlur;
        const std::ptrdiff_t out_height = same_size ? height : c.out_height;
        const std::ptrdiff_t out_width = same_size ? width : c.out_width;
        const bool to_float = normalized || sizeof(T) == 4;
        const auto made = static_cast<std::size_t>(out_height * out_width * channels) * (to_float ? 4 : 1);
        for (const bool out_planar : {false, true}) {
          Bytes first;
          for (const std::string& isa : regkern::isas()) {
            ASSERT_TRUE(regkern::set_isa(isa));
            // Of their own size, so that they end at the end of an allocation.
            const auto in = std::make_unique<T[]>(size);
            for (std::size_t i = 0; i < size; ++i) {
              in[i] = sizeof(T) == 1 ? static_cast<T>(bytes[i]) : static_cast<T>(bytes[i]) / T(255);
            }
            Bytes y(made);
            const Images from = images(in.get(), 1, height, width, channels, is_planar);
            if (to_float) {
              const auto out = std::make_unique<float[]>(made / 4);
              run(from, steps, images(out.get(), 1, out_height, out_width, channels, out_planar));
              std::memcpy(y.data(), out.get(), made);
            } else {
              run(from, steps, images(y.data(), 1, out_height, out_width, channels, out_planar));
            }
            if (first.empty()) first = y;
            EXPECT_TRUE(y == first) << isa << ' ' << static_cast<int>(c.op) << ' ' << height << ' ' << width
                                    << ' ' << channels << ' ' << is_planar << out_planar << normalized;
          }
        }
      }
    }
  }
}

TEST(AugmentMachine, EndsOfImages) {
  const std::string before = regkern::isa();
  for (const std::ptrdiff_t channels : {1, 3, 4}) {
    for (const bool is_planar : {false, true}) {
      for (const std::ptrdiff_t width : {1, 5, 16, 22, 33, 70}) {
        test_ends<std::uint8_t>(3, width, channels, is_planar);
        test_ends<float>(3, width, channels, is_planar);
      }
      test_ends<std::uint8_t>(1, 1, channels, is_planar);
      test_ends<float>(1, 1, channels, is_planar);
    }
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
