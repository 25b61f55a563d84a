#include "regkern/optim.h"

#include <pybind11/stl.h>

#include <algorithm>
#include <array>
#include <cmath>
#include <deque>
#include <string>
#include <tuple>
#include <utility>
#include <vector>

#include "arrays.h"
#include "module.h"

namespace regkern::bindings {
namespace {

py::object l2_decay(py::handle w, py::handle rate, py::handle out) {
  constexpr const char* f = "l2_decay";
  const Array from = input({f, "w"}, w);
  const double r = probability({f, "rate"}, rate);
  const Array to = out_or_new({f, "out"}, out, "w", from);
  visit(from.dtype(), [&](auto type) {
    using T = decltype(type);
    const Unlocked unlocked(from.size());
    regkern::l2_decay<T>(from.extents(), from.in<T>(), to.out<T>(), 1 - r);
  });
  return to.object();
}

// --- what the options of a step mean ----------------------------------------------------------------------

enum Option {
  kStep,
  kLr,
  kMomentum,
  kDampening,
  kNesterov,
  kBetas,
  kAlpha,
  kBeta,
  kEps,
  kWeightDecay,
  kDecoupled,
  kMaximize,
  kL1,
  kL2,
  kL2Convention,
  kMetric,
  kOptions
};
constexpr const char* kOptionNames[kOptions] = {
    "step", "lr",           "momentum",  "dampening", "nesterov", "betas", "alpha",         "beta",
    "eps",  "weight_decay", "decoupled", "maximize",  "l1",       "l2",    "l2_convention", "metric"};

// What a group says of an option. Names are strings that Python keeps: a step reads a dozen.
py::handle option_of(py::handle group, Option option) {
  static const auto names = [] {
    std::array<PyObject*, kOptions> made;
    std::transform(std::begin(kOptionNames), std::end(kOptionNames), made.begin(),
                   PyUnicode_InternFromString);
    return made;
  }();
  const py::handle value = PyDict_GetItemWithError(group.ptr(), names[option]);
  if (!value) throw py::key_error(kOptionNames[option]);
  return value;
}

// Options of one group, those that the rule has, and which states the rule has been given.
struct Settings {
  const char* function;
  std::array<py::object, kOptions> values;  // held: reading one runs code that may drop another
  std::array<bool, kMaxStates> has;

  Arg arg(Option option) const { return {function, kOptionNames[option]}; }
  double real(Option o) const { return bindings::real(arg(o), values[o]); }
  double nonnegative(Option o) const { return finite_nonnegative(arg(o), values[o]); }
  bool is(Option o) const { return flag(arg(o), values[o]); }
  std::string text(Option o) const { return bindings::text(values[o]); }

  double positive(Option o) const {
    const double v = nonnegative(o);
    if (v == 0) value_error(arg(o), "be > 0", text(o));
    return v;
  }
  static double below_one(Arg arg, py::handle value) {
    const double v = bindings::real(arg, value);
    if (!(v >= 0 && v < 1)) value_error(arg, "be in [0, 1)", bindings::text(value));
    return v;
  }
  std::pair<double, double> betas() const {
    const py::handle both = values[kBetas];
    if (!PySequence_Check(both.ptr()) || py::len(both) != 2) type_error(arg(kBetas), "be two numbers", both);
    const py::object first = both[py::int_(0)], second = both[py::int_(1)];
    return {below_one({function, "betas[0]"}, first), below_one({function, "betas[1]"}, second)};
  }
  // One of two words; true for the second.
  bool either(Option o, const char* first, const char* second) const {
    const auto equals = [&](const char* word) {
      PyObject* p = values[o].ptr();
      return PyUnicode_Check(p) && PyUnicode_CompareWithASCIIString(p, word) == 0;
    };
    const bool is_second = equals(second);
    if (!is_second && !equals(first)) {
      value_error(arg(o), std::string("be '") + first + "' or '" + second + "'", text(o));
    }
    return is_second;
  }
  void require_state(std::size_t k, const char* name) const {
    if (!has[k]) type_error({function, name}, "be an ndarray", py::none());
  }
  void require_buffer(std::size_t k, double momentum) const {
    if (momentum > 0 && !has[k]) {
      value_error({function, "buffer"}, "be an array where momentum > 0", "None");
    }
  }
};

template <class T, template <class> class Options>
Options<T> shared_options(const Settings& s, double lr) {
  const double decay = s.nonnegative(kWeightDecay), l1 = s.nonnegative(kL1);
  const bool decoupled = s.is(kDecoupled);
  const bool diagonal = s.values[kMetric] && s.either(kMetric, "euclidean", "diag");
  Options<T> o;
  o.scale = s.is(kMaximize) ? T{-1} : T{1};
  o.decay = decay == 0 ? Decay::kNone : decoupled ? Decay::kDecoupled : Decay::kCoupled;
  o.weight_decay = static_cast<T>(decoupled ? lr * decay : decay);
  o.prox = l1 == 0 ? Prox::kNone : diagonal ? Prox::kDiagonal : Prox::kEuclidean;
  o.threshold = static_cast<T>(lr * l1);
  o.penalty_l1 = l1;
  o.penalty_l2 = decay;
  return o;
}

// A rule as Python sees it: its name, the names of its states, and its options, each in the order of the
// arguments; read() checks the options and says what they mean.

struct Sgd {
  static constexpr const char* kName = "sgd_step";
  static constexpr std::array kStates = {"buffer"};
  static constexpr std::array kTakes = {kLr,          kMomentum,  kDampening, kNesterov,
                                        kWeightDecay, kDecoupled, kMaximize,  kL1};

