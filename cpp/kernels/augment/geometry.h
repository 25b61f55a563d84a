// Where pixels come from and where they go: the moves of augmentation, one table of functions a pixel type,
// compiled for every instruction set.
//
// Pictures and rows are interleaved or planar, aligned to T; `like` kernels ask both operands to be of one
// kind.

#ifndef REGKERN_KERNELS_AUGMENT_GEOMETRY_H_
#define REGKERN_KERNELS_AUGMENT_GEOMETRY_H_

#include <cstddef>
#include <cstdint>

#include "kernels/augment/pictures.h"
#include "regkern/augment.h"

namespace regkern::augment {

inline constexpr std::int32_t kOutside = -1;  // the fill, in an index map

// Which row (or column) of the source each of `length` rows is. Most maps are one run of neighbours, in
// rising or falling order; only what lies outside of the run needs a look into `map`.
struct Axis {
  std::ptrdiff_t length = 0;
  std::ptrdiff_t begin = 0, end = 0;   // the run
  std::ptrdiff_t first = 0, step = 1;  // from(i) = first + step·(i − begin) in it
  const std::int32_t* map = nullptr;   // length entries; nullptr if the run is all

  std::ptrdiff_t from(std::ptrdiff_t i) const {
    return i >= begin && i < end ? first + step * (i - begin) : map[i];
  }
  bool is_run() const { return begin == 0 && end == length; }
};

// Output (row i, column j) is the source's (rows[i], columns[j]), or (columns[j], rows[i]) if swapped.
struct Maps {
  Axis rows, columns;
  bool swapped = false;
};

// Column x, row y of the output → column, row of the source: a plain 3 × 3 matrix.
struct Warp {
  double m[9];
  Padding padding;
  Interpolation interpolation;
  bool projective;
};

// Weights of the neighbours that each of `length` outputs is a mean of; rows of `stride` numbers, an even
// number of them, zeros behind the last. W: int16 in 2⁻¹⁴ for bytes, float.
template <class W>
struct Taps {
  std::ptrdiff_t length, stride;
  std::ptrdiff_t most;        // of the counts
  const std::int32_t* first;  // kOutside: the fill
  const std::int32_t* count;
  const W* weights;
};

template <class T>
struct ResizeTypes {
  using Weight = float;
  using Between = float;  // what the rows are between the two passes
};
template <>
struct ResizeTypes<std::uint8_t> {
  using Weight = std::int16_t;
  using Between = std::int16_t;
};

template <class T>
struct GeometryTable {
  using Weight = typename ResizeTypes<T>::Weight;
  using Between = typename ResizeTypes<T>::Between;

  // Rows y … y + out.height of what the maps make of x; out is like x. fill: one value a channel.
  void (*gather)(Picture<const T> x, const Maps& maps, const T* fill, std::ptrdiff_t y, Picture<T> out);
  void (*warp)(Picture<const T> x, const Warp& warp, const T* fill, std::ptrdiff_t y, Picture<T> out);
  // A row resized across, like x, and n elements of a row from rows resized across.
  void (*resize_across)(Row<const T> x, const Taps<Weight>& taps, Row<Between> out);
  void (*resize_down)(const Between* const* rows, const Weight* weights, std::ptrdiff_t count,
                      std::ptrdiff_t n, T* out);
  // out = x·scale + bias, a number a channel. Any two kinds.
  void (*normalize)(Picture<const T> x, const float* scale, const float* bias, Picture<float> out,
                    Streaming streaming);
  // out = x, of any strides.
  void (*copy)(Picture<const T> x, Picture<T> out, Streaming streaming);
};

// That of the instruction set in use.
template <class T>
const GeometryTable<T>& geometry_table();

}  // namespace regkern::augment

#endif  // REGKERN_KERNELS_AUGMENT_GEOMETRY_H_
