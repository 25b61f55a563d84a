// The families of bindings, each in its own file.

#ifndef REGKERN_BINDINGS_MODULE_H_
#define REGKERN_BINDINGS_MODULE_H_

#include <pybind11/pybind11.h>

namespace regkern::bindings {

void register_runtime(pybind11::module_& m);
void register_prox(pybind11::module_& m);
void register_rows(pybind11::module_& m);
void register_optim(pybind11::module_& m);
void register_random(pybind11::module_& m);
void register_dropout(pybind11::module_& m);
void register_fused(pybind11::module_& m);
void register_norm(pybind11::module_& m);
void register_layer_norm(pybind11::module_& m);
void register_augment(pybind11::module_& m);
void register_mix(pybind11::module_& m);
void register_commit(pybind11::module_& m);

}  // namespace regkern::bindings

#endif  // REGKERN_BINDINGS_MODULE_H_
