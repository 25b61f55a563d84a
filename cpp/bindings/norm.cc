// Binds batch norm, forward and backward, of a batch or of virtual batches.

#include <algorithm>
#include <cstdint>
#include <cstring>
#include <initializer_list>
#include <string>
#include <utility>
#include <vector>

#include "channels.h"
#include "module.h"
#include "tensors.h"

namespace regkern::bindings {
namespace {

// r ← (1 − momentum)·r + momentum·(batch·factor), through any stride.
template <class T>
void update_running(const Array& running, double momentum, const double* batch, double factor) {
  if (running.dense() && !is_half(running.dtype())) {
    return batch_norm_update<T>(batch, momentum, factor, running.size(), running.data<T>());
  }
  std::vector<T> values(running.size());
  regkern::read(running.extents(), running.in<T>(), values.data());
  batch_norm_update<T>(batch, momentum, factor, values.size(), values.data());
  regkern::write(running.extents(), values.data(), running.out<T>());
}

// An effective count up to this is one: rounding, or weights of 1 and 1e-9.
constexpr double kOneElement = 1 + 1e-9;

// A batch, in the order of its memory, cut along its first axis into virtual batches of `length` samples, the
// last of which may be shorter; one, where there is no length.
struct Parts {
  Parts(const Array& x, const AxisOrder& order, int channel, std::size_t length)
      : axis(order.place(channel)), dims(order.of(x, x.shape())) {
    samples = static_cast<std::size_t>(dims[0]);
    step = length == 0 || length > samples ? samples : length;
    count = length == 0 || samples == 0 ? 1 : (samples + step - 1) / step;
  }
  ChannelShape shape(std::size_t i) {
    dims[0] = static_cast<std::ptrdiff_t>(std::min(step, samples - i * step));
    return ChannelShape(Extents(static_cast<int>(dims.size()), dims.data()), axis);
  }
  // Calls body(i, shape of part i) for one after the other.
  template <class Body>
  void each(Body&& body) {
    for (std::size_t i = 0; i < count; ++i) body(i, shape(i));
  }
  // Part i of an operand of the batch's shape. Where there are several, they are cut along axis 0.
  template <class Operand>
  Operand part(Operand operand, const Array& a, std::size_t i) const {
    if (i != 0 && operand.data != nullptr) {
      const std::ptrdiff_t bytes = static_cast<std::ptrdiff_t>(i * step) * a.strides()[0];
      operand.data = reinterpret_cast<decltype(operand.data)>(reinterpret_cast<std::uintptr_t>(operand.data) +
                                                              static_cast<std::uintptr_t>(bytes));
    }
    return operand;
  }
  // Bytes of the bits of a whole part: the last takes no more.
  std::size_t bit_bytes() { return shape(0).bit_bytes(); }

