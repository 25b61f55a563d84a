// Geometry as data: maps of rows and columns, matrices, and turns.

#ifndef REGKERN_CORE_AUGMENT_MAPS_H_
#define REGKERN_CORE_AUGMENT_MAPS_H_

#include <algorithm>
#include <array>
#include <cmath>
#include <cstddef>
#include <cstdint>
#include <memory>
#include <utility>

#include "kernels/augment/geometry.h"
#include "regkern/augment.h"

namespace regkern::augment {

struct Size {
  std::ptrdiff_t height, width;
  std::ptrdiff_t pixels() const { return height * width; }
};

template <class T>
constexpr Pixel kPixel = sizeof(T) == 1 ? Pixel::kUint8 : Pixel::kFloat32;

inline std::ptrdiff_t bytes_of(Pixel pixel) { return pixel == Pixel::kUint8 ? 1 : 4; }

inline std::uint8_t to_byte(double v) {
  return static_cast<std::uint8_t>(std::clamp(std::floor(v + 0.5), 0.0, 255.0));
}

// Memory that nobody has written yet: a thread's share of it is allocated before the threads start, and costs
// nothing where no step needs it.
template <class T>
class Buffer {
 public:
  Buffer() = default;
  explicit Buffer(std::ptrdiff_t n)
      : data_(std::make_unique_for_overwrite<T[]>(static_cast<std::size_t>(n))) {}
  T* data() const { return data_.get(); }
  T& operator[](std::ptrdiff_t i) const { return data_[static_cast<std::size_t>(i)]; }

 private:
  std::unique_ptr<T[]> data_;
};

// --- axes ---

inline Axis whole_axis(std::ptrdiff_t length) { return {length, 0, length, 0, 1, nullptr}; }

inline Maps whole(Size size) { return {whole_axis(size.height), whole_axis(size.width), false}; }

inline bool is_whole(const Axis& axis, std::ptrdiff_t length) {
  return axis.length == length && axis.is_run() && axis.first == 0 && axis.step == 1;
}

// Which of n places i is; kOutside: the fill.
inline std::ptrdiff_t padded(std::ptrdiff_t i, std::ptrdiff_t n, Padding padding) {
  if (i >= 0 && i < n) return i;
  const auto modulo = [i](std::ptrdiff_t period) { return ((i % period) + period) % period; };
  switch (padding) {
    case Padding::kConstant:
      return kOutside;
    case Padding::kEdge:
      return i < 0 ? 0 : n - 1;
    case Padding::kReflect: {
      if (n == 1) return 0;
      const std::ptrdiff_t at = modulo(2 * (n - 1));
      return std::min(at, 2 * (n - 1) - at);
    }
    case Padding::kSymmetric:
      break;
  }
  const std::ptrdiff_t at = modulo(2 * n);
  return std::min(at, 2 * n - 1 - at);
}

// An axis and memory for its map: two, since a new map is made from the old one.
class AxisMaker {
 public:
  explicit AxisMaker(std::ptrdiff_t longest) : length_(longest), memory_(2 * longest) {}

  void flip(Axis& axis) {
    if (!axis.is_run()) {
      std::int32_t* map = memory_.data() + (axis.map == memory_.data() ? 0 : length_);
      std::reverse(map, map + axis.length);
    }
    axis.first += axis.step * (axis.end - axis.begin - 1);
    axis.step = -axis.step;
    const std::ptrdiff_t begin = axis.length - axis.end;
    axis.end = axis.length - axis.begin;
    axis.begin = begin;
  }

  void crop(Axis& axis, std::ptrdiff_t at, std::ptrdiff_t length, Padding padding) {
    Axis next;
    next.length = length;
    const std::ptrdiff_t low = std::max(at, axis.begin), high = std::min(at + length, axis.end);
    if (low < high) {
      next.begin = low - at;
      next.end = high - at;
      next.first = axis.first + axis.step * (low - axis.begin);
      next.step = axis.step;
    }
    if (!next.is_run()) {
      remap(axis, next, [&](std::ptrdiff_t i) { return padded(at + i, axis.length, padding); });
    }
    axis = next;
  }

