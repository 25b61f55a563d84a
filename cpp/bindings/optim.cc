// Binds the steps of optimizers, for one array and for groups of them, and weight decay.

#include "regkern/optim.h"

#include <pybind11/stl.h>

#include <algorithm>
#include <array>
#include <cmath>
#include <deque>
#include <map>
#include <string>
#include <tuple>
#include <utility>
#include <vector>

#include "arrays.h"
#include "module.h"
#include "optim_rules.h"

namespace regkern::bindings {
namespace {

py::object l2_decay(py::handle w, py::handle rate, py::handle out) {
  constexpr const char* f = "l2_decay";
  const Array from = input({f, "w"}, w, Accept::kHalf);
  const double r = probability({f, "rate"}, rate);
  const Array to = out_or_new({f, "out"}, out, "w", from);
  visit(from.dtype(), [&](auto type) {
    using T = decltype(type);
    const Unlocked unlocked(from.size());
    regkern::l2_decay<T>(from.extents(), from.in<T>(), to.out<T>(), r);
  });
  return to.object();
}

// --- the arrays of a step ---------------------------------------------------------------------------------

[[noreturn]] void dtype_error(Arg arg, const std::string& rule, Dtype got) {
  throw py::type_error(std::string(arg.function) + ": " + arg.name + " must " + rule + ", got " +
                       name_of(got));
}

// A gradient goes with its weights' dtype, or in half precision with float32; what they are rounded to is of
// half precision beside float32.
void require_gradient_dtype(Arg arg, const Array& grad, const Array& w) {
  if (!(is_half(grad.dtype()) && w.dtype() == Dtype::kFloat32)) require_dtype(arg, grad, w.dtype());
}
void require_rounded_dtype(Arg arg, const Array& rounded, Arg w_arg, const Array& w) {
  if (!is_half(rounded.dtype())) dtype_error(arg, "be bfloat16 or float16", rounded.dtype());
  if (w.dtype() != Dtype::kFloat32) {
    dtype_error(w_arg, std::string("be float32 beside ") + arg.name, w.dtype());
  }
}

constexpr int kDense = py::detail::npy_api::NPY_ARRAY_C_CONTIGUOUS_ | py::detail::npy_api::NPY_ARRAY_ALIGNED_;

// Weights and states that a rule steps, checked once, and the weights again where one of them has been given
// other memory, shape or flags since. The states are the optimizer's own, which nobody can do that to.
class Parameters {
 public:
  // `keys` tell the arrays of a list apart in messages: the third weight is names[0] + keys[2], its gradient
  // names[1] + keys[2]. `states`: name → list of arrays, each None where its options go without. `rounded`:
  // for each weight an array of half precision that gets its value, or None. `group`: which options are
  // whose.
  Parameters(std::string rule, std::string function, std::pair<std::string, std::string> names,
             std::vector<std::string> keys, std::vector<py::object> weights, py::dict states,
             std::vector<py::object> rounded, std::vector<std::size_t> group)
      : rule_(std::move(rule)),
        function_(std::move(function)),
        weight_name_(std::move(names.first)),
        keys_(std::move(keys)),
        group_(std::move(group)) {
    for (const std::string& key : keys_) gradient_names_.push_back(names.second + key);
    require_groups_for_all(group_);
    objects_.push_back(std::move(weights));
    for (const auto& [name, arrays] : states) {
      state_names_.push_back(py::cast<std::string>(name));
      objects_.push_back(py::cast<std::vector<py::object>>(arrays));
    }
    objects_.resize(kRounded, std::vector<py::object>(keys_.size(), py::none()));
    objects_.push_back(std::move(rounded));
    check();
  }

  // Reads the options of all groups and those of all steps, which checks them.
  void check_options(const py::list& groups, py::handle max_norm, py::handle skip_nonfinite,
                     py::handle collect) const {
    with_rule(rule_, [&](auto rule) { read<double>(rule, groups, true); });
    Asked(function_.c_str(), max_norm, skip_nonfinite, collect);
  }

