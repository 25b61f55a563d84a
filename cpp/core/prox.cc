// Proximal operators element by element, and norms. Threads share blocks of elements; the sums of blocks
// are added in their order.

#include "regkern/prox.h"

#include <algorithm>
#include <atomic>
#include <cmath>
#include <limits>

#undef HWY_TARGET_INCLUDE
#define HWY_TARGET_INCLUDE "core/prox.cc"
#include "hwy/foreach_target.h"

#include "core/dispatch.h"
#include "core/elementwise.h"
#include "kernels/prox.h"
#include "kernels/prox-inl.h"

#define REGKERN_FAMILY prox
#define REGKERN_KERNELS(X)     \
  X(prox_l1)                   \
  X(prox_l1_nonneg)            \
  X(prox_l1_weighted)          \
  X(prox_l1_weighted_nonneg)   \
  X(prox_elastic_net)          \
  X(prox_ridge)                \
  X(prox_elastic_net_weighted) \
  X(prox_ridge_weighted)       \
  X(hard_threshold)            \
  X(firm_threshold)            \
  X(prox_l_half)               \
  X(prox_log_sum)              \
  X(prox_huber)                \
  X(project_box)               \
  X(project_box_each)          \
  X(ordered)                   \
  X(l1_norm)                   \
  X(squared_l2_norm)
#define REGKERN_HALF_KERNELS(X) \
  X(prox_l1)                    \
  X(prox_l1_nonneg)             \
  X(prox_elastic_net)           \
  X(prox_ridge)                 \
  X(l1_norm)                    \
  X(squared_l2_norm)
#include "core/table-inl.h"

