// When to write around the cache.

#ifndef REGKERN_CORE_STREAMING_H_
#define REGKERN_CORE_STREAMING_H_

#include <cstddef>

namespace regkern {

std::size_t last_level_cache();  // bytes

// A plain store reads the line it is about to overwrite. Where the operands leave the last cache no room for
// anything else, a streaming store saves that: a third of the traffic of an out-of-place pass.
inline bool worth_streaming(std::size_t bytes_moved) { return bytes_moved > last_level_cache() / 4 * 3; }

}  // namespace regkern

#endif  // REGKERN_CORE_STREAMING_H_
