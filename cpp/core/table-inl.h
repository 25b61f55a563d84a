// The table of a family's kernels, made of their list.
//
// A family's .cc names the namespace of its kernels, REGKERN_FAMILY, lists them, and includes this file, once
// for each instruction set as it is itself:
//
//   REGKERN_KERNELS(X)        the templates of the dtype: name<T>
//   REGKERN_PLAIN_KERNELS(X)  functions that are the same for every dtype, where there are any
//   REGKERN_HALF_KERNELS(X)   those of the templates that read and write numbers of two bytes, too, where
//                             there are any
//
// Each line becomes a member of Table<T>, whose type is that of the kernel, and its entry, by name. So a
// kernel's signature is written once, where it is defined, and no two can change places. table<T>() is the
// table of the instruction set in use, table<HalfBfloat16>() and table<HalfFloat16>() have the third list.

#ifndef REGKERN_PLAIN_KERNELS
#define REGKERN_PLAIN_KERNELS(X)
#endif

#include <type_traits>

#ifdef REGKERN_HALF_KERNELS
#include "kernels/half.h"
#endif

#ifndef REGKERN_CORE_TABLE_INL_H_
#define REGKERN_CORE_TABLE_INL_H_

#define REGKERN_MEMBER(name) decltype(&HWY_NAMESPACE::REGKERN_FAMILY::name<T>) name;
#define REGKERN_PLAIN_MEMBER(name) decltype(&HWY_NAMESPACE::REGKERN_FAMILY::name) name;
#define REGKERN_ENTRY(name) .name = &name<T>,
#define REGKERN_PLAIN_ENTRY(name) .name = &name,

namespace regkern {
namespace {

template <class T>
struct Table {
  REGKERN_KERNELS(REGKERN_MEMBER)
  REGKERN_PLAIN_KERNELS(REGKERN_PLAIN_MEMBER)
};

#ifdef REGKERN_HALF_KERNELS
template <class T>
struct HalfTable {
  REGKERN_HALF_KERNELS(REGKERN_MEMBER)
};
#endif

}  // namespace
}  // namespace regkern

#endif  // REGKERN_CORE_TABLE_INL_H_

HWY_BEFORE_NAMESPACE();
namespace regkern {
namespace HWY_NAMESPACE {
namespace REGKERN_FAMILY {

template <class T>
constexpr Table<T> kTable = {REGKERN_KERNELS(REGKERN_ENTRY) REGKERN_PLAIN_KERNELS(REGKERN_PLAIN_ENTRY)};

#ifdef REGKERN_HALF_KERNELS
template <class T>
constexpr HalfTable<T> kHalfTable = {REGKERN_HALF_KERNELS(REGKERN_ENTRY)};
#endif

}  // namespace REGKERN_FAMILY

static const Table<float>& table_f32() { return REGKERN_FAMILY::kTable<float>; }
static const Table<double>& table_f64() { return REGKERN_FAMILY::kTable<double>; }
#ifdef REGKERN_HALF_KERNELS
static const HalfTable<HalfBfloat16>& table_bf16() { return REGKERN_FAMILY::kHalfTable<HalfBfloat16>; }
static const HalfTable<HalfFloat16>& table_f16() { return REGKERN_FAMILY::kHalfTable<HalfFloat16>; }
#endif

}  // namespace HWY_NAMESPACE
}  // namespace regkern
HWY_AFTER_NAMESPACE();

#if HWY_ONCE
namespace regkern {

REGKERN_EXPORT(table_f32);
REGKERN_EXPORT(table_f64);
#ifdef REGKERN_HALF_KERNELS
REGKERN_EXPORT(table_bf16);
REGKERN_EXPORT(table_f16);
#endif

template <class T>
static const auto& table() {
  if constexpr (std::is_same_v<T, float>) {
    return REGKERN_TABLE(table_f32);
  } else if constexpr (std::is_same_v<T, double>) {
    return REGKERN_TABLE(table_f64);
#ifdef REGKERN_HALF_KERNELS
  } else if constexpr (std::is_same_v<T, HalfBfloat16>) {
    return REGKERN_TABLE(table_bf16);
  } else {
    return REGKERN_TABLE(table_f16);
#endif
  }
}

}  // namespace regkern
#endif  // HWY_ONCE
