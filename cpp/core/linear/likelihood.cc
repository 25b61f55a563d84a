// Which kernels a loss has, and where a mean may go.

#include "core/linear/likelihood.h"

#undef HWY_TARGET_INCLUDE
#define HWY_TARGET_INCLUDE "core/linear/likelihood.cc"
#include "hwy/foreach_target.h"

#include "core/dispatch.h"
#include "kernels/linear/likelihood-inl.h"

#define REGKERN_FAMILY linear_likelihood
#define REGKERN_KERNELS(X)
#define REGKERN_PLAIN_KERNELS(X) \
  X(logistic)                    \
  X(poisson)                     \
  X(softmax)                     \
  X(divergence)
#include "core/table-inl.h"

#if HWY_ONCE
#include <algorithm>
#include <cmath>
#include <limits>
#include <utility>

namespace regkern::linear {
namespace {

constexpr double kInf = std::numeric_limits<double>::infinity();
constexpr double kEps = std::numeric_limits<double>::epsilon();
constexpr std::size_t kStretch = 4096;  // samples whose terms are added one by one
constexpr double kFarthest = 36;        // of a constant predictor: its loss is rounding's
constexpr double kNothing = 1e-12;      // of a mean is rounding's

}  // namespace

Likelihood::Likelihood(Loss loss, std::size_t classes, Vector y, Vector s)
    : loss_(loss), classes_(classes), y_(std::move(y)), s_(std::move(s)) {
  double size = 0;
  for (std::size_t i = 0; i < y_.size(); ++i) {
    weight_ += s_[i];
    if (loss_ != Loss::kPoisson) continue;
    const double best = y_[i] > 0 ? y_[i] - y_[i] * std::log(y_[i]) : 0;
    at_best_ += s_[i] * best;
    size += s_[i] * (y_[i] + std::abs(best));
  }
  rounding_ = 10 * kEps * (loss_ == Loss::kPoisson ? size : weight_);
  mean_.resize(classes_ * y_.size());
  slope_.resize(classes_ * y_.size());
  if (loss_ == Loss::kLogistic) rest_.resize(y_.size());
}

Likelihood::Vector Likelihood::constant() const {
  Vector share(classes_);
  double others = 0;  // each class of two has its own sum: 1 less a share has the rounding of the whole
  for (std::size_t i = 0; i < size(); ++i) {
    if (loss_ == Loss::kMultinomial) {
      share[static_cast<std::size_t>(y_[i])] += s_[i] / weight_;
    } else {
      share[0] += s_[i] * y_[i] / weight_;
      others += s_[i] * (1 - y_[i]) / weight_;
    }
  }
  for (double& b : share) {
    const double odds = loss_ == Loss::kLogistic ? b / others : b;
    b = std::clamp(std::log(odds), -kFarthest, kFarthest);
  }
  return share;
}

double Likelihood::sum(const Vector& z, bool keep) const {
  const Table<double>& k = table<double>();
  const auto kernel = loss_ == Loss::kLogistic ? k.logistic : loss_ == Loss::kPoisson ? k.poisson : k.softmax;
  double total = -at_best_;
  for (std::size_t at = 0; at < size(); at += kStretch) {
    const Stretch x = {z.data() + at, y_.data() + at, s_.data() + at, std::min(kStretch, size() - at),
                       classes_,      size()};
    Means out = {nullptr, nullptr, nullptr};
    if (keep) out = {mean_.data() + at, rest_.empty() ? nullptr : rest_.data() + at, slope_.data() + at};
    total += kernel(x, out);
  }
  return total < 0 ? 0 : total;  // rounding's; NaN stays
}

double Likelihood::loss(const Vector& z) const { return sum(z, false); }

double Likelihood::evaluate(const Vector& z) {
  const double loss = sum(z, true);
  scale_ = 0;
  for (std::size_t c = 0; c < classes_; ++c) {
    for (std::size_t i = 0; i < size(); ++i)
      scale_ += slope_[c * size() + i] * slope_[c * size() + i] / s_[i];
  }
  scale_ = std::sqrt(scale_);
  return loss;
}

void Likelihood::curvature(std::size_t a, std::size_t b, Vector& out) const {
  const std::size_t n = size();
  const double *left = mean_.data() + a * n, *right = mean_.data() + b * n;
  out.resize(n);
  for (std::size_t i = 0; i < n; ++i) {
    const double factor = loss_ == Loss::kPoisson    ? 1
                          : loss_ == Loss::kLogistic ? rest_[i]
                                                     : (a == b ? 1 - right[i] : -right[i]);
    out[i] = s_[i] * left[i] * factor;
  }
}

void Likelihood::subtract_curvature(const Vector& eta, Vector& out) const {
  const std::size_t n = size();
  for (std::size_t i = 0; i < n; ++i) {
    double middle = 0;
    if (loss_ == Loss::kMultinomial) {
      for (std::size_t c = 0; c < classes_; ++c) middle += mean_[c * n + i] * eta[c * n + i];
    }
    for (std::size_t c = 0; c < classes_; ++c) {
      const double factor = loss_ == Loss::kLogistic ? rest_[i] : 1;
      out[c * n + i] -= s_[i] * mean_[c * n + i] * factor * (eta[c * n + i] - middle);
    }
  }
}

double Likelihood::largest_scale(const Vector& t) const {
  const std::size_t n = size();
  double most = 1;
  for (std::size_t i = 0; i < n; ++i) {
    for (std::size_t c = 0; c < classes_; ++c) {
      const double step = t[c * n + i] / s_[i];
      if (loss_ == Loss::kPoisson) {
        if (step > kNothing) most = std::min(most, y_[i] / step);
        continue;
      }
      // A mean of 1 can fall to 0, and one of 0 can rise to 1: of several classes, as others fall.
      const bool hit = loss_ == Loss::kLogistic ? y_[i] != 0 : y_[i] == static_cast<double>(c);
      const double fall = hit ? step : -step;
      if (fall < -kNothing) most = 0;
      if (fall > 1) most = std::min(most, 1 / fall);
    }
  }
  return most;
}

double Likelihood::divergence(const Vector& t, double scale) const {
  const std::size_t n = size();
  const Table<double>& k = table<double>();
  Vector from(std::min(n, kStretch));
  double total = 0;
  for (std::size_t c = 0; c < classes_; ++c) {
    for (std::size_t at = 0; at < n; at += kStretch) {
      const std::size_t count = std::min(kStretch, n - at);
      for (std::size_t i = 0; i < count; ++i) {
        from[i] = loss_ == Loss::kMultinomial ? (y_[at + i] == static_cast<double>(c) ? 1 : 0) : y_[at + i];
      }
      const Between x = {mean_.data() + c * n + at, from.data(), t.data() + c * n + at, s_.data() + at,
                         -scale};
      total += k.divergence(x, count);
      if (loss_ != Loss::kLogistic) continue;
      for (std::size_t i = 0; i < count; ++i) from[i] = 1 - from[i];
      total += k.divergence({rest_.data() + at, from.data(), t.data() + at, s_.data() + at, scale}, count);
    }
  }
  return total;
}

}  // namespace regkern::linear
#endif  // HWY_ONCE
