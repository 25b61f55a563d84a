// Coordinate descent, Newton steps and, where the Gram matrix has no inverse, one coordinate at a time.

#include "core/linear/quadratic.h"

#include <algorithm>
#include <cmath>
#include <limits>
#include <numeric>

#include "core/linear/polling.h"
#include "core/linear/products.h"

namespace regkern::linear {
namespace {

constexpr double kInf = std::numeric_limits<double>::infinity();
constexpr double kSkip = 1e-11;  // of the diagonal: a smaller pivot is rounding's
constexpr int kRounds = 30;
constexpr double kMostEpochs = 30;
constexpr double kFaster = 27;        // a product of the factor than three of an epoch
constexpr std::size_t kRefresh = 20;  // steps of the active set until its gradient is made afresh

double sign(double v) { return v > 0 ? 1 : v < 0 ? -1 : 0; }

void turn(std::vector<double>& e) {
  for (double& v : e) v = -v;
}

}  // namespace

double violation(const Term& term, double w, double c) {
  const double up = w < term.hi ? c - (w >= 0 ? term.a : -term.a) : 0;
  const double down = w > term.lo ? -c - (w <= 0 ? term.a : -term.a) : 0;
  return std::max({0.0, up, down});
}

Term without_idle_bounds(const Term& t, double w) {
  return {t.a, t.b, w > t.lo ? -kInf : t.lo, w < t.hi ? kInf : t.hi};
}

double conjugate_gap(const Term& t, double u, double w) {
  if (t.lo == -kInf && t.hi == kInf) {
    const double inside = std::clamp(u, -t.a, t.a);
    const double line = t.a * std::abs(w) - inside * w;
    return t.b > 0 ? line + (t.b * w - (u - inside)) * (t.b * w - (u - inside)) / (2 * t.b) : line;
  }
  const auto value = [&](double z) { return u * z - t.a * std::abs(z) - t.b * z * z / 2; };
  double conjugate;
  if (t.b > 0) {
    const double z = std::clamp(shrink(u, t.a) / t.b, t.lo, t.hi);
    if (z * w >= 0) {  // on one side of 0 their difference has factors, which are not rounded away
      return std::max(0.0, (z - w) * (u - t.a * sign(z != 0 ? z : w) - t.b * (z + w) / 2));
    }
    conjugate = value(z);
  } else {
    conjugate = value(std::clamp(0.0, t.lo, t.hi));
    for (double end : {t.lo, t.hi}) {
      if (std::isfinite(end)) conjugate = std::max(conjugate, value(end));
    }
  }
  return std::max(0.0, conjugate - value(w));
}

void Quadratic::add(const Term& term, double start) {
  terms_.push_back(term);
  w.push_back(start);
  c.push_back(0);
}

void Quadratic::keep(const Indices& places) {
  Indices now(size(), SIZE_MAX);
  for (std::size_t k = 0; k < places.size(); ++k) {
    now[places[k]] = k;
    terms_[k] = terms_[places[k]];
    w[k] = w[places[k]];
    c[k] = c[places[k]];
  }
  terms_.resize(places.size());
  w.resize(places.size());
  c.resize(places.size());
  gram_.keep(places);
  order_.resize(std::min(factored_, order_.size()));
  for (std::size_t& member : order_) member = now[member];
  const auto gone = std::find(order_.begin(), order_.end(), SIZE_MAX);
  factored_ = static_cast<std::size_t>(gone - order_.begin());
  order_.resize(factored_);
}

void Quadratic::set_terms(const std::vector<Term>& terms) {
  for (std::size_t j = 0; j < terms.size(); ++j) {
    if (terms[j].b != terms_[j].b) factored_ = 0;
  }
  terms_ = terms;
}

// The largest violation, in those that are allowed.
double Quadratic::excess(const Vector& tol) const {
  double most = 0;
  for (std::size_t j = 0; j < size(); ++j) {
    const double by = violation(terms_[j], w[j], c[j]);
    if (by > 0) most = std::max(most, by / tol[j]);
  }
  return most;
}

// How many epochs take as long as a step.
double Quadratic::epochs_of_step() const {
  const Indices members = support();
  std::size_t same = 0;
  while (same < std::min(factored_, members.size()) && order_[same] == members[same]) ++same;
  const auto all = static_cast<double>(members.size()), kept = static_cast<double>(same);
  return (all * all - kept * kept * kept / std::max(all, 1.0)) / (kFaster * static_cast<double>(size())) + 2;
}

bool Quadratic::solve(const Vector& tol, bool step_first) {
  if (step_first && factored_ > 0) newton();
  for (int round = 0; round < kRounds; ++round) {
    // Epochs find the support, a step on it is exact: they go on while they change it or come nearer fast,
    // for not much longer than the step would take.
    const double step = std::pow(static_cast<double>(support().size()), 3) / 6;
    const double epoch = static_cast<double>(size()) * static_cast<double>(size());
    const double most = std::clamp(step / epoch, 1.0, kMostEpochs), as_long = epochs_of_step();
    double before = kInf;
    for (double count = 1;; ++count) {
      const bool changed = descend();
      const double now = excess(tol);
      if (now <= 1) return true;
      const bool nearer = std::log(now) <= std::log(before / now) * (as_long - count);
      if (!nearer && (!changed || count >= most)) break;
      before = now;
    }
    newton();
  }
  return excess(tol) <= 1 || active(tol);
}

// One epoch of coordinate descent. Whether a coefficient has left or reached a kink or a bound, or has
// changed its sign.
bool Quadratic::descend() {
  const Products& multiply = products();
  bool changed = false;
  poll();
  for (std::size_t j = 0; j < size(); ++j) {
    const Term& term = terms_[j];
    const double curvature = h(j);
    if (!(curvature > 0)) continue;
    const double z = std::clamp(shrink(curvature * w[j] + c[j], term.a) / curvature, term.lo, term.hi) + 0.0;
    const double delta = z - w[j];
    if (delta == 0) continue;
    changed = changed || (term.a > 0 && sign(z) != sign(w[j])) || (z == term.lo) != (w[j] == term.lo) ||
              (z == term.hi) != (w[j] == term.hi);
    w[j] = z;
    multiply.axpy(-delta, gram_.row(j), c.data(), size());
    c[j] -= delta * term.b;
  }
  return changed;
}

Quadratic::Indices Quadratic::support() const {
  std::vector<char> in(size());
  for (std::size_t j = 0; j < size(); ++j) {
    const Term& term = terms_[j];
    in[j] = term.lo < w[j] && w[j] < term.hi && (w[j] != 0 || term.a == 0);
  }
  // Those whose rows of the factor stay, then the others, and last of them who is likely to leave first.
  Indices members;
  while (members.size() < std::min(factored_, order_.size()) && in[order_[members.size()]] == 1) {
    members.push_back(order_[members.size()]);
    in[members.back()] = 2;
  }
  const auto kept = static_cast<std::ptrdiff_t>(members.size());
  for (std::size_t j = 0; j < size(); ++j) {
    if (in[j] == 1) members.push_back(j);
  }
  const auto reach = [&](std::size_t j) {
    return terms_[j].a == 0 ? kInf : std::abs(w[j]) * std::sqrt(h(j));
  };
  std::sort(members.begin() + kept, members.end(), [&](std::size_t i, std::size_t j) {
    const double left = reach(i), right = reach(j);
    return left != right ? left > right : i < j;
  });
  return members;
}

// Cholesky by rows, so that the leading rows of members that stay need not be made again. A pivot that is
// nothing but rounding is skipped: its column is 0, and its row tells the null direction. Where the first of
// these is, or the number of members; until_skipped: rows behind it are not made.
std::size_t Quadratic::factor(const Indices& members, bool until_skipped) {
  const std::size_t count = members.size();
  std::size_t same = 0;
  while (same < std::min({factored_, count, order_.size()}) && order_[same] == members[same]) ++same;
  order_ = members;
  lower_.resize(count);
  inverse_pivot_.resize(count);
  const auto first_skipped = [&](std::size_t begin, std::size_t end) {
    while (begin < end && inverse_pivot_[begin] != 0) ++begin;
    return begin;
  };
  factored_ = same;
  if (until_skipped && first_skipped(0, same) < same) return first_skipped(0, same);
  // Some rows at once, side by side in a panel: column after column, of which all their elements are made.
  const Products& multiply = products();
  const std::size_t width = multiply.panel;
  Room panel(width * count), room(width * width);
  std::vector<const double*> left(width);
  for (std::size_t i0 = same; i0 < count; i0 += width) {
    poll();
    const std::size_t end = std::min(i0 + width, count);
    for (std::size_t j0 = 0; j0 < end;) {
      const std::size_t columns = std::min(width, (j0 < i0 ? i0 : end) - j0);
      for (std::size_t r = 0; r < columns; ++r) left[r] = lower_.row(j0 + r);
      std::fill_n(room.data(), columns * width, 0.0);
      multiply.panel_dots(left.data(), columns, panel.data(), j0, room.data(), width);
      for (std::size_t j = j0; j < j0 + columns; ++j) {
        double *made = panel.data() + j * width, *sums = room.data() + (j - j0) * width;
        const double *gram = gram_.row(members[j]), *row = lower_.row(j) + j0;
        multiply.panel_dots(&row, 1, panel.data() + j0 * width, j - j0, sums, width);
        if (j >= i0) {
          const double left_over = gram[members[j]] + terms_[members[j]].b - sums[j - i0];
          const bool skipped = !(left_over > kSkip * h(members[j]));
          made[j - i0] = lower_.row(j)[j] = skipped ? 1 : std::sqrt(left_over);
          inverse_pivot_[j] = skipped ? 0 : 1 / made[j - i0];
        }
        for (std::size_t i = std::max(i0, j + 1); i < end; ++i) {
          made[i - i0] = lower_.row(i)[j] = (gram[members[i]] - sums[i - i0]) * inverse_pivot_[j];
        }
      }
      j0 += columns;
    }
    factored_ = end;
    if (until_skipped && first_skipped(i0, end) < end) return first_skipped(i0, end);
  }
  return first_skipped(0, count);
}

Quadratic::Vector Quadratic::forward(Vector y) const {
  const Products& multiply = products();
  for (std::size_t i = 0; i < y.size(); ++i) {
    y[i] = (y[i] - multiply.dot(lower_.row(i), y.data(), i)) * inverse_pivot_[i];
  }
  return y;
}

Quadratic::Vector Quadratic::back(Vector y) const {
  const Products& multiply = products();
  for (std::size_t i = y.size(); i-- > 0;) {
    y[i] *= inverse_pivot_[i];
    multiply.axpy(-y[i], lower_.row(i), y.data(), i);
  }
  return y;
}

Quadratic::Vector Quadratic::solve_factored(Vector rhs) const { return back(forward(std::move(rhs))); }

// n with Hn = 0 where only rounding hides it: 1 at j, −H⁻¹H_j at the members before it.
Quadratic::Vector Quadratic::null_direction(std::size_t j) const {
  Vector y(lower_.row(j), lower_.row(j) + j);
  const Products& multiply = products();
  for (std::size_t i = j; i-- > 0;) {
    y[i] *= inverse_pivot_[i];
    multiply.axpy(-y[i], lower_.row(i), y.data(), i);
  }
  Vector direction(order_.size());
  for (std::size_t i = 0; i < j; ++i) direction[i] = -y[i];
  direction[j] = 1;
  return direction;
}

Quadratic::Vector Quadratic::image(const Indices& members, const Vector& e) const {
  Vector v(size());
  for (std::size_t i = 0; i < members.size(); ++i) {
    if (e[i] != 0) products().axpy(e[i], gram_.row(members[i]), v.data(), size());
  }
  return v;
}

// The minimum of the objective along w + t·e, t > 0: its slope rises by the curvature, and by 2a|e| where a
// coordinate passes 0. The first bound ends it. flat: the curvature is rounding.
Quadratic::Line Quadratic::line(const Indices& members, const Vector& e, const Vector& image,
                                bool flat) const {
  struct Event {
    double t;
    std::size_t place;
    bool bound;
  };
  std::vector<Event> events;
  double slope = 0, size = 0, curvature = 0;
  for (std::size_t i = 0; i < members.size(); ++i) {
    if (e[i] == 0) continue;
    const std::size_t j = members[i];
    const Term& term = terms_[j];
    const double push = -e[i] * c[j], pull = term.a * e[i] * (w[j] != 0 ? sign(w[j]) : sign(e[i]));
    slope += push + pull;
    size += std::abs(push) + std::abs(pull);
    curvature += e[i] * image[j] + term.b * e[i] * e[i];
    if (term.a > 0 && w[j] * e[i] < 0) events.push_back({-w[j] / e[i], i, false});
    const double end = e[i] > 0 ? term.hi : term.lo;
    if (std::isfinite(end)) events.push_back({std::max(0.0, (end - w[j]) / e[i]), i, true});
  }
  if (flat || curvature < 0) curvature = 0;
  if (!(slope < -1e-15 * size)) return {};
  std::sort(events.begin(), events.end(), [](const Event& x, const Event& y) {
    return x.t != y.t ? x.t < y.t : x.bound != y.bound ? y.bound : x.place < y.place;
  });
  Line step;
  const auto advance = [&](double t) {
    const double by = t - step.t;
    step.decrease -= slope * by + curvature * by * by / 2;
    slope += curvature * by;
    step.t = t;
  };
  for (const Event& event : events) {
    const double zero = curvature > 0 ? step.t - slope / curvature : kInf;
    if (zero < event.t) {
      advance(zero);
      return step;
    }
    advance(event.t);
    const std::size_t j = members[event.place];
    const double at = event.bound ? (e[event.place] > 0 ? terms_[j].hi : terms_[j].lo) : 0;
    if (!event.bound) slope += 2 * terms_[j].a * std::abs(e[event.place]);
    if (event.bound || slope >= 0) {
      step.stopped = event.place;
      step.at = at;
      return step;
    }
  }
  if (!(curvature > 0)) return {};
  advance(step.t - slope / curvature);
  return step;
}

// Along e to the first kink or bound, which stops a member.
Quadratic::Line Quadratic::to_first_end(const Indices& members, const Vector& e) const {
  Line step;
  step.t = kInf;
  for (std::size_t i = 0; i < members.size(); ++i) {
    if (e[i] == 0) continue;
    const Term& term = terms_[members[i]];
    const double from = w[members[i]], bound = e[i] > 0 ? term.hi : term.lo;
    for (const double at : {bound, term.a > 0 && from * e[i] < 0 ? 0 : bound}) {
      const double t = (at - from) / e[i];
      if (t >= 0 && t < step.t) step = {t, 0, i, at};
    }
  }
  return step;
}

void Quadratic::apply(const Indices& members, const Vector& e, const Vector& image, const Line& step) {
  products().axpy(-step.t, image.data(), c.data(), size());
  for (std::size_t i = 0; i < members.size(); ++i) {
    const std::size_t j = members[i];
    const Term& term = terms_[j];
    const double next = i == step.stopped ? step.at : std::clamp(w[j] + step.t * e[i], term.lo, term.hi);
    c[j] -= term.b * (next - w[j]);
    w[j] = next;
  }
}

// A Newton step on the support, to the minimum along its direction or along the same clipped where it would
// change a sign, whichever is lower.
bool Quadratic::newton() {
  const Indices members = support();
  if (members.empty()) return false;
  factor(members);
  const std::size_t count = members.size();
  Vector rhs(count);
  for (std::size_t i = 0; i < count; ++i) {
    const std::size_t j = members[i];
    rhs[i] = c[j] - terms_[j].a * sign(w[j]);
  }
  const Vector d = solve_factored(std::move(rhs));
  Vector moved = image(members, d);
  Line step = line(members, d, moved);
  const Vector* direction = &d;
  Vector clipped(count);
  bool differs = false;
  for (std::size_t i = 0; i < count; ++i) {
    const std::size_t j = members[i];
    const Term& term = terms_[j];
    double next = w[j] + d[i];
    if (term.a > 0 && next * w[j] < 0) next = 0;
    clipped[i] = std::clamp(next, term.lo, term.hi) - w[j];
    differs = differs || (next != w[j] + d[i]) || clipped[i] != next - w[j];
  }
  if (differs) {
    Vector other = image(members, clipped);
    const Line second = line(members, clipped, other);
    if (second.decrease > step.decrease) {
      step = second;
      moved = std::move(other);
      direction = &clipped;
    }
  }
  if (!(step.decrease > 0)) return false;
  apply(members, *direction, moved, step);
  if (direction == &clipped && step.t == 1) {  // all that were clipped are at 0 or a bound, not beside it
    for (std::size_t i = 0; i < count; ++i) {
      const std::size_t j = members[i];
      if (terms_[j].a > 0 && clipped[i] != d[i] && std::abs(w[j]) <= 1e-15 * std::abs(clipped[i])) w[j] = 0;
    }
  }
  return true;
}

// One coordinate at a time, for Gram matrices without an inverse: no coordinate descent, which would bring
// back what a null direction has just removed.
bool Quadratic::active(const Vector& tol) {
  const Vector c0 = c, w0 = w;
  std::vector<char> tabu(size()), parked(size());
  const std::size_t most = 200 + 10 * size();
  for (std::size_t count = 0; count < most; ++count) {
    if (count % kRefresh == kRefresh - 1) {  // the gradient afresh
      Vector moved(size());
      for (std::size_t j = 0; j < size(); ++j) moved[j] = w[j] - w0[j];
      Indices all(size());
      std::iota(all.begin(), all.end(), std::size_t{0});
      const Vector change = image(all, moved);
      for (std::size_t j = 0; j < size(); ++j) c[j] = c0[j] - change[j] - terms_[j].b * moved[j];
    }
    Indices members = support();
    std::erase_if(members, [&](std::size_t j) { return parked[j] != 0; });
    const std::size_t j = factor(members, true);
    if (j < members.size()) {
      Vector e = null_direction(j);
      double slope = 0;
      for (std::size_t i = 0; i < members.size(); ++i) {
        slope += e[i] * (terms_[members[i]].a * sign(w[members[i]]) - c[members[i]]);
      }
      if (slope > 0) turn(e);
      Line step = to_first_end(members, e);
      if (step.stopped == SIZE_MAX) {  // the slope is rounding: the other way is as good
        turn(e);
        step = to_first_end(members, e);
      }
      if (step.stopped == SIZE_MAX) {  // no penalty and no bound on any of them: the others stand for j
        const double by = w[members[j]] / e[j];
        step = {std::abs(by), 0, j, 0};
        if (by > 0) turn(e);
        parked[members[j]] = 1;
      }
      apply(members, e, image(members, e), step);
      continue;
    }
    bool done = true;
    for (std::size_t m : members) done = done && violation(terms_[m], w[m], c[m]) <= tol[m] / 2;
    if (!done && newton()) continue;
    if (excess(tol) <= 1) return true;
    // The coordinate that gains most enters.
    std::vector<char> in(size());
    for (std::size_t m : members) in[m] = 1;
    std::size_t next = SIZE_MAX;
    double most_gained = 0;
    for (std::size_t m = 0; m < size(); ++m) {
      if (in[m] != 0 || tabu[m] != 0 || parked[m] != 0 || !(h(m) > 0)) continue;
      const double excess = violation(terms_[m], w[m], c[m]);
      if (excess <= tol[m]) continue;
      const double gain = excess / std::sqrt(h(m));
      if (gain > most_gained) most_gained = gain, next = m;
    }
    if (next == SIZE_MAX) return false;
    const double up = c[next] - (w[next] >= 0 ? terms_[next].a : -terms_[next].a);
    const bool rises = up > 0 && w[next] < terms_[next].hi;
    members.push_back(next);
    factor(members);
    const bool dependent = inverse_pivot_[members.size() - 1] == 0;
    Vector e;
    if (dependent) {
      e = null_direction(members.size() - 1);
      if (!rises) turn(e);
    } else {
      Vector rhs(members.size());
      for (std::size_t i = 0; i + 1 < members.size(); ++i) {
        rhs[i] = c[members[i]] - terms_[members[i]].a * sign(w[members[i]]);
      }
      const double side = w[next] != 0 ? sign(w[next]) : rises ? 1 : -1;
      rhs.back() = c[next] - terms_[next].a * side;
      e = solve_factored(std::move(rhs));
    }
    const Vector moved = image(members, e);
    const Line step = line(members, e, moved, dependent);
    if (step.decrease > 0) {
      apply(members, e, moved, step);
      std::fill(tabu.begin(), tabu.end(), 0);
    } else {
      tabu[next] = 1;
    }
  }
  return excess(tol) <= 1;
}

}  // namespace regkern::linear
