// Binds memory by its address: the entry of other frameworks, which have no ndarray to give.

#include "arrays.h"
#include "module.h"

namespace regkern::bindings {
namespace {

constexpr const char* kView = "View";

Dtype dtype_of_number(py::handle number) {
  const std::int64_t i = integer({kView, "dtype"}, number);
  if (i < 0 || i > static_cast<std::int64_t>(Dtype::kFloat16)) {
    value_error({kView, "dtype"}, "be float32, float64, bfloat16 or float16 of this module", text(number));
  }
  return static_cast<Dtype>(i);
}

// The ints of a tuple, behind what is in `layout`.
void append(Arg arg, py::handle ints, std::vector<std::ptrdiff_t>& layout) {
  if (!PyTuple_Check(ints.ptr())) type_error(arg, "be a tuple of ints", ints);
  const Py_ssize_t n = PyTuple_GET_SIZE(ints.ptr());
  for (Py_ssize_t i = 0; i < n; ++i) {
    PyObject* const entry = PyTuple_GET_ITEM(ints.ptr(), i);
    int overflow = 1;  // integer() says what is wrong
    const long long number = PyLong_CheckExact(entry) ? PyLong_AsLongLongAndOverflow(entry, &overflow) : 0;
    layout.push_back(overflow == 0 ? number : integer(arg, entry));
  }
}

struct ViewArguments {
  py::handle address, shape, strides, dtype, writable, owner;
};

View view_of(const ViewArguments& a) {
  View view{reinterpret_cast<char*>(unsigned64({kView, "address"}, a.address)),
            dtype_of_number(a.dtype),
            flag({kView, "writable"}, a.writable),
            {},
            py::reinterpret_borrow<py::object>(a.owner)};
  append({kView, "shape"}, a.shape, view.layout);
  const std::size_t ndim = view.layout.size();
  append({kView, "strides"}, a.strides, view.layout);
  if (ndim > kMaxDims) value_error({kView, "shape"}, "have at most 64 dimensions", std::to_string(ndim));
  if (view.layout.size() != 2 * ndim) {
    value_error({kView, "strides"}, "be as many as the dimensions, " + std::to_string(ndim), text(a.strides));
  }
  const auto item = static_cast<std::ptrdiff_t>(item_size(view.dtype));
  const auto elements = regkern::product(static_cast<int>(ndim), view.layout.data(), item_size(view.dtype));
  if (!elements) {
    value_error({kView, "shape"}, "have lengths >= 0 and less than 2**63 bytes", text(a.shape));
  }
  for (std::size_t i = ndim; i < 2 * ndim; ++i) {
    if (__builtin_mul_overflow(view.layout[i], item, &view.layout[i])) {
      value_error({kView, "strides"}, "fit 64 bits in bytes", text(a.strides));
    }
  }
  if (*elements != 0 && view.address == nullptr) value_error({kView, "address"}, "not be null", "0");
  return view;
}

}  // namespace

void register_raw(py::module_& m) {
  py::module_ raw = m.def_submodule("raw");
  py::class_<View>(raw, "View")
      .def(py::init(
          [](py::handle address, py::handle shape, py::handle strides, py::handle dtype, py::handle writable,
             py::handle owner) { return view_of({address, shape, strides, dtype, writable, owner}); }))
      .def_property_readonly("address",
                             [](const View& v) { return reinterpret_cast<std::uintptr_t>(v.address); })
      .def_property_readonly("dtype", [](const View& v) { return static_cast<int>(v.dtype); })
      .def_property_readonly("writable", [](const View& v) { return v.writable; })
      .def_property_readonly("shape",
                             [](const View& v) {
                               return py::tuple(py::cast(std::vector<std::ptrdiff_t>(
                                   v.layout.begin(), v.layout.begin() + v.ndim())));
                             })
      .def("__repr__", [](const View& v) {
        return "View(" + shape_text(v.ndim(), v.layout.data()) + ", " + name_of(v.dtype) + ")";
      });
  for (const Dtype dtype : {Dtype::kFloat32, Dtype::kFloat64, Dtype::kBfloat16, Dtype::kFloat16}) {
    raw.attr(name_of(dtype)) = static_cast<int>(dtype);
  }
}

}  // namespace regkern::bindings
