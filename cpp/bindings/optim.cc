#include "regkern/optim.h"

#include <pybind11/stl.h>

#include <algorithm>
#include <array>
#include <cmath>
#include <string>
#include <unordered_map>
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

// --- what the options of a step mean, one reader a rule ---------------------------------------------------

// A name as the string that Python keeps of it. Made once for each literal: a step reads a dozen of them.
py::handle interned(const char* literal) {
  static std::unordered_map<const void*, PyObject*> made;
  PyObject*& name = made[literal];
  if (name == nullptr) name = PyUnicode_InternFromString(literal);
  return name;
}

// Options of one group by name, and which states the rule has been given.
struct Settings {
  const char* function;
  py::dict values;
  std::array<bool, kMaxStates> has;

  Arg arg(const char* name) const { return {function, name}; }
  py::object operator[](const char* name) const { return values[interned(name)]; }
  double nonnegative(const char* name) const { return finite_nonnegative(arg(name), (*this)[name]); }
  bool is(const char* name) const { return flag(arg(name), (*this)[name]); }
  std::string text(const char* name) const { return py::cast<std::string>(py::repr((*this)[name])); }

  double positive(const char* name) const {
    const double v = nonnegative(name);
    if (v == 0) value_error(arg(name), "be > 0", text(name));
    return v;
  }
  double below_one(const char* name, py::handle value) const {
    const double v = real(arg(name), value);
    if (!(v >= 0 && v < 1)) value_error(arg(name), "be in [0, 1)", py::cast<std::string>(py::repr(value)));
    return v;
  }
  std::pair<double, double> betas() const {
    const py::object both = (*this)["betas"];
    if (!PySequence_Check(both.ptr()) || py::len(both) != 2) {
      type_error(arg("betas"), "be two numbers", both);
    }
    return {below_one("betas[0]", both[py::int_(0)]), below_one("betas[1]", both[py::int_(1)])};
  }
  // One of two words; true for the second.
  bool either(const char* name, const char* first, const char* second) const {
    const py::object word = (*this)[name];
    if (!word.equal(py::str(first)) && !word.equal(py::str(second))) {
      value_error(arg(name), std::string("be '") + first + "' or '" + second + "'", text(name));
    }
    return word.equal(py::str(second));
  }
  void require_state(std::size_t k, const char* name) const {
    if (!has[k]) type_error(arg(name), "be an ndarray", py::none());
  }
  void require_buffer(std::size_t k, double momentum) const {
    if (momentum > 0 && !has[k]) value_error(arg("buffer"), "be an array where momentum > 0", "None");
  }
};

template <class T, template <class> class Options>
Options<T> shared_options(const Settings& s, double lr) {
  const double decay = s.nonnegative("weight_decay"), l1 = s.nonnegative("l1");
  const bool decoupled = s.is("decoupled");
  const bool diagonal = s.values.contains(interned("metric")) && s.either("metric", "euclidean", "diag");
  Options<T> o;
  o.scale = s.is("maximize") ? T{-1} : T{1};
  o.decay = decay == 0 ? Decay::kNone : decoupled ? Decay::kDecoupled : Decay::kCoupled;
  o.weight_decay = static_cast<T>(decoupled ? lr * decay : decay);
  o.prox = l1 == 0 ? Prox::kNone : diagonal ? Prox::kDiagonal : Prox::kEuclidean;
  o.threshold = static_cast<T>(lr * l1);
  o.penalty_l1 = l1;
  o.penalty_l2 = decay;
  return o;
}

template <class T>
SgdOptions<T> sgd_options(const Settings& s) {
  const double lr = s.nonnegative("lr"), momentum = s.nonnegative("momentum");
  const double dampening = s.nonnegative("dampening");
  auto o = shared_options<T, SgdOptions>(s, lr);
  o.lr = static_cast<T>(lr);
  o.momentum = static_cast<T>(momentum);
  o.undampened = static_cast<T>(1 - dampening);
  o.nesterov = s.is("nesterov");
  s.require_buffer(0, momentum);
  if (o.nesterov && !(momentum > 0 && dampening == 0)) {
    value_error(s.arg("nesterov"), "go with momentum > 0 and dampening = 0",
                "momentum = " + s.text("momentum") + ", dampening = " + s.text("dampening"));
  }
  return o;
}

