// What the kernel of one-dimensional total variation shares with its caller.

#ifndef REGKERN_KERNELS_TV1D_H_
#define REGKERN_KERNELS_TV1D_H_

#include <stddef.h>

namespace regkern {

// A knot of the string before x[at]; how far from it the borders lie there, so far without x.
struct StringKnot {
  size_t at;
  double below, above;  // -2t and 0 at the upper border, 0 and 2t at the lower one, -t and t at the start
};

// Neighbours of a hull that share a value: sum / count = slope.
struct HullBlock {
  double sum, count, slope;
};

// 1 / m in reciprocals[m] up to this length; longer ones are divided.
constexpr size_t kReciprocals = 4096;

// Rows of float32 up to this length are worked on in float64.
constexpr size_t kWidened = 8192;

// Scratch for rows of n elements.
struct StringRoom {
  double* sums;               // n + 1
  HullBlock *upper, *lower;   // n + 1 each; may be the memory of sums, which is not in use at the same time
  double* copy;               // n of the dtype, of double up to kWidened
  const double* reciprocals;  // kReciprocals + 1
};

}  // namespace regkern

#endif  // REGKERN_KERNELS_TV1D_H_