  template <class T>
  static SgdOptions<T> read(const Settings& s) {
    const double lr = s.nonnegative(kLr), momentum = s.nonnegative(kMomentum);
    const double dampening = s.nonnegative(kDampening);
    auto o = shared_options<T, SgdOptions>(s, lr);
    o.lr = static_cast<T>(lr);
    o.momentum = static_cast<T>(momentum);
    o.undampened = static_cast<T>(1 - dampening);
    o.nesterov = s.is(kNesterov);
    s.require_buffer(0, momentum);
    if (o.nesterov && !(momentum > 0 && dampening == 0)) {
      value_error(s.arg(kNesterov), "go with momentum > 0 and dampening = 0",
                  "momentum = " + s.text(kMomentum) + ", dampening = " + s.text(kDampening));
    }
    return o;
  }
};

struct Adam {
  static constexpr const char* kName = "adam_step";
  static constexpr std::array kStates = {"exp_avg", "exp_avg_sq", "max_exp_avg_sq"};
  static constexpr std::array kTakes = {kStep,      kLr,       kBetas, kEps,   kWeightDecay,
                                        kDecoupled, kMaximize, kL1,    kMetric};

  template <class T>
  static AdamOptions<T> read(const Settings& s) {
    const double lr = s.nonnegative(kLr), eps = s.nonnegative(kEps);
    const auto [beta1, beta2] = s.betas();
    const auto t = static_cast<double>(integer(s.arg(kStep), s.values[kStep]));
    if (t < 1) value_error(s.arg(kStep), "be >= 1", s.text(kStep));
    auto o = shared_options<T, AdamOptions>(s, lr);
    o.lr = static_cast<T>(lr / (1 - std::pow(beta1, t)));
    o.fresh1 = static_cast<T>(1 - beta1);
    o.beta2 = static_cast<T>(beta2);
    o.fresh2 = static_cast<T>(1 - beta2);
    o.unbias2 = static_cast<T>(1 / std::sqrt(1 - std::pow(beta2, t)));
    o.eps = static_cast<T>(eps);
    s.require_state(0, "exp_avg");
    s.require_state(1, "exp_avg_sq");
    return o;
  }
};

struct Adagrad {
  static constexpr const char* kName = "adagrad_step";
  static constexpr std::array kStates = {"square_sum"};
  static constexpr std::array kTakes = {kLr, kEps, kWeightDecay, kDecoupled, kMaximize, kL1, kMetric};

  template <class T>
  static AdagradOptions<T> read(const Settings& s) {
    const double lr = s.nonnegative(kLr);
    auto o = shared_options<T, AdagradOptions>(s, lr);
    o.lr = static_cast<T>(lr);
    o.eps = static_cast<T>(s.nonnegative(kEps));
    s.require_state(0, "square_sum");
    return o;
  }
};

struct Rmsprop {
  static constexpr const char* kName = "rmsprop_step";
  static constexpr std::array kStates = {"square_avg", "grad_avg", "buffer"};
  static constexpr std::array kTakes = {kLr,        kAlpha,    kEps, kMomentum, kWeightDecay,
                                        kDecoupled, kMaximize, kL1,  kMetric};

