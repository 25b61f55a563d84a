#include "regkern/random.h"

#undef HWY_TARGET_INCLUDE
#define HWY_TARGET_INCLUDE "core/random.cc"
#include "hwy/foreach_target.h"

#include "core/dispatch.h"
#include "core/threading.h"
#include "kernels/philox-inl.h"

HWY_BEFORE_NAMESPACE();
namespace regkern {
namespace HWY_NAMESPACE {

using FillWords = void (*)(Stream, uint64_t, size_t, uint32_t*);
FillWords random_table() { return &fill_words; }

}  // namespace HWY_NAMESPACE
}  // namespace regkern
HWY_AFTER_NAMESPACE();

#if HWY_ONCE
namespace regkern {

HWY_EXPORT(random_table);

void random_bits(Stream source, std::size_t n, std::uint32_t* words) {
  const auto fill = REGKERN_TABLE(random_table);
  // The words cost about as much as moving three times their bytes.
  threading::for_ranges(
      threading::team_for(3 * n * sizeof(std::uint32_t)), n, 1024,
      [&](std::size_t begin, std::size_t end) { fill(source, begin / 4, end - begin, words + begin); });
}

}  // namespace regkern
#endif  // HWY_ONCE
