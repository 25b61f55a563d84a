// Steps of optimizers over tensors of another library, which keeps them in groups of its own, their states in
// a dict, and says where they lie by DLPack's exchange of C structs.

#include <algorithm>
#include <array>
#include <cstdint>
#include <deque>
#include <map>
#include <memory>
#include <optional>
#include <string>
#include <utility>
#include <variant>
#include <vector>

#include "arrays.h"
#include "module.h"
#include "optim_rules.h"
#include "regkern/optim.h"
#include "tensors.h"

namespace regkern::bindings {
namespace {

bool is_c_ordered(const DLTensor& t) {
  if (t.strides == nullptr) return true;
  std::int64_t step = 1;
  for (int i = t.ndim - 1; i >= 0; --i) {
    if (t.shape[i] != 1 && t.strides[i] != step) return false;
    step *= t.shape[i];
  }
  return true;
}

bool has_shape(const DLTensor& t, const Array& a) {
  return t.ndim == a.ndim() && std::equal(t.shape, t.shape + t.ndim, a.shape());
}
bool lies_like(const DLTensor& t, const Array& a) {
  if (!has_shape(t, a) || t.strides == nullptr) return false;
  const auto item = static_cast<std::int64_t>(item_size(a.dtype()));
  for (int i = 0; i < t.ndim; ++i) {
    if (t.strides[i] * item != a.strides()[i]) return false;
  }
  return true;
}

class Tensors {
 public:
  // `state_names`: keys of the states in the dict of a parameter, in the order of the rule. `types`: of
  // tensors without a behaviour of their own, the first their base. `exchange`: the capsule of DLPack, or
  // None. view(name, tensor, writable) → View of any tensor that may be used, or an error. written(tensors):
  // their memory is no longer what it was.
  Tensors(std::string rule, std::string function, py::tuple state_names, py::tuple types, py::object exchange,
          py::object view, py::object written)
      : rule_(std::move(rule)),
        function_(std::move(function)),
        state_names_(std::move(state_names)),
        exchange_(std::move(types), std::move(exchange)),
        view_(std::move(view)),
        tell_written_(std::move(written)) {
    if (state_names_.size() > kMaxStates) throw py::value_error("Tensors: too many states");
    if (!exchange_.exists()) return;
    grad_ = exchange_.base().attr("grad");
    data_ptr_ = exchange_.base().attr("data_ptr");
    if (!PyObject_TypeCheck(grad_.ptr(), &PyGetSetDescr_Type)) grad_ = py::object();
  }

