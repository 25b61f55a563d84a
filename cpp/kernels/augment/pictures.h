// What the kernels of augmentation and the machine that runs them share: rows of pixels, and tables of
// functions.

#ifndef REGKERN_KERNELS_AUGMENT_PICTURES_H_
#define REGKERN_KERNELS_AUGMENT_PICTURES_H_

#include <cstddef>
#include <cstdint>

#include "regkern/augment.h"

namespace regkern::augment {

// A row of pixels: interleaved (pixel_stride = channels, channel_stride = 1) or planar (pixel_stride = 1).
// Strides count elements.
template <class T>
struct Row {
  T* data;
  std::ptrdiff_t width, channels;
  std::ptrdiff_t pixel_stride, channel_stride;
};

// An image in memory whose rows are such rows.
template <class T>
struct Picture {
  T* data;
  std::ptrdiff_t height, width, channels;
  std::ptrdiff_t row_stride, pixel_stride, channel_stride;  // elements

  Row<T> row(std::ptrdiff_t y) const {
    return {data + y * row_stride, width, channels, pixel_stride, channel_stride};
  }
};

// Whether a kernel writes around the cache, and what it fetches into the second one meanwhile: as many bytes
// from `ahead` on as it reads, or nullptr.
struct Streaming {
  bool on = false;
  const void* ahead = nullptr;
};

}  // namespace regkern::augment

#endif  // REGKERN_KERNELS_AUGMENT_PICTURES_H_
