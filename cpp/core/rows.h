// Work on whole rows: arrays whose last dimension, or last positions, are one row.

#ifndef REGKERN_CORE_ROWS_H_
#define REGKERN_CORE_ROWS_H_

#include <algorithm>
#include <array>
#include <cstddef>
#include <cstdint>
#include <cstdlib>
#include <cstring>
#include <memory>
#include <vector>

#include "core/elementwise.h"
#include "core/streaming.h"
#include "core/threading.h"
#include "regkern/array.h"

namespace regkern {

// Rows that lie across memory, like the columns of a matrix: an element's neighbour in memory belongs to the
// next row. Taken one by one, each of their elements costs a cache line; panels of neighbouring rows use
// whole lines.
template <class T>
class Panels {
 public:
  Panels(const Extents& shape, std::size_t length, In<T> x, Out<T> y)
      : shape_(shape), length_(length), x_(x, shape), y_(y, shape) {
    const int last = shape.ndim - 1;
    if (last < 1 || static_cast<std::size_t>(shape.dims[last]) != length) return;
    across_ = static_cast<std::size_t>(shape.dims[last - 1]);
    worth_ = across_ > 1 && length > 1 && (x_.across(last) || y_.across(last));
    // 256 KB fit the L2 cache, 256 bytes of a row use the pages and lines that they touch.
    constexpr std::size_t kLine = 64 / sizeof(T), kRoom = (256 << 10) / sizeof(T);
    width_ = std::clamp(kRoom / length / kLine * kLine, 4 * kLine, 16 * kLine);
    pitch_ =
        (length / kLine | 1) * kLine + 2 * kLine;  // an odd number of lines: no two rows fight for one set
  }

  bool worth() const { return worth_; }
  std::size_t count() const { return shape_.size / length_ / across_ * per_group(); }
  std::size_t room() const { return width_ * pitch_; }

  // Calls body(row, index of the row) for the rows of a panel, gathered into `room` and scattered back.
  template <class Body>
  void run(std::size_t panel, T* room, Body&& body) const {
    const std::size_t group = panel / per_group(), first = panel % per_group() * width_;
    const std::size_t rows = std::min(width_, across_ - first);
    const int last = shape_.ndim - 1;
    const auto move = [&](const Operand& operand, auto&& copy) {
      const std::ptrdiff_t step = operand.strides[last], next = operand.strides[last - 1];
      char* const base = operand.base(shape_, group) + static_cast<std::ptrdiff_t>(first) * next;
      constexpr std::size_t kTile = 16;  // of both sides, so that either way round whole lines stay in L1
      for (std::size_t i = 0; i < length_; i += kTile) {
        const std::size_t end = std::min(length_, i + kTile);
        for (std::size_t r = 0; r < rows; ++r) {
          char* at = base + static_cast<std::ptrdiff_t>(i) * step + static_cast<std::ptrdiff_t>(r) * next;
          for (std::size_t k = i; k < end; ++k, at += step) copy(at, room + r * pitch_ + k);
        }
      }
    };
    move(x_, [](const char* memory, T* element) { std::memcpy(element, memory, sizeof(T)); });
    for (std::size_t r = 0; r < rows; ++r) body(room + r * pitch_, group * across_ + first + r);
    move(y_, [](char* memory, const T* element) { std::memcpy(memory, element, sizeof(T)); });
  }

 private:
  struct Operand {
    template <class Array>
    Operand(const Array& array, const Extents& shape)
        : data(reinterpret_cast<char*>(const_cast<T*>(array.data))) {
      std::ptrdiff_t dense = sizeof(T);
      for (int i = shape.ndim - 1; i >= 0; --i) {
        strides[i] = array.strides != nullptr ? array.strides[i] : dense;
        dense *= shape.dims[i];
      }
    }
    bool across(int last) const { return std::abs(strides[last - 1]) < std::abs(strides[last]); }
    char* base(const Extents& shape, std::size_t group) const {
      char* at = data;
      for (int i = shape.ndim - 3; i >= 0; --i) {
        const auto dim = static_cast<std::size_t>(shape.dims[i]);
        at += static_cast<std::ptrdiff_t>(group % dim) * strides[i];
        group /= dim;
      }
      return at;
    }
    char* data;
    std::array<std::ptrdiff_t, kMaxDims> strides;
  };

  std::size_t per_group() const { return (across_ + width_ - 1) / width_; }

  const Extents& shape_;
  std::size_t length_, across_ = 1, width_ = 1, pitch_ = 1;
  bool worth_ = false;
  Operand x_, y_;
};

// Calls body(from, to, first, rows, stream, room) so that every row of `length` elements is worked on once:
// where they lie, many at once, or gathered one by one. `room` are the bytes of scratch that a call may use,
// the work is worth that of moving `cost` times the bytes.
template <class T, class Body>
void for_rows(const Extents& shape, std::size_t length, In<T> x, Out<T> y, std::size_t cost, std::size_t room,
              Body&& body) {
  if (shape.size == 0) return;
  const std::size_t rows = shape.size / length, bytes = 2 * shape.size * sizeof(T);
  const Elements<In<T>, Out<T>> elements(shape, Order::kC, x, y);
  const bool dense = elements.dense(), stream = dense && worth_streaming(bytes) && x.data != y.data;
  const threading::Team parts = threading::team_for(cost * bytes).at_most(rows);
  constexpr std::size_t kLine = 64;
  room = (room + kLine - 1) / kLine * kLine;
  // Not zeroed: most of it is never touched.
  const auto scratch = std::make_unique_for_overwrite<std::byte[]>(parts.count() * room + kLine);
  std::byte* const base = scratch.get() + (kLine - reinterpret_cast<std::uintptr_t>(scratch.get()) % kLine);
  const Panels<T> panels(shape, length, x, y);
  if (panels.worth()) {
    const threading::Team shares = parts.at_most(panels.count());
    std::vector<T> gathered(shares.count() * panels.room());
    threading::for_row_shares(
        shares, panels.count(), [&](std::size_t begin, std::size_t end, std::size_t part) {
          for (std::size_t panel = begin; panel < end; ++panel) {
            panels.run(panel, gathered.data() + part * panels.room(), [&](T* row, std::size_t r) {
              body(row, row, r, std::size_t{1}, false, base + part * room);
            });
          }
        });
    return;
  }
  std::vector<T> gathered(dense ? 0 : parts.count() * length);
  threading::for_row_shares(parts, rows, [&](std::size_t begin, std::size_t end, std::size_t part) {
    std::byte* const mine = base + part * room;
    if (dense) {
      body(x.data + begin * length, y.data + begin * length, begin, end - begin, stream, mine);
      return;
    }
    T* const row = gathered.data() + part * length;
    for (std::size_t r = begin; r < end; ++r) {
      elements.template gather<0>(r * length, length, row);
      body(row, row, r, std::size_t{1}, false, mine);
      elements.template scatter<1>(row, r * length, length);
    }
  });
}

}  // namespace regkern

#endif  // REGKERN_CORE_ROWS_H_
