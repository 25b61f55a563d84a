// What core/layer_norm hands to its kernels.

#ifndef REGKERN_KERNELS_LAYER_NORM_ROWS_H_
#define REGKERN_KERNELS_LAYER_NORM_ROWS_H_

#include <cmath>
#include <cstddef>
#include <cstdint>
#include <limits>

#include "kernels/range.h"

namespace regkern {

inline constexpr std::size_t kRowBlock = 4096;     // elements that the second sweep finds in the L1 cache
inline constexpr std::size_t kRowsFolded = 8;      // rows that a vector or more of double hold one number of
inline constexpr std::size_t kColumnRows = 128;    // terms of a column's sum before it goes to double
inline constexpr std::size_t kColumnSweep = 8;     // rows that share one load of the column's sums
inline constexpr std::size_t kColumnStrip = 1024;  // columns whose coefficients stay in the L1 cache
inline constexpr std::size_t kColumnsAtLeast = 256;  // in narrower matrices several rows lie side by side

// The smallest and the largest absolute value of a gamma's numbers but 0, Inf and NaN; 1 where
// there is none. And whether one is Inf.
struct MagnitudeRange {
  double least = 1, most = 1;
  bool has_infinite = false;
};

// The rows that the kernels take as they are, by their 1/std. Not those of NaN.
struct RowRange {
  double least, most;
  bool operator()(double invstd) const { return invstd >= least && invstd <= most; }
};

// How rows are normalized, and where the affine parameters of a row are: see RowShape. `stream`: written
// around the cache; `far`: the rows are not in it; `by_hand`: caches are slow, so that every line is fetched
// by hand; `together`: how many rows share a sweep; `usual`: the rows of the forward that float normalizes.
template <class T>
struct RowAffine {
  bool centred, stream, far, by_hand;
  double eps;
  std::size_t length, inner, channels;
  const T *gamma, *beta;
  std::size_t together = 1;
  RowRange usual = {};
};

// The operands of a gradient, from some element on, and gamma with the sums for the gradients of gamma and
// beta, from some channel on.
template <class T>
struct RowOperands {
  const T *x, *dy;
  T* dx;
  RowOperands at(std::size_t i) const { return {x + i, dy + i, dx + i}; }
};
template <class T>
struct RowParameters {
  const T* gamma;
  T *dgamma, *dbeta;
  RowParameters at(std::size_t channel) const { return {gamma + channel, dgamma + channel, dbeta + channel}; }
};

// dx = (gamma·dy − ((x − mean)·slope + offset))·scale, and x − mean − mean_low is the deviation.
template <class T>
struct RowGradient {
  T mean, mean_low, scale, slope, offset;
};

// Σ g and Σ g·(x − mean).
struct GradientSums {
  double sum = 0, sum_dev = 0;

  void operator+=(const GradientSums& other) {
    sum += other.sum;
    sum_dev += other.sum_dev;
  }
  GradientSums times(double w) const { return {w * sum, w * sum_dev}; }
};

// Where no gamma/std is extreme: nowhere, if a gamma is Inf.
template <class T>
RowRange normal_scales(const MagnitudeRange& gammas) {
  using Range = std::numeric_limits<T>;
  if (gammas.has_infinite) return {1, 0};
  return {static_cast<double>(Range::min()) / gammas.least, static_cast<double>(Range::max()) / gammas.most};
}

// y = (x − mean)·scale + beta of one element, scale = gamma·invstd: through double, and by way of x̂, where
// the scale is extreme or gamma no number, else as the kernels have it, to the bit.
template <class T>
T normalized(T x, double mean, double invstd, double gamma, double beta) {
  const double scale = invstd * gamma;
  if (is_extreme<T>(scale, gamma) || !std::isfinite(gamma)) {
    return static_cast<T>((static_cast<double>(x) - mean) * invstd * gamma + beta);
  }
  const T high = static_cast<T>(mean);
  const double low = mean - static_cast<double>(high);
  return (x - high) * static_cast<T>(scale) + static_cast<T>(beta - low * scale);
}

// Where the largest gamma times std, and over it, are far from the ends of T's range: so are then all sums
// and factors of a gradient, of dy from 1e-10 to 1e10 too.
template <class T>
RowRange safe_gradients(const MagnitudeRange& gammas) {
  const double most = (sizeof(T) == 4 ? 0x1p64 : 0x1p900) * std::fmin(gammas.most, 1 / gammas.most);
  return {1 / most, most};
}

// What is taken off g = gamma·dy, before dx = that·invstd: (x − mean_high)·slope + offset, from the sums of g
// over a row of n elements. mean = mean_high + mean_low. In that form every factor is in the range of float
// as long as std and 1/std are; the third power of invstd is not.
struct RowSlope {
  RowSlope() = default;
  RowSlope(const GradientSums& g, std::size_t n, double mean_low, double invstd)
      : slope(invstd * (invstd * (g.sum_dev / static_cast<double>(n)))),
        offset(g.sum / static_cast<double>(n) - mean_low * slope) {}

  double slope = 0, offset = 0;
};

// Where the squares of some deviations, which add up to `sum` and `squares`, lose digits to the distance from
// the mean: two standard deviations cost a factor 5.
inline bool far_from_mean(double n, double sum, double squares) { return sum * sum > 0.8 * n * squares; }

// The sums of squares of deviations that need no second look: squares of float leave its range behind about
// 1e±19.
struct SquaresRange {
  double least, most;
};
template <class T>
SquaresRange squares_range(double eps) {
  if (sizeof(T) == 8) return {0x1p-900, 0x1p900};
  return {eps < 1e-20 ? 1e6 * 1.17549435e-38 : -std::numeric_limits<double>::infinity(),
          0.01 * 3.40282347e38};
}
template <class T>
bool squares_in_range(double squares, double eps) {
  const SquaresRange range = squares_range<T>(eps);
  return sizeof(T) == 8 || (squares < range.most && !(squares < range.least));
}

// The kernels that read and write numbers of two bytes as they lie, and calculate in float; nullptr where the
// instruction set does not convert them. Parameters of every element have to be put in their order before.
struct HalfRows {
  using Half = std::uint16_t;
  void (*moments)(const Half* x, std::size_t n, bool fetch, bool centred, double eps, double* mean,
                  double* squares);
  void (*apply)(const Half* x, Half* y, std::size_t n, const RowAffine<float>& s, std::size_t channel,
                double mean, double invstd, std::size_t ahead);
  void (*rows)(const Half* x, Half* y, std::size_t rows, const RowAffine<float>& s, std::size_t channel,
               double* mean, double* invstd);
  void (*order_parameters)(const float* from, float* to, std::size_t n);
};
struct HalfPlaneGradients {
  using Half = std::uint16_t;
  void (*sums)(const Half* x, const Half* dy, std::size_t planes, std::size_t n, double mean,
               GradientSums* sums);
  void (*apply)(const RowOperands<Half>& o, std::size_t planes, std::size_t n, const RowAffine<float>& s,
                std::size_t channel, double mean, double invstd, const GradientSums& g);
};

// One number a column each.
template <class T>
struct ColumnAffine {
  const T *mean, *scale, *shift;
};
template <class T>
struct ColumnGradient {
  const T *mean, *gamma, *scale, *slope, *offset;
};

}  // namespace regkern

#endif  // REGKERN_KERNELS_LAYER_NORM_ROWS_H_
