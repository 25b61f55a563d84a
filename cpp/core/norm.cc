#include "regkern/norm.h"

#undef HWY_TARGET_INCLUDE
#define HWY_TARGET_INCLUDE "core/norm.cc"
#include "hwy/foreach_target.h"

#include <algorithm>
#include <cmath>
#include <numeric>
#include <vector>

#include "core/dispatch.h"
#include "core/moments.h"
#include "core/streaming.h"
#include "core/strided.h"
#include "core/threading.h"
#include "kernels/norm-inl.h"

#ifndef REGKERN_NORM_TABLE
#define REGKERN_NORM_TABLE
namespace regkern {
template <class T>
struct NormTable {
  void (*moments)(const T* x, std::ptrdiff_t row_stride, std::size_t rows, std::size_t cols, double shift,
                  double* sum, double* sum_sq);
  void (*gradient_sums)(const T* x, std::ptrdiff_t x_stride, const T* dy, std::ptrdiff_t dy_stride,
                        std::size_t rows, std::size_t cols, double mean, double* sum, double* sum_dev);
  void (*column_moments)(const T* x, std::ptrdiff_t row_stride, std::size_t rows, std::size_t cols,
                         const double* shift, double* sum, double* sum_sq);
  void (*column_gradient_sums)(const T* x, std::ptrdiff_t x_stride, const T* dy, std::ptrdiff_t dy_stride,
                               std::size_t rows, std::size_t cols, const double* mean, double* sum,
                               double* sum_dev);
  void (*apply)(const T* x, T* y, std::size_t rows, std::size_t cols, const Affine<T>* coefficients,
                bool stream);
  void (*apply_gradient)(const T* x, const T* dy, T* dx, std::size_t rows, std::size_t cols,
                         const Gradient<T>* coefficients, bool stream);
  void (*apply_cyclic)(const T* x, T* y, std::size_t n, std::size_t phase, std::size_t period,
                       const AffineArrays<T>& coefficients, bool stream);
  void (*apply_gradient_cyclic)(const T* x, const T* dy, T* dx, std::size_t n, std::size_t phase,
                                std::size_t period, const GradientArrays<T>& coefficients, bool stream);
};
}  // namespace regkern
#endif

HWY_BEFORE_NAMESPACE();
namespace regkern {
namespace HWY_NAMESPACE {

template <class T>
constexpr NormTable<T> kNormTable = {
    &moments<T>, &gradient_sums<T>,  &column_moments<T>, &column_gradient_sums<T>,
    &apply<T>,   &apply_gradient<T>, &apply_cyclic<T>,   &apply_gradient_cyclic<T>};

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

// The grid of partial sums. It depends on the shape alone, never on strides, threads or vectors.
constexpr std::size_t kLeaf = 4096;      // elements of one channel, planar: 16 or 32 KiB
constexpr std::size_t kLeafRows = 128;   // rows, channels side by side
constexpr std::size_t kPanel = 512;      // columns a thread takes at once
constexpr std::size_t kFoldBelow = 256;  // columns below which rows are folded together
constexpr std::size_t kRowGroup = 8;     // rows of a panel gathered at once: the sweep of the column kernels
constexpr std::size_t kFlat = 4096;      // positions gathered at once where channels do not matter

template <class T>
Affine<T> affine_of(double mean, double scale, double shift) {
  const T high = static_cast<T>(mean);
  return {high, static_cast<T>(mean - static_cast<double>(high)), static_cast<T>(scale),
          static_cast<T>(shift)};
}

// dx = (dy − Σdy/n)·s − (x − mean)·s·invstd²·Σdy(x−mean)/n with s = gamma·invstd.
template <class T>
Gradient<T> gradient_of(double n, double mean, double invstd, double scale, double sum_dy, double sum_dev) {
  const Affine<T> c = affine_of<T>(mean, scale, 0);
  return {c.mean, c.mean_low, c.scale, static_cast<T>(sum_dy / n),
          static_cast<T>(scale * invstd * invstd * (sum_dev / n))};
}

// --- planar: the elements of a channel are rows of `inner` neighbours ---

// An operand as channels of positions: position p is element p of the channel in C order of the other axes.
template <class T>
class Planes {
 public:
  Planes(const ChannelShape& s, T* data, const std::ptrdiff_t* strides) : data_(data), inner_(s.inner) {
    channel_stride_ = static_cast<std::ptrdiff_t>(s.inner * sizeof(T));
    row_stride_ = static_cast<std::ptrdiff_t>(s.channels * s.inner);
    if (strides == nullptr) return;
    channel_stride_ = strides[s.axis];
    std::array<std::ptrdiff_t, kMaxDims> dims, steps;
    int ndim = 0;
    for (int i = 0; i < s.shape.ndim; ++i) {
      if (i == s.axis) continue;
      dims[ndim] = s.shape.dims[i];
      steps[ndim++] = strides[i];
    }
    walk_ = make_walk<1>(Extents(ndim, dims.data()), Order::kC, {steps.data()}, sizeof(T))[0];
    dense_ = false;
  }

