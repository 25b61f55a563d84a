// Generalized linear models with penalties: Newton steps, each the quadratic problem over a working set, and
// a certificate over all columns. One linear predictor, or one for each of several classes.

#ifndef REGKERN_CORE_LINEAR_GLM_H_
#define REGKERN_CORE_LINEAR_GLM_H_

#include <cstddef>
#include <cstdint>
#include <utility>
#include <vector>

#include "core/linear/likelihood.h"
#include "core/linear/quadratic.h"
#include "core/linear/working.h"

namespace regkern::linear {

class GlmSolver {
 public:
  // Of `weights` in place of the problem's.
  GlmSolver(const Design& X, const Problem& problem, const double* weights);

  void start(const double* w);
  Found solve(double l1, double l2, Limits limits);
  void coefficients(double* w) const;  // as the problem's coef has them

 private:
  using Vector = std::vector<double>;

  // What a free column adds to those that it nearly depends on, scaled to length 1: a column of its own.
  struct Direction {
    enum class Use { kFollowed, kCertified, kNone } use;  // too short for a coefficient; of other strengths
    std::size_t column;                                   // whose rest it is
    std::vector<std::pair<std::size_t, double>> coef;     // of the columns of X it is made of
    double constant;                                      // and of the intercept
  };

  std::size_t feature(std::size_t j, std::size_t c) const { return c * X_.p + j; }
  // Coordinates of the quadratic problem: all classes of the intercept, if there is one, and of each column.
  std::size_t slots() const { return constant_ + working_.size(); }
  std::size_t coordinate(std::size_t slot, std::size_t c) const { return slot * classes_ + c; }
  bool is_constant(std::size_t slot) const { return slot < constant_; }
  std::size_t column(std::size_t slot) const { return working_.column(slot - constant_); }
  double& value(std::size_t slot, std::size_t c);
  const Direction* direction(std::size_t slot) const;  // null: it is a column of X
  double norm(std::size_t slot) const;
  double intercept(std::size_t c) const;  // of columns as they are
  Term term(std::size_t slot) const;
  Term term_of(std::size_t j) const;

  void set_strengths(double l1, double l2);
  void find_directions();
  void add_direction(Direction direction, Vector x);
  void settle_directions();  // their coefficients become those of columns
  void add(std::vector<std::size_t> columns);
  bool choose(double tol);
  std::vector<std::size_t> near_columns() const;
  void correlate(const std::vector<std::size_t>& columns);
  double penalty(const Vector& w) const;
  double slot_dot(std::size_t slot, const double* v) const;
  void slot_add(std::size_t slot, double by, double* z) const;
  void settle_constant();
  void predict(const Vector& w, Vector& z) const;
  void correlate(const Vector& t, Vector& g) const;
  bool by_products() const;
  double penalty_of(const Vector& w) const;  // of all columns
  void step_by_products(double tol, double objective);
  void gradient();
  void make_gram(const Vector& d, std::size_t first, Square& gram) const;
  void make_gram(std::size_t first);
  void solve_working(double tol, double objective, bool grows);
  Vector project();
  double rounding() const;  // of the loss, by coefficients of columns without a penalty
  double certificate();
  double gap_at_dual(bool without_idle) const;

  const Design& X_;
  const Problem& problem_;
  std::size_t classes_, constant_;
  Vector mean_, norm_;  // p; norm_ 0: a constant column, which takes no part
  Vector squares_;      // p: of columns as they are
  Working working_;
  Likelihood likelihood_;
  Quadratic quadratic_;
  double scale_ = 0;  // the likelihood's, of the model without features
  double l1_ = -1, l2_ = -1;
  Vector w_, b_;  // classes × p, classes: of centred columns
  Vector z_;      // classes × samples: linear predictors
  Vector c_;      // of all coordinates: what the loss falls by
  Vector g_;      // classes × p: products of columns with the dual point
  double loss_ = 0;
  bool certain_ = false;              // g_ and the dual point are those of w_
  Vector dual_;                       // classes × samples: s·(y − q)
  std::vector<std::uint32_t> place_;  // of a column in the working set; kNowhere: not in it
  std::vector<char> close_;           // p: nearly depends on free columns, and directions stand for it
  bool close_bounds_ = false;         // columns with one bound nearly depend on each other
  std::vector<Direction> directions_;
  Vector along_;      // directions × classes: coefficients
  Vector curvature_;  // of the Gram matrix, where there is one class
  std::size_t gram_slots_ = 0;
};

}  // namespace regkern::linear

#endif  // REGKERN_CORE_LINEAR_GLM_H_
