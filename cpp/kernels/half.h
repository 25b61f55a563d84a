// Numbers of two bytes, as kernels see them that read and write them where they lie.

#ifndef REGKERN_KERNELS_HALF_H_
#define REGKERN_KERNELS_HALF_H_

#include <cstdint>

#include "regkern/array.h"

namespace regkern {

// The bits of one number.
template <Storage kStorage>
struct Half {
  std::uint16_t bits;
};
using HalfBfloat16 = Half<Storage::kBfloat16>;
using HalfFloat16 = Half<Storage::kFloat16>;

// What is computed with numbers of T.
template <class T>
struct LaneOf {
  using Type = T;
};
template <Storage kStorage>
struct LaneOf<Half<kStorage>> {
  using Type = float;
};
template <class T>
using Lane = typename LaneOf<T>::Type;

}  // namespace regkern

#endif  // REGKERN_KERNELS_HALF_H_
