// The kernels of batch norm for numbers of two bytes.

#if defined(REGKERN_KERNELS_NORM_HALVES_INL_H_) == defined(HWY_TARGET_TOGGLE)
#ifdef REGKERN_KERNELS_NORM_HALVES_INL_H_
#undef REGKERN_KERNELS_NORM_HALVES_INL_H_
#else
#define REGKERN_KERNELS_NORM_HALVES_INL_H_
#endif

#include "kernels/norm/columns-inl.h"
#include "kernels/norm/passes-inl.h"
#include "kernels/norm/planes-inl.h"

HWY_BEFORE_NAMESPACE();
namespace regkern {
namespace HWY_NAMESPACE {
namespace norm {

template <class E>
constexpr HalfKernels kHalfKernels = {.moments = &moments<E>,
                                      .gradient_sums = &gradient_sums<E>,
                                      .column_moments = &column_moments<E>,
                                      .column_gradient_sums = &column_gradient_sums<E>,
                                      .apply = &apply<E>,
                                      .apply_gradient = &apply_gradient<E>,
                                      .apply_cyclic = &apply_cyclic<E>,
                                      .apply_gradient_cyclic = &apply_gradient_cyclic<E>};

inline constexpr HalfKernels bfloat16 = kHalfKernels<half::Bfloat16>;
#if REGKERN_F16C
inline constexpr HalfKernels float16 = kHalfKernels<half::Float16>;
#else
inline constexpr HalfKernels float16 = {};
#endif

}  // namespace norm
}  // namespace HWY_NAMESPACE
}  // namespace regkern
HWY_AFTER_NAMESPACE();

#endif  // REGKERN_KERNELS_NORM_HALVES_INL_H_
