// The coefficients that core/norm.cc hands to the kernels beside it.

#ifndef REGKERN_KERNELS_NORM_NORM_H_
#define REGKERN_KERNELS_NORM_NORM_H_

#include <cstddef>

namespace regkern {

inline constexpr std::size_t kMaxLanes = 16;  // float32 in 512 bits

// Rows of memory, `stride` elements from one to the next.
template <class T>
struct RowsOf {
  const T* data;
  std::ptrdiff_t stride;
};

// y = (x − mean)·scale + shift, a number a channel each. A mean that float32 cannot hold loses its last
// digits to `shift`. T is const where they are read.
template <class T>
struct AffineArrays {
  T *mean, *scale, *shift;
};

// dx = (dy − (a + (x − mean)·b))·scale; with weights w, dx = (dy − w·(a + (x − mean)·b))·scale.
template <class T>
struct GradientArrays {
  T *mean, *scale, *a, *b;
};

// What these come from: gamma may be nullptr, which is 1.
template <class T>
struct ChannelGradient {
  const double *mean, *invstd;
  const T* gamma;
  const double *sum_dy, *sum_dev;
};

// The operands of a gradient, over one piece of memory. w: nullptr where all weights are 1.
template <class T>
struct GradientPiece {
  const T *x, *dy, *w;
  T* dx;
};

}  // namespace regkern

#endif  // REGKERN_KERNELS_NORM_NORM_H_
