#include "core/threading.h"

#include <pthread.h>

#include <algorithm>
#include <atomic>
#include <cstdio>
#include <exception>
#include <string>
#include <thread>

#include "regkern/runtime.h"

#if defined(_OPENMP)
#include <omp.h>
#endif

namespace regkern {
namespace {

std::atomic<int> process_threads{0};  // set_num_threads; 0: not set
thread_local int local_threads = 0;   // swap_local_threads; 0: not set

// A child of fork has none of its parent's threads, but libgomp's state says it does and the next parallel
// region would wait for them forever (GCC bug 60035). A child therefore stays on one thread.
std::atomic<bool> forked{false};
[[maybe_unused]] const int at_fork = pthread_atfork(nullptr, nullptr, [] { forked = true; });

// Whole CPUs of this process' cgroup quota (the limit of a container, which OpenMP does not see), at least 1.
int cpu_quota() {
  int cpus = 1 << 20;
  if (std::FILE* file = std::fopen("/sys/fs/cgroup/cpu.max", "r")) {
    long quota = 0, period = 0;
    if (std::fscanf(file, "%ld %ld", &quota, &period) == 2 && quota > 0 && period > 0) {
      cpus = static_cast<int>(std::max(1L, (quota + period - 1) / period));
    }
    std::fclose(file);
  }
  return cpus;
}

int default_threads() {
#if defined(_OPENMP)
  static const int quota = cpu_quota();
  return std::min(omp_get_max_threads(), quota);
#else
  return 1;
#endif
}

}  // namespace

int get_num_threads() {
  if (forked.load(std::memory_order_relaxed)) return 1;
  if (local_threads != 0) return local_threads;
  const int n = process_threads.load(std::memory_order_relaxed);
  return n != 0 ? n : default_threads();
}

void set_num_threads(int n) { process_threads = n; }

int swap_local_threads(int n) {
  const int before = local_threads;
  local_threads = n;
  return before;
}

std::string openmp() {
#if defined(_OPENMP)
  return "libgomp or compatible, OpenMP " + std::to_string(_OPENMP);
#else
  return "none";
#endif
}

namespace threading {

// A team costs 1 to 7 µs to wake; 128 KiB a thread is 5 to 10 µs of work for the fastest kernels.
constexpr std::size_t kBytesPerThread = 128 << 10;

int team_for(std::size_t bytes) {
  const std::size_t useful = bytes / kBytesPerThread;
  if (useful < 2) return 1;
#if defined(_OPENMP)
  if (omp_in_parallel()) return 1;
#endif
  return static_cast<int>(std::min<std::size_t>(useful, static_cast<std::size_t>(get_num_threads())));
}

void run([[maybe_unused]] int team, void (*body)(void*, int, int), void* context) {
#if defined(_OPENMP)
  // No exception may leave a parallel region. Where memory for scratch is missing, the caller hears of it.
  std::exception_ptr failure;
#pragma omp parallel num_threads(team)
  try {
    body(context, omp_get_thread_num(), omp_get_num_threads());
  } catch (...) {
#pragma omp critical
    failure = std::current_exception();
  }
  if (failure) std::rethrow_exception(failure);
#else
  body(context, 0, 1);
#endif
}

}  // namespace threading
}  // namespace regkern
