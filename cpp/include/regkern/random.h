// Philox4x32-10 (Salmon, Moraes, Dror and Shaw, SC 2011): the only source of random bits.
//
// key = seed, counter = (block, stream), low words first; word j of a stream is word j mod 4 of block
// j div 4.

#ifndef REGKERN_RANDOM_H_
#define REGKERN_RANDOM_H_

#include <cstddef>
#include <cstdint>

#include "regkern/array.h"

namespace regkern {

struct Stream {
  std::uint64_t seed;
  std::uint64_t stream;
};

// words[0..n): the first n words of the stream.
void random_bits(Stream source, std::size_t n, std::uint32_t* words);

// Elements of the stream in C order: uniform in [0, 1), or standard normal.
template <class T>
void uniform(const Extents& shape, Out<T> y, Stream source);
template <class T>
void normal(const Extents& shape, Out<T> y, Stream source);

}  // namespace regkern

#endif  // REGKERN_RANDOM_H_