  // One step → whether it was taken. `attributes` is the dict of the optimizer: it says what is asked of the
  // step beside the rule, and is told "grad_norm" and "_collected", (penalty, nonzeros, ‖Δw‖²), or None.
  // plan(positions of the parameters without a gradient, or None) → options of all groups; which is whose, or
  // None for the constructor's; what of the attributes is other after the step; positions of those that are
  // stepped apart; and None, or a function that is given copies of their weights, stepped, in that order, has
  // them done before they become the parameters' own, and says what is collected of them. Python runs before
  // anything is written, and again when all is: an interrupt finds the step taken and counted, or neither.
  bool step(const py::list& grads, py::handle plan, const py::dict& attributes) {
    static PyObject* const names[] = {
        PyUnicode_InternFromString("max_grad_norm"), PyUnicode_InternFromString("skip_nonfinite"),
        PyUnicode_InternFromString("collect"), PyUnicode_InternFromString("grad_norm"),
        PyUnicode_InternFromString("_collected")};
    const auto attribute = [&](int i) {
      const py::handle value = PyDict_GetItemWithError(attributes.ptr(), names[i]);
      if (!value) throw py::key_error(py::cast<std::string>(names[i]));
      return value;
    };
    const Asked asked(function_.c_str(), attribute(0), attribute(1), attribute(2));
    if (grads.size() != keys_.size()) {
      value_error({function_.c_str(), "grads"}, "hold " + std::to_string(keys_.size()) + " arrays",
                  std::to_string(grads.size()));
    }
    Call call;
    call.grads.reserve(grads.size());
    py::object without = py::none();
    for (std::size_t i = 0; i < keys_.size(); ++i) {
      call.grads.push_back(grads[i]);
      if (!call.grads[i].is_none()) continue;
      if (without.is_none()) without = py::list();
      without.cast<py::list>().append(i);
    }
    const auto answer = py::reinterpret_steal<py::object>(PyObject_CallOneArg(plan.ptr(), without.ptr()));
    if (!answer) throw py::error_already_set();
    PyObject *groups = nullptr, *group = nullptr, *after = nullptr, *apart = nullptr, *finish = nullptr;
    if (!PyArg_ParseTuple(answer.ptr(), "O!OO!O!O", &PyList_Type, &groups, &group, &PyDict_Type, &after,
                          &PyList_Type, &apart, &finish)) {
      throw py::error_already_set();
    }
    for (const py::handle i : py::reinterpret_borrow<py::list>(apart)) {
      // Not shared with a step that begins within this one.
      call.copies.insert(copies_.extract(py::cast<std::size_t>(i)));
      call.copies[py::cast<std::size_t>(i)];
    }
    if (group != Py_None) call.group = py::cast<std::vector<std::size_t>>(py::handle(group));
    const auto ways = py::reinterpret_borrow<py::list>(groups);
    bool taken = false;
    with_rule(rule_, [&](auto rule) {
      // First what may run code of the caller's, which may change weights and gradients; then their pointers.
      if (!sound_) check();
      const bool any_float = !share<float>().parameters.empty(),
                 any_double = !share<double>().parameters.empty();
      auto float_options = read<float>(rule, ways, any_float || !any_double);
      auto double_options = read<double>(rule, ways, any_double);
      ask_for_arrays(call);
      Work<float> floats;
      Work<double> doubles;
      const auto take_up = [&] {
        if (!sound_ || !unchanged()) check();
        require_groups(call.group.empty() ? group_ : call.group,
                       std::max(float_options.size(), double_options.size()));
        floats = share<float>().with_gradients(*this, call);
        doubles = share<double>().with_gradients(*this, call);
      };
      if (!sound_ || !unchanged()) check();
      for (auto& [i, copy] : call.copies) have_copy(i, copy);
      take_up();
      const bool norm_asked = asked.clip || asked.skip;
      GradientNorm norm;
      StepStats stats;
      const auto step_in_place = [&] {
        const auto take = [&](const auto& parameters, const auto& options) {
          if (parameters.empty()) return;
          regkern::step(std::span(parameters), std::span(options), asked.collect ? &stats : nullptr);
        };
        take(floats.in_place, std::as_const(float_options));
        take(doubles.in_place, std::as_const(double_options));
      };
      {
        const Unlocked unlocked(size_);
        if (norm_asked) {
          norm = gradient_norm<float>(floats.in_place) + gradient_norm<double>(doubles.in_place);
        }
        taken = norm.finite || !asked.skip;
        if (taken) {
          const double ratio = asked.clip ? clipping(norm, asked.limit) : 1.0;
          const double factor = ratio > 1 ? 1.0 : ratio;
          const auto scale = [&](auto& options) {
            for (auto& o : options) o.scale = static_cast<decltype(o.scale)>(o.scale * factor);
          };
          scale(float_options);
          scale(double_options);
          if (finish == Py_None) {
            step_in_place();
          } else {
            floats.step_apart(float_options);
            doubles.step_apart(double_options);
          }
        }
      }
      if (taken && finish != Py_None) {
        py::list stepped;
        for (const auto& [i, copy] : call.copies) stepped.append(copy.object());
        const auto answered = py::reinterpret_steal<py::object>(PyObject_CallOneArg(finish, stepped.ptr()));
        if (!answered) throw py::error_already_set();
        if (asked.collect) {
          std::tie(stats.penalty, stats.nonzeros, stats.squared_change) =
              py::cast<std::tuple<double, double, double>>(answered);
        }
        take_up();  // what has run may have changed weights
        floats.leave_apart();
        doubles.leave_apart();
        {
          const Unlocked unlocked(size_);
          step_in_place();
          floats.put_back(float_options);
          doubles.put_back(double_options);
        }
        copies_.merge(call.copies);
      }
      py::object length = py::none(), collected = py::none();
      if (norm_asked) length = py::float_(std::ldexp(std::sqrt(norm.squared), norm.exponent));
      if (asked.collect && taken) {
        collected =
            py::make_tuple(stats.penalty, static_cast<std::int64_t>(stats.nonzeros), stats.squared_change);
      }
      if (PyDict_SetItem(attributes.ptr(), names[3], length.ptr()) < 0 ||
          PyDict_SetItem(attributes.ptr(), names[4], collected.ptr()) < 0 ||
          (taken && PyDict_Update(attributes.ptr(), after) < 0)) {
        throw py::error_already_set();
      }
    });
    return taken;
  }