#if HWY_ONCE
namespace regkern {
namespace {

// y = kernel(x, parameters...), element by element.
template <class T, class Kernel, class... Parameters>
void map_elements(const Extents& shape, In<T> x, Out<T> y, Kernel kernel, Parameters... parameters) {
  for_elements(
      shape, Order::kAny,
      [=](std::size_t, std::size_t n, bool stream, const T* from, T* to) {
        kernel(from, to, n, parameters..., stream);
      },
      x, y);
}

// Whether a number of a formula keeps its digits in T; 0 and Inf are meant.
template <class T>
bool keeps(double v) {
  using Limits = std::numeric_limits<T>;
  return v == 0 || std::isinf(v) ||
         (v >= static_cast<double>(Limits::min()) && v <= static_cast<double>(Limits::max()));
}

// y = kernel(x, weights, parameters...), element by element.
template <class T, class Kernel, class... Parameters>
void map_weighted(const Extents& shape, In<T> x, In<T> weights, Out<T> y, Kernel kernel,
                  Parameters... parameters) {
  for_elements(
      shape, Order::kAny,
      [=](std::size_t, std::size_t n, bool stream, const T* from, const T* w, T* to) {
        kernel(from, w, to, n, parameters..., stream);
      },
      x, weights, y);
}

// y = kernel(x, parameters...) by the kernel of T, or, where a parameter is out of T's range, by that of
// double: float32 data may have a result in range where the numbers on the way are not.
template <class T, class Kernel, class Wide, class... Parameters>
void map_in_range(const Extents& shape, In<T> x, Out<T> y, Kernel kernel, Wide wide,
                  Parameters... parameters) {
  if ((keeps<T>(parameters) && ...)) {
    map_elements(shape, x, y, kernel, static_cast<T>(parameters)...);
    return;
  }
  for_elements(
      shape, Order::kAny,
      [=](std::size_t, std::size_t n, bool, const T* from, T* to) {
        double block[kBlock];
        for (std::size_t first = 0; first < n; first += kBlock) {
          const std::size_t length = std::min(kBlock, n - first);
          std::copy_n(from + first, length, block);
          wide(block, block, length, parameters..., false);
          for (std::size_t i = 0; i < length; ++i)
            to[first + i] = static_cast<T>(block[i]) + T(0);  // not −0.0
        }
      },
      x, y);
}

// The value of |x| from which on the proximal operator of t·log(1 + |y|/eps) is not 0.
double log_sum_cut(double t, double eps) {
  const double tau = t / eps / eps;
  if (!(tau > 1) || std::isinf(tau)) return t / eps;
  // The objective is not convex: y = eps·u beats 0 where τ·(log(1 + u) − u/(1 + u)) > u²/2, with
  // x = y + t/(eps + y). Bisection until there is no number between.
  double low = 0, high = 2 * tau;
  for (;;) {
    const double u = low + (high - low) / 2;
    if (!(low < u && u < high)) break;
    (tau * (std::log1p(u) - u / (1 + u)) > u * u / 2 ? low : high) = u;
  }
  return eps * low + t / (eps + eps * low);
}

constexpr double kInf = std::numeric_limits<double>::infinity();

}  // namespace

template <class T>
void prox_l1(const Extents& shape, In<T> x, Out<T> y, T threshold, bool nonneg, In<T> weights) {
  if (weights.data == nullptr) {
    return as_stored(x, y, [&]<class E>(In<E> from, Out<E> to) {
      const auto& k = table<E>();
      map_elements(shape, from, to, nonneg ? k.prox_l1_nonneg : k.prox_l1, threshold);
    });
  }
  const Table<T>& k = table<T>();
  map_weighted(shape, x, weights, y, nonneg ? k.prox_l1_weighted_nonneg : k.prox_l1_weighted, threshold);
}

template <class T>
void prox_elastic_net(const Extents& shape, In<T> x, Out<T> y, T threshold, T factor) {
  as_stored(x, y, [&]<class E>(In<E> from, Out<E> to) {
    map_elements(shape, from, to, table<E>().prox_elastic_net, threshold, factor);
  });
}

template <class T>
void prox_ridge(const Extents& shape, In<T> x, Out<T> y, T factor) {
  as_stored(x, y, [&]<class E>(In<E> from, Out<E> to) {
    map_elements(shape, from, to, table<E>().prox_ridge, factor);
  });
}

template <class T>
void prox_elastic_net(const Extents& shape, In<T> x, Out<T> y, T threshold, T shrink, In<T> weights) {
  map_weighted(shape, x, weights, y, table<T>().prox_elastic_net_weighted, threshold, shrink);
}

template <class T>
void prox_ridge(const Extents& shape, In<T> x, Out<T> y, T shrink, In<T> weights) {
  map_weighted(shape, x, weights, y, table<T>().prox_ridge_weighted, shrink);
}

template <class T>
void prox_l0(const Extents& shape, In<T> x, Out<T> y, double threshold) {
  map_elements(shape, x, y, table<T>().hard_threshold, static_cast<T>(std::sqrt(2 * threshold)));
}

template <class T>
void prox_l_half(const Extents& shape, In<T> x, Out<T> y, double threshold) {
  map_in_range(shape, x, y, table<T>().prox_l_half, table<double>().prox_l_half, threshold / 2,
               std::isinf(threshold) ? kInf : 0.0);
}

template <class T>
void prox_mcp(const Extents& shape, In<T> x, Out<T> y, double threshold, double gamma, double step) {
  const double strength = threshold / step;
  if (gamma <= step) {  // concave up to the end: all or nothing
    map_elements(shape, x, y, table<T>().hard_threshold, static_cast<T>(strength * std::sqrt(gamma * step)));
    return;
  }
  const auto t = static_cast<T>(threshold);
  map_elements(shape, x, y, table<T>().firm_threshold,
               Firm<T>{t, t, t, static_cast<T>(1 - step / gamma), static_cast<T>(gamma * strength)});
}

template <class T>
void prox_scad(const Extents& shape, In<T> x, Out<T> y, double threshold, double a, double step) {
  const double strength = threshold / step;
  double t = threshold, knee, shift, divisor, far;
  if (step < a - 1) {
    knee = strength + threshold;
    shift = a * threshold / (a - 1);
    divisor = 1 - step / (a - 1);
    far = a * strength;
  } else {  // concave between the soft threshold and the identity: a jump from one to the other
    knee = far = strength * (step <= a + 1 ? (a + 1 + step) / 2 : std::sqrt(step * (a + 1)));
    t = std::min(threshold, knee);
    shift = 0;
    divisor = 1;
  }
  map_elements(shape, x, y, table<T>().firm_threshold,
               Firm<T>{static_cast<T>(t), static_cast<T>(knee), static_cast<T>(shift),
                       static_cast<T>(divisor), static_cast<T>(far)});
}

template <class T>
void prox_log_sum(const Extents& shape, In<T> x, Out<T> y, double threshold, double eps) {
  map_in_range(shape, x, y, table<T>().prox_log_sum, table<double>().prox_log_sum, 2 * threshold,
               2 * std::sqrt(threshold), eps, log_sum_cut(threshold, eps));
}

template <class T>
void prox_huber(const Extents& shape, In<T> x, Out<T> y, double shrink, double delta) {
  map_in_range(shape, x, y, table<T>().prox_huber, table<double>().prox_huber, 1 + shrink, shrink * delta,
               delta * (1 + shrink));
}

template <class T>
void project_box(const Extents& shape, In<T> x, Out<T> y, T lower, T upper) {
  map_elements(shape, x, y, table<T>().project_box, lower, upper);
}

template <class T>
void project_box(const Extents& shape, In<T> x, Out<T> y, In<T> lower, In<T> upper) {
  const auto kernel = table<T>().project_box_each;
  for_elements(
      shape, Order::kAny,
      [=](std::size_t, std::size_t n, bool stream, const T* from, const T* low, const T* high, T* to) {
        kernel(from, low, high, to, n, stream);
      },
      x, lower, upper, y);
}

template <class T>
bool ordered(const Extents& shape, In<T> lower, In<T> upper) {
  std::atomic<bool> all{true};
  const auto kernel = table<T>().ordered;
  for_elements(
      shape, Order::kAny,
      [kernel, &all](std::size_t, std::size_t n, bool, const T* low, const T* high) {
        if (!kernel(low, high, n)) all.store(false, std::memory_order_relaxed);
      },
      lower, upper);
  return all;
}

template <class T>
double l1_norm(const Extents& shape, In<T> x) {
  return as_stored(x, [&]<class E>(In<E> from) { return sum_elements(shape, table<E>().l1_norm, from); });
}

template <class T>
double squared_l2_norm(const Extents& shape, In<T> x) {
  return as_stored(
      x, [&]<class E>(In<E> from) { return sum_elements(shape, table<E>().squared_l2_norm, from); });
}

#define REGKERN_INSTANTIATE(T)                                                    \
  template void prox_l1(const Extents&, In<T>, Out<T>, T, bool, In<T>);           \
  template void prox_elastic_net(const Extents&, In<T>, Out<T>, T, T);            \
  template void prox_elastic_net(const Extents&, In<T>, Out<T>, T, T, In<T>);     \
  template void prox_ridge(const Extents&, In<T>, Out<T>, T);                     \
  template void prox_ridge(const Extents&, In<T>, Out<T>, T, In<T>);              \
  template void prox_l0(const Extents&, In<T>, Out<T>, double);                   \
  template void prox_l_half(const Extents&, In<T>, Out<T>, double);               \
  template void prox_mcp(const Extents&, In<T>, Out<T>, double, double, double);  \
  template void prox_scad(const Extents&, In<T>, Out<T>, double, double, double); \
  template void prox_log_sum(const Extents&, In<T>, Out<T>, double, double);      \
  template void prox_huber(const Extents&, In<T>, Out<T>, double, double);        \
  template void project_box(const Extents&, In<T>, Out<T>, T, T);                 \
  template void project_box(const Extents&, In<T>, Out<T>, In<T>, In<T>);         \
  template bool ordered(const Extents&, In<T>, In<T>);                            \
  template double l1_norm(const Extents&, In<T>);                                 \
  template double squared_l2_norm(const Extents&, In<T>);
REGKERN_INSTANTIATE(float)
REGKERN_INSTANTIATE(double)
#undef REGKERN_INSTANTIATE

}  // namespace regkern
#endif  // HWY_ONCE
