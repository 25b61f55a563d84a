// Binds batch norm in parts: statistics of a batch, and the two halves of the backward pass, so that what
// lies between can be summed over several.

#include <vector>

#include "channels.h"
#include "module.h"

namespace regkern::bindings {
namespace {

// A batch in the order of its memory.
struct InOrder {
  InOrder(const Array& x, const Channels& channels)
      : axes(AxisOrder::of_memory(x)), axis(axes.place(channels.axis)), dims(axes.of(x, x.shape())) {}
  Ordered operator()(const Array& operand) const { return Ordered(operand, axes); }
  ChannelShape shape() const {
    return ChannelShape(Extents(static_cast<int>(dims.size()), dims.data()), axis);
  }
  AxisOrder axes;
  int axis;
  std::vector<std::ptrdiff_t> dims;
};

// How many elements a channel has, the mean and biased variance of each, and the sum of squared weights.
py::tuple stats(py::handle x, py::handle axis, py::handle weights) {
  constexpr const char* f = "batch_norm_stats";
  const Array from = input({f, "x"}, x, Accept::kHalf);
  const Channels channels(f, from, axis);
  const Array w = like_x({f, "weights"}, weights, from);
  const Array mean = new_vector(Dtype::kFloat64, channels.count),
              var = new_vector(Dtype::kFloat64, channels.count);
  double n = 0, squares = 0;
  const InOrder order(from, channels);
  const Ordered data = order(from), shares = order(w);
  visit(from.dtype(), [&](auto type) {
    using T = decltype(type);
    double *m = mean.data<double>(), *v = var.data<double>();
    const Unlocked unlocked(from.size());
    n = regkern::batch_norm_stats<T>(order.shape(), data.in<T>(), shares.in<T>(), m, v);
    squares = n;
    if (w && n > 0) {
      squares = n * (n / effective_count<T>(shares.in<T>(), shares.steps(), order.dims, order.axis));
    }
  });
  return py::make_tuple(n, mean.object(), var.object(), squares);
}

template <class T>
BatchNormScales scales_of(const Array& var, double eps, const T* gamma, const T* beta) {
  return batch_norm_scales<T>(var.data<double>(), gamma, beta, eps, var.size());
}

py::object apply_stats(py::handle x, py::handle mean, py::handle var, py::handle gamma, py::handle beta,
                       py::handle eps, py::handle axis, py::handle out) {
  constexpr const char* f = "batch_norm_apply";
  const Array from = input({f, "x"}, x, Accept::kHalf);
  const Channels channels(f, from, axis);
  const Array m = channels.statistic("stats.mean", mean), v = channels.statistic("stats.var", var);
  const Array scale = channels.parameter("gamma", gamma, from),
              shift = channels.parameter("beta", beta, from);
  const double epsilon = finite_nonnegative({f, "eps"}, eps);
  const Array to = out_or_new({f, "out"}, out, "x", from);
  require_disjoint({f, "out"}, to, "gamma", scale);
  require_disjoint({f, "out"}, to, "beta", shift);
  const Array dense_scale = dense_vector(scale), dense_shift = dense_vector(shift);
  const InOrder order(from, channels);
  const Ordered data = order(from), result = order(to);
  visit(from.dtype(), [&](auto type) {
    using T = decltype(type);
    const BatchNormScales by = scales_of<T>(v, epsilon, pointer<T>(dense_scale), pointer<T>(dense_shift));
    const double* means = m.data<double>();
    const Unlocked unlocked(from.size());
    regkern::batch_norm_apply<T>(order.shape(), data.in<T>(), result.out<T>(), means, by.scale.data(),
                                 by.shift.data());
  });
  return to.object();
}

py::tuple backward_reduce(py::handle dy, py::handle x, py::handle mean, py::handle var, py::handle eps,
                          py::handle axis, py::handle weights) {
  constexpr const char* f = "batch_norm_backward_reduce";
  const Array gradient = input({f, "dy"}, dy, Accept::kHalf), from = input({f, "x"}, x, Accept::kHalf);
  require_dtype({f, "x"}, from, gradient.dtype());
  require_same_shape({f, "x"}, from, gradient);
  const Channels channels(f, from, axis);
  const Array m = channels.statistic("stats.mean", mean), v = channels.statistic("stats.var", var);
  const double epsilon = finite_nonnegative({f, "eps"}, eps);
  const Array w = like_x({f, "weights"}, weights, from);
  const Array sum_dy = new_vector(Dtype::kFloat64, channels.count);
  const Array sum_dy_xhat = new_vector(Dtype::kFloat64, channels.count);
  const InOrder order(from, channels);
  const Ordered data = order(from), incoming = order(gradient), shares = order(w);
  visit(from.dtype(), [&](auto type) {
    using T = decltype(type);
    const std::vector<double> invstd = scales_of<T>(v, epsilon, nullptr, nullptr).invstd;
    double *sum = sum_dy.data<double>(), *hat = sum_dy_xhat.data<double>();
    const Unlocked unlocked(from.size());
    regkern::batch_norm_backward_reduce<T>(order.shape(),
                                           {.x = data.in<T>(),
                                            .dy = {incoming.in<T>()},
                                            .weights = shares.in<T>(),
                                            .mean = m.data<double>(),
                                            .invstd = invstd.data()},
                                           sum, hat);
  });
  return py::make_tuple(sum_dy.object(), sum_dy_xhat.object());
}

struct BackwardApplyArguments {
  py::handle dy, x, count, mean, var, sum_dy, sum_dy_xhat, gamma, eps, axis, weights, out;
};

py::object backward_apply(const BackwardApplyArguments& a) {
  constexpr const char* f = "batch_norm_backward_apply";
  const Array gradient = input({f, "dy"}, a.dy, Accept::kHalf), from = input({f, "x"}, a.x, Accept::kHalf);
  require_dtype({f, "x"}, from, gradient.dtype());
  require_same_shape({f, "x"}, from, gradient);
  const Channels channels(f, from, a.axis);
  const double n = nonnegative({f, "stats.count"}, a.count);
  const Array m = channels.statistic("stats.mean", a.mean), v = channels.statistic("stats.var", a.var);
  const Array sum = channels.statistic("sum_dy", a.sum_dy),
              hat = channels.statistic("sum_dy_xhat", a.sum_dy_xhat);
  const Array scale = channels.parameter("gamma", a.gamma, from);
  const double epsilon = finite_nonnegative({f, "eps"}, a.eps);
  const Array w = like_x({f, "weights"}, a.weights, from);
  const Array to = out_or_new({f, "out"}, a.out, "dy", gradient);
  require_disjoint({f, "out"}, to, "x", from);
  require_disjoint({f, "out"}, to, "weights", w);
  require_disjoint({f, "out"}, to, "gamma", scale);
  const Array dense_scale = dense_vector(scale);
  const InOrder order(from, channels);
  const Ordered data = order(from), incoming = order(gradient), shares = order(w), result = order(to);
  visit(from.dtype(), [&](auto type) {
    using T = decltype(type);
    const std::vector<double> invstd = scales_of<T>(v, epsilon, nullptr, nullptr).invstd;
    std::vector<double> sum_dev(channels.count);
    const double *sums = sum.data<double>(), *hats = hat.data<double>();
    for (std::size_t c = 0; c < channels.count; ++c) sum_dev[c] = hats[c] / invstd[c];
    const Unlocked unlocked(from.size());
    regkern::batch_norm_backward_apply<T>(order.shape(),
                                          {.x = data.in<T>(),
                                           .dy = {incoming.in<T>()},
                                           .weights = shares.in<T>(),
                                           .dx = result.out<T>(),
                                           .gamma = pointer<T>(dense_scale),
                                           .mean = m.data<double>(),
                                           .invstd = invstd.data(),
                                           .count = n},
                                          sums, sum_dev.data());
  });
  return to.object();
}

}  // namespace

void register_norm_parts(py::module_& m) {
  m.def("batch_norm_stats", &stats);
  m.def("batch_norm_apply", &apply_stats);
  m.def("batch_norm_backward_reduce", &backward_reduce);
  define(m, "batch_norm_backward_apply", &backward_apply);
}

}  // namespace regkern::bindings
