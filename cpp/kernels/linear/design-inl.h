// Passes over the columns or the rows of a dense matrix, against vectors in float64. All sums are float64.

#if defined(REGKERN_KERNELS_LINEAR_DESIGN_INL_H_) == defined(HWY_TARGET_TOGGLE)
#ifdef REGKERN_KERNELS_LINEAR_DESIGN_INL_H_
#undef REGKERN_KERNELS_LINEAR_DESIGN_INL_H_
#else
#define REGKERN_KERNELS_LINEAR_DESIGN_INL_H_
#endif

#include <stddef.h>

#include "kernels/simd-inl.h"

HWY_BEFORE_NAMESPACE();
namespace regkern {
namespace HWY_NAMESPACE {
namespace linear_design {

// Calls step(vector of x, place) for whole vectors of doubles, and once more for the rest, filled by zeros.
// What the place is for: other vectors are loaded there, with `count` elements of their own.
template <class T, class Step>
HWY_INLINE void for_vectors(const T* x, size_t n, Step step) {
  const D64 d;
  const size_t N = hn::Lanes(d);
  size_t i = 0;
  for (; i + N <= n; i += N) step(load_double(d, x + i), i, N);
  if (i < n) {
    HWY_ALIGN T rest[hn::MaxLanes(D64())] = {};
    for (size_t k = 0; i + k < n; ++k) rest[k] = x[i + k];
    step(load_double(d, rest), i, n - i);
  }
}

HWY_INLINE V<D64> load_up_to(const double* p, size_t count) {
  const D64 d;
  return count == hn::Lanes(d) ? hn::LoadU(d, p) : load_partial(d, p, count);
}

// What a column needs some cache lines after place i; behind its end, what the next one begins with.
template <class T>
HWY_INLINE void fetch(const T* x, const T* next, size_t i, size_t n) {
  const size_t ahead = i + kAhead<T>;
  hwy::Prefetch(ahead < n ? x + ahead : next + (ahead - n));
}

// What columns are like: Σ sδ, Σ sδ², Σ uδ over δ = x − shift, to three numbers of out each. s null: 1.
// Columns share what is loaded of s and u, and memory has as many to fetch at once.
template <size_t kColumns, bool kWeighted, class T>
HWY_INLINE void moments_of(const T* const* x, const T* const* next, size_t n, const double* s,
                           const double* u, const double* shift, double* out) {
  const D64 d;
  const size_t N = hn::Lanes(d);
  V<D64> first[kColumns], second[kColumns], with_u[kColumns];
  for (size_t c = 0; c < kColumns; ++c) first[c] = second[c] = with_u[c] = hn::Zero(d);
  size_t i = 0;
  for (; i + N <= n; i += N) {
    const auto v = hn::LoadU(d, u + i);
    for (size_t c = 0; c < kColumns; ++c) {
      fetch(x[c], next[c], i, n);
      const auto delta = hn::Sub(load_double(d, x[c] + i), hn::Set(d, shift[c]));
      const auto weighted = kWeighted ? hn::Mul(delta, hn::LoadU(d, s + i)) : delta;
      first[c] = hn::Add(first[c], weighted);
      second[c] = hn::MulAdd(weighted, delta, second[c]);
      with_u[c] = hn::MulAdd(v, delta, with_u[c]);
    }
  }
  for (size_t c = 0; c < kColumns; ++c, out += 3) {
    out[0] = fold(d, first[c]);
    out[1] = fold(d, second[c]);
    out[2] = fold(d, with_u[c]);
    for (size_t k = i; k < n; ++k) {
      const double delta = static_cast<double>(x[c][k]) - shift[c];
      const double weighted = kWeighted ? s[k] * delta : delta;
      out[0] += weighted;
      out[1] += weighted * delta;
      out[2] += u[k] * delta;
    }
  }
}

template <class T>
void column_moments(const T* const* x, size_t columns, size_t n, const double* s, const double* u,
                    const double* shift, double* out) {
  for (; columns >= 4; columns -= 4, x += 4, shift += 4, out += 12) {
    const T* const* next = columns >= 8 ? x + 4 : x;
    s == nullptr ? moments_of<4, false>(x, next, n, s, u, shift, out)
                 : moments_of<4, true>(x, next, n, s, u, shift, out);
  }
  for (; columns != 0; --columns, ++x, ++shift, out += 3) {
    s == nullptr ? moments_of<1, false>(x, x, n, s, u, shift, out)
                 : moments_of<1, true>(x, x, n, s, u, shift, out);
  }
}

// Σ u·(x − shift) of up to four columns, which share what is loaded of u.
template <size_t kColumns, class T>
HWY_INLINE void dots_of(const T* const* x, const T* const* next, size_t n, const double* u,
                        const double* shift, double* out) {
  const D64 d;
  const size_t N = hn::Lanes(d);
  V<D64> sum[kColumns][2];
  for (auto& pair : sum) pair[0] = pair[1] = hn::Zero(d);
  size_t i = 0;
  for (; i + 2 * N <= n; i += 2 * N) {
    for (size_t half = 0; half < 2; ++half) {
      const auto v = hn::LoadU(d, u + i + half * N);
      for (size_t c = 0; c < kColumns; ++c) {
        fetch(x[c], next[c], i + half * N, n);
        const auto delta = hn::Sub(load_double(d, x[c] + i + half * N), hn::Set(d, shift[c]));
        sum[c][half] = hn::MulAdd(v, delta, sum[c][half]);
      }
    }
  }
  for (size_t c = 0; c < kColumns; ++c) {
    double rest = 0;
    for (size_t k = i; k < n; ++k) rest += u[k] * (static_cast<double>(x[c][k]) - shift[c]);
    out[c] = fold(d, hn::Add(sum[c][0], sum[c][1])) + rest;
  }
}

template <class T>
void column_dots(const T* const* x, size_t columns, size_t n, const double* u, const double* shift,
                 double* out) {
  for (; columns >= 4; columns -= 4, x += 4, shift += 4, out += 4) {
    dots_of<4>(x, columns >= 8 ? x + 4 : x, n, u, shift, out);
  }
  for (; columns != 0; --columns, ++x, ++shift, ++out) dots_of<1>(x, x, n, u, shift, out);
}

// out[i] = q[i]·(x[i] − shift); q null: 1.
template <class T>
void pack_column(const T* x, size_t n, const double* q, double shift, double* out) {
  const D64 d;
  const auto by = hn::Set(d, shift);
  for_vectors(x, n, [&](V<D64> v, size_t i, size_t count) HWY_ATTR {
    auto delta = hn::Sub(v, by);
    if (q != nullptr) delta = hn::Mul(delta, load_up_to(q + i, count));
    if (count == hn::Lanes(d)) {
      hn::StoreU(delta, d, out + i);
    } else {
      store_partial(delta, d, out + i, count);
    }
  });
}

// z[i] += w·x[i].
template <class T>
void add_column(const T* x, size_t n, double w, double* z) {
  const D64 d;
  const auto by = hn::Set(d, w);
  for_vectors(x, n, [&](V<D64> v, size_t i, size_t count) HWY_ATTR {
    const auto sum = hn::MulAdd(by, v, load_up_to(z + i, count));
    if (count == hn::Lanes(d)) {
      hn::StoreU(sum, d, z + i);
    } else {
      store_partial(sum, d, z + i, count);
    }
  });
}

// The same sums where rows are dense: rows i of n, `step` elements apart, add to a stretch of columns.
// dots[j] += Σ u[i]·(x[i][j] − shift[j]), four rows at a time, so that a sum is loaded once for four.
template <class T>
void row_dots(const T* x, ptrdiff_t step, size_t n, size_t columns, const double* u, const double* shift,
              double* dots) {
  const D64 d;
  const size_t N = hn::Lanes(d);
  size_t i = 0;
  for (; i + 4 <= n; i += 4, x += 4 * step) {
    const V<D64> v[4] = {hn::Set(d, u[i]), hn::Set(d, u[i + 1]), hn::Set(d, u[i + 2]), hn::Set(d, u[i + 3])};
    size_t j = 0;
    for (; j + N <= columns; j += N) {
      const auto by = hn::LoadU(d, shift + j);
      auto sum = hn::LoadU(d, dots + j);
      for (size_t r = 0; r < 4; ++r) {
        const T* row = x + static_cast<ptrdiff_t>(r) * step;
        sum = hn::MulAdd(v[r], hn::Sub(load_double(d, row + j), by), sum);
      }
      hn::StoreU(sum, d, dots + j);
    }
    for (; j < columns; ++j) {
      for (size_t r = 0; r < 4; ++r) {
        const T* row = x + static_cast<ptrdiff_t>(r) * step;
        dots[j] += u[i + r] * (static_cast<double>(row[j]) - shift[j]);
      }
    }
  }
  for (; i < n; ++i, x += step) {
    for (size_t j = 0; j < columns; ++j) dots[j] += u[i] * (static_cast<double>(x[j]) - shift[j]);
  }
}

// first, second and with_u of each column, of one row more; s is the row's weight.
template <class T>
void row_moments(const T* x, size_t columns, double s, double u, const double* shift, double* first,
                 double* second, double* with_u) {
  const D64 d;
  const auto weight = hn::Set(d, s), factor = hn::Set(d, u);
  for_vectors(x, columns, [&](V<D64> v, size_t j, size_t count) HWY_ATTR {
    const auto delta = hn::Sub(v, load_up_to(shift + j, count));
    const auto weighted = hn::Mul(weight, delta);
    const auto store = [&](double* to, V<D64> value) HWY_ATTR {
      if (count == hn::Lanes(d)) {
        hn::StoreU(value, d, to + j);
      } else {
        store_partial(value, d, to + j, count);
      }
    };
    store(first, hn::Add(load_up_to(first + j, count), weighted));
    store(second, hn::MulAdd(weighted, delta, load_up_to(second + j, count)));
    store(with_u, hn::MulAdd(factor, delta, load_up_to(with_u + j, count)));
  });
}

}  // namespace linear_design
}  // namespace HWY_NAMESPACE
}  // namespace regkern
HWY_AFTER_NAMESPACE();

#endif  // REGKERN_KERNELS_LINEAR_DESIGN_INL_H_