  // One step of all parameters that have a gradient → whether there are any. `groups`: dicts with "params",
  // lists of tensors; `states`: parameter → dict of its states. `needs`: for each group a tuple with the key
  // of each state of the rule, or None where its options go without. start(list of (parameter, number of its
  // group)) makes the states of those that lack some. plan(list of (number of the group, step or 0 where the
  // rule has just started)) → options of each. `factor` multiplies the gradients.
  bool step(const py::list& groups, const py::dict& states, const py::list& needs, py::handle start,
            py::handle plan, double factor) {
    find_parameters(groups, needs);
    find_states(states);
    py::list lacking = take_up(needs);
    std::vector<bool> fresh(slots_.size(), false);
    if (lacking.size() != 0) {
      for (const Slot& slot : slots_) fresh[slot.index] = slot.lacks;
      start(lacking);
      find_states(states);
      lacking = take_up(needs);
      if (lacking.size() != 0) throw py::value_error(function_ + ": states must be kept in state[parameter]");
    }
    // Which options each goes by: those of its group at its own step.
    std::map<std::pair<std::size_t, double>, std::size_t> ways;
    py::list asked;
    for (Slot& slot : slots_) {
      if (!slot.grad) continue;
      ask_ahead(slot.index + kAhead);
      const double count = slot.counter ? count_of(slot) : fresh[slot.index] ? 0.0 : 1.0;
      if (!(count >= 0 && count < 0x1p53)) {
        const std::string label = "step of " + name(slot, 0);
        value_error({function_.c_str(), label.c_str()}, "count steps", std::to_string(count - 1));
      }
      const auto [at, is_new] = ways.try_emplace({slot.group, count}, ways.size());
      if (is_new) asked.append(py::make_tuple(slot.group, static_cast<std::int64_t>(count)));
      slot.way = at->second;
    }
    if (ways.empty()) return false;
    const py::object options = plan(asked);
    bool any_float = false, any_double = false;
    py::list taken;
    for (Slot& slot : slots_) {
      if (!slot.grad) continue;
      ask_ahead(slot.index + kAhead);
      look_at(slot);
      const bool is_double = slot.w().dtype == Dtype::kFloat64;
      (is_double ? any_double : any_float) = true;
      taken.append(slot.param);
    }
    with_rule(rule_, [&](auto rule) {
      const auto float_options = read<float>(rule, options, any_float || !any_double, factor);
      const auto double_options = read<double>(rule, options, any_double, factor);
      if (changed_) find_overlaps();
      converted_.clear();
      std::vector<Parameter<float>> floats;
      std::vector<Parameter<double>> doubles;
      floats.reserve(slots_.size());
      std::size_t elements = 0;
      for (Slot& slot : slots_) {
        if (!slot.grad) continue;
        elements += slot.size;
        visit(slot.w().dtype, [&](auto type) {
          using T = decltype(type);
          auto& p = std::get<Parameter<T>>(slot.work);
          p.grad = gradient<T>(slot);
          p.group = slot.way;
          if constexpr (std::is_same_v<T, float>) {
            floats.push_back(p);
          } else {
            doubles.push_back(p);
          }
        });
      }
      // Before the work, which drives out of the caches what lies around the memory of the tensors.
      called(tell_written_, {taken.ptr()});
      taken = py::list();
      for (Slot& slot : slots_) {
        if (slot.grad && slot.counter) count_up(slot);
      }
      const Unlocked unlocked(elements);
      if (!floats.empty()) {
        regkern::step(std::span<const Parameter<float>>(floats), std::span(float_options), nullptr);
      }
      if (!doubles.empty()) {
        regkern::step(std::span<const Parameter<double>>(doubles), std::span(double_options), nullptr);
      }
    });
    for (Slot& slot : slots_) slot.grad = py::object();
    converted_.clear();
    return true;
  }

 private:
  static constexpr std::size_t kAhead = 3;  // parameters
  static constexpr std::size_t kStates = 1, kMaster = kStates + kMaxStates, kOperands = kMaster + 1;

  // A tensor whose memory has been looked at: what a step looks at again lies close together.
  struct Operand {
    py::object tensor;
    const char* data = nullptr;  // none: to be looked at
    const void* hint = nullptr;  // near what its library keeps of it
    Dtype dtype = Dtype::kFloat32;
    bool row = false;  // in C order
  };
  // The rest of it.
  struct Details {
    std::array<Array, kOperands> arrays;
    std::vector<std::ptrdiff_t> half_strides;  // in bytes, of elements of two bytes in C order
    const char* last = nullptr;                // behind the last element of w
  };

  struct Slot {
    py::object param;
    std::size_t index = 0, group = 0;
    py::object states;                        // its dict, if it has one
    py::object counter;                       // the tensor that counts its steps, if the rule counts
    py::object grad;                          // while a step runs
    std::array<Operand, kOperands> operands;  // parameter, states, master
    std::size_t size = 0, way = 0;
    void* count = nullptr;          // where the counter counts
    const void* counted = nullptr;  // the counter that did
    const void *count_hint = nullptr, *grad_hint = nullptr;
    const void* grad_object = nullptr;  // of the last step: to be fetched, never followed
    const char* apart = nullptr;        // a gradient here meets nothing that is written
    bool wide_count = false, steps = false, lacks = false, ready = false;
    std::variant<Parameter<float>, Parameter<double>> work{Parameter<float>{Extents(0), {}, {}, {}}};
    std::unique_ptr<Details> details = std::make_unique<Details>();

