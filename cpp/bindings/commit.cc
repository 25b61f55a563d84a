// What belongs together, written in one call. A signal's handler runs between two operations of Python and
// may raise there; it cannot run in here. So states that are changed by commit() alone are the old or the
// new.

#include <algorithm>
#include <cstdint>
#include <cstring>

#include "arrays.h"
#include "module.h"

namespace regkern::bindings {
namespace {

constexpr const char* kFunction = "commit";

// A pair of what commit() is given lists of.
std::pair<py::handle, py::handle> both(py::handle pair) {
  if (!PyTuple_Check(pair.ptr()) || PyTuple_GET_SIZE(pair.ptr()) != 2) {
    type_error({kFunction, "arguments"}, "be lists of pairs", pair);
  }
  return {PyTuple_GET_ITEM(pair.ptr(), 0), PyTuple_GET_ITEM(pair.ptr(), 1)};
}

// Whether one can be copied over the other without an error: an array that can be written, and its like.
void require_like(py::handle to, py::handle from) {
  const auto& numpy = py::detail::npy_api::get();
  if (!numpy.PyArray_Check_(to.ptr())) type_error({kFunction, "array"}, "be an ndarray", to);
  if (!numpy.PyArray_Check_(from.ptr())) type_error({kFunction, "array"}, "be an ndarray", from);
  const Proxy *target = proxy(to), *source = proxy(from);
  if (target->descr != source->descr && !numpy.PyArray_EquivTypes_(target->descr, source->descr)) {
    type_error({kFunction, "array"}, "have the dtype of what it is copied to", from);
  }
  if (target->nd != source->nd ||
      !std::equal(target->dimensions, target->dimensions + target->nd, source->dimensions)) {
    value_error({kFunction, "array"}, "have the shape of what it is copied to",
                shape_text(source->nd, reinterpret_cast<const std::ptrdiff_t*>(source->dimensions)));
  }
  if ((target->flags & py::detail::npy_api::NPY_ARRAY_WRITEABLE_) == 0) {
    value_error({kFunction, "array"}, "be writable", "a read-only array");
  }
}

// As of NumPy, which takes longer to begin with, and alone counts the references in arrays of objects.
void copy(py::handle to, py::handle from) {
  constexpr int kDense =
      py::detail::npy_api::NPY_ARRAY_C_CONTIGUOUS_ | py::detail::npy_api::NPY_ARRAY_ALIGNED_;
  constexpr std::uint64_t kReferences = 1;  // NPY_ITEM_REFCOUNT
  const Proxy *target = proxy(to), *source = proxy(from);
  const auto dtype = py::reinterpret_borrow<py::dtype>(source->descr);
  if (target->descr == source->descr && (dtype.flags() & kReferences) == 0 &&
      (target->flags & source->flags & kDense) == kDense) {
    std::size_t bytes = static_cast<std::size_t>(dtype.itemsize());
    for (int i = 0; i < source->nd; ++i) bytes *= static_cast<std::size_t>(source->dimensions[i]);
    std::memmove(target->data, source->data, bytes);
  } else if (py::detail::npy_api::get().PyArray_CopyInto_(to.ptr(), from.ptr()) < 0) {
    throw py::error_already_set();
  }
}

// Copies arrays over others, appends to lists, updates dicts: (to, from), (list, item) and (dict, dict).
// Nothing has changed after an error.
void commit(const py::list& copies, const py::list& appends, const py::list& updates) {
  for (const py::handle pair : copies) {
    const auto [to, from] = both(pair);
    require_like(to, from);
  }
  for (const py::handle pair : appends) {
    if (!PyList_Check(both(pair).first.ptr())) type_error({kFunction, "appends"}, "go to lists", pair);
  }
  for (const py::handle pair : updates) {
    const auto [target, news] = both(pair);
    if (!PyDict_Check(target.ptr()) || !PyDict_Check(news.ptr())) {
      type_error({kFunction, "updates"}, "be of dicts", pair);
    }
  }
  for (const py::handle pair : copies) {
    const auto [to, from] = both(pair);
    copy(to, from);
  }
  for (const py::handle pair : appends) {
    const auto [target, item] = both(pair);
    if (PyList_Append(target.ptr(), item.ptr()) < 0) throw py::error_already_set();
  }
  for (const py::handle pair : updates) {
    const auto [target, news] = both(pair);
    if (PyDict_Update(target.ptr(), news.ptr()) < 0) throw py::error_already_set();
  }
}

}  // namespace

void register_commit(py::module_& m) { m.def("commit", &commit); }

}  // namespace regkern::bindings
