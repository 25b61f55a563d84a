// X, where the caller has it: never copied, centred or made dense. Solvers see its columns through this.

#ifndef REGKERN_CORE_LINEAR_DESIGN_H_
#define REGKERN_CORE_LINEAR_DESIGN_H_

#include <cstddef>
#include <cstdint>
#include <memory>
#include <vector>

#include "regkern/linear.h"

namespace regkern::linear {

// Of every column under weights s: its weighted mean, Σ s(x − mean)², Σ s·x² and Σ u·(x − mean).
struct ColumnMoments {
  std::vector<double> mean, centred, raw, with_u;
};

// Nonzero elements of a column.
struct SparseColumn {
  std::vector<std::uint32_t> rows;
  std::vector<double> values;
};

class Design {
 public:
  Design(std::size_t rows, std::size_t columns) : n(rows), p(columns) {}
  virtual ~Design() = default;
  Design(const Design&) = delete;
  Design& operator=(const Design&) = delete;

  const std::size_t n, p;

  virtual bool sparse() const = 0;
  virtual std::size_t stored() const { return n * p; }  // elements
  // One pass over X, by any number of threads. s null: 1. Without centring means are 0. What is not finite in
  // X shows in `centred`. To be called before any other: it throws NotARow where a row number is none.
  virtual ColumnMoments moments(const double* s, const double* u, bool centre) const = 0;
  // g[j] = Σ u[i]·(x[i][j] − shift[j]): one pass.
  virtual void correlate(const double* u, const double* shift, double* g) const = 0;
  // The same of these columns, in order; of others, too, where that is no more to read.
  virtual void correlate(const std::vector<std::uint32_t>& columns, const double* u, const double* shift,
                         double* g) const = 0;
  // out[k] = q[i]·(x[i][j] − shift) for i = rows[k], or all rows where there are none. q null: 1.
  virtual void pack(std::size_t j, const double* q, double shift, const std::vector<std::uint32_t>& rows,
                    double* out) const = 0;
  // The nonzero elements of column j, times q.
  virtual SparseColumn pack_sparse(std::size_t j, const double* q) const = 0;
  // Column j where it is, if it is one of contiguous float64, else null.
  virtual const double* column(std::size_t j) const = 0;
  // z[i] += Σ w[k]·x[i][columns[k]].
  virtual void multiply(const std::vector<std::size_t>& columns, const double* w, double* z) const = 0;
};

std::unique_ptr<Design> make_design(const Matrix& X);

}  // namespace regkern::linear

#endif  // REGKERN_CORE_LINEAR_DESIGN_H_
