// The coefficients that core/norm.cc hands to the kernels of norm-inl.h.

#ifndef REGKERN_KERNELS_NORM_H_
#define REGKERN_KERNELS_NORM_H_

#include <cstddef>

namespace regkern {

inline constexpr std::size_t kMaxLanes = 16;  // float32 in 512 bits

template <class T>
struct Affine {
  T mean, mean_low, scale, shift;
};

template <class T>
struct Gradient {
  T mean, mean_low, scale, a, b;
};

template <class T>
struct AffineArrays {
  const T *mean, *mean_low, *scale, *shift;
};

template <class T>
struct GradientArrays {
  const T *mean, *mean_low, *scale, *a, *b;
};

}  // namespace regkern

#endif  // REGKERN_KERNELS_NORM_H_
