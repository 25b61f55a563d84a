// Least squares: rounds of a working set, and the certificate that ends them.

#include "core/linear/squared.h"

#include <algorithm>
#include <cmath>
#include <limits>
#include <numeric>

#include "core/linear/polling.h"
#include "core/linear/products.h"

namespace regkern::linear {
namespace {

constexpr double kInf = std::numeric_limits<double>::infinity();
constexpr double kEps = std::numeric_limits<double>::epsilon();
constexpr std::uint32_t kNowhere = UINT32_MAX;
constexpr std::size_t kFewestSparse = 400;  // where a column costs no Gram matrix
constexpr double kLikely = 0.8;             // of a threshold: a gradient above it may soon be above the whole
constexpr std::size_t kMostLikely = 4;      // of so many columns one, and some for each in the working set
constexpr double kAsLong = 10;  // products of a factor, which are made while one number of X is read
constexpr double kSoon = 0.5;   // of a threshold: violations below it are those of a near solution
constexpr std::size_t kFewest = 16, kMostAtOnce = 64, kColumnsEach = 128;  // that enter in a round
constexpr std::size_t kSmallGram = 10'000'000;  // products of a sparse Gram matrix: some milliseconds
constexpr int kSparseEpochs = 100;              // on the residual, before a Gram matrix is made after all
constexpr double kNear = 100;          // squares of the mean to those about it: two digits of sums are lost
constexpr double kInner = 0.1;         // of the largest violation outside the working set
constexpr double kMargin = 30 * kEps;  // of a column's length times that of θ: more than what is rounded
constexpr int kTimes = 4;  // that a projection is made: each corrects the rounding of the one before
constexpr double kRounding = 1e-15;  // of ½‖y‖²: no gap can be told below
constexpr double kEnough = 1e-14;    // of ½‖y‖²: a gap that is good enough where no smaller one is found and
                                     // tol asks for no smaller one
constexpr double kRise = 1e-9;       // of the objective: a rise by more is no rounding of one pass
constexpr double kFall = 1e-12;      // of the objective: a fall by less is none
constexpr int kIdle = 10;            // passes that bring nothing, and are the last

double squared(double v) { return v * v; }

std::vector<double> roots(const double* weights, std::size_t n) {
  std::vector<double> q;
  if (weights == nullptr) return q;
  q.resize(n);
  std::transform(weights, weights + n, q.begin(), [](double s) { return std::sqrt(s); });
  return q;
}

double dot(const std::vector<double>& x, const std::vector<double>& y) {
  return products().dot(x.data(), y.data(), x.size());
}

}  // namespace

SquaredSolver::SquaredSolver(const Design& X, const Problem& problem, const double* weights)
    : X_(X),
      problem_(problem),
      w_(X.p),
      working_(X, roots(weights, X.n)),
      by_gram_(!X.sparse() || X.p * X.stored() <= kSmallGram),
      place_(X.p, kNowhere),
      y_(working_.samples()),
      u_(X.n),
      span_(working_, mean_, norm_) {
  const std::size_t n = X.n;
  double total = 0;
  weight_ = 0;
  for (std::size_t i = 0; i < n; ++i) {
    const double s = weights == nullptr ? 1 : weights[i];
    weight_ += s;
    total += s * problem.y[i];
  }
  y_mean_ = problem.intercept ? total / weight_ : 0;
  if (problem.intercept) {  // once more about it: the sum of numbers far from 0 is not exact
    double rest = 0;
    for (std::size_t i = 0; i < n; ++i)
      rest += (weights == nullptr ? 1 : weights[i]) * (problem.y[i] - y_mean_);
    y_mean_ += rest / weight_;
  }
  double raw = 0;
  for (std::size_t i = 0; i < n; ++i) {
    const double s = weights == nullptr ? 1 : weights[i];
    u_[i] = s * (problem.y[i] - y_mean_);
    raw += s * squared(problem.y[i]);
  }
  Vector rooted(n);
  for (std::size_t i = 0; i < n; ++i) {
    rooted[i] = (weights == nullptr ? 1 : std::sqrt(weights[i])) * (problem.y[i] - y_mean_);
  }
  working_.gather(rooted.data(), y_.data());
  y_squared_ = dot(y_, y_);
  floor_ = std::max(kRounding * y_squared_ / 2, squared(4 * kEps) * raw);
  if (y_squared_ <= squared(4 * kEps) * raw) {  // a constant
    std::fill(y_.begin(), y_.end(), 0.0);
    std::fill(u_.begin(), u_.end(), 0.0);
    y_squared_ = 0;
  }
  ColumnMoments moments = X.moments(weights, u_.data(), problem.intercept);
  mean_ = std::move(moments.mean);
  norm_ = std::move(moments.centred);
  g_ = std::move(moments.with_u);
  for (std::size_t j = 0; j < X.p; ++j) {
    if (!std::isfinite(norm_[j])) throw NotFinite{j};
    norm_[j] = length_of(norm_[j], moments.raw[j]);
    if (problem_.lower == nullptr && problem_.upper == nullptr) continue;
    const Term t = term(j);
    w_[j] = std::clamp(0.0, t.lo, t.hi);
  }
  r_ = y_;
  open_all();
}

Term SquaredSolver::term(std::size_t j) const {
  const double v = problem_.factor == nullptr ? 1 : problem_.factor[j];
  return {l1_ * v, l2_ * v, problem_.lower == nullptr ? -kInf : problem_.lower[j],
          problem_.upper == nullptr ? kInf : problem_.upper[j]};
}

bool SquaredSolver::is_free(std::size_t j) const {
  const Term t = term(j);
  return t.a == 0 && t.b == 0 && t.lo == -kInf && t.hi == kInf;
}

Term SquaredSolver::working_term(std::size_t j) const { return is_free(j) ? Term{0, 0, 0, 0} : term(j); }

void SquaredSolver::start(const double* w) {
  for (std::size_t j = 0; j < X_.p; ++j) {
    const Term t = term(j);
    w_[j] = norm_[j] == 0 ? std::clamp(0.0, t.lo, t.hi) : std::clamp(w[j], t.lo, t.hi);
  }
  std::vector<std::size_t> columns;
  for (std::size_t j = 0; j < X_.p; ++j) {
    if (w_[j] != 0) columns.push_back(j);
  }
  if (columns.empty()) return;
  add(std::move(columns));
  refresh(true);
}

void SquaredSolver::coefficients(double* w) const { std::copy(w_.begin(), w_.end(), w); }

void SquaredSolver::set_strengths(double l1, double l2) {
  const bool same_kind = l1_ >= 0 && (l1 == 0) == (l1_ == 0) && (l2 == 0) == (l2_ == 0);
  l1_ = l1;
  l2_ = l2;
  std::vector<Term> terms;
  for (std::size_t k = 0; k < working_.size(); ++k) terms.push_back(working_term(working_.column(k)));
  quadratic_.set_terms(terms);
  if (same_kind) return;
  project();
  if (span_.empty()) return;
  settle_free();
  refresh(true);
}

void SquaredSolver::project() {
  std::vector<std::size_t> free;
  one_sided_.clear();
  const bool all_have_one = problem_.factor == nullptr && (l1_ != 0 || l2_ != 0);
  for (std::size_t j = 0; j < X_.p && !all_have_one; ++j) {
    const Term t = term(j);
    if (norm_[j] == 0 || t.a != 0 || t.b != 0) continue;
    const int open = (t.lo == -kInf) + (t.hi == kInf);
    if (open == 2) free.push_back(j);
    if (open == 1) one_sided_.push_back(j);
  }
  std::vector<std::size_t> columns, places;
  for (const auto* group : {&free, &one_sided_}) {
    for (std::size_t j : *group) {
      if (place_[j] == kNowhere) columns.push_back(j);
    }
  }
  add(std::move(columns));
  by_gram_ = by_gram_ || !free.empty();
  if (!one_sided_.empty()) {
    columns = free;
    columns.insert(columns.end(), one_sided_.begin(), one_sided_.end());
    for (std::size_t j : columns) places.push_back(place_[j]);
    Span all(working_, mean_, norm_);
    all.make(columns, places, weight_);
    close_bounds_ = all.close(free.size());
    places.clear();
  }
  if (free == span_.columns()) return;
  gram_rows_ = 0;
  quadratic_.forget_factor();
  for (std::size_t j : free) places.push_back(place_[j]);
  span_.make(std::move(free), places, weight_);
}

// Free columns have the coefficients of least squares with what the others leave of y. Once more with what
// those leave: it is rounding, which their coefficients make large where they nearly depend on each other.
void SquaredSolver::settle_free() {
  for (std::size_t j : span_.columns()) w_[j] = 0;
  for (int twice = 0; twice < 2; ++twice) {
    r_ = y_;
    working_.subtract(w_, r_.data());
    span_.fit(r_.data(), w_.data());
  }
}

void SquaredSolver::add(std::vector<std::size_t> columns) {
  std::sort(columns.begin(), columns.end());
  for (std::size_t j : columns) {
    place_[j] = static_cast<std::uint32_t>(working_.size());
    const bool small = weight_ * squared(mean_[j]) <= kNear * squared(norm_[j]);
    working_.add(j, mean_[j], small ? Working::Mean::kSmall : Working::Mean::kLarge);
    quadratic_.add(working_term(j), w_[j]);
  }
}

// By how much a column may violate the optimality conditions. Of one without a square that is a share of its
// threshold, as all of the dual point shrinks with it; of others the gap has the violation's square alone.
double SquaredSolver::allowed(const Term& t, double tol) const {
  const double share = tol * t.a / 4;
  return t.b > 0 ? std::max(share, std::sqrt(t.b * tol * spare_ / static_cast<double>(working_.size() + 1)))
                 : share;
}

// Columns without a coefficient that are far from one leave, if they are many: each makes every step dearer.
void SquaredSolver::evict() {
  std::vector<std::size_t> places;
  for (std::size_t k = 0; k < working_.size(); ++k) {
    const std::size_t j = working_.column(k);
    Term t = term(j);
    t.a *= kLikely;
    if (w_[j] != 0 || t.a == 0 || violation(t, 0, g_[j]) > 0) places.push_back(k);
  }
  if (X_.sparse() || gram_rows_ < working_.size() || places.size() > working_.size() / 5 * 4) return;
  for (std::size_t k = 0; k < working_.size(); ++k) place_[working_.column(k)] = kNowhere;
  working_.keep(places);
  quadratic_.keep(places);
  for (std::size_t k = 0; k < working_.size(); ++k)
    place_[working_.column(k)] = static_cast<std::uint32_t>(k);
  gram_rows_ = working_.size();
}

// Those of the columns that may enter or are likely to: without a branch, as nobody foresees which they are.
std::vector<std::uint32_t> SquaredSolver::near_threshold(const std::vector<std::uint32_t>& columns) const {
  std::vector<std::uint32_t> near(columns.size());
  std::size_t count = 0;
  for (const std::uint32_t j : columns) {
    const double a = problem_.factor == nullptr ? l1_ : l1_ * problem_.factor[j];
    near[count] = j;
    count +=
        static_cast<std::size_t>(!(std::abs(g_[j]) <= kLikely * a)) | static_cast<std::size_t>(w_[j] != 0);
  }
  near.resize(count);
  return near;
}

// The columns that violate the optimality conditions most enter, and those that have a coefficient. Whether
// there were any. whole: g is that of all columns, but for those that violate nothing, else of the likely
// ones.
bool SquaredSolver::choose(double tol, bool whole) {
  worst_ = furthest_ = 0;
  std::vector<std::pair<double, std::size_t>> wanted;
  std::vector<std::size_t> chosen;
  std::vector<std::uint32_t> likely;
  std::size_t nonzero = 0;
  for (std::size_t k = 0; k < working_.size(); ++k) nonzero += w_[working_.column(k)] != 0;
  const double floor = 50 * kEps * std::sqrt(y_squared_);
  for (const std::uint32_t j : near_threshold(whole ? open_ : likely_)) {
    if (norm_[j] == 0 || place_[j] != kNowhere) continue;
    Term t = term(j);
    if (w_[j] != 0) {
      chosen.push_back(j);
      continue;
    }
    const double excess = violation(t, w_[j], g_[j]);
    if (excess > std::max(allowed(t, tol), floor * norm_[j])) {
      wanted.emplace_back(-excess / norm_[j], j);
      worst_ = std::max(worst_, excess / norm_[j]);
      furthest_ = std::max(furthest_, excess / t.a);
    } else {
      t.a *= kLikely;
      if (violation(t, w_[j], g_[j]) == 0) continue;
    }
    likely.push_back(j);
  }
  // A column costs a row of the Gram matrix, a round without it a pass over X: p decides between them.
  const std::size_t fewest = by_gram_ ? std::clamp(X_.p / kColumnsEach, kFewest, kMostAtOnce) : kFewestSparse;
  const std::size_t most = std::max(fewest, nonzero / 3 + fewest / 2);
  const auto keep = [&](std::size_t count) {
    if (wanted.size() <= count) return false;
    std::nth_element(wanted.begin(), wanted.begin() + static_cast<std::ptrdiff_t>(count), wanted.end());
    wanted.resize(count);
    return true;
  };
  // Far from the solution most of them come to nothing.
  if (keep(4 * (working_.size() + most) + X_.p / kMostLikely)) {
    likely.clear();
    for (const auto& [excess, j] : wanted) likely.push_back(static_cast<std::uint32_t>(j));
    std::sort(likely.begin(), likely.end());
  }
  likely_.swap(likely);
  keep(most);
  for (const auto& [excess, j] : wanted) chosen.push_back(j);
  const bool any = !chosen.empty();
  add(std::move(chosen));
  return any;
}

void SquaredSolver::refresh(bool whole) {
  r_ = y_;
  working_.subtract(w_, r_.data());
  working_.scatter(r_.data(), u_.data());
  if (!whole) {
    std::erase_if(likely_, [&](std::uint32_t j) { return place_[j] != kNowhere; });
    X_.correlate(likely_, u_.data(), mean_.data(), g_.data());
  } else if (narrow()) {
    X_.correlate(open_, u_.data(), mean_.data(), g_.data());
  } else {
    open_all();
    X_.correlate(u_.data(), mean_.data(), g_.data());
    anchor_r_ = r_;
    anchor_g_ = g_;
  }
}

void SquaredSolver::open_all() {
  open_.resize(X_.p);
  std::iota(open_.begin(), open_.end(), std::uint32_t{0});
  closed_ = 0;
}

// Which columns may violate the optimality conditions, by what is known of their products: r is some multiple
// of an earlier residual and a rest, whose product is at most its length times the column's. Whether that
// leaves out most of them.
bool SquaredSolver::narrow() {
  if (anchor_g_.empty() || !span_.empty() || !one_sided_.empty()) return false;
  const double squares = dot(anchor_r_, anchor_r_), by = squares > 0 ? dot(r_, anchor_r_) / squares : 0;
  double rest = 0;
  for (std::size_t i = 0; i < r_.size(); ++i) rest += squared(r_[i] - by * anchor_r_[i]);
  rest = std::sqrt(rest) + 100 * kEps * std::sqrt(y_squared_);
  open_.clear();
  closed_ = 0;
  for (std::size_t j = 0; j < X_.p; ++j) {
    if (norm_[j] == 0) continue;
    const double most = std::abs(by * anchor_g_[j]) + rest * norm_[j];
    const double a = problem_.factor == nullptr ? l1_ : l1_ * problem_.factor[j];
    if (place_[j] == kNowhere && most <= a && w_[j] == 0) {
      closed_ = std::max(closed_, most / a);
    } else {
      open_.push_back(static_cast<std::uint32_t>(j));
    }
  }
  return open_.size() < X_.p / 2;
}

// Whether a step on the working set takes longer than a pass over X.
bool SquaredSolver::dear() const {
  double members = 0;
  for (std::size_t k = 0; k < working_.size(); ++k) members += w_[working_.column(k)] != 0;
  const double factor = members * members * members / 3;
  const double images = 2 * members * static_cast<double>(working_.size()) * kAsLong / 3;
  return by_gram_ &&
         factor + images > kAsLong * static_cast<double>(working_.samples()) * static_cast<double>(X_.p);
}

// On the residual: what is changed are the few samples of a column.
bool SquaredSolver::descend_sparse(const Vector& tol) {
  Working::Residual r{r_.data(), working_.weighted_sum(r_.data())};
  for (int epoch = 0; epoch < kSparseEpochs; ++epoch) {
    bool settled = true;
    for (std::size_t k = 0; k < working_.size(); ++k) {
      const std::size_t j = working_.column(k);
      const Term t = term(j);
      const double gradient = working_.dot(k, r), curvature = squared(norm_[j]) + t.b;
      settled = settled && violation(t, w_[j], gradient - t.b * w_[j]) <= tol[k];
      const double z =
          std::clamp(shrink(squared(norm_[j]) * w_[j] + gradient, t.a) / curvature, t.lo, t.hi) + 0.0;
      if (z == w_[j]) continue;
      working_.subtract(k, z - w_[j], r);
      w_[j] = z;
    }
    if (settled) return true;
  }
  return false;
}

void SquaredSolver::solve_working(const Vector& tol, bool first) {
  if (!by_gram_) {
    if (descend_sparse(tol)) return;
    by_gram_ = true;
    r_ = y_;
    working_.subtract(w_, r_.data());
    for (std::size_t k = 0; k < working_.size(); ++k) g_[working_.column(k)] = working_.dot(k, r_.data());
  }
  if (working_.size() == span_.columns().size()) return settle_free();
  if (gram_rows_ < working_.size()) {
    const std::size_t had = gram_rows_;
    if (problem_.gram == nullptr) {
      working_.extend_gram(gram_rows_, quadratic_.gram());
    } else {
      quadratic_.gram().resize(working_.size());
      for (std::size_t k = gram_rows_; k < working_.size(); ++k) {
        for (std::size_t i = 0; i <= k; ++i) {
          const double value = problem_.gram[working_.column(k) * X_.p + working_.column(i)];
          quadratic_.gram().row(k)[i] = quadratic_.gram().row(i)[k] = value;
        }
      }
    }
    gram_rows_ = working_.size();
    std::vector<std::size_t> none;  // the free columns do the same for nothing
    if (!span_.empty()) span_.project(X_, had, quadratic_.gram(), none);
    for (std::size_t j : none) {
      if (term(j).a > 0 || term(j).b > 0) w_[j] = 0;
    }
  }
  for (std::size_t k = 0; k < working_.size(); ++k) {
    const std::size_t j = working_.column(k);
    const bool moves = quadratic_.moves(k);
    quadratic_.w[k] = moves ? w_[j] : 0;
    quadratic_.c[k] = moves ? g_[j] - term(j).b * w_[j] : 0;
  }
  quadratic_.solve(tol, first);
  for (std::size_t k = 0; k < working_.size(); ++k) {
    if (!quadratic_.moves(k)) continue;
    const std::size_t j = working_.column(k);
    w_[j] = quadratic_.w[k];
    g_[j] = quadratic_.c[k] + term(j).b * w_[j];
  }
  if (!span_.empty()) settle_free();
}

double SquaredSolver::objective() const {
  double sum = dot(r_, r_) / 2;
  for (std::size_t k = 0; k < working_.size(); ++k) {
    const std::size_t j = working_.column(k);
    const Term t = term(j);
    sum += t.a * std::abs(w_[j]) + t.b * squared(w_[j]) / 2;
  }
  return sum;
}

// Of the open columns. Four maxima, since each waits for the one before.
double SquaredSolver::largest_product(const Vector& g) const {
  double most[4] = {};
  for (std::size_t k = 0; k < open_.size(); ++k) {
    const std::uint32_t j = open_[k];
    most[k % 4] = std::max(most[k % 4], norm_[j] == 0 ? 0 : std::abs(g[j]));
  }
  return std::max({most[0], most[1], most[2], most[3]});
}

// Columns without a penalty whose products with θ are to be 0, or of one sign: those that have one bound, and
// without idle bounds all. False where these nearly depend on each other.
bool SquaredSolver::find_held(Idle idle, std::vector<std::size_t>& held) const {
  held = one_sided_;
  if (idle != Idle::kNone) return true;
  std::vector<std::size_t> columns = span_.columns(), places;
  for (std::size_t k = 0; k < working_.size(); ++k) {
    const Term t = term(working_.column(k));
    const bool box = t.a == 0 && t.b == 0 && t.lo != -kInf && t.hi != kInf && t.lo < t.hi;
    if (box) held.push_back(working_.column(k));
  }
  columns.insert(columns.end(), held.begin(), held.end());
  for (std::size_t j : columns) places.push_back(place_[j]);
  Span all(working_, mean_, norm_);
  all.make(columns, places, weight_);
  return !all.close(span_.columns().size());
}

// θ without its part in free columns, and with no product with held ones that is not 0 or on the wrong side
// of it: the residual of non-negative least squares. Of one-sided columns that nearly depend on each other by
// a margin, which is more than what is rounded of a product: where they leave no room for it, nothing is
// certified.
bool SquaredSolver::project_held(Vector& theta, const std::vector<std::size_t>& held, Idle idle) {
  span_.take(theta.data());
  const Vector from = theta;
  const double squares = dot(from, from);
  const std::size_t count = held.size();
  const bool close = close_bounds_ && idle != Idle::kNone;
  Quadratic cone;
  Vector tol, margin;
  cone.gram().resize(count);
  std::vector<Vector> rests;
  for (std::size_t k = 0; k < count; ++k) {
    const std::size_t j = held[k];
    const Term t = dual_term(j, idle);
    const double lo = t.lo != -kInf ? 0 : -kInf, hi = t.hi != kInf ? 0 : kInf;
    cone.add({0, 0, lo, hi}, 0);
    rests.emplace_back(working_.samples());
    working_.pack(place_[j], rests[k].data());
    span_.take(rests[k].data());
    for (std::size_t i = 0; i <= k; ++i) {
      cone.gram().row(k)[i] = cone.gram().row(i)[k] = dot(rests[k], rests[i]);
    }
    const double size = std::sqrt(cone.gram().row(k)[k] * squares);
    margin.push_back(close ? (lo == 0 ? 1 : -1) * kMargin * size : 0);
    tol.push_back(kMargin * size / 4);
  }
  for (int times = 0; times < kTimes; ++times) {
    bool apart = times > 0;
    for (std::size_t k = 0; k < count; ++k) {
      const double product = dot(rests[k], theta);
      const double up = cone.term(k).hi > 0 ? product : 0, down = cone.term(k).lo < 0 ? -product : 0;
      apart = apart && std::max(up, down) <= (close ? 0 : 4 * tol[k]);
      cone.c[k] = product + margin[k];
    }
    if (apart) return true;
    cone.solve(tol);
    theta = from;
    for (std::size_t k = 0; k < count; ++k) {
      if (cone.w[k] != 0) products().axpy(-cone.w[k], rests[k].data(), theta.data(), theta.size());
    }
  }
  return false;
}

// What a coefficient adds to the dual objective is of this.
Term SquaredSolver::dual_term(std::size_t j, Idle idle) const {
  const Term t = term(j);
  const bool goes = t.a > 0 || t.b > 0 ? idle != Idle::kAll : idle == Idle::kNone && place_[j] != kNowhere;
  return goes ? without_idle_bounds(t, w_[j]) : t;
}

// How far the objective can be above its minimum: the gap to the dual objective at s·θ, θ the residual
// without its part in the columns that have no penalty. Or that of the problem without idle bounds, whose
// minimum is not above: of columns with a penalty wherever it is less.
double SquaredSolver::certificate(Idle idle) {
  Vector projected_r, projected_g;
  std::vector<std::size_t> held;
  if (!find_held(idle, held)) return kInf;
  const bool projects = !span_.empty() || !held.empty();
  if (projects) {
    projected_r = r_;
    projected_g = g_;
  }
  Vector &theta = projects ? projected_r : r_, &g = projects ? projected_g : g_;
  if (!held.empty()) {
    if (!project_held(theta, held, idle)) return kInf;
    working_.scatter(theta.data(), u_.data());
    X_.correlate(u_.data(), mean_.data(), g.data());
  } else {
    const std::vector<Vector>& with = span_.products_with(X_);
    for (std::size_t k = 0; k < with.size(); ++k) {
      products().axpy(-dot(span_.basis()[k], theta), with[k].data(), g.data(), g.size());
    }
    span_.take(theta.data());
    if (!span_.thin().empty()) {
      working_.scatter(theta.data(), u_.data());
      X_.correlate(u_.data(), mean_.data(), g.data());
    }
  }
  for (std::size_t j : span_.columns()) g[j] = 0;
  double gap = gap_at(theta, g, idle);
  if (idle == Idle::kAll && l1_ > 0 && (problem_.lower != nullptr || problem_.upper != nullptr)) {
    gap = std::min(gap, gap_at(theta, g, Idle::kOfFree));
  }
  return gap;
}

// A sum of parts that are not negative, since the difference of the two objectives is less than their
// rounding.
double SquaredSolver::gap_at(const Vector& theta, const Vector& g, Idle idle) const {
  // Where there are no bounds and no squares, a coefficient of 0 adds nothing while s·g is at most a.
  const bool plain = l2_ == 0 && problem_.lower == nullptr && problem_.upper == nullptr;
  const bool of_l1_alone = plain && problem_.factor == nullptr && l1_ > 0;
  double largest = of_l1_alone ? largest_product(g) / l1_ : 0, steepest = largest, ridge = 0;
  for (std::size_t k = 0; k < open_.size() && !of_l1_alone; ++k) {
    const std::uint32_t j = open_[k];
    if (norm_[j] == 0) continue;
    const Term t = dual_term(j, idle);
    if (t.a == 0 && t.b == 0) continue;
    if (t.b == 0) {
      if (t.hi == kInf) largest = std::max(largest, g[j] / t.a);
      if (t.lo == -kInf) largest = std::max(largest, -g[j] / t.a);
    }
    if (t.a > 0) steepest = std::max(steepest, std::abs(g[j] - t.b * w_[j]) / t.a);
    ridge += t.b * squared(w_[j]);
  }
  largest = std::max(largest, closed_);  // what is left out stays at most a
  const bool projected = &theta != &r_;
  const double yt = dot(y_, theta), tt = dot(theta, theta), rr = projected ? dot(r_, r_) : tt;
  double most = largest > 0 ? 1 / largest : kInf;
  // A projection leaves the rounding of r along what it takes out: no more than that of y is to come of it.
  if (projected) most = std::min(most, std::sqrt(y_squared_ / rr));
  const auto half_distance = [&](double s) {
    if (!projected) return squared(1 - s) * tt / 2;
    double squares = 0;
    for (std::size_t i = 0; i < theta.size(); ++i) squares += squared(r_[i] - s * theta[i]);
    return squares / 2;
  };
  double best = kInf;
  for (double s : {1.0, yt / tt, yt / (tt + ridge), steepest > 1 ? 1 / steepest : 1.0}) {
    if (!(s >= 0)) s = 0;
    s = std::min({s, most, 1e300});
    double gap = half_distance(s);
    if (plain) {
      for (std::size_t k = 0; k < working_.size(); ++k) {
        const std::size_t j = working_.column(k);
        if (w_[j] != 0) gap += conjugate_gap(term(j), s * g[j], w_[j]);
      }
    } else {
      for (const std::uint32_t j : open_) {
        if (gap >= best) break;
        if (norm_[j] == 0 || (w_[j] == 0 && g[j] == 0)) continue;
        gap += conjugate_gap(dual_term(j, idle), s * g[j], w_[j]);
      }
    }
    best = std::min(best, gap);
  }
  return best + span_.rounding(w_.data()) * std::sqrt(rr);
}

void SquaredSolver::remember(Best& best, const Found& found) const {
  best = {found.objective, found.gap, {}};
  for (std::size_t k = 0; k < working_.size(); ++k) {
    const std::size_t j = working_.column(k);
    if (w_[j] != 0) best.nonzero.emplace_back(j, w_[j]);
  }
}

void SquaredSolver::restore(const Best& best, Found& found) {
  for (std::size_t k = 0; k < working_.size(); ++k) w_[working_.column(k)] = 0;
  for (const auto& [j, w] : best.nonzero) w_[j] = w;
  refresh(true);
  found.objective = best.objective;
  found.gap = best.gap;
}

Found SquaredSolver::solve(double l1, double l2, Limits limits) {
  set_strengths(l1, l2);
  if (open_.size() < X_.p) refresh(true);  // other strengths leave out others
  Found found{0, kInf, 0, 0, Reason::kMaxIter};
  double previous = kInf;
  bool whole = true, stalled = false, near = false, strict = false;
  std::size_t passes = 0, since = 0;  // the last whole pass
  Best best{kInf, kInf, {}};
  double lowest = kInf, least_gap = kInf;
  int idle = 0;
  if (!(objective() <= y_squared_ / 2 * (1 + kRise))) {  // a start that is worse than none
    for (std::size_t k = 0; k < working_.size(); ++k) w_[working_.column(k)] = 0;
    settle_free();
    refresh(true);
  }
  for (;; ++found.rounds) {
    if (whole) {
      found.objective = objective();
      // No square and no penalty is below 0.
      found.gap = std::isfinite(found.objective) ? std::min(certificate(Idle::kAll), found.objective) : kInf;
      const bool risen = !(found.objective <= best.objective * (1 + kRise));
      if (found.objective <= best.objective) remember(best, found);
      idle = !risen && (found.objective < lowest * (1 - kFall) || found.gap < least_gap / 2) ? 0 : idle + 1;
      lowest = std::min(lowest, found.objective);
      if (found.gap < least_gap / 2) least_gap = found.gap;
      spare_ = strict ? 0 : std::max(0.0, found.objective - found.gap) / 4;
      // A start that is only as good as rounding is worth a round.
      if (found.gap <= std::max(limits.tol * found.objective, found.rounds > 0 ? floor_ : 0)) {
        found.reason = Reason::kConverged;
        break;
      }
      if (passes >= limits.max_passes) break;
      if (idle == kIdle || !std::isfinite(found.objective)) {
        found.reason = Reason::kStalled;
        break;
      }
    }
    poll();
    if (whole && dear()) evict();
    bool took = choose(limits.tol, whole);
    if (whole && !took && spare_ > 0) {  // what was allowed is too much after all
      strict = true;
      spare_ = 0;
      took = choose(limits.tol, whole);
    }
    if (whole) {
      if (!took && found.gap > previous / 2) {
        if (stalled) {
          found.reason = Reason::kStalled;
          break;
        }
        stalled = true;
      }
      previous = found.gap;
    }
    Vector tol(working_.size());
    for (std::size_t k = 0; k < working_.size(); ++k) {
      const std::size_t j = working_.column(k);
      tol[k] = std::max({allowed(term(j), limits.tol), 50 * kEps * norm_[j] * std::sqrt(y_squared_),
                         kInner * worst_ * norm_[j]});
    }
    solve_working(tol, found.rounds == 0);
    // Columns far from the working set wait until it is complete among the likely ones. Where many have
    // entered at once, as sparse ones do, a first whole pass tells which are likely.
    // And one tells which these are when the solution is near for the first time.
    whole = !took || dear() || (found.rounds == 0 && !by_gram_) || (!near && since >= 2 && furthest_ < kSoon);
    near = near || (whole && took);
    since = whole ? 0 : since + 1;
    refresh(whole);
    passes += whole;
  }
  if (found.reason != Reason::kConverged && !(found.objective <= best.objective * (1 + kFall))) {
    restore(best, found);
  }
  const bool ended = found.reason == Reason::kStalled || found.reason == Reason::kMaxIter;
  const bool bounded = problem_.lower != nullptr || problem_.upper != nullptr;
  if (ended && bounded && (problem_.factor != nullptr || (l1_ == 0 && l2_ == 0))) {
    found.gap = std::min(found.gap, certificate(Idle::kNone));
  }
  if (ended &&
      found.gap <= std::max(limits.tol * found.objective, std::min(limits.tol, kEnough) * y_squared_ / 2)) {
    found.reason = Reason::kConverged;
  }
  double shift = 0;
  for (std::size_t j = 0; j < X_.p; ++j) shift += mean_[j] * w_[j];
  found.intercept = y_mean_ - shift;
  return found;
}

}  // namespace regkern::linear
