// Dropout and its masks, element by element; threads share blocks of elements, whose numbers say what they
// draw. DropBlock writes whole planes, of which each is made by one thread.

#include "regkern/dropout.h"

#undef HWY_TARGET_INCLUDE
#define HWY_TARGET_INCLUDE "core/dropout.cc"
#include "hwy/foreach_target.h"

#include <algorithm>
#include <atomic>
#include <cmath>
#include <cstring>
#include <memory>
#include <numeric>
#include <utility>

#include "core/across.h"
#include "core/dispatch.h"
#include "core/elementwise.h"
#include "kernels/across-inl.h"
#include "kernels/dropout-inl.h"

#define REGKERN_FAMILY dropout
#define REGKERN_KERNELS(X) \
  X(dropout)               \
  X(dropout_turned)        \
  X(dropout_by_bytes)      \
  X(dropout_by_bits)       \
  X(keep_all)              \
  X(gaussian_dropout)
#define REGKERN_PLAIN_KERNELS(X) \
  X(keep_mask)                   \
  X(keep_bits)
#define REGKERN_HALF_KERNELS(X) \
  X(dropout)                    \
  X(dropout_turned)
#include "core/table-inl.h"

#if HWY_ONCE
namespace regkern {

namespace {

double keep_probability(const Bernoulli& mask) {
  return static_cast<double>(mask.keep) / static_cast<double>(kCertain);
}

template <class T>
void copy_or_fill(const T* x, T* y, std::size_t n, bool copy, double value) {
  if (!copy) {
    std::fill_n(y, n, static_cast<T>(value));
  } else if (x != y) {
    std::memcpy(y, x, n * sizeof(T));
  }
}

// All elements, moved as they lie: what is kept keeps the bits of a NaN of half precision too.
template <class T>
void copy_or_fill(const Extents& shape, In<T> x, Out<T> y, bool copy, double value) {
  const auto each = [=](std::size_t, std::size_t n, bool, const auto* from, auto* to) {
    copy_or_fill(from, to, n, copy, value);
  };
  if (copy && x.storage != Storage::kNative && x.storage == y.storage) {
    using Bits = std::uint16_t;
    for_elements(shape, Order::kAny, each, In<Bits>{reinterpret_cast<const Bits*>(x.data), x.strides},
                 Out<Bits>{reinterpret_cast<Bits*>(y.data), y.strides});
  } else {
    for_elements(shape, Order::kAny, each, x, y);
  }
}

// The decisions of a mask cost about as much as moving four bytes an element.
template <class Kernel>
void for_decisions(std::size_t n, Kernel kernel) {
  threading::for_ranges(threading::team_for(4 * n), n, kBlock, kernel);
}

// Memory in another order of axes, in tiles of whole rows: one is decided while the one before it is applied.
// False if this is no such memory.
template <class E>
bool dropout_across(const Extents& shape, In<E> x, Out<E> y, const Bernoulli& mask, const KeepMap& map) {
  if (!lie_alike(shape, x, y)) return false;
  const Across across(shape, x.strides, sizeof(E));
  if (!across.worth() || across.run() != 0 || !across.whole_rows()) return false;
  const std::size_t bytes = 2 * shape.size * sizeof(E);
  const bool stream = worth_streaming(bytes) && static_cast<const E*>(y.data) != x.data;
  const auto& kernels = table<E>();
  const DecisionSource source{.drawn = mask};
  threading::for_ranges(
      threading::team_for(bytes), across.units(), 1, [&](std::size_t begin, std::size_t end) {
        const std::size_t room = across.room() / 2;
        const auto buffer = Across::lines(4 * room);
        std::int8_t *drawn = buffer[0].bytes, *decided = drawn + room, *const keep = decided + room;
        DecidedTile<E> last{x.data, y.data, {}, decided, stream};
        for (std::size_t u = begin; u < end; ++u) {
          const Across::Tile tile = across.tile(u);
          if (tile.columns == 0) continue;
          const DecisionTile next = across.decisions(tile);
          kernels.dropout_turned(source, next, drawn, last, keep, map);
          const std::size_t at = across.begin(tile);
          last = {x.data + at, y.data + at, next, drawn, stream};
          std::swap(drawn, decided);
        }
        kernels.dropout_turned(source, {}, drawn, last, keep, map);
        finish_stream(stream);
      });
  return true;
}

}  // namespace

Bernoulli bernoulli(Stream source, double p) {
  return {source, static_cast<std::uint64_t>(std::nearbyint((1 - p) * static_cast<double>(kCertain)))};
}

KeepMap inverted(const Bernoulli& mask) { return {mask.keep == 0 ? 1.0 : 1 / keep_probability(mask)}; }

KeepMap alpha(const Bernoulli& mask) {
  constexpr double kAlpha = -1.7580993408473766;  // −λα of SELU
  const double q = keep_probability(mask);
  if (mask.certain()) return {};
  const double a = 1 / std::sqrt(q + kAlpha * kAlpha * q * (1 - q));
  const double b = -a * (1 - q) * kAlpha;
  return {a, b, a * kAlpha + b};
}

template <class T>
void dropout(const Extents& shape, In<T> x, Out<T> y, const Bernoulli& mask, const KeepMap& map) {
  const bool identity = map.plain() && map.scale == 1 && mask.keep != 0;
  if (mask.certain() && (mask.keep == 0 || identity)) {  // no arithmetic: to the bit
    copy_or_fill(shape, x, y, identity, map.dropped);
    return;
  }
  as_stored(x, y, [&]<class E>(In<E> stored, Out<E> result) {
    if (dropout_across(shape, stored, result, mask, map)) return;
    const auto kernel = table<E>().dropout;
    for_decided(
        shape, {.drawn = mask}, true,
        [=](const std::int8_t* decided, std::size_t first, std::size_t n, bool stream, const E* from, E* to) {
          kernel(from, to, n, mask.with(decided), first, map, stream && from != to);
        },
        stored, result);
  });
}

template <class T>
void dropout_by_bytes(const Extents& shape, In<T> x, Out<T> y, In<std::uint8_t> kept, const KeepMap& map) {
  constexpr std::size_t kLongRun = 2 * kBlock;
  const std::size_t n = shape.size;
  if (n == 0) return;
  const auto& kernels = table<T>();
  // One walk for all three, along the memory of x: mask bytes and elements have strides of their own.
  const auto dense_strides = [&](std::size_t item, std::array<std::ptrdiff_t, kMaxDims>& strides) {
    auto step = static_cast<std::ptrdiff_t>(item);
    for (int i = shape.ndim - 1; i >= 0; --i) {
      strides[i] = step;
      step *= shape.dims[i];
    }
  };
  std::array<std::ptrdiff_t, kMaxDims> dense_data, dense_mask;
  dense_strides(sizeof(T), dense_data);
  dense_strides(1, dense_mask);
  bool by_number = true;  // whether the mask is dense in C order
  for (int i = 0; kept.strides != nullptr && i < shape.ndim; ++i) {
    by_number = by_number && (shape.dims[i] == 1 || kept.strides[i] == dense_mask[i]);
  }
  if (by_number && lie_alike(shape, x, y) && Across(shape, x.strides, bytes_each(x)).worth()) {
    return for_decided(
        shape, {.bytes = kept.data}, true,
        [&](const std::int8_t* decided, std::size_t first, std::size_t length, bool stream, const T* from,
            T* to) {
          const bool around = stream && from != to;
          if (decided != nullptr)
            return kernels.dropout(from, to, length, Bernoulli{}.with(decided), 0, map, around);
          kernels.dropout_by_bytes(from, to, length, kept.data + first, map, around);
        },
        x, y);
  }
  const auto walk = make_walk<3>(shape, Order::kAny,
                                 {OperandLayout(x.strides ? x.strides : dense_data.data(), x.storage),
                                  OperandLayout(y.strides ? y.strides : dense_data.data(), y.storage),
                                  OperandLayout(kept.strides ? kept.strides : dense_mask.data())},
                                 sizeof(T));
  const bool x_dense = walk[0].dense(x.data), y_dense = walk[1].dense(y.data),
             mask_dense = walk[2].dense(kept.data);
  const int inner = walk[2].ndim - 1;
  const bool long_runs =
      x_dense && y_dense && inner >= 0 && walk[2].strides[inner] == 0 && walk[2].dims[inner] >= kLongRun;
  const std::size_t bytes = 2 * n * sizeof(T);
  const bool stream = worth_streaming(bytes) && y_dense && static_cast<const T*>(y.data) != x.data;
  const bool identity = map.plain() && map.scale == 1;
  threading::for_ranges(threading::team_for(bytes), n, kBlock, [&](std::size_t begin, std::size_t end) {
    if (long_runs) {  // whole runs share one decision: what is dropped is not even read
      std::size_t at = begin;
      walk[2].for_runs(begin, end - begin, [&](std::ptrdiff_t offset, std::size_t length) {
        const T* from = x.data + at;
        T* to = y.data + at;
        if (kept.data[offset] == 0 || identity) {
          copy_or_fill(from, to, length, kept.data[offset] != 0, map.dropped);
        } else {
          kernels.keep_all(from, to, length, map, stream);
        }
        at += length;
      });
      return;
    }
    alignas(64) T x_block[kBlock], y_block[kBlock];
    std::uint8_t mask_block[kBlock];
    for (std::size_t first = begin; first < end; first += kBlock) {
      const std::size_t length = std::min(kBlock, end - first);
      if (!x_dense) walk[0].gather(x.data, first, length, x_block);
      if (!mask_dense) walk[2].gather(kept.data, first, length, mask_block);
      kernels.dropout_by_bytes(x_dense ? x.data + first : x_block, y_dense ? y.data + first : y_block, length,
                               mask_dense ? kept.data + first : mask_block, map, stream);
      if (!y_dense) walk[1].scatter(y_block, y.data, first, length);
    }
  });
}

template <class T>
void dropout_by_bits(const Extents& shape, In<T> x, Out<T> y, const std::uint8_t* bits, const KeepMap& map) {
  const auto& kernels = table<T>();
  for_decided(
      shape, {.bits = bits}, true,
      [&](const std::int8_t* decided, std::size_t first, std::size_t n, bool stream, const T* from, T* to) {
        const bool around = stream && from != to;
        if (decided != nullptr)
          return kernels.dropout(from, to, n, Bernoulli{}.with(decided), 0, map, around);
        kernels.dropout_by_bits(from, to, n, bits, first, map, around);
      },
      x, y);
}

template <class T>
void gaussian_dropout(const Extents& shape, In<T> x, Out<T> y, Stream source, double sigma) {
  const auto kernel = table<T>().gaussian_dropout;
  for_elements(
      shape, Order::kC,
      [=](std::size_t first, std::size_t n, bool stream, const T* from, T* to) {
        kernel(from, to, n, source, first, static_cast<T>(sigma), stream && from != to);
      },
      x, y);
}

void keep_mask(const Bernoulli& mask, std::size_t n, std::uint8_t* kept) {
  const auto kernel = table<float>().keep_mask;
  for_decisions(n,
                [&](std::size_t begin, std::size_t end) { kernel(mask, begin, end - begin, kept + begin); });
}

void keep_bits(const Bernoulli& mask, std::size_t n, std::uint8_t* bits) {
  const auto kernel = table<float>().keep_bits;
  for_decisions(
      n, [&](std::size_t begin, std::size_t end) { kernel(mask, begin, end - begin, bits + begin / 8); });
}

std::size_t drop_block_mask(const Bernoulli& corners, std::size_t planes, std::size_t rows,
                            std::size_t columns, std::size_t block_rows, std::size_t block_columns,
                            std::uint8_t* kept) {
  const std::size_t plane = rows * columns;
  if (planes * plane == 0) return 0;
  const auto kernel = table<float>().keep_mask;
  const std::size_t grid_columns = columns - block_columns + 1;
  const std::size_t grid = (rows - block_rows + 1) * grid_columns;
  std::atomic<std::size_t> total{0};
  threading::for_ranges(
      threading::team_for(4 * planes * plane), planes, 1, [&](std::size_t begin, std::size_t end) {
        std::uint8_t decided[kBlock];
        std::size_t kept_here = 0;
        for (std::size_t p = begin; p < end; ++p) {
          std::uint8_t* const map = kept + p * plane;
          std::memset(map, 1, plane);
          for (std::size_t first = 0; first < grid; first += kBlock) {
            const std::size_t n = std::min(kBlock, grid - first);
            kernel(corners, p * grid + first, n, decided);
            const std::uint8_t* const stop = decided + n;
            // Corners are rare: about p/block² of the positions.
            for (const std::uint8_t* c = decided; (c = static_cast<const std::uint8_t*>(std::memchr(
                                                       c, 0, static_cast<std::size_t>(stop - c))));
                 ++c) {
              const std::size_t corner = first + static_cast<std::size_t>(c - decided);
              std::uint8_t* row = map + corner / grid_columns * columns + corner % grid_columns;
              for (std::size_t r = 0; r < block_rows; ++r, row += columns) std::memset(row, 0, block_columns);
            }
          }
          kept_here += std::accumulate(map, map + plane, std::size_t{0});
        }
        total += kept_here;
      });
  return total;
}

#define REGKERN_INSTANTIATE(T)                                                                       \
  template void dropout(const Extents&, In<T>, Out<T>, const Bernoulli&, const KeepMap&);            \
  template void dropout_by_bytes(const Extents&, In<T>, Out<T>, In<std::uint8_t>, const KeepMap&);   \
  template void dropout_by_bits(const Extents&, In<T>, Out<T>, const std::uint8_t*, const KeepMap&); \
  template void gaussian_dropout(const Extents&, In<T>, Out<T>, Stream, double)
REGKERN_INSTANTIATE(float);
REGKERN_INSTANTIATE(double);
#undef REGKERN_INSTANTIATE

}  // namespace regkern
#endif  // HWY_ONCE
