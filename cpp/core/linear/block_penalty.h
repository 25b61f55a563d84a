// The penalty of one block: h(w) = lasso·|w|₁ + group·‖w‖₂ + ½·ridge·‖w‖², maybe on w ≥ 0, for the
// coefficients of a block that lie one after another.

#ifndef REGKERN_CORE_LINEAR_BLOCK_PENALTY_H_
#define REGKERN_CORE_LINEAR_BLOCK_PENALTY_H_

#include <cstddef>

namespace regkern::linear {

struct BlockPenalty {
  double lasso, group, ridge;
  bool positive;

  bool free() const { return lasso == 0 && group == 0 && ridge == 0; }
  bool kinked() const { return lasso > 0 || positive; }  // in every coefficient by itself

  // What is left of a coefficient's gradient beside the lasso's part, where the coefficient is 0.
  double shrink(double v) const {
    if (positive) return v > lasso ? v - lasso : 0;
    return v > lasso ? v - lasso : v < -lasso ? v + lasso : 0;
  }
};

double length(const double* v, std::size_t n);

double value(const BlockPenalty& h, const double* w, std::size_t n);

// The minimizer of ½·curvature·‖w − z/curvature‖² + h(w), in place of z.
void prox(const BlockPenalty& h, double curvature, double* z, std::size_t n);

// How far c, the negative gradient of all but h's lasso and group, is from their subdifferential at w.
double violation(const BlockPenalty& h, const double* w, const double* c, std::size_t n);

// The least m ≥ 0 for which u is in m times the dual ball: ‖shrink(u, m·lasso)‖ ≤ m·group.
double dual_norm(const BlockPenalty& h, const double* u, std::size_t n);

// h(w) + h*(s·u) − s·u·w ≥ 0, for s·u in the dual ball where there is no ridge.
double conjugate_gap(const BlockPenalty& h, const double* w, const double* u, double s, std::size_t n);

}  // namespace regkern::linear

#endif  // REGKERN_CORE_LINEAR_BLOCK_PENALTY_H_
