// Binds proximal operators and projections of rows and of groups.

#include "regkern/rows.h"

#include <cstdint>
#include <limits>
#include <numeric>
#include <string>
#include <string_view>
#include <type_traits>
#include <vector>

#include "arrays.h"
#include "module.h"
#include "regkern/groups.h"
#include "regkern/prox.h"

namespace regkern::bindings {
namespace {

// x and y with one axis moved behind the others, so that its vectors are neighbours in C order; without an
// axis all of x is one row.
class Rows {
 public:
  Rows(Arg arg, py::handle axis, const Array& x, const Array& y) : x_(x), y_(y), length_(x.size()) {
    if (axis.is_none()) return;
    const int ndim = x.ndim();
    auto at = integer(arg, axis);
    if (at < -ndim || at >= ndim) {
      value_error(arg,
                  std::string("be None or an axis of ") + said(arg.function, "x") + " with shape " +
                      shape_text(ndim, x.shape()),
                  text(axis));
    }
    if (at < 0) at += ndim;
    length_ = static_cast<std::size_t>(x.dim(static_cast<int>(at)));
    for (int i = 0; i < ndim; ++i) {
      if (i != at) push(i);
    }
    push(static_cast<int>(at));
    last_ = at == ndim - 1;
  }

  std::size_t length() const { return length_; }
  std::size_t rows() const {  // right for empty rows, too
    if (dims_.empty()) return 1;
    return std::accumulate(dims_.begin(), dims_.end() - 1, std::size_t{1},
                           [](std::size_t n, std::ptrdiff_t d) { return n * static_cast<std::size_t>(d); });
  }
  Extents extents() const {
    return dims_.empty() ? x_.extents() : Extents(static_cast<int>(dims_.size()), dims_.data());
  }
  template <class T>
  In<T> in() const {
    return last_ ? x_.in<T>() : In<T>{x_.data<T>(), x_strides_.data()};
  }
  template <class T>
  Out<T> out() const {
    return last_ ? y_.out<T>() : Out<T>{y_.data<T>(), y_strides_.data()};
  }

 private:
  void push(int i) {
    dims_.push_back(x_.dim(i));
    x_strides_.push_back(x_.strides()[i]);
    y_strides_.push_back(y_.strides()[i]);
  }