  template <class T>
  static RmspropOptions<T> read(const Settings& s) {
    const double lr = s.nonnegative(kLr), alpha = s.below_one(s.arg(kAlpha), s.values[kAlpha]),
                 momentum = s.nonnegative(kMomentum);
    auto o = shared_options<T, RmspropOptions>(s, lr);
    o.lr = static_cast<T>(lr);
    o.alpha = static_cast<T>(alpha);
    o.fresh = static_cast<T>(1 - alpha);
    o.eps = static_cast<T>(s.nonnegative(kEps));
    o.momentum = static_cast<T>(momentum);
    s.require_state(0, "square_avg");
    s.require_buffer(2, momentum);
    return o;
  }
};

struct Ftrl {
  static constexpr const char* kName = "ftrl_step";
  static constexpr std::array kStates = {"z", "n"};
  static constexpr std::array kTakes = {kLr,           kBeta,        kL1,        kL2,
                                        kL2Convention, kWeightDecay, kDecoupled, kMaximize};

  template <class T>
  static FtrlOptions<T> read(const Settings& s) {
    const double lr = s.positive(kLr), beta = s.nonnegative(kBeta), l1 = s.nonnegative(kL1);
    const double l2 = s.nonnegative(kL2) * (s.either(kL2Convention, "paper", "keras") ? 2 : 1);
    auto o = shared_options<T, FtrlOptions>(s, 1);  // a decay that goes to z, not to w, is without lr
    o.alpha = static_cast<T>(lr);
    o.beta = static_cast<T>(beta);
    o.l1 = static_cast<T>(l1);
    o.l2 = static_cast<T>(l2);
    o.penalty_l2 += l2;
    s.require_state(0, "z");
    s.require_state(1, "n");
    return o;
  }
};

struct Lion {
  static constexpr const char* kName = "lion_step";
  static constexpr std::array kStates = {"exp_avg"};
  static constexpr std::array kTakes = {kLr, kBetas, kWeightDecay, kDecoupled, kMaximize, kL1};

  template <class T>
  static LionOptions<T> read(const Settings& s) {
    const double lr = s.nonnegative(kLr);
    const auto [beta1, beta2] = s.betas();
    auto o = shared_options<T, LionOptions>(s, lr);
    o.lr = static_cast<T>(lr);
    o.beta1 = static_cast<T>(beta1);
    o.fresh1 = static_cast<T>(1 - beta1);
    o.beta2 = static_cast<T>(beta2);
    o.fresh2 = static_cast<T>(1 - beta2);
    s.require_state(0, "exp_avg");
    return o;
  }
};

// Calls body with the rule of a name.
template <class Body>
void with_rule(const std::string& name, Body&& body) {
  const auto found = [&]<class... Rule>() {
    return ((name == Rule::kName && (body(Rule()), true)) || ...);
  }.template operator()<Sgd, Adam, Adagrad, Rmsprop, Ftrl, Lion>();
  if (!found) throw py::value_error("step: no rule is named " + name);
}

// --- the arrays of a step ---------------------------------------------------------------------------------

constexpr int kDense = py::detail::npy_api::NPY_ARRAY_C_CONTIGUOUS_ | py::detail::npy_api::NPY_ARRAY_ALIGNED_;

// Weights and states that a rule steps, checked once, and the weights again where one of them has been given
// other memory, shape or flags since. The states are the optimizer's own, which nobody can do that to.
class Parameters {
 public:
  // `keys` tell the arrays of a list apart in messages: the third weight is names[0] + keys[2], its gradient
  // names[1] + keys[2]. `states`: name → list of arrays, each None where its options go without. `group`:
  // which options are whose.
  Parameters(std::string rule, std::string function, std::pair<std::string, std::string> names,
             std::vector<std::string> keys, std::vector<py::object> weights, py::dict states,
             std::vector<std::size_t> group)
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
  // None for the constructor's; and what of the attributes is other after the step. It is asked before
  // anything is written, and Python runs again when all is: an interrupt finds the step taken and counted, or
  // neither.
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
    PyObject *groups = nullptr, *group = nullptr, *after = nullptr;
    if (!PyArg_ParseTuple(answer.ptr(), "O!OO!", &PyList_Type, &groups, &group, &PyDict_Type, &after)) {
      throw py::error_already_set();
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
      if (!sound_ || !unchanged()) check();
      require_groups(call.group.empty() ? group_ : call.group,
                     std::max(float_options.size(), double_options.size()));
      const auto floats = share<float>().with_gradients(*this, call);
      const auto doubles = share<double>().with_gradients(*this, call);
      const bool norm_asked = asked.clip || asked.skip;
      GradientNorm norm;
      StepStats stats;
      {
        const Unlocked unlocked(size_);
        if (norm_asked) {
          for (const GradientNorm& part : {gradient_norm<float>(floats), gradient_norm<double>(doubles)}) {
            norm.squared += part.squared;
            norm.finite = norm.finite && part.finite;
          }
        }
        if (norm.finite || !asked.skip) {
          // torch's clip_grad_norm_, its 1e-6 included, and its NaN
          const double ratio = asked.clip ? asked.limit / (std::sqrt(norm.squared) + 1e-6) : 1.0;
          const double factor = ratio > 1 ? 1.0 : ratio;
          const auto take = [&](const auto& parameters, auto& options) {
            if (parameters.empty()) return;
            for (auto& o : options) o.scale = static_cast<decltype(o.scale)>(o.scale * factor);
            regkern::step(std::span(parameters), std::span(std::as_const(options)),
                          asked.collect ? &stats : nullptr);
          };
          take(floats, float_options);
          take(doubles, double_options);
        }
      }
      taken = norm.finite || !asked.skip;
      py::object length = py::none(), collected = py::none();
      if (norm_asked) length = py::float_(std::sqrt(norm.squared));
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
  using Operands = std::array<Array, 1 + kMaxStates>;  // weights, then states

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
    std::deque<Array> converted;     // gradients whose strides are theirs: they stay where they are
    std::vector<std::size_t> group;  // if not empty: in place of the constructor's
  };

