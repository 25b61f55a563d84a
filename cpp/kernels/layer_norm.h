// The coefficients that core/layer_norm.cc hands to the kernels of layer_norm-inl.h.

#ifndef REGKERN_KERNELS_LAYER_NORM_H_
#define REGKERN_KERNELS_LAYER_NORM_H_

#include <cstddef>

namespace regkern {

inline constexpr std::size_t kRowBlock = 4096;  // elements that the second pass finds in the L1 cache

template <class T>
struct RowAffine {
  T mean, mean_low, scale, shift;
};

template <class T>
struct RowGradient {
  T mean, mean_low, scale, gamma, a, b;
};

}  // namespace regkern

#endif  // REGKERN_KERNELS_LAYER_NORM_H_
