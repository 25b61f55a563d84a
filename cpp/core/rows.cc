#include "regkern/rows.h"

#include <algorithm>
#include <bit>
#include <cmath>
#include <cstdint>
#include <cstring>
#include <limits>
#include <type_traits>
#include <utility>
#include <vector>

#undef HWY_TARGET_INCLUDE
#define HWY_TARGET_INCLUDE "core/rows.cc"
#include "hwy/foreach_target.h"

#include "core/dispatch.h"
#include "core/rows.h"
#include "kernels/rows-inl.h"

#ifndef REGKERN_ROWS_TABLE
#define REGKERN_ROWS_TABLE
namespace regkern {
// Of the numbers of a row, or of their magnitudes.
template <class T>
struct ThresholdKernels {
  double (*sum)(const T* x, std::size_t n);
  double (*sum_from)(const T* x, std::size_t n, double base);
  T (*max)(const T* x, std::size_t n);
  std::size_t (*keep_above)(const T* x, std::size_t n, T high, T low, T* kept);
  void (*subtract)(const T* x, T* y, std::size_t n, T high, T low, bool stream);
};
template <class T>
struct RowsTable {
  ThresholdKernels<T> plain, magnitude;
  void (*limit_magnitude)(const T* x, T* y, std::size_t n, T theta, bool stream);
};
}  // namespace regkern
#endif

HWY_BEFORE_NAMESPACE();
namespace regkern {
namespace HWY_NAMESPACE {

template <class T>
constexpr RowsTable<T> kRowsTable = {{&row_sum<T, false>, &row_sum_from<T>, &row_max<T, false>,
                                      &keep_above<T, false>, &subtract_threshold<T, false>},
                                     {&row_sum<T, true>, &row_sum_from<T>, &row_max<T, true>,
                                      &keep_above<T, true>, &subtract_threshold<T, true>},
                                     &limit_magnitude<T>};

const RowsTable<float>& rows_table_f32() { return kRowsTable<float>; }
const RowsTable<double>& rows_table_f64() { return kRowsTable<double>; }

}  // namespace HWY_NAMESPACE
}  // namespace regkern
HWY_AFTER_NAMESPACE();