    bool has_master() const { return static_cast<bool>(operands[kMaster].tensor); }
    const Operand& w() const { return operands[has_master() ? kMaster : 0]; }
    const Array& array(std::size_t k) const { return details->arrays[k]; }
    const Array& w_array() const { return array(has_master() ? kMaster : 0); }
  };

  std::string name(const Slot& slot, std::size_t k) const {
    const std::string own = "params[" + std::to_string(slot.index) + "]";
    if (k == 0) return own;
    return (k == kMaster ? "master" : py::cast<std::string>(state_names_[k - kStates])) + " of " + own;
  }

  // --- what there is --------------------------------------------------------------------------------------

  // The parameters of all groups, as they were at the last step or anew.
  void find_parameters(const py::list& groups, const py::list& needs) {
    if (groups.size() != needs.size())
      throw py::value_error(function_ + ": needs must be those of the groups");
    static PyObject* const params = PyUnicode_InternFromString("params");
    std::size_t at = 0;
    bool same = true;
    std::vector<std::pair<py::object, std::size_t>> found;
    for (std::size_t g = 0; g < groups.size(); ++g) {
      const py::object listed = groups[g][py::handle(params)];
      if (!PyList_Check(listed.ptr())) type_error({function_.c_str(), "params"}, "be a list", listed);
      const Py_ssize_t n = PyList_GET_SIZE(listed.ptr());
      for (Py_ssize_t i = 0; i < n; ++i, ++at) {
        PyObject* const p = PyList_GET_ITEM(listed.ptr(), i);
        same = same && at < slots_.size() && slots_[at].param.ptr() == p && slots_[at].group == g;
      }
    }
    if (same && at == slots_.size()) return;
    std::deque<Slot> slots;
    for (std::size_t g = 0; g < groups.size(); ++g) {
      for (const py::handle p : py::reinterpret_borrow<py::list>(groups[g][py::handle(params)])) {
        Slot& slot = slots.emplace_back();
        slot.param = py::reinterpret_borrow<py::object>(p);
        slot.index = slots.size() - 1;
        slot.group = g;
      }
    }
    slots_ = std::move(slots);
    entries_.clear();
    changed_ = true;
  }

  // The dict of each parameter. Entries come in their order, so that nothing has to be hashed where all are
  // known.
  void find_states(const py::dict& states) {
    PyObject *key = nullptr, *value = nullptr;
    Py_ssize_t position = 0;
    std::size_t n = 0;
    bool same = entries_.size() == states.size() && !entries_.empty();
    while (same && PyDict_Next(states.ptr(), &position, &key, &value)) {
      same = n < entries_.size() && entries_[n].first.ptr() == key && entries_[n].second.ptr() == value;
      ++n;
    }
    if (same) return;
    entries_.clear();
    position = 0;
    while (PyDict_Next(states.ptr(), &position, &key, &value)) {
      entries_.emplace_back(py::reinterpret_borrow<py::object>(key),
                            py::reinterpret_borrow<py::object>(value));
    }
    std::map<PyObject*, PyObject*> by_parameter;  // tensors are equal where they are the same
    for (const auto& [of, its] : entries_) by_parameter[of.ptr()] = its.ptr();
    for (Slot& slot : slots_) {
      const auto at = by_parameter.find(slot.param.ptr());
      slot.states = py::reinterpret_borrow<py::object>(at == by_parameter.end() ? nullptr : at->second);
      if (slot.states && !PyDict_Check(slot.states.ptr())) {
        type_error({function_.c_str(), "state"}, "hold dicts", slot.states);
      }
    }
  }

