// What the library is and runs on: instruction sets, compiler, caches.

#include "regkern/runtime.h"

#include <algorithm>
#include <atomic>
#include <cctype>
#include <cstdint>
#include <cstdio>
#include <string>

#include "core/dispatch.h"
#include "core/streaming.h"

namespace regkern {
namespace {

std::string lower_name(int64_t target) {
  std::string name = hwy::TargetName(target);
  std::transform(name.begin(), name.end(), name.begin(), [](unsigned char c) { return std::tolower(c); });
  return name;
}

// The single-bit targets in a mask; the lowest bit is the best.
std::vector<int64_t> targets_in(int64_t mask) {
  std::vector<int64_t> targets;
  for (; mask != 0; mask &= mask - 1) targets.push_back(mask & -mask);
  return targets;
}

int64_t available_targets() {
  int64_t targets = HWY_STATIC_TARGET;
#if HWY_ARCH_X86
  // The compiler's check asks the operating system too. What it cannot ask for by name under every compiler
  // (F16C, LZCNT; VAES, GFNI) came with the same processors.
  __builtin_cpu_init();
#define REGKERN_HAS(feature) (__builtin_cpu_supports(feature) != 0)
  const bool avx2 = REGKERN_HAS("avx2") && REGKERN_HAS("fma") && REGKERN_HAS("bmi") && REGKERN_HAS("bmi2");
  const bool avx3 = avx2 && REGKERN_HAS("avx512f") && REGKERN_HAS("avx512vl") && REGKERN_HAS("avx512dq") &&
                    REGKERN_HAS("avx512bw") && REGKERN_HAS("avx512cd");
  const bool avx3_dl = avx3 && REGKERN_HAS("avx512vnni") && REGKERN_HAS("avx512vbmi") &&
                       REGKERN_HAS("avx512vbmi2") && REGKERN_HAS("avx512bitalg") &&
                       REGKERN_HAS("avx512vpopcntdq") && REGKERN_HAS("vpclmulqdq");
#undef REGKERN_HAS
  if (avx2) targets |= HWY_AVX2;
  if (avx3) targets |= HWY_AVX3;
  if (avx3_dl) targets |= HWY_AVX3_DL;
#endif
  return targets & HWY_TARGETS;
}

std::vector<std::string> names_of(int64_t mask) {
  std::vector<std::string> names;
  for (const int64_t target : targets_in(mask)) names.push_back(lower_name(target));
  return names;
}

// Another thread may choose while this one works: it sees the old or the new.
std::atomic<int64_t>& in_use() {
  static std::atomic<int64_t> targets = available_targets();
  return targets;
}

}  // namespace

int64_t targets_in_use() { return in_use().load(std::memory_order_relaxed); }

std::vector<std::string> isas_built() { return names_of(HWY_TARGETS); }
std::vector<std::string> isas() { return names_of(available_targets()); }
std::string isa() { return names_of(targets_in_use()).front(); }

bool set_isa(const std::string& name) {
  for (const int64_t target : targets_in(available_targets())) {
    if (lower_name(target) != name) continue;
    in_use() = available_targets() & ~(target - 1);
    return true;
  }
  return false;
}

std::string version() { return REGKERN_VERSION; }
std::string flags() { return REGKERN_FLAGS; }

std::string compiler() {
#if defined(__clang__)
  return "Clang " __clang_version__;
#else
  return "GCC " __VERSION__;
#endif
}

std::string highway() {
  return std::to_string(HWY_MAJOR) + "." + std::to_string(HWY_MINOR) + "." + std::to_string(HWY_PATCH);
}

namespace {

// Bytes of a cache of this machine's first core, `otherwise` where the system does not tell.
std::size_t cache_size(int index, std::size_t otherwise) {
  // Not sysconf(_SC_LEVEL3_CACHE_SIZE): on virtual machines glibc may report ten times what is there.
  const std::string path = "/sys/devices/system/cpu/cpu0/cache/index" + std::to_string(index) + "/size";
  std::size_t kib = 0;
  if (std::FILE* file = std::fopen(path.c_str(), "r")) {
    if (std::fscanf(file, "%zuK", &kib) != 1) kib = 0;
    std::fclose(file);
  }
  return kib != 0 ? kib << 10 : otherwise;
}

}  // namespace

std::size_t second_level_cache() {
  static const std::size_t bytes = cache_size(2, std::size_t{1} << 20);
  return bytes;
}

std::size_t last_level_cache() {
  constexpr std::size_t kShare = std::size_t{32} << 20;
  static const std::size_t bytes = std::min(cache_size(3, kShare), kShare);
  return bytes;
}

}  // namespace regkern