#if HWY_ONCE
namespace regkern {

REGKERN_EXPORT_TABLES(RowsTable, rows_table);

namespace {

constexpr std::size_t kLanes = 16;  // of the longest vector, what keep_above may write too much

// θ = top + offset, top the largest value of a row: where that is far above the radius, one number would lose
// the difference.
struct Threshold {
  double top = 0, offset = 0;
  double value() const { return top + offset; }
  // For the kernels, as high + low.
  template <class T>
  T high() const {
    return static_cast<T>(value());
  }
  template <class T>
  T low() const {  // 0 where the first part is Inf or NaN, which then decides alone
    const auto first = high<T>();
    if (!std::isfinite(first)) return T(0);
    const auto [large, small] =
        std::abs(top) > std::abs(offset) ? std::pair(top, offset) : std::pair(offset, top);
    return static_cast<T>((large - static_cast<double>(first)) + small);
  }
};

// The passes over one row, which several threads share where it is long and they have no other rows.

template <class T>
double sum_of(const ThresholdKernels<T>& values, const T* x, std::size_t n) {
  return sum_elements(n, values.sum, In<T>{x});
}

template <class T>
T max_of(const ThresholdKernels<T>& values, const T* x, std::size_t n) {
  const auto parts = static_cast<std::size_t>(threading::team_for(n * sizeof(T)));
  if (parts == 1) return values.max(x, n);  // no memory to ask for
  std::vector<T> largest(parts);
  threading::for_row_shares(parts, n, [&](std::size_t begin, std::size_t end, std::size_t part) {
    largest[part] = values.max(x + begin, end - begin);
  });
  return *std::max_element(largest.begin(), largest.end());
}

// `kept` has room for all_kept and is not x.
template <class T>
std::size_t keep_above(const ThresholdKernels<T>& values, const T* x, std::size_t n, const Threshold& theta,
                       T* kept) {
  const auto parts = static_cast<std::size_t>(threading::team_for(n * sizeof(T)));
  if (parts == 1) return values.keep_above(x, n, theta.high<T>(), theta.low<T>(), kept);
  std::vector<std::size_t> counts(parts);
  const auto place = [=](std::size_t part) { return kept + n * part / parts + part * kLanes; };
  threading::for_row_shares(parts, n, [&](std::size_t begin, std::size_t end, std::size_t part) {
    counts[part] = values.keep_above(x + begin, end - begin, theta.high<T>(), theta.low<T>(), place(part));
  });
  std::size_t total = counts[0];
  for (std::size_t part = 1; part < parts; total += counts[part++]) {
    std::memmove(kept + total, place(part), counts[part] * sizeof(T));
  }
  return total;
}

template <class T>
std::size_t all_kept(std::size_t n) {
  return n + static_cast<std::size_t>(threading::team_for(n * sizeof(T))) * kLanes;
}

template <class T, class Kernel>
void write_row(const T* x, T* y, std::size_t n, Kernel&& kernel) {
  threading::for_ranges(
      threading::team_for(2 * n * sizeof(T)), n, kBlock,
      [&](std::size_t begin, std::size_t end) { kernel(x + begin, y + begin, end - begin); });
}

// θ with Σ max(v − θ, 0) = radius. Newton's method on that decreasing, convex, piecewise linear function from
// the left: θ grows towards the solution, and what lies below it is dropped for good (Michelot 1986, with the
// start and the filter of Condat 2016). NaN where the row has NaN or +Inf.
template <class T>
Threshold find_threshold(const ThresholdKernels<T>& values, const ThresholdKernels<T>& plain, const T* x,
                         std::size_t n, double radius, double sum, T* kept) {
  const T largest = max_of(values, x, n);
  const auto top = static_cast<double>(largest);
  const bool broken = std::isnan(sum) && std::any_of(x, x + n, [](T v) { return std::isnan(v); });
  if (broken || top == std::numeric_limits<double>::infinity()) return {std::nan(""), 0};
  Threshold theta{top, -radius};
  // All values together are a start, too, where the roundings of their sum are small against the radius.
  const double mean = (sum - radius) / static_cast<double>(n) - top;
  if (std::isfinite(mean) && std::abs(top) < 0x1p20 * radius) theta.offset = std::max(theta.offset, mean);
  std::size_t active = keep_above(values, x, n, theta, kept);
  while (active != 0) {
    std::fill_n(kept + active, kLanes, largest);  // adds 0 to the sum of v − top, up to whole vectors
    const double above = sum_elements(
        (active + kLanes - 1) / kLanes * kLanes,
        [&](const T* p, std::size_t count) { return plain.sum_from(p, count, top); }, In<T>{kept});
    theta.offset = (above - radius) / static_cast<double>(active);  // grows, but for roundings of the start
    const std::size_t left = plain.keep_above(kept, active, theta.high<T>(), theta.low<T>(), kept);
    if (left == active) break;
    active = left;
  }
  return theta;
}

template <class T>
void project_simplex(const T* x, T* y, std::size_t n, double radius, bool stream, T* kept) {
  const ThresholdKernels<T>& plain = table<T>().plain;
  const Threshold theta = find_threshold(plain, plain, x, n, radius, sum_of(plain, x, n), kept);
  write_row(x, y, n, [&](const T* from, T* to, std::size_t count) {
    plain.subtract(from, to, count, theta.high<T>(), theta.low<T>(), stream);
  });
}

template <class T>
void project_l1_ball(const T* x, T* y, std::size_t n, double radius, bool stream, T* kept) {
  const auto& [plain, magnitude, limit] = table<T>();
  const double sum = sum_of(magnitude, x, n);
  const Threshold theta =
      sum <= radius ? Threshold() : find_threshold(magnitude, plain, x, n, radius, sum, kept);
  write_row(x, y, n, [&, &subtract = magnitude.subtract](const T* from, T* to, std::size_t count) {
    subtract(from, to, count, theta.high<T>(), theta.low<T>(), stream);
  });
}

// What is left of x by the projection onto the dual ball (Moreau).
template <class T>
void prox_linf(const T* x, T* y, std::size_t n, double threshold, bool stream, T* kept) {
  const auto& [plain, magnitude, limit] = table<T>();
  const double sum = sum_of(magnitude, x, n);
  const Threshold theta =
      sum <= threshold ? Threshold() : find_threshold(magnitude, plain, x, n, threshold, sum, kept);
  write_row(x, y, n, [=, &limit = limit](const T* from, T* to, std::size_t count) {
    limit(from, to, count, theta.high<T>(), stream);
  });
}

// Neighbours that share a value, sum / count.
struct Block {
  double sum, count;
  bool below(const Block& other) const { return sum * other.count < other.sum * count; }
  Block operator+(const Block& other) const { return {sum + other.sum, count + other.count}; }
  Block operator-(const Block& other) const { return {sum - other.sum, count - other.count}; }
};

// Blocks [first, last] of a hull, whose values are monotone.
struct Hull {
  Block* blocks;
  std::size_t first = 0, last = 0;
  Block& front() { return blocks[first]; }
  bool straight() const { return first == last; }
  // Appends a block; `wrong(a, b)`: a may not stand before b, they become one.
  template <class Wrong>
  void push(Block block, Wrong wrong) {
    std::size_t end = last + 1;
    for (; end != first && wrong(blocks[end - 1], block); --end) block = blocks[end - 1] + block;
    blocks[last = end] = block;
  }
};

// Where a string is continued: its last knot stands before x[at], `above` under the upper border and `below`
// over the lower one.
struct Knot {
  std::size_t at;
  double above, below;
};

// The taut string by Condat's direct algorithm (2013). From the last knot go the lowest and the highest
// segment within the borders so far, of slopes low and high; the cumulated x is over_low above the end of the
// one and over_high above that of the other, and they touched a border last at touch_low and touch_high.
// Where the next point is out of reach, the string follows one of them to its touch and begins anew. That is
// fast as long as what it goes back over is little: else it stops at a knot, for its time would grow with n².
// Returns that knot, or n.
template <class T>
Knot prox_tv1d_directly(const T* x, T* y, std::size_t n, double t) {
  const auto value = [x](std::size_t i) { return static_cast<double>(x[i]); };
  std::size_t begin = 0, k = 0, touch_low = 0, touch_high = 0, again = 0;
  double low = value(0) - t, high = value(0) + t, over_low = t, over_high = -t;
  const auto follow = [&](double slope, std::size_t touch) {
    const T level = static_cast<T>(slope);
    do y[begin] = level;
    while (++begin <= touch);
    again += k + 1 - begin;
    k = begin;
  };
  const auto too_much = [&] { return again > begin + n / 8; };
  const auto after_low = [&]() -> Knot { return {begin, 2 * t, 0}; };
  const auto after_high = [&]() -> Knot { return {begin, 0, 2 * t}; };
  while (true) {
    while (k + 1 == n) {  // where both borders meet
      if (over_low < 0) {
        follow(low, touch_low);
        if (too_much()) return after_low();
        touch_low = k;
        low = value(k);
        over_low = t;
        over_high = low + t - high;
      } else if (over_high > 0) {
        follow(high, touch_high);
        if (too_much()) return after_high();
        touch_high = k;
        high = value(k);
        over_high = -t;
        over_low = high - t - low;
      } else {
        follow(low + over_low / static_cast<double>(n - begin), k);
        return {n, 0, 0};
      }
    }
    over_low += value(k + 1) - low;
    over_high += value(k + 1) - high;
    if (over_low < -t || over_high > t) {
      const bool down = over_low < -t;
      follow(down ? low : high, down ? touch_low : touch_high);
      if (too_much()) return down ? after_low() : after_high();
      touch_low = touch_high = k;
      low = value(k) - (down ? 0 : 2 * t);
      high = value(k) + (down ? 2 * t : 0);
      over_low = t;
      over_high = -t;
      continue;
    }
    ++k;
    const auto length = static_cast<double>(k - begin + 1);
    if (over_low >= t) {
      low += (over_low - t) / length;
      over_low = t;
      touch_low = k;
    }
    if (over_high <= -t) {
      high += (over_high + t) / length;
      over_high = -t;
      touch_high = k;
    }
  }
}

// The taut string (Davies and Kovac 2001; Condat 2017 in this form): the shortest curve from (0, 0) to (n,
// Σx) within t of the cumulated x has the slopes y. From the last knot of the string go two hulls, the
// greatest convex minorant of the upper border and the least concave majorant of the lower one. Where the
// first slope of one passes that of the other, the string follows the first block of the hull that was there,
// and the other, which the newest point has made straight, goes on from its end. Each element joins each hull
// once: O(n).
template <class T>
void prox_tv1d(const T* x, T* y, std::size_t n, double t, Hull upper, Hull lower) {
  if (t == 0) {
    if (x != y) std::memcpy(y, x, n * sizeof(T));
    return;
  }
  const double mean = table<T>().plain.sum(x, n) / static_cast<double>(n);
  if (!std::isfinite(mean)) {
    std::fill_n(y, n, std::numeric_limits<T>::quiet_NaN());
    return;
  }
  double drift = 0;
  std::size_t inside = 0;  // how long the cumulated x stays within t of the straight line
  for (; inside < n && std::abs(drift) <= t; ++inside) drift += static_cast<double>(x[inside]) - mean;
  if (inside == n) {  // nothing is worth a jump
    std::fill_n(y, n, static_cast<T>(mean));
    return;
  }
  const Knot knot = prox_tv1d_directly(x, y, n, t);
  if (knot.at == n) return;
  std::size_t done = knot.at;  // y so far
  const auto follow = [&](Hull& hull) {
    const Block block = hull.blocks[hull.first++];
    const auto end = done + static_cast<std::size_t>(block.count);
    const T level = static_cast<T>(block.sum / block.count);
    do y[done] = level;  // most blocks are too short for a vector
    while (++done < end);
    return block;
  };
  const auto value = [x](std::size_t i) { return static_cast<double>(x[i]); };
  const auto border_end = [=](std::size_t k) { return k + 1 == n ? t : 0; };  // where both borders meet
  upper.front() = {value(done) + knot.above - border_end(done), 1};
  lower.front() = {value(done) - knot.below + border_end(done), 1};
  for (std::size_t k = done + 1; k < n; ++k) {
    const double end = border_end(k);
    upper.push({value(k) - end, 1}, [](const Block& a, const Block& b) { return !a.below(b); });
    lower.push({value(k) + end, 1}, [](const Block& a, const Block& b) { return !b.below(a); });
    if (upper.straight()) {
      while (!lower.straight() && upper.front().below(lower.front()))
        upper.front() = upper.front() - follow(lower);
    } else if (lower.straight()) {
      while (!upper.straight() && upper.front().below(lower.front()))
        lower.front() = lower.front() - follow(upper);
    }
  }
  while (upper.first <= upper.last) follow(upper);
}

// Magnitudes in the order of their bits, with the place they came from.
template <class T>
struct Ranked {
  using Key = std::conditional_t<sizeof(T) == 4, std::uint32_t, std::uint64_t>;
  Key key;
  std::uint32_t place;
};

// Largest first, ties in their order: a radix sort by digits of 11 bits. Returns where the result is.
template <class T>
Ranked<T>* sort_descending(Ranked<T>* a, Ranked<T>* b, std::size_t n) {
  using Key = typename Ranked<T>::Key;
  constexpr int kBits = 11, kDigits = (8 * sizeof(Key) + kBits - 1) / kBits;
  constexpr Key kMask = (Key{1} << kBits) - 1;
  static_assert(kDigits <= 6);
  std::uint32_t counts[kDigits][kMask + 1] = {};
  for (std::size_t i = 0; i < n; ++i) {
    for (int digit = 0; digit < kDigits; ++digit) ++counts[digit][~(a[i].key >> digit * kBits) & kMask];
  }
  for (int digit = 0; digit < kDigits; ++digit) {
    std::uint32_t* const count = counts[digit];
    if (count[~(a[0].key >> digit * kBits) & kMask] == n) continue;  // the same digit in all
    std::uint32_t before = 0;
    for (Key d = 0; d <= kMask; ++d) before += std::exchange(count[d], before);
    for (std::size_t i = 0; i < n; ++i) b[count[~(a[i].key >> digit * kBits) & kMask]++] = a[i];
    std::swap(a, b);
  }
  return a;
}

// Bogdan et al., "SLOPE — adaptive variable selection via convex optimization" (2015), algorithm 4:
// magnitudes in descending order less their thresholds, made monotone by averaging neighbours that are not,
// cut at 0.
template <class T>
void prox_sorted_l1_row(const T* x, T* y, std::size_t n, double threshold, const T* weights, Ranked<T>* a,
                        Ranked<T>* b, Block* blocks) {
  using Key = typename Ranked<T>::Key;
  const auto strength = [=](std::size_t i) {  // no threshold is too large for a weight of 0
    return weights[i] == 0 ? 0.0 : threshold * static_cast<double>(weights[i]);
  };
  const double smallest = strength(n - 1);
  std::size_t kept = 0;
  bool any_nan = false;
  for (std::size_t i = 0; i < n;
       ++i) {  // nothing below the smallest threshold survives, and averages stay below
    const T magnitude = std::abs(x[i]);
    any_nan |= std::isnan(magnitude);
    a[kept] = {std::bit_cast<Key>(magnitude), static_cast<std::uint32_t>(i)};
    kept += static_cast<double>(magnitude) > smallest;
  }
  if (any_nan) {
    std::fill_n(y, n, std::numeric_limits<T>::quiet_NaN());
    return;
  }
  const Ranked<T>* const sorted = kept == 0 ? a : sort_descending(a, b, kept);
  std::size_t last = 0;
  for (std::size_t i = 0; i < kept; ++i) {
    const auto magnitude = static_cast<double>(std::bit_cast<T>(sorted[i].key));
    const double t = strength(i);
    Block block{std::isinf(t) ? -t : magnitude - t, 1};
    while (last != 0 && !block.below(blocks[last - 1])) block = blocks[--last] + block;
    blocks[last++] = block;
  }
  T* const values = reinterpret_cast<T*>(b == sorted ? a : b);  // y may be x, whose signs are needed
  std::fill_n(values, n, T(0));
  std::size_t i = 0;
  for (std::size_t k = 0; k < last && blocks[k].sum > 0; ++k) {
    const T value = static_cast<T>(blocks[k].sum / blocks[k].count);
    for (const std::size_t end = i + static_cast<std::size_t>(blocks[k].count); i < end; ++i) {
      values[sorted[i].place] = std::copysign(value, x[sorted[i].place]);
    }
  }
  std::copy_n(values, n, y);
}

}  // namespace

template <class T>
void row_prox(RowProx what, const Extents& shape, std::size_t length, In<T> x, Out<T> y, double parameter) {
  if (what == RowProx::kTv1d) {
    const std::size_t room = 2 * length * sizeof(Block);
    for_rows(shape, length, x, y, 8, room,
             [=](const T* from, T* to, std::size_t, std::size_t rows, bool, std::byte* scratch) {
               Block* const blocks = reinterpret_cast<Block*>(scratch);
               for (std::size_t at = 0; at < rows * length; at += length) {
                 prox_tv1d(from + at, to + at, length, parameter, Hull{blocks}, Hull{blocks + length});
               }
             });
    return;
  }
  const auto project = what == RowProx::kSimplex  ? &project_simplex<T>
                       : what == RowProx::kL1Ball ? &project_l1_ball<T>
                                                  : &prox_linf<T>;
  for_rows(shape, length, x, y, 2, all_kept<T>(length) * sizeof(T),
           [=](const T* from, T* to, std::size_t, std::size_t rows, bool stream, std::byte* scratch) {
             for (std::size_t at = 0; at < rows * length; at += length) {
               project(from + at, to + at, length, parameter, stream, reinterpret_cast<T*>(scratch));
             }
           });
}

template <class T>
void prox_sorted_l1(const Extents& shape, std::size_t length, In<T> x, Out<T> y, double threshold,
                    const T* weights) {
  const std::size_t room = (length + 1) * (2 * sizeof(Ranked<T>) + sizeof(Block));
  for_rows(shape, length, x, y, 8, room,
           [=](const T* from, T* to, std::size_t, std::size_t rows, bool, std::byte* scratch) {
             Block* const blocks = reinterpret_cast<Block*>(scratch);
             auto* const a = reinterpret_cast<Ranked<T>*>(blocks + length);
             for (std::size_t at = 0; at < rows * length; at += length) {
               prox_sorted_l1_row(from + at, to + at, length, threshold, weights, a, a + length + 1, blocks);
             }
           });
}

#define REGKERN_INSTANTIATE(T)                                                         \
  template void row_prox(RowProx, const Extents&, std::size_t, In<T>, Out<T>, double); \
  template void prox_sorted_l1(const Extents&, std::size_t, In<T>, Out<T>, double, const T*);
REGKERN_INSTANTIATE(float)
REGKERN_INSTANTIATE(double)
#undef REGKERN_INSTANTIATE

}  // namespace regkern
#endif  // HWY_ONCE
