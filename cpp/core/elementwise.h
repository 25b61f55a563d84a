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
#include "kernels/half.h"
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

// Bytes that an element of an operand takes.
template <class Operand>
std::size_t bytes_each(const Operand& operand) {
  return operand.storage == Storage::kNative ? sizeof(typename detail::Access<Operand>::Value) : 2;
}

// Operands of one shape on one walk. run() works through any range of positions, so callers may cut the work
// as they like.
template <class... Operands>
class Elements {
 public:
  static constexpr std::size_t K = sizeof...(Operands);
  using T = std::common_type_t<typename detail::Access<Operands>::Value...>;

  Elements(const Extents& shape, Order order, Operands... operands) : operands_(operands...) {
    dense_ = ((operands.strides == nullptr) && ...);
    if (dense_ || shape.size == 0) return;
    walk_ = make_walk<K>(shape, order, {OperandLayout(operands)...}, sizeof(T));
    std::size_t k = 0;
    dense_ = (walk_[k++].dense(operands.data) && ...);
  }

  bool dense() const { return dense_; }

  // Calls kernel(first, n, stream, pointers...) so that positions [begin, end) are covered: once where every
  // operand is dense; else by blocks that end at multiples of kBlock, gathered where needed.
  template <class Kernel>
  void run(std::size_t begin, std::size_t end, bool stream, Kernel&& kernel) const {
    if (dense_) {
      std::apply([&](auto... o) { kernel(begin, end - begin, stream, (o.data + begin)...); }, operands_);
    } else {
      run_blocks(begin, end, kernel, std::make_index_sequence<K>());
    }
  }

  // Positions [first, first + n) of operand k where they lie, or, if they are not dense, in `buffer`: to
  // read, after a copy; to write, before one.
  template <std::size_t k>
  const T* load(std::size_t first, std::size_t n, T* buffer) const {
    if (dense_ || walk_[k].dense(std::get<k>(operands_).data)) return std::get<k>(operands_).data + first;
    gather<k>(first, n, buffer);
    return buffer;
  }
  template <std::size_t k>
  T* target(std::size_t first, T* buffer) const {
    return dense_ || walk_[k].dense(std::get<k>(operands_).data) ? std::get<k>(operands_).data + first
                                                                 : buffer;
  }
  template <std::size_t k>
  void store(std::size_t first, std::size_t n, const T* from) const {
    if (!(dense_ || walk_[k].dense(std::get<k>(operands_).data))) scatter<k>(from, first, n);
  }

  // Positions [first, first + n) of operand k, to and from a buffer.
  template <std::size_t k>
  void gather(std::size_t first, std::size_t n, T* to) const {
    walk_[k].gather(std::get<k>(operands_).data, first, n, to);
  }
  template <std::size_t k>
  void scatter(const T* from, std::size_t first, std::size_t n) const {
    walk_[k].scatter(from, std::get<k>(operands_).data, first, n);
  }

 private:
  template <class Kernel, std::size_t... k>
  void run_blocks(std::size_t begin, std::size_t end, Kernel& kernel, std::index_sequence<k...>) const {
    alignas(64) T buffers[K][kBlock];
    for (std::size_t first = begin; first < end;) {
      const std::size_t length = std::min(kBlock - first % kBlock, end - first);
      std::tuple<decltype(Operands::data)...> pointers;
      const auto load = [&]<std::size_t i, class Operand>(const Operand& operand) {
        if (walk_[i].dense(operand.data)) {
          std::get<i>(pointers) = operand.data + first;
        } else {
          if constexpr (detail::Access<Operand>::reads)
            walk_[i].gather(operand.data, first, length, buffers[i]);
          std::get<i>(pointers) = buffers[i];
        }
      };
      const auto store = [&]<std::size_t i, class Operand>(const Operand& operand) {
        if constexpr (detail::Access<Operand>::writes) {
          if (!walk_[i].dense(operand.data)) walk_[i].scatter(buffers[i], operand.data, first, length);
        }
      };
      (load.template operator()<k>(std::get<k>(operands_)), ...);
      kernel(first, length, false, std::get<k>(pointers)...);
      (store.template operator()<k>(std::get<k>(operands_)), ...);
      first += length;
    }
  }

  std::tuple<Operands...> operands_;
  bool dense_;
  std::array<Strided, K> walk_;
};

// Calls kernel(first, n, stream, pointers...) so that all positions are covered once, on one or several
// threads, in ranges that start at multiples of kBlock. An output may be the same memory as an input of the
// same strides.
template <class Kernel, class... Operands>
void for_elements(const Extents& shape, Order order, Kernel&& kernel, Operands... operands) {
  const Elements<Operands...> elements(shape, order, operands...);
  const std::size_t bytes = shape.size * (bytes_each(operands) + ...);
  const bool stream = worth_streaming(bytes);
  threading::for_ranges(
      threading::team_for(bytes), shape.size, kBlock,
      [&](std::size_t begin, std::size_t end) { elements.run(begin, end, stream, kernel); });
}

// body(x): with an array of Half, which is dense where its numbers lie side by side, if they are of half
// precision; for what has kernels of them.
template <class T, class Body>
auto as_stored(In<T> x, Body&& body) {
  if constexpr (std::is_same_v<T, float>) {
    const auto halves = [&]<class H>(H) {
      return body(In<H>{reinterpret_cast<const H*>(x.data), x.strides});
    };
    if (x.storage == Storage::kBfloat16) return halves(HalfBfloat16());
    if (x.storage == Storage::kFloat16) return halves(HalfFloat16());
  }
  return body(x);
}

// body(x, y): the same if both are of one precision.
template <class T, class Body>
void as_stored(In<T> x, Out<T> y, Body&& body) {
  if (x.storage != y.storage) return body(x, y);
  as_stored(x, [&]<class E>(In<E> from) { body(from, Out<E>{reinterpret_cast<E*>(y.data), y.strides}); });
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
    walk = make_walk<1>(shape, Order::kAny, {OperandLayout(x)}, sizeof(T))[0];
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
