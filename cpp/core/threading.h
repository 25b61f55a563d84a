// The only door to threads.
//
// Work is cut by position, never by thread: a body gets a range of a grid that depends on the sizes alone,
// and partial results are combined in the order of the grid. So any team gives the same bits, and whether a
// call gets one is decided here, at every call, by what it has gained lately.

#ifndef REGKERN_CORE_THREADING_H_
#define REGKERN_CORE_THREADING_H_

#include <algorithm>
#include <cstddef>
#include <type_traits>

namespace regkern::threading {

// How many threads may share some work, and what the work moves.
struct Team {
  int size;
  std::size_t bytes;

  std::size_t count() const { return static_cast<std::size_t>(size); }
  // The same for a part of the work with few pieces.
  Team at_most(std::size_t pieces) const {
    return {static_cast<int>(std::clamp<std::size_t>(pieces, 1, count())), bytes};
  }
};

// The largest team for work that moves so many bytes: one thread below a size at which none has been seen to
// pay, in a forked child and inside of a region.
Team team_for(std::size_t bytes);

// In which order a thread goes through its share.
enum class Way { kForward, kBackward };

// Work on [0, n), cut at multiples of `grain` into one share a thread. What the caller's stack holds of it.
struct Region {
  void (*body)(void* context, std::size_t begin, std::size_t end);
  void* context;
  std::size_t n, grain;
  Way way;
  const void* site;  // which piece of code this is: what it took before foretells what it will take
};

// Runs a region on the calling thread and on those of a team that come in time. What a body throws is thrown
// here, after all have ended.
void run(Team team, const Region& region);

// Calls body(begin, end) for ranges that cover [0, n), cut at multiples of `grain`.
template <class Body>
void for_ranges(Team team, std::size_t n, std::size_t grain, Body&& body, Way way = Way::kForward) {
  team = team.at_most((n + grain - 1) / grain);
  if (team.size <= 1) {
    if (n != 0) body(std::size_t{0}, n);
    return;
  }
  static constexpr char kSite = 0;
  run(team, {[](void* context, std::size_t begin, std::size_t end) {
               (*static_cast<std::remove_reference_t<Body>*>(context))(begin, end);
             },
             const_cast<void*>(static_cast<const void*>(&body)), n, grain, way, &kSite});
}

// Calls body(first row, last row, part) for `parts` equal shares of the rows, each of which is one range.
template <class Body>
void for_row_shares(Team parts, std::size_t rows, Body&& body) {
  const std::size_t count = parts.count();
  for_ranges(parts, count, 1, [&](std::size_t begin, std::size_t end) {
    for (std::size_t part = begin; part < end; ++part) {
      body(rows * part / count, rows * (part + 1) / count, part);
    }
  });
}

}  // namespace regkern::threading

#endif  // REGKERN_CORE_THREADING_H_
