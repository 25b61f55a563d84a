// Paths and folds: which solver runs, from where it starts, and who runs it.

#include <algorithm>
#include <atomic>
#include <memory>
#include <new>
#include <utility>
#include <vector>

#include "core/linear/design.h"
#include "core/linear/glm.h"
#include "core/linear/likelihood.h"
#include "core/linear/polling.h"
#include "core/linear/squared.h"
#include "core/threading.h"
#include "regkern/linear.h"

namespace regkern::linear {
namespace {

// The GNU C library gives the system back what is free beyond twice the largest block that it has mapped and
// freed, up to this size, and fits would ask for the same pages again: to be zeroed, a microsecond each. It
// learns from a block that nobody touches.
void keep_freed_pages() {
  constexpr std::size_t kMost = std::size_t{31} << 20;
  static const bool once = (::operator delete(::operator new(kMost)), true);
  static_cast<void>(once);
}

// From a solution to the next one of a path.
template <class Solver, class Each>
void follow(Solver& solver, const Strengths& strengths, Limits limits, Found* found, Each&& each) {
  for (std::size_t k = 0; k < strengths.count; ++k) {
    found[k] = solver.solve(strengths.l1[k], strengths.l2[k], limits);
    each(k);
    poll(true);
  }
}

bool has_classes(const Problem& problem) { return problem.loss == Loss::kMultinomial; }

// Of the coefficients for one strength.
std::size_t width(const Problem& problem) {
  return has_classes(problem) ? problem.classes * (problem.X->p + 1) : problem.X->p;
}

// The mean loss of what is weighted by `test`.
double mean_loss(const Design& X, const Problem& problem, const double* test, const std::vector<double>& w,
                 double intercept) {
  std::vector<double> y, s, z, all(X.n);
  double weight = 0;
  for (std::size_t i = 0; i < X.n; ++i) {
    if (test[i] == 0) continue;
    y.push_back(problem.y[i]);
    s.push_back(test[i]);
    weight += test[i];
  }
  for (std::size_t c = 0; c < problem.classes; ++c) {
    const double* of_class = w.data() + c * (X.p + 1);
    std::vector<std::size_t> columns;
    std::vector<double> nonzero;
    for (std::size_t j = 0; j < X.p; ++j) {
      if (of_class[j] == 0) continue;
      columns.push_back(j);
      nonzero.push_back(of_class[j]);
    }
    std::fill(all.begin(), all.end(), has_classes(problem) ? of_class[X.p] : intercept);
    X.multiply(columns, nonzero.data(), all.data());
    for (std::size_t i = 0; i < X.n; ++i) {
      if (test[i] != 0) z.push_back(all[i]);
    }
  }
  if (problem.loss != Loss::kSquared) {
    return Likelihood(problem.loss, problem.classes, std::move(y), std::move(s)).loss(z) / weight;
  }
  double sum = 0;
  for (std::size_t i = 0; i < z.size(); ++i) sum += s[i] * (y[i] - z[i]) * (y[i] - z[i]);
  return sum / weight;
}

// Calls with() with the solver of the problem's loss.
template <class With>
void by_loss(const Design& X, const Problem& problem, const double* weights, With&& with) {
  if (problem.loss == Loss::kSquared) {
    SquaredSolver solver(X, problem, weights);
    with(solver);
  } else {
    GlmSolver solver(X, problem, weights);
    with(solver);
  }
}

}  // namespace

void solve(const Problem& problem, const Strengths& strengths, const double* start, Limits limits,
           double* coef, Found* found, const Watch& watch) {
  keep_freed_pages();
  const Polling polling(watch.stop);
  const std::unique_ptr<Design> X = make_design(*problem.X);
  by_loss(*X, problem, problem.weights, [&](auto& solver) {
    if (start != nullptr) solver.start(start);
    follow(solver, strengths, limits, found, [&](std::size_t k) {
      solver.coefficients(coef + k * width(problem));
      if (watch.told) watch.told(k + 1);
    });
  });
}

void solve_folds(const Problem& problem, const Folds& folds, const Strengths& strengths, Limits limits,
                 const Paths& paths, const Watch& watch) {
  const std::unique_ptr<Design> X = make_design(*problem.X);
  std::atomic<std::size_t> done = 0;
  const std::size_t count = strengths.count;
  const threading::Team team = threading::team_for(folds.count * count * X->n * X->p);
  threading::for_ranges(team, folds.count, 1, [&](std::size_t begin, std::size_t end) {
    const Polling polling(watch.stop);
    for (std::size_t f = begin; f < end; ++f) {
      const Strengths of_fold{count, strengths.l1 + f * count, strengths.l2 + f * count};
      Found* found = paths.found + f * count;
      std::vector<double> w(width(problem));
      by_loss(*X, problem, folds.train + f * X->n, [&](auto& solver) {
        follow(solver, of_fold, limits, found, [&](std::size_t k) {
          solver.coefficients(w.data());
          if (paths.coef != nullptr) std::copy(w.begin(), w.end(), paths.coef + (f * count + k) * w.size());
          paths.score[f * count + k] = mean_loss(*X, problem, folds.test + f * X->n, w, found[k].intercept);
        });
      });
      if (watch.told) watch.told(++done);
    }
  });
}

}  // namespace regkern::linear
