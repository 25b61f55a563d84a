// The gate: arrays and numbers of Python, read and checked.

#include "arrays.h"

#include <cxxabi.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <atomic>
#include <cmath>
#include <cstdlib>
#include <optional>
#include <string_view>
#include <utility>

#include "tensors.h"

namespace regkern::bindings {
namespace {

std::string head(Arg arg, const std::string& rule) {
  const std::string function =
      TensorLibrary::current() == nullptr ? arg.function : function_in_library(arg.function);
  return function + ": " + said(arg.function, arg.name) + " must " + rule + ", got ";
}

std::string type_name(py::handle value) { return Py_TYPE(value.ptr())->tp_name; }

// NPY_FLOAT, NPY_DOUBLE, NPY_OBJECT, NPY_HALF, and the first number of a dtype that is not NumPy's own.
constexpr int kNpyFloat = 11, kNpyDouble = 12, kNpyObject = 17, kNpyHalf = 23, kNpyForeign = 256;

using Descriptor = py::detail::PyArrayDescr_Proxy;

// The dtype of ml_dtypes: NumPy has none of this name.
bool is_bfloat16(const Descriptor* descriptor) {
  if (descriptor->type_num < kNpyForeign) return false;
  static std::atomic<const PyObject*> known{nullptr};  // its scalar type: classes are not made every day
  const auto* type = reinterpret_cast<const PyTypeObject*>(descriptor->typeobj);
  if (descriptor->typeobj == known.load(std::memory_order_relaxed)) return true;
  const std::string_view name = type->tp_name;
  if (name.substr(name.rfind('.') + 1) != "bfloat16") return false;
  known.store(descriptor->typeobj, std::memory_order_relaxed);
  return true;
}

std::optional<Dtype> dtype_of(const Descriptor* descriptor) {
  switch (descriptor->type_num) {
    case kNpyFloat:
      return Dtype::kFloat32;
    case kNpyDouble:
      return Dtype::kFloat64;
    case kNpyHalf:
      return Dtype::kFloat16;
    default:
      return is_bfloat16(descriptor) ? std::optional(Dtype::kBfloat16) : std::nullopt;
  }
}

// After a failed conversion: what the caller's own __float__ or __index__ raised goes on (a
// KeyboardInterrupt, say), a wrong kind becomes our message.
void clear_kind_error() {
  if (PyErr_Occurred() && !PyErr_ExceptionMatches(PyExc_TypeError) &&
      !PyErr_ExceptionMatches(PyExc_ValueError)) {
    throw py::error_already_set();
  }
  PyErr_Clear();
}

// Real numbers that are not bool: what float() takes without parsing text or dropping an imaginary part. The
// rules of numbers are stated in python/regkern/_checks.py, which reads those that stay in Python.
double to_double(Arg arg, py::handle value) {
  PyObject* p = value.ptr();
  if (PyFloat_CheckExact(p)) return PyFloat_AS_DOUBLE(p);
  bool acceptable = !PyBool_Check(p) && !PyComplex_Check(p) && PyNumber_Check(p);
  if (acceptable && !PyLong_CheckExact(p)) {
    const auto dtype = py::getattr(value, "dtype", py::none());
    if (py::isinstance<py::dtype>(dtype)) {  // a NumPy scalar or array
      const char kind = py::reinterpret_borrow<py::dtype>(dtype).kind();
      const bool is_real = kind == 'f' || kind == 'i' || kind == 'u' ||
                           is_bfloat16(reinterpret_cast<const Descriptor*>(dtype.ptr()));
      acceptable =
          is_real && py::cast<int>(value.attr("ndim")) == 0 && !(is_ndarray(value) && is_masked(value));
    }
  }
  const double v = acceptable ? PyFloat_AsDouble(p) : 0;
  if (acceptable && PyErr_Occurred() && PyErr_ExceptionMatches(PyExc_OverflowError)) {
    PyErr_Clear();
    value_error(arg, "fit a float64", "a number that does not");
  }
  if (!acceptable || PyErr_Occurred()) {
    clear_kind_error();
    type_error(arg, "be a real number", value);
  }
  return v;
}

// The int that a value means by __index__.
py::object to_index(Arg arg, py::handle value) {
  const bool refused = PyBool_Check(value.ptr()) || (is_ndarray(value) && is_masked(value));
  auto index = py::reinterpret_steal<py::object>(refused ? nullptr : PyNumber_Index(value.ptr()));
  if (!index) {
    clear_kind_error();
    type_error(arg, "be an int", value);
  }
  return index;
}

constexpr std::size_t kLongestText = 100;  // of a refused value, in a message
bool same_memory(const Array& a, const Array& b) {
  if (a.address() != b.address()) return false;
  for (int i = 0; i < a.ndim(); ++i) {
    if (a.dim(i) > 1 && a.strides()[i] != b.strides()[i]) return false;
  }
  return true;
}

// Sufficient: sorted by step, every dimension steps over all that the smaller ones reach.
bool overlaps_itself(const Array& a) {
  std::array<std::pair<std::ptrdiff_t, std::ptrdiff_t>, kMaxDims> steps;  // step, reach
  int n = 0;
  for (int i = 0; i < a.ndim(); ++i) {
    const std::ptrdiff_t step = std::abs(a.strides()[i]);
    if (a.dim(i) > 1) steps[n++] = {step, step * (a.dim(i) - 1)};
  }
  std::sort(steps.begin(), steps.begin() + n);
  auto reach = static_cast<std::ptrdiff_t>(item_size(a.dtype()));
  for (int i = 0; i < n; ++i) {
    if (steps[i].first < reach) return true;
    reach += steps[i].second;
  }
  return false;
}

}  // namespace

bool is_view(py::handle value) {
  static const auto* const type = reinterpret_cast<PyTypeObject*>(py::type::of<View>().ptr());
  return Py_TYPE(value.ptr()) == type;
}

const View& checked_view(py::handle view) {
  const auto* instance = reinterpret_cast<const py::detail::instance*>(view.ptr());
  if (!instance->simple_holder_constructed)
    throw py::type_error("View: must be made by View(...), got an unmade one");
  return py::cast<const View&>(view);
}

bool is_masked(py::handle value) {
  return py::isinstance(value, py::module_::import("numpy.ma").attr("MaskedArray"));
}

// As text() of _checks.py has it: one line of at most kLongestText characters.
std::string text(py::handle value) {
  try {
    const py::object shortened = py::module_::import("reprlib").attr("Repr")();
    for (const char* limit : {"maxtuple", "maxstring", "maxlong", "maxother"}) {
      shortened.attr(limit) = kLongestText;
    }
    const bool is_array = is_ndarray(value);
    const py::object said = is_array ? py::object(py::repr(value)) : shortened.attr("repr")(value);
    const py::list words = said.attr("split")();
    const py::str line = py::str(" ").attr("join")(words);
    const std::size_t n = py::len(line);
    if (n <= kLongestText && !(is_array && py::cast<bool>(said.attr("__contains__")("\n")))) return line;
    if (is_array) {
      const auto array = py::reinterpret_borrow<py::array>(value);
      return "an ndarray of " + py::cast<std::string>(py::str(array.dtype())) + ", shape " +
             shape_text(static_cast<int>(array.ndim()), array.shape());
    }
    const auto cut = [&](std::size_t from, std::size_t to) {
      return py::cast<std::string>(line[py::slice(from, to, 1)]);
    };
    return cut(0, 60) + " ... " + cut(n - 35, n);
  } catch (py::error_already_set& error) {  // of a repr
    if (!error.matches(PyExc_Exception)) throw;
    return "an object of type " + type_name(value);
  }
}

const char* said(const char* function, const char* name) {
  return TensorLibrary::current() == nullptr ? name : name_in_library(function, name);
}

void type_error(Arg arg, const std::string& rule, py::handle got) {
  throw py::type_error(head(arg, rule) + text(got));
}

void value_error(Arg arg, const std::string& rule, const std::string& got) {
  throw py::value_error(head(arg, rule) + got);
}

double real(Arg arg, py::handle value) { return to_double(arg, value); }

double nonnegative(Arg arg, py::handle value) {
  const double v = to_double(arg, value);
  if (!(v >= 0)) value_error(arg, "be >= 0", text(value));
  return v;
}

double finite_nonnegative(Arg arg, py::handle value) {
  const double v = to_double(arg, value);
  if (!(v >= 0 && std::isfinite(v))) value_error(arg, "be >= 0 and finite", text(value));
  return v;
}

double positive(Arg arg, py::handle value) {
  const double v = to_double(arg, value);
  if (!(v > 0 && std::isfinite(v))) value_error(arg, "be > 0 and finite", text(value));
  return v;
}

double probability(Arg arg, py::handle value) {
  const double v = to_double(arg, value);
  if (!(v >= 0 && v <= 1)) value_error(arg, "be in [0, 1]", text(value));
  return v;
}

bool flag(Arg arg, py::handle value) {
  if (value.ptr() == Py_True) return true;
  if (value.ptr() == Py_False) return false;
  if (py::type::handle_of(value).is(py::module_::import("numpy").attr("bool_"))) {
    return PyObject_IsTrue(value.ptr()) == 1;
  }
  type_error(arg, "be True or False", value);
}

std::int64_t integer(Arg arg, py::handle value) {
  const py::object index = to_index(arg, value);
  int overflow = 0;
  const long long v = PyLong_AsLongLongAndOverflow(index.ptr(), &overflow);
  if (overflow != 0) value_error(arg, "fit 64 bits", text(value));
  return v;
}

std::uint64_t unsigned64(Arg arg, py::handle value) {
  const py::object index = to_index(arg, value);
  const unsigned long long v = PyLong_AsUnsignedLongLong(index.ptr());
  if (PyErr_Occurred()) {
    PyErr_Clear();
    value_error(arg, "be in [0, 2**64)", text(value));
  }
  return v;
}

// Until 3.13 CPython ends a daemon thread that asks for the lock of an interpreter that is gone, by unwinding
// its stack through destructors that would touch Python without the lock, or end the process (bpo-42969).
// From 3.14 on it lets such a thread hang, as here.
void lock_again(PyThreadState* state) noexcept {
  try {
    PyEval_RestoreThread(state);
  } catch (abi::__forced_unwind&) {
    for (;;) pause();
  }
}

std::size_t product(Arg arg, const std::vector<std::ptrdiff_t>& lengths, std::size_t item) {
  const auto rank = static_cast<int>(lengths.size());
  if (const auto n = regkern::product(rank, lengths.data(), item)) return *n;
  value_error(arg, "make an array of less than 2**63 bytes", shape_text(rank, lengths.data()));
}

Memory::Memory(Arg arg, py::handle array)
    : arg_(arg),
      array_(proxy(array)),
      data_(array_->data),
      descriptor_(array_->descr),
      flags_(array_->flags),
      ndim_(array_->nd) {
  set_layout(array_->dimensions, array_->strides);
}

Memory::Memory(Arg arg, const View& view)
    : arg_(arg),
      data_(view.address),
      flags_(view.writable ? py::detail::npy_api::NPY_ARRAY_WRITEABLE_ : 0),
      ndim_(view.ndim()) {
  set_layout(view.layout.data(), view.layout.data() + ndim_);
  find_dense(view.dtype);
}

Memory::Memory(Arg arg, const DLTensor& tensor, Dtype dtype)
    : arg_(arg),
      data_(static_cast<char*>(tensor.data) + tensor.byte_offset),
      flags_(py::detail::npy_api::NPY_ARRAY_WRITEABLE_),
      ndim_(tensor.ndim) {
  std::array<std::ptrdiff_t, kMaxDims> steps;
  const auto item = static_cast<std::ptrdiff_t>(item_size(dtype));
  std::ptrdiff_t step = item;
  for (int i = ndim_ - 1; i >= 0; --i) {
    steps[static_cast<std::size_t>(i)] = tensor.strides == nullptr ? step : tensor.strides[i] * item;
    step *= tensor.shape[i];
  }
  set_layout(tensor.shape, steps.data());
  find_dense(dtype);
}

void Memory::find_dense(Dtype dtype) {
  std::ptrdiff_t step = static_cast<std::ptrdiff_t>(item_size(dtype));
  bool dense = reinterpret_cast<std::uintptr_t>(data_) % static_cast<std::uintptr_t>(step) == 0;
  for (int i = ndim_ - 1; i >= 0; --i) {
    dense = dense && (shape()[i] == 1 || strides()[i] == step);
    step *= shape()[i];
  }
  constexpr int kDense =
      py::detail::npy_api::NPY_ARRAY_C_CONTIGUOUS_ | py::detail::npy_api::NPY_ARRAY_ALIGNED_;
  if (dense || step == 0) flags_ |= kDense;
}

void Memory::set_layout(const std::ptrdiff_t* lengths, const std::ptrdiff_t* steps) {
  const auto n = static_cast<std::size_t>(ndim_);
  if (2 * n > kFew) many_.resize(2 * n);
  std::ptrdiff_t* const layout = many_.empty() ? few_.data() : many_.data();
  for (std::size_t i = 0; i < n; ++i) {  // loops: calls of memcpy would take longer
    layout[i] = lengths[i];
    layout[n + i] = steps[i];
  }
}

char* Memory::use() const {
  if (array_ == nullptr) return data_;
  bool same =
      array_->data == data_ && array_->descr == descriptor_ && array_->flags == flags_ && array_->nd == ndim_;
  const std::ptrdiff_t *lengths = shape(), *steps = lengths + ndim_;
  for (int i = 0; same && i < ndim_; ++i) {
    same = array_->dimensions[i] == lengths[i] && array_->strides[i] == steps[i];
  }
  if (!same) value_error(arg_, "stay as it is during the call", "an array that was changed meanwhile");
  return data_;
}

namespace {

// A tensor that is looked at as it lies, if it can be: on the CPU, of a dtype that is known, not negated.
std::optional<std::pair<Memory, Dtype>> memory_of(Arg arg, const TensorLibrary& library, py::handle tensor) {
  DLTensor t;
  if (!library.exchange.ask(tensor, t) || t.ndim > kMaxDims) return {};
  const std::optional<Dtype> dtype = dtype_of(t);
  if (!dtype || library.exchange.is_negated(tensor)) return {};
  const bool empty = std::any_of(t.shape, t.shape + t.ndim, [](std::int64_t n) { return n == 0; });
  if (t.data == nullptr && !empty) return {};
  return std::pair(Memory(arg, t, *dtype), *dtype);
}

// What arrays beside data may be: of their dtype, or float32 beside half precision.
std::string like_the_data(Dtype data) { return std::string("be ") + name_of(data) + " like the data"; }
std::string kinds_beside(Dtype data) {
  return is_half(data) ? std::string("be float32 or, like the data, ") + name_of(data) : like_the_data(data);
}

// How a message names what is no array: a tensor with the dtype that it says it has.
std::string kind_of(py::handle value) {
  const py::object dtype = py::getattr(value, "dtype", py::none());
  return type_name(value) + (dtype.is_none() ? "" : " of " + py::cast<std::string>(py::str(dtype)));
}

// What np.asarray makes of it. Masked arrays would lose their mask without a word, and a tensor of bfloat16
// is none that NumPy reads.
py::object to_ndarray(Arg arg, py::handle value, Accept accept) {
  const std::string halves = accept == Accept::kHalf ? ", or an ndarray of bfloat16 or float16" : "";
  if (is_masked(value)) throw py::type_error(head(arg, "be an ndarray without a mask") + type_name(value));
  try {
    return py::module_::import("numpy").attr("asarray")(value);
  } catch (py::error_already_set& error) {
    const bool refuses = error.matches(PyExc_RuntimeError);  // torch's, which says what to do
    const bool is_ragged =
        error.matches(PyExc_ValueError) && (PyList_Check(value.ptr()) || PyTuple_Check(value.ptr()));
    if (!refuses && !error.matches(PyExc_ValueError) && !error.matches(PyExc_TypeError)) throw;
    throw py::type_error(head(arg, "be an array of float32 or float64" + halves) +
                         (is_ragged ? "a ragged list" : kind_of(value)) +
                         (refuses ? ": " + py::cast<std::string>(py::str(error.value())) : ""));
  }
}

}  // namespace

Array input(Arg arg, py::handle value, Accept accept) { return array_of(arg, value, accept, false); }

Array array_of(Arg arg, py::handle value, Accept accept, bool written, const char* kinds) {
  const auto acceptable = [&](Dtype dtype) { return accept == Accept::kHalf || !is_half(dtype); };
  if (kinds == nullptr) {
    kinds = accept == Accept::kHalf ? "be float32, float64, bfloat16 or float16" : "be float32 or float64";
  }
  if (is_view(value)) {
    const View& view = checked_view(value);
    if (!acceptable(view.dtype)) throw py::type_error(head(arg, kinds) + name_of(view.dtype));
    return Array(py::reinterpret_borrow<py::object>(value), Memory(arg, view), view.dtype);
  }
  if (const TensorLibrary* library = TensorLibrary::current();
      library != nullptr && library->exchange.is_tensor(value)) {
    const auto seen = memory_of(arg, *library, value);
    if (!seen) {  // the library looks closer
      const std::string function = function_in_library(arg.function);
      const py::object view = library->view(function, said(arg.function, arg.name), value, written);
      const View& looked = checked_view(view);
      if (!acceptable(looked.dtype)) throw py::type_error(head(arg, kinds) + name_of(looked.dtype));
      return Array(looked.owner, Memory(arg, looked), looked.dtype);
    }
    if (!acceptable(seen->second)) throw py::type_error(head(arg, kinds) + name_of(seen->second));
    return Array(py::reinterpret_borrow<py::object>(value), seen->first, seen->second);
  }
  const bool exactly = Py_TYPE(value.ptr()) == py::detail::npy_api::get().PyArray_Type_;
  py::object array = exactly ? py::reinterpret_borrow<py::object>(value) : to_ndarray(arg, value, accept);
  const auto* descriptor = reinterpret_cast<const Descriptor*>(proxy(array)->descr);
  const bool native = descriptor->byteorder != '>';
  const std::optional<Dtype> dtype = dtype_of(descriptor);
  if (!dtype || !acceptable(*dtype) || !native) {
    // An "object" that NumPy wraps around None or a dict says nothing.
    const bool wrapped = descriptor->type_num == kNpyObject && !is_ndarray(value);
    throw py::type_error(
        head(arg, native ? kinds : "be in native byte order") +
        (wrapped ? kind_of(value) : py::cast<std::string>(py::str(py::handle(proxy(array)->descr)))));
  }
  Memory memory(arg, array);
  return Array(std::move(array), std::move(memory), *dtype);
}

Array output(Arg arg, py::handle value, Accept accept, const char* kinds) {
  const TensorLibrary* const library = TensorLibrary::current();
  const bool is_tensor = library != nullptr && library->exchange.is_tensor(value);
  if (!is_ndarray(value) && !is_view(value) && !is_tensor) {
    const bool shares = py::hasattr(value, "numpy");  // a tensor of torch, say
    throw py::type_error(head(arg, "be an ndarray") + type_name(value) +
                         (shares ? " (its .numpy(), if it shares its memory, can be)" : ""));
  }
  Array a = array_of(arg, value, accept, true, kinds);
  if (!a.memory_.has(py::detail::npy_api::NPY_ARRAY_WRITEABLE_)) {
    value_error(arg, "be writable", "a read-only array");
  }
  if (!a.dense_ && a.size_ > 1 && overlaps_itself(a)) {
    value_error(
        arg, "hold every element in its own memory",
        "strides " + shape_text(a.ndim(), a.strides()) + " for shape " + shape_text(a.ndim(), a.shape()));
  }
  return a;
}

Array beside(Arg arg, py::handle value, const Array& data, bool written) {
  if (value.is_none()) return {};
  const std::string kinds = kinds_beside(data.dtype());
  const Array a = written ? output(arg, value, Accept::kHalf, kinds.c_str())
                          : array_of(arg, value, Accept::kHalf, false, kinds.c_str());
  require_dtype_beside(arg, a, data);
  return a;
}

Array::Array(py::object object, Memory memory, Dtype dtype)
    : object_(std::move(object)),
      memory_(std::move(memory)),
      dtype_(dtype),
      size_(extents().size),
      dense_(memory_.has(py::detail::npy_api::NPY_ARRAY_C_CONTIGUOUS_ |
                         py::detail::npy_api::NPY_ARRAY_ALIGNED_)) {}

static Array adopt(const py::object& array) { return input({"regkern", "result"}, array, Accept::kHalf); }

const char* name_of(Dtype dtype) {
  constexpr const char* kNames[] = {"float32", "float64", "bfloat16", "float16"};
  return kNames[static_cast<int>(dtype)];
}

// The dtype object of an array's elements.
static py::dtype descriptor_of(const Array& like) {
  switch (like.dtype()) {
    case Dtype::kFloat32:
      return py::dtype::of<float>();
    case Dtype::kFloat64:
      return py::dtype::of<double>();
    default:
      return py::reinterpret_borrow<py::dtype>(py::handle(like.object().attr("dtype")));
  }
}

Array new_like(Arg arg, const Array& like, TensorOrder order) {
  if (is_view(like.object())) type_error(arg, "be given with memory of another library", py::none());
  if (!is_ndarray(like.object())) return adopt(TensorLibrary::current()->like(like, order));
  const py::dtype dtype = descriptor_of(like);
  const int ndim = like.ndim();
  std::vector<py::ssize_t> shape(like.shape(), like.shape() + ndim);
  if (like.dense()) return adopt(py::array(dtype, std::move(shape)));
  // Keep the order of the axes, without gaps: the result is then walked like the input.
  std::vector<int> axis(static_cast<std::size_t>(ndim));
  for (int i = 0; i < ndim; ++i) axis[static_cast<std::size_t>(i)] = i;
  std::stable_sort(axis.begin(), axis.end(),
                   [&](int a, int b) { return std::abs(like.strides()[a]) > std::abs(like.strides()[b]); });
  std::vector<py::ssize_t> strides(static_cast<std::size_t>(ndim));
  py::ssize_t step = dtype.itemsize();
  for (auto it = axis.rbegin(); it != axis.rend(); ++it) {
    strides[static_cast<std::size_t>(*it)] = step;
    step *= std::max<py::ssize_t>(like.dim(*it), 1);
  }
  return adopt(py::array(dtype, std::move(shape), std::move(strides)));
}

// Asked of NumPy itself: py::array would make two vectors for one length, a tenth of a microsecond.
static Array new_vector(py::dtype dtype, std::size_t n) {
  const auto& api = py::detail::npy_api::get();
  const auto length = static_cast<Py_intptr_t>(n);
  auto array = py::reinterpret_steal<py::object>(api.PyArray_NewFromDescr_(
      api.PyArray_Type_, dtype.release().ptr(), 1, &length, nullptr, nullptr, 0, nullptr));
  if (!array) throw py::error_already_set();
  return adopt(array);
}

Array new_vector(Dtype dtype, std::size_t n) {
  return new_vector(dtype == Dtype::kFloat32 ? py::dtype::of<float>() : py::dtype::of<double>(), n);
}

Array new_vector_like(const Array& like, std::size_t n) {
  if (is_half(like.dtype()) && !is_ndarray(like.object())) return new_vector(Dtype::kFloat32, n);
  return new_vector(descriptor_of(like), n);
}

int axis_of(Arg arg, py::handle axis, const Array& x) {
  const std::int64_t i = integer(arg, axis);
  const int ndim = x.ndim();
  if (i < -ndim || i >= ndim) {
    value_error(arg,
                std::string("be an axis of ") + said(arg.function, "x") + " with shape " +
                    shape_text(ndim, x.shape()),
                std::to_string(i));
  }
  return static_cast<int>(i < 0 ? i + ndim : i);
}

void require_dtype(Arg arg, const Array& array, Dtype dtype) {
  if (array.dtype() == dtype) return;
  throw py::type_error(head(arg, like_the_data(dtype)) + name_of(array.dtype()));
}

void require_dtype_beside(Arg arg, const Array& array, const Array& data) {
  if (array.dtype() == data.dtype() || (is_half(data.dtype()) && array.dtype() == Dtype::kFloat32)) return;
  throw py::type_error(head(arg, kinds_beside(data.dtype())) + name_of(array.dtype()));
}

void require_float64(Arg arg, const Array& array) {
  if (array.dtype() != Dtype::kFloat64)
    throw py::type_error(head(arg, "be float64") + name_of(array.dtype()));
}

void require_shape(Arg arg, const Array& array, int ndim, const std::ptrdiff_t* shape) {
  if (array.ndim() == ndim && std::equal(shape, shape + ndim, array.shape())) return;
  value_error(arg, "have shape " + shape_text(ndim, shape), shape_text(array.ndim(), array.shape()));
}

void require_same_shape(Arg arg, const Array& array, const Array& like) {
  require_shape(arg, array, like.ndim(), like.shape());
}

void require_vector(Arg arg, const Array& array, std::size_t n) {
  const auto length = static_cast<std::ptrdiff_t>(n);
  require_shape(arg, array, 1, &length);
}

std::pair<const char*, const char*> bounds(const Array& a) {
  const char *low = a.address(), *high = low;
  for (int i = 0; i < a.ndim(); ++i) {
    const std::ptrdiff_t reach = (a.dim(i) - 1) * a.strides()[i];
    (reach < 0 ? low : high) += reach;
  }
  return {low, high + item_size(a.dtype())};
}

// An ndarray over the memory of an array: itself, or one with the layout of a view.
static py::object ndarray_over(const Array& a, const py::dtype& item) {
  if (is_ndarray(a.object())) return a.object();
  return py::array(item, std::vector<py::ssize_t>(a.shape(), a.shape() + a.ndim()),
                   std::vector<py::ssize_t>(a.strides(), a.strides() + a.ndim()), a.address(), a.object());
}
static py::object bytes_of(const Array& a) {
  return ndarray_over(a, py::dtype(std::string("V").append(std::to_string(item_size(a.dtype())))));
}

py::object as_ndarray(const Array& array) {
  array.data<char>();  // as it was checked
  if (!is_half(array.dtype())) return ndarray_over(array, descriptor_of(array));
  py::array_t<float> wide(std::vector<py::ssize_t>(array.shape(), array.shape() + array.ndim()));
  regkern::read(array.extents(), array.in<float>(), wide.mutable_data());
  return wide;
}

void require_disjoint(Arg arg, const Array& written, const char* other_name, const Array& other,
                      bool same_allowed) {
  if (!written || !other || written.size() == 0 || other.size() == 0) return;
  const auto [low, high] = bounds(written);
  const auto [other_low, other_high] = bounds(other);
  if (high <= other_low || other_high <= low) return;
  if (same_allowed && same_memory(written, other)) return;
  if (!(written.dense() && other.dense())) {  // bounds meet; only interleaved strides may still be disjoint
    const py::object shares = py::module_::import("numpy").attr("shares_memory");
    try {
      if (!py::cast<bool>(shares(bytes_of(written), bytes_of(other), py::arg("max_work") = 1 << 20))) return;
    } catch (py::error_already_set&) {  // too hard to decide: refuse
    }
  }
  value_error(arg,
              std::string("not overlap ") + said(arg.function, other_name) +
                  (same_allowed ? " unless it is the same array" : ""),
              "memory they share");
}

Array out_or_new(Arg arg, py::handle value, const char* input_name, const Array& like, TensorOrder order) {
  if (value.is_none()) return new_like(arg, like, order);
  Array out = output(arg, value, Accept::kHalf, like_the_data(like.dtype()).c_str());
  require_dtype(arg, out, like.dtype());
  require_same_shape(arg, out, like);
  require_disjoint(arg, out, input_name, like, true);
  return out;
}

Array broadcast(Arg arg, const Array& array, const char* like_name, const Array& like) {
  require_dtype_beside(arg, array, like);
  const int ndim = like.ndim(), missing = ndim - array.ndim();
  if (missing == 0 && std::equal(array.shape(), array.shape() + ndim, like.shape())) return array;
  bool fits = missing >= 0;
  std::vector<std::ptrdiff_t> layout(like.shape(), like.shape() + ndim);
  layout.resize(static_cast<std::size_t>(2 * ndim));
  for (int i = 0; fits && i < array.ndim(); ++i) {
    const bool repeated = array.dim(i) == 1 && like.dim(missing + i) != 1;
    fits = repeated || array.dim(i) == like.dim(missing + i);
    layout[static_cast<std::size_t>(ndim + missing + i)] = repeated ? 0 : array.strides()[i];
  }
  if (!fits) {
    value_error(arg,
                std::string("be broadcastable to ") + said(arg.function, like_name) + "'s shape " +
                    shape_text(like.ndim(), like.shape()),
                "shape " + shape_text(array.ndim(), array.shape()));
  }
  if (!is_ndarray(array.object())) {
    return input(arg, py::cast(View{array.address(), array.dtype(), false, layout, array.object()}),
                 Accept::kHalf);
  }
  py::tuple shape(ndim);
  for (int i = 0; i < ndim; ++i) shape[static_cast<std::size_t>(i)] = like.dim(i);
  Array view = adopt(py::module_::import("numpy").attr("broadcast_to")(array.object(), shape));
  view.source_ = std::make_shared<const Memory>(array.memory_);
  return view;
}

Array dense_vector(const Array& vector) {
  if (!vector || (vector.dense() && !is_half(vector.dtype()))) return vector;
  Array dense =
      new_vector(vector.dtype() == Dtype::kFloat64 ? Dtype::kFloat64 : Dtype::kFloat32, vector.size());
  visit(vector.dtype(), [&](auto type) {
    using T = decltype(type);
    regkern::read(vector.extents(), vector.in<T>(), dense.data<T>());
  });
  return dense;
}

std::string shape_text(int ndim, const std::ptrdiff_t* shape) {
  std::string s = "(";
  for (int i = 0; i < ndim; ++i) s += (i ? ", " : "") + std::to_string(shape[i]);
  return s + (ndim == 1 ? ",)" : ")");
}

}  // namespace regkern::bindings
