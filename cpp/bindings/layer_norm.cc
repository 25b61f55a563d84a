// Binds layer, RMS, group and instance norm, which are one norm of rows to C++.

#include "regkern/layer_norm.h"

#include <pybind11/stl.h>

#include <algorithm>
#include <cmath>
#include <limits>
#include <memory>
#include <string>
#include <string_view>
#include <vector>

#include "arrays.h"
#include "module.h"
#include "order.h"
#include "tensors.h"

namespace regkern::bindings {
namespace {

// Numbers of some neighbouring axes of x, one for each of their positions, when these axes are in the order
// of x's memory: there and back.
class Renumbered {
 public:
  Renumbered() = default;
  Renumbered(const Array& x, const AxisOrder& order, int begin, int end) {
    for (int i = begin; !order.unchanged() && i < end; ++i) {
      there_.push_back(order.axes()[static_cast<std::size_t>(i)] - begin);
      back_.push_back(order.place(i) - begin);
      dims_.push_back(x.dim(i));
      ordered_.push_back(x.dim(there_.back() + begin));
    }
    if (std::is_sorted(there_.begin(), there_.end())) there_.clear();
  }
  // Dense, and as the kernels read it.
  Array there(const Array& numbers) const {
    return there_.empty() || !numbers ? dense_vector(numbers) : dense_vector(moved(numbers, dims_, there_));
  }
  bool unchanged() const { return there_.empty(); }
  Array back(const Array& numbers) const {
    return there_.empty() ? numbers : moved(numbers, ordered_, back_);
  }

 private:
  static Array moved(const Array& numbers, const std::vector<std::ptrdiff_t>& dims,
                     const std::vector<int>& axes) {
    numbers.data<char>();  // as it was checked
    const py::object array = is_ndarray(numbers.object()) ? numbers.object() : as_ndarray(numbers);
    const py::object shaped = array.attr("reshape")(dims);
    return input({"regkern", "numbers"}, shaped.attr("transpose")(axes).attr("ravel")(), Accept::kHalf);
  }
  std::vector<int> there_, back_;
  std::vector<std::ptrdiff_t> dims_, ordered_;
};

// How an array is seen as rows, its axes in the order of its memory where that leaves rows as they are: layer
// norm takes the axes from one on as a row; group norm takes some channels and all other axes but the first
// as a row, with the channel axis left in the last place or moved to the second.
class AxesAsRows {
 public:
  AxesAsRows(const Array& x, int axis, std::int64_t groups)
      : ndim_(x.ndim()), order_(AxisOrder::of_memory(x).keeping(groups == 0 ? axis : 1)) {
    std::size_t length = 1, inner = 1, affine = 1;
    if (groups == 0) {
      by_row_ = Renumbered(x, order_, 0, axis);
      by_place_ = Renumbered(x, order_, axis, ndim_);
      for (int i = axis; i < ndim_; ++i) length *= static_cast<std::size_t>(x.dim(i));
      affine = length;
    } else {
      const int place = order_.place(axis);
      last_ = place != 1 && place == ndim_ - 1;
      if (place != 1 && !last_) order_ = order_.moved(x, place, 1);
      affine = static_cast<std::size_t>(x.dim(axis));
      for (int i = 1; i < ndim_; ++i) inner *= i == axis ? 1 : static_cast<std::size_t>(x.dim(i));
      length = affine / static_cast<std::size_t>(groups) * inner;
    }
    dims_ = order_.of(x, x.shape());
    // Empty rows have no statistics; their number is that of the other axes all the same.
    rows_ = groups == 0 ? 1 : static_cast<std::size_t>(x.dim(0)) * static_cast<std::size_t>(groups);
    for (int i = 0; groups == 0 && i < axis; ++i) rows_ *= static_cast<std::size_t>(x.dim(i));
    length_ = length, inner_ = inner, affine_ = affine;
  }

  std::size_t rows() const { return rows_; }
  std::size_t channels() const { return affine_; }
  RowShape shape() const {
    return {Extents(ndim_, dims_.data()), length_, std::max<std::size_t>(inner_, 1), affine_, last_};
  }
  Ordered operator()(const Array& operand) const { return Ordered(operand, order_); }
  // Numbers of each row, and parameters of each place in a row.
  const Renumbered& by_row() const { return by_row_; }
  const Renumbered& by_place() const { return by_place_; }