  int axis;
  std::vector<std::ptrdiff_t> dims;
  std::size_t samples, step, count;
};

// The order in which a batch is worked on, and in which its bits are kept: that of its memory, where this
// leaves the samples of virtual batches in front.
AxisOrder order_of(const Array& x, std::size_t virtual_size) {
  const AxisOrder order = AxisOrder::of_memory(x);
  return virtual_size == 0 ? order : order.keeping(1);
}

AxisOrder require_order(Arg arg, py::handle value, const Array& x, bool is_virtual) {
  if (value.is_none()) return {};
  if (!py::isinstance<py::tuple>(value)) type_error(arg, "be a tuple of ints or None", value);
  std::vector<int> axes;
  std::vector<bool> seen(static_cast<std::size_t>(x.ndim()));
  for (const py::handle entry : value) {
    const std::int64_t axis = integer(arg, entry);
    const bool fits = axis >= 0 && axis < x.ndim() && !seen[static_cast<std::size_t>(axis)];
    if (!fits || (is_virtual && axes.empty() && axis != 0)) break;
    seen[static_cast<std::size_t>(axis)] = true;
    axes.push_back(static_cast<int>(axis));
  }
  if (axes.size() != seen.size() || axes.size() != py::len(value)) {
    value_error(arg, "be the axes of x in an order", text(value));
  }
  return AxisOrder(std::move(axes));
}

// Samples of a virtual batch, which are counted along axis 0; 0 for None.
std::size_t virtual_size_of(Arg arg, py::handle value, const char* axis_name, const Channels& channels) {
  if (value.is_none()) return 0;
  const std::int64_t size = integer(arg, value);
  if (size < 1) value_error(arg, "be >= 1", std::to_string(size));
  if (channels.axis == 0) {
    value_error({arg.function, axis_name}, "not be 0 where there are virtual batches", "0");
  }
  return static_cast<std::size_t>(size);
}

// Statistics of the parts, dense.
Array require_parts(Arg arg, py::handle value, std::initializer_list<std::size_t> shape) {
  const Array a = input(arg, value);
  require_float64(arg, a);
  const std::vector<std::ptrdiff_t> wanted(shape.begin(), shape.end());
  require_shape(arg, a, static_cast<int>(wanted.size()), wanted.data());
  return dense_vector(a);
}

// The bits that an activation left, dense: what a caller has put in their place is an argument like others.
py::array_t<std::uint8_t> require_bits(Arg arg, py::handle value, std::size_t bytes) {
  if (!py::isinstance<py::array_t<std::uint8_t>>(value)) type_error(arg, "be an ndarray of uint8", value);
  const auto given = py::reinterpret_borrow<py::array>(value);
  if (given.ndim() != 1 || static_cast<std::size_t>(given.size()) != bytes) {
    value_error(arg, "be as the forward left it: " + std::to_string(bytes) + " bytes",
                "shape " + shape_text(static_cast<int>(given.ndim()), given.shape()));
  }
  return py::array_t<std::uint8_t, py::array::c_style>::ensure(given);
}

struct ForwardArguments {
  py::handle function, x, gamma, beta, running_mean, running_var, training, momentum, eps, axis, unbiased,
      weights, virtual_batch_size, residual, negative_slope, out;
};

// A call of batch_norm: its arguments, checked in the order in which they are given, and what it makes.
class Forward {
 public:
  explicit Forward(const ForwardArguments& a)
      : f(PyUnicode_AsUTF8(a.function.ptr())),
        x_(input({f, "x"}, a.x, Accept::kHalf)),
        channels_(f, x_, a.axis),
        training_(flag({f, "training"}, a.training)),
        momentum_(probability({f, "momentum"}, a.momentum)),
        eps_(finite_nonnegative({f, "eps"}, a.eps)),
        unbiased_(flag({f, "unbiased"}, a.unbiased)),
        activated_(!a.negative_slope.is_none()),
        slope_(activated_ ? finite_nonnegative({f, "negative_slope"}, a.negative_slope) : 0),
        virtual_size_(virtual_size_of({f, "virtual_batch_size"}, a.virtual_batch_size, "axis", channels_)),
        order_(order_of(x_, training_ ? virtual_size_ : 0)),
        gamma_(channels_.parameter("gamma", a.gamma, x_)),
        beta_(channels_.parameter("beta", a.beta, x_)),
        running_mean_(channels_.parameter("running_mean", a.running_mean, x_, training_)),
        running_var_(channels_.parameter("running_var", a.running_var, x_, training_)) {
    if (!training_ && !(running_mean_ && running_var_)) {
      value_error({f, running_mean_ ? "running_var" : "running_mean"}, "be an array where training is False",
                  "None");
    }
    weights_ = like_x({f, "weights"}, a.weights, x_);
    residual_ = like_x({f, "residual"}, a.residual, x_);
    y_ = out_or_new({f, "out"}, a.out, "x", x_, order_in_library(f));
    require_disjoint_operands();
    dense_gamma_ = dense_vector(gamma_);
    dense_beta_ = dense_vector(beta_);
  }

