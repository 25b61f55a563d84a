// What core/fused.cc hands to the kernels of fused-inl.h.

#ifndef REGKERN_KERNELS_FUSED_H_
#define REGKERN_KERNELS_FUSED_H_

#include <cstdint>

#include "regkern/dropout.h"

namespace regkern {

// Which elements are kept, from number `first` of the mask on, and their factor.
struct Kept {
  const Bernoulli& mask;
  std::uint64_t first;
  double scale;
};

}  // namespace regkern

#endif  // REGKERN_KERNELS_FUSED_H_
