// Scaling groups of elements by a function of their Euclidean norm: group lasso, sparse group lasso, the norm
// itself, the ball. T is float or double; y may be x itself. Formulas: regkern/reference/prox.

#ifndef REGKERN_GROUPS_H_
#define REGKERN_GROUPS_H_

#include <cstddef>
#include <cstdint>

#include "regkern/array.h"

namespace regkern {

// y = s·max(1 − t/‖s‖, 0) for every group, s the soft threshold of x by `soft` and t = threshold, times the
// group's weight unless `weights` is nullptr. Groups are `length` > 0 positions in C order.
template <class T>
void prox_groups(const Extents& shape, std::size_t length, In<T> x, Out<T> y, double threshold, T soft,
                 const T* weights);

// Group g of `count` holds the positions indices[starts[g] … starts[g + 1] − 1], or these positions
// themselves if `indices` is nullptr. No position is in two groups.
struct RaggedGroups {
  std::size_t count;
  const std::int64_t *starts, *indices;
};

// The same for groups of any length; what is in none is the soft threshold of x.
template <class T>
void prox_ragged_groups(const Extents& shape, In<T> x, Out<T> y, double threshold, T soft, const T* weights,
                        const RaggedGroups& groups);

// y = x·min(1, radius/‖x‖) for every group of `length` > 0 positions in C order.
template <class T>
void project_l2_balls(const Extents& shape, std::size_t length, In<T> x, Out<T> y, double radius);

// Both for all of x as one group.
template <class T>
void prox_l2(const Extents& shape, In<T> x, Out<T> y, double threshold);
template <class T>
void project_l2_ball(const Extents& shape, In<T> x, Out<T> y, double radius);

}  // namespace regkern

#endif  // REGKERN_GROUPS_H_
