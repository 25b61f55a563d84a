// When to write around the cache.

#ifndef REGKERN_CORE_STREAMING_H_
#define REGKERN_CORE_STREAMING_H_

#include <cstddef>

#include "hwy/cache_control.h"

namespace regkern {

std::size_t second_level_cache();  // bytes, of one core

// Bytes of it that a core can count on, 32 MiB at most. A Xeon reports the cache of its whole socket, 300
// MiB, of which each of some 60 cores has a slice of 5: there a copy of 20 MiB that is read once more
// afterwards takes as long through that cache as around it, one of 32 MiB 1.4 times as long.
std::size_t last_level_cache();

// A plain store reads the line it is about to overwrite. Where the operands leave the last cache no room for
// anything else, a streaming store saves that: a third of the traffic of an out-of-place pass.
inline bool worth_streaming(std::size_t bytes_moved) { return bytes_moved > last_level_cache() / 4 * 3; }

// Behind streaming stores, so that others see them.
inline void finish_stream(bool stream) {
  if (stream) hwy::FlushStream();
}

}  // namespace regkern

#endif  // REGKERN_CORE_STREAMING_H_
