#include "regkern/norm.h"

#undef HWY_TARGET_INCLUDE
#define HWY_TARGET_INCLUDE "core/norm.cc"
#include "hwy/foreach_target.h"

#include <algorithm>
#include <memory>
#include <vector>

#include "core/channels.h"
#include "core/dispatch.h"
#include "kernels/norm-inl.h"

#ifndef REGKERN_NORM_TABLE
#define REGKERN_NORM_TABLE
namespace regkern {
template <class T>
struct NormTable {
  void (*moments)(const T* x, std::ptrdiff_t row_stride, std::size_t rows, std::size_t cols, double shift,
                  double* sum, double* sum_sq);
  void (*weighted_moments)(const T* x, const T* w, std::size_t n, double shift, double* sum_w, double* sum,
                           double* sum_sq);
  void (*gradient_sums)(const T* x, std::ptrdiff_t x_stride, const T* dy, std::ptrdiff_t dy_stride,
                        std::size_t rows, std::size_t cols, T mean, double* sum, double* sum_dev);
  void (*column_moments)(const T* x, std::ptrdiff_t row_stride, std::size_t rows, std::size_t cols,
                         const double* shift, double* sum, double* sum_sq);
  void (*column_weighted_moments)(const T* x, const T* w, std::size_t rows, std::size_t cols,
                                  const double* shift, double* sum_w, double* sum, double* sum_sq);
  void (*column_gradient_sums)(const T* x, std::ptrdiff_t x_stride, const T* dy, std::ptrdiff_t dy_stride,
                               std::size_t rows, std::size_t cols, const T* mean, double* sum,
                               double* sum_dev);
  void (*leave_out)(const T* from, const T* w, std::size_t n, T* a);
  void (*choose_shifts)(const T* const* samples, std::size_t n, double* shift);
  bool (*statistics)(double count, const double* x, const double* xx, const double* shift, std::size_t n,
                     double* mean, double* var);
  void (*update)(const double* batch, double momentum, double factor, std::size_t n, T* running);
  void (*scales)(const double* var, const T* gamma, const T* beta, double eps, std::size_t n, double* invstd,
                 double* scale, double* shift);
  void (*affine_arrays)(const double* mean, const double* scale, const double* shift, std::size_t n, T* means,
                        T* scales, T* shifts);
  void (*centre_sums)(const double* mean, const double* sum_dy, std::size_t n, double* sum_dev);
  void (*multiply)(const double* factor, std::size_t n, double* a);
  void (*gradient_arrays)(double count, const double* mean, const double* invstd, const T* gamma,
                          const double* sum_dy, const double* sum_dev, std::size_t n, T* means, T* scales,
                          T* as, T* bs);
  void (*apply)(const T* x, T* y, std::size_t rows, std::size_t cols, const AffineArrays<T>& coefficients,
                std::size_t first, bool stream);
  void (*apply_gradient)(const T* x, const T* dy, const T* w, T* dx, std::size_t rows, std::size_t cols,
                         const GradientArrays<T>& coefficients, std::size_t first, bool stream);
  void (*apply_cyclic)(const T* x, T* y, std::size_t n, std::size_t phase, std::size_t period,
                       const AffineArrays<T>& coefficients, bool stream);
  void (*apply_gradient_cyclic)(const T* x, const T* dy, const T* w, T* dx, std::size_t n, std::size_t phase,
                                std::size_t period, const GradientArrays<T>& coefficients, bool stream);
  void (*activate)(T* v, const T* residual, T* y, std::size_t n, bool linear, T slope, std::uint8_t* positive,
                   bool stream);
  void (*gate)(const T* dy, const std::uint8_t* positive, std::size_t first, T* g, std::size_t n, T slope);
  void (*finish_stream)(bool stream);
};
}  // namespace regkern
#endif

HWY_BEFORE_NAMESPACE();
namespace regkern {
namespace HWY_NAMESPACE {

template <class T>
constexpr NormTable<T> kNormTable = {&moments<T>,
                                     &weighted_moments<T>,
                                     &gradient_sums<T>,
                                     &column_moments<T>,
                                     &column_weighted_moments<T>,
                                     &column_gradient_sums<T>,
                                     &leave_out<T>,
                                     &choose_shifts<T>,
                                     &statistics,
                                     &update<T>,
                                     &scales<T>,
                                     &affine_arrays<T>,
                                     &centre_sums<T>,
                                     &multiply,
                                     &gradient_arrays<T>,
                                     &apply<T>,
                                     &apply_gradient<T>,
                                     &apply_cyclic<T>,
                                     &apply_gradient_cyclic<T>,
                                     &activate<T>,
                                     &gate<T>,
                                     &finish_stream};

const NormTable<float>& norm_table_f32() { return kNormTable<float>; }
const NormTable<double>& norm_table_f64() { return kNormTable<double>; }

}  // namespace HWY_NAMESPACE
}  // namespace regkern
HWY_AFTER_NAMESPACE();

