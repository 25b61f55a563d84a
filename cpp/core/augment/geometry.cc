// The kernels that move pixels, one table a pixel type. The machine, which calls them, cuts the work.

#include "kernels/augment/geometry.h"

#undef HWY_TARGET_INCLUDE
#define HWY_TARGET_INCLUDE "core/augment/geometry.cc"
#include "hwy/foreach_target.h"

#include "core/dispatch.h"
#include "kernels/augment/geometry-inl.h"
#include "kernels/augment/resize-inl.h"
#include "kernels/augment/warp-inl.h"

HWY_BEFORE_NAMESPACE();
namespace regkern {
namespace HWY_NAMESPACE {

namespace augment {

template <class T>
constexpr GeometryTable<T> kGeometryTable = {.gather = &gather_rows<T>,
                                             .warp = &warp_rows<T>,
                                             .resize_across = &resize_across,
                                             .resize_down = &resize_down,
                                             .normalize = &normalize_rows<T>,
                                             .copy = &copy_rows<T>};

}  // namespace augment

const regkern::augment::GeometryTable<uint8_t>& geometry_table_u8() {
  return augment::kGeometryTable<uint8_t>;
}
const regkern::augment::GeometryTable<float>& geometry_table_f32() { return augment::kGeometryTable<float>; }

}  // namespace HWY_NAMESPACE
}  // namespace regkern
HWY_AFTER_NAMESPACE();

#if HWY_ONCE
namespace regkern {

REGKERN_EXPORT(geometry_table_u8);
REGKERN_EXPORT(geometry_table_f32);

namespace augment {

template <>
const GeometryTable<std::uint8_t>& geometry_table<std::uint8_t>() {
  return REGKERN_TABLE(geometry_table_u8);
}
template <>
const GeometryTable<float>& geometry_table<float>() {
  return REGKERN_TABLE(geometry_table_f32);
}

}  // namespace augment
}  // namespace regkern
#endif
