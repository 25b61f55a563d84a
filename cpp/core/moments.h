// Statistics that can be merged.

#ifndef REGKERN_CORE_MOMENTS_H_
#define REGKERN_CORE_MOMENTS_H_

#include <algorithm>

namespace regkern {

// Count, mean and sum of squared deviations, merged after Chan, Golub and LeVeque (1979).
struct Moments {
  double n = 0, mean = 0, m2 = 0;

  static Moments of_sums(double n, double shift, double sum, double sum_sq) {
    const double d = sum / n;
    const double m2 = std::max(sum_sq - sum * d, 0.0);  // its first argument where that is NaN
    return {n, shift + d, m2};
  }

  void merge(const Moments& other) {
    if (n == 0) {
      *this = other;
      return;
    }
    const double total = n + other.n, delta = other.mean - mean;
    mean += delta * (other.n / total);
    m2 += other.m2 + delta * delta * (n * (other.n / total));
    n = total;
  }
};

}  // namespace regkern

#endif  // REGKERN_CORE_MOMENTS_H_
