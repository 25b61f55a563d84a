// What a DropoutMask of Python says, for the families that take one.

#ifndef REGKERN_BINDINGS_MASKS_H_
#define REGKERN_BINDINGS_MASKS_H_

#include <vector>

#include "arrays.h"
#include "regkern/dropout.h"

namespace regkern::bindings {

// The lengths of a shape tuple.
std::vector<std::ptrdiff_t> lengths(Arg arg, py::handle shape);

// The seed that `rng` is: an int, or what draws one. A draw is the last that happens before the work, and
// only where something is decided by it: else a generator stays as it is, and the seed is 0.
std::uint64_t seed_of(const char* function, py::handle rng, bool decides);

struct Mask {
  Bernoulli bernoulli;
  std::vector<std::ptrdiff_t> shape, noise;  // of the data; of the decisions, broadcast to it
  double scale;
};

// The tuple (seed, stream, shape, p, noise_shape or None, scale or None), checked.
Mask mask_of(const char* function, py::handle handle);

}  // namespace regkern::bindings

#endif  // REGKERN_BINDINGS_MASKS_H_
