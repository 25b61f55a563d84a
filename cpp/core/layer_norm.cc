#include "regkern/layer_norm.h"

#undef HWY_TARGET_INCLUDE
#define HWY_TARGET_INCLUDE "core/layer_norm.cc"
#include "hwy/foreach_target.h"

#include <algorithm>
#include <cmath>
#include <limits>
#include <vector>

#include "core/dispatch.h"
#include "core/elementwise.h"
#include "core/moments.h"
#include "kernels/layer_norm-inl.h"

#ifndef REGKERN_LAYER_NORM_TABLE
#define REGKERN_LAYER_NORM_TABLE
namespace regkern {
template <class T>
struct LayerNormTable {
  void (*moments)(const T* x, std::size_t n, T near, double* sum, double* squares);
  double (*squares)(const T* x, std::size_t n);
  void (*moments_wide)(const T* x, std::size_t n, double near, double* total, double* squares);
  void (*add)(const T* x, const T* residual, T* y, std::size_t n);
  void (*apply)(const T* x, T* y, std::size_t n, const RowAffine<T>& c, const T* gamma, const T* beta,
                bool stream);
  void (*scale)(const T* x, T* y, std::size_t n, T factor, const T* gamma, bool stream);
  void (*gradient_sums)(const T* x, const T* dy, const T* gamma, std::size_t n, T mean, T mean_low,
                        double* sum, double* sum_dev);
  using Gradient = void (*)(const T* x, const T* dy, T* dx, std::size_t stride, std::size_t n,
                            const RowGradient<T>* c, const T* gamma, T* dgamma, T* dbeta, bool stream);
  Gradient gradient, gradient_of_two, gradient_of_four;
  void (*flush)(double* total, T* part, std::size_t n);
  void (*finish_stream)(bool stream);
};
}  // namespace regkern
#endif

HWY_BEFORE_NAMESPACE();
namespace regkern {
namespace HWY_NAMESPACE {

template <class T>
constexpr LayerNormTable<T> kLayerNormTable = {
    &row_moments<T>,     &row_squares<T>,     &row_moments_wide<T>,  &row_add<T>,
    &row_apply<T>,       &row_scale<T>,       &row_gradient_sums<T>, &row_gradient<1, T>,
    &row_gradient<2, T>, &row_gradient<4, T>, &row_flush<T>,         &finish_stream};

const LayerNormTable<float>& layer_norm_table_f32() { return kLayerNormTable<float>; }
const LayerNormTable<double>& layer_norm_table_f64() { return kLayerNormTable<double>; }

}  // namespace HWY_NAMESPACE
}  // namespace regkern
HWY_AFTER_NAMESPACE();

