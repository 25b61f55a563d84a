// What the options of an optimizer's step mean: a group of Python's, read and checked into the numbers of a
// rule.

#ifndef REGKERN_BINDINGS_OPTIM_RULES_H_
#define REGKERN_BINDINGS_OPTIM_RULES_H_

#include <algorithm>
#include <array>
#include <cmath>
#include <limits>
#include <string>
#include <utility>

#include "arrays.h"
#include "regkern/optim.h"

namespace regkern::bindings {

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
inline py::handle option_of(py::handle group, Option option) {
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

  static double below_one(Arg arg, py::handle value) {
    const double v = bindings::real(arg, value);
    if (!(v >= 0 && v < 1)) value_error(arg, "be in [0, 1)", bindings::text(value));
    return v;
  }
  std::pair<double, double> betas() const {
    const py::handle both = values[kBetas];
    const py::ssize_t count = PySequence_Check(both.ptr()) ? PySequence_Size(both.ptr()) : 0;
    if (count < 0) {  // an array of rank 0 is a sequence without a length
      if (!PyErr_ExceptionMatches(PyExc_TypeError)) throw py::error_already_set();
      PyErr_Clear();
    }
    if (count <= 0 || is_masked(both)) type_error(arg(kBetas), "be two numbers", both);
    if (count != 2) value_error(arg(kBetas), "be two numbers", text(kBetas));
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
      const std::string rule = std::string("be '") + first + "' or '" + second + "'";
      if (!PyUnicode_Check(values[o].ptr())) type_error(arg(o), rule, values[o]);
      value_error(arg(o), rule, text(o));
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

// What a step divides by, an eps or the rate of FTRL: above 0 it is at least the root of the smallest square.
// Where smaller squares have become 0, there is nothing else to divide by.
template <class T>
T least_root(double v) {
  return v > 0 ? std::max(static_cast<T>(v), std::sqrt(std::numeric_limits<T>::denorm_min())) : T{0};
}

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
    o.eps = least_root<T>(eps);
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
    o.eps = least_root<T>(s.nonnegative(kEps));
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
    o.eps = least_root<T>(s.nonnegative(kEps));
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
    const double lr = s.nonnegative(kLr), beta = s.nonnegative(kBeta), l1 = s.nonnegative(kL1);
    const double l2 = s.nonnegative(kL2) * (s.either(kL2Convention, "paper", "keras") ? 2 : 1);
    auto o = shared_options<T, FtrlOptions>(s, 1);  // a decay that goes to z, not to w, is without lr
    o.alpha = least_root<T>(lr);
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

}  // namespace regkern::bindings

#endif  // REGKERN_BINDINGS_OPTIM_RULES_H_
