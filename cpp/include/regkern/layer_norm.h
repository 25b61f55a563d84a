// Normalization of rows (layer norm, RMS norm) and of groups of channels (group norm, instance norm), forward
// and backward. Formulas: regkern/reference/norms/rows.py.

#ifndef REGKERN_LAYER_NORM_H_
#define REGKERN_LAYER_NORM_H_

#include <cstddef>

#include "regkern/array.h"

namespace regkern {

// An array whose C order is rows of `length` elements, each normalized on its own. Element i of a row has
// gamma and beta number i div inner, and row r those from r mod (channels · inner / length) · length / inner
// on: for layer norm inner is 1 and there are `length` of them, for group norm there is one a channel, for
// `inner` positions. Where the channels come last, the C order is sample × position × channel, and a row is
// the `inner` positions of `row_channels` neighbouring channels of a sample.
struct RowShape {
  RowShape(const Extents& extents, std::size_t row_length, std::size_t positions, std::size_t affine,
           bool last = false)
      : shape(extents), length(row_length), inner(positions), channels(affine), channels_last(last) {
    rows = length == 0 ? 0 : shape.size / length;
    row_channels = length / inner;
  }
  // Where the affine parameters of row `row` begin.
  std::size_t first_channel(std::size_t row) const { return row * row_channels % channels; }

  Extents shape;
  std::size_t length, inner, channels, rows;
  std::size_t row_channels;  // how many affine parameters belong to a row
  bool channels_last;
};

// The operands of the forward. gamma, beta: dense, or nullptr for 1 and 0.
template <class T>
struct RowNormForward {
  bool centred;
  In<T> x, residual;
  Out<T> h, y;
  const T *gamma, *beta;
  double eps;
  double *mean, *invstd;  // written, one a row
};

// h = x + residual, where residual has data, is written and normalized in place of x.
//   centred:  y = (h − mean)·invstd·gamma + beta, invstd = 1/√(variance + eps)
//   else:     y = h·invstd·gamma,                 invstd = 1/√(mean square + eps); beta is not used
// y may be x.
template <class T>
void row_norm(const RowShape& shape, const RowNormForward<T>& operands);

template <class T>
struct RowNormBackward {
  bool centred;
  In<T> dy, x;
  Out<T> dx;
  const T* gamma;
  const double *mean, *invstd;
  double *dgamma, *dbeta;  // written, `channels` of each
};

// dx, dgamma = Σ dy·x̂ and dbeta = Σ dy. dx may be dy.
template <class T>
void row_norm_backward(const RowShape& shape, const RowNormBackward<T>& operands);

}  // namespace regkern

#endif  // REGKERN_LAYER_NORM_H_
