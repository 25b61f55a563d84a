// The gate. What a Python caller hands over is checked here, once, before the GIL is released and before
// anything is written; behind it nothing can fail. Every message reads `function: argument must rule, got
// value`.

#ifndef REGKERN_BINDINGS_ARRAYS_H_
#define REGKERN_BINDINGS_ARRAYS_H_

#include <pybind11/numpy.h>
#include <pybind11/pybind11.h>

#include <array>
#include <cstdint>
#include <initializer_list>
#include <memory>
#include <optional>
#include <string>
#include <utility>
#include <vector>

#include "regkern/array.h"

namespace regkern::bindings {

namespace py = pybind11;

// Which argument of which function: the head of every message.
struct Arg {
  const char* function;
  const char* name;
};

[[noreturn]] void type_error(Arg arg, const std::string& rule, py::handle got);
[[noreturn]] void value_error(Arg arg, const std::string& rule, const std::string& got);

std::string text(py::handle value);  // its repr, in one short line

// --- numbers -----------------------------------------------------------------------------------------------

double real(Arg arg, py::handle value);                // any real number but bool
double nonnegative(Arg arg, py::handle value);         // >= 0, may be Inf
double finite_nonnegative(Arg arg, py::handle value);  // >= 0 and finite
double positive(Arg arg, py::handle value);            // > 0 and finite
double probability(Arg arg, py::handle value);         // in [0, 1]
bool flag(Arg arg, py::handle value);                  // True or False
std::int64_t integer(Arg arg, py::handle value);
std::uint64_t unsigned64(Arg arg, py::handle value);  // int in [0, 2**64)

// --- arrays ------------------------------------------------------------------------------------------------

// NumPy's own struct of an ndarray.
using Proxy = py::detail::PyArray_Proxy;
inline const Proxy* proxy(py::handle array) { return py::detail::array_proxy(array.ptr()); }
bool is_masked(py::handle value);  // an array that hides some of its elements
inline bool is_ndarray(py::handle value) { return py::detail::npy_api::get().PyArray_Check_(value.ptr()); }

// The number of elements of a shape that Python gave, of which an array is to be made: `item` bytes each.
std::size_t product(Arg arg, const std::vector<std::ptrdiff_t>& lengths, std::size_t item);

// The memory of an ndarray as it was when it was checked. What runs between the check and the use, the
// __float__ of a later argument say, can resize, reshape or freeze the array: then its pointers are not to be
// followed.
class Memory {
 public:
  Memory() = default;
  Memory(Arg arg, py::handle array);

  Arg arg() const { return arg_; }
  char* address() const { return data_; }  // to compare; what is followed comes from use()
  PyObject* descriptor() const { return descriptor_; }
  bool has(int flags) const { return (flags_ & flags) == flags; }
  int ndim() const { return ndim_; }
  const std::ptrdiff_t* shape() const { return many_.empty() ? few_.data() : many_.data(); }
  const std::ptrdiff_t* strides() const { return shape() + ndim_; }
  // The address, or an error where the array is not as it was.
  char* use() const;

 private:
  static constexpr std::size_t kFew = 12;  // lengths and strides of six dimensions: without an allocation
  Arg arg_{};
  const py::detail::PyArray_Proxy* array_ = nullptr;
  char* data_ = nullptr;
  PyObject* descriptor_ = nullptr;
  int flags_ = 0, ndim_ = 0;
  std::array<std::ptrdiff_t, kFew> few_;
  std::vector<std::ptrdiff_t> many_;
};

enum class Dtype { kFloat32, kFloat64 };

// A float32 or float64 array in native byte order, of any strides and alignment; keeps the Python object
// alive.
class Array {
 public:
  Array() = default;
  explicit operator bool() const { return static_cast<bool>(object_); }

  py::object object() const { return object_; }
  Dtype dtype() const { return dtype_; }
  std::size_t size() const { return size_; }
  int ndim() const { return memory_.ndim(); }
  std::ptrdiff_t dim(int i) const { return shape()[i]; }
  const std::ptrdiff_t* shape() const { return memory_.shape(); }
  const std::ptrdiff_t* strides() const { return memory_.strides(); }
  bool dense() const { return dense_; }
  char* address() const { return memory_.address(); }
  Extents extents() const { return Extents(ndim(), shape()); }

