// Blocks are solved one by one until their zeros are found, then all that is not zero by Newton's method.

#include "core/linear/block_quadratic.h"

#include <algorithm>
#include <cmath>
#include <limits>
#include <utility>

#include "core/linear/polling.h"
#include "core/linear/products.h"

namespace regkern::linear {
namespace {

constexpr std::size_t kBlock = 24;  // rows of a factor at once: whole vectors and whole tiles
constexpr int kRounds = 60;
constexpr double kMostEpochs = 100;
constexpr int kWindow = 5;          // epochs from which convergence is foretold, and that are extrapolated
constexpr std::size_t kPanel = 32;  // columns of an epoch that see each other's steps at once
constexpr std::size_t kChunk =
    128;                            // of their rows of G: 32 KB, which stay in the L1 cache while tasks go by
constexpr double kProducts = 0.25;  // of the time that a product takes in an epoch, in a factor
constexpr int kInnerSteps = 20;     // on one block of several columns
constexpr std::size_t kMostEntries = 4096;  // of a Newton step that cannot go by columns
constexpr double kSkip = 1e-14;  // a pivot relative to its diagonal: what is left of it is rounding's
constexpr double kLeastDamping = 1e-13, kDamping = 1e-6;
constexpr double kVanishing = 1e10;  // a block whose norm's curvature is so much larger than its own is 0

using Vector = std::vector<double>;

// A positive semidefinite matrix, given by its lower triangle, and its Cholesky factor in the same place.
// Where a pivot is lost in rounding, its row and column are left out.
class Factor {
 public:
  explicit Factor(std::size_t size) : inverse_pivot_(size) {
    matrix_.resize(size);
    for (std::size_t i = 0; i < size; ++i) std::fill_n(matrix_.row(i), size, 0.0);
  }

  std::size_t size() const { return inverse_pivot_.size(); }
  double* row(std::size_t i) { return matrix_.row(i); }

  void run() {
    const Products& multiply = products();
    double block[kBlock * kBlock];
    const double *left[kBlock], *right[kBlock];
    for (std::size_t i0 = 0; i0 < size(); i0 += kBlock) {
      poll();
      const std::size_t rows = std::min(kBlock, size() - i0);
      for (std::size_t j0 = 0; j0 < i0 + rows; j0 += kBlock) {
        const std::size_t columns = std::min(kBlock, i0 + rows - j0);
        std::fill_n(block, rows * kBlock, 0.0);
        for (std::size_t r = 0; r < rows; ++r) left[r] = row(i0 + r);
        for (std::size_t r = 0; r < columns; ++r) right[r] = row(j0 + r);
        multiply.dots(left, rows, right, columns, j0, block, kBlock);
        for (std::size_t r = 0; r < rows; ++r) eliminate(i0 + r, j0, columns, block + r * kBlock);
      }
    }
  }

  void forward(double* y) const {
    for (std::size_t i = 0; i < size(); ++i) {
      y[i] = (y[i] - products().dot(matrix_.row(i), y, i)) * inverse_pivot_[i];
    }
  }
  void solve(double* y) const {
    forward(y);
    for (std::size_t i = size(); i-- > 0;) {
      y[i] *= inverse_pivot_[i];
      products().axpy(-y[i], matrix_.row(i), y, i);
    }
  }

  Square inverse() const {
    const std::size_t n = size();
    Square columns, inverse;  // the columns of L⁻¹, by rows
    columns.resize(n);
    inverse.resize(n);
    for (std::size_t i = 0; i < n; ++i) {
      std::fill_n(columns.row(i), n, 0.0);
      std::fill_n(inverse.row(i), n, 0.0);
    }
    const double *left[kBlock], *right[kBlock];
    for (std::size_t i = 0; i < n; ++i) {
      poll();
      double* x = columns.row(i);
      x[i] = inverse_pivot_[i];
      for (std::size_t k = i + 1; k < n && x[i] != 0; ++k) {
        x[k] = -products().dot(matrix_.row(k) + i, x + i, k - i) * inverse_pivot_[k];
      }
    }
    for (std::size_t i0 = 0; i0 < n; i0 += kBlock) {
      poll();
      const std::size_t rows = std::min(kBlock, n - i0);
      for (std::size_t j0 = 0; j0 <= i0; j0 += kBlock) {
        const std::size_t others = std::min(kBlock, n - j0);
        for (std::size_t r = 0; r < rows; ++r) left[r] = columns.row(i0 + r) + i0;
        for (std::size_t r = 0; r < others; ++r) right[r] = columns.row(j0 + r) + i0;
        products().dots(left, rows, right, others, n - i0, inverse.row(i0) + j0, inverse.stride());
      }
    }
    for (std::size_t i = 0; i < n; ++i) {
      for (std::size_t j = 0; j < i; ++j) inverse.row(j)[i] = inverse.row(i)[j];
    }
    return inverse;
  }

