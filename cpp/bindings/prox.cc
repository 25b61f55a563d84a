// Binds proximal operators of elements, the box and the norms.

#include "regkern/prox.h"

#include <algorithm>
#include <string>
#include <vector>

#include "arrays.h"
#include "module.h"

namespace regkern::bindings {
namespace {

// Whether a value is several numbers, or might be: an array of rank 0 is one, and what no array can be made
// of is refused as a number.
bool has_axes(py::handle value) {
  if (is_ndarray(value)) return proxy(value)->nd > 0;
  if (is_view(value)) return checked_view(value).ndim() > 0;
  if (PyFloat_Check(value.ptr()) || PyLong_Check(value.ptr()) || PyUnicode_Check(value.ptr()) ||
      PyBytes_Check(value.ptr())) {
    return false;
  }
  const py::object rank = py::getattr(value, "ndim", py::none());
  const bool many = py::hasattr(value, "__iter__") || py::hasattr(value, "__array__");
  return many && (!py::isinstance<py::int_>(rank) || py::cast<int>(rank) > 0);
}

// threshold·weights, 0 where the weight is 0 and the threshold Inf.
Array weighted(Arg arg, const Array& thresholds, const Array& weights) {
  const py::module_ np = py::module_::import("numpy");
  const py::object w = as_ndarray(weights), zeros = np.attr("zeros_like")(w);
  return input(arg, np.attr("multiply")(as_ndarray(thresholds), w, py::arg("out") = zeros,
                                        py::arg("where") = np.attr("not_equal")(w, 0)));
}

py::object prox_l1(py::handle x, py::handle threshold, py::handle weights, py::handle nonneg,
                   py::handle out) {
  constexpr const char* f = "prox_l1";
  const Array from = input({f, "x"}, x, Accept::kHalf);
  double t = 1;
  Array strengths;  // one an element
  if (has_axes(threshold)) {
    strengths = broadcast({f, "threshold"}, beside({f, "threshold"}, threshold, from), "x", from);
  } else {
    t = nonnegative({f, "threshold"}, threshold);
  }
  const bool positive = flag({f, "nonneg"}, nonneg);
  const Array thresholds = strengths;
  const Array given = beside({f, "weights"}, weights, from);
  if (given) {
    const Array w = broadcast({f, "weights"}, given, "x", from);
    strengths = strengths ? weighted({f, "weights"}, strengths, w) : w;
  }
  const Array to = out_or_new({f, "out"}, out, "x", from);
  require_disjoint({f, "out"}, to, "weights", given);
  require_disjoint({f, "out"}, to, "threshold", thresholds);
  visit(from.dtype(), [&](auto type) {
    using T = decltype(type);
    const Extents shape = from.extents();
    const In<T> each = strengths ? strengths.in<T>() : In<T>{};
    const Unlocked unlocked(from.size());
    regkern::prox_l1<T>(shape, from.in<T>(), to.out<T>(), static_cast<T>(t), positive, each);
  });
  return to.object();
}

// lower <= upper, said of the first element where it is not.
void require_ordered(const char* f, const Array& low, const Array& high) {
  std::vector<std::ptrdiff_t> lengths(low.shape(), low.shape() + low.ndim());
  for (int i = 0; i < low.ndim(); ++i) {  // what is repeated is looked at once
    if (low.strides()[i] == 0 && high.strides()[i] == 0) lengths[i] = std::min<std::ptrdiff_t>(lengths[i], 1);
  }
  const Extents shape(low.ndim(), lengths.data());
  bool fine = true;
  visit(low.dtype(), [&](auto type) {
    using T = decltype(type);
    const In<T> lower{low.data<const T>(), low.strides(), storage_of(low.dtype())},
        upper{high.data<const T>(), high.strides(), storage_of(high.dtype())};
    const Unlocked unlocked(shape.size);
    fine = ordered<T>(shape, lower, upper);
  });
  if (fine) return;
  const py::module_ np = py::module_::import("numpy");
  const py::object lower = as_ndarray(low), upper = as_ndarray(high);
  const py::object wrong = np.attr("logical_not")(np.attr("less_equal")(lower, upper));
  const py::object at = py::tuple(np.attr("argwhere")(wrong)[py::int_(0)].attr("tolist")());
  value_error({f, "lower"}, "be <= upper",
              text(lower[at].attr("item")()) + " and " + text(upper[at].attr("item")()) + " at " + text(at));
}

// What all operators of one array and some numbers do: check, then call(extents, in, out) of the dtype.
template <class Call>
py::object elementwise(const char* f, const Array& from, py::handle out, Call&& call) {
  const Array to = out_or_new({f, "out"}, out, "x", from);
  visit(from.dtype(), [&](auto type) {
    using T = decltype(type);
    const Unlocked unlocked(from.size());
    call(from.extents(), from.in<T>(), to.out<T>(), type);
  });
  return to.object();
}

// The same of weights beside it: call(extents, in, out, weights), which are null where None was given.
template <class Call>
py::object weighted_elementwise(const char* f, const Array& from, py::handle weights, py::handle out,
                                Call&& call) {
  const Array given = beside({f, "weights"}, weights, from);
  const Array each = given ? broadcast({f, "weights"}, given, "x", from) : given;
  const Array to = out_or_new({f, "out"}, out, "x", from);
  require_disjoint({f, "out"}, to, "weights", given);
  visit(from.dtype(), [&](auto type) {
    using T = decltype(type);
    const In<T> w = each ? each.in<T>() : In<T>{};
    const Unlocked unlocked(from.size());
    call(from.extents(), from.in<T>(), to.out<T>(), w);
  });
  return to.object();
}

py::object prox_elastic_net(py::handle x, py::handle threshold, py::handle shrink, py::handle weights,
                            py::handle out) {
  constexpr const char* f = "prox_elastic_net";
  const Array from = input({f, "x"}, x, Accept::kHalf);
  const double t = nonnegative({f, "threshold"}, threshold);
  const double s = nonnegative({f, "shrink"}, shrink);
  return weighted_elementwise(f, from, weights, out, [=]<class T>(auto shape, In<T> in, Out<T> to, In<T> w) {
    if (w.data == nullptr) {
      regkern::prox_elastic_net<T>(shape, in, to, static_cast<T>(t), static_cast<T>(1 / (1 + s)));
    } else {
      regkern::prox_elastic_net<T>(shape, in, to, static_cast<T>(t), static_cast<T>(s), w);
    }
  });
}

py::object prox_ridge(py::handle x, py::handle shrink, py::handle weights, py::handle out) {
  constexpr const char* f = "prox_ridge";
  const Array from = input({f, "x"}, x, Accept::kHalf);
  const double s = nonnegative({f, "shrink"}, shrink);
  return weighted_elementwise(f, from, weights, out, [=]<class T>(auto shape, In<T> in, Out<T> to, In<T> w) {
    if (w.data == nullptr) {
      regkern::prox_ridge<T>(shape, in, to, static_cast<T>(1 / (1 + s)));
    } else {
      regkern::prox_ridge<T>(shape, in, to, static_cast<T>(s), w);
    }
  });
}

py::object prox_l0(py::handle x, py::handle threshold, py::handle out) {
  constexpr const char* f = "prox_l0";
  const Array from = input({f, "x"}, x, Accept::kHalf);
  const double t = nonnegative({f, "threshold"}, threshold);
  return elementwise(f, from, out,
                     [=](auto shape, auto in, auto to, auto) { regkern::prox_l0(shape, in, to, t); });
}

py::object prox_l_half(py::handle x, py::handle threshold, py::handle out) {
  constexpr const char* f = "prox_l_half";
  const Array from = input({f, "x"}, x, Accept::kHalf);
  const double t = nonnegative({f, "threshold"}, threshold);
  return elementwise(f, from, out,
                     [=](auto shape, auto in, auto to, auto) { regkern::prox_l_half(shape, in, to, t); });
}

py::object prox_mcp(py::handle x, py::handle threshold, py::handle gamma, py::handle step, py::handle out) {
  constexpr const char* f = "prox_mcp";
  const Array from = input({f, "x"}, x, Accept::kHalf);
  const double t = nonnegative({f, "threshold"}, threshold);
  const double g = positive({f, "gamma"}, gamma);
  const double s = positive({f, "step"}, step);
  return elementwise(f, from, out,
                     [=](auto shape, auto in, auto to, auto) { regkern::prox_mcp(shape, in, to, t, g, s); });
}

py::object prox_scad(py::handle x, py::handle threshold, py::handle a, py::handle step, py::handle out) {
  constexpr const char* f = "prox_scad";
  const Array from = input({f, "x"}, x, Accept::kHalf);
  const double t = nonnegative({f, "threshold"}, threshold);
  const double knee = real({f, "a"}, a);
  if (!(knee > 1 && std::isfinite(knee))) value_error({f, "a"}, "be > 1 and finite", text(a));
  const double s = positive({f, "step"}, step);
  return elementwise(f, from, out, [=](auto shape, auto in, auto to, auto) {
    regkern::prox_scad(shape, in, to, t, knee, s);
  });
}

py::object prox_log_sum(py::handle x, py::handle threshold, py::handle eps, py::handle out) {
  constexpr const char* f = "prox_log_sum";
  const Array from = input({f, "x"}, x, Accept::kHalf);
  const double t = nonnegative({f, "threshold"}, threshold);
  const double e = positive({f, "eps"}, eps);
  return elementwise(f, from, out,
                     [=](auto shape, auto in, auto to, auto) { regkern::prox_log_sum(shape, in, to, t, e); });
}

py::object prox_huber(py::handle x, py::handle shrink, py::handle delta, py::handle out) {
  constexpr const char* f = "prox_huber";
  const Array from = input({f, "x"}, x, Accept::kHalf);
  const double s = nonnegative({f, "shrink"}, shrink);
  const double d = positive({f, "delta"}, delta);
  return elementwise(f, from, out,
                     [=](auto shape, auto in, auto to, auto) { regkern::prox_huber(shape, in, to, s, d); });
}

py::object project_box(py::handle x, py::handle lower, py::handle upper, py::handle out) {
  constexpr const char* f = "project_box";
  const Array from = input({f, "x"}, x, Accept::kHalf);
  if (!has_axes(lower) && !has_axes(upper)) {
    const double low = real({f, "lower"}, lower), high = real({f, "upper"}, upper);
    if (!(low <= high)) {
      value_error({f, "lower"}, "be <= upper", text(lower) + " and " + text(upper));
    }
    return elementwise(f, from, out, [=](auto shape, auto in, auto to, auto type) {
      using T = decltype(type);
      regkern::project_box<T>(shape, in, to, static_cast<T>(low), static_cast<T>(high));
    });
  }
  const auto bound = [&](const char* name, py::handle value) {
    if (has_axes(value)) return broadcast({f, name}, beside({f, name}, value, from), "x", from);
    const bool wide = from.dtype() == Dtype::kFloat64;
    const py::object number = py::module_::import("numpy").attr("asarray")(
        real({f, name}, value), wide ? py::dtype::of<double>() : py::dtype::of<float>());
    return broadcast({f, name}, input({f, name}, number), "x", from);
  };
  const Array low = bound("lower", lower), high = bound("upper", upper);
  const Array to = out_or_new({f, "out"}, out, "x", from);
  require_disjoint({f, "out"}, to, "lower", low);
  require_disjoint({f, "out"}, to, "upper", high);
  require_ordered(f, low, high);
  visit(from.dtype(), [&](auto type) {
    using T = decltype(type);
    const Unlocked unlocked(from.size());
    regkern::project_box<T>(from.extents(), from.in<T>(), to.out<T>(), low.in<T>(), high.in<T>());
  });
  return to.object();
}

py::object project_nonneg(py::handle x, py::handle out) {
  constexpr const char* f = "project_nonneg";
  const Array from = input({f, "x"}, x, Accept::kHalf);
  return elementwise(f, from, out, [](auto shape, auto in, auto to, auto type) {
    regkern::prox_l1<decltype(type)>(shape, in, to, 0, true);
  });
}

py::object project_linf_ball(py::handle x, py::handle radius, py::handle out) {
  constexpr const char* f = "project_linf_ball";
  const Array from = input({f, "x"}, x, Accept::kHalf);
  const double r = nonnegative({f, "radius"}, radius);
  return elementwise(f, from, out, [=](auto shape, auto in, auto to, auto type) {
    using T = decltype(type);
    const T high = static_cast<T>(r) + T(0), low = T(0) - high;  // +0.0 for a radius of 0
    regkern::project_box<T>(shape, in, to, low, high);
  });
}

double l1_norm(py::handle x) {
  const Array a = input({"l1_norm", "x"}, x, Accept::kHalf);
  double total = 0;
  visit(a.dtype(), [&](auto type) {
    using T = decltype(type);
    const Unlocked unlocked(a.size());
    total = regkern::l1_norm<T>(a.extents(), a.in<T>());
  });
  return total;
}

double squared_l2_norm(py::handle x) {
  const Array a = input({"squared_l2_norm", "x"}, x, Accept::kHalf);
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
  m.def("prox_l0", &prox_l0);
  m.def("prox_l_half", &prox_l_half);
  m.def("prox_mcp", &prox_mcp);
  m.def("prox_scad", &prox_scad);
  m.def("prox_log_sum", &prox_log_sum);
  m.def("prox_huber", &prox_huber);
  m.def("project_box", &project_box);
  m.def("project_nonneg", &project_nonneg);
  m.def("project_linf_ball", &project_linf_ball);
  m.def("l1_norm", &l1_norm);
  m.def("squared_l2_norm", &squared_l2_norm);
}

}  // namespace regkern::bindings
