// The only door to threads.
//
// Work is cut by position, never by thread: a body gets a range of a grid that depends on the sizes alone,
// and partial results are combined in the order of the grid. So any team gives the same bits.

#ifndef REGKERN_CORE_THREADING_H_
#define REGKERN_CORE_THREADING_H_

#include <algorithm>
#include <cstddef>

namespace regkern::threading {

// How many threads work that moves so many bytes deserves: 1 below a measured size, in a forked child and
// inside a parallel region of the caller.
int team_for(std::size_t bytes);

// Calls body(context, rank, team) on every thread of a team of at most `team`.
void run(int team, void (*body)(void* context, int rank, int team), void* context);

// Splits [0, n) into one range a thread, cut at multiples of `grain`, and calls body(begin, end) for each
// that is not empty.
template <class Body>
void for_ranges(int team, std::size_t n, std::size_t grain, Body&& body) {
  const std::size_t grains = (n + grain - 1) / grain;
  team = static_cast<int>(std::min<std::size_t>(static_cast<std::size_t>(team), grains));
  if (team <= 1) {
    if (n != 0) body(std::size_t{0}, n);
    return;
  }
  struct Context {
    std::size_t n, grain, grains;
    Body& body;
  } context{n, grain, grains, body};
  run(
      team,
      [](void* opaque, int rank, int size) {
        auto& c = *static_cast<Context*>(opaque);
        const auto r = static_cast<std::size_t>(rank), t = static_cast<std::size_t>(size);
        const std::size_t begin = c.grains * r / t * c.grain;
        const std::size_t end = std::min(c.grains * (r + 1) / t * c.grain, c.n);
        if (begin < end) c.body(begin, end);
      },
      &context);
}

// Calls body(first row, last row, part) for `parts` equal shares of the rows, one a thread.
template <class Body>
void for_row_shares(std::size_t parts, std::size_t rows, Body&& body) {
  for_ranges(static_cast<int>(parts), parts, 1, [&](std::size_t begin, std::size_t end) {
    for (std::size_t part = begin; part < end; ++part) {
      body(rows * part / parts, rows * (part + 1) / parts, part);
    }
  });
}

}  // namespace regkern::threading

#endif  // REGKERN_CORE_THREADING_H_
