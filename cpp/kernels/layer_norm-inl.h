// Normalization of rows that lie in the L1 cache, a block of at most kRowBlock elements at a time.
//
// Sums run in kRowLanes lanes of the dtype, whatever the vector width, so every instruction set adds the same
// numbers in the same order; a block gives at most kRowBlock / kRowLanes terms to a lane before the lanes are
// folded in double. Moments take two passes inside a block: the second is centred on the mean that the first
// has found, and corrects it.

#if defined(REGKERN_KERNELS_LAYER_NORM_INL_H_) == defined(HWY_TARGET_TOGGLE)
#ifdef REGKERN_KERNELS_LAYER_NORM_INL_H_
#undef REGKERN_KERNELS_LAYER_NORM_INL_H_
#else
#define REGKERN_KERNELS_LAYER_NORM_INL_H_
#endif

#include "kernels/layer_norm.h"
#include "kernels/simd-inl.h"

HWY_BEFORE_NAMESPACE();
namespace regkern {
namespace HWY_NAMESPACE {

// Calls body(k, vectors...) with k the vector of the lanes that the elements belong to, for n elements of
// each input; behind the last there are `fill` of the input.
template <class T, class Body, class... In>
HWY_INLINE void for_lanes(size_t n, T fill, Body body, const In*... x) {
  const Tag<T> d;
  const size_t N = hn::Lanes(d);
  size_t i = 0;
  for (; i + kRowLanes <= n; i += kRowLanes) {
    for (size_t k = 0; k < RowSum<T>::kVectors; ++k) body(k, hn::LoadU(d, x + i + k * N)...);
  }
  if (i < n) {
    const auto rest = [&](const T* p, T* room) HWY_ATTR {
      for (size_t j = 0; j < kRowLanes; ++j) room[j] = fill;
      memcpy(room, p + i, (n - i) * sizeof(T));
      return static_cast<const T*>(room);
    };
    T rooms[sizeof...(In)][kRowLanes];
    size_t at = 0;
    const T* p[] = {rest(x, rooms[at++])...};
    for (size_t k = 0; k < RowSum<T>::kVectors; ++k) {
      if constexpr (sizeof...(In) == 1) {
        body(k, hn::LoadU(d, p[0] + k * N));
      } else if constexpr (sizeof...(In) == 2) {
        body(k, hn::LoadU(d, p[0] + k * N), hn::LoadU(d, p[1] + k * N));
      } else {
        body(k, hn::LoadU(d, p[0] + k * N), hn::LoadU(d, p[1] + k * N), hn::LoadU(d, p[2] + k * N));
      }
    }
  }
}

// Fetches the n elements behind a block while this one is worked on: a row is often a page, and no hardware
// prefetcher crosses the end of one. Reaching past the end of the array is harmless.
template <class T>
HWY_INLINE void prefetch_next(const T* x, size_t n) {
  for (size_t j = n; j < 2 * n; j += 64 / sizeof(T)) __builtin_prefetch(x + j, 0, 2);
}

// Σ(x − near) and Σ(x − near)².
template <class T>
void row_moments(const T* x, size_t n, T near, double* sum, double* squares) {
  const Tag<T> d;
  prefetch_next(x, n);
  const auto m = hn::Set(d, near);
  RowSum<T> first, second;
  for_lanes<T>(
      n, near,
      [&](size_t k, auto v) HWY_ATTR {
        const auto deviation = hn::Sub(v, m);
        first.add(k, deviation);
        second.add(k, hn::Mul(deviation, deviation));
      },
      x);
  *sum = first.total();
  *squares = second.total();
}

template <class T>
double row_squares(const T* x, size_t n) {
  prefetch_next(x, n);
  RowSum<T> squares;
  for_lanes<T>(n, T(0), [&](size_t k, auto v) HWY_ATTR { squares.add(k, hn::Mul(v, v)); }, x);
  return squares.total();
}

// The same where a square leaves the range of float: in double, centred on `near`.
template <class T>
void row_moments_wide(const T* x, size_t n, double near, double* total, double* squares) {
  double s = 0, q = 0;
  for (size_t i = 0; i < n; ++i) {
    const double deviation = static_cast<double>(x[i]) - near;
    s += deviation;
    q += deviation * deviation;
  }
  *total = s;
  *squares = q;
}

// y = ((x − mean) − mean_low)·scale·gamma + beta; where gamma is nullptr it is part of scale, and where beta
// is it is `shift`.
template <class T, class Hat>
HWY_INLINE void apply_hat(const T* x, T* y, size_t n, Hat hat, T shift_of_all, const T* gamma, const T* beta,
                          bool stream) {
  const Tag<T> d;
  const auto shift = hn::Set(d, shift_of_all);
  if (gamma != nullptr && beta != nullptr) {
    map_unfenced(
        d, n, stream, [=](auto v, auto g, auto b) HWY_ATTR { return hn::Add(hn::Mul(hat(v), g), b); }, y, x,
        gamma, beta);
  } else if (gamma != nullptr) {
    map_unfenced(
        d, n, stream, [=](auto v, auto g) HWY_ATTR { return hn::Add(hn::Mul(hat(v), g), shift); }, y, x,
        gamma);
  } else if (beta != nullptr) {
    map_unfenced(d, n, stream, [=](auto v, auto b) HWY_ATTR { return hn::Add(hat(v), b); }, y, x, beta);
  } else {
    map_unfenced(d, n, stream, [=](auto v) HWY_ATTR { return hn::Add(hat(v), shift); }, y, x);
  }
}

template <class T>
void row_apply(const T* x, T* y, size_t n, const RowAffine<T>& c, const T* gamma, const T* beta,
               bool stream) {
  const Tag<T> d;
  const auto mean = hn::Set(d, c.mean), low = hn::Set(d, c.mean_low), scale = hn::Set(d, c.scale);
  if (c.mean_low == T(0)) {
    const auto hat = [=](auto v) HWY_ATTR { return hn::Mul(hn::Sub(v, mean), scale); };
    apply_hat(x, y, n, hat, c.shift, gamma, beta, stream);
  } else {
    const auto hat = [=](auto v) HWY_ATTR { return hn::Mul(hn::Sub(hn::Sub(v, mean), low), scale); };
    apply_hat(x, y, n, hat, c.shift, gamma, beta, stream);
  }
}

template <class T>
void row_scale(const T* x, T* y, size_t n, T factor, const T* gamma, bool stream) {
  const Tag<T> d;
  const auto scale = hn::Set(d, factor);
  if (gamma != nullptr) {
    map_unfenced(
        d, n, stream, [=](auto v, auto g) HWY_ATTR { return hn::Mul(hn::Mul(v, scale), g); }, y, x, gamma);
  } else {
    map_unfenced(d, n, stream, [=](auto v) HWY_ATTR { return hn::Mul(v, scale); }, y, x);
  }
}

template <class T>
void row_add(const T* x, const T* residual, T* y, size_t n) {
  map(Tag<T>(), n, false, [](auto a, auto b) HWY_ATTR { return hn::Add(a, b); }, y, x, residual);
}

// Σ g·dy and Σ g·dy·(x − mean).
template <class T>
void row_gradient_sums(const T* x, const T* dy, const T* gamma, size_t n, T mean, T mean_low, double* sum,
                       double* sum_dev) {
  const Tag<T> d;
  const auto m = hn::Set(d, mean), low = hn::Set(d, mean_low);
  RowSum<T> first, second;
  const auto add = [&](size_t k, auto v, auto g) HWY_ATTR {
    first.add(k, g);
    second.add(k, hn::Mul(g, hn::Sub(hn::Sub(v, m), low)));
  };
  if (gamma != nullptr) {
    for_lanes<T>(
        n, T(0), [&](size_t k, auto v, auto g, auto w) HWY_ATTR { add(k, v, hn::Mul(g, w)); }, x, dy, gamma);
  } else {
    for_lanes<T>(n, T(0), add, x, dy);
  }
  *sum = first.total();
  *sum_dev = second.total();
}

// dx = (gamma·dy − a)·scale − (x − mean)·b for kRows rows that lie `stride` apart, and dgamma += dy·(x −
// mean)·scale, dbeta += dy where these are wanted, row by row. A gamma of nullptr is c.gamma for all. Several
// rows at once store the sums once for all of them. `stream`: around the cache, where `stride` is whole
// vectors and dx is not dy.
template <size_t kRows, class T>
void row_gradient(const T* x, const T* dy, T* dx, size_t stride, size_t n, const RowGradient<T>* c,
                  const T* gamma, T* dgamma, T* dbeta, bool stream) {
  const Tag<T> d;
  const size_t N = hn::Lanes(d);
  const auto step = [&](size_t r, auto v, auto g, auto w, auto& hat) HWY_ATTR {
    const auto scale = hn::Set(d, c[r].scale);
    const auto deviation = hn::Sub(hn::Sub(v, hn::Set(d, c[r].mean)), hn::Set(d, c[r].mean_low));
    hat = hn::Mul(deviation, scale);
    return hn::Sub(hn::Mul(hn::Sub(hn::Mul(g, w), hn::Set(d, c[r].a)), scale),
                   hn::Mul(deviation, hn::Set(d, c[r].b)));
  };
  const auto some = [&](size_t i, auto load, auto store) HWY_ATTR {
    auto sum_gamma = dgamma ? load(dgamma + i) : hn::Zero(d);
    auto sum_beta = dbeta ? load(dbeta + i) : hn::Zero(d);
    for (size_t r = 0; r < kRows; ++r) {
      const size_t at = r * stride + i;
      const auto v = load(x + at), g = load(dy + at);
      // The next rows, which no hardware prefetcher finds where a row is a page.
      __builtin_prefetch(x + at + kRows * stride, 0, 2);
      __builtin_prefetch(dy + at + kRows * stride, 0, 2);
      auto hat = v;
      store(step(r, v, g, gamma ? load(gamma + i) : hn::Set(d, c[r].gamma), hat), dx + at, stream);
      sum_gamma = hn::Add(sum_gamma, hn::Mul(g, hat));
      sum_beta = hn::Add(sum_beta, g);
    }
    if (dgamma) store(sum_gamma, dgamma + i, false);
    if (dbeta) store(sum_beta, dbeta + i, false);
  };
  const auto partly = [&](size_t i, size_t count) HWY_ATTR {
    some(
        i, [&](const T* p) HWY_ATTR { return load_partial(d, p, count); },
        [&](auto v, T* p, bool) HWY_ATTR { store_partial(v, d, p, count); });
  };
  const auto load = [&](const T* p) HWY_ATTR { return hn::LoadU(d, p); };
  size_t i = 0;
  if (stream) {
    const size_t past = reinterpret_cast<uintptr_t>(dx) % (N * sizeof(T)) / sizeof(T);
    if (past != 0) partly(0, i = HWY_MIN(n, N - past));
    for (; i + N <= n; i += N) {
      some(i, load, [&](auto v, T* p, bool result) HWY_ATTR {
        if (result) {
          hn::Stream(v, d, p);
        } else {
          hn::StoreU(v, d, p);
        }
      });
    }
  } else {
    for (; i + N <= n; i += N) some(i, load, [&](auto v, T* p, bool) HWY_ATTR { hn::StoreU(v, d, p); });
  }
  if (i < n) partly(i, n - i);
}

// total[i] += part[i], and part[i] = 0.
template <class T>
void row_flush(double* total, T* part, size_t n) {
  const D64 d;
  const size_t N = hn::Lanes(d);
  size_t i = 0;
  for (; i + N <= n; i += N)
    hn::StoreU(hn::Add(hn::LoadU(d, total + i), load_double(d, part + i)), d, total + i);
  for (; i < n; ++i) total[i] += static_cast<double>(part[i]);
  memset(part, 0, n * sizeof(T));
}

}  // namespace HWY_NAMESPACE
}  // namespace regkern
HWY_AFTER_NAMESPACE();

#endif  // REGKERN_KERNELS_LAYER_NORM_INL_H_
