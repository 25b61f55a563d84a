// The quadratic problem over a working set of blocks: minimize ½⟨W, GW⟩ − (linear part) + Σ h_g(W_g), where G
// may be singular. Block coordinate descent finds the support; Newton steps on it, where the norms of blocks
// are smooth, find the solution.

#ifndef REGKERN_CORE_LINEAR_BLOCK_QUADRATIC_H_
#define REGKERN_CORE_LINEAR_BLOCK_QUADRATIC_H_

#include <cstddef>
#include <vector>

#include "core/linear/block_penalty.h"
#include "core/linear/working.h"

namespace regkern::linear {

class BlockQuadratic {
 public:
  using Vector = std::vector<double>;

  explicit BlockQuadratic(std::size_t tasks) : tasks_(tasks) {}

  std::size_t blocks() const { return penalties_.size(); }
  std::size_t first(std::size_t g) const { return starts_[g]; }  // column of block g, blocks() is the end
  std::size_t size() const { return starts_.back(); }            // columns
  Square& gram() { return gram_; }
  // A block of the next columns, whose rows of the Gram matrix are there by the time of solve().
  void add(std::size_t columns);
  void set_penalty(std::size_t g, const BlockPenalty& penalty) { penalties_[g] = penalty; }

  // From w and c, the negative gradient of the quadratic part, both tasks × size(), until no violation of a
  // block exceeds its `tol`. Whether it got there.
  bool solve(const Vector& tol);

  Vector w, c;

 private:
  using Indices = std::vector<std::size_t>;

  // Columns that may move, and of their coefficients those that do.
  struct Support {
    Indices columns;
    std::vector<bool> moves;  // tasks × size()
    Vector radial;    // √(group/‖w_g‖³)·w, tasks × size(): H is smooth + ridge − radial·radialᵀ in a block
    Vector diagonal;  // size(): ridge + group/‖w_g‖
    Vector push;      // tasks × size(): minus the gradient
    Indices block;    // of a column
    bool kinked = false;
  };

  // Columns that are next to each other.
  struct Panel {
    std::size_t begin, end;
  };

  struct Step {
    double t = 0, decrease = 0;
    bool at_kink = false;
    Vector next, image;  // w after it, G·(next − w)
  };

  struct State {
    Vector w, c;
  };

  std::size_t columns(std::size_t g) const { return starts_[g + 1] - starts_[g]; }
  std::size_t entries(std::size_t g) const { return columns(g) * tasks_; }
  void gather(std::size_t g, const Vector& from, double* to) const;
  double excess(const Vector& tol) const;
  double epochs_of_a_step() const;
  bool descend_until(const Vector& tol, double step);
  double objective(const Vector& at, const Vector& gradient) const;
  void extrapolate(const std::vector<State>& states);
  bool descend();
  bool descend(std::size_t g, const Panel& panel);
  void add_rows(const Panel& panel, const Vector& e, bool inside, Vector& out) const;
  double curvature(std::size_t g) const;
  bool newton();
  Support support() const;
  bool by_entries(const Support& s, Vector& d) const;
  void by_columns(const Support& s, Vector& d) const;
  Vector image(const Vector& e) const;
  Step line(const Vector& e) const;

  std::size_t tasks_;
  std::vector<BlockPenalty> penalties_;
  std::vector<std::size_t> starts_{0};
  Vector curvature_;  // of a block: at least the largest eigenvalue of its part of G, as far as was seen
  Square gram_;
  Vector linear_;       // c at w = 0
  double damping_ = 0;  // of a Newton step, relative to the diagonal of G
};

}  // namespace regkern::linear

#endif  // REGKERN_CORE_LINEAR_BLOCK_QUADRATIC_H_