  // Refuses what has no variance.
  void require_several() const {
    std::size_t n = 1;
    for (int i = 0; i < x_.ndim(); ++i) n *= i == channels_.axis ? 1 : static_cast<std::size_t>(x_.dim(i));
    if (!training_ || n != 1) return;
    value_error({f, "x"}, "have more than 1 value a channel in training",
                "shape " + shape_text(x_.ndim(), x_.shape()));
  }

  py::tuple run() {
    Parts parts(x_, order_, channels_.axis, training_ ? virtual_size_ : 0);
    const Ordered x(x_, order_), weights(weights_, order_), residual(residual_, order_), y(y_, order_);
    mean_ = new_vector(Dtype::kFloat64, parts.count * channels_.count);
    invstd_ = new_vector(Dtype::kFloat64, parts.count * channels_.count);
    count_ = new_vector(Dtype::kFloat64, parts.count);
    bit_bytes_ = activated_ ? parts.bit_bytes() : 0;
    const py::object none = py::none();
    py::object positive = none;
    if (activated_) {
      const std::size_t size = parts.count * bit_bytes_;
      py::array_t<std::uint8_t> bits(static_cast<py::ssize_t>(size));
      bits_ = bits.mutable_data();
      // No bits but those of elements: the last part may have fewer than its room.
      const std::size_t written = parts.count == 1 ? bit_bytes_ - ChannelShape::kBitsBehind : 0;
      std::memset(bits_ + written, 0, size - written);
      positive = std::move(bits);
    }
    visit(x_.dtype(), [&](auto type) {
      using T = decltype(type);
      for (const Array* running : {&running_mean_, &running_var_}) {
        if (*running) running->data<T>();  // what cannot be written must be known before anything is
      }
      const Operands<T> operands{x.in<T>(),  weights.in<T>(),          residual.in<T>(),
                                 y.out<T>(), pointer<T>(dense_gamma_), pointer<T>(dense_beta_)};
      const Unlocked unlocked(x_.size());
      if (training_) {
        train(operands, parts, weights_ ? weights.steps() : nullptr);
      } else {
        evaluate(operands, parts);
      }
    });
    const bool overwritten = x_.size() != 0 && y_.address() == x_.address();
    return py::make_tuple(y_.object(), overwritten ? none : x_.object(), gamma_ ? gamma_.object() : none,
                          mean_.object(), invstd_.object(), channels_.axis, count_.object(), positive,
                          to_python(order_));
  }

 private:
  template <class T>
  struct Operands {
    In<T> x, weights, residual;
    Out<T> y;
    const T *gamma, *beta;
  };

  void require_disjoint_operands() const {
    for (const auto& [name, vector] : {std::pair{"gamma", &gamma_},
                                       {"beta", &beta_},
                                       {"running_mean", &running_mean_},
                                       {"running_var", &running_var_}}) {
      require_disjoint({f, "out"}, y_, name, *vector);
    }
    require_disjoint({f, "out"}, y_, "weights", weights_);
    require_disjoint({f, "out"}, y_, "residual", residual_, true);
    if (!training_) return;
    for (const auto& [name, written] :
         {std::pair{"running_mean", &running_mean_}, {"running_var", &running_var_}}) {
      for (const auto& [other, read] : {std::pair{"x", &x_},
                                        {"gamma", &gamma_},
                                        {"beta", &beta_},
                                        {"weights", &weights_},
                                        {"residual", &residual_}}) {
        require_disjoint({f, name}, *written, other, *read);
      }
    }
    require_disjoint({f, "running_mean"}, running_mean_, "running_var", running_var_);
  }

  // What follows the normalization of part i.
  template <class T>
  Epilogue<T> epilogue(const Operands<T>& all, const Parts& parts, std::size_t i) const {
    return {parts.part(all.residual, residual_, i), activated_, slope_,
            activated_ ? bits_ + i * bit_bytes_ : nullptr};
  }

