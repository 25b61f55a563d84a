// Elementwise work over operands of any strides: the one way from arrays to kernels.

#ifndef REGKERN_CORE_ELEMENTWISE_H_
#define REGKERN_CORE_ELEMENTWISE_H_

#include <array>
#include <cstddef>
#include <tuple>
#include <type_traits>
#include <utility>
#include <vector>

#include "core/streaming.h"
#include "core/strided.h"
#include "core/threading.h"
#include "regkern/array.h"

namespace regkern {

inline constexpr std::size_t kBlock = 1024;  // elements gathered at once: four operands of double are 32 KiB

namespace detail {

template <class Operand>
struct Access;
template <class T>
struct Access<In<T>> {
  using Value = T;
  static constexpr bool reads = true, writes = false;
};
template <class T>
struct Access<Out<T>> {
  using Value = T;
  static constexpr bool reads = false, writes = true;
};
template <class T>
struct Access<InOut<T>> {
  using Value = T;
  static constexpr bool reads = true, writes = true;
};

}  // namespace detail

// Calls kernel(first, n, stream, pointers...) so that all positions are covered once, on one or several
// threads. Whole ranges where every operand is dense; blocks of kBlock that start at multiples of kBlock,
// gathered where needed, otherwise. An output may be the same memory as an input of the same strides.
template <class Kernel, class... Operands>
void for_elements(const Extents& shape, Order order, Kernel&& kernel, Operands... operands) {
  constexpr std::size_t K = sizeof...(Operands);
  using T = std::common_type_t<typename detail::Access<Operands>::Value...>;
  const std::size_t n = shape.size;
  if (n == 0) return;
  const std::size_t bytes = n * sizeof(T) * K;
  const int team = threading::team_for(bytes);
  const auto dense = [&](auto... pointers) {
    const bool stream = worth_streaming(bytes);
    threading::for_ranges(team, n, kBlock, [&](std::size_t begin, std::size_t end) {
      kernel(begin, end - begin, stream, (pointers + begin)...);
    });
  };
  if (((operands.strides == nullptr) && ...)) return dense(operands.data...);

  const auto walk = make_walk<K>(shape, order, {operands.strides...}, sizeof(T));
  const auto with_indices = [&]<std::size_t... k>(std::index_sequence<k...>) {
    if ((walk[k].dense(operands.data) && ...)) return dense(operands.data...);
    threading::for_ranges(team, n, kBlock, [&](std::size_t begin, std::size_t end) {
      alignas(64) T buffers[K][kBlock];
      for (std::size_t first = begin; first < end; first += kBlock) {
        const std::size_t length = std::min(kBlock, end - first);
        std::tuple<decltype(operands.data)...> pointers;
        const auto load = [&]<std::size_t i, class Operand>(const Operand& operand) {
          if (walk[i].dense(operand.data)) {
            std::get<i>(pointers) = operand.data + first;
          } else {
            if constexpr (detail::Access<Operand>::reads)
              walk[i].gather(operand.data, first, length, buffers[i]);
            std::get<i>(pointers) = buffers[i];
          }
        };
        const auto store = [&]<std::size_t i, class Operand>(const Operand& operand) {
          if constexpr (detail::Access<Operand>::writes) {
            if (!walk[i].dense(operand.data)) walk[i].scatter(buffers[i], operand.data, first, length);
          }
        };
        (load.template operator()<k>(operands), ...);
        kernel(first, length, false, std::get<k>(pointers)...);
        (store.template operator()<k>(operands), ...);
      }
    });
  };
  with_indices(std::make_index_sequence<K>());
}

// Σ of kernel(pointer, n) over blocks of fixed size, added in the order of the blocks: the same bits for
// every team.
template <class Kernel, class T>
double sum_elements(const Extents& shape, Kernel&& kernel, In<T> x) {
  constexpr std::size_t kSumBlock = 4 * kBlock;
  const std::size_t n = shape.size;
  if (n <= kSumBlock && x.strides == nullptr) return n == 0 ? 0.0 : kernel(x.data, n);
  if (n == 0) return 0.0;
  std::vector<double> partial((n + kSumBlock - 1) / kSumBlock);
  Strided walk;
  bool dense = x.strides == nullptr;
  if (!dense) {
    walk = make_walk<1>(shape, Order::kAny, {x.strides}, sizeof(T))[0];
    dense = walk.dense(x.data);
  }
  threading::for_ranges(threading::team_for(n * sizeof(T)), n, kSumBlock,
                        [&](std::size_t begin, std::size_t end) {
                          alignas(64) T buffer[kSumBlock];
                          for (std::size_t first = begin; first < end; first += kSumBlock) {
                            const std::size_t length = std::min(kSumBlock, end - first);
                            const T* block = x.data + first;
                            if (!dense) {
                              walk.gather(x.data, first, length, buffer);
                              block = buffer;
                            }
                            partial[first / kSumBlock] = kernel(block, length);
                          }
                        });
  double total = 0;
  for (const double part : partial) total += part;
  return total;
}

}  // namespace regkern

#endif  // REGKERN_CORE_ELEMENTWISE_H_
