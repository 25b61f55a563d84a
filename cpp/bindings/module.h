// The families of bindings, each in its own file.

#ifndef REGKERN_BINDINGS_MODULE_H_
#define REGKERN_BINDINGS_MODULE_H_

#include <pybind11/pybind11.h>

#include <cstddef>
#include <utility>

namespace regkern::bindings {

void register_runtime(pybind11::module_& m);
void register_raw(pybind11::module_& m);
void register_prox(pybind11::module_& m);
void register_rows(pybind11::module_& m);
void register_optim(pybind11::module_& m);
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

}  // namespace regkern::bindings

#endif  // REGKERN_BINDINGS_MODULE_H_
