// Numbers of two bytes, widened to float and rounded from it.

#ifndef REGKERN_CORE_HALF_H_
#define REGKERN_CORE_HALF_H_

#include <cstddef>
#include <cstdint>

#include "regkern/array.h"

namespace regkern {

// to[i] = the float that from[i] is; from[i] = to[i] rounded to nearest even. `storage` is not kNative. No
// address has to be aligned.
void widen(Storage storage, const void* from, float* to, std::size_t n);
void narrow(Storage storage, const float* from, void* to, std::size_t n);

// to[i] = from[i] but where to[i] rounds to that, to the bit or from NaN to NaN.
void follow(Storage storage, const void* from, float* to, std::size_t n);

}  // namespace regkern

#endif  // REGKERN_CORE_HALF_H_
