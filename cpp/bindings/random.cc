// Binds random words, and numbers made of them.

#include "regkern/random.h"

#include "arrays.h"
#include "masks.h"
#include "module.h"

namespace regkern::bindings {
namespace {

// An int or a tuple of ints.
std::vector<std::ptrdiff_t> lengths_or_one(Arg arg, py::handle shape) {
  if (py::isinstance<py::tuple>(shape)) return lengths(arg, shape);
  const std::int64_t n = integer(arg, shape);
  if (n < 0) value_error(arg, "be >= 0", std::to_string(n));
  return {n};
}

py::object random_bits(py::handle shape, py::handle seed, py::handle stream) {
  constexpr const char* f = "random_bits";
  const std::vector<std::ptrdiff_t> dims = lengths_or_one({f, "shape"}, shape);
  const Stream source{unsigned64({f, "seed"}, seed), unsigned64({f, "stream"}, stream)};
  const std::size_t n = product({f, "shape"}, dims, sizeof(std::uint32_t));
  py::array_t<std::uint32_t> words(dims);
  std::uint32_t* data = words.mutable_data();
  {
    const Unlocked unlocked(n);
    regkern::random_bits(source, n, data);
  }
  return words;
}

// uniform or normal numbers: into `out`, or into a new array of a shape and dtype.
template <bool kNormal>
py::object numbers(py::handle shape, py::handle seed, py::handle stream, py::handle dtype, py::handle out) {
  constexpr const char* f = kNormal ? "normal" : "uniform";
  const std::vector<std::ptrdiff_t> dims = lengths_or_one({f, "shape"}, shape);
  const Stream source{unsigned64({f, "seed"}, seed), unsigned64({f, "stream"}, stream)};
  const auto type = py::dtype::from_args(py::reinterpret_borrow<py::object>(dtype));
  const bool is_float = type.equal(py::dtype::of<float>());
  if (!is_float && !type.equal(py::dtype::of<double>()))
    type_error({f, "dtype"}, "be float32 or float64", dtype);
  const Dtype wanted = is_float ? Dtype::kFloat32 : Dtype::kFloat64;
  Array to;
  if (out.is_none()) {
    product({f, "shape"}, dims, static_cast<std::size_t>(type.itemsize()));
    to = output({f, "out"}, py::array(type, dims));
  } else {
    to = output({f, "out"}, out);
    require_dtype({f, "out"}, to, wanted);
    require_shape({f, "out"}, to, static_cast<int>(dims.size()), dims.data());
  }
  visit(wanted, [&](auto kind) {
    using T = decltype(kind);
    const Unlocked unlocked(to.size());
    (kNormal ? regkern::normal<T> : regkern::uniform<T>)(to.extents(), to.out<T>(), source);
  });
  return to.object();
}

}  // namespace

void register_random(py::module_& m) {
  m.def("random_bits", &random_bits);
  m.def("uniform", &numbers<false>);
  m.def("normal", &numbers<true>);
}

}  // namespace regkern::bindings
