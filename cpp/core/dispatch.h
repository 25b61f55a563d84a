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

// Exports name_f32 and name_f64, and defines table<float>() and table<double>() to call that of the
// instruction set in use.
#define REGKERN_EXPORT_TABLES(Table, name) \
  HWY_EXPORT(name##_f32);                  \
  HWY_EXPORT(name##_f64);                  \
  template <class T>                       \
  static const Table<T>& table() {         \
    if constexpr (sizeof(T) == 4) {        \
      return REGKERN_TABLE(name##_f32);    \
    } else {                               \
      return REGKERN_TABLE(name##_f64);    \
    }                                      \
  }                                        \
  static_assert(true, "")

#endif  // REGKERN_CORE_DISPATCH_H_
