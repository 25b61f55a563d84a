// The gate. What a Python caller hands over is checked here, once, before the GIL is released and before
// anything is written; behind it nothing can fail. Every message reads `function: argument must rule, got
// value`.

#ifndef REGKERN_BINDINGS_ARRAYS_H_
#define REGKERN_BINDINGS_ARRAYS_H_

#include <pybind11/numpy.h>
#include <pybind11/pybind11.h>

#include <algorithm>
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

// What a caller calls an argument of a function.
const char* said(const char* function, const char* name);

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
bool is_view(py::handle value);
const struct View& checked_view(py::handle value);  // an error of one that View.__new__ left unmade
inline bool is_ndarray(py::handle value) { return py::detail::npy_api::get().PyArray_Check_(value.ptr()); }

// The number of elements of a shape that Python gave, of which an array is to be made: `item` bytes each.
std::size_t product(Arg arg, const std::vector<std::ptrdiff_t>& lengths, std::size_t item);

enum class Dtype { kFloat32, kFloat64, kBfloat16, kFloat16 };

inline bool is_half(Dtype dtype) { return dtype == Dtype::kBfloat16 || dtype == Dtype::kFloat16; }
inline std::size_t item_size(Dtype dtype) {
  return is_half(dtype) ? 2 : dtype == Dtype::kFloat32 ? sizeof(float) : sizeof(double);
}
inline Storage storage_of(Dtype dtype) {
  if (dtype == Dtype::kBfloat16) return Storage::kBfloat16;
  return dtype == Dtype::kFloat16 ? Storage::kFloat16 : Storage::kNative;
}
const char* name_of(Dtype dtype);

// Memory of another library, a tensor say, which Python tells by its address: `_core.raw.View`. Nothing of it
// changes, and it keeps its owner alive.
struct View {
  char* address;
  Dtype dtype;
  bool writable;
  std::vector<std::ptrdiff_t> layout;  // lengths, then strides in bytes
  py::object owner;

  int ndim() const { return static_cast<int>(layout.size() / 2); }
};

struct DLTensor;  // of tensors.h

// The memory of an ndarray or a view as it was when it was checked. What runs between the check and the use,
// the __float__ of a later argument say, can resize, reshape or freeze the array: then its pointers are not
// to be followed.
class Memory {
 public:
  Memory() = default;
  Memory(Arg arg, py::handle array);
  Memory(Arg arg, const View& view);
  Memory(Arg arg, const DLTensor& tensor, Dtype dtype);  // no longer than the tensor stays as it is

  Arg arg() const { return arg_; }
  char* address() const { return data_; }  // to compare; what is followed comes from use()
  bool has(int flags) const { return (flags_ & flags) == flags; }
  int ndim() const { return ndim_; }
  const std::ptrdiff_t* shape() const { return many_.empty() ? few_.data() : many_.data(); }
  const std::ptrdiff_t* strides() const { return shape() + ndim_; }
  // The address, or an error where the array is not as it was.
  char* use() const;

 private:
  void set_layout(const std::ptrdiff_t* lengths, const std::ptrdiff_t* steps);
  void find_dense(Dtype dtype);

  static constexpr std::size_t kFew = 12;  // lengths and strides of six dimensions: without an allocation
  Arg arg_{};
  const py::detail::PyArray_Proxy* array_ = nullptr;  // none of a view
  char* data_ = nullptr;
  PyObject* descriptor_ = nullptr;
  int flags_ = 0, ndim_ = 0;
  std::array<std::ptrdiff_t, kFew> few_;
  std::vector<std::ptrdiff_t> many_;
};

// Which dtypes an argument may have: the two that the kernels calculate in, or those of half precision too.
enum class Accept { kFull, kHalf };

