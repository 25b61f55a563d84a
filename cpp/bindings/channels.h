// What the bindings of batch norm have in common: the channels of an array, the parts of a batch.

#ifndef REGKERN_BINDINGS_CHANNELS_H_
#define REGKERN_BINDINGS_CHANNELS_H_

#include <algorithm>
#include <cstdint>
#include <cstring>
#include <string>
#include <vector>

#include "arrays.h"
#include "order.h"
#include "regkern/norm.h"

namespace regkern::bindings {

// What all functions check of the channels, and of what comes one a channel.
struct Channels {
  Channels(const char* function, const Array& x, py::handle axis_argument, const char* axis_name = "axis")
      : f(function) {
    if (x.ndim() < 2) value_error({f, "x"}, "have rank >= 2", "shape " + shape_text(x.ndim(), x.shape()));
    axis = axis_of({f, axis_name}, axis_argument, x);
    count = static_cast<std::size_t>(x.dim(axis));
  }
  // Statistics, in float64.
  Array statistic(const char* name, py::handle value) const {
    const Array a = dense_vector(input({f, name}, value));
    require_float64({f, name}, a);
    require_vector({f, name}, a, count);
    return a;
  }
  // A parameter or a running statistic, in the dtype of x or float32 beside half precision, or none.
  Array parameter(const char* name, py::handle value, const Array& x, bool written = false) const {
    const Array a = beside({f, name}, value, x, written);
    if (a) require_vector({f, name}, a, count);
    return a;
  }
  const char* f;
  int axis;
  std::size_t count;
};

// None, or an array of x's dtype, or float32, and shape: weights that Python has broadcast, a residual.
inline Array like_x(Arg arg, py::handle value, const Array& x) {
  const Array a = beside(arg, value, x);
  if (a) require_same_shape(arg, a, x);
  return a;
}

template <class T>
std::vector<double> to_doubles(const Array& vector) {
  std::vector<T> values(vector.size());
  regkern::read(vector.extents(), vector.in<T>(), values.data());
  return {values.begin(), values.end()};
}

// (Σw)²/Σw² over the positions of a channel, of the moments of the weights: how many elements they leave, n
// where all are 0 or 1. dims are those of x, steps the strides of the weights; what one of 0 repeats is read
// once.
template <class T>
double effective_count(In<T> weights, const std::ptrdiff_t* steps, std::vector<std::ptrdiff_t> dims,
                       int channel) {
  double times = 1;
  bool dense =
      weights.storage == Storage::kNative && reinterpret_cast<std::uintptr_t>(weights.data) % alignof(T) == 0;
  std::ptrdiff_t run = sizeof(T);
  const auto ndim = static_cast<int>(dims.size());
  for (int i = ndim; i-- > 0;) {
    std::ptrdiff_t& length = dims[static_cast<std::size_t>(i)];
    if (i != channel && steps[i] == 0) times *= static_cast<double>(length);
    if (i == channel || steps[i] == 0) length = 1;
    dense = dense && (length == 1 || steps[i] == run);
    run *= length;
  }
  double mean, var;
  const Extents extents(ndim, dims.data());
  const In<T> once{weights.data, dense ? nullptr : steps, weights.storage};
  const double n = batch_norm_stats<T>(ChannelShape(extents, channel), once, {}, &mean, &var);
  if (mean * mean > 1e-270 && mean * mean < 1e270) return times * n / (1 + var / (mean * mean));
  std::vector<T> w(extents.size);  // squares of float64 weights may leave its range
  regkern::read(extents, once, w.data());
  double sum = 0, squares = 0;
  for (const T v : w) {
    const double share = static_cast<double>(v) / mean;
    sum += share;
    squares += share * share;
  }
  return times * sum * (sum / squares);
}

}  // namespace regkern::bindings

#endif  // REGKERN_BINDINGS_CHANNELS_H_
