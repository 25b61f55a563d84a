// Dropout whose mask is a function of (seed, stream, element index). Contract: regkern/reference/dropouts.

#ifndef REGKERN_DROPOUT_H_
#define REGKERN_DROPOUT_H_

#include <cstdint>

#include "regkern/array.h"
#include "regkern/random.h"

namespace regkern {

inline constexpr std::uint64_t kCertain = std::uint64_t{1} << 40;  // the probability 1

// Which elements are kept: each with the probability keep·2⁻⁴⁰, 0 <= keep <= kCertain.
struct Bernoulli {
  Stream source;
  std::uint64_t keep;
  // Within a call: the decisions themselves where they have been made, by element. −1: kept, 0: dropped.
  const std::int8_t* decided = nullptr;

  bool certain() const { return keep == 0 || keep == kCertain; }
  Bernoulli with(const std::int8_t* decisions) const { return {source, keep, decisions}; }
};

// The mask that drops with the probability p.
Bernoulli bernoulli(Stream source, double p);

// What happens to an element: x·scale + shift where kept, `dropped` elsewhere. A plain map has neither shift
// nor dropped, keeps the sign of zeros, and is the backward of every map with its scale.
struct KeepMap {
  double scale = 1, shift = 0, dropped = 0;
  bool plain() const { return shift == 0 && dropped == 0; }
};

// 1/(probability of being kept); 1 where nothing is.
KeepMap inverted(const Bernoulli& mask);
// Mean 0 and variance 1 stay what they are when elements become the lower limit of SELU (Klambauer et al.,
// 2017).
KeepMap alpha(const Bernoulli& mask);

// y = map(x), element i decided by number i of the mask, in C order; y may be x itself.
template <class T>
void dropout(const Extents& shape, In<T> x, Out<T> y, const Bernoulli& mask, const KeepMap& map);

// The same with a mask in memory: bytes, 0 where dropped, with strides for the dimensions of `shape`.
template <class T>
void dropout_by_bytes(const Extents& shape, In<T> x, Out<T> y, In<std::uint8_t> kept, const KeepMap& map);

// The same with bits in C order, the low bit of a byte first.
template <class T>
void dropout_by_bits(const Extents& shape, In<T> x, Out<T> y, const std::uint8_t* bits, const KeepMap& map);

// y = x·(1 + sigma·normal); y may be x itself. Its own backward.
template <class T>
void gaussian_dropout(const Extents& shape, In<T> x, Out<T> y, Stream source, double sigma);

// kept[0..n): 1 where element i is kept, else 0; or eight of them to a byte, the low bit first.
void keep_mask(const Bernoulli& mask, std::size_t n, std::uint8_t* kept);
void keep_bits(const Bernoulli& mask, std::size_t n, std::uint8_t* bits);

// kept[planes·rows·columns): 1 but for squares of `block` × `block` whose upper left corners are what
// `corners` drops, number i of it for corner i of planes × (rows − block_rows + 1) ×
// (columns − block_columns + 1). Returns how many are 1.
std::size_t drop_block_mask(const Bernoulli& corners, std::size_t planes, std::size_t rows,
                            std::size_t columns, std::size_t block_rows, std::size_t block_columns,
                            std::uint8_t* kept);

}  // namespace regkern

#endif  // REGKERN_DROPOUT_H_
