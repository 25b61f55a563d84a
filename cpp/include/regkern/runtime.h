// Threads, instruction sets and the build that is running.

#ifndef REGKERN_RUNTIME_H_
#define REGKERN_RUNTIME_H_

#include <string>
#include <vector>

namespace regkern {

// Threads a call from this thread may use: swap_local_threads, else set_num_threads, else what OpenMP says
// bounded by the CPU quota of this process. Results never depend on it. A process made by fork after its
// parent ran parallel work always gets 1.
inline constexpr int kMostThreads = 4096;
int get_num_threads();
void set_num_threads(int n);    // 1 ... kMostThreads, for the whole process
int swap_local_threads(int n);  // the same, or 0 for none, for this thread; returns the former value

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
