// Dropout whose mask is a function of (seed, stream, element index). Contract: regkern/reference/dropout.py.

#ifndef REGKERN_DROPOUT_H_
#define REGKERN_DROPOUT_H_

#include <cstdint>

#include "regkern/array.h"
#include "regkern/random.h"

namespace regkern {

// K: the probability of being kept in units of 2⁻⁴⁰, 0 <= K <= 2⁴⁰, for a probability p of being dropped.
std::uint64_t keep_threshold(double p);

// y = x·2⁴⁰/K where kept, +0.0 elsewhere; y may be x itself. Its own backward.
template <class T>
void dropout(const Extents& shape, In<T> x, Out<T> y, Stream source, std::uint64_t keep);

// kept[0..n): 1 where element i is kept, else 0.
void keep_mask(Stream source, std::uint64_t keep, std::size_t n, std::uint8_t* kept);

}  // namespace regkern

#endif  // REGKERN_DROPOUT_H_
