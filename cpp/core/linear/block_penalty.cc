// Norms of blocks: proximal operators, dual balls and Fenchel's inequality.

#include "core/linear/block_penalty.h"

#include <algorithm>
#include <cmath>
#include <functional>
#include <limits>
#include <vector>

namespace regkern::linear {

double length(const double* v, std::size_t n) {
  double sum = 0;
  for (std::size_t i = 0; i < n; ++i) sum += v[i] * v[i];
  return std::sqrt(sum);
}

double value(const BlockPenalty& h, const double* w, std::size_t n) {
  double one = 0, two = 0;
  for (std::size_t i = 0; i < n; ++i) {
    one += std::abs(w[i]);
    two += w[i] * w[i];
  }
  return h.lasso * one + h.group * std::sqrt(two) + h.ridge * two / 2;
}

void prox(const BlockPenalty& h, double curvature, double* z, std::size_t n) {
  double sum = 0;
  for (std::size_t i = 0; i < n; ++i) {
    z[i] = h.shrink(z[i]);
    sum += z[i] * z[i];
  }
  const double norm = std::sqrt(sum);
  const double factor = norm > h.group ? (1 - h.group / norm) / (curvature + h.ridge) : 0;
  for (std::size_t i = 0; i < n; ++i) z[i] = z[i] * factor + 0.0;
}

double violation(const BlockPenalty& h, const double* w, const double* c, std::size_t n) {
  const double norm = length(w, n);
  double sum = 0;
  for (std::size_t i = 0; i < n; ++i) {
    const double off = w[i] != 0 ? c[i] - std::copysign(h.lasso, w[i]) - h.group * (w[i] / norm)
                       : norm == 0 || h.kinked() ? h.shrink(c[i])
                                                 : c[i];
    sum += off * off;
  }
  return norm == 0 ? std::max(0.0, std::sqrt(sum) - h.group) : std::sqrt(sum);
}

double dual_norm(const BlockPenalty& h, const double* u, std::size_t n) {
  const auto size = [&](double v) { return h.positive ? std::max(v, 0.0) : std::abs(v); };
  if (h.lasso == 0 || h.group == 0) {
    double largest = 0, squares = 0;
    for (std::size_t i = 0; i < n; ++i) {
      largest = std::max(largest, size(u[i]));
      squares += size(u[i]) * size(u[i]);
    }
    return h.group == 0 ? largest / h.lasso : std::sqrt(squares) / h.group;
  }
  std::vector<double> sorted(n);
  for (std::size_t i = 0; i < n; ++i) sorted[i] = size(u[i]);
  std::sort(sorted.begin(), sorted.end(), std::greater<>());
  if (sorted.empty() || sorted[0] == 0) return 0;
  // With the k largest above m·lasso: Σ (v − m·lasso)² = (m·group)², a quadratic in m.
  double sum = 0, squares = 0, m = 0;
  for (std::size_t k = 0; k < n; ++k) {
    sum += sorted[k];
    squares += sorted[k] * sorted[k];
    const double half = h.lasso * sum;
    const double leading = static_cast<double>(k + 1) * h.lasso * h.lasso - h.group * h.group;
    m = squares / (half + std::sqrt(std::max(0.0, half * half - leading * squares)));
    if (k + 1 == n || m * h.lasso >= sorted[k + 1]) break;
  }
  return m;
}

double conjugate_gap(const BlockPenalty& h, const double* w, const double* u, double s, std::size_t n) {
  double one = 0, squares = 0;
  for (std::size_t i = 0; i < n; ++i) {
    const double v = s * u[i], rest = h.shrink(v);
    one += h.lasso * std::abs(w[i]) - (v - rest) * w[i];  // each ≥ 0
    squares += rest * rest;
  }
  const double norm = std::sqrt(squares), size = length(w, n);
  const double outside = h.ridge > 0 && norm > h.group ? 1 - h.group / norm : 0;
  double along = 0, apart = 0;
  for (std::size_t i = 0; i < n; ++i) {
    const double rest = h.shrink(s * u[i]), beyond = rest * outside;
    along += (rest - beyond) * w[i];
    apart += (h.ridge * w[i] - beyond) * (h.ridge * w[i] - beyond);
  }
  const double round = std::max(0.0, h.group * size - along);
  return std::max(0.0, one) + round + (h.ridge > 0 ? apart / (2 * h.ridge) : 0);
}

}  // namespace regkern::linear
