// One round: a pass over X that certifies and chooses columns, then Newton steps on those.

#include "core/linear/glm.h"

#include <algorithm>
#include <cmath>
#include <limits>
#include <numeric>
#include <utility>

#include "core/linear/polling.h"
#include "core/linear/products.h"

namespace regkern::linear {
namespace {

constexpr double kInf = std::numeric_limits<double>::infinity();
constexpr double kEps = std::numeric_limits<double>::epsilon();
constexpr double kRounding = 10 * kEps;  // of the largest product of a column
constexpr std::uint32_t kNowhere = UINT32_MAX;
constexpr std::size_t kFewest = 100;  // columns that enter the working set at once, if as many want to
constexpr std::size_t kFew = 16;      // so few have entered that the next round may be the last
constexpr int kSteps = 30;            // of Newton's method between two passes over X
constexpr int kIdle = 4;              // so many steps that neither halve the residual are the last,
constexpr double kFall = 1e-12;       // nor lower the objective by so much of it
constexpr double kSlow = 3.3;         // a step that makes less of the residual wants a new Gram matrix
constexpr double kInner = 0.01;       // of the residual is left by a quadratic problem
constexpr double kRidge = 1e-3;       // of the violations whose squares make a gap of tol
constexpr double kBetween = 0.05;     // of it is left between passes
constexpr int kHalvings = 40;
constexpr double kFar = 100;         // squares of the mean to those about it: two digits of sums are lost
constexpr double kNear = 0.5;        // of its penalty: a column with so large a product may soon be wanted
constexpr int kLooks = 8;            // at those alone, between two passes over all
constexpr std::size_t kMany = 2500;  // coefficients, of which a Gram matrix is too large
constexpr std::size_t kConjugate = 500;   // gradients a step
constexpr std::size_t kLittle = 1 << 20;  // elements of X that are all looked at as soon as some

double squared(double v) { return v * v; }

bool is_free(const Term& t) { return t.a == 0 && t.b == 0 && t.lo == -kInf && t.hi == kInf; }

// Weights of all samples, and which of them count: 1 or 0.
std::vector<double> counted(const double* weights, std::size_t n) {
  std::vector<double> q;
  if (weights == nullptr || std::find(weights, weights + n, 0.0) == weights + n) return q;
  q.resize(n);
  std::transform(weights, weights + n, q.begin(), [](double s) { return s > 0 ? 1.0 : 0.0; });
  return q;
}

Likelihood likelihood_of(const Problem& problem, const double* weights, const Working& working) {
  std::vector<double> y(working.samples()), s(working.samples(), 1.0);
  working.gather(problem.y, y.data());
  if (weights != nullptr) working.gather(weights, s.data());
  return {problem.loss, problem.classes, std::move(y), std::move(s)};
}

}  // namespace

GlmSolver::GlmSolver(const Design& X, const Problem& problem, const double* weights)
    : X_(X),
      problem_(problem),
      classes_(problem.classes),
      constant_(problem.intercept ? 1 : 0),
      working_(X, counted(weights, X.n)),
      likelihood_(likelihood_of(problem, weights, working_)),
      w_(classes_ * X.p),
      b_(classes_),
      z_(classes_ * likelihood_.size()),
      g_(classes_ * X.p),
      place_(X.p, kNowhere),
      close_(X.p) {
  const std::size_t n = likelihood_.size();
  if (constant_ != 0) b_ = likelihood_.constant();
  for (std::size_t c = 0; c < classes_; ++c) {
    std::fill_n(z_.data() + c * n, n, b_[c]);
    for (std::size_t k = 0; k < constant_; ++k) quadratic_.add({0, 0, -kInf, kInf}, b_[c]);
  }
  loss_ = likelihood_.evaluate(z_);
  dual_ = likelihood_.slope();
  Vector all(X.n);
  working_.scatter(dual_.data(), all.data());
  ColumnMoments moments = X.moments(weights, all.data(), problem.intercept);
  mean_ = std::move(moments.mean);
  norm_ = std::move(moments.centred);
  std::copy(moments.with_u.begin(), moments.with_u.end(), g_.begin());
  for (std::size_t j = 0; j < X.p; ++j) {
    if (!std::isfinite(norm_[j])) throw NotFinite{j};
    // Sparse columns stay sparse, and the intercept stands for their means, unless these are large.
    if (X.sparse() && likelihood_.weight() * squared(mean_[j]) <= kFar * norm_[j]) mean_[j] = 0;
    norm_[j] = length_of(norm_[j], moments.raw[j]);
  }
  squares_ = std::move(moments.raw);
  for (std::size_t c = 1; c < classes_; ++c) {
    working_.scatter(dual_.data() + c * n, all.data());
    X.correlate(all.data(), mean_.data(), g_.data() + c * X.p);
  }
  certain_ = true;
  scale_ = likelihood_.scale();
}

double& GlmSolver::value(std::size_t slot, std::size_t c) {
  if (is_constant(slot)) return b_[c];
  const std::size_t j = column(slot);
  return j < X_.p ? w_[feature(j, c)] : along_[(j - X_.p) * classes_ + c];
}

const GlmSolver::Direction* GlmSolver::direction(std::size_t slot) const {
  return is_constant(slot) || column(slot) < X_.p ? nullptr : &directions_[column(slot) - X_.p];
}

double GlmSolver::norm(std::size_t slot) const {
  if (is_constant(slot)) return std::sqrt(likelihood_.weight());
  return direction(slot) != nullptr ? 1 : norm_[column(slot)];
}

Term GlmSolver::term_of(std::size_t j) const {
  const double v = problem_.factor == nullptr ? 1 : problem_.factor[j];
  return {l1_ * v, l2_ * v, problem_.lower == nullptr ? -kInf : problem_.lower[j],
          problem_.upper == nullptr ? kInf : problem_.upper[j]};
}

Term GlmSolver::term(std::size_t slot) const {
  constexpr Term kFree{0, 0, -kInf, kInf}, kHeld{0, 0, 0, 0};
  if (is_constant(slot)) return kFree;
  const Direction* along = direction(slot);
  if (along != nullptr) return along->use == Direction::Use::kFollowed ? kFree : kHeld;
  return close_[column(slot)] != 0 && is_free(term_of(column(slot))) ? kHeld : term_of(column(slot));
}

void GlmSolver::start(const double* w) {
  const std::size_t step = problem_.loss == Loss::kMultinomial ? X_.p + 1 : X_.p;
  bool any = false;
  for (std::size_t c = 0; c < classes_; ++c) {
    for (std::size_t j = 0; j < X_.p; ++j) {
      const Term t = term_of(j);
      double& to = w_[feature(j, c)];
      to = norm_[j] == 0 ? 0 : std::clamp(w[c * step + j], t.lo, t.hi);
      any = any || to != 0;
    }
  }
  if (!any) return;
  const Vector null_z = z_, null_b = b_;
  const double null_loss = loss_;
  Vector moved(z_.size());
  predict(w_, moved);
  for (std::size_t i = 0; i < z_.size(); ++i) z_[i] += moved[i];
  loss_ = likelihood_.evaluate(z_);
  certain_ = false;
  settle_constant();
  if (loss_ <= null_loss) return;
  // Worse than nothing: means so far out that no curvature is left would hold it there.
  z_ = null_z;
  b_ = null_b;
  std::fill(w_.begin(), w_.end(), 0.0);
  loss_ = likelihood_.evaluate(z_);
}

// What coefficients of centred columns add to the predictors.
void GlmSolver::predict(const Vector& w, Vector& z) const {
  Vector all(X_.n);
  for (std::size_t c = 0; c < classes_; ++c) {
    std::vector<std::size_t> columns;
    Vector nonzero;
    double shift = 0;
    for (std::size_t j = 0; j < X_.p; ++j) {
      if (w[feature(j, c)] == 0) continue;
      columns.push_back(j);
      nonzero.push_back(w[feature(j, c)]);
      shift += mean_[j] * w[feature(j, c)];
    }
    std::fill(all.begin(), all.end(), -shift);
    X_.multiply(columns, nonzero.data(), all.data());
    working_.gather(all.data(), z.data() + c * likelihood_.size());
  }
}

// Products of all columns with what belongs to samples.
void GlmSolver::correlate(const Vector& t, Vector& g) const {
  Vector all(X_.n);
  for (std::size_t c = 0; c < classes_; ++c) {
    working_.scatter(t.data() + c * likelihood_.size(), all.data());
    X_.correlate(all.data(), mean_.data(), g.data() + c * X_.p);
  }
}

// Newton's method on the intercepts alone.
void GlmSolver::settle_constant() {
  if (constant_ == 0) return;
  const std::size_t n = likelihood_.size();
  Vector d, moved(z_.size());
  const Vector tol(classes_, kRounding * likelihood_.weight());
  for (int step = 0; step < kSteps; ++step) {
    poll();
    Quadratic problem;
    for (std::size_t a = 0; a < classes_; ++a) {
      problem.add({0, 0, -kInf, kInf}, 0);
      const double* slope = likelihood_.slope().data() + a * n;
      problem.c.back() = std::accumulate(slope, slope + n, 0.0);
      problem.gram().resize(classes_);
      for (std::size_t b = 0; b <= a; ++b) {
        likelihood_.curvature(a, b, d);
        problem.gram().row(a)[b] = problem.gram().row(b)[a] = std::accumulate(d.begin(), d.end(), 0.0);
      }
    }
    problem.solve(tol);
    double largest = 0;
    for (std::size_t c = 0; c < classes_; ++c) {
      problem.w[c] = std::clamp(problem.w[c], -2.0, 2.0);
      largest = std::max(largest, std::abs(problem.w[c]));
      for (std::size_t i = 0; i < n; ++i) moved[c * n + i] = z_[c * n + i] + problem.w[c];
    }
    if (!(largest > 1e-10) || !(likelihood_.loss(moved) < loss_)) return;
    z_.swap(moved);
    for (std::size_t c = 0; c < classes_; ++c) b_[c] += problem.w[c];
    loss_ = likelihood_.evaluate(z_);
  }
}

void GlmSolver::coefficients(double* w) const {
  const std::size_t step = problem_.loss == Loss::kMultinomial ? X_.p + 1 : X_.p;
  const bool several = step != X_.p;
  for (std::size_t c = 0; c < classes_; ++c) {
    std::copy_n(w_.data() + c * X_.p, X_.p, w + c * step);
    if (several) w[c * step + X_.p] = intercept(c);
  }
  if (!several) return;
  // What all classes share changes no loss: without it, a penalty of squares is least.
  for (std::size_t j = 0; j <= X_.p; ++j) {
    if (j == X_.p && constant_ == 0) continue;
    if (j < X_.p) {
      const Term t = term_of(j);
      if (t.a != 0 || t.lo != -kInf || t.hi != kInf) continue;
    }
    double middle = 0;
    for (std::size_t c = 0; c < classes_; ++c) middle += w[c * step + j] / static_cast<double>(classes_);
    for (std::size_t c = 0; c < classes_; ++c) w[c * step + j] -= middle;
  }
}

double GlmSolver::intercept(std::size_t c) const {
  double shift = 0;
  for (std::size_t j = 0; j < X_.p; ++j) shift += mean_[j] * w_[feature(j, c)];
  return b_[c] - shift;
}

void GlmSolver::set_strengths(double l1, double l2) {
  const bool same_kind = l1_ >= 0 && (l1 == 0) == (l1_ == 0) && (l2 == 0) == (l2_ == 0);
  l1_ = l1;
  l2_ = l2;
  std::vector<std::size_t> columns;
  if (!by_products()) {
    for (std::size_t j = 0; j < X_.p; ++j) {
      bool any = false;
      for (std::size_t c = 0; c < classes_; ++c) any = any || w_[feature(j, c)] != 0;
      if (any && place_[j] == kNowhere) columns.push_back(j);
    }
    add(std::move(columns));
    columns.clear();
  }
  for (std::size_t j = 0; j < X_.p && !same_kind; ++j) {
    const Term t = term_of(j);
    if (norm_[j] == 0 || t.a != 0 || t.b != 0 || (t.lo != -kInf && t.hi != kInf)) continue;
    certain_ = false;
    if (place_[j] == kNowhere) columns.push_back(j);
  }
  add(std::move(columns));
  if (!same_kind) find_directions();
  std::vector<Term> terms;
  for (std::size_t slot = 0; slot < slots(); ++slot) terms.insert(terms.end(), classes_, term(slot));
  quadratic_.set_terms(terms);
}

void GlmSolver::add(std::vector<std::size_t> columns) {
  std::sort(columns.begin(), columns.end());
  for (std::size_t j : columns) {
    place_[j] = static_cast<std::uint32_t>(working_.size());
    working_.add(j, mean_[j], X_.sparse() && mean_[j] != 0 ? Working::Mean::kLarge : Working::Mean::kUnknown);
    for (std::size_t c = 0; c < classes_; ++c) quadratic_.add(term_of(j), w_[feature(j, c)]);
  }
}

// The columns that violate the optimality conditions most. Whether there were many.
bool GlmSolver::choose(double tol) {
  std::vector<std::pair<double, std::size_t>> wanted;
  std::vector<std::size_t> chosen;
  std::size_t nonzero = 0;
  for (std::size_t j = 0; j < X_.p; ++j) {
    if (norm_[j] == 0) continue;
    const Term t = term_of(j);
    double most = 0;
    bool any = false;
    for (std::size_t c = 0; c < classes_; ++c) {
      const double w = w_[feature(j, c)];
      any = any || w != 0;
      most = std::max(most, violation(t, w, g_[feature(j, c)] - t.b * w));
    }
    nonzero += any;
    if (place_[j] != kNowhere) continue;
    if (most > std::max(tol * t.a / 4, kRounding * norm_[j] * likelihood_.scale()))
      wanted.emplace_back(-most / norm_[j], j);
  }
  const std::size_t most = l1_ == 0 ? wanted.size() : std::max(kFewest, nonzero);
  if (wanted.size() > most) {
    std::nth_element(wanted.begin(), wanted.begin() + static_cast<std::ptrdiff_t>(most), wanted.end());
    wanted.resize(most);
  }
  for (const auto& [excess, j] : wanted) chosen.push_back(j);
  add(std::move(chosen));
  return wanted.size() > kFew;
}

// Columns that may soon be wanted: between two passes over all, they are looked at alone. None where a column
// of X is not a piece of memory, or all of X is little.
std::vector<std::size_t> GlmSolver::near_columns() const {
  std::vector<std::size_t> near;
  if (l1_ == 0 || X_.n * X_.p < kLittle || X_.column(0) == nullptr) return near;
  for (std::size_t j = 0; j < X_.p; ++j) {
    if (norm_[j] == 0 || place_[j] != kNowhere) continue;
    double largest = 0;
    for (std::size_t c = 0; c < classes_; ++c) largest = std::max(largest, std::abs(g_[feature(j, c)]));
    if (largest > kNear * term_of(j).a) near.push_back(j);
  }
  if (near.size() > X_.p / 2) near.clear();
  return near;
}

void GlmSolver::correlate(const std::vector<std::size_t>& columns) {
  Vector all(X_.n);
  for (std::size_t c = 0; c < classes_; ++c) {
    working_.scatter(likelihood_.slope().data() + c * likelihood_.size(), all.data());
    const double sum = std::accumulate(all.begin(), all.end(), 0.0);
    for (std::size_t j : columns) {
      if (place_[j] == kNowhere) {
        g_[feature(j, c)] = products().dot(X_.column(j), all.data(), X_.n) - mean_[j] * sum;
      }
    }
  }
}

// Without kinks and bounds, and with more columns than a Gram matrix should have, Newton's steps are made by
// conjugate gradients: of X, they need products alone.
bool GlmSolver::by_products() const {
  return l1_ == 0 && l2_ > 0 && problem_.lower == nullptr && problem_.upper == nullptr &&
         X_.p * classes_ > kMany;
}

double GlmSolver::penalty_of(const Vector& w) const {
  double sum = 0;
  for (std::size_t c = 0; c < classes_; ++c) {
    for (std::size_t j = 0; j < X_.p; ++j) {
      const double v = w[feature(j, c)];
      if (v == 0) continue;
      const Term t = term_of(j);
      sum += t.a * std::abs(v) + t.b * v * v / 2;
    }
  }
  return sum;
}

void GlmSolver::step_by_products(double tol, double objective) {
  // Vectors of all coefficients, behind them those of the intercept and of directions, class by class.
  std::vector<std::size_t> behind;
  for (std::size_t slot = 0; slot < slots(); ++slot) {
    if (is_constant(slot) || (direction(slot) != nullptr && quadratic_.moves(coordinate(slot, 0)))) {
      behind.push_back(slot);
    }
  }
  const std::size_t n = likelihood_.size(), p = classes_ * X_.p, size = p + behind.size() * classes_;
  const auto slot_of = [&](std::size_t k) { return behind[(k - p) / classes_]; };
  const auto image = [&](const Vector& d, Vector& eta) {
    predict(d, eta);
    for (std::size_t k = p; k < size; ++k) slot_add(slot_of(k), d[k], eta.data() + (k - p) % classes_ * n);
  };
  const auto back = [&](const Vector& t, Vector& g) {
    correlate(t, g);
    for (std::size_t k = p; k < size; ++k) g[k] = slot_dot(slot_of(k), t.data() + (k - p) % classes_ * n);
    for (std::size_t k = 0; k < p; ++k) {
      if (norm_[k % X_.p] == 0 || close_[k % X_.p] != 0) g[k] = 0;
    }
  };
  const auto dot = [&](const Vector& x, const Vector& y) { return products().dot(x.data(), y.data(), size); };
  Vector g(size), d(size), r(size), s(size), direction(size), h(size), eta(z_.size()), t(z_.size()),
      moved(z_.size());
  Vector next(p), curvature, ridge(size), preconditioner(size);
  double begin = 0;
  for (int step = 0; step < kSteps; ++step) {
    back(likelihood_.slope(), g);
    bool done = true;
    double left_gap = 0, mean = 0;  // what these violations leave of it
    for (std::size_t k = 0; k < size; ++k) {
      const std::size_t c = k < p ? k / X_.p : (k - p) % classes_;
      const double b = k < p ? term_of(k % X_.p).b : 0;
      const double length = k < p ? norm_[k % X_.p] : norm(slot_of(k));
      if (k < p) g[k] -= b * w_[k];
      if (k == c * X_.p || k >= p) {
        likelihood_.curvature(c, c, curvature);
        mean = std::accumulate(curvature.begin(), curvature.end(), 0.0) / likelihood_.weight();
      }
      ridge[k] = b;
      preconditioner[k] = 1 / std::max(mean * squared(length) + b, 1e-300);
      const double rounding = kRounding * length * likelihood_.scale();
      if (b > 0 && std::abs(g[k]) > rounding) left_gap += squared(g[k]) / (2 * b);
      if (b == 0) done = done && std::abs(g[k]) <= std::max(rounding, tol * length * likelihood_.scale());
    }
    done = done && left_gap <= kInner * tol * objective;
    if (done) return;
    for (std::size_t k = 0; k < size; ++k) s[k] = preconditioner[k] * g[k];
    double rs = dot(g, s);
    if (step == 0) begin = rs;
    const double enough = rs * std::min(0.01, std::max(rs / begin, 1e-8));
    std::fill(d.begin(), d.end(), 0.0);
    r = g;
    direction = s;
    for (std::size_t k = 0; k < kConjugate && rs > enough; ++k) {
      poll();
      image(direction, eta);
      std::fill(t.begin(), t.end(), 0.0);
      likelihood_.subtract_curvature(eta, t);
      back(t, h);  // −X'DX
      for (std::size_t i = 0; i < size; ++i) h[i] = ridge[i] * direction[i] - h[i];
      const double bend = dot(direction, h);
      if (!(bend > 0)) break;
      const double by = rs / bend;
      for (std::size_t i = 0; i < size; ++i) d[i] += by * direction[i], r[i] -= by * h[i];
      for (std::size_t i = 0; i < size; ++i) s[i] = preconditioner[i] * r[i];
      const double left = dot(r, s);
      for (std::size_t i = 0; i < size; ++i) direction[i] = s[i] + left / rs * direction[i];
      rs = left;
    }
    image(d, eta);
    const double now = loss_ + penalty_of(w_), slope = -dot(g, d);
    const double blur = 10 * kEps * std::abs(now) + likelihood_.rounding();
    double by = 1;
    bool accepted = false;
    for (int halving = 0; halving < kHalvings; ++halving, by /= 2) {
      for (std::size_t k = 0; k < p; ++k) next[k] = w_[k] + by * d[k];
      for (std::size_t i = 0; i < z_.size(); ++i) moved[i] = z_[i] + by * eta[i];
      poll();
      accepted = likelihood_.loss(moved) + penalty_of(next) <= now + 1e-4 * by * std::min(slope, 0.0) + blur;
      if (accepted) break;
    }
    if (!accepted) return;
    w_.swap(next);
    for (std::size_t k = p; k < size; ++k) value(slot_of(k), (k - p) % classes_) += by * d[k];
    z_.swap(moved);
    loss_ = likelihood_.evaluate(z_);
    certain_ = false;
  }
}

double GlmSolver::slot_dot(std::size_t slot, const double* v) const {
  if (is_constant(slot)) return std::accumulate(v, v + likelihood_.size(), 0.0);
  return working_.dot_uncentred(slot - constant_, v);
}

void GlmSolver::slot_add(std::size_t slot, double by, double* z) const {
  if (!is_constant(slot)) return working_.subtract(slot - constant_, -by, z);
  for (std::size_t i = 0; i < likelihood_.size(); ++i) z[i] += by;
}

double GlmSolver::penalty(const Vector& w) const {
  double sum = 0;
  for (std::size_t slot = constant_; slot < slots(); ++slot) {
    const Term t = term(slot);
    for (std::size_t c = 0; c < classes_; ++c) {
      const double v = w[coordinate(slot, c)];
      sum += t.a * std::abs(v) + t.b * v * v / 2;
    }
  }
  return sum;
}

void GlmSolver::gradient() {
  c_.resize(slots() * classes_);
  const std::size_t n = likelihood_.size();
  for (std::size_t slot = 0; slot < slots(); ++slot) {
    const Term t = term(slot);
    for (std::size_t c = 0; c < classes_; ++c) {
      c_[coordinate(slot, c)] = slot_dot(slot, likelihood_.slope().data() + c * n) - t.b * value(slot, c);
    }
  }
}

// Σ d·x·xᵀ of the slots, its rows and columns from `first` on.
void GlmSolver::make_gram(const Vector& d, std::size_t first, Square& gram) const {
  gram.resize(slots());
  working_.extend_gram(first < constant_ ? 0 : first - constant_, d.data(), constant_, gram);
  for (std::size_t slot = first; constant_ != 0 && slot < slots(); ++slot) {
    gram.row(0)[slot] = gram.row(slot)[0] = slot_dot(slot, d.data());
  }
}

// The Gram matrix at the present means; or, of one class, its slots from `first` on, at the means that the
// others were made at.
void GlmSolver::make_gram(std::size_t first) {
  Square& gram = quadratic_.gram();
  if (first == 0) quadratic_.forget_factor();
  gram_slots_ = slots();
  if (classes_ == 1) {
    if (first == 0) likelihood_.curvature(0, 0, curvature_);
    return make_gram(curvature_, first, gram);
  }
  gram.resize(slots() * classes_);
  Square pair;
  for (std::size_t a = 0; a < classes_; ++a) {
    for (std::size_t b = 0; b <= a; ++b) {
      poll();
      likelihood_.curvature(a, b, curvature_);
      make_gram(curvature_, 0, pair);
      for (std::size_t i = 0; i < slots(); ++i) {
        for (std::size_t j = 0; j < slots(); ++j) {
          gram.row(coordinate(i, a))[coordinate(j, b)] = gram.row(coordinate(j, b))[coordinate(i, a)] =
              pair.row(i)[j];
        }
      }
    }
  }
}

// Newton steps on the working set, each the minimum of a quadratic model and a search along the way to it.
// The model's curvature stays while it serves. Until the coordinates are settled, or nearly so where the
// working set will grow.
void GlmSolver::solve_working(double tol, double objective, bool grows) {
  const std::size_t count = slots() * classes_, n = likelihood_.size();
  const auto moves = [&](std::size_t slot) { return quadratic_.moves(coordinate(slot, 0)); };
  Vector settled(count), loose(count), next(count), direction(z_.size()), moved(z_.size());
  for (std::size_t slot = 0; slot < slots(); ++slot) {
    const Term t = term(slot);
    const double by_ridge = kRidge * std::sqrt(2 * t.b * tol * objective / static_cast<double>(count));
    std::fill_n(settled.data() + slot * classes_, classes_,
                std::max({tol * t.a / 4, by_ridge, kRounding * norm(slot) * likelihood_.scale()}));
  }
  double begin = 0, previous = kInf, least = kInf, lowest = kInf;
  int idle = 0;
  for (int step = 0; step < kSteps; ++step) {
    gradient();
    double residual = 0;
    bool done = true;
    for (std::size_t slot = 0; slot < slots(); ++slot) {
      if (!moves(slot)) continue;
      const Term t = term(slot);
      for (std::size_t c = 0; c < classes_; ++c) {
        const std::size_t k = coordinate(slot, c);
        const double excess = violation(t, value(slot, c), c_[k]);
        done = done && excess <= settled[k];
        residual += squared(excess / norm(slot));
      }
    }
    residual = std::sqrt(residual);
    if (step == 0) begin = residual;
    if (done || (grows && residual < kBetween * begin)) return;
    const double reached = loss_ + penalty_of(w_);
    idle = residual < least / 2 || reached < lowest * (1 - kFall) ? 0 : idle + 1;
    least = std::min(least, residual);
    lowest = std::min(lowest, reached);
    if (idle == kIdle) return;
    // Where most of the matrix is new, all of it is made new.
    const bool many =
        classes_ > 1 ? gram_slots_ < slots() : 2 * gram_slots_ * gram_slots_ < slots() * slots();
    const bool fresh = many || residual > previous / kSlow;
    if (fresh) {
      make_gram(0);
    } else if (gram_slots_ < slots()) {
      make_gram(gram_slots_);
    }
    previous = residual;
    for (std::size_t slot = 0; slot < slots(); ++slot) {
      for (std::size_t c = 0; c < classes_; ++c) {
        const std::size_t k = coordinate(slot, c);
        quadratic_.w[k] = moves(slot) ? value(slot, c) : 0;
        quadratic_.c[k] = moves(slot) ? c_[k] : 0;
        loose[k] =
            std::max(settled[k], kInner * residual * norm(slot) / std::sqrt(static_cast<double>(count)));
      }
    }
    const Vector from = quadratic_.w;
    quadratic_.solve(loose);
    const Vector& to = quadratic_.w;
    std::fill(direction.begin(), direction.end(), 0.0);
    double slope = 0;
    for (std::size_t slot = 0; slot < slots(); ++slot) {
      const Term t = term(slot);
      for (std::size_t c = 0; c < classes_; ++c) {
        const std::size_t k = coordinate(slot, c);
        if (to[k] == from[k]) continue;
        slot_add(slot, to[k] - from[k], direction.data() + c * n);
        slope += t.a * (std::abs(to[k]) - std::abs(from[k])) - c_[k] * (to[k] - from[k]);
      }
    }
    const double now = loss_ + penalty(from), blur = 10 * kEps * std::abs(now) + likelihood_.rounding();
    double t = 1;
    bool accepted = false;
    for (int halving = 0; halving < kHalvings && !accepted; ++halving, t /= accepted ? 1 : 2) {
      for (std::size_t k = 0; k < count; ++k) next[k] = t == 1 ? to[k] : from[k] + t * (to[k] - from[k]);
      for (std::size_t i = 0; i < z_.size(); ++i) moved[i] = z_[i] + t * direction[i];
      poll();
      accepted = likelihood_.loss(moved) + penalty(next) <= now + 1e-4 * t * std::min(slope, 0.0) + blur;
    }
    if (!accepted) {
      if (fresh) return;
      previous = 0;  // a new matrix
      continue;
    }
    for (std::size_t slot = 0; slot < slots(); ++slot) {
      for (std::size_t c = 0; moves(slot) && c < classes_; ++c) value(slot, c) = next[coordinate(slot, c)];
    }
    z_.swap(moved);
    loss_ = likelihood_.evaluate(z_);
    certain_ = false;
  }
}

Found GlmSolver::solve(double l1, double l2, Limits limits) {
  set_strengths(l1, l2);
  Found found{0, kInf, 0, 0, Reason::kMaxIter};
  double previous = kInf, lowest = kInf;
  int stalled = 0;
  for (;; ++found.rounds) {
    settle_directions();
    found.objective = loss_ + penalty_of(w_);
    // No loss and no penalty is below 0.
    found.gap = std::isfinite(found.objective) ? std::min(certificate(), found.objective) : kInf;
    // A start is worth a step, unless it is as good as what a step leaves.
    const double tol = found.rounds == 0 ? kRidge * kRidge * limits.tol : limits.tol;
    if (found.gap <= std::max(tol * found.objective, likelihood_.rounding())) {
      found.reason = Reason::kConverged;
      break;
    }
    if (static_cast<std::size_t>(found.rounds) >= limits.max_passes) {
      if (found.gap <= limits.tol * found.objective) found.reason = Reason::kConverged;
      break;
    }
    poll();
    const std::size_t had = slots();
    const bool many = !by_products() && choose(limits.tol);
    const bool falls = found.objective < lowest * (1 - kFall);
    lowest = std::min(lowest, found.objective);
    if (slots() == had && found.gap > previous / 2 && !falls && ++stalled == 2) {
      found.reason = found.gap <= limits.tol * found.objective ? Reason::kConverged : Reason::kStalled;
      break;
    }
    previous = found.gap;
    if (by_products()) {
      step_by_products(limits.tol, found.objective);
      continue;
    }
    const std::vector<std::size_t> near = near_columns();
    solve_working(limits.tol, found.objective, many);
    for (int look = 0; look < kLooks && !near.empty() && !certain_; ++look) {
      correlate(near);
      const std::size_t before = slots();
      const bool more = choose(limits.tol);
      if (slots() == before) break;
      solve_working(limits.tol, found.objective, more);
    }
  }
  found.intercept = intercept(0);
  return found;
}

}  // namespace regkern::linear
