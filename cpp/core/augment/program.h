// A program as the machine sees it: what is the same for all samples.

#ifndef REGKERN_CORE_AUGMENT_PROGRAM_H_
#define REGKERN_CORE_AUGMENT_PROGRAM_H_

#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <span>
#include <utility>
#include <vector>

#include "core/augment/maps.h"
#include "core/augment/resize.h"
#include "core/streaming.h"
#include "core/threading.h"
#include "kernels/augment/pixels.h"
#include "regkern/augment.h"

namespace regkern::augment {

struct Prepared {
  const Step* step;
  Size before, after;
  Pixel pixel;                        // before
  std::vector<std::uint8_t> fill_u8;  // one number a channel
  std::vector<float> fill_f32, scale, bias;
  std::vector<double> fill_f64;

  const void* fill() const {
    return pixel == Pixel::kUint8 ? static_cast<const void*>(fill_u8.data())
                                  : static_cast<const void*>(fill_f32.data());
  }
};

inline bool changes_size(Op op) {
  return op == Op::kRotate90 || op == Op::kCrop || op == Op::kWarp || op == Op::kResize;
}

// The steps with what they need of each image on the way, the room that the largest needs, and the team.
struct Program {
  Program(const Images& images, std::span<const Step> steps) : x(images) {
    Size size{x.height, x.width};
    Pixel pixel = x.pixel;
    prepared.reserve(steps.size());
    image_floats = size.pixels() * x.channels;
    widest = std::max(size.width, size.height);
    double cost = static_cast<double>(image_floats * bytes_of(pixel));
    for (const Step& step : steps) {
      Prepared p{&step, size, size, pixel, {}, {}, {}, {}, {}};
      for (std::ptrdiff_t c = 0; c < x.channels; ++c) {
        const double fill = step.fill == nullptr ? 0 : step.fill[c];
        p.fill_u8.push_back(to_byte(fill));
        p.fill_f32.push_back(static_cast<float>(fill));
        p.fill_f64.push_back(fill);
        if (step.op == Op::kNormalize) {
          p.scale.push_back(static_cast<float>(step.scale[c]));
          p.bias.push_back(static_cast<float>(step.bias[c]));
        }
      }
      if (changes_size(step.op)) p.after = size = {step.out_height, step.out_width};
      if (step.op == Op::kNormalize) pixel = Pixel::kFloat32;
      if (step.op == Op::kBlur) {
        most_blur_taps = std::max({most_blur_taps, step.out_height, step.out_width});
        blur_floats = std::max(
            blur_floats, blur_scratch(size.height, size.width, x.channels, step.out_width, step.out_height));
      }
      if (step.op == Op::kResize && step.interpolation == Interpolation::kBilinear) {
        across_taps = std::max(across_taps, most_taps(p.before.width, p.after.width));
        down_taps = std::max(down_taps, most_taps(p.before.height, p.after.height));
      }
      widest = std::max({widest, size.width, size.height});
      const std::ptrdiff_t bytes = size.pixels() * x.channels * bytes_of(pixel);
      image_floats = std::max(image_floats, size.pixels() * x.channels);
      const bool dear = step.op == Op::kWarp || step.op == Op::kResize || step.op >= Op::kSaturation;
      cost += static_cast<double>(bytes) * (dear ? 8 : 1);
      prepared.push_back(std::move(p));
    }
    stream = worth_streaming(static_cast<std::size_t>(x.n * x.channels) *
                             static_cast<std::size_t>(Size{x.height, x.width}.pixels() * bytes_of(x.pixel) +
                                                      size.pixels() * bytes_of(pixel)));
    const double all = cost * static_cast<double>(x.n);
    team = threading::team_for(static_cast<std::size_t>(std::min(all, 1e15)))
               .at_most(static_cast<std::size_t>(x.n));
  }

  Images x;
  std::vector<Prepared> prepared;
  std::ptrdiff_t image_floats, widest;  // the largest image and side on the way
  std::ptrdiff_t most_blur_taps = 0, blur_floats = 0, across_taps = 0, down_taps = 0;
  bool stream;  // the output, around the cache
  threading::Team team;
};

}  // namespace regkern::augment

#endif  // REGKERN_CORE_AUGMENT_PROGRAM_H_
