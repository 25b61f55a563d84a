// Batch normalization, forward and backward, for arrays of any shape and any channel axis.
// Formulas: regkern/reference/norm.py.

#ifndef REGKERN_NORM_H_
#define REGKERN_NORM_H_

#include <cstddef>

#include "regkern/array.h"

namespace regkern {

// x seen as (outer, channels, inner): the axes before, at and after the channel axis.
struct ChannelShape {
  ChannelShape(const Extents& extents, int channel_axis);

  // Elements of one channel.
  std::size_t count() const { return outer * inner; }

  Extents shape;
  int axis;
  std::size_t outer = 1;
  std::size_t channels = 1;
  std::size_t inner = 1;
};

// mean[c] and the biased variance var[c] of each channel, centred and merged in double. Zeros for an empty
// batch.
template <class T>
void batch_norm_stats(const ChannelShape& shape, In<T> x, double* mean, double* var);

// y = (x − mean)·scale + shift, one of each a channel; y may be x itself.
template <class T>
void batch_norm_apply(const ChannelShape& shape, In<T> x, Out<T> y, const double* mean, const double* scale,
                      const double* shift);

// Statistics, then y = gamma·(x − mean)·invstd + beta with invstd = 1/√(var + eps). gamma and beta: dense, or
// nullptr for 1 and 0. Writes mean, var and invstd.
template <class T>
void batch_norm_train(const ChannelShape& shape, In<T> x, Out<T> y, const T* gamma, const T* beta, double eps,
                      double* mean, double* var, double* invstd);

// The two halves of the backward pass, so that what lies between can be summed over several batches:
//   sum_dy[c] = Σdy and sum_dev[c] = Σdy·(x − mean);
//   dx = (dy − sum_dy/n)·scale − (x − mean)·scale·invstd²·sum_dev/n with n elements a channel in all; dx may
//   be dy.
template <class T>
void batch_norm_backward_reduce(const ChannelShape& shape, In<T> x, In<T> dy, const double* mean,
                                double* sum_dy, double* sum_dev);
template <class T>
void batch_norm_backward_apply(const ChannelShape& shape, In<T> x, In<T> dy, Out<T> dx, double n,
                               const double* mean, const double* invstd, const double* scale,
                               const double* sum_dy, const double* sum_dev);

// dx, dgamma[c] = Σdy·x̂ and dbeta[c] = Σdy, all three; dx may be dy itself. `training`: mean and invstd came
// from x.
template <class T>
void batch_norm_backward(const ChannelShape& shape, In<T> x, In<T> dy, Out<T> dx, const T* gamma,
                         const double* mean, const double* invstd, bool training, double* dgamma,
                         double* dbeta);

}  // namespace regkern

#endif  // REGKERN_NORM_H_
