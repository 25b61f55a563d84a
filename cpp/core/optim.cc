#include "regkern/optim.h"

#undef HWY_TARGET_INCLUDE
#define HWY_TARGET_INCLUDE "core/optim.cc"
#include "hwy/foreach_target.h"

#include "core/dispatch.h"
#include "core/elementwise.h"
#include "kernels/optim-inl.h"

#ifndef REGKERN_OPTIM_TABLE
#define REGKERN_OPTIM_TABLE
namespace regkern {
template <class T>
struct OptimTable {
  void (*l2_decay)(const T* w, T* y, std::size_t n, double factor, bool stream);
  void (*sgd_step)(T* w, const T* grad, T* buffer, std::size_t n, const SgdOptions<T>& options);
};
}  // namespace regkern
#endif

HWY_BEFORE_NAMESPACE();
namespace regkern {
namespace HWY_NAMESPACE {

template <class T>
constexpr OptimTable<T> kOptimTable = {&l2_decay<T>, &sgd_step_any<T>};

const OptimTable<float>& optim_table_f32() { return kOptimTable<float>; }
const OptimTable<double>& optim_table_f64() { return kOptimTable<double>; }

}  // namespace HWY_NAMESPACE
}  // namespace regkern
HWY_AFTER_NAMESPACE();

#if HWY_ONCE
namespace regkern {

REGKERN_EXPORT_TABLES(OptimTable, optim_table);

template <class T>
void l2_decay(const Extents& shape, In<T> w, Out<T> y, double factor) {
  const auto kernel = table<T>().l2_decay;
  for_elements(
      shape, Order::kAny,
      [=](std::size_t, std::size_t n, bool stream, const T* from, T* to) {
        kernel(from, to, n, factor, stream);
      },
      w, y);
}

template <class T>
void sgd_step(const Extents& shape, InOut<T> w, In<T> grad, InOut<T> buffer, const SgdOptions<T>& options) {
  const auto kernel = table<T>().sgd_step;
  if (buffer.data == nullptr) {
    for_elements(
        shape, Order::kAny,
        [&](std::size_t, std::size_t n, bool, T* to, const T* g) { kernel(to, g, nullptr, n, options); }, w,
        grad);
  } else {
    for_elements(
        shape, Order::kAny,
        [&](std::size_t, std::size_t n, bool, T* to, const T* g, T* b) { kernel(to, g, b, n, options); }, w,
        grad, buffer);
  }
}

#define REGKERN_INSTANTIATE(T)                                   \
  template void l2_decay(const Extents&, In<T>, Out<T>, double); \
  template void sgd_step(const Extents&, InOut<T>, In<T>, InOut<T>, const SgdOptions<T>&);
REGKERN_INSTANTIATE(float)
REGKERN_INSTANTIATE(double)
#undef REGKERN_INSTANTIATE

}  // namespace regkern
#endif  // HWY_ONCE
