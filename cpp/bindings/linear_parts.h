// What the bindings of linear models share: X in its layouts, vectors that Python has made, interrupts.

#ifndef REGKERN_BINDINGS_LINEAR_PARTS_H_
#define REGKERN_BINDINGS_LINEAR_PARTS_H_

#include <atomic>
#include <cstddef>
#include <cstdint>
#include <optional>
#include <string>
#include <thread>
#include <utility>

#include "arrays.h"
#include "regkern/linear.h"

namespace regkern::bindings {

// Keeps the arrays of a matrix.
struct Held {
  Array data;
  py::object indices, starts;
  linear::Matrix matrix;
};

// X: an ndarray of two axes, or the tuple (values, row numbers, starts of columns, rows).
Held matrix(const char* function, py::handle value);
// Where the values are is known last: what was asked of Python meanwhile may have changed the array.
void follow(Held& held);
// A dense vector or matrix of float64 that Python has made, or None.
const double* numbers(Arg arg, py::handle value, std::size_t count);

// Whether Python wants the work to end: signals, which the thread that called hears, and errors.
class Interrupt {
 public:
  bool operator()() {
    if (stopped_) return true;
    if (std::this_thread::get_id() != caller_) return false;
    const py::gil_scoped_acquire lock;
    if (PyErr_CheckSignals() != 0) fail();
    return stopped_;
  }
  void tell(py::handle progress, std::size_t done, std::size_t all) {
    if (progress.is_none()) return;
    const py::gil_scoped_acquire lock;
    try {
      progress(done, all);
    } catch (py::error_already_set& error) {
      error.restore();
      fail();
    }
  }
  // With the GIL.
  void rethrow() const {
    if (error_ == nullptr) return;
    PyErr_Restore(error_, value_, trace_);
    throw py::error_already_set();
  }

 private:
  void fail() {
    PyErr_Fetch(&error_, &value_, &trace_);
    stopped_ = true;
  }
  std::atomic<bool> stopped_ = false;
  std::thread::id caller_ = std::this_thread::get_id();
  PyObject *error_ = nullptr, *value_ = nullptr, *trace_ = nullptr;
};

template <class Work>
void run_unlocked(const char* function, Interrupt& interrupt, Work&& work) {
  std::size_t broken = SIZE_MAX;
  std::optional<linear::NotARow> beyond;
  {
    const Unlocked unlocked(SIZE_MAX);
    try {
      work();
    } catch (const linear::NotFinite& error) {
      broken = error.column;
    } catch (const linear::NotARow& error) {
      beyond = error;
    } catch (const linear::Stopped&) {  // raised below, by what was asked
    }
  }
  interrupt.rethrow();
  if (beyond) {
    value_error({function, "X"}, "have row numbers below " + std::to_string(beyond->rows),
                std::to_string(beyond->row));
  }
  if (broken != SIZE_MAX) {
    value_error({function, "X"}, "be finite",
                "NaN, infinity or too large a value in column " + std::to_string(broken));
  }
}

}  // namespace regkern::bindings

#endif  // REGKERN_BINDINGS_LINEAR_PARTS_H_
