// The coefficients that core/norm.cc hands to the kernels of norm-inl.h.

#ifndef REGKERN_KERNELS_NORM_H_
#define REGKERN_KERNELS_NORM_H_

#include <cstddef>

namespace regkern {

inline constexpr std::size_t kMaxLanes = 16;  // float32 in 512 bits

// y = (x − mean)·scale + shift. A mean that float32 cannot hold loses its last digits to `shift`.
template <class T>
struct Affine {
  T mean, scale, shift;
};

// dx = (dy − a)·scale − (x − mean)·b, the first and last term weighted where the statistics are.
template <class T>
struct Gradient {
  T mean, scale, a, b;
};

// The same, an array each.
template <class T>
struct AffineArrays {
  const T *mean, *scale, *shift;
};

template <class T>
struct GradientArrays {
  const T *mean, *scale, *a, *b;
};

}  // namespace regkern

#endif  // REGKERN_KERNELS_NORM_H_
