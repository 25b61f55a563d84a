// Statistics at the ends of a dtype's range: squares that double cannot hold, factors that float cannot.

#ifndef REGKERN_KERNELS_RANGE_H_
#define REGKERN_KERNELS_RANGE_H_

#include <cmath>
#include <cstddef>
#include <limits>

namespace regkern {

// A finite factor that T cannot hold becomes its largest number, which times a deviation of 0 is still 0.
template <class T>
T saturated(double v) {
  constexpr double most = static_cast<double>(std::numeric_limits<T>::max());
  return static_cast<T>(std::isfinite(v) && std::fabs(v) > most ? std::copysign(most, v) : v);
}

// Whether it is one: then y = (x − mean)·factor + shift goes through double. Deviations are subnormal there.
template <class T>
bool is_steep(double factor) {
  return sizeof(T) == 4 && std::isfinite(factor) &&
         std::fabs(factor) > static_cast<double>(std::numeric_limits<T>::max());
}
template <class T>
T steep(T x, double mean, double factor, double shift) {
  return static_cast<T>((static_cast<double>(x) - mean) * factor + shift);
}

// Whether a sum of squares of double, or what its variance and eps add up to, may have left the range or lost
// digits. NaN and Inf are suspects as well. float's squares are far from the ends of double.
template <class T>
bool squares_suspect(double v) {
  return sizeof(T) == 8 && !(v > 0x1p-900 && v < 0x1p900);
}

struct Rescaled {
  double mean, variance, invstd;  // the variance as far as double can hold it
};

// Mean, variance and 1/√(variance + eps) of at(i) with weights weight(i), i < n, in a unit of their own: a
// power of two near the largest. Not centred: a mean of 0. False, and nothing, where there is nothing to
// rescale: all zeros, NaN or Inf among them.
template <class At, class Weight>
bool rescaled_moments(std::size_t n, bool centred, double eps, At at, Weight weight, Rescaled* result) {
  double most = 0;
  for (std::size_t i = 0; i < n; ++i) {
    if (weight(i) == 0) continue;
    const double size = std::fabs(at(i));
    if (!(size < std::numeric_limits<double>::infinity())) return false;
    if (size > most) most = size;
  }
  if (most == 0) return false;
  const int unit = std::ilogb(std::fmax(most, std::sqrt(eps)));
  const auto sum = [&](auto term) {
    double s = 0, lost = 0;  // Neumaier: a few values, a million times, would all round the same way
    for (std::size_t i = 0; i < n; ++i) {
      const double w = weight(i);
      if (w == 0) continue;
      const double v = w * term(std::scalbn(at(i), -unit)), larger = s + v;
      lost += std::fabs(s) >= std::fabs(v) ? (s - larger) + v : (v - larger) + s;
      s = larger;
    }
    return s + lost;
  };
  const double total = sum([](double) { return 1.0; });
  double mean = 0;
  if (centred) {
    mean = sum([](double x) { return x; }) / total;
    mean += sum([&](double x) { return x - mean; }) / total;  // what rounding left
  }
  const double squares = sum([&](double x) { return (x - mean) * (x - mean); }) / total;
  result->mean = std::scalbn(mean, unit);
  result->variance = std::scalbn(squares, 2 * unit);
  result->invstd = std::scalbn(1 / std::sqrt(squares + std::scalbn(eps, -2 * unit)), -unit);
  return true;
}
// The same for a row of norms, whose mean and invstd it corrects.
template <class At>
void rescale_row(std::size_t n, bool centred, double eps, At at, double* mean, double* invstd) {
  Rescaled r;
  if (!rescaled_moments(n, centred, eps, at, [](std::size_t) { return 1.0; }, &r)) return;
  *mean = r.mean;
  *invstd = r.invstd;
}

}  // namespace regkern

#endif  // REGKERN_KERNELS_RANGE_H_
