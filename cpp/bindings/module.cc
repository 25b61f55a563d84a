// The table of contents of regkern._core.

#include "module.h"

PYBIND11_MODULE(_core, m) {
  using namespace regkern::bindings;
  m.doc() = "The compiled part of regkern. The Python modules document and call it.";
  m.attr("__version__") = REGKERN_VERSION;
  register_runtime(m);
  register_prox(m);
  register_rows(m);
  register_optim(m);
  register_random(m);
  register_dropout(m);
  register_fused(m);
  register_norm(m);
  register_layer_norm(m);
  register_augment(m);
  register_mix(m);
  register_commit(m);
}