 private:
  static constexpr std::size_t kRounded = 1 + kMaxStates;
  using Operands = std::array<Array, kRounded + 1>;  // weights, then states

  // torch's clip_grad_norm_, its 1e-6 included, and its NaN. The norm itself may be beyond double.
  static double clipping(const GradientNorm& norm, double limit) {
    const double root = std::sqrt(norm.squared);
    if (norm.exponent > 0) return std::ldexp(limit / root, -norm.exponent);
    return limit / (std::ldexp(root, norm.exponent) + 1e-6);
  }

  // What is asked of a step beside the rule.
  struct Asked {
    Asked(const char* f, py::handle max_norm, py::handle skip_nonfinite, py::handle collected)
        : clip(!max_norm.is_none()),
          limit(clip ? nonnegative({f, "max_grad_norm"}, max_norm) : 0),
          skip(flag({f, "skip_nonfinite"}, skip_nonfinite)),
          collect(flag({f, "collect"}, collected)) {}

    bool clip;
    double limit;
    bool skip, collect;
  };

  // What a step holds while it runs.
  struct Call {
    std::vector<py::object> grads;
    std::deque<Array> converted;          // gradients whose strides are theirs: they stay where they are
    std::vector<std::size_t> group;       // if not empty: in place of the constructor's
    std::map<std::size_t, Array> copies;  // of weights that are stepped apart
  };

  // What a step works on, of one dtype.
  template <class T>
  struct Work {
    std::vector<Parameter<T>> in_place;  // all, until leave_apart()
    std::vector<regkern::Apart<T>> apart;
    std::vector<std::size_t> places;  // of those among all

    void leave_apart() {
      for (std::size_t k = places.size(); k-- > 0;) in_place.erase(in_place.begin() + places[k]);
    }
    template <class Options>
    void step_apart(const std::vector<Options>& options) const {
      if (!apart.empty()) regkern::step_apart(std::span(apart), std::span(options));
    }
    template <class Options>
    void put_back(const std::vector<Options>& options) const {
      if (!apart.empty()) regkern::put_back(std::span(apart), std::span(options));
    }
  };