 private:
  int ndim_;
  AxisOrder order_;
  Renumbered by_row_, by_place_;
  std::vector<std::ptrdiff_t> dims_;
  std::size_t rows_ = 1, length_ = 1, inner_ = 1, affine_ = 1;
  bool last_ = false;
};

constexpr std::int64_t kOneEach = -1;  // what instance_norm says for as many groups as channels

// The axis, and how many groups the channels make: 0 for layer norm.
std::pair<int, std::int64_t> layout(const char* f, const Array& x, py::handle axis, py::handle num_groups,
                                    const char* axis_name = "axis", const char* groups_name = "num_groups") {
  if (num_groups.is_none() && std::string_view(f) != "group_norm") {
    if (x.ndim() == 0) value_error({f, "x"}, "have rank >= 1", "a number");
    return {axis_of({f, axis_name}, axis, x), 0};
  }
  if (x.ndim() < 2) value_error({f, "x"}, "have rank >= 2", "shape " + shape_text(x.ndim(), x.shape()));
  const int channel = axis_of({f, axis_name}, axis, x);
  if (channel == 0) value_error({f, axis_name}, "not be 0, the axis of the samples", text(axis));
  const std::int64_t channels = x.dim(channel);
  const std::int64_t groups = integer({f, groups_name}, num_groups);
  if (groups == kOneEach && std::string_view(f) == "instance_norm") {
    return {channel, std::max<std::int64_t>(channels, 1)};
  }
  if (groups < 1 || channels % groups != 0) {
    value_error({f, groups_name}, "be >= 1 and divide the " + std::to_string(channels) + " channels",
                std::to_string(groups));
  }
  return {channel, groups};
}

Array affine_parameter(const char* f, const char* name, py::handle value, const Array& x, int axis,
                       std::int64_t groups) {
  const Array a = beside({f, name}, value, x);
  if (!a) return a;
  require_shape({f, name}, a, groups == 0 ? x.ndim() - axis : 1, x.shape() + axis);
  return a;
}

// The backward of one norm takes no cache of another; of a group norm with a channel a group, instance norm's
// does.
void require_cache_of(const char* backward, bool centred, std::int64_t groups, std::size_t channels) {
  const std::string_view f(backward), norm = f.substr(0, f.rfind("_backward"));
  const std::string_view made = !centred ? "rms_norm" : groups == 0 ? "layer_norm" : "group_norm";
  const bool one_each = groups == static_cast<std::int64_t>(std::max<std::size_t>(channels, 1));
  if (norm == made || (norm == "instance_norm" && made == "group_norm" && one_each)) return;
  value_error({backward, "cache"}, "be that of " + std::string(norm), "one of " + std::string(made));
}

// What becomes of x and a residual: dense, in x's order where x is dense in one, else in C order, so that the
// backward works on it as the forward did on x.
Array new_sum(Arg arg, const Array& x) {
  const Array sum = new_like(arg, x);
  if (sum.dense() || !AxisOrder::of_memory(x).unchanged()) return sum;
  const std::vector<std::ptrdiff_t> lengths(x.shape(), x.shape() + x.ndim());
  return input(arg, sum.object().attr("ravel")("K").attr("reshape")(lengths), Accept::kHalf);
}

struct ForwardArguments {
  py::handle function, x, gamma, beta, axis, num_groups, eps, residual, centred, out;
};

// Returns y, what was normalized (None where it was overwritten), gamma, mean, invstd, the axis and the
// groups.
py::tuple row_norm(const ForwardArguments& a) {
  const char* f = PyUnicode_AsUTF8(a.function.ptr());
  const Array from = input({f, "x"}, a.x, Accept::kHalf);
  const auto [first_axis, groups] = layout(f, from, a.axis, a.num_groups);
  const Array scale = affine_parameter(f, "gamma", a.gamma, from, first_axis, groups);
  const Array shift = affine_parameter(f, "beta", a.beta, from, first_axis, groups);
  const double machine = from.dtype() == Dtype::kFloat64 ? std::numeric_limits<double>::epsilon()
                                                         : std::numeric_limits<float>::epsilon();
  const bool centred = flag({f, "centred"}, a.centred);
  const double epsilon = a.eps.is_none() && !centred ? machine : finite_nonnegative({f, "eps"}, a.eps);
  const Array added = beside({f, "residual"}, a.residual, from);
  if (added) require_same_shape({f, "residual"}, added, from);
  const Array to = out_or_new({f, "out"}, a.out, "x", from, order_in_library(f));
  for (const auto& [name, other] : {std::pair{"gamma", &scale}, {"beta", &shift}, {"residual", &added}}) {
    require_disjoint({f, "out"}, to, name, *other);
  }
  const Array sum = added ? new_sum({f, "residual"}, from) : Array();
  const AxesAsRows rows(from, first_axis, groups);
  const Array mean = new_vector(Dtype::kFloat64, rows.rows()),
              invstd = new_vector(Dtype::kFloat64, rows.rows());
  const Array dense_scale = rows.by_place().there(scale), dense_shift = rows.by_place().there(shift);
  const Ordered x = rows(from), residual = rows(added), h = rows(sum), y = rows(to);
  std::fill_n(mean.data<double>(), rows.rows(), 0.0);
  std::fill_n(invstd.data<double>(), rows.rows(), 1 / std::sqrt(epsilon));
  visit(from.dtype(), [&](auto type) {
    using T = decltype(type);
    const Unlocked unlocked(from.size());
    regkern::row_norm<T>(rows.shape(), {.centred = centred,
                                        .x = x.in<T>(),
                                        .residual = residual.in<T>(),
                                        .h = h.out<T>(),
                                        .y = y.out<T>(),
                                        .gamma = pointer<T>(dense_scale),
                                        .beta = pointer<T>(dense_shift),
                                        .eps = epsilon,
                                        .mean = mean.data<double>(),
                                        .invstd = invstd.data<double>()});
  });
  const bool overwritten = from.size() != 0 && to.address() == from.address();
  const py::object none = py::none();
  return py::make_tuple(to.object(),
                        sum           ? sum.object()
                        : overwritten ? none
                                      : from.object(),
                        scale ? scale.object() : none, rows.by_row().back(mean).object(),
                        rows.by_row().back(invstd).object(), first_axis,
                        groups == 0 ? none : py::object(py::int_(groups)));
}

struct BackwardArguments {
  py::handle function, dy, x, gamma, mean, invstd, axis, num_groups, centred, out;
};

// A call of row_norm_backward: a cache and a gradient, checked, and what it makes of them.
class RowBackward {
 public:
  explicit RowBackward(const BackwardArguments& a)
      : f(PyUnicode_AsUTF8(a.function.ptr())),
        x_(input({f, "cache.x"}, a.x, Accept::kHalf)),
        dy_(gradient_of(a.dy)),
        layout_(layout(f, x_, a.axis, a.num_groups, "cache.axis", "cache.groups")),
        centred_(flag({f, "cache.centred"}, a.centred)),
        gamma_(affine_parameter(f, "cache.gamma", a.gamma, x_, layout_.first, layout_.second)),
        rows_(x_, layout_.first, layout_.second) {
    require_cache_of(f, centred_, layout_.second, rows_.channels());
    mean_ = input({f, "cache.mean"}, a.mean), invstd_ = input({f, "cache.invstd"}, a.invstd);
    for (const auto& [name, vector] : {std::pair{"cache.mean", &mean_}, {"cache.invstd", &invstd_}}) {
      require_float64({f, name}, *vector);
      require_vector({f, name}, *vector, rows_.rows());
    }
    mean_ = rows_.by_row().there(mean_);
    invstd_ = rows_.by_row().there(invstd_);
    dx_ = out_or_new({f, "out"}, a.out, "dy", dy_);
    require_disjoint({f, "out"}, dx_, "cache.x", x_);
    require_disjoint({f, "out"}, dx_, "cache.gamma", gamma_);
    dense_gamma_ = rows_.by_place().there(gamma_);
  }

