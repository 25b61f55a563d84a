// Groups of elements, scaled by a function of their norm. Threads share the groups, each of which is one
// piece; a single group is cut into blocks, whose sums are added in their order.

#include "regkern/groups.h"

#include <algorithm>
#include <cmath>
#include <cstdint>
#include <cstring>
#include <vector>

#undef HWY_TARGET_INCLUDE
#define HWY_TARGET_INCLUDE "core/groups.cc"
#include "hwy/foreach_target.h"

#include "core/dispatch.h"
#include "core/rows.h"
#include "kernels/groups-inl.h"
#include "kernels/prox.h"

#define REGKERN_FAMILY groups
#define REGKERN_KERNELS(X) \
  X(scale_groups)          \
  X(sum_squares)           \
  X(group_factor)          \
  X(scale)
#include "core/table-inl.h"

#if HWY_ONCE
namespace regkern {
namespace {

template <class T>
void scale_rows(const Extents& shape, std::size_t length, In<T> x, Out<T> y, const T* weights,
                const GroupRule<T>& rule) {
  const auto kernel = table<T>().scale_groups;
  for_rows(shape, length, x, y, 1, 0,
           [=](const T* from, T* to, std::size_t first, std::size_t rows, bool stream, std::byte*) {
             kernel(from, to, rows, length, weights == nullptr ? nullptr : weights + first, rule, stream);
           });
}

// All of x as one group.
template <class T>
void scale_all(const Extents& shape, In<T> x, Out<T> y, double t, bool ball) {
  const Table<T>& k = table<T>();
  const double norm = norm_of([&](double c) {
    return sum_elements(shape, [&](const T* p, std::size_t n) { return k.sum_squares(p, n, T(0), c); }, x);
  });
  const T factor = k.group_factor(norm, t, ball);
  for_elements(
      shape, Order::kAny,
      [=, kernel = k.scale](std::size_t, std::size_t n, bool stream, const T* from, T* to) {
        kernel(from, to, n, factor, ball, stream);
      },
      x, y);
}

}  // namespace

template <class T>
void prox_groups(const Extents& shape, std::size_t length, In<T> x, Out<T> y, double threshold, T soft,
                 const T* weights) {
  scale_rows(shape, length, x, y, weights, GroupRule<T>{threshold, soft, false});
}

template <class T>
void project_l2_balls(const Extents& shape, std::size_t length, In<T> x, Out<T> y, double radius) {
  scale_rows(shape, length, x, y, static_cast<const T*>(nullptr), GroupRule<T>{radius, T(0), true});
}

template <class T>
void prox_ragged_groups(const Extents& shape, In<T> x, Out<T> y, double threshold, T soft, const T* weights,
                        const RaggedGroups& ragged) {
  const std::size_t groups = ragged.count;  // Clang's OpenMP captures no structured binding
  const std::int64_t *const starts = ragged.starts, *const indices = ragged.indices;
  const Elements<In<T>, Out<T>> elements(shape, Order::kC, x, y);
  const auto kernel = table<T>().scale_groups;
  const GroupRule<T> rule{threshold, soft, false};
  const std::size_t bytes = 2 * shape.size * sizeof(T);
  const auto members = static_cast<std::size_t>(starts[groups] - starts[0]);
  const bool mixed = soft != 0 && members < shape.size;  // what is in no group gets the soft threshold alone
  std::vector<std::uint8_t> grouped(mixed ? shape.size : 0);  // whether a position is in a group
  if (mixed && indices == nullptr) std::fill_n(grouped.begin() + starts[0], members, 1);
  for (std::int64_t i = starts[0]; mixed && indices != nullptr && i < starts[groups]; ++i) {
    grouped[static_cast<std::size_t>(indices[i])] = 1;
  }
  for_elements(
      shape, Order::kC,
      [=, in_group = grouped.data()](std::size_t first, std::size_t n, bool, const T* from, T* to) {
        if (!mixed) {
          if (from != to) std::memcpy(to, from, n * sizeof(T));
          return;
        }
        for (std::size_t i = 0; i < n; ++i) {
          const T v = from[i];
          to[i] = in_group[first + i] ? v : std::abs(v) <= soft ? T(0) : v - std::copysign(soft, v);
        }
      },
      x, y);
  std::size_t longest = 0;
  for (std::size_t g = 0; g < groups; ++g) {
    longest = std::max(longest, static_cast<std::size_t>(starts[g + 1] - starts[g]));
  }
  const threading::Team parts = threading::team_for(bytes).at_most(groups);
  std::vector<T> gathered(parts.count() * longest);
  threading::for_row_shares(parts, groups, [&](std::size_t begin, std::size_t end, std::size_t part) {
    T* const group = gathered.data() + part * longest;
    for (std::size_t g = begin; g < end; ++g) {
      const auto first = static_cast<std::size_t>(starts[g]);
      const std::size_t n = static_cast<std::size_t>(starts[g + 1]) - first;
      if (n == 0) continue;
      const T* const weight = weights == nullptr ? nullptr : weights + g;
      if (indices == nullptr && elements.dense()) {
        kernel(x.data + first, y.data + first, 1, n, weight, rule, false);
        continue;
      }
      const auto each = [&](auto&& move) {
        if (indices == nullptr) return move(first, n, group);
        for (std::size_t i = 0; i < n; ++i) move(static_cast<std::size_t>(indices[first + i]), 1, group + i);
      };
      each([&](std::size_t at, std::size_t count, T* to) {
        if (elements.dense()) {
          *to = x.data[at];
        } else {
          elements.template gather<0>(at, count, to);
        }
      });
      kernel(group, group, 1, n, weight, rule, false);
      each([&](std::size_t at, std::size_t count, const T* from) {
        if (elements.dense()) {
          y.data[at] = *from;
        } else {
          elements.template scatter<1>(from, at, count);
        }
      });
    }
  });
}

template <class T>
void prox_l2(const Extents& shape, In<T> x, Out<T> y, double threshold) {
  scale_all(shape, x, y, threshold, false);
}

template <class T>
void project_l2_ball(const Extents& shape, In<T> x, Out<T> y, double radius) {
  scale_all(shape, x, y, radius, true);
}

#define REGKERN_INSTANTIATE(T)                                                                               \
  template void prox_groups(const Extents&, std::size_t, In<T>, Out<T>, double, T, const T*);                \
  template void prox_ragged_groups(const Extents&, In<T>, Out<T>, double, T, const T*, const RaggedGroups&); \
  template void project_l2_balls(const Extents&, std::size_t, In<T>, Out<T>, double);                        \
  template void prox_l2(const Extents&, In<T>, Out<T>, double);                                              \
  template void project_l2_ball(const Extents&, In<T>, Out<T>, double);
REGKERN_INSTANTIATE(float)
REGKERN_INSTANTIATE(double)
#undef REGKERN_INSTANTIATE

}  // namespace regkern
#endif  // HWY_ONCE
