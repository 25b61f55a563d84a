// What enters the working set, and when a solution is good enough; paths and folds of blocks.

#include "core/linear/blocks.h"

#include <algorithm>
#include <atomic>
#include <cmath>
#include <cstdint>
#include <limits>
#include <memory>
#include <utility>

#include "core/linear/polling.h"
#include "core/linear/products.h"
#include "core/threading.h"

namespace regkern::linear {
namespace {

constexpr double kInf = std::numeric_limits<double>::infinity();
constexpr double kEps = std::numeric_limits<double>::epsilon();
constexpr std::size_t kNowhere = SIZE_MAX;
constexpr std::size_t kFewest = 32;  // columns that enter the working set at once, if as many want to
constexpr double kLoose = 0.1;       // of the largest violation outside the working set
constexpr double kRounding = 1e-15;  // of ½‖y‖²: no gap can be told below
constexpr double kEnough = 1e-14;    // of ½‖y‖²: a gap that is good enough where no smaller one is found and
                                     // tol asks for no smaller one
constexpr double kNear = 100;        // squares of the mean to those about it: two digits of sums are lost
constexpr double kRise = 1e-9;       // of the objective: a rise by more is no rounding of one pass
constexpr double kFall = 1e-12;      // of the objective: a fall by less is none
constexpr int kPatience = 5;         // rounds without new blocks that make the gap hardly smaller
constexpr double kSmaller = 100;     // strengths on the way to one that stalls, each of the one before
constexpr int kIdle = 10;            // rounds that bring nothing, and are the last

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

double factor(const double* weights, std::size_t g) { return weights == nullptr ? 1 : weights[g]; }

}  // namespace

BlockSolver::BlockSolver(const Design& X, const BlockProblem& problem, const double* weights)
    : X_(X),
      problem_(problem),
      q_(problem.tasks),
      y_mean_(q_),
      w_(q_ * X.p),
      g_(q_ * X.p),
      working_(X, roots(weights, X.n)),
      quadratic_(q_),
      row_(X.p, kNowhere),
      y_(q_ * working_.samples()),
      span_(working_, mean_, norm_) {
  const std::size_t n = X.n;
  const auto weight = [&](std::size_t i) { return weights == nullptr ? 1 : weights[i]; };
  for (std::size_t i = 0; i < n; ++i) weight_ += weight(i);
  Vector u(n), rooted(n);
  for (std::size_t k = 0; k < q_; ++k) {
    const auto y = [&](std::size_t i) { return problem.y[i * q_ + k]; };
    for (int twice = 0; problem.intercept && twice < 2;
         ++twice) {  // the sum of numbers far from 0 is not exact
      double sum = 0;
      for (std::size_t i = 0; i < n; ++i) sum += weight(i) * (y(i) - y_mean_[k]);
      y_mean_[k] += sum / weight_;
    }
    double raw = 0, centred = 0;
    for (std::size_t i = 0; i < n; ++i) {
      raw += weight(i) * squared(y(i));
      centred += weight(i) * squared(y(i) - y_mean_[k]);
    }
    const bool constant = centred <= squared(4 * kEps) * raw;
    for (std::size_t i = 0; i < n; ++i) {
      u[i] = constant ? 0 : weight(i) * (y(i) - y_mean_[k]);
      rooted[i] = constant ? 0 : std::sqrt(weight(i)) * (y(i) - y_mean_[k]);
    }
    working_.gather(rooted.data(), y_.data() + k * samples());
    if (k == 0) {
      ColumnMoments moments = X.moments(weights, u.data(), problem.intercept);
      mean_ = std::move(moments.mean);
      norm_ = std::move(moments.centred);
      std::copy(moments.with_u.begin(), moments.with_u.end(), g_.begin());
      for (std::size_t j = 0; j < X.p; ++j) {
        if (!std::isfinite(norm_[j])) throw NotFinite{j};
        norm_[j] = length_of(norm_[j], moments.raw[j]);
      }
    } else {
      X.correlate(u.data(), mean_.data(), g_.data() + k * X.p);
    }
  }
  y_squared_ = dot(y_, y_);
  r_ = y_;
  const Blocks& given = problem.blocks;
  blocks_.resize(given.count);
  for (std::size_t g = 0; g < given.count; ++g) {
    Block& block = blocks_[g];
    block.lasso = factor(given.lasso, g);
    block.group = factor(given.group, g);
    block.ridge = factor(given.ridge, g);
    block.place = kNowhere;
    for (std::int64_t i = given.starts[g]; i < given.starts[g + 1]; ++i) {
      const auto j = static_cast<std::size_t>(given.columns[i]);
      if (norm_[j] == 0) continue;
      block.columns.push_back(j);
      block.norm = std::max(block.norm, norm_[j]);
    }
  }
  std::erase_if(blocks_, [](const Block& block) { return block.columns.empty(); });
}

void BlockSolver::start(const double* w) {
  std::vector<std::size_t> nonzero;
  for (std::size_t g = 0; g < blocks_.size(); ++g) {
    for (std::size_t j : blocks_[g].columns) {
      for (std::size_t k = 0; k < q_; ++k) {
        const double start = w[j * q_ + k];
        w_[k * X_.p + j] = problem_.positive ? std::max(start, 0.0) : start;
      }
    }
    if (!is_zero(blocks_[g])) nonzero.push_back(g);
  }
  if (nonzero.empty()) return;
  add(std::move(nonzero));
  refresh();
}

void BlockSolver::coefficients(double* w) const {
  for (std::size_t j = 0; j < X_.p; ++j) {
    for (std::size_t k = 0; k < q_; ++k) w[j * q_ + k] = w_[k * X_.p + j];
  }
}

void BlockSolver::intercepts(double* b) const {
  for (std::size_t k = 0; k < q_; ++k) {
    double shift = 0;
    for (std::size_t j = 0; j < X_.p; ++j) shift += mean_[j] * w_[k * X_.p + j];
    b[k] = y_mean_[k] - shift;
  }
}

void BlockSolver::gather(const Block& block, const Vector& from, Vector& to) const {
  to.resize(block.columns.size() * q_);
  std::size_t at = 0;
  for (std::size_t j : block.columns) {
    for (std::size_t k = 0; k < q_; ++k) to[at++] = from[k * X_.p + j];
  }
}

bool BlockSolver::is_zero(const Block& block) const {
  for (std::size_t j : block.columns) {
    for (std::size_t k = 0; k < q_; ++k) {
      if (w_[k * X_.p + j] != 0) return false;
    }
  }
  return true;
}

void BlockSolver::set_strengths(const Strength& strength) {
  for (Block& block : blocks_) {
    block.penalty = {strength.lasso * block.lasso, strength.group * block.group, strength.ridge * block.ridge,
                     problem_.positive};
    if (block.columns.size() * q_ == 1) {  // the norm of one number is its absolute value
      block.penalty.lasso += std::exchange(block.penalty.group, 0);
    }
    if (block.place != kNowhere) quadratic_.set_penalty(block.place, block.penalty);
  }
  project();
}

void BlockSolver::project() {
  std::vector<std::size_t> blocks, free, places;
  for (std::size_t g = 0; g < blocks_.size(); ++g) {
    if (!blocks_[g].penalty.free()) continue;
    if (blocks_[g].place == kNowhere) blocks.push_back(g);
    free.insert(free.end(), blocks_[g].columns.begin(), blocks_[g].columns.end());
  }
  add(std::move(blocks));
  if (free == span_.columns()) return;
  gram_rows_ = 0;
  for (std::size_t j : free) places.push_back(row_[j]);
  span_.make(std::move(free), places, weight_);
  if (eliminates()) settle_free();
}

// Free columns have the coefficients of least squares with what the others leave of y. Once more with what
// those leave: it is rounding, which their coefficients make large where they nearly depend on each other.
void BlockSolver::settle_free() {
  for (std::size_t k = 0; k < q_; ++k) {
    for (std::size_t j : span_.columns()) w_[k * X_.p + j] = 0;
  }
  for (int twice = 0; twice < 2; ++twice) {
    subtract();
    for (std::size_t k = 0; k < q_; ++k) span_.fit(r_.data() + k * samples(), w_.data() + k * X_.p);
  }
  refresh();
}

void BlockSolver::add(std::vector<std::size_t> blocks) {
  std::sort(blocks.begin(), blocks.end());
  for (std::size_t g : blocks) {
    Block& block = blocks_[g];
    block.place = order_.size();
    order_.push_back(g);
    for (std::size_t j : block.columns) {
      row_[j] = working_.size();
      const bool small = weight_ * squared(mean_[j]) <= kNear * squared(norm_[j]);
      working_.add(j, mean_[j], small ? Working::Mean::kUnknown : Working::Mean::kLarge);
    }
    quadratic_.add(block.columns.size());
    quadratic_.set_penalty(block.place, block.penalty);
  }
}

double BlockSolver::least(const Block& block) const { return 50 * kEps * block.norm * std::sqrt(y_squared_); }

// The blocks that violate the optimality conditions most. Whether there were any.
bool BlockSolver::choose(double tol, double inner) {
  worst_ = 0;
  std::vector<std::pair<double, std::size_t>> wanted;
  std::size_t moving = 0;
  Vector w, c;
  for (std::size_t g = 0; g < blocks_.size(); ++g) {
    const Block& block = blocks_[g];
    if (block.place != kNowhere) {
      if (!is_zero(block)) moving += block.columns.size();
      continue;
    }
    gather(block, w_, w);
    gather(block, g_, c);
    const double excess = violation(block.penalty, w.data(), c.data(), c.size());
    const double size = block.penalty.lasso + block.penalty.group;
    if (excess > std::max(inner * tol * size, least(block))) {
      wanted.emplace_back(-excess / block.norm, g);
      worst_ = std::max(worst_, excess / block.norm);
    }
  }
  std::sort(wanted.begin(), wanted.end());
  std::vector<std::size_t> chosen;
  std::size_t columns = 0;
  for (const auto& [excess, g] : wanted) {
    if (columns > 0 && columns + blocks_[g].columns.size() > std::max(kFewest, moving / 2)) break;
    columns += blocks_[g].columns.size();
    chosen.push_back(g);
  }
  const bool any = !chosen.empty();
  add(std::move(chosen));
  return any;
}

void BlockSolver::correlate(const Vector& r, Vector& g) {
  Vector all(X_.n);
  for (std::size_t k = 0; k < q_; ++k) {
    working_.scatter(r.data() + k * samples(), all.data());
    X_.correlate(all.data(), mean_.data(), g.data() + k * X_.p);
  }
}

void BlockSolver::subtract() {
  r_ = y_;
  for (std::size_t i = 0; i < working_.size(); ++i) {
    for (std::size_t k = 0; k < q_; ++k) {
      const double w = w_[k * X_.p + working_.column(i)];
      if (w != 0) working_.subtract(i, w, r_.data() + k * samples());
    }
  }
}

void BlockSolver::refresh() {
  subtract();
  correlate(r_, g_);
}

void BlockSolver::solve_working(double tol, double inner) {
  const std::size_t m = working_.size();
  if (gram_rows_ < m) {
    working_.extend_gram(gram_rows_, quadratic_.gram());
    std::vector<std::size_t> none;  // the free columns do the same for nothing
    if (eliminates()) span_.project(X_, gram_rows_, quadratic_.gram(), none);
    for (std::size_t j : none) {
      for (std::size_t k = 0; k < q_; ++k) w_[k * X_.p + j] = 0;
    }
    gram_rows_ = m;
  }
  quadratic_.w.resize(q_ * m);
  quadratic_.c.resize(q_ * m);
  for (std::size_t k = 0; k < q_; ++k) {
    for (std::size_t i = 0; i < m; ++i) {
      const std::size_t j = working_.column(i);
      const bool rests = eliminates() && span_.has(j);
      quadratic_.w[k * m + i] = rests ? 0 : w_[k * X_.p + j];
      quadratic_.c[k * m + i] = rests ? 0 : g_[k * X_.p + j];
    }
  }
  Vector enough;
  for (std::size_t g : order_) {
    const Block& block = blocks_[g];
    enough.push_back(std::max({inner * tol * (block.penalty.lasso + block.penalty.group), least(block),
                               kLoose * worst_ * block.norm}));
  }
  quadratic_.solve(enough);
  for (std::size_t k = 0; k < q_; ++k) {
    for (std::size_t i = 0; i < m; ++i) w_[k * X_.p + working_.column(i)] = quadratic_.w[k * m + i];
  }
  eliminates() ? settle_free() : refresh();
}

double BlockSolver::objective() const {
  double sum = dot(r_, r_) / 2;
  Vector w;
  for (std::size_t g : order_) {
    gather(blocks_[g], w_, w);
    sum += value(blocks_[g].penalty, w.data(), w.size());
  }
  return sum;
}

// θ: the residual without its part in the columns that have no penalty, whose squares it returns; g: x̃·θ.
double BlockSolver::project_residual(Vector& theta, Vector& g) {
  theta = r_;
  double apart = 0;
  for (std::size_t k = 0; k < q_; ++k) apart += span_.take(theta.data() + k * samples());
  g = g_;
  if (!span_.empty()) correlate(theta, g);
  return apart;
}

double BlockSolver::largest(const Strength& strength) {
  set_strengths(strength);
  Vector theta, g, u;
  project_residual(theta, g);
  double most = 0;
  for (const Block& block : blocks_) {
    if (block.penalty.lasso == 0 && block.penalty.group == 0) continue;
    gather(block, g, u);
    most = std::max(most, dual_norm(block.penalty, u.data(), u.size()));
  }
  return most;
}

// How far the objective can be above its minimum: the gap to the dual objective at s·θ. A sum of parts that
// are not negative, since the difference of the two objectives is less than their rounding.
double BlockSolver::certificate() {
  Vector theta, g;
  const double apart = project_residual(theta, g);
  double largest = 0, steepest = 0, ridge = 0;
  Vector w, u;
  for (const Block& block : blocks_) {
    const BlockPenalty& h = block.penalty;
    if (h.lasso == 0 && h.group == 0 && h.ridge == 0) continue;
    gather(block, g, u);
    if (h.lasso == 0 && h.group == 0) {
      if (h.ridge > 0 && block.place != kNowhere) {
        gather(block, w_, w);
        ridge += h.ridge * squared(length(w.data(), w.size()));
      }
      continue;
    }
    if (h.ridge == 0) {
      const double norm = dual_norm(h, u.data(), u.size());
      largest = std::max(largest, norm);
      steepest = std::max(steepest, norm);
      continue;
    }
    gather(block, w_, w);
    for (std::size_t i = 0; i < u.size(); ++i) u[i] -= h.ridge * w[i];
    steepest = std::max(steepest, dual_norm(h, u.data(), u.size()));
    ridge += h.ridge * squared(length(w.data(), w.size()));
  }
  const double yt = dot(y_, theta), tt = dot(theta, theta);
  double most = largest > 0 ? 1 / largest : kInf;
  // A projection leaves the rounding of r along what it takes out: no more than that of y is to come of it.
  if (!span_.empty()) most = std::min(most, std::sqrt(y_squared_ / dot(r_, r_)));
  double best = kInf;
  for (double s : {1.0, yt / tt, yt / (tt + ridge), steepest > 1 ? 1 / steepest : 1.0}) {
    if (!(s >= 0)) s = 0;
    s = std::min({s, most, 1e300});
    double gap = squared(1 - s) * tt / 2 + apart / 2;
    for (const Block& block : blocks_) {
      if (!(gap < best)) break;
      if (block.penalty.free() || (block.penalty.ridge == 0 && block.place == kNowhere)) continue;
      gather(block, w_, w);
      gather(block, g, u);
      gap += conjugate_gap(block.penalty, w.data(), u.data(), s, w.size());
    }
    best = std::min(best, gap);
  }
  double rounding = 0;
  for (std::size_t k = 0; k < q_; ++k) rounding += squared(span_.rounding(w_.data() + k * X_.p));
  return best + std::sqrt(rounding * dot(r_, r_));
}

void BlockSolver::remember(Best& best, const Found& found) const {
  best = {found.objective, found.gap, {}};
  for (std::size_t k = 0; k < q_; ++k) {
    for (std::size_t i = 0; i < working_.size(); ++i) best.w.push_back(w_[k * X_.p + working_.column(i)]);
  }
}

void BlockSolver::restore(const Best& best, Found& found) {
  std::fill(w_.begin(), w_.end(), 0.0);
  const std::size_t had = best.w.size() / q_;  // columns that have entered since are 0
  for (std::size_t k = 0; k < q_; ++k) {
    for (std::size_t i = 0; i < had; ++i) w_[k * X_.p + working_.column(i)] = best.w[k * had + i];
  }
  refresh();
  found.objective = best.objective;
  found.gap = best.gap;
}

// Where a small strength is too far from the start, by way of larger ones.
Found BlockSolver::solve(const Strength& strength, Limits limits) {
  const Found first = descend(strength, limits);
  if (first.reason != Reason::kStalled) return first;
  Best best;
  remember(best, first);
  std::fill(w_.begin(), w_.end(), 0.0);
  refresh();
  double times = largest(strength) / kSmaller;
  Found found = first;
  if (times > 1 && std::isfinite(times)) {
    for (bool last = false; !last; times /= kSmaller) {
      last = times <= 1;
      const double by = std::max(times, 1.0);
      const auto rounds = found.rounds;
      const auto left = limits.max_passes - std::min(limits.max_passes, static_cast<std::size_t>(rounds));
      found = descend({strength.lasso * by, strength.group * by, strength.ridge * by}, {limits.tol, left});
      found.rounds += rounds;
    }
  }
  if (found.objective < first.objective && times < 1) return found;
  found = first;
  restore(best, found);
  return found;
}

Found BlockSolver::descend(const Strength& strength, Limits limits) {
  set_strengths(strength);
  if (!(objective() <= y_squared_ / 2 * (1 + kRise))) {  // a start that is worse than none
    std::fill(w_.begin(), w_.end(), 0.0);
    refresh();
  }
  Found found{0, kInf, 0, 0, Reason::kMaxIter};
  double previous = kInf, inner = 1;
  Best best{kInf, kInf, {}};
  double lowest = kInf, least_gap = kInf;
  int idle = 0, still = 0;
  bool took = true;
  for (;; ++found.rounds) {
    found.objective = objective();
    // No square and no penalty is below 0.
    found.gap = std::isfinite(found.objective) ? std::min(certificate(), found.objective) : kInf;
    const bool risen = !(found.objective <= best.objective * (1 + kRise));
    if (found.objective <= best.objective) remember(best, found);
    still = !risen && (found.objective < lowest * (1 - kFall) || found.gap < least_gap / 2) ? 0 : still + 1;
    lowest = std::min(lowest, found.objective);
    if (found.gap < least_gap / 2) least_gap = found.gap;
    if (found.gap <= std::max(limits.tol * found.objective, kRounding * y_squared_ / 2)) {
      found.reason = Reason::kConverged;
      break;
    }
    if (still == kIdle || !std::isfinite(found.objective)) {
      found.reason = Reason::kStalled;
      break;
    }
    if (!took) {
      if (found.gap > 0.8 * previous && ++idle == kPatience) {
        found.reason = Reason::kStalled;
        break;
      }
      inner = std::max(inner / 10, 1e-6);
    }
    if (static_cast<std::size_t>(found.rounds) >= limits.max_passes) break;
    poll();
    previous = found.gap;
    took = choose(limits.tol, inner);
    solve_working(limits.tol, inner);
  }
  if (found.reason != Reason::kConverged && !(found.objective <= best.objective * (1 + kFall))) {
    restore(best, found);
  }
  const bool ended = found.reason == Reason::kStalled || found.reason == Reason::kMaxIter;
  if (ended &&
      found.gap <= std::max(limits.tol * found.objective, std::min(limits.tol, kEnough) * y_squared_ / 2)) {
    found.reason = Reason::kConverged;
  }
  return found;
}

namespace {

template <class Each>
void follow(BlockSolver& solver, std::size_t count, const Strength* strengths, Limits limits, Found* found,
            Each&& each) {
  for (std::size_t k = 0; k < count; ++k) {
    found[k] = solver.solve(strengths[k], limits);
    each(k);
    poll(true);
  }
}

double mean_squares(const Design& X, const BlockProblem& problem, const double* test, const double* w,
                    const double* intercept) {
  const std::size_t q = problem.tasks;
  double sum = 0, weight = 0;
  for (std::size_t i = 0; i < X.n; ++i) weight += test[i];
  for (std::size_t k = 0; k < q; ++k) {
    std::vector<std::size_t> columns;
    std::vector<double> nonzero, z(X.n, intercept[k]);
    for (std::size_t j = 0; j < X.p; ++j) {
      if (w[j * q + k] == 0) continue;
      columns.push_back(j);
      nonzero.push_back(w[j * q + k]);
    }
    X.multiply(columns, nonzero.data(), z.data());
    for (std::size_t i = 0; i < X.n; ++i) {
      if (test[i] != 0) sum += test[i] * squared(problem.y[i * q + k] - z[i]);
    }
  }
  return sum / weight / static_cast<double>(q);
}

}  // namespace

void solve_blocks(const BlockProblem& problem, std::size_t count, const Strength* strengths,
                  const double* start, Limits limits, const BlockPath& path, const Stop& stop,
                  const Told& told) {
  const Polling polling(stop);
  const std::unique_ptr<Design> X = make_design(*problem.X);
  BlockSolver solver(*X, problem, problem.weights);
  if (start != nullptr) solver.start(start);
  follow(solver, count, strengths, limits, path.found, [&](std::size_t k) {
    solver.coefficients(path.coef + k * X->p * problem.tasks);
    solver.intercepts(path.intercept + k * problem.tasks);
    if (told) told(k + 1);
  });
}

double largest_strength(const BlockProblem& problem, const Strength& strength) {
  const std::unique_ptr<Design> X = make_design(*problem.X);
  return BlockSolver(*X, problem, problem.weights).largest(strength);
}

void solve_block_folds(const BlockProblem& problem, const BlockFolds& folds, std::size_t count,
                       const Strength* strengths, Limits limits, const BlockPath& path, const Stop& stop,
                       const Told& told) {
  const std::unique_ptr<Design> X = make_design(*problem.X);
  const std::size_t q = problem.tasks;
  std::atomic<std::size_t> done = 0;
  const threading::Team team = threading::team_for(folds.count * count * X->n * X->p * q);
  threading::for_ranges(team, folds.count, 1, [&](std::size_t begin, std::size_t end) {
    std::vector<double> w(X->p * q);
    const Polling polling(stop);
    for (std::size_t f = begin; f < end; ++f) {
      BlockSolver solver(*X, problem, folds.train + f * X->n);
      follow(solver, count, strengths + f * count, limits, path.found + f * count, [&](std::size_t k) {
        const std::size_t at = f * count + k;
        solver.coefficients(w.data());
        if (path.coef != nullptr) std::copy(w.begin(), w.end(), path.coef + at * w.size());
        solver.intercepts(path.intercept + at * q);
        folds.score[at] = mean_squares(*X, problem, folds.test + f * X->n, w.data(), path.intercept + at * q);
      });
      if (told) told(++done);
    }
  });
}

}  // namespace regkern::linear