  py::tuple run() {
    const Array& like = gamma_ ? gamma_ : x_;
    const Array dgamma = new_vector_like(like, rows_.channels());
    const Array dbeta = new_vector_like(like, rows_.channels());
    run(dgamma, dbeta);
    return py::make_tuple(dx_.object(), rows_.by_place().back(dgamma).object(),
                          rows_.by_place().back(dbeta).object());
  }
  // The same into parameters that are given, or not.
  void run_into(const Array& dgamma, const Array& dbeta) {
    if (rows_.by_place().unchanged()) return run(dgamma, dbeta);
    const auto wide = [&](const Array& a) {
      const bool is_double = x_.dtype() == Dtype::kFloat64;
      return a ? new_vector(is_double ? Dtype::kFloat64 : Dtype::kFloat32, rows_.channels()) : Array();
    };
    const Array g = wide(dgamma), b = wide(dbeta);
    run(g, b);
    for (const auto& [made, to] : {std::pair{&g, &dgamma}, {&b, &dbeta}}) {
      if (!*to) continue;
      const Array ordered = dense_vector(rows_.by_place().back(*made));
      visit(x_.dtype(), [&](auto type) {
        using T = decltype(type);
        regkern::write(to->extents(), ordered.data<T>(), to->out<T>());
      });
    }
  }

