// Penalty values and their proximal operators. T is float or double; y may be x itself (same data, same
// strides), any other overlap is the caller's fault. Formulas: regkern/reference/prox.py.

#ifndef REGKERN_PROX_H_
#define REGKERN_PROX_H_

#include "regkern/array.h"

namespace regkern {

// y = sign(x)·max(|x| − t, 0), or max(x − t, 0) if nonneg, with t = threshold, or threshold·weights where
// given.
template <class T>
void prox_l1(const Extents& shape, In<T> x, Out<T> y, T threshold, bool nonneg = false, In<T> weights = {});

// y = soft threshold of x, divided by `divisor` = 1 + shrink.
template <class T>
void prox_elastic_net(const Extents& shape, In<T> x, Out<T> y, T threshold, T divisor);

// y = x / divisor, divisor = 1 + shrink.
template <class T>
void prox_ridge(const Extents& shape, In<T> x, Out<T> y, T divisor);

// Σ|x| and Σx² in double, elements in memory order.
template <class T>
double l1_norm(const Extents& shape, In<T> x);
template <class T>
double squared_l2_norm(const Extents& shape, In<T> x);

}  // namespace regkern

#endif  // REGKERN_PROX_H_
