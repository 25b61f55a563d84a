// Binds linear models: X in its layouts, and vectors in float64.

#include "regkern/linear.h"

#include <algorithm>
#include <cmath>
#include <cstring>
#include <limits>
#include <type_traits>
#include <vector>

#include "arrays.h"
#include "linear_parts.h"
#include "module.h"

namespace regkern::bindings {
namespace {

using linear::Found;
using linear::Limits;
using linear::Matrix;
using linear::Problem;

const void* sparse_index(Arg arg, py::handle value, bool& wide, std::size_t count) {
  if (!is_ndarray(value) || proxy(value)->nd != 1 ||
      static_cast<std::size_t>(proxy(value)->dimensions[0]) < count) {
    value_error(arg, "be a vector of " + std::to_string(count) + " or more", text(value));
  }
  const auto kind = py::reinterpret_borrow<py::array>(value).dtype();
  if (!kind.is(py::dtype::of<std::int32_t>()) && !kind.is(py::dtype::of<std::int64_t>())) {
    type_error(arg, "be int32 or int64", kind);
  }
  wide = kind.itemsize() == 8;
  return proxy(value)->data;
}

template <class I>
void check_starts(Arg arg, const I* starts, std::size_t p, std::size_t stored) {
  if (starts[0] != 0) value_error(arg, "begin with 0", std::to_string(starts[0]));
  for (std::size_t j = 0; j < p; ++j) {
    if (starts[j + 1] < starts[j] || static_cast<std::size_t>(starts[j + 1]) > stored) {
      value_error(arg, "have columns that begin in order", std::to_string(starts[j + 1]));
    }
  }
}

}  // namespace

Held matrix(const char* function, py::handle value) {
  const Arg arg{function, "X"};
  Held held;
  if (!PyTuple_Check(value.ptr())) {
    held.data = input(arg, value);
    if (held.data.ndim() != 2) value_error(arg, "have 2 axes", "rank " + std::to_string(held.data.ndim()));
    const auto *shape = held.data.shape(), *strides = held.data.strides();
    held.matrix = {Matrix::Kind::kDense,
                   held.data.dtype() == Dtype::kFloat32,
                   static_cast<std::size_t>(shape[0]),
                   static_cast<std::size_t>(shape[1]),
                   nullptr,
                   strides[0],
                   strides[1],
                   nullptr,
                   nullptr,
                   false};
  } else {
    const auto parts = py::reinterpret_borrow<py::tuple>(value);
    held.data = input(arg, parts[0]);
    const std::size_t stored = held.data.size();
    require_vector(arg, held.data, stored);
    if (!held.data.dense()) value_error(arg, "have dense values", "strides");
    held.indices = parts[1];
    held.starts = parts[2];
    const auto rows = static_cast<std::size_t>(integer(arg, parts[3]));
    const std::size_t p = static_cast<std::size_t>(proxy(held.starts)->dimensions[0]) - 1;
    bool wide = false, also_wide = false;
    const void* indices = sparse_index(arg, held.indices, wide, stored);
    const void* starts = sparse_index(arg, held.starts, also_wide, 1);
    if (wide != also_wide) value_error(arg, "have indices of one dtype", "two");
    if (wide) {
      check_starts(arg, static_cast<const std::int64_t*>(starts), p, stored);
    } else {
      check_starts(arg, static_cast<const std::int32_t*>(starts), p, stored);
    }
    held.matrix = {Matrix::Kind::kColumns,
                   held.data.dtype() == Dtype::kFloat32,
                   rows,
                   p,
                   nullptr,
                   0,
                   0,
                   indices,
                   starts,
                   wide};
  }
  if (held.matrix.n >= UINT32_MAX || held.matrix.p >= UINT32_MAX) {
    value_error(arg, "have less than 2**32 - 1 rows and columns",
                shape_text(held.data.ndim(), held.data.shape()));
  }
  if (held.matrix.n == 0) value_error(arg, "have rows", "none");
  return held;
}

const double* numbers(Arg arg, py::handle value, std::size_t count) {
  if (value.is_none()) return nullptr;
  const Array array = input(arg, value);
  require_float64(arg, array);
  if (!array.dense() || array.size() != count) {
    value_error(arg, "be " + std::to_string(count) + " dense numbers", std::to_string(array.size()));
  }
  return array.data<double>();
}

void follow(Held& held) {
  held.matrix.data = held.matrix.single ? static_cast<const void*>(held.data.data<float>())
                                        : static_cast<const void*>(held.data.data<double>());
}

namespace {

linear::Loss loss_of(Arg arg, py::handle value) {
  const std::string name = py::cast<std::string>(value);
  if (name == "squared") return linear::Loss::kSquared;
  if (name == "logistic") return linear::Loss::kLogistic;
  if (name == "poisson") return linear::Loss::kPoisson;
  if (name == "multinomial") return linear::Loss::kMultinomial;
  value_error(arg, "be 'squared', 'logistic', 'poisson' or 'multinomial'", text(value));
}

py::tuple report(const std::vector<Found>& found, std::size_t folds) {
  const std::size_t count = found.size() / folds;
  const std::vector<py::ssize_t> shape{static_cast<py::ssize_t>(folds), static_cast<py::ssize_t>(count)};
  py::array_t<double> intercept(shape), gap(shape), objective(shape);
  py::array_t<std::int64_t> rounds(shape), reason(shape);
  for (std::size_t k = 0; k < found.size(); ++k) {
    intercept.mutable_data()[k] = found[k].intercept;
    gap.mutable_data()[k] = found[k].gap;
    objective.mutable_data()[k] = found[k].objective;
    rounds.mutable_data()[k] = found[k].rounds;
    reason.mutable_data()[k] = static_cast<std::int64_t>(found[k].reason);
  }
  return py::make_tuple(intercept, gap, objective, rounds, reason);
}

struct Common {
  py::handle X, loss, y, weights, factor, lower, upper, gram, intercept;
};

// The classes of labels that the loss can take: 1, or of kMultinomial as many as there are numbers.
std::size_t classes_of(Arg arg, linear::Loss loss, const double* y, std::size_t n) {
  double classes = 1;
  for (std::size_t i = 0; i < n && loss != linear::Loss::kSquared; ++i) {
    const bool whole = y[i] >= 0 && y[i] < 65536 && y[i] == std::floor(y[i]);
    if (loss == linear::Loss::kPoisson ? !(y[i] >= 0 && std::isfinite(y[i])) : !whole) {
      value_error(arg, loss == linear::Loss::kPoisson ? "be >= 0" : "be numbers of classes",
                  std::to_string(y[i]));
    }
    if (loss == linear::Loss::kLogistic && y[i] > 1) value_error(arg, "be 0 or 1", std::to_string(y[i]));
    if (loss == linear::Loss::kMultinomial) classes = std::max(classes, y[i] + 1);
  }
  return static_cast<std::size_t>(classes);
}

// Of the coefficients for one strength.
std::size_t width(const Problem& problem) {
  return problem.loss == linear::Loss::kMultinomial ? problem.classes * (problem.X->p + 1) : problem.X->p;
}

Problem problem_of(const char* f, const Held& held, const Common& a) {
  const std::size_t n = held.matrix.n, p = held.matrix.p;
  const linear::Loss loss = loss_of({f, "loss"}, a.loss);
  const double* y = numbers({f, "y"}, a.y, n);
  return {&held.matrix,
          loss,
          y,
          numbers({f, "sample_weight"}, a.weights, n),
          numbers({f, "penalty_factor"}, a.factor, p),
          numbers({f, "lower"}, a.lower, p),
          numbers({f, "upper"}, a.upper, p),
          numbers({f, "gram"}, a.gram, p * p),
          flag({f, "fit_intercept"}, a.intercept),
          classes_of({f, "y"}, loss, y, n)};
}

struct SolveArguments {
  py::handle X, loss, y, weights, factor, lower, upper, gram, intercept, l1, l2, start, tol, max_rounds,
      progress;
};

py::tuple linear_solve(const SolveArguments& a) {
  constexpr const char* f = "solve";
  Held held = matrix(f, a.X);
  const Problem problem =
      problem_of(f, held, {a.X, a.loss, a.y, a.weights, a.factor, a.lower, a.upper, a.gram, a.intercept});
  const std::size_t count = input({f, "l1"}, a.l1).size();
  const double *l1 = numbers({f, "l1"}, a.l1, count), *l2 = numbers({f, "l2"}, a.l2, count);
  const double* start = numbers({f, "coef"}, a.start, width(problem));
  const Limits limits{nonnegative({f, "tol"}, a.tol),
                      static_cast<std::size_t>(integer({f, "max_iter"}, a.max_rounds))};
  py::array_t<double> coef({static_cast<py::ssize_t>(count), static_cast<py::ssize_t>(width(problem))});
  std::vector<Found> found(count);
  Interrupt interrupt;
  follow(held);
  double* to = coef.mutable_data();
  run_unlocked(f, interrupt, [&] {
    linear::solve(
        problem, {count, l1, l2}, start, limits, to, found.data(),
        {[&] { return interrupt(); }, [&](std::size_t done) { interrupt.tell(a.progress, done, count); }});
  });
  return py::make_tuple(coef, report(found, 1));
}

struct FoldArguments {
  py::handle X, loss, y, train, test, factor, lower, upper, intercept, l1, l2, tol, max_rounds, keep,
      progress;
};

py::tuple linear_folds(const FoldArguments& a) {
  constexpr const char* f = "solve_folds";
  Held held = matrix(f, a.X);
  const py::none none;
  const Problem problem =
      problem_of(f, held, {a.X, a.loss, a.y, none, a.factor, a.lower, a.upper, none, a.intercept});
  const std::size_t n = held.matrix.n;
  const std::size_t folds = input({f, "train"}, a.train).size() / n;
  const std::size_t count = folds == 0 ? 0 : input({f, "l1"}, a.l1).size() / folds;
  const double *train = numbers({f, "train"}, a.train, folds * n),
               *test = numbers({f, "test"}, a.test, folds * n);
  const double *l1 = numbers({f, "l1"}, a.l1, folds * count), *l2 = numbers({f, "l2"}, a.l2, folds * count);
  const Limits limits{nonnegative({f, "tol"}, a.tol),
                      static_cast<std::size_t>(integer({f, "max_iter"}, a.max_rounds))};
  const bool keep = flag({f, "keep_coef"}, a.keep);
  std::vector<py::ssize_t> shape{static_cast<py::ssize_t>(folds), static_cast<py::ssize_t>(count)};
  py::array_t<double> score(shape);
  shape.push_back(static_cast<py::ssize_t>(width(problem)));
  py::object coef = keep ? py::object(py::array_t<double>(shape)) : py::object(py::none());
  std::vector<Found> found(folds * count);
  Interrupt interrupt;
  follow(held);
  double *to = keep ? py::cast<py::array_t<double>>(coef).mutable_data() : nullptr,
         *scores = score.mutable_data();
  run_unlocked(f, interrupt, [&] {
    linear::solve_folds(
        problem, {folds, train, test}, {count, l1, l2}, limits, {to, found.data(), scores},
        {[&] { return interrupt(); }, [&](std::size_t done) { interrupt.tell(a.progress, done, folds); }});
  });
  return py::make_tuple(score, coef, report(found, std::max<std::size_t>(folds, 1)));
}

}  // namespace

void register_linear(py::module_& m) {
  define<SolveArguments>(m, "linear_solve", linear_solve);
  define<FoldArguments>(m, "linear_folds", linear_folds);
}

}  // namespace regkern::bindings
