#include "regkern/random.h"

#undef HWY_TARGET_INCLUDE
#define HWY_TARGET_INCLUDE "core/random.cc"
#include "hwy/foreach_target.h"

#include "core/dispatch.h"
#include "core/elementwise.h"
#include "core/threading.h"
#include "kernels/random-inl.h"

#ifndef REGKERN_RANDOM_TABLE
#define REGKERN_RANDOM_TABLE
namespace regkern {
template <class T>
struct RandomTable {
  void (*words)(Stream source, std::uint64_t first_block, std::size_t n, std::uint32_t* words);
  void (*uniform)(Stream source, std::uint64_t first, std::size_t n, T* y);
  void (*normal)(Stream source, std::uint64_t first, std::size_t n, T* y);
};
}  // namespace regkern
#endif

HWY_BEFORE_NAMESPACE();
namespace regkern {
namespace HWY_NAMESPACE {

void stream_words(Stream source, uint64_t first_block, size_t n, uint32_t* words) {
  fill_words(Philox(source), first_block, n, words);
}

template <class T>
constexpr RandomTable<T> kRandomTable = {&stream_words, &uniform<T>, &normal<T>};

const RandomTable<float>& random_table_f32() { return kRandomTable<float>; }
const RandomTable<double>& random_table_f64() { return kRandomTable<double>; }

}  // namespace HWY_NAMESPACE
}  // namespace regkern
HWY_AFTER_NAMESPACE();

#if HWY_ONCE
namespace regkern {

REGKERN_EXPORT_TABLES(RandomTable, random_table);

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
