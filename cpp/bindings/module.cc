// The table of contents of regkern._core.

#include "module.h"

// pybind11's own entry waits for ever in a sub-interpreter of CPython 3.11, so ours stands before it, and
// alone is seen from outside.
#pragma push_macro("PYBIND11_EXPORT")
#undef PYBIND11_EXPORT
#define PYBIND11_EXPORT
#define PyInit__core enter_module
PYBIND11_MODULE(_core, m) {
  using namespace regkern::bindings;
  m.doc() = "The compiled part of regkern. The Python modules document and call it.";
  m.attr("__version__") = REGKERN_VERSION;
  register_runtime(m);
  register_raw(m);
  register_tensors(m);
  register_prox(m);
  register_rows(m);
  register_optim(m);
  register_optim_tensors(m);
  register_random(m);
  register_dropout(m);
  register_fused(m);
  register_norm(m);
  register_norm_parts(m);
  register_layer_norm(m);
  register_augment(m);
  register_mix(m);
  register_linear(m);
  register_linear_blocks(m);
  register_commit(m);
}
#undef PyInit__core
#pragma pop_macro("PYBIND11_EXPORT")

extern "C" PYBIND11_EXPORT PyObject* PyInit__core() {
  if (PyInterpreterState_Get() != PyInterpreterState_Main()) {
    PyErr_SetString(PyExc_ImportError,
                    "regkern: must be imported in the main interpreter of a process, got a sub-interpreter");
    return nullptr;
  }
  return enter_module();
}