  template <class T>
  void train(const Operands<T>& all, Parts& parts, const std::ptrdiff_t* weight_steps) {
    std::vector<double> var(channels_.count);
    parts.each([&](std::size_t i, const ChannelShape& shape) {
      double* const mean = mean_.data<double>() + i * channels_.count;
      const In<T> weights = parts.part(all.weights, weights_, i);
      const double n = batch_norm_train<T>(shape, {.x = parts.part(all.x, x_, i),
                                                   .weights = weights,
                                                   .y = parts.part(all.y, y_, i),
                                                   .gamma = all.gamma,
                                                   .beta = all.beta,
                                                   .eps = eps_,
                                                   .mean = mean,
                                                   .var = var.data(),
                                                   .invstd = invstd_.data<double>() + i * channels_.count,
                                                   .epilogue = epilogue(all, parts, i)});
      count_.data<double>()[i] = n;
      if (n == 0) return;
      if (running_mean_) update_running<T>(running_mean_, momentum_, mean, 1.0);
      if (!running_var_) return;
      const double elements =
          unbiased_ && weights_ ? effective_count<T>(weights, weight_steps, parts.dims, parts.axis) : n;
      if (!unbiased_) {
        update_running<T>(running_var_, momentum_, var.data(), 1.0);
      } else if (elements > kOneElement) {
        update_running<T>(running_var_, momentum_, var.data(), elements / (elements - 1));
      }
    });
  }

  template <class T>
  void evaluate(const Operands<T>& all, Parts& parts) {
    double *mean = mean_.data<double>(), *invstd = invstd_.data<double>();
    const std::vector<double> means = to_doubles<T>(running_mean_), vars = to_doubles<T>(running_var_);
    const BatchNormScales by = batch_norm_scales<T>(vars.data(), all.gamma, all.beta, eps_, channels_.count);
    std::copy(means.begin(), means.end(), mean);
    std::copy(by.invstd.begin(), by.invstd.end(), invstd);
    const ChannelShape shape = parts.shape(0);
    batch_norm_apply<T>(shape, all.x, all.y, mean, by.scale.data(), by.shift.data(), epilogue(all, parts, 0));
    count_.data<double>()[0] = static_cast<double>(shape.count());
  }

  const char* f;
  Array x_;
  Channels channels_;
  bool training_;
  double momentum_, eps_;
  bool unbiased_, activated_;
  double slope_;
  std::size_t virtual_size_;
  AxisOrder order_;
  Array gamma_, beta_, running_mean_, running_var_, weights_, residual_, y_, dense_gamma_, dense_beta_;
  Array mean_, invstd_, count_;  // `channels_.count` numbers a part, and one
  std::size_t bit_bytes_ = 0;    // of a part
  std::uint8_t* bits_ = nullptr;
};

py::tuple batch_norm(const ForwardArguments& a) { return Forward(a).run(); }

struct BackwardArguments {
  py::handle dy, x, gamma, mean, invstd, axis, training, count, weights, positive, negative_slope,
      virtual_batch_size, order, wants_dx, wants_parameters, wants_residual, out;
};

// A call of batch_norm_backward: a cache and a gradient, checked, and what it makes of them.
class Backward {
 public:
  explicit Backward(const BackwardArguments& a)
      : x_(input({f, "cache.x"}, a.x, Accept::kHalf)),
        dy_(gradient_of(a.dy, x_)),
        channels_(f, x_, a.axis, "cache.axis"),
        training_(flag({f, "cache.training"}, a.training)),
        gamma_(channels_.parameter("cache.gamma", a.gamma, x_)),
        weights_(like_x({f, "cache.weights"}, a.weights, x_)),
        activated_(!a.negative_slope.is_none()),
        slope_(activated_ ? finite_nonnegative({f, "cache.negative_slope"}, a.negative_slope) : 0),
        virtual_size_(
            virtual_size_of({f, "cache.virtual_batch_size"}, a.virtual_batch_size, "cache.axis", channels_)),
        order_(require_order({f, "cache.order"}, a.order, x_, virtual_size_ != 0)),
        parts_(x_, order_, channels_.axis, virtual_size_) {
    if (!activated_ && !a.positive.is_none()) {
      type_error({f, "cache.positive"}, "be None where no activation was applied", a.positive);
    }
    const bool is_virtual = virtual_size_ != 0;
    mean_ = statistics("cache.mean", a.mean, is_virtual);
    invstd_ = statistics("cache.invstd", a.invstd, is_virtual);
    count_ = require_parts({f, "cache.count"}, a.count, {parts_.count});
    require_counts();
    bit_bytes_ = activated_ ? parts_.bit_bytes() : 0;
    if (activated_) positive_ = require_bits({f, "cache.positive"}, a.positive, parts_.count * bit_bytes_);
    const bool needs_dx = flag({f, "wrt"}, a.wants_dx);
    needs_parameters_ = flag({f, "wrt"}, a.wants_parameters);
    const Array to = needs_dx || !a.out.is_none() ? out_or_new({f, "out"}, a.out, "dy", dy_) : Array();
    if (needs_dx) dx_ = to;
    const TensorLibrary* const library = TensorLibrary::current();
    const bool is_tensor = library != nullptr && library->exchange.is_tensor(a.wants_residual);
    if (is_tensor || is_view(a.wants_residual)) {  // where to write it
      residual_ = out_or_new({f, "wrt"}, a.wants_residual, "dy", dy_);
      require_disjoint({f, "wrt"}, residual_, "out", dx_);
    } else if (flag({f, "wrt"}, a.wants_residual)) {
      residual_ = new_like({f, "wrt"}, dy_);
    }
    require_disjoint({f, "out"}, dx_, "cache.x", x_);
    require_disjoint({f, "out"}, dx_, "cache.gamma", gamma_);
    require_disjoint({f, "out"}, dx_, "cache.weights", weights_);
  }

