// What core/linear/likelihood.cc hands to the kernels of likelihood-inl.h.

#ifndef REGKERN_KERNELS_LINEAR_LIKELIHOOD_H_
#define REGKERN_KERNELS_LINEAR_LIKELIHOOD_H_

#include <cstddef>

namespace regkern::linear {

// A stretch of samples: linear predictors z, of several classes `stride` apart, labels, and weights.
struct Stretch {
  const double *z, *y, *s;
  std::size_t n, classes, stride;
};

// What is made of it beside the loss: means μ, 1 − μ (of two classes alone) and s·(y − μ). mean null:
// nothing.
struct Means {
  double *mean, *rest, *slope;
};

// Means μ and q = from + scale·t/s, 0 where that is below 0.
struct Between {
  const double *mean, *from, *t, *s;
  double scale;
};

}  // namespace regkern::linear

#endif  // REGKERN_KERNELS_LINEAR_LIKELIHOOD_H_
