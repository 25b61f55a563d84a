// A region of work and the team that shares it: who takes which piece, and whether the governor lets others
// help.

#include "core/threading.h"

#include <pthread.h>

#include <algorithm>
#include <array>
#include <atomic>
#include <cfenv>
#include <cstdio>
#include <cstdlib>
#include <exception>
#include <limits>
#include <memory>
#include <mutex>
#include <string>
#include <thread>
#include <utility>
#include <vector>

#include "core/threading_governor.h"
#include "core/threading_pool.h"
#include "regkern/runtime.h"

#if defined(_OPENMP)
#include <omp.h>
#endif

namespace regkern {
namespace {

std::atomic<int> process_threads{0};  // set_num_threads; 0: not set
thread_local LocalThreads local_threads;
std::atomic<bool> governed{true};  // set_governed

// A child of fork has none of its parent's threads, but the pool's state and libgomp's say it does, and the
// next region would wait for them forever (GCC bug 60035). A child therefore stays on one thread.
std::atomic<bool> forked{false};
[[maybe_unused]] const int at_fork = pthread_atfork(nullptr, nullptr, [] { forked = true; });

// The first numbers of a file, as far as there are so many.
std::array<long, 2> numbers_in(const char* path) {
  std::array<long, 2> n{};
  if (std::FILE* file = std::fopen(path, "r")) {
    if (std::fscanf(file, "%ld %ld", &n[0], &n[1]) < 1) n = {};
    std::fclose(file);
  }
  return n;
}

// Whole CPUs of this process' cgroup quota (the limit of a container, which OpenMP does not see), at least 1.
int cpu_quota() {
  auto [quota, period] = numbers_in("/sys/fs/cgroup/cpu.max");
  if (quota == 0) {  // version 1
    quota = numbers_in("/sys/fs/cgroup/cpu/cpu.cfs_quota_us")[0];
    period = numbers_in("/sys/fs/cgroup/cpu/cpu.cfs_period_us")[0];
  }
  if (quota <= 0 || period <= 0) return 1 << 20;
  return static_cast<int>(std::max(1L, (quota + period - 1) / period));
}

int default_threads() {
  static const int quota = cpu_quota();
#if defined(_OPENMP)
  return std::min({omp_get_max_threads(), quota, kMostThreads});
#else
  static const int cores = std::max(1, static_cast<int>(std::thread::hardware_concurrency()));
  return std::min({cores, quota, kMostThreads});
#endif
}

// Those who say how OpenMP's threads are to run get OpenMP's threads; how many there are is for either kind.
bool use_openmp() {
#if defined(_OPENMP)
  static const bool wanted = [] {
    const auto names = {"OMP_WAIT_POLICY", "OMP_PROC_BIND", "OMP_PLACES",   "GOMP_CPU_AFFINITY",
                        "GOMP_SPINCOUNT",  "KMP_AFFINITY",  "KMP_BLOCKTIME"};
    return std::any_of(names.begin(), names.end(), [](const char* name) {
      const char* value = std::getenv(name);
      return value != nullptr && *value != '\0';
    });
  }();
  return wanted;
#else
  return false;
#endif
}

}  // namespace

int get_num_threads() {
  if (forked.load(std::memory_order_relaxed)) return 1;
  if (local_threads.number != 0) return local_threads.number;
  const int n = process_threads.load(std::memory_order_relaxed);
  return n != 0 ? n : default_threads();
}

void set_num_threads(int n) { process_threads = n; }

void set_governed(bool on) { governed = on; }

LocalThreads swap_local_threads(LocalThreads threads) { return std::exchange(local_threads, threads); }

bool shares_openmp([[maybe_unused]] std::uintptr_t max_threads) {
#if defined(_OPENMP)
  return max_threads == reinterpret_cast<std::uintptr_t>(&omp_get_max_threads);
#else
  return false;
#endif
}

std::string openmp() {
#if defined(_OPENMP)
  return "libgomp or compatible, OpenMP " + std::to_string(_OPENMP);
#else
  return "none";
#endif
}

std::string team_kind() { return use_openmp() ? "OpenMP" : "regkern"; }

namespace threading {
namespace {

// Below this a thread has some 50 µs of work, and a helper that sleeps takes as long to come.
constexpr std::size_t kBytesPerThread = std::size_t{512} << 10;
// One that is awake comes within 2 µs or so; torch gives its own as much.
constexpr std::size_t kBytesPerAwake = std::size_t{128} << 10;
constexpr std::size_t kPage = 4096;  // enough for a thread where nothing is governed
// A piece of a share takes at least this: then what a piece costs beside its work is no more than a percent.
constexpr Time kPiece = 25'000;
constexpr std::size_t kMostPieces = 8;

thread_local bool in_region = false;
std::atomic<int> callers{0};  // that are in a region of some size now

Governor& governor() {
  static Governor& instance = *new Governor;
  return instance;
}
Forecast& forecast() {
  static Forecast& instance = *new Forecast;
  return instance;
}

// A region at work: a share for each member, which every one goes through in pieces, first its own, then what
// others have left. So a member that comes late or not at all costs its help and no more.
class Job : public Offer {
 public:
  Job(Team team, const Region& region, Time serial)
      : Offer([](Offer& offer, int rank) { static_cast<Job&>(offer).help(rank); }, team.size - 1),
        region_(region),
        team_(team.count()),
        grains_((region.n + region.grain - 1) / region.grain),
        shares_(team_) {
    std::fegetenv(&environment_);
    const auto worth = static_cast<std::size_t>(serial / kPiece) / team_;
    pieces_ = std::clamp<std::size_t>(worth, 1, kMostPieces);
    for (std::size_t r = 0; r < team_; ++r) {
      const std::size_t grains = share_end(r) - share_begin(r);
      shares_[r].pieces = static_cast<std::uint32_t>(std::min(pieces_, grains));
    }
  }

