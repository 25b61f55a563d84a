// The table of a family's kernels, made of their list.
//
// A family's .cc names the namespace of its kernels, REGKERN_FAMILY, lists them, and includes this file, once
// for each instruction set as it is itself:
//
//   REGKERN_KERNELS(X)        the templates of the dtype: name<T>
//   REGKERN_PLAIN_KERNELS(X)  functions that are the same for every dtype, where there are any
//
// Each line becomes a member of Table<T>, whose type is that of the kernel, and its entry, by name. So a
// kernel's signature is written once, where it is defined, and no two can change places. table<T>() is the
// table of the instruction set in use.

#ifndef REGKERN_PLAIN_KERNELS
#define REGKERN_PLAIN_KERNELS(X)
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

}  // namespace
}  // namespace regkern

#endif  // REGKERN_CORE_TABLE_INL_H_

HWY_BEFORE_NAMESPACE();
namespace regkern {
namespace HWY_NAMESPACE {
namespace REGKERN_FAMILY {

template <class T>
constexpr Table<T> kTable = {REGKERN_KERNELS(REGKERN_ENTRY) REGKERN_PLAIN_KERNELS(REGKERN_PLAIN_ENTRY)};

}  // namespace REGKERN_FAMILY

static const Table<float>& table_f32() { return REGKERN_FAMILY::kTable<float>; }
static const Table<double>& table_f64() { return REGKERN_FAMILY::kTable<double>; }

}  // namespace HWY_NAMESPACE
}  // namespace regkern
HWY_AFTER_NAMESPACE();

#if HWY_ONCE
namespace regkern {

REGKERN_EXPORT_TABLES(Table, table);

}  // namespace regkern
#endif  // HWY_ONCE
