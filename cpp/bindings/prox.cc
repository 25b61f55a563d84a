#include "regkern/prox.h"

#include "arrays.h"
#include "module.h"

namespace regkern::bindings {
namespace {

py::object prox_l1(py::handle x, py::handle threshold, py::handle weights, py::handle nonneg,
                   py::handle out) {
  constexpr const char* f = "prox_l1";
  const Array from = input({f, "x"}, x);
  const double t = nonnegative({f, "threshold"}, threshold);
  const bool positive = flag({f, "nonneg"}, nonneg);
  Array w = optional_input({f, "weights"}, weights);
  if (w) {
    require_dtype({f, "weights"}, w, from.dtype());
    if (w.ndim() != from.ndim() || !std::equal(w.shape(), w.shape() + w.ndim(), from.shape())) {
      try {
        w = input({f, "weights"},
                  py::module_::import("numpy").attr("broadcast_to")(w.object(), from.object().attr("shape")));
      } catch (py::error_already_set&) {
        value_error({f, "weights"}, "be broadcastable to x's shape " + shape_text(from.ndim(), from.shape()),
                    "shape " + shape_text(w.ndim(), w.shape()));
      }
    }
  }
  const Array to = out_or_new({f, "out"}, out, "x", from);
  require_disjoint({f, "out"}, to, "weights", w);
  visit(from.dtype(), [&](auto type) {
    using T = decltype(type);
    const Extents shape = from.extents();
    const In<T> strength = w ? w.in<T>() : In<T>{};
    const Unlocked unlocked(from.size());
    regkern::prox_l1<T>(shape, from.in<T>(), to.out<T>(), static_cast<T>(t), positive, strength);
  });
  return to.object();
}

py::object prox_elastic_net(py::handle x, py::handle threshold, py::handle shrink, py::handle out) {
  constexpr const char* f = "prox_elastic_net";
  const Array from = input({f, "x"}, x);
  const double t = nonnegative({f, "threshold"}, threshold);
  const double s = nonnegative({f, "shrink"}, shrink);
  const Array to = out_or_new({f, "out"}, out, "x", from);
  visit(from.dtype(), [&](auto type) {
    using T = decltype(type);
    const Unlocked unlocked(from.size());
    regkern::prox_elastic_net<T>(from.extents(), from.in<T>(), to.out<T>(), static_cast<T>(t),
                                 static_cast<T>(1 + s));
  });
  return to.object();
}

py::object prox_ridge(py::handle x, py::handle shrink, py::handle out) {
  constexpr const char* f = "prox_ridge";
  const Array from = input({f, "x"}, x);
  const double s = nonnegative({f, "shrink"}, shrink);
  const Array to = out_or_new({f, "out"}, out, "x", from);
  visit(from.dtype(), [&](auto type) {
    using T = decltype(type);
    const Unlocked unlocked(from.size());
    regkern::prox_ridge<T>(from.extents(), from.in<T>(), to.out<T>(), static_cast<T>(1 + s));
  });
  return to.object();
}

double l1_norm(py::handle x) {
  const Array a = input({"l1_norm", "x"}, x);
  double total = 0;
  visit(a.dtype(), [&](auto type) {
    using T = decltype(type);
    const Unlocked unlocked(a.size());
    total = regkern::l1_norm<T>(a.extents(), a.in<T>());
  });
  return total;
}

double squared_l2_norm(py::handle x) {
  const Array a = input({"squared_l2_norm", "x"}, x);
  double total = 0;
  visit(a.dtype(), [&](auto type) {
    using T = decltype(type);
    const Unlocked unlocked(a.size());
    total = regkern::squared_l2_norm<T>(a.extents(), a.in<T>());
  });
  return total;
}

}  // namespace

void register_prox(py::module_& m) {
  m.def("prox_l1", &prox_l1);
  m.def("prox_elastic_net", &prox_elastic_net);
  m.def("prox_ridge", &prox_ridge);
  m.def("l1_norm", &l1_norm);
  m.def("squared_l2_norm", &squared_l2_norm);
}

}  // namespace regkern::bindings
