// The products of kernels/linear/products-inl.h, for the instruction set in use.

#ifndef REGKERN_CORE_LINEAR_PRODUCTS_H_
#define REGKERN_CORE_LINEAR_PRODUCTS_H_

#include <cstddef>

namespace regkern::linear {

struct Products {
  double (*dot)(const double* x, const double* y, std::size_t n);
  void (*axpy)(double a, const double* x, double* y, std::size_t n);  // y += a·x
  // y += Σ a[r]·x[r]
  void (*axpys)(const double* a, const double* const* x, std::size_t rows, double* y, std::size_t n);
  // out[r][c] += Σ a[r][i]·b[c][i]
  void (*dots)(const double* const* a, std::size_t rows, const double* const* b, std::size_t columns,
               std::size_t n, double* out, std::size_t ldo);
};

const Products& products();

}  // namespace regkern::linear

#endif  // REGKERN_CORE_LINEAR_PRODUCTS_H_
