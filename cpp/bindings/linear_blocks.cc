// Binds least squares with penalties of blocks.

#include "regkern/linear_blocks.h"

#include <cstdint>
#include <string>
#include <vector>

#include "arrays.h"
#include "linear_parts.h"
#include "module.h"

namespace regkern::bindings {
namespace {

using linear::BlockProblem;
using linear::Strength;

const std::int64_t* integers(Arg arg, py::handle value, std::size_t count) {
  const bool is_vector = is_ndarray(value) && py::isinstance<py::array_t<std::int64_t>>(value) &&
                         py::reinterpret_borrow<py::array>(value).flags() & py::array::c_style;
  if (!is_vector || proxy(value)->nd != 1 || static_cast<std::size_t>(proxy(value)->dimensions[0]) != count) {
    value_error(arg, "be a dense vector of " + std::to_string(count) + " int64", text(value));
  }
  return reinterpret_cast<const std::int64_t*>(proxy(value)->data);
}

struct BlockArguments {
  py::handle X, y, weights, starts, columns, lasso, group, ridge, intercept, positive;
};

// Each column in one block: what the solver writes to is checked, whoever has made it.
BlockProblem block_problem(const char* f, const Held& held, const BlockArguments& a) {
  const std::size_t n = held.matrix.n, p = held.matrix.p;
  const std::size_t tasks = input({f, "y"}, a.y).size() / n;
  if (tasks == 0) value_error({f, "y"}, "have columns", "none");
  if (!is_ndarray(a.starts) || proxy(a.starts)->nd != 1 || proxy(a.starts)->dimensions[0] < 1) {
    value_error({f, "starts"}, "be a vector", text(a.starts));
  }
  const auto count = static_cast<std::size_t>(proxy(a.starts)->dimensions[0]) - 1;
  const std::int64_t *starts = integers({f, "starts"}, a.starts, count + 1),
                     *columns = integers({f, "columns"}, a.columns, p);
  std::vector<bool> seen(p);
  for (std::size_t i = 0; i < p; ++i) {
    const auto j = static_cast<std::size_t>(columns[i]);
    if (columns[i] < 0 || j >= p || seen[j]) {
      value_error({f, "columns"}, "name each column once", std::to_string(columns[i]));
    }
    seen[j] = true;
  }
  for (std::size_t g = 0; g < count; ++g) {
    if (starts[g + 1] < starts[g]) {
      value_error({f, "starts"}, "not decrease", std::to_string(starts[g + 1]));
    }
  }
  if (starts[0] != 0 || static_cast<std::size_t>(starts[count]) != p) {
    value_error({f, "starts"}, "begin with 0 and end with " + std::to_string(p),
                std::to_string(starts[count]));
  }
  return {&held.matrix,
          tasks,
          numbers({f, "y"}, a.y, n * tasks),
          numbers({f, "sample_weight"}, a.weights, n),
          {count, starts, columns, numbers({f, "lasso_weights"}, a.lasso, count),
           numbers({f, "group_weights"}, a.group, count), numbers({f, "ridge_weights"}, a.ridge, count)},
          flag({f, "fit_intercept"}, a.intercept),
          flag({f, "positive"}, a.positive)};
}

// Rows of three: lasso, group, ridge.
std::vector<Strength> strengths_of(Arg arg, py::handle value) {
  const Array array = input(arg, value);
  const std::size_t count = array.size() / 3;
  const double* from = numbers(arg, value, 3 * count);
  std::vector<Strength> strengths;
  for (std::size_t k = 0; k < count; ++k)
    strengths.push_back({from[3 * k], from[3 * k + 1], from[3 * k + 2]});
  return strengths;
}

linear::Limits limits_of(const char* f, py::handle tol, py::handle rounds) {
  return {nonnegative({f, "tol"}, tol), static_cast<std::size_t>(integer({f, "max_iter"}, rounds))};
}

py::tuple block_report(const std::vector<linear::Found>& found) {
  const auto count = static_cast<py::ssize_t>(found.size());
  py::array_t<double> gap(count), objective(count);
  py::array_t<std::int64_t> rounds(count), reason(count);
  for (std::size_t k = 0; k < found.size(); ++k) {
    gap.mutable_data()[k] = found[k].gap;
    objective.mutable_data()[k] = found[k].objective;
    rounds.mutable_data()[k] = found[k].rounds;
    reason.mutable_data()[k] = static_cast<std::int64_t>(found[k].reason);
  }
  return py::make_tuple(gap, objective, rounds, reason);
}

py::array_t<double> room(std::size_t a, std::size_t b, std::size_t c) {
  return py::array_t<double>(
      {static_cast<py::ssize_t>(a), static_cast<py::ssize_t>(b), static_cast<py::ssize_t>(c)});
}

struct SolveBlocksArguments {
  py::handle X, y, weights, starts, columns, lasso, group, ridge, intercept, positive, strengths, start, tol,
      max_rounds, progress;
};

py::tuple linear_blocks(const SolveBlocksArguments& a) {
  constexpr const char* f = "solve_blocks";
  Held held = matrix(f, a.X);
  const BlockProblem problem = block_problem(
      f, held,
      {a.X, a.y, a.weights, a.starts, a.columns, a.lasso, a.group, a.ridge, a.intercept, a.positive});
  const std::size_t p = held.matrix.p;
  const std::vector<Strength> strengths = strengths_of({f, "strengths"}, a.strengths);
  const std::size_t count = strengths.size();
  const double* start = numbers({f, "coef"}, a.start, p * problem.tasks);
  const linear::Limits limits = limits_of(f, a.tol, a.max_rounds);
  py::array_t<double> coef = room(count, p, problem.tasks);
  py::array_t<double> intercept({static_cast<py::ssize_t>(count), static_cast<py::ssize_t>(problem.tasks)});
  std::vector<linear::Found> found(count);
  Interrupt interrupt;
  follow(held);
  const linear::BlockPath path{coef.mutable_data(), intercept.mutable_data(), found.data()};
  run_unlocked(f, interrupt, [&] {
    linear::solve_blocks(
        problem, count, strengths.data(), start, limits, path, [&] { return interrupt(); },
        [&](std::size_t done) { interrupt.tell(a.progress, done, count); });
  });
  return py::make_tuple(coef, intercept, block_report(found));
}

struct LargestArguments {
  py::handle X, y, weights, starts, columns, lasso, group, ridge, intercept, positive, strength;
};

double linear_blocks_largest(const LargestArguments& a) {
  constexpr const char* f = "largest_strength";
  Held held = matrix(f, a.X);
  const BlockProblem problem = block_problem(
      f, held,
      {a.X, a.y, a.weights, a.starts, a.columns, a.lasso, a.group, a.ridge, a.intercept, a.positive});
  const std::vector<Strength> strengths = strengths_of({f, "strength"}, a.strength);
  if (strengths.size() != 1) value_error({f, "strength"}, "be one", std::to_string(strengths.size()));
  Interrupt interrupt;
  follow(held);
  double largest = 0;
  run_unlocked(f, interrupt, [&] { largest = linear::largest_strength(problem, strengths[0]); });
  return largest;
}

struct BlockFoldsArguments {
  py::handle X, y, train, test, starts, columns, lasso, group, ridge, intercept, positive, strengths, tol,
      max_rounds, progress;
};

// Strengths are folds × count rows of three, and what comes back is as long.
py::tuple linear_block_folds(const BlockFoldsArguments& a) {
  constexpr const char* f = "solve_block_folds";
  Held held = matrix(f, a.X);
  const py::none none;
  const BlockProblem problem = block_problem(
      f, held, {a.X, a.y, none, a.starts, a.columns, a.lasso, a.group, a.ridge, a.intercept, a.positive});
  const std::size_t n = held.matrix.n;
  const std::size_t folds = input({f, "train"}, a.train).size() / n;
  const std::vector<Strength> strengths = strengths_of({f, "strengths"}, a.strengths);
  const std::size_t count = folds == 0 ? 0 : strengths.size() / folds;
  if (count * folds != strengths.size()) {
    value_error({f, "strengths"}, "have as many rows for each fold", std::to_string(strengths.size()));
  }
  py::array_t<double> score(static_cast<py::ssize_t>(strengths.size()));
  const linear::BlockFolds parts{folds, numbers({f, "train"}, a.train, folds * n),
                                 numbers({f, "test"}, a.test, folds * n), score.mutable_data()};
  const linear::Limits limits = limits_of(f, a.tol, a.max_rounds);
  std::vector<double> intercept(strengths.size() * problem.tasks);
  std::vector<linear::Found> found(strengths.size());
  Interrupt interrupt;
  follow(held);
  const linear::BlockPath path{nullptr, intercept.data(), found.data()};
  run_unlocked(f, interrupt, [&] {
    linear::solve_block_folds(
        problem, parts, count, strengths.data(), limits, path, [&] { return interrupt(); },
        [&](std::size_t done) { interrupt.tell(a.progress, done, folds); });
  });
  return py::make_tuple(score, block_report(found));
}

}  // namespace

void register_linear_blocks(py::module_& m) {
  define<SolveBlocksArguments>(m, "linear_blocks", linear_blocks);
  define<LargestArguments>(m, "linear_blocks_largest", linear_blocks_largest);
  define<BlockFoldsArguments>(m, "linear_block_folds", linear_block_folds);
}

}  // namespace regkern::bindings