  const Array &x_, &y_;
  std::size_t length_;
  bool last_ = true;
  std::vector<std::ptrdiff_t> dims_, x_strides_, y_strides_;
};

// The operators of rows and one number.
py::object row_prox(const std::string& function, py::handle x, py::handle number, py::handle axis,
                    py::handle out) {
  const char* const f = function.c_str();
  const Array from = input({f, "x"}, x);
  const double parameter = nonnegative({f, function.starts_with("project") ? "radius" : "threshold"}, number);
  const Array to = out_or_new({f, "out"}, out, "x", from);
  const Rows rows({f, "axis"}, axis, from, to);
  visit(from.dtype(), [&](auto type) {
    using T = decltype(type);
    const In<T> in = rows.in<T>();
    const Out<T> result = rows.out<T>();
    const Extents shape = rows.extents();
    const std::size_t n = rows.length();
    const bool whole = axis.is_none();
    const Unlocked unlocked(from.size());
    if (function == "prox_l2") {
      whole ? prox_l2<T>(shape, in, result, parameter)
            : prox_groups<T>(shape, n, in, result, parameter, T(0), nullptr);
    } else if (function == "project_l2_ball") {
      whole ? project_l2_ball<T>(shape, in, result, parameter)
            : project_l2_balls<T>(shape, n, in, result, parameter);
    } else if (function == "prox_nuclear") {  // checked and copied; the singular values are Python's
      constexpr T kInf = std::numeric_limits<T>::infinity();
      project_box<T>(shape, in, result, -kInf, kInf);
    } else {
      const RowProx what = function == "prox_linf"         ? RowProx::kLinf
                           : function == "project_l1_ball" ? RowProx::kL1Ball
                           : function == "project_simplex" ? RowProx::kSimplex
                                                           : RowProx::kTv1d;
      regkern::row_prox<T>(what, shape, n, in, result, parameter);
    }
  });
  return to.object();
}

py::object prox_sorted_l1(py::handle x, py::handle threshold, py::handle weights, py::handle axis,
                          py::handle out) {
  constexpr const char* f = "prox_sorted_l1";
  const Array from = input({f, "x"}, x);
  const double t = nonnegative({f, "threshold"}, threshold);
  const Array given = input({f, "weights"}, weights);
  require_dtype({f, "weights"}, given, from.dtype());
  const Array to = out_or_new({f, "out"}, out, "x", from);
  require_disjoint({f, "out"}, to, "weights", given);
  const Rows rows({f, "axis"}, axis, from, to);
  require_vector({f, "weights"}, given, rows.length());
  if (rows.length() > UINT32_MAX) {
    value_error({f, "x"}, "have rows of less than 2**32 elements", std::to_string(rows.length()));
  }
  const Array w = dense_vector(given);
  visit(from.dtype(), [&](auto type) {
    using T = decltype(type);
    const T* const weight = w.data<T>();
    for (std::size_t i = 0; i < rows.length(); ++i) {
      const T next = i + 1 < rows.length() ? weight[i + 1] : T(0);
      if (!(weight[i] >= next)) {
        value_error({f, "weights"}, "be >= 0 and not increase",
                    text(py::float_(weight[i])) + " before " + text(py::float_(next)));
      }
    }
    const Unlocked unlocked(from.size());
    regkern::prox_sorted_l1<T>(rows.extents(), rows.length(), rows.in<T>(), rows.out<T>(), t, weight);
  });
  return to.object();
}

using Indices = py::array_t<std::int64_t, py::array::c_style | py::array::forcecast |
                                              py::detail::npy_api::NPY_ARRAY_ALIGNED_>;

Indices index_vector(Arg arg, py::handle value) {
  if (is_masked(value)) type_error(arg, "be a vector of ints without a mask", value);
  const auto array = py::array::ensure(value);
  const char kind = array ? array.dtype().kind() : 'O';
  if (!array || array.ndim() != 1 || ((kind != 'i' && kind != 'u') && array.size() != 0)) {
    type_error(arg, "be a vector of ints", value);
  }
  return Indices::ensure(array);
}

// Group g is indices[starts[g] … starts[g + 1] − 1], or this range of positions; each in [0, size), none
// twice.
void require_groups(const char* f, const Indices& starts, const Indices* indices, std::size_t size) {
  const std::int64_t* const s = starts.data();
  const std::int64_t limit = indices == nullptr ? static_cast<std::int64_t>(size) : indices->size();
  if (starts.size() == 0 || s[0] < 0) value_error({f, "indptr"}, "start with an int >= 0", text(starts));
  for (py::ssize_t g = 1; g < starts.size(); ++g) {
    if (s[g] < s[g - 1]) {
      value_error({f, "indptr"}, "not decrease",
                  std::to_string(s[g - 1]) + " before " + std::to_string(s[g]));
    }
  }
  if (s[starts.size() - 1] > limit) {
    value_error({f, "indptr"}, "end at most at " + std::to_string(limit),
                std::to_string(s[starts.size() - 1]));
  }
  if (indices == nullptr) return;
  std::vector<bool> seen(size);
  for (py::ssize_t i = 0; i < indices->size(); ++i) {
    const std::int64_t at = indices->data()[i];
    if (at < 0 || at >= static_cast<std::int64_t>(size)) {
      value_error({f, "indices"}, "be in [0, " + std::to_string(size) + ")", std::to_string(at));
    }
    if (seen[static_cast<std::size_t>(at)]) {
      value_error({f, "indices"}, "name every element once at most", std::to_string(at) + " twice");
    }
    seen[static_cast<std::size_t>(at)] = true;
  }
}

template <class T>
void require_nonnegative(Arg arg, const T* weights, std::size_t n) {
  std::conditional_t<sizeof(T) == 4, std::uint32_t, std::uint64_t> wrong = 0;  // of T's size, for vectors
  for (std::size_t i = 0; i < n; ++i) wrong |= weights[i] >= 0 ? 0 : 1;
  for (std::size_t i = 0; wrong != 0 && i < n; ++i) {
    if (!(weights[i] >= 0)) value_error(arg, "be >= 0", text(py::float_(static_cast<double>(weights[i]))));
  }
}

struct GroupArguments {
  py::handle function, x, threshold, group_threshold, group_size, axis, indptr, indices, weights, out;
};

py::object group_prox(const GroupArguments& a) {
  const char* const f = PyUnicode_AsUTF8(a.function.ptr());
  const Array from = input({f, "x"}, a.x);
  const bool sparse = std::string_view(f) == "prox_sparse_group";
  const double first = nonnegative({f, "threshold"}, a.threshold);
  const double t = sparse ? nonnegative({f, "group_threshold"}, a.group_threshold) : first;
  const double soft = sparse ? first : 0;
  if (!a.group_size.is_none() + !a.axis.is_none() + !a.indptr.is_none() != 1) {
    value_error({f, "groups"}, "be given by one of group_size, axis, indptr",
                "group_size=" + text(a.group_size) + ", axis=" + text(a.axis) + ", indptr=" + text(a.indptr));
  }
  if (!a.indices.is_none() && a.indptr.is_none())
    value_error({f, "indices"}, "go with indptr", text(a.indices));
  const Array to = out_or_new({f, "out"}, a.out, "x", from);
  const Rows rows({f, "axis"}, a.axis, from, to);
  std::size_t length = rows.length(), groups = rows.rows();
  Indices starts, members;
  if (!a.group_size.is_none()) {
    const std::int64_t size = integer({f, "group_size"}, a.group_size);
    if (size <= 0 || from.size() % static_cast<std::size_t>(size) != 0) {
      value_error({f, "group_size"},
                  std::string("be > 0 and divide ") + said(f, "x") + "'s size " + std::to_string(from.size()),
                  std::to_string(size));
    }
    length = static_cast<std::size_t>(size);
    groups = from.size() / length;
  } else if (!a.indptr.is_none()) {
    starts = index_vector({f, "indptr"}, a.indptr);
    if (!a.indices.is_none()) members = index_vector({f, "indices"}, a.indices);
  }
  const Array given = a.weights.is_none() ? Array() : input({f, "weights"}, a.weights);
  if (!a.indptr.is_none()) {  // behind all that can change them
    require_groups(f, starts, a.indices.is_none() ? nullptr : &members, from.size());
    groups = static_cast<std::size_t>(starts.size() - 1);
  }
  if (given) {
    require_dtype({f, "weights"}, given, from.dtype());
    require_vector({f, "weights"}, given, groups);
    require_disjoint({f, "out"}, to, "weights", given);
  }
  const Array w = dense_vector(given);
  const std::int64_t* const begin = a.indptr.is_none() ? nullptr : starts.data();
  const std::int64_t* const member = a.indices.is_none() ? nullptr : members.data();
  visit(from.dtype(), [&](auto type) {
    using T = decltype(type);
    const T* const weight = w ? w.data<T>() : nullptr;
    if (weight != nullptr) require_nonnegative({f, "weights"}, weight, groups);
    const auto s = static_cast<T>(soft);
    const Unlocked unlocked(from.size());
    if (begin != nullptr) {
      prox_ragged_groups<T>(from.extents(), from.in<T>(), to.out<T>(), t, s, weight, {groups, begin, member});
    } else {
      prox_groups<T>(rows.extents(), length, rows.in<T>(), rows.out<T>(), t, s, weight);
    }
  });
  return to.object();
}

}  // namespace

void register_rows(py::module_& m) {
  m.def("row_prox", &row_prox);
  define(m, "group_prox", &group_prox);
  m.def("prox_sorted_l1", &prox_sorted_l1);
}

}  // namespace regkern::bindings