 private:
  // Columns j0 … of row i, from which the products of the columns before are still to be taken.
  void eliminate(std::size_t i, std::size_t j0, std::size_t columns, const double* before) {
    double* mine = row(i);
    for (std::size_t j = j0; j < std::min(j0 + columns, i + 1); ++j) {
      const double* other = row(j);
      const double whole = mine[j];
      double left = whole - before[j - j0];
      for (std::size_t m = j0; m < j; ++m) left -= mine[m] * other[m];
      if (j < i) {
        mine[j] = left * inverse_pivot_[j];
        continue;
      }
      const bool kept = left > kSkip * whole;
      mine[i] = kept ? std::sqrt(left) : 1;
      inverse_pivot_[i] = kept ? 1 / mine[i] : 0;
    }
  }

  Square matrix_;
  Vector inverse_pivot_;
};

}  // namespace

void BlockQuadratic::add(std::size_t columns) {
  starts_.push_back(size() + columns);
  penalties_.push_back({});
  curvature_.push_back(0);
}

// The coefficients of a block one after another, column by column.
void BlockQuadratic::gather(std::size_t g, const Vector& from, double* to) const {
  for (std::size_t i = first(g); i < first(g + 1); ++i) {
    for (std::size_t k = 0; k < tasks_; ++k) *to++ = from[k * size() + i];
  }
}

// The largest violation, relative to what is allowed.
double BlockQuadratic::excess(const Vector& tol) const {
  Vector mine, gradient;
  double largest = 0;
  for (std::size_t g = 0; g < blocks(); ++g) {
    mine.resize(entries(g));
    gradient.resize(entries(g));
    gather(g, w, mine.data());
    gather(g, c, gradient.data());
    for (std::size_t i = 0; i < mine.size(); ++i) gradient[i] -= penalties_[g].ridge * mine[i];
    const double off = violation(penalties_[g], mine.data(), gradient.data(), mine.size());
    largest = std::max(largest, off / tol[g]);
  }
  return largest;
}

// How many epochs take as long as a Newton step; without end where there is none.
double BlockQuadratic::epochs_of_a_step() const {
  const Support s = support();
  const auto m = static_cast<double>(size()), q = static_cast<double>(tasks_);
  const auto columns = static_cast<double>(s.columns.size());
  if (tasks_ > 1 && !s.kinked) return 5 * columns * columns * columns / (6 * m * m * q);
  const auto entries = static_cast<double>(std::count(s.moves.begin(), s.moves.end(), true));
  if (entries > static_cast<double>(kMostEntries)) return 1e300;
  return kProducts * entries * entries * entries / (6 * m * m * q);
}

bool BlockQuadratic::solve(const Vector& tol) {
  damping_ = 0;
  linear_ = image(w);
  for (std::size_t i = 0; i < c.size(); ++i) linear_[i] += c[i];
  for (int round = 0; round < kRounds; ++round) {
    const double step = epochs_of_a_step();
    if (descend_until(tol, step)) {
      if (step < 2 * kWindow) newton();  // cheap, and then the solution is all but exact
      return true;
    }
    if (step > kMostEpochs) return false;  // what it takes is not worth it: others look at the gap first
    // What a kink has stopped is 0 and no longer moves: so many steps until none is in the way of another.
    for (std::size_t count = w.size(); newton() && count > 0;) --count;
  }
  return excess(tol) <= 1;
}

// Epochs find the support, a step on it is exact. So they go on while they change it, or converge in the time
// of a step or two. Whether they have.
bool BlockQuadratic::descend_until(const Vector& tol, double step) {
  const double most = std::clamp(step, 1.0, kMostEpochs);
  std::vector<State> states;
  double before = 0;
  for (int count = 0; count < most; ++count) {
    const bool changed = descend();
    const double off = excess(tol);
    if (off <= 1) return true;
    if (!std::isfinite(off)) return false;
    if (changed) {
      states.clear();
      before = 0;
      continue;
    }
    if (most < kWindow) return false;
    states.push_back({w, c});
    if (before == 0) before = off;
    if (states.size() <= kWindow) continue;
    extrapolate(states);
    states.clear();
    const double rate = std::log(off / before) / kWindow;
    if (step <= kMostEpochs && (rate >= 0 || -std::log(off) / rate > 2 * most - count)) return false;
    before = off;
  }
  return false;
}

double BlockQuadratic::objective(const Vector& at, const Vector& gradient) const {
  double sum = 0;
  for (std::size_t i = 0; i < at.size(); ++i) sum -= at[i] * (linear_[i] + gradient[i]) / 2;
  Vector mine;
  for (std::size_t g = 0; g < blocks(); ++g) {
    mine.resize(entries(g));
    gather(g, at, mine.data());
    sum += value(penalties_[g], mine.data(), mine.size());
  }
  return sum;
}

// Anderson's: the affine combination of the last states whose steps, combined alike, are shortest; if it is
// better than the last one.
void BlockQuadratic::extrapolate(const std::vector<State>& states) {
  const std::size_t count = states.size() - 1;
  std::vector<Vector> steps(count);
  for (std::size_t i = 0; i < count; ++i) {
    steps[i] = states[i + 1].w;
    products().axpy(-1, states[i].w.data(), steps[i].data(), w.size());
  }
  Factor squares(count);
  for (std::size_t i = 0; i < count; ++i) {
    for (std::size_t j = 0; j <= i; ++j) {
      squares.row(i)[j] = products().dot(steps[i].data(), steps[j].data(), w.size());
    }
  }
  squares.run();
  Vector weights(count, 1.0);
  squares.solve(weights.data());
  double total = 0;
  for (double v : weights) total += v;
  if (!(std::abs(total) > 0) || !std::isfinite(total)) return;
  State made{Vector(w.size()), Vector(c.size())};
  for (std::size_t i = 0; i < count; ++i) {
    products().axpy(weights[i] / total, states[i + 1].w.data(), made.w.data(), w.size());
    products().axpy(weights[i] / total, states[i + 1].c.data(), made.c.data(), c.size());
  }
  for (std::size_t g = 0; g < blocks(); ++g) {
    for (std::size_t i = first(g); i < first(g + 1); ++i) {
      for (std::size_t k = 0; k < tasks_; ++k) {
        if (penalties_[g].positive && made.w[k * size() + i] < 0) return;
      }
    }
  }
  if (!(objective(made.w, made.c) < objective(w, c))) return;
  w = std::move(made.w);
  c = std::move(made.c);
}

// One epoch. Whether a coefficient has become 0, or is no more. What a panel of columns has moved the others
// hear of at once.
bool BlockQuadratic::descend() {
  bool changed = false;
  Vector moved(w.size());
  for (std::size_t g = 0; g < blocks();) {
    poll();
    std::size_t last = g + 1;
    while (last < blocks() && first(last + 1) - first(g) <= kPanel) ++last;
    const Panel panel{first(g), first(last)};
    for (std::size_t k = 0; k < tasks_; ++k) {
      for (std::size_t i = panel.begin; i < panel.end; ++i) moved[k * size() + i] = w[k * size() + i];
    }
    for (; g < last; ++g) changed = descend(g, panel) || changed;
    for (std::size_t k = 0; k < tasks_; ++k) {
      for (std::size_t i = panel.begin; i < panel.end; ++i) moved[k * size() + i] -= w[k * size() + i];
    }
    add_rows(panel, moved, false, c);
  }
  return changed;
}

// out += G·e, of the coefficients e of a panel, inside of the panel itself or not.
void BlockQuadratic::add_rows(const Panel& panel, const Vector& e, bool inside, Vector& out) const {
  const std::size_t m = size();
  std::vector<const double*> rows(panel.end - panel.begin), shifted(rows.size());
  Vector factors(tasks_ * rows.size());
  std::size_t count = 0;
  for (std::size_t i = panel.begin; i < panel.end; ++i) {
    bool any = false;
    for (std::size_t k = 0; k < tasks_; ++k) any = any || e[k * m + i] != 0;
    if (!any) continue;
    for (std::size_t k = 0; k < tasks_; ++k) factors[k * rows.size() + count] = e[k * m + i];
    rows[count++] = gram_.row(i);
  }
  for (std::size_t at = 0; at < m && count > 0;) {
    if (at == panel.begin && !inside) {
      at = panel.end;
      continue;
    }
    const std::size_t end = std::min({at + kChunk, m, at < panel.begin ? panel.begin : m});
    for (std::size_t r = 0; r < count; ++r) shifted[r] = rows[r] + at;
    for (std::size_t k = 0; k < tasks_; ++k) {
      products().axpys(&factors[k * rows.size()], shifted.data(), count, &out[k * m + at], end - at);
    }
    at = end;
  }
}

// An estimate of the largest eigenvalue of a block's part of G, which steps raise where it was too low.
double BlockQuadratic::curvature(std::size_t g) const {
  const std::size_t begin = first(g), n = columns(g);
  if (n == 1) return gram_.row(begin)[begin];
  Vector v(n), image(n);
  for (std::size_t i = 0; i < n; ++i) v[i] = 1 + static_cast<double>(i % 7) / 8;
  double largest = 0;
  for (int step = 0; step < 10; ++step) {
    const double norm = length(v.data(), n);
    if (!(norm > 0)) break;
    for (double& x : v) x /= norm;
    for (std::size_t i = 0; i < n; ++i) image[i] = products().dot(gram_.row(begin + i) + begin, v.data(), n);
    largest = length(image.data(), n);
    v.swap(image);
  }
  for (std::size_t i = 0; i < n; ++i) largest = std::max(largest, gram_.row(begin + i)[begin + i]);
  return 1.02 * largest;
}

// The block's minimum: one step where it is of one column, several of a majorized quadratic part elsewhere.
bool BlockQuadratic::descend(std::size_t g, const Panel& panel) {
  const BlockPenalty& h = penalties_[g];
  const std::size_t begin = first(g), n = columns(g), count = entries(g);
  if (curvature_[g] == 0) curvature_[g] = curvature(g);
  if (!(curvature_[g] + h.ridge > 0)) return false;
  Vector start(count), at(count), next(count), gradient(count), image(count);
  gather(g, w, start.data());
  gather(g, c, gradient.data());
  at = start;
  for (int step = 0; step < (n == 1 ? 1 : kInnerSteps);) {
    const double most = curvature_[g];
    for (std::size_t i = 0; i < count; ++i) next[i] = most * at[i] + gradient[i];
    prox(h, most, next.data(), count);
    double moved = 0, bent = 0, size = 0;
    if (n > 1) {
      std::fill(image.begin(), image.end(), 0.0);
      for (std::size_t i = 0; i < n; ++i) {
        const double* row = gram_.row(begin + i) + begin;
        for (std::size_t j = 0; j < n; ++j) {
          for (std::size_t k = 0; k < tasks_; ++k) {
            image[i * tasks_ + k] += row[j] * (next[j * tasks_ + k] - at[j * tasks_ + k]);
          }
        }
      }
      for (std::size_t i = 0; i < count; ++i) {
        const double d = next[i] - at[i];
        moved += d * d;
        bent += d * image[i];
        size += next[i] * next[i];
      }
      if (bent > most * moved * (1 + 1e-9)) {
        curvature_[g] = 1.5 * bent / moved;
        continue;
      }
      for (std::size_t i = 0; i < count; ++i) gradient[i] -= image[i];
    }
    at.swap(next);
    ++step;
    if (moved <= 1e-6 * size) break;
  }
  bool changed = false;
  for (std::size_t i = 0; i < n; ++i) {
    for (std::size_t k = 0; k < tasks_; ++k) {
      const double was = start[i * tasks_ + k], is = at[i * tasks_ + k];
      if (is == was) continue;
      changed = changed || (is == 0) != (was == 0);
      w[k * size() + begin + i] = is;
      products().axpy(was - is, gram_.row(begin + i) + panel.begin, &c[k * size() + panel.begin],
                      panel.end - panel.begin);
    }
  }
  return changed;
}

BlockQuadratic::Support BlockQuadratic::support() const {
  const std::size_t m = size();
  Support s;
  s.moves.resize(tasks_ * m);
  s.radial.resize(tasks_ * m);
  s.diagonal.resize(m);
  s.push.resize(tasks_ * m);
  s.block.resize(m);
  Vector mine;
  for (std::size_t g = 0; g < blocks(); ++g) {
    const BlockPenalty& h = penalties_[g];
    mine.resize(entries(g));
    gather(g, w, mine.data());
    const double norm = length(mine.data(), mine.size());
    const bool still = norm == 0 && (h.kinked() || h.group > 0);
    if (still || (h.group > 0 && h.group / norm > kVanishing * curvature_[g])) continue;
    s.kinked = s.kinked || h.kinked();
    const double bend = h.group > 0 ? h.group / norm : 0;
    for (std::size_t i = first(g); i < first(g + 1); ++i) {
      bool any = false;
      for (std::size_t k = 0; k < tasks_; ++k) {
        const std::size_t e = k * m + i;
        s.moves[e] = !h.kinked() || w[e] != 0;
        if (!s.moves[e]) continue;
        any = true;
        s.radial[e] = bend > 0 ? std::sqrt(bend) * (w[e] / norm) : 0;
        s.push[e] = c[e] - (h.ridge + bend) * w[e] - (h.lasso > 0 ? std::copysign(h.lasso, w[e]) : 0);
      }
      if (!any) continue;
      s.columns.push_back(i);
      s.diagonal[i] = h.ridge + bend;
      s.block[i] = g;
    }
  }
  return s;
}

// The direction to the minimum of the quadratic model on the support, by a matrix of all coefficients that
// move. Whether there are few enough.
bool BlockQuadratic::by_entries(const Support& s, Vector& d) const {
  const std::size_t m = size();
  std::vector<std::pair<std::size_t, std::size_t>> moving;  // column, task
  for (std::size_t k = 0; k < tasks_; ++k) {
    for (std::size_t i : s.columns) {
      if (s.moves[k * m + i]) moving.emplace_back(i, k);
    }
  }
  if (moving.size() > kMostEntries) return false;
  Factor factor(moving.size());
  const double damping = damping_ + kLeastDamping;
  for (std::size_t r = 0; r < moving.size(); ++r) {
    const auto [i, k] = moving[r];
    double* row = factor.row(r);
    const double* gram = gram_.row(i);
    const double mine = s.radial[k * m + i];
    for (std::size_t q = 0; q <= r; ++q) {
      const auto [j, l] = moving[q];
      row[q] = k == l ? gram[j] : 0;
      if (s.block[i] == s.block[j]) row[q] -= mine * s.radial[l * m + j];
    }
    row[r] += s.diagonal[i] + damping * gram[i];
  }
  factor.run();
  Vector rhs(moving.size());
  for (std::size_t r = 0; r < moving.size(); ++r) rhs[r] = s.push[moving[r].second * m + moving[r].first];
  factor.solve(rhs.data());
  for (std::size_t r = 0; r < moving.size(); ++r) d[moving[r].second * m + moving[r].first] = rhs[r];
  return true;
}

// The same where the coefficients of a column move together. The Hessian is K ⊗ I − UUᵀ, K = G + diagonal and
// one column of U a block, so that by Woodbury's formula a matrix of the columns and one of the blocks do.
void BlockQuadratic::by_columns(const Support& s, Vector& d) const {
  const std::size_t m = size(), n = s.columns.size(), q = tasks_;
  Factor factor(n);
  const double damping = damping_ + kLeastDamping;
  for (std::size_t r = 0; r < n; ++r) {
    const double* gram = gram_.row(s.columns[r]);
    for (std::size_t p = 0; p <= r; ++p) factor.row(r)[p] = gram[s.columns[p]];
    factor.row(r)[r] += s.diagonal[s.columns[r]] + damping * gram[s.columns[r]];
  }
  factor.run();
  const Square inverse = factor.inverse();
  Indices block(n);  // counted from 0
  Vector u(n * q), z(n * q), x(n * q), push(n);
  std::size_t count = 0;
  for (std::size_t r = 0; r < n; ++r) {
    if (r > 0 && s.block[s.columns[r]] != s.block[s.columns[r - 1]]) ++count;
    block[r] = count;
    for (std::size_t k = 0; k < q; ++k) u[r * q + k] = s.radial[k * m + s.columns[r]];
  }
  ++count;
  for (std::size_t k = 0; k < q; ++k) {
    for (std::size_t r = 0; r < n; ++r) push[r] = s.push[k * m + s.columns[r]];
    for (std::size_t r = 0; r < n; ++r) z[r * q + k] = products().dot(inverse.row(r), push.data(), n);
  }
  Factor capacity(count);
  Vector y(count), together(n);
  std::vector<const double*> rows(n);
  for (std::size_t r = 0; r < n; ++r) rows[r] = &u[r * q];
  for (std::size_t r = 0; r < n; ++r) {
    poll();
    std::fill_n(together.begin(), r + 1, 0.0);
    const double* mine = &u[r * q];
    products().dots(&mine, 1, rows.data(), r + 1, q, together.data(), n);
    for (std::size_t p = 0; p <= r; ++p) {
      const double twice = block[p] == block[r] && p != r ? 2 : 1;  // p before r and r before p
      capacity.row(block[r])[block[p]] -= twice * inverse.row(r)[p] * together[p];
    }
    y[block[r]] += products().dot(&u[r * q], &z[r * q], q);
  }
  for (std::size_t g = 0; g < count; ++g) capacity.row(g)[g] += 1;
  capacity.run();
  capacity.solve(y.data());
  for (std::size_t k = 0; k < q; ++k) {
    for (std::size_t r = 0; r < n; ++r) push[r] = y[block[r]] * u[r * q + k];
    for (std::size_t r = 0; r < n; ++r) {
      d[k * m + s.columns[r]] = z[r * q + k] + products().dot(inverse.row(r), push.data(), n);
    }
  }
}

Vector BlockQuadratic::image(const Vector& e) const {
  Vector v(e.size());
  add_rows({0, size()}, e, true, v);
  return v;
}

// The minimum of the objective along w + t·e, 0 < t ≤ 1. Its slope is increasing: smooth but for a rise where
// a kinked coefficient passes 0, which ends the line where coefficients are to be positive.
BlockQuadratic::Step BlockQuadratic::line(const Vector& e) const {
  struct Round {  // of one block: the squares of w and e, and their product
    double group, ww, we, ee;
  };
  const std::size_t m = size();
  Step step;
  step.image = image(e);
  double slope = 0, bend = 0, end = 1;
  std::vector<std::pair<double, double>> kinks;  // where, and how much the slope rises
  std::vector<Round> rounds;
  for (std::size_t g = 0; g < blocks(); ++g) {
    const BlockPenalty& h = penalties_[g];
    Round round{h.group, 0, 0, 0};
    for (std::size_t i = first(g); i < first(g + 1); ++i) {
      for (std::size_t k = 0; k < tasks_; ++k) {
        const double at = w[k * m + i], by = e[k * m + i];
        round.ww += at * at;
        round.we += at * by;
        round.ee += by * by;
        if (by == 0) continue;
        slope -= by * c[k * m + i];
        bend += by * step.image[k * m + i];
        slope += h.lasso * (at != 0 ? std::copysign(by, at * by) : std::abs(by));
        if (!h.kinked() || !(at * by < 0)) continue;
        const double where = -at / by;
        if (h.positive) end = std::min(end, where);
        if (where <= 1) kinks.emplace_back(where, 2 * h.lasso * std::abs(by));
      }
    }
    slope += h.ridge * round.we;
    bend += h.ridge * round.ee;
    if (round.ee > 0 && h.group > 0) rounds.push_back(round);
  }
  std::sort(kinks.begin(), kinks.end());
  while (!kinks.empty() && kinks.back().first >= end) kinks.pop_back();
  Vector rises(kinks.size() + 1);
  for (std::size_t i = 0; i < kinks.size(); ++i) rises[i + 1] = rises[i] + kinks[i].second;
  const auto at = [&](double t, std::size_t passed, double side) {
    double sum = slope + t * bend + rises[passed];
    for (const Round& r : rounds) {
      const double squares = r.ww + t * (2 * r.we + t * r.ee);
      sum += r.group * (squares > 1e-30 * (r.ww + t * t * r.ee) ? (r.we + t * r.ee) / std::sqrt(squares)
                                                                : side * std::sqrt(r.ee));
    }
    return sum;
  };
  if (!(at(0, 0, 1) < 0)) return step;
  std::size_t low = 0, high = kinks.size();  // the first kink behind which the slope is not negative
  while (low < high) {
    const std::size_t middle = (low + high) / 2;
    if (at(kinks[middle].first, middle + 1, 1) >= 0) {
      high = middle;
    } else {
      low = middle + 1;
    }
  }
  double left = low > 0 ? kinks[low - 1].first : 0, right = low < kinks.size() ? kinks[low].first : end;
  step.t = right;
  step.at_kink = right < 1;
  double above = at(right, low, -1);
  if (above > 0) {  // between two kinks: regula falsi, every third time the middle
    double below = at(left, low, 1);
    for (int count = 0; count < 60 && right - left > 1e-12 * right; ++count) {
      const double t =
          count % 3 == 2 ? (left + right) / 2 : left + (right - left) * (below / (below - above));
      if (!(t > left && t < right)) break;
      const double there = at(t, low, 1);
      (there < 0 ? left : right) = t;
      (there < 0 ? below : above) = there;
    }
    step.t = left > 0 ? left : right;
    step.at_kink = false;
  }
  step.next = w;
  for (std::size_t i = 0; i < e.size(); ++i) {
    if (e[i] != 0) step.next[i] += step.t * e[i];
  }
  double change = step.t * (slope + step.t * bend / 2);
  for (const Round& r : rounds) {
    const double squares = std::max(0.0, r.ww + step.t * (2 * r.we + step.t * r.ee));
    change += r.group * (std::sqrt(squares) - std::sqrt(r.ww));
  }
  for (const auto& [where, rise] : kinks) change += rise * std::max(0.0, step.t - where);
  step.decrease = -change;
  // What a kink has stopped is exactly 0.
  for (std::size_t g = 0; g < blocks(); ++g) {
    if (!penalties_[g].kinked()) continue;
    for (std::size_t i = first(g); i < first(g + 1); ++i) {
      for (std::size_t k = 0; k < tasks_; ++k) {
        const std::size_t j = k * m + i;
        if (w[j] * e[j] < 0 && -w[j] / e[j] == step.t) step.next[j] = 0;
      }
    }
  }
  if (!std::isfinite(step.decrease)) step.t = 0;
  return step;
}

// Along the direction, or to where it ends once what would change its sign, or turn around as a block, is 0:
// whichever takes more. Where it was cut short, but by a kink, the next one is damped. Whether one cut it.
bool BlockQuadratic::newton() {
  const std::size_t m = size();
  const Support s = support();
  if (s.columns.empty()) return false;
  Vector d(tasks_ * m);
  if (tasks_ == 1 || s.kinked) {
    if (!by_entries(s, d)) return false;
  } else {
    by_columns(s, d);
  }
  Vector cut = d;
  for (std::size_t g = 0; g < blocks(); ++g) {
    const BlockPenalty& h = penalties_[g];
    double product = 0, size = 0;
    for (std::size_t i = first(g); i < first(g + 1); ++i) {
      for (std::size_t k = 0; k < tasks_; ++k) {
        const std::size_t e = k * m + i;
        if (h.kinked() && (w[e] + d[e]) * w[e] < 0) cut[e] = -w[e];
        product += (w[e] + cut[e]) * w[e];
        size += w[e] * w[e];
      }
    }
    if (h.kinked() || h.group == 0 || size == 0 || product > 0) continue;
    for (std::size_t i = first(g); i < first(g + 1); ++i) {
      for (std::size_t k = 0; k < tasks_; ++k) cut[k * m + i] = -w[k * m + i];
    }
  }
  Step best = line(d);
  if (cut != d) {
    Step other = line(cut);
    other.at_kink = other.at_kink || other.t == 1;
    if (other.t > 0 && (best.t == 0 || other.decrease > best.decrease)) best = std::move(other);
  }
  if (best.t == 0) {
    damping_ = std::max(kDamping, 10 * damping_);
    return false;
  }
  const bool bent = best.t < 0.3 && !best.at_kink;
  damping_ = bent ? std::max(kDamping, 10 * damping_) : damping_ > kDamping ? damping_ / 10 : 0;
  damping_ = std::min(damping_, 1e3);
  w = std::move(best.next);
  products().axpy(-best.t, best.image.data(), c.data(), c.size());
  return best.at_kink && best.decrease > 0;
}

}  // namespace regkern::linear
