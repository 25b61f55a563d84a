// Paths and folds: which solver runs, from where it starts, and who runs it.

#include <algorithm>
#include <atomic>
#include <memory>
#include <vector>

#include "core/linear/design.h"
#include "core/linear/squared.h"
#include "core/threading.h"
#include "regkern/linear.h"

namespace regkern::linear {
namespace {

// From a solution to the next one of a path.
template <class Solver, class Each>
void follow(Solver& solver, std::size_t count, const double* l1, const double* l2, Limits limits,
            Found* found, const Stop& stop, Each&& each) {
  for (std::size_t k = 0; k < count; ++k) {
    found[k] = solver.solve(l1[k], l2[k], limits, stop);
    if (found[k].reason == Reason::kStopped) return;
    each(k);
  }
}

// The mean loss of what is weighted by `test`.
double mean_loss(const Design& X, const Problem& problem, const double* test, const std::vector<double>& w,
                 double intercept) {
  std::vector<std::size_t> columns;
  std::vector<double> nonzero, z(X.n, intercept);
  for (std::size_t j = 0; j < X.p; ++j) {
    if (w[j] == 0) continue;
    columns.push_back(j);
    nonzero.push_back(w[j]);
  }
  X.multiply(columns, nonzero.data(), z.data());
  double sum = 0, weight = 0;
  for (std::size_t i = 0; i < X.n; ++i) {
    if (test[i] == 0) continue;
    const double miss = problem.y[i] - z[i];
    sum += test[i] * miss * miss;
    weight += test[i];
  }
  return sum / weight;
}

}  // namespace

void solve(const Problem& problem, std::size_t count, const double* l1, const double* l2, const double* start,
           Limits limits, double* coef, Found* found, const Stop& stop, const Told& told) {
  const std::unique_ptr<Design> X = make_design(*problem.X);
  SquaredSolver solver(*X, problem, problem.weights);
  if (start != nullptr) solver.start(start);
  follow(solver, count, l1, l2, limits, found, stop, [&](std::size_t k) {
    solver.coefficients(coef + k * X->p);
    if (told) told(k + 1);
  });
}

void solve_folds(const Problem& problem, std::size_t folds, const double* train, const double* test,
                 std::size_t count, const double* l1, const double* l2, Limits limits, double* coef,
                 Found* found, double* score, const Stop& stop, const Told& told) {
  const std::unique_ptr<Design> X = make_design(*problem.X);
  std::atomic<std::size_t> done = 0;
  const threading::Team team = threading::team_for(folds * count * X->n * X->p);
  threading::for_ranges(team, folds, 1, [&](std::size_t begin, std::size_t end) {
    for (std::size_t f = begin; f < end; ++f) {
      SquaredSolver solver(*X, problem, train + f * X->n);
      Found* mine = found + f * count;
      std::vector<double> w(X->p);
      follow(solver, count, l1 + f * count, l2 + f * count, limits, mine, stop, [&](std::size_t k) {
        solver.coefficients(w.data());
        if (coef != nullptr) std::copy(w.begin(), w.end(), coef + (f * count + k) * X->p);
        score[f * count + k] = mean_loss(*X, problem, test + f * X->n, w, mine[k].intercept);
      });
      if (told) told(++done);
    }
  });
}

}  // namespace regkern::linear