#if HWY_ONCE
namespace regkern {

REGKERN_EXPORT_TABLES(LayerNormTable, layer_norm_table);

namespace {

// Squares of float leave its range behind about 1e±19: such a block is computed again in double.
template <class T>
bool in_range(double sum_of_squares, double eps) {
  const bool low = eps < 1e-20 && sum_of_squares < 1e6 * static_cast<double>(std::numeric_limits<T>::min());
  return sum_of_squares < 0.01 * static_cast<double>(std::numeric_limits<T>::max()) && !low;
}

// One pass about the median of three elements, and another about the mean where that was more than a
// deviation away: the squares would then lose digits to it.
template <class T>
Moments block_moments(const T* x, std::size_t n, double eps) {
  const auto& k = table<T>();
  const auto count = static_cast<double>(n);
  const T first = x[0], middle = x[n / 2], last = x[n - 1];
  T near = std::max(std::min(first, middle), std::min(std::max(first, middle), last));
  double sum, squares;
  k.moments(x, n, near, &sum, &squares);
  if (sum * sum > 0.5 * count * squares) {
    near = static_cast<T>(static_cast<double>(near) + sum / count);
    k.moments(x, n, near, &sum, &squares);
  }
  const Moments m = Moments::of_sums(count, static_cast<double>(near), sum, squares);
  if (sizeof(T) == 8 || in_range<T>(m.m2, eps)) return m;
  const double centre = std::isfinite(m.mean) ? m.mean : static_cast<double>(first);
  k.moments_wide(x, n, centre, &sum, &squares);
  return Moments::of_sums(count, centre, sum, squares);
}

template <class T>
double block_squares(const T* x, std::size_t n, double eps) {
  const auto& k = table<T>();
  const double squares = k.squares(x, n);
  if (sizeof(T) == 8 || in_range<T>(squares, eps)) return squares;
  double sum, wide;
  k.moments_wide(x, n, 0, &sum, &wide);
  return wide;
}

// Calls body(first, n) for the blocks of row `row`, counted from the start of the array.
template <class Body>
void for_blocks(const RowShape& s, std::size_t row, Body body) {
  for (std::size_t at = 0; at < s.length; at += kRowBlock) {
    body(row * s.length + at, std::min(kRowBlock, s.length - at));
  }
}

// Calls body(offset, n, channel) for the pieces of [first, first + n) that have one affine parameter each,
// or, where every element has its own, for the whole with the first of them.
template <class Body>
void for_pieces(const RowShape& s, std::size_t row, std::size_t first, std::size_t n, Body body) {
  const std::size_t start = s.first_channel(row);
  if (s.inner == 1) return body(std::size_t{0}, n, start + (first - row * s.length));
  for (std::size_t at = 0; at < n;) {
    const std::size_t position = first - row * s.length + at;
    const std::size_t piece = std::min(s.inner - position % s.inner, n - at);
    body(at, piece, start + position / s.inner);
    at += piece;
  }
}

// What float32 loses of the mean is subtracted as well, where it could be seen: above 2⁻³⁰ deviations.
template <class T>
RowAffine<T> affine_of(double mean, double invstd, double scale, double shift) {
  const T high = static_cast<T>(mean);
  const double low = mean - static_cast<double>(high);
  const bool seen = std::abs(low) * invstd > 9.3e-10;
  return {high, seen ? static_cast<T>(low) : T{0}, static_cast<T>(scale), static_cast<T>(shift)};
}

}  // namespace

template <class T>
void row_norm(const RowShape& s, bool centred, In<T> x, In<T> residual, Out<T> h, Out<T> y, const T* gamma,
              const T* beta, double eps, double* mean, double* invstd) {
  if (s.rows == 0) return;
  const auto& k = table<T>();
  const bool summed = residual.data != nullptr;
  const Elements<In<T>, In<T>, Out<T>, Out<T>> elements(s.shape, Order::kC, x, summed ? residual : x,
                                                        summed ? h : y, y);
  const std::size_t bytes = (summed ? 4 : 2) * s.shape.size * sizeof(T);
  const bool stream =
      worth_streaming(bytes) && x.data != y.data && elements.dense() && s.inner * s.length >= 256;
  const auto n = static_cast<double>(s.length);
  threading::for_ranges(threading::team_for(bytes), s.rows, 1, [&](std::size_t begin, std::size_t end) {
    alignas(64) T in[kRowBlock], beside[kRowBlock], out[kRowBlock];
    for (std::size_t row = begin; row < end; ++row) {
      Moments all;
      double squares = 0;
      for_blocks(s, row, [&](std::size_t first, std::size_t length) {
        const T* p = elements.template load<0>(first, length, in);
        if (summed) {
          const T* r = elements.template load<1>(first, length, beside);
          T* to = elements.template target<2>(first, out);
          k.add(p, r, to, length);
          elements.template store<2>(first, length, to);
          p = to;
        }
        if (centred) {
          all.merge(block_moments(p, length, eps));
        } else {
          squares += block_squares(p, length, eps);
        }
      });
      mean[row] = centred ? all.mean : 0.0;
      invstd[row] = 1 / std::sqrt((centred ? all.m2 : squares) / n + eps);
      for_blocks(s, row, [&](std::size_t first, std::size_t length) {
        const T* p = summed ? elements.template load<2>(first, length, in)
                            : elements.template load<0>(first, length, in);
        T* to = elements.template target<3>(first, out);
        for_pieces(s, row, first, length, [&](std::size_t at, std::size_t piece, std::size_t c) {
          const bool each = s.inner == 1;
          const double g = gamma && !each ? static_cast<double>(gamma[c]) : 1.0;
          const T* gammas = gamma && each ? gamma + c : nullptr;
          if (centred) {
            const double b = beta && !each ? static_cast<double>(beta[c]) : 0.0;
            k.apply(p + at, to + at, piece, affine_of<T>(mean[row], invstd[row], invstd[row] * g, b), gammas,
                    beta && each ? beta + c : nullptr, stream);
          } else {
            k.scale(p + at, to + at, piece, static_cast<T>(invstd[row] * g), gammas, stream);
          }
        });
        elements.template store<3>(first, length, to);
      });
    }
    k.finish_stream(stream);
  });
}

template <class T>
void row_norm_backward(const RowShape& s, bool centred, In<T> dy, In<T> x, Out<T> dx, const T* gamma,
                       const double* mean, const double* invstd, double* dgamma, double* dbeta) {
  std::fill_n(dgamma, s.channels, 0.0);
  std::fill_n(dbeta, s.channels, 0.0);
  if (s.rows == 0) return;
  const auto& k = table<T>();
  const Elements<In<T>, In<T>, Out<T>> elements(s.shape, Order::kC, dy, x, dx);
  const bool each = s.inner == 1;
  const auto n = static_cast<double>(s.length);
  // A grid of the shape alone: at most 64 groups of rows, each with sums of its own. Inside one the gradients
  // of gamma and beta of some rows are added in the dtype before they go to double.
  constexpr std::size_t kFlushRows = 16, kGroupRows = 32;  // fewer rows would not be worth their sums
  const std::size_t group_rows = std::max({(s.rows + 63) / 64, kGroupRows, 4 * kRowBlock / s.length});
  const std::size_t groups = (s.rows + group_rows - 1) / group_rows;
  std::vector<double> sums(2 * groups * s.channels);
  std::vector<T> parts(each ? 2 * groups * s.channels : 0);
  const std::size_t bytes = 3 * s.shape.size * sizeof(T);
  // Layer norm over dense rows that the L1 cache holds together; rows of whole half pages would share its
  // sets.
  const bool several = elements.dense() && each && s.channels == s.length && s.length <= kRowBlock;
  const std::size_t at_once = s.length * sizeof(T) % 2048 == 0 ? 2 : 4;
  const bool stream = several && worth_streaming(bytes) && s.length * sizeof(T) % 64 == 0 &&
                      dx.data != dy.data && s.length >= 64;
  threading::for_ranges(threading::team_for(bytes), groups, 1, [&](std::size_t begin, std::size_t end) {
    alignas(64) T dy_block[kRowBlock], x_block[kRowBlock], out[kRowBlock];
    for (std::size_t group = begin; group < end; ++group) {
      double *const sum_gamma = sums.data() + 2 * group * s.channels, *const sum_beta =
                                                                          sum_gamma + s.channels;
      T* const part_gamma = each ? parts.data() + 2 * group * s.channels : nullptr;
      T* const part_beta = each ? part_gamma + s.channels : nullptr;
      const std::size_t last = std::min(s.rows, (group + 1) * group_rows);
      std::size_t unflushed = 0;
      for (std::size_t row = group * group_rows; row < last;) {
        const std::size_t together = several && last - row >= at_once ? at_once : 1;
        RowGradient<T> c[4];
        for (std::size_t r = 0; r < together; ++r) {
          const RowAffine<T> at_row = affine_of<T>(mean[row + r], invstd[row + r], invstd[row + r], 0);
          double sum = 0, sum_dev = 0;
          for_blocks(s, row + r, [&](std::size_t first, std::size_t length) {
            const T* g = elements.template load<0>(first, length, dy_block);
            const T* v = elements.template load<1>(first, length, x_block);
            for_pieces(s, row + r, first, length,
                       [&](std::size_t at, std::size_t piece, std::size_t channel) {
                         double part, part_dev;
                         k.gradient_sums(v + at, g + at, gamma && each ? gamma + channel : nullptr, piece,
                                         at_row.mean, at_row.mean_low, &part, &part_dev);
                         const double w = gamma && !each ? static_cast<double>(gamma[channel]) : 1.0;
                         sum += w * part;
                         sum_dev += w * part_dev;
                         if (!each) {
                           sum_gamma[channel] += part_dev * invstd[row + r];
                           sum_beta[channel] += part;
                         }
                       });
          });
          const double b = invstd[row + r] * invstd[row + r] * invstd[row + r] * (sum_dev / n);
          c[r] = {
              at_row.mean,      at_row.mean_low, at_row.scale, T{1}, static_cast<T>(centred ? sum / n : 0.0),
              static_cast<T>(b)};
        }
        if (together > 1) {
          const std::size_t at = row * s.length;
          (together == 2 ? k.gradient_of_two : k.gradient_of_four)(x.data + at, dy.data + at, dx.data + at,
                                                                   s.length, s.length, c, gamma, part_gamma,
                                                                   centred ? part_beta : nullptr, stream);
        } else {
          for_blocks(s, row, [&](std::size_t first, std::size_t length) {
            const T* g = elements.template load<0>(first, length, dy_block);
            const T* v = elements.template load<1>(first, length, x_block);
            T* to = elements.template target<2>(first, out);
            for_pieces(s, row, first, length, [&](std::size_t at, std::size_t piece, std::size_t channel) {
              if (gamma && !each) c[0].gamma = gamma[channel];
              k.gradient(v + at, g + at, to + at, 0, piece, c, gamma && each ? gamma + channel : nullptr,
                         each ? part_gamma + channel : nullptr,
                         each && centred ? part_beta + channel : nullptr, stream && each);
            });
            elements.template store<2>(first, length, to);
          });
        }
        row += together;
        unflushed += together;
        if (each && (unflushed >= kFlushRows || row == last)) {
          k.flush(sum_gamma, part_gamma, s.channels);
          if (centred) k.flush(sum_beta, part_beta, s.channels);
          unflushed = 0;
        }
      }
      k.finish_stream(stream);
    }
  });
  for (std::size_t group = 0; group < groups; ++group) {
    const double* sum = sums.data() + 2 * group * s.channels;
    for (std::size_t c = 0; c < s.channels; ++c) {
      dgamma[c] += sum[c];
      dbeta[c] += sum[s.channels + c];
    }
  }
}

#define REGKERN_INSTANTIATE(T)                                                                            \
  template void row_norm(const RowShape&, bool, In<T>, In<T>, Out<T>, Out<T>, const T*, const T*, double, \
                         double*, double*);                                                               \
  template void row_norm_backward(const RowShape&, bool, In<T>, In<T>, Out<T>, const T*, const double*,   \
                                  const double*, double*, double*)
REGKERN_INSTANTIATE(float);
REGKERN_INSTANTIATE(double);
#undef REGKERN_INSTANTIATE

}  // namespace regkern
#endif  // HWY_ONCE
