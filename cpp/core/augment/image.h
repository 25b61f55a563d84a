// The image that a sample is at present: where the batch has it, a part of that, or one of two scratch images
// that take turns.

#ifndef REGKERN_CORE_AUGMENT_IMAGE_H_
#define REGKERN_CORE_AUGMENT_IMAGE_H_

#include <array>
#include <cstddef>
#include <cstdint>
#include <cstring>
#include <type_traits>

#include "core/augment/maps.h"
#include "core/augment/pictures.h"
#include "core/augment/program.h"
#include "kernels/augment/pictures.h"

namespace regkern::augment {

class Image {
 public:
  explicit Image(const Program& p)
      : batch_(p.x), origin_(p.x), scratch_{Buffer<float>(p.image_floats), Buffer<float>(p.image_floats)} {}

  // Where the batch has it; any memory that is not in the order of rows is put in order first.
  void start(std::ptrdiff_t sample) {
    const char* data = static_cast<const char*>(batch_.data) + sample * batch_.stride_n;
    at_ = origin_.first;
    at_.data = data;
    in_ = -1;
    if (origin_.in_order) return;
    if (batch_.pixel == Pixel::kUint8) {
      copy_elements<std::uint8_t>(data);
    } else {
      copy_elements<float>(data);
    }
  }

  Pixel pixel() const { return at_.pixel; }
  Size size() const { return at_.size; }
  bool interleaved() const { return at_.channel_stride == 1 && at_.pixel_stride == batch_.channels; }

  template <class T>
  Picture<const T> picture() const {
    return {static_cast<const T*>(at_.data),
            at_.size.height,
            at_.size.width,
            batch_.channels,
            at_.row_stride,
            at_.pixel_stride,
            at_.channel_stride};
  }

  // It is now p, a part of itself.
  template <class T>
  void become(const Picture<T>& p) {
    at_ = {p.data,          kPixel<std::remove_const_t<T>>, {p.height, p.width}, p.row_stride, p.pixel_stride,
           p.channel_stride};
  }

  // A dense image in the memory that this one is not in, of the same order of rows; what is made there is
  // the image once it is taken.
  template <class T>
  Picture<T> scratch(Size size) const {
    return scratch<T>(size, interleaved());
  }
  template <class T>
  void take_scratch(const Picture<T>& p) {
    become(p);
    in_ = in_ == 0 ? 1 : 0;
  }

  // Reads that jump about wait for memory at every step; one pass in order before them does not (reads:
  // prefetching is a hint, and so many of them are not taken). Worth it for an image that then stays in the
  // second cache.
  void fetch() const {
    constexpr std::ptrdiff_t kLine = 64;
    const std::ptrdiff_t size = bytes_of(at_.pixel), planes = interleaved() ? 1 : batch_.channels;
    const std::ptrdiff_t row = at_.size.width * (interleaved() ? batch_.channels : 1) * size;
    if (in_ != -1 || row * at_.size.height * planes > kStays) return;
    for (std::ptrdiff_t c = 0; c < planes; ++c) {
      for (std::ptrdiff_t y = 0; y < at_.size.height; ++y) {
        const char* p =
            static_cast<const char*>(at_.data) + (c * at_.channel_stride + y * at_.row_stride) * size;
        for (std::ptrdiff_t i = 0; i < row; i += kLine) {
          (void)*static_cast<const volatile char*>(p + i);
        }
      }
    }
  }

  // Whether what follows in memory is the next sample, in rows that can be fetched ahead.
  bool runs_on() const { return in_ == -1 && interleaved(); }
  // Row y of it, and the same place of the next sample.
  const void* row(std::ptrdiff_t y) const {
    return static_cast<const char*>(at_.data) + y * at_.row_stride * bytes_of(at_.pixel);
  }
  const void* next() const { return static_cast<const char*>(at_.data) + batch_.stride_n; }
  // The next sample where it then stays in the second cache, else nothing.
  const void* next_if_small() const {
    const std::ptrdiff_t size = at_.size.height * at_.row_stride * bytes_of(at_.pixel);
    return runs_on() && size <= kStays ? next() : nullptr;
  }

 private:
  static constexpr std::ptrdiff_t kStays = 512
                                           << 10;  // bytes of an image that then stays in the second cache

  template <class T>
  Picture<T> scratch(Size size, bool as_pixels) const {
    T* const data = reinterpret_cast<T*>(scratch_[in_ == 0 ? 1 : 0].data());
    const std::ptrdiff_t channels = batch_.channels;
    if (as_pixels) return {data, size.height, size.width, channels, size.width * channels, channels, 1};
    return {data, size.height, size.width, channels, size.width, 1, size.pixels()};
  }

  template <class T>
  void copy_elements(const char* data) {
    const Picture<T> to = scratch<T>(at_.size, true);
    for (std::ptrdiff_t y = 0; y < to.height; ++y) {
      for (std::ptrdiff_t i = 0; i < to.width; ++i) {
        T* const pixel = to.data + y * to.row_stride + i * to.pixel_stride;
        const char* const from = data + y * batch_.stride_y + i * batch_.stride_x;
        for (std::ptrdiff_t c = 0; c < to.channels; ++c) {
          std::memcpy(pixel + c, from + c * batch_.stride_c, sizeof(T));
        }
      }
    }
    take_scratch(to);
  }

  const Images& batch_;
  Origin origin_;
  Source at_{};
  int in_ = -1;  // which scratch image it lies in; −1: none
  std::array<Buffer<float>, 2> scratch_;
};

}  // namespace regkern::augment

#endif  // REGKERN_CORE_AUGMENT_IMAGE_H_
