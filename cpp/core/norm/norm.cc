// Batch normalization. Sums are taken over a grid of leaves, of planes or of columns, and added in its
// order; threads share the leaves, and in the passes over elements the lines of planes or stretches of
// positions.

#include "regkern/norm.h"

#undef HWY_TARGET_INCLUDE
#define HWY_TARGET_INCLUDE "core/norm/norm.cc"
#include "hwy/foreach_target.h"

#include <algorithm>
#include <cmath>
#include <memory>
#include <type_traits>
#include <utility>
#include <vector>

#include "core/channels.h"
#include "core/dispatch.h"
#include "kernels/norm/channels-inl.h"
#include "kernels/norm/columns-inl.h"
#include "kernels/norm/halves-inl.h"
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
  X(apply_epilogue)          \
  X(activate)                \
  X(gate)                    \
  X(gated_gradient_sums)
#define REGKERN_PLAIN_KERNELS(X) \
  X(statistics)                  \
  X(multiply)                    \
  X(bfloat16)                    \
  X(float16)
#include "core/table-inl.h"

#if HWY_ONCE

#include "core/norm/operands.h"
#include "core/norm/passes.h"
#include "core/norm/statistics.h"

namespace regkern {

ChannelShape::ChannelShape(const Extents& extents, int channel_axis) : shape(extents), axis(channel_axis) {
  for (int i = 0; i < shape.ndim; ++i) {
    std::size_t& part = i < axis ? outer : i == axis ? channels : inner;
    part *= static_cast<std::size_t>(shape.dims[i]);
  }
}

namespace {

// --- the gradient before the activation, as an operand ---

// g of Incoming from a piece of dy: that itself where there was no activation, else gated, in the buffer.
template <class Pass, class Piece, class T>
const T* gated(const Pass& pass, const Incoming<T>& incoming, const Piece& piece, const T* dy, T* buffer) {
  if (incoming.positive == nullptr) return dy;
  const auto [rows, cols] = pass.rows(piece);
  const auto step = static_cast<std::ptrdiff_t>(cols);
  const auto [bits, first] = pass.bits(incoming.positive, piece);
  const auto bit_step = static_cast<std::ptrdiff_t>(pass.s.bit_row_bytes());
  const auto slope = static_cast<T>(incoming.negative_slope);
  pass.k.gate({{dy, step}, {bits, bit_step}, first, slope, buffer, step}, rows, cols);
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

// Whether a position has a weight at all.
template <class T>
bool any_counts(const ChannelShape& s, In<T> weights) {
  if (weights.data == nullptr) return true;
  const Planes<const T> w(s, weights.data, weights);
  std::size_t i = 0;
  while (i < s.count() && w.at(0, i) == 0) ++i;
  return i < s.count();
}

// --- the sums of the gradient ---

// Σg and Σg·(x − mean), a number a channel, over the positions whose weight is not 0.
template <class T>
struct Reduction {
  const ChannelShape& s;
  const BatchNormGradient<T>& of;
  double *sum_dy, *sum_dev;
  Out<T> gated = {};  // where g is kept, dense, if it has data: it comes from dy before an activation then

  bool weighted() const { return of.weights.data != nullptr; }
};

template <class T>
void planar_reduce(const Reduction<T>& r, const ChannelRange& range, threading::Team team) {
  const Table<T>& k = table<T>();
  const ChannelShape& s = r.s;
  const PlanarPass<T> pass{s, range, team};
  const auto x = pass.operand(r.of.x), dy = pass.operand(r.of.dy.dy), weights = pass.operand(r.of.weights);
  const auto kept = pass.operand(r.gated);
  const PlanarGrid& grid = pass.grid;
  // Σg and Σg·(x − mean) of each channel of each leaf
  const std::size_t channels = range.size(), units = channels * grid.leaves;
  const auto partial = std::make_unique_for_overwrite<double[]>(2 * units);
  std::vector<T> means(channels);
  for (std::size_t c = 0; c < channels; ++c) means[c] = static_cast<T>(r.of.mean[range.begin + c]);
  std::vector<char> gaps(grid.leaves);  // leaves of which some positions are left out
  for (std::size_t i = 0; r.weighted() && i < grid.leaves; ++i) {
    const PlanarGrid::Leaf leaf = grid[i];
    gaps[i] = any_left_out(weights, s.inner, leaf.row * s.inner + leaf.col, leaf.size());
  }
  const bool activated = r.of.dy.positive != nullptr, keeps = activated && r.gated.data != nullptr;
  const HalfKernels* const halves = !activated && !r.weighted() ? half_kernels(x, dy) : nullptr;
  const std::size_t item = halves != nullptr ? sizeof(std::uint16_t) : sizeof(T);
  const bool side_by_side = halves != nullptr || (x.dense() && dy.dense());
  const std::size_t together = side_by_side ? grid.channels_together(item) : 1;
  const bool as_they_lie = side_by_side && !activated && !r.weighted();
  threading::for_ranges(team, units, 1, [&](std::size_t begin, std::size_t end) {
    // Not on the stack, where the sums of many channels are
    const auto room = std::make_unique_for_overwrite<T[]>(as_they_lie ? 0 : 3 * kLeaf);
    T *const x_buffer = room.get(), *const dy_buffer = x_buffer + kLeaf, *const w_buffer = dy_buffer + kLeaf;
    for (std::size_t u = begin, n; u < end; u += n) {
      const auto [channel, leaf_index] = grid.unit(u, channels);
      const std::size_t c = range.begin + channel;
      const PlanarGrid::Leaf leaf = grid[leaf_index];
      const bool has_gaps = gaps[leaf_index] != 0;
      double *sum = &partial[leaf_index * channels + channel], *sum_dev = sum + units;
      n = std::min({has_gaps ? 1 : together, end - u, channels - channel});
      if constexpr (std::is_same_v<T, float>) {
        if (halves != nullptr) {
          halves->gradient_sums(x.half_rows(c, leaf.row, leaf.col), dy.half_rows(c, leaf.row, leaf.col), n,
                                leaf.rows, leaf.cols, &means[channel], sum, sum_dev);
          continue;
        }
      }
      const auto packed = static_cast<std::ptrdiff_t>(leaf.cols);
      RowsOf<T> v{x.load(c, leaf.row, leaf.col, leaf.size(), x_buffer), x.row_stride(leaf.cols)};
      RowsOf<T> g{dy.load(c, leaf.row, leaf.col, leaf.size(), dy_buffer), dy.row_stride(leaf.cols)};
      if (activated) {
        T* const to = keeps ? kept.target(c, leaf.row, leaf.col, dy_buffer) : dy_buffer;
        // Not kept, a row can lie where that before it did.
        const std::ptrdiff_t step = keeps ? kept.row_stride(leaf.cols) : has_gaps ? packed : 0;
        const auto [bits, first] = pass.bits(r.of.dy.positive, Line{c, leaf.row, leaf.col, 1, leaf.cols});
        const auto channel_bits = static_cast<std::ptrdiff_t>(s.bit_row_bytes());
        const auto row_bits = static_cast<std::ptrdiff_t>(s.channels) * channel_bits;
        const auto slope = static_cast<T>(r.of.dy.negative_slope);
        const GatePiece<T> piece{g,    {bits, row_bits},   first,       slope, to,
                                 step, keeps ? packed : 0, channel_bits};
        if (!has_gaps) {
          k.gated_gradient_sums(v, piece, n, leaf.rows, leaf.cols, &means[channel], sum, sum_dev);
          continue;
        }
        k.gate(piece, leaf.rows, leaf.cols);
        g = {to, step};
      }
      if (has_gaps) {
        for (std::size_t i = 0; i < leaf.rows; ++i) {
          const T* w = weights.load(c, leaf.row + i, leaf.col, leaf.cols, w_buffer);
          const auto row = static_cast<std::ptrdiff_t>(i), to = row * packed;
          k.leave_out(v.data + row * v.stride, w, leaf.cols, x_buffer + to);
          k.leave_out(g.data + row * g.stride, w, leaf.cols, dy_buffer + to);
        }
        v = {x_buffer, packed};
        g = {dy_buffer, packed};
      }
      k.gradient_sums(v, g, n, leaf.rows, leaf.cols, &means[channel], sum, sum_dev);
    }
  });
  for (std::size_t c = 0; c < channels; ++c) {
    double sum = 0, sum_dev = 0;
    for (std::size_t u = c; u < units; u += channels) {
      sum += partial[u];
      sum_dev += partial[units + u];
    }
    r.sum_dy[range.begin + c] = sum;
    r.sum_dev[range.begin + c] = sum_dev;
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
  const HalfKernels* const halves = !activated && !r.weighted() ? half_kernels(x, dy) : nullptr;
  for_panels(grid, team,
             [&](std::size_t leaf, std::size_t row, std::size_t rows, std::size_t col, std::size_t cols) {
               double *sum = &partial[leaf * stride + col], *dev = sum + grid.cols;
               if constexpr (std::is_same_v<T, float>) {
                 if (halves != nullptr) {
                   const std::size_t at = row * grid.cols + col;
                   const auto step = static_cast<std::ptrdiff_t>(grid.cols);
                   return halves->column_gradient_sums({x.halves(at), step}, {dy.halves(at), step}, rows,
                                                       cols, &means[col], sum, dev);
                 }
               }
               // Of `n` rows from `at` on, which lie at some step: to rows at a step of their own, which may
               // be the same.
               const auto gate_rows = [&](RowsOf<T> from, T* g, std::ptrdiff_t step, std::size_t at,
                                          std::size_t n) {
                 if (!activated) return;
                 const auto all = static_cast<std::ptrdiff_t>(grid.cols);
                 const bool one_run = from.stride == all && step == all && cols == grid.cols;
                 const std::size_t run = one_run ? n * cols : cols;
                 for (std::size_t i = 0; i < n * cols; i += run, from.data += from.stride, g += step, ++at) {
                   gated(pass, r.of.dy, Stretch{at * grid.cols + col, run, 0}, from.data, g);
                 }
               };
               const auto add = [&](RowsOf<T> v, RowsOf<T> g, std::size_t n) {
                 k.column_gradient_sums(v, g, n, cols, &means[col], sum, dev);
               };
               const std::size_t first = row * grid.fold * s.inner;
               const std::size_t positions = (leaf < grid.leaves ? rows * grid.fold : grid.rest) * s.inner;
               if (r.weighted() && any_left_out(weight_planes, s.inner, first, positions)) {
                 for_row_groups<T, 3>(grid, row, rows, col, cols, {&x, &dy, &weights}, 0,
                                      [&](std::size_t at, std::size_t n, const auto& p, auto step) {
                                        T *v = const_cast<T*>(p[0]), *g = const_cast<T*>(p[1]);  // buffers
                                        gate_rows({g, step}, g, step, at, n);
                                        k.leave_out(v, p[2], n * cols, v);
                                        k.leave_out(g, p[2], n * cols, g);
                                        add({v, step}, {g, step}, n);
                                      });
                 return;
               }
               alignas(64) T gates[kRowGroup * kPanel];
               for_row_groups<T, 2>(grid, row, rows, col, cols, {&x, &dy}, activated ? kRowGroup : rows,
                                    [&](std::size_t at, std::size_t n, const auto& p, auto step) {
                                      if (!activated) return add({p[0], step}, {p[1], step}, n);
                                      const bool keeps = r.gated.data != nullptr;
                                      T* const g = keeps ? r.gated.data + at * grid.cols + col : gates;
                                      const auto to = static_cast<std::ptrdiff_t>(keeps ? grid.cols : cols);
                                      gate_rows({p[1], step}, g, to, at, n);
                                      add({p[0], step}, {g, to}, n);
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

// Σg·x̂ from Σg·(x − mean), 1/std being Inf or not: where no position counts, 0.
template <class T>
void scale_to_hats(const ChannelShape& s, const BatchNormGradient<T>& b, double* sums) {
  if (any_counts(s, b.weights)) table<T>().multiply(b.invstd, s.channels, sums);
}

// --- dx ---

// The coefficients of dx for a range of channels. Returns whether one is extreme.
template <class T>
bool set_coefficients(const BatchNormGradient<T>& b, const ChannelRange& range, const double* sum_dy,
                      const double* sum_dev, const GradientArrays<T>& to) {
  const std::size_t at = range.begin;
  const T* const gamma = b.gamma ? b.gamma + at : nullptr;
  if (!b.frozen) {
    return table<T>().gradient_arrays(b.count, {b.mean + at, b.invstd + at, gamma, sum_dy + at, sum_dev + at},
                                      range.size(), to);
  }
  std::fill_n(to.mean, range.size(), T(0));
  std::fill_n(to.a, range.size(), T(0));
  bool any = false;
  for (std::size_t i = 0; i < range.size(); ++i) {
    const double scale = gamma ? static_cast<double>(gamma[i]) * b.invstd[at + i] : b.invstd[at + i];
    to.scale[i] = static_cast<T>(scale);
    any = any || is_extreme<T>(scale);
  }
  return any;
}

// dx of one channel in double, for those of which a coefficient is extreme. By way of x̂: in any unit of the
// weights, what is taken off dy is then as far from the ends of the range as Σg/Σw is.
template <class T>
struct WideGradient {
  WideGradient(const BatchNormGradient<T>& of, std::size_t c, const double* sum_dy, const double* sum_dev)
      : mean(of.mean[c]), invstd(of.invstd[c]), gamma(of.gamma ? static_cast<double>(of.gamma[c]) : 1.0) {
    extreme = is_extreme<T>(gamma * invstd);
    if (of.frozen) return;
    a = sum_dy[c] / of.count;
    b = invstd * sum_dev[c] / of.count;
    const double share = sum_dev[c] / of.count, of_hat = invstd * share;
    const double larger = std::max(std::fabs(a), std::fabs(of_hat));
    const double of_larger = std::max(std::fabs(sum_dy[c]), std::fabs(sum_dev[c]));
    extreme = extreme || is_extreme<T>(larger, of_larger, kRoomOfShares) ||
              is_extreme<double>(share, sum_dev[c]) || is_extreme<T>(invstd * of_hat, sum_dev[c]);
  }
  // w is 0 where the statistics do not depend on x.
  T operator()(T x, T g, T w) const {
    const double hat = (static_cast<double>(x) - mean) * invstd;
    const double share = w == 0 ? 0 : static_cast<double>(w) * (a + hat * b);
    return static_cast<T>((static_cast<double>(g) - share) * gamma * invstd);
  }
  double mean, invstd, gamma, a = 0, b = 0;
  bool extreme;
};

// dx and g, where they are wanted.
template <class T>
void range_gradient(const ChannelShape& s, const BatchNormGradient<T>& b, const ChannelRange& range,
                    const double* sum_dy, const double* sum_dev, threading::Team team) {
  const bool weighted = b.weights.data != nullptr && !b.frozen, wants_g = b.residual.data != nullptr;
  const bool plain = b.dy.positive == nullptr && !weighted && !wants_g;
  const bool in_place = b.dy.dy.data == b.dx.data;
  with_pass<T>(s, range, team, [&](auto pass) {
    auto c = pass.template coefficients<4>();
    const bool any_extreme =
        set_coefficients(b, range, sum_dy, sum_dev, GradientArrays<T>{c[0], c[1], c[2], c[3]});
    std::vector<WideGradient<T>> wide;
    for (std::size_t k = range.begin; any_extreme && k < range.end; ++k) {
      wide.emplace_back(b, k, sum_dy, sum_dev);
    }
    const auto x = pass.operand(b.x), dy = pass.operand(b.dy.dy), weights = pass.operand(b.weights);
    const auto dx = pass.operand(b.dx), residual = pass.operand(b.residual);
    const HalfKernels* const halves = plain && !b.frozen && !any_extreme ? half_kernels(x, dy, dx) : nullptr;
    if (halves != nullptr) c.simplify_nans();
    pass.complete(c);
    const GradientArrays<const T> arrays{c[0], c[1], c[2], c[3]};
    const AffineArrays<const T> scales{c[0], c[1], c[2]};
    const std::size_t bytes = bytes_of<T>(s, 3);
    if constexpr (std::is_same_v<T, float>) {
      if (halves != nullptr) {
        const bool around = !in_place && pass.streams(bytes / 2);
        const auto body = [&](const auto& piece) {
          const GradientPiece<std::uint16_t> of{x.halves(piece), dy.halves(piece), nullptr, dx.halves(piece)};
          pass.apply_gradient(*halves, of, piece, arrays, around);
        };
        return pass.run(Pieces::kWhole, body, around);
      }
    }
    const bool dense = x.dense() && dy.dense() && dx.dense();
    const bool stream = dense && !in_place && pass.streams(bytes);
    const auto body = [&](const auto& piece) {
      alignas(64) T x_buffer[kPiece], dy_buffer[kPiece], dx_buffer[kPiece], w_buffer[kPiece];
      // before dx, which may lie where dy does
      T* const room = wants_g ? residual.target(piece, dy_buffer) : dy_buffer;
      const T* g = gated(pass, b.dy, piece, dy.load(piece, dy_buffer), room);
      if (wants_g) {
        if (g != room) std::copy_n(g, piece.size(), room);
        residual.store(piece, room);
      }
      if (b.dx.data == nullptr) return;
      T* const place = dx.target(piece, dx_buffer);
      T* const to = any_extreme ? dx_buffer : place;
      const T* const w = weighted ? weights.load(piece, w_buffer) : nullptr;
      const T* const v = b.frozen ? nullptr : x.load(piece, x_buffer);
      if (b.frozen) {
        pass.apply(pass.k, g, to, piece, scales, stream);
      } else {
        pass.apply_gradient(pass.k, GradientPiece<T>{v, g, w, to}, piece, arrays, stream);
      }
      for (std::size_t i = 0; any_extreme && i < piece.size(); ++i) {
        const WideGradient<T>& of = wide[pass.channel(piece, i) - range.begin];
        if (of.extreme) to[i] = b.frozen ? of(T(0), g[i], T(0)) : of(v[i], g[i], w == nullptr ? T(1) : w[i]);
      }
      if (to != place) std::copy_n(to, piece.size(), place);
      dx.store(piece, dx_buffer);
    };
    const bool whole_rows = dense && residual.dense() && !weighted && !any_extreme;
    pass.run(!whole_rows ? Pieces::kSingle : plain ? Pieces::kWhole : Pieces::kJoined, body, stream);
  });
}

// Where the first pass leaves g for the second, which would else read the bits of the activation again: in
// the residual's gradient, which it is, or where dx will lie, if that is dy's place or in the cache. No data:
// it is not kept.
template <class T>
Out<T> room_for_gated(const ChannelShape& s, const BatchNormGradient<T>& b) {
  if (b.dy.positive == nullptr || b.weights.data != nullptr) return {};
  const auto takes = [](const Out<T>& out) {
    return out.data != nullptr && out.strides == nullptr && out.storage == Storage::kNative;
  };
  const bool stays = !worth_streaming(bytes_of<T>(s, 3)) || (s.planar() && b.dx.data == b.dy.dy.data);
  return takes(b.residual) ? b.residual : takes(b.dx) && stays ? b.dx : Out<T>();
}

// Calls body(range, team) for ranges of channels that stay in the cache between two passes over `operands`
// arrays like x; columns are one range.
template <class T, class Body>
void for_ranges_of(const ChannelShape& s, In<T> x, std::size_t operands, std::size_t moved, Body&& body) {
  const threading::Team team = threading::team_for(bytes_of<T>(s, moved));
  const std::size_t item = x.storage == Storage::kNative ? sizeof(T) : sizeof(std::uint16_t);
  if (s.planar()) {
    for_channel_ranges(s, s.count() * item * operands, item, team, body);
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
  for_ranges_of<T>(s, b.x, 1, 2, [&](const ChannelRange& range, threading::Team team) {
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
                                double* sum_dy_xhat) {
  std::fill_n(sum_dy, s.channels, 0.0);
  std::fill_n(sum_dy_xhat, s.channels, 0.0);
  if (s.shape.size == 0) return;
  const Reduction<T> reduction{s, b, sum_dy, sum_dy_xhat};
  range_reduce(reduction, {0, s.channels}, threading::team_for(bytes_of<T>(s, 3)));
  scale_to_hats(s, b, sum_dy_xhat);
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
  // dgamma holds Σg·(x − mean) until the end
  const Reduction<T> reduction{s, b, dbeta, dgamma, reduces ? room_for_gated(s, b) : Out<T>()};
  const Out<T> kept = reduction.gated;
  BatchNormGradient<T> behind = b;  // what the second pass finds
  if (kept.data != nullptr) {
    behind.dy = {{kept.data}};
    if (kept.data == b.residual.data) behind.residual = {};
  }
  for_ranges_of<T>(s, b.x, 2, 3, [&](const ChannelRange& range, threading::Team team) {
    if (reduces) range_reduce(reduction, range, team);
    if (behind.dx.data != nullptr || behind.residual.data != nullptr) {
      range_gradient(s, behind, range, dbeta, dgamma, team);
    }
  });
  if (reduces) scale_to_hats(s, b, dgamma);
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
