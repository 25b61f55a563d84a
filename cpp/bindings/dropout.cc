#include "regkern/dropout.h"

#include "arrays.h"
#include "module.h"

namespace regkern::bindings {
namespace {

void run(const Array& from, const Array& to, Stream source, double p) {
  visit(from.dtype(), [&](auto type) {
    using T = decltype(type);
    const Unlocked unlocked(from.size());
    regkern::dropout<T>(from.extents(), from.in<T>(), to.out<T>(), source, keep_threshold(p));
  });
}

py::object dropout(py::handle x, py::handle p, py::handle seed, py::handle stream, py::handle training,
                   py::handle out) {
  constexpr const char* f = "dropout";
  const Array from = input({f, "x"}, x);
  const double rate = probability({f, "p"}, p);
  const Stream source{unsigned64({f, "rng"}, seed), unsigned64({f, "stream"}, stream)};
  const bool drop = flag({f, "training"}, training);
  const Array to = out_or_new({f, "out"}, out, "x", from);
  run(from, to, source, drop ? rate : 0.0);
  return to.object();
}

// The lengths of a shape tuple.
std::vector<std::ptrdiff_t> lengths(Arg arg, py::handle shape) {
  if (!py::isinstance<py::tuple>(shape) || py::len(shape) > kMaxDims)
    type_error(arg, "be a tuple of ints", shape);
  std::vector<std::ptrdiff_t> n;
  for (const py::handle length : shape) {
    n.push_back(integer(arg, length));
    if (n.back() < 0) type_error(arg, "be a tuple of ints >= 0", shape);
  }
  return n;
}

py::object dropout_backward(py::handle dy, py::handle shape, py::handle p, py::handle seed, py::handle stream,
                            py::handle out) {
  constexpr const char* f = "dropout_backward";
  const Array from = input({f, "dy"}, dy);
  const std::vector<std::ptrdiff_t> expected = lengths({f, "mask.shape"}, shape);
  require_shape({f, "dy"}, from, static_cast<int>(expected.size()), expected.data());
  const double rate = probability({f, "mask.p"}, p);
  const Stream source{unsigned64({f, "mask.seed"}, seed), unsigned64({f, "mask.stream"}, stream)};
  const Array to = out_or_new({f, "out"}, out, "dy", from);
  run(from, to, source, rate);
  return to.object();
}

py::object keep_mask(py::handle shape, py::handle p, py::handle seed, py::handle stream) {
  constexpr const char* f = "DropoutMask";
  const std::vector<std::ptrdiff_t> dims = lengths({f, "shape"}, shape);
  const double rate = probability({f, "p"}, p);
  const Stream source{unsigned64({f, "seed"}, seed), unsigned64({f, "stream"}, stream)};
  py::array_t<bool> kept(std::vector<py::ssize_t>(dims.begin(), dims.end()));
  auto* data = reinterpret_cast<std::uint8_t*>(kept.mutable_data());
  const auto n = static_cast<std::size_t>(kept.size());
  {
    const Unlocked unlocked(n);
    regkern::keep_mask(source, keep_threshold(rate), n, data);
  }
  return kept;
}

}  // namespace

void register_dropout(py::module_& m) {
  m.def("dropout", &dropout);
  m.def("dropout_backward", &dropout_backward);
  m.def("keep_mask", &keep_mask);
}

}  // namespace regkern::bindings