  // Gradients and states of all parameters → those with a gradient that lack a state.
  py::list take_up(const py::list& needs) {
    static PyObject* const grad = PyUnicode_InternFromString("grad");
    static PyObject* const counter = PyUnicode_InternFromString("step");
    static PyObject* const master = PyUnicode_InternFromString("master");
    py::list lacking;
    for (Slot& slot : slots_) {
      slot.lacks = false;
      ask_ahead(slot.index + kAhead);
      slot.grad = gradient_of(slot.param, grad);
      if (slot.grad.is_none()) slot.grad = py::object();
      if (slot.steps != static_cast<bool>(slot.grad)) {
        slot.steps = !slot.steps;
        changed_ = true;
      }
      if (!slot.steps) continue;
      const py::tuple keys = needs[slot.group];
      if (keys.size() != state_names_.size() + 1)
        throw py::value_error(function_ + ": needs must be of the rule");
      bool whole = take(slot, 0, slot.param.ptr());
      for (std::size_t k = 0; k < state_names_.size(); ++k) {
        PyObject* const key = PyTuple_GET_ITEM(keys.ptr(), static_cast<Py_ssize_t>(k));
        whole = take(slot, kStates + k, key == Py_None ? nullptr : state(slot, key)) || key == Py_None;
        if (!whole) break;
      }
      PyObject* const counts = PyTuple_GET_ITEM(keys.ptr(), static_cast<Py_ssize_t>(state_names_.size()));
      if (counts != Py_None) {
        slot.counter = py::reinterpret_borrow<py::object>(state(slot, counter));
        whole = whole && slot.counter;
      }
      if (is_half_parameter(slot)) whole = take(slot, kMaster, state(slot, master)) && whole;
      slot.lacks = !whole;
      if (!whole) lacking.append(py::make_tuple(slot.param, slot.group));
    }
    return lacking;
  }

  // What slot.param.grad is; of a plain tensor without a search for it.
  py::object gradient_of(py::handle param, PyObject* name) const {
    const auto get = grad_ && is_plain(param) ? Py_TYPE(grad_.ptr())->tp_descr_get : nullptr;
    auto* const type = reinterpret_cast<PyObject*>(Py_TYPE(param.ptr()));
    auto given = py::reinterpret_steal<py::object>(get != nullptr ? get(grad_.ptr(), param.ptr(), type)
                                                                  : PyObject_GetAttr(param.ptr(), name));
    if (!given) throw py::error_already_set();
    return given;
  }

  // The tensors of a parameter that comes soon are far away in memory, each in several lines: those of last
  // time are fetched meanwhile. Nothing is read there.
  void ask_ahead(std::size_t i) const {
    if (i >= slots_.size()) return;
    const Slot& slot = slots_[i];
    const auto fetch = [](const void* object, const void* hint) {
      __builtin_prefetch(object);
      if (hint == nullptr) return;
      for (const int line : {-64, 0, 64}) __builtin_prefetch(static_cast<const char*>(hint) + line);
    };
    for (const Operand& operand : slot.operands) {
      if (operand.tensor) fetch(operand.tensor.ptr(), operand.hint);
    }
    if (slot.counter) fetch(slot.counter.ptr(), slot.count_hint);
    if (slot.grad_object) fetch(slot.grad_object, slot.grad_hint);
  }

  static PyObject* state(const Slot& slot, PyObject* key) {
    if (!slot.states) return nullptr;
    PyObject* const value = PyDict_GetItemWithError(slot.states.ptr(), key);
    if (value == nullptr && PyErr_Occurred() != nullptr) throw py::error_already_set();
    return value == Py_None ? nullptr : value;
  }

  // Notes which tensor an operand is; true if there is one.
  bool take(Slot& slot, std::size_t k, PyObject* tensor) {
    Operand& operand = slot.operands[k];
    if (operand.tensor.ptr() != tensor) {
      operand.tensor = py::reinterpret_borrow<py::object>(tensor);
      operand.data = nullptr;
      slot.details->arrays[k] = Array();
      slot.ready = false;
      changed_ = true;
    }
    return tensor != nullptr;
  }

  bool is_half_parameter(Slot& slot) {
    if (!slot.array(0)) renew(slot, 0);  // look_at() looks again
    return is_half(slot.operands[0].dtype);
  }

  // --- where it lies --------------------------------------------------------------------------------------

  bool is_plain(py::handle tensor) const { return exchange_.is_plain(tensor); }

  // What DLPack says of a tensor of a dtype that is known here.
  bool ask(py::handle tensor, DLTensor& out) const {
    return exchange_.ask(tensor, out) && dtype_of(out).has_value();
  }

