// Batch normalization. Sums are taken over a grid of leaves, of planes or of columns, and added in its
// order; threads share the leaves, and in the passes over elements the lines of planes or stretches of
// positions.

#include "regkern/norm.h"

#undef HWY_TARGET_INCLUDE
#define HWY_TARGET_INCLUDE "core/norm.cc"
#include "hwy/foreach_target.h"

#include <algorithm>
#include <memory>
#include <type_traits>
#include <utility>
#include <vector>

#include "core/channels.h"
#include "core/dispatch.h"
#include "kernels/norm/channels-inl.h"
#include "kernels/norm/columns-inl.h"
#include "kernels/norm/passes-inl.h"
#include "kernels/range.h"

#define REGKERN_FAMILY norm
#define REGKERN_KERNELS(X)   \
  X(moments)                 \
  X(weighted_moments)        \
  X(gradient_sums)           \
  X(column_moments)          \
  X(column_weighted_moments) \
  X(column_gradient_sums)    \
  X(leave_out)               \
  X(choose_shifts)           \
  X(update)                  \
  X(scales)                  \
  X(affine_arrays)           \
  X(centre_sums)             \
  X(gradient_arrays)         \
  X(apply)                   \
  X(apply_gradient)          \
  X(apply_cyclic)            \
  X(apply_gradient_cyclic)   \
  X(activate)                \
  X(gate)
#define REGKERN_PLAIN_KERNELS(X) \
  X(statistics)                  \
  X(multiply)
#include "core/table-inl.h"