// An array of one of the dtypes in native byte order, of any strides and alignment; keeps the Python object
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
    return {data<const T>(), strides_of_operand(), storage_of(dtype_)};
  }
  template <class T>
  Out<T> out() const {
    return {data<T>(), strides_of_operand(), storage_of(dtype_)};
  }
  template <class T>
  InOut<T> in_out() const {
    return {data<T>(), strides_of_operand(), storage_of(dtype_)};
  }

 private:
  Array(py::object object, Memory memory, Dtype dtype);
  const std::ptrdiff_t* strides_of_operand() const {
    return dense_ && !is_half(dtype_) ? nullptr : strides();
  }
  friend Array array_of(Arg arg, py::handle value, Accept accept, bool written, const char* kinds);
  friend Array output(Arg arg, py::handle value, Accept accept, const char* kinds);
  friend Array broadcast(Arg arg, const Array& array, const char* like_name, const Array& like);

  py::object object_;
  Memory memory_;
  std::shared_ptr<const Memory> source_;  // of the array that this is a view of
  Dtype dtype_ = Dtype::kFloat32;
  std::size_t size_ = 0;
  bool dense_ = false;
};

// What input() and output() are made of. `kinds`: what a message says of dtypes, if not what is accepted.
Array array_of(Arg arg, py::handle value, Accept accept, bool written, const char* kinds = nullptr);

// Null where there is no array.
template <class T>
const T* pointer(const Array& a) {
  return a ? a.data<T>() : nullptr;
}

// An array to read: an ndarray, a view, or what np.asarray makes of a list or another array-like; in a
// TensorScope (tensors.h) a tensor, too.
Array input(Arg arg, py::handle value, Accept accept = Accept::kFull);
// An array to write: exactly an ndarray, a view or such a tensor, writable, no element in two places.
Array output(Arg arg, py::handle value, Accept accept = Accept::kFull, const char* kinds = nullptr);
// None → an empty Array, else what lies beside data: of their dtype, or float32 beside half precision.
Array beside(Arg arg, py::handle value, const Array& data, bool written = false);
// The memory order of what is made of a tensor: its own, or what its library gives the results of its norms:
// C's, but where channels are last and are `kept` there.
enum class TensorOrder { kOwn, kChannelsKept, kC };
// A new array of the shape, dtype and memory order of `like`, a tensor of a tensor; which is no view: whoever
// brings memory of his own brings it for the result too.
Array new_like(Arg arg, const Array& like, TensorOrder order = TensorOrder::kOwn);
// A new dense vector.
Array new_vector(Dtype dtype, std::size_t n);
// A new dense vector of the dtype of `like`; of a view or tensor of half precision float32.
Array new_vector_like(const Array& like, std::size_t n);

void require_dtype(Arg arg, const Array& array, Dtype dtype);
// dtype of the data, or float32 beside data of half precision: parameters, weights, statistics.
void require_dtype_beside(Arg arg, const Array& array, const Array& data);
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
Array out_or_new(Arg arg, py::handle value, const char* input_name, const Array& like,
                 TensorOrder order = TensorOrder::kOwn);

// `array` with zero strides where `like` is longer; its dtype is like's, or float32 beside half precision.
Array broadcast(Arg arg, const Array& array, const char* like_name, const Array& like);

// A short vector as the kernels read it: a copy where it is not dense, or of half precision (float32 then).
Array dense_vector(const Array& vector);

// An ndarray of float32 or float64 with the numbers of an array: itself, or a view or a copy of it.
py::object as_ndarray(const Array& array);

// Numbers that were summed, in a vector of the dtype of a parameter.
template <class T>
void round_to(const Array& vector, const double* sums) {
  std::vector<T> rounded(vector.size());
  std::transform(sums, sums + rounded.size(), rounded.begin(),
                 [](double sum) { return static_cast<T>(sum); });
  regkern::write(vector.extents(), rounded.data(), vector.out<T>());
}

std::string shape_text(int ndim, const std::ptrdiff_t* shape);

// Calls body with a float or a double, for the type in which is calculated.
template <class Body>
void visit(Dtype dtype, Body&& body) {
  if (dtype == Dtype::kFloat64) {
    body(double{});
  } else {
    body(float{});
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
