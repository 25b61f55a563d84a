// Threads of the library's own that park: they wait for work on the processor for some microseconds only,
// then give their core to whoever shares it.

#ifndef REGKERN_CORE_THREADING_POOL_H_
#define REGKERN_CORE_THREADING_POOL_H_

#include <atomic>
#include <condition_variable>
#include <mutex>

namespace regkern::threading {

// What helpers may join; it lives on the stack of the thread that offers it.
class Offer {
 public:
  // A helper that comes calls join(offer, rank) with a rank of its own, from 1 on; join returns when nothing
  // is left to do.
  Offer(void (*join)(Offer&, int rank), int wanted) : join_(join), wanted_(wanted) {}

 private:
  friend class Pool;
  void (*join_)(Offer&, int rank);
  int wanted_;                  // helpers that may still come
  std::atomic<int> inside_{0};  // helpers at work
  bool awaited_ = false;        // the thread that offers sleeps until none is inside
  int joined_ = 0;
  Offer* next_ = nullptr;
};

// How many of n threads the system would give this process now; they are made and ended at once.
int threads_to_be_had(int n);

class Pool {
 public:
  // Never destroyed: a daemon thread may be at work while the process ends.
  static Pool& instance();

  // Offers work to helpers, of which there are made as many as it wants and the system has; returns at once.
  void open(Offer& offer);
  // Withdraws it. Returns when no helper is inside.
  void close(Offer& offer);

 private:
  void help();
  void grow(int helpers);
  Offer* take();

  std::mutex mutex_;
  std::condition_variable work_, done_;
  Offer* first_ = nullptr;  // offers that want helpers, oldest first
  int helpers_ = 0, idle_ = 0, most_ = 1 << 20;
  std::atomic<int> offers_{0};  // for those who spin
};

}  // namespace regkern::threading

#endif  // REGKERN_CORE_THREADING_POOL_H_
