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
  std::size_t max_rounds;
};

enum class Reason : std::uint8_t { kConverged, kStalled, kMaxIter, kStopped };

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

// Asked once a round, from the calling thread: true to stop.
using Stop = std::function<bool()>;
// Told after each strength, or after each part of the samples, from whichever thread did it.
using Told = std::function<void(std::size_t done)>;

// For each of `count` pairs of strengths, from the solution before it, the first from `start` (p, or null).
// coef is count × p; of kMultinomial, and `start` too, count × classes × (p + 1), each with its b behind it.
void solve(const Problem& problem, std::size_t count, const double* l1, const double* l2, const double* start,
           Limits limits, double* coef, Found* found, const Stop& stop, const Told& told);

// The same on F parts of the samples, in parallel: train and test are F × n weights. found and score are
// F × count: score is the mean loss of the test samples (of kSquared the squared error), coef F × count × p or
// null. The weights of `problem` are not used.
void solve_folds(const Problem& problem, std::size_t folds, const double* train, const double* test,
                 std::size_t count, const double* l1, const double* l2, Limits limits, double* coef,
                 Found* found, double* score, const Stop& stop, const Told& told);

}  // namespace regkern::linear

#endif  // REGKERN_LINEAR_H_
