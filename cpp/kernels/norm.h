// The coefficients that core/norm.cc hands to the kernels of norm-inl.h.

#ifndef REGKERN_KERNELS_NORM_H_
#define REGKERN_KERNELS_NORM_H_

#include <cstddef>

namespace regkern {

inline constexpr std::size_t kMaxLanes = 16;  // float32 in 512 bits

// y = (x − mean)·scale + shift, a number a channel each. A mean that float32 cannot hold loses its last
// digits to `shift`.
template <class T>
struct AffineArrays {
  const T *mean, *scale, *shift;
};

// dx = (dy − (a + (x − mean)·b))·scale; with weights w, dx = (dy − w·(a + (x − mean)·b))·scale.
template <class T>
struct GradientArrays {
  const T *mean, *scale, *a, *b;
};

}  // namespace regkern

#endif  // REGKERN_KERNELS_NORM_H_
