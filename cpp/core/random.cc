// Bits, uniform and normal numbers of a stream, which an element's number alone determines; threads share
// blocks of elements.

#include "regkern/random.h"

#undef HWY_TARGET_INCLUDE
#define HWY_TARGET_INCLUDE "core/random.cc"
#include "hwy/foreach_target.h"

#include "core/dispatch.h"
#include "core/elementwise.h"
#include "core/threading.h"
#include "kernels/random-inl.h"

#define REGKERN_FAMILY random
#define REGKERN_KERNELS(X) \
  X(uniform)               \
  X(normal)
#define REGKERN_PLAIN_KERNELS(X) X(words)
#include "core/table-inl.h"

#if HWY_ONCE
namespace regkern {
namespace {

// Words cost about as much as moving three times their bytes.
template <class T, class Kernel>
void fill(const Extents& shape, Out<T> y, Stream source, Kernel kernel) {
  const Elements<Out<T>> elements(shape, Order::kC, y);
  threading::for_ranges(threading::team_for(3 * shape.size * sizeof(T)), shape.size, kBlock,
                        [&](std::size_t begin, std::size_t end) {
                          elements.run(begin, end, false, [&](std::size_t first, std::size_t n, bool, T* to) {
                            kernel(source, first, n, to);
                          });
                        });
}

}  // namespace

void random_bits(Stream source, std::size_t n, std::uint32_t* words) {
  const auto kernel = table<float>().words;
  fill<std::uint32_t>(n, {words}, source,
                      [=](Stream s, std::size_t first, std::size_t count, std::uint32_t* to) {
                        kernel(s, first / 4, count, to);
                      });
}

template <class T>
void uniform(const Extents& shape, Out<T> y, Stream source) {
  fill(shape, y, source, table<T>().uniform);
}

template <class T>
void normal(const Extents& shape, Out<T> y, Stream source) {
  fill(shape, y, source, table<T>().normal);
}

template void uniform(const Extents&, Out<float>, Stream);
template void uniform(const Extents&, Out<double>, Stream);
template void normal(const Extents&, Out<float>, Stream);
template void normal(const Extents&, Out<double>, Stream);

}  // namespace regkern
#endif  // HWY_ONCE
