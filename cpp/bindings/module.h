// The families of bindings, each in its own file.

#ifndef REGKERN_BINDINGS_MODULE_H_
#define REGKERN_BINDINGS_MODULE_H_

#include <pybind11/pybind11.h>

#include <cstddef>
#include <exception>
#include <new>
#include <utility>

namespace regkern::bindings {

void register_runtime(pybind11::module_& m);
void register_raw(pybind11::module_& m);
void register_tensors(pybind11::module_& m);
void register_dropout_of_tensors(pybind11::module_& m);
void register_norm_of_tensors(pybind11::module_& m);
void register_rows_of_tensors(pybind11::module_& m);
void register_prox(pybind11::module_& m);
void register_rows(pybind11::module_& m);
void register_optim(pybind11::module_& m);
void register_optim_tensors(pybind11::module_& m);
void register_random(pybind11::module_& m);
void register_dropout(pybind11::module_& m);
void register_fused(pybind11::module_& m);
void register_norm(pybind11::module_& m);
void register_norm_parts(pybind11::module_& m);
void register_layer_norm(pybind11::module_& m);
void register_augment(pybind11::module_& m);
void register_mix(pybind11::module_& m);
void register_linear(pybind11::module_& m);
void register_linear_blocks(pybind11::module_& m);
void register_commit(pybind11::module_& m);

namespace detail {
template <PyObject* (*f)(PyObject* const*, Py_ssize_t)>
PyObject* translated(PyObject*, PyObject* const* arguments, Py_ssize_t n) {
  try {
    return f(arguments, n);
  } catch (pybind11::error_already_set& error) {
    error.restore();
  } catch (const pybind11::builtin_exception& error) {
    error.set_error();
  } catch (const std::bad_alloc&) {
    PyErr_NoMemory();
  } catch (const std::exception& error) {
    PyErr_SetString(PyExc_RuntimeError, error.what());
  }
  return nullptr;
}

template <std::size_t>
using Handle = pybind11::handle;

template <class Arguments, class Result, std::size_t... I>
void define(pybind11::module_& m, const char* name, Result (*f)(const Arguments&),
            std::index_sequence<I...>) {
  m.def(name, [f](Handle<I>... values) { return f(Arguments{values...}); });
}
}  // namespace detail

// Makes f a function of Python whose positional arguments are the fields of Arguments, a struct of handles,
// in their order.
template <class Arguments, class Result>
void define(pybind11::module_& m, const char* name, Result (*f)(const Arguments&)) {
  constexpr std::size_t count = sizeof(Arguments) / sizeof(pybind11::handle);
  detail::define(m, name, f, std::make_index_sequence<count>{});
}

// Makes f a function of Python that takes its arguments as they come: the shortest way from there to here.
template <PyObject* (*f)(PyObject* const*, Py_ssize_t)>
void define_fast(pybind11::module_& m, const char* name) {
  static PyMethodDef method{
      name, reinterpret_cast<PyCFunction>(reinterpret_cast<void (*)()>(&detail::translated<f>)),
      METH_FASTCALL, nullptr};
  m.attr(name) = pybind11::reinterpret_steal<pybind11::object>(PyCFunction_New(&method, nullptr));
}

// The same, to be a method of a class.
template <PyObject* (*f)(PyObject* const*, Py_ssize_t)>
void define_fast_method(pybind11::module_& m, const char* name) {
  define_fast<f>(m, name);
  const pybind11::object function = m.attr(name);
  m.attr(name) = pybind11::reinterpret_steal<pybind11::object>(PyInstanceMethod_New(function.ptr()));
}

}  // namespace regkern::bindings

#endif  // REGKERN_BINDINGS_MODULE_H_
