// Least squares with penalties: a working set of columns, the quadratic problem on it, and a certificate over
// all columns. What was packed and factored for one strength serves the next.

#ifndef REGKERN_CORE_LINEAR_SQUARED_H_
#define REGKERN_CORE_LINEAR_SQUARED_H_

#include <cstddef>
#include <cstdint>
#include <utility>
#include <vector>

#include "core/linear/quadratic.h"
#include "core/linear/span.h"
#include "core/linear/working.h"

namespace regkern::linear {

class SquaredSolver {
 public:
  // Of `weights` in place of the problem's.
  SquaredSolver(const Design& X, const Problem& problem, const double* weights);

  void start(const double* w);
  Found solve(double l1, double l2, Limits limits);
  void coefficients(double* w) const;  // p

 private:
  using Vector = std::vector<double>;

  // A point where the objective was lowest so far.
  struct Best {
    double objective, gap;
    std::vector<std::pair<std::size_t, double>> nonzero;
  };

  Term term(std::size_t j) const;
  bool is_free(std::size_t j) const;       // of penalty and bounds
  Term working_term(std::size_t j) const;  // of the quadratic problem, where free columns do not move
  void set_strengths(double l1, double l2);
  void project();  // what is needed of columns without a penalty
  void settle_free();
  void remember(Best& best, const Found& found) const;
  void restore(const Best& best, Found& found);
  void add(std::vector<std::size_t> columns);
  double allowed(const Term& term, double tol) const;
  void evict();
  std::vector<std::uint32_t> near_threshold(const std::vector<std::uint32_t>& columns) const;
  bool choose(double tol, bool whole);
  void solve_working(const Vector& tol, bool first);
  bool descend_sparse(const Vector& tol);
  bool dear() const;
  void refresh(bool whole);  // r from w, and g of all columns that matter or of the likely ones
  bool narrow();
  void open_all();
  double objective() const;
  double largest_product(const Vector& g) const;
  // Which of the bounds that hold no coefficient a certificate knows: all, those of columns without a
  // penalty, or none.
  enum class Idle { kAll, kOfFree, kNone };
  Term dual_term(std::size_t j, Idle idle) const;
  bool find_held(Idle idle, std::vector<std::size_t>& held) const;
  bool project_held(Vector& theta, const std::vector<std::size_t>& held, Idle idle);
  double gap_at(const Vector& theta, const Vector& g, Idle idle) const;
  double certificate(Idle idle);

  const Design& X_;
  const Problem& problem_;
  double weight_, y_mean_, y_squared_;
  double floor_;            // no gap can be told below
  Vector w_, mean_, norm_;  // p; norm_ 0: a constant column, which takes no part
  double l1_ = -1, l2_ = -1;
  Working working_;
  Quadratic quadratic_;
  bool by_gram_;  // else coordinate descent on the residual
  std::size_t gram_rows_ = 0;
  std::vector<std::uint32_t> place_;   // of a column in the working set; kNowhere: not in it
  Vector y_, r_;                       // packed: √s·(y − mean), and what is left of it
  Vector u_;                           // of all samples: √s·r
  Vector g_;                           // p: x̃·r
  std::vector<std::uint32_t> likely_;  // not far from the working set
  // Of a column outside of the working set the largest violation, per unit of its length or of its threshold.
  double worst_ = 0, furthest_ = 0;

  double spare_ = 0;  // of the objective: what violations may add to the gap, per tol

  // A residual, and its products with all columns. The others than `open_` have a product now that is at most
  // `closed_` thresholds, which is at most 1.
  Vector anchor_r_, anchor_g_;
  std::vector<std::uint32_t> open_;
  double closed_ = 0;

  Span span_;  // of free columns: the quadratic problem is of what that leaves of the others
  std::vector<std::size_t> one_sided_;  // columns without a penalty that have one bound
  bool close_bounds_ = false;           // and nearly depend on each other
};

}  // namespace regkern::linear

#endif  // REGKERN_CORE_LINEAR_SQUARED_H_
