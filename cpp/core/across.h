// Elementwise work by a mask, over memory in another order than that of the numbers of its elements.
//
// A mask counts in C order of the indices, whatever the memory. Where all operands are dense in one other
// order of axes, its decisions are made for a tile, turned, and applied along the memory: a byte an
// element moves across the cache in place of the elements themselves.

#ifndef REGKERN_CORE_ACROSS_H_
#define REGKERN_CORE_ACROSS_H_

#include <algorithm>
#include <array>
#include <cstddef>
#include <cstdint>
#include <memory>
#include <tuple>
#include <type_traits>
#include <vector>

#include "core/elementwise.h"
#include "core/streaming.h"
#include "core/strided.h"
#include "core/threading.h"
#include "kernels/across.h"
#include "regkern/array.h"

namespace regkern {

// A shape whose memory is dense in another order of axes, as tiles of rows × columns: rows are neighbours in
// memory, columns neighbours by number.
class Across {
 public:
  // strides in bytes, for elements of `item` bytes.
  Across(const Extents& shape, const std::ptrdiff_t* strides, std::size_t item);

  // Whether this is the way to walk: tiles of which one side is a few elements take longer than a gather.
  bool worth() const { return worth_; }
  // Elements that are neighbours both by number and in memory, where there are enough to work on one run
  // after the other: then nothing has to be turned.
  std::size_t run() const { return run_; }

  std::size_t units() const { return (outer_count_ + sheets_ - 1) / sheets_ * row_pieces_ * column_pieces_; }
  std::size_t room() const;  // bytes, for decide(): twice those of a tile, whole lines each
  // Memory for decisions. Dropout took up to 1.18 times as long where vectors lay in two lines.
  struct alignas(64) Line {
    std::int8_t bytes[64];
  };
  static std::unique_ptr<Line[]> lines(std::size_t bytes) {
    return std::make_unique_for_overwrite<Line[]>(bytes / sizeof(Line) + 1);
  }
  bool whole_rows() const { return one_stretch_ && row_pieces_ == 1; }

  struct Tile {
    std::size_t memory, row, rows, column, columns, sheets;
    std::uint64_t number;
  };
  Tile tile(std::size_t unit) const;
  // Where the memory of a tile of whole rows begins, in elements.
  std::size_t begin(const Tile& t) const { return t.memory + t.column * rows_; }
  // Arrays, and the size of their elements, that come closer while decisions are made.
  struct Fetched {
    std::array<const char*, 3> data;
    std::size_t item;
  };
  // What is to be decided for a tile, and its decisions in the order of its memory, a column after the other.
  DecisionTile decisions(const Tile& tile) const;
  const std::int8_t* decide(const DecisionSource& source, const Tile& tile, std::int8_t* room,
                            const Fetched& fetched) const;

  // Calls body(memory, n, at) for the stretches of memory of a tile, with the place of their decisions.
  template <class Body>
  void for_stretches(const Tile& t, Body&& body) const {
    if (t.rows == 0 || t.columns == 0) return;
    if (whole_rows()) {
      return body(begin(t), t.sheets * t.rows * t.columns, std::size_t{0});
    }
    for (std::size_t j = 0; j < t.columns; ++j) {
      const std::size_t column = t.column + j, place = one_stretch_ ? column * rows_ : places_[column];
      body(t.memory + place + t.row, t.rows, j * t.rows);
    }
  }

 private:
  struct Axis {
    std::size_t length, number, memory;  // its steps, in elements
  };
  void cut();