  // The parameters of one dtype.
  template <class T>
  struct Share {
    std::vector<Parameter<T>> parameters;
    std::vector<std::size_t> index;  // among all

    // A copy, in which their gradients are: several threads may call.
    Work<T> with_gradients(Parameters& all, Call& call) const {
      Work<T> work{parameters, {}, {}};
      for (std::size_t j = 0; j < parameters.size(); ++j) {
        Parameter<T>& filled = work.in_place[j];
        const std::size_t i = index[j];
        const py::handle g = call.grads[i];
        if (all.is_plain(g, i)) {
          filled.grad = {reinterpret_cast<const T*>(proxy(g)->data), nullptr};
        } else if (!g.is_none()) {
          filled.grad = call.converted.emplace_back(all.gradient(g, i)).template in<T>();
        }
        if (!call.group.empty()) filled.group = call.group[i];
        if (call.copies.empty()) continue;
        if (const auto copy = call.copies.find(i); copy != call.copies.end()) {
          work.apart.push_back(all.apart(filled, i, copy->second));
          work.places.push_back(j);
        }
      }
      return work;
    }
  };
  template <class T>
  Share<T>& share() {
    return std::get<Share<T>>(shares_);
  }

  // A weight as it was when it was checked.
  struct Seen {
    bool holds(const std::ptrdiff_t* shape_and_strides) const {
      return proxy->data == data && proxy->flags == flags && proxy->descr == descr && proxy->nd == ndim &&
             same(proxy->dimensions, shape_and_strides) && same(proxy->strides, shape_and_strides + ndim);
    }
    template <class Lengths>
    bool same(const Lengths* now, const std::ptrdiff_t* then) const {
      for (int i = 0; i < ndim; ++i) {
        if (now[i] != then[i]) return false;
      }
      return true;
    }

    const Proxy* proxy;
    const char* data;
    PyObject* descr;
    int flags, ndim;
    std::size_t layout;           // where its shape and strides are in layouts_
    std::size_t bytes;            // that its elements take
    const char* apart = nullptr;  // a dense gradient here meets nothing that is written
  };

  struct Written {
    const char *low, *high;
    std::size_t index, operand;  // arrays_[index][operand]
  };

  void require_groups_for_all(const std::vector<std::size_t>& group) const {
    if (group.size() == keys_.size()) return;
    value_error({function_.c_str(), "group"}, "hold " + std::to_string(keys_.size()) + " ints",
                std::to_string(group.size()));
  }
  void require_groups(const std::vector<std::size_t>& group, std::size_t groups) const {
    require_groups_for_all(group);
    for (const std::size_t g : group) {
      if (g >= groups) {
        value_error({function_.c_str(), "group"}, "be in [0, " + std::to_string(groups) + ")",
                    std::to_string(g));
      }
    }
  }

  // Gradients that are no ndarrays become what they say they are, once.
  void ask_for_arrays(Call& call) const {
    for (std::size_t i = 0; i < keys_.size(); ++i) {
      py::object& g = call.grads[i];
      if (g.is_none() || Py_TYPE(g.ptr()) == py::detail::npy_api::get().PyArray_Type_) continue;
      g = input({function_.c_str(), gradient_names_[i].c_str()}, g, Accept::kHalf).object();
    }
  }

  template <class T, class Rule>
  auto read(Rule, const py::list& given, bool needed) const {
    std::vector<decltype(Rule::template read<T>(std::declval<Settings>()))> options;
    if (!needed) return options;
    const auto groups = py::reinterpret_steal<py::tuple>(PyList_AsTuple(given.ptr()));
    options.reserve(groups.size());
    for (const py::handle values : groups) {
      Settings settings{function_.c_str(), {}, {}};
      settings.has.fill(true);  // the caller sees to it that each array has what its options need
      for (const Option o : Rule::kTakes) {
        settings.values[o] = py::reinterpret_borrow<py::object>(option_of(values, o));
      }
      options.push_back(Rule::template read<T>(settings));
      // Where "weight_decay" is the decay of many steps or of none, the penalty goes by this.
      static PyObject* const strength = PyUnicode_InternFromString("decay_strength");
      if (PyObject* value = PyDict_GetItemWithError(values.ptr(), strength)) {
        options.back().penalty_l2 = real({function_.c_str(), "weight_decay"}, value);
      }
    }
    return options;
  }

