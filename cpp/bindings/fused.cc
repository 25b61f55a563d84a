// Binds dropout in one pass with its neighbours, forward and backward.

#include "regkern/fused.h"

#include "arrays.h"
#include "masks.h"
#include "module.h"

namespace regkern::bindings {
namespace {

// Who decides, for the forward functions: p, stream and training; the seed comes last.
Bernoulli without_seed(const char* f, py::handle p, py::handle stream, py::handle training) {
  const double rate = probability({f, "p"}, p);
  const Stream source{0, unsigned64({f, "stream"}, stream)};
  return bernoulli(source, flag({f, "training"}, training) ? rate : 0.0);
}

// The seed, when all else is checked.
void draw_seed(const char* f, py::handle rng, const Array& x, Bernoulli& mask) {
  mask.source.seed = seed_of(f, rng, !mask.certain() && x.size() != 0);
}

// What the forward functions return: the result and the seed.
py::tuple seeded(const Array& y, const Bernoulli& mask) {
  return py::make_tuple(y.object(), mask.source.seed);
}

// And for the backward ones: a mask with one decision an element, of the shape of dy.
Mask elementwise_mask(const char* f, py::handle handle, const Array& dy) {
  Mask mask = mask_of(f, handle);
  if (mask.noise != mask.shape) {
    value_error({f, "mask"}, "decide every element on its own", "one with a noise_shape");
  }
  require_shape({f, "dy"}, dy, static_cast<int>(mask.shape.size()), mask.shape.data());
  return mask;
}

void require_rows(Arg arg, const Array& x) {
  if (x.ndim() == 0) value_error(arg, "have a last axis", "a number");
}

py::tuple bias_dropout_add(py::handle x, py::handle bias, py::handle residual, py::handle p, py::handle rng,
                           py::handle stream, py::handle training, py::handle out) {
  constexpr const char* f = "bias_dropout_add";
  const Array from = input({f, "x"}, x, Accept::kHalf);
  require_rows({f, "x"}, from);
  Array b = beside({f, "bias"}, bias, from);
  if (b) require_vector({f, "bias"}, b, static_cast<std::size_t>(from.dim(from.ndim() - 1)));
  const Array added = beside({f, "residual"}, residual, from);
  if (added) require_same_shape({f, "residual"}, added, from);
  Bernoulli mask = without_seed(f, p, stream, training);
  const Array to = out_or_new({f, "out"}, out, "x", from);
  require_disjoint({f, "out"}, to, "residual", added, true);
  require_disjoint({f, "out"}, to, "bias", b);
  draw_seed(f, rng, from, mask);
  b = dense_vector(b);
  visit(from.dtype(), [&](auto type) {
    using T = decltype(type);
    const Unlocked unlocked(from.size());
    regkern::bias_dropout_add<T>(from.extents(), from.in<T>(), b ? b.data<T>() : nullptr,
                                 added ? added.in<T>() : In<T>{}, to.out<T>(), mask, inverted(mask).scale);
  });
  return seeded(to, mask);
}

py::tuple bias_dropout_add_backward(py::handle dy, py::handle handle, py::handle out) {
  constexpr const char* f = "bias_dropout_add_backward";
  const Array from = input({f, "dy"}, dy, Accept::kHalf);
  require_rows({f, "dy"}, from);
  const Mask mask = elementwise_mask(f, handle, from);
  const Array to = out_or_new({f, "out"}, out, "dy", from);
  const Array dbias = new_vector_like(from, static_cast<std::size_t>(from.dim(from.ndim() - 1)));
  visit(from.dtype(), [&](auto type) {
    using T = decltype(type);
    const Unlocked unlocked(from.size());
    std::vector<T> sums(dbias.size());
    regkern::bias_dropout_add_backward<T>(from.extents(), from.in<T>(), to.out<T>(), sums.data(),
                                          mask.bernoulli, mask.scale);
    regkern::write(dbias.extents(), sums.data(), dbias.out<T>());
  });
  return py::make_tuple(to.object(), dbias.object());
}

Activation activation_of(const char* f, py::handle approximate) {
  if (std::string_view(f).starts_with("relu")) return Activation::kRelu;
  if (py::isinstance<py::str>(approximate)) {
    const auto name = py::cast<std::string>(approximate);
    if (name == "none") return Activation::kGelu;
    if (name == "tanh") return Activation::kGeluTanh;
    value_error({f, "approximate"}, "be 'none' or 'tanh'", text(approximate));
  }
  type_error({f, "approximate"}, "be 'none' or 'tanh'", approximate);
}

py::tuple activation_dropout(py::str function, py::handle x, py::handle p, py::handle approximate,
                             py::handle rng, py::handle stream, py::handle training, py::handle out) {
  const char* f = PyUnicode_AsUTF8(function.ptr());
  const Array from = input({f, "x"}, x, Accept::kHalf);
  const Activation activation = activation_of(f, approximate);
  Bernoulli mask = without_seed(f, p, stream, training);
  const Array to = out_or_new({f, "out"}, out, "x", from);
  draw_seed(f, rng, from, mask);
  visit(from.dtype(), [&](auto type) {
    using T = decltype(type);
    const Unlocked unlocked(from.size());
    regkern::activation_dropout<T>(from.extents(), activation, from.in<T>(), to.out<T>(), mask,
                                   inverted(mask).scale);
  });
  return seeded(to, mask);
}

// dy and x of one shape and dtype, and where their result goes: the way of the backward functions that need
// x.
struct Gradient {
  Gradient(const char* f, py::handle g, py::handle input_x, py::handle handle, py::handle out)
      : dy(input({f, "dy"}, g, Accept::kHalf)),
        x(input({f, "x"}, input_x, Accept::kHalf)),
        mask(elementwise_mask(f, handle, dy)) {
    require_dtype_beside({f, "x"}, x, dy);
    require_same_shape({f, "x"}, x, dy);
    dx = out_or_new({f, "out"}, out, "dy", dy);
    require_disjoint({f, "out"}, dx, "x", x, true);
  }
  Array dy, x, dx;
  Mask mask;
};

py::object activation_dropout_backward(py::str function, py::handle dy, py::handle x, py::handle handle,
                                       py::handle approximate, py::handle out) {
  const char* f = PyUnicode_AsUTF8(function.ptr());
  const Gradient g(f, dy, x, handle, out);
  const Activation activation = activation_of(f, approximate);
  visit(g.dy.dtype(), [&](auto type) {
    using T = decltype(type);
    const Unlocked unlocked(g.dy.size());
    regkern::activation_dropout_backward<T>(g.dy.extents(), activation, g.dy.in<T>(), g.x.in<T>(),
                                            g.dx.out<T>(), g.mask.bernoulli, g.mask.scale);
  });
  return g.dx.object();
}

py::tuple softmax_dropout(py::handle x, py::handle p, py::handle rng, py::handle stream, py::handle training,
                          py::handle out) {
  constexpr const char* f = "softmax_dropout";
  const Array from = input({f, "x"}, x, Accept::kHalf);
  require_rows({f, "x"}, from);
  Bernoulli mask = without_seed(f, p, stream, training);
  const Array to = out_or_new({f, "out"}, out, "x", from);
  draw_seed(f, rng, from, mask);
  visit(from.dtype(), [&](auto type) {
    using T = decltype(type);
    const Unlocked unlocked(from.size());
    regkern::softmax_dropout<T>(from.extents(), from.in<T>(), to.out<T>(), mask, inverted(mask).scale);
  });
  return seeded(to, mask);
}

py::object softmax_dropout_backward(py::handle dy, py::handle x, py::handle handle, py::handle out) {
  constexpr const char* f = "softmax_dropout_backward";
  const Gradient g(f, dy, x, handle, out);
  require_rows({f, "dy"}, g.dy);
  visit(g.dy.dtype(), [&](auto type) {
    using T = decltype(type);
    const Unlocked unlocked(g.dy.size());
    regkern::softmax_dropout_backward<T>(g.dy.extents(), g.dy.in<T>(), g.x.in<T>(), g.dx.out<T>(),
                                         g.mask.bernoulli, g.mask.scale);
  });
  return g.dx.object();
}

}  // namespace

void register_fused(py::module_& m) {
  m.def("bias_dropout_add", &bias_dropout_add);
  m.def("bias_dropout_add_backward", &bias_dropout_add_backward);
  m.def("activation_dropout", &activation_dropout);
  m.def("activation_dropout_backward", &activation_dropout_backward);
  m.def("softmax_dropout", &softmax_dropout);
  m.def("softmax_dropout_backward", &softmax_dropout_backward);
}

}  // namespace regkern::bindings
