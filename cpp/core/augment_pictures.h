// Pictures as the machine sees them.

#ifndef REGKERN_CORE_AUGMENT_PICTURES_H_
#define REGKERN_CORE_AUGMENT_PICTURES_H_

#include <cstddef>

#include "core/augment_maps.h"
#include "kernels/augment.h"
#include "regkern/augment.h"

namespace regkern::augment {

// An image whose type is known at run time. Strides count elements.
struct Source {
  const void* data;
  Pixel pixel;
  Size size;
  std::ptrdiff_t row_stride, pixel_stride, channel_stride;
};

// Whether a row of it is what the kernels call a row.
inline bool is_row(std::ptrdiff_t channels, std::ptrdiff_t pixel_stride, std::ptrdiff_t channel_stride) {
  return pixel_stride == 1 || (channel_stride == 1 && pixel_stride == channels);
}

template <class T>
bool is_interleaved(const Picture<T>& p) {
  return p.channel_stride == 1 && p.pixel_stride == p.channels;
}

template <class A, class B>
bool alike(const Picture<A>& a, const Picture<B>& b) {
  return a.channels == 1 ? a.pixel_stride == b.pixel_stride : is_interleaved(a) == is_interleaved(b);
}

template <class T>
Picture<T> rows_of(Picture<T> p, std::ptrdiff_t y, std::ptrdiff_t n) {
  p.data += y * p.row_stride;
  p.height = n;
  return p;
}

}  // namespace regkern::augment

#endif  // REGKERN_CORE_AUGMENT_PICTURES_H_
