// Dropout in one pass with bias and residual, activations and softmax. Threads share blocks of elements, or
// rows where a row has a sum; the sums of a bias are taken over blocks of rows and added in their order.

#include "regkern/fused.h"

#undef HWY_TARGET_INCLUDE
#define HWY_TARGET_INCLUDE "core/fused.cc"
#include "hwy/foreach_target.h"

#include <algorithm>
#include <vector>

#include "core/across.h"
#include "core/dispatch.h"
#include "core/elementwise.h"
#include "kernels/fused-inl.h"

#define REGKERN_FAMILY fused
#define REGKERN_KERNELS(X)      \
  X(bias_dropout_add)           \
  X(bias_dropout_add_backward)  \
  X(relu_dropout)               \
  X(gelu_dropout)               \
  X(gelu_tanh_dropout)          \
  X(relu_dropout_backward)      \
  X(gelu_dropout_backward)      \
  X(gelu_tanh_dropout_backward) \
  X(softmax_dropout)            \
  X(softmax_dropout_backward)
#include "core/table-inl.h"

#if HWY_ONCE
namespace regkern {
namespace {

static_assert(kBlock % HWY_NAMESPACE::fused::kDropoutChunk == 0,
              "what is gathered at once ends where a chunk of sums does");

std::size_t last_dimension(const Extents& shape) {
  return shape.ndim == 0 ? shape.size : static_cast<std::size_t>(shape.dims[shape.ndim - 1]);
}

}  // namespace

template <class T>
void bias_dropout_add(const Extents& shape, In<T> x, const T* bias, In<T> residual, Out<T> y,
                      const Bernoulli& mask, double scale) {
  if (shape.size == 0) return;
  const auto kernel = table<T>().bias_dropout_add;
  const std::size_t period = last_dimension(shape);
  const bool turns = bias == nullptr;
  std::vector<T> repeated(
      bias == nullptr ? 0 : period + std::min(shape.size, HWY_NAMESPACE::fused::kLongestPiece));
  for (std::size_t j = 0; j < repeated.size(); ++j) repeated[j] = j < period ? bias[j] : repeated[j - period];
  if (bias != nullptr) bias = repeated.data();
  if (residual.data == nullptr) {
    for_decided(
        shape, {.drawn = mask}, turns,
        [=](const std::int8_t* decided, std::size_t first, std::size_t n, bool stream, const T* from, T* to) {
          kernel(from, bias, period, nullptr, to, n, {mask.with(decided), first, scale},
                 stream && from != to);
        },
        x, y);
    return;
  }
  for_decided(
      shape, {.drawn = mask}, turns,
      [=](const std::int8_t* decided, std::size_t first, std::size_t n, bool stream, const T* from,
          const T* beside, T* to) {
        kernel(from, bias, period, beside, to, n, {mask.with(decided), first, scale},
               stream && from != to && beside != to);
      },
      x, residual, y);
}

template <class T>
void bias_dropout_add_backward(const Extents& shape, In<T> dy, Out<T> dx, T* dbias, const Bernoulli& mask,
                               double scale) {
  const std::size_t n = shape.size, columns = last_dimension(shape);
  std::fill_n(dbias, columns, T{0});
  if (n == 0) return;
  const auto kernel = table<T>().bias_dropout_add_backward;
  const std::size_t rows = n / columns, room = columns + kBlock;
  // A grid of the shape alone: at most 64 blocks of rows, none so small that its sums outweigh it.
  const std::size_t block_rows = std::max({(rows + 63) / 64, std::size_t{16}, 16 * kBlock / columns});
  const std::size_t blocks = (rows + block_rows - 1) / block_rows;
  std::vector<double> sums(blocks * room);
  const Elements<In<T>, Out<T>> elements(shape, Order::kC, dy, dx);
  const std::size_t bytes = 2 * n * sizeof(T);
  const bool stream = worth_streaming(bytes);
  threading::for_ranges(threading::team_for(bytes), blocks, 1, [&](std::size_t begin, std::size_t end) {
    for (std::size_t block = begin; block < end; ++block) {
      const std::size_t last = std::min(n, (block + 1) * block_rows * columns);
      elements.run(block * block_rows * columns, last, stream,
                   [&](std::size_t first, std::size_t length, bool around_cache, const T* from, T* to) {
                     kernel(from, to, length, {mask, first, scale}, sums.data() + block * room, columns,
                            around_cache && from != to);
                   });
    }
  });
  for (std::size_t c = 0; c < columns; ++c) {
    double total = 0;
    for (std::size_t block = 0; block < blocks; ++block) {
      for (std::size_t j = c; j < room; j += columns) total += sums[block * room + j];
    }
    dbias[c] = static_cast<T>(total);
  }
}

template <class T>
void activation_dropout(const Extents& shape, Activation f, In<T> x, Out<T> y, const Bernoulli& mask,
                        double scale) {
  const auto kernel = [f, &k = table<T>()] {
    if (f == Activation::kRelu) return k.relu_dropout;
    return f == Activation::kGelu ? k.gelu_dropout : k.gelu_tanh_dropout;
  }();
  for_decided(
      shape, {.drawn = mask}, true,
      [=](const std::int8_t* decided, std::size_t first, std::size_t n, bool stream, const T* from, T* to) {
        kernel(from, to, n, {mask.with(decided), first, scale}, stream && from != to);
      },
      x, y);
}

template <class T>
void activation_dropout_backward(const Extents& shape, Activation f, In<T> dy, In<T> x, Out<T> dx,
                                 const Bernoulli& mask, double scale) {
  const auto kernel = [f, &k = table<T>()] {
    if (f == Activation::kRelu) return k.relu_dropout_backward;
    return f == Activation::kGelu ? k.gelu_dropout_backward : k.gelu_tanh_dropout_backward;
  }();
  for_decided(
      shape, {.drawn = mask}, true,
      [=](const std::int8_t* decided, std::size_t first, std::size_t n, bool stream, const T* g,
          const T* from, T* to) {
        kernel(g, from, to, n, {mask.with(decided), first, scale}, stream && g != to && from != to);
      },
      dy, x, dx);
}

template <class T>
void softmax_dropout(const Extents& shape, In<T> x, Out<T> y, const Bernoulli& mask, double scale) {
  if (shape.size == 0) return;
  const auto kernel = table<T>().softmax_dropout;
  const std::size_t length = last_dimension(shape), rows = shape.size / length;
  const Elements<In<T>, Out<T>> elements(shape, Order::kC, x, y);
  // The exponentials cost about as much as moving four times the bytes.
  const threading::Team parts = threading::team_for(8 * shape.size * sizeof(T)).at_most(rows);
  if (elements.dense()) {
    threading::for_row_shares(parts, rows, [&](std::size_t begin, std::size_t end, std::size_t) {
      const std::size_t at = begin * length;
      kernel(x.data + at, y.data + at, end - begin, length, {mask, at, scale});
    });
    return;
  }
  std::vector<T> room(parts.count() * length);
  threading::for_row_shares(parts, rows, [&](std::size_t begin, std::size_t end, std::size_t part) {
    T* const row = room.data() + part * length;
    for (std::size_t at = begin * length; at < end * length; at += length) {
      elements.template gather<0>(at, length, row);
      kernel(row, row, 1, length, {mask, at, scale});
      elements.template scatter<1>(row, at, length);
    }
  });
}

template <class T>
void softmax_dropout_backward(const Extents& shape, In<T> dy, In<T> x, Out<T> dx, const Bernoulli& mask,
                              double scale) {
  if (shape.size == 0) return;
  const auto kernel = table<T>().softmax_dropout_backward;
  const std::size_t length = last_dimension(shape), rows = shape.size / length;
  const Elements<In<T>, In<T>, Out<T>> elements(shape, Order::kC, dy, x, dx);
  const threading::Team parts = threading::team_for(8 * shape.size * sizeof(T)).at_most(rows);
  std::vector<T> room(4 * parts.count() * length);
  threading::for_row_shares(parts, rows, [&](std::size_t begin, std::size_t end, std::size_t part) {
    T *const s = room.data() + 4 * part * length, *const g = s + length;
    if (elements.dense()) {
      const std::size_t at = begin * length;
      kernel(dy.data + at, x.data + at, dx.data + at, end - begin, length, {mask, at, scale}, s, g);
      return;
    }
    T *const dy_row = g + length, *const x_row = dy_row + length;
    for (std::size_t at = begin * length; at < end * length; at += length) {
      elements.template gather<0>(at, length, dy_row);
      elements.template gather<1>(at, length, x_row);
      kernel(dy_row, x_row, dy_row, 1, length, {mask, at, scale}, s, g);
      elements.template scatter<2>(dy_row, at, length);
    }
  });
}

#define REGKERN_INSTANTIATE(T)                                                                              \
  template void bias_dropout_add(const Extents&, In<T>, const T*, In<T>, Out<T>, const Bernoulli&, double); \
  template void bias_dropout_add_backward(const Extents&, In<T>, Out<T>, T*, const Bernoulli&, double);     \
  template void activation_dropout(const Extents&, Activation, In<T>, Out<T>, const Bernoulli&, double);    \
  template void activation_dropout_backward(const Extents&, Activation, In<T>, In<T>, Out<T>,               \
                                            const Bernoulli&, double);                                      \
  template void softmax_dropout(const Extents&, In<T>, Out<T>, const Bernoulli&, double);                   \
  template void softmax_dropout_backward(const Extents&, In<T>, In<T>, Out<T>, const Bernoulli&, double)
REGKERN_INSTANTIATE(float);
REGKERN_INSTANTIATE(double);
#undef REGKERN_INSTANTIATE

}  // namespace regkern
#endif  // HWY_ONCE
