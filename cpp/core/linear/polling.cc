// A question costs a lock that other threads may hold: some in a second are enough.

#include "core/linear/polling.h"

#include <chrono>

namespace regkern::linear {
namespace {

using Clock = std::chrono::steady_clock;

constexpr std::chrono::milliseconds kPause{20};

thread_local const Stop* asked = nullptr;
thread_local Clock::time_point last;

}  // namespace

Polling::Polling(const Stop& stop) : before_(asked) {
  asked = &stop;
  last = Clock::now();
}

Polling::~Polling() { asked = before_; }

void poll(bool at_once) {
  if (asked == nullptr || !*asked) return;
  const Clock::time_point now = Clock::now();
  if (!at_once && now - last < kPause) return;
  last = now;
  if ((*asked)()) throw Stopped{};
}

}  // namespace regkern::linear