  // (dx, dgamma, dbeta, dresidual), None for what is not wanted.
  py::tuple run() {
    const Array& like = gamma_ ? gamma_ : x_;
    const auto made = [&] { return needs_parameters_ ? new_vector_like(like, channels_.count) : Array(); };
    const Array dgamma = made(), dbeta = made();
    run(dgamma, dbeta);
    const auto object = [](const Array& a) { return a ? a.object() : py::object(py::none()); };
    return py::make_tuple(object(dx_), object(dgamma), object(dbeta), object(residual_));
  }
  // The same, into vectors that are given, or not.
  void run(const Array& dgamma, const Array& dbeta) {
    const Memory positive({f, "cache.positive"}, positive_);
    const Array dense_gamma = dense_vector(gamma_);
    const Ordered x(x_, order_), dy(dy_, order_), weights(weights_, order_), dx(dx_, order_),
        residual(residual_, order_);
    visit(x_.dtype(), [&](auto type) {
      using T = decltype(type);
      const BatchNormGradient<T> whole{
          .x = x.in<T>(),
          .dy = {dy.in<T>(), activated_ ? reinterpret_cast<const std::uint8_t*>(positive.use()) : nullptr,
                 slope_},
          .weights = weights.in<T>(),
          .dx = dx.out<T>(),
          .residual = residual.out<T>(),
          .gamma = pointer<T>(dense_gamma),
          .mean = mean_.data<double>(),
          .invstd = invstd_.data<double>(),
          .count = 0,
          .frozen = !training_};
      const Unlocked unlocked(x_.size());
      const std::vector<double> sums = run_parts(whole);
      if (dgamma) round_to<T>(dgamma, sums.data());
      if (dbeta) round_to<T>(dbeta, sums.data() + channels_.count);
    });
  }

 private:
  static constexpr const char* f = "batch_norm_backward";

