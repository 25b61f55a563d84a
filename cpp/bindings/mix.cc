// Binds mixup and cutmix of a batch.

#include "regkern/mix.h"

#include <algorithm>
#include <array>
#include <cstdlib>
#include <string>
#include <utility>
#include <vector>

#include "arrays.h"
#include "module.h"

namespace regkern::bindings {
namespace {

std::string shape_of(const py::array& a) { return shape_text(static_cast<int>(a.ndim()), a.shape()); }

// 'B', 'f', 'd' for uint8, float32, float64; 0 for anything else.
char kind_of(const py::array& array) {
  const auto* descriptor = reinterpret_cast<const py::detail::PyArrayDescr_Proxy*>(proxy(array)->descr);
  if (descriptor->byteorder == '>') return 0;
  const char kind = descriptor->type;
  return kind == 'B' || kind == 'f' || kind == 'd' ? kind : char{0};
}

py::array batch_array(Arg arg, py::handle value) {
  if (!py::isinstance<py::array>(value)) type_error(arg, "be an ndarray", py::type::handle_of(value));
  auto array = py::reinterpret_borrow<py::array>(value);
  if (kind_of(array) == 0) type_error(arg, "be uint8, float32 or float64", py::str(array.dtype()));
  return array;
}

// Sorted by step, every dimension steps over all that the smaller ones reach.
bool overlaps_itself(const py::array& a) {
  std::vector<std::pair<std::ptrdiff_t, std::ptrdiff_t>> steps;  // step, reach
  for (py::ssize_t i = 0; i < a.ndim(); ++i) {
    const std::ptrdiff_t step = std::abs(a.strides(i));
    if (a.shape(i) > 1) steps.emplace_back(step, step * (a.shape(i) - 1));
  }
  std::sort(steps.begin(), steps.end());
  std::ptrdiff_t reach = a.itemsize();
  for (const auto& [step, length] : steps) {
    if (step < reach) return true;
    reach += length;
  }
  return false;
}

bool same_memory(const py::array& a, const py::array& b) {
  if (a.data() != b.data()) return false;
  for (py::ssize_t i = 0; i < a.ndim(); ++i) {
    if (a.shape(i) > 1 && a.strides(i) != b.strides(i)) return false;
  }
  return true;
}

// The bytes between an array's first and last element, those included.
std::pair<const char*, const char*> reach(const py::array& a) {
  const char* low = static_cast<const char*>(a.data());
  const char* high = low + a.itemsize();
  for (py::ssize_t i = 0; i < a.ndim(); ++i)
    (a.strides(i) < 0 ? low : high) += (a.shape(i) - 1) * a.strides(i);
  return {low, high};
}

bool far_apart(const py::array& a, const py::array& b) {
  const auto [low, high] = reach(a);
  const auto [begin, end] = reach(b);
  return high <= begin || end <= low;
}

// `out` checked against x, or new memory in the order of x's.
py::array output_for(const char* f, const py::array& x, py::handle value) {
  const Arg arg{f, "out"};
  if (value.is_none()) return py::module_::import("numpy").attr("empty_like")(x, py::arg("subok") = false);
  py::array out = batch_array(arg, value);
  if (kind_of(out) != kind_of(x)) {
    type_error(arg, "have x's dtype " + py::cast<std::string>(py::str(x.dtype())), py::str(out.dtype()));
  }
  if (out.ndim() != x.ndim() || !std::equal(x.shape(), x.shape() + x.ndim(), out.shape())) {
    value_error(arg, "have shape " + shape_of(x), shape_of(out));
  }
  if (!out.writeable()) value_error(arg, "be writable", "a read-only array");
  if (out.size() > 1 && overlaps_itself(out)) {
    value_error(
        arg, "hold every element in its own memory",
        "strides " + shape_text(static_cast<int>(out.ndim()), out.strides()) + " for shape " + shape_of(out));
  }
  if (out.size() == 0 || same_memory(out, x) || far_apart(out, x)) return out;
  bool shares = true;
  try {
    shares = py::cast<bool>(
        py::module_::import("numpy").attr("shares_memory")(out, x, py::arg("max_work") = 1 << 20));
  } catch (py::error_already_set& error) {  // too hard to decide: refuse
    if (!error.matches(PyExc_Exception)) throw;
  }
  if (shares) value_error(arg, "not overlap x unless it is the same array", "memory they share");
  return out;
}

// A copy, which no output can change: (n,) or (n, width) of `Number`; kinds: the dtypes it may come from.
template <class Number>
py::array_t<Number> numbers(Arg arg, py::handle value, const char* kinds, const char* rule, py::ssize_t n,
                            py::ssize_t width) {
  const auto array = py::array::ensure(value);
  if (!array) {
    PyErr_Clear();
    type_error(arg, rule, value);
  }
  const std::string wanted = width == 0 ? "(" + std::to_string(n) + ",)"
                                        : "(" + std::to_string(n) + ", " + std::to_string(width) + ")";
  const bool same =
      array.ndim() == (width == 0 ? 1 : 2) && array.shape(0) == n && (width == 0 || array.shape(1) == width);
  if (!same) value_error(arg, "have shape " + wanted, shape_of(array));
  if (std::string(kinds).find(array.dtype().kind()) == std::string::npos && array.size() != 0) {
    type_error(arg, rule, py::str(array.dtype()));
  }
  const py::object copy = py::module_::import("numpy").attr("array")(
      array, py::arg("dtype") = py::dtype::of<Number>(), py::arg("order") = "C", py::arg("copy") = true);
  return py::reinterpret_borrow<py::array_t<Number>>(copy);
}

py::array_t<std::int64_t> partners(const char* f, py::handle value, py::ssize_t n) {
  auto partner = numbers<std::int64_t>({f, "partner"}, value, "iu", "be ints", n, 0);
  for (py::ssize_t i = 0; i < n; ++i) {
    const std::int64_t j = partner.data()[i];
    if (j < 0 || j >= n)
      value_error({f, "partner"}, "be in [0, " + std::to_string(n) + ")", std::to_string(j));
  }
  return partner;
}

Batch batch_of(const Memory& x, const Memory& y) {
  return {x.shape()[0], x.ndim() - 1, x.shape() + 1, x.use(), x.strides(), y.use(), y.strides()};
}

template <class Body>
void with_type(const py::array& x, Body&& body) {
  const char kind = kind_of(x);
  const Unlocked unlocked(static_cast<std::size_t>(x.size()));
  if (kind == 'B') {
    body(std::uint8_t{});
  } else if (kind == 'f') {
    body(float{});
  } else {
    body(double{});
  }
}

py::object mix(const std::string& name, py::handle x, py::handle partner, py::handle lam, py::handle out) {
  const char* const f = name.c_str();
  const py::array from = batch_array({f, "x"}, x);
  const Memory source({f, "x"}, from);
  if (from.ndim() == 0) value_error({f, "x"}, "have an axis of samples", "shape ()");
  const py::ssize_t n = source.shape()[0];
  const auto other = partners(f, partner, n);
  const auto weight = numbers<double>({f, "lam"}, lam, "fiu", "be numbers", n, 0);
  for (py::ssize_t i = 0; i < weight.size(); ++i) {
    const double v = weight.data()[i];
    if (!(v >= 0 && v <= 1)) value_error({f, "lam"}, "be in [0, 1]", text(py::float_(v)));
  }
  source.use();  // `out` is checked against what it is now
  const py::array to = output_for(f, from, out);
  const Memory target({f, "out"}, to);
  const Batch batch = batch_of(source, target);
  const std::int64_t* const j = other.data();
  const double* const w = weight.data();
  with_type(from, [&](auto type) { mixup<decltype(type)>(batch, j, w); });
  return to;
}

py::object cutmix(const std::string& name, py::handle x, py::handle partner, py::handle boxes, py::handle out,
                  py::handle channels_last) {
  const char* const f = name.c_str();
  const py::array from = batch_array({f, "x"}, x);
  const Memory source({f, "x"}, from);
  if (from.ndim() != 4) value_error({f, "x"}, "have 4 axes", "shape " + shape_of(from));
  const py::ssize_t n = source.shape()[0];
  const auto other = partners(f, partner, n);
  const auto box = numbers<std::int64_t>({f, "boxes"}, boxes, "iu", "be ints", n, 4);
  for (py::ssize_t i = 0; i < n; ++i) {
    for (int side = 2; side < 4; ++side) {
      const std::int64_t length = box.data()[4 * i + side];
      if (length < 0) value_error({f, "boxes"}, "have heights and widths >= 0", std::to_string(length));
    }
  }
  const bool last = flag({f, "channels_last"}, channels_last);
  source.use();  // `out` is checked against what it is now
  const py::array to = output_for(f, from, out);
  const Memory target({f, "out"}, to);
  const Batch batch = batch_of(source, target);
  const std::int64_t *const j = other.data(), *const b = box.data();
  with_type(from, [&](auto type) { regkern::cutmix<decltype(type)>(batch, j, b, last); });
  return to;
}

}  // namespace

void register_mix(py::module_& m) {
  m.def("mix", &mix);
  m.def("cutmix", &cutmix);
}

}  // namespace regkern::bindings
