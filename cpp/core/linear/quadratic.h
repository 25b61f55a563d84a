// The quadratic problem over a working set: minimize ½wᵀGw − (linear part) + Σ aⱼ|wⱼ| + ½bⱼwⱼ² on boxes,
// where G may be singular. Coordinate descent finds the support, Newton steps on it the solution; where the
// factor has null directions, an active-set method takes one coordinate at a time.

#ifndef REGKERN_CORE_LINEAR_QUADRATIC_H_
#define REGKERN_CORE_LINEAR_QUADRATIC_H_

#include <cstddef>
#include <vector>

#include "core/linear/working.h"

namespace regkern::linear {

// What one coordinate adds to the objective: a|w| + ½bw² on [lo, hi].
struct Term {
  double a, b, lo, hi;
};

// By how much the gradient c = −∂(smooth part) leaves the subdifferential of a|w| and the cone of [lo, hi].
double violation(const Term& term, double w, double c);
// The term without its idle bounds, which do not hold w. In the dual objective these are multiplied by what u
// exceeds a by: at a minimum that is the rounding of u.
Term without_idle_bounds(const Term& term, double w);
// h(w) + h*(u) − u·w for h = a|·| + ½b(·)² on [lo, hi]: 0 where u is in the subdifferential of h at w, and
// never negative.
double conjugate_gap(const Term& term, double u, double w);

// v, nearer to 0 by so much, or 0.
inline double shrink(double v, double by) { return v > by ? v - by : v < -by ? v + by : 0; }

class Quadratic {
 public:
  std::size_t size() const { return w.size(); }
  Square& gram() { return gram_; }
  // A coordinate at w, whose row of the Gram matrix is there by the time of solve().
  void add(const Term& term, double start);
  // The coordinates at these places, in order, are left.
  void keep(const std::vector<std::size_t>& places);
  // The terms have changed: what was factored with other b's, too.
  void set_terms(const std::vector<Term>& terms);
  const Term& term(std::size_t j) const { return terms_[j]; }
  bool moves(std::size_t j) const { return terms_[j].lo < terms_[j].hi; }
  // Rows of the Gram matrix have changed.
  void forget_factor() { factored_ = 0; }

  // From w and its negative gradient c (with that of b), until no violation exceeds `tol`. Whether it
  // got there.
  // step_first: w is the solution for other strengths, so most of its support stays, and the factor with it.
  bool solve(const std::vector<double>& tol, bool step_first = false);

  std::vector<double> w, c;

 private:
  using Indices = std::vector<std::size_t>;
  using Vector = std::vector<double>;

  // A step along a direction of some coordinates.
  struct Line {
    double t = 0, decrease = 0;
    std::size_t stopped = SIZE_MAX;  // the coordinate that a kink or bound has stopped
    double at = 0;                   // there
  };

  double excess(const Vector& tol) const;
  double epochs_of_step() const;
  bool descend();
  bool newton();
  bool active(const Vector& tol);

  Indices support() const;  // between its bounds, and not at a kink
  // H = G + b of the members, keeping the rows that stay.
  std::size_t factor(const Indices& members, bool until_skipped = false);
  Vector solve_factored(Vector rhs) const;                      // H⁻¹ rhs, 0 where a pivot was skipped
  Vector back(Vector y) const;                                  // L⁻ᵀ y
  Vector forward(Vector rhs) const;                             // L⁻¹ rhs
  Vector null_direction(std::size_t j) const;                   // of the skipped pivot j of the factor
  Vector image(const Indices& members, const Vector& e) const;  // G e
  Line line(const Indices& members, const Vector& e, const Vector& image, bool flat = false) const;
  Line to_first_end(const Indices& members, const Vector& e) const;
  void apply(const Indices& members, const Vector& e, const Vector& image, const Line& step);
  double h(std::size_t j) const { return gram_.row(j)[j] + terms_[j].b; }

  std::vector<Term> terms_;
  Square gram_;
  Square lower_;          // the factor, by rows
  Vector inverse_pivot_;  // 0: skipped
  Indices order_;         // whose rows they are
  std::size_t factored_ = 0;
};

}  // namespace regkern::linear

#endif  // REGKERN_CORE_LINEAR_QUADRATIC_H_
