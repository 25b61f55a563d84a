// The elementwise passes of batch norm: how a piece of memory meets the numbers of its channels. For norm.cc,
// which has the table of kernels.

#ifndef REGKERN_CORE_NORM_PASSES_H_
#define REGKERN_CORE_NORM_PASSES_H_

#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <type_traits>
#include <utility>

#include "core/channels.h"
#include "core/norm/operands.h"
#include "core/streaming.h"
#include "kernels/range.h"

namespace regkern {
namespace {

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
  static std::pair<std::size_t, std::size_t> rows(const Line& l) { return {l.rows, l.cols}; }
  template <std::size_t K>
  Cyclic<T, K> coefficients() const {
    return {range.size(), 1};
  }
  template <class Coefficients>
  void complete(Coefficients&) {}
  // Streaming pays for itself where a row has many whole vectors.
  bool streams(std::size_t bytes) const { return grid.cols >= 256 && worth_streaming(bytes); }

  template <class Body>
  void run(Pieces pieces, Body&& body, bool stream) const {
    for_lines(s, range, grid, pieces, team, body, [=] { finish_stream(stream); });
  }
  std::size_t channel(const Line& l, std::size_t i) const { return l.channel + i / l.cols; }
  template <class Kernels, class E>
  void apply(const Kernels& by, const E* x, E* y, const Line& l, const AffineArrays<const T>& c,
             bool stream) const {
    by.apply(x, y, l.rows, l.cols, c, l.channel - range.begin, stream);
  }
  // All in registers; the room is for those who need some.
  void apply_epilogue(const T* x, T* y, T*, const Line& l, const AffineArrays<const T>& c,
                      const EpiloguePiece<T>& e, bool stream) const {
    k.apply_epilogue(x, y, l.rows, l.cols, c, l.channel - range.begin, e, stream);
  }
  template <class Kernels, class E>
  void apply_gradient(const Kernels& by, const GradientPiece<E>& p, const Line& l,
                      const GradientArrays<const T>& c, bool stream) const {
    by.apply_gradient(p, l.rows, l.cols, c, l.channel - range.begin, stream);
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
  static std::pair<std::size_t, std::size_t> rows(const Stretch& p) { return {1, p.n}; }
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
  void run(Pieces pieces, Body&& body, bool stream) const {
    const bool whole = pieces == Pieces::kWhole;
    for_flat(s.shape.size, whole, period, team, body, [=] { finish_stream(stream); });
  }
  std::size_t channel(const Stretch& p, std::size_t i) const { return (p.first + i) / s.inner % s.channels; }
  template <class Kernels, class E>
  void apply(const Kernels& by, const E* x, E* y, const Stretch& p, const AffineArrays<const T>& c,
             bool stream) const {
    by.apply_cyclic(x, y, p.n, p.phase, period, c, stream);
  }
  void apply_epilogue(const T* x, T* y, T* room, const Stretch& p, const AffineArrays<const T>& c,
                      const EpiloguePiece<T>& e, bool stream) const {
    apply(k, x, room, p, c, false);
    k.activate(room, y, p.n, e, stream);
  }
  template <class Kernels, class E>
  void apply_gradient(const Kernels& by, const GradientPiece<E>& g, const Stretch& p,
                      const GradientArrays<const T>& c, bool stream) const {
    by.apply_gradient_cyclic(g, p.n, p.phase, period, c, stream);
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
    const bool any_extreme = pass.k.affine_arrays(affine.mean + at, affine.scale + at, affine.shift + at,
                                                  range.size(), {c[0], c[1], c[2]});
    const auto from = pass.operand(x), beside = pass.operand(epilogue.residual);
    const auto to = pass.operand(y);
    const HalfKernels* const halves = plain && !any_extreme ? half_kernels(from, to) : nullptr;
    if (halves != nullptr) c.simplify_nans();
    pass.complete(c);
    const AffineArrays<const T> arrays{c[0], c[1], c[2]};
    if constexpr (std::is_same_v<T, float>) {
      if (halves != nullptr) {
        const bool around = !in_place && pass.streams(bytes / 2);
        const auto body = [&](const auto& piece) {
          pass.apply(*halves, from.halves(piece), to.halves(piece), piece, arrays, around);
        };
        return pass.run(Pieces::kWhole, body, around);
      }
    }
    const bool dense = from.dense() && to.dense();
    const bool stream = dense && !in_place && pass.streams(bytes);
    // Channels of an extreme scale go through double, the others as they would without these.
    const auto normalize = [&](const T* p, T* q, const auto& piece, bool around) {
      if (!any_extreme) return pass.apply(pass.k, p, q, piece, arrays, around);
      alignas(64) T v[kPiece];
      pass.apply(pass.k, p, v, piece, arrays, false);
      for (std::size_t i = 0; i < piece.size(); ++i) {
        const std::size_t k = pass.channel(piece, i);
        if (!is_extreme<T>(affine.scale[k])) continue;
        v[i] =
            static_cast<T>((static_cast<double>(p[i]) - affine.mean[k]) * affine.scale[k] + affine.shift[k]);
      }
      std::copy_n(v, piece.size(), q);
    };
    const auto body = [&](const auto& piece) {
      alignas(64) T x_buffer[kPiece], residual_buffer[kPiece], y_buffer[kPiece];
      const T* p = from.load(piece, x_buffer);
      T* target = to.target(piece, y_buffer);
      if (plain) {
        normalize(p, target, piece, stream);
      } else {
        EpiloguePiece<T> e{has_residual ? beside.load(piece, residual_buffer) : nullptr, !epilogue.activate,
                           static_cast<T>(epilogue.negative_slope), epilogue.positive, s.bit_row_bytes()};
        if (e.positive != nullptr) {
          const auto [row, first] = pass.bits(e.positive, piece);
          e.positive = row + first / 8;
        }
        if (any_extreme) {
          normalize(p, x_buffer, piece, false);
          pass.k.activate(x_buffer, target, piece.size(), e, stream);
        } else {
          pass.apply_epilogue(p, target, x_buffer, piece, arrays, e, stream);
        }
      }
      to.store(piece, y_buffer);
    };
    const bool in_registers = (plain || s.planar()) && !any_extreme;
    const bool whole = dense && beside.dense() && in_registers;
    pass.run(whole ? Pieces::kWhole : Pieces::kSingle, body, stream);
  });
}

}  // namespace
}  // namespace regkern

#endif  // REGKERN_CORE_NORM_PASSES_H_