 private:
  Array gradient_of(py::handle dy) const {
    const Array gradient = input({f, "dy"}, dy, Accept::kHalf);
    require_dtype({f, "dy"}, gradient, x_.dtype());
    require_same_shape({f, "dy"}, gradient, x_);
    return gradient;
  }
  // In the order in which places are walked.
  void run(const Array& dgamma, const Array& dbeta) {
    const Ordered dy = rows_(dy_), x = rows_(x_), dx = rows_(dx_);
    visit(x_.dtype(), [&](auto type) {
      using T = decltype(type);
      const auto sums = std::make_unique_for_overwrite<double[]>(2 * rows_.channels());
      double *const dg = sums.get(), *const db = dg + rows_.channels();
      const Unlocked unlocked(x_.size());
      regkern::row_norm_backward<T>(rows_.shape(), {.centred = centred_,
                                                    .dy = dy.in<T>(),
                                                    .x = x.in<T>(),
                                                    .dx = dx.out<T>(),
                                                    .gamma = pointer<T>(dense_gamma_),
                                                    .mean = mean_.data<double>(),
                                                    .invstd = invstd_.data<double>(),
                                                    .dgamma = dg,
                                                    .dbeta = db});
      if (dgamma) round_to<T>(dgamma, dg);
      if (dbeta) round_to<T>(dbeta, db);
    });
  }

