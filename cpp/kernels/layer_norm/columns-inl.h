// Normalization of matrices whose columns are channels, forward and backward. Columns add at most kColumnRows
// terms before they go to double.

#if defined(REGKERN_KERNELS_LAYER_NORM_COLUMNS_INL_H_) == defined(HWY_TARGET_TOGGLE)
#ifdef REGKERN_KERNELS_LAYER_NORM_COLUMNS_INL_H_
#undef REGKERN_KERNELS_LAYER_NORM_COLUMNS_INL_H_
#else
#define REGKERN_KERNELS_LAYER_NORM_COLUMNS_INL_H_
#endif

#include "kernels/layer_norm/rows.h"
#include "kernels/layer_norm/rows-inl.h"

HWY_BEFORE_NAMESPACE();
namespace regkern {
namespace HWY_NAMESPACE {
namespace layer_norm {

// Calls body(first, rows, column, load, store) for n elements in rows of `width`, the last of which may be
// shorter: kColumnSweep rows at a time, vector by vector of columns. The rows of the next sweep are fetched
// by hand: the hardware does not follow so many streams.
template <class T, class Body, class... In>
HWY_INLINE void for_columns(size_t n, size_t width, Body body, const In*... x) {
  const Tag<T> d;
  const size_t N = hn::Lanes(d);
  for (size_t first = 0; first < n;) {
    const size_t rows = HWY_MAX(size_t{1}, HWY_MIN(kColumnSweep, (n - first) / width));
    const size_t columns = HWY_MIN(width, n - first);
    size_t j = 0;
    for (; j + N <= columns; j += N) {
      for (size_t r = kColumnSweep; r < 2 * kColumnSweep; ++r) {
        (__builtin_prefetch(x + first + r * width + j, 0, 2), ...);
      }
      body(
          first, rows, j, [=](const T* p) HWY_ATTR { return hn::LoadU(d, p); },
          [=](auto v, T* p) HWY_ATTR { hn::StoreU(v, d, p); });
    }
    if (j < columns) {
      body(
          first, rows, j, [=](const T* p) HWY_ATTR { return load_partial(d, p, columns - j); },
          [=](auto v, T* p) HWY_ATTR { store_partial(v, d, p, columns - j); });
    }
    first += rows * width;
  }
}

// The terms of up to kColumnSweep rows.
template <class Op, class Load, class... In>
HWY_INLINE auto sweep_of_columns(size_t rows, Op terms, Load load, size_t width, const In*... x) {
  auto sum = terms(load(x)...);
  for (size_t r = 1; r < rows; ++r) sum = sum + terms(load(x + r * width)...);
  return sum;
}

// sum += Σ(x − shift) and squares += Σ(x − shift)², column by column.
template <class T>
void column_moments(const T* x, size_t n, size_t width, const T* shift, T* sum, T* squares) {
  const auto add = [&](size_t first, size_t rows, size_t j, auto load, auto store) HWY_ATTR {
    const auto s = load(shift + j);
    const auto terms = [s](auto v) HWY_ATTR {
      const auto deviation = hn::Sub(v, s);
      return Terms<T, 2>{{deviation, hn::Mul(deviation, deviation)}};
    };
    const auto sums = Terms<T, 2>{{load(sum + j), load(squares + j)}} +
                      sweep_of_columns(rows, terms, load, width, x + first + j);
    store(sums.v[0], sum + j);
    store(sums.v[1], squares + j);
  };
  for_columns<T>(n, width, add, x);
}

// sum += Σdy and sum_dev += Σdy·(x − mean), column by column.
template <class T>
void column_gradient_sums(const T* x, const T* dy, size_t n, size_t width, const T* mean, T* sum,
                          T* sum_dev) {
  const auto add = [&](size_t first, size_t rows, size_t j, auto load, auto store) HWY_ATTR {
    const auto m = load(mean + j);
    const auto terms = [m](auto v, auto g) HWY_ATTR { return Terms<T, 2>{{g, hn::Mul(g, hn::Sub(v, m))}}; };
    const auto sums = Terms<T, 2>{{load(sum + j), load(sum_dev + j)}} +
                      sweep_of_columns(rows, terms, load, width, x + first + j, dy + first + j);
    store(sums.v[0], sum + j);
    store(sums.v[1], sum_dev + j);
  };
  for_columns<T>(n, width, add, x, dy);
}

// Calls body(position, column, count) for n elements in rows of `width`: a row at a time, and where the
// coefficients of a row do not fit the L1 cache, a strip of some rows at a time.
template <class Body>
HWY_INLINE void for_strips(size_t n, size_t width, Body body) {
  for (size_t first = 0; first < n; first += kColumnSweep * width) {
    const size_t end = HWY_MIN(n, first + kColumnSweep * width);
    for (size_t j = 0; j < width; j += kColumnStrip) {
      for (size_t at = first + j; at < end; at += width) {
        body(at, j, HWY_MIN(HWY_MIN(kColumnStrip, width - j), end - at));
      }
    }
  }
}

// y = (x − mean)·scale + shift.
template <class T>
void column_apply(const T* x, T* y, size_t n, size_t width, const ColumnAffine<T>& c) {
  const auto op = [](auto v, auto mean, auto scale, auto shift)
                      HWY_ATTR { return hn::Add(hn::Mul(hn::Sub(v, mean), scale), shift); };
  for_strips(n, width, [&](size_t at, size_t j, size_t count) HWY_ATTR {
    map_unfenced(Tag<T>(), count, false, op, y + at, x + at, c.mean + j, c.scale + j, c.shift + j);
  });
}

// dx = (dy·gamma − ((x − mean)·slope + offset))·scale.
template <class T>
void column_gradient(const T* x, const T* dy, T* dx, size_t n, size_t width, const ColumnGradient<T>& c) {
  const auto op = [](auto g, auto v, auto mean, auto gamma, auto scale, auto slope, auto offset) HWY_ATTR {
    const auto share = hn::Add(hn::Mul(hn::Sub(v, mean), slope), offset);
    return hn::Mul(hn::Sub(hn::Mul(g, gamma), share), scale);
  };
  for_strips(n, width, [&](size_t at, size_t j, size_t count) HWY_ATTR {
    map_unfenced(Tag<T>(), count, false, op, dx + at, dy + at, x + at, c.mean + j, c.gamma + j, c.scale + j,
                 c.slope + j, c.offset + j);
  });
}

}  // namespace layer_norm
}  // namespace HWY_NAMESPACE
}  // namespace regkern
HWY_AFTER_NAMESPACE();

#endif  // REGKERN_KERNELS_LAYER_NORM_COLUMNS_INL_H_
