// Proximal operators and projections of rows: what sorts, selects or runs along a row. T is float or double;
// y may be x itself. Formulas: regkern/reference/prox. A row with NaN becomes NaN.

#ifndef REGKERN_ROWS_H_
#define REGKERN_ROWS_H_

#include <cstddef>

#include "regkern/array.h"

namespace regkern {

enum class RowProx {
  kLinf,     // prox of parameter·max|y|
  kL1Ball,   // projection onto Σ|y| <= parameter
  kSimplex,  // projection onto y >= 0, Σy = parameter
  kTv1d      // prox of parameter·Σ|yᵢ₊₁ − yᵢ|
};

// Rows are `length` > 0 positions in C order.
template <class T>
void row_prox(RowProx what, const Extents& shape, std::size_t length, In<T> x, Out<T> y, double parameter);

// prox of threshold·Σ wᵢ·|y|₍ᵢ₎, |y|₍₁₎ the largest; w are `length` < 2³² numbers >= 0 that do not increase.
template <class T>
void prox_sorted_l1(const Extents& shape, std::size_t length, In<T> x, Out<T> y, double threshold,
                    const T* weights);

}  // namespace regkern

#endif  // REGKERN_ROWS_H_
