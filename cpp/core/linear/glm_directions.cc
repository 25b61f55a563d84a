// Columns without a penalty that nearly depend on each other. The Gram matrix squares what they differ by,
// and float64 loses it: what is left of such a column by the others becomes one of its own, which is followed
// and certified in place of it.

#include <algorithm>
#include <cmath>
#include <limits>
#include <utility>

#include "core/linear/glm.h"
#include "core/linear/products.h"

namespace regkern::linear {
namespace {

constexpr double kInf = std::numeric_limits<double>::infinity();
constexpr double kEps = std::numeric_limits<double>::epsilon();
constexpr double kClose = 1e-3;        // of a column's length: a Gram matrix has too little of a shorter rest
constexpr double kDependent = 1e-13;   // of it: less than that is no direction to go
constexpr double kBlurred = 4 * kEps;  // of the columns that make a direction: what rounding makes of it
constexpr int kTimes = 3;  // that the others are taken out: each leaves the rounding of the one before

double squared(double v) { return v * v; }

}  // namespace

void GlmSolver::find_directions() {
  settle_directions();
  for (Direction& direction : directions_) direction.use = Direction::Use::kNone;
  std::fill(close_.begin(), close_.end(), 0);
  close_bounds_ = false;
  std::vector<std::size_t> free, bounded;  // slots
  for (std::size_t slot = 0; slot < slots(); ++slot) {
    const Term t = term(slot);
    if (direction(slot) != nullptr || t.a != 0 || t.b != 0) continue;
    if (t.lo == -kInf && t.hi == kInf) free.push_back(slot);
    if ((t.lo == -kInf) != (t.hi == kInf)) bounded.push_back(slot);
  }
  const std::size_t count = free.size() + bounded.size(), n = likelihood_.size(), size = slots();
  if (count < constant_ + 2) return;

  // The Cholesky factor of columns that are far from those before.
  const Vector& s = likelihood_.weights();
  Square gram, lower;
  make_gram(s, 0, gram);
  lower.resize(count);
  std::vector<std::size_t> far;
  Vector row(count), by(count), weighted(n);
  const auto is_far = [&](std::size_t slot) {
    double left = gram.row(slot)[slot];
    for (std::size_t k = 0; k < far.size(); ++k) {
      row[k] = (gram.row(slot)[far[k]] - products().dot(lower.row(k), row.data(), k)) / lower.row(k)[k];
      left -= squared(row[k]);
    }
    row[far.size()] = std::sqrt(std::max(left, 0.0));
    return row[far.size()] > kClose * norm(slot);
  };
  const auto keep = [&](std::size_t slot) {
    std::copy_n(row.data(), far.size() + 1, lower.row(far.size()));
    far.push_back(slot);
  };
  // What those leave of a column, and the directions between them; made of what of each slot; how long it is,
  // or 0 where it is no more than rounding.
  std::vector<Vector> found, made_of;
  const auto rest = [&](std::size_t slot, Vector& x, Vector& of) {
    x.assign(n, 0.0);
    of.assign(size, 0.0);
    slot_add(slot, 1, x.data());
    of[slot] = 1;
    const auto weigh = [&] {
      for (std::size_t i = 0; i < n; ++i) weighted[i] = s[i] * x[i];
    };
    for (int times = 0; times < kTimes; ++times) {
      weigh();
      for (std::size_t k = 0; k < far.size(); ++k) {
        const double along = slot_dot(far[k], weighted.data());
        by[k] = (along - products().dot(lower.row(k), by.data(), k)) / lower.row(k)[k];
      }
      for (std::size_t k = far.size(); k-- > 0;) {
        by[k] /= lower.row(k)[k];
        products().axpy(-by[k], lower.row(k), by.data(), k);
        slot_add(far[k], -by[k], x.data());
        of[far[k]] -= by[k];
      }
      for (std::size_t k = 0; k < found.size(); ++k) {
        weigh();
        const double along = products().dot(found[k].data(), weighted.data(), n);
        products().axpy(-along, found[k].data(), x.data(), n);
        products().axpy(-along, made_of[k].data(), of.data(), size);
      }
    }
    weigh();
    const double length = std::sqrt(products().dot(x.data(), weighted.data(), n));
    double parts = 0;
    for (std::size_t part = 0; part < size; ++part) {
      if (of[part] == 0) continue;
      const bool of_X = !is_constant(part) && direction(part) == nullptr;
      parts += squared(of[part]) * (of_X ? squares_[column(part)] : squared(norm(part)));
    }
    return length > kBlurred * std::sqrt(parts * static_cast<double>(far.size() + 1)) ? length : 0;
  };
  const auto stand_for = [&](std::size_t slot, Direction::Use use, double length, Vector& x, Vector& of) {
    for (double& v : x) v /= length;
    for (double& v : of) v /= length;
    Direction next{use, column(slot), {}, constant_ != 0 ? of[0] : 0};
    for (std::size_t part = constant_; part < size; ++part) {
      if (of[part] != 0) next.coef.emplace_back(column(part), of[part]);
    }
    add_direction(std::move(next), x);
  };

  std::vector<std::size_t> close;
  for (std::size_t slot : free) {
    if (far.size() < n && is_far(slot)) {
      keep(slot);
    } else {
      close.push_back(slot);
    }
  }
  Vector x, of;
  for (std::size_t slot : close) {
    close_[column(slot)] = 1;
    const double length = far.size() + found.size() < n ? rest(slot, x, of) : 0;
    if (length == 0) continue;
    const bool short_one = length <= kDependent * norm(slot);
    stand_for(slot, short_one ? Direction::Use::kCertified : Direction::Use::kFollowed, length, x, of);
    found.push_back(x);
    made_of.push_back(of);
  }
  std::vector<std::size_t> others;
  for (std::size_t slot : bounded) {
    const bool spanned = far.size() + found.size() >= n;
    if (!spanned && is_far(slot)) {
      others.push_back(slot);
      continue;
    }
    close_[column(slot)] = 1;
    const double length = spanned ? 0 : rest(slot, x, of);
    if (length > 0) stand_for(slot, Direction::Use::kCertified, length, x, of);
  }
  for (std::size_t slot : others) {
    if (far.size() + found.size() >= n) return;
    if (is_far(slot)) {
      keep(slot);
    } else if (rest(slot, x, of) > 0) {
      close_bounds_ = true;
    }
  }
}

void GlmSolver::add_direction(Direction direction, Vector x) {
  working_.add(X_.p + directions_.size(), std::move(x));
  directions_.push_back(std::move(direction));
  along_.resize(directions_.size() * classes_);
  for (std::size_t c = 0; c < classes_; ++c) quadratic_.add({0, 0, 0, 0}, 0);
}

void GlmSolver::settle_directions() {
  if (std::all_of(along_.begin(), along_.end(), [](double v) { return v == 0; })) return;
  const std::size_t n = likelihood_.size();
  for (std::size_t k = 0; k < directions_.size(); ++k) {
    for (std::size_t c = 0; c < classes_; ++c) {
      const double by = std::exchange(along_[k * classes_ + c], 0.0);
      for (const auto& [j, coef] : directions_[k].coef) w_[feature(j, c)] += by * coef;
      b_[c] += by * directions_[k].constant;
    }
  }
  // What these coefficients make of X is not quite where the directions led to.
  predict(w_, z_);
  for (std::size_t c = 0; c < classes_; ++c) {
    for (std::size_t i = 0; i < n; ++i) z_[c * n + i] += b_[c];
  }
  loss_ = likelihood_.evaluate(z_);
  certain_ = false;
}

}  // namespace regkern::linear