  // On the thread that has the work.
  void lead() {
    in_region = true;
    work(0);
    in_region = false;
  }
  // On every other, with the floating-point environment of the first: subnormal numbers are the same for all.
  void help(int rank) {
    std::fenv_t before;
    std::fegetenv(&before);
    std::fesetenv(&environment_);
    in_region = true;
    work(static_cast<std::size_t>(rank));
    in_region = false;
    std::fesetenv(&before);
  }
  void rethrow() const {
    if (failure_) std::rethrow_exception(failure_);
  }

  // What all would take on the first thread, by its fastest piece: it may have been interrupted in others.
  Time serial() const { return static_cast<Time>(fastest_ * static_cast<double>(region_.n)); }
  // What the first thread did not have to do, in its own time; and what it did.
  Time helped() const { return static_cast<Time>(fastest_ * static_cast<double>(region_.n - done_)); }
  Time busy() const { return busy_; }

 private:
  struct alignas(64) Share {
    std::atomic<std::uint32_t> next{0};
    std::uint32_t pieces = 0;
  };

  std::size_t share_begin(std::size_t r) const { return grains_ * r / team_; }
  std::size_t share_end(std::size_t r) const { return grains_ * (r + 1) / team_; }

  void work(std::size_t rank) {
    for (std::size_t i = 0; i < team_; ++i) {
      const std::size_t r = (rank + i) % team_;
      Share& share = shares_[r];
      for (;;) {
        const std::uint32_t piece = share.next.fetch_add(1, std::memory_order_relaxed);
        if (piece >= share.pieces) break;
        run_piece(rank, r, region_.way == Way::kForward ? piece : share.pieces - 1 - piece, share.pieces);
      }
    }
  }

