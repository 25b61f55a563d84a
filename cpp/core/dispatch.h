// One function, many instruction sets.
//
// A family's .cc includes its kernels through hwy/foreach_target.h, once per instruction set, and exports one
// function that returns a table of pointers to them. REGKERN_TABLE(f) calls that of the instruction set in
// use. Highway gives the bodies and no more: its own choice lives in its library, which nothing needs at run
// time, and belongs to every other user of that library too.

#ifndef REGKERN_CORE_DISPATCH_H_
#define REGKERN_CORE_DISPATCH_H_

#include <algorithm>
#include <bit>
#include <cstddef>
#include <cstdint>

#include "hwy/highway.h"

namespace regkern {

// The instruction sets that may run now, as a mask of Highway's targets: the one in use and those below it,
// for files that are not compiled for the one in use. The lowest bit is the best.
std::int64_t targets_in_use();

// Where HWY_CHOOSE_TARGET_LIST has the best of the targets; targets without vectors stand behind its end.
inline std::size_t table_index(std::int64_t targets) {
  constexpr int kFirst = HWY_HIGHEST_TARGET_BIT + 1 - HWY_MAX_DYNAMIC_TARGETS;
  const int place = std::countr_zero(static_cast<std::uint64_t>(targets)) - kFirst;
  return static_cast<std::size_t>(std::min(place, HWY_MAX_DYNAMIC_TARGETS));
}

}  // namespace regkern

#define REGKERN_EXPORT(function)                                                       \
  static constexpr decltype(&HWY_STATIC_DISPATCH(function)) function##_of_target[] = { \
      HWY_CHOOSE_TARGET_LIST(function), &HWY_STATIC_DISPATCH(function)}
#define REGKERN_TABLE(function) \
  (function##_of_target[::regkern::table_index(::regkern::targets_in_use() & HWY_TARGETS)])()

#endif  // REGKERN_CORE_DISPATCH_H_