  static Array gradient_of(py::handle dy, const Array& x) {
    const Array gradient = input({f, "dy"}, dy, Accept::kHalf);
    require_dtype({f, "dy"}, gradient, x.dtype());
    require_same_shape({f, "dy"}, gradient, x);
    return gradient;
  }
  Array statistics(const char* name, py::handle value, bool is_virtual) const {
    return is_virtual ? require_parts({f, name}, value, {parts_.count, channels_.count})
                      : require_parts({f, name}, value, {channels_.count});
  }
  void require_counts() {
    for (std::size_t i = 0; i < parts_.count; ++i) {
      const double n = count_.data<double>()[i];
      if (!(n >= 0)) value_error({f, "cache.count"}, "be >= 0", std::to_string(n));
      const std::size_t elements = parts_.shape(i).count();
      if (!weights_ && x_.size() != 0 && n != static_cast<double>(elements)) {
        value_error({f, "cache.count"}, "be the elements of a channel, " + std::to_string(elements),
                    std::to_string(n));
      }
    }
  }

  // dx and the residual's gradient of all parts; dgamma and dbeta, one behind the other, where they are
  // wanted.
  template <class T>
  std::vector<double> run_parts(const BatchNormGradient<T>& whole) {
    std::vector<double> total(needs_parameters_ ? 2 * channels_.count : 0),
        sums(parts_.count > 1 ? total.size() : 0);
    parts_.each([&](std::size_t i, const ChannelShape& shape) {
      BatchNormGradient<T> part = whole;
      part.x = parts_.part(whole.x, x_, i);
      part.dy.dy = parts_.part(whole.dy.dy, dy_, i);
      if (activated_) part.dy.positive += i * bit_bytes_;
      part.weights = parts_.part(whole.weights, weights_, i);
      part.dx = parts_.part(whole.dx, dx_, i);
      part.residual = parts_.part(whole.residual, residual_, i);
      part.mean += i * channels_.count;
      part.invstd += i * channels_.count;
      part.count = count_.data<double>()[i];
      double* const some = needs_parameters_ ? (i == 0 ? total : sums).data() : nullptr;
      regkern::batch_norm_backward(shape, part, some, some == nullptr ? nullptr : some + channels_.count);
      for (std::size_t c = 0; i != 0 && c < total.size(); ++c) total[c] += sums[c];
    });
    return total;
  }

