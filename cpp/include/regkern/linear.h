// Linear models: a loss of xᵢ·w + b, and penalties of w. Formulas: regkern/reference/linear_model. Arithmetic
// is in float64 whatever the dtype of X; the same bits for any number of threads.

#ifndef REGKERN_LINEAR_H_
#define REGKERN_LINEAR_H_

#include <cstddef>
#include <cstdint>
#include <functional>

namespace regkern::linear {

// X, n × p. Dense: strides in bytes, of any sign and alignment. Sparse: compressed columns, whose row numbers
// are below n and distinct within a column.
struct Matrix {
  enum class Kind { kDense, kColumns } kind;
  bool single;  // float32, else float64
  std::size_t n, p;
  const void* data;
  std::ptrdiff_t row_stride, column_stride;
  const void *indices, *starts;  // of kColumns: row numbers, and where each column begins, p + 1
  bool wide;                     // of kColumns: int64, else int32
};

enum class Loss { kSquared, kLogistic, kPoisson, kMultinomial };

// What is minimized: Σ sᵢ·loss(yᵢ, xᵢ·w + b) + Σ vⱼ·(l1·|wⱼ| + ½·l2·wⱼ²), lower ≤ w ≤ upper. Null: 1 of
// weights and factors, no bounds. kMultinomial has a w and a b for each class, whose numbers are y.
struct Problem {
  const Matrix* X;
  Loss loss;
  const double *y, *weights;             // n
  const double *factor, *lower, *upper;  // p
  const double* gram;                    // p × p, Σ s(x − mean)(x − mean)ᵀ where it is known, else null
  bool intercept;
  std::size_t classes = 1;  // of kMultinomial
};

// How exactly, and how often the solver may look at all of X for one strength.
struct Limits {
  double tol;  // of the duality gap, relative to the objective
  std::size_t max_passes;
};

enum class Reason : std::uint8_t { kConverged, kStalled, kMaxIter };

// What was found for one strength.
struct Found {
  double intercept, gap, objective;
  std::int64_t rounds;
  Reason reason;
};

// Thrown before anything is written: X has NaN, an infinity or too large a value.
struct NotFinite {
  std::size_t column;
};
// Thrown as early: a row number of compressed columns is none.
struct NotARow {
  std::int64_t row;
  std::size_t rows;
};

// Thrown where Stop says so: what was to be written is not, or in part.
struct Stopped {};

// Asked some dozen times a second, of folds from all their threads: true to stop.
using Stop = std::function<bool()>;
// Told after each strength, or after each part of the samples, from whichever thread did it.
using Told = std::function<void(std::size_t done)>;

// Pairs of strengths; of folds, count for each.
struct Strengths {
  std::size_t count;
  const double *l1, *l2;
};

// Parts of the samples: weights, folds × n, of those that are fitted and those that are tested.
struct Folds {
  std::size_t count;
  const double *train, *test;
};

// Who looks on; either may be empty.
struct Watch {
  Stop stop;
  Told told;
};

// What was found on folds × strengths. score is the mean loss of the test samples (of kSquared the squared
// error); coef has as many numbers for each as solve() gives, or is null.
struct Paths {
  double* coef;
  Found* found;
  double* score;
};

// For each pair of strengths, from the solution before it, the first from `start` (or null). coef has p
// numbers for each; of kMultinomial those of each class, and its intercept behind them.
void solve(const Problem& problem, const Strengths& strengths, const double* start, Limits limits,
           double* coef, Found* found, const Watch& watch);

// The same on parts of the samples, in parallel. The weights of `problem` are not used.
void solve_folds(const Problem& problem, const Folds& folds, const Strengths& strengths, Limits limits,
                 const Paths& paths, const Watch& watch);

}  // namespace regkern::linear

#endif  // REGKERN_LINEAR_H_
