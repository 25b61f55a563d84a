// How the C++ API sees arrays: a pointer and one stride a dimension, nothing else.
//
// Strides count bytes, may be negative or zero (inputs only) and need not respect alignment. An operand
// without strides is dense: C order, aligned, which is the fast path. Any other memory is handled in blocks
// that fit the L1 cache, never by a copy of the whole array.

#ifndef REGKERN_ARRAY_H_
#define REGKERN_ARRAY_H_

#include <cstddef>

namespace regkern {

inline constexpr int kMaxDims = 64;  // NumPy's limit

// The shape that all operands of a call share. Extents(n) says n elements, for operands that are all dense.
struct Extents {
  Extents(std::size_t n) : size(n) {}
  Extents(int rank, const std::ptrdiff_t* lengths) : size(1), ndim(rank), dims(lengths) {
    for (int i = 0; i < rank; ++i) size *= static_cast<std::size_t>(lengths[i]);
  }

  std::size_t size;
  int ndim = 0;
  const std::ptrdiff_t* dims = nullptr;
};

template <class T>
struct In {
  const T* data = nullptr;
  const std::ptrdiff_t* strides = nullptr;  // bytes, one a dimension; nullptr: dense
};

template <class T>
struct Out {
  T* data = nullptr;
  const std::ptrdiff_t* strides = nullptr;
};

template <class T>
struct InOut {
  T* data = nullptr;
  const std::ptrdiff_t* strides = nullptr;
};

}  // namespace regkern

#endif  // REGKERN_ARRAY_H_
