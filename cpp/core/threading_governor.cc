// What regions of work have taken, and what helpers have saved or cost.

#include "core/threading_governor.h"

#include <sys/resource.h>

#include <algorithm>
#include <chrono>
#include <cstdlib>

namespace regkern::threading {
namespace {

constexpr Time kHold = 50;        // times the loss, and at least
constexpr Time kHoldWork = 20;    // times the work: what went along to other caches has to come back
constexpr Time kWorthwhile = 10;  // a team that saves less than a tenth takes cores that others may need

// What takes longer than before may have been interrupted: that is believed by and by.
void see(std::atomic<Time>& least, Time took) {
  const Time before = least.load(std::memory_order_relaxed);
  const Time after = before == 0 || took < before ? took : before + (took - before) / 8;
  least.store(std::max<Time>(after, 1), std::memory_order_relaxed);
}

}  // namespace

Time now() {
  return std::chrono::duration_cast<std::chrono::nanoseconds>(
             std::chrono::steady_clock::now().time_since_epoch())
      .count();
}

std::size_t Forecast::place(const void* site, std::size_t n, std::size_t bytes) const {
  std::uint64_t h = reinterpret_cast<std::uintptr_t>(site);
  for (const std::uint64_t part : {std::uint64_t{n}, std::uint64_t{bytes}}) {
    h = (h ^ part) * 0x9E3779B97F4A7C15;  // Fibonacci hashing
    h ^= h >> 32;
  }
  return h % kPlaces;
}

Time Forecast::expected(std::size_t place) const {
  const Time seen = places_[place].alone.load(std::memory_order_relaxed);
  return seen != 0 ? seen : places_[place].guess.load(std::memory_order_relaxed);
}

bool Forecast::prefers_team(std::size_t place) {
  constexpr std::uint32_t kTeamsFirst = 3, kOtherWay = 64;  // the first runs touch new memory
  Place& mine = places_[place];
  const std::uint32_t run = mine.runs.fetch_add(1, std::memory_order_relaxed);
  const Time alone = mine.alone.load(std::memory_order_relaxed),
             team = mine.team.load(std::memory_order_relaxed);
  if (alone == 0) return run < kTeamsFirst;
  const bool better = team < alone - alone / kWorthwhile;
  return better != (run % kOtherWay == kOtherWay - 1);
}

void Forecast::see_alone(std::size_t place, Time took) { see(places_[place].alone, took); }

void Forecast::see_team(std::size_t place, Time took, Time guess) {
  see(places_[place].team, took);
  places_[place].guess.store(guess, std::memory_order_relaxed);
}

bool crowded([[maybe_unused]] Time at) {
#if defined(RUSAGE_THREAD)
  constexpr Time kWindow = 20'000'000;
  struct Window {
    Time begin = 0, running = 0;
    long naps = 0;
    bool crowded = false;
  };
  thread_local Window last;
  if (at - last.begin < kWindow) return last.crowded;
  rusage use;
  getrusage(RUSAGE_THREAD, &use);
  const auto time = [](const timeval& t) { return Time{t.tv_sec} * 1'000'000'000 + Time{t.tv_usec} * 1000; };
  const Time running = time(use.ru_utime) + time(use.ru_stime);
  // Alone on its core a thread runs 99 % of the time; beside another 50 to 70.
  const bool waited = use.ru_nvcsw == last.naps && (running - last.running) * 10 < (at - last.begin) * 9;
  last = {at, running, use.ru_nvcsw, last.begin != 0 && waited};
  return last.crowded;
#else
  return false;
#endif
}

void Governor::learn(Time serial, Time saved, Time at) {
  const Time loss = serial / kWorthwhile - saved;
  if (loss <= 0) {
    if (serial < enough_.load(std::memory_order_relaxed)) enough_.store(serial, std::memory_order_relaxed);
    return;
  }
  hold(serial, std::max(kHold * loss, kHoldWork * serial), at);
}

void Governor::miss(Time serial, Time cost, Time at) { hold(serial, kHold * cost, at); }

void Governor::hold(Time serial, Time time, Time at) {
  const Time until = until_.load(std::memory_order_relaxed);
  const Time enough = at < until ? enough_.load(std::memory_order_relaxed) : 0;
  enough_.store(std::max(serial + serial / 4, enough), std::memory_order_relaxed);
  until_.store(std::max(at + time, until), std::memory_order_relaxed);
}

}  // namespace regkern::threading
