// Batch normalization, forward and backward, for arrays of any shape and any channel axis.
// Formulas: regkern/reference/norms/batch.py.

#ifndef REGKERN_NORM_H_
#define REGKERN_NORM_H_

#include <cstddef>
#include <cstdint>
#include <vector>

#include "regkern/array.h"

namespace regkern {

// x seen as (outer, channels, inner): the axes before, at and after the channel axis.
struct ChannelShape {
  ChannelShape(const Extents& extents, int channel_axis);

  // Elements of one channel.
  std::size_t count() const { return outer * inner; }
  // Whether a channel's neighbours are worth a vector; else x is a matrix of `outer` rows.
  bool planar() const { return inner >= 16; }
  // Room for a bit an element: whole bytes for each row of `inner`, or for a matrix as a whole, and some
  // more, so that a word can be read anywhere.
  static constexpr std::size_t kBitsBehind = 8;  // bytes
  std::size_t bit_bytes() const { return (planar() ? outer * channels : 1) * bit_row_bytes() + kBitsBehind; }
  std::size_t bit_row_bytes() const { return ((planar() ? inner : shape.size) + 7) / 8; }

  Extents shape;
  int axis;
  std::size_t outer = 1;
  std::size_t channels = 1;
  std::size_t inner = 1;
};

// What follows the normalization: y = f(v + residual), where f is the identity or a leaky ReLU.
template <class T>
struct Epilogue {
  In<T> residual;  // no data: none
  bool activate = false;
  double negative_slope = 0;         // 0: ReLU
  std::uint8_t* positive = nullptr;  // bit_bytes() of bits, 1 where the activation passed; nullptr: not kept
};

// The gradient with respect to y, and how the forward ended.
template <class T>
struct Incoming {
  In<T> dy;
  const std::uint8_t* positive = nullptr;  // nullptr: no activation
  double negative_slope = 0;
};

// mean[c] and the biased variance var[c] of each channel, in double; returns the elements a channel, or the
// sum of `weights` (of x's shape, strides of 0 where it is broadcast) where these are given. Zeros where that
// is 0.
template <class T>
double batch_norm_stats(const ChannelShape& shape, In<T> x, In<T> weights, double* mean, double* var);

// What a channel is normalized by: invstd = 1/√(var + eps), scale = gamma·invstd and shift = beta, in double;
// gamma and beta may be nullptr for 1 and 0.
struct BatchNormScales {
  std::vector<double> invstd, scale, shift;
};
template <class T>
BatchNormScales batch_norm_scales(const double* var, const T* gamma, const T* beta, double eps,
                                  std::size_t channels);

// y = (x − mean)·scale + shift, one of each a channel, and the epilogue; y may be x or the residual.
template <class T>
void batch_norm_apply(const ChannelShape& shape, In<T> x, Out<T> y, const double* mean, const double* scale,
                      const double* shift, const Epilogue<T>& epilogue = {});

// The operands of a training forward. gamma and beta: dense, one a channel, or nullptr for 1 and 0.
template <class T>
struct BatchNormTraining {
  In<T> x;
  In<T> weights = {};
  Out<T> y;
  const T *gamma = nullptr, *beta = nullptr;
  double eps = 0;
  double *mean, *var, *invstd;  // written, one a channel
  Epilogue<T> epilogue = {};
};

// Statistics, then y = gamma·(x − mean)·invstd + beta with invstd = 1/√(var + eps), then the epilogue.
// Returns what batch_norm_stats does.
template <class T>
double batch_norm_train(const ChannelShape& shape, const BatchNormTraining<T>& operands);

// running ← (1 − momentum)·running + momentum·(batch·factor) for n channels.
template <class T>
void batch_norm_update(const double* batch, double momentum, double factor, std::size_t n, T* running);

// The operands of a backward pass. dx and residual are written where they have data; one of them may be dy.
template <class T>
struct BatchNormGradient {
  In<T> x;
  Incoming<T> dy = {};
  In<T> weights = {};
  Out<T> dx = {}, residual = {};
  const T* gamma = nullptr;  // dense, or nullptr for 1
  const double *mean = nullptr, *invstd = nullptr;
  double count = 0;     // elements a channel, or the sum of their weights
  bool frozen = false;  // whether the statistics do not depend on x
};

// The two halves of the backward pass, so that what lies between can be summed over several batches. g is dy
// before the activation:
//   sum_dy[c] = Σg and sum_dy_xhat[c] = Σg·x̂, which leave out what has weight 0; sum_dev is Σg·(x − mean);
//   dx = g·s − w·(sum_dy·s + (x − mean)·s·invstd²·sum_dev)/count with s = gamma·invstd, w = 1 where there are
//   no weights, and dx = g·s where the statistics are frozen; residual = g.
template <class T>
void batch_norm_backward_reduce(const ChannelShape& shape, const BatchNormGradient<T>& operands,
                                double* sum_dy, double* sum_dy_xhat);
template <class T>
void batch_norm_backward_apply(const ChannelShape& shape, const BatchNormGradient<T>& operands,
                               const double* sum_dy, const double* sum_dev);

// Both, and dgamma[c] = Σg·x̂, dbeta[c] = Σg unless these are nullptr.
template <class T>
void batch_norm_backward(const ChannelShape& shape, const BatchNormGradient<T>& operands, double* dgamma,
                         double* dbeta);

}  // namespace regkern

#endif  // REGKERN_NORM_H_
