#include "regkern/norm.h"

#include <cmath>
#include <cstring>
#include <vector>

#include "arrays.h"
#include "module.h"

namespace regkern::bindings {
namespace {

int channel_axis(Arg arg, py::handle axis, const Array& x) {
  const std::int64_t i = integer(arg, axis);
  const int ndim = x.ndim();
  if (i < -ndim || i >= ndim) {
    value_error(arg, "be an axis of x with shape " + shape_text(ndim, x.shape()), std::to_string(i));
  }
  return static_cast<int>(i < 0 ? i + ndim : i);
}

// r ← (1 − momentum)·r + momentum·batch, through any stride.
template <class T>
void update_running(const Array& running, double momentum, const double* batch, double factor) {
  char* p = running.bytes();
  for (std::size_t c = 0; c < running.size(); ++c, p += running.strides()[0]) {
    T r;
    std::memcpy(&r, p, sizeof(T));
    r = static_cast<T>((1 - momentum) * static_cast<double>(r) + momentum * (batch[c] * factor));
    std::memcpy(p, &r, sizeof(T));
  }
}

template <class T>
std::vector<double> to_doubles(const Array& vector) {
  std::vector<double> v(vector.size());
  const char* p = vector.bytes();
  for (std::size_t c = 0; c < v.size(); ++c, p += vector.strides()[0]) {
    T value;
    std::memcpy(&value, p, sizeof(T));
    v[c] = static_cast<double>(value);
  }
  return v;
}

template <class T>
const T* pointer(const Array& vector) {
  return vector ? vector.data<T>() : nullptr;
}

py::tuple batch_norm(py::handle x, py::handle gamma, py::handle beta, py::handle running_mean,
                     py::handle running_var, py::handle training, py::handle momentum, py::handle eps,
                     py::handle axis, py::handle unbiased, py::handle out) {
  constexpr const char* f = "batch_norm";
  const Array from = input({f, "x"}, x);
  if (from.ndim() < 2)
    value_error({f, "x"}, "have rank >= 2", "shape " + shape_text(from.ndim(), from.shape()));
  const int channel = channel_axis({f, "axis"}, axis, from);
  const auto channels = static_cast<std::size_t>(from.dim(channel));
  const bool train = flag({f, "training"}, training);
  const double rate = probability({f, "momentum"}, momentum);
  const double epsilon = finite_nonnegative({f, "eps"}, eps);
  const bool sample_variance = flag({f, "unbiased"}, unbiased);
  const auto per_channel = [&](const char* name, Array a) {
    if (a) {
      require_dtype({f, name}, a, from.dtype());
      require_vector({f, name}, a, channels);
    }
    return a;
  };
  const Array scale = per_channel("gamma", optional_input({f, "gamma"}, gamma));
  const Array shift = per_channel("beta", optional_input({f, "beta"}, beta));
  const auto running = [&](const char* name, py::handle value) {
    return per_channel(name, train ? optional_output({f, name}, value) : optional_input({f, name}, value));
  };
  const Array r_mean = running("running_mean", running_mean);
  const Array r_var = running("running_var", running_var);
  if (!train && !(r_mean && r_var)) {
    value_error({f, r_mean ? "running_var" : "running_mean"}, "be an array where training is False", "None");
  }
  const Array to = out_or_new({f, "out"}, out, "x", from);
  for (const auto& [name, vector] :
       {std::pair{"gamma", &scale}, {"beta", &shift}, {"running_mean", &r_mean}, {"running_var", &r_var}}) {
    require_disjoint({f, "out"}, to, name, *vector);
  }
  if (train) {
    for (const auto& [name, written] : {std::pair{"running_mean", &r_mean}, {"running_var", &r_var}}) {
      require_disjoint({f, name}, *written, "x", from);
      require_disjoint({f, name}, *written, "gamma", scale);
      require_disjoint({f, name}, *written, "beta", shift);
    }
    require_disjoint({f, "running_mean"}, r_mean, "running_var", r_var);
  }

  const Array dense_scale = dense_vector(scale), dense_shift = dense_vector(shift);
  const Array mean = new_vector(Dtype::kFloat64, channels), invstd = new_vector(Dtype::kFloat64, channels);
  visit(from.dtype(), [&](auto type) {
    using T = decltype(type);
    const ChannelShape shape(from.extents(), channel);
    const In<T> source = from.in<T>();
    const Out<T> target = to.out<T>();
    const T *g = pointer<T>(dense_scale), *b = pointer<T>(dense_shift);
    double *m = mean.data<double>(), *s = invstd.data<double>();
    std::vector<double> var(channels);
    const Unlocked unlocked(from.size());
    if (train) {
      batch_norm_train<T>(shape, source, target, g, b, epsilon, m, var.data(), s);
      const auto n = static_cast<double>(shape.count());
      if (n > 0 && r_mean) update_running<T>(r_mean, rate, m, 1.0);
      if (n > 0 && r_var && !(sample_variance && n == 1)) {
        update_running<T>(r_var, rate, var.data(), sample_variance ? n / (n - 1) : 1.0);
      }
    } else {
      const std::vector<double> running_means = to_doubles<T>(r_mean), running_vars = to_doubles<T>(r_var);
      std::vector<double> scales(channels), shifts(channels);
      for (std::size_t c = 0; c < channels; ++c) {
        m[c] = running_means[c];
        s[c] = 1 / std::sqrt(running_vars[c] + epsilon);
        scales[c] = g ? static_cast<double>(g[c]) * s[c] : s[c];
        shifts[c] = b ? static_cast<double>(b[c]) : 0.0;
      }
      batch_norm_apply<T>(shape, source, target, m, scales.data(), shifts.data());
    }
  });
  const bool overwritten = from.size() != 0 && to.bytes() == from.bytes();
  const py::object none = py::none();
  return py::make_tuple(to.object(), overwritten ? none : from.object(), scale ? scale.object() : none,
                        mean.object(), invstd.object(), channel);
}

py::tuple batch_norm_backward(py::handle dy, py::handle x, py::handle gamma, py::handle mean,
                              py::handle invstd, py::handle axis, py::handle training, py::handle out) {
  constexpr const char* f = "batch_norm_backward";
  const Array source = input({f, "cache.x"}, x);
  const Array gradient = input({f, "dy"}, dy);
  require_dtype({f, "dy"}, gradient, source.dtype());
  require_same_shape({f, "dy"}, gradient, source);
  const int channel = channel_axis({f, "cache.axis"}, axis, source);
  const auto channels = static_cast<std::size_t>(source.dim(channel));
  const bool train = flag({f, "cache.training"}, training);
  const Array scale = optional_input({f, "cache.gamma"}, gamma);
  if (scale) {
    require_dtype({f, "cache.gamma"}, scale, source.dtype());
    require_vector({f, "cache.gamma"}, scale, channels);
  }
  const Array means = dense_vector(input({f, "cache.mean"}, mean));
  const Array invstds = dense_vector(input({f, "cache.invstd"}, invstd));
  for (const auto& [name, vector] : {std::pair{"cache.mean", &means}, {"cache.invstd", &invstds}}) {
    require_dtype({f, name}, *vector, Dtype::kFloat64);
    require_vector({f, name}, *vector, channels);
  }
  const Array to = out_or_new({f, "out"}, out, "dy", gradient);
  require_disjoint({f, "out"}, to, "cache.x", source);
  require_disjoint({f, "out"}, to, "cache.gamma", scale);

  const Array dense_scale = dense_vector(scale);
  const Array dgamma = new_vector(source.dtype(), channels), dbeta = new_vector(source.dtype(), channels);
  visit(source.dtype(), [&](auto type) {
    using T = decltype(type);
    const ChannelShape shape(source.extents(), channel);
    std::vector<double> sums(2 * channels);
    double *dg = sums.data(), *db = dg + channels;
    T *dgamma_out = dgamma.data<T>(), *dbeta_out = dbeta.data<T>();
    const Unlocked unlocked(source.size());
    regkern::batch_norm_backward<T>(shape, source.in<T>(), gradient.in<T>(), to.out<T>(),
                                    pointer<T>(dense_scale), means.data<double>(), invstds.data<double>(),
                                    train, dg, db);
    for (std::size_t c = 0; c < channels; ++c) {
      dgamma_out[c] = static_cast<T>(dg[c]);
      dbeta_out[c] = static_cast<T>(db[c]);
    }
  });
  return py::make_tuple(to.object(), dgamma.object(), dbeta.object());
}

// Mean and biased variance of each channel, and how many elements it has.
py::tuple stats(py::handle x, py::handle axis) {
  constexpr const char* f = "batch_norm_stats";
  const Array from = input({f, "x"}, x);
  if (from.ndim() < 2)
    value_error({f, "x"}, "have rank >= 2", "shape " + shape_text(from.ndim(), from.shape()));
  const int channel = channel_axis({f, "axis"}, axis, from);
  const auto channels = static_cast<std::size_t>(from.dim(channel));
  const Array mean = new_vector(Dtype::kFloat64, channels), var = new_vector(Dtype::kFloat64, channels);
  const ChannelShape shape(from.extents(), channel);
  visit(from.dtype(), [&](auto type) {
    using T = decltype(type);
    double *m = mean.data<double>(), *v = var.data<double>();
    const Unlocked unlocked(from.size());
    regkern::batch_norm_stats<T>(shape, from.in<T>(), m, v);
  });
  return py::make_tuple(from.size() == 0 ? 0 : shape.count(), mean.object(), var.object());
}

// What the functions that take statistics check of them: one number a channel, in float64.
struct Channels {
  Channels(const char* function, const Array& x, py::handle axis) : f(function) {
    if (x.ndim() < 2) value_error({f, "x"}, "have rank >= 2", "shape " + shape_text(x.ndim(), x.shape()));
    channel = channel_axis({f, "axis"}, axis, x);
    count = static_cast<std::size_t>(x.dim(channel));
  }
  Array statistic(const char* name, py::handle value) const {
    const Array a = dense_vector(input({f, name}, value));
    require_dtype({f, name}, a, Dtype::kFloat64);
    require_vector({f, name}, a, count);
    return a;
  }
  Array parameter(const char* name, py::handle value, const Array& x) const {
    const Array a = optional_input({f, name}, value);
    if (a) {
      require_dtype({f, name}, a, x.dtype());
      require_vector({f, name}, a, count);
    }
    return a;
  }
  const char* f;
  int channel;
  std::size_t count;
};

// 1/√(var + eps), and that times gamma.
template <class T>
std::pair<std::vector<double>, std::vector<double>> scales_of(const Array& var, double eps, const T* gamma) {
  std::vector<double> invstd(var.size()), scale(var.size());
  for (std::size_t c = 0; c < var.size(); ++c) {
    invstd[c] = 1 / std::sqrt(var.data<double>()[c] + eps);
    scale[c] = gamma ? static_cast<double>(gamma[c]) * invstd[c] : invstd[c];
  }
  return {invstd, scale};
}

py::object apply(py::handle x, py::handle mean, py::handle var, py::handle gamma, py::handle beta,
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
    regkern::batch_norm_apply<T>(ChannelShape(from.extents(), channels.channel), from.in<T>(), to.out<T>(),
                                 means, scales.data(), shifts.data());
  });
  return to.object();
}

