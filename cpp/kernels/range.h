// Statistics at the ends of a dtype's range: squares that double cannot hold, factors that float cannot.

#ifndef REGKERN_KERNELS_RANGE_H_
#define REGKERN_KERNELS_RANGE_H_

#include <cmath>
#include <cstddef>
#include <limits>

namespace regkern {

// Whether a factor made of `of`, a finite number other than 0, is none of T's normal numbers: it would
// overflow, or lose digits. What it multiplies may be as small, or as large. `room`: how far it must be from
// the ends.
template <class T>
bool is_extreme(double factor, double of, double room = 1) {
  using Range = std::numeric_limits<T>;
  const double size = std::fabs(factor);
  const bool is_normal =
      size >= room * static_cast<double>(Range::min()) && size <= static_cast<double>(Range::max()) / room;
  return !is_normal && std::isfinite(of) && of != 0;
}
// The room of what deviations of a million standard deviations multiply.
constexpr double kRoomOfShares = 0x1p24;

// A factor by itself. That of an infinite gamma is one: in T, what multiplies it may round to 0, and what is
// taken off it to Inf.
template <class T>
bool is_extreme(double factor) {
  return std::isinf(factor) || is_extreme<T>(factor, factor);
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
  // An eps may be all there is, and 0 in that unit.
  result->invstd = squares == 0 ? 1 / std::sqrt(eps)
                                : std::scalbn(1 / std::sqrt(squares + std::scalbn(eps, -2 * unit)), -unit);
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