  void run_piece(std::size_t rank, std::size_t share, std::size_t piece, std::size_t pieces) {
    const std::size_t first = share_begin(share), grains = share_end(share) - first;
    const std::size_t begin = (first + grains * piece / pieces) * region_.grain;
    const std::size_t end = std::min((first + grains * (piece + 1) / pieces) * region_.grain, region_.n);
    const Time start = rank == 0 ? now() : 0;
    try {
      region_.body(region_.context, begin, end);
    } catch (...) {
      const std::lock_guard lock(failing_);
      if (!failure_) failure_ = std::current_exception();
    }
    if (rank != 0) return;
    const Time took = now() - start;
    const double each = static_cast<double>(took) / static_cast<double>(end - begin);
    fastest_ = done_ == 0 ? each : std::min(fastest_, each);
    done_ += end - begin;
    busy_ += took;
  }

  const Region& region_;
  std::size_t team_, grains_, pieces_ = 1;
  std::vector<Share> shares_;
  std::fenv_t environment_;
  std::mutex failing_;
  std::exception_ptr failure_;
  // Of the first thread: nanoseconds an element in its fastest piece, elements, nanoseconds.
  double fastest_ = 0;
  std::size_t done_ = 0;
  Time busy_ = 0;
};

void run_with_pool(Job& job) {
  Pool& pool = Pool::instance();
  pool.open(job);
  job.lead();
  pool.close(job);
}

#if defined(_OPENMP)
void run_with_openmp(Job& job, int team) {
  // libgomp ends the process where it cannot make a thread.
  static std::mutex mutex;
  static int had = 1, most = 1 << 20;
  {
    const std::lock_guard lock(mutex);
    team = std::min(team, most);
    if (team > had) {
      had = threads_to_be_had(team - 1) + 1;
      if (had < team) most = had;
    }
    team = std::min(team, most);
  }
#pragma omp parallel num_threads(team)
  {
    if (omp_get_thread_num() == 0) {
      job.lead();
    } else {
      job.help(omp_get_thread_num());
    }
  }
}
#endif

}  // namespace

Team team_for(std::size_t bytes) {
  const bool free = governed.load(std::memory_order_relaxed);
  const std::size_t useful = bytes / (!free                  ? kPage
                                      : local_threads.openmp ? kBytesPerAwake
                                                             : kBytesPerThread);
  if (useful < 2 || in_region) return {1, bytes};
#if defined(_OPENMP)
  if (omp_in_parallel()) return {1, bytes};
#endif
  return Team{get_num_threads(), bytes}.at_most(useful);
}

void run(Team team, const Region& region) {
  struct Caller {
    Caller() : others(callers.fetch_add(1, std::memory_order_relaxed)) {}
    ~Caller() { callers.fetch_sub(1, std::memory_order_relaxed); }
    const int others;  // each of whom has a core
  } const caller;
  const std::size_t place = forecast().place(region.site, region.n, team.bytes);
  const Time known = forecast().expected(place), start = now();
  const Time expected = known != 0 ? known : static_cast<Time>(team.bytes / 10);  // at 10 GB/s
  const bool free = governed.load(std::memory_order_relaxed) && !local_threads.openmp;
  if (free) {
    team.size = std::max(team.size - caller.others, 1);
    if (team.size == 1 || crowded(start) || !governor().invites(expected, start) ||
        !forecast().prefers_team(place)) {
      region.body(region.context, 0, region.n);
      forecast().see_alone(place, now() - start);
      return;
    }
  }
  Job job(team, region, free ? expected : std::numeric_limits<Time>::max());
  if (local_threads.openmp || use_openmp()) {
#if defined(_OPENMP)
    run_with_openmp(job, team.size);
#endif
  } else {
    run_with_pool(job);
  }
  const Time end = now(), beside = end - start - job.busy();
  forecast().see_team(place, end - start, job.serial());
  // What helpers did is worth what it would have taken here. That this thread was interrupted is no fault of
  // theirs. Where none came, the call for them is all that is lost.
  if (free && job.helped() == 0) {
    governor().miss(job.serial(), beside, end);
  } else if (free) {
    governor().learn(job.serial(), job.helped() - beside, end);
  }
  job.rethrow();
}

}  // namespace threading
}  // namespace regkern
