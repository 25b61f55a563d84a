// The machine of augmentation: each sample goes through the program by itself, and threads share the samples.
//
// A sample is an image in memory, a placement of its pixels and a list of pixel steps that are both put off;
// they are carried out when rows are pulled, into the output or, before a step that needs a whole image, into
// one that fits the cache.

#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <type_traits>
#include <vector>

#include "core/augment/image.h"
#include "core/augment/maps.h"
#include "core/augment/pictures.h"
#include "core/augment/pixel_steps.h"
#include "core/augment/placement.h"
#include "core/augment/program.h"
#include "core/streaming.h"
#include "core/threading.h"
#include "kernels/augment/geometry.h"
#include "kernels/augment/pictures.h"
#include "kernels/augment/pixels.h"
#include "regkern/augment.h"

namespace regkern::augment {
namespace {

constexpr std::ptrdiff_t kTileBytes = 16 << 10;  // of rows that pixel steps pass over, one after the other

// A sample on its way; a thread has one for all its samples.
class Worker {
 public:
  Worker(const Program& p, const Images& y)
      : program_(p),
        y_(y),
        channels_(p.x.channels),
        image_(p),
        placement_(p),
        pixels_(p),
        tile_(kTileBytes / 4 + p.widest * channels_),
        float_tile_(kTileBytes + p.widest * channels_),
        taps_(2 * p.most_blur_taps),
        blur_scratch_(p.blur_floats) {}

  void run(std::ptrdiff_t sample) {
    image_.start(sample);
    reset();
    for (const Prepared& p : program_.prepared) {
      if (p.step->active != nullptr && p.step->active[sample] == 0) continue;
      apply(p, sample);
    }
    finish(sample);
  }

 private:
  // Calls body with a pixel of the type that the image has now.
  template <class Body>
  void visit(Pixel pixel, Body&& body) {
    if (pixel == Pixel::kUint8) {
      body(std::uint8_t{});
    } else {
      body(float{});
    }
  }
  Pixel pixel() const { return pixels_.normalize() != nullptr ? Pixel::kFloat32 : image_.pixel(); }

  // --- steps ---

  void apply(const Prepared& p, std::ptrdiff_t sample) {
    const Step& step = *p.step;
    const double* parameters = step.parameters + sample * step.width;
    const auto whole = [](double v) { return static_cast<std::ptrdiff_t>(v); };
    const auto settled = [this] { settle(); };
    switch (step.op) {
      case Op::kFlip:
        if (parameters[0] == 0 && parameters[1] == 0) return;
        settle_pixels();
        return placement_.flip(parameters[0] != 0, parameters[1] != 0);
      case Op::kRotate90: {
        const int k = ((static_cast<int>(parameters[0]) % 4) + 4) % 4;
        if (k == 0) return;
        settle_pixels();
        return placement_.rotate90(k, settled);
      }
      case Op::kCrop:
        settle_pixels();
        return placement_.crop(p, whole(parameters[0]), whole(parameters[1]), settled);
      case Op::kWarp:
        settle_pixels();
        return placement_.warp(p, parameters, settled);
      case Op::kResize:
        settle_pixels();
        return placement_.resize(p, parameters, settled);
      case Op::kBlur:
      case Op::kSharpness:
        return visit(pixel(), [&](auto type) { filter<decltype(type)>(p, parameters); });
      case Op::kNormalize:
        return pixels_.add_normalize(p, parameters);
      default:
        return visit(pixel(), [&](auto type) {
          using T = decltype(type);
          if (measures(step.op) && !(pixels_.seen_through<T>() && placement_.is_view())) materialize();
          pixels_.add<T>(p, parameters, sample, [this] { return view<T>(); });
        });
    }
  }

  // The two steps that look at neighbours.
  template <class T>
  void filter(const Prepared& p, const double* parameters) {
    const Step& step = *p.step;
    float* const taps_x = taps_.data();
    float* const taps_y = taps_x + program_.most_blur_taps;
    std::ptrdiff_t kx = 0, ky = 0;
    if (step.op == Op::kBlur) {
      kx = gaussian_taps(step.out_width, parameters[0], taps_x);
      ky = gaussian_taps(step.out_height, parameters[1], taps_y);
      if (kx == 1 && ky == 1) return;
    }
    settle_pixels();
    settle();
    const Picture<const T> x = image_.picture<T>();
    const Picture<T> out = image_.scratch<T>(placement_.size());
    if (step.op == Op::kBlur) {
      pixel_table<T>().blur(x, out, taps_x, kx, taps_y, ky, blur_scratch_.data());
    } else {
      pixel_table<T>().sharpness(x, out, parameters[0]);
    }
    image_.take_scratch(out);
    reset();
  }

