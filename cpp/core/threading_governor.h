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

// What pieces of work have taken, alone and with a team: the least lately.
class Forecast {
 public:
  // Where it is kept what a piece of code took with so much work. Two that share a place mislead each other,
  // and no more than that.
  std::size_t place(const void* site, std::size_t n, std::size_t bytes) const;
  // On one thread, as seen there or as guessed by a team; 0: neither.
  Time expected(std::size_t place) const;
  // Whether a team does this work in nine tenths of the time or less: both ways are tried now and then.
  bool prefers_team(std::size_t place);
  void see_alone(std::size_t place, Time took);
  void see_team(std::size_t place, Time took, Time guess);

 private:
  static constexpr std::size_t kPlaces = 4096;
  struct Place {
    std::atomic<Time> alone{0}, team{0}, guess{0};  // 0: not seen
    std::atomic<std::uint32_t> runs{0};
  };
  std::array<Place, kPlaces> places_;
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
  // No helper came, and calling for them cost so much: nothing went along to other caches.
  void miss(Time serial, Time cost, Time at);

 private:
  void hold(Time serial, Time time, Time at);

  std::atomic<Time> enough_{0}, until_{0};  // what takes less than enough_ goes without a team until then
};

}  // namespace regkern::threading

#endif  // REGKERN_CORE_THREADING_GOVERNOR_H_