#if HWY_ONCE
namespace regkern {

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
        k.moments({p, x.row_stride(leaf.cols)}, leaf.rows, leaf.cols, sums.shift[c], &part.x, &part.xx);
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
  double count = 0;
  for (std::size_t c = 0; c < channels; ++c) {
    Part all{};
    for (std::size_t i = 0; i < grid.leaves; ++i) {
      const Part& part = partial[c * grid.leaves + i];
      all = {all.w + part.w, all.x + part.x, all.xx + part.xx};
    }
    count = all.w;  // the same for every channel
    sums.x[range.begin + c] = all.x;
    sums.xx[range.begin + c] = all.xx;
  }
  return count;
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
  for_panels(
      s, team, [&](std::size_t leaf, std::size_t row, std::size_t rows, std::size_t col, std::size_t cols) {
        double *first = &partial[leaf * stride + col], *second = first + s.cols, *w = second + s.cols;
        for (std::size_t i = 0; i < kinds; ++i) std::fill_n(first + i * s.cols, cols, 0.0);
        const double* about = &shift[col];
        if (weights == nullptr) {
          for_row_groups<T, 1>(s, row, rows, col, cols, {&x}, true,
                               [&](std::size_t, std::size_t n, const auto& p, std::ptrdiff_t step) {
                                 k.column_moments({p[0], step}, n, cols, about, first, second);
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
  std::vector<T> gathered;
  if (s.inner == 1 && x.strides == nullptr) {
    for (std::size_t k = 0; k < kSamples; ++k) samples[k] = x.data + at[k] * s.channels + range.begin;
  } else {
    const Planes<const T> planes(s, x.data, x);
    gathered.resize(kSamples * range.size());
    for (std::size_t k = 0; k < kSamples; ++k) {
      T* row = &gathered[k * range.size()];
      for (std::size_t c = 0; c < range.size(); ++c) row[c] = planes.at(range.begin + c, at[k]);
      samples[k] = row;
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

// --- elementwise passes ---

// The two ways over all elements of a range of channels, of one shape: what an operand and a piece of it
// are, and how a piece meets the numbers of its channels.
template <class T>
struct PlanarPass {
  template <class Array>
  auto operand(const Array& a) const {
    return Planes<std::remove_pointer_t<decltype(a.data)>>(s, a.data, a);
  }
  // The bits of an activation that belong to a piece, from number `first` on.
  template <class Byte>
  auto bits(Byte* positive, const Line& l) const {
    return std::pair(positive + (l.row * s.channels + l.channel) * s.bit_row_bytes(), l.col);
  }
  template <std::size_t K>
  Cyclic<T, K> coefficients() const {
    return {range.size(), 1};
  }
  template <class Coefficients>
  void complete(Coefficients&) {}
  // Streaming pays for itself where a row has many whole vectors.
  bool streams(std::size_t bytes) const { return grid.cols >= 256 && worth_streaming(bytes); }

  template <class Body>
  void run(bool whole, Body&& body, bool stream) const {
    for_lines(s, range, grid, whole, team, body, [=] { finish_stream(stream); });
  }
  static std::size_t elements(const Line& l) { return l.rows * l.cols; }
  std::size_t channel(const Line& l, std::size_t i) const { return l.channel + i / l.cols; }
  void apply(const T* x, T* y, const Line& l, const AffineArrays<const T>& c, bool stream) const {
    k.apply(x, y, l.rows, l.cols, c, l.channel - range.begin, stream);
  }
  void apply_gradient(const GradientPiece<T>& p, const Line& l, const GradientArrays<const T>& c,
                      bool stream) const {
    k.apply_gradient(p, l.rows, l.cols, c, l.channel - range.begin, stream);
  }

  const ChannelShape& s;
  const ChannelRange& range;
  threading::Team team;
  PlanarGrid grid{s};
  const Table<T>& k = table<T>();
};

template <class T>
struct ColumnPass {
  template <class Array>
  auto operand(const Array& a) const {
    return Columns<std::remove_pointer_t<decltype(a.data)>>(s, a.data, a);
  }
  template <class Byte>
  auto bits(Byte* positive, const Stretch& p) const {
    return std::pair(positive, p.first);
  }
  template <std::size_t K>
  Cyclic<T, K> coefficients() const {
    return {range.size(), s.inner};
  }
  template <class Coefficients>
  void complete(Coefficients& c) {
    c.spread();
    period = c.period;
  }
  bool streams(std::size_t bytes) const { return worth_streaming(bytes); }

  template <class Body>
  void run(bool whole, Body&& body, bool stream) const {
    for_flat(s.shape.size, whole, period, team, body, [=] { finish_stream(stream); });
  }
  static std::size_t elements(const Stretch& p) { return p.n; }
  std::size_t channel(const Stretch& p, std::size_t i) const { return (p.first + i) / s.inner % s.channels; }
  void apply(const T* x, T* y, const Stretch& p, const AffineArrays<const T>& c, bool stream) const {
    k.apply_cyclic(x, y, p.n, p.phase, period, c, stream);
  }
  void apply_gradient(const GradientPiece<T>& g, const Stretch& p, const GradientArrays<const T>& c,
                      bool stream) const {
    k.apply_gradient_cyclic(g, p.n, p.phase, period, c, stream);
  }

  const ChannelShape& s;
  const ChannelRange& range;
  threading::Team team;
  std::size_t period = 1;
  const Table<T>& k = table<T>();
};

template <class T, class Body>
void with_pass(const ChannelShape& s, const ChannelRange& range, threading::Team team, Body&& body) {
  if (s.planar()) {
    body(PlanarPass<T>{s, range, team});
  } else {
    body(ColumnPass<T>{s, range, team});
  }
}

// y = (x − mean)·scale + shift with a number of each a channel.
struct Affine {
  const double *mean, *scale, *shift;
};

template <class T>
void range_apply(const ChannelShape& s, const ChannelRange& range, In<T> x, Out<T> y, const Affine& affine,
                 const Epilogue<T>& epilogue, threading::Team team) {
  const bool has_residual = epilogue.residual.data != nullptr, plain = !has_residual && !epilogue.activate;
  const bool in_place = x.data == y.data || epilogue.residual.data == y.data;
  const std::size_t bytes = bytes_of<T>(s, has_residual ? 3 : 2), at = range.begin;
  with_pass<T>(s, range, team, [&](auto pass) {
    auto c = pass.template coefficients<3>();
    pass.k.affine_arrays(affine.mean + at, affine.scale + at, affine.shift + at, range.size(),
                         {c[0], c[1], c[2]});
    pass.complete(c);
    const AffineArrays<const T> arrays{c[0], c[1], c[2]};
    const auto from = pass.operand(x), beside = pass.operand(epilogue.residual);
    const auto to = pass.operand(y);
    const bool dense = from.dense() && to.dense();
    const bool stream = dense && !in_place && pass.streams(bytes);
    const bool any_steep = std::any_of(affine.scale + at, affine.scale + range.end, is_steep<T>);
    const auto normalize = [&](const T* p, T* q, const auto& piece, bool around) {
      if (!any_steep) return pass.apply(p, q, piece, arrays, around);
      for (std::size_t i = 0; i < pass.elements(piece); ++i) {
        const std::size_t channel = pass.channel(piece, i);
        q[i] = steep(p[i], affine.mean[channel], affine.scale[channel], affine.shift[channel]);
      }
    };
    const auto body = [&](const auto& piece) {
      alignas(64) T x_buffer[kPiece + kMaxLanes], residual_buffer[kPiece], y_buffer[kPiece];
      const T* p = from.load(piece, x_buffer);
      T* target = to.target(piece, y_buffer);
      if (plain) {
        normalize(p, target, piece, stream);
      } else {
        normalize(p, x_buffer, piece, false);
        std::uint8_t* bits = epilogue.positive;
        if (bits != nullptr) {
          const auto [row, first] = pass.bits(bits, piece);
          bits = row + first / 8;
        }
        pass.k.activate(x_buffer, has_residual ? beside.load(piece, residual_buffer) : nullptr, target,
                        piece.size(), !epilogue.activate, static_cast<T>(epilogue.negative_slope), bits,
                        stream);
      }
      to.store(piece, y_buffer);
    };
    pass.run(dense && plain, body, stream);
  });
}

// --- the gradient before the activation, as an operand ---

// g of Incoming from a piece of dy: that itself where there was no activation, else gated, in the buffer.
template <class Pass, class Piece, class T>
const T* gated(const Pass& pass, const Incoming<T>& incoming, const Piece& piece, const T* dy, T* buffer) {
  if (incoming.positive == nullptr) return dy;
  const auto [bits, first] = pass.bits(incoming.positive, piece);
  pass.k.gate(dy, bits, first, buffer, piece.size(), static_cast<T>(incoming.negative_slope));
  return buffer;
}

// Whether one of n positions has weight 0. All channels have the same weights. Dense ones, of a cache that
// was pickled, lie in rows of `inner` positions with the other channels between them.
template <class T>
bool any_left_out(const Planes<const T>& weights, std::size_t inner, std::size_t first, std::size_t n) {
  T buffer[kPiece];
  for (const std::size_t end = first + n; first < end;) {
    const std::size_t most = weights.dense() ? inner - first % inner : kPiece;
    const std::size_t some = std::min(most, end - first);
    const T* w = weights.load(0, first / inner, first % inner, some, buffer);
    if (std::find(w, w + some, T(0)) != w + some) return true;
    first += some;
  }
  return false;
}

// --- the sums of the gradient ---

// Σg and Σg·(x − mean), a number a channel, over the positions whose weight is not 0.
template <class T>
struct Reduction {
  const ChannelShape& s;
  const BatchNormGradient<T>& of;
  double *sum_dy, *sum_dev;

  bool weighted() const { return of.weights.data != nullptr; }
};

template <class T>
void planar_reduce(const Reduction<T>& r, const ChannelRange& range, threading::Team team) {
  const Table<T>& k = table<T>();
  const ChannelShape& s = r.s;
  const PlanarPass<T> pass{s, range, team};
  const auto x = pass.operand(r.of.x), dy = pass.operand(r.of.dy.dy), weights = pass.operand(r.of.weights);
  const PlanarGrid& grid = pass.grid;
  struct Part {
    double sum, sum_dev;
  };
  const std::size_t channels = range.size();
  std::vector<Part> partial(channels * grid.leaves);
  std::vector<char> gaps(grid.leaves);  // leaves of which some positions are left out
  for (std::size_t i = 0; r.weighted() && i < grid.leaves; ++i) {
    const PlanarGrid::Leaf leaf = grid[i];
    gaps[i] = any_left_out(weights, s.inner, leaf.row * s.inner + leaf.col, leaf.size());
  }
  threading::for_ranges(team, partial.size(), 1, [&](std::size_t begin, std::size_t end) {
    alignas(64) T x_buffer[kLeaf], dy_buffer[kLeaf], w_buffer[kLeaf];
    for (std::size_t u = begin; u < end; ++u) {
      const auto [channel, leaf_index] = grid.unit(u, channels);
      const std::size_t c = range.begin + channel;
      const PlanarGrid::Leaf leaf = grid[leaf_index];
      Part& part = partial[channel * grid.leaves + leaf_index];
      const auto packed = static_cast<std::ptrdiff_t>(leaf.cols);
      RowsOf<T> v{x.load(c, leaf.row, leaf.col, leaf.size(), x_buffer), x.row_stride(leaf.cols)}, g;
      if (r.of.dy.positive == nullptr) {
        g = {dy.load(c, leaf.row, leaf.col, leaf.size(), dy_buffer), dy.row_stride(leaf.cols)};
      } else {
        g = {dy_buffer, packed};
        for (std::size_t i = 0; i < leaf.rows; ++i) {
          const Line line{c, leaf.row + i, leaf.col, 1, leaf.cols};
          T* const to = dy_buffer + i * leaf.cols;
          gated(pass, r.of.dy, line, dy.load(line, to), to);
        }
      }
      if (gaps[leaf_index]) {
        for (std::size_t i = 0; i < leaf.rows; ++i) {
          const T* w = weights.load(c, leaf.row + i, leaf.col, leaf.cols, w_buffer);
          const auto row = static_cast<std::ptrdiff_t>(i), to = row * packed;
          k.leave_out(v.data + row * v.stride, w, leaf.cols, x_buffer + to);
          k.leave_out(g.data + row * g.stride, w, leaf.cols, dy_buffer + to);
        }
        v = {x_buffer, packed};
        g = {dy_buffer, packed};
      }
      k.gradient_sums(v, g, leaf.rows, leaf.cols, static_cast<T>(r.of.mean[c]), &part.sum, &part.sum_dev);
    }
  });
  const Part* part = partial.data();
  for (std::size_t c = range.begin; c < range.end; ++c) {
    Part all{};
    for (std::size_t i = 0; i < grid.leaves; ++i, ++part) {
      all = {all.sum + part->sum, all.sum_dev + part->sum_dev};
    }
    r.sum_dy[c] = all.sum;
    r.sum_dev[c] = all.sum_dev;
  }
}

template <class T>
void column_reduce(const Reduction<T>& r, const ChannelRange& range, threading::Team team) {
  const Table<T>& k = table<T>();
  const ChannelShape& s = r.s;
  const ColumnPass<T> pass{s, range, team};
  const auto x = pass.operand(r.of.x), dy = pass.operand(r.of.dy.dy), weights = pass.operand(r.of.weights);
  const Planes<const T> weight_planes(s, r.of.weights.data, r.of.weights);
  const ColumnShape grid(s);
  const std::size_t stride = 2 * grid.cols;
  std::vector<double> partial(stride * grid.all_leaves(), 0.0);
  std::vector<T> means(grid.cols);
  grid.spread(r.of.mean, means.data());
  const bool activated = r.of.dy.positive != nullptr;
  for_panels(grid, team,
             [&](std::size_t leaf, std::size_t row, std::size_t rows, std::size_t col, std::size_t cols) {
               double *sum = &partial[leaf * stride + col], *dev = sum + grid.cols;
               // Of `n` rows from `at` on, in buffers where they are changed.
               const auto gate_rows = [&](T* g, std::size_t at, std::size_t n) {
                 for (std::size_t i = 0; activated && i < n; ++i, g += cols) {
                   gated(pass, r.of.dy, Stretch{(at + i) * grid.cols + col, cols, 0},
                         static_cast<const T*>(g), g);
                 }
               };
               const auto add = [&](RowsOf<T> v, RowsOf<T> g, std::size_t n) {
                 k.column_gradient_sums(v, g, n, cols, &means[col], sum, dev);
               };
               const std::size_t first = row * grid.fold * s.inner;
               const std::size_t positions = (leaf < grid.leaves ? rows * grid.fold : grid.rest) * s.inner;
               if (r.weighted() && any_left_out(weight_planes, s.inner, first, positions)) {
                 for_row_groups<T, 3>(grid, row, rows, col, cols, {&x, &dy, &weights}, false,
                                      [&](std::size_t at, std::size_t n, const auto& p, auto step) {
                                        T *v = const_cast<T*>(p[0]), *g = const_cast<T*>(p[1]);  // buffers
                                        gate_rows(g, at, n);
                                        k.leave_out(v, p[2], n * cols, v);
                                        k.leave_out(g, p[2], n * cols, g);
                                        add({v, step}, {g, step}, n);
                                      });
                 return;
               }
               for_row_groups<T, 2>(grid, row, rows, col, cols, {&x, &dy}, !activated,
                                    [&](std::size_t at, std::size_t n, const auto& p, auto step) {
                                      gate_rows(const_cast<T*>(p[1]), at, n);
                                      add({p[0], step}, {p[1], step}, n);
                                    });
             });
  add_leaves(grid, partial.data(), stride, r.sum_dy);
  add_leaves(grid, partial.data() + grid.cols, stride, r.sum_dev);
}

template <class T>
void range_reduce(const Reduction<T>& r, const ChannelRange& range, threading::Team team) {
  if (r.s.planar()) {
    planar_reduce(r, range, team);
  } else {
    column_reduce(r, range, team);
  }
  const std::size_t at = range.begin;
  table<T>().centre_sums(r.of.mean + at, r.sum_dy + at, range.size(), r.sum_dev + at);
}

// --- dx ---

// The coefficients of dx for a range of channels.
template <class T>
void set_coefficients(const BatchNormGradient<T>& b, const ChannelRange& range, const double* sum_dy,
                      const double* sum_dev, const GradientArrays<T>& to) {
  const std::size_t at = range.begin;
  const T* const gamma = b.gamma ? b.gamma + at : nullptr;
  if (!b.frozen) {
    table<T>().gradient_arrays(b.count, {b.mean + at, b.invstd + at, gamma, sum_dy + at, sum_dev + at},
                               range.size(), to);
    return;
  }
  std::fill_n(to.mean, range.size(), T(0));
  std::fill_n(to.a, range.size(), T(0));
  for (std::size_t i = 0; i < range.size(); ++i) {
    const double scale = b.invstd[at + i];
    to.scale[i] = static_cast<T>(gamma ? static_cast<double>(gamma[i]) * scale : scale);
  }
}

// dx and g, where they are wanted.
template <class T>
void range_gradient(const ChannelShape& s, const BatchNormGradient<T>& b, const ChannelRange& range,
                    const double* sum_dy, const double* sum_dev, threading::Team team) {
  const bool weighted = b.weights.data != nullptr && !b.frozen, wants_g = b.residual.data != nullptr;
  const bool plain = b.dy.positive == nullptr && !weighted && !wants_g;
  const bool in_place = b.dy.dy.data == b.dx.data;
  with_pass<T>(s, range, team, [&](auto pass) {
    auto c = pass.template coefficients<4>();
    set_coefficients(b, range, sum_dy, sum_dev, GradientArrays<T>{c[0], c[1], c[2], c[3]});
    pass.complete(c);
    const GradientArrays<const T> arrays{c[0], c[1], c[2], c[3]};
    const AffineArrays<const T> scales{c[0], c[1], c[2]};
    const auto x = pass.operand(b.x), dy = pass.operand(b.dy.dy), weights = pass.operand(b.weights);
    const auto dx = pass.operand(b.dx), residual = pass.operand(b.residual);
    const bool dense = x.dense() && dy.dense() && dx.dense();
    const bool stream = dense && !in_place && pass.streams(bytes_of<T>(s, 3));
    const auto body = [&](const auto& piece) {
      alignas(64) T x_buffer[kPiece], dy_buffer[kPiece], dx_buffer[kPiece], w_buffer[kPiece];
      const T* g = gated(pass, b.dy, piece, dy.load(piece, dy_buffer), dy_buffer);
      if (wants_g) {  // before dx, which may lie where dy does
        T* to = residual.target(piece, dx_buffer);
        std::copy_n(g, piece.size(), to);
        residual.store(piece, to);
      }
      if (b.dx.data == nullptr) return;
      T* to = dx.target(piece, dx_buffer);
      if (b.frozen) {
        pass.apply(g, to, piece, scales, stream);
      } else {
        const T* w = weighted ? weights.load(piece, w_buffer) : nullptr;
        pass.apply_gradient({x.load(piece, x_buffer), g, w, to}, piece, arrays, stream);
      }
      dx.store(piece, dx_buffer);
    };
    pass.run(dense && plain, body, stream);
  });
}

// Calls body(range, team) for ranges of channels that stay in the cache between two passes over `operands`
// arrays; columns are one range.
template <class T, class Body>
void for_ranges_of(const ChannelShape& s, std::size_t operands, std::size_t moved, Body&& body) {
  const threading::Team team = threading::team_for(bytes_of<T>(s, moved));
  if (s.planar()) {
    for_channel_ranges(s, s.count() * sizeof(T) * operands, sizeof(T), team, body);
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
  const threading::Team team = threading::team_for(bytes_of<T>(s, 2));
  const double count = range_stats(s, {0, s.channels}, x, weights, team, sums, mean, var);
  rescale(s, {0, s.channels}, x, weights, 0, mean, var, [](std::size_t, double) {});
  return count;
}

template <class T>
void batch_norm_apply(const ChannelShape& s, In<T> x, Out<T> y, const double* mean, const double* scale,
                      const double* shift, const Epilogue<T>& epilogue) {
  if (s.shape.size == 0) return;
  range_apply(s, {0, s.channels}, x, y, {mean, scale, shift}, epilogue,
              threading::team_for(bytes_of<T>(s, 2)));
}

template <class T>
void batch_norm_update(const double* batch, double momentum, double factor, std::size_t n, T* running) {
  table<T>().update(batch, momentum, factor, n, running);
}

template <class T>
BatchNormScales batch_norm_scales(const double* var, const T* gamma, const T* beta, double eps,
                                  std::size_t channels) {
  BatchNormScales by{std::vector<double>(channels), std::vector<double>(channels),
                     std::vector<double>(channels)};
  table<T>().scales(var, gamma, beta, eps, channels, by.invstd.data(), by.scale.data(), by.shift.data());
  return by;
}

template <class T>
double batch_norm_train(const ChannelShape& s, const BatchNormTraining<T>& b) {
  std::fill_n(b.mean, s.channels, 0.0);
  std::fill_n(b.var, s.channels, 0.0);
  Sums sums(s.channels);
  double count = 0;
  const auto room = std::make_unique_for_overwrite<double[]>(2 * s.channels);
  double *scales = room.get(), *shifts = scales + s.channels;
  const auto coefficients = [&](const ChannelRange& range) {
    const std::size_t at = range.begin;
    table<T>().scales(b.var + at, b.gamma ? b.gamma + at : nullptr, b.beta ? b.beta + at : nullptr, b.eps,
                      range.size(), b.invstd + at, scales + at, shifts + at);
  };
  if (s.shape.size == 0) {
    coefficients({0, s.channels});
    return 0;
  }
  for_ranges_of<T>(s, 1, 2, [&](const ChannelRange& range, threading::Team team) {
    const double of_channel = range_stats(s, range, b.x, b.weights, team, sums, b.mean, b.var);
    if (range.begin == 0) count = of_channel;
    coefficients(range);
    rescale(s, range, b.x, b.weights, b.eps, b.mean, b.var, [&](std::size_t c, double invstd) {
      b.invstd[c] = invstd;
      scales[c] = b.gamma ? static_cast<double>(b.gamma[c]) * invstd : invstd;
    });
    range_apply(s, range, b.x, b.y, {b.mean, scales, shifts}, b.epilogue, team);
  });
  return count;
}

template <class T>
void batch_norm_backward_reduce(const ChannelShape& s, const BatchNormGradient<T>& b, double* sum_dy,
                                double* sum_dev) {
  std::fill_n(sum_dy, s.channels, 0.0);
  std::fill_n(sum_dev, s.channels, 0.0);
  if (s.shape.size == 0) return;
  range_reduce(Reduction<T>{s, b, sum_dy, sum_dev}, {0, s.channels}, threading::team_for(bytes_of<T>(s, 3)));
}

template <class T>
void batch_norm_backward_apply(const ChannelShape& s, const BatchNormGradient<T>& b, const double* sum_dy,
                               const double* sum_dev) {
  if (s.shape.size == 0) return;
  range_gradient(s, b, {0, s.channels}, sum_dy, sum_dev, threading::team_for(bytes_of<T>(s, 3)));
}

template <class T>
void batch_norm_backward(const ChannelShape& s, const BatchNormGradient<T>& b, double* dgamma,
                         double* dbeta) {
  std::vector<double> sums(dgamma == nullptr ? 2 * s.channels : 0);
  const bool reduces = dgamma != nullptr || (!b.frozen && b.dx.data != nullptr);
  if (dgamma == nullptr) {
    dgamma = sums.data();
    dbeta = dgamma + s.channels;
  }
  if (s.shape.size == 0) {
    std::fill_n(dgamma, s.channels, 0.0);
    std::fill_n(dbeta, s.channels, 0.0);
    return;
  }
  const Reduction<T> reduction{s, b, dbeta, dgamma};  // dgamma holds Σg·(x − mean) until the end
  for_ranges_of<T>(s, 2, 3, [&](const ChannelRange& range, threading::Team team) {
    if (reduces) range_reduce(reduction, range, team);
    if (b.dx.data != nullptr || b.residual.data != nullptr) {
      range_gradient(s, b, range, dbeta, dgamma, team);
    }
  });
  if (reduces) table<T>().multiply(b.invstd, s.channels, dgamma);
}

#define REGKERN_INSTANTIATE(T)                                                                             \
  template double batch_norm_stats(const ChannelShape&, In<T>, In<T>, double*, double*);                   \
  template void batch_norm_apply(const ChannelShape&, In<T>, Out<T>, const double*, const double*,         \
                                 const double*, const Epilogue<T>&);                                       \
  template void batch_norm_update(const double*, double, double, std::size_t, T*);                         \
  template BatchNormScales batch_norm_scales(const double*, const T*, const T*, double, std::size_t);      \
  template double batch_norm_train(const ChannelShape&, const BatchNormTraining<T>&);                      \
  template void batch_norm_backward_reduce(const ChannelShape&, const BatchNormGradient<T>&, double*,      \
                                           double*);                                                       \
  template void batch_norm_backward_apply(const ChannelShape&, const BatchNormGradient<T>&, const double*, \
                                          const double*);                                                  \
  template void batch_norm_backward(const ChannelShape&, const BatchNormGradient<T>&, double*, double*);
REGKERN_INSTANTIATE(float)
REGKERN_INSTANTIATE(double)
#undef REGKERN_INSTANTIATE

}  // namespace regkern
#endif  // HWY_ONCE