  // --- whole images ---

  // Pending: nothing.
  void reset() {
    placement_.reset(image_.size());
    pixels_.reset();
  }

  // Pixel steps pending: a new image.
  void settle_pixels() {
    if (!pixels_.empty()) materialize();
  }

  // Nothing pending but the identity: a part of the image itself where it is one, else a new image.
  void settle() {
    if (!pixels_.empty() || !placement_.is_view()) return materialize();
    if (placement_.is_identity(image_.size())) return;
    visit(image_.pixel(), [this](auto type) { image_.become(view<decltype(type)>()); });
    reset();
  }

  void materialize() {
    visit(pixel(), [this](auto type) {
      const auto to = image_.scratch<decltype(type)>(placement_.size());
      pull(to, false);
      image_.take_scratch(to);
    });
    reset();
  }

  void finish(std::ptrdiff_t sample) {
    visit(y_.pixel, [&](auto type) {
      using T = decltype(type);
      constexpr auto kSize = static_cast<std::ptrdiff_t>(sizeof(T));
      Picture<T> p{reinterpret_cast<T*>(static_cast<char*>(y_.data) + sample * y_.stride_n),
                   y_.height,
                   y_.width,
                   channels_,
                   y_.stride_y / kSize,
                   y_.stride_x / kSize,
                   y_.stride_c / kSize};
      if (channels_ == 1) p.channel_stride = 1;
      if (p.width == 1) p.pixel_stride = p.channel_stride == 1 ? channels_ : 1;
      pull(p, program_.stream);
    });
  }

  template <class T>
  Picture<const T> view() const {
    return placement_.view(image_.picture<T>());
  }

  // --- pulling rows ---

  // stream: around the cache, where that pays.
  template <class T>
  void pull(const Picture<T>& to, bool stream) {
    if constexpr (sizeof(T) == 4) {
      if (pixels_.normalize() != nullptr) {
        return visit(image_.pixel(), [&](auto type) { pull_normalized<decltype(type)>(to, stream); });
      }
    }
    const bool row = is_row(channels_, to.pixel_stride, to.channel_stride);
    const bool direct = row && alike(image_.picture<T>(), to);
    stream = stream && direct && is_interleaved(to) && to.row_stride == to.width * to.pixel_stride;
    if (row && placement_.is_view() && pixels_.touch_little()) return copy_and_erase(to, stream);
    if (pixels_.count() == 0 && placement_.is_view()) return geometry_table<T>().copy(view<T>(), to, {});
    if constexpr (sizeof(T) == 1) {
      const std::uint8_t* const table = pixels_.only_table();
      if (table != nullptr && placement_.is_view() && is_interleaved(to) && direct) {
        return pixel_table<T>().look_up_rows(view<T>(), table, to, {stream, image_.next_if_small()});
      }
    }
    prepare_rows<T>();
    pull_rows(to, 0, to.height, direct, stream);
  }

  // Rows first … last, made in place (direct) or in a tile that is then copied.
  template <class T>
  void pull_rows(const Picture<T>& to, std::ptrdiff_t first, std::ptrdiff_t last, bool direct, bool stream) {
    direct = direct && !stream;
    const std::ptrdiff_t group = direct && pixels_.touch_little() ? to.height : rows_at_once(sizeof(T));
    for (std::ptrdiff_t y = first; y < last; y += group) {
      const std::ptrdiff_t n = std::min(group, last - y);
      const Picture<T> target = rows_of(to, y, n);
      const Picture<T> work = direct ? target : tile<T>(tile_, n);
      placement_.read(image_.picture<T>(), y, work);
      pixels_.apply(0, pixels_.count(), work, y);
      if (!direct) geometry_table<T>().copy(as_const(work), target, {stream, source_of(y + n, n)});
    }
  }