  // What the work gets: an error where the memory is not what was checked.
  template <class T>
  T* data() const {
    if (source_) source_->use();
    return reinterpret_cast<T*>(memory_.use());
  }
  template <class T>
  In<T> in() const {
    return {data<const T>(), dense_ ? nullptr : strides()};
  }
  template <class T>
  Out<T> out() const {
    return {data<T>(), dense_ ? nullptr : strides()};
  }
  template <class T>
  InOut<T> in_out() const {
    return {data<T>(), dense_ ? nullptr : strides()};
  }

 private:
  Array(Arg arg, py::object array) : object_(std::move(array)), memory_(arg, object_) {}
  friend Array input(Arg arg, py::handle value);
  friend Array output(Arg arg, py::handle value);
  friend Array broadcast(Arg arg, const Array& array, const char* like_name, const Array& like);

  py::object object_;
  Memory memory_;
  std::shared_ptr<const Memory> source_;  // of the array that this is a view of
  Dtype dtype_ = Dtype::kFloat32;
  std::size_t size_ = 0;
  bool dense_ = false;
};

// Null where there is no array.
template <class T>
const T* pointer(const Array& a) {
  return a ? a.data<T>() : nullptr;
}

// An array to read: an ndarray, or what np.asarray makes of a list or another array-like.
Array input(Arg arg, py::handle value);
// An array to write: exactly an ndarray, writable, no element in two places.
Array output(Arg arg, py::handle value);
// None → an empty Array, else input().
Array optional_input(Arg arg, py::handle value);
Array optional_output(Arg arg, py::handle value);
// A new array of the shape, dtype and memory order of `like`.
Array new_like(const Array& like);
// A new dense vector.
Array new_vector(Dtype dtype, std::size_t n);

void require_dtype(Arg arg, const Array& array, Dtype dtype);
void require_float64(Arg arg, const Array& array);  // whatever the data are
void require_shape(Arg arg, const Array& array, int ndim, const std::ptrdiff_t* shape);
void require_same_shape(Arg arg, const Array& array, const Array& like);
void require_vector(Arg arg, const Array& array, std::size_t n);
// The axis of x that an int names, counted from 0.
int axis_of(Arg arg, py::handle axis, const Array& x);
// The half-open range of addresses that an array with elements touches.
std::pair<const char*, const char*> bounds(const Array& a);
// `written` shares no memory with `other`; `same_allowed`: unless it is the very same memory and strides.
void require_disjoint(Arg arg, const Array& written, const char* other_name, const Array& other,
                      bool same_allowed = false);

// `out` checked against the input it corresponds to, or a new array: what `out=` means everywhere.
Array out_or_new(Arg arg, py::handle value, const char* input_name, const Array& like);

// `array` with zero strides where `like` is longer; its dtype is like's.
Array broadcast(Arg arg, const Array& array, const char* like_name, const Array& like);

// A dense copy of a short vector where it is not dense itself.
Array dense_vector(const Array& vector);

std::string shape_text(int ndim, const std::ptrdiff_t* shape);

// Calls body with a float or a double, for its type.
template <class Body>
void visit(Dtype dtype, Body&& body) {
  if (dtype == Dtype::kFloat32) {
    body(float{});
  } else {
    body(double{});
  }
}

// Takes the GIL back. Where the interpreter has ended meanwhile, a daemon thread stops here and never
// returns.
void lock_again(PyThreadState* state) noexcept;

// Releases the GIL for the scope if the work is worth it: below some thousand elements the release costs more
// than the work and nobody waits that long.
class Unlocked {
 public:
  explicit Unlocked(std::size_t elements) : state_(elements > 8192 ? PyEval_SaveThread() : nullptr) {}
  ~Unlocked() {
    if (state_ != nullptr) lock_again(state_);
  }
  Unlocked(const Unlocked&) = delete;
  Unlocked& operator=(const Unlocked&) = delete;

 private:
  PyThreadState* state_;
};

}  // namespace regkern::bindings

#endif  // REGKERN_BINDINGS_ARRAYS_H_
