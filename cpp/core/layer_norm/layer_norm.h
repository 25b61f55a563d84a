// The ways to normalize rows, one for each place that the affine parameters have in memory, and what they
// need.

#ifndef REGKERN_CORE_LAYER_NORM_LAYER_NORM_H_
#define REGKERN_CORE_LAYER_NORM_LAYER_NORM_H_

#include "regkern/array.h"
#include "regkern/layer_norm.h"

namespace regkern::layer_norm {

// The operands of row_norm and of row_norm_backward.
template <class T>
struct Forward {
  bool centred;
  In<T> x, residual;
  Out<T> h, y;
  const T *gamma, *beta;
  double eps;
  double *mean, *invstd;
};
template <class T>
struct Backward {
  bool centred;
  In<T> dy, x;
  Out<T> dx;
  const T* gamma;
  const double *mean, *invstd;
  double *dgamma, *dbeta;
};

// In rows: an affine parameter for each element, or for each plane of `inner` neighbours.
template <class T>
void normalize_in_rows(const RowShape& s, const Forward<T>& f);

// Its gradients: with one for each element, which sets dgamma and dbeta; in planes, which adds to them.
template <class T>
void gradient_in_rows(const RowShape& s, const Backward<T>& b);
template <class T>
void gradient_in_planes(const RowShape& s, const Backward<T>& b);

// In columns: channels in the last place. The gradient adds to dgamma and dbeta.
template <class T>
void normalize_in_columns(const RowShape& s, const Forward<T>& f);
template <class T>
void gradient_in_columns(const RowShape& s, const Backward<T>& b);

}  // namespace regkern::layer_norm

#endif  // REGKERN_CORE_LAYER_NORM_LAYER_NORM_H_