  bool worth_ = false;
  std::size_t run_ = 0;
  std::size_t rows_ = 1, columns_ = 1;  // of all tiles together
  std::vector<std::uint64_t> numbers_;  // of the rows
  std::vector<std::size_t> places_;     // of the columns, in memory; none if they are one stretch
  std::vector<Axis> outer_;             // all other axes, the longest step in memory first
  std::size_t outer_count_ = 1, row_pieces_ = 1, column_pieces_ = 1;
  std::size_t sheets_ = 1;    // tiles that are decided as one
  bool one_run_ = false;      // whether a row's numbers follow those of the last
  bool one_stretch_ = false;  // whether a column's memory follows that of the last
};

// Whether all operands have the strides of the first, and none is dense in C order or misaligned.
template <class... Operands>
bool lie_alike(const Extents& shape, const Operands&... operands) {
  const std::array<const std::ptrdiff_t*, sizeof...(operands)> strides{operands.strides...};
  if (((operands.strides == nullptr) || ...)) return false;
  if (((reinterpret_cast<std::uintptr_t>(operands.data) % bytes_each(operands) != 0) || ...)) return false;
  for (int i = 0; i < shape.ndim; ++i) {
    for (const std::ptrdiff_t* other : strides) {
      if (shape.dims[i] != 1 && other[i] != strides[0][i]) return false;
    }
  }
  return true;
}

// Calls kernel(decided, first, n, stream, pointers...) so that all elements are covered once. decided is
// nullptr for elements first ... first + n − 1 by number, else their decisions are made, and `first` is 0;
// for a kernel that needs the numbers for more than decisions, nothing `turns`.
template <class Kernel, class... Operands>
void for_decided(const Extents& shape, const DecisionSource& source, bool turns, Kernel&& kernel,
                 Operands... operands) {
  const auto by_number = [&](std::size_t first, std::size_t n, bool stream, auto... pointers) {
    kernel(static_cast<const std::int8_t*>(nullptr), first, n, stream, pointers...);
  };
  if (shape.size == 0 || !lie_alike(shape, operands...)) {
    return for_elements(shape, Order::kC, by_number, operands...);
  }
  const auto& along = std::get<0>(std::tie(operands...));
  const std::size_t item = bytes_each(along);
  const Across across(shape, along.strides, item);
  if (!across.worth() || (across.run() == 0 && !turns))
    return for_elements(shape, Order::kC, by_number, operands...);
  const std::size_t bytes = shape.size * item * sizeof...(Operands);
  const bool stream = worth_streaming(bytes) && (across.run() != 0 || across.whole_rows());
  Across::Fetched fetched{{}, item};
  std::size_t arrays = 0;
  const auto fetch = [&](const auto& operand) {
    constexpr bool reads = detail::Access<std::decay_t<decltype(operand)>>::reads;
    const auto* data = reinterpret_cast<const char*>(operand.data);
    const bool known = std::find(fetched.data.begin(), fetched.data.end(), data) != fetched.data.end();
    if ((reads || !stream) && !known && arrays < fetched.data.size()) fetched.data[arrays++] = data;
  };
  (fetch(operands), ...);
  // The memory as it lies, in one row.
  const auto length = static_cast<std::ptrdiff_t>(shape.size), step = static_cast<std::ptrdiff_t>(item);
  const auto in_one_row = [&step](auto operand) {
    operand.strides = operand.storage == Storage::kNative ? nullptr : &step;
    return operand;
  };
  const Elements<Operands...> row(Extents(1, &length), Order::kC, in_one_row(operands)...);
  threading::for_ranges(
      threading::team_for(bytes), across.units(), 1, [&](std::size_t begin, std::size_t end) {
        const auto room = Across::lines(across.room());
        for (std::size_t u = begin; u < end; ++u) {
          const Across::Tile tile = across.tile(u);
          if (across.run() != 0) {
            row.run(tile.memory, tile.memory + across.run(), stream,
                    [&](std::size_t at, std::size_t n, bool around_cache, auto... pointers) {
                      by_number(tile.number + (at - tile.memory), n, around_cache, pointers...);
                    });
            continue;
          }
          const std::int8_t* decided = across.decide(source, tile, room[0].bytes, fetched);
          across.for_stretches(tile, [&](std::size_t memory, std::size_t n, std::size_t at) {
            row.run(memory, memory + n, stream,
                    [&](std::size_t first, std::size_t some, bool around_cache, auto... pointers) {
                      kernel(decided + at + (first - memory), std::size_t{0}, some, around_cache,
                             pointers...);
                    });
          });
        }
      });
}

}  // namespace regkern

#endif  // REGKERN_CORE_ACROSS_H_
