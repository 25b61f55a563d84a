// The helpers: how they are made, sleep, find an offer and leave it.

#include "core/threading_pool.h"

#include <pthread.h>
#include <signal.h>

#include <algorithm>
#include <chrono>
#include <exception>
#include <memory>
#include <thread>
#include <vector>

namespace regkern::threading {
namespace {

using Clock = std::chrono::steady_clock;

inline void pause() {
#if defined(__x86_64__) || defined(__i386__)
  __builtin_ia32_pause();
#elif defined(__aarch64__)
  asm volatile("yield" ::: "memory");
#endif
}

// Whether `ready` came true while a thread can wait for it on the processor without being in anyone's way.
template <class Ready>
bool spin(std::chrono::microseconds time, Ready&& ready) {
  const auto end = Clock::now() + time;
  do {
    for (int i = 0; i < 16; ++i) {
      if (ready()) return true;
      pause();
    }
  } while (Clock::now() < end);
  return false;
}

// Threads made meanwhile leave signals to those that know what to do with them.
class NoSignals {
 public:
  NoSignals() {
    sigset_t all;
    sigfillset(&all);
    pthread_sigmask(SIG_SETMASK, &all, &before_);
  }
  ~NoSignals() { pthread_sigmask(SIG_SETMASK, &before_, nullptr); }
  NoSignals(const NoSignals&) = delete;
  NoSignals& operator=(const NoSignals&) = delete;

 private:
  sigset_t before_;
};

// How long a helper looks for more work before it sleeps. Calls that follow each other at once gain (two
// threads on prox_l1 of a million: 2.8 times one thread, 1.7 without; to wake a sleeper takes 40 µs there),
// and a core is not kept from others for longer than it takes to switch to them a few times.
constexpr std::chrono::microseconds kIdleSpin{50};
// How long a caller looks for the last helper before it sleeps: as long as the piece of one takes.
constexpr std::chrono::microseconds kJoinSpin{50};
// Left free where stacks take all memory that a limit leaves: a thread that finds none for its thread_local
// variables ends the process. They are 80 bytes; glibc asks the system for 132 KiB at a time.
constexpr std::size_t kReserve = std::size_t{1} << 20;

}  // namespace

Pool& Pool::instance() {
  static Pool& pool = *new Pool;
  return pool;
}

int threads_to_be_had(int n) {
  const NoSignals quiet;
  std::vector<std::thread> made;
  std::atomic<bool> enough{false};
  try {
    made.reserve(static_cast<std::size_t>(n));
    for (int i = 0; i < n; ++i) made.emplace_back([&] { enough.wait(false); });
  } catch (const std::exception&) {  // a limit on threads or memory
  }
  enough = true;
  enough.notify_all();
  for (std::thread& thread : made) thread.join();
  return static_cast<int>(made.size());
}

void Pool::grow(int helpers) {
  helpers = std::min(helpers, most_);
  if (helpers_ >= helpers) return;
  const NoSignals quiet;
  try {
    const auto reserve = std::make_unique_for_overwrite<char[]>(kReserve);
    *static_cast<volatile char*>(reserve.get()) = 0;  // or the compiler leaves it out
    for (; helpers_ < helpers; ++helpers_) std::thread([this] { help(); }).detach();
  } catch (const std::exception&) {  // a limit on threads or memory: go on with those there are
    most_ = helpers_;
  }
}

void Pool::open(Offer& offer) {
  int wake;
  {
    const std::lock_guard lock(mutex_);
    grow(offer.wanted_);
    offer.wanted_ = std::min(offer.wanted_, helpers_);
    if (offer.wanted_ == 0) return;
    Offer** last = &first_;
    while (*last != nullptr) last = &(*last)->next_;
    *last = &offer;
    offers_.fetch_add(1, std::memory_order_release);
    wake = std::min({idle_, offer.wanted_, 2});
  }
  for (; wake > 0; --wake) work_.notify_one();  // each of whom wakes two more
}

// The oldest offer that wants a helper, which has joined it then. Under the lock.
Offer* Pool::take() {
  Offer* offer = first_;
  if (offer == nullptr) return nullptr;
  offer->inside_.fetch_add(1, std::memory_order_relaxed);
  ++offer->joined_;
  if (--offer->wanted_ == 0) {
    first_ = offer->next_;
    offers_.fetch_sub(1, std::memory_order_relaxed);
  }
  return offer;
}

void Pool::close(Offer& offer) {
  {
    const std::lock_guard lock(mutex_);
    for (Offer** at = &first_; *at != nullptr; at = &(*at)->next_) {
      if (*at != &offer) continue;
      *at = offer.next_;
      offers_.fetch_sub(1, std::memory_order_relaxed);
      break;
    }
    offer.wanted_ = 0;
  }
  const auto alone = [&] { return offer.inside_.load(std::memory_order_acquire) == 0; };
  if (spin(kJoinSpin, alone)) return;
  std::unique_lock lock(mutex_);
  offer.awaited_ = true;
  done_.wait(lock, alone);
}

void Pool::help() {
  std::unique_lock lock(mutex_);
  for (;;) {
    Offer* offer = take();
    if (offer == nullptr) {
      lock.unlock();
      const bool soon = spin(kIdleSpin, [this] { return offers_.load(std::memory_order_acquire) != 0; });
      lock.lock();
      if (!soon && first_ == nullptr) {
        ++idle_;
        work_.wait(lock, [this] { return first_ != nullptr; });
        --idle_;
      }
      continue;
    }
    const int rank = offer->joined_;
    int wake = std::min({idle_, offer->wanted_, 2});
    lock.unlock();
    for (; wake > 0; --wake) work_.notify_one();
    offer->join_(*offer, rank);
    lock.lock();
    const bool awaited = offer->awaited_;
    // The last touch: the offer's thread may go on at once.
    if (offer->inside_.fetch_sub(1, std::memory_order_acq_rel) == 1 && awaited) done_.notify_all();
  }
}

}  // namespace regkern::threading
