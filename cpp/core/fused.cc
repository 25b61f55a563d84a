#include "regkern/fused.h"

#undef HWY_TARGET_INCLUDE
#define HWY_TARGET_INCLUDE "core/fused.cc"
#include "hwy/foreach_target.h"

#include <algorithm>
#include <vector>

#include "core/dispatch.h"
#include "core/elementwise.h"
#include "kernels/fused-inl.h"

#ifndef REGKERN_FUSED_TABLE
#define REGKERN_FUSED_TABLE
namespace regkern {
template <class T>
struct FusedTable {
  using Forward = void (*)(const T* x, T* y, std::size_t n, const Bernoulli& mask, std::uint64_t first,
                           double scale, bool stream);
  using Backward = void (*)(const T* dy, const T* x, T* dx, std::size_t n, const Bernoulli& mask,
                            std::uint64_t first, double scale, bool stream);
  void (*bias_dropout_add)(const T* x, const T* bias, std::size_t period, const T* residual, T* y,
                           std::size_t n, const Bernoulli& mask, std::uint64_t first, double scale,
                           bool stream);
  void (*bias_dropout_add_backward)(const T* dy, T* dx, std::size_t n, const Bernoulli& mask,
                                    std::uint64_t first, double scale, double* sums, std::size_t period,
                                    bool stream);
  Forward activation[3];  // by Activation
  Backward activation_backward[3];
  void (*softmax)(const T* x, T* y, std::size_t rows, std::size_t length, const Bernoulli& mask,
                  std::uint64_t first, double scale);
  void (*softmax_backward)(const T* dy, const T* x, T* dx, std::size_t rows, std::size_t length,
                           const Bernoulli& mask, std::uint64_t first, double scale, T* s, T* g);
};
}  // namespace regkern
#endif

HWY_BEFORE_NAMESPACE();
namespace regkern {
namespace HWY_NAMESPACE {

static_assert(kBlock % kDropoutChunk == 0, "what is gathered at once ends where a chunk of sums does");

template <class T>
constexpr FusedTable<T> kFusedTable = {
    &bias_dropout_add<T>,
    &bias_dropout_add_backward<T>,
    {&activation<T, Relu<T>>, &activation<T, Gelu<T>>, &activation<T, GeluTanh<T>>},
    {&activation_backward<T, Relu<T>>, &activation_backward<T, Gelu<T>>,
     &activation_backward<T, GeluTanh<T>>},
    &softmax_dropout<T>,
    &softmax_dropout_backward<T>};

const FusedTable<float>& fused_table_f32() { return kFusedTable<float>; }
const FusedTable<double>& fused_table_f64() { return kFusedTable<double>; }

}  // namespace HWY_NAMESPACE
}  // namespace regkern
HWY_AFTER_NAMESPACE();

#if HWY_ONCE
namespace regkern {

REGKERN_EXPORT_TABLES(FusedTable, fused_table);

namespace {

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
  std::vector<T> repeated(bias == nullptr ? 0 : period + kBlock);
  for (std::size_t j = 0; j < repeated.size(); ++j) repeated[j] = j < period ? bias[j] : repeated[j - period];
  if (bias != nullptr) bias = repeated.data();
  if (residual.data == nullptr) {
    for_elements(
        shape, Order::kC,
        [=](std::size_t first, std::size_t n, bool stream, const T* from, T* to) {
          kernel(from, bias, period, nullptr, to, n, mask, first, scale, stream && from != to);
        },
        x, y);
    return;
  }
  for_elements(
      shape, Order::kC,
      [=](std::size_t first, std::size_t n, bool stream, const T* from, const T* beside, T* to) {
        kernel(from, bias, period, beside, to, n, mask, first, scale, stream && from != to && beside != to);
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
                     kernel(from, to, length, mask, first, scale, sums.data() + block * room, columns,
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
  const auto kernel = table<T>().activation[static_cast<int>(f)];
  for_elements(
      shape, Order::kC,
      [=](std::size_t first, std::size_t n, bool stream, const T* from, T* to) {
        kernel(from, to, n, mask, first, scale, stream && from != to);
      },
      x, y);
}

template <class T>
void activation_dropout_backward(const Extents& shape, Activation f, In<T> dy, In<T> x, Out<T> dx,
                                 const Bernoulli& mask, double scale) {
  const auto kernel = table<T>().activation_backward[static_cast<int>(f)];
  for_elements(
      shape, Order::kC,
      [=](std::size_t first, std::size_t n, bool stream, const T* g, const T* from, T* to) {
        kernel(g, from, to, n, mask, first, scale, stream && g != to && from != to);
      },
      dy, x, dx);
}

template <class T>
void softmax_dropout(const Extents& shape, In<T> x, Out<T> y, const Bernoulli& mask, double scale) {
  if (shape.size == 0) return;
  const auto kernel = table<T>().softmax;
  const std::size_t length = last_dimension(shape), rows = shape.size / length;
  const Elements<In<T>, Out<T>> elements(shape, Order::kC, x, y);
  // The exponentials cost about as much as moving four times the bytes.
  const threading::Team parts = threading::team_for(8 * shape.size * sizeof(T)).at_most(rows);
  if (elements.dense()) {
    threading::for_row_shares(parts, rows, [&](std::size_t begin, std::size_t end, std::size_t) {
      const std::size_t at = begin * length;
      kernel(x.data + at, y.data + at, end - begin, length, mask, at, scale);
    });
    return;
  }
  std::vector<T> room(parts.count() * length);
  threading::for_row_shares(parts, rows, [&](std::size_t begin, std::size_t end, std::size_t part) {
    T* const row = room.data() + part * length;
    for (std::size_t at = begin * length; at < end * length; at += length) {
      elements.template gather<0>(at, length, row);
      kernel(row, row, 1, length, mask, at, scale);
      elements.template scatter<1>(row, at, length);
    }
  });
}

template <class T>
void softmax_dropout_backward(const Extents& shape, In<T> dy, In<T> x, Out<T> dx, const Bernoulli& mask,
                              double scale) {
  if (shape.size == 0) return;
  const auto kernel = table<T>().softmax_backward;
  const std::size_t length = last_dimension(shape), rows = shape.size / length;
  const Elements<In<T>, In<T>, Out<T>> elements(shape, Order::kC, dy, x, dx);
  const threading::Team parts = threading::team_for(8 * shape.size * sizeof(T)).at_most(rows);
  std::vector<T> room(4 * parts.count() * length);
  threading::for_row_shares(parts, rows, [&](std::size_t begin, std::size_t end, std::size_t part) {
    T *const s = room.data() + 4 * part * length, *const g = s + length;
    if (elements.dense()) {
      const std::size_t at = begin * length;
      kernel(dy.data + at, x.data + at, dx.data + at, end - begin, length, mask, at, scale, s, g);
      return;
    }
    T *const dy_row = g + length, *const x_row = dy_row + length;
    for (std::size_t at = begin * length; at < end * length; at += length) {
      elements.template gather<0>(at, length, dy_row);
      elements.template gather<1>(at, length, x_row);
      kernel(dy_row, x_row, dy_row, 1, length, mask, at, scale, s, g);
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