py::tuple backward_reduce(py::handle dy, py::handle x, py::handle mean, py::handle var, py::handle eps,
                          py::handle axis) {
  constexpr const char* f = "batch_norm_backward_reduce";
  const Array gradient = input({f, "dy"}, dy), from = input({f, "x"}, x);
  require_dtype({f, "x"}, from, gradient.dtype());
  require_same_shape({f, "x"}, from, gradient);
  const Channels channels(f, from, axis);
  const Array m = channels.statistic("stats.mean", mean), v = channels.statistic("stats.var", var);
  const double epsilon = finite_nonnegative({f, "eps"}, eps);
  const Array sum_dy = new_vector(Dtype::kFloat64, channels.count);
  const Array sum_dy_xhat = new_vector(Dtype::kFloat64, channels.count);
  visit(from.dtype(), [&](auto type) {
    using T = decltype(type);
    const std::vector<double> invstd = scales_of<T>(v, epsilon, nullptr).first;
    double *sum = sum_dy.data<double>(), *hat = sum_dy_xhat.data<double>();
    const double* means = m.data<double>();
    const Unlocked unlocked(from.size());
    regkern::batch_norm_backward_reduce<T>(ChannelShape(from.extents(), channels.channel), from.in<T>(),
                                           gradient.in<T>(), means, sum, hat);
    for (std::size_t c = 0; c < channels.count; ++c) hat[c] *= invstd[c];
  });
  return py::make_tuple(sum_dy.object(), sum_dy_xhat.object());
}