  std::string name(std::size_t index, std::size_t operand) const {
    return (operand == 0          ? weight_name_
            : operand == kRounded ? "rounded"
                                  : state_names_[operand - 1]) +
           keys_[index];
  }

  bool unchanged() const {
    return std::all_of(seen_.begin(), seen_.end(),
                       [&](const Seen& s) { return s.holds(layouts_.data() + s.layout); });
  }

  void check() {
    sound_ = false;
    arrays_.clear();
    seen_.clear();
    layouts_.clear();
    written_.clear();
    shares_ = {};
    size_ = 0;
    for (std::size_t i = 0; i < keys_.size(); ++i) {
      Operands& operands = arrays_.emplace_back();
      for (std::size_t k = 0; k < objects_.size(); ++k) {
        if (objects_[k][i].is_none() && k > 0) continue;
        const std::string label = name(i, k);
        const Arg arg{function_.c_str(), label.c_str()};
        const Array& a = operands[k] =
            output(arg, objects_[k][i], k == kRounded ? Accept::kHalf : Accept::kFull);
        if (k == kRounded) {
          const std::string of_w = name(i, 0);
          require_rounded_dtype(arg, a, {function_.c_str(), of_w.c_str()}, operands[0]);
        } else if (k > 0) {
          require_dtype(arg, a, operands[0].dtype());
        }
        if (k > 0) require_same_shape(arg, a, operands[0]);
        if (a.size() == 0) continue;
        const auto [low, high] = bounds(a);
        written_.push_back({low, high, i, k});
      }
      size_ += operands[0].size();
      see(operands[0]);
    }
    std::stable_sort(written_.begin(), written_.end(),
                     [](const Written& a, const Written& b) { return a.low < b.low; });
    highest_.clear();
    for (std::size_t i = 0; i < written_.size(); ++i) {
      highest_.push_back(i == 0 ? written_[i].high : std::max(highest_.back(), written_[i].high));
      for (std::size_t j = i + 1; j < written_.size() && written_[j].low < written_[i].high; ++j) {
        const auto place = [&](std::size_t at) {
          return std::pair(written_[at].index, written_[at].operand);
        };
        const auto [earlier, later] = std::minmax({place(i), place(j)});
        const std::string label = name(later.first, later.second);
        require_disjoint({function_.c_str(), label.c_str()}, arrays_[later.first][later.second],
                         name(earlier.first, earlier.second).c_str(), arrays_[earlier.first][earlier.second]);
      }
    }
    for (std::size_t i = 0; i < arrays_.size(); ++i) {
      visit(arrays_[i][0].dtype(), [&](auto type) { prepare<decltype(type)>(i); });
    }
    sound_ = true;
  }

  void see(const Array& a) {
    const Proxy* proxy = bindings::proxy(a.object());
    const std::size_t bytes = a.size() * (a.dtype() == Dtype::kFloat32 ? sizeof(float) : sizeof(double));
    seen_.push_back({proxy, proxy->data, proxy->descr, proxy->flags, proxy->nd, layouts_.size(), bytes});
    layouts_.insert(layouts_.end(), a.shape(), a.shape() + a.ndim());
    layouts_.insert(layouts_.end(), a.strides(), a.strides() + a.ndim());
  }

  // Parameter i without its gradient. Its shape and strides are ours: NumPy's may move.
  template <class T>
  void prepare(std::size_t i) {
    const Operands& a = arrays_[i];
    const std::ptrdiff_t* shape = layouts_.data() + seen_[i].layout;
    Parameter<T> p{Extents(a[0].ndim(), shape), a[0].in_out<T>(), {}, {}, group_[i]};
    if (p.w.strides != nullptr) p.w.strides = shape + a[0].ndim();
    for (std::size_t k = 0; k < kMaxStates; ++k) {
      if (a[1 + k]) p.states[k] = a[1 + k].in_out<T>();
    }
    if (a[kRounded]) p.rounded = a[kRounded].out<T>();
    share<T>().parameters.push_back(p);
    share<T>().index.push_back(i);
  }

