// Threads, instruction sets and the build that is running.

#ifndef REGKERN_RUNTIME_H_
#define REGKERN_RUNTIME_H_

#include <cstdint>
#include <string>
#include <vector>

namespace regkern {

// Threads a call from this thread may use: swap_local_threads, else set_num_threads, else what OpenMP says
// bounded by the CPU quota of this process. Results never depend on it. A process made by fork after its
// parent ran parallel work always gets 1.
inline constexpr int kMostThreads = 4096;
int get_num_threads();
void set_num_threads(int n);  // 1 ... kMostThreads, for the whole process

// The same for this thread's calls, 0 for none. With `openmp` its helpers are OpenMP's, which are awake where
// a library that shares them has just used them; no more governs them then than in that library.
struct LocalThreads {
  int number = 0;
  bool openmp = false;
};
LocalThreads swap_local_threads(LocalThreads threads);  // returns the former

// Whether a library with this omp_get_max_threads has the same OpenMP, so that its threads are those here.
bool shares_openmp(std::uintptr_t omp_get_max_threads);

// Whether work gets a team only where teams have paid lately. Off, all work that is large enough is cut and
// offered to a team: for tests of what is cut and joined.
void set_governed(bool on);

// Instruction sets by Highway's names in lower case, best first: those compiled in, and those of them that
// this machine has.
std::vector<std::string> isas_built();
std::vector<std::string> isas();
std::string isa();
bool set_isa(const std::string& name);  // false, and no change, if `name` is not one of isas()

std::string version();
std::string compiler();
std::string flags();
std::string openmp();
std::string team_kind();  // whose threads help: "regkern" or "OpenMP"
std::string highway();

}  // namespace regkern

#endif  // REGKERN_RUNTIME_H_