py::object backward_apply(py::handle dy, py::handle x, py::handle count, py::handle mean, py::handle var,
                          py::handle sum_dy, py::handle sum_dy_xhat, py::handle gamma, py::handle eps,
                          py::handle axis, py::handle out) {
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
  const Array to = out_or_new({f, "out"}, out, "dy", gradient);
  require_disjoint({f, "out"}, to, "x", from);
  require_disjoint({f, "out"}, to, "gamma", scale);
  const Array dense_scale = dense_vector(scale);
  visit(from.dtype(), [&](auto type) {
    using T = decltype(type);
    const auto [invstd, scales] = scales_of<T>(v, epsilon, pointer<T>(dense_scale));
    std::vector<double> sum_dev(channels.count);
    for (std::size_t c = 0; c < channels.count; ++c) sum_dev[c] = hat.data<double>()[c] / invstd[c];
    const double *means = m.data<double>(), *sums = sum.data<double>();
    const Unlocked unlocked(from.size());
    regkern::batch_norm_backward_apply<T>(ChannelShape(from.extents(), channels.channel), from.in<T>(),
                                          gradient.in<T>(), to.out<T>(), n, means, invstd.data(),
                                          scales.data(), sums, sum_dev.data());
  });
  return to.object();
}

}  // namespace

void register_norm(py::module_& m) {
  m.def("batch_norm", &batch_norm);
  m.def("batch_norm_backward", &batch_norm_backward);
  m.def("batch_norm_stats", &stats);
  m.def("batch_norm_apply", &apply);
  m.def("batch_norm_backward_reduce", &backward_reduce);
  m.def("batch_norm_backward_apply", &backward_apply);
}

}  // namespace regkern::bindings
