// Binds dropout of elements, channels and blocks, its backward, and masks as arrays.

#include "regkern/dropout.h"

#include <pybind11/stl.h>

#include <algorithm>
#include <numeric>
#include <utility>
#include <vector>

#include "arrays.h"
#include "masks.h"
#include "module.h"
#include "order.h"
#include "tensors.h"

namespace regkern::bindings {
namespace {

std::vector<std::ptrdiff_t> shape_of(const Array& a) { return {a.shape(), a.shape() + a.ndim()}; }

py::tuple to_tuple(const std::vector<std::ptrdiff_t>& lengths) {
  py::tuple t(lengths.size());
  for (std::size_t i = 0; i < lengths.size(); ++i) t[i] = lengths[i];
  return t;
}

// The shape of the decisions: what noise_shape says (None in it: as long as x), or the length of x along
// `axes` and 1 elsewhere, or that of x.
std::vector<std::ptrdiff_t> decisions_shape(const char* f, const Array& x, py::handle noise_shape,
                                            py::handle axes) {
  std::vector<std::ptrdiff_t> noise = shape_of(x);
  if (!axes.is_none()) {
    std::fill(noise.begin(), noise.end(), 1);
    for (const py::handle entry : axes) {
      const int i = axis_of({f, "axis"}, entry, x);
      noise[static_cast<std::size_t>(i)] = x.dim(i);
    }
  } else if (!noise_shape.is_none()) {
    const Arg arg{f, "noise_shape"};
    constexpr const char* kRule = "be a tuple of ints or None";
    const bool one = is_ndarray(noise_shape) && py::cast<int>(noise_shape.attr("ndim")) == 0;
    if (one || is_masked(noise_shape) || !py::isinstance<py::sequence>(noise_shape))
      type_error(arg, kRule, noise_shape);
    const auto entries = py::cast<py::tuple>(noise_shape);
    bool fits = py::len(entries) == noise.size();
    for (std::size_t i = 0; fits && i < noise.size(); ++i) {
      if (entries[i].is_none()) continue;
      if (!PyIndex_Check(entries[i].ptr())) type_error(arg, kRule, noise_shape);
      const std::int64_t length = integer(arg, entries[i]);
      fits = length == 1 || length == noise[i];
      noise[i] = length;
    }
    if (!fits) {
      value_error(
          arg,
          "have 1, the length or None for each dimension of x with shape " + shape_text(x.ndim(), x.shape()),
          text(noise_shape));
    }
  }
  return noise;
}

// Decisions of a shape that is broadcast to that of the data: drawn once, by the index, then applied with
// strides of 0. Those of all elements count along the axes in an order.
void apply_decisions(const Array& from, const Array& to, const Bernoulli& mask,
                     const std::vector<std::ptrdiff_t>& decisions, const KeepMap& map,
                     const AxisOrder& order = {}) {
  const bool broadcast = decisions != shape_of(from);
  const std::vector<std::ptrdiff_t> dims = order.of(from, from.shape());
  const Extents extents(from.ndim(), dims.data());
  const Ordered x(from, order), y(to, order);
  std::vector<std::uint8_t> kept(broadcast ? Extents(from.ndim(), decisions.data()).size : 0);
  std::vector<std::ptrdiff_t> strides(decisions.size());
  std::ptrdiff_t step = 1;
  for (std::size_t i = decisions.size(); i-- != 0;) {
    strides[i] = decisions[i] == 1 ? 0 : step;
    step *= decisions[i];
  }
  strides = order.of(from, strides.data());
  visit(from.dtype(), [&](auto type) {
    using T = decltype(type);
    const Unlocked unlocked(from.size());
    if (broadcast) {
      regkern::keep_mask(mask, kept.size(), kept.data());
      regkern::dropout_by_bytes<T>(extents, x.in<T>(), y.out<T>(), {kept.data(), strides.data()}, map);
    } else {
      regkern::dropout<T>(extents, x.in<T>(), y.out<T>(), mask, map);
    }
  });
}

struct DropoutArguments {
  py::handle function, x, p, rng, stream, noise_shape, axes, scale_by_keep, as_alpha, training, out;
};

// Returns the result, and what a handle holds: the seed, the shape of the decisions (None: that of x) and the
// scale.
py::tuple dropout(const DropoutArguments& a) {
  const char* f = PyUnicode_AsUTF8(a.function.ptr());
  const char* name = std::string_view(f) == "drop_connect" ? "w" : "x";
  const Array from = input({f, name}, a.x, Accept::kHalf);
  const double rate = probability({f, "p"}, a.p);
  const std::uint64_t stream = unsigned64({f, "stream"}, a.stream);
  const std::vector<std::ptrdiff_t> noise = decisions_shape(f, from, a.noise_shape, a.axes);
  const bool scaled = flag({f, "scale_by_keep"}, a.scale_by_keep);
  const bool as_alpha = flag({f, "as_alpha"}, a.as_alpha);
  Bernoulli mask = bernoulli({0, stream}, flag({f, "training"}, a.training) ? rate : 0.0);
  const Array to = out_or_new({f, "out"}, a.out, name, from);
  mask.source.seed = seed_of(f, a.rng, !mask.certain() && from.size() != 0);
  const KeepMap map = as_alpha ? alpha(mask) : scaled ? inverted(mask) : KeepMap{};
  apply_decisions(from, to, mask, noise, map);
  const bool whole = noise == shape_of(from);
  return py::make_tuple(to.object(), mask.source.seed, whole ? py::object(py::none()) : to_tuple(noise),
                        map.scale);
}

py::object dropout_backward(py::handle dy, py::handle handle, py::handle out) {
  constexpr const char* f = "dropout_backward";
  const Array from = input({f, "dy"}, dy, Accept::kHalf);
  const Mask mask = mask_of(f, handle);
  require_shape({f, "dy"}, from, static_cast<int>(mask.shape.size()), mask.shape.data());
  const Array to = out_or_new({f, "out"}, out, "dy", from);
  apply_decisions(from, to, mask.bernoulli, mask.noise, {mask.scale});
  return to.object();
}

// A mask in memory: bool of the shape of the data (strides of 0 welcome), or uint8 of packed bits.
py::object apply_mask(py::str function, py::str name, py::handle x, const py::array& mask, py::handle scale,
                      py::handle out) {
  const char* f = PyUnicode_AsUTF8(function.ptr());
  const char* x_name = PyUnicode_AsUTF8(name.ptr());
  const Array from = input({f, x_name}, x, Accept::kHalf);
  const Memory decisions({f, "mask"}, mask);
  const bool bits = mask.dtype().kind() == 'u';
  const std::vector<std::ptrdiff_t> wanted =
      bits ? std::vector{static_cast<std::ptrdiff_t>((from.size() + 7) / 8)} : shape_of(from);
  const std::vector<std::ptrdiff_t> given(decisions.shape(), decisions.strides());
  if (given != wanted || mask.itemsize() != 1 || (bits && !decisions.has(py::array::c_style))) {
    const auto text = [](const auto& v) { return shape_text(static_cast<int>(v.size()), v.data()); };
    value_error({f, "mask"}, "have shape " + text(wanted), text(given));
  }
  const KeepMap map{finite_nonnegative({f, "scale"}, scale)};
  const Array to = out_or_new({f, "out"}, out, x_name, from);
  const auto* data = reinterpret_cast<const std::uint8_t*>(decisions.use());
  visit(from.dtype(), [&](auto type) {
    using T = decltype(type);
    const Unlocked unlocked(from.size());
    if (bits) {
      regkern::dropout_by_bits<T>(from.extents(), from.in<T>(), to.out<T>(), data, map);
    } else {
      regkern::dropout_by_bytes<T>(from.extents(), from.in<T>(), to.out<T>(), {data, decisions.strides()},
                                   map);
    }
  });
  return to.object();
}

// Returns the result and the seed.
py::tuple gaussian_dropout(py::handle x, py::handle p, py::handle rng, py::handle stream, py::handle training,
                           py::handle shape, py::handle out) {
  const bool backward = !shape.is_none();
  const char* f = backward ? "dropout_backward" : "gaussian_dropout";
  const char* name = backward ? "dy" : "x";
  const Array from = input({f, name}, x, Accept::kHalf);
  const double rate = probability({f, "p"}, p);
  if (rate == 1) value_error({f, "p"}, "be in [0, 1)", text(p));
  Stream source{0, unsigned64({f, "stream"}, stream)};
  const bool drop = flag({f, "training"}, training) && rate != 0;
  if (backward) {
    const std::vector<std::ptrdiff_t> expected = lengths({f, "mask.shape"}, shape);
    require_shape({f, name}, from, static_cast<int>(expected.size()), expected.data());
  }
  const Array to = out_or_new({f, "out"}, out, name, from);
  source.seed = seed_of(f, rng, drop && from.size() != 0);
  visit(from.dtype(), [&](auto type) {
    using T = decltype(type);
    const Unlocked unlocked(from.size());
    if (drop) {
      regkern::gaussian_dropout<T>(from.extents(), from.in<T>(), to.out<T>(), source,
                                   std::sqrt(rate / (1 - rate)));
    } else {
      regkern::dropout<T>(from.extents(), from.in<T>(), to.out<T>(), bernoulli(source, 0.0), {});
    }
  });
  return py::make_tuple(to.object(), source.seed);
}

// Booleans of a shape, or bits packed eight to a byte.
template <class Fill>
py::object new_bytes(Arg arg, bool packed, const std::vector<std::ptrdiff_t>& shape, Fill fill) {
  const std::size_t n = product(arg, shape, 1);
  py::array made = packed ? py::array(py::array_t<std::uint8_t>(static_cast<py::ssize_t>((n + 7) / 8)))
                          : py::array(py::array_t<bool>(shape));
  auto* data = static_cast<std::uint8_t*>(made.mutable_data());
  {
    const Unlocked unlocked(n);
    fill(n, data);
  }
  return made;
}

py::object keep_mask(py::handle shape, py::handle p, py::handle seed, py::handle stream, bool packed) {
  constexpr const char* f = "DropoutMask";
  const std::vector<std::ptrdiff_t> dims = lengths({f, "shape"}, shape);
  const double rate = probability({f, "p"}, p);
  const Stream source{unsigned64({f, "seed"}, seed), unsigned64({f, "stream"}, stream)};
  return new_bytes({f, "shape"}, packed, dims, [&](std::size_t n, std::uint8_t* data) {
    (packed ? keep_bits : regkern::keep_mask)(bernoulli(source, rate), n, data);
  });
}

// The mask (planes, rows, columns) of drop_block, and how many it keeps.
py::tuple drop_block_mask(py::handle shape, py::handle block, py::handle gamma, py::handle seed,
                          py::handle stream) {
  constexpr const char* f = "DropBlockMask";
  const double rate = probability({f, "p"}, gamma);
  const Stream source{unsigned64({f, "seed"}, seed), unsigned64({f, "stream"}, stream)};
  const std::vector<std::ptrdiff_t> size = lengths({f, "shape"}, shape),
                                    square = lengths({f, "block_size"}, block);
  if (size.size() != 3 || square.size() != 2) type_error({f, "shape"}, "be planes of two axes", shape);
  const bool empty = size[1] == 0 || size[2] == 0;
  if (!empty && (square[0] < 1 || square[0] > size[1] || square[1] < 1 || square[1] > size[2])) {
    value_error({f, "block_size"}, "fit the planes", shape_text(2, square.data()));
  }
  std::size_t kept = 0;
  const py::object mask = new_bytes({f, "shape"}, false, size, [&](std::size_t, std::uint8_t* data) {
    const auto u = [](std::ptrdiff_t length) { return static_cast<std::size_t>(length); };
    kept = regkern::drop_block_mask(bernoulli(source, rate), u(size[0]), u(size[1]), u(size[2]), u(square[0]),
                                    u(square[1]), data);
  });
  return py::make_tuple(mask, kept);
}

// --- of tensors --------------------------------------------------------------------------------------------

// What a dropout does: (function, p, axes that share no decision or None, scale_by_keep, as_alpha).
struct Plan {
  explicit Plan(py::handle plan) {
    if (!PyTuple_Check(plan.ptr()) || PyTuple_GET_SIZE(plan.ptr()) != 5) {
      type_error({"dropout", "plan"}, "be a tuple of 5", plan);
    }
    const auto field = [&](Py_ssize_t i) { return py::handle(PyTuple_GET_ITEM(plan.ptr(), i)); };
    function = PyUnicode_AsUTF8(field(0).ptr());
    if (function == nullptr) throw py::error_already_set();
    p = probability({function, "p"}, field(1));
    axes = field(2);
    scaled = flag({function, "scale_by_keep"}, field(3));
    as_alpha = flag({function, "as_alpha"}, field(4));
  }
  KeepMap map(const Bernoulli& mask) const {
    return as_alpha ? alpha(mask) : scaled ? inverted(mask) : KeepMap{};
  }
  const char* function;
  double p;
  py::handle axes;
  bool scaled, as_alpha;
};

// In which the elements of a tensor follow each other in memory.
AxisOrder order_in_memory(const Array& a) {
  if (a.dense()) return {};
  std::vector<int> axes(static_cast<std::size_t>(a.ndim()));
  std::iota(axes.begin(), axes.end(), 0);
  std::stable_sort(axes.begin(), axes.end(), [&](int i, int j) { return a.strides()[i] > a.strides()[j]; });
  return AxisOrder(std::move(axes));
}

// (context or None, x, plan, inplace) → y. The context gets what the backward needs.
PyObject* dropout_forward(PyObject* const* a, Py_ssize_t n) {
  require_count("dropout", n, 4);
  const py::handle context = a[0], x = a[1];
  const Plan plan(a[2]);
  const char* const f = plan.function;
  const bool inplace = flag({f, "inplace"}, a[3]);
  const TensorScope scope;
  const Array from = input({f, "x"}, x, Accept::kHalf);
  const std::vector<std::ptrdiff_t> noise = decisions_shape(f, from, py::none(), plan.axes);
  Bernoulli mask = bernoulli({0, 0}, plan.p);
  const Array to = inplace ? output({f, "x"}, x, Accept::kHalf) : new_like({f, "out"}, from);
  // Channels and samples are decided by the index, also those of one element.
  const bool by_index = !plan.axes.is_none() && noise == shape_of(from);
  const AxisOrder order = by_index ? AxisOrder() : order_in_memory(to);
  if (!mask.certain() && from.size() != 0) mask.source.seed = scope.library().draw();
  apply_decisions(from, to, mask, noise, plan.map(mask), order);
  if (!context.is_none()) {
    if (inplace) context.attr("mark_dirty")(x);
    context.attr("numbers") = py::make_tuple(py::handle(a[2]), to_python(order), py::int_(mask.source.seed));
  }
  return (inplace ? py::reinterpret_borrow<py::object>(x) : to.object()).release().ptr();
}

// (context, dy) → the gradient of x, and None for each other argument of the forward.
PyObject* dropout_backward_of(PyObject* const* a, Py_ssize_t n) {
  require_count("dropout", n, 2);
  static const py::handle kept = interned("numbers");
  const py::tuple numbers = py::handle(a[0]).attr(kept);
  const py::handle dy = a[1];
  const Plan plan(numbers[0]);
  const char* const f = plan.function;
  const TensorScope scope;
  const TensorLibrary& library = scope.library();
  library.require(f, {{"the gradient", dy}});
  const py::object room = library.room(a[0], dy, dy);
  const Array from = input({f, "dy"}, dy, Accept::kHalf);
  AxisOrder order;
  if (!numbers[1].is_none()) order = AxisOrder(py::cast<std::vector<int>>(py::object(numbers[1])));
  Array to = output({f, "out"}, room, Accept::kHalf);
  if (!Ordered(to, order).dense()) {
    const py::object made = called(library.empty_in, {py::object(numbers[1]).ptr(), dy.ptr()});
    to = output({f, "out"}, made, Accept::kHalf);
  }
  const Bernoulli mask = bernoulli({py::cast<std::uint64_t>(py::object(numbers[2])), 0}, plan.p);
  apply_decisions(from, to, mask, decisions_shape(f, from, py::none(), plan.axes), {plan.map(mask).scale},
                  order);
  return py::make_tuple(to.object(), py::none(), py::none()).release().ptr();
}

// (apply, x, plan, inplace) → y.
PyObject* dropout_of(PyObject* const* a, Py_ssize_t n) {
  require_count("dropout", n, 4);
  const py::handle x = a[1];
  const Plan plan(a[2]);
  const TensorLibrary& library = TensorLibrary::get();
  library.require(plan.function, {{"input", x}});
  const bool inplace = flag({plan.function, "inplace"}, a[3]);
  if (library.records({x})) {
    if (inplace && py::object(x.attr("is_leaf")).ptr() == Py_True) {
      PyErr_Format(PyExc_RuntimeError,
                   "%s: inplace must be False for a leaf that requires a gradient, got True", plan.function);
      return nullptr;
    }
    return called(a[0], {a[1], a[2], a[3]}).release().ptr();
  }
  PyObject* const arguments[] = {Py_None, a[1], a[2], a[3]};
  auto y = py::reinterpret_steal<py::object>(dropout_forward(arguments, 4));
  if (inplace) called(library.written, {py::make_tuple(x).ptr()});
  return y.release().ptr();
}

}  // namespace

void register_dropout_of_tensors(py::module_& m) {
  define_fast<&dropout_of>(m, "dropout");
  define_fast<&dropout_forward>(m, "dropout_forward");
  define_fast<&dropout_backward_of>(m, "dropout_backward");
  define_fast_method<&apply_node<&dropout_backward_of>>(m, "dropout_node");
}

std::vector<std::ptrdiff_t> lengths(Arg arg, py::handle shape) {
  if (!py::isinstance<py::tuple>(shape) || py::len(shape) > kMaxDims)
    type_error(arg, "be a tuple of ints", shape);
  std::vector<std::ptrdiff_t> n;
  for (const py::handle length : shape) {
    n.push_back(integer(arg, length));
    if (n.back() < 0) type_error(arg, "be a tuple of ints >= 0", shape);
  }
  return n;
}

std::uint64_t seed_of(const char* f, py::handle rng, bool decides) {
  if (PyCallable_Check(rng.ptr()) == 0) return unsigned64({f, "rng"}, rng);
  return decides ? unsigned64({f, "rng"}, rng()) : 0;
}

Mask mask_of(const char* f, py::handle handle) {
  const auto fields = py::cast<py::tuple>(handle);
  const Stream source{unsigned64({f, "mask.seed"}, fields[0]), unsigned64({f, "mask.stream"}, fields[1])};
  Mask mask{
      bernoulli(source, probability({f, "mask.p"}, fields[3])), lengths({f, "mask.shape"}, fields[2]), {}, 0};
  mask.noise = fields[4].is_none() ? mask.shape : lengths({f, "mask.noise_shape"}, fields[4]);
  bool fits = mask.noise.size() == mask.shape.size();
  for (std::size_t i = 0; fits && i < mask.noise.size(); ++i) {
    fits = mask.noise[i] == 1 || mask.noise[i] == mask.shape[i];
  }
  if (!fits) {
    value_error({f, "mask.noise_shape"}, "have 1 or the length for each dimension of mask.shape",
                text(fields[4]));
  }
  mask.scale =
      fields[5].is_none() ? inverted(mask.bernoulli).scale : finite_nonnegative({f, "mask.scale"}, fields[5]);
  return mask;
}

void register_dropout(py::module_& m) {
  // The array that an array-like is, for callers that look at its shape first: it is asked only once. Of any
  // dtype that is calculated with, or of float32 and float64 alone.
  m.def("require_float", [](py::str function, py::str name, py::handle x) {
    return input({PyUnicode_AsUTF8(function.ptr()), PyUnicode_AsUTF8(name.ptr())}, x, Accept::kHalf).object();
  });
  m.def("require_full", [](py::str function, py::str name, py::handle x) {
    return input({PyUnicode_AsUTF8(function.ptr()), PyUnicode_AsUTF8(name.ptr())}, x).object();
  });
  // Whether `out` can take what is computed of x, for callers that draw before they write.
  m.def("require_out", [](py::str function, py::str name, py::handle x, py::handle out) {
    const char *f = PyUnicode_AsUTF8(function.ptr()), *x_name = PyUnicode_AsUTF8(name.ptr());
    if (!out.is_none()) out_or_new({f, "out"}, out, x_name, input({f, x_name}, x, Accept::kHalf));
  });
  define(m, "dropout", &dropout);
  m.def("dropout_backward", &dropout_backward);
  m.def("apply_mask", &apply_mask);
  m.def("gaussian_dropout", &gaussian_dropout);
  m.def("keep_mask", &keep_mask);
  m.def("drop_block_mask", &drop_block_mask);
}

}  // namespace regkern::bindings
