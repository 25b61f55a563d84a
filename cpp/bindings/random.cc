#include "regkern/random.h"

#include "arrays.h"
#include "module.h"

namespace regkern::bindings {

void register_random(py::module_& m) {
  m.def("random_bits", [](py::handle n, py::handle seed, py::handle stream) -> py::object {
    constexpr const char* f = "random_bits";
    const std::int64_t count = integer({f, "n"}, n);
    if (count < 0) value_error({f, "n"}, "be >= 0", std::to_string(count));
    const Stream source{unsigned64({f, "seed"}, seed), unsigned64({f, "stream"}, stream)};
    py::array_t<std::uint32_t> words(static_cast<py::ssize_t>(count));
    std::uint32_t* data = words.mutable_data();
    {
      const Unlocked unlocked(static_cast<std::size_t>(count));
      regkern::random_bits(source, static_cast<std::size_t>(count), data);
    }
    return words;
  });
}

}  // namespace regkern::bindings
