// Pictures as the machine sees them.

#ifndef REGKERN_CORE_AUGMENT_PICTURES_H_
#define REGKERN_CORE_AUGMENT_PICTURES_H_

#include <cstddef>
#include <cstdint>

#include "core/augment/maps.h"
#include "kernels/augment/pictures.h"
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

// The first image of a batch, and whether its rows, and those of all others, are what the kernels call rows.
struct Origin {
  explicit Origin(const Images& x) {
    const std::ptrdiff_t size = bytes_of(x.pixel);
    first = {x.data, x.pixel, {x.height, x.width}, x.stride_y / size, x.stride_x / size, x.stride_c / size};
    if (x.channels == 1) first.channel_stride = 1;
    if (x.width == 1) first.pixel_stride = first.channel_stride == 1 ? x.channels : 1;
    const std::ptrdiff_t all = x.stride_n | x.stride_y | x.stride_x | x.stride_c |
                               static_cast<std::ptrdiff_t>(reinterpret_cast<std::uintptr_t>(x.data));
    in_order = all % size == 0 && is_row(x.channels, first.pixel_stride, first.channel_stride);
  }
  Source first;
  bool in_order;
};

template <class T>
bool is_interleaved(const Picture<T>& p) {
  return p.channel_stride == 1 && p.pixel_stride == p.channels;
}

template <class A, class B>
bool alike(const Picture<A>& a, const Picture<B>& b) {
  return a.channels == 1 ? a.pixel_stride == b.pixel_stride : is_interleaved(a) == is_interleaved(b);
}

template <class T>
Picture<const T> as_const(const Picture<T>& p) {
  return {p.data, p.height, p.width, p.channels, p.row_stride, p.pixel_stride, p.channel_stride};
}

template <class T>
Picture<T> rows_of(const Picture<T>& p, std::ptrdiff_t y, std::ptrdiff_t n) {
  return {p.data + y * p.row_stride, n, p.width, p.channels, p.row_stride, p.pixel_stride, p.channel_stride};
}

}  // namespace regkern::augment

#endif  // REGKERN_CORE_AUGMENT_PICTURES_H_
