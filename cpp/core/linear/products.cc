// Which instruction set's products run.

#include "core/linear/products.h"

#undef HWY_TARGET_INCLUDE
#define HWY_TARGET_INCLUDE "core/linear/products.cc"
#include "hwy/foreach_target.h"

#include "core/dispatch.h"
#include "kernels/linear/products-inl.h"

HWY_BEFORE_NAMESPACE();
namespace regkern {
namespace HWY_NAMESPACE {

static const linear::Products& linear_table() {
  static const linear::Products kTable = {&linear_products::dot,          &linear_products::axpy,
                                          &linear_products::axpys,        &linear_products::dots,
                                          linear_products::panel_width(), &linear_products::pack_panel,
                                          &linear_products::panel_dots};
  return kTable;
}

}  // namespace HWY_NAMESPACE
}  // namespace regkern
HWY_AFTER_NAMESPACE();

#if HWY_ONCE
namespace regkern {

REGKERN_EXPORT(linear_table);

namespace linear {

const Products& products() { return REGKERN_TABLE(linear_table); }

}  // namespace linear
}  // namespace regkern
#endif  // HWY_ONCE