  // Has an array like weight i: that of the last step, if it is.
  void have_copy(std::size_t i, Array& copy) const {
    const Array& w = arrays_[i][0];
    const bool alike =
        copy && copy.dtype() == w.dtype() &&
        std::ranges::equal(std::span(copy.shape(), copy.ndim()), std::span(w.shape(), w.ndim()));
    if (!alike) copy = new_like({function_.c_str(), "w"}, w);
  }

  // Parameter i, whose weight is stepped into `copy`.
  template <class T>
  regkern::Apart<T> apart(const Parameter<T>& parameter, std::size_t i, const Array& copy) const {
    const std::string label = name(i, 0);
    require_dtype({function_.c_str(), label.c_str()}, arrays_[i][0], copy.dtype());
    require_same_shape({function_.c_str(), label.c_str()}, arrays_[i][0], copy);
    return {parameter, copy.in_out<T>()};
  }

  // Whether g fits parameter i, dense and apart from all that is written: as nearly all are, so with few
  // looks at memory. What is not gets a closer look, and its error, in gradient().
  bool is_plain(py::handle g, std::size_t i) {
    Seen& weight = seen_[i];
    if (Py_TYPE(g.ptr()) != py::detail::npy_api::get().PyArray_Type_) return false;
    const Proxy* proxy = bindings::proxy(g);
    if (proxy->descr != weight.descr || (proxy->flags & kDense) != kDense || proxy->nd != weight.ndim ||
        !weight.same(proxy->dimensions, layouts_.data() + weight.layout)) {
      return false;
    }
    if (proxy->data == weight.apart) return true;
    if (weight.bytes != 0 && meets_written(proxy->data, proxy->data + weight.bytes)) return false;
    weight.apart = proxy->data;
    return true;
  }

  Array gradient(py::handle value, std::size_t i) const {
    const Arg arg{function_.c_str(), gradient_names_[i].c_str()};
    const Array g = input(arg, value, Accept::kHalf);
    require_gradient_dtype(arg, g, arrays_[i][0]);
    require_same_shape(arg, g, arrays_[i][0]);
    if (g.size() == 0) return g;
    if (const auto [low, high] = bounds(g); meets_written(low, high)) {
      for (const Written& w : written_) {
        const std::string label = name(w.index, w.operand);
        require_disjoint({arg.function, label.c_str()}, arrays_[w.index][w.operand], arg.name, g);
      }
    }
    return g;
  }

  // Whether addresses from low to high meet those of anything written, by bisection.
  bool meets_written(const char* low, const char* high) const {
    const auto behind = std::lower_bound(written_.begin(), written_.end(), high,
                                         [](const Written& w, const char* end) { return w.low < end; });
    return behind != written_.begin() && highest_[behind - written_.begin() - 1] > low;
  }

