#include "regkern/prox.h"

#undef HWY_TARGET_INCLUDE
#define HWY_TARGET_INCLUDE "core/prox.cc"
#include "hwy/foreach_target.h"

#include "core/dispatch.h"
#include "core/elementwise.h"
#include "kernels/prox-inl.h"

#ifndef REGKERN_PROX_TABLE
#define REGKERN_PROX_TABLE
namespace regkern {
template <class T>
struct ProxTable {
  void (*prox_l1)(const T* x, T* y, std::size_t n, T threshold, bool stream);
  void (*prox_l1_nonneg)(const T* x, T* y, std::size_t n, T threshold, bool stream);
  void (*prox_l1_weighted)(const T* x, const T* w, T* y, std::size_t n, T threshold, bool stream);
  void (*prox_l1_weighted_nonneg)(const T* x, const T* w, T* y, std::size_t n, T threshold, bool stream);
  void (*prox_elastic_net)(const T* x, T* y, std::size_t n, T threshold, T divisor, bool stream);
  void (*prox_ridge)(const T* x, T* y, std::size_t n, T divisor, bool stream);
  double (*l1_norm)(const T* x, std::size_t n);
  double (*squared_l2_norm)(const T* x, std::size_t n);
};
}  // namespace regkern
#endif

HWY_BEFORE_NAMESPACE();
namespace regkern {
namespace HWY_NAMESPACE {

template <class T>
constexpr ProxTable<T> kProxTable = {
    &prox_l1<T>,          &prox_l1_nonneg<T>, &prox_l1_weighted<T>, &prox_l1_weighted_nonneg<T>,
    &prox_elastic_net<T>, &prox_ridge<T>,     &l1_norm<T>,          &squared_l2_norm<T>};

const ProxTable<float>& prox_table_f32() { return kProxTable<float>; }
const ProxTable<double>& prox_table_f64() { return kProxTable<double>; }

}  // namespace HWY_NAMESPACE
}  // namespace regkern
HWY_AFTER_NAMESPACE();

#if HWY_ONCE
namespace regkern {

REGKERN_EXPORT_TABLES(ProxTable, prox_table);

template <class T>
void prox_l1(const Extents& shape, In<T> x, Out<T> y, T threshold, bool nonneg, In<T> weights) {
  const ProxTable<T>& k = table<T>();
  if (weights.data == nullptr) {
    const auto kernel = nonneg ? k.prox_l1_nonneg : k.prox_l1;
    for_elements(
        shape, Order::kAny,
        [=](std::size_t, std::size_t n, bool stream, const T* from, T* to) {
          kernel(from, to, n, threshold, stream);
        },
        x, y);
  } else {
    const auto kernel = nonneg ? k.prox_l1_weighted_nonneg : k.prox_l1_weighted;
    for_elements(
        shape, Order::kAny,
        [=](std::size_t, std::size_t n, bool stream, const T* from, const T* w, T* to) {
          kernel(from, w, to, n, threshold, stream);
        },
        x, weights, y);
  }
}

template <class T>
void prox_elastic_net(const Extents& shape, In<T> x, Out<T> y, T threshold, T divisor) {
  const auto kernel = table<T>().prox_elastic_net;
  for_elements(
      shape, Order::kAny,
      [=](std::size_t, std::size_t n, bool stream, const T* from, T* to) {
        kernel(from, to, n, threshold, divisor, stream);
      },
      x, y);
}

template <class T>
void prox_ridge(const Extents& shape, In<T> x, Out<T> y, T divisor) {
  const auto kernel = table<T>().prox_ridge;
  for_elements(
      shape, Order::kAny,
      [=](std::size_t, std::size_t n, bool stream, const T* from, T* to) {
        kernel(from, to, n, divisor, stream);
      },
      x, y);
}

template <class T>
double l1_norm(const Extents& shape, In<T> x) {
  return sum_elements(shape, table<T>().l1_norm, x);
}

template <class T>
double squared_l2_norm(const Extents& shape, In<T> x) {
  return sum_elements(shape, table<T>().squared_l2_norm, x);
}

#define REGKERN_INSTANTIATE(T)                                          \
  template void prox_l1(const Extents&, In<T>, Out<T>, T, bool, In<T>); \
  template void prox_elastic_net(const Extents&, In<T>, Out<T>, T, T);  \
  template void prox_ridge(const Extents&, In<T>, Out<T>, T);           \
  template double l1_norm(const Extents&, In<T>);                       \
  template double squared_l2_norm(const Extents&, In<T>);
REGKERN_INSTANTIATE(float)
REGKERN_INSTANTIATE(double)
#undef REGKERN_INSTANTIATE

}  // namespace regkern
#endif  // HWY_ONCE