  // Rows [r, r + rows) × columns [j, j + cols) of channel c; `buffer` holds them if the memory is not dense
  // rows.
  const T* load(std::size_t c, std::size_t r, std::size_t j, std::size_t n,
                std::remove_const_t<T>* buffer) const {
    if (dense_) return channel(c) + r * static_cast<std::size_t>(row_stride_) + j;
    walk_.gather(channel(c), r * inner_ + j, n, buffer);
    return buffer;
  }
  T* target(std::size_t c, std::size_t r, std::size_t j, T* buffer) const {
    return dense_ ? channel(c) + r * static_cast<std::size_t>(row_stride_) + j : buffer;
  }
  void store(std::size_t c, std::size_t r, std::size_t j, std::size_t n, const T* buffer) const {
    if (!dense_) walk_.scatter(buffer, channel(c), r * inner_ + j, n);
  }
  bool dense() const { return dense_; }
  std::ptrdiff_t row_stride(std::size_t cols) const {
    return dense_ ? row_stride_ : static_cast<std::ptrdiff_t>(cols);
  }

 private:
  using Byte = std::conditional_t<std::is_const_v<T>, const char, char>;
  T* channel(std::size_t c) const {
    return reinterpret_cast<T*>(reinterpret_cast<Byte*>(data_) +
                                static_cast<std::ptrdiff_t>(c) * channel_stride_);
  }
  T* data_;
  std::size_t inner_;
  std::ptrdiff_t channel_stride_, row_stride_;  // bytes; elements
  Strided walk_;
  bool dense_ = true;
};

// Pieces of a channel: whole rows while they fit kLeaf, else parts of one row.
struct PlanarGrid {
  explicit PlanarGrid(const ChannelShape& s) : outer(s.outer), inner(s.inner) {
    if (inner > kLeaf) {
      const std::size_t parts = (inner + kLeaf - 1) / kLeaf;
      cols = ((inner + parts - 1) / parts + kSumGrain - 1) / kSumGrain * kSumGrain;
      parts_per_row = (inner + cols - 1) / cols;
    } else {
      cols = inner;
      rows = std::max<std::size_t>(1, kLeaf / inner);
    }
    leaves = parts_per_row * ((outer + rows - 1) / rows);
  }
  struct Leaf {
    std::size_t row, col, rows, cols;
    std::size_t size() const { return rows * cols; }
  };
  Leaf operator[](std::size_t i) const {
    const std::size_t row = i / parts_per_row * rows, col = i % parts_per_row * cols;
    return {row, col, std::min(rows, outer - row), std::min(cols, inner - col)};
  }

