// Binds threads, instruction sets and what the build is.

#include "regkern/runtime.h"

#include <pybind11/stl.h>

#include <cctype>
#include <cstdlib>
#include <optional>

#include "arrays.h"
#include "module.h"

namespace regkern::bindings {
namespace {

std::string joined(const std::vector<std::string>& names) {
  std::string s;
  for (const std::string& name : names) s += (s.empty() ? "" : ", ") + name;
  return s;
}

int thread_count(Arg arg, py::handle value) {
  const std::int64_t n = integer(arg, value);
  if (n < 1 || n > kMostThreads) value_error(arg, "be in [1, 4096]", std::to_string(n));
  return static_cast<int>(n);
}

void choose_isa(Arg arg, const std::string& name) {
  if (!set_isa(name)) value_error(arg, "be one of " + joined(isas()), "'" + name + "'");
}

// REGKERN_ISA and REGKERN_NUM_THREADS, at import.
void read_environment() {
  if (const char* name = std::getenv("REGKERN_ISA"); name && *name)
    choose_isa({"regkern", "REGKERN_ISA"}, name);
  if (const char* text = std::getenv("REGKERN_NUM_THREADS"); text && *text) {
    char* end = nullptr;
    const long n = std::strtol(text, &end, 10);
    while (std::isspace(static_cast<unsigned char>(*end)) != 0) ++end;  // as before the number
    if (*end != '\0' || n < 1 || n > kMostThreads) {
      value_error({"regkern", "REGKERN_NUM_THREADS"}, "be an int in [1, 4096]",
                  std::string("'") + text + "'");
    }
    set_num_threads(static_cast<int>(n));
  }
}

}  // namespace

void register_runtime(py::module_& m) {
  m.def("config", [] {
    py::dict d;
    d["compiler"] = compiler();
    d["flags"] = flags();
    d["highway"] = highway();
    d["isa"] = isa();
    d["isas"] = isas();
    d["isas_built"] = isas_built();
    d["openmp"] = openmp();
    d["team"] = team_kind();
    d["threads"] = get_num_threads();
    return d;
  });
  m.def("get_num_threads", &get_num_threads);
  m.def("set_num_threads", [](py::handle n) { set_num_threads(thread_count({"set_num_threads", "n"}, n)); });
  // None: no setting of this thread's own.
  m.def(
      "swap_local_threads",
      [](py::handle n, bool openmp) {
        const auto before = swap_local_threads({n.is_none() ? 0 : thread_count({"threads", "n"}, n), openmp});
        return std::pair(before.number == 0 ? std::nullopt : std::optional(before.number), before.openmp);
      },
      py::arg("n"), py::arg("openmp") = false);
  m.def("shares_openmp", &shares_openmp);
  m.def("set_governed", [](py::handle on) { set_governed(flag({"set_governed", "on"}, on)); });
  m.def("set_isa", [](const std::string& name) { choose_isa({"set_isa", "name"}, name); }, py::arg("name"));
  read_environment();
}

}  // namespace regkern::bindings
