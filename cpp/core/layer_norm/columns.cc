// Layer, group and instance norm where the channels come last, as passes over matrices. Threads share the
// samples, or the parts of large ones, whose sums are added in their order.

#include "core/layer_norm/layer_norm.h"

#undef HWY_TARGET_INCLUDE
#define HWY_TARGET_INCLUDE "core/layer_norm/columns.cc"
#include "hwy/foreach_target.h"

#include <algorithm>
#include <array>
#include <cmath>
#include <vector>

#include "core/dispatch.h"
#include "core/elementwise.h"
#include "core/layer_norm/cut.h"
#include "core/moments.h"
#include "kernels/layer_norm/columns-inl.h"

#define REGKERN_FAMILY layer_norm
#define REGKERN_KERNELS(X) \
  X(column_moments)        \
  X(column_apply)          \
  X(column_gradient_sums)  \
  X(column_gradient)       \
  X(magnitudes)
#define REGKERN_PLAIN_KERNELS(X) X(count_usual)
#include "core/table-inl.h"

#if HWY_ONCE
namespace regkern::layer_norm {
namespace {

// A sample is a matrix, positions × channels; where there are few channels, several positions lie side by
// side in one row of it, so that vectors are full. Its parts are kColumnRows rows each.
template <class... Operands>
class Matrices {
 public:
  using T = typename Elements<Operands...>::T;

  Matrices(const RowShape& shape, Operands... operands)
      : elements(shape.shape, Order::kC, operands...),
        s(shape),
        sample(s.inner * s.channels),
        width(s.channels * std::clamp<std::size_t>(kColumnsAtLeast / s.channels, 1, s.inner)),
        parts((sample + kColumnRows * width - 1) / (kColumnRows * width)),
        groups(s.channels / s.row_channels) {}

  std::size_t samples() const { return s.rows / groups; }

  // Calls body(first, n, rooms) for the elements of a part: at once where the operands are dense, else some
  // rows at a time, with room to copy those of each operand.
  template <class Body>
  void for_blocks(std::size_t unit, std::size_t part, Body&& body) const {
    const std::size_t begin = unit * sample + part * kColumnRows * width;
    const std::size_t end = std::min(begin + kColumnRows * width, (unit + 1) * sample);
    const std::size_t step = elements.dense() ? end - begin : kColumnSweep * width;
    const std::size_t size = elements.dense() ? 0 : step;
    std::vector<T> memory(sizeof...(Operands) * size);
    std::array<T*, sizeof...(Operands)> rooms;
    for (std::size_t i = 0; i < rooms.size(); ++i) rooms[i] = memory.data() + i * size;
    for (std::size_t first = begin; first < end; first += step) {
      body(first, std::min(step, end - first), rooms);
    }
  }

  // Calls body(column, channel, group) for every column, by channel.
  template <class Body>
  void for_columns(Body&& body) const {
    for (std::size_t column = 0; column < width;) {
      for (std::size_t group = 0, c = 0; group < groups; ++group) {
        for (std::size_t end = c + s.row_channels; c < end; ++c) body(column++, c, group);
      }
    }
  }

