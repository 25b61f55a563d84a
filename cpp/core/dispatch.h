// One function, many instruction sets.
//
// A family's .cc includes its kernels through hwy/foreach_target.h, once per instruction set, and exports one
// function that returns a table of pointers to them. REGKERN_TABLE(f) calls that of the instruction set in
// use. The choice is ours and not Highway's global one, so that forcing it does not reach into other users of
// libhwy.

#ifndef REGKERN_CORE_DISPATCH_H_
#define REGKERN_CORE_DISPATCH_H_

#include "hwy/highway.h"

namespace regkern {

hwy::ChosenTarget& chosen_target();

}  // namespace regkern

#if (HWY_TARGETS & (HWY_TARGETS - 1)) == 0
#define REGKERN_TABLE(function) HWY_STATIC_DISPATCH(function)()
#else
#define REGKERN_TABLE(function) (HWY_DISPATCH_TABLE(function)[::regkern::chosen_target().GetIndex()])()
#endif

#endif  // REGKERN_CORE_DISPATCH_H_
