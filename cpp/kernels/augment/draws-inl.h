// The numbers that samples draw: one stream a lane, since a sample needs few.

#if defined(REGKERN_KERNELS_AUGMENT_DRAWS_INL_H_) == defined(HWY_TARGET_TOGGLE)
#ifdef REGKERN_KERNELS_AUGMENT_DRAWS_INL_H_
#undef REGKERN_KERNELS_AUGMENT_DRAWS_INL_H_
#else
#define REGKERN_KERNELS_AUGMENT_DRAWS_INL_H_
#endif

#include "kernels/random-inl.h"

HWY_BEFORE_NAMESPACE();
namespace regkern {
namespace HWY_NAMESPACE {
namespace augment {

using random::fraction;

// u[i·count + j]: element j of uniform<double> of stream index[i].
inline void draw_rows(uint64_t seed, const uint64_t* index, size_t n, size_t count, double* u) {
  const DU64 d;
  const Tag<double> real;
  const Philox philox(Stream{seed, 0});
  const auto lower = hn::Set(d, uint64_t{0xFFFFFFFF});
  const auto first_of = [=](V<DU64> high, V<DU64> low)
                            HWY_ATTR { return hn::Or(hn::ShiftLeft<32>(high), hn::And(low, lower)); };
  const auto second_of = [=](V<DU64> high, V<DU64> low)
                             HWY_ATTR { return hn::Or(hn::AndNot(lower, high), hn::ShiftRight<32>(low)); };
  HWY_ALIGN uint64_t streams[kGroup] = {};
  HWY_ALIGN double numbers[4 * kGroup];
  for (size_t i = 0; i < n; i += kGroup) {
    const size_t rows = HWY_MIN(kGroup, n - i);
    memcpy(streams, index + i, rows * sizeof(uint64_t));
    const auto stream = hn::Load(d, streams);
    for (size_t j = 0; j < count; j += 4) {
      const auto high = philox(hn::Set(d, uint64_t{j / 4}), stream);
      const auto low = philox(hn::Set(d, kTieBlock + j / 4), stream);
      hn::StoreInterleaved4(fraction(real, first_of(high.w01, low.w01)),
                            fraction(real, second_of(high.w01, low.w01)),
                            fraction(real, first_of(high.w23, low.w23)),
                            fraction(real, second_of(high.w23, low.w23)), real, numbers);
      const size_t columns = HWY_MIN(size_t{4}, count - j);
      for (size_t r = 0; r < rows; ++r) {
        double* const row = u + (i + r) * count + j;
        if (columns == 4) {
          memcpy(row, numbers + 4 * r, 4 * sizeof(double));
        } else {
          for (size_t k = 0; k < columns; ++k) row[k] = numbers[4 * r + k];
        }
      }
    }
  }
}

}  // namespace augment
}  // namespace HWY_NAMESPACE
}  // namespace regkern
HWY_AFTER_NAMESPACE();

#endif  // REGKERN_KERNELS_AUGMENT_DRAWS_INL_H_
