// The numbers that the samples of a batch draw; threads share the samples.

#include "regkern/augment.h"

#undef HWY_TARGET_INCLUDE
#define HWY_TARGET_INCLUDE "core/augment/draws.cc"
#include "hwy/foreach_target.h"

#include "core/dispatch.h"
#include "core/threading.h"
#include "kernels/augment/draws-inl.h"

HWY_BEFORE_NAMESPACE();
namespace regkern {
namespace HWY_NAMESPACE {

using DrawRows = void (*)(uint64_t seed, const uint64_t* index, size_t n, size_t count, double* u);
DrawRows draws_table() { return &augment::draw_rows; }

}  // namespace HWY_NAMESPACE
}  // namespace regkern
HWY_AFTER_NAMESPACE();

#if HWY_ONCE
namespace regkern {

REGKERN_EXPORT(draws_table);

namespace augment {

void draws(std::uint64_t seed, const std::uint64_t* index, std::size_t n, std::size_t count, double* u) {
  constexpr std::size_t kGrain = 8;  // as many streams as a vector has
  const auto draw = REGKERN_TABLE(draws_table);
  threading::for_ranges(threading::team_for(3 * n * count * sizeof(double)), n, kGrain,
                        [&](std::size_t begin, std::size_t end) {
                          draw(seed, index + begin, end - begin, count, u + begin * count);
                        });
}

}  // namespace augment
}  // namespace regkern
#endif  // HWY_ONCE
