// Binds the entry of tensors: their library as it is set up, calls by tensors, and seeds.

#include "tensors.h"

#include <algorithm>
#include <array>
#include <iterator>
#include <string_view>
#include <utility>

#include "module.h"
#include "regkern/runtime.h"

namespace regkern::bindings {
namespace {

struct DLPackExchange {
  std::uint32_t major, minor;
  void* previous;
  void *allocate, *managed_from_object, *managed_to_object;
  int (*tensor_from_object)(void* object, DLTensor* out);  // borrows, and asks for no synchronization
  void* stream;
};
constexpr std::int32_t kCpu = 1;
constexpr std::uint8_t kFloat = 2, kBfloat = 4;

const TensorLibrary* known = nullptr;  // never destroyed: its objects would outlive the interpreter
thread_local const TensorLibrary* current_library = nullptr;

}  // namespace

py::object called(py::handle function, std::initializer_list<PyObject*> arguments) {
  auto result = py::reinterpret_steal<py::object>(
      PyObject_Vectorcall(function.ptr(), arguments.begin(), arguments.size(), nullptr));
  if (!result) throw py::error_already_set();
  return result;
}

void keep(py::handle context, py::handle x, py::handle weight, const py::tuple& rest) {
  static const py::handle save = interned("save_for_backward"), kept = interned("kept");
  PyObject* const arguments[] = {context.ptr(), x.ptr(), weight.ptr()};
  const auto none = py::reinterpret_steal<py::object>(
      PyObject_VectorcallMethod(save.ptr(), arguments, std::size(arguments), nullptr));
  if (!none) throw py::error_already_set();
  context.attr(kept) = rest;
}

KeptByContext::KeptByContext(py::handle context) {
  static const py::handle saved_tensors = interned("saved_tensors"), kept = interned("kept"),
                          needs_input_grad = interned("needs_input_grad");
  saved = context.attr(saved_tensors);
  needs = context.attr(needs_input_grad);
  rest = context.attr(kept);
  x = saved[0];
  weight = saved[1];
}

void require_count(const char* function, Py_ssize_t given, Py_ssize_t wanted) {
  if (given == wanted) return;
  throw py::type_error(std::string(function) + ": arguments must be " + std::to_string(wanted) + ", got " +
                       std::to_string(given));
}

std::optional<Dtype> dtype_of(const DLTensor& t) {
  if (t.lanes != 1) return {};
  if (t.code == kBfloat) return t.bits == 16 ? std::optional(Dtype::kBfloat16) : std::nullopt;
  if (t.code != kFloat) return {};
  if (t.bits == 16) return Dtype::kFloat16;
  if (t.bits == 32) return Dtype::kFloat32;
  return t.bits == 64 ? std::optional(Dtype::kFloat64) : std::nullopt;
}

// --- the exchange ------------------------------------------------------------------------------------------

Exchange::Exchange(py::tuple types, py::object capsule)
    : types_(std::move(types)), capsule_(std::move(capsule)), is_neg_(types_[0].attr("is_neg")) {
  for (const py::handle type : types_) plain_.push_back(reinterpret_cast<PyTypeObject*>(type.ptr()));
  base_ = reinterpret_cast<PyTypeObject*>(types_[0].ptr());
  if (capsule_.is_none()) return;
  const auto* given =
      static_cast<const DLPackExchange*>(PyCapsule_GetPointer(capsule_.ptr(), "dlpack_exchange_api"));
  if (given == nullptr) throw py::error_already_set();
  if (given->major == 1) ask_ = given->tensor_from_object;
}

bool Exchange::ask(py::handle tensor, DLTensor& out) const {
  if (ask_ == nullptr || !is_plain(tensor)) return false;
  if (ask_(tensor.ptr(), &out) != 0) {
    PyErr_Clear();  // whoever looks closer says what is wrong
    return false;
  }
  return out.device_type == kCpu;
}

bool Exchange::is_negated(py::handle tensor) const {
  return called(is_neg_, {tensor.ptr()}).ptr() == Py_True;
}

static std::size_t bytes_of(const DLTensor& t) {
  std::size_t bytes = t.bits / 8;
  for (std::int32_t i = 0; i < t.ndim; ++i) bytes *= static_cast<std::size_t>(t.shape[i]);
  return bytes;
}

// Whether two tensors of one shape and dtype lie in the same order, without gaps.
static bool lies_like(const DLTensor& a, const DLTensor& b) {
  if (a.ndim != b.ndim || a.code != b.code || a.bits != b.bits) return false;
  if (a.strides == nullptr || b.strides == nullptr) return false;
  if (!std::equal(a.shape, a.shape + a.ndim, b.shape)) return false;
  std::vector<std::pair<std::int64_t, std::int64_t>> axes;  // step and length, of those that have a step
  for (std::int32_t i = 0; i < a.ndim; ++i) {
    if (a.shape[i] == 1) continue;
    if (a.strides[i] != b.strides[i]) return false;
    axes.emplace_back(a.strides[i], a.shape[i]);
  }
  std::sort(axes.begin(), axes.end());
  std::int64_t step = 1;
  return std::all_of(axes.begin(), axes.end(), [&](const auto& axis) {
    const bool fits = axis.first == step;
    step *= axis.second;
    return fits;
  });
}

// Whether the steps of images or volumes grow from the channels over the places to the samples. Steps that
// are alike are judged as torch judges them.
static bool has_channels_last(const Array& a) {
  const int ndim = a.ndim();
  if ((ndim != 4 && ndim != 5) || a.strides()[1] == 0) return false;
  std::ptrdiff_t least = 0;
  for (int i = 0; i < ndim; ++i) {
    const int axis = i == 0 ? 1 : i == ndim - 1 ? 0 : ndim - i;
    const std::ptrdiff_t step = a.strides()[axis];
    const bool ambiguous = axis == 0 && least == a.strides()[1];
    if (a.dim(axis) == 0 || step < least || ambiguous) return false;
    least = step * a.dim(axis);
  }
  return true;
}

// --- the library -------------------------------------------------------------------------------------------

const TensorLibrary* TensorLibrary::current() { return current_library; }

const TensorLibrary& TensorLibrary::get() {
  if (known == nullptr) throw py::value_error("tensors: set_up must come first");
  return *known;
}

void TensorLibrary::require(const char* function,
                            std::initializer_list<std::pair<const char*, py::handle>> tensors) const {
  const bool plain = all_are_plain();
  const py::handle first = tensors.begin()->second;
  for (const auto& [name, tensor] : tensors) {
    const bool missing = tensor.is_none() && !tensor.is(first);
    if (!missing && !(plain && exchange.is_plain(tensor))) check(function, name, tensor);
  }
}

bool TensorLibrary::all_are_plain() const {
  static const py::handle level = interned("_current_level");
  if (called(inside_transforms).ptr() != Py_False || called(is_tracing).ptr() != Py_False) return false;
  PyObject* const current = PyDict_GetItemWithError(forward_ad.ptr(), level.ptr());
  return current != nullptr && PyLong_Check(current) && PyLong_AsLong(current) < 0;
}

void TensorLibrary::require_constant(
    const char* function, std::initializer_list<std::pair<const char*, py::handle>> tensors) const {
  static const py::handle requires_grad = interned("requires_grad");
  for (const auto& [name, tensor] : tensors) {
    if (tensor.is_none() || py::object(tensor.attr(requires_grad)).ptr() != Py_True) continue;
    if (called(is_grad_enabled).ptr() != Py_True) return;
    value_error({function, name}, "not require a gradient", "one that does (detach() it)");
  }
}

py::object TensorLibrary::like(py::handle tensor) const { return called(empty_like, {tensor.ptr()}); }

py::object TensorLibrary::like(const Array& tensor, TensorOrder order) const {
  const bool own = order == TensorOrder::kOwn || tensor.dense() ||
                   (order == TensorOrder::kChannelsKept && has_channels_last(tensor));
  return own ? like(tensor.object()) : called(empty_in, {Py_None, tensor.object().ptr()});
}

// Of the gradient, Python has the engine's reference alone, and of its memory those of a new tensor.
bool TensorLibrary::is_spare(py::handle node, py::handle gradient) const {
#ifdef Py_GIL_DISABLED
  return false;  // counts are split there
#endif
  static const py::handle untyped_storage = interned("untyped_storage");
  const auto uses = [](const py::object& memory) { return Py_REFCNT(memory.ptr()); };
  static const Py_ssize_t uses_of_new = uses(cell().attr(untyped_storage)());
  if (Py_REFCNT(gradient.ptr()) != 1) return false;
  const py::object memory = gradient.attr(untyped_storage)();
  return uses(memory) == uses_of_new &&
         called(is_alone, {gradient.ptr(), memory.ptr(), node.ptr()}).ptr() == Py_True;
}

py::object TensorLibrary::room(py::handle node, py::handle dy, py::handle x) const {
  constexpr std::size_t kWorthLooking = 128 << 10;  // from where malloc takes new pages
  DLTensor gradient, data;
  const bool fits = exchange.ask(dy, gradient) && exchange.ask(x, data) &&
                    bytes_of(gradient) >= kWorthLooking && lies_like(gradient, data) &&
                    !exchange.is_negated(dy);
  return fits && is_spare(node, dy) ? py::reinterpret_borrow<py::object>(dy) : like(x);
}

bool TensorLibrary::records(std::initializer_list<py::handle> tensors) const {
  static const py::handle requires_grad = interned("requires_grad");
  if (called(is_grad_enabled).ptr() != Py_True) return false;
  return std::any_of(tensors.begin(), tensors.end(), [](py::handle tensor) {
    return !tensor.is_none() && py::object(tensor.attr(requires_grad)).ptr() == Py_True;
  });
}

// The cell is this thread's: what fills it lets others run.
std::uint64_t TensorLibrary::draw() const {
  PyObject* const mine = PyThreadState_GetDict();
  PyObject* drawn = PyDict_GetItemWithError(mine, cell.ptr());
  if (drawn == nullptr) {
    if (PyErr_Occurred() != nullptr) throw py::error_already_set();
    const py::object made = cell();
    if (PyDict_SetItem(mine, cell.ptr(), made.ptr()) != 0) throw py::error_already_set();
    drawn = made.ptr();
  }
  called(random, {drawn, end.ptr()});
  DLTensor t;
  if (exchange.ask(drawn, t)) return *static_cast<const std::uint64_t*>(t.data);
  return py::cast<std::uint64_t>(py::handle(drawn).attr("item")());
}

TensorScope::TensorScope() : library_(&TensorLibrary::get()), before_(current_library) {
  const py::object threads = called(library_->num_threads);
  threads_before_ =
      swap_local_threads({std::clamp(py::cast<int>(threads), 1, kMostThreads), library_->shares_openmp});
  current_library = library_;
}

TensorScope::~TensorScope() {
  current_library = before_;
  swap_local_threads(threads_before_);
}

namespace {
using Names = std::array<const char*, 2>;  // ours, theirs
constexpr Names kNames[] = {
    {"x", "input"}, {"dy", "the gradient"}, {"out", "the result"}, {"cache.x", "input"}};
constexpr Names kNamesOfNorms[] = {{"gamma", "weight"}, {"beta", "bias"}, {"cache.gamma", "weight"}};
}  // namespace

const char* name_in_library(const char* function, const char* name) {
  const auto find = [&](const auto& names) {
    const auto* const found = std::find_if(std::begin(names), std::end(names), [&](const Names& pair) {
      return std::string_view(name) == pair[0];
    });
    return found == std::end(names) ? nullptr : (*found)[1];
  };
  const bool of_norm = std::string_view(function).find("norm") != std::string_view::npos;
  const char* const theirs = find(kNames);
  const char* const of_parameter = of_norm ? find(kNamesOfNorms) : nullptr;
  return theirs != nullptr ? theirs : of_parameter != nullptr ? of_parameter : name;
}

std::string function_in_library(const char* function) {
  constexpr std::string_view kBackward = "_backward";
  std::string name = function;
  if (name.ends_with(kBackward)) name.resize(name.size() - kBackward.size());
  return name;
}

TensorOrder order_in_library(std::string_view norm) {
  const bool copies = norm == "layer_norm" || norm == "instance_norm";  // what is not contiguous
  return copies ? TensorOrder::kC : TensorOrder::kChannelsKept;
}

// --- the entry ---------------------------------------------------------------------------------------------

namespace {

void set_up(py::tuple types, py::object capsule, const py::dict& functions) {
  const auto function = [&](const char* name) { return py::object(functions[name]); };
  known = new TensorLibrary{Exchange(std::move(types), std::move(capsule)),
                            function("view"),
                            function("require"),
                            function("empty_like"),
                            function("empty_in"),
                            function("num_threads"),
                            py::cast<bool>(function("shares_openmp")),
                            function("inside_transforms"),
                            function("is_tracing"),
                            py::dict(functions["forward_ad"]),
                            function("is_grad_enabled"),
                            function("apply_node"),
                            function("is_alone"),
                            function("written"),
                            function("cell"),
                            function("random"),
                            function("end")};
}

// What a function of this module makes of tensors.
PyObject* call(PyObject* const* arguments, Py_ssize_t n) {
  if (n == 0) throw py::type_error("call: function must be given, got nothing");
  const TensorScope scope;
  return PyObject_Vectorcall(arguments[0], arguments + 1, static_cast<std::size_t>(n - 1), nullptr);
}

PyObject* draw(PyObject* const*, Py_ssize_t) {
  return PyLong_FromUnsignedLongLong(TensorLibrary::get().draw());
}

}  // namespace

void register_tensors(py::module_& m) {
  py::module_ tensors = m.def_submodule("tensors");
  tensors.def("set_up", &set_up);
  define_fast<&call>(tensors, "call");
  define_fast<&draw>(tensors, "draw");
  register_dropout_of_tensors(tensors);
  register_norm_of_tensors(tensors);
  register_rows_of_tensors(tensors);
}

}  // namespace regkern::bindings
