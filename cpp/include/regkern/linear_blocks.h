// Least squares whose coefficients are penalized in blocks: groups of features, or all tasks of one feature.
// Formulas: regkern/reference/linear_model/blocks.py. Arithmetic is in float64; the same bits for any number
// of threads.

#ifndef REGKERN_LINEAR_BLOCKS_H_
#define REGKERN_LINEAR_BLOCKS_H_

#include <cstddef>
#include <cstdint>

#include "regkern/linear.h"

namespace regkern::linear {

// Block g is columns[starts[g]] … columns[starts[g + 1] − 1]; each column is in one block. What the strengths
// are multiplied with in a block; null: 1.
struct Blocks {
  std::size_t count;
  const std::int64_t *starts, *columns;
  const double *lasso, *group, *ridge;
};

// What is minimized, with W_g the coefficients of block g for all tasks:
// ½ Σ sᵢ‖yᵢ − Wᵀxᵢ − b‖² + Σ_g lasso_g·|W_g|₁ + group_g·‖W_g‖₂ + ½·ridge_g·‖W_g‖², maybe W ≥ 0.
struct BlockProblem {
  const Matrix* X;
  std::size_t tasks;
  const double *y, *weights;  // n × tasks, n
  Blocks blocks;
  bool intercept, positive;
};

struct Strength {
  double lasso, group, ridge;
};

// What was found for `count` strengths: coef count × p × tasks, intercept count × tasks, found count.
struct BlockPath {
  double *coef, *intercept;
  Found* found;
};

// Each from the solution before it, the first from `start` (p × tasks, or null).
void solve_blocks(const BlockProblem& problem, std::size_t count, const Strength* strengths,
                  const double* start, Limits limits, const BlockPath& path, const Stop& stop,
                  const Told& told);

// The least multiple of a strength for which all that it penalizes is 0.
double largest_strength(const BlockProblem& problem, const Strength& strength);

// Parts of the samples: weights of those that are fitted and of those that are scored, folds × n. score,
// folds × strengths, is the mean squared error of the latter, over all tasks.
struct BlockFolds {
  std::size_t count;
  const double *train, *test;
  double* score;
};

// The same on folds, in parallel; what is `count` long above is folds × count, and coef may be null. Told
// after each fold.
void solve_block_folds(const BlockProblem& problem, const BlockFolds& folds, std::size_t count,
                       const Strength* strengths, Limits limits, const BlockPath& path, const Stop& stop,
                       const Told& told);

}  // namespace regkern::linear

#endif  // REGKERN_LINEAR_BLOCKS_H_
