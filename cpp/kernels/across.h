// What core/across.cc hands to the kernel of across-inl.h.

#ifndef REGKERN_KERNELS_ACROSS_H_
#define REGKERN_KERNELS_ACROSS_H_

#include <cstddef>
#include <cstdint>

#include "regkern/dropout.h"

namespace regkern {

// Decisions by number: drawn, or in memory, as bits (the low one of a byte first) or bytes (0 is dropped).
struct DecisionSource {
  Bernoulli drawn = {};
  const std::uint8_t *bits = nullptr, *bytes = nullptr;
};

// The decisions of a tile: `columns` numbers from `first` + numbers[i] on in row i. Or of several, the
// sheets, of which each follows the last both by number and in memory.
struct DecisionTile {
  std::uint64_t first;
  const std::uint64_t* numbers;
  std::size_t rows, columns, sheets;
  bool one_run;  // the numbers of a row follow those of the last
  // Where the elements of some arrays lie, if they are one stretch of memory, to be fetched meanwhile by
  // those that apply the decisions afterwards; and their size.
  const char* data[3];
  std::size_t item;
};

// A tile that waits to be applied: elements of one stretch of memory, and the rows of their decisions.
template <class T>
struct DecidedTile {
  const T* x;
  T* y;
  DecisionTile tile;
  const std::int8_t* decided;
  bool stream;
};

// Bytes before and behind a row of decisions, so that groups of blocks can be decided, and whole vectors
// read, there.
inline constexpr std::size_t kDecisionPad = 320;

}  // namespace regkern

#endif  // REGKERN_KERNELS_ACROSS_H_