  // Of a plain tensor; null where nobody can tell at once. States that lie where they did are taken for what
  // they were: another shape or dtype there takes another address, as a parameter's need not.
  const char* address_of(py::handle tensor) const {
    if (!data_ptr_ || !is_plain(tensor)) return nullptr;
    PyObject* const self = tensor.ptr();
    const auto address =
        py::reinterpret_steal<py::object>(PyObject_Vectorcall(data_ptr_.ptr(), &self, 1, nullptr));
    const char* const known = address ? static_cast<const char*>(PyLong_AsVoidPtr(address.ptr())) : nullptr;
    if (known == nullptr) PyErr_Clear();
    return known;
  }

  void renew(Slot& slot, std::size_t k) {
    Operand& operand = slot.operands[k];
    const std::string label = name(slot, k);
    const py::object view = view_(label, operand.tensor, true);
    Array array = output({function_.c_str(), label.c_str()}, view, Accept::kHalf);
    operand.data = array.address();
    operand.dtype = array.dtype();
    std::ptrdiff_t step = static_cast<std::ptrdiff_t>(item_size(array.dtype()));
    operand.row = true;
    for (int i = array.ndim() - 1; i >= 0; --i) {
      operand.row = operand.row && (array.dim(i) == 1 || array.strides()[i] == step);
      step *= array.dim(i);
    }
    slot.details->arrays[k] = std::move(array);
    slot.ready = false;
    changed_ = true;
  }

  static bool holds(const Slot& slot, std::size_t k, const DLTensor& t) {
    const Operand& operand = slot.operands[k];
    if (operand.data == nullptr || t.data != operand.data || t.byte_offset != 0) return false;
    if (dtype_of(t) != operand.dtype) return false;
    return operand.row ? is_c_ordered(t) && has_shape(t, slot.array(0)) : lies_like(t, slot.array(k));
  }

  // Sees to it that the operands of a parameter are as they lie now.
  void look_at(Slot& slot) {
    for (std::size_t k = 0; k < kOperands; ++k) {
      Operand& operand = slot.operands[k];
      if (!operand.tensor) continue;
      DLTensor t;
      if (k != 0 && operand.data != nullptr && address_of(operand.tensor) == operand.data) continue;
      if (ask(operand.tensor, t)) {
        operand.hint = t.shape;
        if (holds(slot, k, t)) continue;
      }
      if (!exchange_.exists() && slot.array(k) && is_as_it_was(slot, k)) continue;
      const bool known = static_cast<bool>(slot.array(k));
      const Dtype before = operand.dtype;
      renew(slot, k);
      if (known && k == 0 && is_half(before) != is_half(operand.dtype)) {
        const std::string label = name(slot, 0), now = name_of(operand.dtype);
        operand.data = nullptr;
        operand.dtype = before;  // also at the next step
        value_error({function_.c_str(), label.c_str()},
                    std::string("stay ") + name_of(before) + ", for which its states were made",
                    now + ": make the optimizer after the model is converted");
      }
    }
    if (slot.ready) return;
    const Array& w = slot.w_array();
    for (std::size_t k = 0; k < kOperands; ++k) {
      const Array& a = slot.array(k);
      if (!slot.operands[k].tensor || &a == &w) continue;
      const std::string label = name(slot, k);
      const Arg arg{function_.c_str(), label.c_str()};
      if (k != 0 || !slot.has_master()) require_dtype(arg, a, w.dtype());
      require_same_shape(arg, a, w);
    }
    if (slot.has_master()) {
      const std::string label = name(slot, kMaster);
      require_dtype({function_.c_str(), label.c_str()}, w, Dtype::kFloat32);
    }
    visit(w.dtype(), [&](auto type) { slot.work = parameter<decltype(type)>(slot); });
    Details& details = *slot.details;
    slot.size = w.size();
    details.last = bounds(w).second;
    details.half_strides.assign(static_cast<std::size_t>(w.ndim()), 2);
    for (int i = w.ndim() - 2; i >= 0; --i) {
      const auto at = static_cast<std::size_t>(i);
      details.half_strides[at] = details.half_strides[at + 1] * w.dim(i + 1);
    }
    slot.ready = true;
  }

