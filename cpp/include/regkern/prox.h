// Penalty values and their proximal operators. T is float or double; y may be x itself (same data, same
// strides), any other overlap is the caller's fault. Formulas: regkern/reference/prox.

#ifndef REGKERN_PROX_H_
#define REGKERN_PROX_H_

#include "regkern/array.h"

namespace regkern {

// y = sign(x)·max(|x| − t, 0), or max(x − t, 0) if nonneg, with t = threshold, or threshold·weights where
// given.
template <class T>
void prox_l1(const Extents& shape, In<T> x, Out<T> y, T threshold, bool nonneg = false, In<T> weights = {});

// y = soft threshold of x, times `factor` = 1 / (1 + shrink).
template <class T>
void prox_elastic_net(const Extents& shape, In<T> x, Out<T> y, T threshold, T factor);

// The same with threshold·weights and 1 + shrink·weights.
template <class T>
void prox_elastic_net(const Extents& shape, In<T> x, Out<T> y, T threshold, T shrink, In<T> weights);

// y = x·factor, factor = 1 / (1 + shrink).
template <class T>
void prox_ridge(const Extents& shape, In<T> x, Out<T> y, T factor);

// y = x / (1 + shrink·weights).
template <class T>
void prox_ridge(const Extents& shape, In<T> x, Out<T> y, T shrink, In<T> weights);

// The proximal operators of threshold·(number of nonzeros) and of threshold·Σ√|y|.
template <class T>
void prox_l0(const Extents& shape, In<T> x, Out<T> y, double threshold);
template <class T>
void prox_l_half(const Extents& shape, In<T> x, Out<T> y, double threshold);

// Those of step times MCP and SCAD of strength threshold / step; step, gamma > 0, a > 1.
template <class T>
void prox_mcp(const Extents& shape, In<T> x, Out<T> y, double threshold, double gamma, double step);
template <class T>
void prox_scad(const Extents& shape, In<T> x, Out<T> y, double threshold, double a, double step);

// Of threshold·Σ log(1 + |y|/eps), eps > 0.
template <class T>
void prox_log_sum(const Extents& shape, In<T> x, Out<T> y, double threshold, double eps);

// Of shrink·Σ huber(y), which is y²/2 up to delta > 0 and goes on as a line.
template <class T>
void prox_huber(const Extents& shape, In<T> x, Out<T> y, double shrink, double delta);

// y = min(max(x, lower), upper), lower <= upper.
template <class T>
void project_box(const Extents& shape, In<T> x, Out<T> y, T lower, T upper);
template <class T>
void project_box(const Extents& shape, In<T> x, Out<T> y, In<T> lower, In<T> upper);

// Whether lower <= upper in every element: not where one is NaN.
template <class T>
bool ordered(const Extents& shape, In<T> lower, In<T> upper);

// Σ|x| and Σx² in double, elements in memory order.
template <class T>
double l1_norm(const Extents& shape, In<T> x);
template <class T>
double squared_l2_norm(const Extents& shape, In<T> x);

}  // namespace regkern

#endif  // REGKERN_PROX_H_