  // T is that of the image, up to the first normalization.
  template <class T>
  void pull_normalized(const Picture<float>& to, bool stream) {
    const std::size_t at = pixels_.normalize_at(), count = pixels_.count();
    const Prepared& normalize = *pixels_.normalize();
    const bool row = is_row(channels_, to.pixel_stride, to.channel_stride);
    const bool plain = at == 0 && placement_.is_view();
    const bool whole_image = plain && row && count == 0;
    if (!plain) prepare_rows<T>();
    const std::ptrdiff_t group = whole_image ? to.height : rows_at_once(sizeof(T));
    stream = stream && row && at == count;
    for (std::ptrdiff_t y = 0; y < to.height; y += group) {
      const std::ptrdiff_t n = std::min(group, to.height - y);
      const Picture<float> target = rows_of(to, y, n);
      Picture<const T> from;
      if (plain) {
        from = rows_of(view<T>(), y, n);
      } else {
        const Picture<T> work = tile<T>(tile_, n);
        placement_.read(image_.picture<T>(), y, work);
        pixels_.apply(0, at, work, y);
        from = as_const(work);
      }
      const Picture<float> work = row ? target : tile<float>(float_tile_, n);
      geometry_table<T>().normalize(from, normalize.scale.data(), normalize.bias.data(), work,
                                    {stream, plain ? nullptr : source_of(y + n, n)});
      pixels_.apply(at, count, work, y);
      if (!row) geometry_table<float>().copy(as_const(work), target, {});
    }
  }

  // A part of the image, of which some rows are touched again.
  template <class T>
  void copy_and_erase(const Picture<T>& to, bool stream) {
    const auto copy = [&](std::ptrdiff_t first, std::ptrdiff_t last) {
      if (first == last) return;
      geometry_table<T>().copy(rows_of(view<T>(), first, last - first), rows_of(to, first, last - first),
                               {stream, nullptr});
    };
    if (!stream) {
      copy(0, to.height);
      return pixels_.apply(0, pixels_.count(), to, 0);
    }
    const auto [begin, end] = pixels_.erased(to.height);
    copy(0, begin);
    pull_rows(to, begin, end, false, true);
    copy(end, to.height);
  }

  template <class T>
  void prepare_rows() {
    if (placement_.scatters()) image_.fetch();
    placement_.prepare(image_.picture<T>());
  }

  std::ptrdiff_t rows_at_once(std::size_t element) const {
    const std::ptrdiff_t bytes = placement_.size().width * channels_ * static_cast<std::ptrdiff_t>(element);
    return std::max<std::ptrdiff_t>(1, kTileBytes / bytes);
  }

  // Rows between the steps, like those of the image.
  template <class T>
  Picture<T> tile(const Buffer<float>& memory, std::ptrdiff_t rows) const {
    T* const data = reinterpret_cast<T*>(memory.data());
    const std::ptrdiff_t width = placement_.size().width;
    if (image_.interleaved()) return {data, rows, width, channels_, width * channels_, channels_, 1};
    return {data, rows, width, channels_, width, 1, rows * width};
  }

  // Where the n rows of the output from y on will be read, of the next sample behind the last one.
  const void* source_of(std::ptrdiff_t y, std::ptrdiff_t n) const {
    if (!image_.runs_on() || !placement_.keeps_rows()) return nullptr;
    const std::ptrdiff_t height = placement_.size().height;
    if (y >= height) return image_.next();
    return image_.row(placement_.lowest(y, std::min(y + n, height) - 1));
  }

  const Program& program_;
  const Images& y_;
  std::ptrdiff_t channels_;
  Image image_;
  Placement placement_;
  PixelSteps pixels_;
  Buffer<float> tile_, float_tile_, taps_, blur_scratch_;
};

}  // namespace

void run(const Images& x, std::span<const Step> steps, const Images& y) {
  if (x.n == 0) return;
  const Program program(x, steps);
  std::vector<Worker> workers;
  workers.reserve(program.team.count());
  for (int i = 0; i < program.team.size; ++i) workers.emplace_back(program, y);
  threading::for_row_shares(program.team, static_cast<std::size_t>(x.n),
                            [&](std::size_t begin, std::size_t end, std::size_t part) {
                              for (std::size_t i = begin; i < end; ++i) {
                                workers[part].run(static_cast<std::ptrdiff_t>(i));
                              }
                              finish_stream(program.stream);
                            });
}

}  // namespace regkern::augment