  std::string rule_, function_, weight_name_;
  std::vector<std::string> keys_, gradient_names_, state_names_;
  std::vector<std::size_t> group_;
  std::vector<std::vector<py::object>> objects_;  // by operand, then by weight
  std::vector<Operands> arrays_;
  std::vector<Seen> seen_;
  std::vector<std::ptrdiff_t> layouts_;
  std::vector<Written> written_;      // by address
  std::vector<const char*> highest_;  // highest address of all up to each of written_
  std::tuple<Share<float>, Share<double>> shares_;
  std::map<std::size_t, Array> copies_;  // those of the last step
  std::size_t size_ = 0;
  bool sound_ = false;  // the last check has been passed
};

template <class Rule>
constexpr std::size_t kArguments = 3 + Rule::kStates.size() + Rule::kTakes.size();

// One step of one array, past the lists: those would take longer than a step of 1,000 elements. Arguments: w,
// grad, states, what w is rounded to, and options in the order of the rule.
template <class Rule>
void step_one(const std::array<py::handle, kArguments<Rule>>& arguments) {
  constexpr const char* f = Rule::kName;
  constexpr std::size_t kArrays = 3 + Rule::kStates.size(), kGrad = kArrays - 1, kRounded = kArrays - 2;
  std::array<const char*, kArrays> names{"w"};
  std::array<Array, kArrays> arrays;  // w, states, rounded, grad: the last alone is not written
  std::array<std::pair<const char*, const char*>, kArrays> extent{};
  std::array<bool, kMaxStates> has{};
  for (std::size_t k = 0; k < kArrays; ++k) {
    const bool is_grad = k == kGrad, is_rounded = k == kRounded, is_state = k > 0 && k < kRounded;
    const py::handle value = arguments[k == 0 ? 0 : is_grad ? 1 : k + 1];
    if (k > 0) names[k] = is_grad ? "grad" : is_rounded ? "rounded" : Rule::kStates[k - 1];
    if (is_state) has[k - 1] = !value.is_none();
    if ((is_state || is_rounded) && value.is_none()) continue;
    const Arg arg{f, names[k]};
    arrays[k] = is_grad      ? input(arg, value, Accept::kHalf)
                : is_rounded ? output(arg, value, Accept::kHalf)
                             : output(arg, value);
    if (is_grad) require_gradient_dtype(arg, arrays[k], arrays[0]);
    if (is_rounded) require_rounded_dtype(arg, arrays[k], {f, "w"}, arrays[0]);
    if (is_state) require_dtype(arg, arrays[k], arrays[0].dtype());
    if (k > 0) require_same_shape(arg, arrays[k], arrays[0]);
    if (arrays[k].size() == 0) continue;
    extent[k] = bounds(arrays[k]);
    for (std::size_t j = 0; j < k; ++j) {
      if (extent[j].first >= extent[k].second || extent[k].first >= extent[j].second) continue;
      const std::size_t written = is_grad ? j : k;
      require_disjoint({f, names[written]}, arrays[written], names[written == k ? j : k],
                       arrays[written == k ? j : k]);
    }
  }
  Settings settings{f, {}, has};
  for (std::size_t k = 0; k < Rule::kTakes.size(); ++k) {
    settings.values[Rule::kTakes[k]] = py::reinterpret_borrow<py::object>(arguments[kArrays + k]);
  }
  visit(arrays[0].dtype(), [&](auto type) {
    using T = decltype(type);
    const auto options = Rule::template read<T>(settings);
    Parameter<T> p{
        arrays[0].extents(), arrays[0].template in_out<T>(), arrays.back().template in<T>(), {}, 0};
    for (std::size_t k = 0; k < Rule::kStates.size(); ++k) {
      if (has[k]) p.states[k] = arrays[1 + k].template in_out<T>();
    }
    if (arrays[kRounded]) p.rounded = arrays[kRounded].template out<T>();
    const Unlocked unlocked(p.shape.size);
    regkern::step(std::span<const Parameter<T>>(&p, 1), std::span(&options, 1), nullptr);
  });
}

template <std::size_t>
struct Positional {
  using type = py::handle;
};

template <class Rule>
void define_step(py::module_& m) {
  [&]<std::size_t... i>(std::index_sequence<i...>) {
    m.def(Rule::kName, [](typename Positional<i>::type... arguments) { step_one<Rule>({arguments...}); });
  }(std::make_index_sequence<kArguments<Rule>>());
}

}  // namespace

void register_optim(py::module_& m) {
  m.def("l2_decay", &l2_decay);
  define_step<Sgd>(m);
  define_step<Adam>(m);
  define_step<Adagrad>(m);
  define_step<Rmsprop>(m);
  define_step<Ftrl>(m);
  define_step<Lion>(m);
  py::class_<Parameters>(m, "Parameters")
      .def(py::init<std::string, std::string, std::pair<std::string, std::string>, std::vector<std::string>,
                    std::vector<py::object>, py::dict, std::vector<py::object>, std::vector<std::size_t>>())
      .def("check_options", &Parameters::check_options)
      .def("step", &Parameters::step);
}

}  // namespace regkern::bindings