  // Where the exchange is missing: by a new view.
  bool is_as_it_was(Slot& slot, std::size_t k) const {
    const std::string label = name(slot, k);
    const Array now =
        input({function_.c_str(), label.c_str()}, view_(label, slot.operands[k].tensor, true), Accept::kHalf);
    const Array& then = slot.array(k);
    return now.address() == then.address() && now.dtype() == then.dtype() && now.ndim() == then.ndim() &&
           std::equal(now.shape(), now.shape() + now.ndim(), then.shape()) &&
           std::equal(now.strides(), now.strides() + now.ndim(), then.strides());
  }

  template <class T>
  Parameter<T> parameter(const Slot& slot) const {
    const Array& w = slot.w_array();
    Parameter<T> p{w.extents(), w.in_out<T>(), {}, {}, 0};
    for (std::size_t k = 0; k < kMaxStates; ++k) {
      if (slot.operands[kStates + k].tensor) p.states[k] = slot.array(kStates + k).in_out<T>();
    }
    if (slot.has_master()) p.rounded = slot.array(0).out<T>();
    p.follows = slot.has_master();
    return p;
  }

  // The gradient of a parameter: as it lies, or after a closer look.
  template <class T>
  In<T> gradient(Slot& slot) {
    const Array& w = slot.w_array();
    DLTensor t;
    if (ask(slot.grad, t) && t.byte_offset == 0 && has_shape(t, w)) {
      slot.grad_object = slot.grad.ptr();
      slot.grad_hint = t.shape;
      const Dtype dtype = *dtype_of(t);
      const std::size_t item = item_size(dtype);
      const bool fits = dtype == w.dtype() || (is_half(dtype) && w.dtype() == Dtype::kFloat32);
      const bool row = is_c_ordered(t), alike = !row && dtype == w.dtype() && lies_like(t, w);
      if (fits && (row || alike) && reinterpret_cast<std::uintptr_t>(t.data) % item == 0) {
        const bool negative = exchange_.is_negated(slot.grad);
        const auto* low = static_cast<const char*>(t.data);
        const std::size_t bytes = slot.size == 0 ? 0
                                  : row          ? slot.size * item
                                                 : static_cast<std::size_t>(slot.details->last - w.address());
        const bool apart = low == slot.apart || !meets_written(low, low + bytes);
        if (apart && !negative) {
          slot.apart = low;
          const auto* data = static_cast<const T*>(t.data);
          if (is_half(dtype)) return {data, slot.details->half_strides.data(), storage_of(dtype)};
          return {data, row ? nullptr : w.strides()};
        }
      }
    }
    const std::string label = name(slot, 0) + ".grad";
    const Arg arg{function_.c_str(), label.c_str()};
    const Array& g = converted_.emplace_back(input(arg, view_(label, slot.grad, false), Accept::kHalf));
    if (!(is_half(g.dtype()) && w.dtype() == Dtype::kFloat32)) require_dtype(arg, g, w.dtype());
    require_same_shape(arg, g, w);
    if (g.size() != 0) {
      if (const auto [low, high] = bounds(g); meets_written(low, high)) {
        for (const Written& written : written_) {
          const std::string of = name(*written.slot, written.operand);
          require_disjoint({arg.function, of.c_str()}, written.slot->array(written.operand), arg.name, g);
        }
      }
    }
    return g.in<T>();
  }

  // --- what may not overlap -------------------------------------------------------------------------------

  struct Written {
    const char *low, *high;
    const Slot* slot;
    std::size_t operand;
  };

