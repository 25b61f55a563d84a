// Gram–Schmidt, which keeps what a Gram matrix would have squared away.

#include "core/linear/span.h"

#include <algorithm>
#include <cmath>
#include <limits>
#include <utility>

#include "core/linear/polling.h"
#include "core/linear/products.h"

namespace regkern::linear {
namespace {

constexpr double kEps = std::numeric_limits<double>::epsilon();
constexpr double kNear = 100;          // squares to those of a rest: two digits of a difference are lost
constexpr double kClose = 1e-3;        // of a column's length: a Gram matrix has too little of a shorter rest
constexpr double kDependent = 1e-13;   // of a unit column's length: less than that is no direction to go
constexpr double kBlurred = 4 * kEps;  // of the columns that make a rest: what rounding makes of it

double squared(double v) { return v * v; }

double dot(const std::vector<double>& x, const double* y) { return products().dot(x.data(), y, x.size()); }

double length(const std::vector<double>& x) { return std::sqrt(dot(x, x.data())); }

// y becomes that with Ry = y, where R has these columns.
void solve(const std::vector<std::vector<double>>& triangle, std::vector<double>& y) {
  for (std::size_t k = triangle.size(); k-- > 0;) {
    y[k] /= triangle[k][k];
    products().axpy(-y[k], triangle[k].data(), y.data(), k);
  }
}

}  // namespace

void Span::make(std::vector<std::size_t> columns, const std::vector<std::size_t>& places, double weight) {
  columns_ = std::move(columns);
  weight_ = weight;
  basic_.clear();
  basis_.clear();
  triangle_.clear();
  thin_.clear();
  products_.clear();
  rest_.clear();
  left_.clear();
  free_.assign(norm_.size(), 0);
  for (std::size_t j : columns_) free_[j] = 1;
  // Each column against the basis twice; what is rounding's goes. Where they span all, it ends.
  const std::size_t n = working_.samples();
  const auto raw = [&](std::size_t j) { return 1 + weight_ * squared(mean_[j] / norm_[j]); };
  for (std::size_t at = 0; at < columns_.size() && basis_.size() + thin_.size() < n; ++at) {
    const std::size_t j = columns_[at];
    poll();
    Vector v(n);
    working_.pack(places[at], v.data());
    for (double& x : v) x /= norm_[j];
    Vector along(basis_.size());
    for (int twice = 0; twice < 2; ++twice) {
      for (std::size_t k = 0; k < basis_.size(); ++k) {
        const double by = dot(basis_[k], v.data());
        products().axpy(-by, basis_[k].data(), v.data(), n);
        along[k] += by;
      }
      for (const Vector& t : thin_) products().axpy(-dot(t, v.data()), t.data(), v.data(), n);
    }
    double left = length(v);
    Vector made_of = along;
    solve(triangle_, made_of);
    double parts = raw(j);
    for (std::size_t k = 0; k < basis_.size(); ++k) parts += squared(made_of[k]) * raw(basic_[k]);
    if (!(left > kBlurred * std::sqrt(parts * static_cast<double>(basis_.size() + 1)))) left = 0;
    left_.push_back(left);
    if (left == 0) continue;
    for (double& x : v) x /= left;
    if (!(left > kDependent)) {
      thin_.push_back(std::move(v));
      continue;
    }
    along.push_back(left);
    basic_.push_back(j);
    triangle_.push_back(std::move(along));
    basis_.push_back(std::move(v));
  }
}

bool Span::close(std::size_t first) const {
  return std::any_of(left_.begin() + static_cast<std::ptrdiff_t>(std::min(first, left_.size())), left_.end(),
                     [](double left) { return left > 0 && left < kClose; });
}

const std::vector<Span::Vector>& Span::products_with(const Design& X) {
  Vector all(X.n);
  while (products_.size() < basis_.size() && columns_.size() < X.p) {
    poll();
    working_.scatter(basis_[products_.size()].data(), all.data());
    products_.emplace_back(X.p);
    X.correlate(all.data(), mean_.data(), products_.back().data());
  }
  return products_;
}

double Span::take(double* x) const {
  double squares = 0;
  for (const auto* all : {&basis_, &thin_}) {
    for (const Vector& b : *all) {
      const double along = dot(b, x);
      products().axpy(-along, b.data(), x, b.size());
      squares += squared(along);
    }
  }
  return squares;
}

void Span::fit(double* r, double* w) const {
  Vector by(basis_.size());
  for (std::size_t k = 0; k < basis_.size(); ++k) {
    by[k] = dot(basis_[k], r);
    products().axpy(-by[k], basis_[k].data(), r, basis_[k].size());
  }
  solve(triangle_, by);
  for (std::size_t k = 0; k < basis_.size(); ++k) w[basic_[k]] += by[k] / norm_[basic_[k]];
}

// Of sums of so many samples it is nearer to 0 than that of one.
double Span::rounding(const double* w) const {
  double squares = 0;
  for (std::size_t j : columns_) squares += squared(w[j]) * (squared(norm_[j]) + weight_ * squared(mean_[j]));
  return 2 * kEps * std::sqrt(squares / static_cast<double>(working_.samples()));
}

// Where little is left of a column it is no difference of large sums, but made of the column itself.
void Span::project(const Design& X, std::size_t first, Square& gram, std::vector<std::size_t>& none) {
  const std::vector<Vector>& with = products_with(X);
  for (std::size_t k = first; k < working_.size(); ++k) {
    poll();
    const std::size_t j = working_.column(k);
    double in_span = 0;
    for (const Vector& one : with) in_span += squared(one[j]);
    const double squares = squared(norm_[j]);
    if (!has(j) && kNear * (squares - in_span) < squares) {
      Vector x(working_.samples());
      working_.pack(k, x.data());
      for (int twice = 0; twice < 2; ++twice) {
        for (const Vector& b : basis_) products().axpy(-dot(b, x.data()), b.data(), x.data(), x.size());
      }
      if (!(length(x) > kDependent * norm_[j])) {
        x.assign(x.size(), 0.0);
        none.push_back(j);
      }
      rest_[j] = std::move(x);
    }
    const auto mine = rest_.find(j);
    for (std::size_t i = 0; i <= k; ++i) {
      const std::size_t other = working_.column(i);
      const auto others = rest_.find(other);
      double value = 0;
      if (has(j) || has(other)) {
        value = 0;
      } else if (mine != rest_.end() && others != rest_.end()) {
        value = dot(mine->second, others->second.data());
      } else if (mine != rest_.end()) {
        value = working_.dot(i, mine->second.data());
      } else if (others != rest_.end()) {
        value = working_.dot(k, others->second.data());
      } else {
        value = gram.row(k)[i];
        for (const Vector& one : with) value -= one[j] * one[other];
      }
      gram.row(k)[i] = gram.row(i)[k] = value;
    }
  }
}

}  // namespace regkern::linear
