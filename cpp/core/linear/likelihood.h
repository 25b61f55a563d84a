// Losses of generalized linear models, with one linear predictor or one for each class.

#ifndef REGKERN_CORE_LINEAR_LIKELIHOOD_H_
#define REGKERN_CORE_LINEAR_LIKELIHOOD_H_

#include <cstddef>
#include <vector>

#include "regkern/linear.h"

namespace regkern::linear {

// Of samples with labels y and weights s > 0. What belongs to classes is class by class, size() apart; a loss
// with one linear predictor has one class.
class Likelihood {
 public:
  using Vector = std::vector<double>;

  Likelihood(Loss loss, std::size_t classes, Vector y, Vector s);

  std::size_t size() const { return y_.size(); }
  std::size_t classes() const { return classes_; }
  double weight() const { return weight_; }
  const Vector& weights() const { return s_; }
  double rounding() const { return rounding_; }  // of a sum of losses
  const Vector& mean() const { return mean_; }
  const Vector& slope() const { return slope_; }  // s·(y − μ)
  double scale() const { return scale_; }         // √Σ s·(y − μ)²

  // The predictors without features that minimize the loss.
  Vector constant() const;
  // Σ s·loss at z, where the loss is 0 for μ = y: the divergence of y from μ.
  double loss(const Vector& z) const;
  // The same, and mean() and slope().
  double evaluate(const Vector& z);
  // s·∂μ_a/∂z_b.
  void curvature(std::size_t a, std::size_t b, Vector& out) const;
  // out −= s·Σ_b ∂μ_a/∂z_b·eta_b.
  void subtract_curvature(const Vector& eta, Vector& out) const;
  // The largest scale <= 1 at which y − scale·t/s is a mean, and how far it is from μ: the gap of the losses.
  double largest_scale(const Vector& t) const;
  double divergence(const Vector& t, double scale) const;

 private:
  double sum(const Vector& z, bool keep) const;

  Loss loss_;
  std::size_t classes_;
  Vector y_, s_;
  double weight_ = 0, rounding_ = 0, scale_ = 0;
  double at_best_ = 0;  // Σ s·(loss as the kernels have it) for μ = y
  mutable Vector mean_, rest_, slope_;
};

}  // namespace regkern::linear

#endif  // REGKERN_CORE_LINEAR_LIKELIHOOD_H_
