#include "regkern/norm.h"

#include <algorithm>
#include <cmath>
#include <cstdint>
#include <cstring>
#include <vector>

#include "arrays.h"
#include "module.h"

namespace regkern::bindings {
namespace {

// r ← (1 − momentum)·r + momentum·(batch·factor), through any stride.
template <class T>
void update_running(const Array& running, double momentum, const double* batch, double factor) {
  if (running.dense()) {
    return batch_norm_update<T>(batch, momentum, factor, running.size(), running.data<T>());
  }
  char* p = running.data<char>();
  for (std::size_t c = 0; c < running.size(); ++c, p += running.strides()[0]) {
    T r;
    std::memcpy(&r, p, sizeof(T));
    batch_norm_update<T>(batch + c, momentum, factor, 1, &r);
    std::memcpy(p, &r, sizeof(T));
  }
}

template <class T>
std::vector<double> to_doubles(const Array& vector) {
  std::vector<double> v(vector.size());
  const char* p = vector.data<const char>();
  for (std::size_t c = 0; c < v.size(); ++c, p += vector.strides()[0]) {
    T value;
    std::memcpy(&value, p, sizeof(T));
    v[c] = static_cast<double>(value);
  }
  return v;
}

// (Σw)²/Σw² over the positions of a channel, of the moments of the weights: how many elements they leave, n
// where all are 0 or 1. dims are those of x; what a stride of 0 repeats is read once. float64 weights whose
// squares leave its range have none.
template <class T>
double effective_count(In<T> weights, const Array& w, std::vector<std::ptrdiff_t> dims, int channel) {
  double times = 1;
  bool dense = reinterpret_cast<std::uintptr_t>(weights.data) % alignof(T) == 0;
  std::ptrdiff_t run = sizeof(T);
  for (int i = w.ndim(); i-- > 0;) {
    std::ptrdiff_t& length = dims[static_cast<std::size_t>(i)];
    if (i != channel && w.strides()[i] == 0) times *= static_cast<double>(length);
    if (i == channel || w.strides()[i] == 0) length = 1;
    dense = dense && (length == 1 || w.strides()[i] == run);
    run *= length;
  }
  double mean, var;
  const double n = batch_norm_stats<T>(ChannelShape(Extents(w.ndim(), dims.data()), channel),
                                       {weights.data, dense ? nullptr : w.strides()}, {}, &mean, &var);
  return times * n / (1 + var / (mean * mean));
}
constexpr double kOneElement =
    1 + 1e-9;  // an effective count up to this is one: rounding, or weights of 1 and 1e-9

// What all functions check of the channels, and of what comes one a channel.
struct Channels {
  Channels(const char* function, const Array& x, py::handle axis_argument, const char* axis_name = "axis")
      : f(function) {
    if (x.ndim() < 2) value_error({f, "x"}, "have rank >= 2", "shape " + shape_text(x.ndim(), x.shape()));
    axis = axis_of({f, axis_name}, axis_argument, x);
    count = static_cast<std::size_t>(x.dim(axis));
  }
  // Statistics, in float64.
  Array statistic(const char* name, py::handle value) const {
    const Array a = dense_vector(input({f, name}, value));
    require_float64({f, name}, a);
    require_vector({f, name}, a, count);
    return a;
  }
  // A parameter or a running statistic, in the dtype of x, or none.
  Array parameter(const char* name, py::handle value, const Array& x, bool written = false) const {
    const Array a = written ? optional_output({f, name}, value) : optional_input({f, name}, value);
    if (a) {
      require_dtype({f, name}, a, x.dtype());
      require_vector({f, name}, a, count);
    }
    return a;
  }
  const char* f;
  int axis;
  std::size_t count;
};

// None, or an array of x's dtype and shape: weights that Python has broadcast, a residual.
Array like_x(Arg arg, py::handle value, const Array& x) {
  const Array a = optional_input(arg, value);
  if (a) {
    require_dtype(arg, a, x.dtype());
    require_same_shape(arg, a, x);
  }
  return a;
}

template <class T>
In<T> in(const Array& a) {
  return a ? a.in<T>() : In<T>{};
}
template <class T>
Out<T> out(const Array& a) {
  return a ? a.out<T>() : Out<T>{};
}

// A batch cut along its first axis into virtual batches of `length` samples, the last of which may be
// shorter; one, where there is no length.
struct Parts {
  Parts(const Array& x, int channel, std::size_t length) : batch(x), axis(channel) {
    const auto samples = static_cast<std::size_t>(x.dim(0));
    step = length == 0 || length > samples ? samples : length;
    count = length == 0 || samples == 0 ? 1 : (samples + step - 1) / step;
    dims.assign(x.shape(), x.shape() + x.ndim());
  }
  ChannelShape shape(std::size_t i) {
    dims[0] = static_cast<std::ptrdiff_t>(std::min(step, static_cast<std::size_t>(batch.dim(0)) - i * step));
    return ChannelShape(Extents(batch.ndim(), dims.data()), axis);
  }
  // Calls body(i, shape of part i) for one after the other.
  template <class Body>
  void each(Body&& body) {
    for (std::size_t i = 0; i < count; ++i) body(i, shape(i));
  }
  // Part i of an operand of the batch's shape.
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

