#include "regkern/optim.h"

#include "arrays.h"
#include "module.h"

namespace regkern::bindings {
namespace {

py::object l2_decay(py::handle w, py::handle rate, py::handle out) {
  constexpr const char* f = "l2_decay";
  const Array from = input({f, "w"}, w);
  const double r = probability({f, "rate"}, rate);
  const Array to = out_or_new({f, "out"}, out, "w", from);
  visit(from.dtype(), [&](auto type) {
    using T = decltype(type);
    const Unlocked unlocked(from.size());
    regkern::l2_decay<T>(from.extents(), from.in<T>(), to.out<T>(), 1 - r);
  });
  return to.object();
}

void sgd_step(py::handle w, py::handle grad, py::handle lr, py::handle momentum, py::handle buffer,
              py::handle dampening, py::handle nesterov, py::handle weight_decay, py::handle decoupled,
              py::handle l1) {
  constexpr const char* f = "sgd_step";
  const Array weights = output({f, "w"}, w);
  const Array gradient = input({f, "grad"}, grad);
  const double rate = finite_nonnegative({f, "lr"}, lr);
  const double mu = finite_nonnegative({f, "momentum"}, momentum);
  const Array velocity = optional_output({f, "buffer"}, buffer);
  const double damp = finite_nonnegative({f, "dampening"}, dampening);
  const bool look_ahead = flag({f, "nesterov"}, nesterov);
  const double decay = finite_nonnegative({f, "weight_decay"}, weight_decay);
  const bool bypass = flag({f, "decoupled"}, decoupled);
  const double strength = finite_nonnegative({f, "l1"}, l1);

  require_dtype({f, "grad"}, gradient, weights.dtype());
  require_same_shape({f, "grad"}, gradient, weights);
  require_disjoint({f, "w"}, weights, "grad", gradient);
  if (velocity) {
    require_dtype({f, "buffer"}, velocity, weights.dtype());
    require_same_shape({f, "buffer"}, velocity, weights);
    require_disjoint({f, "buffer"}, velocity, "w", weights);
    require_disjoint({f, "buffer"}, velocity, "grad", gradient);
  } else if (mu > 0) {
    value_error({f, "buffer"}, "be an array where momentum > 0", "None");
  }
  if (look_ahead && !(mu > 0 && damp == 0)) {
    value_error({f, "nesterov"}, "go with momentum > 0 and dampening = 0",
                "momentum = " + py::cast<std::string>(py::repr(momentum)) +
                    ", dampening = " + py::cast<std::string>(py::repr(dampening)));
  }
  visit(weights.dtype(), [&](auto type) {
    using T = decltype(type);
    SgdOptions<T> options;
    options.lr = static_cast<T>(rate);
    options.momentum = static_cast<T>(mu);
    options.undampened = static_cast<T>(1 - damp);
    options.weight_decay = static_cast<T>(decay);
    options.threshold = static_cast<T>(rate * strength);
    options.decay = decay == 0 ? Decay::kNone : bypass ? Decay::kDecoupled : Decay::kCoupled;
    options.nesterov = look_ahead;
    options.prox = strength != 0;
    const InOut<T> b = velocity ? velocity.in_out<T>() : InOut<T>{};
    const Unlocked unlocked(weights.size());
    regkern::sgd_step<T>(weights.extents(), weights.in_out<T>(), gradient.in<T>(), b, options);
  });
}

}  // namespace

void register_optim(py::module_& m) {
  m.def("l2_decay", &l2_decay);
  m.def("sgd_step", &sgd_step);
}

}  // namespace regkern::bindings