  Array x_, dy_;
  Channels channels_;
  bool training_;
  Array gamma_, weights_;
  bool activated_;
  double slope_;
  std::size_t virtual_size_;
  AxisOrder order_;
  Parts parts_;
  Array mean_, invstd_, count_;  // `channels_.count` numbers a part, and one
  std::size_t bit_bytes_;        // of a part
  py::array_t<std::uint8_t> positive_;
  bool needs_parameters_;
  Array dx_, residual_;
};

py::tuple batch_norm_backward(const BackwardArguments& a) { return Backward(a).run(); }

// --- of tensors --------------------------------------------------------------------------------------------

// What a function of autograd takes beside the tensors that it follows: (function, running mean, running
// variance, training, momentum, eps, negative slope).
struct Rest {
  explicit Rest(py::handle numbers) {
    if (!PyTuple_Check(numbers.ptr()) || PyTuple_GET_SIZE(numbers.ptr()) != 7) {
      type_error({"batch_norm", "numbers"}, "be a tuple of 7", numbers);
    }
    py::handle* const fields[] = {&function, &mean, &var, &training, &momentum, &eps, &slope};
    for (Py_ssize_t i = 0; i < 7; ++i) *fields[i] = PyTuple_GET_ITEM(numbers.ptr(), i);
    name = PyUnicode_AsUTF8(function.ptr());
    if (name == nullptr) throw py::error_already_set();
  }
  const char* name;
  py::handle function, mean, var, training, momentum, eps, slope;
};

// (context or None, x, weight, bias, residual, numbers) → y. The context gets what the backward needs.
PyObject* batch_norm_forward(PyObject* const* a, Py_ssize_t n) {
  require_count("batch_norm", n, 6);
  const py::handle context = a[0], x = a[1], weight = a[2], bias = a[3], residual = a[4];
  const Rest rest(a[5]);
  const TensorScope scope;
  const py::object one = py::int_(1), unbiased = py::bool_(true), none = py::none();
  Forward forward({rest.function, x, weight, bias, rest.mean, rest.var, rest.training, rest.momentum,
                   rest.eps, one, unbiased, none, none, residual, rest.slope, none});
  forward.require_several();
  const py::tuple made = forward.run();
  if (!context.is_none()) {
    keep(context, x, weight,
         py::make_tuple(made[3], made[4], rest.training, made[6], made[7], made[8], rest.slope, bias,
                        rest.function));
  }
  return py::object(made[0]).release().ptr();
}

// (context, dy) → the gradients of x, weight, bias and residual, and None.
PyObject* batch_norm_backward_of(PyObject* const* a, Py_ssize_t n) {
  require_count("batch_norm", n, 2);
  const py::handle dy = a[1];
  const KeptByContext context(a[0]);
  const py::tuple& kept = context.rest;
  const py::object &x = context.x, &weight = context.weight, bias = kept[7], none = py::none();
  const auto wants = [&](std::size_t i) { return context.wants(i); };
  const TensorScope scope;
  const TensorLibrary& library = scope.library();
  const std::string function = py::cast<std::string>(py::object(kept[8]));
  library.require(function.c_str(), {{"the gradient", dy}});
  const py::object slope = kept[6];
  const bool passes_on = wants(3) && slope.is_none();  // dy itself, to the residual
  const py::object dx = !wants(0) ? none : passes_on ? library.like(x) : library.room(a[0], dy, x);
  py::object residual = py::bool_(false);
  if (wants(3) && !slope.is_none()) residual = library.like(x);
  const auto of = [&](std::size_t i, const py::object& parameter) {
    return wants(i) ? output({function.c_str(), "weight"}, library.like(parameter), Accept::kHalf) : Array();
  };
  const Array dweight = of(1, weight), dbias = of(2, bias);
  const py::object one = py::int_(1), wants_dx = py::bool_(wants(0)),
                   wants_parameters = py::bool_(dweight || dbias);
  Backward backward({dy, x, weight, kept[0], kept[1], one, kept[2], kept[3], none, kept[4], slope, none,
                     kept[5], wants_dx, wants_parameters, residual, dx});
  backward.run(dweight, dbias);
  const auto object = [&](const Array& made) { return made ? made.object() : none; };
  const py::object of_residual = passes_on  ? py::reinterpret_borrow<py::object>(dy)
                                 : wants(3) ? residual
                                            : none;
  return py::make_tuple(dx, object(dweight), object(dbias), of_residual, none).release().ptr();
}

// Adds 1 to a tensor that counts.
void count_up(const TensorLibrary& library, py::handle counter, py::list& written) {
  constexpr std::uint8_t kInt = 0;
  DLTensor t;
  if (library.exchange.ask(counter, t) && t.ndim == 0 && t.code == kInt && t.bits == 64 &&
      t.data != nullptr) {
    ++*reinterpret_cast<std::int64_t*>(static_cast<char*>(t.data) + t.byte_offset);
    written.append(counter);
  } else {
    counter.attr("add_")(1);
  }
}

// (apply, x, weight, bias, residual, counter of batches or None, numbers) → y.
PyObject* batch_norm_of(PyObject* const* a, Py_ssize_t n) {
  require_count("batch_norm", n, 7);
  const py::handle x = a[1], weight = a[2], bias = a[3], residual = a[4], counter = a[5];
  const Rest rest(a[6]);
  const TensorLibrary& library = TensorLibrary::get();
  library.require(rest.name, {{"input", x},
                              {"weight", weight},
                              {"bias", bias},
                              {"residual", residual},
                              {"running_mean", rest.mean},
                              {"running_var", rest.var}});
  library.require_constant(rest.name, {{"running_mean", rest.mean}, {"running_var", rest.var}});
  const bool recorded = library.records({x, weight, bias, residual});
  py::object y;
  if (recorded) {
    y = called(a[0], {a[1], a[2], a[3], a[4], a[6]});
  } else {
    PyObject* const arguments[] = {Py_None, a[1], a[2], a[3], a[4], a[6]};
    y = py::reinterpret_steal<py::object>(batch_norm_forward(arguments, 6));
  }
  if (rest.training.ptr() == Py_True) {
    py::list written;
    for (const py::handle running : {rest.mean, rest.var}) {
      if (!running.is_none()) written.append(running);
    }
    if (!counter.is_none()) count_up(library, counter, written);
    if (written.size() != 0) called(library.written, {written.ptr()});
  }
  return y.release().ptr();
}

// (x, weight, bias, running mean, running variance, momentum): the means over the samples of the statistics
// of each go into the running ones, which are rounded once.
PyObject* update_of_instances(PyObject* const* a, Py_ssize_t n) {
  constexpr const char* f = "instance_norm";
  require_count(f, n, 6);
  const py::handle mean = a[3], var = a[4];
  const TensorLibrary& library = TensorLibrary::get();
  library.require(f, {{"input", a[0]}, {"running_mean", mean}, {"running_var", var}});
  library.require_constant(f, {{"running_mean", mean}, {"running_var", var}});
  const TensorScope scope;
  const Array x = input({f, "x"}, a[0], Accept::kHalf);
  const Channels channels(f, x, py::int_(1));
  const Array running_mean = channels.parameter("running_mean", mean, x, true);
  const Array running_var = channels.parameter("running_var", var, x, true);
  const double momentum = probability({f, "momentum"}, a[5]);
  const Array gamma = channels.parameter("gamma", a[1], x), beta = channels.parameter("beta", a[2], x);
  for (const auto& [name, running] :
       {std::pair{"running_mean", &running_mean}, {"running_var", &running_var}}) {
    for (const auto& [other, read] : {std::pair{"x", &x}, {"gamma", &gamma}, {"beta", &beta}}) {
      require_disjoint({f, name}, *running, other, *read);
    }
  }
  require_disjoint({f, "running_mean"}, running_mean, "running_var", running_var);
  const AxisOrder order = order_of(x, 1);
  Parts samples(x, order, channels.axis, 1);
  const Ordered ordered(x, order);
  visit(x.dtype(), [&](auto type) {
    using T = decltype(type);
    const In<T> data = ordered.in<T>();
    std::vector<double> means(channels.count), vars(channels.count), mean_of(channels.count),
        var_of(channels.count);
    double elements = 0;
    const Unlocked unlocked(x.size());
    samples.each([&](std::size_t i, const ChannelShape& shape) {
      elements = batch_norm_stats<T>(shape, samples.part(data, x, i), {}, mean_of.data(), var_of.data());
      for (std::size_t c = 0; c < channels.count; ++c) means[c] += mean_of[c], vars[c] += var_of[c];
    });
    if (elements == 0) return;
    const auto count = static_cast<double>(samples.count);
    for (std::size_t c = 0; c < channels.count; ++c) means[c] /= count, vars[c] /= count;
    if (running_mean) update_running<T>(running_mean, momentum, means.data(), 1.0);
    if (running_var && elements > 1) {
      update_running<T>(running_var, momentum, vars.data(), elements / (elements - 1));
    }
  });
  py::list written;
  for (const py::handle running : {mean, var}) {
    if (!running.is_none()) written.append(running);
  }
  if (written.size() != 0) called(library.written, {written.ptr()});
  return py::none().release().ptr();
}

}  // namespace

void register_norm_of_tensors(py::module_& m) {
  define_fast<&update_of_instances>(m, "update_of_instances");
  define_fast<&batch_norm_of>(m, "batch_norm");
  define_fast<&batch_norm_forward>(m, "batch_norm_forward");
  define_fast<&batch_norm_backward_of>(m, "batch_norm_backward");
  define_fast_method<&apply_node<&batch_norm_backward_of>>(m, "batch_norm_node");
}

void register_norm(py::module_& m) {
  define(m, "batch_norm", &batch_norm);
  define(m, "batch_norm_backward", &batch_norm_backward);
}

}  // namespace regkern::bindings