  const Array& batch;
  int axis;
  std::size_t step, count;
  std::vector<std::ptrdiff_t> dims;
};

// Samples of a virtual batch, which are counted along axis 0.
std::int64_t virtual_size_of(const char* f, const char* name, py::handle value, const char* axis_name,
                             const Channels& channels) {
  const std::int64_t size = integer({f, name}, value);
  if (size < 1) value_error({f, name}, "be >= 1", std::to_string(size));
  if (channels.axis == 0) value_error({f, axis_name}, "not be 0 where there are virtual batches", "0");
  return size;
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

py::tuple batch_norm(py::handle x, py::handle gamma, py::handle beta, py::handle running_mean,
                     py::handle running_var, py::handle training, py::handle momentum, py::handle eps,
                     py::handle axis, py::handle unbiased, py::handle weights, py::handle virtual_batch_size,
                     py::handle residual, py::handle negative_slope, py::handle out_arg) {
  constexpr const char* f = "batch_norm";
  const Array from = input({f, "x"}, x);
  const Channels channels(f, from, axis);
  const bool train = flag({f, "training"}, training);
  const double rate = probability({f, "momentum"}, momentum);
  const double epsilon = finite_nonnegative({f, "eps"}, eps);
  const bool sample_variance = flag({f, "unbiased"}, unbiased);
  const bool activated = !negative_slope.is_none();
  const double slope = activated ? finite_nonnegative({f, "negative_slope"}, negative_slope) : 0;
  const std::int64_t virtual_size =
      virtual_batch_size.is_none()
          ? 0
          : virtual_size_of(f, "virtual_batch_size", virtual_batch_size, "axis", channels);
  const Array scale = channels.parameter("gamma", gamma, from),
              shift = channels.parameter("beta", beta, from);
  const Array r_mean = channels.parameter("running_mean", running_mean, from, train);
  const Array r_var = channels.parameter("running_var", running_var, from, train);
  if (!train && !(r_mean && r_var)) {
    value_error({f, r_mean ? "running_var" : "running_mean"}, "be an array where training is False", "None");
  }
  const Array w = like_x({f, "weights"}, weights, from), added = like_x({f, "residual"}, residual, from);
  const Array to = out_or_new({f, "out"}, out_arg, "x", from);
  for (const auto& [name, vector] :
       {std::pair{"gamma", &scale}, {"beta", &shift}, {"running_mean", &r_mean}, {"running_var", &r_var}}) {
    require_disjoint({f, "out"}, to, name, *vector);
  }
  require_disjoint({f, "out"}, to, "weights", w);
  require_disjoint({f, "out"}, to, "residual", added, true);
  if (train) {
    for (const auto& [name, written] : {std::pair{"running_mean", &r_mean}, {"running_var", &r_var}}) {
      for (const auto& [other, read] : {std::pair{"x", &from},
                                        {"gamma", &scale},
                                        {"beta", &shift},
                                        {"weights", &w},
                                        {"residual", &added}}) {
        require_disjoint({f, name}, *written, other, *read);
      }
    }
    require_disjoint({f, "running_mean"}, r_mean, "running_var", r_var);
  }

  Parts parts(from, channels.axis, train ? static_cast<std::size_t>(virtual_size) : 0);
  const Array dense_scale = dense_vector(scale), dense_shift = dense_vector(shift);
  const Array mean = new_vector(Dtype::kFloat64, parts.count * channels.count),
              invstd = new_vector(Dtype::kFloat64, parts.count * channels.count),
              count = new_vector(Dtype::kFloat64, parts.count);
  const std::size_t bit_bytes = activated ? parts.bit_bytes() : 0;
  py::array_t<std::uint8_t> bits(static_cast<py::ssize_t>(parts.count * bit_bytes));
  visit(from.dtype(), [&](auto type) {
    using T = decltype(type);
    const T *g = pointer<T>(dense_scale), *b = pointer<T>(dense_shift);
    auto* const positive = bits.mutable_data();
    for (const Array* running : {&r_mean, &r_var}) {
      if (*running) running->data<T>();  // what cannot be written must be known before anything is
    }
    const auto epilogue = [&](std::size_t i) {
      return Epilogue<T>{parts.part(in<T>(added), added, i), activated, slope,
                         activated ? positive + i * bit_bytes : nullptr};
    };
    std::vector<double> var(channels.count);
    const Unlocked unlocked(from.size());
    if (train) {
      parts.each([&](std::size_t i, const ChannelShape& shape) {
        double *m = mean.data<double>() + i * channels.count, *s = invstd.data<double>() + i * channels.count;
        const double n =
            batch_norm_train<T>(shape, parts.part(from.in<T>(), from, i), parts.part(in<T>(w), w, i),
                                parts.part(to.out<T>(), to, i), g, b, epsilon, m, var.data(), s, epilogue(i));
        count.data<double>()[i] = n;
        if (n > 0 && r_mean) update_running<T>(r_mean, rate, m, 1.0);
        if (n > 0 && r_var && !sample_variance) update_running<T>(r_var, rate, var.data(), 1.0);
        if (n > 0 && r_var && sample_variance) {
          const double elements =
              w ? effective_count<T>(parts.part(in<T>(w), w, i), w, parts.dims, channels.axis) : n;
          if (elements > kOneElement) update_running<T>(r_var, rate, var.data(), elements / (elements - 1));
        }
      });
    } else {
      double *m = mean.data<double>(), *s = invstd.data<double>();
      const std::vector<double> running_means = to_doubles<T>(r_mean), running_vars = to_doubles<T>(r_var);
      std::vector<double> scales(channels.count), shifts(channels.count);
      for (std::size_t c = 0; c < channels.count; ++c) {
        m[c] = running_means[c];
        s[c] = 1 / std::sqrt(running_vars[c] + epsilon);
        scales[c] = g ? static_cast<double>(g[c]) * s[c] : s[c];
        shifts[c] = b ? static_cast<double>(b[c]) : 0.0;
      }
      const ChannelShape shape(from.extents(), channels.axis);
      batch_norm_apply<T>(shape, from.in<T>(), to.out<T>(), m, scales.data(), shifts.data(), epilogue(0));
      count.data<double>()[0] = static_cast<double>(shape.count());
    }
  });
  const bool overwritten = from.size() != 0 && to.address() == from.address();
  const py::object none = py::none();
  return py::make_tuple(to.object(), overwritten ? none : from.object(), scale ? scale.object() : none,
                        mean.object(), invstd.object(), channels.axis, count.object(),
                        activated ? py::object(bits) : none);
}

// (dx, dgamma, dbeta, dresidual), None for what is not wanted.
py::tuple batch_norm_backward(py::handle dy, py::handle x, py::handle gamma, py::handle mean,
                              py::handle invstd, py::handle axis, py::handle training, py::handle count,
                              py::handle weights, py::handle bits, py::handle negative_slope,
                              py::handle virtual_batch_size, py::handle wants_dx, py::handle wants_parameters,
                              py::handle wants_residual, py::handle out_arg) {
  constexpr const char* f = "batch_norm_backward";
  const Array source = input({f, "cache.x"}, x);
  const Array gradient = input({f, "dy"}, dy);
  require_dtype({f, "dy"}, gradient, source.dtype());
  require_same_shape({f, "dy"}, gradient, source);
  const Channels channels(f, source, axis, "cache.axis");
  const bool train = flag({f, "cache.training"}, training);
  const Array scale = channels.parameter("cache.gamma", gamma, source);
  const Array w = like_x({f, "cache.weights"}, weights, source);
  if (negative_slope.is_none() && !bits.is_none()) {
    type_error({f, "cache.positive"}, "be None where no activation was applied", bits);
  }
  const double slope =
      negative_slope.is_none() ? 0 : finite_nonnegative({f, "cache.negative_slope"}, negative_slope);
  const bool is_virtual = !virtual_batch_size.is_none();
  const std::int64_t virtual_size =
      is_virtual ? virtual_size_of(f, "cache.virtual_batch_size", virtual_batch_size, "cache.axis", channels)
                 : 0;
  Parts parts(source, channels.axis, static_cast<std::size_t>(virtual_size));
  const auto statistics = [&](const char* name, py::handle value) {
    return is_virtual ? require_parts({f, name}, value, {parts.count, channels.count})
                      : require_parts({f, name}, value, {channels.count});
  };
  const Array means = statistics("cache.mean", mean), invstds = statistics("cache.invstd", invstd);
  const Array counts = require_parts({f, "cache.count"}, count, {parts.count});
  for (std::size_t i = 0; i < parts.count; ++i) {
    const double n = counts.data<double>()[i];
    if (!(n >= 0)) value_error({f, "cache.count"}, "be >= 0", std::to_string(n));
    const std::size_t elements = parts.shape(i).count();
    if (!w && source.size() != 0 && n != static_cast<double>(elements)) {
      value_error({f, "cache.count"}, "be the elements of a channel, " + std::to_string(elements),
                  std::to_string(n));
    }
  }
  const bool activated = !negative_slope.is_none();
  const std::size_t bit_bytes = activated ? parts.bit_bytes() : 0;
  const auto positive_bits = activated ? require_bits({f, "cache.positive"}, bits, parts.count * bit_bytes)
                                       : py::array_t<std::uint8_t>(0);
  const Memory positive({f, "cache.positive"}, positive_bits);
  const bool needs_dx = flag({f, "wrt"}, wants_dx), needs_parameters = flag({f, "wrt"}, wants_parameters);
  const Array checked =
      needs_dx || !out_arg.is_none() ? out_or_new({f, "out"}, out_arg, "dy", gradient) : Array();
  const Array to = needs_dx ? checked : Array();
  const Array g = flag({f, "wrt"}, wants_residual) ? new_like(gradient) : Array();
  require_disjoint({f, "out"}, to, "cache.x", source);
  require_disjoint({f, "out"}, to, "cache.gamma", scale);
  require_disjoint({f, "out"}, to, "cache.weights", w);

  const Array dense_scale = dense_vector(scale);
  const Array dgamma = needs_parameters ? new_vector(source.dtype(), channels.count) : Array(),
              dbeta = needs_parameters ? new_vector(source.dtype(), channels.count) : Array();
  visit(source.dtype(), [&](auto type) {
    using T = decltype(type);
    std::vector<double> total(needs_parameters ? 2 * channels.count : 0),
        sums(parts.count > 1 ? total.size() : 0);
    const T* gammas = pointer<T>(dense_scale);
    const auto* passed = reinterpret_cast<const std::uint8_t*>(positive.use());
    const Unlocked unlocked(source.size());
    parts.each([&](std::size_t i, const ChannelShape& shape) {
      const Incoming<T> incoming{parts.part(gradient.in<T>(), gradient, i),
                                 activated ? passed + i * bit_bytes : nullptr, slope};
      std::vector<double>& some = i == 0 ? total : sums;
      regkern::batch_norm_backward<T>(
          shape, parts.part(source.in<T>(), source, i), incoming, parts.part(in<T>(w), w, i),
          parts.part(out<T>(to), to, i), parts.part(out<T>(g), g, i), gammas, counts.data<double>()[i],
          means.data<double>() + i * channels.count, invstds.data<double>() + i * channels.count, train,
          needs_parameters ? some.data() : nullptr,
          needs_parameters ? some.data() + channels.count : nullptr);
      for (std::size_t c = 0; i != 0 && c < total.size(); ++c) total[c] += some[c];
    });
    if (needs_parameters) {
      T *to_gamma = dgamma.data<T>(), *to_beta = dbeta.data<T>();
      for (std::size_t c = 0; c < channels.count; ++c) {
        to_gamma[c] = static_cast<T>(total[c]);
        to_beta[c] = static_cast<T>(total[channels.count + c]);
      }
    }
  });
  const auto object = [](const Array& a) { return a ? a.object() : py::object(py::none()); };
  return py::make_tuple(object(to), object(dgamma), object(dbeta), object(g));
}

// How many elements a channel has, the mean and biased variance of each, and the sum of squared weights.
py::tuple stats(py::handle x, py::handle axis, py::handle weights) {
  constexpr const char* f = "batch_norm_stats";
  const Array from = input({f, "x"}, x);
  const Channels channels(f, from, axis);
  const Array w = like_x({f, "weights"}, weights, from);
  const Array mean = new_vector(Dtype::kFloat64, channels.count),
              var = new_vector(Dtype::kFloat64, channels.count);
  double n = 0, squares = 0;
  visit(from.dtype(), [&](auto type) {
    using T = decltype(type);
    double *m = mean.data<double>(), *v = var.data<double>();
    const Unlocked unlocked(from.size());
    n = regkern::batch_norm_stats<T>(ChannelShape(from.extents(), channels.axis), from.in<T>(), in<T>(w), m,
                                     v);
    squares = n;
    if (w && n > 0) {
      const std::vector<std::ptrdiff_t> dims(from.shape(), from.shape() + from.ndim());
      squares = n * (n / effective_count<T>(w.in<T>(), w, dims, channels.axis));
    }
  });
  return py::make_tuple(n, mean.object(), var.object(), squares);
}

// 1/√(var + eps), and that times gamma.
template <class T>
std::pair<std::vector<double>, std::vector<double>> scales_of(const Array& var, double eps, const T* gamma) {
  std::vector<double> invstd(var.size()), scale(var.size());
  const double* variances = var.data<double>();
  for (std::size_t c = 0; c < var.size(); ++c) {
    invstd[c] = 1 / std::sqrt(variances[c] + eps);
    scale[c] = gamma ? static_cast<double>(gamma[c]) * invstd[c] : invstd[c];
  }
  return {invstd, scale};
}

py::object apply_stats(py::handle x, py::handle mean, py::handle var, py::handle gamma, py::handle beta,
                       py::handle eps, py::handle axis, py::handle out) {
  constexpr const char* f = "batch_norm_apply";
  const Array from = input({f, "x"}, x);
  const Channels channels(f, from, axis);
  const Array m = channels.statistic("stats.mean", mean), v = channels.statistic("stats.var", var);
  const Array scale = channels.parameter("gamma", gamma, from),
              shift = channels.parameter("beta", beta, from);
  const double epsilon = finite_nonnegative({f, "eps"}, eps);
  const Array to = out_or_new({f, "out"}, out, "x", from);
  require_disjoint({f, "out"}, to, "gamma", scale);
  require_disjoint({f, "out"}, to, "beta", shift);
  const Array dense_scale = dense_vector(scale), dense_shift = dense_vector(shift);
  visit(from.dtype(), [&](auto type) {
    using T = decltype(type);
    const auto [invstd, scales] = scales_of<T>(v, epsilon, pointer<T>(dense_scale));
    const std::vector<double> shifts =
        shift ? to_doubles<T>(dense_shift) : std::vector<double>(channels.count);
    const double* means = m.data<double>();
    const Unlocked unlocked(from.size());
    regkern::batch_norm_apply<T>(ChannelShape(from.extents(), channels.axis), from.in<T>(), to.out<T>(),
                                 means, scales.data(), shifts.data());
  });
  return to.object();
}

py::tuple backward_reduce(py::handle dy, py::handle x, py::handle mean, py::handle var, py::handle eps,
                          py::handle axis, py::handle weights) {
  constexpr const char* f = "batch_norm_backward_reduce";
  const Array gradient = input({f, "dy"}, dy), from = input({f, "x"}, x);
  require_dtype({f, "x"}, from, gradient.dtype());
  require_same_shape({f, "x"}, from, gradient);
  const Channels channels(f, from, axis);
  const Array m = channels.statistic("stats.mean", mean), v = channels.statistic("stats.var", var);
  const double epsilon = finite_nonnegative({f, "eps"}, eps);
  const Array w = like_x({f, "weights"}, weights, from);
  const Array sum_dy = new_vector(Dtype::kFloat64, channels.count);
  const Array sum_dy_xhat = new_vector(Dtype::kFloat64, channels.count);
  visit(from.dtype(), [&](auto type) {
    using T = decltype(type);
    const std::vector<double> invstd = scales_of<T>(v, epsilon, nullptr).first;
    double *sum = sum_dy.data<double>(), *hat = sum_dy_xhat.data<double>();
    const double* means = m.data<double>();
    const Unlocked unlocked(from.size());
    regkern::batch_norm_backward_reduce<T>(ChannelShape(from.extents(), channels.axis), from.in<T>(),
                                           Incoming<T>{gradient.in<T>()}, in<T>(w), means, sum, hat);
    for (std::size_t c = 0; c < channels.count; ++c) hat[c] *= invstd[c];
  });
  return py::make_tuple(sum_dy.object(), sum_dy_xhat.object());
}

py::object backward_apply(py::handle dy, py::handle x, py::handle count, py::handle mean, py::handle var,
                          py::handle sum_dy, py::handle sum_dy_xhat, py::handle gamma, py::handle eps,
                          py::handle axis, py::handle weights, py::handle out) {
  constexpr const char* f = "batch_norm_backward_apply";
  const Array gradient = input({f, "dy"}, dy), from = input({f, "x"}, x);
  require_dtype({f, "x"}, from, gradient.dtype());
  require_same_shape({f, "x"}, from, gradient);
  const Channels channels(f, from, axis);
  const double n = nonnegative({f, "stats.count"}, count);
  const Array m = channels.statistic("stats.mean", mean), v = channels.statistic("stats.var", var);
  const Array sum = channels.statistic("sum_dy", sum_dy),
              hat = channels.statistic("sum_dy_xhat", sum_dy_xhat);
  const Array scale = channels.parameter("gamma", gamma, from);
  const double epsilon = finite_nonnegative({f, "eps"}, eps);
  const Array w = like_x({f, "weights"}, weights, from);
  const Array to = out_or_new({f, "out"}, out, "dy", gradient);
  require_disjoint({f, "out"}, to, "x", from);
  require_disjoint({f, "out"}, to, "weights", w);
  require_disjoint({f, "out"}, to, "gamma", scale);
  const Array dense_scale = dense_vector(scale);
  visit(from.dtype(), [&](auto type) {
    using T = decltype(type);
    const std::vector<double> invstd = scales_of<T>(v, epsilon, nullptr).first;
    std::vector<double> sum_dev(channels.count);
    const double *means = m.data<double>(), *sums = sum.data<double>(), *hats = hat.data<double>();
    for (std::size_t c = 0; c < channels.count; ++c) sum_dev[c] = hats[c] / invstd[c];
    const Unlocked unlocked(from.size());
    regkern::batch_norm_backward_apply<T>(
        ChannelShape(from.extents(), channels.axis), from.in<T>(), Incoming<T>{gradient.in<T>()}, in<T>(w),
        to.out<T>(), Out<T>{}, n, means, invstd.data(), pointer<T>(dense_scale), sums, sum_dev.data());
  });
  return to.object();
}

}  // namespace

void register_norm(py::module_& m) {
  m.def("batch_norm", &batch_norm);
  m.def("batch_norm_backward", &batch_norm_backward);
  m.def("batch_norm_stats", &stats);
  m.def("batch_norm_apply", &apply_stats);
  m.def("batch_norm_backward_reduce", &backward_reduce);
  m.def("batch_norm_backward_apply", &backward_apply);
}

}  // namespace regkern::bindings
