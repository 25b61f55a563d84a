#include "regkern/dropout.h"

#undef HWY_TARGET_INCLUDE
#define HWY_TARGET_INCLUDE "core/dropout.cc"
#include "hwy/foreach_target.h"

#include <cmath>
#include <cstring>

#include "core/dispatch.h"
#include "core/elementwise.h"
#include "kernels/dropout-inl.h"

#ifndef REGKERN_DROPOUT_TABLE
#define REGKERN_DROPOUT_TABLE
namespace regkern {
template <class T>
struct DropoutTable {
  void (*dropout)(const T* x, T* y, std::size_t n, Stream source, std::uint64_t first,
                  std::uint64_t threshold, T scale, bool stream);
  void (*keep_mask)(Stream source, std::uint64_t first, std::size_t n, std::uint64_t threshold,
                    std::uint8_t* kept);
};
}  // namespace regkern
#endif

HWY_BEFORE_NAMESPACE();
namespace regkern {
namespace HWY_NAMESPACE {

template <class T>
constexpr DropoutTable<T> kDropoutTable = {&dropout<T>, &keep_mask};

const DropoutTable<float>& dropout_table_f32() { return kDropoutTable<float>; }
const DropoutTable<double>& dropout_table_f64() { return kDropoutTable<double>; }

}  // namespace HWY_NAMESPACE
}  // namespace regkern
HWY_AFTER_NAMESPACE();

#if HWY_ONCE
namespace regkern {

REGKERN_EXPORT_TABLES(DropoutTable, dropout_table);

namespace {

constexpr std::uint64_t kOne = std::uint64_t{1} << 40;  // the probability 1

}  // namespace

std::uint64_t keep_threshold(double p) {
  return static_cast<std::uint64_t>(std::nearbyint((1 - p) * static_cast<double>(kOne)));
}

template <class T>
void dropout(const Extents& shape, In<T> x, Out<T> y, Stream source, std::uint64_t keep) {
  if (keep == 0 || keep == kOne) {  // nothing is random: zeros, or a copy to the bit
    for_elements(
        shape, Order::kC,
        [=](std::size_t, std::size_t n, bool, const T* from, T* to) {
          if (keep == 0) {
            std::memset(to, 0, n * sizeof(T));
          } else if (to != from) {
            std::memcpy(to, from, n * sizeof(T));
          }
        },
        x, y);
    return;
  }
  const auto kernel = table<T>().dropout;
  const T scale = static_cast<T>(static_cast<double>(kOne) / static_cast<double>(keep));
  for_elements(
      shape, Order::kC,
      [=](std::size_t first, std::size_t n, bool stream, const T* from, T* to) {
        kernel(from, to, n, source, first, keep, scale, stream && from != to);
      },
      x, y);
}

void keep_mask(Stream source, std::uint64_t keep, std::size_t n, std::uint8_t* kept) {
  if (keep == 0 || keep == kOne) {
    if (n != 0) std::memset(kept, keep == 0 ? 0 : 1, n);
    return;
  }
  const auto kernel = table<float>().keep_mask;
  // The decisions cost about as much as moving four bytes an element.
  threading::for_ranges(threading::team_for(4 * n), n, kBlock, [&](std::size_t begin, std::size_t end) {
    kernel(source, begin, end - begin, keep, kept + begin);
  });
}

template void dropout(const Extents&, In<float>, Out<float>, Stream, std::uint64_t);
template void dropout(const Extents&, In<double>, Out<double>, Stream, std::uint64_t);

}  // namespace regkern
#endif  // HWY_ONCE