  const char* f;
  Array x_, dy_;
  std::pair<int, std::int64_t> layout_;
  bool centred_;
  Array gamma_;
  AxesAsRows rows_;
  Array mean_, invstd_, dx_, dense_gamma_;
};

py::tuple row_norm_backward(const BackwardArguments& a) { return RowBackward(a).run(); }

// --- of tensors --------------------------------------------------------------------------------------------

// What a function of autograd takes beside the tensors that it follows: (function, axis, or lengths of the
// last ones, groups, eps).
struct Numbers {
  explicit Numbers(py::handle numbers) {
    if (!PyTuple_Check(numbers.ptr()) || PyTuple_GET_SIZE(numbers.ptr()) != 4) {
      type_error({"row_norm", "numbers"}, "be a tuple of 4", numbers);
    }
    py::handle* const fields[] = {&function, &axis, &groups, &eps};
    for (Py_ssize_t i = 0; i < 4; ++i) *fields[i] = PyTuple_GET_ITEM(numbers.ptr(), i);
    name = PyUnicode_AsUTF8(function.ptr());
    if (name == nullptr) throw py::error_already_set();
  }
  py::object centred() const { return py::bool_(std::string_view(name) != "rms_norm"); }
  py::handle function, axis, groups, eps;
  const char* name;
};

// The first of the last axes of a tensor, which have to be of these lengths.
int first_axis(const char* f, py::handle tensor, py::handle lengths) {
  const Array x = input({f, "x"}, tensor, Accept::kHalf);
  const auto wanted = py::reinterpret_borrow<py::tuple>(lengths);
  if (wanted.empty()) value_error({f, "normalized_shape"}, "have one length at least", "()");
  const int first = x.ndim() - static_cast<int>(wanted.size());
  bool fits = first >= 0;
  for (int i = first; fits && i < x.ndim(); ++i) {
    fits = integer({f, "normalized_shape"}, wanted[static_cast<std::size_t>(i - first)]) == x.dim(i);
  }
  if (fits) return first;
  value_error({f, "x"}, "end in the axes " + text(lengths) + " of normalized_shape",
              "shape " + shape_text(x.ndim(), x.shape()));
}

// (context or None, x, weight, bias, numbers) → y. The context gets what the backward needs.
PyObject* row_norm_forward(PyObject* const* a, Py_ssize_t n) {
  require_count("row_norm", n, 5);
  const py::handle context = a[0], x = a[1], weight = a[2], bias = a[3];
  const Numbers numbers(a[4]);
  const TensorScope scope;
  const py::object none = py::none(), centred = numbers.centred();
  py::object axis = py::reinterpret_borrow<py::object>(numbers.axis);
  if (PyTuple_Check(axis.ptr())) axis = py::int_(first_axis(numbers.name, x, axis));
  const py::tuple made =
      row_norm({numbers.function, x, weight, bias, axis, numbers.groups, numbers.eps, none, centred, none});
  if (!context.is_none()) {
    keep(context, x, weight,
         py::make_tuple(std::string(numbers.name).append("_backward"), made[3], made[4], made[5], made[6],
                        centred, bias));
  }
  return py::object(made[0]).release().ptr();
}

// (context, dy) → the gradients of x, weight and bias, and None.
PyObject* row_norm_backward_of(PyObject* const* a, Py_ssize_t n) {
  require_count("row_norm", n, 2);
  const py::handle dy = a[1];
  const KeptByContext context(a[0]);
  const py::tuple& kept = context.rest;
  const py::object &x = context.x, &weight = context.weight, bias = kept[6], none = py::none();
  const TensorScope scope;
  const TensorLibrary& library = scope.library();
  const std::string function = function_in_library(PyUnicode_AsUTF8(py::object(kept[0]).ptr()));
  library.require(function.c_str(), {{"the gradient", dy}});
  const py::object dx = library.room(a[0], dy, x);
  const auto of = [&](std::size_t i, const py::object& parameter) {
    return context.wants(i) ? output({function.c_str(), "weight"}, library.like(parameter), Accept::kHalf)
                            : Array();
  };
  const Array dweight = of(1, weight), dbias = of(2, bias);
  RowBackward backward({kept[0], dy, x, weight, kept[1], kept[2], kept[3], kept[4], kept[5], dx});
  backward.run_into(dweight, dbias);
  const auto object = [&](const Array& made) { return made ? made.object() : none; };
  return py::make_tuple(dx, object(dweight), object(dbias), none).release().ptr();
}

// (apply, x, weight, bias, numbers) → y.
PyObject* row_norm_of(PyObject* const* a, Py_ssize_t n) {
  require_count("row_norm", n, 5);
  const py::handle x = a[1], weight = a[2], bias = a[3];
  const TensorLibrary& library = TensorLibrary::get();
  library.require(Numbers(a[4]).name, {{"input", x}, {"weight", weight}, {"bias", bias}});
  if (library.records({x, weight, bias})) return called(a[0], {a[1], a[2], a[3], a[4]}).release().ptr();
  PyObject* const arguments[] = {Py_None, a[1], a[2], a[3], a[4]};
  return row_norm_forward(arguments, 5);
}

}  // namespace

void register_rows_of_tensors(py::module_& m) {
  define_fast<&row_norm_of>(m, "row_norm");
  define_fast<&row_norm_forward>(m, "row_norm_forward");
  define_fast<&row_norm_backward_of>(m, "row_norm_backward");
  define_fast_method<&apply_node<&row_norm_backward_of>>(m, "row_norm_node");
}

void register_layer_norm(py::module_& m) {
  define(m, "row_norm", &row_norm);
  define(m, "row_norm_backward", &row_norm_backward);
}

}  // namespace regkern::bindings
