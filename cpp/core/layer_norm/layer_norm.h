// The ways to normalize rows, one for each place that the affine parameters have in memory.

#ifndef REGKERN_CORE_LAYER_NORM_LAYER_NORM_H_
#define REGKERN_CORE_LAYER_NORM_LAYER_NORM_H_

#include "regkern/array.h"
#include "regkern/layer_norm.h"

namespace regkern::layer_norm {

// In rows: an affine parameter for each element, or for each plane of `inner` neighbours.
template <class T>
void normalize_in_rows(const RowShape& s, const RowNormForward<T>& f);

// Its gradients: with one for each element, which sets dgamma and dbeta; in planes, which adds to them.
template <class T>
void gradient_in_rows(const RowShape& s, const RowNormBackward<T>& b);
template <class T>
void gradient_in_planes(const RowShape& s, const RowNormBackward<T>& b);

// In columns: channels in the last place. The gradient adds to dgamma and dbeta.
template <class T>
void normalize_in_columns(const RowShape& s, const RowNormForward<T>& f);
template <class T>
void gradient_in_columns(const RowShape& s, const RowNormBackward<T>& b);

}  // namespace regkern::layer_norm

#endif  // REGKERN_CORE_LAYER_NORM_LAYER_NORM_H_