  // Nearest neighbours of `size` places in a box.
  void resize(Axis& axis, std::ptrdiff_t at, std::ptrdiff_t box, std::ptrdiff_t size) {
    if (size == box) return crop(axis, at, size, Padding::kConstant);
    Axis next;
    next.length = size;
    const double scale = static_cast<double>(box) / static_cast<double>(size);
    remap(axis, next, [&](std::ptrdiff_t i) {
      const double place = std::floor((static_cast<double>(i) + 0.5) * scale);
      return at + std::min(static_cast<std::ptrdiff_t>(place), box - 1);
    });
    axis = next;
  }

 private:
  template <class Place>
  void remap(const Axis& axis, Axis& next, Place place) {
    std::int32_t* map = memory_.data() + (axis.map == memory_.data() ? length_ : 0);
    const auto fill = [&](std::ptrdiff_t begin, std::ptrdiff_t end) {
      for (std::ptrdiff_t i = begin; i < end; ++i) {
        const std::ptrdiff_t from = place(i);
        map[i] = from == kOutside ? kOutside : static_cast<std::int32_t>(axis.from(from));
      }
    };
    fill(0, next.begin);
    fill(next.end, next.length);
    next.map = map;
  }

  std::ptrdiff_t length_;
  Buffer<std::int32_t> memory_;
};

// --- matrices ---

using Matrix = std::array<double, 9>;

inline Matrix normalized(const Matrix& m) {
  if (m[6] != 0 || m[7] != 0) return m;
  Matrix n;
  for (std::size_t i = 0; i < 9; ++i) n[i] = m[i] / m[8];
  return n;
}

inline Matrix product(const Matrix& a, const Matrix& b) {
  Matrix c;
  for (std::size_t i = 0; i < 3; ++i) {
    for (std::size_t j = 0; j < 3; ++j) {
      c[3 * i + j] = a[3 * i] * b[j] + a[3 * i + 1] * b[3 + j] + a[3 * i + 2] * b[6 + j];
    }
  }
  return normalized(c);
}

inline Matrix flip_matrix(bool horizontal, bool vertical, Size size) {
  Matrix m = {1, 0, 0, 0, 1, 0, 0, 0, 1};
  if (horizontal) m[0] = -1, m[2] = static_cast<double>(size.width - 1);
  if (vertical) m[4] = -1, m[5] = static_cast<double>(size.height - 1);
  return m;
}

// k quarter turns of an image of a size before the turn.
inline Matrix rotate90_matrix(int k, Size size) {
  Matrix m = {1, 0, 0, 0, 1, 0, 0, 0, 1};
  for (; k != 0; --k) {
    m = product(m, {0, -1, static_cast<double>(size.width - 1), 1, 0, 0, 0, 0, 1});
    size = {size.width, size.height};
  }
  return m;
}

// Flips and quarter turns behind each other: rows and columns change places, then are flipped.
struct Turn {
  bool swap = false, flip_rows = false, flip_columns = false;

  bool any() const { return swap || flip_rows || flip_columns; }
  void flip(bool horizontal, bool vertical) {
    flip_columns ^= horizontal;
    flip_rows ^= vertical;
  }
  void rotate90(int k) {
    for (; k != 0; --k) *this = {!swap, !flip_columns, flip_rows};
  }
  // From the result, of a size, to the image before it.
  Matrix matrix(Size size) const {
    Matrix m = flip_matrix(flip_columns, flip_rows, size);
    if (swap) {
      for (std::size_t j = 0; j < 3; ++j) std::swap(m[j], m[3 + j]);
    }
    return m;
  }
};

}  // namespace regkern::augment

#endif  // REGKERN_CORE_AUGMENT_MAPS_H_
