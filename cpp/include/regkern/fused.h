// Dropout in one pass with what stands beside it in a network. Contract: regkern/reference/dropouts/fused.py.

#ifndef REGKERN_FUSED_H_
#define REGKERN_FUSED_H_

#include "regkern/array.h"
#include "regkern/dropout.h"

namespace regkern {

// y = residual + scale·(x + bias) where kept, residual elsewhere. bias: as long as the last dimension, dense,
// or nullptr for none. residual.data may be nullptr for none. y may be x or residual.
template <class T>
void bias_dropout_add(const Extents& shape, In<T> x, const T* bias, In<T> residual, Out<T> y,
                      const Bernoulli& mask, double scale);

// dx = scale·dy where kept, +0.0 elsewhere; dbias[0 .. last dimension) = the sums of dx over all others. dx
// may be dy.
template <class T>
void bias_dropout_add_backward(const Extents& shape, In<T> dy, Out<T> dx, T* dbias, const Bernoulli& mask,
                               double scale);

// ReLU(x) = max(x, 0). GELU(x) = x·Φ(x), or x·logistic(2·√(2/π)·(x + 0.044715·x³)) as its approximation.
enum class Activation { kRelu, kGelu, kGeluTanh };

// y = scale·f(x) where kept, +0.0 elsewhere; y may be x.
template <class T>
void activation_dropout(const Extents& shape, Activation f, In<T> x, Out<T> y, const Bernoulli& mask,
                        double scale);

// dx = scale·f'(x)·dy where kept, +0.0 elsewhere; dx may be dy or x.
template <class T>
void activation_dropout_backward(const Extents& shape, Activation f, In<T> dy, In<T> x, Out<T> dx,
                                 const Bernoulli& mask, double scale);

// y = scale·softmax(x) over the last dimension where kept, +0.0 elsewhere; y may be x.
template <class T>
void softmax_dropout(const Extents& shape, In<T> x, Out<T> y, const Bernoulli& mask, double scale);

// dx = s·(g − Σ g·s) over the last dimension, with s = softmax(x) and g = scale·dy where kept, 0 elsewhere;
// dx may be dy or x.
template <class T>
void softmax_dropout_backward(const Extents& shape, In<T> dy, In<T> x, Out<T> dx, const Bernoulli& mask,
                              double scale);

}  // namespace regkern

#endif  // REGKERN_FUSED_H_
