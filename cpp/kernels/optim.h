// How the kernels of optimizer steps go over memory.

#ifndef REGKERN_KERNELS_OPTIM_H_
#define REGKERN_KERNELS_OPTIM_H_

#include "regkern/array.h"

namespace regkern {

struct Sweep {
  bool far = false;  // what is read comes from behind the second cache
  // Of half precision: that of the gradient and of what w is rounded to, behind the states, in place.
  Storage halves = Storage::kNative;
  bool follows = false;  // as Parameter::follows
};

}  // namespace regkern

#endif  // REGKERN_KERNELS_OPTIM_H_
