// Whether somebody waits for the work to end: asked by and by from wherever it is long.

#ifndef REGKERN_CORE_LINEAR_POLLING_H_
#define REGKERN_CORE_LINEAR_POLLING_H_

#include "regkern/linear.h"

namespace regkern::linear {

// While it lives poll() asks `stop` in this thread.
class Polling {
 public:
  explicit Polling(const Stop& stop);
  ~Polling();
  Polling(const Polling&) = delete;
  Polling& operator=(const Polling&) = delete;

 private:
  const Stop* before_;
};

// Throws Stopped if the work is to end. It asks so rarely that loops of microseconds may call it; or at once.
void poll(bool at_once = false);

}  // namespace regkern::linear

#endif  // REGKERN_CORE_LINEAR_POLLING_H_
