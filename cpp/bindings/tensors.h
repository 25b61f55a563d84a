// Tensors of another library, which says where they lie by DLPack's exchange of C structs.

#ifndef REGKERN_BINDINGS_TENSORS_H_
#define REGKERN_BINDINGS_TENSORS_H_

#include <cstdint>
#include <initializer_list>
#include <optional>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "arrays.h"
#include "regkern/runtime.h"

namespace regkern::bindings {

// What is needed of DLPack's header, version 1: the ABI is stable.
struct DLTensor {
  void* data;
  std::int32_t device_type, device_id;
  std::int32_t ndim;
  std::uint8_t code, bits;
  std::uint16_t lanes;
  const std::int64_t *shape, *strides;  // strides count elements; none: C order
  std::uint64_t byte_offset;
};

std::optional<Dtype> dtype_of(const DLTensor& t);

// How tensors are told apart and looked at. `types`: of tensors without a behaviour of their own, the first
// their base. `capsule`: DLPack's exchange, or None.
class Exchange {
 public:
  Exchange(py::tuple types, py::object capsule);

  bool exists() const { return ask_ != nullptr; }
  bool is_tensor(py::handle value) const {
    return is_plain(value) || PyObject_TypeCheck(value.ptr(), base_) != 0;
  }
  bool is_plain(py::handle value) const {
    for (const PyTypeObject* type : plain_) {
      if (Py_TYPE(value.ptr()) == type) return true;
    }
    return false;
  }
  // What DLPack says of a tensor, if it can be asked and says that it lies on the CPU.
  bool ask(py::handle tensor, DLTensor& out) const;
  // Of a plain tensor: whether its memory holds its numbers with the other sign.
  bool is_negated(py::handle tensor) const;
  py::handle base() const { return reinterpret_cast<PyObject*>(base_); }

 private:
  py::tuple types_;
  py::object capsule_, is_neg_;
  PyTypeObject* base_;
  std::vector<const PyTypeObject*> plain_;
  int (*ask_)(void* object, DLTensor* out) = nullptr;
};

// The library whose tensors the gate takes while a TensorScope lives: what `_core.tensors.set_up` was told.
struct TensorLibrary {
  Exchange exchange;
  py::object view;               // (function, name, tensor, writable) → View of any tensor, or an error
  py::object check;              // (function, name, tensor): an error where it is no plain tensor
  py::object empty_like;         // (tensor) → tensor
  py::object empty_in;           // (order of the axes or None, tensor) → tensor, dense in this order
  py::object num_threads;        // () → int
  bool shares_openmp;            // whose threads the library's are
  py::object inside_transforms;  // () → bool: nothing is a plain tensor there
  py::object is_tracing;         // () → bool: the same
  py::dict forward_ad;           // where _current_level >= 0, tensors may have tangents
  py::object is_grad_enabled;    // () → bool
  py::object apply_node;         // (node of autograd, gradients...) → gradients: the way through Python
  py::object is_alone;           // (gradient, its memory, node) → bool: nobody else's, but for Python
  py::object written;            // (tensors): their memory was
  py::object cell;               // () → a tensor of one int64
  py::object random, end;        // (cell, end): fills it, below an end

  static const TensorLibrary& get();      // an error where there is none
  static const TensorLibrary* current();  // null outside of a TensorScope

  // An error where one of the named values is neither None nor a plain tensor; the first is a tensor.
  void require(const char* function, std::initializer_list<std::pair<const char*, py::handle>> tensors) const;
  // An error where one of them is a tensor that requires a gradient which it would not get.
  void require_constant(const char* function,
                        std::initializer_list<std::pair<const char*, py::handle>> tensors) const;
  // Whether autograd wants to know what becomes of the tensors, some of which may be None.
  bool records(std::initializer_list<py::handle> tensors) const;
  py::object like(py::handle tensor) const;
  py::object like(const Array& tensor, TensorOrder order) const;
  // Where the node writes the gradient of x, which gets `dy`: over it where nobody else holds it and it lies
  // as x does, else in a new tensor. Pages that are new take longer than what is done in them: a step of a
  // small ResNet is 3 % faster.
  py::object room(py::handle node, py::handle dy, py::handle x) const;
  std::uint64_t draw() const;
  bool all_are_plain() const;  // that are of the library's own types

 private:
  // Whether nobody but the engine, which runs the node, holds a gradient.
  bool is_spare(py::handle node, py::handle gradient) const;
};

// The result of a call with these arguments.
py::object called(py::handle function, std::initializer_list<PyObject*> arguments = {});

// A name of Python, made once and kept.
inline py::handle interned(const char* name) { return PyUnicode_InternFromString(name); }

// What the context of a function of autograd keeps for its backward: tensors, and the rest.
void keep(py::handle context, py::handle x, py::handle weight, const py::tuple& rest);
struct KeptByContext {
  explicit KeptByContext(py::handle context);
  bool wants(std::size_t i) const { return needs[i].ptr() == Py_True; }  // the gradient of argument i
  py::tuple saved, needs, rest;
  py::object x, weight;
};

// Arguments of a function that takes so many, or an error.
void require_count(const char* function, Py_ssize_t given, Py_ssize_t wanted);

// What the engine calls of a node of autograd whose backward is f. There a gradient that nobody else holds
// has one reference, that of the engine: no frame of Python has it. Backwards that are differentiated go
// through Python.
template <PyObject* (*f)(PyObject* const*, Py_ssize_t)>
PyObject* apply_node(PyObject* const* a, Py_ssize_t n);

// While one lives, the gate takes tensors as it takes ndarrays, and makes tensors where results are like
// them; messages name arguments as the library does; this thread works with the library's number of threads.
class TensorScope {
 public:
  TensorScope();
  ~TensorScope();
  TensorScope(const TensorScope&) = delete;
  TensorScope& operator=(const TensorScope&) = delete;
  const TensorLibrary& library() const { return *library_; }

 private:
  const TensorLibrary *library_, *before_;
  LocalThreads threads_before_;
};

// What the library calls an argument of a function, and the function itself.
const char* name_in_library(const char* function, const char* name);
std::string function_in_library(const char* function);
// The order of what a norm makes there.
TensorOrder order_in_library(std::string_view norm);

template <PyObject* (*f)(PyObject* const*, Py_ssize_t)>
PyObject* apply_node(PyObject* const* a, Py_ssize_t n) {
  const TensorLibrary& library = TensorLibrary::get();
  if (called(library.is_grad_enabled).ptr() == Py_False) return f(a, n);
  return PyObject_Vectorcall(library.apply_node.ptr(), a, static_cast<std::size_t>(n), nullptr);
}

}  // namespace regkern::bindings

#endif  // REGKERN_BINDINGS_TENSORS_H_
