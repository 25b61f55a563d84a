// Weight decay and the fused SGD step. Order of operations as in regkern/reference/optim.py: the same bits.

#if defined(REGKERN_KERNELS_OPTIM_INL_H_) == defined(HWY_TARGET_TOGGLE)
#ifdef REGKERN_KERNELS_OPTIM_INL_H_
#undef REGKERN_KERNELS_OPTIM_INL_H_
#else
#define REGKERN_KERNELS_OPTIM_INL_H_
#endif

#include "kernels/prox-inl.h"
#include "regkern/optim.h"

HWY_BEFORE_NAMESPACE();
namespace regkern {
namespace HWY_NAMESPACE {

HWY_INLINE V<Tag<double>> scale_in_double(Tag<double>, V<Tag<double>> v, V<Tag<double>> factor) {
  return hn::Mul(v, factor);
}

HWY_INLINE V<Tag<float>> scale_in_double(Tag<float> d, V<Tag<float>> v, V<Tag<double>> factor) {
  const Tag<double> wide;
  const hn::Half<Tag<float>> half;
  const auto low = hn::Mul(hn::PromoteTo(wide, hn::LowerHalf(half, v)), factor);
  const auto high = hn::Mul(hn::PromoteTo(wide, hn::UpperHalf(half, v)), factor);
  return hn::Combine(d, hn::DemoteTo(half, high), hn::DemoteTo(half, low));
}

template <class T>
void l2_decay(const T* w, T* y, size_t n, double factor, bool stream) {
  const Tag<T> d;
  const auto f = hn::Set(Tag<double>(), factor);
  map(d, n, stream, [d, f](auto v) HWY_ATTR { return scale_in_double(d, v, f); }, y, w);
}

// The step on one vector; w and buffer are updated. What an option leaves out costs nothing.
template <class T, bool kBuffer, bool kNesterov, Decay kDecay, bool kProx>
struct SgdUpdate {
  using D = Tag<T>;
  using Vec = V<D>;

  HWY_INLINE explicit SgdUpdate(const SgdOptions<T>& o)
      : lr(hn::Set(D(), o.lr)),
        momentum(hn::Set(D(), o.momentum)),
        undampened(hn::Set(D(), o.undampened)),
        weight_decay(hn::Set(D(), o.weight_decay)),
        threshold(hn::Set(D(), o.threshold)) {}

  HWY_INLINE void operator()(Vec& w, Vec g, Vec& buffer) const {
    if constexpr (kDecay == Decay::kCoupled) g = hn::Add(g, hn::Mul(weight_decay, w));
    Vec step = g;
    if constexpr (kBuffer) {
      buffer = hn::Add(hn::Mul(momentum, buffer), hn::Mul(undampened, g));
      step = kNesterov ? hn::Add(g, hn::Mul(momentum, buffer)) : buffer;
    }
    if constexpr (kDecay == Decay::kDecoupled) step = hn::Add(step, hn::Mul(weight_decay, w));
    w = hn::Sub(w, hn::Mul(lr, step));
    if constexpr (kProx) w = soft_threshold(w, threshold);
  }

  Vec lr, momentum, undampened, weight_decay, threshold;
};

template <class T, bool kBuffer, bool kNesterov, Decay kDecay, bool kProx>
void sgd_step(T* HWY_RESTRICT w, const T* HWY_RESTRICT grad, T* HWY_RESTRICT buffer, size_t n,
              const SgdOptions<T>& options) {
  const Tag<T> d;
  const size_t N = hn::Lanes(d);
  const SgdUpdate<T, kBuffer, kNesterov, kDecay, kProx> update(options);
  size_t i = 0;
  for (; i + N <= n; i += N) {
    auto w_i = hn::LoadU(d, w + i);
    auto b_i = kBuffer ? hn::LoadU(d, buffer + i) : hn::Zero(d);
    update(w_i, hn::LoadU(d, grad + i), b_i);
    hn::StoreU(w_i, d, w + i);
    if (kBuffer) hn::StoreU(b_i, d, buffer + i);
  }
  if (i < n) {
    auto w_i = load_partial(d, w + i, n - i);
    auto b_i = kBuffer ? load_partial(d, buffer + i, n - i) : hn::Zero(d);
    update(w_i, load_partial(d, grad + i, n - i), b_i);
    store_partial(w_i, d, w + i, n - i);
    if (kBuffer) store_partial(b_i, d, buffer + i, n - i);
  }
}

// Options → template arguments, one option a level.
template <class T, bool kBuffer, bool kNesterov, Decay kDecay>
void sgd_step_prox(T* w, const T* grad, T* buffer, size_t n, const SgdOptions<T>& o) {
  return o.prox ? sgd_step<T, kBuffer, kNesterov, kDecay, true>(w, grad, buffer, n, o)
                : sgd_step<T, kBuffer, kNesterov, kDecay, false>(w, grad, buffer, n, o);
}

template <class T, bool kBuffer, bool kNesterov>
void sgd_step_decay(T* w, const T* grad, T* buffer, size_t n, const SgdOptions<T>& o) {
  switch (o.decay) {
    case Decay::kNone:
      return sgd_step_prox<T, kBuffer, kNesterov, Decay::kNone>(w, grad, buffer, n, o);
    case Decay::kCoupled:
      return sgd_step_prox<T, kBuffer, kNesterov, Decay::kCoupled>(w, grad, buffer, n, o);
    case Decay::kDecoupled:
      return sgd_step_prox<T, kBuffer, kNesterov, Decay::kDecoupled>(w, grad, buffer, n, o);
  }
}

template <class T>
void sgd_step_any(T* w, const T* grad, T* buffer, size_t n, const SgdOptions<T>& o) {
  if (buffer == nullptr) return sgd_step_decay<T, false, false>(w, grad, buffer, n, o);
  return o.nesterov ? sgd_step_decay<T, true, true>(w, grad, buffer, n, o)
                    : sgd_step_decay<T, true, false>(w, grad, buffer, n, o);
}

}  // namespace HWY_NAMESPACE
}  // namespace regkern
HWY_AFTER_NAMESPACE();

#endif  // REGKERN_KERNELS_OPTIM_INL_H_