#if HWY_ONCE
namespace regkern {

REGKERN_EXPORT_TABLES(NormTable, norm_table);

ChannelShape::ChannelShape(const Extents& extents, int channel_axis) : shape(extents), axis(channel_axis) {
  for (int i = 0; i < shape.ndim; ++i) {
    std::size_t& part = i < axis ? outer : i == axis ? channels : inner;
    part *= static_cast<std::size_t>(shape.dims[i]);
  }
}

namespace {

template <class T>
std::size_t bytes_of(const ChannelShape& s, std::size_t operands) {
  return s.shape.size * sizeof(T) * operands;
}

// --- statistics ---

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
  double count = 0;  // elements a channel, or the sum of their weights
};

// Shifts are taken from this many elements of a channel. A pass over the data is repeated if one of them was
// far off: in practice once; the third pass could gain nothing.
constexpr std::size_t kSamples = 5;
constexpr int kPasses = 3;

template <class T>
void planar_sums(const ChannelRange& range, const Planes<const T>& x, const Planes<const T>* weights,
                 const PlanarGrid& grid, threading::Team team, Sums& sums) {
  const NormTable<T>& k = table<T>();
  const std::size_t channels = range.size();
  struct Part {
    double w, x, xx;
  };
  const std::size_t units = channels * grid.leaves;
  const auto partial = std::make_unique_for_overwrite<Part[]>(units);
  threading::for_ranges(team, units, 1, [&](std::size_t begin, std::size_t end) {
    alignas(64) T x_buffer[kLeaf], w_buffer[kLeaf];
    for (std::size_t u = begin; u < end; ++u) {
      const auto [channel, leaf_index] = grid.unit(u, channels);
      const std::size_t c = range.begin + channel;
      const PlanarGrid::Leaf leaf = grid[leaf_index];
      Part& part = partial[channel * grid.leaves + leaf_index];
      if (weights == nullptr) {
        const T* p = x.load(c, leaf.row, leaf.col, leaf.size(), x_buffer);
        k.moments(p, x.row_stride(leaf.cols), leaf.rows, leaf.cols, sums.shift[c], &part.x, &part.xx);
        part.w = static_cast<double>(leaf.size());
        continue;
      }
      part = {};
      for (std::size_t r = 0; r < leaf.rows; ++r) {  // row by row, as dense rows are not one run
        const T* p = x.load(c, leaf.row + r, leaf.col, leaf.cols, x_buffer);
        const T* q = weights->load(c, leaf.row + r, leaf.col, leaf.cols, w_buffer);
        Part row;
        k.weighted_moments(p, q, leaf.cols, sums.shift[c], &row.w, &row.x, &row.xx);
        part = {part.w + row.w, part.x + row.x, part.xx + row.xx};
      }
    }
  });
  for (std::size_t c = 0; c < channels; ++c) {
    Part all{};
    for (std::size_t i = 0; i < grid.leaves; ++i) {
      const Part& part = partial[c * grid.leaves + i];
      all = {all.w + part.w, all.x + part.x, all.xx + part.xx};
    }
    sums.count = all.w;  // the same for every channel
    sums.x[range.begin + c] = all.x;
    sums.xx[range.begin + c] = all.xx;
  }
}

// Calls body(rows, pointers, row stride), a pointer an operand, for pieces of the rows [row, row + rows),
// columns [col, col + cols): all at once where every operand is dense and `whole`, else kRowGroup rows at a
// time through buffers.
template <class T, std::size_t K, class Body>
void for_row_groups(const ColumnShape& s, std::size_t row, std::size_t rows, std::size_t col,
                    std::size_t cols, const std::array<const Columns<const T>*, K>& operands, bool whole,
                    Body&& body) {
  std::array<const T*, K> pointers;
  if (whole &&
      std::all_of(operands.begin(), operands.end(), [](const auto* operand) { return operand->dense(); })) {
    for (std::size_t k = 0; k < K; ++k) pointers[k] = operands[k]->data() + row * s.cols + col;
    body(row, rows, pointers, static_cast<std::ptrdiff_t>(s.cols));
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
void column_sums(const ChannelShape& shape, const Columns<const T>& x, const Columns<const T>* weights,
                 threading::Team team, Sums& sums) {
  const NormTable<T>& k = table<T>();
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
  for_panels(
      s, team, [&](std::size_t leaf, std::size_t row, std::size_t rows, std::size_t col, std::size_t cols) {
        double *first = &partial[leaf * stride + col], *second = first + s.cols, *w = second + s.cols;
        for (std::size_t i = 0; i < kinds; ++i) std::fill_n(first + i * s.cols, cols, 0.0);
        const double* about = &shift[col];
        if (weights == nullptr) {
          for_row_groups<T, 1>(s, row, rows, col, cols, {&x}, true,
                               [&](std::size_t, std::size_t n, const auto& p, std::ptrdiff_t step) {
                                 k.column_moments(p[0], step, n, cols, about, first, second);
                               });
        } else {
          for_row_groups<T, 2>(s, row, rows, col, cols, {&x, weights}, false,
                               [&](std::size_t, std::size_t n, const auto& p, std::ptrdiff_t) {
                                 k.column_weighted_moments(p[0], p[1], n, cols, about, w, first, second);
                               });
        }
      });
  add_leaves(s, partial.get(), stride, sums.x);
  add_leaves(s, partial.get() + s.cols, stride, sums.xx);
  if (weights == nullptr) {
    sums.count = static_cast<double>(shape.count());
  } else {
    std::vector<double> w(s.channels);
    add_leaves(s, partial.get() + 2 * s.cols, stride, w.data());
    sums.count = w[0];  // the same for every channel
  }
}

// Positions of a channel that shifts are taken from: spread from the first to the last that has a weight.
template <class T>
std::array<std::size_t, kSamples> sample_positions(const ChannelShape& s, In<T> weights) {
  std::size_t first = 0, last = s.count() - 1;
  const Planes<const T> w(s, weights.data, weights.strides);
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
  std::vector<T> gathered;
  if (s.inner == 1 && x.strides == nullptr) {
    for (std::size_t k = 0; k < kSamples; ++k) samples[k] = x.data + at[k] * s.channels + range.begin;
  } else {
    const Planes<const T> planes(s, x.data, x.strides);
    gathered.resize(kSamples * range.size());
    for (std::size_t k = 0; k < kSamples; ++k) {
      T* row = &gathered[k * range.size()];
      for (std::size_t c = 0; c < range.size(); ++c) row[c] = planes.at(range.begin + c, at[k]);
      samples[k] = row;
    }
  }
  table<T>().choose_shifts(samples.data(), range.size(), shift + range.begin);
}

// Statistics of one range of channels, all of them where channels are columns.
template <class T>
void range_stats(const ChannelShape& s, const ChannelRange& range, In<T> x, In<T> weights,
                 threading::Team team, Sums& sums, double* mean, double* var) {
  sample_shifts(s, range, x, weights, sums.shift);
  for (int pass = 1;; ++pass) {
    if (s.planar()) {
      const Planes<const T> planes(s, x.data, x.strides), w(s, weights.data, weights.strides);
      planar_sums<T>(range, planes, weights.data ? &w : nullptr, PlanarGrid(s), team, sums);
    } else {
      const Columns<const T> columns(s, x.data, x.strides), w(s, weights.data, weights.strides);
      column_sums<T>(s, columns, weights.data ? &w : nullptr, team, sums);
    }
    const std::size_t at = range.begin;
    if (table<T>().statistics(sums.count, sums.x + at, sums.xx + at, sums.shift + at, range.size(), mean + at,
                              var + at) ||
        pass == kPasses) {
      return;
    }
    for (std::size_t c = at; c < range.end; ++c) {
      const double distance = mean[c] - sums.shift[c];
      if (distance * distance > 1024 * var[c]) sums.shift[c] = static_cast<double>(static_cast<T>(mean[c]));
    }
  }
}

// --- elementwise passes ---

// Streaming pays for itself where a row has many whole vectors.
bool stream_rows(std::size_t bytes, std::size_t cols) { return cols >= 256 && worth_streaming(bytes); }

template <class T>
void range_apply(const ChannelShape& s, const ChannelRange& range, In<T> x, Out<T> y, const double* mean,
                 const double* scale, const double* shift, const Epilogue<T>& epilogue,
                 threading::Team team) {
  const NormTable<T>& k = table<T>();
  const bool has_residual = epilogue.residual.data != nullptr, plain = !has_residual && !epilogue.activate;
  const T slope = static_cast<T>(epilogue.negative_slope);
  const std::size_t bytes = bytes_of<T>(s, has_residual ? 3 : 2);
  const bool in_place = x.data == y.data || epilogue.residual.data == y.data;
  Cyclic<T, 3> c(range.size(), s.planar() ? 1 : s.inner);
  const AffineArrays<T> arrays{c[0], c[1], c[2]};
  k.affine_arrays(mean + range.begin, scale + range.begin, shift + range.begin, range.size(), c[0], c[1],
                  c[2]);
  if (s.planar()) {
    const Planes<const T> from(s, x.data, x.strides);
    const Planes<const T> beside(s, epilogue.residual.data, epilogue.residual.strides);
    const Planes<T> to(s, y.data, y.strides);
    const PlanarGrid grid(s);
    const bool dense = from.dense() && to.dense();
    const bool stream = dense && !in_place && stream_rows(bytes, grid.cols);
    for_lines(
        s, range, grid, dense && plain, team,
        [&](std::size_t channel, std::size_t row, std::size_t col, std::size_t rows, std::size_t cols) {
          alignas(64) T x_buffer[kPiece + kMaxLanes], residual_buffer[kPiece], y_buffer[kPiece];
          const T* p = from.load(channel, row, col, cols, x_buffer);
          const std::size_t at = channel - range.begin;
          T* target = to.target(channel, row, col, y_buffer);
          if (plain) {
            k.apply(p, target, rows, cols, arrays, at, stream);
          } else {
            k.apply(p, x_buffer, 1, cols, arrays, at, false);
            std::uint8_t* bits = epilogue.positive;
            if (bits != nullptr) bits += (row * s.channels + channel) * s.bit_row_bytes() + col / 8;
            k.activate(x_buffer,
                       has_residual ? beside.load(channel, row, col, cols, residual_buffer) : nullptr, target,
                       cols, !epilogue.activate, slope, bits, stream);
          }
          to.store(channel, row, col, cols, y_buffer);
        },
        [&] { k.finish_stream(stream); });
    return;
  }
  const Columns<const T> from(s, x.data, x.strides);
  const Columns<const T> beside(s, epilogue.residual.data, epilogue.residual.strides);
  const Columns<T> to(s, y.data, y.strides);
  c.spread();
  const bool dense = from.dense() && to.dense();
  const bool stream = dense && !in_place && worth_streaming(bytes);
  for_flat(
      s.shape.size, dense && plain, c.period, team,
      [&](std::size_t first, std::size_t n, std::size_t phase) {
        alignas(64) T x_buffer[kPiece + kMaxLanes], residual_buffer[kPiece], y_buffer[kPiece];
        const T* p = from.load(first, n, x_buffer);
        T* target = to.target(first, y_buffer);
        if (plain) {
          k.apply_cyclic(p, target, n, phase, c.period, arrays, stream);
        } else {
          k.apply_cyclic(p, x_buffer, n, phase, c.period, arrays, false);
          k.activate(x_buffer, has_residual ? beside.load(first, n, residual_buffer) : nullptr, target, n,
                     !epilogue.activate, slope,
                     epilogue.positive == nullptr ? nullptr : epilogue.positive + first / 8, stream);
        }
        to.store(first, n, y_buffer);
      },
      [&] { k.finish_stream(stream); });
}

// --- the gradient before the activation, as an operand ---

// Loads g of Incoming: dy where it lies where there was no activation, else gated, through the buffer.
template <class T>
const T* load_gated(const ChannelShape& s, const Planes<const T>& dy, const Incoming<T>& incoming,
                    std::size_t c, std::size_t row, std::size_t col, std::size_t rows, std::size_t cols,
                    T* buffer) {
  if (incoming.positive == nullptr) return dy.load(c, row, col, rows * cols, buffer);
  for (std::size_t r = row; r < row + rows; ++r, buffer += cols) {
    const std::uint8_t* bits = incoming.positive + (r * s.channels + c) * s.bit_row_bytes();
    table<T>().gate(dy.load(c, r, col, cols, buffer), bits, col, buffer, cols,
                    static_cast<T>(incoming.negative_slope));
  }
  return buffer - rows * cols;
}

template <class T>
const T* load_gated(const Columns<const T>& dy, const Incoming<T>& incoming, std::size_t first, std::size_t n,
                    T* buffer) {
  const T* from = dy.load(first, n, buffer);
  if (incoming.positive == nullptr) return from;
  table<T>().gate(from, incoming.positive, first, buffer, n, static_cast<T>(incoming.negative_slope));
  return buffer;
}

// Whether one of n positions has weight 0. All channels have the same weights.
template <class T>
bool any_left_out(const Planes<const T>& weights, std::size_t inner, std::size_t first, std::size_t n) {
  T buffer[kPiece];
  for (const std::size_t end = first + n; first < end;) {
    const std::size_t some = std::min(kPiece, end - first);
    const T* w = weights.load(0, first / inner, first % inner, some, buffer);
    if (std::find(w, w + some, T(0)) != w + some) return true;
    first += some;
  }
  return false;
}

// Σg and Σg·(x − mean) of a range of channels, over the positions whose weight is not 0. Pieces where some
// are go through buffers.
template <class T>
void range_reduce(const ChannelShape& s, const ChannelRange& range, In<T> x, const Incoming<T>& incoming,
                  In<T> weights, const double* mean, threading::Team team, double* sum_dy, double* sum_dev) {
  const NormTable<T>& k = table<T>();
  const bool weighted = weights.data != nullptr;
  const Planes<const T> weight_planes(s, weights.data, weights.strides);
  if (s.planar()) {
    const Planes<const T> x_planes(s, x.data, x.strides), dy_planes(s, incoming.dy.data, incoming.dy.strides);
    const PlanarGrid grid(s);
    struct Part {
      double sum, sum_dev;
    };
    const std::size_t channels = range.size();
    std::vector<Part> partial(channels * grid.leaves);
    std::vector<char> gaps(grid.leaves);
    for (std::size_t i = 0; weighted && i < grid.leaves; ++i) {
      const PlanarGrid::Leaf leaf = grid[i];
      gaps[i] = any_left_out(weight_planes, s.inner, leaf.row * s.inner + leaf.col, leaf.size());
    }
    threading::for_ranges(team, partial.size(), 1, [&](std::size_t begin, std::size_t end) {
      alignas(64) T x_buffer[kLeaf], dy_buffer[kLeaf], w_buffer[kLeaf];
      for (std::size_t u = begin; u < end; ++u) {
        const auto [channel, leaf_index] = grid.unit(u, channels);
        const std::size_t c = range.begin + channel;
        const PlanarGrid::Leaf leaf = grid[leaf_index];
        Part& part = partial[channel * grid.leaves + leaf_index];
        const T* p = x_planes.load(c, leaf.row, leaf.col, leaf.size(), x_buffer);
        const T* q =
            load_gated(s, dy_planes, incoming, c, leaf.row, leaf.col, leaf.rows, leaf.cols, dy_buffer);
        std::ptrdiff_t x_step = x_planes.row_stride(leaf.cols), step = static_cast<std::ptrdiff_t>(leaf.cols);
        const std::ptrdiff_t dy_step = q == dy_buffer ? step : dy_planes.row_stride(leaf.cols);
        if (gaps[leaf_index]) {
          for (std::size_t r = 0; r < leaf.rows; ++r) {
            const T* w = weight_planes.load(c, leaf.row + r, leaf.col, leaf.cols, w_buffer);
            const auto row = static_cast<std::ptrdiff_t>(r), to = row * step;
            k.leave_out(p + row * x_step, w, leaf.cols, x_buffer + to);
            k.leave_out(q + row * dy_step, w, leaf.cols, dy_buffer + to);
          }
          k.gradient_sums(x_buffer, step, dy_buffer, step, leaf.rows, leaf.cols, static_cast<T>(mean[c]),
                          &part.sum, &part.sum_dev);
          continue;
        }
        k.gradient_sums(p, x_step, q, dy_step, leaf.rows, leaf.cols, static_cast<T>(mean[c]), &part.sum,
                        &part.sum_dev);
      }
    });
    const Part* part = partial.data();
    for (std::size_t c = range.begin; c < range.end; ++c) {
      Part all{};
      for (std::size_t i = 0; i < grid.leaves; ++i, ++part) {
        all = {all.sum + part->sum, all.sum_dev + part->sum_dev};
      }
      sum_dy[c] = all.sum;
      sum_dev[c] = all.sum_dev;
    }
  } else {
    const Columns<const T> x_columns(s, x.data, x.strides),
        dy_columns(s, incoming.dy.data, incoming.dy.strides), w_columns(s, weights.data, weights.strides);
    const ColumnShape grid(s);
    const std::size_t stride = 2 * grid.cols;
    std::vector<double> partial(stride * grid.all_leaves(), 0.0);
    std::vector<T> means(grid.cols);
    grid.spread(mean, means.data());
    const bool gated = incoming.positive != nullptr;
    const auto gate_rows = [&](T* g, std::size_t row, std::size_t rows, std::size_t col, std::size_t cols) {
      for (std::size_t i = 0; i < rows; ++i, g += cols) {
        k.gate(g, incoming.positive, (row + i) * grid.cols + col, g, cols,
               static_cast<T>(incoming.negative_slope));
      }
    };
    for_panels(grid, team,
               [&](std::size_t leaf, std::size_t row, std::size_t rows, std::size_t col, std::size_t cols) {
                 double *sum = &partial[leaf * stride + col], *dev = sum + grid.cols;
                 const std::size_t first = row * grid.fold * s.inner;
                 const std::size_t positions = (leaf < grid.leaves ? rows * grid.fold : grid.rest) * s.inner;
                 if (weighted && any_left_out(weight_planes, s.inner, first, positions)) {
                   for_row_groups<T, 3>(grid, row, rows, col, cols, {&x_columns, &dy_columns, &w_columns},
                                        false, [&](std::size_t at, std::size_t n, const auto& p, auto step) {
                                          // p points to buffers
                                          T *v = const_cast<T*>(p[0]), *g = const_cast<T*>(p[1]);
                                          if (gated) gate_rows(g, at, n, col, cols);
                                          k.leave_out(v, p[2], n * cols, v);
                                          k.leave_out(g, p[2], n * cols, g);
                                          k.column_gradient_sums(v, step, g, step, n, cols, &means[col], sum,
                                                                 dev);
                                        });
                   return;
                 }
                 for_row_groups<T, 2>(grid, row, rows, col, cols, {&x_columns, &dy_columns}, !gated,
                                      [&](std::size_t at, std::size_t n, const auto& p, auto step) {
                                        if (gated) gate_rows(const_cast<T*>(p[1]), at, n, col, cols);
                                        k.column_gradient_sums(p[0], step, p[1], step, n, cols, &means[col],
                                                               sum, dev);
                                      });
               });
    add_leaves(grid, partial.data(), stride, sum_dy);
    add_leaves(grid, partial.data() + grid.cols, stride, sum_dev);
  }
  k.centre_sums(mean + range.begin, sum_dy + range.begin, range.size(), sum_dev + range.begin);
}

// dx and g of a range of channels; either may be missing. `frozen`: the statistics do not depend on x, and dx
// = g·gamma·invstd.
template <class T>
void range_gradient(const ChannelShape& s, const ChannelRange& range, In<T> x, const Incoming<T>& incoming,
                    In<T> weights, Out<T> dx, Out<T> residual, bool frozen, double n, const double* mean,
                    const double* invstd, const T* gamma, const double* sum_dy, const double* sum_dev,
                    threading::Team team) {
  const NormTable<T>& k = table<T>();
  const std::size_t bytes = bytes_of<T>(s, 3);
  const bool weighted = weights.data != nullptr && !frozen, wants_g = residual.data != nullptr;
  const bool in_place = incoming.dy.data == dx.data;
  Cyclic<T, 4> c(range.size(), s.planar() ? 1 : s.inner);
  const GradientArrays<T> arrays{c[0], c[1], c[2], c[3]};
  const AffineArrays<T> scales{c[0], c[1], c[2]};
  const std::size_t at = range.begin;
  const T* gammas = gamma ? gamma + at : nullptr;
  if (frozen) {
    for (const std::size_t none : {0, 2}) std::fill_n(c[none], range.size(), T(0));
    for (std::size_t i = 0; i < range.size(); ++i) {
      c[1][i] = static_cast<T>(gammas ? static_cast<double>(gammas[i]) * invstd[at + i] : invstd[at + i]);
    }
  } else {
    k.gradient_arrays(n, mean + at, invstd + at, gammas, sum_dy + at, sum_dev + at, range.size(), c[0], c[1],
                      c[2], c[3]);
  }
  if (s.planar()) {
    const Planes<const T> x_planes(s, x.data, x.strides), dy_planes(s, incoming.dy.data, incoming.dy.strides),
        w_planes(s, weights.data, weights.strides);
    const Planes<T> dx_planes(s, dx.data, dx.strides), g_planes(s, residual.data, residual.strides);
    const PlanarGrid grid(s);
    const bool dense = x_planes.dense() && dy_planes.dense() && dx_planes.dense();
    const bool plain = incoming.positive == nullptr && !weighted && !wants_g;
    const bool stream = dense && !in_place && stream_rows(bytes, grid.cols);
    for_lines(
        s, range, grid, dense && plain, team,
        [&](std::size_t channel, std::size_t row, std::size_t col, std::size_t rows, std::size_t cols) {
          alignas(64) T x_buffer[kPiece], dy_buffer[kPiece], dx_buffer[kPiece], w_buffer[kPiece];
          const T* g = load_gated(s, dy_planes, incoming, channel, row, col, 1, cols, dy_buffer);
          if (wants_g) {  // before dx, which may lie where dy does
            T* target = g_planes.target(channel, row, col, dx_buffer);
            std::copy_n(g, cols, target);
            g_planes.store(channel, row, col, cols, target);
          }
          if (dx.data != nullptr) {
            T* to = dx_planes.target(channel, row, col, dx_buffer);
            if (frozen) {
              k.apply(g, to, rows, cols, scales, channel - range.begin, stream);
            } else {
              const T* w = weighted ? w_planes.load(channel, row, col, cols, w_buffer) : nullptr;
              k.apply_gradient(x_planes.load(channel, row, col, cols, x_buffer), g, w, to, rows, cols, arrays,
                               channel - range.begin, stream);
            }
            dx_planes.store(channel, row, col, cols, dx_buffer);
          }
        },
        [&] { k.finish_stream(stream); });
    return;
  }
  const Columns<const T> x_columns(s, x.data, x.strides),
      dy_columns(s, incoming.dy.data, incoming.dy.strides), w_columns(s, weights.data, weights.strides);
  const Columns<T> dx_columns(s, dx.data, dx.strides), g_columns(s, residual.data, residual.strides);
  c.spread();
  const bool dense = x_columns.dense() && dy_columns.dense() && dx_columns.dense();
  const bool plain = incoming.positive == nullptr && !weighted && !wants_g;
  const bool stream = dense && !in_place && worth_streaming(bytes);
  for_flat(
      s.shape.size, dense && plain, c.period, team,
      [&](std::size_t first, std::size_t m, std::size_t phase) {
        alignas(64) T x_buffer[kPiece], dy_buffer[kPiece], dx_buffer[kPiece], w_buffer[kPiece];
        const T* g = load_gated(dy_columns, incoming, first, m, dy_buffer);
        if (wants_g) {
          T* target = g_columns.target(first, dx_buffer);
          std::copy_n(g, m, target);
          g_columns.store(first, m, target);
        }
        if (dx.data != nullptr) {
          T* to = dx_columns.target(first, dx_buffer);
          if (frozen) {
            k.apply_cyclic(g, to, m, phase, c.period, scales, stream);
          } else {
            const T* w = weighted ? w_columns.load(first, m, w_buffer) : nullptr;
            k.apply_gradient_cyclic(x_columns.load(first, m, x_buffer), g, w, to, m, phase, c.period, arrays,
                                    stream);
          }
          dx_columns.store(first, m, dx_buffer);
        }
      },
      [&] { k.finish_stream(stream); });
}

// Calls body(range, team) for ranges of channels that stay in the cache between two passes over `operands`
// arrays; columns are one range.
template <class T, class Body>
void for_ranges_of(const ChannelShape& s, std::size_t operands, std::size_t moved, Body&& body) {
  const threading::Team team = threading::team_for(bytes_of<T>(s, moved));
  if (s.planar()) {
    for_channel_ranges(s, s.count() * sizeof(T) * operands, sizeof(T), team,
                       [&](const ChannelRange& range) { body(range, team); });
  } else {
    body(ChannelRange{0, s.channels}, team);
  }
}

}  // namespace

template <class T>
double batch_norm_stats(const ChannelShape& s, In<T> x, In<T> weights, double* mean, double* var) {
  std::fill_n(mean, s.channels, 0.0);
  std::fill_n(var, s.channels, 0.0);
  if (s.shape.size == 0) return 0;
  Sums sums(s.channels);
  range_stats(s, {0, s.channels}, x, weights, threading::team_for(bytes_of<T>(s, 2)), sums, mean, var);
  return sums.count;
}

template <class T>
void batch_norm_apply(const ChannelShape& s, In<T> x, Out<T> y, const double* mean, const double* scale,
                      const double* shift, const Epilogue<T>& epilogue) {
  if (s.shape.size == 0) return;
  range_apply(s, {0, s.channels}, x, y, mean, scale, shift, epilogue, threading::team_for(bytes_of<T>(s, 2)));
}

template <class T>
void batch_norm_update(const double* batch, double momentum, double factor, std::size_t n, T* running) {
  table<T>().update(batch, momentum, factor, n, running);
}

template <class T>
double batch_norm_train(const ChannelShape& s, In<T> x, In<T> weights, Out<T> y, const T* gamma,
                        const T* beta, double eps, double* mean, double* var, double* invstd,
                        const Epilogue<T>& epilogue) {
  std::fill_n(mean, s.channels, 0.0);
  std::fill_n(var, s.channels, 0.0);
  Sums sums(s.channels);
  const auto room = std::make_unique_for_overwrite<double[]>(2 * s.channels);
  double *scales = room.get(), *shifts = scales + s.channels;
  const auto coefficients = [&](const ChannelRange& range) {
    const std::size_t at = range.begin;
    table<T>().scales(var + at, gamma ? gamma + at : nullptr, beta ? beta + at : nullptr, eps, range.size(),
                      invstd + at, scales + at, shifts + at);
  };
  if (s.shape.size == 0) {
    coefficients({0, s.channels});
    return 0;
  }
  for_ranges_of<T>(s, 1, 2, [&](const ChannelRange& range, threading::Team team) {
    range_stats(s, range, x, weights, team, sums, mean, var);
    coefficients(range);
    range_apply(s, range, x, y, mean, scales, shifts, epilogue, team);
  });
  return sums.count;
}

template <class T>
void batch_norm_backward_reduce(const ChannelShape& s, In<T> x, const Incoming<T>& dy, In<T> weights,
                                const double* mean, double* sum_dy, double* sum_dev) {
  std::fill_n(sum_dy, s.channels, 0.0);
  std::fill_n(sum_dev, s.channels, 0.0);
  if (s.shape.size == 0) return;
  range_reduce(s, {0, s.channels}, x, dy, weights, mean, threading::team_for(bytes_of<T>(s, 3)), sum_dy,
               sum_dev);
}

template <class T>
void batch_norm_backward_apply(const ChannelShape& s, In<T> x, const Incoming<T>& dy, In<T> weights,
                               Out<T> dx, Out<T> residual, double n, const double* mean, const double* invstd,
                               const T* gamma, const double* sum_dy, const double* sum_dev) {
  if (s.shape.size == 0) return;
  range_gradient(s, {0, s.channels}, x, dy, weights, dx, residual, false, n, mean, invstd, gamma, sum_dy,
                 sum_dev, threading::team_for(bytes_of<T>(s, 3)));
}

template <class T>
void batch_norm_backward(const ChannelShape& s, In<T> x, const Incoming<T>& dy, In<T> weights, Out<T> dx,
                         Out<T> residual, const T* gamma, double n, const double* mean, const double* invstd,
                         bool training, double* dgamma, double* dbeta) {
  std::vector<double> sums(dgamma == nullptr ? 2 * s.channels : 0);
  const bool reduces = dgamma != nullptr || (training && dx.data != nullptr);
  if (dgamma == nullptr) {
    dgamma = sums.data();
    dbeta = dgamma + s.channels;
  }
  if (s.shape.size == 0) {
    std::fill_n(dgamma, s.channels, 0.0);
    std::fill_n(dbeta, s.channels, 0.0);
    return;
  }
  for_ranges_of<T>(s, 2, 3, [&](const ChannelRange& range, threading::Team team) {
    // dgamma holds Σg·(x − mean) until the end
    if (reduces) range_reduce(s, range, x, dy, weights, mean, team, dbeta, dgamma);
    if (dx.data != nullptr || residual.data != nullptr) {
      range_gradient(s, range, x, dy, weights, dx, residual, !training, n, mean, invstd, gamma, dbeta, dgamma,
                     team);
    }
  });
  if (reduces) table<T>().multiply(invstd, s.channels, dgamma);
}

#define REGKERN_INSTANTIATE(T)                                                                             \
  template double batch_norm_stats(const ChannelShape&, In<T>, In<T>, double*, double*);                   \
  template void batch_norm_apply(const ChannelShape&, In<T>, Out<T>, const double*, const double*,         \
                                 const double*, const Epilogue<T>&);                                       \
  template void batch_norm_update(const double*, double, double, std::size_t, T*);                         \
  template double batch_norm_train(const ChannelShape&, In<T>, In<T>, Out<T>, const T*, const T*, double,  \
                                   double*, double*, double*, const Epilogue<T>&);                         \
  template void batch_norm_backward_reduce(const ChannelShape&, In<T>, const Incoming<T>&, In<T>,          \
                                           const double*, double*, double*);                               \
  template void batch_norm_backward_apply(const ChannelShape&, In<T>, const Incoming<T>&, In<T>, Out<T>,   \
                                          Out<T>, double, const double*, const double*, const T*,          \
                                          const double*, const double*);                                   \
  template void batch_norm_backward(const ChannelShape&, In<T>, const Incoming<T>&, In<T>, Out<T>, Out<T>, \
                                    const T*, double, const double*, const double*, bool, double*, double*);
REGKERN_INSTANTIATE(float)
REGKERN_INSTANTIATE(double)
#undef REGKERN_INSTANTIATE

}  // namespace regkern
#endif  // HWY_ONCE
