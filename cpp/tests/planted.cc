// Bugs planted on purpose, through the library's own code: each must be found by the sanitizer that
// .ci/sanitize runs, or its silence means nothing. A library of its own; no product links it.

#include <cstddef>
#include <limits>
#include <thread>
#include <vector>

#include "core/threading.h"
#include "regkern/prox.h"
#include "regkern/runtime.h"

#define REGKERN_PLANT extern "C" __attribute__((visibility("default")))

// A kernel gets one element more than there is. Of memory that ends with a vector, so that it is the tail's.
REGKERN_PLANT void heap_overflow() {
  constexpr std::size_t kLength = 64;
  std::vector<float> x(kLength, 1.0F), y(kLength);
  regkern::prox_l1<float>(kLength + 1, {x.data()}, {y.data()}, 0.5F);
}

REGKERN_PLANT int signed_overflow() {
  volatile int n = std::numeric_limits<int>::max();
  return n + 1;
}

REGKERN_PLANT float misaligned_load() {
  static const float numbers[2] = {};
  const char* volatile inside = reinterpret_cast<const char*>(numbers) + 1;  // nothing is known of it
  return *reinterpret_cast<const float*>(inside);
}

// Two callers write to one result.
REGKERN_PLANT void race_of_callers() {
  std::vector<float> x(1000, 1.0F), y(1000);
  const auto call = [&] { regkern::prox_l1<float>(x.size(), {x.data()}, {y.data()}, 0.5F); };
  std::thread other(call);
  call();
  other.join();
}

// Two members of a team count without asking each other, for long enough that both are at it.
REGKERN_PLANT int race_in_a_team() {
  regkern::set_governed(false);
  int count = 0;
  for (int round = 0; round < 100; ++round) {
    regkern::threading::for_ranges({2, 1 << 20}, 200'000, 1, [&](std::size_t begin, std::size_t end) {
      volatile int& mine = count;  // one by one: a sum at once would be over before the other comes
      for (std::size_t i = begin; i < end; ++i) mine = mine + 1;
    });
  }
  return count;
}