  static constexpr std::size_t kSumGrain = 16;
  std::size_t outer, inner, rows = 1, cols, parts_per_row = 1, leaves;
};

// Deviations are taken from the median of three elements, so that one outlier among them does no harm.
template <class T>
Moments leaf_moments(const NormTable<T>& k, const Planes<const T>& x, std::size_t c,
                     const PlanarGrid::Leaf& leaf) {
  alignas(64) T buffer[kLeaf];
  const T* p = x.load(c, leaf.row, leaf.col, leaf.size(), buffer);
  const std::ptrdiff_t stride = x.row_stride(leaf.cols);
  const auto at = [&](std::size_t i) {
    return static_cast<double>(
        p[static_cast<std::ptrdiff_t>(i / leaf.cols) * stride + static_cast<std::ptrdiff_t>(i % leaf.cols)]);
  };
  const double first = at(0), middle = at(leaf.size() / 2), last = at(leaf.size() - 1);
  const double shift = std::max(std::min(first, middle), std::min(std::max(first, middle), last));
  double sum, sum_sq;
  k.moments(p, stride, leaf.rows, leaf.cols, shift, &sum, &sum_sq);
  return Moments::of_sums(static_cast<double>(leaf.size()), shift, sum, sum_sq);
}

// Calls body(channel, row, col, rows, cols) on pieces of memory in its own order: `rows` neighbouring
// channels of one sample where whole rows are taken, one part of a row otherwise. On two passes over all
// memory the hardware prefetcher beats two passes over one channel at a time that stays in the L2 cache: a
// channel's rows lie far apart.
template <class Body>
void for_lines(const ChannelShape& s, const PlanarGrid& grid, bool dense, int team, Body&& body) {
  const std::size_t parts = grid.parts_per_row;
  threading::for_ranges(team, s.outer * s.channels * parts, 1, [&](std::size_t begin, std::size_t end) {
    for (std::size_t u = begin; u < end;) {
      const std::size_t line = u / parts, row = line / s.channels, c = line % s.channels,
                        col = u % parts * grid.cols;
      const std::size_t rows = dense && parts == 1 ? std::min(s.channels - c, end - u) : 1;
      body(c, row, col, rows, std::min(grid.cols, s.inner - col));
      u += rows;
    }
  });
}

// Streaming pays for itself where a row has many whole vectors.
bool stream_rows(std::size_t bytes, std::size_t cols) { return cols >= 256 && worth_streaming(bytes); }

// --- columns: channels lie beside each other ---

// x as a matrix of rows × columns, positions counted along the rows. Where a channel count is small or does
// not fill vectors, `fold` rows are seen as one row of fold·channels columns; `rest` rows are left over, less
// than a fold.
struct ColumnShape {
  explicit ColumnShape(const ChannelShape& s) : channels(s.channels) {
    if (channels % 16 != 0 && channels < kFoldBelow) {
      fold = 16 / std::gcd(channels, std::size_t{16});
      fold *= std::max<std::size_t>(1, 64 / (fold * channels));
      if (s.outer < fold) fold = 1;
    }
    cols = channels * fold;
    rows = s.outer / fold;
    rest = s.outer % fold;
    leaves = (rows + kLeafRows - 1) / kLeafRows;
    panels = (cols + kPanel - 1) / kPanel;
  }
  std::size_t channels, fold = 1, cols, rows, rest, leaves, panels;
};

template <class T>
class Columns {
 public:
  Columns(const ChannelShape& s, T* data, const std::ptrdiff_t* strides) : data_(data) {
    if (strides == nullptr) return;
    walk_ = make_walk<1>(s.shape, Order::kC, {strides}, sizeof(T))[0];
    dense_ = walk_.dense(data);
  }
  bool dense() const { return dense_; }
  T* data() const { return data_; }
  template <class U>
  const T* load(std::size_t first, std::size_t n, U* buffer) const {
    if (dense_) return data_ + first;
    walk_.gather(data_, first, n, buffer);
    return buffer;
  }
  template <class U>
  void copy(std::size_t first, std::size_t n, U* buffer) const {
    const T* from = load(first, n, buffer);
    if (from != buffer) std::copy_n(from, n, buffer);
  }
  template <class U>
  U* target(std::size_t first, U* buffer) const {
    return dense_ ? data_ + first : buffer;
  }
  template <class U>
  void store(std::size_t first, std::size_t n, const U* buffer) const {
    if (!dense_) walk_.scatter(buffer, data_, first, n);
  }

