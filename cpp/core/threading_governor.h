// Whether a team pays now.
//
// A team is a gamble on company. Where other pools or processes keep the cores busy, a helper comes late, or
// is put aside in the midst of its piece while all wait for it. What that costs cannot be known beforehand,
// so it is watched: each region that ran on a team tells what its helpers saved and what they cost. After a
// loss, work that takes as long stays on one thread for fifty times what was lost; then the next region tries
// again. So company costs a fiftieth of the time at most, whatever it does.

#ifndef REGKERN_CORE_THREADING_GOVERNOR_H_
#define REGKERN_CORE_THREADING_GOVERNOR_H_

#include <array>
#include <atomic>
#include <cstddef>
#include <cstdint>

namespace regkern::threading {

// Nanoseconds.
using Time = std::int64_t;

Time now();

// What pieces of work have taken on one thread: the least lately.
class Forecast {
 public:
  // Where it is kept what a piece of code took with so much work. Two that share a place mislead each other,
  // and no more than that.
  std::size_t place(const void* site, std::size_t n, std::size_t bytes) const;
  // Seen, or guessed; 0: neither.
  Time expected(std::size_t place) const;
  Time seen(std::size_t place) const;  // 0: not seen
  void see(std::size_t place, Time serial);
  void guess(std::size_t place, Time serial);

 private:
  static constexpr std::size_t kPlaces = 4096;
  std::array<std::atomic<Time>, kPlaces> serial_{};  // guesses are negative
};

// Whether this thread has lately had to wait for a core that others were on. It tells from 20 ms or more at a
// time, in which the thread never slept of its own will.
bool crowded(Time at);

class Governor {
 public:
  // Whether work that takes `serial` on one thread should have a team.
  bool invites(Time serial, Time at) const {
    return serial >= enough_.load(std::memory_order_relaxed) || at >= until_.load(std::memory_order_relaxed);
  }
  // A team has saved its caller so much, net of waking and waiting; negative: cost it.
  void learn(Time serial, Time saved, Time at);

 private:
  std::atomic<Time> enough_{0}, until_{0};  // what takes less than enough_ goes without a team until then
};

}  // namespace regkern::threading

#endif  // REGKERN_CORE_THREADING_GOVERNOR_H_
