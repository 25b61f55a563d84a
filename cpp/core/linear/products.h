// The products of kernels/linear/products-inl.h, for the instruction set in use.

#ifndef REGKERN_CORE_LINEAR_PRODUCTS_H_
#define REGKERN_CORE_LINEAR_PRODUCTS_H_

#include <cstddef>
#include <cstdint>
#include <vector>

namespace regkern::linear {

struct Products {
  double (*dot)(const double* x, const double* y, std::size_t n);
  void (*axpy)(double a, const double* x, double* y, std::size_t n);  // y += a·x
  // y += Σ a[r]·x[r]
  void (*axpys)(const double* a, const double* const* x, std::size_t rows, double* y, std::size_t n);
  // out[r][c] += Σ a[r][i]·b[c][i]
  void (*dots)(const double* const* a, std::size_t rows, const double* const* b, std::size_t columns,
               std::size_t n, double* out, std::size_t ldo);
  // Columns side by side, of which `dots` with others takes half as long.
  std::size_t panel;  // how many
  // to[i·panel + c] = x[c][i]·d[i], and 0 from the last column on. d null: 1.
  void (*pack)(const double* const* x, std::size_t columns, const double* d, std::size_t n, double* to);
  // out[r][c] += Σ a[r][i]·packed[i][c], of the whole panel
  void (*panel_dots)(const double* const* a, std::size_t rows, const double* packed, std::size_t n,
                     double* out, std::size_t ldo);
};

const Products& products();

// Zeros that begin with a cache line, as panels should: half of their vectors would lie across two.
class Room {
 public:
  explicit Room(std::size_t size) : values_(size + kLine) {}
  double* data() {
    const auto past = reinterpret_cast<std::uintptr_t>(values_.data()) / sizeof(double) % kLine;
    return values_.data() + (kLine - past) % kLine;
  }

 private:
  static constexpr std::size_t kLine = 64 / sizeof(double);
  std::vector<double> values_;
};

}  // namespace regkern::linear

#endif  // REGKERN_CORE_LINEAR_PRODUCTS_H_