  const Elements<Operands...> elements;
  const RowShape& s;
  const std::size_t sample, width, parts, groups;
};

}  // namespace

template <class T>
void normalize_in_columns(const RowShape& s, const RowNormForward<T>& f) {
  const Table<T>& k = table<T>();
  const T *const gamma = f.gamma, *const beta = f.beta;
  double *const mean = f.mean, *const invstd = f.invstd;
  const RowRange usual = normal_scales<T>(k.magnitudes(gamma, s.channels));
  const Matrices<In<T>, Out<T>> m(s, f.x, f.y);
  const std::size_t samples = m.samples(), width = m.width;
  std::vector<T> sums(samples * m.parts * 2 * width), affine(samples * 3 * width);
  const std::size_t bytes = 2 * s.shape.size * sizeof(T);
  const auto at = [&](std::size_t first) {
    T room;
    return *m.elements.template load<0>(first, 1, &room);
  };
  // An element near the mean of a row: the median of three.
  const auto near = [&](std::size_t row) {
    const std::size_t begin = row / m.groups * m.sample + s.first_channel(row), c = s.row_channels;
    const T first = at(begin), middle = at(begin + s.inner / 2 * s.channels + c / 2),
            last = at(begin + (s.inner - 1) * s.channels + c - 1);
    return std::max(std::min(first, middle), std::min(std::max(first, middle), last));
  };
  const auto element = [&](std::size_t row, std::size_t i) {
    const std::size_t begin = row / m.groups * m.sample + s.first_channel(row);
    return static_cast<double>(at(begin + i / s.row_channels * s.channels + i % s.row_channels));
  };
  // In double about the mean, where that is far from `near` or float cannot hold the squares.
  const auto wide = [&](std::size_t row, double centre) {
    double sum = 0, squares = 0;
    for (std::size_t i = 0; i < s.length; ++i) {
      const double deviation = element(row, i) - centre;
      sum += deviation;
      squares += deviation * deviation;
    }
    return Moments::of_sums(static_cast<double>(s.length), centre, sum, squares);
  };
  two_sweeps(
      threading::team_for(bytes), samples, m.parts,
      [&](std::size_t unit, std::size_t part) {
        std::vector<T> shifts(m.groups), shift(width);
        for (std::size_t g = 0; g < m.groups; ++g) shifts[g] = near(unit * m.groups + g);
        m.for_columns([&](std::size_t column, std::size_t, std::size_t g) { shift[column] = shifts[g]; });
        T* const sum = &sums[(unit * m.parts + part) * 2 * width];
        m.for_blocks(unit, part, [&](std::size_t first, std::size_t n, const auto& rooms) {
          k.column_moments(m.elements.template load<0>(first, n, rooms[0]), n, width, shift.data(), sum,
                           sum + width);
        });
      },
      [&](std::size_t unit) {
        const auto n = static_cast<double>(s.length);
        const std::size_t row = unit * m.groups;
        std::vector<double> sum(m.groups), squares(m.groups);
        for (std::size_t part = 0; part < m.parts; ++part) {
          const T* of_part = &sums[(unit * m.parts + part) * 2 * width];
          m.for_columns([&](std::size_t column, std::size_t, std::size_t g) {
            sum[g] += static_cast<double>(of_part[column]);
            squares[g] += static_cast<double>(of_part[width + column]);
          });
        }
        for (std::size_t g = 0; g < m.groups; ++g) {
          const T shift = near(row + g);
          Moments all = Moments::of_sums(n, static_cast<double>(shift), sum[g], squares[g]);
          if (far_from_mean(n, sum[g], squares[g]) || !squares_in_range<T>(all.m2, f.eps)) {
            all = wide(row + g, std::isfinite(all.mean) ? all.mean : static_cast<double>(shift));
          }
          mean[row + g] = all.mean;
          const double v = all.m2 / n + f.eps;
          invstd[row + g] = 1 / std::sqrt(v);
          if (squares_suspect<T>(v)) {
            rescale_row(
                s.length, true, f.eps, [&](std::size_t i) { return element(row + g, i); }, mean + row + g,
                invstd + row + g);
          }
        }
        T* const a = &affine[unit * 3 * width];
        m.for_columns([&](std::size_t column, std::size_t c, std::size_t g) {
          const T high = static_cast<T>(mean[row + g]);
          const double scale = invstd[row + g] * (gamma ? static_cast<double>(gamma[c]) : 1.0);
          const double low = mean[row + g] - static_cast<double>(high);
          a[column] = high;
          a[width + column] = static_cast<T>(scale);
          a[2 * width + column] = static_cast<T>((beta ? static_cast<double>(beta[c]) : 0.0) - low * scale);
        });
      },
      [&](std::size_t unit, std::size_t part) {
        const T* const a = &affine[unit * 3 * width];
        const double* const row_invstd = invstd + unit * m.groups;
        const bool all_usual = k.count_usual(row_invstd, m.groups, usual) == m.groups;
        m.for_blocks(unit, part, [&](std::size_t first, std::size_t n, const auto& rooms) {
          T* to = m.elements.template target<1>(first, rooms[1]);
          const T* from = m.elements.template load<0>(first, n, rooms[0]);
          if (!all_usual) {
            for (std::size_t i = 0; i < n; ++i) {
              const std::size_t c = (first + i) % s.channels, row = unit * m.groups + c / s.row_channels;
              to[i] = normalized(from[i], mean[row], invstd[row], gamma ? static_cast<double>(gamma[c]) : 1.0,
                                 beta ? static_cast<double>(beta[c]) : 0.0);
            }
          } else {
            k.column_apply(from, to, n, width, {a, a + width, a + 2 * width});
          }
          m.elements.template store<1>(first, n, to);
        });
      },
      [] {});
}

template <class T>
void gradient_in_columns(const RowShape& s, const RowNormBackward<T>& b) {
  const Table<T>& k = table<T>();
  const T* const gamma = b.gamma;
  RowUnits<T> units(b, safe_gradients<T>(k.magnitudes(gamma, s.channels)));
  units.all_usual = k.count_usual(b.invstd, s.rows, units.usual) == s.rows;
  const Matrices<In<T>, In<T>, Out<T>> m(s, b.dy, b.x, b.dx);
  const std::size_t samples = m.samples(), width = m.width;
  std::vector<T> sums(samples * m.parts * 2 * width), affine(samples * 5 * width);
  const std::size_t bytes = 3 * s.shape.size * sizeof(T);
  std::vector<GradientSums> of_channel(samples * s.channels);
  const auto row_of = [&](std::size_t position) {
    return position / m.sample * m.groups + position % s.channels / s.row_channels;
  };
  // n elements of x from `first` on, in hats unless all rows are usual.
  const auto x_of = [&](std::size_t first, std::size_t n, T* room, std::vector<T>& hats) {
    const T* const v = m.elements.template load<1>(first, n, room);
    if (units.all_usual) return v;
    hats.resize(n);
    for (std::size_t i = 0; i < n; ++i) hats[i] = units.x(row_of(first + i), v[i]);
    return static_cast<const T*>(hats.data());
  };
  two_sweeps(
      threading::team_for(bytes), samples, m.parts,
      [&](std::size_t unit, std::size_t part) {
        std::vector<T> means(width), hats;
        m.for_columns([&](std::size_t column, std::size_t, std::size_t g) {
          means[column] = static_cast<T>(units.mean(unit * m.groups + g));
        });
        T* const sum = &sums[(unit * m.parts + part) * 2 * width];
        m.for_blocks(unit, part, [&](std::size_t first, std::size_t n, const auto& rooms) {
          k.column_gradient_sums(x_of(first, n, rooms[1], hats),
                                 m.elements.template load<0>(first, n, rooms[0]), n, width, means.data(), sum,
                                 sum + width);
        });
      },
      [&](std::size_t unit) {
        GradientSums* const channel = &of_channel[unit * s.channels];
        for (std::size_t part = 0; part < m.parts; ++part) {
          const T* of_part = &sums[(unit * m.parts + part) * 2 * width];
          m.for_columns([&](std::size_t column, std::size_t c, std::size_t) {
            channel[c] +=
                {static_cast<double>(of_part[column]), static_cast<double>(of_part[width + column])};
          });
        }
        std::vector<RowSlope> slopes(m.groups);
        for (std::size_t g = 0; g < m.groups; ++g) {
          const std::size_t row = unit * m.groups + g, first = s.first_channel(row);
          const double mean = units.mean(row), low = mean - static_cast<double>(static_cast<T>(mean));
          GradientSums all;
          for (std::size_t c = first; c < first + s.row_channels; ++c) {
            channel[c].sum_dev -= low * channel[c].sum;  // what the dtype loses of the mean
            all += channel[c].times(gamma ? static_cast<double>(gamma[c]) : 1.0);
          }
          slopes[g] = RowSlope(all, s.length, low, units.invstd(row));
        }
        T* const a = &affine[unit * 5 * width];
        m.for_columns([&](std::size_t column, std::size_t c, std::size_t g) {
          a[column] = static_cast<T>(units.mean(unit * m.groups + g));
          a[width + column] = gamma ? gamma[c] : T(1);
          a[2 * width + column] = static_cast<T>(units.invstd(unit * m.groups + g));
          a[3 * width + column] = static_cast<T>(slopes[g].slope);
          a[4 * width + column] = static_cast<T>(slopes[g].offset);
        });
      },
      [&](std::size_t unit, std::size_t part) {
        const T* const a = &affine[unit * 5 * width];
        std::vector<T> hats;
        m.for_blocks(unit, part, [&](std::size_t first, std::size_t n, const auto& rooms) {
          T* to = m.elements.template target<2>(first, rooms[2]);
          k.column_gradient(x_of(first, n, rooms[1], hats), m.elements.template load<0>(first, n, rooms[0]),
                            to, n, width, {a, a + width, a + 2 * width, a + 3 * width, a + 4 * width});
          for (std::size_t i = 0; i < n && !hats.empty(); ++i) to[i] = units.dx(row_of(first + i), to[i]);
          m.elements.template store<2>(first, n, to);
        });
      },
      [] {});
  for (std::size_t unit = 0; unit < samples; ++unit) {
    for (std::size_t c = 0; c < s.channels; ++c) {
      const GradientSums& g = of_channel[unit * s.channels + c];
      b.dgamma[c] += g.sum_dev * units.invstd(unit * m.groups + c / s.row_channels);
      b.dbeta[c] += g.sum;
    }
  }
}

template void normalize_in_columns(const RowShape&, const RowNormForward<float>&);
template void normalize_in_columns(const RowShape&, const RowNormForward<double>&);
template void gradient_in_columns(const RowShape&, const RowNormBackward<float>&);
template void gradient_in_columns(const RowShape&, const RowNormBackward<double>&);

}  // namespace regkern::layer_norm
#endif  // HWY_ONCE