  // The parameters of one dtype.
  template <class T>
  struct Share {
    std::vector<Parameter<T>> parameters;
    std::vector<std::size_t> index;  // among all

    // A copy, in which their gradients are: several threads may call.
    std::vector<Parameter<T>> with_gradients(Parameters& all, Call& call) const {
      std::vector<Parameter<T>> filled = parameters;
      for (std::size_t j = 0; j < filled.size(); ++j) {
        const std::size_t i = index[j];
        const py::handle g = call.grads[i];
        if (all.is_plain(g, i)) {
          filled[j].grad = {reinterpret_cast<const T*>(proxy(g)->data), nullptr};
        } else if (!g.is_none()) {
          filled[j].grad = call.converted.emplace_back(all.gradient(g, i)).template in<T>();
        }
        if (!call.group.empty()) filled[j].group = call.group[i];
      }
      return filled;
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
      g = input({function_.c_str(), gradient_names_[i].c_str()}, g).object();
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
    return (operand == 0 ? weight_name_ : state_names_[operand - 1]) + keys_[index];
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
        const Array& a = operands[k] = output(arg, objects_[k][i]);
        if (k > 0) {
          require_dtype(arg, a, operands[0].dtype());
          require_same_shape(arg, a, operands[0]);
        }
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
    share<T>().parameters.push_back(p);
    share<T>().index.push_back(i);
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
    const Array g = input(arg, value);
    require_dtype(arg, g, arrays_[i][0].dtype());
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
  std::vector<std::vector<py::object>> objects_;  // weights, then states
  std::vector<Operands> arrays_;
  std::vector<Seen> seen_;
  std::vector<std::ptrdiff_t> layouts_;
  std::vector<Written> written_;      // by address
  std::vector<const char*> highest_;  // highest address of all up to each of written_
  std::tuple<Share<float>, Share<double>> shares_;
  std::size_t size_ = 0;
  bool sound_ = false;  // the last check has been passed
};

template <class Rule>
constexpr std::size_t kArguments = 2 + Rule::kStates.size() + Rule::kTakes.size();

// One step of one array, past the lists: those would take longer than a step of 1,000 elements. Arguments: w,
// grad, states and options in the order of the rule.
template <class Rule>
void step_one(const std::array<py::handle, kArguments<Rule>>& arguments) {
  constexpr const char* f = Rule::kName;
  constexpr std::size_t kArrays = 2 + Rule::kStates.size();
  std::array<const char*, kArrays> names{"w"};
  std::array<Array, kArrays> arrays;  // w, states, grad: the last alone is not written
  std::array<std::pair<const char*, const char*>, kArrays> extent{};
  std::array<bool, kMaxStates> has{};
  for (std::size_t k = 0; k < kArrays; ++k) {
    const bool is_grad = k + 1 == kArrays;
    const py::handle value = arguments[k == 0 ? 0 : is_grad ? 1 : k + 1];
    if (k > 0) names[k] = is_grad ? "grad" : Rule::kStates[k - 1];
    if (k > 0 && !is_grad) {
      has[k - 1] = !value.is_none();
      if (!has[k - 1]) continue;
    }
    const Arg arg{f, names[k]};
    arrays[k] = is_grad ? input(arg, value) : output(arg, value);
    if (k > 0) {
      require_dtype(arg, arrays[k], arrays[0].dtype());
      require_same_shape(arg, arrays[k], arrays[0]);
    }
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
                    std::vector<py::object>, py::dict, std::vector<std::size_t>>())
      .def("check_options", &Parameters::check_options)
      .def("step", &Parameters::step);
}

}  // namespace regkern::bindings