template <class T>
AdamOptions<T> adam_options(const Settings& s) {
  const double lr = s.nonnegative("lr"), eps = s.nonnegative("eps");
  const auto [beta1, beta2] = s.betas();
  const auto t = static_cast<double>(integer(s.arg("step"), s["step"]));
  if (t < 1) value_error(s.arg("step"), "be >= 1", s.text("step"));
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

template <class T>
AdagradOptions<T> adagrad_options(const Settings& s) {
  const double lr = s.nonnegative("lr");
  auto o = shared_options<T, AdagradOptions>(s, lr);
  o.lr = static_cast<T>(lr);
  o.eps = static_cast<T>(s.nonnegative("eps"));
  s.require_state(0, "square_sum");
  return o;
}

template <class T>
RmspropOptions<T> rmsprop_options(const Settings& s) {
  const double lr = s.nonnegative("lr"), alpha = s.below_one("alpha", s["alpha"]),
               momentum = s.nonnegative("momentum");
  auto o = shared_options<T, RmspropOptions>(s, lr);
  o.lr = static_cast<T>(lr);
  o.alpha = static_cast<T>(alpha);
  o.fresh = static_cast<T>(1 - alpha);
  o.eps = static_cast<T>(s.nonnegative("eps"));
  o.momentum = static_cast<T>(momentum);
  s.require_state(0, "square_avg");
  s.require_buffer(2, momentum);
  return o;
}

template <class T>
FtrlOptions<T> ftrl_options(const Settings& s) {
  const double lr = s.positive("lr"), beta = s.nonnegative("beta"), l1 = s.nonnegative("l1");
  const double l2 = s.nonnegative("l2") * (s.either("l2_convention", "paper", "keras") ? 2 : 1);
  auto o = shared_options<T, FtrlOptions>(s, 1);  // a decay that goes to z, not to w, is not multiplied by lr
  o.alpha = static_cast<T>(lr);
  o.beta = static_cast<T>(beta);
  o.l1 = static_cast<T>(l1);
  o.l2 = static_cast<T>(l2);
  o.penalty_l2 += l2;
  s.require_state(0, "z");
  s.require_state(1, "n");
  return o;
}

template <class T>
LionOptions<T> lion_options(const Settings& s) {
  const double lr = s.nonnegative("lr");
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

// Calls body with the reader of a rule.
template <class T, class Body>
void with_reader(const std::string& rule, Body&& body) {
  if (rule == "sgd_step") return body(&sgd_options<T>);
  if (rule == "adam_step") return body(&adam_options<T>);
  if (rule == "adagrad_step") return body(&adagrad_options<T>);
  if (rule == "rmsprop_step") return body(&rmsprop_options<T>);
  if (rule == "ftrl_step") return body(&ftrl_options<T>);
  if (rule == "lion_step") return body(&lion_options<T>);
  throw py::value_error("step: no rule is named " + rule);
}

// --- the arrays of a step ---------------------------------------------------------------------------------

// Weights and states that a rule steps, checked once, and again only where one of the arrays has been given
// other memory, shape or flags since.
class Parameters {
 public:
  // `keys` tell the arrays of a list apart in messages: the third weight is names[0] + keys[2], its gradient
  // names[1] + keys[2]. `states`: name → list of arrays, or None where the rule goes without. `group`: which
  // options are whose.
  Parameters(std::string rule, std::string function, std::pair<std::string, std::string> names,
             std::vector<std::string> keys, std::vector<py::object> weights, py::dict states,
             std::vector<std::size_t> group)
      : rule_(std::move(rule)),
        function_(std::move(function)),
        weight_name_(std::move(names.first)),
        keys_(std::move(keys)),
        group_(std::move(group)) {
    for (const std::string& key : keys_) gradient_names_.push_back(names.second + key);
    objects_.push_back(std::move(weights));
    for (const auto& [name, arrays] : states) {
      const std::size_t k = state_names_.size();
      state_names_.push_back(py::cast<std::string>(name));
      has_[k] = !arrays.is_none();
      objects_.push_back(has_[k] ? py::cast<std::vector<py::object>>(arrays) : std::vector<py::object>());
    }
    check();
  }

  // Reads the options of all groups, which checks them.
  void check_options(const py::list& groups) const {
    with_reader<double>(rule_, [&](auto read) {
      for (const py::handle values : groups) read(settings(values));
    });
  }

  // One step → (whether it was taken, norm of the gradient or None, (penalty, nonzeros, ‖Δw‖²) or None).
  py::tuple step(const py::list& grads, const py::list& groups, py::handle max_norm, bool skip_nonfinite,
                 bool collect) {
    const double limit =
        max_norm.is_none() ? 0 : finite_nonnegative({function_.c_str(), "max_grad_norm"}, max_norm);
    if (!sound_ || !unchanged()) check();
    std::vector<Array> gradients = checked(grads);
    py::tuple result;
    visit(arrays_.empty() ? Dtype::kFloat32 : arrays_[0][0].dtype(), [&](auto type) {
      using T = decltype(type);
      with_reader<T>(rule_, [&](auto read) {
        result = run<T>(read, gradients, groups, !max_norm.is_none(), limit, skip_nonfinite, collect);
      });
    });
    return result;
  }

 private:
  using Operands = std::array<Array, 1 + kMaxStates>;  // weights, then states

  // What tells that an array is still the one that was checked.
  struct Seen {
    explicit Seen(const Array& a) : proxy(py::detail::array_proxy(a.object().ptr())), bytes(a.bytes()) {
      flags = proxy->flags;
      descr = proxy->descr;
      shape.assign(a.shape(), a.shape() + a.ndim());
      strides.assign(a.strides(), a.strides() + a.ndim());
    }
    bool holds() const {
      return proxy->data == bytes && proxy->flags == flags && proxy->descr == descr &&
             static_cast<std::size_t>(proxy->nd) == shape.size() &&
             std::equal(shape.begin(), shape.end(), proxy->dimensions) &&
             std::equal(strides.begin(), strides.end(), proxy->strides);
    }
    const py::detail::PyArray_Proxy* proxy;
    const char* bytes;
    int flags;
    PyObject* descr;
    std::vector<std::ptrdiff_t> shape, strides;
  };

  struct Written {
    const char *low, *high;
    std::size_t index, operand;  // arrays_[index][operand]
  };

  Settings settings(py::handle values) const {
    return {function_.c_str(), py::reinterpret_borrow<py::dict>(values), has_};
  }

  std::string name(std::size_t index, std::size_t operand) const {
    return (operand == 0 ? weight_name_ : state_names_[operand - 1]) + keys_[index];
  }

  bool unchanged() const {
    return std::all_of(seen_.begin(), seen_.end(), [](const Seen& s) { return s.holds(); });
  }

  void check() {
    sound_ = false;
    arrays_.clear();
    seen_.clear();
    written_.clear();
    size_ = 0;
    for (std::size_t i = 0; i < keys_.size(); ++i) {
      Operands& operands = arrays_.emplace_back();
      for (std::size_t k = 0; k < objects_.size(); ++k) {
        if (k > 0 && !has_[k - 1]) continue;
        const std::string label = name(i, k);
        const Arg arg{function_.c_str(), label.c_str()};
        const Array& a = operands[k] = output(arg, objects_[k][i]);
        require_dtype(arg, a, arrays_[0][0].dtype());
        if (k > 0) require_same_shape(arg, a, operands[0]);
        seen_.emplace_back(a);
        if (a.size() == 0) continue;
        const auto [low, high] = bounds(a);
        written_.push_back({low, high, i, k});
      }
      size_ += operands[0].size();
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
    sound_ = true;
  }

  std::vector<Array> checked(const py::list& grads) const {
    if (grads.size() != arrays_.size()) {
      value_error({function_.c_str(), "grads"}, "hold " + std::to_string(arrays_.size()) + " arrays",
                  std::to_string(grads.size()));
    }
    std::vector<Array> gradients;
    gradients.reserve(arrays_.size());
    for (std::size_t i = 0; i < arrays_.size(); ++i) {
      const Arg arg{function_.c_str(), gradient_names_[i].c_str()};
      const Array& g = gradients.emplace_back(input(arg, grads[i]));
      require_dtype(arg, g, arrays_[i][0].dtype());
      require_same_shape(arg, g, arrays_[i][0]);
      if (meets_written(g)) refuse_overlap(arg, g);
    }
    return gradients;
  }

  // Whether the addresses of g meet those of anything written, by bisection.
  bool meets_written(const Array& g) const {
    if (g.size() == 0) return false;
    const auto [low, high] = bounds(g);
    const auto behind = std::lower_bound(written_.begin(), written_.end(), high,
                                         [](const Written& w, const char* end) { return w.low < end; });
    return behind != written_.begin() && highest_[behind - written_.begin() - 1] > low;
  }

  void refuse_overlap(Arg arg, const Array& g) const {
    for (const Written& w : written_) {
      const std::string label = name(w.index, w.operand);
      require_disjoint({arg.function, label.c_str()}, arrays_[w.index][w.operand], arg.name, g);
    }
  }

  template <class T, template <class> class Options>
  py::tuple run(Options<T> (*read)(const Settings&), const std::vector<Array>& gradients,
                const py::list& values, bool clip, double limit, bool skip_nonfinite, bool collect) const {
    std::vector<Options<T>> groups;
    for (const py::handle v : values) groups.push_back(read(settings(v)));
    std::vector<Parameter<T>> parameters;
    parameters.reserve(arrays_.size());
    for (std::size_t i = 0; i < arrays_.size(); ++i) {
      const Operands& a = arrays_[i];
      Parameter<T>& p = parameters.emplace_back(
          Parameter<T>{a[0].extents(), a[0].in_out<T>(), gradients[i].in<T>(), {}, group_[i]});
      for (std::size_t k = 0; k < kMaxStates; ++k) {
        if (has_[k]) p.states[k] = a[1 + k].in_out<T>();
      }
    }
    GradientNorm norm;
    StepStats stats;
    {
      const Unlocked unlocked(size_);
      if (clip || skip_nonfinite) norm = gradient_norm<T>(parameters);
      if (norm.finite || !skip_nonfinite) {
        // torch's clip_grad_norm_, its 1e-6 included
        const double factor = clip ? std::min(1.0, limit / (std::sqrt(norm.squared) + 1e-6)) : 1.0;
        for (Options<T>& o : groups) o.scale = static_cast<T>(o.scale * factor);
        regkern::step<T, Options>(parameters, groups, collect ? &stats : nullptr);
      }
    }
    py::object length = py::none(), collected = py::none();
    if (clip || skip_nonfinite) length = py::float_(std::sqrt(norm.squared));
    if (collect) {
      collected =
          py::make_tuple(stats.penalty, static_cast<std::int64_t>(stats.nonzeros), stats.squared_change);
    }
    return py::make_tuple(norm.finite || !skip_nonfinite, length, collected);
  }

  std::string rule_, function_, weight_name_;
  std::vector<std::string> keys_, gradient_names_, state_names_;
  std::vector<std::size_t> group_;
  std::vector<std::vector<py::object>> objects_;  // weights, then states
  std::array<bool, kMaxStates> has_{};
  std::vector<Operands> arrays_;
  std::vector<Seen> seen_;
  std::vector<Written> written_;      // by address
  std::vector<const char*> highest_;  // highest address of all up to each of written_
  std::size_t size_ = 0;
  bool sound_ = false;  // the last check has been passed
};

template <class T, template <class> class Options>
void step_one(const Parameter<T>& parameter, const Options<T>& options) {
  regkern::step<T, Options>({&parameter, 1}, {&options, 1}, nullptr);
}

// One step of one array, past the lists: those would take longer than a step of 1,000 elements.
void step(const std::string& rule, py::handle w, py::handle grad, const py::dict& states,
          const py::dict& options) {
  const char* const f = rule.c_str();
  const Array weights = output({f, "w"}, w);
  std::array<Array, kMaxStates> held;
  std::array<std::string, kMaxStates> names;
  std::array<bool, kMaxStates> has{};
  std::size_t count = 0;
  for (const auto& [key, array] : states) {
    const std::size_t k = count++;
    names[k] = py::cast<std::string>(key);
    has[k] = !array.is_none();
    if (!has[k]) continue;
    const Arg arg{f, names[k].c_str()};
    held[k] = output(arg, array);
    require_dtype(arg, held[k], weights.dtype());
    require_same_shape(arg, held[k], weights);
  }
  const Array g = input({f, "grad"}, grad);
  require_dtype({f, "grad"}, g, weights.dtype());
  require_same_shape({f, "grad"}, g, weights);
  require_disjoint({f, "w"}, weights, "grad", g);
  for (std::size_t k = 0; k < count; ++k) {
    const Arg arg{f, names[k].c_str()};
    require_disjoint(arg, held[k], "w", weights);
    for (std::size_t j = 0; j < k; ++j) require_disjoint(arg, held[k], names[j].c_str(), held[j]);
    require_disjoint(arg, held[k], "grad", g);
  }
  visit(weights.dtype(), [&](auto type) {
    using T = decltype(type);
    with_reader<T>(rule, [&](auto read) {
      const auto settings = read(Settings{f, options, has});
      Parameter<T> parameter{weights.extents(), weights.in_out<T>(), g.in<T>(), {}, 0};
      for (std::size_t k = 0; k < count; ++k) {
        if (has[k]) parameter.states[k] = held[k].in_out<T>();
      }
      const Unlocked unlocked(weights.size());
      step_one(parameter, settings);
    });
  });
}

}  // namespace

void register_optim(py::module_& m) {
  m.def("l2_decay", &l2_decay);
  m.def("step", &step);
  py::class_<Parameters>(m, "Parameters")
      .def(py::init<std::string, std::string, std::pair<std::string, std::string>, std::vector<std::string>,
                    std::vector<py::object>, py::dict, std::vector<std::size_t>>())
      .def("check_options", &Parameters::check_options)
      .def("step", &Parameters::step);
}

}  // namespace regkern::bindings
