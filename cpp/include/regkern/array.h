// How the C++ API sees arrays: a pointer, one stride a dimension and how an element is stored, nothing else.
//
// Strides count bytes, may be negative or zero (inputs only) and need not respect alignment. An operand
// without strides is dense: C order, aligned, which is the fast path. Any other memory is handled in blocks
// that fit the L1 cache, never by a copy of the whole array.

#ifndef REGKERN_ARRAY_H_
#define REGKERN_ARRAY_H_

#include <cstddef>
#include <cstdint>
#include <optional>
#include <stdexcept>

namespace regkern {

inline constexpr int kMaxDims = 64;  // NumPy's limit

// The number of elements of a shape, if they take less than 2⁶³ bytes. As in NumPy a length of 0 excuses no
// other: the strides of the others would have to fit as well.
inline std::optional<std::size_t> product(int rank, const std::ptrdiff_t* lengths, std::size_t item = 1) {
  std::size_t bytes = item;
  bool empty = false;
  for (int i = 0; i < rank; ++i) {
    empty = empty || lengths[i] == 0;
    const auto length = static_cast<std::size_t>(lengths[i] == 0 ? 1 : lengths[i]);
    if (lengths[i] < 0 || __builtin_mul_overflow(bytes, length, &bytes) || bytes > PTRDIFF_MAX) return {};
  }
  return empty ? 0 : bytes / item;
}

// The shape that all operands of a call share. Extents(n) says n elements, for operands that are all dense.
struct Extents {
  Extents(std::size_t n) : size(n) {}
  Extents(int rank, const std::ptrdiff_t* lengths) : ndim(rank), dims(lengths) {
    const std::optional<std::size_t> n = product(rank, lengths);
    if (!n) throw std::length_error("regkern: a shape must have lengths >= 0 and less than 2**63 elements");
    size = *n;
  }

  std::size_t size;
  int ndim = 0;
  const std::ptrdiff_t* dims = nullptr;
};

// What lies at the address of an operand: its own T, or, where T is float, numbers of two bytes, which are
// widened when they are read and rounded once, to nearest even, when they are written. Operands of half
// precision have strides, as all memory that most kernels do not read as it lies.
enum class Storage : std::uint8_t { kNative, kBfloat16, kFloat16 };

template <class T>
struct In {
  const T* data = nullptr;
  const std::ptrdiff_t* strides = nullptr;  // bytes, one a dimension; nullptr: dense
  Storage storage = Storage::kNative;
};

template <class T>
struct Out {
  T* data = nullptr;
  const std::ptrdiff_t* strides = nullptr;
  Storage storage = Storage::kNative;
};

template <class T>
struct InOut {
  T* data = nullptr;
  const std::ptrdiff_t* strides = nullptr;
  Storage storage = Storage::kNative;
};

// The elements in C order, to a dense buffer and from one, on the calling thread.
template <class T>
void read(const Extents& shape, In<T> from, T* to);
template <class T>
void write(const Extents& shape, const T* from, Out<T> to);

}  // namespace regkern

#endif  // REGKERN_ARRAY_H_
