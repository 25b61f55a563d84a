// How far the objective is from its minimum, at most: the gap to the dual objective at a point whose products
// with columns without a penalty are 0.

#include <algorithm>
#include <cmath>
#include <limits>
#include <numeric>
#include <utility>

#include "core/linear/glm.h"
#include "core/linear/polling.h"
#include "core/linear/products.h"

namespace regkern::linear {
namespace {

constexpr double kInf = std::numeric_limits<double>::infinity();
constexpr double kEps = std::numeric_limits<double>::epsilon();
constexpr std::size_t kRows = 48;      // of a matrix between two looks at whether to end
constexpr double kOrthogonal = 1e-12;  // of a column's largest product with the dual point, which should be 0
constexpr double kMargin = 30 * kEps;  // of it: more than what is rounded of a product
constexpr int kTimes = 4;  // that the dual point is projected: each corrects the rounding of the one before

double squared(double v) { return v * v; }

}  // namespace

// s·(y − μ), less its part along what has no penalty, in the metric of the curvature: what is left is
// s·(y − q) for means q near μ. With columns that have one bound its product has one sign: where these nearly
// depend on each other, by more than what is rounded of it. Empty where that is lost in rounding.
GlmSolver::Vector GlmSolver::project() {
  Vector t = likelihood_.slope();
  const std::size_t n = likelihood_.size();
  std::vector<std::size_t> columns;  // slots
  Vector side;                       // 1: the bound is below, -1: above, 0: there is none
  for (std::size_t slot = 0; slot < slots(); ++slot) {
    const Direction* along = direction(slot);
    const bool stands = along != nullptr ? along->use != Direction::Use::kNone
                                         : is_constant(slot) || close_[column(slot)] == 0;
    const Term of = along != nullptr ? term_of(along->column) : term(slot);
    if (!stands || of.a != 0 || of.b != 0 || (of.lo != -kInf && of.hi != kInf)) continue;
    columns.push_back(slot);
    side.push_back(of.lo != -kInf ? 1 : of.hi != kInf ? -1 : 0);
  }
  if (columns.empty()) return t;
  const std::size_t count = columns.size();
  Vector packed(count * n), weighted(count * n), d;
  for (std::size_t k = 0; k < count; ++k) slot_add(columns[k], 1, packed.data() + k * n);
  // About their means by curvature: a level whose own is next to nothing shares none with the constant then.
  if (constant_ != 0) {
    Vector total(n);
    for (std::size_t c = 0; c < classes_; ++c) {
      likelihood_.curvature(c, c, d);
      products().axpy(1, d.data(), total.data(), n);
    }
    const double sum = std::accumulate(total.begin(), total.end(), 0.0);
    for (std::size_t k = 1; k < count && sum > 0; ++k) {
      const double mean = products().dot(total.data(), packed.data() + k * n, n) / sum;
      for (std::size_t i = 0; i < n; ++i) packed[k * n + i] -= mean;
    }
  }
  Quadratic problem;
  std::vector<std::pair<std::size_t, std::size_t>> members;  // (k, class)
  Vector tol;
  for (std::size_t k = 0; k < count; ++k) {
    for (std::size_t c = 0; c < classes_; ++c) {
      members.emplace_back(k, c);
      problem.add({0, 0, side[k] > 0 ? 0 : -kInf, side[k] < 0 ? 0 : kInf}, 0);
      tol.push_back(kMargin / 4 * norm(columns[k]) * scale_);
    }
  }
  problem.gram().resize(members.size());
  Vector pair(count * count);
  std::vector<const double*> as_is(count), times_d(count);
  for (std::size_t a = 0; a < classes_; ++a) {
    for (std::size_t b = 0; b <= a; ++b) {
      likelihood_.curvature(a, b, d);
      for (std::size_t k = 0; k < count; ++k) {
        for (std::size_t i = 0; i < n; ++i) weighted[k * n + i] = d[i] * packed[k * n + i];
      }
      std::fill(pair.begin(), pair.end(), 0.0);
      for (std::size_t k = 0; k < count; ++k)
        as_is[k] = packed.data() + k * n, times_d[k] = weighted.data() + k * n;
      for (std::size_t k = 0; k < count; k += kRows) {
        poll();
        products().dots(as_is.data() + k, std::min(kRows, count - k), times_d.data(), count, n,
                        pair.data() + k * count, count);
      }
      for (std::size_t e = 0; e < members.size(); ++e) {
        for (std::size_t f = 0; f < members.size(); ++f) {
          if (members[e].second != a || members[f].second != b) continue;
          problem.gram().row(e)[f] = problem.gram().row(f)[e] =
              pair[members[e].first * count + members[f].first];
        }
      }
    }
  }
  for (int times = 0; times < kTimes; ++times) {
    bool apart = times > 0;
    for (std::size_t e = 0; e < members.size(); ++e) {
      const auto [k, c] = members[e];
      const double size = norm(columns[k]) * scale_;
      const double left = products().dot(packed.data() + k * n, t.data() + c * n, n);
      const double allowed = side[k] != 0 && close_bounds_ ? 0 : kOrthogonal * size;
      apart = apart && (side[k] != 0 ? side[k] * left : std::abs(left)) <= allowed;
      problem.c[e] = left + (close_bounds_ ? side[k] * kMargin * size : 0);
    }
    if (apart) return t;
    problem.solve(tol);
    Vector eta(t.size());
    for (std::size_t e = 0; e < members.size(); ++e) {
      const auto [k, c] = members[e];
      products().axpy(problem.w[e], packed.data() + k * n, eta.data() + c * n, n);
    }
    t = likelihood_.slope();
    likelihood_.subtract_curvature(eta, t);
  }
  return {};
}

// How far the objective can be above its minimum: the gap to the dual objective at means q between the labels
// and μ. A sum of parts that are not negative.
double GlmSolver::certificate() {
  if (!certain_) {
    dual_ = project();
    correlate(dual_.empty() ? likelihood_.slope() : dual_, g_);
    certain_ = true;
  }
  if (dual_.empty()) return kInf;
  const bool bounded = problem_.lower != nullptr || problem_.upper != nullptr;
  const double gap = gap_at_dual(false);
  return (bounded && l1_ > 0 ? std::min(gap, gap_at_dual(true)) : gap) + rounding();
}

// The gap to scales of the dual point; or that of the problem without idle bounds of columns with a penalty,
// whose minimum is not above.
double GlmSolver::gap_at_dual(bool without_idle) const {
  const auto term_at = [&](std::size_t j, std::size_t k) {
    const Term t = term_of(j);
    return without_idle && (t.a > 0 || t.b > 0) ? without_idle_bounds(t, w_[k]) : t;
  };
  double largest = 0, steepest = 0;
  for (std::size_t c = 0; c < classes_; ++c) {
    for (std::size_t j = 0; j < X_.p; ++j) {
      const std::size_t k = feature(j, c);
      const Term t = term_at(j, k);
      if (norm_[j] == 0 || (t.a == 0 && t.b == 0)) continue;
      if (t.b == 0) {
        if (t.hi == kInf) largest = std::max(largest, g_[k] / t.a);
        if (t.lo == -kInf) largest = std::max(largest, -g_[k] / t.a);
      }
      if (t.a > 0) steepest = std::max(steepest, std::abs(g_[k] - t.b * w_[k]) / t.a);
    }
  }
  const double most = std::min(likelihood_.largest_scale(dual_), largest > 0 ? 1 / largest : kInf);
  double best = kInf;
  for (double s : {most, std::min(most, steepest > 1 ? 1 / steepest : 1.0)}) {
    if (s == most && best < kInf) break;
    double gap = likelihood_.divergence(dual_, s);
    for (std::size_t c = 0; c < classes_; ++c) {
      for (std::size_t j = 0; j < X_.p && gap < best; ++j) {
        const std::size_t k = feature(j, c);
        if (norm_[j] != 0) gap += conjugate_gap(term_at(j, k), s * g_[k], w_[k]);
      }
    }
    best = std::min(best, gap);
  }
  return best;
}

// Which are large where such columns nearly depend on each other. Of sums of so many samples it is nearer to
// 0 than that of one.
double GlmSolver::rounding() const {
  double squares = 0;
  for (std::size_t j = 0; j < X_.p; ++j) {
    const Term t = term_of(j);
    if (t.a != 0 || t.b != 0) continue;
    for (std::size_t c = 0; c < classes_; ++c) squares += squared(w_[feature(j, c)]) * squares_[j];
  }
  const double steep = products().dot(likelihood_.slope().data(), likelihood_.slope().data(), z_.size());
  return 2 * kEps * std::sqrt(squares / likelihood_.weight() * steep);
}

}  // namespace regkern::linear
