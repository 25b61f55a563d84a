// Least squares with penalties of blocks: a working set of blocks, the quadratic problem on it, and a
// certificate over all blocks. What was packed for one strength serves the next.

#ifndef REGKERN_CORE_LINEAR_BLOCKS_H_
#define REGKERN_CORE_LINEAR_BLOCKS_H_

#include <cstddef>
#include <vector>

#include "core/linear/block_quadratic.h"
#include "core/linear/span.h"
#include "core/linear/working.h"
#include "regkern/linear_blocks.h"

namespace regkern::linear {

class BlockSolver {
 public:
  // Of `weights` in place of the problem's.
  BlockSolver(const Design& X, const BlockProblem& problem, const double* weights);

  void start(const double* w);
  Found solve(const Strength& strength, Limits limits);
  // The least multiple of the strengths for which all that they penalize is 0.
  double largest(const Strength& strength);
  void coefficients(double* w) const;  // p × tasks
  void intercepts(double* b) const;    // tasks

 private:
  using Vector = std::vector<double>;

  struct Block {
    std::vector<std::size_t> columns;  // but those that are constant
    double norm = 0;                   // of the longest
    double lasso, group, ridge;        // the weights of the strengths
    std::size_t place;                 // in the quadratic problem; kNowhere: not in the working set
    BlockPenalty penalty{};
  };

  // A point where the objective was lowest so far.
  struct Best {
    double objective, gap;
    Vector w;  // of the columns of the working set, q for each
  };

  std::size_t samples() const { return working_.samples(); }
  void gather(const Block& block, const Vector& from, Vector& to) const;
  bool is_zero(const Block& block) const;
  void set_strengths(const Strength& strength);
  void project();  // what is needed of blocks without a penalty
  void add(std::vector<std::size_t> blocks);
  bool choose(double tol, double inner);
  void solve_working(double tol, double inner);
  // Whether free columns are projected out of the others: where they have no bound.
  bool eliminates() const { return !span_.empty() && !problem_.positive; }
  void settle_free();
  void subtract();  // r from w
  void refresh();   // r and g from w
  void correlate(const Vector& r, Vector& g);
  double least(const Block& block) const;  // no violation can be told below
  double objective() const;
  double project_residual(Vector& theta, Vector& g);
  double certificate();
  Found descend(const Strength& strength, Limits limits);
  void remember(Best& best, const Found& found) const;
  void restore(const Best& best, Found& found);

  const Design& X_;
  const BlockProblem& problem_;
  std::size_t q_;
  std::vector<Block> blocks_;
  Vector y_mean_, mean_;
  double weight_ = 0, y_squared_ = 0;
  Vector norm_;   // p; 0: a constant column, which takes no part
  Vector w_, g_;  // q × p: coefficients, and x̃·r
  Working working_;
  BlockQuadratic quadratic_;
  std::vector<std::size_t> order_;  // the blocks of the working set
  std::vector<std::size_t> row_;    // of a column in the working set
  std::size_t gram_rows_ = 0;
  Vector y_, r_;      // q × samples, packed: √s·(y − mean), and what is left of it
  double worst_ = 0;  // violation of a block outside of the working set, per unit of its length
  Span span_;         // of free columns: the quadratic problem is of what that leaves of the others
};

}  // namespace regkern::linear

#endif  // REGKERN_CORE_LINEAR_BLOCKS_H_