  void find_overlaps() {
    written_.clear();
    highest_.clear();
    for (Slot& slot : slots_) {
      slot.apart = nullptr;
      if (!slot.steps) continue;  // what lies elsewhere by now may have left its place to others
      for (std::size_t k = 0; k < kOperands; ++k) {
        const Array& array = slot.array(k);
        if (!slot.operands[k].tensor || !array || array.size() == 0) continue;
        const auto [low, high] = bounds(array);
        written_.push_back({low, high, &slot, k});
      }
    }
    std::stable_sort(written_.begin(), written_.end(),
                     [](const Written& a, const Written& b) { return a.low < b.low; });
    for (std::size_t i = 0; i < written_.size(); ++i) {
      highest_.push_back(i == 0 ? written_[i].high : std::max(highest_.back(), written_[i].high));
      for (std::size_t j = i + 1; j < written_.size() && written_[j].low < written_[i].high; ++j) {
        const auto place = [](const Written& at) { return std::pair(at.slot->index, at.operand); };
        const bool in_order = place(written_[i]) < place(written_[j]);
        const Written &earlier = written_[in_order ? i : j], &later = written_[in_order ? j : i];
        const std::string label = name(*later.slot, later.operand),
                          other = name(*earlier.slot, earlier.operand);
        require_disjoint({function_.c_str(), label.c_str()}, later.slot->array(later.operand), other.c_str(),
                         earlier.slot->array(earlier.operand));
      }
    }
    changed_ = false;
  }

  bool meets_written(const char* low, const char* high) const {
    if (low == high) return false;
    const auto behind = std::lower_bound(written_.begin(), written_.end(), high,
                                         [](const Written& w, const char* end) { return w.low < end; });
    return behind != written_.begin() &&
           highest_[static_cast<std::size_t>(behind - written_.begin()) - 1] > low;
  }

  // --- counting and options -------------------------------------------------------------------------------

  // The number of a step, which a tensor of one element holds.
  double count_of(Slot& slot) const {
    const auto next = [&] {
      return (slot.wide_count ? *static_cast<const double*>(slot.count)
                              : *static_cast<const float*>(slot.count)) +
             1.0;
    };
    DLTensor t;
    if (slot.count != nullptr && slot.counter.ptr() == slot.counted &&
        address_of(slot.counter) == slot.count) {
      return next();
    }
    slot.count = nullptr;
    slot.counted = slot.counter.ptr();
    if (ask(slot.counter, t) && t.ndim == 0 && t.bits >= 32) {
      slot.count = t.data;
      slot.wide_count = t.bits == 64;
      slot.count_hint = t.shape;
      return next();
    }
    return py::cast<double>(py::float_(slot.counter)) + 1;
  }
  static void count_up(const Slot& slot) {
    if (slot.count == nullptr) {
      slot.counter.attr("add_")(1);
    } else if (slot.wide_count) {
      *static_cast<double*>(slot.count) += 1;
    } else {
      *static_cast<float*>(slot.count) += 1;
    }
  }

  template <class T, class Rule>
  auto read(Rule, const py::object& given, bool needed, double factor) const {
    std::vector<decltype(Rule::template read<T>(std::declval<Settings>()))> options;
    if (!needed) return options;
    for (const py::handle values : py::reinterpret_borrow<py::list>(given)) {
      Settings settings{function_.c_str(), {}, {}};
      settings.has.fill(true);
      for (const Option o : Rule::kTakes) {
        settings.values[o] = py::reinterpret_borrow<py::object>(option_of(values, o));
      }
      options.push_back(Rule::template read<T>(settings));
      options.back().scale = static_cast<T>(options.back().scale * factor);
    }
    return options;
  }

  std::string rule_, function_;
  py::tuple state_names_;
  Exchange exchange_;
  py::object view_, tell_written_, grad_, data_ptr_;
  std::deque<Slot> slots_;
  std::vector<std::pair<py::object, py::object>> entries_;  // of the dict of states
  std::deque<Array> converted_;
  std::vector<Written> written_;      // by address
  std::vector<const char*> highest_;  // highest address of all up to each of written_
  bool changed_ = true;               // since overlaps were looked for
};

}  // namespace

void register_optim_tensors(py::module_& m) {
  py::class_<Tensors>(m, "Tensors")
      .def(py::init<std::string, std::string, py::tuple, py::tuple, py::object, py::object, py::object>())
      .def("step", &Tensors::step);
}

}  // namespace regkern::bindings
