// Products of vectors and of blocks of rows in float64: what Gram matrices, Cholesky factors and triangular
// systems are made of.

#if defined(REGKERN_KERNELS_LINEAR_PRODUCTS_INL_H_) == defined(HWY_TARGET_TOGGLE)
#ifdef REGKERN_KERNELS_LINEAR_PRODUCTS_INL_H_
#undef REGKERN_KERNELS_LINEAR_PRODUCTS_INL_H_
#else
#define REGKERN_KERNELS_LINEAR_PRODUCTS_INL_H_
#endif

#include <stddef.h>

#include "kernels/simd-inl.h"

HWY_BEFORE_NAMESPACE();
namespace regkern {
namespace HWY_NAMESPACE {
namespace linear_products {

inline double dot(const double* x, const double* y, size_t n) {
  const D64 d;
  const size_t N = hn::Lanes(d);
  V<D64> sum[4] = {hn::Zero(d), hn::Zero(d), hn::Zero(d), hn::Zero(d)};
  size_t i = 0;
  for (; i + 4 * N <= n; i += 4 * N) {
    for (size_t k = 0; k < 4; ++k) {
      sum[k] = hn::MulAdd(hn::LoadU(d, x + i + k * N), hn::LoadU(d, y + i + k * N), sum[k]);
    }
  }
  for (; i + N <= n; i += N) sum[0] = hn::MulAdd(hn::LoadU(d, x + i), hn::LoadU(d, y + i), sum[0]);
  double rest = 0;
  for (; i < n; ++i) rest += x[i] * y[i];
  return fold(d, hn::Add(hn::Add(sum[0], sum[1]), hn::Add(sum[2], sum[3]))) + rest;
}

// y += a·x
inline void axpy(double a, const double* x, double* y, size_t n) {
  const D64 d;
  const size_t N = hn::Lanes(d);
  const auto by = hn::Set(d, a);
  size_t i = 0;
  for (; i + N <= n; i += N) {
    hn::StoreU(hn::MulAdd(by, hn::LoadU(d, x + i), hn::LoadU(d, y + i)), d, y + i);
  }
  for (; i < n; ++i) y[i] += a * x[i];
}

// y += Σ a[r]·x[r], as so many axpys do it, but y is read and written once for kRows of them.
template <size_t kRows>
HWY_INLINE void add_rows(const double* a, const double* const* x, double* y, size_t n) {
  const D64 d;
  const size_t N = hn::Lanes(d);
  V<D64> by[kRows];
  const double* row[kRows];
  for (size_t r = 0; r < kRows; ++r) {
    by[r] = hn::Set(d, a[r]);
    row[r] = x[r];
  }
  size_t i = 0;
  for (; i + N <= n; i += N) {
    auto sum = hn::LoadU(d, y + i);
    for (size_t r = 0; r < kRows; ++r) sum = hn::MulAdd(by[r], hn::LoadU(d, row[r] + i), sum);
    hn::StoreU(sum, d, y + i);
  }
  for (; i < n; ++i) {
    for (size_t r = 0; r < kRows; ++r) y[i] += a[r] * row[r][i];
  }
}

inline void axpys(const double* a, const double* const* x, size_t rows, double* y, size_t n) {
  size_t r = 0;
  for (; r + 8 <= rows; r += 8) add_rows<8>(a + r, x + r, y, n);
  for (; r + 2 <= rows; r += 2) add_rows<2>(a + r, x + r, y, n);
  for (; r < rows; ++r) add_rows<1>(a + r, x + r, y, n);
}

// out[r][c] += Σ a[r][i]·b[c][i], kA rows by kB: 4 × 3 sums and the four vectors they are made of are all of
// AVX2's registers.
template <size_t kA, size_t kB>
HWY_INLINE void tile(const double* const* a, const double* const* b, size_t n, double* out, size_t ldo) {
  const D64 d;
  const size_t N = hn::Lanes(d);
  const double *left[kA], *right[kB];
  for (size_t r = 0; r < kA; ++r) left[r] = a[r];
  for (size_t c = 0; c < kB; ++c) right[c] = b[c];
  V<D64> sum[kA][kB];
  for (auto& row : sum) {
    for (auto& v : row) v = hn::Zero(d);
  }
  size_t i = 0;
  for (; i + N <= n; i += N) {
    V<D64> v[kB];
    for (size_t c = 0; c < kB; ++c) v[c] = hn::LoadU(d, right[c] + i);
    for (size_t r = 0; r < kA; ++r) {
      const auto u = hn::LoadU(d, left[r] + i);
      for (size_t c = 0; c < kB; ++c) sum[r][c] = hn::MulAdd(u, v[c], sum[r][c]);
    }
  }
  for (size_t r = 0; r < kA; ++r) {
    for (size_t c = 0; c < kB; ++c) {
      double rest = 0;
      for (size_t k = i; k < n; ++k) rest += left[r][k] * right[c][k];
      out[r * ldo + c] += fold(d, sum[r][c]) + rest;
    }
  }
}

// out[r][c] += Σ a[r][i]·b[c][i] for any number of rows.
inline void dots(const double* const* a, size_t rows, const double* const* b, size_t columns, size_t n,
                 double* out, size_t ldo) {
  size_t r = 0;
  for (; r + 4 <= rows; r += 4) {
    size_t c = 0;
    for (; c + 3 <= columns; c += 3) tile<4, 3>(a + r, b + c, n, out + r * ldo + c, ldo);
    for (; c < columns; ++c) tile<4, 1>(a + r, b + c, n, out + r * ldo + c, ldo);
  }
  for (; r < rows; ++r) {
    size_t c = 0;
    for (; c + 3 <= columns; c += 3) tile<1, 3>(a + r, b + c, n, out + r * ldo + c, ldo);
    for (; c < columns; ++c) tile<1, 1>(a + r, b + c, n, out + r * ldo + c, ldo);
  }
}

// Columns side by side, as many as three vectors have lanes: panel[i·kPanel + c] = x[c][i]·d[i], and 0 from
// the last column on. d null: 1.
constexpr size_t kVectors = 3;
HWY_INLINE size_t panel_width() { return kVectors * hn::Lanes(D64()); }

inline void pack_panel(const double* const* x, size_t columns, const double* d, size_t n, double* panel) {
  const size_t width = panel_width();
  constexpr size_t kRows = 64;  // whose part of the panel is in the L1 cache
  for (size_t begin = 0; begin < n; begin += kRows) {
    const size_t end = HWY_MIN(n, begin + kRows);
    for (size_t c = 0; c < width; ++c) {
      double* to = panel + c;
      if (c >= columns) {
        for (size_t i = begin; i < end; ++i) to[i * width] = 0;
      } else if (d == nullptr) {
        for (size_t i = begin; i < end; ++i) to[i * width] = x[c][i];
      } else {
        for (size_t i = begin; i < end; ++i) to[i * width] = d[i] * x[c][i];
      }
    }
  }
}

// out[r][c] += Σ a[r][i]·panel[i][c], of kRows rows: their sums, three vectors of the panel and an element
// are all of AVX2's registers with 4, and fewer than the 32 of AVX-512 and NEON with 8.
template <size_t kRows>
HWY_INLINE void panel_tile(const double* const* a, const double* panel, size_t n, double* out, size_t ldo) {
  const D64 d;
  const size_t N = hn::Lanes(d);
  const double* row[kRows];
  for (size_t r = 0; r < kRows; ++r) row[r] = a[r];
  V<D64> sum[kRows][kVectors];
  for (auto& sums : sum) {
    for (auto& v : sums) v = hn::Zero(d);
  }
  for (size_t i = 0; i < n; ++i, panel += kVectors * N) {
    V<D64> v[kVectors];
    for (size_t c = 0; c < kVectors; ++c) v[c] = hn::LoadU(d, panel + c * N);
    for (size_t r = 0; r < kRows; ++r) {
      const auto u = hn::Set(d, row[r][i]);
      for (size_t c = 0; c < kVectors; ++c) sum[r][c] = hn::MulAdd(u, v[c], sum[r][c]);
    }
  }
  for (size_t r = 0; r < kRows; ++r) {
    for (size_t c = 0; c < kVectors; ++c) {
      double* to = out + r * ldo + c * N;
      hn::StoreU(hn::Add(hn::LoadU(d, to), sum[r][c]), d, to);
    }
  }
}

// The same of any number of rows. A row of `out` has room for the whole panel.
inline void panel_dots(const double* const* a, size_t rows, const double* panel, size_t n, double* out,
                       size_t ldo) {
#if HWY_ARCH_X86 && HWY_TARGET > HWY_AVX3
  constexpr size_t kMost = 4;
#else
  constexpr size_t kMost = 8;
#endif
  size_t r = 0;
  for (; r + kMost <= rows; r += kMost) panel_tile<kMost>(a + r, panel, n, out + r * ldo, ldo);
  for (; r + 2 <= rows; r += 2) panel_tile<2>(a + r, panel, n, out + r * ldo, ldo);
  for (; r < rows; ++r) panel_tile<1>(a + r, panel, n, out + r * ldo, ldo);
}

}  // namespace linear_products
}  // namespace HWY_NAMESPACE
}  // namespace regkern
HWY_AFTER_NAMESPACE();

#endif  // REGKERN_KERNELS_LINEAR_PRODUCTS_INL_H_
