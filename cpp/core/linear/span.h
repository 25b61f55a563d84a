// What columns without a penalty span. Least squares projects it out of everything else: such columns may
// nearly depend on each other, and their coefficients come last.

#ifndef REGKERN_CORE_LINEAR_SPAN_H_
#define REGKERN_CORE_LINEAR_SPAN_H_

#include <cstddef>
#include <map>
#include <vector>

#include "core/linear/working.h"

namespace regkern::linear {

class Span {
 public:
  using Vector = std::vector<double>;

  // Of columns of the working set, which have these means and lengths.
  Span(const Working& working, const Vector& mean, const Vector& norm)
      : working_(working), mean_(mean), norm_(norm) {}

  // Of these columns, in order, at these places of the working set; of samples that weigh so much in all.
  void make(std::vector<std::size_t> columns, const std::vector<std::size_t>& places, double weight);
  // Whether of these columns from `first` on one is near the span of those before, and not in it.
  bool close(std::size_t first) const;
  bool empty() const { return columns_.empty(); }
  const std::vector<std::size_t>& columns() const { return columns_; }
  bool has(std::size_t j) const { return j < free_.size() && free_[j] != 0; }

  // An orthonormal basis, and what other columns add to it that is too short for a coefficient, and too long
  // for rounding.
  const std::vector<Vector>& basis() const { return basis_; }
  const std::vector<Vector>& thin() const { return thin_; }
  // The products of the basis with all columns of X, where there are others.
  const std::vector<Vector>& products_with(const Design& X);

  double take(double* x) const;  // x less its part in all that; the square of that part
  // The coefficients of least squares with r, which is left without them: to be added to w.
  void fit(double* r, double* w) const;
  // What such coefficients of the columns make of r by rounding: a length.
  double rounding(const double* w) const;
  // Rows of a Gram matrix of the working set, from `first` on: of what the span leaves of the columns. Of
  // those of which nothing is left the coefficients are `none`.
  void project(const Design& X, std::size_t first, Square& gram, std::vector<std::size_t>& none);

 private:
  const Working& working_;
  const Vector &mean_, &norm_;
  std::vector<std::size_t> columns_, basic_;  // basic_: those that made the basis
  std::vector<char> free_;
  double weight_ = 0;
  Vector left_;  // of each column, per unit of its length: 0 where it is rounding's
  std::vector<Vector> basis_, triangle_, thin_, products_;
  std::map<std::size_t, Vector> rest_;  // what is left of columns that are nearly in the span
};

}  // namespace regkern::linear

#endif  // REGKERN_CORE_LINEAR_SPAN_H_
