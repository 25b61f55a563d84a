// Which way each norm of rows goes.

#include "core/layer_norm/layer_norm.h"

#include <algorithm>
#include <vector>

namespace regkern {
namespace {

// Below a vector or two a plane is not worth a call: its parameters are repeated, one an element.
bool tiny_planes(const RowShape& s) { return s.inner > 1 && s.inner < 32 && !s.channels_last; }

RowShape with_one_each(const RowShape& s) { return {s.shape, s.length, 1, s.channels * s.inner}; }

template <class T>
std::vector<T> repeated(const RowShape& s, const T* parameter) {
  std::vector<T> each;
  if (parameter == nullptr) return each;
  each.reserve(s.channels * s.inner);
  for (std::size_t c = 0; c < s.channels; ++c) each.insert(each.end(), s.inner, parameter[c]);
  return each;
}

}  // namespace

template <class T>
void row_norm(const RowShape& s, const RowNormForward<T>& operands) {
  if (s.rows == 0) return;
  RowNormForward<T> forward = operands;
  if (s.channels_last && s.inner > 1) {
    layer_norm::normalize_in_columns(s, forward);
  } else if (tiny_planes(s)) {
    const std::vector<T> gammas = repeated(s, forward.gamma), betas = repeated(s, forward.beta);
    if (forward.gamma != nullptr) forward.gamma = gammas.data();
    if (forward.beta != nullptr) forward.beta = betas.data();
    layer_norm::normalize_in_rows(with_one_each(s), forward);
  } else {
    layer_norm::normalize_in_rows(s, forward);
  }
}

template <class T>
void row_norm_backward(const RowShape& s, const RowNormBackward<T>& operands) {
  if (s.rows != 0 && s.inner == 1) return layer_norm::gradient_in_rows(s, operands);
  std::fill_n(operands.dgamma, s.channels, 0.0);
  std::fill_n(operands.dbeta, s.channels, 0.0);
  if (s.rows == 0) return;
  if (s.channels_last) {
    layer_norm::gradient_in_columns(s, operands);
  } else if (tiny_planes(s)) {
    const std::vector<T> gammas = repeated(s, operands.gamma);
    std::vector<double> each(2 * s.channels * s.inner);
    RowNormBackward<T> backward = operands;
    backward.dgamma = each.data();
    backward.dbeta = each.data() + s.channels * s.inner;
    if (operands.gamma != nullptr) backward.gamma = gammas.data();
    layer_norm::gradient_in_rows(with_one_each(s), backward);
    for (std::size_t i = 0; i < s.channels * s.inner; ++i) {
      operands.dgamma[i / s.inner] += backward.dgamma[i];
      operands.dbeta[i / s.inner] += backward.dbeta[i];
    }
  } else {
    layer_norm::gradient_in_planes(s, operands);
  }
}

#define REGKERN_INSTANTIATE(T)                                       \
  template void row_norm(const RowShape&, const RowNormForward<T>&); \
  template void row_norm_backward(const RowShape&, const RowNormBackward<T>&)
REGKERN_INSTANTIATE(float);
REGKERN_INSTANTIATE(double);
#undef REGKERN_INSTANTIATE

}  // namespace regkern
