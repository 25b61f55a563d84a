// Half precision by the instruction set in use.

#include "core/half.h"

#undef HWY_TARGET_INCLUDE
#define HWY_TARGET_INCLUDE "core/half.cc"
#include "hwy/foreach_target.h"

#include "core/dispatch.h"
#include "kernels/half-inl.h"

#ifndef REGKERN_CORE_HALF_TABLE
#define REGKERN_CORE_HALF_TABLE
namespace regkern {
namespace {

struct HalfTable {
  void (*widen_bfloat16)(const void*, float*, std::size_t);
  void (*widen_float16)(const void*, float*, std::size_t);
  void (*narrow_bfloat16)(const float*, void*, std::size_t);
  void (*narrow_float16)(const float*, void*, std::size_t);
  void (*follow_bfloat16)(const void*, float*, std::size_t);
  void (*follow_float16)(const void*, float*, std::size_t);
};

}  // namespace
}  // namespace regkern
#endif  // REGKERN_CORE_HALF_TABLE

HWY_BEFORE_NAMESPACE();
namespace regkern {
namespace HWY_NAMESPACE {

constexpr HalfTable kHalfTable = {.widen_bfloat16 = &half::widen_bfloat16,
                                  .widen_float16 = &half::widen_float16,
                                  .narrow_bfloat16 = &half::narrow_bfloat16,
                                  .narrow_float16 = &half::narrow_float16,
                                  .follow_bfloat16 = &half::follow_bfloat16,
                                  .follow_float16 = &half::follow_float16};

static const HalfTable& half_table() { return kHalfTable; }

}  // namespace HWY_NAMESPACE
}  // namespace regkern
HWY_AFTER_NAMESPACE();

#if HWY_ONCE
namespace regkern {

REGKERN_EXPORT(half_table);

void widen(Storage storage, const void* from, float* to, std::size_t n) {
  const HalfTable& k = REGKERN_TABLE(half_table);
  (storage == Storage::kBfloat16 ? k.widen_bfloat16 : k.widen_float16)(from, to, n);
}

void narrow(Storage storage, const float* from, void* to, std::size_t n) {
  const HalfTable& k = REGKERN_TABLE(half_table);
  (storage == Storage::kBfloat16 ? k.narrow_bfloat16 : k.narrow_float16)(from, to, n);
}

void follow(Storage storage, const void* from, float* to, std::size_t n) {
  const HalfTable& k = REGKERN_TABLE(half_table);
  (storage == Storage::kBfloat16 ? k.follow_bfloat16 : k.follow_float16)(from, to, n);
}

}  // namespace regkern
#endif  // HWY_ONCE