 private:
  T* data_;
  Strided walk_;
  bool dense_ = true;
};

// Calls body(rows, pointers, row stride), a pointer an operand, for pieces of the rows [row, row + rows),
// columns [col, col + cols): all at once where every operand is dense, kRowGroup rows at a time through
// buffers otherwise.
template <class T, std::size_t K, class Body>
void for_row_groups(const ColumnShape& s, std::size_t row, std::size_t rows, std::size_t col,
                    std::size_t cols, const std::array<const Columns<const T>*, K>& operands, Body&& body) {
  std::array<const T*, K> pointers;
  if (std::all_of(operands.begin(), operands.end(), [](const auto* operand) { return operand->dense(); })) {
    for (std::size_t k = 0; k < K; ++k) pointers[k] = operands[k]->data() + row * s.cols + col;
    body(rows, pointers, static_cast<std::ptrdiff_t>(s.cols));
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
    body(group, pointers, static_cast<std::ptrdiff_t>(cols));
  }
}

// Runs body(leaf index, row, rows, col, cols) over the grid: kLeafRows rows × kPanel columns a unit, and the
// rest rows as one more leaf.
template <class Body>
void for_panels(const ColumnShape& s, int team, Body&& body) {
  const std::size_t units = s.leaves * s.panels;
  threading::for_ranges(team, units, 1, [&](std::size_t begin, std::size_t end) {
    for (std::size_t u = begin; u < end; ++u) {
      const std::size_t leaf = u / s.panels, col = u % s.panels * kPanel, row = leaf * kLeafRows;
      body(leaf, row, std::min(kLeafRows, s.rows - row), col, std::min(kPanel, s.cols - col));
    }
  });
  if (s.rest != 0) {
    const std::size_t cols = s.rest * s.channels;
    for (std::size_t col = 0; col < cols; col += kPanel) {
      body(s.leaves, s.rows, 1, col, std::min(kPanel, cols - col));
    }
  }
}

template <class T>
void column_stats(const ChannelShape& shape, const Columns<const T>& x, int team, double* mean, double* var) {
  const NormTable<T>& k = table<T>();
  const ColumnShape s(shape);
  const std::size_t leaves = s.leaves + (s.rest != 0);
  // shift, sum and sum of squares of each leaf and column
  std::vector<double> partial(3 * leaves * s.cols, 0.0);
  for_panels(
      s, team, [&](std::size_t leaf, std::size_t row, std::size_t rows, std::size_t col, std::size_t cols) {
        double* shift = &partial[3 * leaf * s.cols + col];
        double *sum = shift + s.cols, *sum_sq = sum + s.cols;
        bool first = true;
        for_row_groups<T, 1>(s, row, rows, col, cols, {&x},
                             [&](std::size_t n, const std::array<const T*, 1>& p, std::ptrdiff_t stride) {
                               if (first) std::copy_n(p[0], cols, shift);
                               first = false;
                               k.column_moments(p[0], stride, n, cols, shift, sum, sum_sq);
                             });
      });
  // Merge the leaves, then the folds, in order.
  std::vector<Moments> merged(s.cols);
  for (std::size_t leaf = 0; leaf < leaves; ++leaf) {
    const double* shift = &partial[3 * leaf * s.cols];
    const double *sum = shift + s.cols, *sum_sq = sum + s.cols;
    const bool is_rest = leaf == s.leaves;
    const std::size_t cols = is_rest ? s.rest * s.channels : s.cols;
    const auto n = static_cast<double>(is_rest ? 1 : std::min(kLeafRows, s.rows - leaf * kLeafRows));
    for (std::size_t j = 0; j < cols; ++j) merged[j].merge(Moments::of_sums(n, shift[j], sum[j], sum_sq[j]));
  }
  for (std::size_t c = 0; c < s.channels; ++c) {
    for (std::size_t f = 1; f < s.fold; ++f) merged[c].merge(merged[f * s.channels + c]);
    mean[c] = merged[c].mean;
    var[c] = merged[c].m2 / merged[c].n;
  }
}

// Coefficients of all channels as arrays that a vector can read at any phase: repeated until they fill a
// vector, and continued by one vector.
template <class T, std::size_t K>
struct Cyclic {
  template <class Coefficients>  // Coefficients(c) → std::array<T, K>
  Cyclic(std::size_t channels, Coefficients&& coefficients) {
    period = channels * ((kMaxLanes + channels - 1) / channels);
    const std::size_t length = period + kMaxLanes;
    values.resize(K * length);
    for (std::size_t k = 0; k < K; ++k) at[k] = &values[k * length];
    for (std::size_t c = 0; c < channels; ++c) {
      const std::array<T, K> v = coefficients(c);
      for (std::size_t k = 0; k < K; ++k) values[k * length + c] = v[k];
    }
    for (std::size_t k = 0; k < K; ++k) {
      T* a = &values[k * length];
      for (std::size_t i = channels; i < length; ++i) a[i] = a[i - channels];
    }
  }
  std::size_t period;
  std::vector<T> values;
  std::array<const T*, K> at;
};

// Elementwise pass over all positions in C order; body(first, n, phase, stream) on dense ranges or blocks.
template <class Body>
void for_flat(std::size_t n, bool dense, std::size_t period, int team, std::size_t bytes, Body&& body) {
  const bool stream = dense && worth_streaming(bytes);
  threading::for_ranges(team, n, kFlat, [&](std::size_t begin, std::size_t end) {
    const std::size_t step = dense ? end - begin : kFlat;
    for (std::size_t first = begin; first < end; first += step) {
      body(first, std::min(step, end - first), first % period, stream);
    }
  });
}

bool planar(const ChannelShape& s) { return s.inner > 1; }

template <class T>
std::size_t bytes_of(const ChannelShape& s, std::size_t operands) {
  return s.shape.size * sizeof(T) * operands;
}

// Leaves of all channels in parallel, merged per channel in order.
template <class T>
void planar_stats(const ChannelShape& s, const Planes<const T>& x, const PlanarGrid& grid, int team,
                  double* mean, double* var) {
  const NormTable<T>& k = table<T>();
  std::vector<Moments> partial(s.channels * grid.leaves);
  threading::for_ranges(team, partial.size(), 1, [&](std::size_t begin, std::size_t end) {
    for (std::size_t u = begin; u < end; ++u)
      partial[u] = leaf_moments<T>(k, x, u % s.channels, grid[u / s.channels]);
  });
  for (std::size_t c = 0; c < s.channels; ++c) {
    Moments m;
    for (std::size_t i = 0; i < grid.leaves; ++i) m.merge(partial[i * s.channels + c]);
    mean[c] = m.mean;
    var[c] = m.m2 / m.n;
  }
}

}  // namespace

template <class T>
void batch_norm_stats(const ChannelShape& s, In<T> x, double* mean, double* var) {
  if (s.count() == 0) {
    std::fill_n(mean, s.channels, 0.0);
    std::fill_n(var, s.channels, 0.0);
    return;
  }
  const int team = threading::team_for(bytes_of<T>(s, 2));
  if (planar(s)) {
    planar_stats<T>(s, Planes<const T>(s, x.data, x.strides), PlanarGrid(s), team, mean, var);
  } else {
    column_stats<T>(s, Columns<const T>(s, x.data, x.strides), team, mean, var);
  }
}

template <class T>
void batch_norm_apply(const ChannelShape& s, In<T> x, Out<T> y, const double* mean, const double* scale,
                      const double* shift) {
  if (s.shape.size == 0) return;
  const NormTable<T>& k = table<T>();
  const std::size_t bytes = bytes_of<T>(s, 2);
  const int team = threading::team_for(bytes);
  if (planar(s)) {
    const Planes<const T> from(s, x.data, x.strides);
    const Planes<T> to(s, y.data, y.strides);
    const PlanarGrid grid(s);
    std::vector<Affine<T>> coefficients(s.channels);
    for (std::size_t c = 0; c < s.channels; ++c) coefficients[c] = affine_of<T>(mean[c], scale[c], shift[c]);
    const bool dense = from.dense() && to.dense(), stream = dense && stream_rows(bytes, grid.cols);
    for_lines(s, grid, dense, team,
              [&](std::size_t c, std::size_t row, std::size_t col, std::size_t rows, std::size_t cols) {
                alignas(64) T x_buffer[kLeaf], y_buffer[kLeaf];
                const T* p = from.load(c, row, col, cols, x_buffer);
                k.apply(p, to.target(c, row, col, y_buffer), rows, cols, &coefficients[c], stream);
                to.store(c, row, col, cols, y_buffer);
              });
    return;
  }
  const Columns<const T> from(s, x.data, x.strides);
  const Columns<T> to(s, y.data, y.strides);
  const Cyclic<T, 4> c(s.channels, [&](std::size_t i) {
    const Affine<T> a = affine_of<T>(mean[i], scale[i], shift[i]);
    return std::array<T, 4>{a.mean, a.mean_low, a.scale, a.shift};
  });
  const AffineArrays<T> arrays{c.at[0], c.at[1], c.at[2], c.at[3]};
  const bool in_place = x.data == y.data;
  for_flat(s.shape.size, from.dense() && to.dense(), c.period, team, bytes,
           [&](std::size_t first, std::size_t n, std::size_t phase, bool stream) {
             alignas(64) T x_buffer[kFlat], y_buffer[kFlat];
             const T* p = from.load(first, n, x_buffer);
             k.apply_cyclic(p, to.target(first, y_buffer), n, phase, c.period, arrays, stream && !in_place);
             to.store(first, n, y_buffer);
           });
}

template <class T>
void batch_norm_train(const ChannelShape& s, In<T> x, Out<T> y, const T* gamma, const T* beta, double eps,
                      double* mean, double* var, double* invstd) {
  batch_norm_stats(s, x, mean, var);
  std::vector<double> scales(s.channels), shifts(s.channels);
  for (std::size_t c = 0; c < s.channels; ++c) {
    invstd[c] = 1 / std::sqrt(var[c] + eps);
    scales[c] = gamma ? static_cast<double>(gamma[c]) * invstd[c] : invstd[c];
    shifts[c] = beta ? static_cast<double>(beta[c]) : 0.0;
  }
  batch_norm_apply(s, x, y, mean, scales.data(), shifts.data());
}

template <class T>
void batch_norm_backward_reduce(const ChannelShape& s, In<T> x, In<T> dy, const double* mean, double* sum_dy,
                                double* sum_dev) {
  std::fill_n(sum_dy, s.channels, 0.0);
  std::fill_n(sum_dev, s.channels, 0.0);
  if (s.shape.size == 0) return;
  const NormTable<T>& k = table<T>();
  const int team = threading::team_for(bytes_of<T>(s, 3));
  if (planar(s)) {
    const Planes<const T> x_planes(s, x.data, x.strides), dy_planes(s, dy.data, dy.strides);
    const PlanarGrid grid(s);
    struct Pair {
      double sum = 0, sum_dev = 0;
    };
    std::vector<Pair> partial(s.channels * grid.leaves);
    threading::for_ranges(team, partial.size(), 1, [&](std::size_t begin, std::size_t end) {
      alignas(64) T x_buffer[kLeaf], dy_buffer[kLeaf];
      for (std::size_t u = begin; u < end; ++u) {
        const std::size_t c = u % s.channels;
        const PlanarGrid::Leaf leaf = grid[u / s.channels];
        const T* p = x_planes.load(c, leaf.row, leaf.col, leaf.size(), x_buffer);
        const T* q = dy_planes.load(c, leaf.row, leaf.col, leaf.size(), dy_buffer);
        k.gradient_sums(p, x_planes.row_stride(leaf.cols), q, dy_planes.row_stride(leaf.cols), leaf.rows,
                        leaf.cols, mean[c], &partial[u].sum, &partial[u].sum_dev);
      }
    });
    for (std::size_t u = 0; u < partial.size(); ++u) {
      sum_dy[u % s.channels] += partial[u].sum;
      sum_dev[u % s.channels] += partial[u].sum_dev;
    }
    return;
  }
  const Columns<const T> x_columns(s, x.data, x.strides), dy_columns(s, dy.data, dy.strides);
  const ColumnShape grid(s);
  const std::size_t leaves = grid.leaves + (grid.rest != 0);
  std::vector<double> means(grid.cols), partial(2 * leaves * grid.cols, 0.0);
  for (std::size_t j = 0; j < grid.cols; ++j) means[j] = mean[j % s.channels];
  for_panels(grid, team,
             [&](std::size_t leaf, std::size_t row, std::size_t rows, std::size_t col, std::size_t cols) {
               double* sum = &partial[2 * leaf * grid.cols + col];
               for_row_groups<T, 2>(
                   grid, row, rows, col, cols, {&x_columns, &dy_columns},
                   [&](std::size_t m, const std::array<const T*, 2>& p, std::ptrdiff_t stride) {
                     k.column_gradient_sums(p[0], stride, p[1], stride, m, cols, &means[col], sum,
                                            sum + grid.cols);
                   });
             });
  for (std::size_t leaf = 0; leaf < leaves; ++leaf) {
    const double* sum = &partial[2 * leaf * grid.cols];
    for (std::size_t f = 0; f < grid.fold; ++f, sum += s.channels) {
      for (std::size_t c = 0; c < s.channels; ++c) {
        sum_dy[c] += sum[c];
        sum_dev[c] += sum[grid.cols + c];
      }
    }
  }
}

template <class T>
void batch_norm_backward_apply(const ChannelShape& s, In<T> x, In<T> dy, Out<T> dx, double n,
                               const double* mean, const double* invstd, const double* scale,
                               const double* sum_dy, const double* sum_dev) {
  if (s.shape.size == 0) return;
  const NormTable<T>& k = table<T>();
  const std::size_t bytes = bytes_of<T>(s, 3);
  const int team = threading::team_for(bytes);
  const auto coefficients = [&](std::size_t c) {
    return gradient_of<T>(n, mean[c], invstd[c], scale[c], sum_dy[c], sum_dev[c]);
  };
  if (planar(s)) {
    const Planes<const T> x_planes(s, x.data, x.strides), dy_planes(s, dy.data, dy.strides);
    const Planes<T> dx_planes(s, dx.data, dx.strides);
    const PlanarGrid grid(s);
    std::vector<Gradient<T>> gradients(s.channels);
    for (std::size_t c = 0; c < s.channels; ++c) gradients[c] = coefficients(c);
    const bool dense = x_planes.dense() && dy_planes.dense() && dx_planes.dense();
    const bool stream = dense && stream_rows(bytes, grid.cols);
    for_lines(s, grid, dense, team,
              [&](std::size_t c, std::size_t row, std::size_t col, std::size_t rows, std::size_t cols) {
                alignas(64) T x_buffer[kLeaf], dy_buffer[kLeaf], dx_buffer[kLeaf];
                const T* p = x_planes.load(c, row, col, cols, x_buffer);
                const T* q = dy_planes.load(c, row, col, cols, dy_buffer);
                T* to = dx_planes.target(c, row, col, dx_buffer);
                k.apply_gradient(p, q, to, rows, cols, &gradients[c], stream);
                dx_planes.store(c, row, col, cols, dx_buffer);
              });
    return;
  }
  const Columns<const T> x_columns(s, x.data, x.strides), dy_columns(s, dy.data, dy.strides);
  const Columns<T> dx_columns(s, dx.data, dx.strides);
  const Cyclic<T, 5> cyclic(s.channels, [&](std::size_t i) {
    const Gradient<T> g = coefficients(i);
    return std::array<T, 5>{g.mean, g.mean_low, g.scale, g.a, g.b};
  });
  const GradientArrays<T> arrays{cyclic.at[0], cyclic.at[1], cyclic.at[2], cyclic.at[3], cyclic.at[4]};
  const bool in_place = dy.data == dx.data;
  for_flat(s.shape.size, x_columns.dense() && dy_columns.dense() && dx_columns.dense(), cyclic.period, team,
           bytes, [&](std::size_t first, std::size_t m, std::size_t phase, bool stream) {
             alignas(64) T x_buffer[kFlat], dy_buffer[kFlat], dx_buffer[kFlat];
             const T* p = x_columns.load(first, m, x_buffer);
             const T* q = dy_columns.load(first, m, dy_buffer);
             k.apply_gradient_cyclic(p, q, dx_columns.target(first, dx_buffer), m, phase, cyclic.period,
                                     arrays, stream && !in_place);
             dx_columns.store(first, m, dx_buffer);
           });
}

template <class T>
void batch_norm_backward(const ChannelShape& s, In<T> x, In<T> dy, Out<T> dx, const T* gamma,
                         const double* mean, const double* invstd, bool training, double* dgamma,
                         double* dbeta) {
  std::vector<double> scales(s.channels);
  for (std::size_t c = 0; c < s.channels; ++c) {
    scales[c] = gamma ? static_cast<double>(gamma[c]) * invstd[c] : invstd[c];
  }
  batch_norm_backward_reduce(s, x, dy, mean, dbeta, dgamma);  // dgamma holds Σdy·(x − mean) until the end
  if (training) {
    batch_norm_backward_apply(s, x, dy, dx, static_cast<double>(s.count()), mean, invstd, scales.data(),
                              dbeta, dgamma);
  } else {  // mean and invstd do not depend on x: dx = dy·scale
    const std::vector<double> zeros(s.channels);
    batch_norm_apply(s, dy, dx, zeros.data(), scales.data(), zeros.data());
  }
  for (std::size_t c = 0; c < s.channels; ++c) dgamma[c] *= invstd[c];
}

#define REGKERN_INSTANTIATE(T)                                                                              \
  template void batch_norm_stats(const ChannelShape&, In<T>, double*, double*);                             \
  template void batch_norm_apply(const ChannelShape&, In<T>, Out<T>, const double*, const double*,          \
                                 const double*);                                                            \
  template void batch_norm_train(const ChannelShape&, In<T>, Out<T>, const T*, const T*, double, double*,   \
                                 double*, double*);                                                         \
  template void batch_norm_backward_reduce(const ChannelShape&, In<T>, In<T>, const double*, double*,       \
                                           double*);                                                        \
  template void batch_norm_backward_apply(const ChannelShape&, In<T>, In<T>, Out<T>, double, const double*, \
                                          const double*, const double*, const double*, const double*);      \
  template void batch_norm_backward(const ChannelShape&, In<T>, In<T>, Out<T>, const T*, const double*,     \
                                    const double*, bool, double*, double*);
REGKERN_INSTANTIATE(float)
REGKERN_INSTANTIATE(double)
#undef REGKERN_INSTANTIATE

}  // namespace regkern
#endif  // HWY_ONCE
