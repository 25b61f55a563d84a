// Work on whole rows: arrays whose last dimension, or last positions, are one row.

#ifndef REGKERN_CORE_ROWS_H_
#define REGKERN_CORE_ROWS_H_

#include <algorithm>
#include <cstddef>
#include <vector>

#include "core/elementwise.h"
#include "core/streaming.h"
#include "core/threading.h"
#include "regkern/array.h"

namespace regkern {

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
  const auto parts = std::min<std::size_t>(static_cast<std::size_t>(threading::team_for(cost * bytes)), rows);
  constexpr std::size_t kLine = 64;
  room = (room + kLine - 1) / kLine * kLine;
  std::vector<std::byte> scratch(parts * room + kLine);
  std::byte* const base = scratch.data() + (kLine - reinterpret_cast<std::uintptr_t>(scratch.data()) % kLine);
  std::vector<T> gathered(dense ? 0 : parts * length);
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
