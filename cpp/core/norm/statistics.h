// Mean and variance of channels: sums over the leaves of a grid, added in its order. For norm.cc, which has
// the table of kernels.

#ifndef REGKERN_CORE_NORM_STATISTICS_H_
#define REGKERN_CORE_NORM_STATISTICS_H_

#include <algorithm>
#include <array>
#include <cstddef>
#include <memory>
#include <vector>

#include "core/channels.h"
#include "core/norm/operands.h"
#include "kernels/range.h"

namespace regkern {
namespace {

// Sums about a shift that all elements of a channel have in common, so that those of its parts simply add up.
// The shift is 0 or, where the mean is large beside the deviations, an element of the channel. Memory is left
// as it comes: of a batch of some hundred rows, clearing it would be a percent of the time.
struct Sums {
  explicit Sums(std::size_t channels)
      : room(std::make_unique_for_overwrite<double[]>(3 * channels)),
        shift(room.get()),
        x(shift + channels),
        xx(x + channels) {}
  std::unique_ptr<double[]> room;
  double *shift, *x, *xx;
};

// Shifts are taken from this many elements of a channel. A pass over the data is repeated if one of them was
// far off: in practice once; the third pass could gain nothing.
constexpr std::size_t kSamples = 5;
constexpr int kPasses = 3;

// Returns the elements of a channel, or the sum of their weights.
template <class T>
double planar_sums(const ChannelRange& range, const Planes<const T>& x, const Planes<const T>* weights,
                   const PlanarGrid& grid, threading::Team team, Sums& sums) {
  const Table<T>& k = table<T>();
  const std::size_t channels = range.size();
  // Σ(x − shift), Σ(x − shift)² and Σw of each channel of each leaf
  const std::size_t units = channels * grid.leaves;
  const auto partial = std::make_unique_for_overwrite<double[]>(3 * units);
  double *const first = partial.get(), *const second = first + units, *const weight = second + units;
  const HalfKernels* const halves = weights == nullptr ? half_kernels(x) : nullptr;
  const std::size_t item = halves != nullptr ? sizeof(std::uint16_t) : sizeof(T);
  const bool side_by_side = weights == nullptr && (x.dense() || halves != nullptr);
  const std::size_t together = side_by_side ? grid.channels_together(item) : 1;
  threading::for_ranges(team, units, 1, [&](std::size_t begin, std::size_t end) {
    alignas(64) T x_buffer[kLeaf], w_buffer[kLeaf];
    for (std::size_t u = begin, n; u < end; u += n) {
      const auto [channel, leaf_index] = grid.unit(u, channels);
      const std::size_t c = range.begin + channel, at = leaf_index * channels + channel;
      const PlanarGrid::Leaf leaf = grid[leaf_index];
      n = std::min({together, end - u, channels - channel});
      if (weights == nullptr) {
        std::fill_n(&weight[at], n, static_cast<double>(leaf.size()));
        if (halves != nullptr) {
          halves->moments(x.half_rows(c, leaf.row, leaf.col), n, leaf.rows, leaf.cols, &sums.shift[c],
                          &first[at], &second[at]);
          continue;
        }
        const T* p = x.load(c, leaf.row, leaf.col, leaf.size(), x_buffer);
        k.moments({p, x.row_stride(leaf.cols)}, n, leaf.rows, leaf.cols, &sums.shift[c], &first[at],
                  &second[at]);
        continue;
      }
      weight[at] = first[at] = second[at] = 0;
      for (std::size_t r = 0; r < leaf.rows; ++r) {  // row by row, as dense rows are not one run
        const T* p = x.load(c, leaf.row + r, leaf.col, leaf.cols, x_buffer);
        const T* q = weights->load(c, leaf.row + r, leaf.col, leaf.cols, w_buffer);
        double w, deviation, square;
        k.weighted_moments(p, q, leaf.cols, sums.shift[c], &w, &deviation, &square);
        weight[at] += w;
        first[at] += deviation;
        second[at] += square;
      }
    }
  });
  const auto total = [&](const double* of_units, std::size_t c) {
    double sum = 0;
    for (std::size_t u = c; u < units; u += channels) sum += of_units[u];
    return sum;
  };
  for (std::size_t c = 0; c < channels; ++c) {
    sums.x[range.begin + c] = total(first, c);
    sums.xx[range.begin + c] = total(second, c);
  }
  return channels == 0 ? 0 : total(weight, 0);  // the same for every channel
}

// Calls body(row, rows, pointers, row stride), a pointer an operand, for pieces of the rows
// [row, row + rows), columns [col, col + cols): `dense_rows` at a time where every operand is dense and that
// is not 0, else kRowGroup through buffers.
template <class T, std::size_t K, class Body>
void for_row_groups(const ColumnShape& s, std::size_t row, std::size_t rows, std::size_t col,
                    std::size_t cols, const std::array<const Columns<const T>*, K>& operands,
                    std::size_t dense_rows, Body&& body) {
  std::array<const T*, K> pointers;
  if (dense_rows != 0 &&
      std::all_of(operands.begin(), operands.end(), [](const auto* operand) { return operand->dense(); })) {
    for (const std::size_t end = row + rows; row < end; row += dense_rows) {
      for (std::size_t k = 0; k < K; ++k) pointers[k] = operands[k]->data() + row * s.cols + col;
      body(row, std::min(dense_rows, end - row), pointers, static_cast<std::ptrdiff_t>(s.cols));
    }
    return;
  }
  alignas(64) T buffers[K][kRowGroup * kPanel];
  for (std::size_t k = 0; k < K; ++k) pointers[k] = buffers[k];
  for (std::size_t r = 0; r < rows; r += kRowGroup) {
    const std::size_t group = std::min(kRowGroup, rows - r);
    for (std::size_t i = 0; i < group; ++i) {
      const std::size_t first = (row + r + i) * s.cols + col;
      for (std::size_t k = 0; k < K; ++k) operands[k]->copy(first, cols, buffers[k] + i * cols);
    }
    body(row + r, group, pointers, static_cast<std::ptrdiff_t>(cols));
  }
}

// Adds arrays of s.cols numbers, one after the other for each leaf, to one number a channel: first the
// leaves, then the folds and the columns of a channel, in order.
void add_leaves(const ColumnShape& s, double* partial, std::size_t stride, double* sum) {
  double* const columns = partial;
  for (std::size_t leaf = 1; leaf < s.all_leaves(); ++leaf) {
    partial += stride;
    for (std::size_t j = 0; j < s.cols; ++j) columns[j] += partial[j];
  }
  for (std::size_t f = 1; f < s.fold; ++f) {
    for (std::size_t j = 0; j < s.width; ++j) columns[j] += columns[f * s.width + j];
  }
  if (s.inner == 1) {
    std::copy_n(columns, s.channels, sum);
    return;
  }
  for (std::size_t c = 0; c < s.channels; ++c) {
    sum[c] = columns[c * s.inner];
    for (std::size_t i = 1; i < s.inner; ++i) sum[c] += columns[c * s.inner + i];
  }
}

template <class T>
double column_sums(const ChannelShape& shape, const Columns<const T>& x, const Columns<const T>* weights,
                   threading::Team team, Sums& sums) {
  const Table<T>& k = table<T>();
  const ColumnShape s(shape);
  // Σ(x − shift) and Σ(x − shift)² of each leaf and column, and Σw where there are weights
  const std::size_t kinds = weights == nullptr ? 2 : 3, stride = kinds * s.cols;
  const auto partial = std::make_unique_for_overwrite<double[]>(stride * s.all_leaves());
  if (s.rest != 0) std::fill_n(&partial[s.leaves * stride], stride, 0.0);  // has not all columns
  std::vector<double> spread;
  const double* shift = sums.shift;
  if (!s.one_a_channel()) {
    spread.resize(s.cols);
    s.spread(sums.shift, spread.data());
    shift = spread.data();
  }
  const HalfKernels* const halves = weights == nullptr ? half_kernels(x) : nullptr;
  for_panels(
      s, team, [&](std::size_t leaf, std::size_t row, std::size_t rows, std::size_t col, std::size_t cols) {
        double *first = &partial[leaf * stride + col], *second = first + s.cols, *w = second + s.cols;
        for (std::size_t i = 0; i < kinds; ++i) std::fill_n(first + i * s.cols, cols, 0.0);
        const double* about = &shift[col];
        if (halves != nullptr) {
          halves->column_moments({x.halves(row * s.cols + col), static_cast<std::ptrdiff_t>(s.cols)}, rows,
                                 cols, about, first, second);
        } else if (weights == nullptr) {
          for_row_groups<T, 1>(s, row, rows, col, cols, {&x}, rows,
                               [&](std::size_t, std::size_t n, const auto& p, std::ptrdiff_t step) {
                                 k.column_moments({p[0], step}, n, cols, about, first, second);
                               });
        } else {
          for_row_groups<T, 2>(s, row, rows, col, cols, {&x, weights}, 0,
                               [&](std::size_t, std::size_t n, const auto& p, std::ptrdiff_t) {
                                 k.column_weighted_moments(p[0], p[1], n, cols, about, w, first, second);
                               });
        }
      });
  add_leaves(s, partial.get(), stride, sums.x);
  add_leaves(s, partial.get() + s.cols, stride, sums.xx);
  if (weights == nullptr) return static_cast<double>(shape.count());
  std::vector<double> w(s.channels);
  add_leaves(s, partial.get() + 2 * s.cols, stride, w.data());
  return w[0];  // the same for every channel
}

// Positions of a channel that shifts are taken from: spread from the first to the last that has a weight.
template <class T>
std::array<std::size_t, kSamples> sample_positions(const ChannelShape& s, In<T> weights) {
  std::size_t first = 0, last = s.count() - 1;
  const Planes<const T> w(s, weights.data, weights);
  const bool weighted = weights.data != nullptr;
  while (weighted && first < last && w.at(0, first) == 0) ++first;
  while (weighted && last > first && w.at(0, last) == 0) --last;
  std::array<std::size_t, kSamples> at;
  for (std::size_t k = 0; k < kSamples; ++k) {
    at[k] = first + (last - first) * k / (kSamples - 1);
    while (weighted && at[k] < last && w.at(0, at[k]) == 0) ++at[k];
  }
  return at;
}

template <class T>
void sample_shifts(const ChannelShape& s, const ChannelRange& range, In<T> x, In<T> weights, double* shift) {
  const auto at = sample_positions<T>(s, weights);
  std::array<const T*, kSamples> samples;
  const bool dense = s.inner == 1 && x.strides == nullptr;
  const auto room = std::make_unique_for_overwrite<T[]>(dense ? 0 : kSamples * range.size());
  const Columns<const T> rows(s, x.data, x);  // of all channels, where these lie side by side
  const Planes<const T> planes(s, x.data, x);
  for (std::size_t k = 0; k < kSamples; ++k) {
    T* const row = room.get() + k * range.size();
    samples[k] = row;
    if (s.inner == 1) {
      samples[k] = rows.load(at[k] * s.channels + range.begin, range.size(), row);
    } else {
      for (std::size_t c = 0; c < range.size(); ++c) row[c] = planes.at(range.begin + c, at[k]);
    }
  }
  table<T>().choose_shifts(samples.data(), range.size(), shift + range.begin);
}

// Statistics of one range of channels, all of them where channels are columns; returns the count of a
// channel.
template <class T>
double range_stats(const ChannelShape& s, const ChannelRange& range, In<T> x, In<T> weights,
                   threading::Team team, Sums& sums, double* mean, double* var) {
  sample_shifts(s, range, x, weights, sums.shift);
  for (int pass = 1;; ++pass) {
    double count;
    if (s.planar()) {
      const Planes<const T> planes(s, x.data, x), w(s, weights.data, weights);
      count = planar_sums<T>(range, planes, weights.data ? &w : nullptr, PlanarGrid(s), team, sums);
    } else {
      const Columns<const T> columns(s, x.data, x), w(s, weights.data, weights);
      count = column_sums<T>(s, columns, weights.data ? &w : nullptr, team, sums);
    }
    const std::size_t at = range.begin;
    if (table<T>().statistics(count, sums.x + at, sums.xx + at, sums.shift + at, range.size(), mean + at,
                              var + at) ||
        pass == kPasses) {
      return count;
    }
    for (std::size_t c = at; c < range.end; ++c) {
      const double distance = mean[c] - sums.shift[c];
      if (distance * distance > 1024 * var[c]) sums.shift[c] = static_cast<double>(static_cast<T>(mean[c]));
    }
  }
}

// mean and var of channels whose squares double cannot hold, in a unit of their own; body(c, 1/√(var + eps))
// for each of them.
template <class T, class Body>
void rescale(const ChannelShape& s, const ChannelRange& range, In<T> x, In<T> weights, double eps,
             double* mean, double* var, Body&& body) {
  for (std::size_t c = range.begin; c < range.end; ++c) {
    if (!squares_suspect<T>(var[c] + eps)) continue;
    const Planes<const T> planes(s, x.data, x), w(s, weights.data, weights);
    Rescaled r;
    if (!rescaled_moments(
            s.count(), true, eps, [&](std::size_t i) { return static_cast<double>(planes.at(c, i)); },
            [&](std::size_t i) { return weights.data ? static_cast<double>(w.at(c, i)) : 1.0; }, &r)) {
      continue;
    }
    mean[c] = r.mean;
    var[c] = r.variance;
    body(c, r.invstd);
  }
}

}  // namespace
}  // namespace regkern

#endif  // REGKERN_CORE_NORM_STATISTICS_H_
